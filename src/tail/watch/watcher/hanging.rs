//! What is said of folders that do not answer.

use std::path::Path;
use std::time::{Duration, Instant};

use log::Level;

use super::Watcher;
use crate::condition::Board;
use crate::shown::ShownPath;

impl Watcher {
    /// Has `board` show what is wrong with paths and watches.
    #[must_use]
    pub fn report_to(mut self, board: &Board) -> Self {
        self.board = board.clone();
        self.notices.report_to(board);
        self.watches.report_to(board);
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
