//! The scripts for stages, with stubs of the programs that they call: what they refuse, what they
//! call, and what they say.
//!
//! CI does not run these sequences against an emulator of AWS: moto, for one, knows neither SAM's
//! transform nor rollbacks, nor what CloudFormation retains in one.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;
use tests::repository;

const PROGRAMS: [&str; 9] = [
    "aws",
    "sam",
    "cargo",
    "cargo-lambda",
    "cargo-auditable",
    "curl",
    "env",
    "git",
    "sleep",
];

/// Answers every stage gives, unless a test answers first: a pattern of a call, and what the shell
/// does then. Other calls succeed and print nothing.
const ANSWERS: &str = r#"
'env '*) exec /usr/bin/env "$@" ;;
'git rev-parse'*) echo 0123456789ab ;;
'sam build'*)
    mkdir -p .aws-sam/build/GetFunction
    printf '%018d\267' 0 > .aws-sam/build/GetFunction/bootstrap ;;
'aws apigateway get-account'*) echo arn:aws:iam::1:role/logs ;;
'aws dynamodb describe-table'* | 'aws cloudwatch get-dashboard'*) exit 254 ;;
*'Outputs[?OutputKey=='?ApiUrl*) echo https://api.example/test ;;
'curl '*) answer 400 UserNotFound ;;
'aws lambda get-function-configuration'*) echo 7 0123456789ab ;;
"#;

const NEW_STAGE: &str = r"
*Stacks*StackStatus*) echo 'Stack does not exist' >&2; exit 254 ;;
";

/// A stage that was deployed from the commit of [`ANSWERS`] and moves traffic gradually.
const DEPLOYED_STAGE: &str = r"
*Stacks*StackStatus*) echo UPDATE_COMPLETE ;;
*'Parameters[].['*) printf '%s\t%s\n' Commit 0123456789ab NameSuffix -prod StageName prod \
    Architecture arm64 MemorySize 512 DeploymentPreference Canary10Percent5Minutes \
    AuthType API_KEY AlarmEmail ops@example.com ;;
";

const FIRING_ALARM: &str = r"
*ApiErrorsAlarm*) echo stack-ApiErrorsAlarm-1 ;;
'aws cloudwatch describe-alarms'*) echo stack-ApiErrorsAlarm-1 ;;
";

/// A copy of the scripts with stubs of the programs that they call.
struct Scripts {
    directory: TempDir,
}

/// What a script did.
struct Outcome {
    success: bool,
    /// Its output and its errors.
    text: String,
    /// Its calls of programs, one a line.
    calls: String,
}

