//! Following files.
//!
//! The walk of a line: [`watch`] hears of a change and wakes the tailer of the path. The [`Tailer`] looks whether
//! the path and its open files are what they were (`observe`); if not, what follows from it is decided by data
//! alone (`plan`) and then done (`apply`), once the look can be true (`sync`). It reads whole lines from its sources, old ones first (`source`),
//! and hands them to a producer. [`discover`] knows which files are wanted, [`registry`] which are known and being
//! read, `recognise` whether content is known, [`scheduler`] which tailers have a thread.
//!
//! # Order across a rotation
//! A writer that goes over to a new file has written everything to the old one before. So the tailer
//! looks at the size of the new file *first*, then reads the old file to its end, then the new file up
//! to the size it saw: whatever it reads of the new file was written after everything in the old one
//! that it could still miss. The old file stays open until it was quiet for `rotate_wait`, for
//! writers that go on writing to it for a while.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::buffer::BufferPool;
use crate::config::LogConfig;
use crate::metrics::Metrics;

mod alike;
mod apply;
pub mod changes;
mod clock;
mod compare;
pub mod deleted;
pub mod descriptor_permits;
pub mod discover;
mod drain;
pub mod explain;
mod family;
pub mod folder_index;
pub mod forgetting;
mod found;
mod going_over;
mod growth;
pub mod lanes;
mod links;
pub(crate) mod log_file;
mod mounts;
pub mod moved;
mod nuls;
mod observation;
mod observe;
mod owner;
mod parking;
mod patterns;
mod plan;
mod questions;
mod recognise;
pub mod registry;
mod rotated_names;
pub mod scheduler;
mod source;
pub mod survey;
mod sync;
mod tailer;
mod trouble;
pub mod watch;

pub use scheduler::TailerExit;
pub use tailer::Tailer;

use changes::Changes;
use deleted::DeletedFiles;
use descriptor_permits::DescriptorPermits;
use discover::Discovery;
use folder_index::FolderIndex;
use log_file::LogFile;
use patterns::Pattern;
use registry::FileRegistry;
use scheduler::ThreadPressure;
use watch::Watches;

/// What all tailers have in common.
#[derive(Debug)]
pub struct Shared {
    /// Which files are known.
    pub registry: FileRegistry,
    /// Which paths are wanted; another one after the sections have changed.
    pub discovery: Mutex<Arc<Discovery>>,
    /// What tailers are to do in another way.
    pub changes: Changes,
    /// What lies in the folders of the logs.
    pub folders: FolderIndex,
    /// Wakes tailers.
    pub watches: Arc<Watches>,
    /// Read buffers.
    pub pool: Arc<BufferPool>,
    /// Who may hold files open.
    pub descriptors: Arc<DescriptorPermits>,
    /// Whether threads are scarce.
    pub thread_pressure: Arc<ThreadPressure>,
    /// Deleted files that are held open.
    pub deleted: DeletedFiles,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Ship what is there and end (`--once`).
    pub once: bool,
    /// Events are gathered before tailers are woken, so that a tailer that waits needs no thread of its own.
    pub parks_at_once: bool,
}

impl Shared {
    /// Which paths are wanted at present.
    pub fn discovery(&self) -> Arc<Discovery> {
        let discovery = self.discovery.lock();
        discovery.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Other paths are wanted from now on.
    pub fn discover(&self, discovery: Arc<Discovery>) {
        let mut current = self
            .discovery
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *current = discovery;
    }
}

/// Where the last line begins that has no newline yet, or `size`; NULs at the end are not written yet.
fn last_line_start(content: &mut LogFile, size: u64) -> io::Result<u64> {
    let size = nuls::text_end(content, size)?;
    let mut window = vec![0; usize::try_from(size.min(64 << 10)).unwrap_or(0)];
    let start = size - window.len() as u64;
    let count = content.read_at(&mut window, start)?;
    window.truncate(count);
    Ok(
        memchr::memrchr(b'\n', &window).map_or(if start == 0 { 0 } else { size }, |at| {
            start + at as u64 + 1
        }),
    )
}

/// Whether a path is one that a section follows, by its name.
pub fn follows(log: &LogConfig, path: &Path) -> bool {
    let mut paths = log.paths.iter();
    paths.any(|text| Pattern::new(text).is_ok_and(|pattern| pattern.matches_path(path)))
}

/// How often a file is looked at without being asked to: the kernel's events are hints only.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// How often a file is looked at whose NULs may be overwritten, which no event tells.
const OVERWRITE_INTERVAL: Duration = Duration::from_secs(1);
/// How often a tailer with a descriptor permit sees whether others wait for one.
const PERMIT_INTERVAL: Duration = Duration::from_millis(200);
/// How often a file is looked at that has no watch.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
