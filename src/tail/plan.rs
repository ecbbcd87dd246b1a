//! What follows from what lies where: an [`Observation`] goes in, a [`Plan`] comes out, and nothing is touched.
//!
//! The same plan is made at a start, after a rotation, after a truncation and when a file was closed for a while.
//! It answers, in this order:
//! 1. Which open sources have lost their content ([`Verdict::Replaced`]), and where is the rest of it? In a copy or
//!    an archive that [`ContentMatch::Continues`]; in none that is only [`ContentMatch::Shorter`], since then all
//!    that the copy holds was read.
//! 2. What is the file at the path: an open source, one that a checkpoint stands in, or a new one?
//! 3. Where are the files of the checkpoints that have something unread?
//! 4. Which files that nobody knows were rotated away in between? Only where something shows that the path was
//!    rotated ([`Planner::is_rotated`]); otherwise a file that appears beside the log is no part of it.
//!
//! # Rules
//! - Content that is known is never new, whatever its name, inode or compression.
//! - A file that may not be read for now keeps its position, and nothing counts as lost while there is one.
//! - Old lines come before new ones: the sources are planned in the order in which they were written.

mod known;
mod unknown;

use std::collections::{BTreeMap, BTreeSet};

use super::observation::{
    Adoption, Candidate, Current, Match, Observation, OpenSource, Readable, Verdict, has,
    is_truncated_away,
};
use super::recognise::{ContentMatch, is_same_inode};
use crate::identity::FileStat;
use crate::progress::{Checkpoint, SourceState};

/// What to do.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// All sources from now on, oldest first. An open source that is not among them is closed.
    pub(super) sources: Vec<Planned>,
    /// Open sources that do not lie at the path any more.
    pub(super) detached: Vec<u64>,
    /// The last of `sources` lies at the path.
    pub(super) has_current: bool,
    /// Why open sources that are not in `sources` are closed.
    pub(super) closed: BTreeMap<u64, Close>,
    /// Bytes that nobody can read any more.
    pub(super) lost: Vec<Lost>,
    /// Checkpoints whose content is nowhere, with all that was seen of it delivered.
    pub(super) gone: Vec<u64>,
    /// Checkpoints that others take the place of.
    pub(super) superseded: Vec<u64>,
    /// Checkpoints whose file holds other content by now, while a copy of theirs may be one that cannot be looked at.
    pub(super) overwritten: Vec<u64>,
    /// Candidates to remember.
    pub(super) registered: Vec<(usize, Registration)>,
    /// Files with something unread that cannot be read now.
    pub(super) blocked: Vec<Blocked>,
    /// The path was rotated or truncated.
    pub(super) is_rotated: bool,
    /// Another path has the file that lies at this one.
    pub(super) is_read_elsewhere: bool,
    /// Nobody has begun the file at the path, and it was not written for so long that nobody does.
    pub(super) is_left_out: bool,
}

/// One source after the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Planned {
    /// It stays as it is.
    Keep(u64),
    /// The same open file, with other content: a new source from its beginning.
    Restart(u64),
    /// A candidate is opened.
    Open(usize, From),
    /// What lies at the path is opened.
    OpenCurrent(From),
}

/// Where a file is read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    Start,
    /// Its last line without a newline, or its end.
    End,
    /// Where this source or checkpoint stands; it is replaced.
    PositionOf(u64),
}

/// What becomes of the checkpoint of a source that is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Close {
    /// Another source goes on from its position.
    Replaced,
    /// It has to be read on, once that can be.
    Unfinished,
    /// Nothing of it is left to read.
    ContentGone,
}

/// Bytes of a source or checkpoint that nobody can read any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lost {
    pub(super) serial: u64,
    pub(super) offset: u64,
    pub(super) bytes: u64,
    /// The file of a checkpoint is gone, instead of an open one's being truncated.
    pub(super) is_gone: bool,
}

/// What is remembered of a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Registration {
    /// It is no part of the log.
    Skipped,
    /// It holds what was read of this source or checkpoint, all of it.
    CopyOf(u64),
    /// It has to be read once it can be.
    Unread,
    /// It has to be read by the tailer of its own name.
    OfItself,
}

/// What cannot be read now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Blocked {
    /// A candidate.
    Candidate(usize),
    /// A checkpoint whose file was not found, while not every file could be looked at.
    Checkpoint(u64),
}

/// Makes the plan.
pub(super) fn plan(seen: &Observation) -> Plan {
    let mut planner = Planner {
        seen,
        plan: Plan::default(),
        opened: BTreeMap::new(),
        settled: BTreeSet::new(),
        restarted: BTreeSet::new(),
        current: None,
    };
    planner.plan.is_rotated = planner.is_rotated();
    planner.check_open();
    planner.place_current();
    planner.find_known();
    planner.take_unknown();
    planner.register_copies();
    planner.finish()
}

