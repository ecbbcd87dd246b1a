//! Reads one record batch (message format v2) as strictly as a broker does, and a little more.
//!
//! Written by hand on purpose: `kafka-protocol`'s decoder overlooks trailing bytes, offset deltas
//! and time stamps that do not agree with the header, and the agent's writer shall be held against
//! something that it was not built with.
//! Format: <https://kafka.apache.org/documentation/#recordbatch>.

use std::io::Read;

/// What a batch holds.
#[derive(Debug)]
pub(crate) struct RecordBatch {
    pub(crate) producer_id: i64,
    pub(crate) producer_epoch: i16,
    pub(crate) base_sequence: i32,
    pub(crate) codec: Codec,
    pub(crate) records: Vec<BatchRecord>,
    /// What a broker puts right by itself, and a correct client does not send all the same.
    pub(crate) oddity: Option<String>,
}

impl RecordBatch {
    /// Sequence of the last record; sequences wrap at 2^31.
    pub(crate) fn last_sequence(&self) -> i32 {
        let last = i64::from(self.base_sequence) + self.records.len() as i64 - 1;
        (last & 0x7fff_ffff) as i32
    }
}

#[derive(Debug)]
pub(crate) struct BatchRecord {
    pub(crate) timestamp_ms: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(String, Option<Vec<u8>>)>,
}

/// Codec of a record batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Codec {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

/// Why a batch is refused: the error code of the answer and a description.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) code: i16,
    pub(crate) why: String,
}

pub(crate) const CORRUPT_MESSAGE: i16 = 2;
pub(crate) const UNSUPPORTED_COMPRESSION_TYPE: i16 = 76;
pub(crate) const INVALID_RECORD: i16 = 87;

/// The bit of the attributes that makes a batch part of a transaction.
pub(crate) const TRANSACTIONAL: i16 = 1 << 4;

fn corrupt(why: impl Into<String>) -> Refused {
    Refused {
        code: CORRUPT_MESSAGE,
        why: why.into(),
    }
}

fn invalid(why: impl Into<String>) -> Refused {
    Refused {
        code: INVALID_RECORD,
        why: why.into(),
    }
}

/// Reads `bytes`, which must be exactly one batch.
pub(crate) fn read(bytes: &[u8]) -> Result<RecordBatch, Refused> {
    read_of_kind(0, bytes)
}

/// The same of a batch in a transaction.
pub(crate) fn read_transactional(bytes: &[u8]) -> Result<RecordBatch, Refused> {
    read_of_kind(TRANSACTIONAL, bytes)
}

fn read_of_kind(kind: i16, bytes: &[u8]) -> Result<RecordBatch, Refused> {
    let mut input = Input(bytes);
    let base_offset = input.i64()?;
    let length = input.i32()?;
    if usize::try_from(length).ok() != Some(input.0.len()) {
        return Err(invalid(format!(
            "batch length {length}, but {} bytes follow (one batch per partition and request)",
            input.0.len()
        )));
    }
    let _leader_epoch = input.i32()?;
    let magic = input.i8()?;
    if magic != 2 {
        return Err(invalid(format!("magic {magic} instead of 2")));
    }
    let crc = input.i32()? as u32;
    let actual = crc32c::crc32c(input.0);
    if crc != actual {
        return Err(corrupt(format!("CRC {crc:#010x}, computed {actual:#010x}")));
    }
    let attributes = input.i16()?;
    if attributes & !0x7 != kind {
        return Err(invalid(format!(
            "attributes {attributes:#06x}: only a codec and {kind:#06x} are expected"
        )));
    }
    let last_offset_delta = input.i32()?;
    let base_timestamp_ms = input.i64()?;
    let max_timestamp_ms = input.i64()?;
    let producer_id = input.i64()?;
    let producer_epoch = input.i16()?;
    let base_sequence = input.i32()?;
    let count = input.i32()?;
    if base_offset != 0 {
        return Err(invalid(format!("base offset {base_offset} instead of 0")));
    }
    if count < 1 || last_offset_delta != count - 1 {
        return Err(invalid(format!(
            "{count} records with last offset delta {last_offset_delta}"
        )));
    }
    let idempotent = (producer_id >= 0, producer_epoch >= 0, base_sequence >= 0);
    if idempotent != (true, true, true) && idempotent != (false, false, false) {
        return Err(invalid(format!(
            "producer id {producer_id}, epoch {producer_epoch}, sequence {base_sequence}"
        )));
    }

    let (codec, plain) = decompress(attributes & 0x7, input.0)?;
    let mut input = Input(&plain);
    let mut records = Vec::new();
    for delta in 0..count {
        records.push(read_record(&mut input, delta, base_timestamp_ms)?);
    }
    if !input.0.is_empty() {
        return Err(invalid(format!(
            "{} bytes after the last of {count} records",
            input.0.len()
        )));
    }
    // A broker computes it anew (LogValidator.java).
    let latest = records.iter().map(|record| record.timestamp_ms).max();
    let oddity = (latest != Some(max_timestamp_ms))
        .then(|| format!("max timestamp {max_timestamp_ms}, but the latest record has {latest:?}"));
    Ok(RecordBatch {
        producer_id,
        producer_epoch,
        base_sequence,
        codec,
        records,
        oddity,
    })
}

