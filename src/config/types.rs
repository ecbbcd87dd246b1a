//! What the sections say, as types, and what is no error in them and yet should be known.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::address::BrokerAddress;
use super::origin::Origin;
use super::sasl::{SaslConfig, TokenOrigin};
use super::tls::TlsConfig;
use crate::batch::Route;
use crate::metrics::SectionCounters;
use crate::record::RecordConfig;
use crate::tap::TapPoint;

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
    /// The files that it comes from.
    pub origin: Origin,
}

/// `[agent]`: the process itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentConfig {
    /// Folder of the checkpoints and the lock, absolute; need not exist.
    pub state_dir: PathBuf,
    /// Whom root becomes at the start.
    pub user: Option<String>,
    /// Number of producer threads, at least 1.
    pub producers: usize,
    /// Bound of file bytes that are read and not yet acknowledged; `None`: as the control group leaves room.
    pub memory_limit_bytes: Option<usize>,
    /// How long a stop may wait for what is in flight.
    pub shutdown_timeout: Duration,
    /// How soon after an acknowledgement a checkpoint is written.
    pub checkpoint_interval: Duration,
    /// Bound of unread bytes in deleted files that are held open.
    pub deleted_bytes_limit: u64,
    /// What this agent is called among those of the cluster; `None`: by the name of its host.
    pub id: Option<String>,
    /// Whether a change of the ini is applied by itself.
    pub reload: Reload,
    /// Where the metrics are; `None`: nowhere.
    pub metrics_listen: Option<SocketAddr>,
}

/// `reload`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reload {
    /// A change of the ini, or of a file that it names, is applied by itself.
    Auto,
    /// Only on SIGHUP and `logagent reload`.
    Manual,
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
    /// How long an unfilled batch waits for more; while its broker has not answered the last request, 1 ms at least.
    pub linger: Duration,
    /// How long a broker may take to answer.
    pub request_timeout: Duration,
    /// Name that the brokers' logs and quotas know us by.
    pub client_id: String,
    /// Each line is committed once, with transactions; `None`: at least once.
    pub exactly_once: Option<ExactlyOnce>,
    /// Idempotent producer; only with `acks=all`.
    pub idempotence: bool,
    /// Which headers each record carries.
    pub headers: HeaderChoice,
    /// How connections are encrypted; `None`: not at all.
    pub tls: Option<TlsConfig>,
    /// Who we are to the brokers; `None`: nobody.
    pub sasl: Option<SaslConfig>,
}

impl KafkaConfig {
    /// The part of `linger` that lines may wait to be read: events are gathered for so long, and each file is read
    /// once. What is left of it the batches wait for each other.
    pub fn gathering(&self) -> Duration {
        match self.linger {
            // Too short to be shared.
            linger if linger < Duration::from_millis(8) => Duration::ZERO,
            linger => linger - (linger / 4).min(BATCHES_GATHER_FOR),
        }
    }

    /// The part of `linger` that a batch waits for more.
    pub fn batch_linger(&self) -> Duration {
        self.linger - self.gathering()
    }
}

/// `delivery = exactly_once`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExactlyOnce {
    /// How long a transaction is filled before it is committed.
    pub commit_interval: Duration,
    /// After so long the brokers abort a transaction.
    pub transaction_timeout: Duration,
    /// The compacted topic of the positions.
    pub positions_topic: String,
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
    /// murmur2 of the name of this host: all files go to one partition of a topic.
    Host,
    /// murmur2 of the key, the same partition as the Java client chooses.
    Key,
    /// The next partition for each record batch.
    RoundRobin,
    /// Always this one.
    Fixed(i32),
}

impl Partitioner {
    /// Whether all lines of a file go to one partition, where their order is seen.
    pub fn keeps_files_together(self) -> bool {
        matches!(
            self,
            Partitioner::File | Partitioner::Host | Partitioner::Fixed(_)
        )
    }
}

/// `headers`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeaderChoice {
    /// `host`: the name of this host.
    pub host: bool,
    /// `path`: the path that is followed.
    pub path: bool,
    /// `at`: which bytes of which file the record was made of (`provenance`).
    pub provenance: bool,
}

