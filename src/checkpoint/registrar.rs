//! The thread that moves checkpoints.
//!
//! What an acknowledgement has moved is written within `checkpoint_interval`, at once if the last write is longer ago:
//! it survives a SIGKILL then, since the system has it. It is made to survive a power cut once a second at most, and where
//! little moves every five seconds.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::behind::Behind;
use super::positions::TopicPositions;
use super::schedule::{Looks, Schedule};
use super::store::Store;
use super::tracker::AckTracker;
use super::tracker::Changes;
use crate::batch::{SourceId, Span, TailChecksum};
use crate::condition::Condition;
use crate::deadline::Deadline;
use crate::metrics::Metrics;
use crate::progress::{Checkpoint, CloseReason, Progress, Saved, ShownSource, SourceState};
use crate::snapshot::PositionsStatus;

/// The body of the `registrar` thread: it owns the ack trackers and the checkpoint store.
#[derive(Debug)]
pub struct Registrar {
    /// None: a dry run, nothing is written.
    store: Option<Store>,
    /// The sections whose files are looked for.
    sections: Vec<String>,
    progress: Receiver<Progress>,
    schedule: Schedule,
    deadline: Deadline,
    metrics: Arc<Metrics>,
    /// In boxes, so that the free places of the table are small.
    open: HashMap<SourceId, Box<Tracked>>,
    /// Checkpoints of files that nobody reads at present, by serial number.
    rest: HashMap<u64, Checkpoint>,
    /// Serial numbers that were replaced before they came: who registers a file may tell of it after who opens it.
    replaced_early: HashSet<u64>,
    changes: Changes,
    looks: Looks,
    /// Something was acknowledged since the last look.
    has_acked: bool,
    /// Sizes were not written because their sources had just moved.
    is_to_look_again: bool,
    trouble: Condition,
    status: PositionsStatus,
    /// With `delivery = exactly_once`: the positions as records.
    positions: Option<TopicPositions>,
    /// The file is to be written anew: the sections stand at its beginning.
    is_to_begin: bool,
}

#[derive(Debug)]
struct Tracked {
    checkpoint: Checkpoint,
    tracker: AckTracker,
    shown: Arc<ShownSource>,
    behind: Behind,
    /// Set when the tailer has read it to its end: that end, and why.
    end: Option<(u64, CloseReason)>,
    /// It is forgotten once all of it is acknowledged, for whatever reason it is closed.
    is_forgotten: bool,
    /// The position that was written last, which becomes a mark when a later one is written.
    written: (u64, TailChecksum),
    change: Change,
    has_moved_since_look: bool,
}

/// What has to be written of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    Nothing,
    Place,
    All,
}

impl Tracked {
    fn note_size(&mut self) {
        self.checkpoint.size = self.seen_size();
    }

    fn seen_size(&self) -> u64 {
        self.shown.size().max(self.checkpoint.offset)
    }

    /// It has to be written.
    fn note(&mut self, source: SourceId, change: Change, changes: &mut Changes) {
        if self.change == Change::Nothing {
            changes.open.push(source);
        }
        self.change = self.change.max(change);
    }

    /// Makes the checkpoint what it is when it is written.
    fn settle(&mut self) {
        self.note_size();
        let Checkpoint {
            offset,
            tail_checksum,
            marks,
            ..
        } = &mut self.checkpoint;
        if *offset > self.written.0 {
            marks.add(self.written.0, self.written.1);
            self.written = (*offset, *tail_checksum);
        }
    }
}

impl Registrar {
    /// A registrar that goes on from `saved`, which `store` has loaded. Without a store it follows the
    /// acknowledgements and writes nothing.
    pub fn new(
        store: Option<Store>,
        saved: Saved,
        progress: Receiver<Progress>,
        interval: Duration,
        deadline: Deadline,
        metrics: Arc<Metrics>,
    ) -> Self {
        let checkpoints = saved.checkpoints.into_iter();
        let board = metrics.board.clone();
        Registrar {
            store,
            sections: saved.sections.unwrap_or_default(),
            progress,
            schedule: Schedule::new(interval, Instant::now()),
            deadline,
            metrics,
            open: HashMap::new(),
            rest: checkpoints.map(|c| (c.serial, c)).collect(),
            replaced_early: HashSet::new(),
            changes: Changes::default(),
            looks: Looks::default(),
            has_acked: false,
            is_to_look_again: false,
            trouble: Condition::on(&board),
            status: PositionsStatus::default(),
            positions: None,
            is_to_begin: false,
        }
    }

