//! Runs a function's process: sets up the log, builds the client, opens the first connection, and
//! then serves invocations.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lambda_http::http::header::HeaderValue;
use lambda_http::{Body, Context, LambdaEvent, Request, RequestExt, Response, service_fn};
use lambda_runtime::Runtime;
use serde_json::value::RawValue;

use crate::calls::Calls;
use crate::client::{ConfigurationError, client_and_warm_up};
use crate::environment::{ORIGIN_VARIABLE, TABLE_VARIABLE, endpoint_from_env, variable};
use crate::error::{Chain, Error};
use crate::handlers;
use crate::log;
use crate::proxy::{self, Event, Route};
use crate::response;
use crate::serve::ServeAll;
use crate::store::Store;
use crate::trace::{Trace, Tracer};

/// The table that is used if the environment does not name one.
const DEFAULT_TABLE: &str = "user-profiles";

/// How long the warm-up before the first invocation may take.
const WARM_UP: Duration = Duration::from_secs(1);

/// Serves the invocations of the function for this route with its handler, until Lambda terminates
/// the process.
///
/// # Errors
///
/// If Lambda's Runtime API cannot be reached.
///
/// # Panics
///
/// If an environment variable that Lambda sets is missing.
pub async fn run<F>(
    route: Route,
    handler: fn(Store, Request) -> F,
) -> Result<(), lambda_runtime::Error>
where
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let format = log::init();
    let table = variable(TABLE_VARIABLE);
    let table = table.as_deref().map_or(DEFAULT_TABLE, str::trim);
    let store = match client_and_warm_up(endpoint_from_env().as_deref()) {
        Ok((client, for_warm_up)) => {
            warm_up(Store::new(for_warm_up, table), route, handler).await;
            Ok(Store::new(client, table))
        }
        Err(error) => {
            tracing::error!(error = %Chain(&error), "every request will fail");
            Err(error)
        }
    };
    let origin = variable(ORIGIN_VARIABLE).and_then(|origin| HeaderValue::try_from(origin).ok());
    let (tracer, is_cold) = (Tracer::from_env(table), AtomicBool::new(true));
    let process = Arc::new(Process {
        store,
        tracer,
        origin,
        is_cold,
    });

    let service = service_fn(move |event: LambdaEvent<Box<RawValue>>| {
        let process = Arc::clone(&process);
        async move {
            let start = Instant::now();
            let LambdaEvent {
                payload, context, ..
            } = event;
            let (api_request_id, request) = accept(payload.get(), route);
            drop(payload);
            let line = log::RequestLine {
                route,
                context: &context,
                api_request_id,
                is_cold_start: process.is_cold.swap(false, Relaxed),
                start,
            };
            let trace = process.trace(&context);
            let work = process.handle(request, &context, handler);
            let (response, calls) = Calls::new(trace).record(work).await;
            line.write(format, &response, &calls);
            Ok::<_, Infallible>(proxy::response(response))
        }
    });
    Runtime::new(service).layer(ServeAll).run().await
}

/// Handles a request as an invocation would, with a store that opens connections to DynamoDB but
/// sends nothing. This opens the connection for the first call, and runs code for the first time,
/// while Lambda does not limit the CPU. It takes at most [`WARM_UP`]. Its result does not matter:
/// the first invocation reports whether DynamoDB works.
async fn warm_up<F>(store: Store, route: Route, handler: fn(Store, Request) -> F)
where
    F: Future<Output = Response<Body>>,
{
    let Route { method, resource } = route;
    let event = format!(
        r#"{{"httpMethod":"{method}","resource":"{resource}","pathParameters":{{"id":"-"}},
        "body":"{{\"id\":\"-\"}}"}}"#
    );
    let mut context = Context::default();
    let end = SystemTime::now() + WARM_UP + handlers::MARGIN;
    let end = end.duration_since(UNIX_EPOCH).unwrap_or_default();
    context.deadline = u64::try_from(end.as_millis()).unwrap_or_default();
    if let (_, Ok(request)) = accept(&event, route) {
        Box::pin(handler(store, request.with_lambda_context(context))).await;
    }
}

/// Returns API Gateway's request id, and the request in an event.
fn accept(event: &str, route: Route) -> (Option<String>, Result<Request, Error>) {
    match Event::parse(event) {
        Ok(event) => (event.request_id(), event.request(route)),
        Err(error) => (None, Err(error)),
    }
}

/// The state that all invocations of a process share.
struct Process {
    store: Result<Store, ConfigurationError>,
    tracer: Option<Arc<Tracer>>,
    origin: Option<HeaderValue>,
    /// Whether no invocation has begun.
    is_cold: AtomicBool,
}

impl Process {
    /// Returns the trace of an invocation, if it is sampled.
    fn trace(&self, context: &Context) -> Option<Trace> {
        Trace::new(self.tracer.as_ref()?, context.xray_trace_id.as_deref()?)
    }

    /// Returns the handler's response, or an error response if there is no valid request or no
    /// store. Adds the CORS headers.
    async fn handle<F>(
        &self,
        request: Result<Request, Error>,
        context: &Context,
        handler: fn(Store, Request) -> F,
    ) -> Response<Body>
    where
        F: Future<Output = Response<Body>>,
    {
        let store = self
            .store
            .clone()
            .map_err(|error| Error::Internal(error.into()));
        let mut response = match request.and_then(|request| Ok((request, store?))) {
            Ok((request, store)) => {
                let request = request.with_lambda_context(context.clone());
                Box::pin(handler(store, request)).await
            }
            Err(error) => response::from_error(&error),
        };
        if let Some(origin) = &self.origin {
            proxy::add_cors_headers(&mut response, origin.clone());
        }
        response
    }
}
