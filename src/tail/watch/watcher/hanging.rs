//! What is said of folders that do not answer.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::Level;

use super::Watcher;
use crate::condition::Condition;
use crate::metrics::Metrics;
use crate::shown::ShownPath;
use crate::tail::discover::Discovery;

impl Watcher {
    /// Has the board show what is wrong with paths and watches, and notes what is left out.
    #[must_use]
    pub fn report_to(mut self, metrics: &Arc<Metrics>) -> Self {
        self.board = metrics.board.clone();
        self.notices.report_to(metrics);
        self.watches.report_to(&metrics.board);
        self
    }

    /// One WARN for each pattern whose folders have not answered for `patience`.
    pub(super) fn warn_of_hanging(&mut self, patience: Duration, now: Instant) {
        for pattern in self.scans.newly_hanging(patience, now) {
            if let Some((text, log)) = self.discovery.pattern(pattern) {
                let text = ShownPath(Path::new(text));
                let condition = self.hanging.entry(pattern).or_default();
                let reason = "its folders do not answer; all others are followed meanwhile";
                condition.shown_on(&self.board);
                condition.enter(Level::Warn, &text, &reason, now);
                if condition.say(now).is_some() {
                    log::warn!(
                        "[log:{}] folders of '{text}' do not answer; all others are followed meanwhile",
                        log.name
                    );
                }
            }
        }
    }

    /// The folders of a pattern, which hung, answer.
    pub(super) fn answers_again(&mut self, pattern: u32) {
        if let Some(mut condition) = self.hanging.remove(&pattern)
            && let Some(left) = condition.leave()
            && let Some((text, log)) = self.discovery.pattern(pattern)
        {
            let text = ShownPath(Path::new(text));
            log::log!(
                left.level,
                "[log:{}] the folders of '{text}' answer again{left}",
                log.name
            );
        }
    }
}

/// What is wrong with patterns, by the numbers that they have in the `next` ones; what these have no more is over.
pub(super) fn renumbered(
    hanging: HashMap<u32, Condition>,
    before: &Discovery,
    next: &Discovery,
) -> HashMap<u32, Condition> {
    let number_of = |pattern: u32| {
        let (text, log) = before.pattern(pattern)?;
        let is_same = |number: &u32| {
            let other = next.pattern(*number);
            other.is_some_and(|(other, of)| other == text && of.name == log.name)
        };
        next.patterns().find(is_same)
    };
    let each = hanging.into_iter();
    each.filter_map(|(pattern, condition)| Some((number_of(pattern)?, condition)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tail::discover::testing::section;

    #[test]
    fn folders_that_hang_do_so_since_when_they_did_also_in_another_ini() {
        let discovery = |paths: &[&str]| {
            let logs = [
                section("new", &paths[1..], &[]),
                section("a", &paths[..1], &[]),
            ];
            Discovery::new(&logs, Path::new("/nonexistent"))
        };
        let (before, next) = (discovery(&["/nfs/*"]), discovery(&["/nfs/*", "/b/*"]));
        let mut condition = Condition::default();
        let begun = Instant::now();
        condition.enter(Level::Warn, &"/nfs/*", &"does not answer", begun);
        let hanging = renumbered([(0, condition)].into(), &before, &next);
        assert_eq!(hanging.get(&1).and_then(Condition::since), Some(begun));
        assert!(renumbered(hanging, &next, &discovery(&["/c/*"])).is_empty());
    }
}
