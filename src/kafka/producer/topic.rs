//! One topic: which partition a batch goes to, and whether the topic can be written at all.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::batch::{Batch, Framing, SourceId};
use crate::config::Partitioner;

use super::partition::Partition;
use crate::backoff::Backoff;
use crate::kafka::protocol::error_code::{
    Action, LEADER_NOT_AVAILABLE, UNKNOWN_TOPIC_OR_PARTITION, Verdict,
};
use crate::kafka::protocol::response::TopicMetadata;
use crate::partitioner;

/// So many times in a row a topic may be unknown before it is parked: a new one is created at the
/// first question and known a moment later.
const UNKNOWN_BEFORE_PARKED: u32 = 3;
/// Repeated complaints about a topic come no more often than this.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(30);

/// For so long after its last batch a topic is asked for.
const INTEREST: Duration = Duration::from_secs(600);

/// A topic that cannot be written for now.
#[derive(Debug)]
struct Parked {
    by: ParkedBy,
    backoff: Backoff,
    probe_at: Instant,
}

/// Who said so, and with that, what can end it.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum ParkedBy {
    /// Metadata; better metadata ends it.
    Metadata,
    /// The answer to a Produce request; an acknowledged batch ends it.
    Produce,
}

/// A topic and its partitions.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) name: Arc<str>,
    pub(crate) partitions: Vec<Partition>,
    partitioner: Partitioner,
    /// Bound of one record batch.
    batch_bytes: usize,
    /// How many partitions are chosen from; 0 while unknown.
    count: i32,
    /// How many there are.
    known_count: i32,
    /// Batches whose partition cannot be chosen yet, with their time of arrival.
    unplaced: VecDeque<(Batch, Instant)>,
    /// `round_robin`: where batches go until a record batch was cut there.
    current: i32,
    /// `round_robin`: sources in the middle of a long line, and where its pieces go.
    long_lines: HashMap<SourceId, i32>,
    /// When the last batch came.
    used: Instant,
    unknown: u32,
    /// The last metadata was not enough to send what waited.
    pub(crate) waited: bool,
    parked: Option<Parked>,
    complained: Option<Instant>,
    suppressed: u32,
}

impl Topic {
    pub(crate) fn new(name: Arc<str>, partitioner: Partitioner, batch_bytes: usize) -> Self {
        Topic {
            name,
            partitions: Vec::new(),
            partitioner,
            batch_bytes,
            used: Instant::now(),
            count: 0,
            known_count: 0,
            unplaced: VecDeque::new(),
            current: 0,
            long_lines: HashMap::new(),
            unknown: 0,
            waited: false,
            parked: None,
            complained: None,
            suppressed: 0,
        }
    }

    /// Nothing waits and nothing is in flight.
    pub(crate) fn is_empty(&self) -> bool {
        self.unplaced.is_empty() && self.partitions.iter().all(Partition::is_empty)
    }

    /// Takes a batch. Returns the partition it was queued at, unless that cannot be said yet.
    pub(crate) fn push(&mut self, batch: Batch, now: Instant) -> Option<usize> {
        self.used = now;
        if self.count == 0 || !self.unplaced.is_empty() {
            self.unplaced.push_back((batch, now));
            return None;
        }
        self.place(batch, now)
    }

    fn place(&mut self, batch: Batch, since: Instant) -> Option<usize> {
        let chosen = match self.partitioner {
            Partitioner::File => partitioner::of_key(&batch.destination.file_key(), self.count),
            Partitioner::Key => match &batch.destination.route.key {
                Some(key) => partitioner::of_key(key, self.count),
                None => self.round_robin(&batch),
            },
            Partitioner::RoundRobin => self.round_robin(&batch),
            Partitioner::Fixed(index) => index,
        };
        match usize::try_from(chosen) {
            Ok(index) if chosen < self.count => {
                self.partitions[index].push(batch, since);
                Some(index)
            }
            _ => {
                self.unplaced.push_front((batch, since));
                None
            }
        }
    }

    fn round_robin(&mut self, batch: &Batch) -> i32 {
        let bound = self.long_lines.get(&batch.source).copied();
        let chosen = match bound {
            Some(bound) if bound < self.count => bound,
            _ => {
                if self.current_is_done() {
                    self.advance();
                }
                self.current
            }
        };
        match batch.framing {
            Framing::Part { last: false, .. } => {
                self.long_lines.insert(batch.source, chosen);
            }
            Framing::Part { last: true, .. } => {
                self.long_lines.remove(&batch.source);
            }
            Framing::Lines => {}
        }
        chosen
    }

    fn current_is_done(&self) -> bool {
        usize::try_from(self.current)
            .ok()
            .and_then(|current| self.partitions.get(current))
            .is_none_or(|partition| {
                partition.leader.is_none()
                    || partition.queued_bytes() == 0
                    || partition.queued_bytes() >= self.batch_bytes
            })
    }

    /// Moves on to the next partition that has a leader.
    fn advance(&mut self) {
        for _ in 0..self.count {
            self.current = (self.current + 1) % self.count;
            if self.partitions[self.current as usize].leader.is_some() {
                return;
            }
        }
    }

