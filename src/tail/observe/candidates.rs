//! What rotation may have left: files are opened and held against what is known.

use std::io;
use std::path::{Path, PathBuf};

use crate::identity::FileStat;
use crate::progress::{Checkpoint, SourceState};
use crate::shown::ShownPath;
use crate::tail::Tailer;
use crate::tail::clock::now_ms;
use crate::tail::compare::{Probe, begins_as, is_absence, is_recent, is_shortage, matches_of};
use crate::tail::found::{CandidateFile, Found};
use crate::tail::links::UnsafeLink;
use crate::tail::log_file::LogFile;
use crate::tail::observation::{
    Adoption, COPY_OF_UNKNOWN, Candidate, Current, Match, Readable, Verdict,
};
use crate::tail::patterns::Exclude;
use crate::tail::recognise::{ContentMatch, content_of, is_same_inode};

/// What a candidate is looked at for.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    /// What its content may be.
    pub(super) references: &'a [Checkpoint],
    /// Content is looked for that is not where it was: what is known of a file does not say that it does not hold it.
    /// A copy counts as read when its original is, which may not have been delivered when the agent was killed.
    pub(super) is_searching: bool,
    pub(super) is_archive: bool,
}

/// What became of opening a candidate: whether it can be read, its content, its stat, and what that content is.
type Opened = (Readable, Option<LogFile>, FileStat, Vec<Match>);

impl Tailer {
    /// What a name leads to; `None` if that is no candidate.
    pub(super) fn probe(
        &mut self,
        found: &mut Found,
        wanted: Wanted<'_>,
        path: PathBuf,
        stat: FileStat,
    ) -> io::Result<Option<(Candidate, CandidateFile)>> {
        let Wanted {
            is_searching,
            is_archive,
            ..
        } = wanted;
        if self.shared.registry.is_open(stat.inode, stat.born_ns) {
            return Ok(None);
        }
        let here = self.shared.registry.of_inode(stat.inode);
        let was_found_at_path = self
            .stat_when_found
            .as_deref()
            .is_some_and(|seen| (seen.inode, seen.born_ns) == (stat.inode, stat.born_ns));
        let known = self.known_of(here, &stat, is_archive);
        let candidate = |stat, readable, matches| Candidate {
            stat,
            is_archive,
            readable,
            matches,
            was_found_at_path,
            is_numbered: false,
            is_followed: false,
        };
        match &known {
            // The inode of an archive may have been handed out again.
            Some(known)
                if known.state == SourceState::Skipped
                    && (!is_archive || known.modified_ns == stat.modified_ns) =>
            {
                return Ok(None);
            }
            Some(known) if known.path != self.path && (known.is_unfinished() || !is_searching) => {
                return Ok(None);
            }
            Some(known) if !is_searching && is_unchanged(known, &stat, is_archive) => {
                let file = CandidateFile {
                    path,
                    content: None,
                };
                return Ok(Some((candidate(stat, Readable::Unchanged, vec![]), file)));
            }
            Some(_) => {}
            None if self.is_excluded(&path) => return Ok(None),
            None => {}
        }
        let opened = self.open_or_note(found, wanted, &path, stat, known.is_some())?;
        let Some((readable, content, stat, matches)) = opened else {
            return Ok(None);
        };
        // It has a tailer of its own, or is none of ours; but what is known of it is ours.
        let is_of_others = matches.is_empty() && !is_archive && self.is_followed_by_itself(&path);
        if known.is_none() && is_of_others {
            let is_new = matches!(found.seen.adoption, Adoption::New { .. });
            let candidate = Candidate {
                is_followed: true,
                ..candidate(stat, readable, matches)
            };
            let content = content.filter(|_| !is_new);
            return Ok(Some((candidate, CandidateFile { path, content })));
        }
        if matches.is_empty() && known.is_some_and(|known| known.path != self.path) {
            return Ok(None);
        }
        let candidate = candidate(stat, readable, matches);
        Ok(Some((candidate, CandidateFile { path, content })))
    }

    /// Opens a candidate, or says why it cannot be read now; `None` if it is none.
    fn open_or_note(
        &mut self,
        found: &mut Found,
        wanted: Wanted<'_>,
        path: &Path,
        stat: FileStat,
        is_known: bool,
    ) -> io::Result<Option<Opened>> {
        let is_archive = wanted.is_archive;
        match self.open_candidate(found, wanted.references, path, stat, is_archive) {
            Ok(opened) => Ok(opened
                .map(|(content, stat, matches)| (Readable::Yes, Some(content), stat, matches))),
            Err(error) if is_absence(&error) => {
                found.is_moving = true;
                Ok(None)
            }
            Err(error) if is_shortage(&error) => Err(error),
            Err(error) if UnsafeLink::of(&error).is_some() => {
                found.trouble.get_or_insert((path.to_owned(), error));
                Ok(None)
            }
            // What cannot be unpacked and does not change any more is damaged, or no archive.
            Err(error) if is_archive && !is_known && is_old(&stat) => {
                log::debug!("'{}' cannot be unpacked: {error}", ShownPath(path));
                Ok(None)
            }
            Err(error) => {
                found.trouble.get_or_insert((path.to_owned(), error));
                Ok(Some((Readable::NotYet, None, stat, vec![])))
            }
        }
    }

