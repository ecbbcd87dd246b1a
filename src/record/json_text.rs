//! Strings of JSON: written from any bytes, and read back.
//!
//! What is written: `"` and `\` with a backslash; the control characters below U+0020 as `\b \t \n \f \r`, the others
//! as `\u00XX` (NUL is `\u0000`); everything else as it is, `/`, U+007F and non-ASCII too. Bytes that are no UTF-8
//! become U+FFFD, one for each maximal bad part, as WHATWG's decoder and `String::from_utf8_lossy` do.

use wide::u8x16;

use crate::record::output::Output;

/// Appends `bytes` as a JSON string with its quotes; says how many bad parts became U+FFFD.
pub fn push_string(out: &mut impl Output, bytes: &[u8]) -> usize {
    out.push(b'"');
    let bad_parts = push_chunks(out, bytes, push_escaped);
    out.push(b'"');
    bad_parts
}

/// Appends JSON text as it is, but for bad UTF-8, which becomes U+FFFD as in [`push_string`]; says how often.
pub fn push_spliced(out: &mut impl Output, text: &[u8]) -> usize {
    push_chunks(out, text, |out, good| out.extend_from_slice(good))
}

/// The bytes that the inside of a valid JSON string stands for: `inner` itself where it has no escape, else what is
/// written to `scratch`. Bad UTF-8 stays as it is.
pub fn unescaped<'a>(inner: &'a [u8], scratch: &'a mut Vec<u8>) -> &'a [u8] {
    let Some(first) = memchr::memchr(b'\\', inner) else {
        return inner;
    };
    scratch.clear();
    let (clean, mut rest) = inner.split_at(first);
    scratch.extend_from_slice(clean);
    while let Some(after) = rest.strip_prefix(b"\\") {
        rest = push_unescaped(scratch, after);
        let clean_len = memchr::memchr(b'\\', rest).unwrap_or(rest.len());
        let (clean, next) = rest.split_at(clean_len);
        scratch.extend_from_slice(clean);
        rest = next;
    }
    scratch
}

/// The place of the first byte from `at` on that a JSON string cannot hold as it is: `"`, `\` or a control character;
/// the length of `bytes` if there is none.
#[inline(always)]
pub(crate) fn next_special(bytes: &[u8], mut at: usize) -> usize {
    while let Some(block) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        match specials_of(block) {
            0 => at += BLOCK,
            specials => return at + specials.trailing_zeros() as usize,
        }
    }
    let tail = bytes.get(at..).unwrap_or_default();
    let specials = specials_of(&end_block(bytes, tail)) | 1 << tail.len();
    at + specials.trailing_zeros() as usize
}

/// A bit for each of these bytes that a JSON string cannot hold as it is; the lowest is that of the first byte.
#[inline(always)]
fn specials_of(block: &[u8; BLOCK]) -> u32 {
    let bytes = u8x16::from(*block);
    let is_control = bytes.min(u8x16::splat(0x1f)).cmp_eq(bytes);
    let is_quote = bytes.cmp_eq(u8x16::splat(b'"'));
    let is_backslash = bytes.cmp_eq(u8x16::splat(b'\\'));
    (is_control | is_quote | is_backslash).move_mask() as u32
}

#[inline]
fn is_ascii(bytes: &[u8]) -> bool {
    let (blocks, rest) = bytes.as_chunks::<BLOCK>();
    let all = blocks
        .iter()
        .fold(0, |all, block| all | u128::from_le_bytes(*block));
    all & NOT_ASCII == 0 && rest.is_ascii()
}

/// Hands the good parts of `bytes` to `push_good` and writes U+FFFD between them.
fn push_chunks<O: Output>(out: &mut O, bytes: &[u8], push_good: impl Fn(&mut O, &[u8])) -> usize {
    if is_ascii(bytes) || std::str::from_utf8(bytes).is_ok() {
        push_good(out, bytes);
        return 0;
    }
    let mut bad_parts = 0;
    for chunk in bytes.utf8_chunks() {
        push_good(out, chunk.valid().as_bytes());
        if !chunk.invalid().is_empty() {
            out.extend_from_slice(REPLACEMENT);
            bad_parts += 1;
        }
    }
    bad_parts
}

/// Appends text with what must be escaped.
fn push_escaped(out: &mut impl Output, mut text: &[u8]) {
    while !text.is_empty() {
        // Enough for a few escapes; where there are more, what is left takes another turn.
        out.fill(text.len() + ESCAPES_ROOM, |room| {
            let bytes = room.len();
            let mut left = room;
            text = copy_escaped(&mut left, text);
            bytes - left.len()
        });
    }
}

