//! Looking: what lies at the path, what became of the open files, and what rotation left, as data for the plan.
//!
//! The file at the path and the open sources are looked at first, and what lies beside them afterwards. So what is
//! found beside them is older, or a copy of what they hold, unless that has changed meanwhile: then they are looked
//! at again.

mod beside;
mod candidates;
mod listing;

use std::io;
use std::time::{Duration, Instant};

use super::Tailer;
use super::clock::now_ms;
use super::compare::{fresh, is_absence, is_shortage, matches_of, verdict_on};
use super::family::Owner;
use super::found::{CandidateFile, Found};
use super::links::UnsafeLink;
use super::log_file::LogFile;
use super::observation::{Adoption, Candidate, Current, OpenSource, Readable, Verdict};
use super::recognise::is_same_inode;
use crate::config::StartAt;
use crate::identity::{FileStat, Fingerprint};
use crate::progress::{Checkpoint, SourceState};

/// How far a look goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// What was read already, and has not changed, is not opened unless something is missing.
    Usual,
    /// Whatever rotation may have left is opened, before something is given up.
    Whole,
}

impl Tailer {
    /// Looks at everything.
    pub(super) fn observe(&mut self, look: Look) -> io::Result<Found> {
        let mut found = Found::default();
        if let Ok(stat) = FileStat::at_path(&self.path) {
            self.note_copied_up(&stat)?;
        }
        let (known, is_without_skipped) = self.shared.registry.closed_of_path(&self.path);
        found.seen.from_topic = self.shared.registry.told_by_topic(&known);
        found.seen.known = known;
        self.observe_open(&mut found)?;
        found.seen.adoption = if found.seen.known.is_empty() && self.sources.is_empty() {
            Adoption::New {
                from_end: self.honours_start_at && self.log.start_at == StartAt::End,
            }
        } else if is_without_skipped {
            Adoption::KnownFilesOnly
        } else {
            Adoption::Known
        };
        found.seen.was_just_rotated = self.was_just_rotated();
        found.seen.in_place_at_ns = self.in_place_at_ns();
        let now_ms = now_ms();
        found.seen.looked_at_ns = now_ms.saturating_mul(1_000_000);
        found.seen.begun_from_ns = self.log.ignore_older.map(|age| begun_from_ns(now_ms, age));
        let stat = self.observe_current(&mut found)?;
        if found.awaits_copy {
            return Ok(found);
        }
        // Another tailer may have listed the folder since this look began, but before the path was rotated.
        let not_before = Instant::now();
        self.observe_rotated(&mut found, stat.as_ref(), not_before, look)?;
        // What was written anew before it was rotated away must not be taken for what was overwritten after that. And
        // a file that was empty when it was looked at may have been filled, and packed, before the names were listed:
        // the archive would be of content that nobody knows.
        found.is_moving |= !self.are_as_seen(&mut found)?;
        Ok(found)
    }

    /// Whether the content of each open source, and of what lies at the path, is still what it was when it was looked
    /// at, but for more of it. Any content is more of none, and other than what was looked at.
    fn are_as_seen(&mut self, found: &mut Found) -> io::Result<bool> {
        for (source, seen) in self.sources.iter_mut().zip(&found.seen.open) {
            let (verdict, stat) = verdict_on(source)?;
            let begun = found.begun.get(&seen.reached.serial);
            let was_empty = begun.is_some_and(|(_, begun)| begun.size == 0);
            if verdict != seen.verdict || (was_empty && stat.size > 0) {
                return Ok(false);
            }
        }
        self.is_current_as_seen(found)
    }

    /// The same of what lies at the path and is not open yet. Truncated since and written anew, it would make a copy of
    /// that unknown.
    fn is_current_as_seen(&self, found: &mut Found) -> io::Result<bool> {
        let references = self.references(found, &[]);
        let (Some(content), Some((begun, seen)), Current::File { matches, .. }) = (
            &mut found.current,
            &found.begun_current,
            &found.seen.current,
        ) else {
            return Ok(true);
        };
        let stat = content.stat()?;
        let is_begun_so = match seen.size {
            0 => stat.size == 0,
            size => stat.size >= size && begun.identity.fingerprint.matches(&content.head()?),
        };
        let mut now = matches_of(&references, content, &stat)?;
        now.retain(|m| !found.told_apart.contains(&m.serial));
        Ok(is_begun_so && now == *matches)
    }

    fn observe_open(&mut self, found: &mut Found) -> io::Result<()> {
        let last = self.sources.len().checked_sub(1);
        let has_current = self.has_current;
        for (at, source) in self.sources.iter_mut().enumerate() {
            let (verdict, stat) = verdict_on(source)?;
            let mut kept_bytes = 0;
            if matches!(verdict, Verdict::Replaced | Verdict::Begun) {
                let serial = source.checkpoint.serial;
                let begun = fresh(&self.path, &mut source.content, 0)?;
                kept_bytes = source.kept_bytes(&begun.0.identity.fingerprint);
                found.begun.insert(serial, begun);
            }
            found.seen.open.push(OpenSource {
                reached: source.checkpoint_now(),
                is_current: has_current && Some(at) == last,
                is_beside: stat.links > 0,
                verdict,
                kept_bytes,
                stat,
            });
        }
        Ok(())
    }

