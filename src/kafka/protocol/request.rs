//! Requests as they go over the wire, and the two messages of SASL (KIP-43, KIP-152) in both directions.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::metadata_request::{MetadataRequest, MetadataRequestTopic};
use kafka_protocol::messages::{
    ApiVersionsRequest, RequestHeader, SaslAuthenticateRequest, SaslHandshakeRequest, TopicName,
};
use kafka_protocol::protocol::{Encodable, HeaderVersion, StrBytes};

use super::api::{API_VERSIONS, Api, METADATA, PRODUCE, SASL_AUTHENTICATE, SASL_HANDSHAKE};
use super::wire::{Reader, WireError, Writer};

/// One request, ready to be written but for its correlation id.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) api: Api,
    pub(crate) version: i16,
    /// Whether the broker answers it; a Produce request with `acks=0` it does not.
    pub(crate) answered: bool,
    /// The frame without its record batches, length field included.
    pub(crate) head: Vec<u8>,
    /// The record batches, each with the length of `head` that goes before it.
    pub(crate) batches: Vec<(usize, Arc<Vec<u8>>)>,
}

impl Request {
    /// Writes `id` into the frame.
    pub(crate) fn set_correlation_id(&mut self, id: i32) {
        self.head[CORRELATION_ID].copy_from_slice(&id.to_be_bytes());
    }

    /// `ApiVersions`.
    pub(crate) fn api_versions(client_id: &str, version: i16) -> Self {
        let mut message = ApiVersionsRequest::default();
        if version >= 3 {
            message = message
                .with_client_software_name(StrBytes::from_static_str("logagent"))
                .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
        }
        Self::plain(API_VERSIONS, version, client_id, &message)
    }

    /// `Metadata` of these topics, which the broker may create.
    pub(crate) fn metadata<'a>(
        client_id: &str,
        version: i16,
        topics: impl Iterator<Item = &'a str>,
    ) -> Self {
        let topics = topics
            .map(|topic| {
                let name = TopicName(StrBytes::from_string(topic.to_owned()));
                MetadataRequestTopic::default().with_name(Some(name))
            })
            .collect();
        let message = MetadataRequest::default()
            .with_topics(Some(topics))
            .with_allow_auto_topic_creation(true);
        Self::plain(METADATA, version, client_id, &message)
    }

    /// `Metadata` of a topic, version 4 and later, which the broker must not create.
    pub(crate) fn metadata_of(client_id: &str, version: i16, topic: &str) -> Self {
        let name = TopicName(StrBytes::from_string(topic.to_owned()));
        let topic = MetadataRequestTopic::default().with_name(Some(name));
        let message = MetadataRequest::default()
            .with_topics(Some(vec![topic]))
            .with_allow_auto_topic_creation(false);
        Self::plain(METADATA, version, client_id, &message)
    }

    /// `Metadata` of these topics and of what the principal may do with them; none is created. Version 8 at least.
    pub(crate) fn metadata_with_rights<'a>(
        client_id: &str,
        version: i16,
        topics: impl Iterator<Item = &'a str>,
    ) -> Self {
        let topics = topics.map(|topic| {
            let name = TopicName(StrBytes::from_string(topic.to_owned()));
            MetadataRequestTopic::default().with_name(Some(name))
        });
        let message = MetadataRequest::default()
            .with_topics(Some(topics.collect()))
            .with_allow_auto_topic_creation(false)
            .with_include_topic_authorized_operations(version >= 8);
        Self::plain(METADATA, version, client_id, &message)
    }

    pub(crate) fn plain<M: Encodable + HeaderVersion>(
        api: Api,
        version: i16,
        client_id: &str,
        message: &M,
    ) -> Self {
        let header = RequestHeader::default()
            .with_request_api_key(api.key)
            .with_request_api_version(version)
            .with_client_id(Some(StrBytes::from_string(client_id.to_owned())));
        let mut frame = BytesMut::from(&[0u8; 4][..]);
        header
            .encode(&mut frame, M::header_version(version))
            .and_then(|()| message.encode(&mut frame, version))
            .expect("the version was negotiated and the fields are ours");
        Self::written(api, version, frame.to_vec())
    }

    /// A request of which `head` is all.
    pub(crate) fn written(api: Api, version: i16, head: Vec<u8>) -> Self {
        let mut request = Request {
            api,
            version,
            answered: true,
            head,
            batches: Vec::new(),
        };
        request.set_length();
        request
    }

    fn set_length(&mut self) {
        let batches: usize = self.batches.iter().map(|(_, batch)| batch.len()).sum();
        let length = (self.head.len() - 4 + batches) as i32;
        self.head[..4].copy_from_slice(&length.to_be_bytes());
    }
}

