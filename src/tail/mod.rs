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
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, Sender, select};

use crate::batch::{Batch, Checkpoint, Destination, Ending, Progress, Trace};
use crate::budget::{Account, Budget, BufferPool};
use crate::config::{LogConfig, StartAt};
use crate::identity::{Fingerprint, Identity, Inode, Look};
use crate::metrics::Metrics;

pub mod claims;
mod content;
pub mod deleted;
pub mod discover;
mod siblings;
mod source;
pub mod turns;
pub mod watch;

use claims::Claims;
use content::Content;
use deleted::DeletedFiles;
use siblings::{Age, Sibling, Siblings};
use source::{Chunk, Read, Source};
use turns::{Turn, Turns};
use watch::{FileWatch, WatchTable};

/// What all tailers have in common.
#[derive(Debug)]
pub struct Surroundings {
    /// Which files are known.
    pub claims: Claims,
    /// Wakes tailers.
    pub watches: Arc<WatchTable>,
    /// The memory budget.
    pub budget: Arc<Budget>,
    /// Read buffers.
    pub pool: Arc<BufferPool>,
    /// Who may hold files open.
    pub turns: Arc<Turns>,
    /// Deleted files that are held open.
    pub deleted: DeletedFiles,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Ship what is there and end (`--once`).
    pub once: bool,
}

/// The body of a `tail:<path>` thread: it owns the open files of one path, rotated ones that still
/// drain first, and the position in each.
#[derive(Debug)]
pub struct Tailer {
    path: PathBuf,
    log: Arc<LogConfig>,
    destination: Arc<Destination>,
    around: Arc<Surroundings>,
    account: Arc<Account>,
    wake: Receiver<()>,
    waker: Sender<()>,
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
    paused: Option<(Look, Option<FileWatch>)>,
    /// The file was there when the agent started for the first time.
    was_there_at_first: bool,
    /// What lay at the path when it was found.
    seen: Option<Look>,
    complaint: Option<String>,
    /// How many files were read to their end.
    finished: u32,
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
    /// The stop came in between.
    Stop,
}

