//! Brokers and topics: what they said, and what of it does not go together with the ini.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::file_topics::FileTopics;
use super::report::Level::{Failure, Good, Warning};
use super::report::{Cell, Finding, Level, Table};
use crate::agent::agent_id;
use crate::config::{Acks, Config, LogConfig, Partitioner, Protocol};
use crate::kafka::probe::{Answer, Asked};
use crate::kafka::protocol::api::TransactionVersion;
use crate::kafka::protocol::configs::{BROKER, Configs, TOPIC};
use crate::kafka::protocol::error_code::{UNKNOWN_TOPIC_OR_PARTITION, Verdict};
use crate::kafka::protocol::response::TopicMetadata;
use crate::kafka::takeover::transactional_id;
use crate::partitioner;
use crate::rights::TOPIC_AUTHORIZATION_FAILED;
use crate::shown::ShownPath;
use crate::topic_names::{collide, collision};

/// The topics that sections name, with the sections, and those of files; others with placeholders are known with a
/// record only.
pub(super) fn topics<'a>(
    config: &'a Config,
    of_files: &'a FileTopics,
) -> BTreeMap<&'a str, Vec<&'a Arc<LogConfig>>> {
    let mut topics: BTreeMap<&str, Vec<&Arc<LogConfig>>> = BTreeMap::new();
    for log in &config.logs {
        let is_template = log
            .record
            .as_ref()
            .is_some_and(|record| record.templates.topic.is_some());
        if !is_template {
            topics.entry(&log.destination.topic).or_default().push(log);
        }
    }
    for (topic, logs) in &of_files.asked {
        topics.entry(topic).or_default().extend(logs);
    }
    topics
}

/// What exactly once is made with.
pub(super) fn exactly_once(config: &Config) -> Option<Finding> {
    let settings = config.kafka.exactly_once.as_ref()?;
    let agent = agent_id(config);
    let first = transactional_id(&agent, 0);
    let ids = match config.agent.producers {
        0 | 1 => format!("transactional id {first}"),
        count => format!("transactional ids {first} to -{}", count - 1),
    };
    let positions = &settings.positions_topic;
    let words = format!("{ids}, positions in topic {positions}");
    Some(finding(Good, "delivery", format!("exactly_once: {words}")))
}

fn finding(level: Level, subject: impl ToString, words: impl Into<String>) -> Finding {
    Finding {
        level,
        subject: subject.to_string(),
        words: words.into(),
    }
}

/// A row for each broker.
pub(super) fn brokers(
    config: &Config,
    of_files: &FileTopics,
    asked: &[Asked],
    now: SystemTime,
) -> Table {
    let topics = topics(config, of_files);
    let is_sent_to = |name: &str| is_wanted(config, &topics, name);
    let (mut rows, mut findings) = (Vec::new(), Vec::new());
    for one in asked {
        let address = &one.address;
        let answer = match &one.outcome {
            Ok(answer) => answer,
            Err(words) => {
                findings.push(finding(Failure, address, words.as_str()));
                continue;
            }
        };
        if config.kafka.protocol == Protocol::Legacy && !answer.takes_legacy {
            findings.push(finding(Failure, address, NO_LEGACY));
        }
        if config.kafka.exactly_once.is_some() {
            let (level, words) = match answer.transactions {
                Some(TransactionVersion::Two) => (Good, "exactly_once: transaction.version 2"),
                Some(TransactionVersion::Classic) => (Warning, BELOW_TWO),
                None => (
                    Failure,
                    "'delivery = exactly_once' needs Kafka 2.5 or later",
                ),
            };
            findings.push(finding(level, address, words));
        }
        let version = answer.tls.map(|version| version.trim_start_matches("TLS "));
        let tls = match (version, answer.certificate_end) {
            (None, _) => Cell::Nothing,
            (Some(version), None) => Cell::Text(version.to_owned()),
            (Some(version), Some(end)) => {
                let days = days_until(end, now);
                if days < FEW_DAYS {
                    let words = format!("its certificate ends in {days} days");
                    findings.push(finding(Warning, address, words));
                }
                Cell::Text(format!("{version}, {days} days"))
            }
        };
        let sasl = config
            .kafka
            .sasl
            .as_ref()
            .map(|sasl| Cell::Text(sasl.mechanism().to_owned()));
        let round_trip = answer.round_trip.as_micros() as f64 / 1e3;
        rows.push(vec![
            Cell::Text(address.to_string()),
            tls,
            sasl.unwrap_or(Cell::Nothing),
            Cell::Text(answer.release.unwrap_or("old").to_owned()),
            Cell::Number(leads(answer, one, is_sent_to)),
            Cell::Text(format!("{round_trip:.1} ms")),
        ]);
    }
    Table {
        name: "brokers",
        columns: &[
            ("broker", "BROKER"),
            ("tls", "TLS"),
            ("sasl", "SASL"),
            ("kafka", "KAFKA"),
            ("leads", " LEADS"),
            ("round_trip", " ROUND TRIP"),
        ],
        rows,
        findings,
    }
}

