//! Numbers of variable length, as records have them (zigzag for those with a sign).

/// Up to eight bytes that are put together in a register: a few of them are shorter than what a store of each, and a
/// load of all that waits for the stores, would take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Word {
    /// The first byte is the lowest; those above `len` are zero.
    bytes: u64,
    len: usize,
}

impl Word {
    /// One byte.
    pub(super) fn byte(byte: u8) -> Self {
        Word {
            bytes: u64::from(byte),
            len: 1,
        }
    }

    /// A number below [`Word::BELOW`].
    #[inline(always)]
    pub(super) fn varint(value: u64) -> Self {
        debug_assert!(value < Self::BELOW, "{value} takes more than eight bytes");
        match value {
            ..0x80 => Word {
                bytes: value,
                len: 1,
            },
            0x80..0x4000 => Word {
                bytes: value & 0x7f | 0x80 | (value & 0x3f80) << 1,
                len: 2,
            },
            _ => Self::long_varint(value),
        }
    }

    fn long_varint(mut value: u64) -> Self {
        let (mut bytes, mut len) = (0, 0);
        while value >= 0x80 {
            bytes |= (value & 0x7f | 0x80) << (8 * len);
            value >>= 7;
            len += 1;
        }
        Word {
            bytes: bytes | value << (8 * len),
            len: len + 1,
        }
    }

    #[inline(always)]
    pub(super) fn len(self) -> usize {
        self.len
    }

    /// This one and `next` behind it, if they are eight bytes at most.
    #[inline(always)]
    pub(super) fn then(self, next: Self) -> Option<Self> {
        let len = self.len + next.len;
        (len <= Self::MOST).then(|| Word {
            bytes: self.bytes | next.bytes << (8 * self.len),
            len,
        })
    }

    /// Appends it. A copy of constant size is one store, one of variable size a call.
    #[inline(always)]
    pub(super) fn append_to(self, bytes: &mut Vec<u8>) {
        let end = bytes.len() + self.len;
        bytes.extend_from_slice(&self.bytes.to_le_bytes());
        bytes.truncate(end);
    }

    /// How many bytes it may have.
    const MOST: usize = 8;
    /// Numbers below this have no more than so many.
    pub(super) const BELOW: u64 = 1 << (7 * Self::MOST);
}

/// Appends any number.
pub(super) fn push_varint(block: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        block.push(value as u8 | 0x80);
        value >>= 7;
    }
    block.push(value as u8);
}

pub(super) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

#[inline(always)]
pub(super) fn varint_len(value: u64) -> usize {
    (70 - (value | 1).leading_zeros() as usize) / 7
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_has_the_bytes_that_are_pushed_one_by_one() {
        for bits in 0..56 {
            for value in [1 << bits, (1 << bits) - 1, (1 << bits) | 1] {
                let (mut words, mut pushed) = (vec![7], vec![7]);
                let word = Word::varint(value);
                word.append_to(&mut words);
                push_varint(&mut pushed, value);
                assert_eq!(words, pushed, "{value}");
                assert_eq!(words.len(), 1 + varint_len(value));
                let two = Word::byte(9).then(word);
                assert_eq!(two.is_some(), varint_len(value) < Word::MOST, "{value}");
                if let Some(two) = two {
                    words.clear();
                    two.append_to(&mut words);
                    assert_eq!((words[0], &words[1..]), (9, &pushed[1..]));
                }
            }
        }
    }
}
