//! Cutting a source's bytes into lines, and lines that are too long into pieces. Pure: no file, no clock.
//!
//! A [`Framer`] decides where a line ends, once, for everything behind it. What it gives depends on the bytes
//! alone, never on how many of them a read happened to fetch.
//!
//! ```text
//! max_line_bytes = 8      abcdefghijkl\n   ->  part 1 "abcdefgh", part 2 (the last) "ijkl"
//! max_line_bytes = 8      abcdefgh\r\n     ->  a line if the CR belongs to its end (strip_cr = on),
//!                                              else part 1 "abcdefgh", part 2 "\r"
//! ```

use crate::batch::{Framing, Piece};
use crate::record::wide::ByteOrder;

/// The cutter of one source. It stands where the source's position is: at the beginning of a line, or
/// between two pieces of one.
#[derive(Debug, Clone)]
pub(crate) struct Framer {
    /// Most bytes of a line, its end not counted; at least 1.
    max_line_bytes: usize,
    /// A carriage return before the newline belongs to the line's end.
    strip_cr: bool,
    /// Bytes behind a piece that must be there before it goes, if the line goes on.
    lookahead: usize,
    /// A newline takes two bytes, in this order.
    byte_order: Option<ByteOrder>,
    /// Number of the next piece of a line that is longer than allowed; 0 between lines, never 1.
    next_piece: u32,
}

/// Whether more may follow on the last byte of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Growth {
    /// A line without a newline may go on.
    Possible,
    /// The file was rotated away and is quiet: its last line needs no newline.
    Finished,
}

/// What lies behind the bytes that were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DataEnd {
    /// Nothing, ever.
    Finished,
    /// Nothing yet.
    MayGrow,
    /// More bytes of the file.
    MoreBehind,
}

/// The first bytes of what was given, cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Framed {
    /// How many bytes; at least 1.
    pub(crate) bytes: usize,
    /// How the records lie in them.
    pub(crate) framing: Framing,
}

impl Framer {
    /// A framer at the beginning of a line.
    pub(crate) fn new(max_line_bytes: usize, strip_cr: bool) -> Self {
        Framer {
            max_line_bytes: max_line_bytes.max(1),
            strip_cr,
            lookahead: 0,
            byte_order: None,
            next_piece: 0,
        }
    }

    /// Gives pieces only with so many bytes behind them, or the end of the line.
    pub(crate) fn with_lookahead(self, lookahead: usize) -> Self {
        Framer { lookahead, ..self }
    }

    /// Cuts 16-bit text from now on.
    pub(crate) fn set_byte_order(&mut self, byte_order: Option<ByteOrder>) {
        self.byte_order = byte_order;
    }

    /// Whether it cuts 16-bit text.
    #[inline]
    pub(crate) fn is_wide(&self) -> bool {
        self.byte_order.is_some()
    }

    /// Most bytes of a line, its end not counted.
    pub(crate) fn max_line_bytes(&self) -> usize {
        self.max_line_bytes
    }

    /// How many bytes always decide: with so many, [`Framer::frame`] gives something.
    pub(crate) fn decisive_bytes(&self) -> usize {
        // One more tells whether the line ends there or is too long; a CR may belong to either.
        self.max_line_bytes + 2 + self.lookahead
    }

    /// Whether the position is between two pieces of a line.
    pub(crate) fn is_inside_line(&self) -> bool {
        self.next_piece > 0
    }

    /// Goes on in a line of which `sent_bytes` were sent in pieces, by an earlier run perhaps.
    pub(crate) fn resume_inside(&mut self, sent_bytes: u64) {
        let sent = sent_bytes.div_ceil(self.max_line_bytes as u64);
        self.next_piece = match sent {
            0 => 0,
            sent => u32::try_from(sent).unwrap_or(u32::MAX - 1) + 1,
        };
    }

    /// The line ends where the position is, without a newline.
    pub(crate) fn end_line(&mut self) {
        self.next_piece = 0;
    }

