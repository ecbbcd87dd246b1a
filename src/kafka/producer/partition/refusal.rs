//! What becomes of a batch that no broker takes as it is.

use std::time::{Duration, Instant};

use crate::kafka::cluster::broker::{BatchId, BatchIds};
use crate::kafka::protocol::error_code::{Action, Verdict};
use crate::kafka::protocol::wire::WireError;

use super::{Mode, Partition};
use crate::kafka::producer::batch::CoveredSpan;
use crate::kafka::producer::batch::{BatchState, RecordBatch};
use crate::kafka::producer::encoder::Encoder;
use crate::kafka::producer::planted::{self, Bug};

impl Partition {
    /// The connection ended without an answer to the batch `id`, for a reason that may be its size; `was_alone`
    /// says that no other one was on it. Returns its size when that has happened so often that it is divided.
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
}

/// After a record that was refused. Finding one takes several requests, so a topic that takes none at
/// all would keep this producer and the broker busy, and fill the disk with dead letters.
const PAUSE_AFTER_REFUSED: Duration = Duration::from_millis(2);
/// So often a broker may hang up on a batch that is alone on a fresh connection before its size is blamed.
const HANG_UPS_ALONE: u32 = 3;
/// No limit on the size of a request is lower.
const SUSPICIOUS_BYTES: usize = 16 << 10;
