//! What the scheduler asks of a tailer: whether it can do without a thread, and whether it needs one again.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::scheduler::{Leave, PARK_AFTER};
use super::{Next, Tailer, siblings};
use crate::config::LogConfig;
use crate::identity::Look;
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

    /// Whether what lies at the path is still what lay there at the last look: what a parked tailer is asked
    /// now and then, since events may be lost.
    pub(super) fn is_as_it_was(&self) -> bool {
        let Ok(look) = Look::at_path(&self.path) else {
            return false;
        };
        let seen = (look.size, look.modified_ns);
        match (&self.paused, self.sources.back()) {
            (Some(paused), _) => {
                let (paused, _) = &**paused;
                look.inode == paused.inode && seen == (paused.size, paused.modified_ns)
            }
            (None, Some(live)) => {
                siblings::is_same_inode(&live.checkpoint, &look)
                    && seen == (live.size, live.modified_ns)
            }
            (None, None) => false,
        }
    }

    /// Whether files are held open by its turn.
    pub(super) fn holds_turn(&self) -> bool {
        self.turn.is_some()
    }

    pub(super) fn waker(&self) -> &Waker {
        &self.waker
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What it follows, and by which section.
    pub(super) fn followed(&self) -> (Arc<Path>, Arc<LogConfig>) {
        (self.path.clone(), self.log.clone())
    }
}
