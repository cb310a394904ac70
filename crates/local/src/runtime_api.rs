//! Lambda's Runtime API, for one function process
//! (<https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>).

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderName};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tokio::sync::{Notify, SetOnce, oneshot};
use tokio::task::JoinHandle;
use uuid::Uuid;

/// The largest response of a function, in bytes, that Lambda takes.
const MAX_RESPONSE: usize = 6_291_556;

const ACCEPTED: &str = r#"{"status":"OK"}"#;
const INVALID_REQUEST_ID: &str =
    r#"{"errorMessage":"Invalid request ID","errorType":"InvalidRequestID"}"#;
const RESPONSE_TOO_LARGE: &str = r#"{"errorMessage":"Exceeded maximum allowed payload size (6291556 bytes).","errorType":"RequestEntityTooLarge"}"#;

/// What a function is invoked with.
pub(crate) struct Invocation {
    pub(crate) event: Bytes,
    /// The value of `X-Amzn-Trace-Id`.
    pub(crate) trace_id: String,
}

/// The response of a function, or the error it reported, as JSON text.
pub(crate) type Answer = Result<Bytes, String>;

/// The API at an address of its own, so that its process cannot be taken for another.
pub(crate) struct RuntimeApi {
    address: SocketAddr,
    process: Arc<Process>,
    server: JoinHandle<()>,
}

/// What is known of the process.
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
    running: Option<(String, oneshot::Sender<Answer>)>,
}

struct Offer {
    event: Bytes,
    trace_id: String,
    deadline: SystemTime,
    answer: oneshot::Sender<Answer>,
}

impl RuntimeApi {
    pub(crate) async fn start(function_arn: String) -> io::Result<Self> {
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
            .route("/2018-06-01/runtime/invocation/{id}/response", post(response))
            .route("/2018-06-01/runtime/invocation/{id}/error", post(error))
            .route("/2018-06-01/runtime/init/error", post(init_error))
            .layer(DefaultBodyLimit::max(MAX_RESPONSE))
            .with_state(Arc::clone(&process));
        let server =
            tokio::spawn(async { axum::serve(listener, router).await.unwrap_or_default() });
        Ok(Self { address, process, server })
    }

    /// The value of `AWS_LAMBDA_RUNTIME_API`.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until the process asks for its first invocation, or reports an error instead.
    pub(crate) fn initialised(&self) -> impl Future<Output = Result<(), String>> + use<> {
        let process = Arc::clone(&self.process);
        async move { process.initialised.wait().await.clone() }
    }

    /// Gives the process an invocation as soon as it asks for one. The receiver fails when the process breaks off while
    /// it answers.
    pub(crate) fn offer(
        &self,
        invocation: &Invocation,
        deadline: SystemTime,
    ) -> oneshot::Receiver<Answer> {
        let (answer, receiver) = oneshot::channel();
        self.process.lock().offered = Some(Offer {
            event: invocation.event.clone(),
            trace_id: invocation.trace_id.clone(),
            deadline,
            answer,
        });
        self.process.offered.notify_one();
        receiver
    }

    /// Whether the process has not fetched what it was offered.
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
        self.invocation.lock().expect("nothing panics while it holds this lock")
    }

    /// The response that hands out what is offered, if anything is.
    fn fetch(&self) -> Option<Response> {
        let mut slots = self.lock();
        let offer = slots.offered.take()?;
        let id = Uuid::new_v4().to_string();
        slots.running = Some((id.clone(), offer.answer));
        let deadline = offer.deadline.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let headers = [
            ("content-type", "application/json".to_owned()),
            ("lambda-runtime-aws-request-id", id),
            ("lambda-runtime-deadline-ms", deadline.to_string()),
            ("lambda-runtime-invoked-function-arn", self.function_arn.clone()),
            ("lambda-runtime-trace-id", offer.trace_id),
        ];
        Some(
            (headers.map(|(name, value)| (HeaderName::from_static(name), value)), offer.event)
                .into_response(),
        )
    }

    /// Where the answer to the invocation `id` goes, if the process works on it.
    fn finish(&self, id: &str) -> Option<oneshot::Sender<Answer>> {
        self.lock().running.take_if(|(running, _)| running == id).map(|(_, answer)| answer)
    }
}

