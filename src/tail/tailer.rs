//! The tailer: what it holds, its loop, and how it notices that something happened.
//!
//! ```text
//!            first look, file closed for a while            path or content is not what it was
//!   Closed ------------------sync------------------> Following <---------sync---------+
//!     ^                                              |   |   \-------------------------+
//!     |  descriptors are wanted, a server forgot     |   |
//!     +----------------------------------------------+   +--> the path leads nowhere and all is read: ends
//!
//!   ReadElsewhere: the file at the path is open in the tailer of another path; nothing is held
//! ```
//! `sync` is observe, plan, apply. What a tailer holds: its sources, oldest first, of which the last lies at the
//! path if `has_current`. `must_sync` means that the sources say nothing yet.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TryRecvError};
use rustix::io::Errno;

use super::changes::Ending;
use super::clock::now_ms;
use super::compare::is_shortage;
use super::descriptor_permits::{DescriptorPermit, SecondFiles};
use super::family::Deferred;
use super::questions::Questions;
use super::scheduler::{RunOutcome, TailerExit};
use super::source::Source;
use super::trouble::Trouble;
use super::watch::FileWatch;
use super::{LOOK_INTERVAL, OVERWRITE_INTERVAL, PERMIT_INTERVAL, POLL_INTERVAL, Shared};
use crate::batch::{Batch, Destination};
use crate::budget::Account;
use crate::config::LogConfig;
use crate::identity::{FileStat, Inode};
use crate::progress::{CloseReason, Progress};
use crate::tailer_handle::TailerHandle;

/// What follows one path: it owns the open files, rotated ones that still drain first, and the position in
/// each. It runs on a `tail:<path>` thread, or is parked; see [`super::scheduler`].
#[derive(Debug)]
pub struct Tailer {
    pub(super) path: Arc<Path>,
    pub(super) log: Arc<LogConfig>,
    pub(super) destination: Arc<Destination>,
    pub(super) shared: Arc<Shared>,
    pub(super) account: Arc<Account>,
    pub(super) handle: TailerHandle,
    pub(super) batches: Sender<Batch>,
    pub(super) progress: Sender<Progress>,
    pub(super) stop: Receiver<()>,
    /// Oldest first.
    pub(super) sources: VecDeque<Source>,
    /// Whether the last of `sources` lies at the path.
    pub(super) has_current: bool,
    /// Needed to hold files open.
    pub(super) descriptor_permit: Option<DescriptorPermit>,
    /// Needed to hold more than one open.
    pub(super) second_files: Option<SecondFiles>,
    /// Everything must be looked at before anything is read.
    pub(super) must_sync: bool,
    pub(super) last_sync: Instant,
    /// When the last of `sources` was last seen at the path, what the wall clock said then, in ms since 1970, and its
    /// last change that was known before, in ns.
    pub(super) in_place_at: Option<(Instant, i64, i64)>,
    /// The file was closed, for others to have their turn, when it looked like this; its watch stays.
    pub(super) paused: Option<Box<(FileStat, Option<FileWatch>)>>,
    /// Inode and time of birth of the file at the path, if another tailer reads it.
    pub(super) read_elsewhere: Option<(Inode, i64)>,
    /// The file at the path may be what another path holds, or a copy of that.
    pub(super) awaits_copy: bool,
    /// The file at the path that is left to the tailer of the log it may come from.
    pub(super) deferred: Option<Deferred>,
    /// Inode and time of birth of the rotated file that was found overwritten last, and when.
    pub(super) overwritten: Option<(Inode, i64, Instant)>,
    /// The file was there when its section was first seen: `start_at` is about it.
    pub(super) honours_start_at: bool,
    /// What lay at the path when it was found; it may be rotated away before it is opened.
    pub(super) stat_when_found: Option<Box<FileStat>>,
    /// Where the path leads through links.
    pub(super) target: Option<std::path::PathBuf>,
    pub(super) trouble: Trouble,
    /// The last time that everything was looked at, something could not be read.
    pub(super) had_trouble_at_sync: bool,
    /// The last time, a folder could not be listed.
    pub(super) was_sync_incomplete: bool,
    /// Since when a file with something unread cannot be read.
    pub(super) blocked_since: Option<Instant>,
    /// When the path was last rotated or truncated.
    pub(super) rotated_at: Option<Instant>,
    /// Watches of files that were read to their end: somebody may still write to them.
    pub(super) late: VecDeque<(Instant, FileWatch)>,
    /// What is open must be opened anew: a server has forgotten it.
    pub(super) is_stale: bool,
    /// When it was last woken.
    pub(super) last_event: Instant,
    /// When the section's rate allows more, and since when that is waited for.
    pub(super) rate_due: Option<Instant>,
    /// Whether its section is gone.
    pub(super) ending: Ending,
    pub(super) rate_limited_since: Option<Instant>,
}