    /// Cuts off the beginning of `data`: whole lines none of which is too long, or one piece of a line that
    /// is. `None` if more bytes must come to tell.
    pub(crate) fn frame(&mut self, data: &[u8]) -> Option<Framed> {
        let framed = match self.byte_order {
            None => self.cut(data, self.lookahead),
            Some(order) => self.cut_wide(order, data),
        };
        self.go_on_after(&framed.as_ref()?.framing);
        framed
    }

    /// As [`Framer::frame`], of bytes that nothing follows on: the last line needs no newline. `None` if
    /// there are none.
    pub(crate) fn frame_last(&mut self, data: &[u8]) -> Option<Framed> {
        if let Some(mut framed) = self.frame(data) {
            // A last line without a newline may belong to the event of those before it: it comes with them.
            let rest = &data[framed.bytes..];
            let is_cut = match self.byte_order {
                None => self.cut(rest, 0).is_some(),
                Some(order) => self.cut_wide(order, rest).is_some(),
            };
            if framed.framing == Framing::Lines && !is_cut {
                framed.bytes = data.len();
            }
            return Some(framed);
        }
        if data.is_empty() {
            return None;
        }
        if self.byte_order.is_none()
            && let Some(framed) = self.cut(data, 0)
        {
            self.go_on_after(&framed.framing);
            return Some(framed);
        }
        let framed = Framed {
            bytes: data.len(),
            framing: match self.next_piece {
                0 => Framing::Lines,
                index => Framing::Part(Piece { index, last: true }),
            },
        };
        self.go_on_after(&framed.framing);
        Some(framed)
    }

    /// Cuts off `data`, the beginning of a line that is not waited for any longer: a piece of it, after which the line
    /// may go on. `None` if there is nothing that surely belongs to its text.
    pub(crate) fn frame_unended(&mut self, data: &[u8]) -> Option<Framed> {
        let bytes = match (self.byte_order, data.last()) {
            (Some(order), _) => order.floor(data, data.len()),
            // With a newline next, it would belong to the line's end.
            (None, Some(b'\r')) if self.strip_cr => data.len() - 1,
            (None, _) => data.len(),
        };
        let piece = Piece {
            index: self.next_piece.max(1),
            last: false,
        };
        let framed = (bytes > 0).then_some(Framed {
            bytes,
            framing: Framing::Part(piece),
        })?;
        self.go_on_after(&framed.framing);
        Some(framed)
    }

    fn go_on_after(&mut self, framing: &Framing) {
        self.next_piece = match framing {
            &Framing::Part(Piece { index, last: false }) => index.saturating_add(1),
            _ => 0,
        };
    }

    fn cut(&self, data: &[u8], lookahead: usize) -> Option<Framed> {
        let lines = |bytes| Framed {
            bytes,
            framing: Framing::Lines,
        };
        if self.next_piece == 0 && data.len() <= self.max_line_bytes {
            // No line in here can be too long.
            return memchr::memrchr(b'\n', data).map(|at| lines(at + 1));
        }
        let first_end = memchr::memchr(b'\n', data).filter(|&at| self.fits(&data[..at]));
        let Some(first_end) = first_end else {
            return self.is_too_long(data, lookahead).then(|| Framed {
                bytes: self.max_line_bytes,
                framing: Framing::Part(Piece {
                    index: self.next_piece.max(1),
                    last: false,
                }),
            });
        };
        if self.next_piece > 0 {
            return Some(Framed {
                bytes: first_end + 1,
                framing: Framing::Part(Piece {
                    index: self.next_piece,
                    last: true,
                }),
            });
        }
        let mut end = 0;
        for at in memchr::memchr_iter(b'\n', data) {
            if !self.fits(&data[end..at]) {
                break;
            }
            end = at + 1;
        }
        Some(lines(end))
    }

    /// Whether a line, given without its newline, is no longer than allowed.
    fn fits(&self, line: &[u8]) -> bool {
        let end = usize::from(self.strip_cr && line.last() == Some(&b'\r'));
        line.len() - end <= self.max_line_bytes
    }

