//! Whose a file is that may be of two logs: the tailer's side of [`super::family`].

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::compare::{begins_as, is_recent, matches_of};
use super::discover::Claim;
use super::family::{Deferred, Family, Owner, PATIENCE, is_rotated_from};
use super::log_file::LogFile;
use super::questions::Question;
use super::rotated_names::family_base;
use super::{Tailer, follows};
use crate::identity::{FileStat, Fingerprint};
use crate::progress::{Checkpoint, SourceState};

impl Tailer {
    /// Which tailer reads the file at this path. `here` is what is known of the inode
    /// under other paths; `is_own`: something is known of it under this path.
    pub(super) fn owner(
        &mut self,
        here: &[Checkpoint],
        is_own: bool,
        content: &mut LogFile,
        stat: &FileStat,
    ) -> io::Result<Owner> {
        let is_awaited = |c: &Checkpoint| c.is_unfinished() && self.is_followed_by_itself(&c.path);
        if here.iter().any(is_awaited) {
            return Ok(Owner::Other);
        }
        let deferred = self.deferred.take().filter(|d| d.inode == stat.inode);
        let mut deferred = deferred.unwrap_or_else(|| Deferred {
            inode: stat.inode,
            since: Instant::now(),
            question: None,
        });
        // Before it is asked what is known.
        let question = deferred.question.as_ref();
        let is_answered = question.is_some_and(|question| question.is_answered());
        if is_own {
            return Ok(Owner::This);
        }
        // A copy counts as read when its original is, which may not have been delivered when the agent was killed.
        let is_known = here.iter().any(|c| c.state != SourceState::Skipped);
        let (log, is_its_content) = match self.family() {
            Some(Family { log, mut known }) => {
                known.retain(|c| c.is_unfinished() || !is_known);
                let is_known = stat.size > 0 && self.is_known_to(&log, &known, content, stat)?;
                (log, is_known)
            }
            None => match self.log_of_name().filter(|_| !is_known) {
                Some(log) => {
                    let is_copy = self.is_copy_of(&log, content, stat)?;
                    (log, is_copy)
                }
                None => return Ok(Owner::This),
            },
        };
        if is_its_content {
            return Ok(Owner::Other);
        }
        if is_known {
            return Ok(Owner::This);
        }
        // A copy is empty before it is one.
        let waits = (stat.size == 0 && !self.shared.once)
            || (!is_answered && self.asks(&log, &mut deferred));
        let is_early = deferred.since.elapsed() < PATIENCE;
        // It is kept after that as well: what was waited for once is not asked again at the next look.
        self.deferred = Some(deferred);
        Ok(match waits && is_early {
            true => Owner::Undecided,
            false => Owner::This,
        })
    }

    /// Has the tailer of the `log` look, or has it told when it comes, as at a start; false if nobody will.
    fn asks(&self, log: &Path, deferred: &mut Deferred) -> bool {
        if self.shared.once {
            return false;
        }
        let question = deferred
            .question
            .get_or_insert_with(|| Arc::new(Question::new(self.handle.clone())));
        self.shared.registry.questions.ask(log, question);
        self.shared.watches.wake_path(log) || FileStat::at_path(log).is_ok_and(|s| s.is_regular)
    }

    /// The log that the path was rotated from, by its name, if that is followed as well and known. It lies in the same
    /// folder or, where that has none, in one of those above: then this one is an `olddir`.
    pub(super) fn family(&self) -> Option<Family> {
        let name = OsString::from_vec(family_base(self.path.file_name()?.as_bytes())?);
        let mut folders = self.path.ancestors().skip(1).take(1 + FOLDERS_ABOVE);
        folders.find_map(|folder| self.family_of(folder.join(&name)))
    }

    /// The log that the path is named after, perhaps in a way that no rotation is known to do, if that is followed as well:
    /// of `app.log-004` and `app-copied.log` it is `app.log`. Names like these are those of other logs, too. Nothing may
    /// be known of it, for the moment in which its content is replaced, and it may have no tailer yet.
    fn log_of_name(&self) -> Option<PathBuf> {
        let (folder, name) = (self.path.parent()?, self.path.file_name()?.as_bytes());
        let ending = self.path.extension().map(OsStrExt::as_bytes);
        let ending = ending.map(|ending| [b".", ending].concat());
        let in_folder = |folder: &Path, name: &[u8]| {
            let log = folder.join(OsStr::from_bytes(name));
            (log != *self.path && self.has_tailer(&log)).then_some(log)
        };
        let mut places = (1..name.len()).rev().filter(|at| is_separator(name, *at));
        let beside = places.find_map(|at| {
            let ended = || in_folder(folder, &[&name[..at], ending.as_ref()?].concat());
            in_folder(folder, &name[..at]).or_else(ended)
        });
        beside.or_else(|| {
            let base = family_base(name)?;
            let mut above = folder.ancestors().skip(1).take(FOLDERS_ABOVE);
            above.find_map(|folder| in_folder(folder, &base))
        })
    }

