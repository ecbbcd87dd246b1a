//! The topics of sections that make one for each file: what stands in the ini does not tell what they become.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Receiver;

use super::report::{Finding, Level};
use crate::config::{Config, LogConfig};
use crate::record::topic_name::legal;
use crate::tail::survey::Survey;

/// The topics that the files which match now have, of all sections.
#[derive(Debug, Default, Clone)]
pub(super) struct FileTopics {
    /// Those that brokers are asked for, with their sections.
    pub(super) asked: BTreeMap<String, Vec<Arc<LogConfig>>>,
    /// How many more there are.
    pub(super) more: usize,
    /// They were not known in time.
    is_late: bool,
}

impl FileTopics {
    /// Those that `survey` gives, if it does so in time: a file system that hangs leaves time for the brokers.
    pub(super) fn in_time(config: &Config, survey: &Receiver<FileTopics>) -> Self {
        let mut records = config.logs.iter().filter_map(|log| log.record.as_ref());
        if !records.any(|record| record.templates.topic.is_some()) {
            return FileTopics::default();
        }
        let late = |_| FileTopics {
            is_late: true,
            ..FileTopics::default()
        };
        survey.recv_timeout(PATIENCE).unwrap_or_else(late)
    }

    pub(super) fn of(config: &Config, survey: &Survey) -> Self {
        let mut topics = FileTopics::default();
        let mut more = BTreeSet::new();
        for log in &config.logs {
            for name in topics_of(log, survey).into_keys() {
                if topics.asked.len() < MOST_ASKED || topics.asked.contains_key(&name) {
                    topics.asked.entry(name).or_default().push(log.clone());
                } else {
                    more.insert(name);
                }
            }
        }
        topics.more = more.len();
        topics
    }

    /// That some of them were not asked for, though brokers were asked.
    pub(super) fn unasked(&self) -> Option<Finding> {
        let asked = self.asked.len();
        let words = match self.more {
            0 if self.is_late => {
                "those of files were not looked at: a file system takes long to answer".to_owned()
            }
            0 => return None,
            1 => format!("1 more topic of files was not looked at; {asked} were"),
            more => format!("{more} more topics of files were not looked at; {asked} were"),
        };
        Some(Finding {
            level: Level::Good,
            subject: "topics".to_owned(),
            words,
        })
    }
}

/// The topics of the files of one section; of those that are not what its placeholders stand for, what these do.
fn topics_of(log: &Arc<LogConfig>, survey: &Survey) -> BTreeMap<String, Option<String>> {
    let mut topics: BTreeMap<String, Option<String>> = BTreeMap::new();
    let Some(record) = &log.record else {
        return topics;
    };
    for (path, (owner, found)) in &survey.files {
        if found.is_err() || !Arc::ptr_eq(owner, log) {
            continue;
        }
        let Some(rendered) = record.file_topic(path) else {
            continue;
        };
        let name = legal(&rendered);
        let made_of = match &name {
            Cow::Borrowed(_) => None,
            Cow::Owned(_) => Some(String::from_utf8_lossy(&rendered).into_owned()),
        };
        let known = topics.entry(name.into_owned()).or_default();
        *known = made_of.or(known.take());
    }
    topics
}

/// Which topics the files have, and which of these are not what the placeholders stand for.
pub(super) fn findings(config: &Config, survey: &Survey) -> Vec<Finding> {
    let mut findings = Vec::new();
    for log in &config.logs {
        let topics = topics_of(log, survey);
        let finding = |level, words| Finding {
            level,
            subject: log.name.clone(),
            words,
        };
        let changed = topics.iter().filter_map(|(name, made_of)| {
            let made_of = made_of.as_ref()?.escape_debug();
            Some(format!(
                "'{made_of}' cannot be a topic: records go to '{name}'"
            ))
        });
        findings.extend(
            changed
                .take(MOST_NAMED)
                .map(|words| finding(Level::Warning, words)),
        );
        if !topics.is_empty() {
            findings.push(finding(Level::Good, named(&topics)));
        }
    }
    findings
}

fn named(topics: &BTreeMap<String, Option<String>>) -> String {
    let first: Vec<&str> = topics.keys().take(MOST_NAMED).map(String::as_str).collect();
    let more = match topics.len() - first.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let count = match topics.len() {
        1 => "topic",
        _ => "topics",
    };
    format!("{count} of its files: {}{more}", first.join(", "))
}

/// So long the brokers are not asked since the topics of files are not known.
const PATIENCE: Duration = Duration::from_secs(2);
/// Topics that brokers are asked for.
const MOST_ASKED: usize = 100;
/// Topics that are named.
const MOST_NAMED: usize = 5;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crossbeam_channel::never;

    use super::*;

    #[test]
    fn topics_of_files_that_are_not_known_in_time_are_said_to_be_unasked_if_there_can_be_any() {
        for (topic, is_said) in [("t", false), ("t.{file}", true)] {
            let ini = format!("[kafka]\nbrokers = k:1\n[log:a]\npath = /a\ntopic = {topic}\n");
            let config = Config::parse(&ini, Path::new("/nowhere.ini"), &|_| None);
            let config = config.expect("a good ini");
            let unasked = FileTopics::in_time(&config, &never()).unasked();
            assert_eq!(unasked.is_some(), is_said, "{topic}");
        }
    }
}
