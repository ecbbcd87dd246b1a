//! What goes into a recorder and what comes out.

use std::ops::Range;
use std::sync::Arc;

use crate::batch::{Destination, Events, Framing, OwnParts, TailChecksum};
use crate::buffer::Buffer;

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
    /// Its bytes.
    pub content: Content,
    /// How its events lie in its bytes.
    pub framing: Framing,
}

/// The bytes of a run.
#[derive(Debug)]
pub enum Content {
    /// They were made.
    Made(Buffer),
    /// They are these of the data, one after the other.
    Kept(Vec<Range<usize>>),
}

impl Run {
    /// Its bytes, part by part; `data` is what it was made of.
    pub fn parts<'a>(&'a self, data: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let (made, kept) = match &self.content {
            Content::Made(made) => (&made[..], &[][..]),
            Content::Kept(kept) => (&[][..], &kept[..]),
        };
        let kept = kept
            .iter()
            .map(|place| data.get(place.clone()).unwrap_or_default());
        std::iter::once(made).chain(kept)
    }

    /// Has the last event stand for all of the data up to `bytes`.
    pub(super) fn extend(&mut self, bytes: usize, data: &[u8]) {
        let Framing::Events(events) = &mut self.framing else {
            return;
        };
        if let Some(mark) = events.marks.last_mut()
            && mark.span_end as usize != bytes - self.start
        {
            mark.span_end = (bytes - self.start) as u32;
            let checksum = TailChecksum::of(&data[self.start..bytes]);
            match events.checksums.last_mut() {
                Some(last) => *last = checksum,
                None => events.end_checksum = Some(checksum),
            }
        }
    }
}

/// The run that is being made.
#[derive(Debug, Default)]
pub(super) struct OpenRun {
    pub(super) destination: Option<Arc<Destination>>,
    /// Where it begins in the data.
    pub(super) start: usize,
    pub(super) events: Events,
    /// Where its events lie in the data, if they are kept.
    pub(super) kept: Vec<Range<usize>>,
}

impl OpenRun {
    /// Keeps an event where it is; returns where it ends in the bytes of the run.
    pub(super) fn keep(&mut self, place: Range<usize>) -> usize {
        let last = self.events.marks.last();
        let bytes = last.map_or(0, |mark| mark.end as usize) + place.len();
        match self.kept.last_mut() {
            Some(last) if last.end == place.start => last.end = place.end,
            _ => self.kept.push(place),
        }
        bytes
    }

    /// How many bytes of the data are done with its last event.
    pub(super) fn last_end(&self) -> usize {
        let last = self.events.marks.last();
        last.map_or(0, |mark| mark.span_end as usize)
    }

    /// Whether the last event of the run has the same key as the one that has `own`, whose bytes begin at `from`.
    pub(super) fn has_last_key(&self, own: OwnParts, from: usize) -> bool {
        let Some(at) = self.events.own.len().checked_sub(1) else {
            return true;
        };
        let key = own
            .has_key
            .then(|| &self.events.own_bytes[from..own.key_end as usize]);
        self.events.own_of(at).is_some_and(|last| last.key == key)
    }
}
