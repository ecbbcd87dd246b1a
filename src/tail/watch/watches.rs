//! Who is woken by which watch.
//!
//! # No call to a log's file system under a lock
//! `inotify_add_watch` looks its path up, and a file system may never answer. So a watch is added first and
//! written into the table after. In between
//! - its first events find no entry: the numbers of such watches are kept for a while, and whoever registers
//!   one of them is woken at once;
//! - another thread may remove the same watch, because its last user has gone: then the count of removals has
//!   changed, and the watch is added once more (the kernel gives the same number if it is still there).

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use inotify::{WatchDescriptor, WatchMask};
use log::Level;
use rustix::event::EventfdFlags;

use super::entries::{Table, shrink};
use super::seen::{First, FirstLook, LookedAt, Seen};
use crate::condition::{Board, Condition};
use crate::shown::ShownPath;
use crate::tail::discover::{Discovery, FoundPath};
use crate::tailer_handle::TailerHandle;

/// The watches of the process, and the tailers that they wake; shared by the watcher and all tailers.
#[derive(Debug)]
pub struct Watches {
    /// None: the kernel gave no instance.
    pub(super) inotify: Option<inotify::Watches>,
    inner: Mutex<Table>,
    /// The kernel gives no watches, or tells nothing.
    refusal: Mutex<Refusal>,
    inbox: Sender<WatchCommand>,
    /// Wakes the watcher out of its wait.
    pub(super) doorbell: OwnedFd,
}

/// That watches are refused.
#[derive(Debug, Default)]
struct Refusal {
    condition: Condition,
    last: Option<Instant>,
    /// It was said that a file system sends no events.
    is_said: bool,
}

/// What the watcher is told.
#[derive(Debug)]
pub(super) enum WatchCommand {
    /// A walk through folders is over.
    Walked(u64, Box<Seen>),
    /// Single paths were looked at.
    Looked(Vec<LookedAt>),
    /// Paths that were read before, and lead nowhere now.
    Missing(Vec<FoundPath>),
    /// A tailer has ended: its path may lead to a file again.
    Reconsider(Arc<Path>),
    /// Other paths are wanted from now on.
    Follow(Box<Follow>),
    /// The watcher's thread ends.
    Stop,
}

/// What is wanted from now on.
#[derive(Debug)]
pub(super) struct Follow {
    pub(super) discovery: Arc<Discovery>,
    /// How long events wait for others.
    pub(super) gathering: Duration,
    /// Takes what is there.
    pub(super) first: First,
}

impl Watches {
    /// Watches that tell the watcher by `inbox`; `inotify` are the watches of its inotify instance, if there is one.
    pub(super) fn new(
        inotify: Option<inotify::Watches>,
        inbox: Sender<WatchCommand>,
    ) -> io::Result<Watches> {
        Ok(Watches {
            inotify,
            inner: Mutex::default(),
            refusal: Mutex::default(),
            inbox,
            doorbell: rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        })
    }

