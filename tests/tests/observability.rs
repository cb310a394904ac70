//! What a function tells an operator: one log line for each request, and a subsegment for each
//! DynamoDB call in a sampled trace.

use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lambda_http::http::Method;
use serde_json::{Value, json};
use tests::{
    Api, Daemon, Event, Operation, ScriptedResponse, ScriptedServer, TRACE, Table, engine,
    operations, repository, trace_header,
};

/// Starts an API on a table, whose log is in JSON.
async fn start_on(table: &Table, variables: &[(&str, &str)]) -> Api {
    let own = [
        ("DYNAMO_ENDPOINT", engine()),
        ("USERS_TABLE", table.name()),
        ("AWS_LAMBDA_LOG_FORMAT", "JSON"),
    ];
    Api::with_variables(&[&own, variables].concat()).await
}

/// Starts an API on a DynamoDB server, whose log is in JSON.
async fn start(dynamodb: &ScriptedServer, variables: &[(&str, &str)]) -> Api {
    let own = [
        ("DYNAMO_ENDPOINT", dynamodb.endpoint()),
        ("AWS_LAMBDA_LOG_FORMAT", "JSON"),
    ];
    Api::with_variables(&[&own, variables].concat()).await
}

#[tokio::test]
async fn each_request_has_one_line_that_an_operator_can_query() {
    let table = Table::new().await;
    let api = start_on(&table, &[]).await;
    let user = r#"{"id": "1", "email": "a@b"}"#;
    // The request, and the route, code, number of calls and read units of its line, and whether it
    // used write units.
    let requests = [
        ("POST", "/users", user, "/users", None, (1, 0.0, true)),
        ("GET", "/users/1", "", "/users/{id}", None, (1, 1.0, false)),
        ("PUT", "/users/1", user, "/users/{id}", None, (1, 0.0, true)),
        (
            "GET",
            "/users?email=a@b&limit=1",
            "",
            "/users",
            None,
            (1, 0.5, false),
        ),
        (
            "DELETE",
            "/users/1",
            "",
            "/users/{id}",
            None,
            (1, 0.0, true),
        ),
        (
            "GET",
            "/users/1",
            "",
            "/users/{id}",
            Some("UserNotFound"),
            (1, 1.0, false),
        ),
        (
            "POST",
            "/users",
            r#"{"n": 1e999}"#,
            "/users",
            Some("InvalidUser"),
            (0, 0.0, false),
        ),
        (
            "DELETE",
            "/users?email=a@b",
            "",
            "/users",
            Some("InvalidRequest"),
            (0, 0.0, false),
        ),
        ("DELETE", "/users", "", "/users", None, (1, 1.0, false)),
    ];
    for Operation { method, path, .. } in operations() {
        let is_sent = requests.iter().any(|own| (own.0, own.3) == (method, path));
        assert!(
            is_sent,
            "tests/tests/observability.rs sends no {method} {path}"
        );
    }
    let mut ids = Vec::new();
    for (method, path, body, _, code, _) in requests {
        let reply = api
            .send(method.parse().expect("a method"), path, body)
            .await;
        code.map_or_else(|| reply.assert_ok(), |code| reply.fails(code));
        ids.push(reply.header("x-amzn-requestid").expect("an id").to_owned());
    }
    let lines = api.into_request_lines().await;
    assert_eq!(lines.len(), requests.len());
    let mut seen = BTreeSet::new();
    for (id, (method, _, _, route, code, (calls, read, writes))) in ids.iter().zip(requests) {
        // The lines of different functions may be read in another order.
        let line = lines.iter().find(|line| line["correlation_id"] == **id);
        let line = line.expect("a line");
        for (name, value) in [
            ("method", json!(method)),
            ("route", json!(route)),
            ("status", json!(if code.is_some() { 400 } else { 200 })),
            ("code", json!(code)),
            ("dynamodb_calls", json!(calls)),
            ("dynamodb_retries", json!(0)),
            ("dynamodb_throttles", json!(0)),
            ("cold_start", json!(seen.insert((method, route)))),
            ("level", json!("INFO")),
            ("error", Value::Null),
            ("read_units", json!(read)),
        ] {
            assert_eq!(line[name], value, "{name}: {line}");
        }
        assert_eq!(line["write_units"].as_f64() > Some(0.0), writes, "{line}");
        let is_there = |name: &&str| line[*name].is_string();
        assert!(
            ["function_request_id", "timestamp"].iter().all(is_there),
            "{line}"
        );
        let trace = line["xray_trace_id"].as_str();
        assert!(trace.is_some_and(|id| id.starts_with("1-")), "{line}");
    }
}

