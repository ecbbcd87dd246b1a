//! How far the sources are read and acknowledged: what the registrar is told and keeps.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::Sender;

use crate::batch::{SourceId, Span, TailChecksum};
use crate::identity::{FileIdentity, FileTag};
use crate::metrics::SectionCounters;
use crate::snapshot::Positions;

/// Identity of a source and the offset up to which everything is acknowledged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Checkpoint {
    /// The path that is followed. A rotated file lies elsewhere by now; its checkpoint still names
    /// the path whose lines it holds.
    pub path: Arc<Path>,
    /// What the file is recognised by.
    pub identity: FileIdentity,
    /// Everything before this offset is acknowledged.
    pub offset: u64,
    /// How long the file was when it was last looked at, in bytes; at least `offset`. If it goes away, what
    /// lies between the two is lost. NULs at the end of a file count only when it is finished.
    pub size: u64,
    /// The bytes before `offset`.
    pub tail_checksum: TailChecksum,
    /// Places before `offset`, to know a shorter copy of the content again.
    pub marks: Marks,
    /// What its records name it by; `None`: they do not.
    pub tag: Option<FileTag>,
    /// What became of the file.
    pub state: SourceState,
    /// Order of opening: of two checkpoints of one path the larger number is the later file.
    pub serial: u64,
    /// When the file was last changed, as far as we know, in ns since 1970. What was rotated
    /// after it cannot be older.
    pub modified_ns: i64,
}

impl Checkpoint {
    /// Whether the file was empty whenever it was looked at, so that nothing tells its content from another.
    pub fn never_had_content(&self) -> bool {
        self.offset == 0 && self.identity.fingerprint.len == 0
    }

    /// Whether the tailer of another log has come across the file and left it to its own, which has not looked yet.
    pub fn is_remembered_unseen(&self) -> bool {
        self.offset == 0 && self.modified_ns == 0 && self.is_unfinished()
    }

    /// Whether the file still has to be read on from `offset`.
    pub fn is_unfinished(&self) -> bool {
        self.state == SourceState::Open
    }
}

/// What a checkpoints file holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Saved {
    /// The names of the `[log:NAME]` sections whose files were looked for before. `None`: the version of the
    /// file did not keep them, nor which files were skipped.
    pub sections: Option<Vec<String>>,
    /// One for each source.
    pub checkpoints: Vec<Checkpoint>,
    /// The serial numbers of those that only the topic knew. What it has may be older than what its agent knew.
    pub from_topic: Vec<u64>,
    /// No new source gets this serial number or one below: the topic may have had it, and say that it is done with.
    pub last_serial: u64,
}

/// What became of the file of a [`Checkpoint`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SourceState {
    /// The file is read, or has to be read on.
    Open,
    /// The file was rotated away and read to its end.
    Finished,
    /// The file lay beside the log and is none of its own: it was rotated away before the log was first seen, or
    /// never was a part of it. The agent never reads it.
    Skipped,
}

/// Checksums of what lies before some offsets of a source, thinned out towards its beginning.
///
/// Of a file that was truncated the agent has nothing but these and the fingerprint. A copy that was made while
/// the writer went on is shorter than what was read: it ends before the position and is known by the marks that
/// it covers.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Marks(Vec<Mark>);

/// One place of [`Marks`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mark {
    /// Offset in bytes.
    pub offset: u64,
    /// The bytes before it.
    pub tail_checksum: TailChecksum,
}

impl Marks {
    /// How many places are kept.
    pub const MAX: usize = 6;

    /// These places, in the order of their offsets.
    pub fn new(marks: Vec<Mark>) -> Option<Marks> {
        let is_ordered = marks.windows(2).all(|pair| pair[0].offset < pair[1].offset);
        (is_ordered && marks.len() <= Self::MAX).then_some(Marks(marks))
    }

    /// Adds a place behind all others. Where there are too many, the one goes whose loss leaves the smallest gap
    /// in proportion to its distance from the end, so that distances grow towards the beginning.
    pub fn add(&mut self, offset: u64, tail_checksum: TailChecksum) {
        if tail_checksum.len == 0 || self.0.last().is_some_and(|last| last.offset >= offset) {
            return;
        }
        if self.0.len() >= Self::MAX {
            let gap = |at: usize| {
                let before = at.checked_sub(1).map_or(0, |at| self.0[at].offset);
                let after = self.0.get(at + 1).map_or(offset, |mark| mark.offset);
                let distance = offset.saturating_sub(before).max(1);
                // In 64 bits: this is asked at each read, and a division of 128 takes ten times as long.
                after.saturating_sub(before).saturating_mul(1024) / distance
            };
            if let Some(least) = (0..self.0.len()).min_by_key(|at| gap(*at)) {
                self.0.remove(least);
            }
        }
        self.0.push(Mark {
            offset,
            tail_checksum,
        });
    }

    /// The places, in the order of their offsets.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Mark> {
        self.0.iter()
    }
}

/// A record of the topic of positions: key, and value; without one the key is forgotten.
pub type PositionRecord = (Vec<u8>, Option<Vec<u8>>);

