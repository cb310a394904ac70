//! The program that `make run` starts: its options, its surroundings, and its archive.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{Credentials, Region};
use lambda_http::http::Request;
use tests::{executables, repository};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

/// A running program, which is killed when dropped.
struct Program {
    lines: Lines<BufReader<ChildStdout>>,
    _process: Child,
}

impl Program {
    /// Starts an executable with its users in memory and with these variables only.
    fn start(executable: &Path, directory: &Path, variables: &[(&str, &str)]) -> Self {
        let mut process = Command::new(executable)
            .current_dir(directory)
            .env_clear()
            .envs([("MEMORY", "1"), ("PORT", "0"), ("PATH", "/usr/bin:/bin")])
            .envs(variables.iter().copied())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the program starts");
        Self {
            lines: BufReader::new(process.stdout.take().expect("a pipe")).lines(),
            _process: process,
        }
    }

    /// Waits for a line that contains `text`, and returns what follows.
    #[track_caller]
    fn after(&mut self, text: &str) -> impl Future<Output = String> {
        let find = async move {
            let mut seen = Vec::new();
            while let Some(line) = self.lines.next_line().await.expect("text") {
                if let Some((_, rest)) = line.split_once(text) {
                    return rest.to_owned();
                }
                seen.push(line);
            }
            panic!("no line has {text}: {seen:#?}");
        };
        async {
            timeout(Duration::from_mins(1), find)
                .await
                .expect("it is printed")
        }
    }

    async fn url(&mut self) -> String {
        self.after("User Profile API: ").await
    }
}

fn local() -> std::path::PathBuf {
    executables().join("local")
}

/// Returns the body of the response to `GET` for a URL.
async fn get(url: &str) -> String {
    let request = Request::get(url)
        .body(lambda_http::Body::Empty)
        .expect("a URL");
    let response = tests::Client::default().send(request).await;
    response.expect("a response").into_body()
}

#[tokio::test]
async fn options_are_checked_before_anything_starts() {
    let root = repository::path(".");
    for (arguments, variables, code, expected) in [
        (&["--help"][..], &[][..], 0, "--port"),
        (&["--prot=1"], &[], 2, "--port"),
        (&["--port", "x"], &[], 1, "--port x is not a port"),
        (&[], &[("PORT", "x")], 1, "PORT=x is not a port"),
        (&[], &[("STAGE", "a b")], 1, "STAGE cannot be 'a b'"),
        (&["--stage=a b"], &[], 1, "--stage cannot be 'a b'"),
        (&[], &[("CORS", "http://a/")], 1, "CORS cannot be"),
        (&["--watch"], &[("MEMORY", "2")], 1, "MEMORY=2"),
    ] {
        let output = Command::new(local())
            .args(arguments)
            .current_dir(&root)
            .env_clear()
            .envs(variables.iter().copied())
            .output()
            .await
            .expect("the program runs");
        let text = String::from_utf8([output.stdout, output.stderr].concat()).expect("UTF-8");
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
        assert!(text.contains(expected), "{arguments:?}: {text}");
    }
}

#[tokio::test]
async fn variables_for_other_programs_change_nothing() {
    let endpoint = "http://127.0.0.1:1";
    let variables = [
        ("AWS_ENDPOINT_URL", endpoint),
        ("AWS_ENDPOINT_URL_DYNAMODB", endpoint),
        ("AWS_PROFILE", "none"),
        ("DATA", " "),
    ];
    let mut program = Program::start(&local(), &repository::path("."), &variables);
    assert_eq!(get(&program.url().await).await, "[]");
}

#[tokio::test]
async fn a_fixed_port_of_the_database_has_a_fixed_key() {
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = free.local_addr().expect("an address").port().to_string();
    drop(free);
    let variables = [("DYNAMODB_PORT", port.as_str())];
    let mut program = Program::start(&local(), &repository::path("."), &variables);
    program.url().await;
    let client = users_core::client(Some(&format!("http://127.0.0.1:{port}")));
    let config = client.expect("a client").config().to_builder();
    let config = config
        .region(Region::from_static("us-east-1"))
        .credentials_provider(Credentials::new("local", "local", None, None, "test"))
        .build();
    let tables = Client::from_conf(config).list_tables().send().await;
    assert_eq!(tables.expect("a response").table_names(), ["user-profiles"]);
}