/// What a look left to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// Everything is read.
    Idle,
    /// The memory budget; a wake comes when there is some.
    Budget,
    /// A descriptor permit; a wake comes when one may be had.
    Permit,
    /// The section's rate allows no more now.
    Rate,
    /// The last line of a rotated file has no newline yet, and the lines of the next file come after it. Only with
    /// `--once`: else whatever is idle looks again when the file is finished.
    Unended,
    /// There is more to read, and others wait for a thread.
    Yield,
    /// The stop came in between.
    Stop,
}

impl Tailer {
    /// A tailer for `path`. It waits for `handle`, which `account` rings too, and ends when `stop` is disconnected
    /// (and it is woken to see that).
    #[expect(
        clippy::too_many_arguments,
        reason = "its channels are what a thread is made of"
    )]
    pub fn new(
        path: Arc<Path>,
        log: Arc<LogConfig>,
        destination: Arc<Destination>,
        shared: Arc<Shared>,
        account: Arc<Account>,
        handle: TailerHandle,
        batches: Sender<Batch>,
        progress: Sender<Progress>,
        stop: Receiver<()>,
        honours_start_at: bool,
        stat_when_found: Option<FileStat>,
    ) -> Self {
        Tailer {
            path,
            log,
            destination,
            account,
            handle,
            batches,
            progress,
            stop,
            sources: VecDeque::new(),
            has_current: false,
            descriptor_permit: None,
            second_files: None,
            must_sync: true,
            last_sync: Instant::now(),
            in_place_at: None,
            paused: None,
            read_elsewhere: None,
            awaits_copy: false,
            deferred: None,
            overwritten: None,
            honours_start_at,
            stat_when_found: stat_when_found.map(Box::new),
            target: None,
            trouble: Trouble::on(&shared.metrics.board),
            had_trouble_at_sync: false,
            was_sync_incomplete: false,
            blocked_since: None,
            rotated_at: None,
            late: VecDeque::new(),
            is_stale: false,
            last_event: Instant::now(),
            rate_due: None,
            rate_limited_since: None,
            ending: Ending::No,
            shared,
        }
    }

    /// Runs on a `tail:<path>` thread until it can be parked, the path is gone and drained, or it is told
    /// to stop.
    pub fn run(&mut self) -> RunOutcome {
        loop {
            // Before the look: what it does not see yet rings again.
            if self.handle.clear() {
                self.last_event = Instant::now();
            }
            // After the bell is taken: who stops all tailers rings it when the channel is gone.
            if self.stop.try_recv() == Err(TryRecvError::Disconnected) {
                return self.stopped();
            }
            self.take_change();
            if self.ending != Ending::No && self.is_paused_file_unchanged() {
                return self.end();
            }
            self.trouble.begin();
            let next = match self.may_look() {
                true => self.look(),
                false => Wait::Permit,
            };
            self.end_trouble();
            let has_looked = next == Wait::Idle && !self.awaits_copy;
            self.handle.show_nothing(has_looked && self.has_nothing());
            self.return_second_files();
            if std::mem::take(&mut self.is_stale) {
                self.close_all();
            }
            match next {
                Wait::Stop => return self.stopped(),
                Wait::Yield => return RunOutcome::Yield,
                Wait::Idle if self.shared.once => return RunOutcome::Exit(self.end_of_once()),
                Wait::Idle if self.has_ended() => return self.end(),
                Wait::Idle if self.is_done() => return RunOutcome::Exit(TailerExit::PathGone),
                Wait::Idle => self.pause_if_wanted(),
                // A shortage of descriptors shows again; anything else keeps `--once` from its end for ever.
                Wait::Permit if self.shared.once && self.trouble.is_present() => {
                    return RunOutcome::Exit(TailerExit::Unread);
                }
                Wait::Budget | Wait::Permit | Wait::Rate | Wait::Unended => {}
            }
            if let Some(outcome) = self.may_park(next) {
                return outcome;
            }
            if self.handle.wait(self.patience(next)) {
                self.last_event = Instant::now();
            }
        }
    }

    /// Its section is gone, and all that was there is read.
    fn end(&mut self) -> RunOutcome {
        self.close_all();
        RunOutcome::Exit(TailerExit::Stopped)
    }

    /// Whether the path leads nowhere and nothing is left to read or to wait for.
    fn is_done(&mut self) -> bool {
        self.forget_late();
        self.has_nothing() && self.late.is_empty()
    }

    /// How long to wait without being woken.
    pub(super) fn patience(&self, next: Wait) -> Duration {
        let unwatched = self.sources.iter().any(|source| source.watch.is_none());
        let is_short = self.must_sync || self.awaits_copy || self.waits_for_blocked();
        let mut patience = match unwatched || is_short {
            true => POLL_INTERVAL,
            false => LOOK_INTERVAL,
        };
        if self.sources.iter().any(Source::awaits_overwrite) {
            patience = patience.min(OVERWRITE_INTERVAL);
        }
        if self.descriptor_permit.is_some() && self.shared.descriptors.ran_out() {
            // To give it back soon when it is wanted.
            patience = patience.min(PERMIT_INTERVAL);
        }
        if let Some(since) = self.blocked_since {
            let left = self.log.rotate_wait.saturating_sub(since.elapsed());
            patience = patience.min(left.max(POLL_INTERVAL));
        }
        if !self.late.is_empty() {
            patience = patience.min(LATE_INTERVAL);
        }
        patience = patience.min(self.patience_to_end().unwrap_or(patience));
        if next == Wait::Budget
            && let Some(after) = self.account.asks_again_after()
        {
            patience = patience.min(after);
        }
        let now = Instant::now();
        if next == Wait::Rate
            && let Some(due) = self.rate_due
        {
            patience = patience.min(due.saturating_duration_since(now));
        }
        for due in self.sources.iter().filter_map(Source::pending_due) {
            // It is due since before this look if that could not send it.
            let left = due
                .checked_duration_since(now)
                .filter(|left| !left.is_zero());
            patience = patience.min(left.unwrap_or(OVERDUE_INTERVAL));
        }
        if matches!(next, Wait::Idle | Wait::Unended) {
            for since in self.sources.iter().filter_map(|s| s.detached_since) {
                patience = patience.min(self.log.rotate_wait.saturating_sub(since.elapsed()));
            }
        }
        patience.max(Duration::from_millis(1))
    }

    /// One look: notices what happened and reads what is there to read.
    fn look(&mut self) -> Wait {
        // The size of the newest file first, then the older ones to their end: see the text of `tail`.
        loop {
            if let Err(error) = self.follow() {
                self.complain_of(&error);
                return match is_shortage(&error) {
                    true => Wait::Permit,
                    false => Wait::Idle,
                };
            }
            if self.waits_for_blocked() {
                // `--once` ends where it is idle.
                let is_once = self.shared.once;
                return if is_once { Wait::Rate } else { Wait::Idle };
            }
            let mut sent = false;
            let mut at = 0;
            while at < self.sources.len() {
                match self.drain(at, &mut sent) {
                    Ok(Drained::End) => at += 1,
                    Ok(Drained::Finished) => {}
                    Ok(Drained::Partial) if self.shared.once => return Wait::Unended,
                    Ok(Drained::Partial) => break,
                    Ok(Drained::Rate) => return Wait::Rate,
                    Ok(Drained::ToChange) => {
                        self.take_change();
                        sent = true;
                        break;
                    }
                    // The content is not what it was: look at everything again.
                    Ok(Drained::Changed) => {
                        self.must_sync = true;
                        sent = true;
                        break;
                    }
                    Ok(Drained::Budget) => return Wait::Budget,
                    Ok(Drained::Stop) => return Wait::Stop,
                    Err(error) => {
                        self.complain_of(&error);
                        break;
                    }
                }
            }
            // New bytes may have come in the meantime; where the kernel tells of them, that is another look. What
            // happens to the path must be noticed too. `--once` ends when what was there at the look is read.
            if !sent || self.is_settled() || (self.shared.once && !self.must_sync) {
                return Wait::Idle;
            }
            if self.shared.thread_pressure.has_waiters() {
                return Wait::Yield;
            }
        }
    }

    /// Later lines wait for a rotated file that cannot be read for now as long as for one that is still written to.
    fn waits_for_blocked(&self) -> bool {
        self.blocked_since
            .is_some_and(|since| since.elapsed() < self.log.rotate_wait)
    }

    /// Has the sources be what the path and the files say.
    fn follow(&mut self) -> io::Result<()> {
        if self.ending == Ending::Reading && !self.must_sync {
            return self.release_deleted();
        }
        let questions = self.shared.registry.questions.take(&self.path);
        for _ in 0..MOST_SYNCS {
            let is_asked = !questions.is_empty();
            if !self.must_sync && !self.is_retry_due() && !self.has_changed(is_asked)? {
                if self.had_trouble_at_sync {
                    self.trouble.lasts();
                }
                break;
            }
            self.sync()?;
            if self.must_sync || self.paused.is_some() {
                break;
            }
        }
        // Who gets no answer asks again.
        Questions::answer(questions);
        self.note_seen();
        self.release_deleted()
    }

    fn is_retry_due(&mut self) -> bool {
        self.forget_late();
        let since = self.last_sync.elapsed();
        let is_early = self
            .blocked_since
            .is_some_and(|b| b.elapsed() < self.log.rotate_wait);
        let is_blocked = self.blocked_since.is_some() || self.trouble.is_present();
        let interval = if is_early {
            POLL_INTERVAL
        } else {
            LOOK_INTERVAL
        };
        (is_blocked && since >= interval)
            || (!self.late.is_empty() && self.last_event > self.last_sync && since >= LATE_INTERVAL)
    }

    /// Whether the file at the path is open in another tailer, as it was when that was first seen.
    pub(super) fn is_read_elsewhere(&self, stat: &FileStat) -> bool {
        self.read_elsewhere == Some((stat.inode, stat.born_ns))
            && self.shared.registry.is_open(stat.inode, stat.born_ns)
    }

    /// The last change of the current file that was seen while it lay at the path, in ns since 1970. 0 if the clock
    /// was set since, the file's time is not of this clock, or it is not known what lay beside it.
    pub(super) fn in_place_at_ns(&self) -> i64 {
        let Some((at, then_ms, modified_ns)) = self.in_place_at.filter(|_| self.has_current) else {
            return 0;
        };
        let since_ms = i64::try_from(at.elapsed().as_millis()).unwrap_or(i64::MAX);
        let drift_ms = now_ms().saturating_sub(then_ms).saturating_sub(since_ms);
        let is_trusted = !self.was_sync_incomplete
            && drift_ms.abs() < CLOCK_WAS_SET_MS
            && modified_ns / 1_000_000 <= then_ms;
        if is_trusted { modified_ns } else { 0 }
    }

    /// Whether the path was rotated so lately that what rotation left may appear only now.
    pub(super) fn was_just_rotated(&self) -> bool {
        self.rotated_at
            .is_some_and(|at| at.elapsed() < JUST_ROTATED.max(self.log.rotate_wait))
    }

    /// Forgets watches of files that were read to their end long ago.
    fn forget_late(&mut self) {
        let keep = match self.has_current {
            true => LATE_FOR,
            false => LATE_FOR_WITHOUT_CURRENT,
        };
        while self.late.front().is_some_and(|(at, _)| at.elapsed() > keep) {
            self.late.pop_front();
        }
    }

    /// Closes everything; it is opened again where it stands.
    pub(super) fn close_all(&mut self) {
        for source in std::mem::take(&mut self.sources) {
            self.retire(&source, CloseReason::Paused);
        }
        self.has_current = false;
        self.must_sync = true;
    }

    pub(super) fn complain_of(&mut self, error: &io::Error) {
        match Errno::from_io_error(error) {
            Some(Errno::NFILE | Errno::MFILE) => return self.shared.descriptors.system_ran_out(),
            Some(Errno::STALE) => self.is_stale = true,
            _ => {}
        }
        if error.kind() != io::ErrorKind::NotFound {
            self.trouble.note(&self.path, error);
        }
    }
}

/// How far a source was read came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Drained {
    /// To the end, or to a partial line in a file that still grows.
    End,
    /// To a partial line in a rotated file, whose end must be awaited.
    Partial,
    /// To the end, for good: the source is gone from the list.
    Finished,
    /// The content is not what it was.
    Changed,
    Budget,
    /// To where the section's rate allows no more now.
    Rate,
    /// To where the tailer can go over to another section.
    ToChange,
    Stop,
}

/// A clock that differs by so much from the one that is never set was set.
const CLOCK_WAS_SET_MS: i64 = 500;
/// A look ends after so many changes of the path, to read in between.
const MOST_SYNCS: usize = 3;
/// How long after a rotation what it left may appear.
const JUST_ROTATED: Duration = Duration::from_secs(10);
/// How often a look tries to send what is due and could not be sent.
const OVERDUE_INTERVAL: Duration = Duration::from_millis(50);
/// How often a file that was read to its end is looked for again when something was written to it.
const LATE_INTERVAL: Duration = Duration::from_secs(1);
/// How long such files are watched.
const LATE_FOR: Duration = Duration::from_secs(600);
/// The same while nothing lies at the path, for which a tailer is kept.
const LATE_FOR_WITHOUT_CURRENT: Duration = Duration::from_secs(30);
