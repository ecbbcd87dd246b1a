//! Whether a topic can be written at all.

use std::time::Instant;

use crate::backoff::Backoff;
use crate::kafka::protocol::error_code::Verdict;

use super::{Parked, ParkedBy, Topic};

impl Topic {
    /// It cannot be written for now.
    pub(crate) fn is_parked(&self) -> bool {
        self.parked.is_some()
    }

    /// The topic refuses what is sent: leave it alone for a while.
    pub(crate) fn refuse(&mut self, verdict: Verdict, reason: &str, now: Instant) {
        self.park(ParkedBy::Produce, verdict, reason, now);
    }

    pub(super) fn park(&mut self, by: ParkedBy, verdict: Verdict, reason: &str, now: Instant) {
        match &mut self.parked {
            Some(parked) => {
                parked.by = by;
                if parked.probe_at <= now {
                    parked.probe_at = now + parked.backoff.pause();
                }
            }
            None => {
                let mut backoff = Backoff::new(&mut self.random);
                let probe_at = now + backoff.pause();
                self.parked = Some(Parked {
                    by,
                    backoff,
                    probe_at,
                });
            }
        }
        let (name, level) = (&self.name, verdict.level_when_parked());
        let subject = format_args!("topic {name}");
        self.refusal.enter(level, &subject, &reason, now);
        if let Some(parked) = &self.parked {
            self.refusal.tries_again(parked.probe_at, now);
        }
        if let Some(passed_over) = self.refusal.say(now) {
            let advice = verdict.missing_right().unwrap_or_default();
            log::log!(
                level,
                "topic '{name}' is parked: {reason}{advice}; retrying every 10 s{passed_over}"
            );
        }
    }

    /// A batch of it was acknowledged.
    pub(crate) fn on_acked(&mut self) {
        if self.parked.is_some() {
            self.unpark();
        }
    }

    pub(super) fn unpark(&mut self) {
        self.parked = None;
        if let Some(left) = self.refusal.leave() {
            log::log!(left.level, "topic '{}' has recovered{left}", self.name);
        }
    }

    /// Until when nothing may be sent.
    pub(crate) fn held_until(&self, now: Instant) -> Option<Instant> {
        let parked = self.parked.as_ref();
        parked.map(|parked| parked.probe_at).filter(|at| *at > now)
    }
}
