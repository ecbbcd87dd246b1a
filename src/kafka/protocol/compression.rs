//! Codecs of record batches.

use std::fmt;
use std::io::{self, Read, Write};

use flate2::read::GzDecoder;
use flate2::{Compress, FlushCompress, Status};
use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};

use crate::config::Compression;
use crate::memory;

/// What the attributes of a record batch call its codec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Codec {
    /// Records as they are.
    None,
    /// One gzip member.
    Gzip,
    /// Chunks of raw snappy in the framing of Java's library (xerial), which its clients write and
    /// every client reads.
    Snappy,
    /// One standard LZ4 frame. Independent blocks of 64 KiB are what every client can read.
    Lz4,
    /// One zstd frame. Kafka since 2.1, and only in Produce requests since version 7 (KIP-110).
    Zstd,
}

impl Codec {
    #[cfg(test)]
    pub(crate) const ALL: [Compression; 5] = [
        Compression::None,
        Compression::Gzip(6),
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd(3),
    ];

    /// The codec that a setting stands for.
    pub(crate) fn of(compression: Compression) -> Self {
        match compression {
            Compression::None => Codec::None,
            Compression::Gzip(_) => Codec::Gzip,
            Compression::Snappy => Codec::Snappy,
            Compression::Lz4 => Codec::Lz4,
            Compression::Zstd(_) => Codec::Zstd,
        }
    }

    /// The bits in a record batch's attributes.
    pub(crate) fn attributes(self) -> i16 {
        self as i16
    }

    /// The codec that a record batch's attributes name.
    pub(crate) fn of_attributes(attributes: i16) -> Option<Self> {
        match attributes & 7 {
            0 => Some(Codec::None),
            1 => Some(Codec::Gzip),
            2 => Some(Codec::Snappy),
            3 => Some(Codec::Lz4),
            4 => Some(Codec::Zstd),
            _ => None,
        }
    }

    /// The lowest version of Produce that may carry it.
    pub(crate) fn least_produce_version(self) -> i16 {
        match self {
            Codec::Zstd => 7,
            _ => 0,
        }
    }

    /// Appends what `compressed` holds to `out`, which may have `most` bytes then: of our own batches, when one must be
    /// split, and of those of any client, when a topic is read.
    pub(crate) fn decompress(
        self,
        compressed: &[u8],
        out: &mut Vec<u8>,
        most: usize,
    ) -> io::Result<()> {
        let mut decoder: Box<dyn Read + '_> = match self {
            Codec::None => Box::new(compressed),
            Codec::Gzip => Box::new(GzDecoder::new(compressed)),
            Codec::Snappy => return unsnap(compressed, out, most),
            Codec::Lz4 => Box::new(FrameDecoder::new(compressed)),
            Codec::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(compressed)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                Box::new(decoder)
            }
        };
        let room = most.saturating_sub(out.len()) as u64;
        decoder.by_ref().take(room).read_to_end(out)?;
        match decoder.read(&mut [0])? {
            0 => Ok(()),
            _ => Err(too_large(most)),
        }
    }
}

/// Compresses the record batches of one producer. What the codec works with is made at the first
/// use and used again for all further batches.
pub(crate) struct Compressor {
    compression: Compression,
    state: Option<State>,
}

/// What a codec keeps from batch to batch.
enum State {
    Gzip(Compress),
    Snappy(Box<snap::raw::Encoder>),
    Lz4(Box<FrameEncoder<Vec<u8>>>),
    Zstd(zstd::bulk::Compressor<'static>),
}

impl Compressor {
    pub(crate) fn new(compression: Compression) -> Self {
        Compressor {
            compression,
            state: None,
        }
    }

    /// The codec.
    pub(crate) fn codec(&self) -> Codec {
        Codec::of(self.compression)
    }

    /// Frees what was kept.
    pub(crate) fn trim(&mut self) {
        self.state = None;
    }

