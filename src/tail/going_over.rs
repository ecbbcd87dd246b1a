//! How a tailer goes over to another section, and how it ends when it has none any more.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::Tailer;
use super::changes::{Change, Ending};
use super::source::Source;
use super::source::making::Patience;
use crate::progress::Progress;
use crate::record::framing::Framer;

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
                if self.shared.metrics.left_out.is_left_by_tailer(&self.path) {
                    // `ignore_older` may say something else now.
                    self.paused = None;
                }
                for mut source in std::mem::take(&mut self.sources) {
                    if let Err(error) = self.equip(&mut source) {
                        self.trouble.note(&self.path.clone(), &error);
                    }
                    self.show_in_section(&mut source);
                    self.add_source(source);
                }
            }
        }
    }

    /// What a source stands for is shown in the section that its tailer is of, whose name may be another one now.
    fn show_in_section(&self, source: &mut Source) {
        let counters = &self.destination.route.counters;
        if !Arc::ptr_eq(&source.shown.counters, counters) {
            source.shown = Arc::new(source.shown.in_section(counters.clone()));
            let _ = self.progress.send(Progress::Shown {
                source: source.id,
                shown: source.shown.clone(),
            });
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
            let counters = self.destination.route.counters.records();
            let (destination, pool) = (&self.destination, &self.shared.pool);
            equipped = source.make_records(record, &counters, destination, patience, pool);
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
