//! What there is to count about the records of a section.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of one section, shared by its files.
#[derive(Debug, Default)]
pub struct RecordCounters {
    /// Events, after assembly and before filters.
    pub events: AtomicU64,
    /// Dropped by each rule of the filter, in its order.
    pub dropped: Box<[AtomicU64]>,
    /// Dropped by `rate_limit`.
    pub rate_dropped: AtomicU64,
    /// Hidden by each rule of the masks, in its order.
    pub masked: Box<[AtomicU64]>,
    /// Lines that no container runtime wrote.
    pub foreign_lines: AtomicU64,
    /// Parts that were no characters.
    pub bad_characters: AtomicU64,
    /// Events that were no JSON object where one was expected.
    pub bad_json: AtomicU64,
    /// Events that the regex of `parse` does not match.
    pub unmatched: AtomicU64,
    /// Events without the time that was expected.
    pub untimed: AtomicU64,
    /// Events in pieces.
    pub split: AtomicU64,
}

impl RecordCounters {
    /// Counters for so many rules.
    pub fn new(drops: usize, masks: usize) -> Self {
        let zeros = |count| (0..count).map(|_| AtomicU64::new(0)).collect();
        RecordCounters {
            dropped: zeros(drops),
            masked: zeros(masks),
            ..RecordCounters::default()
        }
    }
}

/// Adds one to a counter; returns whether it is the first.
pub(super) fn is_first(counter: &AtomicU64) -> bool {
    counter.fetch_add(1, Ordering::Relaxed) == 0
}

/// Adds to a counter that others add to as well.
pub(super) fn add(counter: &AtomicU64, count: u64) {
    if count > 0 {
        counter.fetch_add(count, Ordering::Relaxed);
    }
}
