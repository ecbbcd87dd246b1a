//! What a folder held when it was read, sorted for looking up the names of one log.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirEntryExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, CWD, Statx, StatxFlags, statx};

use super::super::rotated_names::{DatedFolder, prefixes, starts_after_date};

/// What tells that nothing in a folder has changed. The time of change cannot be set back, as that of the last
/// modification can.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct State {
    device: (u32, u32),
    inode: u64,
    changed_ns: i128,
    modified_ns: i128,
}

impl State {
    pub(super) fn of(folder: &Path) -> io::Result<Self> {
        let Statx {
            stx_dev_major,
            stx_dev_minor,
            stx_ino,
            stx_ctime,
            stx_mtime,
            ..
        } = statx(CWD, folder, AtFlags::empty(), StatxFlags::BASIC_STATS)?;
        let ns = |seconds: i64, nanoseconds: u32| {
            i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds)
        };
        Ok(State {
            device: (stx_dev_major, stx_dev_minor),
            inode: stx_ino,
            changed_ns: ns(stx_ctime.tv_sec, stx_ctime.tv_nsec),
            modified_ns: ns(stx_mtime.tv_sec, stx_mtime.tv_nsec),
        })
    }

    /// Whether the folder did not change after `now`, and a change after it gives the folder another time.
    pub(super) fn is_settled(&self, now: SystemTime) -> bool {
        let Ok(now) = now.duration_since(UNIX_EPOCH) else {
            return false;
        };
        let has_whole_seconds = self.changed_ns % 1_000_000_000 == 0;
        let tick = if has_whole_seconds { COARSE_TICK } else { TICK };
        i128::try_from(now.saturating_sub(tick).as_nanos())
            .is_ok_and(|before| self.changed_ns < before)
    }
}

/// What a folder held when it was read.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub(super) state: State,
    /// Whether a later change gives the folder another state.
    pub(super) is_settled: bool,
    /// All names, one after the other.
    names: Vec<u8>,
    /// Sorted by name.
    entries: Vec<Entry>,
    /// Where the name of a log may start in names that begin with a date: sorted by what stands there.
    after_dates: Vec<(u32, u16)>,
    /// Sorted by inode number.
    by_inode: Vec<u32>,
    folders: Vec<u32>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) inode: u64,
    start: u32,
    len: u16,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A regular file, a link, or what the file system does not say.
    File,
    Folder,
    Other,
}

