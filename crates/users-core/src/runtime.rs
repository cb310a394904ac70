//! What happens once per process: the log, the client and its connection, and the loop that serves
//! invocations.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;

use lambda_http::http::header::HeaderValue;
use lambda_http::{Body, Context, LambdaEvent, Request, RequestExt, Response, service_fn};
use lambda_runtime::Runtime;
use serde_json::value::RawValue;

use crate::calls::Calls;
use crate::client::{ConfigurationError, client, endpoint_from_env, variable};
use crate::error::{Chain, Error};
use crate::log;
use crate::proxy::{self, Event, Route};
use crate::response;
use crate::serve::ServeAll;
use crate::store::Store;
use crate::trace::{Trace, Tracer};

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
    let format = log::init();
    let table = variable(TABLE_VARIABLE);
    let table = table.as_deref().map_or(DEFAULT_TABLE, str::trim);
    let store = client(endpoint_from_env().as_deref()).map(|client| Store::new(client, table));
    match &store {
        Ok(store) => store.connect().await,
        Err(error) => tracing::error!(error = %Chain(error), "every request will fail"),
    }
    let origin = variable(ORIGIN_VARIABLE).and_then(|origin| HeaderValue::try_from(origin).ok());
    let process = Arc::new(Process { store, tracer: Tracer::from_env(table), origin });
    let is_first = Arc::new(AtomicBool::new(true));

    let service = service_fn(move |event: LambdaEvent<Box<RawValue>>| {
        let (process, is_first) = (Arc::clone(&process), Arc::clone(&is_first));
        async move {
            let start = Instant::now();
            let LambdaEvent { payload, context, .. } = event;
            let (api_request_id, request) = accept(payload.get(), route);
            drop(payload);
            let line = log::Request {
                route,
                context: &context,
                api_request_id,
                is_cold_start: is_first.swap(false, Relaxed),
                start,
            };
            let trace = process.trace(&context);
            let work = process.handle(request, &context, handler);
            let (response, calls) = Calls::new(trace).record(work).await;
            line.log(format, &response, &calls);
            Ok::<_, Infallible>(proxy::response(response))
        }
    });
    Runtime::new(service).layer(ServeAll).run().await
}

/// Returns the API's id of a request, and the request, from its event.
fn accept(event: &str, route: Route) -> (Option<String>, Result<Request, Error>) {
    match Event::parse(event) {
        Ok(event) => (event.request_id(), event.request(route)),
        Err(error) => (None, Err(error)),
    }
}

/// What the invocations of a process share.
struct Process {
    store: Result<Store, ConfigurationError>,
    tracer: Option<Arc<Tracer>>,
    origin: Option<HeaderValue>,
}

impl Process {
    /// Returns the trace of an invocation, if it is sampled.
    fn trace(&self, context: &Context) -> Option<Trace> {
        Trace::new(self.tracer.as_ref()?, context.xray_trace_id.as_deref()?)
    }

    /// Returns the response of a handler to a request.
    async fn handle<F>(
        &self,
        request: Result<Request, Error>,
        context: &Context,
        handler: fn(Store, Request) -> F,
    ) -> Response<Body>
    where
        F: Future<Output = Response<Body>>,
    {
        let store = self.store.clone().map_err(|error| Error::Internal(error.into()));
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
