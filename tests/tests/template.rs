//! `template.yaml` says what the contract says, and what `users-core` relies on.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use aws_sdk_dynamodb::types::ProjectionType;
use local::Template;
use serde_json::{Value, json};
use tests::TEMPLATE;
use users_core::{EMAIL, EMAIL_INDEX, ENDPOINT_VARIABLE, ID, ORIGIN_VARIABLE, TABLE_VARIABLE};

/// The template as the local service understands it: parameters have their defaults.
fn template() -> Template {
    Template::read(Path::new(TEMPLATE)).expect("the template")
}

/// The template as it is written, without CloudFormation's tags: `!Ref X` is `"X"`, `!If [a, b, c]` is `["a", b, c]`.
fn text() -> Value {
    let text = std::fs::read_to_string(TEMPLATE).expect("the template");
    serde_saphyr::from_str(&text).expect("YAML")
}

/// The method, path and executable of each operation.
const OPERATIONS: [(&str, &str, &str); 6] = [
    ("GET", "/users", "get-all"),
    ("POST", "/users", "post"),
    ("DELETE", "/users", "delete-all"),
    ("GET", "/users/{id}", "get"),
    ("PUT", "/users/{id}", "put"),
    ("DELETE", "/users/{id}", "delete"),
];

#[test]
fn each_operation_is_routed_to_the_function_that_is_named_for_it() {
    let template = template();
    let routes: BTreeSet<_> = template
        .routes
        .iter()
        .map(|route| {
            let function = &template.functions[&route.function];
            assert_eq!(function.name, format!("user-profile-{}", function.executable));
            (route.method.as_str(), route.path.as_str(), function.executable.as_str())
        })
        .collect();
    assert_eq!(routes, BTreeSet::from(OPERATIONS));
    assert_eq!((template.functions.len(), template.stage.as_str()), (6, "test"));
}

#[test]
fn api_gateway_may_invoke_each_function_for_its_route() {
    let text = text();
    for route in template().routes {
        let events =
            text["Resources"][&route.function]["Properties"]["Events"].as_object().expect("events");
        let routes: Vec<_> = events.values().map(|event| &event["Properties"]).collect();
        let expected =
            json!({"RestApiId": "Api", "Path": route.path, "Method": route.method.to_lowercase()});
        assert_eq!(routes, [&expected]);
    }
}

#[test]
fn an_operation_is_as_protected_as_every_other() {
    let text = text();
    let paths = &text["Resources"]["Api"]["Properties"]["DefinitionBody"]["paths"];
    for (method, path, _) in OPERATIONS {
        let security = &paths[path][method.to_lowercase()]["security"];
        assert_eq!(
            security,
            &json!(["NeedsApiKey", [{"api_key": []}], ["NeedsSignature", [{"sigv4": []}], []]]),
            "{method} {path}"
        );
    }
}

#[test]
fn the_query_parameters_of_lists_are_declared_and_optional() {
    let text = text();
    let list = &text["Resources"]["Api"]["Properties"]["DefinitionBody"]["paths"]["/users"]["get"];
    let declared: BTreeMap<_, _> = list["parameters"]
        .as_array()
        .expect("parameters")
        .iter()
        .map(|parameter| {
            (
                parameter["name"].as_str().unwrap_or_default(),
                (&parameter["in"], &parameter["required"]),
            )
        })
        .collect();
    let optional = (&json!("query"), &json!(false));
    assert_eq!(
        declared,
        BTreeMap::from([("email", optional), ("limit", optional), ("cursor", optional)])
    );
}

#[test]
fn the_table_has_the_keys_that_the_store_uses() {
    let table = template().table;
    assert_eq!(table.name, "user-profiles");
    let attributes: BTreeSet<_> = table
        .attribute_definitions
        .iter()
        .map(|attribute| (attribute.attribute_name(), attribute.attribute_type().as_str()))
        .collect();
    assert_eq!(attributes, BTreeSet::from([(ID, "S"), (EMAIL, "S")]));

    let [key] = &table.key_schema[..] else { panic!("{:?}", table.key_schema) };
    assert_eq!((key.attribute_name(), key.key_type().as_str()), (ID, "HASH"));

    let [index] = &table.global_secondary_indexes[..] else {
        panic!("{:?}", table.global_secondary_indexes)
    };
    let [key] = index.key_schema() else { panic!("{index:?}") };
    assert_eq!(
        (index.index_name(), key.attribute_name(), key.key_type().as_str()),
        (EMAIL_INDEX, EMAIL, "HASH")
    );
    let projection = index.projection().and_then(|projection| projection.projection_type());
    assert_eq!(projection.map(ProjectionType::as_str), Some("ALL"));
}

#[test]
fn no_user_is_lost_with_a_stack() {
    let table = &text()["Resources"]["UsersTable"];
    assert_eq!(
        (&table["DeletionPolicy"], &table["UpdateReplacePolicy"]),
        (&json!("RetainExceptOnCreate"), &json!("Retain"))
    );
}

