//! Whether some bytes are content that is known: the one place that says so.
//!
//! A file is found again by its inode (device, number, time of birth) or by its content. The content of a source
//! is known by the fingerprint of its first bytes, by the checksum of the bytes before the position, and by the
//! marks between the two; so a copy, an archive or a backup of it is recognised under any name, and even one
//! that ends before the position, because the writer went on while it was made.

use std::io;

use crate::batch::TailChecksum;
use crate::identity::FileStat;
use crate::progress::{Checkpoint, Marks};

/// What some bytes are to a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ContentMatch {
    /// The content that was read, at least up to the position: it can be read on from there.
    Continues,
    /// The beginning of the content that was read; it ends before the position, so all of it was read.
    Shorter,
    /// Something else, or too little of it is known to tell.
    Other,
}

/// Bytes that can be compared with what a checkpoint knows.
pub(super) trait Bytes {
    /// How many there are.
    fn size(&mut self) -> io::Result<u64>;
    /// The first ones, as many as a fingerprint covers.
    fn head(&mut self) -> io::Result<&[u8]>;
    /// The checksum of the `len` bytes before `offset`; one that equals no other if there are fewer.
    fn checksum_before(&mut self, offset: u64, len: u8) -> io::Result<TailChecksum>;
}

/// What `bytes` are to `checkpoint`. Where the file lies, and its inode, play no part.
pub(super) fn content_of(
    checkpoint: &Checkpoint,
    bytes: &mut impl Bytes,
) -> io::Result<ContentMatch> {
    if checkpoint.never_had_content() {
        return Ok(ContentMatch::Other);
    }
    let head = bytes.head()?;
    let Some(mut verified) = checkpoint.identity.fingerprint.verified_bytes(head) else {
        return Ok(ContentMatch::Other);
    };
    let size = bytes.size()?;
    if size == 0 {
        return Ok(ContentMatch::Other);
    }
    match marks_before(&checkpoint.marks, size, bytes)? {
        None => return Ok(ContentMatch::Other),
        Some(0) => {}
        Some(bytes) => verified += bytes,
    }
    let Checkpoint {
        offset,
        tail_checksum,
        ..
    } = checkpoint;
    if size < *offset {
        return Ok(match verified {
            0 => ContentMatch::Other,
            _ => ContentMatch::Shorter,
        });
    }
    if *offset > 0 && tail_checksum.len > 0 {
        if bytes.checksum_before(*offset, tail_checksum.len)? != *tail_checksum {
            return Ok(ContentMatch::Other);
        }
        verified += usize::from(tail_checksum.len);
    }
    Ok(match verified {
        0 => ContentMatch::Other,
        _ => ContentMatch::Continues,
    })
}

/// How many bytes before the marks up to `size` are the same; `None` if any are not.
fn marks_before(marks: &Marks, size: u64, bytes: &mut impl Bytes) -> io::Result<Option<usize>> {
    let mut verified = 0;
    for mark in marks.iter().take_while(|mark| mark.offset <= size) {
        if bytes.checksum_before(mark.offset, mark.tail_checksum.len)? != mark.tail_checksum {
            return Ok(None);
        }
        verified += usize::from(mark.tail_checksum.len);
    }
    Ok(Some(verified))
}

