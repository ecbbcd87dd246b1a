//! Looks at a line of JSON without making values of it: is it one valid object, and where are the values asked for?
//!
//! The grammar is RFC 8259, strictly: no comments, no trailing commas, no raw control characters in strings, no byte
//! order mark. Two things that the grammar allows are refused, since strict readers refuse them: half of a surrogate
//! pair (`\ud800` alone), and more than [`MAX_DEPTH`](crate::record::json_grammar::MAX_DEPTH) objects and arrays in each
//! other. Bad UTF-8 within a string is let through; who writes the bytes on replaces it
//! ([`push_spliced`](crate::record::json_text::push_spliced)).
//!
//! Of a key that occurs twice the last occurrence counts, as most readers have it; where the last one is `null`,
//! there is no value.

use std::ops::Range;

use crate::record::json_grammar::{Cursor, is_blank};
use crate::record::json_text::unescaped;

/// The paths that are looked up in each line of a section. Prepared once, shared by all its files.
#[derive(Clone, Debug, Default)]
pub struct Paths {
    paths: Vec<Box<[u8]>>,
    /// A bit for each key with which a path begins, by its first byte and its length: most keys of a line are none of
    /// ours.
    first_keys: u64,
}

/// A path of [`Paths`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PathId(usize);

/// What was found in one line. Kept and filled again for each line, so nothing is allocated.
#[derive(Debug, Default)]
pub struct Scan {
    values: Vec<Option<Range<usize>>>,
    key: Vec<u8>,
}

/// A line that is one JSON object.
#[derive(Clone, Copy, Debug)]
pub struct Object<'a> {
    line: &'a [u8],
    text: &'a [u8],
    content: &'a [u8],
    values: &'a [Option<Range<usize>>],
}

impl Paths {
    /// Adds a path such as `id` or `http.status`; the same one twice is one.
    ///
    /// A dot stands for "in the object of this name" and for itself: `log.level` finds `{"log":{"level":1}}` and
    /// `{"log.level":1}`, as loggers write both.
    pub fn add(&mut self, path: &str) -> PathId {
        let path = path.as_bytes();
        if let Some(known) = self.paths.iter().position(|other| **other == *path) {
            return PathId(known);
        }
        let ends = memchr::memchr_iter(b'.', path).chain([path.len()]);
        self.first_keys |= ends
            .filter_map(|end| path.get(..end))
            .fold(0, |bits, key| bits | key_bit(key));
        self.paths.push(path.into());
        PathId(self.paths.len() - 1)
    }

    /// The paths that begin with `key`, and what is left of them after it.
    fn beginning_with<'p>(&'p self, key: &[u8]) -> impl Iterator<Item = (usize, &'p [u8])> {
        let rests = self.paths.iter().map(move |path| path.strip_prefix(key));
        rests.enumerate().filter_map(|(id, rest)| Some((id, rest?)))
    }
}

impl Scan {
    /// Reads `line`, blanks around it aside, in one pass. `None`: it is not one valid JSON object.
    pub fn object<'a>(&'a mut self, paths: &Paths, line: &'a [u8]) -> Option<Object<'a>> {
        self.values.clear();
        self.values.resize(paths.paths.len(), None);
        let mut cursor = Cursor { bytes: line, at: 0 };
        cursor.skip_blanks();
        let start = cursor.at;
        cursor.expect(b'{')?;
        let mut members = Members {
            cursor,
            is_first: true,
        };
        while let Some(member) = members.next()? {
            self.take(paths, line, &member)?;
        }
        let mut cursor = members.cursor;
        let end = cursor.at;
        cursor.skip_blanks();
        if cursor.at != line.len() {
            return None;
        }
        Some(Object {
            line,
            text: line.get(start..end)?,
            content: line.get(start + 1..end.checked_sub(1)?)?,
            values: &self.values,
        })
    }

    /// Notes the value of a member of the outer object if a path leads to it or into it.
    #[inline(always)]
    fn take(&mut self, paths: &Paths, line: &[u8], member: &Member) -> Option<()> {
        let raw_key = line.get(member.key.clone())?;
        if member.has_escape {
            let mut scratch = std::mem::take(&mut self.key);
            self.take_matching(paths, line, unescaped(raw_key, &mut scratch), &member.value);
            self.key = scratch;
        } else if paths.first_keys & key_bit(raw_key) != 0 {
            self.take_matching(paths, line, raw_key, &member.value);
        }
        Some(())
    }

