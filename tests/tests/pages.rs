//! The tables and commands of the pages say what is so.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use lambda_http::http::Method;
use local::Database;
use serde_json::json;
use tests::oracle::CODES;
use tests::repository::{self, path, text, yaml};
use tests::{Api, ScriptedResponse, ScriptedServer, operations, trace_header, without_uuids};
use users_core::Part;
use users_core::handlers::ROUTES;

/// Returns the cells of each row of the table that has this header, such as `| code | when |`.
fn table(page: &str, header: &str) -> Vec<Vec<String>> {
    let text = text(page);
    let mut lines = text.lines().skip_while(|line| *line != header);
    assert!(lines.next().is_some(), "{page} has no table {header}");
    lines
        .skip(1)
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.split('|').map(|cell| cell.trim().to_owned()))
        .map(|cells| cells.skip(1).collect())
        .collect()
}

/// Returns what a text has in backticks.
fn code(text: &str) -> Vec<String> {
    text.split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

/// Returns what the first column of a table has in backticks.
fn names(page: &str, header: &str) -> BTreeSet<String> {
    let rows = table(page, header);
    rows.iter().flat_map(|row| code(&row[0])).collect()
}

/// Returns the pages of the documentation.
fn pages() -> impl Iterator<Item = PathBuf> {
    let pages = fs::read_dir(path("docs")).expect("a directory");
    let pages = pages.map(|page| page.expect("a file").path());
    let others = ["README.md", "CONTRIBUTING.md", "SECURITY.md"].map(repository::path);
    pages
        .chain(others)
        .filter(|page| page.extension().is_some_and(|own| own == "md"))
}

#[test]
fn each_logical_id_on_a_page_is_in_the_template() {
    const KINDS: [&str; 5] = ["Alarm", "ColdStarts", "Function", "Logs", "Role"];
    let template = text("template.yaml");
    let known: BTreeSet<_> = template.split(|c: char| !c.is_alphanumeric()).collect();
    for page in pages() {
        for name in code(&text(&page)) {
            let is_id = name.chars().all(char::is_alphanumeric)
                && name.starts_with(char::is_uppercase)
                && KINDS.iter().any(|kind| name.ends_with(kind));
            // CONTRIBUTING.md's example is a function `Patch`.
            let is_known = known.contains(&*name.replacen("Patch", "Put", 1));
            let page = page.display();
            assert!(!is_id || is_known, "{page}: template.yaml has no {name}");
        }
    }
}

#[test]
fn each_route_reads_what_openapi_yaml_specifies() {
    let specification = yaml("openapi.yaml");
    for route in ROUTES {
        let name = format!("{} {}", route.method, route.resource);
        let operation = &specification["paths"][route.resource][route.method.to_lowercase()];
        assert!(operation.is_object(), "openapi.yaml lacks {name}");
        if route.reads(Part::Everything) {
            continue;
        }
        let has_query = operation["parameters"]
            .as_array()
            .is_some_and(|all| !all.is_empty());
        for (part, is_specified) in [
            (Part::Id, route.resource.contains("{id}")),
            (Part::Body, operation["requestBody"].is_object()),
            (Part::Query, has_query),
        ] {
            assert_eq!(
                route.reads(part),
                is_specified,
                "handlers.rs and openapi.yaml differ in whether {name} reads {part:?}"
            );
        }
    }
}

#[test]
fn the_page_on_the_api_has_every_code_of_the_service() {
    let rows = table("docs/api.md", "| status | code | when |");
    let documented: BTreeSet<_> = rows
        .iter()
        .map(|row| (row[0].clone(), code(&row[1]).concat()))
        .collect();
    let codes = CODES.map(|(status, code)| (status.to_string(), code.to_owned()));
    let page = "docs/api.md's table of codes (left), and the service's (right)";
    assert_eq!(documented, codes.into(), "{page}");
}

#[test]
fn the_page_on_operating_has_every_variable() {
    let source = text("crates/users-core/src/process/environment.rs");
    let constants = source
        .lines()
        .filter(|line| line.contains("_VARIABLE: &str"));
    let mut variables: BTreeSet<_> = constants
        .filter_map(|line| line.split('"').nth(1))
        .collect();
    // Lambda itself sets these, and nobody else should.
    for internal in ["AWS_LAMBDA_RUNTIME_API", "AWS_LAMBDA_MAX_CONCURRENCY"] {
        variables.remove(internal);
    }
    let documented = names("docs/operating.md", "| variable | meaning | default |");
    assert_eq!(
        documented,
        variables.into_iter().map(str::to_owned).collect(),
        "docs/operating.md's table of variables (left), and environment.rs (right)"
    );
}

#[tokio::test]
async fn the_page_on_operating_has_every_field_of_the_log() {
    let throttled = json!({
        "__type": "com.amazonaws.dynamodb.v20120810#ThrottlingException",
        "throttlingReasons": [{"reason": "TableReadMaxOnDemandThroughputExceeded"}],
    });
    let dynamodb = ScriptedServer::always(ScriptedResponse::Json(400, throttled)).await;
    let api = Api::with_variables(&[
        ("DYNAMO_ENDPOINT", dynamodb.endpoint()),
        ("AWS_LAMBDA_LOG_FORMAT", "JSON"),
    ])
    .await;
    let trace = trace_header(true);
    api.send_traced(Method::GET, "/users/1", "", &trace).await;
    let lines = api.into_request_lines().await;
    let line = lines[0].as_object().expect("an object");
    let mut documented = names("docs/operating.md", "| field | meaning |");
    // Only `DELETE /users` has this.
    documented.remove("deleted");
    assert_eq!(
        documented,
        line.keys()
            .filter(|key| *key != "deleted")
            .cloned()
            .collect(),
        "docs/operating.md's table of fields (left), and log.rs (right)"
    );
}

#[tokio::test]
async fn the_events_for_the_console_are_served() {
    let rows = table("docs/api.md", "| function | event |");
    let mut served = BTreeSet::new();
    for row in &rows {
        for name in code(&row[0]) {
            let executable = name.trim_start_matches("user-profile-");
            let mut operations = operations().iter();
            let operation = operations
                .find(|operation| operation.executable == executable)
                .unwrap_or_else(|| panic!("docs/api.md: there is no function {name}"));
            let api = Api::local(Database::Memory).await;
            if executable != "post" {
                api.post("/users", r#"{"id": "1"}"#).await.assert_ok();
            }
            let reply = api
                .invoke(&operation.function, &code(&row[1]).concat())
                .await;
            reply.expect("a response").assert_ok();
            served.insert(executable.to_owned());
        }
    }
    let all = operations().iter().map(|own| own.executable.clone());
    let page = "docs/api.md: functions with an event (left), and all (right)";
    assert_eq!(served, all.collect(), "{page}");
}

/// Runs the `$` lines of the blocks with curl in a page, in order, on an empty service.
async fn assert_output_is_real(page: &str) {
    let api = Api::local(Database::Memory).await;
    let content = text(page);
    let blocks = content
        .split("```console\n")
        .skip(1)
        .filter_map(|block| block.split("```").next())
        .filter(|block| block.contains("$ curl"));
    let mut commands = 0;
    for block in blocks {
        for step in format!("\n{block}").split("\n$ ").skip(1) {
            let (command, shown) = step.split_once('\n').unwrap_or((step, ""));
            if command.starts_with("api=") {
                continue;
            }
            commands += 1;
            let output = tokio::process::Command::new("sh")
                .args(["-c", command])
                .env("api", api.url())
                .output()
                .await
                .expect("sh runs");
            let printed = String::from_utf8_lossy(&output.stdout).replace('\r', "");
            assert_eq!(
                without_uuids(printed.trim_end()),
                without_uuids(shown.trim_end()),
                "{page}: {command}"
            );
        }
    }
    assert!(commands > 5, "{page} has {commands} commands");
}

#[tokio::test]
async fn the_commands_of_the_readme_print_what_it_shows() {
    assert_output_is_real("README.md").await;
}

#[tokio::test]
async fn the_commands_of_the_api_page_print_what_it_shows() {
    assert_output_is_real("docs/api.md").await;
}

#[test]
fn make_lists_and_accepts_every_command_that_a_page_mentions() {
    let help = Command::new("make")
        .arg("help")
        .current_dir(path("."))
        .output()
        .expect("make runs");
    let help = String::from_utf8(help.stdout).expect("UTF-8");
    let targets: BTreeSet<_> = help
        .lines()
        .filter_map(|line| line.strip_prefix("  make ")?.split(' ').next())
        .collect();
    for page in pages() {
        for command in code(&text(&page))
            .iter()
            .filter_map(|code| code.strip_prefix("make "))
        {
            let target = command.split([' ', '\n']).next().unwrap_or_default();
            let is_option = target.contains('=') || target.starts_with('-') || target == "help";
            assert!(
                is_option || targets.contains(target),
                "{}: `make` does not list the target {target}",
                page.display()
            );
            if target.contains('=') {
                continue;
            }
            // A shell splits the arguments. The rest of the command would be executed.
            let command = command.split("&&").next().unwrap_or_default();
            let accepted = Command::new("sh")
                .args(["-c", &format!("make --dry-run {command}")])
                .current_dir(path("."))
                .output()
                .expect("make runs");
            assert!(accepted.status.success(), "{command}: {accepted:?}");
        }
    }
}
