//! How a tailer is woken, whether it waits on its thread or has none at the moment; who waits for
//! something of which there is too little; and whether a tailer with a thread still moves.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

/// The handle by which others wake one tailer; many hold a clone. However often its bell is rung before the tailer
/// looks, that is one look.
#[derive(Debug, Clone)]
pub struct TailerHandle(Arc<Bell>);

/// What all clones of a handle share. A channel of length 1 would do as well, but takes 700 bytes, and there are
/// as many as files.
#[derive(Debug)]
struct Bell {
    ring: Mutex<Ring>,
    rung: Condvar,
    id: u64,
    is_parked: AtomicBool,
    /// When the tailer last said that it moves, in ms of [`clock_ms`]; 0 while it waits for others.
    moved_ms: AtomicU64,
    /// Nothing lies at the path of the tailer, and all that lay there is read.
    has_nothing: AtomicBool,
    parked_woken: Sender<u64>,
}

#[derive(Debug, Default)]
struct Ring {
    is_rung: bool,
    /// The tailer waits on its thread. To wake nobody is a system call as well.
    is_awaited: bool,
}

impl TailerHandle {
    /// A handle for one tailer, which waits for it. While the tailer is parked, its id is sent to
    /// `parked_woken` as well.
    pub fn new(parked_woken: Sender<u64>) -> TailerHandle {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        TailerHandle(Arc::new(Bell {
            ring: Mutex::default(),
            rung: Condvar::new(),
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            is_parked: AtomicBool::new(false),
            moved_ms: AtomicU64::new(0),
            has_nothing: AtomicBool::new(false),
            parked_woken,
        }))
    }

    /// Has the tailer look.
    ///
    /// A tailer may be parked at this very moment. The scheduler sets `is_parked` and then sees whether the bell
    /// was rung; here the bell is rung and then `is_parked` is read. So one of both notices.
    pub fn wake(&self) {
        let mut ring = self.lock();
        if std::mem::replace(&mut ring.is_rung, true) {
            // Whoever rang it first sees to the rest.
            return;
        }
        let is_awaited = ring.is_awaited;
        drop(ring);
        if is_awaited {
            self.0.rung.notify_one();
        }
        fence(Ordering::SeqCst);
        if self.0.is_parked.load(Ordering::Relaxed) {
            let _ = self.0.parked_woken.send(self.0.id);
        }
    }

    /// Waits until the tailer is woken, for `patience` at most; returns whether it was.
    pub(crate) fn wait(&self, patience: Duration) -> bool {
        let _rest = self.rest();
        let mut ring = self.lock();
        ring.is_awaited = true;
        let rung = &self.0.rung;
        let woken = rung.wait_timeout_while(ring, patience, |ring| !ring.is_rung);
        let (mut ring, _) = woken.unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *ring).is_rung
    }

    /// Whether the tailer was woken since its bell was last cleared; clears the bell.
    pub(crate) fn clear(&self) -> bool {
        self.moves();
        std::mem::take(&mut self.lock().is_rung)
    }

    /// Whether the tailer was woken and does not know it yet.
    pub(crate) fn is_rung(&self) -> bool {
        self.lock().is_rung
    }

    /// The number by which the scheduler and the wait lists tell tailers apart.
    pub fn id(&self) -> u64 {
        self.0.id
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

    /// The tailer is about to have a thread.
    pub(crate) fn waits_for_thread(&self) {
        self.0.moved_ms.store(0, Ordering::Relaxed);
    }

    /// The tailer has just come back from the file system, or goes there now.
    pub(crate) fn moves(&self) {
        self.0.moved_ms.store(clock_ms(), Ordering::Relaxed);
    }

    /// The tailer waits for something that is no file system, until the answer is dropped.
    pub(crate) fn rest(&self) -> Rest<'_> {
        self.0.moved_ms.store(0, Ordering::Relaxed);
        Rest(self)
    }

    /// Whether nothing lies at the path of the tailer, and all that lay there is read.
    pub(crate) fn shows_nothing(&self) -> bool {
        self.0.has_nothing.load(Ordering::Relaxed)
    }

    /// That is so from now on, or is not.
    pub(crate) fn show_nothing(&self, is_so: bool) {
        self.0.has_nothing.store(is_so, Ordering::Relaxed);
    }

    /// Whether the tailer, which has a thread, has been in the file system for `patience` without a sign.
    pub(crate) fn is_stuck(&self, patience: Duration) -> bool {
        let moved_ms = self.0.moved_ms.load(Ordering::Relaxed);
        let patience_ms = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
        moved_ms != 0 && clock_ms().saturating_sub(moved_ms) >= patience_ms
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.0.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A tailer's wait for something that is no file system.
#[derive(Debug)]
pub(crate) struct Rest<'a>(&'a TailerHandle);

