//! The buffers that file bytes are read into.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::BytesMut;

use crate::memory;

/// Read buffers that are used again and again, so that a busy file does not fault new pages in for every
/// read.
///
/// They are cut from blocks so large that the allocator maps each by itself, whatever it has learned
/// (`DEFAULT_MMAP_THRESHOLD_MAX` of mallopt(3)): from the heaps that it has for groups of threads, buffers
/// that one thread takes and another gives back would leave holes of half as much again. The blocks go back
/// as a whole, once no buffer is in use.
#[derive(Debug, Default)]
pub struct BufferPool {
    blocks: Mutex<Blocks>,
}

#[derive(Debug, Default)]
struct Blocks {
    /// What is left of the last block.
    rest: BytesMut,
    /// Buffers that lie idle.
    idle: Vec<BytesMut>,
    in_use: usize,
}

impl BufferPool {
    /// The usual size of a read, and the only size that is kept.
    pub const BUFFER_BYTES: usize = 256 << 10;
    const BLOCK_BYTES: usize = 34 << 20;
    /// So many buffers are kept when none is in use, for a file that is read from time to time.
    const KEPT: usize = 16;

    /// An empty pool.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// A buffer of `bytes` bytes, whose content is left over or zero.
    pub fn buffer(self: &Arc<Self>, bytes: usize) -> Buffer {
        let is_usual = bytes <= Self::BUFFER_BYTES && bytes > Self::BUFFER_BYTES / 4;
        Buffer {
            bytes: match is_usual {
                true => self.blocks().take(),
                // Zeroed memory comes from the kernel without being touched.
                false => memory::zeroed(bytes),
            },
            len: bytes,
            pool: self.clone(),
        }
    }

    fn blocks(&self) -> MutexGuard<'_, Blocks> {
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Blocks {
    fn take(&mut self) -> BytesMut {
        self.in_use += 1;
        if let Some(buffer) = self.idle.pop() {
            return buffer;
        }
        if self.rest.len() < BufferPool::BUFFER_BYTES {
            self.rest = memory::zeroed(BufferPool::BLOCK_BYTES);
        }
        self.rest.split_to(BufferPool::BUFFER_BYTES)
    }

    /// Takes a buffer back; what the answer holds is to be dropped without the lock.
    fn put(&mut self, buffer: BytesMut) -> Option<Blocks> {
        self.in_use -= 1;
        self.idle.push(buffer);
        let is_much = self.in_use == 0 && self.idle.len() > BufferPool::KEPT;
        is_much.then(|| std::mem::take(self))
    }
}

/// Bytes read from a file. The memory goes back to its pool when dropped.
#[derive(Debug)]
pub struct Buffer {
    bytes: BytesMut,
    len: usize,
    pool: Arc<BufferPool>,
}

impl Buffer {
    /// Keeps the first `len` bytes.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.len]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.bytes.len() == BufferPool::BUFFER_BYTES {
            let unused = self.pool.blocks().put(std::mem::take(&mut self.bytes));
            drop(unused);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again() {
        let pool = BufferPool::new();
        let address = pool.buffer(BufferPool::BUFFER_BYTES).as_ptr();
        let again = pool.buffer(200_000);
        assert_eq!((again.as_ptr(), again.len()), (address, 200_000));
        assert_eq!(again.bytes.len(), BufferPool::BUFFER_BYTES);
        assert_eq!(pool.buffer(10).len(), 10);
    }

    #[test]
    fn many_buffers_are_freed_once_none_is_in_use() {
        let pool = BufferPool::new();
        let few: Vec<_> = (0..BufferPool::KEPT)
            .map(|_| pool.buffer(BufferPool::BUFFER_BYTES))
            .collect();
        drop(few);
        assert_eq!(pool.blocks().idle.len(), BufferPool::KEPT);
        // More than a block has room for.
        let count = BufferPool::BLOCK_BYTES / BufferPool::BUFFER_BYTES + 1;
        let mut many: Vec<_> = (0..count)
            .map(|_| pool.buffer(BufferPool::BUFFER_BYTES))
            .collect();
        let last = many.pop();
        drop(many);
        assert_eq!(pool.blocks().idle.len(), count - 1);
        drop(last);
        assert!(pool.blocks().idle.is_empty() && pool.blocks().rest.is_empty());
    }
}
