//! The brokers' answers, as far as this client looks at them.

use std::sync::Arc;

use super::api::{
    ADD_PARTITIONS_TO_TXN, API_VERSIONS, Api, CREATE_TOPICS, END_TXN, FIND_COORDINATOR, Features,
    INIT_PRODUCER_ID, METADATA, PRODUCE, api_versions,
};
use super::transaction::{AddPartitionsToTxnResponse, EndTxnResponse, FindCoordinatorResponse};
use super::wire::{Reader, WireError, to_keep_to};

/// Characters of a broker's message that are shown.
const MESSAGE_LEN: usize = 300;

/// An answer to a request that the producer made.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Response {
    Metadata(MetadataResponse),
    Produce(ProduceResponse),
    InitProducerId(InitProducerIdResponse),
    FindCoordinator(FindCoordinatorResponse),
    AddPartitionsToTxn(AddPartitionsToTxnResponse),
    EndTxn(EndTxnResponse),
    ApiVersions(Features),
    /// The error code of the one topic that was to be made.
    CreateTopics(i16),
}

impl Response {
    /// Reads the body after the correlation id.
    pub(crate) fn read(api: Api, version: i16, body: &[u8]) -> Result<Response, WireError> {
        if api == API_VERSIONS {
            let (_, versions) = api_versions(body, version)?;
            return Ok(Response::ApiVersions(versions.features));
        }
        let mut r = Reader::new(body, api.is_flexible(version));
        r.tags()?;
        let answer = match api {
            METADATA => Response::Metadata(MetadataResponse::read(&mut r, version)?),
            PRODUCE => Response::Produce(ProduceResponse::read(&mut r, version)?),
            INIT_PRODUCER_ID => {
                Response::InitProducerId(InitProducerIdResponse::read(&mut r, version)?)
            }
            FIND_COORDINATOR => {
                Response::FindCoordinator(FindCoordinatorResponse::read(&mut r, version)?)
            }
            ADD_PARTITIONS_TO_TXN => {
                Response::AddPartitionsToTxn(AddPartitionsToTxnResponse::read(&mut r, version)?)
            }
            CREATE_TOPICS => {
                // What follows the code describes the topic, which is of no interest.
                r.i32()?; // throttle time
                r.array(4)?;
                r.string()?;
                return Ok(Response::CreateTopics(r.i16()?));
            }
            END_TXN => Response::EndTxn(EndTxnResponse::read(&mut r, version)?),
            _ => return Err(WireError::Range),
        };
        r.end()?;
        Ok(answer)
    }
}

/// Brokers and topics.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct MetadataResponse {
    /// Node id, host, port.
    pub(crate) brokers: Vec<(i32, String, u16)>,
    pub(crate) topics: Vec<TopicMetadata>,
    /// `None` where the broker does not tell.
    pub(crate) cluster_id: Option<Box<str>>,
    /// Of the answer as a whole; 0 where the broker does not tell.
    pub(crate) error: i16,
    pub(crate) throttle_ms: i32,
}

/// Tells a topic from another one that had its name before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TopicId(pub(crate) [u8; 16]);

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct TopicMetadata {
    pub(crate) error: i16,
    pub(crate) name: String,
    /// Which topic of that name it is; `None` where the broker does not tell.
    pub(crate) id: Option<TopicId>,
    pub(crate) partitions: Vec<PartitionMetadata>,
    /// Of the partition that has the fewest.
    pub(crate) replicas: usize,
    /// A bit for each operation that the principal may do (KIP-430); negative where the broker does not tell.
    pub(crate) operations: i32,
}

#[derive(Debug, Default, PartialEq, Eq, Clone, Copy)]
pub(crate) struct PartitionMetadata {
    pub(crate) index: i32,
    /// Node id, negative for none.
    pub(crate) leader: i32,
    /// -1 where the broker does not tell.
    pub(crate) leader_epoch: i32,
}

