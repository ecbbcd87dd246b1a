//! The messages of transactions (KIP-98, KIP-360, KIP-890), in both directions. Which version of them is spoken
//! depends on the cluster as well as on the broker: `Versions::in_transaction`.

use std::sync::Arc;

use super::api::{
    ADD_PARTITIONS_TO_TXN, CREATE_TOPICS, END_TXN, FIND_COORDINATOR, INIT_PRODUCER_ID,
};
use super::fetch::begin;
use super::record_batch::ProducerId;
use super::request::Request;
use super::wire::{Reader, WireError, Writer, to_keep_to};

/// What all transactions of a producer have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Transactions {
    /// Under which all instances of one producer are known to the cluster: the newest fences the others.
    pub(crate) id: String,
    /// After so long the coordinator aborts a transaction by itself.
    pub(crate) timeout_ms: i32,
}

impl Transactions {
    /// What requests about an open transaction begin with.
    fn write(&self, w: &mut Writer, producer: ProducerId) {
        w.string(&self.id);
        w.i64(producer.id);
        w.i16(producer.epoch);
    }
}

impl Request {
    /// `FindCoordinator` of a transactional id.
    pub(crate) fn find_coordinator(client_id: &str, version: i16, id: &str) -> Self {
        let mut w = begin(FIND_COORDINATOR, version, client_id);
        if version < 4 {
            w.string(id);
        }
        w.bytes.push(TRANSACTION);
        if version >= 4 {
            w.array(1);
            w.string(id);
        }
        w.tags();
        Self::written(FIND_COORDINATOR, version, w.bytes)
    }

    /// `InitProducerId` of a transactional id, version 3 or later: fences every older producer of it, or, with a
    /// `producer`, asks for the epoch after that one, unless there is a newer producer.
    pub(crate) fn init_transactions(
        client_id: &str,
        version: i16,
        transactions: &Transactions,
        producer: Option<ProducerId>,
    ) -> Self {
        Self::init_producer(client_id, version, Some(transactions), producer)
    }

    /// `InitProducerId` without a transaction.
    pub(crate) fn init_producer_id(client_id: &str, version: i16) -> Self {
        Self::init_producer(client_id, version, None, None)
    }

    fn init_producer(
        client_id: &str,
        version: i16,
        transactions: Option<&Transactions>,
        producer: Option<ProducerId>,
    ) -> Self {
        let mut w = begin(INIT_PRODUCER_ID, version, client_id);
        match transactions {
            Some(transactions) => w.string(&transactions.id),
            None => w.null_string(),
        }
        w.i32(transactions.map_or(60_000, |transactions| transactions.timeout_ms));
        if version >= 3 {
            let (id, epoch) = producer.map_or((-1, -1), |producer| (producer.id, producer.epoch));
            w.i64(id);
            w.i16(epoch);
        }
        w.tags();
        Self::written(INIT_PRODUCER_ID, version, w.bytes)
    }

    /// `AddPartitionsToTxn`. The partitions of a topic follow each other.
    pub(crate) fn add_partitions(
        client_id: &str,
        version: i16,
        transactions: &Transactions,
        producer: ProducerId,
        partitions: &[(Arc<str>, i32)],
    ) -> Self {
        let mut w = begin(ADD_PARTITIONS_TO_TXN, version, client_id);
        transactions.write(&mut w, producer);
        let of_topics = || partitions.chunk_by(|a, b| a.0 == b.0);
        w.array(of_topics().count());
        for of_topic in of_topics() {
            w.string(&of_topic[0].0);
            w.array(of_topic.len());
            for (_, index) in of_topic {
                w.i32(*index);
            }
            w.tags();
        }
        w.tags();
        Self::written(ADD_PARTITIONS_TO_TXN, version, w.bytes)
    }

    /// `EndTxn`: commits or aborts.
    pub(crate) fn end_transaction(
        client_id: &str,
        version: i16,
        transactions: &Transactions,
        producer: ProducerId,
        commits: bool,
    ) -> Self {
        let mut w = begin(END_TXN, version, client_id);
        transactions.write(&mut w, producer);
        w.bytes.push(u8::from(commits));
        w.tags();
        Self::written(END_TXN, version, w.bytes)
    }

