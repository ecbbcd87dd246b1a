//! What is set apart from transactions, as data: where it lies, whose it is, and when it is tried again. What is done with
//! it says `setting_apart.rs`.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::batch::{Batch, SourceId};
use crate::config::Partitioner;

/// The number of a topic and a partition of it; without one: what waits until it can be said where it goes.
pub(super) type Spot = (usize, Option<usize>);

/// What is set apart.
#[derive(Debug, Default)]
pub(super) struct Quarantine {
    pub(super) apart: BTreeMap<Spot, Apart>,
    /// Of which something is set apart or on trial.
    pub(super) sources: HashSet<SourceId>,
    /// What came of them later.
    held: VecDeque<Batch>,
    /// Whose it is, by topic and the path that is followed: a log that is rotated goes on under another source.
    held_logs: HashSet<(Arc<str>, Arc<Path>)>,
    pub(super) trial: Option<Trial>,
}

/// When a spot is tried again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Apart {
    pub(super) try_at: Instant,
    pub(super) pause: Duration,
}

/// A spot that has the transaction for itself.
#[derive(Debug)]
pub(super) struct Trial {
    pub(super) spot: Spot,
    pub(super) pause: Duration,
    pub(super) until: Instant,
    /// Something of it is acknowledged.
    pub(super) is_passed: bool,
}

/// What is not acknowledged, by where it lies.
#[derive(Debug, Default)]
pub(super) struct Unacknowledged {
    pub(super) spots: BTreeMap<Spot, Waiting>,
    /// Where the sources lie; `None`: at more than one spot.
    pub(super) homes: HashMap<SourceId, Option<Spot>>,
}

/// What waits at a spot.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// Where each source begins.
    pub(super) starts: HashMap<SourceId, u64>,
    /// All that an abort would have wait here.
    pub(super) sources: HashSet<SourceId>,
    /// A broker has something of it and has not answered.
    pub(super) is_in_flight: bool,
    /// Something of it may be in the log of the partition, or something behind it is.
    pub(super) is_begun: bool,
}

impl Quarantine {
    /// Nothing is set apart or on trial.
    pub(super) fn is_empty(&self) -> bool {
        self.apart.is_empty() && self.trial.is_none()
    }

    /// Keeps a batch back that belongs behind what is set apart, and otherwise gives it back. `partitioner`: where the
    /// files of one log do not go to one partition, the next one waits for no other.
    pub(super) fn hold_back(&mut self, batch: Batch, partitioner: Partitioner) -> Option<Batch> {
        if self.sources.is_empty() && self.held_logs.is_empty() {
            return Some(batch);
        }
        let to = &batch.destination;
        let log = (to.route.topic.clone(), to.path.clone());
        if !self.sources.contains(&batch.source) && !self.held_logs.contains(&log) {
            return Some(batch);
        }
        if partitioner.keeps_files_together() {
            self.held_logs.insert(log);
        }
        // It may be one of a file that comes later.
        self.sources.insert(batch.source);
        self.held.push_back(batch);
        None
    }

    /// What was kept back.
    pub(super) fn take_held(&mut self) -> VecDeque<Batch> {
        self.held_logs.clear();
        std::mem::take(&mut self.held)
    }

    /// A batch of `source` was given to that spot.
    pub(super) fn came(&mut self, source: SourceId, topic: usize, partition: Option<usize>) {
        let spot = (topic, partition);
        let is_tried = self.trial.as_ref().is_some_and(|trial| trial.spot == spot);
        if is_tried || self.apart.contains_key(&spot) {
            self.sources.insert(source);
        }
    }

    /// Whether something of that partition may go out now.
    pub(super) fn lets(&self, topic: usize, partition: usize) -> bool {
        let spot = (topic, Some(partition));
        match &self.trial {
            Some(trial) if !trial.is_passed => trial.spot == spot,
            _ => !self.apart.contains_key(&spot),
        }
    }

    /// A batch of that partition is acknowledged.
    pub(super) fn took(&mut self, topic: usize, partition: usize) {
        if let Some(trial) = &mut self.trial
            && trial.spot == (topic, Some(partition))
        {
            trial.is_passed = true;
        }
    }

    /// A batch of that partition is refused: a trial of it need not go on.
    pub(super) fn refused(&mut self, topic: usize, partition: usize, now: Instant) {
        if let Some(trial) = &mut self.trial
            && trial.spot == (topic, Some(partition))
        {
            trial.until = now;
        }
    }

    /// The trial is over, and what was tried is set apart as before. When a parked topic is tried is its own affair.
    pub(super) fn has_failed(&mut self, is_parked: bool, now: Instant) {
        if let Some(trial) = self.trial.take() {
            let apart = match is_parked {
                true => Apart {
                    try_at: now,
                    pause: trial.pause,
                },
                false => Apart {
                    try_at: now + trial.pause,
                    pause: (trial.pause * 2).min(LONGEST_PAUSE),
                },
            };
            self.apart.insert(trial.spot, apart);
        }
    }
}

impl Unacknowledged {
    pub(super) fn lies(&mut self, source: SourceId, spot: Spot) {
        let home = self.homes.entry(source).or_insert(Some(spot));
        home.take_if(|home| *home != spot);
    }

    pub(super) fn waits(&mut self, source: SourceId, start: u64, spot: Spot) {
        let waiting = self.spots.entry(spot).or_default();
        let first = waiting.starts.entry(source).or_insert(start);
        *first = start.min(*first);
        waiting.sources.insert(source);
        self.lies(source, spot);
    }

    /// All of its sources lie nowhere else.
    pub(super) fn is_separate(&self, spot: Spot) -> bool {
        let waiting = self.spots.get(&spot);
        waiting.is_some_and(|waiting| {
            let mut sources = waiting.sources.iter();
            sources.all(|source| self.homes.get(source) == Some(&Some(spot)))
        })
    }
}

/// What is not parked is set apart for so long before it is tried again, at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::testing::{batch, destination_at, destination_of};

    #[test]
    fn the_next_file_of_a_log_waits_behind_what_is_held_where_its_lines_go_to_the_same_partition() {
        for (partitioner, is_held) in [
            (Partitioner::File, true),
            (Partitioner::Host, true),
            (Partitioner::Fixed(3), true),
            (Partitioner::Key, false),
            (Partitioner::RoundRobin, false),
        ] {
            let mut quarantine = Quarantine::default();
            let log = destination_of("/app.log");
            let first = batch(&log, b"of the file that is set apart\n");
            assert!(
                quarantine
                    .hold_back(batch(&log, b"before\n"), partitioner)
                    .is_some()
            );
            quarantine.sources.insert(first.source);
            assert!(quarantine.hold_back(first, partitioner).is_none());
            let next = batch(&log, b"of the file after it\n");
            let is_given_back = quarantine.hold_back(next, partitioner).is_some();
            assert_eq!(is_given_back, !is_held, "{partitioner:?}");
            for other in [
                destination_of("/other.log"),
                destination_at("elsewhere", "/app.log"),
            ] {
                let other = batch(&other, b"not behind it\n");
                assert!(quarantine.hold_back(other, partitioner).is_some());
            }
            assert_eq!(quarantine.take_held().len(), 1 + usize::from(is_held));
            let later = batch(&log, b"later\n");
            assert!(quarantine.hold_back(later, partitioner).is_some());
        }
    }
}
