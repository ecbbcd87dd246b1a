//! Acknowledgements in any order become one prefix without gaps; what of it has to be written.

use std::collections::{BTreeMap, HashMap};

use crate::batch::{SourceId, Span, TailChecksum};
use crate::progress::Checkpoint;

use super::store::Entry;

/// Follows the acknowledged prefix of one source.
#[derive(Debug, Clone)]
pub struct AckTracker {
    offset: u64,
    tail_checksum: TailChecksum,
    /// Acknowledged spans that wait for an earlier one: start to end and tail checksum.
    waiting: BTreeMap<u64, (u64, TailChecksum)>,
}

impl AckTracker {
    /// A source whose bytes before `offset` are done.
    pub fn new(offset: u64, tail_checksum: TailChecksum) -> Self {
        AckTracker {
            offset,
            tail_checksum,
            waiting: BTreeMap::new(),
        }
    }

    /// Takes one acknowledged span; returns whether the prefix grew.
    pub fn ack(&mut self, span: &Span) -> bool {
        if span.end <= self.offset {
            return false;
        }
        if span.start > self.offset {
            // Of two that begin there the longer one counts: an event may have no bytes of its own.
            let waiting = self
                .waiting
                .entry(span.start)
                .or_insert((span.end, span.tail_checksum));
            if span.end > waiting.0 {
                *waiting = (span.end, span.tail_checksum);
            }
            return false;
        }
        (self.offset, self.tail_checksum) = (span.end, span.tail_checksum);
        while let Some(first) = self.waiting.first_entry() {
            if *first.key() > self.offset {
                break;
            }
            let (end, tail_checksum) = first.remove();
            if end > self.offset {
                (self.offset, self.tail_checksum) = (end, tail_checksum);
            }
        }
        true
    }

    /// Everything before this offset is acknowledged.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The bytes before [`AckTracker::offset`].
    pub fn tail_checksum(&self) -> TailChecksum {
        self.tail_checksum
    }
}

/// What has to be written.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Open sources, in the order in which they changed, each once.
    pub(super) open: Vec<SourceId>,
    /// Sources that nobody reads at present, by serial number.
    pub(super) rest: Vec<u64>,
    /// The serial numbers that a new one takes the place of. Both are written in one line: a crash leaves
    /// one of them.
    replaced: HashMap<u64, Vec<u64>>,
    /// Written last, so that what is new is never missing beside what has gone.
    pub(super) gone: Vec<u64>,
}

impl Changes {
    pub(super) fn clear(&mut self) {
        self.open.clear();
        self.rest.clear();
        self.replaced.clear();
        self.gone.clear();
    }

    /// `serial` is not known any more, nor is what it took the place of.
    pub(super) fn forget(&mut self, serial: u64) {
        self.gone
            .extend(self.replaced.remove(&serial).into_iter().flatten());
        self.gone.push(serial);
    }

    /// `serial` takes the place of others, and of what they took the place of.
    pub(super) fn replace(&mut self, serial: u64, mut others: Vec<u64>) {
        for at in 0..others.len() {
            others.extend(self.replaced.remove(&others[at]).into_iter().flatten());
        }
        if !others.is_empty() {
            self.replaced.insert(serial, others);
        }
    }

    pub(super) fn of_source<'a>(&'a self, checkpoint: &'a Checkpoint) -> Entry<'a> {
        let replaces = self.replaced.get(&checkpoint.serial);
        Entry::Source {
            checkpoint,
            replaces: replaces.map_or(&[], Vec::as_slice),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::batch::SourceId;

    use super::*;

    fn span(source: SourceId, start: u64, end: u64) -> Span {
        Span {
            source,
            start,
            end,
            tail_checksum: TailChecksum {
                len: 1,
                crc: end as u32,
            },
        }
    }

    #[test]
    fn a_later_span_waits_for_the_earlier_one() {
        let source = SourceId::next();
        let mut tracker = AckTracker::new(10, TailChecksum::default());
        assert!(!tracker.ack(&span(source, 20, 30)));
        assert!(!tracker.ack(&span(source, 40, 50)));
        assert_eq!(tracker.offset(), 10);
        assert!(tracker.ack(&span(source, 10, 20)));
        assert_eq!((tracker.offset(), tracker.tail_checksum().crc), (30, 30));
        assert!(tracker.ack(&span(source, 30, 40)));
        assert_eq!((tracker.offset(), tracker.tail_checksum().crc), (50, 50));
    }

    #[test]
    fn any_order_of_acknowledgements_gives_the_same_prefix() {
        let source = SourceId::next();
        for seed in 0..200 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut bounds: Vec<u64> = (0..40)
                .map(|_| random.u64(1..1000))
                .chain([0, 1000])
                .collect();
            bounds.sort_unstable();
            bounds.dedup();
            let mut spans: Vec<Span> = bounds
                .windows(2)
                .map(|w| span(source, w[0], w[1]))
                .collect();
            random.shuffle(&mut spans);
            let mut tracker = AckTracker::new(0, TailChecksum::default());
            let mut acked = vec![false; 1000];
            for one in &spans {
                tracker.ack(one);
                acked[one.start as usize..one.end as usize].fill(true);
                let prefix = acked.iter().position(|done| !done).unwrap_or(1000);
                assert_eq!(tracker.offset(), prefix as u64, "seed {seed}");
            }
            assert!(tracker.waiting.is_empty());
        }
    }

    #[test]
    fn what_was_never_written_leaves_what_it_took_the_place_of_to_be_removed() {
        let mut changes = Changes::default();
        changes.replace(5, vec![1, 2]);
        changes.replace(6, vec![5, 3]);
        assert_eq!(changes.replaced[&6], [5, 3, 1, 2]);
        changes.forget(6);
        assert_eq!(changes.gone, [5, 3, 1, 2, 6]);
        assert!(changes.replaced.is_empty());
    }
}
