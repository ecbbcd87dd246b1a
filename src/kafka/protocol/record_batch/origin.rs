//! Where a record is from, as its header says.

use crate::identity::FileTag;

/// The value of the header `at`: `TAG:OFFSET`, and `:LENGTH` where the file bytes of a record are not its value and a
/// newline.
#[derive(Debug)]
pub(super) struct Origin {
    text: [u8; ORIGIN_BYTES],
    len: usize,
}

/// A tag, two numbers, and colons between them.
const ORIGIN_BYTES: usize = 8 + 2 * 21;

impl Origin {
    pub(super) fn new(tag: FileTag) -> Self {
        let mut text = [b':'; ORIGIN_BYTES];
        for (digit, shift) in text.iter_mut().zip((0..8).rev()) {
            *digit = b"0123456789abcdef"[(tag.0 >> (4 * shift)) as usize & 15];
        }
        Origin { text, len: 8 }
    }

    /// Of a record with a value of so many bytes that was made of `len` bytes at `offset`.
    pub(super) fn set(&mut self, offset: u64, len: usize, value_len: usize) {
        self.len = 8;
        self.push(offset);
        if len != value_len + 1 {
            self.push(len as u64);
        }
    }

    fn push(&mut self, mut number: u64) {
        let mut digits = [0; 20];
        let mut at = digits.len();
        loop {
            at -= 1;
            digits[at] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                break;
            }
        }
        let digits = &digits[at..];
        self.text[self.len] = b':';
        self.len += 1;
        self.text[self.len..self.len + digits.len()].copy_from_slice(digits);
        self.len += digits.len();
    }

    pub(super) fn value(&self) -> &[u8] {
        &self.text[..self.len]
    }
}
