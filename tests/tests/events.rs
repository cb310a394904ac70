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
        let api = Api::on(engine(), table.name()).await;
        Self { api, table }
    }

    async fn invoke(&self, function: &str, event: &Value) -> Reply {
        self.table.put(&json!({"id": "1", "email": "a@b"})).await;
        let reply = self.api.invoke(function, &event.to_string()).await;
        reply.unwrap_or_else(|error| panic!("{function}, {event}: {error}"))
    }

    /// Asserts that a function rejects an event, and deletes nothing.
    async fn rejects(&self, function: &str, event: &Value) {
        let reply = self.invoke(function, event).await;
        reply.fails("InvalidRequest");
        assert!(self.table.stored("1").await.is_some(), "{reply}");
    }

    /// Asserts that a function serves an event, and returns the body.
    async fn serves(&self, function: &str, event: &Value) -> Value {
        let reply = self.invoke(function, event).await;
        reply.assert_ok();
        reply.json()
    }
}

/// Returns an event that a function serves successfully if the user 1 exists.
fn event(operation: &Operation) -> Value {
    let Operation { method, path, .. } = operation;
    Event::new(method, path).id("1").body("{}").json()
}

/// Returns an event with another value of a member, whose path is a JSON pointer.
fn with(mut event: Value, member: &str, value: Value) -> Value {
    let (parent, name) = member.rsplit_once('/').expect("a pointer");
    event.pointer_mut(parent).expect("a member")[name] = value;
    event
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
    let others = [Value::Null, json!("text"), json!(5), json!({})];
    // `DELETE /users` refuses what it does not understand.
    let operations = operations().iter();
    for operation in operations.filter(|own| own.executable != "delete-all") {
        let function = &operation.function;
        for (part, value) in odd.as_object().expect("an object") {
            for value in others.iter().chain([value]) {
                let event = with(event(operation), &format!("/{part}"), value.clone());
                fixture.serves(function, &event).await;
            }
        }
        let is_list = operation.path == "/users" && !operation.has_body;
        for (part, is_needed) in [
            ("/body", operation.has_body),
            ("/isBase64Encoded", false),
            ("/queryStringParameters", is_list),
            ("/pathParameters", operation.path != "/users"),
        ] {
            let event = with(event(operation), part, json!(7));
            if is_needed {
                fixture.rejects(function, &event).await;
            } else {
                fixture.serves(function, &event).await;
            }
        }
        let base64 = with(event(operation), "/isBase64Encoded", json!(true));
        let base64 = with(base64, "/body", json!("*"));
        if operation.has_body {
            fixture.rejects(function, &base64).await;
        } else {
            fixture.serves(function, &base64).await;
        }
    }
    assert_eq!(fixture.api.processes_started(), 5);
}

#[tokio::test]
async fn query_parameters_can_be_written_in_every_way() {
    let fixture = Fixture::start().await;
    fixture.table.put(&json!({"id": "2", "email": "c@d"})).await;
    let none = [
        json!(null),
        json!({}),
        json!({"email": null}),
        json!({"email": []}),
    ];
    let mut rows = vec![
        (json!({"email": "a@b"}), json!({"email": ["a@b", "x"]}), 0),
        (json!({"limit": 1}), json!(null), 1),
        (
            json!({"other": 5, "more": {}}),
            json!({"more": [1, null]}),
            2,
        ),
    ];
    for none in none {
        rows.push((none.clone(), json!(null), 2));
        rows.push((json!(null), none.clone(), 2));
        rows.push((json!({"email": "c@d"}), none.clone(), 1));
        rows.push((none, json!({"email": ["x", "c@d"]}), 1));
    }
    for (single, multiple, count) in rows {
        let event = Event::new("GET", "/users").json();
        let event = with(event, "/queryStringParameters", single);
        let event = with(event, "/multiValueQueryStringParameters", multiple);
        let users = fixture.serves("GetAllFunction", &event).await;
        assert_eq!(users.as_array().map(Vec::len), Some(count), "{event}");
    }
}

#[tokio::test]
async fn an_event_that_a_person_typed_is_served() {
    let fixture = Fixture::start().await;
    let id = json!({"pathParameters": {"id": "1"}});
    let id_and_body = json!({"pathParameters": {"id": "1"}, "body": "{}"});
    for (function, event) in [
        ("GetAllFunction", json!({})),
        ("PostFunction", json!({"body": "{}"})),
        ("GetFunction", id.clone()),
        ("PutFunction", id_and_body),
        ("DeleteFunction", id),
        ("DeleteAllFunction", json!({"httpMethod": "DELETE"})),
    ] {
        fixture.serves(function, &event).await;
        if function != "GetAllFunction" {
            fixture.rejects(function, &json!({})).await;
            let empty = json!({"pathParameters": {"id": ""}});
            fixture.rejects(function, &empty).await;
        }
    }
}

