//! One stage of an API Gateway REST API: which requests it accepts, and its own responses.

mod compression;
mod docs_page;
mod error;
mod event;
mod function_response;
mod request_log;
mod routing;
mod throttle;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Extension, Request, State};
use axum::http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_LENGTH, CONTENT_TYPE, ORIGIN};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;
use uuid::Uuid;

use crate::http::{Limits, Peer, guard, serve};
use crate::lambda::{Invocation, InvokeError, Processes};
use crate::template::{Mock, Template};
use compression::{compression, decompress};
use error::GatewayError;
use event::{add_headers, event};
use function_response::http_response;
use routing::{Matched, find};
use throttle::Bucket;

pub(crate) use docs_page::PATH as DOCS_PATH;
pub(crate) use event::new_trace_id;
pub use request_log::{RequestLog, Served};

/// The maximum size of a body, and of a request line with headers, in bytes
/// (<https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-execution-service-limits-table.html>).
const MAX_BODY: usize = 10 * 1024 * 1024;
const MAX_HEAD: usize = 10_240;
/// The maximum size of an event that Lambda accepts, in bytes
/// (<https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>). API Gateway passes
/// Lambda's 413 on as its own.
const MAX_EVENT: usize = 6 * 1024 * 1024;
/// How much of a body that is too large is read, in bytes, so that its sender can then read the
/// response.
const MAX_DRAINED: usize = 64 * 1024 * 1024;

/// How long a stage waits.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For the next request of a connection, and for the rest of its head.
    pub head: Duration,
    /// For the whole body of a request.
    pub body: Duration,
    /// For a function: API Gateway's limit
    /// (<https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-execution-service-limits-table.html>).
    pub integration: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            head: Duration::from_mins(1),
            body: Duration::from_secs(30),
            integration: Duration::from_secs(29),
        }
    }
}

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");

/// One stage of a REST API.
pub(crate) struct Gateway {
    template: Template,
    functions: Arc<Processes>,
    address: SocketAddr,
    api_key: Option<String>,
    /// The origins whose pages may use the API.
    origins: Vec<HeaderValue>,
    /// For each route, and then for each mock.
    buckets: Vec<Option<Bucket>>,
    key_bucket: Option<Bucket>,
    timeouts: Timeouts,
    requests: RequestLog,
}

impl Gateway {
    /// Returns a stage that listens on `address`, and whose requests need `api_key` where the
    /// template says so.
    pub(crate) fn new(
        template: Template,
        functions: Arc<Processes>,
        address: SocketAddr,
        api_key: Option<String>,
        timeouts: Timeouts,
        requests: RequestLog,
    ) -> Self {
        let now = Instant::now();
        let bucket = |throttle| Bucket::new(throttle, now);
        let routes = template.routes.iter().map(|route| route.throttle);
        let mocks = template.mocks.iter().map(|_| None);
        let buckets = routes
            .chain(mocks)
            .map(|own| own.or(template.throttle).map(bucket))
            .collect();
        let key_bucket = template.key_throttle.map(bucket);
        // The preflight response of each path has the same ones.
        let origins = template.mocks.iter().flat_map(|mock| &mock.origins);
        let origins: BTreeSet<_> = origins.cloned().collect();
        let origins = origins.into_iter().collect();
        Self {
            template,
            functions,
            address,
            api_key,
            origins,
            buckets,
            key_bucket,
            timeouts,
            requests,
        }
    }

    /// Serves requests until `stop`'s sender is dropped and the last response is sent.
    pub(crate) async fn serve(self, listener: TcpListener, stop: watch::Receiver<()>) {
        let compression = compression(self.template.minimum_compression_size);
        let limits = Limits {
            idle: self.timeouts.head,
            // Some clients close their side after a request, and wait for the response.
            half_close: true,
        };
        let router = Router::new()
            .fallback(serve_request)
            .layer(compression)
            .with_state(Arc::new(self));
        serve(listener, router, limits, stop).await;
    }

    async fn respond(
        &self,
        request: Request,
        Peer(peer): Peer,
        request_id: &str,
    ) -> Result<Response, GatewayError> {
        check_head(&request)?;
        let (mut parts, body) = request.into_parts();
        let path = parts.uri.path().to_owned();
        let Template {
            stage,
            routes,
            mocks,
            ..
        } = &self.template;
        // Whoever can reach this service over a network has to know the key.
        let key = self.api_key.as_deref();
        let key = key.filter(|_| self.address.ip().is_loopback());
        let page = docs_page::respond(&parts.method, &path, &parts.headers, stage, key);
        if let Some(response) = page {
            return Ok(response);
        }
        let methods = mocks
            .iter()
            .map(|mock| (mock.method.as_str(), mock.path.as_str()));
        if let Some(Matched { index, .. }) = find(stage, methods, &parts.method, &path) {
            throttle(self.buckets[routes.len() + index].as_ref())?;
            return Ok(mock_response(&mocks[index], &parts.headers));
        }
        let methods = routes
            .iter()
            .map(|route| (route.method.as_str(), route.path.as_str()));
        let matched = find(stage, methods, &parts.method, &path)
            .ok_or(GatewayError::MissingAuthenticationToken)?;
        let route = &routes[matched.index];
        if route.needs_key {
            self.check_key(&parts.headers)?;
        }
        throttle(self.buckets[matched.index].as_ref())?;
        let body = read_body(&parts.headers, body, self.timeouts.body).await?;
        let body = decompress(&mut parts.headers, body)?;

        let client = peer.ip();
        let trace_id = add_headers(&mut parts.headers, client, self.address.port());
        let event = event(
            stage,
            &matched,
            &parts,
            &body,
            client,
            request_id,
            Timestamp::now(),
        )
        .to_string();
        drop(body);
        if event.len() > MAX_EVENT {
            return Err(GatewayError::RequestTooLarge);
        }
        let invocation = Invocation {
            event: event.into(),
            request_id: request_id.to_owned(),
            trace_id,
        };
        self.invoke(&route.function, invocation).await
    }

