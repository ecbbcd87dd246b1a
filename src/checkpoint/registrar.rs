//! The thread that moves checkpoints.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::store::Store;
use super::tracker::AckTracker;
use crate::batch::{SourceId, Span};
use crate::metrics::Metrics;
use crate::progress::{Checkpoint, Ending, Progress, Saved, SourceState};
use crate::stop::Deadline;

/// The body of the `registrar` thread: it owns the ack trackers and the checkpoint store.
#[derive(Debug)]
pub struct Registrar {
    /// None: a dry run, nothing is written.
    store: Option<Store>,
    /// The sections whose files are looked for.
    sections: Vec<String>,
    progress: Receiver<Progress>,
    interval: Duration,
    deadline: Deadline,
    metrics: Arc<Metrics>,
    /// In boxes, so that the free places of the table are small.
    open: HashMap<SourceId, Box<Tracked>>,
    /// Checkpoints of files that nobody reads at present, by serial number.
    rest: HashMap<u64, Checkpoint>,
    changed: bool,
    /// Something must not wait for the whole interval.
    is_urgent: bool,
    failing: bool,
}

#[derive(Debug)]
struct Tracked {
    checkpoint: Checkpoint,
    tracker: AckTracker,
    size: Arc<AtomicU64>,
    /// Set when the tailer has read it to its end: that end, and why.
    end: Option<(u64, Ending)>,
}

impl Tracked {
    fn note_size(&mut self) {
        let Checkpoint { offset, size, .. } = &mut self.checkpoint;
        *size = self.size.load(Ordering::Relaxed).max(*offset);
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
        Registrar {
            store,
            sections: saved.sections.unwrap_or_default(),
            progress,
            interval,
            deadline,
            metrics,
            open: HashMap::new(),
            rest: checkpoints.map(|c| (c.serial, c)).collect(),
            changed: false,
            is_urgent: false,
            failing: false,
        }
    }

    /// Runs on the `registrar` thread. Ends when all senders of progress are gone, or at the
    /// deadline of a stop, after the last write.
    pub fn run(mut self) {
        let mut next_save = Instant::now() + self.interval;
        loop {
            if std::mem::take(&mut self.is_urgent) {
                next_save = next_save.min(Instant::now() + OPENED_SAVE);
            }
            let stop_at = self.deadline.get();
            let until = stop_at.map_or(next_save, |at| next_save.min(at));
            match self.progress.recv_deadline(until) {
                Ok(progress) => self.take(progress),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {}
            }
            let now = Instant::now();
            if stop_at.is_some_and(|at| now >= at) {
                break;
            }
            if now >= next_save {
                self.save();
                next_save = Instant::now() + self.interval;
            }
        }
        for progress in self.progress.clone().try_iter() {
            self.take(progress);
        }
        self.save();
        let unacknowledged: usize = self.open.values().filter(|t| t.end.is_some()).count();
        log::debug!(
            "checkpoints are written, {} open, {unacknowledged} of them read to the end",
            self.open.len()
        );
    }

    fn take(&mut self, progress: Progress) {
        match progress {
            Progress::LookedForAll => self.changed = true,
            Progress::Opened {
                source,
                checkpoint,
                replaces,
                size,
            } => self.open(source, checkpoint, replaces, size),
            Progress::Known { source, identity } => {
                if let Some(tracked) = self.open.get_mut(&source) {
                    tracked.checkpoint.identity = identity;
                    self.changed = true;
                }
            }
            Progress::Acked(spans) => {
                for span in spans {
                    self.metrics.acked_bytes.add(span.end - span.start);
                    self.move_to(&span);
                }
            }
            Progress::Skipped(span) => self.move_to(&span),
            Progress::Registered(checkpoint) => {
                self.rest.insert(checkpoint.serial, checkpoint);
                self.changed = true;
            }
            Progress::Forgotten { serial } => self.forget(serial),
            Progress::Ended {
                source,
                end,
                modified_ns,
                why,
            } => {
                if let Some(tracked) = self.open.get_mut(&source) {
                    tracked.end = Some((end, why));
                    tracked.checkpoint.modified_ns = modified_ns;
                    self.changed = true;
                    self.retire_if_done(source);
                }
            }
        }
    }

