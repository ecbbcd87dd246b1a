//! Where rotation puts files: the other files of a log's folder.

use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirEntryExt;
use std::path::{Path, PathBuf};

use super::source::{open_regular, read_head, trace_before};
use crate::batch::Checkpoint;
use crate::identity::{Identity, Look};

/// A file that rotation left, open.
#[derive(Debug)]
pub(super) struct Sibling {
    pub(super) path: PathBuf,
    pub(super) file: File,
    pub(super) look: Look,
}

/// Whether `checkpoint` stands in this file: the same content, at least as long, and the same bytes
/// before the offset. The inode is not looked at: a copy holds the same content.
pub(super) fn holds(checkpoint: &Checkpoint, file: &File, look: &Look) -> io::Result<bool> {
    if look.size < checkpoint.offset {
        return Ok(false);
    }
    let head = read_head(file)?;
    Ok(checkpoint.identity.fingerprint.matches(&head)
        && trace_before(file, checkpoint.offset, checkpoint.trace.len)? == checkpoint.trace)
}

/// The same file, not a copy, still with the content that the checkpoint is about.
pub(super) fn is_same_file(checkpoint: &Checkpoint, file: &File, look: &Look) -> io::Result<bool> {
    Ok(is_same_inode(checkpoint, look) && holds(checkpoint, file, look)?)
}

/// The same inode, and not one that was handed out again. The number of the device may have changed
/// (a remount) if the time of birth says that it is the same file.
pub(super) fn is_same_inode(checkpoint: &Checkpoint, look: &Look) -> bool {
    let Identity { inode, born_ns, .. } = checkpoint.identity;
    let has_births = born_ns != 0 && look.born_ns != 0;
    match has_births {
        true => inode.inode == look.inode.inode && born_ns == look.born_ns,
        false => inode == look.inode,
    }
}

/// Finds the file of `checkpoint` in the folder of `path`, under any name: by inode first, then (for a
/// copy) among the names that rotation gives, by content.
pub(super) fn find(path: &Path, checkpoint: &Checkpoint) -> io::Result<Option<Sibling>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder_of(path))? {
        let entry = entry?;
        let is_inode = entry.ino() == checkpoint.identity.inode.inode;
        if !is_inode && !is_rotated_name(path, &entry.path()) {
            continue;
        }
        names.push((!is_inode, entry.path()));
    }
    // The inode first.
    names.sort();
    for (is_other_inode, name) in names {
        let Ok(Some((file, look))) = open_regular(&name) else {
            continue;
        };
        let same = match is_other_inode {
            false => is_same_file(checkpoint, &file, &look)?,
            // An empty fingerprint matches everything.
            true => checkpoint.identity.fingerprint.len > 0 && holds(checkpoint, &file, &look)?,
        };
        if same {
            return Ok(Some(Sibling {
                path: name,
                file,
                look,
            }));
        }
    }
    Ok(None)
}

/// When a file was made and last changed, in ns since 1970; 0 if the file system does not say.
#[derive(Debug, Clone, Copy)]
pub(super) struct Age {
    pub(super) born_ns: i64,
    pub(super) modified_ns: i64,
}

impl Age {
    pub(super) fn of(look: &Look) -> Self {
        Age {
            born_ns: look.born_ns,
            modified_ns: look.modified_ns,
        }
    }

    fn is_younger_than(self, other: Age) -> bool {
        if self.born_ns != 0 && other.born_ns != 0 {
            return self.born_ns > other.born_ns;
        }
        self.modified_ns > other.modified_ns
    }
}

