//! From raw values to the typed [`Config`]: which section means what, which keys are known, what
//! each value is, and which settings contradict each other.
//!
//! Whoever finds something wrong adds an error and goes on with what there is, so that everything is found in
//! one run. What is made beside an error is dropped in the end; `None` says that there is nothing to go on with.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::tls::{ClientCertificate, TlsConfig, TlsError};
use crate::nearest::nearest;
use crate::record::path_pattern::PathPattern;

use super::environment::{Env, expand};
use super::error::{ConfigError, Escaped, Line, Problem};
use super::include::Raw;
use super::keys;
use super::keys::Section;
use super::origin::Origin;
use super::reader::{Lookup, Reader, Setting};
use super::syntax::RawSection;
use super::types::{
    Acks, AgentConfig, Compression, Config, ExactlyOnce, HeaderChoice, KafkaConfig, LogConfig,
    Partitioner, Protocol,
};
use super::value_types::kafka::is_name;

mod records;
mod sasl;
mod texts;

/// The configuration that the sections of `file` make, if nothing is wrong; `errors` gets what is.
pub(super) fn resolve(
    raw: &Raw,
    file: &Path,
    env: Env<'_>,
    errors: &mut Vec<ConfigError>,
) -> Option<Config> {
    let sections = &raw.sections[..];
    if sections.is_empty() && errors.is_empty() {
        errors.push(ConfigError::in_file(Problem::Empty));
        return None;
    }
    let found = Sections::classify(sections, errors);

    let none = RawSection {
        name: "agent".to_owned(),
        ..RawSection::default()
    };
    let agent = found.agent.unwrap_or(&none);
    let agent = agent_config(Reader::new(Section::Agent, agent, env, errors));

    let mut log_defaults = LogDefaults {
        topic: Lookup::Reported,
        partitioner: None,
        protocol: None,
    };
    let kafka = match found.kafka {
        Some(kafka) => {
            let reader = Reader::new(Section::Kafka, kafka, env, errors);
            kafka_config(reader, &mut log_defaults)
        }
        None => {
            errors.push(ConfigError::in_file(Problem::MissingKafka));
            None
        }
    };

    if found.logs.is_empty() {
        errors.push(ConfigError::in_file(Problem::MissingLog));
    }
    let mut taken = HashMap::new();
    let logs: Vec<Option<LogConfig>> = found
        .logs
        .into_iter()
        .map(|(name, log)| {
            let reader = Reader::new(Section::Log, log, env, errors);
            log_config(name, reader, &log_defaults, &mut taken)
        })
        .collect();

    Some(Config {
        file: file.to_owned(),
        agent: agent?,
        kafka: kafka?,
        logs: logs
            .into_iter()
            .map(|log| log.map(Arc::new))
            .collect::<Option<_>>()?,
        origin: origin(raw, file, env),
    })
}

/// Where all of it comes from.
pub(super) fn origin(raw: &Raw, file: &Path, env: Env<'_>) -> Origin {
    let mut origin = Origin {
        files: raw.files.clone(),
        watched: vec![file.to_owned()],
        ..Origin::default()
    };
    origin.watched.extend_from_slice(&raw.files);
    origin.watched.extend_from_slice(&raw.folders);
    for section in &raw.sections {
        let named = section
            .entries
            .iter()
            .filter(|entry| keys::names_file(&entry.key));
        let named = named.filter_map(|entry| expand(&entry.value, env).ok());
        origin.watched.extend(named.map(PathBuf::from));
    }
    origin.write(&raw.sections, env);
    origin
}

/// What `[agent] state_dir` says, or its default.
pub(super) fn state_dir(sections: &[RawSection], env: Env<'_>) -> PathBuf {
    let none = RawSection::default();
    let mut errors = Vec::new();
    let found = Sections::classify(sections, &mut errors);
    let agent = found.agent.unwrap_or(&none);
    let set = Reader::new(Section::Agent, agent, env, &mut errors).setting(&keys::STATE_DIR);
    match set {
        Some(setting) => setting.value,
        // What is set there is no folder.
        None => state_dir(&[], env),
    }
}

/// The sections by meaning. One whose name is a slip is read as what was probably meant, so that
/// the errors in it are found too.
#[derive(Default)]
struct Sections<'a> {
    agent: Option<&'a RawSection>,
    kafka: Option<&'a RawSection>,
    /// With their names.
    logs: Vec<(&'a str, &'a RawSection)>,
}

