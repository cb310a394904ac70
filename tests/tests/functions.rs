//! The executables of functions, on a Runtime API that Lambda does not have: odd headers, an unread
//! log, and environments in which no function can work.

use std::fmt::Display;
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::routing::{get, post};
use serde_json::{Value, json};
use tests::{
    Process, ScriptedResponse, ScriptedServer, empty_table, executables, one_item, operations,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::process::{Child, Command};
use tokio::sync::{Mutex, mpsc};
use tokio::time::timeout;

/// How long a function may take for anything.
const PATIENCE: Duration = Duration::from_secs(20);

/// The status and headers of an invocation, and its event.
type Invocation = (StatusCode, HeaderMap, String);

/// A Runtime API for one process.
struct RuntimeApi {
    address: String,
    invocations: mpsc::UnboundedSender<Invocation>,
    outcomes: mpsc::UnboundedReceiver<(String, Value)>,
}

/// What the handlers of the Runtime API share.
#[derive(Clone)]
struct Shared {
    invocations: Arc<Mutex<mpsc::UnboundedReceiver<Invocation>>>,
    outcomes: mpsc::UnboundedSender<(String, Value)>,
}

impl RuntimeApi {
    async fn start() -> Self {
        let (invocations, receiver) = mpsc::unbounded_channel();
        let (sender, outcomes) = mpsc::unbounded_channel();
        let shared = Shared {
            invocations: Arc::new(Mutex::new(receiver)),
            outcomes: sender,
        };
        let router = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/{kind}", post(end))
            .with_state(shared);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        tokio::spawn(async { axum::serve(listener, router).await });
        Self {
            address,
            invocations,
            outcomes,
        }
    }

    /// Starts a function with these variables besides Lambda's.
    fn spawn(&self, executable: &str, variables: &[(&str, &str)]) -> Child {
        Command::new(executables().join(executable))
            .env_clear()
            .env("AWS_LAMBDA_RUNTIME_API", &self.address)
            .env("AWS_LAMBDA_FUNCTION_NAME", executable)
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "7")
            .env("AWS_LAMBDA_LOG_GROUP_NAME", "group")
            .env("AWS_LAMBDA_LOG_STREAM_NAME", "stream")
            .envs(variables.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the function starts")
    }

    /// Invokes the function with these headers, of which those without a value are left out, and
    /// returns its response or error.
    async fn invoke(
        &mut self,
        event: impl Display,
        headers: &[(&str, Option<&[u8]>)],
    ) -> (String, Value) {
        let deadline = SystemTime::now() + PATIENCE;
        let deadline = deadline.duration_since(UNIX_EPOCH).expect("after 1970");
        let deadline = deadline.as_millis().to_string();
        let usual = [
            ("lambda-runtime-aws-request-id", Some(&b"id"[..])),
            ("lambda-runtime-deadline-ms", Some(deadline.as_bytes())),
        ];
        let mut all = HeaderMap::new();
        for (name, value) in usual.iter().chain(headers) {
            let name: HeaderName = name.parse().expect("a name");
            all.remove(&name);
            if let Some(value) = value {
                all.insert(name, HeaderValue::from_bytes(value).expect("a value"));
            }
        }
        let invocation = (StatusCode::OK, all, event.to_string());
        self.invocations.send(invocation).expect("the API runs");
        let outcome = timeout(PATIENCE, self.outcomes.recv()).await;
        outcome.expect("an outcome in time").expect("the API runs")
    }
}

async fn next(State(shared): State<Shared>) -> Invocation {
    let invocation = shared.invocations.lock().await.recv().await;
    invocation.expect("the test has not ended")
}

async fn end(
    State(shared): State<Shared>,
    Path((_, kind)): Path<(String, String)>,
    body: String,
) -> StatusCode {
    let body = serde_json::from_str(&body).expect("JSON");
    // Fails only if the test has ended.
    let _ = shared.outcomes.send((kind, body));
    StatusCode::ACCEPTED
}

/// Returns an event that `GET /users` serves.
fn list() -> Value {
    json!({"httpMethod": "GET", "resource": "/users"})
}

/// Waits until the process has exited, and returns what it printed.
async fn output(process: Child) -> Output {
    let output = timeout(PATIENCE, process.wait_with_output()).await;
    output.expect("it exits in time").expect("its output")
}

#[tokio::test]
async fn no_header_of_an_invocation_ends_a_process() {
    let dynamodb = ScriptedServer::start(empty_table).await;
    for (name, values) in [
        (
            "client-context",
            &[&br#"{"custom":{"n":1}}"#[..], b"{", b"\xff"][..],
        ),
        ("cognito-identity", &[b"[]", b"\xff"]),
        (
            "deadline-ms",
            &[
                b"",
                b"soon",
                b"18446744073709551615",
                b"18446744073709551616",
            ],
        ),
        ("invoked-function-arn", &[b"\xff"]),
        ("trace-id", &[b"\xff"]),
        ("invocation-id", &[b"\xff"]),
        ("aws-tenant-id", &[b"\xff"]),
    ] {
        let name = format!("lambda-runtime-{name}");
        for value in values.iter().copied().map(Some).chain([None]) {
            let mut api = RuntimeApi::start().await;
            let mut process = api.spawn("get-all", &[("DYNAMO_ENDPOINT", dynamodb.endpoint())]);
            // The first invocation, a later one, and one with the usual headers.
            for headers in [&[(&*name, value)][..], &[(&*name, value)], &[]] {
                let (kind, response) = api.invoke(list(), headers).await;
                let status = (kind.as_str(), response["statusCode"].as_u64());
                assert_eq!(status, ("response", Some(200)), "{name}: {value:?}");
            }
            assert!(process.try_wait().expect("a status").is_none(), "{name}");
        }
    }
}

/// Reads the head of a request, and as much of its body as comes with it.
async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        assert!(stream.read_buf(&mut head).await.expect("a request") > 0);
    }
    String::from_utf8_lossy(&head).into_owned()
}

