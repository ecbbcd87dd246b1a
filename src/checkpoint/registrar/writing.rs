//! How what has moved is written, and what is said where it cannot be.

use std::io;
use std::time::{Instant, SystemTime};

use log::Level;

use super::{Change, Registrar};
use crate::checkpoint::store::{Entry, Store};
use crate::progress::Checkpoint;

impl Registrar {
    pub(super) fn write(&mut self, now: Instant) {
        self.schedule.written(now);
        let Some(mut store) = self.store.take() else {
            return self.changes.clear();
        };
        let begins = store.is_full() || std::mem::take(&mut self.is_to_begin);
        let done = match begins.then(|| self.begin(&mut store)) {
            Some(Err(error)) if store.can_append() => {
                log::warn!("the checkpoints file grows beyond twice its size: {error}");
                self.append(&mut store)
            }
            Some(done) => done.inspect(|()| self.schedule.synced(now)),
            None => self.append(&mut store),
        };
        // After an error the next write is of everything.
        self.changes.clear();
        self.store = Some(store);
        self.say(done, now);
    }

    /// Writes everything anew.
    pub(super) fn begin(&mut self, store: &mut Store) -> io::Result<()> {
        for tracked in self.open.values_mut() {
            tracked.settle();
        }
        let open = self.open.values().map(|tracked| &tracked.checkpoint);
        let mut all: Vec<&Checkpoint> = open.chain(self.rest.values()).collect();
        all.sort_unstable_by_key(|c| c.serial);
        store.begin(&self.sections, all.into_iter())?;
        for tracked in self.open.values_mut() {
            tracked.change = Change::Nothing;
        }
        Ok(())
    }

    /// Writes what changed.
    fn append(&mut self, store: &mut Store) -> io::Result<()> {
        let settled = self.changes.open.iter().map(|source| {
            let tracked = self.open.get_mut(source)?;
            tracked.settle();
            Some(std::mem::replace(&mut tracked.change, Change::Nothing))
        });
        let settled: Vec<Option<Change>> = settled.collect();
        let changes = &self.changes;
        let open = changes.open.iter().zip(settled);
        let open = open.filter_map(|(source, change)| {
            let checkpoint = &self.open.get(source)?.checkpoint;
            Some(match change? {
                Change::All => changes.of_source(checkpoint),
                Change::Place | Change::Nothing => Entry::Moved(checkpoint),
            })
        });
        let rest = changes.rest.iter().filter_map(|s| self.rest.get(s));
        let rest = rest.map(|checkpoint| changes.of_source(checkpoint));
        let gone = changes.gone.iter().map(|serial| Entry::Gone(*serial));
        store.append(open.chain(rest).chain(gone))
    }

    pub(super) fn sync(&mut self, now: Instant) {
        let done = self.store.as_mut().map_or(Ok(()), Store::sync);
        self.schedule.synced(now);
        if done.is_err() {
            self.say(done, now);
        }
    }

    /// That the last write has failed, too, is what a restart after this end is about, however often it was said.
    pub(super) fn say_what_is_not_written(&self) {
        if let Some(reason) = self.trouble.reason() {
            log::error!(
                "checkpoints could not be written at the end either: {reason}; the next start sends again what was \
                 acknowledged since they were written last"
            );
        }
    }

    /// Tells the first failure and the first success after it.
    fn say(&mut self, done: io::Result<()>, now: Instant) {
        match done {
            Ok(()) => {
                self.schedule.succeeded();
                self.status.written = Some(SystemTime::now());
                if let Some(left) = self.trouble.leave() {
                    log::log!(left.level, "checkpoints are written again{left}");
                }
            }
            Err(error) => {
                self.schedule.failed(now);
                self.status.failures += 1;
                let trouble = self.trouble.enter(Level::Error, &POSITIONS, &error, now);
                match trouble.say(now) {
                    Some(passed_over) => log::error!(
                        "checkpoints cannot be written: {error}; delivery goes on, but a restart would send again \
                         what is acknowledged from now on{passed_over}"
                    ),
                    None => log::debug!("checkpoints cannot be written: {error}"),
                }
            }
        }
    }
}

/// What the condition that they cannot be written is about.
const POSITIONS: &str = "positions";

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::batch::SourceId;
    use crate::checkpoint::registrar::tests::{opened, span};
    use crate::deadline::Deadline;
    use crate::progress::{CloseReason, Progress};

    #[test]
    fn that_a_file_is_finished_waits_no_longer_to_be_durable_than_a_new_file() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = Store::open(folder.path()).expect("opens");
        let saved = store.load().expect("loads");
        let (_sender, progress) = crossbeam_channel::unbounded();
        let mut registrar = Registrar::new(
            Some(store),
            saved,
            progress,
            Duration::from_millis(1),
            Deadline::default(),
            Arc::default(),
        );
        let (source, now) = (SourceId::next(), Instant::now());
        let closed = Progress::Closed {
            source,
            end: 20,
            modified_ns: 0,
            why: CloseReason::Finished,
        };
        let acked = |start, end| Progress::Acked(vec![span(source, start, end)]);
        let mut is_due_after_a_second = |progress| {
            registrar.take(progress);
            registrar.write(now);
            let is_due = registrar.schedule.is_sync_due(now + Duration::from_secs(1));
            registrar.sync(now);
            is_due
        };
        // The first write begins a generation, which is durable when it is there.
        is_due_after_a_second(opened(source, 7, 0));
        assert!(!is_due_after_a_second(acked(0, 10)), "it only moved");
        assert!(is_due_after_a_second(closed), "read to its end");
        assert!(is_due_after_a_second(acked(10, 20)), "finished");
    }
}
