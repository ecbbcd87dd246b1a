//! What the scheduler asks of a tailer: whether it can do without a thread, and whether it needs one again.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::scheduler::{Expected, Leave, PARK_AFTER, Task};
use super::{Next, Tailer};
use crate::config::LogConfig;
use crate::wake::Waker;

impl Tailer {
    /// Whether the thread may go to others while there is nothing to do.
    pub(super) fn may_leave(&mut self, next: Next) -> Option<Leave> {
        let is_crowded = self.around.crowd.is_crowded();
        // A file that is closed for a while waits for no turn until it changes.
        if matches!(next, Next::Idle | Next::Turn) && self.is_settled() {
            let is_quiet = self.woken_at.elapsed() >= PARK_AFTER;
            if is_crowded || is_quiet {
                // It has room for four, and most will never have more than one.
                self.sources.shrink_to_fit();
                return Some(Leave::Quiet);
            }
            return None;
        }
        is_crowded.then(|| Leave::Until(Instant::now() + self.patience(next)))
    }

    /// Whether nothing has to be done until an event comes: one live file, or one closed for a while, which
    /// the kernel tells of.
    pub(super) fn is_settled(&self) -> bool {
        let is_watched = match &self.paused {
            Some(paused) => self.sources.is_empty() && paused.1.is_some(),
            None => {
                let live = self.sources.front();
                self.has_live
                    && self.sources.len() == 1
                    && live.is_some_and(|live| live.watch.is_some() && live.quiet_since.is_none())
            }
        };
        is_watched && self.complaint.is_none()
    }
}

impl Task for Tailer {
    fn run(&mut self) -> Leave {
        Tailer::run(self)
    }

    fn waker(&self) -> &Waker {
        &self.waker
    }

    fn followed(&self) -> (Arc<Path>, Arc<LogConfig>) {
        (self.path.clone(), self.log.clone())
    }

    fn expected(&self) -> Option<Expected> {
        match (&self.paused, self.sources.back()) {
            (Some(paused), _) => {
                let (paused, _) = &**paused;
                Some(Expected {
                    inode: paused.inode,
                    born_ns: paused.born_ns,
                    content: Some((paused.size, paused.modified_ns)),
                })
            }
            (None, Some(live)) => Some(Expected {
                inode: live.checkpoint.identity.inode,
                born_ns: live.checkpoint.identity.born_ns,
                content: Some((live.size, live.modified_ns)),
            }),
            (None, None) => None,
        }
    }

    fn holds_turn(&self) -> bool {
        self.turn.is_some()
    }
}