#[tokio::test]
async fn nothing_more_is_sent_of_a_request_that_was_abandoned() {
    // What the server does not read stays in the function's own buffers.
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    socket
        .bind("127.0.0.1:0".parse().expect("an address"))
        .expect("a free port");
    let dynamodb = socket.listen(8).expect("a listener");
    let endpoint = format!("http://{}", dynamodb.local_addr().expect("an address"));

    let mut api = RuntimeApi::start().await;
    let _process = api.spawn("put", &[("DYNAMO_ENDPOINT", &endpoint)]);
    let (mut first, _) = dynamodb.accept().await.expect("the first connection");
    let user = json!({"text": "x".repeat(380_000)}).to_string();
    let event = json!({"httpMethod": "PUT", "pathParameters": {"id": "1"}, "body": user});
    let serve = async {
        let head = read_head(&mut first).await;
        assert!(head.contains("PutItem"), "{head}");
        // The first attempt gets no response, so the function makes another.
        let (mut second, _) = dynamodb.accept().await.expect("a second connection");
        tokio::spawn(async move {
            read_head(&mut second).await;
            let head = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
            second.write_all(head).await.expect("a response is sent");
            tokio::io::copy(&mut second, &mut tokio::io::sink()).await
        });
        let mut rest = Vec::new();
        let read = first.read_to_end(&mut rest).await;
        let error = read.expect_err("the first connection was closed in the usual way");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        assert!(rest.len() < 100_000, "{} bytes were sent", rest.len());
    };
    let ((_, response), ()) = tokio::join!(api.invoke(event, &[]), serve);
    assert_eq!(response["statusCode"], json!(200), "{response}");
}

/// Returns JSON of some 5.9 MB: this text, repeated with commas.
fn filled(element: &str) -> String {
    vec![element; 5_900_000 / (element.len() + 1)].join(",")
}

/// Returns an object of some 5.9 MB with many members.
fn many_members() -> String {
    let members: Vec<_> = (0..430_000).map(|i| format!("\"{i:06x}\":[0]")).collect();
    format!("{{{}}}", members.join(","))
}

