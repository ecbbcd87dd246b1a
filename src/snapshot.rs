//! How the agent stands at one moment.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// How the agent stands. Counts go from the start of the process and only grow; rates are made of two snapshots.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Snapshot {
    /// The process.
    pub process: ProcessStatus,
    /// The ini in use.
    pub config: ConfigStatus,
    /// One for each `[log:NAME]`, in the order of the ini.
    pub logs: Vec<LogStatus>,
    /// One for each file that is followed or still to be read on, in no order.
    pub files: Vec<FileStatus>,
    /// One for each topic that was sent to.
    pub topics: Vec<TopicStatus>,
    /// One for each broker that is known.
    pub brokers: Vec<BrokerStatus>,
    /// One for each address of `brokers` in the ini.
    pub bootstrap: Vec<BootstrapStatus>,
    /// How it delivers exactly once: `id web1, transaction.version 2, positions in logagent-positions/7`; empty if it
    /// does not.
    pub exactly_once: String,
    /// One for each transactional id.
    pub transactions: Vec<TransactionStatus>,
    /// What is wrong at present, the longest first.
    pub conditions: Vec<ConditionStatus>,
    /// Errors of Produce by Kafka's name of the code, and how often each was answered.
    pub produce_errors: Vec<(String, u64)>,
    /// How long Produce took.
    pub produce_latency: Latency,
    /// The positions.
    pub positions: PositionsStatus,
    /// The parts of the agent that did not answer in time. What they know is missing here.
    pub unanswered: Vec<String>,
    /// The first of the paths that a pattern names and that are not followed.
    pub not_followed: Vec<NotFollowed>,
    /// How many there are of them, by why.
    pub not_followed_counts: Vec<(String, u64)>,
    /// Sections that follow no file at present.
    pub follows_nothing: Vec<FollowsNothing>,
    /// Files that no section follows any more, with bytes that were not sent.
    pub unfollowed: Unfollowed,
    /// What went away before it was read, the last times, of earlier runs too; oldest first.
    pub losses: Vec<Loss>,
    /// How long the time was that rates are averages of.
    pub rates_over: Duration,
    /// What was acknowledged in the last minute.
    pub minute: LastMinute,
}

/// What was acknowledged in the last minute, or since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LastMinute {
    /// How many records.
    pub records: u64,
    /// How many bytes of files.
    pub bytes: u64,
    /// How long the time was.
    pub over: Duration,
}

impl Snapshot {
    /// Whether no broker can be reached.
    pub fn is_cut_off(&self) -> bool {
        let mut conditions = self.conditions.iter();
        conditions.any(|one| one.subject == ALL_BROKERS)
    }
}

/// The subject of the condition that no broker can be reached.
pub const ALL_BROKERS: &str = "all brokers";

/// Bytes that went away before they were read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// When that was noticed.
    pub at: SystemTime,
    /// The name of the section.
    pub log: String,
    /// The file, as it is shown.
    pub path: String,
    /// How many they were; 0: whether there were any is not known.
    pub bytes: u64,
    /// The first one.
    pub offset: u64,
    /// `truncated`, `deleted`, `limit`, or `perhaps`.
    pub why: String,
}

impl Loss {
    /// Whether something is known to be lost.
    pub fn is_certain(&self) -> bool {
        self.bytes > 0
    }
}

impl Default for Loss {
    fn default() -> Self {
        Loss {
            at: SystemTime::UNIX_EPOCH,
            log: String::new(),
            path: String::new(),
            bytes: 0,
            offset: 0,
            why: String::new(),
        }
    }
}

/// A section that follows no file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FollowsNothing {
    /// Its name.
    pub log: String,
    /// Why: `there is no folder '/srv/ngnix' yet`.
    pub why: String,
}

/// Files that no section follows any more, with bytes that were not sent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Unfollowed {
    /// How many files.
    pub files: u64,
    /// How many bytes.
    pub bytes: u64,
    /// The first of them: `/srv/app.log (8 B)`.
    pub first: Vec<String>,
}

/// A path that a pattern names and that is not followed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NotFollowed {
    /// The path.
    pub path: PathBuf,
    /// The name of the section.
    pub log: String,
    /// The kind, as they are counted.
    pub kind: String,
    /// Why: `second name of '/srv/app.log'`, `excluded by '*.old'`.
    pub reason: String,
}

