//! Which files are known and which are being read, for all tailers together.
//!
//! A file that two paths lead to is read once: who claims it first reads it. A file that was read
//! before, under any name, goes on where it stood.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::questions::Questions;
use crate::identity::{FileIdentity, Inode};
use crate::progress::{Checkpoint, CloseReason, Saved, SourceState};

/// The files known to this process: the checkpoints it started with, what is read now, what was read to its end,
/// and what is skipped.
#[derive(Debug, Default)]
pub struct FileRegistry {
    known: Mutex<Known>,
    pub(super) questions: Questions,
}

#[derive(Debug, Default)]
struct Known {
    last_serial: u64,
    /// In boxes, so that the free places of the table are small.
    entries: HashMap<u64, Box<Entry>>,
    by_inode: HashMap<Inode, Vec<u64>>,
    by_path: BTreeMap<Arc<Path>, Vec<u64>>,
    /// The sections whose files were looked for before this start.
    sections: HashSet<String>,
    /// Paths of which an older version kept no skipped files.
    without_skipped: HashSet<Arc<Path>>,
    /// Serial numbers that only the topic of positions knew.
    from_topic: HashSet<u64>,
}

#[derive(Debug)]
struct Entry {
    checkpoint: Checkpoint,
    /// A tailer has it open.
    is_open: bool,
    /// Since when its file, which is read to its end or skipped, was not found any more.
    missing_since: Option<Instant>,
}

impl FileRegistry {
    /// A registry that knows what a former run has `saved`.
    pub fn new(saved: &Saved) -> Self {
        let mut known = Known {
            last_serial: saved.last_serial,
            ..Known::default()
        };
        for checkpoint in saved.checkpoints.iter().cloned() {
            known.last_serial = known.last_serial.max(checkpoint.serial);
            if saved.sections.is_none() {
                known.without_skipped.insert(checkpoint.path.clone());
            }
            known.insert(Entry {
                checkpoint,
                is_open: false,
                missing_since: None,
            });
        }
        known.sections = saved.sections.iter().flatten().cloned().collect();
        known.from_topic = saved.from_topic.iter().copied().collect();
        FileRegistry {
            known: Mutex::new(known),
            questions: Questions::default(),
        }
    }

    /// Whether the files of section `name` were looked for by a former run. Where that was not kept, a section
    /// with a checkpoint of one of the `paths` that it follows was.
    pub fn knows_section(&self, name: &str, is_of_section: impl Fn(&Path) -> bool) -> bool {
        let known = self.lock();
        known.sections.contains(name)
            || known.without_skipped.iter().any(|path| is_of_section(path))
    }

    /// The files of these sections were looked for; those of others were not.
    pub fn follow_sections(&self, names: impl Iterator<Item = String>) {
        self.lock().sections = names.collect();
    }

    /// What is known of the files of `path` and not open now, oldest first, and whether an older version kept it,
    /// which did not keep the skipped files.
    pub(super) fn closed_of_path(&self, path: &Path) -> (Vec<Checkpoint>, bool) {
        let known = self.lock();
        let serials = known.by_path.get(path).map(Vec::as_slice);
        let entries = serials
            .unwrap_or_default()
            .iter()
            .filter_map(|serial| known.entries.get(serial));
        let mut found: Vec<_> = entries
            .filter(|e| !e.is_open)
            .map(|e| e.checkpoint.clone())
            .collect();
        found.sort_unstable_by_key(|c| c.serial);
        (found, known.without_skipped.contains(path))
    }

    /// Which of these only the topic of positions knew, where they may stand as they were some time before the end.
    pub(super) fn told_by_topic(&self, checkpoints: &[Checkpoint]) -> Vec<u64> {
        let known = self.lock();
        let serials = checkpoints.iter().map(|checkpoint| checkpoint.serial);
        serials
            .filter(|serial| known.from_topic.contains(serial))
            .collect()
    }

    /// What is known of the files of `path`, open or not. Of the open ones it is known where they were opened.
    pub(super) fn all_of_path(&self, path: &Path) -> Vec<Checkpoint> {
        let known = self.lock();
        let serials = known.by_path.get(path).into_iter().flatten();
        let entries = serials.filter_map(|serial| known.entries.get(serial));
        entries.map(|entry| entry.checkpoint.clone()).collect()
    }

