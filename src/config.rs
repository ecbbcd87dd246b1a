//! The typed configuration. It is immutable and cannot hold a contradiction.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Everything `logagent.ini` says.
#[derive(Debug)]
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

/// `[agent]`: the process itself.
#[derive(Debug, Clone)]
pub struct AgentConfig {
    /// Folder of the checkpoints and the lock.
    pub state_dir: PathBuf,
    /// Number of producer threads, at least 1.
    pub producers: usize,
    /// Bound of file bytes that are read and not yet acknowledged.
    pub memory_limit_bytes: usize,
    /// How long a stop may wait for what is in flight.
    pub shutdown_timeout: Duration,
    /// How often moved checkpoints are written.
    pub checkpoint_interval: Duration,
}

/// `[kafka]`: where and how records are sent.
#[derive(Debug, Clone)]
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
}

/// `host:port` of a broker.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BrokerAddress {
    /// Name or address, IPv6 without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
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

/// `compression`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// As they are.
    None,
    /// gzip (legacy output only, so far).
    Gzip,
    /// snappy (legacy output only, so far).
    Snappy,
    /// lz4 frames.
    Lz4,
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
#[derive(Debug)]
pub struct LogConfig {
    /// NAME.
    pub name: String,
    /// Absolute paths or globs (`*`, `?`, `[...]`, `**`), at least one.
    pub paths: Vec<String>,
    /// Globs of paths to leave out.
    pub exclude: Vec<String>,
    /// Kafka topic.
    pub topic: String,
    /// Record key.
    pub key: Option<String>,
    /// Where to start in a file that is there at the first start and has no checkpoint.
    pub start_at: StartAt,
    /// Longer lines are sent in pieces of this size.
    pub max_line_bytes: usize,
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
