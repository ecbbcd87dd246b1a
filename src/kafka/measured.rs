//! The hot path of a line, for benchmarks and for the count of its instructions. No part of the API.

use std::sync::Arc;

use super::record_batch::sign;
use super::workshop::Workshop;
use crate::batch::Batch;
use crate::config::Compression;

/// Encodes record batches as a producer does, one after the other.
#[derive(Debug)]
pub struct Encoder(Workshop);

impl Encoder {
    /// An encoder that makes record batches of up to `batch_bytes`.
    pub fn new(compression: Compression, batch_bytes: usize) -> Self {
        Encoder(Workshop::new(compression, batch_bytes))
    }

    /// Makes all of `batch` into record batches, signed, and gives their size and the records in them.
    pub fn encode(&mut self, batch: &Batch) -> (usize, u64) {
        let Encoder(workshop) = self;
        let (mut from, mut bytes, mut records) = (0, 0, 0);
        while from < batch.data.len() {
            let room = workshop.room();
            workshop.writer.start(room);
            from = workshop.writer.append(batch, from, workshop.batch_bytes);
            let (encoded, count) = workshop.finish();
            let mut encoded = Arc::into_inner(encoded).expect("it was just made");
            sign(&mut encoded, None, 0);
            bytes += encoded.len();
            records += u64::from(count.unsigned_abs());
            workshop.recycle(encoded);
        }
        (bytes, records)
    }
}
