//! What the scripts rely on: the settings of the stages, and the role that deploys from GitHub.

use serde_json::json;
use tests::repository;

#[test]
fn production_is_protected_and_deployed_gradually() {
    let stages = repository::toml("samconfig.toml");
    for (section, name, parameters) in [
        (
            "default",
            "user-profiles",
            "StageName=test RateLimit=20 BurstLimit=100",
        ),
        (
            "prod",
            "user-profiles-prod",
            "StageName=prod NameSuffix=-prod TableDeletionProtection=true \
             DeploymentPreference=Canary10Percent5Minutes",
        ),
    ] {
        let settings = serde_json::to_value(&stages[section]["global"]["parameters"]);
        let expected = json!({
            "stack_name": name,
            "s3_prefix": name,
            "parameter_overrides": parameters,
            "capabilities": "CAPABILITY_IAM",
            "resolve_s3": true,
            "confirm_changeset": false,
            "fail_on_empty_changeset": false,
        });
        assert_eq!(settings.expect("JSON"), expected, "{section}");
    }
}

#[test]
fn the_deploy_role_trusts_only_its_stage_on_github() {
    let role = repository::yaml("scripts/deploy-role.yaml");
    let role = &role["Resources"]["DeployRole"]["Properties"];
    let trust = &role["AssumeRolePolicyDocument"]["Statement"];
    assert_eq!(
        trust[0]["Condition"],
        json!({"StringEquals": {
            "token.actions.githubusercontent.com:aud": "sts.amazonaws.com",
            "token.actions.githubusercontent.com:sub": [
                "repo:${Repository}:environment:${Stage}",
                ["HasIds", [
                    "repo:${Owner}@${OwnerId}/${Name}@${RepositoryId}:environment:${Stage}",
                    {"Owner": [0, ["/", "Repository"]], "Name": [1, ["/", "Repository"]]},
                ], "AWS::NoValue"],
            ],
        }})
    );
    assert_eq!(trust.as_array().map(Vec::len), Some(1));
    // A linear deployment takes longer than the default of an hour.
    let seconds = &role["MaxSessionDuration"];
    let workflow = repository::text(".github/workflows/deploy-stage.yml");
    assert!(
        workflow.contains(&format!("role-duration-seconds: {seconds}")),
        "{seconds}"
    );
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