async fn next(State(process): State<Arc<Process>>) -> Response {
    // Set already, except by the first request.
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
    let Some(answer) = process.finish(&id) else {
        return status(StatusCode::BAD_REQUEST, INVALID_REQUEST_ID);
    };
    match body {
        Ok(body) => {
            // Nobody waits for it any more when the invocation has just timed out.
            let _ = answer.send(Ok(body));
            status(StatusCode::ACCEPTED, ACCEPTED)
        }
        Err(rejection) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            let _ = answer.send(Err(RESPONSE_TOO_LARGE.to_owned()));
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
    let Some(answer) = process.finish(&id) else {
        return status(StatusCode::BAD_REQUEST, INVALID_REQUEST_ID);
    };
    let _ = answer.send(Err(String::from_utf8_lossy(&body).into_owned()));
    status(StatusCode::ACCEPTED, ACCEPTED)
}

async fn init_error(State(process): State<Arc<Process>>, body: Bytes) -> Response {
    let _ = process.initialised.set(Err(String::from_utf8_lossy(&body).into_owned()));
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
        RuntimeApi::start(ARN.to_owned()).await.expect("a port is free")
    }

    fn offer(api: &RuntimeApi) -> oneshot::Receiver<Answer> {
        let invocation =
            Invocation { event: Bytes::from_static(b"{}"), trace_id: "Root=1".to_owned() };
        api.offer(&invocation, UNIX_EPOCH + Duration::from_millis(1234))
    }

    /// What a function process does: it sends a request to the API.
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
        let (parts, body) = client.request(request).await.expect("the API answers").into_parts();
        let body = to_bytes(Body::new(body), usize::MAX).await.expect("the body is complete");
        (parts.status, parts.headers, body)
    }

    /// Fetches what is offered, and gives its request id.
    async fn fetch(api: &RuntimeApi) -> String {
        let (_, headers, _) = send(api, Method::GET, "invocation/next", Vec::new()).await;
        headers["lambda-runtime-aws-request-id"].to_str().expect("the id is text").to_owned()
    }

    #[tokio::test]
    async fn a_process_fetches_what_it_is_offered_and_answers_once() {
        let api = start().await;
        let answer = offer(&api);
        assert!(api.unfetched());
        let (status, headers, body) = send(&api, Method::GET, "invocation/next", Vec::new()).await;
        assert!(!api.unfetched());
        assert_eq!(api.initialised().await, Ok(()));
        assert_eq!((status, body.as_ref()), (StatusCode::OK, b"{}".as_slice()));
        assert_eq!(headers["lambda-runtime-deadline-ms"], "1234");
        assert_eq!(headers["lambda-runtime-invoked-function-arn"], ARN);
        assert_eq!(headers["lambda-runtime-trace-id"], "Root=1");

        let id = headers["lambda-runtime-aws-request-id"].to_str().expect("the id is text");
        let response = format!("invocation/{id}/response");
        assert_eq!(
            send(&api, Method::POST, &response, b"[1]".to_vec()).await.0,
            StatusCode::ACCEPTED
        );
        assert_eq!(answer.await, Ok(Ok(Bytes::from_static(b"[1]"))));
        let (status, _, body) = send(&api, Method::POST, &response, b"[2]".to_vec()).await;
        assert_eq!(
            (status, body.as_ref()),
            (StatusCode::BAD_REQUEST, INVALID_REQUEST_ID.as_bytes())
        );
    }

    #[tokio::test]
    async fn a_process_that_asks_early_gets_what_is_offered_later() {
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
    async fn a_response_of_more_than_lambdas_limit_is_refused_and_fails_the_invocation() {
        let api = start().await;
        let answer = offer(&api);
        let response = format!("invocation/{}/response", fetch(&api).await);
        let (status, _, body) =
            send(&api, Method::POST, &response, vec![b'x'; MAX_RESPONSE + 1]).await;
        assert_eq!(
            (status, body.as_ref()),
            (StatusCode::PAYLOAD_TOO_LARGE, RESPONSE_TOO_LARGE.as_bytes())
        );
        assert_eq!(answer.await, Ok(Err(RESPONSE_TOO_LARGE.to_owned())));

        let answer = offer(&api);
        let response = format!("invocation/{}/response", fetch(&api).await);
        assert_eq!(
            send(&api, Method::POST, &response, vec![b'x'; MAX_RESPONSE]).await.0,
            StatusCode::ACCEPTED
        );
        assert_eq!(answer.await.map(|answer| answer.map(|body| body.len())), Ok(Ok(MAX_RESPONSE)));
    }

    #[tokio::test]
    async fn a_process_that_cannot_initialise_says_why() {
        let api = start().await;
        send(&api, Method::POST, "init/error", b"reason".to_vec()).await;
        assert_eq!(api.initialised().await, Err("reason".to_owned()));
    }
}