    /// Answers [`Progress::Sealed`] with records of these positions.
    pub fn with_positions(mut self, positions: Option<TopicPositions>) -> Self {
        self.positions = positions;
        self
    }

    /// Runs on the `registrar` thread. Ends when all senders of progress are gone, or at the
    /// deadline of a stop, after the last write.
    pub fn run(mut self) {
        loop {
            let stop_at = self.deadline.get();
            let next = self.schedule.next();
            let until = stop_at.map_or(next, |at| next.min(at));
            match self.progress.recv_deadline(until) {
                Ok(progress) => {
                    if !progress.is_awaited() {
                        // What many tailers tell in a moment would wake this thread again and again.
                        thread::sleep(GATHERING);
                    }
                    self.take(progress);
                }
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {}
            }
            // What came together is written together.
            for progress in self.progress.clone().try_iter().take(TOGETHER) {
                self.take(progress);
            }
            let now = Instant::now();
            if stop_at.is_some_and(|at| now >= at) {
                break;
            }
            self.write_what_is_due(now);
        }
        for progress in self.progress.clone().try_iter() {
            self.take(progress);
        }
        self.write_all();
        self.say_what_is_not_written();
        let unacknowledged: usize = self.open.values().filter(|t| t.end.is_some()).count();
        log::debug!(
            "checkpoints are written, {} open, {unacknowledged} of them read to the end",
            self.open.len()
        );
    }

    fn write_what_is_due(&mut self, now: Instant) {
        if self.schedule.is_look_due(now) {
            self.schedule.looked(now);
            if self.looks.is_worth_it(std::mem::take(&mut self.has_acked))
                && (self.metrics.has_grown.take() || self.is_to_look_again)
            {
                self.look_at_sizes();
            }
        }
        if self.schedule.is_write_due(now) {
            self.write(now);
        }
        if self.schedule.is_sync_due(now) {
            self.sync(now);
        }
    }

    fn write_all(&mut self) {
        for tracked in self.open.values_mut() {
            tracked.has_moved_since_look = false;
        }
        self.look_at_sizes();
        let now = Instant::now();
        if self.schedule.has_changes() {
            self.write(now);
        }
        self.sync(now);
    }

    fn take(&mut self, progress: Progress) {
        match progress {
            Progress::LookedForAll => self.schedule.changed(),
            Progress::Following { sections, interval } => {
                self.is_to_begin = self.sections != sections;
                self.sections = sections;
                self.schedule.keep_to(interval);
                self.schedule.changed();
            }
            Progress::Opened {
                source,
                checkpoint,
                replaces,
                continues,
                shown,
            } => {
                if let Some(positions) = &mut self.positions {
                    positions.open(&checkpoint, &replaces, continues);
                }
                self.open(source, checkpoint, replaces, shown);
            }
            Progress::Known { source, identity } => {
                if let Some(tracked) = self.open.get_mut(&source) {
                    // Content that nothing is known of cannot be told from other content: a crash in between,
                    // and a copytruncate before the next start, would make its copy a file that nobody looks for.
                    if tracked.checkpoint.never_had_content() {
                        self.schedule.changed_at_once();
                    }
                    tracked.checkpoint.identity = identity;
                    self.note(source, Change::All);
                }
            }
            Progress::Shown { source, shown } => {
                if let Some(tracked) = self.open.get_mut(&source) {
                    tracked.shown = shown;
                }
            }
            Progress::Acked(spans) => {
                self.has_acked = true;
                for span in spans {
                    self.done_with(&span);
                }
            }
            Progress::Sealed {
                producer,
                spans,
                reply,
            } => {
                // A producer that is gone does not care.
                let _ = reply.send(self.positions_after(producer, &spans));
            }
            Progress::Committed { producer, spans } => {
                if let Some(positions) = &mut self.positions {
                    positions.committed(producer);
                }
                self.take(Progress::Acked(spans));
            }
            Progress::Filtered(span) => self.done_with(&span),
            Progress::Skipped(span) => self.move_to(&span, 0),
            Progress::Registered(checkpoint) => self.register(checkpoint),
            Progress::Forgotten { serial } => self.forget(serial),
            Progress::Asked(answer) => {
                // Who asked and waits no longer has gone on without it.
                let _ = answer.try_send(self.positions(SystemTime::now()));
            }
            Progress::Closed {
                source,
                end,
                modified_ns,
                why,
            } => {
                if let Some(tracked) = self.open.get_mut(&source) {
                    tracked.end = Some((end, why));
                    tracked.checkpoint.modified_ns = modified_ns;
                    self.note(source, Change::All);
                    self.retire_if_done(source);
                }
            }
        }
    }

