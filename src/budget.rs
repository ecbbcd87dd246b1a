//! The memory budget: how many file bytes may be on their way at once.
//!
//! A tailer takes its share before it reads and the share goes back when Kafka has acknowledged the
//! bytes. The rule is that of shared-memory switches (Choudhury and Hahne, "Dynamic queue length
//! thresholds", 1998): a file may take more only while it holds less than a quarter of what is still
//! free. So n busy files get equal shares, and files that are stuck (a parked topic, a broker that
//! hangs) stop growing long before they could take what is left from the others. The last eighth is
//! kept for files that hold nothing, so that each of thousands can always make one small step.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::buffer::BufferPool;
use crate::wake::Waker;

/// The budget of the process, in bytes.
#[derive(Debug)]
pub struct Budget {
    limit_bytes: usize,
    used_bytes: AtomicUsize,
    /// What is kept in memory for the followed files themselves.
    kept_bytes: AtomicUsize,
    waiting: Mutex<Waiting>,
}

/// Tailers that were refused.
#[derive(Debug, Default)]
struct Waiting {
    /// Longest waiting first.
    line: VecDeque<Waker>,
    /// The numbers of those in the line: who asks again while waiting stands there once all the same.
    numbers: HashSet<u64>,
    /// What came back and is less than a step.
    returned_bytes: usize,
}

impl Budget {
    /// What one file may hold at most, however much is free: enough to keep five requests in flight
    /// and the next ones ready, without filling memory while the broker is the slower side.
    pub const PER_FILE_BYTES: usize = 4 << 20;
    /// Less than this is not worth a read.
    pub const LEAST_BYTES: usize = 4 << 10;
    /// A file that has bytes on their way waits until it may take so much more: with hundreds of busy
    /// files, small steps cost more than what is read by them.
    const STEP_BYTES: usize = BufferPool::BUFFER_BYTES;
    /// For so many bytes that come back one file is woken: it takes two steps then, so that a thread is not
    /// woken for each read.
    const WAKE_BYTES: usize = 2 * Self::STEP_BYTES;
    /// What a followed file takes besides the bytes that are read of it: tailer, source, watch, claim and
    /// checkpoint, with their paths.
    const FILE_BYTES: usize = 5 << 10;

    /// A budget of `limit_bytes`.
    pub fn new(limit_bytes: usize) -> Arc<Self> {
        Arc::new(Budget {
            limit_bytes,
            used_bytes: AtomicUsize::new(0),
            kept_bytes: AtomicUsize::new(0),
            waiting: Mutex::default(),
        })
    }

    /// What may be taken: the limit without what the followed files themselves take, but a quarter of
    /// it at least, so that something flows however many there are.
    fn limit_bytes(&self) -> usize {
        let kept = self.kept_bytes.load(Ordering::Relaxed);
        self.limit_bytes - kept.min(self.limit_bytes / 4 * 3)
    }

    /// Bytes taken at this moment.
    pub fn used_bytes(&self) -> usize {
        self.used_bytes.load(Ordering::Acquire)
    }

    /// An account for one file. `wake` is tried when a refused request may succeed.
    pub fn account(self: &Arc<Self>, wake: Waker) -> Arc<Account> {
        self.kept_bytes
            .fetch_add(Self::FILE_BYTES, Ordering::Relaxed);
        Arc::new(Account {
            budget: self.clone(),
            held_bytes: AtomicUsize::new(0),
            wake,
        })
    }

    fn release(&self, bytes: usize) {
        self.used_bytes.fetch_sub(bytes, Ordering::AcqRel);
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let used = self.used_bytes();
        let limit = self.limit_bytes();
        // While much is on its way, more will come back: wake as many as what came back can serve. Otherwise
        // as many as the free bytes can. Who is refused again queues again.
        let mut wakes = if used > limit / 2 {
            waiting.returned_bytes += bytes;
            let steps = waiting.returned_bytes / Self::WAKE_BYTES;
            waiting.returned_bytes %= Self::WAKE_BYTES;
            steps
        } else {
            (limit - used).div_ceil(Self::WAKE_BYTES / 2)
        };
        while wakes > 0 {
            let Some(wake) = waiting.line.pop_front() else {
                break;
            };
            waiting.numbers.remove(&wake.number());
            wake.wake();
            wakes -= 1;
        }
    }
}

/// One file's part in the [`Budget`].
#[derive(Debug)]
pub struct Account {
    budget: Arc<Budget>,
    held_bytes: AtomicUsize,
    wake: Waker,
}

impl Account {
    /// Takes up to `want` bytes, and at least `min(want, least)`; `None` if that much is not to be
    /// had now, in which case the file is woken when bytes come back.
    pub fn take(self: &Arc<Self>, want: usize, least: usize) -> Option<Permit> {
        if let Some(permit) = self.try_take(want, least) {
            return Some(permit);
        }
        let mut waiting = self
            .budget
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if waiting.numbers.insert(self.wake.number()) {
            waiting.line.push_back(self.wake.clone());
        }
        drop(waiting);
        // The bytes may have come back between the refusal and the entry in the queue.
        self.try_take(want, least)
    }

