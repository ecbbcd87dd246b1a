//! What lies in the folders of logs: one listing for each folder, shared by all tailers.
//!
//! A tailer asks for the rotated files beside a name, or for the names of an inode. The answer comes from a
//! listing whose names are sorted, so that asking for each of N logs in one folder costs one listing and N small
//! ranges of it, not N listings.
//!
//! # When a listing is served again
//! A change of a folder sets its time of change to that of the kernel's clock, which ticks. So an unchanged time
//! says that nothing has changed only if it was old when the listing began: a name that came in the same tick,
//! after the listing, would not change it.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

mod listing;

use super::rotated_names::RotatedName;
use listing::{Listing, State};

/// The listings of the folders that were asked for lately.
///
/// # Locks
/// The table's lock is held for no system call. A folder's own lock is held while the folder is listed, so that all
/// who ask for it share one listing; who holds it waits for no other folder. So a file system that hangs holds up
/// those that ask for its own folders, and nobody else.
#[derive(Debug)]
pub struct FolderIndex {
    table: Mutex<Table>,
}

#[derive(Debug)]
struct Table {
    folders: HashMap<PathBuf, Known>,
    tidied: Instant,
}

#[derive(Debug)]
struct Known {
    folder: Arc<Folder>,
    asked: Instant,
}

#[derive(Debug, Default)]
struct Folder {
    kept: Mutex<Option<Kept>>,
}

/// A listing, and since when it is known to be true: it is as good as one that began then.
#[derive(Debug, Clone)]
struct Kept {
    listing: Arc<Listing>,
    begun: Instant,
}

/// A file with a rotated name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    /// Where it lay when the folder was listed; rotation may have moved it since.
    pub(super) path: PathBuf,
    /// The inode number that the folder has. On an overlay or at a mount point a stat may say another.
    pub(super) inode: u64,
    /// What its name says.
    pub(super) name: RotatedName,
}

impl Default for FolderIndex {
    fn default() -> Self {
        Self::new()
    }
}

impl FolderIndex {
    /// An index that has listed nothing yet.
    pub fn new() -> Self {
        FolderIndex {
            table: Mutex::new(Table {
                folders: HashMap::new(),
                tidied: Instant::now(),
            }),
        }
    }

    /// The files in `folder`, and in folders below it that are named by date, whose names rotation may have given
    /// to what lay at `base` in `folder`; in no order. Links are among them, other kinds of files are not.
    ///
    /// What was there at `not_before`, and still is, is in the answer.
    ///
    /// # Errors
    /// Those of listing the folder, or a dated one: who may not list does not know what is there. A dated folder
    /// that goes away meanwhile is none.
    pub(super) fn rotated_beside(
        &self,
        folder: &Path,
        base: &OsStr,
        not_before: Instant,
    ) -> io::Result<Vec<Listed>> {
        let base = base.as_bytes();
        let top = self.listing(folder, not_before)?;
        let mut found = Vec::new();
        for entry in top.candidates(base) {
            let name = RotatedName::parse(base, top.name(entry));
            found.extend(name.map(|name| Listed {
                path: top.path(folder, entry),
                inode: entry.inode,
                name,
            }));
        }
        let mut below: Vec<_> = top.dated_folders(None).collect();
        while let Some((dated, kind)) = below.pop() {
            let path = folder.join(OsStr::from_bytes(&dated));
            let listing = match self.listing(&path, not_before) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                listing => listing?,
            };
            for entry in listing.candidates(base) {
                let name = RotatedName::parse_below(&dated, base, listing.name(entry));
                found.extend(name.map(|name| Listed {
                    path: listing.path(&path, entry),
                    inode: entry.inode,
                    name,
                }));
            }
            for (name, kind) in listing.dated_folders(Some(kind)) {
                below.push(([&dated, b"/".as_slice(), &name].concat(), kind));
            }
        }
        Ok(found)
    }

    /// The paths in `folder` itself, of any name, that the folder gives this inode number to.
    ///
    /// # Errors
    /// Those of listing the folder.
    pub(super) fn by_inode(
        &self,
        folder: &Path,
        inode: u64,
        not_before: Instant,
    ) -> io::Result<Vec<PathBuf>> {
        let listing = self.listing(folder, not_before)?;
        let names = listing.of_inode(inode);
        Ok(names
            .map(|name| folder.join(OsStr::from_bytes(name)))
            .collect())
    }

    /// Whether no name has come to `folder`, and the folders below it that are named by date, or left them since then,
    /// nor [`RESTED`] before. What cannot be told is no.
    pub(super) fn has_rested_since(&self, folder: &Path, since: SystemTime) -> bool {
        let mut below = vec![(folder.to_owned(), None)];
        while let Some((folder, kind)) = below.pop() {
            let has_rested = State::of(&folder).is_ok_and(|state| state.is_settled(since));
            let Some(listing) = has_rested
                .then(|| self.listing(&folder, Instant::now()).ok())
                .flatten()
            else {
                return false;
            };
            let dated = listing.dated_folders(kind);
            below.extend(
                dated.map(|(name, kind)| (folder.join(OsStr::from_bytes(&name)), Some(kind))),
            );
        }
        true
    }

    /// Gives back the memory of `folder` and of those below it.
    pub(super) fn forget(&self, folder: &Path) {
        self.table()
            .folders
            .retain(|path, _| !path.starts_with(folder));
    }

    /// A listing of `folder` that is as good as one begun at `not_before`.
    fn listing(&self, folder: &Path, not_before: Instant) -> io::Result<Arc<Listing>> {
        let shared = self.table().folder(folder, Instant::now());
        let mut kept = shared.lock();
        if let Some(Kept { listing, begun }) = &mut *kept {
            if *begun >= not_before {
                return Ok(listing.clone());
            }
            let now = Instant::now();
            if listing.is_settled && State::of(folder)? == listing.state {
                *begun = now;
                return Ok(listing.clone());
            }
        }
        // What is not true any more is not kept while the folder is listed, nor if it cannot be.
        *kept = None;
        let begun = Instant::now();
        let listing = Arc::new(Listing::read(folder)?);
        *kept = Some(Kept {
            listing: listing.clone(),
            begun,
        });
        Ok(listing)
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn folder(&mut self, path: &Path, now: Instant) -> Arc<Folder> {
        if now.saturating_duration_since(self.tidied) >= UNUSED {
            self.tidied = now;
            self.folders
                .retain(|_, known| now.saturating_duration_since(known.asked) < UNUSED);
        }
        if let Some(known) = self.folders.get_mut(path) {
            known.asked = now;
            return known.folder.clone();
        }
        let folder = Arc::<Folder>::default();
        let known = Known {
            folder: folder.clone(),
            asked: now,
        };
        self.folders.insert(path.to_owned(), known);
        folder
    }
}

