//! The checkpoints file and the lock of the state folder.
//!
//! The file is text, one line per source, so that a person can read it:
//! ```text
//! logagent checkpoints 2
//! OFFSET SIZE TRACE_LEN TRACE_CRC DEVICE INODE BORN_NS FP_LEN FP_HASH STATE SERIAL MODIFIED_NS PATH
//! ...
//! end COUNT CRC
//! ```
//! Numbers are decimal, `TRACE_CRC`, `FP_HASH` and `CRC` hexadecimal; `STATE` is `open` or `finished`;
//! `PATH` has bytes outside of printable ASCII, and `%`, as `%XX`. `CRC` is the CRC32C of everything
//! before the last line, `COUNT` the number of sources. Version 1 had no `SIZE`; it is still read.
//!
//! A write goes to `checkpoints.new`, which is synced, then the present file gets the second name
//! `checkpoints.prev`, then the new one is renamed over `checkpoints`, then the folder is synced. A
//! crash at any point leaves a whole `checkpoints`, the old or the new one. Anything else than a
//! whole file was not done by this program, and is reported, never repaired in silence.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, Write as _};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use thiserror::Error;

use crate::batch::{Checkpoint, Trace};
use crate::identity::{Fingerprint, Identity, Inode};

/// Why the state folder cannot be used.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The folder cannot be made or written.
    #[error(
        "state folder '{}' cannot be made or written: {error}\n\
         set [agent] state_dir to a folder that the agent's user may write",
        path.display()
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
        "checkpoints file '{0}' is damaged: {reason}\n\
         to go on from the write before it:  mv '{0}.prev' '{0}'\n\
         to forget all positions and start as [log:NAME] start_at says:  rm '{0}'",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// The state folder, locked for this process.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    /// Holds the lock as long as the store lives.
    _lock: File,
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
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(folder.join("lock"))
            .map_err(failed)?;
        if let Err(error) = flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            if error != rustix::io::Errno::WOULDBLOCK {
                return Err(failed(error.into()));
            }
            let mut holder = String::new();
            let _ = lock.read_to_string(&mut holder);
            let holder = match holder.trim() {
                "" => "another process".to_owned(),
                pid => format!("process {pid}"),
            };
            return Err(StoreError::Locked {
                path: folder.to_owned(),
                holder,
            });
        }
        lock.set_len(0).map_err(failed)?;
        lock.rewind().map_err(failed)?;
        lock.write_all(format!("{}\n", std::process::id()).as_bytes())
            .map_err(failed)?;
        Ok(Store {
            folder: folder.to_owned(),
            _lock: lock,
        })
    }

    /// The checkpoints of the last write; none if there never was one.
    pub fn load(&self) -> Result<Vec<Checkpoint>, StoreError> {
        load(&self.folder)
    }

    /// Replaces the file by `checkpoints`; when this returns, they survive a power cut.
    pub fn save<'a>(&self, checkpoints: impl Iterator<Item = &'a Checkpoint>) -> io::Result<()> {
        let path = self.folder.join(FILE);
        let new = self.folder.join(format!("{FILE}.new"));
        let previous = self.folder.join(format!("{FILE}.prev"));
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(render(checkpoints).as_bytes())?;
        file.sync_all()?;
        remove_if_there(&previous)?;
        match std::fs::hard_link(&path, &previous) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // Some file systems have no hard links; the file before the last is a convenience only.
            Err(error) if matches!(error.raw_os_error(), Some(1 | 95)) => {}
            Err(error) => return Err(error),
        }
        std::fs::rename(&new, &path)?;
        File::open(&self.folder)?.sync_all()
    }
}

/// Reads the checkpoints in `folder` without locking it; none if there are none.
pub fn load(folder: &Path) -> Result<Vec<Checkpoint>, StoreError> {
    let path = folder.join(FILE);
    let mut text = Vec::new();
    match File::open(&path).and_then(|mut file| file.read_to_end(&mut text)) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StoreError::Unreadable { path, error }),
    }
    match version_of(&text) {
        None | Some(OLDEST | VERSION) => {
            parse(&text).map_err(|reason| StoreError::Damaged { path, reason })
        }
        Some(other) => Err(StoreError::Version {
            path,
            version: other.to_owned(),
        }),
    }
}

