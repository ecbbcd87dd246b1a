//! What travels between the threads: batches towards Kafka, progress towards the registrar.
//!
//! ```text
//! Tailer --Batch--> channel --> Producer --Progress::Acked--> Registrar
//!    \------------------------Progress::Opened, ::Closed--------^
//! ```
//! `tail`, `kafka` and `checkpoint` know these types and never each other.

use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::budget::Permit;
use crate::buffer::Buffer;

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
        let tail = &bytes[bytes.len().saturating_sub(Self::MAX_LEN)..];
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
#[derive(Debug, PartialEq, Eq)]
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
    /// A carriage return at the end of a line is not part of the record.
    pub strip_cr: bool,
}

/// How the records lie in a batch's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Framing {
    /// Lines, each ended by a newline. Only the last line of a finished file may lack it.
    Lines,
    /// The bytes are one record: piece `index` (from 1) of a line longer than `max_line_bytes`.
    /// The line's end, if it belongs to the piece, is among the bytes and not part of the record.
    Part {
        /// Which piece, counted from 1.
        index: u32,
        /// Whether the line ends here.
        last: bool,
    },
}

/// Consecutive events of one source, as raw file bytes.
///
/// The bytes are counted in the memory budget by `permit`; whoever holds them last drops it.
#[derive(Debug)]
pub struct Batch {
    /// Where the records go.
    pub destination: Arc<Destination>,
    /// Which source the bytes are of.
    pub source: SourceId,
    /// Offset of the first byte of `data` in the source.
    pub start: u64,
    /// The bytes: whole lines, or one piece of a line.
    pub data: Buffer,
    /// How records lie in `data`.
    pub framing: Framing,
    /// When the bytes were read, in ms since 1970; the records' CreateTime.
    pub read_at_ms: i64,
    /// The share of the memory budget that these bytes take until they are acknowledged.
    pub permit: Permit,
}

impl Batch {
    /// The records in order: the offset in `data` after the record (its newline included), and the
    /// record without its newline. An empty line is an empty record.
    pub fn records(&self) -> Records<'_> {
        self.records_from(0)
    }

    /// As [`Batch::records`], from `position` on, which must be the end of a record or 0.
    pub fn records_from(&self, position: usize) -> Records<'_> {
        let strip_cr = self.destination.route.strip_cr;
        Records::new(&self.data, self.framing, strip_cr, position)
    }

    /// The span from `from` to `to`, positions in `data`.
    pub fn span(&self, from: usize, to: usize) -> Span {
        Span {
            source: self.source,
            start: self.start + from as u64,
            end: self.start + to as u64,
            tail_checksum: TailChecksum::of(&self.data[..to]),
        }
    }
}

/// Iterator over the records of a [`Batch`].
pub struct Records<'a> {
    data: &'a [u8],
    /// The carriage return at the end of a line, and of the last piece of one, is left out.
    strip_cr: bool,
    position: usize,
    newlines: Option<memchr::Memchr<'a>>,
    base: usize,
}

impl<'a> Records<'a> {
    /// The records that lie in `data` as `framing` says, from `position` on: the end of a record, or 0.
    #[inline]
    pub(crate) fn new(data: &'a [u8], framing: Framing, strip_cr: bool, position: usize) -> Self {
        Records {
            data,
            strip_cr: strip_cr && !matches!(framing, Framing::Part { last: false, .. }),
            position,
            newlines: match framing {
                Framing::Lines => Some(memchr::memchr_iter(b'\n', &data[position..])),
                Framing::Part { .. } => None,
            },
            base: position,
        }
    }

    #[inline]
    fn without_cr(&self, line: &'a [u8]) -> &'a [u8] {
        let stripped = if self.strip_cr {
            line.strip_suffix(b"\r")
        } else {
            None
        };
        stripped.unwrap_or(line)
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = (usize, &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let start = self.position;
        if start >= self.data.len() {
            return None;
        }
        match &mut self.newlines {
            Some(newlines) => {
                let (line_end, next) = match newlines.next() {
                    Some(at) => (self.base + at, self.base + at + 1),
                    None => (self.data.len(), self.data.len()),
                };
                self.position = next;
                Some((next, self.without_cr(&self.data[start..line_end])))
            }
            None => {
                self.position = self.data.len();
                let piece = &self.data[start..];
                let piece = piece.strip_suffix(b"\n").unwrap_or(piece);
                Some((self.data.len(), self.without_cr(piece)))
            }
        }
    }
}
