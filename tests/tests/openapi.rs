//! `openapi.yaml` describes what `template.yaml` deploys, and its examples are real responses.

use std::collections::{BTreeMap, BTreeSet};

use lambda_http::Body;
use lambda_http::http::{Method, Request};
use local::{Database, Options, Service, Template};
use serde_json::{Value, json};
use tests::oracle::CODES;
use tests::repository::yaml;
use tests::specification::{mismatch, parameter_value, resolved, specification};
use tests::{Api, Client, Reply, executables, repository, template};
use users_core::Error;

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
    assert_eq!(ids, expected);
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
    let used = operations().into_iter();
    let used: BTreeSet<_> = used.map(|used| used.value["tags"][0].to_string()).collect();
    assert_eq!(used, declared);
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
        let has_body = ["POST", "PUT"].contains(&operation.method.as_str());
        let required = operation.value["requestBody"]["required"] == true;
        assert_eq!(required, has_body, "{operation}");
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

/// The requests of `users.http` cover all operations. Running all of them deletes nobody.
#[tokio::test]
async fn running_all_of_users_http_deletes_nobody() {
    let api = Api::local(Database::Memory).await;
    for id in ["ada", "grace"] {
        let user = json!({"id": id}).to_string();
        api.post("/users", &user).await.assert_ok();
    }
    let text = repository::text("users.http");
    let variables: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix('@')?.split_once(" = "))
        .map(|(name, value)| (format!("{{{{{name}}}}}"), value))
        .collect();
    let with_variables = |request: &str| {
        let replace = |text: String, (name, value): &(String, &str)| text.replace(name, value);
        variables.iter().fold(request.to_owned(), replace)
    };
    let mut statuses = Vec::new();
    for request in text.split("\n### ").skip(1) {
        let (_, request) = request.split_once('\n').expect("a title");
        let request = with_variables(request);
        let (head, body) = request.split_once("\n\n").unwrap_or((&request, ""));
        let (method, url) = head
            .lines()
            .next()
            .and_then(|line| line.split_once(' '))
            .expect(head);
        let path = url
            .strip_prefix("http://127.0.0.1:3000/test")
            .expect("the base");
        let reply = api
            .send(method.parse().expect("a method"), path, body.trim())
            .await;
        statuses.push((method.to_owned(), reply.status));
    }
    let expected = [
        ("POST", 200),
        ("POST", 200),
        ("GET", 200),
        ("GET", 200),
        ("GET", 200),
        ("GET", 200),
        ("PUT", 200),
        ("DELETE", 200),
        ("GET", 400),
        ("DELETE", 403),
    ];
    assert_eq!(
        statuses,
        expected.map(|(method, status)| (method.to_owned(), status))
    );
    for id in ["ada", "grace"] {
        api.get(&format!("/users/{id}")).await.assert_ok();
    }
}

#[test]
fn the_specification_has_the_deployed_parameters() {
    let definition = definition();
    for Operation { method, path, .. } in operations() {
        assert_eq!(
            parameters(&specification()["paths"][path], &method),
            parameters(&definition["paths"][path], &method),
            "{method} {path}"
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
    let mut real = Recorder {
        api: Api::local(Database::Memory).await,
        bodies: BTreeMap::default(),
    };
    let request = |path: &str, method: &str, example: &str| {
        let body = &specification()["paths"][path][method]["requestBody"];
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

    let id = created.json()["id"].clone();
    for operation in operations() {
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
    }
    real.api.stop().await;
}

/// Returns a service with an API key, whose requests are limited to one a second.
async fn service_with_key() -> Service {
    let parameters = [
        ("AuthType", "API_KEY"),
        ("RateLimit", "1"),
        ("BurstLimit", "1"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let template = Template::read(&repository::path("template.yaml"), &parameters.into());
    let options = Options::new(template.expect("the template"), executables().to_owned());
    Service::start(options).await.expect("a local service")
}

#[tokio::test]
async fn every_example_of_an_error_of_all_operations_is_a_real_one() {
    let service = service_with_key().await;
    let key = service.api_key().expect("a key");
    let client = Client::default();
    let send = async |path: &str, headers: &[(&str, &str)], body: String| {
        let mut request = Request::put(format!("{}{path}", service.url()));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::Text(body)).expect("a request");
        let response = client.send(request).await.expect("a response");
        let status = response.status().as_u16();
        (status, serde_json::from_str(response.body()).expect("JSON"))
    };
    let (large, own) = ("x".repeat(10_240), ("x-api-key", key));
    let mut real: Vec<(u16, Value)> = vec![
        send("/nothing", &[], String::new()).await,
        send("/users/1", &[], String::new()).await,
        send("/users/1", &[("host", "other.example")], String::new()).await,
        send(
            "/users/1",
            &[("origin", "https://other.example")],
            String::new(),
        )
        .await,
        send("/users/1", &[("x", &large)], String::new()).await,
        send("/users/1", &[own], "x".repeat(7_000_000)).await,
    ];
    while real.last().is_some_and(|(status, _)| *status != 429) {
        real.push(send("/users/1", &[own], String::new()).await);
    }
    service.stop().await;
    let scripts = repository::path("crates/local/tests/functions");
    let mut broken = Options::new(template(), scripts);
    for function in broken.template.functions.values_mut() {
        "exits".clone_into(&mut function.executable);
    }
    for api in [
        Api::with_variables(&[("DYNAMO_ENDPOINT", "http://127.0.0.1:9")]).await,
        Api::with_variables(&[("USERS_TABLE", "missing")]).await,
        Api::start(broken).await,
    ] {
        let reply = api.get("/users/1").await;
        real.push((reply.status, reply.json()));
        api.stop().await;
    }
    let incomplete = Error::DeleteIncomplete {
        deleted: 42,
        source: None,
    };
    let body = json!({"code": incomplete.code(), "message": incomplete.to_string()});
    real.push((incomplete.status().as_u16(), body));

    let mut unseen = BTreeSet::new();
    let operations = operations();
    for operation in &operations {
        for (range, statuses) in [("4XX", 401..500), ("503", 503..504), ("5XX", 500..600)] {
            for example in operation.examples(range) {
                let is_example =
                    |(status, body): &(u16, Value)| statuses.contains(status) && body == example;
                if !real.iter().any(is_example) {
                    unseen.insert(example["code"].as_str().expect("a code"));
                }
            }
        }
    }
    let only_on_aws = [
        "AccessDenied",
        "ExpiredToken",
        "GatewayTimeout",
        "InvalidSignature",
        "Unauthorized",
    ];
    assert_eq!(unseen, only_on_aws.into(), "of {real:#?}");
}
