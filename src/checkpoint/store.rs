//! The checkpoints file and the lock of the state folder.
//!
//! The file is text, one line per source, so that a person can read it:
//! ```text
//! logagent checkpoints 1
//! OFFSET TRACE_LEN TRACE_CRC DEVICE INODE BORN_NS FP_LEN FP_HASH STATE SERIAL MODIFIED_NS PATH
//! ...
//! end COUNT CRC
//! ```
//! Numbers are decimal, `TRACE_CRC`, `FP_HASH` and `CRC` hexadecimal; `STATE` is `open` or `finished`;
//! `PATH` has bytes outside of printable ASCII, and `%`, as `%XX`. `CRC` is the CRC32C of everything
//! before the last line, `COUNT` the number of sources.
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
        "checkpoints file '{0}' has format version '{version}', and this program reads version {VERSION}\n\
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
        // Later versions are read here too, each by a function of its own.
        None | Some(VERSION) => parse(&text).map_err(|reason| StoreError::Damaged { path, reason }),
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
            "{offset} {} {:08x} {device} {inode} {born_ns} {} {:016x} {state} {serial} {modified_ns} {}",
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
    if header.strip_prefix(TITLE) != Some(VERSION) {
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
            parse_line(line).ok_or_else(|| format!("line {} is not a checkpoint", at + 1))
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

fn parse_line(line: &str) -> Option<Checkpoint> {
    let mut fields = line.splitn(12, ' ');
    let mut next = || fields.next();
    Some(Checkpoint {
        offset: next()?.parse().ok()?,
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
pub(crate) const VERSION: &str = "1";

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn checkpoint(serial: u64, path: &[u8]) -> Checkpoint {
        Checkpoint {
            path: Path::new(OsStr::from_bytes(path)).into(),
            identity: Identity {
                inode: Inode {
                    device: 66305,
                    inode: 12 + serial,
                },
                born_ns: 1_750_000_000_123_456_789,
                fingerprint: Fingerprint::of(path),
            },
            offset: u64::MAX - serial,
            trace: Trace::of(path),
            finished: serial % 2 == 1,
            serial,
            modified_ns: -5,
        }
    }

    fn some() -> Vec<Checkpoint> {
        vec![
            checkpoint(1, b"/var/log/a b.log"),
            checkpoint(2, b"/odd/%41\n\xff\xc3\xa4 \t.log"),
            checkpoint(3, b"/"),
        ]
    }

    #[test]
    fn what_is_saved_is_loaded_again() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = Store::open(folder.path()).expect("opens");
        assert_eq!(store.load().expect("loads"), vec![]);
        store.save(some().iter()).expect("saves");
        assert_eq!(store.load().expect("loads"), some());
        store.save(some()[..1].iter()).expect("saves");
        assert_eq!(store.load().expect("loads"), some()[..1]);
        let mode = |name: &str| {
            folder
                .path()
                .join(name)
                .metadata()
                .expect("is there")
                .permissions()
                .mode()
                & 0o777
        };
        assert_eq!((mode("checkpoints"), mode("lock")), (0o600, 0o600));
    }

    #[test]
    fn a_new_state_folder_is_private() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let inner = folder.path().join("a/b");
        Store::open(&inner).expect("opens");
        assert_eq!(
            inner.metadata().expect("is there").permissions().mode() & 0o777,
            0o700
        );
    }

    #[test]
    fn every_cut_and_every_flipped_byte_is_noticed() {
        let whole = render(some().iter()).into_bytes();
        assert_eq!(parse(&whole).expect("whole"), some());
        for cut in 0..whole.len() {
            assert!(parse(&whole[..cut]).is_err(), "cut at {cut}");
        }
        for at in 0..whole.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut damaged = whole.clone();
                damaged[at] ^= flip;
                assert!(parse(&damaged).is_err(), "byte {at} flipped by {flip}");
            }
        }
        assert!(parse(&vec![0; whole.len()]).is_err(), "zeroed");
        assert!(parse(&[whole.clone(), whole].concat()).is_err(), "doubled");
    }

    #[test]
    fn the_error_names_the_file_and_the_way_out() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = Store::open(folder.path()).expect("opens");
        std::fs::write(
            folder.path().join("checkpoints"),
            "logagent checkpoints 1\nend 1 00000000\n",
        )
        .expect("writes");
        let error = store.load().expect_err("is damaged").to_string();
        assert!(
            error.contains("checkpoints' is damaged: its checksum does not match\n"),
            "{error}"
        );
        assert!(error.contains("mv '"), "{error}");
    }

    /// Calls `check` in a folder with these files: name and bytes.
    fn with_files(files: &[(&str, &[u8])], check: impl FnOnce(&Store)) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for (name, bytes) in files {
            std::fs::write(folder.path().join(name), bytes).expect("writes");
        }
        check(&Store::open(folder.path()).expect("opens"));
    }

    #[test]
    fn a_crash_at_any_point_of_a_write_leaves_the_old_or_the_new_checkpoints() {
        let (oldest, old, new) = (&some()[..1], &some()[..2], &some()[..]);
        let [oldest_text, old_text, new_text] =
            [oldest, old, new].map(|some| render(some.iter()).into_bytes());
        // What `checkpoints.new` may hold before it is synced: any part of it, with any length.
        let mut unsynced: Vec<Vec<u8>> = (0..=new_text.len())
            .map(|len| new_text[..len].to_vec())
            .collect();
        for len in [1, 17, 512, 4096, new_text.len()] {
            unsynced.push(vec![0; len]);
            unsynced.push(vec![0xa5; len]);
            let mut half = new_text.clone();
            half.resize(half.len().max(len), 0);
            half[len.min(new_text.len()) / 2..].fill(0);
            unsynced.push(half);
        }
        let mut states = 0;
        let mut expect = |files: &[(&str, &[u8])], expected: &[Checkpoint]| {
            states += 1;
            with_files(files, |store| {
                let names: Vec<_> = files.iter().map(|(name, _)| name).collect();
                assert_eq!(store.load().expect("loads"), expected, "{names:?}");
                // What was left over is in nobody's way. (A write is slow: not for every state.)
                if states % 16 == 1 {
                    store.save(new.iter()).expect("saves");
                    assert_eq!(store.load().expect("loads"), new, "{names:?}");
                }
            });
        };
        // The first write ever: before the rename, and after it.
        for new_file in &unsynced {
            expect(&[("checkpoints.new", new_file)], &[]);
        }
        expect(&[("checkpoints", &new_text)], new);
        for prev in [None, Some(&oldest_text)] {
            let prev = || prev.map(|text| ("checkpoints.prev", &text[..]));
            for new_file in &unsynced {
                let mut files: Vec<(&str, &[u8])> = prev().into_iter().collect();
                files.push(("checkpoints", &old_text));
                files.push(("checkpoints.new", new_file));
                expect(&files, old);
            }
        }
        // Synced, `prev` unlinked, linked anew, and the rename not yet, or done.
        let synced = ("checkpoints.new", &new_text[..]);
        expect(&[("checkpoints", &old_text), synced], old);
        let linked = ("checkpoints.prev", &old_text[..]);
        expect(&[("checkpoints", &old_text), linked, synced], old);
        expect(&[("checkpoints", &new_text), linked], new);
        expect(&[("checkpoints", &new_text)], new);
        // The folder was not synced: the rename is there and the link is not, or the other way round.
        let before = ("checkpoints.prev", &oldest_text[..]);
        expect(&[("checkpoints", &new_text), before], new);
        expect(&[("checkpoints", &new_text), before, synced], new);
        println!("{states} states");
    }

    #[test]
    fn a_damaged_main_file_is_an_error_that_names_it_whatever_lies_beside_it() {
        let (old, new) = (render(some()[..1].iter()), render(some().iter()));
        let mut flipped = new.clone().into_bytes();
        flipped[40] ^= 1;
        let cut = &new.as_bytes()[..new.len() - 3];
        let zeroed = vec![0; new.len()];
        for bytes in [&flipped[..], cut, &zeroed, b""] {
            let files = [
                ("checkpoints", bytes),
                ("checkpoints.prev", old.as_bytes()),
                ("checkpoints.new", new.as_bytes()),
            ];
            with_files(&files, |store| {
                let error = store.load().expect_err("is damaged").to_string();
                assert!(error.contains("/checkpoints' is damaged: "), "{error}");
                assert!(error.contains("mv '") && error.contains("rm '"), "{error}");
            });
        }
    }

    #[test]
    fn another_format_version_is_an_error_that_names_it() {
        let later = render(some().iter()).replace("checkpoints 1\n", "checkpoints 2\n");
        with_files(&[("checkpoints", later.as_bytes())], |store| {
            let error = store.load().expect_err("is not known").to_string();
            let words = "has format version '2', and this program reads version 1\n";
            assert!(error.contains(words), "{error}");
            assert!(error.contains("rm '"), "{error}");
        });
        let first = "logagent checkpoints 1\nend 0 ";
        let crc = crc32c::crc32c(b"logagent checkpoints 1\n");
        with_files(
            &[("checkpoints", format!("{first}{crc:08x}\n").as_bytes())],
            |store| {
                assert_eq!(store.load().expect("version 1 is read"), vec![]);
            },
        );
    }

    #[test]
    fn a_second_opening_names_the_holder() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let _first = Store::open(folder.path()).expect("opens");
        let error = Store::open(folder.path())
            .expect_err("is locked")
            .to_string();
        assert!(
            error.contains(&format!("in use by process {}", std::process::id())),
            "{error}"
        );
    }

    #[test]
    fn a_hundred_thousand_sources_come_back() {
        let many: Vec<_> = (0..100_000)
            .map(|n| checkpoint(n, format!("/var/log/app-{n}.log").as_bytes()))
            .collect();
        let text = render(many.iter());
        with_files(&[("checkpoints", text.as_bytes())], |store| {
            let started = std::time::Instant::now();
            let loaded = store.load().expect("loads");
            println!("100,000 sources are loaded in {:?}", started.elapsed());
            assert_eq!(loaded, many);
        });
    }
}
