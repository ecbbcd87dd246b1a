//! Where the bytes of a tag lie on disk: in the file that the agent knows by it, or in one that begins as that did.
//!
//! The agent's own word is not taken for what a file holds: the checkpoints only say which file to look at.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::DirEntryExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::{Config, FollowLinks, LogConfig};
use crate::identity::{FileStat, FileTag, Inode};
use crate::progress::Checkpoint;
use crate::tail::log_file::LogFile;

/// The folders of the logs, and what the agent knows of the files in them.
#[derive(Debug)]
pub(super) struct Disk {
    known: HashMap<FileTag, Vec<Checkpoint>>,
    /// Which tags the files have that the agent knows, by inode and birth: a file that is packed may get the inode of
    /// one that was.
    owners: HashMap<(Inode, i64), FileTag>,
    folders: HashMap<PathBuf, Listing>,
    /// How often folders were listed again because they had changed.
    listed_again: usize,
}

/// What lay in a folder.
#[derive(Debug, Default)]
struct Listing {
    entries: Vec<Entry>,
    /// The time of its last change before it was listed, in ns since 1970.
    modified_ns: Option<i64>,
}

#[derive(Debug, Clone)]
struct Entry {
    path: Arc<Path>,
    inode: Inode,
    born_ns: i64,
}

/// How sure it is that a file has the bytes that the records of a tag were made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Certainty {
    /// The agent reads it, or it begins as what the agent read.
    Known,
    /// It has the bytes of the first record of the tag that was met.
    Guessed,
}

/// A file on disk, read through a window.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) path: Arc<Path>,
    pub(super) stat: FileStat,
    pub(super) certainty: Certainty,
    policy: FollowLinks,
    file: Option<LogFile>,
    /// It was closed, and is not to be found any more.
    has_gone: bool,
    window: Vec<u8>,
    start: u64,
}

impl Disk {
    /// What the agent has written down of its files.
    pub(super) fn new(checkpoints: Vec<Checkpoint>) -> Self {
        let mut known: HashMap<FileTag, Vec<Checkpoint>> = HashMap::new();
        let mut owners = HashMap::new();
        for checkpoint in checkpoints {
            if let Some(tag) = checkpoint.tag {
                let identity = &checkpoint.identity;
                owners.insert((identity.inode, identity.born_ns), tag);
                known.entry(tag).or_default().push(checkpoint);
            }
        }
        Disk {
            known,
            owners,
            folders: HashMap::new(),
            listed_again: 0,
        }
    }

    /// What the agent knows by `tag`: where it stands furthest.
    pub(super) fn known(&self, tag: FileTag) -> Option<&Checkpoint> {
        let all = self.known.get(&tag)?;
        all.iter().max_by_key(|checkpoint| checkpoint.offset)
    }

    /// The offset up to which the agent has the file of `inode` acknowledged, if it knows that.
    pub(super) fn position(&self, inode: Inode) -> Option<u64> {
        let all = self.known.values().flatten();
        let mut of_it = all.filter(|checkpoint| checkpoint.identity.inode == inode);
        Some(of_it.next()?.offset)
    }

    /// All tags that the agent knows.
    pub(super) fn tags(&self) -> impl Iterator<Item = FileTag> {
        self.known.keys().copied()
    }

    /// The file with the bytes of `tag`. `is_right` says whether a file has those of the record that is at hand;
    /// `None`: that cannot be told.
    pub(super) fn find(
        &mut self,
        tag: FileTag,
        path: &Path,
        log: Option<&LogConfig>,
        is_right: &mut dyn FnMut(&mut Content) -> Option<bool>,
    ) -> Option<Content> {
        let policy = log.map_or(FollowLinks::Safe, |log| log.follow_links);
        let mut folders: Vec<PathBuf> = path.parent().map(Path::to_owned).into_iter().collect();
        let rotated = log.map_or(&[][..], |log| &log.rotated);
        let plain = |folder: &&Path| !folder.to_string_lossy().contains(['*', '?', '[']);
        let rotated = rotated.iter().filter_map(|glob| Path::new(glob).parent());
        folders.extend(rotated.filter(plain).map(Path::to_owned));
        loop {
            let found = self.find_in(&folders, tag, policy, is_right);
            // Files that are rotated meanwhile have other names now.
            if found.is_some() || !self.forget_changed(&folders) {
                return found;
            }
        }
    }

