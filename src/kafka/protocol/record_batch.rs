//! Record batches, Kafka's wire format v2 (KIP-98), written straight from the read buffer, and our own taken apart.
//!
//! ```text
//!  0 base offset (8)    17 CRC32C of all that follows (4)   43 producer id (8)
//!  8 length (4)         21 attributes (2)                   51 producer epoch (2)
//! 12 leader epoch (4)   23 last offset delta (4)            53 base sequence (4)
//! 16 magic (1)          27 first timestamp (8)              57 record count (4)
//!                       35 largest timestamp (8)            61 records, perhaps compressed
//! ```
//! A record: length, attributes (0), timestamp delta, offset delta, key, value, headers; lengths and
//! deltas are zigzag varints, a length of -1 is null. The fields 43 to 57 are written by [`stamp`],
//! last, so that a batch can be stamped anew without being encoded anew.

use std::sync::Arc;

use crate::batch::{Batch, Destination, Framing, Own, Piece, push_sized};
use crate::memory;

use super::compression::{Codec, Compressor};
use super::wire::{Reader, WireError};

mod origin;
mod unpacked;
mod varint;

use origin::Origin;
pub(super) use unpacked::HEAD_BYTES;
use unpacked::TRANSACTIONAL;
pub(crate) use unpacked::{RawRecord, Unpacked, encoded_parts};
use varint::{Word, push_varint, varint_len, zigzag};

/// Room for everything of a record before its key: three varints of 10 bytes and the attributes,
/// and then a null key and the length of the value.
const RECORD_HEAD_BYTES: usize = 48;

/// What the batches of an idempotent producer are stamped with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProducerId {
    pub(crate) id: i64,
    pub(crate) epoch: i16,
}

/// Writes the producer's fields and the checksum of a batch. Without a producer no sequence counts.
pub(crate) fn stamp(batch: &mut [u8], producer: Option<ProducerId>, base_sequence: i32) {
    let (producer, base_sequence) = match producer {
        Some(producer) => (producer, base_sequence),
        None => (ProducerId { id: -1, epoch: -1 }, -1),
    };
    batch[43..51].copy_from_slice(&producer.id.to_be_bytes());
    batch[51..53].copy_from_slice(&producer.epoch.to_be_bytes());
    batch[53..57].copy_from_slice(&base_sequence.to_be_bytes());
    let crc = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
}

/// Sequence numbers go from 0 to 2^31 - 1 and then start again.
pub(crate) fn sequence_after(sequence: i32, records: i32) -> i32 {
    sequence.wrapping_add(records) & i32::MAX
}

/// Builds one record batch at a time.
#[derive(Debug, Default)]
pub(crate) struct BatchWriter {
    /// [`HEAD_BYTES`] of room, then the records.
    bytes: Vec<u8>,
    records: i32,
    first_timestamp: i64,
    max_timestamp: i64,
    template: Template,
    /// Room for a record that has parts of its own.
    rest: Vec<u8>,
    /// The attributes of all batches besides the codec.
    attributes: i16,
}

impl BatchWriter {
    /// Starts a batch in `room`, whose content is of no interest.
    pub(crate) fn start(&mut self, mut room: Vec<u8>) {
        room.clear();
        room.resize(HEAD_BYTES, 0);
        self.bytes = room;
        self.records = 0;
    }

    /// From now on each batch is part of a transaction.
    pub(crate) fn makes_transactional(&mut self) {
        self.attributes = TRANSACTIONAL;
    }

    /// Records so far.
    pub(crate) fn records(&self) -> i32 {
        self.records
    }

