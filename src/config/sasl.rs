//! `sasl_mechanism` and what belongs to it.

use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::Config;
use super::error::ConfigError;
use super::oauth::{self, ClientCredentials, EndpointSettings};
use super::reader::Setting;
use super::tls::{TlsConfig, content};
use super::value::{BadValue, Kind};

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

/// Where a password comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    Ini,
    Environment,
    File(PathBuf),
}

impl Origin {
    /// The secret of two settings, of which one is set, and where it comes from.
    pub(super) fn choose(
        from_file: Option<(PathBuf, Secret)>,
        from_ini: Option<Secret>,
        is_variable: bool,
    ) -> Option<(Origin, Secret)> {
        match (from_file, from_ini) {
            (Some((path, secret)), _) => Some((Origin::File(path), secret)),
            (None, Some(secret)) if is_variable => Some((Origin::Environment, secret)),
            (None, Some(secret)) => Some((Origin::Ini, secret)),
            (None, None) => None,
        }
    }

    fn file<'a>(&'a self, ini: &'a Path) -> Option<&'a Path> {
        match self {
            Origin::Ini => Some(ini),
            Origin::Environment => None,
            Origin::File(path) => Some(path),
        }
    }
}

/// Text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Secret(text.into())
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

/// `sasl_mechanism`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mechanism {
    Plain,
    ScramSha256,
    ScramSha512,
    OAuthBearer,
}

impl Mechanism {
    const ALL: [Mechanism; 4] = [
        Mechanism::ScramSha512,
        Mechanism::ScramSha256,
        Mechanism::Plain,
        Mechanism::OAuthBearer,
    ];

    fn name(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::ScramSha512 => "SCRAM-SHA-512",
            Mechanism::OAuthBearer => "OAUTHBEARER",
        }
    }
}

/// The kind of `sasl_mechanism`.
pub(super) struct Mechanisms;

impl Kind for Mechanisms {
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

/// The kind of `sasl_username`.
pub(super) struct Username;

impl Kind for Username {
    type Value = String;

    fn accepted(&self) -> String {
        "a name".to_owned()
    }

    fn read(&self, text: &str) -> Result<String, BadValue> {
        Ok(text.to_owned())
    }
}

/// The kind of `sasl_password`.
pub(super) struct Password;

impl Kind for Password {
    type Value = Secret;
    const SECRET: bool = true;

    fn accepted(&self) -> String {
        "a password".to_owned()
    }

    fn read(&self, text: &str) -> Result<Secret, BadValue> {
        Ok(Secret::new(text))
    }
}

/// The kind of `sasl_password_file`: read at the start, without the newline at its end.
pub(super) struct PasswordFile;

impl Kind for PasswordFile {
    type Value = (PathBuf, Secret);

    fn accepted(&self) -> String {
        "a file that holds the password and nothing else".to_owned()
    }

    fn read(&self, text: &str) -> Result<Self::Value, BadValue> {
        let password = secret_of(content(text)?).map_err(|why| BadValue::default().hint(why))?;
        Ok((absolute(text)?, password))
    }
}

/// The kind of `sasl_token_file`, which must be there at the start and is read later.
pub(super) struct TokenFile;

impl Kind for TokenFile {
    type Value = PathBuf;

    fn accepted(&self) -> String {
        "a file that holds the token and nothing else".to_owned()
    }

    fn read(&self, text: &str) -> Result<PathBuf, BadValue> {
        secret_of(content(text)?).map_err(|why| BadValue::default().hint(why))?;
        absolute(text)
    }
}

/// The token that `file` holds now.
pub(crate) fn token(file: &Path) -> Result<Secret, String> {
    let words = |why: String| format!("{}: {why}", file.display());
    let text = file.to_str().ok_or_else(|| words("not UTF-8".to_owned()))?;
    let bytes = content(text).map_err(|bad| words(bad.hint.unwrap_or_default()))?;
    secret_of(bytes).map_err(|why| words(why.to_owned()))
}

/// The secret that a file's bytes are.
fn secret_of(bytes: Vec<u8>) -> Result<Secret, &'static str> {
    let text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8")?;
    match text.trim_end_matches(['\n', '\r']) {
        "" => Err("it is empty"),
        text if text.contains(char::is_control) => Err("it holds more than one line"),
        text => Ok(Secret::new(text)),
    }
}

fn absolute(text: &str) -> Result<PathBuf, BadValue> {
    std::path::absolute(text).map_err(|error| BadValue::default().hint(error.to_string()))
}

