//! What the record batches of a partition are stamped with.

use crate::kafka::protocol::record_batch::{ProducerId, sequence_after};

use super::batch::RecordBatch;

/// What new record batches are stamped with.
#[derive(Debug, Clone, Copy)]
pub(super) enum Sequencing {
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
pub(super) struct ProducerSequence {
    pub(super) producer: ProducerId,
    pub(super) next: i32,
}

impl Sequencing {
    /// Stamps a record batch that comes after all others of its partition.
    pub(super) fn stamp_next(&mut self, batch: &mut RecordBatch) {
        match self {
            Sequencing::Idempotent(sequence) => {
                batch.stamp(Some(sequence.producer), sequence.next);
                sequence.next = sequence_after(sequence.next, batch.records);
            }
            Sequencing::None | Sequencing::Awaiting { .. } => batch.stamp(None, -1),
        }
    }
}
