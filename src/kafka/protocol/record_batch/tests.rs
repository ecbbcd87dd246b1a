//! Record batches as the reference decoder reads them.

use super::*;
use crate::config::Compression;
use crate::identity::FileTag;
use crate::kafka::protocol::record_batch::Unpacked;
use crate::kafka::testing::{batch, batch_at, destination};
use bytes::Bytes;
use kafka_protocol::records::{Record, RecordBatchDecoder};

fn encode(batches: &[&Batch], compression: Compression, producer: Option<ProducerId>) -> Vec<u8> {
    let mut writer = BatchWriter::default();
    writer.start(Vec::new());
    for batch in batches {
        let end = writer.append(batch, 0, usize::MAX);
        assert_eq!(end, batch.data.len());
    }
    let (mut bytes, _) = writer.finish(&mut Compressor::new(compression), Vec::new());
    stamp(&mut bytes, producer, 41);
    bytes
}

fn decode(bytes: Vec<u8>) -> Vec<Record> {
    let mut bytes = Bytes::from(bytes);
    let unpack = |compressed: &mut Bytes, compression| {
        let codec = Codec::of_attributes(compression as i16).expect("a codec of ours");
        let mut records = Vec::new();
        codec.decompress(compressed, &mut records, usize::MAX)?;
        Ok(Bytes::from(records))
    };
    let set = RecordBatchDecoder::decode_with_custom_compression(&mut bytes, Some(unpack))
        .expect("a valid batch");
    assert!(bytes.is_empty(), "the length field is short");
    set.records
}

fn values(records: &[Record]) -> Vec<&[u8]> {
    records
        .iter()
        .map(|record| &record.value.as_ref().expect("empty is not null")[..])
        .collect()
}

#[test]
fn the_reference_decoder_reads_lines_key_headers_and_times() {
    let keyed = destination(
        Some(b"the key"),
        &[("host", b"web1"), ("path", b"/x\0\xff")],
    );
    let plain = destination(None, &[]);
    let one = batch_at(&keyed, b"a\n\nb\0\xfe\n", 1_000);
    let two = batch_at(&plain, b"later\n", 1_900_000_000_000);
    let three = batch_at(&plain, b"earlier, and without its newline", 10);
    for compression in Codec::ALL {
        let producer = ProducerId { id: 7, epoch: 3 };
        let records = decode(encode(&[&one, &two, &three], compression, Some(producer)));
        let expected: [&[u8]; 5] = [
            b"a",
            b"",
            b"b\0\xfe",
            b"later",
            b"earlier, and without its newline",
        ];
        assert_eq!(values(&records), expected);
        for (n, record) in records.iter().enumerate() {
            assert_eq!(record.offset, n as i64);
            assert_eq!(record.sequence, 41 + n as i32);
            assert_eq!((record.producer_id, record.producer_epoch), (7, 3));
            let (key, headers, time) = match n {
                0..=2 => (Some(&b"the key"[..]), 2, 1_000),
                3 => (None, 0, 1_900_000_000_000),
                _ => (None, 0, 10),
            };
            assert_eq!(record.key.as_deref(), key);
            assert_eq!(record.headers.len(), headers);
            assert_eq!(record.timestamp, time);
        }
        let headers = &records[0].headers;
        assert_eq!(headers[&b"path"[..]].as_deref(), Some(&b"/x\0\xff"[..]));
    }
}

#[test]
fn every_varint_boundary_of_a_size_is_right() {
    let keyed = destination(Some(&[b'k'; 70]), &[("h", &[b'v'; 40])]);
    for to in [&destination(None, &[]), &keyed] {
        let mut lines = Vec::new();
        for size in (0..200)
            .chain(8_050..8_200)
            .chain([70_000, 1 << 20, (1 << 20) + 9])
        {
            lines.resize(lines.len() + size, b'x');
            lines.push(b'\n');
        }
        let source = batch(to, &lines);
        let records = decode(encode(&[&source], Compression::None, None));
        let expected: Vec<&[u8]> = source.records().map(|(_, line)| line).collect();
        assert!(values(&records) == expected);
    }
}

#[test]
fn offset_deltas_pass_their_varint_boundaries() {
    let lines = vec![b'\n'; 40_000];
    let records = decode(encode(
        &[&batch(&destination(None, &[]), &lines)],
        Compression::Lz4,
        None,
    ));
    assert_eq!(records.len(), 40_000);
    assert_eq!(records.last().map(|record| record.offset), Some(39_999));
    assert!(records.iter().all(|record| record.producer_id == -1));
}

