//! How a tailer is woken, whether it waits on its thread or has none at the moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};

use crossbeam_channel::{Receiver, Sender, bounded};

/// Wakes one tailer; many hold a clone. However often it is rung before the tailer looks, that is one look.
#[derive(Debug, Clone)]
pub struct Waker(Arc<Bell>);

#[derive(Debug)]
struct Bell {
    rung: Sender<()>,
    number: u64,
    is_parked: AtomicBool,
    parked_woken: Sender<u64>,
}

impl Waker {
    /// A waker and the place where its tailer waits. While the tailer is parked, its number is sent to
    /// `parked_woken` as well.
    pub fn new(parked_woken: Sender<u64>) -> (Waker, Receiver<()>) {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let (rung, woken) = bounded(1);
        let bell = Bell {
            rung,
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            is_parked: AtomicBool::new(false),
            parked_woken,
        };
        (Waker(Arc::new(bell)), woken)
    }

    /// Has the tailer look.
    ///
    /// A tailer may be parked at this very moment. Whoever parks sets the mark and then sees whether the
    /// bell was rung; here the bell is rung and then the mark is looked at. So one of both notices.
    pub fn wake(&self) {
        // A full channel means that it is about to look anyway.
        let _ = self.0.rung.try_send(());
        fence(Ordering::SeqCst);
        if self.0.is_parked.load(Ordering::Relaxed) {
            let _ = self.0.parked_woken.send(self.0.number);
        }
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
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// A waker of a tailer that is never parked.
    pub(crate) fn waker() -> (Waker, Receiver<()>) {
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
        let (waker, woken) = Waker::new(called);
        waker.wake();
        waker.wake();
        assert_eq!((woken.len(), calls.len()), (1, 0));
        waker.park();
        waker.wake();
        assert_eq!(calls.try_recv(), Ok(waker.number()));
        waker.unpark();
        waker.wake();
        assert!(calls.try_recv().is_err());
    }
}
