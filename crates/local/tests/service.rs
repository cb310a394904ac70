//! Tests the service with shell scripts as functions: how it starts, shares, replaces and kills
//! processes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::Request;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use local::{Database, Error, Options, Service, Template, Timeouts};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Returns the options of a service whose routes `GET /run` and `POST /run` invoke the script
/// `function`.
fn options(function: &str, gate: &str) -> Options {
    let integration = "x-amazon-apigateway-integration:
                type: aws_proxy
                uri: !Sub path/2015-03-31/functions/${Function.Arn}/invocations";
    let template = format!(
        "
Resources:
  Api:
    Type: AWS::Serverless::Api
    Properties:
      StageName: test
      DefinitionBody:
        paths:
          /run:
            get:
              {integration}
            post:
              {integration}
  Function:
    Type: AWS::Serverless::Function
    Metadata: {{ BuildProperties: {{ Binary: {function} }} }}
    Properties:
      FunctionName: {function}
      Timeout: 20
      Environment: {{ Variables: {{ GATE: '{gate}' }} }}
  Table:
    Type: AWS::DynamoDB::Table
    Properties:
      TableName: users
      AttributeDefinitions: [{{ AttributeName: id, AttributeType: S }}]
      KeySchema: [{{ AttributeName: id, KeyType: HASH }}]
"
    );
    let functions = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/functions");
    Options::new(
        Template::parse(&template, &BTreeMap::new()).expect("the template is complete"),
        functions,
    )
}

async fn start(options: Options) -> Service {
    Service::start(options).await.expect("the service starts")
}

/// Waits for something that takes a moment, so that a test fails instead of hanging.
async fn in_time<T>(work: impl Future<Output = T>) -> T {
    let outcome = timeout(Duration::from_mins(1), work).await;
    outcome.expect("this hangs")
}

/// Returns the status and body of the response to `GET /run`, or to `POST /run` with `body`.
async fn request(url: &str, body: Option<Vec<u8>>) -> (u16, String) {
    let method = if body.is_some() { "POST" } else { "GET" };
    let request = Request::builder().method(method).uri(format!("{url}/run"));
    let request = request
        .body(Body::from(body.unwrap_or_default()))
        .expect("the request is valid");
    let client = Client::builder(TokioExecutor::new()).build_http::<Body>();
    let response = in_time(client.request(request)).await;
    let response = response.expect("the service responds");
    let status = response.status().as_u16();
    let body = to_bytes(Body::new(response.into_body()), usize::MAX)
        .await
        .expect("the body is complete");
    (
        status,
        String::from_utf8(body.to_vec()).expect("the body is text"),
    )
}

async fn get(url: &str) -> (u16, String) {
    request(url, None).await
}

/// Returns the address in the URL of a service.
fn address(service: &Service) -> SocketAddr {
    let url = service.url().trim_start_matches("http://");
    let address = url.trim_end_matches("/test").parse();
    address.expect("the URL has an address")
}

/// A place where functions wait until they may continue.
struct Gate {
    listener: TcpListener,
    url: String,
}

/// A function that waits. It continues when this is dropped.
struct Waiting {
    pid: String,
    connection: TcpStream,
}

impl Gate {
    async fn new() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a port is free");
        let url = format!(
            "http://{}",
            listener.local_addr().expect("the listener has an address")
        );
        Self { listener, url }
    }

    /// Waits for the next function to connect.
    async fn next(&self) -> Waiting {
        let accepted = in_time(self.listener.accept()).await;
        let (mut connection, _) = accepted.expect("a function connects");
        let mut line = Vec::new();
        while !line.ends_with(b" HTTP") {
            line.push(
                connection
                    .read_u8()
                    .await
                    .expect("the function sends a request"),
            );
        }
        let line = String::from_utf8(line).expect("the request is text");
        let pid = line
            .trim_start_matches("GET /")
            .trim_end_matches(" HTTP")
            .to_owned();
        Waiting { pid, connection }
    }
}

