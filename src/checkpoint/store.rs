//! The checkpoints file and the lock of the state folder.
//!
//! The file is a log of text lines, so that a person can read it: what was known when it was begun, then what
//! changed since, line by line (`format` has the lines). A write adds what moved. When the file has become twice
//! as long as it was, a new generation takes over (`append_log` tells how, and what a crash can leave).
//!
//! Of a file that is not whole, what a crash can have done to it, which is nothing but to tear what was not synced,
//! is left out with one warning. Anything else was not done by this program, and is reported, never repaired in
//! silence (`read`).

mod append_log;
mod format;
mod read;

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{FlockOperation, flock};
use rustix::process::geteuid;
use thiserror::Error;

pub use self::append_log::Entry;
use self::append_log::Folder;
use self::append_log::{FILE, Log};
use self::format::{OLDEST, VERSION};
use crate::progress::{Checkpoint, Saved};
use crate::users::user_name;

/// Why the state folder cannot be used.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The folder cannot be made or written.
    #[error(
        "state folder '{}' cannot be made or written: {error}\n{}",
        path.display(), writable(path, error)
    )]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Another process has it.
    #[error("state folder '{}' is in use by {holder}\nstop that agent first, or give this one its own [agent] state_dir", path.display())]
    Locked {
        /// The folder.
        path: PathBuf,
        /// Who.
        holder: String,
    },
    /// The checkpoints file cannot be read.
    #[error("checkpoints file '{}': {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The checkpoints file was written by another version of this program.
    #[error(
        "checkpoints file '{0}' has format version '{version}', and this program reads versions {OLDEST} to {VERSION}\n\
         to go on, start the program that wrote it\n\
         to forget all positions and start as [log:NAME] start_at says:  rm '{0}'",
        path.display()
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: String,
    },
    /// The checkpoints file is not what was written.
    #[error(
        "checkpoints file '{0}' is damaged: {reason}\n{1}\
         to go on from the positions it began with:  mv '{0}.prev' '{0}'\n\
         to forget all positions and start as [log:NAME] start_at says:  rm '{0}'",
        path.display(), cut(path, *whole_until)
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
        /// Up to this offset it can be gone on from.
        whole_until: Option<usize>,
    },
}

/// What to do about a folder that cannot be written. One that is there has positions, so it is to be kept.
fn writable(path: &Path, error: &io::Error) -> String {
    let is_denied = error.kind() == io::ErrorKind::PermissionDenied;
    match std::fs::metadata(path) {
        Ok(stat) if is_denied && stat.uid() != geteuid().as_raw() => format!(
            "it belongs to {0}, and the agent runs as {1}: run it as {0}, or give the folder away:  chown -R {1} '{2}'",
            user_name(stat.uid()),
            user_name(geteuid().as_raw()),
            path.display()
        ),
        _ => "set [agent] state_dir to a folder that the agent's user may write".to_owned(),
    }
}

impl StoreError {
    /// Whether the next start would meet it again, until a person has done something. Another agent may be the one
    /// that is just stopping.
    pub fn needs_a_person(&self) -> bool {
        match self {
            StoreError::Damaged { .. } | StoreError::Version { .. } => true,
            StoreError::Folder { error, .. } | StoreError::Unreadable { error, .. } => matches!(
                error.kind(),
                io::ErrorKind::PermissionDenied
                    | io::ErrorKind::ReadOnlyFilesystem
                    // A file lies at its path or above, or it is in a place such as /proc.
                    | io::ErrorKind::NotADirectory
                    | io::ErrorKind::AlreadyExists
                    | io::ErrorKind::NotFound
            ),
            StoreError::Locked { .. } => false,
        }
    }
}

/// The state folder, locked for this process.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    log: Log<Folder>,
    /// Holds the lock as long as the store lives.
    lock: Arc<File>,
    was_cut_off: bool,
}

/// Says in the lock that an agent runs. If it is not cleared, the next agent finds that this one was cut off.
#[derive(Debug)]
pub struct RunMark(Arc<File>);

impl RunMark {
    /// The agent runs.
    pub fn set(&self) {
        self.write(RUNS);
    }

    /// The agent has come to its end, and all positions are written.
    pub fn clear(self) {
        self.write("");
    }

    fn write(&self, word: &str) {
        if let Err(error) = write_lock(&self.0, word) {
            log::debug!("the lock of the state folder: {error}");
        }
    }
}

