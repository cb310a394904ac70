//! An HTTP client for the SDK, with only what DynamoDB needs: HTTP/1.1, over TLS by rustls and
//! ring. It passes on only responses that arrived intact, and what fits in memory.
//!
//! The SDK's own client also supports HTTP/2 and proxies, and adds a third of a megabyte to each
//! function's zip.

use std::time::Duration;

use aws_sdk_dynamodb::config::RuntimeComponents;
use aws_sdk_dynamodb::config::http::{HttpRequest, HttpResponse};
use aws_sdk_dynamodb::error::ConnectorError;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::retry::ErrorKind;
use lambda_http::http::Response;
use rustls::RootCertStore;

use super::connections::Connections;
use super::error::ImplausibleResponse;
use super::memory::{KeyOf, bound};
use super::tls;

/// How long a connection may take to open if the SDK sets no limit. This is the SDK's own default.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(3100);

/// A client that sends the SDK's requests over connections that it keeps.
#[derive(Clone, Debug)]
pub(super) struct Http {
    connections: Connections,
    connect_timeout: Duration,
    /// Whether the client opens connections for requests, but sends none.
    opens_only: bool,
}

impl Http {
    /// Returns a client that trusts servers with certificates from these roots.
    pub(super) fn new(roots: RootCertStore) -> Self {
        Self {
            connections: Connections::new(tls::config(roots)),
            connect_timeout: CONNECT_TIMEOUT,
            opens_only: false,
        }
    }

    /// Returns a client that opens a connection for each request, for this client to use, and does
    /// not send the request. Each response is an empty JSON object: a success, because the SDK
    /// would close the connection after an error.
    pub(super) fn open_only(&self) -> Self {
        Self {
            opens_only: true,
            ..self.clone()
        }
    }

    async fn exchange(self, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let key_of = match request.headers().get("x-amz-target") {
            Some(target) if target.ends_with(".Query") => KeyOf::Index,
            _ => KeyOf::Table,
        };
        let request = request
            .try_into_http1x()
            .map_err(|error| ConnectorError::user(error.into()))?;
        let response = if self.opens_only {
            self.connections
                .open(request.uri(), self.connect_timeout)
                .await?;
            Response::new(SdkBody::from("{}"))
        } else {
            let mut response = self.connections.send(request, self.connect_timeout).await?;
            check_intact(&response)?;
            bound(response.body_mut(), key_of)
                .map_err(|error| ConnectorError::other(error.into(), None))?;
            response.map(SdkBody::from)
        };
        HttpResponse::try_from(response).map_err(|error| ConnectorError::other(error.into(), None))
    }
}

/// Checks that a response is the one that DynamoDB sent. It sends a checksum with every response; a
/// server that stands in for it may not.
fn check_intact(response: &Response<Vec<u8>>) -> Result<(), ConnectorError> {
    let Some(checksum) = response.headers().get("x-amz-crc32") else {
        return Ok(());
    };
    let checksum = checksum.to_str().ok().and_then(|text| text.parse().ok());
    if checksum == Some(crc32fast::hash(response.body())) {
        return Ok(());
    }
    Err(ConnectorError::other(
        ImplausibleResponse.into(),
        Some(ErrorKind::TransientError),
    ))
}

impl HttpClient for Http {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(Self {
            connect_timeout: settings.connect_timeout().unwrap_or(self.connect_timeout),
            ..self.clone()
        })
    }
}

impl HttpConnector for Http {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        HttpConnectorFuture::new(self.clone().exchange(request))
    }
}
