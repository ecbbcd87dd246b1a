//! What each error code means and what is done about it. This is the only place that decides it.
//!
//! A row has what is done about a batch that was answered so, and what else is done in a transaction, by the kind
//! of the request that was answered so.

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

/// What is done in a transaction when a request of it is answered with an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reaction {
    /// What the row says of batches outside of transactions; of a request to the coordinator: the same goes again
    /// after a pause.
    Same,
    /// The coordinator is another one now: it is looked for, and gets the same.
    Coordinator,
    /// The transaction is aborted, and what is in it goes again in another one.
    Abort,
    /// As `Abort`; the cluster has gone back to the version of transactions before.
    AbortClassic,
    /// Either the coordinator has aborted the transaction because it took too long, or another producer has taken
    /// over the transactional id: one question tells which.
    Doubt,
    /// Another producer has taken over the transactional id.
    Fenced,
    /// The coordinator has forgotten the transactional id, or given it another producer id: what was committed is
    /// not to be had from it. The agent starts again from the positions that are in Kafka.
    StartAgain,
    /// Nothing can be sent until a person changes something outside: the same goes again every 10 s.
    Wait,
}

/// The requests of a transaction, in the order of the columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    FindCoordinator,
    InitProducerId,
    AddPartitions,
    Produce,
    EndTxn,
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
    /// By the kind of the request.
    in_transaction: [Reaction; 5],
}

