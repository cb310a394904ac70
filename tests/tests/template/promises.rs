//! The template keeps what the pages promise.

use std::collections::{BTreeMap, BTreeSet};
use std::slice;

use local::Template;
use serde_json::{Value, json};
use tests::{Operation, operations, repository};

use super::{PERMISSIONS, resource_prefix, yaml};

/// What decides about a resource or a property.
const CONDITIONS: &str = r#"
Conditions:
  NeedsApiKey: !Equals [!Ref AuthType, API_KEY]
  NeedsSignature: !Equals [!Ref AuthType, AWS_IAM]
  NeedsUser: !Equals [!Ref AuthType, COGNITO]
  HasDomain: !Not [!Equals [!Ref DomainName, ""]]
  HasCors: !Not [!Equals [!Ref CorsAllowOrigin, ""]]
  HasTableName: !Not [!Equals [!Ref TableName, ""]]
  ProtectsTable: !Equals [!Ref TableDeletionProtection, "true"]
  HasMaxReads: !Not [!Equals [!Ref TableMaxReadUnits, 0]]
  HasMaxWrites: !Not [!Equals [!Ref TableMaxWriteUnits, 0]]
  HasMaxThroughput: !Or [Condition: HasMaxReads, Condition: HasMaxWrites]
  HasApiLogs: !Not [!Equals [!Ref ApiLogs, None]]
  MakesApiLogsRole: !Equals [!Ref ApiLogs, NewRole]
  HasAlarmEmail: !Not [!Equals [!Ref AlarmEmail, ""]]
  HasBoundary: !Not [!Equals [!Ref PermissionsBoundary, ""]]
  ShiftsTraffic: !Not [!Equals [!Ref DeploymentPreference, None]]
"#;

/// The resources that exist only under a condition, besides the alarms of versions.
const CONDITIONAL: [&str; 11] = [
    "AlarmTopic HasAlarmEmail",
    "ApiAccessLogs HasApiLogs",
    "ApiDomain HasDomain",
    "ApiDomainMapping HasDomain",
    "ApiGatewayAccount MakesApiLogsRole",
    "ApiGatewayLogsRole MakesApiLogsRole",
    "ApiKey NeedsApiKey",
    "ApiUsagePlan NeedsApiKey",
    "ApiUsagePlanKey NeedsApiKey",
    "DeleteAllAlarm ProtectsTable",
    "RejectionsQuery HasApiLogs",
];

/// What the API's access log has of a request: no id, no query and no text of the caller's.
const ACCESS_LOG: &str = "requestTime requestId extendedRequestId integration.requestId xrayTraceId
    httpMethod resourcePath status responseLatency integration.latency
    integration.integrationStatus responseLength error.responseType identity.sourceIp
    identity.apiKeyId identity.userArn";

/// Values of parameters, and whether `CloudFormation` accepts them.
const VALUES: [(&str, &str, bool); 22] = [
    ("AlarmEmail", "ops@example.com", true),
    ("AlarmEmail", "ops", false),
    (
        "CertificateArn",
        "arn:aws:acm:us-east-1:123456789012:certificate/a-1",
        true,
    ),
    ("CertificateArn", "certificate", false),
    (
        "CorsAllowOrigin",
        "https://a.example,capacitor://localhost",
        true,
    ),
    ("CorsAllowOrigin", "https://[::1]:3000", true),
    ("CorsAllowOrigin", "https://a.example/", false),
    ("CorsAllowOrigin", "https://'.example", false),
    ("CorsAllowOrigin", "https://a.example,*", false),
    ("DomainName", "api.example.com", true),
    ("DomainName", "https://api.example.com", false),
    ("ErrorsAlarmPercent", "100", false),
    ("LatencyAlarmMilliseconds", "28001", false),
    ("LogRetentionDays", "2", false),
    ("MemorySize", "127", false),
    ("NameSuffix", "-prod", true),
    ("NameSuffix", "_prod", false),
    ("NameSuffix", "-a-name-that-leaves-no-room", false),
    ("RateLimit", "0", false),
    ("TableName", "user-profiles-prod-restored", true),
    ("TableName", "user profiles", false),
    ("UserPoolArn", "us-east-1_abc", false),
];

