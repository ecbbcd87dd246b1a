//! Decoding: the bytes of a line become UTF-8, whatever they are.
//!
//! Each line is decoded by itself, which is right since no encoding here carries a state from one line to the next.
//! A part that is no character becomes U+FFFD and is counted; nothing else of the line is lost by it: a byte below
//! 0x80 after a broken first half stays. No byte 0x0A is ever the second half of a character, so lines of all
//! encodings but the 16-bit ones are found as in UTF-8.

use crate::record::encoding::Encoding;
use crate::record::wide::ByteOrder;

/// What the lines of one file are decoded with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decoder(How);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    AsItIs,
    Latin1,
    Wide(ByteOrder),
    Table(&'static encoding_rs::Encoding),
}

/// `encoding = utf-16`, and the file does not begin with a byte order mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoByteOrderMark;

impl Decoder {
    /// Leaves lines as they are.
    pub const UTF_8: Decoder = Decoder(How::AsItIs);

    /// What decodes a file that begins with `head`. Of a file of [`Encoding::Utf16`] these are its first 2 bytes,
    /// wherever the reader stands; of others nothing is looked at.
    ///
    /// # Errors
    /// If the byte order is asked of the file and it does not tell. With less than 2 bytes it may still do so.
    pub fn new(encoding: Encoding, head: &[u8]) -> Result<Decoder, NoByteOrderMark> {
        Ok(Decoder(match encoding {
            Encoding::Utf8 => How::AsItIs,
            Encoding::Utf16Le => How::Wide(ByteOrder::Little),
            Encoding::Utf16Be => How::Wide(ByteOrder::Big),
            Encoding::Utf16 => How::Wide(ByteOrder::of_mark(head).ok_or(NoByteOrderMark)?),
            Encoding::Gbk => How::Table(encoding_rs::GBK),
            Encoding::Gb18030 => How::Table(encoding_rs::GB18030),
            Encoding::Big5 => How::Table(encoding_rs::BIG5),
            Encoding::ShiftJis => How::Table(encoding_rs::SHIFT_JIS),
            Encoding::EucJp => How::Table(encoding_rs::EUC_JP),
            Encoding::EucKr => How::Table(encoding_rs::EUC_KR),
            // What encoding_rs has under this name is windows-1252.
            Encoding::Latin1 => How::Latin1,
            Encoding::Windows1251 => How::Table(encoding_rs::WINDOWS_1251),
            Encoding::Windows1252 => How::Table(encoding_rs::WINDOWS_1252),
            Encoding::Koi8R => How::Table(encoding_rs::KOI8_R),
        }))
    }

    /// Whether lines go out as they are, so that [`Decoder::decode`] need not be asked.
    #[inline]
    pub fn is_as_it_is(self) -> bool {
        self.0 == How::AsItIs
    }

    /// The byte order, if a newline takes two bytes.
    #[inline]
    pub fn byte_order(self) -> Option<ByteOrder> {
        match self.0 {
            How::Wide(order) => Some(order),
            _ => None,
        }
    }

    /// How many bytes at the end of `piece` are the beginning of a character that goes on behind it.
    pub fn unfinished(self, piece: &[u8]) -> usize {
        let How::Table(table) = self.0 else {
            return 0;
        };
        let mut decoder = table.new_decoder_without_bom_handling();
        let (mut rest, mut room) = (piece, [0; 1 << 10]);
        loop {
            let is_end = rest.is_empty();
            let (result, read, _) =
                decoder.decode_to_utf8_without_replacement(rest, &mut room, is_end);
            rest = rest.get(read..).unwrap_or_default();
            match result {
                encoding_rs::DecoderResult::InputEmpty if is_end => return 0,
                encoding_rs::DecoderResult::Malformed(bad, _) if is_end => {
                    return usize::from(bad).min(piece.len());
                }
                _ => {}
            }
        }
    }

    /// Adds `line`, one line or several, to `out` as UTF-8. Returns how many parts were no characters, each of
    /// which became a U+FFFD: half a pair of 16-bit units is one, and an odd byte at the end.
    #[inline]
    pub fn decode(self, line: &[u8], out: &mut Vec<u8>) -> usize {
        match self.0 {
            How::Wide(ByteOrder::Little) => with_table(encoding_rs::UTF_16LE, line, out),
            How::Wide(ByteOrder::Big) => with_table(encoding_rs::UTF_16BE, line, out),
            How::Table(table) if !line.is_ascii() => with_table(table, line, out),
            How::Latin1 if !line.is_ascii() => latin1(line, out),
            // What is ASCII is ASCII in all of these.
            How::AsItIs | How::Table(_) | How::Latin1 => {
                out.extend_from_slice(line);
                0
            }
        }
    }
}

/// Each byte is the character of its number.
fn latin1(line: &[u8], out: &mut Vec<u8>) -> usize {
    let begin = out.len();
    out.resize(begin + 2 * line.len(), 0);
    let free = out.get_mut(begin..).unwrap_or_default();
    let written = encoding_rs::mem::convert_latin1_to_utf8(line, free);
    out.truncate(begin + written);
    0
}

/// Decodes as `encoding_rs` does.
fn with_table(table: &'static encoding_rs::Encoding, line: &[u8], out: &mut Vec<u8>) -> usize {
    let mut decoder = table.new_decoder_without_bom_handling();
    let mut written = out.len();
    let mut rest = line;
    let mut bad = 0;
    loop {
        // Room for all that is left, whatever it is, and a replacement character. It is there already after the
        // first round, as one byte never becomes more than the three that are reckoned for each.
        let room = 3 * rest.len() + SPARE_BYTES;
        if out.len() < written + room {
            out.resize(written + room, 0);
        }
        let free = out.get_mut(written..).unwrap_or_default();
        let (result, read, wrote) = decoder.decode_to_utf8_without_replacement(rest, free, true);
        rest = rest.get(read..).unwrap_or_default();
        written += wrote;
        match result {
            encoding_rs::DecoderResult::InputEmpty => break,
            encoding_rs::DecoderResult::OutputFull => {}
            encoding_rs::DecoderResult::Malformed(..) => {
                bad += 1;
                out.truncate(written);
                out.extend_from_slice(REPLACEMENT);
                written += REPLACEMENT.len();
            }
        }
    }
    out.truncate(written);
    bad
}

