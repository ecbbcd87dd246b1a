//! Whose a file is that may be of two logs: the tailer's side of [`super::family`].

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::compare::matches_of;
use super::discover::Claim;
use super::family::{Deferred, Family, Owner, PATIENCE, is_rotated_from};
use super::log_file::LogFile;
use super::questions::Question;
use super::rotated_names::family_base;
use super::{Tailer, follows};
use crate::identity::FileStat;
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
        let Some(mut family) = self.family().filter(|_| !is_own) else {
            return Ok(Owner::This);
        };
        // A copy counts as read when its original is, which may not have been delivered when the agent was killed.
        let is_known = here.iter().any(|c| c.state != SourceState::Skipped);
        family.known.retain(|c| c.is_unfinished() || !is_known);
        if stat.size > 0 && !matches_of(&family.known, content, stat)?.is_empty() {
            return Ok(Owner::Other);
        }
        if is_known {
            return Ok(Owner::This);
        }
        // A copy is empty before it is one.
        let waits = (stat.size == 0 && !self.shared.once)
            || (!is_answered && self.asks(&family.log, &mut deferred));
        let is_early = deferred.since.elapsed() < PATIENCE;
        // It is kept after that as well: what was waited for once is not asked again at the next look.
        self.deferred = Some(deferred);
        Ok(match waits && is_early {
            true => Owner::Undecided,
            false => Owner::This,
        })
    }

    /// Has the tailer of the `log` look; false if nobody will.
    fn asks(&self, log: &Path, deferred: &mut Deferred) -> bool {
        if self.shared.once {
            return false;
        }
        let question = deferred
            .question
            .get_or_insert_with(|| Arc::new(Question::new(self.handle.clone())));
        self.shared.registry.questions.ask(log, question);
        self.shared.watches.wake_path(log)
    }

    /// The log that the path was rotated from, by its name, if that is followed as well and known.
    pub(super) fn family(&self) -> Option<Family> {
        let name = family_base(self.path.file_name()?.as_bytes())?;
        let log = self.path.with_file_name(OsString::from_vec(name));
        if log == *self.path || !self.is_followed_by_itself(&log) {
            return None;
        }
        let mut known = self.shared.registry.all_of_path(&log);
        known.retain(|c| c.state != SourceState::Skipped);
        (!known.is_empty()).then_some(Family { log, known })
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
            // Its tailer may have ended already, where the agent stops, or come later.
            let is_known = || !self.shared.registry.all_of_path(&log).is_empty();
            if self.shared.watches.is_followed(&log)
                || is_known() && self.is_followed_by_itself(&log)
            {
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
        let is_separator = |at: usize| name.get(at).is_some_and(|byte| b"-_.".contains(byte));
        if !name.starts_with(stem.as_bytes()) || !is_separator(stem.len()) {
            return false;
        }
        let ending = self.path.extension().map(|e| [b".", e.as_bytes()].concat());
        let ending = ending.unwrap_or_default();
        let mut longer = (stem.len() + 1..name.len()).filter(|at| is_separator(*at));
        !longer.any(|at| {
            let other = [&name[..at], &ending].concat();
            let other = self.path.with_file_name(OsStr::from_bytes(&other));
            self.shared.watches.is_followed(&other)
        })
    }

    /// Whether a path has, or is about to have, a tailer.
    pub(super) fn is_followed_by_itself(&self, path: &Path) -> bool {
        self.shared.watches.is_followed(path)
            || follows(&self.log, path)
            || matches!(self.shared.discovery().claim(path), Claim::Wanted(..))
    }
}
