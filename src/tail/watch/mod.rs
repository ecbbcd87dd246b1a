//! Who is woken by what happens to files, and how new files are found.
//!
//! - [`WatchTable`] (this file): shared by all tailers; which watch belongs to whom.
//! - `watcher`: the `watch` thread. It reads the one inotify instance and its inbox, and nothing else.
//! - `walk`: what a `scan-<n>` thread does in the folders of the patterns.
//! - `events`: what inotify says, put in order.
//! - `scans` and `folders`: when all folders of a pattern are looked at, and which single ones.
//! - `notices`: what is said about paths that are not read.
//!
//! The kernel allows 128 inotify instances per user, so there is one. What it says is a hint, never the
//! truth: events wake tailers, which then look for themselves. Tailers look again every few seconds
//! anyway, all of them do after a queue overflow, and where no watch can be had they poll.
//!
//! # No call to a log's file system under a lock
//! `inotify_add_watch` looks its path up, and a file system may never answer. So a watch is added first and
//! written into the table after. In between
//! - its first events find no entry: the numbers of such watches are kept for a while, and whoever registers
//!   one of them is woken at once;
//! - another thread may remove the same watch, because its last user has gone: then the count of removals has
//!   changed, and the watch is added once more (the kernel gives the same number if it is still there).

mod events;
mod folders;
mod notices;
mod scans;
#[cfg(test)]
mod tests;
mod walk;
mod watcher;

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::File;
use std::hash::Hash;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::Sender;
use inotify::{WatchDescriptor, WatchMask, Watches};

use super::discover::Found;
use crate::shown::ShownPath;
use crate::wake::Waker;
use walk::{LookedAt, Seen};
pub use watcher::{FirstLook, Watcher};

/// Wakes tailers; shared by the watcher and all tailers.
#[derive(Debug)]
pub struct WatchTable {
    /// None: the kernel gave no instance.
    watches: Option<Watches>,
    inner: Mutex<Table>,
    warned: AtomicBool,
    inbox: Sender<WatchCommand>,
    /// Wakes the watcher out of its wait.
    doorbell: OwnedFd,
}

/// What the watcher is told.
#[derive(Debug)]
enum WatchCommand {
    /// A walk through folders is over.
    Walked(u64, Box<Seen>),
    /// Single paths were looked at.
    Looked(Vec<LookedAt>),
    /// Paths that were read before, and lead nowhere now.
    Absent(Vec<Found>),
    /// A tailer has ended: its path may lead to a file again.
    Reconsider(Arc<Path>),
    /// The watcher's thread ends.
    Stop,
}

#[derive(Debug, Default)]
struct Table {
    files: HashMap<WatchDescriptor, Vec<(u64, Waker)>>,
    /// By which paths a folder is watched.
    folders: HashMap<WatchDescriptor, Vec<Arc<Path>>>,
    watched_folders: HashMap<Arc<Path>, WatchDescriptor>,
    /// Who follows a path.
    paths: HashMap<Arc<Path>, Waker>,
    /// Where a followed path really leads, if that is another name (it goes through a link).
    targets: HashMap<Arc<Path>, Arc<Path>>,
    /// The followed paths that lead to a target.
    links: HashMap<Arc<Path>, Vec<Arc<Path>>>,
    unclaimed: Unclaimed,
    /// How many watches were removed.
    removals: u64,
}

