//! Tailers whose section says something else now, or is gone.
//!
//! Whoever puts a change wakes the tailer, which takes it when all that it reads stands between two events: the rest of
//! a long line goes where its beginning went. What it holds open stays open, and so does its position, so nothing is
//! read twice and nothing is passed over. A tailer without a change does not notice that there are others.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Tailer;
use super::source::Source;
use super::source::making::Patience;
use crate::batch::Destination;
use crate::budget::Account;
use crate::config::LogConfig;
use crate::record::framing::Framer;
use crate::tailer_handle::TailerHandle;

/// What becomes of a tailer.
#[derive(Debug)]
pub enum Change {
    /// It goes on as this section says.
    Section {
        /// The section.
        log: Arc<LogConfig>,
        /// Where records go.
        destination: Arc<Destination>,
        /// Its part of the memory budget, if that is another one.
        account: Option<Arc<Account>>,
    },
    /// No section has its path any more: it reads what is there now, and ends.
    End,
}

/// The changes that tailers have not taken yet.
#[derive(Debug, Default)]
pub struct Changes {
    are_there: AtomicBool,
    /// By the id of the tailer's handle.
    by_tailer: Mutex<HashMap<u64, Change>>,
}

impl Changes {
    /// The tailer is to take `change`, in place of one that it has not taken yet.
    pub fn put(&self, tailer: &TailerHandle, change: Change) {
        self.lock().insert(tailer.id(), change);
        self.are_there.store(true, Ordering::Release);
        tailer.wake();
    }

    /// The tailer has ended.
    pub fn forget(&self, tailer: &TailerHandle) {
        self.take_if(tailer.id(), |_| true);
    }

    /// Whether there is a change for the tailer that `may` be taken.
    fn is_for(&self, id: u64, may: impl Fn(&Change) -> bool) -> bool {
        self.are_there.load(Ordering::Acquire) && self.lock().get(&id).is_some_and(may)
    }

    fn take_if(&self, id: u64, may: impl Fn(&Change) -> bool) -> Option<Change> {
        if !self.are_there.load(Ordering::Acquire) {
            return None;
        }
        let mut changes = self.lock();
        let change = changes
            .get(&id)
            .is_some_and(may)
            .then(|| changes.remove(&id));
        self.are_there.store(!changes.is_empty(), Ordering::Release);
        change.flatten()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Change>> {
        self.by_tailer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a tailer ends although its path is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    No,
    /// What is there is still to be seen.
    Asked,
    /// It reads what was there, and looks for nothing more.
    Reading,
}

impl Tailer {
    fn may_take(&self, change: &Change) -> bool {
        matches!(change, Change::End) || !self.sources.iter().any(Source::is_inside_event)
    }

    /// Whether there is a change that can be taken now.
    pub(super) fn is_to_change(&self) -> bool {
        let changes = &self.shared.changes;
        changes.is_for(self.handle.id(), |change| self.may_take(change))
    }

    /// Takes the change that there is for it, if it can.
    pub(super) fn take_change(&mut self) {
        let changes = &self.shared.changes;
        match changes.take_if(self.handle.id(), |change| self.may_take(change)) {
            Some(Change::End) if self.ending == Ending::No => {
                (self.ending, self.must_sync) = (Ending::Asked, true);
            }
            None | Some(Change::End) => {}
            Some(Change::Section {
                log,
                destination,
                account,
            }) => {
                (self.log, self.destination) = (log, destination);
                self.account = account.unwrap_or_else(|| self.account.clone());
                (self.ending, self.must_sync, self.rate_due) = (Ending::No, true, None);
                for mut source in std::mem::take(&mut self.sources) {
                    if let Err(error) = self.equip(&mut source) {
                        self.trouble.note(&self.path.clone(), &error);
                    }
                    self.sources.push_back(source);
                }
            }
        }
    }

    /// Has a source make from its position on what the section says.
    pub(super) fn equip(&self, source: &mut Source) -> io::Result<()> {
        let record = self.log.record.as_ref();
        let lookahead = record.map_or(0, |record| record.lookahead_bytes());
        let framer = Framer::new(self.log.max_line_bytes, self.log.strip_cr);
        source.begin_anew(framer.with_lookahead(lookahead));
        let patience = match self.shared.once {
            true => Patience::None,
            false => Patience::Configured,
        };
        source.set_line_timeout(self.log.line_timeout, patience);
        let mut equipped = Ok(());
        if let Some(record) = record {
            let counters = self.shared.metrics.records(&self.log.name);
            equipped = source.make_records(record, &counters, &self.destination, patience);
        }
        equipped.and(source.count_sent_pieces())
    }

    /// What is there has been seen: from now on it is read, and nothing waits for more.
    pub(super) fn note_seen(&mut self) {
        if self.ending == Ending::Asked && !self.must_sync {
            self.ending = Ending::Reading;
            for source in &mut self.sources {
                source.do_not_wait();
                source.set_line_timeout(self.log.line_timeout, Patience::None);
            }
        }
    }

    /// Whether it was told to end and has read what was there, as far as it can be read. What was rotated away is
    /// waited for until it is finished.
    pub(super) fn has_ended(&self) -> bool {
        match self.ending {
            Ending::No => false,
            Ending::Asked => self.trouble.is_present(),
            Ending::Reading => {
                let is_current = |source: &Source| source.detached_since.is_none();
                self.trouble.is_present() || self.sources.iter().all(is_current)
            }
        }
    }

    /// How long it waits at most before it looks whether it can end.
    pub(super) fn patience_to_end(&self) -> Option<Duration> {
        (self.ending != Ending::No).then_some(END_INTERVAL)
    }
}

/// How often a tailer that is to end looks.
const END_INTERVAL: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tailer_handle::testing::handle;

    #[test]
    fn a_change_is_for_one_tailer_and_waits_until_it_may_be_taken() {
        let changes = Changes::default();
        let (one, other) = (handle(), handle());
        assert!(!changes.is_for(one.id(), |_| true));
        changes.put(&one, Change::End);
        assert!(one.is_rung() && !other.is_rung());
        assert!(changes.take_if(other.id(), |_| true).is_none());
        assert!(changes.take_if(one.id(), |_| false).is_none());
        assert!(changes.is_for(one.id(), |_| true));
        assert!(changes.take_if(one.id(), |_| true).is_some());
        assert!(!changes.are_there.load(Ordering::Relaxed));
        changes.put(&other, Change::End);
        changes.forget(&other);
        assert!(!changes.is_for(other.id(), |_| true));
    }
}
