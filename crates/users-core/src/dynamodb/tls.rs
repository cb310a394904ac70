//! Which servers are trusted, and how TLS is configured.

use std::path::Path;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::KeyProvider;
use rustls::crypto::ring::{self, kx_group};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::SigningKey;
use rustls::{CipherSuite, ClientConfig, RootCertStore, SupportedCipherSuite};

/// Why the certificates to trust cannot be read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TrustError {
    /// The file cannot be read, or is not PEM.
    #[error("cannot read the certificates in {path} (SSL_CERT_FILE): {problem}")]
    Unreadable {
        /// The file.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The file contains no certificate that can be a root.
    #[error("{path} (SSL_CERT_FILE) contains no certificate that can be trusted")]
    Empty {
        /// The file.
        path: String,
    },
}

/// Returns the roots to trust: the certificates in this PEM file, or else Mozilla's, which are part
/// of the executable.
///
/// # Errors
///
/// If the file cannot be used.
pub(super) fn trusted_roots(file: Option<&Path>) -> Result<RootCertStore, TrustError> {
    match file {
        Some(path) => read_roots(path),
        None => Ok(RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        }),
    }
}

/// Reads the certificates in a PEM file. Ignores those that cannot be roots.
fn read_roots(path: &Path) -> Result<RootCertStore, TrustError> {
    let unreadable = |error: pem::Error| TrustError::Unreadable {
        path: path.display().to_string(),
        problem: error.to_string(),
    };
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(unreadable)?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates);
    if roots.is_empty() {
        return Err(TrustError::Empty {
            path: path.display().to_string(),
        });
    }
    Ok(roots)
}

/// Returns the TLS configuration. Among equally secure algorithms, it prefers the fastest: in ring,
/// key agreement with P-256 takes half as long as with X25519, and key derivation with SHA-256
/// takes a fraction of the time that it takes with SHA-384.
pub(super) fn config(roots: RootCertStore) -> Arc<ClientConfig> {
    let mut provider = ring::default_provider();
    provider.kx_groups = vec![kx_group::SECP256R1, kx_group::X25519, kx_group::SECP384R1];
    let is_quickest =
        |suite: &SupportedCipherSuite| suite.suite() == CipherSuite::TLS13_AES_128_GCM_SHA256;
    if let Some(quickest) = provider.cipher_suites.iter().position(is_quickest) {
        provider.cipher_suites.swap(0, quickest);
    }
    provider.key_provider = &NoKeys;
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .expect("ring supports the default versions of TLS")
        .with_root_certificates(roots)
        .with_no_client_auth();
    // There is only one server.
    config.resumption = Resumption::in_memory_sessions(1);
    Arc::new(config)
}

/// A provider that loads no private key, because a client without a certificate signs nothing.
/// Without the signing code, a zip is 23 kB smaller.
#[derive(Debug)]
struct NoKeys;

impl KeyProvider for NoKeys {
    fn load_private_key(
        &self,
        _: PrivateKeyDer<'static>,
    ) -> Result<Arc<dyn SigningKey>, rustls::Error> {
        Err(rustls::Error::General(
            "a client without a certificate has no key".to_owned(),
        ))
    }
}
