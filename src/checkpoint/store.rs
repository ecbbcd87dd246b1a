//! The checkpoints file and the lock of the state folder.
//!
//! The file is text, one line per source, so that a person can read it:
//! ```text
//! logagent checkpoints 3
//! section NAME
//! ...
//! OFFSET SIZE TRACE_LEN TRACE_CRC DEVICE INODE BORN_NS FP_LEN FP_HASH FP_STEPS STATE SERIAL MODIFIED_NS MARKS PATH
//! ...
//! end COUNT CRC
//! ```
//! `section` lines name the `[log:NAME]` sections whose files were looked for before. Numbers are decimal,
//! `TRACE_CRC`, `FP_HASH`, `FP_STEPS` and `CRC` hexadecimal; `FP_STEPS` are two digits each, or `-`; `STATE`
//! is `open`, `finished` or `skipped`; `MARKS` are `OFFSET:LEN:CRC` with commas between them, or `-`; `NAME` and
//! `PATH` have bytes outside of printable ASCII, and `%`, as `%XX`. `CRC` is the CRC32C of everything before the
//! last line, `COUNT` the number of sources. Version 1 had no `SIZE`, and 2 no `section`, `FP_STEPS`, `skipped`
//! and `MARKS`; both are still read.
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

use crate::batch::Trace;
use crate::identity::{Fingerprint, Identity, Inode};
use crate::progress::{Checkpoint, Mark, Marks, Saved, SourceState};

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

    /// What the last write left; empty if there never was one.
    pub fn load(&self) -> Result<Saved, StoreError> {
        load(&self.folder)
    }

    /// Replaces the file by `checkpoints`, of files of `sections`; when this returns, they survive a power cut.
    pub fn save<'a>(
        &self,
        sections: &[String],
        checkpoints: impl Iterator<Item = &'a Checkpoint>,
    ) -> io::Result<()> {
        let path = self.folder.join(FILE);
        let new = self.folder.join(format!("{FILE}.new"));
        let previous = self.folder.join(format!("{FILE}.prev"));
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(render(sections, checkpoints).as_bytes())?;
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
pub fn load(folder: &Path) -> Result<Saved, StoreError> {
    let path = folder.join(FILE);
    let mut text = Vec::new();
    match File::open(&path).and_then(|mut file| file.read_to_end(&mut text)) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Saved {
                sections: Some(Vec::new()),
                checkpoints: Vec::new(),
            });
        }
        Err(error) => return Err(StoreError::Unreadable { path, error }),
    }
    match version_of(&text) {
        None | Some(OLDEST | OLDER | VERSION) => {
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

pub(crate) fn render<'a>(
    sections: &[String],
    checkpoints: impl Iterator<Item = &'a Checkpoint>,
) -> String {
    let mut text = format!("{TITLE}{VERSION}\n");
    for name in sections {
        let _ = writeln!(text, "{SECTION}{}", escape(name.as_bytes()));
    }
    let mut count = 0;
    for checkpoint in checkpoints {
        count += 1;
        render_line(&mut text, checkpoint);
    }
    let crc = crc32c::crc32c(text.as_bytes());
    let _ = writeln!(text, "end {count} {crc:08x}");
    text
}

fn render_line(text: &mut String, checkpoint: &Checkpoint) {
    let Checkpoint {
        path,
        identity,
        offset,
        size,
        trace,
        marks,
        state,
        serial,
        modified_ns,
    } = checkpoint;
    let Identity {
        inode: Inode { device, inode },
        born_ns,
        fingerprint,
    } = identity;
    let _ = write!(
        text,
        "{offset} {size} {} {:08x} {device} {inode} {born_ns} {} {:016x} ",
        trace.len, trace.crc, fingerprint.len, fingerprint.hash,
    );
    // Of long content no copy is so short that they are wanted.
    let known = match *offset < SHORT_BYTES {
        true => fingerprint
            .steps
            .iter()
            .take_while(|step| **step != 0)
            .count(),
        false => 0,
    };
    if known == 0 {
        text.push('-');
    }
    for step in &fingerprint.steps[..known] {
        let _ = write!(text, "{step:02x}");
    }
    let state = match state {
        SourceState::Open => "open",
        SourceState::Finished => "finished",
        SourceState::Skipped => "skipped",
    };
    let _ = write!(text, " {state} {serial} {modified_ns} ");
    if marks.iter().len() == 0 {
        text.push('-');
    }
    for (n, Mark { offset, trace }) in marks.iter().enumerate() {
        let comma = if n > 0 { "," } else { "" };
        let _ = write!(text, "{comma}{offset}:{}:{:x}", trace.len, trace.crc);
    }
    let _ = writeln!(text, " {}", escape(path.as_os_str().as_bytes()));
}

pub(crate) fn parse(text: &[u8]) -> Result<Saved, String> {
    if text.is_empty() {
        return Err("it is empty".into());
    }
    let text =
        std::str::from_utf8(text).map_err(|e| format!("byte {} is not text", e.valid_up_to()))?;
    let header = text.lines().next().unwrap_or_default();
    let version = match header.strip_prefix(TITLE) {
        Some(OLDEST) => Version::One,
        Some(OLDER) => Version::Two,
        Some(VERSION) => Version::Three,
        _ => {
            return Err(format!(
                "it begins with '{}', not '{TITLE}{VERSION}'",
                header.escape_debug()
            ));
        }
    };
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
    let mut sections = Vec::new();
    let mut checkpoints = Vec::new();
    for (at, line) in body.lines().enumerate().skip(1) {
        let name = line
            .strip_prefix(SECTION)
            .filter(|_| version == Version::Three);
        let read = match name {
            Some(name) => unescape(name)
                .and_then(|name| String::from_utf8(name).ok())
                .map(|name| sections.push(name)),
            None => parse_line(line, version).map(|checkpoint| checkpoints.push(checkpoint)),
        };
        read.ok_or_else(|| format!("line {} is not a checkpoint", at + 1))?;
    }
    if checkpoints.len().to_string() != count {
        return Err(format!(
            "it holds {} sources, not {count}",
            checkpoints.len()
        ));
    }
    Ok(Saved {
        sections: (version == Version::Three).then_some(sections),
        checkpoints,
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Version {
    One,
    Two,
    Three,
}

fn parse_line(line: &str, version: Version) -> Option<Checkpoint> {
    let count = match version {
        Version::One => 12,
        Version::Two => 13,
        Version::Three => 15,
    };
    let mut fields = line.splitn(count, ' ');
    let mut next = || fields.next();
    let offset = next()?.parse().ok()?;
    let size: u64 = match version {
        Version::One => offset,
        _ => next()?.parse().ok()?,
    };
    let trace = Trace {
        len: next()?.parse().ok()?,
        crc: u32::from_str_radix(next()?, 16).ok()?,
    };
    let inode = Inode {
        device: next()?.parse().ok()?,
        inode: next()?.parse().ok()?,
    };
    let born_ns = next()?.parse().ok()?;
    let mut fingerprint = Fingerprint {
        len: next()?.parse().ok()?,
        hash: u64::from_str_radix(next()?, 16).ok()?,
        steps: [0; Fingerprint::STEPS.len()],
    };
    if version == Version::Three {
        parse_steps(next()?, &mut fingerprint.steps)?;
    }
    let state = match next()? {
        "open" => SourceState::Open,
        "finished" => SourceState::Finished,
        "skipped" if version == Version::Three => SourceState::Skipped,
        _ => return None,
    };
    Some(Checkpoint {
        offset,
        size: size.max(offset),
        trace,
        identity: Identity {
            inode,
            born_ns,
            fingerprint,
        },
        state,
        serial: next()?.parse().ok()?,
        modified_ns: next()?.parse().ok()?,
        marks: match version {
            Version::Three => parse_marks(next()?)?,
            _ => Marks::default(),
        },
        path: Path::new(OsStr::from_bytes(&unescape(next()?)?)).into(),
    })
}

fn parse_steps(text: &str, steps: &mut [u8]) -> Option<()> {
    if text == "-" {
        return Some(());
    }
    let pairs = text.as_bytes().chunks(2);
    if pairs.len() > steps.len() {
        return None;
    }
    for (step, pair) in steps.iter_mut().zip(pairs) {
        *step = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        if *step == 0 || pair.len() != 2 {
            return None;
        }
    }
    Some(())
}

fn parse_marks(text: &str) -> Option<Marks> {
    if text == "-" {
        return Some(Marks::default());
    }
    let mark = |text: &str| {
        let mut fields = text.splitn(3, ':');
        Some(Mark {
            offset: fields.next()?.parse().ok()?,
            trace: Trace {
                len: fields.next()?.parse().ok()?,
                crc: u32::from_str_radix(fields.next()?, 16).ok()?,
            },
        })
    };
    Marks::new(text.split(',').map(mark).collect::<Option<_>>()?)
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
pub(crate) const VERSION: &str = "3";
/// The version before it.
const OLDER: &str = "2";
/// Content of which more is acknowledged is not short.
const SHORT_BYTES: u64 = 1 << 20;
/// What begins the line of a section.
const SECTION: &str = "section ";
/// The oldest version that is still read.
pub(crate) const OLDEST: &str = "1";

#[cfg(test)]
mod tests;
