//! The grammar of JSON, RFC 8259, over a text of which nothing is kept.

use crate::record::json_text::{next_special, split_hex4};

/// A place in a text that is being read. Each method takes what it is named after, or returns `None`.
///
/// What most lines have is inlined and keeps the place in a register; what few have is a function that gets a copy and
/// returns the place.
#[derive(Clone, Copy)]
pub(crate) struct Cursor<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) at: usize,
}

impl Cursor<'_> {
    #[inline]
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    #[inline]
    pub(crate) fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    #[inline]
    pub(crate) fn take(&mut self, expected: u8) -> bool {
        let is_there = self.peek() == Some(expected);
        self.at += usize::from(is_there);
        is_there
    }

    #[inline]
    pub(crate) fn expect(&mut self, expected: u8) -> Option<()> {
        self.take(expected).then_some(())
    }

    #[inline]
    pub(crate) fn skip_blanks(&mut self) {
        while self.peek().is_some_and(is_blank) {
            self.at += 1;
        }
    }

    /// A string that is a key, without its colon; whether it has an escape.
    #[inline]
    pub(crate) fn key(&mut self) -> Option<bool> {
        self.expect(b'"')?;
        self.string_rest()
    }

    #[inline]
    pub(crate) fn colon(&mut self) -> Option<()> {
        self.skip_blanks();
        self.expect(b':')
    }

    /// A string whose first quote has been read; whether it has an escape.
    #[inline(always)]
    fn string_rest(&mut self) -> Option<bool> {
        self.at = next_special(self.bytes, self.at);
        if self.take(b'"') {
            return Some(false);
        }
        self.at = self.string_end_with_escapes()?;
        Some(true)
    }

    #[inline(never)]
    fn string_end_with_escapes(mut self) -> Option<usize> {
        loop {
            match self.next()? {
                b'"' => return Some(self.at),
                b'\\' => self.escape_rest()?,
                _ => return None,
            }
            self.at = next_special(self.bytes, self.at);
        }
    }

    fn escape_rest(&mut self) -> Option<()> {
        match self.next()? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(()),
            b'u' => match self.hex4()? {
                0xd800..0xdc00 => {
                    self.expect(b'\\')?;
                    self.expect(b'u')?;
                    matches!(self.hex4()?, 0xdc00..0xe000).then_some(())
                }
                0xdc00..0xe000 => None,
                _ => Some(()),
            },
            _ => None,
        }
    }

    fn hex4(&mut self) -> Option<u16> {
        let (unit, _) = split_hex4(self.bytes.get(self.at..)?)?;
        self.at += 4;
        Some(unit)
    }

    /// A value that is no object and no array, whose first byte has been read.
    #[inline(always)]
    fn scalar_rest(&mut self, first: u8) -> Option<()> {
        match first {
            b'"' => self.string_rest().map(|_| ()),
            b'-' => self.next().and_then(|digit| self.number_rest(digit)),
            b'0'..=b'9' => self.number_rest(first),
            b't' => self.word_rest(b"rue"),
            b'f' => self.word_rest(b"alse"),
            b'n' => self.word_rest(b"ull"),
            _ => None,
        }
    }

    #[inline]
    fn word_rest(&mut self, rest: &[u8]) -> Option<()> {
        let is_there = self.bytes.get(self.at..)?.starts_with(rest);
        self.at += rest.len();
        is_there.then_some(())
    }

    /// A number whose first digit has been read.
    #[inline]
    fn number_rest(&mut self, first_digit: u8) -> Option<()> {
        match first_digit {
            b'0' => {}
            b'1'..=b'9' => self.skip_digits(),
            _ => return None,
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            self.digits()?;
        }
        Some(())
    }

    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        self.skip_digits();
        (self.at > start).then_some(())
    }

    #[inline]
    fn skip_digits(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
    }

    /// A value of a member of the outer object.
    #[inline(always)]
    pub(crate) fn value(&mut self) -> Option<()> {
        match self.next()? {
            bracket @ (b'{' | b'[') => {
                self.at = self.nested_end(bracket)?;
                Some(())
            }
            first => self.scalar_rest(first),
        }
    }

    /// An object or array whose first bracket has been read. A loop with a bit for each level instead of a recursion:
    /// no line can make the stack overflow.
    #[inline(never)]
    fn nested_end(mut self, bracket: u8) -> Option<usize> {
        let mut levels = Levels::default();
        let mut opened = Some(bracket);
        loop {
            let mut is_empty = false;
            if let Some(bracket) = opened {
                levels.push(bracket == b'{')?;
                self.skip_blanks();
                is_empty = self.peek() == Some(levels.closing_bracket());
            }
            opened = if is_empty {
                None
            } else {
                self.value_or_bracket(&levels)?
            };
            if opened.is_none() && self.close_levels(&mut levels)? {
                return Some(self.at);
            }
        }
    }

    /// Closes the levels that end after a value, up to the comma before the next one; whether all have ended.
    #[inline]
    fn close_levels(&mut self, levels: &mut Levels) -> Option<bool> {
        loop {
            self.skip_blanks();
            match self.next()? {
                b',' => return Some(false),
                byte if byte != levels.closing_bracket() => return None,
                _ if levels.pop() => return Some(true),
                _ => {}
            }
        }
    }

    /// A scalar of the innermost level, with its key if that is an object; or the bracket that opens the next level.
    #[inline]
    fn value_or_bracket(&mut self, levels: &Levels) -> Option<Option<u8>> {
        self.skip_blanks();
        if levels.is_object() {
            self.key()?;
            self.colon()?;
            self.skip_blanks();
        }
        match self.next()? {
            bracket @ (b'{' | b'[') => Some(Some(bracket)),
            first => self.scalar_rest(first).map(|()| None),
        }
    }
}

/// Which of the levels below the outer object are objects; the innermost is the lowest bit.
#[derive(Default)]
struct Levels {
    objects: u128,
    depth: u32,
}

impl Levels {
    fn push(&mut self, is_object: bool) -> Option<()> {
        self.depth += 1;
        self.objects = self.objects << 1 | u128::from(is_object);
        (self.depth < MAX_DEPTH).then_some(())
    }

    /// Leaves the innermost level; whether it was the last.
    fn pop(&mut self) -> bool {
        self.depth -= 1;
        self.objects >>= 1;
        self.depth == 0
    }

    fn is_object(&self) -> bool {
        self.objects & 1 == 1
    }

    fn closing_bracket(&self) -> u8 {
        if self.is_object() { b'}' } else { b']' }
    }
}

#[inline]
pub(crate) fn is_blank(byte: u8) -> bool {
    byte <= b' ' && matches!(byte, b' ' | b'\n' | b'\r' | b'\t')
}

/// How many objects and arrays may stand in each other, the outer object included. serde_json, with which other
/// shippers read, goes to 127, and `json = nest` adds one.
pub const MAX_DEPTH: u32 = 126;
