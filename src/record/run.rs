//! What goes into a recorder and what comes out.

use std::ops::Range;
use std::sync::Arc;

use crate::batch::{Destination, Framing};

/// What a recorder must know of its file.
#[derive(Debug)]
pub struct FileFacts<'a> {
    /// The file's inode.
    pub inode: u64,
    /// A number for the file, which `sample` goes by.
    pub identity: u64,
    /// Where the source stands.
    pub position: u64,
    /// The first bytes of the file up to there, 64 KiB at most.
    pub head: &'a [u8],
    /// The bytes before it, as many.
    pub before: &'a [u8],
    /// Where its records go, as far as that depends on the section alone.
    pub destination: &'a Arc<Destination>,
}

/// Bytes that a recorder is asked about.
#[derive(Debug)]
pub struct Input<'a> {
    /// What was cut off: whole lines, or a piece of one.
    pub data: &'a [u8],
    /// What was read behind it.
    pub behind: &'a [u8],
    /// What `data` is: not [`Framing::Events`].
    pub framing: &'a Framing,
    /// Offset of `data` in the file.
    pub start: u64,
    /// No more lines will follow on the last event, or none are waited for.
    pub is_complete: bool,
}

/// What became of them.
#[derive(Debug, Default)]
pub struct Made {
    /// How many bytes of the data are done with; 0 if more must come to tell.
    pub bytes: usize,
    /// Events that are their bytes in the file: how they lie there.
    pub as_read: Option<Framing>,
    /// What was made of events, in their order.
    pub runs: Vec<Run>,
}

/// Consecutive events that go to one destination.
#[derive(Debug)]
pub struct Run {
    /// Where it goes; `None`: where all of the file does.
    pub destination: Option<Arc<Destination>>,
    /// Where it begins in the data.
    pub start: usize,
    pub(super) bytes: Range<usize>,
    /// How its events lie in its bytes.
    pub framing: Framing,
}
