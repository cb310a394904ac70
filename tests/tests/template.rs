//! Compares `template.yaml` with the contract, `users-core` and every other place that names a
//! function. The template's routes are the list of operations. A test that fails for a new
//! operation names the place that lacks it. CONTRIBUTING.md says how to add one.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use tests::{Operation, operations, repository, template};
use users_core::{EMAIL, EMAIL_INDEX, ENDPOINT_VARIABLE, ID, ORIGIN_VARIABLE, TABLE_VARIABLE};

/// What the role of each function may do to the table, as action and resource.
const PERMISSIONS: &[(&str, &[(&str, &str)])] = &[
    (
        "get-all",
        &[("dynamodb:Scan", TABLE), ("dynamodb:Query", INDEX)],
    ),
    ("post", &[("dynamodb:PutItem", TABLE)]),
    (
        "delete-all",
        &[("dynamodb:Scan", TABLE), ("dynamodb:BatchWriteItem", TABLE)],
    ),
    ("get", &[("dynamodb:GetItem", TABLE)]),
    ("put", &[("dynamodb:PutItem", TABLE)]),
    ("delete", &[("dynamodb:DeleteItem", TABLE)]),
];
const TABLE: &str = "UsersTable.Arn";
const INDEX: &str = "${UsersTable.Arn}/index/email-index";

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
fn api_gateway_may_invoke_each_function_for_its_route() {
    let yaml = yaml();
    for Operation {
        function,
        method,
        path,
        ..
    } in operations()
    {
        let events = yaml["Resources"][function]["Properties"]["Events"].as_object();
        let routes: Vec<_> = events
            .into_iter()
            .flat_map(|events| events.values())
            .map(|e| &e["Properties"])
            .collect();
        let expected = json!({"RestApiId": "Api", "Path": path, "Method": method.to_lowercase()});
        assert_eq!(routes, [&expected], "template.yaml: Events of {function}");
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
fn the_query_parameters_of_lists_are_declared_and_optional() {
    let yaml = yaml();
    let list = &yaml["Resources"]["Api"]["Properties"]["DefinitionBody"]["paths"]["/users"]["get"];
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
        BTreeMap::from([
            ("email", optional),
            ("limit", optional),
            ("cursor", optional)
        ])
    );
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
fn no_user_is_lost_when_a_stack_is_deleted() {
    let table = &yaml()["Resources"]["UsersTable"];
    assert_eq!(
        (&table["DeletionPolicy"], &table["UpdateReplacePolicy"]),
        (&json!("RetainExceptOnCreate"), &json!("Retain"))
    );
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
fn the_functions_return_or_are_stopped_before_api_gateway_gives_up() {
    for function in template().functions.values() {
        assert!(function.timeout.as_secs() < 29, "{}", function.name);
    }
}

#[test]
fn each_role_allows_what_its_function_does_and_nothing_else() {
    let yaml = yaml();
    let resources = &yaml["Resources"];
    for Operation {
        function,
        executable,
        ..
    } in operations()
    {
        let prefix = resource_prefix(executable);
        assert_eq!(
            resources[function]["Properties"]["Role"],
            json!(format!("{prefix}Role.Arn")),
            "template.yaml: Role of {function}"
        );
        let role = &resources[format!("{prefix}Role")]["Properties"];
        assert_eq!(
            role["ManagedPolicyArns"],
            json!(["TracingPolicy"]),
            "template.yaml: ManagedPolicyArns of {prefix}Role"
        );

        let (_, actions) = PERMISSIONS
            .iter()
            .find(|(other, _)| other == executable)
            .unwrap_or_else(|| panic!("tests/tests/template.rs: PERMISSIONS lacks {executable}"));
        let logs = format!("{prefix}Logs.Arn");
        let mut expected = BTreeSet::from([
            ("logs:CreateLogStream", logs.as_str()),
            ("logs:PutLogEvents", logs.as_str()),
        ]);
        expected.extend(*actions);
        assert_eq!(
            allowed_actions(role),
            expected,
            "template.yaml: Policies of {prefix}Role"
        );
    }
    let tracing = &resources["TracingPolicy"]["Properties"]["PolicyDocument"]["Statement"];
    assert_eq!(
        tracing[0]["Action"],
        json!(["xray:PutTraceSegments", "xray:PutTelemetryRecords"])
    );
    assert_eq!(tracing.as_array().map(Vec::len), Some(1));
}

/// Returns what the role's own policies allow, as action and resource.
fn allowed_actions(role: &Value) -> BTreeSet<(&str, &str)> {
    let policies = role["Policies"]
        .as_array()
        .expect("a role has a list of policies");
    let statements = policies.iter().flat_map(|policy| {
        policy["PolicyDocument"]["Statement"]
            .as_array()
            .expect("a policy has statements")
    });
    let mut allowed = BTreeSet::new();
    for statement in statements {
        assert_eq!(statement["Effect"], json!("Allow"));
        let actions = statement["Action"].as_array().map_or_else(
            || vec![&statement["Action"]],
            |actions| actions.iter().collect(),
        );
        allowed.extend(actions.into_iter().map(|action| {
            (
                action.as_str().unwrap_or("?"),
                statement["Resource"].as_str().unwrap_or("?"),
            )
        }));
    }
    allowed
}

#[test]
fn each_function_writes_to_its_own_log_group_which_does_not_grow_for_ever() {
    let yaml = yaml();
    let resources = &yaml["Resources"];
    for Operation {
        function,
        executable,
        ..
    } in operations()
    {
        let logs = format!("{}Logs", resource_prefix(executable));
        let properties = &resources[function]["Properties"];
        assert_eq!(
            properties["LoggingConfig"]["LogGroup"],
            json!(logs),
            "template.yaml: LoggingConfig of {function}"
        );
        let group = &resources[&logs]["Properties"];
        assert_eq!(
            (&group["LogGroupName"], &group["RetentionInDays"]),
            (
                &json!(format!(
                    "/aws/lambda/user-profile-{executable}${{NameSuffix}}"
                )),
                &json!("LogRetentionDays")
            ),
            "template.yaml: {logs}"
        );
    }
}

#[test]
fn nothing_depends_on_a_resource_with_a_condition() {
    let yaml = yaml();
    let resources = yaml["Resources"].as_object().expect("resources");
    for (name, resource) in resources {
        let depends_on = &resource["DependsOn"];
        let named = depends_on
            .as_array()
            .map_or_else(|| vec![depends_on], |all| all.iter().collect());
        for other in named.into_iter().filter_map(Value::as_str) {
            assert_eq!(
                resources[other]["Condition"],
                Value::Null,
                "{name} depends on {other}"
            );
        }
    }
}

#[test]
fn the_alarms_for_all_functions_watch_each_function() {
    let yaml = yaml();
    for Operation { function, .. } in operations() {
        for alarm in ["FunctionErrorsAlarm", "FunctionThrottlesAlarm"] {
            let metrics = &yaml["Resources"][alarm]["Properties"]["Metrics"];
            let watched = metrics.as_array().into_iter().flatten().filter(|metric| {
                metric["MetricStat"]["Metric"]["Dimensions"][0]["Value"] == function.as_str()
            });
            assert_eq!(
                watched.count(),
                1,
                "template.yaml: {alarm} must have one metric of {function}"
            );
        }
    }
}

#[test]
fn an_alarm_watches_each_new_version_of_a_function() {
    let yaml = yaml();
    let resources = &yaml["Resources"];
    for Operation {
        function,
        executable,
        ..
    } in operations()
    {
        let alarm = format!("{}VersionErrorsAlarm", resource_prefix(executable));
        assert_eq!(
            resources[&alarm]["Properties"]["Dimensions"],
            json!([
                {"Name": "FunctionName", "Value": function},
                {"Name": "Resource", "Value": format!("${{{function}}}:live")},
                {"Name": "ExecutedVersion", "Value": format!("{function}.Version.Version")},
            ]),
            "template.yaml: Dimensions of {alarm}"
        );
        assert_eq!(
            resources[function]["Properties"]["DeploymentPreference"]["Alarms"],
            json!([["ShiftsTraffic", alarm, "AWS::NoValue"]]),
            "template.yaml: DeploymentPreference of {function}"
        );
    }
}

#[test]
fn the_dashboard_shows_each_function() {
    let yaml = yaml();
    let dashboard = &yaml["Resources"]["Dashboard"]["Properties"]["DashboardBody"];
    let dashboard: Value = dashboard
        .as_str()
        .and_then(|text| serde_json::from_str(text).ok())
        .expect("DashboardBody is JSON");
    let widgets = dashboard["widgets"]
        .as_array()
        .expect("the dashboard has widgets");
    let assert_shown = |title: &str, source: &str| {
        let widget = widgets
            .iter()
            .map(|widget| &widget["properties"])
            .find(|properties| properties["title"] == title)
            .unwrap_or_else(|| panic!("template.yaml: Dashboard has no widget '{title}'"));
        assert_eq!(
            widget.to_string().matches(source).count(),
            1,
            "template.yaml: Dashboard, widget '{title}' must show {source} once"
        );
    };
    for (_, actions) in PERMISSIONS {
        for action in actions
            .iter()
            .filter_map(|(action, _)| action.strip_prefix("dynamodb:"))
        {
            let operation = format!("\"{action}\"");
            assert_shown("DynamoDB latency, p99 (ms)", &operation);
            assert_shown("DynamoDB: throttled requests by operation", &operation);
        }
    }
    for Operation {
        function,
        executable,
        ..
    } in operations()
    {
        let metric = format!("\"${{{function}}}\"");
        let logs = format!("'${{{}Logs}}'", resource_prefix(executable));
        for (title, source) in [
            ("Function errors", &metric),
            ("Function throttles", &metric),
            ("Function duration, p99 (ms)", &metric),
            ("Last errors", &logs),
            ("Cold starts", &logs),
            ("Consumed units by route", &logs),
        ] {
            assert_shown(title, source);
        }
    }
}

#[test]
fn each_saved_query_reads_the_log_of_each_function() {
    let yaml = yaml();
    let resources = yaml["Resources"].as_object().expect("resources").iter();
    let queries =
        resources.filter(|(_, resource)| resource["Type"] == "AWS::Logs::QueryDefinition");
    for (name, query) in queries {
        let groups = query["Properties"]["LogGroupNames"]
            .as_array()
            .expect("a list");
        for Operation { executable, .. } in operations() {
            let group = json!(format!("{}Logs", resource_prefix(executable)));
            assert!(
                groups.contains(&group),
                "template.yaml: LogGroupNames of {name} lack {group}"
            );
        }
    }
}

/// `CloudWatch` may learn of an error minutes late. The alarm must fire anyway.
#[test]
fn alarms_on_functions_fire_for_a_single_error_that_is_reported_late() {
    let yaml = yaml();
    let alarms = yaml["Resources"].as_object().expect("resources").iter();
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
    // There are two alarms for all functions, and one for each function's new version.
    assert_eq!(
        checked,
        2 + template().functions.len(),
        "template.yaml: each function needs an alarm on its new version"
    );
}

#[test]
fn resources_are_tagged_with_service_and_stage() {
    const WITHOUT_TAGS: [&str; 4] = [
        "AWS::ApiGateway::Account",
        "AWS::ApiGateway::UsagePlanKey",
        "AWS::IAM::ManagedPolicy",
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
fn lists_and_deletions_of_all_have_a_throttle_of_their_own() {
    let yaml = yaml();
    let settings = &yaml["Resources"]["Api"]["Properties"]["MethodSettings"];
    let [all, list, delete_all] = settings.as_array().expect("a list").as_slice() else {
        panic!("{settings}")
    };
    for (setting, method, path, parameters) in [
        (all, "*", "/*", ""),
        (list, "GET", "/~1users", "List"),
        (delete_all, "DELETE", "/~1users", "DeleteAll"),
    ] {
        let expected = json!({
            "HttpMethod": method,
            "ResourcePath": path,
            "MetricsEnabled": false,
            "LoggingLevel": ["HasApiLogs", "ApiExecutionLogLevel", "OFF"],
            "DataTraceEnabled": false,
            "ThrottlingRateLimit": format!("{parameters}RateLimit"),
            "ThrottlingBurstLimit": format!("{parameters}BurstLimit"),
        });
        assert_eq!(*setting, expected);
    }
}

#[test]
fn no_cache_keeps_an_error_of_api_gateway() {
    let yaml = yaml();
    let definition = &yaml["Resources"]["Api"]["Properties"]["DefinitionBody"];
    let responses = definition["x-amazon-apigateway-gateway-responses"].as_object();
    for (kind, response) in responses.expect("an object") {
        let parameters = &response["responseParameters"];
        assert_eq!(
            parameters["gatewayresponse.header.Cache-Control"], "'no-store'",
            "{kind}"
        );
        let retry_after = &parameters["gatewayresponse.header.Retry-After"];
        assert_eq!(retry_after.is_string(), kind == "THROTTLED", "{kind}");
    }
}