const NO_LEGACY: &str =
    "it does not take 'protocol = legacy', as no Kafka from 4.0 on does: leave that out";

/// What is promised with older brokers, or where nobody has raised the feature.
const BELOW_TWO: &str = "exactly_once: transaction.version is below 2 (that of Kafka 4.0 and later): brokers do not refuse \
    a request that is late, and the agent defends itself";

/// What is said of the certificates in files that the ini names.
pub(super) fn own_certificates(config: &Config, now: SystemTime) -> Vec<Finding> {
    let certificates = config.certificates().into_iter();
    let said = certificates.map(|(file, end)| {
        let days = days_until(end, now);
        let level = match days {
            _ if end <= now => Failure,
            0..FEW_DAYS => Warning,
            _ => Good,
        };
        let shown = ShownPath(&file);
        finding(level, "tls", format!("{shown}: {days} days left"))
    });
    said.collect()
}

/// How many partitions of the topics this broker leads.
fn leads(answer: &Answer, asked: &Asked, is_wanted: impl Fn(&str) -> bool) -> u64 {
    let address = &asked.address;
    let mut brokers = answer.metadata.brokers.iter();
    let own = brokers.find(|(_, host, port)| (host, port) == (&address.host, &address.port));
    let partitions = answer
        .metadata
        .topics
        .iter()
        .filter(|topic| is_wanted(&topic.name))
        .flat_map(|topic| &topic.partitions);
    partitions
        .filter(|one| own.is_some_and(|own| own.0 == one.leader))
        .count() as u64
}

fn days_until(end: SystemTime, now: SystemTime) -> u64 {
    end.duration_since(now)
        .map_or(0, |left| left.as_secs() / 86_400)
}

/// A row for each topic; nothing if no broker said anything.
pub(super) fn topics_table(
    config: &Config,
    of_files: &FileTopics,
    asked: &[Asked],
) -> Option<Table> {
    let answers: Vec<&Answer> = asked
        .iter()
        .filter_map(|one| one.outcome.as_ref().ok())
        .collect();
    let first = answers.first()?;
    let setting = |kind, name: &str| {
        let all = answers.iter().flat_map(|answer| &answer.configs);
        let mut known = all.filter(|one| one.kind == kind && one.error == 0);
        known.find(|one| name.is_empty() || one.name == name)
    };
    let makes_topics =
        setting(BROKER, "").and_then(|broker| broker.value("auto.create.topics.enable"));
    let (mut rows, mut findings) = (Vec::new(), Vec::from_iter(of_files.unasked()));
    let wanted = topics(config, of_files);
    let mut told: Vec<&TopicMetadata> = first.metadata.topics.iter().collect();
    told.sort_by_key(|topic| &topic.name);
    for topic in told
        .iter()
        .filter(|topic| is_wanted(config, &wanted, &topic.name))
    {
        let name = &*topic.name;
        let has_positions = positions_topic(config) == Some(name);
        if topic.error != 0 {
            findings.push(match topic.error {
                UNKNOWN_TOPIC_OR_PARTITION if has_positions => finding(
                    Good,
                    name,
                    "no such topic: the agent makes it, compacted, when it starts",
                ),
                _ => match told
                    .iter()
                    .find(|one| is_there(one) && collide(name, &one.name))
                {
                    Some(other) => colliding(topic, &other.name),
                    None => absent(topic, makes_topics),
                },
            });
            continue;
        }
        let configs = setting(TOPIC, name);
        let logs = wanted.get(name).map_or(&[][..], Vec::as_slice);
        findings.extend(troubles(config, topic, configs, logs));
        if has_positions {
            findings.extend(troubles_with_positions(topic, configs));
        }
        let number = |key| {
            configs
                .and_then(|one| one.value(key)?.parse().ok())
                .map_or(Cell::Nothing, Cell::Number)
        };
        rows.push(vec![
            Cell::Text(name.to_owned()),
            Cell::Number(topic.partitions.len() as u64),
            Cell::Number(topic.replicas as u64),
            number("min.insync.replicas"),
            number(MAX_MESSAGE_BYTES),
            Cell::Text(if may_write(topic) { "ok" } else { "no" }.to_owned()),
            configs.map_or(Cell::Nothing, |one| Cell::Text(time_limits(one))),
        ]);
    }
    Some(Table {
        name: "topics",
        columns: &[
            ("topic", "TOPIC"),
            ("partitions", " PARTITIONS"),
            ("replicas", " REPLICAS"),
            ("min_insync_replicas", " MIN.ISR"),
            ("max_message_bytes", " MAX.MESSAGE"),
            ("write", "WRITE"),
            ("time_limits", "TIME LIMITS"),
        ],
        rows,
        findings,
    })
}

