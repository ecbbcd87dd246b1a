//! Rotated files that are followed by themselves.
//!
//! Where a glob matches rotated names too, `app.1.log` is followed as a path of its own beside `app.log`: both are of
//! one *family*, whose log is `app.log`. So is `old/app.1.log`, in an `olddir`. Who reads a file that may be either's is
//! told by these rules:
//! - Content that is known to one of them is never new to the other, plain or packed. What begins as the log does and
//!   goes on in another way than the log, which still lies at its path, is other content: many begin with a banner.
//! - A name that no rotation is known to give, and that begins with that of a log, says less: the file is a copy if it
//!   is what the log begins with, and that is more than a banner, or was written just now.
//! - A plain file of unknown content is read by the tailer of its own name, at once: it may be a log that only looks
//!   rotated, with a port or a shard in its name.
//! - An archive has no tailer of its own. What nobody knows is left to the log of the family, which can tell whether
//!   it was rotated; the tailer of a rotated name takes an archive only if it goes on with what that has read.
//! - Before that the tailer of the log is asked to look (`questions`). So what lies at its path by then is known to
//!   the registry, and a copy of it is no unknown content. Whoever gets no answer in [`PATIENCE`] reads.
//! - Where the log was rotated, its tailer remembers plain files of unknown content for the tailers of their names: a
//!   file that is packed before that has opened it is read from its archive, by that tailer.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::questions::Question;
use super::rotated_names::RotatedName;
use crate::config::LogConfig;
use crate::identity::Inode;
use crate::progress::Checkpoint;

/// The log that the file at a path may have been rotated from, by its name.
#[derive(Debug)]
pub(super) struct Family {
    /// The path of the log.
    pub(super) log: PathBuf,
    /// What is known of the files of the log; that is something.
    pub(super) known: Vec<Checkpoint>,
}

impl Family {
    /// Whether rotation gives the name of `path` to files of the log.
    pub(super) fn has_rotated(&self, path: &Path) -> bool {
        is_rotated_from(&self.log, path)
    }
}

/// A file that is left to the tailer of the log for a while.
#[derive(Debug)]
pub(super) struct Deferred {
    pub(super) inode: Inode,
    pub(super) since: Instant,
    pub(super) question: Option<Arc<Question>>,
}

/// Which tailer reads the file at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    This,
    /// That of another path, or it will.
    Other,
    /// That cannot be told before the tailer of the log has looked, or before the file has content.
    Undecided,
}

/// Whether rotation gives the name of `path` to files of `log`.
pub(super) fn is_rotated_from(log: &Path, path: &Path) -> bool {
    let names = log.file_name().zip(path.file_name());
    names.is_some_and(|(base, name)| RotatedName::parse(base.as_bytes(), name.as_bytes()).is_some())
}

/// Whether `path` is where rotation puts files, as the section says.
pub(super) fn puts_rotated_at(log: &LogConfig, path: &Path) -> bool {
    let options = glob::MatchOptions {
        require_literal_separator: true,
        ..glob::MatchOptions::default()
    };
    let globs = log.rotated.iter();
    let mut globs = globs.filter_map(|text| glob::Pattern::new(text).ok());
    globs.any(|glob| glob.matches_path_with(path, options))
}

/// How long the tailer of a rotated name leaves a file to that of the log.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
