//! What the targets for a deployed stage ask, and what they say.

use super::{Scripts, existing};

#[test]
fn no_answer_is_said_and_a_wrong_one_fails() {
    let outcome = existing("").deploy("prod", "");
    outcome.assert_done("version 7 of user-profile-get, from the commit 0123456789ab");

    let outcome = existing("'curl '*) exit 6 ;;").deploy("prod", "");
    outcome.assert_done("Try again: make ping STAGE=prod");

    let outcome = existing("'curl '*) answer 500 InternalError ;;").deploy("prod", "");
    outcome
        .assert_refused("status 500: InternalError")
        .assert_refused("git checkout 0123456789ab")
        .assert_calls("curl ", 12);
}

#[test]
fn a_wrong_status_or_body_is_a_wrong_answer() {
    for answer in ["200 UserNotFound", "400 InvalidUser", "403 InvalidApiKey"] {
        let outcome = existing(&format!("'curl '*) answer {answer} ;;")).run(
            "stage.sh ping",
            &[("STAGE", "prod")],
            "",
        );
        outcome.assert_refused("answered a request for a user that does not exist");
    }
}

#[test]
fn a_stage_is_asked_with_its_own_authentication() {
    for (auth_type, header) in [
        ("API_KEY", r#"header = "x-api-key: secret""#),
        ("AWS_IAM", r#"aws-sigv4 = "aws:amz:eu-west-1:execute-api""#),
    ] {
        let answers = format!(
            "*\"ParameterKey=='AuthType'\"*) echo {auth_type} ;;
             *\"ParameterKey=='NameSuffix'\"*) echo -prod ;;
             *ApiKeyId*) echo id ;;
             'aws apigateway get-api-key'*) echo secret ;;
             *\"OutputKey=='ApiUrl'\"*) echo https://a.execute-api.eu-west-1.example/prod ;;"
        );
        let variables = [
            ("STAGE", "prod"),
            ("AWS_ACCESS_KEY_ID", "id"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("AWS_SESSION_TOKEN", "token"),
        ];
        let outcome = existing(&answers).run("stage.sh ping", &variables, "");
        outcome
            .assert_done("answers with status 400")
            .assert_calls("--max-time 10", 1)
            .assert_calls("--function-name user-profile-get-prod", 1)
            .assert_calls(header, 1);
        // Nobody has a user with 128 random bits as its id.
        let url = outcome
            .calls
            .split("/prod/users/")
            .nth(1)
            .and_then(|rest| rest.split('"').next());
        assert_eq!(url.map(str::len), Some(32), "{}", outcome.calls);
    }
}

#[test]
fn a_missing_tool_is_said() {
    for (script, tool) in [
        ("deploy.sh", "sam"),
        ("stage.sh logs", "sam"),
        ("stage.sh ping", "aws"),
    ] {
        let scripts = Scripts::new("");
        std::fs::remove_file(scripts.directory.path().join("bin").join(tool)).expect("a stub");
        let outcome = scripts.run(script, &[], "");
        outcome
            .assert_refused(&format!(
                "{tool} is missing. Install it in .venv with 'make tools'"
            ))
            .assert_calls("", 0);
    }
}

#[test]
fn a_signed_request_uses_the_credentials_of_a_profile() {
    let answers = r#"
*"ParameterKey=='AuthType'"*) echo AWS_IAM ;;
'aws configure export-credentials'*) printf 'AWS_%s\n' \
    ACCESS_KEY_ID=id SECRET_ACCESS_KEY=secret SESSION_TOKEN=token ;;"#;
    let outcome = existing(answers).run("stage.sh ping", &[], "");
    outcome
        .assert_done("answers with status 400")
        .assert_calls("user = \"id:secret\"", 1)
        .assert_calls("header = \"x-amz-security-token: token\"", 1);

    let answers = "*\"ParameterKey=='AuthType'\"*) echo AWS_IAM ;;
        'aws configure export-credentials'*) exit 252 ;;";
    let outcome = existing(answers).run("stage.sh ping", &[], "");
    outcome
        .assert_done("The stage was not asked")
        .assert_calls("curl", 0);
}

