//! One partition of a topic, as its producer sees it: what waits, what is in flight, in which order.
//!
//! ```text
//!                     push                 next                    acknowledge
//!    lines ------------------> queue -----------------> in flight -----------------> gone
//!                                     encoded, stamped    |    ^
//!                                                    fail v    | next, the oldest first
//!                                                      waiting +---- split: two halves wait
//!                                                         | a single record that nobody takes
//!                                                         v
//!                                                      refused ----> dead letters
//!
//!                  fail, others in flight                 all are answered
//!    Flowing ---------------------------------> Draining ------------------> Probing
//!       ^  \---------- fail, none in flight ------------------------------->/  |  ^ fail
//!       |                                                                      |  |
//!       +----------------------------- acknowledge ----------------------------+--+
//! ```
//! What holds at any time:
//! - The records stand in this order: unacknowledged record batches, oldest first, then the queue. Sequence
//!   numbers follow it without a gap.
//! - A batch is in flight at one broker at most, and only the answer to its last attempt counts.
//! - Draining sends nothing, Probing one batch at a time, Flowing up to five. Without sequence numbers one batch
//!   is in flight at most: a second one could be taken while the first is refused, and overtake it.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::backoff::Backoff;
use crate::batch::{Batch, SourceId};
use crate::condition::Condition;
use crate::kafka::cluster::broker::{BatchId, BatchIds, BatchRef};
use crate::kafka::protocol::record_batch::{ProducerId, sequence_after};

use super::batch::{BatchState, Queue, RecordBatch};
use super::encoder::{BatchLimit, Encoder};
use super::planted::{self, Bug};
use super::producer_id::{ProducerSequence, ProducerState, Sequencing};

/// How much may be in flight, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Flowing,
    /// A batch failed and others are in flight. They are answered first: whether a batch that comes before them
    /// goes again, is divided or is left out, they must not be overtaken by what comes after.
    Draining {
        retry_at: Option<Instant>,
    },
    /// One batch at a time until one is acknowledged: after a failure, and at the start of a sequence, since a
    /// broker takes *any* number as the first. Were two sent then and the first lost, the second would start
    /// the sequence, and the first would be out of order for ever.
    Probing {
        retry_at: Option<Instant>,
    },
}

/// Whether something can be sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// Now.
    Ready,
    /// Now, if a request goes to its broker anyway; else at that time, when linger is over.
    Lingers(Instant),
    /// At that time, if nothing else happens.
    At(Instant),
    /// Not before something else happens.
    Waits,
}

/// When a batch is full enough or old enough to go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LingerPolicy {
    pub(crate) batch_bytes: usize,
    pub(crate) linger: Duration,
}

/// What a batch was that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Failed {
    /// No older batch is unacknowledged.
    pub(crate) is_oldest: bool,
    /// One of its copies may be in the log.
    pub(crate) maybe_written: bool,
}

/// The state of one partition.
#[derive(Debug)]
pub(crate) struct Partition {
    queue: Queue,
    batches: VecDeque<RecordBatch>,
    /// Batches of the open transaction that are acknowledged, as they were answered.
    retained: Vec<RecordBatch>,
    mode: Mode,
    backoff: Backoff,
    sequencing: Sequencing,
    limit: BatchLimit,
    /// Something waits for a leader.
    pub(crate) leaderless: Condition,
    /// The leader that metadata names says that it is not the leader.
    pub(crate) is_leader_doubted: bool,
    /// Whether the producer has it in its list of those that have something to send.
    pub(crate) is_active: bool,
    /// The turn of the producer in which a batch was last put into a request. Brokers refuse two in one.
    pub(crate) last_turn: usize,
    #[cfg(test)]
    own_ids: BatchIds,
}

impl Partition {
    pub(crate) fn new(random: &mut fastrand::Rng) -> Self {
        Partition {
            queue: Queue::default(),
            batches: VecDeque::new(),
            retained: Vec::new(),
            mode: Mode::Flowing,
            backoff: Backoff::new(random),
            sequencing: Sequencing::Awaiting { instead_of: None },
            limit: BatchLimit::default(),
            leaderless: Condition::default(),
            is_leader_doubted: false,
            is_active: false,
            last_turn: 0,
            #[cfg(test)]
            own_ids: BatchIds::default(),
        }
    }

