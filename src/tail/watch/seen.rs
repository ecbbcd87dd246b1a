//! What is seen in the folders of the patterns, and where to look: what the watcher and the threads that ask
//! file systems tell each other, and what is there when the agent starts.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::config::LogConfig;
use crate::identity::FileStat;
use crate::tail::discover::{FoundPath, Step};
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

/// What was there when the agent started.
#[derive(Debug)]
pub struct FirstLook {
    /// The files, and the known paths that lead nowhere now or did when their folder was listed; each path once.
    pub found: Vec<FoundPath>,
    /// How many of them were known.
    pub known: usize,
}

/// What is gathered for [`FirstLook`].
#[derive(Debug)]
pub(super) struct First {
    sender: Sender<FirstLook>,
    found: Vec<FoundPath>,
    known: HashSet<Arc<Path>>,
    /// Jobs that see which of the known paths lead nowhere.
    jobs: usize,
    /// The names that have come meanwhile.
    named: HashSet<PathBuf>,
    /// What has not been seen by then comes later.
    until: Option<Instant>,
}

impl First {
    /// Nothing is seen yet. These paths are `known`; it is over at `until`, whatever is still missing.
    pub(super) fn new(
        known: HashSet<Arc<Path>>,
        until: Option<Instant>,
    ) -> (First, Receiver<FirstLook>) {
        let (sender, first_look) = bounded(1);
        let first = First {
            sender,
            found: Vec::new(),
            known,
            jobs: 0,
            named: HashSet::new(),
            until,
        };
        (first, first_look)
    }

    pub(super) fn known(&self) -> &HashSet<Arc<Path>> {
        &self.known
    }

    pub(super) fn until(&self) -> Option<Instant> {
        self.until
    }

    /// Whether the look at a name that has just come is waited for: the first one is. A file that goes to and fro between two names may have
    /// had the other one when its folder was listed; but where names change all the time there is always one to look at.
    pub(super) fn awaits_once(&mut self, path: &Path) -> bool {
        self.named.len() < MOST_NAMED && self.named.insert(path.to_owned())
    }

    /// So many jobs see which of the known paths lead nowhere.
    pub(super) fn begin_jobs(&mut self, jobs: usize) {
        self.jobs = jobs;
    }

    pub(super) fn end_job(&mut self) {
        self.jobs = self.jobs.saturating_sub(1);
    }

    pub(super) fn add(&mut self, found: FoundPath) {
        self.found.push(found);
    }

    /// Whether nothing is waited for any more, given whether all folders were seen.
    pub(super) fn is_over(&self, is_complete: bool, now: Instant) -> bool {
        (is_complete && self.jobs == 0) || self.until.is_some_and(|until| now >= until)
    }

    /// Tells what was seen.
    pub(super) fn report(self) {
        let mut seen = HashSet::new();
        let mut found = self.found;
        // A file that was seen, before a path that is only known.
        found.sort_by_key(|found| found.stat.is_none());
        found.retain(|found| seen.insert(found.path.clone()));
        let known = seen
            .iter()
            .filter(|path| self.known.contains(*path))
            .count();
        // Without a main thread the process is about to end.
        let _ = self.sender.send(FirstLook { found, known });
    }
}

/// So many names that come meanwhile are waited for.
const MOST_NAMED: usize = 10_000;