impl Scripts {
    /// Copies the scripts. Each call of a program is answered by the first of these patterns that
    /// matches it.
    fn new(answers: &str) -> Self {
        let directory = TempDir::new().expect("a directory");
        let root = directory.path();
        for name in ["scripts", "bin"] {
            fs::create_dir(root.join(name)).expect("a directory");
        }
        for name in ["template.yaml", "samconfig.toml"] {
            fs::copy(repository::path(name), root.join(name)).expect("a copy");
        }
        for entry in fs::read_dir(repository::path("scripts")).expect("the scripts") {
            let path = entry.expect("an entry").path();
            if path.is_file() {
                let copy = root.join("scripts").join(path.file_name().expect("a name"));
                fs::copy(&path, copy).expect("a copy");
            }
        }
        // `answer STATUS BODY` does what curl does with a response.
        let stub = format!(
            r#"#!/bin/sh
call="${{0##*/}} $*"
case "$call" in 'env '*) call="env $1" ;; esac
printf '%s\n' "$call WIPE=${{WIPE:-}}" >> '{calls}'
case "$call" in
'curl --config '*) request=${{call#curl --config }}; cat "${{request%% *}}" 2>/dev/null >> '{calls}' ;;
esac
answer() {{
    while [ $# -gt 2 ]; do shift; done
    case "$call" in *--output*) body=${{call#*--output }}; printf '%s' "$2" > "${{body%% *}}" ;; esac
    printf '%s' "$1"
}}
case "$call" in
{answers}
{ANSWERS}
esac
"#,
            calls = root.join("calls").display()
        );
        for program in PROGRAMS {
            write_executable(&root.join("bin").join(program), &stub);
        }
        fs::write(root.join("calls"), "").expect("a file");
        Self { directory }
    }

    /// Runs a script with these arguments, variables and input.
    fn run(&self, command: &str, variables: &[(&str, &str)], input: &str) -> Outcome {
        let root = self.directory.path();
        fs::write(root.join("calls"), "").expect("a file");
        fs::write(root.join("input"), input).expect("a file");
        let path = format!("{}:/usr/bin:/bin", root.join("bin").display());
        let output = Command::new("/bin/sh")
            .args(["-c", &format!("exec 2>&1; scripts/{command}")])
            .current_dir(root)
            .env_clear()
            .env("PATH", path)
            .envs(variables.iter().copied())
            .stdin(fs::File::open(root.join("input")).expect("the input"))
            .stderr(Stdio::inherit())
            .output()
            .expect("a shell");
        Outcome {
            success: output.status.success(),
            text: String::from_utf8(output.stdout).expect("text"),
            calls: fs::read_to_string(root.join("calls")).expect("the calls"),
        }
    }

    fn deploy(&self, stage: &str, params: &str) -> Outcome {
        self.run("deploy.sh", &[("STAGE", stage), ("PARAMS", params)], "")
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.directory.path().join(name), text).expect("a file");
    }

    fn exists(&self, name: &str) -> bool {
        self.directory.path().join(name).exists()
    }
}

impl Outcome {
    /// Asserts that the script succeeded and said this.
    #[track_caller]
    fn assert_done(&self, text: &str) -> &Self {
        assert!(self.success, "it failed: {}\n{}", self.text, self.calls);
        assert!(self.text.contains(text), "no '{text}' in: {}", self.text);
        self
    }

    /// Asserts that the script failed and said this.
    #[track_caller]
    fn assert_refused(&self, text: &str) -> &Self {
        assert!(!self.success, "it succeeded: {}", self.text);
        assert!(self.text.contains(text), "no '{text}' in: {}", self.text);
        self
    }