#[tokio::test]
async fn an_event_for_another_function_is_rejected() {
    let fixture = Fixture::start().await;
    for own in operations() {
        let others = operations().iter().filter(|other| !ptr::eq(*other, own));
        let not_events = [json!([]), json!("text"), json!(42), Value::Null];
        let changed = [
            ("/httpMethod", json!("TRACE")),
            ("/httpMethod", json!(1)),
            ("/resource", json!("/")),
            ("/path", json!("/orders/1")),
            ("/requestContext/httpMethod", json!("HEAD")),
        ];
        let changed = changed.map(|(member, value)| with(event(own), member, value));
        for event in others.map(event).chain(not_events).chain(changed) {
            fixture.rejects(&own.function, &event).await;
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
        let http = json!({"method": method, "path": "/users/1"});
        let services = json!({
            "an HTTP API": {
                "version": "2.0", "routeKey": format!("{method} {path}"), "rawPath": "/users/1",
                "requestContext": {"http": http},
            },
            "a load balancer": {
                "requestContext": {"elb": {"targetGroupArn": "arn"}}, "httpMethod": method,
                "path": "/users",
            },
            "a WebSocket API": {
                "requestContext": {"routeKey": "$default", "eventType": "MESSAGE"},
            },
            "VPC Lattice": {"raw_path": "/users", "method": method},
            "an authorizer": {"type": "REQUEST", "methodArn": "arn", "httpMethod": method},
            "SQS": {"Records": [{"body": "{}"}]},
        });
        for (_, event) in services.as_object().expect("an object") {
            let mut event = event.clone();
            if function != "DeleteAllFunction" {
                event["pathParameters"] = json!({"id": "1"});
                event["body"] = json!("{}");
            }
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
        let event = Event::new("GET", "/users/{id}").id("a%2Fb").json();
        let event = with(event, "/path", json!(path));
        let event = with(event, "/requestContext/path", json!(context_path));
        let event = with(event, "/requestContext/new", json!({"of": "AWS"}));
        let event = with(event, "/new", json!(1));
        let user = fixture.serves("GetFunction", &event).await;
        assert_eq!(user, json!({"id": "a/b"}), "{path}");
    }
}

#[tokio::test]
async fn an_event_that_could_mean_fewer_than_all_users_deletes_none() {
    let fixture = Fixture::start().await;
    let genuine = Event::new("DELETE", "/users").json();
    let changed = [
        (
            "/queryStringParameters",
            json!({"email": "ada@example.com"}),
        ),
        ("/queryStringParameters", json!({"email": null})),
        ("/queryStringParameters", json!("email=a")),
        ("/multiValueQueryStringParameters", json!({"id": []})),
        ("/path", json!("/users/")),
        ("/path", json!(["/users/5"])),
        ("/requestContext", json!("x")),
        ("/requestContext/path", json!("/test/users/")),
        ("/requestContext/path", json!("/test/users/42")),
        ("/requestContext/path", json!(["/users/5"])),
        ("/httpMethod", Value::Null),
        ("/body", json!("{\"ids\": [\"1\"]}")),
        ("/body", json!(" ")),
        ("/body", json!({"ids": ["1"]})),
        ("/pathParameters", json!({"id": "1"})),
        ("/pathParameters", json!({"proxy": ""})),
        ("/pathParameters", json!("1")),
    ];
    let typed = [
        json!({"source": "aws.events"}),
        json!({"resource": "/users"}),
        json!({"httpMethod": "DELETE", "pathParameters": {"id": "1"}}),
        json!({"httpMethod": "DELETE", "path": "/users/1"}),
        json!({"httpMethod": "DELETE", "dryRun": true}),
        json!({"httpMethod": "DELETE", "requestContext": {}, "ids": ["1"]}),
    ];
    let changed = changed.map(|(member, value)| with(genuine.clone(), member, value));
    for event in changed.into_iter().chain(typed) {
        fixture.rejects("DeleteAllFunction", &event).await;
    }
    let base64 = Event::new("DELETE", "/users").base64_body("*").json();
    fixture.rejects("DeleteAllFunction", &base64).await;
    for path in ["/users/", "/users?email=ada@example.com"] {
        fixture.api.delete(path).await.fails("InvalidRequest");
    }
    let genuine = with(genuine, "/newMember", json!({"of": "AWS"}));
    let genuine = with(genuine, "/body", json!(""));
    fixture.serves("DeleteAllFunction", &genuine).await;
    fixture.api.delete("/users?").await.is(&Value::Null);
}

#[tokio::test]
async fn an_unpaired_surrogate_matters_only_in_a_part_that_is_read() {
    let Fixture { api, table } = Fixture::start().await;
    let header = r#"{"httpMethod": "GET", "headers": {"x": "\ud800"}, "path": "\udc00"}"#;
    let list = api.invoke("GetAllFunction", header).await;
    list.expect("a response").is(&json!([]));
    let body = r#"{"httpMethod": "POST", "body": "\ud800"}"#;
    let post = api.invoke("PostFunction", body).await;
    post.expect("a response").fails("InvalidRequest");
    assert!(table.all().await.is_empty());
}

#[tokio::test]
async fn a_link_never_names_a_host() {
    let fixture = Fixture::start().await;
    fixture.table.put(&json!({"id": "2"})).await;
    let event = Event::new("GET", "/users").query("limit", "1").json();
    let path = json!("//evil.example/a\n<b> \u{7f}ü/users");
    let event = with(event, "/requestContext/path", path);
    let reply = fixture.invoke("GetAllFunction", &event).await;
    let url = reply.next_url().expect("a next page");
    assert!(url.starts_with("?limit=1&cursor="), "{url}");
}