    /// Paths of which several files are to be read on, those that were rotated away among them, and their inodes.
    pub fn rotated(&self) -> Vec<(Arc<Path>, Vec<Inode>)> {
        let known = self.lock();
        let paths = known
            .by_path
            .iter()
            .filter(|(_, serials)| serials.len() > 1);
        let files = paths.map(|(path, serials)| {
            let entries = serials
                .iter()
                .filter_map(|serial| known.entries.get(serial));
            let unread = entries.filter(|one| one.checkpoint.state == SourceState::Open);
            let inodes: Vec<Inode> = unread.map(|one| one.checkpoint.identity.inode).collect();
            (path.clone(), inodes)
        });
        files.filter(|(_, inodes)| inodes.len() > 1).collect()
    }

    /// The paths of files that are to be read on and that nobody has open, and how many bytes that are.
    pub fn behind(&self) -> Vec<(Arc<Path>, u64)> {
        let known = self.lock();
        let entries = known.entries.values().filter(|entry| !entry.is_open);
        let unread = entries.filter_map(|entry| {
            let checkpoint = &entry.checkpoint;
            let bytes = checkpoint.size.saturating_sub(checkpoint.offset);
            let is_behind = checkpoint.is_unfinished() && bytes > 0;
            is_behind.then(|| (checkpoint.path.clone(), bytes))
        });
        unread.collect()
    }

    /// The skipped files of `path` were looked for: from now on what is not known is new.
    pub(super) fn complete(&self, path: &Path) {
        self.lock().without_skipped.remove(path);
    }

    /// What is known of the files of other paths in the same folder whose names begin like that of `path` up to
    /// its last dot, and are `related` to it.
    pub(super) fn of_related(
        &self,
        path: &Path,
        related: impl Fn(&Path) -> bool,
    ) -> Vec<Checkpoint> {
        let Some(stem) = path.file_stem() else {
            return Vec::new();
        };
        let first: Arc<Path> = path.with_file_name(stem).into();
        let known = self.lock();
        let is_like = |other: &Path| {
            other.parent() == path.parent()
                && other
                    .file_name()
                    .is_some_and(|name| name.as_bytes().starts_with(stem.as_bytes()))
        };
        let paths = known
            .by_path
            .range::<Arc<Path>, _>((Bound::Included(&first), Bound::Unbounded))
            .take_while(|(other, _)| is_like(other))
            .filter(|(other, _)| &***other != path && related(other));
        paths
            .flat_map(|(_, serials)| serials)
            .filter_map(|serial| known.entries.get(serial))
            .map(|entry| entry.checkpoint.clone())
            .collect()
    }

    /// What is known of files at `inode`, latest last.
    pub(super) fn of_inode(&self, inode: Inode) -> Vec<Checkpoint> {
        let known = self.lock();
        let serials = known.by_inode.get(&inode).into_iter().flatten();
        let entries = serials.filter_map(|serial| known.entries.get(serial));
        entries.map(|entry| entry.checkpoint.clone()).collect()
    }

    /// Whether a tailer has the file at `inode` open that was born at that time.
    pub(super) fn is_open(&self, inode: Inode, born_ns: i64) -> bool {
        self.lock().is_open(inode, born_ns)
    }

    /// Claims the file of `checkpoint` for reading and gives it the next serial number. What was
    /// known of that file before is replaced, and so is what was known under the serial number that
    /// `checkpoint` comes with. The answer names the numbers replaced; it is `None` if a tailer has the
    /// file open already.
    ///
    /// A file that had the same inode number before is another file: what is known of it stays, its
    /// content may go on in an archive.
    pub(super) fn open(&self, mut checkpoint: Checkpoint) -> Option<(Checkpoint, Vec<u64>)> {
        let mut known = self.lock();
        let inode = checkpoint.identity.inode;
        if known.is_open(inode, checkpoint.identity.born_ns) {
            return None;
        }
        let mut serials = known.by_inode.get(&inode).cloned().unwrap_or_default();
        serials.retain(|serial| {
            let other = known.entries.get(serial).map(|entry| &entry.checkpoint);
            other.is_none_or(|other| replaces_known(other, &checkpoint))
        });
        if known
            .entries
            .get(&checkpoint.serial)
            .is_some_and(|e| !e.is_open)
            && !serials.contains(&checkpoint.serial)
        {
            serials.push(checkpoint.serial);
        }
        for &serial in &serials {
            known.remove(serial);
        }
        known.enter(&mut checkpoint, true);
        Some((checkpoint, serials))
    }

