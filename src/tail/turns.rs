//! Who may hold files open, when descriptors are fewer than files.
//!
//! A tailer needs a turn to hold its files open. Where turns run out, tailers that have read everything
//! close their file and give their turn back; the others wait in line.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::wake::{WaitList, Waker};

/// The turns of the process.
#[derive(Debug)]
pub struct Turns {
    /// How many descriptors the process may have.
    limit: u64,
    inner: Mutex<Inner>,
    /// How many tailers have a file open for a moment without a turn.
    moments: Mutex<usize>,
    moment_over: Condvar,
}

#[derive(Debug)]
struct Inner {
    /// Descriptors for followed files that nobody has. Turns leave `spare` of them.
    free: usize,
    /// What is kept for second files: see [`Turns::second_files`].
    spare: usize,
    /// How many second files are open.
    second_files: usize,
    waiting: WaitList,
    /// How many files are followed, as far as is known.
    files: usize,
    warned: bool,
}

impl Turns {
    /// As many turns as `limit` descriptors allow, without [`Turns::reserve`].
    pub fn new(limit: u64) -> Arc<Self> {
        let turns = limit.saturating_sub(Self::reserve(limit));
        let turns = usize::try_from(turns).unwrap_or(usize::MAX).max(1);
        let spare = usize::try_from(limit.saturating_sub(RESERVE) / 8).unwrap_or(usize::MAX);
        let inner = Inner {
            free: turns.saturating_add(spare),
            spare,
            second_files: 0,
            waiting: WaitList::default(),
            files: 0,
            warned: false,
        };
        Arc::new(Turns {
            limit,
            inner: Mutex::new(inner),
            moments: Mutex::default(),
            moment_over: Condvar::new(),
        })
    }

    /// The descriptors of `limit` that are not for followed files: 64 for sockets, folders and the positions,
    /// and an eighth of the others for what rotation leaves open for a while and for the search for
    /// rotated files. Where more files rotate at once than that is for, some wait until others are closed.
    pub fn reserve(limit: u64) -> u64 {
        let most = limit.saturating_sub(1);
        (RESERVE + limit.saturating_sub(RESERVE) / 8).min(most)
    }

    /// `files` are followed: for the warning that there are more of them than turns.
    pub fn follows(&self, files: usize) {
        self.lock().files = files;
    }

    /// So few files are followed that the log can name each that is opened.
    pub(super) fn follows_few(&self) -> bool {
        self.lock().files <= FEW_FILES
    }

    /// Takes a turn; without one, `wake` is tried when one may be had.
    pub(super) fn take(self: &Arc<Self>, wake: &Waker) -> Option<Turn> {
        let mut inner = self.lock();
        if inner.has_turn() {
            inner.free -= 1;
            if inner.has_turn() {
                // Who was woken for it may have had no need of it any more.
                inner.waiting.wake_next();
            }
            return Some(Turn(self.clone()));
        }
        inner.waiting.join(wake);
        inner.warn_once(self.limit);
        None
    }

