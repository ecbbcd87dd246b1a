//! Which sections wait for a topic that something is wrong with. What was read before a reload is on its way to the
//! topic that the ini named then: so former sections count, too, as long as the process lives.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};

use super::Agent;
use crate::config::{Config, Difference, LogChange, LogConfig};
use crate::control::ReloadChange;
use crate::progress::Progress;
use crate::shown::{ShownPath, Size};
use crate::snapshot::{FileStatus, Positions, Snapshot, TopicStatus};

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

    /// Asks the registrar how the files stand; it does not answer if it has ended.
    pub(super) fn ask_for_positions(&self) -> Receiver<Positions> {
        let (answer, positions) = bounded(1);
        if let Some(registrar) = &self.progress {
            // Its queue may be full, and a stop waits for nobody.
            let _ = registrar.try_send(Progress::Asked(answer));
        }
        positions
    }

    /// Says at the stop that something is left for the next start, in which files, and why: `held_up`.
    pub(super) fn say_what_is_left(&self, held_up: &str, positions: &Receiver<Positions>) {
        let behind = match positions.recv_timeout(PATIENCE) {
            Ok(positions) => waiting(&positions.files),
            Err(_) => String::new(),
        };
        log::warn!(
            "not everything that was read is acknowledged; the next start sends the rest, of files that are still \
             there{behind}{held_up}"
        );
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
        let known = &snapshot.topics;
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
            let own = known.iter().map(|topic| &topic.name);
            let own = own.filter(|topic| is_named(topic) || was_named(topic));
            status.topics = own.take(MOST_TOPICS).cloned().collect();
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
        // In transactions nothing behind it is committed.
        let moved = match self.config.kafka.exactly_once {
            None => {
                "a restart sends it to the new one, and once more what was sent behind it in its files"
            }
            Some(_) => "a restart sends it to the new one",
        };
        for (name, change) in &difference.logs {
            let words = match change {
                LogChange::Changed(keys) if keys.iter().any(|key| key == "topic") => moved,
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

/// The files that are behind, in words: those that are furthest behind by their names.
fn waiting(files: &[FileStatus]) -> String {
    let mut files: Vec<&FileStatus> = files.iter().filter(|file| file.is_behind()).collect();
    files.sort_by(|a, b| (b.waits(), &a.path).cmp(&(a.waits(), &b.path)));
    let all: u64 = files.iter().map(|file| file.waits()).sum();
    let named = files.iter().take(MOST_SAID).map(|file| {
        let path = file.path_now.as_ref().unwrap_or(&file.path);
        format!("'{}' ({})", ShownPath(path), Size(file.waits()))
    });
    let named = named.collect::<Vec<_>>().join(", ");
    match files.len().saturating_sub(MOST_SAID) {
        _ if files.is_empty() => String::new(),
        0 => format!("; {} wait in {named}", Size(all)),
        more => format!("; {} wait in {named} and {more} more files", Size(all)),
    }
}

/// So long the registrar may take to answer a stop.
const PATIENCE: Duration = Duration::from_millis(300);
/// So many topics, and files, are named in a line of the log.
const MOST_SAID: usize = 3;
/// So many topics of a section are told.
const MOST_TOPICS: usize = 100;
/// So many are known.
const MOST: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_names_the_files_that_are_furthest_behind_and_counts_the_others() {
        let file = |path: &str, size| FileStatus {
            path: path.into(),
            size,
            unended: 2,
            ..FileStatus::default()
        };
        let mut files = vec![file("/a", 12), file("/b", 2), file("/c", 22)];
        assert_eq!(waiting(&files), "; 30 B wait in '/c' (20 B), '/a' (10 B)");
        files.extend([file("/d", 7), file("/e", 3), file("/f", 3)]);
        let words = "; 37 B wait in '/c' (20 B), '/a' (10 B), '/d' (5 B) and 2 more files";
        assert_eq!(waiting(&files), words);
        assert_eq!(waiting(&[]), "");
    }
}
