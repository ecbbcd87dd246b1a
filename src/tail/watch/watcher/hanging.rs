//! What is said of folders that do not answer.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::Level;

use super::Watcher;
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

    /// A pattern whose folders hang has another number in the `next` patterns; it hangs on.
    pub(super) fn renumber_hanging(&mut self, next: &Discovery) {
        for (pattern, condition) in std::mem::take(&mut self.hanging) {
            let known = self.discovery.pattern(pattern);
            let is_same = |number: &u32| {
                let other = next.pattern(*number);
                other
                    .zip(known)
                    .is_some_and(|((text, log), (known, of))| text == known && log.name == of.name)
            };
            if let Some(number) = next.patterns().find(is_same) {
                self.hanging.insert(number, condition);
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
