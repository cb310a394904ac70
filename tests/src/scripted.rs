//! A server in the place of DynamoDB that fails as no engine does on demand.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// How a request is answered.
#[derive(Clone, Debug)]
pub enum Answer {
    /// With this status and JSON.
    Json(u16, Value),
    /// With an error of DynamoDB's: this status and code.
    Error(u16, &'static str),
    /// With this status and text, whatever it is.
    Text(u16, &'static str),
    /// With the beginning of an answer, and then the connection is closed.
    Partial,
    /// With the beginning of an answer, and then nothing.
    Stalled,
    /// Not at all; the connection stays open.
    Silence,
    /// The connection is reset.
    Reset,
}

/// What answers: the operation's name, such as `GetItem`, and the request's JSON in, the answer out.
type Script = Box<dyn FnMut(&str, &Value) -> Answer + Send>;

/// A scripted server on a port of its own. It ends when it is dropped.
pub struct Scripted {
    endpoint: String,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

struct Shared {
    script: Mutex<Script>,
    connections: AtomicUsize,
}

impl Scripted {
    /// Starts a server that answers by this script. Requests that create or describe a table
    /// succeed, whatever the script.
    ///
    /// # Panics
    ///
    /// If there is no port.
    pub async fn start(script: impl FnMut(&str, &Value) -> Answer + Send + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let shared = Arc::new(Shared {
            script: Mutex::new(Box::new(script)),
            connections: AtomicUsize::new(0),
        });
        let server = tokio::spawn(serve(listener, Arc::clone(&shared)));
        Self { endpoint, shared, server }
    }

    /// The URL of the server.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Answers by another script from now on.
    ///
    /// # Panics
    ///
    /// If the script before panicked.
    pub fn now(&self, script: impl FnMut(&str, &Value) -> Answer + Send + 'static) {
        *self.shared.script.lock().expect("a script") = Box::new(script);
    }

    /// How many connections were made.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Relaxed)
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// The answers of a DynamoDB with an empty table.
#[must_use]
pub fn empty_table(operation: &str, _: &Value) -> Answer {
    Answer::Json(
        200,
        if matches!(operation, "Scan" | "Query") {
            json!({"Items": [], "Count": 0, "ScannedCount": 0})
        } else {
            json!({})
        },
    )
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        shared.connections.fetch_add(1, Relaxed);
        connections.spawn(async move { converse(BufReader::new(stream), &shared).await });
    }
}

/// Answers the requests of one connection, until either side is through with it.
async fn converse(mut stream: BufReader<TcpStream>, shared: &Shared) -> Option<()> {
    loop {
        let (operation, body) = request(&mut stream).await?;
        let answer = match operation.as_str() {
            "CreateTable" => {
                Answer::Json(200, json!({"TableDescription": {"TableStatus": "ACTIVE"}}))
            }
            "DescribeTable" => Answer::Json(200, json!({"Table": {"TableStatus": "ACTIVE"}})),
            _ => shared.script.lock().expect("a script")(&operation, &body),
        };
        let (status, text) = match answer {
            Answer::Json(status, body) => (status, body.to_string()),
            Answer::Error(status, code) => {
                let body = json!({"__type": format!("com.amazonaws.dynamodb.v20120810#{code}"), "message": "scripted"});
                (status, body.to_string())
            }
            Answer::Text(status, text) => (status, text.to_owned()),
            Answer::Partial => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{").await.ok()?;
                return None;
            }
            Answer::Stalled => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{").await.ok()?;
                return std::future::pending().await;
            }
            Answer::Silence => return std::future::pending().await,
            Answer::Reset => {
                stream.get_ref().set_zero_linger().ok()?;
                return None;
            }
        };
        let length = text.len();
        let head = format!(
            "HTTP/1.1 {status} Scripted\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: {length}\r\n\
             Connection: keep-alive\r\n\r\n"
        );
        stream.write_all((head + &text).as_bytes()).await.ok()?;
    }
}

/// Reads the operation and the JSON of the next request.
async fn request(stream: &mut BufReader<TcpStream>) -> Option<(String, Value)> {
    let (mut operation, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        if line == "\r\n" {
            break;
        }
        let (name, value) = line.trim_end().split_once(": ").unwrap_or_default();
        match name.to_ascii_lowercase().as_str() {
            "x-amz-target" => operation = value.rsplit('.').next()?.to_owned(),
            "content-length" => length = value.parse().ok()?,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some((operation, serde_json::from_slice(&body).unwrap_or_default()))
}
