//! Which names may lead to rotated files.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::DirEntryExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::identity::FileStat;
use crate::progress::Checkpoint;
use crate::tail::Tailer;
use crate::tail::compare::{is_absence, is_shortage};
use crate::tail::found::Found;
use crate::tail::links::{self, UnsafeLink};
use crate::tail::log_file::is_compressed_name;
use crate::tail::observation::{OpenSource, Verdict};
use crate::tail::recognise::is_same_inode;
use crate::tail::rotated_names::{RotatedName, family_base};

/// A name that may lead to a rotated file.
pub(super) struct Listed {
    pub(super) path: PathBuf,
    /// The inode number in the listing, unless it is that of a link.
    pub(super) inode: Option<u64>,
    pub(super) name: Option<RotatedName>,
    /// The name does not say that the file is one of the log: it has an inode number that is looked for, which may
    /// have been handed out again, or a name that rotation gives to the log of the family (`family`) as well. Only
    /// what is known counts.
    pub(super) must_be_known: bool,
}

impl Tailer {
    /// Every name that may lead to a rotated file of the path; `is_whole`: something is missing.
    pub(super) fn list(
        &mut self,
        found: &mut Found,
        not_before: Instant,
        is_whole: bool,
    ) -> io::Result<Vec<Listed>> {
        let mut listed: Vec<Listed> = Vec::new();
        let wanted = self.wanted_inodes(found);
        let own = self.folders();
        let of_family = self.family();
        let is_of_others = |path: &Path| self.is_of_other_log(of_family.as_ref(), path);
        let family = match wanted.is_empty() {
            true => Vec::new(),
            false => family_of(&own),
        };
        let folders = own.into_iter().map(|(folder, base)| (folder, base, false));
        let folders: Vec<_> = folders.chain(family).collect();
        for (folder, base, must_be_known) in folders {
            let index = &self.shared.folders;
            let beside = index.rotated_beside(&folder, &base, not_before);
            let by_inode = wanted
                .iter()
                .map(|inode| Ok((*inode, index.by_inode(&folder, *inode, not_before)?)))
                .collect::<io::Result<Vec<_>>>();
            match beside.and_then(|beside| Ok((beside, by_inode?))) {
                Ok((beside, by_inode)) => {
                    listed.extend(beside.into_iter().map(|l| Listed {
                        must_be_known: must_be_known || is_of_others(&l.path),
                        path: l.path,
                        inode: Some(l.inode),
                        name: Some(l.name),
                    }));
                    for (inode, paths) in by_inode {
                        listed.extend(paths.into_iter().map(|path| Listed {
                            path,
                            inode: Some(inode),
                            name: None,
                            must_be_known: true,
                        }));
                    }
                }
                Err(error) if is_absence(&error) => {}
                Err(error) if is_shortage(&error) => return Err(error),
                Err(error) => {
                    found.seen.is_incomplete = true;
                    found.trouble.get_or_insert((folder, error));
                }
            }
        }
        self.list_globs(&mut listed);
        let was_replaced = |open: &OpenSource| open.verdict == Verdict::Replaced;
        if is_whole || found.seen.open.iter().any(was_replaced) {
            self.list_named_after(&mut listed);
            self.list_below(&mut listed, not_before);
        } else if self.is_left_under_other_name(found, &listed) {
            self.list_named_after(&mut listed);
        }
        let target = self.target.as_deref();
        let mut met = HashSet::new();
        listed.retain(|l| {
            l.path != *self.path && Some(&*l.path) != target && met.insert(l.path.clone())
        });
        Ok(listed)
    }

    /// Whether something that is known, and not open, lies under a name that no rotation is known to give: it was renamed
    /// while no agent ran, and others may have been.
    fn is_left_under_other_name(&self, found: &Found, listed: &[Listed]) -> bool {
        let is_there = |c: &Checkpoint| {
            let number = Some(c.identity.inode.inode);
            let mut same = listed.iter().filter(|l| l.inode == number);
            let is_it = |path: &Path| FileStat::at_path(path).is_ok_and(|s| is_same_inode(c, &s));
            let target = self.target.as_deref();
            let is_at_path = |path: &Path| path == &*self.path || Some(path) == target;
            same.any(|l| l.name.is_none() && !is_at_path(&l.path) && is_it(&l.path))
        };
        let is_open = |c: &Checkpoint| {
            let mut open = found.seen.open.iter();
            open.any(|open| open.reached.serial == c.serial)
        };
        let mut known = found
            .seen
            .known
            .iter()
            .filter(|c| c.is_unfinished() && !is_open(c));
        known.any(is_there)
    }

    /// Notes which open files that do not lie at the path lie beside it. What cannot be told may lie there.
    pub(super) fn note_beside(
        &mut self,
        found: &mut Found,
        current: Option<&FileStat>,
        listed: &[Listed],
        not_before: Instant,
    ) {
        let is_at_path = |open: &OpenSource| {
            current.is_some_and(|stat| is_same_inode(&open.reached, stat)) || !open.is_beside
        };
        if found.seen.open.iter().all(is_at_path) {
            return;
        }
        let folders = self.folders();
        let index = &self.shared.folders;
        for open in found.seen.open.iter_mut().filter(|o| !is_at_path(o)) {
            let inode = open.stat.inode;
            let is_listed = listed.iter().any(|l| {
                let stat = || FileStat::at_path(&l.path);
                l.inode.is_none_or(|listed| listed == inode.inode)
                    && !is_editors_backup(&l.path)
                    && stat().is_ok_and(|stat| stat.inode == inode)
            });
            let is_in = |(folder, _): &(PathBuf, OsString)| {
                let paths = index.by_inode(folder, inode.inode, not_before);
                paths.map_or(true, |paths| paths.iter().any(|p| !is_editors_backup(p)))
            };
            open.is_beside = is_listed || folders.iter().any(is_in);
        }
    }