#[tokio::test]
async fn a_debugged_function_tells_its_process() {
    let mut program = Program::start(&local(), &repository::path("."), &[("DEBUG", "1")]);
    let url = program.url().await;
    assert_eq!(get(&url).await, "[]");
    let process = program.after("get-all | process ").await;
    let id = process.split(' ').next().and_then(|id| id.parse().ok());
    let running = tests::Process::of(id.expect("an id"));
    assert!(running.memory().is_some_and(|bytes| bytes > 0));
}

#[tokio::test]
async fn a_saved_file_is_built_and_a_saved_template_restarts() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name);
    fs::create_dir(at("crates")).expect("a directory");
    fs::copy(repository::path("template.yaml"), at("template.yaml")).expect("a copy");
    // Stands in for Cargo: fails until there is a file `good`.
    fs::write(
        at("cargo"),
        "#!/bin/sh\n[ -e good ] || { echo 'error: broken' >&2; exit 101; }\n",
    )
    .expect("a file");
    fs::set_permissions(at("cargo"), fs::Permissions::from_mode(0o700)).expect("a file of ours");
    let cargo = at("cargo").display().to_string();
    let variables = [("WATCH", "1"), ("CARGO", cargo.as_str())];
    let mut program = Program::start(&local(), directory.path(), &variables);
    program.url().await;

    fs::write(at("crates/notes.txt"), "not a source").expect("a file");
    fs::write(at("crates/lib.rs"), "broken").expect("a file");
    program.after("cargo | error: broken").await;
    program.after("cargo | failed").await;
    fs::write(at("good"), "").expect("a file");
    fs::write(at("crates/lib.rs"), "good").expect("a file");
    program.after("cargo | done").await;
    let template = fs::read_to_string(at("template.yaml")).expect("a template");
    fs::write(at("template.yaml"), "Resources: [").expect("a file");
    program.after("not restarted: ").await;
    fs::write(
        at("template.yaml"),
        template.replace("Default: test", "Default: dev"),
    )
    .expect("it");
    program.after("cargo | done; the service restarts").await;
    assert!(program.url().await.contains("/dev/users"));
}

#[tokio::test]
async fn the_archive_runs_elsewhere_without_cargo() {
    let (dist, elsewhere) = (tempfile::tempdir(), tempfile::tempdir());
    let (dist, elsewhere) = (dist.expect("a directory"), elsewhere.expect("a directory"));
    let made = Command::new(repository::path("scripts/dist.sh"))
        .envs([("PROFILE", "debug"), ("GZIP", "-1")])
        .env("DIST", dist.path())
        .output()
        .await
        .expect("the script runs");
    assert!(made.status.success(), "{made:?}");
    let archive = String::from_utf8(made.stdout).expect("UTF-8");
    let checked = Command::new("sh")
        .args([
            "-c",
            "cd \"$1\" && sha256sum -c *.sha256 && tar -xzf *.tar.gz -C \"$2\"",
            "sh",
        ])
        .args([dist.path(), elsewhere.path()])
        .output()
        .await
        .expect("sh runs");
    assert!(checked.status.success(), "{archive}: {checked:?}");
    let unpacked = fs::read_dir(elsewhere.path()).expect("a directory").next();
    let unpacked = unpacked.expect("one directory").expect("it").path();
    let empty = tempfile::tempdir().expect("a directory");
    let mut program = Program::start(&unpacked.join("local"), empty.path(), &[]);
    let url = program.url().await;
    assert_eq!(get(&url).await, "[]");
    assert!(
        get(&url.replace("/test/users", "/docs"))
            .await
            .contains("swagger")
    );
}

#[tokio::test]
async fn a_table_that_is_created_elsewhere_is_named() {
    let endpoint = tests::engine();
    let variables = [
        ("MEMORY", "0"),
        ("DYNAMO_ENDPOINT", endpoint),
        ("PARAMS", "NameSuffix=-created-by-a-test"),
    ];
    for is_new in [true, false] {
        let mut program = Program::start(&local(), &repository::path("."), &variables);
        let kept = program.after("Users are kept in the table ").await;
        assert!(kept.starts_with("user-profiles-created-by-a-test of the DynamoDB at"));
        assert_eq!(kept.contains("just created"), is_new, "{kept}");
    }
}
