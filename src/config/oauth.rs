//! `sasl_token_url` and what belongs to it: a token for OAUTHBEARER from an endpoint (RFC 6749, section 4.4).

use std::fmt;
use std::path::PathBuf;

use rustls::pki_types::CertificateDer;

use super::BrokerAddress;
use super::error::ConfigError;
use super::kafka::address;
use super::reader::Setting;
use super::sasl::{Mechanism, Origin, Secret};
use super::tls::TlsConfig;
use super::value::{BadValue, Kind};

/// Who we are to a token endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCredentials {
    /// `sasl_token_url`.
    pub endpoint: TokenEndpoint,
    /// `sasl_client_id`.
    pub client_id: String,
    /// `sasl_client_secret`, or the content of `sasl_client_secret_file`.
    pub client_secret: Secret,
    /// `sasl_scope`.
    pub scope: Option<String>,
    /// For `https`.
    pub tls: Option<TlsConfig>,
    pub(super) origin: Origin,
}

/// Where tokens are given out. Displays without what follows the path, which may not be for everybody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenEndpoint {
    /// `https`, not `http`.
    pub is_https: bool,
    /// Host and port.
    pub address: BrokerAddress,
    /// Host, and port if it is named, as they stand in the URL.
    pub authority: String,
    /// Path and query.
    pub target: String,
}

impl fmt::Display for TokenEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_https { HTTPS } else { HTTP };
        let (path, _) = self.target.split_once('?').unwrap_or((&self.target, ""));
        write!(f, "{scheme}{}{path}", self.authority)
    }
}

/// The kind of `sasl_token_url`.
pub(super) struct TokenUrl;

impl Kind for TokenUrl {
    type Value = TokenEndpoint;

    fn accepted(&self) -> String {
        "a URL that begins with https:// or http://".to_owned()
    }

    fn read(&self, text: &str) -> Result<TokenEndpoint, BadValue> {
        let (is_https, rest) = match (text.strip_prefix(HTTPS), text.strip_prefix(HTTP)) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => return Err(BadValue::default()),
        };
        let split = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(split);
        if authority.contains('@') {
            let hint = "name and secret go to sasl_client_id and sasl_client_secret";
            return Err(BadValue::part("@").hint(hint));
        }
        if !target
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'#')
        {
            return Err(BadValue::part(target));
        }
        let slash = if target.starts_with('/') { "" } else { "/" };
        Ok(TokenEndpoint {
            is_https,
            address: address(authority, if is_https { 443 } else { 80 })?,
            authority: authority.to_owned(),
            target: format!("{slash}{target}"),
        })
    }
}

/// The kind of `sasl_client_id`.
pub(super) struct OAuthClientId;

impl Kind for OAuthClientId {
    type Value = String;

    fn accepted(&self) -> String {
        "a name without ':'".to_owned()
    }

    fn read(&self, text: &str) -> Result<String, BadValue> {
        // RFC 7617: the secret begins after the first one.
        match text.contains(':') {
            true => Err(BadValue::default()),
            false => Ok(text.to_owned()),
        }
    }
}

/// The kind of `sasl_scope`.
pub(super) struct Scope;

impl Kind for Scope {
    type Value = String;

    fn accepted(&self) -> String {
        "words with spaces between them".to_owned()
    }

    fn read(&self, text: &str) -> Result<String, BadValue> {
        let is_legal = |byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
        match text.bytes().all(is_legal) {
            true => Ok(text.to_owned()),
            false => Err(BadValue::default()),
        }
    }
}

/// The settings that make [`ClientCredentials`], where all of them could be read.
pub(super) struct EndpointSettings {
    pub(super) url: Setting<Option<TokenEndpoint>>,
    pub(super) client_id: Setting<Option<String>>,
    pub(super) secret: Setting<Option<Secret>>,
    /// The ini names an environment variable instead of the secret.
    pub(super) from_environment: bool,
    pub(super) secret_file: Setting<Option<(PathBuf, Secret)>>,
    pub(super) scope: Setting<Option<String>>,
    pub(super) ca: Setting<Option<Vec<CertificateDer<'static>>>>,
}