impl<'a> Sections<'a> {
    fn classify(sections: &'a [RawSection], errors: &mut Vec<ConfigError>) -> Self {
        let mut found = Sections::default();
        for section in sections {
            match (section.name.as_str(), section.name.split_once(':')) {
                ("agent", _) => found.agent = Some(section),
                ("kafka", _) => found.kafka = Some(section),
                (_, Some(("log", name))) if is_name(name) => found.logs.push((name, section)),
                _ => {
                    let problem = found.guess(section, sections);
                    errors.push(ConfigError::at(section.line.clone(), problem));
                }
            }
        }
        found
    }

    /// Takes `section`, whose name is wrong, for what is nearest; returns what is wrong with it.
    fn guess(&mut self, section: &'a RawSection, all: &[RawSection]) -> Problem {
        let name = section.name.as_str();
        let shown = Escaped::bare(name);
        if name == "log" || name == "log:" {
            self.logs.push(("", section));
            return Problem::LogUnnamed { section: shown };
        }
        if let Some(log) = name.strip_prefix("log:") {
            self.logs.push((log, section));
            return Problem::LogName {
                name: Escaped::quoted(log),
                section: shown,
            };
        }
        let is_there = |name: &str| all.iter().any(|other| other.name == name);
        // `logs:web`, `Log:web`, `log.web`, `log web`
        let (before, log) = name
            .split_once([':', '.', ' ', '-', '_', '/'])
            .unwrap_or((name, ""));
        let meant = match nearest(name, ["agent", "kafka"]) {
            Some(meant) => {
                let place = match meant {
                    "agent" => &mut self.agent,
                    _ => &mut self.kafka,
                };
                if !is_there(meant) {
                    *place = Some(section);
                }
                meant.to_owned()
            }
            None if nearest(before, ["log"]).is_some() && is_name(log) => {
                self.logs.push((log, section));
                format!("log:{log}")
            }
            None => return Problem::StrangeSection { section: shown },
        };
        Problem::UnknownSection {
            section: shown,
            nearest: Escaped::bare(&meant),
        }
    }
}

fn agent_config(mut agent: Reader<'_>) -> Option<AgentConfig> {
    let state_dir = agent.setting(&keys::STATE_DIR);
    let user = agent.setting(&keys::USER);
    let producers = agent.setting(&keys::PRODUCERS);
    let memory_limit = agent.setting(&keys::MEMORY_LIMIT);
    let shutdown_timeout = agent.setting(&keys::SHUTDOWN_TIMEOUT);
    let checkpoint_interval = agent.setting(&keys::CHECKPOINT_INTERVAL);
    let deleted_bytes_limit = agent.setting(&keys::DELETED_BYTES_LIMIT);
    let id = agent.setting(&keys::AGENT_ID);
    // Its files are read by now.
    agent.setting(&keys::INCLUDE);
    let reload = agent.setting(&keys::RELOAD);
    let metrics_listen = agent.setting(&keys::METRICS_LISTEN);
    Some(AgentConfig {
        reload: reload?.value,
        state_dir: state_dir?.value,
        user: user?.value,
        producers: producers?.value,
        memory_limit_bytes: memory_limit?.value,
        shutdown_timeout: shutdown_timeout?.value,
        checkpoint_interval: checkpoint_interval?.value,
        deleted_bytes_limit: deleted_bytes_limit?.value as u64,
        id: id?.value,
        metrics_listen: metrics_listen?.value,
    })
}

/// What `[kafka]` says about the log sections.
struct LogDefaults {
    topic: Lookup<String>,
    partitioner: Option<Setting<Partitioner>>,
    protocol: Option<Setting<Protocol>>,
}

const ONE_PARTITION: &str = "the lines of a file must go to one partition";

