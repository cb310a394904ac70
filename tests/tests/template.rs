//! Compares `template.yaml` with the contract, `users-core` and every other place that names a
//! function. The template's routes are the list of operations. A test that fails for a new
//! operation names the place that lacks it. CONTRIBUTING.md says how to add one.

use std::collections::{BTreeMap, BTreeSet};
use std::slice;

use serde_json::{Value, json};
use tests::{Operation, operations, repository, template};
use users_core::{EMAIL, EMAIL_INDEX, ENDPOINT_VARIABLE, ID, ORIGIN_VARIABLE, TABLE_VARIABLE};

/// What the role of each function may do to the table, or to its index.
const PERMISSIONS: &[(&str, &[&str])] = &[
    ("get-all", &["dynamodb:Scan", "dynamodb:Query"]),
    ("post", &["dynamodb:PutItem"]),
    ("delete-all", &["dynamodb:Scan", "dynamodb:BatchWriteItem"]),
    ("get", &["dynamodb:GetItem"]),
    ("put", &["dynamodb:PutItem"]),
    ("delete", &["dynamodb:DeleteItem"]),
];

/// What the pages promise: places in the template, and their values. The resources of one function
/// stand for all, because [`the_functions_differ_only_in_name_route_and_permissions`].
const PROMISES: &str = r#"
Resources/UsersTable/DeletionPolicy: RetainExceptOnCreate
Resources/UsersTable/UpdateReplacePolicy: Retain
Resources/UsersTable/Properties/BillingMode: PAY_PER_REQUEST
Resources/UsersTable/Properties/DeletionProtectionEnabled: TableDeletionProtection
Resources/UsersTable/Properties/PointInTimeRecoverySpecification/PointInTimeRecoveryEnabled: true
Resources/UsersTable/Properties/SSESpecification/SSEEnabled: true
Resources/UsersTable/Properties/OnDemandThroughput:
  - HasMaxThroughput
  - MaxReadRequestUnits: [HasMaxReads, TableMaxReadUnits, AWS::NoValue]
    MaxWriteRequestUnits: [HasMaxWrites, TableMaxWriteUnits, AWS::NoValue]
  - AWS::NoValue
Resources/UsersTable/Properties/GlobalSecondaryIndexes/0/OnDemandThroughput:
  [HasMaxReads, { MaxReadRequestUnits: TableMaxReadUnits }, AWS::NoValue]
