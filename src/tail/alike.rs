//! Files that begin alike: which of them is the one that little is known of.
//!
//! Of a file that was seen with its first line alone, and that line in each file (a header, a banner), nothing but that
//! line is known. Whatever rotation made after it begins so, too:
//!
//! ```text
//! app.log       the header was read; then the agent ended
//! app.log.2.gz  the same file: it was written on, and rotated away
//! app.log.1.gz  header and other lines
//! app.log       header and other lines
//! ```
//! Taken for copies of what is known, all but one would be read by nobody. So where files differ behind what is known,
//! it is one of them, the first that was written since, and the others are files of their own.

use std::cmp::Ordering;
use std::collections::{HashSet, VecDeque};
use std::io;
use std::mem;

use super::compare::begins_with;
use super::found::Found;
use super::log_file::LogFile;
use super::observation::{
    COPY_OF_UNKNOWN, Current, Match, NO_INODE, Observation, Place, Readable, Verdict, has,
    is_file_of, is_truncated_away,
};
use super::plan::MUCH_BYTES;
use super::recognise::{ContentMatch, is_same_inode};
use super::source::Source;
use crate::progress::{Checkpoint, SourceState};

/// Where a file lies that was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Source(usize),
    Candidate(usize),
    Path,
}

/// Takes from files what they are to checkpoints that another file is; gives the candidates among them. `order`: that in
/// which they were written.
pub(super) fn tell_apart(
    found: &mut Found,
    sources: &mut VecDeque<Source>,
    order: &dyn Fn(&Observation) -> Vec<Place>,
) -> Vec<usize> {
    let mut left_out = Vec::new();
    let seen = &found.seen;
    let at_path = match &seen.current {
        Current::File { matches, .. } => matches.as_slice(),
        _ => &[],
    };
    let beside = seen.candidates.iter().flat_map(|c| &c.matches);
    // Of many small files that rotation left nearly all are not even opened.
    let begun_alike: HashSet<u64> = beside.chain(at_path).map(|m| m.serial).collect();
    let open = seen.open.iter().map(|open| &open.reached);
    let known = seen.known.iter();
    let known = known.filter(|c| c.state != SourceState::Skipped);
    let little: Vec<Checkpoint> = open
        .chain(known)
        .filter(|c| begun_alike.contains(&c.serial) && is_little(c))
        .cloned()
        .collect();
    for checkpoint in little {
        Question {
            found,
            sources,
            checkpoint: &checkpoint,
            order,
            left_out: &mut left_out,
        }
        .answer();
    }
    left_out
}

/// Whether so little is known of a content that another one may begin with it. How large it was says nothing.
fn is_little(checkpoint: &Checkpoint) -> bool {
    !checkpoint.never_had_content() && checkpoint.offset < MUCH_BYTES
}

/// Which files are the one of a checkpoint.
struct Question<'a> {
    found: &'a mut Found,
    sources: &'a mut VecDeque<Source>,
    checkpoint: &'a Checkpoint,
    order: &'a dyn Fn(&Observation) -> Vec<Place>,
    left_out: &'a mut Vec<usize>,
}

