//! Following files.
//!
//! [`Tailer`] follows one path through rotations and truncations, [`watch`] wakes tailers and finds new
//! files, [`discover`] knows which files are wanted, [`claims`] which are known and being read.
//!
//! # Order across a rotation
//! A writer that goes over to a new file has written everything to the old one before. So the tailer
//! looks at the size of the new file *first*, then reads the old file to its end, then the new file up
//! to the size it saw: whatever it reads of the new file was written after everything in the old one
//! that it could still miss. The old file stays open until it was quiet for `rotate_wait`, for
//! writers that go on writing to it for a while.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, Sender, TryRecvError, select};
use rustix::io::Errno;

use crate::batch::{Batch, Destination, Ending, Progress, Route};
use crate::budget::Account;
use crate::buffer::BufferPool;
use crate::config::{HeaderChoice, LogConfig};
use crate::identity::{Fingerprint, Identity, Look};
use crate::metrics::Metrics;
use crate::wake::Waker;

pub mod claims;
mod content;
pub mod deleted;
pub mod discover;
mod framing;
mod parking;
mod pausing;
mod resume;
mod rotation;
pub mod scheduler;
mod siblings;
mod source;
pub mod turns;
pub mod watch;

use claims::Claims;
use content::Content;
use deleted::DeletedFiles;
use scheduler::{Crowd, Leave};
use source::{Chunk, Growth, Read, Source};
use turns::{Turn, Turns};
use watch::{FileWatch, WatchTable};

/// What all tailers have in common.
#[derive(Debug)]
pub struct Surroundings {
    /// Which files are known.
    pub claims: Claims,
    /// Wakes tailers.
    pub watches: Arc<WatchTable>,
    /// Read buffers.
    pub pool: Arc<BufferPool>,
    /// Who may hold files open.
    pub turns: Arc<Turns>,
    /// Whether threads are scarce.
    pub crowd: Arc<Crowd>,
    /// Deleted files that are held open.
    pub deleted: DeletedFiles,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Ship what is there and end (`--once`).
    pub once: bool,
}

/// What follows one path: it owns the open files, rotated ones that still drain first, and the position in
/// each. It runs on a `tail:<path>` thread, or is parked; see [`scheduler`].
#[derive(Debug)]
pub struct Tailer {
    path: Arc<Path>,
    log: Arc<LogConfig>,
    destination: Arc<Destination>,
    around: Arc<Surroundings>,
    account: Arc<Account>,
    waker: Waker,
    batches: Sender<Batch>,
    progress: Sender<Progress>,
    stop: Receiver<()>,
    /// Oldest first.
    sources: VecDeque<Source>,
    /// Whether the last of `sources` lies at the path.
    has_live: bool,
    /// Needed to hold files open.
    turn: Option<Turn>,
    /// The checkpoints of the path must be looked through before anything is read.
    must_resume: bool,
    /// The file was closed, for others to have their turn, when it looked like this; its watch stays.
    paused: Option<Box<(Look, Option<FileWatch>)>>,
    /// The file was there when the agent started for the first time.
    was_there_at_first: bool,
    /// What lay at the path when it was found.
    seen: Option<Box<Look>>,
    complaint: Option<String>,
    /// What is open must be opened anew: a server has forgotten it.
    is_stale: bool,
    /// How many files were read to their end.
    finished: u32,
    /// When it was last woken.
    woken_at: Instant,
}

/// Why a tailer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The path leads nowhere and everything that was there is read.
    Gone,
    /// It was told to, or `--once` and everything is read.
    Stopped,
    /// `--once`, and the file cannot be read.
    Unread,
}

/// What a look left to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Everything is read.
    Idle,
    /// The memory budget; a wake comes when there is some.
    Budget,
    /// A turn to hold files open; a wake comes then.
    Turn,
    /// There is more to read, and others wait for a thread.
    Yield,
    /// The stop came in between.
    Stop,
}

