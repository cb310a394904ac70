//! `openapi.yaml` describes what `template.yaml` deploys, and its examples are real responses.

mod examples;

use std::collections::{BTreeMap, BTreeSet};

use local::Database;
use serde_json::{Value, json};
use tests::oracle::CODES;
use tests::repository::yaml;
use tests::specification::{mismatch, parameter_value, resolved, specification};
use tests::{Api, repository, template};

/// Returns the definition of the API in the template.
fn definition() -> Value {
    yaml("template.yaml")["Resources"]["Api"]["Properties"]["DefinitionBody"].clone()
}

/// An operation of the specification.
struct Operation {
    method: String,
    path: &'static str,
    value: &'static Value,
}

impl Operation {
    /// Returns the documented responses by status.
    fn responses(&self) -> BTreeMap<&'static str, &'static Value> {
        let responses = self.value["responses"]
            .as_object()
            .expect("responses")
            .iter();
        responses
            .map(|(status, response)| (status.as_str(), resolved(response)))
            .collect()
    }

    /// Returns the values of the examples of the response with this status.
    fn examples(&self, status: &str) -> Vec<&Value> {
        let responses = self.responses();
        let response = responses
            .get(status)
            .unwrap_or_else(|| panic!("{self}: {status} is missing"));
        let examples = response["content"]["application/json"]["examples"].as_object();
        let examples = examples.unwrap_or_else(|| panic!("{self}: {status} has no examples"));
        examples
            .values()
            .map(|example| &resolved(example)["value"])
            .collect()
    }
}

impl std::fmt::Display for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

fn operations() -> Vec<Operation> {
    let paths = specification()["paths"].as_object().expect("paths").iter();
    let operations = paths.flat_map(|(path, item)| {
        let members = item.as_object().expect("an object").iter();
        members
            .filter(|(member, _)| *member != "parameters")
            .map(move |(method, value)| Operation {
                method: method.to_uppercase(),
                path,
                value,
            })
    });
    operations.collect()
}

/// Returns the parameters of a path and one of its methods: the name, the place, and whether the
/// parameter is required.
fn parameters(item: &Value, method: &str) -> BTreeSet<(String, String, bool)> {
    let own = item[method.to_lowercase()]["parameters"].as_array();
    let shared = item["parameters"].as_array();
    own.into_iter()
        .chain(shared)
        .flatten()
        .map(|parameter| {
            let text = |member: &str| parameter[member].as_str().expect("text").to_owned();
            (
                text("name"),
                text("in"),
                parameter["required"] == json!(true),
            )
        })
        .collect()
}

#[test]
fn the_specification_has_the_deployed_operations_with_their_functions() {
    let deployed: BTreeSet<_> = tests::operations()
        .iter()
        .map(|deployed| {
            (
                deployed.method.as_str(),
                deployed.path.as_str(),
                &*deployed.executable,
            )
        })
        .collect();
    let operations = operations();
    let specified: BTreeSet<_> = operations
        .iter()
        .map(|operation| {
            let function = operation.value["x-function"].as_str().expect("x-function");
            (operation.method.as_str(), operation.path, function)
        })
        .collect();
    assert_eq!(
        specified, deployed,
        "openapi.yaml (left) must have template.yaml's operations, with x-function"
    );
    // Preflight requests are for browsers, which need no specification.
    let mocks = template().mocks;
    assert!(
        mocks.iter().all(|mock| mock.method == "OPTIONS"),
        "{mocks:?}"
    );
}

#[test]
fn the_methods_of_generated_clients_keep_their_names() {
    let ids: Vec<_> = operations()
        .iter()
        .map(|operation| format!("{operation}: {}", operation.value["operationId"]))
        .collect();
    let expected = [
        r#"DELETE /users: "deleteAllUsers""#,
        r#"GET /users: "listUsers""#,
        r#"POST /users: "createUser""#,
        r#"DELETE /users/{id}: "deleteUser""#,
        r#"GET /users/{id}: "getUser""#,
        r#"PUT /users/{id}: "replaceUser""#,
    ];
    assert_eq!(
        ids, expected,
        "openapi.yaml's operationIds (left) and tests/tests/openapi/main.rs (right) differ"
    );
    for operation in operations() {
        for link in operation.responses()["200"]["links"]
            .as_object()
            .into_iter()
            .flatten()
        {
            let (verb, link) = link;
            let id = link["operationId"].as_str().expect("an operation");
            assert!(id.starts_with(verb), "{verb}: {link}");
            let all = operations();
            let mut named = all.iter().filter(|known| known.value["operationId"] == id);
            let target = named.next().expect(id);
            let known = parameters(&specification()["paths"][target.path], &target.method);
            for (name, value) in link["parameters"].as_object().expect("parameters") {
                assert_eq!(value, &json!(format!("$response.body#/{name}")), "{link}");
                assert!(known.iter().any(|(known, ..)| known == name), "{link}");
                let has_value = |user: &&Value| user.get(name).is_some();
                assert!(operation.examples("200").iter().all(has_value), "{link}");
            }
        }
    }
}

