//! `openapi.yaml` describes what `template.yaml` deploys, and its examples are real responses.

use std::collections::{BTreeMap, BTreeSet};

use lambda_http::http::Method;
use local::Database;
use serde_json::{Value, json};
use tests::repository::yaml;
use tests::{Api, Reply, template};

fn specification() -> Value {
    yaml("openapi.yaml")
}

/// Returns the definition of the API in the template.
fn definition() -> Value {
    yaml("template.yaml")["Resources"]["Api"]["Properties"]["DefinitionBody"].clone()
}

/// Returns a value, or the value that it refers to.
fn resolved<'a>(specification: &'a Value, value: &'a Value) -> &'a Value {
    match value["$ref"].as_str() {
        Some(reference) => specification
            .pointer(reference.trim_start_matches('#'))
            .unwrap_or_else(|| panic!("{reference} is missing")),
        None => value,
    }
}

/// An operation of the specification.
struct Operation<'a> {
    specification: &'a Value,
    method: String,
    path: &'a str,
    value: &'a Value,
}

impl Operation<'_> {
    /// Returns the documented responses by status.
    fn responses(&self) -> BTreeMap<&str, &Value> {
        let responses = self.value["responses"]
            .as_object()
            .expect("responses")
            .iter();
        responses
            .map(|(status, response)| (status.as_str(), resolved(self.specification, response)))
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
            .map(|example| &resolved(self.specification, example)["value"])
            .collect()
    }
}

impl std::fmt::Display for Operation<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

