//! Which sections wait for a topic that something is wrong with. What was read before a reload is on its way to the
//! topic that the ini named then: so former sections count, too, as long as the process lives.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::Agent;
use crate::config::{Config, Difference, LogChange, LogConfig};
use crate::control::ReloadChange;
use crate::snapshot::{Snapshot, TopicStatus};

/// Sections of earlier inis whose records went elsewhere, the latest last.
#[derive(Debug, Default)]
pub(super) struct Former(Vec<Arc<LogConfig>>);

impl Former {
    /// Another ini is in use than `old`.
    pub(super) fn add(&mut self, old: &Config, difference: &Difference) {
        for (name, change) in &difference.logs {
            let goes_elsewhere = match change {
                LogChange::Removed => true,
                LogChange::Changed(keys) => keys.iter().any(|key| key == "topic"),
                _ => false,
            };
            let before = old.logs.iter().find(|log| log.name == *name);
            self.0.extend(before.filter(|_| goes_elsewhere).cloned());
        }
        let excess = self.0.len().saturating_sub(MOST);
        self.0.drain(..excess);
    }
}

impl Agent {
    /// Which topics let something wait, of which sections, and why; to be said behind what waits.
    pub(super) fn held_up(&self) -> String {
        let board = self.shared.metrics.board.all();
        let parked = board.iter().filter_map(|one| {
            let topic = one.subject.strip_prefix("topic ")?;
            let logs = self.config.logs.iter().chain(&self.former.0);
            let mut names: Vec<String> = (logs.filter(|log| log.destination.may_be(topic)))
                .map(|log| format!("[log:{}]", log.name))
                .collect();
            names.sort();
            names.dedup();
            let of = names.join(", ");
            Some(format!(
                "; topic '{topic}' of {of} is parked: {}",
                one.reason
            ))
        });
        parked.take(MOST_SAID).collect()
    }

    /// Tells each section of `snapshot` its topics that something is wrong with. Returns those that wait.
    pub(super) fn complete_topics(
        &self,
        snapshot: &mut Snapshot,
        wrong: &HashSet<String>,
    ) -> HashSet<String> {
        let is_cut_off = snapshot.is_cut_off();
        let mut waiting = HashSet::new();
        let topics: Vec<&str> = (wrong.iter())
            .filter_map(|one| one.strip_prefix("topic "))
            .collect();
        let current: HashMap<&str, &Arc<LogConfig>> = (self.config.logs.iter())
            .map(|log| (&*log.name, log))
            .collect();
        for status in &mut snapshot.logs {
            let log = current.get(&*status.name);
            let is_named = |topic: &str| log.is_some_and(|log| log.destination.may_be(topic));
            let was_named = |topic: &str| {
                let mut former = self.former.0.iter().filter(|one| one.name == status.name);
                former.any(|log| log.destination.may_be(topic))
            };
            let sorted = |is_wanted: &dyn Fn(&str) -> bool| {
                let wanted = topics.iter().filter(|topic| is_wanted(topic));
                let mut wanted: Vec<String> = wanted.map(|topic| (*topic).to_owned()).collect();
                wanted.sort();
                wanted
            };
            let troubled = sorted(&|topic| is_named(topic) || was_named(topic));
            let former = sorted(&|topic| !is_named(topic) && was_named(topic));
            status.is_removed = log.is_none();
            (status.troubled_topics, status.former_topics) = (troubled, former);
            if is_cut_off || !status.troubled_topics.is_empty() {
                waiting.insert(status.name.clone());
            }
        }
        waiting
    }

    /// What was read for a topic stays on its way there: whoever mends the name of one that takes nothing must know.
    pub(super) fn tell_of_parked(
        &self,
        old: &Config,
        difference: &Difference,
        lines: &mut [ReloadChange],
    ) {
        let conditions = self.shared.metrics.board.all();
        let topics = self.shared.metrics.topics(&conditions);
        for (name, change) in &difference.logs {
            let words = match change {
                LogChange::Changed(keys) if keys.iter().any(|key| key == "topic") => {
                    "a restart sends it to the new one"
                }
                LogChange::Removed => "until then they cannot finish",
                _ => continue,
            };
            let is_it = |log: &&Arc<LogConfig>| log.name == *name;
            let before = old
                .logs
                .iter()
                .find(is_it)
                .map(|log| &log.destination.topic);
            let is_parked = |topic: &&TopicStatus| {
                topic.parked.is_some() && before.is_some_and(|before| *before == topic.name)
            };
            let what = format!("log:{name}");
            if let Some(parked) = topics.iter().find(is_parked)
                && let Some(line) = lines.iter_mut().find(|line| line.what == what)
            {
                line.words.push_str(&format!(
                    "; what was read before waits for '{}', which is parked: {words}",
                    parked.name
                ));
            }
        }
    }
}

/// So many topics are named in a line of the log.
const MOST_SAID: usize = 3;
/// So many are known.
const MOST: usize = 64;