impl MetadataResponse {
    fn read(r: &mut Reader<'_>, version: i16) -> Result<Self, WireError> {
        let throttle_ms = if version >= 3 { r.i32()? } else { 0 };
        let count = r.array(9)?;
        let mut brokers = Vec::with_capacity(count);
        for _ in 0..count {
            let id = r.i32()?;
            let host = r.string()?.unwrap_or_default().to_owned();
            let port = u16::try_from(r.i32()?).map_err(|_| WireError::Range)?;
            if version >= 1 {
                r.string()?; // rack
            }
            r.tags()?;
            brokers.push((id, host, port));
        }
        let mut cluster_id = None;
        if version >= 2 {
            cluster_id = r.string()?.map(Into::into);
        }
        if version >= 1 {
            r.i32()?; // controller id
        }
        let count = r.array(4)?;
        let mut topics = Vec::with_capacity(count);
        for _ in 0..count {
            topics.push(TopicMetadata::read(r, version)?);
        }
        if (8..=10).contains(&version) {
            r.i32()?; // authorized operations
        }
        let error = if version >= 13 { r.i16()? } else { 0 };
        r.tags()?;
        Ok(MetadataResponse {
            brokers,
            topics,
            cluster_id,
            error,
            throttle_ms: to_keep_to(throttle_ms, version >= 6),
        })
    }
}

impl TopicMetadata {
    fn read(r: &mut Reader<'_>, version: i16) -> Result<Self, WireError> {
        let error = r.i16()?;
        let name = r.string()?.unwrap_or_default().to_owned();
        let mut id = None;
        if version >= 10 {
            let bytes = r.bytes(16)?;
            id = (bytes != [0; 16]).then(|| TopicId(bytes.try_into().unwrap_or_default()));
        }
        if version >= 1 {
            r.i8()?; // internal
        }
        let count = r.array(12)?;
        let mut partitions = Vec::with_capacity(count);
        let mut replicas = usize::MAX;
        for _ in 0..count {
            r.i16()?; // error: the leader says it all
            let index = r.i32()?;
            let leader = r.i32()?;
            let leader_epoch = if version >= 7 { r.i32()? } else { -1 };
            replicas = replicas.min(r.skip_i32s()?);
            r.skip_i32s()?; // in sync
            if version >= 5 {
                r.skip_i32s()?; // offline
            }
            r.tags()?;
            partitions.push(PartitionMetadata {
                index,
                leader,
                leader_epoch,
            });
        }
        let operations = if version >= 8 { r.i32()? } else { -1 };
        r.tags()?;
        Ok(TopicMetadata {
            error,
            name,
            id,
            partitions,
            replicas: if count == 0 { 0 } else { replicas },
            operations,
        })
    }
}

/// The fate of each record batch of a request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ProduceResponse {
    pub(crate) partitions: Vec<PartitionResponse>,
    /// How long the broker will not listen to us.
    pub(crate) throttle_ms: i32,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct PartitionResponse {
    /// Shared by its partitions: a long name in an answer of many must not be copied for each.
    pub(crate) topic: Arc<str>,
    pub(crate) index: i32,
    pub(crate) error: i16,
    /// What the broker adds to the error code, for a person; fit for a line of the log.
    pub(crate) message: Option<String>,
}

impl ProduceResponse {
    fn read(r: &mut Reader<'_>, version: i16) -> Result<Self, WireError> {
        let topics = r.array(3)?;
        let mut partitions = Vec::new();
        for _ in 0..topics {
            let topic: Arc<str> = r.string()?.unwrap_or_default().into();
            for _ in 0..r.array(22)? {
                let index = r.i32()?;
                let error = r.i16()?;
                r.i64()?; // base offset
                r.i64()?; // log append time
                if version >= 5 {
                    r.i64()?; // log start offset
                }
                let mut message = None;
                if version >= 8 {
                    for _ in 0..r.array(5)? {
                        r.i32()?;
                        message = r.string()?.or(message);
                        r.tags()?;
                    }
                    message = r.string()?.or(message);
                }
                r.tags()?;
                partitions.push(PartitionResponse {
                    topic: topic.clone(),
                    index,
                    error,
                    message: message.map(printable),
                });
            }
            r.tags()?;
        }
        let throttle_ms = to_keep_to(r.i32()?, version >= 6);
        r.tags()?;
        Ok(ProduceResponse {
            partitions,
            throttle_ms,
        })
    }
}

