//! Lambda's Runtime API, for one function process
//! (<https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>).

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderName};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{Notify, SetOnce, oneshot, watch};
use tokio::task::JoinHandle;

use crate::http::{Limits, guard, serve};

/// The maximum size of a function's response that Lambda accepts, in bytes.
const MAX_RESPONSE: usize = 6_291_556;

/// A process keeps its connection while it works. The request of a process that has exited is
/// cancelled, so that it takes no invocation.
const LIMITS: Limits = Limits {
    idle: Duration::from_mins(20),
    half_close: false,
};

const ACCEPTED: &str = r#"{"status":"OK"}"#;
const INVALID_REQUEST_ID: &str =
    r#"{"errorMessage":"Invalid request ID","errorType":"InvalidRequestID"}"#;
const RESPONSE_TOO_LARGE: &str = concat!(
    r#"{"errorMessage":"Exceeded maximum allowed payload size (6291556 bytes).","#,
    r#""errorType":"RequestEntityTooLarge"}"#,
);

/// What a function is invoked with.
#[derive(Clone)]
pub struct Invocation {
    /// The event, as JSON text.
    pub event: Bytes,
    /// The request id that the function logs.
    pub request_id: String,
    /// The value of `X-Amzn-Trace-Id`.
    pub trace_id: String,
}

/// A function's response, or the error that it reported, as JSON text.
pub(crate) type Outcome = Result<Bytes, String>;

/// The Runtime API for one process. Its address identifies the process.
pub struct RuntimeApi {
    address: SocketAddr,
    process: Arc<Process>,
    server: JoinHandle<()>,
    _stop: watch::Sender<()>,
}

/// The state of the process that the API serves.
struct Process {
    function_arn: String,
    /// Set when the process asks for its first invocation, or reports why it cannot.
    initialised: SetOnce<Result<(), String>>,
    invocation: Mutex<Slots>,
    offered: Notify,
}

/// Where an invocation is.
#[derive(Default)]
struct Slots {
    /// The process has not fetched it yet.
    offered: Option<Offer>,
    /// The process works on it, under this request id.
    running: Option<(String, oneshot::Sender<Outcome>)>,
}

struct Offer {
    invocation: Invocation,
    deadline: SystemTime,
    outcome: oneshot::Sender<Outcome>,
}

impl RuntimeApi {
    /// Starts the API for a process of the function with this ARN, on a free loopback port.
    ///
    /// # Errors
    /// If no port is free.
    pub async fn start(function_arn: String) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let process = Arc::new(Process {
            function_arn,
            initialised: SetOnce::new(),
            invocation: Mutex::default(),
            offered: Notify::new(),
        });
        let router = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route(
                "/2018-06-01/runtime/invocation/{id}/response",
                post(response),
            )
            .route("/2018-06-01/runtime/invocation/{id}/error", post(error))
            .route("/2018-06-01/runtime/init/error", post(init_error))
            .layer(DefaultBodyLimit::max(MAX_RESPONSE))
            .layer(from_fn(only_programs))
            .with_state(Arc::clone(&process));
        let (stop, stopped) = watch::channel(());
        let server = tokio::spawn(serve(listener, router, LIMITS, stopped));
        Ok(Self {
            address,
            process,
            server,
            _stop: stop,
        })
    }

    /// Returns the value of `AWS_LAMBDA_RUNTIME_API`.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until the process asks for its first invocation.
    ///
    /// # Errors
    /// The error that the process reports instead, as JSON text.
    pub fn initialised(&self) -> impl Future<Output = Result<(), String>> + use<> {
        let process = Arc::clone(&self.process);
        async move { process.initialised.wait().await.clone() }
    }

    /// Gives the process an invocation as soon as it asks for one. The receiver fails if the
    /// process disconnects in the middle of its response.
    pub fn offer(
        &self,
        invocation: &Invocation,
        deadline: SystemTime,
    ) -> oneshot::Receiver<Outcome> {
        let (outcome, receiver) = oneshot::channel();
        let invocation = invocation.clone();
        self.process.lock().offered = Some(Offer {
            invocation,
            deadline,
            outcome,
        });
        self.process.offered.notify_one();
        receiver
    }

    /// Returns whether the process, which has exited, did not ask for its invocation. If so, another
    /// process can serve it.
    pub(crate) fn unfetched(&self) -> bool {
        self.process.lock().offered.is_some()
    }
}

impl Drop for RuntimeApi {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Process {
    fn lock(&self) -> MutexGuard<'_, Slots> {
        self.invocation
            .lock()
            .expect("nothing panics while it holds this lock")
    }