#[tokio::test]
async fn an_event_of_any_kind_takes_little_memory() {
    let dynamodb = ScriptedServer::start(empty_table).await;
    let objects = [
        many_members(),
        format!(r#"{{"email":[{}]}}"#, filled(r#""x""#)),
        format!(r#"{{"origin":"{}"}}"#, "x".repeat(5_900_000)),
        format!(
            r#"{{"x":{}{}}}"#,
            "[".repeat(2_900_000),
            "]".repeat(2_900_000)
        ),
    ];
    // Each function, and the members that it reads or that no function reads.
    for (executable, method, members) in [
        (
            "get-all",
            "GET",
            &["queryStringParameters", "multiValueQueryStringParameters"][..],
        ),
        ("put", "PUT", &["pathParameters", "body", "headers"]),
        ("delete-all", "DELETE", &["requestContext", "unknown"]),
    ] {
        let mut api = RuntimeApi::start().await;
        let process = api.spawn(executable, &[("DYNAMO_ENDPOINT", dynamodb.endpoint())]);
        let process = Process::of(process.id().expect("it runs"));
        for member in members {
            for object in &objects {
                let event = format!(r#"{{"httpMethod":"{method}","{member}":{object}}}"#);
                let (kind, response) = api.invoke(event, &[]).await;
                let status = response["statusCode"].as_u64().expect("a status");
                assert!(kind == "response" && status <= 400, "{member}: {response}");
            }
        }
        process.assert_small(executable);
    }
}

#[tokio::test]
async fn a_log_that_nobody_reads_does_not_block_a_function() {
    let dynamodb = ScriptedServer::start(empty_table).await;
    let mut api = RuntimeApi::start().await;
    let variables = [
        ("DYNAMO_ENDPOINT", dynamodb.endpoint()),
        ("AWS_LAMBDA_LOG_FORMAT", "JSON"),
    ];
    let _process = api.spawn("get-all", &variables);
    // A pipe holds some 130 lines.
    for _ in 0..135 {
        let (_, response) = api.invoke(list(), &[]).await;
        assert_eq!(response["statusCode"], json!(200));
    }
}

#[tokio::test]
async fn a_server_that_never_responds_delays_the_start_by_a_second() {
    // It accepts connections, but no TLS begins.
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = silent.local_addr().expect("an address");
    let mut api = RuntimeApi::start().await;
    let endpoint = format!("https://{address}");
    let _process = api.spawn("get", &[("DYNAMO_ENDPOINT", &endpoint)]);
    let _connection = silent.accept().await.expect("the warm-up connects");
    let start = Instant::now();
    let (_, response) = api.invoke(json!({"httpMethod": "TRACE"}), &[]).await;
    assert_eq!(response["statusCode"], json!(400), "{response}");
    let elapsed = start.elapsed().as_secs_f64();
    assert!((0.5..2.5).contains(&elapsed), "{elapsed}");
}

#[tokio::test]
async fn a_runtime_api_that_fails_is_named() {
    let api = RuntimeApi::start().await;
    let process = api.spawn("get", &[("DYNAMO_ENDPOINT", "http://127.0.0.1:1")]);
    let status = StatusCode::INTERNAL_SERVER_ERROR;
    let failure = (status, HeaderMap::new(), String::new());
    api.invocations.send(failure).expect("the API runs");
    let output = output(process).await;
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("500 Internal Server Error"), "{text}");
}

#[tokio::test]
async fn a_function_that_a_person_starts_says_what_to_type() {
    for operation in operations() {
        let mut command = Command::new(executables().join(&operation.executable));
        let output = command.env_clear().output().await.expect("it runs");
        let text = String::from_utf8_lossy(&output.stderr);
        let is_short = text.contains("`make run`") && text.lines().count() == 1;
        assert!(is_short && output.status.code() == Some(1), "{output:?}");
    }
}

#[tokio::test]
async fn white_space_around_a_variable_is_ignored() {
    let (sender, sent) = std::sync::mpsc::channel();
    let dynamodb = ScriptedServer::start(move |operation, request| {
        sender.send(request.clone()).expect("the test runs");
        empty_table(operation, request)
    })
    .await;
    let mut api = RuntimeApi::start().await;
    let endpoint = format!(" {}\n", dynamodb.endpoint());
    let _process = api.spawn(
        "get-all",
        &[
            ("DYNAMO_ENDPOINT", &endpoint),
            ("USERS_TABLE", "\tpeople\r\n"),
            ("AWS_REGION", "eu-west-1\n"),
            ("AWS_ACCESS_KEY_ID", " key\n"),
            ("AWS_SECRET_ACCESS_KEY", "secret\n"),
            ("CORS_ALLOW_ORIGIN", "https://a.example \n"),
        ],
    );
    let (_, response) = api.invoke(list(), &[]).await;
    assert_eq!(response["statusCode"], json!(200), "{response}");
    let origin = &response["multiValueHeaders"]["access-control-allow-origin"];
    assert_eq!(*origin, json!(["https://a.example"]));
    assert_eq!(sent.recv().expect("a request")["TableName"], "people");
}

#[tokio::test]
async fn the_most_specific_variable_names_the_endpoint() {
    let named = |name: &'static str| {
        ScriptedServer::start(move |operation, _| {
            let user = json!({"id": {"S": "1"}, "server": {"S": name}});
            ScriptedResponse::Json(200, one_item(operation, &user))
        })
    };
    let (right, wrong) = (named("right").await, named("wrong").await);
    let (right, wrong) = (right.endpoint(), wrong.endpoint());
    for (endpoints, ignored) in [
        ([right, wrong, wrong], "true"),
        ([right, wrong, wrong], ""),
        ([" ", right, wrong], "false"),
        (["", "", right], ""),
    ] {
        let mut api = RuntimeApi::start().await;
        let variables = [
            ("DYNAMO_ENDPOINT", endpoints[0]),
            ("AWS_ENDPOINT_URL_DYNAMODB", endpoints[1]),
            ("AWS_ENDPOINT_URL", endpoints[2]),
            ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", ignored),
        ];
        let _process = api.spawn("get", &variables);
        let (_, response) = api
            .invoke(json!({"pathParameters": {"id": "1"}}), &[])
            .await;
        assert_eq!(
            response["body"], r#"{"id":"1","server":"right"}"#,
            "{endpoints:?}"
        );
    }
}

#[tokio::test]
async fn a_function_names_a_variable_that_it_cannot_use() {
    let endpoint = ("DYNAMO_ENDPOINT", "http://127.0.0.1:1");
    let region = ("AWS_REGION", "eu-west-1");
    let credentials = [("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b")];
    let container = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
    let concurrency = "AWS_LAMBDA_MAX_CONCURRENCY is ignored";
    for (variables, level, words) in [
        (
            &[endpoint, ("USERS_TABLE", "a b")][..],
            "ERROR",
            "USERS_TABLE",
        ),
        (
            &[endpoint, ("AWS_REGION", "eu\u{fc}")],
            "ERROR",
            "AWS_REGION",
        ),
        (
            &[endpoint, ("CORS_ALLOW_ORIGIN", "https://a b")],
            "ERROR",
            "CORS_ALLOW_ORIGIN",
        ),
        (&credentials, "ERROR", "AWS_REGION"),
        (&[region], "ERROR", "AWS_ACCESS_KEY_ID"),
        // Without the endpoint, region and credentials are needed.
        (
            &[
                ("AWS_ENDPOINT_URL", endpoint.1),
                ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "True"),
            ],
            "ERROR",
            "AWS_REGION",
        ),
        (
            &[region, (container, "http://127.0.0.1:1")],
            "ERROR",
            container,
        ),
        (
            &[endpoint, ("AWS_LAMBDA_MAX_CONCURRENCY", "8")],
            "WARN",
            concurrency,
        ),
    ] {
        let mut api = RuntimeApi::start().await;
        let mut process = api.spawn("get-all", variables);
        let (_, response) = api.invoke(list(), &[]).await;
        let status = if level == "ERROR" { 500 } else { 503 };
        assert_eq!(response["statusCode"], json!(status), "{words}");
        process.start_kill().expect("it runs");
        let output = output(process).await;
        let text = String::from_utf8_lossy(&output.stdout);
        let first = text.lines().next().unwrap_or_default();
        assert!(first.contains(level) && first.contains(words), "{text}");
    }
}
