//! Which files are known and which are being read, for all tailers together.
//!
//! A file that two paths lead to is read once: who claims it first reads it. A file that was read
//! before, under any name, goes on where it stood.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::batch::{Checkpoint, Ending, Trace};
use crate::identity::{Identity, Inode};

/// The files known to this process: the checkpoints it started with, what is read now, and what was
/// read to its end.
#[derive(Debug, Default)]
pub struct Claims(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    last_serial: u64,
    /// In boxes, so that the free places of the table are small.
    entries: HashMap<u64, Box<Entry>>,
    by_inode: HashMap<Inode, Vec<u64>>,
    by_path: HashMap<Arc<Path>, Vec<u64>>,
}

#[derive(Debug)]
struct Entry {
    checkpoint: Checkpoint,
    /// A tailer has it open.
    is_open: bool,
}

impl Claims {
    /// Claims that know `checkpoints`.
    pub fn new(checkpoints: Vec<Checkpoint>) -> Self {
        let mut known = Known::default();
        for checkpoint in checkpoints {
            known.last_serial = known.last_serial.max(checkpoint.serial);
            known.insert(Entry {
                checkpoint,
                is_open: false,
            });
        }
        Claims(Mutex::new(known))
    }

    /// Whether nothing is known at all: the first start.
    pub fn is_empty(&self) -> bool {
        self.lock().entries.is_empty()
    }

    /// What is known of the files of `path` and not open now, oldest first.
    pub fn of_path(&self, path: &Path) -> Vec<Checkpoint> {
        let known = self.lock();
        let serials = known
            .by_path
            .get(path)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let entries = serials
            .iter()
            .filter_map(|serial| known.entries.get(serial));
        let mut found: Vec<_> = entries
            .filter(|e| !e.is_open)
            .map(|e| e.checkpoint.clone())
            .collect();
        found.sort_unstable_by_key(|c| c.serial);
        found
    }

    /// What is known of the file at `inode`, latest last, and whether a tailer has it open.
    pub fn of_inode(&self, inode: Inode) -> (Vec<Checkpoint>, bool) {
        let known = self.lock();
        let serials = known
            .by_inode
            .get(&inode)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let entries = || {
            serials
                .iter()
                .filter_map(|serial| known.entries.get(serial))
        };
        (
            entries().map(|e| e.checkpoint.clone()).collect(),
            entries().any(|e| e.is_open),
        )
    }