fn operations(specification: &Value) -> Vec<Operation<'_>> {
    let paths = specification["paths"].as_object().expect("paths").iter();
    let operations = paths.flat_map(|(path, item)| {
        let members = item.as_object().expect("an object").iter();
        members
            .filter(|(member, _)| *member != "parameters")
            .map(move |(method, value)| Operation {
                specification,
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
    let specification = specification();
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
    let operations = operations(&specification);
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
fn the_specification_has_the_deployed_parameters() {
    let (specification, definition) = (specification(), definition());
    for Operation { method, path, .. } in operations(&specification) {
        assert_eq!(
            parameters(&specification["paths"][path], &method),
            parameters(&definition["paths"][path], &method),
            "{method} {path}"
        );
    }
}

#[test]
fn the_specification_has_a_security_scheme_for_each_auth_type() {
    let (mut specification, definition) = (specification(), definition());
    let auth_types = &yaml("template.yaml")["Parameters"]["AuthType"]["AllowedValues"];
    assert_eq!(auth_types, &json!(["NONE", "API_KEY", "AWS_IAM"]));
    assert_eq!(
        specification["security"],
        json!([{}, {"api_key": []}, {"sigv4": []}])
    );
    let deployed =
        json!(["NeedsApiKey", [{"api_key": []}], ["NeedsSignature", [{"sigv4": []}], []]]);
    for operation in operations(&specification) {
        let own = &definition["paths"][operation.path][operation.method.to_lowercase()];
        assert_eq!(
            own["security"], deployed,
            "template.yaml: security of {operation}"
        );
        assert_eq!(operation.value["security"], Value::Null, "{operation}");
    }
    let schemes = &mut specification["components"]["securitySchemes"];
    for scheme in schemes.as_object_mut().expect("schemes").values_mut() {
        let description = scheme
            .as_object_mut()
            .and_then(|scheme| scheme.remove("description"));
        assert!(description.is_some(), "{scheme} has no description");
    }
    assert_eq!(*schemes, definition["components"]["securitySchemes"]);
}

/// Returns the statuses of a gateway response. `4XX` means the statuses that have no response type
/// (<https://docs.aws.amazon.com/apigateway/latest/developerguide/supported-gateway-response-types.html>).
fn statuses(kind: &str) -> &'static [&'static str] {
    match kind {
        "DEFAULT_4XX" => &["4XX"],
        "DEFAULT_5XX" => &["500", "502"],
        "MISSING_AUTHENTICATION_TOKEN"
        | "ACCESS_DENIED"
        | "INVALID_API_KEY"
        | "INVALID_SIGNATURE"
        | "EXPIRED_TOKEN" => &["403"],
        "REQUEST_TOO_LARGE" => &["413"],
        "THROTTLED" => &["429"],
        "INTEGRATION_FAILURE" | "INTEGRATION_TIMEOUT" => &["504"],
        _ => panic!("{kind} has no status here"),
    }
}

#[test]
fn the_specification_has_each_api_gateway_error_under_its_status() {
    let (specification, definition) = (specification(), definition());
    let responses = definition["x-amazon-apigateway-gateway-responses"].as_object();
    let operations = operations(&specification);
    let mut seen = BTreeSet::new();
    for (kind, response) in responses.expect("gateway responses") {
        assert_eq!(
            response["statusCode"],
            Value::Null,
            "{kind} has another status"
        );
        let template = response["responseTemplates"]["application/json"]
            .as_str()
            .expect("text");
        let body = template.replace("$context.error.messageString", "null");
        let body: Value = serde_json::from_str(&body).expect("a template of JSON");
        for (status, operation) in statuses(kind)
            .iter()
            .flat_map(|status| operations.iter().map(move |one| (status, one)))
        {
            seen.insert(*status);
            let found = operation.examples(status).into_iter().any(|example| {
                example["code"] == body["code"]
                    && (body["message"].is_null() || example["message"] == body["message"])
            });
            assert!(
                found,
                "{operation}: no example of {status} is {kind}'s {body}"
            );
        }
    }
    // The functions return the other statuses.
    seen.extend(["200", "400", "503"]);
    for operation in &operations {
        assert_eq!(
            operation.responses().into_keys().collect::<BTreeSet<_>>(),
            seen,
            "{operation}"
        );
    }
}

#[test]
fn every_code_has_an_example() {
    let specification = specification();
    let error = &specification["components"]["schemas"]["Error"]["properties"]["code"];
    let codes: BTreeSet<_> = error["enum"]
        .as_array()
        .expect("codes")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let operations = operations(&specification);
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
}

/// An API, and the bodies of its responses by operation and status.
struct Recorder {
    api: Api,
    bodies: BTreeMap<(String, u16), Vec<Value>>,
}

impl Recorder {
    async fn send(&mut self, method: Method, path: &str, body: &str) -> Reply {
        let has_id = path
            .strip_prefix("/users/")
            .is_some_and(|id| !id.is_empty());
        let operation = format!("{method} /users{}", if has_id { "/{id}" } else { "" });
        let reply = self.api.send(method, path, body).await;
        self.bodies
            .entry((operation, reply.status))
            .or_default()
            .push(reply.json());
        reply
    }
}

#[tokio::test]
async fn every_example_of_an_operations_own_response_is_a_real_one() {
    let specification = specification();
    let mut real = Recorder {
        api: Api::local(Database::Memory).await,
        bodies: BTreeMap::default(),
    };
    let request = |path: &str, method: &str, example: &str| {
        let body = &specification["paths"][path][method]["requestBody"];
        body["content"]["application/json"]["examples"][example]["value"].to_string()
    };
    let ada = request("/users", "post", "id");
    let random = request("/users", "post", "random");
    let replacement = request("/users/{id}", "put", "user");

    real.send(Method::GET, "/users", "").await;
    for body in [&ada, &ada, r#"{"id": 1}"#, "", r#"{"id": "ada",}"#] {
        real.send(Method::POST, "/users", body).await;
    }
    for query in ["email=ada@example.com", "limit=0", "cursor=!"] {
        real.send(Method::GET, &format!("/users?{query}"), "").await;
    }
    let created = real.send(Method::POST, "/users", &random).await;
    let link = real.api.get("/users?limit=1").await;
    assert!(
        link.header("link")
            .is_some_and(|link| link.starts_with("<?limit=1&cursor="))
    );

    for path in ["/users/ada", "/users/nobody", "/users/%FF"] {
        real.send(Method::GET, path, "").await;
        real.send(Method::DELETE, path, "").await;
    }
    assert_eq!(real.api.post("/users", &ada).await.status, 200);
    for (path, body) in [
        ("/users/ada", replacement.as_str()),
        ("/users/nobody", &replacement),
        ("/users/ada", r#"{"email": ""}"#),
        ("/users/ada", ""),
        ("/users/%FF", &replacement),
    ] {
        real.send(Method::PUT, path, body).await;
    }
    for path in ["/users?email=ada@example.com", "/users/", "/users"] {
        real.send(Method::DELETE, path, "").await;
    }

    let large = json!({"text": "x".repeat(390_000)}).to_string();
    for _ in 0..17 {
        assert_eq!(real.api.post("/users", &large).await.status, 200);
    }
    real.send(Method::GET, "/users", "").await;
    let unknown = real.api.send(Method::TRACE, "/users", "").await;
    let too_large = real.api.post("/users", &"x".repeat(7_000_000)).await;

    let id = created.json()["id"].clone();
    for operation in operations(&specification) {
        for status in [200, 400] {
            let mut bodies = real
                .bodies
                .remove(&(operation.to_string(), status))
                .unwrap_or_default();
            for body in &mut bodies {
                if body["id"] == id {
                    body["id"] = json!("11712dbe-8ff5-4d01-b119-09c93a7257e1");
                }
            }
            for example in operation.examples(&status.to_string()) {
                assert!(
                    bodies.contains(example),
                    "{operation}: no request of this test has the response {example}. The \
                     responses with status {status} are {bodies:#?}"
                );
            }
        }
        assert!(
            operation.examples("403").contains(&&unknown.json()),
            "{}",
            unknown.text
        );
        assert!(
            operation.examples("413").contains(&&too_large.json()),
            "{}",
            too_large.text
        );
    }
    real.api.stop().await;
}
