//! Compares `template.yaml` with the contract, `users-core` and every other place that names a
//! function. The template's routes are the list of operations. A test that fails for a new
//! operation names the place that lacks it. CONTRIBUTING.md says how to add one.

mod monitoring;
mod promises;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use tests::{Operation, operations, repository, template};
use users_core::handlers::ROUTES;
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
            format!("{}Function", resource_prefix(executable)),
            "template.yaml: the function with Binary {executable}"
        );
        assert_eq!(
            template.functions[function].name,
            format!("user-profile-{executable}"),
            "template.yaml: FunctionName of {function}"
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
fn each_route_has_a_function_and_each_function_a_route() {
    let template = template();
    let routes = ROUTES.map(|route| (route.method, route.resource));
    let deployed = operations().iter().map(|own| (&*own.method, &*own.path));
    assert_eq!(
        BTreeSet::from(routes),
        deployed.collect(),
        "ROUTES in handlers.rs (left) must have the routes of template.yaml"
    );
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
fn the_crate_of_each_function_runs_the_handler_of_its_name() {
    for Operation { executable, .. } in operations() {
        let handler = executable.replace('-', "_");
        let call = format!(
            "run(handlers::{}, handlers::{handler})",
            handler.to_uppercase()
        );
        let path = format!("crates/{executable}/src/main.rs");
        let has_call = repository::text(&path).contains(&call);
        assert!(has_call, "{path} lacks {call}");
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
fn the_documentation_and_the_load_have_each_operation() {
    const MIX: &str = "scripts/load/mix.lua";
    for Operation { method, path, .. } in operations() {
        for (file, row) in [
            ("README.md", format!("| `{method} {path}` |")),
            ("docs/api.md", format!("| `{method} {path}` |")),
            (MIX, format!("\"{method} {path}")),
        ] {
            let has_row = repository::text(file).contains(&row);
            assert!(has_row, "{file}: the list of operations has no '{row}'");
        }
    }
    let mix = repository::text(MIX);
    let shares = mix
        .split("{ ")
        .filter_map(|entry| entry.split_once(", \"")?.0.parse::<u32>().ok());
    assert_eq!(shares.sum::<u32>(), 1000, "{MIX}: the sum of the shares");
}

#[test]
fn the_table_has_the_keys_that_the_store_uses() {
    let table = template().table;
    assert_eq!(table.name, "user-profiles");
    for (file, before) in [
        (
            "crates/users-core/src/process/environment.rs",
            "TABLE: &str = \"",
        ),
        ("scripts/import-table.sh", "table="),
        ("scripts/deploy-role.yaml", ":table/"),
    ] {
        let text = repository::text(file);
        let mut names = text.split(before).skip(1);
        let is_named = names.all(|rest| rest.starts_with(&table.name));
        assert!(
            is_named,
            "{file}: {before} is not followed by template.yaml's {}",
            table.name
        );
    }
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
            "{}: Environment in template.yaml (left), and environment.rs (right)",
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