/// `[log:NAME]`: some files and where they go.
#[derive(Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// NAME.
    pub name: String,
    /// Absolute paths or globs (`*`, `?`, `[...]`, `**`), at least one.
    pub paths: Vec<String>,
    /// Globs of files to leave out: absolute ones of paths, and those without a slash of file names at any
    /// depth, hidden folders included.
    pub exclude: Vec<String>,
    /// More places where rotation puts files, as absolute globs.
    pub rotated: Vec<String>,
    /// The names in `path`, if nothing asks for any of them.
    pub unused_names: Vec<String>,
    /// Which symbolic links are followed.
    pub follow_links: FollowLinks,
    /// Where records go, as far as that is the same for all files.
    pub destination: LogDestination,
    /// Files that were not written for so long are not begun.
    pub ignore_older: Option<Duration>,
    /// A last line without a newline is sent after so long.
    pub line_timeout: Option<Duration>,
    /// What records are made of; `None`: lines, as they are.
    pub record: Option<Arc<RecordConfig>>,
    /// Where to start in a file that is there at the first start and has no checkpoint.
    pub start_at: StartAt,
    /// Longer lines are sent in pieces of this size.
    pub max_line_bytes: usize,
    /// A carriage return before the newline is left out.
    pub strip_cr: bool,
    /// How long a rotated file must be quiet before it is finished.
    pub rotate_wait: Duration,
}

impl LogConfig {
    /// Headers, key and topic that the records of its files get, as far as they are the same for all.
    pub fn route(
        &self,
        host: &str,
        headers: HeaderChoice,
        counters: Arc<SectionCounters>,
    ) -> Route {
        let of_host = headers
            .host
            .then(|| ("host".to_owned(), host.as_bytes().to_vec()));
        let own = self.destination.headers.iter();
        let own = own.map(|(name, value)| (name.clone(), value.as_bytes().to_vec()));
        Route {
            host: host.to_owned(),
            topic: self.destination.topic.as_str().into(),
            key: self
                .destination
                .key
                .as_ref()
                .map(|key| key.as_bytes().into()),
            headers: of_host.into_iter().chain(own).collect(),
            with_path: headers.path,
            has_provenance: headers.provenance,
            strip_cr: self.strip_cr,
            tap: TapPoint::default(),
            counters,
            counts_lines: self.record.is_none(),
        }
    }
}

/// Topic, key and headers of a log, as far as they are the same for all its files.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct LogDestination {
    /// Kafka topic; the text with its placeholders if it has some.
    pub topic: String,
    /// Record key.
    pub key: Option<String>,
    /// `header.NAME`, with the values.
    pub headers: Vec<(String, String)>,
}

impl LogDestination {
    /// Whether records can go to the topic `name`: it is the topic, or the placeholders of its text can stand for what
    /// differs.
    pub fn may_be(&self, name: &str) -> bool {
        let Some((first, rest)) = self.topic.split_once('{') else {
            return name == self.topic;
        };
        let texts = rest.split('{');
        let texts = texts.map(|part| part.split_once('}').map_or(part, |(_, text)| text));
        let mut texts: Vec<&str> = texts.collect();
        let last = texts.pop().unwrap_or_default();
        let rest = name.strip_prefix(first);
        let Some(mut rest) = rest.and_then(|rest| rest.strip_suffix(last)) else {
            return false;
        };
        texts.iter().all(|text| match rest.split_once(text) {
            Some((_, behind)) => {
                rest = behind;
                true
            }
            None => false,
        })
    }
}

/// `follow_links`. Whoever may make files in a log folder may put a link there that leads to any file that the
/// agent may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FollowLinks {
    /// Those that belong to root, to the agent's user or to the owner of their target.
    Safe,
    /// All of them.
    All,
    /// None.
    None,
}

/// `start_at`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartAt {
    /// All that is there.
    Beginning,
    /// Only what is written from now on.
    End,
}

impl Config {
    /// Files with certificates, and when each is of no more use.
    pub fn certificates(&self) -> Vec<(PathBuf, SystemTime)> {
        self.kafka
            .tls
            .as_ref()
            .map_or_else(Vec::new, TlsConfig::certificates)
    }

    /// What is no error and yet should be known, one line each.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = of_sasl(self);
        let tls = self.kafka.tls.as_ref();
        warnings.extend(tls.and_then(|tls| left_out("tls_ca", tls)));
        let key = tls.and_then(TlsConfig::key_file);
        warnings.extend(key.and_then(open_to_others));
        warnings.extend(self.logs.iter().filter_map(|log| unused_names(log)));
        warnings
    }
}

/// What is said of names in a path that may be meant as they are written.
fn unused_names(log: &LogConfig) -> Option<String> {
    let name = log.unused_names.first()?;
    Some(format!(
        "[log:{}] path: {{{name}}} stands for any text and nothing asks for it; write {{{{{name}}}}} if the braces \
         are part of a file's name",
        log.name
    ))
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

/// A batch waits no longer than this for those of other files: they are read at the same moment.
const BATCHES_GATHER_FOR: Duration = Duration::from_millis(16);