    /// Bytes of this file on their way.
    pub fn held_bytes(&self) -> usize {
        self.held_bytes.load(Ordering::Acquire)
    }

    fn try_take(self: &Arc<Self>, want: usize, least: usize) -> Option<Permit> {
        let least = least.min(want).max(1);
        let limit = self.budget.limit_bytes();
        let mut used = self.budget.used_bytes.load(Ordering::Acquire);
        loop {
            let held = self.held_bytes();
            let fair = (limit - limit / 8).saturating_sub(used) / 4;
            let mut grant = want.min(fair.min(Budget::PER_FILE_BYTES).saturating_sub(held));
            // What is less than a step is worth it only for who has nothing.
            let least_more = least.max(want.min(Budget::STEP_BYTES));
            if grant < least || (held > 0 && grant < least_more) {
                if held > 0 || limit.saturating_sub(used) < least {
                    return None;
                }
                grant = least;
            }
            match self.budget.used_bytes.compare_exchange_weak(
                used,
                used + grant,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => {
                    self.held_bytes.fetch_add(grant, Ordering::AcqRel);
                    return Some(Permit {
                        account: self.clone(),
                        bytes: grant,
                    });
                }
                Err(now) => used = now,
            }
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.budget
            .kept_bytes
            .fetch_sub(Budget::FILE_BYTES, Ordering::Relaxed);
    }
}

/// Bytes taken from the budget; dropping it gives them back.
#[derive(Debug)]
pub struct Permit {
    account: Arc<Account>,
    bytes: usize,
}

impl Permit {
    /// How many bytes it stands for.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Gives back what is over `bytes`.
    pub fn shrink_to(&mut self, bytes: usize) {
        if bytes < self.bytes {
            let back = self.bytes - bytes;
            self.bytes = bytes;
            self.account.held_bytes.fetch_sub(back, Ordering::AcqRel);
            self.account.budget.release(back);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.account
            .held_bytes
            .fetch_sub(self.bytes, Ordering::AcqRel);
        self.account.budget.release(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wake::testing::waker;

    fn account(budget: &Arc<Budget>) -> (Arc<Account>, Waker) {
        let wake = waker();
        (budget.account(wake.clone()), wake)
    }

    fn take_all(account: &Arc<Account>) -> Vec<Permit> {
        std::iter::from_fn(|| account.take(64 << 10, Budget::LEAST_BYTES)).collect()
    }

    #[test]
    fn files_that_are_stuck_leave_room_for_the_next_one() {
        let budget = Budget::new(8 << 20);
        let mut kept = Vec::new();
        let files: Vec<_> = (0..200).map(|_| account(&budget)).collect();
        for (stuck, _woken) in &files {
            let permits = take_all(stuck);
            assert!(
                !permits.is_empty(),
                "a file got nothing with {} bytes used",
                budget.used_bytes()
            );
            kept.push(permits);
        }
        assert!(budget.used_bytes() <= 8 << 20);
    }

    #[test]
    fn many_files_leave_less_for_their_bytes_and_never_less_than_a_quarter() {
        let budget = Budget::new(8 << 20);
        let files: Vec<_> = (0..1000).map(|_| account(&budget)).collect();
        assert_eq!(budget.limit_bytes(), (8 << 20) - 1000 * Budget::FILE_BYTES);
        let more: Vec<_> = (0..9000).map(|_| account(&budget)).collect();
        assert_eq!(budget.limit_bytes(), 2 << 20);
        drop((files, more));
        assert_eq!(budget.limit_bytes(), 8 << 20);
    }

    #[test]
    fn who_asks_again_waits_in_line_once() {
        let budget = Budget::new(8 << 20);
        let (stuck, _woken) = account(&budget);
        let _permits = take_all(&stuck);
        for _ in 0..100 {
            assert!(stuck.take(64 << 10, 4 << 10).is_none());
        }
        assert_eq!(budget.waiting.lock().expect("no panic").line.len(), 1);
    }

    #[test]
    fn a_refused_file_is_woken_when_bytes_come_back() {
        let budget = Budget::new(64 << 10);
        let (one, _one_woken) = account(&budget);
        let (two, two_woken) = account(&budget);
        let permits: Vec<_> = std::iter::from_fn(|| one.take(4 << 10, 4 << 10))
            .chain(std::iter::from_fn(|| two.take(4 << 10, 4 << 10)))
            .collect();
        assert!(two.take(4 << 10, 4 << 10).is_none());
        two_woken.take();
        drop(permits);
        assert!(two_woken.take());
        assert_eq!(budget.used_bytes(), 0);
        assert!(two.take(4 << 10, 4 << 10).is_some());
    }

    #[test]
    fn a_permit_gives_back_what_was_not_read() {
        let budget = Budget::new(1 << 20);
        let (file, _woken) = account(&budget);
        let mut permit = file.take(256 << 10, 4 << 10).expect("the budget is empty");
        permit.shrink_to(100);
        assert_eq!((budget.used_bytes(), file.held_bytes()), (100, 100));
        drop(permit);
        assert_eq!((budget.used_bytes(), file.held_bytes()), (0, 0));
    }
}
