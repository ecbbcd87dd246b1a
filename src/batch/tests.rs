use crate::kafka::testing::{batch, destination};

use super::*;

/// A batch of some lines of a file, and where each of these ends in the file.
fn some_lines(file: &[u8], random: &mut fastrand::Rng) -> (Batch, Vec<usize>) {
    let (mut data, mut marks, mut ends) = (Vec::new(), Vec::new(), Vec::new());
    let mut at = 0;
    for line in file.split_inclusive(|byte| *byte == b'\n') {
        at += line.len();
        if random.u8(..4) > 0 {
            data.extend_from_slice(line);
            marks.push(EventMark {
                end: data.len() as u32,
                span_end: at as u32,
            });
            ends.push(at);
        }
    }
    let mut batch = batch(&destination(None, &[]), &data);
    batch.framing = Framing::Events(Box::new(Events {
        marks,
        ..Events::default()
    }));
    (batch, ends)
}

#[test]
fn the_tail_checksum_of_an_event_is_of_file_bytes_whatever_was_left_out_before_it() {
    let mut random = fastrand::Rng::with_seed(12);
    for _ in 0..500 {
        let mut file = Vec::new();
        for _ in 0..random.usize(2..30) {
            file.extend((0..random.usize(..90)).map(|_| random.alphanumeric() as u8));
            file.push(b'\n');
        }
        let (batch, ends) = some_lines(&file, &mut random);
        let (mut from, mut start) = (0, 0);
        for ((to, record), end) in batch.records().zip(ends) {
            let span = batch.span(from, to);
            assert_eq!((span.start, span.end), (start, end as u64));
            let len = usize::from(span.tail_checksum.len);
            assert!(len > record.len().min(TailChecksum::MAX_LEN - 1));
            let covered = &file[end - len..end];
            assert_eq!(span.tail_checksum.crc, crc32c::crc32c(covered));
            (from, start) = (to, span.end);
        }
    }
}

#[test]
fn what_was_left_out_behind_the_last_event_is_done_with_it() {
    let mut batch = batch(&destination(None, &[]), b"one\n");
    let end_checksum = Some(TailChecksum::of(b"one\ntwo\n"));
    batch.framing = Framing::Events(Box::new(Events {
        marks: vec![EventMark {
            end: 4,
            span_end: 8,
        }],
        end_checksum,
        ..Events::default()
    }));
    let span = batch.span(0, 4);
    assert_eq!((span.end, Some(span.tail_checksum)), (8, end_checksum));
}