/// The settings that make a [`SaslConfig`], where all of them could be read.
pub(super) struct SaslSettings {
    pub(super) mechanism: Setting<Option<Mechanism>>,
    pub(super) username: Setting<Option<String>>,
    pub(super) password: Setting<Option<Secret>>,
    /// The ini names an environment variable instead of the password.
    pub(super) from_environment: bool,
    pub(super) password_file: Setting<Option<(PathBuf, Secret)>>,
    pub(super) token_file: Setting<Option<PathBuf>>,
    pub(super) endpoint: EndpointSettings,
}

/// `Some(None)`: no SASL. `tls` is what the brokers are connected to with.
pub(super) fn settle(
    settings: SaslSettings,
    tls: Option<&TlsConfig>,
    errors: &mut Vec<ConfigError>,
) -> Option<Option<SaslConfig>> {
    let SaslSettings {
        mechanism,
        username,
        password,
        from_environment,
        password_file,
        token_file,
        endpoint,
    } = settings;
    let before = errors.len();
    let Some(chosen) = mechanism.value else {
        const MISSING: &str = "sasl_mechanism";
        username.refuse_without(MISSING, errors);
        password.refuse_without(MISSING, errors);
        password_file.refuse_without(MISSING, errors);
        token_file.refuse_without(MISSING, errors);
        match &endpoint.url.value {
            Some(_) => errors.push(endpoint.url.lacks(MISSING)),
            None => endpoint.refuse_details(errors),
        }
        return (errors.len() == before).then_some(None);
    };
    let make: fn(Login) -> SaslConfig = match chosen {
        Mechanism::Plain => SaslConfig::Plain,
        Mechanism::ScramSha256 => SaslConfig::ScramSha256,
        Mechanism::ScramSha512 => SaslConfig::ScramSha512,
        Mechanism::OAuthBearer => {
            const HINT: &str = "OAUTHBEARER takes sasl_token_file alone, or sasl_token_url, sasl_client_id and sasl_client_secret";
            username.refuse_beside(&mechanism, HINT, errors);
            password.refuse_beside(&mechanism, HINT, errors);
            password_file.refuse_beside(&mechanism, HINT, errors);
            let origin = match (token_file.value.clone(), &endpoint.url.value) {
                (Some(_), Some(_)) => {
                    errors.push(endpoint.url.conflict(&token_file, "one of them is enough"));
                    None
                }
                (file, None) => {
                    if file.is_none() {
                        errors.push(mechanism.lacks_either("sasl_token_file", "sasl_token_url"));
                    }
                    endpoint.refuse_details(errors);
                    file.map(TokenOrigin::File)
                }
                (None, Some(_)) => {
                    let client = oauth::settle(endpoint, tls, errors);
                    client.map(|client| TokenOrigin::Endpoint(Box::new(client)))
                }
            };
            let origin = origin.filter(|_| errors.len() == before)?;
            return Some(Some(SaslConfig::OAuthBearer(origin)));
        }
    };
    token_file.refuse_beside(&mechanism, "only OAUTHBEARER takes a token", errors);
    endpoint.refuse(&mechanism, errors);
    if username.value.is_none() {
        errors.push(mechanism.lacks("sasl_username"));
    }
    if password.value.is_some() && password_file.value.is_some() {
        errors.push(password_file.conflict(&password, "one of them is enough"));
    }
    let chosen = Origin::choose(password_file.value, password.value, from_environment);
    let Some((origin, password)) = chosen else {
        errors.push(mechanism.lacks_either("sasl_password", "sasl_password_file"));
        return None;
    };
    if errors.len() > before {
        return None;
    }
    let login = Login {
        username: username.value?,
        password,
        origin,
    };
    Some(Some(make(login)))
}

/// What is no error and yet should be known about the secrets of `config`.
pub(super) fn warnings(config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    let Some(sasl) = &config.kafka.sasl else {
        return warnings;
    };
    if sasl.sends_the_secret() && config.kafka.tls.is_none() {
        warnings.push(format!(
            "sasl_mechanism = {} without tls = on: whoever listens on the network learns the secret",
            sasl.mechanism()
        ));
    }
    if let SaslConfig::OAuthBearer(TokenOrigin::Endpoint(client)) = sasl
        && !client.endpoint.is_https
    {
        warnings.push(format!(
            "sasl_token_url = {} without TLS: whoever listens on the network learns the client secret",
            client.endpoint
        ));
    }
    warnings.extend(sasl.secret_file(&config.file).and_then(open_to_others));
    warnings
}

/// What is said of a file with a secret that other users can open.
pub(super) fn open_to_others(file: &Path) -> Option<String> {
    let mode = fs::metadata(file).ok()?.permissions().mode() & 0o777;
    (mode & 0o077 != 0).then(|| {
        format!(
            "{} holds a secret and other users can open it (mode {mode:03o}); chmod 600 it",
            file.display(),
        )
    })
}
