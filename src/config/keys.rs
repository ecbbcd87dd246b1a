//! The one table of keys and what is said of a key. Parsing, defaults, messages, help and the shipped ini come from it.

use std::time::Duration;

use super::types::{Acks, Compression, FollowLinks, Protocol, Reload, StartAt};
use super::value_types::kafka::is_name;
use super::value_types::kafka::{Brokers, Headers, Partitioners};
use super::value_types::paths::{Excludes, Folder, Includes, Paths, RotatedGlobs};
use super::value_types::records::{
    Encodings, MaskRules, MaskWords, Multilines, Parses, Rates, Regex, Samples, Times, Zones,
};
use super::value_types::sasl::{Mechanisms, Password, PasswordFile, TokenFile, TokenUrl};
use super::value_types::tls::{Authorities, Certificates, PrivateKey};
use super::value_types::{Choice, Count, Listen, Optional, Size, Text, Time, ValueType};
use crate::nearest::nearest;
use crate::record::container::ContainerKind;
use crate::record::json::{Content, Shape};

/// The keys of one kind of section.
pub(super) fn keys_of(section: Section) -> impl Iterator<Item = &'static dyn AnyKey> {
    TABLE
        .iter()
        .copied()
        .filter(move |key| key.section() == section)
}

/// Whether there is a key of this name, in any section.
pub(super) fn is_key(name: &str) -> bool {
    keys_named(name).next().is_some()
}

/// The keys of this name, of one section at most each.
pub(super) fn keys_named(name: &str) -> impl Iterator<Item = &'static dyn AnyKey> {
    TABLE
        .iter()
        .copied()
        .filter(move |key| is_named(*key, name))
}

/// The name of a key, in any section, that `word` is probably meant to be.
pub(super) fn nearest_key(word: &str) -> Option<&'static str> {
    nearest(word, TABLE.iter().map(|key| key.name()))
}

/// Whether `word` is the name of `key`: for a family, whose name ends with `.NAME`, that of one of its members.
pub(super) fn is_named(key: &dyn AnyKey, word: &str) -> bool {
    match family_of(key.name()) {
        Some(family) => word.strip_prefix(family).is_some_and(is_name),
        None => key.name() == word,
    }
}

/// Whether a key of this name names a file whose content is read with the configuration.
pub(super) fn names_file(name: &str) -> bool {
    TABLE
        .iter()
        .any(|key| key.name() == name && key.names_file())
}