    /// Returns the response that hands out the offered invocation, if there is one.
    fn fetch(&self) -> Option<Response> {
        let mut slots = self.lock();
        let Offer {
            invocation,
            deadline,
            outcome,
        } = slots.offered.take()?;
        let id = invocation.request_id;
        slots.running = Some((id.clone(), outcome));
        let deadline = deadline
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_millis();
        let headers = [
            ("content-type", "application/json".to_owned()),
            ("lambda-runtime-aws-request-id", id),
            ("lambda-runtime-deadline-ms", deadline.to_string()),
            (
                "lambda-runtime-invoked-function-arn",
                self.function_arn.clone(),
            ),
            ("lambda-runtime-trace-id", invocation.trace_id),
        ];
        Some(
            (
                headers.map(|(name, value)| (HeaderName::from_static(name), value)),
                invocation.event,
            )
                .into_response(),
        )
    }

    /// Returns the sender for the outcome of the invocation `id`, if the process works on it.
    fn finish(&self, id: &str) -> Option<oneshot::Sender<Outcome>> {
        self.lock()
            .running
            .take_if(|(running, _)| running == id)
            .map(|(_, outcome)| outcome)
    }
}

/// Rejects requests that a browser may have sent.
async fn only_programs(request: Request, next: Next) -> Response {
    match guard::check_internal(request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(rejection) => {
            let body = json!({"errorMessage": rejection.message, "errorType": rejection.code});
            (StatusCode::FORBIDDEN, Json(body)).into_response()
        }
    }
}

async fn next(State(process): State<Arc<Process>>) -> Response {
    // Fails after the first request, because the value is already set.
    let _ = process.initialised.set(Ok(()));
    loop {
        if let Some(response) = process.fetch() {
            return response;
        }
        process.offered.notified().await;
    }
}

async fn response(
    State(process): State<Arc<Process>>,
    Path(id): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let Some(outcome) = process.finish(&id) else {
        return status(StatusCode::BAD_REQUEST, INVALID_REQUEST_ID);
    };
    match body {
        Ok(body) => {
            // Fails if the invocation has just timed out.
            let _ = outcome.send(Ok(body));
            status(StatusCode::ACCEPTED, ACCEPTED)
        }
        Err(rejection) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            let _ = outcome.send(Err(RESPONSE_TOO_LARGE.to_owned()));
            status(StatusCode::PAYLOAD_TOO_LARGE, RESPONSE_TOO_LARGE)
        }
        Err(rejection) => rejection.into_response(),
    }
}

async fn error(
    State(process): State<Arc<Process>>,
    Path(id): Path<String>,
    body: Bytes,
) -> Response {
    let Some(outcome) = process.finish(&id) else {
        return status(StatusCode::BAD_REQUEST, INVALID_REQUEST_ID);
    };
    let _ = outcome.send(Err(String::from_utf8_lossy(&body).into_owned()));
    status(StatusCode::ACCEPTED, ACCEPTED)
}

async fn init_error(State(process): State<Arc<Process>>, body: Bytes) -> Response {
    let _ = process
        .initialised
        .set(Err(String::from_utf8_lossy(&body).into_owned()));
    status(StatusCode::ACCEPTED, ACCEPTED)
}