impl Tailer {
    /// A tailer for `path`. It waits for `waker`, which `account` rings too, and ends when `stop` is disconnected (and it is
    /// woken to see that).
    #[expect(
        clippy::too_many_arguments,
        reason = "its channels are what a thread is made of"
    )]
    pub fn new(
        path: Arc<Path>,
        log: Arc<LogConfig>,
        destination: Arc<Destination>,
        around: Arc<Surroundings>,
        account: Arc<Account>,
        waker: Waker,
        batches: Sender<Batch>,
        progress: Sender<Progress>,
        stop: Receiver<()>,
        was_there_at_first: bool,
        seen: Option<Look>,
    ) -> Self {
        Tailer {
            path,
            log,
            destination,
            around,
            account,
            waker,
            batches,
            progress,
            stop,
            sources: VecDeque::new(),
            has_live: false,
            turn: None,
            must_resume: true,
            paused: None,
            was_there_at_first,
            seen: seen.map(Box::new),
            complaint: None,
            is_stale: false,
            finished: 0,
            woken_at: Instant::now(),
        }
    }

    /// Runs on a `tail:<path>` thread until it can be parked, the path is gone and drained, or it is told
    /// to stop.
    pub fn run(&mut self) -> Leave {
        loop {
            // Before the look: what it does not see yet rings again.
            if self.waker.take() {
                self.woken_at = Instant::now();
            }
            // After the bell is taken: who stops all tailers rings it when the channel is gone.
            if self.stop.try_recv() == Err(TryRecvError::Disconnected) {
                return Leave::Ended(End::Stopped);
            }
            let next = if self.may_look() {
                self.look()
            } else {
                Next::Turn
            };
            if std::mem::take(&mut self.is_stale) {
                self.pause_all();
            }
            match next {
                Next::Stop => return Leave::Ended(End::Stopped),
                Next::Yield => return Leave::Yielded,
                Next::Idle if self.around.once => return Leave::Ended(self.end_of_once()),
                Next::Idle if self.sources.is_empty() && self.complaint.is_none() => {
                    return Leave::Ended(End::Gone);
                }
                Next::Idle => self.pause_if_wanted(),
                Next::Budget | Next::Turn => {}
            }
            if let Some(leave) = self.may_leave(next) {
                return leave;
            }
            if self.waker.wait(self.patience(next)) {
                self.woken_at = Instant::now();
            }
        }
    }

    /// Everything that is there is read, as far as that is possible.
    fn end_of_once(&self) -> End {
        for source in &self.sources {
            let partial = source.size.saturating_sub(source.position);
            if partial > 0 {
                let path = self.path.display();
                log::warn!(
                    "'{path}': the last {partial} bytes have no newline yet and are left for a later run"
                );
            }
        }
        match &self.complaint {
            Some(complaint) if !complaint.is_empty() => End::Unread,
            _ => End::Stopped,
        }
    }

    /// How long to wait without being woken.
    fn patience(&self, next: Next) -> Duration {
        let unwatched = self.sources.iter().any(|source| source.watch.is_none());
        let must_open = self.must_resume && self.complaint.is_some();
        let mut patience = if unwatched || must_open {
            POLL_INTERVAL
        } else {
            LOOK_INTERVAL
        };
        if self.turn.is_some() && self.around.turns.are_scarce() {
            // To give it back soon when it is wanted.
            patience = patience.min(TURN_INTERVAL);
        }
        if next == Next::Idle {
            for quiet_since in self.sources.iter().filter_map(|source| source.quiet_since) {
                patience = patience.min(self.log.rotate_wait.saturating_sub(quiet_since.elapsed()));
            }
        }
        patience.max(Duration::from_millis(1))
    }

    /// One look: notices what happened to the path and reads what is there to read.
    fn look(&mut self) -> Next {
        let noticed = self.notice();
        self.complain_of(noticed);
        // The size of the newest file first, then the older ones to their end: see the module's text.
        loop {
            match self.look_at_sources() {
                Ok(false) => {}
                Ok(true) => continue,
                Err(error) => {
                    self.complain_of(Err(error));
                    return Next::Idle;
                }
            }
            let mut sent = false;
            let mut at = 0;
            while at < self.sources.len() {
                match self.drain(at, &mut sent) {
                    Ok(Drained::End) => at += 1,
                    Ok(Drained::Finished) => {}
                    Ok(Drained::Partial) => break,
                    // The sources are others now: look at all of them again.
                    Ok(Drained::Truncated) => {
                        sent = true;
                        break;
                    }
                    Ok(Drained::Budget) => return Next::Budget,
                    Ok(Drained::Stop) => return Next::Stop,
                    Err(error) => {
                        self.complain_of(Err(error));
                        break;
                    }
                }
            }
            // New bytes may have come in the meantime; a busy file is read on without a wait, but
            // what happens to the path must be noticed too.
            if !sent || self.around.once {
                return Next::Idle;
            }
            if self.around.crowd.is_waiting() {
                return Next::Yield;
            }
            let noticed = self.notice();
            self.complain_of(noticed);
        }
    }

    /// Looks at all sources, the newest first, and lets go of deleted files that take too much disk. True if
    /// a file was truncated: then they are others now.
    fn look_at_sources(&mut self) -> io::Result<bool> {
        let mut doomed = Vec::new();
        for at in (0..self.sources.len()).rev() {
            if self.compare(at)? {
                return Ok(true);
            }
            let Some(source) = self.sources.get(at) else {
                continue;
            };
            if source.quiet_since.is_none() {
                continue;
            }
            let look = source.content.look()?;
            let serial = source.checkpoint.serial;
            if look.links == 0 && self.around.deleted.hold(serial, look.size, &self.waker) {
                doomed.push(at);
            }
        }
        // From the back, so that the places before stay what they are.
        for at in doomed {
            let Some(source) = self.sources.remove(at) else {
                continue;
            };
            let lost = source.size.saturating_sub(source.position);
            self.retire(&source, Ending::Gone);
            if lost > 0 {
                self.lose(
                    lost,
                    source.position,
                    "are in a deleted file that exceeds [agent] deleted_bytes_limit",
                );
            }
        }
        Ok(false)
    }

    /// Bytes that nobody can read any more.
    fn lose(&self, bytes: u64, offset: u64, why: &str) {
        self.around.metrics.lost_bytes.add(bytes);
        log::error!(
            "'{}': {bytes} bytes from offset {offset} on {why} and are lost",
            self.path.display()
        );
    }

    /// Reads source number `at` up to the size that was seen.
    fn drain(&mut self, at: usize, sent: &mut bool) -> io::Result<Drained> {
        let Some(source) = self.sources.get_mut(at) else {
            return Ok(Drained::End);
        };
        let until = source.size;
        // One that was truncated and then rotated away before anybody looked.
        if source.content.can_change() && until < source.position {
            self.restart_truncated(at)?;
            return Ok(Drained::Truncated);
        }
        let is_quiet = source
            .quiet_since
            .is_some_and(|since| since.elapsed() >= self.log.rotate_wait);
        loop {
            let Some(source) = self.sources.get_mut(at) else {
                return Ok(Drained::End);
            };
            let growth = if is_quiet {
                Growth::Finished
            } else {
                Growth::Possible
            };
            match source.read(until, growth, &self.account, &self.around.pool)? {
                Read::Batch(chunk) => {
                    *sent = true;
                    if let Ok(Some(fingerprint)) = source.grown_fingerprint() {
                        learn(source, fingerprint, &self.around, &self.progress);
                    }
                    if !self.send(at, chunk) {
                        return Ok(Drained::Stop);
                    }
                }
                Read::NoBudget => return Ok(Drained::Budget),
                Read::Changed => {
                    self.restart_truncated(at)?;
                    return Ok(Drained::Truncated);
                }
                Read::End { .. } if is_quiet => {
                    if !source.is_unchanged()? {
                        self.restart_truncated(at)?;
                        return Ok(Drained::Truncated);
                    }
                    self.finish(at);
                    return Ok(Drained::Finished);
                }
                // Lines of the next file must not come before the end of this one.
                Read::End { partial } if partial > 0 && source.quiet_since.is_some() => {
                    return Ok(Drained::Partial);
                }
                Read::End { .. } => return Ok(Drained::End),
            }
        }
    }

    /// Hands bytes of source number `at` to the producer; false if the stop came first.
    fn send(&mut self, at: usize, chunk: Chunk) -> bool {
        let Chunk {
            start,
            data,
            framing,
            permit,
        } = chunk;
        let source = self.sources[at].id;
        let destination = self.destination.clone();
        let batch = Batch {
            destination,
            source,
            start,
            data,
            framing,
            read_at_ms: now_ms(),
            permit,
        };
        select! {
            send(self.batches, batch) -> sent => sent.is_ok(),
            recv(self.stop) -> _ => false,
        }
    }

    /// Source number `at` was rotated away, is read to its end and quiet.
    fn finish(&mut self, at: usize) {
        let Some(source) = self.sources.remove(at) else {
            return;
        };
        let is_deleted = source.content.look().is_ok_and(|look| look.links == 0);
        let why = match is_deleted {
            true => Ending::Gone,
            false => Ending::Finished,
        };
        self.retire(&source, why);
        self.finished += 1;
        if self.finished.is_multiple_of(TIDY_EVERY)
            && let Ok(present) = siblings::inodes_beside(&self.path)
        {
            self.around.claims.tidy(&self.path, &present);
        }
        log::info!(
            "'{}': {} is read to its end at {}",
            self.path.display(),
            source.checkpoint.identity,
            source.position
        );
    }

    fn retire(&self, source: &Source, why: Ending) {
        self.around.deleted.release(source.checkpoint.serial);
        self.around.claims.end(source.reached(), why);
        let _ = self.progress.send(Progress::Ended {
            source: source.id,
            end: source.position,
            modified_ns: source.modified_ns,
            why,
        });
    }

    /// The file is open already, by the tailer of another path.
    fn note_other_name(&mut self) {
        if self.complaint.is_none() {
            log::info!(
                "'{}' is read under another name already",
                self.path.display()
            );
            self.complaint = Some(String::new());
        }
    }

    /// One WARN for each new trouble with this file, not one for each look.
    fn complain_of(&mut self, result: io::Result<()>) {
        let Err(error) = result else { return };
        if error.kind() == io::ErrorKind::NotFound {
            // It was moved between a look and the opening; the next look tells where things stand.
            return;
        }
        match Errno::from_io_error(&error) {
            Some(Errno::NFILE | Errno::MFILE) => return self.around.turns.are_too_many(),
            Some(Errno::STALE) => self.is_stale = true,
            _ => {}
        }
        let text = error.to_string();
        if self.complaint.as_ref() != Some(&text) {
            log::warn!(
                "'{}' cannot be read: {text}; it is tried again",
                self.path.display()
            );
            self.complaint = Some(text);
        }
    }
}