    /// Appends records of `batch` from position `from` on while the whole stays within
    /// `limit_bytes`; the first record goes in whatever its size. Returns the position reached.
    pub(crate) fn append(&mut self, batch: &Batch, from: usize, limit_bytes: usize) -> usize {
        self.template.prepare(&batch.destination);
        if batch.tag.is_some() {
            return self.append_events(batch, from, limit_bytes);
        }
        let timestamp_delta = self.delta_to_first(batch.read_at_ms);
        let Template { key, headers, .. } = &self.template;
        let mut room = Room {
            bytes: &mut self.bytes,
            records: &mut self.records,
            limit_bytes,
        };
        let position = match &batch.framing {
            Framing::Lines => {
                let lines = batch.lines_from(from);
                room.append_all(
                    lines,
                    from,
                    &Parts {
                        timestamp_delta,
                        key,
                        headers,
                    },
                )
            }
            Framing::Events(events) if !events.own.is_empty() || events.piece.is_some() => {
                return self.append_events(batch, from, limit_bytes);
            }
            framing => {
                let of_piece: Vec<u8>;
                let headers = match framing {
                    Framing::Part(piece) => {
                        of_piece = part_headers(self.template.of_file(), *piece);
                        &of_piece
                    }
                    _ => headers,
                };
                let parts = Parts {
                    timestamp_delta,
                    key,
                    headers,
                };
                room.append_all(batch.records_from(from), from, &parts)
            }
        };
        if position > from {
            self.max_timestamp = self.max_timestamp.max(batch.read_at_ms);
        }
        position
    }

    /// As [`BatchWriter::append`], of events that have keys, headers or times of their own, are pieces, or say where
    /// they are from.
    fn append_events(&mut self, batch: &Batch, from: usize, limit_bytes: usize) -> usize {
        let (events, piece) = match &batch.framing {
            Framing::Lines => (None, None),
            Framing::Part(piece) => (None, Some(*piece)),
            Framing::Events(events) => (Some(&**events), events.piece),
        };
        let first = events.map_or(0, |events| events.index_at(from));
        let mut origin = batch.tag.map(Origin::new);
        let mut position = from;
        let mut rest = std::mem::take(&mut self.rest);
        for (at, (next, value)) in (first..).zip(batch.records_from(from)) {
            let own = events.and_then(|events| events.own_of(at));
            if let Some(origin) = &mut origin {
                let (start, end) = match events {
                    Some(events) => events.place(at),
                    None => (position as u32, next as u32),
                };
                let len = end.saturating_sub(start) as usize;
                origin.set(batch.start + u64::from(start), len, value.len());
            }
            let timestamp = own.map_or(batch.read_at_ms, |own| own.timestamp_ms);
            let timestamp_delta = self.delta_to_first(timestamp);
            rest.clear();
            match own {
                Some(Own { key: Some(key), .. }) => push_sized(&mut rest, key),
                Some(_) => rest.push(NULL),
                None => rest.extend_from_slice(&self.template.key),
            }
            push_sized(&mut rest, value);
            let origin = origin.as_ref().map(Origin::value);
            push_all_headers(&mut rest, self.template.of_file(), own, piece, origin);
            let offset_delta = u64::from(self.records as u32) << 1;
            let body_bytes =
                1 + varint_len(timestamp_delta) + varint_len(offset_delta) + rest.len();
            let body_len = (body_bytes as u64) << 1;
            if self.records > 0
                && self.bytes.len() + varint_len(body_len) + body_bytes > limit_bytes
            {
                break;
            }
            memory::reserve(&mut self.bytes, 2 * RECORD_HEAD_BYTES + body_bytes);
            self.append_raw(&RawRecord {
                timestamp,
                rest: &rest,
                headers: &[],
                value: &[],
            });
            position = next;
        }
        self.rest = rest;
        position
    }

    /// Appends a record that was taken out of another batch.
    pub(crate) fn append_raw(&mut self, record: &RawRecord<'_>) {
        let timestamp_delta = self.delta_to_first(record.timestamp);
        self.max_timestamp = self.max_timestamp.max(record.timestamp);
        let offset = Word::varint(u64::from(self.records as u32) << 1);
        let body_bytes = 1 + varint_len(timestamp_delta) + offset.len() + record.rest.len();
        let length = Word::varint((body_bytes as u64) << 1);
        push_head(&mut self.bytes, length, timestamp_delta, offset);
        self.bytes.extend_from_slice(record.rest);
        self.records += 1;
    }

