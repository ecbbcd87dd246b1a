//! `sasl_mechanism` and what belongs to it.

use std::path::PathBuf;

use rustls::pki_types::CertificateDer;

use crate::config::error::ConfigError;
use crate::config::reader::Setting;
use crate::config::sasl::{
    ClientCredentials, Login, Mechanism, SaslConfig, TokenEndpoint, TokenOrigin,
};
use crate::config::secret::{Origin, Secret};
use crate::config::tls::TlsConfig;

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
                    let client = settle_endpoint(endpoint, tls, errors);
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
fn settle_endpoint(
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
