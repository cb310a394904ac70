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

async fn start_on(table: &Table, variables: &[(&str, &str)]) -> Api {
    let mut all = vec![("DYNAMO_ENDPOINT", engine()), ("USERS_TABLE", table.name())];
    all.extend(variables);
    Api::with_variables(&all).await
}

/// Sends a request to each function, and some that fail. Returns their ids.
async fn request_each(api: &Api) -> Vec<String> {
    let api = &api;
    let user = r#"{"id": "1", "email": "a@b"}"#;
    let replies = [
        api.post("/users", user).await,
        api.get("/users/1").await,
        api.put("/users/1", user).await,
        api.get("/users?email=a@b&limit=1").await,
        api.delete("/users/1").await,
        api.get("/users/1").await,
        api.post("/users", r#"{"n": 1e999}"#).await,
        api.delete("/users?email=a@b").await,
        api.delete("/users").await,
    ];
    let statuses: Vec<_> = replies.iter().map(|reply| reply.status).collect();
    assert_eq!(statuses, [200, 200, 200, 200, 200, 400, 400, 400, 200]);
    let id = |reply: &tests::Reply| reply.header("x-amzn-requestid").expect("an id").to_owned();
    replies.iter().map(id).collect()
}

#[tokio::test]
async fn each_request_has_one_line_that_an_operator_can_query() {
    let table = Table::new().await;
    let api = start_on(&table, &[("AWS_LAMBDA_LOG_FORMAT", "JSON")]).await;
    let ids = request_each(&api).await;
    let lines = api.into_request_lines().await;
    let expected = [
        ("POST", "/users", 200, None, 1, (0.0, true)),
        ("GET", "/users/{id}", 200, None, 1, (1.0, false)),
        ("PUT", "/users/{id}", 200, None, 1, (0.0, true)),
        ("GET", "/users", 200, None, 1, (0.5, false)),
        ("DELETE", "/users/{id}", 200, None, 1, (0.0, true)),
        (
            "GET",
            "/users/{id}",
            400,
            Some("UserNotFound"),
            1,
            (1.0, false),
        ),
        ("POST", "/users", 400, Some("InvalidUser"), 0, (0.0, false)),
        (
            "DELETE",
            "/users",
            400,
            Some("InvalidRequest"),
            0,
            (0.0, false),
        ),
        ("DELETE", "/users", 200, None, 1, (1.0, false)),
    ];
    for Operation { method, path, .. } in operations() {
        let is_expected = expected
            .iter()
            .any(|line| (line.0, line.1) == (method, path));
        assert!(
            is_expected,
            "tests/tests/observability.rs sends no request {method} {path}"
        );
    }
    let mut seen = BTreeSet::new();
    assert_eq!(lines.len(), expected.len());
    for (id, (method, route, status, code, calls, (read, writes))) in ids.iter().zip(expected) {
        // The lines of different functions may be read in another order.
        let line = lines
            .iter()
            .find(|line| line["correlation_id"] == **id)
            .expect("a line");
        assert_eq!(
            (
                &line["method"],
                &line["route"],
                &line["status"],
                &line["dynamodb_calls"]
            ),
            (&json!(method), &json!(route), &json!(status), &json!(calls)),
        );
        assert_eq!(line.get("code"), code.map(Value::from).as_ref());
        assert_eq!(
            line["cold_start"],
            json!(seen.insert((method, route))),
            "{line}"
        );
        assert_eq!(
            (&line["level"], &line["error"]),
            (&json!("INFO"), &Value::Null),
            "{line}"
        );
        assert_eq!(line["read_units"].as_f64(), Some(read), "{line}");
        assert_eq!(line["write_units"].as_f64() > Some(0.0), writes, "{line}");
        assert!(
            line["latency_ms"].as_f64() >= line["dynamodb_ms"].as_f64(),
            "{line}"
        );
        assert!(
            line["function_request_id"].is_string() && line["timestamp"].is_string(),
            "{line}"
        );
        assert!(
            line["xray_trace_id"]
                .as_str()
                .is_some_and(|id| id.starts_with("1-")),
            "{line}"
        );
        assert_eq!(
            (&line["dynamodb_retries"], &line["dynamodb_throttles"]),
            (&json!(0), &json!(0))
        );
    }
}

#[tokio::test]
async fn the_line_of_a_failed_request_has_the_whole_chain() {
    let dynamodb =
        ScriptedServer::always(ScriptedResponse::Error(400, "ThrottlingException")).await;
    let api = Api::with_variables(&[
        ("DYNAMO_ENDPOINT", dynamodb.endpoint()),
        ("AWS_LAMBDA_LOG_FORMAT", "JSON"),
        ("AWS_LAMBDA_LOG_LEVEL", "WARN"),
    ])
    .await;
    api.get("/users/1").await.fails("ServiceUnavailable");
    api.get("/users?limit=0").await.fails("InvalidRequest");
    let lines = api.into_request_lines().await;
    let [line] = &lines[..] else {
        panic!("{lines:?}")
    };
    let expected = json!(["ERROR", 503, "ServiceUnavailable", 1, 2, 3]);
    let names = [
        "level",
        "status",
        "code",
        "dynamodb_calls",
        "dynamodb_retries",
    ];
    let mut found: Vec<_> = names.map(|name| line[name].clone()).into();
    found.push(line["dynamodb_throttles"].clone());
    assert_eq!(json!(found), expected, "{line}");
    assert!(
        line["error"]
            .as_str()
            .is_some_and(|error| error.contains("ThrottlingException"))
    );
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
    let api = Api::with_variables(&[
        ("DYNAMO_ENDPOINT", dynamodb.endpoint()),
        ("AWS_LAMBDA_LOG_FORMAT", "JSON"),
    ])
    .await;
    let start = Instant::now();
    for _ in 0..2 {
        api.get("/users").await.is(&json!([]));
    }
    let elapsed = start.elapsed().as_secs_f64() * 1000.0;
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
    let api = Api::with_variables(&[
        ("DYNAMO_ENDPOINT", dynamodb.endpoint()),
        ("AWS_XRAY_DAEMON_ADDRESS", &daemon.address),
    ])
    .await;
    let now = || {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("after 1970")
            .as_secs_f64()
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
    let api = start_on(&table, &[("AWS_LAMBDA_LOG_FORMAT", "JSON")]).await;
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
    api.send_traced(Method::GET, path, "", &trace_header(false))
        .await;
    api.send_traced(Method::GET, path, "", "Root=1;Sampled=1")
        .await;

    api.send_traced(Method::DELETE, path, "", &trace_header(true))
        .await;
    let subsegment = daemon.receive();
    let request_id = &subsegment["aws"]["request_id"];
    assert!(
        request_id.as_str().is_some_and(|id| id.len() > 20),
        "{subsegment}"
    );
    assert_eq!(
        subsegment["aws"],
        json!({
            "operation": "DeleteItem", "region": "eu-west-1", "table_name": table.name(),
            "request_id": request_id, "retries": 0,
            "consumed_capacity": 1.0,
        })
    );
    for (name, value) in [
        ("name", json!("DynamoDB")),
        ("type", json!("subsegment")),
        ("namespace", json!("aws")),
        ("trace_id", json!(TRACE)),
        ("parent_id", json!("53995c3f42cd8ad8")),
        ("http", json!({"response": {"status": 200}})),
        ("error", json!(false)),
        ("throttle", json!(false)),
        ("fault", json!(false)),
    ] {
        assert_eq!(subsegment[name], value, "{subsegment}");
    }
    let id = subsegment["id"].as_str().expect("an id");
    assert!(
        id.len() == 16 && id.bytes().all(|digit| digit.is_ascii_hexdigit()),
        "{id}"
    );
}

#[tokio::test]
async fn a_subsegment_has_the_kind_of_dynamodbs_error() {
    for (status, code, error, throttle, fault) in [
        (400, "ThrottlingException", true, true, false),
        (400, "AccessDeniedException", true, false, false),
        (500, "InternalServerError", false, false, true),
    ] {
        let daemon = Daemon::start();
        let dynamodb = ScriptedServer::always(ScriptedResponse::Error(status, code)).await;
        let api = Api::with_variables(&[
            ("DYNAMO_ENDPOINT", dynamodb.endpoint()),
            ("AWS_XRAY_DAEMON_ADDRESS", &daemon.address),
        ])
        .await;
        api.send_traced(Method::GET, "/users/1", "", &trace_header(true))
            .await;
        let subsegment = daemon.receive();
        let found = ["error", "throttle", "fault"].map(|name| subsegment[name].clone());
        assert_eq!(
            found,
            [error, throttle, fault].map(Value::from),
            "{subsegment}"
        );
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
            api.send_traced(Method::GET, "/users", "", &trace_header(true))
                .await
                .is(&json!([]));
        }
    }
}

/// Returns the names of the fields that a query uses, without those that Logs Insights or the query
/// itself defines.
fn fields(query: &str) -> BTreeSet<String> {
    const LANGUAGE: [&str; 19] = [
        "filter", "stats", "sort", "limit", "fields", "like", "and", "or", "in", "as", "by",
        "desc", "bin", "count", "sum", "avg", "m", "h", "true",
    ];
    // What is in double quotes is a value, or a name that the query looks for in a message.
    let unquoted: String = query.split('"').step_by(2).collect();
    let words: Vec<_> = unquoted
        .split(|character: char| !character.is_alphanumeric() && !"_@.".contains(character))
        .filter(|word| !word.is_empty() && !word.starts_with('@'))
        .collect();
    let given: BTreeSet<_> = words
        .windows(2)
        .filter(|pair| pair[0] == "as")
        .map(|pair| pair[1])
        .collect();
    words
        .into_iter()
        .filter(|word| !LANGUAGE.contains(word) && !given.contains(word))
        .filter(|word| word.starts_with(|first: char| first.is_ascii_lowercase()))
        .map(str::to_owned)
        .collect()
}

#[tokio::test]
async fn the_saved_queries_use_only_fields_that_the_lines_have() {
    let throttled = json!({
        "__type": "ThrottlingException",
        "ThrottlingReasons": [{"reason": "TableReadMaxOnDemandThroughputExceeded"}],
    });
    let dynamodb = ScriptedServer::always(ScriptedResponse::Json(400, throttled)).await;
    let variables = [
        ("DYNAMO_ENDPOINT", dynamodb.endpoint()),
        ("AWS_LAMBDA_LOG_FORMAT", "JSON"),
    ];
    let api = Api::with_variables(&variables).await;
    api.get("/users/1").await.fails("ServiceUnavailable");
    let lines = api.into_request_lines().await;
    let line = lines[0].as_object().expect("an object");

    let template = repository::yaml("template.yaml");
    let resources = template["Resources"].as_object().expect("resources");
    let queries: Vec<_> = resources
        .values()
        .filter(|resource| resource["Type"] == "AWS::Logs::QueryDefinition")
        .map(|resource| {
            resource["Properties"]["QueryString"]
                .as_str()
                .expect("a query")
        })
        .filter(|query| query.contains("message = \"request\""))
        .collect();
    assert_eq!(queries.len(), 4);
    for query in queries {
        let fields = fields(query);
        for field in fields {
            assert!(
                line.contains_key(&field),
                "{field} is not in the line: {query}"
            );
        }
    }
}
