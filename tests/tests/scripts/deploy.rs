//! What `make deploy` refuses, what it calls, and in which order.

use std::fs;

use tests::repository;

use super::{FIRING_ALARM, NEW_STAGE, Scripts, existing};

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

#[test]
fn the_table_of_a_new_stack_must_not_exist() {
    for (protected, count) in [("False", 0), ("True", 1)] {
        let answers = format!("'aws dynamodb describe-table'*) echo {protected} ;;{NEW_STAGE}");
        let outcome = Scripts::new(&answers).deploy("prod", "AuthType=NONE");
        outcome
            .assert_refused("aws dynamodb delete-table --table-name user-profiles-prod")
            .assert_refused("STAGE=prod scripts/import-table.sh")
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
fn an_account_without_a_role_for_logs_gets_one() {
    const NO_ROLE: &str = r"
'aws apigateway get-account'*) echo None ;;
'aws iam get-role'*) echo arn:aws-cn:iam::1:role/api-gateway-cloudwatch-logs ;;
'aws apigateway update-account'*) [ -e tried ] || { : >tried; echo 'not yet' >&2; exit 254; } ;;";
    let outcome = Scripts::new(&format!("{NO_ROLE}{NEW_STAGE}")).deploy("test", "");
    outcome
        .assert_done("Creating the role api-gateway-cloudwatch-logs")
        .assert_calls(
            "aws iam create-role --role-name api-gateway-cloudwatch-logs",
            1,
        )
        .assert_calls("\"Service\": \"apigateway.amazonaws.com\"", 1)
        .assert_calls(
            "arn:aws-cn:iam::aws:policy/service-role/AmazonAPIGatewayPush",
            1,
        )
        .assert_calls("sleep 5 WIPE", 1)
        .assert_calls("aws apigateway update-account", 2)
        .assert_calls("ApiLogs=ExistingRole", 1);

    // API Gateway keeps the ARN of a role that was deleted.
    for (error, created) in [("NoSuchEntity", 1), ("AccessDenied", 0)] {
        let role = format!(
            "'aws iam get-role --role-name logs'*) echo {error} >&2; exit 254 ;;
             'aws iam get-role'*) echo arn:aws:iam::1:role/new ;;{NEW_STAGE}"
        );
        let outcome = Scripts::new(&role).deploy("test", "");
        outcome
            .assert_done("")
            .assert_calls("aws iam create-role", created);
    }
    let denied = "'aws iam create-role'*) echo AccessDenied >&2; exit 254 ;;";
    let outcome = Scripts::new(&format!("{denied}{NO_ROLE}{NEW_STAGE}")).deploy("test", "");
    outcome
        .assert_refused("AccessDenied")
        .assert_calls("sam ", 0);
}

#[test]
fn a_parameter_without_what_it_needs_is_refused() {
    for (params, message) in [
        ("AuthType=COGNITO", "AuthType=COGNITO needs UserPoolArn=ARN"),
        (
            "DomainName=a.example",
            "DomainName=a.example needs CertificateArn=ARN",
        ),
    ] {
        let outcome = existing("").deploy("prod", params);
        outcome.assert_refused(message).assert_calls("sam ", 0);
    }
    let params = "AuthType=COGNITO UserPoolArn=arn DomainName=a.example CertificateArn=arn";
    existing("").deploy("prod", params).assert_done("");
}

#[test]
fn a_table_that_does_not_exist_is_refused() {
    for (error, refused) in [("ResourceNotFoundException", true), ("AccessDenied", false)] {
        let answers = format!("'aws dynamodb describe-table'*) echo {error} >&2; exit 254 ;;");
        let outcome = existing(&answers).deploy("prod", "TableName=user-profiles-restored");
        assert_eq!(outcome.success, !refused, "{}", outcome.text);
        outcome.assert_calls("sam deploy", usize::from(!refused));
    }
}

#[test]
fn what_a_stage_keeps_is_printed_if_no_default() {
    let kept = r"*'Parameters[].['*) printf '%s\t%s\n' RateLimit 7 MemorySize 512 LogLevel WARN ;;";
    let outcome = existing(kept).deploy("test", "RateLimit=7 StageName= NameSuffix=");
    outcome.assert_done("earlier deployments:\n  LogLevel=WARN (default: INFO)\n");
    for other in ["RateLimit=7 (", "MemorySize=512"] {
        assert!(!outcome.text.contains(other), "{}", outcome.text);
    }
}