    /// Looks at the path and opens what lies there, unless somebody has it open.
    fn observe_current(&mut self, found: &mut Found) -> io::Result<Option<FileStat>> {
        let stat = match FileStat::at_path(&self.path) {
            Ok(stat) => stat,
            Err(error) if is_absence(&error) => return Ok(None),
            Err(error) => {
                found.seen.current = Current::Untold;
                found.seen.is_incomplete = true;
                found.trouble = Some((self.path.to_path_buf(), error));
                return Ok(None);
            }
        };
        if !stat.is_regular {
            let error = io::Error::other("is not a regular file");
            found.trouble = Some((self.path.to_path_buf(), error));
            return Ok(None);
        }
        if self.holds(&stat) {
            let matches = Vec::new();
            found.seen.current = Current::File { stat, matches };
            return Ok(Some(stat));
        }
        if self.shared.registry.is_open(stat.inode, stat.born_ns) {
            found.seen.current = Current::ReadElsewhere;
            found.elsewhere = Some((stat.inode, stat.born_ns));
            return Ok(Some(stat));
        }
        let opened = LogFile::open(&self.path, self.log.follow_links);
        let (mut content, stat) = match opened {
            Ok(Some(opened)) => opened,
            Ok(None) => return Ok(None),
            Err(error) if is_absence(&error) => {
                found.is_moving = true;
                return Ok(None);
            }
            Err(error) if is_shortage(&error) => return Err(error),
            Err(error) if UnsafeLink::of(&error).is_some() => {
                // As if nothing lay there, and what was found there is not to be read under another name either.
                self.stat_when_found = None;
                found.trouble = Some((self.path.to_path_buf(), error));
                return Ok(None);
            }
            Err(error) => {
                self.note_unreadable_current(found, stat, error);
                return Ok(Some(stat));
            }
        };
        // The same file may be known under another path.
        let mut here = self.shared.registry.of_inode(stat.inode);
        here.retain(|c| c.path != self.path && is_same_inode(c, &stat));
        let is_here = |c: &Checkpoint| c.state != SourceState::Skipped && is_same_inode(c, &stat);
        let is_own = found.seen.known.iter().any(is_here);
        let owner = self.owner(&here, is_own, &mut content, &stat)?;
        if owner != Owner::This {
            found.seen.current = Current::ReadElsewhere;
            found.elsewhere = Some((stat.inode, stat.born_ns));
            found.awaits_copy = owner == Owner::Undecided;
            return Ok(Some(stat));
        }
        found.seen.known.extend(here);
        let references = self.references(found, &[]);
        let (begun, stat) = fresh(&self.path, &mut content, 0)?;
        let matches = matches_of(&references, &mut content, &stat)?;
        // What was compared must be what was looked at.
        let after = FileStat::at_file(content.file())?;
        let is_same =
            after.size >= stat.size && begun.identity.fingerprint.matches(&content.head()?);
        found.is_moving |= !is_same;
        found.begun_current = Some((begun, stat));
        found.current = Some(content);
        found.seen.current = Current::File { stat, matches };
        Ok(Some(stat))
    }

    /// Whether a file of this `stat` is open here.
    fn holds(&self, stat: &FileStat) -> bool {
        let mut sources = self.sources.iter();
        sources.any(|source| is_same_inode(&source.checkpoint, stat))
    }

    /// What lies at the path cannot be opened. Its checkpoint, if it has one, must not be taken for one whose file is
    /// gone.
    fn note_unreadable_current(&self, found: &mut Found, stat: FileStat, error: io::Error) {
        found.seen.candidates.push(Candidate {
            stat,
            is_archive: false,
            readable: Readable::NotYet,
            matches: Vec::new(),
            was_found_at_path: true,
            is_numbered: false,
            is_followed: false,
        });
        found.files.push(CandidateFile {
            path: self.path.to_path_buf(),
            content: None,
        });
        found.trouble = Some((self.path.to_path_buf(), error));
    }

    /// The checkpoints whose content a file may hold: of open sources, of this path, and of `others`.
    fn references(&self, found: &Found, others: &[Checkpoint]) -> Vec<Checkpoint> {
        let open = found.seen.open.iter().map(|open| {
            let serial = open.reached.serial;
            match found.begun.get(&serial) {
                // Nothing was read of it, and it may be packed or copied already.
                Some((begun, _)) if open.verdict == Verdict::Begun => Checkpoint {
                    serial,
                    ..begun.clone()
                },
                _ => open.reached.clone(),
            }
        });
        let all = open.chain(found.seen.known.iter().chain(others).cloned());
        all.filter(|c| !c.never_had_content()).collect()
    }
}

/// The time of the last change, in ns since 1970, from which on files are begun that nobody knows.
fn begun_from_ns(now_ms: i64, age: Duration) -> i64 {
    let age_ms = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
    now_ms.saturating_sub(age_ms).saturating_mul(1_000_000)
}

/// As much as a fingerprint covers.
const _: () = assert!(Fingerprint::MAX_LEN <= 1024);

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic fails the test")]
mod tests;
