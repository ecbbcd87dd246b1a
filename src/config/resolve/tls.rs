//! `tls` and the keys beside it.

use crate::config::keys;
use crate::config::reader::{Reader, Setting};
use crate::config::tls::{ClientCertificate, TlsConfig, TlsError};
use crate::config::types::Protocol;

/// `Some(None)`: TLS is off.
pub(in crate::config) fn tls(
    kafka: &mut Reader<'_>,
    protocol: Option<&Setting<Protocol>>,
) -> Option<Option<TlsConfig>> {
    let on = kafka.setting(&keys::TLS);
    let ca = kafka.setting(&keys::TLS_CA);
    let cert = kafka.setting(&keys::TLS_CERT);
    let key = kafka.setting(&keys::TLS_KEY);
    let (on, ca, cert, key) = (on?, ca?, cert?, key?);
    let errors = &mut *kafka.errors;
    if !on.value {
        const HINT: &str = "write tls = on, or leave it out";
        ca.refuse_beside(&on, HINT, errors);
        cert.refuse_beside(&on, HINT, errors);
        key.refuse_beside(&on, HINT, errors);
        return Some(None);
    }
    if let Some(protocol) = protocol.filter(|protocol| protocol.value == Protocol::Legacy) {
        errors.push(on.conflict(protocol, "legacy has no TLS"));
        return None;
    }
    let certificate = match (&cert.value, &key.value) {
        (Some((file, chain)), Some(key)) => Some(ClientCertificate {
            file: file.clone(),
            chain: chain.clone(),
            key: key.clone(),
        }),
        (Some(_), None) => {
            errors.push(cert.lacks("tls_key"));
            None
        }
        (None, Some(_)) => {
            errors.push(key.lacks("tls_cert"));
            None
        }
        (None, None) => None,
    };
    match TlsConfig::new(ca.value.clone(), certificate) {
        Ok(tls) => Some(Some(tls)),
        Err(TlsError::Authorities(why)) => {
            errors.push(match ca.value {
                Some(_) => ca.invalid_because(why),
                None => on.invalid_because(why),
            });
            None
        }
        Err(TlsError::Certificate(why)) => {
            errors.push(key.invalid_because(why));
            None
        }
    }
}