impl EndpointSettings {
    /// That there is no endpoint which they could belong to.
    pub(super) fn refuse_details(&self, errors: &mut Vec<ConfigError>) {
        const MISSING: &str = "sasl_token_url";
        let EndpointSettings {
            client_id,
            secret,
            secret_file,
            scope,
            ca,
            ..
        } = self;
        client_id.refuse_without(MISSING, errors);
        secret.refuse_without(MISSING, errors);
        secret_file.refuse_without(MISSING, errors);
        scope.refuse_without(MISSING, errors);
        ca.refuse_without(MISSING, errors);
    }

    /// That another mechanism takes none of them.
    pub(super) fn refuse(
        &self,
        mechanism: &Setting<Option<Mechanism>>,
        errors: &mut Vec<ConfigError>,
    ) {
        match &self.url.value {
            Some(_) => errors.push(
                self.url
                    .conflict(mechanism, "only OAUTHBEARER takes a token"),
            ),
            None => self.refuse_details(errors),
        }
    }
}

/// `tls` is that of the brokers.
pub(super) fn settle(
    settings: EndpointSettings,
    tls: Option<&TlsConfig>,
    errors: &mut Vec<ConfigError>,
) -> Option<ClientCredentials> {
    let EndpointSettings {
        url,
        client_id,
        secret,
        from_environment,
        secret_file,
        scope,
        ca,
    } = settings;
    let before = errors.len();
    if client_id.value.is_none() {
        errors.push(url.lacks("sasl_client_id"));
    }
    if secret.value.is_some() && secret_file.value.is_some() {
        errors.push(secret_file.conflict(&secret, "one of them is enough"));
    }
    let chosen = Origin::choose(secret_file.value, secret.value, from_environment);
    if chosen.is_none() {
        errors.push(url.lacks_either("sasl_client_secret", "sasl_client_secret_file"));
    }
    let is_https = url.value.as_ref().is_some_and(|endpoint| endpoint.is_https);
    let tls = if is_https {
        let own = ca.value.is_some();
        match TlsConfig::trusting(ca.value.clone().or_else(|| tls?.roots.clone())) {
            Ok(tls) => Some(tls),
            Err(why) => {
                errors.push(if own { ca.unfit(why) } else { url.unfit(why) });
                None
            }
        }
    } else {
        if ca.value.is_some() {
            errors.push(ca.conflict(&url, "http:// has no certificates"));
        }
        None
    };
    if errors.len() > before {
        return None;
    }
    let (origin, client_secret) = chosen?;
    Some(ClientCredentials {
        endpoint: url.value?,
        client_id: client_id.value?,
        client_secret,
        scope: scope.value,
        tls,
        origin,
    })
}

const HTTPS: &str = "https://";
const HTTP: &str = "http://";

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic fails the test")]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart() {
        for (text, host, port, target, shown) in [
            ("https://a.b/c", "a.b", 443, "/c", "https://a.b/c"),
            ("http://a", "a", 80, "/", "http://a/"),
            (
                "https://[::1]:8443/t?k=v",
                "::1",
                8443,
                "/t?k=v",
                "https://[::1]:8443/t",
            ),
            ("https://a:1?k=v", "a", 1, "/?k=v", "https://a:1/"),
        ] {
            let endpoint = TokenUrl.read(text).unwrap();
            let BrokerAddress {
                host: read,
                port: at,
            } = &endpoint.address;
            assert_eq!(
                (read.as_str(), *at, endpoint.target.as_str()),
                (host, port, target)
            );
            assert_eq!(endpoint.to_string(), shown);
        }
        for text in [
            "a",
            "ftp://a/",
            "https://",
            "https:///a",
            "https://a b/",
            "https://a/b c",
            "https://me:pw@a/",
            "https://a:x/",
            "https://a/#b",
            "https://a/\u{fc}",
        ] {
            assert!(TokenUrl.read(text).is_err(), "{text}");
        }
    }
}
