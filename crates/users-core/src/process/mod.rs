//! Runs a function's process: sets up the log, builds the client, opens the first connection, and
//! then serves invocations.

mod environment;
mod invocation_loop;
mod log;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lambda_http::{Body, Context, LambdaEvent, Request, RequestExt, Response, service_fn};
use lambda_runtime::Runtime;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::time::{timeout, timeout_at};

use crate::api::{AllowedOrigins, Event, Part, Route, handlers, request, to_api_gateway};
use crate::dynamodb::{Calls, ConfigurationError, Store, Trace, Tracer};
use crate::error::{Chain, Error};
use environment::{
    CONCURRENCY_VARIABLE, Environment, RUNTIME_API_VARIABLE, allowed_origins, variable,
};
pub use environment::{ENDPOINT_VARIABLE, ORIGIN_VARIABLE, TABLE_VARIABLE, client};

/// How long the warm-up before the first invocation may take.
const WARM_UP: Duration = Duration::from_secs(1);

/// A handler of an operation.
type Handler<F> = fn(Store, Request) -> F;

/// Serves the invocations of the function for this route with its handler, one at a time, until
/// Lambda terminates the process.
///
/// # Errors
///
/// If this is no Lambda function, or Lambda's Runtime API cannot be reached.
///
/// # Panics
///
/// If an environment variable that Lambda sets is missing.
pub async fn run<F>(route: Route, handler: Handler<F>) -> Result<(), lambda_runtime::Error>
where
    F: Future<Output = Result<Response<Body>, Error>> + Send + 'static,
{
    if variable(RUNTIME_API_VARIABLE).is_none() {
        return Err("this program runs on AWS Lambda; to run it here, type `make run`".into());
    }
    log::init();
    if variable(CONCURRENCY_VARIABLE).is_some_and(|limit| limit != "1") {
        tracing::warn!("{CONCURRENCY_VARIABLE} is ignored: invocations are served one at a time");
    }
    let process = Arc::new(Process::start(route, handler).await);
    let service = service_fn(move |event: LambdaEvent<Box<RawValue>>| {
        let process = Arc::clone(&process);
        async move { Ok::<_, Infallible>(to_api_gateway(process.serve(event).await)) }
    });
    invocation_loop::serve(Runtime::new(service)).await
}

/// The state that all invocations of a process share.
struct Process<F> {
    route: Route,
    handler: Handler<F>,
    store: Result<Store, ConfigurationError>,
    origins: AllowedOrigins,
    tracer: Option<Arc<Tracer>>,
    /// Whether no invocation has begun.
    is_cold: AtomicBool,
}

impl<F> Process<F>
where
    F: Future<Output = Result<Response<Body>, Error>>,
{
    /// Reads the environment, and warms up. If the environment is wrong, every request fails.
    async fn start(route: Route, handler: Handler<F>) -> Self {
        let environment = Environment::read();
        let tracer = environment.as_ref().ok().and_then(Environment::tracer);
        let origins = allowed_origins();
        let clients = environment.and_then(|environment| {
            origins.as_ref().map_err(Clone::clone)?;
            let clients = environment.dynamodb.client_and_warm_up()?;
            Ok((clients, environment.table))
        });
        let store = match clients {
            Ok(((client, for_warm_up), table)) => {
                warm_up(Store::new(for_warm_up, &table), route, handler).await;
                Ok(Store::new(client, &table))
            }
            Err(error) => {
                tracing::error!(error = %Chain(&error), "every request will fail");
                Err(error)
            }
        };
        Self {
            route,
            handler,
            store,
            origins: origins.unwrap_or_default(),
            tracer,
            is_cold: AtomicBool::new(true),
        }
    }

    /// Serves an invocation: from its event to the response, with a line in the log.
    async fn serve(&self, event: LambdaEvent<Box<RawValue>>) -> Response<Body> {
        let start = Instant::now();
        let LambdaEvent {
            payload, context, ..
        } = event;
        let mut api_request_id = None;
        let mut origin = None;
        let request = Event::parse(payload.get()).and_then(|event| {
            api_request_id = event.request_id();
            origin = self.origins.is_list().then(|| event.origin()).flatten();
            event.request(self.route)
        });
        drop(payload);
        let line = log::RequestLine {
            route: self.route,
            context: &context,
            api_request_id,
            is_cold_start: self.is_cold.swap(false, Relaxed),
            start,
        };
        let (outcome, calls) = Calls::new(self.trace(&context))
            .record(self.handle(request, &context))
            .await;
        line.write(outcome.as_ref().err(), &calls);
        let mut response = outcome.unwrap_or_else(|error| error.to_response());
        self.origins.add_headers(&mut response, origin.as_deref());
        response
    }

    /// Returns the trace of an invocation, if it is sampled.
    fn trace(&self, context: &Context) -> Option<Trace> {
        Trace::new(self.tracer.as_ref()?, context.xray_trace_id.as_deref()?)
    }

    /// Calls the handler. It is cancelled a second before the deadline of the invocation.
    async fn handle(
        &self,
        request: Result<Request, Error>,
        context: &Context,
    ) -> Result<Response<Body>, Error> {
        let request = request?.with_lambda_context(context.clone());
        let store = self
            .store
            .clone()
            .map_err(|error| Error::Internal(error.into()))?;
        let deadline = handlers::deadline(&request);
        // The futures of handlers are large, and one is moved several times.
        let work = Box::pin((self.handler)(store, request));
        timeout_at(deadline, work)
            .await
            .unwrap_or(Err(Error::OutOfTime))
    }
}

/// Handles a request as an invocation would, with a store that opens connections to DynamoDB but
/// sends nothing. This opens the connection for the first call, and runs code for the first time,
/// while Lambda does not limit the CPU. It takes at most [`WARM_UP`]. Its result does not matter:
/// the first invocation reports whether DynamoDB works.
async fn warm_up<F>(store: Store, route: Route, handler: Handler<F>)
where
    F: Future<Output = Result<Response<Body>, Error>>,
{
    let event = json!({
        "httpMethod": route.method,
        "resource": route.resource,
        "pathParameters": route.reads(Part::Id).then(|| json!({"id": "-"})),
        "body": route.reads(Part::Body).then_some(r#"{"id":"-"}"#),
    });
    let Ok(request) = request(&event.to_string(), route) else {
        return;
    };
    // Far enough away for every operation to begin.
    let deadline = SystemTime::now() + 60 * WARM_UP;
    let epoch = deadline.duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut context = Context::default();
    context.deadline = u64::try_from(epoch.as_millis()).unwrap_or_default();
    let work = Box::pin(handler(store, request.with_lambda_context(context)));
    let _ = timeout(WARM_UP, work).await;
}
