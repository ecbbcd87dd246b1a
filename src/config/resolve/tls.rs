//! `tls` and what belongs to it.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;

use crate::config::error::ConfigError;
use crate::config::reader::Setting;
use crate::config::tls::{Identity, KeyFile, TlsConfig, client, trusted};

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
