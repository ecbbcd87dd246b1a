//! What each error code of a Produce answer means and what is done about it. This is the only
//! place that decides it.

use std::fmt;

use crate::rights::{
    self, CLUSTER_AUTHORIZATION_FAILED, TOPIC_AUTHORIZATION_FAILED,
    TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
};

/// What is done about a batch that was answered with an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// It is there already: acknowledged.
    Acknowledged,
    /// The same bytes go out again after a pause.
    Retry,
    /// As `Retry`, and the leader may be another one now.
    Refresh,
    /// An earlier batch failed, so this one had to. It goes again after that one; if there is no
    /// earlier one, the broker has lost track of us: as `NewProducerId`.
    OutOfOrder,
    /// The broker does not know our producer id (any more): get a new one, number anew, send again.
    NewProducerId,
    /// Send the two halves instead, down to the record that cannot go.
    Split,
    /// As `Split`, and the batches after it are made smaller.
    Shrink,
    /// The broker refuses the time of the records and nothing else: they go again with the time of now.
    Retime,
    /// Nothing of this topic can be delivered until a person or time changes something outside.
    Park,
}

/// Whether the records of such a batch may be in the log all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    NotAppended,
    Unknown,
    Appended,
}

/// A row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) code: i16,
    pub(crate) name: &'static str,
    pub(crate) action: Action,
    pub(crate) written: Written,
}

impl Verdict {
    /// The row of `code`. A code that is not in the table is retried, with fresh metadata, for ever.
    pub(crate) fn of(code: i16) -> Verdict {
        TABLE
            .iter()
            .find(|row| row.code == code)
            .copied()
            .unwrap_or(Verdict {
                code,
                name: "unknown error",
                action: Refresh,
                written: Unknown,
            })
    }
}

impl Verdict {
    /// How loud it is that a topic is parked for this.
    pub(crate) fn level_when_parked(&self) -> log::Level {
        match self.missing_right() {
            Some(_) => log::Level::Error,
            None => log::Level::Warn,
        }
    }

    /// The right of Kafka that is missing, and the setting that does without it.
    pub(crate) fn missing_right(&self) -> Option<&'static str> {
        rights::missing(self.code)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.code)
    }
}

/// `UNKNOWN_TOPIC_OR_PARTITION`.
pub(crate) const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
/// `LEADER_NOT_AVAILABLE`: what a topic that is just being created says.
pub(crate) const LEADER_NOT_AVAILABLE: i16 = 5;

/// `REBOOTSTRAP_REQUIRED` (KIP-1102): the broker that was asked for metadata belongs to this cluster no more.
pub(crate) const REBOOTSTRAP_REQUIRED: i16 = 129;

const fn row(code: i16, name: &'static str, action: Action, written: Written) -> Verdict {
    Verdict {
        code,
        name,
        action,
        written,
    }
}

use Action::{
    Acknowledged, NewProducerId, OutOfOrder, Park, Refresh, Retime, Retry, Shrink, Split,
};
use Written::{Appended, NotAppended, Unknown};

