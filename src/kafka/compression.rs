//! Codecs of record batches.

use std::io::{Read, Write};

use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};

use crate::config::Compression;

/// A codec that the native output can write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// Records as they are.
    None,
    /// One standard LZ4 frame. Independent blocks of 64 KiB are what every client can read.
    Lz4,
}

/// The native output does not write this codec.
#[derive(Debug, thiserror::Error)]
#[error("compression '{0:?}' is not available with protocol = native")]
pub struct UnknownCodec(Compression);

impl TryFrom<Compression> for Codec {
    type Error = UnknownCodec;

    fn try_from(compression: Compression) -> Result<Self, UnknownCodec> {
        match compression {
            Compression::None => Ok(Codec::None),
            Compression::Lz4 => Ok(Codec::Lz4),
            other => Err(UnknownCodec(other)),
        }
    }
}

impl Codec {
    /// The bits in a record batch's attributes.
    pub(super) fn attributes(self) -> i16 {
        match self {
            Codec::None => 0,
            Codec::Lz4 => 3,
        }
    }

    /// The codec that a record batch's attributes name.
    pub(super) fn of_attributes(attributes: i16) -> Option<Self> {
        [Codec::None, Codec::Lz4]
            .into_iter()
            .find(|codec| codec.attributes() == attributes & 7)
    }

    /// Appends `records`, compressed, to `out`.
    pub(super) fn compress(self, records: &[u8], out: &mut Vec<u8>) {
        match self {
            Codec::None => out.extend_from_slice(records),
            Codec::Lz4 => {
                let info = FrameInfo::new()
                    .block_mode(BlockMode::Independent)
                    .block_size(BlockSize::Max64KB);
                let mut encoder = FrameEncoder::with_frame_info(info, std::mem::take(out));
                encoder
                    .write_all(records)
                    .expect("writing to a vector cannot fail");
                *out = encoder.finish().expect("writing to a vector cannot fail");
            }
        }
    }

    /// Appends what `compressed` holds to `out`. Used on our own batches, when one must be split.
    pub(super) fn decompress(self, compressed: &[u8], out: &mut Vec<u8>) -> std::io::Result<()> {
        match self {
            Codec::None => out.extend_from_slice(compressed),
            Codec::Lz4 => {
                FrameDecoder::new(compressed).read_to_end(out)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_compressed_comes_back() {
        let records: Vec<u8> = (0..300_000u32).map(|n| (n / 7 % 251) as u8).collect();
        for codec in [Codec::None, Codec::Lz4] {
            let mut compressed = b"head".to_vec();
            codec.compress(&records, &mut compressed);
            assert!(compressed.starts_with(b"head"));
            let mut back = Vec::new();
            codec
                .decompress(&compressed[4..], &mut back)
                .expect("our own bytes");
            assert!(back == records, "{codec:?} changed the bytes");
        }
    }
}
