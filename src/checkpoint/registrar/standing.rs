//! How all files stand, for who asks.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::Registrar;
use crate::progress::Checkpoint;
use crate::snapshot::{FileState, FileStatus, Positions, PositionsStatus};

impl Registrar {
    /// How all of them stand.
    pub(super) fn positions(&mut self, now: SystemTime) -> Positions {
        let mut newest: HashMap<Arc<Path>, u64> = HashMap::new();
        let open = self.open.values().map(|tracked| &tracked.checkpoint);
        let unread = self.rest.values().filter(|c| c.is_unfinished());
        for checkpoint in open.chain(unread) {
            let serial = newest.entry(checkpoint.path.clone()).or_default();
            *serial = checkpoint.serial.max(*serial);
        }
        let is_old = |c: &Checkpoint| newest.get(&c.path) != Some(&c.serial);
        let file = |c: &Checkpoint, size: u64| FileStatus {
            path: c.path.to_path_buf(),
            position: c.offset,
            size,
            ..FileStatus::default()
        };
        let mut files = Vec::with_capacity(newest.len());
        for tracked in self.open.values_mut() {
            let (size, unended) = (tracked.seen_size(), tracked.shown.unended());
            let checkpoint = &tracked.checkpoint;
            let mut file = file(checkpoint, size);
            file.log.clone_from(&tracked.shown.counters.name);
            file.unended = unended.min(file.lag());
            let is_behind = file.lag() > file.unended;
            if is_behind {
                tracked.behind.saw(size, now);
                file.behind_since = tracked.behind.since();
            }
            file.state = match is_old(checkpoint) || tracked.end.is_some() {
                true => FileState::Rotated,
                false if is_behind => FileState::Behind,
                false => FileState::AtEnd,
            };
            files.push(file);
        }
        for checkpoint in self.rest.values().filter(|c| c.is_unfinished()) {
            let mut file = file(checkpoint, checkpoint.size.max(checkpoint.offset));
            if file.lag() > 0 {
                let modified = u64::try_from(checkpoint.modified_ns).unwrap_or(0);
                let modified = SystemTime::UNIX_EPOCH + Duration::from_nanos(modified);
                file.behind_since = Some(modified.min(now));
            }
            file.state = match is_old(checkpoint) {
                true => FileState::Rotated,
                false if file.lag() > 0 => FileState::Behind,
                false => FileState::AtEnd,
            };
            files.push(file);
        }
        let open = self.open.values().filter(|tracked| tracked.end.is_none());
        Positions {
            open: open.count() as u64,
            files,
            status: PositionsStatus {
                count: (self.open.len() + self.rest.len()) as u64,
                is_due: self.schedule.has_changes(),
                ..self.status.clone()
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::{bounded, unbounded};

    use super::*;
    use crate::batch::{SourceId, Span, TailChecksum};
    use crate::deadline::Deadline;
    use crate::identity::{FileIdentity, Fingerprint, Inode};
    use crate::metrics::{Metrics, SectionCounters};
    use crate::progress::{CloseReason, Marks, Progress, Saved, ShownSource, SourceState};

    fn checkpoint(path: &str, serial: u64, offset: u64, size: u64) -> Checkpoint {
        Checkpoint {
            path: Path::new(path).into(),
            identity: FileIdentity {
                inode: Inode {
                    device: 1,
                    inode: serial,
                },
                born_ns: 0,
                fingerprint: Fingerprint::default(),
            },
            offset,
            size,
            tail_checksum: TailChecksum::default(),
            marks: Marks::default(),
            tag: None,
            state: SourceState::Open,
            serial,
            modified_ns: 0,
        }
    }

    /// Opens a file at the beginning of its `size` bytes.
    fn opened(path: &str, serial: u64, size: u64) -> (SourceId, Arc<ShownSource>, Progress) {
        let shown = Arc::new(ShownSource::new(SectionCounters::named("a"), size));
        let source = SourceId::next();
        let progress = Progress::Opened {
            source,
            checkpoint: checkpoint(path, serial, 0, size),
            replaces: vec![],
            continues: 0,
            shown: shown.clone(),
        };
        (source, shown, progress)
    }

    fn acked(source: SourceId, start: u64, end: u64) -> Progress {
        let tail_checksum = TailChecksum::default();
        Progress::Acked(vec![Span {
            source,
            start,
            end,
            tail_checksum,
        }])
    }

    /// What a registrar answers that goes on from `saved` and is told this.
    fn told(saved: Vec<Checkpoint>, messages: Vec<Progress>) -> (Positions, Arc<Metrics>) {
        let (sender, progress) = unbounded();
        let (answer, answered) = bounded(1);
        messages.into_iter().for_each(|one| {
            sender.send(one).expect("it is there");
        });
        sender.send(Progress::Asked(answer)).expect("it is there");
        drop(sender);
        let saved = Saved {
            checkpoints: saved,
            ..Saved::default()
        };
        let (interval, deadline) = (Duration::from_secs(1), Deadline::default());
        let metrics = Arc::<Metrics>::default();
        Registrar::new(None, saved, progress, interval, deadline, metrics.clone()).run();
        (answered.recv().expect("an answer"), metrics)
    }

    #[test]
    fn a_file_is_behind_with_what_is_not_acknowledged_but_not_with_the_beginning_of_a_line() {
        let (done, _, one) = opened("/done", 1, 100);
        let (behind, _, two) = opened("/behind", 2, 100);
        let (unended, shown, three) = opened("/unended", 3, 100);
        shown.show_unended(40);
        let acks = [
            acked(done, 0, 100),
            acked(behind, 0, 60),
            acked(unended, 0, 60),
        ];
        let messages = [one, two, three].into_iter().chain(acks).collect();
        let (mut positions, metrics) = told(vec![], messages);
        positions.files.sort_by(|a, b| a.path.cmp(&b.path));
        let [behind, done, unended] = &positions.files[..] else {
            panic!("{positions:?}");
        };
        assert_eq!((behind.state, behind.lag()), (FileState::Behind, 40));
        assert!(behind.behind_since.is_some() && behind.log == "a");
        assert_eq!((done.state, done.lag()), (FileState::AtEnd, 0));
        assert_eq!((unended.state, unended.unended), (FileState::AtEnd, 40));
        assert_eq!(unended.behind_since, None);
        assert_eq!((positions.open, positions.status.count), (3, 3));
        assert_eq!(metrics.acked_bytes.value(), 220);
    }

    #[test]
    fn filtered_bytes_are_done_with_and_a_hole_is_not_counted() {
        let (source, shown, progress) = opened("/a", 1, 100);
        let span = |start, end| Span {
            source,
            start,
            end,
            tail_checksum: TailChecksum::default(),
        };
        let messages = vec![
            progress,
            Progress::Filtered(span(0, 30)),
            Progress::Skipped(span(30, 90)),
            acked(source, 90, 100),
        ];
        let (positions, _) = told(vec![], messages);
        assert_eq!(shown.counters.acked_bytes.value(), 40);
        assert_eq!(positions.files[0].position, 100);
    }

    #[test]
    fn what_was_rotated_away_is_told_apart_and_what_is_finished_is_not_told() {
        let (old, _, one) = opened("/a", 1, 100);
        let (_, _, two) = opened("/a", 2, 100);
        let (finished, _, three) = opened("/b", 3, 10);
        let closed = Progress::Closed {
            source: finished,
            end: 10,
            modified_ns: 0,
            why: CloseReason::Finished,
        };
        let messages = vec![
            one,
            two,
            three,
            acked(old, 0, 50),
            closed,
            acked(finished, 0, 10),
        ];
        // A file of an earlier run that nobody has opened yet.
        let saved = vec![checkpoint("/c", 4, 7, 20)];
        let (mut positions, _) = told(saved, messages);
        positions.files.sort_by_key(|file| file.lag());
        let found: Vec<_> = positions
            .files
            .iter()
            .map(|file| (file.path.display().to_string(), file.state, file.lag()))
            .collect();
        let expected = [
            ("/c", FileState::Behind, 13),
            ("/a", FileState::Rotated, 50),
            ("/a", FileState::Behind, 100),
        ];
        let expected = expected.map(|(path, state, lag)| (path.to_owned(), state, lag));
        assert_eq!(found, expected);
        assert_eq!((positions.open, positions.status.count), (2, 4));
    }
}
