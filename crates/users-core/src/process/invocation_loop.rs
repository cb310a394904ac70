//! A workaround for the loop of `lambda_runtime` 1.5.0, `Runtime::run`. It sets the variable
//! `_X_AMZN_TRACE_ID` for each invocation, and glibc keeps every value that a variable has had, so
//! a process grows by more than a hundred bytes with each. It also ends the process if a header of
//! an invocation has an unexpected form. Delete this file when neither is true.

use std::cell::RefCell;
use std::future::{Pending, pending};
use std::sync::Arc;
use std::task::{Context as Task, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http_body_util::BodyExt;
use lambda_http::http::HeaderMap;
use lambda_http::tower::{Layer, Service, ServiceExt};
use lambda_runtime::{Config, Context, Error, LambdaInvocation, Runtime};
use lambda_runtime_api_client::body::Body;
use lambda_runtime_api_client::{PooledClient, build_request};

use crate::error::Chain;

/// The timeout of an invocation without a valid deadline: the default of Lambda
/// (<https://docs.aws.amazon.com/lambda/latest/dg/configuration-timeout.html>).
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(3);

/// Serves invocations with the service of a runtime.
///
/// # Errors
///
/// If the next invocation cannot be received from Lambda's Runtime API.
pub(super) async fn serve<S>(runtime: Runtime<S>) -> Result<(), Error>
where
    S: Service<LambdaInvocation, Response = (), Error = Error>,
{
    let taken = Taken(RefCell::new(None));
    runtime.layer(&taken);
    let mut service = taken.0.take().ok_or("the runtime has no service")?;
    let client = PooledClient::builder().build();
    let config = Arc::new(Config::from_env());
    loop {
        let invocation = next(&client, &config).await?;
        if let Err(error) = service.ready().await?.call(invocation).await {
            tracing::error!(error = %Chain(&*error), "a response could not be sent");
        }
    }
}

/// Waits for the next invocation
/// (<https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html#runtimes-api-next>).
async fn next(client: &PooledClient, config: &Arc<Config>) -> Result<LambdaInvocation, Error> {
    let request = build_request()
        .uri("/2018-06-01/runtime/invocation/next")
        .body(Body::empty())?;
    let (parts, body) = client.call(request).await?.into_parts();
    if !parts.status.is_success() {
        return Err(format!(
            "the Runtime API returned {} for the next event",
            parts.status
        )
        .into());
    }
    let body = body.collect().await?.to_bytes();
    let id = parts
        .headers
        .get("lambda-runtime-aws-request-id")
        .ok_or("the invocation has no request id")?;
    let id = String::from_utf8_lossy(id.as_bytes());
    let context = Context::new(&id, Arc::clone(config), &needed(&parts.headers))?;
    Ok(LambdaInvocation {
        parts,
        body,
        context,
    })
}

/// Returns the headers that a context needs, with valid values.
fn needed(headers: &HeaderMap) -> HeaderMap {
    const DEADLINE: &str = "lambda-runtime-deadline-ms";
    const TRACE: &str = "lambda-runtime-trace-id";
    let deadline = headers
        .get(DEADLINE)
        .and_then(|deadline| deadline.to_str().ok()?.parse().ok())
        .unwrap_or_else(|| {
            let deadline = SystemTime::now() + DEFAULT_TIMEOUT;
            let epoch = deadline.duration_since(UNIX_EPOCH).unwrap_or_default();
            u64::try_from(epoch.as_millis()).unwrap_or_default()
        });
    let mut needed = HeaderMap::new();
    needed.insert(DEADLINE, deadline.into());
    if let Some(trace) = headers.get(TRACE) {
        needed.insert(TRACE, trace.clone());
    }
    needed
}

/// A layer that takes the service of a runtime.
struct Taken<S>(RefCell<Option<S>>);

impl<S> Layer<S> for Taken<S> {
    type Service = Nothing;

    fn layer(&self, service: S) -> Nothing {
        self.0.replace(Some(service));
        Nothing
    }
}

/// What a runtime is left with.
struct Nothing;

impl Service<LambdaInvocation> for Nothing {
    type Response = ();
    type Error = Error;
    type Future = Pending<Result<(), Error>>;

    fn poll_ready(&mut self, _: &mut Task<'_>) -> Poll<Result<(), Error>> {
        Poll::Pending
    }

    fn call(&mut self, _: LambdaInvocation) -> Self::Future {
        pending()
    }
}