    /// Asserts how many calls contain a text.
    #[track_caller]
    fn assert_calls(&self, text: &str, count: usize) -> &Self {
        let found = self.calls.lines().filter(|call| call.contains(text));
        assert_eq!(found.count(), count, "'{text}' in: {}", self.calls);
        self
    }
}

fn write_executable(path: &Path, text: &str) {
    fs::write(path, text).expect("a file");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("permissions");
}

fn existing(answers: &str) -> Scripts {
    Scripts::new(&format!("{answers}{DEPLOYED_STAGE}"))
}

// --- deploy.sh: parameters

#[test]
fn a_parameter_that_the_template_lacks_is_refused() {
    let outcome = Scripts::new(NEW_STAGE).deploy("test", "AuthTyp=API_KEY");
    outcome.assert_refused("template.yaml has no parameter 'AuthTyp'");
    outcome.assert_calls("", 0);
}

#[test]
fn a_parameter_without_a_value_or_with_quotes_is_refused() {
    let scripts = Scripts::new(NEW_STAGE);
    for (params, message) in [
        ("AuthType", "'AuthType' has no value"),
        ("CorsAllowOrigin='*'", "must not contain quotes"),
        ("CorsAllowOrigin=\"*\"", "must not contain quotes"),
        ("AlarmEmail=$USER", "must not contain quotes"),
        ("AlarmEmail=`id`", "must not contain quotes"),
    ] {
        let outcome = scripts.deploy("test", params);
        outcome.assert_refused(message).assert_calls("", 0);
    }
}

#[test]
fn an_empty_value_reaches_sam_in_quotes() {
    let outcome = existing("").deploy("prod", "AlarmEmail=");
    outcome.assert_done("").assert_calls("AlarmEmail=\"\"", 1);
}

#[test]
fn a_stage_that_samconfig_lacks_is_refused() {
    let outcome = Scripts::new(NEW_STAGE).deploy("staging", "");
    outcome.assert_refused("samconfig.toml has no stage 'staging'");
}

// --- deploy.sh: what exists

#[test]
fn the_table_of_a_new_stack_must_not_exist() {
    for (protected, count) in [("False", 0), ("True", 1)] {
        let answers = format!("'aws dynamodb describe-table'*) echo {protected} ;;{NEW_STAGE}");
        let outcome = Scripts::new(&answers).deploy("prod", "AuthType=NONE");
        outcome
            .assert_refused("aws dynamodb delete-table --table-name user-profiles-prod")
            .assert_calls("sam ", 0);
        let lines = outcome.text.matches("--no-deletion-protection-enabled");
        assert_eq!(lines.count(), count, "{}", outcome.text);
    }
}

#[test]
fn names_that_a_new_stack_needs_must_not_be_taken() {
    for answer in [
        "'aws lambda list-functions'*) echo user-profile-get ;;",
        "*/aws/lambda/user-profile-*) echo /aws/lambda/user-profile-get ;;",
        "*/aws/apigateway/user-profile-*) echo /aws/apigateway/user-profile-api ;;",
        "'aws cloudwatch get-dashboard'*) ;;",
    ] {
        let outcome = Scripts::new(&format!("{answer}{NEW_STAGE}")).deploy("test", "");
        outcome.assert_refused("already").assert_calls("sam ", 0);
    }
}

#[test]
fn the_names_of_a_deployed_stage_do_not_change() {
    for params in ["NameSuffix=-2", "NameSuffix=", "StageName=live"] {
        let outcome = existing("").deploy("prod", params);
        outcome.assert_refused("Deploy beside it instead");
        outcome.assert_calls("sam ", 0);
    }
    existing("")
        .deploy("prod", "StageName=prod NameSuffix=-prod")
        .assert_done("");
}

#[test]
fn a_new_production_stage_must_say_who_may_use_it() {
    let outcome = Scripts::new(NEW_STAGE).deploy("prod", "");
    outcome
        .assert_refused("Nothing says who may use the stage prod")
        .assert_calls("sam ", 0);
    Scripts::new(NEW_STAGE).deploy("test", "").assert_done("");
}

#[test]
fn an_open_stage_and_a_silent_alarm_are_pointed_out() {
    const OPEN: &str = "anyone may read and delete all users";
    const SILENT: &str = "Nobody is told when an alarm fires";
    let outcome = Scripts::new(NEW_STAGE).deploy("prod", "AuthType=NONE");
    outcome.assert_done(OPEN).assert_done(SILENT);
    let outcome = existing("").deploy("prod", "");
    assert!(!outcome.text.contains(OPEN) && !outcome.text.contains(SILENT));
}

#[test]
fn a_stage_that_was_opened_on_purpose_is_pointed_out_again() {
    let none = "*'Parameters[].['*) printf '%s\\t%s\\n' StageName prod AuthType NONE ;;";
    let outcome = existing(none).deploy("prod", "StageName=prod NameSuffix=");
    outcome.assert_done("anyone may read and delete all users");
}

#[test]
fn the_url_is_written_to_api_txt() {
    let scripts = Scripts::new(NEW_STAGE);
    scripts.deploy("test", "").assert_done("");
    let path = scripts.directory.path().join("api.txt");
    let url = fs::read_to_string(path).expect("api.txt");
    assert_eq!(url, "https://api.example/test\n");
}

#[test]
fn a_new_stage_writes_logs_with_the_role_of_the_account() {
    let outcome = Scripts::new(NEW_STAGE).deploy("test", "");
    outcome.assert_calls("ApiLogs=ExistingRole", 1);
    let outcome = Scripts::new(NEW_STAGE).deploy("test", "ApiLogs=None");
    outcome
        .assert_calls("ApiLogs=ExistingRole", 0)
        .assert_calls("ApiLogs=None", 1);
}

#[test]
fn a_stack_that_is_changing_or_broken_is_left_alone() {
    for (status, message) in [
        ("UPDATE_IN_PROGRESS", "is being changed"),
        ("UPDATE_ROLLBACK_FAILED", "continue-update-rollback"),
        ("ROLLBACK_FAILED", "make destroy STAGE=test"),
    ] {
        let answers = format!("*Stacks*StackStatus*) echo {status} ;;");
        let outcome = Scripts::new(&answers).deploy("test", "");
        outcome.assert_refused(message).assert_calls("sam ", 0);
    }
}

// --- deploy.sh: repeat, fail, come back

#[test]
fn a_new_table_is_protected_once_its_stack_stands() {
    let outcome = Scripts::new(NEW_STAGE).deploy("prod", "AuthType=API_KEY");
    outcome.assert_done("").assert_calls("sam deploy", 2);
    let ends: Vec<_> = outcome
        .calls
        .lines()
        .filter(|call| call.starts_with("sam deploy"))
        .filter_map(|call| call.split("TableDeletionProtection=").last())
        .filter_map(|end| end.split(' ').next())
        .collect();
    assert_eq!(ends, ["false", "true"]);

    let outcome = existing("").deploy("prod", "");
    outcome.assert_calls("sam deploy", 1);
    outcome.assert_calls("TableDeletionProtection=false", 0);
}

#[test]
fn an_imported_table_keeps_its_protection() {
    let imported = "*Stacks*StackStatus*) echo IMPORT_COMPLETE ;;";
    let outcome = Scripts::new(imported).deploy("prod", "AuthType=API_KEY");
    outcome
        .assert_done("")
        .assert_calls("ApiLogs=ExistingRole", 1)
        .assert_calls("sam deploy", 1)
        .assert_calls("TableDeletionProtection=false", 0);
}

#[test]
fn the_remains_of_a_failed_first_deployment_are_deleted() {
    let outcome =
        Scripts::new("*Stacks*StackStatus*) echo ROLLBACK_COMPLETE ;;").deploy("test", "");
    outcome
        .assert_done("The first deployment of user-profiles failed")
        .assert_calls(
            "aws cloudformation delete-stack --stack-name user-profiles",
            1,
        )
        .assert_calls("sam deploy", 1);
}

#[test]
fn versions_that_a_rollback_left_behind_are_deleted() {
    const VERSIONS: &str = r"
*AWS::Lambda::Version*) echo arn:aws:lambda:x:1:function:user-profile-get-prod:9 ;;
'aws lambda list-versions-by-function'*) printf '8\n9\n10\n11\n' ;;
";
    let rolled_back = "*Stacks*StackStatus*) echo UPDATE_ROLLBACK_COMPLETE ;;";
    let outcome = existing(&format!("{rolled_back}{VERSIONS}")).deploy("prod", "");
    outcome
        .assert_done("Deleting the version 10 of user-profile-get-prod")
        .assert_calls("delete-function", 2)
        .assert_calls("user-profile-get-prod --qualifier 10", 1)
        .assert_calls("user-profile-get-prod --qualifier 11", 1);

    let outcome = existing(VERSIONS).deploy("prod", "");
    outcome.assert_done("").assert_calls("delete-function", 0);
}

