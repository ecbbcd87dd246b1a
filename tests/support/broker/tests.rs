//! The broker's own tests: conversations built with `kafka-protocol`'s client side.

use std::io;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, ApiVersionsResponse, InitProducerIdRequest, MetadataRequest,
    MetadataResponse, ProduceRequest, ProduceResponse, TopicName,
};
use kafka_protocol::protocol::{Decodable, StrBytes};
use kafka_protocol::records::{
    Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};

use super::{Cluster, Codec, UnknownProducer};
use crate::support::client::Client;
use crate::support::env::wait_until;

const SOON: Duration = Duration::from_secs(5);

/// A record batch, as the crate writes it.
fn batch(producer: i64, epoch: i16, sequence: i32, values: &[&str], codec: Compression) -> Bytes {
    let records: Vec<Record> = values
        .iter()
        .zip(0..)
        .map(|(value, index)| Record {
            transactional: false,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: -1,
            producer_id: producer,
            producer_epoch: epoch,
            timestamp_type: TimestampType::Creation,
            offset: i64::from(index),
            sequence: sequence.wrapping_add(index),
            timestamp: 1_700_000_000_000 + i64::from(index),
            key: Some(Bytes::from_static(b"key")),
            value: Some(Bytes::copy_from_slice(value.as_bytes())),
            headers: [("host".into(), Some("here".into()))].into(),
        })
        .collect();
    let options = RecordEncodeOptions {
        version: 2,
        compression: codec,
    };
    let mut bytes = BytesMut::new();
    let compressor = |plain: &mut BytesMut, out: &mut BytesMut, codec: Compression| {
        match codec {
            Compression::Lz4 => {
                let mut writer = lz4_flex::frame::FrameEncoder::new(Vec::new());
                io::Write::write_all(&mut writer, plain)?;
                out.extend_from_slice(&writer.finish()?);
            }
            Compression::Gzip => {
                let mut writer =
                    flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                io::Write::write_all(&mut writer, plain)?;
                out.extend_from_slice(&writer.finish()?);
            }
            Compression::Snappy => {
                let chunk = snap::raw::Encoder::new().compress_vec(plain)?;
                out.extend_from_slice(b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01");
                out.extend_from_slice(&(chunk.len() as u32).to_be_bytes());
                out.extend_from_slice(&chunk);
            }
            Compression::Zstd => {
                let frame = zstd::stream::encode_all(&plain[..], 3)?;
                out.extend_from_slice(&frame);
            }
            _ => out.extend_from_slice(plain),
        }
        Ok(())
    };
    RecordBatchEncoder::encode_with_custom_compression(
        &mut bytes,
        &records,
        &options,
        Some(compressor),
    )
    .unwrap();
    bytes.freeze()
}

fn plain(producer: i64, sequence: i32, values: &[&str]) -> Bytes {
    let epoch = if producer < 0 { -1 } else { 0 };
    batch(producer, epoch, sequence, values, Compression::None)
}

fn produce(topic: &str, partition: i32, acks: i16, records: Bytes) -> ProduceRequest {
    let partition = PartitionProduceData::default()
        .with_index(partition)
        .with_records(Some(records));
    ProduceRequest::default()
        .with_acks(acks)
        .with_timeout_ms(1000)
        .with_topic_data(vec![
            TopicProduceData::default()
                .with_name(TopicName(topic.to_owned().into()))
                .with_partition_data(vec![partition]),
        ])
}

fn only(response: ProduceResponse) -> PartitionProduceResponse {
    response.responses[0].partition_responses[0].clone()
}

/// Error code and base offset of one batch in the topic `logs`, partition 0.
fn send(client: &mut Client, records: Bytes) -> (i16, i64) {
    let answer = only(client.call(9, &produce("logs", 0, -1, records)).unwrap());
    (answer.error_code, answer.base_offset)
}

fn metadata(client: &mut Client, version: i16, topic: &str) -> MetadataResponse {
    let topic = MetadataRequestTopic::default().with_name(Some(TopicName(topic.to_owned().into())));
    let request = MetadataRequest::default().with_topics(Some(vec![topic]));
    client.call(version, &request).unwrap()
}

fn logs() -> (Cluster, Client) {
    let cluster = Cluster::single();
    cluster.create_topic("logs", 1);
    let client = Client::connect(cluster.address(1)).unwrap();
    (cluster, client)
}

fn no_transactions() -> InitProducerIdRequest {
    InitProducerIdRequest::default().with_transactional_id(None)
}

fn new_producer(client: &mut Client) -> i64 {
    let answer = client.call(4, &no_transactions()).unwrap();
    answer.producer_id.0
}

#[test]
fn every_version_of_every_api_is_answered() {
    let cluster = Cluster::of(2);
    cluster.create_topic("logs", 2);
    cluster.throttle(Duration::from_millis(1));
    let mut client = Client::connect(cluster.address(1)).unwrap();
    for version in 0..=4 {
        let mut request = ApiVersionsRequest::default();
        if version >= 3 {
            request.client_software_name = StrBytes::from_static_str("tests");
            request.client_software_version = StrBytes::from_static_str("1");
        }
        let answer = client.call(version, &request).unwrap();
        assert_eq!(answer.error_code, 0);
        assert!(
            answer
                .api_keys
                .iter()
                .any(|api| api.api_key == 1 && api.max_version >= 4)
        );
    }
    for version in 0..=12 {
        let answer = metadata(&mut client, version, "logs");
        assert_eq!(answer.brokers.len(), 2, "version {version}");
        assert_eq!(answer.topics[0].partitions.len(), 2);
        assert_eq!(answer.topics[0].partitions[1].leader_id.0, 2);
    }
    for version in 0..=4 {
        let answer = client.call(version, &no_transactions()).unwrap();
        assert_eq!((answer.error_code, answer.producer_epoch), (0, 0));
    }
    for version in 3..=12 {
        let records = plain(-1, -1, &["line"]);
        let answer = client
            .call(version, &produce("logs", 0, -1, records.clone()))
            .unwrap();
        assert_eq!(only(answer).base_offset, i64::from(version) - 3);
        let answer = client
            .call(version, &produce("logs", 1, -1, records))
            .unwrap();
        assert_eq!(only(answer).error_code, 6, "partition 1 is led by node 2");
    }
    assert_eq!(cluster.count("logs"), 10);
}

#[test]
fn a_version_of_api_versions_that_is_too_high_is_answered_in_version_0() {
    let (cluster, mut client) = logs();
    let request = crate::support::client::frame(7, 4, &ApiVersionsRequest::default());
    let mut request = request;
    request[7] = 9;
    client.send_raw(&request).unwrap();
    let mut answer = client.receive_raw().unwrap().slice(4..);
    let answer = ApiVersionsResponse::decode(&mut answer, 0).unwrap();
    assert_eq!((answer.error_code, answer.api_keys[0].max_version), (35, 4));
    assert_eq!(cluster.requests(ApiKey::ApiVersions), 1);
}

#[test]
fn records_are_stored_as_sent_in_every_codec() {
    let (cluster, mut client) = logs();
    let codecs = [
        Compression::None,
        Compression::Lz4,
        Compression::Gzip,
        Compression::Snappy,
        Compression::Zstd,
    ];
    for codec in codecs {
        let (error, _) = send(&mut client, batch(-1, -1, -1, &["one", "", "three"], codec));
        assert_eq!(error, 0, "{codec:?}");
    }
    let records = cluster.wait_for_records("logs", 15, SOON);
    let values = cluster.values("logs");
    assert_eq!(values[3..6], ["one", "", "three"]);
    assert_eq!(records[4].offset, 4);
    assert_eq!(records[4].codec, Codec::Lz4);
    assert_eq!(records[4].value.as_deref(), Some(&b""[..]));
    assert_eq!(records[4].key.as_deref(), Some(&b"key"[..]));
    assert_eq!(records[4].header("host").as_deref(), Some("here"));
    assert_eq!(records[4].timestamp_ms, 1_700_000_000_001);
}

#[test]
fn without_acks_there_is_no_answer() {
    let (cluster, mut client) = logs();
    let request = produce("logs", 0, 0, plain(-1, -1, &["one"]));
    client.send(9, &request).unwrap();
    assert_eq!(metadata(&mut client, 9, "logs").topics[0].error_code, 0);
    assert_eq!(cluster.count("logs"), 1);
    client
        .send(9, &produce("nowhere", 0, 0, plain(-1, -1, &["two"])))
        .unwrap();
    client
        .receive_raw()
        .expect_err("an error closes the connection");
}

#[test]
fn sequences_are_checked_as_kafka_does() {
    let (cluster, mut client) = logs();
    let id = new_producer(&mut client);
    assert_eq!(
        send(&mut client, plain(id, 5, &["x"])),
        (45, -1),
        "a hole at the start"
    );
    assert_eq!(send(&mut client, plain(id, 0, &["a", "b"])), (0, 0));
    assert_eq!(send(&mut client, plain(id, 2, &["c"])), (0, 2));
    assert_eq!(
        send(&mut client, plain(id, 0, &["a", "b"])),
        (0, 0),
        "recognised"
    );
    assert_eq!(send(&mut client, plain(id, 4, &["x"])), (45, -1), "a gap");
    for sequence in 3..8 {
        assert_eq!(send(&mut client, plain(id, sequence, &["d"])).0, 0);
    }
    assert_eq!(
        send(&mut client, plain(id, 0, &["a", "b"])),
        (46, -1),
        "older than five batches"
    );
    assert_eq!(
        send(&mut client, batch(id, 1, 8, &["x"], Compression::None)).0,
        45
    );
    assert_eq!(
        send(&mut client, batch(id, 1, 0, &["e"], Compression::None)),
        (0, 8)
    );
    assert_eq!(
        send(&mut client, plain(id, 8, &["x"])),
        (47, -1),
        "an old epoch"
    );
    assert_eq!(
        cluster.values("logs"),
        ["a", "b", "c", "d", "d", "d", "d", "d", "e"]
    );
    assert_eq!(cluster.duplicates(), 1);

    cluster.unknown_producer(UnknownProducer::Unknown);
    cluster.forget_producers();
    assert_eq!(
        send(&mut client, batch(id, 1, 1, &["f"], Compression::None)).0,
        59
    );
    cluster.unknown_producer(UnknownProducer::Accepted);
    assert_eq!(
        send(&mut client, batch(id, 1, 1, &["f"], Compression::None)).0,
        0
    );
}

#[test]
fn sequences_wrap_after_the_largest_one() {
    let (cluster, mut client) = logs();
    cluster.unknown_producer(UnknownProducer::Accepted);
    let id = new_producer(&mut client);
    assert_eq!(
        send(&mut client, plain(id, i32::MAX - 1, &["a", "b", "c"])),
        (0, 0)
    );
    assert_eq!(send(&mut client, plain(id, 1, &["d"])), (0, 3));
    assert_eq!(
        send(&mut client, plain(id, i32::MAX - 1, &["a", "b", "c"])),
        (0, 0)
    );
}

#[test]
fn malformed_batches_are_refused_and_held_against_the_client() {
    let (cluster, mut client) = logs();
    let refused = |client: &mut Client, position: usize, expected: i16, words: &str| {
        let mut bytes = plain(-1, -1, &["one", "two"]).to_vec();
        bytes[position] ^= 1;
        if position >= 21 && expected != 2 {
            let crc = crc32c::crc32c(&bytes[21..]);
            bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        }
        assert_eq!(send(client, bytes.into()).0, expected, "{words}");
        let violations = cluster.take_violations();
        assert!(
            violations.iter().any(|what| what.contains(words)),
            "{violations:?}"
        );
    };
    refused(&mut client, 65, 2, "CRC");
    refused(&mut client, 16, 87, "magic");
    refused(&mut client, 11, 87, "batch length");
    refused(&mut client, 26, 87, "last offset delta");
    refused(&mut client, 42, 0, "max timestamp");
    refused(&mut client, 60, 87, "records with");
    let foreign = plain(99_999, 0, &["x"]);
    assert_eq!(send(&mut client, foreign).0, 0);
    assert!(cluster.take_violations()[0].contains("nobody was given"));
}

#[test]
fn trailing_bytes_and_unlisted_versions_close_the_connection() {
    let (cluster, mut client) = logs();
    let mut request = crate::support::client::frame(1, 9, &MetadataRequest::default());
    request.push(0);
    let length = (request.len() - 4) as u32;
    request[..4].copy_from_slice(&length.to_be_bytes());
    client.send_raw(&request).unwrap();
    client.receive_raw().unwrap_err();
    assert!(cluster.take_violations()[0].contains("trailing"));

    let mut client = Client::connect(cluster.address(1)).unwrap();
    cluster.limit_api(ApiKey::Produce, 0, 7);
    client
        .send(9, &produce("logs", 0, -1, plain(-1, -1, &["x"])))
        .unwrap();
    client.receive_raw().unwrap_err();
    assert!(cluster.take_violations()[0].contains("version 9"));
}

#[test]
fn a_sixth_unanswered_request_is_held_against_the_client() {
    let (cluster, mut client) = logs();
    cluster.stop_answering(1);
    for _ in 0..6 {
        client.send(9, &MetadataRequest::default()).unwrap();
    }
    cluster.wait_until(SOON, "six requests", |cluster| {
        cluster.most_unanswered() == 6
    });
    assert!(cluster.take_violations()[0].contains("6 unanswered"));
    cluster.heal();
    for _ in 0..6 {
        client.receive::<MetadataRequest>(9).unwrap();
    }
}

#[test]
fn errors_come_as_told_and_as_often_as_told() {
    let (cluster, mut client) = logs();
    cluster
        .on(ApiKey::Produce)
        .topic("logs")
        .partition(0)
        .times(2)
        .error(19);
    assert_eq!(send(&mut client, plain(-1, -1, &["a"])), (19, -1));
    assert_eq!(send(&mut client, plain(-1, -1, &["a"])), (19, -1));
    assert_eq!(send(&mut client, plain(-1, -1, &["a"])), (0, 0));
    cluster.on(ApiKey::Produce).error_after_append(20);
    assert_eq!(send(&mut client, plain(-1, -1, &["b"])), (20, -1));
    assert_eq!(cluster.values("logs"), ["a", "b"]);
    cluster.on(ApiKey::Metadata).topic("logs").error(29);
    assert_eq!(metadata(&mut client, 9, "logs").topics[0].error_code, 29);
    assert_eq!(metadata(&mut client, 9, "logs").topics[0].error_code, 0);
    cluster.on(ApiKey::InitProducerId).error(15);
    let answer = client.call(1, &no_transactions()).unwrap();
    assert_eq!(answer.error_code, 15);
    cluster.max_message_bytes(50);
    assert_eq!(send(&mut client, plain(-1, -1, &["c"])), (10, -1));
    assert!(cluster.rules_are_used_up());
    assert_eq!(cluster.produce_errors(19), 2);
}

#[test]
fn answers_are_mangled_as_told_after_the_append() {
    let (cluster, _) = logs();
    let attempt = |value: &str| {
        let mut client = Client::connect(cluster.address(1)).unwrap();
        let request = produce("logs", 0, -1, plain(-1, -1, &[value]));
        client.call(9, &request).map(only)
    };
    cluster.on(ApiKey::Produce).hang_up_before_append();
    attempt("before").expect_err("closed");
    cluster.on(ApiKey::Produce).hang_up_after_append();
    attempt("after").expect_err("closed");
    cluster.on(ApiKey::Produce).cut_answer();
    attempt("cut").expect_err("cut");
    cluster.on(ApiKey::Produce).garbage();
    attempt("garbage").expect_err("garbage");
    cluster.on(ApiKey::Produce).oversized_answer();
    attempt("oversized").expect_err("oversized");
    attempt("well").unwrap();
    assert_eq!(
        cluster.values("logs"),
        ["after", "cut", "garbage", "oversized", "well"]
    );
}

#[test]
fn delayed_answers_come_later_and_are_worked_off_meanwhile() {
    let (cluster, mut client) = logs();
    cluster.delay(Duration::from_secs(1));
    let start = Instant::now();
    for value in ["a", "b", "c"] {
        client
            .send(9, &produce("logs", 0, -1, plain(-1, -1, &[value])))
            .unwrap();
    }
    cluster.wait_for_records("logs", 3, SOON);
    for _ in 0..3 {
        client.receive::<ProduceRequest>(9).unwrap();
    }
    let taken = start.elapsed();
    assert!(
        taken >= Duration::from_secs(1) && taken < Duration::from_millis(2900),
        "{taken:?}"
    );
}

#[test]
fn a_node_that_went_down_refuses_and_comes_up_at_the_same_address() {
    let (cluster, mut client) = logs();
    let address = cluster.address(1);
    metadata(&mut client, 9, "logs");
    cluster.down(1);
    client.send(9, &MetadataRequest::default()).ok();
    client.receive_raw().expect_err("the connection was closed");
    // A process that another test starts holds the listener until it is executed.
    wait_until(
        SOON,
        || Client::connect(address).is_err(),
        || "nobody to listen".to_owned(),
    );
    cluster.up(1);
    let mut client = Client::connect(address).unwrap();
    metadata(&mut client, 9, "logs");
    assert_eq!(cluster.accepted(1), 2);
}

#[test]
fn a_deaf_node_accepts_and_reads_nothing() {
    let (cluster, _) = logs();
    cluster.stop_reading(1);
    let mut client = Client::connect(cluster.address(1)).unwrap();
    client
        .send(9, &produce("logs", 0, -1, plain(-1, -1, &["a"])))
        .unwrap();
    cluster.wait_until(SOON, "the connection", |cluster| cluster.accepted(1) == 2);
    assert_eq!(cluster.count("logs"), 0);
    cluster.heal();
    assert_eq!(
        only(client.receive::<ProduceRequest>(9).unwrap().1).error_code,
        0
    );
}

#[test]
fn a_partition_moves_and_the_old_leader_says_so() {
    let cluster = Cluster::of(2);
    cluster.create_topic("logs", 1);
    let mut first = Client::connect(cluster.address(1)).unwrap();
    let mut second = Client::connect(cluster.address(2)).unwrap();
    assert_eq!(send(&mut first, plain(-1, -1, &["a"])), (0, 0));
    cluster.set_leader("logs", 0, 2);
    assert_eq!(send(&mut first, plain(-1, -1, &["b"])), (6, -1));
    assert_eq!(send(&mut second, plain(-1, -1, &["b"])), (0, 1));
    let answer = metadata(&mut first, 9, "logs");
    assert_eq!(answer.topics[0].partitions[0].leader_id.0, 2);
    assert_eq!(cluster.leader("logs", 0), 2);
    cluster.down(2);
    let answer = metadata(&mut first, 9, "logs");
    assert_eq!(answer.brokers.len(), 1);
    assert_eq!(answer.topics[0].partitions[0].error_code, 5);
}

#[test]
fn topics_are_made_on_demand_unless_that_is_off() {
    let (cluster, mut client) = logs();
    cluster.auto_create(Some(3));
    assert_eq!(metadata(&mut client, 9, "new").topics[0].error_code, 3);
    assert_eq!(
        metadata(&mut client, 9, "new").topics[0].partitions.len(),
        3
    );
    cluster.auto_create(None);
    assert_eq!(metadata(&mut client, 9, "other").topics[0].error_code, 3);
    assert_eq!(metadata(&mut client, 9, "other").topics[0].error_code, 3);
    cluster.add_partitions("new", 5);
    assert_eq!(
        metadata(&mut client, 9, "new").topics[0].partitions.len(),
        5
    );
    cluster.delete_topic("new");
    assert_eq!(metadata(&mut client, 9, "new").topics[0].error_code, 3);
}
