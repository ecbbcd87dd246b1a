//! Our own record batches taken apart.

use crate::batch::push_sized;
use crate::kafka::protocol::compression::Codec;
use crate::kafka::protocol::wire::{Reader, WireError};

/// The records of one of our own batches, for when it must be taken apart.
#[derive(Debug)]
pub(crate) struct Unpacked {
    first_timestamp: i64,
    records: Vec<u8>,
}

/// One record of an [`Unpacked`] batch.
#[derive(Debug)]
pub(crate) struct RawRecord<'a> {
    pub(crate) timestamp: i64,
    /// Key, value and headers as they are encoded.
    pub(in crate::kafka::protocol) rest: &'a [u8],
    /// Of these the headers, with their count.
    pub(in crate::kafka::protocol) headers: &'a [u8],
    pub(crate) value: &'a [u8],
}

/// Key and value as a record has them, without headers.
pub(crate) fn encoded_parts(key: &[u8], value: Option<&[u8]>) -> Vec<u8> {
    let mut parts = Vec::with_capacity(key.len() + value.map_or(0, <[u8]>::len) + 12);
    push_sized(&mut parts, key);
    match value {
        Some(value) => push_sized(&mut parts, value),
        // A length of -1.
        None => parts.push(1),
    }
    parts.push(0);
    parts
}

impl<'a> RawRecord<'a> {
    /// A record of [`encoded_parts`].
    pub(crate) fn encoded(timestamp: i64, parts: &'a [u8]) -> Self {
        RawRecord {
            timestamp,
            rest: parts,
            headers: &[],
            value: &[],
        }
    }

    /// A record of which only the value matters.
    #[cfg(test)]
    pub(crate) fn of_value(value: &'a [u8]) -> Self {
        RawRecord {
            timestamp: 0,
            rest: &[],
            headers: &[],
            value,
        }
    }
}

impl Unpacked {
    /// Unpacks `batch`, which [`BatchWriter`](super::BatchWriter) has written.
    pub(crate) fn of(batch: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(batch, false);
        r.bytes(21)?;
        let codec = Codec::of_attributes(r.i16()?).ok_or(WireError::Range)?;
        r.i32()?;
        let first_timestamp = r.i64()?;
        r.bytes(HEAD_BYTES - 35)?;
        let mut records = Vec::new();
        codec
            .decompress(r.rest(), &mut records, usize::MAX)
            .map_err(|_| WireError::Range)?;
        Ok(Unpacked {
            first_timestamp,
            records,
        })
    }

    /// Size of its records before compression.
    pub(crate) fn bytes(&self) -> usize {
        self.records.len()
    }

    /// The records in order.
    pub(crate) fn records(&self) -> Result<Vec<RawRecord<'_>>, WireError> {
        let mut r = Reader::new(&self.records, false);
        let mut records = Vec::new();
        while !r.rest().is_empty() {
            let length = usize::try_from(r.varint()?).map_err(|_| WireError::Range)?;
            let mut body = Reader::new(r.bytes(length)?, false);
            body.i8()?;
            let timestamp = self.first_timestamp.wrapping_add(body.varint()?);
            body.varint()?; // offset delta
            let rest = body.rest();
            let key = usize::try_from(body.varint()?).unwrap_or(0);
            body.bytes(key)?;
            let value = usize::try_from(body.varint()?).unwrap_or(0);
            let value = body.bytes(value)?;
            records.push(RawRecord {
                timestamp,
                rest,
                headers: body.rest(),
                value,
            });
        }
        Ok(records)
    }
}

/// Bytes of a record batch before its records.
pub(in crate::kafka::protocol) const HEAD_BYTES: usize = 61;
/// The bit of the attributes that makes a batch part of a transaction.
pub(super) const TRANSACTIONAL: i16 = 1 << 4;