fn kafka_config(mut kafka: Reader<'_>, log_defaults: &mut LogDefaults) -> Option<KafkaConfig> {
    log_defaults.topic = kafka.lookup(&keys::TOPIC);
    log_defaults.partitioner = kafka.setting(&keys::PARTITIONER);
    let brokers = kafka.setting(&keys::BROKERS);
    let protocol = kafka.setting(&keys::PROTOCOL);
    log_defaults.protocol = protocol.clone();
    let acks = kafka.setting(&keys::ACKS);
    let compression = kafka.setting(&keys::COMPRESSION);
    let level = kafka.setting(&keys::COMPRESSION_LEVEL);
    let batch_bytes = kafka.setting(&keys::BATCH_BYTES);
    let linger = kafka.setting(&keys::LINGER);
    let request_timeout = kafka.setting(&keys::REQUEST_TIMEOUT);
    let client_id = kafka.setting(&keys::CLIENT_ID);
    let idempotence = kafka.setting(&keys::IDEMPOTENCE);
    let delivery = kafka.setting(&keys::DELIVERY);
    let exactly_once = [
        kafka.setting(&keys::COMMIT_INTERVAL),
        kafka.setting(&keys::TRANSACTION_TIMEOUT),
    ];
    let positions_topic = kafka.setting(&keys::POSITIONS_TOPIC);
    let headers = kafka.setting(&keys::HEADERS);
    let provenance = kafka.setting(&keys::PROVENANCE);
    let tls = tls(&mut kafka, protocol.as_ref());
    let of_brokers = tls.as_ref().and_then(Option::as_ref);
    let sasl = sasl::sasl(&mut kafka, protocol.as_ref(), of_brokers);

    let errors = kafka.errors;
    let compression = resolve_compression(compression, level, protocol.as_ref(), errors);
    if let Some(delivery) = delivery.as_ref().filter(|delivery| delivery.value) {
        let partitioner = log_defaults.partitioner.as_ref();
        refuse_beside_transactions(
            delivery,
            protocol.as_ref(),
            acks.as_ref(),
            idempotence.as_ref(),
            partitioner,
            errors,
        );
    }
    let [interval, timeout] = exactly_once;
    let exactly_once = ExactlyOnce {
        commit_interval: interval?.value,
        transaction_timeout: timeout?.value,
        positions_topic: positions_topic?.value,
    };
    let idempotence = resolve_idempotence(idempotence, protocol.as_ref(), acks.as_ref(), errors);
    let headers = resolve_headers(headers, protocol.as_ref(), errors);
    let provenance = resolve_provenance(provenance, protocol.as_ref(), errors);
    Some(KafkaConfig {
        brokers: brokers?.value,
        protocol: protocol?.value,
        acks: acks?.value,
        compression: compression?,
        partitioner: log_defaults.partitioner.as_ref()?.value,
        batch_bytes: batch_bytes?.value,
        linger: linger?.value,
        request_timeout: request_timeout?.value,
        client_id: client_id?.value,
        exactly_once: delivery?.value.then_some(exactly_once),
        idempotence: idempotence?,
        headers: HeaderChoice {
            provenance: provenance?,
            ..headers?
        },
        tls: tls?,
        sasl: sasl?,
    })
}

/// What transactions cannot be had with.
fn refuse_beside_transactions(
    delivery: &Setting<bool>,
    protocol: Option<&Setting<Protocol>>,
    acks: Option<&Setting<Acks>>,
    idempotence: Option<&Setting<bool>>,
    partitioner: Option<&Setting<Partitioner>>,
    errors: &mut Vec<ConfigError>,
) {
    let is_legacy = |protocol: &Protocol| *protocol == Protocol::Legacy;
    let why = "legacy has no transactions";
    refuse_beside(delivery, protocol, is_legacy, why, errors);
    let is_less = |acks: &Acks| *acks != Acks::All;
    let why = "transactions need acks = all";
    refuse_beside(delivery, acks, is_less, why, errors);
    let why = "transactions need idempotence";
    refuse_beside(delivery, idempotence, |on| !on, why, errors);
    let is_in_turn = |partitioner: &Partitioner| *partitioner == Partitioner::RoundRobin;
    refuse_beside(delivery, partitioner, is_in_turn, ONE_PARTITION, errors);
}

/// Each protocol has its codecs; the default is one that it has. Two codecs have levels.
fn resolve_compression(
    compression: Option<Setting<Compression>>,
    level: Option<Setting<Option<usize>>>,
    protocol: Option<&Setting<Protocol>>,
    errors: &mut Vec<ConfigError>,
) -> Option<Compression> {
    let (compression, protocol) = (compression?, protocol?);
    let legacy = protocol.value == Protocol::Legacy;
    let codec = match compression.value {
        Compression::Lz4 if legacy && compression.line.is_none() => Compression::None,
        codec => codec,
    };
    if legacy && matches!(codec, Compression::Lz4 | Compression::Zstd(_)) {
        errors.push(compression.conflict(protocol, "legacy has none, gzip and snappy"));
        return None;
    }
    let level = level?;
    let Some(number) = level.value else {
        return Some(codec);
    };
    if legacy {
        errors.push(level.conflict(protocol, "legacy takes no level"));
        return None;
    }
    match (codec, u8::try_from(number)) {
        (Compression::Gzip(_), Ok(level @ 1..=9)) => Some(Compression::Gzip(level)),
        (Compression::Zstd(_), Ok(level)) => Some(Compression::Zstd(level)),
        (Compression::Gzip(_), _) => {
            errors.push(level.conflict(&compression, "the levels of gzip are 1 to 9"));
            None
        }
        _ => {
            errors.push(level.conflict(&compression, "only gzip and zstd have levels"));
            None
        }
    }
}

