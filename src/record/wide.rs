//! 16-bit text: its byte order, and where its lines and characters end.
//!
//! A file position in 16-bit text is even, so whatever is read from there has its units at even places. A newline is
//! the unit 0x000A: the byte 0x0A alone tells nothing, since it is half of many characters (U+0A05, U+010A).

use std::ops::Range;

/// Which byte of a unit comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteOrder {
    /// The lower byte (`a` is `61 00`).
    Little,
    /// The upper byte (`a` is `00 61`).
    Big,
}

impl ByteOrder {
    /// What the byte order mark says with which a file begins. `None`: there is none, or not both bytes of it yet.
    ///
    /// Useful for each file whatever its encoding is said to be: one that begins so is 16-bit text.
    pub fn of_mark(head: &[u8]) -> Option<ByteOrder> {
        match head {
            [0xff, 0xfe, ..] => Some(ByteOrder::Little),
            [0xfe, 0xff, ..] => Some(ByteOrder::Big),
            _ => None,
        }
    }

    /// The bytes at a file's beginning that are its byte order mark and no part of the first line: 0 or 2.
    pub fn mark_len(self, head: &[u8]) -> usize {
        match Self::of_mark(head) {
            Some(order) if order == self => 2,
            _ => 0,
        }
    }

    /// Where the first line of `data` ends, its newline included, that has not ended before `from`. Both begin at
    /// an even place of the file.
    #[inline]
    pub fn find_line_end(self, data: &[u8], from: usize) -> Option<usize> {
        let mut at = from;
        loop {
            let found = at + memchr::memchr(b'\n', data.get(at..)?)?;
            let unit = found & !1;
            if self.unit(data.get(unit..unit + 2)?.try_into().ok()?) == NEWLINE {
                return Some(unit + 2);
            }
            at = found + 1;
        }
    }

    /// Where the last line of `data` ends that ends at all, its newline included. `data` begins at an even place of
    /// the file.
    pub fn find_last_line_end(self, data: &[u8]) -> Option<usize> {
        let mut end = data.len();
        loop {
            let found = memchr::memrchr(b'\n', data.get(..end)?)?;
            let unit = found & !1;
            let bytes = data.get(unit..unit + 2).and_then(|two| two.try_into().ok());
            if bytes.is_some_and(|two| self.unit(two) == NEWLINE) {
                return Some(unit + 2);
            }
            end = found;
        }
    }

    /// The last place at or before `at` where `data` may be cut in two without cutting a character.
    pub fn floor(self, data: &[u8], at: usize) -> usize {
        let even = at.min(data.len()) & !1;
        let before = even.checked_sub(2).and_then(|begin| data.get(begin..even));
        let unit = before.and_then(|two| Some(self.unit(two.try_into().ok()?)));
        match unit {
            Some(unit) if FIRST_HALVES.contains(&unit) => even - 2,
            _ => even,
        }
    }

    #[inline]
    fn unit(self, bytes: [u8; 2]) -> u16 {
        match self {
            ByteOrder::Little => u16::from_le_bytes(bytes),
            ByteOrder::Big => u16::from_be_bytes(bytes),
        }
    }
}

const NEWLINE: u16 = 0x0a;
/// The first unit of a character above U+FFFF.
const FIRST_HALVES: Range<u16> = 0xd800..0xdc00;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::decode::Decoder;
    use crate::record::encoding::Encoding;

    const BOTH: [ByteOrder; 2] = [ByteOrder::Little, ByteOrder::Big];

    fn written(order: ByteOrder, units: &[u16]) -> Vec<u8> {
        let bytes = units.iter().flat_map(|unit| match order {
            ByteOrder::Little => unit.to_le_bytes(),
            ByteOrder::Big => unit.to_be_bytes(),
        });
        bytes.collect()
    }

    #[test]
    fn a_newline_is_no_half_of_other_characters() {
        for order in BOTH {
            let units = [
                0x0a0a, 0x0a05, 0x010a, 0x0a00, 0x000d, 0x000a, 0x0a0a, 0x000a,
            ];
            let data = written(order, &units);
            assert_eq!(order.find_line_end(&data, 0), Some(12));
            assert_eq!(order.find_line_end(&data, 12), Some(16));
            assert_eq!(order.find_line_end(&data, 16), None);
            assert_eq!(order.find_line_end(&data[..15], 12), None);
            assert_eq!(order.find_last_line_end(&data), Some(16));
            assert_eq!(order.find_last_line_end(&data[..15]), Some(12));
            assert_eq!(order.find_last_line_end(&data[..11]), None);
        }
    }

    #[test]
    fn lines_and_characters_are_as_a_plain_reading_has_them() {
        let mut random = fastrand::Rng::with_seed(3);
        for round in 0..60_000 {
            let order = BOTH[round % 2];
            let units: Vec<u16> = (0..random.usize(..40))
                .map(|_| match random.u8(..8) {
                    0 => 0x0a,
                    1 => 0x0a0a,
                    2 => random.u16(..),
                    3 => random.u16(0xd800..0xe000),
                    _ => random.u16(..0x80),
                })
                .collect();
            let mut data = written(order, &units);
            let (mut ends, mut from) = (Vec::new(), 0);
            while let Some(end) = order.find_line_end(&data, from) {
                ends.push(end);
                from = end;
            }
            let expected: Vec<usize> = (1..=units.len())
                .filter(|end| units[end - 1] == 0x0a)
                .map(|end| 2 * end)
                .collect();
            assert_eq!(ends, expected, "{units:x?}");
            assert_eq!(order.find_last_line_end(&data), expected.last().copied());

            let mut text = String::from_utf16_lossy(&units);
            let mut bad = char::decode_utf16(units.iter().copied())
                .filter(Result::is_err)
                .count();
            if round % 3 == 0 {
                data.push(random.u8(..));
                // Half a pair at the end and half a unit are one bad part.
                if !units.last().is_some_and(|unit| FIRST_HALVES.contains(unit)) {
                    text.push('\u{fffd}');
                    bad += 1;
                }
            }
            let encoding = match order {
                ByteOrder::Little => Encoding::Utf16Le,
                ByteOrder::Big => Encoding::Utf16Be,
            };
            let decoder = Decoder::new(encoding, b"").expect("needs no mark");
            let mut out = Vec::new();
            assert_eq!(decoder.decode(&data, &mut out), bad, "{units:x?} {data:x?}");
            assert_eq!(String::from_utf8(out).expect("is UTF-8"), text);
            let cut = order.floor(&data, random.usize(..=data.len()));
            let mut halves = Vec::new();
            let bad_in_halves = decoder.decode(&data[..cut], &mut halves)
                + decoder.decode(&data[cut..], &mut halves);
            assert_eq!(
                (bad_in_halves, String::from_utf8(halves).expect("is UTF-8")),
                (bad, text)
            );
        }
    }

    #[test]
    fn a_mark_is_known_by_its_order() {
        assert_eq!(ByteOrder::of_mark(b"\xff\xfea\0"), Some(ByteOrder::Little));
        assert_eq!(ByteOrder::of_mark(b"\xff"), None);
        assert_eq!(ByteOrder::Little.mark_len(b"\xff\xfe"), 2);
        assert_eq!(ByteOrder::Big.mark_len(b"\xff\xfe"), 0);
        assert_eq!(ByteOrder::Big.mark_len(b"\0a"), 0);
    }
}
