//! Builds the workspace's executables before a test uses them. `cargo test` builds only the
//! executables of the test's own package.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::repository;

/// Builds the executables with the profile of this test, and returns their directory.
pub fn executables() -> &'static Path {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    DIRECTORY.get_or_init(|| {
        // A test runs as `target/PROFILE/deps/NAME-HASH`.
        let test = env::current_exe().expect("the path of this test");
        let directory = test.ancestors().nth(2).expect("a directory two levels up");
        let manifest = repository::path("Cargo.toml");
        let target = directory.parent().expect("the target directory");
        let mut build = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        build
            .args([
                "build",
                "--quiet",
                "--workspace",
                "--bins",
                "--manifest-path",
            ])
            .args([&manifest, Path::new("--target-dir"), target]);
        // Cargo describes the test's package in environment variables. Build scripts that read
        // them, such as ring's, would rebuild everything.
        for (name, _) in env::vars_os() {
            if name.to_str().is_some_and(|name| {
                name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
            }) {
                build.env_remove(name);
            }
        }
        if directory.ends_with("release") {
            build.arg("--release");
        }
        let status = build.status().expect("cargo runs");
        assert!(status.success(), "the executables cannot be built");
        directory.to_owned()
    })
}
