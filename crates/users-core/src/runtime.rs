//! What happens once per process: tracing, the client and its connection, and the loop that answers
//! invocations.

use std::convert::Infallible;
use std::env;
use std::str::FromStr;

use lambda_http::http::header::HeaderValue;
use lambda_http::{Body, LambdaEvent, Request, RequestExt, Response, service_fn};
use serde_json::value::RawValue;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use crate::client::{ConfigurationError, client, endpoint_from_env, variable};
use crate::error::{Chain, Error};
use crate::proxy::{self, Route};
use crate::response;
use crate::store::Store;

/// The environment variable with the name of the table.
pub const TABLE_VARIABLE: &str = "USERS_TABLE";

/// The name of the table where the variable is unset.
const DEFAULT_TABLE: &str = "user-profiles";

/// The environment variable with the origin whose pages may use the API from a browser, or `*`.
pub const ORIGIN_VARIABLE: &str = "CORS_ALLOW_ORIGIN";

/// Serves the invocations of the function for this route with its handler, until Lambda ends the
/// process.
///
/// # Errors
///
/// If Lambda's Runtime API cannot be reached.
///
/// # Panics
///
/// If an environment variable is missing that Lambda sets.
pub async fn run<F>(
    route: Route,
    handler: fn(Store, Request) -> F,
) -> Result<(), lambda_runtime::Error>
where
    F: Future<Output = Response<Body>> + Send + 'static,
{
    init_tracing();
    let table = variable(TABLE_VARIABLE).unwrap_or_else(|| DEFAULT_TABLE.to_owned());
    let store =
        client(endpoint_from_env().as_deref()).map(|client| Store::new(client, table.trim()));
    match &store {
        Ok(store) => store.connect().await,
        Err(error) => tracing::error!(error = %Chain(error), "every request will fail"),
    }
    let origin = variable(ORIGIN_VARIABLE).and_then(|origin| HeaderValue::try_from(origin).ok());

    let service = service_fn(move |event: LambdaEvent<Box<RawValue>>| {
        let (store, origin) = (store.clone(), origin.clone());
        async move {
            let mut response = match accept(event, route, store) {
                Ok((store, request)) => Box::pin(handler(store, request)).await,
                Err(error) => response::from_error(&error),
            };
            if let Some(origin) = origin {
                proxy::add_cors_headers(&mut response, origin);
            }
            Ok::<_, Infallible>(proxy::response(response))
        }
    });
    lambda_runtime::run(service).await
}

/// Returns what a handler needs for an event.
fn accept(
    event: LambdaEvent<Box<RawValue>>,
    route: Route,
    store: Result<Store, ConfigurationError>,
) -> Result<(Store, Request), Error> {
    let request = proxy::request(event.payload.get(), route)?;
    let store = store.map_err(|error| Error::Internal(error.into()))?;
    Ok((store, request.with_lambda_context(event.context)))
}

/// Writes the log to standard output, with the id of the request: as JSON if
/// `AWS_LAMBDA_LOG_FORMAT` says so, at the level that `AWS_LAMBDA_LOG_LEVEL` names and above
/// (<https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-advanced.html>).
fn init_tracing() {
    let level = match env::var("AWS_LAMBDA_LOG_LEVEL").as_deref() {
        Ok("FATAL") => LevelFilter::ERROR,
        Ok(name) => LevelFilter::from_str(name).unwrap_or(LevelFilter::INFO),
        Err(_) => LevelFilter::INFO,
    };
    // The SDK and the runtime log whole requests and events, and so users, at finer levels.
    let levels = Targets::new()
        .with_default(level.min(LevelFilter::INFO))
        .with_target(env!("CARGO_CRATE_NAME"), level);
    let is_json =
        env::var("AWS_LAMBDA_LOG_FORMAT").is_ok_and(|format| format.eq_ignore_ascii_case("json"));
    let layer = if is_json {
        fmt::layer().json().flatten_event(true).with_span_list(false).boxed()
    } else {
        fmt::layer().with_ansi(false).without_time().boxed()
    };
    tracing_subscriber::registry().with(layer.with_filter(levels)).init();
}