    /// Wakes `tailer` whenever the content, the names or the rights of `file` change, until the answer
    /// is dropped. `None`: the kernel will not tell, the caller has to look by itself.
    pub fn watch_file(
        self: &Arc<Self>,
        file: &File,
        path: &Path,
        tailer: &TailerHandle,
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
        let add = || match self.inotify.clone()?.add(&exact, mask) {
            // No /proc here: the path will do, the tailer looks at once after this anyway.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Some(self.inotify.clone()?.add(path, mask))
            }
            added => Some(added),
        };
        let enter = |table: &mut Table, descriptor: &WatchDescriptor| {
            // Room for one: two of them share a file only for a moment.
            let wakes = table.files.entry(descriptor.clone());
            wakes
                .or_insert_with(|| Vec::with_capacity(1))
                .push((number, tailer.clone()));
            if table.unclaimed.take(descriptor) {
                tailer.wake();
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
    pub(super) fn watch_folder(&self, folder: &Arc<Path>) -> bool {
        let mask = WatchMask::CREATE
            | WatchMask::MOVED_TO
            | WatchMask::MOVED_FROM
            | WatchMask::DELETE
            | WatchMask::ATTRIB
            | WatchMask::DELETE_SELF
            | WatchMask::MOVE_SELF
            | WatchMask::ONLYDIR;
        let add = || Some(self.inotify.clone()?.add(folder, mask));
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

    /// From now on whatever happens to the name `path` wakes `tailer`.
    pub fn register(&self, path: Arc<Path>, tailer: TailerHandle) {
        self.table().paths.insert(path, tailer);
    }

    /// Nobody follows `path` any more.
    pub fn unregister(&self, path: &Path) {
        let mut table = self.table();
        table.paths.remove(path);
        table.forget_target(path);
        shrink(&mut table.paths);
    }

    /// Whether a tailer follows `path`.
    pub fn is_followed(&self, path: &Path) -> bool {
        self.table().paths.contains_key(path)
    }

    /// Has the tailer of `path` look; false if there is none.
    pub fn wake_path(&self, path: &Path) -> bool {
        let tailer = self.table().paths.get(path).cloned();
        tailer.inspect(TailerHandle::wake).is_some()
    }

    /// The path `path` leads to `target`, where a file is or may come: the folder that it really lies in is watched
    /// as well, since rotation happens there.
    pub fn follow_target(&self, path: &Path, target: &Path) {
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

    /// The path leads nowhere else any more, unless its tailer says so.
    pub(super) fn forget_unfollowed_target(&self, path: &Path) {
        let mut table = self.table();
        if !table.paths.contains_key(path) {
            table.forget_target(path);
        }
    }

    /// A tailer of `path` has ended: if a file lies there again, it is reported again.
    pub fn reconsider(&self, path: Arc<Path>) {
        self.tell(WatchCommand::Reconsider(path));
    }

    /// The watcher follows what `discovery` wants from now on. Gives what of it is there and not followed yet, as much
    /// of it as is seen within `patience`.
    pub fn follow(
        &self,
        discovery: Arc<Discovery>,
        gathering: Duration,
        patience: Duration,
    ) -> Receiver<FirstLook> {
        let (first, first_look) = First::new(HashSet::new(), Some(Instant::now() + patience));
        self.tell(WatchCommand::Follow(Box::new(Follow {
            discovery,
            gathering,
            first,
        })));
        first_look
    }

    /// Ends the watcher's thread.
    pub fn stop(&self) {
        self.tell(WatchCommand::Stop);
    }

    pub(super) fn tell(&self, command: WatchCommand) {
        // Without a watcher nobody needs to know.
        let _ = self.inbox.send(command);
        // Fails only when the counter is full, and then the watcher is awake.
        let _ = rustix::io::write(&self.doorbell, &1u64.to_ne_bytes());
    }

    pub(super) fn warn_once(&self, error: &io::Error, path: &Path) {
        let path = ShownPath(path);
        let now = Instant::now();
        let mut refusal = self.refusal();
        let errno = rustix::io::Errno::from_io_error(error);
        let is_said = match errno {
            // That is no trouble, and stays as it is.
            None => std::mem::replace(&mut refusal.is_said, true),
            Some(_) => refusal.condition.is_entered(),
        };
        if is_said {
            log::debug!("'{path}' is polled: {error}");
            return;
        }
        let hint = match errno {
            Some(rustix::io::Errno::NOSPC) => {
                "; sysctl fs.inotify.max_user_watches bounds the watches of a user"
            }
            Some(rustix::io::Errno::MFILE) => {
                "; sysctl fs.inotify.max_user_instances bounds the instances of a user"
            }
            _ => "",
        };
        let reason = format!(
            "no inotify watch for '{path}': {error}{hint}; files without a watch are polled"
        );
        if errno.is_none() {
            return log::warn!("{reason}");
        }
        refusal.last = Some(now);
        let condition = &mut refusal.condition;
        condition.enter(Level::Warn, &"inotify watches", &reason, now);
        if let Some(passed_over) = condition.say(now) {
            log::warn!("{reason}{passed_over}");
        }
    }

    fn refusal(&self) -> MutexGuard<'_, Refusal> {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has `board` show it where there are no watches.
    pub fn report_to(&self, board: &Board) {
        self.refusal().condition.shown_on(board);
    }

    /// To be called now and then: says so when none was refused for a while.
    pub(super) fn see_to_refusal(&self, now: Instant) {
        let mut refusal = self.refusal();
        if self.inotify.is_none() {
            return;
        }
        let is_over = |last: Instant| now.duration_since(last) >= REFUSAL_LASTS;
        if refusal.last.is_some_and(is_over)
            && let Some(left) = refusal.condition.leave()
        {
            log::log!(left.level, "no inotify watch was refused lately{left}");
        }
    }

    pub(super) fn table(&self) -> MutexGuard<'_, Table> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes whoever follows `path`, by this name or through a link; returns those of these names that nobody
    /// follows.
    pub(super) fn wake_followers(&self, path: &Path) -> Vec<PathBuf> {
        let table = self.table();
        let links = table.links.get(path).into_iter().flatten();
        let mut unfollowed = Vec::new();
        for name in links.map(|link| &**link).chain([path]) {
            match table.paths.get(name) {
                Some(tailer) => tailer.wake(),
                None => unfollowed.push(name.to_owned()),
            }
        }
        unfollowed
    }

    /// The folders that links lead into.
    pub(super) fn target_folders(&self) -> HashSet<Arc<Path>> {
        let table = self.table();
        let folders = table.links.keys().filter_map(|target| target.parent());
        folders.map(Arc::from).collect()
    }

    /// Watches no folder any more but those that are `wanted`.
    pub(super) fn keep_folders(&self, wanted: impl Fn(&Arc<Path>) -> bool) {
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
    pub(super) fn forget_folders(&self, folders: &[Arc<Path>]) {
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
        if let Some(mut watches) = self.inotify.clone() {
            // Fails when what it was on is deleted and the kernel has removed the watch by itself.
            let _ = watches.remove(descriptor);
        }
    }

    /// Has every tailer look.
    pub fn wake_all(&self) {
        let table = self.table();
        for tailer in table.paths.values() {
            tailer.wake();
        }
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
pub struct FileWatch {
    table: Arc<Watches>,
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

/// Watches that were refused are worth a word for so long after the last of them.
const REFUSAL_LASTS: Duration = Duration::from_secs(600);
