//! `logagent rewind`: sets the position of one file while no agent runs, so that it is read again, or passed over.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::store::{Store, StoreError};
use crate::batch::TailChecksum;
use crate::command_line::To;
use crate::identity::FileStat;
use crate::progress::{Checkpoint, Marks, SourceState};
use crate::shown::ShownPath;

/// Why a position cannot be set.
#[derive(Debug, thiserror::Error)]
pub enum RewindError {
    /// The state folder cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There are no positions.
    #[error("no positions in '{}'\n    name the ini of the agent with --config FILE", ShownPath(.0))]
    NoPositions(PathBuf),
    /// The file cannot be read.
    #[error("'{}': {error}", ShownPath(path))]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// It has no position.
    #[error("'{}' has no position: the agent has not read this file{}", ShownPath(path), .hint)]
    Unknown {
        /// The file.
        path: PathBuf,
        /// What may be meant.
        hint: String,
    },
    /// The place is none.
    #[error("'{}': {why}", ShownPath(path))]
    Place {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// The positions cannot be written.
    #[error("the positions cannot be written: {0}")]
    Write(io::Error),
}

/// A position that is to be set, and the locked state folder. Shown as what it means.
#[derive(Debug)]
pub struct Rewind {
    store: Store,
    sections: Vec<String>,
    checkpoints: Vec<Checkpoint>,
    /// Which of them.
    at: usize,
    path: PathBuf,
    size: u64,
    asked: To,
    to: u64,
    tail_checksum: TailChecksum,
}

impl Rewind {
    /// Finds the position of the file at `path` in the state folder, which no agent may have.
    pub fn prepare(state_dir: &Path, path: &Path, asked: To) -> Result<Rewind, RewindError> {
        let none = || RewindError::NoPositions(state_dir.to_owned());
        if !state_dir.is_dir() {
            return Err(none());
        }
        let store = Store::open(state_dir)?;
        let saved = store.load()?;
        if saved.checkpoints.is_empty() {
            return Err(none());
        }
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let failed = |error| RewindError::File {
            path: path.clone(),
            error,
        };
        let file = File::open(&path).map_err(failed)?;
        let stat = FileStat::at_path(&path).map_err(failed)?;
        let at = of_file(&saved.checkpoints, &stat).ok_or_else(|| RewindError::Unknown {
            path: path.clone(),
            hint: hint(&saved.checkpoints, &path),
        })?;
        let place = place(&file, stat.size, asked).map_err(failed)?;
        let to = place.map_err(|why| RewindError::Place {
            path: path.clone(),
            why,
        })?;
        let covered = to.min(TailChecksum::MAX_LEN as u64);
        let mut tail = vec![0; usize::try_from(covered).unwrap_or(0)];
        file.read_exact_at(&mut tail, to - covered)
            .map_err(failed)?;
        let tail_checksum = TailChecksum::of(&tail);
        Ok(Rewind {
            store,
            sections: saved.sections.unwrap_or_default(),
            checkpoints: saved.checkpoints,
            at,
            path,
            size: stat.size,
            asked,
            to,
            tail_checksum,
        })
    }

    /// Sets the position; when this returns, it survives a power cut.
    pub fn apply(mut self) -> Result<(), RewindError> {
        let checkpoint = &mut self.checkpoints[self.at];
        let marks = checkpoint.marks.iter().copied();
        let marks = marks.filter(|mark| mark.offset < self.to).collect();
        checkpoint.marks = Marks::new(marks).unwrap_or_default();
        (checkpoint.offset, checkpoint.tail_checksum) = (self.to, self.tail_checksum);
        checkpoint.size = self.size.max(self.to);
        checkpoint.state = SourceState::Open;
        let begun = self.store.begin(&self.sections, self.checkpoints.iter());
        begun.map_err(RewindError::Write)
    }
}

impl fmt::Display for Rewind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, to) = (self.checkpoints[self.at].offset, self.to);
        writeln!(
            f,
            "{}: {} bytes, position {from}",
            ShownPath(&self.path),
            self.size
        )?;
        if let To::Offset(asked) = self.asked
            && asked != to
        {
            writeln!(
                f,
                "  no line begins at {asked}; the next one begins at {to}"
            )?;
        }
        match to.cmp(&from) {
            std::cmp::Ordering::Less => {
                write!(f, "  back to {to}: {} bytes are sent again", from - to)
            }
            std::cmp::Ordering::Equal => write!(f, "  it stays at {to}"),
            std::cmp::Ordering::Greater => {
                write!(f, "  on to {to}: {} bytes are never sent", to - from)
            }
        }
    }
}

/// The position of the file that was looked at, the one that was opened last if there are several.
fn of_file(checkpoints: &[Checkpoint], stat: &FileStat) -> Option<usize> {
    let is_it = |(_, checkpoint): &(usize, &Checkpoint)| {
        let identity = &checkpoint.identity;
        identity.inode == stat.inode && identity.born_ns == stat.born_ns
    };
    let found = checkpoints.iter().enumerate().filter(is_it);
    let latest = found.max_by_key(|(_, checkpoint)| checkpoint.serial);
    latest.map(|(at, _)| at)
}

