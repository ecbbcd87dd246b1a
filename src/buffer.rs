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
    /// What is not larger is no buffer of the usual size.
    const SMALL: usize = Self::BUFFER_BYTES / 4;
    const BLOCK_BYTES: usize = 34 << 20;
    /// So many buffers are kept when none is in use, for a file that is read from time to time.
    const KEPT: usize = 16;

    /// An empty pool.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// A buffer of `bytes` bytes, whose content is left over or zero.
    pub fn buffer(self: &Arc<Self>, bytes: usize) -> Buffer {
        let is_usual = bytes <= Self::BUFFER_BYTES && bytes > Self::SMALL;
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

    fn is_usual(&self) -> bool {
        self.bytes.len() == BufferPool::BUFFER_BYTES
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
        if self.is_usual() {
            let unused = self.pool.blocks().put(std::mem::take(&mut self.bytes));
            drop(unused);
        }
    }
}

/// Memory that is filled from its beginning on, as much as is needed, and handed out as buffers.
#[derive(Debug)]
pub struct Filling {
    buffer: Buffer,
    len: usize,
    /// As much as will be written, perhaps.
    expected: usize,
}

impl Filling {
    /// Nothing yet; memory comes from `pool`.
    pub fn new(pool: &Arc<BufferPool>) -> Self {
        Filling {
            buffer: pool.buffer(0),
            len: 0,
            expected: 0,
        }
    }

    /// About so many bytes will be written until [`Filling::rest`].
    pub fn expect(&mut self, bytes: usize) {
        self.expected = bytes;
    }

    /// How many bytes were written since [`Filling::take`].
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether that is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What was written.
    #[inline]
    pub fn filled(&self) -> &[u8] {
        &self.buffer[..self.len]
    }

    /// Memory for `bytes` bytes or more behind what was written; [`Filling::add`] says how many were used.
    #[inline]
    pub fn room(&mut self, bytes: usize) -> &mut [u8] {
        if self.buffer.len - self.len < bytes {
            self.grow(bytes);
        }
        &mut self.buffer[self.len..]
    }

    /// Counts what was written to the room.
    #[inline]
    pub fn add(&mut self, bytes: usize) {
        debug_assert!(bytes <= self.buffer.len - self.len);
        self.len += bytes;
    }

    /// Keeps the first `len` bytes.
    pub fn cut_to(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self, more: usize) {
        let least = self.len + more;
        let bytes = match least.max(self.expected) {
            few @ ..=BufferPool::SMALL => (2 * few).clamp(Self::LEAST, BufferPool::SMALL),
            _ if least <= BufferPool::BUFFER_BYTES => BufferPool::BUFFER_BYTES,
            _ => 2 * least,
        };
        let mut grown = self.buffer.pool.buffer(bytes);
        grown[..self.len].copy_from_slice(&self.buffer[..self.len]);
        self.buffer = grown;
    }

    /// What was written. Begins anew.
    pub fn take(&mut self) -> Buffer {
        let len = std::mem::take(&mut self.len);
        let pool = self.buffer.pool.clone();
        if self.buffer.is_usual() && len > BufferPool::SMALL {
            let mut full = std::mem::replace(&mut self.buffer, pool.buffer(0));
            full.truncate(len);
            return full;
        }
        let mut buffer = pool.buffer(len);
        buffer.copy_from_slice(&self.buffer[..len]);
        buffer
    }

    /// Nothing is written for now: much memory is given back.
    pub fn rest(&mut self) {
        (self.len, self.expected) = (0, 0);
        if self.buffer.len > BufferPool::SMALL {
            self.buffer = self.buffer.pool.buffer(0);
        }
    }

    const LEAST: usize = 4 << 10;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_filled_is_handed_out_as_it_lies_or_in_memory_of_its_size() {
        let pool = BufferPool::new();
        let mut filling = Filling::new(&pool);
        for bytes in [
            0, 1, 5_000, 65_536, 65_537, 200_000, 262_144, 262_145, 900_000,
        ] {
            let text: Vec<u8> = (0..bytes).map(|at| at as u8).collect();
            for step in [7_001, 300_000] {
                filling.expect(bytes / 2);
                for part in text.chunks(step) {
                    filling.room(part.len())[..part.len()].copy_from_slice(part);
                    filling.add(part.len());
                }
                assert_eq!((filling.len(), filling.is_empty()), (bytes, bytes == 0));
                let address = filling.filled().as_ptr();
                let buffer = filling.take();
                assert!(*buffer == *text, "{bytes} bytes in steps of {step}");
                let is_usual = bytes > BufferPool::SMALL && bytes <= BufferPool::BUFFER_BYTES;
                assert_eq!(buffer.as_ptr() == address && bytes > 0, is_usual);
                assert_eq!(buffer.is_usual(), is_usual);
                let most = if is_usual {
                    BufferPool::BUFFER_BYTES
                } else {
                    bytes
                };
                assert_eq!(buffer.bytes.len(), most);
                filling.rest();
                assert!(filling.buffer.len <= BufferPool::SMALL);
            }
        }
    }

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
