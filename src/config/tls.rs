//! Whom the agent trusts, and who it is, on encrypted connections.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use verifier::Verifier;

mod verifier;

/// `tls = on`: which authorities are trusted, and who we are.
#[derive(Clone)]
pub struct TlsConfig {
    /// `None`: those of the system.
    roots: Option<Roots>,
    certificate: Option<ClientCertificate>,
    client: Arc<ClientConfig>,
}

impl TlsConfig {
    /// Trusts `roots`, or the system's authorities, and shows `certificate`.
    pub(super) fn new(
        roots: Option<Roots>,
        certificate: Option<ClientCertificate>,
    ) -> Result<Self, TlsError> {
        let verifier = verifier(roots.as_ref()).map_err(TlsError::Authorities)?;
        let client = client(verifier, certificate.as_ref()).map_err(|error| match error {
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
    pub(super) fn roots(&self) -> Option<&Roots> {
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
            .field(
                "roots",
                &self.roots.as_ref().map(|roots| roots.certificates.len()),
            )
            .field("has_identity", &self.has_identity())
            .finish_non_exhaustive()
    }
}

/// The certificates of authorities in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Roots {
    pub(super) file: PathBuf,
    /// One at least, and of use as a root each.
    pub(super) certificates: Vec<CertificateDer<'static>>,
    /// Which others the file holds, by their place in it from 1, and why they are of no use.
    pub(super) left_out: Vec<(usize, String)>,
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

/// Checks the certificates of servers against the authorities of a file, or the system's.
fn verifier(roots: Option<&Roots>) -> Result<Verifier, String> {
    let mut store = RootCertStore::empty();
    let trusted = roots.map_or(&[][..], |roots| &roots.certificates);
    for certificate in trusted {
        store
            .add(certificate.clone())
            .map_err(|error| format!("cannot be trusted: {error}"))?;
    }
    if roots.is_none() {
        // One bad file among the system's must not matter.
        let found = rustls_native_certs::load_native_certs();
        store.add_parsable_certificates(found.certs);
        if store.is_empty() {
            return Err(
                "finds no certificate authorities on this system; name a file in tls_ca".to_owned(),
            );
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let usual = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider).build();
    let usual = usual.map_err(|error| format!("cannot be used: {error}"))?;
    Ok(Verifier::new(usual, trusted))
}

fn client(
    verifier: Verifier,
    certificate: Option<&ClientCertificate>,
) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    match certificate {
        None => Ok(builder.with_no_client_auth()),
        Some(ClientCertificate { chain, key }) => {
            builder.with_client_auth_cert(chain.clone(), key.key.clone_key())
        }
    }
}
