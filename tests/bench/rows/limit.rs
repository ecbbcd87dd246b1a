//! What one thread of this machine can do: the least work that turns a file into acknowledged records.
//!
//! It reads, finds the lines, writes them into record batches of format 2 with their checksum, compresses
//! with the codec that the agent uses, and keeps at most five requests on their way. It follows nothing,
//! remembers nothing, retries nothing and has one file, one topic and one partition. The agent's work is
//! measured against it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};

/// The same libraries and levels as the agent's.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Codec {
    None,
    Lz4,
    Zstd(i32),
}

/// What it took.
pub(crate) struct Cost {
    pub(crate) wall: Duration,
    pub(crate) cpu: Duration,
    pub(crate) records: u64,
}

/// Sends the lines of `file` to the broker at `port`, on the calling thread.
pub(crate) fn ship(file: &Path, port: u16, codec: Codec) -> io::Result<Cost> {
    let (started, cpu) = (Instant::now(), thread_cpu()?);
    let mut file = File::open(file)?;
    let mut sender = Sender::connect(port, codec)?;
    let mut window = vec![0u8; 2 * READ_BYTES];
    let mut kept = 0;
    loop {
        let count = file.read(&mut window[kept..kept + READ_BYTES])?;
        if count == 0 {
            break;
        }
        let filled = kept + count;
        let mut start = 0;
        // What was kept holds no newline.
        for at in memchr::memchr_iter(b'\n', &window[kept..filled]) {
            sender.push(&window[start..kept + at])?;
            start = kept + at + 1;
        }
        window.copy_within(start..filled, 0);
        kept = filled - start;
        if kept > READ_BYTES {
            return Err(io::Error::other("a line is too long for this program"));
        }
    }
    sender.flush()?;
    while sender.unanswered > 0 {
        sender.await_answer()?;
    }
    Ok(Cost {
        wall: started.elapsed(),
        cpu: thread_cpu()?.saturating_sub(cpu),
        records: sender.sent,
    })
}

const READ_BYTES: usize = 1 << 20;
const BATCH_BYTES: usize = 1_000_000;
const HEAD_BYTES: usize = 61;
const IN_FLIGHT: u32 = 5;
const TOPIC: &[u8] = b"limit";

struct Sender {
    stream: TcpStream,
    codec: Codec,
    zstd: Option<zstd::bulk::Compressor<'static>>,
    batch: Vec<u8>,
    packed: Vec<u8>,
    records: u32,
    sent: u64,
    unanswered: u32,
}