    /// `CreateTopics` of one topic with these settings, version 2 to 5.
    pub(crate) fn create_topic(
        client_id: &str,
        version: i16,
        name: &str,
        (partitions, replicas): (i32, i16),
        settings: &[(&str, &str)],
    ) -> Self {
        let mut w = begin(CREATE_TOPICS, version, client_id);
        w.array(1);
        w.string(name);
        w.i32(partitions);
        w.i16(replicas);
        w.array(0); // which brokers: they choose
        w.array(settings.len());
        for (name, value) in settings {
            w.string(name);
            w.string(value);
            w.tags();
        }
        w.tags();
        w.i32(10_000); // ms at most
        w.bytes.push(0); // not only a check
        w.tags();
        Self::written(CREATE_TOPICS, version, w.bytes)
    }
}

/// Which broker keeps the state of a transactional id.
#[derive(Debug, PartialEq, Eq, Clone)]
pub(crate) struct FindCoordinatorResponse {
    pub(crate) throttle_ms: i32,
    pub(crate) error: i16,
    /// Node id, host, port.
    pub(crate) broker: (i32, String, u16),
}

impl FindCoordinatorResponse {
    pub(super) fn read(r: &mut Reader<'_>, version: i16) -> Result<Self, WireError> {
        let throttle_ms = to_keep_to(r.i32()?, version >= 2);
        let broker = |r: &mut Reader<'_>| {
            let node = r.i32()?;
            let host = r.string()?.unwrap_or_default().to_owned();
            // With an error the port is -1.
            let port = u16::try_from(r.i32()?).unwrap_or(0);
            Ok::<_, WireError>((node, host, port))
        };
        let error;
        let mut found = (-1, String::new(), 0);
        if version >= 4 {
            // An answer for each key, of which one was asked for.
            let mut last = -1;
            for _ in 0..r.array(12)? {
                r.string()?; // key
                found = broker(r)?;
                last = r.i16()?;
                r.string()?; // message
                r.tags()?;
            }
            error = last;
        } else {
            error = r.i16()?;
            r.string()?; // message
            found = broker(r)?;
        }
        r.tags()?;
        Ok(FindCoordinatorResponse {
            throttle_ms,
            error,
            broker: found,
        })
    }
}

/// Whether partitions belong to a transaction now.
#[derive(Debug, PartialEq, Eq, Clone)]
pub(crate) struct AddPartitionsToTxnResponse {
    pub(crate) throttle_ms: i32,
    /// Topic, partition, error.
    pub(crate) partitions: Vec<(Arc<str>, i32, i16)>,
}

impl AddPartitionsToTxnResponse {
    pub(super) fn read(r: &mut Reader<'_>, version: i16) -> Result<Self, WireError> {
        let throttle_ms = to_keep_to(r.i32()?, version >= 1);
        let mut partitions = Vec::new();
        for _ in 0..r.array(3)? {
            let topic: Arc<str> = r.string()?.unwrap_or_default().into();
            for _ in 0..r.array(6)? {
                let (index, error) = r.tagged(|r| Ok((r.i32()?, r.i16()?)))?;
                partitions.push((topic.clone(), index, error));
            }
            r.tags()?;
        }
        r.tags()?;
        Ok(AddPartitionsToTxnResponse {
            throttle_ms,
            partitions,
        })
    }
}

/// How the end of a transaction went.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub(crate) struct EndTxnResponse {
    pub(crate) throttle_ms: i32,
    pub(crate) error: i16,
    /// What the next transaction is signed with; `None` before version 5: with the same as this one.
    pub(crate) next: Option<ProducerId>,
}

impl EndTxnResponse {
    pub(super) fn read(r: &mut Reader<'_>, version: i16) -> Result<Self, WireError> {
        let throttle_ms = to_keep_to(r.i32()?, version >= 1);
        let error = r.i16()?;
        let mut next = None;
        if version >= 5 {
            let (id, epoch) = (r.i64()?, r.i16()?);
            next = (id >= 0).then_some(ProducerId { id, epoch });
        }
        r.tags()?;
        Ok(EndTxnResponse {
            throttle_ms,
            error,
            next,
        })
    }
}

/// The kind of coordinator that keeps transactions.
const TRANSACTION: u8 = 1;