/// Whether the agent sends to a topic; others were asked for since they may be in the way.
fn is_wanted(config: &Config, topics: &BTreeMap<&str, Vec<&Arc<LogConfig>>>, name: &str) -> bool {
    topics.contains_key(name) || positions_topic(config) == Some(name)
}

/// Whether a broker knows a topic, readable or not.
fn is_there(topic: &TopicMetadata) -> bool {
    topic.error == 0
}

/// What is said of a topic that no broker can make, since there is another one.
fn colliding(topic: &TopicMetadata, other: &str) -> Finding {
    let collides = collision(other);
    let words = format!("{collides}; name that one in 'topic =', or choose another name");
    finding(Failure, &topic.name, words)
}

/// What is said of a topic that the broker does not tell of.
fn absent(topic: &TopicMetadata, makes_topics: Option<&str>) -> Finding {
    let name = &*topic.name;
    match topic.error {
        UNKNOWN_TOPIC_OR_PARTITION if makes_topics == Some("true") => finding(
            Warning,
            name,
            "no such topic: the broker makes it with the first record",
        ),
        UNKNOWN_TOPIC_OR_PARTITION => {
            let words = "no such topic: kafka-topics.sh --create, or auto.create.topics.enable of the brokers";
            finding(Failure, name, words)
        }
        TOPIC_AUTHORIZATION_FAILED => {
            let words =
                "not authorized: the principal needs the rights WRITE and DESCRIBE on this topic";
            finding(Failure, name, words)
        }
        error => finding(Failure, name, Verdict::of(error).to_string()),
    }
}

/// What of the ini and what of the topic do not go together.
fn troubles(
    config: &Config,
    topic: &TopicMetadata,
    configs: Option<&Configs>,
    logs: &[&Arc<LogConfig>],
) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut add = |level, words: String| found.push(finding(level, &topic.name, words));
    if !may_write(topic) {
        let words = "no right to write: the principal needs the right WRITE on this topic";
        add(Failure, words.to_owned());
    }
    let partitions = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
    if let Partitioner::Fixed(asked) = config.kafka.partitioner
        && asked >= partitions
    {
        add(Failure, partitioner::missing_words(asked, partitions));
    }
    let without_leader = topic.partitions.iter().filter(|one| one.leader < 0).count();
    if without_leader > 0 {
        let count = topic.partitions.len();
        add(
            Warning,
            format!("{without_leader} of {count} partitions have no leader now"),
        );
    }
    let number = |key| configs?.value(key)?.parse::<usize>().ok();
    if let Some(least) = number("min.insync.replicas").filter(|least| *least > topic.replicas)
        && config.kafka.acks == Acks::All
    {
        let replicas = topic.replicas;
        add(
            Failure,
            format!("min.insync.replicas {least}, replicas {replicas}: acks = all is refused"),
        );
    }
    let longest = logs.iter().max_by_key(|log| log.max_line_bytes);
    if let Some((most, log)) = number(MAX_MESSAGE_BYTES).zip(longest)
        && most < log.max_line_bytes + RECORD_OVERHEAD
    {
        let (name, line) = (&log.name, log.max_line_bytes);
        add(
            Warning,
            format!(
                "max.message.bytes {most} is too little for max_line_bytes {line} of [log:{name}]: longer lines \
                 become dead letters"
            ),
        );
    }
    found
}

