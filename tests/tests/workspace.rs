//! Checks what all crates share, and that everything that is fetched has a fixed version.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use tests::repository::{self, text, toml, yaml};

/// Returns the paths of the entries of a directory of the repository.
fn entries(directory: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(repository::path(directory)).expect("a directory of the repository");
    entries
        .map(|entry| entry.expect("an entry").path())
        .collect()
}

/// Returns the manifests of the workspace's members, with their paths.
fn members() -> Vec<(PathBuf, toml::Table)> {
    let directories = entries("crates")
        .into_iter()
        .chain([repository::path("tests")]);
    directories
        .map(|directory| directory.join("Cargo.toml"))
        .map(|path| (path.clone(), toml(&path)))
        .collect()
}

#[test]
fn each_crate_has_the_lints_of_the_workspace_which_forbid_unsafe_code() {
    let workspace = toml("Cargo.toml");
    assert_eq!(
        workspace["workspace"]["lints"]["rust"]["unsafe_code"].as_str(),
        Some("forbid")
    );
    for (path, member) in members() {
        let inherits = member.get("lints").and_then(|lints| lints.get("workspace"));
        let inherits = inherits.and_then(toml::Value::as_bool);
        assert_eq!(
            inherits,
            Some(true),
            "{} lacks [lints] workspace = true",
            path.display()
        );
    }
}

#[test]
fn each_dependency_has_its_version_in_the_manifest_of_the_workspace() {
    for (path, member) in members() {
        for kind in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let Some(dependencies) = member.get(kind).and_then(toml::Value::as_table) else {
                continue;
            };
            for (name, dependency) in dependencies {
                let inherits = dependency.get("workspace").and_then(toml::Value::as_bool);
                assert_eq!(inherits, Some(true), "{name} in {}", path.display());
            }
        }
    }
}

#[test]
fn the_embedded_engine_has_an_exact_version() {
    let workspace = toml("Cargo.toml");
    let version = workspace["workspace"]["dependencies"]["dynoxide-rs"]["version"].as_str();
    assert!(
        version.is_some_and(|version| version.starts_with('=')),
        "{version:?}"
    );
}

#[test]
fn workflows_may_only_read_the_repository_and_use_actions_by_their_hash() {
    for path in entries(".github/workflows") {
        let workflow = yaml(&path);
        let name = path.display();
        assert_eq!(
            workflow["permissions"],
            json!({"contents": "read"}),
            "{name}"
        );
        for (job_name, job) in workflow["jobs"].as_object().expect("jobs") {
            // With this token, a job that deploys assumes its role on AWS.
            let allowed = [
                Value::Null,
                json!({"contents": "read", "id-token": "write"}),
            ];
            assert!(allowed.contains(&job["permissions"]), "{name}: {job_name}");
            // A job without steps calls another workflow of this repository.
            let steps = job["steps"].as_array();
            let called = job["uses"].as_str().unwrap_or_default();
            assert!(
                steps.is_some() || called.starts_with("./"),
                "{name}: {job_name}"
            );
            for step in steps.into_iter().flatten() {
                let Some(action) = step["uses"].as_str() else {
                    continue;
                };
                let hash = action.rsplit_once('@').map_or("", |(_, hash)| hash);
                let is_hash = hash.len() == 40 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
                assert!(is_hash, "{name}: {action}");
                if action.starts_with("actions/checkout@") {
                    assert_eq!(
                        step["with"]["persist-credentials"], false,
                        "{name}: {job_name}"
                    );
                }
            }
        }
    }
}

#[test]
fn every_tool_that_is_installed_has_an_exact_version() {
    let requirements = entries("scripts").into_iter().filter(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("requirements") && name.ends_with(".txt")
    });
    for path in requirements {
        for line in text(&path).lines().filter(|line| !line.starts_with('#')) {
            assert!(line.contains("=="), "{}: {line}", path.display());
        }
    }
    let package: Value = serde_json::from_str(&text("scripts/clients/package.json")).expect("JSON");
    for (name, version) in package["dependencies"].as_object().expect("dependencies") {
        let is_exact = version
            .as_str()
            .is_some_and(|version| version.starts_with(char::is_numeric));
        assert!(is_exact, "{name}: {version}");
    }
    // A command line names a tool as NAME@VERSION.
    let scripts = entries("scripts").into_iter().filter(|path| path.is_file());
    let commands = scripts
        .chain(entries(".github/workflows"))
        .chain([repository::path("Makefile")]);
    for path in commands {
        for line in text(&path).lines().map(str::trim) {
            let installs = ["npx --yes", "cargo install"]
                .iter()
                .any(|verb| line.contains(verb));
            if installs && !line.starts_with('#') {
                let is_exact = line.split([' ', '=']).any(|word| {
                    let version = word.rsplit_once('@').map_or("", |(_, version)| version);
                    version.starts_with(char::is_numeric)
                });
                assert!(is_exact, "{}: {line}", path.display());
            }
        }
    }
}