/// A record batch for a Produce request.
#[derive(Debug)]
pub(crate) struct ProduceBatch {
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
    pub(crate) bytes: Arc<Vec<u8>>,
}

/// What is the same in all Produce requests of a producer.
#[derive(Debug, Clone)]
pub(crate) struct ProduceStyle {
    pub(crate) client_id: String,
    /// 0, 1 or -1.
    pub(crate) acks: i16,
    /// How long the leader may wait for its followers.
    pub(crate) timeout_ms: i32,
    /// The transactional id; `None`: the batches are not part of a transaction.
    pub(crate) transactional_id: Option<String>,
}

impl ProduceStyle {
    /// A Produce request, version 3 to 12. Written by hand so that the batches are not copied. The batches of a
    /// topic follow each other.
    pub(crate) fn request(&self, version: i16, produce: &[ProduceBatch]) -> Request {
        let flexible = PRODUCE.is_flexible(version);
        let mut head = Writer {
            bytes: vec![0; 4],
            flexible,
        };
        let mut batches = Vec::new();
        head.i16(PRODUCE.key);
        head.i16(version);
        head.i32(0); // correlation id
        head.i16(self.client_id.len() as i16); // never compact, in any header version
        head.bytes.extend_from_slice(self.client_id.as_bytes());
        head.tags();
        match &self.transactional_id {
            Some(id) => head.string(id),
            None => head.null_string(),
        }
        head.i16(self.acks);
        head.i32(self.timeout_ms);
        let same_topic = |a: &ProduceBatch, b: &ProduceBatch| a.topic == b.topic;
        head.array(produce.chunk_by(same_topic).count());
        for of_topic in produce.chunk_by(same_topic) {
            head.string(&of_topic[0].topic);
            head.array(of_topic.len());
            for batch in of_topic {
                head.i32(batch.partition);
                head.size(batch.bytes.len());
                batches.push((head.bytes.len(), batch.bytes.clone()));
                head.tags();
            }
            head.tags();
        }
        head.tags();
        let mut request = Request {
            api: PRODUCE,
            version,
            answered: self.acks != 0,
            head: head.bytes,
            batches,
        };
        request.set_length();
        request
    }
}

/// Where a frame has its correlation id.
const CORRELATION_ID: std::ops::Range<usize> = 8..12;

/// The error code and the mechanisms that the broker offers.
pub(crate) fn read_handshake(body: &[u8]) -> Result<(i16, Vec<String>), WireError> {
    let mut r = Reader::new(body, false);
    let error = r.i16()?;
    let mut offered = Vec::new();
    for _ in 0..r.array(2)? {
        offered.push(r.string()?.unwrap_or_default().to_owned());
    }
    r.end()?;
    Ok((error, offered))
}

/// An answer to `SaslAuthenticate`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SaslAuthenticateResponse {
    pub(crate) error: i16,
    pub(crate) message: Option<String>,
    pub(crate) bytes: Vec<u8>,
    /// 0: for ever.
    pub(crate) lifetime_ms: i64,
}

impl SaslAuthenticateResponse {
    pub(crate) fn read(body: &[u8], version: i16) -> Result<Self, WireError> {
        let mut r = Reader::new(body, SASL_AUTHENTICATE.is_flexible(version));
        r.tags()?;
        let answer = SaslAuthenticateResponse {
            error: r.i16()?,
            message: r.string()?.map(str::to_owned),
            bytes: r.blob()?.unwrap_or_default().to_vec(),
            lifetime_ms: if version >= 1 { r.i64()? } else { 0 },
        };
        r.tags()?;
        r.end()?;
        Ok(answer)
    }
}

impl Request {
    /// `SaslHandshake` with the name of the mechanism.
    pub(crate) fn sasl_handshake(client_id: &str, mechanism: &'static str) -> Self {
        let message =
            SaslHandshakeRequest::default().with_mechanism(StrBytes::from_static_str(mechanism));
        Self::plain(SASL_HANDSHAKE, 1, client_id, &message)
    }

