//! What all partitions of a producer share to encode their record batches, and how large these may become.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::batch::Batch;
use crate::config::Compression;
use crate::kafka::protocol::compression::{Codec, Compressor};
use crate::kafka::protocol::record_batch::{BatchWriter, stamp};

/// What all partitions of a producer encode their record batches with.
#[derive(Debug)]
pub struct Encoder {
    pub(crate) writer: BatchWriter,
    compressor: Compressor,
    pub(crate) batch_bytes: usize,
    /// Buffers of acknowledged batches, to be used again.
    buffers: Vec<Vec<u8>>,
}

impl Encoder {
    /// As many as one partition has in flight at a time.
    const BUFFERS: usize = 5;

    /// An encoder that makes record batches of up to `batch_bytes`.
    pub fn new(compression: Compression, batch_bytes: usize) -> Self {
        Encoder {
            writer: BatchWriter::default(),
            compressor: Compressor::new(compression),
            batch_bytes,
            buffers: Vec::new(),
        }
    }

    /// From now on each record batch is part of a transaction.
    pub(crate) fn makes_transactional(&mut self) {
        self.writer.makes_transactional();
    }

    /// A buffer to encode into.
    pub(crate) fn buffer(&mut self) -> Vec<u8> {
        self.buffers.pop().unwrap_or_default()
    }

    /// Takes back a buffer.
    pub(crate) fn return_buffer(&mut self, buffer: Vec<u8>) {
        if self.buffers.len() < Self::BUFFERS && buffer.capacity() <= 2 * self.batch_bytes {
            self.buffers.push(buffer);
        }
    }

    /// Frees what lies idle.
    pub(crate) fn trim(&mut self) {
        self.buffers.clear();
        self.compressor.trim();
    }

    /// Ends the record batch that was written. It still must be stamped.
    pub(crate) fn finish(&mut self) -> (Arc<Vec<u8>>, i32) {
        let spare = match self.compressor.codec() {
            Codec::None => Vec::new(),
            _ => self.buffer(),
        };
        let records = self.writer.records();
        let (bytes, spare) = self.writer.finish(&mut self.compressor, spare);
        if spare.capacity() > 0 {
            self.return_buffer(spare);
        }
        (Arc::new(bytes), records)
    }

    /// Makes all of `batch` into record batches, stamped, and gives their size and the records in them.
    pub fn encode(&mut self, batch: &Batch) -> (usize, u64) {
        let (mut from, mut bytes, mut records) = (0, 0, 0);
        while from < batch.data.len() {
            let buffer = self.buffer();
            self.writer.start(buffer);
            from = self.writer.append(batch, from, self.batch_bytes);
            let (encoded, count) = self.finish();
            let mut encoded = Arc::into_inner(encoded).expect("it was just made");
            stamp(&mut encoded, None, 0);
            bytes += encoded.len();
            records += u64::from(count.unsigned_abs());
            self.return_buffer(encoded);
        }
        (bytes, records)
    }
}

/// After so long a limit that was lowered is doubled: the topic may take more by now (its
/// `max.message.bytes` can be changed at any time), and if it does not, one refused batch in
/// this time is what it costs to know.
const RAISE_AFTER: Duration = Duration::from_secs(300);
/// No lower than this; what is still too large is divided each time.
const LEAST_BYTES: usize = 16 << 10;

/// A bound of the bytes before compression, lowered when the broker finds batches too large.
#[derive(Debug, Default)]
pub(crate) struct BatchLimit {
    lowered: Option<Lowered>,
}

#[derive(Debug)]
struct Lowered {
    bytes: usize,
    raise_at: Instant,
}

impl BatchLimit {
    /// The bound for a batch that is built now; `most` is that of the configuration.
    pub(crate) fn bytes(&mut self, most: usize, now: Instant) -> usize {
        if let Some(lowered) = &mut self.lowered
            && lowered.raise_at <= now
        {
            lowered.bytes *= 2;
            lowered.raise_at = now + RAISE_AFTER;
        }
        self.lowered.take_if(|lowered| lowered.bytes >= most);
        self.lowered.as_ref().map_or(most, |lowered| lowered.bytes)
    }

    /// A batch of so many bytes was too large.
    pub(crate) fn lower(&mut self, refused: usize, now: Instant) {
        let bytes = (refused / 2).max(LEAST_BYTES);
        // The halves of a batch may be too large themselves, and older batches larger than this one.
        let bytes = self
            .lowered
            .as_ref()
            .map_or(bytes, |lowered| bytes.min(lowered.bytes));
        self.lowered = Some(Lowered {
            bytes,
            raise_at: now + RAISE_AFTER,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: usize = 512 << 10;

    #[test]
    fn a_limit_is_halved_at_each_refusal_and_never_falls_to_nothing() {
        let now = Instant::now();
        let mut limit = BatchLimit::default();
        assert_eq!(limit.bytes(MOST, now), MOST);
        let mut size = MOST;
        for expected in [256, 128, 64, 32, 16, 16, 16] {
            limit.lower(size, now);
            size /= 2;
            assert_eq!(limit.bytes(MOST, now), expected << 10);
        }
        // A larger one, sent before, says nothing new.
        limit.lower(MOST, now);
        assert_eq!(limit.bytes(MOST, now), LEAST_BYTES);
    }

    #[test]
    fn a_limit_that_was_lowered_rises_step_by_step_up_to_that_of_the_configuration() {
        let mut now = Instant::now();
        let mut limit = BatchLimit::default();
        limit.lower(MOST / 4, now);
        for expected in [64, 64, 128, 128, 256, 256, 512] {
            assert_eq!(limit.bytes(MOST, now), expected << 10);
            now += RAISE_AFTER * 2 / 3;
        }
        assert!(limit.lowered.is_none());
    }
}
