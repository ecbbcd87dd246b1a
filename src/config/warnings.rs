//! What is no error and yet should be known.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::sasl::{SaslConfig, TokenOrigin};
use super::tls::TlsConfig;
use super::types::Config;

impl Config {
    /// What is no error and yet should be known, one line each.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = of_sasl(self);
        let tls = self.kafka.tls.as_ref();
        warnings.extend(tls.and_then(|tls| left_out("tls_ca", tls)));
        let key = tls.and_then(TlsConfig::key_file);
        warnings.extend(key.and_then(open_to_others));
        warnings
    }
}

/// Which authorities of a file are of no use.
fn left_out(key: &str, tls: &TlsConfig) -> Option<String> {
    let roots = tls.roots()?;
    let (place, why) = roots.left_out.first()?;
    let count = roots.certificates.len();
    let all = count + roots.left_out.len();
    let more = match roots.left_out.len() - 1 {
        0 => String::new(),
        n => format!(", and {n} more"),
    };
    Some(format!(
        "{key} = {}: certificate {place} is left out: {why}{more}; {count} of {all} are used",
        roots.file.display()
    ))
}

/// What is no error and yet should be known about the secrets of `config`.
fn of_sasl(config: &Config) -> Vec<String> {
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
    if let SaslConfig::OAuthBearer(TokenOrigin::Endpoint(client)) = sasl {
        if !client.endpoint.is_https {
            warnings.push(format!(
                "sasl_token_url = {} without TLS: whoever listens on the network learns the client secret",
                client.endpoint
            ));
        }
        // Without sasl_token_ca the authorities are those of tls_ca, of which that was said.
        let brokers = config.kafka.tls.as_ref().and_then(TlsConfig::roots);
        let tls = client.tls.as_ref().filter(|tls| tls.roots() != brokers);
        warnings.extend(tls.and_then(|tls| left_out("sasl_token_ca", tls)));
    }
    warnings.extend(sasl.secret_file(&config.file).and_then(open_to_others));
    warnings
}

/// What is said of a file with a secret that other users can open.
fn open_to_others(file: &Path) -> Option<String> {
    let mode = fs::metadata(file).ok()?.permissions().mode() & 0o777;
    (mode & 0o077 != 0).then(|| {
        format!(
            "{} holds a secret and other users can open it (mode {mode:03o}); chmod 600 it",
            file.display(),
        )
    })
}
