//! The bytes of a file: as they lie there, or decompressed if rotation has compressed it.

use std::fs::{self, File};
use std::io::{self, IoSliceMut, Read};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use rustix::fs::{OFlags, SeekFrom, fcntl_setfl, seek};
use rustix::io::Errno;

use super::links;
use super::rotated_names::{self, COMPRESSIONS};
use crate::batch::TailChecksum;
use crate::config::FollowLinks;
use crate::identity::{FileStat, Fingerprint};

/// An open file.
#[derive(Debug)]
pub(crate) enum LogFile {
    Plain(File),
    /// In a box: few are, and there is one of these for each file.
    Compressed(Box<CompressedFile>),
}

impl LogFile {
    /// Opens `path` if it is a regular file, without ever waiting (a fifo has no writer, perhaps) and
    /// without opening devices. `None`: it is something else.
    ///
    /// A name that ends in `.gz` or `.zst` is decompressed, no other one but for labels ([`Packing`]). How long its content is, is only known when all of it
    /// was decompressed once: [`LogFile::size`].
    pub(crate) fn open(
        path: &Path,
        policy: FollowLinks,
    ) -> io::Result<Option<(LogFile, FileStat)>> {
        let Some((file, mut stat)) = links::open(path, policy)? else {
            return Ok(None);
        };
        leave_access_time(&file);
        let packing = Packing::of_name(path).or_else(|| Packing::of_labelled(path, &file));
        let Some(Packing::Readable(codec)) = packing else {
            return Ok(Some((LogFile::Plain(file), stat)));
        };
        // The archive was made later than its content.
        stat.born_ns = 0;
        stat.is_sparse = false;
        let compressed = CompressedFile {
            file,
            codec,
            size: None,
            decoder: None,
            window: Vec::new(),
            start: 0,
        };
        Ok(Some((LogFile::Compressed(Box::new(compressed)), stat)))
    }

    /// How long the content is, in bytes. An archive is decompressed for it, once.
    pub(crate) fn size(&mut self) -> io::Result<u64> {
        match self {
            LogFile::Plain(file) => Ok(FileStat::at_file(file)?.size),
            LogFile::Compressed(compressed) => compressed.size(),
        }
    }

    /// The file itself.
    pub(super) fn file(&self) -> &File {
        match self {
            LogFile::Plain(file) => file,
            LogFile::Compressed(compressed) => &compressed.file,
        }
    }

    /// Where the file lies now, as the kernel knows it: no file system is asked.
    pub(super) fn path_now(&self) -> Option<PathBuf> {
        fs::read_link(format!("/proc/self/fd/{}", self.file().as_raw_fd())).ok()
    }

    /// The stat of the file; its size is that of the content, as far as that is known.
    pub(super) fn stat(&self) -> io::Result<FileStat> {
        let stat = FileStat::at_file(self.file())?;
        Ok(match self {
            LogFile::Plain(_) => stat,
            LogFile::Compressed(compressed) => FileStat {
                size: compressed.size.unwrap_or(stat.size),
                born_ns: 0,
                is_sparse: false,
                ..stat
            },
        })
    }

    /// Whether the content may still grow or be truncated.
    pub(super) fn can_change(&self) -> bool {
        matches!(self, LogFile::Plain(_))
    }

    /// Fills `before` and then `data` with what lies at `at`, in one system call if possible; returns how
    /// many bytes there were.
    pub(super) fn read_two(
        &mut self,
        before: &mut [u8],
        data: &mut [u8],
        at: u64,
    ) -> io::Result<usize> {
        let overlap = before.len();
        let mut count = match self {
            LogFile::Plain(file) => {
                let mut slices = [IoSliceMut::new(before), IoSliceMut::new(data)];
                loop {
                    match rustix::io::preadv(&*file, &mut slices, at) {
                        Err(Errno::INTR) => {}
                        count => break count?,
                    }
                }
            }
            LogFile::Compressed(_) => self.read_at(before, at)?,
        };
        if count < overlap {
            return Ok(count);
        }
        // A short read in the middle of a file is possible on some network file systems.
        count += self.read_at(&mut data[count - overlap..], at + count as u64)?;
        Ok(count)
    }

