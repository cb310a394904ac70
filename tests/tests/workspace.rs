//! Checks what all crates share, and that everything that is fetched has a fixed version.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

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
fn each_crate_has_the_lints_of_the_workspace() {
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
fn each_dependency_has_its_version_in_the_root_manifest() {
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
fn contributing_says_which_change_each_suite_is_for() {
    let page = text("CONTRIBUTING.md");
    let rows = page
        .lines()
        .skip_while(|line| *line != "| you changed | suites |")
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let named: BTreeSet<_> = rows
        .filter_map(|row| row.split('|').nth(2))
        .flat_map(|cell| cell.split(',').map(|name| name.trim().to_owned()))
        .collect();
    let files = entries("tests/tests")
        .into_iter()
        .chain(entries("crates/local/tests"));
    let suites = files.filter(|path| {
        path.extension().is_some_and(|own| own == "rs") || path.join("main.rs").is_file()
    });
    let suites = suites.filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned()));
    assert_eq!(
        named,
        suites.collect(),
        "CONTRIBUTING.md's table of suites (left), and all suites (right)"
    );
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
fn workflows_only_read_and_use_actions_by_their_hash() {
    for path in entries(".github/workflows") {
        let workflow = yaml(&path);
        let name = path.display();
        assert_eq!(
            workflow["permissions"],
            json!({"contents": "read"}),
            "{name}"
        );
        for (job_name, job) in workflow["jobs"].as_object().expect("jobs") {
            let allowed = match job_name.as_str() {
                "release" => json!({"contents": "write"}),
                // With this token, a job that deploys assumes its role on AWS.
                _ => json!({"contents": "read", "id-token": "write"}),
            };
            let is_allowed = [Value::Null, allowed].contains(&job["permissions"]);
            assert!(is_allowed, "{name}: {job_name}");
            // A job without steps is another workflow of this repository.
            let is_own = |uses: &str| uses.starts_with("./.github/workflows/");
            assert!(
                job["steps"].is_array() || job["uses"].as_str().is_some_and(is_own),
                "{name}: {job_name}"
            );
            for step in job["steps"].as_array().into_iter().flatten() {
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

/// Returns the words of a text that contain `user`.
fn words_about_users(text: &str) -> impl Iterator<Item = String> {
    let is_part = |character: char| character.is_alphanumeric() || "-_".contains(character);
    text.split(move |character| !is_part(character))
        .filter(|word| word.to_lowercase().contains("user"))
        .map(|word| word.trim_matches('-').to_owned())
}

/// Returns the words about users that are not ours, as CONTRIBUTING.md lists them.
fn words_of_others() -> BTreeSet<String> {
    let page = text("CONTRIBUTING.md");
    let list = page.split("words of others stay:").nth(1);
    let list = list.and_then(|rest| rest.split(". Then:").next());
    words_about_users(list.expect("a list of words")).collect()
}

#[test]
fn the_project_can_be_renamed_to_keep_something_else() {
    // The script removes itself.
    if !repository::path("scripts/rename.sh").exists() {
        return;
    }
    let copy = tempfile::tempdir().expect("a directory");
    let run = |program: &str, arguments: &[&str], directory: &Path| {
        let output = Command::new(program)
            .args(arguments)
            .current_dir(directory)
            .output()
            .expect("the program runs");
        assert!(
            output.status.success(),
            "{program} {arguments:?}: {output:?}"
        );
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    for file in run("git", &["ls-files"], &repository::path(".")).lines() {
        let target = copy.path().join(file);
        fs::create_dir_all(target.parent().expect("a directory")).expect("a directory");
        // A file that is deleted but not yet committed is listed, too.
        let _ = fs::copy(repository::path(file), target);
    }
    run("git", &["init", "--quiet"], copy.path());
    run("git", &["add", "--all"], copy.path());
    run("scripts/rename.sh", &["order", "orders"], copy.path());

    run(
        "cargo",
        &["metadata", "--offline", "--no-deps", "--format-version=1"],
        copy.path(),
    );
    let mut left = BTreeSet::new();
    for file in run("git", &["ls-files"], copy.path()).lines() {
        assert!(!file.contains("user"), "{file}");
        let text = fs::read_to_string(copy.path().join(file)).expect("text");
        left.extend(words_about_users(&text));
    }
    assert_eq!(left, words_of_others());
}
