//! How a tailer is woken, whether it waits on its thread or has none at the moment.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam_channel::Sender;

/// Wakes one tailer; many hold a clone. However often it is rung before the tailer looks, that is one look.
#[derive(Debug, Clone)]
pub struct Waker(Arc<Bell>);

/// A channel of length 1 would do as well, but takes 700 bytes, and there are as many as files.
#[derive(Debug)]
struct Bell {
    is_rung: Mutex<bool>,
    rung: Condvar,
    number: u64,
    is_parked: AtomicBool,
    parked_woken: Sender<u64>,
}

impl Waker {
    /// A waker for one tailer, which waits for it. While the tailer is parked, its number is sent to
    /// `parked_woken` as well.
    pub fn new(parked_woken: Sender<u64>) -> Waker {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Waker(Arc::new(Bell {
            is_rung: Mutex::new(false),
            rung: Condvar::new(),
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            is_parked: AtomicBool::new(false),
            parked_woken,
        }))
    }

    /// Has the tailer look.
    ///
    /// A tailer may be parked at this very moment. Whoever parks sets the mark and then sees whether the
    /// bell was rung; here the bell is rung and then the mark is looked at. So one of both notices.
    pub fn wake(&self) {
        if !std::mem::replace(&mut *self.lock(), true) {
            self.0.rung.notify_one();
        }
        fence(Ordering::SeqCst);
        if self.0.is_parked.load(Ordering::Relaxed) {
            let _ = self.0.parked_woken.send(self.0.number);
        }
    }

    /// Waits until the tailer is woken, for `patience` at most; returns whether it was.
    pub(crate) fn wait(&self, patience: Duration) -> bool {
        let woken = self
            .0
            .rung
            .wait_timeout_while(self.lock(), patience, |is_rung| !*is_rung);
        let (mut is_rung, _) = woken.unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *is_rung)
    }

    /// Whether the tailer was woken since it was last asked.
    pub(crate) fn take(&self) -> bool {
        std::mem::take(&mut *self.lock())
    }

    /// Whether the tailer was woken and does not know it yet.
    pub(crate) fn is_rung(&self) -> bool {
        *self.lock()
    }

    /// Tells tailers apart.
    pub fn number(&self) -> u64 {
        self.0.number
    }

    /// The tailer has no thread from now on.
    pub(crate) fn park(&self) {
        self.0.is_parked.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// The tailer has a thread again.
    pub(crate) fn unpark(&self) {
        self.0.is_parked.store(false, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.0
            .is_rung
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// A waker of a tailer that is never parked.
    pub(crate) fn waker() -> Waker {
        Waker::new(crossbeam_channel::unbounded().0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_channel::unbounded;

    #[test]
    fn only_a_parked_tailer_is_called_by_its_number() {
        let (called, calls) = unbounded();
        let waker = Waker::new(called);
        waker.wake();
        waker.wake();
        assert!(waker.wait(Duration::ZERO), "it was woken before it waited");
        assert!(!waker.wait(Duration::ZERO), "twice is once");
        assert_eq!(calls.len(), 0);
        waker.park();
        waker.wake();
        assert_eq!(calls.try_recv(), Ok(waker.number()));
        waker.unpark();
        waker.wake();
        assert!(waker.is_rung() && calls.try_recv().is_err());
    }

    #[test]
    fn who_waits_is_woken() {
        let waker = testing::waker();
        let other = waker.clone();
        let waiting = std::thread::spawn(move || other.wait(Duration::from_secs(10)));
        waker.wake();
        assert!(waiting.join().expect("does not panic"));
    }
}
