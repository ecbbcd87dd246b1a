//! What there is to count about the records of a section.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of one section, shared by its files.
#[derive(Debug, Default)]
pub struct RecordCounters {
    /// Lines.
    pub lines: AtomicU64,
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
    /// The names of the rules that drop, and of those that mask.
    names: [Box<[Arc<str>]>; 2],
}

impl RecordCounters {
    /// Counters for the rules of these names.
    pub fn new(drops: &[Arc<str>], masks: &[Arc<str>]) -> Self {
        let zeros = |count| (0..count).map(|_| AtomicU64::new(0)).collect();
        RecordCounters {
            dropped: zeros(drops.len()),
            masked: zeros(masks.len()),
            names: [drops.into(), masks.into()],
            ..RecordCounters::default()
        }
    }

    /// Whether they are for the rules of these names.
    pub fn are_of(&self, drops: &[Arc<str>], masks: &[Arc<str>]) -> bool {
        *self.names[0] == *drops && *self.names[1] == *masks
    }

    /// Adds what each rule dropped. Of those that stand for keys that need not be set, only what was counted.
    pub fn add_dropped(&self, to: &mut BTreeMap<String, u64>) {
        add_all(&self.names[0], &self.dropped, to);
        add_all(
            &[RATE_LIMIT.into()],
            std::slice::from_ref(&self.rate_dropped),
            to,
        );
    }

    /// Adds what each rule masked.
    pub fn add_masked(&self, to: &mut BTreeMap<String, u64>) {
        add_all(&self.names[1], &self.masked, to);
    }
}

const RATE_LIMIT: &str = "rate_limit";

fn add_all(names: &[Arc<str>], counters: &[AtomicU64], to: &mut BTreeMap<String, u64>) {
    for (name, counter) in names.iter().zip(counters) {
        let count = counter.load(Ordering::Relaxed);
        if count > 0 || name.contains('.') {
            *to.entry(name.to_string()).or_default() += count;
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