    /// Remembers a file that nobody reads at present, in place of what is known under its serial number.
    pub(super) fn register(&self, mut checkpoint: Checkpoint) -> Checkpoint {
        let mut known = self.lock();
        known.enter(&mut checkpoint, false);
        checkpoint
    }

    /// As [`FileRegistry::register`], if nothing is known of the file.
    pub(super) fn register_unknown(&self, mut checkpoint: Checkpoint) -> Option<Checkpoint> {
        let mut known = self.lock();
        let inode = &checkpoint.identity.inode;
        let mut here = known.by_inode.get(inode).into_iter().flatten();
        if here.any(|serial| known.entries.contains_key(serial)) {
            return None;
        }
        known.enter(&mut checkpoint, false);
        Some(checkpoint)
    }

    /// Notes which of the files of `path` that need not be read are still there, by `is_there`; forgets those that
    /// were missing for a while, and returns their serial numbers. The one that was opened last stays: it says that
    /// the path is known.
    pub(super) fn prune(
        &self,
        path: &Path,
        now: Instant,
        is_there: impl Fn(&Checkpoint) -> bool,
    ) -> Vec<u64> {
        let mut known = self.lock();
        let serials = known.by_path.get(path).cloned().unwrap_or_default();
        let last = serials.iter().copied().max();
        let mut forgotten = Vec::new();
        for serial in serials {
            let Some(entry) = known.entries.get_mut(&serial) else {
                continue;
            };
            let is_needed = entry.is_open
                || entry.checkpoint.is_unfinished()
                || Some(serial) == last
                || is_there(&entry.checkpoint);
            if is_needed {
                entry.missing_since = None;
            } else if now.duration_since(*entry.missing_since.get_or_insert(now)) >= FORGET_AFTER {
                forgotten.push(serial);
            }
        }
        for serial in &forgotten {
            known.remove(*serial);
        }
        forgotten
    }

    /// The paths with nothing unread, each with the checkpoints of its files, of which nobody has one open.
    pub fn idle_paths(&self) -> Vec<(Arc<Path>, Vec<Checkpoint>)> {
        let known = self.lock();
        let paths = known.by_path.iter().filter_map(|(path, serials)| {
            let entries = serials
                .iter()
                .filter_map(|serial| known.entries.get(serial));
            let mut checkpoints = Vec::with_capacity(serials.len());
            for entry in entries {
                if entry.is_open || entry.checkpoint.is_unfinished() {
                    return None;
                }
                checkpoints.push(entry.checkpoint.clone());
            }
            Some((path.clone(), checkpoints))
        });
        paths.collect()
    }

    /// Forgets the files of `path`, unless one is open or has something unread; gives their serial numbers.
    pub(super) fn forget_path(&self, path: &Path) -> Vec<u64> {
        let mut known = self.lock();
        let serials = known.by_path.get(path).cloned().unwrap_or_default();
        let mut entries = serials
            .iter()
            .filter_map(|serial| known.entries.get(serial));
        if entries.any(|entry| entry.is_open || entry.checkpoint.is_unfinished()) {
            return Vec::new();
        }
        for serial in &serials {
            known.remove(*serial);
        }
        known.shrink();
        serials
    }

    /// The file of checkpoint `serial` is gone for good.
    pub fn remove(&self, serial: u64) {
        self.lock().remove(serial);
    }

    /// The file of a checkpoint that nobody has open lies at `path` now.
    pub(super) fn move_to(&self, serial: u64, path: &Arc<Path>) {
        let mut known = self.lock();
        let entry = known.entries.get(&serial).filter(|entry| !entry.is_open);
        if let Some(mut checkpoint) = entry.map(|entry| entry.checkpoint.clone()) {
            known.remove(serial);
            checkpoint.path = path.clone();
            known.insert(Entry {
                checkpoint,
                is_open: false,
                missing_since: None,
            });
        }
    }

