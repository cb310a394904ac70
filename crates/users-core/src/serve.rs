//! The loop that serves invocations. It replaces `lambda_runtime`'s own, which sets the variable
//! `_X_AMZN_TRACE_ID` for each invocation. glibc keeps every value that a variable has had, so a
//! process would grow by more than a hundred bytes with each invocation.

use std::sync::Arc;
use std::task::{Context as Task, Poll};

use futures::future::LocalBoxFuture;
use http_body_util::BodyExt;
use lambda_http::tower::{Layer, Service, ServiceExt};
use lambda_runtime::{Config, Context, Error, LambdaInvocation};
use lambda_runtime_api_client::body::Body;
use lambda_runtime_api_client::{PooledClient, build_request};

/// The outermost layer of a runtime. The runtime passes it only the first invocation. The layer
/// serves that one and all later ones with the layers below.
pub(crate) struct ServeAll;

impl<S> Layer<S> for ServeAll {
    type Service = Server<S>;

    fn layer(&self, service: S) -> Server<S> {
        Server(Some(service))
    }
}

/// The service of [`ServeAll`], which holds the layers below until it is called.
pub(crate) struct Server<S>(Option<S>);

impl<S> Service<LambdaInvocation> for Server<S>
where
    S: Service<LambdaInvocation, Response = (), Error = Error> + 'static,
{
    type Response = ();
    type Error = Error;
    type Future = LocalBoxFuture<'static, Result<(), Error>>;

    fn poll_ready(&mut self, _: &mut Task<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut invocation: LambdaInvocation) -> Self::Future {
        let service = self.0.take();
        Box::pin(async move {
            let mut service = service.ok_or("the invocations are already being served")?;
            let client = PooledClient::builder().build();
            let config = Arc::clone(&invocation.context.env_config);
            loop {
                service.ready().await?.call(invocation).await?;
                invocation = next(&client, &config).await?;
            }
        })
    }
}

/// Waits for the next invocation
/// (<https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html#runtimes-api-next>).
async fn next(client: &PooledClient, config: &Arc<Config>) -> Result<LambdaInvocation, Error> {
    let request = build_request()
        .uri("/2018-06-01/runtime/invocation/next")
        .body(Body::empty())?;
    let (parts, body) = client.call(request).await?.into_parts();
    let body = body.collect().await?.to_bytes();
    let id = parts.headers.get("lambda-runtime-aws-request-id");
    let id = id.ok_or("the invocation has no request id")?.to_str()?;
    let context = Context::new(id, Arc::clone(config), &parts.headers)?;
    Ok(LambdaInvocation {
        parts,
        body,
        context,
    })
}
