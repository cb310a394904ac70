//! Generated events, requests and responses of DynamoDB: whatever comes, a response of the contract
//! leaves, and no process ends. `CASES` says how many are tried; `make test-fuzz` tries more.

use std::env;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, FileFailurePersistence, TestCaseError, TestRunner};
use serde_json::{Value, json};
use tests::{Api, Event, ScriptedResponse, ScriptedServer, Table, engine, peak_memory};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::time::timeout;

/// The logical id, executable, method and resource of each function.
const FUNCTIONS: [(&str, &str, &str, &str); 6] = [
    ("GetAllFunction", "get-all", "GET", "/users"),
    ("PostFunction", "post", "POST", "/users"),
    ("DeleteAllFunction", "delete-all", "DELETE", "/users"),
    ("GetFunction", "get", "GET", "/users/{id}"),
    ("PutFunction", "put", "PUT", "/users/{id}"),
    ("DeleteFunction", "delete", "DELETE", "/users/{id}"),
];

/// The statuses and codes of the contract.
const CODES: [(u64, &str); 8] = [
    (400, "InvalidRequest"),
    (400, "InvalidUser"),
    (400, "UserNotFound"),
    (400, "UserAlreadyExists"),
    (400, "ResponseTooLarge"),
    (500, "InternalError"),
    (503, "ServiceUnavailable"),
    (503, "DeleteIncomplete"),
];

/// The most memory that a function may have taken at the end, in bytes.
const MEMORY_LIMIT: u64 = 64 * 1024 * 1024;

