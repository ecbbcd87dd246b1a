//! Files of certificates and keys. They are read at the start, so that a wrong one is refused with its line
//! in the ini.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ParsedCertificate;

use super::{BadValue, ValueType, content};
use crate::config::tls::{KeyFile, Roots};

/// `tls_ca`, `sasl_token_ca`.
pub(crate) struct Authorities;

impl ValueType for Authorities {
    type Value = Roots;
    const NAMES_FILE: bool = true;

    fn accepted(&self) -> String {
        "a PEM file of certificates".to_owned()
    }

    /// A bundle is often the work of others, and one authority in it that is of no use must not keep the agent
    /// from those that are: it is left out, which [`Config::warnings`](crate::config::Config::warnings) says.
    fn read(&self, text: &str) -> Result<Self::Value, BadValue> {
        let pem = content(text)?;
        let mut roots = Roots {
            file: text.into(),
            certificates: Vec::new(),
            left_out: Vec::new(),
        };
        for (n, item) in CertificateDer::pem_slice_iter(&pem).enumerate() {
            let is_cut_off = matches!(item, Err(pem::Error::MissingSectionEnd { .. }));
            match item.map_err(pem_words).and_then(as_root) {
                Ok(certificate) => roots.certificates.push(certificate),
                Err(why) => roots.left_out.push((n + 1, why)),
            }
            if is_cut_off {
                break;
            }
        }
        if !roots.certificates.is_empty() {
            return Ok(roots);
        }
        let why = roots.left_out.into_iter().next().map(|(_, why)| why);
        Err(BadValue::default()
            .hint(why.unwrap_or_else(|| "there is no certificate in it".to_owned())))
    }
}

/// The certificate, if it can be trusted. One of version 1 can.
fn as_root(certificate: CertificateDer<'static>) -> Result<CertificateDer<'static>, String> {
    match RootCertStore::empty().add(certificate.clone()) {
        Ok(()) => Ok(certificate),
        Err(error) => Err(format!("a certificate in it is malformed: {error}")),
    }
}

/// `tls_cert`.
pub(crate) struct Certificates;

impl ValueType for Certificates {
    type Value = (PathBuf, Vec<CertificateDer<'static>>);
    const NAMES_FILE: bool = true;

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
        Ok((text.into(), certificates))
    }
}

/// `tls_key`.
pub(crate) struct PrivateKey;

impl ValueType for PrivateKey {
    type Value = Arc<KeyFile>;
    const NAMES_FILE: bool = true;

    fn accepted(&self) -> String {
        "a PEM file with a private key".to_owned()
    }

    fn read(&self, text: &str) -> Result<Self::Value, BadValue> {
        let pem = content(text)?;
        // As PKCS #8 has it, and in the traditional form.
        let is_encrypted = ["ENCRYPTED PRIVATE KEY", "Proc-Type: 4,ENCRYPTED"]
            .iter()
            .any(|words| memchr::memmem::find(&pem, words.as_bytes()).is_some());
        match PrivateKeyDer::from_pem_slice(&pem) {
            Ok(key) => Ok(Arc::new(KeyFile {
                file: text.into(),
                key,
            })),
            Err(_) if is_encrypted => {
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

/// What is wrong, without a byte of the file, which may hold a key.
fn pem_words(error: pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { .. } => "a section of it has no END line".to_owned(),
        pem::Error::IllegalSectionStart { .. } => "a BEGIN line in it is malformed".to_owned(),
        _ => "it is not valid PEM".to_owned(),
    }
}
