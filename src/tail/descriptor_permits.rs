//! Who may hold files open, when descriptors are fewer than files.
//!
//! A tailer needs a permit to hold its files open. Where permits run out, tailers that have read everything
//! close their file and give their permit back; the others wait in line.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use log::Level;

use crate::condition::{Board, Condition};
use crate::tailer_handle::{TailerHandle, WaitList};

/// The descriptor permits of the process.
#[derive(Debug)]
pub struct DescriptorPermits {
    /// How many descriptors the process may have.
    limit: u64,
    inner: Mutex<Inner>,
    /// How many tailers have a file open briefly without a permit.
    brief_opens: Mutex<usize>,
    brief_open_over: Condvar,
}

#[derive(Debug)]
struct Inner {
    /// Descriptors for followed files that nobody has. DescriptorPermits leave `spare` of them.
    free: usize,
    /// What is kept for second files: see [`DescriptorPermits::second_files`].
    spare: usize,
    /// How many second files are open.
    second_files: usize,
    waiting: WaitList,
    /// How many files are followed, as far as is known.
    files: usize,
    warned: bool,
    /// There are fewer permits than files.
    shortage: Condition,
}

impl DescriptorPermits {
    /// As many permits as `limit` descriptors allow, without [`DescriptorPermits::reserve`].
    pub fn new(limit: u64) -> Arc<Self> {
        let permits = limit.saturating_sub(Self::reserve(limit));
        let permits = usize::try_from(permits).unwrap_or(usize::MAX).max(1);
        let spare = usize::try_from(limit.saturating_sub(RESERVE) / 8).unwrap_or(usize::MAX);
        let inner = Inner {
            free: permits.saturating_add(spare),
            spare,
            second_files: 0,
            waiting: WaitList::default(),
            files: 0,
            warned: false,
            shortage: Condition::default(),
        };
        Arc::new(DescriptorPermits {
            limit,
            inner: Mutex::new(inner),
            brief_opens: Mutex::default(),
            brief_open_over: Condvar::new(),
        })
    }

    /// The descriptors of `limit` that are not for followed files: 64 for sockets, folders and the positions,
    /// and an eighth of the others for what rotation leaves open for a while and for the search for
    /// rotated files. Where more files rotate at once than that is for, some wait until others are closed.
    pub fn reserve(limit: u64) -> u64 {
        let most = limit.saturating_sub(1);
        (RESERVE + limit.saturating_sub(RESERVE) / 8).min(most)
    }

    /// Has `board` show it where there are fewer permits than files.
    pub fn report_to(&self, board: &Board) {
        self.lock().shortage.shown_on(board);
    }

    /// `files` are followed: for the warning that there are more of them than permits, and the end of that.
    pub fn follows(&self, files: usize) {
        let mut inner = self.lock();
        inner.files = files;
        let permits = self.limit.saturating_sub(Self::reserve(self.limit)).max(1);
        if inner.waiting.is_empty()
            && files as u64 <= permits
            && let Some(left) = inner.shortage.leave()
        {
            log::log!(
                left.level,
                "there are descriptors for all {files} files again{left}"
            );
        }
    }

    /// So few files are followed that the log can name each that is opened.
    pub(super) fn follows_few(&self) -> bool {
        self.lock().files <= FEW_FILES
    }

    /// Acquires a permit; without one, `tailer` is woken when one may be had.
    pub(super) fn acquire(self: &Arc<Self>, tailer: &TailerHandle) -> Option<DescriptorPermit> {
        let mut inner = self.lock();
        if inner.has_permit() {
            inner.free -= 1;
            if inner.has_permit() {
                // The tailer that was woken for this permit may have had no need of it any more.
                inner.waiting.wake_next();
            }
            return Some(DescriptorPermit(self.clone()));
        }
        inner.waiting.join(tailer);
        inner.warn_once(self.limit);
        None
    }