/// The format version that the first line names, if it is a first line of ours.
fn version_of(text: &[u8]) -> Option<&str> {
    let line = text.split(|&byte| byte == b'\n').next()?;
    let version = std::str::from_utf8(line).ok()?.strip_prefix(TITLE)?;
    let is_number = !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then_some(version)
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

pub(crate) fn render<'a>(checkpoints: impl Iterator<Item = &'a Checkpoint>) -> String {
    let mut text = format!("{TITLE}{VERSION}\n");
    let mut count = 0;
    for c in checkpoints {
        count += 1;
        let Checkpoint {
            offset,
            size,
            trace,
            identity,
            serial,
            modified_ns,
            ..
        } = c;
        let Identity {
            inode: Inode { device, inode },
            born_ns,
            fingerprint,
        } = identity;
        let state = if c.finished { "finished" } else { "open" };
        let _ = writeln!(
            text,
            "{offset} {size} {} {:08x} {device} {inode} {born_ns} {} {:016x} {state} {serial} {modified_ns} {}",
            trace.len,
            trace.crc,
            fingerprint.len,
            fingerprint.hash,
            escape(c.path.as_os_str().as_bytes())
        );
    }
    let crc = crc32c::crc32c(text.as_bytes());
    let _ = writeln!(text, "end {count} {crc:08x}");
    text
}

pub(crate) fn parse(text: &[u8]) -> Result<Vec<Checkpoint>, String> {
    if text.is_empty() {
        return Err("it is empty".into());
    }
    let text =
        std::str::from_utf8(text).map_err(|e| format!("byte {} is not text", e.valid_up_to()))?;
    let header = text.lines().next().unwrap_or_default();
    let version = header.strip_prefix(TITLE);
    if !matches!(version, Some(OLDEST | VERSION)) {
        return Err(format!(
            "it begins with '{}', not '{TITLE}{VERSION}'",
            header.escape_debug()
        ));
    }
    let whole = text.strip_suffix('\n').ok_or("its end is missing")?;
    let (_, last) = whole.rsplit_once('\n').ok_or("its end is missing")?;
    let body = &text[..text.len() - last.len() - 1];
    let (count, crc) = match last.split(' ').collect::<Vec<_>>()[..] {
        ["end", count, crc] => (count, crc),
        _ => return Err("its end is missing".into()),
    };
    if format!("{:08x}", crc32c::crc32c(body.as_bytes())) != crc {
        return Err("its checksum does not match".into());
    }
    let checkpoints: Vec<Checkpoint> = body
        .lines()
        .enumerate()
        .skip(1)
        .map(|(at, line)| {
            let checkpoint = parse_line(line, version != Some(OLDEST));
            checkpoint.ok_or_else(|| format!("line {} is not a checkpoint", at + 1))
        })
        .collect::<Result<_, _>>()?;
    if checkpoints.len().to_string() != count {
        return Err(format!(
            "it holds {} sources, not {count}",
            checkpoints.len()
        ));
    }
    Ok(checkpoints)
}

fn parse_line(line: &str, has_size: bool) -> Option<Checkpoint> {
    let mut fields = line.splitn(if has_size { 13 } else { 12 }, ' ');
    let mut next = || fields.next();
    let offset = next()?.parse().ok()?;
    let size: u64 = match has_size {
        true => next()?.parse().ok()?,
        false => offset,
    };
    Some(Checkpoint {
        offset,
        size: size.max(offset),
        trace: Trace {
            len: next()?.parse().ok()?,
            crc: u32::from_str_radix(next()?, 16).ok()?,
        },
        identity: Identity {
            inode: Inode {
                device: next()?.parse().ok()?,
                inode: next()?.parse().ok()?,
            },
            born_ns: next()?.parse().ok()?,
            fingerprint: Fingerprint {
                len: next()?.parse().ok()?,
                hash: u64::from_str_radix(next()?, 16).ok()?,
            },
        },
        finished: match next()? {
            "open" => false,
            "finished" => true,
            _ => return None,
        },
        serial: next()?.parse().ok()?,
        modified_ns: next()?.parse().ok()?,
        path: Path::new(OsStr::from_bytes(&unescape(next()?)?)).into(),
    })
}

fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        if (0x20..0x7f).contains(&byte) && byte != b'%' {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes().iter();
    while let Some(&byte) = rest.next() {
        if byte == b'%' {
            let digits = [*rest.next()?, *rest.next()?];
            bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    Some(bytes)
}

const FILE: &str = "checkpoints";
pub(crate) const TITLE: &str = "logagent checkpoints ";
pub(crate) const VERSION: &str = "2";
/// The oldest version that is still read.
pub(crate) const OLDEST: &str = "1";

#[cfg(test)]
mod tests;
