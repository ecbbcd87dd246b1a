//! How much disk is held by files that are deleted and not read to their end.
//!
//! A deleted file lives as long as it is open here. That saves its lines in an outage, and fills the
//! disk in a long one, so there is a bound; the oldest file goes first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use crate::wake::Waker;

/// The deleted files that are held open.
#[derive(Debug)]
pub struct DeletedFiles {
    limit_bytes: u64,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    /// By serial number, so the oldest first: size, and how to wake its tailer.
    files: BTreeMap<u64, (u64, Waker)>,
    /// The sum of their sizes.
    total_bytes: u64,
    /// Those that must be let go.
    doomed: BTreeSet<u64>,
}

impl DeletedFiles {
    /// At most `limit_bytes` are held.
    pub fn new(limit_bytes: u64) -> Self {
        DeletedFiles {
            limit_bytes,
            held: Mutex::default(),
        }
    }

    /// The deleted file `serial` of this size is held open; returns whether it must be let go. Another
    /// one that must is woken.
    pub(super) fn hold(&self, serial: u64, size: u64, wake: &Waker) -> bool {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.doomed.contains(&serial) {
            return true;
        }
        let before = held.files.insert(serial, (size, wake.clone()));
        held.total_bytes -= before.map_or(0, |(size, _)| size);
        held.total_bytes += size;
        while held.total_bytes > self.limit_bytes
            && let Some((oldest, (size, wake))) = held.files.pop_first()
        {
            held.total_bytes -= size;
            held.doomed.insert(oldest);
            wake.wake();
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
    use crate::wake::testing::waker;

    #[test]
    fn the_oldest_goes_first_and_only_as_many_as_must() {
        let deleted = DeletedFiles::new(100);
        let wake = waker();
        let other = waker();
        assert!(!deleted.hold(1, 60, &wake));
        assert!(!deleted.hold(2, 30, &other));
        assert!(!deleted.hold(3, 40, &other), "the oldest goes instead");
        assert!(wake.take());
        assert!(deleted.hold(1, 60, &wake));
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
        let wake = waker();
        for size in [10, 50, 90] {
            assert!(!deleted.hold(1, size, &wake));
        }
        assert!(!deleted.hold(2, 10, &wake));
        deleted.release(1);
        deleted.release(1);
        deleted.release(2);
        let held = deleted.held.lock().expect("not poisoned");
        assert_eq!(held.total_bytes, 0);
        assert!(held.files.is_empty() && held.doomed.is_empty());
    }
}
