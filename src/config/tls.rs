//! Whom the agent trusts, and who it is, on encrypted connections.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

/// `tls = on`: which authorities are trusted, and who we are.
#[derive(Clone)]
pub struct TlsConfig {
    /// `None`: those of the system.
    roots: Option<Vec<CertificateDer<'static>>>,
    certificate: Option<ClientCertificate>,
    client: Arc<ClientConfig>,
}

impl TlsConfig {
    /// Trusts `roots`, or the system's authorities, and shows `certificate`.
    pub(super) fn new(
        roots: Option<Vec<CertificateDer<'static>>>,
        certificate: Option<ClientCertificate>,
    ) -> Result<Self, TlsError> {
        let trusted = trusted(roots.as_deref()).map_err(TlsError::Authorities)?;
        let client = client(trusted, certificate.as_ref()).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                TlsError::Certificate("is not the key of tls_cert".to_owned())
            }
            error => TlsError::Certificate(format!("cannot be used with tls_cert: {error}")),
        })?;
        Ok(TlsConfig {
            roots,
            certificate,
            client: Arc::new(client),
        })
    }

    /// The authorities that a file named; `None`: those of the system.
    pub(super) fn roots(&self) -> Option<&Vec<CertificateDer<'static>>> {
        self.roots.as_ref()
    }

    /// What connections are made with.
    pub fn client(&self) -> &Arc<ClientConfig> {
        &self.client
    }

    /// Whether there is a client certificate.
    pub fn has_identity(&self) -> bool {
        self.certificate.is_some()
    }

    /// Where the private key lies.
    pub fn key_file(&self) -> Option<&Path> {
        let certificate = self.certificate.as_ref()?;
        Some(&certificate.key.file)
    }
}

impl PartialEq for TlsConfig {
    fn eq(&self, other: &Self) -> bool {
        self.roots == other.roots && self.certificate == other.certificate
    }
}

impl Eq for TlsConfig {}

impl fmt::Debug for TlsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsConfig")
            .field("roots", &self.roots.as_ref().map(Vec::len))
            .field("has_identity", &self.has_identity())
            .finish_non_exhaustive()
    }
}

/// A certificate, those of the authorities between, and the private key.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct ClientCertificate {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: Arc<KeyFile>,
}

/// A private key, and where it was read.
// The key's own Debug shows nothing of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct KeyFile {
    pub(super) file: PathBuf,
    pub(super) key: PrivateKeyDer<'static>,
}

/// Why a [`TlsConfig`] cannot be made; the words go on from the setting at fault.
#[derive(Debug)]
pub(super) enum TlsError {
    /// Of the authorities.
    Authorities(String),
    /// Of the client certificate or its key.
    Certificate(String),
}

/// The authorities of a file, or the system's.
fn trusted(ca: Option<&[CertificateDer<'static>]>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let Some(certificates) = ca else {
        // One bad file among the system's must not matter.
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        return match roots.is_empty() {
            false => Ok(roots),
            true => Err(
                "finds no certificate authorities on this system; name a file in tls_ca".to_owned(),
            ),
        };
    };
    for certificate in certificates {
        roots
            .add(certificate.clone())
            .map_err(|error| format!("cannot be trusted: {error}"))?;
    }
    Ok(roots)
}

fn client(
    roots: RootCertStore,
    certificate: Option<&ClientCertificate>,
) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    match certificate {
        None => Ok(builder.with_no_client_auth()),
        Some(ClientCertificate { chain, key }) => {
            builder.with_client_auth_cert(chain.clone(), key.key.clone_key())
        }
    }
}
