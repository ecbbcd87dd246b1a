//! Files held against what is known: what became of an open one, what the content of another is, and what the
//! operating system means where it cannot be told. Of copies of
//! files that nobody knows both are there, so their bytes are compared.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustix::io::Errno;

use crate::batch::TailChecksum;
use crate::identity::{FileIdentity, FileStat, Fingerprint};
use crate::progress::{Checkpoint, Marks, SourceState};

use super::clock::now_ms;
use super::found::{CandidateFile, Found};
use super::log_file::LogFile;
use super::observation::{COPY_OF_UNKNOWN, Match, Observation, Readable, Verdict};
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
        if is_cut {
            return Ok((Verdict::CutAhead, stat));
        }
        // A growth that was noted since the last read is one of what lies there now.
        source.suspect();
        return Ok((Verdict::Replaced, stat));
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

/// Whether a file begins with all that a copy of this stat holds.
pub(super) fn begins_as(
    file: &mut LogFile,
    copy: &mut LogFile,
    copied: &FileStat,
) -> io::Result<bool> {
    let len = TailChecksum::MAX_LEN.min(usize::try_from(copied.size).unwrap_or(usize::MAX));
    let len = u8::try_from(len).unwrap_or(u8::MAX);
    let end = copy.checksum_before(copied.size, len)?;
    Ok(file.head()?.starts_with(&copy.head()?) && file.checksum_before(copied.size, len)? == end)
}

/// Whether a file was written to so short a time ago that a copy of something may still be made there, and the original
/// not be truncated yet.
pub(super) fn is_recent(stat: &FileStat) -> bool {
    now_ms() - stat.modified_ns / 1_000_000 < COPYING_MS
}

/// How long after the last change of a copy its original may not be truncated yet.
const COPYING_MS: i64 = 5000;

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
/// that was made while the agent was down, of a file that was rotated away, and packed, before the agent came back. Of
/// two that are the same, the one stays that has the name of a rotation, or was found first.
pub(super) fn find_copies(found: &mut Found) {
    let Found {
        seen,
        files,
        current,
        ..
    } = found;
    let mut begins = Vec::new();
    for (at, candidate) in seen.candidates.iter().enumerate() {
        let is_unknown = candidate.matches.is_empty() && candidate.readable == Readable::Yes;
        if is_unknown && !candidate.is_followed {
            begins.extend(
                files[at]
                    .content
                    .as_mut()
                    .and_then(beginning)
                    .map(|b| (b, at)),
            );
        }
    }
    let of_current = current.as_mut().and_then(beginning);
    // Only what begins alike is looked at any further: an archive is unpacked for it.
    let mut alike: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for (beginning, at) in begins {
        alike.entry(beginning).or_default().push(at);
    }
    for (beginning, alike) in alike {
        let is_of_current = of_current.as_ref() == Some(&beginning);
        if !is_of_current && alike.len() == 1 {
            continue;
        }
        let current = current.as_mut().filter(|_| is_of_current);
        for at in copies_among(&alike, seen, files, current) {
            seen.candidates[at].matches.push(Match {
                serial: COPY_OF_UNKNOWN,
                content: ContentMatch::Shorter,
            });
        }
    }
}

/// Which of the candidates `alike` hold no more than the beginning of another one of them, or of `current`.
fn copies_among(
    alike: &[usize],
    seen: &Observation,
    files: &mut [CandidateFile],
    mut current: Option<&mut LogFile>,
) -> Vec<usize> {
    let mut sized: Vec<(u64, usize, LogFile)> = Vec::new();
    for &at in alike {
        if let Some(mut content) = files[at].content.take() {
            // What cannot be unpacked to its end is compared with nothing.
            match content.size() {
                Ok(size) => sized.push((size, at, content)),
                Err(_) => files[at].content = Some(content),
            }
        }
    }
    // The longest first: the others may be its copies.
    sized.sort_by_key(|(size, at, _)| (Reverse(*size), !seen.candidates[*at].is_numbered, *at));
    let mut copies = Vec::new();
    for place in 0..sized.len() {
        let (before, rest) = sized.split_at_mut(place);
        let Some((size, at, copy)) = rest.first_mut() else {
            continue;
        };
        let before = before.iter_mut();
        let before = before.filter(|(_, other, _)| !copies.contains(other));
        let originals = before.map(|(.., original)| original);
        let mut originals = current.as_deref_mut().into_iter().chain(originals);
        if originals.any(|original| begins_with(original, copy, *size).unwrap_or(false)) {
            copies.push(*at);
        }
    }
    for (_, at, content) in sized {
        files[at].content = Some(content);
    }
    copies
}

/// The first bytes of a file, if there are enough of them.
fn beginning(content: &mut LogFile) -> Option<Vec<u8>> {
    let mut beginning = vec![0; LEAST_BYTES];
    let len = content.read_at(&mut beginning, 0).ok()?;
    (len == LEAST_BYTES).then_some(beginning)
}

/// Whether `original` begins with the `size` bytes of `copy`.
pub(super) fn begins_with(
    original: &mut LogFile,
    copy: &mut LogFile,
    size: u64,
) -> io::Result<bool> {
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
const LEAST_BYTES: usize = 64;
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
