//! Acknowledgements in any order become one prefix without gaps.

use std::collections::BTreeMap;

use crate::batch::{Span, Trace};

/// Follows the acknowledged prefix of one source.
#[derive(Debug)]
pub struct AckTracker {
    offset: u64,
    trace: Trace,
    /// Acknowledged spans that wait for an earlier one: start to end and trace.
    waiting: BTreeMap<u64, (u64, Trace)>,
}

impl AckTracker {
    /// A source whose bytes before `offset` are done.
    pub fn new(offset: u64, trace: Trace) -> Self {
        AckTracker {
            offset,
            trace,
            waiting: BTreeMap::new(),
        }
    }

    /// Takes one acknowledged span; returns whether the prefix grew.
    pub fn ack(&mut self, span: &Span) -> bool {
        if span.end <= self.offset {
            return false;
        }
        if span.start > self.offset {
            self.waiting.insert(span.start, (span.end, span.trace));
            return false;
        }
        (self.offset, self.trace) = (span.end, span.trace);
        while let Some(first) = self.waiting.first_entry() {
            if *first.key() > self.offset {
                break;
            }
            let (end, trace) = first.remove();
            if end > self.offset {
                (self.offset, self.trace) = (end, trace);
            }
        }
        true
    }

    /// Everything before this offset is acknowledged.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The bytes before [`AckTracker::offset`].
    pub fn trace(&self) -> Trace {
        self.trace
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::SourceId;

    fn span(source: SourceId, start: u64, end: u64) -> Span {
        Span {
            source,
            start,
            end,
            trace: Trace {
                len: 1,
                crc: end as u32,
            },
        }
    }

    #[test]
    fn a_later_span_waits_for_the_earlier_one() {
        let source = SourceId::next();
        let mut tracker = AckTracker::new(10, Trace::default());
        assert!(!tracker.ack(&span(source, 20, 30)));
        assert!(!tracker.ack(&span(source, 40, 50)));
        assert_eq!(tracker.offset(), 10);
        assert!(tracker.ack(&span(source, 10, 20)));
        assert_eq!((tracker.offset(), tracker.trace().crc), (30, 30));
        assert!(tracker.ack(&span(source, 30, 40)));
        assert_eq!((tracker.offset(), tracker.trace().crc), (50, 50));
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
            let mut tracker = AckTracker::new(0, Trace::default());
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
}
