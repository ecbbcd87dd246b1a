//! A Kafka broker that keeps nothing: it counts the requests, bytes and records that arrive and says yes.
//!
//! It costs a reader of each request and a look at the heads of its record batches, so that what is
//! measured is the sender. It offers one old version of each API, whose messages are short to write.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A listening broker; its threads end with the process.
pub(crate) struct Sink {
    pub(crate) port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Of each topic.
    partitions: i32,
    /// Produce requests.
    requests: AtomicU64,
    /// Bytes of all requests, with their lengths.
    bytes: AtomicU64,
    records: AtomicU64,
    /// Look for the time that is written in each line.
    reads_times: AtomicBool,
    /// From the time in a line to its arrival, in ns.
    latencies_ns: Mutex<Vec<u64>>,
}

/// What has arrived so far.
#[derive(Clone, Copy)]
pub(crate) struct Arrived {
    /// Produce requests.
    pub(crate) requests: u64,
    /// Bytes of all requests.
    pub(crate) bytes: u64,
    pub(crate) records: u64,
}

impl Sink {
    /// Listens on a free port of the loopback; each topic has so many partitions.
    pub(crate) fn start(partitions: i32) -> io::Result<Sink> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared {
            partitions,
            ..Shared::default()
        });
        let of_thread = shared.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = of_thread.clone();
                thread::spawn(move || {
                    // A sender that hangs up ends its connection, and nothing else.
                    let _ = serve(stream, port, &shared);
                });
            }
        });
        Ok(Sink { port, shared })
    }

    /// HOST:PORT.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// All counts.
    pub(crate) fn arrived(&self) -> Arrived {
        Arrived {
            requests: self.shared.requests.load(Ordering::Acquire),
            bytes: self.shared.bytes.load(Ordering::Acquire),
            records: self.records(),
        }
    }

    /// Records so far.
    pub(crate) fn records(&self) -> u64 {
        self.shared.records.load(Ordering::Acquire)
    }

    /// Waits until there are `count` records.
    pub(crate) fn wait_for(&self, count: u64, patience: Duration) -> Result<(), String> {
        let end = Instant::now() + patience;
        while self.records() < count {
            if Instant::now() > end {
                return Err(format!(
                    "{} of {count} records arrived in {patience:?}",
                    self.records()
                ));
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// From now on the age of each line is noted.
    pub(crate) fn read_times(&self) {
        self.shared.reads_times.store(true, Ordering::Release);
    }

    /// The ages since the last call, sorted, in ns.
    pub(crate) fn take_latencies_ns(&self) -> Vec<u64> {
        let mut latencies =
            std::mem::take(&mut *self.shared.latencies_ns.lock().expect("no thread panics"));
        latencies.sort_unstable();
        latencies
    }
}

const PRODUCE: i16 = 0;
const FETCH: i16 = 1;
const METADATA: i16 = 3;
const API_VERSIONS: i16 = 18;
const INIT_PRODUCER_ID: i16 = 22;
const FIND_COORDINATOR: i16 = 10;
/// librdkafka sends record batches of format 2 only to a broker that lists Produce 3 and Fetch 4, and uses lz4 only
/// with one that lists Produce 0 and FindCoordinator 0. All senders take the newest Produce; others are not answered.
const OFFERED: [(i16, i16, i16); 6] = [
    (PRODUCE, 0, PRODUCE_VERSION),
    (FETCH, 4, 4),
    (METADATA, 1, 1),
    (FIND_COORDINATOR, 0, 0),
    (API_VERSIONS, 0, 0),
    (INIT_PRODUCER_ID, 0, 0),
];
const PRODUCE_VERSION: i16 = 7;
const UNSUPPORTED_VERSION: i16 = 35;

fn serve(mut stream: TcpStream, port: u16, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut frame = Vec::new();
    let mut answer = Vec::new();
    loop {
        let mut length = [0u8; 4];
        stream.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length) as usize;
        if length > MAX_FRAME_BYTES {
            return Err(ErrorKind::InvalidData.into());
        }
        if frame.len() < length {
            frame.resize(length, 0);
        }
        stream.read_exact(&mut frame[..length])?;
        let bytes = LENGTH_BYTES + length as u64;
        shared.bytes.fetch_add(bytes, Ordering::AcqRel);
        let mut request = Fields(&frame[..length]);
        answer.clear();
        answer.extend_from_slice(&[0; 4]);
        let wanted = reply(&mut request, port, shared, &mut answer);
        match wanted.ok_or(ErrorKind::InvalidData)? {
            Wanted::Yes => {
                let length = (answer.len() - 4) as u32;
                answer[..4].copy_from_slice(&length.to_be_bytes());
                stream.write_all(&answer)?;
            }
            Wanted::No => {}
        }
    }
}

const MAX_FRAME_BYTES: usize = 64 << 20;
/// Of the length before each request.
const LENGTH_BYTES: u64 = 4;

/// Whether the sender waits for an answer.
enum Wanted {
    Yes,
    No,
}

/// Writes the answer to one request; `None` if the request makes no sense.
fn reply(
    request: &mut Fields<'_>,
    port: u16,
    shared: &Shared,
    answer: &mut Vec<u8>,
) -> Option<Wanted> {
    let (api, version) = (request.i16()?, request.i16()?);
    put(answer, request.take(4)?); // correlation id
    request.string()?; // client id
    match api {
        API_VERSIONS => {
            let error = if version > 0 { UNSUPPORTED_VERSION } else { 0 };
            put(answer, &error.to_be_bytes());
            put(answer, &(OFFERED.len() as i32).to_be_bytes());
            for (api, least, most) in OFFERED {
                for value in [api, least, most] {
                    put(answer, &value.to_be_bytes());
                }
            }
        }
        METADATA => {
            let count = request.i32()?;
            put(answer, &1i32.to_be_bytes()); // brokers
            put(answer, &NODE.to_be_bytes());
            put_string(answer, b"127.0.0.1");
            put(answer, &i32::from(port).to_be_bytes());
            put(answer, &(-1i16).to_be_bytes()); // rack
            put(answer, &NODE.to_be_bytes()); // controller
            put(answer, &count.max(0).to_be_bytes());
            for _ in 0..count {
                put(answer, &0i16.to_be_bytes());
                put_string(answer, request.string()?);
                put(answer, &[0]); // not internal
                put(answer, &shared.partitions.to_be_bytes());
                for partition in 0..shared.partitions {
                    put(answer, &0i16.to_be_bytes());
                    // Which partition; its leader; then replicas and those in sync: one each.
                    for value in [partition, NODE, 1, NODE, 1, NODE] {
                        put(answer, &value.to_be_bytes());
                    }
                }
            }
        }
        INIT_PRODUCER_ID => {
            put(answer, &0i32.to_be_bytes()); // throttle
            put(answer, &0i16.to_be_bytes());
            put(answer, &7i64.to_be_bytes());
            put(answer, &0i16.to_be_bytes());
        }
        PRODUCE if version == PRODUCE_VERSION => {
            shared.requests.fetch_add(1, Ordering::AcqRel);
            request.string()?; // transactional id
            let acks = request.i16()?;
            request.i32()?; // timeout
            let topics = request.i32()?;
            put(answer, &topics.to_be_bytes());
            for _ in 0..topics {
                put_string(answer, request.string()?);
                let partitions = request.i32()?;
                put(answer, &partitions.to_be_bytes());
                for _ in 0..partitions {
                    put(answer, request.take(4)?); // which partition
                    let length = usize::try_from(request.i32()?).ok()?;
                    count(request.take(length)?, shared)?;
                    put(answer, &0i16.to_be_bytes());
                    // Base offset, append time, start of the log.
                    for value in [0i64, -1, 0] {
                        put(answer, &value.to_be_bytes());
                    }
                }
            }
            put(answer, &0i32.to_be_bytes()); // throttle
            if acks == 0 {
                return Some(Wanted::No);
            }
        }
        _ => return None,
    }
    Some(Wanted::Yes)
}

const NODE: i32 = 1;

/// Counts the records of the batches in `records`.
fn count(mut records: &[u8], shared: &Shared) -> Option<()> {
    while !records.is_empty() {
        let mut head = Fields(records);
        head.take(8)?;
        let length = usize::try_from(head.i32()?).ok()?;
        let (batch, rest) = records.split_at_checked(12 + length)?;
        let (count, of_format_2) = match batch.get(16)? {
            2 => (
                u32::from_be_bytes(batch.get(57..61)?.try_into().ok()?),
                true,
            ),
            // A message of formats 0 and 1 is one record, if it holds no compressed others.
            0 | 1 if batch.get(17)? & 7 == 0 => (1, false),
            _ => return None,
        };
        if shared.reads_times.load(Ordering::Relaxed) {
            read_times(batch, of_format_2, shared)?;
        }
        shared.records.fetch_add(count.into(), Ordering::AcqRel);
        records = rest;
    }
    Some(())
}

/// Notes how old the lines of a batch are.
fn read_times(batch: &[u8], of_format_2: bool, shared: &Shared) -> Option<()> {
    let now_ns = now_ns();
    let mut unpacked = Vec::new();
    let records = match batch[22] & 7 {
        _ if !of_format_2 => batch,
        0 => &batch[61..],
        codec => {
            let mut decoder: Box<dyn Read> = match codec {
                3 => Box::new(lz4_flex::frame::FrameDecoder::new(&batch[61..])),
                4 => Box::new(zstd::Decoder::with_buffer(&batch[61..]).ok()?),
                _ => return None,
            };
            decoder.read_to_end(&mut unpacked).ok()?;
            &unpacked[..]
        }
    };
    let mut latencies = shared.latencies_ns.lock().expect("no thread panics");
    for at in memchr::memmem::find_iter(records, TIME_MARK) {
        let digits = records[at + TIME_MARK.len()..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit());
        let then_ns = digits.fold(0u64, |sum, digit| sum * 10 + u64::from(digit - b'0'));
        // A line may have no time.
        if then_ns > 0 {
            latencies.push(now_ns.saturating_sub(then_ns));
        }
    }
    Some(())
}

/// Stands before the time, in ns since 1970, in a line whose latency is measured.
pub(crate) const TIME_MARK: &[u8] = b"written_at=";

pub(crate) fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_nanos() as u64)
}

fn put(answer: &mut Vec<u8>, bytes: &[u8]) {
    answer.extend_from_slice(bytes);
}

fn put_string(answer: &mut Vec<u8>, string: &[u8]) {
    put(answer, &(string.len() as i16).to_be_bytes());
    put(answer, string);
}

/// What is left of a request.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(head)
    }

    fn i16(&mut self) -> Option<i16> {
        Some(i16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    fn i32(&mut self) -> Option<i32> {
        Some(i32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    /// A null string is an empty one.
    fn string(&mut self) -> Option<&'a [u8]> {
        let length = self.i16()?;
        self.take(usize::try_from(length).unwrap_or(0))
    }
}