    fn find_in(
        &mut self,
        folders: &[PathBuf],
        tag: FileTag,
        policy: FollowLinks,
        is_right: &mut dyn FnMut(&mut Content) -> Option<bool>,
    ) -> Option<Content> {
        let entries: Vec<Entry> = folders
            .iter()
            .flat_map(|folder| self.list(folder))
            .collect();
        let known = self.known.get(&tag).cloned().unwrap_or_default();
        let of_entry = |entry: &Entry| known.iter().find(|c| c.identity.inode == entry.inode);
        for entry in entries.iter().filter(|entry| of_entry(entry).is_some()) {
            let Some(mut content) = Content::open(&entry.path, policy) else {
                continue;
            };
            let head = content.read(0, HEAD_BYTES).to_vec();
            if of_entry(entry).is_some_and(|c| c.identity.fingerprint.matches(&head)) {
                content.certainty = Certainty::Known;
                return Some(content);
            }
        }
        let mut guesses = Vec::new();
        for entry in entries {
            if self
                .owners
                .get(&(entry.inode, entry.born_ns))
                .is_some_and(|owner| *owner != tag)
            {
                continue;
            }
            let Some(mut content) = Content::open(&entry.path, policy) else {
                continue;
            };
            let head = content.read(0, HEAD_BYTES).to_vec();
            let begins = |c: &Checkpoint| c.identity.fingerprint.matches(&head);
            // Where the agent has forgotten the file, the record at hand must tell.
            let is_like = known
                .iter()
                .any(|c| c.identity.fingerprint.len > 0 && begins(c));
            let is_candidate = is_like || known.is_empty();
            let right = match is_candidate {
                true => is_right(&mut content),
                false => Some(false),
            };
            if right.unwrap_or(is_like) {
                content.close();
                guesses.push((is_like, content));
            }
        }
        guesses.sort_by_key(|(is_like, _)| !is_like);
        let (is_like, mut content) = guesses.into_iter().next()?;
        content.certainty = match is_like {
            true => Certainty::Known,
            false => Certainty::Guessed,
        };
        Some(content)
    }

    fn list(&mut self, folder: &Path) -> Vec<Entry> {
        if let Some(known) = self.folders.get(folder) {
            return known.entries.clone();
        }
        let mut listing = Listing {
            modified_ns: modified_ns(folder),
            ..Listing::default()
        };
        let entries = &mut listing.entries;
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            match FileStat::at_path(&path) {
                Ok(stat) if stat.is_regular => entries.push(Entry {
                    path: path.into(),
                    inode: stat.inode,
                    born_ns: stat.born_ns,
                }),
                _ => {}
            }
            if entries.len() >= MOST_FILES {
                break;
            }
        }
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        let entries = listing.entries.clone();
        self.folders.insert(folder.to_owned(), listing);
        entries
    }

    /// Whether one of the folders has changed since it was listed, and is listed again; at most so often.
    fn forget_changed(&mut self, folders: &[PathBuf]) -> bool {
        let mut has_changed = false;
        for folder in folders {
            let listed = self.folders.get(folder).map(|listing| listing.modified_ns);
            if self.listed_again < MOST_LISTINGS && listed != Some(modified_ns(folder)) {
                self.folders.remove(folder);
                self.listed_again += 1;
                has_changed = true;
            }
        }
        has_changed
    }
}

impl Content {
    fn open(path: &Arc<Path>, policy: FollowLinks) -> Option<Content> {
        let (file, stat) = LogFile::open(path, policy).ok()??;
        Some(Content {
            path: path.clone(),
            stat,
            certainty: Certainty::Guessed,
            policy,
            file: Some(file),
            has_gone: false,
            window: Vec::new(),
            start: 0,
        })
    }

    /// Whether it takes a descriptor.
    pub(super) fn is_open(&self) -> bool {
        self.file.is_some()
    }