    fn forget(&mut self, serial: u64) {
        if self.rest.remove(&serial).is_some() {
            self.changed = true;
            if self.rest.capacity() > 4 * self.rest.len().max(LEAST_ROOM) {
                self.rest.shrink_to_fit();
            }
            return;
        }
        // Read to its end, and not all of it is acknowledged yet.
        let is_it = |tracked: &&mut Box<Tracked>| tracked.checkpoint.serial == serial;
        if let Some(tracked) = self.open.values_mut().find(is_it)
            && let Some((_, why)) = &mut tracked.end
        {
            *why = Ending::Gone;
        }
    }

    fn open(
        &mut self,
        source: SourceId,
        checkpoint: Checkpoint,
        replaces: Vec<u64>,
        size: Arc<AtomicU64>,
    ) {
        for serial in replaces {
            self.rest.remove(&serial);
        }
        // A crash that comes before a file is known on disk, and a rotation before the next start, would make
        // it a file that nobody looks for.
        self.is_urgent = true;
        let tracker = AckTracker::new(checkpoint.offset, checkpoint.trace);
        let tracked = Tracked {
            checkpoint,
            tracker,
            size,
            end: None,
        };
        self.open.insert(source, Box::new(tracked));
        self.changed = true;
    }

    /// Moves the checkpoint of a source over a span that is acknowledged or a hole. An acknowledgement for a source that is done
    /// for (a truncated one) has no checkpoint to move.
    fn move_to(&mut self, span: &Span) {
        let Some(Tracked {
            checkpoint,
            tracker,
            ..
        }) = self.open.get_mut(&span.source).map(Box::as_mut)
        else {
            return;
        };
        if tracker.ack(span) {
            checkpoint.marks.add(checkpoint.offset, checkpoint.trace);
            checkpoint.offset = tracker.offset();
            checkpoint.trace = tracker.trace();
            self.changed = true;
            self.retire_if_done(span.source);
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
        if let Some(mut tracked) = self.open.remove(&source)
            && why != Ending::Gone
        {
            tracked.note_size();
            tracked.checkpoint.state = match why {
                Ending::Finished => SourceState::Finished,
                Ending::Paused | Ending::Gone => SourceState::Open,
            };
            self.rest
                .insert(tracked.checkpoint.serial, tracked.checkpoint);
        }
    }

    fn save(&mut self) {
        self.changed |= self.metrics.has_grown.take();
        let Some(store) = self.store.as_ref().filter(|_| self.changed) else {
            return;
        };
        for tracked in self.open.values_mut() {
            tracked.note_size();
        }
        let mut all: Vec<&Checkpoint> = self
            .open
            .values()
            .map(|t| &t.checkpoint)
            .chain(self.rest.values())
            .collect();
        all.sort_unstable_by_key(|c| c.serial);
        match store.save(&self.sections, all.into_iter()) {
            Ok(()) => {
                self.changed = false;
                if std::mem::take(&mut self.failing) {
                    log::info!("checkpoints are written again");
                }
            }
            Err(error) if self.failing => log::debug!("checkpoints cannot be written: {error}"),
            Err(error) => {
                self.failing = true;
                log::error!(
                    "checkpoints cannot be written: {error}; delivery goes on, but a restart would send again \
                     what is acknowledged from now on"
                );
            }
        }
    }
}

/// The table of files that nobody reads is not made smaller than for so many.
const LEAST_ROOM: usize = 256;
/// A newly opened file is on disk after this, whatever the interval.
const OPENED_SAVE: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Trace;
    use crate::identity::{Fingerprint, Identity, Inode};
    use crate::progress::Marks;
    use crossbeam_channel::unbounded;
    use std::path::Path;

