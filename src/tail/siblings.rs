//! Where rotation puts files: the other files of a log's folder, and where `rotated` says.

use std::collections::HashSet;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::content::{COMPRESSED, Content, is_compressed_name};
use super::now_ms;
use crate::batch::{Checkpoint, Trace};
use crate::identity::{Fingerprint, Identity, Look};

/// A file that rotation left, open.
#[derive(Debug)]
pub(super) struct Sibling {
    pub(super) path: PathBuf,
    pub(super) content: Content,
    pub(super) look: Look,
}

/// The file that lies at the path, or lay there a moment ago.
#[derive(Debug)]
pub(super) struct Live<'a> {
    pub(super) content: &'a mut Content,
    pub(super) look: Look,
    /// How the content begins that will be read.
    pub(super) fingerprint: Fingerprint,
}

impl Live<'_> {
    /// Whether a sibling is a copy, perhaps still being made, of the content that will be read.
    ///
    /// Once a copy is made the original is truncated, so one that has not changed for a while is of content
    /// from before, even if both begin with the same lines.
    fn is_copied_in(&mut self, sibling: &mut Sibling) -> io::Result<bool> {
        let copy = sibling.content.look()?;
        let is_recent = now_ms() - copy.modified_ns / 1_000_000 < COPYING_MS;
        let is_made_of_it = self.look.born_ns <= copy.born_ns && sibling.content.can_change();
        if !is_recent || !is_made_of_it {
            return Ok(false);
        }
        // An empty one has just been opened by who copies.
        let len = Trace::MAX_LEN.min(usize::try_from(copy.size).unwrap_or(usize::MAX));
        let len = u8::try_from(len).unwrap_or(u8::MAX);
        let end = sibling.content.trace_before(copy.size, len)?;
        if self.content.head()?.starts_with(&sibling.content.head()?)
            && self.content.trace_before(copy.size, len)? == end
        {
            return Ok(true);
        }
        // It may have been truncated meanwhile: then the copy is complete.
        Ok(self.fingerprint.len > 0
            && !self.fingerprint.matches(&self.content.head()?)
            && self.fingerprint.matches(&sibling.content.head()?))
    }
}

/// Whether `checkpoint` stands in this file: the same content, at least as long, and the same bytes
/// before the offset. The inode is not looked at: a copy holds the same content.
pub(super) fn holds(
    checkpoint: &Checkpoint,
    content: &mut Content,
    look: &Look,
) -> io::Result<bool> {
    if look.size < checkpoint.offset {
        return Ok(false);
    }
    let head = content.head()?;
    Ok(checkpoint.identity.fingerprint.matches(&head)
        && content.trace_before(checkpoint.offset, checkpoint.trace.len)? == checkpoint.trace)
}

/// The same file, not a copy, still with the content that the checkpoint is about.
pub(super) fn is_same_file(
    checkpoint: &Checkpoint,
    content: &mut Content,
    look: &Look,
) -> io::Result<bool> {
    Ok(is_same_inode(checkpoint, look) && holds(checkpoint, content, look)?)
}

/// The same inode, and not one that was handed out again. The number of the device may have changed
/// (a remount) if the time of birth says that it is the same file.
pub(super) fn is_same_inode(checkpoint: &Checkpoint, look: &Look) -> bool {
    let Identity { inode, born_ns, .. } = checkpoint.identity;
    match (born_ns, look.born_ns) {
        (0, 0) => inode == look.inode,
        // Only one of them is known: one is an archive, and the number was handed out again.
        (0, _) | (_, 0) => false,
        (one, other) => inode.inode == look.inode.inode && one == other,
    }
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

    /// Whether a file of this age holds what was written after what lies in the `other`.
    fn is_younger_than(self, other: Age) -> bool {
        // A copy is born after the file that it was made of, and not changed any more when that is truncated.
        let is_born_before =
            self.born_ns != 0 && other.born_ns != 0 && self.born_ns <= other.born_ns;
        !is_born_before && self.modified_ns > other.modified_ns
    }
}