    /// The right to hold `count` files open beside the one that a permit is for; `None` where there are not so many
    /// descriptors now. One tailer always has what it needs, or it would wait for ever.
    pub(super) fn second_files(self: &Arc<Self>, count: usize) -> Option<SecondFiles> {
        let mut inner = self.lock();
        if inner.free < count && inner.second_files > 0 {
            inner.warn_once(self.limit);
            return None;
        }
        let taken = count.min(inner.free);
        inner.free -= taken;
        inner.second_files += count;
        drop(inner);
        Some(SecondFiles {
            permits: self.clone(),
            count,
            taken,
        })
    }

    /// The system had no descriptor left, whatever the permits say.
    pub(super) fn system_ran_out(&self) {
        self.lock().warn_once(self.limit);
    }

    /// The right to open a file briefly without a permit: a few tailers at a time. A tailer
    /// that has waited for a while goes on without it: a file system that hangs may hold all of them.
    pub(super) fn brief_open(&self) -> BriefOpen<'_> {
        let brief_opens = self
            .brief_opens
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let waited =
            self.brief_open_over
                .wait_timeout_while(brief_opens, BRIEF_OPEN_PATIENCE, |taken| {
                    *taken >= MOST_BRIEF_OPENS
                });
        let (mut taken, _) = waited.unwrap_or_else(PoisonError::into_inner);
        *taken += 1;
        BriefOpen(self)
    }

    /// Whether permits have ever run out.
    pub(super) fn ran_out(&self) -> bool {
        self.lock().warned
    }

    /// Whether a tailer waits for a permit.
    pub(super) fn has_waiters(&self) -> bool {
        self.waiters() > 0
    }

    /// How many tailers wait for a permit.
    pub(super) fn waiters(&self) -> usize {
        self.lock().waiting.len()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn has_permit(&self) -> bool {
        self.free > self.spare
    }

    fn give_back(&mut self, second_files: usize, free: usize) {
        self.second_files -= second_files;
        self.free += free;
        for _ in 0..free {
            self.wake_next();
        }
    }

    fn wake_next(&mut self) {
        if self.has_permit() {
            self.waiting.wake_next();
        }
    }

    fn warn_once(&mut self, limit: u64) {
        self.warned = true;
        if self.shortage.is_entered() {
            return;
        }
        let now = Instant::now();
        let reason = format!(
            "{} files to follow, and {} of {limit} descriptors (ulimit -n) are for them: files take turns at \
             being open; a higher LimitNOFILE, minfds or ulimit -n spares that",
            self.files,
            limit
                .saturating_sub(DescriptorPermits::reserve(limit))
                .max(1)
        );
        self.shortage
            .enter(Level::Warn, &"descriptors", &reason, now);
        if let Some(passed_over) = self.shortage.say(now) {
            log::warn!("{reason}{passed_over}");
        }
    }
}

/// The right to hold files open; dropping it passes it on.
#[derive(Debug)]
pub(super) struct DescriptorPermit(Arc<DescriptorPermits>);

impl Drop for DescriptorPermit {
    fn drop(&mut self) {
        let mut inner = self.0.lock();
        inner.free += 1;
        inner.wake_next();
    }
}

/// The right to hold files open beside the one that a permit is for; dropping it gives it back.
#[derive(Debug)]
pub(super) struct SecondFiles {
    permits: Arc<DescriptorPermits>,
    count: usize,
    /// How many of them were free.
    taken: usize,
}

impl SecondFiles {
    /// For how many files.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// No more than `count` are open now.
    pub(super) fn shrink_to(&mut self, count: usize) {
        let mut inner = self.permits.lock();
        let closed = self.count.saturating_sub(count);
        let given = closed.min(self.taken);
        self.count -= closed;
        self.taken -= given;
        inner.give_back(closed, given);
    }
}

impl Drop for SecondFiles {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

/// The right to open a file briefly.
#[derive(Debug)]
pub(super) struct BriefOpen<'a>(&'a DescriptorPermits);

