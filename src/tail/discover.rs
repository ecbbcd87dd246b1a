//! Which files the patterns of the configuration name, and which folders to watch for new ones.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use glob::{MatchOptions, Pattern};

use super::content::is_compressed_name;
use crate::config::LogConfig;
use crate::identity::Look;

/// A path that is to be followed.
#[derive(Debug, Clone)]
pub struct Found {
    /// The path.
    pub path: Arc<Path>,
    /// The section whose pattern it matches; the first one, if several do.
    pub log: Arc<LogConfig>,
    /// What lay there, if anything did. It may be rotated away before anybody opens it.
    pub look: Option<Look>,
}

/// The patterns of all `[log:NAME]` sections.
#[derive(Debug)]
pub struct Discovery {
    patterns: Vec<LogPattern>,
    /// What a warning was given for, so that it is given once.
    warned: HashSet<PathBuf>,
    is_first: bool,
}

#[derive(Debug)]
struct LogPattern {
    text: String,
    whole: Pattern,
    exclude: Vec<Pattern>,
    log: Arc<LogConfig>,
}

/// What one scan found.
#[derive(Debug, Default)]
pub(super) struct Scan {
    pub(super) files: Vec<Found>,
    pub(super) folders: BTreeSet<PathBuf>,
}

impl Discovery {
    /// The patterns of `logs`; those that are no globs stand for themselves.
    pub fn new(logs: &[Arc<LogConfig>]) -> Self {
        let mut patterns = Vec::new();
        for log in logs {
            let exclude: Vec<Pattern> = log.exclude.iter().map(|text| compile(text)).collect();
            for text in &log.paths {
                let (text, whole, exclude) = (text.clone(), compile(text), exclude.clone());
                patterns.push(LogPattern {
                    text,
                    whole,
                    exclude,
                    log: log.clone(),
                });
            }
        }
        Discovery {
            patterns,
            warned: HashSet::new(),
            is_first: true,
        }
    }

    /// Walks the folders that the patterns lead to. A file that `is_followed` already is not among those
    /// found, and not looked at.
    pub(super) fn scan(&mut self, is_followed: impl Fn(&Path) -> bool) -> Scan {
        let mut scan = Scan::default();
        let mut seen = HashSet::new();
        for at in 0..self.patterns.len() {
            let mut paths = BTreeSet::new();
            walk(
                Path::new("/"),
                &components(&self.patterns[at].text),
                &mut paths,
                &mut scan.folders,
                &mut self.warned,
            );
            let mut any = false;
            for path in paths {
                if is_followed(&path) {
                    any = true;
                    continue;
                }
                let Some(found) = self.accepted(at, &path) else {
                    continue;
                };
                any = true;
                if seen.insert(path) {
                    scan.files.push(found);
                }
            }
            if self.is_first && !any {
                let LogPattern { text, log, .. } = &self.patterns[at];
                log::warn!(
                    "[log:{}] no file matches '{text}' yet; it is picked up when it appears",
                    log.name
                );
            }
        }
        self.is_first = false;
        scan
    }

    /// The section that wants `path`, if any does, whether a file lies there or not.
    pub(super) fn wanting(&self, path: &Path) -> Option<Found> {
        let wanting = |p: &&LogPattern| {
            p.whole.matches_path_with(path, OPTIONS) && !is_excluded(&p.exclude, path)
        };
        let log = self.patterns.iter().find(wanting)?.log.clone();
        Some(Found {
            path: path.into(),
            log,
            look: None,
        })
    }

    /// The section that wants `path`, if any does and it is a file to be read.
    pub(super) fn matching(&mut self, path: &Path) -> Option<Found> {
        let at = self
            .patterns
            .iter()
            .position(|pattern| pattern.whole.matches_path_with(path, OPTIONS))?;
        self.accepted(at, path)
    }