/// The topic of positions, with `delivery = exactly_once`.
pub(super) fn positions_topic(config: &Config) -> Option<&str> {
    let settings = config.kafka.exactly_once.as_ref();
    settings.map(|settings| &*settings.positions_topic)
}

/// What of a topic is not as the positions need it.
fn troubles_with_positions(topic: &TopicMetadata, configs: Option<&Configs>) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut add = |level, words: String| found.push(finding(level, &topic.name, words));
    if topic.operations >= 0 && topic.operations & READ == 0 {
        let words =
            "no right to read: the principal needs the right READ on the topic of positions";
        add(Failure, words.to_owned());
    }
    let value = |key| configs.and_then(|one| one.value(key));
    if let Some(policy) = value(CLEANUP_POLICY).filter(|policy| *policy != "compact") {
        let words =
            format!("cleanup.policy is '{policy}': positions go away; it must be 'compact'");
        add(Failure, words);
    }
    if let Some(bytes) = value(SEGMENT_BYTES).and_then(|bytes| bytes.parse::<u64>().ok())
        && bytes > LARGE_SEGMENT
    {
        let words = format!(
            "segment.bytes {bytes}: what is not compacted yet is read at each start; 16777216 is enough"
        );
        add(Warning, words);
    }
    found
}

/// Whether the principal may write to it; where the broker does not tell, it may turn out that it may not.
fn may_write(topic: &TopicMetadata) -> bool {
    topic.operations < 0 || topic.operations & WRITE != 0
}

/// Which times of records the topic takes.
fn time_limits(configs: &Configs) -> String {
    if configs.value("message.timestamp.type") == Some("LogAppendTime") {
        return "none".to_owned();
    }
    let limit = |name: &str, sign: &str| {
        let ms = configs
            .value(&format!("message.timestamp.{name}.max.ms"))?
            .parse()
            .ok()?;
        // What is beyond ten thousand years is none.
        (ms < 10_000 * 365 * 86_400_000u64).then(|| {
            let time = humantime::format_duration(Duration::from_millis(ms)).to_string();
            format!("{sign}{time}")
        })
    };
    let both = [
        limit("before", "-"),
        limit("after", "+"),
        limit("difference", "+-"),
    ];
    let both: Vec<String> = both.into_iter().flatten().collect();
    match both.is_empty() {
        true => "none".to_owned(),
        false => both.join(" "),
    }
}

/// The bit of the operation WRITE (AclOperation).
const WRITE: i32 = 1 << 4;
/// The bit of the operation READ.
const READ: i32 = 1 << 3;
const CLEANUP_POLICY: &str = "cleanup.policy";
const SEGMENT_BYTES: &str = "segment.bytes";
/// An active segment is never compacted.
const LARGE_SEGMENT: u64 = 256 << 20;
const MAX_MESSAGE_BYTES: &str = "max.message.bytes";
/// What a batch of one record has besides the line: headers, key, its own fields.
const RECORD_OVERHEAD: usize = 512;
/// From then on somebody should know.
const FEW_DAYS: u64 = 14;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_of_positions_that_is_not_compacted_or_may_not_be_read_is_found() {
        let words = |operations, values: &[(&str, &str)]| {
            let topic = TopicMetadata {
                error: 0,
                name: "logagent-positions".to_owned(),
                id: None,
                partitions: Vec::new(),
                replicas: 1,
                operations,
            };
            let values = values.iter();
            let configs = Configs {
                kind: TOPIC,
                name: topic.name.clone(),
                error: 0,
                values: values
                    .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                    .collect(),
            };
            let found = troubles_with_positions(&topic, Some(&configs));
            let shown = found
                .iter()
                .map(|one| format!("{:?} {}", one.level, one.words));
            shown.collect::<Vec<_>>().join("\n")
        };
        let good = [("cleanup.policy", "compact"), ("segment.bytes", "16777216")];
        assert_eq!(words(READ | WRITE, &good), "");
        assert_eq!(words(-1, &good), "");
        assert!(words(WRITE, &good).starts_with("Failure no right to read"));
        let plain = words(-1, &[("cleanup.policy", "delete")]);
        assert!(
            plain.starts_with("Failure cleanup.policy is 'delete'"),
            "{plain}"
        );
        let large = words(-1, &[("segment.bytes", "1073741824")]);
        assert!(
            large.starts_with("Warning segment.bytes 1073741824"),
            "{large}"
        );
    }
}
