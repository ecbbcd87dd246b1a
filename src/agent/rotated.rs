//! Where files are that were rotated away and are still read: under the path whose lines they hold lies another file.
//!
//! The kernel knows the present name of each file that is open, and whether it has one.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::identity::Inode;
use crate::snapshot::{FileState, FileStatus};

/// An open file that does not lie where its lines belong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rotated {
    /// The path whose lines it holds.
    of: Arc<Path>,
    /// Where it lies now; `None`: nowhere, it was deleted.
    now: Option<PathBuf>,
    /// How long it is, in bytes.
    size: u64,
}

/// Looks for those of `wanted`, which may hang.
pub(super) fn look(wanted: &[(Arc<Path>, Vec<Inode>)]) -> Vec<Rotated> {
    let mut owners: HashMap<Inode, &Arc<Path>> = HashMap::new();
    for (path, inodes) in wanted.iter().take(MOST) {
        owners.extend(inodes.iter().map(|inode| (*inode, path)));
    }
    if owners.is_empty() {
        return Vec::new();
    }
    let open = fs::read_dir("/proc/self/fd").into_iter().flatten();
    let mut seen = HashSet::new();
    let found = open.flatten().filter_map(|entry| {
        let path = fs::read_link(entry.path()).ok()?;
        let metadata = fs::metadata(entry.path()).ok()?;
        let (device, inode) = (metadata.dev(), metadata.ino());
        let inode = Inode { device, inode };
        let of = owners.get(&inode)?;
        let is_there = metadata.nlink() > 0;
        let is_rotated = !is_there || path != ***of;
        (is_rotated && seen.insert(inode)).then(|| Rotated {
            of: (*of).clone(),
            now: is_there.then_some(path),
            size: metadata.len(),
        })
    });
    found.collect()
}

/// Adds to `files` where they are. A file is known by its size, which does not change any more.
pub(super) fn complete(rotated: &[Rotated], files: &mut [FileStatus]) {
    let mut left: Vec<&Rotated> = rotated.iter().collect();
    let files = files
        .iter_mut()
        .filter(|file| file.state == FileState::Rotated);
    for file in files {
        let is_it = |one: &&Rotated| *one.of == *file.path && one.size == file.size;
        if let Some(at) = left.iter().position(is_it) {
            let found = left.swap_remove(at);
            file.path_now.clone_from(&found.now);
            file.is_deleted = found.now.is_none();
        }
    }
}

/// Of so many paths.
const MOST: usize = 1000;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic fails the test")]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_rotated_has_the_name_that_it_has_now_or_is_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().canonicalize().unwrap();
        let path: Arc<Path> = folder.join("app.log").into();
        let mut open = Vec::new();
        let mut inodes = Vec::new();
        for (text, name) in [
            ("one", "app.log.2"),
            ("three", "app.log.1"),
            ("", "app.log"),
        ] {
            fs::write(&path, text).unwrap();
            let file = fs::File::open(&path).unwrap();
            let metadata = file.metadata().unwrap();
            inodes.push(Inode {
                device: metadata.dev(),
                inode: metadata.ino(),
            });
            fs::rename(&path, folder.join(name)).unwrap();
            open.push(file);
        }
        fs::remove_file(folder.join("app.log.1")).unwrap();
        let found = look(&[(path.clone(), inodes)]);
        let rotated = |size| FileStatus {
            path: path.to_path_buf(),
            state: FileState::Rotated,
            size,
            ..FileStatus::default()
        };
        let mut files = [rotated(5), rotated(3), rotated(99)];
        complete(&found, &mut files);
        let known = files.map(|file| (file.path_now, file.is_deleted));
        let two = Some(folder.join("app.log.2"));
        assert_eq!(known, [(None, true), (two, false), (None, false)]);
        assert_eq!(look(&[]), []);
    }
}
