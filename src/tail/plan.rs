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

use std::collections::{BTreeMap, BTreeSet};

use super::recognise::{ContentMatch, is_same_inode};
use crate::identity::{Inode, Look};
use crate::progress::{Checkpoint, SourceState};

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
    /// A folder could not be listed: a file that was not found may be there.
    pub(super) is_incomplete: bool,
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
    pub(super) look: Look,
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
        look: Look,
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
    pub(super) look: Look,
    pub(super) is_archive: bool,
    pub(super) readable: Readable,
    pub(super) matches: Vec<Match>,
    /// The file lay at the path when that was found, and was rotated away before anybody opened it.
    pub(super) was_found_at_path: bool,
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
    /// Candidates to remember.
    pub(super) registered: Vec<(usize, Registration)>,
    /// Files with something unread that cannot be read now.
    pub(super) blocked: Vec<Blocked>,
    /// The path was rotated or truncated.
    pub(super) is_rotated: bool,
    /// Another path has the file that lies at this one.
    pub(super) is_read_elsewhere: bool,
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
    Gone,
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
            Current::File { look, .. } => is_same_inode(checkpoint, look),
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
        let Some(last) = last.max_by_key(|c| c.serial) else {
            return seen.adoption == Adoption::Known;
        };
        if let Current::File { look, matches } = &seen.current {
            // The file at the path may have been remembered for its tailer by that of another log.
            let is_elsewhere = |c: &&Checkpoint| c.is_unfinished() && !is_same_inode(c, look);
            let mut elsewhere = seen.known.iter().filter(is_elsewhere);
            if elsewhere.any(|c| !has(matches, c.serial, ContentMatch::Continues)) {
                return true;
            }
        }
        match &seen.current {
            Current::File { look, .. } if last.is_blank() => {
                !is_same_inode(last, look) || look.size > 0 || look.modified_ns != last.modified_ns
            }
            Current::File { look, matches } => {
                !is_same_inode(last, look) || !has(matches, last.serial, ContentMatch::Continues)
            }
            Current::Untold | Current::ReadElsewhere => false,
            Current::Absent => true,
        }
    }

    /// Whether a file that has something unread is neither at the path nor one that cannot be read for now: while a
    /// folder could not be listed, the path was rotated, and what followed on that file has not been looked for.
    fn was_rotated_unseen(&self) -> bool {
        let is_there = |checkpoint: &Checkpoint| match &self.seen.current {
            Current::File { look, .. } => is_same_inode(checkpoint, look),
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
                    let bytes = open.reached.size.saturating_sub(open.look.size);
                    self.lose(serial, open.look.size, bytes, false);
                }
                Verdict::Replaced => {
                    let close = self.find_rest(&open.reached, false);
                    self.plan.closed.insert(serial, close);
                    self.settled.insert(serial);
                    if self.holds_new_content(open) {
                        self.restarted.insert(serial);
                    }
                }
            }
        }
    }

    /// Whether what a replaced source holds now was written as a log. A file that was rotated away is not written
    /// anew: it was overwritten (`shred`) or truncated to be removed.
    fn holds_new_content(&self, open: &OpenSource) -> bool {
        if !open.is_current || open.look.links == 0 {
            return false;
        }
        let is_at_path = match &self.seen.current {
            Current::File { look, .. } => is_same_inode(&open.reached, look),
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
            self.lose(serial, reached.offset, unread, is_gone);
            return Close::Gone;
        }
        if self.may_be_unseen() {
            self.plan.blocked.push(Blocked::Checkpoint(serial));
            return Close::Unfinished;
        }
        if unread > 0 {
            self.lose(serial, reached.offset, unread, is_gone);
        } else if is_gone {
            self.plan.gone.push(serial);
        }
        Close::Gone
    }

    /// Whether a file that was not found may be one that cannot be looked at now.
    fn may_be_unseen(&self) -> bool {
        let unknown = |c: &Candidate| {
            c.readable == Readable::NotYet && self.known_at(c).is_none() && !c.is_followed
        };
        self.seen.is_incomplete || self.seen.candidates.iter().any(unknown)
    }

    /// The candidate whose content is that of `serial`: the longest, since a copy may have been made earlier than the
    /// archive; of two that are alike the one that can still grow.
    fn candidate_with(&self, serial: u64, content: ContentMatch) -> Option<usize> {
        let candidates = self.seen.candidates.iter().enumerate();
        candidates
            .filter(|(at, c)| {
                has(&c.matches, serial, content) && !self.opened.contains_key(at) && c.look.size > 0
            })
            .max_by_key(|(_, c)| (c.look.size, !c.is_archive))
            .map(|(at, _)| at)
    }

    fn lose(&mut self, serial: u64, offset: u64, bytes: u64, is_gone: bool) {
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
        let (look, matches) = match &self.seen.current {
            Current::File { look, matches } => (look, matches),
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
        if let Some(open) = open.find(|open| is_same_inode(&open.reached, look)) {
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
        let from = self.start_of(look, matches);
        self.current = Some(Planned::OpenCurrent(from));
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
    fn start_of(&mut self, look: &Look, matches: &[Match]) -> From {
        let seen = self.seen;
        // Two checkpoints may stand in one file, if a crash came after it was opened again: then the one that has
        // not come to its end counts, at its smaller offset.
        let standing: Vec<&Checkpoint> = seen
            .known
            .iter()
            .filter(|c| is_same_inode(c, look) && c.state != SourceState::Skipped)
            .collect();
        let (here, replaced): (Vec<_>, Vec<_>) = standing
            .into_iter()
            .partition(|c| c.is_blank() || has(matches, c.serial, ContentMatch::Continues));
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
        if let Some(serial) = self.moved_here(look, matches) {
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
        if close == Close::Gone && !self.plan.gone.contains(&serial) {
            self.plan.superseded.push(serial);
        }
    }

    /// The source or checkpoint whose content another file holds now: the log was moved to another disk, came back
    /// from a backup, or an editor has saved it.
    ///
    /// Many logs begin alike. So the new file must hold all that was delivered, and either that is much, or the
    /// file before must be gone, to another folder at least; otherwise it was rotated away, and the new one begins
    /// as it did.
    fn moved_here(&mut self, look: &Look, matches: &[Match]) -> Option<u64> {
        let is_much = |c: &Checkpoint| c.offset >= MUCH_BYTES;
        for open in &self.seen.open {
            let reached = &open.reached;
            let is_left = !open.is_beside || is_much(reached);
            if has(matches, reached.serial, ContentMatch::Continues)
                && reached.offset > 0
                && look.size >= reached.size
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

    fn candidate_at(&self, checkpoint: &Checkpoint) -> Option<usize> {
        let mut candidates = self.seen.candidates.iter();
        candidates.position(|c| is_file_of(checkpoint, c))
    }

    fn known_at(&self, candidate: &Candidate) -> Option<&Checkpoint> {
        let mut known = self.seen.known.iter();
        known.find(|c| is_file_of(c, candidate))
    }

    /// 3. The files of checkpoints: those that have something unread, and finished ones that have grown since.
    fn find_known(&mut self) {
        let seen = self.seen;
        let mut known: Vec<&Checkpoint> = seen
            .known
            .iter()
            .filter(|c| c.state != SourceState::Skipped)
            .collect();
        // Of two that stand in one file, the first that has something unread counts.
        known.sort_by_key(|c| (!c.is_unfinished(), c.offset));
        for checkpoint in known {
            if self.settled.contains(&checkpoint.serial) {
                continue;
            }
            match self.candidate_at(checkpoint) {
                Some(at) => self.go_on_at(at, checkpoint),
                None if checkpoint.is_unfinished() => {
                    self.settled.insert(checkpoint.serial);
                    if !self.is_taken_by_twin(checkpoint) {
                        self.find_rest(checkpoint, true);
                    }
                }
                None => self.find_grown(checkpoint),
            }
        }
    }

    /// Whether the content of a checkpoint is read on already, from another checkpoint of the same content.
    fn is_taken_by_twin(&mut self, checkpoint: &Checkpoint) -> bool {
        let serial = checkpoint.serial;
        let mut opened = self.opened.keys();
        let is_taken = opened.any(|at| {
            has(
                &self.seen.candidates[*at].matches,
                serial,
                ContentMatch::Continues,
            )
        });
        if is_taken {
            self.plan.superseded.push(serial);
        }
        is_taken
    }

    /// The file of a checkpoint lies there under another name.
    fn go_on_at(&mut self, at: usize, checkpoint: &Checkpoint) {
        let candidate = &self.seen.candidates[at];
        let serial = checkpoint.serial;
        let is_same =
            checkpoint.is_blank() || has(&candidate.matches, serial, ContentMatch::Continues);
        match candidate.readable {
            Readable::Unchanged => return,
            Readable::NotYet => {
                if checkpoint.is_unfinished() {
                    self.plan.blocked.push(Blocked::Candidate(at));
                }
                self.settled.insert(serial);
                return;
            }
            Readable::Yes => {}
        }
        if self.holds_known_content(candidate, checkpoint) {
            self.settled.insert(serial);
            self.plan.superseded.push(serial);
        } else if !is_same && checkpoint.is_unfinished() {
            self.settled.insert(serial);
            let is_archived = self.is_archived(serial);
            self.find_rest(checkpoint, true);
            if !is_archived && !self.opened.contains_key(&at) {
                if self.had_successor(checkpoint) {
                    // It was overwritten after it was rotated away.
                    self.plan.registered.push((at, Registration::Skipped));
                } else {
                    // It was truncated, written anew and then rotated away.
                    self.open(at, From::Start);
                }
            }
        } else if is_same && (checkpoint.is_unfinished() || candidate.look.size > checkpoint.offset)
        {
            self.settled.insert(serial);
            if self.opened.contains_key(&at) {
                self.plan.superseded.push(serial);
            } else {
                self.open(at, From::PositionOf(serial));
            }
        }
    }

    /// Whether the file of a checkpoint was rotated away already when it was last looked at: another one was opened
    /// at the path later, is not older, and was not read to its end, as what lies at the path never is. Copies and
    /// what was truncated away are known later, too, and took nobody's place.
    fn had_successor(&self, checkpoint: &Checkpoint) -> bool {
        let open = self.seen.open.iter().map(|open| &open.reached);
        let mut all = self.seen.known.iter().chain(open);
        all.any(|c| {
            c.is_unfinished()
                && c.identity.inode != NO_INODE
                && c.serial > checkpoint.serial
                && c.modified_ns >= checkpoint.modified_ns
        })
    }

    /// Whether a file that could not be read when its checkpoint was made holds content that is known: then the
    /// checkpoint of that content counts.
    fn holds_known_content(&self, candidate: &Candidate, checkpoint: &Checkpoint) -> bool {
        let was_unreadable = candidate.is_archive || checkpoint.size > 0;
        checkpoint.is_blank() && was_unreadable && !candidate.matches.is_empty()
    }

    /// The file of a finished checkpoint is gone. An archive may hold more than was read of it: somebody still wrote
    /// to it. So may a late copy of content that was truncated away, if it is of nothing else.
    fn find_grown(&mut self, checkpoint: &Checkpoint) {
        let serial = checkpoint.serial;
        let Some(at) = self.candidate_with(serial, ContentMatch::Continues) else {
            return;
        };
        let candidate = &self.seen.candidates[at];
        let is_of_this =
            candidate.is_archive || (is_truncated_away(checkpoint) && candidate.matches.len() == 1);
        if is_of_this && candidate.look.size > checkpoint.offset {
            self.settled.insert(serial);
            self.open(at, From::PositionOf(serial));
        }
    }

    /// 4. Files that nobody knows.
    fn take_unknown(&mut self) {
        for (at, candidate) in self.seen.candidates.iter().enumerate() {
            let is_known = self.opened.contains_key(&at)
                || self.known_at(candidate).is_some()
                || !candidate.matches.is_empty();
            if is_known {
                continue;
            }
            if candidate.is_followed {
                // Its own tailer reads it, or its archive: it may be packed, and the agent ended, before.
                let is_left = self.plan.is_rotated && candidate.readable == Readable::Yes;
                if is_left && candidate.look.size > 0 {
                    self.plan.registered.push((at, Registration::OfItself));
                }
                continue;
            }
            let is_ours = candidate.was_found_at_path || self.followed_on(candidate);
            match candidate.readable {
                Readable::NotYet if is_ours => {
                    self.plan.registered.push((at, Registration::Unread));
                    self.plan.blocked.push(Blocked::Candidate(at));
                }
                Readable::NotYet | Readable::Unchanged => {}
                Readable::Yes if is_ours => {
                    // Also if it is empty: its writer may not have changed over yet.
                    let from = match self.seen.adoption {
                        Adoption::New { from_end: true } => From::End,
                        _ => From::Start,
                    };
                    self.open(at, from);
                }
                // Nothing is in it, yet.
                Readable::Yes if candidate.look.size == 0 => {}
                Readable::Yes => self.plan.registered.push((at, Registration::Skipped)),
            }
        }
    }

    /// Whether a file that nobody knows was written after the last known one and then rotated away.
    fn followed_on(&self, candidate: &Candidate) -> bool {
        if !self.plan.is_rotated {
            return false;
        }
        match self.seen.adoption {
            Adoption::New { .. } => false,
            Adoption::Known => {
                !self.is_still_written(candidate) && !self.was_beside_before(candidate)
            }
            Adoption::KnownFilesOnly => {
                let known = self.seen.known.iter();
                let open = self.seen.open.iter().map(|open| &open.reached);
                let last = known.chain(open).max_by_key(|c| c.serial);
                last.is_none_or(|last| {
                    candidate.look.modified_ns + CLOCK_TICK_NS >= last.modified_ns
                })
            }
        }
    }

    /// Whether a file was made while another one lay at the path, and so never lay there itself.
    fn was_beside_before(&self, candidate: &Candidate) -> bool {
        let born_ns = candidate.look.born_ns;
        born_ns > 0 && born_ns.saturating_add(CLOCK_TICK_NS) < self.seen.in_place_at_ns
    }

    /// Whether a file is written to long after the file at the path was made: then it is the log of somebody else,
    /// whose name only looks as if rotation had given it.
    fn is_still_written(&self, candidate: &Candidate) -> bool {
        let Current::File { look, .. } = &self.seen.current else {
            return false;
        };
        let made_by_rotation = self.seen.open.iter().any(|open| open.is_current)
            && !matches!(self.current, Some(Planned::Keep(_) | Planned::Restart(_)));
        made_by_rotation
            && !candidate.is_archive
            && look.born_ns > 0
            && candidate.look.born_ns > 0
            && candidate.look.modified_ns > look.born_ns.saturating_add(NEIGHBOUR_NS)
    }

    /// Copies and archives of what was read are remembered as such when the file they were made of is gone, so
    /// that they are known as long as they are there.
    fn register_copies(&mut self) {
        for (at, candidate) in self.seen.candidates.iter().enumerate() {
            let is_registered = self
                .known_at(candidate)
                .is_some_and(|known| !self.holds_known_content(candidate, known));
            if self.opened.contains_key(&at) || is_registered {
                continue;
            }
            let Some(first) = candidate.matches.first() else {
                continue;
            };
            let open = self.seen.open.iter().map(|open| &open.reached);
            let mut all = self.seen.known.iter().chain(open);
            let Some(checkpoint) = all.find(|c| c.serial == first.serial) else {
                continue;
            };
            let goes_on = From::PositionOf(first.serial);
            if self.opened.values().any(|from| *from == goes_on)
                || self.current == Some(Planned::OpenCurrent(goes_on))
            {
                continue;
            }
            let is_replaced = self.plan.closed.contains_key(&first.serial);
            let is_missing = self.seen.known.iter().any(|c| c.serial == first.serial)
                && self.candidate_at(checkpoint).is_none();
            if is_replaced || is_missing {
                self.plan
                    .registered
                    .push((at, Registration::CopyOf(first.serial)));
            }
        }
    }

    /// Puts everything in order: what was open keeps its order, and what is opened comes before the first open
    /// source that was written later.
    fn finish(mut self) -> Plan {
        let current = self.current;
        let is_current = |serial: u64| matches!(current, Some(Planned::Keep(s) | Planned::Restart(s)) if s == serial);
        let mut sources: Vec<(Option<usize>, Planned)> = Vec::new();
        let rank = |place: Place| self.seen.order.iter().position(|other| *other == place);
        for open in &self.seen.open {
            let serial = open.reached.serial;
            if is_current(serial) {
                continue;
            }
            let planned = match (
                self.restarted.contains(&serial),
                self.plan.closed.contains_key(&serial),
            ) {
                (true, _) => Planned::Restart(serial),
                (false, true) => continue,
                (false, false) => Planned::Keep(serial),
            };
            sources.push((rank(Place::Open(serial)), planned));
        }
        let mut opened: Vec<(usize, usize, From)> = self
            .opened
            .iter()
            .map(|(at, from)| (rank(Place::Candidate(*at)).unwrap_or(*at), *at, *from))
            .collect();
        opened.sort_unstable_by_key(|(rank, ..)| *rank);
        for (rank, at, from) in opened {
            let planned = Planned::Open(at, from);
            let (first, last) = self.bounds(&sources, planned);
            let later = |(other, _): &(Option<usize>, Planned)| other.is_some_and(|o| o > rank);
            let place = sources[first..last].iter().position(later);
            let place = place.map_or(last, |place| first + place);
            sources.insert(place, (Some(rank), planned));
        }
        self.plan.sources = sources.into_iter().map(|(_, planned)| planned).collect();
        self.plan.sources.extend(current);
        self.plan.has_current = current.is_some();
        self.plan
    }

    /// Between which places a source belongs, whatever a listing says of names that move on meanwhile.
    fn bounds(&self, sources: &[(Option<usize>, Planned)], planned: Planned) -> (usize, usize) {
        let Some(age) = self.age(planned) else {
            return (0, sources.len());
        };
        let ages = || sources.iter().map(|(_, other)| self.age(*other));
        let is_older = |other: &Option<usize>| other.is_some_and(|other| other < age);
        let older = ages().collect::<Vec<_>>().iter().rposition(is_older);
        let first = older.map_or(0, |place| place + 1);
        let newer = ages()
            .skip(first)
            .position(|other| other.is_some_and(|other| other > age));
        (first, newer.map_or(sources.len(), |place| first + place))
    }

    /// What is certain of the order: open sources were opened in it, the rest of one comes before what its file
    /// holds now, and what nobody knows was made after all of them. Of a checkpoint nothing is certain.
    fn age(&self, planned: Planned) -> Option<usize> {
        let open = &self.seen.open;
        let place = |serial: u64| open.iter().position(|o| o.reached.serial == serial);
        match planned {
            Planned::Keep(serial) | Planned::Restart(serial) => Some(2 * place(serial)? + 1),
            Planned::Open(_, From::PositionOf(serial)) => Some(2 * place(serial)?),
            Planned::Open(_, From::Start | From::End) => Some(2 * open.len()),
            Planned::OpenCurrent(_) => None,
        }
    }
}

/// Whether a candidate is the file of a checkpoint. Of an archive no birth is known, and the inode of one that was
/// removed is soon another's: its content decides, where it could be read.
fn is_file_of(checkpoint: &Checkpoint, candidate: &Candidate) -> bool {
    let serial = checkpoint.serial;
    is_same_inode(checkpoint, &candidate.look)
        && (!candidate.is_archive
            || candidate.readable != Readable::Yes
            || checkpoint.is_blank()
            || candidate.matches.iter().any(|m| m.serial == serial))
}

/// Whether the content has no file any more, and is known only so that its copies are.
pub(super) fn is_truncated_away(checkpoint: &Checkpoint) -> bool {
    checkpoint.identity.inode == NO_INODE && checkpoint.offset > 0
}

fn has(matches: &[Match], serial: u64, content: ContentMatch) -> bool {
    matches.contains(&Match { serial, content })
}

/// No file has it.
pub(super) const NO_INODE: Inode = Inode {
    device: 0,
    inode: 0,
};
/// So many delivered bytes that come first in another file are no accident.
pub(super) const MUCH_BYTES: u64 = 4096;
/// How far apart two changes are at least whose times differ: file systems take the time of the last tick.
const CLOCK_TICK_NS: i64 = 50_000_000;
/// A file that was written to so long after the next one was made is not what rotation left.
const NEIGHBOUR_NS: i64 = 10_000_000_000;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic fails the test")]
mod tests;
