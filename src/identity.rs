//! What a file is recognised by when it is met again under any name: device, inode, birth time and a
//! fingerprint of its first bytes that grows with the file.
//!
//! Inode numbers alone do not do: ext4 and tmpfs hand a freed one out again at once. First bytes
//! alone do not do either: many logs begin with the same line.

use std::fmt;
use std::fs::File;
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
pub struct Identity {
    /// Device and inode.
    pub inode: Inode,
    /// Birth time in ns since 1970; 0 where the file system does not know it.
    pub born_ns: i64,
    /// The first bytes.
    pub fingerprint: Fingerprint,
}

impl fmt::Display for Identity {
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
}

impl Default for Fingerprint {
    fn default() -> Self {
        Fingerprint::of(&[])
    }
}

impl Fingerprint {
    /// Bytes covered at most.
    pub const MAX_LEN: usize = 1024;

    /// The fingerprint of a file that begins with `head` (only the first 1 KiB counts).
    pub fn of(head: &[u8]) -> Self {
        let head = &head[..head.len().min(Self::MAX_LEN)];
        let mut hash = 0xcbf2_9ce4_8422_2325u64;
        for &byte in head {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        Fingerprint {
            len: head.len() as u16,
            hash,
        }
    }

    /// Whether a file that begins with `head` can be the file of this fingerprint, grown or not.
    pub fn matches(&self, head: &[u8]) -> bool {
        head.get(..usize::from(self.len))
            .is_some_and(|head| Fingerprint::of(head) == *self)
    }

    /// Whether it covers all it ever will.
    pub fn is_full(&self) -> bool {
        usize::from(self.len) >= Self::MAX_LEN
    }
}

/// What one look at a file tells.
#[derive(Clone, Copy, Debug)]
pub struct Look {
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
}

impl Look {
    /// Looks at an open file.
    pub fn at_file(file: &File) -> io::Result<Look> {
        let statx = rustix::fs::statx(file.as_fd(), c"", AtFlags::EMPTY_PATH, Self::wanted())?;
        Ok(Self::from(statx))
    }

    /// Looks at what a path leads to (links followed).
    pub fn at_path(path: &std::path::Path) -> io::Result<Look> {
        let statx = rustix::fs::statx(rustix::fs::CWD, path, AtFlags::empty(), Self::wanted())?;
        Ok(Self::from(statx))
    }

    fn wanted() -> StatxFlags {
        StatxFlags::BASIC_STATS | StatxFlags::BTIME
    }
}

impl From<rustix::fs::Statx> for Look {
    fn from(statx: rustix::fs::Statx) -> Look {
        let ns = |t: rustix::fs::StatxTimestamp| {
            t.tv_sec.saturating_mul(1_000_000_000) + i64::from(t.tv_nsec)
        };
        let has_birth = statx.stx_mask & StatxFlags::BTIME.bits() != 0;
        Look {
            inode: Inode {
                device: rustix::fs::makedev(statx.stx_dev_major, statx.stx_dev_minor),
                inode: statx.stx_ino,
            },
            born_ns: if has_birth { ns(statx.stx_btime) } else { 0 },
            modified_ns: ns(statx.stx_mtime),
            size: statx.stx_size,
            links: statx.stx_nlink,
            is_regular: rustix::fs::FileType::from_raw_mode(statx.stx_mode.into()).is_file(),
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
    fn only_the_first_kibibyte_counts() {
        let long = vec![b'a'; 5000];
        assert!(Fingerprint::of(&long).is_full());
        assert_eq!(Fingerprint::of(&long), Fingerprint::of(&long[..1024]));
    }
}
