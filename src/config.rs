//! The typed configuration: immutable, and it cannot hold a contradiction.
//!
//! ```text
//! bytes --text--> lines --syntax--> sections, keys, raw values --resolve--> Config
//! ```
//! Each stage collects what is wrong and hands on what it has, so that one run reports everything.
//! The keys, what they accept and their defaults are one table, `config/keys.rs`; a new key is a
//! row there, a field here and a line in `config/resolve.rs`.

mod environment;
mod error;
mod kafka;
mod keys;
mod nearest;
mod oauth;
mod paths;
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
mod value;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use error::{ConfigError, ConfigErrors};
pub use oauth::{ClientCredentials, TokenEndpoint};
pub use reference::reference;
pub use sasl::{Login, SaslConfig, Secret, TokenOrigin};
pub use tls::TlsConfig;

pub(crate) use sasl::token as sasl_token;

use environment::Env;
use text::Text;

/// Everything `logagent.ini` says.
#[derive(Debug, PartialEq, Eq)]
pub struct Config {
    /// The file it was read from.
    pub file: PathBuf,
    /// `[agent]`.
    pub agent: AgentConfig,
    /// `[kafka]`.
    pub kafka: KafkaConfig,
    /// `[log:NAME]`, in the order of the file.
    pub logs: Vec<Arc<LogConfig>>,
}

impl Config {
    /// Reads the ini at `path`, with `${NAME}` from the environment. Refuses anything but a regular
    /// file of at most 1 MiB, without waiting for it.
    pub fn load(path: &Path) -> Result<Config, ConfigErrors> {
        match text::read(path) {
            Ok(bytes) => Self::from_bytes(&bytes, path, &|name| std::env::var(name).ok()),
            Err(problem) => Err(ConfigErrors::new(path, vec![ConfigError::whole(problem)])),
        }
    }

    /// Reads `text` as the content of `file`, with `${NAME}` from `env`.
    pub fn parse(
        text: &str,
        file: &Path,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Config, ConfigErrors> {
        Self::from_bytes(text.as_bytes(), file, env)
    }

    /// What is no error and yet should be known, one line each.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = sasl::warnings(self);
        let key = self.kafka.tls.as_ref().and_then(TlsConfig::key_file);
        warnings.extend(key.and_then(sasl::open_to_others));
        warnings
    }

    pub(crate) fn from_bytes(
        bytes: &[u8],
        file: &Path,
        env: Env<'_>,
    ) -> Result<Config, ConfigErrors> {
        let text = Text::decode(bytes, file)
            .map_err(|problem| ConfigErrors::new(file, vec![ConfigError::whole(problem)]))?;
        let mut errors = Vec::new();
        let sections = syntax::parse(&text.text, &mut errors);
        let config = resolve::resolve(&sections, file, env, &mut errors);
        // What a line seems to say is no news where its bytes are wrong already.
        errors.retain(|error| {
            error
                .line()
                .is_none_or(|line| !text.damaged.contains(&line))
        });
        errors.extend(text.errors);
        match config {
            Some(config) if errors.is_empty() => Ok(config),
            _ => Err(ConfigErrors::new(file, errors)),
        }
    }
}

/// `[agent]`: the process itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentConfig {
    /// Folder of the checkpoints and the lock, absolute; need not exist.
    pub state_dir: PathBuf,
    /// Number of producer threads, at least 1.
    pub producers: usize,
    /// Bound of file bytes that are read and not yet acknowledged.
    pub memory_limit_bytes: usize,
    /// How long a stop may wait for what is in flight.
    pub shutdown_timeout: Duration,
    /// How often moved checkpoints are written.
    pub checkpoint_interval: Duration,
    /// Bound of unread bytes in deleted files that are held open.
    pub deleted_bytes_limit: u64,
}

/// `[kafka]`: where and how records are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaConfig {
    /// Bootstrap brokers, at least one.
    pub brokers: Vec<BrokerAddress>,
    /// Which output speaks to them.
    pub protocol: Protocol,
    /// When a record counts as delivered.
    pub acks: Acks,
    /// Codec of the record batches.
    pub compression: Compression,
    /// How a record's partition is chosen.
    pub partitioner: Partitioner,
    /// Bound of one record batch before compression, in bytes.
    pub batch_bytes: usize,
    /// How long an unfilled batch waits for more.
    pub linger: Duration,
    /// How long a broker may take to answer.
    pub request_timeout: Duration,
    /// Name that the brokers' logs and quotas know us by.
    pub client_id: String,
    /// Idempotent producer; only with `acks=all`.
    pub idempotence: bool,
    /// Which headers each record carries.
    pub headers: HeaderChoice,
    /// How connections are encrypted; `None`: not at all.
    pub tls: Option<TlsConfig>,
    /// Who we are to the brokers; `None`: nobody.
    pub sasl: Option<SaslConfig>,
}

/// `host:port` of a broker.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BrokerAddress {
    /// Name or address, IPv6 without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl std::fmt::Display for BrokerAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A colon in the host makes it an IPv6 address, whose end the brackets show.
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// `protocol`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// The project's own client, Kafka 0.11 to 4.x.
    Native,
    /// The `kafka` crate, message format v0, brokers below 4.0.
    Legacy,
}

/// `acks`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acks {
    /// `0`: written to the socket.
    None,
    /// `1`: the partition's leader has it.
    Leader,
    /// `all`: every replica in sync has it.
    All,
}

/// `compression` and `compression_level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// As they are.
    None,
    /// gzip of a level from 1 to 9. The legacy output has its own level.
    Gzip(u8),
    /// snappy.
    Snappy,
    /// lz4 frames. Native output only.
    Lz4,
    /// zstd of a level from 1 to 22. Native output only; Kafka 2.1 and later.
    Zstd(u8),
}

/// `partitioner`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Partitioner {
    /// murmur2 of `host:path`: a file's order holds.
    File,
    /// murmur2 of the key, the same partition as the Java client chooses.
    Key,
    /// The next partition for each record batch.
    RoundRobin,
    /// Always this one.
    Fixed(i32),
}

/// `headers`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeaderChoice {
    /// `host`: the name of this host.
    pub host: bool,
    /// `path`: the path that is followed.
    pub path: bool,
}

/// `[log:NAME]`: some files and where they go.
#[derive(Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// NAME.
    pub name: String,
    /// Absolute paths or globs (`*`, `?`, `[...]`, `**`), at least one.
    pub paths: Vec<String>,
    /// Absolute globs of paths to leave out; one that was given as a file name has become
    /// `/**/name`.
    pub exclude: Vec<String>,
    /// More places where rotation puts files, as absolute globs.
    pub rotated: Vec<String>,
    /// Kafka topic.
    pub topic: String,
    /// Record key.
    pub key: Option<String>,
    /// Where to start in a file that is there at the first start and has no checkpoint.
    pub start_at: StartAt,
    /// Longer lines are sent in pieces of this size.
    pub max_line_bytes: usize,
    /// A carriage return before the newline is left out.
    pub strip_cr: bool,
    /// How long a rotated file must be quiet before it is finished.
    pub rotate_wait: Duration,
}

/// `start_at`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartAt {
    /// All that is there.
    Beginning,
    /// Only what is written from now on.
    End,
}