/// What the names of all members of a family begin with, a dot at its end; `None` if `name` is that of one key.
pub(super) fn family_of(name: &'static str) -> Option<&'static str> {
    name.strip_suffix("NAME")
        .filter(|family| family.ends_with('.'))
}

/// The key of a section of kind `section` that `word` is probably meant to be.
pub(super) fn meant_by(section: Section, word: &str) -> Option<(&'static str, String)> {
    let (stem, member) = word.split_once('.').unwrap_or((word, ""));
    let families = keys_of(section).filter_map(|key| Some((key.name(), family_of(key.name())?)));
    if is_name(member)
        && let stems = families.map(|(name, family)| (name, family.trim_end_matches('.')))
        && let Some((name, family)) = nearest_of(stem, stems.collect())
    {
        return Some((name, format!("{family}.{member}")));
    }
    let meant = nearest(word, keys_of(section).map(|key| key.name()))?;
    Some((meant, meant.to_owned()))
}

fn nearest_of(
    stem: &str,
    families: Vec<(&'static str, &'static str)>,
) -> Option<(&'static str, &'static str)> {
    let meant = nearest(stem, families.iter().map(|(_, family)| *family)).or_else(|| {
        families
            .iter()
            .map(|(_, family)| *family)
            .find(|family| *family == stem)
    })?;
    families.into_iter().find(|(_, family)| *family == meant)
}

/// Declares each key as a static and all of them as [`TABLE`], in this order.
macro_rules! table {
    ($($id:ident: $kind:ty = [$section:ident] $name:literal, $value:expr, $default_value:expr, $about:literal;)*) => {
        $(pub(super) static $id: Key<$kind> = Key {
            section: Section::$section,
            name: $name,
            value_type: $value,
            default_value: $default_value,
            about: $about,
        };)*

        static TABLE: &[&dyn AnyKey] = &[$(&$id),*];
    };
}

table! {
    STATE_DIR: Folder = [Agent] "state_dir", Folder, DefaultValue::Text("/var/lib/logagent"),
        "where the checkpoints are kept, and the lock against a second agent";
    USER: Optional<Text> = [Agent] "user", Optional(Text::USERNAME), DefaultValue::Unset("logagent"),
        "whom root becomes at the start, with the right to read every file and no other";
    PRODUCERS: Count = [Agent] "producers", Count { least: 1, most: 64 }, DefaultValue::Text("1"),
        "threads that send, each with connections of its own; each file is pinned to one of them";
    MEMORY_LIMIT: Optional<Size> = [Agent] "memory_limit",
        Optional(Size { least: LEAST_MEMORY, most: usize::MAX }), DefaultValue::Unset("256MiB"),
        "bound of bytes read and not acknowledged; without it half of the cgroup's, 64MiB at most";
    SHUTDOWN_TIMEOUT: Time = [Agent] "shutdown_timeout", Time { least: Duration::ZERO, most: DAY },
        DefaultValue::Text("8s"),
        "how long a stop may wait for what is in flight; supervisors kill after 10s";
    CHECKPOINT_INTERVAL: Time = [Agent] "checkpoint_interval",
        Time { least: Duration::from_millis(1), most: DAY }, DefaultValue::Text("5ms"),
        "how soon after an acknowledgement it is written; a power cut may take a second more, or five with less than 1MiB";

    DELETED_BYTES_LIMIT: Size = [Agent] "deleted_bytes_limit",
        Size { least: 0, most: usize::MAX }, DefaultValue::Text("1GiB"),
        "unread bytes of deleted files that may be kept on disk by holding them open";
    INCLUDE: Includes = [Agent] "include", Includes, DefaultValue::Unset("conf.d/*.ini"),
        "more files of sections, from the folder of this one on: conf.d/*.ini";
    RELOAD: Choice<Reload> = [Agent] "reload",
        Choice(&[("auto", Reload::Auto), ("manual", Reload::Manual)]), DefaultValue::Text("auto"),
        "auto: a change of this file, or of one that it names, is applied; manual: only when asked";
    METRICS_LISTEN: Optional<Listen> = [Agent] "metrics_listen", Optional(Listen),
        DefaultValue::Unset("127.0.0.1:9787"),
        "where /metrics for Prometheus, /healthz and a page with the status are, for all who can connect";

    AGENT_ID: Optional<Text> = [Agent] "id", Optional(Text::CLIENT_ID), DefaultValue::Unset("web1"),
        "the name of this agent among all of a cluster, for exactly_once; without it, the host's; \
         one that is in use on another machine is refused: see logagent help adopt";

    BROKERS: Brokers = [Kafka] "brokers", Brokers, DefaultValue::Required("localhost:9092"),
        "the brokers to begin with; they name the others";
    TOPIC: Text = [Kafka] "topic", Text::TOPIC, DefaultValue::Nothing("logs"),
        "topic of every log section that names none";
    PROTOCOL: Choice<Protocol> = [Kafka] "protocol",
        Choice(&[("native", Protocol::Native), ("legacy", Protocol::Legacy)]),
        DefaultValue::Text("native"),
        "native: Kafka 0.11 to 4.x; legacy: message format v0, brokers below 4.0 only";
    ACKS: Choice<Acks> = [Kafka] "acks",
        Choice(&[("all", Acks::All), ("1", Acks::Leader), ("0", Acks::None)]),
        DefaultValue::Text("all"),
        "who must have a record before it counts as delivered; 1 and 0 can lose records";
    COMPRESSION: Choice<Compression> = [Kafka] "compression",
        Choice(&[
            ("lz4", Compression::Lz4),
            ("none", Compression::None),
            ("gzip", Compression::Gzip(DEFAULT_GZIP_LEVEL)),
            ("snappy", Compression::Snappy),
            ("zstd", Compression::Zstd(DEFAULT_ZSTD_LEVEL)),
        ]),
        DefaultValue::Text("lz4"),
        "codec of the record batches; lz4, zstd: native only (legacy: none); zstd: Kafka 2.1+";
    COMPRESSION_LEVEL: Optional<Count> = [Kafka] "compression_level",
        Optional(Count { least: 1, most: 22 }), DefaultValue::Unset("3"),
        "gzip: 1 to 9, default 6 (three times the CPU time of 1); zstd: 1 to 22, default 3; the static binary packs above 12 as at 12";
    PARTITIONER: Partitioners = [Kafka] "partitioner", Partitioners, DefaultValue::Text("file"),
        "what decides the partition: the file, the host, the record key, the next in turn, always N";
    BATCH_BYTES: Size = [Kafka] "batch_bytes", Size { least: 1 << 10, most: MOST_BATCH },
        DefaultValue::Text("512KiB"),
        "bound of one record batch before compression";
    LINGER: Time = [Kafka] "linger",
        Time { least: Duration::ZERO, most: Duration::from_secs(60) }, DefaultValue::Text("250ms"),
        "how long a line waits for others at most, while batches are not full";
    REQUEST_TIMEOUT: Time = [Kafka] "request_timeout",
        Time { least: Duration::from_secs(1), most: DAY }, DefaultValue::Text("30s"),
        "how long a broker may take to answer";
    CLIENT_ID: Text = [Kafka] "client_id", Text::CLIENT_ID, DefaultValue::Text("logagent"),
        "the name that the brokers' logs and quotas know this agent by";
    IDEMPOTENCE: Choice<bool> = [Kafka] "idempotence", Choice(&[("on", true), ("off", false)]),
        DefaultValue::Text("on"),
        "retries neither duplicate nor reorder; native with acks = all only (otherwise off)";
    DELIVERY: Choice<bool> = [Kafka] "delivery",
        Choice(&[("at_least_once", false), ("exactly_once", true)]),
        DefaultValue::Text("at_least_once"),
        "exactly_once: in transactions, for read_committed consumers; Kafka 2.5+, best with 4.0+; \
         with it a change of any key of [kafka] but topic needs a restart";
    COMMIT_INTERVAL: Time = [Kafka] "commit_interval",
        Time { least: Duration::from_millis(50), most: Duration::from_secs(60) },
        DefaultValue::Text("1s"),
        "exactly_once: how long a transaction is filled; its lines are visible after it";
    TRANSACTION_TIMEOUT: Time = [Kafka] "transaction_timeout",
        Time { least: Duration::from_secs(5), most: Duration::from_secs(900) },
        DefaultValue::Text("60s"),
        "exactly_once: so long consumers wait behind an agent that was killed";
    POSITIONS_TOPIC: Text = [Kafka] "positions_topic", Text::TOPIC,
        DefaultValue::Text("logagent-positions"),
        "exactly_once: the compacted topic where positions are kept; it is made if it is missing";
    HEADERS: Headers = [Kafka] "headers", Headers, DefaultValue::Text("host,path"),
        "headers of every record; native only (legacy: none)";
    PROVENANCE: Choice<bool> = [Kafka] "provenance", Choice(&[("off", false), ("on", true)]),
        DefaultValue::Text("off"),
        "header at = FILE:OFFSET of every record, for 'logagent verify'; native only";
    TLS: Choice<bool> = [Kafka] "tls", Choice(&[("off", false), ("on", true)]),
        DefaultValue::Text("off"),
        "encrypted connections, TLS 1.2 or 1.3; the broker's certificate and name are checked";
    TLS_CA: Optional<Authorities> = [Kafka] "tls_ca", Optional(Authorities), DefaultValue::Unset("/etc/logagent/ca.pem"),
        "the authorities that brokers' certificates may come from; without it, the system's";
    TLS_CERT: Optional<Certificates> = [Kafka] "tls_cert", Optional(Certificates),
        DefaultValue::Unset("/etc/logagent/agent.pem"),
        "the client certificate, and those of the authorities between, if brokers want one";
    TLS_KEY: Optional<PrivateKey> = [Kafka] "tls_key", Optional(PrivateKey), DefaultValue::Unset("/etc/logagent/agent.key"),
        "the private key of tls_cert";
    SASL_MECHANISM: Optional<Mechanisms> = [Kafka] "sasl_mechanism", Optional(Mechanisms),
        DefaultValue::Unset("SCRAM-SHA-512"),
        "how this agent proves who it is; PLAIN and OAUTHBEARER send the secret: tls = on";
    SASL_USERNAME: Optional<Text> = [Kafka] "sasl_username", Optional(Text::USERNAME),
        DefaultValue::Unset("logagent"),
        "the name, for PLAIN and SCRAM";
    SASL_PASSWORD: Optional<Password> = [Kafka] "sasl_password", Optional(Password),
        DefaultValue::Unset("${KAFKA_PASSWORD}"),
        "the password; it is never shown, and can be ${NAME}; chmod 600 this file if it is here";
    SASL_PASSWORD_FILE: Optional<PasswordFile> = [Kafka] "sasl_password_file",
        Optional(PasswordFile), DefaultValue::Unset("/etc/logagent/password"),
        "the password in a file of its own instead, read at the start";
    SASL_TOKEN_FILE: Optional<TokenFile> = [Kafka] "sasl_token_file", Optional(TokenFile),
        DefaultValue::Unset("/run/secrets/token"),
        "the token for OAUTHBEARER, read again for every connection";
    SASL_TOKEN_URL: Optional<TokenUrl> = [Kafka] "sasl_token_url", Optional(TokenUrl),
        DefaultValue::Unset("https://login.example.org/oauth2/token"),
        "the endpoint that gives out tokens for OAUTHBEARER instead (client credentials grant)";
    SASL_CLIENT_ID: Optional<Text> = [Kafka] "sasl_client_id", Optional(Text::OAUTH_CLIENT_ID),
        DefaultValue::Unset("logagent"),
        "the name that the endpoint knows this agent by";
    SASL_CLIENT_SECRET: Optional<Password> = [Kafka] "sasl_client_secret", Optional(Password),
        DefaultValue::Unset("${CLIENT_SECRET}"),
        "the secret that belongs to it; as with sasl_password, it can be ${NAME}";
    SASL_CLIENT_SECRET_FILE: Optional<PasswordFile> = [Kafka] "sasl_client_secret_file",
        Optional(PasswordFile), DefaultValue::Unset("/etc/logagent/client_secret"),
        "the secret in a file of its own instead, read at the start";
    SASL_SCOPE: Optional<Text> = [Kafka] "sasl_scope", Optional(Text::SCOPE), DefaultValue::Unset("kafka"),
        "what the token is to be good for, if the endpoint wants to know";
    SASL_TOKEN_CA: Optional<Authorities> = [Kafka] "sasl_token_ca", Optional(Authorities),
        DefaultValue::Unset("/etc/logagent/login-ca.pem"),
        "authorities of the endpoint's certificate; without it, those of tls_ca or the system's";

    LOG_PATH: Paths = [Log] "path", Paths, DefaultValue::Required("/srv/shop/log/*.log"),
        "the files to follow; relative paths start at the current directory";
    LOG_EXCLUDE: Excludes = [Log] "exclude", Excludes, DefaultValue::Unset("*.gz, /var/log/nginx/old-*"),
        "files to leave out, in hidden folders too";
    LOG_ROTATED: RotatedGlobs = [Log] "rotated", RotatedGlobs, DefaultValue::Unset("/var/log/nginx/archive/access.log-*"),
        "where else rotation puts files (olddir), besides the folder of the log itself";
    LOG_FOLLOW_LINKS: Choice<FollowLinks> = [Log] "follow_links",
        Choice(&[
            ("safe", FollowLinks::Safe),
            ("all", FollowLinks::All),
            ("none", FollowLinks::None),
        ]),
        DefaultValue::Text("safe"),
        "symbolic links; safe: those of root, of the agent's user or of their target's owner";
    LOG_TOPIC: Text = [Log] "topic", Text::LOG_TOPIC, DefaultValue::FromKafka("web_log"),
        "where the lines go, placeholders filled in; without it, to the topic of [kafka]";
    LOG_KEY: Optional<Text> = [Log] "key", Optional(Text::RECORD_KEY), DefaultValue::Unset("{host}"),
        "key of every record, placeholders filled in; partitioner = key needs one";
    LOG_START_AT: Choice<StartAt> = [Log] "start_at",
        Choice(&[("beginning", StartAt::Beginning), ("end", StartAt::End)]),
        DefaultValue::Text("beginning"),
        "where to start in a file that is there at the first start";
    LOG_MAX_LINE_BYTES: Size = [Log] "max_line_bytes", Size { least: 1, most: MOST_LINE },
        DefaultValue::Text("900KiB"),
        "longer lines are sent in pieces of this size, without loss";
    LOG_STRIP_CR: Choice<bool> = [Log] "strip_cr", Choice(&[("off", false), ("on", true)]),
        DefaultValue::Text("off"),
        "leave out a carriage return before the newline";
    LOG_LINE_TIMEOUT: Optional<Time> = [Log] "line_timeout",
        Optional(Time { least: Duration::from_millis(1), most: DAY }), DefaultValue::Unset("30s"),
        "send a last line that has no newline after so long; what follows is another part of it";
    LOG_ROTATE_WAIT: Time = [Log] "rotate_wait", Time { least: Duration::ZERO, most: DAY },
        DefaultValue::Text("5s"),
        "how long a rotated file must be quiet to be finished, or later lines wait for an unreadable one";

    LOG_IGNORE_OLDER: Optional<Time> = [Log] "ignore_older",
        Optional(Time { least: Duration::from_secs(1), most: YEARS }), DefaultValue::Unset("7d"),
        "files that were not written for so long are not begun; one that was begun is finished";
    LOG_CONTAINER: Choice<Option<ContainerKind>> = [Log] "container",
        Choice(&[
            ("none", None),
            ("auto", Some(ContainerKind::Auto)),
            ("cri", Some(ContainerKind::Cri)),
            ("docker", Some(ContainerKind::Docker)),
        ]),
        DefaultValue::Text("none"),
        "lines of a container runtime: the text alone is sent, parts of a line are joined";
    LOG_ENCODING: Encodings = [Log] "encoding", Encodings, DefaultValue::Text("utf-8"),
        "what the file is written in; records are UTF-8, and utf-8 passes bytes on as they are";
    LOG_MULTILINE: Multilines = [Log] "multiline", Multilines, DefaultValue::Text("off"),
        "lines that belong together are one record: stack traces, with the line before them. \
         timestamp: a line with a time near its beginning begins a record. \
         trace: what is indented and the known shapes of traces join the line before, for output without times. \
         indent: what is indented does. \
         auto: timestamp if one of the first 16 lines of a file has a time, else trace. \
         start, continue, end: a line that matches begins a record, joins the line before, ends a record";
    LOG_MULTILINE_TIMEOUT: Optional<Time> = [Log] "multiline_timeout",
        Optional(Time { least: Duration::from_millis(1), most: DAY }), DefaultValue::Unset("5s"),
        "how long the last record of a file waits for more lines; 2s if it is not set";
    LOG_KEEP: Optional<Regex> = [Log] "keep", Optional(Regex), DefaultValue::Unset("ERROR|WARN"),
        "only records that it matches are sent";
    LOG_DROP: Optional<Regex> = [Log] "drop", Optional(Regex), DefaultValue::Unset("GET /health"),
        "records that it matches are not sent";
    LOG_DROP_NAME: Regex = [Log] "drop.NAME", Regex,
        DefaultValue::Example("drop.health = GET /(health|ready) "),
        "the same, as often as wanted, each with a name";
    LOG_SAMPLE: Optional<Samples> = [Log] "sample", Optional(Samples), DefaultValue::Unset("1/10 DEBUG"),
        "one in N records is sent, of all or of those that the regex matches";
    LOG_RATE_LIMIT: Optional<Rates> = [Log] "rate_limit", Optional(Rates), DefaultValue::Unset("1000/s"),
        "so much of each file in a second; the rest waits in the file, or is dropped";
    LOG_MASK: Optional<MaskWords> = [Log] "mask", Optional(MaskWords), DefaultValue::Unset("password, bearer"),
        "secrets that are replaced by *** before anything leaves this host";
    LOG_MASK_NAME: MaskRules = [Log] "mask.NAME", MaskRules,
        DefaultValue::Example("mask.token = (token=)\\S+ => $1***"),
        "what else is replaced, by TEXT, in which $1 is the first group; *** without it";
    LOG_STRIP_ANSI: Choice<bool> = [Log] "strip_ansi", Choice(&[("off", false), ("on", true)]),
        DefaultValue::Text("off"),
        "leave out colours and other escape sequences of terminals";
    LOG_PARSE: Parses = [Log] "parse", Parses, DefaultValue::Text("none"),
        "where fields come from: a JSON object, or the named groups (?<name>...) of a regex";
    LOG_TIME: Times = [Log] "time", Times, DefaultValue::Text("none"),
        "how the time of a record is written; without 'parse' it is read from the beginning of the line";
    LOG_TIME_FIELD: Optional<Text> = [Log] "time_field", Optional(Text::FIELD), DefaultValue::Unset("time_iso8601"),
        "the field that holds it: a group, or a path in the JSON object; 'time' if it is not set";
    LOG_TIME_ZONE: Zones = [Log] "time_zone", Zones, DefaultValue::Text("local"),
        "the zone of times that do not tell theirs";
    LOG_TIMESTAMP: Choice<bool> = [Log] "timestamp", Choice(&[("read", false), ("line", true)]),
        DefaultValue::Text("read"),
        "the time of the Kafka record; read: when the line was read; line: its own, as 'time' or 'container' finds it";
    LOG_FORMAT: Choice<Option<Shape>> = [Log] "format",
        Choice(&[("raw", None), ("json", Some(Shape::Json)), ("ecs", Some(Shape::Ecs))]),
        DefaultValue::Text("raw"),
        "the value of a record: the text as it is, or a JSON object";
    LOG_JSON: Choice<Content> = [Log] "json",
        Choice(&[("text", Content::Text), ("nest", Content::Nest), ("merge", Content::Merge)]),
        DefaultValue::Text("text"),
        "lines that are JSON, in that object: as a string, under the key json, or member by member";
    LOG_FIELD_NAME: Text = [Log] "field.NAME", Text::TEMPLATE,
        DefaultValue::Example("field.env = prod"),
        "another member of that object";
    LOG_HEADER_NAME: Text = [Log] "header.NAME", Text::TEMPLATE,
        DefaultValue::Example("header.team = shop"),
        "another header of every record; native only";
}

/// What the Java client compresses with.
const DEFAULT_GZIP_LEVEL: u8 = 6;
const DEFAULT_ZSTD_LEVEL: u8 = 3;
/// Everything reads at least one full batch for each of several files with this.
pub(crate) const LEAST_MEMORY: usize = 8 << 20;
/// Fits with headers into a broker's default `message.max.bytes`, 1,048,588.
const MOST_BATCH: usize = 900 << 10;
/// One line fits into one batch.
const MOST_LINE: usize = MOST_BATCH;
/// What is older was never meant.
const YEARS: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
/// A time that is added to a clock needs a bound, and none of these is sensible beyond a day.
const DAY: Duration = Duration::from_secs(24 * 3600);

// So `batch_bytes` needs no check against `memory_limit`: eight batches always fit.
const _: () = assert!(MOST_BATCH <= LEAST_MEMORY / 8);

/// The three kinds of sections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    /// `[agent]`.
    Agent,
    /// `[kafka]`.
    Kafka,
    /// `[log:NAME]`.
    Log,
}