impl Drop for BriefOpen<'_> {
    fn drop(&mut self) {
        let permits = self.0;
        *permits
            .brief_opens
            .lock()
            .unwrap_or_else(PoisonError::into_inner) -= 1;
        permits.brief_open_over.notify_one();
    }
}

/// With so few files the log names each that is opened.
const FEW_FILES: usize = 20;
/// Descriptors that are for sockets, folders and the positions.
const RESERVE: u64 = 64;
/// So many tailers may open a file briefly at the same time.
const MOST_BRIEF_OPENS: usize = 4;
/// How long a tailer waits for a brief open.
const BRIEF_OPEN_PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tailer_handle::testing::handle;

    #[test]
    fn who_waits_is_woken_in_line() {
        let permits = DescriptorPermits::new(RESERVE + 2);
        let one = handle();
        let two = handle();
        let first = permits.acquire(&one).expect("is free");
        let _second = permits.acquire(&one).expect("is free");
        assert!(permits.acquire(&one).is_none() && permits.acquire(&two).is_none());
        assert!(permits.has_waiters());
        drop(first);
        assert!(one.clear() && !two.clear());
        assert!(permits.acquire(&one).is_some());
    }

    #[test]
    fn all_of_the_limit_is_used_but_the_stated_reserve() {
        for (limit, reserve) in [(1024, 184), (64, 63), (65, 64), (1, 0), (1 << 20, 131_128)] {
            assert_eq!(DescriptorPermits::reserve(limit), reserve);
            let permits = DescriptorPermits::new(limit);
            let inner = permits.lock();
            assert_eq!((inner.free - inner.spare) as u64, (limit - reserve).max(1));
        }
    }

    #[test]
    fn a_turn_that_nobody_took_goes_to_the_next_in_line() {
        let permits = DescriptorPermits::new(RESERVE + 2);
        let (one, two) = (handle(), handle());
        let taken = [permits.acquire(&one), permits.acquire(&one)];
        assert!(permits.acquire(&one).is_none() && permits.acquire(&two).is_none());
        drop(taken);
        assert!(one.clear() && two.clear());
        // Two are free, and only one of those that were woken has a need.
        let third = handle();
        permits.lock().waiting.join(&third);
        let _permit = permits.acquire(&two).expect("is free");
        assert!(third.clear());
    }

    #[test]
    fn second_files_leave_no_more_than_their_share_of_turns_and_nobody_waits_for_ever() {
        // Two permits, and one descriptor for a second file.
        let permits = DescriptorPermits::new(RESERVE + 8);
        permits.lock().free = 3;
        let (one, two) = (handle(), handle());
        let first = permits.acquire(&one).expect("is free");
        let second = permits.acquire(&one).expect("is free");
        assert!(
            permits.acquire(&one).is_none(),
            "the last one is for a second file"
        );
        let many = permits
            .second_files(5)
            .expect("the only one has all it needs");
        assert!(permits.second_files(1).is_none());
        assert!(permits.acquire(&two).is_none());
        drop(first);
        assert!(!one.clear(), "its descriptor makes up for the second files");
        let mut many = many;
        many.shrink_to(4);
        assert_eq!(many.count(), 4);
        drop(many);
        assert!(one.clear());
        assert!(
            permits
                .second_files(1)
                .is_some_and(|files| files.count() == 1)
        );
        drop(second);
        assert!(two.clear());
    }

    #[test]
    fn moments_that_hang_hold_up_nobody_for_long() {
        let permits = DescriptorPermits::new(100);
        let hanging: Vec<_> = (0..MOST_BRIEF_OPENS)
            .map(|_| permits.brief_open())
            .collect();
        let start = Instant::now();
        drop(permits.brief_open());
        assert!(start.elapsed() >= BRIEF_OPEN_PATIENCE);
        drop(hanging);
        assert_eq!(*permits.brief_opens.lock().expect("not poisoned"), 0);
    }
}
