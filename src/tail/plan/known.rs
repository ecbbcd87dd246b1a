//! The files of checkpoints.

use super::{Blocked, Close, From, Planner, Registration};
use crate::progress::{Checkpoint, SourceState};
use crate::tail::observation::{Candidate, NO_INODE, Readable, has, is_file_of, is_truncated_away};
use crate::tail::recognise::ContentMatch;

impl Planner<'_> {
    pub(super) fn candidate_at(&self, checkpoint: &Checkpoint) -> Option<usize> {
        let mut candidates = self.seen.candidates.iter();
        candidates.position(|c| is_file_of(checkpoint, c))
    }

    /// Whether the file of a checkpoint is not to be seen, or holds something else: it is a backup that was made anew.
    pub(super) fn has_lost_its_file(&self, checkpoint: &Checkpoint) -> bool {
        let file = self.candidate_at(checkpoint);
        let file = file.map(|at| &self.seen.candidates[at]);
        file.is_none_or(|file| {
            file.readable == Readable::Yes
                && file.matches.iter().all(|m| m.serial != checkpoint.serial)
        })
    }

    pub(super) fn known_at(&self, candidate: &Candidate) -> Option<&Checkpoint> {
        let mut known = self.seen.known.iter();
        known.find(|c| is_file_of(c, candidate))
    }

    /// 3. The files of checkpoints: those that have something unread, and finished ones that have grown since.
    pub(super) fn find_known(&mut self) {
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
        let is_same = checkpoint.never_had_content()
            || has(&candidate.matches, serial, ContentMatch::Continues);
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
            if self.find_rest(checkpoint, true) == Close::Unfinished {
                self.plan.overwritten.push(serial);
            }
            if !is_archived && !self.opened.contains_key(&at) {
                if self.had_successor(checkpoint, candidate) {
                    // It was overwritten after it was rotated away.
                    self.plan.registered.push((at, Registration::Skipped));
                } else {
                    // It was truncated, written anew and then rotated away.
                    self.open(at, From::Start);
                }
            }
        } else if is_same && (checkpoint.is_unfinished() || candidate.stat.size > checkpoint.offset)
        {
            self.settled.insert(serial);
            if self.opened.contains_key(&at) {
                self.plan.superseded.push(serial);
            } else {
                self.open(at, From::PositionOf(serial));
            }
        }
    }

    /// Whether the file of a checkpoint was rotated away already when it was last written to: another one was opened
    /// at the path later, is not older, was not read to its end, as what lies at the path never is, and was made
    /// before that. Copies and what was truncated away are known later, too, and took nobody's place.
    fn had_successor(&self, checkpoint: &Checkpoint, file: &Candidate) -> bool {
        let open = self.seen.open.iter().map(|open| &open.reached);
        let mut all = self.seen.known.iter().chain(open);
        all.any(|c| {
            c.is_unfinished()
                && c.identity.inode != NO_INODE
                && c.serial > checkpoint.serial
                && c.modified_ns >= checkpoint.modified_ns
                && c.identity.born_ns < file.stat.modified_ns
        })
    }

    /// Whether a file that could not be read when its checkpoint was made, or was a copy that was just being written
    /// over, holds content that is known: then the checkpoint of that content counts.
    pub(super) fn holds_known_content(
        &self,
        candidate: &Candidate,
        checkpoint: &Checkpoint,
    ) -> bool {
        let was_unreadable = candidate.is_archive || checkpoint.size > 0;
        let is_of_no_use = was_unreadable || checkpoint.state == SourceState::Finished;
        checkpoint.never_had_content() && is_of_no_use && !candidate.matches.is_empty()
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
        if is_of_this && candidate.stat.size > checkpoint.offset {
            self.settled.insert(serial);
            self.open(at, From::PositionOf(serial));
        }
    }
}
