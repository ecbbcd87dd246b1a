//! Counters of the whole process.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::config::LogConfig;
use crate::record::RecordConfig;
use crate::record::counters::RecordCounters;

/// Counters that several threads add to. All in bytes of the log files.
#[derive(Debug, Default)]
pub struct Metrics {
    /// What was unread in files when they were opened.
    pub to_read_bytes: Counter,
    /// What Kafka has acknowledged.
    pub acked_bytes: Counter,
    /// What went away before it was read.
    pub lost_bytes: Counter,
    /// Whether a file has grown since the checkpoints, which tell its size, were written.
    pub has_grown: Flag,
    /// What there is to count about the records of each section.
    sections: Mutex<Vec<(String, Arc<RecordCounters>)>>,
}

impl Metrics {
    /// Counters for these sections.
    pub fn new(logs: &[Arc<LogConfig>]) -> Self {
        let sections = logs.iter().map(|log| (log.name.clone(), counters_of(log)));
        Metrics {
            sections: Mutex::new(sections.collect()),
            ..Metrics::default()
        }
    }

    /// There is something else to count about this section: other rules. A tailer that has not gone over to them yet
    /// counts what it counted.
    pub fn change(&self, log: &LogConfig) {
        let mut sections = self.sections.lock().unwrap_or_else(PoisonError::into_inner);
        sections.retain(|(name, _)| *name != log.name);
        sections.push((log.name.clone(), counters_of(log)));
    }

    /// Those of a section.
    pub fn records(&self, section: &str) -> Arc<RecordCounters> {
        let sections = self.sections.lock().unwrap_or_else(PoisonError::into_inner);
        let found = sections.iter().find(|(name, _)| name == section);
        found
            .map(|(_, counters)| counters.clone())
            .unwrap_or_default()
    }
}

fn counters_of(log: &LogConfig) -> Arc<RecordCounters> {
    let record = log.record.as_deref();
    Arc::new(record.map_or_else(RecordCounters::default, RecordConfig::counters))
}

/// Set by many, taken by one.
#[derive(Debug, Default)]
pub struct Flag(AtomicBool);

impl Flag {
    /// Sets it.
    pub fn set(&self) {
        // Most find it set, and a mere look does not take it from the other processors.
        if !self.0.load(Ordering::Relaxed) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    /// Whether it was set since the last time.
    pub fn take(&self) -> bool {
        self.0.load(Ordering::Relaxed) && self.0.swap(false, Ordering::Relaxed)
    }
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
