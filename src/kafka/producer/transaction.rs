//! The transactions of one producer (KIP-98, KIP-447, KIP-890): what is asked of the coordinator, and what an answer or
//! its absence means. A state machine without socket and clock, as the producer itself.
//!
//! ```text
//!            admits              seal            end: all is answered            0
//!    Idle ----------> Open --------------> Sealed -------------> Ending(Commit) ----> Idle, Committed
//!     ^                 |  abort             | abort                |
//!     |                 +--------------------+                      | 47, 48, 90
//!     |                 v                       47, 48, 90          v
//!     |  0  Ending(Abort) ------------------------------------> Doubting: was it the time-out, or is it another?
//!     |          | classic: 0, 48                                   |                    |
//!     |          v                                                0 |                    | 47, 90
//!     +------ Renewing: the next epoch <----------------------------+                    v
//!   Aborted                                                  Aborted           Stopped(Fenced)
//! ```
//! What holds at any time:
//! - One question is unanswered at most, and it goes again as it was until its answer is definite. A commit never
//!   becomes an abort while it may have taken effect.
//! - What a transaction is signed with is never used for another one. With version 2 the coordinator sees to that;
//!   below, the producer asks for another epoch after each abort and after each answer that was lost, since a request
//!   that is late would count for the next transaction otherwise.
//! - `Committed` and `Aborted` come once for each transaction. After `Stopped` nothing comes.

mod doubt;
#[cfg(test)]
mod model;
mod question;
mod refusal;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) use self::question::{End, Outcome, Place, Question, Stop};
use crate::backoff::Backoff;
use crate::kafka::protocol::api::{Features, TransactionVersion};
use crate::kafka::protocol::error_code::{Asked, Reaction, Verdict};
use crate::kafka::protocol::record_batch::ProducerId;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing is open.
    Idle,
    /// Batches go out.
    Open,
    /// No new batches; those that are out are answered, and the positions go.
    Sealed,
    /// The coordinator is told, until it says what has become of it.
    Ending(End),
    /// Below version 2, and where the version changes: another epoch before the next transaction.
    Renewing {
        /// The batches wait for it.
        is_aborted: bool,
    },
    /// The coordinator refuses our epoch.
    Doubting,
    Stopped(Stop),
}

/// A partition of a transaction below version 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Adding {
    Wanted,
    Asked,
    Added,
}

/// The transactions of one transactional id.
#[derive(Debug)]
pub(crate) struct Transaction {
    state: State,
    producer: ProducerId,
    /// How the transaction that is open is made.
    version: TransactionVersion,
    /// The newest that brokers have told.
    features: Features,
    /// Node id.
    coordinator: Option<i32>,
    /// Below version 2, what was to be added to this transaction.
    partitions: BTreeMap<Place, Adding>,
    /// Which question has no answer yet.
    unanswered: Option<Question>,
    /// Since the epoch was given out, an answer was lost or unclear, and the request may have taken effect or may still
    /// do so: that the epoch is refused has two explanations.
    is_murky: bool,
    /// The same for the commit of this transaction.
    is_commit_murky: bool,
    /// Since when the end is refused because another one is under way.
    concurrent_since: Option<Instant>,
    /// Whether the cluster has gone back to the version before is asked first.
    asks_version: bool,
    /// It was asked, since the epoch was refused.
    is_version_sure: bool,
    /// The coordinator had this transaction open, with our epoch.
    is_known_open: bool,
    /// It may have had it open.
    may_be_open: bool,
    /// In doubt the epoch after ours is asked for too.
    asks_next: bool,
    /// No question before.
    not_before: Instant,
    backoff: Backoff,
    /// What is waited for, for a person.
    trouble: Option<Verdict>,
}

