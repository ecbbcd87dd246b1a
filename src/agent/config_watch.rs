//! Whether the ini has changed, and what it says now.
//!
//! Editors rename, write in pieces, and Kubernetes turns a link over: so the files are looked at, by their names, once a
//! second, and are read when they have looked the same for two looks after a change. No event tells of all of that on all
//! file systems, and a look is a few system calls. A `scan-<n>` thread looks: the main thread never waits for the file
//! system of the ini.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::config::{Config, ConfigErrors};

/// The ini as it is now.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) config: Result<Config, ConfigErrors>,
    /// When it, or a file that it includes, was last changed.
    pub(super) modified: Option<SystemTime>,
    /// Somebody asked; if not, it has changed.
    pub(super) is_asked: bool,
    /// The files as they were read.
    pub(super) files: WatchedFiles,
}

/// What the files of an ini looked like when they were read.
#[derive(Debug, Clone, Default)]
pub(super) struct WatchedFiles {
    paths: Vec<PathBuf>,
    looks: Vec<Look>,
}

impl WatchedFiles {
    /// As they look now.
    pub(super) fn of(paths: &[PathBuf]) -> Self {
        WatchedFiles {
            paths: paths.to_vec(),
            looks: looks(paths),
        }
    }

    /// Whether they look otherwise by now. Asks their file system, which may hang.
    pub(super) fn have_changed(&self) -> bool {
        looks(&self.paths) != self.looks
    }
}

/// The ini and all files that it consists of. It goes to the thread that looks and comes back.
#[derive(Debug)]
pub(super) struct ConfigWatch {
    file: PathBuf,
    /// Files and folders whose change may change what it says.
    watched: Vec<PathBuf>,
    stillness: Stillness,
}

impl ConfigWatch {
    /// Watches what `config` comes from.
    pub(super) fn new(config: &Config) -> Self {
        let watched = config.origin.watched.clone();
        ConfigWatch {
            file: config.file.clone(),
            stillness: Stillness::of(looks(&watched)),
            watched,
        }
    }

    /// Reads the ini, if somebody asked or if it has changed and is quiet again.
    pub(super) fn look(&mut self, is_asked: bool) -> Option<Loaded> {
        let is_due = is_asked || self.stillness.look(looks(&self.watched));
        is_due.then(|| self.load(is_asked))
    }

    fn load(&mut self, is_asked: bool) -> Loaded {
        let before = looks(&self.watched);
        let config = Config::load(&self.file);
        // What changed while it was read is read again.
        let is_torn = looks(&self.watched) != before;
        let (watched, included) = match &config {
            Ok(config) => (config.origin.watched.clone(), &config.origin.files[..]),
            Err(errors) => (errors.watched().to_vec(), &[][..]),
        };
        self.watched = watched;
        self.stillness = Stillness::of(looks(&self.watched));
        self.stillness.is_moving = is_torn;
        let files = [&self.file].into_iter().chain(included);
        let modified = files.filter_map(|file| fs::metadata(file).ok()?.modified().ok());
        Loaded {
            modified: modified.max(),
            config,
            is_asked,
            files: WatchedFiles {
                paths: self.watched.clone(),
                looks: self.stillness.last.clone(),
            },
        }
    }
}

/// What a file looks like from outside; `None`: it is not there.
type Look = Option<(u64, u64, i64, i64, u64)>;

fn looks(paths: &[PathBuf]) -> Vec<Look> {
    let look = |path: &PathBuf| {
        let stat = fs::metadata(path as &Path).ok()?;
        let (s, ns) = (stat.mtime(), stat.mtime_nsec());
        Some((stat.dev(), stat.ino(), s, ns, stat.len()))
    };
    paths.iter().map(look).collect()
}

/// Whether files have changed and are quiet again.
#[derive(Debug)]
struct Stillness {
    last: Vec<Look>,
    /// They have changed, and were not read since.
    is_moving: bool,
}

impl Stillness {
    /// They were just read.
    fn of(last: Vec<Look>) -> Self {
        Stillness {
            last,
            is_moving: false,
        }
    }

    /// Another look at them. Whether they have changed, and not since the last look.
    fn look(&mut self, now: Vec<Look>) -> bool {
        let is_still = self.last == now;
        self.last = now;
        if is_still {
            return std::mem::take(&mut self.is_moving);
        }
        self.is_moving = true;
        false
    }
}

/// How often they are looked at; so long they must be quiet.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_changed_is_due_once_when_it_is_quiet_again() {
        let at = |ns| vec![Some((1, 1, 0, ns, 5)), None];
        let mut stillness = Stillness::of(at(1));
        assert!(!stillness.look(at(1)));
        assert!(!stillness.look(at(2)), "it has just changed");
        assert!(!stillness.look(at(3)), "and again");
        assert!(stillness.look(at(3)));
        assert!(!stillness.look(at(3)), "it was read");
        assert!(!stillness.look(vec![None, None]), "an editor renames");
        assert!(!stillness.look(at(4)));
        assert!(stillness.look(at(4)));
    }
}