impl WatchTable {
    /// Wakes `wake` whenever the content, the names or the rights of `file` change, until the answer
    /// is dropped. `None`: the kernel will not tell, the caller has to look by itself.
    pub(super) fn watch_file(
        self: &Arc<Self>,
        file: &File,
        path: &Path,
        wake: &Waker,
    ) -> Option<FileWatch> {
        if sends_no_events(rustix::fs::fstatfs(file)) {
            self.warn_once(&no_events(), path);
            return None;
        }
        let mask =
            WatchMask::MODIFY | WatchMask::ATTRIB | WatchMask::MOVE_SELF | WatchMask::DELETE_SELF;
        // Through /proc it is this very file that is watched, whatever lies at the path by now.
        let exact = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let add = || match self.watches.clone()?.add(&exact, mask) {
            // No /proc here: the path will do, the tailer looks at once after this anyway.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Some(self.watches.clone()?.add(path, mask))
            }
            added => Some(added),
        };
        let enter = |table: &mut Table, descriptor: &WatchDescriptor| {
            // Room for one: two of them share a file only for a moment.
            let wakes = table.files.entry(descriptor.clone());
            wakes
                .or_insert_with(|| Vec::with_capacity(1))
                .push((number, wake.clone()));
            if table.unclaimed.take(descriptor) {
                wake.wake();
            }
        };
        let leave = |table: &mut Table, descriptor: &WatchDescriptor| {
            table.leave_file(descriptor, number);
        };
        match self.add_watch(add, enter, leave)? {
            Ok(descriptor) => Some(FileWatch {
                table: self.clone(),
                descriptor,
                number,
            }),
            Err(error) => {
                self.warn_once(&error, path);
                None
            }
        }
    }

    /// Watches the names in a folder; returns whether the kernel tells of all that happens to them.
    fn watch_folder(&self, folder: &Arc<Path>) -> bool {
        let mask = WatchMask::CREATE
            | WatchMask::MOVED_TO
            | WatchMask::MOVED_FROM
            | WatchMask::DELETE
            | WatchMask::ATTRIB
            | WatchMask::DELETE_SELF
            | WatchMask::MOVE_SELF
            | WatchMask::ONLYDIR;
        let add = || Some(self.watches.clone()?.add(folder, mask));
        let enter = |table: &mut Table, descriptor: &WatchDescriptor| {
            if let Some(before) = table.enter_folder(folder, descriptor) {
                self.remove_watch(table, before);
            }
            // What lies in it is listed after this.
            table.unclaimed.take(descriptor);
        };
        let leave = |table: &mut Table, _: &WatchDescriptor| {
            table.leave_folder(folder);
        };
        match self.add_watch(add, enter, leave) {
            Some(Ok(_)) => {
                let is_told = !sends_no_events(rustix::fs::statfs(&**folder));
                if !is_told {
                    self.warn_once(&no_events(), folder);
                }
                is_told
            }
            // It went between two looks.
            Some(Err(error)) if error.kind() == io::ErrorKind::NotFound => true,
            // Whoever looks into the folder has more to say of it.
            Some(Err(error)) if error.kind() == io::ErrorKind::PermissionDenied => false,
            Some(Err(error)) => {
                self.warn_once(&error, folder);
                false
            }
            None => false,
        }
    }

    /// Adds a watch and enters it into the table; see the module's text. `None` where there is no inotify.
    fn add_watch(
        &self,
        add: impl Fn() -> Option<io::Result<WatchDescriptor>>,
        enter: impl Fn(&mut Table, &WatchDescriptor),
        leave: impl Fn(&mut Table, &WatchDescriptor),
    ) -> Option<io::Result<WatchDescriptor>> {
        let mut removals = self.table().removals;
        let mut descriptor = match add()? {
            Ok(descriptor) => descriptor,
            Err(error) => return Some(Err(error)),
        };
        loop {
            let mut table = self.table();
            enter(&mut table, &descriptor);
            let is_undisturbed = table.removals == removals;
            removals = table.removals;
            drop(table);
            if is_undisturbed {
                return Some(Ok(descriptor));
            }
            // Now that it is entered nobody removes it; whether somebody has before, the kernel knows.
            let again = match add()? {
                Ok(again) if again == descriptor => return Some(Ok(descriptor)),
                again => again,
            };
            leave(&mut self.table(), &descriptor);
            match again {
                Ok(again) => descriptor = again,
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// From now on whatever happens to the name `path` wakes `wake`.
    pub fn follow_path(&self, path: Arc<Path>, wake: Waker) {
        self.table().paths.insert(path, wake);
    }

    /// Nobody follows `path` any more.
    pub fn forget_path(&self, path: &Path) {
        let mut table = self.table();
        table.paths.remove(path);
        table.forget_target(path);
        shrink(&mut table.paths);
    }

    pub(super) fn is_followed(&self, path: &Path) -> bool {
        self.table().paths.contains_key(path)
    }

    /// The followed `path` may lead through links: then the folder that the file really lies in is
    /// watched as well, since rotation happens there.
    pub(super) fn follow_target(&self, path: &Path) {
        let Ok(target) = path.canonicalize() else {
            return;
        };
        let folder: Option<Arc<Path>> = target.parent().map(Arc::from);
        let mut table = self.table();
        table.forget_target(path);
        if target == path {
            return;
        }
        table.enter_target(path.into(), target.into());
        let folder = folder.filter(|folder| !table.watched_folders.contains_key(folder));
        drop(table);
        if let Some(folder) = folder {
            self.watch_folder(&folder);
        }
    }

    /// A tailer of `path` has ended: if a file lies there again, it is reported again.
    pub fn reconsider(&self, path: Arc<Path>) {
        self.tell(WatchCommand::Reconsider(path));
    }

    /// Ends the watcher's thread.
    pub fn stop(&self) {
        self.tell(WatchCommand::Stop);
    }

    fn tell(&self, command: WatchCommand) {
        // Without a watcher nobody needs to know.
        let _ = self.inbox.send(command);
        // Fails only when the counter is full, and then the watcher is awake.
        let _ = rustix::io::write(&self.doorbell, &1u64.to_ne_bytes());
    }

    fn warn_once(&self, error: &io::Error, path: &Path) {
        let path = ShownPath(path);
        if self.warned.swap(true, Ordering::Relaxed) {
            log::debug!("'{path}' is polled: {error}");
            return;
        }
        let hint = match rustix::io::Errno::from_io_error(error) {
            Some(rustix::io::Errno::NOSPC) => {
                "; sysctl fs.inotify.max_user_watches bounds the watches of a user"
            }
            Some(rustix::io::Errno::MFILE) => {
                "; sysctl fs.inotify.max_user_instances bounds the instances of a user"
            }
            _ => "",
        };
        log::warn!(
            "no inotify watch for '{path}': {error}{hint}; files without a watch are polled"
        );
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes whoever follows `path`, by this name or through a link; returns whether it is followed by
    /// this name.
    fn wake_followers(&self, path: &Path) -> bool {
        let table = self.table();
        for link in table.links.get(path).into_iter().flatten() {
            if let Some(wake) = table.paths.get(link) {
                wake.wake();
            }
        }
        let wake = table.paths.get(path);
        if let Some(wake) = wake {
            wake.wake();
        }
        wake.is_some()
    }

    /// The folders that links lead into.
    fn target_folders(&self) -> HashSet<Arc<Path>> {
        let table = self.table();
        let folders = table.links.keys().filter_map(|target| target.parent());
        folders.map(Arc::from).collect()
    }

    /// Watches no folder any more but those that are `wanted`.
    fn keep_folders(&self, wanted: impl Fn(&Arc<Path>) -> bool) {
        let mut table = self.table();
        let unwanted = table.watched_folders.keys().filter(|f| !wanted(f));
        for folder in unwanted.cloned().collect::<Vec<_>>() {
            self.drop_folder(&mut table, &folder);
        }
        shrink(&mut table.files);
        shrink(&mut table.folders);
        shrink(&mut table.watched_folders);
        shrink(&mut table.targets);
        shrink(&mut table.links);
    }

    /// Watches these folders no more.
    fn forget_folders(&self, folders: &[Arc<Path>]) {
        let mut table = self.table();
        for folder in folders {
            self.drop_folder(&mut table, folder);
        }
    }

    fn drop_folder(&self, table: &mut Table, folder: &Path) {
        if let Some(descriptor) = table.leave_folder(folder) {
            self.remove_watch(table, descriptor);
        }
    }

    /// Removes a watch that has no entry any more. That is no call to a file system.
    fn remove_watch(&self, table: &mut Table, descriptor: WatchDescriptor) {
        table.removals += 1;
        if let Some(mut watches) = self.watches.clone() {
            // Fails when what it was on is deleted and the kernel has removed the watch by itself.
            let _ = watches.remove(descriptor);
        }
    }

    /// Has every tailer look.
    pub fn wake_all(&self) {
        let table = self.table();
        for wake in table.paths.values() {
            wake.wake();
        }
    }
}

impl Table {
    /// A file's watch is used by one less; true if nobody uses it any more.
    fn leave_file(&mut self, descriptor: &WatchDescriptor, number: u64) -> bool {
        let Some(wakes) = self.files.get_mut(descriptor) else {
            return false;
        };
        wakes.retain(|(other, _)| *other != number);
        let is_last = wakes.is_empty();
        if is_last {
            self.files.remove(descriptor);
        }
        is_last
    }

    /// The folder is watched by this path; gives the watch that nobody needs any more, on another folder
    /// that lay there.
    fn enter_folder(
        &mut self,
        folder: &Arc<Path>,
        descriptor: &WatchDescriptor,
    ) -> Option<WatchDescriptor> {
        let before = self
            .watched_folders
            .insert(folder.clone(), descriptor.clone());
        let replaced = before
            .filter(|before| before != descriptor && self.leave_watch_of_folder(before, folder));
        let paths = self.folders.entry(descriptor.clone()).or_default();
        if !paths.contains(folder) {
            paths.push(folder.clone());
        }
        replaced
    }

    /// The folder is watched by this path no more; gives the watch that nobody needs any more.
    fn leave_folder(&mut self, folder: &Path) -> Option<WatchDescriptor> {
        let descriptor = self.watched_folders.remove(folder)?;
        self.leave_watch_of_folder(&descriptor, folder)
            .then_some(descriptor)
    }

    fn leave_watch_of_folder(&mut self, descriptor: &WatchDescriptor, folder: &Path) -> bool {
        let Some(paths) = self.folders.get_mut(descriptor) else {
            return false;
        };
        paths.retain(|path| **path != *folder);
        let is_last = paths.is_empty();
        if is_last {
            self.folders.remove(descriptor);
        }
        is_last
    }

    /// The kernel has removed a watch; gives the folders that were watched by it.
    fn ignored(&mut self, descriptor: &WatchDescriptor) -> Vec<Arc<Path>> {
        let folders = self.folders.remove(descriptor).unwrap_or_default();
        for folder in &folders {
            if self.watched_folders.get(folder) == Some(descriptor) {
                self.watched_folders.remove(folder);
            }
        }
        folders
    }

    fn enter_target(&mut self, link: Arc<Path>, target: Arc<Path>) {
        self.links
            .entry(target.clone())
            .or_default()
            .push(link.clone());
        self.targets.insert(link, target);
    }

    fn forget_target(&mut self, link: &Path) {
        if let Some(target) = self.targets.remove(link)
            && let Some(links) = self.links.get_mut(&target)
        {
            links.retain(|other| **other != *link);
            if links.is_empty() {
                self.links.remove(&target);
            }
        }
    }
}

/// Watches with events and without an entry, the latest ones.
#[derive(Debug, Default)]
struct Unclaimed {
    /// Oldest first.
    line: VecDeque<WatchDescriptor>,
    /// Those in the line.
    known: HashSet<WatchDescriptor>,
}

impl Unclaimed {
    fn keep(&mut self, descriptor: WatchDescriptor) {
        if self.known.insert(descriptor.clone()) {
            self.line.push_back(descriptor);
        }
        if self.line.len() > MOST_UNCLAIMED
            && let Some(oldest) = self.line.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    /// Whether there were events; they are claimed now.
    fn take(&mut self, descriptor: &WatchDescriptor) -> bool {
        let was_there = self.known.remove(descriptor);
        if was_there {
            self.line.retain(|other| other != descriptor);
        }
        was_there
    }
}

/// Gives memory back that was needed for many more entries.
fn shrink<K: Eq + Hash, V>(map: &mut HashMap<K, V>) {
    if map.capacity() > 64 && map.len() < map.capacity() / 4 {
        map.shrink_to(map.len() * 2);
    }
}

fn no_events() -> io::Error {
    io::Error::other("its file system sends no events")
}

/// Whether a file lies on a file system that is changed from elsewhere too: inotify tells of changes made
/// on this host only.
fn sends_no_events(status: rustix::io::Result<rustix::fs::StatFs>) -> bool {
    /// Magic numbers from statfs(2): NFS, SMB, CIFS, SMB2, FUSE, 9P, Ceph, AFS, Coda, OCFS2, GFS2.
    const REMOTE: [u64; 11] = [
        0x6969,
        0x517b,
        0xff53_4d42,
        0xfe53_4d42,
        0x6573_5546,
        0x0102_1997,
        0x00c3_6400,
        0x5346_414f,
        0x7375_7245,
        0x7461_636f,
        0x0116_1970,
    ];
    status.is_ok_and(|status| REMOTE.contains(&(status.f_type as u64)))
}

/// A watch on one open file.
#[derive(Debug)]
pub(super) struct FileWatch {
    table: Arc<WatchTable>,
    descriptor: WatchDescriptor,
    number: u64,
}

impl Drop for FileWatch {
    fn drop(&mut self) {
        let mut table = self.table.table();
        if table.leave_file(&self.descriptor, self.number) {
            self.table.remove_watch(&mut table, self.descriptor.clone());
        }
    }
}

/// More watches without an entry are not remembered.
const MOST_UNCLAIMED: usize = 1024;
