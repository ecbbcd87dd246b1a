//! Where the bytes of records are written to.

use crate::buffer::Filling;

/// Bytes, to whose end others are added.
pub trait Output {
    /// Adds a byte.
    fn push(&mut self, byte: u8);

    /// Adds bytes.
    fn extend_from_slice(&mut self, bytes: &[u8]);

    /// Has `write` put up to `most` bytes into what it is given, and say how many they are.
    fn fill(&mut self, most: usize, write: impl FnOnce(&mut [u8]) -> usize);

    /// Takes the last byte away if it is this one.
    fn drop_last(&mut self, byte: u8);
}

impl Output for Vec<u8> {
    #[inline]
    fn push(&mut self, byte: u8) {
        Vec::push(self, byte);
    }

    #[inline]
    fn extend_from_slice(&mut self, bytes: &[u8]) {
        Vec::extend_from_slice(self, bytes);
    }

    #[inline]
    fn fill(&mut self, most: usize, write: impl FnOnce(&mut [u8]) -> usize) {
        let start = self.len();
        self.resize(start + most, 0);
        let used = write(&mut self[start..]);
        self.truncate(start + used);
    }

    #[inline]
    fn drop_last(&mut self, byte: u8) {
        self.pop_if(|last| *last == byte);
    }
}

impl Output for Filling {
    #[inline]
    fn push(&mut self, byte: u8) {
        self.room(1)[0] = byte;
        self.add(1);
    }

    #[inline]
    fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.room(bytes.len())[..bytes.len()].copy_from_slice(bytes);
        self.add(bytes.len());
    }

    #[inline]
    fn fill(&mut self, most: usize, write: impl FnOnce(&mut [u8]) -> usize) {
        let used = write(self.room(most));
        self.add(used);
    }

    #[inline]
    fn drop_last(&mut self, byte: u8) {
        if self.filled().last() == Some(&byte) {
            self.cut_to(self.len() - 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::BufferPool;

    #[test]
    fn what_is_written_is_the_same_in_memory_of_either_kind() {
        fn written(out: &mut impl Output) {
            out.push(b'a');
            out.extend_from_slice(b"bc");
            out.fill(10, |room| {
                room[..2].copy_from_slice(b"d,");
                2
            });
            out.drop_last(b',');
            out.drop_last(b',');
        }
        let mut bytes = Vec::new();
        written(&mut bytes);
        let mut filling = Filling::new(&BufferPool::new());
        written(&mut filling);
        assert_eq!((&bytes[..], filling.filled()), (&b"abcd"[..], &b"abcd"[..]));
    }
}