    fn register(&mut self, checkpoint: Checkpoint) {
        if self.replaced_early.remove(&checkpoint.serial) {
            return;
        }
        if let Some(positions) = &mut self.positions {
            positions.register(&checkpoint);
        }
        self.changes.rest.push(checkpoint.serial);
        self.rest.insert(checkpoint.serial, checkpoint);
        self.schedule.changed();
    }

    fn forget(&mut self, serial: u64) {
        if let Some(checkpoint) = self.rest.remove(&serial) {
            self.has_gone(&checkpoint);
            self.schedule.changed();
            if self.rest.capacity() > 4 * self.rest.len().max(LEAST_ROOM) {
                self.rest.shrink_to_fit();
            }
            return;
        }
        self.forget_when_acknowledged(serial);
    }

    /// A file is not known any more.
    fn has_gone(&mut self, checkpoint: &Checkpoint) {
        if let Some(positions) = &mut self.positions {
            positions.forget(checkpoint);
        }
        self.changes.forget(checkpoint.serial);
    }

    /// Has a source forgotten once all of it is acknowledged; false if there is none. Its tailer may tell that it has
    /// closed it after another one has told that it has opened the file.
    fn forget_when_acknowledged(&mut self, serial: u64) -> bool {
        let is_it = |tracked: &&mut Box<Tracked>| tracked.checkpoint.serial == serial;
        let tracked = self.open.values_mut().find(is_it);
        tracked.map(|t| t.is_forgotten = true).is_some()
    }

    fn open(
        &mut self,
        source: SourceId,
        checkpoint: Checkpoint,
        mut replaces: Vec<u64>,
        shown: Arc<ShownSource>,
    ) {
        // A source that was closed while some of it was on its way, and opened again behind that: were its checkpoint
        // replaced now, a crash would lose what is not acknowledged; and were it kept after that, the next start
        // would find it at a place that was passed long ago.
        replaces.retain(|serial| {
            let is_at_rest = self.rest.remove(serial).is_some();
            let is_open = !is_at_rest && self.forget_when_acknowledged(*serial);
            if !is_at_rest && !is_open {
                self.replaced_early.insert(*serial);
            }
            !is_open
        });
        self.changes.replace(checkpoint.serial, replaces);
        // A crash that comes before a file is known on disk, and a rotation before the next start, would make
        // it a file that nobody looks for.
        self.schedule.changed_urgently();
        let tracker = AckTracker::new(checkpoint.offset, checkpoint.tail_checksum);
        let mut behind = Behind::default();
        // What is there now was written before its last change.
        let modified = Duration::from_nanos(u64::try_from(checkpoint.modified_ns).unwrap_or(0));
        if shown.size() > checkpoint.offset {
            let changed = SystemTime::UNIX_EPOCH + modified;
            behind.saw(shown.size(), changed.min(SystemTime::now()));
        }
        let tracked = Tracked {
            written: (checkpoint.offset, checkpoint.tail_checksum),
            checkpoint,
            tracker,
            shown,
            behind,
            end: None,
            is_forgotten: false,
            change: Change::Nothing,
            has_moved_since_look: false,
        };
        self.open.insert(source, Box::new(tracked));
        self.note(source, Change::All);
    }