fn status(status: StatusCode, body: &'static str) -> Response {
    (status, [(CONTENT_TYPE, "application/json")], body).into_response()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::body::{Body, to_bytes};
    use axum::http::{HeaderMap, Method, Request};
    use hyper_util::client::legacy::Client;
    use hyper_util::rt::TokioExecutor;

    use super::*;

    const ARN: &str = "arn:aws:lambda:us-east-1:123456789012:function:test";

    async fn start() -> RuntimeApi {
        RuntimeApi::start(ARN.to_owned())
            .await
            .expect("a port is free")
    }

    fn offer(api: &RuntimeApi) -> oneshot::Receiver<Outcome> {
        let invocation = Invocation {
            event: Bytes::from_static(b"{}"),
            request_id: "request-1".to_owned(),
            trace_id: "Root=1".to_owned(),
        };
        api.offer(&invocation, UNIX_EPOCH + Duration::from_millis(1234))
    }

    /// Sends a request to the API, as a function process does.
    async fn send(
        api: &RuntimeApi,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> (StatusCode, HeaderMap, Bytes) {
        let uri = format!("http://{}/2018-06-01/runtime/{path}", api.address());
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .body(Body::from(body))
            .expect("the request is valid");
        let client = Client::builder(TokioExecutor::new()).build_http::<Body>();
        let (parts, body) = client
            .request(request)
            .await
            .expect("the API responds")
            .into_parts();
        let body = to_bytes(Body::new(body), usize::MAX)
            .await
            .expect("the body is complete");
        (parts.status, parts.headers, body)
    }

    /// Fetches the offered invocation, and returns its request id.
    async fn fetch(api: &RuntimeApi) -> String {
        let (_, headers, _) = send(api, Method::GET, "invocation/next", Vec::new()).await;
        headers["lambda-runtime-aws-request-id"]
            .to_str()
            .expect("the id is text")
            .to_owned()
    }

    #[tokio::test]
    async fn a_process_fetches_an_offered_invocation_and_responds_once() {
        let api = start().await;
        let outcome = offer(&api);
        assert!(api.unfetched());
        let (status, headers, body) = send(&api, Method::GET, "invocation/next", Vec::new()).await;
        assert!(!api.unfetched());
        assert_eq!(api.initialised().await, Ok(()));
        assert_eq!((status, body.as_ref()), (StatusCode::OK, b"{}".as_slice()));
        assert_eq!(headers["lambda-runtime-aws-request-id"], "request-1");
        assert_eq!(headers["lambda-runtime-deadline-ms"], "1234");
        assert_eq!(headers["lambda-runtime-invoked-function-arn"], ARN);
        assert_eq!(headers["lambda-runtime-trace-id"], "Root=1");

        let id = headers["lambda-runtime-aws-request-id"]
            .to_str()
            .expect("the id is text");
        let response = format!("invocation/{id}/response");
        assert_eq!(
            send(&api, Method::POST, &response, b"[1]".to_vec()).await.0,
            StatusCode::ACCEPTED
        );
        assert_eq!(outcome.await, Ok(Ok(Bytes::from_static(b"[1]"))));
        let (status, _, body) = send(&api, Method::POST, &response, b"[2]".to_vec()).await;
        assert_eq!(
            (status, body.as_ref()),
            (StatusCode::BAD_REQUEST, INVALID_REQUEST_ID.as_bytes())
        );
    }

    #[tokio::test]
    async fn a_process_that_asks_early_gets_the_invocation_that_is_offered_later() {
        let api = start().await;
        let invocation = async {
            api.initialised().await.expect("the process asks");
            offer(&api).await
        };
        let process = async {
            let error = format!("invocation/{}/error", fetch(&api).await);
            send(&api, Method::POST, &error, b"reason".to_vec()).await.0
        };
        assert_eq!(
            tokio::join!(invocation, process),
            (Ok(Err("reason".to_owned())), StatusCode::ACCEPTED)
        );
    }

    #[tokio::test]
    async fn a_response_above_lambdas_limit_is_rejected_and_fails_the_invocation() {
        let api = start().await;
        let outcome = offer(&api);
        let response = format!("invocation/{}/response", fetch(&api).await);
        let (status, _, body) =
            send(&api, Method::POST, &response, vec![b'x'; MAX_RESPONSE + 1]).await;
        assert_eq!(
            (status, body.as_ref()),
            (StatusCode::PAYLOAD_TOO_LARGE, RESPONSE_TOO_LARGE.as_bytes())
        );
        assert_eq!(outcome.await, Ok(Err(RESPONSE_TOO_LARGE.to_owned())));

        let outcome = offer(&api);
        let response = format!("invocation/{}/response", fetch(&api).await);
        assert_eq!(
            send(&api, Method::POST, &response, vec![b'x'; MAX_RESPONSE])
                .await
                .0,
            StatusCode::ACCEPTED
        );
        assert_eq!(
            outcome.await.map(|outcome| outcome.map(|body| body.len())),
            Ok(Ok(MAX_RESPONSE))
        );
    }

    #[tokio::test]
    async fn a_browser_gets_no_invocation() {
        let api = start().await;
        let _outcome = offer(&api);
        for header in ["origin", "sec-fetch-site"] {
            let uri = format!(
                "http://{}/2018-06-01/runtime/invocation/next",
                api.address()
            );
            let request = Request::get(uri).header(header, "null").body(Body::empty());
            let client = Client::builder(TokioExecutor::new()).build_http::<Body>();
            let response = client
                .request(request.expect("a request"))
                .await
                .expect("a response");
            assert_eq!(response.status(), StatusCode::FORBIDDEN);
        }
        assert!(api.unfetched());
    }

    #[tokio::test]
    async fn a_process_that_cannot_initialise_says_why() {
        let api = start().await;
        send(&api, Method::POST, "init/error", b"reason".to_vec()).await;
        assert_eq!(api.initialised().await, Err("reason".to_owned()));
    }
}
