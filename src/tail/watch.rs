//! The one inotify instance of the process and the thread that reads it.
//!
//! The kernel allows 128 instances per user, so there is one. What it says is a hint, never the
//! truth: events wake tailers, which then look for themselves. Tailers look again every few seconds
//! anyway, all of them do after a queue overflow, and where no watch can be had they poll.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use inotify::{EventMask, Inotify, WatchDescriptor, WatchMask, Watches};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec};

use super::discover::{Discovery, Found};
use crate::wake::Waker;

/// Wakes tailers; shared by the watcher and all tailers.
#[derive(Debug)]
pub struct WatchTable {
    /// None: the kernel gave no instance.
    watches: Option<Mutex<Watches>>,
    inner: Mutex<Table>,
    warned: AtomicBool,
    /// Wakes the watcher out of its wait.
    doorbell: OwnedFd,
    stopping: AtomicBool,
    must_scan: AtomicBool,
}

#[derive(Debug, Default)]
struct Table {
    files: HashMap<WatchDescriptor, Vec<(u64, Waker)>>,
    folders: HashMap<WatchDescriptor, PathBuf>,
    /// Who follows a path.
    paths: HashMap<Arc<Path>, Waker>,
    /// Where a followed path really leads, if that is another name (it goes through a link).
    targets: HashMap<PathBuf, PathBuf>,
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
        if sends_no_events(file) {
            self.warn_once(&io::Error::other("its file system sends no events"), path);
            return None;
        }
        let mask =
            WatchMask::MODIFY | WatchMask::ATTRIB | WatchMask::MOVE_SELF | WatchMask::DELETE_SELF;
        // Through /proc it is this very file that is watched, whatever lies at the path by now.
        let exact = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        let mut watches = self
            .watches
            .as_ref()?
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // Held from before the watch exists, so that its first event finds the entry.
        let mut table = self.table();
        let added = match watches.add(&exact, mask) {
            // No /proc here: the path will do, the tailer looks at once after this anyway.
            Err(error) if error.kind() == io::ErrorKind::NotFound => watches.add(path, mask),
            added => added,
        };
        match added {
            Ok(descriptor) => {
                static NEXT: AtomicU64 = AtomicU64::new(0);
                let number = NEXT.fetch_add(1, Ordering::Relaxed);
                // Room for one: two of them share a file only for a moment.
                table
                    .files
                    .entry(descriptor.clone())
                    .or_insert_with(|| Vec::with_capacity(1))
                    .push((number, wake.clone()));
                Some(FileWatch {
                    table: self.clone(),
                    descriptor,
                    number,
                })
            }
            Err(error) => {
                self.warn_once(&error, path);
                None
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
        table.targets.remove(path);
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
        let mut table = self.table();
        if target == path {
            table.targets.remove(path);
        } else if table.targets.insert(path.to_owned(), target.clone()) != Some(target) {
            drop(table);
            // The watcher's thread adds the folder with its next scan.
            self.must_scan.store(true, Ordering::Release);
            self.ring();
        }
    }

    /// Ends the watcher's thread.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.ring();
    }

    fn ring(&self) {
        // Fails only when the counter is full, and then the watcher is awake.
        let _ = rustix::io::write(&self.doorbell, &1u64.to_ne_bytes());
    }

    fn warn_once(&self, error: &io::Error, path: &Path) {
        if self.warned.swap(true, Ordering::Relaxed) {
            log::debug!("'{}' is polled: {error}", path.display());
            return;
        }
        // ENOSPC means that the watches are used up, EMFILE that the instances are.
        let hint = match error.raw_os_error() {
            Some(28) => "; sysctl fs.inotify.max_user_watches bounds the watches of a user",
            Some(24) => "; sysctl fs.inotify.max_user_instances bounds the instances of a user",
            _ => "",
        };
        log::warn!(
            "no inotify watch for '{}': {error}{hint}; files without a watch are polled",
            path.display()
        );
    }