    async fn invoke(
        &self,
        function: &str,
        invocation: Invocation,
    ) -> Result<Response, GatewayError> {
        let limit = self.timeouts.integration;
        let response = timeout(limit, self.functions.invoke(function, invocation));
        let Ok(response) = response.await else {
            let seconds = limit.as_secs();
            let problem = format!("the function did not respond in {seconds} seconds");
            self.functions.log_line(function, &problem);
            return Err(GatewayError::IntegrationTimeout);
        };
        // Lambda reports a function that exceeds its own, shorter timeout as failed.
        let response = response.map_err(|error: InvokeError| {
            self.functions.log_line(function, &error.to_string());
            GatewayError::BadGateway
        })?;
        http_response(&response).ok_or_else(|| {
            self.functions.log_line(
                function,
                "the function's response is not valid for a Lambda proxy integration",
            );
            GatewayError::BadGateway
        })
    }

    fn check_key(&self, headers: &HeaderMap) -> Result<(), GatewayError> {
        let sent = headers.get(API_KEY).map(HeaderValue::as_bytes);
        if sent.is_none() || sent != self.api_key.as_deref().map(str::as_bytes) {
            return Err(GatewayError::InvalidApiKey);
        }
        throttle(self.key_bucket.as_ref())
    }
}

const TOO_LARGE: &str = "the request line and headers together can have at most 10,240 bytes";

async fn serve_request(
    State(gateway): State<Arc<Gateway>>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Response {
    let start = Instant::now();
    let request_id = Uuid::new_v4().to_string();
    let mut served = Served::new(&request, &gateway.template.stage);
    let (address, origins) = (gateway.address.ip(), &gateway.origins);
    let mut response = match guard::check(request.uri(), request.headers(), address, origins) {
        Ok(()) => gateway
            .respond(request, peer, &request_id)
            .await
            .unwrap_or_else(|error| error.response(&gateway.template.gateway_responses)),
        Err(rejection) => rejection.into_response(),
    };
    if let Ok(request_id) = HeaderValue::from_str(&request_id) {
        response.headers_mut().insert(REQUEST_ID, request_id);
    }
    served.finish(&mut response, start.elapsed()).await;
    (gateway.requests)(&served);
    response
}

/// Counts a request against a throttle, if there is one.
fn throttle(bucket: Option<&Bucket>) -> Result<(), GatewayError> {
    match bucket {
        Some(bucket) if !bucket.take(Instant::now()) => Err(GatewayError::Throttled),
        _ => Ok(()),
    }
}

/// Checks the size of a request's head.
fn check_head(request: &Request) -> Result<(), GatewayError> {
    let headers = request.headers();
    let line = request.method().as_str().len() + request.uri().to_string().len();
    // Spaces, the version and the line breaks that the parsed request no longer has.
    let line = line + "  HTTP/1.1\r\n\r\n".len();
    let fields = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4);
    if line + fields.sum::<usize>() > MAX_HEAD {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return Err(GatewayError::Protocol(status, TOO_LARGE.to_owned()));
    }
    Ok(())
}

/// Reads a whole body. Reads and discards one that is too large, up to a limit, because a client
/// that is still sending would see a broken connection instead of the response.
async fn read_body(
    headers: &HeaderMap,
    mut body: Body,
    limit: Duration,
) -> Result<Bytes, GatewayError> {
    let announced = headers
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > MAX_DRAINED) {
        return Err(GatewayError::RequestTooLarge);
    }
    let invalid = |status, message: &str| GatewayError::Protocol(status, message.to_owned());
    let reading = async {
        let (mut read, mut length) = (Vec::new(), 0);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| {
                let message = "the body is incomplete, or its encoding is invalid";
                invalid(StatusCode::BAD_REQUEST, message)
            })?;
            let data = frame.into_data().unwrap_or_default();
            length += data.len();
            if length > MAX_DRAINED {
                break;
            }
            if length <= MAX_BODY {
                read.extend_from_slice(&data);
            }
        }
        if length > MAX_BODY {
            Err(GatewayError::RequestTooLarge)
        } else {
            Ok(read.into())
        }
    };
    timeout(limit, reading).await.unwrap_or_else(|_| {
        Err(invalid(
            StatusCode::REQUEST_TIMEOUT,
            "the body did not arrive within 30 seconds",
        ))
    })
}

fn mock_response(mock: &Mock, request: &HeaderMap) -> Response {
    let mut headers = mock.headers.clone();
    let allowed = mock
        .origins
        .iter()
        .find(|allowed| *allowed == "*" || Some(*allowed) == request.get(ORIGIN));
    if let Some(allowed) = allowed {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowed.clone());
    }
    headers
        .entry(CONTENT_TYPE)
        .or_insert(HeaderValue::from_static("application/json"));
    (mock.status, headers).into_response()
}
