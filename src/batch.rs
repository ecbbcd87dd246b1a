//! What travels between the threads: batches towards Kafka, progress towards the registrar.
//!
//! ```text
//! Tailer --Batch--> channel --> Producer --Progress::Acked--> Registrar
//!    \------------------------Progress::Opened, ::Closed--------^
//! ```
//! `tail`, `kafka` and `checkpoint` know these types and never each other.

mod records;
#[cfg(test)]
mod tests;

use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::budget::Permit;
use crate::buffer::Buffer;
use crate::identity::FileTag;
use crate::metrics::SectionCounters;
use crate::tap::TapPoint;

pub use records::{EventRecords, Lines, Records};

pub use crate::progress::{Checkpoint, CloseReason, Mark, Marks, Progress, SourceState};

/// Names one source (one file identity, from one opening on) within this process.
///
/// A truncation starts a new source: acknowledgements that arrive for the old content carry the
/// old number and can never move the checkpoint of the new content.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct SourceId(u64);

impl SourceId {
    /// The next unused number.
    pub fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        SourceId(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

impl fmt::Display for SourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "source {}", self.0)
    }
}

/// The file bytes `start..end` of one source: what an acknowledgement is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    /// Whose bytes.
    pub source: SourceId,
    /// Offset of the first byte.
    pub start: u64,
    /// Offset after the last byte (the newline included).
    pub end: u64,
    /// The last bytes of the span, to recognise the place again after a restart.
    pub tail_checksum: TailChecksum,
}

/// Length and CRC32C of the last bytes before an offset. A file that was truncated and has grown
/// past the offset again is told apart by it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TailChecksum {
    /// How many bytes before the offset are covered, at most [`TailChecksum::MAX_LEN`]; 0 matches anything.
    pub len: u8,
    /// CRC32C of those bytes.
    pub crc: u32,
}

impl TailChecksum {
    /// Bytes looked at.
    pub const MAX_LEN: usize = 64;

    /// The tail checksum that `bytes` (which end at the offset) leave.
    pub fn of(bytes: &[u8]) -> Self {
        /// Byte by byte is how the checksum takes what lies before the first and behind the last whole word.
        #[repr(align(8))]
        struct Aligned([u8; TailChecksum::MAX_LEN]);
        if let Some(tail) = bytes.last_chunk() {
            return TailChecksum {
                len: Self::MAX_LEN as u8,
                crc: crc32c::crc32c(&Aligned(*tail).0),
            };
        }
        let tail = bytes;
        TailChecksum {
            len: tail.len() as u8,
            crc: crc32c::crc32c(tail),
        }
    }
}

/// Where the records of one file go and what each of them carries besides the line.
/// One per file, shared by all its batches.
#[derive(Debug, PartialEq, Eq)]
pub struct Destination {
    /// What the files of its section have in common.
    pub route: Arc<Route>,
    /// The path that is followed.
    pub path: Arc<Path>,
}

impl Destination {
    /// The record headers, the same for every record of the file: name and value.
    pub fn headers(&self) -> impl ExactSizeIterator<Item = (&[u8], &[u8])> {
        let route = &self.route;
        let count = route.headers.len() + usize::from(route.with_path);
        (0..count).map(|n| match route.headers.get(n) {
            Some((name, value)) => (name.as_bytes(), &value[..]),
            None => (&b"path"[..], self.path.as_os_str().as_bytes()),
        })
    }

    /// What the `file` partitioner hashes: `host:path`. Made when it is wanted, once for each batch, since it
    /// would be kept for each file.
    pub fn file_key(&self) -> Vec<u8> {
        let path = self.path.as_os_str().as_bytes();
        [self.route.host.as_bytes(), b":", path].concat()
    }
}

/// What the records of all files of a section have in common: with thousands of files, what each of them keeps
/// counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The name of this host.
    pub host: String,
    /// Kafka topic.
    pub topic: Arc<str>,
    /// Record key.
    pub key: Option<Box<[u8]>>,
    /// Record headers, name and value, that do not depend on the file.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Whether the header `path` comes after them.
    pub with_path: bool,
    /// The header `at` of each record says which bytes of which file it was made of.
    pub has_provenance: bool,
    /// A carriage return at the end of a line is not part of the record.
    pub strip_cr: bool,
    /// Where somebody may look at the records.
    pub tap: TapPoint,
    /// What is counted of the section.
    pub counters: Arc<SectionCounters>,
    /// Its lines are its records, so that only these tell how many lines there are.
    pub counts_lines: bool,
}

/// How the events lie in a batch's bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Framing {
    /// Lines, each ended by a newline. Only the last line of a finished file may lack it.
    Lines,
    /// The bytes are one record: piece `index` (from 1) of a line longer than `max_line_bytes`.
    /// The line's end, if it belongs to the piece, is among the bytes and not part of the record.
    Part(Piece),
    /// Each event has its place, and may have a key, headers and a time of its own.
    Events(Box<Events>),
}