#[test]
fn a_target_shows_its_own_stage() {
    let answers = r#"
*ApiKeyId*) echo key ;;
*"ParameterKey=='AuthType'"*) echo API_KEY ;;
*"ParameterKey=='NameSuffix'"*) echo -prod ;;
*"ParameterKey=='StageName'"*) echo live ;;"#;
    for (command, call) in [
        (
            "api-key",
            "aws apigateway get-api-key --api-key key --include-value --query value",
        ),
        (
            "auth-type",
            "describe-stacks --stack-name user-profiles-prod",
        ),
        ("logs", "sam logs --stack-name user-profiles-prod --tail"),
        (
            "traces",
            "--filter-expression service(\"user-profile-api-prod/live\")",
        ),
    ] {
        let outcome =
            existing(answers).run(&format!("stage.sh {command}"), &[("STAGE", "prod")], "");
        outcome.assert_done("").assert_calls(call, 1);
    }
}

#[test]
fn a_stage_or_a_key_that_is_not_deployed_is_said() {
    for (command, message) in [
        ("ping", "run make deploy STAGE=prod"),
        ("auth-type", "run make deploy STAGE=prod"),
        ("api-key", "make deploy STAGE=prod PARAMS=AuthType=API_KEY"),
    ] {
        let none = "'aws cloudformation describe-stacks'*) echo 'does not exist' >&2; exit 254 ;;";
        let command = format!("stage.sh {command}");
        let outcome = Scripts::new(none).run(&command, &[("STAGE", "prod")], "");
        outcome.assert_refused(message);
    }
    let outcome = Scripts::new("").run("stage.sh ping", &[("STAGE", "a b")], "");
    outcome.assert_refused("is not a stage").assert_calls("", 0);
}

#[test]
fn a_stage_for_users_of_cognito_rejects_a_request_without_a_token() {
    let ping = |status: &str| {
        let answers = format!(
            "*\"ParameterKey=='AuthType'\"*) echo COGNITO ;; 'curl '*) answer {status} x ;;"
        );
        existing(&answers).run("stage.sh ping", &[("STAGE", "prod")], "")
    };
    ping("401").assert_done("answers with status 401");
    ping("400").assert_refused("status 400");
}

#[test]
fn no_network_is_not_a_rejection_of_the_credentials() {
    for (error, message) in [
        ("Could not connect to the endpoint URL", "cannot be reached"),
        ("Connect timeout on endpoint URL", "cannot be reached"),
        ("ExpiredToken", "AWS rejects the credentials"),
        (
            "Unable to locate credentials",
            "AWS rejects the credentials",
        ),
    ] {
        let answers = format!("'aws sts'*) echo '{error}' >&2; exit 255 ;;");
        let outcome = Scripts::new(&answers).run("stage.sh auth-type", &[], "");
        outcome.assert_refused(error).assert_refused(message);
    }
}

#[test]
fn a_stack_is_destroyed_only_if_its_name_is_typed() {
    let scripts = existing("");
    for input in ["", "\n", "y\n", "yes\n", "user-profiles\n"] {
        let outcome = scripts.run("stage.sh destroy", &[("STAGE", "prod")], input);
        outcome
            .assert_refused("Nothing was deleted")
            .assert_calls("sam delete", 0);
    }
    let variables = [("STAGE", "prod"), ("YES", "yes")];
    let outcome = scripts.run("stage.sh destroy", &variables, "");
    outcome.assert_refused("Nothing was deleted");
    for (yes, input) in [("", "user-profiles-prod\n"), ("1", "")] {
        scripts
            .run(
                "stage.sh destroy",
                &[("STAGE", "prod"), ("YES", yes)],
                input,
            )
            .assert_done("")
            .assert_calls("sam delete --stack-name user-profiles-prod --no-prompts", 1);
    }
}

#[test]
fn destroying_a_stage_forgets_only_its_own_url() {
    let scripts = existing("");
    let destroy = || {
        scripts
            .run("stage.sh destroy", &[("YES", "1")], "")
            .assert_done("");
        scripts.exists("api.txt")
    };
    scripts.write("api.txt", "https://other.example/test\n");
    assert!(destroy());
    scripts.write("api.txt", "https://api.example/test\n");
    assert!(!destroy());
}
