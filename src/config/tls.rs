//! `tls` and the files that belong to it. They are read at the start, so that a wrong one is refused
//! with its line in the ini.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, RootCertStore};

use super::error::{ConfigError, Problem};
use super::reader::Setting;
use super::text;
use super::value::{BadValue, Kind};

/// `tls = on`: which authorities are trusted, and who we are.
#[derive(Clone)]
pub struct TlsConfig {
    /// `None`: those of the system.
    pub(super) roots: Option<Vec<CertificateDer<'static>>>,
    identity: Option<Identity>,
    client: Arc<ClientConfig>,
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
struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: Arc<KeyFile>,
}

/// A private key, and where it was read.
// The key's own Debug shows nothing of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct KeyFile {
    file: PathBuf,
    key: PrivateKeyDer<'static>,
}

/// `tls_ca`, `tls_cert`.
pub(super) struct Certificates;

impl Kind for Certificates {
    type Value = Vec<CertificateDer<'static>>;

    fn accepted(&self) -> String {
        "a PEM file of certificates".to_owned()
    }

    fn read(&self, text: &str) -> Result<Self::Value, BadValue> {
        let pem = content(text)?;
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(&pem)
            .collect::<Result<_, _>>()
            .map_err(|error| BadValue::default().hint(pem_words(error)))?;
        if certificates.is_empty() {
            return Err(BadValue::default().hint("there is no certificate in it"));
        }
        for certificate in &certificates {
            ParsedCertificate::try_from(certificate).map_err(|error| {
                BadValue::default().hint(format!(
                    "a certificate in it is malformed, or not of X.509 version 3: {error}"
                ))
            })?;
        }
        Ok(certificates)
    }
}

/// `tls_key`.
pub(super) struct PrivateKey;

impl Kind for PrivateKey {
    type Value = Arc<KeyFile>;

    fn accepted(&self) -> String {
        "a PEM file with a private key".to_owned()
    }

    fn read(&self, text: &str) -> Result<Self::Value, BadValue> {
        let pem = content(text)?;
        match PrivateKeyDer::from_pem_slice(&pem) {
            Ok(key) => Ok(Arc::new(KeyFile {
                file: text.into(),
                key,
            })),
            Err(pem::Error::NoItemsFound)
                if memchr::memmem::find(&pem, b"ENCRYPTED PRIVATE KEY").is_some() =>
            {
                let hint = "the key is encrypted; write it out plain: openssl pkey -in FILE";
                Err(BadValue::default().hint(hint))
            }
            Err(pem::Error::NoItemsFound) => {
                Err(BadValue::default().hint("there is no private key in it"))
            }
            Err(error) => Err(BadValue::default().hint(pem_words(error))),
        }
    }
}

/// The bytes of a file that a value names.
pub(super) fn content(path: &str) -> Result<Vec<u8>, BadValue> {
    text::read(Path::new(path)).map_err(|problem| {
        let hint = match problem {
            Problem::Missing => "no such file".to_owned(),
            Problem::NotRegular(what) => format!("a {what}, not a regular file"),
            problem => problem.to_string(),
        };
        BadValue::default().hint(hint)
    })
}

/// What is wrong, without a byte of the file, which may hold a key.
fn pem_words(error: pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { .. } => "a section of it has no END line".to_owned(),
        pem::Error::IllegalSectionStart { .. } => "a BEGIN line in it is malformed".to_owned(),
        _ => "it is not valid PEM".to_owned(),
    }
}

/// The settings that make a [`TlsConfig`], where all of them could be read.
pub(super) struct TlsSettings {
    pub(super) on: Setting<bool>,
    pub(super) ca: Setting<Option<Vec<CertificateDer<'static>>>>,
    pub(super) cert: Setting<Option<Vec<CertificateDer<'static>>>>,
    pub(super) key: Setting<Option<Arc<KeyFile>>>,
}

/// `Some(None)`: TLS is off.
pub(super) fn settle(
    settings: TlsSettings,
    errors: &mut Vec<ConfigError>,
) -> Option<Option<TlsConfig>> {
    let TlsSettings { on, ca, cert, key } = settings;
    let before = errors.len();
    if !on.value {
        const HINT: &str = "write tls = on, or leave it out";
        ca.refuse_beside(&on, HINT, errors);
        cert.refuse_beside(&on, HINT, errors);
        key.refuse_beside(&on, HINT, errors);
        return (errors.len() == before).then_some(None);
    }
    if cert.value.is_some() && key.value.is_none() {
        errors.push(cert.lacks("tls_key"));
    }
    if key.value.is_some() && cert.value.is_none() {
        errors.push(key.lacks("tls_cert"));
    }
    let roots = match trusted(ca.value.as_deref()) {
        Ok(roots) => roots,
        Err(why) => {
            errors.push(match ca.value {
                Some(_) => ca.unfit(why),
                None => on.unfit(why),
            });
            return None;
        }
    };
    if errors.len() > before {
        return None;
    }
    let identity = match (cert.value.clone(), key.value.clone()) {
        (Some(chain), Some(key)) => Some(Identity { chain, key }),
        _ => None,
    };
    match client(roots, identity.as_ref()) {
        Ok(client) => Some(Some(TlsConfig {
            roots: ca.value,
            identity,
            client: Arc::new(client),
        })),
        Err(error) => {
            errors.push(key.unfit(match error {
                rustls::Error::InconsistentKeys(_) => "is not the key of tls_cert".to_owned(),
                error => format!("cannot be used with tls_cert: {error}"),
            }));
            None
        }
    }
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
