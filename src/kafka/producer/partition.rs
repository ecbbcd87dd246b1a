//! One partition of a topic, as its producer sees it: what waits, what is in flight, in which order.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::batch::{Batch, Destination, Span};
use crate::budget::Permit;

use super::batch_limit::BatchLimit;
use super::coverage::{Portion, add_portion, split_portions};
use super::encoder::Encoder;
use crate::backoff::Backoff;
use crate::kafka::protocol::error_code::{Action, Verdict};
use crate::kafka::protocol::record_batch::{ProducerId, RawRecord, Unpacked, stamp};
use crate::kafka::protocol::wire::WireError;

/// Kafka remembers the last five batches of a producer in each partition, no more.
const MAX_IN_FLIGHT: usize = 5;

/// After a record that was refused. Finding one takes several requests, so a topic that takes none at
/// all would keep this producer and the broker busy, and fill the disk with dead letters.
const PAUSE_AFTER_REFUSED: Duration = Duration::from_millis(2);

/// A batch that is not encoded yet.
#[derive(Debug)]
struct Queued {
    batch: Batch,
    /// How much of it is encoded already.
    from: usize,
    since: Instant,
}

/// A record batch that is not acknowledged.
#[derive(Debug)]
pub(crate) struct Unacked {
    number: u64,
    bytes: Arc<Vec<u8>>,
    records: i32,
    base_sequence: i32,
    in_flight: bool,
    /// An answer was lost or unclear: the records may be in the log.
    maybe_written: bool,
    /// A single record that the broker refuses for good.
    refused: Option<Verdict>,
    portions: Vec<Portion>,
    permits: Vec<Permit>,
}

impl Unacked {
    /// The file bytes that are done when it is acknowledged.
    pub(crate) fn spans(&self) -> impl Iterator<Item = Span> + '_ {
        self.portions.iter().map(|portion| portion.span)
    }
}

/// Producer id and the sequence number of the next new batch.
#[derive(Debug, Clone, Copy)]
struct Numbering {
    producer: ProducerId,
    next_sequence: i32,
}