    #[inline(never)]
    fn take_matching(&mut self, paths: &Paths, line: &[u8], key: &[u8], value: &Range<usize>) {
        for (id, rest) in paths.beginning_with(key) {
            let found = match rest.strip_prefix(b".") {
                None if rest.is_empty() => Some(value.clone()),
                None => None,
                Some(inner) => value_within(line, value, inner),
            };
            if let (Some(found), Some(slot)) = (found, self.values.get_mut(id)) {
                *slot = Some(found);
            }
        }
    }
}

impl<'a> Object<'a> {
    /// The object with its braces, without the blanks around it.
    pub fn text(&self) -> &'a [u8] {
        self.text
    }

    /// What stands between the outer braces.
    pub fn content(&self) -> &'a [u8] {
        self.content
    }

    /// Whether it has no members.
    pub fn is_empty(&self) -> bool {
        self.content.iter().all(|&byte| is_blank(byte))
    }

    /// Whether the line has this path, with whatever value, `null` too.
    pub fn has(&self, path: PathId) -> bool {
        self.values.get(path.0).is_some_and(Option::is_some)
    }

    /// As [`Object::value`], but nothing for objects and arrays.
    pub fn scalar<'s>(&self, path: PathId, scratch: &'s mut Vec<u8>) -> Option<&'s [u8]>
    where
        'a: 's,
    {
        let range = self.values.get(path.0)?.clone()?;
        match self.line.get(range)?.first()? {
            b'{' | b'[' => None,
            _ => self.value(path, scratch),
        }
    }

    /// The value of a path: a string without quotes and escapes (through `scratch` if it has any), numbers, `true`,
    /// `false`, objects and arrays as they are written. `None` for what is missing or `null`.
    pub fn value<'s>(&self, path: PathId, scratch: &'s mut Vec<u8>) -> Option<&'s [u8]>
    where
        'a: 's,
    {
        let range = self.values.get(path.0)?.clone()?;
        let raw = self.line.get(range)?;
        match raw.first()? {
            b'"' => Some(unescaped(raw.get(1..raw.len() - 1)?, scratch)),
            b'n' => None,
            _ => Some(raw),
        }
    }
}

/// The last value that `path` leads to in the object at `range` of `line`, which is known to be valid.
fn value_within(line: &[u8], range: &Range<usize>, path: &[u8]) -> Option<Range<usize>> {
    let mut cursor = Cursor {
        bytes: line.get(..range.end)?,
        at: range.start,
    };
    cursor.expect(b'{')?;
    let mut members = Members {
        cursor,
        is_first: true,
    };
    let mut found = None;
    let mut scratch = Vec::new(); // does not allocate unless a key has an escape
    while let Some(member) = members.next()? {
        let key = unescaped(line.get(member.key)?, &mut scratch);
        match path.strip_prefix(key) {
            Some([]) => found = Some(member.value),
            Some([b'.', inner @ ..]) => found = value_within(line, &member.value, inner).or(found),
            _ => {}
        }
    }
    found
}

/// One `"key": value`, as ranges of the line.
struct Member {
    /// Without its quotes, escapes as they stand.
    key: Range<usize>,
    has_escape: bool,
    value: Range<usize>,
}

/// The members of an object whose brace has been read.
struct Members<'a> {
    cursor: Cursor<'a>,
    is_first: bool,
}

impl Members<'_> {
    /// The next member; `Some(None)` after the closing brace, `None` for what is no JSON.
    #[inline(always)]
    fn next(&mut self) -> Option<Option<Member>> {
        let cursor = &mut self.cursor;
        cursor.skip_blanks();
        if self.is_first {
            self.is_first = false;
            if cursor.take(b'}') {
                return Some(None);
            }
        } else {
            match cursor.next()? {
                b',' => cursor.skip_blanks(),
                b'}' => return Some(None),
                _ => return None,
            }
        }
        let key_start = cursor.at + 1;
        let has_escape = cursor.key()?;
        let key = key_start..cursor.at.checked_sub(1)?;
        cursor.colon()?;
        cursor.skip_blanks();
        let start = cursor.at;
        cursor.value()?;
        Some(Some(Member {
            key,
            has_escape,
            value: start..cursor.at,
        }))
    }
}

/// The bit of a key in [`Paths::first_keys`].
#[inline]
fn key_bit(key: &[u8]) -> u64 {
    let first = key.first().map_or(0, |&byte| usize::from(byte));
    1 << ((first * 5 + key.len() * 11) & 63)
}

#[cfg(test)]
#[path = "json_scan_tests.rs"]
mod tests;