/// How far [`Tailer::drain`] came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Drained {
    /// To the end, or to a partial line in a file that still grows.
    End,
    /// To a partial line in a rotated file, whose end must be awaited.
    Partial,
    /// To the end, for good: the source is gone from the list.
    Finished,
    /// The content is not what it was; the list of sources has changed.
    Truncated,
    Budget,
    Stop,
}

/// Makes the file better known.
fn learn(
    source: &mut Source,
    fingerprint: Fingerprint,
    around: &Surroundings,
    progress: &Sender<Progress>,
) {
    let identity = Identity {
        fingerprint,
        ..source.checkpoint.identity
    };
    source.checkpoint.identity = identity;
    around.claims.know(source.checkpoint.serial, identity);
    let _ = progress.send(Progress::Known {
        source: source.id,
        identity,
    });
}

/// Where the last line begins that has no newline yet, or `size`.
fn last_line_start(content: &mut Content, size: u64) -> io::Result<u64> {
    let mut window = vec![0; usize::try_from(size.min(64 << 10)).unwrap_or(0)];
    let start = size - window.len() as u64;
    let count = content.read_at(&mut window, start)?;
    window.truncate(count);
    Ok(
        memchr::memrchr(b'\n', &window).map_or(if start == 0 { 0 } else { size }, |at| {
            start + at as u64 + 1
        }),
    )
}

fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Headers, key and topic that the records of the files of `log` get.
pub fn route(log: &LogConfig, host: &str, headers: HeaderChoice) -> Route {
    Route {
        host: host.to_owned(),
        topic: log.topic.as_str().into(),
        key: log.key.as_ref().map(|key| key.as_bytes().into()),
        headers: match headers.host {
            true => vec![("host".to_owned(), host.as_bytes().to_vec())],
            false => Vec::new(),
        },
        with_path: headers.path,
        strip_cr: log.strip_cr,
    }
}

/// What is known of rotated files is tidied after so many of them.
const TIDY_EVERY: u32 = 64;
/// Why bytes of a truncated file are lost.
const TRUNCATED_AWAY: &str = "were truncated away before they were read";
/// How often a file is looked at without being asked to: the kernel's events are hints only.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// How often who has a turn sees whether others want it.
const TURN_INTERVAL: Duration = Duration::from_millis(200);
/// How often a file is looked at that has no watch.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