    /// Fills `data` with what lies at `at`; less only at the end of the content.
    pub(crate) fn read_at(&mut self, data: &mut [u8], at: u64) -> io::Result<usize> {
        let file = match self {
            LogFile::Plain(file) => file,
            LogFile::Compressed(compressed) => return compressed.read_at(data, at),
        };
        let mut len = 0;
        while len < data.len() {
            match file.read_at(&mut data[len..], at + len as u64) {
                Ok(0) => break,
                Ok(count) => len += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(len)
    }

    /// Where the line begins that the byte before `offset` is of.
    pub(super) fn line_start_before(&mut self, offset: u64) -> io::Result<u64> {
        let mut window = vec![0; STEP];
        let mut start = offset;
        while start > 0 {
            let from = start.saturating_sub(window.len() as u64);
            let len = usize::try_from(start - from).unwrap_or(0);
            let count = self.read_at(&mut window[..len], from)?;
            if let Some(at) = memchr::memrchr(b'\n', &window[..count]) {
                return Ok(from + at as u64 + 1);
            }
            start = from;
        }
        Ok(0)
    }

    /// The first hole at or behind `at`, the end of the file included; `u64::MAX` where that cannot be told.
    pub(super) fn next_hole(&self, at: u64) -> u64 {
        match self {
            LogFile::Plain(file) => seek(file, SeekFrom::Hole(at)).unwrap_or(u64::MAX),
            LogFile::Compressed(_) => u64::MAX,
        }
    }

    /// The first byte at or behind `at` that lies in no hole; `None` if there is none.
    pub(super) fn next_data(&self, at: u64) -> Option<u64> {
        match self {
            LogFile::Plain(file) => match seek(file, SeekFrom::Data(at)) {
                Ok(data) => Some(data.max(at)),
                Err(Errno::NXIO) => None,
                // A file system that knows no holes.
                Err(_) => Some(at),
            },
            LogFile::Compressed(_) => Some(at),
        }
    }

    /// The first bytes, as many as a fingerprint covers.
    pub(super) fn head(&mut self) -> io::Result<Vec<u8>> {
        let mut head = vec![0; Fingerprint::MAX_LEN];
        let len = self.read_at(&mut head, 0)?;
        head.truncate(len);
        Ok(head)
    }

    /// The tail checksum of the `len` bytes before `offset`; one that nothing matches if the content ends before.
    pub(super) fn checksum_before(&mut self, offset: u64, len: u8) -> io::Result<TailChecksum> {
        let mut bytes = [0u8; TailChecksum::MAX_LEN];
        let bytes = &mut bytes[..usize::from(len).min(TailChecksum::MAX_LEN)];
        let none = TailChecksum {
            len: u8::MAX,
            crc: 0,
        };
        let Some(start) = offset.checked_sub(bytes.len() as u64) else {
            return Ok(none);
        };
        let count = self.read_at(bytes, start)?;
        Ok(if count == bytes.len() {
            TailChecksum::of(bytes)
        } else {
            none
        })
    }
}

/// Whether the name says that the content is compressed, in whatever way.
pub(super) fn is_compressed_name(name: &Path) -> bool {
    let name = name.as_os_str().as_bytes();
    COMPRESSIONS.iter().any(|ending| name.ends_with(ending))
}

/// How a file is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    Readable(Codec),
    /// It cannot be unpacked here.
    Other,
}

impl Packing {
    /// How the file at `path` is packed, if it is; as far as that can be told.
    pub(super) fn of(path: &Path, policy: FollowLinks) -> Option<Packing> {
        Packing::of_name(path).or_else(|| {
            let (file, _) = is_label(path).then(|| links::open(path, policy).ok()?)??;
            Packing::of_labelled(path, &file)
        })
    }