    /// What the `rotated` globs of the section match.
    fn list_globs(&self, listed: &mut Vec<Listed>) {
        let Some(base) = self.path.file_name() else {
            return;
        };
        if self.log.rotated.is_empty() || self.family().is_some() {
            return;
        }
        // Where the section follows one path, whatever they match was rotated from it.
        let is_only_path = matches!(&self.log.paths[..], [path] if Path::new(path) == &*self.path);
        let globs = self.log.rotated.iter();
        for path in globs
            .filter_map(|text| glob::glob(text).ok())
            .flatten()
            .flatten()
        {
            let Some(file_name) = path.file_name() else {
                continue;
            };
            let name = RotatedName::parse(base.as_bytes(), file_name.as_bytes());
            let is_ours = || is_only_path || file_name == base || self.is_named_after(file_name);
            if name.is_some() || is_ours() {
                listed.push(Listed {
                    path,
                    inode: None,
                    name,
                    must_be_known: false,
                });
            }
        }
    }

    /// Files beside the path that are named after it in a way that no rotation is known to do.
    fn list_named_after(&self, listed: &mut Vec<Listed>) {
        let Some(folder) = self.path.parent() else {
            return;
        };
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let named_after = entries.filter(|entry| self.begins_with_stem(&entry.path()));
        listed.extend(named_after.map(|entry| Listed {
            path: entry.path(),
            inode: Some(entry.ino()),
            name: None,
            must_be_known: true,
        }));
    }

    /// Files in folders below that of the path which the section follows by themselves, and their archives, with names that
    /// rotation gives to the path: what an `olddir` holds.
    fn list_below(&self, listed: &mut Vec<Listed>, not_before: Instant) {
        let (Some(folder), Some(base)) = (self.path.parent(), self.path.file_name()) else {
            return;
        };
        let depth = self.path.components().count();
        let is_deeper =
            |text: &String| text.contains("**") || Path::new(text).components().count() > depth;
        if !self.log.paths.iter().any(is_deeper) {
            return;
        }
        let is_followed = |path: &Path| self.is_followed_by_itself(path);
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        for below in folders.take(MOST_BELOW).map(|entry| entry.path()) {
            // Who may not look there does not follow anything there either.
            let there = self.shared.folders.rotated_beside(&below, base, not_before);
            let there = there.into_iter().flatten();
            let is_archive =
                |path: &Path| is_compressed_name(path) && is_followed(&path.with_extension(""));
            let followed = there.filter(|l| is_followed(&l.path) || is_archive(&l.path));
            listed.extend(followed.map(|found| Listed {
                path: found.path,
                inode: Some(found.inode),
                name: Some(found.name),
                must_be_known: true,
            }));
        }
    }

    /// Inodes that are looked for under any name.
    fn wanted_inodes(&self, found: &Found) -> Vec<u64> {
        let unfinished = found.seen.known.iter().filter(|c| c.is_unfinished());
        let seen = self.stat_when_found.iter().map(|stat| stat.inode.inode);
        let mut wanted: Vec<u64> = unfinished
            .map(|c| c.identity.inode.inode)
            .chain(seen)
            .filter(|inode| *inode != 0)
            .collect();
        wanted.sort_unstable();
        wanted.dedup();
        wanted
    }

    /// The folders in which rotation leaves files, with the name that they are made from: that of the path, and
    /// that of the file which the path leads to through links.
    pub(in crate::tail) fn folders(&mut self) -> Vec<(PathBuf, OsString)> {
        match links::resolve(&self.path, self.log.follow_links) {
            Ok(target) => self.target = (target != *self.path).then_some(target),
            Err(error) if UnsafeLink::of(&error).is_some() => self.target = None,
            // What cannot be told now stays as it was.
            Err(_) => {}
        }
        let both = [Some(&*self.path), self.target.as_deref()];
        let mut folders: Vec<_> = both
            .into_iter()
            .flatten()
            .filter_map(|path| Some((path.parent()?.to_owned(), path.file_name()?.to_owned())))
            .collect();
        folders.dedup();
        folders
    }
}

/// So many folders below that of a log may be those of its rotated files.
const MOST_BELOW: usize = 64;

/// Where a glob matches rotated files too, each is followed by its own name, and rotated again: the bases that
/// those names were made from.
fn family_of(own: &[(PathBuf, OsString)]) -> Vec<(PathBuf, OsString, bool)> {
    let bases = own.iter().filter_map(|(folder, base)| {
        let family = family_base(base.as_bytes())?;
        Some((folder.clone(), OsString::from_vec(family), true))
    });
    bases.collect()
}

/// An editor that saves a file leaves what it was under such a name, and the whole content at the path.
pub(super) fn is_editors_backup(path: &Path) -> bool {
    path.as_os_str().as_bytes().ends_with(b"~")
}
