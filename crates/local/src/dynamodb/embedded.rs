//! The embedded DynamoDB: dynoxide's engine behind our own HTTP server. dynoxide's server accepts
//! requests from web pages, and any signature.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use dynoxide::DynoxideError;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::runtime;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use uuid::Uuid;

use super::data_file::DataFile;
use crate::error::Error;
use crate::http::{Limits, STOP_TIMEOUT, guard, serve};
use crate::lambda::Logs;

/// The maximum size of a request, in bytes
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html>).
const MAX_REQUEST: usize = 16 * 1024 * 1024;

/// Functions keep their connections while they wait for requests.
const LIMITS: Limits = Limits {
    idle: Duration::from_mins(20),
    half_close: false,
};

/// After which time a request seems to wait for another program's lock on the file.
const SLOW: Duration = Duration::from_millis(500);

/// The name of the thread, and in the log.
const NAME: &str = "dynamodb";
/// The access key id of a database on a fixed port, for which people configure other tools once.
const FIXED_KEY_ID: &str = "local";

/// A running embedded DynamoDB.
pub(crate) struct Embedded {
    pub(crate) endpoint: String,
    /// Whoever knows it may use the database. On a free port, each run has a new one.
    pub(crate) access_key_id: String,
    thread: thread::JoinHandle<()>,
}

impl Embedded {
    /// Serves a database on this loopback port, or a free one, until `stop`'s sender is dropped: the
    /// one in `file`, or a new one in memory. Faults of the file are written to the log.
    ///
    /// # Errors
    /// [`Error::Data`] if the file cannot be used, [`Error::PortInUse`] or [`Error::Listen`] if the
    /// port cannot.
    pub(crate) fn start(
        file: Option<DataFile>,
        port: Option<u16>,
        logs: Logs,
        stop: watch::Receiver<()>,
    ) -> Result<Self, Error> {
        let database = match &file {
            Some(file) => dynoxide::Database::new(&file.path),
            None => dynoxide::Database::memory(),
        };
        let database = database.map_err(|error| Error::Data {
            path: file
                .as_ref()
                .map(|file| file.path.clone())
                .unwrap_or_default()
                .into(),
            problem: error.to_string(),
        })?;
        let port = port.unwrap_or(0);
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .map_err(|error| Error::listen(error, "DYNAMODB_PORT", port))?;
        listener.set_nonblocking(true).map_err(Error::Listen)?;
        let address = listener.local_addr().map_err(Error::Listen)?;
        let access_key_id = if port == 0 {
            format!("LOCAL{}", Uuid::new_v4().simple()).to_uppercase()
        } else {
            FIXED_KEY_ID.to_owned()
        };
        let server = Arc::new(Server {
            database,
            access_key_id: access_key_id.clone(),
            path: file.as_ref().map(|file| file.path.clone()),
            logs,
        });
        // The database blocks its thread, one request after the other.
        let runtime = runtime::Builder::new_current_thread()
            .max_blocking_threads(1)
            .thread_name(NAME)
            .enable_all()
            .build()
            .map_err(Error::Listen)?;
        // It does not delay the gateway. The lock on the file is released after the database is
        // closed, unless another program keeps the database waiting.
        let serve = move || {
            runtime.block_on(server.serve(listener, stop));
            runtime.shutdown_timeout(STOP_TIMEOUT);
            drop(file);
        };
        // `scripts/load/run` finds the threads by their name.
        let thread = thread::Builder::new().name(NAME.to_owned()).spawn(serve);
        let thread = thread.map_err(Error::Listen)?;
        Ok(Self {
            endpoint: format!("http://{address}"),
            access_key_id,
            thread,
        })
    }

    /// Waits until the database is closed. Drop `stop`'s sender first.
    pub(crate) async fn stop(self) {
        let _ = spawn_blocking(|| self.thread.join()).await;
    }
}

struct Server {
    database: dynoxide::Database,
    access_key_id: String,
    /// The path of the file, if there is one.
    path: Option<String>,
    logs: Logs,
}

impl Server {
    /// Serves requests until `stop`'s sender is dropped, and those in progress for a moment longer.
    async fn serve(
        self: Arc<Self>,
        listener: std::net::TcpListener,
        mut stop: watch::Receiver<()>,
    ) {
        let Ok(listener) = TcpListener::from_std(listener) else {
            return;
        };
        let router = Router::new()
            .fallback(respond)
            .layer(DefaultBodyLimit::max(MAX_REQUEST))
            .with_state(self);
        let server = serve(listener, router, LIMITS, stop.clone());
        tokio::select! {
            () = server => {}
            () = async {
                let _ = stop.changed().await;
                sleep(STOP_TIMEOUT).await;
            } => {}
        }
    }

    /// Runs an operation as [`run`] does, and writes to the log what is wrong with the file.
    async fn run(
        self: Arc<Self>,
        operation: String,
        body: Bytes,
    ) -> Option<dynoxide::Result<String>> {
        let server = Arc::clone(&self);
        let mut running = spawn_blocking(move || run(&server.database, &operation, &body));
        let response = tokio::select! {
            response = &mut running => response,
            () = sleep(SLOW), if self.path.is_some() => {
                self.log("is slow: another program may have locked it");
                running.await
            }
        };
        let response = response.unwrap_or_else(|panic| {
            Some(Err(DynoxideError::InternalServerError(panic.to_string())))
        });
        if let Some(Err(error)) = &response
            && error.status_code() == 500
        {
            self.log(&format!("cannot be used: {error}"));
        }
        response
    }

