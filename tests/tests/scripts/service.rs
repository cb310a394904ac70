//! The scripts that use a service: its tests, its users, and a service or a database of their own.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Outcome, Scripts, write_executable};

#[test]
fn only_a_stage_for_tests_is_tested_unasked() {
    let scripts = Scripts::new("");
    let test = |suite: &str, url: &str, variables: &[(&str, &str)]| {
        let variables = [variables, &[("API_ENDPOINT", url)]].concat();
        scripts.run(&format!("test-api.sh {suite}"), &variables, "")
    };
    for url in [
        "https://a.example/prod",
        "https://a.example",
        "https://a.example/latest/",
    ] {
        for variables in [&[][..], &[("WIPE", "1")], &[("YES", "yes")]] {
            let outcome = test("end_to_end", url, variables);
            outcome.assert_refused("YES=1").assert_calls("cargo", 0);
        }
        test("end_to_end", url, &[("YES", "1")]).assert_calls("cargo test", 1);
        test("smoke", url, &[]).assert_calls("--test smoke", 1);
    }
    for url in ["", "http://127.0.0.1:3000/prod", "https://a.example/test/"] {
        test("end_to_end", url, &[]).assert_calls("--test end_to_end WIPE=", 1);
        test("end_to_end", url, &[]).assert_calls("WIPE=1", 0);
        test("end_to_end", url, &[("WIPE", "1")]).assert_calls("WIPE=1", 1);
    }
}

#[test]
fn the_url_in_api_txt_is_tested_like_any_other() {
    let scripts = Scripts::new("");
    scripts.write("api.txt", "https://a.example/prod\n");
    let outcome = scripts.run("test-api.sh end_to_end", &[], "");
    outcome.assert_refused("YES=1").assert_calls("cargo", 0);
}

#[test]
fn users_are_deleted_only_after_a_yes() {
    for (answer, message) in [
        ("000; exit 7", "nothing responds"),
        ("403", "API_KEY= if it needs a key"),
    ] {
        let outcome = Scripts::new(&format!("'curl '*) printf {answer} ;;")).run(
            "reset",
            &[("YES", "1")],
            "",
        );
        outcome.assert_refused(message).assert_calls("DELETE", 0);
    }
    let scripts = Scripts::new("'curl '*) answer 200; echo ;;");
    for input in ["", "\n", "y\n", "no\n", "YES\n"] {
        let outcome = scripts.run("reset", &[], input);
        outcome
            .assert_refused("nothing was deleted")
            .assert_calls("DELETE", 0);
    }
    for (yes, input) in [("", "yes\n"), ("1", "")] {
        let variables = [
            ("YES", yes),
            ("PORT", "4000"),
            ("STAGE", "live"),
            ("API_KEY", "secret"),
        ];
        let outcome = scripts.run("reset", &variables, input);
        outcome
            .assert_done("are deleted")
            .assert_calls("--request DELETE", 1)
            .assert_calls("--header x-api-key: secret", 2)
            .assert_calls("http://127.0.0.1:4000/live/users", 2);
    }
}

#[test]
fn only_an_incomplete_deletion_is_continued() {
    let reset = |first: &str| {
        let answers = format!(
            r"*DELETE*) if [ -e done ]; then printf 'null\n200'; else : >done; printf '{first}'; fi ;;
              'curl '*) printf 200 ;;"
        );
        Scripts::new(&answers).run("reset", &[("YES", "1")], "")
    };
    reset(r"DeleteIncomplete\n503")
        .assert_done("are deleted")
        .assert_calls("--request DELETE", 2);
    for (first, code) in [
        (r"InternalError\n500", "InternalError"),
        (r"ServiceUnavailable\n503", "ServiceUnavailable"),
    ] {
        reset(first)
            .assert_refused(code)
            .assert_calls("--request DELETE", 1);
    }
}

/// Returns the users that curl sends.
fn added(outcome: &Outcome) -> Vec<Value> {
    let data = outcome
        .calls
        .lines()
        .filter_map(|line| line.strip_prefix("data = "));
    let users = data.map(|data| serde_json::from_str::<String>(data).expect("a string"));
    users
        .map(|user| serde_json::from_str(&user).expect("JSON"))
        .collect()
}