    /// The checkpoint that is of this file, among those that are known of its inode.
    fn known_of(
        &self,
        here: Vec<Checkpoint>,
        stat: &FileStat,
        is_archive: bool,
    ) -> Option<Checkpoint> {
        let is_ours = |c: &Checkpoint| c.path == self.path;
        // What another path has skipped is no part of that path: that says nothing about this one. The inode of an
        // archive that was removed is soon another's.
        let is_it = |c: &Checkpoint| {
            (is_ours(c) || c.state != SourceState::Skipped)
                && (!is_archive
                    || (is_ours(c) && c.state != SourceState::Skipped)
                    || c.modified_ns == stat.modified_ns)
        };
        let here = here.into_iter();
        let here = here.filter(|c| is_same_inode(c, stat) && is_it(c));
        // The latest one, unless an earlier one of this path has not come to its end.
        here.max_by_key(|c| (is_ours(c) && c.is_unfinished(), c.serial))
    }

    fn is_excluded(&self, path: &Path) -> bool {
        let mut exclude = self.log.exclude.iter();
        exclude.any(|text| Exclude::new(text).is_ok_and(|exclude| exclude.matches_path(path)))
    }

    fn open_candidate(
        &mut self,
        found: &mut Found,
        references: &[Checkpoint],
        path: &Path,
        listed: FileStat,
        is_archive: bool,
    ) -> io::Result<Option<(LogFile, FileStat, Vec<Match>)>> {
        let Some((mut content, stat)) = LogFile::open(path, self.log.follow_links)? else {
            return Ok(None);
        };
        if stat.inode != listed.inode {
            found.is_moving = true;
            return Ok(None);
        }
        let mut matches = matches_of(references, &mut content, &stat)?;
        if matches.is_empty() && !is_archive && self.is_copied_now(found, &mut content)? {
            matches.push(Match {
                serial: COPY_OF_UNKNOWN,
                content: ContentMatch::Shorter,
            });
        }
        let stat = match is_archive && !matches.is_empty() {
            true => FileStat {
                size: content.size()?,
                ..stat
            },
            false => stat,
        };
        Ok(Some((content, stat, matches)))
    }

    /// Whether a file is a copy, perhaps still being made, of content that the agent knows too little of to recognise
    /// it, because it was not there a moment ago: of what lies at the path, or what was rotated away from there since it
    /// was written.
    ///
    /// Once a copy is made the original is truncated, so one that has not changed for a while is of content from
    /// before, even if both begin with the same lines.
    fn is_copied_now(&mut self, found: &mut Found, copy: &mut LogFile) -> io::Result<bool> {
        let copied = copy.stat()?;
        if !is_recent(&copied) || copied.size == 0 {
            return Ok(false);
        }
        if self.is_copied_from_path(found, copy, &copied)? {
            return Ok(true);
        }
        for (source, seen) in self.sources.iter_mut().zip(&found.seen.open) {
            if seen.verdict == Verdict::Replaced
                && seen.stat.born_ns <= copied.modified_ns
                && begins_as(&mut source.content, copy, &copied)?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn is_copied_from_path(
        &mut self,
        found: &mut Found,
        copy: &mut LogFile,
        copied: &FileStat,
    ) -> io::Result<bool> {
        let Current::File { stat: original, .. } = &found.seen.current else {
            return Ok(false);
        };
        // A copy of a younger file may have been written over that of an older one, whose birth it keeps.
        if original.born_ns > copied.modified_ns {
            return Ok(false);
        }
        let (current, begun) = match (&mut found.current, self.sources.back_mut()) {
            (Some(content), _) => (content, &found.begun_current),
            (None, Some(source)) if self.has_current => {
                let begun = found.begun.get(&source.checkpoint.serial);
                (&mut source.content, &begun.cloned())
            }
            _ => return Ok(false),
        };
        // Truncated since it was looked at: that is noticed at the next look, by what it held at this one.
        if let Some((begun, _)) = begun
            && content_of(begun, &mut Probe::new(copy, copied.size))? != ContentMatch::Other
        {
            return Ok(true);
        }
        begins_as(current, copy, copied)
    }
}

/// Whether a file is, by its size and times, what its checkpoint knows, with nothing to read.
fn is_unchanged(known: &Checkpoint, stat: &FileStat, is_archive: bool) -> bool {
    known.state == SourceState::Finished
        && known.modified_ns == stat.modified_ns
        && (is_archive || stat.size <= known.size)
}

fn is_old(stat: &FileStat) -> bool {
    now_ms() - stat.modified_ns / 1_000_000 > ARCHIVING_MS
}

/// An archive that was not written to for so long is not being made any more.
const ARCHIVING_MS: i64 = 60_000;
