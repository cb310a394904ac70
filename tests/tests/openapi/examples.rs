//! The examples of the specification and of `users.http` are real requests and responses.

use std::collections::{BTreeMap, BTreeSet};

use lambda_http::Body;
use lambda_http::http::{Method, Request};
use local::{Database, Options, Service, Template};
use serde_json::{Value, json};
use tests::specification::specification;
use tests::{Api, Client, executables, repository, template, without_uuids};
use users_core::Error;

use crate::operations;

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
    let mut failed = Vec::new();
    let mut shown = BTreeSet::new();
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
        if reply.status != 200 {
            failed.push(format!("{method} {path} {}", reply.status));
        }
        shown.extend(tests::Operation::of(method, path).map(|own| &own.function));
    }
    for own in tests::operations() {
        // The request that deletes all users waits for a change of its path.
        let is_shown = shown.contains(&own.function) || own.executable == "delete-all";
        assert!(is_shown, "users.http lacks {} {}", own.method, own.path);
    }
    assert_eq!(failed, ["GET /users/nobody 400", "DELETE /nobody 403"]);
    for id in ["ada", "grace"] {
        api.get(&format!("/users/{id}")).await.assert_ok();
    }
}

/// An API, and the bodies of its responses by operation and status.
struct Recorder {
    api: Api,
    bodies: BTreeMap<(String, u16), Vec<String>>,
}

impl Recorder {
    async fn send(&mut self, method: Method, path: &str, body: &str) {
        let operation = tests::Operation::of(method.as_str(), path).expect("an operation");
        let operation = format!("{method} {}", operation.path);
        let reply = self.api.send(method, path, body).await;
        self.bodies
            .entry((operation, reply.status))
            .or_default()
            .push(without_uuids(&reply.json().to_string()));
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
    real.send(Method::POST, "/users", &random).await;
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

    for operation in operations() {
        for status in [200, 400] {
            let bodies = real
                .bodies
                .remove(&(operation.to_string(), status))
                .unwrap_or_default();
            for example in operation.examples(&status.to_string()) {
                assert!(
                    bodies.contains(&without_uuids(&example.to_string())),
                    "{operation}: no request of tests/tests/openapi/examples.rs has the response {example}. The \
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