/// Which piece of an event that goes out in several.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Piece {
    /// Counted from 1.
    pub index: u32,
    /// Whether the event ends here.
    pub last: bool,
}

/// Events of a batch that are no plain lines. A newline ends the bytes of each, which is not part of the record;
/// only the last may lack it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Events {
    /// Where each of them ends; at least one.
    pub marks: Vec<EventMark>,
    /// The bytes are one event, or a part of it, which is a piece of a larger one.
    pub piece: Option<Piece>,
    /// Nothing if each event is bytes of the file; else the last file bytes of each event.
    pub checksums: Vec<TailChecksum>,
    /// The last file bytes that are done with the last event, where these are not its own.
    pub end_checksum: Option<TailChecksum>,
    /// Nothing if key, headers and time of all events are those of the batch; else what each of them has.
    pub own: Vec<OwnParts>,
    /// What the entries of `own` are about, one after the other: a key, then headers as a record has them.
    pub own_bytes: Vec<u8>,
    /// Where the file bytes of each event begin and end, counted from the start of the batch. Nothing if nobody wants
    /// to know, or if each begins where the one before it ends.
    pub places: Vec<(u32, u32)>,
}

/// Where an event ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EventMark {
    /// Position after its bytes in the batch.
    pub end: u32,
    /// File bytes from the start of the batch on that are done with it.
    pub span_end: u32,
}

/// What an event has besides its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OwnParts {
    /// The record's CreateTime, in ms since 1970.
    pub timestamp_ms: i64,
    /// Where its key ends in the bytes of all; it has none if `has_key` is false.
    pub key_end: u32,
    /// Whether it has a key, be it empty.
    pub has_key: bool,
    /// How many headers come besides those of its file.
    pub header_count: u16,
    /// Where these end in the bytes of all.
    pub headers_end: u32,
}

impl Events {
    /// Index of the first event after `position`, which must be the end of an event or 0.
    pub(crate) fn index_at(&self, position: usize) -> usize {
        self.marks
            .partition_point(|mark| mark.end as usize <= position)
    }

    /// The file bytes of event number `at`, counted from the start of the batch.
    pub(crate) fn place(&self, at: usize) -> (u32, u32) {
        let end = |at: usize| self.marks.get(at).map_or(0, |mark| mark.span_end);
        match self.places.get(at) {
            Some(place) => *place,
            None => (at.checked_sub(1).map_or(0, end), end(at)),
        }
    }

    /// File bytes from the start of the batch, which holds `data`, on that are done when the events before `position`
    /// are.
    fn done_at(&self, position: usize) -> u64 {
        let last = self.index_at(position).checked_sub(1);
        last.map_or(0, |last| u64::from(self.marks[last].span_end))
    }

    /// The last of these bytes.
    pub(crate) fn tail_checksum_at(&self, position: usize, data: &[u8]) -> TailChecksum {
        let Some(last) = self.index_at(position).checked_sub(1) else {
            return TailChecksum::default();
        };
        if let Some(checksum) = self.checksums.get(last) {
            return *checksum;
        }
        match self.end_checksum {
            Some(checksum) if last + 1 == self.marks.len() => checksum,
            _ => TailChecksum::of(&data[self.unbroken_from(last)..position.min(data.len())]),
        }
    }

    /// Where the bytes begin that lie before the end of event number `last` as they do in the file, as far back as
    /// matters: where events were left out between two others, these are farther from each other in the file.
    fn unbroken_from(&self, last: usize) -> usize {
        let distance =
            |mark: &EventMark| u64::from(mark.span_end).wrapping_sub(u64::from(mark.end));
        let (mut first, end) = (last, self.marks[last].end as usize);
        loop {
            let Some(before) = first.checked_sub(1) else {
                return 0;
            };
            let start = self.marks[before].end as usize;
            let is_far = end - start >= TailChecksum::MAX_LEN;
            if is_far || distance(&self.marks[before]) != distance(&self.marks[last]) {
                return start;
            }
            first = before;
        }
    }

    /// What event number `at` has of its own: time, key, headers and their count.
    pub(crate) fn own_of(&self, at: usize) -> Option<Own<'_>> {
        let parts = self.own.get(at)?;
        let start = match at.checked_sub(1).and_then(|before| self.own.get(before)) {
            Some(before) => before.headers_end as usize,
            None => 0,
        };
        let key_end = parts.key_end as usize;
        let key = self.own_bytes.get(start..key_end)?;
        Some(Own {
            timestamp_ms: parts.timestamp_ms,
            key: parts.has_key.then_some(key),
            header_count: usize::from(parts.header_count),
            headers: self.own_bytes.get(key_end..parts.headers_end as usize)?,
        })
    }
}

/// What one event has of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Own<'a> {
    /// The record's CreateTime, in ms since 1970.
    pub(crate) timestamp_ms: i64,
    pub(crate) key: Option<&'a [u8]>,
    /// How many headers come besides those of its file.
    pub(crate) header_count: usize,
    /// Those, as a record has them.
    pub(crate) headers: &'a [u8],
}