impl Question<'_> {
    fn answer(mut self) {
        let own = self.own();
        let rivals = self.rivals();
        let begins_at_path = own != Some(At::Path) && self.found.current.is_some() && {
            let current = &self.found.seen.current;
            matches!(current, Current::File { matches, .. } if self.is_matched(matches))
        };
        match own {
            Some(At::Path) => self.answer_for_path(&rivals),
            Some(own) => {
                for rival in rivals {
                    // A copy holds no more than what it is of.
                    let is_copy = self.alike(own, rival).is_some_and(Ordering::is_ge);
                    if !is_copy {
                        self.leave_out(rival);
                    }
                }
                // An editor may have saved it, with more in it.
                if begins_at_path && self.alike(own, At::Path).is_none() {
                    self.leave_out(At::Path);
                }
            }
            None => self.answer_without_file(rivals, begins_at_path),
        }
    }

    /// Its file lies at the path. It may have been truncated there, and another content begin as it did.
    fn answer_for_path(&mut self, rivals: &[At]) {
        let others: Vec<At> = rivals
            .iter()
            .copied()
            .filter(|rival| !self.alike(At::Path, *rival).is_some_and(Ordering::is_ge))
            .collect();
        let known_ns = self.checkpoint.modified_ns;
        let first = self.first(&others, |modified_ns| modified_ns > known_ns);
        for other in others {
            let is_it = first.is_some_and(|first| self.alike(first, other).is_some());
            if !is_it {
                self.leave_out(other);
            }
        }
        if first.is_some() {
            self.leave_out(At::Path);
            self.leave_out_those_of_others(rivals);
        }
    }

    /// Its file is nowhere: its content is in a copy or an archive, the first one that was written since.
    fn answer_without_file(&mut self, rivals: Vec<At>, begins_at_path: bool) {
        let known_ns = self.checkpoint.modified_ns;
        let Some(first) = self.first(&rivals, |modified_ns| modified_ns >= known_ns) else {
            return;
        };
        self.leave_out_those_of_others(&rivals);
        let at_path = begins_at_path.then_some(At::Path);
        for other in rivals.into_iter().chain(at_path) {
            if other != first && self.alike(first, other).is_none() {
                self.leave_out(other);
            }
        }
        // What was read to its end does not grow under another name.
        let is_finished = self.checkpoint.state == SourceState::Finished;
        if is_finished && !is_truncated_away(self.checkpoint) && self.is_longer_file(first) {
            self.leave_out(first);
        }
    }

    /// The file of the checkpoint, with its content.
    fn own(&self) -> Option<At> {
        let serial = self.checkpoint.serial;
        let seen = &self.found.seen;
        let mut open = seen.open.iter();
        if let Some(at) = open.position(|open| open.reached.serial == serial) {
            return (seen.open[at].verdict != Verdict::Replaced).then_some(At::Source(at));
        }
        if let Current::File { stat, matches } = &seen.current
            && is_same_inode(self.checkpoint, stat)
            && self.found.current.is_some()
        {
            return self.is_matched(matches).then_some(At::Path);
        }
        let mut candidates = seen.candidates.iter();
        let at = candidates.position(|c| is_file_of(self.checkpoint, c))?;
        self.is_matched(&seen.candidates[at].matches)
            .then_some(At::Candidate(at))
    }

    /// Files beside the path that begin with what is known, and of which nothing else is.
    fn rivals(&self) -> Vec<At> {
        let seen = &self.found.seen;
        let open = seen.open.iter().map(|open| &open.reached);
        let checkpoint = self.checkpoint;
        // Two may stand in one file, after a crash.
        let is_of_same_file = |c: &Checkpoint| {
            let (one, other) = (&c.identity, &checkpoint.identity);
            one.inode != NO_INODE && (one.inode, one.born_ns) == (other.inode, other.born_ns)
        };
        let others = open.chain(&seen.known);
        let others: Vec<&Checkpoint> = others
            .filter(|c| c.serial != checkpoint.serial && !is_of_same_file(c))
            .collect();
        let candidates = seen.candidates.iter().enumerate();
        let rivals = candidates.filter(|(at, candidate)| {
            let is_of_other = |other: &&&Checkpoint| {
                let mut matches = candidate.matches.iter();
                matches.any(|m| m.serial == other.serial)
                    && (!is_little(other) || is_file_of(other, candidate))
            };
            candidate.readable == Readable::Yes
                && candidate.is_numbered
                && self.found.files[*at].content.is_some()
                && self.is_matched(&candidate.matches)
                && !is_file_of(self.checkpoint, candidate)
                && !others.iter().any(|other| is_of_other(&other))
        });
        rivals.map(|(at, _)| At::Candidate(at)).collect()
    }

    fn is_matched(&self, matches: &[Match]) -> bool {
        has(matches, self.checkpoint.serial, ContentMatch::Continues)
    }

    /// The first of `rivals` that was written, of those that were written last when `is_since` says.
    fn first(&self, rivals: &[At], is_since: impl Fn(i64) -> bool) -> Option<At> {
        let candidates = &self.found.seen.candidates;
        let since = rivals.iter().filter_map(|at| match at {
            At::Candidate(at) if is_since(candidates[*at].stat.modified_ns) => Some(*at),
            _ => None,
        });
        let since: Vec<usize> = since.collect();
        if since.len() < 2 {
            return since.first().copied().map(At::Candidate);
        }
        let order = (self.order)(&self.found.seen);
        let rank = |at: usize| {
            order
                .iter()
                .position(|place| *place == Place::Candidate(at))
        };
        since
            .into_iter()
            .min_by_key(|at| rank(*at))
            .map(At::Candidate)
    }

    /// Files of which more is known, or whose names say nothing: it is none of them.
    fn leave_out_those_of_others(&mut self, rivals: &[At]) {
        for at in 0..self.found.seen.candidates.len() {
            let candidate = &self.found.seen.candidates[at];
            let is_rival = rivals.contains(&At::Candidate(at));
            if is_rival || !self.is_matched(&candidate.matches) {
                continue;
            }
            self.leave_out(At::Candidate(at));
            let matches = &mut self.found.seen.candidates[at].matches;
            if matches.is_empty() {
                // It counts for what it was taken for: a copy of something.
                matches.push(Match {
                    serial: COPY_OF_UNKNOWN,
                    content: ContentMatch::Shorter,
                });
            }
        }
    }

    fn is_longer_file(&self, at: At) -> bool {
        let At::Candidate(at) = at else { return false };
        let candidate = &self.found.seen.candidates[at];
        !candidate.is_archive && candidate.stat.size > self.checkpoint.offset
    }

    /// Whether the shorter one of two files is the beginning of the other, and which is the longer one. What cannot be
    /// read is taken for the same.
    fn alike(&mut self, one: At, other: At) -> Option<Ordering> {
        let Some(mut content) = self.content(other).and_then(Option::take) else {
            return Some(Ordering::Equal);
        };
        let found = match one {
            At::Source(at) => self
                .sources
                .get_mut(at)
                .map(|s| alike(&mut s.content, &mut content)),
            _ => {
                let one = self.content(one).and_then(Option::as_mut);
                one.map(|one| alike(one, &mut content))
            }
        };
        if let Some(place) = self.content(other) {
            *place = Some(content);
        }
        found.and_then(Result::ok).unwrap_or(Some(Ordering::Equal))
    }

    fn content(&mut self, at: At) -> Option<&mut Option<LogFile>> {
        match at {
            At::Source(_) => None,
            At::Candidate(at) => Some(&mut self.found.files[at].content),
            At::Path => Some(&mut self.found.current),
        }
    }

    /// A file is another one.
    fn leave_out(&mut self, at: At) {
        let serial = self.checkpoint.serial;
        let seen = &mut self.found.seen;
        match (at, &mut seen.current) {
            (At::Candidate(at), _) => {
                seen.candidates[at].matches.retain(|m| m.serial != serial);
                self.left_out.push(at);
            }
            (At::Path, Current::File { matches, .. }) => {
                matches.retain(|m| m.serial != serial);
                self.found.told_apart.push(serial);
            }
            _ => {}
        }
    }
}

fn alike(one: &mut LogFile, other: &mut LogFile) -> io::Result<Option<Ordering>> {
    let (one_size, other_size) = (one.size()?, other.size()?);
    let (mut longer, mut shorter) = (one, other);
    if one_size < other_size {
        mem::swap(&mut longer, &mut shorter);
    }
    let size = one_size.min(other_size).min(MOST_BYTES);
    let is_beginning = begins_with(longer, shorter, size)?;
    Ok(is_beginning.then_some(one_size.cmp(&other_size)))
}

/// Files of which so much is the same are copies.
const MOST_BYTES: u64 = 64 << 20;