/// On is for the native protocol with `acks = all`; the default is on where that is so.
fn resolve_idempotence(
    idempotence: Option<Setting<bool>>,
    protocol: Option<&Setting<Protocol>>,
    acks: Option<&Setting<Acks>>,
    errors: &mut Vec<ConfigError>,
) -> Option<bool> {
    let idempotence = idempotence?;
    let legacy = protocol.is_some_and(|protocol| protocol.value == Protocol::Legacy);
    let unsure = acks.is_some_and(|acks| acks.value != Acks::All);
    if !idempotence.value || idempotence.line.is_none() {
        return Some(idempotence.value && !legacy && !unsure);
    }
    if let Some(protocol) = protocol.filter(|_| legacy) {
        errors.push(idempotence.conflict(protocol, "legacy cannot tell a retry from a new record"));
    }
    if let Some(acks) = acks.filter(|_| unsure) {
        errors.push(idempotence.conflict(acks, "idempotence needs acks = all"));
    }
    Some(true)
}

/// Adds an error if `delivery = exactly_once` stands beside a setting that it cannot be kept with.
fn refuse_beside<T: Clone>(
    delivery: &Setting<bool>,
    other: Option<&Setting<T>>,
    is_bad: impl Fn(&T) -> bool,
    why: &'static str,
    errors: &mut Vec<ConfigError>,
) {
    if let Some(other) = other.filter(|other| is_bad(&other.value)) {
        errors.push(delivery.conflict(other, why));
    }
}

/// The legacy message format has no headers; the default is none there.
fn resolve_headers(
    headers: Option<Setting<HeaderChoice>>,
    protocol: Option<&Setting<Protocol>>,
    errors: &mut Vec<ConfigError>,
) -> Option<HeaderChoice> {
    const NONE: HeaderChoice = HeaderChoice {
        host: false,
        path: false,
        provenance: false,
    };
    let (headers, protocol) = (headers?, protocol?);
    if protocol.value == Protocol::Native || headers.value == NONE {
        return Some(headers.value);
    }
    if headers.line.is_some() {
        errors.push(headers.conflict(protocol, "the message format of legacy has no headers"));
    }
    Some(NONE)
}

/// It is a header, which legacy has none of.
fn resolve_provenance(
    provenance: Option<Setting<bool>>,
    protocol: Option<&Setting<Protocol>>,
    errors: &mut Vec<ConfigError>,
) -> Option<bool> {
    let (provenance, protocol) = (provenance?, protocol?);
    if provenance.value && protocol.value == Protocol::Legacy {
        errors.push(provenance.conflict(protocol, "the message format of legacy has no headers"));
    }
    Some(provenance.value)
}

/// Paths that are listed already: in which section, on which line.
type Taken = HashMap<String, (String, Line)>;