/// A runner of many cases, but at most this many. A case that fails is kept beside this file, and
/// tried first next time.
fn runner(most: u32) -> TestRunner {
    let cases = env::var("CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(400);
    let persistence = FileFailurePersistence::WithSource("regressions");
    TestRunner::new(Config {
        cases: most.min(cases),
        failure_persistence: Some(Box::new(persistence)),
        source_file: Some(file!()),
        max_shrink_iters: 2000,
        ..Config::default()
    })
}

/// Any JSON, small.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        Just(json!("")),
        Just(json!("%")),
        Just(json!("1")),
        Just(json!("{}")),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec(("[a-zA-Z]{0,6}", inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Replaces, or removes, the part of some JSON that is the nth of all in their order.
fn change(json: &mut Value, place: &mut usize, new: Option<&Value>) {
    match json {
        Value::Object(members) => {
            let names: Vec<_> = members.keys().cloned().collect();
            for name in names {
                if *place == 0 {
                    match new {
                        Some(new) => members.insert(name, new.clone()),
                        None => members.remove(&name),
                    };
                    *place = usize::MAX;
                    return;
                }
                *place -= 1;
                change(&mut members[&name], place, new);
                if *place == usize::MAX {
                    return;
                }
            }
        }
        Value::Array(elements) => {
            for element in elements {
                change(element, place, new);
            }
        }
        _ => {}
    }
}

/// Asserts that a status and a body are of the contract.
fn check(status: u64, body: &str) -> Result<(), TestCaseError> {
    let json: Value = serde_json::from_str(body)
        .map_err(|error| TestCaseError::fail(format!("{status}, {error}: {body}")))?;
    let code = json["code"].as_str().unwrap_or_default();
    let is_known = status == 200 || CODES.contains(&(status, code));
    prop_assert!(is_known, "{status}: {body}");
    Ok(())
}

/// Invokes a function, and checks its response.
fn invoke(
    runtime: &Runtime,
    api: &Api,
    function: &str,
    event: &Value,
) -> Result<(), TestCaseError> {
    let service = api.service().expect("a local service");
    let response = runtime.block_on(service.invoke(function, event.to_string()));
    let response = response.map_err(|error| TestCaseError::fail(error.to_string()))?;
    let response: Value = serde_json::from_str(&response).expect("JSON");
    let body = response["body"].as_str().unwrap_or_default();
    check(response["statusCode"].as_u64().unwrap_or_default(), body)
}

/// Asserts that every function is still its first process, and has stayed small.
fn check_processes(api: &Api, endpoint: &str) {
    assert_eq!(api.service().expect("a local service").processes_started(), 6);
    for (_, executable, ..) in FUNCTIONS {
        if let Some(peak) = peak_memory(executable, endpoint) {
            assert!(peak < MEMORY_LIMIT, "{executable} took {peak} bytes");
        }
    }
}

#[test]
fn any_event_has_a_response_of_the_contract() {
    let runtime = Runtime::new().expect("a runtime");
    let table = runtime.block_on(Table::new());
    let api = runtime.block_on(Api::on(engine(), table.name()));
    let function = (0..FUNCTIONS.len()).prop_map(|i| FUNCTIONS[i]);
    let changes = vec((0_usize..60, proptest::option::of(any_json())), 0..4);
    let event = prop_oneof![
        1 => any_json().prop_map(|event| (event, Vec::new())),
        9 => (any::<bool>(), changes).prop_map(|(short, changes)| {
            let event = if short { json!({"httpMethod": "", "body": "", "pathParameters": {"id": "1"},
                "queryStringParameters": {"limit": "1"}}) } else { Value::Null };
            (event, changes)
        }),
    ];
    let result = runner(u32::MAX).run(
        &(function, event),
        |((id, _, method, resource), (event, changes))| {
            let mut event = match event {
                Value::Null => Event::new(method, resource)
                    .id("1")
                    .query("limit", "1")
                    .query("email", "a@b")
                    .body("{\"id\": \"1\"}")
                    .json(),
                event => event,
            };
            for (mut place, new) in changes {
                change(&mut event, &mut place, new.as_ref());
            }
            invoke(&runtime, &api, id, &event)
        },
    );
    for (id, _, method, resource) in FUNCTIONS {
        let event = Event::new(method, resource).id("1").body("{}").json();
        invoke(&runtime, &api, id, &event).expect("a process that still works");
    }
    result.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(api.service().expect("a local service").processes_started(), 6);
}

/// Responses of DynamoDB as they are, for a table with one user.
fn genuine(operation: &str) -> Value {
    let item = json!({"id": {"S": "1"}, "email": {"S": "a@b"}, "n": {"N": "1.5"}, "l": {"L": [
        {"M": {"b": {"BOOL": true}, "x": {"NULL": true}, "s": {"SS": ["a"]}, "bin": {"B": "AAE="}}}
    ]}});
    match operation {
        "Scan" | "Query" => json!({"Items": [item], "Count": 1, "ScannedCount": 1}),
        "GetItem" => json!({"Item": item}),
        "DeleteItem" => json!({"Attributes": item}),
        "BatchWriteItem" => json!({"UnprocessedItems": {}}),
        _ => json!({}),
    }
}

#[test]
fn any_response_of_dynamodb_leads_to_a_response_of_the_contract() {
    let runtime = Runtime::new().expect("a runtime");
    let dynamodb = runtime.block_on(ScriptedServer::start(|operation, _| {
        ScriptedResponse::Json(200, genuine(operation))
    }));
    let api = runtime.block_on(Api::on(dynamodb.endpoint(), "user-profiles"));
    let function = (0..FUNCTIONS.len()).prop_map(|i| FUNCTIONS[i]);
    let changes = vec((0_usize..40, proptest::option::of(any_json())), 0..3);
    let bytes = vec((0_usize..400, any::<u8>()), 0..3);
    let status = prop_oneof![6 => Just(200_u16), 1 => Just(400), 1 => Just(500), 1 => 200_u16..600];
    let case = (function, status, changes, bytes);
    // Most are retried, which takes a while. `make test` has no time for many.
    let most = if env::var_os("CASES").is_some() { 1500 } else { 120 };
    let result = runner(most).run(&case, |((id, _, method, resource), status, changes, bytes)| {
        dynamodb.set_script(move |operation, _| {
            let mut body = genuine(operation);
            for (place, new) in &changes {
                change(&mut body, &mut place.clone(), new.as_ref());
            }
            let mut body = body.to_string().into_bytes();
            for (place, byte) in &bytes {
                if let Some(changed) = body.get_mut(*place) {
                    *changed = *byte;
                }
            }
            ScriptedResponse::Bytes(status, body)
        });
        let event = Event::new(method, resource).id("1").body("{}").json();
        invoke(&runtime, &api, id, &event)
    });
    result.unwrap_or_else(|error| panic!("{error}"));
    check_processes(&api, dynamodb.endpoint());
}

/// Sends bytes to the local service, and returns what comes back until it is silent or closes.
async fn exchange(address: &str, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let _ = stream.write_all(request).await;
    let _ = stream.shutdown().await;
    let mut response = Vec::new();
    let _ = timeout(Duration::from_secs(20), stream.read_to_end(&mut response)).await;
    String::from_utf8_lossy(&response).into_owned()
}

#[test]
fn any_bytes_over_http_have_json_or_nothing_in_return() {
    let runtime = Runtime::new().expect("a runtime");
    let table = runtime.block_on(Table::new());
    let api = runtime.block_on(Api::on(engine(), table.name()));
    let url = api.url().trim_start_matches("http://");
    let (address, stage) = url.split_once('/').expect("a URL with a stage");
    let method = "(GET|POST|PUT|DELETE|PATCH|OPTIONS|HEAD|[A-Z]{1,8}|\\PC{0,5})";
    let path = "(/users|/users/1|/users/%41|/users/[ -~]{0,12}|/users\\?[ -~]{0,20}|/[ -~]{0,12})";
    let header =
        "(content-length: [0-9]{1,3}|transfer-encoding: chunked|[a-z-]{1,12}: [ -~]{0,12})";
    let body = prop_oneof![any::<Vec<u8>>(), "\\PC{0,40}".prop_map(String::into_bytes)];
    let case = (method, path, vec(header, 0..3), body, any::<bool>());
    let result = runner(u32::MAX).run(&case, |(method, path, headers, body, announced)| {
        let mut head = format!("{method} /{stage}{path} HTTP/1.1\r\nhost: localhost\r\n");
        for header in headers {
            head += &header;
            head += "\r\n";
        }
        if announced {
            head += "content-length: ";
            head += &body.len().to_string();
            head += "\r\n";
        }
        let mut request = (head + "\r\n").into_bytes();
        request.extend(body);
        let response = runtime.block_on(exchange(address, &request));
        if let Some((head, body)) = response.split_once("\r\n\r\n") {
            prop_assert!(head.starts_with("HTTP/1.1 "), "{response}");
            // A second request in the same bytes has a response of its own.
            let body = body.split("HTTP/1.1 ").next().unwrap_or_default();
            if !body.is_empty() {
                let json = serde_json::from_str::<Value>(body);
                prop_assert!(json.is_ok() || head.contains("chunked"), "{response}");
            }
        } else {
            prop_assert!(response.is_empty(), "{response}");
        }
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
    runtime.block_on(api.get("/users/none")).is_error(400, "UserNotFound");
}
