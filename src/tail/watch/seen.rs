//! What is seen in the folders of the patterns, and where to look: what the watcher and the threads that ask
//! file systems tell each other.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::LogConfig;
use crate::identity::FileStat;
use crate::tail::discover::Step;
use crate::tail::lanes::Lane;

/// Where a walk begins: a folder, and how far the patterns have come on the way to it.
#[derive(Debug, Clone)]
pub(super) struct Start {
    pub(super) folder: Arc<Path>,
    pub(super) steps: Vec<Step>,
}

/// Where a path is to be asked for next, on its way through links to other file systems.
#[derive(Debug, Clone)]
pub(super) struct Way {
    pub(super) lane: Lane,
    /// The lanes that were asked before: their links are read again, and none of them is asked twice.
    pub(super) passed: Vec<Lane>,
}

impl Way {
    /// No lane was asked before.
    pub(super) fn to(lane: Lane) -> Self {
        Way {
            lane,
            passed: Vec::new(),
        }
    }
}

/// What a walk found.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) folders: Vec<SeenFolder>,
    pub(super) files: Vec<LookedAt>,
    pub(super) troubles: Vec<(u32, Trouble)>,
    /// Patterns that name a file that is followed already.
    pub(super) followed: Vec<u32>,
    /// What lies in other lanes.
    pub(super) elsewhere: Vec<(Way, Start)>,
    pub(super) files_elsewhere: Vec<(Way, PathBuf)>,
}

/// A folder in which names are of interest.
#[derive(Debug)]
pub(super) struct SeenFolder {
    pub(super) path: Arc<Path>,
    pub(super) steps: Vec<Step>,
    /// The kernel tells of all that happens to its names.
    pub(super) is_told: bool,
}

/// A path that a pattern names.
#[derive(Debug)]
pub(super) struct LookedAt {
    pub(super) path: PathBuf,
    /// The first pattern that led to it; `None` if an event did.
    pub(super) pattern: Option<u32>,
    pub(super) outcome: Outcome,
}

/// What a look at it has shown.
#[derive(Debug)]
pub(super) enum Outcome {
    /// A file to read, for the first section, also named by the second.
    File(Arc<LogConfig>, Option<Arc<LogConfig>>, FileStat),
    Trouble(Trouble),
    /// Nothing lies there.
    Nothing,
    /// It leads to another lane, where it must be looked at.
    Elsewhere(Way),
}

/// Why something that a pattern names is not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// All sections that name it exclude it.
    Excluded,
    /// Rotation made it; what is unread of it is found from the file that it was.
    Compressed,
    Folder,
    /// A fifo, a socket or a device.
    NotRegular,
    /// A link whose target does not exist.
    DanglingLink,
    /// It is part of the state folder.
    StateDir(PathBuf),
    /// The folder is not there yet.
    NoFolder(PathBuf),
    /// A folder on the way may not be entered.
    MayNotEnter(PathBuf),
    /// The folder cannot be listed.
    MayNotList(PathBuf, String),
    /// The folder lies too deep.
    TooDeep(PathBuf),
    /// Something else.
    Failed(String),
}

impl Trouble {
    /// The folder that a walk met it at.
    pub(super) fn about(&self) -> &Path {
        match self {
            Trouble::StateDir(path)
            | Trouble::NoFolder(path)
            | Trouble::MayNotEnter(path)
            | Trouble::MayNotList(path, _)
            | Trouble::TooDeep(path) => path,
            _ => Path::new("/"),
        }
    }
}