    fn table(&self) -> std::sync::MutexGuard<'_, Table> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes whoever follows `path`, by this name or through a link; returns whether it is followed by
    /// this name.
    fn wake_followers(&self, path: &Path) -> bool {
        let table = self.table();
        for (link, _) in table.targets.iter().filter(|(_, target)| *target == path) {
            if let Some(wake) = table.paths.get(link.as_path()) {
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
    fn target_folders(&self) -> Vec<PathBuf> {
        let table = self.table();
        let folders = table.targets.values().filter_map(|target| target.parent());
        folders.map(Path::to_owned).collect()
    }

    /// Has every tailer look.
    pub fn wake_all(&self) {
        let table = self.table();
        for wake in table.paths.values() {
            wake.wake();
        }
    }
}

/// Whether a file lies on a file system that is changed from elsewhere too: inotify tells of changes made
/// on this host only.
fn sends_no_events(file: impl AsFd) -> bool {
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
    rustix::fs::fstatfs(file).is_ok_and(|status| REMOTE.contains(&(status.f_type as u64)))
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
        let Some(watches) = &self.table.watches else {
            return;
        };
        let mut watches = watches.lock().unwrap_or_else(PoisonError::into_inner);
        let mut table = self.table.table();
        let Some(wakes) = table.files.get_mut(&self.descriptor) else {
            return;
        };
        wakes.retain(|(number, _)| *number != self.number);
        if wakes.is_empty() {
            table.files.remove(&self.descriptor);
            // Fails when the file is deleted and the kernel has removed the watch by itself.
            let _ = watches.remove(self.descriptor.clone());
        }
    }
}

/// The body of the `watch` thread: it owns the inotify instance and finds new files.
#[derive(Debug)]
pub struct Watcher {
    inotify: Option<Inotify>,
    table: Arc<WatchTable>,
    discovery: Discovery,
    found: Sender<Found>,
    /// What was reported and is still there.
    reported: HashSet<Arc<Path>>,
    /// Not every folder has a watch.
    must_poll: bool,
}

impl Watcher {
    /// A watcher that reports the files of `discovery` on `found`, each path once, and again when it
    /// was forgotten ([`WatchTable::forget_path`]) and is there again.
    pub fn new(discovery: Discovery, found: Sender<Found>) -> io::Result<Watcher> {
        let doorbell = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let inotify = Inotify::init();
        let table = Arc::new(WatchTable {
            watches: inotify.as_ref().ok().map(|i| Mutex::new(i.watches())),
            inner: Mutex::default(),
            warned: AtomicBool::new(false),
            doorbell,
            stopping: AtomicBool::new(false),
            must_scan: AtomicBool::new(false),
        });
        if let Err(error) = &inotify {
            table.warn_once(error, Path::new("all logs"));
        }
        let inotify = inotify.ok();
        Ok(Watcher {
            inotify,
            table,
            discovery,
            found,
            reported: HashSet::new(),
            must_poll: false,
        })
    }

    /// What tailers need to be woken.
    pub fn table(&self) -> Arc<WatchTable> {
        self.table.clone()
    }

    /// The first look, before the thread runs: everything that is there now.
    pub fn look(&mut self) -> Vec<Found> {
        let mut found = Vec::new();
        self.rescan(|one| found.push(one));
        found
    }

    /// Paths that were read before and lead nowhere now: their file may have been rotated away with
    /// something unread in it.
    pub fn absent<'a>(&self, known: impl Iterator<Item = &'a Path>) -> Vec<Found> {
        let is_absent = |path: &&Path| path.symlink_metadata().is_err();
        known
            .filter(is_absent)
            .filter_map(|path| self.discovery.wanting(path))
            .collect()
    }

    /// Runs on the `watch` thread until [`WatchTable::stop`].
    pub fn run(mut self) {
        let mut buffer = vec![0; 64 << 10];
        let mut next_scan = Instant::now() + self.scan_interval();
        while !self.table.stopping.load(Ordering::Acquire) {
            self.wait(next_scan.saturating_duration_since(Instant::now()));
            let must_scan = self.read_events(&mut buffer)
                | self.table.must_scan.swap(false, Ordering::AcqRel)
                || Instant::now() >= next_scan;
            if must_scan {
                let found = self.found.clone();
                self.rescan(|one| drop(found.send(one)));
                next_scan = Instant::now() + self.scan_interval();
            }
        }
    }

    fn scan_interval(&self) -> Duration {
        if self.must_poll {
            POLL_INTERVAL
        } else {
            SCAN_INTERVAL
        }
    }

    fn wait(&self, timeout: Duration) {
        let mut fds = vec![PollFd::new(&self.table.doorbell, PollFlags::IN)];
        if let Some(inotify) = &self.inotify {
            fds.push(PollFd::from_borrowed_fd(inotify.as_fd(), PollFlags::IN));
        }
        let timeout = Timespec {
            tv_sec: timeout.as_secs().cast_signed(),
            tv_nsec: timeout.subsec_nanos().into(),
        };
        // An interrupted wait is a short one.
        let _ = rustix::event::poll(&mut fds, Some(&timeout));
        let _ = rustix::io::read(&self.table.doorbell, &mut [0u8; 8]);
    }

    /// Passes all waiting events on; returns whether the folders must be scanned again.
    fn read_events(&mut self, buffer: &mut [u8]) -> bool {
        let mut must_scan = false;
        let mut names: BTreeSet<PathBuf> = BTreeSet::new();
        let Some(inotify) = &mut self.inotify else {
            return false;
        };
        while let Ok(events) = inotify.read_events(buffer) {
            let mut table = self.table.table();
            let mut any = false;
            for event in events {
                any = true;
                if event.mask.contains(EventMask::Q_OVERFLOW) {
                    log::warn!("inotify events were lost; every file is looked at again");
                    drop(table);
                    self.table.wake_all();
                    table = self.table.table();
                    must_scan = true;
                    continue;
                }
                if let Some(wakes) = table.files.get(&event.wd) {
                    for (_, wake) in wakes {
                        wake.wake();
                    }
                }
                if let Some(folder) = table.folders.get(&event.wd) {
                    match event.name {
                        Some(name) => drop(names.insert(folder.join(OsString::from(name)))),
                        None => must_scan = true,
                    }
                    // A folder came or went, or this one did.
                    must_scan |= event.mask.contains(EventMask::ISDIR);
                    if event.mask.contains(EventMask::IGNORED) {
                        table.folders.remove(&event.wd);
                        must_scan = true;
                    }
                }
            }
            drop(table);
            if !any {
                break;
            }
        }
        for path in names {
            if !self.table.wake_followers(&path) {
                self.consider(&path);
            }
        }
        must_scan
    }

    /// A name appeared or changed that nobody follows.
    fn consider(&mut self, path: &Path) {
        self.reported.remove(path);
        if let Some(found) = self.discovery.matching(path) {
            self.reported.insert(found.path.clone());
            let _ = self.found.send(found);
        }
    }

    fn rescan(&mut self, mut report: impl FnMut(Found)) {
        let mut scan = self.discovery.scan(|path| self.table.is_followed(path));
        // What appears in a folder between its listing and its watch would not be heard of: so list
        // again until every folder that was listed had its watch before.
        for _ in 0..SCANS {
            let mut folders = std::mem::take(&mut scan.folders);
            folders.extend(self.table.target_folders());
            if !self.watch_folders(folders) {
                break;
            }
            scan = self.discovery.scan(|path| self.table.is_followed(path));
        }
        // Reported, but not followed any more: it was given up and may be there again.
        self.reported.retain(|path| self.table.is_followed(path));
        for found in scan.files {
            if !self.table.is_followed(&found.path) && self.reported.insert(found.path.clone()) {
                report(found);
            }
        }
    }

    /// Watches these folders and no others; returns whether any of them had no watch before.
    fn watch_folders(&mut self, folders: BTreeSet<PathBuf>) -> bool {
        let Some(watches) = &self.table.watches else {
            self.must_poll = true;
            return false;
        };
        let mut watches = watches.lock().unwrap_or_else(PoisonError::into_inner);
        let mut table = self.table.table();
        let mask = WatchMask::CREATE
            | WatchMask::MOVED_TO
            | WatchMask::MOVED_FROM
            | WatchMask::DELETE
            | WatchMask::ATTRIB
            | WatchMask::DELETE_SELF
            | WatchMask::MOVE_SELF
            | WatchMask::ONLYDIR;
        let mut any_new = false;
        self.must_poll = false;
        let mut present = HashMap::new();
        for folder in folders {
            // Adding again gives the same descriptor, or another one if another folder lies there now.
            match watches.add(&folder, mask) {
                Ok(descriptor) => {
                    self.must_poll |= File::open(&folder).is_ok_and(sends_no_events);
                    any_new |= table.folders.get(&descriptor) != Some(&folder);
                    present.insert(descriptor, folder);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    self.table.warn_once(&error, &folder);
                    self.must_poll = true;
                }
            }
        }
        for (descriptor, _) in std::mem::take(&mut table.folders) {
            if !present.contains_key(&descriptor) && !table.files.contains_key(&descriptor) {
                let _ = watches.remove(descriptor);
            }
        }
        table.folders = present;
        any_new
    }
}

/// How often a scan is repeated at most because folders are new.
const SCANS: usize = 8;
/// How often folders are scanned although their watches work.
const SCAN_INTERVAL: Duration = Duration::from_secs(30);
/// How often they are scanned where a watch is missing.
const POLL_INTERVAL: Duration = Duration::from_millis(700);
