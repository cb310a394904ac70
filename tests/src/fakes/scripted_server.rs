//! A server that stands in for DynamoDB, and fails on demand in ways that no engine does.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::spawn_blocking;

use super::Server;

/// How the server responds to a request.
#[derive(Clone, Debug)]
pub enum ScriptedResponse {
    /// This status and JSON.
    Json(u16, Value),
    /// A DynamoDB error with this status and code.
    Error(u16, &'static str),
    /// This status and text.
    Text(u16, &'static str),
    /// This status and body.
    Bytes(u16, Vec<u8>),
    /// Exactly these bytes; then the connection is closed.
    Raw(Vec<u8>),
    /// The response of the server at this URL; if there is none, the connection is closed.
    Forwarded(String),
    /// The beginning of a response; then the connection is closed.
    Partial,
    /// The beginning of a response, and then nothing.
    Stalled,
    /// Nothing; the connection stays open.
    Silence,
    /// A reset of the connection.
    Reset,
    /// This body with the status 200, after this time.
    Late(Duration, Vec<u8>),
    /// This JSON with the status 200; then the connection is closed.
    Last(Value),
}

/// Takes the operation's name, such as `GetItem`, and the request's JSON.
type Script = Box<dyn FnMut(&str, &Value) -> ScriptedResponse + Send>;

/// A scripted server on a free port. Dropping it stops it.
pub struct ScriptedServer {
    endpoint: String,
    shared: Arc<Shared>,
    server: Server,
}

struct Shared {
    script: Mutex<Script>,
    /// Whether each response tells the SDK not to wait before another attempt.
    spares_waits: AtomicBool,
}

impl ScriptedServer {
    /// Starts a server that follows this script. Requests that create or describe a table succeed
    /// regardless of the script.
    pub async fn start(
        script: impl FnMut(&str, &Value) -> ScriptedResponse + Send + 'static,
    ) -> Self {
        let shared = Arc::new(Shared {
            script: Mutex::new(Box::new(script)),
            spares_waits: AtomicBool::new(false),
        });
        let followed = Arc::clone(&shared);
        let server = Server::start(move |stream, _| {
            let shared = Arc::clone(&followed);
            async move { converse(BufReader::new(stream), &shared).await }
        })
        .await;
        Self {
            endpoint: server.url(),
            shared,
            server,
        }
    }

    /// Starts a server that always responds in this way.
    pub async fn always(response: ScriptedResponse) -> Self {
        Self::start(move |_, _| response.clone()).await
    }

    /// Returns the URL of the server.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Follows another script from now on.
    pub fn set_script(
        &self,
        script: impl FnMut(&str, &Value) -> ScriptedResponse + Send + 'static,
    ) {
        *self.shared.script.lock().expect("the script did not panic") = Box::new(script);
    }

    /// Tells the SDK with each response to wait only a millisecond before another attempt.
    pub fn spare_waits(&self) {
        self.shared.spares_waits.store(true, Relaxed);
    }

    /// Returns how many connections were opened.
    pub fn connections(&self) -> usize {
        self.server.connections()
    }
}

/// Responds as DynamoDB does if the table is empty.
pub fn empty_table(operation: &str, _: &Value) -> ScriptedResponse {
    let response = match operation {
        "Scan" | "Query" => json!({"Items": [], "Count": 0, "ScannedCount": 0}),
        "GetItem" | "PutItem" | "DeleteItem" => json!({}),
        _ => {
            panic!("tests/src/fakes/scripted_server.rs: empty_table has no response to {operation}")
        }
    };
    ScriptedResponse::Json(200, response)
}

/// Returns the response of a DynamoDB server in which every request finds this item.
pub fn one_item(operation: &str, item: &Value) -> Value {
    match operation {
        "Scan" | "Query" => json!({"Items": [item], "Count": 1, "ScannedCount": 1}),
        "GetItem" => json!({"Item": item}),
        "DeleteItem" => json!({"Attributes": item}),
        "BatchWriteItem" => json!({"UnprocessedItems": {}}),
        "PutItem" => json!({}),
        _ => panic!("tests/src/fakes/scripted_server.rs: one_item has no response to {operation}"),
    }
}

/// Returns the ids in the requests of a `BatchWriteItem`, which all delete.
pub fn deleted_ids(request: &Value) -> Vec<&str> {
    let tables = request["RequestItems"].as_object().expect("tables");
    let requests = tables.values().flat_map(|requests| {
        let requests = requests.as_array();
        requests.expect("a list of requests")
    });
    requests
        .map(|request| request["DeleteRequest"]["Key"]["id"]["S"].as_str())
        .map(|id| id.expect("the id of a user to delete"))
        .collect()
}

/// Responds to the requests of one connection, until either side closes it.
async fn converse(mut stream: BufReader<TcpStream>, shared: &Shared) -> Option<()> {
    loop {
        let (head, body) = message(&mut stream).await?;
        let operation = header(&head, "x-amz-target").unwrap_or_default();
        let operation = operation.rsplit('.').next().unwrap_or_default();
        let response = match operation {
            "CreateTable" | "DescribeTable" => {
                let table = json!({"TableStatus": "ACTIVE"});
                ScriptedResponse::Json(200, json!({"Table": table, "TableDescription": table}))
            }
            _ => {
                let json = serde_json::from_slice(&body).unwrap_or_default();
                shared.script.lock().expect("no script panics")(operation, &json)
            }
        };
        let is_last = matches!(response, ScriptedResponse::Last(_));
        let (status, body) = match response {
            ScriptedResponse::Late(time, body) => {
                // Tokio's timers may be a millisecond late.
                spawn_blocking(move || thread::sleep(time)).await.ok()?;
                (200, body)
            }
            ScriptedResponse::Last(body) => (200, body.to_string().into_bytes()),
            ScriptedResponse::Json(status, body) => (status, body.to_string().into_bytes()),
            ScriptedResponse::Error(status, code) => {
                let body = json!({
                    "__type": format!("com.amazonaws.dynamodb.v20120810#{code}"),
                    "message": "scripted",
                });
                (status, body.to_string().into_bytes())
            }
            ScriptedResponse::Text(status, text) => (status, text.into()),
            ScriptedResponse::Bytes(status, body) => (status, body),
            ScriptedResponse::Raw(bytes) => {
                stream.write_all(&bytes).await.ok()?;
                return None;
            }
            ScriptedResponse::Forwarded(url) => {
                let server = TcpStream::connect(url.trim_start_matches("http://")).await;
                let mut server = BufReader::new(server.ok()?);
                let request = [head.as_bytes(), &body].concat();
                server.write_all(&request).await.ok()?;
                let (head, body) = message(&mut server).await?;
                let response = [head.as_bytes(), &body].concat();
                stream.write_all(&response).await.ok()?;
                continue;
            }
            begun @ (ScriptedResponse::Partial | ScriptedResponse::Stalled) => {
                let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{";
                stream.write_all(head).await.ok()?;
                if matches!(begun, ScriptedResponse::Stalled) {
                    std::future::pending::<()>().await;
                }
                return None;
            }
            ScriptedResponse::Silence => return std::future::pending().await,
            ScriptedResponse::Reset => {
                stream.get_ref().set_zero_linger().ok()?;
                return None;
            }
        };
        let wait = if shared.spares_waits.load(Relaxed) {
            "x-amz-retry-after: 1\r\n"
        } else {
            ""
        };
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status} Scripted\r\nContent-Type: application/x-amz-json-1.0\r\n\
             {wait}Content-Length: {length}\r\nConnection: keep-alive\r\n\r\n"
        );
        let response = [head.into_bytes(), body].concat();
        stream.write_all(&response).await.ok()?;
        if is_last {
            return None;
        }
    }
}

/// Reads the head and the body of the next request or response.
async fn message(stream: &mut BufReader<TcpStream>) -> Option<(String, Vec<u8>)> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).await.ok()? == 0 {
            return None;
        }
    }
    let length = header(&head, "content-length").map_or(Some(0), |length| length.parse().ok())?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some((head, body))
}

/// Returns the value of a header, whose name is in lower case.
fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut headers = head.lines().filter_map(|line| line.split_once(": "));
    headers
        .find(|header| header.0.eq_ignore_ascii_case(name))
        .map(|header| header.1)
}
