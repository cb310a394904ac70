//! HTTP for the SDK, as far as DynamoDB speaks it: HTTP/1.1, over TLS by rustls and ring.
//!
//! The SDK's own client brings HTTP/2 and proxies along, which make each function's zip a third of a megabyte larger, and
//! takes two thirds of a function's start to read the trusted certificates.

use std::env;
use std::error::Error;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_dynamodb::config::RuntimeComponents;
use aws_sdk_dynamodb::config::http::{HttpRequest, HttpResponse};
use aws_sdk_dynamodb::error::{BoxError, ConnectorError};
use aws_smithy_runtime_api::client::connection::{CaptureSmithyConnection, ConnectionMetadata};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::retry::ErrorKind;
use base64_simd::STANDARD as BASE64;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector as TcpConnector;
use lambda_http::http::header::{HOST, HeaderValue};
use lambda_http::http::{Request, Response, Uri};
use lambda_http::tower::Service;
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout};

/// Where Lambda has the certificates to trust.
const LAMBDAS_CERTIFICATES: &str = "/etc/pki/tls/certs/ca-bundle.crt";

/// How certificates begin and end in a file, and how long their lines are.
const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----\n";
const END: &[u8] = b"-----END CERTIFICATE-----";
const LINE: usize = "\n".len() + 64;

/// How long a connection that nothing is sent on is kept.
const KEPT: Duration = Duration::from_secs(90);

/// Sends the SDK's requests, over as many connections as there are requests at once, and keeps the connections.
#[derive(Clone, Debug)]
pub(crate) struct Https {
    connector: HttpsConnector<TcpConnector>,
    connect_timeout: Duration,
    connections: Arc<Mutex<Vec<Connection>>>,
}

/// A connection that takes one request at a time.
#[derive(Debug)]
struct Connection {
    sender: SendRequest<SdkBody>,
    /// Whether the SDK wants it to be given up, as after a fault of the server.
    poisoned: Arc<AtomicBool>,
    used: Instant,
}

impl Https {
    /// A connection, TLS included, that is not made within this time is given up.
    pub(crate) fn new(connect_timeout: Duration) -> Self {
        let mut tcp = TcpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        Self { connector: HttpsConnector::from((tcp, tls())), connect_timeout, connections: Arc::default() }
    }

    /// A connection on which the response to the last request has been read, if there is one.
    fn kept(&self) -> Option<Connection> {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.retain(|connection| {
            let poisoned = connection.poisoned.load(Relaxed);
            !connection.sender.is_closed() && !poisoned && connection.used.elapsed() < KEPT
        });
        let ready = connections.iter().rposition(|connection| connection.sender.is_ready())?;
        Some(connections.swap_remove(ready))
    }

    async fn connect(&self, uri: Uri) -> Result<Connection, BoxError> {
        let stream = timeout(self.connect_timeout, self.connector.clone().call(uri)).await??;
        let (sender, connection) = http1::handshake(stream).await?;
        // It tells the sender what it ends with.
        tokio::spawn(async { connection.await.unwrap_or_default() });
        Ok(Connection { sender, poisoned: Arc::default(), used: Instant::now() })
    }

    async fn send(self, mut request: Request<SdkBody>) -> Result<Response<Incoming>, ConnectorError> {
        let uri = request.uri().clone();
        if let (Some(authority), false) = (uri.authority(), request.headers().contains_key(HOST)) {
            let host = HeaderValue::try_from(authority.as_str()).map_err(|error| ConnectorError::user(error.into()))?;
            request.headers_mut().insert(HOST, host);
        }
        *request.uri_mut() = uri.path_and_query().cloned().map_or_else(Uri::default, Uri::from);
        loop {
            let kept = self.kept();
            let was_kept = kept.is_some();
            let mut connection = match kept {
                Some(connection) => connection,
                None => self.connect(uri.clone()).await.map_err(connect_error)?,
            };
            if let Some(capture) = request.extensions().get::<CaptureSmithyConnection>() {
                let poisoned = Arc::clone(&connection.poisoned);
                capture.set_connection_retriever(move || Some(metadata(Arc::clone(&poisoned))));
            }
            match connection.sender.try_send_request(request).await {
                Ok(response) => {
                    connection.used = Instant::now();
                    self.connections.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
                    return Ok(response);
                }
                Err(mut error) => match error.take_message() {
                    // The server had closed the connection before anything was sent.
                    Some(unsent) if was_kept => request = unsent,
                    _ => return Err(send_error(error.into_error())),
                },
            }
        }
    }
}

