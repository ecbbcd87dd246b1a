//! Values that say who the agent is.

use std::path::PathBuf;

use super::kafka::address;
use super::{BadValue, Text, ValueType, content};
use crate::config::sasl::Secret;
use crate::config::sasl::{HTTP, HTTPS, Mechanism, TokenEndpoint};

/// The type of `sasl_mechanism`.
pub(crate) struct Mechanisms;

impl ValueType for Mechanisms {
    type Value = Mechanism;

    fn accepted(&self) -> String {
        Mechanism::ALL.map(Mechanism::name).join(", ")
    }

    fn read(&self, text: &str) -> Result<Mechanism, BadValue> {
        Mechanism::ALL
            .into_iter()
            .find(|mechanism| mechanism.name() == text)
            .ok_or_else(BadValue::default)
    }
}

impl Text {
    /// `sasl_username`, `user`.
    pub(crate) const USERNAME: Text = Text {
        accepted: || "a name".to_owned(),
        is_legal: |_| true,
    };

    /// `sasl_client_id`. RFC 7617: the secret begins after the first colon.
    pub(crate) const OAUTH_CLIENT_ID: Text = Text {
        accepted: || "a name without ':'".to_owned(),
        is_legal: |text| !text.contains(':'),
    };

    /// `sasl_scope`.
    pub(crate) const SCOPE: Text = Text {
        accepted: || "words with spaces between them".to_owned(),
        is_legal: |text| {
            let is_legal = |byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
            text.bytes().all(is_legal)
        },
    };
}

/// The type of `sasl_password`.
pub(crate) struct Password;

impl ValueType for Password {
    type Value = Secret;
    const SECRET: bool = true;

    fn accepted(&self) -> String {
        "a password".to_owned()
    }

    fn read(&self, text: &str) -> Result<Secret, BadValue> {
        Ok(Secret::new(text))
    }
}

/// The type of `sasl_password_file`: read at the start, without the newline at its end.
pub(crate) struct PasswordFile;

impl ValueType for PasswordFile {
    type Value = (PathBuf, Secret);
    const NAMES_FILE: bool = true;

    fn accepted(&self) -> String {
        "a file that holds the password and nothing else".to_owned()
    }

    fn read(&self, text: &str) -> Result<Self::Value, BadValue> {
        let password =
            Secret::from_bytes(content(text)?).map_err(|why| BadValue::default().hint(why))?;
        Ok((absolute(text)?, password))
    }
}

/// The type of `sasl_token_file`, which must be there at the start and is read later.
pub(crate) struct TokenFile;

impl ValueType for TokenFile {
    type Value = PathBuf;

    fn accepted(&self) -> String {
        "a file that holds the token and nothing else".to_owned()
    }

    fn read(&self, text: &str) -> Result<PathBuf, BadValue> {
        Secret::from_bytes(content(text)?).map_err(|why| BadValue::default().hint(why))?;
        absolute(text)
    }
}

/// The type of `sasl_token_url`.
pub(crate) struct TokenUrl;

impl ValueType for TokenUrl {
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

fn absolute(text: &str) -> Result<PathBuf, BadValue> {
    std::path::absolute(text).map_err(|error| BadValue::default().hint(error.to_string()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic fails the test")]
mod tests {
    use super::*;
    use crate::config::BrokerAddress;

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
