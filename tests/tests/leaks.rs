//! Whatever goes wrong, no log line and no trace contains what clients store or what DynamoDB
//! returns, and an error response quotes nothing but its own request.

use std::sync::{Arc, Mutex};

use futures::future::join_all;
use local::Options;
use serde_json::{Value, json};
use tests::{
    Api, Daemon, Operation, Reply, ScriptedResponse, ScriptedServer, Table, engine, executables,
    one_item, operations, template, trace_header,
};

/// A part of every id, email address, attribute and query that a client sends.
const OWN: &str = "own-7d1f";

/// A part of everything that DynamoDB returns and that the client did not send.
const STORED: &str = "stored-93ab";

/// Returns every log level of Lambda with every log format.
fn logs() -> impl Iterator<Item = (&'static str, &'static str)> {
    let levels = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"];
    levels
        .into_iter()
        .flat_map(|level| ["JSON", "Text"].map(|format| (level, format)))
}

/// Starts an API whose functions have this log level and format, send traces to the daemon, and use
/// the DynamoDB at the endpoint.
async fn start((level, format): (&str, &str), daemon: &Daemon, endpoint: &str, table: &str) -> Api {
    Api::with_variables(&[
        ("AWS_LAMBDA_LOG_LEVEL", level),
        ("AWS_LAMBDA_LOG_FORMAT", format),
        ("AWS_XRAY_DAEMON_ADDRESS", &daemon.address),
        ("DYNAMO_ENDPOINT", endpoint),
        ("USERS_TABLE", table),
    ])
    .await
}

/// Sends each function a valid, traced request, and one more with a query.
async fn request_each(api: &Api) -> Vec<Reply> {
    let user = json!({"id": OWN, "email": OWN, "text": OWN, OWN: [OWN]}).to_string();
    let requests = operations().iter().map(|operation| {
        let body = if operation.has_body { &*user } else { "" };
        (
            operation.method.as_str(),
            operation.path.replace("{id}", OWN),
            body,
        )
    });
    let query = ("GET", format!("/users?email={OWN}&limit=1&x={OWN}"), "");
    let trace = &trace_header(true);
    let send = async |(method, path, body): (&str, String, &str)| {
        api.send_traced(method.parse().expect("a method"), &path, body, trace)
            .await
    };
    join_all(requests.chain([query]).map(send)).await
}

/// Sends requests that the functions reject.
async fn request_invalid(api: &Api) {
    let bodies = [
        format!("{OWN} is not JSON"),
        format!("\"{OWN}\""),
        format!("{{\"id\": \"{OWN}"),
        format!("{{\"{OWN}\": 1e999}}"),
        json!({"id": [OWN]}).to_string(),
        json!({"email": {OWN: OWN}}).to_string(),
        json!({"id": OWN.repeat(400)}).to_string(),
        json!({OWN: OWN.repeat(60_000)}).to_string(),
    ];
    for body in &bodies {
        assert_eq!(api.post("/users", body).await.status, 400, "{body}");
    }
    for path in [
        format!("/users?limit={OWN}"),
        format!("/users?cursor={OWN}"),
        format!("/users/{OWN}%ff"),
        format!("/users/{}", OWN.repeat(400)),
    ] {
        assert_eq!(api.get(&path).await.status, 400, "{path}");
    }
    assert_eq!(api.delete(&format!("/users?email={OWN}")).await.status, 400);
}

/// Invokes each function with events that API Gateway never sends.
async fn invoke_each(api: &Api) {
    for Operation {
        function,
        method,
        path: resource,
        ..
    } in operations()
    {
        for event in [
            json!(OWN),
            json!([OWN]),
            json!({"httpMethod": OWN}),
            json!({"resource": OWN, "path": OWN}),
            json!({"httpMethod": method, "resource": resource, "body": {OWN: OWN},
                "pathParameters": OWN, "queryStringParameters": OWN}),
            json!({"httpMethod": method, "resource": resource, "body": OWN, "isBase64Encoded": true,
                "pathParameters": {"id": [OWN]}, "queryStringParameters": {"limit": OWN}}),
            json!({"httpMethod": method, "resource": resource, "requestContext": OWN,
                "headers": OWN, "pathParameters": {"id": "%ff"},
                "queryStringParameters": {"cursor": OWN}}),
        ] {
            let reply = api
                .invoke(function, &event.to_string())
                .await
                .expect("a response");
            assert_eq!(reply.status, 400, "{function}: {event}: {}", reply.text);
        }
        // An event that is not JSON fails in the runtime.
        let error = api.invoke(function, &format!("{{\"{OWN}\": {OWN}}}")).await;
        let error = error.expect_err("the event is not JSON").to_string();
        assert!(!error.contains(OWN), "{error}");
    }
}