    fn accepted(&mut self, at: usize, path: &Path) -> Option<Found> {
        let LogPattern { exclude, log, .. } = &self.patterns[at];
        if is_excluded(exclude, path) {
            return None;
        }
        if is_compressed_name(path) {
            // Rotation made it; what is unread of it is found from the file that it was.
            return None;
        }
        match Look::at_path(path) {
            Ok(look) if look.is_regular => {
                self.warned.remove(path);
                Some(Found {
                    path: path.into(),
                    log: log.clone(),
                    look: Some(look),
                })
            }
            Ok(_) => {
                if self.warned.insert(path.to_owned()) {
                    log::warn!("'{}' is not a regular file and is not read", path.display());
                }
                None
            }
            Err(error) => {
                let link = fs::symlink_metadata(path).is_ok_and(|m| m.is_symlink());
                let expected = error.kind() == io::ErrorKind::NotFound && !link;
                if !expected && self.warned.insert(path.to_owned()) {
                    log::warn!("'{}' cannot be looked at: {error}", path.display());
                }
                None
            }
        }
    }
}

/// Collects the paths below `base` that `rest` names, and the folders whose changes matter to it.
fn walk(
    base: &Path,
    rest: &[String],
    paths: &mut BTreeSet<PathBuf>,
    folders: &mut BTreeSet<PathBuf>,
    warned: &mut HashSet<PathBuf>,
) {
    let Some((first, rest)) = rest.split_first() else {
        return;
    };
    let is_glob = first.contains(['*', '?', '[']);
    if !is_glob {
        let path = base.join(first);
        if rest.is_empty() {
            folders.insert(base.to_owned());
            paths.insert(path);
        } else if path.is_dir() {
            walk(&path, rest, paths, folders, warned);
        } else {
            // Its parts appear one after the other.
            folders.insert(base.to_owned());
        }
        return;
    }
    folders.insert(base.to_owned());
    let entries = match fs::read_dir(base) {
        Ok(entries) => entries,
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound && warned.insert(base.to_owned()) {
                log::warn!("folder '{}' cannot be read: {error}", base.display());
            }
            return;
        }
    };
    if first == "**" {
        walk(base, rest, paths, folders, warned);
    }
    let pattern = compile(first);
    for entry in entries.flatten() {
        let (name, path) = (entry.file_name(), entry.path());
        // Links to folders are not followed below **: they may lead in a circle.
        let is_folder = || match first == "**" {
            true => entry.file_type().is_ok_and(|t| t.is_dir()),
            false => path.is_dir(),
        };
        if first == "**" {
            if is_folder() && !name.to_string_lossy().starts_with('.') {
                walk(
                    &path,
                    &[std::slice::from_ref(first), rest].concat(),
                    paths,
                    folders,
                    warned,
                );
            }
        } else if pattern.matches_path_with(Path::new(&name), OPTIONS) {
            if rest.is_empty() {
                paths.insert(path);
            } else if is_folder() {
                walk(&path, rest, paths, folders, warned);
            }
        }
    }
}

fn components(text: &str) -> Vec<String> {
    let parts = Path::new(text).components().filter_map(|part| match part {
        Component::Normal(part) => Some(part.to_string_lossy().into_owned()),
        Component::ParentDir => Some("..".to_owned()),
        _ => None,
    });
    parts.collect()
}

/// A pattern that cannot be compiled was refused with the configuration; should one get here all the
/// same, it stands for itself.
fn compile(text: &str) -> Pattern {
    Pattern::new(text)
        .or_else(|_| Pattern::new(&Pattern::escape(text)))
        .unwrap_or_default()
}

/// Whether one of these globs leaves `path` out. A glob without a slash is about the file name.
fn is_excluded(exclude: &[Pattern], path: &Path) -> bool {
    exclude.iter().any(|glob| {
        let is_of_names = !glob.as_str().contains('/');
        let name = path.file_name().map(Path::new).filter(|_| is_of_names);
        glob.matches_path_with(name.unwrap_or(path), OPTIONS)
    })
}

