//! What loads, and what it then says.

use super::*;
use crate::config::keys::{DefaultValue, Key, Section};
use crate::config::reader::Reader;
use crate::config::syntax::{RawEntry, RawSection};
use crate::config::value_types::{BadValue, ValueType};
use crate::config::{
    Acks, Compression, ExactlyOnce, FollowLinks, HeaderChoice, KafkaConfig, Partitioner, Protocol,
    StartAt,
};

const NO_HEADERS: HeaderChoice = HeaderChoice {
    host: false,
    path: false,
    provenance: false,
};

fn kafka(lines: &str) -> KafkaConfig {
    let text = GOOD.replace("[log:web]", &format!("{lines}\n[log:web]"));
    parse(&text).unwrap().kafka
}

#[test]
fn values_arrive_whole() {
    for value in [
        "p#q;r=s",
        "#",
        ";x",
        "a: b = c",
        "[x]",
        "\"q\" 'q'",
        "$HOME $$",
        "ä \u{1F600}",
    ] {
        let config = parse(&format!("{GOOD}key = {value}\n")).unwrap();
        assert_eq!(config.logs[0].destination.key.as_deref(), Some(value));
    }
}

#[test]
fn blanks_around_names_and_values_do_not_count() {
    let config = parse("  [ kafka ]\n\tbrokers=a:1\n topic\t=  t \n\n[log:web]\npath=/a").unwrap();
    assert_eq!(config, parse(GOOD).unwrap());
}

#[test]
fn comments_begin_lines_only() {
    let config = parse(&format!("# c\n; c = d\n{GOOD}  # topic = no\n;[x]\n")).unwrap();
    assert_eq!(config, parse(GOOD).unwrap());
}

#[test]
fn values_come_from_the_environment_where_they_say_so() {
    let text = GOOD
        .replace("= a:1", "= ${HOST}:1,b")
        .replace("= t", "= log-${HOST}");
    let config = parse(&format!("{text}key = $${{{{HOST}}}}\n")).unwrap();
    assert_eq!(config.kafka.brokers[0].host, "node7");
    assert_eq!(config.logs[0].destination.topic, "log-node7");
    assert_eq!(config.logs[0].destination.key.as_deref(), Some("${HOST}"));
}

#[test]
fn logs_keep_their_order_and_inherit_the_topic() {
    let config = parse(
        "[log:b]\npath = /b\nstart_at = end\n[log:a]\npath = /a\ntopic = own\n\
         [kafka]\nbrokers = a\ntopic = all\n[log:B.1_-]\npath = /c/*.log, /d\nexclude = *.gz",
    )
    .unwrap();
    let logs: Vec<_> = config
        .logs
        .iter()
        .map(|log| (log.name.as_str(), log.destination.topic.as_str()))
        .collect();
    assert_eq!(logs, [("b", "all"), ("a", "own"), ("B.1_-", "all")]);
    assert_eq!(config.logs[0].start_at, StartAt::End);
    assert_eq!(config.logs[2].paths, ["/c/*.log", "/d"]);
    assert_eq!(config.logs[2].exclude, ["*.gz"]);
}

#[test]
fn delivery_is_at_least_once_unless_more_is_asked_for() {
    assert_eq!(kafka("").exactly_once, None);
    assert_eq!(
        kafka("delivery = at_least_once\ncommit_interval = 3s").exactly_once,
        None
    );
    let exactly_once = kafka("delivery = exactly_once\ncommit_interval = 3s").exactly_once;
    let expected = ExactlyOnce {
        commit_interval: Duration::from_secs(3),
        transaction_timeout: Duration::from_secs(60),
        positions_topic: "logagent-positions".to_owned(),
    };
    assert_eq!(exactly_once, Some(expected));
}

#[test]
fn idempotence_is_on_where_it_can_be() {
    assert!(kafka("").idempotence);
    assert!(kafka("idempotence = on").idempotence);
    assert!(!kafka("idempotence = off").idempotence);
    assert!(!kafka("acks = 1").idempotence);
    let none = kafka("acks = 0\nidempotence = off");
    assert_eq!((none.acks, none.idempotence), (Acks::None, false));
}

