//! A folder seen through a file system like a remote one: what happens in it happens behind the kernel's
//! back, which sends no events for it, and reads fail while the test says so, or nothing is answered at all.
//! Made with FUSE, so it needs the right to mount.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirEntryExt, FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BackgroundSession, Config, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry,
    ReplyOpen, Request,
};
use rustix::fs::{Mode, OFlags};

/// A mounted view; it is unmounted when dropped.
pub(crate) struct Remote {
    _session: BackgroundSession,
    at: PathBuf,
    gate: Arc<Gate>,
    is_failing: Arc<AtomicBool>,
    last_handle: Arc<AtomicU64>,
    last_stale: Arc<AtomicU64>,
}

impl Remote {
    /// Shows the folder `of` at the folder `at`.
    pub(crate) fn mount(of: &Path, at: &Path) -> Remote {
        let is_failing = Arc::new(AtomicBool::new(false));
        let (last_handle, last_stale) = <(Arc<AtomicU64>, Arc<AtomicU64>)>::default();
        let gate = Arc::<Gate>::default();
        let view = View {
            root: open_path(rustix::fs::CWD, of.as_os_str()).expect("the folder can be opened"),
            nodes: Mutex::default(),
            handles: Mutex::default(),
            last_handle: last_handle.clone(),
            last_stale: last_stale.clone(),
            is_failing: is_failing.clone(),
            gate: gate.clone(),
        };
        let session = fuser::spawn_mount(view, at, &Config::default())
            .expect("FUSE can be mounted (needs /dev/fuse and root)");
        Remote {
            _session: session,
            at: at.to_owned(),
            gate,
            is_failing,
            last_handle,
            last_stale,
        }
    }

    /// What is open now cannot be read any more, as after a restart of the server: ESTALE.
    pub(crate) fn make_handles_stale(&self) {
        let last = self.last_handle.load(Ordering::SeqCst);
        self.last_stale.store(last, Ordering::SeqCst);
    }

    /// From now on files can be read or not: EIO.
    pub(crate) fn set_failing(&self, yes: bool) {
        self.is_failing.store(yes, Ordering::SeqCst);
    }

    /// From now on nothing is answered, as by a server that is away.
    ///
    /// The kernel lets nobody go whose request the server has taken; all others can be killed, as those that
    /// wait for an NFS server can. So the one request that the server takes and does not answer is our own.
    pub(crate) fn hang(&self) {
        self.gate.state.lock().unwrap().is_closing = true;
        let at = self.at.clone();
        thread::spawn(move || fs::metadata(at));
        let state = self.gate.state.lock().unwrap();
        let waiting = |state: &mut GateState| !state.is_waited_at;
        drop(self.gate.changed.wait_while(state, waiting).unwrap());
    }

    /// Everything is answered again.
    pub(crate) fn answer(&self) {
        let mut state = self.gate.state.lock().unwrap();
        (state.is_closing, state.is_closed) = (false, false);
        drop(state);
        self.gate.changed.notify_all();
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.answer();
    }
}

/// Where requests wait while nothing is answered; the view answers one after the other.
#[derive(Default)]
struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Default)]
struct GateState {
    /// It closes at the next request of our own.
    is_closing: bool,
    is_closed: bool,
    is_waited_at: bool,
}

impl Gate {
    fn pass(&self, request: &Request) {
        let mut state = self.state.lock().unwrap();
        let thread = format!("/proc/self/task/{}", request.pid());
        if state.is_closing && Path::new(&thread).exists() {
            state.is_closing = false;
            state.is_closed = true;
        }
        while state.is_closed {
            state.is_waited_at = true;
            self.changed.notify_all();
            state = self.changed.wait(state).unwrap();
        }
        state.is_waited_at = false;
    }
}

struct View {
    root: File,
    /// What was looked up, by inode number; held open, so that it is found under any name.
    nodes: Mutex<HashMap<u64, File>>,
    handles: Mutex<HashMap<u64, File>>,
    last_handle: Arc<AtomicU64>,
    /// Handles up to this one are stale.
    last_stale: Arc<AtomicU64>,
    is_failing: Arc<AtomicBool>,
    gate: Arc<Gate>,
}

impl View {
    /// The entry itself, for `*at` calls and `stat`.
    fn node(&self, ino: INodeNo) -> io::Result<File> {
        if ino == INodeNo::ROOT {
            return self.root.try_clone();
        }
        let nodes = self.nodes.lock().unwrap();
        let node = nodes.get(&u64::from(ino));
        node.ok_or(io::ErrorKind::NotFound)?.try_clone()
    }