impl Store {
    /// Makes the folder (mode 0700) if need be and locks it.
    pub fn open(folder: &Path) -> Result<Store, StoreError> {
        let failed = |error| StoreError::Folder {
            path: folder.to_owned(),
            error,
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(failed)?;
        let lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(folder.join("lock"))
            .map_err(failed)?;
        let locked = flock(&lock, FlockOperation::NonBlockingLockExclusive);
        let mut before = String::new();
        let _ = (&lock).read_to_string(&mut before);
        if let Err(error) = locked {
            if error != rustix::io::Errno::WOULDBLOCK {
                return Err(failed(error.into()));
            }
            return Err(StoreError::Locked {
                path: folder.to_owned(),
                holder: holder(&before),
            });
        }
        let was_cut_off = before.split_whitespace().nth(1) == Some(RUNS);
        // Who only sets a position leaves it to the next agent to say.
        let word = if was_cut_off { RUNS } else { "" };
        write_lock(&lock, word).map_err(failed)?;
        Ok(Store {
            folder: folder.to_owned(),
            log: Log::new(Folder::new(folder)),
            lock: Arc::new(lock),
            was_cut_off,
        })
    }

    /// Whether the agent that had the folder last did not come to its end: it was killed, or the host lost power.
    pub fn was_cut_off(&self) -> bool {
        self.was_cut_off
    }

    /// When positions were written last.
    pub fn last_written(&self) -> Option<SystemTime> {
        let metadata = std::fs::metadata(self.folder.join(FILE)).ok()?;
        metadata.modified().ok()
    }

    /// To be set by an agent, and cleared at its end.
    pub fn run_mark(&self) -> RunMark {
        RunMark(self.lock.clone())
    }

    /// What the last write left; empty if there never was one.
    pub fn load(&self) -> Result<Saved, StoreError> {
        load(&self.folder)
    }

    /// Whether there is a generation that [`Store::append`] adds to.
    pub fn can_append(&self) -> bool {
        self.log.can_append()
    }

    /// Whether the next write should be a [`Store::begin`].
    pub fn is_full(&self) -> bool {
        self.log.is_full()
    }

    /// Whether all that was written survives a power cut.
    pub fn is_synced(&self) -> bool {
        self.log.is_synced()
    }

    /// Begins the file anew with `checkpoints`, of files of `sections`; when this returns, they survive a power cut.
    pub fn begin<'a>(
        &mut self,
        sections: &[String],
        checkpoints: impl Iterator<Item = &'a Checkpoint>,
    ) -> io::Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let begun_ns = now.map_or(0, |since| since.as_nanos() as u64);
        self.log.begin(begun_ns, sections, checkpoints)
    }

    /// Adds what changed; when this returns, it survives the process.
    pub fn append<'a>(&mut self, entries: impl Iterator<Item = Entry<'a>>) -> io::Result<()> {
        self.log.append(entries)
    }

    /// When this returns, all that was added survives a power cut.
    pub fn sync(&mut self) -> io::Result<()> {
        self.log.sync()
    }
}

/// Writes into the lock who has it. It is never empty in between, so that a full disk leaves it its place.
fn write_lock(lock: &File, word: &str) -> io::Result<()> {
    let text = format!("{} {word}", std::process::id());
    let text = format!("{}\n", text.trim_end());
    lock.write_all_at(text.as_bytes(), 0)?;
    lock.set_len(text.len() as u64)
}

/// The process that has the lock, by what it has written there.
pub fn holder(lock: &str) -> String {
    match lock.split_whitespace().next() {
        None => "another process".to_owned(),
        Some(pid) => format!("process {pid}"),
    }
}

/// Reads the checkpoints in `folder` without locking it; none if there are none.
pub fn load(folder: &Path) -> Result<Saved, StoreError> {
    let path = folder.join(FILE);
    let mut text = Vec::new();
    match File::open(&path).and_then(|mut file| file.read_to_end(&mut text)) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Saved {
                sections: Some(Vec::new()),
                ..Saved::default()
            });
        }
        Err(error) => return Err(StoreError::Unreadable { path, error }),
    }
    if let Some(version) = read::other_version(&text) {
        let version = version.to_owned();
        return Err(StoreError::Version { path, version });
    }
    match read::parse(&text) {
        Ok(read) => {
            if read.cut_bytes > 0 {
                log::warn!(
                    "checkpoints file '{}': the last write was cut off by a crash; {} bytes of it are left out",
                    path.display(),
                    read.cut_bytes
                );
            }
            Ok(read.saved)
        }
        Err(damage) => Err(StoreError::Damaged {
            path,
            reason: damage.reason,
            whole_until: damage.whole_until,
        }),
    }
}

/// A checkpoint as a line, without its checksum.
pub(super) fn line_of(checkpoint: &Checkpoint) -> String {
    let mut line = String::new();
    format::write_source(&mut line, checkpoint, &[]);
    line
}

/// What [`line_of`] has written.
pub(super) fn checkpoint_of(line: &[u8]) -> Option<Checkpoint> {
    let line = std::str::from_utf8(line).ok()?;
    match format::parse_line(line, format::Version::Four)? {
        format::Line::Source(checkpoint, _) => Some(checkpoint),
        _ => None,
    }
}

/// The way out that keeps the most.
fn cut(path: &Path, whole_until: Option<usize>) -> String {
    whole_until.map_or_else(String::new, |bytes| {
        let path = path.display();
        format!("to go on from what comes before that:  truncate -s {bytes} '{path}'\n")
    })
}

/// For the fuzzer: what is read of bytes that are written anew after they are read.
pub(crate) mod fuzz {
    use super::append_log::render;
    use super::format::{Place, TITLE, VERSION};
    pub(crate) use super::read::parse;
    use crate::progress::Saved;

    /// A file that holds what was `saved`.
    pub(crate) fn written(saved: &Saved) -> Vec<u8> {
        let mut text = Vec::new();
        let sections = saved.sections.as_deref().unwrap_or_default();
        let write = |piece: &str| {
            text.extend_from_slice(piece.as_bytes());
            Ok(())
        };
        render(7, sections, saved.checkpoints.iter(), write).expect("memory takes everything");
        text
    }

    /// A file of these lines, each with its checksum, between which `end` gets the count that it needs.
    pub(crate) fn sealed(lines: &str) -> Vec<u8> {
        let mut text = format!("{TITLE}{VERSION}\n");
        let offset = text.len() as u64;
        let mut place = Place {
            generation: 7,
            offset,
        };
        let mut count = 0;
        for line in ["generation 7"].into_iter().chain(lines.lines()) {
            let from = text.len();
            text.push_str(line);
            match line {
                "end" => text.push_str(&format!(" {count}")),
                _ if line.starts_with(|first: char| first.is_ascii_digit()) => count += 1,
                _ => {}
            }
            place.seal(&mut text, from);
        }
        text.into_bytes()
    }
}

/// Stands in the lock behind the number of the process while an agent runs.
const RUNS: &str = "runs";

#[cfg(test)]
mod tests;
