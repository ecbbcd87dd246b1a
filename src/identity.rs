//! What a file is recognised by when it is met again under any name: device, inode, birth time and a
//! fingerprint of its first bytes that grows with the file.
//!
//! Inode numbers alone do not do: ext4 and tmpfs hand a freed one out again at once. First bytes
//! alone do not do either: many logs begin with the same line.

use std::fmt;
use std::io;
use std::os::fd::AsFd;

use rustix::fs::{AtFlags, StatxFlags};

/// Where the bytes of a file lie on this host.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Inode {
    /// Device number (major and minor in one).
    pub device: u64,
    /// Inode number.
    pub inode: u64,
}

/// Identity of a file's content on this host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileIdentity {
    /// Device and inode.
    pub inode: Inode,
    /// Birth time in ns since 1970; 0 where the file system does not know it.
    pub born_ns: i64,
    /// The first bytes.
    pub fingerprint: Fingerprint,
}

impl FileIdentity {
    /// The identity of the same content in the file that was looked at.
    pub fn moved_to(self, stat: &FileStat) -> Self {
        FileIdentity {
            inode: stat.inode,
            born_ns: stat.born_ns,
            ..self
        }
    }
}

/// Names the content of one file in the header `at` of its records, for as long as the content is known: under any
/// name, and over restarts.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct FileTag(pub u32);

impl FileTag {
    /// The tag of content that lies in the file `identity` of `host`, of which nothing was sent yet. `before`: that of
    /// what the file held until it was truncated, or of the newest that is known at its path. The same file gets the
    /// same tag again where a crash came before it was written down.
    ///
    /// Where a truncated file is not known any more, but what it held is known in a copy, its first tag `is_taken`: then
    /// it is the next one, as if the truncation had been seen.
    pub fn new(
        host: &str,
        identity: &FileIdentity,
        before: Option<FileTag>,
        is_taken: impl Fn(FileTag) -> bool,
    ) -> Self {
        let mut tag = Self::following(host, identity, before);
        for _ in 0..Self::MOST_TAKEN {
            if !is_taken(tag) {
                break;
            }
            tag = Self::following(host, identity, Some(tag));
        }
        tag
    }

    /// More contents of one file are not known at a time.
    const MOST_TAKEN: usize = 1_000;

    fn following(host: &str, identity: &FileIdentity, before: Option<FileTag>) -> Self {
        let before = before.map_or(0, |before| before.0);
        let crc = crc32c::crc32c_append(before, host.as_bytes());
        let crc = crc32c::crc32c_append(crc, &identity.inode.inode.to_le_bytes());
        FileTag(crc32c::crc32c_append(crc, &identity.born_ns.to_le_bytes()))
    }

    /// What [`fmt::Display`] writes: eight hexadecimal digits.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let text = std::str::from_utf8(text).ok()?;
        let is_one = text.len() == 8 && text.bytes().all(|byte| is_digit(&byte));
        let tag = is_one.then(|| u32::from_str_radix(text, 16).ok())?;
        tag.map(FileTag)
    }
}

impl fmt::Display for FileTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl fmt::Display for FileIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "device {} inode {}", self.inode.device, self.inode.inode)
    }
}

/// Length and hash (FNV-1a, 64 bits) of the first bytes of a file, at most 1 KiB, no minimum.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fingerprint {
    /// How many bytes are covered.
    pub len: u16,
    /// Their hash.
    pub hash: u64,
    /// One byte of the hashes of the first [`Fingerprint::STEPS`] bytes, to compare with a file that is shorter. 0:
    /// not known, or as many bytes are not covered.
    pub steps: [u8; Fingerprint::STEPS.len()],
}

impl Default for Fingerprint {
    fn default() -> Self {
        Fingerprint::of(&[])
    }
}

impl Fingerprint {
    /// Bytes covered at most.
    pub const MAX_LEN: usize = 1024;
    /// How many bytes `steps` are about: each byte of the first ones, since many logs differ only after the
    /// beginning of a time.
    pub const STEPS: [usize; 88] = steps();

    /// The fingerprint of a file that begins with `head` (only the first 1 KiB counts).
    pub fn of(head: &[u8]) -> Self {
        let nothing = Fingerprint {
            len: 0,
            hash: 0xcbf2_9ce4_8422_2325,
            steps: [0; Self::STEPS.len()],
        };
        nothing.extended(head)
    }

