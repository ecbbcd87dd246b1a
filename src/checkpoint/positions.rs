//! TopicPositions as records of a compacted topic (`delivery = exactly_once`): they are committed together with what was read.
//!
//! ```text
//! key:   1 AGENT / SERIAL      value: a line of the checkpoints file, without its checksum
//! ```
//! The first byte is the version. A key without value is a file that is forgotten.

mod first_places;

use std::collections::{BTreeMap, HashMap};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

pub(super) use self::first_places::FirstPlaces;
use super::store;
use crate::identity::Fingerprint;
use crate::progress::{Checkpoint, PositionRecord, Saved};

/// The records of one agent.
///
/// A file that is opened again gets another serial number, and with that another key. The key before is forgotten in the
/// transaction that has a record of the new one, and no sooner: the topic would not know the file in between. Nor is it
/// there any longer: of two places in one content, the next start goes on at the first. So the new one waits as long as
/// bytes under the number before are on their way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicPositions {
    agent: String,
    /// How many producers there are. The records of a file are all in transactions of its own one, so that they are in
    /// their order.
    producers: usize,
    /// Files that are forgotten, and are in the topic yet.
    forgotten: Vec<Forgotten>,
    /// The same, since the last transaction: a file that goes on where this one ended may be opened only now.
    just_forgotten: Vec<Forgotten>,
    /// Serial numbers of which the topic has no record. Those of files that are read from their beginning are news as well:
    /// what the topic does not know was made after all that it knows, and is read after that.
    untold: HashMap<u64, usize>,
    /// Those that took the place of others, and of which the topic has no record since: where they begin, and which
    /// others.
    replaced: HashMap<u64, (u64, Vec<u64>)>,
    /// What is in the transaction of each producer.
    leaving: Vec<Leaving>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Forgotten {
    serial: u64,
    producer: usize,
    path: Arc<Path>,
    beginning: Fingerprint,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Leaving {
    forgotten: Vec<u64>,
    /// Serial numbers that have a record in it.
    told: Vec<u64>,
}

impl TopicPositions {
    /// Of the agent with this id.
    pub fn new(agent: &str) -> Self {
        TopicPositions {
            agent: agent.to_owned(),
            producers: 1,
            forgotten: Vec::new(),
            just_forgotten: Vec::new(),
            untold: HashMap::new(),
            replaced: HashMap::new(),
            leaving: Vec::new(),
        }
    }

    /// A file is forgotten, unless another serial number took the place of this one.
    pub(super) fn forget(&mut self, checkpoint: &Checkpoint) {
        let serial = checkpoint.serial;
        self.untold.remove(&serial);
        let mut others = self.replaced.values().flat_map(|(_, others)| others);
        if !others.any(|other| *other == serial) {
            let producer = producer_of(&checkpoint.path, self.producers);
            let mut all = self.all_before(serial);
            all.push(serial);
            for serial in all {
                self.replaced.remove(&serial);
                self.just_forgotten.push(Forgotten {
                    serial,
                    producer,
                    path: checkpoint.path.clone(),
                    beginning: checkpoint.identity.fingerprint,
                });
            }
        }
    }

    /// A file is opened, and takes the place of others. Of these `continues` may be a file of its own whose last bytes are
    /// on their way.
    pub(super) fn open(&mut self, checkpoint: &Checkpoint, replaces: &[u64], continues: u64) {
        let serial = checkpoint.serial;
        self.register(checkpoint);
        let mut others = replaces.to_vec();
        if continues != 0 && !others.contains(&continues) {
            others.push(continues);
        }
        for other in &others {
            self.untold.remove(other);
        }
        if !others.is_empty() {
            self.replaced.insert(serial, (checkpoint.offset, others));
        }
    }

    /// A file is known: without it, what was delivered of its content, or is not to be, were read, or too late. Of one in
    /// which nothing was yet there is nothing to tell: another content in it would be taken for it.
    pub(super) fn register(&mut self, checkpoint: &Checkpoint) {
        let has_content = checkpoint.identity.fingerprint.len > 0;
        if has_content || checkpoint.offset > 0 || !checkpoint.is_unfinished() {
            let producer = producer_of(&checkpoint.path, self.producers);
            self.untold.insert(checkpoint.serial, producer);
        }
    }

    /// The serial numbers that this one took the place of, and those before them.
    fn all_before(&self, serial: u64) -> Vec<u64> {
        let others = |serial: u64| self.replaced.get(&serial).map(|(_, others)| others);
        let mut all = others(serial).cloned().unwrap_or_default();
        let mut n = 0;
        while let Some(before) = all.get(n).copied() {
            all.extend(others(before).into_iter().flatten());
            n += 1;
        }
        all
    }

    /// The records of a transaction of a producer, after which the files of `checkpoints` stand there. `reached` has how
    /// far each serial number that is open is then: one that goes on behind that has to wait.
    pub(super) fn seal(
        &mut self,
        producer: usize,
        checkpoints: &[Checkpoint],
        reached: &HashMap<u64, u64>,
    ) -> Vec<PositionRecord> {
        let before = |checkpoint: &Checkpoint| self.all_before(checkpoint.serial);
        let waits = |checkpoint: &&Checkpoint| {
            let start = self
                .replaced
                .get(&checkpoint.serial)
                .map(|(start, _)| *start);
            let reached = |serial| reached.get(&serial).copied();
            let mut before = before(checkpoint).into_iter();
            before.any(|serial| reached(serial) < start && reached(serial).is_some())
        };
        let mut told: Vec<&Checkpoint> = checkpoints.iter().collect();
        told.retain(|checkpoint| !waits(checkpoint));
        let passed: Vec<u64> = told.iter().flat_map(|told| before(told)).collect();
        told.retain(|checkpoint| !passed.contains(&checkpoint.serial));
        if self.leaving.len() <= producer {
            self.leaving.resize_with(producer + 1, Leaving::default);
        }
        let leaving = &mut self.leaving[producer];
        let is_told = |forgotten: &Forgotten| {
            let mut told = told.iter();
            told.any(|told| {
                told.path == forgotten.path
                    && told.identity.fingerprint.agrees_with(&forgotten.beginning)
            })
        };
        let is_mine = |forgotten: &mut Forgotten| forgotten.producer == producer;
        let forgotten = self.forgotten.extract_if(.., is_mine);
        leaving
            .forgotten
            .extend(forgotten.map(|forgotten| forgotten.serial));
        // What goes on where it ended is there.
        let is_passed = |forgotten: &mut Forgotten| is_mine(forgotten) && is_told(forgotten);
        let forgotten = self.just_forgotten.extract_if(.., is_passed);
        leaving
            .forgotten
            .extend(forgotten.map(|forgotten| forgotten.serial));
        self.forgotten
            .extend(self.just_forgotten.extract_if(.., is_mine));
        leaving.told = told.iter().map(|checkpoint| checkpoint.serial).collect();
        let mut gone = leaving.forgotten.clone();
        gone.extend(passed);
        let gone = gone.into_iter().map(|serial| (self.key(serial), None));
        let told = told.into_iter().map(|checkpoint| self.record(checkpoint));
        gone.chain(told).collect()
    }

    fn record(&self, checkpoint: &Checkpoint) -> PositionRecord {
        let line = store::line_of(checkpoint);
        (self.key(checkpoint.serial), Some(line.into_bytes()))
    }

    /// The transaction is committed.
    pub(super) fn committed(&mut self, producer: usize) {
        let leaving = self.leaving.get_mut(producer).map(std::mem::take);
        for serial in leaving.unwrap_or_default().told {
            for before in self.all_before(serial) {
                self.replaced.remove(&before);
            }
            self.replaced.remove(&serial);
            self.untold.remove(&serial);
        }
    }

    /// Serial numbers of which a transaction of that producer is to have a record.
    pub(super) fn untold(&self, producer: usize) -> impl Iterator<Item = u64> {
        let mine = self.untold.iter().filter(move |(_, of)| **of == producer);
        mine.map(|(serial, _)| *serial)
    }

    /// Of an agent with so many producers.
    pub fn with_producers(mut self, producers: usize) -> Self {
        self.producers = producers;
        self
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
    of: TopicPositions,
    /// By serial number; `None`: it is forgotten.
    files: BTreeMap<u64, Option<Checkpoint>>,
    /// Records that are none.
    unreadable: u64,
}

impl ReadPositions {
    /// Of the agent with this id.
    pub fn new(agent: &str) -> Self {
        ReadPositions {
            of: TopicPositions::new(agent),
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
    /// are farther than it knew, and what the topic has to forget.
    ///
    /// The file is written after the commit, so it is behind if the agent was killed in between, and it may be missing.
    /// It is ahead where nothing had to be sent: a hole, a file that was read to its end, or one that was opened again,
    /// whose older serial number it does not know any more.
    pub fn move_on(self, saved: &mut Saved, producers: usize) -> (usize, TopicPositions) {
        let newest = saved.checkpoints.iter().map(|known| known.serial).max();
        let (mut moved, mut stale) = (0, Vec::new());
        let told: Vec<u64> = self.files.keys().copied().collect();
        // What is done with is in no file. Were its number given to another source, and the agent killed before a
        // transaction said so, that source would be done with at the next start.
        let last = told.last().copied().unwrap_or_default();
        saved.last_serial = saved.last_serial.max(last);
        for (serial, told) in self.files {
            let known = saved
                .checkpoints
                .iter_mut()
                .find(|known| known.serial == serial);
            match (known, told) {
                // Another serial number took its place in the last transaction, or it was done with.
                (Some(_), None) => saved.checkpoints.retain(|known| known.serial != serial),
                (None, None) => {}
                (Some(known), Some(told)) => {
                    if told.offset > known.offset {
                        moved += 1;
                        *known = told;
                    }
                }
                (None, Some(told)) if newest.is_none_or(|newest| serial > newest) => {
                    // The newer number of two that one file had: the agent was killed before it could forget the other.
                    let mut known = saved.checkpoints.iter();
                    if let Some(at) = known.position(|known| is_same(known, &told)) {
                        stale.push(saved.checkpoints.swap_remove(at));
                    }
                    moved += 1;
                    saved.from_topic.push(serial);
                    saved.checkpoints.push(told);
                }
                (None, Some(told)) => stale.push(told),
            }
        }
        let mut positions = self.of.with_producers(producers);
        for stale in stale {
            let all = || saved.checkpoints.iter();
            let now = all().rev().find(|known| is_same(known, &stale));
            // A copy of what was truncated: the first one that was opened after that.
            let copies = all().filter(|known| {
                known.path == stale.path
                    && known.serial > stale.serial
                    && has_same_beginning(known, &stale)
            });
            match now.or_else(|| copies.min_by_key(|known| known.serial)) {
                Some(now) => positions
                    .replaced
                    .entry(now.serial)
                    .or_default()
                    .1
                    .push(stale.serial),
                None => positions.forget(&stale),
            }
        }
        // What the topic was not told before the agent was killed, and the checkpoints file may not have for ever.
        for known in &saved.checkpoints {
            if !told.contains(&known.serial) && !positions.replaced.contains_key(&known.serial) {
                positions.register(known);
            }
        }
        (moved, positions)
    }
}

/// The producer that has the lines of the file that is followed at `path`.
pub fn producer_of(path: &Path, producers: usize) -> usize {
    crc32c::crc32c(path.as_os_str().as_bytes()) as usize % producers.max(1)
}

/// Whether the two are of one file with one content.
fn is_same(one: &Checkpoint, other: &Checkpoint) -> bool {
    let (a, b) = (&one.identity, &other.identity);
    (a.inode, a.born_ns) == (b.inode, b.born_ns) && has_same_beginning(one, other)
}

/// One of them may have been looked at when its file was shorter.
fn has_same_beginning(one: &Checkpoint, other: &Checkpoint) -> bool {
    let (one, other) = (&one.identity.fingerprint, &other.identity.fingerprint);
    one.agrees_with(other)
}

fn beginning(of: &Checkpoint) -> (u16, u64) {
    let Fingerprint { len, hash, .. } = of.identity.fingerprint;
    (len, hash)
}

/// The first byte of a key.
const VERSION: &str = "1";

#[cfg(test)]
mod tests;