#[test]
fn the_template_keeps_what_the_pages_promise() {
    let yaml = yaml();
    let promises: BTreeMap<String, Value> =
        serde_saphyr::from_str(include_str!("promises.yaml")).expect("YAML");
    for (place, value) in promises {
        assert_eq!(yaml.pointer(&format!("/{place}")), Some(&value), "{place}");
    }
    assert!(repository::text("template.yaml").contains(CONDITIONS));

    let log = &yaml["Resources"]["Api"]["Properties"]["AccessLogSetting"][1]["Format"];
    let log = log.as_str().expect("text");
    serde_json::from_str::<Value>(log).expect("the access log is JSON");
    let logged: BTreeSet<_> = log.split('"').filter(|part| part.contains('$')).collect();
    let expected: Vec<_> = ACCESS_LOG
        .split_whitespace()
        .map(|name| format!("$context.{name}"))
        .collect();
    assert_eq!(logged, expected.iter().map(String::as_str).collect());
}

#[test]
fn the_page_on_deploying_has_every_parameter_with_its_default() {
    let page = repository::text("docs/deploying.md");
    let rows = page
        .lines()
        .skip_while(|line| *line != "| parameter | default | what it decides |");
    let mut missing = yaml()["Parameters"].clone();
    for row in rows.skip(2).take_while(|line| line.starts_with('|')) {
        let cells: Vec<_> = row
            .split('|')
            .map(|cell| cell.trim().replace('`', ""))
            .collect();
        let parameters: Vec<_> = cells[1]
            .split(", ")
            .map(|name| missing[name].take())
            .collect();
        let defaults = parameters
            .iter()
            .map(|parameter| match &parameter["Default"] {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            });
        let defaults = defaults.collect::<Vec<_>>().join(", ");
        for value in parameters
            .iter()
            .filter_map(|parameter| parameter["AllowedValues"].as_array())
            .flatten()
        {
            let is_named = value
                .as_str()
                .is_none_or(|value| row.contains(&format!("`{value}`")));
            assert!(is_named, "{value}: {row}");
        }
        let documented = cells[2].split(';').next().unwrap_or_default();
        assert_eq!(documented, defaults.trim_matches([',', ' ']), "{row}");
    }
    let missing = missing.as_object().expect("parameters");
    let missing: Vec<_> = missing
        .iter()
        .filter(|(_, value)| !value.is_null())
        .collect();
    assert!(missing.is_empty(), "docs/deploying.md lacks {missing:?}");
}

#[test]
fn parameters_accept_only_values_that_work() {
    let long = format!("https://{}.example", "a".repeat(128));
    for (name, value, accepted) in VALUES
        .into_iter()
        .chain([("CorsAllowOrigin", &*long, false)])
    {
        let given = BTreeMap::from([(name.to_owned(), value.to_owned())]);
        let template = Template::read(&repository::path("template.yaml"), &given);
        assert_eq!(template.is_ok(), accepted, "{name}={value}");
    }
}

