//! Whole files: what loads, and the full text of every refusal. The files in `conf/` are held against the table
//! of keys.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::config::keys::keys_of;
use crate::config::keys::{AnyKey, DefaultValue, Section};
use crate::config::reference::example_of;
use crate::config::{
    Acks, AgentConfig, BrokerAddress, Compression, FollowLinks, HeaderChoice, KafkaConfig,
    LogConfig, Origin, Partitioner, Protocol, Reload, StartAt, help, reference,
};

use super::{Config, ConfigErrors, LogDestination};

mod accepted;
mod examples;
mod files;
mod refused;
mod refused_records;
mod tls;

/// A file without fault, five lines long.
const GOOD: &str = "[kafka]\nbrokers = a:1\ntopic = t\n[log:web]\npath = /a\n";

/// Parses `text` as `a.ini`, with `HOST` in the environment and nothing else.
fn parse(text: &str) -> Result<Config, ConfigErrors> {
    parse_bytes(text.as_bytes())
}

fn parse_bytes(bytes: &[u8]) -> Result<Config, ConfigErrors> {
    Config::from_bytes(bytes, Path::new("a.ini"), &|name| {
        (name == "HOST").then(|| "node7".to_owned())
    })
}

/// The errors of `text`, as they are printed.
fn errors(text: &str) -> String {
    parse(text).expect_err("it is bad").to_string()
}

/// The errors of [`GOOD`] with these further lines in `[kafka]`; the first of them is line 4.
fn kafka_errors(lines: &str) -> String {
    errors(&GOOD.replace("[log:web]", &format!("{lines}\n[log:web]")))
}

/// The errors of [`GOOD`] with these further lines in `[log:web]`; the first of them is line 6.
fn log_errors(lines: &str) -> String {
    errors(&format!("{GOOD}{lines}\n"))
}

const SHIPPED: &str = include_str!("../../conf/logagent.ini");
const SUPERVISORD: &str = include_str!("../../conf/supervisord/logagent.conf");
const SYSTEMD: &str = include_str!("../../conf/logagent.service");

/// What the shipped file says: every default.
fn defaults() -> Config {
    Config {
        file: Path::new("a.ini").to_owned(),
        agent: AgentConfig {
            state_dir: "/var/lib/logagent".into(),
            user: None,
            producers: 1,
            memory_limit_bytes: None,
            shutdown_timeout: Duration::from_secs(8),
            checkpoint_interval: Duration::from_millis(5),
            deleted_bytes_limit: 1 << 30,
            id: None,
            reload: Reload::Auto,
            metrics_listen: None,
        },
        kafka: KafkaConfig {
            brokers: vec![BrokerAddress {
                host: "localhost".to_owned(),
                port: 9092,
            }],
            protocol: Protocol::Native,
            acks: Acks::All,
            compression: Compression::Lz4,
            partitioner: Partitioner::File,
            batch_bytes: 512 << 10,
            linger: Duration::from_millis(250),
            request_timeout: Duration::from_secs(30),
            client_id: "logagent".to_owned(),
            exactly_once: None,
            idempotence: true,
            headers: HeaderChoice {
                host: true,
                path: true,
                provenance: false,
            },
            tls: None,
            sasl: None,
        },
        logs: vec![
            LogConfig {
                name: "web".to_owned(),
                paths: vec!["/var/log/nginx/access.log".to_owned()],
                exclude: vec![],
                rotated: vec![],
                unused_names: vec![],
                follow_links: FollowLinks::Safe,
                destination: LogDestination {
                    topic: "web_log".to_owned(),
                    ..LogDestination::default()
                },
                ignore_older: None,
                line_timeout: None,
                record: None,
                start_at: StartAt::Beginning,
                max_line_bytes: 900 << 10,
                strip_cr: false,
                rotate_wait: Duration::from_secs(5),
            }
            .into(),
        ],
        origin: Origin::default(),
    }
}

#[test]
fn the_shipped_ini_is_the_reference() {
    assert!(
        SHIPPED == reference(),
        "conf/logagent.ini must read:\n{}",
        reference()
    );
}

#[test]
fn the_shipped_ini_loads_with_every_default() {
    assert_eq!(parse(SHIPPED).unwrap(), defaults());
}

/// The shipped ini with every key set, and the names of those that were comments.
fn all_set() -> (String, Vec<&'static str>) {
    let (mut text, mut names) = (String::new(), Vec::new());
    for line in SHIPPED.lines() {
        let setting = line
            .strip_prefix('#')
            .filter(|rest| rest.starts_with(|c: char| c == '[' || c.is_ascii_lowercase()));
        if let Some((name, _)) = setting.and_then(|setting| setting.split_once(" =")) {
            names.push(name);
        }
        text.push_str(setting.unwrap_or(line));
        text.push('\n');
    }
    (text, names)
}

