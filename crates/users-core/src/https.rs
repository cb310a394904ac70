//! HTTP for the SDK, as far as DynamoDB speaks it: HTTP/1.1, over TLS by rustls and ring.
//!
//! The SDK's own client brings HTTP/2 and proxies along, which make each function's zip a third of a megabyte larger, and
//! takes two thirds of a function's start to read the trusted certificates.

use std::env;
use std::error::Error;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
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
use hyper_rustls::MaybeHttpsStream;
use hyper_util::client::legacy::connect::HttpConnector as TcpConnector;
use hyper_util::rt::TokioIo;
use lambda_http::http::header::{HOST, HeaderValue};
use lambda_http::http::uri::Scheme;
use lambda_http::http::{Request, Response, Uri};
use lambda_http::tower::Service;
use memchr::memchr;
use rustls::client::Resumption;
use rustls::crypto::ring::{self, kx_group};
use rustls::pki_types::ServerName;
use rustls::{CipherSuite, ClientConfig, RootCertStore, SupportedCipherSuite};
use tokio::join;
use tokio::net::TcpStream;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

/// Where Lambda has the certificates to trust.
const LAMBDAS_CERTIFICATES: &str = "/etc/pki/tls/certs/ca-bundle.crt";

/// The lines around a certificate in a file, and how long those in between usually are, but for the last.
const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";
const END: &[u8] = b"-----END CERTIFICATE-----";
const LINE: usize = 64;

/// How long a connection that nothing is sent on is kept.
const KEPT: Duration = Duration::from_secs(90);

