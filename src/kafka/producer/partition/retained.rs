//! What a partition keeps until its transaction is committed.

use std::sync::Arc;
use std::time::Instant;

use crate::batch::{SourceId, Span};
use crate::kafka::cluster::broker::BatchRef;
use crate::kafka::producer::batch::{BatchState, RecordBatch};
use crate::kafka::producer::encoder::Encoder;
use crate::kafka::protocol::api::TransactionVersion;
use crate::kafka::protocol::record_batch::ProducerId;

use super::{Mode, Partition};

impl Partition {
    /// Kafka has the batch, and it is kept all the same. `false`: it was an answer to an attempt that is over.
    pub(crate) fn retain(&mut self, batch: &BatchRef) -> bool {
        let Some(mut batch) = self.take_acknowledged(batch) else {
            return false;
        };
        batch.count_as_encoded();
        self.retained.push(batch);
        true
    }

    /// Whether something is kept.
    pub(crate) fn has_retained(&self) -> bool {
        !self.retained.is_empty()
    }

    /// Whether files wait for the memory of what is kept.
    pub(crate) fn is_retained_waited_for(&self) -> bool {
        let first = self.retained.first();
        first.is_some_and(RecordBatch::is_waited_for)
    }

    /// The file bytes that are kept.
    pub(crate) fn retained_spans(&self) -> impl Iterator<Item = Span> + '_ {
        self.retained.iter().flat_map(RecordBatch::spans)
    }

    /// Where what is not acknowledged begins, of some sources several times.
    pub(crate) fn starts(&self) -> impl Iterator<Item = (SourceId, u64)> + '_ {
        let encoded = self.batches.iter().flat_map(RecordBatch::spans);
        let queued = self.queue.batches.iter();
        encoded
            .map(|span| (span.source, span.start))
            .chain(queued.map(|queued| (queued.batch.source, queued.start())))
    }

    /// Something that is not acknowledged may be in the log.
    pub(crate) fn may_be_written(&self) -> bool {
        let mut batches = self.batches.iter();
        batches.any(|batch| batch.is_in_flight() || batch.maybe_written)
    }

    /// The transaction is committed: gives what was kept.
    pub(crate) fn take_retained(&mut self, encoder: &mut Encoder) -> Vec<RecordBatch> {
        let mut taken = std::mem::take(&mut self.retained);
        for batch in &mut taken {
            if let Some(buffer) = Arc::into_inner(std::mem::take(&mut batch.bytes)) {
                encoder.return_buffer(buffer);
            }
        }
        taken
    }

    /// The transaction is aborted: all of it waits again, in the order in which it was first sent.
    ///
    /// That is not the order of the answers: an answer is lost, later batches are answered, and the transaction is
    /// aborted before the batch is sent again. Answers that come yet are to attempts that are over.
    pub(crate) fn send_again(&mut self) {
        self.batches.extend(self.retained.drain(..));
        let batches = self.batches.make_contiguous();
        if let Some(any) = batches.first().map(|batch| batch.base_sequence) {
            // Sequence numbers have 31 bits and start again; a transaction has far fewer records.
            batches.sort_by_key(|batch| batch.base_sequence.wrapping_sub(any) << 1 >> 1);
        }
        for batch in batches {
            batch.state = BatchState::Waiting;
            // What was written is aborted with the transaction.
            batch.maybe_written = false;
        }
        self.mode = Mode::Flowing;
        self.lose_id();
    }

    /// Nothing of it is wanted any more.
    pub(crate) fn forget_all(&mut self) {
        self.batches.clear();
        self.retained.clear();
        self.mode = Mode::Flowing;
        self.lose_id();
    }

    /// Signs what waits with `producer`, numbered from 0, if it is another one than before. Below version 2 the broker
    /// takes any number as the first, so the first batch goes alone.
    pub(crate) fn sign_with(&mut self, producer: ProducerId, version: TransactionVersion) {
        if self.producer() == Some(producer) || self.in_flight() > 0 {
            return;
        }
        if version == TransactionVersion::Classic && self.mode == Mode::Flowing {
            self.mode = Mode::Probing { retry_at: None };
        }
        self.number_from(0, producer);
    }

    /// The batch that failed goes again at that time.
    pub(crate) fn retry_at(&mut self, at: Instant) {
        match &mut self.mode {
            Mode::Flowing => {}
            Mode::Draining { retry_at } | Mode::Probing { retry_at } => *retry_at = Some(at),
        }
    }

    /// A batch that is encoded already comes after all others.
    pub(crate) fn push_encoded(&mut self, batch: RecordBatch) {
        self.batches.push_back(batch);
        if let Some(last) = self.batches.back_mut() {
            self.sequencing.stamp_next(last);
        }
    }
}