struct Planner<'a> {
    seen: &'a Observation,
    plan: Plan,
    /// Candidates that are opened, and where from.
    opened: BTreeMap<usize, From>,
    /// Serial numbers for which it is settled what becomes of them.
    settled: BTreeSet<u64>,
    /// Open sources that begin anew.
    restarted: BTreeSet<u64>,
    /// What lies at the path from now on.
    current: Option<Planned>,
}

impl Planner<'_> {
    /// Whether something shows that the path was rotated or truncated since the last look.
    fn is_rotated(&self) -> bool {
        let seen = self.seen;
        if seen.was_just_rotated {
            return true;
        }
        let is_at_path = |checkpoint: &Checkpoint| match &seen.current {
            Current::File { stat, .. } => is_same_inode(checkpoint, stat),
            Current::Untold | Current::ReadElsewhere => true,
            Current::Absent => false,
        };
        if let Some(current) = seen.open.iter().find(|open| open.is_current) {
            let is_other = matches!(current.verdict, Verdict::Replaced | Verdict::Begun);
            return is_other || !is_at_path(&current.reached) || self.was_rotated_unseen();
        }
        if !seen.open.is_empty() {
            return true;
        }
        if self.was_rotated_unseen() {
            return true;
        }
        let last = seen
            .known
            .iter()
            .filter(|c| c.state != SourceState::Skipped);
        // What was remembered for this tailer by that of another log does not tell what lay at the path before.
        let Some(last) = last.max_by_key(|c| (!c.is_remembered_unseen(), c.serial)) else {
            return seen.adoption == Adoption::Known;
        };
        if let Current::File { stat, matches } = &seen.current {
            // The file at the path may have been remembered for its tailer by that of another log.
            let is_elsewhere = |c: &&Checkpoint| c.is_unfinished() && !is_same_inode(c, stat);
            let mut elsewhere = seen.known.iter().filter(is_elsewhere);
            if elsewhere.any(|c| !has(matches, c.serial, ContentMatch::Continues)) {
                return true;
            }
        }
        match &seen.current {
            Current::File { stat, .. } if last.never_had_content() => {
                !is_same_inode(last, stat) || stat.size > 0 || stat.modified_ns != last.modified_ns
            }
            Current::File { stat, matches } => {
                !is_same_inode(last, stat) || !has(matches, last.serial, ContentMatch::Continues)
            }
            Current::Untold | Current::ReadElsewhere => false,
            Current::Absent => true,
        }
    }

    /// Whether a file that has something unread is neither at the path nor one that cannot be read for now: while a
    /// folder could not be listed, the path was rotated, and what followed on that file has not been looked for.
    fn was_rotated_unseen(&self) -> bool {
        let is_there = |checkpoint: &Checkpoint| match &self.seen.current {
            Current::File { stat, .. } => is_same_inode(checkpoint, stat),
            Current::Untold | Current::ReadElsewhere => true,
            Current::Absent => false,
        };
        let is_blocked = |checkpoint: &Checkpoint| {
            let at = self.candidate_at(checkpoint);
            at.is_some_and(|at| self.seen.candidates[at].readable == Readable::NotYet)
        };
        let mut known = self.seen.known.iter();
        known.any(|c| c.is_unfinished() && !is_there(c) && !is_blocked(c))
    }

    /// 1. Open sources whose content is another one now.
    fn check_open(&mut self) {
        for open in &self.seen.open {
            let serial = open.reached.serial;
            match open.verdict {
                Verdict::Intact | Verdict::Begun => {}
                Verdict::CutAhead => {
                    let bytes = open.reached.size.saturating_sub(open.stat.size);
                    self.record_lost(serial, open.stat.size, bytes, false);
                }
                Verdict::Replaced => {
                    let close = self.find_rest(&open.reached, false);
                    self.plan.closed.insert(serial, close);
                    self.settled.insert(serial);
                    if self.holds_new_content(open) {
                        self.restarted.insert(serial);
                        self.leave_kept(open);
                    }
                }
            }
        }
    }

    /// What is still there of a replaced source is read from its first byte on, and no part of what is lost.
    fn leave_kept(&mut self, open: &OpenSource) {
        let serial = open.reached.serial;
        if let Some(lost) = self.plan.lost.iter_mut().find(|l| l.serial == serial) {
            lost.offset += open.kept_bytes;
            lost.bytes -= open.kept_bytes.min(lost.bytes);
        }
    }

    /// Whether what a replaced source holds now was written as a log. A file that was rotated away is not written
    /// anew: it was overwritten (`shred`) or truncated to be removed.
    fn holds_new_content(&self, open: &OpenSource) -> bool {
        if !open.is_current || open.stat.links == 0 {
            return false;
        }
        let is_at_path = match &self.seen.current {
            Current::File { stat, .. } => is_same_inode(&open.reached, stat),
            _ => false,
        };
        is_at_path || !self.is_archived(open.reached.serial)
    }

    fn is_archived(&self, serial: u64) -> bool {
        let mut candidates = self.seen.candidates.iter();
        candidates.any(|c| c.is_archive && c.matches.iter().any(|m| m.serial == serial))
    }

    /// Finds the rest of content that is not where it was; says what becomes of its source or checkpoint.
    fn find_rest(&mut self, reached: &Checkpoint, is_gone: bool) -> Close {
        let serial = reached.serial;
        if let Some(at) = self.candidate_with(serial, ContentMatch::Continues) {
            self.open(at, From::PositionOf(serial));
            return Close::Replaced;
        }
        let unread = reached.size.saturating_sub(reached.offset);
        if self.candidate_with(serial, ContentMatch::Shorter).is_some() {
            // The writer went on while the copy was made: what was read is more than what it holds.
            self.record_lost(serial, reached.offset, unread, is_gone);
            return Close::ContentGone;
        }
        if self.may_be_unseen() {
            self.plan.blocked.push(Blocked::Checkpoint(serial));
            return Close::Unfinished;
        }
        if unread > 0 {
            self.record_lost(serial, reached.offset, unread, is_gone);
        } else if is_gone {
            self.plan.gone.push(serial);
        }
        Close::ContentGone
    }

    /// Whether a file that was not found may be one that cannot be looked at now. One that could not be read at an
    /// earlier look either has a checkpoint, which says nothing of its content.
    fn may_be_unseen(&self) -> bool {
        let unknown = |c: &Candidate| {
            let known = self.known_at(c);
            c.readable == Readable::NotYet
                && !c.is_followed
                && known.is_none_or(|known| known.never_had_content() && c.stat.size > 0)
        };
        self.seen.is_incomplete || self.seen.candidates.iter().any(unknown)
    }

    /// The candidate whose content is that of `serial`: the longest, since a copy may have been made earlier than the
    /// archive; of two that are alike the one that can still grow.
    fn candidate_with(&self, serial: u64, content: ContentMatch) -> Option<usize> {
        let candidates = self.seen.candidates.iter().enumerate();
        candidates
            .filter(|(at, c)| {
                has(&c.matches, serial, content) && !self.opened.contains_key(at) && c.stat.size > 0
            })
            .max_by_key(|(_, c)| (c.stat.size, !c.is_archive))
            .map(|(at, _)| at)
    }

    fn record_lost(&mut self, serial: u64, offset: u64, bytes: u64, is_gone: bool) {
        if bytes > 0 {
            self.plan.lost.push(Lost {
                serial,
                offset,
                bytes,
                is_gone,
            });
        }
    }

    fn open(&mut self, at: usize, from: From) {
        self.opened.insert(at, from);
    }

    /// 2. What lies at the path.
    fn place_current(&mut self) {
        let before = self.seen.open.iter().find(|open| open.is_current);
        let (stat, matches) = match &self.seen.current {
            Current::File { stat, matches } => (stat, matches),
            Current::Untold => {
                self.current = before.map(|open| self.kept(open.reached.serial));
                return;
            }
            Current::Absent | Current::ReadElsewhere => {
                self.plan.is_read_elsewhere = matches!(self.seen.current, Current::ReadElsewhere);
                self.detach(before);
                return;
            }
        };
        let mut open = self.seen.open.iter();
        if let Some(open) = open.find(|open| is_same_inode(&open.reached, stat)) {
            let serial = open.reached.serial;
            if before.is_some_and(|before| before.reached.serial != serial) {
                self.detach(before);
            }
            self.current = Some(match self.settled.contains(&serial) {
                true => Planned::Restart(serial),
                false => Planned::Keep(serial),
            });
            self.restarted.remove(&serial);
            return;
        }
        self.detach(before);
        let from = self.start_of(stat, matches);
        self.plan.is_left_out = !matches!(from, From::PositionOf(_)) && self.is_too_old(stat);
        if !self.plan.is_left_out {
            self.current = Some(Planned::OpenCurrent(from));
        }
    }

    /// Whether a file that nobody has begun was not written for so long that it is left out.
    fn is_too_old(&self, stat: &FileStat) -> bool {
        let begun_from = self.seen.begun_from_ns;
        begun_from.is_some_and(|from_ns| stat.modified_ns < from_ns)
    }

    fn kept(&self, serial: u64) -> Planned {
        match self.restarted.contains(&serial) || self.settled.contains(&serial) {
            true => Planned::Restart(serial),
            false => Planned::Keep(serial),
        }
    }

    fn detach(&mut self, before: Option<&OpenSource>) {
        self.plan
            .detached
            .extend(before.map(|open| open.reached.serial));
    }

    /// Where a file at the path that is not open is read from.
    fn start_of(&mut self, stat: &FileStat, matches: &[Match]) -> From {
        let seen = self.seen;
        // Two checkpoints may stand in one file, if a crash came after it was opened again: then the one that has
        // not come to its end counts, at its smaller offset.
        let standing: Vec<&Checkpoint> = seen
            .known
            .iter()
            .filter(|c| is_same_inode(c, stat) && c.state != SourceState::Skipped)
            .collect();
        let (here, replaced): (Vec<_>, Vec<_>) = standing.into_iter().partition(|c| {
            c.never_had_content() || has(matches, c.serial, ContentMatch::Continues)
        });
        for checkpoint in replaced {
            if self.settled.insert(checkpoint.serial) && checkpoint.is_unfinished() {
                // It was truncated while nobody looked.
                let close = self.find_rest(checkpoint, true);
                self.supersede(checkpoint.serial, close);
            }
        }
        let first = here.iter().min_by_key(|c| match c.is_unfinished() {
            true => (false, c.offset),
            false => (true, u64::MAX - c.offset),
        });
        if let Some(first) = first {
            for other in &here {
                self.settled.insert(other.serial);
                if other.serial != first.serial {
                    self.plan.superseded.push(other.serial);
                }
            }
            return From::PositionOf(first.serial);
        }
        if let Some(serial) = self.moved_here(stat, matches) {
            return From::PositionOf(serial);
        }
        // What lay there when the path was found may have been rotated away since: then this one came later.
        let came_later = seen.candidates.iter().any(|c| c.was_found_at_path);
        match seen.adoption {
            Adoption::New { from_end: true } if !came_later => From::End,
            _ => From::Start,
        }
    }

    fn supersede(&mut self, serial: u64, close: Close) {
        match close {
            Close::ContentGone if !self.plan.gone.contains(&serial) => {
                self.plan.superseded.push(serial);
            }
            Close::Unfinished => self.plan.overwritten.push(serial),
            Close::ContentGone | Close::Replaced => {}
        }
    }

    /// The source or checkpoint whose content another file holds now: the log was moved to another disk, came back
    /// from a backup, or an editor has saved it.
    ///
    /// Many logs begin alike. So the new file must hold all that was delivered, and either that is much, or the
    /// file before must be gone, to another folder at least; otherwise it was rotated away, and the new one begins
    /// as it did.
    fn moved_here(&mut self, stat: &FileStat, matches: &[Match]) -> Option<u64> {
        let is_much = |c: &Checkpoint| c.offset >= MUCH_BYTES;
        for open in &self.seen.open {
            let reached = &open.reached;
            let is_left = !open.is_beside || is_much(reached);
            if has(matches, reached.serial, ContentMatch::Continues)
                && reached.offset > 0
                && stat.size >= reached.size
                && is_left
                && self.settled.insert(reached.serial)
            {
                self.plan.closed.insert(reached.serial, Close::Replaced);
                return Some(reached.serial);
            }
        }
        let mut known: Vec<&Checkpoint> = self.seen.known.iter().collect();
        known.sort_unstable_by_key(|c| std::cmp::Reverse(c.serial));
        for checkpoint in known {
            let is_there = self.candidate_at(checkpoint).is_some();
            if has(matches, checkpoint.serial, ContentMatch::Continues)
                && checkpoint.offset > 0
                && checkpoint.state != SourceState::Skipped
                && (checkpoint.is_unfinished() || !is_truncated_away(checkpoint))
                && (!is_there || is_much(checkpoint))
                && !self.settled.contains(&checkpoint.serial)
            {
                self.settled.insert(checkpoint.serial);
                return Some(checkpoint.serial);
            }
        }
        None
    }
}

/// So many delivered bytes that come first in another file are no accident.
pub(super) const MUCH_BYTES: u64 = 4096;
/// How far apart two changes are at least whose times differ: file systems take the time of the last tick.
const CLOCK_TICK_NS: i64 = 50_000_000;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic fails the test")]
mod tests;