const OPTIONS: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: true,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{FollowLinks, StartAt};
    use std::time::Duration;

    fn discovery(paths: &[String], exclude: &[String]) -> Discovery {
        Discovery::new(&[Arc::new(LogConfig {
            name: "t".into(),
            paths: paths.to_vec(),
            exclude: exclude.to_vec(),
            topic: "t".into(),
            key: None,
            start_at: StartAt::Beginning,
            max_line_bytes: 1,
            rotate_wait: Duration::ZERO,
            rotated: vec![],
            follow_links: FollowLinks::Safe,
            strip_cr: false,
        })])
    }

    fn tree(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for name in names {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("has one")).expect("is made");
            fs::write(path, "x").expect("is written");
        }
        folder
    }

    fn scanned(
        folder: &tempfile::TempDir,
        pattern: &str,
        exclude: &[&str],
    ) -> (Vec<String>, Vec<String>) {
        let absolute = |text: &str| format!("{}/{text}", folder.path().display());
        let exclude: Vec<String> = exclude
            .iter()
            .map(|text| match text.contains('/') {
                true => absolute(text),
                false => text.to_string(),
            })
            .collect();
        let scan = discovery(&[absolute(pattern)], &exclude).scan(|_| false);
        let relative = |path: &Path| {
            path.strip_prefix(folder.path())
                .map_or_else(|_| "above".into(), |p| p.display().to_string())
        };
        (
            scan.files.iter().map(|f| relative(&f.path)).collect(),
            scan.folders.iter().map(|f| relative(f)).collect(),
        )
    }

    #[test]
    fn globs_name_files_and_the_folders_to_watch() {
        let folder = tree(&[
            "a.log",
            "b.log",
            "c.txt",
            ".d.log",
            "x/e.log",
            "x/y/f.log",
            "z/g.txt",
        ]);
        assert_eq!(
            scanned(&folder, "*.log", &[]),
            (vec!["a.log".into(), "b.log".into()], vec![String::new()])
        );
        assert_eq!(scanned(&folder, "*.log", &["b*"]).0, vec!["a.log"]);
        let all = scanned(&folder, "**/*.log", &[]);
        assert_eq!(all.0, vec!["a.log", "b.log", "x/e.log", "x/y/f.log"]);
        assert_eq!(all.1, vec!["", "x", "x/y", "z"]);
        assert_eq!(scanned(&folder, "?/*.log", &[]).0, vec!["x/e.log"]);
        assert_eq!(scanned(&folder, "[ab].log", &[]).0.len(), 2);
    }

    #[test]
    fn a_path_that_is_not_there_yet_is_awaited_in_the_nearest_folder() {
        let folder = tree(&["x/a.log"]);
        assert_eq!(
            scanned(&folder, "x/later/b.log", &[]),
            (vec![], vec!["x".into()])
        );
        assert_eq!(scanned(&folder, "x/b.log", &[]), (vec![], vec!["x".into()]));
    }

    #[test]
    fn an_exclude_without_a_slash_leaves_out_files_in_hidden_folders_too() {
        let folder = tree(&[".pm2/logs/a.log", ".pm2/logs/debug.log", "b.log"]);
        let pattern = ".pm2/logs/*.log";
        assert_eq!(scanned(&folder, pattern, &[]).0.len(), 2);
        assert_eq!(
            scanned(&folder, pattern, &["debug*"]).0,
            vec![".pm2/logs/a.log"]
        );
    }

    #[test]
    fn folders_and_fifos_are_not_files() {
        let folder = tree(&["a.log", "b.log/inner"]);
        rustix::fs::mkfifoat(
            rustix::fs::CWD,
            folder.path().join("c.log"),
            rustix::fs::Mode::RWXU,
        )
        .expect("is made");
        assert_eq!(scanned(&folder, "*.log", &[]).0, vec!["a.log"]);
    }
}