    fn log(&self, problem: &str) {
        let path = self.path.as_deref().unwrap_or("the database");
        (self.logs)(NAME, &format!("{path} {problem}"));
    }

    /// Returns whether a request names this run's access key. Does not check the signature, because
    /// no other machine and no web page can know the key's id.
    fn is_authorized(&self, headers: &HeaderMap) -> bool {
        let id = headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok()?.split_once("Credential="))
            .and_then(|(_, credential)| credential.split('/').next());
        id == Some(&self.access_key_id)
    }
}

async fn respond(
    State(server): State<Arc<Server>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if let Err(rejection) = guard::check_internal(&uri, &headers) {
        return error(
            StatusCode::FORBIDDEN,
            "AccessDeniedException",
            &rejection.message,
        );
    }
    if !server.is_authorized(&headers) {
        return error(
            StatusCode::BAD_REQUEST,
            "UnrecognizedClientException",
            "use the credentials of this run, which the service printed when it started",
        );
    }
    let operation = headers
        .get("x-amz-target")
        .and_then(|target| target.to_str().ok()?.strip_prefix("DynamoDB_20120810."));
    let (Method::POST, Some(operation)) = (method, operation) else {
        return error(
            StatusCode::BAD_REQUEST,
            "UnknownOperationException",
            "POST the request with X-Amz-Target: DynamoDB_20120810.OPERATION",
        );
    };
    let unknown = format!("the embedded DynamoDB has no operation {operation}");
    match server.run(operation.to_owned(), body).await {
        Some(Ok(json)) => ([(CONTENT_TYPE, "application/x-amz-json-1.0")], json).into_response(),
        Some(Err(error)) => {
            let status = StatusCode::from_u16(error.status_code());
            let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            (
                status,
                [(CONTENT_TYPE, "application/x-amz-json-1.0")],
                error.to_json(),
            )
                .into_response()
        }
        None => error(
            StatusCode::BAD_REQUEST,
            "UnknownOperationException",
            &unknown,
        ),
    }
}

fn error(status: StatusCode, name: &str, message: &str) -> Response {
    let name = format!("com.amazonaws.dynamodb.v20120810#{name}");
    let body = json!({"__type": name, "message": message}).to_string();
    (status, [(CONTENT_TYPE, "application/x-amz-json-1.0")], body).into_response()
}

/// Runs an operation on tables or items. Returns `None` for any other operation.
fn run(
    database: &dynoxide::Database,
    operation: &str,
    body: &[u8],
) -> Option<dynoxide::Result<String>> {
    Some(match operation {
        "BatchGetItem" => json_call(body, |request| database.batch_get_item(request)),
        "BatchWriteItem" => json_call(body, |request| database.batch_write_item(request)),
        "CreateTable" => json_call(body, |request| database.create_table(request)),
        "DeleteItem" => json_call(body, |request| database.delete_item(request)),
        "DeleteTable" => json_call(body, |request| database.delete_table(request)),
        "DescribeTable" => json_call(body, |request| database.describe_table(request)),
        "DescribeTimeToLive" => json_call(body, |request| database.describe_time_to_live(request)),
        "ExecuteStatement" => json_call(body, |request| database.execute_statement(request)),
        "GetItem" => json_call(body, |request| database.get_item(request)),
        "ListTagsOfResource" => json_call(body, |request| database.list_tags_of_resource(request)),
        "ListTables" => json_call(body, |request| database.list_tables(request)),
        "PutItem" => json_call(body, |request| database.put_item(request)),
        "Query" => json_call(body, |request| database.query(request)),
        "Scan" => json_call(body, |request| database.scan(request)),
        "TransactGetItems" => json_call(body, |request| database.transact_get_items(request)),
        "TransactWriteItems" => json_call(body, |request| database.transact_write_items(request)),
        "UpdateItem" => json_call(body, |request| database.update_item(request)),
        "UpdateTable" => json_call(body, |request| database.update_table(request)),
        _ => return None,
    })
}

fn json_call<Q: DeserializeOwned, R: Serialize>(
    body: &[u8],
    operation: impl FnOnce(Q) -> dynoxide::Result<R>,
) -> dynoxide::Result<String> {
    let invalid = |error: serde_json::Error| {
        // dynoxide marks the errors of values that are well-formed JSON but invalid.
        let message = error.to_string();
        let marks = ["VALIDATION:", "VALIDATION_REQUEST:", "VALIDATION_AS_READ:"];
        match marks.iter().find_map(|mark| message.strip_prefix(mark)) {
            Some(message) => DynoxideError::ValidationException(message.to_owned()),
            None => DynoxideError::SerializationException(message),
        }
    };
    let response = operation(serde_json::from_slice(body).map_err(invalid)?)?;
    serde_json::to_string(&response)
        .map_err(|error| DynoxideError::InternalServerError(error.to_string()))
}