#[test]
fn each_example_matches_its_schema() {
    for operation in operations() {
        let request = resolved(&operation.value["requestBody"]);
        let bodies = operation.responses();
        let responses = bodies.iter().map(|(status, response)| (*status, *response));
        for (what, message) in responses.chain([("the request", request)]) {
            let content = &message["content"]["application/json"];
            for example in content["examples"].as_object().into_iter().flatten() {
                let value = &resolved(example.1)["value"];
                let mismatch = mismatch(&content["schema"], value);
                assert_eq!(mismatch, None, "{operation}: {what}: {}", example.0);
            }
            for header in message["headers"].as_object().into_iter().flatten() {
                let header = resolved(header.1);
                let mismatch = mismatch(&header["schema"], &header["example"]);
                assert_eq!(mismatch, None, "{operation}: {what}: {header}");
            }
        }
    }
}

#[test]
fn a_client_may_rely_on_an_id_a_code_and_a_message() {
    let user = json!({"email": "ada@example.com"});
    let users = [user.clone(), json!([user])];
    let errors = [
        json!({"code": "InvalidUser"}),
        json!({"message": "no"}),
        json!({"code": "Unknown", "message": "no"}),
    ];
    for operation in operations() {
        for (status, response) in operation.responses() {
            let schema = &response["content"]["application/json"]["schema"];
            let incomplete = match status {
                "200" if operation.to_string() == "DELETE /users" => &[][..],
                "200" => &users,
                _ => &errors,
            };
            for body in incomplete {
                let mismatch = mismatch(schema, body);
                assert!(mismatch.is_some(), "{operation}: {status} allows {body}");
            }
            for (name, header) in response["headers"].as_object().expect("headers") {
                let is_sure = resolved(header)["required"] == true;
                assert_eq!(is_sure, name != "Link", "{operation}: {status} {name}");
            }
        }
    }
}

#[test]
fn what_the_specification_refers_to_exists() {
    // Every generator reads this version.
    assert_eq!(specification()["openapi"], "3.0.3");
    let page = specification()["externalDocs"]["url"].as_str();
    assert!(repository::path(page.expect("a page")).exists());
    let declared = specification()["tags"].as_array().expect("tags").iter();
    let declared: BTreeSet<_> = declared.map(|tag| tag["name"].to_string()).collect();
    let all = operations().into_iter();
    let tags: BTreeSet<_> = all.map(|own| own.value["tags"][0].to_string()).collect();
    assert_eq!(tags, declared);
    let id = &specification()["paths"]["/users/{id}"]["parameters"][0]["example"];
    let user = &specification()["components"]["examples"]["User"]["value"];
    assert_eq!(id, &user["id"]);
}

#[test]
fn the_servers_are_the_local_service_and_a_stage_of_nobody() {
    let server = |number: usize| &specification()["servers"][number];
    let template = yaml("template.yaml");
    let stage = &template["Parameters"]["StageName"]["Default"];
    let local = format!("http://127.0.0.1:3000/{}", stage.as_str().expect("a stage"));
    assert_eq!(server(0)["url"], local);
    let deployed = server(1)["url"].as_str().expect("a URL");
    let deployed = deployed
        .replace("{api}", "${Api}")
        .replace("{region}", "${AWS::Region}")
        .replace("amazonaws.com", "${AWS::URLSuffix}")
        .replace("{stage}", "${StageName}");
    assert_eq!(template["Outputs"]["ApiUrl"]["Value"], deployed);
    let variables = &server(1)["variables"];
    assert_eq!(&variables["stage"]["default"], stage);
    // Ids of APIs have no hyphens, so this one is nobody's.
    let api = variables["api"]["default"].as_str().expect("an id");
    assert!(api.contains('-'), "{api}");
}

