//! Files that nobody knows, and copies of what is known.

use std::cmp::Ordering;

use super::{Blocked, CLOCK_TICK_NS, From, Planned, Planner, Registration};
use crate::tail::observation::{Adoption, Candidate, Current, Readable};

impl Planner<'_> {
    /// 4. Files that nobody knows.
    pub(super) fn take_unknown(&mut self) {
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
                if is_left && candidate.stat.size > 0 {
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
                // Also if it is empty: its writer may not have changed over yet.
                Readable::Yes
                    if is_ours && (candidate.stat.size > 0 || self.was_before(candidate)) =>
                {
                    let from = match self.seen.adoption {
                        Adoption::New { from_end: true } => From::End,
                        _ => From::Start,
                    };
                    self.open(at, from);
                }
                // Nothing is in it, yet.
                Readable::Yes if candidate.stat.size == 0 => {}
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
                    candidate.stat.modified_ns + CLOCK_TICK_NS >= last.modified_ns
                })
            }
        }
    }

    /// Whether a file was made while another one lay at the path, and so never lay there itself.
    fn was_beside_before(&self, candidate: &Candidate) -> bool {
        let born_ns = candidate.stat.born_ns;
        born_ns > 0 && born_ns.saturating_add(CLOCK_TICK_NS) < self.seen.in_place_at_ns
    }

    /// Whether an empty file lay at the path before the one that does now: it was made earlier. One that was made
    /// later becomes a copy, and what has no number may be a copy that somebody made of an empty file, and will be one
    /// of another.
    fn was_before(&self, candidate: &Candidate) -> bool {
        let Current::File { stat, .. } = &self.seen.current else {
            return candidate.is_numbered;
        };
        let is_made_earlier = match candidate.stat.born_ns.cmp(&stat.born_ns) {
            Ordering::Less => true,
            // Of one tick.
            Ordering::Equal => self.is_made_by_rotation(),
            Ordering::Greater => false,
        };
        candidate.is_numbered && candidate.stat.born_ns > 0 && is_made_earlier
    }

    /// Whether the file at the path is none that was open there.
    fn is_made_by_rotation(&self) -> bool {
        self.seen.open.iter().any(|open| open.is_current)
            && !matches!(self.current, Some(Planned::Keep(_) | Planned::Restart(_)))
    }

    /// Whether a file is written to long after the file at the path was made: then it is the log of somebody else,
    /// whose name only looks as if rotation had given it.
    fn is_still_written(&self, candidate: &Candidate) -> bool {
        let Current::File { stat, .. } = &self.seen.current else {
            return false;
        };
        self.is_made_by_rotation()
            && !candidate.is_archive
            && stat.born_ns > 0
            && candidate.stat.born_ns > 0
            && candidate.stat.modified_ns > stat.born_ns.saturating_add(NEIGHBOUR_NS)
    }

    /// Copies and archives of what was read are remembered as such when the file they were made of is gone, so
    /// that they are known as long as they are there.
    pub(super) fn register_copies(&mut self) {
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
}

/// A file that was written to so long after the next one was made is not what rotation left.
const NEIGHBOUR_NS: i64 = 10_000_000_000;