fn hint(checkpoints: &[Checkpoint], path: &Path) -> String {
    if checkpoints
        .iter()
        .any(|checkpoint| *checkpoint.path == *path)
    {
        return "; it was rotated since, and what lies there now is read from its beginning anyway"
            .to_owned();
    }
    let name = path.file_name();
    let alike = checkpoints.iter().find(|one| one.path.file_name() == name);
    alike.map_or_else(String::new, |one| {
        format!("; did you mean '{}'?", ShownPath(&one.path))
    })
}

/// The offset that is meant, or why there is none.
fn place(file: &File, size: u64, asked: To) -> io::Result<Result<u64, String>> {
    let mut head = [0; 2];
    let count = file.read_at(&mut head, 0)?;
    let head = &head[..count];
    let is_told = HEADS_WITHOUT_LINES.contains(&head) || head.contains(&0);
    if asked != To::Offset(0) && is_told {
        return Ok(Err(
            "it is packed, or 16-bit text: only --to 0 is possible".to_owned()
        ));
    }
    match asked {
        To::Offset(0) => Ok(Ok(0)),
        To::Offset(offset) if offset > size => Ok(Err(format!(
            "it has {size} bytes, there is no offset {offset}"
        ))),
        To::Offset(offset) => {
            let begin = next_newline(file, offset - 1, size)?;
            let none = || format!("no line begins at offset {offset} or behind");
            Ok(begin.map(|at| at + 1).ok_or_else(none))
        }
        To::End => Ok(Ok(last_newline(file, size)?.map_or(0, |at| at + 1))),
    }
}

fn next_newline(file: &File, from: u64, size: u64) -> io::Result<Option<u64>> {
    let mut block = vec![0; BLOCK];
    let mut at = from;
    while at < size {
        let count = file.read_at(&mut block, at)?;
        if count == 0 {
            break;
        }
        if let Some(found) = memchr::memchr(b'\n', &block[..count]) {
            return Ok(Some(at + found as u64));
        }
        at += count as u64;
    }
    Ok(None)
}

fn last_newline(file: &File, size: u64) -> io::Result<Option<u64>> {
    let mut block = vec![0; BLOCK];
    let mut end = size;
    while end > 0 {
        let start = end.saturating_sub(BLOCK as u64);
        let part = &mut block[..usize::try_from(end - start).unwrap_or(0)];
        file.read_exact_at(part, start)?;
        if let Some(found) = memchr::memrchr(b'\n', part) {
            return Ok(Some(start + found as u64));
        }
        end = start;
    }
    Ok(None)
}

/// What gzip, zstd and 16-bit text begin with.
const HEADS_WITHOUT_LINES: [&[u8]; 4] = [b"\x1f\x8b", b"\x28\xb5", b"\xff\xfe", b"\xfe\xff"];
/// Bytes that are looked through at a time.
const BLOCK: usize = 64 << 10;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic fails the test")]
mod tests {
    use super::*;

    fn placed(text: &[u8], asked: To) -> Result<u64, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        std::fs::write(&path, text).unwrap();
        place(&File::open(&path).unwrap(), text.len() as u64, asked).unwrap()
    }

    #[test]
    fn a_position_is_the_beginning_of_a_line() {
        let text = b"one\ntwo\nthree\npart";
        for (asked, expected) in [(0, 0), (1, 4), (3, 4), (4, 4), (5, 8), (8, 8), (14, 14)] {
            assert_eq!(placed(text, To::Offset(asked)), Ok(expected), "{asked}");
        }
        assert_eq!(placed(text, To::End), Ok(14));
        assert_eq!(placed(b"part", To::End), Ok(0));
        let long = [vec![b'x'; 3 * BLOCK], b"\ny".to_vec()].concat();
        assert_eq!(placed(&long, To::Offset(1)), Ok(3 * BLOCK as u64 + 1));
        assert_eq!(placed(&long, To::End), Ok(3 * BLOCK as u64 + 1));
    }

    #[test]
    fn a_place_that_is_none_is_refused() {
        let none = "no line begins at offset 15 or behind";
        assert_eq!(
            placed(b"one\ntwo\nthree\npart", To::Offset(15)),
            Err(none.to_owned())
        );
        let beyond = "it has 4 bytes, there is no offset 5";
        assert_eq!(placed(b"one\n", To::Offset(5)), Err(beyond.to_owned()));
        for text in [&b"\x1f\x8b packed"[..], b"\xff\xfea\0\n\0", b"a\0\n\0"] {
            assert!(placed(text, To::End).is_err());
            assert_eq!(placed(text, To::Offset(0)), Ok(0));
        }
    }
}
