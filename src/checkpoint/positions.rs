//! Positions as records of a compacted topic (`delivery = exactly_once`): they are committed together with what was read.
//!
//! ```text
//! key:   1 AGENT / SERIAL      value: a line of the checkpoints file, without its checksum
//! ```
//! The first byte is the version. A key without value is a file that is forgotten.

use std::collections::{BTreeMap, HashMap};

use super::store;
use crate::progress::{Checkpoint, PositionRecord, Saved};

/// The records of one agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Positions {
    agent: String,
    /// Serial numbers that are forgotten, and not yet in the topic.
    forgotten: Vec<u64>,
    /// Those that are in a transaction of a producer.
    leaving: HashMap<usize, Vec<u64>>,
}

impl Positions {
    /// Of the agent with this id.
    pub fn new(agent: &str) -> Self {
        Positions {
            agent: agent.to_owned(),
            forgotten: Vec::new(),
            leaving: HashMap::new(),
        }
    }

    /// A file is forgotten.
    pub(super) fn forget(&mut self, serials: impl IntoIterator<Item = u64>) {
        self.forgotten.extend(serials);
    }

    /// The record that says where a file stands.
    pub(super) fn record(&self, checkpoint: &Checkpoint) -> PositionRecord {
        let line = store::line_of(checkpoint);
        (self.key(checkpoint.serial), Some(line.into_bytes()))
    }

    /// Records that forget files, for a transaction of a producer.
    pub(super) fn leave(&mut self, producer: usize) -> Vec<PositionRecord> {
        let leaving = self.leaving.entry(producer).or_default();
        leaving.append(&mut self.forgotten);
        let serials = leaving.clone();
        serials
            .into_iter()
            .map(|serial| (self.key(serial), None))
            .collect()
    }

    /// The transaction is committed.
    pub(super) fn left(&mut self, producer: usize) {
        self.leaving.remove(&producer);
    }

    fn key(&self, serial: u64) -> Vec<u8> {
        format!("{VERSION}{}/{serial}", self.agent).into_bytes()
    }

    /// The serial number, if the key is one of this agent.
    fn serial(&self, key: &[u8]) -> Option<u64> {
        let key = std::str::from_utf8(key).ok()?.strip_prefix(VERSION)?;
        let (agent, serial) = key.rsplit_once('/')?;
        serial.parse().ok().filter(|_| agent == self.agent)
    }
}

/// What a topic says of the files of an agent.
#[derive(Debug)]
pub struct ReadPositions {
    of: Positions,
    /// By serial number; `None`: it is forgotten.
    files: BTreeMap<u64, Option<Checkpoint>>,
    /// Records that are none.
    unreadable: u64,
}

impl ReadPositions {
    /// Of the agent with this id.
    pub fn new(agent: &str) -> Self {
        ReadPositions {
            of: Positions::new(agent),
            files: BTreeMap::new(),
            unreadable: 0,
        }
    }

    /// Takes the next record.
    pub fn take(&mut self, key: &[u8], value: Option<&[u8]>) {
        let Some(serial) = self.of.serial(key) else {
            return;
        };
        let checkpoint = match value {
            None => None,
            Some(line) => match store::checkpoint_of(line) {
                Some(checkpoint) => Some(checkpoint),
                None => {
                    self.unreadable += 1;
                    return;
                }
            },
        };
        self.files.insert(serial, checkpoint);
    }

    /// How many records were none.
    pub fn unreadable(&self) -> u64 {
        self.unreadable
    }

    /// What the checkpoints file has `saved`, moved to where the topic says that the files stand. Returns how many files
    /// are farther than it knew.
    ///
    /// The file is written after the commit, so it is behind if the agent was killed in between, and it may be missing.
    /// It is ahead where nothing had to be sent: a hole, a file that was read to its end.
    pub fn move_on(self, saved: &mut Saved) -> usize {
        let mut moved = 0;
        for (serial, told) in self.files {
            let known = saved
                .checkpoints
                .iter_mut()
                .find(|known| known.serial == serial);
            match (known, told) {
                (Some(known), Some(told)) if told.offset > known.offset => {
                    moved += 1;
                    *known = told;
                }
                (None, Some(told)) => {
                    moved += 1;
                    saved.checkpoints.push(told);
                }
                _ => {}
            }
        }
        saved
            .checkpoints
            .sort_unstable_by_key(|checkpoint| checkpoint.serial);
        moved
    }
}

/// The first byte of a key.
const VERSION: &str = "1";

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::batch::TailChecksum;
    use crate::identity::{FileIdentity, Fingerprint, Inode};
    use crate::progress::{Marks, SourceState};

    fn sample(serial: u64, offset: u64) -> Checkpoint {
        let inode = Inode {
            device: 1,
            inode: serial,
        };
        Checkpoint {
            path: Path::new("/var/log/a b.log").into(),
            identity: FileIdentity {
                inode,
                born_ns: 7,
                fingerprint: Fingerprint::of(b"first line"),
            },
            offset,
            size: offset,
            tail_checksum: TailChecksum::of(b"last line"),
            marks: Marks::default(),
            tag: None,
            state: SourceState::Open,
            serial,
            modified_ns: 9,
        }
    }

    #[test]
    fn what_was_committed_is_where_the_files_stand_whatever_the_checkpoints_file_knows() {
        let positions = Positions::new("host/a");
        let mut old = sample(7, 100);
        let new = sample(7, 250);
        let other = sample(9, 10);
        let mut read = ReadPositions::new("host/a");
        for checkpoint in [&old, &sample(8, 5), &new, &other] {
            let (key, value) = positions.record(checkpoint);
            read.take(&key, value.as_deref());
        }
        // Another agent, another version, and nonsense.
        let (key, value) = Positions::new("host").record(&sample(7, 900));
        read.take(&key, value.as_deref());
        read.take(b"2host/a/7", value.as_deref());
        read.take(b"\xff", value.as_deref());
        read.take(b"1host/a/7", Some(b"nonsense"));
        assert_eq!(read.unreadable(), 1);
        let mut forgetful = Positions::new("host/a");
        forgetful.forget([8]);
        assert_eq!(forgetful.leave(0).len(), 1);
        let again = forgetful.leave(0);
        forgetful.left(0);
        assert_eq!(forgetful.leave(0), []);
        read.take(&again[0].0, again[0].1.as_deref());
        let mut saved = Saved::default();
        old.serial = 7;
        saved.checkpoints = vec![old, sample(8, 5), sample(10, 3)];
        assert_eq!(read.move_on(&mut saved), 2);
        let expected = [new, sample(8, 5), other, sample(10, 3)];
        assert_eq!(saved.checkpoints, expected);
    }
}