Resources/Api/Properties/AlwaysDeploy: true
Resources/Api/Properties/TracingEnabled: true
Resources/Api/Properties/MinimumCompressionSize: 1000
Resources/Api/Properties/MethodSettings:
  - { HttpMethod: "*", ResourcePath: /*, ThrottlingRateLimit: RateLimit,
      ThrottlingBurstLimit: BurstLimit, <<: &logs { MetricsEnabled: false, DataTraceEnabled: false,
      LoggingLevel: [HasApiLogs, ApiExecutionLogLevel, "OFF"] } }
  - { HttpMethod: GET, ResourcePath: /~1users, ThrottlingRateLimit: ListRateLimit,
      ThrottlingBurstLimit: ListBurstLimit, <<: *logs }
  - { HttpMethod: DELETE, ResourcePath: /~1users, ThrottlingRateLimit: DeleteAllRateLimit,
      ThrottlingBurstLimit: DeleteAllBurstLimit, <<: *logs }
Resources/Api/Properties/DefinitionBody/paths/~1users/get/parameters:
  - { name: email, in: query, required: false, schema: { type: string } }
  - { name: limit, in: query, required: false, schema: { type: string } }
  - { name: cursor, in: query, required: false, schema: { type: string } }
Resources/Api/Properties/DefinitionBody/paths/~1users/options/1/security: []
Resources/Api/Properties/DefinitionBody/paths/~1users~1{id}/options/1/security: []
Resources/ApiUsagePlan/Properties/Throttle: { RateLimit: RateLimit, BurstLimit: BurstLimit }
Resources/ApiAccessLogs/Properties/RetentionInDays: LogRetentionDays
Parameters/ApiExecutionLogLevel/Default: "OFF"
Parameters/LogLevel/AllowedValues: [INFO, WARN, ERROR]
Globals/Function/Timeout: 28
Globals/Function/Tracing: Active
Globals/Function/AutoPublishAlias: live
Globals/Function/DeploymentPreference/Alarms: [ApiErrorsAlarm]
Globals/Function/LoggingConfig:
  { LogFormat: JSON, ApplicationLogLevel: LogLevel, SystemLogLevel: INFO }
Resources/GetFunction/Properties/Role: GetRole.Arn
Resources/GetFunction/Properties/LoggingConfig/LogGroup: GetLogs
Resources/GetFunction/Properties/AutoPublishAliasAllProperties: true
Resources/GetFunction/Properties/VersionDescription:
  ${Commit} ${Architecture} ${MemorySize} ${LogLevel} ${TableName} ${CorsAllowOrigin}
Resources/GetFunction/Properties/DeploymentPreference/Alarms:
  [[ShiftsTraffic, GetVersionErrorsAlarm, AWS::NoValue]]
Resources/GetLogs/Properties/LogGroupName: /aws/lambda/user-profile-get${NameSuffix}
Resources/GetLogs/Properties/RetentionInDays: LogRetentionDays
Resources/GetColdStarts/Properties/LogGroupName: GetLogs
Resources/GetRole/Properties/ManagedPolicyArns: [TracingPolicy]
Resources/GetVersionErrorsAlarm/Properties/Dimensions:
  - { Name: FunctionName, Value: GetFunction }
  - { Name: Resource, Value: "${GetFunction}:live" }
  - { Name: ExecutedVersion, Value: GetFunction.Version.Version }
Resources/TracingPolicy/Properties/PolicyDocument/Statement:
  [{ Effect: Allow, Action: [xray:PutTraceSegments, xray:PutTelemetryRecords], Resource: "*" }]
"#;

/// What each alarm watches: its metric and statistic, the seconds of a period, how many periods it
/// judges and how many of them must be bad, and above which value one is. `CloudWatch` may learn of
/// an error minutes late, so a single one in five minutes is enough.
const ALARMS: &str = "
ApiErrorsAlarm: [5XXError, Sum, 60, 5, 2, ErrorsAlarmPercent]
LatencyAlarm: [Duration, p99, 300, 3, 3, LatencyAlarmMilliseconds]
FunctionErrorsAlarm: [Errors, Sum, 60, 5, 1, 0]
ConcurrencyAlarm: [ConcurrentExecutions, Maximum, 60, 5, 1, ConcurrencyAlarmExecutions]
DeleteAllAlarm: [Invocations, Sum, 60, 5, 1, 0]
GetVersionErrorsAlarm: [Errors, Sum, 60, 5, 1, 0]
";

/// Parses one of the tables above.
fn table(text: &str) -> BTreeMap<String, Value> {
    serde_saphyr::from_str(text).expect("YAML")
}

/// Returns the template as it is written.
fn yaml() -> Value {
    repository::yaml("template.yaml")
}

/// Returns the prefix of the names of a function's resources, such as `GetAll` for `get-all`.
fn resource_prefix(executable: &str) -> String {
    let words = executable
        .split('-')
        .map(|word| word[..1].to_uppercase() + &word[1..]);
    words.collect()
}

#[test]
fn each_operation_has_its_own_function_with_the_name_of_its_executable() {
    let template = template();
    for Operation {
        function,
        executable,
        ..
    } in operations()
    {
        assert_eq!(
            *function,
            format!("{}Function", resource_prefix(executable))
        );
        assert_eq!(
            template.functions[function].name,
            format!("user-profile-{executable}")
        );
        let sharing = operations()
            .iter()
            .filter(|other| other.function == *function);
        assert_eq!(
            sharing.count(),
            1,
            "template.yaml: {function} serves several routes"
        );
    }
    assert_eq!(template.stage, "test");
}

#[test]
fn each_function_has_a_route() {
    let template = template();
    for (name, resource) in yaml()["Resources"]
        .as_object()
        .expect("Resources is an object")
    {
        if resource["Type"] == "AWS::Serverless::Function" {
            assert!(
                template.functions.contains_key(name),
                "template.yaml: no path of Api's DefinitionBody invokes {name}"
            );
        }
    }
}

#[test]
fn the_default_members_of_the_workspace_are_the_functions() {
    let workspace = &repository::toml("Cargo.toml")["workspace"];
    let members = workspace["default-members"]
        .as_array()
        .expect("default-members is an array");
    let members: BTreeSet<_> = members.iter().filter_map(toml::Value::as_str).collect();
    for Operation { executable, .. } in operations() {
        let member = format!("crates/{executable}");
        assert!(
            members.contains(member.as_str()),
            "Cargo.toml: default-members lacks {member}, and `sam build` builds only these"
        );
    }
    for member in members {
        let is_function = operations()
            .iter()
            .any(|operation| format!("crates/{}", operation.executable) == member);
        assert!(
            is_function,
            "Cargo.toml: {member} of default-members is not in template.yaml"
        );
    }
}

#[test]
fn the_crate_of_each_function_builds_the_executable_of_its_name() {
    for Operation { executable, .. } in operations() {
        let path = format!("crates/{executable}/Cargo.toml");
        let name = &repository::toml(&path)["package"]["name"];
        assert_eq!(name.as_str(), Some(executable.as_str()), "{path}");
    }
}

#[test]
fn the_budget_limits_each_function() {
    const BUDGET: &str = "crates/bench/budget.toml";
    let budget = repository::toml(BUDGET);
    let budgeted: BTreeSet<_> = budget["functions"]
        .as_table()
        .expect("functions is a table")
        .keys()
        .collect();
    let functions: BTreeSet<_> = operations()
        .iter()
        .map(|operation| &operation.executable)
        .collect();
    assert_eq!(
        budgeted, functions,
        "{BUDGET} (left) must list template.yaml's functions: `make budget UPDATE=1` writes it"
    );
}

#[test]
fn the_documentation_lists_each_operation() {
    for page in ["README.md", "docs/api.md"] {
        let text = repository::text(page);
        for Operation { method, path, .. } in operations() {
            let row = format!("| `{method} {path}` |");
            assert!(
                text.contains(&row),
                "{page}: the table of operations has no row '{row}'"
            );
        }
    }
}

#[test]
fn each_preflight_response_allows_the_methods_of_its_path() {
    const ALLOW_METHODS: &str = "method.response.header.Access-Control-Allow-Methods";
    let yaml = yaml();
    let paths = &yaml["Resources"]["Api"]["Properties"]["DefinitionBody"]["paths"];
    for Operation { path, .. } in operations() {
        let response = &paths[path]["options"][1]["x-amazon-apigateway-integration"]["responses"];
        let allowed = response["default"]["responseParameters"][ALLOW_METHODS].as_str();
        let allowed = allowed.unwrap_or_default().trim_matches('\'').split(',');
        let methods = operations().iter().filter(|other| other.path == *path);
        assert_eq!(
            allowed.collect::<BTreeSet<_>>(),
            methods.map(|other| other.method.as_str()).collect(),
            "template.yaml: Access-Control-Allow-Methods (left) of options of {path}"
        );
    }
}

#[test]
fn the_table_has_the_keys_that_the_store_uses() {
    let table = template().table;
    assert_eq!(table.name, "user-profiles");
    let attributes: BTreeSet<_> = table
        .attribute_definitions
        .iter()
        .map(|attribute| {
            (
                attribute.attribute_name.as_str(),
                attribute.attribute_type.as_str(),
            )
        })
        .collect();
    assert_eq!(attributes, BTreeSet::from([(ID, "S"), (EMAIL, "S")]));

    let [key] = &table.key_schema[..] else {
        panic!("{:?}", table.key_schema)
    };
    assert_eq!(
        (key.attribute_name.as_str(), key.key_type.as_str()),
        (ID, "HASH")
    );

    let [index] = &table.global_secondary_indexes[..] else {
        panic!("{:?}", table.global_secondary_indexes)
    };
    let [key] = index.key_schema.as_slice() else {
        panic!("{index:?}")
    };
    assert_eq!(
        (
            index.index_name.as_str(),
            key.attribute_name.as_str(),
            key.key_type.as_str()
        ),
        (EMAIL_INDEX, EMAIL, "HASH")
    );
    assert_eq!(index.projection.projection_type, "ALL");
}

#[test]
fn the_functions_get_the_environment_variables_that_they_read() {
    let template = template();
    for function in template.functions.values() {
        let expected = [
            (TABLE_VARIABLE, template.table.name.as_str()),
            (ENDPOINT_VARIABLE, ""),
            (ORIGIN_VARIABLE, ""),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(
            function.variables,
            BTreeMap::from(expected),
            "{}",
            function.name
        );
    }
}

#[test]
fn resources_are_tagged_with_service_and_stage() {
    const WITHOUT_TAGS: [&str; 6] = [
        "AWS::ApiGateway::Account",
        "AWS::ApiGateway::BasePathMapping",
        "AWS::ApiGateway::UsagePlanKey",
        "AWS::IAM::ManagedPolicy",
        "AWS::Logs::MetricFilter",
        "AWS::Logs::QueryDefinition",
    ];
    let yaml = yaml();
    let functions = &yaml["Globals"]["Function"]["Tags"];
    assert_eq!(
        functions,
        &json!({"service": "user-profiles", "stage": "StageName"})
    );
    for (name, resource) in yaml["Resources"].as_object().expect("resources") {
        let kind = resource["Type"].as_str().expect("a type");
        let tags = &resource["Properties"]["Tags"];
        match kind {
            "AWS::Serverless::Function" => {}
            "AWS::Serverless::Api" => assert_eq!(tags, functions, "{name}"),
            _ if WITHOUT_TAGS.contains(&kind) => {}
            _ => assert_eq!(
                (&tags[0], &tags[1]),
                (
                    &json!({"Key": "service", "Value": "user-profiles"}),
                    &json!({"Key": "stage", "Value": "StageName"})
                ),
                "{name}"
            ),
        }
    }
}

#[test]
fn the_template_keeps_what_the_pages_promise() {
    let yaml = yaml();
    for (place, value) in table(PROMISES) {
        assert_eq!(yaml.pointer(&format!("/{place}")), Some(&value), "{place}");
    }
    let log = &yaml["Resources"]["Api"]["Properties"]["AccessLogSetting"][1]["Format"];
    let log: BTreeMap<String, String> =
        serde_json::from_str(log.as_str().expect("text")).expect("the access log is JSON");
    for value in log.values() {
        let about_users = ["path", "Path", "query", "body", "Override"]
            .iter()
            .any(|word| value.contains(word) && value != "$context.resourcePath");
        assert!(value.starts_with("$context.") && !about_users, "{value}");
    }
}

#[test]
fn each_alarm_watches_what_the_runbook_says() {
    let yaml = yaml();
    let resources = yaml["Resources"].as_object().expect("resources");
    let expected = table(ALARMS);
    let alarms = resources
        .iter()
        .filter(|(_, resource)| resource["Type"] == "AWS::CloudWatch::Alarm");
    for (name, alarm) in alarms {
        let alarm = &alarm["Properties"];
        for (property, value) in [
            ("ComparisonOperator", json!("GreaterThanThreshold")),
            ("TreatMissingData", json!("notBreaching")),
            (
                "AlarmActions",
                json!(["HasAlarmEmail", ["AlarmTopic"], "AWS::NoValue"]),
            ),
            (
                "OKActions",
                json!(["HasAlarmEmail", ["AlarmTopic"], "AWS::NoValue"]),
            ),
        ] {
            assert_eq!(alarm[property], value, "{name}: {property}");
        }
        if name.ends_with("VersionErrorsAlarm") && name != "GetVersionErrorsAlarm" {
            continue;
        }
        let (metric, statistic, period) = match &alarm["Metrics"][1]["MetricStat"] {
            Value::Null => (&alarm["MetricName"], &alarm["Statistic"], &alarm["Period"]),
            stat => (
                &stat["Metric"]["MetricName"],
                &stat["Stat"],
                &stat["Period"],
            ),
        };
        let periods = &alarm["EvaluationPeriods"];
        let bad = alarm.get("DatapointsToAlarm").unwrap_or(periods);
        let watches = json!([metric, statistic, period, periods, bad, alarm["Threshold"]]);
        assert_eq!(Some(&watches), expected.get(name), "ALARMS (right): {name}");
    }
    let alarm = |name: &str| resources[name]["Properties"]["Metrics"].to_string();
    let rate = "IF(requests >= ${ErrorsAlarmRequests}, 100 * errors / requests, 0)";
    assert!(alarm("ApiErrorsAlarm").contains(rate));
    for Operation {
        function,
        path,
        executable,
        ..
    } in operations()
    {
        let watched = |name: &str| alarm(name).matches(&format!("\"{function}\"")).count();
        assert_eq!(watched("FunctionErrorsAlarm"), 1, "{function}");
        let one_user = path == "/users/{id}" || executable == "post";
        assert_eq!(watched("LatencyAlarm"), usize::from(one_user), "{function}");
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
        assert_eq!(resources, nameless(&yaml, get), "{}", operation.function);
    }
}

/// Returns the resources of a function without its names, its route, and what its role allows,
/// which it checks.
fn nameless(yaml: &Value, operation: &Operation) -> Value {
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
        "{function}"
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
    let own = own.map(|kind| resources[format!("{prefix}{kind}")].clone());
    let mut text = json!([served, own]).to_string();
    for kind in ["Function", "Role", "Logs", "VersionErrorsAlarm"] {
        for before in ["\"", "${"] {
            text = text.replace(
                &format!("{before}{prefix}{kind}"),
                &format!("{before}{kind}"),
            );
        }
    }
    let names = [
        format!("user-profile-{executable}$"),
        format!("\"Binary\":\"{executable}\""),
    ];
    for name in names {
        assert!(
            text.contains(&name),
            "template.yaml: {function} lacks {name}"
        );
        text = text.replace(&name, "");
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
        .unwrap_or_else(|| panic!("tests/tests/template.rs: PERMISSIONS lacks {executable}"));
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
    assert_eq!(conditional.get("ApiKey"), Some(&"NeedsApiKey"));
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

#[test]
fn the_dashboard_shows_each_function_and_the_index() {
    let yaml = yaml();
    let dashboard = &yaml["Resources"]["Dashboard"]["Properties"]["DashboardBody"][0];
    let dashboard: Value = dashboard
        .as_str()
        .and_then(|text| serde_json::from_str(text).ok())
        .expect("DashboardBody is JSON");
    let widgets = dashboard["widgets"].as_array().expect("widgets");
    let assert_shown = |title: &str, source: &str, times: usize| {
        let widget = widgets
            .iter()
            .find(|widget| widget["properties"]["title"] == title)
            .unwrap_or_else(|| panic!("template.yaml: Dashboard has no widget '{title}'"));
        assert_eq!(
            widget.to_string().matches(source).count(),
            times,
            "template.yaml: Dashboard, widget '{title}', shows {source}"
        );
    };
    for Operation { function, .. } in operations() {
        for title in [
            "Function errors",
            "Function throttles",
            "Function duration, p99 (ms)",
            "Concurrent executions",
        ] {
            assert_shown(title, &format!("\"${{{function}}}\""), 1);
        }
    }
    for action in PERMISSIONS.iter().flat_map(|(_, actions)| *actions) {
        let operation = format!("\"{}\"", action.trim_start_matches("dynamodb:"));
        assert_shown("DynamoDB latency, average (ms)", &operation, 1);
    }
    for (title, metrics) in [
        ("Consumed units", 2),
        ("Throttled reads by cause", 3),
        ("Throttled writes by cause", 3),
    ] {
        assert_shown(title, "\"${Table}\"", 2 * metrics);
        assert_shown(
            title,
            "\"GlobalSecondaryIndexName\",\"email-index\"",
            metrics,
        );
    }
    // CloudWatch charges for a query over logs at each refresh.
    assert!(widgets.iter().all(|widget| widget["type"] != "log"));
}

#[test]
fn each_saved_query_reads_all_functions_or_the_access_log() {
    let yaml = yaml();
    let all: BTreeSet<_> = operations()
        .iter()
        .map(|operation| format!("{}Logs", resource_prefix(&operation.executable)))
        .collect();
    let access = BTreeSet::from(["ApiAccessLogs".to_owned()]);
    for (name, query) in yaml["Resources"].as_object().expect("resources") {
        if query["Type"] == "AWS::Logs::QueryDefinition" {
            let groups = query["Properties"]["LogGroupNames"].clone();
            let groups: BTreeSet<String> = serde_json::from_value(groups).expect("names");
            assert!(groups == all || groups == access, "template.yaml: {name}");
        }
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