    /// The fingerprint of a file that goes on with `next` after the bytes that this one covers. It must not be one of an
    /// earlier version: see [`Fingerprint::has_steps`].
    #[must_use]
    pub fn extended(&self, next: &[u8]) -> Self {
        let len = usize::from(self.len);
        let next = &next[..next.len().min(Self::MAX_LEN.saturating_sub(len))];
        let (mut hash, mut steps) = (self.hash, self.steps);
        let (mut rest, mut covered) = (next, len);
        let first = Self::STEPS.partition_point(|&step| step <= len);
        for (step, len) in steps.iter_mut().zip(Self::STEPS).skip(first) {
            let Some((part, after)) = rest.split_at_checked(len - covered) else {
                break;
            };
            hash = fnv(hash, part);
            (rest, covered) = (after, len);
            // The last bytes have not reached the upper half yet.
            *step = ((hash ^ (hash >> 32)) as u8).max(1);
        }
        Fingerprint {
            len: (len + next.len()) as u16,
            hash: fnv(hash, rest),
            steps,
        }
    }

    /// How many bytes of `head` are known to be the first ones of the file of this fingerprint, which may be
    /// longer. `None`: they are others.
    pub fn verified_bytes(&self, head: &[u8]) -> Option<usize> {
        if self.len > 0 && head.len() >= usize::from(self.len) {
            return self.matches(head).then_some(usize::from(self.len));
        }
        let theirs = Fingerprint::of(head);
        let mut verified = 0;
        for ((len, one), other) in Self::STEPS.into_iter().zip(self.steps).zip(theirs.steps) {
            if one == 0 || other == 0 {
                break;
            }
            if one != other {
                return None;
            }
            verified = len;
        }
        Some(verified)
    }

    /// Whether the two can be of one content, which may have grown between them. Nothing is known of no bytes.
    pub fn agrees_with(&self, other: &Fingerprint) -> bool {
        if self.len == other.len {
            return self.len > 0 && self.hash == other.hash;
        }
        let steps = self.steps.into_iter().zip(other.steps);
        let mut both = steps.take_while(|(one, other)| *one != 0 && *other != 0);
        self.len.min(other.len) > 0 && both.all(|(one, other)| one == other)
    }

    /// As [`Fingerprint::of`], without the NULs that `head` ends with: they may be overwritten yet.
    pub fn of_written(head: &[u8]) -> Self {
        let head = &head[..head.len().min(Self::MAX_LEN)];
        let len = head.iter().rposition(|&byte| byte != 0);
        Self::of(&head[..len.map_or(0, |at| at + 1)])
    }

    /// Whether a file that begins with `head` can be the file of this fingerprint, grown or not.
    pub fn matches(&self, head: &[u8]) -> bool {
        head.get(..usize::from(self.len))
            .is_some_and(|head| Fingerprint::of(head).hash == self.hash)
    }

    /// Whether it can be compared with that of a shorter file: one of an earlier version cannot.
    pub fn has_steps(&self) -> bool {
        self.steps[0] != 0
    }

    /// Whether it covers all it ever will.
    pub fn is_full(&self) -> bool {
        usize::from(self.len) >= Self::MAX_LEN
    }
}

const fn steps() -> [usize; 88] {
    let mut steps = [0; 88];
    let (mut at, mut len) = (0, 0);
    while at < steps.len() {
        len += if len < 64 {
            1
        } else if len < 256 {
            16
        } else {
            64
        };
        steps[at] = len;
        at += 1;
    }
    steps
}