    fn of_name(path: &Path) -> Option<Packing> {
        let codec = match path.extension()?.as_bytes() {
            b"gz" => Some(Codec::Gzip),
            b"zst" => Some(Codec::Zstd),
            _ => None,
        };
        // What is packed twice, such as `.tar.gz`, has no lines.
        match codec.filter(|_| !is_compressed_name(&path.with_extension(""))) {
            Some(codec) => Some(Packing::Readable(codec)),
            None => is_compressed_name(path).then_some(Packing::Other),
        }
    }

    /// What multilog and svlogd have packed is called as what they have not: it is known by how it begins.
    fn of_labelled(path: &Path, file: &File) -> Option<Packing> {
        if !is_label(path) {
            return None;
        }
        let mut begin = [0; 6];
        let len = file.read_at(&mut begin, 0).ok()?;
        let known = SIGNATURES.iter();
        known
            .copied()
            .find_map(|(signature, packing)| begin[..len].starts_with(signature).then_some(packing))
    }
}

fn is_label(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| rotated_names::is_label(name.as_bytes()))
}

/// What packed files begin with.
const SIGNATURES: [(&[u8], Packing); 6] = [
    (b"\x1f\x8b\x08", Packing::Readable(Codec::Gzip)),
    (b"\x28\xb5\x2f\xfd", Packing::Readable(Codec::Zstd)),
    (b"\xfd7zXZ\0", Packing::Other),
    (b"BZh", Packing::Other),
    (b"\x04\x22\x4d\x18", Packing::Other),
    (b"PK\x03\x04", Packing::Other),
];

/// A compressed file, read in order through a window.
pub(crate) struct CompressedFile {
    file: File,
    codec: Codec,
    /// None: it was not decompressed to its end yet.
    size: Option<u64>,
    decoder: Option<Box<dyn Read + Send>>,
    /// Content from `start` on that was decompressed and may be asked for again.
    window: Vec<u8>,
    start: u64,
}

impl std::fmt::Debug for CompressedFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CompressedFile")
            .field("codec", &self.codec)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

impl CompressedFile {
    fn size(&mut self) -> io::Result<u64> {
        if let Some(size) = self.size {
            return Ok(size);
        }
        let size = self.codec.size(&self.file)?;
        self.size = Some(size);
        Ok(size)
    }

