//! Files held against what is known: what became of an open one, what the content of another is, and what the
//! operating system means where it cannot be told. Of copies of
//! files that nobody knows both are there, so their bytes are compared.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustix::io::Errno;

use crate::batch::TailChecksum;
use crate::identity::{FileIdentity, FileStat, Fingerprint};
use crate::progress::{Checkpoint, Marks, SourceState};

use super::found::Found;
use super::log_file::LogFile;
use super::observation::{COPY_OF_UNKNOWN, Match, Readable, Verdict};
use super::recognise::{Bytes, ContentMatch, content_of};
use super::source::Source;

/// What became of the content of a source, and the stat of what is there. What is there counts as seen if it is the
/// content that was seen before.
///
/// What is certain of a source's content: it is the one that was read, since the bytes before the position are
/// compared at every look and in every read. Before the first read it is the one that begins as it was seen to.
/// Of a file that was empty at every look nothing is certain.
pub(super) fn verdict_on(source: &mut Source) -> io::Result<(Verdict, FileStat)> {
    let stat = source.content.stat()?;
    if source.was_truncated(&stat)? {
        let is_cut = source.position <= stat.size && stat.size > 0 && source.is_unchanged()?;
        return Ok(match is_cut {
            true => (Verdict::CutAhead, stat),
            false => (Verdict::Replaced, stat),
        });
    }
    if source.never_had_content() && source.may_have_changed(&stat) {
        return Ok((Verdict::Begun, stat));
    }
    Ok((Verdict::Intact, stat))
}

/// What the bytes of a file are to checkpoints; those to which they are nothing are left out.
pub(super) fn matches_of(
    references: &[Checkpoint],
    content: &mut LogFile,
    stat: &FileStat,
) -> io::Result<Vec<Match>> {
    let mut probe = Probe::new(content, stat.size);
    let mut matches = Vec::new();
    for reference in references {
        let content = content_of(reference, &mut probe)?;
        if content != ContentMatch::Other {
            matches.push(Match {
                serial: reference.serial,
                content,
            });
        }
    }
    Ok(matches)
}

/// Bytes of a file whose first ones are read once, for all comparisons.
pub(super) struct Probe<'a> {
    content: &'a mut LogFile,
    size: u64,
    head: Option<Vec<u8>>,
}

impl<'a> Probe<'a> {
    pub(super) fn new(content: &'a mut LogFile, size: u64) -> Self {
        Probe {
            content,
            size,
            head: None,
        }
    }
}

impl Bytes for Probe<'_> {
    fn size(&mut self) -> io::Result<u64> {
        match self.content {
            LogFile::Plain(_) => Ok(self.size),
            LogFile::Compressed(_) => self.content.size(),
        }
    }

    fn head(&mut self) -> io::Result<&[u8]> {
        if self.head.is_none() {
            self.head = Some(self.content.head()?);
        }
        Ok(self.head.as_deref().unwrap_or_default())
    }

    fn checksum_before(&mut self, offset: u64, len: u8) -> io::Result<TailChecksum> {
        self.content.checksum_before(offset, len)
    }
}

/// Whether nothing lies there.
pub(super) fn is_absence(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// Whether the agent, not the file, is the reason.
pub(super) fn is_shortage(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::NOMEM | Errno::NFILE | Errno::MFILE)
    )
}

/// A checkpoint at `offset` for content that was never read, and its stat.
pub(super) fn fresh(
    path: &Arc<Path>,
    content: &mut LogFile,
    offset: u64,
) -> io::Result<(Checkpoint, FileStat)> {
    let size = content.size()?;
    let (fingerprint, stat) = identify(content)?;
    let stat = match content.can_change() {
        true => stat,
        false => FileStat { size, ..stat },
    };
    let checkpoint = Checkpoint {
        path: path.clone(),
        identity: FileIdentity {
            inode: stat.inode,
            born_ns: stat.born_ns,
            fingerprint,
        },
        offset,
        size: stat.size,
        tail_checksum: content
            .checksum_before(offset, TailChecksum::MAX_LEN.min(offset as usize) as u8)?,
        marks: Marks::default(),
        tag: None,
        state: SourceState::Open,
        serial: 0,
        modified_ns: stat.modified_ns,
    };
    Ok((checkpoint, stat))
}

