//! Batches as the reference encoder writes them, and damaged ones.

use super::*;
use bytes::BytesMut;
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::{
    Compression, NO_PARTITION_LEADER_EPOCH, Record as Written, RecordBatchEncoder,
    RecordEncodeOptions, TimestampType,
};

fn written(offset: i64, producer_id: i64, value: Option<&[u8]>) -> Written {
    let headers = [(StrBytes::from_static_str("h"), Some(b"v"[..].into()))];
    Written {
        transactional: producer_id >= 0,
        control: false,
        partition_leader_epoch: NO_PARTITION_LEADER_EPOCH,
        producer_id,
        producer_epoch: 0,
        timestamp_type: TimestampType::Creation,
        offset,
        sequence: offset as i32,
        timestamp: 1_000 + offset,
        key: (offset % 2 == 0).then(|| b"k"[..].into()),
        value: value.map(|value| value.to_vec().into()),
        headers: IndexMap::from_iter(headers),
        delete_horizon: false,
    }
}

/// A batch of the reference encoder, with the codec in our own hands.
fn encoded(records: &[Written], compression: crate::config::Compression) -> Vec<u8> {
    let codec = match Codec::of(compression) {
        Codec::None => Compression::None,
        Codec::Gzip => Compression::Gzip,
        Codec::Snappy => Compression::Snappy,
        Codec::Lz4 => Compression::Lz4,
        Codec::Zstd => Compression::Zstd,
    };
    let mut bytes = BytesMut::new();
    let options = RecordEncodeOptions {
        version: 2,
        compression: codec,
    };
    let pack = |records: &mut BytesMut, out: &mut BytesMut, _| {
        let mut packed = Vec::new();
        let mut compressor = crate::kafka::protocol::compression::Compressor::new(compression);
        compressor.compress(records, &mut packed)?;
        out.extend_from_slice(&packed);
        Ok(())
    };
    RecordBatchEncoder::encode_with_custom_compression(&mut bytes, records, &options, Some(pack))
        .expect("records of ours");
    bytes.to_vec()
}

/// Offset, key, value.
type Seen = (i64, Option<Vec<u8>>, Option<Vec<u8>>);

/// What all batches have, as far as they can be read.
fn read(mut bytes: &[u8]) -> Result<Vec<Seen>, BatchError> {
    let (mut room, mut seen) = (Vec::new(), Vec::new());
    while let Some(raw) = RawBatch::take(&mut bytes)? {
        let head = raw.head()?;
        assert!(raw.next_offset() > raw.base_offset);
        let mut records = raw.unpack(&head, &mut room)?;
        while let Some(record) = records.take()? {
            let owned = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
            assert!(record.headers().count() <= bytes.len() + MOST_UNPACKED);
            seen.push((record.offset, owned(record.key), owned(record.value)));
        }
    }
    Ok(seen)
}

#[test]
fn batches_of_every_codec_are_read_as_the_reference_encoder_writes_them() {
    let values: [Option<&[u8]>; 4] = [Some(b"one"), None, Some(b""), Some(&[b'x'; 5_000])];
    for compression in Codec::ALL {
        let records: Vec<_> = (7..)
            .zip(values)
            .map(|(at, value)| written(at, -1, value))
            .collect();
        let mut bytes = encoded(&records, compression);
        let one = bytes.len();
        bytes.extend(encoded(&[written(11, -1, Some(b"next"))], compression));
        let seen = read(&bytes).expect("whole batches");
        assert_eq!(seen.len(), 5, "{compression:?}");
        for (seen, value) in seen.iter().zip(values) {
            assert_eq!(seen.1.is_some(), seen.0 % 2 == 0);
            assert_eq!(seen.2.as_deref(), value);
        }
        assert_eq!(seen[4].0, 11);
        // What is cut off is left for the next fetch.
        assert_eq!(read(&bytes[..one + 30]).expect("one batch").len(), 4);
        let mut first = &bytes[..];
        let raw = RawBatch::take(&mut first).expect("a batch").expect("whole");
        assert_eq!(raw.next_offset(), 11);
        let record = raw.head().expect("a head").records();
        assert_eq!(record, 4);
    }
}

#[test]
fn a_bit_that_changed_is_found_and_older_formats_are_named() {
    let whole = encoded(&[written(0, -1, Some(b"value"))], Codec::ALL[0]);
    for at in COVERED_FROM..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        assert_eq!(read(&damaged), Err(BatchError::Checksum), "byte {at}");
    }
    let mut old = whole.clone();
    old[16] = 1;
    assert_eq!(read(&old), Err(BatchError::OldFormat(1)));
}

#[test]
fn no_damage_to_a_batch_does_harm_even_if_its_checksum_is_right() {
    let mut random = fastrand::Rng::with_seed(5);
    let values: Vec<Vec<u8>> = (0..40)
        .map(|n| vec![b'a' + n % 3; n as usize * 7])
        .collect();
    for compression in Codec::ALL {
        let records: Vec<_> = (0..)
            .zip(&values)
            .map(|(at, v)| written(at, -1, Some(v)))
            .collect();
        let whole = encoded(&records, compression);
        for round in 0..800 {
            let mut damaged = whole.clone();
            for _ in 0..random.usize(1..5) {
                let near = if random.bool() { 80 } else { damaged.len() };
                let at = random.usize(8..near.min(damaged.len()));
                let any = random.u8(..);
                damaged[at] = random.choice([0, 1, 0x7f, 0x80, 0xff, any]).unwrap_or(3);
            }
            if random.bool() {
                damaged.truncate(random.usize(..damaged.len()));
            }
            if let Some(covered) = damaged.get(COVERED_FROM..) {
                let crc = crc32c::crc32c(covered);
                damaged[17..21].copy_from_slice(&crc.to_be_bytes());
            }
            let _ = read(&damaged);
            if round % 3 == 0 {
                let noise: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(90).collect();
                let _ = read(&noise);
            }
        }
    }
}

#[test]
fn of_aborted_transactions_nothing_is_seen_and_the_marker_ends_them() {
    let none = Codec::ALL[0];
    let batch = |offset, producer| encoded(&[written(offset, producer, Some(b"v"))], none);
    let marker = |offset, producer, kind: u8| {
        let mut record = written(offset, producer, None);
        record.control = true;
        record.key = Some(vec![0, 0, 0, kind].into());
        encoded(&[record], none)
    };
    let all = [
        (batch(0, 1), Kind::Data),
        (batch(1, 2), Kind::Aborted),
        (batch(2, -1), Kind::Data),
        (marker(3, 2, 0), Kind::Marker(false)),
        (batch(4, 2), Kind::Data),
        (marker(5, 1, 1), Kind::Marker(true)),
        (marker(6, 2, 1), Kind::Marker(true)),
        (batch(7, 2), Kind::Aborted),
        (marker(8, 2, 0), Kind::Marker(false)),
        (batch(9, 2), Kind::Data),
    ];
    let mut committed = Committed::new(vec![(2, 1), (2, 7)]);
    for (bytes, expected) in all {
        let raw = RawBatch::take(&mut &bytes[..])
            .expect("a batch")
            .expect("whole");
        let head = raw.head().expect("a head");
        assert_eq!(
            committed.kind(&raw, &head),
            Ok(expected),
            "{}",
            head.base_offset
        );
    }
}
