//! The thread that moves checkpoints.

use std::collections::{HashMap, HashSet};
use std::os::unix::fs::DirEntryExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::store::Store;
use super::tracker::AckTracker;
use crate::batch::{Checkpoint, Ending, Progress, SourceId};
use crate::metrics::Metrics;
use crate::stop::Deadline;

/// The body of the `registrar` thread: it owns the ack trackers and the checkpoint store.
#[derive(Debug)]
pub struct Registrar {
    /// None: a dry run, nothing is written.
    store: Option<Store>,
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
    acked: Arc<AtomicU64>,
    /// Set when the tailer has read it to its end: that end, and why.
    end: Option<(u64, Ending)>,
}

impl Registrar {
    /// A registrar that goes on from `checkpoints`, which `store` has loaded. Without a store it
    /// follows the acknowledgements and writes nothing.
    pub fn new(
        store: Option<Store>,
        checkpoints: Vec<Checkpoint>,
        progress: Receiver<Progress>,
        interval: Duration,
        deadline: Deadline,
        metrics: Arc<Metrics>,
    ) -> Self {
        let rest = checkpoints.into_iter().map(|c| (c.serial, c)).collect();
        Registrar {
            store,
            progress,
            interval,
            deadline,
            metrics,
            open: HashMap::new(),
            rest,
            changed: false,
            is_urgent: false,
            failing: false,
        }
    }

    /// Runs on the `registrar` thread. Ends when all senders of progress are gone, or at the
    /// deadline of a stop, after the last write.
    pub fn run(mut self) {
        let mut next_save = Instant::now() + self.interval;
        let mut next_tidy = Instant::now() + TIDY_INTERVAL;
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
            if now >= next_tidy {
                self.tidy();
                next_tidy = now + TIDY_INTERVAL;
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
            Progress::Opened {
                source,
                checkpoint,
                replaces,
                acked,
            } => {
                for serial in replaces {
                    self.rest.remove(&serial);
                }
                // A crash that comes before a file is known on disk, and a rotation before the next
                // start, would make it a file that nobody looks for.
                self.is_urgent = true;
                acked.store(checkpoint.offset, Ordering::Release);
                let tracker = AckTracker::new(checkpoint.offset, checkpoint.trace);
                self.open.insert(
                    source,
                    Box::new(Tracked {
                        checkpoint,
                        tracker,
                        acked,
                        end: None,
                    }),
                );
                self.changed = true;
            }
            Progress::Known { source, identity } => {
                if let Some(tracked) = self.open.get_mut(&source) {
                    tracked.checkpoint.identity = identity;
                    self.changed = true;
                }
            }
            Progress::Acked(spans) => {
                for span in spans {
                    self.metrics.acked_bytes.add(span.end - span.start);
                    // An acknowledgement for a source that is done for (a truncated one) has no
                    // checkpoint to move.
                    let Some(tracked) = self.open.get_mut(&span.source) else {
                        continue;
                    };
                    if tracked.tracker.ack(&span) {
                        tracked.checkpoint.offset = tracked.tracker.offset();
                        tracked.checkpoint.trace = tracked.tracker.trace();
                        tracked
                            .acked
                            .store(tracked.tracker.offset(), Ordering::Release);
                        self.changed = true;
                        self.retire_if_done(span.source);
                    }
                }
            }
            Progress::Forgotten { serial } => {
                self.changed |= self.rest.remove(&serial).is_some();
            }
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
            tracked.checkpoint.finished = why == Ending::Finished;
            self.rest
                .insert(tracked.checkpoint.serial, tracked.checkpoint);
        }
    }

    fn save(&mut self) {
        let Some(store) = self.store.as_ref().filter(|_| self.changed) else {
            return;
        };
        let mut all: Vec<&Checkpoint> = self
            .open
            .values()
            .map(|t| &t.checkpoint)
            .chain(self.rest.values())
            .collect();
        all.sort_unstable_by_key(|c| c.serial);
        match store.save(all.into_iter()) {
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

    /// Forgets files that are gone, so that the checkpoints do not grow with every rotation.
    fn tidy(&mut self) {
        // The last file of each path is kept: it tells a later start what was rotated after it.
        let mut last: HashMap<&Path, u64> = HashMap::new();
        let open = self.open.values().map(|t| &t.checkpoint);
        for checkpoint in self.rest.values().chain(open) {
            let serial = last.entry(&checkpoint.path).or_default();
            *serial = checkpoint.serial.max(*serial);
        }
        let last: HashSet<u64> = last.into_values().collect();
        let mut inodes: HashMap<PathBuf, Option<HashSet<u64>>> = HashMap::new();
        let before = self.rest.len();
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let long_ago = i64::try_from(now.saturating_sub(EXPIRY).as_nanos()).unwrap_or(i64::MAX);
        self.rest.retain(|serial, checkpoint| {
            let is_wanted = !checkpoint.finished || last.contains(serial);
            if is_wanted && checkpoint.modified_ns > long_ago {
                return true;
            }
            let Some(folder) = checkpoint.path.parent() else {
                return true;
            };
            let present = inodes
                .entry(folder.to_owned())
                .or_insert_with(|| inodes_in(folder));
            present
                .as_ref()
                .is_none_or(|present| present.contains(&checkpoint.identity.inode.inode))
        });
        if self.rest.len() < before {
            log::debug!(
                "{} checkpoints of files that are gone are forgotten",
                before - self.rest.len()
            );
            self.changed = true;
        }
    }
}

/// The inode numbers of what lies in `folder`; `None` if it cannot be listed.
fn inodes_in(folder: &Path) -> Option<HashSet<u64>> {
    let entries = std::fs::read_dir(folder).ok()?;
    Some(
        entries
            .filter_map(|entry| Some(entry.ok()?.ino()))
            .collect(),
    )
}

/// How long the checkpoint of a file that is gone is kept if something may still be wanted of it.
const EXPIRY: Duration = Duration::from_secs(7 * 24 * 3600);
/// A newly opened file is on disk after this, whatever the interval.
const OPENED_SAVE: Duration = Duration::from_millis(20);
const TIDY_INTERVAL: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{Span, Trace};
    use crate::identity::{Fingerprint, Identity, Inode};
    use crossbeam_channel::unbounded;

    fn checkpoint(inode: u64, offset: u64) -> Checkpoint {
        Checkpoint {
            path: Path::new("/log/app.log").into(),
            identity: Identity {
                inode: Inode { device: 1, inode },
                born_ns: 0,
                fingerprint: Fingerprint::default(),
            },
            offset,
            trace: Trace::default(),
            finished: false,
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
        super::super::store::load(folder).expect("loads")
    }

    fn opened(source: SourceId, inode: u64, offset: u64) -> Progress {
        Progress::Opened {
            source,
            checkpoint: checkpoint(inode, offset),
            replaces: vec![inode],
            acked: Arc::default(),
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
            finished: true,
            modified_ns: 99,
            ..checkpoint(7, 10)
        };
        assert_eq!(run(folder.path(), messages), vec![expected]);
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