impl Sender {
    fn connect(port: u16, codec: Codec) -> io::Result<Sender> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        let zstd = match codec {
            Codec::Zstd(level) => Some(zstd::bulk::Compressor::new(level)?),
            _ => None,
        };
        let mut batch = Vec::with_capacity(BATCH_BYTES + READ_BYTES);
        batch.resize(HEAD_BYTES, 0);
        Ok(Sender {
            stream,
            codec,
            zstd,
            batch,
            packed: Vec::new(),
            records: 0,
            sent: 0,
            unanswered: 0,
        })
    }

    /// One record: no key, no headers, time of the batch.
    #[inline(always)]
    fn push(&mut self, line: &[u8]) -> io::Result<()> {
        if self.batch.len() + line.len() + 24 > BATCH_BYTES {
            self.flush()?;
        }
        let body = 5 - 1 + varint_len(self.records as usize) + varint_len(line.len()) + line.len();
        let mut head = [0u8; 24];
        let mut len = put_varint(&mut head, 0, body) + 2;
        len = put_varint(&mut head, len, self.records as usize);
        head[len] = 1; // a null key
        len = put_varint(&mut head, len + 1, line.len());
        self.batch.extend_from_slice(&head[..len]);
        self.batch.extend_from_slice(line);
        self.batch.push(0);
        self.records += 1;
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.records == 0 {
            return Ok(());
        }
        self.pack()?;
        let batch = match self.codec {
            Codec::None => &mut self.batch,
            _ => &mut self.packed,
        };
        let length = (batch.len() - 12) as u32;
        batch[8..12].copy_from_slice(&length.to_be_bytes());
        batch[16] = 2;
        batch[22] = match self.codec {
            Codec::None => 0,
            Codec::Lz4 => 3,
            Codec::Zstd(_) => 4,
        };
        batch[23..27].copy_from_slice(&(self.records - 1).to_be_bytes());
        batch[43..57].fill(0xff); // no producer id
        batch[57..61].copy_from_slice(&self.records.to_be_bytes());
        let crc = crc32c::crc32c(&batch[21..]);
        batch[17..21].copy_from_slice(&crc.to_be_bytes());

        let mut request = vec![
            0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 1,
        ];
        request.extend_from_slice(&30_000u32.to_be_bytes());
        request.extend_from_slice(&1u32.to_be_bytes());
        request.extend_from_slice(&(TOPIC.len() as u16).to_be_bytes());
        request.extend_from_slice(TOPIC);
        request.extend_from_slice(&1u32.to_be_bytes());
        request.extend_from_slice(&0u32.to_be_bytes());
        request.extend_from_slice(&(batch.len() as u32).to_be_bytes());
        let length = (request.len() - 4 + batch.len()) as u32;
        request[..4].copy_from_slice(&length.to_be_bytes());
        if self.unanswered == IN_FLIGHT {
            self.await_answer()?;
        }
        self.stream.write_all(&request)?;
        let batch = match self.codec {
            Codec::None => &self.batch,
            _ => &self.packed,
        };
        self.stream.write_all(batch)?;
        self.unanswered += 1;
        self.sent += u64::from(self.records);
        self.records = 0;
        self.batch.truncate(HEAD_BYTES);
        Ok(())
    }

    fn pack(&mut self) -> io::Result<()> {
        let records = &self.batch[HEAD_BYTES..];
        let packed = &mut self.packed;
        packed.clear();
        packed.resize(HEAD_BYTES, 0);
        match (self.codec, &mut self.zstd) {
            (Codec::Zstd(_), Some(zstd)) => {
                packed.resize(
                    HEAD_BYTES + zstd::zstd_safe::compress_bound(records.len()),
                    0,
                );
                let len = zstd.compress_to_buffer(records, &mut packed[HEAD_BYTES..])?;
                packed.truncate(HEAD_BYTES + len);
            }
            (Codec::Lz4, _) => {
                let info = FrameInfo::new()
                    .block_mode(BlockMode::Independent)
                    .block_size(BlockSize::Max64KB);
                let mut encoder = FrameEncoder::with_frame_info(info, std::mem::take(packed));
                encoder.write_all(records)?;
                *packed = encoder.finish()?;
            }
            _ => {}
        }
        Ok(())
    }

    fn await_answer(&mut self) -> io::Result<()> {
        let mut length = [0u8; 4];
        self.stream.read_exact(&mut length)?;
        let mut answer = vec![0u8; u32::from_be_bytes(length) as usize];
        self.stream.read_exact(&mut answer)?;
        self.unanswered -= 1;
        // Correlation id, one topic and its name, one partition and its number; then the error.
        let error = 4 + 4 + 2 + TOPIC.len() + 4 + 4;
        match answer.get(error..error + 2) {
            Some([0, 0]) => Ok(()),
            _ => Err(io::Error::other("the broker refused a batch")),
        }
    }
}

/// A zigzag varint of a number that is not negative.
#[inline(always)]
fn put_varint(out: &mut [u8; 24], mut at: usize, value: usize) -> usize {
    let mut value = (value as u64) << 1;
    while value >= 0x80 {
        out[at] = value as u8 | 0x80;
        value >>= 7;
        at += 1;
    }
    out[at] = value as u8;
    at + 1
}

#[inline(always)]
fn varint_len(value: usize) -> usize {
    let value = (value as u64) << 1;
    (70 - (value | 1).leading_zeros() as usize) / 7
}

/// CPU time of the calling thread, from the first field of schedstat (proc(5)), in ns.
fn thread_cpu() -> io::Result<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let ns = text.split(' ').next().and_then(|ns| ns.parse().ok());
    ns.map(Duration::from_nanos)
        .ok_or_else(|| io::Error::other("/proc/thread-self/schedstat cannot be understood"))
}
