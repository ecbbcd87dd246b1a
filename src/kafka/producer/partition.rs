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
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::backoff::Backoff;
use crate::batch::{Batch, SourceId};
use crate::condition::Condition;
use crate::kafka::cluster::broker::{BatchId, BatchIds, BatchRef};
use crate::kafka::protocol::error_code::{Action, Verdict};
use crate::kafka::protocol::record_batch::{ProducerId, sequence_after};
use crate::kafka::protocol::wire::WireError;

use super::batch::{BatchState, Queue, RecordBatch};
use super::batch_limit::BatchLimit;
use super::coverage::CoveredSpan;
use super::encoder::Encoder;
use super::planted::{self, Bug};
use super::producer_id::ProducerState;

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

/// What new record batches are stamped with.
#[derive(Debug, Clone, Copy)]
enum Sequencing {
    /// Nothing: idempotence is off.
    None,
    Idempotent(ProducerSequence),
    /// The id that comes next, and not this one, of which the brokers have lost track.
    Awaiting {
        instead_of: Option<ProducerId>,
    },
}

/// Producer id and the sequence number of the next new batch.
#[derive(Debug, Clone, Copy)]
struct ProducerSequence {
    producer: ProducerId,
    next: i32,
}

/// Whether something can be sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// Now.
    Ready,
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
    mode: Mode,
    backoff: Backoff,
    sequencing: Sequencing,
    limit: BatchLimit,
    /// Something waits for a leader.
    pub(crate) leaderless: Condition,
    /// The leader that metadata names says that it is not the leader.
    pub(crate) is_leader_doubted: bool,
    /// Whether the producer has it in its list of those that have something to send.
    pub(crate) listed: bool,
    #[cfg(test)]
    own_ids: BatchIds,
}