    /// Nothing waits and nothing is in flight.
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.batches.is_empty() && self.batches.is_empty()
    }

    /// Record batches without an answer.
    pub(crate) fn in_flight(&self) -> usize {
        let batches = self.batches.iter();
        batches.filter(|batch| batch.is_in_flight()).count()
    }

    /// Nothing is encoded.
    pub(crate) fn is_all_queued(&self) -> bool {
        self.batches.is_empty()
    }

    /// Bytes that are not encoded.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.queue.bytes
    }

    /// Whether something of the log at that path, or of its rotated files, is not acknowledged.
    pub(crate) fn holds(&self, log: &Path) -> bool {
        self.sources()
            .any(|(_, to)| to.path.as_os_str() == log.as_os_str())
    }

    /// The sources of which something is not acknowledged, some of them several times, with where they go.
    pub(crate) fn sources(
        &self,
    ) -> impl Iterator<Item = (SourceId, &Arc<crate::batch::Destination>)> {
        let queue = self.queue.batches.iter();
        let encoded = self.batches.iter().flat_map(|batch| batch.coverage.iter());
        encoded
            .map(|covered| (covered.span.source, &covered.destination))
            .chain(queue.map(|queued| (queued.batch.source, &queued.batch.destination)))
    }

    /// Metadata names another leader, or the same one anew: a reason to try again at once.
    ///
    /// What is in flight at a leader that was replaced waits no longer for its answer. That broker can commit
    /// nothing any more, and if it has, the new leader knows the sequence numbers and says so. Its late answers
    /// are to an attempt that is over, so nobody takes them for the answers of the new leader. Without sequence
    /// numbers the answer is waited for, since only it tells whether the records are in the log.
    pub(crate) fn leader_changed(&mut self, leader: i32) {
        self.is_leader_doubted = false;
        if matches!(self.sequencing, Sequencing::Idempotent(_)) {
            let mut given_up = false;
            for batch in &mut self.batches {
                if matches!(batch.state, BatchState::InFlight { to, .. } if to != leader) {
                    batch.state = BatchState::Waiting;
                    batch.maybe_written = true;
                    given_up = true;
                }
            }
            if given_up {
                self.mode = Mode::Draining { retry_at: None };
            }
        }
        self.retry_at_once();
        self.settle_mode();
    }

    /// Queues a batch.
    pub(crate) fn push(&mut self, batch: Batch, since: Instant) {
        self.queue.push(batch, since);
    }

    /// Whether there is something to send now. Without a policy nothing waits for more to come.
    pub(crate) fn readiness(&self, now: Instant, policy: Option<LingerPolicy>) -> Readiness {
        let (most, retry_at) = match (self.mode, &self.sequencing) {
            (Mode::Draining { .. }, _) | (_, Sequencing::Awaiting { .. }) => {
                return Readiness::Waits;
            }
            (Mode::Probing { retry_at }, _) => (1, retry_at),
            (Mode::Flowing, Sequencing::None) => (1, None),
            (Mode::Flowing, Sequencing::Idempotent(_)) => (MAX_IN_FLIGHT, None),
        };
        if self.in_flight() >= most {
            return Readiness::Waits;
        }
        if let Some(at) = retry_at
            && at > now
        {
            return Readiness::At(at);
        }
        if let Some(first) = self.first_not_in_flight() {
            return match first.state {
                // It is taken out as soon as nothing is in flight.
                BatchState::Refused(_) => Readiness::Waits,
                _ => Readiness::Ready,
            };
        }
        let Some(oldest) = self.queue.batches.front() else {
            return Readiness::Waits;
        };
        if !self.batches.is_empty() && oldest.batch.permit.is_overdrawn() {
            // An answer is on its way to this partition, and gives memory back.
            return Readiness::Waits;
        }
        match policy {
            Some(policy) if self.queue.bytes < policy.batch_bytes => {
                let due = oldest.since + policy.linger;
                if due <= now {
                    Readiness::Ready
                } else {
                    Readiness::Lingers(due)
                }
            }
            _ => Readiness::Ready,
        }
    }

    fn first_not_in_flight(&self) -> Option<&RecordBatch> {
        self.batches.iter().find(|batch| !batch.is_in_flight())
    }

    /// About how large the next record batch will be, and whether it must be alone on its connection, because
    /// brokers hang up on it.
    pub(crate) fn next_size(&self, batch_bytes: usize) -> (usize, bool) {
        match self.first_not_in_flight() {
            Some(batch) => (batch.bytes.len(), batch.hang_ups > 0),
            None => (self.queue.bytes.min(batch_bytes), false),
        }
    }

    /// The record batch that goes next to `to`: the oldest that failed, or a new one.
    pub(crate) fn next(
        &mut self,
        to: i32,
        encoder: &mut Encoder,
        ids: &mut BatchIds,
        now: Instant,
    ) -> (BatchId, u32, Arc<Vec<u8>>) {
        let failed = self.batches.iter().position(|batch| !batch.is_in_flight());
        let position = failed.unwrap_or_else(|| {
            let limit = self.limit.bytes(encoder.batch_bytes, now);
            let limit = match self.queue.batches.front() {
                Some(oldest) if oldest.batch.permit.is_overdrawn() => limit.min(SMALL_BYTES),
                _ => limit,
            };
            let id = self.new_id(ids);
            let mut batch = RecordBatch::cut(id, &mut self.queue, limit, encoder);
            self.sequencing.stamp_next(&mut batch);
            self.batches.push_back(batch);
            self.batches.len() - 1
        });
        let batch = &mut self.batches[position];
        let attempt = batch.send(to);
        (batch.id, attempt, batch.bytes.clone())
    }

    fn new_id(&mut self, ids: &mut BatchIds) -> BatchId {
        #[cfg(test)]
        if planted::has(Bug::AbsorbKeepsIds) {
            return self.own_ids.next();
        }
        ids.next()
    }

    fn position(&self, batch: &BatchRef) -> Option<usize> {
        let is_answered = |state| {
            matches!(state, BatchState::InFlight { attempt, .. } if attempt == batch.attempt)
                || planted::has(Bug::AnswerByIdAlone)
        };
        self.batches
            .iter()
            .position(|candidate| candidate.id == batch.id && is_answered(candidate.state))
    }

    /// Kafka has the batch. An answer to an attempt that is over changes nothing.
    pub(crate) fn acknowledge(
        &mut self,
        batch: &BatchRef,
        encoder: &mut Encoder,
    ) -> Option<RecordBatch> {
        let mut batch = self.take_acknowledged(batch)?;
        if let Some(buffer) = Arc::into_inner(std::mem::take(&mut batch.bytes)) {
            encoder.return_buffer(buffer);
        }
        Some(batch)
    }

    fn take_acknowledged(&mut self, batch: &BatchRef) -> Option<RecordBatch> {
        let batch = self.batches.remove(self.position(batch)?)?;
        if !matches!(self.mode, Mode::Draining { .. }) {
            self.mode = Mode::Flowing;
            self.backoff.reset();
            self.is_leader_doubted = false;
        }
        self.settle_mode();
        Some(batch)
    }

    /// The batch must go again. An answer to an attempt that is over changes nothing.
    pub(crate) fn fail(
        &mut self,
        batch: &BatchRef,
        maybe_written: bool,
        now: Instant,
    ) -> Option<Failed> {
        let position = self.position(batch)?;
        let batch = &mut self.batches[position];
        batch.state = BatchState::Waiting;
        batch.maybe_written |= maybe_written;
        let failed = Failed {
            is_oldest: position == 0,
            maybe_written: batch.maybe_written,
        };
        if !matches!(self.mode, Mode::Draining { .. }) {
            let retry_at = Some(now + self.backoff.pause());
            self.mode = match planted::has(Bug::DrainingLost) {
                false => Mode::Draining { retry_at },
                true => Mode::Flowing,
            };
        }
        self.settle_mode();
        Some(failed)
    }

    /// Draining is over when nothing is in flight.
    fn settle_mode(&mut self) {
        if let Mode::Draining { retry_at } = self.mode
            && self.in_flight() == 0
        {
            self.mode = Mode::Probing { retry_at };
        }
    }

    fn retry_at_once(&mut self) {
        match &mut self.mode {
            Mode::Flowing => {}
            Mode::Draining { retry_at } | Mode::Probing { retry_at } => *retry_at = None,
        }
    }

    fn find(&mut self, id: BatchId) -> Option<usize> {
        self.batches.iter().position(|batch| batch.id == id)
    }

    /// Takes over what is left of a partition that does not exist any more and has nothing in flight. Its record
    /// batches go after those that are here, with the next sequence numbers. They keep their ids, which are
    /// unique in the producer: an answer to a batch of this partition can be for none of the others.
    pub(crate) fn merge(&mut self, gone: Partition) {
        self.retained.extend(gone.retained);
        for mut batch in gone.batches {
            self.sequencing.stamp_next(&mut batch);
            self.batches.push_back(batch);
        }
        self.queue.merge(gone.queue);
    }
}

