//! Which partition of a topic a batch goes to.
//!
//! By `file`, by `host` and by `key` the records of one log go to one partition, in order. When the number of partitions
//! changes, a log moves on its own, with all of its rotated files: what comes of it waits until everything that was queued
//! at its old partition is acknowledged, which takes about one round trip, and then goes to the new one.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use crate::batch::{Batch, Destination, SourceId};
use crate::config::Partitioner;
use crate::partitioner;

use super::partition::Partition;

/// The partitions of a topic that have or had something to do, by their index.
pub(crate) type Partitions = BTreeMap<usize, Partition>;

/// Where a batch goes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Place {
    At(usize),
    /// Cannot be said yet, or must wait for what is at another partition.
    Later,
}

#[derive(Debug)]
pub(crate) struct Placement {
    partitioner: Partitioner,
    /// Bound of one record batch.
    batch_bytes: usize,
    /// How many partitions are chosen from; 0 while unknown.
    count: i32,
    /// Logs that go elsewhere by the new number of partitions, by their paths, and where their older batches are.
    settling: HashMap<Arc<Path>, usize>,
    /// Going round: where batches go until a record batch was cut there.
    current: i32,
    /// Going round: sources in the middle of a long line, and where its pieces go.
    long_lines: HashMap<SourceId, i32>,
}

impl Placement {
    pub(crate) fn new(partitioner: Partitioner, batch_bytes: usize) -> Self {
        Placement {
            partitioner,
            batch_bytes,
            count: 0,
            settling: HashMap::new(),
            current: 0,
            long_lines: HashMap::new(),
        }
    }

    /// Chooses by another rule, once the number of partitions is known again.
    pub(crate) fn begin_anew(&mut self, partitioner: Partitioner, batch_bytes: usize) {
        (self.partitioner, self.batch_bytes) = (partitioner, batch_bytes);
        self.count = 0;
        self.settling.clear();
    }

    /// How many partitions are chosen from.
    pub(crate) fn count(&self) -> i32 {
        self.count
    }

    /// Whether some logs wait for their older batches.
    pub(crate) fn is_settling(&self) -> bool {
        !self.settling.is_empty()
    }

    /// The partition that the ini asks for and the topic does not have.
    pub(crate) fn missing(&self) -> Option<i32> {
        match self.partitioner {
            Partitioner::Fixed(index) if index >= self.count => Some(index),
            _ => None,
        }
    }

    /// The partition that holds all records of a source with this key, if there is one.
    fn home(&self, destination: &Destination, key: Option<&[u8]>) -> Option<i32> {
        match self.partitioner {
            Partitioner::File => Some(partitioner::of_key(&destination.file_key(), self.count)),
            Partitioner::Host => {
                let host = destination.route.host.as_bytes();
                Some(partitioner::of_key(host, self.count))
            }
            Partitioner::Key => Some(partitioner::of_key(key?, self.count)),
            Partitioner::RoundRobin | Partitioner::Fixed(_) => None,
        }
    }

    /// Chooses among `count` partitions from now on.
    pub(crate) fn resize(&mut self, count: i32, partitions: &Partitions) {
        self.count = count;
        self.long_lines.retain(|_, partition| *partition < count);
        self.settling.clear();
        for (index, partition) in partitions {
            for (_, destination) in partition.sources() {
                let home = self.home(destination, destination.route.key.as_deref());
                if home.is_some_and(|home| usize::try_from(home) != Ok(*index)) {
                    self.settling.insert(destination.path.clone(), *index);
                }
            }
        }
    }

    /// What was at the partition `from` is at `to` now.
    pub(crate) fn moved(&mut self, from: usize, to: usize) {
        for partition in self.settling.values_mut() {
            if *partition == from {
                *partition = to;
            }
        }
    }

    /// Where `batch` goes. `has_leader` tells which partitions can be written.
    pub(crate) fn choose(
        &mut self,
        batch: &Batch,
        partitions: &Partitions,
        has_leader: impl Fn(i32) -> bool,
    ) -> Place {
        if self.count == 0 {
            return Place::Later;
        }
        let log = &batch.destination.path;
        if let Some(old) = self.settling.get(log) {
            let old = partitions.get(old);
            if old.is_some_and(|old| old.holds(log)) {
                return Place::Later;
            }
            self.settling.remove(log);
        }
        let chosen = match (
            self.partitioner,
            self.home(&batch.destination, batch.key_at(0)),
        ) {
            (_, Some(home)) => home,
            (Partitioner::Fixed(index), _) => index,
            _ => self.going_round(batch, partitions, has_leader),
        };
        match usize::try_from(chosen) {
            Ok(index) if chosen < self.count => Place::At(index),
            _ => Place::Later,
        }
    }

