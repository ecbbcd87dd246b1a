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