/// The same inode, and not one that was handed out again. The number of the device may have changed (a remount)
/// if the time of birth says that it is the same file.
pub(super) fn is_same_inode(checkpoint: &Checkpoint, stat: &FileStat) -> bool {
    let identity = &checkpoint.identity;
    match (identity.born_ns, stat.born_ns) {
        (0, 0) => identity.inode == stat.inode,
        // Only one of them is known: one is an archive, and the number was handed out again.
        (0, _) | (_, 0) => false,
        (one, other) => identity.inode.inode == stat.inode.inode && one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{FileIdentity, Fingerprint, Inode};
    use crate::progress::SourceState;
    use std::path::Path;

    impl Bytes for &[u8] {
        fn size(&mut self) -> io::Result<u64> {
            Ok(self.len() as u64)
        }

        fn head(&mut self) -> io::Result<&[u8]> {
            Ok(&self[..self.len().min(Fingerprint::MAX_LEN)])
        }

        fn checksum_before(&mut self, offset: u64, len: u8) -> io::Result<TailChecksum> {
            let none = TailChecksum {
                len: u8::MAX,
                crc: 0,
            };
            let end = usize::try_from(offset).expect("it is small");
            let range = end.checked_sub(usize::from(len)).map(|start| start..end);
            Ok(range
                .and_then(|range| self.get(range))
                .map_or(none, TailChecksum::of))
        }
    }

    /// The checkpoint of a source whose `text` was read up to each of `reads`.
    fn read(text: &[u8], reads: &[usize]) -> Checkpoint {
        let mut checkpoint = Checkpoint {
            path: Path::new("/log/app.log").into(),
            identity: FileIdentity {
                inode: Inode {
                    device: 1,
                    inode: 1,
                },
                born_ns: 1,
                fingerprint: Fingerprint::of(text),
            },
            offset: 0,
            size: text.len() as u64,
            tail_checksum: TailChecksum::default(),
            marks: Marks::default(),
            tag: None,
            state: SourceState::Open,
            serial: 1,
            modified_ns: 1,
        };
        for &end in reads {
            checkpoint
                .marks
                .add(checkpoint.offset, checkpoint.tail_checksum);
            (checkpoint.offset, checkpoint.tail_checksum) =
                (end as u64, TailChecksum::of(&text[..end]));
        }
        checkpoint
    }

    fn matched(checkpoint: &Checkpoint, mut bytes: &[u8]) -> ContentMatch {
        content_of(checkpoint, &mut bytes).expect("memory can be read")
    }

    fn text(lines: usize) -> Vec<u8> {
        (0..lines)
            .flat_map(|n| format!("line number {n} of it\n").into_bytes())
            .collect()
    }

    #[test]
    fn a_copy_that_was_made_while_the_writer_went_on_is_known() {
        let whole = text(1000);
        let checkpoint = read(&whole, &[5000, 10_000, 15_000, 15_500, 16_000]);
        for len in [1, 2, 40, 700, 4000, 12_345, 15_999] {
            let expected = match len {
                0 => ContentMatch::Other,
                _ => ContentMatch::Shorter,
            };
            assert_eq!(matched(&checkpoint, &whole[..len]), expected, "{len}");
        }
        for len in [16_000, 16_001, whole.len()] {
            let continues = ContentMatch::Continues;
            assert_eq!(matched(&checkpoint, &whole[..len]), continues, "{len}");
        }
    }

    #[test]
    fn a_file_that_only_begins_like_it_is_another_one() {
        let whole = text(1000);
        let checkpoint = read(&whole, &[5000, 10_000, 15_000]);
        for changed in [10, 4990, 9990, 14_990] {
            let mut other = whole.clone();
            other[changed] ^= 1;
            assert_eq!(
                matched(&checkpoint, &other),
                ContentMatch::Other,
                "{changed}"
            );
        }
        let mut shorter = whole[..12_000].to_vec();
        shorter[4990] ^= 1;
        assert_eq!(matched(&checkpoint, &shorter), ContentMatch::Other);
    }

    #[test]
    fn content_that_was_seen_and_not_read_is_known_by_its_first_bytes() {
        let whole = text(100);
        let checkpoint = read(&whole, &[]);
        assert_eq!(matched(&checkpoint, &whole), ContentMatch::Continues);
        assert_eq!(matched(&checkpoint, &whole[..50]), ContentMatch::Continues);
        assert_eq!(matched(&checkpoint, b"other"), ContentMatch::Other);
        assert_eq!(matched(&checkpoint, b""), ContentMatch::Other);
    }

    #[test]
    fn of_a_file_that_was_empty_nothing_is_known() {
        let blank = read(b"", &[]);
        assert_eq!(matched(&blank, b"anything"), ContentMatch::Other);
        assert_eq!(matched(&blank, b""), ContentMatch::Other);
    }
}