    /// Appends a record that was taken out of another batch, with the time `now_ms`. When it was read, in ms
    /// since 1970, goes with it as the header `read_at`, unless it has that already.
    pub(crate) fn append_retimed(
        &mut self,
        record: &RawRecord<'_>,
        now_ms: i64,
    ) -> Result<(), WireError> {
        let mut headers = Reader::new(record.headers, false);
        let count = headers.varint()?;
        let others = headers.rest();
        let mut has_read_at = false;
        for _ in 0..count {
            has_read_at |= headers.sized()? == b"read_at";
            headers.sized()?;
        }
        let mut rest = Vec::with_capacity(record.rest.len() + 32);
        let before_headers = record.rest.len() - record.headers.len();
        rest.extend_from_slice(&record.rest[..before_headers]);
        if has_read_at {
            rest.extend_from_slice(record.headers);
        } else {
            push_varint(&mut rest, zigzag(count + 1));
            rest.extend_from_slice(others);
            push_sized(&mut rest, b"read_at");
            push_sized(&mut rest, record.timestamp.to_string().as_bytes());
        }
        self.append_raw(&RawRecord {
            timestamp: now_ms,
            rest: &rest,
            headers: &[],
            value: record.value,
        });
        Ok(())
    }

    /// Ends the batch, which still must be stamped. `room` is used if the codec needs a second
    /// buffer. Returns the batch and the buffer that was left over.
    pub(crate) fn finish(
        &mut self,
        compressor: &mut Compressor,
        mut room: Vec<u8>,
    ) -> (Vec<u8>, Vec<u8>) {
        let mut batch = std::mem::take(&mut self.bytes);
        let mut attributes = Codec::None.attributes();
        if compressor.codec() != Codec::None {
            room.clear();
            room.resize(HEAD_BYTES, 0);
            let compressed = compressor.compress(&batch[HEAD_BYTES..], &mut room);
            // What does not shrink (a single short line) goes as it is, and so does what the codec
            // has no memory for.
            if compressed.is_ok() && room.len() < batch.len() {
                std::mem::swap(&mut batch, &mut room);
                attributes = compressor.codec().attributes();
            }
        }
        let length = batch.len() as i32 - 12;
        batch[8..12].copy_from_slice(&length.to_be_bytes());
        // The leader epoch is the broker's business; -1 is what clients send.
        batch[12..16].copy_from_slice(&(-1i32).to_be_bytes());
        batch[16] = 2;
        batch[21..23].copy_from_slice(&(attributes | self.attributes).to_be_bytes());
        batch[23..27].copy_from_slice(&(self.records - 1).to_be_bytes());
        batch[27..35].copy_from_slice(&self.first_timestamp.to_be_bytes());
        batch[35..43].copy_from_slice(&self.max_timestamp.to_be_bytes());
        batch[57..61].copy_from_slice(&self.records.to_be_bytes());
        (batch, room)
    }

    /// The delta of a record's timestamp to that of the first record, zigzag.
    fn delta_to_first(&mut self, timestamp: i64) -> u64 {
        if self.records == 0 {
            self.first_timestamp = timestamp;
            self.max_timestamp = timestamp;
        }
        zigzag(timestamp.wrapping_sub(self.first_timestamp))
    }
}

/// What all records of a batch of lines have besides the line.
struct Parts<'a> {
    timestamp_delta: u64,
    /// Length and key.
    key: &'a [u8],
    /// Count and headers.
    headers: &'a [u8],
}

/// Where records go.
struct Room<'a> {
    bytes: &'a mut Vec<u8>,
    records: &'a mut i32,
    limit_bytes: usize,
}

impl Room<'_> {
    /// Appends records while there is room. Returns the position after the last, `from` if there was none. Inlined, so
    /// that plain lines have a loop of their own.
    #[inline(always)]
    fn append_all<'a>(
        &mut self,
        all: impl Iterator<Item = (usize, &'a [u8])>,
        from: usize,
        parts: &Parts<'_>,
    ) -> usize {
        let Parts {
            timestamp_delta,
            key,
            headers,
        } = *parts;
        let fixed_bytes = 1 + varint_len(timestamp_delta) + key.len() + headers.len();
        let bytes = &mut *self.bytes;
        let mut records = *self.records;
        let mut position = from;
        for (next, line) in all {
            let offset = Word::varint(u64::from(records as u32) << 1);
            let value_length = Word::varint((line.len() as u64) << 1);
            let body_bytes = fixed_bytes + offset.len() + value_length.len() + line.len();
            let length = Word::varint((body_bytes as u64) << 1);
            if records > 0 && bytes.len() + length.len() + body_bytes > self.limit_bytes {
                break;
            }
            let record_bytes = 2 * RECORD_HEAD_BYTES + body_bytes;
            if bytes.capacity() - bytes.len() < record_bytes {
                memory::reserve(bytes, record_bytes);
            }
            push_head(bytes, length, timestamp_delta, offset);
            match Word::byte(NULL).then(value_length) {
                Some(lengths) if key.len() == 1 => lengths.append_to(bytes),
                _ => {
                    bytes.extend_from_slice(key);
                    value_length.append_to(bytes);
                }
            }
            bytes.extend_from_slice(line);
            if headers.len() == 1 {
                bytes.push(0);
            } else {
                bytes.extend_from_slice(headers);
            }
            records += 1;
            position = next;
        }
        *self.records = records;
        position
    }
}