/// Where to look for the rotated files of one log.
#[derive(Debug, Clone, Copy)]
pub(super) struct Siblings<'a> {
    /// The path that is followed.
    pub(super) path: &'a Path,
    /// More places, as globs.
    pub(super) rotated: &'a [String],
}

/// A name in a listing.
#[derive(Debug, PartialEq, Eq)]
struct Candidate {
    path: PathBuf,
    inode: u64,
    /// The name is one that rotation gives.
    is_rotated_name: bool,
}

impl Siblings<'_> {
    /// Whether a name may have come after `age`, which is quicker to see than which one.
    pub(super) fn may_be_new_since(&self, age: Age) -> bool {
        !self.rotated.is_empty()
            || Look::at_path(folder_of(self.path))
                .is_ok_and(|folder| folder.modified_ns + CLOCK_TICK_NS >= age.modified_ns)
    }

    fn list(&self) -> io::Result<Vec<Candidate>> {
        let mut all = Vec::new();
        for entry in std::fs::read_dir(folder_of(self.path))? {
            let entry = entry?;
            let (path, inode) = (entry.path(), entry.ino());
            let is_rotated_name = is_rotated_name(self.path, &path);
            all.push(Candidate {
                path,
                inode,
                is_rotated_name,
            });
        }
        for path in self
            .rotated
            .iter()
            .filter_map(|text| glob::glob(text).ok())
            .flatten()
            .flatten()
        {
            let Ok(metadata) = path.symlink_metadata() else {
                continue;
            };
            let is_rotated_name =
                is_rotated_name(self.path, &path) || path.file_name() == self.path.file_name();
            all.push(Candidate {
                inode: metadata.ino(),
                path,
                is_rotated_name,
            });
        }
        Ok(all)
    }

    /// Finds the file of `checkpoint` under any name: by inode first, then (for a copy, or an archive)
    /// among the names that rotation gives, by content.
    ///
    /// While names move on (.1 becomes .2) a listing can miss the file, or its name be gone when it is
    /// opened. So it is not there only if two listings in a row are the same.
    pub(super) fn find(&self, checkpoint: &Checkpoint) -> io::Result<Option<Sibling>> {
        let mut before = None;
        for _ in 0..LISTINGS {
            let candidates = self.candidates_for(checkpoint)?;
            if before.as_ref() == Some(&candidates) {
                break;
            }
            let mut moved = false;
            if let Some(found) = Self::find_among(&candidates, checkpoint, &mut moved)? {
                return Ok(Some(found));
            }
            before = (!moved).then_some(candidates);
        }
        Ok(None)
    }

    /// The files that may be that of `checkpoint`, the likely ones first.
    fn candidates_for(&self, checkpoint: &Checkpoint) -> io::Result<Vec<Candidate>> {
        let inode = checkpoint.identity.inode.inode;
        let mut candidates = self.list()?;
        candidates.retain(|c| c.inode == inode || c.is_rotated_name);
        candidates.sort_by_key(|c| {
            (
                c.inode != inode,
                is_compressed_name(&c.path),
                c.path.clone(),
            )
        });
        Ok(candidates)
    }

    /// `moved` is set if a name led to another file than the one that was listed, or nowhere.
    fn find_among(
        candidates: &[Candidate],
        checkpoint: &Checkpoint,
        moved: &mut bool,
    ) -> io::Result<Option<Sibling>> {
        let inode = checkpoint.identity.inode.inode;
        for Candidate {
            path,
            inode: its_inode,
            ..
        } in candidates
        {
            let is_wanted = |head: &[u8]| checkpoint.identity.fingerprint.matches(head);
            let (mut content, look) = match Content::open_if(path, is_wanted) {
                Ok(Some(opened)) => opened,
                Err(error) if is_passing(&error) => return Err(error),
                // One that is gone or cannot be unpacked is not the one that is looked for.
                Ok(None) => continue,
                Err(error) => {
                    *moved |= error.kind() == io::ErrorKind::NotFound;
                    continue;
                }
            };
            *moved |= look.inode.inode != *its_inode;
            let same = if look.inode.inode == inode && is_same_inode(checkpoint, &look) {
                holds(checkpoint, &mut content, &look)
            } else {
                // An empty fingerprint matches everything.
                let has_content = checkpoint.identity.fingerprint.len > 0;
                if has_content {
                    holds(checkpoint, &mut content, &look)
                } else {
                    Ok(false)
                }
            };
            let same = match same {
                Err(error) if is_passing(&error) => return Err(error),
                same => same.unwrap_or(false),
            };
            if same {
                return Ok(Some(Sibling {
                    path: path.clone(),
                    content,
                    look,
                }));
            }
        }
        Ok(None)
    }

    /// Finds the file of `checkpoint` with other content, under any name, where births tell it from another
    /// file of the same inode.
    pub(super) fn find_truncated(&self, checkpoint: &Checkpoint) -> io::Result<Option<Sibling>> {
        let Identity { inode, born_ns, .. } = checkpoint.identity;
        if born_ns == 0 {
            return Ok(None);
        }
        for Candidate { path, .. } in self.list()?.iter().filter(|c| c.inode == inode.inode) {
            let (mut content, look) = match Content::open(path) {
                Ok(Some(opened)) => opened,
                Err(error) if is_passing(&error) => return Err(error),
                Ok(None) | Err(_) => continue,
            };
            if look.born_ns == born_ns && !holds(checkpoint, &mut content, &look)? {
                return Ok(Some(Sibling {
                    path: path.clone(),
                    content,
                    look,
                }));
            }
        }
        Ok(None)
    }

    /// Leaves those of `found` that hold what was written before what is in the `live` file.
    pub(super) fn before_live(
        &self,
        found: Vec<Sibling>,
        mut live: Live<'_>,
    ) -> io::Result<Vec<Sibling>> {
        // As long as it lies at the path, nothing can have followed on it.
        let is_last =
            Look::at_path(self.path).is_ok_and(|at_path| at_path.inode == live.look.inode);
        let place = match is_last {
            true => None,
            false => self.rotated_name(live.look.inode.inode)?,
        };
        let mut older = Vec::new();
        for mut sibling in found {
            let is_younger = match &place {
                Some(name) => {
                    turn_of_name(self.path, name) < turn_of_name(self.path, &sibling.path)
                }
                None => !is_last && Age::of(&sibling.look).is_younger_than(Age::of(&live.look)),
            };
            if !is_younger && !live.is_copied_in(&mut sibling)? {
                older.push(sibling);
            }
        }
        Ok(older)
    }

    /// The name that rotation has given to the file with this inode number.
    fn rotated_name(&self, inode: u64) -> io::Result<Option<PathBuf>> {
        let mut names = self.list()?.into_iter();
        let found = names.find(|name| name.inode == inode && name.is_rotated_name);
        Ok(found.map(|name| name.path))
    }

    /// The files that were rotated away after the one of age `after`, oldest first. `is_known` says which
    /// files to leave out.
    ///
    /// A file that followed on `after` was made later and not last changed earlier. Copies and files of
    /// generations before were changed earlier.
    pub(super) fn rotated_after(
        &self,
        after: Age,
        is_known: impl Fn(&mut Content, &Look) -> bool,
    ) -> io::Result<Vec<Sibling>> {
        let mut found: Vec<Sibling> = Vec::new();
        // While names move on (.1 becomes .2) a listing can miss a file, or a name lead to another
        // file than the one that was listed. Then list again.
        for _ in 0..LISTINGS {
            let mut moved = false;
            let candidates = self.list()?;
            for Candidate { path, inode, .. } in candidates.iter().filter(|c| c.is_rotated_name) {
                let Ok(look) = Look::at_path(path) else {
                    moved = true;
                    continue;
                };
                moved |= look.inode.inode != *inode;
                let is_archive = is_compressed_name(path);
                let age = Age::of(&Look {
                    born_ns: if is_archive { 0 } else { look.born_ns },
                    ..look
                });
                let is_before = |one: i64, other: i64| one.saturating_add(CLOCK_TICK_NS) < other;
                let is_older = (after.born_ns != 0 && age.born_ns != 0)
                    && is_before(age.born_ns, after.born_ns);
                // Beside its original an archive is still being written.
                let has_original =
                    is_archive && candidates.iter().any(|c| c.path == path.with_extension(""));
                if is_before(age.modified_ns, after.modified_ns) || is_older || has_original {
                    continue;
                }
                if found.iter().any(|s| s.look.inode == look.inode) {
                    continue;
                }
                match Content::open(path) {
                    Ok(Some((mut content, opened))) if opened.inode == look.inode => {
                        if !is_known(&mut content, &opened) {
                            found.push(Sibling {
                                path: path.clone(),
                                content,
                                look: opened,
                            });
                        }
                    }
                    Ok(None) => {}
                    Err(error) if is_passing(&error) => return Err(error),
                    Err(error) if is_archive => {
                        log::warn!("'{}' cannot be unpacked: {error}", path.display());
                    }
                    _ => moved = true,
                }
            }
            if !moved {
                break;
            }
        }
        sort_by_age(self.path, &mut found, |sibling| {
            (sibling, sibling.look.born_ns)
        });
        Ok(found)
    }
}

