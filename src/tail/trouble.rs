//! What keeps a tailer from a file for a while.

use std::io;
use std::path::Path;
use std::time::Instant;

use log::Level;

use crate::condition::{Board, Condition};
use crate::shown::ShownPath;
use crate::unreadable;

/// The trouble of one tailer. A WARN line when it begins or changes, and one when a look goes without any.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    board: Board,
    /// Made when there is some: most tailers never have any.
    condition: Option<Box<Condition>>,
    /// It is that a link at the path is not followed, as the ini has it: said in the log and under what is left out, and
    /// nothing that the board shows.
    is_refusal: bool,
    /// The look under way has met some.
    is_met: bool,
    /// The look under way has told what became of the bytes: they are lost.
    is_told: bool,
}

/// What became of a file that there was trouble with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    /// It is read.
    Recovered,
    /// Nothing lies at the path any more.
    Gone,
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
        (self.is_met, self.is_told) = (false, false);
    }

    /// The look under way has said that bytes are lost: then there is nothing left to recover.
    pub(super) fn is_answered(&mut self) {
        self.is_told = true;
    }

    /// What the look under way does not look at again is as it was.
    pub(super) fn lasts(&mut self) {
        self.is_met |= self.is_present();
    }

    /// The look under way met an error at `path`.
    pub(super) fn note(&mut self, path: &Path, error: &io::Error) {
        self.note_as(false, path, error);
    }

    /// The look under way found that a link at `path`, which is that of the tailer, is not followed.
    pub(super) fn note_refusal(&mut self, path: &Path, error: &io::Error) {
        self.note_as(true, path, error);
    }

    fn note_as(&mut self, is_refusal: bool, path: &Path, error: &io::Error) {
        // The first of a look says most; the others may follow from it.
        if std::mem::replace(&mut self.is_met, true) {
            return;
        }
        if std::mem::replace(&mut self.is_refusal, is_refusal) != is_refusal {
            self.condition = None;
        }
        let board = &self.board;
        let condition = self.condition.get_or_insert_with(|| {
            Box::new(match is_refusal {
                true => Condition::default(),
                false => Condition::on(board),
            })
        });
        let shown = ShownPath(path);
        let reason = format!("'{shown}' cannot be read: {error}");
        // What mends it is looked for once.
        let before = condition
            .reason()
            .filter(|before| before.starts_with(&reason));
        let reason = match before {
            Some(before) => before.to_owned(),
            None => format!("{reason}{}", unreadable::mend(path, error)),
        };
        let is_another = condition.reason().is_some_and(|before| before != reason);
        let now = Instant::now();
        condition.enter(Level::Warn, &shown, &reason, now);
        if let Some(passed_over) = condition.say(now) {
            log::warn!("{reason}; its position is kept, retrying{passed_over}");
        } else if is_another {
            log::warn!("{reason}; retrying");
        }
    }

    /// The look at `path` is over.
    pub(super) fn end(&mut self, path: &Path, over: Over) {
        if let Some((level, line)) = self.last_words(path, over) {
            log::log!(level, "{line}");
        }
    }

    /// What is to be said at the end of a look without any.
    fn last_words(&mut self, path: &Path, over: Over) -> Option<(Level, String)> {
        let condition = self.condition.as_mut().filter(|_| !self.is_met)?;
        let left = condition.leave().filter(|_| !self.is_told)?;
        let word = match over {
            Over::Recovered => "recovered",
            Over::Gone => "is gone; it could not be read before,",
        };
        Some((left.level, format!("'{}' {word}{left}", ShownPath(path))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_lasts_until_a_look_goes_without_any_and_may_come_again() {
        let mut trouble = Trouble::default();
        let path = Path::new("/log/app.log");
        for over in [Over::Recovered, Over::Gone] {
            for _ in 0..3 {
                trouble.begin();
                trouble.note(path, &io::Error::other("no"));
                assert_eq!(trouble.last_words(path, over), None);
                assert!(trouble.is_present());
            }
            trouble.begin();
            let (_, line) = trouble.last_words(path, over).expect("it is over");
            let is_recovered = line.starts_with("'/log/app.log' recovered after ");
            assert_eq!(is_recovered, over == Over::Recovered, "{line}");
            assert!(!trouble.is_present());
        }
    }

    #[test]
    fn a_link_that_is_not_followed_is_nothing_for_the_board_and_what_else_comes_is() {
        let board = Board::default();
        let mut trouble = Trouble::on(&board);
        let path = Path::new("/log/app.log");
        let shown = |trouble: &mut Trouble, is_refusal: bool| {
            trouble.begin();
            trouble.note_as(is_refusal, path, &io::Error::other("no"));
            assert!(trouble.is_present());
            board.all().len()
        };
        let each = [true, true, false, true].map(|is_refusal| shown(&mut trouble, is_refusal));
        assert_eq!(each, [0, 0, 1, 0]);
    }

    #[test]
    fn what_is_said_to_be_lost_is_not_said_to_have_recovered() {
        let mut trouble = Trouble::default();
        let path = Path::new("/log/app.log");
        trouble.begin();
        trouble.note(path, &io::Error::other("no"));
        trouble.begin();
        trouble.is_answered();
        assert_eq!(trouble.last_words(path, Over::Recovered), None);
        assert!(!trouble.is_present());
    }
}