#[rustfmt::skip]
const TABLE: &[Verdict] = &[
    // The broker ran into something it has no code for; it may have come after the append.
    row(-1, "UNKNOWN_SERVER_ERROR", Refresh, Unknown),
    // Bytes changed on the way: our copy is sound, so send it again.
    row(2, "CORRUPT_MESSAGE", Retry, NotAppended),
    // The partition was deleted, or moved and the broker has not heard of it yet.
    row(UNKNOWN_TOPIC_OR_PARTITION, "UNKNOWN_TOPIC_OR_PARTITION", Refresh, NotAppended),
    row(LEADER_NOT_AVAILABLE, "LEADER_NOT_AVAILABLE", Refresh, NotAppended),
    // The leader moved. Batches sent before may have reached the new leader through replication,
    // which the sequence numbers sort out.
    row(6, "NOT_LEADER_OR_FOLLOWER", Refresh, NotAppended),
    // The leader has appended it and its followers were too slow to confirm.
    row(7, "REQUEST_TIMED_OUT", Retry, Unknown),
    row(8, "BROKER_NOT_AVAILABLE", Refresh, Unknown),
    row(9, "REPLICA_NOT_AVAILABLE", Refresh, NotAppended),
    // Larger than the topic takes (`max.message.bytes`).
    row(10, "MESSAGE_TOO_LARGE", Shrink, NotAppended),
    row(13, "NETWORK_EXCEPTION", Refresh, Unknown),
    // A broker that has just started gives out no producer ids yet.
    row(14, "COORDINATOR_LOAD_IN_PROGRESS", Retry, NotAppended),
    row(15, "COORDINATOR_NOT_AVAILABLE", Retry, NotAppended),
    row(16, "NOT_COORDINATOR", Retry, NotAppended),
    row(17, "INVALID_TOPIC_EXCEPTION", Park, NotAppended),
    // Larger than a whole segment of the log.
    row(18, "RECORD_LIST_TOO_LARGE", Shrink, NotAppended),
    // Fewer replicas in sync than `min.insync.replicas`: refused before the append ...
    row(19, "NOT_ENOUGH_REPLICAS", Retry, NotAppended),
    // ... and found out after it.
    row(20, "NOT_ENOUGH_REPLICAS_AFTER_APPEND", Retry, Unknown),
    row(21, "INVALID_REQUIRED_ACKS", Park, NotAppended),
    // No right to write there. It may be granted.
    row(TOPIC_AUTHORIZATION_FAILED, "TOPIC_AUTHORIZATION_FAILED", Park, NotAppended),
    row(CLUSTER_AUTHORIZATION_FAILED, "CLUSTER_AUTHORIZATION_FAILED", Park, NotAppended),
    // A record was read longer ago, or in a later year, than the topic takes (`message.timestamp.before.max.ms`,
    // `after.max.ms`): after a long outage, or with a clock that was set. That is no fault of the record.
    row(32, "INVALID_TIMESTAMP", Retime, NotAppended),
    row(35, "UNSUPPORTED_VERSION", Park, NotAppended),
    row(42, "INVALID_REQUEST", Park, NotAppended),
    // The topic keeps an old message format, which has no room for a producer id. No record is any better than
    // the others: a setting of the topic or of the ini mends it for all.
    row(43, "UNSUPPORTED_FOR_MESSAGE_FORMAT", Park, NotAppended),
    row(44, "POLICY_VIOLATION", Park, NotAppended),
    row(45, "OUT_OF_ORDER_SEQUENCE_NUMBER", OutOfOrder, NotAppended),
    // An answer got lost and the batch has arrived meanwhile.
    row(46, "DUPLICATE_SEQUENCE_NUMBER", Acknowledged, Appended),
    row(47, "INVALID_PRODUCER_EPOCH", NewProducerId, NotAppended),
    row(49, "INVALID_PRODUCER_ID_MAPPING", NewProducerId, NotAppended),
    row(TRANSACTIONAL_ID_AUTHORIZATION_FAILED, "TRANSACTIONAL_ID_AUTHORIZATION_FAILED", Park, NotAppended),
    // The disk behind this replica failed; the broker gives up leading it.
    row(56, "KAFKA_STORAGE_ERROR", Refresh, NotAppended),
    // All our records there were deleted by retention, and with them what was known of us. A
    // batch after a failed one is refused so too.
    row(59, "UNKNOWN_PRODUCER_ID", OutOfOrder, NotAppended),
    row(74, "FENCED_LEADER_EPOCH", Refresh, NotAppended),
    row(75, "UNKNOWN_LEADER_EPOCH", Refresh, NotAppended),
    // A broker too old for this codec.
    row(76, "UNSUPPORTED_COMPRESSION_TYPE", Park, NotAppended),
    // A record that the broker does not want, for instance one without key in a compacted topic.
    row(87, "INVALID_RECORD", Split, NotAppended),
    row(89, "THROTTLING_QUOTA_EXCEEDED", Retry, NotAppended),
    row(90, "PRODUCER_FENCED", NewProducerId, NotAppended),
    row(100, "UNKNOWN_TOPIC_ID", Refresh, NotAppended),
    row(103, "INCONSISTENT_TOPIC_ID", Refresh, NotAppended),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_one_row_with_the_name_the_protocol_gives_it() {
        for row in TABLE {
            let rows = TABLE.iter().filter(|other| other.code == row.code).count();
            assert_eq!(rows, 1, "{row}");
            let known = kafka_protocol::ResponseError::try_from_code(row.code);
            let known = format!("{:?}", known.expect("not 0")).to_uppercase();
            assert_eq!(known.replace("UNKNOWN(", ""), row.name.replace('_', ""));
        }
    }

    #[test]
    fn a_code_from_the_future_is_retried() {
        let verdict = Verdict::of(9_999);
        assert_eq!(verdict.action, Refresh);
        assert_eq!(verdict.to_string(), "unknown error (9999)");
    }
}