    fn read_at(&mut self, data: &mut [u8], at: u64) -> io::Result<usize> {
        if self.decoder.is_none() || at < self.start {
            self.decoder = Some(self.codec.decoder(&self.file)?);
            self.window.clear();
            self.start = 0;
        }
        let end = at + data.len() as u64;
        loop {
            // What lies before the place asked for is not needed any more.
            let skip = usize::try_from(at - self.start)
                .unwrap_or(usize::MAX)
                .min(self.window.len());
            self.window.drain(..skip);
            self.start += skip as u64;
            let have = self.start + self.window.len() as u64;
            if have >= end {
                break;
            }
            let Some(decoder) = &mut self.decoder else {
                break;
            };
            let more = usize::try_from(end - have).unwrap_or(usize::MAX).min(STEP) as u64;
            if decoder.by_ref().take(more).read_to_end(&mut self.window)? == 0 {
                break;
            }
        }
        if self.start < at {
            return Ok(0);
        }
        let count = self.window.len().min(data.len());
        data[..count].copy_from_slice(&self.window[..count]);
        Ok(count)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Codec {
    Gzip,
    Zstd,
}

impl Codec {
    fn decoder(self, file: &File) -> io::Result<Box<dyn Read + Send>> {
        let whole = FromStart {
            file: file.try_clone()?,
            at: 0,
        };
        Ok(match self {
            Codec::Gzip => Box::new(MultiGzDecoder::new(whole)),
            Codec::Zstd => Box::new(zstd::stream::read::Decoder::new(whole)?),
        })
    }

    fn size(self, file: &File) -> io::Result<u64> {
        io::copy(&mut self.decoder(file)?, &mut io::sink())
    }
}

/// Reads a file without its shared position.
struct FromStart {
    file: File,
    at: u64,
}

impl Read for FromStart {
    fn read(&mut self, data: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(data, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

const STEP: usize = 64 << 10;

/// Has reads leave the time of the last access as it is: after each write the next read would have the inode written.
/// Only root and the owner of a file may ask for that.
fn leave_access_time(file: &File) {
    let _ = fcntl_setfl(file, OFlags::NONBLOCK | OFlags::NOATIME);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn check(path: &Path, text: &[u8]) {
        let (mut content, _) = LogFile::open(path, FollowLinks::Safe)
            .expect("opens")
            .expect("is regular");
        assert_eq!(content.size().expect("is whole"), text.len() as u64);
        assert_eq!(content.head().expect("reads"), text[..1024]);
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..50 {
            let at = random.usize(..text.len() + 10);
            let mut data = vec![0; random.usize(..200_000)];
            let count = content.read_at(&mut data, at as u64).expect("reads");
            let from = at.min(text.len());
            assert_eq!(
                data[..count],
                text[from..(from + data.len()).min(text.len())],
                "at {at}"
            );
        }
        let tail_checksum = content.checksum_before(5000, 64).expect("reads");
        assert_eq!(tail_checksum, TailChecksum::of(&text[..5000]));
    }

    #[test]
    fn a_file_of_our_own_is_read_without_a_trace() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("app.log");
        fs::write(&path, "line\n").expect("is written");
        let accessed = || {
            fs::metadata(&path)
                .and_then(|stat| stat.accessed())
                .expect("is there")
        };
        // Older than the last write: a read would set it.
        let file = File::options().write(true).open(&path).expect("opens");
        let long_ago = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1);
        let times = fs::FileTimes::new().set_accessed(long_ago);
        file.set_times(times).expect("are set");
        let (mut content, _) = LogFile::open(&path, FollowLinks::Safe)
            .expect("opens")
            .expect("is regular");
        assert_eq!(content.read_at(&mut [0; 9], 0).expect("reads"), 5);
        assert_eq!(accessed(), long_ago);
    }

    #[test]
    fn compressed_content_reads_like_the_file_it_was() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let text: Vec<u8> = (0..60_000)
            .flat_map(|n| format!("line {n}\n").into_bytes())
            .collect();
        let plain = folder.path().join("a.log");
        fs::write(&plain, &text).expect("writes");
        check(&plain, &text);
        let gz = folder.path().join("a.log.1.gz");
        // Two members in a row, as `cat a.gz b.gz` makes them.
        let mut bytes = Vec::new();
        for half in [&text[..100_000], &text[100_000..]] {
            let mut encoder =
                flate2::write::GzEncoder::new(&mut bytes, flate2::Compression::fast());
            encoder.write_all(half).expect("writes");
            encoder.finish().expect("ends");
        }
        fs::write(&gz, bytes).expect("writes");
        check(&gz, &text);
        let zst = folder.path().join("a.log.1.zst");
        fs::write(&zst, zstd::encode_all(&text[..], 1).expect("encodes")).expect("writes");
        check(&zst, &text);
    }

    #[test]
    fn a_cut_archive_is_an_error() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let zst = folder.path().join("a.log.1.zst");
        let bytes = zstd::encode_all(&vec![b'x'; 100_000][..], 1).expect("encodes");
        fs::write(&zst, &bytes[..bytes.len() - 3]).expect("writes");
        let (mut content, _) = LogFile::open(&zst, FollowLinks::Safe)
            .expect("opens")
            .expect("is regular");
        assert!(content.size().is_err());
    }
}
