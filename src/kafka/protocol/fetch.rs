//! `Fetch` and `ListOffsets`, as far as a reader of whole topics needs them: by topic name, read_committed, without a
//! fetch session.

use super::api::{Api, FETCH, LIST_OFFSETS};
use super::request::Request;
use super::wire::{Reader, WireError, Writer};

/// From where a partition is read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FetchFrom<'a> {
    pub(crate) topic: &'a str,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
}

/// How much a broker may answer, and how long it may wait for it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FetchLimits {
    pub(crate) wait_ms: i32,
    /// Of all partitions together; a first batch that is larger comes all the same.
    pub(crate) most_bytes: i32,
    pub(crate) partition_bytes: i32,
    /// [`READ_COMMITTED`] or [`READ_UNCOMMITTED`].
    pub(crate) isolation: u8,
}

/// A Fetch request, version 4 to 12. The partitions of a topic follow each other.
pub(crate) fn fetch(
    client_id: &str,
    version: i16,
    from: &[FetchFrom<'_>],
    limits: FetchLimits,
) -> Request {
    let mut w = begin(FETCH, version, client_id);
    w.i32(NO_REPLICA);
    w.i32(limits.wait_ms);
    w.i32(1); // bytes at least
    w.i32(limits.most_bytes);
    w.bytes.push(limits.isolation);
    if version >= 7 {
        w.i32(0); // session id
        w.i32(-1); // session epoch: none
    }
    let same_topic = |a: &FetchFrom<'_>, b: &FetchFrom<'_>| a.topic == b.topic;
    w.array(from.chunk_by(same_topic).count());
    for of_topic in from.chunk_by(same_topic) {
        w.string(of_topic[0].topic);
        w.array(of_topic.len());
        for one in of_topic {
            w.i32(one.partition);
            if version >= 9 {
                w.i32(NO_EPOCH);
            }
            w.i64(one.offset);
            if version >= 12 {
                w.i32(NO_EPOCH); // of the last record that was read
            }
            if version >= 5 {
                w.i64(-1); // log start offset
            }
            w.i32(limits.partition_bytes);
            w.tags();
        }
        w.tags();
    }
    if version >= 7 {
        w.array(0); // forgotten topics
    }
    if version >= 11 {
        w.string(""); // rack
    }
    w.tags();
    Request::written(FETCH, version, w.bytes)
}

/// What `ListOffsets` asks for instead of a time.
pub(crate) const LATEST: i64 = -1;
/// The first offset that is still there.
pub(crate) const EARLIEST: i64 = -2;

/// A ListOffsets request, version 2 to 6, for the first offset of each partition at or behind `time_ms`. With
/// [`READ_COMMITTED`] a partition ends where an open transaction begins.
pub(crate) fn list_offsets(
    client_id: &str,
    version: i16,
    topic: &str,
    partitions: &[i32],
    time_ms: i64,
    isolation: u8,
) -> Request {
    let mut w = begin(LIST_OFFSETS, version, client_id);
    w.i32(NO_REPLICA);
    w.bytes.push(isolation);
    w.array(1);
    w.string(topic);
    w.array(partitions.len());
    for partition in partitions {
        w.i32(*partition);
        if version >= 4 {
            w.i32(NO_EPOCH);
        }
        w.i64(time_ms);
        w.tags();
    }
    w.tags();
    w.tags();
    Request::written(LIST_OFFSETS, version, w.bytes)
}

/// The header of a request, after room for its length.
pub(super) fn begin(api: Api, version: i16, client_id: &str) -> Writer {
    let mut w = Writer {
        bytes: vec![0; 4],
        flexible: api.is_flexible(version),
    };
    w.i16(api.key);
    w.i16(version);
    w.i32(0); // correlation id
    w.i16(client_id.len() as i16); // never compact, in any header version
    w.bytes.extend_from_slice(client_id.as_bytes());
    w.tags();
    w
}

/// Partition, error code and offset; -1 where no record is as late.
pub(crate) fn read_offsets(body: &[u8], version: i16) -> Result<Vec<(i32, i16, i64)>, WireError> {
    let mut r = Reader::new(body, LIST_OFFSETS.is_flexible(version));
    r.tags()?;
    r.i32()?; // throttle time
    let mut offsets = Vec::new();
    for _ in 0..r.array(6)? {
        r.string()?;
        for _ in 0..r.array(22)? {
            let (partition, error) = (r.i32()?, r.i16()?);
            r.i64()?; // its time
            offsets.push((partition, error, r.i64()?));
            if version >= 4 {
                r.i32()?; // leader epoch
            }
            r.tags()?;
        }
        r.tags()?;
    }
    r.tags()?;
    r.end()?;
    Ok(offsets)
}

/// What a partition had to give.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fetched<'a> {
    pub(crate) topic: &'a str,
    pub(crate) partition: i32,
    pub(crate) error: i16,
    /// Up to here there is no transaction that is still open.
    pub(crate) stable: i64,
    /// Transactions that were aborted: producer id, and the first offset of each.
    pub(crate) aborted: Vec<(i64, i64)>,
    /// Record batches, of which the last may be cut off.
    pub(crate) records: &'a [u8],
}

