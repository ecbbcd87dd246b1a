//! `sasl_mechanism` and what belongs to it.

use std::path::PathBuf;

use crate::config::error::ConfigError;
use crate::config::keys;
use crate::config::keys::Key;
use crate::config::reader::{Reader, Setting};
use crate::config::sasl::{
    ClientCredentials, Login, Mechanism, SaslConfig, TokenEndpoint, TokenOrigin,
};
use crate::config::sasl::{Origin, Secret};
use crate::config::tls::{Roots, TlsConfig, TlsError};
use crate::config::types::Protocol;
use crate::config::value_types::Optional;
use crate::config::value_types::sasl::{Password, PasswordFile};

/// `Some(None)`: no SASL. `tls` is what the brokers are connected to with.
pub(super) fn sasl(
    kafka: &mut Reader<'_>,
    protocol: Option<&Setting<Protocol>>,
    tls: Option<&TlsConfig>,
) -> Option<Option<SaslConfig>> {
    let keys = SaslKeys::read(kafka)?;
    let errors = &mut *kafka.errors;
    let Some(mechanism) = keys.mechanism.value else {
        keys.refuse_all_without_mechanism(errors);
        return Some(None);
    };
    if let Some(protocol) = protocol.filter(|protocol| protocol.value == Protocol::Legacy) {
        errors.push(keys.mechanism.conflict(protocol, "legacy has no SASL"));
        return None;
    }
    let sasl = match mechanism {
        Mechanism::Plain => SaslConfig::Plain(keys.login(errors)?),
        Mechanism::ScramSha256 => SaslConfig::ScramSha256(keys.login(errors)?),
        Mechanism::ScramSha512 => SaslConfig::ScramSha512(keys.login(errors)?),
        Mechanism::OAuthBearer => SaslConfig::OAuthBearer(keys.token_origin(tls, errors)?),
    };
    Some(Some(sasl))
}

/// All keys of SASL.
struct SaslKeys {
    mechanism: Setting<Option<Mechanism>>,
    username: Setting<Option<String>>,
    password: SecretKeys,
    token_file: Setting<Option<PathBuf>>,
    endpoint: EndpointKeys,
}

impl SaslKeys {
    fn read(kafka: &mut Reader<'_>) -> Option<Self> {
        let mechanism = kafka.setting(&keys::SASL_MECHANISM);
        let username = kafka.setting(&keys::SASL_USERNAME);
        let password = SecretKeys::read(kafka, &keys::SASL_PASSWORD, &keys::SASL_PASSWORD_FILE);
        let token_file = kafka.setting(&keys::SASL_TOKEN_FILE);
        let endpoint = EndpointKeys::read(kafka);
        Some(SaslKeys {
            mechanism: mechanism?,
            username: username?,
            password: password?,
            token_file: token_file?,
            endpoint: endpoint?,
        })
    }

    fn refuse_all_without_mechanism(&self, errors: &mut Vec<ConfigError>) {
        const MISSING: &str = "sasl_mechanism";
        self.username.refuse_without(MISSING, errors);
        self.password.refuse_without(MISSING, errors);
        self.token_file.refuse_without(MISSING, errors);
        match self.endpoint.url.value {
            Some(_) => errors.push(self.endpoint.url.lacks(MISSING)),
            None => self.endpoint.refuse_details(errors),
        }
    }

    /// Name and password, for a mechanism that takes them.
    fn login(self, errors: &mut Vec<ConfigError>) -> Option<Login> {
        const HINT: &str = "only OAUTHBEARER takes a token";
        let (mechanism, url) = (&self.mechanism, &self.endpoint.url);
        self.token_file.refuse_beside(mechanism, HINT, errors);
        match url.value {
            Some(_) => errors.push(url.conflict(mechanism, HINT)),
            None => self.endpoint.refuse_details(errors),
        }
        if self.username.value.is_none() {
            errors.push(mechanism.lacks("sasl_username"));
        }
        let password = self.password.resolve(errors);
        if password.is_none() {
            errors.push(mechanism.lacks_either("sasl_password", "sasl_password_file"));
        }
        let (origin, password) = password?;
        Some(Login {
            username: self.username.value?,
            password,
            origin,
        })
    }

    /// A file or an endpoint, one of them, for OAUTHBEARER.
    fn token_origin(
        self,
        tls: Option<&TlsConfig>,
        errors: &mut Vec<ConfigError>,
    ) -> Option<TokenOrigin> {
        const HINT: &str = "OAUTHBEARER takes sasl_token_file alone, or sasl_token_url, sasl_client_id and sasl_client_secret";
        let (mechanism, url) = (&self.mechanism, &self.endpoint.url);
        self.username.refuse_beside(mechanism, HINT, errors);
        self.password.text.refuse_beside(mechanism, HINT, errors);
        self.password.file.refuse_beside(mechanism, HINT, errors);
        match (self.token_file.value.is_some(), url.value.is_some()) {
            (true, true) => {
                errors.push(url.conflict(&self.token_file, "one of them is enough"));
                None
            }
            (false, true) => {
                let client = self.endpoint.resolve(tls, errors)?;
                Some(TokenOrigin::Endpoint(Box::new(client)))
            }
            (is_set, false) => {
                if !is_set {
                    errors.push(mechanism.lacks_either("sasl_token_file", "sasl_token_url"));
                }
                self.endpoint.refuse_details(errors);
                self.token_file.value.map(TokenOrigin::File)
            }
        }
    }
}

