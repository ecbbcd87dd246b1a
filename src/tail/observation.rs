//! What was seen, as data: what goes into the plan.

use super::recognise::{ContentMatch, is_same_inode};
use crate::identity::{FileStat, Inode};
use crate::progress::Checkpoint;

/// What was seen, as data. Numbers of candidates are their places in [`Observation::candidates`]; sources and
/// checkpoints go by their serial numbers.
#[derive(Debug, Default)]
pub(super) struct Observation {
    /// The sources of the tailer, oldest first.
    pub(super) open: Vec<OpenSource>,
    /// What lies at the path.
    pub(super) current: Current,
    /// The checkpoints of the path whose files are not open.
    pub(super) known: Vec<Checkpoint>,
    /// The serial numbers of those of which only the topic of positions told.
    pub(super) from_topic: Vec<u64>,
    /// The files that rotation may have left.
    pub(super) candidates: Vec<Candidate>,
    /// Candidates and open sources in the order in which they were written, as names and times tell.
    pub(super) order: Vec<Place>,
    /// What the agent knew of the path before.
    pub(super) adoption: Adoption,
    /// The path was rotated a moment ago: what rotation left may appear only now.
    pub(super) was_just_rotated: bool,
    /// A time, in ns since 1970, at which the open file still lay at the path, by the clock of its file system; 0 if
    /// there is none that can be trusted.
    pub(super) in_place_at_ns: i64,
    /// When everything was looked at, in ns since 1970.
    pub(super) looked_at_ns: i64,
    /// Files whose last change is before this time, in ns since 1970, are not begun.
    pub(super) begun_from_ns: Option<i64>,
    /// A folder could not be listed: a file that was not found may be there.
    pub(super) is_incomplete: bool,
}

impl Observation {
    /// Whether a time is none of a clock that goes right: somebody has set it, or the clock was set back since. Clocks
    /// of file servers differ by less.
    pub(super) fn is_ahead(&self, time_ns: i64) -> bool {
        time_ns > self.looked_at_ns.saturating_add(CLOCKS_DIFFER_NS)
    }

    /// Those of the checkpoints `gone`, of which all that was seen is delivered, that may have got more unseen.
    ///
    /// ```text
    /// app.log  is read to its end, truncated, and read from its beginning: its agent saw that, and what was lost then
    /// SIGKILL, or a stop; and the state folder is lost
    /// ```
    /// The topic of positions forgets the first content in a transaction of its own, which may not have come: then two
    /// checkpoints claim one file. The same is so of a file that was read to its end, rotated away and removed: that it
    /// was finished goes with what is sent next. Where a later file is known by what was read of it, that came before.
    pub(super) fn perhaps_grown<'a>(
        &'a self,
        gone: &'a [u64],
    ) -> impl Iterator<Item = &'a Checkpoint> {
        let known = self.known.iter();
        known.filter(|known| gone.contains(&known.serial) && !self.was_seen_to_end(known))
    }

    /// Whether an agent came to the file that lies at the path now after it had seen the end of this one.
    fn was_seen_to_end(&self, known: &Checkpoint) -> bool {
        let Current::File { stat, matches } = &self.current else {
            return false;
        };
        let is_later = |other: &&Checkpoint| other.serial > known.serial && other.offset > 0;
        let is_there = |other: &Checkpoint| {
            is_same_inode(other, stat) && has(matches, other.serial, ContentMatch::Continues)
        };
        let is_told_late = is_same_inode(known, stat) || self.from_topic.contains(&known.serial);
        is_told_late && self.known.iter().filter(is_later).any(is_there)
    }
}

/// What the agent knew of a path before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Adoption {
    /// Nothing. What was rotated away before is not read. `from_end`: nor is what the file at the path holds.
    New { from_end: bool },
    /// Which of its files are read and which are skipped.
    #[default]
    Known,
    /// Which of its files are read, by an agent that did not keep the skipped ones: older files are skipped.
    KnownFilesOnly,
}

/// One source of the tailer.
#[derive(Debug)]
pub(super) struct OpenSource {
    /// Its checkpoint when everything that was read is acknowledged.
    pub(super) reached: Checkpoint,
    /// The source was at the path at the last look.
    pub(super) is_current: bool,
    /// Its file lies beside the path, under whatever name, unless that is one of an editor's backup.
    pub(super) is_beside: bool,
    pub(super) verdict: Verdict,
    /// Of a replaced one of which nothing was read: so many of the bytes that were seen are still there.
    pub(super) kept_bytes: u64,
    pub(super) stat: FileStat,
}

/// What became of the content of an open source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is there, and may have grown.
    Intact,
    /// It was empty at every look and has changed: something may have been written, copied and truncated away.
    Begun,
    /// It was cut behind the position.
    CutAhead,
    /// It is not what was read any more.
    Replaced,
}

/// What lies at the path.
#[derive(Debug, Default)]
pub(super) enum Current {
    /// Nothing.
    #[default]
    Absent,
    /// That cannot be told now: nothing follows from it.
    Untold,
    /// A file that the tailer of another path reads.
    ReadElsewhere,
    /// A file.
    File {
        stat: FileStat,
        /// What its content is to open sources and checkpoints.
        matches: Vec<Match>,
    },
}

/// What the content of a file is to the source or checkpoint `serial`. Others are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Match {
    pub(super) serial: u64,
    pub(super) content: ContentMatch,
}

/// A file that rotation may have left. Sources of this tailer and files that others know are none.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) stat: FileStat,
    pub(super) is_archive: bool,
    pub(super) readable: Readable,
    pub(super) matches: Vec<Match>,
    /// The file lay at the path when that was found, and was rotated away before anybody opened it.
    pub(super) was_found_at_path: bool,
    /// Its name has a date or a counter of a rotation.
    pub(super) is_numbered: bool,
    /// Nobody knows the file, and its name is followed by itself.
    pub(super) is_followed: bool,
}

/// Whether the content of a candidate is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Readable {
    Yes,
    /// Its inode and times say that it is what its checkpoint knows: it was not opened.
    Unchanged,
    /// Not for now: rights, an I/O error, an archive that is still being written.
    NotYet,
}

/// A candidate or an open source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    Open(u64),
    Candidate(usize),
}

/// A file that was written to so long after the next one was made is not what rotation left.
pub(super) const NEIGHBOUR_NS: i64 = 10_000_000_000;

/// No file has it.
pub(super) const NO_INODE: Inode = Inode {
    device: 0,
    inode: 0,
};

/// Whether a candidate is the file of a checkpoint. Of an archive no birth is known, and the inode of one that was
/// removed is soon another's: its content decides, where it could be read.
pub(super) fn is_file_of(checkpoint: &Checkpoint, candidate: &Candidate) -> bool {
    let serial = checkpoint.serial;
    is_same_inode(checkpoint, &candidate.stat)
        && (!candidate.is_archive
            || candidate.readable != Readable::Yes
            || checkpoint.never_had_content()
            || candidate.matches.iter().any(|m| m.serial == serial))
}

/// Whether the content has no file any more, and is known only so that its copies are.
pub(super) fn is_truncated_away(checkpoint: &Checkpoint) -> bool {
    checkpoint.identity.inode == NO_INODE && checkpoint.offset > 0
}

pub(super) fn has(matches: &[Match], serial: u64, content: ContentMatch) -> bool {
    matches.contains(&Match { serial, content })
}

/// So much, in ns, the clocks of hosts and file servers may differ.
const CLOCKS_DIFFER_NS: i64 = 600_000_000_000;

/// Stands for what lies at the path where that has no serial number yet.
pub(super) const COPY_OF_UNKNOWN: u64 = u64::MAX;