/// Copies to `room` as much of `text` as it has room for, and leaves there what is not used of it. Returns what is left
/// of the text.
#[inline]
fn copy_escaped<'t>(room: &mut &mut [u8], text: &'t [u8]) -> &'t [u8] {
    let mut left = std::mem::take(room);
    let (blocks, tail) = text.as_chunks::<BLOCK>();
    let mut done = 0;
    for block in blocks {
        let Some(written) = copy_block(left, *block, BLOCK) else {
            break;
        };
        left = &mut left[written..];
        done += BLOCK;
    }
    if done + tail.len() == text.len()
        && let Some(written) = copy_block(left, end_block(text, tail), tail.len())
    {
        left = &mut left[written..];
        done = text.len();
    }
    *room = left;
    &text[done..]
}

/// The block that begins with `tail`, the last bytes of `text`. A text that is longer than a block has them in a register
/// with a shift; a copy of variable length would be a call.
#[inline(always)]
fn end_block(text: &[u8], tail: &[u8]) -> [u8; BLOCK] {
    match text.last_chunk::<BLOCK>() {
        _ if tail.is_empty() => [0; BLOCK],
        Some(last) => (u128::from_le_bytes(*last) >> (8 * (BLOCK - tail.len()))).to_le_bytes(),
        None => {
            let mut block = [0; BLOCK];
            block[..tail.len()].copy_from_slice(tail);
            block
        }
    }
}

/// Writes the first `len` bytes of a block to `room` with what must be escaped; says how many bytes they became.
/// Nothing if there may not be room for them.
///
/// The block is stored as it is, and for each special byte what begins there is stored again, behind a backslash. So
/// most lines take the same path, though they have quotes at other places: a processor that guesses where the next one
/// is, as it must if what it does next depends on that, is wrong for each.
#[inline(always)]
fn copy_block(room: &mut [u8], bytes: [u8; BLOCK], len: usize) -> Option<usize> {
    let place = room.first_chunk_mut::<LONGEST>()?;
    let block = u128::from_le_bytes(bytes);
    place[..BLOCK].copy_from_slice(&bytes);
    let mut specials = specials_of(&bytes) & ((1 << len) - 1);
    let mut escapes = 0;
    while specials != 0 {
        let at = specials.trailing_zeros() as usize % BLOCK;
        let rest = (block >> (8 * at)).to_le_bytes();
        if rest[0] < b' ' {
            return Some(copy_bytes(place, &bytes[..len]));
        }
        let to = (at + escapes) % (2 * BLOCK);
        place[to] = b'\\';
        place[to + 1..to + 1 + BLOCK].copy_from_slice(&rest);
        specials &= specials - 1;
        escapes += 1;
    }
    Some(len + escapes)
}

/// As [`copy_block`], byte by byte.
#[cold]
fn copy_bytes(place: &mut [u8; LONGEST], bytes: &[u8]) -> usize {
    let mut at = 0;
    for &byte in bytes {
        let place = &mut place[at..at + ESCAPE];
        at += match byte {
            0..b' ' => write_control(place, byte),
            b'"' | b'\\' => {
                place[..2].copy_from_slice(&[b'\\', byte]);
                2
            }
            _ => {
                place[0] = byte;
                1
            }
        };
    }
    at
}

/// Writes the escape of a control character; says how many bytes it takes.
fn write_control(place: &mut [u8], control: u8) -> usize {
    let short = match control {
        0x08 => b'b',
        b'\t' => b't',
        b'\n' => b'n',
        0x0c => b'f',
        b'\r' => b'r',
        _ => {
            let low_digit = match control & 0x0f {
                digit @ 0..10 => b'0' + digit,
                digit => b'a' + digit - 10,
            };
            place.copy_from_slice(&[b'\\', b'u', b'0', b'0', b'0' + (control >> 4), low_digit]);
            return ESCAPE;
        }
    };
    place[..2].copy_from_slice(&[b'\\', short]);
    2
}

/// Appends what the escape stands for whose backslash has been taken off; returns what comes after it.
fn push_unescaped<'a>(scratch: &mut Vec<u8>, after: &'a [u8]) -> &'a [u8] {
    let Some((&kind, rest)) = after.split_first() else {
        return after;
    };
    let byte = match kind {
        b'b' => 0x08,
        b't' => b'\t',
        b'n' => b'\n',
        b'f' => 0x0c,
        b'r' => b'\r',
        b'u' => return push_unescaped_unicode(scratch, rest),
        itself => itself,
    };
    scratch.push(byte);
    rest
}

fn push_unescaped_unicode<'a>(scratch: &mut Vec<u8>, digits: &'a [u8]) -> &'a [u8] {
    let Some((unit, mut rest)) = split_hex4(digits) else {
        return digits;
    };
    let mut code = u32::from(unit);
    let low = rest.strip_prefix(b"\\u").and_then(split_hex4);
    if let (0xd800..0xdc00, Some((low @ 0xdc00..0xe000, after_low))) = (unit, low) {
        code = 0x1_0000 + ((u32::from(unit) - 0xd800) << 10) + (u32::from(low) - 0xdc00);
        rest = after_low;
    }
    let char = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
    scratch.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
    rest
}