    fn look_up(&self, parent: INodeNo, name: &OsStr) -> io::Result<Metadata> {
        let node = open_path(self.node(parent)?, name)?;
        let metadata = node.metadata()?;
        self.nodes.lock().unwrap().insert(metadata.ino(), node);
        Ok(metadata)
    }

    fn open(&self, ino: INodeNo) -> io::Result<u64> {
        self.check()?;
        let file = File::open(by_descriptor(&self.node(ino)?))?;
        let handle = self.last_handle.fetch_add(1, Ordering::SeqCst) + 1;
        self.handles.lock().unwrap().insert(handle, file);
        Ok(handle)
    }

    fn read(&self, handle: u64, offset: u64, size: u32) -> io::Result<Vec<u8>> {
        self.check()?;
        if handle <= self.last_stale.load(Ordering::SeqCst) {
            return Err(rustix::io::Errno::STALE.into());
        }
        let handles = self.handles.lock().unwrap();
        let file = handles.get(&handle).ok_or(io::ErrorKind::NotFound)?;
        let mut data = vec![0; size as usize];
        let count = file.read_at(&mut data, offset)?;
        data.truncate(count);
        Ok(data)
    }

    fn list(&self, ino: INodeNo) -> io::Result<Vec<fs::DirEntry>> {
        fs::read_dir(by_descriptor(&self.node(ino)?))?.collect()
    }

    fn check(&self) -> io::Result<()> {
        match self.is_failing.load(Ordering::SeqCst) {
            true => Err(rustix::io::Errno::IO.into()),
            false => Ok(()),
        }
    }
}

impl Filesystem for View {
    fn lookup(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.gate.pass(request);
        match self.look_up(parent, name) {
            Ok(metadata) => reply.entry(&Duration::ZERO, &attributes(&metadata), Generation(0)),
            Err(error) => reply.error(error.into()),
        }
    }

    fn getattr(&self, request: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        self.gate.pass(request);
        match self.node(ino).and_then(|node| node.metadata()) {
            Ok(metadata) => reply.attr(&Duration::ZERO, &attributes(&metadata)),
            Err(error) => reply.error(error.into()),
        }
    }

    fn open(&self, request: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        self.gate.pass(request);
        match View::open(self, ino) {
            // Nothing is cached, so each read comes here.
            Ok(handle) => reply.opened(FileHandle(handle), FopenFlags::FOPEN_DIRECT_IO),
            Err(error) => reply.error(error.into()),
        }
    }

    fn read(
        &self,
        request: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        self.gate.pass(request);
        match View::read(self, handle.0, offset, size) {
            Ok(data) => reply.data(&data),
            Err(error) => reply.error(error.into()),
        }
    }

    fn release(
        &self,
        request: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.gate.pass(request);
        self.handles.lock().unwrap().remove(&handle.0);
        reply.ok();
    }

    fn readdir(
        &self,
        request: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        self.gate.pass(request);
        let entries = match self.list(ino) {
            Ok(entries) => entries,
            Err(error) => return reply.error(error.into()),
        };
        for (at, entry) in (1..).zip(&entries).skip(offset as usize) {
            let kind = entry.file_type().map_or(FileType::RegularFile, kind_of);
            if reply.add(INodeNo(entry.ino()), at, kind, entry.file_name()) {
                break;
            }
        }
        reply.ok();
    }
}

fn open_path(folder: impl std::os::fd::AsFd, name: &OsStr) -> io::Result<File> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(folder, name, flags, Mode::empty())?.into())
}

fn by_descriptor(file: &File) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}

fn kind_of(kind: fs::FileType) -> FileType {
    match kind {
        kind if kind.is_dir() => FileType::Directory,
        kind if kind.is_symlink() => FileType::Symlink,
        _ => FileType::RegularFile,
    }
}

fn attributes(metadata: &Metadata) -> FileAttr {
    let changed = UNIX_EPOCH + Duration::new(metadata.ctime() as u64, metadata.ctime_nsec() as u32);
    FileAttr {
        ino: INodeNo(metadata.ino()),
        size: metadata.size(),
        blocks: metadata.blocks(),
        atime: UNIX_EPOCH,
        mtime: metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH),
        ctime: changed,
        crtime: UNIX_EPOCH,
        kind: kind_of(metadata.file_type()),
        perm: (metadata.mode() & 0o7777) as u16,
        nlink: metadata.nlink() as u32,
        uid: metadata.uid(),
        gid: metadata.gid(),
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}