/// Asserts that there is a log and that there are traces, and that neither mark is in them.
async fn assert_unmarked(api: Api, daemon: &Daemon, case: (&str, &str)) {
    let log = api.into_log().await;
    let traces: Vec<_> = daemon.received().iter().map(Value::to_string).collect();
    assert!(!traces.is_empty(), "{case:?}: no traces");
    for text in log.iter().chain(&traces) {
        assert!(
            !text.contains(OWN) && !text.contains(STORED),
            "{case:?}: {text}"
        );
    }
    let logs_requests = ["TRACE", "DEBUG", "INFO"].contains(&case.0);
    let lines = log.iter().filter(|line| line.contains("/users")).count();
    assert!(!logs_requests || lines > 20, "{case:?}: {log:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_log_and_no_trace_contains_a_request_or_an_event() {
    for case in logs() {
        let (table, daemon) = (Table::new().await, Daemon::start());
        let api = start(case, &daemon, engine(), table.name()).await;
        for _ in 0..2 {
            request_each(&api).await;
        }
        request_invalid(&api).await;
        invoke_each(&api).await;
        assert_unmarked(api, &daemon, case).await;
    }
}

/// How a DynamoDB responds to an operation.
type Fault = Box<dyn Fn(&str) -> ScriptedResponse + Send>;

/// Returns the ways in which a DynamoDB can fail and reveal too much.
fn faults() -> Vec<Fault> {
    let mut faults: Vec<Fault> = Vec::new();
    let item = json!({"id": {"S": STORED}, "email": {"S": STORED}, STORED: {"S": STORED}});
    for (status, code) in [
        (400, "ThrottlingException"),
        (400, "ValidationException"),
        (400, "ConditionalCheckFailedException"),
        (400, "SomethingNewException"),
        (400, STORED),
        (500, "InternalServerError"),
        (500, STORED),
    ] {
        let error = json!({
            "__type": format!("com.amazonaws.dynamodb.v20120810#{code}"),
            "message": format!("One value was invalid: {STORED}, {OWN}"),
            "Item": item,
            "CancellationReasons": [{"Code": STORED, "Message": STORED, "Item": item}],
        });
        faults.push(Box::new(move |_| {
            ScriptedResponse::Json(status, error.clone())
        }));
    }
    for (status, text) in [
        (200, STORED.to_owned()),
        (200, format!("{{\"Item\": {{\"id\": {{\"S\": \"{STORED}\"")),
        (200, format!("{{\"message\": \"{STORED}\"}}")),
        (503, format!("<h1>{STORED}</h1>")),
    ] {
        let bytes = text.into_bytes();
        faults.push(Box::new(move |_| {
            ScriptedResponse::Bytes(status, bytes.clone())
        }));
    }
    // Items that are malformed, or that were not requested.
    for item in [
        item,
        json!({"id": {"S": OWN}, "email": {"S": OWN}, STORED: {"N": STORED}}),
        json!({"id": {"S": OWN}, "email": {"S": OWN}, STORED: {"B": STORED}}),
        json!({"id": {"S": OWN}, "email": {"S": OWN}, STORED: {STORED: STORED}}),
        json!({"id": {"S": OWN}, "email": {"S": OWN}, STORED: STORED}),
        json!({"id": {"N": STORED}}),
    ] {
        faults.push(Box::new(move |operation| {
            let request = json!({"DeleteRequest": {"Key": item}});
            ScriptedResponse::Json(
                200,
                match operation {
                    "BatchWriteItem" => {
                        json!({"UnprocessedItems": {"user-profiles": [request], STORED: []}})
                    }
                    "Scan" | "Query" => {
                        let mut page = one_item(operation, &item);
                        page["LastEvaluatedKey"] = item.clone();
                        page
                    }
                    _ => one_item(operation, &item),
                },
            )
        }));
    }
    faults.push(Box::new(|_| ScriptedResponse::Partial));
    faults.push(Box::new(|_| ScriptedResponse::Reset));
    faults
}

#[tokio::test(flavor = "multi_thread")]
async fn no_log_trace_or_error_contains_what_dynamodb_returned() {
    let mut started = Vec::new();
    for case in logs() {
        let daemon = Daemon::start();
        let dynamodb = ScriptedServer::start(|_, _| ScriptedResponse::Reset).await;
        let api = start(case, &daemon, dynamodb.endpoint(), "user-profiles").await;
        started.push((case, daemon, dynamodb, api));
    }
    // Most faults are retried, which takes seconds but hardly any CPU.
    join_all(
        started
            .into_iter()
            .map(async |(case, daemon, dynamodb, api)| {
                for fault in faults() {
                    dynamodb.set_script(move |operation, _| fault(operation));
                    for reply in request_each(&api).await {
                        let is_error = reply.status != 200;
                        assert!(!is_error || !reply.text.contains(STORED), "{}", reply.text);
                    }
                }
                assert_unmarked(api, &daemon, case).await;
            }),
    )
    .await;
}

#[tokio::test]
async fn the_local_service_logs_no_body() {
    let log = Arc::new(Mutex::new(Vec::new()));
    let (lines, requests) = (Arc::clone(&log), Arc::clone(&log));
    let api = Api::start(Options {
        logs: Arc::new(move |_, line| lines.lock().expect("a log").push(line.to_owned())),
        requests: Arc::new(move |served| {
            requests.lock().expect("a log").push(format!("{served:?}"));
        }),
        ..Options::new(template(), executables().to_owned())
    })
    .await;
    let user = json!({"id": "1", "email": OWN, OWN: OWN}).to_string();
    api.post("/users", &user).await.assert_ok();
    assert_eq!(api.post("/users", &user).await.status, 400);
    assert_eq!(
        api.put("/users/1", &format!("{{\"{OWN}\": 1e999}}"))
            .await
            .status,
        400
    );
    assert_eq!(api.put("/other", &user).await.status, 403);
    api.get("/users").await.assert_ok();
    api.stop().await;
    let log = log.lock().expect("a log");
    assert!(log.iter().all(|line| !line.contains(OWN)), "{log:?}");
    assert_eq!(
        log.iter().filter(|line| line.starts_with("Served")).count(),
        5,
        "{log:?}"
    );
}