    /// Appends `records`, compressed, to `out`.
    ///
    /// # Errors
    /// If the codec cannot get its memory.
    pub(crate) fn compress(&mut self, records: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        if self.state.is_none() {
            self.state = State::new(self.compression)?;
        }
        match &mut self.state {
            None => out.extend_from_slice(records),
            Some(State::Gzip(deflate)) => gzip(deflate, records, out)?,
            Some(State::Snappy(encoder)) => snap(encoder, records, out)?,
            Some(State::Lz4(encoder)) => {
                std::mem::swap(encoder.get_mut(), out);
                let written = encoder.write_all(records);
                let finished = written.and_then(|()| Ok(encoder.try_finish()?));
                std::mem::swap(encoder.get_mut(), out);
                finished?;
            }
            Some(State::Zstd(compressor)) => {
                let (from, most) = (out.len(), zstd::zstd_safe::compress_bound(records.len()));
                memory::reserve(out, most);
                out.resize(from + most, 0);
                let written = compressor.compress_to_buffer(records, &mut out[from..]);
                out.truncate(from + *written.as_ref().unwrap_or(&0));
                written?;
            }
        }
        Ok(())
    }
}

impl State {
    fn new(compression: Compression) -> io::Result<Option<State>> {
        Ok(match compression {
            Compression::None => None,
            Compression::Gzip(level) => {
                let level = flate2::Compression::new(level.into());
                Some(State::Gzip(Compress::new_gzip(level, GZIP_WINDOW_BITS)))
            }
            Compression::Snappy => Some(State::Snappy(Box::new(snap::raw::Encoder::new()))),
            Compression::Lz4 => {
                let info = FrameInfo::new()
                    .block_mode(BlockMode::Independent)
                    .block_size(BlockSize::Max64KB);
                let encoder = FrameEncoder::with_frame_info(info, Vec::new());
                Some(State::Lz4(Box::new(encoder)))
            }
            Compression::Zstd(level) => {
                let compressor = zstd::bulk::Compressor::new(level.into())?;
                Some(State::Zstd(compressor))
            }
        })
    }
}

impl fmt::Debug for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compressor")
            .field("compression", &self.compression)
            .finish_non_exhaustive()
    }
}

const GZIP_WINDOW_BITS: u8 = 15;

fn gzip(deflate: &mut Compress, records: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    deflate.reset();
    // Header, trailer, and 5 bytes for each block that does not shrink.
    memory::reserve(out, records.len() + records.len() / 1000 + 64);
    loop {
        let done = deflate.total_in() as usize;
        match deflate.compress_vec(&records[done..], out, FlushCompress::Finish)? {
            Status::StreamEnd => return Ok(()),
            Status::Ok | Status::BufError => out.reserve(64 << 10),
        }
    }
}

/// Magic, version 1, readable since version 1; then chunks, each with its length.
const XERIAL_HEAD: &[u8; 16] = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";
/// Bytes of records in one chunk: what the Java client writes.
const XERIAL_CHUNK_BYTES: usize = 32 << 10;

fn snap(encoder: &mut snap::raw::Encoder, records: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    out.extend_from_slice(XERIAL_HEAD);
    for chunk in records.chunks(XERIAL_CHUNK_BYTES) {
        let head = out.len();
        let from = head + 4;
        out.resize(from + snap::raw::max_compress_len(chunk.len()), 0);
        let len = encoder.compress(chunk, &mut out[from..])?;
        out.truncate(from + len);
        out[head..from].copy_from_slice(&(len as u32).to_be_bytes());
    }
    Ok(())
}

/// Chunks in the framing of Java's library, or one raw block, as librdkafka writes it.
fn unsnap(compressed: &[u8], out: &mut Vec<u8>, most: usize) -> io::Result<()> {
    let truncated = || io::Error::from(io::ErrorKind::UnexpectedEof);
    if !compressed.starts_with(&XERIAL_HEAD[..8]) {
        return unsnap_block(compressed, out, most);
    }
    let mut rest = compressed.get(XERIAL_HEAD.len()..).ok_or_else(truncated)?;
    while let Some((len, chunks)) = rest.split_first_chunk::<4>() {
        let len = u32::from_be_bytes(*len) as usize;
        let (chunk, after) = chunks.split_at_checked(len).ok_or_else(truncated)?;
        unsnap_block(chunk, out, most)?;
        rest = after;
    }
    match rest {
        [] => Ok(()),
        _ => Err(truncated()),
    }
}

fn unsnap_block(block: &[u8], out: &mut Vec<u8>, most: usize) -> io::Result<()> {
    // Nothing is made larger than 22 times, so a length beyond that is not true, and would take memory.
    let len = snap::raw::decompress_len(block)?;
    if len > most.saturating_sub(out.len()) || len / 32 > block.len() {
        return Err(too_large(most));
    }
    let from = out.len();
    out.resize(from + len, 0);
    snap::raw::Decoder::new().decompress(block, &mut out[from..])?;
    Ok(())
}

fn too_large(most: usize) -> io::Error {
    io::Error::other(format!("it unpacks to more than {most} bytes"))
}

/// A window of 32 MiB.
const ZSTD_WINDOW_LOG_MAX: u32 = 25;