    /// The open file `serial` is better known now.
    pub(super) fn update_identity(&self, serial: u64, identity: FileIdentity) {
        if let Some(entry) = self.lock().entries.get_mut(&serial) {
            entry.checkpoint.identity = identity;
        }
    }

    /// The open file is not read any more, from where `reached` is on.
    pub(super) fn close(&self, reached: Checkpoint, why: CloseReason) {
        let mut known = self.lock();
        if why == CloseReason::ContentGone {
            known.remove(reached.serial);
        } else if let Some(entry) = known.entries.get_mut(&reached.serial) {
            entry.is_open = false;
            entry.checkpoint = Checkpoint {
                state: match why {
                    CloseReason::Finished => SourceState::Finished,
                    CloseReason::Paused | CloseReason::ContentGone => SourceState::Open,
                },
                ..reached
            };
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether two checkpoints with the same inode number are about the same file, as far as that can be told
/// without looking at it: where births are unknown, a file of another path is taken for another one.
fn replaces_known(one: &Checkpoint, other: &Checkpoint) -> bool {
    let (born_ns, other_born_ns) = (one.identity.born_ns, other.identity.born_ns);
    born_ns == other_born_ns && (born_ns != 0 || one.path == other.path)
}

impl Known {
    /// Whether a tailer has that very file open. One that is done, with `--once`, holds its files no more though they are
    /// open here, and the number of an inode may be another's by then, which that tailer knows nothing of. An archive has
    /// no time of birth, so it is none of the others.
    fn is_open(&self, inode: Inode, born_ns: i64) -> bool {
        let serials = self.by_inode.get(&inode).into_iter().flatten();
        let mut entries = serials.filter_map(|serial| self.entries.get(serial));
        entries.any(|entry| entry.is_open && entry.checkpoint.identity.born_ns == born_ns)
    }

    /// Enters a checkpoint under the next serial number.
    fn enter(&mut self, checkpoint: &mut Checkpoint, is_open: bool) {
        self.last_serial += 1;
        checkpoint.serial = self.last_serial;
        self.insert(Entry {
            checkpoint: checkpoint.clone(),
            is_open,
            missing_since: None,
        });
    }

    fn insert(&mut self, entry: Entry) {
        let serial = entry.checkpoint.serial;
        self.by_inode
            .entry(entry.checkpoint.identity.inode)
            .or_insert_with(one)
            .push(serial);
        self.by_path
            .entry(entry.checkpoint.path.clone())
            .or_insert_with(one)
            .push(serial);
        self.entries.insert(serial, Box::new(entry));
    }

    /// Gives back the room of what was removed.
    fn shrink(&mut self) {
        if self.entries.capacity() > 4 * self.entries.len().max(LEAST_ROOM) {
            self.entries.shrink_to_fit();
            self.by_inode.shrink_to_fit();
        }
    }

    fn remove(&mut self, serial: u64) {
        let Some(entry) = self.entries.remove(&serial) else {
            return;
        };
        if let Some(serials) = self.by_inode.get_mut(&entry.checkpoint.identity.inode) {
            serials.retain(|s| *s != serial);
            if serials.is_empty() {
                self.by_inode.remove(&entry.checkpoint.identity.inode);
            }
        }
        if let Some(serials) = self.by_path.get_mut(&entry.checkpoint.path) {
            serials.retain(|s| *s != serial);
            if serials.is_empty() {
                self.by_path.remove(&entry.checkpoint.path);
            }
        }
    }
}

/// The table is not made smaller than for so many files.
const LEAST_ROOM: usize = 256;
/// A file that is not found is remembered for so long: it may be on its way to another name.
pub(super) const FORGET_AFTER: Duration = Duration::from_secs(60);

/// Room for one: most inodes and paths have one file, and a list grows to four places at once.
fn one() -> Vec<u64> {
    Vec::with_capacity(1)
}

#[cfg(test)]
mod tests;
