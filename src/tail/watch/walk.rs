//! What a `scan-<n>` thread does for the watcher: it walks the folders that patterns lead to, adds their
//! watches, and looks at single paths. Everything here may hang on a file system, so it holds no lock
//! meanwhile, and it does not go over to another file system: that is left to the lane of that one.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, FileType};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::seen::{LookedAt, Outcome, Seen, SeenFolder, Start, Trouble, Way};
use super::watches::Watches;
use crate::identity::FileStat;
use crate::tail::discover::{Claim, Discovery, FolderKind, Next, Step};
use crate::tail::lanes::Lane;
use crate::tail::links;
use crate::tail::log_file::is_compressed_name;
use crate::tail::mounts::Mounts;

/// What a walk or a look needs.
#[derive(Debug, Clone)]
pub(super) struct Ground {
    pub(super) discovery: Arc<Discovery>,
    pub(super) watches: Arc<Watches>,
    pub(super) mounts: Arc<Mounts>,
    /// The lane of the thread.
    pub(super) home: Lane,
    /// The lanes that were asked before.
    pub(super) passed: Vec<Lane>,
}

impl Ground {
    /// Walks through `start` and the folders below it.
    pub(super) fn walk(&self, start: Start) -> Seen {
        let mut seen = Seen::default();
        if let Some(way) = self.way_from(&start.folder) {
            seen.elsewhere.push((way, start));
            return seen;
        }
        if !start.folder.is_dir() {
            // It has gone, or a link leads to a file.
            return seen;
        }
        let mut rest = vec![(start, 0)];
        while let Some((start, depth)) = rest.pop() {
            self.folder(start, depth, &mut rest, &mut seen);
        }
        seen
    }

    fn folder(
        &self,
        Start { folder, steps }: Start,
        depth: usize,
        rest: &mut Vec<(Start, usize)>,
        seen: &mut Seen,
    ) {
        let Some(first) = steps.first().map(|step| step.pattern) else {
            return;
        };
        let stat = FileStat::at_path(&folder);
        if self.discovery.is_of_state_dir(&folder)
            || stat.is_ok_and(|stat| self.discovery.is_state_dir(&stat))
        {
            let folder = folder.to_path_buf();
            return seen.troubles.push((first, Trouble::StateDir(folder)));
        }
        if depth > DEEPEST {
            let folder = folder.to_path_buf();
            return seen.troubles.push((first, Trouble::TooDeep(folder)));
        }
        let next = |step: &&Step| self.discovery.next(**step);
        let lists = steps.iter().any(|step| next(&step) == Some(Next::Names));
        let has_file = |step: &Step| matches!(next(&step), Some(Next::File(_)));
        // The watch first: what appears after the listing has an event.
        if lists || steps.iter().any(has_file) {
            self.watch(&folder, &steps, seen);
        }
        let mut named: BTreeMap<&OsStr, Vec<Step>> = BTreeMap::new();
        for step in &steps {
            match self.discovery.next(*step) {
                Some(Next::File(name)) => {
                    self.candidate(folder.join(name), step.pattern, None, seen);
                }
                Some(Next::Folder(name)) => named.entry(name).or_default().push(*step),
                Some(Next::Names) | None => {}
            }
        }
        for (name, on_the_way) in named {
            self.named_folder(&folder, name, &on_the_way, (depth, &mut *rest), seen);
        }
        if lists {
            let listing = steps
                .into_iter()
                .filter(|step| self.discovery.next(*step) == Some(Next::Names))
                .collect();
            let start = Start {
                folder,
                steps: listing,
            };
            self.list(&start, (depth, rest), seen);
        }
    }

    fn watch(&self, folder: &Arc<Path>, steps: &[Step], seen: &mut Seen) {
        seen.folders.push(SeenFolder {
            path: folder.clone(),
            steps: steps.to_vec(),
            is_told: self.watches.watch_folder(folder),
        });
    }

