//! Tailers whose section says something else now, or is gone.
//!
//! Whoever puts a change wakes the tailer, which takes it when all that it reads stands between two events: the rest of
//! a long line goes where its beginning went. What it holds open stays open, and so does its position, so nothing is
//! read twice and nothing is passed over. A tailer without a change does not notice that there are others.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::batch::Destination;
use crate::budget::Account;
use crate::config::LogConfig;
use crate::tailer_handle::TailerHandle;

/// What becomes of a tailer.
#[derive(Debug)]
pub enum Change {
    /// It goes on as this section says.
    Section {
        /// The section.
        log: Arc<LogConfig>,
        /// Where records go.
        destination: Arc<Destination>,
        /// Its part of the memory budget, if that is another one.
        account: Option<Arc<Account>>,
    },
    /// No section has its path any more: it reads what is there now, and ends.
    End,
}

/// The changes that tailers have not taken yet.
#[derive(Debug, Default)]
pub struct Changes {
    are_there: AtomicBool,
    /// By the id of the tailer's handle.
    by_tailer: Mutex<HashMap<u64, Change>>,
}

impl Changes {
    /// The tailer is to take `change`, in place of one that it has not taken yet.
    pub fn put(&self, tailer: &TailerHandle, change: Change) {
        self.lock().insert(tailer.id(), change);
        self.are_there.store(true, Ordering::Release);
        tailer.wake();
    }

    /// The tailer has ended.
    pub fn forget(&self, tailer: &TailerHandle) {
        self.take_if(tailer.id(), |_| true);
    }

    /// Whether there is a change for the tailer that `may` be taken.
    pub(super) fn is_for(&self, id: u64, may: impl Fn(&Change) -> bool) -> bool {
        self.are_there.load(Ordering::Acquire) && self.lock().get(&id).is_some_and(may)
    }

    pub(super) fn take_if(&self, id: u64, may: impl Fn(&Change) -> bool) -> Option<Change> {
        if !self.are_there.load(Ordering::Acquire) {
            return None;
        }
        let mut changes = self.lock();
        let change = changes
            .get(&id)
            .is_some_and(may)
            .then(|| changes.remove(&id));
        self.are_there.store(!changes.is_empty(), Ordering::Release);
        change.flatten()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Change>> {
        self.by_tailer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a tailer ends although its path is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    No,
    /// What is there is still to be seen.
    Asked,
    /// It reads what was there, and looks for nothing more.
    Reading,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tailer_handle::testing::handle;

    #[test]
    fn a_change_is_for_one_tailer_and_waits_until_it_may_be_taken() {
        let changes = Changes::default();
        let (one, other) = (handle(), handle());
        assert!(!changes.is_for(one.id(), |_| true));
        changes.put(&one, Change::End);
        assert!(one.is_rung() && !other.is_rung());
        assert!(changes.take_if(other.id(), |_| true).is_none());
        assert!(changes.take_if(one.id(), |_| false).is_none());
        assert!(changes.is_for(one.id(), |_| true));
        assert!(changes.take_if(one.id(), |_| true).is_some());
        assert!(!changes.are_there.load(Ordering::Relaxed));
        changes.put(&other, Change::End);
        changes.forget(&other);
        assert!(!changes.is_for(other.id(), |_| true));
    }
}