/// Each of these is compared with what the service does. Another, such as `default` or `format`,
/// would be a promise that no test checks.
const KEYWORDS: [&str; 14] = [
    "$ref",
    "additionalProperties",
    "description",
    "enum",
    "items",
    "maxLength",
    "maximum",
    "minLength",
    "minimum",
    "nullable",
    "pattern",
    "properties",
    "required",
    "type",
];

#[test]
fn schemas_promise_only_what_is_tested() {
    fn assert_known(schema: &Value) {
        for (keyword, value) in schema.as_object().into_iter().flatten() {
            assert!(KEYWORDS.contains(&keyword.as_str()), "{keyword}: {schema}");
            match keyword.as_str() {
                "properties" => value
                    .as_object()
                    .expect("schemas")
                    .values()
                    .for_each(assert_known),
                "items" | "additionalProperties" => assert_known(value),
                _ => {}
            }
        }
    }
    fn visit(value: &Value) {
        match value {
            Value::Object(members) => {
                members.get("schema").into_iter().for_each(assert_known);
                for own in ["deprecated", "style", "explode", "allowEmptyValue"] {
                    assert!(!members.contains_key(own), "{own}: {value}");
                }
                members.values().for_each(visit);
            }
            Value::Array(elements) => elements.iter().for_each(visit),
            _ => {}
        }
    }
    visit(specification());
    let schemas = specification()["components"]["schemas"].as_object();
    schemas.expect("schemas").values().for_each(assert_known);
}

#[test]
fn a_request_needs_a_body_exactly_if_it_has_one() {
    for operation in operations() {
        let body = &operation.value["requestBody"];
        assert_eq!(body["required"] == true, !body.is_null(), "{operation}");
    }
}

/// Each schema allows what the service accepts, up to its limits, and nothing that it rejects.
#[tokio::test]
async fn schemas_have_the_limits_of_the_service() {
    let api = Api::local(Database::Memory).await;
    let list = &specification()["paths"]["/users"]["get"]["parameters"];
    let long = "x".repeat(2048);
    for (name, value, accepted) in [
        ("limit", "0", false),
        ("limit", "1", true),
        ("limit", "1000", true),
        ("limit", "1001", false),
        ("limit", "x", false),
        ("cursor", "", false),
        ("cursor", "YWRh", true),
        ("cursor", "a-_9", true),
        ("cursor", "YWR=", false),
        ("email", "", true),
        ("email", &long, true),
    ] {
        let parameter = list.as_array().expect("parameters").iter();
        let mut named = parameter.filter(|parameter| parameter["name"] == name);
        let schema = &named.next().expect(name)["schema"];
        let allowed = mismatch(schema, &parameter_value(schema, value)).is_none();
        assert_eq!(allowed, accepted, "the schema of {name}={value}");
        if value != "a-_9" {
            let reply = api.get(&format!("/users?{name}={value}")).await;
            assert_eq!(reply.status == 200, accepted, "{reply}");
        }
    }

    let too_long = format!("{long}x");
    let bodies = [
        (json!({}), true),
        (json!({"id": long, "email": long}), true),
        (json!({"id": too_long}), false),
        (json!({"id": ""}), false),
        (json!({"id": 1}), false),
        (json!({"id": null}), false),
        (json!({"email": too_long}), false),
        (json!({"email": ""}), false),
        (json!({"email": 1}), false),
        (json!({"email": null}), false),
        (json!([]), false),
        (json!(null), false),
        (json!({"any": [{"thing": null}, 1, "text", true]}), true),
    ];
    let schema = |path: &str, method: &str| {
        let body = &specification()["paths"][path][method]["requestBody"];
        &body["content"]["application/json"]["schema"]
    };
    api.post("/users", r#"{"id": "ada"}"#).await.assert_ok();
    for (body, accepted) in bodies {
        let text = body.to_string();
        let created = schema("/users", "post");
        assert_eq!(mismatch(created, &body).is_none(), accepted, "POST {body}");
        let reply = api.post("/users", &text).await;
        assert_eq!(reply.status == 200, accepted, "{reply}");

        let replacing = schema("/users/{id}", "put");
        let reply = api.put("/users/ada", &text).await;
        let allowed = mismatch(replacing, &body).is_none();
        assert_eq!(allowed, reply.status == 200, "PUT {body}");
    }
}

#[test]
fn the_specification_has_the_deployed_parameters() {
    let definition = definition();
    for Operation { method, path, .. } in operations() {
        assert_eq!(
            parameters(&specification()["paths"][path], &method),
            parameters(&definition["paths"][path], &method),
            "parameters of {method} {path} in openapi.yaml (left) and template.yaml (right)"
        );
    }
}

#[test]
fn the_specification_has_a_security_scheme_for_each_auth_type() {
    let definition = definition();
    let auth_types = &yaml("template.yaml")["Parameters"]["AuthType"]["AllowedValues"];
    assert_eq!(
        auth_types,
        &json!(["NONE", "API_KEY", "AWS_IAM", "COGNITO"])
    );
    assert_eq!(
        specification()["security"],
        json!([{}, {"api_key": []}, {"sigv4": []}, {"cognito": []}])
    );
    let user = json!(["NeedsUser", [{"cognito": []}], []]);
    let signature = json!(["NeedsSignature", [{"sigv4": []}], user]);
    let deployed = json!(["NeedsApiKey", [{"api_key": []}], signature]);
    for operation in operations() {
        let own = &definition["paths"][operation.path][operation.method.to_lowercase()];
        assert_eq!(
            own["security"], deployed,
            "template.yaml: security of {operation}"
        );
        assert_eq!(operation.value["security"], Value::Null, "{operation}");
    }
    let mut schemes = specification()["components"]["securitySchemes"].clone();
    for scheme in schemes.as_object_mut().expect("schemes").values_mut() {
        let description = scheme
            .as_object_mut()
            .and_then(|scheme| scheme.remove("description"));
        assert!(description.is_some(), "{scheme} has no description");
    }
    // API Gateway has its own way to write this scheme.
    assert_eq!(schemes["cognito"].take()["scheme"], "bearer");
    let mut deployed = definition["components"]["securitySchemes"].clone();
    let authorizer = &deployed["cognito"].take()[1]["x-amazon-apigateway-authorizer"];
    assert_eq!(authorizer["providerARNs"], json!(["UserPoolArn"]));
    assert_eq!(schemes, deployed);
}

/// Returns the response under which the specification has an error of API Gateway's own.
fn documented_status(kind: &str) -> &'static str {
    match kind {
        "DEFAULT_5XX" | "INTEGRATION_FAILURE" | "INTEGRATION_TIMEOUT" => "5XX",
        _ => "4XX",
    }
}

