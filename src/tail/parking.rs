//! What the scheduler asks of a tailer: whether it can do without a thread, and whether it needs one again. And what
//! is closed for a while where descriptors are fewer than files.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use rustix::io::Errno;

use crate::identity::{FileStat, Inode};
use crate::left_out::Kind;
use crate::progress::CloseReason;
use crate::shown::ShownPath;
use crate::tailer_handle::TailerHandle;

use super::Tailer;
use super::changes::Ending;
use super::descriptor_permits::SecondFiles;
use super::found::Found;
use super::observation::Current;
use super::scheduler::{Expected, PARK_AFTER, RunOutcome, Task};
use super::tailer::Wait;
use super::watch::FileWatch;

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
        if self.ending != Ending::No
            || self.trouble.is_present()
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
                s.watch.is_some()
                    && s.detached_since.is_none()
                    && !s.awaits_overwrite()
                    && s.pending_due().is_none()
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

    fn path(&self) -> &Arc<Path> {
        &self.path
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

impl Tailer {
    /// Whether the path leads nowhere and all that lay there is read.
    pub(super) fn has_nothing(&self) -> bool {
        self.sources.is_empty()
            && self.paused.is_none()
            && self.read_elsewhere.is_none()
            && !self.trouble.is_present()
            && self.blocked_since.is_none()
    }

    /// Whether there is something to look at, and the right to.
    pub(super) fn may_look(&mut self) -> bool {
        // `--once` waits for nothing, and ends with the look.
        if !self.shared.once && self.is_paused_file_unchanged() {
            return false;
        }
        if self.descriptor_permit.is_none() {
            self.descriptor_permit = self.shared.descriptors.acquire(&self.handle);
        }
        if self.descriptor_permit.is_none() {
            // So that it is known under whatever name it has when the permit comes.
            if let Err(error) = self.register_unread() {
                self.complain_of(&error);
            }
            return false;
        }
        if self.paused.take().is_some() {
            self.must_sync = true;
        }
        true
    }

    /// The file at the path was not written for so long that it is not begun: it is as one that is closed until it
    /// changes.
    pub(super) fn leave_out(&mut self, found: &Found) {
        let (Some(content), Current::File { stat, .. }) = (&found.current, &found.seen.current)
        else {
            return;
        };
        // What was written before the watch shows in the next look, since it is not as it was when it was looked at.
        let watches = &self.shared.watches;
        let watch = watches.watch_file(content.file(), &self.path, &self.handle);
        let level = match self.shared.descriptors.follows_few() {
            true => log::Level::Info,
            false => log::Level::Debug,
        };
        log::log!(
            level,
            "'{}' is left out until it is written to: ignore_older",
            ShownPath(&self.path)
        );
        self.paused = Some(Box::new((*stat, watch)));
        self.descriptor_permit = None;
    }

    /// Tells operators why the file at the path is not followed here, if it is not.
    pub(super) fn tell_whether_left_out(&self, is_too_old: bool, refusal: Option<String>) {
        let left_out = &self.shared.metrics.left_out;
        let (kind, reason) = match (refusal, self.read_elsewhere) {
            (Some(refusal), _) => (Kind::RefusedLink, refusal),
            (None, Some((inode, _))) => (Kind::SecondName, self.first_name(inode)),
            (None, None) if is_too_old && self.sources.is_empty() => {
                (Kind::Older, "older than ignore_older".to_owned())
            }
            (None, None) => return left_out.forget(&self.path),
        };
        left_out.note(&self.path, kind, &self.log.name, reason, Instant::now());
    }

    /// Under which path the file at this one is followed.
    fn first_name(&self, inode: Inode) -> String {
        let known = self.shared.registry.of_inode(inode);
        let first = known.iter().find(|c| c.path != self.path);
        match (first, self.family()) {
            (Some(first), _) => format!("second name of '{}'", ShownPath(&first.path)),
            (None, Some(family)) => format!("a copy of what '{}' holds", ShownPath(&family.log)),
            (None, None) => "a copy of what another path holds".to_owned(),
        }
    }

    pub(super) fn is_paused_file_unchanged(&self) -> bool {
        let Some(paused) = &self.paused else {
            return false;
        };
        let (paused, _) = &**paused;
        FileStat::at_path(&self.path).is_ok_and(|stat| is_unchanged(paused, &stat))
    }

    /// Gives the permit back if others wait for one and everything here is read.
    pub(super) fn pause_if_wanted(&mut self) {
        if !self.shared.descriptors.has_waiters() {
            return;
        }
        let is_read = self.has_current
            && self.sources.len() == 1
            && self
                .sources
                .front()
                .is_some_and(|source| source.position == source.size);
        if self.sources.is_empty() {
            // Trouble holds nothing open.
            self.descriptor_permit = None;
        } else if is_read
            && let Some(mut source) = self.sources.pop_front()
            && let Ok(stat) = source.content.stat()
        {
            self.has_current = false;
            self.retire(&source, CloseReason::Paused);
            let seen = FileStat {
                size: source.size,
                modified_ns: source.modified_ns,
                ..stat
            };
            self.paused = Some(Box::new((seen, source.watch.take())));
            self.descriptor_permit = None;
        }
    }

    /// Before so many sources are open: the right to those beside the first. An error is one that the system gives
    /// where it has no descriptor left.
    pub(super) fn take_second_files(&mut self, sources: usize) -> io::Result<()> {
        let count = sources.saturating_sub(1);
        let held = self.second_files.as_ref().map_or(0, SecondFiles::count);
        if self.descriptor_permit.is_none() || count == 0 || held == count {
            return Ok(());
        }
        // The old right first: with it, the new one is to be had where nobody else has any.
        self.second_files = None;
        match self.shared.descriptors.second_files(count) {
            Some(files) => self.second_files = Some(files),
            None => {
                self.must_sync = true;
                return Err(Errno::MFILE.into());
            }
        }
        Ok(())
    }

    /// Gives back the right to files that are closed by now.
    pub(super) fn return_second_files(&mut self) {
        let count = self.sources.len().saturating_sub(1);
        match &mut self.second_files {
            Some(files) if files.count() > count => files.shrink_to(count),
            _ => {}
        }
    }

    /// While there is no permit to read the file at the path, makes it known where it would be read from.
    fn register_unread(&mut self) -> io::Result<()> {
        if !self.shared.registry.closed_of_path(&self.path).0.is_empty() {
            // From what is known, what came after it is found.
            return Ok(());
        }
        let descriptors = self.shared.descriptors.clone();
        let _brief_open = descriptors.brief_open();
        let synced = self.sync();
        self.close_all();
        synced
    }
}

/// Whether nothing happened between two looks, as far as these tell.
fn is_unchanged(before: &FileStat, stat: &FileStat) -> bool {
    (stat.inode, stat.size, stat.modified_ns) == (before.inode, before.size, before.modified_ns)
}