    /// The right to hold `count` files open beside the one that a turn is for; `None` where there are not so many
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
            turns: self.clone(),
            count,
            taken,
        })
    }

    /// The system had no descriptor left, whatever the turns say.
    pub(super) fn are_too_many(&self) {
        self.lock().warn_once(self.limit);
    }

    /// The right to open a file for a moment without a turn: a few tailers at a time. Whoever has waited for
    /// a while goes on without it: a file system that hangs may hold all of them.
    pub(super) fn moment(&self) -> Moment<'_> {
        let moments = self.moments.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .moment_over
            .wait_timeout_while(moments, MOMENT, |taken| *taken >= MOMENTS);
        let (mut taken, _) = waited.unwrap_or_else(PoisonError::into_inner);
        *taken += 1;
        Moment(self)
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
    fn has_turn(&self) -> bool {
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
        if self.has_turn() {
            self.waiting.wake_next();
        }
    }

    fn warn_once(&mut self, limit: u64) {
        if !std::mem::replace(&mut self.warned, true) {
            log::warn!(
                "{} files to follow, and {} of {limit} descriptors (ulimit -n) are for them: files take turns at \
                 being open; a higher LimitNOFILE, minfds or ulimit -n spares that",
                self.files,
                limit.saturating_sub(Turns::reserve(limit)).max(1)
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
        inner.wake_next();
    }
}

/// The right to hold files open beside the one that a turn is for; dropping it gives it back.
#[derive(Debug)]
pub(super) struct SecondFiles {
    turns: Arc<Turns>,
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
        let mut inner = self.turns.lock();
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

/// The right to open a file for a moment.
#[derive(Debug)]
pub(super) struct Moment<'a>(&'a Turns);

impl Drop for Moment<'_> {
    fn drop(&mut self) {
        let turns = self.0;
        *turns.moments.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        turns.moment_over.notify_one();
    }
}

/// Descriptors that are for sockets, folders and the positions.
const FEW_FILES: usize = 20;
const RESERVE: u64 = 64;
/// So many tailers may open a file for a moment at once.
const MOMENTS: usize = 4;
/// How long a tailer waits for such a moment.
const MOMENT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wake::testing::waker;

    #[test]
    fn who_waits_is_woken_in_line() {
        let turns = Turns::new(RESERVE + 2);
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

    #[test]
    fn all_of_the_limit_is_used_but_the_stated_reserve() {
        for (limit, reserve) in [(1024, 184), (64, 63), (65, 64), (1, 0), (1 << 20, 131_128)] {
            assert_eq!(Turns::reserve(limit), reserve);
            let turns = Turns::new(limit);
            let inner = turns.lock();
            assert_eq!((inner.free - inner.spare) as u64, (limit - reserve).max(1));
        }
    }

    #[test]
    fn a_turn_that_nobody_took_goes_to_the_next_in_line() {
        let turns = Turns::new(RESERVE + 2);
        let (one, two) = (waker(), waker());
        let taken = [turns.take(&one), turns.take(&one)];
        assert!(turns.take(&one).is_none() && turns.take(&two).is_none());
        drop(taken);
        assert!(one.take() && two.take());
        // Two are free, and only one of those that were woken has a need.
        let third = waker();
        turns.lock().waiting.join(&third);
        let _turn = turns.take(&two).expect("is free");
        assert!(third.take());
    }

    #[test]
    fn second_files_leave_no_more_than_their_share_of_turns_and_nobody_waits_for_ever() {
        // Two turns, and one descriptor for a second file.
        let turns = Turns::new(RESERVE + 8);
        turns.lock().free = 3;
        let (one, two) = (waker(), waker());
        let first = turns.take(&one).expect("is free");
        let second = turns.take(&one).expect("is free");
        assert!(
            turns.take(&one).is_none(),
            "the last one is for a second file"
        );
        let many = turns
            .second_files(5)
            .expect("the only one has all it needs");
        assert!(turns.second_files(1).is_none());
        assert!(turns.take(&two).is_none());
        drop(first);
        assert!(!one.take(), "its descriptor makes up for the second files");
        let mut many = many;
        many.shrink_to(4);
        assert_eq!(many.count(), 4);
        drop(many);
        assert!(one.take());
        assert!(
            turns
                .second_files(1)
                .is_some_and(|files| files.count() == 1)
        );
        drop(second);
        assert!(two.take());
    }

    #[test]
    fn moments_that_hang_hold_up_nobody_for_long() {
        let turns = Turns::new(100);
        let hanging: Vec<_> = (0..MOMENTS).map(|_| turns.moment()).collect();
        let start = std::time::Instant::now();
        drop(turns.moment());
        assert!(start.elapsed() >= MOMENT);
        drop(hanging);
        assert_eq!(*turns.moments.lock().expect("not poisoned"), 0);
    }
}