/// What the registrar is told, over one channel: nothing else moves a checkpoint.
#[derive(Debug)]
pub enum Progress {
    /// The files of all sections were looked for, whether there are any or not: what comes later was not there at
    /// the start.
    LookedForAll,
    /// The files of these sections were looked for, and no others; positions are written so soon after they move.
    Following {
        /// Their names.
        sections: Vec<String>,
        /// `checkpoint_interval`.
        interval: Duration,
    },
    /// A tailer reads this source from `checkpoint.offset` on. Comes before any batch of the source.
    Opened {
        /// The source.
        source: SourceId,
        /// Where it stands.
        checkpoint: Checkpoint,
        /// Serial numbers of checkpoints that this one takes the place of.
        replaces: Vec<u64>,
        /// The serial number whose content goes on here, maybe in another file: a copy of what was truncated. 0: none.
        continues: u64,
        /// What the tailer shows of it.
        shown: Arc<ShownSource>,
    },
    /// The file is now better known: its fingerprint grew.
    Known {
        /// The source.
        source: SourceId,
        /// Its new identity.
        identity: FileIdentity,
    },
    /// The source is one of another section from now on. What is acknowledged after this counts there, though it may
    /// have been sent before.
    Shown {
        /// The source.
        source: SourceId,
        /// What the tailer shows of it there.
        shown: Arc<ShownSource>,
    },
    /// A file is known from now on that nobody reads at present.
    Registered(Checkpoint),
    /// The file of a checkpoint is gone for good.
    Forgotten {
        /// The checkpoint's serial number.
        serial: u64,
    },
    /// Kafka has the records of these spans (or they are in the dead-letter file).
    Acked(Vec<Span>),
    /// With `delivery = exactly_once`: these spans are in the transaction that a producer is about to commit. Where
    /// their sources stand once it is committed goes back; nothing moves yet.
    Sealed {
        /// Number of the producer.
        producer: usize,
        /// What is in the transaction.
        spans: Vec<Span>,
        /// Where the answer goes.
        reply: Sender<Vec<PositionRecord>>,
    },
    /// The transaction of [`Progress::Sealed`] is committed.
    Committed {
        /// Number of the producer.
        producer: usize,
        /// What was in it.
        spans: Vec<Span>,
    },
    /// Nothing of this span goes to Kafka: filters have dropped all of it.
    Filtered(Span),
    /// The file has a hole here: NULs that nobody wrote. There is nothing to send and nothing to wait for.
    Skipped(Span),
    /// The source is not read any more.
    Closed {
        /// The source.
        source: SourceId,
        /// Offset after the last byte that was read.
        end: u64,
        /// When the file was last changed, in ns since 1970.
        modified_ns: i64,
        /// Why, and so what becomes of its checkpoint.
        why: CloseReason,
    },
    /// Somebody wants to know how all of them stand after what was told before.
    Asked(Sender<Positions>),
}

impl Progress {
    /// Whether somebody waits for the answer.
    pub fn is_awaited(&self) -> bool {
        matches!(self, Progress::Sealed { .. } | Progress::Asked(_))
    }
}

/// What a tailer shows of a source while it has it open, in bytes.
#[derive(Debug, Default)]
pub struct ShownSource {
    /// Counters of its section.
    pub counters: Arc<SectionCounters>,
    size: AtomicU64,
    unended: AtomicU64,
}

impl ShownSource {
    /// Of a source of the section that has these counters.
    pub fn new(counters: Arc<SectionCounters>, size: u64) -> Self {
        ShownSource {
            counters,
            size: AtomicU64::new(size),
            ..ShownSource::default()
        }
    }

    /// The same, of a source that goes over to the section that has these counters.
    pub fn in_section(&self, counters: Arc<SectionCounters>) -> Self {
        ShownSource {
            counters,
            size: self.size().into(),
            unended: self.unended().into(),
        }
    }

    /// The file has so many bytes.
    pub fn show_size(&self, bytes: u64) {
        self.size.store(bytes, Ordering::Relaxed);
    }

    /// The last of them are the beginning of a line or an event, whose end is awaited.
    pub fn show_unended(&self, bytes: u64) {
        self.unended.store(bytes, Ordering::Relaxed);
    }

    /// How many bytes the file has.
    pub fn size(&self) -> u64 {
        self.size.load(Ordering::Relaxed)
    }

    /// How many of them wait for the end of their line or event.
    pub fn unended(&self) -> u64 {
        self.unended.load(Ordering::Relaxed)
    }
}

/// Why a source is not read any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// It was rotated away and read to its end. Its checkpoint stays for a while, so that the file
    /// is known if it is met again.
    Finished,
    /// Its content is gone. Nothing needs to be remembered once all is acknowledged.
    ContentGone,
    /// It is closed for now and will be opened again where it stands.
    Paused,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_close_near_the_end_and_sparse_near_the_beginning() {
        let mut marks = Marks::default();
        for n in 1..=1000u64 {
            marks.add(n * 100, TailChecksum::of(&n.to_le_bytes()));
        }
        let offsets: Vec<u64> = marks.iter().map(|mark| mark.offset).collect();
        assert_eq!(offsets.len(), Marks::MAX);
        assert_eq!(*offsets.last().expect("there are some"), 100_000);
        assert!(offsets[0] < 80_000, "{offsets:?}");
        assert!(offsets[Marks::MAX - 2] >= 95_000, "{offsets:?}");
        assert!(Marks::new(marks.iter().copied().collect()) == Some(marks));
    }

    #[test]
    fn a_place_that_was_passed_or_has_no_bytes_is_no_mark() {
        let mut marks = Marks::default();
        marks.add(10, TailChecksum::of(b"a"));
        marks.add(10, TailChecksum::of(b"b"));
        marks.add(5, TailChecksum::of(b"c"));
        marks.add(20, TailChecksum::default());
        assert_eq!(marks.iter().len(), 1);
    }
}
