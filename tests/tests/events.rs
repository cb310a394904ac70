//! The forms of events that a function must accept, and events that it must reject.

use std::ptr;

use serde_json::{Value, json};
use tests::{Api, Event, Operation, Reply, Table, engine, operations};

/// The API, and its table.
struct Fixture {
    api: Api,
    table: Table,
}

impl Fixture {
    async fn start() -> Self {
        let table = Table::new().await;
        Self {
            api: Api::on(engine(), table.name()).await,
            table,
        }
    }

    async fn invoke(&self, function: &str, event: &Value) -> Reply {
        let reply = self.api.invoke(function, &event.to_string()).await;
        reply.unwrap_or_else(|error| panic!("{function}, {event}: {error}"))
    }

    /// Asserts that a function rejects an event, and deletes nothing.
    async fn rejects(&self, function: &str, event: &Value) {
        self.table.put(&json!({"id": "1"})).await;
        let reply = self.invoke(function, event).await;
        assert_eq!(reply.status, 400, "{function}: {event}: {}", reply.text);
        reply.assert_error(400, "InvalidRequest");
        assert!(
            self.table.stored("1").await.is_some(),
            "{function}: {event}"
        );
    }

    /// Asserts that a function serves an event, and returns the body.
    async fn serves(&self, function: &str, event: &Value) -> Value {
        self.table.put(&json!({"id": "1", "email": "a@b"})).await;
        let reply = self.invoke(function, event).await;
        assert_eq!(reply.status, 200, "{function}: {event}: {}", reply.text);
        reply.json()
    }
}

/// Returns an event that a function serves successfully if the user 1 exists.
fn event(method: &str, resource: &str) -> Value {
    Event::new(method, resource).id("1").body("{}").json()
}

#[tokio::test]
async fn parts_that_an_operation_does_not_need_can_be_anything() {
    let fixture = Fixture::start().await;
    let odd = json!({
        "headers": {
            "": "empty", "X-Control": "\u{1}", "X-Null": null, "X-Number": 1, "Host": "ho st",
        },
        "multiValueHeaders": {
            "Host": ["[::", "\u{e9}"], "X-Null": [null], "X-Forwarded-Proto": "://",
        },
        "stageVariables": [],
        "requestContext": {
            "identity": null, "domainName": 5, "path": [], "authorizer": {"a": {"b": []}},
        },
        "extra": {"deep": [[[[]]]]},
    });
    // `DELETE /users` refuses what it does not understand.
    for Operation {
        function,
        method,
        path,
        has_body,
        ..
    } in operations()
        .iter()
        .filter(|own| own.executable != "delete-all")
    {
        for (part, value) in odd.as_object().expect("an object") {
            for value in [
                value.clone(),
                Value::Null,
                json!("text"),
                json!(5),
                json!({}),
            ] {
                let mut event = event(method, path);
                event[part] = value;
                fixture.serves(function, &event).await;
            }
        }
        for part in [
            "body",
            "isBase64Encoded",
            "queryStringParameters",
            "pathParameters",
        ] {
            let is_needed = match part {
                "body" => *has_body,
                "queryStringParameters" => path == "/users" && !has_body,
                "pathParameters" => path != "/users",
                _ => false,
            };
            let mut event = event(method, path);
            event[part] = json!(7);
            if is_needed {
                fixture.rejects(function, &event).await;
            } else {
                fixture.serves(function, &event).await;
            }
        }
    }
    assert_eq!(fixture.api.processes_started(), operations().len() - 1);
}

#[tokio::test]
async fn query_parameters_can_be_written_in_every_way() {
    let fixture = Fixture::start().await;
    fixture.table.put(&json!({"id": "2", "email": "c@d"})).await;
    let count = async |single: Value, multiple: Value| {
        let mut event = event("GET", "/users");
        event["queryStringParameters"] = single;
        event["multiValueQueryStringParameters"] = multiple;
        fixture
            .serves("GetAllFunction", &event)
            .await
            .as_array()
            .map(Vec::len)
    };
    for nothing in [
        Value::Null,
        json!({}),
        json!({"email": null}),
        json!({"email": []}),
    ] {
        assert_eq!(
            count(nothing.clone(), Value::Null).await,
            Some(2),
            "{nothing}"
        );
        assert_eq!(
            count(Value::Null, nothing.clone()).await,
            Some(2),
            "{nothing}"
        );
        assert_eq!(
            count(json!({"email": "c@d"}), nothing.clone()).await,
            Some(1),
            "{nothing}"
        );
        assert_eq!(
            count(nothing.clone(), json!({"email": ["x", "c@d"]})).await,
            Some(1)
        );
    }
    assert_eq!(
        count(json!({"email": "a@b"}), json!({"email": ["a@b", "x"]})).await,
        Some(0)
    );
    assert_eq!(count(json!({"limit": 1}), Value::Null).await, Some(1));
    assert_eq!(
        count(json!({"other": 5, "more": {}}), json!({"more": [1, null]})).await,
        Some(2)
    );
}