#[test]
fn an_error_of_aws_does_not_make_a_stage_new() {
    let denied = "*Stacks*StackStatus*) echo AccessDenied >&2; exit 254 ;;";
    let outcome = Scripts::new(denied).deploy("test", "");
    outcome
        .assert_refused("AccessDenied")
        .assert_calls("sam ", 0);
}

#[test]
fn the_code_and_the_console_are_printed_on_lines_of_their_own() {
    let answers = r"
'aws lambda list-functions'*) printf '%s\t%s\n' user-profile-get-prod abc user-profile-get xyz ;;
*\'DashboardUrl\'*) echo https://console.example/dashboard ;;";
    let outcome = existing(answers).deploy("prod", "");
    outcome
        .assert_done("DashboardUrl\n  https://console.example/dashboard\n")
        .assert_done("\n  abc  user-profile-get-prod\n");
    assert!(!outcome.text.contains("xyz"), "{}", outcome.text);
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
    outcome.assert_calls(
        "--config-env prod --template-file .aws-sam/build/template.yaml",
        1,
    );
    outcome.assert_calls("TableDeletionProtection=false", 0);
}

#[test]
fn a_table_is_imported_by_its_name_and_kept_by_its_stack() {
    let scripts = Scripts::new(
        "*' create-change-set '*) file=${call#*file://}; cp \"${file%% *}\" table.yaml ;;",
    );
    let outcome = scripts.run("import-table.sh", &[("STAGE", "prod")], "");
    outcome
        .assert_done("make deploy STAGE=prod")
        .assert_calls(
            "--stack-name user-profiles-prod --change-set-name import",
            3,
        )
        .assert_calls("ResourceIdentifier={TableName=user-profiles-prod}", 1)
        .assert_calls(
            "wait stack-import-complete --stack-name user-profiles-prod",
            1,
        );
    let imported = repository::yaml(scripts.directory.path().join("table.yaml"));
    let mut imported = imported["Resources"]["UsersTable"].clone();
    let deployed = &repository::yaml("template.yaml")["Resources"]["UsersTable"];
    assert_eq!(
        imported["Properties"]["TableName"].take(),
        "user-profiles-prod"
    );
    for member in ["DeletionPolicy", "UpdateReplacePolicy", "Type"] {
        assert_eq!(imported[member], deployed[member], "{member}");
    }
    for (name, value) in imported["Properties"].as_object_mut().expect("an object") {
        let mut expected = deployed["Properties"][name].clone();
        if name == "GlobalSecondaryIndexes" {
            expected[0]
                .as_object_mut()
                .expect("an index")
                .remove("OnDemandThroughput");
        }
        assert!(value.is_null() || *value == expected, "{name}: {value}");
    }

    let none =
        "*change-set-create-complete*) exit 255 ;; *describe-change-set*) echo 'it is managed' ;;";
    let outcome = Scripts::new(none).run("import-table.sh", &[], "");
    outcome
        .assert_refused("it is managed")
        .assert_calls("execute", 0);
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
        .assert_calls("wait stack-delete-complete --stack-name user-profiles", 1)
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
    outcome.assert_calls("[?StateValue=='ALARM']", 1);
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
            .assert_calls("--template-stage Original --query TemplateBody", 1)
            .assert_calls("sam build", 0)
            .assert_calls(params, 1);
    }
    let outcome =
        existing(&format!("{commit}{FIRING_ALARM}")).deploy("prod", "DeploymentPreference=None");
    outcome.assert_done("").assert_calls("sam build", 1);
}

#[test]
fn a_commit_is_built_once() {
    let scripts = existing("");
    let build = |scripts: &Scripts| scripts.deploy("prod", "");
    build(&scripts)
        .assert_done("")
        .assert_calls("sam build", 1)
        .assert_calls("cargo auditable lambda build", 1);
    let outcome = build(&scripts);
    outcome
        .assert_done("Using the build of the commit 0123456789ab")
        .assert_calls("sam build", 0)
        .assert_calls("sam deploy", 1);

    for file in ["GetFunction/bootstrap", "template.yaml"] {
        scripts.write(&format!(".aws-sam/build/{file}"), "another");
        build(&scripts).assert_calls("sam build", 1);
    }
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
    : > .aws-sam/build/template.yaml
    printf '%018d>' 0 > .aws-sam/build/GetFunction/bootstrap ;;
*'Parameters[].['*) printf '%s\t%s\n' Architecture x86_64 NameSuffix -prod StageName prod ;;";
    let outcome = existing(answers).deploy("prod", "");
    outcome
        .assert_done("")
        .assert_calls("env CARGO_LAMBDA_BUILD.X86_64=true", 1)
        .assert_calls("Architecture=x86_64 Commit=", 1);
}