impl Tailer {
    /// A tailer for `path`. It is woken through `wake`/`waker` (two ends of a channel of length 1) and
    /// ends when `stop` is disconnected.
    #[expect(
        clippy::too_many_arguments,
        reason = "its channels are what a thread is made of"
    )]
    pub fn new(
        path: PathBuf,
        log: Arc<LogConfig>,
        destination: Arc<Destination>,
        around: Arc<Surroundings>,
        (waker, wake): (Sender<()>, Receiver<()>),
        batches: Sender<Batch>,
        progress: Sender<Progress>,
        stop: Receiver<()>,
        was_there_at_first: bool,
        seen: Option<Look>,
    ) -> Self {
        let account = around.budget.account(waker.clone());
        Tailer {
            path,
            log,
            destination,
            around,
            account,
            wake,
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
            seen,
            complaint: None,
            finished: 0,
        }
    }

    /// Runs on the `tail:<path>` thread until the path is gone and drained, or it is told to stop.
    pub fn run(mut self) -> End {
        loop {
            let next = if self.may_look() {
                self.look()
            } else {
                Next::Turn
            };
            match next {
                Next::Stop => return End::Stopped,
                Next::Idle if self.around.once => return self.end_of_once(),
                Next::Idle if self.sources.is_empty() && self.complaint.is_none() => {
                    return End::Gone;
                }
                Next::Idle => self.pause_if_wanted(),
                Next::Budget | Next::Turn => {}
            }
            select! {
                recv(self.wake) -> _ => {}
                recv(self.stop) -> _ => return End::Stopped,
                default(self.patience(next)) => {}
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

    /// Whether there is something to look at, and the right to.
    fn may_look(&mut self) -> bool {
        if let Some((paused, _)) = &self.paused {
            let unchanged = Look::at_path(&self.path).is_ok_and(|look| {
                (look.inode, look.size, look.modified_ns)
                    == (paused.inode, paused.size, paused.modified_ns)
            });
            if unchanged {
                return false;
            }
        }
        if self.turn.is_none() {
            self.turn = self.around.turns.take(&self.waker);
        }
        if self.turn.is_none() {
            // So that it is known under whatever name it has when the turn comes.
            let noted = self.note_unread();
            self.complain_of(noted);
            return false;
        }
        if self.paused.take().is_some() {
            self.must_resume = true;
        }
        if self.must_resume {
            match self.resume() {
                Ok(()) => self.must_resume = false,
                Err(error) => {
                    self.complain_of(Err(error));
                    return false;
                }
            }
        }
        true
    }

    /// Gives the turn back if others wait for one and everything here is read.
    fn pause_if_wanted(&mut self) {
        if !self.around.turns.are_wanted() {
            return;
        }
        let is_read = self.has_live
            && self.sources.len() == 1
            && self
                .sources
                .front()
                .is_some_and(|source| source.position == source.size);
        if self.sources.is_empty() {
            // A complaint holds nothing open.
            self.turn = None;
        } else if is_read
            && let Some(mut source) = self.sources.pop_front()
            && let Ok(look) = source.content.look()
        {
            self.has_live = false;
            self.retire(&source, Ending::Paused);
            let seen = Look {
                size: source.size,
                modified_ns: source.modified_ns,
                ..look
            };
            self.paused = Some((seen, source.watch.take()));
            self.turn = None;
        }
    }

    /// While there is no turn to read the file at the path, makes it known where it would be read from.
    fn note_unread(&mut self) -> io::Result<()> {
        if !self.around.claims.of_path(&self.path).is_empty() {
            // From what is known, what came after it is found.
            return Ok(());
        }
        let turns = self.around.turns.clone();
        let _moment = turns.moment();
        if let Some((sibling, checkpoint)) = self.seen_and_rotated()? {
            self.push_rotated(sibling, Some(checkpoint));
            self.pause_all();
            return Ok(());
        }
        let Some((mut content, look)) = Content::open(&self.path)? else {
            return Ok(());
        };
        let (known, _) = self.around.claims.of_inode(look.inode);
        if known.iter().any(|c| siblings::is_same_inode(c, &look)) {
            return Ok(());
        }
        let is_first = self.around.claims.of_path(&self.path).is_empty() && self.was_there_at_first;
        let start = match is_first && self.log.start_at == StartAt::End {
            true => last_line_start(&mut content, look.size)?,
            false => 0,
        };
        let checkpoint = self.fresh(&mut content, &look, start)?;
        self.push(content, self.path.clone(), checkpoint, look, None);
        self.pause_all();
        Ok(())
    }

    /// Closes everything; it is opened again where it stands.
    fn pause_all(&mut self) {
        for source in std::mem::take(&mut self.sources) {
            self.retire(&source, Ending::Paused);
        }
        self.has_live = false;
        self.must_resume = true;
    }

    /// How long to wait without being woken.
    fn patience(&self, next: Next) -> Duration {
        let unwatched = self.sources.iter().any(|source| source.watch.is_none());
        let mut patience = if unwatched {
            POLL_INTERVAL
        } else {
            LOOK_INTERVAL
        };
        if next == Next::Idle {
            for quiet_since in self.sources.iter().filter_map(|source| source.quiet_since) {
                patience = patience.min(self.log.rotate_wait.saturating_sub(quiet_since.elapsed()));
            }
        }
        patience.max(Duration::from_millis(1))
    }

    /// Goes on where the last run of the agent, or the last tailer of this path, stood: first the
    /// files that were rotated away since, oldest first.
    fn resume(&mut self) -> io::Result<()> {
        let known = self.around.claims.of_path(&self.path);
        let Some(newest) = known.last() else {
            return self.resume_seen();
        };
        // What followed on the newest one is found from there.
        self.seen = None;
        // A file that appeared since was written since, so nothing of it may be left out.
        self.was_there_at_first = false;
        let mut live = Content::open(&self.path).ok().flatten();
        let mut after = Age {
            born_ns: newest.identity.born_ns,
            modified_ns: newest.modified_ns,
        };
        let mut rotated: Vec<(Sibling, Option<Checkpoint>)> = Vec::new();
        for checkpoint in &known {
            if let Some((content, look)) = &mut live
                && siblings::is_same_file(checkpoint, content, look)?
            {
                continue;
            }
            if checkpoint.finished && checkpoint.serial != newest.serial {
                continue;
            }
            // Under another name by now, with other content.
            let truncated = match checkpoint.finished {
                true => None,
                false => self.siblings().find_truncated(checkpoint)?,
            };
            let live_inode = live.as_ref().map(|(_, look)| look.inode);
            let truncated = truncated.filter(|s| Some(s.look.inode) != live_inode);
            let Some(sibling) = self.siblings().find(checkpoint)? else {
                self.report_gone(checkpoint);
                rotated.extend(truncated.map(|sibling| (sibling, None)));
                continue;
            };
            if checkpoint.serial == newest.serial {
                after = Age::of(&sibling.look);
            }
            if checkpoint.finished && sibling.look.size <= checkpoint.offset {
                continue;
            }
            // The truncated content and its copy may both have a checkpoint: the earlier one counts.
            match rotated
                .iter_mut()
                .find(|(other, _)| other.look.inode == sibling.look.inode)
            {
                Some((_, Some(other))) if other.offset <= checkpoint.offset => {}
                Some((_, other)) => *other = Some(checkpoint.clone()),
                None => rotated.push((sibling, Some(checkpoint.clone()))),
            }
            rotated.extend(truncated.map(|sibling| (sibling, None)));
        }
        // With other content it was truncated, and what was copied before the last time is to be found. An
        // empty one may have been filled, copied and truncated.
        let was_empty = newest.offset == 0 && newest.identity.fingerprint.len == 0;
        let is_newest_live = match &mut live {
            Some((content, look)) => !was_empty && siblings::is_same_file(newest, content, look)?,
            None => false,
        };
        if !is_newest_live {
            let found: Vec<Inode> = rotated.iter().map(|(s, _)| s.look.inode).collect();
            let mut unknown = self.unknown_between(after, live.as_ref().map(|(_, look)| look))?;
            unknown.retain(|sibling| !found.contains(&sibling.look.inode));
            if !unknown.is_empty() {
                rotated.extend(unknown.into_iter().map(|sibling| (sibling, None)));
                siblings::sort_by_age(&self.path, &mut rotated, |(sibling, _)| sibling);
            }
        }
        for (sibling, checkpoint) in rotated {
            self.push_rotated(sibling, checkpoint);
        }
        // While the others were looked for, the live file may have been renamed. It is the one that is
        // open here, not the one that lies at the path by now.
        if let Some((mut content, look)) = live {
            if let Some(checkpoint) = position_in(&known, &mut content, &look) {
                self.push_live(content, look, checkpoint);
            } else if known.iter().any(|c| siblings::is_same_inode(c, &look)) {
                // It was truncated, perhaps again since it was opened here.
                let (checkpoint, look) = self.fresh_live(&mut content, look)?;
                self.push_live(content, look, checkpoint);
            }
        }
        Ok(())
    }

    /// Nothing is known of the path: opens the file that was seen there, if it was rotated away since.
    fn resume_seen(&mut self) -> io::Result<()> {
        let Some((sibling, checkpoint)) = self.seen_and_rotated()? else {
            return Ok(());
        };
        let age = Age::of(&sibling.look);
        self.push_rotated(sibling, Some(checkpoint));
        let live = Look::at_path(&self.path).ok();
        self.push_successors(age, live.as_ref())?;
        Ok(())
    }

    /// The file that lay at the path when it was found, if it does not lie there any more.
    fn seen_and_rotated(&mut self) -> io::Result<Option<(Sibling, Checkpoint)>> {
        let Some(seen) = self.seen else {
            return Ok(None);
        };
        let wanted = Checkpoint {
            path: self.path.clone(),
            identity: Identity {
                inode: seen.inode,
                born_ns: seen.born_ns,
                fingerprint: Fingerprint::default(),
            },
            offset: 0,
            trace: Trace::default(),
            finished: false,
            serial: 0,
            modified_ns: seen.modified_ns,
        };
        let is_there =
            Look::at_path(&self.path).is_ok_and(|look| siblings::is_same_inode(&wanted, &look));
        if is_there {
            return Ok(None);
        }
        let found = self.siblings().find(&wanted)?;
        self.seen = None;
        let Some(mut sibling) = found else {
            return Ok(None);
        };
        let from_end = self.was_there_at_first && self.log.start_at == StartAt::End;
        self.was_there_at_first = false;
        let look = sibling.look;
        let offset = if from_end {
            seen.size.min(look.size)
        } else {
            0
        };
        let checkpoint = self.fresh(&mut sibling.content, &look, offset)?;
        Ok(Some((sibling, checkpoint)))
    }

    /// The file of a checkpoint is not there any more, and no copy either.
    fn report_gone(&self, checkpoint: &Checkpoint) {
        if checkpoint.finished {
            return;
        }
        log::error!(
            "'{}': the file that was read up to offset {} ({}) is gone or truncated, and no copy of it is to be \
             found; what was unread in it is lost",
            self.path.display(),
            checkpoint.offset,
            checkpoint.identity
        );
        self.around.claims.forget(checkpoint.serial);
        let _ = self.progress.send(Progress::Forgotten {
            serial: checkpoint.serial,
        });
    }

    /// One look: notices what happened to the path and reads what is there to read.
    fn look(&mut self) -> Next {
        let noticed = self.notice();
        self.complain_of(noticed);
        // The size of the newest file first, then the older ones to their end: see the module's text.
        loop {
            if let Some(at) = self.look_at_sources() {
                if let Err(error) = self.restart_truncated(at) {
                    self.complain_of(Err(error));
                    return Next::Idle;
                }
                continue;
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
            let noticed = self.notice();
            self.complain_of(noticed);
        }
    }

    /// Notes the sizes, the newest file's first, and lets go of deleted files that take too much disk.
    /// Stops at a source that was truncated and gives its place.
    fn look_at_sources(&mut self) -> Option<usize> {
        let mut doomed = Vec::new();
        for (at, source) in self.sources.iter_mut().enumerate().rev() {
            let Ok(look) = source.content.look() else {
                continue;
            };
            // The size that was seen before is kept: it says how many bytes went away unread.
            if source.is_shorter(&look).unwrap_or(false) {
                return Some(at);
            }
            if (look.size, look.modified_ns) != (source.size, source.modified_ns)
                && let Some(quiet_since) = &mut source.quiet_since
            {
                *quiet_since = Instant::now();
            }
            (source.size, source.modified_ns) = (look.size, look.modified_ns);
            if source.position == 0 && source.checkpoint.identity.fingerprint.len > 0 {
                // It may be truncated before the first byte is read, and its copy be looked for.
                learn(source, &self.around, &self.progress);
            }
            source.is_fresh = now_ms() - look.modified_ns / 1_000_000 < CLOCK_TICK_MS;
            let serial = source.checkpoint.serial;
            let is_deleted = look.links == 0 && source.quiet_since.is_some();
            if is_deleted && self.around.deleted.hold(serial, look.size, &self.waker) {
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
        None
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
            let max = self.log.max_line_bytes;
            match source.read(until, max, is_quiet, &self.account, &self.around.pool)? {
                Read::Batch(chunk) => {
                    *sent = true;
                    learn(source, &self.around, &self.progress);
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
        let Source {
            id,
            position,
            trace,
            modified_ns,
            checkpoint,
            ..
        } = source;
        self.around
            .claims
            .end(checkpoint.serial, *position, *trace, *modified_ns, why);
        let (end, modified_ns) = (*position, *modified_ns);
        let _ = self.progress.send(Progress::Ended {
            source: *id,
            end,
            modified_ns,
            why,
        });
    }

    /// Compares what lies at the path with the source that was last seen there.
    fn notice(&mut self) -> io::Result<()> {
        let look = match Look::at_path(&self.path) {
            Ok(look) => Some(look),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                None
            }
            // It cannot be told what lies there (rights, an I/O error): nothing follows from that.
            Err(error) => return Err(error),
        };
        if let (true, Some(source)) = (self.has_live, self.sources.back()) {
            match look {
                Some(look) if siblings::is_same_inode(&source.checkpoint, &look) => {
                    return self.notice_truncation(look);
                }
                _ => {
                    // It may have been truncated before it went away.
                    let look = source.content.look()?;
                    self.notice_truncation(look)?;
                    self.leave_live();
                }
            }
        }
        match look {
            Some(look) if look.is_regular => self.open_live(),
            Some(_) => Err(io::Error::other("is not a regular file")),
            None => {
                self.complaint = None;
                // A file that came and was rotated away between two looks left nothing at the path.
                if let Some(oldest) = self.sources.front() {
                    let after = Age::of(&oldest.content.look()?);
                    self.push_successors(after, None)?;
                }
                Ok(())
            }
        }
    }

    /// The newest source was renamed or deleted, or another file lies at its path.
    fn leave_live(&mut self) {
        self.has_live = false;
        if let Some(source) = self.sources.back_mut() {
            source.quiet_since = Some(Instant::now());
            let is_deleted = source.content.look().is_ok_and(|look| look.links == 0);
            log::info!(
                "'{}': {} was {}",
                self.path.display(),
                source.checkpoint.identity,
                if is_deleted {
                    "deleted"
                } else {
                    "rotated away"
                }
            );
        }
    }

    /// Opens what lies at the path now, and before it what was rotated away unseen.
    fn open_live(&mut self) -> io::Result<()> {
        let Some((mut content, look)) = Content::open(&self.path)? else {
            return Ok(());
        };
        let (mut known, is_open) = self.around.claims.of_inode(look.inode);
        if is_open {
            // One of ours that was renamed back, or another path leads there as well.
            match self
                .sources
                .iter()
                .position(|s| s.checkpoint.identity.inode == look.inode)
            {
                Some(at) => {
                    let mut source = self
                        .sources
                        .remove(at)
                        .expect("the position was just found");
                    source.quiet_since = None;
                    self.sources.push_back(source);
                    self.has_live = true;
                }
                None => self.note_other_name(),
            }
            return Ok(());
        }
        if let Some(seen) = self.seen {
            if (seen.inode, seen.born_ns) != (look.inode, look.born_ns) {
                self.resume_seen()?;
            }
            self.seen = None;
        }
        if known.is_empty() {
            // The device may have another number since a remount.
            known = self.around.claims.of_path(&self.path);
            known.retain(|c| siblings::is_same_inode(c, &look));
        }
        let is_known = known.iter().any(|c| siblings::is_same_inode(c, &look));
        let is_left = |c: &Checkpoint| !c.finished && !siblings::is_same_inode(c, &look);
        if !is_known && self.around.claims.of_path(&self.path).iter().any(is_left) {
            // It lay here when the checkpoints were looked through, and was rotated away before it was opened.
            self.resume()?;
            if self.has_live {
                return Ok(());
            }
        }
        // From the oldest file that is still open: what a listing has missed is found by the next one.
        let last = match self.sources.front() {
            Some(source) => Some(Age::of(&source.content.look()?)),
            None => self.around.claims.of_path(&self.path).last().map(|c| Age {
                born_ns: c.identity.born_ns,
                modified_ns: c.modified_ns,
            }),
        };
        let is_first = last.is_none() && !is_known && self.was_there_at_first;
        if let Some(after) = last
            && !is_known
        {
            self.push_successors(after, Some(&look))?;
        }
        let checkpoint = position_in(&known, &mut content, &look);
        let from_end = checkpoint.is_none() && is_first && self.log.start_at == StartAt::End;
        self.was_there_at_first = false;
        let (checkpoint, look) = match checkpoint {
            Some(checkpoint) => (checkpoint, look),
            None if from_end => {
                let start = last_line_start(&mut content, look.size)?;
                (self.fresh(&mut content, &look, start)?, look)
            }
            None => self.fresh_live(&mut content, look)?,
        };
        self.push_live(content, look, checkpoint);
        Ok(())
    }

    /// Adds the file that lies at the path.
    fn push_live(&mut self, content: Content, look: Look, checkpoint: Checkpoint) {
        let checkpoint = Checkpoint {
            path: self.path.clone(),
            finished: false,
            ..checkpoint
        };
        self.has_live = self.push(content, self.path.clone(), checkpoint, look, None);
        if self.has_live {
            self.complaint = None;
            self.around.watches.follow_target(&self.path);
        }
    }

    /// The live file may be shorter than what was read of it, or have other content before the
    /// position: then it was truncated.
    fn notice_truncation(&mut self, mut look: Look) -> io::Result<()> {
        let at = self.sources.len().saturating_sub(1);
        let Some(source) = self.sources.back_mut() else {
            return Ok(());
        };
        let changed = source.has_changed(&look);
        if source.was_truncated(&look)? {
            return self.restart_truncated(self.sources.len() - 1);
        }
        let sound = source.sound;
        let was_empty = source.position == 0 && source.checkpoint.identity.fingerprint.len == 0;
        if changed && was_empty {
            // It may have been filled, copied and truncated since; only the copy can tell. What happens
            // after the first bytes are known shows in them.
            learn(source, &self.around, &self.progress);
            look = source.content.look()?;
            let after = Age {
                born_ns: sound.1,
                modified_ns: sound.1,
            };
            if !self.unknown_between(after, Some(&look))?.is_empty() {
                return self.restart_truncated(at);
            }
        }
        if let Some(source) = self.sources.get_mut(at) {
            // The bytes were looked at after the size.
            source.sound = (look.size, look.modified_ns);
        }
        Ok(())
    }

    /// The content of source number `at` went away; the file goes on as a new source from its
    /// beginning, after the copy that rotation made of the old content, if there is one.
    fn restart_truncated(&mut self, at: usize) -> io::Result<()> {
        let is_live = self.has_live && at + 1 == self.sources.len();
        let Some(mut old) = self.sources.remove(at) else {
            return Ok(());
        };
        let look = old.content.look()?;
        if old.content.can_change()
            && old.position > 0
            && old.position <= look.size
            && old.is_unchanged()?
        {
            // Cut behind what was read: it goes on from there.
            let lost = old.size.saturating_sub(look.size);
            old.cut(&look);
            self.sources.insert(at, old);
            if lost > 0 {
                self.lose(lost, look.size, TRUNCATED_AWAY);
            }
            return Ok(());
        }
        old.watch = None;
        log::info!(
            "'{}': {} was truncated at offset {}",
            self.path.display(),
            old.checkpoint.identity,
            old.position
        );
        let later = self.sources.split_off(at);
        let read = Checkpoint {
            offset: old.position,
            trace: old.trace,
            ..old.checkpoint.clone()
        };
        let (size, modified_ns) = old.sound;
        let copy = self.push_copy(&read);
        // Frees the claim of the inode for its new content. The registrar is told when the new source is
        // known to it: a crash in between must not find neither.
        self.around.claims.end(
            old.checkpoint.serial,
            old.position,
            old.trace,
            old.modified_ns,
            Ending::Gone,
        );
        self.around.deleted.release(old.checkpoint.serial);
        let ended = Progress::Ended {
            source: old.id,
            end: old.position,
            modified_ns: old.modified_ns,
            why: Ending::Gone,
        };
        let mut saved = copy.map_or(old.position, |copy| copy.size);
        if is_live {
            // It may have been copied and truncated more than once since the last look.
            let after = copy.as_ref().map_or(
                Age {
                    born_ns: modified_ns,
                    modified_ns,
                },
                Age::of,
            );
            let others = self.push_successors(after, Some(&look))?;
            if old.position == 0 && copy.is_none() {
                saved = others;
            }
        }
        let lost = size.saturating_sub(saved.max(old.position));
        if lost > 0 {
            self.lose(lost, size - lost, TRUNCATED_AWAY);
        }
        let (checkpoint, look) = match is_live {
            true => self.fresh_live(&mut old.content, look)?,
            false => (self.fresh(&mut old.content, &look, 0)?, look),
        };
        let pushed = self.push(
            old.content,
            old.opened_at,
            checkpoint,
            look,
            old.quiet_since,
        );
        let _ = self.progress.send(ended);
        if is_live {
            self.has_live = pushed;
        }
        self.sources.extend(later);
        Ok(())
    }

    /// Reads the rest of truncated content from the copy that rotation made, if there is one.
    fn push_copy(&mut self, read: &Checkpoint) -> Option<Look> {
        let copy = self.siblings().find(read).ok().flatten()?;
        if copy.look.inode == read.identity.inode {
            return None;
        }
        let look = copy.look;
        self.push_rotated(
            copy,
            Some(Checkpoint {
                finished: false,
                ..read.clone()
            }),
        );
        Some(look)
    }

    /// Opens the unknown files that were rotated away after the known one of age `after` and before
    /// the `live` one was made; returns how many bytes they hold.
    fn push_successors(&mut self, after: Age, live: Option<&Look>) -> io::Result<u64> {
        let mut bytes = 0;
        for sibling in self.unknown_between(after, live)? {
            bytes += sibling.look.size;
            self.push_rotated(sibling, None);
        }
        Ok(bytes)
    }

    fn unknown_between(&self, after: Age, live: Option<&Look>) -> io::Result<Vec<Sibling>> {
        let claims = &self.around.claims;
        let live_inode = live.map(|look| look.inode);
        let of_path = claims.of_path(&self.path);
        let is_known = |content: &mut Content, look: &Look| {
            let (known, is_open) = claims.of_inode(look.inode);
            let is_inode_known = known.iter().any(|c| {
                siblings::is_same_inode(c, look)
                    && (content.can_change() || siblings::holds(c, content, look).unwrap_or(false))
            });
            // An archive has an inode of its own and is known by what it holds.
            let is_content_known = !content.can_change()
                && of_path
                    .iter()
                    .filter(|c| c.finished && c.offset > 0)
                    .any(|c| siblings::holds(c, content, look).unwrap_or(false));
            is_open || is_inode_known || is_content_known || live_inode == Some(look.inode)
        };
        let before = live.map(Age::of);
        self.siblings().rotated_between(after, before, is_known)
    }

    fn siblings(&self) -> Siblings<'_> {
        Siblings {
            path: &self.path,
            rotated: &self.log.rotated,
        }
    }

    /// Adds a rotated file, from `checkpoint` or from its beginning.
    fn push_rotated(&mut self, sibling: Sibling, checkpoint: Option<Checkpoint>) {
        let Sibling {
            path,
            mut content,
            look,
        } = sibling;
        let checkpoint = match checkpoint {
            Some(checkpoint) => {
                let identity = Identity {
                    inode: look.inode,
                    born_ns: look.born_ns,
                    ..checkpoint.identity
                };
                Checkpoint {
                    identity,
                    path: self.path.clone(),
                    ..checkpoint
                }
            }
            None => match self.fresh(&mut content, &look, 0) {
                Ok(checkpoint) => checkpoint,
                Err(error) => return self.complain_of(Err(error)),
            },
        };
        // Quiet since its last change, as far as the clocks agree.
        let age = u64::try_from(now_ms().saturating_sub(look.modified_ns / 1_000_000)).unwrap_or(0);
        let quiet_since =
            Instant::now().checked_sub(Duration::from_millis(age).min(self.log.rotate_wait));
        self.push(
            content,
            path,
            checkpoint,
            look,
            Some(quiet_since.unwrap_or_else(Instant::now)),
        );
    }

    /// A checkpoint for a file that was never read.
    fn fresh(&self, content: &mut Content, look: &Look, offset: u64) -> io::Result<Checkpoint> {
        let fingerprint = Fingerprint::of(&content.head()?);
        Ok(Checkpoint {
            path: self.path.clone(),
            identity: Identity {
                inode: look.inode,
                born_ns: look.born_ns,
                fingerprint,
            },
            offset,
            trace: content.trace_before(offset, Trace::MAX_LEN.min(offset as usize) as u8)?,
            finished: false,
            serial: 0,
            modified_ns: look.modified_ns,
        })
    }

    /// As [`Tailer::fresh`], for the file at the path, with a look that is not older than the first bytes:
    /// since `look` it may have been filled, copied and truncated, and then the copy goes first.
    fn fresh_live(&mut self, content: &mut Content, look: Look) -> io::Result<(Checkpoint, Look)> {
        let checkpoint = self.fresh(content, &look, 0)?;
        let now = content.look()?;
        let modified_ns = look.modified_ns;
        if (now.size, now.modified_ns) != (look.size, modified_ns) {
            let born_ns = modified_ns;
            let after = Age {
                born_ns,
                modified_ns,
            };
            self.push_successors(after, Some(&now))?;
        }
        Ok((checkpoint, now))
    }

    fn push(
        &mut self,
        content: Content,
        at: PathBuf,
        checkpoint: Checkpoint,
        look: Look,
        quiet_since: Option<Instant>,
    ) -> bool {
        let checkpoint = Checkpoint {
            modified_ns: look.modified_ns,
            ..checkpoint
        };
        let Some((checkpoint, replaces)) = self.around.claims.open(checkpoint) else {
            self.note_other_name();
            return false;
        };
        log::info!(
            "'{}': {} is read from offset {}",
            at.display(),
            checkpoint.identity,
            checkpoint.offset
        );
        self.around
            .metrics
            .to_read_bytes
            .add(look.size.saturating_sub(checkpoint.offset));
        let mut source = Source::new(content, at, checkpoint, &look);
        if let Err(error) = source.find_part(self.log.max_line_bytes) {
            self.complain_of(Err(error));
        }
        source.quiet_since = quiet_since;
        source.watch =
            self.around
                .watches
                .watch_file(source.content.file(), &source.opened_at, &self.waker);
        let _ = self.progress.send(Progress::Opened {
            source: source.id,
            checkpoint: source.checkpoint.clone(),
            replaces,
            acked: source.acked.clone(),
        });
        self.sources.push_back(source);
        true
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
        if matches!(error.raw_os_error(), Some(23 | 24)) {
            return self.around.turns.are_too_many();
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

/// Makes the file better known if it has grown since.
fn learn(source: &mut Source, around: &Surroundings, progress: &Sender<Progress>) {
    let Ok(Some(fingerprint)) = source.grown_fingerprint() else {
        return;
    };
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

/// The checkpoint among `known` that stands in this file. The same content may have two, if a crash
/// came after it was opened again: then the one that has not come to its end counts, at its smaller
/// offset.
fn position_in(known: &[Checkpoint], content: &mut Content, look: &Look) -> Option<Checkpoint> {
    let standing = known
        .iter()
        .filter(|c| siblings::is_same_file(c, content, look).unwrap_or(false));
    let first = standing.min_by_key(|c| match c.finished {
        true => (true, u64::MAX - c.offset),
        false => (false, c.offset),
    });
    first.cloned()
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

/// Headers, key and topic that the records of `path` get.
pub fn destination(
    path: &Path,
    log: &LogConfig,
    host: &str,
    with_host: bool,
    with_path: bool,
) -> Destination {
    use std::os::unix::ffi::OsStrExt;
    let path_bytes = path.as_os_str().as_bytes();
    let mut headers = Vec::new();
    if with_host {
        headers.push(("host".to_owned(), host.as_bytes().to_vec()));
    }
    if with_path {
        headers.push(("path".to_owned(), path_bytes.to_vec()));
    }
    Destination {
        topic: log.topic.as_str().into(),
        key: log.key.as_ref().map(|key| key.as_bytes().into()),
        headers,
        strip_cr: log.strip_cr,
        file_key: [host.as_bytes(), b":", path_bytes].concat().into(),
        path: path.to_owned(),
    }
}

/// What is known of rotated files is tidied after so many of them.
const TIDY_EVERY: u32 = 64;
/// Why bytes of a truncated file are lost.
const TRUNCATED_AWAY: &str = "were truncated away before they were read";
/// How far apart two changes are at least whose times differ: file systems take the time of the last tick.
const CLOCK_TICK_MS: i64 = 50;
/// How often a file is looked at without being asked to: the kernel's events are hints only.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// How often a file is looked at that has no watch.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
