//! The HTTP client of all suites.

use http_body_util::BodyExt;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{self, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use lambda_http::Body;
use lambda_http::http::{Request, Response};

/// A client that keeps connections open.
#[derive(Clone)]
pub struct Client(legacy::Client<HttpsConnector<HttpConnector>, Body>);

impl Default for Client {
    fn default() -> Self {
        let connector = HttpsConnectorBuilder::new()
            .with_native_roots()
            .expect("root certificates")
            .https_or_http()
            .enable_http1()
            .build();
        Self(legacy::Client::builder(TokioExecutor::new()).build(connector))
    }
}

impl Client {
    /// Sends a request, and returns the whole response as text.
    ///
    /// # Errors
    ///
    /// If there is no complete response.
    pub async fn send(&self, request: Request<Body>) -> Result<Response<String>, String> {
        let response = self.0.request(request).await;
        let (parts, body) = response.map_err(|error| format!("{error:?}"))?.into_parts();
        let body = body.collect().await.map_err(|error| error.to_string())?;
        let text =
            String::from_utf8(body.to_bytes().to_vec()).map_err(|error| error.to_string())?;
        Ok(Response::from_parts(parts, text))
    }
}

/// Returns an id as it appears in a path.
pub fn percent_encoded(id: &str) -> String {
    form_urlencoded::byte_serialize(id.as_bytes())
        .collect::<String>()
        .replace('+', "%20")
}

/// Returns a text with `UUID` in place of each string that is one.
pub fn without_uuids(text: &str) -> String {
    let is_uuid = |part: &str| uuid::Uuid::parse_str(part).is_ok();
    let parts = text.split('"');
    let parts: Vec<_> = parts
        .map(|part| if is_uuid(part) { "UUID" } else { part })
        .collect();
    parts.join("\"")
}
