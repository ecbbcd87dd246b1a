//! What counters are made of.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Counters by name, of a bounded number of names.
#[derive(Debug)]
pub(super) struct Bounded<T>(Mutex<BTreeMap<String, Arc<T>>>);

impl<T> Default for Bounded<T> {
    fn default() -> Self {
        Bounded(Mutex::default())
    }
}

impl<T: Default> Bounded<T> {
    pub(super) fn named(&self, name: &str) -> Arc<T> {
        let mut known = lock(&self.0);
        if let Some(counters) = known.get(name) {
            return counters.clone();
        }
        let name = match known.len() < MOST_NAMES {
            true => name,
            false => OTHERS,
        };
        known.entry(name.to_owned()).or_default().clone()
    }

    pub(super) fn map<R>(&self, f: impl Fn(&str, &T) -> R) -> Vec<R> {
        let known = lock(&self.0);
        known.iter().map(|(name, one)| f(name, one)).collect()
    }
}

/// How often what happened, of few things.
#[derive(Debug, Default)]
pub struct Tally(Mutex<BTreeMap<&'static str, u64>>);

impl Tally {
    /// It happened `count` times more.
    pub fn add(&self, what: &'static str, count: u64) {
        *lock(&self.0).entry(what).or_default() += count;
    }

    pub(super) fn all(&self) -> Vec<(String, u64)> {
        let all = lock(&self.0);
        all.iter()
            .map(|(what, count)| ((*what).to_owned(), *count))
            .collect()
    }
}

pub(super) fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
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

/// A number that goes up and down: each adds and takes what is its own.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Adds `count`.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// Takes what was added.
    pub fn take(&self, count: u64) {
        self.0.fetch_sub(count, Ordering::Relaxed);
    }

    /// What it is now.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// So many topics, and so many brokers, have counters of their own.
pub const MOST_NAMES: usize = 200;
const OTHERS: &str = "other";