fn log_config(
    name: &str,
    mut log: Reader<'_>,
    log_defaults: &LogDefaults,
    taken: &mut Taken,
) -> Option<LogConfig> {
    let path = log.setting(&keys::LOG_PATH);
    let exclude = log.setting(&keys::LOG_EXCLUDE);
    let rotated = log.setting(&keys::LOG_ROTATED);
    let follow_links = log.setting(&keys::LOG_FOLLOW_LINKS);
    let ignore_older = log.setting(&keys::LOG_IGNORE_OLDER);
    let line_timeout = log.setting(&keys::LOG_LINE_TIMEOUT);
    let start_at = log.setting(&keys::LOG_START_AT);
    let max_line_bytes = log.setting(&keys::LOG_MAX_LINE_BYTES);
    let strip_cr = log.setting(&keys::LOG_STRIP_CR);
    let rotate_wait = log.setting(&keys::LOG_ROTATE_WAIT);

    let patterns = path.as_ref().map(|path| path.value.as_slice());
    let records = records::records(
        &mut log,
        &texts::Section {
            name,
            paths: patterns.unwrap_or_default(),
            max_line_bytes: max_line_bytes.as_ref().map_or(0, |bytes| bytes.value),
            strip_cr: strip_cr.as_ref().is_some_and(|strip_cr| strip_cr.value),
            defaults: log_defaults,
            line_timeout: line_timeout.as_ref(),
        },
    );
    if let Some(records) = &records
        && let Some(partitioner) = &log_defaults.partitioner
        && let (None, Partitioner::Key, Some(line)) = (
            &records.destination.key,
            partitioner.value,
            partitioner.line.clone(),
        )
        && !records
            .record
            .as_ref()
            .is_some_and(|record| record.has_key())
    {
        let section = log.section();
        let problem = Problem::MissingRecordKey { section, line };
        let key = log.raw.entries.iter().find(|entry| entry.key == "key");
        let at = key.map_or(&log.raw.line, |key| &key.line).clone();
        log.errors.push(ConfigError::at(at, problem));
    }
    if let Some(path) = &path {
        take(path, taken, &mut log);
    }
    let records::Records {
        destination,
        record,
        unused_names,
    } = records?;
    let globs = path?.value.into_iter();
    Some(LogConfig {
        name: name.to_owned(),
        paths: globs.map(|pattern| pattern.glob().to_owned()).collect(),
        exclude: exclude?.value,
        rotated: rotated?.value,
        unused_names,
        follow_links: follow_links?.value,
        destination,
        ignore_older: ignore_older?.value,
        line_timeout: line_timeout?.value,
        record,
        start_at: start_at?.value,
        max_line_bytes: max_line_bytes?.value,
        strip_cr: strip_cr?.value,
        rotate_wait: rotate_wait?.value,
    })
}

/// Adds an error for each path that is listed already.
fn take(path: &Setting<Vec<PathPattern>>, taken: &mut Taken, log: &mut Reader<'_>) {
    let Some(line) = &path.line else { return };
    for glob in path.value.iter().map(PathPattern::glob) {
        let here = (log.raw.name.clone(), line.clone());
        let Some((section, other)) = taken.insert(glob.to_owned(), here) else {
            continue;
        };
        let problem = Problem::PathTaken {
            path: Escaped::quoted(glob),
            other: (other != *line).then(|| (Escaped::bare(&section), other)),
        };
        log.errors.push(ConfigError::at(line.clone(), problem));
    }
}

/// `Some(None)`: TLS is off.
pub(super) fn tls(
    kafka: &mut Reader<'_>,
    protocol: Option<&Setting<Protocol>>,
) -> Option<Option<TlsConfig>> {
    let on = kafka.setting(&keys::TLS);
    let ca = kafka.setting(&keys::TLS_CA);
    let cert = kafka.setting(&keys::TLS_CERT);
    let key = kafka.setting(&keys::TLS_KEY);
    let (on, ca, cert, key) = (on?, ca?, cert?, key?);
    let errors = &mut *kafka.errors;
    if !on.value {
        const HINT: &str = "write tls = on, or leave it out";
        ca.refuse_beside(&on, HINT, errors);
        cert.refuse_beside(&on, HINT, errors);
        key.refuse_beside(&on, HINT, errors);
        return Some(None);
    }
    if let Some(protocol) = protocol.filter(|protocol| protocol.value == Protocol::Legacy) {
        errors.push(on.conflict(protocol, "legacy has no TLS"));
        return None;
    }
    let certificate = match (&cert.value, &key.value) {
        (Some((file, chain)), Some(key)) => Some(ClientCertificate {
            file: file.clone(),
            chain: chain.clone(),
            key: key.clone(),
        }),
        (Some(_), None) => {
            errors.push(cert.lacks("tls_key"));
            None
        }
        (None, Some(_)) => {
            errors.push(key.lacks("tls_cert"));
            None
        }
        (None, None) => None,
    };
    match TlsConfig::new(ca.value.clone(), certificate) {
        Ok(tls) => Some(Some(tls)),
        Err(TlsError::Authorities(why)) => {
            errors.push(match ca.value {
                Some(_) => ca.invalid_because(why),
                None => on.invalid_because(why),
            });
            None
        }
        Err(TlsError::Certificate(why)) => {
            errors.push(key.invalid_because(why));
            None
        }
    }
}
