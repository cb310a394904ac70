//! Connections that are kept between requests, and between invocations.

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use aws_sdk_dynamodb::error::{BoxError, ConnectorError};
use aws_smithy_runtime_api::client::connection::{CaptureSmithyConnection, ConnectionMetadata};
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::retry::ErrorKind;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use lambda_http::http::header::{HOST, HeaderValue};
use lambda_http::http::{Request, Response, Uri};
use lambda_http::tower::Service;
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::error::Elapsed;
use tokio::time::timeout;

use super::memory::OversizedResponse;

/// How long a connection is kept after its last response.
const MAX_IDLE: Duration = Duration::from_secs(90);

/// How long a response on a reused connection may take to begin. The connection may have died while
/// Lambda kept the process frozen, and only a missing response shows that. If the response was
/// merely slow, the request is sent again on a new connection, with the full timeout of an attempt.
const REUSED_RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);

/// The maximum size of a response that is read, in bytes. The largest page has 1 MB of numbers such
/// as 1E-130, each of which is 3 bytes in an item and 141 in JSON.
const MAX_RESPONSE_BYTES: usize = 50 * 1024 * 1024;

/// The error for a connection that could not be opened. Nothing was sent.
#[derive(Debug, thiserror::Error)]
#[error("cannot connect to {authority}")]
pub(super) struct ConnectError {
    /// The host and port.
    authority: String,
    source: BoxError,
}

/// A pool of connections. It grows to the largest number of concurrent requests.
#[derive(Clone, Debug)]
pub(super) struct Connections {
    connector: HttpsConnector<HttpConnector>,
    /// The idle connections, the most recently used one last.
    idle: Arc<Mutex<Vec<Connection>>>,
}

/// A connection that serves one request at a time. It is reset when it is dropped, so nothing more
/// is sent of a request that was abandoned.
#[derive(Debug)]
struct Connection {
    sender: SendRequest<SdkBody>,
    /// Whether the SDK wants the connection closed, as it does after a server error.
    poisoned: Arc<AtomicBool>,
    /// When the connection's last response ended, by the system clock: `Instant` may stand still
    /// while Lambda keeps the process frozen.
    idle_since: SystemTime,
    /// Tells the task that drives the connection when this is dropped.
    _dropped: oneshot::Sender<Infallible>,
}

impl Connections {
    pub(super) fn new(tls: Arc<ClientConfig>) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        Self {
            connector: HttpsConnector::from((tcp, tls)),
            idle: Arc::default(),
        }
    }

    /// Opens a connection to the server in this URL, and adds it to the pool.
    ///
    /// # Errors
    ///
    /// [`ConnectError`]; else the error that ended the new connection.
    pub(super) async fn open(&self, url: &Uri, limit: Duration) -> Result<(), ConnectorError> {
        let mut connection = self.connect(url, limit).await?;
        connection.sender.ready().await.map_err(connection_error)?;
        self.lock().push(connection);
        Ok(())
    }

    /// Sends a request on an idle connection, or on a new one, and returns the whole response.
    ///
    /// # Errors
    ///
    /// [`ConnectError`] if nothing was sent; [`OversizedResponse`]; else the error that ended the
    /// connection, in which case the server may or may not have processed the request.
    pub(super) async fn send(
        &self,
        mut request: Request<SdkBody>,
        connect_timeout: Duration,
    ) -> Result<Response<Vec<u8>>, ConnectorError> {
        let url = request.uri().clone();
        if let (Some(authority), false) = (url.authority(), request.headers().contains_key(HOST)) {
            let host = HeaderValue::try_from(authority.as_str())
                .map_err(|error| ConnectorError::user(error.into()))?;
            request.headers_mut().insert(HOST, host);
        }
        *request.uri_mut() = url
            .path_and_query()
            .cloned()
            .map_or_else(Uri::default, Uri::from);
        loop {
            let Some(mut connection) = self.take_idle() else {
                let mut connection = self.connect(&url, connect_timeout).await?;
                captured(&connection, &request);
                let sent = connection.sender.try_send_request(request).await;
                let response = sent.map_err(|error| connection_error(error.into_error()))?;
                return self.finish(connection, response).await;
            };
            captured(&connection, &request);
            let sent = connection.sender.try_send_request(request);
            match timeout(REUSED_RESPONSE_TIMEOUT, sent).await {
                Ok(Ok(response)) => return self.finish(connection, response).await,
                Ok(Err(mut error)) => {
                    self.discard_idle_since(connection.idle_since);
                    match error.take_message() {
                        Some(unsent) => request = unsent,
                        None => return Err(connection_error(error.into_error())),
                    }
                }
                Err(elapsed) => {
                    self.discard_idle_since(connection.idle_since);
                    return Err(ConnectorError::timeout(elapsed.into()));
                }
            }
        }
    }

    /// Reads the rest of a response, and returns its connection to the pool.
    async fn finish(
        &self,
        mut connection: Connection,
        response: Response<Incoming>,
    ) -> Result<Response<Vec<u8>>, ConnectorError> {
        let (head, body) = response.into_parts();
        let body = read(body).await?;
        connection.idle_since = SystemTime::now();
        self.lock().push(connection);
        Ok(Response::from_parts(head, body))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the most recently used connection that is still usable.
    fn take_idle(&self) -> Option<Connection> {
        let mut idle = self.lock();
        let now = SystemTime::now();
        idle.retain(|connection| {
            // If the clock was set back, the age is unknown.
            let is_young = now
                .duration_since(connection.idle_since)
                .is_ok_and(|age| age < MAX_IDLE);
            is_young && !connection.sender.is_closed() && !connection.poisoned.load(Relaxed)
        });
        let ready = idle
            .iter()
            .rposition(|connection| connection.sender.is_ready())?;
        Some(idle.remove(ready))
    }

    /// Closes every connection that has been idle since this time or longer. Whatever broke the
    /// connection that was idle since then has most likely broken these too.
    fn discard_idle_since(&self, time: SystemTime) {
        self.lock()
            .retain(|connection| connection.idle_since > time);
    }

    async fn connect(&self, url: &Uri, limit: Duration) -> Result<Connection, ConnectorError> {
        let opened = async {
            let stream = timeout(limit, self.connector.clone().call(url.clone())).await??;
            Ok(http1::handshake(stream).await?)
        };
        let (sender, mut connection) = opened.await.map_err(|source: BoxError| {
            let timed_out = source.is::<Elapsed>();
            let authority = url.authority().map(ToString::to_string).unwrap_or_default();
            let error = Box::new(ConnectError { authority, source });
            if timed_out {
                ConnectorError::timeout(error)
            } else {
                ConnectorError::io(error)
            }
        })?;
        let (on_drop, dropped) = oneshot::channel();
        tokio::spawn(async move {
            tokio::select! {
                biased;
                _ = dropped => reset(&connection.into_parts().io),
                // The sender reports the errors of the connection.
                _ = &mut connection => {}
            }
        });
        Ok(Connection {
            sender,
            poisoned: Arc::default(),
            idle_since: SystemTime::now(),
            _dropped: on_drop,
        })
    }
}

