//! Files that nobody knows, and copies of what is known; in which order sources are read.

use std::cmp::Ordering;

use crate::tail::observation::{Adoption, Candidate, Current, NEIGHBOUR_NS, Place, Readable};

use super::{Blocked, CLOCK_TICK_NS, From, Plan, Planned, Planner, Registration};

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
            if self.is_too_old(&candidate.stat) {
                // It may be written again.
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

    /// Whether the file at the path is none that was open there. Nothing may have lain there at the last look, between a
    /// rotation and the next one.
    fn is_made_by_rotation(&self) -> bool {
        !self.seen.open.is_empty()
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
            && !self.seen.is_ahead(candidate.stat.modified_ns)
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
                && self.has_lost_its_file(checkpoint);
            if is_replaced || is_missing {
                self.plan
                    .registered
                    .push((at, Registration::CopyOf(first.serial)));
            }
        }
    }
}

impl Planner<'_> {
    /// Puts everything in order: what was open keeps its order, and what is opened comes before the first open
    /// source that was written later.
    pub(super) fn finish(mut self) -> Plan {
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
