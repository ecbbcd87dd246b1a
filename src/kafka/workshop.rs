//! What all partitions of a producer share to encode their record batches.

use std::sync::Arc;

use super::compression::{Codec, Compressor};
use super::record_batch::BatchWriter;
use crate::config::Compression;

/// What all partitions of a producer encode their record batches with.
#[derive(Debug)]
pub(super) struct Workshop {
    pub(super) writer: BatchWriter,
    compressor: Compressor,
    pub(super) batch_bytes: usize,
    /// Buffers of acknowledged batches, to be used again.
    rooms: Vec<Vec<u8>>,
}

impl Workshop {
    /// As many as one partition has in flight at a time.
    const ROOMS: usize = 5;

    pub(super) fn new(compression: Compression, batch_bytes: usize) -> Self {
        Workshop {
            writer: BatchWriter::default(),
            compressor: Compressor::new(compression),
            batch_bytes,
            rooms: Vec::new(),
        }
    }

    /// A buffer to encode into.
    pub(super) fn room(&mut self) -> Vec<u8> {
        self.rooms.pop().unwrap_or_default()
    }

    /// Takes back a buffer.
    pub(super) fn recycle(&mut self, room: Vec<u8>) {
        if self.rooms.len() < Self::ROOMS && room.capacity() <= 2 * self.batch_bytes {
            self.rooms.push(room);
        }
    }

    /// Frees what lies idle.
    pub(super) fn trim(&mut self) {
        self.rooms.clear();
        self.compressor.trim();
    }

    /// Ends the record batch that was written. It still must be signed.
    pub(super) fn finish(&mut self) -> (Arc<Vec<u8>>, i32) {
        let spare = match self.compressor.codec() {
            Codec::None => Vec::new(),
            _ => self.room(),
        };
        let records = self.writer.records();
        let (bytes, spare) = self.writer.finish(&mut self.compressor, spare);
        if spare.capacity() > 0 {
            self.recycle(spare);
        }
        (Arc::new(bytes), records)
    }
}