#[cfg(test)]
mod tests {
    use bytes::Buf;
    use kafka_protocol::messages as reference;
    use kafka_protocol::messages::add_partitions_to_txn_response::{
        AddPartitionsToTxnPartitionResult, AddPartitionsToTxnTopicResult,
    };
    use kafka_protocol::messages::find_coordinator_response::Coordinator;
    use kafka_protocol::messages::{
        AddPartitionsToTxnRequest, CreateTopicsRequest, EndTxnRequest, FindCoordinatorRequest,
        InitProducerIdRequest, TopicName,
    };
    use kafka_protocol::protocol::{Decodable, StrBytes, decode_request_header_from_buffer};

    use crate::kafka::protocol::response::Response;
    use crate::kafka::testing::encoded;

    use super::*;

    /// The message of a request, as the reference decoder reads it.
    fn decoded<M: Decodable>(request: &Request) -> M {
        let mut frame = crate::kafka::protocol::request::tests::frame(request);
        assert_eq!(frame.get_i32() as usize, frame.len());
        decode_request_header_from_buffer(&mut frame).expect("a header");
        let message = M::decode(&mut frame, request.version).expect("a request");
        assert!(frame.is_empty());
        message
    }

    #[test]
    fn the_requests_of_a_transaction_say_in_every_version_what_they_should() {
        let transactions = Transactions {
            id: "logagent-a-0".into(),
            timeout_ms: 60_000,
        };
        let producer = ProducerId { id: 77, epoch: 3 };
        for version in 1..=4 {
            let request = Request::find_coordinator("me", version, &transactions.id);
            let read: FindCoordinatorRequest = decoded(&request);
            let key = if version >= 4 {
                &read.coordinator_keys[0]
            } else {
                &read.key
            };
            assert_eq!((read.key_type, &**key), (1, "logagent-a-0"));
        }
        for version in 3..=4 {
            for given in [None, Some(producer)] {
                let request = Request::init_transactions("me", version, &transactions, given);
                let read: InitProducerIdRequest = decoded(&request);
                let id = read.transactional_id.as_ref().map(|id| id.as_str());
                assert_eq!(id, Some("logagent-a-0"));
                assert_eq!(read.transaction_timeout_ms, 60_000);
                let (id, epoch) = given.map_or((-1, -1), |given| (given.id, given.epoch));
                assert_eq!((read.producer_id.0, read.producer_epoch), (id, epoch));
            }
        }
        for version in 0..=3 {
            let partitions = [("a".into(), 0), ("a".into(), 7), ("b".into(), 0)];
            let request =
                Request::add_partitions("me", version, &transactions, producer, &partitions);
            let read: AddPartitionsToTxnRequest = decoded(&request);
            assert_eq!(read.v3_and_below_transactional_id.as_str(), "logagent-a-0");
            let (id, epoch) = (
                read.v3_and_below_producer_id.0,
                read.v3_and_below_producer_epoch,
            );
            assert_eq!((id, epoch), (77, 3));
            let topics: Vec<_> = read
                .v3_and_below_topics
                .iter()
                .map(|topic| (topic.name.as_str(), topic.partitions.clone()))
                .collect();
            assert_eq!(topics, [("a", vec![0, 7]), ("b", vec![0])]);
        }
        for version in 2..=5 {
            let settings = [("cleanup.policy", "compact"), ("segment.ms", "1")];
            let request = Request::create_topic("me", version, "p", (16, 3), &settings);
            let read: CreateTopicsRequest = decoded(&request);
            let topic = &read.topics[0];
            assert_eq!((topic.num_partitions, topic.replication_factor), (16, 3));
            assert_eq!((topic.name.as_str(), topic.assignments.len()), ("p", 0));
            let read: Vec<_> = topic
                .configs
                .iter()
                .map(|config| {
                    (
                        config.name.as_str(),
                        config.value.as_deref().unwrap_or_default(),
                    )
                })
                .collect();
            assert_eq!(read, settings);
        }
        for version in 0..=5 {
            for commits in [false, true] {
                let request =
                    Request::end_transaction("me", version, &transactions, producer, commits);
                let read: EndTxnRequest = decoded(&request);
                assert_eq!(read.transactional_id.as_str(), "logagent-a-0");
                assert_eq!((read.producer_id.0, read.producer_epoch), (77, 3));
                assert_eq!(read.committed, commits);
            }
        }
    }