/// Two keys for one secret: itself, or a file that holds it.
struct SecretKeys {
    text: Setting<Option<Secret>>,
    /// The ini names an environment variable instead of the secret.
    is_variable: bool,
    file: Setting<Option<(PathBuf, Secret)>>,
}

impl SecretKeys {
    fn read(
        kafka: &mut Reader<'_>,
        text: &Key<Optional<Password>>,
        file: &Key<Optional<PasswordFile>>,
    ) -> Option<Self> {
        let is_variable = kafka.is_variable(text.name);
        let (text, file) = (kafka.setting(text), kafka.setting(file));
        Some(SecretKeys {
            text: text?,
            is_variable,
            file: file?,
        })
    }

    fn refuse_without(&self, missing: &str, errors: &mut Vec<ConfigError>) {
        self.text.refuse_without(missing, errors);
        self.file.refuse_without(missing, errors);
    }

    /// The secret and where it comes from, if one of the keys is set.
    fn resolve(self, errors: &mut Vec<ConfigError>) -> Option<(Origin, Secret)> {
        if self.text.value.is_some() && self.file.value.is_some() {
            errors.push(self.file.conflict(&self.text, "one of them is enough"));
        }
        match (self.file.value, self.text.value) {
            (Some((path, secret)), _) => Some((Origin::File(path), secret)),
            (None, Some(secret)) if self.is_variable => Some((Origin::Environment, secret)),
            (None, Some(secret)) => Some((Origin::Ini, secret)),
            (None, None) => None,
        }
    }
}

/// The keys of [`ClientCredentials`].
struct EndpointKeys {
    url: Setting<Option<TokenEndpoint>>,
    client_id: Setting<Option<String>>,
    secret: SecretKeys,
    scope: Setting<Option<String>>,
    ca: Setting<Option<Roots>>,
}

impl EndpointKeys {
    fn read(kafka: &mut Reader<'_>) -> Option<Self> {
        let url = kafka.setting(&keys::SASL_TOKEN_URL);
        let client_id = kafka.setting(&keys::SASL_CLIENT_ID);
        let secret = SecretKeys::read(
            kafka,
            &keys::SASL_CLIENT_SECRET,
            &keys::SASL_CLIENT_SECRET_FILE,
        );
        let scope = kafka.setting(&keys::SASL_SCOPE);
        let ca = kafka.setting(&keys::SASL_TOKEN_CA);
        Some(EndpointKeys {
            url: url?,
            client_id: client_id?,
            secret: secret?,
            scope: scope?,
            ca: ca?,
        })
    }

    /// That there is no endpoint which they could belong to.
    fn refuse_details(&self, errors: &mut Vec<ConfigError>) {
        const MISSING: &str = "sasl_token_url";
        self.client_id.refuse_without(MISSING, errors);
        self.secret.refuse_without(MISSING, errors);
        self.scope.refuse_without(MISSING, errors);
        self.ca.refuse_without(MISSING, errors);
    }

    /// `tls` is that of the brokers, whose authorities are trusted unless others are named.
    fn resolve(
        self,
        tls: Option<&TlsConfig>,
        errors: &mut Vec<ConfigError>,
    ) -> Option<ClientCredentials> {
        let EndpointKeys {
            url,
            client_id,
            secret,
            scope,
            ca,
        } = self;
        if client_id.value.is_none() {
            errors.push(url.lacks("sasl_client_id"));
        }
        let secret = secret.resolve(errors);
        if secret.is_none() {
            errors.push(url.lacks_either("sasl_client_secret", "sasl_client_secret_file"));
        }
        let tls = if url.value.as_ref()?.is_https {
            let roots = ca.value.clone().or_else(|| tls?.roots().cloned());
            match TlsConfig::new(roots, None) {
                Ok(tls) => Some(tls),
                Err(TlsError::Authorities(why) | TlsError::Certificate(why)) => {
                    errors.push(match ca.value {
                        Some(_) => ca.invalid_because(why),
                        None => url.invalid_because(why),
                    });
                    None
                }
            }
        } else {
            ca.refuse_beside(&url, "http:// has no certificates", errors);
            None
        };
        let (origin, client_secret) = secret?;
        Some(ClientCredentials {
            endpoint: url.value?,
            client_id: client_id.value?,
            client_secret,
            scope: scope.value,
            tls,
            origin,
        })
    }
}