    /// A folder that patterns name.
    fn named_folder(
        &self,
        folder: &Arc<Path>,
        name: &OsStr,
        steps: &[Step],
        (depth, rest): (usize, &mut Vec<(Start, usize)>),
        seen: &mut Seen,
    ) {
        let path: Arc<Path> = folder.join(name).into();
        let start = Start {
            folder: path.clone(),
            steps: self.discovery.enter(steps, name, FolderKind::Link),
        };
        if let Some(way) = self.way_from(&path) {
            return seen.elsewhere.push((way, start));
        }
        let mut is_folder = path.metadata().map(|metadata| metadata.is_dir());
        if !matches!(is_folder, Ok(true)) {
            // It appears in this folder, perhaps between that look and the watch.
            self.watch(folder, steps, seen);
            is_folder = path.metadata().map(|metadata| metadata.is_dir());
        }
        let trouble = match is_folder {
            Ok(true) => return rest.push((start, depth + 1)),
            Ok(false) => Trouble::NoFolder(path.to_path_buf()),
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound => Trouble::NoFolder(path.to_path_buf()),
                io::ErrorKind::PermissionDenied => Trouble::MayNotEnter(closed_folder(&path)),
                _ => Trouble::MayNotList(path.to_path_buf(), error.to_string()),
            },
        };
        for step in steps {
            seen.troubles.push((step.pattern, trouble.clone()));
        }
    }

    fn list(
        &self,
        Start { folder, steps }: &Start,
        (depth, rest): (usize, &mut Vec<(Start, usize)>),
        seen: &mut Seen,
    ) {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    let trouble = Trouble::MayNotList(folder.to_path_buf(), error.to_string());
                    for step in steps {
                        seen.troubles.push((step.pattern, trouble.clone()));
                    }
                }
                return;
            }
        };
        // In the order of their names, so that the log reads the same each time.
        let mut entries: Vec<(OsString, io::Result<FileType>)> = entries
            .flatten()
            .map(|entry| (entry.file_name(), entry.file_type()))
            .collect();
        entries.sort_by(|(one, _), (other, _)| one.cmp(other));
        for (name, kind) in entries {
            let Ok(kind) = kind else { continue };
            if let Some(pattern) = self.discovery.names_file(steps, &name) {
                self.candidate(folder.join(&name), pattern, Some(kind), seen);
            }
            let folder_kind = match kind {
                kind if kind.is_dir() => FolderKind::Plain,
                kind if kind.is_symlink() => FolderKind::Link,
                _ => continue,
            };
            let entered = self.discovery.enter(steps, &name, folder_kind);
            if entered.is_empty() {
                continue;
            }
            let path: Arc<Path> = folder.join(&name).into();
            let way = match folder_kind {
                FolderKind::Plain => self.way_to(self.mounts.at(&path).unwrap_or(self.home)),
                FolderKind::Link => self.way_from(&path),
            };
            let start = Start {
                folder: path.clone(),
                steps: entered,
            };
            if let Some(way) = way {
                seen.elsewhere.push((way, start));
            } else if folder_kind == FolderKind::Plain || path.is_dir() {
                rest.push((start, depth + 1));
            }
        }
    }

    /// The way of what `path` leads to, if that is in another lane.
    fn way_from(&self, path: &Path) -> Option<Way> {
        self.way_to(self.mounts.lane_from(self.home, &self.passed, path))
    }

    fn way_to(&self, lane: Lane) -> Option<Way> {
        (lane != self.home).then(|| Way {
            lane,
            passed: [&self.passed[..], &[self.home]].concat(),
        })
    }

    /// A path that a pattern names, in a folder of this lane.
    fn candidate(&self, path: PathBuf, pattern: u32, kind: Option<FileType>, seen: &mut Seen) {
        if self.watches.is_followed(&path) {
            return seen.followed.push(pattern);
        }
        let outcome = match kind {
            // A mount may cover it.
            Some(kind) if kind.is_file() && self.mounts.at(&path).is_none() => {
                self.look_at_home(&path)
            }
            _ => self.look(&path),
        };
        match outcome {
            Outcome::Elsewhere(way) => seen.files_elsewhere.push((way, path)),
            outcome => seen.files.push(LookedAt {
                path,
                pattern: Some(pattern),
                outcome,
            }),
        }
    }

    /// Whether `path` is a file that is to be read.
    pub(super) fn look(&self, path: &Path) -> Outcome {
        match self.way_from(path) {
            Some(way) => Outcome::Elsewhere(way),
            None => self.look_at_home(path),
        }
    }

    fn look_at_home(&self, path: &Path) -> Outcome {
        let (log, also) = match self.discovery.claim(path) {
            Claim::Wanted(log, also) => (log, also),
            Claim::Excluded => return Outcome::Trouble(Trouble::Excluded),
            Claim::Unnamed => return Outcome::Nothing,
        };
        if self.discovery.is_of_state_dir(path) {
            return Outcome::Trouble(Trouble::StateDir(path.to_owned()));
        }
        let mut stat = FileStat::at_path(path);
        let is_absent = |stat: &io::Result<FileStat>| {
            let error = stat.as_ref().err();
            error.is_some_and(|error| error.kind() == io::ErrorKind::NotFound)
        };
        if is_absent(&stat)
            && let Ok(target) = links::resolve(path, log.follow_links)
            && target != path
        {
            self.watches.follow_target(path, &target);
            // It may have come before its folder was watched.
            stat = FileStat::at_path(path);
        }
        match stat {
            Ok(stat) if stat.is_regular && is_compressed_name(path) => {
                Outcome::Trouble(Trouble::Compressed)
            }
            Ok(stat) if stat.is_regular => Outcome::File(log, also, stat),
            Ok(_) if path.is_dir() => Outcome::Trouble(Trouble::Folder),
            Ok(_) => Outcome::Trouble(Trouble::NotRegular),
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound => {
                    match fs::symlink_metadata(path).is_ok_and(|entry| entry.is_symlink()) {
                        true => Outcome::Trouble(Trouble::DanglingLink),
                        false => Outcome::Nothing,
                    }
                }
                io::ErrorKind::PermissionDenied => {
                    Outcome::Trouble(Trouble::MayNotEnter(closed_folder(path)))
                }
                _ => Outcome::Trouble(Trouble::Failed(error.to_string())),
            },
        }
    }
}

/// The first folder on the way to `path` in which nothing may be looked at.
fn closed_folder(path: &Path) -> PathBuf {
    let mut ways: Vec<&Path> = path.ancestors().collect();
    ways.reverse();
    let is_closed = |way: &&&Path| {
        let error = way.metadata().err();
        error.is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
    };
    let first = ways.iter().find(is_closed);
    let folder = first.and_then(|way| way.parent());
    folder.unwrap_or(path).to_owned()
}

/// Folders below folders, counted from `/` or from where a new one appeared.
const DEEPEST: usize = 128;