impl Partition {
    pub(crate) fn new(random: &mut fastrand::Rng) -> Self {
        Partition {
            queue: Queue::default(),
            batches: VecDeque::new(),
            mode: Mode::Flowing,
            backoff: Backoff::new(random),
            sequencing: Sequencing::Awaiting { instead_of: None },
            limit: BatchLimit::default(),
            leaderless: Condition::default(),
            is_leader_doubted: false,
            listed: false,
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

    /// Bytes that are not encoded.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.queue.bytes
    }

    /// The producer id that its batches are stamped with.
    fn producer(&self) -> Option<ProducerId> {
        match &self.sequencing {
            Sequencing::Idempotent(sequence) => Some(sequence.producer),
            Sequencing::None | Sequencing::Awaiting { .. } => None,
        }
    }

    /// Whether something of `source` is not acknowledged.
    pub(crate) fn holds(&self, source: SourceId) -> bool {
        let queue = self.queue.batches.iter();
        let mut encoded = self.batches.iter().flat_map(|batch| batch.coverage.iter());
        queue
            .map(|queued| queued.batch.source)
            .any(|held| held == source)
            || encoded.any(|covered| covered.span.source == source)
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
        match policy {
            Some(policy) if self.queue.bytes < policy.batch_bytes => {
                let due = oldest.since + policy.linger;
                if due <= now {
                    Readiness::Ready
                } else {
                    Readiness::At(due)
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
            let id = self.new_id(ids);
            let mut batch = RecordBatch::cut(id, &mut self.queue, limit, encoder);
            match &mut self.sequencing {
                Sequencing::Idempotent(sequence) => {
                    batch.stamp(Some(sequence.producer), sequence.next);
                    sequence.next = sequence_after(sequence.next, batch.records);
                }
                Sequencing::None | Sequencing::Awaiting { .. } => batch.stamp(None, -1),
            }
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
        let mut batch = self.batches.remove(self.position(batch)?)?;
        if !matches!(self.mode, Mode::Draining { .. }) {
            self.mode = Mode::Flowing;
            self.backoff.reset();
            self.is_leader_doubted = false;
        }
        self.settle_mode();
        if let Some(buffer) = Arc::into_inner(std::mem::take(&mut batch.bytes)) {
            encoder.recycle(buffer);
        }
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

    /// The connection ended without an answer to the batch `id`, for a reason that may be its size; `was_alone`
    /// says that nothing else was on it. Returns its size when that has happened so often that it is divided.
    pub(crate) fn hung_up(&mut self, id: BatchId, was_alone: bool) -> Option<usize> {
        let position = self.find(id)?;
        let batch = &mut self.batches[position];
        // The first time makes it a suspect, which goes alone from then on.
        if was_alone || batch.hang_ups == 0 {
            batch.hang_ups += 1;
        }
        let size = batch.bytes.len();
        let is_blamed = batch.hang_ups > HANG_UPS_ALONE && size >= SUSPICIOUS_BYTES;
        (is_blamed && batch.records > 1).then_some(size)
    }

    /// A broker answered: it is not for its size that nobody does.
    pub(crate) fn was_answered(&mut self, id: BatchId) {
        if let Some(position) = self.find(id) {
            self.batches[position].hang_ups = 0;
        }
    }

    /// The broker does not take the batch as it is: its halves go instead, at once. A single record
    /// is refused, for [`Partition::next_refused`]. To be called after [`Partition::fail`].
    pub(crate) fn split(
        &mut self,
        id: BatchId,
        why: Verdict,
        encoder: &mut Encoder,
        ids: &mut BatchIds,
        now: Instant,
    ) -> Result<(), WireError> {
        let Some(position) = self.find(id) else {
            return Ok(());
        };
        self.retry_at_once();
        if self.batches[position].records == 1 {
            self.batches[position].state = BatchState::Refused(why);
            return Ok(());
        }
        if why.action == Action::Shrink {
            let bytes = self.batches[position].unpacked_bytes()?;
            self.limit.lower(bytes, now);
        }
        let producer = self.producer();
        let second_id = self.new_id(ids);
        let second = self.batches[position].split(second_id, producer, encoder)?;
        self.batches.insert(position + 1, second);
        Ok(())
    }

    /// The broker refuses the batch for the time of its records alone: they go again with the time `now_ms`, at
    /// once where this was not tried before. To be called after [`Partition::fail`].
    pub(crate) fn retime(
        &mut self,
        id: BatchId,
        now_ms: i64,
        encoder: &mut Encoder,
    ) -> Result<(), WireError> {
        let Some(position) = self.find(id) else {
            return Ok(());
        };
        if self.backoff.failures() <= 1 {
            self.retry_at_once();
        }
        let producer = self.producer();
        self.batches[position].retime(now_ms, producer, encoder)
    }

    /// A refused record whose turn has come: where it was to go, why it does not, and its bytes.
    pub(crate) fn next_refused(&self, now: Instant) -> Option<(&CoveredSpan, Verdict, Vec<u8>)> {
        let first = self.batches.front()?;
        let BatchState::Refused(why) = first.state else {
            return None;
        };
        let is_due = match self.mode {
            Mode::Flowing => true,
            Mode::Draining { .. } => false,
            Mode::Probing { retry_at } => retry_at.is_none_or(|at| at <= now),
        };
        if !is_due || self.in_flight() > 0 {
            return None;
        }
        Some((first.coverage.iter().next()?, why, first.first_value()?))
    }

    /// Takes out the refused record of [`Partition::next_refused`].
    ///
    /// The sequence numbers of the later batches move up. If they did not, the broker would wait for a number
    /// that never comes, and refuse all of them. It is safe because nothing is in flight and none of them can be
    /// in the log: the broker takes no number before the one that was refused.
    pub(crate) fn remove_refused(&mut self, now: Instant) -> Option<RecordBatch> {
        let refused = self.batches.pop_front()?;
        self.mode = Mode::Probing {
            retry_at: Some(now + PAUSE_AFTER_REFUSED),
        };
        if let Some(producer) = self.producer()
            && !planted::has(Bug::SequenceNotMoved)
        {
            self.number_from(refused.base_sequence, producer);
        }
        Some(refused)
    }

    /// The brokers have lost track of the producer id: nothing goes before there is another one.
    pub(crate) fn lose_id(&mut self) {
        if let Sequencing::Idempotent(sequence) = self.sequencing {
            self.sequencing = Sequencing::Awaiting {
                instead_of: Some(sequence.producer),
            };
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

    fn number_from(&mut self, mut next: i32, producer: ProducerId) {
        for batch in &mut self.batches {
            batch.stamp(Some(producer), next);
            next = sequence_after(next, batch.records);
        }
        self.sequencing = Sequencing::Idempotent(ProducerSequence { producer, next });
    }

    /// Takes over what is left of a partition that does not exist any more and has nothing in flight. Its record
    /// batches go after those that are here, with the next sequence numbers. They keep their ids, which are
    /// unique in the producer: an answer to a batch of this partition can be for none of the others.
    pub(crate) fn absorb(&mut self, gone: Partition) {
        for mut batch in gone.batches {
            match &mut self.sequencing {
                Sequencing::Idempotent(sequence) => {
                    batch.stamp(Some(sequence.producer), sequence.next);
                    sequence.next = sequence_after(sequence.next, batch.records);
                }
                Sequencing::None | Sequencing::Awaiting { .. } => batch.stamp(None, -1),
            }
            self.batches.push_back(batch);
        }
        self.queue.absorb(gone.queue);
    }
}

/// Kafka remembers the last five batches of a producer in each partition, no more.
const MAX_IN_FLIGHT: usize = 5;
/// After a record that was refused. Finding one takes several requests, so a topic that takes none at
/// all would keep this producer and the broker busy, and fill the disk with dead letters.
const PAUSE_AFTER_REFUSED: Duration = Duration::from_millis(2);
/// So often a broker may hang up on a batch that is alone on a fresh connection before its size is blamed.
const HANG_UPS_ALONE: u32 = 3;
/// No limit on the size of a request is lower.
const SUSPICIOUS_BYTES: usize = 16 << 10;

#[cfg(test)]
mod tests;
