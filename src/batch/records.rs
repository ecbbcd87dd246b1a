//! The records of a batch, one after the other.

use super::{EventMark, Framing};

/// Iterator over the records of a [`Batch`](super::Batch).
pub enum Records<'a> {
    /// Of lines.
    Lines(Lines<'a>),
    /// Of anything else.
    Events(EventRecords<'a>),
}

/// Iterator over lines.
pub struct Lines<'a> {
    data: &'a [u8],
    /// The carriage return at the end of a line is left out.
    strip_cr: bool,
    position: usize,
    newlines: memchr::Memchr<'a>,
    base: usize,
}

/// Iterator over events that are no plain lines.
pub struct EventRecords<'a> {
    data: &'a [u8],
    /// The carriage return at the end is left out.
    strip_cr: bool,
    position: usize,
    /// Where events end; without them the bytes are one record.
    marks: Option<std::slice::Iter<'a, EventMark>>,
}

impl<'a> Records<'a> {
    /// The records that lie in `data` as `framing` says, from `position` on.
    pub(crate) fn new(
        data: &'a [u8],
        framing: &'a Framing,
        strip_cr: bool,
        position: usize,
    ) -> Self {
        let (marks, strip_cr) = match framing {
            Framing::Lines => return Records::Lines(Lines::new(data, strip_cr, position)),
            Framing::Part(piece) => (None, strip_cr && piece.last),
            Framing::Events(events) => {
                let marks = events.marks[events.index_at(position)..].iter();
                (Some(marks), false)
            }
        };
        Records::Events(EventRecords {
            data,
            strip_cr,
            position,
            marks,
        })
    }
}

impl<'a> Lines<'a> {
    #[inline]
    pub(super) fn new(data: &'a [u8], strip_cr: bool, position: usize) -> Self {
        Lines {
            data,
            strip_cr,
            position,
            newlines: memchr::memchr_iter(b'\n', &data[position..]),
            base: position,
        }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = (usize, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Records::Lines(lines) => lines.next(),
            Records::Events(events) => events.next(),
        }
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = (usize, &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let start = self.position;
        if start >= self.data.len() {
            return None;
        }
        let (line_end, next) = match self.newlines.next() {
            Some(at) => (self.base + at, self.base + at + 1),
            None => (self.data.len(), self.data.len()),
        };
        self.position = next;
        Some((next, without_cr(&self.data[start..line_end], self.strip_cr)))
    }
}

impl<'a> Iterator for EventRecords<'a> {
    type Item = (usize, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let start = self.position;
        if start >= self.data.len() {
            return None;
        }
        let next = match &mut self.marks {
            Some(marks) => (marks.next()?.end as usize).min(self.data.len()),
            None => self.data.len(),
        };
        let event = self.data.get(start..next)?;
        self.position = next;
        // Only the last may lack its newline: of the others, the last byte need not be fetched from memory to know.
        let event = match event.split_last() {
            Some((last, event)) if next < self.data.len() || *last == b'\n' => event,
            _ => event,
        };
        Some((next, without_cr(event, self.strip_cr)))
    }
}

/// `line` without the carriage return at its end, if that is wanted.
#[inline]
fn without_cr(line: &[u8], strip_cr: bool) -> &[u8] {
    let stripped = if strip_cr {
        line.strip_suffix(b"\r")
    } else {
        None
    };
    stripped.unwrap_or(line)
}