/// How the content of a file begins, and the stat of that same content.
///
/// Between a stat and a read the file may be truncated and written again, so the beginning is read on both
/// sides of the stat. A file that was empty has no content yet.
pub(super) fn identify(content: &mut LogFile) -> io::Result<(Fingerprint, FileStat)> {
    let mut before = content.head()?;
    if !content.can_change() {
        return Ok((Fingerprint::of_written(&before), content.stat()?));
    }
    for _ in 0..MOST_TRUNCATIONS {
        let stat = content.stat()?;
        let after = content.head()?;
        let is_same = match before.is_empty() {
            true => stat.size == 0,
            false => stat.size >= before.len() as u64 && after.starts_with(&before),
        };
        if is_same {
            return Ok((Fingerprint::of_written(&before), stat));
        }
        before = after;
    }
    Err(io::Error::other("is truncated faster than it can be read"))
}

pub(super) fn identity_of(stat: &FileStat) -> FileIdentity {
    FileIdentity {
        inode: stat.inode,
        born_ns: stat.born_ns,
        fingerprint: Fingerprint::default(),
    }
}

/// How often a file is looked at that changes from one look to the next.
const MOST_TRUNCATIONS: usize = 100;

/// Finds files of unknown content that are copies of the beginning of others, or of what lies at the path: a backup
/// that was made while the agent was down, of a file that was rotated away before the agent came back. Of two that
/// are the same, the one that was found first stays.
pub(super) fn find_copies(found: &mut Found) -> io::Result<()> {
    let candidates = found.seen.candidates.iter().enumerate();
    let mut unknown: Vec<(usize, u64)> = candidates
        .filter(|(_, c)| c.matches.is_empty() && c.readable == Readable::Yes)
        .filter(|(_, c)| !c.is_archive && !c.is_followed)
        .map(|(at, c)| (at, c.stat.size))
        .filter(|(_, size)| *size >= LEAST_BYTES)
        .collect();
    // The longest first: the others may be its copies.
    unknown.sort_by_key(|(at, size)| (std::cmp::Reverse(*size), *at));
    let mut originals: Vec<usize> = Vec::new();
    for (at, size) in unknown {
        let Some(mut copy) = found.files[at].content.take() else {
            continue;
        };
        let mut is_copy = match &mut found.current {
            Some(current) => begins_with(current, &mut copy, size)?,
            None => false,
        };
        for original in &originals {
            if let Some(original) = &mut found.files[*original].content {
                is_copy = is_copy || begins_with(original, &mut copy, size)?;
            }
        }
        found.files[at].content = Some(copy);
        if is_copy {
            found.seen.candidates[at].matches.push(Match {
                serial: COPY_OF_UNKNOWN,
                content: ContentMatch::Shorter,
            });
        } else {
            originals.push(at);
        }
    }
    Ok(())
}

/// Whether `original` begins with the `size` bytes of `copy`.
fn begins_with(original: &mut LogFile, copy: &mut LogFile, size: u64) -> io::Result<bool> {
    let (mut one, mut other) = (vec![0; STEP_BYTES], vec![0; STEP_BYTES]);
    let mut at = 0;
    while at < size {
        let want = usize::try_from(size - at)
            .unwrap_or(usize::MAX)
            .min(STEP_BYTES);
        let count = copy.read_at(&mut one[..want], at)?;
        if count == 0 || original.read_at(&mut other[..count], at)? != count {
            return Ok(false);
        }
        if one[..count] != other[..count] {
            return Ok(false);
        }
        at += count as u64;
    }
    Ok(true)
}

/// Shorter files may be alike by accident.
const LEAST_BYTES: u64 = 64;
const STEP_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_begins_with_its_copy_and_with_no_other() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let open = |name: &str, text: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).expect("is written");
            let file = std::fs::File::open(&path).expect("opens");
            (LogFile::Plain(file), text.len() as u64)
        };
        let text: Vec<u8> = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
        let (mut original, _) = open("a", &text);
        for len in [64, 70_000, text.len()] {
            let (mut copy, size) = open("b", &text[..len]);
            assert!(begins_with(&mut original, &mut copy, size).expect("reads"));
            let mut changed = text[..len].to_vec();
            changed[len - 1] ^= 1;
            let (mut other, size) = open("b", &changed);
            assert!(!begins_with(&mut original, &mut other, size).expect("reads"));
        }
        let (mut longer, size) = open("b", &[&text[..], b"x"].concat());
        assert!(!begins_with(&mut original, &mut longer, size).expect("reads"));
    }
}