/// FNV-1a, 64 bits, going on from `hash`.
fn fnv(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// What the kernel tells of a file: statx(2).
#[derive(Clone, Copy, Debug)]
pub struct FileStat {
    /// Device and inode.
    pub inode: Inode,
    /// Birth time in ns since 1970, or 0.
    pub born_ns: i64,
    /// Time of the last change of the content, ns since 1970.
    pub modified_ns: i64,
    /// Size in bytes.
    pub size: u64,
    /// Names the file has; 0 when deleted.
    pub links: u32,
    /// A regular file: the only kind that is read.
    pub is_regular: bool,
    /// It has fewer blocks than its size takes: it may have holes.
    pub is_sparse: bool,
}

impl FileStat {
    /// The stat of an open file, which need not be open for reading.
    pub fn at_file(file: &impl AsFd) -> io::Result<FileStat> {
        let statx = rustix::fs::statx(file.as_fd(), c"", AtFlags::EMPTY_PATH, Self::wanted())?;
        Ok(Self::from(statx))
    }

    /// The stat of what a path leads to (links followed).
    pub fn at_path(path: &std::path::Path) -> io::Result<FileStat> {
        let statx = rustix::fs::statx(rustix::fs::CWD, path, AtFlags::empty(), Self::wanted())?;
        Ok(Self::from(statx))
    }

    fn wanted() -> StatxFlags {
        StatxFlags::BASIC_STATS | StatxFlags::BTIME
    }
}

impl From<rustix::fs::Statx> for FileStat {
    fn from(statx: rustix::fs::Statx) -> FileStat {
        let ns = |t: rustix::fs::StatxTimestamp| {
            t.tv_sec.saturating_mul(1_000_000_000) + i64::from(t.tv_nsec)
        };
        let has_birth = statx.stx_mask & StatxFlags::BTIME.bits() != 0;
        FileStat {
            inode: Inode {
                device: rustix::fs::makedev(statx.stx_dev_major, statx.stx_dev_minor),
                inode: statx.stx_ino,
            },
            born_ns: if has_birth { ns(statx.stx_btime) } else { 0 },
            modified_ns: ns(statx.stx_mtime),
            size: statx.stx_size,
            links: statx.stx_nlink,
            is_regular: rustix::fs::FileType::from_raw_mode(statx.stx_mode.into()).is_file(),
            is_sparse: statx.stx_blocks.saturating_mul(512) < statx.stx_size,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grown_file_keeps_its_identity() {
        let young = Fingerprint::of(b"first line\n");
        assert!(young.matches(b"first line\nsecond line\n"));
        assert!(!young.matches(b"first lime\nsecond line\n"));
        assert!(!young.matches(b"first"), "a shorter file is another one");
        assert!(
            Fingerprint::default().matches(b""),
            "an empty file is known by its inode alone"
        );
    }

    #[test]
    fn what_follows_in_a_truncated_file_is_not_named_like_what_is_known_in_a_copy() {
        let identity = FileIdentity {
            inode: Inode {
                device: 1,
                inode: 2,
            },
            born_ns: 3,
            fingerprint: Fingerprint::default(),
        };
        let tag = |before, taken: &[FileTag]| {
            FileTag::new("host", &identity, before, |tag| taken.contains(&tag))
        };
        let first = tag(None, &[]);
        let second = tag(Some(first), &[]);
        assert_ne!(first, second);
        assert_eq!(tag(None, &[]), first, "the same after a crash");
        assert_eq!(tag(None, &[first]), second);
        assert_eq!(tag(None, &[first, second]), tag(Some(second), &[]));
    }

    #[test]
    fn a_shorter_file_is_compared_as_far_as_it_goes() {
        let text: Vec<u8> = (0..300u32).flat_map(u32::to_le_bytes).collect();
        let whole = Fingerprint::of(&text);
        assert_eq!(Fingerprint::STEPS.last(), Some(&Fingerprint::MAX_LEN));
        for (len, verified) in [
            (0, 0),
            (1, 1),
            (31, 31),
            (100, 96),
            (600, 576),
            (1100, 1024),
        ] {
            assert_eq!(whole.verified_bytes(&text[..len]), Some(verified), "{len}");
        }
        let mut other = text[..600].to_vec();
        other[100] ^= 1;
        assert_eq!(whole.verified_bytes(&other), None);
        assert_eq!(whole.verified_bytes(&other[..100]), Some(96));
        let without_steps = Fingerprint {
            steps: [0; 88],
            ..whole
        };
        assert_eq!(without_steps.verified_bytes(&text[..600]), Some(0));
        assert_eq!(without_steps.verified_bytes(&text), Some(1024));
    }

    #[test]
    fn each_of_the_first_bytes_tells_a_shorter_file_from_another_one() {
        let whole = Fingerprint::of(&b"p1 0000028 and more of it".repeat(8));
        let head = b"p1 0000028 ";
        assert_eq!(whole.verified_bytes(head), Some(head.len()));
        for at in 0..head.len() {
            let mut other = *head;
            other[at] ^= 1;
            assert_eq!(whole.verified_bytes(&other), None, "byte {at}");
        }
    }

    #[test]
    fn nuls_that_may_be_overwritten_are_no_part_of_a_fingerprint() {
        let young = Fingerprint::of_written(b"first line\n\0\0\0");
        assert_eq!(young, Fingerprint::of(b"first line\n"));
        assert_eq!(Fingerprint::of_written(&[0; 2000]), Fingerprint::default());
    }

    #[test]
    fn what_is_extended_piece_by_piece_is_as_if_all_had_been_there() {
        let mut random = fastrand::Rng::with_seed(5);
        let text: Vec<u8> = (0..1500).map(|_| random.u8(..)).collect();
        for _ in 0..200 {
            let (mut grown, mut at) = (Fingerprint::default(), 0);
            while at < text.len() {
                let next = random.usize(1..300).min(text.len() - at);
                grown = grown.extended(&text[at..at + next]);
                at += next;
                assert_eq!(grown, Fingerprint::of(&text[..at]), "{at}");
            }
        }
    }

    #[test]
    fn only_the_first_kibibyte_counts() {
        let long = vec![b'a'; 5000];
        assert!(Fingerprint::of(&long).is_full());
        assert_eq!(Fingerprint::of(&long), Fingerprint::of(&long[..1024]));
    }
}
