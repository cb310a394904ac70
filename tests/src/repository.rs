//! Files of the repository. A path is absolute, or relative to the root of the repository.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use local::Template;
use serde_json::Value;

/// Returns the path of a file or directory.
#[must_use]
pub fn path(path: impl AsRef<Path>) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join(path)
}

/// Returns the text of a file.
///
/// # Panics
///
/// If the file cannot be read.
#[must_use]
pub fn text(path: impl AsRef<Path>) -> String {
    let path = self::path(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Parses a YAML file, without CloudFormation's tags: `!Ref X` becomes `"X"`, and `!If [a, b, c]`
/// becomes `["a", b, c]`.
///
/// # Panics
///
/// If the file cannot be read, or is not YAML.
#[must_use]
pub fn yaml(path: impl AsRef<Path>) -> Value {
    let path = path.as_ref();
    serde_saphyr::from_str(&text(path))
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Parses a TOML file.
///
/// # Panics
///
/// If the file cannot be read, or is not TOML.
#[must_use]
pub fn toml(path: impl AsRef<Path>) -> toml::Table {
    let path = path.as_ref();
    text(path)
        .parse()
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns `template.yaml` as the local service understands it, with every parameter at its
/// default.
///
/// # Panics
///
/// If the local service cannot use the file.
#[must_use]
pub fn template() -> Template {
    Template::read(&path("template.yaml"), &BTreeMap::new()).expect("the template")
}

/// Returns the template with these environment variables in each function.
///
/// # Panics
///
/// As [`template`] does.
#[must_use]
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
