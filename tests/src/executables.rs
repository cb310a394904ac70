//! Builds the workspace's executables before a test uses them. `cargo test` builds only the
//! executables of the test's own package.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

use crate::repository;

/// Builds the executables with the profile of this test, and returns their directory.
pub fn executables() -> &'static Path {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    DIRECTORY.get_or_init(|| {
        let mut build = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        build.args([
            "build",
            "--quiet",
            "--workspace",
            "--bins",
            "--message-format=json-render-diagnostics",
            "--manifest-path",
        ]);
        build.arg(repository::path("Cargo.toml"));
        // Cargo describes the test's package in environment variables. Build scripts that read
        // them, such as ring's, would rebuild everything.
        for (name, _) in env::vars_os() {
            if name.to_str().is_some_and(|name| {
                ["CARGO_PKG_", "CARGO_MANIFEST_", "OUT_DIR"]
                    .iter()
                    .any(|prefix| name.starts_with(prefix))
            }) {
                build.env_remove(name);
            }
        }
        // A test runs as `PROFILE/deps/NAME-HASH`.
        let test = env::current_exe().expect("the path of this test");
        if test
            .ancestors()
            .nth(2)
            .is_some_and(|it| it.ends_with("release"))
        {
            build.arg("--release");
        }
        let output = build.stderr(Stdio::inherit()).output();
        let output = output.expect("cargo runs");
        assert!(output.status.success(), "the executables cannot be built");
        let messages = String::from_utf8(output.stdout).expect("UTF-8");
        let executable = messages.lines().find_map(|message| {
            let message: Value = serde_json::from_str(message).ok()?;
            Some(PathBuf::from(message["executable"].as_str()?))
        });
        let executable = executable.expect("an executable");
        executable.parent().expect("its directory").to_owned()
    })
}
