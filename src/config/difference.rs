//! What two configurations differ in: which sections came, went and changed, and by which keys.

use super::types::{Config, KafkaConfig, LogConfig};

/// What becomes of a `[log:NAME]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogChange {
    /// It is new.
    Added,
    /// It is not there any more.
    Removed,
    /// It differs in these keys.
    Changed(Vec<String>),
    /// It says the same.
    Untouched,
}

/// What is different.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Difference {
    /// Keys of `[agent]` that can be applied.
    pub agent: Vec<&'static str>,
    /// Settings that need a restart: section and key.
    pub restart: Vec<(&'static str, String)>,
    /// Keys of `[kafka]`, if it says something else; empty where files that it names have other content.
    pub kafka: Option<Vec<String>>,
    /// All sections: those of the newer configuration in their order, then those that went.
    pub logs: Vec<(String, LogChange)>,
}

impl Difference {
    /// Whether both say the same.
    pub fn is_empty(&self) -> bool {
        self.agent.is_empty()
            && self.restart.is_empty()
            && self.kafka.is_none()
            && self
                .logs
                .iter()
                .all(|(_, change)| *change == LogChange::Untouched)
    }
}

impl Config {
    /// What is different in `newer`.
    pub fn difference(&self, newer: &Config) -> Difference {
        let mut difference = Difference::default();
        let (old, new) = (&self.agent, &newer.agent);
        let Difference { agent, restart, .. } = &mut difference;
        let mut note = |differs: bool, key: &'static str| match needs_restart("agent", key) {
            _ if !differs => {}
            true => restart.push(("agent", key.to_owned())),
            false => agent.push(key),
        };
        note(old.state_dir != new.state_dir, "state_dir");
        note(old.user != new.user, "user");
        note(old.producers != new.producers, "producers");
        let memory = (old.memory_limit_bytes, new.memory_limit_bytes);
        note(memory.0 != memory.1, "memory_limit");
        let timeouts = (old.shutdown_timeout, new.shutdown_timeout);
        note(timeouts.0 != timeouts.1, "shutdown_timeout");
        let intervals = (old.checkpoint_interval, new.checkpoint_interval);
        note(intervals.0 != intervals.1, "checkpoint_interval");
        let limits = (old.deleted_bytes_limit, new.deleted_bytes_limit);
        note(limits.0 != limits.1, "deleted_bytes_limit");
        note(old.reload != new.reload, "reload");
        let listens = (old.metrics_listen, new.metrics_listen);
        note(listens.0 != listens.1, "metrics_listen");
        note(old.id != new.id, "id");
        let is_transactional = self.kafka.exactly_once.is_some();
        if self.kafka.protocol != newer.kafka.protocol
            || is_transactional != newer.kafka.exactly_once.is_some()
            // Another cluster has other positions, and is asked for them before anything is sent.
            || is_transactional && self.kafka != newer.kafka
        {
            // All of [kafka] stays as it was, but for what sections take from it.
            let mut keys = self.origin.differing(&newer.origin, "kafka");
            keys.retain(|key| key != "topic");
            if keys.is_empty() {
                keys.push("files that it names".to_owned());
            }
            difference
                .restart
                .extend(keys.into_iter().map(|key| ("kafka", key)));
        } else if (KafkaConfig {
            // Of the sections' records: producers have no part in them.
            headers: self.kafka.headers,
            ..newer.kafka.clone()
        }) != self.kafka
        {
            difference.kafka = Some(self.origin.differing(&newer.origin, "kafka"));
        }
        difference.logs = self.changed_logs(newer);
        difference
    }

    fn changed_logs(&self, newer: &Config) -> Vec<(String, LogChange)> {
        let find = |config: &'_ Config, name: &str| -> Option<std::sync::Arc<LogConfig>> {
            config.logs.iter().find(|log| log.name == name).cloned()
        };
        let headers_differ = self.kafka.headers != newer.kafka.headers;
        let mut logs: Vec<(String, LogChange)> = Vec::new();
        for log in &newer.logs {
            let change = match find(self, &log.name) {
                None => LogChange::Added,
                Some(old) if old == *log && !headers_differ => LogChange::Untouched,
                Some(_) => {
                    let section = format!("log:{}", log.name);
                    let mut keys = self.origin.differing(&newer.origin, &section);
                    if keys.is_empty() {
                        // What it leaves to [kafka].
                        let of_kafka = self.origin.differing(&newer.origin, "kafka");
                        let shared = of_kafka.iter().filter(|key| SHARED.contains(&&***key));
                        keys.extend(shared.map(|key| format!("[kafka] {key}")));
                    }
                    LogChange::Changed(keys)
                }
            };
            logs.push((log.name.clone(), change));
        }
        let went = self
            .logs
            .iter()
            .filter(|log| find(newer, &log.name).is_none());
        logs.extend(went.map(|log| (log.name.clone(), LogChange::Removed)));
        logs
    }
}

/// Whether a change of the key of `[agent]` or `[kafka]` is applied by a restart alone. What else [kafka] says needs one
/// with `delivery = exactly_once` only.
pub(super) fn needs_restart(section: &str, key: &str) -> bool {
    match section {
        "agent" => AGENT_RESTARTS.contains(&key),
        "kafka" => ["protocol", "delivery"].contains(&key),
        _ => false,
    }
}