impl Partition {
    /// The producer id that its batches are stamped with.
    pub(crate) fn producer(&self) -> Option<ProducerId> {
        match &self.sequencing {
            Sequencing::Idempotent(sequence) => Some(sequence.producer),
            Sequencing::None | Sequencing::Awaiting { .. } => None,
        }
    }

    /// The brokers have lost track of the producer id: nothing goes before there is another one.
    pub(crate) fn lose_id(&mut self) {
        if let Sequencing::Idempotent(sequence) = self.sequencing {
            self.sequencing = Sequencing::Awaiting {
                instead_of: Some(sequence.producer),
            };
        }
    }

    /// Whether batches are signed has changed: the producer knows.
    pub(crate) fn wants_id(&mut self) {
        self.lose_id();
        if matches!(self.sequencing, Sequencing::None) {
            self.sequencing = Sequencing::Awaiting { instead_of: None };
        }
    }

    /// Takes the id that the producer has now, if it waits for one and nothing is in flight. Returns the id that
    /// the producer should give up, if it is the one that is of no use here.
    ///
    /// The order matters. Batches are stamped with the new id only when every batch with the old one has been
    /// answered: otherwise a late answer to an old copy could be taken for one to a new copy, and the broker
    /// could append both.
    pub(crate) fn adopt_id(&mut self, state: ProducerState) -> Option<ProducerId> {
        let Sequencing::Awaiting { instead_of } = self.sequencing else {
            return None;
        };
        if self.in_flight() > 0 {
            return None;
        }
        match state {
            ProducerState::Awaited => {}
            ProducerState::Id(id) if Some(id) == instead_of => return Some(id),
            ProducerState::Id(id) => {
                let retry_at = match self.mode {
                    Mode::Flowing => None,
                    Mode::Draining { retry_at } | Mode::Probing { retry_at } => retry_at,
                };
                self.mode = Mode::Probing { retry_at };
                self.number_from(0, id);
            }
            ProducerState::None => {
                self.sequencing = Sequencing::None;
                for batch in &mut self.batches {
                    batch.stamp(None, -1);
                }
            }
        }
        None
    }

    pub(super) fn number_from(&mut self, mut next: i32, producer: ProducerId) {
        for batch in &mut self.batches {
            batch.stamp(Some(producer), next);
            next = sequence_after(next, batch.records);
        }
        self.sequencing = Sequencing::Idempotent(ProducerSequence { producer, next });
    }
}

/// A record batch for which there is no memory, and which goes all the same, so that nothing stands still.
const SMALL_BYTES: usize = 16 << 10;
/// Kafka remembers the last five batches of a producer in each partition, no more.
const MAX_IN_FLIGHT: usize = 5;

mod refusal;
mod retained;
#[cfg(test)]
mod tests;