    /// `SaslAuthenticate` with the next words of the exchange.
    pub(crate) fn sasl_authenticate(client_id: &str, version: i16, bytes: Vec<u8>) -> Self {
        let message = SaslAuthenticateRequest::default().with_auth_bytes(Bytes::from(bytes));
        Self::plain(SASL_AUTHENTICATE, version, client_id, &message)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use bytes::{Buf, Bytes};
    use kafka_protocol::messages as reference;
    use kafka_protocol::messages::ProduceRequest;
    use kafka_protocol::protocol::{Decodable, decode_request_header_from_buffer};

    use crate::kafka::testing::encoded;

    use super::*;

    pub(crate) fn frame(request: &Request) -> Bytes {
        let mut frame = Vec::new();
        let mut from = 0;
        for (to, batch) in &request.batches {
            frame.extend_from_slice(&request.head[from..*to]);
            frame.extend_from_slice(batch);
            from = *to;
        }
        frame.extend_from_slice(&request.head[from..]);
        Bytes::from(frame)
    }

    #[test]
    fn the_reference_decoder_reads_every_version_of_produce() {
        for transactional_id in [None, Some("logagent-a-0".to_owned())] {
            every_version_is_read(ProduceStyle {
                client_id: "me".into(),
                acks: -1,
                timeout_ms: 4_000,
                transactional_id,
            });
        }
    }

    fn every_version_is_read(style: ProduceStyle) {
        let batch = |byte: u8, len: usize| Arc::new(vec![byte; len]);
        let topics = [
            ("one", vec![(0, batch(1, 100)), (300, batch(2, 20_000))]),
            ("two", vec![(7, batch(3, 1))]),
        ];
        let produce: Vec<ProduceBatch> = topics
            .iter()
            .flat_map(|(topic, batches)| {
                batches.iter().map(|(partition, bytes)| ProduceBatch {
                    topic: (*topic).into(),
                    partition: *partition,
                    bytes: bytes.clone(),
                })
            })
            .collect();
        for version in 3..=12 {
            let mut request = style.request(version, &produce);
            request.set_correlation_id(77);
            let mut frame = frame(&request);
            assert_eq!(frame.get_i32() as usize, frame.len());
            let header = decode_request_header_from_buffer(&mut frame).expect("a header");
            assert_eq!(header.correlation_id, 77);
            assert_eq!(header.client_id.as_deref(), Some("me"));
            let read = ProduceRequest::decode(&mut frame, version).expect("a request");
            assert!(frame.is_empty());
            assert_eq!((read.acks, read.timeout_ms), (-1, 4_000));
            let id = read.transactional_id.as_ref().map(|id| id.as_str());
            assert_eq!(id, style.transactional_id.as_deref());
            assert_eq!(read.topic_data.len(), 2);
            for (topic, (name, partitions)) in read.topic_data.iter().zip(&topics) {
                assert_eq!(topic.name.as_str(), *name);
                assert_eq!(topic.partition_data.len(), partitions.len());
                for (partition, (index, batch)) in topic.partition_data.iter().zip(partitions) {
                    assert_eq!(partition.index, *index);
                    assert_eq!(partition.records.as_deref(), Some(&batch[..]));
                }
            }
        }
    }

    #[test]
    fn what_the_reference_encoder_writes_is_read_in_every_version() {
        let handshake = reference::SaslHandshakeResponse::default()
            .with_error_code(33)
            .with_mechanisms(vec![StrBytes::from_static_str("PLAIN")]);
        assert_eq!(
            read_handshake(&encoded(&handshake, 1)),
            Ok((33, vec!["PLAIN".to_owned()]))
        );
        for version in 0..=2 {
            let mut answer = reference::SaslAuthenticateResponse::default()
                .with_error_code(58)
                .with_error_message(Some(StrBytes::from_static_str("no")))
                .with_auth_bytes(Bytes::from_static(b"\0\xff"));
            if version >= 1 {
                answer = answer.with_session_lifetime_ms(60_000);
            }
            let frame = encoded(&answer, version);
            let read = SaslAuthenticateResponse::read(&frame, version).expect("well-formed");
            assert_eq!((read.error, read.message.as_deref()), (58, Some("no")));
            assert_eq!(read.bytes, b"\0\xff");
            assert_eq!(read.lifetime_ms, if version >= 1 { 60_000 } else { 0 });
            for end in 0..frame.len() {
                assert!(SaslAuthenticateResponse::read(&frame[..end], version).is_err());
            }
        }
    }
}
