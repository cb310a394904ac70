//! What happens once per process: logging, the client and its connection, and the loop that answers invocations.

use std::env;
use std::str::FromStr;

use base64_simd::STANDARD as BASE64;
use lambda_http::aws_lambda_events::apigw::ApiGatewayProxyResponse;
use lambda_http::http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue,
};
use lambda_http::request::{LambdaRequest, RequestContext};
use lambda_http::{Body, LambdaEvent, Request, RequestExt, Response, service_fn};
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
    let service = service_fn(move |event: LambdaEvent<LambdaRequest>| {
        let request = request(event);
        let response = store.clone().map(|store| Box::pin(handler(store, request)));
        let origin = origin.clone();
        async {
            let response = match response {
                Ok(response) => response.await,
                Err(error) => crate::Error::Internal(error.into()).into_response(),
            };
            Ok::<_, Error>(proxy_response(allow(response, origin)))
        }
    });
    lambda_runtime::run(service).await
}

/// The response as API Gateway wants it. `lambda_http` would do that too, and bring the tables of all character encodings
/// along.
fn proxy_response(response: Response<Body>) -> ApiGatewayProxyResponse {
    let (parts, body) = response.into_parts();
    let mut response = ApiGatewayProxyResponse::default();
    response.status_code = parts.status.as_u16().into();
    response.multi_value_headers = parts.headers;
    response.body = Some(body);
    response
}

/// Lets scripts on pages of this origin, or of any for `*`, read the response (<https://fetch.spec.whatwg.org/#http-cors-protocol>).
/// API Gateway answers the preflight requests, but has no say over a function's response.
fn allow(mut response: Response<Body>, origin: Option<HeaderValue>) -> Response<Body> {
    if let Some(origin) = origin {
        response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        response
            .headers_mut()
            .insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("Link, Retry-After"));
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
    let levels = Targets::new()
        .with_default(level.min(LevelFilter::INFO))
        .with_target(env!("CARGO_CRATE_NAME"), level);
    let json =
        env::var("AWS_LAMBDA_LOG_FORMAT").is_ok_and(|format| format.eq_ignore_ascii_case("json"));
    let layer = if json {
        fmt::layer().json().flatten_event(true).with_span_list(false).boxed()
    } else {
        fmt::layer().with_ansi(false).without_time().boxed()
    };
    tracing_subscriber::registry().with(layer.with_filter(levels)).init();
}

/// The request of an event, with what the handlers look at: parameters, context and body. A body that is not the base64 it
/// is said to be counts as missing.
///
/// `lambda_http`'s own conversion also makes a URL, and panics over a host or protocol that makes none.
fn request(event: LambdaEvent<LambdaRequest>) -> Request {
    let LambdaRequest::ApiGatewayV1(proxy) = event.payload else {
        unreachable!("lambda_http is built for no other events")
    };
    let body = match proxy.body {
        Some(body) if proxy.is_base64_encoded => {
            BASE64.decode_to_vec(body).map_or(Body::Empty, Body::Binary)
        }
        Some(body) => Body::Text(body),
        None => Body::Empty,
    };
    let query = if proxy.multi_value_query_string_parameters.is_empty() {
        proxy.query_string_parameters
    } else {
        proxy.multi_value_query_string_parameters
    };
    Request::new(body)
        .with_path_parameters(proxy.path_parameters)
        .with_query_string_parameters(query)
        .with_request_context(RequestContext::ApiGatewayV1(proxy.request_context))
        .with_lambda_context(event.context)
}