#[cfg(test)]
mod tests {
    use super::*;

    /// Three kinds of bytes: some that shrink, some that do not, and next to nothing.
    fn samples() -> [Vec<u8>; 3] {
        let mut random = fastrand::Rng::with_seed(1);
        [
            (0..300_000u32).map(|n| (n / 7 % 251) as u8).collect(),
            std::iter::repeat_with(|| random.u8(..))
                .take(200_000)
                .collect(),
            b"x".to_vec(),
        ]
    }

    #[test]
    fn what_was_compressed_comes_back() {
        for compression in Codec::ALL {
            let mut compressor = Compressor::new(compression);
            // The second round and the third use what the first has left.
            for round in 0..3 {
                for records in samples() {
                    let mut compressed = b"head".to_vec();
                    compressor
                        .compress(&records, &mut compressed)
                        .expect("memory");
                    assert!(compressed.starts_with(b"head"));
                    let mut back = Vec::new();
                    let codec = compressor.codec();
                    codec
                        .decompress(&compressed[4..], &mut back, usize::MAX)
                        .expect("our own bytes");
                    assert!(back == records, "{codec:?} changed the bytes");
                }
                if round == 1 {
                    compressor.trim();
                }
            }
        }
    }

    #[test]
    fn every_level_is_taken_and_makes_a_difference() {
        let mut random = fastrand::Rng::with_seed(2);
        let words = [
            "GET",
            "POST",
            "/index.html",
            "/api/v1/users",
            "200",
            "404",
            "Mozilla",
            "curl",
        ];
        let mut records = Vec::new();
        for n in 0..1000 {
            let (method, path) = (random.choice(words), random.choice(words));
            records.extend(format!("{n} {method:?} {path:?} {}\n", random.u16(..)).into_bytes());
        }
        let size = |compression| {
            let mut compressed = Vec::new();
            Compressor::new(compression)
                .compress(&records, &mut compressed)
                .expect("memory");
            let mut back = Vec::new();
            Codec::of(compression)
                .decompress(&compressed, &mut back, usize::MAX)
                .expect("our own bytes");
            assert!(back == records, "{compression:?}");
            compressed.len()
        };
        let gzip: Vec<usize> = (1..=9)
            .map(|level| size(Compression::Gzip(level)))
            .collect();
        let zstd: Vec<usize> = (1..=22)
            .map(|level| size(Compression::Zstd(level)))
            .collect();
        assert!(gzip[8] < gzip[0], "{gzip:?}");
        assert!(zstd[21] < zstd[0], "{zstd:?}");
    }

    #[test]
    fn attributes_and_codecs_go_both_ways() {
        for compression in Codec::ALL {
            let codec = Codec::of(compression);
            assert_eq!(Codec::of_attributes(codec.attributes()), Some(codec));
        }
        assert_eq!(Codec::of_attributes(5), None);
    }

    #[test]
    fn what_unpacks_to_more_than_is_allowed_is_an_error_before_it_is_unpacked() {
        let zeros = vec![0; 1 << 20];
        for compression in Codec::ALL {
            let codec = Codec::of(compression);
            let mut compressed = Vec::new();
            let made = Compressor::new(compression).compress(&zeros, &mut compressed);
            made.expect("memory");
            for most in [0, 1, 1000, zeros.len() - 1] {
                let mut out = Vec::new();
                let result = codec.decompress(&compressed, &mut out, most);
                assert!(result.is_err(), "{codec:?}, {most}");
                assert!(out.len() <= most, "{codec:?}, {most}: {}", out.len());
            }
            let mut out = Vec::new();
            let result = codec.decompress(&compressed, &mut out, zeros.len());
            assert!(result.is_ok() && out == zeros, "{codec:?}");
        }
    }

    #[test]
    fn raw_snappy_is_read_too() {
        let [records, ..] = samples();
        let raw = snap::raw::Encoder::new().compress_vec(&records);
        let mut back = Vec::new();
        let result = Codec::Snappy.decompress(&raw.expect("memory"), &mut back, usize::MAX);
        assert!(result.is_ok() && back == records);
    }

    #[test]
    fn damaged_snappy_is_an_error() {
        let mut compressed = Vec::new();
        let mut compressor = Compressor::new(Compression::Snappy);
        compressor
            .compress(&samples()[0], &mut compressed)
            .expect("memory");
        for end in [3, 15, 21, compressed.len() - 1] {
            let cut = Codec::Snappy.decompress(&compressed[..end], &mut Vec::new(), usize::MAX);
            assert!(cut.is_err(), "cut at {end}");
        }
    }
}