fn read_record(input: &mut Input<'_>, delta: i32, base: i64) -> Result<BatchRecord, Refused> {
    let length = input.varint()?;
    let length = usize::try_from(length).map_err(|_| invalid(format!("record of {length}")))?;
    let mut input = Input(input.take(length)?);
    let attributes = input.i8()?;
    let timestamp_delta = input.varint()?;
    let offset_delta = input.varint()?;
    if attributes != 0 || offset_delta != i64::from(delta) {
        return Err(invalid(format!(
            "record {delta} has attributes {attributes}, offset delta {offset_delta}"
        )));
    }
    let key = input.nullable()?;
    let value = input.nullable()?;
    let header_count = input.varint()?;
    if header_count < 0 {
        return Err(invalid(format!("{header_count} headers")));
    }
    let mut headers = Vec::new();
    for _ in 0..header_count {
        let name = input
            .nullable()?
            .ok_or_else(|| invalid("header without a name"))?;
        let name = String::from_utf8(name).map_err(|_| invalid("header name is not UTF-8"))?;
        headers.push((name, input.nullable()?));
    }
    if !input.0.is_empty() {
        return Err(invalid(format!(
            "{} bytes after the headers of record {delta}",
            input.0.len()
        )));
    }
    Ok(BatchRecord {
        timestamp_ms: base + timestamp_delta,
        key,
        value,
        headers,
    })
}

fn decompress(codec: i16, bytes: &[u8]) -> Result<(Codec, Vec<u8>), Refused> {
    let mut plain = Vec::new();
    let codec = match codec {
        0 => {
            plain.extend_from_slice(bytes);
            Codec::None
        }
        1 => {
            flate2::read::MultiGzDecoder::new(bytes)
                .read_to_end(&mut plain)
                .map_err(|error| corrupt(format!("gzip: {error}")))?;
            Codec::Gzip
        }
        2 => {
            unsnap(bytes, &mut plain)?;
            Codec::Snappy
        }
        3 => {
            // Kafka's own reader takes version 01 with independent blocks only:
            // https://github.com/apache/kafka KafkaLZ4BlockInputStream.java.
            match bytes {
                [0x04, 0x22, 0x4d, 0x18, flags, ..] if flags & 0xe0 == 0x60 => {}
                _ => {
                    return Err(corrupt(
                        "lz4: not a frame of version 01 with independent blocks",
                    ));
                }
            }
            lz4_flex::frame::FrameDecoder::new(bytes)
                .read_to_end(&mut plain)
                .map_err(|error| corrupt(format!("lz4: {error}")))?;
            Codec::Lz4
        }
        4 => {
            zstd::stream::copy_decode(bytes, &mut plain)
                .map_err(|error| corrupt(format!("zstd: {error}")))?;
            Codec::Zstd
        }
        other => {
            return Err(Refused {
                code: UNSUPPORTED_COMPRESSION_TYPE,
                why: format!("codec {other} is not known to this broker"),
            });
        }
    };
    Ok((codec, plain))
}

/// Raw snappy, or the framing of Java's library (xerial): magic, two versions, then chunks, each
/// with its length.
fn unsnap(bytes: &[u8], plain: &mut Vec<u8>) -> Result<(), Refused> {
    let mut raw = |bytes: &[u8]| {
        let chunk = snap::raw::Decoder::new().decompress_vec(bytes);
        chunk
            .map(|chunk| plain.extend(chunk))
            .map_err(|error| corrupt(format!("snappy: {error}")))
    };
    let Some(chunks) = bytes.strip_prefix(b"\x82SNAPPY\0") else {
        return raw(bytes);
    };
    let mut input = Input(chunks);
    input.take(8)?;
    while !input.0.is_empty() {
        let length = input.i32()?;
        let length = usize::try_from(length).map_err(|_| corrupt("snappy: chunk length"))?;
        raw(input.take(length)?)?;
    }
    Ok(())
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Refused> {
        let (head, rest) = self
            .0
            .split_at_checked(length)
            .ok_or_else(|| invalid(format!("{length} bytes wanted, {} left", self.0.len())))?;
        self.0 = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Refused> {
        Ok(self
            .take(N)?
            .try_into()
            .expect("take gives what was asked for"))
    }

    fn i8(&mut self) -> Result<i8, Refused> {
        Ok(i8::from_be_bytes(self.array()?))
    }

    fn i16(&mut self) -> Result<i16, Refused> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    fn i32(&mut self) -> Result<i32, Refused> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    fn i64(&mut self) -> Result<i64, Refused> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    /// Zig-zag, base 128, lowest group first.
    fn varint(&mut self) -> Result<i64, Refused> {
        let mut bits = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            bits |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok((bits >> 1) as i64 ^ -((bits & 1) as i64));
            }
        }
        Err(invalid("varint of more than 10 bytes"))
    }

    fn nullable(&mut self) -> Result<Option<Vec<u8>>, Refused> {
        match self.varint()? {
            -1 => Ok(None),
            length => {
                let length =
                    usize::try_from(length).map_err(|_| invalid(format!("length {length}")))?;
                Ok(Some(self.take(length)?.to_vec()))
            }
        }
    }
}
