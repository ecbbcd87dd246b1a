//! Closing files for a while, where descriptors are fewer than files, and opening them again.

use std::io;

use rustix::io::Errno;

use super::Tailer;
use super::descriptor_permits::SecondFiles;
use crate::identity::FileStat;
use crate::progress::CloseReason;

impl Tailer {
    /// Whether there is something to look at, and the right to.
    pub(super) fn may_look(&mut self) -> bool {
        if self.is_paused_file_unchanged() {
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

    fn is_paused_file_unchanged(&self) -> bool {
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
