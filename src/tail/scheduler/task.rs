//! What the scheduler runs, and what it is told of it.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use crate::identity::{FileStat, Inode};
use crate::tailer_handle::TailerHandle;

/// Why a tailer comes back from its thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunOutcome {
    /// It has nothing to do any more.
    Exit(TailerExit),
    /// Nothing happens until something changes; then an event comes, or the change is to be seen at its path.
    Park,
    /// It has to look again at this time, or when it is woken.
    ParkUntil(Instant),
    /// It has more to do, and others have waited for longer.
    Yield,
}

/// Why a tailer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TailerExit {
    /// The path leads nowhere and everything that was there is read.
    PathGone,
    /// It was told to, or `--once` and everything is read.
    Stopped,
    /// `--once`, and the file, or one that was rotated away, cannot be read.
    Unread,
}

/// What a tailer that has ended reports.
#[derive(Debug)]
pub struct TailerReport {
    /// What it followed.
    pub path: Arc<Path>,
    /// How; the words of the panic if it panicked.
    pub how: Result<TailerExit, String>,
}

/// What the scheduler runs: a tailer, or in tests something like one.
pub trait Task: Send + 'static {
    /// Runs on a thread until it can do without.
    fn run(&mut self) -> RunOutcome;
    /// Wakes it.
    fn handle(&self) -> &TailerHandle;
    /// What it follows.
    fn path(&self) -> &Arc<Path>;
    /// What lies at its path unless something has happened; `None`: it has to look by itself.
    fn expected(&self) -> Option<Expected>;
    /// Whether it holds a descriptor permit.
    fn holds_descriptor_permit(&self) -> bool;
}

/// What a parked tailer expects at its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// Device and inode.
    pub inode: Inode,
    /// Birth time in ns since 1970, or 0.
    pub born_ns: i64,
    /// Size and time of the last change; `None`: another tailer reads the file.
    pub content: Option<(u64, i64)>,
}

impl Expected {
    /// Whether `path` leads to what is expected. A remount may have changed the number of the device, if the
    /// time of birth says that it is the same file.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        FileStat::at_path(path).is_ok_and(|stat| {
            let is_same_file = match self.born_ns {
                0 => stat.born_ns == 0 && stat.inode == self.inode,
                born_ns => stat.born_ns == born_ns && stat.inode.inode == self.inode.inode,
            };
            let content = Some((stat.size, stat.modified_ns));
            is_same_file && (self.content.is_none() || self.content == content)
        })
    }
}

/// What the scheduler is told.
#[derive(Debug)]
pub enum Message<T> {
    /// A new tailer, and the device of what lies at its path.
    Start(Box<T>, Option<u64>),
    /// A tailer comes back from its thread.
    Returned(Box<T>, RunOutcome),
    /// The tailer whose handle has this id has ended on its thread.
    TailerEnded(u64),
    /// Parked tailers whose paths were looked at: their ids, and whether all is as they left it.
    Checked(Vec<(u64, bool)>),
}