    /// Whether the file is one whose content is `known` of the `log`. One that goes on in another way than what lies at
    /// the log's path only begins alike: the logs of two processes do.
    fn is_known_to(
        &self,
        log: &Path,
        known: &[Checkpoint],
        content: &mut LogFile,
        stat: &FileStat,
    ) -> io::Result<bool> {
        let matches = matches_of(known, content, stat)?;
        let Some((mut original, of_log)) = self.open_other(log).filter(|_| !matches.is_empty())
        else {
            return Ok(!matches.is_empty());
        };
        if is_beginning_of((&mut original, &of_log), content, stat)? {
            return Ok(true);
        }
        let is_at_path = matches_of(known, &mut original, &of_log)?;
        let is_at_path = |serial| is_at_path.iter().any(|other| other.serial == serial);
        Ok(matches.iter().any(|one| !is_at_path(one.serial)))
    }

    /// Whether the file has nothing but what the `log` begins with, and as much of it that this says something; of a copy
    /// that is being made any of it does.
    fn is_copy_of(&self, log: &Path, content: &mut LogFile, stat: &FileStat) -> io::Result<bool> {
        let is_little = stat.size < Fingerprint::MAX_LEN as u64 && !is_recent(stat);
        if stat.size == 0 || is_little {
            return Ok(false);
        }
        match self.open_other(log) {
            Some((mut original, of_log)) => {
                is_beginning_of((&mut original, &of_log), content, stat)
            }
            None => Ok(false),
        }
    }

    /// What lies at the path of another log; why it cannot be opened is told by its own tailer.
    fn open_other(&self, log: &Path) -> Option<(LogFile, FileStat)> {
        LogFile::open(log, self.log.follow_links).ok().flatten()
    }

    /// The family of this `log`, if that is another one that is followed as well and known.
    fn family_of(&self, log: PathBuf) -> Option<Family> {
        let mut known = self.shared.registry.all_of_path(&log);
        known.retain(|c| c.state != SourceState::Skipped);
        let is_family = !known.is_empty() && log != *self.path && self.is_followed_by_itself(&log);
        is_family.then_some(Family { log, known })
    }

    /// Whether what lies at `path`, whose name rotation gives to this log, is rather of another one: of the one that
    /// its name says, if that has a tailer, or else of the log of the family. `app.1.log.gz` is of `app.log`, and not
    /// of `app.1.log`; `app-2026-11-27.log.1` is of `app-2026-11-27.log`, and not of `app.log`.
    pub(super) fn is_of_other_log(&self, family: Option<&Family>, path: &Path) -> bool {
        let name = path.file_name().map(OsStrExt::as_bytes);
        if let Some(log) = name.and_then(family_base) {
            let log = path.with_file_name(OsString::from_vec(log));
            if log == *self.path {
                return false;
            }
            if self.has_tailer(&log) {
                return true;
            }
        }
        family.is_some_and(|family| family.has_rotated(path))
    }

    /// Checkpoints of other paths which are names that rotation gives to this one: what was archived is known by
    /// them.
    pub(super) fn related(&self) -> Vec<Checkpoint> {
        let is_related = |path: &Path| is_rotated_from(&self.path, path);
        self.shared.registry.of_related(&self.path, is_related)
    }

    /// Whether a file that is called rotated by the section, and has a name that no rotation is known to give, begins
    /// with the name of this log, up to its extension, and with that of no other one that is followed beside it.
    pub(super) fn is_named_after(&self, name: &OsStr) -> bool {
        let (Some(stem), name) = (self.path.file_stem(), name.as_bytes()) else {
            return false;
        };
        if !self.begins_with_stem(Path::new(OsStr::from_bytes(name))) {
            return false;
        }
        let ending = self.path.extension().map(|e| [b".", e.as_bytes()].concat());
        let ending = ending.unwrap_or_default();
        let mut longer = (stem.len() + 1..name.len()).filter(|at| is_separator(name, *at));
        !longer.any(|at| {
            let other = [&name[..at], &ending].concat();
            let other = self.path.with_file_name(OsStr::from_bytes(&other));
            self.shared.watches.is_followed(&other)
        })
    }

    /// Whether the name of a file begins with that of this log, up to its extension, and goes on with another part.
    pub(super) fn begins_with_stem(&self, path: &Path) -> bool {
        let names = self.path.file_stem().zip(path.file_name());
        names.is_some_and(|(stem, name)| {
            let (stem, name) = (stem.as_bytes(), name.as_bytes());
            name.starts_with(stem) && is_separator(name, stem.len())
        })
    }

    /// Whether a log has a tailer. That may have ended already, where the agent stops, or come later.
    fn has_tailer(&self, log: &Path) -> bool {
        let is_known = || !self.shared.registry.all_of_path(log).is_empty();
        self.shared.watches.is_followed(log) || is_known() && self.is_followed_by_itself(log)
    }

    /// Whether a path has, or is about to have, a tailer.
    pub(super) fn is_followed_by_itself(&self, path: &Path) -> bool {
        self.shared.watches.is_followed(path)
            || follows(&self.log, path)
            || matches!(self.shared.discovery().claim(path), Claim::Wanted(..))
    }
}

/// The log of a file in an `olddir` lies so many folders above at most.
const FOLDERS_ABOVE: usize = 2;

/// Whether all that a file holds is what the `original` begins with.
fn is_beginning_of(
    (original, of_original): (&mut LogFile, &FileStat),
    content: &mut LogFile,
    stat: &FileStat,
) -> io::Result<bool> {
    Ok(of_original.size >= stat.size && begins_as(original, content, stat)?)
}

/// Whether a part of a name ends before this byte.
fn is_separator(name: &[u8], at: usize) -> bool {
    name.get(at).is_some_and(|byte| b"-_.~ ".contains(byte))
}