#[test]
fn the_shipped_ini_and_the_table_have_the_same_keys() {
    let has_line = |key: &&dyn AnyKey| !matches!(key.default_value(), DefaultValue::Example(_));
    let mut of_table: Vec<&str> = [Section::Agent, Section::Kafka, Section::Log]
        .into_iter()
        .flat_map(|section| keys_of(section).filter(has_line).map(|key| key.name()))
        .collect();
    let (_, mut of_file) = all_set();
    // It opens with this one.
    of_file.push("brokers");
    of_table.sort_unstable();
    of_file.sort_unstable();
    assert_eq!(of_file, of_table);
    for name in of_table {
        assert!(help(name).is_ok_and(|text| text.contains(" = ")), "{name}");
    }
}

#[test]
fn every_default_that_the_shipped_ini_shows_is_the_one_that_holds() {
    let (text, _) = all_set();
    let text = text
        .replace("[log:app]", "[log:app]\ntopic = web_log")
        .replace("\ntopic =\n", "\n");
    let mut config = parse(&text).unwrap();
    let mut app = Arc::into_inner(config.logs.pop().unwrap()).unwrap();
    assert_eq!(app.name, "app");
    app.name = "web".to_owned();
    app.paths = config.logs[0].paths.clone();
    assert_eq!(app, *config.logs[0]);
    assert_eq!(config, defaults());
}

#[test]
fn what_everybody_needs_stands_in_the_first_lines_of_the_shipped_ini() {
    let opening: Vec<&str> = SHIPPED.lines().take(12).collect();
    let opening = opening.join("\n");
    assert_eq!(parse(&opening).unwrap(), defaults());
}

#[test]
fn every_example_of_a_key_is_accepted() {
    let sections = [Section::Agent, Section::Kafka, Section::Log];
    for key in sections.into_iter().flat_map(keys_of) {
        let example = match key.default_value() {
            DefaultValue::Unset(example) => example,
            DefaultValue::Example(member) => member.split_once(" = ").unwrap().1,
            DefaultValue::Text(default) => {
                let other = example_of(key.name()).filter(|example| *example != default);
                other.unwrap_or_else(|| panic!("{} = {default} shows its default", key.name()))
            }
            _ => continue,
        };
        // Files and variables of another host.
        let is_elsewhere = example.starts_with(['/', '$']) && !key.accepted().contains("glob");
        assert!(
            is_elsewhere || key.accepts(example),
            "{} = {example}",
            key.name()
        );
    }
}

#[test]
fn no_line_of_the_shipped_ini_needs_a_wide_terminal() {
    for line in SHIPPED.lines() {
        assert!(line.len() <= 80, "{line}");
    }
}

#[test]
fn supervisors_wait_longer_than_the_agent() {
    let stop = defaults().agent.shutdown_timeout;
    assert!(stop < Duration::from_secs(10));
    assert!(SUPERVISORD.lines().any(|line| line == "stopwaitsecs=10"));
    assert!(SUPERVISORD.lines().any(|line| line == "stopsignal=TERM"));
    assert!(SYSTEMD.lines().any(|line| line == "TimeoutStopSec=10"));
}

#[test]
fn supervisors_do_not_start_again_what_a_start_cannot_mend() {
    let line = "RestartPreventExitStatus=2 3";
    assert!(SYSTEMD.lines().any(|found| found == line));
    assert!(SUPERVISORD.lines().any(|found| found == "exitcodes=2,3"));
}

#[test]
fn a_topic_is_of_a_section_if_its_placeholders_can_stand_for_the_rest() {
    let may_be = |topic: &str, name: &str| {
        let destination = LogDestination {
            topic: topic.to_owned(),
            ..LogDestination::default()
        };
        destination.may_be(name)
    };
    for (topic, name, is_one) in [
        ("logs", "logs", true),
        ("logs", "logs2", false),
        ("{app}", "anything", true),
        ("logs_{app}", "logs_web", true),
        ("logs_{app}", "audit_web", false),
        ("{env}.{app}.v1", "prod.web.v1", true),
        ("{env}.{app}.v1", "prod.web.v2", false),
        ("{env}.{app}.v1", "prod_web.v1", false),
    ] {
        assert_eq!(may_be(topic, name), is_one, "{topic} {name}");
    }
}