/// The process.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ProcessStatus {
    /// Version of the agent, without its name.
    pub version: String,
    /// The commit that it was built of; empty: that is not known.
    pub commit: String,
    /// Process id.
    pub pid: u32,
    /// When it was started.
    pub started: Option<SystemTime>,
    /// Bytes of lines in memory, and the most that may be.
    pub memory_used: u64,
    /// Of `[agent] memory_limit`, in bytes.
    pub memory_limit: u64,
    /// Threads.
    pub threads: u64,
    /// Open descriptors of files that are followed.
    pub files_open: u64,
    /// Resident memory of the process, in bytes.
    pub resident: u64,
    /// Open descriptors of the process.
    pub descriptors: u64,
    /// How many it may have; 0: any number.
    pub most_descriptors: u64,
}

/// The ini in use.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ConfigStatus {
    /// The file.
    pub path: PathBuf,
    /// When it was last changed before it was read.
    pub modified: Option<SystemTime>,
    /// Reloads that were applied, and when the last one was.
    pub applied: u64,
    /// Reloads that were refused.
    pub refused: u64,
    /// When the last one was applied.
    pub last_applied: Option<SystemTime>,
    /// Why the last reload was refused, if it was.
    pub refusal: Option<String>,
    /// A file of it was changed since it was read last.
    pub is_changed: bool,
    /// Settings that are otherwise in the ini and count from the next start on: `[agent] user`.
    pub waits_for_restart: Vec<String>,
    /// Certificates that are in use, and when each ends.
    pub certificates: Vec<(PathBuf, SystemTime)>,
}

/// The files of one section together.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LogStatus {
    /// The name of the section.
    pub name: String,
    /// Bytes and lines that were read.
    pub read_bytes: u64,
    /// Lines that were read.
    pub read_lines: u64,
    /// Events, after assembly and before filters.
    pub events: u64,
    /// Events that each rule dropped: `keep`, `drop.NAME`, `sample`, `rate_limit`.
    pub dropped: Vec<(String, u64)>,
    /// What each mask hid.
    pub masked: Vec<(String, u64)>,
    /// Events that went in pieces.
    pub split: u64,
    /// What could not be read, by `container`, `encoding`, `json`, `regex` and `time`.
    pub parse_failures: Vec<(&'static str, u64)>,
    /// Bytes of the files that are done with: acknowledged, or a dead letter.
    pub acked_bytes: u64,
    /// Records that are done with.
    pub acked_records: u64,
    /// Bytes that went away unread: `truncated`, `deleted`, `limit`.
    pub lost_bytes: Vec<(&'static str, u64)>,
    /// When bytes were lost last.
    pub last_lost: Option<SystemTime>,
    /// How long `rate_limit` made files wait.
    pub rate_limited: Duration,
    /// Its `rate_limit`, if it lets files wait: `1000/s`.
    pub rate_limit: Option<String>,
    /// That has let files wait of late, for a good part of the time.
    pub is_held: bool,
    /// How many of its files are behind.
    pub files_behind: u64,
    /// By how many bytes.
    pub lag_bytes: u64,
    /// The first of the topics that records of it go to, of those that were sent to.
    pub topics: Vec<String>,
    /// Those of its topics that something is wrong with.
    pub troubled_topics: Vec<String>,
    /// Those of them that only a section of this name in an earlier ini has named.
    pub former_topics: Vec<String>,
    /// The ini has it no more.
    pub is_removed: bool,
    /// Bytes that were read in a second of late: see [`Snapshot::rates_over`].
    pub read_rate: u64,
    /// Bytes that were done with in a second of late.
    pub acked_rate: u64,
}

impl LogStatus {
    /// Whether records of it go to a topic that something is wrong with.
    pub fn goes_to(&self, topic: &str) -> bool {
        self.troubled_topics.iter().any(|one| one == topic)
    }

    /// Whether a topic is one of its own.
    pub fn has_topic(&self, topic: &str) -> bool {
        self.goes_to(topic) || self.topics.iter().any(|one| one == topic)
    }
}

/// What a file is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FileState {
    /// Everything in it is acknowledged.
    #[default]
    AtEnd,
    /// There is more in it.
    Behind,
    /// Its topic, its broker or the memory lets it wait.
    Waiting,
    /// It was rotated away and is read to its end.
    Rotated,
    /// It cannot be read.
    Failed,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FileStatus {
    /// The path whose lines it holds.
    pub path: PathBuf,
    /// Where it lies now, if it was rotated away and that is known.
    pub path_now: Option<PathBuf>,
    /// It was rotated away and deleted.
    pub is_deleted: bool,
    /// The name of its section.
    pub log: String,
    /// What it is doing.
    pub state: FileState,
    /// Everything before this offset is acknowledged.
    pub position: u64,
    /// How long it is.
    pub size: u64,
    /// So many bytes at its end are the beginning of a line, whose end is awaited.
    pub unended: u64,
    /// Since when there is a byte that is not acknowledged.
    pub behind_since: Option<SystemTime>,
}

impl FileStatus {
    /// Bytes past the position.
    pub fn lag(&self) -> u64 {
        self.size.saturating_sub(self.position)
    }

    /// What every screen calls its lag: bytes of whole lines that are not acknowledged, whether they were read or not.
    /// The beginning of a line whose end is still to be written is none of them.
    pub fn waits(&self) -> u64 {
        self.lag().saturating_sub(self.unended)
    }

    /// Whether there are such bytes.
    pub fn is_behind(&self) -> bool {
        self.waits() > 0
    }
}

/// One topic.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TopicStatus {
    /// Its name.
    pub name: String,
    /// Records that Kafka acknowledged.
    pub acked_records: u64,
    /// Encoded bytes on their way.
    pub in_flight_bytes: u64,
    /// Requests that were sent again.
    pub retries: u64,
    /// Dead letters by reason (Kafka's name of the code).
    pub dead_letters: Vec<(String, u64)>,
    /// Why it is parked and since when, if it is.
    pub parked: Option<(String, SystemTime)>,
    /// When it is tried again, if it is parked.
    pub next_try: Option<SystemTime>,
    /// No broker can be reached.
    pub waits_for_broker: bool,
    /// Records that were acknowledged in a second of late.
    pub acked_rate: u64,
}

