//! Who the agent is to the brokers: its secrets, and where they come from.

use std::fmt;
use std::path::{Path, PathBuf};

use super::address::BrokerAddress;
use super::tls::TlsConfig;

/// Who we are to the brokers, and how that is proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SaslConfig {
    /// The password itself is sent.
    Plain(Login),
    /// RFC 7677: the password is proved, not sent.
    ScramSha256(Login),
    /// The same with SHA-512.
    ScramSha512(Login),
    /// A token (KIP-255).
    OAuthBearer(TokenOrigin),
}

/// Where the token comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenOrigin {
    /// A file that is read for each connection.
    File(PathBuf),
    /// An endpoint that is asked (KIP-768).
    Endpoint(Box<ClientCredentials>),
}

impl SaslConfig {
    /// Its name in the protocol.
    pub fn mechanism(&self) -> &'static str {
        match self {
            SaslConfig::Plain(_) => Mechanism::Plain.name(),
            SaslConfig::ScramSha256(_) => Mechanism::ScramSha256.name(),
            SaslConfig::ScramSha512(_) => Mechanism::ScramSha512.name(),
            SaslConfig::OAuthBearer(_) => Mechanism::OAuthBearer.name(),
        }
    }

    /// Whether whoever listens on the wire can use what is sent.
    pub fn sends_the_secret(&self) -> bool {
        matches!(self, SaslConfig::Plain(_) | SaslConfig::OAuthBearer(_))
    }

    /// The file that the secret stands in.
    pub fn secret_file<'a>(&'a self, ini: &'a Path) -> Option<&'a Path> {
        match self {
            SaslConfig::Plain(login)
            | SaslConfig::ScramSha256(login)
            | SaslConfig::ScramSha512(login) => login.origin.file(ini),
            SaslConfig::OAuthBearer(TokenOrigin::File(file)) => Some(file),
            SaslConfig::OAuthBearer(TokenOrigin::Endpoint(client)) => client.origin.file(ini),
        }
    }
}

/// Name and password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// `sasl_username`.
    pub username: String,
    /// `sasl_password`, or the content of `sasl_password_file`.
    pub password: Secret,
    pub(super) origin: Origin,
}

/// `sasl_mechanism`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mechanism {
    Plain,
    ScramSha256,
    ScramSha512,
    OAuthBearer,
}

impl Mechanism {
    pub(super) const ALL: [Mechanism; 4] = [
        Mechanism::ScramSha512,
        Mechanism::ScramSha256,
        Mechanism::Plain,
        Mechanism::OAuthBearer,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::ScramSha512 => "SCRAM-SHA-512",
            Mechanism::OAuthBearer => "OAUTHBEARER",
        }
    }
}

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

pub(super) const HTTPS: &str = "https://";
pub(super) const HTTP: &str = "http://";

/// Text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Secret(text.into())
    }

    /// The secret that a file's bytes are, without the newline at their end.
    pub(crate) fn from_bytes(bytes: Vec<u8>) -> Result<Self, &'static str> {
        let text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8")?;
        match text.trim_end_matches(['\n', '\r']) {
            "" => Err("it is empty"),
            text if text.contains(char::is_control) => Err("it holds more than one line"),
            text => Ok(Secret::new(text)),
        }
    }

    /// The text itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(not shown)")
    }
}

/// Where a secret comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    Ini,
    Environment,
    File(PathBuf),
}

impl Origin {
    /// The file that the secret stands in.
    pub(super) fn file<'a>(&'a self, ini: &'a Path) -> Option<&'a Path> {
        match self {
            Origin::Ini => Some(ini),
            Origin::Environment => None,
            Origin::File(path) => Some(path),
        }
    }
}