/// Four hexadecimal digits at the front, and what comes after them.
pub(crate) fn split_hex4(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let (digits, rest) = bytes.split_first_chunk::<4>()?;
    let mut unit = 0;
    for &digit in digits {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            b'A'..=b'F' => digit - b'A' + 10,
            _ => return None,
        };
        unit = unit << 4 | u16::from(value);
    }
    Some((unit, rest))
}

/// As many bytes are looked at together.
const BLOCK: usize = 16;
/// The longest escape.
const ESCAPE: usize = 6;
/// What a block becomes at most.
const LONGEST: usize = BLOCK * ESCAPE;
/// More than the escapes of most lines take, and what must be there for the last block.
const ESCAPES_ROOM: usize = LONGEST + 32;

/// Bits that bytes of ASCII have not.
const NOT_ASCII: u128 = u128::MAX / 0xff * 0x80;
/// U+FFFD in UTF-8.
const REPLACEMENT: &[u8] = "\u{fffd}".as_bytes();

#[cfg(test)]
mod tests {
    use super::*;

    fn string_of(bytes: &[u8]) -> (String, usize) {
        let mut out = Vec::new();
        let bad_parts = push_string(&mut out, bytes);
        (
            String::from_utf8(out).expect("a JSON string is UTF-8"),
            bad_parts,
        )
    }

    #[test]
    fn only_what_must_be_escaped_is_escaped() {
        let cases: [(&[u8], &str); 7] = [
            (b"", r#""""#),
            (b"GET /a?b=c", r#""GET /a?b=c""#),
            (b"a\"b\\c", r#""a\"b\\c""#),
            (
                b"\x00\x01\x0b\x1f\x7f",
                "\"\\u0000\\u0001\\u000b\\u001f\x7f\"",
            ),
            (b"\x08\t\n\x0c\r", r#""\b\t\n\f\r""#),
            ("入口/é😀".as_bytes(), "\"入口/é😀\""),
            (b"12345678\"", r#""12345678\"""#),
        ];
        for (bytes, expected) in cases {
            assert_eq!(string_of(bytes), (expected.to_string(), 0));
        }
    }

    #[test]
    fn each_maximal_bad_part_becomes_one_replacement() {
        let cases: [(&[u8], &str, usize); 5] = [
            (b"a\xffb", "\"a\u{fffd}b\"", 1),
            (b"\xf0\x9f\x98", "\"\u{fffd}\"", 1),
            (b"\xf0\x9f\"", "\"\u{fffd}\\\"\"", 1),
            (b"\xc0\xaf", "\"\u{fffd}\u{fffd}\"", 2),
            (b"\xed\xa0\x80\n", "\"\u{fffd}\u{fffd}\u{fffd}\\n\"", 3),
        ];
        for (bytes, expected, bad_parts) in cases {
            assert_eq!(
                string_of(bytes),
                (expected.to_string(), bad_parts),
                "{bytes:?}"
            );
        }
    }

    #[test]
    fn every_single_byte_at_every_place_of_a_block_is_found() {
        for place in 0..40 {
            for byte in 0..=255 {
                let mut bytes = [b'x'; 40];
                bytes[place] = byte;
                let is_special = byte < 0x20 || byte == b'"' || byte == b'\\';
                let expected = if is_special { place } else { 40 };
                assert_eq!(next_special(&bytes, 0), expected, "{byte} at {place}");
            }
        }
    }

    #[test]
    fn random_bytes_read_back_as_from_utf8_lossy() {
        let mut random = fastrand::Rng::with_seed(7);
        let pool = b"ab\"\\\n\x00\x7f\x80\xbf\xc2\xc3\xe0\xe5\x85\xa5\xed\xa0\xef\xbf\xbd\xf0\x9f\x98\x80\xf4\xff";
        for _ in 0..100_000 {
            let bytes: Vec<u8> = (0..random.usize(..60))
                .map(|_| pool[random.usize(..pool.len())])
                .collect();
            let (string, bad_parts) = string_of(&bytes);
            let back: String = serde_json::from_str(&string).expect("one JSON string");
            assert_eq!(back, String::from_utf8_lossy(&bytes));
            let bad_chunks = bytes
                .utf8_chunks()
                .filter(|chunk| !chunk.invalid().is_empty())
                .count();
            assert_eq!(bad_parts, bad_chunks);
            let mut scratch = Vec::new();
            assert_eq!(
                unescaped(&string.as_bytes()[1..string.len() - 1], &mut scratch),
                back.as_bytes()
            );
        }
    }

    #[test]
    fn escapes_are_undone() {
        let mut scratch = Vec::new();
        assert_eq!(unescaped(br"plain", &mut scratch), b"plain");
        let text = unescaped(
            br#"\"\\\/\b\f\n\r\t\u00e9\uD83D\uDE00\u0000."#,
            &mut scratch,
        );
        assert_eq!(text, "\"\\/\u{8}\u{c}\n\r\té😀\0.".as_bytes());
    }
}
