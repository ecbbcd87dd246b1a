//! When the record is written that says who has the agent's id: [`Owner`].

use std::time::{Duration, Instant};

use crate::kafka::owner::Owner;
use crate::progress::PositionRecord;

/// The record of this agent.
#[derive(Debug)]
pub(super) struct Heartbeat {
    owner: Owner,
    key: Vec<u8>,
    /// When a transaction is begun for it, if there is none anyway.
    due: Instant,
    /// It is in the transaction that is open.
    is_in: bool,
    /// It was committed once.
    is_told: bool,
    /// The agent stops: so long the last record may take.
    until: Option<Instant>,
    /// Nothing is to be written any more.
    is_done: bool,
}

impl Heartbeat {
    pub(super) fn new(key: Vec<u8>, owner: Owner, now: Instant) -> Self {
        Heartbeat {
            owner,
            key,
            due: now,
            is_in: false,
            is_told: false,
            until: None,
            is_done: false,
        }
    }

    /// Whether a transaction is to be begun for it.
    pub(super) fn wants(&mut self, is_stopping: bool, now: Instant) -> bool {
        if is_stopping && !self.is_done {
            let until = *self.until.get_or_insert(now + LAST);
            // Nobody knows of an agent that has told nothing, and whoever comes need not wait for it.
            self.is_done = !self.is_told || now >= until;
        }
        !self.is_done && (is_stopping || now >= self.due)
    }

    /// When to look again.
    pub(super) fn next(&self) -> Option<Instant> {
        (!self.is_done).then(|| self.until.unwrap_or(self.due))
    }

    /// No last record is to be waited for.
    pub(super) fn is_done(&self) -> bool {
        self.is_done
    }

    /// The record, if the transaction that is sealed now is to have it.
    pub(super) fn record(&mut self, unix_ms: i64, now: Instant) -> Option<PositionRecord> {
        let is_last = self.until.is_some();
        let is_old = now + (EVERY - OFTEN) >= self.due;
        self.is_in = !self.is_done && (is_last || is_old);
        let record = || (self.key.clone(), Some(self.owner.value(unix_ms, is_last)));
        self.is_in.then(record)
    }

    /// The transaction is committed.
    pub(super) fn committed(&mut self, now: Instant) {
        if std::mem::take(&mut self.is_in) {
            self.is_told = true;
            self.due = now + EVERY;
            self.is_done = self.until.is_some();
        }
    }
}

/// So often it is written by an agent that has nothing to send.
const EVERY: Duration = Duration::from_secs(180);
/// And so often by one that has.
const OFTEN: Duration = Duration::from_secs(60);
/// A stop waits so long for the last one.
const LAST: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn heartbeat(now: Instant) -> Heartbeat {
        Heartbeat::new(b"k".to_vec(), Owner::this_process(1, 0), now)
    }

    #[test]
    fn it_is_written_at_once_then_with_others_once_a_minute_and_alone_every_three() {
        let now = Instant::now();
        let mut beat = heartbeat(now);
        assert!(beat.wants(false, now));
        assert!(beat.record(1, now).is_some());
        // That one was aborted.
        assert!(beat.record(1, now).is_some());
        beat.committed(now);
        let at = |s| now + Duration::from_secs(s);
        assert!(beat.record(1, at(59)).is_none());
        beat.committed(at(59));
        assert!(beat.record(1, at(60)).is_some());
        beat.committed(at(60));
        assert!(!beat.wants(false, at(239)) && beat.wants(false, at(240)));
        assert_eq!(beat.next(), Some(at(240)));
    }

    #[test]
    fn the_last_one_says_that_the_agent_has_stopped_and_is_waited_for_a_second() {
        let now = Instant::now();
        let mut beat = heartbeat(now);
        assert!(
            !beat.wants(true, now) && beat.is_done(),
            "nobody knows of it"
        );
        let mut told = heartbeat(now);
        told.record(1, now);
        told.committed(now);
        assert!(told.wants(true, now) && !told.is_done());
        let (_, value) = told.record(1, now).expect("it is the last one");
        let value = String::from_utf8(value.expect("it has one")).expect("it is text");
        assert!(value.ends_with("state=stopped"), "{value}");
        assert!(told.wants(true, now + LAST / 2));
        assert!(
            !told.wants(true, now + LAST) && told.is_done(),
            "no broker answers"
        );
        assert_eq!(told.next(), None);
    }
}
