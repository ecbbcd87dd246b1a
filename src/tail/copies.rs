//! Copies of files that nobody knows: both are there, so their bytes are compared.

use std::io;

use super::found::Found;
use super::log_file::LogFile;
use super::observation::{COPY_OF_UNKNOWN, Match, Readable};
use super::recognise::ContentMatch;

/// Finds files of unknown content that are copies of the beginning of others, or of what lies at the path: a backup
/// that was made while the agent was down, of a file that was rotated away before the agent came back. Of two that
/// are the same, the one that was found first stays.
pub(super) fn find(found: &mut Found) -> io::Result<()> {
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