/// Keys of `[agent]` that are read at the start alone.
const AGENT_RESTARTS: [&str; 6] = [
    "state_dir",
    "user",
    "producers",
    "memory_limit",
    "metrics_listen",
    "id",
];
/// Keys of `[kafka]` that are about the records of each section.
const SHARED: [&str; 2] = ["topic", "headers"];

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic fails the test")]
mod tests {
    use std::path::Path;

    use super::*;

    const INI: &str = "[agent]\nstate_dir = /s\n[kafka]\nbrokers = a:1\ntopic = t\n\
                       [log:web]\npath = /w\n[log:app]\npath = /a\ndrop.debug = DEBUG\n";

    fn parse(text: &str) -> Config {
        let env = |name: &str| (name == "HOST").then(|| "node7".to_owned());
        Config::parse(text, Path::new("a.ini"), &env).unwrap()
    }

    fn difference(newer: &str) -> Difference {
        parse(INI).difference(&parse(newer))
    }

    fn untouched(names: &[&str]) -> Vec<(String, LogChange)> {
        let names = names.iter();
        names
            .map(|name| ((*name).to_owned(), LogChange::Untouched))
            .collect()
    }

    #[test]
    fn what_is_written_in_another_way_and_says_the_same_is_no_difference() {
        let newer = INI.replace("[log:web]", "# a comment\nlinger = 250ms\n[log:web]");
        assert!(difference(&newer).is_empty());
        assert!(difference(INI).is_empty());
        let turned = "[log:app]\npath = /a\ndrop.debug = DEBUG\n[log:web]\npath = /w\n\
                      [kafka]\nbrokers = a:1\ntopic = t\n[agent]\nstate_dir = /s\n";
        assert_eq!(difference(turned).logs, untouched(&["app", "web"]));
    }

    #[test]
    fn sections_come_go_and_change_by_their_keys() {
        let newer = INI
            .replace(
                "drop.debug = DEBUG\n",
                "rate_limit = 10/s\ndrop.info = INFO\n",
            )
            .replace("[log:web]\npath = /w", "[log:audit]\npath = /audit");
        let changed = ["rate_limit", "drop.info", "drop.debug"];
        let changed = LogChange::Changed(changed.map(str::to_owned).to_vec());
        let expected = [
            ("audit".to_owned(), LogChange::Added),
            ("app".to_owned(), changed),
            ("web".to_owned(), LogChange::Removed),
        ];
        assert_eq!(difference(&newer).logs, expected);
    }

    #[test]
    fn what_sections_leave_to_kafka_changes_them_all() {
        let newer = difference(&INI.replace("topic = t", "topic = other"));
        let topic = LogChange::Changed(vec!["[kafka] topic".to_owned()]);
        assert!(
            newer.logs.iter().all(|(_, change)| *change == topic),
            "{newer:?}"
        );
        assert_eq!(
            newer.kafka, None,
            "brokers and the way to them are the same"
        );
        let headers = difference(&INI.replace("topic = t", "topic = t\nheaders = host"));
        assert_eq!(headers.kafka, None);
        let changed = LogChange::Changed(vec!["[kafka] headers".to_owned()]);
        assert!(
            headers.logs.iter().all(|(_, change)| *change == changed),
            "{headers:?}"
        );
    }

    #[test]
    fn what_needs_a_restart_is_told_from_what_is_applied() {
        let newer = INI
            .replace(
                "/s\n",
                "/other\nproducers = 2\nshutdown_timeout = 3s\nreload = manual\n",
            )
            .replace("a:1", "a:1,${HOST}:2");
        let newer = difference(&newer);
        let restart = ["state_dir", "producers"].map(|key| ("agent", key.to_owned()));
        assert_eq!(newer.restart, restart);
        assert_eq!(newer.agent, ["shutdown_timeout", "reload"]);
        assert_eq!(newer.kafka, Some(vec!["brokers".to_owned()]));
        assert_eq!(newer.logs, untouched(&["web", "app"]));
    }

    #[test]
    fn what_of_kafka_needs_a_restart_is_named_key_by_key() {
        let restart = |old: &str, newer: &str| parse(old).difference(&parse(newer)).restart;
        let kafka = |keys: &[&str]| -> Vec<(&'static str, String)> {
            let keys = keys.iter();
            keys.map(|key| ("kafka", (*key).to_owned())).collect()
        };
        let once = INI.replace("topic = t", "topic = t\ndelivery = exactly_once");
        let other = |text: &str| {
            let text = text.replace("a:1", "b:1\nlinger = 1s");
            text.replace("topic = t\n", "topic = other\n")
        };
        assert_eq!(restart(&once, &other(&once)), kafka(&["brokers", "linger"]));
        assert_eq!(restart(INI, &other(INI)), kafka(&[]));
        // What is changed together with the delivery waits for it.
        let both = kafka(&["brokers", "linger", "delivery"]);
        assert_eq!(restart(INI, &other(&once)), both);
    }

    #[test]
    fn a_secret_that_was_changed_in_its_file_is_a_difference_without_a_key() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        let sasl = format!(
            "topic = t\nsasl_mechanism = SCRAM-SHA-256\nsasl_username = u\nsasl_password_file = {}",
            file.display()
        );
        let text = INI.replace("topic = t", &sasl);
        std::fs::write(&file, "one").unwrap();
        let old = parse(&text);
        assert!(old.origin.watched.contains(&file), "{:?}", old.origin);
        std::fs::write(&file, "two").unwrap();
        assert_eq!(old.difference(&parse(&text)).kafka, Some(vec![]));
    }
}