impl Waiting {
    /// Waits until the function's process has exited.
    async fn exited(mut self) {
        // Fails if the connection is reset instead of closed.
        let _ = in_time(self.connection.read_to_end(&mut Vec::new())).await;
    }
}

fn kill(pid: &str, signal: &str) -> bool {
    // Uses the shell's builtin, because there may be no other.
    Command::new("/bin/sh")
        .args(["-c", "kill \"$1\" \"$2\"", "sh", signal, pid])
        .output()
        .expect("kill runs")
        .status
        .success()
}

const BAD_GATEWAY: (u16, &str) = (502, r#"{"message":"Internal server error"}"#);

fn text((status, body): &(u16, String)) -> (u16, &str) {
    (*status, body)
}

#[tokio::test]
async fn one_process_serves_consecutive_requests() {
    let service = start(options("responds", "")).await;
    let first = get(service.url()).await;
    assert_eq!(first.0, 200);
    for _ in 0..5 {
        assert_eq!(get(service.url()).await, first);
    }
    service.stop().await;
    assert!(!kill(&first.1, "-0"), "the process has exited");
}

#[tokio::test]
async fn concurrent_requests_get_own_processes_up_to_the_limit() {
    let gate = Gate::new().await;
    let service = start(Options {
        instances: 2,
        ..options("responds", &gate.url)
    })
    .await;
    let url = service.url();
    let requests = async { tokio::join!(get(url), get(url), get(url)) };
    let functions = async {
        let (first, second) = (gate.next().await, gate.next().await);
        let started = BTreeSet::from([first.pid.clone(), second.pid.clone()]);
        assert_eq!(started.len(), 2);
        drop(first);
        let third = gate.next().await;
        assert!(
            started.contains(&third.pid),
            "the third request waited for one of the two processes"
        );
        started
    };
    let (responses, started) = tokio::join!(requests, functions);
    let responses = [responses.0, responses.1, responses.2];
    assert!(
        responses
            .iter()
            .all(|(status, pid)| *status == 200 && started.contains(pid)),
        "{responses:?}"
    );
    service.stop().await;
}

#[tokio::test]
async fn a_process_that_crashes_fails_one_request_and_is_replaced() {
    let gate = Gate::new().await;
    let service = start(options("responds", &gate.url)).await;
    let crash = async {
        let waiting = gate.next().await;
        assert!(kill(&waiting.pid, "-9"));
        waiting.pid
    };
    let (response, crashed) = tokio::join!(get(service.url()), crash);
    assert_eq!(text(&response), BAD_GATEWAY);
    let (response, fresh) = tokio::join!(get(service.url()), async { gate.next().await.pid });
    assert_eq!(response, (200, fresh.clone()));
    assert_ne!(fresh, crashed);
    service.stop().await;
}

#[tokio::test]
async fn a_process_that_exits_after_its_response_is_replaced() {
    let service = start(options("responds-once", "")).await;
    let mut pids = BTreeSet::new();
    for _ in 0..5 {
        let (status, pid) = get(service.url()).await;
        assert_eq!(status, 200, "{pid}");
        assert!(pids.insert(pid));
    }
    service.stop().await;
}

#[tokio::test]
async fn a_function_that_was_rebuilt_serves_the_next_request() {
    let directory = tempfile::tempdir().expect("there is a directory for temporary files");
    let functions = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/functions");
    let executable = directory.path().join("responds");
    std::fs::copy(functions.join("responds"), &executable).expect("the function can be copied");
    let service = start(Options {
        functions: directory.path().to_owned(),
        ..options("responds", "")
    })
    .await;
    let first = get(service.url()).await;
    assert_eq!(get(service.url()).await, first);
    // A build also replaces the file.
    let new = directory.path().join("new");
    std::fs::copy(functions.join("responds"), &new).expect("the function can be copied");
    std::fs::rename(&new, &executable).expect("the function can be replaced");
    let second = get(service.url()).await;
    assert_eq!(second.0, 200);
    assert_ne!(second, first);
    assert_eq!(get(service.url()).await, second);
    service.stop().await;
}

#[tokio::test]
async fn a_client_or_a_function_that_is_too_slow_is_given_up() {
    let Timeouts {
        head,
        body,
        integration,
    } = Timeouts::default();
    assert_eq!(
        [head, body, integration].map(|limit| limit.as_secs()),
        [60, 30, 29]
    );

    let gate = Gate::new().await;
    let service = start(Options {
        timeouts: Timeouts {
            head: Duration::from_millis(300),
            body: Duration::from_millis(300),
            integration: Duration::from_secs(2),
        },
        ..options("hangs", &gate.url)
    })
    .await;
    let head = "POST /test/run HTTP/1.1\r\nhost: localhost\r\n";
    let body = format!("{head}content-length: 9\r\nconnection: close\r\n\r\n{{");
    for (sent, status) in [("", ""), (head, ""), (&body, "HTTP/1.1 408 ")] {
        let mut client = TcpStream::connect(address(&service))
            .await
            .expect("a connection");
        client
            .write_all(sent.as_bytes())
            .await
            .expect("the service reads");
        let mut response = String::new();
        let read = timeout(
            Duration::from_secs(20),
            client.read_to_string(&mut response),
        );
        read.await.expect("the connection is closed").expect("text");
        assert!(response.starts_with(status), "{sent}: {response}");
        assert_eq!(response.is_empty(), status.is_empty(), "{sent}: {response}");
    }
    let (response, _waiting) = tokio::join!(get(service.url()), gate.next());
    let timed_out = r#"{"message":"Endpoint request timed out"}"#;
    assert_eq!(text(&response), (504, timed_out));
    service.stop().await;
}

#[tokio::test]
async fn a_function_that_cannot_start_fails_requests_and_is_logged() {
    let (sender, mut lines) = mpsc::unbounded_channel();
    let logs = Arc::new(move |function: &str, line: &str| {
        let _ = sender.send(format!("{function} | {line}"));
    });
    let service = start(Options {
        logs,
        ..options("exits", "")
    })
    .await;
    assert_eq!(text(&get(service.url()).await), BAD_GATEWAY);
    assert_eq!(text(&get(service.url()).await), BAD_GATEWAY);
    service.stop().await;
    let words = "exits | cannot go on";
    let reason = "exits | the function's process exited (exit status: 3) before it responded";
    let mut logged = Vec::new();
    while let Some(line) = lines.recv().await {
        logged.push(line);
    }
    logged.sort();
    assert_eq!(logged, [words, words, reason, reason]);
}

#[tokio::test]
async fn output_without_line_breaks_is_logged_in_parts() {
    let (sender, mut lines) = mpsc::unbounded_channel();
    let logs = Arc::new(move |_: &str, line: &str| {
        let _ = sender.send(line.len());
    });
    let service = start(Options {
        logs,
        ..options("babbles", "")
    })
    .await;
    assert_eq!(text(&get(service.url()).await), BAD_GATEWAY);
    service.stop().await;
    let mut lengths = Vec::new();
    while let Some(length) = lines.recv().await {
        lengths.push(length);
    }
    assert_eq!(
        lengths.iter().filter(|length| **length == 65_536).count(),
        3
    );
    assert!(
        lengths.iter().all(|length| *length <= 65_536),
        "{lengths:?}"
    );
}

#[tokio::test]
async fn a_function_that_hangs_is_killed_at_its_timeout() {
    let gate = Gate::new().await;
    let mut options = options("hangs", &gate.url);
    for function in options.template.functions.values_mut() {
        function.timeout = Duration::from_secs(1);
    }
    let service = start(options).await;
    let (response, waiting) = tokio::join!(get(service.url()), gate.next());
    // The error is that of a failed function, because API Gateway's own timeout is longer.
    assert_eq!(text(&response), BAD_GATEWAY);
    assert!(!kill(&waiting.pid, "-0"), "the process has exited");
    service.stop().await;
}

#[tokio::test]
async fn a_process_whose_client_disconnects_serves_the_next_request() {
    let gate = Gate::new().await;
    let service = start(Options {
        instances: 1,
        ..options("responds", &gate.url)
    })
    .await;
    let mut client = TcpStream::connect(address(&service))
        .await
        .expect("the service listens");
    client
        .write_all(b"GET /test/run HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .expect("the service reads");
    let abandoned = gate.next().await;
    drop(client);
    let pid = abandoned.pid.clone();
    drop(abandoned);
    let (response, next) = tokio::join!(get(service.url()), async { gate.next().await.pid });
    assert_eq!(next, pid);
    assert_eq!(response, (200, pid));
    service.stop().await;
}

#[tokio::test]
async fn stopping_kills_a_process_during_a_request() {
    let gate = Gate::new().await;
    let service = start(options("hangs", &gate.url)).await;
    let url = service.url().to_owned();
    let (response, ()) = tokio::join!(get(&url), async {
        let waiting = gate.next().await;
        service.stop().await;
        assert!(!kill(&waiting.pid, "-0"), "the process has exited");
    });
    assert_eq!(text(&response), BAD_GATEWAY);
}

#[tokio::test]
async fn dropping_the_service_kills_its_processes() {
    let gate = Gate::new().await;
    let service = start(options("hangs", &gate.url)).await;
    let url = service.url().to_owned();
    let (response, ()) = tokio::join!(get(&url), async {
        let waiting = gate.next().await;
        drop(service);
        waiting.exited().await;
    });
    assert_eq!(text(&response), BAD_GATEWAY);
}

#[tokio::test]
async fn bodies_and_events_that_are_too_large_are_rejected() {
    let service = start(options("responds", "")).await;
    let too_long = (413, r#"{"message":"Request Too Long"}"#);
    assert_eq!(
        text(&request(service.url(), Some(vec![b'x'; 10 * 1024 * 1024 + 1])).await),
        too_long
    );
    assert_eq!(
        text(&request(service.url(), Some(vec![b'x'; 6 * 1024 * 1024])).await),
        too_long
    );
    assert_eq!(
        request(service.url(), Some(vec![b'x'; 6 * 1024 * 1024 - 4096]))
            .await
            .0,
        200
    );
    service.stop().await;
}

#[tokio::test]
async fn the_error_names_a_port_that_is_in_use() {
    let service = start(options("responds", "")).await;
    let address = address(&service);
    let error = Service::start(Options {
        address,
        ..options("responds", "")
    })
    .await
    .err()
    .expect("the port is in use");
    let message = format!(
        "port {} is in use: choose another with PORT={}",
        address.port(),
        address.port() + 1
    );
    assert_eq!(error.to_string(), message);
    service.stop().await;
}

#[tokio::test]
async fn the_error_names_a_function_that_is_not_built() {
    let error = Service::start(options("missing", ""))
        .await
        .err()
        .expect("there is no such function");
    assert!(
        error
            .to_string()
            .contains("tests/functions/missing is not built: run `make run`"),
        "{error}"
    );
}

#[tokio::test]
async fn only_one_service_at_a_time_keeps_its_table_in_a_file() {
    let directory = tempfile::tempdir().expect("there is a directory for temporary files");
    let path: PathBuf = directory.path().join("new/users.db");
    let on_file = || Options {
        database: Database::File(path.clone()),
        ..options("responds", "")
    };
    let service = start(on_file()).await;
    let error = Service::start(on_file())
        .await
        .err()
        .expect("the file is in use");
    assert!(matches!(error, Error::DataInUse { .. }), "{error}");
    service.stop().await;
    start(on_file()).await.stop().await;
}

#[tokio::test]
async fn the_error_names_a_dynamodb_that_does_not_respond() {
    for listening in [true, false] {
        let gate = Gate::new().await;
        let endpoint = gate.url.clone();
        // If the listener accepts nothing, the request hangs; without it, the connection is
        // refused.
        let _held = listening.then_some(gate);
        let database = Database::Endpoint(endpoint.clone());
        let error = Service::start(Options {
            database,
            ..options("responds", "")
        })
        .await
        .err()
        .expect("nothing responds");
        assert!(
            error
                .to_string()
                .starts_with(&format!("cannot use the DynamoDB at {endpoint}: ")),
            "{error}"
        );
    }
}
