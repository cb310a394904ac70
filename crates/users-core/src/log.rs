//! The log: one line for each request, to standard output.

use std::str::FromStr;
use std::time::{Duration, Instant};

use lambda_http::{Body, Context, Response};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use crate::calls::Totals;
use crate::environment::{LOG_FORMAT_VARIABLE, LOG_LEVEL_VARIABLE, variable};
use crate::proxy::Route;
use crate::response::Failure;
use crate::trace::trace_id;

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// For machines.
    Json,
    /// For people.
    Text,
}

/// Starts the log, with the format and the level that the environment sets. Returns the format.
pub(crate) fn init() -> Format {
    let level = match variable(LOG_LEVEL_VARIABLE).as_deref() {
        Some("FATAL") => LevelFilter::ERROR,
        Some(name) => LevelFilter::from_str(name).unwrap_or(LevelFilter::INFO),
        None => LevelFilter::INFO,
    };
    // At finer levels, the SDK and the runtime log whole requests and events, and so users. The
    // runtime's spans are not needed either: each of our lines contains their ids.
    let levels = Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_target(env!("CARGO_CRATE_NAME"), level.min(LevelFilter::INFO));
    let is_json =
        variable(LOG_FORMAT_VARIABLE).is_some_and(|format| format.eq_ignore_ascii_case("json"));
    let (format, layer) = if is_json {
        (
            Format::Json,
            fmt::layer().json().flatten_event(true).boxed(),
        )
    } else {
        (
            Format::Text,
            fmt::layer()
                .with_ansi(false)
                .without_time()
                .with_target(false)
                .boxed(),
        )
    };
    tracing_subscriber::registry()
        .with(layer.with_filter(levels))
        .init();
    format
}

/// A request, from its event to its response.
#[derive(Debug)]
pub(crate) struct RequestLine<'a> {
    pub(crate) route: Route,
    pub(crate) context: &'a Context,
    /// API Gateway's request id, which the client sees.
    pub(crate) api_request_id: Option<String>,
    /// Whether the request is the first of its process.
    pub(crate) is_cold_start: bool,
    pub(crate) start: Instant,
}

impl RequestLine<'_> {
    /// Writes the line of the request: at ERROR if the service or DynamoDB failed, otherwise at
    /// INFO. The line contains nothing that a client sends: no id, email address, body or query.
    ///
    /// The names of the fields are those of Powertools for AWS Lambda, where it has the same fields
    /// (<https://docs.aws.amazon.com/powertools/python/latest/core/logger/>).
    pub(crate) fn write(&self, format: Format, response: &Response<Body>, calls: &Totals) {
        let Route { method, resource } = self.route;
        let status = response.status().as_u16();
        let failure = response.extensions().get::<Failure>();
        let code = failure.map(|failure| failure.code);
        let error = failure.and_then(|failure| failure.chain.as_deref());
        let (latency, dynamodb) = (milliseconds(self.start.elapsed()), milliseconds(calls.time));
        if format == Format::Text {
            let code = code.map(|code| format!(" {code}")).unwrap_or_default();
            let line = format!(
                "{method} {resource} {status}{code} {latency:.1} ms (DynamoDB {dynamodb:.1} ms, \
                 calls {}), request {}",
                calls.calls, self.context.request_id
            );
            if let Some(error) = error {
                tracing::error!("{line}: {error}");
            } else {
                tracing::info!("{line}");
            }
            return;
        }
        /// Writes the line at a level, which must be a constant.
        macro_rules! write {
            ($level:expr) => {
                tracing::event!(
                    $level,
                    method,
                    route = resource,
                    status,
                    code,
                    latency_ms = latency,
                    cold_start = self.is_cold_start,
                    dynamodb_calls = calls.calls,
                    dynamodb_retries = calls.retries,
                    dynamodb_throttles = calls.throttles,
                    dynamodb_ms = dynamodb,
                    read_units = calls.units.read,
                    write_units = calls.units.write,
                    function_request_id = self.context.request_id,
                    correlation_id = self.api_request_id,
                    xray_trace_id = self.context.xray_trace_id.as_deref().and_then(trace_id),
                    error,
                    "request"
                )
            };
        }
        if status < 500 {
            write!(tracing::Level::INFO);
        } else {
            write!(tracing::Level::ERROR);
        }
    }
}

/// Returns a duration in milliseconds, rounded to three decimal places.
fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}