/// Sends the SDK's requests, over as many connections as there are requests at once, and keeps the connections.
#[derive(Clone, Debug)]
pub(crate) struct Https {
    tcp: TcpConnector,
    /// Made for the first connection.
    tls: Arc<OnceLock<Arc<ClientConfig>>>,
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
        Self { tcp, tls: Arc::default(), connect_timeout, connections: Arc::default() }
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
        let (sender, connection) =
            http1::handshake(timeout(self.connect_timeout, self.stream(uri)).await??).await?;
        // It tells the sender what it ends with.
        tokio::spawn(async { connection.await.unwrap_or_default() });
        Ok(Connection { sender, poisoned: Arc::default(), used: Instant::now() })
    }

    async fn stream(&self, uri: Uri) -> Result<MaybeHttpsStream<TokioIo<TcpStream>>, BoxError> {
        if uri.scheme() != Some(&Scheme::HTTPS) {
            return Ok(self.tcp.clone().call(uri).await?.into());
        }
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let host = ServerName::try_from(host)?.to_owned();
        // The certificates are read while the network is waited for.
        let config = async { Arc::clone(self.tls.get_or_init(|| tls(roots()))) };
        let (stream, config) = join!(self.tcp.clone().call(uri), config);
        Ok(TlsConnector::from(config).connect(host, TokioIo::new(stream?)).await?.into())
    }

    async fn send(
        self,
        mut request: Request<SdkBody>,
    ) -> Result<Response<Incoming>, ConnectorError> {
        let uri = request.uri().clone();
        if let (Some(authority), false) = (uri.authority(), request.headers().contains_key(HOST)) {
            let host = HeaderValue::try_from(authority.as_str())
                .map_err(|error| ConnectorError::user(error.into()))?;
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
                    self.connections
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(connection);
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
    fn http_connector(
        &self,
        _: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Https {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let https = self.clone();
        HttpConnectorFuture::new(async {
            let request =
                request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
            let response = https.send(request).await?.map(SdkBody::from_body_1_x);
            HttpResponse::try_from(response)
                .map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

/// What the SDK wants to know of a connection.
fn metadata(poisoned: Arc<AtomicBool>) -> ConnectionMetadata {
    ConnectionMetadata::builder()
        .proxied(false)
        .poison_fn(move || poisoned.store(true, Relaxed))
        .build()
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
    } else if error.is_closed()
        || error.is_canceled()
        || error.source().is_some_and(<dyn Error>::is::<io::Error>)
    {
        ConnectorError::io(error.into())
    } else {
        ConnectorError::other(error.into(), None)
    }
}

/// Of what is equally safe, the quickest comes first: ring agrees on keys with P-256 in half the time of X25519, and derives keys with
/// SHA-256 in a fraction of that of SHA-384.
fn tls(roots: RootCertStore) -> Arc<ClientConfig> {
    let mut provider = ring::default_provider();
    provider.kx_groups = vec![kx_group::SECP256R1, kx_group::X25519, kx_group::SECP384R1];
    let quickest =
        |suite: &SupportedCipherSuite| suite.suite() == CipherSuite::TLS13_AES_128_GCM_SHA256;
    if let Some(quickest) = provider.cipher_suites.iter().position(quickest) {
        provider.cipher_suites.swap(0, quickest);
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .expect("ring has what these versions of TLS need")
        .with_root_certificates(roots)
        .with_no_client_auth();
    // There is one server.
    config.resumption = Resumption::in_memory_sessions(1);
    Arc::new(config)
}

/// The certificates that are trusted: those of the file that `SSL_CERT_FILE` names; else of Lambda's own file, unless `SSL_CERT_DIR`
/// names a directory; else what `rustls_native_certs` finds. It reads those files too, but several times as slowly.
fn roots() -> RootCertStore {
    let lambdas = || env::var_os("SSL_CERT_DIR").is_none().then(|| LAMBDAS_CERTIFICATES.into());
    let file = env::var_os("SSL_CERT_FILE").or_else(lambdas);
    let roots = file.and_then(|file| read_pem(Path::new(&file)).ok());
    roots.filter(|roots| !roots.is_empty()).unwrap_or_else(|| {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        roots
    })
}

/// The certificates in a file (<https://www.rfc-editor.org/rfc/rfc7468>). Those that make no root are left out.
///
/// The file is never in memory as a whole: at the start of a process, each new page of memory takes microseconds.
fn read_pem(file: &Path) -> io::Result<RootCertStore> {
    let (mut file, mut roots) = (BufReader::new(File::open(file)?), RootCertStore::empty());
    let mut base64 = Vec::new();
    loop {
        // Most lines are of one length, and quicker to recognise than to find the end of by `read_until`.
        if let Some((line, [b'\n', ..])) = file.fill_buf()?.split_at_checked(LINE)
            && memchr(b'\n', line).is_none()
        {
            base64.extend_from_slice(line.trim_ascii_end());
            file.consume(LINE + "\n".len());
            continue;
        }
        let before = base64.len();
        if file.read_until(b'\n', &mut base64)? == 0 {
            return Ok(roots);
        }
        match base64[before..].trim_ascii_end() {
            BEGIN => base64.clear(),
            END => {
                let certificate =
                    BASE64.decode_to_vec(&base64[..before]).map_err(io::Error::other)?;
                let _ = roots.add(certificate.into());
                base64.clear();
            }
            line => base64.truncate(before + line.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
    use rustls::ServerConfig;
    use rustls::pki_types::PrivateKeyDer;
    use tempfile::NamedTempFile;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;

    fn issuer() -> CertifiedIssuer<'static, KeyPair> {
        issuer_named("issuer")
    }

    fn issuer_named(name: &str) -> CertifiedIssuer<'static, KeyPair> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key"))
            .expect("a certificate")
    }

    fn read(pem: &str) -> io::Result<RootCertStore> {
        let mut file = NamedTempFile::new().expect("a file");
        file.write_all(pem.as_bytes()).expect("a file written");
        read_pem(file.path())
    }

    #[test]
    fn certificates_are_read_whatever_is_around_them_and_however_their_lines_end() {
        let (one, other) = (issuer().pem().replace("\r\n", "\n"), issuer().pem());
        for (pem, certificates) in [
            (String::new(), 0),
            (one.clone(), 1),
            (one.trim_end().to_owned(), 1),
            (one.clone() + &other, 2),
            (one.replace('\n', "\r\n"), 1),
            (format!("\n# Issuer\n{one}\n# Other issuer\n{other}\n# end"), 2),
            (
                format!(
                    "-----BEGIN TRUSTED CERTIFICATE-----\nAAAA\n-----END TRUSTED CERTIFICATE-----\n{one}"
                ),
                1,
            ),
            (format!("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n{one}"), 1),
            (one.repeat(50), 50),
        ] {
            assert_eq!(read(&pem).expect(&pem).len(), certificates, "{pem}");
        }
        // Wherever the lines are in blocks of the length of most lines.
        for length in 0..LINE * 2 {
            let text = "#".repeat(length);
            for end in ["\n", "\r\n"] {
                let pem = format!("{text}\n{one}{text}\n{other}{text}")
                    .replace('\r', "")
                    .replace('\n', end);
                assert_eq!(read(&pem).expect(&pem).len(), 2, "{pem}");
            }
            // The last line of its base64 grows with it.
            let pem = issuer_named(&text).pem().replace('\r', "");
            assert_eq!(read(&(pem.clone() + &pem)).expect(&pem).len(), 2, "{pem}");
        }
        assert!(read("-----BEGIN CERTIFICATE-----\n*\n-----END CERTIFICATE-----\n").is_err());
        assert!(read_pem(Path::new("/missing")).is_err());
    }

    /// Starts a server on `localhost` that answers every request with `{}`, and gives its URL.
    async fn server(issuer: &CertifiedIssuer<'static, KeyPair>) -> Uri {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("parameters");
        let certificate = params.signed_by(&key, issuer).expect("a certificate").der().clone();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
            .expect("a server's configuration");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                // A client that does not trust the server goes away.
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                while stream.read(&mut [0; 1024]).await.is_ok_and(|bytes| bytes > 0) {
                    stream
                        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
                        .await
                        .expect("an answer sent");
                }
            }
        });
        format!("https://localhost:{port}/").parse().expect("a URL")
    }

    async fn get(url: &Uri, trusted: RootCertStore) -> Result<u16, ConnectorError> {
        let https = Https::new(Duration::from_secs(10));
        https.tls.set(tls(trusted)).expect("no configuration yet");
        let request = Request::get(url).body(SdkBody::empty()).expect("a request");
        https.send(request).await.map(|response| response.status().as_u16())
    }

    #[tokio::test]
    async fn a_server_is_trusted_only_if_a_trusted_certificate_issued_its_own() {
        let (trusted, other) = (issuer(), issuer());
        let url = server(&trusted).await;
        let error =
            get(&url, read(&other.pem()).expect("certificates")).await.expect_err("no connection");
        assert!(error.is_io(), "{error:?}");
        assert_eq!(get(&url, read(&trusted.pem()).expect("certificates")).await.ok(), Some(200));
        let by_address = url.to_string().replace("localhost", "127.0.0.1").parse().expect("a URL");
        assert!(get(&by_address, read(&trusted.pem()).expect("certificates")).await.is_err());
    }
}