/// What each partition had to give, or the error code of all.
pub(crate) fn read_fetched(
    body: &[u8],
    version: i16,
) -> Result<Result<Vec<Fetched<'_>>, i16>, WireError> {
    let mut r = Reader::new(body, FETCH.is_flexible(version));
    r.tags()?;
    r.i32()?; // throttle time
    if version >= 7 {
        let error = r.i16()?;
        r.i32()?; // session id
        if error != 0 {
            return Ok(Err(error));
        }
    }
    let mut fetched = Vec::new();
    for _ in 0..r.array(3)? {
        let topic = r.string()?.unwrap_or_default();
        for _ in 0..r.array(23)? {
            let (partition, error) = (r.i32()?, r.i16()?);
            r.i64()?; // high watermark
            let stable = r.i64()?;
            if version >= 5 {
                r.i64()?; // log start offset
            }
            let count = r.array(16)?;
            let mut aborted = Vec::with_capacity(count);
            for _ in 0..count {
                aborted.push(r.tagged(|r| Ok((r.i64()?, r.i64()?)))?);
            }
            if version >= 11 {
                r.i32()?; // preferred read replica
            }
            let records = r.blob()?.unwrap_or_default();
            r.tags()?;
            fetched.push(Fetched {
                topic,
                partition,
                error,
                stable,
                aborted,
                records,
            });
        }
        r.tags()?;
    }
    r.tags()?;
    r.end()?;
    Ok(Ok(fetched))
}

