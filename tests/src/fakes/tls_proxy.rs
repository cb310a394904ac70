//! A TLS proxy for an engine that speaks plain HTTP.

use std::io::Write;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
};
use tempfile::NamedTempFile;
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use super::Server;

/// A TLS proxy on a free port, with a certificate for `localhost`. Dropping it stops it.
pub struct TlsProxy {
    url: String,
    root: NamedTempFile,
    server: Server,
}

impl TlsProxy {
    /// Starts a proxy to the server at this URL, with a certificate from a new root.
    pub async fn start(upstream: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // If the root had the certificate's name, OpenSSL would consider the latter self-signed.
        params
            .distinguished_name
            .push(DnType::CommonName, "A test's root");
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key"));
        let issuer = issuer.expect("a root certificate");
        let mut root = NamedTempFile::new().expect("a file");
        root.write_all(issuer.pem().as_bytes())
            .expect("the root is written");

        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("parameters");
        params.use_authority_key_identifier_extension = true;
        let certificate = params
            .signed_by(&key, &issuer)
            .expect("a certificate")
            .der()
            .clone();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions of TLS")
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate],
                PrivateKeyDer::Pkcs8(key.serialize_der().into()),
            )
            .expect("a configuration");

        let acceptor = TlsAcceptor::from(Arc::new(config));
        let upstream = upstream.trim_start_matches("http://").to_owned();
        let server = Server::start(move |client, _| {
            let (acceptor, upstream) = (acceptor.clone(), upstream.clone());
            async move {
                // A client that does not trust the certificate closes the connection.
                client.set_nodelay(true).ok()?;
                let mut client = acceptor.accept(client).await.ok()?;
                let mut server = TcpStream::connect(upstream).await.ok()?;
                server.set_nodelay(true).ok()?;
                copy_bidirectional(&mut client, &mut server).await.ok()
            }
        })
        .await;
        Self {
            url: format!("https://localhost:{}", server.port),
            root,
            server,
        }
    }

    /// Returns the URL of the proxy.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns the PEM file with the root that a client must trust.
    pub fn root(&self) -> &str {
        self.root.path().to_str().expect("a path")
    }

    /// Returns how many connections have been opened.
    pub fn connections(&self) -> usize {
        self.server.connections()
    }
}