/// One broker.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct BrokerStatus {
    /// `host:port`.
    pub address: String,
    /// What was found when it was connected last: `Kafka 4.1, TLS 1.3, SCRAM-SHA-512`. Empty before that.
    pub about: String,
    /// Since when it is connected, if it is.
    pub up_since: Option<SystemTime>,
    /// Requests and encoded bytes on their way.
    pub in_flight_requests: u64,
    /// Encoded bytes on their way.
    pub in_flight_bytes: u64,
    /// Requests of Produce that were sent.
    pub requests: u64,
    /// How long Produce took.
    pub latency: Latency,
    /// How long it took of late.
    pub recent_latency: Latency,
    /// The last error, and when it is tried again.
    pub last_error: Option<String>,
    /// When it is connected to again, if it is down.
    pub next_try: Option<SystemTime>,
}

/// An address of `brokers` in the ini.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BootstrapStatus {
    /// `host:port`.
    pub address: String,
    /// Whether it was tried.
    pub is_asked: bool,
    /// Why it cannot.
    pub error: Option<String>,
    /// Since when it cannot.
    pub error_since: Option<SystemTime>,
}

/// The transactions of one transactional id.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TransactionStatus {
    /// The transactional id.
    pub id: String,
    /// Those that are in Kafka for good.
    pub committed: u64,
    /// Those that were sent again.
    pub aborted: u64,
    /// Since when one is open, if one is.
    pub open_since: Option<SystemTime>,
}

/// A histogram of durations.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Latency {
    /// How many took at most [`Latency::BOUNDS`] and more than the bound before; the last ones longer than all.
    pub counts: [u64; Latency::BOUNDS.len() + 1],
    /// The sum of all.
    pub sum: Duration,
}

impl Latency {
    /// The upper bounds in seconds.
    pub const BOUNDS: [f64; 13] = [
        0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    ];
}

/// Something that is wrong for a while.
#[derive(Debug, Clone, PartialEq)]
pub struct ConditionStatus {
    /// What it concerns: `topic web_log`, `broker kafka1:9092`, a path.
    pub subject: String,
    /// What is wrong.
    pub reason: String,
    /// Since when.
    pub since: SystemTime,
    /// The level of its lines in the log. `Error`: bytes are at stake, or a person is needed.
    pub level: log::Level,
    /// When it is tried again, where that is known.
    pub next_try: Option<SystemTime>,
    /// How many bytes wait for its end, of that no broker can be reached.
    pub waiting: u64,
}

/// What the registrar knows.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Positions {
    /// The files.
    pub files: Vec<FileStatus>,
    /// How many are open.
    pub open: u64,
    /// The positions.
    pub status: PositionsStatus,
}

/// The positions.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PositionsStatus {
    /// How many there are.
    pub count: u64,
    /// When they were written last.
    pub written: Option<SystemTime>,
    /// Whether something moved since.
    pub is_due: bool,
    /// How often they could not be written.
    pub failures: u64,
}
