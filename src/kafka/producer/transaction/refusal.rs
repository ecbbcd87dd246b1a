//! What an error in answer to a question means.

use std::time::Instant;

use crate::kafka::protocol::api::TransactionVersion;
use crate::kafka::protocol::error_code::{Asked, Reaction, Verdict, Written};

use super::{
    CONCURRENT, CONCURRENT_PAUSE, End, INVALID_STATE, NOT_ATTEMPTED, Outcome, Question,
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
            Reaction::Fenced => self.is_fenced(),
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

    pub(super) fn stop(&mut self, why: Stop) -> Option<Outcome> {
        self.state = State::Stopped(why);
        Some(Outcome::Stopped(why))
    }
}
