//! What an attempt to read wants, and what it gives.

use std::sync::Arc;
use std::time::Instant;

use crate::batch::{Destination, Framing, Span};
use crate::budget::Permit;
use crate::buffer::Buffer;

/// What was read and not sent, since what may follow belongs to it.
#[derive(Debug)]
pub(super) struct Pending {
    /// Offset after it.
    pub(super) until: u64,
    /// When it was found at the end of the file.
    pub(super) since: Instant,
}

/// What one attempt to read gave.
#[derive(Debug)]
pub(in crate::tail) enum ReadOutcome {
    /// Bytes for a batch; they are counted as read.
    Batch(Chunk),
    /// What was made of the bytes of a span, all counted as read: perhaps nothing.
    Made(Span, Vec<Chunk>),
    /// NULs that nobody wrote; they are counted as read.
    Skipped(Span),
    /// All there was is read, except for `partial` bytes of a line or an event that has no end yet, and for NULs
    /// that are not written yet.
    End { partial: u64 },
    /// The memory budget has nothing left now.
    NoBudget,
    /// The file is shorter than it was, or the bytes before the position are others now: it was
    /// truncated, and what lies at the position is not what follows on what was read.
    Changed,
}

/// How much an attempt to read should fetch.
#[derive(Debug)]
pub(super) struct Wanted {
    /// Offset of the next hole, or `end`.
    pub(super) until: u64,
    /// Where the file ended when it was last looked at.
    pub(super) end: u64,
    /// Bytes at most.
    pub(super) most: usize,
    /// With fewer bytes from the budget it is of no use.
    pub(super) least: usize,
}

/// What is to be done about a line without an end.
#[derive(Debug)]
pub(super) enum Unended {
    /// Nothing more now.
    Read(ReadOutcome),
    /// It ends where its text ends.
    LineEnds,
    /// It was waited for long enough.
    TimedOut,
    /// More has to be read.
    WantsMore,
}

/// Bytes of one batch.
#[derive(Debug)]
pub(in crate::tail) struct Chunk {
    /// Where it goes, if that depends on the events.
    pub(in crate::tail) destination: Option<Arc<Destination>>,
    pub(in crate::tail) start: u64,
    pub(in crate::tail) data: Buffer,
    pub(in crate::tail) framing: Framing,
    pub(in crate::tail) permit: Permit,
}