/// Sorts what rotation left of `path`, the oldest first. `place` gives a file and when its content began
/// (0: unknown).
pub(super) fn sort_by_age<T>(path: &Path, all: &mut [T], place: impl Fn(&T) -> (&Sibling, i64)) {
    let has_births = all.iter().all(|one| place(one).1 != 0);
    all.sort_by_cached_key(|one| {
        let (sibling, born_ns) = place(one);
        let Sibling {
            path: name, look, ..
        } = sibling;
        let born_ns = if has_births { born_ns } else { 0 };
        (born_ns, look.modified_ns, turn_of_name(path, name))
    });
}

/// Whether rotation may have made `name` from `path`: `app.log.1`, `app.log-20261122`, `app.log.old`,
/// `app.log.1.gz`, and with the date inside, `app-20261122.log`.
pub(super) fn is_rotated_name(path: &Path, name: &Path) -> bool {
    let (Some(base), Some(name)) = (path.file_name(), name.file_name()) else {
        return false;
    };
    let (base, name) = (base.as_bytes(), without_compression(name.as_bytes()));
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

fn without_compression(name: &[u8]) -> &[u8] {
    let mut endings = COMPRESSED.iter();
    endings
        .find_map(|ending| name.strip_suffix(ending.as_bytes()))
        .unwrap_or(name)
}

/// Orders names that rotation gives, oldest first, for files whose times are the same (clocks of
/// file systems tick every few ms): counts go down, dates go up.
fn turn_of_name(path: &Path, name: &Path) -> (i64, PathBuf) {
    let suffix = |name: &Path| -> Option<i64> {
        let name = without_compression(name.file_name()?.as_bytes());
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

/// Whether an error says nothing about the file: descriptors or memory are used up, or the disk failed
/// for now, or a server has forgotten what it is asked for.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::IO | Errno::NOMEM | Errno::NFILE | Errno::MFILE | Errno::STALE)
    )
}

/// The inode numbers of everything in the folder of `path`.
pub(super) fn inodes_beside(path: &Path) -> io::Result<HashSet<u64>> {
    std::fs::read_dir(folder_of(path))?
        .map(|entry| Ok(entry?.ino()))
        .collect()
}

fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

/// Clocks of file systems tick this rarely; the times of two changes may be wrong against each other by as much.
const CLOCK_TICK_NS: i64 = 10_000_000;

/// How long after the last change of a copy its original may not be truncated yet.
const COPYING_MS: i64 = 5000;

/// How often a folder is listed while its files are being renamed.
const LISTINGS: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_ordered_by_their_count_whether_compressed_or_not() {
        let path = Path::new("/log/app.log");
        let mut names = ["app.log.1", "app.log.10.gz", "app.log.2.zst", "app.log.9"];
        names.sort_by_key(|name| turn_of_name(path, &Path::new("/log").join(name)));
        assert_eq!(
            names,
            ["app.log.10.gz", "app.log.9", "app.log.2.zst", "app.log.1"]
        );
    }

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