    /// Claims the file of `checkpoint` for reading and gives it the next serial number. What was
    /// known of that file before is replaced, and so is what was known under the serial number that
    /// `checkpoint` comes with. The answer names the numbers replaced; it is `None` if a tailer has the
    /// file open already.
    ///
    /// A file that had the same inode number before is another file: what is known of it stays, its
    /// content may go on in an archive.
    pub fn open(&self, mut checkpoint: Checkpoint) -> Option<(Checkpoint, Vec<u64>)> {
        let mut known = self.lock();
        let inode = checkpoint.identity.inode;
        let mut serials = known.by_inode.get(&inode).cloned().unwrap_or_default();
        if serials
            .iter()
            .any(|serial| known.entries.get(serial).is_some_and(|e| e.is_open))
        {
            return None;
        }
        serials.retain(|serial| {
            let other = known.entries.get(serial).map(|entry| &entry.checkpoint);
            other.is_none_or(|other| is_same_file(other, &checkpoint))
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
        known.last_serial += 1;
        checkpoint.serial = known.last_serial;
        known.insert(Entry {
            checkpoint: checkpoint.clone(),
            is_open: true,
        });
        Some((checkpoint, serials))
    }

    /// Forgets the finished files of `path` whose inode numbers are not `present` in its folder any
    /// more, except for the last one: it tells what was rotated after it.
    pub fn tidy(&self, path: &Path, present: &HashSet<u64>) {
        let mut known = self.lock();
        let serials = known.by_path.get(path).cloned().unwrap_or_default();
        let last = serials.iter().copied().max();
        for serial in serials {
            let is_gone = known.entries.get(&serial).is_some_and(|entry| {
                let Entry {
                    checkpoint,
                    is_open,
                } = &**entry;
                !is_open
                    && checkpoint.finished
                    && !present.contains(&checkpoint.identity.inode.inode)
            });
            if is_gone && Some(serial) != last {
                known.remove(serial);
            }
        }
    }

    /// The file of checkpoint `serial` is gone for good.
    pub fn forget(&self, serial: u64) {
        self.lock().remove(serial);
    }

    /// The open file `serial` is better known now.
    pub fn know(&self, serial: u64, identity: Identity) {
        if let Some(entry) = self.lock().entries.get_mut(&serial) {
            entry.checkpoint.identity = identity;
        }
    }

    /// The open file `serial` is not read any more, from `offset` on.
    pub fn end(&self, serial: u64, offset: u64, trace: Trace, modified_ns: i64, why: Ending) {
        let mut known = self.lock();
        if why == Ending::Gone {
            known.remove(serial);
        } else if let Some(entry) = known.entries.get_mut(&serial) {
            entry.is_open = false;
            let c = &mut entry.checkpoint;
            (c.offset, c.trace, c.modified_ns) = (offset, trace, modified_ns);
            c.finished = why == Ending::Finished;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether two checkpoints with the same inode number are about the same file, as far as that can be told
/// without looking at it: where births are unknown, a file of another path is taken for another one.
fn is_same_file(one: &Checkpoint, other: &Checkpoint) -> bool {
    let (born_ns, other_born_ns) = (one.identity.born_ns, other.identity.born_ns);
    born_ns == other_born_ns && (born_ns != 0 || one.path == other.path)
}

impl Known {
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

/// Room for one: most inodes and paths have one file, and a list grows to four places at once.
fn one() -> Vec<u64> {
    Vec::with_capacity(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Fingerprint;

    fn checkpoint(path: &str, inode: u64) -> Checkpoint {
        let inode = Inode { device: 1, inode };
        Checkpoint {
            path: Path::new(path).into(),
            identity: Identity {
                inode,
                born_ns: 0,
                fingerprint: Fingerprint::default(),
            },
            offset: 0,
            trace: Trace::default(),
            finished: false,
            serial: 0,
            modified_ns: 0,
        }
    }

    #[test]
    fn a_file_with_two_names_is_read_once() {
        let claims = Claims::default();
        let (first, _) = claims.open(checkpoint("/a", 5)).expect("is free");
        assert!(claims.open(checkpoint("/b", 5)).is_none());
        claims.end(first.serial, 10, Trace::default(), 0, Ending::Finished);
        let (known, is_open) = claims.of_inode(Inode {
            device: 1,
            inode: 5,
        });
        assert_eq!(
            (known[0].offset, known[0].finished, is_open),
            (10, true, false)
        );
        assert!(claims.open(checkpoint("/b", 5)).is_some());
    }

    #[test]
    fn finished_files_that_are_gone_are_forgotten_but_for_the_last() {
        let claims = Claims::default();
        for inode in 1..=4 {
            let (open, _) = claims.open(checkpoint("/a", inode)).expect("is free");
            claims.end(open.serial, 10, Trace::default(), 0, Ending::Finished);
        }
        claims.tidy(Path::new("/a"), &HashSet::from([2]));
        let left: Vec<u64> = claims
            .of_path(Path::new("/a"))
            .iter()
            .map(|c| c.identity.inode.inode)
            .collect();
        assert_eq!(left, vec![2, 4]);
    }

    #[test]
    fn an_inode_number_that_was_handed_out_again_replaces_nothing() {
        let born_at = |born_ns, path| {
            let mut checkpoint = checkpoint(path, 5);
            checkpoint.identity.born_ns = born_ns;
            checkpoint
        };
        let claims = Claims::default();
        let (first, _) = claims.open(born_at(10, "/a")).expect("is free");
        claims.end(first.serial, 7, Trace::default(), 0, Ending::Finished);
        let (_, replaced) = claims.open(born_at(20, "/b")).expect("is free");
        assert_eq!(replaced, Vec::<u64>::new());
        assert_eq!(claims.of_path(Path::new("/a")).len(), 1);
    }

    #[test]
    fn serial_numbers_go_on_after_a_restart() {
        let claims = Claims::new(vec![Checkpoint {
            serial: 41,
            ..checkpoint("/a", 5)
        }]);
        assert_eq!(
            claims.open(checkpoint("/a", 6)).expect("is free").0.serial,
            42
        );
        assert_eq!(
            claims.of_path(Path::new("/a")).len(),
            1,
            "the open one is not listed"
        );
    }
}
