//! Who may hold files open, when descriptors are fewer than files.
//!
//! A tailer needs a turn to hold its files open. Where turns run out, tailers that have read everything
//! close their file and give their turn back; the others wait in line.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::wake::Waker;

/// The turns of the process.
#[derive(Debug)]
pub struct Turns {
    inner: Mutex<Inner>,
    /// Held by who opens a file for a moment without a turn.
    moment: Mutex<()>,
}

#[derive(Debug)]
struct Inner {
    free: usize,
    waiting: VecDeque<Waker>,
    /// The numbers of those who wait: who asks again stands in line once all the same.
    numbers: HashSet<u64>,
    warned: bool,
}

impl Turns {
    /// As many turns as `descriptors` allow. A rotation doubles what a file needs for a while, and the
    /// search for a rotated file needs two more; some descriptors are for sockets, folders and the
    /// checkpoints.
    pub fn new(descriptors: u64) -> Arc<Self> {
        let free = usize::try_from(descriptors.saturating_sub(RESERVE) / 4)
            .unwrap_or(usize::MAX)
            .max(1);
        let inner = Inner {
            free,
            waiting: VecDeque::new(),
            numbers: HashSet::new(),
            warned: false,
        };
        Arc::new(Turns {
            inner: Mutex::new(inner),
            moment: Mutex::default(),
        })
    }

    /// Takes a turn; without one, `wake` is tried when one may be had.
    pub(super) fn take(self: &Arc<Self>, wake: &Waker) -> Option<Turn> {
        let mut inner = self.lock();
        if inner.free > 0 {
            inner.free -= 1;
            return Some(Turn(self.clone()));
        }
        if inner.numbers.insert(wake.number()) {
            inner.waiting.push_back(wake.clone());
        }
        inner.warn_once();
        None
    }

    /// The system had no descriptor left, whatever the turns say.
    pub(super) fn are_too_many(&self) {
        self.lock().warn_once();
    }

    /// The right to open a file for a moment without a turn: one tailer at a time.
    pub(super) fn moment(&self) -> MutexGuard<'_, ()> {
        self.moment.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether turns have ever run out.
    pub(super) fn are_scarce(&self) -> bool {
        self.lock().warned
    }

    /// Whether somebody waits.
    pub(super) fn are_wanted(&self) -> bool {
        self.wanted() > 0
    }

    /// How many wait.
    pub(super) fn wanted(&self) -> usize {
        self.lock().waiting.len()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn warn_once(&mut self) {
        if !std::mem::replace(&mut self.warned, true) {
            log::warn!(
                "more files to follow than may be open (ulimit -n): they take turns; a higher LimitNOFILE, minfds \
                 or ulimit -n spares that"
            );
        }
    }
}

/// The right to hold files open; dropping it passes it on.
#[derive(Debug)]
pub(super) struct Turn(Arc<Turns>);

impl Drop for Turn {
    fn drop(&mut self) {
        let mut inner = self.0.lock();
        inner.free += 1;
        if let Some(wake) = inner.waiting.pop_front() {
            inner.numbers.remove(&wake.number());
            wake.wake();
        }
    }
}

/// Descriptors that are not for followed files.
const RESERVE: u64 = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wake::testing::waker;

    #[test]
    fn who_waits_is_woken_in_line() {
        let turns = Turns::new(RESERVE + 8);
        let one = waker();
        let two = waker();
        let first = turns.take(&one).expect("is free");
        let _second = turns.take(&one).expect("is free");
        assert!(turns.take(&one).is_none() && turns.take(&two).is_none());
        assert!(turns.are_wanted());
        drop(first);
        assert!(one.take() && !two.take());
        assert!(turns.take(&one).is_some());
    }
}