    /// Takes in what metadata says. Returns whether the topic needs to be asked for again soon.
    pub(crate) fn update(&mut self, metadata: &TopicMetadata, now: Instant) -> bool {
        let verdict = Verdict::of(metadata.error);
        match metadata.error {
            0 => {}
            UNKNOWN_TOPIC_OR_PARTITION | LEADER_NOT_AVAILABLE => {
                for partition in &mut self.partitions {
                    partition.set_leader(None, -1);
                }
                self.unknown += 1;
                if self.unknown >= UNKNOWN_BEFORE_PARKED {
                    self.park(ParkedBy::Metadata, &verdict.to_string(), now);
                }
                return true;
            }
            _ if verdict.action == Action::Park => {
                self.park(ParkedBy::Metadata, &verdict.to_string(), now);
                return true;
            }
            _ => return true,
        }
        self.unknown = 0;
        self.known_count = i32::try_from(metadata.partitions.len()).unwrap_or(i32::MAX);
        while self.partitions.len() < metadata.partitions.len() {
            self.partitions.push(Partition::new());
        }
        for partition in self.partitions.iter_mut().skip(metadata.partitions.len()) {
            partition.set_leader(None, -1);
        }
        for told in &metadata.partitions {
            let leader = Some(told.leader).filter(|leader| *leader >= 0);
            if let Ok(index) = usize::try_from(told.index)
                && index < metadata.partitions.len()
            {
                self.partitions[index].set_leader(leader, told.leader_epoch);
            }
        }
        self.settle_count();
        if let Partitioner::Fixed(index) = self.partitioner
            && index >= self.known_count
        {
            if self.parked.is_none() {
                log::error!(
                    "topic '{}' has {} partitions: partitioner 'fixed:{index}' asks for one that does not exist",
                    self.name,
                    self.known_count
                );
            }
            self.park(ParkedBy::Metadata, &format!("no partition {index}"), now);
            return true;
        }
        if self
            .parked
            .as_ref()
            .is_some_and(|parked| parked.by == ParkedBy::Metadata)
        {
            self.unpark();
        }
        for (batch, since) in std::mem::take(&mut self.unplaced) {
            self.push_again(batch, since);
        }
        self.partitions
            .iter()
            .any(|partition| partition.leader.is_none() && !partition.is_empty())
    }

    fn push_again(&mut self, batch: Batch, since: Instant) {
        if self.unplaced.is_empty() && self.count > 0 {
            self.place(batch, since);
        } else {
            self.unplaced.push_back((batch, since));
        }
    }

    /// Takes over another number of partitions when that cannot put a file's records out of order.
    pub(crate) fn settle_count(&mut self) {
        if self.count == self.known_count {
            return;
        }
        if self.known_count > 0 && self.known_count < self.count {
            // Partitions are never taken away, so the topic was made anew, and smaller.
            if self
                .partitions
                .iter()
                .any(|partition| partition.in_flight() > 0)
            {
                return;
            }
            let kept = self.known_count as usize;
            let gone: Vec<Partition> = self.partitions.drain(kept..).collect();
            for (index, partition) in gone.into_iter().enumerate() {
                if !partition.is_empty() {
                    self.partitions[index % kept].absorb(partition);
                }
            }
            self.count = self.known_count;
        } else if !self.keeps_order() || self.partitions.iter().all(Partition::is_empty) {
            self.count = self.known_count;
        }
    }

    /// Whether all records of a file or key go to one partition.
    fn keeps_order(&self) -> bool {
        match self.partitioner {
            Partitioner::File | Partitioner::Key => true,
            Partitioner::RoundRobin | Partitioner::Fixed(_) => false,
        }
    }

    /// Whether metadata is to be asked for. A topic that nothing was sent to for long is left out,
    /// so that it is not made again after somebody has deleted it.
    pub(crate) fn is_of_interest(&self, now: Instant) -> bool {
        now.duration_since(self.used) < INTEREST || !self.is_empty()
    }

    /// Batches wait until metadata says where they go.
    pub(crate) fn waits_for_metadata(&self) -> bool {
        !self.unplaced.is_empty()
    }

    /// The topic refuses what is sent: leave it alone for a while.
    pub(crate) fn refuse(&mut self, reason: &str, now: Instant) {
        self.park(ParkedBy::Produce, reason, now);
    }

    fn park(&mut self, by: ParkedBy, reason: &str, now: Instant) {
        match &mut self.parked {
            Some(parked) => {
                parked.by = by;
                if parked.probe_at <= now {
                    parked.probe_at = now + parked.backoff.pause();
                }
            }
            None => {
                log::warn!(
                    "topic '{}' is parked: {reason}; probing again every 10 s",
                    self.name
                );
                let mut backoff = Backoff::default();
                let probe_at = now + backoff.pause();
                self.parked = Some(Parked {
                    by,
                    backoff,
                    probe_at,
                });
            }
        }
    }

    /// A batch of it was acknowledged.
    pub(crate) fn flows(&mut self) {
        if self.parked.is_some() {
            self.unpark();
        }
    }

    fn unpark(&mut self) {
        self.parked = None;
        log::info!("topic '{}' flows again", self.name);
    }

    /// Until when nothing may be sent.
    pub(crate) fn held_until(&self, now: Instant) -> Option<Instant> {
        self.parked
            .as_ref()
            .map(|parked| parked.probe_at)
            .filter(|at| *at > now)
    }

    /// Whether a complaint is due, and how many were left out since the last one.
    pub(crate) fn may_complain(&mut self, now: Instant) -> Option<u32> {
        let quiet = self
            .complained
            .is_none_or(|last| now.duration_since(last) >= COMPLAINT_INTERVAL);
        if quiet {
            self.complained = Some(now);
            Some(std::mem::take(&mut self.suppressed))
        } else {
            self.suppressed += 1;
            None
        }
    }
}