#[test]
fn the_functions_get_the_environment_that_they_read() {
    let template = template();
    for function in template.functions.values() {
        let expected = [
            (TABLE_VARIABLE, template.table.name.as_str()),
            (ENDPOINT_VARIABLE, ""),
            (ORIGIN_VARIABLE, ""),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(function.variables, BTreeMap::from(expected), "{}", function.name);
    }
}

#[test]
fn the_functions_answer_or_are_stopped_before_api_gateway_gives_up() {
    for function in template().functions.values() {
        assert!(function.timeout.as_secs() < 29, "{}", function.name);
    }
}

#[test]
fn each_role_allows_what_its_function_does_and_nothing_else() {
    let text = text();
    let resources = &text["Resources"];
    for (function, actions) in [
        (
            "GetAll",
            &[
                ("dynamodb:Scan", "UsersTable.Arn"),
                ("dynamodb:Query", "${UsersTable.Arn}/index/email-index"),
            ][..],
        ),
        ("Post", &[("dynamodb:PutItem", "UsersTable.Arn")]),
        (
            "DeleteAll",
            &[("dynamodb:Scan", "UsersTable.Arn"), ("dynamodb:BatchWriteItem", "UsersTable.Arn")],
        ),
        ("Get", &[("dynamodb:GetItem", "UsersTable.Arn")]),
        ("Put", &[("dynamodb:PutItem", "UsersTable.Arn")]),
        ("Delete", &[("dynamodb:DeleteItem", "UsersTable.Arn")]),
    ] {
        assert_eq!(
            resources[format!("{function}Function")]["Properties"]["Role"],
            json!(format!("{function}Role.Arn"))
        );
        let role = &resources[format!("{function}Role")]["Properties"];
        assert_eq!(role["ManagedPolicyArns"], json!(["TracingPolicy"]), "{function}");

        let logs = format!("{function}Logs.Arn");
        let mut expected = BTreeSet::from([
            ("logs:CreateLogStream", logs.as_str()),
            ("logs:PutLogEvents", logs.as_str()),
        ]);
        expected.extend(actions);
        let policies = role["Policies"].as_array().expect("policies");
        let statements = policies.iter().flat_map(|policy| {
            policy["PolicyDocument"]["Statement"].as_array().expect("statements")
        });
        let mut allowed = BTreeSet::new();
        for statement in statements {
            assert_eq!(statement["Effect"], json!("Allow"));
            let actions = statement["Action"]
                .as_array()
                .map_or_else(|| vec![&statement["Action"]], |actions| actions.iter().collect());
            allowed.extend(actions.into_iter().map(|action| {
                (action.as_str().unwrap_or("?"), statement["Resource"].as_str().unwrap_or("?"))
            }));
        }
        assert_eq!(allowed, expected, "{function}");
    }
    let tracing = &resources["TracingPolicy"]["Properties"]["PolicyDocument"]["Statement"];
    assert_eq!(tracing[0]["Action"], json!(["xray:PutTraceSegments", "xray:PutTelemetryRecords"]));
    assert_eq!(tracing.as_array().map(Vec::len), Some(1));
}

#[test]
fn nothing_depends_on_a_resource_with_a_condition() {
    let text = text();
    let resources = text["Resources"].as_object().expect("resources");
    for (name, resource) in resources {
        let depends_on = &resource["DependsOn"];
        let named =
            depends_on.as_array().map_or_else(|| vec![depends_on], |all| all.iter().collect());
        for other in named.into_iter().filter_map(Value::as_str) {
            assert_eq!(resources[other]["Condition"], Value::Null, "{name} depends on {other}");
        }
    }
}

#[test]
fn alarms_and_dashboard_watch_every_function() {
    let text = text();
    let resources = &text["Resources"];
    let dashboard = resources["Dashboard"]["Properties"]["DashboardBody"].as_str().expect("text");
    for route in template().routes {
        let function = route.function.as_str();
        for alarm in ["FunctionErrorsAlarm", "FunctionThrottlesAlarm"] {
            let metrics = resources[alarm]["Properties"]["Metrics"].as_array().expect("metrics");
            let watched = metrics.iter().filter(|metric| {
                metric["MetricStat"]["Metric"]["Dimensions"][0]["Value"].as_str() == Some(function)
            });
            assert_eq!(watched.count(), 1, "{alarm} does not watch {function} once");
        }
        let alarm = function.replace("Function", "VersionErrorsAlarm");
        let dimensions = &resources[&alarm]["Properties"]["Dimensions"];
        let version = format!("{function}.Version.Version");
        assert_eq!(dimensions[2], json!({"Name": "ExecutedVersion", "Value": version}), "{alarm}");
        assert_eq!(
            resources[function]["Properties"]["DeploymentPreference"]["Alarms"],
            json!([["ShiftsTraffic", alarm, "AWS::NoValue"]])
        );
        let logs = function.replace("Function", "Logs");
        assert_eq!(dashboard.matches(&format!("\"${{{function}}}\"")).count(), 3, "{function}");
        assert_eq!(dashboard.matches(&format!("'${{{logs}}}'")).count(), 1, "{logs}");
    }
}

/// An error counts as soon as `CloudWatch` knows of it, even if that is some minutes late.
#[test]
fn alarms_on_functions_fire_for_a_single_error_that_is_reported_late() {
    let text = text();
    let alarms = text["Resources"].as_object().expect("resources").iter();
    let mut checked = 0;
    for (name, alarm) in alarms.filter(|(_, resource)| resource["Type"] == "AWS::CloudWatch::Alarm")
    {
        let alarm = &alarm["Properties"];
        if alarm["Namespace"] != "AWS/ApiGateway" {
            let evaluated = (&alarm["EvaluationPeriods"], &alarm["DatapointsToAlarm"]);
            assert_eq!(evaluated, (&json!(5), &json!(1)), "{name}");
            assert_eq!(alarm["Threshold"], json!(0), "{name}");
            checked += 1;
        }
    }
    assert_eq!(checked, 8);
}

#[test]
fn resources_are_tagged_with_service_and_stage() {
    const WITHOUT_TAGS: [&str; 3] =
        ["AWS::ApiGateway::Account", "AWS::ApiGateway::UsagePlanKey", "AWS::IAM::ManagedPolicy"];
    let text = text();
    let functions = &text["Globals"]["Function"]["Tags"];
    assert_eq!(functions, &json!({"service": "user-profiles", "stage": "StageName"}));
    for (name, resource) in text["Resources"].as_object().expect("resources") {
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