/// Sequence numbers go from 0 to 2^31 - 1 and then start again.
fn sequence_after(sequence: i32, records: i32) -> i32 {
    sequence.wrapping_add(records) & i32::MAX
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
pub(crate) struct Patience {
    pub(crate) batch_bytes: usize,
    pub(crate) linger: Duration,
}

/// The queue of one partition. At any time its records stand in this order: unacknowledged record
/// batches, oldest first, then batches that are not encoded.
///
/// When a batch fails, nothing is sent until all that is in flight was answered; then the failed
/// ones go again, oldest first, the first of them alone. So a retry never overtakes.
#[derive(Debug)]
pub(crate) struct Partition {
    /// Node id of the leader, as far as known.
    pub(crate) leader: Option<i32>,
    leader_epoch: i32,
    /// Since when something waits for a leader, and whether that was complained about.
    pub(crate) leaderless: Option<(Instant, bool)>,
    queue: VecDeque<Queued>,
    queued_bytes: usize,
    unacked: VecDeque<Unacked>,
    in_flight: usize,
    /// A batch failed and others are still in flight.
    draining: bool,
    /// Only one batch may be in flight until one is acknowledged: after a failure, and at the start
    /// of a numbering, since a broker takes any sequence number for the first.
    cautious: bool,
    backoff: Backoff,
    retry_at: Option<Instant>,
    numbering: Option<Numbering>,
    /// The numbering is of no use any more.
    pub(crate) wants_new_id: bool,
    limit: BatchLimit,
    next_number: u64,
    /// Whether the producer has it in its list of those that have something to send.
    pub(crate) listed: bool,
}

impl Partition {
    pub(crate) fn new() -> Self {
        Partition {
            leader: None,
            leader_epoch: -1,
            leaderless: None,
            queue: VecDeque::new(),
            queued_bytes: 0,
            unacked: VecDeque::new(),
            in_flight: 0,
            draining: false,
            cautious: false,
            backoff: Backoff::default(),
            retry_at: None,
            numbering: None,
            wants_new_id: false,
            limit: BatchLimit::default(),
            next_number: 0,
            listed: false,
        }
    }

    /// Nothing waits and nothing is in flight.
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.unacked.is_empty()
    }

    /// Record batches without an answer.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Bytes that are not encoded.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// The producer id that its batches are stamped with.
    pub(crate) fn producer(&self) -> Option<ProducerId> {
        self.numbering.map(|numbering| numbering.producer)
    }

    /// What metadata says of the leader. News is a reason to try again at once.
    pub(crate) fn set_leader(&mut self, leader: Option<i32>, epoch: i32) {
        if leader.is_some() {
            self.leaderless = None;
            if self.leader != leader || epoch > self.leader_epoch {
                self.retry_at = None;
            }
            self.leader_epoch = epoch;
        }
        self.leader = leader;
    }

    /// Queues a batch.
    pub(crate) fn push(&mut self, batch: Batch, now: Instant) {
        self.queued_bytes += batch.data.len();
        self.queue.push_back(Queued {
            batch,
            from: 0,
            since: now,
        });
    }

    /// Whether there is something to send now.
    pub(crate) fn readiness(&self, now: Instant, patience: Option<Patience>) -> Readiness {
        let most = if self.cautious { 1 } else { MAX_IN_FLIGHT };
        if self.wants_new_id || self.draining || self.in_flight >= most {
            return Readiness::Waits;
        }
        if let Some(at) = self.retry_at
            && at > now
        {
            return Readiness::At(at);
        }
        if let Some(failed) = self.unacked.iter().find(|batch| !batch.in_flight) {
            return match failed.refused {
                // It is taken out as soon as nothing is in flight.
                Some(_) => Readiness::Waits,
                None => Readiness::Ready,
            };
        }
        let Some(oldest) = self.queue.front() else {
            return Readiness::Waits;
        };
        match patience {
            Some(patience) if self.queued_bytes < patience.batch_bytes => {
                let due = oldest.since + patience.linger;
                if due <= now {
                    Readiness::Ready
                } else {
                    Readiness::At(due)
                }
            }
            _ => Readiness::Ready,
        }
    }

    /// About how large the next record batch will be.
    pub(crate) fn next_bytes(&self, batch_bytes: usize) -> usize {
        match self.unacked.iter().find(|batch| !batch.in_flight) {
            Some(batch) => batch.bytes.len(),
            None => self.queued_bytes.min(batch_bytes),
        }
    }

    /// The record batch that goes next: the oldest that failed, or a new one. It counts as in
    /// flight from here on. `producer` signs new batches, if the partition has no numbering yet.
    pub(crate) fn next(
        &mut self,
        encoder: &mut Encoder,
        producer: Option<ProducerId>,
        now: Instant,
    ) -> (u64, Arc<Vec<u8>>) {
        if let Some(failed) = self.unacked.iter_mut().find(|batch| !batch.in_flight) {
            failed.in_flight = true;
            self.in_flight += 1;
            return (failed.number, failed.bytes.clone());
        }
        if self.numbering.is_none()
            && let Some(producer) = producer
        {
            self.start_numbering(producer);
        }
        let batch = self.cut(encoder, now);
        let next = (batch.number, batch.bytes.clone());
        self.unacked.push_back(batch);
        self.in_flight += 1;
        next
    }

    fn start_numbering(&mut self, producer: ProducerId) {
        self.numbering = Some(Numbering {
            producer,
            next_sequence: 0,
        });
        self.cautious = true;
    }

    /// Encodes a new record batch from the front of the queue.
    fn cut(&mut self, encoder: &mut Encoder, now: Instant) -> Unacked {
        let limit = self.limit.bytes(encoder.batch_bytes, now);
        let mut buffer = encoder.buffer();
        // Records grow by a few bytes each; what comes on top makes the buffer grow once.
        let likely = self.queued_bytes + self.queued_bytes / 4;
        buffer.clear();
        buffer.reserve(likely.min(limit) + 128);
        encoder.writer.start(buffer);
        let mut portions: Vec<Portion> = Vec::new();
        let mut permits = Vec::new();
        while let Some(first) = self.queue.front_mut() {
            let before = encoder.writer.records();
            let to = encoder.writer.append(&first.batch, first.from, limit);
            if to > first.from {
                let records = encoder.writer.records() - before;
                add_portion(&mut portions, &first.batch, first.from, to, records);
                self.queued_bytes -= to - first.from;
                first.from = to;
            }
            if to < first.batch.data.len() {
                break;
            }
            if let Some(done) = self.queue.pop_front() {
                permits.push(done.batch.permit);
            }
        }
        let (mut bytes, records) = encoder.finish();
        let base_sequence = self
            .numbering
            .map_or(-1, |numbering| numbering.next_sequence);
        let producer = self.producer();
        stamp_shared(&mut bytes, producer, base_sequence);
        if let Some(numbering) = &mut self.numbering {
            numbering.next_sequence = sequence_after(base_sequence, records);
        }
        self.next_number += 1;
        Unacked {
            number: self.next_number,
            bytes,
            records,
            base_sequence,
            in_flight: true,
            maybe_written: false,
            refused: None,
            portions,
            permits,
        }
    }

    fn position(&self, number: u64) -> Option<usize> {
        self.unacked
            .iter()
            .position(|batch| batch.number == number && batch.in_flight)
    }

    /// Whether no older batch is unacknowledged.
    pub(crate) fn is_oldest(&self, number: u64) -> bool {
        self.position(number) == Some(0)
    }

    /// Kafka has the batch.
    pub(crate) fn acknowledge(&mut self, number: u64, encoder: &mut Encoder) -> Option<Unacked> {
        let mut batch = self.unacked.remove(self.position(number)?)?;
        self.in_flight -= 1;
        if !self.draining {
            self.cautious = false;
            self.backoff.reset();
            self.retry_at = None;
        }
        self.draining &= self.in_flight > 0;
        if let Some(buffer) = Arc::into_inner(std::mem::take(&mut batch.bytes)) {
            encoder.recycle(buffer);
        }
        Some(batch)
    }

    /// The batch must go again. Returns whether one of its copies may be in the log.
    pub(crate) fn fail(&mut self, number: u64, maybe_written: bool, now: Instant) -> bool {
        let Some(position) = self.position(number) else {
            return false;
        };
        let batch = &mut self.unacked[position];
        batch.in_flight = false;
        batch.maybe_written |= maybe_written;
        let maybe_written = batch.maybe_written;
        self.in_flight -= 1;
        if !self.draining {
            self.cautious = true;
            self.retry_at = Some(now + self.backoff.pause());
        }
        self.draining = self.in_flight > 0;
        maybe_written
    }

    /// The broker does not take the batch as it is: its halves go instead, at once. A single record
    /// is marked as refused, for [`Partition::next_refused`]. To be called after
    /// [`Partition::fail`].
    pub(crate) fn split(
        &mut self,
        number: u64,
        why: Verdict,
        encoder: &mut Encoder,
        now: Instant,
    ) -> Result<(), WireError> {
        let Some(position) = self.unacked.iter().position(|batch| batch.number == number) else {
            return Ok(());
        };
        let whole = &mut self.unacked[position];
        if whole.records == 1 {
            whole.refused = Some(why);
            self.retry_at = None;
            return Ok(());
        }
        let unpacked = Unpacked::of(&whole.bytes)?;
        let records = unpacked.records()?;
        let (head, tail) = records.split_at(records.len() / 2);
        if why.action == Action::Shrink {
            self.limit.lower(unpacked.bytes(), now);
        }
        let (head_portions, tail_portions) = split_portions(&whole.portions, head);
        let producer = self.numbering.map(|numbering| numbering.producer);
        let mut half = |records: &[RawRecord<'_>], sequence: i32| {
            let buffer = encoder.buffer();
            encoder.writer.start(buffer);
            for record in records {
                encoder.writer.append_raw(record);
            }
            let (mut bytes, count) = encoder.finish();
            stamp_shared(&mut bytes, producer, sequence);
            (bytes, count)
        };
        let (head_bytes, head_records) = half(head, whole.base_sequence);
        let tail_sequence = sequence_after(whole.base_sequence, head_records);
        let (tail_bytes, tail_records) = half(tail, tail_sequence);
        let second = Unacked {
            number: self.next_number + 1,
            bytes: tail_bytes,
            records: tail_records,
            base_sequence: tail_sequence,
            in_flight: false,
            maybe_written: whole.maybe_written,
            refused: None,
            portions: tail_portions,
            // The share of the memory goes back when the last of the records is gone.
            permits: std::mem::take(&mut whole.permits),
        };
        whole.bytes = head_bytes;
        whole.records = head_records;
        whole.portions = head_portions;
        self.next_number += 1;
        self.unacked.insert(position + 1, second);
        self.retry_at = None;
        Ok(())
    }

    /// A refused record whose turn has come: topic side, path, offset, why, and the record.
    pub(crate) fn next_refused(&self) -> Option<(&Destination, u64, Verdict, Vec<u8>)> {
        let first = self.unacked.front()?;
        let why = first.refused.filter(|_| self.in_flight == 0)?;
        let portion = first.portions.first()?;
        let unpacked = Unpacked::of(&first.bytes).ok()?;
        let value = unpacked.records().ok()?.first()?.value.to_vec();
        Some((&portion.destination, portion.span.start, why, value))
    }

    /// Takes out the refused record of [`Partition::next_refused`]. The sequence numbers of the
    /// later ones move up, which is safe because nothing is in flight and none of them can be in the
    /// log: the broker takes no number before the one that was refused.
    pub(crate) fn remove_refused(&mut self, now: Instant) -> Option<Unacked> {
        let refused = self.unacked.pop_front()?;
        self.retry_at = Some(now + PAUSE_AFTER_REFUSED);
        if let Some(numbering) = self.numbering {
            self.number_from(refused.base_sequence, numbering.producer);
        }
        Some(refused)
    }

    /// Whether the pause after a failure is over.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.retry_at.is_none_or(|at| at <= now)
    }

    /// Numbers all unacknowledged batches anew, from 0. Nothing may be in flight.
    pub(crate) fn renumber(&mut self, producer: Option<ProducerId>) {
        self.wants_new_id = false;
        match producer {
            Some(producer) => {
                self.start_numbering(producer);
                self.number_from(0, producer);
            }
            None => {
                self.numbering = None;
                for batch in &mut self.unacked {
                    stamp_shared(&mut batch.bytes, None, -1);
                }
            }
        }
    }

    fn number_from(&mut self, mut sequence: i32, producer: ProducerId) {
        for batch in &mut self.unacked {
            batch.base_sequence = sequence;
            stamp_shared(&mut batch.bytes, Some(producer), sequence);
            sequence = sequence_after(sequence, batch.records);
        }
        self.numbering = Some(Numbering {
            producer,
            next_sequence: sequence,
        });
    }

    /// Takes over what is left of a partition that does not exist any more. Neither may have
    /// anything in flight.
    pub(crate) fn absorb(&mut self, gone: Partition) {
        self.unacked.extend(gone.unacked);
        self.queued_bytes += gone.queued_bytes;
        self.queue.extend(gone.queue);
        // The records of the other one are new here.
        match self.producer() {
            Some(_) => self.wants_new_id = !self.unacked.is_empty(),
            None => self.renumber(gone.numbering.map(|numbering| numbering.producer)),
        }
    }
}

/// Signs a batch that is shared with a connection thread at most after the end of that thread.
fn stamp_shared(bytes: &mut Arc<Vec<u8>>, producer: Option<ProducerId>, sequence: i32) {
    let bytes: &mut Vec<u8> = Arc::make_mut(bytes);
    stamp(bytes, producer, sequence);
}