    fn checkpoint(inode: u64, offset: u64) -> Checkpoint {
        Checkpoint {
            path: Path::new("/log/app.log").into(),
            identity: Identity {
                inode: Inode { device: 1, inode },
                born_ns: 0,
                fingerprint: Fingerprint::default(),
            },
            offset,
            size: offset,
            trace: Trace::default(),
            marks: Marks::default(),
            state: SourceState::Open,
            serial: inode,
            modified_ns: 0,
        }
    }

    fn run(folder: &Path, messages: Vec<Progress>) -> Vec<Checkpoint> {
        let store = Store::open(folder).expect("opens");
        let before = store.load().expect("loads");
        let (sender, progress) = unbounded();
        for message in messages {
            sender.send(message).expect("the receiver is here");
        }
        drop(sender);
        let (interval, deadline) = (Duration::from_secs(1), Deadline::default());
        Registrar::new(
            Some(store),
            before,
            progress,
            interval,
            deadline,
            Arc::default(),
        )
        .run();
        super::super::store::load(folder)
            .expect("loads")
            .checkpoints
    }

    fn opened(source: SourceId, inode: u64, offset: u64) -> Progress {
        Progress::Opened {
            source,
            checkpoint: checkpoint(inode, offset),
            replaces: vec![inode],
            size: Arc::default(),
        }
    }

    fn span(source: SourceId, start: u64, end: u64) -> Span {
        Span {
            source,
            start,
            end,
            trace: Trace::default(),
        }
    }

    #[test]
    fn a_gap_holds_the_checkpoint_back() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let source = SourceId::next();
        let acks = vec![span(source, 0, 10), span(source, 20, 30)];
        let after = run(
            folder.path(),
            vec![opened(source, 7, 0), Progress::Acked(acks)],
        );
        assert_eq!(after, vec![checkpoint(7, 10)]);
    }

    #[test]
    fn an_acknowledgement_from_before_a_truncation_moves_nothing() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (old, new) = (SourceId::next(), SourceId::next());
        let finished = Progress::Ended {
            source: old,
            end: 500,
            modified_ns: 0,
            why: Ending::Gone,
        };
        let messages = vec![
            opened(old, 7, 0),
            finished,
            opened(new, 7, 0),
            Progress::Acked(vec![span(old, 0, 500)]),
            Progress::Acked(vec![span(new, 0, 20)]),
        ];
        assert_eq!(run(folder.path(), messages), vec![checkpoint(7, 20)]);
    }

    #[test]
    fn a_finished_file_is_remembered_and_a_deleted_one_is_not() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (rotated, gone) = (SourceId::next(), SourceId::next());
        let messages = vec![
            opened(rotated, 7, 0),
            opened(gone, 8, 0),
            Progress::Ended {
                source: rotated,
                end: 10,
                modified_ns: 99,
                why: Ending::Finished,
            },
            Progress::Ended {
                source: gone,
                end: 10,
                modified_ns: 99,
                why: Ending::Gone,
            },
            Progress::Acked(vec![span(rotated, 0, 10), span(gone, 0, 10)]),
        ];
        let expected = Checkpoint {
            state: SourceState::Finished,
            modified_ns: 99,
            ..checkpoint(7, 10)
        };
        assert_eq!(run(folder.path(), messages), vec![expected]);
    }

    #[test]
    fn a_file_that_is_forgotten_before_all_of_it_is_acknowledged_leaves_nothing() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let source = SourceId::next();
        let messages = vec![
            opened(source, 7, 0),
            Progress::Ended {
                source,
                end: 10,
                modified_ns: 99,
                why: Ending::Finished,
            },
            Progress::Forgotten { serial: 7 },
            Progress::Acked(vec![span(source, 0, 10)]),
        ];
        assert_eq!(run(folder.path(), messages), vec![]);
    }

    #[test]
    fn checkpoints_of_files_that_are_not_read_now_stay() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let source = SourceId::next();
        run(folder.path(), vec![opened(source, 7, 5)]);
        let other = SourceId::next();
        assert_eq!(
            run(folder.path(), vec![opened(other, 8, 6)]),
            vec![checkpoint(7, 5), checkpoint(8, 6)]
        );
    }
}
