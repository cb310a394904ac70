//! An HTTP client for the SDK, with only what DynamoDB needs: HTTP/1.1, over TLS by rustls and
//! ring.
//!
//! The SDK's own client also supports HTTP/2 and proxies, and adds a third of a megabyte to each
//! function's zip.

mod connections;
mod trust;

use std::time::Duration;

use aws_sdk_dynamodb::config::RuntimeComponents;
use aws_sdk_dynamodb::config::http::{HttpRequest, HttpResponse};
use aws_sdk_dynamodb::error::ConnectorError;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_types::body::SdkBody;
use lambda_http::http::Response;
use rustls::RootCertStore;

pub(crate) use connections::{ConnectError, ResponseTooLarge};
pub use trust::TrustError;
pub(crate) use trust::trusted_roots;

use connections::Connections;

/// How long a connection may take to open if the SDK sets no limit. This is the SDK's own default.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(3100);

/// A client that sends the SDK's requests over connections that it keeps.
#[derive(Clone, Debug)]
pub(crate) struct Http {
    connections: Connections,
    connect_timeout: Duration,
    /// Whether the client opens connections for requests, but sends none.
    opens_only: bool,
}

impl Http {
    /// Returns a client that trusts servers with certificates from these roots.
    pub(crate) fn new(roots: RootCertStore) -> Self {
        let connections = Connections::new(trust::tls_config(roots));
        Self {
            connections,
            connect_timeout: CONNECT_TIMEOUT,
            opens_only: false,
        }
    }

    /// Returns a client that opens a connection for each request, for this client to use, and does
    /// not send the request. Each response is an empty JSON object. The SDK closes a connection on
    /// which the server returned an error, but here the server returns nothing.
    pub(crate) fn open_only(&self) -> Self {
        Self {
            opens_only: true,
            ..self.clone()
        }
    }

    async fn exchange(self, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let request = request
            .try_into_http1x()
            .map_err(|error| ConnectorError::user(error.into()))?;
        let response = if self.opens_only {
            self.connections
                .open(request.uri(), self.connect_timeout)
                .await?;
            Response::new(SdkBody::from("{}"))
        } else {
            self.connections
                .send(request, self.connect_timeout)
                .await?
                .map(SdkBody::from)
        };
        HttpResponse::try_from(response).map_err(|error| ConnectorError::other(error.into(), None))
    }
}

impl HttpClient for Http {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let connect_timeout = settings.connect_timeout().unwrap_or(self.connect_timeout);
        SharedHttpConnector::new(Self {
            connect_timeout,
            ..self.clone()
        })
    }
}

impl HttpConnector for Http {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        HttpConnectorFuture::new(self.clone().exchange(request))
    }
}