/// What the records of an idempotent producer are signed with.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub(crate) struct InitProducerIdResponse {
    pub(crate) throttle_ms: i32,
    pub(crate) error: i16,
    pub(crate) id: i64,
    pub(crate) epoch: i16,
}

impl InitProducerIdResponse {
    fn read(r: &mut Reader<'_>, version: i16) -> Result<Self, WireError> {
        let answer = InitProducerIdResponse {
            throttle_ms: to_keep_to(r.i32()?, version >= 1),
            error: r.i16()?,
            id: r.i64()?,
            epoch: r.i16()?,
        };
        r.tags()?;
        Ok(answer)
    }
}

/// A broker's words, so that they stay on their line and do not fill the log.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .take(MESSAGE_LEN)
        .flat_map(|c| match c {
            '"' | '\'' => vec![c],
            c => c.escape_debug().collect(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::testing::encoded;
    use kafka_protocol::messages as reference;
    use kafka_protocol::messages::TopicName;
    use kafka_protocol::messages::metadata_response::{
        MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
    };
    use kafka_protocol::messages::produce_response::{
        BatchIndexAndErrorMessage, PartitionProduceResponse, TopicProduceResponse,
    };
    use kafka_protocol::protocol::StrBytes;

    fn name(text: &str) -> TopicName {
        TopicName(StrBytes::from_string(text.to_owned()))
    }

    fn metadata_response(version: i16) -> reference::MetadataResponse {
        let broker = |id: i32, host| {
            MetadataResponseBroker::default()
                .with_node_id(id.into())
                .with_host(StrBytes::from_static_str(host))
                .with_port(9_092 + id)
        };
        let partition = |index: i32| {
            let partition = MetadataResponsePartition::default()
                .with_partition_index(index)
                .with_leader_id((index - 1).into())
                .with_replica_nodes(vec![1.into(), 2.into()])
                .with_isr_nodes(vec![2.into()]);
            match version {
                7.. => partition.with_leader_epoch(40 + index),
                _ => partition,
            }
        };
        let mut logs = MetadataResponseTopic::default()
            .with_name(Some(name("logs")))
            .with_partitions((0..300).map(partition).collect());
        if version >= 8 {
            logs.topic_authorized_operations = 1 << 4;
        }
        let cluster = (version >= 2).then(|| StrBytes::from_static_str("kX3"));
        reference::MetadataResponse::default()
            .with_cluster_id(cluster)
            .with_brokers(vec![broker(1, "one"), broker(2, "two.example")])
            .with_topics(vec![
                logs,
                MetadataResponseTopic::default()
                    .with_name(Some(name("none")))
                    .with_error_code(3),
            ])
    }

    fn produce_response(version: i16) -> reference::ProduceResponse {
        let mut refused = PartitionProduceResponse::default()
            .with_index(7)
            .with_error_code(87);
        if version >= 8 {
            refused = refused
                .with_record_errors(vec![
                    BatchIndexAndErrorMessage::default().with_batch_index(3),
                ])
                .with_error_message(Some(StrBytes::from_static_str("no key")));
        }
        let topic = |text, partitions| {
            TopicProduceResponse::default()
                .with_name(name(text))
                .with_partition_responses(partitions)
        };
        let fine = PartitionProduceResponse::default().with_base_offset(12);
        reference::ProduceResponse::default()
            .with_responses(vec![topic("a", vec![fine, refused]), topic("b", vec![])])
            .with_throttle_time_ms(250)
    }

    #[test]
    fn every_version_of_metadata_is_read_as_the_reference_encoder_writes_it() {
        for version in 0..=13 {
            let body = encoded(&metadata_response(version), version);
            let Ok(Response::Metadata(read)) = Response::read(METADATA, version, &body) else {
                panic!("version {version} cannot be read");
            };
            let brokers = vec![
                (1, "one".to_owned(), 9_093),
                (2, "two.example".to_owned(), 9_094),
            ];
            assert_eq!(read.brokers, brokers, "version {version}");
            let cluster = (version >= 2).then_some("kX3");
            assert_eq!(read.cluster_id.as_deref(), cluster);
            assert_eq!(read.topics.len(), 2);
            assert_eq!((&*read.topics[0].name, read.topics[0].error), ("logs", 0));
            assert_eq!(read.topics[0].replicas, 2);
            let operations = if version >= 8 { 1 << 4 } else { -1 };
            assert_eq!(read.topics[0].operations, operations);
            for (index, partition) in (0..).zip(&read.topics[0].partitions) {
                let leader_epoch = if version >= 7 { 40 + index } else { -1 };
                let expected = PartitionMetadata {
                    index,
                    leader: index - 1,
                    leader_epoch,
                };
                assert_eq!(*partition, expected);
            }
            assert_eq!((&*read.topics[1].name, read.topics[1].error), ("none", 3));
        }
    }

    #[test]
    fn every_version_of_produce_is_read_as_the_reference_encoder_writes_it() {
        for version in 3..=12 {
            let body = encoded(&produce_response(version), version);
            let Ok(Response::Produce(read)) = Response::read(PRODUCE, version, &body) else {
                panic!("version {version} cannot be read");
            };
            assert_eq!(read.throttle_ms, if version >= 6 { 250 } else { 0 });
            let told: Vec<_> = read
                .partitions
                .iter()
                .map(|told| (&*told.topic, told.index, told.error))
                .collect();
            assert_eq!(told, [("a", 0, 0), ("a", 7, 87)]);
            let message = (version >= 8).then(|| "no key".to_owned());
            assert_eq!(read.partitions[1].message, message);
        }
    }

    #[test]
    fn a_message_of_the_broker_stays_on_its_line() {
        let mut response = produce_response(12);
        let long = format!("first\nsecond \"{}\"", "x".repeat(2 * MESSAGE_LEN));
        response.responses[0].partition_responses[1].error_message = Some(long.into());
        let Ok(Response::Produce(read)) = Response::read(PRODUCE, 12, &encoded(&response, 12))
        else {
            panic!("it cannot be read");
        };
        let shown = read.partitions[1].message.as_deref().expect("a message");
        assert!(shown.starts_with("first\\nsecond \"xxx"), "{shown}");
        assert_eq!(shown.len(), MESSAGE_LEN + 1);
    }

    #[test]
    fn every_version_of_the_producer_id_is_read() {
        for version in 0..=4 {
            let response = reference::InitProducerIdResponse::default()
                .with_throttle_time_ms(40)
                .with_producer_id(5_000_000_000.into())
                .with_producer_epoch(2);
            let body = encoded(&response, version);
            let expected = InitProducerIdResponse {
                throttle_ms: if version >= 1 { 40 } else { 0 },
                error: 0,
                id: 5_000_000_000,
                epoch: 2,
            };
            assert_eq!(
                Response::read(INIT_PRODUCER_ID, version, &body),
                Ok(Response::InitProducerId(expected))
            );
        }
    }

    #[test]
    fn no_damage_to_a_frame_does_harm() {
        let mut random = fastrand::Rng::with_seed(1);
        for (api, version) in [
            (METADATA, 1),
            (METADATA, 12),
            (PRODUCE, 3),
            (PRODUCE, 12),
            (INIT_PRODUCER_ID, 4),
        ] {
            let whole = match api {
                METADATA => encoded(&metadata_response(version), version),
                PRODUCE => encoded(&produce_response(version), version),
                _ => encoded(&reference::InitProducerIdResponse::default(), version),
            };
            for len in 0..whole.len() {
                assert!(Response::read(api, version, &whole[..len]).is_err());
            }
            let longer = [&whole[..], &[0]].concat();
            assert_eq!(
                Response::read(api, version, &longer),
                Err(WireError::Trailing(1))
            );
            for _ in 0..2_000 {
                let mut damaged = whole.clone();
                for _ in 0..random.usize(1..4) {
                    let at = random.usize(..damaged.len().min(80));
                    damaged[at] = random.choice([0, 1, 0x7f, 0x80, 0xff]).unwrap_or(3);
                }
                let _ = Response::read(api, version, &damaged);
                let _ = api_versions(&damaged, 3);
            }
        }
    }
}
