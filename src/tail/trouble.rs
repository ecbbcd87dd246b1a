//! What keeps a tailer from a file for a while.

use std::io;
use std::path::Path;
use std::time::Instant;

use log::Level;

use crate::condition::{Board, Condition};
use crate::shown::ShownPath;

/// The trouble of one tailer. A WARN line when it begins or changes, and one when a look goes without any.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    board: Board,
    /// Made when there is some: most tailers never have any.
    condition: Option<Box<Condition>>,
    /// The look under way has met some.
    is_met: bool,
}

impl Trouble {
    /// Trouble that `board` shows.
    pub(super) fn on(board: &Board) -> Self {
        Trouble {
            board: board.clone(),
            ..Trouble::default()
        }
    }

    /// Whether there is any.
    pub(super) fn is_present(&self) -> bool {
        self.condition.as_ref().is_some_and(|c| c.is_entered())
    }

    /// A look begins.
    pub(super) fn begin(&mut self) {
        self.is_met = false;
    }

    /// What the look under way does not look at again is as it was.
    pub(super) fn lasts(&mut self) {
        self.is_met |= self.is_present();
    }

    /// The look under way met an error at `path`.
    pub(super) fn note(&mut self, path: &Path, error: &io::Error) {
        // The first of a look says most; the others may follow from it.
        if std::mem::replace(&mut self.is_met, true) {
            return;
        }
        let board = &self.board;
        let condition = self
            .condition
            .get_or_insert_with(|| Box::new(Condition::on(board)));
        let path = ShownPath(path);
        let reason = format!("'{path}' cannot be read: {error}");
        let is_another = condition.reason().is_some_and(|before| before != reason);
        let now = Instant::now();
        condition.enter(Level::Warn, &path, &reason, now);
        if let Some(passed_over) = condition.say(now) {
            log::warn!("{reason}; its position is kept, retrying{passed_over}");
        } else if is_another {
            log::warn!("{reason}; retrying");
        }
    }

    /// The look at `path` is over.
    pub(super) fn end(&mut self, path: &Path) {
        if !self.is_met
            && let Some(condition) = &mut self.condition
            && let Some(left) = condition.leave()
        {
            log::log!(left.level, "'{}' recovered{left}", ShownPath(path));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_lasts_until_a_look_goes_without_any_and_may_come_again() {
        let mut trouble = Trouble::default();
        let path = Path::new("/log/app.log");
        for _ in 0..2 {
            for _ in 0..3 {
                trouble.begin();
                trouble.note(path, &io::Error::other("no"));
                trouble.end(path);
                assert!(trouble.is_present());
            }
            trouble.begin();
            trouble.end(path);
            assert!(!trouble.is_present());
        }
    }
}
