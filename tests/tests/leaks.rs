//! Whatever goes wrong, no log line and no trace contains what clients store or what DynamoDB
//! returns, and an error response quotes nothing but its own request.

use std::sync::{Arc, Mutex};
use std::time::Duration;

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

/// The finest log level of Lambda, which contains all others, in both formats, and
/// the usual log.
const LOGS: [(&str, &str); 3] = [("TRACE", "JSON"), ("TRACE", "Text"), ("INFO", "JSON")];

/// Starts an API whose functions have this log level and format, send traces to the daemon, and use
/// the DynamoDB at the endpoint.
async fn start((level, format): (&str, &str), daemon: &Daemon, endpoint: &str, table: &str) -> Api {
    let mut options = Api::options(endpoint, table);
    for function in options.template.functions.values_mut() {
        // A deletion that is throttled goes on while time is left.
        function.timeout = Duration::from_secs(6);
        let variables = [
            ("AWS_LAMBDA_LOG_LEVEL", level),
            ("AWS_LAMBDA_LOG_FORMAT", format),
            ("AWS_XRAY_DAEMON_ADDRESS", &daemon.address),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        function.variables.extend(variables);
    }
    Api::start(options).await
}

/// Sends each function a valid, traced request, and one more with a query.
async fn request_each(api: &Api) -> Vec<Reply> {
    let user = json!({"id": OWN, "email": OWN, "text": OWN, OWN: [OWN]}).to_string();
    let requests = operations().iter().map(|own| {
        let body = if own.has_body { &*user } else { "" };
        (own.method.as_str(), own.path.replace("{id}", OWN), body)
    });
    let query = ("GET", format!("/users?email={OWN}&limit=1&x={OWN}"), "");
    let trace = &trace_header(true);
    let send = async |(method, path, body): (&str, String, &str)| {
        let method = method.parse().expect("a method");
        api.send_traced(method, &path, body, trace).await
    };
    join_all(requests.chain([query]).map(send)).await
}

/// Sends requests that the functions reject.
async fn request_invalid(api: &Api) {
    let bodies = [
        format!("{OWN} is not JSON"),
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
        format!("?limit={OWN}"),
        format!("?cursor={OWN}"),
        format!("/{OWN}%ff"),
        format!("/{}", OWN.repeat(400)),
    ] {
        let reply = api.get(&format!("/users{path}")).await;
        assert_eq!(reply.status, 400, "{path}");
    }
    let fewer = api.delete(&format!("/users?email={OWN}")).await;
    fewer.fails("InvalidRequest");
}

/// Invokes each function with events that API Gateway never sends.
async fn invoke_each(api: &Api) {
    for Operation {
        function, method, ..
    } in operations()
    {
        for event in [
            json!(OWN),
            json!([OWN]),
            json!({"httpMethod": OWN}),
            json!({"resource": OWN, "path": OWN}),
            json!({"httpMethod": method, "body": {OWN: OWN}, "pathParameters": OWN,
                "queryStringParameters": OWN}),
            json!({"httpMethod": method, "body": OWN, "isBase64Encoded": true,
                "pathParameters": {"id": [OWN]}, "queryStringParameters": {"limit": OWN}}),
            json!({"httpMethod": method, "requestContext": OWN, "headers": OWN,
                "pathParameters": {"id": "%ff"}, "queryStringParameters": {"cursor": OWN}}),
        ] {
            let reply = api.invoke(function, &event.to_string()).await;
            reply.expect("a response").fails("InvalidRequest");
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
        let is_marked = text.contains(OWN) || text.contains(STORED);
        assert!(!is_marked, "{case:?}: {text}");
    }
    let lines = log.iter().filter(|line| line.contains("/users")).count();
    assert!(lines > 20, "{case:?}: {log:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_log_and_no_trace_contains_a_request_or_an_event() {
    for case in LOGS {
        let (table, daemon) = (Table::new().await, Daemon::start());
        let api = start(case, &daemon, engine(), table.name()).await;
        request_each(&api).await;
        request_invalid(&api).await;
        invoke_each(&api).await;
        assert_unmarked(api, &daemon, case).await;
    }
}

/// How a DynamoDB server responds to an operation.
type Fault = Box<dyn Fn(&str) -> ScriptedResponse + Send>;

/// Returns the ways in which a DynamoDB server can fail and reveal too much.
fn faults() -> Vec<Fault> {
    let mut faults: Vec<Fault> = Vec::new();
    let mut always = |response: ScriptedResponse| {
        faults.push(Box::new(move |_| response.clone()));
    };
    let item = json!({"id": {"S": STORED}, "email": {"S": STORED}, STORED: {"S": STORED}});
    for (status, code) in [
        (400, "ThrottlingException"),
        (400, "ValidationException"),
        (400, "ConditionalCheckFailedException"),
        (400, STORED),
        (500, STORED),
    ] {
        let error = json!({
            "__type": format!("com.amazonaws.dynamodb.v20120810#{code}"),
            "message": format!("One value was invalid: {STORED}, {OWN}"),
            "Item": item,
            "CancellationReasons": [{"Code": STORED, "Message": STORED, "Item": item}],
        });
        always(ScriptedResponse::Json(status, error));
    }
    for (status, text) in [
        (200, STORED.to_owned()),
        (200, format!("{{\"Item\": {{\"id\": {{\"S\": \"{STORED}\"")),
        (503, format!("<h1>{STORED}</h1>")),
    ] {
        always(ScriptedResponse::Bytes(status, text.into_bytes()));
    }
    always(ScriptedResponse::Partial);
    always(ScriptedResponse::Reset);
    // Items that are malformed, or that were not requested.
    let own = |value: Value| json!({"id": {"S": OWN}, "email": {"S": OWN}, STORED: value});
    for item in [
        item,
        own(json!({"N": STORED})),
        own(json!({"B": STORED})),
        own(json!({STORED: STORED})),
        own(json!(STORED)),
        json!({"id": {"N": STORED}}),
    ] {
        faults.push(Box::new(move |operation| {
            let mut response = one_item(operation, &item);
            if operation == "BatchWriteItem" {
                let request = json!({"DeleteRequest": {"Key": item}});
                response["UnprocessedItems"] = json!({"user-profiles": [request], STORED: []});
            } else {
                response["LastEvaluatedKey"] = item.clone();
            }
            ScriptedResponse::Json(200, response)
        }));
    }
    faults
}

#[tokio::test(flavor = "multi_thread")]
async fn no_log_trace_or_error_contains_what_dynamodb_returned() {
    // Most faults are retried, which takes seconds but hardly any CPU.
    join_all(LOGS.map(async |case| {
        let daemon = Daemon::start();
        let dynamodb = ScriptedServer::always(ScriptedResponse::Reset).await;
        dynamodb.spare_waits();
        let api = start(case, &daemon, dynamodb.endpoint(), "user-profiles").await;
        for fault in faults() {
            dynamodb.set_script(move |operation, _| fault(operation));
            for reply in request_each(&api).await {
                let is_error = reply.status != 200;
                assert!(!is_error || !reply.text.contains(STORED), "{reply}");
            }
        }
        assert_unmarked(api, &daemon, case).await;
    }))
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
    let user = json!({"id": "1", "email": OWN, OWN: OWN});
    // The message names the attribute that is wrong.
    let invalid = format!("{{\"n\": 1e999, \"email\": \"{OWN}\"}}");
    api.post("/users", &user).await.assert_ok();
    api.post("/users", &user).await.fails("UserAlreadyExists");
    api.put("/users/1", invalid).await.fails("InvalidUser");
    api.put("/other", &user)
        .await
        .fails("MissingAuthenticationToken");
    api.get("/users").await.assert_ok();
    api.stop().await;
    let log = log.lock().expect("a log");
    assert!(log.iter().all(|line| !line.contains(OWN)), "{log:?}");
    let served = log.iter().filter(|line| line.starts_with("Served"));
    assert_eq!(served.count(), 5, "{log:?}");
}
