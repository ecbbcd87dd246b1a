//! The typed configuration: immutable, and it cannot hold a contradiction.
//!
//! ```text
//! bytes --text--> lines --syntax--> sections, keys, raw values --resolve--> Config
//! ```
//! Each stage collects what is wrong and hands on what it has, so that one run reports everything.
//!
//! ```text
//! types, tls, sasl, address           what the rest of the agent gets
//! value_types/                        what a value may be, and how it is read
//! keys                                the one table of keys
//! reference                           `conf/logagent.ini` and `logagent help config`, which the table makes
//! text, syntax, include               from files to sections with raw values
//! reader                              one section: looks a key up, expands it, reads it as its type
//! resolve/                            from raw values to the types; what contradicts each other
//! origin, difference                  where it comes from; what two configurations differ in
//! error, environment                  what all of these need
//! ```
//! Uses go one way, without a circle. A new key is a row in `keys`, a field in `types` and a line in
//! `resolve`. Nothing is read from here while the agent runs.

mod address;
mod difference;
mod environment;
mod error;
mod include;
mod keys;
mod origin;
mod reader;
mod reference;
mod resolve;
mod sasl;
mod syntax;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic fails the test")]
mod tests;
mod text;
mod tls;
mod types;
mod value_types;

use std::fmt::Display;
use std::path::{Path, PathBuf};

pub use difference::{Difference, LogChange};
pub use error::{ConfigError, ConfigErrors};
pub use origin::Origin;
pub use reference::{help, reference};
pub use sasl::{ClientCredentials, Login, SaslConfig, Secret, TokenEndpoint, TokenOrigin};

pub use address::BrokerAddress;
pub use tls::TlsConfig;
pub use types::{
    Acks, AgentConfig, Compression, Config, ExactlyOnce, FollowLinks, HeaderChoice, KafkaConfig,
    LogConfig, LogDestination, Partitioner, Protocol, Reload, StartAt,
};

pub(crate) use keys::LEAST_MEMORY;
pub use text::{DEFAULT_CONFIGS, default_config};
pub(crate) use text::{and_other_default, read_small_file};

use environment::Env;
use error::Problem;
use include::Raw;

impl Config {
    /// Reads the ini at `path`, with `${NAME}` from the environment. Refuses anything but a regular
    /// file of at most 1 MiB, without waiting for it.
    pub fn load(path: &Path) -> Result<Config, ConfigErrors> {
        match text::read(path) {
            Ok(bytes) => Self::from_bytes(&bytes, path, &|name| std::env::var(name).ok()),
            Err(problem) => Err(ConfigErrors::new(path, vec![ConfigError::in_file(problem)])),
        }
    }

    /// That the ini at `path` asks for a user that this process cannot become: `why`, where it is set.
    pub fn user_refused(path: &Path, why: &impl Display) -> ConfigErrors {
        let env = |name: &str| std::env::var(name).ok();
        let raw = text::read(path).and_then(|bytes| Raw::read(&bytes, path, &env));
        let line = raw
            .ok()
            .and_then(|raw| resolve::line_of_user(&raw.sections));
        let error = ConfigError::at(line.unwrap_or_default(), Problem::User(why.to_string()));
        ConfigErrors::new(path, vec![error])
    }

    /// The folder that `[agent] state_dir` of the ini at `path` names, whatever else is wrong or missing there: a command
    /// asks a running agent, whose secrets and certificates are none of its business.
    pub fn state_dir(path: &Path) -> PathBuf {
        let env = |name: &str| std::env::var(name).ok();
        let raw = text::read(path).and_then(|bytes| Raw::read(&bytes, path, &env));
        let sections = raw.map_or_else(|_| Vec::new(), |raw| raw.sections);
        resolve::state_dir(&sections, &env)
    }

    /// Reads `text` as the content of `file`, with `${NAME}` from `env`.
    pub fn parse(
        text: &str,
        file: &Path,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Config, ConfigErrors> {
        Self::from_bytes(text.as_bytes(), file, env)
    }

    pub(crate) fn from_bytes(
        bytes: &[u8],
        file: &Path,
        env: Env<'_>,
    ) -> Result<Config, ConfigErrors> {
        let mut raw = Raw::read(bytes, file, env)
            .map_err(|problem| ConfigErrors::new(file, vec![ConfigError::in_file(problem)]))?;
        let mut errors = std::mem::take(&mut raw.errors);
        let config = resolve::resolve(&raw, file, env, &mut errors);
        // What a line seems to say is no news where its bytes are wrong already.
        errors.retain(|error| error.place().is_none_or(|line| !raw.damaged.contains(line)));
        errors.append(&mut raw.damage);
        match config {
            Some(config) if errors.is_empty() => Ok(config),
            _ => {
                let watched = resolve::origin(&raw, file, env).watched;
                Err(ConfigErrors::new(file, errors).of(watched))
            }
        }
    }
}