    /// Whether the line that `data` begins with is too long, given that it has no end within the bound.
    fn is_too_long(&self, data: &[u8], lookahead: usize) -> bool {
        let Some(behind) = data.get(self.max_line_bytes..) else {
            return false;
        };
        match behind {
            [] => false,
            // With a newline next, the line would end here.
            b"\r" => !self.strip_cr,
            _ => {
                lookahead == 0
                    || behind.len() > lookahead
                    || memchr::memchr(b'\n', behind).is_some()
            }
        }
    }

    /// As [`Framer::cut`], of 16-bit text.
    fn cut_wide(&self, order: ByteOrder, data: &[u8]) -> Option<Framed> {
        let most = (self.max_line_bytes & !1).max(2);
        let part = |bytes, last| Framed {
            bytes,
            framing: Framing::Part(Piece {
                index: self.next_piece.max(1),
                last,
            }),
        };
        let (mut end, mut next) = (0, order.find_line_end(data, 0));
        while let Some(line_end) = next.filter(|&line_end| line_end - end <= most + 2) {
            if self.next_piece > 0 {
                return Some(part(line_end, true));
            }
            end = line_end;
            next = order.find_line_end(data, end);
        }
        if end > 0 {
            return Some(Framed {
                bytes: end,
                framing: Framing::Lines,
            });
        }
        (data.len() > most + 2 + self.lookahead || next.is_some())
            .then(|| part(order.floor(data, most).max(2), false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record: its bytes, and the number of the piece (0: a line), negative for the last one.
    type Record = (Vec<u8>, i64);

    fn records(data: &[u8], framing: Framing, strip_cr: bool) -> Vec<Record> {
        let piece = match framing {
            Framing::Lines => 0,
            Framing::Part(Piece { index, last: true }) => -i64::from(index),
            Framing::Part(Piece { index, last: false }) => i64::from(index),
            Framing::Events(_) => unreachable!("a framer gives lines"),
        };
        crate::batch::Records::new(data, &framing, strip_cr, 0)
            .map(|(_, record)| (record.to_vec(), piece))
            .collect()
    }

    /// What the rules in the module's text say, the simplest way.
    fn expected(bytes: &[u8], max: usize, strip_cr: bool) -> Vec<Record> {
        let mut records = Vec::new();
        let mut lines: Vec<&[u8]> = bytes.split(|&byte| byte == b'\n').collect();
        if lines.last().is_some_and(|line| line.is_empty()) {
            lines.pop();
        }
        for line in lines {
            let line = match strip_cr {
                true => line.strip_suffix(b"\r").unwrap_or(line),
                false => line,
            };
            if line.len() <= max {
                records.push((line.to_vec(), 0));
                continue;
            }
            let pieces = line.chunks(max).count() as i64;
            for (piece, index) in line.chunks(max).zip(1..) {
                let number = if index == pieces { -index } else { index };
                records.push((piece.to_vec(), number));
            }
        }
        records
    }

    /// Feeds `bytes` as a file that grows, in reads of any size, and returns the records.
    fn framed(
        bytes: &[u8],
        (max, strip_cr): (usize, bool),
        random: &mut fastrand::Rng,
    ) -> Vec<Record> {
        let mut framer = Framer::new(max, strip_cr);
        let (mut position, mut there) = (0, 0);
        let mut found = Vec::new();
        while position < bytes.len() {
            there = bytes.len().min(there.max(position) + random.usize(..6));
            let want = framer.decisive_bytes() + random.usize(..20);
            let data = &bytes[position..there.min(position + want)];
            let is_last = position + data.len() == bytes.len();
            let framed = match is_last {
                true => framer.frame_last(data),
                false => framer.frame(data),
            };
            let Some(Framed {
                bytes: len,
                framing,
            }) = framed
            else {
                assert!(data.len() < framer.decisive_bytes(), "{data:?} decides");
                continue;
            };
            assert!((1..=data.len()).contains(&len));
            let is_inside = matches!(framing, Framing::Part(Piece { last: false, .. }));
            found.extend(records(&data[..len], framing, strip_cr));
            position += len;
            assert_eq!(framer.is_inside_line(), is_inside);
        }
        found
    }

    #[test]
    fn a_last_line_without_a_newline_comes_with_the_lines_before_it() {
        let lines = |bytes| Framed {
            bytes,
            framing: Framing::Lines,
        };
        let mut framer = Framer::new(8, false);
        assert_eq!(framer.frame_last(b"a\n\tat b"), Some(lines(7)));
        assert_eq!(framer.frame_last(b"a\nb\n"), Some(lines(4)));
        // Unless it is too long.
        assert_eq!(framer.frame_last(b"a\n123456789"), Some(lines(2)));
        framer.set_byte_order(Some(ByteOrder::Big));
        assert_eq!(framer.frame_last(b"\0a\0\n\0b"), Some(lines(6)));
    }

    #[test]
    fn any_chunking_of_the_same_bytes_gives_the_same_records() {
        for seed in 0..20_000 {
            let mut random = fastrand::Rng::with_seed(seed);
            let rule = (random.usize(1..12), random.bool());
            let len = random.usize(..60);
            let bytes: Vec<u8> = (0..len)
                .map(|_| match random.u8(..12) {
                    0 | 1 => b'\n',
                    2 | 3 => b'\r',
                    4 => 0,
                    other => b'a' + other,
                })
                .collect();
            assert_eq!(
                framed(&bytes, rule, &mut random),
                expected(&bytes, rule.0, rule.1),
                "seed {seed}: {:?} by {rule:?}",
                bytes.escape_ascii().to_string()
            );
        }
    }

    #[test]
    fn a_framer_that_is_made_anew_between_two_pieces_goes_on_with_the_next_number() {
        let mut framer = Framer::new(4, false);
        let line = b"abcdefghij\n";
        let first = framer.frame(line).expect("is too long");
        assert_eq!(first.bytes, 4);
        let mut resumed = Framer::new(4, false);
        resumed.resume_inside(first.bytes as u64);
        assert_eq!(resumed.frame(&line[4..]), framer.frame(&line[4..]));
        resumed.resume_inside(0);
        assert!(!resumed.is_inside_line());
    }

    #[test]
    fn a_line_that_is_not_waited_for_goes_in_pieces_until_its_newline_comes() {
        let piece = |index, last| Framing::Part(Piece { index, last });
        let mut framer = Framer::new(8, true);
        assert_eq!(framer.frame(b"abc\r"), None);
        let framed = framer.frame_unended(b"abc\r").expect("has text");
        assert_eq!((framed.bytes, framed.framing), (3, piece(1, false)));
        assert_eq!(framer.frame_unended(b"\r"), None, "it may be of the end");
        let framed = framer.frame_unended(b"\rde").expect("it is not");
        assert_eq!((framed.bytes, framed.framing), (3, piece(2, false)));
        let framed = framer.frame(b"f\nnext\n").expect("ends");
        assert_eq!((framed.bytes, framed.framing), (2, piece(3, true)));
        let framed = framer.frame(b"next\n").expect("is a line");
        assert_eq!((framed.bytes, framed.framing), (5, Framing::Lines));
    }

    #[test]
    fn the_carriage_return_of_a_line_of_exactly_the_bound_is_no_piece() {
        let mut framer = Framer::new(8, true);
        assert_eq!(framer.frame(b"abcdefgh"), None);
        assert_eq!(framer.frame(b"abcdefgh\r"), None, "the newline may follow");
        let framed = framer.frame(b"abcdefgh\r\n").expect("is a line");
        assert_eq!((framed.bytes, framed.framing), (10, Framing::Lines));
        let framed = framer.frame(b"abcdefgh\rx").expect("is too long");
        assert_eq!(framed.bytes, 8);
    }
}