#[tokio::test]
async fn the_line_of_a_failed_request_has_the_whole_chain() {
    let fault = ScriptedResponse::Error(400, "ThrottlingException");
    let dynamodb = ScriptedServer::always(fault).await;
    let api = start(&dynamodb, &[("AWS_LAMBDA_LOG_LEVEL", "WARN")]).await;
    api.get("/users/1").await.fails("ServiceUnavailable");
    api.get("/users?limit=0").await.fails("InvalidRequest");
    let lines = api.into_request_lines().await;
    let [line] = &lines[..] else {
        panic!("{lines:?}")
    };
    for (name, value) in [
        ("level", json!("ERROR")),
        ("status", json!(503)),
        ("code", json!("ServiceUnavailable")),
        ("dynamodb_calls", json!(1)),
        ("dynamodb_retries", json!(2)),
        ("dynamodb_throttles", json!(3)),
    ] {
        assert_eq!(line[name], value, "{name}: {line}");
    }
    let error = line["error"].as_str();
    assert!(
        error.is_some_and(|error| error.contains("ThrottlingException")),
        "{line}"
    );
}

/// Starts an API as [`start`] does, whose functions have three seconds for an invocation.
async fn start_in_a_hurry(dynamodb: &ScriptedServer, daemon: &Daemon) -> Api {
    let mut options = Api::options(dynamodb.endpoint(), "user-profiles");
    for function in options.template.functions.values_mut() {
        function.timeout = Duration::from_secs(3);
        let variables = [
            ("AWS_LAMBDA_LOG_FORMAT", "JSON"),
            ("AWS_XRAY_DAEMON_ADDRESS", daemon.address.as_str()),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        function.variables.extend(variables);
    }
    Api::start(options).await
}

#[tokio::test]
async fn a_call_that_the_deadline_cuts_off_is_counted() {
    let mut attempts = 0;
    let dynamodb = ScriptedServer::start(move |_, _| {
        attempts += 1;
        match attempts {
            1 => ScriptedResponse::Json(
                400,
                json!({
                    "__type": "com.amazonaws.dynamodb.v20120810#ThrottlingException",
                    "throttlingReasons": [{"reason": "TableReadMaxOnDemandThroughputExceeded"}],
                }),
            ),
            _ => ScriptedResponse::Silence,
        }
    })
    .await;
    let daemon = Daemon::start();
    let api = start_in_a_hurry(&dynamodb, &daemon).await;
    api.send_traced(Method::GET, "/users/1", "", &trace_header(true))
        .await
        .fails("ServiceUnavailable");
    let subsegment = daemon.receive();
    let time = |name: &str| subsegment[name].as_f64().expect("a time");
    assert!(time("end_time") - time("start_time") > 1.0, "{subsegment}");
    assert_eq!(subsegment["fault"], true, "{subsegment}");

    let lines = api.into_request_lines().await;
    for (name, value) in [
        ("dynamodb_calls", json!(1)),
        ("dynamodb_throttles", json!(1)),
        (
            "throttle_reason",
            json!("TableReadMaxOnDemandThroughputExceeded"),
        ),
    ] {
        assert_eq!(lines[0][name], value, "{name}: {}", lines[0]);
    }
    assert!(
        lines[0]["dynamodb_ms"].as_f64() > Some(1000.0),
        "{}",
        lines[0]
    );
}

#[tokio::test]
async fn what_a_batch_leaves_unprocessed_is_counted() {
    let mut batches = 0;
    let dynamodb = ScriptedServer::start(move |operation, request| {
        let response = match operation {
            "Scan" if request["Segment"].as_u64().unwrap_or_default() == 0 => {
                json!({"Items": [{"id": {"S": "1"}}, {"id": {"S": "2"}}]})
            }
            "Scan" => json!({"Items": []}),
            _ => {
                batches += 1;
                let delete = json!({"DeleteRequest": {"Key": {"id": {"S": "2"}}}});
                let left = json!({"user-profiles": [delete]});
                json!({"UnprocessedItems": if batches == 1 { left } else { json!({}) }})
            }
        };
        ScriptedResponse::Json(200, response)
    })
    .await;
    let api = start(&dynamodb, &[]).await;
    api.delete("/users").await.is(&Value::Null);
    let lines = api.into_request_lines().await;
    for (name, value) in [
        ("dynamodb_unprocessed", 1),
        ("deleted", 2),
        ("dynamodb_throttles", 0),
    ] {
        assert_eq!(lines[0][name], value, "{name}: {}", lines[0]);
    }
}

/// How long DynamoDB takes for each page in [`slow_pages`].
const PAGE_TIME: Duration = Duration::from_millis(200);

/// Starts a server with a list of two pages, each of which takes 1.5 units.
async fn slow_pages() -> ScriptedServer {
    ScriptedServer::start(|_, request| {
        let mut page = json!({
            "Items": [],
            "ConsumedCapacity": {"TableName": "user-profiles", "CapacityUnits": 1.5},
        });
        if request.get("ExclusiveStartKey").is_none() {
            page["LastEvaluatedKey"] = json!({"id": {"S": "1"}});
        }
        ScriptedResponse::Late(PAGE_TIME, page.to_string().into_bytes())
    })
    .await
}

#[tokio::test]
async fn each_line_has_the_time_and_the_units_of_its_own_request() {
    let dynamodb = slow_pages().await;
    let api = start(&dynamodb, &[]).await;
    let begin = Instant::now();
    for _ in 0..2 {
        api.get("/users").await.is(&json!([]));
    }
    let elapsed = begin.elapsed().as_secs_f64() * 1000.0;
    let lines = api.into_request_lines().await;
    assert_eq!(lines.len(), 2);
    for line in lines {
        assert_eq!(
            (&line["dynamodb_calls"], &line["read_units"]),
            (&json!(2), &json!(3.0))
        );
        let time = |name: &str| line[name].as_f64().expect("a number");
        let (latency, dynamodb) = (time("latency_ms"), time("dynamodb_ms"));
        let least = 2.0 * PAGE_TIME.as_secs_f64() * 1000.0;
        assert!(least <= dynamodb && dynamodb <= latency, "{line}");
        assert!(latency <= elapsed - least, "{line}: {elapsed} ms for both");
    }
}

#[tokio::test]
async fn the_times_of_a_subsegment_are_seconds_of_the_clock() {
    let (dynamodb, daemon) = (slow_pages().await, Daemon::start());
    let api = start(&dynamodb, &[("AWS_XRAY_DAEMON_ADDRESS", &daemon.address)]).await;
    let now = || {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        now.expect("after 1970").as_secs_f64()
    };
    let before = now();
    api.send_traced(Method::GET, "/users", "", &trace_header(true))
        .await
        .assert_ok();
    let after = now();
    let mut last = before - 0.001;
    for _ in 0..2 {
        let subsegment = daemon.receive();
        let start = subsegment["start_time"].as_f64().expect("a time");
        let end = subsegment["end_time"].as_f64().expect("a time");
        assert!(
            last <= start && end <= after + 0.001,
            "{before} {after} {subsegment}"
        );
        assert!(
            end - start >= PAGE_TIME.as_secs_f64() - 0.001,
            "{subsegment}"
        );
        last = end - 0.001;
    }
}

#[tokio::test]
async fn a_fault_of_the_service_is_logged_at_error_in_both_formats() {
    for (format, marks) in [
        ("JSON", [r#""level":"ERROR""#, r#""status":500"#]),
        ("Text", ["ERROR", "status=500"]),
    ] {
        for level in ["INFO", "ERROR"] {
            let denied = ScriptedResponse::Error(400, "AccessDeniedException");
            let dynamodb = ScriptedServer::always(denied).await;
            let api = Api::with_variables(&[
                ("DYNAMO_ENDPOINT", dynamodb.endpoint()),
                ("AWS_LAMBDA_LOG_FORMAT", format),
                ("AWS_LAMBDA_LOG_LEVEL", level),
            ])
            .await;
            api.get("/users/1").await.fails("InternalError");
            let log = api.into_log().await;
            let is_logged = |line: &String| marks.iter().all(|mark| line.contains(mark));
            assert!(log.iter().any(is_logged), "{format} {level}: {log:?}");
        }
    }
}

#[tokio::test]
async fn the_correlation_id_is_the_request_id_that_the_client_sees() {
    let table = Table::new().await;
    let api = start_on(&table, &[]).await;
    let mut event = Event::new("GET", "/users").json();
    event["requestContext"]["requestId"] = json!("the-id");
    event["requestContext"]["extendedRequestId"] = json!("another-id");
    let reply = api.invoke("GetAllFunction", &event.to_string()).await;
    reply.expect("a response").assert_ok();
    let lines = api.into_request_lines().await;
    assert_eq!(lines[0]["correlation_id"], "the-id");
    assert_ne!(lines[0]["function_request_id"], "the-id");
}

#[tokio::test]
async fn each_call_is_a_subsegment_of_a_sampled_trace() {
    let (table, daemon) = (Table::new().await, Daemon::start());
    let variables = [
        ("AWS_XRAY_DAEMON_ADDRESS", daemon.address.as_str()),
        ("AWS_REGION", "eu-west-1"),
    ];
    let api = start_on(&table, &variables).await;
    let path = "/users/1";
    // No subsegment is sent for these, nor for the warm-up.
    api.get(path).await.fails("UserNotFound");
    for header in [&trace_header(false), "Root=1;Sampled=1"] {
        api.send_traced(Method::GET, path, "", header).await;
    }

    api.send_traced(Method::DELETE, path, "", &trace_header(true))
        .await;
    let subsegment = daemon.receive();
    for (name, value) in [
        ("/aws/operation", json!("DeleteItem")),
        ("/aws/region", json!("eu-west-1")),
        ("/aws/table_name", json!(table.name())),
        ("/aws/retries", json!(0)),
        ("/aws/consumed_capacity", json!(1.0)),
        ("/name", json!("DynamoDB")),
        ("/type", json!("subsegment")),
        ("/namespace", json!("aws")),
        ("/trace_id", json!(TRACE)),
        ("/parent_id", json!("53995c3f42cd8ad8")),
        ("/http", json!({"response": {"status": 200}})),
        ("/error", json!(false)),
        ("/throttle", json!(false)),
        ("/fault", json!(false)),
    ] {
        assert_eq!(
            subsegment.pointer(name),
            Some(&value),
            "{name}: {subsegment}"
        );
    }
    let trace = trace_header(true);
    api.send_traced(Method::GET, "/users?email=a@b", "", &trace)
        .await;
    assert_eq!(daemon.receive()["aws"]["index_name"], "email-index");
    let id = subsegment["id"].as_str().expect("an id");
    let is_hexadecimal = id.bytes().all(|digit| digit.is_ascii_hexdigit());
    assert!(id.len() == 16 && is_hexadecimal, "{id}");
}

#[tokio::test]
async fn a_subsegment_has_the_kind_of_dynamodbs_error() {
    for (status, code, kinds) in [
        (400, "ThrottlingException", [true, true, false]),
        (400, "AccessDeniedException", [true, false, false]),
        (
            400,
            "ConditionalCheckFailedException",
            [false, false, false],
        ),
        (500, "InternalServerError", [false, false, true]),
    ] {
        let daemon = Daemon::start();
        let fault = format!(
            "HTTP/1.1 {status} Scripted\r\nx-amzn-requestid: the-id\r\nx-amz-retry-after: 1\r\n\
             Content-Length: {}\r\n\r\n{{\"__type\":\"{code}\"}}",
            code.len() + 13
        );
        let dynamodb = ScriptedServer::always(ScriptedResponse::Raw(fault.into())).await;
        let api = start(&dynamodb, &[("AWS_XRAY_DAEMON_ADDRESS", &daemon.address)]).await;
        api.send_traced(Method::PUT, "/users/1", "{}", &trace_header(true))
            .await;
        let subsegment = daemon.receive();
        let found = ["error", "throttle", "fault"].map(|name| subsegment[name].clone());
        assert_eq!(found, kinds.map(Value::from), "{subsegment}");
        assert_eq!(subsegment["aws"]["request_id"], "the-id", "{subsegment}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_beyond_the_first_hundred_are_summarised() {
    let (table, daemon) = (Table::new().await, Daemon::start());
    let users: Vec<_> = (0..3000).map(|i| json!({"id": i.to_string()})).collect();
    table.put_all(&users).await;
    let variables = [("AWS_XRAY_DAEMON_ADDRESS", daemon.address.as_str())];
    let api = start_on(&table, &variables).await;
    let received =
        std::thread::spawn(move || (0..101).map(|_| daemon.receive()).collect::<Vec<_>>());
    let reply = api
        .send_traced(Method::DELETE, "/users", "", &trace_header(true))
        .await;
    reply.is(&Value::Null);
    let documents = received.join().expect("101 datagrams");
    assert_eq!(
        documents[100]["aws"]["operation"],
        json!("FurtherCalls"),
        "{}",
        documents[100]
    );
    assert_eq!(documents[100]["metadata"], json!({"calls": 21}));
    let lines = api.into_request_lines().await;
    assert_eq!(lines[0]["deleted"], json!(3000), "{}", lines[0]);
    assert_eq!(documents[100]["fault"], json!(false), "{}", documents[100]);
}

#[tokio::test]
async fn a_missing_daemon_fails_no_request() {
    let table = Table::new().await;
    for address in [
        "127.0.0.1:9",
        "nowhere",
        "127.0.0.1",
        "",
        "tcp:127.0.0.1:2000",
    ] {
        let api = start_on(&table, &[("AWS_XRAY_DAEMON_ADDRESS", address)]).await;
        for _ in 0..3 {
            let trace = trace_header(true);
            let reply = api.send_traced(Method::GET, "/users", "", &trace).await;
            reply.is(&json!([]));
        }
    }
}

/// The words of the saved queries that are no fields.
const WORDS: &str = "filter message request and or stats count sum as by sort desc fields limit bin \
                     requests throttles unprocessed retries reads writes";

#[tokio::test]
async fn the_saved_queries_use_only_fields_that_the_lines_have() {
    let throttled = json!({
        "__type": "ThrottlingException",
        "ThrottlingReasons": [{"reason": "TableReadMaxOnDemandThroughputExceeded"}],
    });
    let dynamodb = ScriptedServer::always(ScriptedResponse::Json(400, throttled)).await;
    let api = start(&dynamodb, &[]).await;
    api.get("/users/1").await.fails("ServiceUnavailable");
    let lines = api.into_request_lines().await;
    let line = lines[0].as_object().expect("an object");

    let template = repository::yaml("template.yaml");
    let resources = template["Resources"].as_object().expect("resources");
    let queries = resources
        .values()
        .filter_map(|resource| resource["Properties"]["QueryString"].as_str())
        .filter(|query| query.contains("message = \"request\""));
    assert_eq!(queries.clone().count(), 4);
    for query in queries {
        let is_part = |character: char| character.is_alphanumeric() || character == '_';
        let words = query.split(|character| !is_part(character));
        for word in words.filter(|word| word.starts_with(char::is_alphabetic)) {
            let is_known = line.contains_key(word) || WORDS.split(' ').any(|own| own == word);
            assert!(is_known, "{word} is not in the line: {query}");
        }
    }
}