#[test]
fn the_defaults_fit_the_legacy_protocol() {
    let legacy = kafka("protocol = legacy");
    assert_eq!(legacy.protocol, Protocol::Legacy);
    assert_eq!(legacy.compression, Compression::None);
    assert_eq!(legacy.headers, NO_HEADERS);
    assert!(!legacy.idempotence);

    let all = "protocol = legacy\ncompression = snappy\nheaders = none\nidempotence = off";
    assert_eq!(kafka(all).compression, Compression::Snappy);
    assert_eq!(
        kafka("protocol = legacy\ncompression = gzip").compression,
        Compression::Gzip(6)
    );
}

#[test]
fn gzip_and_zstd_have_levels() {
    for (lines, compression) in [
        ("compression = gzip", Compression::Gzip(6)),
        (
            "compression = gzip\ncompression_level = 9",
            Compression::Gzip(9),
        ),
        ("compression = zstd", Compression::Zstd(3)),
        (
            "compression_level = 22\ncompression = zstd",
            Compression::Zstd(22),
        ),
        ("compression = snappy", Compression::Snappy),
    ] {
        assert_eq!(kafka(lines).compression, compression, "{lines}");
    }
}

#[test]
fn the_key_partitioner_takes_a_key_in_every_log() {
    let text = GOOD.replace("topic", "partitioner = key\ntopic");
    let config = parse(&format!("{text}key = k\n")).unwrap();
    assert_eq!(config.kafka.partitioner, Partitioner::Key);
}

/// The type of a password, which no key has yet.
struct Password;

impl ValueType for Password {
    type Value = String;
    const SECRET: bool = true;

    fn accepted(&self) -> String {
        "more than eight characters".to_owned()
    }

    fn read(&self, text: &str) -> Result<String, BadValue> {
        match text.len() {
            ..=8 => Err(BadValue::part(text).hint(text)),
            _ => Ok(text.to_owned()),
        }
    }
}

#[test]
fn a_secret_is_in_no_message() {
    static KEY: Key<Password> = Key {
        section: Section::Kafka,
        name: "password",
        value_type: Password,
        default_value: DefaultValue::Nothing("..."),
        about: "",
    };
    let raw = |value: &str| RawSection {
        name: "kafka".to_owned(),
        line: 1.into(),
        entries: vec![RawEntry {
            key: "password".to_owned(),
            value: value.to_owned(),
            line: 2.into(),
        }],
        refused_keys: vec![],
    };
    let env = |_: &str| None;

    let mut errors = Vec::new();
    let short = raw("hunter2");
    let mut reader = Reader::new(Section::Kafka, &short, &env, &mut errors);
    assert!(reader.setting(&KEY).is_none());
    assert_eq!(
        errors.pop().unwrap().to_string(),
        "bad value (not shown) for 'password' in [kafka]; accepted: more than eight characters"
    );

    let long = raw("hunter2hunter2");
    let mut reader = Reader::new(Section::Kafka, &long, &env, &mut errors);
    let setting = reader.setting(&KEY).unwrap();
    let conflict = setting.conflict(&setting, "...").to_string();
    assert!(!conflict.contains("hunter2"), "{conflict}");
    assert_eq!(setting.value, "hunter2hunter2");
}

#[test]
fn links_are_followed_as_the_section_says() {
    for (lines, expected) in [
        ("", FollowLinks::Safe),
        ("follow_links = safe\n", FollowLinks::Safe),
        ("follow_links = all\n", FollowLinks::All),
        ("follow_links = none\n", FollowLinks::None),
    ] {
        let config = parse(&format!("{GOOD}{lines}")).unwrap();
        assert_eq!(config.logs[0].follow_links, expected, "{lines}");
    }
}

#[test]
fn an_address_is_written_with_brackets_around_ipv6_and_reads_back() {
    for written in ["[::1]:9093", "kafka.example:9094", "10.0.0.1:9092"] {
        let text = GOOD.replace("brokers = a:1", &format!("brokers = {written}"));
        let config = parse(&text).unwrap().kafka;
        assert_eq!(config.brokers[0].to_string(), written);
    }
}
