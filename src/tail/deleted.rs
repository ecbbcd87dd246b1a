//! How much disk is held by files that are deleted and not read to their end.
//!
//! A deleted file lives as long as it is open here. That saves its lines in an outage, and fills the
//! disk in a long one, so there is a bound; the oldest file goes first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::tailer_handle::TailerHandle;

/// The deleted files that are held open.
#[derive(Debug)]
pub struct DeletedFiles {
    limit_bytes: AtomicU64,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    /// By serial number, so the oldest first: size, and how to wake its tailer.
    files: BTreeMap<u64, (u64, TailerHandle)>,
    /// The sum of their sizes.
    total_bytes: u64,
    /// Those that must be let go.
    doomed: BTreeSet<u64>,
}

impl DeletedFiles {
    /// At most `limit_bytes` are held.
    pub fn new(limit_bytes: u64) -> Self {
        DeletedFiles {
            limit_bytes: AtomicU64::new(limit_bytes),
            held: Mutex::default(),
        }
    }

    /// At most so many are held from the next look on.
    pub fn limit(&self, limit_bytes: u64) {
        self.limit_bytes.store(limit_bytes, Ordering::Relaxed);
    }

    /// The deleted file `serial` of this size is held open; returns whether it must be let go. Another
    /// one that must is woken.
    pub(super) fn hold(&self, serial: u64, size: u64, tailer: &TailerHandle) -> bool {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.doomed.contains(&serial) {
            return true;
        }
        let before = held.files.insert(serial, (size, tailer.clone()));
        held.total_bytes -= before.map_or(0, |(size, _)| size);
        held.total_bytes += size;
        while held.total_bytes > self.limit_bytes.load(Ordering::Relaxed)
            && let Some((oldest, (size, tailer))) = held.files.pop_first()
        {
            held.total_bytes -= size;
            held.doomed.insert(oldest);
            tailer.wake();
        }
        held.doomed.contains(&serial)
    }

    /// The file `serial` is not held any more.
    pub(super) fn release(&self, serial: u64) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let released = held.files.remove(&serial);
        held.total_bytes -= released.map_or(0, |(size, _)| size);
        held.doomed.remove(&serial);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tailer_handle::testing::handle;

    #[test]
    fn the_oldest_goes_first_and_only_as_many_as_must() {
        let deleted = DeletedFiles::new(100);
        let tailer = handle();
        let other = handle();
        assert!(!deleted.hold(1, 60, &tailer));
        assert!(!deleted.hold(2, 30, &other));
        assert!(!deleted.hold(3, 40, &other), "the oldest goes instead");
        assert!(tailer.clear());
        assert!(deleted.hold(1, 60, &tailer));
        deleted.release(1);
        assert!(!deleted.hold(2, 30, &other));
        assert!(
            deleted.hold(4, 101, &other),
            "larger than all that is allowed"
        );
    }

    #[test]
    fn a_file_that_grows_counts_once_and_nothing_stays_of_one_that_is_released() {
        let deleted = DeletedFiles::new(100);
        let tailer = handle();
        for size in [10, 50, 90] {
            assert!(!deleted.hold(1, size, &tailer));
        }
        assert!(!deleted.hold(2, 10, &tailer));
        deleted.release(1);
        deleted.release(1);
        deleted.release(2);
        let held = deleted.held.lock().expect("not poisoned");
        assert_eq!(held.total_bytes, 0);
        assert!(held.files.is_empty() && held.doomed.is_empty());
    }
}