/// The value of a key that is not set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DefaultValue {
    /// The file is refused; the text is an example.
    Required(&'static str),
    /// As if this were written.
    Text(&'static str),
    /// Nothing, as if this were written with nothing behind it; the text is an example.
    Unset(&'static str),
    /// The `[kafka]` key of the same name holds; the text is an example.
    FromKafka(&'static str),
    /// Nothing; the text is an example.
    Nothing(&'static str),
    /// Nothing, as of any family; the text is a member with its value.
    Example(&'static str),
}

/// One key: where it stands, what it accepts, what it is for.
pub(super) struct Key<K> {
    pub(super) section: Section,
    pub(super) name: &'static str,
    pub(super) value_type: K,
    pub(super) default_value: DefaultValue,
    /// One line, for the reference.
    pub(super) about: &'static str,
}

/// A [`Key`] of any type.
pub(super) trait AnyKey: Sync {
    fn section(&self) -> Section;
    fn name(&self) -> &'static str;
    fn default_value(&self) -> DefaultValue;
    fn about(&self) -> &'static str;
    fn accepted(&self) -> String;
    fn names_file(&self) -> bool;
    #[cfg(test)]
    fn accepts(&self, text: &str) -> bool;
}

impl<K: ValueType> AnyKey for Key<K> {
    fn section(&self) -> Section {
        self.section
    }

    fn name(&self) -> &'static str {
        self.name
    }

    fn default_value(&self) -> DefaultValue {
        self.default_value
    }

    fn about(&self) -> &'static str {
        self.about
    }

    fn accepted(&self) -> String {
        self.value_type.accepted()
    }

    fn names_file(&self) -> bool {
        K::NAMES_FILE
    }

    #[cfg(test)]
    fn accepts(&self, text: &str) -> bool {
        self.value_type.read(text).is_ok()
    }
}
