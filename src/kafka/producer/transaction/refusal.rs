//! What an error in answer to a question means.

use std::time::Instant;

use crate::kafka::protocol::api::TransactionVersion;
use crate::kafka::protocol::error_code::{Asked, Reaction, Verdict, Written};

use super::{
    Adding, CONCURRENT, CONCURRENT_PAUSE, End, INVALID_STATE, NOT_ATTEMPTED, Outcome, Question,
    SUSPICIOUSLY_LONG, State, Stop, Transaction, UNSUPPORTED_VERSION, WAIT,
};

impl Transaction {
    /// A question was answered with an error.
    pub(super) fn refused(&mut self, asked: Asked, error: i16, now: Instant) -> Option<Outcome> {
        let verdict = Verdict::of(error);
        if verdict.written != Written::NotAppended && error != CONCURRENT && error != NOT_ATTEMPTED
        {
            let question = match self.state {
                State::Ending(end) => Question::End(end),
                _ => Question::NextEpoch(self.producer),
            };
            self.is_unclear(&question);
        }
        if error == CONCURRENT {
            let since = *self.concurrent_since.get_or_insert(now);
            self.asks_version = self.version == TransactionVersion::Two
                && now.saturating_duration_since(since) > SUSPICIOUSLY_LONG;
            self.not_before = now + CONCURRENT_PAUSE;
            return None;
        }
        self.concurrent_since = None;
        self.not_before = now + self.backoff.pause();
        self.trouble = Some(verdict);
        match verdict.in_transaction(asked) {
            Reaction::Same => None,
            Reaction::Coordinator => {
                self.coordinator = None;
                None
            }
            Reaction::Wait => {
                self.not_before = now + WAIT;
                None
            }
            Reaction::Abort | Reaction::AbortClassic => self.cannot_go_on(error),
            Reaction::Doubt => match (self.version, error, self.state) {
                // Below version 2 the coordinator looks at the epoch first: it is ours, and there is nothing to end.
                (TransactionVersion::Classic, INVALID_STATE, State::Ending(End::Abort)) => {
                    self.state = State::Renewing { is_aborted: true };
                    None
                }
                (TransactionVersion::Classic, INVALID_STATE, _) => self.cannot_go_on(error),
                _ => self.doubt(),
            },
            Reaction::Fenced if self.is_murky => {
                // A request of ours that came late may have done it.
                self.stop(Stop::StartAgain)
            }
            Reaction::Fenced
                if self.version == TransactionVersion::Two && !self.is_version_sure =>
            {
                // The time-out leaves another epoch behind if the cluster has gone back.
                self.is_version_sure = true;
                self.asks_version = true;
                None
            }
            Reaction::Fenced => self.stop(Stop::Fenced),
            Reaction::StartAgain => self.stop(Stop::StartAgain),
        }
    }

    /// The cluster has gone back to the version before.
    pub(super) fn go_back(&mut self) {
        self.version = TransactionVersion::Classic;
        self.features.transaction_version = TransactionVersion::Classic;
        self.is_murky = true;
    }

    /// The coordinator wants the transaction to be aborted, or made in another way.
    pub(super) fn cannot_go_on(&mut self, error: i16) -> Option<Outcome> {
        if error == UNSUPPORTED_VERSION {
            self.go_back();
            return None;
        }
        match self.state {
            State::Ending(End::Commit) if self.is_commit_murky => self.stop(Stop::StartAgain),
            State::Open | State::Sealed | State::Ending(End::Commit) => {
                self.end(End::Abort);
                None
            }
            _ => None,
        }
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
        self.state = State::Doubting;
        None
    }

    pub(super) fn stop(&mut self, why: Stop) -> Option<Outcome> {
        self.state = State::Stopped(why);
        Some(Outcome::Stopped(why))
    }
}
