//! `tls` and the files that belong to it. They are read at the start, so that a wrong one is refused
//! with its line in the ini.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

/// `tls = on`: which authorities are trusted, and who we are.
#[derive(Clone)]
pub struct TlsConfig {
    /// `None`: those of the system.
    pub(super) roots: Option<Vec<CertificateDer<'static>>>,
    pub(super) identity: Option<Identity>,
    pub(super) client: Arc<ClientConfig>,
}

impl TlsConfig {
    /// Trusts `roots`, or the system's authorities, and shows no certificate of its own.
    pub(super) fn trusting(roots: Option<Vec<CertificateDer<'static>>>) -> Result<Self, String> {
        let client = client(trusted(roots.as_deref())?, None).map_err(|error| error.to_string())?;
        Ok(TlsConfig {
            roots,
            identity: None,
            client: Arc::new(client),
        })
    }

    /// What connections are made with.
    pub fn client(&self) -> &Arc<ClientConfig> {
        &self.client
    }

    /// Whether there is a client certificate.
    pub fn has_identity(&self) -> bool {
        self.identity.is_some()
    }

    /// Where the private key lies.
    pub fn key_file(&self) -> Option<&Path> {
        let identity = self.identity.as_ref()?;
        Some(&identity.key.file)
    }
}

impl PartialEq for TlsConfig {
    fn eq(&self, other: &Self) -> bool {
        self.roots == other.roots && self.identity == other.identity
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
pub(super) struct Identity {
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

/// The authorities of a file, or the system's.
pub(super) fn trusted(ca: Option<&[CertificateDer<'static>]>) -> Result<RootCertStore, String> {
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

pub(super) fn client(
    roots: RootCertStore,
    identity: Option<&Identity>,
) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    match identity {
        None => Ok(builder.with_no_client_auth()),
        Some(Identity { chain, key }) => {
            builder.with_client_auth_cert(chain.clone(), key.key.clone_key())
        }
    }
}