impl Folder {
    fn lock(&self) -> MutexGuard<'_, Option<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A folder whose last change is older than this has another time after the next one, unless its file system keeps whole
/// seconds.
pub(super) const RESTED: Duration = listing::TICK;

/// A listing that nobody has asked for in this time is given up.
const UNUSED: Duration = Duration::from_secs(60);

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic fails the test")]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::MetadataExt;
    use std::time::UNIX_EPOCH;

    fn tree(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        folder
    }

    fn beside(index: &FolderIndex, folder: &Path, base: &str) -> Vec<String> {
        let listed = index.rotated_beside(folder, OsStr::new(base), Instant::now());
        let mut names: Vec<String> = listed
            .unwrap()
            .iter()
            .map(|listed| {
                assert_eq!(
                    fs::symlink_metadata(&listed.path).unwrap().ino(),
                    listed.inode
                );
                let name = listed.path.strip_prefix(folder).unwrap();
                name.to_string_lossy().into_owned()
            })
            .collect();
        names.sort();
        names
    }

    /// Waits until the folder is one whose listing is served again.
    fn settle(folder: &Path) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !State::of(folder).unwrap().is_settled(SystemTime::now()) {
            assert!(Instant::now() < deadline, "the folder does not settle");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn rotated_files_are_found_beside_a_log_and_in_dated_folders() {
        let names = [
            "app.log",
            "app.log.1",
            "app-20261126.log.gz",
            "20261126-1015-01-app.log",
            "app-8080.log",
            "other.log.1",
            "2026-11-26/app.log",
            "2026-11-26/other.log",
            "2026/11/27/app.log.gz",
            "2026/11/app-2026-11-27.1.log.gz",
            "archive/app.log.1",
        ];
        let folder = tree(&names);
        fs::create_dir(folder.path().join("app.log.2")).unwrap();
        std::os::unix::fs::symlink("app.log", folder.path().join("app.log.3")).unwrap();
        let index = FolderIndex::new();
        assert_eq!(
            beside(&index, folder.path(), "app.log"),
            [
                "2026-11-26/app.log",
                "2026/11/27/app.log.gz",
                "2026/11/app-2026-11-27.1.log.gz",
                "20261126-1015-01-app.log",
                "app-20261126.log.gz",
                "app.log.1",
                "app.log.3",
            ]
        );
        assert_eq!(beside(&index, folder.path(), "app-8080.log"), [""; 0]);
    }

    #[test]
    fn a_folder_has_rested_if_no_name_came_or_left_since_or_just_before() {
        let before = SystemTime::now();
        let folder = tree(&["app.log", "2026-11-26/app.log"]);
        let (path, dated) = (folder.path(), folder.path().join("2026-11-26"));
        let index = FolderIndex::new();
        let rested = |since| index.has_rested_since(path, since);
        assert!(!rested(before));
        settle(path);
        settle(&dated);
        let since = SystemTime::now();
        assert!(rested(since));
        fs::rename(path.join("app.log"), path.join("app.log.1")).unwrap();
        assert!(!rested(since));
        settle(path);
        assert!(!rested(since), "it is about the time since then");
        let since = SystemTime::now();
        assert!(rested(since));
        fs::remove_file(dated.join("app.log")).unwrap();
        assert!(!rested(since), "of a dated folder below");
        assert!(!index.has_rested_since(&path.join("none"), since));
    }

    #[test]
    fn what_came_between_two_questions_is_in_the_second_answer() {
        let folder = tree(&["app.log"]);
        let index = FolderIndex::new();
        let mut expected = Vec::new();
        // Faster than the kernel's clock ticks.
        for n in 1..200 {
            fs::write(folder.path().join(format!("app.log.{n}")), "x").unwrap();
            expected.push(format!("app.log.{n}"));
            expected.sort();
            assert_eq!(beside(&index, folder.path(), "app.log"), expected);
        }
        fs::remove_file(folder.path().join("app.log.1")).unwrap();
        expected.retain(|name| name != "app.log.1");
        assert_eq!(beside(&index, folder.path(), "app.log"), expected);
    }

    #[test]
    fn a_folder_that_has_not_changed_is_not_listed_again() {
        let folder = tree(&["app.log.1"]);
        settle(folder.path());
        let index = FolderIndex::new();
        let first = index.listing(folder.path(), Instant::now()).unwrap();
        for _ in 0..100 {
            let again = index.listing(folder.path(), Instant::now()).unwrap();
            assert!(Arc::ptr_eq(&first, &again));
        }
        fs::rename(
            folder.path().join("app.log.1"),
            folder.path().join("app.log.2"),
        )
        .unwrap();
        // The time of modification can be set back.
        let times = fs::FileTimes::new().set_modified(UNIX_EPOCH);
        fs::File::open(folder.path())
            .unwrap()
            .set_times(times)
            .unwrap();
        assert_eq!(beside(&index, folder.path(), "app.log"), ["app.log.2"]);
    }

    #[test]
    fn a_listing_that_began_after_the_question_serves_it_whatever_has_changed() {
        let folder = tree(&["app.log.1"]);
        let index = FolderIndex::new();
        let asked = Instant::now();
        let first = index.listing(folder.path(), asked).unwrap();
        fs::write(folder.path().join("app.log.2"), "x").unwrap();
        let again = index.listing(folder.path(), asked).unwrap();
        assert!(Arc::ptr_eq(&first, &again));
    }

    #[test]
    fn names_are_found_by_inode() {
        let folder = tree(&["a", "b", "c"]);
        fs::hard_link(folder.path().join("b"), folder.path().join("d")).unwrap();
        let index = FolderIndex::new();
        let inode = fs::metadata(folder.path().join("b")).unwrap().ino();
        let mut found = index
            .by_inode(folder.path(), inode, Instant::now())
            .unwrap();
        found.sort();
        assert_eq!(found, [folder.path().join("b"), folder.path().join("d")]);
        let found = index.by_inode(folder.path(), u64::MAX, Instant::now());
        assert!(found.unwrap().is_empty());
    }

    #[test]
    fn a_folder_that_cannot_be_listed_is_an_error_and_no_empty_answer() {
        let folder = tree(&["app.log.1", "file"]);
        let index = FolderIndex::new();
        let error_of = |name: &str| {
            let path = folder.path().join(name);
            let listed = index.rotated_beside(&path, OsStr::new("app.log"), Instant::now());
            listed.unwrap_err().kind()
        };
        assert_eq!(error_of("file"), io::ErrorKind::NotADirectory);
        assert_eq!(error_of("absent"), io::ErrorKind::NotFound);
        settle(folder.path());
        assert_eq!(beside(&index, folder.path(), "app.log"), ["app.log.1"]);
        let moved = folder.path().with_extension("moved");
        fs::rename(folder.path(), &moved).unwrap();
        assert_eq!(error_of("."), io::ErrorKind::NotFound);
        fs::rename(&moved, folder.path()).unwrap();
        assert_eq!(beside(&index, folder.path(), "app.log"), ["app.log.1"]);
    }

    #[test]
    fn a_folder_that_hangs_holds_up_no_other() {
        let (hanging, healthy) = (tree(&["app.log.1"]), tree(&["app.log.1"]));
        let index = FolderIndex::new();
        let shared = index.table().folder(hanging.path(), Instant::now());
        let held = shared.lock();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| beside(&index, hanging.path(), "app.log"));
            assert_eq!(beside(&index, healthy.path(), "app.log"), ["app.log.1"]);
            index.forget(healthy.path());
            assert!(!waiting.is_finished());
            drop(held);
            assert_eq!(waiting.join().unwrap(), ["app.log.1"]);
        });
    }

    #[test]
    fn folders_that_nobody_asks_for_are_given_up() {
        let folder = tree(&["2026/app.log.1", "app.log.1"]);
        let index = FolderIndex::new();
        let known = || index.table().folders.len();
        beside(&index, folder.path(), "app.log");
        assert_eq!(known(), 2);
        index.forget(folder.path());
        assert_eq!(known(), 0);
        beside(&index, folder.path(), "app.log");
        let later = Instant::now() + UNUSED;
        let other = index.table().folder(Path::new("/other"), later);
        assert!(other.lock().is_none());
        assert_eq!(known(), 1);
    }
}