#[test]
fn a_parameter_that_needs_another_has_a_rule() {
    let text = repository::text("template.yaml");
    for (condition, needed) in [
        ("!Equals [!Ref AuthType, COGNITO]", "UserPoolArn"),
        ("!Not [!Equals [!Ref DomainName, \"\"]]", "CertificateArn"),
    ] {
        let rule = format!(
            "RuleCondition: {condition}
    Assertions:
      - Assert: !Not [!Equals [!Ref {needed}, \"\"]]"
        );
        assert!(text.contains(&rule), "{needed}");
    }
}

#[test]
fn each_preflight_response_allows_the_methods_of_its_path() {
    const HEADER: &str = "method.response.header.Access-Control-Allow-";
    let expected: Value = serde_saphyr::from_str(include_str!("preflight.yaml")).expect("YAML");
    let yaml = yaml();
    let paths = &yaml["Resources"]["Api"]["Properties"]["DefinitionBody"]["paths"];
    for Operation { path, .. } in operations() {
        let mut options = paths[path]["options"].clone();
        assert!(options.is_array(), "template.yaml: {path} has no options");
        let response = &mut options[1]["x-amazon-apigateway-integration"]["responses"]["default"];
        let allowed = response["responseParameters"][format!("{HEADER}Methods")].take();
        let allowed = allowed
            .as_str()
            .unwrap_or_default()
            .trim_matches('\'')
            .split(',');
        let methods = operations().iter().filter(|other| other.path == *path);
        assert_eq!(
            allowed.collect::<BTreeSet<_>>(),
            methods.map(|other| other.method.as_str()).collect(),
            "template.yaml: Access-Control-Allow-Methods (left) of options of {path}"
        );
        let difference = difference(&options, &expected);
        assert_eq!(difference, None, "template.yaml: options of {path}");
    }
}

#[test]
fn each_error_of_api_gateway_has_the_same_headers() {
    let yaml = yaml();
    let definition = &yaml["Resources"]["Api"]["Properties"]["DefinitionBody"];
    let responses = definition["x-amazon-apigateway-gateway-responses"].as_object();
    let expected = json!({
        "gatewayresponse.header.Cache-Control": "'no-store'",
        "gatewayresponse.header.Access-Control-Allow-Origin": ["HasCors", "'*'", "AWS::NoValue"],
        "gatewayresponse.header.Access-Control-Expose-Headers":
            ["HasCors", "'Link, Retry-After, x-amzn-RequestId'", "AWS::NoValue"],
    });
    for (kind, response) in responses.expect("an object") {
        let mut headers = response["responseParameters"].clone();
        if kind == "THROTTLED" {
            let retry_after = headers["gatewayresponse.header.Retry-After"].take();
            assert_eq!(retry_after, "'1'");
            headers
                .as_object_mut()
                .expect("an object")
                .retain(|_, value| !value.is_null());
        }
        assert_eq!(headers, expected, "{kind}");
    }
}

#[test]
fn the_functions_differ_only_in_name_route_and_permissions() {
    let yaml = yaml();
    let get = operations()
        .iter()
        .find(|operation| operation.executable == "get")
        .expect("a function that the promises are about");
    for operation in operations() {
        let resources = nameless(&yaml, operation);
        for (kind, expected) in nameless(&yaml, get) {
            let difference = difference(&resources[&kind], &expected);
            let prefix = resource_prefix(&operation.executable);
            assert_eq!(difference, None, "template.yaml: {prefix}{kind}");
        }
    }
}

/// Returns the first lines in which two values differ.
fn difference(left: &Value, right: &Value) -> Option<String> {
    let [left, right] = [left, right].map(|value| format!("{value:#}"));
    let [left, right] =
        [&left, &right].map(|text| text.lines().map(|line| line.trim_end_matches(',')));
    let (left, right) = left.zip(right).find(|(left, right)| left != right)?;
    Some(format!("{} instead of {}", left.trim(), right.trim()))
}

#[test]
fn the_boundary_of_the_deploy_role_allows_what_the_functions_do() {
    let role = repository::yaml("scripts/deploy-role.yaml");
    let boundary = &role["Resources"]["Boundary"]["Properties"]["PolicyDocument"]["Statement"];
    let allowed: BTreeSet<_> = allowed_actions(boundary)
        .into_iter()
        .map(|(action, _)| action)
        .collect();
    let own = [
        "logs:CreateLogStream",
        "logs:PutLogEvents",
        "xray:PutTraceSegments",
    ];
    for action in PERMISSIONS
        .iter()
        .flat_map(|(_, actions)| *actions)
        .chain(&own)
    {
        assert!(
            allowed.contains(*action),
            "scripts/deploy-role.yaml: Boundary lacks {action}"
        );
    }
}

/// Returns a function's method and its resources without its name, its route, and what its role
/// allows, which it checks.
fn nameless(yaml: &Value, operation: &Operation) -> BTreeMap<String, Value> {
    let Operation {
        function,
        executable,
        method,
        path,
        ..
    } = operation;
    let mut resources = yaml["Resources"].clone();
    let route = json!({"RestApiId": "Api", "Path": path, "Method": method.to_lowercase()});
    let events = resources[function]["Properties"]["Events"].take();
    assert_eq!(
        events,
        json!({"Api": {"Type": "Api", "Properties": route}}),
        "template.yaml: Events of {function}"
    );

    let prefix = resource_prefix(executable);
    let policy = &mut resources[format!("{prefix}Role")]["Properties"]["Policies"][0];
    let policy = &mut policy["PolicyDocument"]["Statement"];
    assert_eq!(
        allowed_actions(policy),
        permissions(executable),
        "template.yaml: {prefix}Role"
    );
    *policy = Value::Null;

    let paths = &yaml["Resources"]["Api"]["Properties"]["DefinitionBody"]["paths"];
    let mut served = paths[path][method.to_lowercase()].clone();
    served["parameters"].take();
    let own = [
        "Function",
        "Role",
        "Logs",
        "ColdStarts",
        "VersionErrorsAlarm",
    ];
    let own = own.map(|kind| (kind, resources[format!("{prefix}{kind}")].clone()));
    let mut all = BTreeMap::from(own);
    all.insert("Method", served);
    let mut text = json!(all).to_string();
    for kind in ["Function", "Role", "Logs", "VersionErrorsAlarm"] {
        for before in ["\"", "${"] {
            text = text.replace(
                &format!("{before}{prefix}{kind}"),
                &format!("{before}…{kind}"),
            );
        }
    }
    for (before, after) in [("user-profile-", "$"), ("\"Binary\":\"", "\"")] {
        let name = format!("{before}{executable}{after}");
        let has_name = text.contains(&name);
        assert!(has_name, "template.yaml: {function} lacks {name}");
        text = text.replace(&name, &format!("{before}…{after}"));
    }
    serde_json::from_str(&text).expect("JSON")
}

/// Returns what a function's role has to allow, as action and resource.
fn permissions(executable: &str) -> BTreeSet<(String, String)> {
    let table = json!([
        "HasTableName",
        "arn:${AWS::Partition}:dynamodb:${AWS::Region}:${AWS::AccountId}:table/${TableName}",
        "UsersTable.Arn",
    ]);
    let index = json!(["${Table}/index/email-index", {"Table": table}]);
    let logs = json!(format!("{}Logs.Arn", resource_prefix(executable)));
    let (_, actions) = PERMISSIONS
        .iter()
        .find(|(other, _)| *other == executable)
        .unwrap_or_else(|| panic!("tests/tests/template/main.rs: PERMISSIONS lacks {executable}"));
    let on_table = actions.iter().map(|action| match *action {
        "dynamodb:Query" => (*action, &index),
        _ => (*action, &table),
    });
    ["logs:CreateLogStream", "logs:PutLogEvents"]
        .map(|action| (action, &logs))
        .into_iter()
        .chain(on_table)
        .map(|(action, resource)| (action.to_owned(), resource.to_string()))
        .collect()
}

/// Returns what the statements of a policy allow, as action and resource.
fn allowed_actions(statements: &Value) -> BTreeSet<(String, String)> {
    let mut allowed = BTreeSet::new();
    for statement in statements.as_array().expect("statements") {
        assert_eq!(statement["Effect"], json!("Allow"));
        let actions = &statement["Action"];
        let actions = actions
            .as_array()
            .map_or(slice::from_ref(actions), Vec::as_slice);
        allowed.extend(actions.iter().map(|action| {
            let action = action.as_str().expect("an action");
            (action.to_owned(), statement["Resource"].to_string())
        }));
    }
    allowed
}

#[test]
fn nothing_refers_to_a_resource_that_may_not_exist() {
    let yaml = yaml();
    let conditional = conditional(&yaml["Resources"]);
    let others = conditional.iter();
    let others = others.filter(|(name, _)| !name.ends_with("VersionErrorsAlarm"));
    let others: Vec<_> = others
        .map(|(name, condition)| format!("{name} {condition}"))
        .collect();
    assert_eq!(others, CONDITIONAL);
    assert_refers_to_existing(&yaml["Globals"], &conditional, &[], "Globals");
    for section in ["Resources", "Outputs"] {
        for (name, node) in yaml[section].as_object().expect("an object") {
            let held: Vec<_> = node["Condition"].as_str().into_iter().collect();
            assert_refers_to_existing(node, &conditional, &held, name);
        }
    }
}

/// Returns the condition of each resource that has one.
fn conditional(resources: &Value) -> BTreeMap<&str, &str> {
    let resources = resources.as_object().expect("resources").iter();
    resources
        .filter_map(|(name, resource)| Some((name.as_str(), resource["Condition"].as_str()?)))
        .collect()
}

/// Asserts that each `Ref`, `GetAtt`, `Sub` and `DependsOn` of a node names a resource that exists
/// while the `held` conditions hold.
fn assert_refers_to_existing(
    node: &Value,
    conditional: &BTreeMap<&str, &str>,
    held: &[&str],
    place: &str,
) {
    let check = |node, held: &[&str]| assert_refers_to_existing(node, conditional, held, place);
    match node {
        Value::String(text) => {
            for (name, condition) in conditional {
                let refers = text == name
                    || text.starts_with(&format!("{name}."))
                    || text.contains(&format!("${{{name}}}"))
                    || text.contains(&format!("${{{name}."));
                let exists = !refers || held.contains(condition);
                assert!(
                    exists,
                    "template.yaml: {place} needs {name}, which may not exist"
                );
            }
        }
        Value::Array(items) => match &items[..] {
            [Value::String(condition), yes, no] => {
                check(yes, &[held, &[condition]].concat());
                check(no, held);
            }
            items => items.iter().for_each(|item| check(item, held)),
        },
        Value::Object(entries) => entries.values().for_each(|value| check(value, held)),
        _ => {}
    }
}