const NO_REPLICA: i32 = -1;
const NO_EPOCH: i32 = -1;
pub(crate) const READ_COMMITTED: u8 = 1;
/// Isolation level: whatever is there.
pub(crate) const READ_UNCOMMITTED: u8 = 0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::testing::encoded;
    use bytes::Bytes;
    use kafka_protocol::messages as reference;
    use kafka_protocol::messages::fetch_response::{
        AbortedTransaction, FetchableTopicResponse, PartitionData,
    };
    use kafka_protocol::messages::list_offsets_response::{
        ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
    };
    use kafka_protocol::protocol::{Decodable, HeaderVersion};

    fn decoded<M: Decodable + HeaderVersion>(request: &Request) -> M {
        let mut bytes = Bytes::copy_from_slice(&request.head[4..]);
        let version = M::header_version(request.version);
        reference::RequestHeader::decode(&mut bytes, version).expect("a header");
        let message = M::decode(&mut bytes, request.version).expect("a body");
        assert!(bytes.is_empty(), "version {}", request.version);
        message
    }

    #[test]
    fn every_version_of_the_requests_is_read_by_the_reference_decoder() {
        let at = |topic, partition, offset| FetchFrom {
            topic,
            partition,
            offset,
        };
        let from = [at("a", 0, 7), at("a", 3, 1 << 40), at("b", 1, 0)];
        let limits = FetchLimits {
            wait_ms: 500,
            most_bytes: 2_000,
            partition_bytes: 1_000,
            isolation: READ_COMMITTED,
        };
        for version in FETCH.least..=FETCH.most {
            let asked: reference::FetchRequest = decoded(&fetch("me", version, &from, limits));
            assert_eq!((asked.max_bytes, asked.isolation_level), (2_000, 1));
            let topics = asked.topics.iter();
            let asked = topics.flat_map(|topic| {
                let name = topic.topic.as_str();
                let partitions = topic.partitions.iter();
                partitions.map(move |p| (name, p.partition, p.fetch_offset))
            });
            let expected = from.map(|one| (one.topic, one.partition, one.offset));
            assert_eq!(asked.collect::<Vec<_>>(), expected);
        }
        for version in LIST_OFFSETS.least..=LIST_OFFSETS.most {
            let request = list_offsets("me", version, "t", &[4, 5], EARLIEST, READ_COMMITTED);
            let asked: reference::ListOffsetsRequest = decoded(&request);
            assert_eq!(asked.isolation_level, 1);
            let partitions = &asked.topics[0].partitions;
            let asked = partitions.iter().map(|p| (p.partition_index, p.timestamp));
            assert_eq!(asked.collect::<Vec<_>>(), [(4, EARLIEST), (5, EARLIEST)]);
        }
    }

    fn fetch_response(version: i16) -> reference::FetchResponse {
        let aborted = AbortedTransaction::default()
            .with_producer_id(9.into())
            .with_first_offset(70);
        let mut data = PartitionData::default()
            .with_partition_index(3)
            .with_last_stable_offset(99)
            .with_aborted_transactions(Some(vec![aborted]))
            .with_records(Some(Bytes::from_static(b"batches")));
        let none = PartitionData::default()
            .with_error_code(6)
            .with_aborted_transactions(None);
        if version >= 5 {
            data = data.with_log_start_offset(2);
        }
        let topic = FetchableTopicResponse::default()
            .with_topic(reference::TopicName("t".to_owned().into()))
            .with_partitions(vec![data, none]);
        reference::FetchResponse::default().with_responses(vec![topic])
    }

    fn offsets_response() -> reference::ListOffsetsResponse {
        let partition = ListOffsetsPartitionResponse::default()
            .with_partition_index(4)
            .with_offset(1 << 33);
        let topic = ListOffsetsTopicResponse::default()
            .with_name(reference::TopicName("t".to_owned().into()))
            .with_partitions(vec![partition]);
        reference::ListOffsetsResponse::default().with_topics(vec![topic])
    }

    #[test]
    fn every_version_of_the_answers_is_read_as_the_reference_encoder_writes_it() {
        for version in FETCH.least..=FETCH.most {
            let body = encoded(&fetch_response(version), version);
            let fetched = read_fetched(&body, version).expect("an answer");
            let fetched = fetched.expect("no error");
            assert_eq!(fetched.len(), 2, "version {version}");
            assert_eq!((fetched[0].partition, fetched[0].stable), (3, 99));
            assert_eq!(fetched[0].aborted, [(9, 70)]);
            assert_eq!(
                (fetched[0].topic, fetched[0].records),
                ("t", &b"batches"[..])
            );
            assert_eq!((fetched[1].error, fetched[1].records), (6, &b""[..]));
        }
        for version in LIST_OFFSETS.least..=LIST_OFFSETS.most {
            let body = encoded(&offsets_response(), version);
            assert_eq!(read_offsets(&body, version), Ok(vec![(4, 0, 1 << 33)]));
        }
    }

    #[test]
    fn no_damage_to_an_answer_does_harm() {
        let mut random = fastrand::Rng::with_seed(3);
        for version in [4, 11, 12] {
            let whole = encoded(&fetch_response(version), version);
            for len in 0..whole.len() {
                assert!(read_fetched(&whole[..len], version).is_err());
            }
            for _ in 0..3_000 {
                let mut damaged = whole.clone();
                for _ in 0..random.usize(1..4) {
                    let at = random.usize(..damaged.len());
                    damaged[at] = random.choice([0, 1, 0x7f, 0x80, 0xff]).unwrap_or(3);
                }
                let _ = read_fetched(&damaged, version);
                let _ = read_offsets(&damaged, version.min(6));
            }
        }
    }
}
