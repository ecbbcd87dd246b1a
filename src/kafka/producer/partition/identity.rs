//! Under which producer id and sequence numbers a partition sends.

use crate::kafka::protocol::record_batch::{ProducerId, sequence_after};

use super::{Mode, Partition};
use crate::kafka::producer::producer_id::ProducerState;
use crate::kafka::producer::sequencing::{ProducerSequence, Sequencing};

impl Partition {
    /// The producer id that its batches are stamped with.
    pub(super) fn producer(&self) -> Option<ProducerId> {
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