impl Drop for Rest<'_> {
    fn drop(&mut self) {
        self.0.moves();
    }
}

/// Milliseconds since the first call, and one more: never 0.
pub(crate) fn clock_ms() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let since = START.get_or_init(Instant::now).elapsed();
    u64::try_from(since.as_millis())
        .unwrap_or(u64::MAX)
        .saturating_add(1)
}

/// Tailers that wait for something of which there is too little, the longest waiting first. Each stands
/// in the line once, however often it asks, and one that has ended is passed over.
#[derive(Debug, Default)]
pub struct WaitList {
    line: VecDeque<(u64, Weak<Bell>)>,
    /// The ids of those in the line.
    ids: HashSet<u64>,
}

impl WaitList {
    /// The tailer stands at the end of the line, unless it stands in it already.
    pub fn join(&mut self, handle: &TailerHandle) {
        if self.ids.insert(handle.id()) {
            self.line
                .push_back((handle.id(), Arc::downgrade(&handle.0)));
        }
    }

    /// The tailer that has waited for longest; it leaves the line.
    pub fn pop(&mut self) -> Option<TailerHandle> {
        while let Some((id, bell)) = self.line.pop_front() {
            self.ids.remove(&id);
            if let Some(bell) = bell.upgrade() {
                return Some(TailerHandle(bell));
            }
        }
        None
    }

    /// Wakes the tailer that has waited for longest; false if none waits.
    pub fn wake_next(&mut self) -> bool {
        let next = self.pop();
        if let Some(handle) = &next {
            handle.wake();
        }
        next.is_some()
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.line.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.line.is_empty()
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// A handle of a tailer that is never parked.
    pub(crate) fn handle() -> TailerHandle {
        TailerHandle::new(crossbeam_channel::unbounded().0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_channel::unbounded;

    #[test]
    fn only_a_parked_tailer_is_called_by_its_number() {
        let (called, calls) = unbounded();
        let handle = TailerHandle::new(called);
        handle.wake();
        handle.wake();
        assert!(handle.wait(Duration::ZERO), "it was woken before it waited");
        assert!(!handle.wait(Duration::ZERO), "twice is once");
        assert_eq!(calls.len(), 0);
        handle.park();
        handle.wake();
        assert_eq!(calls.try_recv(), Ok(handle.id()));
        handle.unpark();
        handle.wake();
        assert!(handle.is_rung() && calls.try_recv().is_err());
    }

    #[test]
    fn who_waits_is_woken() {
        let handle = testing::handle();
        let other = handle.clone();
        let waiting = std::thread::spawn(move || other.wait(Duration::from_secs(10)));
        handle.wake();
        assert!(waiting.join().expect("does not panic"));
    }

    #[test]
    fn who_asks_twice_waits_once_and_who_has_ended_is_passed_over() {
        let mut list = WaitList::default();
        let (one, two) = (testing::handle(), testing::handle());
        let ended = testing::handle();
        list.join(&ended);
        list.join(&one);
        list.join(&two);
        list.join(&one);
        drop(ended);
        assert!(list.wake_next() && one.is_rung() && !two.is_rung());
        assert!(list.wake_next() && two.is_rung());
        assert!(!list.wake_next() && list.is_empty());
        list.join(&one);
        assert_eq!(list.len(), 1);
    }

    #[test]
    fn a_tailer_is_stuck_only_while_it_does_not_wait_for_others() {
        let handle = testing::handle();
        assert!(!handle.is_stuck(Duration::ZERO), "it has not begun");
        handle.moves();
        assert!(handle.is_stuck(Duration::ZERO));
        assert!(!handle.is_stuck(Duration::from_secs(60)));
        let rest = handle.rest();
        assert!(!handle.is_stuck(Duration::ZERO));
        drop(rest);
        assert!(handle.is_stuck(Duration::ZERO));
    }
}