#[test]
fn an_alarm_stops_only_what_codedeploy_would_stop() {
    let commit = "'git rev-parse'*) echo ba9876543210 ;;";
    let firing = existing(FIRING_ALARM);
    let outcome = existing(&format!("{commit}{FIRING_ALARM}")).deploy("prod", "");
    outcome.assert_refused("is firing").assert_calls("sam ", 0);
    let outcome = firing.deploy("prod", "MemorySize=1024");
    outcome.assert_refused("is firing").assert_calls("sam ", 0);

    for params in [
        "TableMaxWriteUnits=2000",
        "ApiKeyVersion=2",
        "MemorySize=512",
    ] {
        let outcome = firing.deploy("prod", params);
        outcome
            .assert_done("These parameters change no function")
            .assert_calls("aws cloudformation get-template", 1)
            .assert_calls("sam build", 0)
            .assert_calls(params, 1);
    }
    let outcome =
        existing(&format!("{commit}{FIRING_ALARM}")).deploy("prod", "DeploymentPreference=None");
    outcome.assert_done("").assert_calls("sam build", 1);
}

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
    for answer in [
        "200 UserNotFound",
        "400 InvalidRequest",
        "403 InvalidApiKey",
    ] {
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
             *ApiKeyId*) echo id ;;
             'aws apigateway get-api-key'*) echo secret ;;
             *\"OutputKey=='ApiUrl'\"*) echo https://a.execute-api.eu-west-1.example/prod ;;"
        );
        let variables = [
            ("STAGE", "prod"),
            ("AWS_ACCESS_KEY_ID", "id"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
        ];
        let outcome = existing(&answers).run("stage.sh ping", &variables, "");
        outcome
            .assert_done("answers with status 400")
            .assert_calls(header, 1);
    }
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

