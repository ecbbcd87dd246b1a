//! The coordinator and the partitions, as Kafka's own do it.

use std::collections::{BTreeSet, HashMap, VecDeque};

use super::super::*;

/// Partitions with records; the one after them has the positions.
pub(super) const DATA: usize = 2;
/// Records of each.
pub(super) const RECORDS: u32 = 40;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Record {
    Line(u32),
    Positions([u32; DATA]),
}

#[derive(Debug, Clone)]
pub(super) enum Request {
    Find,
    Features,
    Add(ProducerId, Vec<usize>),
    End(TransactionVersion, ProducerId, End),
    Init(Option<ProducerId>),
    Produce(TransactionVersion, ProducerId, usize, i32, Vec<Record>),
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Answer {
    pub(super) error: i16,
    pub(super) producer: Option<ProducerId>,
}

pub(super) fn error(error: i16) -> Answer {
    Answer {
        error,
        producer: None,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Empty,
    Ongoing,
    Prepare(End),
    Complete(End),
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) producer: i64,
    pub(super) record: Record,
    pub(super) fate: Option<End>,
}

#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) entries: Vec<Entry>,
    /// Epoch, and the last five batches: first sequence number and count.
    pub(super) known: HashMap<i64, (i16, VecDeque<(i32, i32)>)>,
}

impl Log {
    pub(super) fn append(
        &mut self,
        by: ProducerId,
        two: bool,
        first: i32,
        records: &[Record],
    ) -> i16 {
        let known = self.known.get(&by.id);
        let epoch = known.map_or(-1, |known| known.0);
        if by.epoch < epoch {
            return 47;
        }
        let last = known.filter(|known| known.0 == by.epoch && !known.1.is_empty());
        let count = records.len() as i32;
        match last {
            Some((_, batches)) if batches.contains(&(first, count)) => return 0,
            Some((_, batches)) => {
                let (before, count) = batches[batches.len() - 1];
                if before + count != first {
                    return 45;
                }
            }
            None if first != 0 && (two || known.is_some()) => return 45,
            None => {}
        }
        let known = self.known.entry(by.id).or_default();
        if known.0 != by.epoch {
            *known = (by.epoch, VecDeque::new());
        }
        known.1.push_back((first, count));
        if known.1.len() > 5 {
            known.1.pop_front();
        }
        for record in records {
            self.entries.push(Entry {
                producer: by.id,
                record: record.clone(),
                fate: None,
            });
        }
        0
    }

    pub(super) fn mark(&mut self, by: ProducerId, end: End) {
        for entry in &mut self.entries {
            if entry.producer == by.id && entry.fate.is_none() {
                entry.fate = Some(end);
            }
        }
        let known = self.known.entry(by.id).or_default();
        if known.0 < by.epoch {
            *known = (by.epoch, VecDeque::new());
        }
    }

    pub(super) fn committed(&self) -> impl DoubleEndedIterator<Item = &Record> {
        let is_committed = |entry: &&Entry| entry.fate == Some(End::Commit);
        self.entries
            .iter()
            .filter(is_committed)
            .map(|entry| &entry.record)
    }
}

/// What the brokers keep.
pub(super) struct World {
    pub(super) features: Features,
    pub(super) producer: ProducerId,
    pub(super) last: ProducerId,
    /// What the markers of the end carry.
    pub(super) marker: ProducerId,
    pub(super) stage: Stage,
    pub(super) partitions: BTreeSet<usize>,
    pub(super) unmarked: Vec<usize>,
    pub(super) logs: Vec<Log>,
    pub(super) next_id: i64,
    pub(super) coordinator: i32,
}

pub(super) const NOBODY: ProducerId = ProducerId { id: -1, epoch: -1 };

impl World {
    pub(super) fn new(version: TransactionVersion, epoch: i16) -> Self {
        World {
            features: Features {
                epoch: 1,
                transaction_version: version,
            },
            producer: ProducerId { id: 100, epoch },
            last: NOBODY,
            marker: NOBODY,
            stage: Stage::Empty,
            partitions: BTreeSet::new(),
            unmarked: Vec::new(),
            logs: (0..=DATA).map(|_| Log::default()).collect(),
            next_id: 101,
            coordinator: 1,
        }
    }

    pub(super) fn is_two(&self) -> bool {
        self.features.transaction_version == TransactionVersion::Two
    }

    /// The epoch after this one, or another id where there is none.
    pub(super) fn bump(&mut self, expected: bool) {
        let before = self.producer;
        if before.epoch >= i16::MAX - 1 {
            self.producer = ProducerId {
                id: self.next_id,
                epoch: 0,
            };
            self.next_id += 1;
        } else {
            self.producer.epoch += 1;
        }
        self.last = if expected { before } else { NOBODY };
    }

    pub(super) fn prepare(&mut self, end: End, marker: ProducerId) {
        self.stage = Stage::Prepare(end);
        self.marker = marker;
        self.unmarked = std::mem::take(&mut self.partitions).into_iter().collect();
    }

