//! Record batches of any client, as a broker gives them: format v2 alone, every length and count checked against what
//! is there, the checksum too, and unpacked within bounds.
//!
//! The layout is told in `protocol/record_batch.rs`.

use crate::kafka::protocol::compression::Codec;
use crate::kafka::protocol::wire::{Reader, WireError};

/// One batch is unpacked to so many bytes at most.
pub(crate) const MOST_UNPACKED: usize = 32 << 20;

/// Why a batch cannot be read. The next one can.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BatchError {
    /// Kafka before 0.11 wrote it.
    #[error("message format v{0}, of a client or a topic setting of Kafka before 0.11")]
    OldFormat(i8),
    /// The bytes are not those that were sent.
    #[error("its checksum is wrong")]
    Checksum,
    /// The codec is none that Kafka has.
    #[error("codec {0} is unknown")]
    Codec(i16),
    /// It cannot be unpacked.
    #[error("it cannot be unpacked: {0}")]
    Packed(String),
    /// The fields are not those of a batch.
    #[error("malformed: {0}")]
    Malformed(#[from] WireError),
}

/// A batch that is complete, as its first bytes say.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RawBatch<'a> {
    pub(crate) base_offset: i64,
    magic: i8,
    crc: u32,
    /// What the checksum covers.
    covered: &'a [u8],
}

/// What is said of all records of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchHead {
    pub(crate) base_offset: i64,
    pub(crate) last_offset: i64,
    attributes: i16,
    pub(crate) producer_id: i64,
    count: i32,
}

impl<'a> RawBatch<'a> {
    /// Takes the first batch off `bytes`; `None` if it is cut off, or there is none. `Err`: no batch begins here, and
    /// where the next one does cannot be told.
    pub(crate) fn take(bytes: &mut &'a [u8]) -> Result<Option<Self>, WireError> {
        let mut r = Reader::new(bytes, false);
        let head = |r: &mut Reader<'a>| Ok((r.i64()?, r.i32()?, r.i32()?, r.i8()?, r.i32()?));
        let (base_offset, length, _, magic, crc) = match head(&mut r) {
            Ok(head) => head,
            Err(WireError::Truncated) => return Ok(None),
            Err(error) => return Err(error),
        };
        let end = usize::try_from(length).map_err(|_| WireError::Range)? + LENGTH_ENDS;
        if end < COVERED_FROM {
            return Err(WireError::Range);
        }
        let Some((batch, rest)) = bytes.split_at_checked(end) else {
            return Ok(None);
        };
        *bytes = rest;
        Ok(Some(RawBatch {
            base_offset,
            magic,
            crc: crc as u32,
            covered: &batch[COVERED_FROM..],
        }))
    }

    /// With the checksum that its bytes have: no fuzzer finds that.
    pub(crate) fn trusted(self) -> Self {
        RawBatch {
            crc: crc32c::crc32c(self.covered),
            ..self
        }
    }

    /// The offset after its last record, whatever else is wrong with it.
    pub(crate) fn next_offset(&self) -> i64 {
        let delta = match self.magic {
            2 => Reader::new(self.covered.get(2..).unwrap_or_default(), false).i32(),
            _ => Ok(0),
        };
        let delta = delta.map_or(0, |delta| i64::from(delta.max(0)));
        self.base_offset.saturating_add(delta).saturating_add(1)
    }

    /// What is said of all its records, if they are those that were sent.
    pub(crate) fn head(&self) -> Result<BatchHead, BatchError> {
        if self.magic != 2 {
            return Err(BatchError::OldFormat(self.magic));
        }
        if crc32c::crc32c(self.covered) != self.crc {
            return Err(BatchError::Checksum);
        }
        let mut r = Reader::new(self.covered, false);
        let attributes = r.i16()?;
        let last_delta = r.i32()?;
        r.bytes(16)?; // first and largest time
        let producer_id = r.i64()?;
        r.i16()?; // producer epoch
        r.i32()?; // base sequence
        let count = r.i32()?;
        if last_delta < 0 || count < 0 {
            return Err(WireError::Range.into());
        }
        let last_offset = self.base_offset.checked_add(i64::from(last_delta));
        Ok(BatchHead {
            base_offset: self.base_offset,
            last_offset: last_offset.ok_or(WireError::Range)?,
            attributes,
            producer_id,
            count,
        })
    }

    /// Unpacks its records into `room`.
    pub(crate) fn unpack<'r>(
        &'r self,
        head: &BatchHead,
        room: &'r mut Vec<u8>,
    ) -> Result<Records<'r>, BatchError> {
        let packed = self.covered.get(HEAD_BYTES..).ok_or(WireError::Truncated)?;
        let codec = Codec::of_attributes(head.attributes);
        let bytes = match codec.ok_or(BatchError::Codec(head.attributes & 7))? {
            Codec::None => packed,
            codec => {
                room.clear();
                let unpacked = codec.decompress(packed, room, MOST_UNPACKED);
                unpacked.map_err(|error| BatchError::Packed(error.to_string()))?;
                &room[..]
            }
        };
        Ok(Records {
            head: *head,
            r: Reader::new(bytes, false),
            left: head.count,
        })
    }
}

impl BatchHead {
    /// A marker of the end of a transaction, and no data.
    pub(crate) fn is_control(&self) -> bool {
        self.attributes & 0x20 != 0
    }

    /// Of a transaction.
    pub(crate) fn is_transactional(&self) -> bool {
        self.attributes & 0x10 != 0
    }