#[tokio::test]
async fn an_event_that_a_person_typed_is_served() {
    let fixture = Fixture::start().await;
    fixture.serves("GetAllFunction", &json!({})).await;
    fixture.serves("PostFunction", &json!({"body": "{}"})).await;
    let one = json!({"pathParameters": {"id": "1"}});
    fixture.serves("GetFunction", &one).await;
    fixture.serves("DeleteFunction", &one).await;
    fixture
        .serves(
            "PutFunction",
            &json!({"pathParameters": {"id": "1"}, "body": "{}"}),
        )
        .await;
    fixture
        .serves("DeleteAllFunction", &json!({"httpMethod": "DELETE"}))
        .await;
    for function in [
        "GetFunction",
        "PutFunction",
        "DeleteFunction",
        "PostFunction",
    ] {
        fixture.rejects(function, &json!({})).await;
        fixture
            .rejects(function, &json!({"pathParameters": {"id": ""}}))
            .await;
    }
}

#[tokio::test]
async fn an_event_for_another_function_is_rejected() {
    let fixture = Fixture::start().await;
    for own @ Operation {
        function,
        method,
        path,
        ..
    } in operations()
    {
        for other in operations().iter().filter(|other| !ptr::eq(*other, own)) {
            fixture
                .rejects(function, &event(&other.method, &other.path))
                .await;
        }
        for not_an_event in [
            json!([]),
            json!("text"),
            json!(42),
            Value::Null,
            json!([1, 2]),
        ] {
            fixture.rejects(function, &not_an_event).await;
        }
        for (part, value) in [
            ("httpMethod", json!("TRACE")),
            ("httpMethod", json!(1)),
            ("resource", json!("/")),
        ] {
            let mut event = event(method, path);
            event[part] = value;
            fixture.rejects(function, &event).await;
        }
    }
}

#[tokio::test]
async fn an_event_of_another_service_is_rejected() {
    let fixture = Fixture::start().await;
    for Operation {
        function,
        method,
        path,
        ..
    } in operations()
    {
        let route = format!("{method} {path}");
        let id = json!({"id": "1"});
        for (service, event) in [
            (
                "an HTTP API",
                json!({"version": "2.0", "routeKey": route, "rawPath": "/users/1",
                    "pathParameters": id, "body": "{}",
                    "requestContext": {"http": {"method": method, "path": "/users/1"}}}),
            ),
            (
                "a load balancer",
                json!({"requestContext": {"elb": {"targetGroupArn": "arn"}}, "body": "{}",
                    "httpMethod": method, "path": "/users", "pathParameters": id}),
            ),
            (
                "a WebSocket API",
                json!({"requestContext": {"routeKey": "$default", "eventType": "MESSAGE",
                    "connectionId": "c"}, "body": "{}", "pathParameters": id}),
            ),
            (
                "VPC Lattice",
                json!({"raw_path": "/users", "method": method, "body": "{}",
                    "pathParameters": id}),
            ),
            (
                "an authorizer",
                json!({"type": "REQUEST", "methodArn": "arn", "httpMethod": method,
                    "resource": path, "pathParameters": id}),
            ),
            (
                "SQS",
                json!({"Records": [{"body": "{}"}], "pathParameters": id}),
            ),
            (
                "another method in the context",
                json!({"requestContext": {"httpMethod": "HEAD"}, "body": "{}",
                    "pathParameters": id}),
            ),
            (
                "another path",
                json!({"path": "/orders/1", "body": "{}", "pathParameters": id}),
            ),
        ] {
            let mut event = event;
            if function == "DeleteAllFunction" {
                event["pathParameters"] = Value::Null;
                event["body"] = Value::Null;
            }
            assert!(event.is_object(), "{service}");
            fixture.rejects(function, &event).await;
        }
    }
}

#[tokio::test]
async fn an_event_names_its_path_as_api_gateway_does() {
    let fixture = Fixture::start().await;
    fixture.table.put(&json!({"id": "a/b"})).await;
    for (path, context_path) in [
        ("/users/a%2Fb", "/test/users/a%2Fb"),
        ("/v1/users/a%2Fb", "/v1/users/a%2Fb"),
        ("/users/a/b", "/users/{id}"),
        ("/users/a%2Fb/", "/test/users/a%2Fb/"),
    ] {
        let mut event = Event::new("GET", "/users/{id}").id("a%2Fb").json();
        event["path"] = json!(path);
        event["requestContext"]["path"] = json!(context_path);
        event["requestContext"]["newMember"] = json!({"of": "AWS"});
        event["newMember"] = json!(1);
        let user = fixture.serves("GetFunction", &event).await;
        assert_eq!(user, json!({"id": "a/b"}), "{path}");
    }
}

