//! The HTTP client of all suites.

use std::error::Error;
use std::sync::LazyLock;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{self, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use lambda_http::Body;
use lambda_http::http::{Request, Response};
use tokio::time::timeout;

/// How long a response may take. API Gateway waits for 29 seconds, and the machine may be busy.
const PATIENCE: Duration = Duration::from_mins(1);

/// A client that keeps connections open.
#[derive(Clone)]
pub struct Client(legacy::Client<HttpsConnector<HttpConnector>, Body>);

/// Reading the root certificates takes a moment.
static CONNECTOR: LazyLock<HttpsConnector<HttpConnector>> = LazyLock::new(|| {
    HttpsConnectorBuilder::new()
        .with_native_roots()
        .expect("root certificates")
        .https_or_http()
        .enable_http1()
        .build()
});

impl Default for Client {
    fn default() -> Self {
        let connector = CONNECTOR.clone();
        Self(legacy::Client::builder(TokioExecutor::new()).build(connector))
    }
}

impl Client {
    /// Sends a request, and returns the whole response as text.
    ///
    /// # Errors
    ///
    /// If there is no complete response in time.
    pub async fn send(&self, request: Request<Body>) -> Result<Response<String>, String> {
        let exchange = async {
            let (parts, body) = self.0.request(request).await?.into_parts();
            let text = String::from_utf8(body.collect().await?.to_bytes().to_vec())?;
            Ok(Response::from_parts(parts, text))
        };
        match timeout(PATIENCE, exchange).await {
            Ok(result) => result.map_err(|error: Box<dyn Error>| causes(&*error)),
            Err(elapsed) => Err(elapsed.to_string()),
        }
    }
}

/// Returns the messages of an error and of its causes.
fn causes(error: &(dyn Error + 'static)) -> String {
    let errors = std::iter::successors(Some(error), |&error| error.source());
    let messages: Vec<_> = errors.map(ToString::to_string).collect();
    messages.join(": ")
}

/// Returns an id as it appears in a path.
pub fn percent_encoded(id: &str) -> String {
    form_urlencoded::byte_serialize(id.as_bytes())
        .collect::<String>()
        .replace('+', "%20")
}
