//! The log: one line for each request, to standard output.

use std::io::{self, Write};
use std::str::FromStr;
use std::time::{Duration, Instant};

use lambda_http::Context;
use lambda_http::http::StatusCode;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use super::environment::{LOG_FORMAT_VARIABLE, LOG_LEVEL_VARIABLE, variable};
use crate::api::Route;
use crate::dynamodb::{Totals, trace_id};
use crate::error::{Chain, Error};

/// Starts the log, with the format and the level that the environment sets.
pub(super) fn init() {
    // Nothing is logged at Lambda's level FATAL.
    let level = variable(LOG_LEVEL_VARIABLE)
        .map(|level| {
            if level == "FATAL" {
                "ERROR".to_owned()
            } else {
                level
            }
        })
        .and_then(|level| LevelFilter::from_str(&level).ok())
        .unwrap_or(LevelFilter::INFO);
    // At finer levels, the SDK and the runtime log whole requests and events, and so users. The
    // runtime's spans are not needed either: each of our lines contains their ids.
    let levels = Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_target(env!("CARGO_CRATE_NAME"), level.min(LevelFilter::INFO));
    let is_json =
        variable(LOG_FORMAT_VARIABLE).is_some_and(|format| format.eq_ignore_ascii_case("json"));
    let layer = fmt::layer().with_writer(|| Output).with_target(false);
    let layer = if is_json {
        layer.json().flatten_event(true).boxed()
    } else {
        layer.with_ansi(false).without_time().boxed()
    };
    tracing_subscriber::registry()
        .with(layer.with_filter(levels))
        .init();
}

/// Standard output. A line that nobody reads for a moment is dropped, because a line is never worth
/// a request.
struct Output;

impl Write for Output {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        const PATIENCE: Timespec = Timespec {
            tv_sec: 0,
            tv_nsec: 100_000_000,
        };
        let output = io::stdout();
        // A pipe is ready if it can take 4,096 bytes, and no line is longer.
        let is_ready = poll(&mut [PollFd::new(&output, PollFlags::OUT)], Some(&PATIENCE));
        match is_ready {
            Ok(0) => Ok(line.len()),
            _ => output.lock().write(line),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A request, from its event to its outcome.
#[derive(Debug)]
pub(super) struct RequestLine<'a> {
    pub(super) route: Route,
    pub(super) context: &'a Context,
    /// API Gateway's request id, which the client sees.
    pub(super) api_request_id: Option<String>,
    /// Whether the request is the first of its process.
    pub(super) is_cold_start: bool,
    pub(super) start: Instant,
}

impl RequestLine<'_> {
    /// Writes the line of the request: at ERROR if the service or DynamoDB failed, otherwise at
    /// INFO. The line contains nothing that a client sends: no id, email address, body or query.
    ///
    /// The names of the fields are those of Powertools for AWS Lambda, where it has the same fields
    /// (<https://docs.aws.amazon.com/powertools/python/latest/core/logger/>).
    pub(super) fn write(&self, failure: Option<&Error>, calls: &Totals) {
        let status = failure.map_or(StatusCode::OK, Error::status);
        // The message of any other error may contain an id.
        let error = failure
            .filter(|_| status.is_server_error())
            .map(|error| Chain(error).to_string());
        /// Writes the line at a level, which must be a constant.
        macro_rules! write {
            ($level:expr) => {
                tracing::event!(
                    $level,
                    method = self.route.method,
                    route = self.route.resource,
                    status = status.as_u16(),
                    code = failure.map(Error::code),
                    latency_ms = milliseconds(self.start.elapsed()),
                    cold_start = self.is_cold_start,
                    dynamodb_calls = calls.calls,
                    dynamodb_retries = calls.retries,
                    dynamodb_throttles = calls.throttles,
                    throttle_reason = calls.throttle_reason.as_deref(),
                    dynamodb_unprocessed = calls.unprocessed,
                    dynamodb_ms = milliseconds(calls.time),
                    read_units = calls.read_units,
                    write_units = calls.write_units,
                    deleted = calls.deleted,
                    function_version = self.context.env_config.version,
                    function_request_id = self.context.request_id,
                    correlation_id = self.api_request_id,
                    xray_trace_id = self.context.xray_trace_id.as_deref().and_then(trace_id),
                    error,
                    "request"
                )
            };
        }
        if status.is_server_error() {
            write!(tracing::Level::ERROR);
        } else {
            write!(tracing::Level::INFO);
        }
    }
}

/// Returns a duration in milliseconds, rounded to three decimal places.
fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}
