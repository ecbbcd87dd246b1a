//! What was found at a look.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::links::UnsafeLink;
use super::log_file::LogFile;
use super::observation::{Candidate, Observation, Place};
use crate::identity::{FileStat, Inode};
use crate::progress::Checkpoint;
use crate::shown::ShownPath;

/// What was seen, and the files that were opened for it: what is planned is done with these very files, whatever
/// lies under their names by then.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) seen: Observation,
    /// What lies at the path, unless it was open already.
    pub(super) current: Option<LogFile>,
    /// The content that open files have now, if it is not what was read: by the serial number of their sources.
    pub(super) begun: BTreeMap<u64, (Checkpoint, FileStat)>,
    /// The content of `current`.
    pub(super) begun_current: Option<(Checkpoint, FileStat)>,
    /// Serial numbers of checkpoints with whose content `current` begins, and which are of other files.
    pub(super) told_apart: Vec<u64>,
    /// One for each candidate.
    pub(super) files: Vec<CandidateFile>,
    /// Names moved on while they were looked at: a file may have been missed.
    pub(super) is_moving: bool,
    /// Names that lead to other inodes than the listing says. If they do so at every look, nothing moves: on an
    /// overlay, or at a mount point, a listing and a stat differ.
    pub(super) differing: Vec<(PathBuf, u64)>,
    /// An archive that cannot be unpacked here, by its name of what lay at the path.
    pub(super) packed: Option<PathBuf>,
    /// What could not be looked at, and why.
    pub(super) trouble: Option<(PathBuf, io::Error)>,
    /// Inode and time of birth of the file at the path that another tailer reads.
    pub(super) elsewhere: Option<(Inode, i64)>,
    /// That file is empty, and may become a copy of what another path holds.
    pub(super) awaits_copy: bool,
}

impl Found {
    /// Adds what lies beside the path.
    pub(super) fn add(&mut self, candidate: Candidate, file: CandidateFile) -> Place {
        self.seen.candidates.push(candidate);
        self.files.push(file);
        Place::Candidate(self.files.len() - 1)
    }

    /// Where content that is to be found nowhere may be: the end of the line that says so.
    pub(super) fn where_else(&self) -> String {
        let packed = self.packed.iter().map(|path| {
            let path = ShownPath(path);
            format!("; '{path}' may hold it, and only .gz and .zst can be unpacked")
        });
        packed.collect()
    }

    /// That a link at `path` is not followed, if it is that what could not be looked at.
    pub(super) fn refused_link(&self, path: &Path) -> Option<&io::Error> {
        let (at, error) = self.trouble.as_ref()?;
        (at == path && UnsafeLink::of(error).is_some()).then_some(error)
    }
}

/// Where a candidate was found.
#[derive(Debug)]
pub(super) struct CandidateFile {
    pub(super) path: PathBuf,
    pub(super) content: Option<LogFile>,
}