impl Verdict {
    /// What is done in a transaction if a request of that kind is answered so.
    pub(crate) fn in_transaction(&self, asked: Asked) -> Reaction {
        self.in_transaction[asked as usize]
    }

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
                in_transaction: SAME,
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

const fn row(
    code: i16,
    name: &'static str,
    action: Action,
    written: Written,
    in_transaction: [Reaction; 5],
) -> Verdict {
    Verdict {
        code,
        name,
        action,
        written,
        in_transaction,
    }
}

use Action::{
    Acknowledged, NewProducerId, OutOfOrder, Park, Refresh, Retime, Retry, Shrink, Split,
};
use Reaction::{Abort, AbortClassic, Coordinator, Doubt, Fenced, Same, StartAgain, Wait};
use Written::{Appended, NotAppended, Unknown};

/// What it is in most rows.
const SAME: [Reaction; 5] = [Same; 5];
/// A question to the coordinator was not answered by it, or not in time.
const LOOK_FOR_IT: [Reaction; 5] = [Same, Coordinator, Coordinator, Same, Coordinator];
/// It was asked for something that it will not do before a person has changed something.
const WAIT: [Reaction; 5] = [Wait, Wait, Wait, Same, Wait];
/// The epoch is not the newest any more. A first answer so is one by brokers that know no code 90.
const OTHER_EPOCH: [Reaction; 5] = [Same, Fenced, Doubt, Doubt, Doubt];

#[rustfmt::skip]
const TABLE: &[Verdict] = &[
    // The broker ran into something it has no code for; it may have come after the append.
    row(-1, "UNKNOWN_SERVER_ERROR", Refresh, Unknown, SAME),
    // Bytes changed on the way: our copy is sound, so send it again.
    row(2, "CORRUPT_MESSAGE", Retry, NotAppended, SAME),
    // The partition was deleted, or moved and the broker has not heard of it yet.
    row(UNKNOWN_TOPIC_OR_PARTITION, "UNKNOWN_TOPIC_OR_PARTITION", Refresh, NotAppended, SAME),
    row(LEADER_NOT_AVAILABLE, "LEADER_NOT_AVAILABLE", Refresh, NotAppended, SAME),
    // The leader moved. Batches sent before may have reached the new leader through replication,
    // which the sequence numbers sort out.
    row(6, "NOT_LEADER_OR_FOLLOWER", Refresh, NotAppended, SAME),
    // The leader has appended it and its followers were too slow to confirm.
    row(7, "REQUEST_TIMED_OUT", Retry, Unknown, LOOK_FOR_IT),
    row(8, "BROKER_NOT_AVAILABLE", Refresh, Unknown, LOOK_FOR_IT),
    row(9, "REPLICA_NOT_AVAILABLE", Refresh, NotAppended, SAME),
    // Larger than the topic takes (`max.message.bytes`).
    row(10, "MESSAGE_TOO_LARGE", Shrink, NotAppended, SAME),
    row(13, "NETWORK_EXCEPTION", Refresh, Unknown, LOOK_FOR_IT),
    // A broker that has just started gives out no producer ids yet.
    row(14, "COORDINATOR_LOAD_IN_PROGRESS", Retry, NotAppended, SAME),
    row(15, "COORDINATOR_NOT_AVAILABLE", Retry, NotAppended, LOOK_FOR_IT),
    row(16, "NOT_COORDINATOR", Retry, NotAppended, LOOK_FOR_IT),
    row(17, "INVALID_TOPIC_EXCEPTION", Park, NotAppended, [Wait, Wait, Abort, Same, Wait]),
    // Larger than a whole segment of the log.
    row(18, "RECORD_LIST_TOO_LARGE", Shrink, NotAppended, SAME),
    // Fewer replicas in sync than `min.insync.replicas`: refused before the append ...
    row(19, "NOT_ENOUGH_REPLICAS", Retry, NotAppended, SAME),
    // ... and found out after it.
    row(20, "NOT_ENOUGH_REPLICAS_AFTER_APPEND", Retry, Unknown, SAME),
    row(21, "INVALID_REQUIRED_ACKS", Park, NotAppended, SAME),
    // No right to write there. It may be granted.
    row(TOPIC_AUTHORIZATION_FAILED, "TOPIC_AUTHORIZATION_FAILED", Park, NotAppended, [Wait, Wait, Abort, Same, Wait]),
    row(CLUSTER_AUTHORIZATION_FAILED, "CLUSTER_AUTHORIZATION_FAILED", Park, NotAppended, WAIT),
    // A record was read longer ago, or in a later year, than the topic takes (`message.timestamp.before.max.ms`,
    // `after.max.ms`): after a long outage, or with a clock that was set. That is no fault of the record.
    row(32, "INVALID_TIMESTAMP", Retime, NotAppended, SAME),
    row(35, "UNSUPPORTED_VERSION", Park, NotAppended, [Wait, Wait, AbortClassic, AbortClassic, AbortClassic]),
    row(42, "INVALID_REQUEST", Park, NotAppended, WAIT),
    // The topic keeps an old message format, which has no room for a producer id. No record is any better than
    // the others: a setting of the topic or of the ini mends it for all.
    row(43, "UNSUPPORTED_FOR_MESSAGE_FORMAT", Park, NotAppended, SAME),
    row(44, "POLICY_VIOLATION", Park, NotAppended, WAIT),
    row(45, "OUT_OF_ORDER_SEQUENCE_NUMBER", OutOfOrder, NotAppended, SAME),
    // An answer got lost and the batch has arrived meanwhile.
    row(46, "DUPLICATE_SEQUENCE_NUMBER", Acknowledged, Appended, SAME),
    row(47, "INVALID_PRODUCER_EPOCH", NewProducerId, NotAppended, OTHER_EPOCH),
    // The coordinator keeps no such transaction: it has aborted it after its time, or, below version 2, the partition
    // was not added to it. Of a batch outside of transactions it cannot be.
    row(48, "INVALID_TXN_STATE", Refresh, Unknown, [Same, Same, Doubt, Doubt, Doubt]),
    row(49, "INVALID_PRODUCER_ID_MAPPING", NewProducerId, NotAppended, [Same, StartAgain, StartAgain, StartAgain, StartAgain]),
    row(TRANSACTIONAL_ID_AUTHORIZATION_FAILED, "TRANSACTIONAL_ID_AUTHORIZATION_FAILED", Park, NotAppended, WAIT),
    row(50, "INVALID_TRANSACTION_TIMEOUT", Refresh, Unknown, WAIT),
    // The transaction before is not wholly ended yet.
    row(51, "CONCURRENT_TRANSACTIONS", Refresh, Unknown, SAME),
    // The disk behind this replica failed; the broker gives up leading it.
    row(56, "KAFKA_STORAGE_ERROR", Refresh, NotAppended, SAME),
    // Nothing was done, since another partition of the request was refused.
    row(55, "OPERATION_NOT_ATTEMPTED", Refresh, Unknown, [Same, Same, Abort, Abort, Same]),
    // All our records there were deleted by retention, and with them what was known of us. A
    // batch after a failed one is refused so too.
    row(59, "UNKNOWN_PRODUCER_ID", OutOfOrder, NotAppended, [Same, Same, Abort, Abort, Abort]),
    row(74, "FENCED_LEADER_EPOCH", Refresh, NotAppended, SAME),
    row(75, "UNKNOWN_LEADER_EPOCH", Refresh, NotAppended, SAME),
    // A broker too old for this codec.
    row(76, "UNSUPPORTED_COMPRESSION_TYPE", Park, NotAppended, SAME),
    // A record that the broker does not want, for instance one without key in a compacted topic.
    row(87, "INVALID_RECORD", Split, NotAppended, SAME),
    row(89, "THROTTLING_QUOTA_EXCEEDED", Retry, NotAppended, SAME),
    row(90, "PRODUCER_FENCED", NewProducerId, NotAppended, OTHER_EPOCH),
    row(100, "UNKNOWN_TOPIC_ID", Refresh, NotAppended, SAME),
    row(103, "INCONSISTENT_TOPIC_ID", Refresh, NotAppended, SAME),
    // Something that happens in no sound transaction, and which another one mends.
    row(120, "TRANSACTION_ABORTABLE", Refresh, Unknown, [Same, Same, Abort, Abort, Abort]),
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

    /// The rows of the table of reactions that are not the same for all requests, written a second time: for
    /// FindCoordinator, InitProducerId, AddPartitionsToTxn, Produce and EndTxn.
    const IN_TRANSACTIONS: &[(&[i16], [Reaction; 5])] = &[
        (
            &[7, 8, 13, 15, 16],
            [Same, Coordinator, Coordinator, Same, Coordinator],
        ),
        (&[17, 29], [Wait, Wait, Abort, Same, Wait]),
        (&[31, 42, 44, 50, 53], [Wait, Wait, Wait, Same, Wait]),
        (
            &[35],
            [Wait, Wait, AbortClassic, AbortClassic, AbortClassic],
        ),
        (&[47, 90], [Same, Fenced, Doubt, Doubt, Doubt]),
        (&[48], [Same, Same, Doubt, Doubt, Doubt]),
        (
            &[49],
            [Same, StartAgain, StartAgain, StartAgain, StartAgain],
        ),
        (&[55], [Same, Same, Abort, Abort, Same]),
        (&[59, 120], [Same, Same, Abort, Abort, Abort]),
    ];

    #[test]
    fn every_code_has_a_reaction_to_each_request_of_a_transaction() {
        for code in -1..=200 {
            let verdict = Verdict::of(code);
            let expected = IN_TRANSACTIONS
                .iter()
                .find(|(codes, _)| codes.contains(&code));
            let expected = expected.map_or(SAME, |(_, reactions)| *reactions);
            let asked = [
                Asked::FindCoordinator,
                Asked::InitProducerId,
                Asked::AddPartitions,
                Asked::Produce,
                Asked::EndTxn,
            ];
            assert_eq!(
                asked.map(|asked| verdict.in_transaction(asked)),
                expected,
                "{verdict}"
            );
        }
        for code in [48, 50, 51, 55, 120] {
            let verdict = Verdict::of(code);
            assert_ne!(verdict.name, "unknown error", "{code}");
            assert_eq!(
                verdict.action, Refresh,
                "no batch outside of transactions is answered so"
            );
        }
    }

    #[test]
    fn a_code_from_the_future_is_retried() {
        let verdict = Verdict::of(9_999);
        assert_eq!(verdict.action, Refresh);
        assert_eq!(verdict.in_transaction, SAME);
        assert_eq!(verdict.to_string(), "unknown error (9999)");
    }
}