    /// Gives back the descriptor and the window.
    pub(super) fn close(&mut self) {
        self.file = None;
        self.window = Vec::new();
    }

    /// How long it is, in bytes; 0 if it has gone.
    pub(super) fn size(&mut self) -> u64 {
        self.reopen();
        let size = self.file.as_mut().and_then(|file| file.size().ok());
        size.unwrap_or(0)
    }

    /// The bytes from `start` on, `len` of them or as many as there are.
    pub(super) fn read(&mut self, start: u64, len: usize) -> &[u8] {
        let end = start + len as u64;
        if start < self.start || end > self.start + self.window.len() as u64 {
            self.reopen();
            // Who reads on is given more at a time; where records of many files alternate, little is used.
            let behind = start.wrapping_sub(self.start);
            let is_next = behind > 0 && behind <= self.window.len() as u64;
            let step = match is_next {
                true => (2 * self.window.len()).clamp(LEAST_WINDOW, MOST_WINDOW),
                false => LEAST_WINDOW,
            };
            self.window.resize(len.max(step), 0);
            self.start = start;
            let file = self.file.as_mut();
            let count = file.map_or(0, |file| file.read_at(&mut self.window, start).unwrap_or(0));
            self.window.truncate(count);
        }
        let from = usize::try_from(start - self.start).unwrap_or(usize::MAX);
        let to = from.saturating_add(len).min(self.window.len());
        self.window.get(from..to).unwrap_or_default()
    }

    fn reopen(&mut self) {
        if self.file.is_some() || self.has_gone {
            return;
        }
        self.has_gone = !self.open_at(self.path.clone()) && !self.open_renamed();
    }

    fn open_at(&mut self, path: Arc<Path>) -> bool {
        let opened = LogFile::open(&path, self.policy).ok().flatten();
        // Another file may have its name by now, or its inode if it was packed.
        let born = |stat: &FileStat| (stat.inode, stat.born_ns);
        let is_it = |stat: &FileStat| born(stat) == born(&self.stat);
        let Some((file, _)) = opened.filter(|(_, stat)| is_it(stat)) else {
            return false;
        };
        (self.file, self.path) = (Some(file), path);
        true
    }

    /// It was closed for others, and rotated meanwhile.
    fn open_renamed(&mut self) -> bool {
        let folder = self.path.parent().map(Path::to_owned);
        let entries = folder.and_then(|folder| fs::read_dir(folder).ok());
        let mut entries = entries.into_iter().flatten().flatten();
        entries
            .any(|entry| entry.ino() == self.stat.inode.inode && self.open_at(entry.path().into()))
    }
}

/// The time of the last change of a folder.
fn modified_ns(folder: &Path) -> Option<i64> {
    Some(FileStat::at_path(folder).ok()?.modified_ns)
}

/// The section that a path belongs to.
pub(super) fn section_of(config: &Config, path: &Path) -> Option<usize> {
    let mut logs = config.logs.iter();
    logs.position(|log| crate::tail::follows(log, path))
}

/// What a fingerprint covers.
const HEAD_BYTES: usize = 1024;
/// What is read at a time.
const LEAST_WINDOW: usize = 8 << 10;
const MOST_WINDOW: usize = 64 << 10;
/// So many files of a folder are looked at.
const MOST_FILES: usize = 100_000;
/// Folders are listed again so often, all in all: one that changes all the time is not to be listed for each file that
/// has gone.
const MOST_LISTINGS: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_file_is_found_under_its_new_name_but_not_another_one_that_got_its_inode() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (path, renamed) = (
            folder.path().join("app.log"),
            folder.path().join("app.log.1"),
        );
        fs::write(&path, "line\n").expect("is written");
        let open = |path: &Path| Content::open(&path.into(), FollowLinks::Safe).expect("opens");
        let mut content = open(&path);
        content.close();
        fs::rename(&path, &renamed).expect("is renamed");
        assert_eq!(content.read(0, 9), b"line\n");
        let mut packed_meanwhile = open(&renamed);
        packed_meanwhile.stat.born_ns -= 1;
        packed_meanwhile.close();
        assert_eq!(packed_meanwhile.read(0, 9), b"");
    }
}
