//! What all partitions of a producer share to encode their record batches.

use std::sync::Arc;

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