impl<'a> Own<'a> {
    /// The headers, name and value.
    pub(crate) fn headers(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let mut rest = self.headers;
        std::iter::from_fn(move || Some((take_sized(&mut rest)?, take_sized(&mut rest)?)))
    }
}

/// Takes what [`push_sized`] has appended.
fn take_sized<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (mut len, mut shift) = (0_usize, 0);
    loop {
        let (byte, behind) = rest.split_first()?;
        *rest = behind;
        len |= usize::from(byte & 0x7f).checked_shl(shift)?;
        shift += 7;
        if byte & 0x80 == 0 {
            break;
        }
    }
    let (taken, behind) = rest.split_at_checked(len >> 1)?;
    *rest = behind;
    Some(taken)
}

/// Appends a name or value of a header as a record has it: its length as a zigzag varint, and the bytes.
pub(crate) fn push_sized(block: &mut Vec<u8>, bytes: &[u8]) {
    let mut len = (bytes.len() as u64) << 1;
    while len >= 0x80 {
        block.push(len as u8 | 0x80);
        len >>= 7;
    }
    block.push(len as u8);
    block.extend_from_slice(bytes);
}

/// Consecutive events of one source.
///
/// The bytes are counted in the memory budget by `permit`; whoever holds them last drops it. A position in them is
/// 0 or the end of an event.
#[derive(Debug)]
pub struct Batch {
    /// Where the records go.
    pub destination: Arc<Destination>,
    /// Which source the events are of.
    pub source: SourceId,
    /// What the header `at` of its records names the file by; `None`: they have no such header.
    pub tag: Option<FileTag>,
    /// Offset in the source of the first byte that they are about.
    pub start: u64,
    /// The bytes: whole lines or one piece of a line as they are in the file, or what was made of events.
    pub data: Buffer,
    /// How events lie in `data`.
    pub framing: Framing,
    /// When the bytes were read, in ms since 1970; the records' CreateTime.
    pub read_at_ms: i64,
    /// The share of the memory budget that these bytes take until they are acknowledged.
    pub permit: Permit,
}

impl Batch {
    /// The records in order: the position after each, and the record without its newline. An empty line is an
    /// empty record.
    pub fn records(&self) -> Records<'_> {
        self.records_from(0)
    }

    /// As [`Batch::records`], from `position` on.
    #[inline]
    pub fn records_from(&self, position: usize) -> Records<'_> {
        let strip_cr = self.destination.route.strip_cr;
        Records::new(&self.data, &self.framing, strip_cr, position)
    }

    /// As [`Batch::records_from`], where the framing is [`Framing::Lines`].
    #[inline]
    pub(crate) fn lines_from(&self, position: usize) -> Lines<'_> {
        let strip_cr = self.destination.route.strip_cr;
        Lines::new(&self.data, strip_cr, position)
    }

    /// The next `records` of it are taken for their way: where these are the lines as they are, nobody has counted
    /// them yet.
    pub fn count_lines(&self, records: u64) {
        let route = &self.destination.route;
        match self.framing {
            _ if !route.counts_lines => {}
            Framing::Part(piece) => {
                route.counters.lines.add(u64::from(piece.last));
                route.counters.split.add(u64::from(piece.index == 1));
            }
            _ => route.counters.lines.add(records),
        }
    }

    /// The span of the events between two positions.
    pub fn span(&self, from: usize, to: usize) -> Span {
        let (start, end, tail_checksum) = match &self.framing {
            Framing::Events(events) => (
                events.done_at(from),
                events.done_at(to),
                events.tail_checksum_at(to, &self.data),
            ),
            _ => (from as u64, to as u64, TailChecksum::of(&self.data[..to])),
        };
        Span {
            source: self.source,
            start: self.start + start,
            end: self.start + end,
            tail_checksum,
        }
    }

    /// The key of the record that begins at `position`.
    pub fn key_at(&self, position: usize) -> Option<&[u8]> {
        if let Framing::Events(events) = &self.framing
            && let Some(own) = events.own_of(events.index_at(position))
        {
            return own.key;
        }
        self.destination.route.key.as_deref()
    }

    /// The CreateTime of the record that begins at `position`, in ms since 1970.
    pub(crate) fn timestamp_ms_at(&self, position: usize) -> i64 {
        match &self.framing {
            Framing::Events(events) => events.own_of(events.index_at(position)),
            _ => None,
        }
        .map_or(self.read_at_ms, |own| own.timestamp_ms)
    }

    /// Whether an event goes on in the next batch (true), ends in this one that began in an earlier one (false),
    /// or neither.
    pub fn goes_on(&self) -> Option<bool> {
        let piece = match &self.framing {
            Framing::Lines => None,
            Framing::Part(piece) => Some(*piece),
            Framing::Events(events) => events.piece,
        };
        piece.map(|piece| !piece.last)
    }
}