    fn going_round(
        &mut self,
        batch: &Batch,
        partitions: &Partitions,
        has_leader: impl Fn(i32) -> bool,
    ) -> i32 {
        let bound = self.long_lines.get(&batch.source).copied();
        let chosen = match bound {
            Some(bound) => bound,
            None => {
                let current = usize::try_from(self.current).unwrap_or(0);
                let queued = partitions.get(&current).map_or(0, Partition::queued_bytes);
                let is_filling = queued > 0 && queued < self.batch_bytes;
                if !is_filling || !has_leader(self.current) || self.current >= self.count {
                    self.advance(has_leader);
                }
                self.current
            }
        };
        match batch.goes_on() {
            Some(true) => {
                self.long_lines.insert(batch.source, chosen);
            }
            Some(false) => {
                self.long_lines.remove(&batch.source);
            }
            None => {}
        }
        chosen
    }

    /// Moves on to the next partition that has a leader.
    fn advance(&mut self, has_leader: impl Fn(i32) -> bool) {
        for _ in 0..self.count {
            self.current = (self.current + 1) % self.count;
            if has_leader(self.current) {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{Framing, Piece};
    use crate::kafka::testing::{batch, destination_of};
    use std::time::Instant;

    #[test]
    fn a_log_stays_until_its_older_batches_are_acknowledged_and_then_moves() {
        let mut placement = Placement::new(Partitioner::File, 1000);
        let mut partitions = Partitions::new();
        let mut random = fastrand::Rng::with_seed(1);
        placement.resize(1, &partitions);
        let one = batch(&destination_of("/moves"), b"line\n");
        let mut next = batch(&one.destination, b"line\n");
        next.source = one.source;
        assert_eq!(placement.choose(&one, &partitions, |_| true), Place::At(0));
        let mut partition = Partition::new(&mut random);
        partition.push(one, Instant::now());
        partitions.insert(0, partition);
        // By murmur2 it is one of those that go elsewhere.
        placement.resize(6, &partitions);
        assert!(placement.is_settling());
        assert_eq!(placement.choose(&next, &partitions, |_| true), Place::Later);
        // The log was rotated.
        let new_file = batch(&next.destination, b"line\n");
        let place = placement.choose(&new_file, &partitions, |_| true);
        assert_eq!(place, Place::Later);
        partitions.insert(0, Partition::new(&mut random));
        let new_home = placement.choose(&next, &partitions, |_| true);
        assert!(matches!(new_home, Place::At(1..=5)), "{new_home:?}");
        assert_eq!(placement.choose(&new_file, &partitions, |_| true), new_home);
        assert!(!placement.is_settling());
    }

    #[test]
    fn all_files_of_a_host_go_to_one_partition_and_hosts_to_many() {
        let mut placement = Placement::new(Partitioner::Host, 1000);
        let partitions = Partitions::new();
        placement.resize(50, &partitions);
        let place = |placement: &mut Placement, host: &str, path: &str| {
            let mut to = Arc::into_inner(destination_of(path)).expect("it is new");
            let mut route = Arc::into_inner(to.route).expect("it is new");
            route.host = host.to_owned();
            to.route = Arc::new(route);
            let one = batch(&Arc::new(to), b"line\n");
            placement.choose(&one, &partitions, |_| true)
        };
        let mut homes = Vec::new();
        for n in 0..20 {
            let host = format!("host-{n}");
            let home = place(&mut placement, &host, "/a");
            let expected = partitioner::of_key(host.as_bytes(), 50) as usize;
            assert_eq!(home, Place::At(expected));
            assert_eq!(place(&mut placement, &host, "/b"), home);
            homes.push(expected);
        }
        homes.sort_unstable();
        homes.dedup();
        assert!(homes.len() > 10, "{homes:?}");
    }

    #[test]
    fn going_round_leaves_out_partitions_without_a_leader_and_keeps_a_long_line_together() {
        let mut placement = Placement::new(Partitioner::RoundRobin, 1000);
        let partitions = Partitions::new();
        placement.resize(3, &partitions);
        let to = destination_of("/long");
        let mut places = Vec::new();
        for _ in 0..4 {
            let one = batch(&to, b"line\n");
            places.push(placement.choose(&one, &partitions, |index| index != 1));
        }
        assert_eq!(
            places,
            [Place::At(2), Place::At(0), Place::At(2), Place::At(0)]
        );
        let mut piece = batch(&to, b"piece");
        let mut next = || {
            for last in [false, true] {
                piece.framing = Framing::Part(Piece { index: 1, last });
                places.push(placement.choose(&piece, &partitions, |_| true));
            }
        };
        next();
        assert_eq!(places[4], places[5]);
    }
}
