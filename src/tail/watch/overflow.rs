//! The kernel's queue of events was full, and some are lost: how often that is said.

use std::time::{Duration, Instant};

use log::Level;

use crate::condition::{Board, Condition, Left, PassedOver};

/// That events are lost. Where more names change than can be looked at, the queue overflows each time it is read.
#[derive(Debug, Default)]
pub(super) struct Overflow {
    condition: Condition,
    last: Option<Instant>,
}

impl Overflow {
    /// Events were lost, again or for the first time.
    pub(super) fn happens(&mut self, board: &Board, now: Instant) {
        if let Some(passed_over) = self.say(board, now) {
            log::warn!("inotify events were lost; every file is looked at again{passed_over}");
        }
    }

    /// Says so when no events have been lost for a while.
    pub(super) fn see_to_end(&mut self, now: Instant) {
        if let Some(left) = self.leave(now) {
            log::log!(left.level, "no inotify events are lost any more{left}");
        }
    }

    fn say(&mut self, board: &Board, now: Instant) -> Option<PassedOver> {
        self.last = Some(now);
        self.condition.shown_on(board);
        let reason = "events were lost; every file is looked at again";
        self.condition.enter(Level::Warn, &"inotify", &reason, now);
        self.condition.say(now)
    }

    fn leave(&mut self, now: Instant) -> Option<Left> {
        let last = self.last?;
        if now.saturating_duration_since(last) < QUIET {
            return None;
        }
        self.last = None;
        self.condition.leave()
    }
}

/// So long without a loss, and it is over.
const QUIET: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_that_are_lost_each_second_are_said_once_until_none_are_for_a_while() {
        let (board, begin) = (Board::default(), Instant::now());
        let mut overflow = Overflow::default();
        let said = (0..100).filter(|second| {
            let now = begin + Duration::from_secs(*second);
            assert!(overflow.leave(now).is_none());
            overflow.say(&board, now).is_some()
        });
        assert_eq!(said.collect::<Vec<_>>(), [0]);
        assert_eq!(board.all().len(), 1);
        let last = begin + Duration::from_secs(99);
        assert!(overflow.leave(last + QUIET / 2).is_none());
        assert!(overflow.leave(last + QUIET).is_some() && board.all().is_empty());
        assert!(overflow.leave(last + 2 * QUIET).is_none());
        assert!(overflow.say(&board, last + 3 * QUIET).is_some());
    }
}
