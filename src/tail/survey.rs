//! What the patterns of a configuration find at one moment, and whether it can be read: for `logagent check`. A walk
//! on one thread, without watches, that may hang on a file system.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::discover::{Claim, Discovery, FolderKind, Next, Step};
use super::links::{self, UnsafeLink};
use super::log_file::is_compressed_name;
use crate::config::LogConfig;
use crate::identity::FileStat;

/// What was found.
#[derive(Debug, Default)]
pub struct Survey {
    /// Files by their paths, each with its section and what opening it for reading gave.
    pub files: BTreeMap<PathBuf, (Arc<LogConfig>, io::Result<FileStat>)>,
    /// Those that are not read since `follow_links` refuses a link on the way, and what is said of that.
    pub refused: BTreeMap<PathBuf, (Arc<LogConfig>, String)>,
    /// Folders that may not be listed or entered, with the section that leads there.
    pub closed: BTreeMap<PathBuf, Arc<LogConfig>>,
    /// How many folders are to be watched.
    pub folders: usize,
}

/// Walks through all folders that `discovery` leads to.
pub fn survey(discovery: &Discovery) -> Survey {
    let mut walk = Walk {
        discovery,
        found: Survey::default(),
        watched: BTreeSet::new(),
    };
    for pattern in discovery.patterns() {
        let Some((_, log)) = discovery.pattern(pattern) else {
            continue;
        };
        let mut rest = vec![(PathBuf::from("/"), discovery.start(pattern), 0)];
        while let Some((folder, steps, depth)) = rest.pop() {
            if depth <= DEEPEST && !discovery.is_of_state_dir(&folder) {
                walk.folder(&folder, &steps, log, &mut |path, steps| {
                    rest.push((path, steps, depth + 1));
                });
            }
        }
    }
    walk.found.folders = walk.watched.len();
    walk.found
}

struct Walk<'a> {
    discovery: &'a Discovery,
    found: Survey,
    watched: BTreeSet<PathBuf>,
}

impl Walk<'_> {
    fn folder(
        &mut self,
        folder: &Path,
        steps: &[Step],
        log: &Arc<LogConfig>,
        go_on: &mut dyn FnMut(PathBuf, Vec<Step>),
    ) {
        let mut listing = Vec::new();
        for step in steps {
            match self.discovery.next(*step) {
                Some(Next::File(name)) => {
                    self.watched.insert(folder.to_owned());
                    self.file(folder.join(name), folder, log);
                }
                Some(Next::Folder(name)) => {
                    let path = folder.join(name);
                    let entered = self.discovery.enter(&[*step], name, FolderKind::Link);
                    match path.metadata() {
                        Ok(metadata) if metadata.is_dir() => go_on(path, entered),
                        Err(error) => self.closed(folder, log, &error),
                        Ok(_) => {}
                    }
                }
                Some(Next::Names) => listing.push(*step),
                None => {}
            }
        }
        if listing.is_empty() {
            return;
        }
        self.watched.insert(folder.to_owned());
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) => return self.closed(folder, log, &error),
        };
        for entry in entries.flatten() {
            let (name, path) = (entry.file_name(), entry.path());
            if self.discovery.names_file(&listing, &name).is_some() {
                self.file(path.clone(), folder, log);
            }
            let kind = match entry.file_type() {
                Ok(kind) if kind.is_dir() => FolderKind::Plain,
                Ok(kind) if kind.is_symlink() && path.is_dir() => FolderKind::Link,
                _ => continue,
            };
            let entered = self.discovery.enter(&listing, &name, kind);
            if !entered.is_empty() {
                go_on(path, entered);
            }
        }
    }

    fn closed(&mut self, folder: &Path, log: &Arc<LogConfig>, error: &io::Error) {
        if error.kind() == io::ErrorKind::PermissionDenied {
            self.found.closed.insert(folder.to_owned(), log.clone());
        }
    }

    fn file(&mut self, path: PathBuf, folder: &Path, log: &Arc<LogConfig>) {
        let Claim::Wanted(owner, _) = self.discovery.claim(&path) else {
            return;
        };
        if self.found.files.contains_key(&path) || self.discovery.is_of_state_dir(&path) {
            return;
        }
        match FileStat::at_path(&path) {
            Ok(stat) if stat.is_regular && !is_compressed_name(&path) => {}
            Err(error) => return self.closed(folder, log, &error),
            Ok(_) => return,
        }
        let found = match links::open(&path, owner.follow_links) {
            Ok(Some((_, stat))) => Ok(stat),
            Ok(None) => return,
            Err(error) if UnsafeLink::of(&error).is_some() => {
                self.found.refused.insert(path, (owner, error.to_string()));
                return;
            }
            Err(error) => Err(error),
        };
        self.found.files.insert(path, (owner, found));
    }
}

/// Folders below folders.
const DEEPEST: usize = 128;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic fails the test")]
mod tests {
    use super::super::discover::testing::section;
    use super::*;

    #[test]
    fn files_are_found_by_names_globs_and_at_any_depth_but_not_what_is_excluded_or_no_log() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("a/b/state")).unwrap();
        for name in [
            "one.log",
            "a/two.log",
            "a/b/three.log",
            "a/b/old.log.gz",
            "a/b/no.txt",
            "a/b/state/x.log",
        ] {
            fs::write(root.join(name), name).unwrap();
        }
        let path = |name: &str| root.join(name).display().to_string();
        let logs = [
            section(
                "deep",
                &[&path("**/*.log*"), &path("gone/x.log")],
                &["two.log"],
            ),
            section("two", &[&path("a/two.log")], &[]),
        ];
        let discovery = Discovery::new(&logs, &root.join("a/b/state"));
        let survey = survey(&discovery);
        let found: Vec<(&str, &Path, u64)> = survey
            .files
            .iter()
            .map(|(path, (log, stat))| {
                let size = stat.as_ref().unwrap().size;
                (&*log.name, path.strip_prefix(&root).unwrap(), size)
            })
            .collect();
        let expected = [
            ("deep", Path::new("a/b/three.log"), 13),
            ("two", Path::new("a/two.log"), 9),
            ("deep", Path::new("one.log"), 7),
        ];
        assert_eq!(found, expected);
        assert!(survey.closed.is_empty(), "{:?}", survey.closed);
        assert_eq!(survey.folders, 3);
    }
}