impl Listing {
    pub(super) fn read(folder: &Path) -> io::Result<Self> {
        let now = SystemTime::now();
        let state = State::of(folder)?;
        let mut listing = Listing {
            state,
            is_settled: state.is_settled(now),
            ..Listing::default()
        };
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let kind = match entry.file_type() {
                Ok(kind) if kind.is_dir() => Kind::Folder,
                Ok(kind) if kind.is_file() || kind.is_symlink() => Kind::File,
                Ok(_) => Kind::Other,
                // It is gone, or will be looked at when it is opened.
                Err(_) => Kind::File,
            };
            listing.add(entry.file_name().as_bytes(), entry.ino(), kind)?;
        }
        listing.sort();
        Ok(listing)
    }

    fn add(&mut self, name: &[u8], inode: u64, kind: Kind) -> io::Result<()> {
        let too_many = || io::Error::other("the names of the folder take more than 4 GiB");
        self.entries.push(Entry {
            inode,
            start: u32::try_from(self.names.len()).map_err(|_| too_many())?,
            len: u16::try_from(name.len()).map_err(|_| too_many())?,
            kind,
        });
        self.names.extend_from_slice(name);
        Ok(())
    }

    fn sort(&mut self) {
        let mut entries = std::mem::take(&mut self.entries);
        entries.sort_unstable_by(|one, other| self.name(*one).cmp(self.name(*other)));
        let mut after_dates = Vec::new();
        for (index, entry) in (0u32..).zip(&entries) {
            let starts = starts_after_date(self.name(*entry));
            after_dates.extend(starts.filter_map(|at| Some((index, u16::try_from(at).ok()?))));
        }
        self.entries = entries;
        after_dates.sort_unstable_by(|one, other| self.tail(*one).cmp(self.tail(*other)));
        self.after_dates = after_dates;
        let is_folder = |index: &u32| self.entries[*index as usize].kind == Kind::Folder;
        self.folders = (0u32..)
            .zip(&self.entries)
            .map(|(index, _)| index)
            .filter(is_folder)
            .collect();
        self.by_inode = (0u32..)
            .zip(&self.entries)
            .map(|(index, _)| index)
            .collect();
        self.by_inode
            .sort_unstable_by_key(|&index| self.entries[index as usize].inode);
    }

    pub(super) fn name(&self, entry: Entry) -> &[u8] {
        &self.names[entry.start as usize..][..usize::from(entry.len)]
    }

    /// What stands in a name from a place on.
    fn tail(&self, (index, at): (u32, u16)) -> &[u8] {
        &self.name(self.entries[index as usize])[usize::from(at)..]
    }

    /// All that may be rotated names of `base`, and few others.
    pub(super) fn candidates(&self, base: &[u8]) -> Vec<Entry> {
        let mut found = Vec::new();
        for prefix in prefixes(base) {
            let first = self.entries.partition_point(|e| *self.name(*e) < *prefix);
            let beginning = self.entries[first..].iter();
            found.extend(beginning.take_while(|e| self.name(**e).starts_with(&prefix)));
        }
        let first = self.after_dates.partition_point(|at| self.tail(*at) < base);
        let beginning = self.after_dates[first..].iter();
        found.extend(
            beginning
                .take_while(|at| self.tail(**at).starts_with(base))
                .map(|(index, _)| self.entries[*index as usize]),
        );
        found.retain(|entry| entry.kind == Kind::File);
        found.sort_unstable_by_key(|entry| entry.start);
        found.dedup_by_key(|entry| entry.start);
        found
    }

    pub(super) fn of_inode(&self, inode: u64) -> impl Iterator<Item = &[u8]> {
        let entry = |index: &u32| self.entries[*index as usize];
        let first = self.by_inode.partition_point(|i| entry(i).inode < inode);
        let same = self.by_inode[first..].iter().map(entry);
        same.take_while(move |entry| entry.inode == inode)
            .map(|entry| self.name(entry))
    }

    /// The folders in a folder that is dated as `parent`.
    pub(super) fn dated_folders(
        &self,
        parent: Option<DatedFolder>,
    ) -> impl Iterator<Item = (Vec<u8>, DatedFolder)> {
        self.folders.iter().filter_map(move |&index| {
            let name = self.name(self.entries[index as usize]);
            Some((name.to_vec(), DatedFolder::parse(name, parent)?))
        })
    }

    pub(super) fn path(&self, folder: &Path, entry: Entry) -> PathBuf {
        folder.join(OsStr::from_bytes(self.name(entry)))
    }
}

/// The kernel's clock ticks every 1 to 10 ms; that of a server may be off by a little.
pub(super) const TICK: Duration = Duration::from_millis(50);

/// Of file systems that keep whole seconds, or every other.
const COARSE_TICK: Duration = Duration::from_secs(2);

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic fails the test")]
mod tests {
    use super::*;

    #[test]
    fn each_of_many_logs_in_one_folder_reads_few_of_its_names() {
        let touched = |base: &dyn Fn(usize) -> String, rotated: &dyn Fn(usize) -> String| {
            let mut listing = Listing::default();
            for n in 0..LOGS {
                listing.add(base(n).as_bytes(), 1, Kind::File).unwrap();
                listing.add(rotated(n).as_bytes(), 1, Kind::File).unwrap();
            }
            listing.sort();
            (0..LOGS)
                .map(|n| {
                    let (base, rotated) = (base(n), rotated(n));
                    let candidates = listing.candidates(base.as_bytes());
                    let is_rotated = |e: &&Entry| listing.name(**e) == rotated.as_bytes();
                    assert_eq!(candidates.iter().filter(is_rotated).count(), 1, "{base}");
                    candidates.len()
                })
                .sum::<usize>()
        };
        const LOGS: usize = 10_000;
        let plain = touched(&|n| format!("app-{n}.log"), &|n| format!("app-{n}.log.1"));
        assert!(plain < 10 * LOGS, "{plain}");
        let padded = touched(&|n| format!("{n:05}.log"), &|n| format!("{n:05}.log.1"));
        assert!(padded < 3 * LOGS, "{padded}");
        let prefixed = touched(&|n| format!("app-{n}.log"), &|n| {
            format!("20261127-1015-01-app-{n}.log")
        });
        assert!(prefixed < 10 * LOGS, "{prefixed}");
        let two_dots = touched(&|n| format!("svc.{n}.log"), &|n| format!("svc.{n}.log.1"));
        assert!(two_dots < 10 * LOGS, "{two_dots}");
    }
}