/// U+FFFD.
const REPLACEMENT: &[u8] = "\u{fffd}".as_bytes();

/// What `encoding_rs` may want beyond 3 bytes for each.
const SPARE_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(encoding: Encoding, line: &[u8]) -> (String, usize) {
        let decoder = Decoder::new(encoding, b"\xff\xfe").expect("there is a mark");
        let mut out = b"before ".to_vec();
        let bad = decoder.decode(line, &mut out);
        let text = String::from_utf8(out).expect("is UTF-8");
        (text.strip_prefix("before ").expect("stays").to_owned(), bad)
    }

    #[test]
    fn utf_8_is_not_touched() {
        let decoder = Decoder::new(Encoding::Utf8, b"").expect("needs nothing");
        let mut out = Vec::new();
        assert_eq!(decoder.decode(b"\xef\xbb\xbfa\xff\x00\n", &mut out), 0);
        assert_eq!(out, b"\xef\xbb\xbfa\xff\x00\n");
    }

    #[test]
    fn text_of_each_encoding_is_read() {
        for (encoding, bytes, text) in [
            (Encoding::Gbk, &b"\xb6\xa9\xb5\xa5 7\n"[..], "订单 7\n"),
            (Encoding::Gb18030, b"\x94\x39\xda\x33", "\u{1f4a9}"),
            (Encoding::Big5, b"\xad\x71\xb3\xe6", "訂單"),
            (
                Encoding::ShiftJis,
                b"\x92\x8d\x95\xb6 C:\\a~",
                "注文 C:\\a~",
            ),
            (Encoding::EucJp, b"\xc3\xed\xca\xb8", "注文"),
            (Encoding::EucKr, b"\xc1\xd6\xb9\xae", "주문"),
            (
                Encoding::Latin1,
                b"caf\xe9 \x80\x9f\xff",
                "café \u{80}\u{9f}ÿ",
            ),
            (Encoding::Windows1252, b"caf\xe9 \x80", "café €"),
            (Encoding::Windows1251, b"\xe7\xe0\xea\xe0\xe7", "заказ"),
            (Encoding::Koi8R, b"\xda\xc1\xcb\xc1\xda", "заказ"),
            (Encoding::Utf16, b"a\0\x42\x30", "aあ"),
            (Encoding::Utf16Le, b"a\0\x42\x30", "aあ"),
            (Encoding::Utf16Be, b"\0a\x30\x42", "aあ"),
        ] {
            assert_eq!(
                decoded(encoding, bytes),
                (text.to_owned(), 0),
                "{encoding:?}"
            );
        }
    }

    #[test]
    fn what_is_no_character_is_replaced_and_counted_and_swallows_nothing() {
        assert_eq!(
            decoded(Encoding::Gbk, b"a\xb6\nb\xff\xff \xb6\xa9\xb6"),
            ("a\u{fffd}\nb\u{fffd}\u{fffd} 订\u{fffd}".to_owned(), 4)
        );
        assert_eq!(
            decoded(Encoding::ShiftJis, b"\x92\" key"),
            ("\u{fffd}\" key".to_owned(), 1)
        );
        let (text, bad) = decoded(Encoding::EucKr, &[0xff; 1000]);
        assert_eq!((text.chars().count(), bad), (1000, 1000));
    }

    #[test]
    fn a_file_must_tell_its_byte_order_if_nothing_else_does() {
        for head in [&b""[..], b"\xff", b"ab", b"\xef\xbb\xbf"] {
            let decoder = Decoder::new(Encoding::Utf16, head);
            assert_eq!(decoder, Err(NoByteOrderMark), "{head:?}");
        }
        let decoder = Decoder::new(Encoding::Utf16, b"\xfe\xff\0a").expect("tells");
        assert_eq!(decoder.byte_order(), Some(ByteOrder::Big));
    }

    #[test]
    fn random_bytes_become_utf_8_line_by_line_as_at_once() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..20_000 {
            let bytes: Vec<u8> = (0..random.usize(..40))
                .map(|_| {
                    if random.u8(..8) == 0 {
                        b'\n'
                    } else {
                        random.u8(..)
                    }
                })
                .collect();
            for encoding in Encoding::ALL {
                let decoder = Decoder::new(encoding, b"\xff\xfe").expect("there is a mark");
                if decoder.is_as_it_is() || decoder.byte_order().is_some() {
                    continue;
                }
                let (mut at_once, mut by_line) = (Vec::new(), Vec::new());
                let bad = decoder.decode(&bytes, &mut at_once);
                let lines = bytes.split_inclusive(|byte| *byte == b'\n');
                let bad_by_line: usize = lines.map(|line| decoder.decode(line, &mut by_line)).sum();
                assert_eq!(
                    (&at_once, bad),
                    (&by_line, bad_by_line),
                    "{encoding:?} {bytes:?}"
                );
                let text = std::str::from_utf8(&at_once).expect("is UTF-8");
                let newlines = |bytes: &[u8]| bytes.iter().filter(|b| **b == b'\n').count();
                assert_eq!(
                    newlines(&bytes),
                    newlines(text.as_bytes()),
                    "{encoding:?} {bytes:?}"
                );
            }
        }
    }
}
