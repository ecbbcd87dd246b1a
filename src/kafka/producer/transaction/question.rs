//! What a transaction asks, and what may become of it.

use std::sync::Arc;

use crate::kafka::protocol::record_batch::ProducerId;

/// A topic and the number of a partition.
pub(crate) type Place = (Arc<str>, i32);

/// How a transaction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Commit,
    Abort,
}

/// What goes out next. `FindCoordinator` goes to any broker, the others to the coordinator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Question {
    FindCoordinator,
    /// What the cluster has finalized.
    Features,
    /// Below version 2: these belong to the transaction.
    AddPartitions(Vec<Place>),
    End(End),
    /// `InitProducerId` with this: the epoch after it.
    NextEpoch(ProducerId),
}

impl Question {
    /// In the words of the protocol.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Question::FindCoordinator => "FindCoordinator",
            Question::Features => "ApiVersions",
            Question::AddPartitions(_) => "AddPartitionsToTxn",
            Question::End(End::Commit) => "EndTxn, commit",
            Question::End(End::Abort) => "EndTxn, abort",
            Question::NextEpoch(_) => "InitProducerId",
        }
    }
}

/// What became of a transaction, and with that of the batches in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// They are in Kafka for good.
    Committed,
    /// Nobody will ever see them: they go again, signed with what [`super::Transaction::producer`] is now.
    Aborted,
    /// The producer cannot go on.
    Stopped(Stop),
}

/// Why a producer cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Stop {
    /// Another one has taken over the transactional id.
    #[error("another agent has taken over this agent's transactional ids")]
    Fenced,
    /// What was committed is to be read from Kafka: a new start does that.
    #[error("whether a transaction was committed is not known; the next start reads it from Kafka")]
    StartAgain,
}