    fn coordinator_response(version: i16) -> reference::FindCoordinatorResponse {
        let response = reference::FindCoordinatorResponse::default().with_throttle_time_ms(40);
        let host = StrBytes::from_static_str("two.example");
        match version {
            4.. => response.with_coordinators(vec![
                Coordinator::default()
                    .with_key(StrBytes::from_static_str("logagent-a-0"))
                    .with_node_id(2.into())
                    .with_host(host)
                    .with_port(9_094)
                    .with_error_code(15),
            ]),
            _ => response
                .with_node_id(2.into())
                .with_host(host)
                .with_port(9_094)
                .with_error_code(15),
        }
    }

    fn added_response() -> reference::AddPartitionsToTxnResponse {
        let told = |index, error| {
            AddPartitionsToTxnPartitionResult::default()
                .with_partition_index(index)
                .with_partition_error_code(error)
        };
        reference::AddPartitionsToTxnResponse::default()
            .with_throttle_time_ms(40)
            .with_results_by_topic_v3_and_below(vec![
                AddPartitionsToTxnTopicResult::default()
                    .with_name(TopicName(StrBytes::from_static_str("a")))
                    .with_results_by_partition(vec![told(0, 29), told(7, 55)]),
            ])
    }

    #[test]
    fn every_version_of_the_answers_about_a_transaction_is_read() {
        for version in 1..=4 {
            let body = encoded(&coordinator_response(version), version);
            let expected = FindCoordinatorResponse {
                throttle_ms: if version >= 2 { 40 } else { 0 },
                error: 15,
                broker: (2, "two.example".to_owned(), 9_094),
            };
            let read = Response::read(FIND_COORDINATOR, version, &body);
            assert_eq!(read, Ok(Response::FindCoordinator(expected)));
        }
        for version in 0..=3 {
            let body = encoded(&added_response(), version);
            let expected = AddPartitionsToTxnResponse {
                throttle_ms: if version >= 1 { 40 } else { 0 },
                partitions: vec![("a".into(), 0, 29), ("a".into(), 7, 55)],
            };
            let read = Response::read(ADD_PARTITIONS_TO_TXN, version, &body);
            assert_eq!(read, Ok(Response::AddPartitionsToTxn(expected)));
        }
        for version in 0..=5 {
            let mut response = reference::EndTxnResponse::default()
                .with_throttle_time_ms(40)
                .with_error_code(51);
            if version >= 5 {
                response = response
                    .with_producer_id(5_000_000_000.into())
                    .with_producer_epoch(8);
            }
            let next = ProducerId {
                id: 5_000_000_000,
                epoch: 8,
            };
            let expected = EndTxnResponse {
                throttle_ms: if version >= 1 { 40 } else { 0 },
                error: 51,
                next: (version >= 5).then_some(next),
            };
            let read = Response::read(END_TXN, version, &encoded(&response, version));
            assert_eq!(read, Ok(Response::EndTxn(expected)));
        }
    }

    #[test]
    fn no_damage_to_an_answer_does_harm() {
        let mut random = fastrand::Rng::with_seed(1);
        let answers = [
            (FIND_COORDINATOR, 1, encoded(&coordinator_response(1), 1)),
            (FIND_COORDINATOR, 4, encoded(&coordinator_response(4), 4)),
            (ADD_PARTITIONS_TO_TXN, 3, encoded(&added_response(), 3)),
            (
                END_TXN,
                5,
                encoded(&reference::EndTxnResponse::default(), 5),
            ),
        ];
        for (api, version, whole) in answers {
            for len in 0..whole.len() {
                assert!(Response::read(api, version, &whole[..len]).is_err());
            }
            let longer = [&whole[..], &[0]].concat();
            let trailing = Err(WireError::Trailing(1));
            assert_eq!(Response::read(api, version, &longer), trailing);
            for _ in 0..2_000 {
                let mut damaged = whole.clone();
                for _ in 0..random.usize(1..4) {
                    let at = random.usize(..damaged.len());
                    damaged[at] = random.choice([0, 1, 0x7f, 0x80, 0xff]).unwrap_or(3);
                }
                let _ = Response::read(api, version, &damaged);
            }
        }
    }
}