// --- The build

#[test]
fn a_commit_is_built_once() {
    let scripts = existing("");
    let build = |scripts: &Scripts| scripts.deploy("prod", "");
    build(&scripts).assert_done("").assert_calls("sam build", 1);
    let outcome = build(&scripts);
    outcome
        .assert_done("Using the build of the commit 0123456789ab")
        .assert_calls("sam build", 0)
        .assert_calls("sam deploy", 1);

    scripts.write(".aws-sam/build/GetFunction/bootstrap", "another");
    build(&scripts).assert_calls("sam build", 1);
}

#[test]
fn a_working_tree_with_changes_is_always_built() {
    let scripts = existing("'git status'*) echo ' M template.yaml' ;;");
    for _ in 0..2 {
        let outcome = scripts.deploy("prod", "");
        outcome.assert_done("").assert_calls("sam build", 1);
        outcome.assert_calls("Commit=0123456789ab-", 1);
    }
}

#[test]
fn executables_for_another_processor_are_not_deployed() {
    let outcome = Scripts::new(NEW_STAGE).deploy("test", "Architecture=x86_64");
    outcome
        .assert_refused("was not built for x86_64")
        .assert_calls("sam deploy", 0);
}

#[test]
fn the_processor_is_the_one_that_the_stage_keeps() {
    let answers = r"
'sam build'*)
    mkdir -p .aws-sam/build/GetFunction
    printf '%018d>' 0 > .aws-sam/build/GetFunction/bootstrap ;;
*'Parameters[].['*) printf '%s\t%s\n' Architecture x86_64 NameSuffix -prod StageName prod ;;";
    let outcome = existing(answers).deploy("prod", "");
    outcome
        .assert_done("")
        .assert_calls("env CARGO_LAMBDA_BUILD.X86_64=true", 1)
        .assert_calls("Architecture=x86_64 Commit=", 1);
}

// --- stage.sh

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

// --- test-api.sh

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

// --- reset and seed

#[test]
fn users_are_deleted_only_after_a_yes() {
    let scripts = Scripts::new("'curl '*) answer 200; echo ;;");
    for input in ["", "\n", "y\n", "no\n", "YES\n"] {
        let outcome = scripts.run("reset", &[], input);
        outcome
            .assert_refused("nothing was deleted")
            .assert_calls("DELETE", 0);
    }
    for (yes, input) in [("", "yes\n"), ("1", "")] {
        let outcome = scripts.run("reset", &[("YES", yes)], input);
        outcome
            .assert_done("are deleted")
            .assert_calls("--request DELETE", 1);
    }
}