/// The parts of a record that are the same for all records of a file.
#[derive(Debug, Default)]
struct Template {
    destination: Option<Arc<Destination>>,
    /// Length and key.
    key: Vec<u8>,
    /// Count and headers.
    headers: Vec<u8>,
    header_count: usize,
}

impl Template {
    fn prepare(&mut self, destination: &Arc<Destination>) {
        if let Some(known) = &self.destination
            && Arc::ptr_eq(known, destination)
        {
            return;
        }
        self.key.clear();
        match &destination.route.key {
            Some(key) => push_sized(&mut self.key, key),
            None => self.key.push(NULL),
        }
        self.headers.clear();
        push_varint(&mut self.headers, (destination.headers().len() as u64) << 1);
        push_headers(&mut self.headers, destination);
        self.header_count = destination.headers().len();
        self.destination = Some(destination.clone());
    }

    /// The headers of the file: how many, and what they are.
    fn of_file(&self) -> (usize, &[u8]) {
        let count_bytes = varint_len((self.header_count as u64) << 1);
        let headers = self.headers.get(count_bytes..).unwrap_or_default();
        (self.header_count, headers)
    }
}

/// Count and headers of one piece of a long line.
fn part_headers(of_file: (usize, &[u8]), piece: Piece) -> Vec<u8> {
    let mut block = Vec::with_capacity(64);
    push_all_headers(&mut block, of_file, None, Some(piece), None);
    block
}

/// Count and headers of a record: those of its file, those of its own, of a piece `part` = its number, and on the
/// last piece `parts` = how many there are, and `at` = where it is from.
fn push_all_headers(
    block: &mut Vec<u8>,
    (file_count, of_file): (usize, &[u8]),
    own: Option<Own<'_>>,
    piece: Option<Piece>,
    origin: Option<&[u8]>,
) {
    let of_piece = piece.map_or(0, |piece| 1 + usize::from(piece.last));
    let own_count = own.map_or(0, |own| own.header_count);
    let count = file_count + own_count + of_piece + usize::from(origin.is_some());
    push_varint(block, (count as u64) << 1);
    block.extend_from_slice(of_file);
    block.extend_from_slice(own.map_or(&[], |own| own.headers));
    if let Some(Piece { index, last }) = piece {
        let number = index.to_string();
        push_sized(block, b"part");
        push_sized(block, number.as_bytes());
        if last {
            push_sized(block, b"parts");
            push_sized(block, number.as_bytes());
        }
    }
    if let Some(origin) = origin {
        push_sized(block, b"at");
        push_sized(block, origin);
    }
}

fn push_headers(block: &mut Vec<u8>, destination: &Destination) {
    for (name, value) in destination.headers() {
        push_sized(block, name);
        push_sized(block, value);
    }
}

/// Appends what a record begins with.
#[inline(always)]
fn push_head(bytes: &mut Vec<u8>, length: Word, timestamp_delta: u64, offset: Word) {
    let time = (timestamp_delta < Word::BELOW).then(|| Word::varint(timestamp_delta));
    let head = time
        .and_then(|time| length.then(Word::byte(ATTRIBUTES))?.then(time))
        .and_then(|head| head.then(offset));
    match head {
        Some(head) => head.append_to(bytes),
        None => {
            length.append_to(bytes);
            bytes.push(ATTRIBUTES);
            push_varint(bytes, timestamp_delta);
            offset.append_to(bytes);
        }
    }
}

/// -1 as a zigzag varint: the length of a null.
const NULL: u8 = 1;
/// Of a record: it has none.
const ATTRIBUTES: u8 = 0;

#[cfg(test)]
mod tests;
