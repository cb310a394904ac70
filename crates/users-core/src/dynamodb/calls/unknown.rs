//! Counts the attempts of a write whose outcome is unknown.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use aws_sdk_dynamodb::config::interceptors::{
    BeforeTransmitInterceptorContextRef, FinalizerInterceptorContextMut,
};
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::{BoxError, ConnectorError};

use crate::dynamodb::connections::ConnectError;
use crate::dynamodb::error::ErrorBody;

/// An interceptor that counts the attempts of one call that may have been applied, or may still be:
/// the response is missing or inconclusive.
#[derive(Clone, Debug, Default)]
pub(in crate::dynamodb) struct UnknownOutcomes(Arc<AtomicU32>);

impl UnknownOutcomes {
    /// Returns whether the outcome of any attempt so far is unknown.
    pub(in crate::dynamodb) fn any(&self) -> bool {
        self.0.load(Relaxed) > 0
    }
}

impl Intercept for UnknownOutcomes {
    fn name(&self) -> &'static str {
        "UnknownOutcomes"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.0.fetch_add(1, Relaxed);
        Ok(())
    }

    fn modify_before_attempt_completion(
        &self,
        context: &mut FinalizerInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let is_known = match context.output_or_error() {
            Some(Ok(_)) => true,
            Some(Err(error)) => {
                let rejection = context
                    .response()
                    .filter(|response| !response.status().is_server_error())
                    .and_then(ErrorBody::of);
                rejection.is_some_and(|error| error.says_that_nothing_was_written())
                    || error.as_connector_error().is_some_and(was_not_sent)
            }
            None => false,
        };
        if is_known {
            self.0.fetch_sub(1, Relaxed);
        }
        Ok(())
    }
}

/// Returns whether the request was not sent, because there was no connection.
fn was_not_sent(error: &ConnectorError) -> bool {
    std::error::Error::source(error).is_some_and(<dyn std::error::Error>::is::<ConnectError>)
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::config::Config;
    use aws_sdk_dynamodb::config::retry::RetryConfig;
    use tokio::net::TcpListener;

    use super::*;
    use crate::dynamodb::Settings;

    /// Returns whether the outcome of a call to this server is unknown.
    async fn is_unknown(port: u16) -> bool {
        let settings = Settings {
            endpoint: Some(format!("http://127.0.0.1:{port}")),
            ..Settings::default()
        };
        let unknown = UnknownOutcomes::default();
        let once = Config::builder().retry_config(RetryConfig::disabled());
        let client = settings.client().expect("a client");
        let call = client.list_tables().customize();
        let sent = call.interceptor(unknown.clone()).config_override(once);
        sent.send().await.expect_err("no response");
        unknown.any()
    }

    #[tokio::test]
    async fn the_outcome_is_known_only_if_nothing_was_sent() {
        let server = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let port = server.local_addr().expect("an address").port();
        let reset = async { drop(server.accept().await.expect("a connection")) };
        let (reset, ()) = tokio::join!(is_unknown(port), reset);
        assert!(reset);
        drop(server);
        assert!(!is_unknown(port).await, "a refused connection");
    }
}
