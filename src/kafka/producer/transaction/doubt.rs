//! The coordinator refuses the epoch: was it the time-out, or has another producer taken over?

use std::time::Instant;

use crate::kafka::protocol::api::{Features, TransactionVersion};
use crate::kafka::protocol::record_batch::ProducerId;

use super::question::{Outcome, Question, Stop};
use super::{Adding, State, Transaction};

impl Transaction {
    /// A batch of the transaction is in a partition: the coordinator has it open, with our epoch.
    pub(crate) fn acknowledged(&mut self) {
        self.is_known_open |= self.has_begun();
    }

    /// A batch of the transaction got no answer, or one after which the coordinator may have it open.
    pub(crate) fn may_be_open(&mut self) {
        self.may_be_open |= self.has_begun();
    }

    /// The epoch is refused. If a commit may have taken effect, below version 2 no question to the coordinator tells
    /// that from the time-out:
    ///
    /// The commit took effect, its answer was lost, and another producer took over before it was sent again. It is
    /// refused now, and the epoch after ours is that of the other producer, which would be taken over in turn.
    pub(super) fn doubt(&mut self) -> Option<Outcome> {
        if self.version == TransactionVersion::Classic {
            let is_ending = matches!(self.state, State::Ending(_));
            let mut known = self.partitions.values();
            let was_open = known.clone().any(|adding| *adding == Adding::Added);
            if self.is_commit_murky || self.producer.epoch == i16::MAX {
                return self.stop(Stop::StartAgain);
            }
            if !was_open {
                // Nothing was open that could take too long, unless it was opened by a request without an answer.
                let is_clear = !self.is_murky && known.all(|adding| *adding == Adding::Wanted);
                return self.stop(match is_clear && !is_ending {
                    true => Stop::Fenced,
                    false => Stop::StartAgain,
                });
            }
        }
        self.asks_next = false;
        self.state = State::Doubting;
        None
    }

    /// What the coordinator is asked in doubt.
    ///
    /// With version 2 it remembers the epoch that it has put an end to. Below, the one after it is what it has given to
    /// the transaction that took too long; so it is also where the version was lowered, the transaction took too long,
    /// and the version was raised again before the producer asked.
    pub(super) fn doubted(&self) -> ProducerId {
        let is_next = self.asks_next || self.version == TransactionVersion::Classic;
        ProducerId {
            epoch: self.producer.epoch.saturating_add(i16::from(is_next)),
            ..self.producer
        }
    }

    /// The doubted epoch is refused too.
    ///
    /// With version 2 the epoch after ours is asked for as well, if the coordinator had the transaction open with ours:
    /// a producer that takes over then gets the second epoch after ours, since the first one ends the transaction. Where
    /// nothing was open, it gets the first one, which would be taken away from it.
    pub(super) fn is_fenced(&mut self) -> Option<Outcome> {
        if self.is_murky {
            // A request of ours that came late may have done it.
            return self.stop(Stop::StartAgain);
        }
        if self.version == TransactionVersion::Two {
            if !self.is_version_sure {
                // The time-out leaves another epoch behind if the cluster has gone back.
                self.is_version_sure = true;
                self.asks_version = true;
                return None;
            }
            let has_next = self.producer.epoch < i16::MAX;
            if self.is_known_open && has_next && !std::mem::replace(&mut self.asks_next, true) {
                return None;
            }
            if self.may_be_open && !self.is_known_open {
                return self.stop(Stop::StartAgain);
            }
        }
        self.stop(Stop::Fenced)
    }

    /// The coordinator says what the cluster has finalized.
    ///
    /// If it has gone back, and the epoch after ours is to be asked for then, the transaction must have been open with
    /// ours. Otherwise a producer may have that epoch that took over from us, and the coordinator would give both of us
    /// the one after it.
    pub(crate) fn told_when_asked(&mut self, features: Features, now: Instant) -> Option<Outcome> {
        let Some(Question::Features) = self.unanswered else {
            self.told(features);
            return None;
        };
        self.unanswered = None;
        self.asks_version = false;
        self.concurrent_since = Some(now);
        self.told(features);
        if self.features.transaction_version < self.version {
            self.version = self.features.transaction_version;
            self.is_murky = true;
            if self.state == State::Doubting && !self.is_known_open {
                return self.stop(Stop::StartAgain);
            }
        }
        None
    }
}