/// Closes a connection at once. A connection that is closed in the usual way still sends what the
/// kernel has buffered, and over TLS the rest of the request.
fn reset(stream: &MaybeHttpsStream<TokioIo<TcpStream>>) {
    let tcp = match stream {
        MaybeHttpsStream::Http(tcp) => tcp.inner(),
        MaybeHttpsStream::Https(tls) => tls.inner().get_ref().0.inner().inner(),
    };
    // It fails only if the connection is closed already.
    let _ = tcp.set_zero_linger();
}

/// Lets the SDK poison the connection on which this request is sent.
fn captured(connection: &Connection, request: &Request<SdkBody>) {
    if let Some(capture) = request.extensions().get::<CaptureSmithyConnection>() {
        let poisoned = Arc::clone(&connection.poisoned);
        capture.set_connection_retriever(move || {
            let poisoned = Arc::clone(&poisoned);
            let poison = move || poisoned.store(true, Relaxed);
            Some(
                ConnectionMetadata::builder()
                    .proxied(false)
                    .poison_fn(poison)
                    .build(),
            )
        });
    }
}

/// Reads a whole body.
async fn read(mut body: Incoming) -> Result<Vec<u8>, ConnectorError> {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > MAX_RESPONSE_BYTES {
        return Err(ConnectorError::other(OversizedResponse.into(), None));
    }
    let mut bytes = Vec::with_capacity(announced);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(connection_error)?.into_data() else {
            continue;
        };
        if bytes.len() + data.len() > MAX_RESPONSE_BYTES {
            return Err(ConnectorError::other(OversizedResponse.into(), None));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

/// Converts an error of a connection for the SDK, which makes another attempt unless the request
/// itself cannot be sent.
fn connection_error(error: hyper::Error) -> ConnectorError {
    if error.is_user() {
        ConnectorError::user(error.into())
    } else {
        ConnectorError::other(error.into(), Some(ErrorKind::TransientError))
    }
}

#[cfg(test)]
mod tests {
    use rustls::RootCertStore;

    use super::*;
    use crate::dynamodb::tls;

    #[tokio::test]
    async fn only_a_connection_that_was_used_lately_is_used_again() {
        let server = tokio::net::TcpListener::bind(("127.0.0.1", 0));
        let server = server.await.expect("a port");
        let address = server.local_addr().expect("an address");
        let url = format!("http://{address}").parse().expect("a URL");
        let connections = Connections::new(tls::config(RootCertStore::empty()));
        // The last time is in the future, as after the clock was set back.
        for (seconds, is_usable) in [(85, true), (90, false), (-60, false)] {
            let opened = connections.open(&url, MAX_IDLE);
            opened.await.expect("a connection");
            let age = Duration::from_secs(u64::from(i32::unsigned_abs(seconds)));
            let now = SystemTime::now();
            let since = if seconds > 0 { now - age } else { now + age };
            connections.lock()[0].idle_since = since;
            assert_eq!(connections.take_idle().is_some(), is_usable, "{seconds} s");
        }
    }
}