#[test]
fn an_incomplete_deletion_is_continued() {
    let answers = r"
*DELETE*) if [ -e done ]; then printf 'null\n200'; else : >done; printf 'DeleteIncomplete\n503'; fi ;;
'curl '*) printf 200 ;;";
    let outcome = Scripts::new(answers).run("reset", &[("YES", "1")], "");
    outcome
        .assert_done("are deleted")
        .assert_calls("--request DELETE", 2);

    let answers = "*DELETE*) printf 'InternalError\\n500' ;; 'curl '*) printf 200 ;;";
    let outcome = Scripts::new(answers).run("reset", &[("YES", "1")], "");
    outcome.assert_refused("InternalError");
}

#[test]
fn users_are_added_to_a_service_that_responds() {
    let answers = "*--config*) cat >request; printf '200\\n400\\n' ;; 'curl '*) printf 200 ;;";
    let scripts = Scripts::new(answers);
    let outcome = scripts.run("seed", &[("N", "2")], "");
    outcome
        .assert_done("added 1 users")
        .assert_done("1 existed already");

    for count in ["0", "x", "-1", "1.5"] {
        let outcome = scripts.run("seed", &[("N", count)], "");
        outcome
            .assert_refused("not a positive number")
            .assert_calls("", 0);
    }
    let answers = "*--config*) cat >request; echo 503 ;; 'curl '*) printf 200 ;;";
    let outcome = Scripts::new(answers).run("seed", &[("N", "1")], "");
    outcome.assert_refused("1 were not added; the last status is 503");
    let outcome = Scripts::new("'curl '*) printf 000; exit 7 ;;").run("seed", &[], "");
    outcome.assert_refused("nothing responds");
}

// --- What the scripts rely on

#[test]
fn production_is_protected_and_deployed_gradually() {
    let stages = repository::toml("samconfig.toml");
    let parameters = stages["prod"]["global"]["parameters"]["parameter_overrides"].as_str();
    let parameters: Vec<_> = parameters.expect("text").split(' ').collect();
    for parameter in [
        "StageName=prod",
        "NameSuffix=-prod",
        "TableDeletionProtection=true",
        "DeploymentPreference=Canary10Percent5Minutes",
    ] {
        assert!(parameters.contains(&parameter), "{parameter}");
    }
}

#[test]
fn the_deploy_role_trusts_both_forms_of_a_github_subject() {
    let role = repository::text("scripts/deploy-role.yaml");
    for subject in [
        "repo:${Repository}:environment:${Stage}",
        "repo:${Owner}@${OwnerId}/${Name}@${RepositoryId}:environment:${Stage}",
    ] {
        assert!(role.contains(subject), "{subject}");
    }
}

#[test]
fn the_deploy_role_gives_permissions_only_within_the_boundary() {
    let role = repository::yaml("scripts/deploy-role.yaml");
    let policy = &role["Resources"]["ResourcesPolicy"]["Properties"]["PolicyDocument"];
    let statements = policy["Statement"].as_array().expect("statements");
    for action in [
        "iam:CreateRole",
        "iam:PutRolePolicy",
        "iam:AttachRolePolicy",
        "iam:PutRolePermissionsBoundary",
    ] {
        let allowing: Vec<_> = statements
            .iter()
            .filter(|statement| statement["Effect"] == "Allow")
            .filter(|statement| statement["Action"].to_string().contains(action))
            .filter(|statement| statement["Resource"].to_string().contains("${StackName}"))
            .collect();
        assert!(!allowing.is_empty(), "{action}");
        for statement in allowing {
            let condition = &statement["Condition"]["StringEquals"];
            assert_eq!(condition["iam:PermissionsBoundary"], "Boundary", "{action}");
        }
    }
}