impl HttpClient for Https {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Https {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let https = self.clone();
        HttpConnectorFuture::new(async {
            let request = request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
            let response = https.send(request).await?.map(SdkBody::from_body_1_x);
            HttpResponse::try_from(response).map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

/// What the SDK wants to know of a connection.
fn metadata(poisoned: Arc<AtomicBool>) -> ConnectionMetadata {
    ConnectionMetadata::builder().proxied(false).poison_fn(move || poisoned.store(true, Relaxed)).build()
}

/// The SDK's kind, by which it decides about a retry, of an error that there is no connection for.
fn connect_error(error: BoxError) -> ConnectorError {
    if error.is::<Elapsed>() { ConnectorError::timeout(error) } else { ConnectorError::io(error) }
}

/// The SDK's kind of an error on a connection.
fn send_error(error: hyper::Error) -> ConnectorError {
    if error.is_user() {
        ConnectorError::user(error.into())
    } else if error.is_incomplete_message() {
        ConnectorError::other(error.into(), Some(ErrorKind::TransientError))
    } else if error.is_closed() || error.is_canceled() || error.source().is_some_and(<dyn Error>::is::<io::Error>) {
        ConnectorError::io(error.into())
    } else {
        ConnectorError::other(error.into(), None)
    }
}

fn tls() -> ClientConfig {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has what these versions of TLS need")
        .with_root_certificates(roots())
        .with_no_client_auth()
}

/// The certificates that are trusted: those of the file that `SSL_CERT_FILE` names, else of Lambda's own file, else what
/// `rustls_native_certs` finds. It reads those files too, but several times as slowly.
fn roots() -> RootCertStore {
    let file = env::var_os("SSL_CERT_FILE").map_or_else(|| PathBuf::from(LAMBDAS_CERTIFICATES), PathBuf::from);
    let roots = if env::var_os("SSL_CERT_DIR").is_none() { read_pem(&file) } else { None };
    roots.filter(|roots| !roots.is_empty()).unwrap_or_else(|| {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        roots
    })
}

/// The certificates in a file, if all that look like one have the form that OpenSSL writes: lines of 64 characters but for the last
/// (<https://www.rfc-editor.org/rfc/rfc7468>). Those that make no root are left out.
fn read_pem(file: &Path) -> Option<RootCertStore> {
    let file = fs::read(file).ok()?;
    let (mut roots, mut base64, mut rest) = (RootCertStore::empty(), Vec::new(), &*file);
    while let Some(end_of_line) = rest.iter().position(|byte| *byte == b'\n') {
        let (line, lines) = rest.split_at(end_of_line + 1);
        rest = lines;
        if line == BEGIN {
            base64.clear();
            while let Some((line, lines)) = rest.split_at_checked(LINE).filter(|(line, _)| line.ends_with(b"\n")) {
                base64.extend_from_slice(line.trim_ascii_end());
                rest = lines;
            }
            let end = rest.iter().position(|byte| *byte == b'-')?;
            base64.extend_from_slice(rest[..end].trim_ascii_end());
            rest = rest[end..].strip_prefix(END)?;
            let _ = roots.add(BASE64.decode_to_vec(&base64).ok()?.into());
        }
    }
    Some(roots)
}
