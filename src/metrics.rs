//! Counters of the whole process.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters that several threads add to. All in bytes of the log files.
#[derive(Debug, Default)]
pub struct Metrics {
    /// What was unread in files when they were opened.
    pub to_read_bytes: Counter,
    /// What Kafka has acknowledged.
    pub acked_bytes: Counter,
    /// What went away before it was read.
    pub lost_bytes: Counter,
}

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `count`.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// The sum so far.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