#[test]
fn a_limit_ends_a_batch_between_two_lines_and_never_before_the_first() {
    let lines = batch(
        &destination(None, &[]),
        b"aaaaaaaaaa\nbbbbbbbbbb\ncccccccccc\n",
    );
    let mut writer = BatchWriter::default();
    for (limit, records, reached) in [(0, 1, 11), (61 + 34, 2, 22), (61 + 33, 1, 11)] {
        writer.start(Vec::new());
        assert_eq!(writer.append(&lines, 0, limit), reached, "limit {limit}");
        assert_eq!(writer.records(), records);
        assert_eq!(writer.append(&lines, reached, limit), reached);
    }
}

#[test]
fn the_largest_timestamp_is_that_of_a_record_in_the_batch() {
    let to = destination(None, &[]);
    let mut writer = BatchWriter::default();
    writer.start(Vec::new());
    for (read_at_ms, reached) in [(5_000, 5), (9_000, 5), (7_000, 5), (99_000, 0)] {
        let limit = if reached > 0 { usize::MAX } else { 0 };
        assert_eq!(
            writer.append(&batch_at(&to, b"line\n", read_at_ms), 0, limit),
            reached
        );
    }
    let (bytes, _) = writer.finish(&mut Compressor::new(Compression::None), Vec::new());
    assert_eq!(bytes[27..35], 5_000i64.to_be_bytes());
    assert_eq!(bytes[35..43], 9_000i64.to_be_bytes());
}

#[test]
fn pieces_of_a_long_line_are_numbered() {
    let to = destination(None, &[("host", b"web1")]);
    let mut first = batch(&to, b"a\nb");
    first.framing = Framing::Part(Piece {
        index: 1,
        last: false,
    });
    let mut second = batch(&to, b"end\n");
    second.framing = Framing::Part(Piece {
        index: 12,
        last: true,
    });
    let records = decode(encode(&[&first, &second], Compression::None, None));
    assert_eq!(values(&records), [&b"a\nb"[..], b"end"]);
    let header = |n: usize, name: &str| {
        let value = records[n].headers.get(name.as_bytes())?;
        Some(value.clone().expect("no header is null"))
    };
    assert_eq!(header(0, "part").as_deref(), Some(&b"1"[..]));
    assert_eq!(header(0, "parts"), None);
    assert_eq!(header(1, "part").as_deref(), Some(&b"12"[..]));
    assert_eq!(header(1, "parts").as_deref(), Some(&b"12"[..]));
    assert_eq!(header(1, "host").as_deref(), Some(&b"web1"[..]));
}

#[test]
fn where_a_record_is_from_stands_in_its_header() {
    let to = destination(Some(b"k"), &[("host", b"web1")]);
    let at = |source: &Batch| -> Vec<String> {
        let records = decode(encode(&[source], Compression::None, None));
        let header = |record: &Record| record.headers.get(&b"at"[..]).cloned();
        let text = |bytes: Bytes| String::from_utf8_lossy(&bytes).into_owned();
        let all = records.iter().filter_map(header);
        all.map(|at| text(at.expect("no header is null"))).collect()
    };
    let mut lines = batch(&to, b"first\n\nno newline");
    assert_eq!(at(&lines), Vec::<String>::new());
    (lines.tag, lines.start) = (Some(FileTag(0x00c0_ffee)), 1_000);
    assert_eq!(
        at(&lines),
        ["00c0ffee:1000", "00c0ffee:1006", "00c0ffee:1007:10"]
    );
    let last = Piece {
        index: 2,
        last: true,
    };
    lines.framing = Framing::Part(last);
    assert_eq!(at(&lines), ["00c0ffee:1000:17"]);
    // Of "cut\none\ncut\ntwo\n" two lines are kept, and one is made longer.
    let mark = |end, span_end| crate::batch::EventMark { end, span_end };
    let mut events = batch(&to, b"one\ntwo 2\n");
    events.tag = Some(FileTag(u32::MAX));
    events.framing = Framing::Events(Box::new(crate::batch::Events {
        marks: vec![mark(4, 8), mark(10, 16)],
        places: vec![(4, 8), (12, 16)],
        ..Default::default()
    }));
    assert_eq!(at(&events), ["ffffffff:4", "ffffffff:12:4"]);
}

#[test]
fn a_batch_taken_apart_and_put_together_is_the_same() {
    let to = destination(Some(b"k"), &[("host", b"web1")]);
    let one = batch_at(&to, b"first\nsecond\n\n", 2_000);
    let two = batch_at(&to, b"third\n", 1_000);
    for compression in Codec::ALL {
        let bytes = encode(&[&one, &two], compression, None);
        let unpacked = Unpacked::of(&bytes).expect("our own batch");
        let mut writer = BatchWriter::default();
        writer.start(Vec::new());
        for record in unpacked.records().expect("our own records") {
            writer.append_raw(&record);
        }
        let (mut again, _) = writer.finish(&mut Compressor::new(compression), Vec::new());
        stamp(&mut again, None, 0);
        assert!(again == bytes);
    }
}