    /// Records that it says it has.
    pub(crate) fn records(&self) -> u64 {
        u64::from(self.count.unsigned_abs())
    }
}

/// The records of a batch, in their order.
#[derive(Debug)]
pub(crate) struct Records<'a> {
    head: BatchHead,
    r: Reader<'a>,
    left: i32,
}

/// One record.
#[derive(Debug, Clone)]
pub(crate) struct Record<'a> {
    pub(crate) offset: i64,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    /// The producer id, if it is of a transaction.
    pub(crate) transaction: Option<i64>,
    headers: Reader<'a>,
}

impl<'a> Records<'a> {
    /// The next one. After an error there is none.
    pub(crate) fn take(&mut self) -> Result<Option<Record<'a>>, BatchError> {
        if self.left == 0 {
            let rest = std::mem::replace(&mut self.r, Reader::new(&[], false));
            rest.end()?;
            return Ok(None);
        }
        self.left -= 1;
        let record = self.read();
        if record.is_err() {
            (self.left, self.r) = (0, Reader::new(&[], false));
        }
        Ok(Some(record?))
    }

    fn read(&mut self) -> Result<Record<'a>, WireError> {
        let length = usize::try_from(self.r.varint()?).map_err(|_| WireError::Range)?;
        let mut r = Reader::new(self.r.bytes(length)?, false);
        r.i8()?; // attributes, of which there are none
        r.varint()?; // time
        let delta = r.varint()?;
        if !(0..=self.head.last_offset - self.head.base_offset).contains(&delta) {
            return Err(WireError::Range);
        }
        let is_transactional = self.head.is_transactional();
        let key = nullable(&mut r)?;
        let value = nullable(&mut r)?;
        let headers = r.clone();
        for _ in 0..usize::try_from(r.varint()?).map_err(|_| WireError::Range)? {
            r.sized()?;
            r.sized()?;
        }
        r.end()?;
        Ok(Record {
            offset: self.head.base_offset + delta,
            key,
            value,
            transaction: is_transactional.then_some(self.head.producer_id),
            headers,
        })
    }
}

impl<'a> Record<'a> {
    /// One with a key alone.
    #[cfg(test)]
    pub(crate) fn of_key(key: &'a [u8], transaction: Option<i64>) -> Self {
        Record {
            offset: 0,
            key: Some(key),
            value: None,
            transaction,
            headers: Reader::new(&[0], false),
        }
    }

    /// One with a value and headers, as they are in a batch.
    #[cfg(test)]
    pub(crate) fn of_value(value: &'a [u8], headers: &'a [u8]) -> Self {
        Record {
            key: None,
            value: Some(value),
            headers: Reader::new(headers, false),
            ..Self::of_key(&[], None)
        }
    }

    /// The headers: name and value, an empty one for none.
    pub(crate) fn headers(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let mut r = self.headers.clone();
        let count = r.varint().unwrap_or(0);
        (0..count).map_while(move |_| Some((r.sized().ok()?, r.sized().ok()?)))
    }
}

fn nullable<'a>(r: &mut Reader<'a>) -> Result<Option<&'a [u8]>, WireError> {
    match r.varint()? {
        -1 => Ok(None),
        len => {
            let len = usize::try_from(len).map_err(|_| WireError::Range)?;
            r.bytes(len).map(Some)
        }
    }
}

/// Which batches of a partition are data of transactions that count, by the list of aborted ones that came with
/// them. The markers end what the list has begun.
#[derive(Debug)]
pub(crate) struct Committed {
    /// Those that have not begun yet, the last one first.
    aborted: Vec<(i64, i64)>,
    /// Producers whose transaction was aborted.
    aborting: Vec<i64>,
}

/// What a batch is to who reads what was committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Data,
    /// Of the end of a transaction; `true`: it was committed.
    Marker(bool),
    Aborted,
}

impl Committed {
    /// Producer id and first offset of each transaction that was aborted.
    pub(crate) fn new(mut aborted: Vec<(i64, i64)>) -> Self {
        aborted.sort_unstable_by_key(|&(_, first)| std::cmp::Reverse(first));
        Committed {
            aborted,
            aborting: Vec::new(),
        }
    }

    /// What the next batch is.
    pub(crate) fn kind(
        &mut self,
        raw: &RawBatch<'_>,
        head: &BatchHead,
    ) -> Result<Kind, BatchError> {
        while let Some(&(producer, first)) = self.aborted.last()
            && first <= head.last_offset
        {
            self.aborted.pop();
            self.aborting.push(producer);
        }
        if head.is_control() {
            let mut room = Vec::new();
            let marker = raw.unpack(head, &mut room)?.take()?;
            let key = marker.and_then(|marker| marker.key).unwrap_or_default();
            // Version, then 0 for an abort and 1 for a commit.
            if let [_, _, 0, 0, ..] = key {
                self.aborting
                    .retain(|&producer| producer != head.producer_id);
            }
            return Ok(Kind::Marker(matches!(key, [_, _, 0, 1, ..])));
        }
        let is_aborted = head.is_transactional() && self.aborting.contains(&head.producer_id);
        Ok(match is_aborted {
            true => Kind::Aborted,
            false => Kind::Data,
        })
    }
}

/// Where the length of a batch has been read.
const LENGTH_ENDS: usize = 12;
/// Where what the checksum covers begins.
const COVERED_FROM: usize = 21;
/// Bytes before the records, from there on.
const HEAD_BYTES: usize = 61 - COVERED_FROM;

#[cfg(test)]
mod tests;