    /// An open source has to be written.
    fn note(&mut self, source: SourceId, change: Change) {
        let Some(tracked) = self.open.get_mut(&source) else {
            return;
        };
        tracked.note(source, change, &mut self.changes);
        self.schedule.changed();
    }

    /// The bytes of a span are acknowledged, or filters have dropped them.
    fn done_with(&mut self, span: &Span) {
        let bytes = span.end - span.start;
        self.metrics.acked_bytes.add(bytes);
        self.move_to(span, bytes);
    }

    /// Moves the checkpoint of a source over a span that is done with, of which `bytes` count, or a hole. An
    /// acknowledgement for a source that is done for (a truncated one) has no checkpoint to move.
    fn move_to(&mut self, span: &Span, bytes: u64) {
        let Some(tracked) = self.open.get_mut(&span.source) else {
            return;
        };
        tracked.shown.counters.acked_bytes.add(bytes);
        if tracked.tracker.ack(span) {
            let tracker = &tracked.tracker;
            tracked.behind.passed(tracker.offset());
            self.schedule
                .moved(tracker.offset() - tracked.checkpoint.offset);
            tracked.checkpoint.offset = tracker.offset();
            tracked.checkpoint.tail_checksum = tracker.tail_checksum();
            tracked.has_moved_since_look = true;
            let is_at_its_end = tracked.end.is_some();
            tracked.note(span.source, Change::Place, &mut self.changes);
            if is_at_its_end {
                self.retire_if_done(span.source);
            }
        }
    }

    /// A source that is read to its end and wholly acknowledged needs no tracker any more.
    fn retire_if_done(&mut self, source: SourceId) {
        let Some(Tracked {
            tracker,
            end: Some((end, why)),
            ..
        }) = self.open.get(&source).map(Box::as_ref)
        else {
            return;
        };
        if tracker.offset() < *end {
            return;
        }
        let why = *why;
        let Some(mut tracked) = self.open.remove(&source) else {
            return;
        };
        // It may be deleted now. To a start that finds it neither finished nor there, what was delivered of it is lost.
        self.schedule.changed();
        tracked.settle();
        let serial = tracked.checkpoint.serial;
        tracked.checkpoint.state = match why {
            _ if tracked.is_forgotten => return self.has_gone(&tracked.checkpoint),
            CloseReason::ContentGone => return self.has_gone(&tracked.checkpoint),
            CloseReason::Finished => SourceState::Finished,
            CloseReason::Paused => SourceState::Open,
        };
        if tracked.checkpoint.state == SourceState::Finished
            && let Some(positions) = &mut self.positions
        {
            positions.register(&tracked.checkpoint);
        }
        self.changes.rest.push(serial);
        self.rest.insert(serial, tracked.checkpoint);
    }

    /// Has what grew be written with its size. What moves is written with it anyway.
    fn look_at_sizes(&mut self) {
        self.is_to_look_again = false;
        let now = SystemTime::now();
        let mut has_found = false;
        for (source, tracked) in &mut self.open {
            let has_moved = std::mem::take(&mut tracked.has_moved_since_look);
            if tracked.seen_size() == tracked.checkpoint.size {
                continue;
            }
            has_found = true;
            tracked.behind.saw(tracked.seen_size(), now);
            if has_moved {
                self.is_to_look_again = true;
                continue;
            }
            tracked.note(*source, Change::Place, &mut self.changes);
            self.schedule.moved(0);
        }
        self.looks.found(has_found);
    }
}

/// The table of files that nobody reads is not made smaller than for so many.
const LEAST_ROOM: usize = 256;
/// How long others may come after the first message, to be taken with it.
const GATHERING: Duration = Duration::from_millis(3);
/// So many messages are taken before it is looked at the clock again.
const TOGETHER: usize = 256;

mod sealing;
mod standing;
#[cfg(test)]
mod tests;
mod writing;
