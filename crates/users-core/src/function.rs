//! What happens once per process: logging, the client and its connection, and the loop that answers invocations.

use std::env;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use lambda_http::http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, HOST, HeaderName, HeaderValue,
};
use lambda_http::request::LambdaRequest;
use lambda_http::tower::ServiceExt;
use lambda_http::{Adapter, Body, LambdaEvent, Request, Response, service_fn};
use lambda_runtime::Error;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use crate::client::{client, endpoint_from_env};
use crate::store::Store;

/// The environment variable with the name of the table.
pub const TABLE_VARIABLE: &str = "USERS_TABLE";

/// The name of the table where the variable has none.
const DEFAULT_TABLE: &str = "user-profiles";

/// The environment variable with the origin whose pages may use the API from a browser; none where it is empty.
pub const ORIGIN_VARIABLE: &str = "CORS_ALLOW_ORIGIN";

/// Answers invocations with this handler for as long as Lambda wants.
///
/// The environment variables that count are those of the README, and what Lambda itself sets.
///
/// # Errors
///
/// If Lambda's Runtime API cannot be reached.
///
/// # Panics
///
/// If an environment variable is missing that Lambda sets.
pub async fn run<F>(handler: fn(Store, Request) -> F) -> Result<(), Error>
where
    F: Future<Output = Response<Body>> + Send + 'static,
{
    log();
    let table = env::var(TABLE_VARIABLE).unwrap_or_else(|_| DEFAULT_TABLE.to_owned());
    let store = client(endpoint_from_env().as_deref()).map(|client| Store::new(client, &table));
    if let Ok(store) = &store {
        store.connect().await;
    }

    let origin = env::var(ORIGIN_VARIABLE)
        .ok()
        .and_then(|origin| HeaderValue::try_from(origin).ok())
        .filter(|origin| !origin.is_empty());
    let service = service_fn(move |request: Request| {
        let response = store.clone().map(|store| handler(store, request));
        let origin = origin.clone();
        async {
            let response = match response {
                Ok(response) => response.await,
                Err(error) => crate::Error::Internal(error.into()).into_response(),
            };
            Ok::<_, Error>(allow(response, origin))
        }
    });
    lambda_runtime::run(Adapter::from(service).map_request(without_hazards)).await
}

/// Lets scripts on pages of this origin, or of any for `*`, read the response (<https://fetch.spec.whatwg.org/#http-cors-protocol>).
/// API Gateway answers the preflight requests, but has no say over a function's response.
fn allow(mut response: Response<Body>, origin: Option<HeaderValue>) -> Response<Body> {
    if let Some(origin) = origin {
        response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        response.headers_mut().insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("Link, Retry-After"));
    }
    response
}

/// Writes the log to standard output, with the id of the request: as JSON where `AWS_LAMBDA_LOG_FORMAT` asks for it, from
/// the level on that `AWS_LAMBDA_LOG_LEVEL` names.
///
/// <https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-advanced.html>
fn log() {
    let level = match env::var("AWS_LAMBDA_LOG_LEVEL").as_deref() {
        Ok("FATAL") => LevelFilter::ERROR,
        Ok(name) => LevelFilter::from_str(name).unwrap_or(LevelFilter::INFO),
        Err(_) => LevelFilter::INFO,
    };
    // The SDK and the runtime log whole requests and events, and so users, at finer levels.
    let levels = Targets::new().with_default(level.min(LevelFilter::INFO)).with_target(env!("CARGO_CRATE_NAME"), level);
    let json = env::var("AWS_LAMBDA_LOG_FORMAT").is_ok_and(|format| format.eq_ignore_ascii_case("json"));
    let layer = if json {
        fmt::layer().json().flatten_event(true).with_span_list(false).boxed()
    } else {
        fmt::layer().with_ansi(false).without_time().boxed()
    };
    tracing_subscriber::registry().with(layer.with_filter(levels)).init();
}

/// The same event without what `lambda_http` would panic over, none of which the handlers look at: a host and a protocol
/// that make no URL, and a body that is not the base64 it is said to be, which counts as missing.
fn without_hazards(mut event: LambdaEvent<LambdaRequest>) -> LambdaEvent<LambdaRequest> {
    if let LambdaRequest::ApiGatewayV1(request) = &mut event.payload {
        request.headers.remove(HOST);
        request.headers.remove(HeaderName::from_static("x-forwarded-proto"));
        request.request_context.domain_name = None;
        if request.is_base64_encoded && request.body.as_ref().is_some_and(|body| BASE64.decode(body).is_err()) {
            request.body = None;
        }
    }
    event
}