    /// What the coordinator does by itself: one more marker.
    pub(super) fn goes_on(&mut self) {
        if let Stage::Prepare(end) = self.stage {
            match self.unmarked.pop() {
                Some(partition) => self.logs[partition].mark(self.marker, end),
                None => self.stage = Stage::Complete(end),
            }
        }
    }

    /// The transaction is aborted by the coordinator, and its producer fenced.
    pub(super) fn fence(&mut self) {
        let before = self.producer;
        match before.epoch {
            i16::MAX => self.bump(true),
            _ => self.producer.epoch += 1,
        }
        self.last = if self.is_two() { before } else { NOBODY };
        self.prepare(End::Abort, self.producer);
    }

    pub(super) fn handle(&mut self, request: &Request) -> Answer {
        match request {
            Request::Find | Request::Features => error(0),
            Request::Init(expected) => self.init(*expected),
            Request::Add(by, places) => error(self.add(*by, places)),
            Request::End(version, by, end) => self.end(*version, *by, *end),
            Request::Produce(version, by, partition, first, records) => {
                error(self.produce(*version, *by, *partition, *first, records))
            }
        }
    }

    pub(super) fn init(&mut self, expected: Option<ProducerId>) -> Answer {
        let is_exhausted = |by: ProducerId| by.id == self.last.id && by.epoch >= i16::MAX - 1;
        if expected.is_some_and(|by| by.id != self.producer.id && !is_exhausted(by)) {
            return error(90);
        }
        match self.stage {
            Stage::Prepare(_) => error(51),
            Stage::Ongoing => {
                self.fence();
                error(51)
            }
            Stage::Empty | Stage::Complete(_) => {
                match expected {
                    Some(by) if by == self.last => {
                        if self.producer.epoch >= i16::MAX - 1 {
                            self.bump(true);
                        }
                    }
                    Some(by) if by != self.producer => return error(90),
                    expected => self.bump(expected.is_some()),
                }
                self.stage = Stage::Empty;
                Answer {
                    error: 0,
                    producer: Some(self.producer),
                }
            }
        }
    }

    pub(super) fn check(&self, by: ProducerId, other_epoch: i16) -> i16 {
        match by {
            by if by.id != self.producer.id => 49,
            by if by.epoch != self.producer.epoch => other_epoch,
            _ => 0,
        }
    }

    pub(super) fn add(&mut self, by: ProducerId, places: &[usize]) -> i16 {
        let code = self.check(by, 90);
        if code != 0 {
            return code;
        }
        if matches!(self.stage, Stage::Prepare(_)) {
            return 51;
        }
        self.stage = Stage::Ongoing;
        self.partitions.extend(places);
        0
    }

    pub(super) fn end(&mut self, version: TransactionVersion, by: ProducerId, end: End) -> Answer {
        let two = version == TransactionVersion::Two;
        if two && !self.is_two() {
            return error(51);
        }
        let is_repeated = two && by == self.last;
        if by.id != self.producer.id && !is_repeated {
            return error(49);
        }
        if by != self.producer && !is_repeated {
            return error(90);
        }
        let fine = |world: &World| Answer {
            error: 0,
            producer: two.then_some(world.producer),
        };
        match self.stage {
            Stage::Ongoing if is_repeated => error(90),
            Stage::Ongoing => {
                if two {
                    // The markers have the epoch after that of the transaction.
                    let epoch = by.epoch + 1;
                    self.bump(true);
                    self.prepare(end, ProducerId { epoch, ..by });
                } else {
                    self.prepare(end, by);
                }
                fine(self)
            }
            Stage::Prepare(under_way) => error(if under_way == end { 51 } else { 48 }),
            Stage::Complete(done) if done == end && (is_repeated || !two) => fine(self),
            Stage::Empty | Stage::Complete(_) if two && end == End::Abort && !is_repeated => {
                self.bump(true);
                self.stage = Stage::Complete(End::Abort);
                fine(self)
            }
            Stage::Empty | Stage::Complete(_) => error(48),
        }
    }

    pub(super) fn produce(
        &mut self,
        version: TransactionVersion,
        by: ProducerId,
        partition: usize,
        first: i32,
        records: &[Record],
    ) -> i16 {
        let two = version == TransactionVersion::Two;
        if two && !self.is_two() {
            return 35;
        }
        let code = match two {
            true => self.add(by, &[partition]),
            false => self.check(by, 47),
        };
        if code != 0 {
            return if code == 90 { 47 } else { code };
        }
        if self.stage != Stage::Ongoing || !self.partitions.contains(&partition) {
            return 120;
        }
        self.logs[partition].append(by, two, first, records)
    }

    pub(super) fn positions(&self) -> [u32; DATA] {
        let last = self.logs[DATA].committed().next_back();
        match last {
            Some(Record::Positions(positions)) => *positions,
            _ => [0; DATA],
        }
    }
}