#[tokio::test]
async fn an_event_that_could_mean_fewer_than_all_users_deletes_none() {
    let fixture = Fixture::start().await;
    let event = |change: fn(&mut Value)| {
        let mut event = Event::new("DELETE", "/users").json();
        change(&mut event);
        event
    };
    for fewer in [
        json!({}),
        json!({"source": "aws.events"}),
        json!({"resource": "/users"}),
        json!({"httpMethod": "DELETE", "pathParameters": {"id": "1"}}),
        json!({"httpMethod": "DELETE", "path": "/users/1"}),
        event(|event| event["queryStringParameters"] = json!({"email": "ada@example.com"})),
        event(|event| event["queryStringParameters"] = json!({"email": null})),
        event(|event| event["multiValueQueryStringParameters"] = json!({"id": []})),
        event(|event| event["path"] = json!("/users/")),
        event(|event| event["requestContext"]["path"] = json!("/test/users/")),
        event(|event| event["requestContext"]["path"] = json!("/test/users/42")),
        event(|event| event["httpMethod"] = Value::Null),
        event(|event| event["body"] = json!("{\"ids\": [\"1\"]}")),
        event(|event| event["body"] = json!(" ")),
        event(|event| event["body"] = json!({"ids": ["1"]})),
        event(|event| event["pathParameters"] = json!({"id": "1"})),
        event(|event| event["pathParameters"] = json!({"proxy": ""})),
        event(|event| event["pathParameters"] = json!("1")),
        event(|event| event["path"] = json!(["/users/5"])),
        event(|event| event["requestContext"] = json!("x")),
        event(|event| event["requestContext"]["path"] = json!(["/users/5"])),
        event(|event| event["queryStringParameters"] = json!("email=a")),
        json!({"httpMethod": "DELETE", "dryRun": true}),
        json!({"httpMethod": "DELETE", "requestContext": {}, "ids": ["1"]}),
    ] {
        fixture.rejects("DeleteAllFunction", &fewer).await;
    }
    fixture
        .api
        .delete("/users/")
        .await
        .assert_error(400, "InvalidRequest");
    fixture
        .api
        .delete("/users?email=ada@example.com")
        .await
        .assert_error(400, "InvalidRequest");
    let mut genuine = event(|event| event["newMember"] = json!({"of": "AWS"}));
    genuine["body"] = json!("");
    fixture.serves("DeleteAllFunction", &genuine).await;
    fixture
        .api
        .delete("/users?")
        .await
        .assert_is(200, &Value::Null);
}

#[tokio::test]
async fn a_body_that_is_not_valid_base64_is_rejected() {
    let fixture = Fixture::start().await;
    for Operation {
        function,
        method,
        path,
        has_body,
        ..
    } in operations()
    {
        let event = Event::new(method, path).id("1").base64_body("*").json();
        if *has_body || function == "DeleteAllFunction" {
            fixture.rejects(function, &event).await;
        } else {
            fixture.serves(function, &event).await;
        }
    }
}

#[tokio::test]
async fn an_unpaired_surrogate_matters_only_in_a_part_that_is_read() {
    let fixture = Fixture::start().await;
    let header = r#"{"httpMethod": "GET", "headers": {"x": "\ud800"}, "path": "\udc00"}"#;
    let reply = fixture
        .api
        .invoke("GetAllFunction", header)
        .await
        .expect("a response");
    reply.assert_is(200, &json!([]));
    let body = r#"{"httpMethod": "POST", "body": "\ud800"}"#;
    let reply = fixture
        .api
        .invoke("PostFunction", body)
        .await
        .expect("a response");
    reply.assert_error(400, "InvalidRequest");
}

#[tokio::test]
async fn a_link_never_names_a_host() {
    let fixture = Fixture::start().await;
    fixture.table.put(&json!({"id": "2"})).await;
    let mut event = event("GET", "/users");
    event["queryStringParameters"] = json!({"limit": "1"});
    event["requestContext"]["path"] = json!("//evil.example/a\n<b> \u{7f}ü/users");
    fixture.table.put(&json!({"id": "1"})).await;
    let reply = fixture.invoke("GetAllFunction", &event).await;
    let url = reply.next_url().expect("a next page");
    assert!(url.starts_with("?limit=1&cursor="), "{url}");
}
