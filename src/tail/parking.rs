//! What the scheduler asks of a tailer: whether it can do without a thread, and whether it needs one again.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::Tailer;
use super::scheduler::{Expected, PARK_AFTER, RunOutcome, Task};
use super::tailer::Wait;
use super::watch::FileWatch;
use crate::config::LogConfig;
use crate::tailer_handle::TailerHandle;

impl Tailer {
    /// Whether the thread may go to others while there is nothing to do.
    pub(super) fn may_park(&mut self, next: Wait) -> Option<RunOutcome> {
        let is_near_limit =
            self.shared.parks_at_once || self.shared.thread_pressure.is_near_limit();
        // A file that is closed for a while waits for no permit until it changes.
        if matches!(next, Wait::Idle | Wait::Permit) && self.is_settled() {
            let is_quiet = self.last_event.elapsed() >= PARK_AFTER;
            if is_near_limit || is_quiet {
                // It has room for four, and most will never have more than one.
                self.sources.shrink_to_fit();
                return Some(RunOutcome::Park);
            }
            return None;
        }
        is_near_limit.then(|| RunOutcome::ParkUntil(Instant::now() + self.patience(next)))
    }

    /// Whether nothing has to be done until an event comes: one file at the path, or one closed for a while, which
    /// the kernel tells of, or one that another tailer reads.
    pub(super) fn is_settled(&self) -> bool {
        if self.trouble.is_present()
            || self.blocked_since.is_some()
            || self.awaits_copy
            || self.must_sync
        {
            return false;
        }
        if self.sources.is_empty() {
            let is_watched = |paused: &(_, Option<FileWatch>)| paused.1.is_some();
            return self.read_elsewhere.is_some()
                || !self.late.is_empty()
                || self.paused.as_deref().is_some_and(is_watched);
        }
        let current = self.sources.front();
        self.has_current
            && self.sources.len() == 1
            && current.is_some_and(|s| {
                s.watch.is_some() && s.detached_since.is_none() && !s.awaits_overwrite()
            })
    }
}

impl Task for Tailer {
    fn run(&mut self) -> RunOutcome {
        Tailer::run(self)
    }

    fn handle(&self) -> &TailerHandle {
        &self.handle
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
            (None, Some(current)) => Some(Expected {
                inode: current.checkpoint.identity.inode,
                born_ns: current.checkpoint.identity.born_ns,
                content: Some((current.size, current.modified_ns)),
            }),
            (None, None) => self.read_elsewhere.map(|(inode, born_ns)| Expected {
                inode,
                born_ns,
                content: None,
            }),
        }
    }

    fn holds_descriptor_permit(&self) -> bool {
        self.descriptor_permit.is_some()
    }
}