#[test]
fn each_error_of_api_gateway_is_an_example_of_each_operation() {
    let definition = definition();
    let responses = definition["x-amazon-apigateway-gateway-responses"].as_object();
    let operations = operations();
    for (kind, response) in responses.expect("gateway responses") {
        let template = response["responseTemplates"]["application/json"]
            .as_str()
            .expect("text");
        let body = template.replace("$context.error.messageString", "null");
        let body: Value = serde_json::from_str(&body).expect("a template of JSON");
        for operation in &operations {
            let examples = operation.examples(documented_status(kind));
            let found = examples.into_iter().any(|example| {
                example["code"] == body["code"]
                    && (body["message"].is_null() || example["message"] == body["message"])
            });
            assert!(found, "{operation}: no example is {kind}'s {body}");
        }
    }
    for operation in &operations {
        let statuses: Vec<_> = operation.responses().into_keys().collect();
        assert_eq!(statuses, ["200", "400", "4XX", "503", "5XX"], "{operation}");
    }
}

#[test]
fn every_code_has_an_example() {
    let error = &specification()["components"]["schemas"]["ErrorBody"]["properties"]["code"];
    let codes: BTreeSet<_> = error["enum"]
        .as_array()
        .expect("codes")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let operations = operations();
    let mut shown = BTreeSet::new();
    for operation in &operations {
        for (status, response) in operation.responses() {
            if status != "200" {
                shown.extend(operation.examples(status).iter().map(|body| {
                    body["code"]
                        .as_str()
                        .unwrap_or_else(|| panic!("{operation}: {body}"))
                }));
            }
            let has_retry_after = response["headers"]["Retry-After"].is_object();
            assert_eq!(has_retry_after, status == "503", "{operation}: {status}");
        }
    }
    assert_eq!(shown, codes);
    let described = error["description"].as_str().expect("a description");
    for code in codes {
        assert!(
            described.contains(&format!("`{code}`")),
            "the description lacks {code}"
        );
    }
    for (status, code) in CODES {
        let is_row = |line: &str| {
            line.starts_with(&format!("| {status}")) && line.contains(&format!("`{code}`"))
        };
        assert!(described.lines().any(is_row), "no row has {status} {code}");
    }
}