impl Transaction {
    /// Transactions that begin with `producer`, which `InitProducerId` has just given out.
    pub(crate) fn new(
        producer: ProducerId,
        features: Features,
        random: &mut fastrand::Rng,
        now: Instant,
    ) -> Self {
        Transaction {
            state: State::Idle,
            producer,
            version: features.transaction_version,
            features,
            coordinator: None,
            partitions: BTreeMap::new(),
            unanswered: None,
            is_murky: false,
            is_commit_murky: false,
            concurrent_since: None,
            asks_version: false,
            is_version_sure: false,
            is_known_open: false,
            may_be_open: false,
            asks_next: false,
            not_before: now,
            backoff: Backoff::new(random),
            trouble: None,
        }
    }

    /// What batches are signed with now.
    pub(crate) fn producer(&self) -> ProducerId {
        self.producer
    }

    /// How the transaction that is open is made.
    pub(crate) fn version(&self) -> TransactionVersion {
        self.version
    }

    /// Where the coordinator is.
    pub(crate) fn coordinator(&self) -> Option<i32> {
        self.coordinator
    }

    /// What keeps the coordinator from answering as it should, if that lasts.
    pub(crate) fn trouble(&self) -> Option<Verdict> {
        self.trouble
    }

    /// Batches may be added.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state, State::Idle | State::Open)
    }

    /// Something was sent in it, and nothing ends it yet.
    pub(crate) fn has_begun(&self) -> bool {
        matches!(self.state, State::Open | State::Sealed)
    }

    /// Something was sent in it, and what has become of it is not known yet.
    pub(crate) fn is_under_way(&self) -> bool {
        let is_over = matches!(self.state, State::Idle | State::Stopped(_));
        !is_over && self.state != State::Renewing { is_aborted: false }
    }

    /// It is to be committed or aborted, or its epoch to be renewed.
    pub(crate) fn is_ending(&self) -> bool {
        self.is_under_way() && !self.has_begun()
    }

    /// A broker has told what the cluster has finalized.
    pub(crate) fn told(&mut self, features: Features) {
        if features.epoch >= self.features.epoch {
            self.features = features;
        }
    }

    /// Whether a batch of that partition may go out now, signed with [`Transaction::producer`]. If not, it is
    /// remembered that one wants to.
    pub(crate) fn admits(&mut self, place: &Place) -> bool {
        match self.state {
            State::Idle if self.features.transaction_version != self.version => {
                self.version = self.features.transaction_version;
                self.state = State::Renewing { is_aborted: false };
                return false;
            }
            State::Idle => self.state = State::Open,
            State::Open | State::Sealed => {}
            _ => return false,
        }
        if self.version == TransactionVersion::Two {
            return true;
        }
        match self.partitions.get(place) {
            Some(adding) => *adding == Adding::Added,
            None => {
                self.partitions.insert(place.clone(), Adding::Wanted);
                false
            }
        }
    }

    /// No batch is added any more.
    pub(crate) fn seal(&mut self) {
        if self.state == State::Open {
            self.state = State::Sealed;
        }
    }

    /// Everything in it is acknowledged, the positions too.
    pub(crate) fn commit(&mut self) -> Option<Outcome> {
        match self.state {
            // Nothing of it had to be sent.
            State::Idle => return Some(Outcome::Committed),
            State::Open | State::Sealed => self.end(End::Commit),
            _ => {}
        }
        None
    }

    /// The connection to the coordinator is lost, and nothing was asked there.
    pub(crate) fn lost_coordinator(&mut self) {
        self.coordinator = None;
    }

    /// A batch of it was answered with an error.
    pub(crate) fn produce_refused(&mut self, verdict: Verdict) -> Option<Outcome> {
        if !self.has_begun() {
            // The batch was of a transaction that is done for.
            return None;
        }
        let is_classic = self.version == TransactionVersion::Classic;
        match verdict.in_transaction(Asked::Produce) {
            Reaction::Doubt if is_classic && verdict.code == INVALID_STATE => {
                // The epoch is right, and yet the partition does not belong to the transaction.
                self.end(End::Abort);
                None
            }
            Reaction::Doubt | Reaction::Fenced => self.doubt(),
            Reaction::AbortClassic => {
                self.go_back();
                self.end(End::Abort);
                None
            }
            Reaction::StartAgain => self.stop(Stop::StartAgain),
            Reaction::Abort => {
                self.end(End::Abort);
                None
            }
            Reaction::Same | Reaction::Coordinator | Reaction::Wait => None,
        }
    }

    /// Aborts what is open, so that what is in it goes again.
    pub(crate) fn abort(&mut self) {
        if self.has_begun() {
            self.end(End::Abort);
        }
    }

    fn end(&mut self, end: End) {
        self.state = State::Ending(end);
        self.is_commit_murky = false;
        self.concurrent_since = None;
    }

    /// The question that is to be asked now. It is unanswered from then on.
    pub(crate) fn ask(&mut self, now: Instant) -> Option<Question> {
        if self.unanswered.is_some() || self.not_before > now {
            return None;
        }
        let question = self.question()?;
        let question = match self.coordinator {
            None => Question::FindCoordinator,
            Some(_) => question,
        };
        if let Question::AddPartitions(places) = &question {
            for place in places {
                self.partitions.insert(place.clone(), Adding::Asked);
            }
        }
        self.unanswered = Some(question.clone());
        Some(question)
    }

    /// When to look again whether there is something to ask.
    pub(crate) fn due(&self) -> Option<Instant> {
        let waits = self.unanswered.is_none() && self.question().is_some();
        waits.then_some(self.not_before)
    }

    fn question(&self) -> Option<Question> {
        match self.state {
            State::Ending(_) | State::Doubting if self.asks_version => Some(Question::Features),
            State::Idle | State::Stopped(_) => None,
            State::Open | State::Sealed => {
                let is_wanted = |(_, adding): &(&Place, &Adding)| **adding == Adding::Wanted;
                let wanted = self.partitions.iter().filter(is_wanted);
                let places: Vec<Place> = wanted.map(|(place, _)| place.clone()).collect();
                (!places.is_empty()).then_some(Question::AddPartitions(places))
            }
            State::Ending(end) => Some(Question::End(end)),
            State::Renewing { .. } => Some(Question::NextEpoch(self.producer)),
            State::Doubting => Some(Question::NextEpoch(self.doubted())),
        }
    }

    /// The question that had no answer will get none.
    pub(crate) fn unanswered(&mut self, now: Instant) {
        if let Some(question) = self.unanswered.take() {
            self.coordinator = None;
            self.is_unclear(&question);
            self.not_before = now + self.backoff.pause();
        }
    }

    /// Whether it took effect is not known.
    fn is_unclear(&mut self, question: &Question) {
        self.is_murky |= match question {
            Question::FindCoordinator | Question::Features => false,
            Question::NextEpoch(_) => true,
            // With version 2 what comes late has an epoch that is over.
            Question::AddPartitions(_) | Question::End(_) => {
                self.version == TransactionVersion::Classic
            }
        };
        match question {
            Question::End(End::Commit) => self.is_commit_murky = true,
            Question::AddPartitions(places) => {
                for place in places {
                    self.partitions.insert(place.clone(), Adding::Wanted);
                }
            }
            _ => {}
        }
    }

    /// Any broker says where the coordinator is.
    pub(crate) fn found(&mut self, error: i16, node: i32, now: Instant) -> Option<Outcome> {
        let Some(Question::FindCoordinator) = self.unanswered else {
            return None;
        };
        self.unanswered = None;
        if error != 0 {
            return self.refused(Asked::FindCoordinator, error, now);
        }
        self.coordinator = Some(node);
        self.is_fine(now);
        None
    }

    /// The coordinator says which partitions belong to the transaction now. Returns those that are refused for good,
    /// and why.
    pub(crate) fn added(
        &mut self,
        answers: &[(Arc<str>, i32, i16)],
        now: Instant,
    ) -> (Option<Outcome>, Vec<(Place, Verdict)>) {
        let Some(Question::AddPartitions(places)) = self.unanswered.take() else {
            return (None, Vec::new());
        };
        self.is_fine(now);
        let (mut outcome, mut refused) = (None, Vec::new());
        for place in places {
            let is_it = |answer: &&(Arc<str>, i32, i16)| answer.0 == place.0 && answer.1 == place.1;
            let error = answers.iter().find(is_it).map_or(-1, |answer| answer.2);
            let adding = if error == 0 {
                Adding::Added
            } else {
                Adding::Wanted
            };
            self.partitions.insert(place.clone(), adding);
            if error == 0 {
                continue;
            }
            let verdict = Verdict::of(error);
            if verdict.in_transaction(Asked::AddPartitions) == Reaction::Abort
                && error != NOT_ATTEMPTED
            {
                refused.push((place, verdict));
            }
            if outcome.is_none() && self.has_begun() {
                outcome = self.refused(Asked::AddPartitions, error, now);
            }
        }
        (outcome, refused)
    }

    /// The coordinator has ended the transaction, or says why not.
    pub(crate) fn ended(
        &mut self,
        error: i16,
        next: Option<ProducerId>,
        now: Instant,
    ) -> Option<Outcome> {
        let (Some(Question::End(_)), State::Ending(end)) = (self.unanswered.take(), self.state)
        else {
            return None;
        };
        if error != 0 {
            return self.refused(Asked::EndTxn, error, now);
        }
        self.is_fine(now);
        match (end, next) {
            (_, Some(next)) if self.version == TransactionVersion::Two => {
                self.begin_anew(next);
                Some(match end {
                    End::Commit => Outcome::Committed,
                    End::Abort => Outcome::Aborted,
                })
            }
            (End::Commit, _) => {
                self.partitions.clear();
                self.has_ended();
                let is_fresh = !self.is_murky && self.version == TransactionVersion::Classic;
                self.state = match is_fresh {
                    true => State::Idle,
                    false => State::Renewing { is_aborted: false },
                };
                Some(Outcome::Committed)
            }
            (End::Abort, _) => {
                self.state = State::Renewing { is_aborted: true };
                None
            }
        }
    }

    /// The coordinator has given out an epoch, or says why not.
    pub(crate) fn renewed(
        &mut self,
        error: i16,
        next: ProducerId,
        now: Instant,
    ) -> Option<Outcome> {
        let Some(Question::NextEpoch(_)) = self.unanswered.take() else {
            return None;
        };
        if error != 0 {
            return self.refused(Asked::InitProducerId, error, now);
        }
        let is_aborted = match self.state {
            State::Doubting => true,
            State::Renewing { is_aborted } => is_aborted,
            _ => return None,
        };
        self.is_fine(now);
        self.begin_anew(next);
        is_aborted.then_some(Outcome::Aborted)
    }

    fn begin_anew(&mut self, producer: ProducerId) {
        self.producer = producer;
        self.partitions.clear();
        self.is_murky = false;
        self.is_version_sure = false;
        self.asks_version = false;
        self.has_ended();
        self.state = State::Idle;
    }

    /// The next transaction is another one.
    fn has_ended(&mut self) {
        (self.is_known_open, self.may_be_open) = (false, false);
    }

    fn is_fine(&mut self, now: Instant) {
        self.backoff.reset();
        self.trouble = None;
        self.not_before = now;
    }
}

const UNSUPPORTED_VERSION: i16 = 35;
const INVALID_STATE: i16 = 48;
const CONCURRENT: i16 = 51;
const NOT_ATTEMPTED: i16 = 55;
/// A transaction is ended within some milliseconds.
const CONCURRENT_PAUSE: Duration = Duration::from_millis(20);
/// After so long it is not that. A cluster that went back to the version before answers so for ever.
const SUSPICIOUSLY_LONG: Duration = Duration::from_secs(2);
/// How long a refusal is left alone that only a person can end.
const WAIT: Duration = Duration::from_secs(10);
