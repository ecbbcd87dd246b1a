//! From raw values to the typed [`Config`]: which section means what, which keys are known, what
//! each value is, and which settings contradict each other.
//!
//! Whoever finds something wrong adds an error and goes on with what there is, so that everything is found in
//! one run. What is made beside an error is dropped in the end; `None` says that there is nothing to go on with.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

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
use super::types::{AgentConfig, Config, LogConfig, Partitioner};
use super::value_types::kafka::is_name;

mod kafka;
mod records;
mod sasl;
mod texts;
mod tls;

use kafka::{LogDefaults, kafka_config};

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

/// The line that sets `[agent] user`.
pub(super) fn line_of_user(sections: &[RawSection]) -> Option<Line> {
    let agent = sections.iter().find(|section| section.name == "agent")?;
    let user = agent
        .entries
        .iter()
        .find(|entry| entry.key == keys::USER.name)?;
    Some(user.line.clone())
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