#[test]
fn users_are_added_to_a_service_that_responds() {
    let answers = "*--config*) printf '200\\n400\\n' ;; 'curl '*) printf 200 ;;";
    let scripts = Scripts::new(answers);
    let variables = [
        ("N", "2"),
        ("PORT", "4000"),
        ("STAGE", "live"),
        ("API_KEY", "secret"),
    ];
    let outcome = scripts.run("seed", &variables, "");
    outcome
        .assert_done("added 1 users")
        .assert_done("1 existed already");
    for user in added(&outcome) {
        assert!(
            user["email"].is_string() && user["active"].is_boolean(),
            "{user}"
        );
    }
    outcome
        .assert_calls("retry = 100", 2)
        .assert_calls("header = \"x-api-key: secret\"", 2)
        .assert_calls("url = \"http://127.0.0.1:4000/live/users\"", 2);

    let users = added(&scripts.run("seed", &[("N", "700")], ""));
    let ids: BTreeSet<_> = users.iter().map(|user| user["id"].as_str()).collect();
    assert_eq!(ids.len(), 700);

    for count in ["0", "x", "-1", "1.5"] {
        let outcome = scripts.run("seed", &[("N", count)], "");
        outcome
            .assert_refused("not a positive number")
            .assert_calls("", 0);
    }
    let answers = "*--config*) echo 503 ;; 'curl '*) printf 200 ;;";
    let outcome = Scripts::new(answers).run("seed", &[("N", "1")], "");
    outcome.assert_refused("1 were not added; the last status is 503");
    let outcome = Scripts::new("'curl '*) printf 000; exit 7 ;;").run("seed", &[], "");
    outcome.assert_refused("nothing responds");
}

#[test]
fn a_command_gets_a_local_service_that_ends_with_it() {
    let answers = r#"'cargo build '*--release*)
            echo "{\"executable\":\"$PWD/target/release/local\"}" ;;
        'sleep 0.1 '*) exec /usr/bin/sleep 0.1 ;;"#;
    let scripts = Scripts::new(answers);
    let service = scripts.directory.path().join("target/release/local");
    std::fs::create_dir_all(service.parent().expect("a directory")).expect("a directory");
    let variables = [
        ("PROFILE", "release"),
        ("STAGE", "live"),
        ("DATA", "users.db"),
        ("DYNAMO_ENDPOINT", "x"),
    ];
    let run = |command: &str| scripts.run(&format!("with-local-service {command}"), &variables, "");
    write_executable(
        &service,
        "#!/bin/sh
        trap 'echo stopped > stopped; exit' TERM
        echo \"$MEMORY $PORT ${STAGE:-} ${DATA:-} ${DYNAMO_ENDPOINT:-} $PARAMS\" > environment
        echo 'User Profile API: http://127.0.0.1:1/test/users'
        echo 'GET /users 500 InternalError'
        while :; do /usr/bin/sleep 0.01; done",
    );
    let outcome = run("sh -c 'echo \"at $API_ENDPOINT\"'");
    outcome.assert_done("at http://127.0.0.1:1/test\n");
    assert!(!outcome.text.contains("InternalError"), "{}", outcome.text);
    assert!(scripts.exists("stopped"));
    let environment = scripts.read("environment");
    let environment: Vec<_> = environment.split_whitespace().collect();
    let expected = "1 0 RateLimit=10000 BurstLimit=5000 ListRateLimit=10000 ListBurstLimit=5000 \
        DeleteAllRateLimit=10000 DeleteAllBurstLimit=5000 LogLevel=ERROR";
    assert_eq!(environment.join(" "), expected);

    run("false").assert_refused("GET /users 500 InternalError");
    write_executable(&service, "#!/bin/sh\necho 'no port is free'; exit 1");
    run("true").assert_refused("no port is free");
}

#[test]
fn a_command_gets_a_database_in_docker_that_ends_with_it() {
    let answers = "'docker run'*) echo id ;; 'docker port'*) echo 127.0.0.1:4000 ;;";
    let run = |answers: &str, variables: &[_]| {
        Scripts::new(answers).run(
            "with-dynamodb sh -c 'echo at $DYNAMO_ENDPOINT'",
            variables,
            "",
        )
    };
    let outcome = run(answers, &[]);
    outcome
        .assert_done("at http://127.0.0.1:4000\n")
        .assert_calls("docker rm --force id", 1);
    for variables in [[("DYNAMODB", "embedded")], [("DYNAMO_ENDPOINT", "")]] {
        let outcome = run("'docker version'*) exit 1 ;;", &variables);
        outcome.assert_done("at\n").assert_calls("docker run", 0);
    }
    let outcome = run("'docker version'*) exit 1 ;;", &[("DYNAMODB", "docker")]);
    outcome.assert_refused("no Docker daemon responds");
}

#[test]
fn a_package_has_every_function_and_lists_its_crates() {
    let scripts = Scripts::new("");
    let outcome = scripts.run("package.sh", &[("ARCH", "x86_64")], "");
    outcome.assert_done("").assert_calls(
        "cargo auditable lambda build --release --x86-64 --output-format zip --package get-all",
        1,
    );
    outcome.assert_calls("--package delete ", 1);
    let auditable = scripts.directory.path().join("bin/cargo-auditable");
    std::fs::remove_file(auditable).expect("a stub");
    scripts
        .run("package.sh", &[], "")
        .assert_done("cargo-auditable is missing")
        .assert_calls("cargo lambda build --release --arm64", 1);
    scripts
        .run("package.sh", &[("ARCH", "arm")], "")
        .assert_refused("must be arm64 or x86_64");
}
