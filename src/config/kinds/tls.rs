//! Files of certificates and keys. They are read at the start, so that a wrong one is refused with its line
//! in the ini.

use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ParsedCertificate;

use super::{BadValue, Kind, content};
use crate::config::tls::KeyFile;

/// `tls_ca`, `tls_cert`.
pub(crate) struct Certificates;

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
pub(crate) struct PrivateKey;

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

/// What is wrong, without a byte of the file, which may hold a key.
fn pem_words(error: pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { .. } => "a section of it has no END line".to_owned(),
        pem::Error::IllegalSectionStart { .. } => "a BEGIN line in it is malformed".to_owned(),
        _ => "it is not valid PEM".to_owned(),
    }
}
