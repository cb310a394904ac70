//! Files of the repository. A path is absolute, or relative to the root of the repository.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::Duration;
use std::{env, fs, process, thread};

use local::Template;
use proptest::test_runner::FileFailurePersistence;
use serde_json::Value;

/// Returns the path of a file or directory.
pub fn path(path: impl AsRef<Path>) -> PathBuf {
    limit_time();
    // Not where the test was compiled: that may be another copy of the repository.
    let start = env::current_dir().expect("a current directory");
    let mut directories = start.ancestors();
    let root = directories.find(|directory| directory.join("template.yaml").is_file());
    root.expect("the test runs inside the repository")
        .join(path)
}

/// Ends this process if it hangs. Every suite takes less than a minute or two, unless `CASES` makes
/// it longer, and every suite reads a file of the repository.
fn limit_time() {
    const LIMIT: Duration = Duration::from_mins(15);
    static START: Once = Once::new();
    let watch = || {
        thread::sleep(LIMIT);
        // The test runner shows what is printed only when a test ends.
        let _ = io::stderr().write_all(b"the suite hangs: it took more than 15 minutes\n");
        process::exit(1);
    };
    if env::var_os("CASES").is_none() {
        START.call_once(|| drop(thread::spawn(watch)));
    }
}

/// Returns the file of generated cases that failed, which Proptest tries first next time. It belongs
/// in the repository. By default, Proptest reads it from another directory than it writes it to.
pub fn regressions() -> Box<FileFailurePersistence> {
    let path = path("tests/regressions.txt").into_os_string().into_string();
    let path = path.expect("a path in UTF-8");
    Box::new(FileFailurePersistence::Direct(path.leak()))
}

/// Returns the text of a file.
pub fn text(path: impl AsRef<Path>) -> String {
    let path = self::path(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Parses a YAML file, without CloudFormation's tags: `!Ref X` becomes `"X"`, and `!If [a, b, c]`
/// becomes `["a", b, c]`.
pub fn yaml(path: impl AsRef<Path>) -> Value {
    let path = path.as_ref();
    serde_saphyr::from_str(&text(path))
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Parses a TOML file.
pub fn toml(path: impl AsRef<Path>) -> toml::Table {
    let path = path.as_ref();
    text(path)
        .parse()
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns `template.yaml` as the local service understands it, with every parameter at its
/// default.
pub fn template() -> Template {
    Template::read(&path("template.yaml"), &BTreeMap::new()).expect("the template")
}

/// Returns the template with these environment variables in each function.
pub fn template_with_variables(variables: &[(&str, &str)]) -> Template {
    let mut template = template();
    for function in template.functions.values_mut() {
        let variables = variables.iter();
        function
            .variables
            .extend(variables.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    }
    template
}