/// The files that were rotated away from `path` after the one of age `after`, and before the live one of
/// age `before`, oldest first. `is_known` says which files to leave out.
///
/// A file that followed on `after` was made later and not last changed earlier. Copies and files of
/// generations before were changed earlier.
pub(super) fn rotated_between(
    path: &Path,
    after: Age,
    before: Option<Age>,
    is_known: impl Fn(&Look) -> bool,
) -> io::Result<Vec<Sibling>> {
    let mut found = Vec::new();
    // While names move on (.1 becomes .2) a listing can miss a file, or a name lead to another
    // file than the one that was listed. Then list again.
    for _ in 0..LISTINGS {
        let mut moved = false;
        for entry in std::fs::read_dir(folder_of(path))? {
            let entry = entry?;
            let name = entry.path();
            if !is_rotated_name(path, &name) || is_compressed(&name) {
                continue;
            }
            let Ok(opened) = open_regular(&name) else {
                moved = true;
                continue;
            };
            let Some((file, look)) = opened else { continue };
            moved |= look.inode.inode != entry.ino();
            let age = Age::of(&look);
            let is_older = after.born_ns != 0 && look.born_ns != 0 && look.born_ns < after.born_ns;
            if age.modified_ns < after.modified_ns || is_older {
                continue;
            }
            let is_younger = before.is_some_and(|before| age.is_younger_than(before));
            if !is_younger
                && !is_known(&look)
                && !found.iter().any(|s: &Sibling| s.look.inode == look.inode)
            {
                found.push(Sibling {
                    path: name,
                    file,
                    look,
                });
            }
        }
        if !moved {
            break;
        }
    }
    let has_births = found.iter().all(|sibling| sibling.look.born_ns != 0);
    found.sort_by_cached_key(|s| {
        let born_ns = if has_births { s.look.born_ns } else { 0 };
        (born_ns, s.look.modified_ns, turn_of_name(path, &s.path))
    });
    Ok(found)
}

/// Whether rotation may have made `name` from `path`: `app.log.1`, `app.log-20261122`, `app.log.old`,
/// `app.log.1.gz`, and with the date inside, `app-20261122.log`.
pub(super) fn is_rotated_name(path: &Path, name: &Path) -> bool {
    let (Some(base), Some(name)) = (path.file_name(), name.file_name()) else {
        return false;
    };
    let (base, mut name) = (base.as_bytes(), name.as_bytes());
    for ending in COMPRESSED {
        name = name.strip_suffix(ending.as_bytes()).unwrap_or(name);
    }
    if let Some(suffix) = name.strip_prefix(base) {
        return matches!(suffix, b".old" | b".bak" | b".prev" | b"~")
            || is_count_or_date(suffix, 1);
    }
    let dot = base.iter().rposition(|&b| b == b'.').unwrap_or(base.len());
    let (stem, extension) = base.split_at(dot);
    name.strip_prefix(stem)
        .and_then(|rest| rest.strip_suffix(extension))
        .is_some_and(|middle| !stem.is_empty() && is_count_or_date(middle, 6))
}

/// Orders names that rotation gives, oldest first, for files whose times are the same (clocks of
/// file systems tick every few ms): counts go down, dates go up.
fn turn_of_name(path: &Path, name: &Path) -> (i64, PathBuf) {
    let suffix = |name: &Path| -> Option<i64> {
        let name = name.file_name()?.as_bytes();
        let suffix = name.strip_prefix(path.file_name()?.as_bytes())?;
        let digits = suffix
            .strip_prefix(b".")
            .filter(|digits| digits.len() <= 6)?;
        std::str::from_utf8(digits).ok()?.parse().ok()
    };
    (-suffix(name).unwrap_or(0), name.to_owned())
}

fn is_count_or_date(suffix: &[u8], least_digits: usize) -> bool {
    let digits = suffix.iter().filter(|b| b.is_ascii_digit()).count();
    matches!(suffix.first(), Some(b'.' | b'-' | b'_'))
        && digits >= least_digits
        && suffix
            .iter()
            .all(|b| b.is_ascii_digit() || b".-_:TZ".contains(b))
}

/// Whether the name says that the content is compressed.
pub(super) fn is_compressed(name: &Path) -> bool {
    let name = name.as_os_str().as_bytes();
    COMPRESSED
        .iter()
        .any(|ending| name.ends_with(ending.as_bytes()))
}

fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

/// How often a folder is listed while its files are being renamed.
const LISTINGS: usize = 20;
const COMPRESSED: [&str; 4] = [".gz", ".zst", ".bz2", ".xz"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_rotation_gives_are_known_and_others_are_not() {
        let rotated =
            |name: &str| is_rotated_name(Path::new("/log/app.log"), &Path::new("/log").join(name));
        for name in [
            "app.log.1",
            "app.log.12",
            "app.log-20261122",
            "app.log.2026-11-22_10",
            "app.log.old",
            "app.log~",
            "app.log.1.gz",
            "app-20261122.log",
            "app.2026-11-22.log",
            "app.log.2026-11-22T10:00:00Z",
        ] {
            assert!(rotated(name), "{name}");
        }
        for name in [
            "app.log",
            "app.log.filter",
            "app.log.swp",
            "app2.log",
            "app-2.log",
            "apq.log.1",
            "other.log.1",
            "app.log2",
        ] {
            assert!(!rotated(name), "{name}");
        }
    }
}
