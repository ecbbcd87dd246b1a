//! Does the hot path of one read a number of times, for `scripts/instructions.sh` to count its
//! instructions: instructions CASE TIMES. Prints the number of lines.

#[path = "../batches.rs"]
mod batches;

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use batches::{BATCH_BYTES, Headers, batch, batch_of, json_lines, lines};
use logagent::batch::{Batch, Framing};
use logagent::buffer::BufferPool;
use logagent::config::{Compression, Config};
use logagent::kafka::Encoder;
use logagent::record::recorder::{Content, FileFacts, Input, Recorder};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (case, times) = (arguments.next(), arguments.next());
    let times: u64 = times.and_then(|times| times.parse().ok()).unwrap_or(1);
    let (headers, compression) = match case.as_deref() {
        Some("plain") => (Headers::None, Compression::None),
        Some("headers") => (Headers::HostAndPath, Compression::None),
        Some("lz4") => (Headers::HostAndPath, Compression::Lz4),
        Some("zstd") => (Headers::HostAndPath, Compression::Zstd(3)),
        Some("filters") => {
            let section = "drop.health = GET /(health|ready)\ndrop.errors = \" [45]\\d\\d\\x20\n";
            return records(section, lines(), times);
        }
        Some("json") => return records("format = json\n", lines(), times),
        Some("merge") => {
            let section =
                "format = json\njson = merge\nparse = json\ntime = rfc3339\ntime_field = time\n";
            return records(section, json_lines(), times);
        }
        Some("timestamp") => return records("multiline = timestamp\n", lines(), times),
        _ => panic!("instructions plain|headers|lz4|zstd|filters|json|merge|timestamp TIMES"),
    };
    let batch = batch(headers);
    let mut encoder = Encoder::new(compression, 2 * BATCH_BYTES);
    let mut lines = 0;
    for _ in 0..times {
        let (bytes, records) = encoder.encode(black_box(&batch));
        black_box(bytes);
        lines += records;
    }
    println!("{lines}");
}

/// Has records made of `lines` as a section with these keys asks for, and encodes them.
fn records(keys: &str, lines: Vec<u8>, times: u64) {
    let ini = format!(
        "[agent]\nstate_dir = /tmp\n[kafka]\nbrokers = a:9092\ntopic = web_log\n[log:web]\npath = /a\n{keys}"
    );
    let config = Config::parse(&ini, Path::new("a.ini"), &|_| None);
    let config = config.unwrap_or_else(|errors| panic!("{errors}"));
    let config = config.logs[0].record.clone().expect("it does something");
    let mut batch = batch_of(Headers::None, &lines);
    let facts = FileFacts {
        inode: 1,
        identity: 1,
        position: 0,
        head: &[],
        before: &[],
        destination: &batch.destination,
    };
    let pool = BufferPool::new();
    let mut recorder = Recorder::new(&config, &Arc::new(config.counters()), &facts, &pool);
    let mut encoder = Encoder::new(Compression::None, 3 * BATCH_BYTES);
    let mut encode = |batch: &Batch| {
        black_box(encoder.encode(black_box(batch)));
    };
    // Not the time of day: the number of its digits is not always the same.
    recorder.rehearse(1_770_000_000_123_456_789);
    let count = memchr::memchr_iter(b'\n', &lines).count() as u64;
    for _ in 0..times {
        let made = recorder.make(&Input {
            data: black_box(&lines),
            behind: &[],
            framing: &Framing::Lines,
            start: 0,
            is_complete: true,
        });
        recorder.take_fates();
        if let Some(framing) = made.as_read {
            batch.framing = framing;
            encode(&batch);
        }
        for run in made.runs {
            batch.data = match run.content {
                Content::Made(made) => made,
                Content::Kept(kept) => {
                    let mut data = pool.buffer(kept.iter().map(ExactSizeIterator::len).sum());
                    let mut end = 0;
                    for place in kept {
                        data[end..end + place.len()].copy_from_slice(&lines[place.clone()]);
                        end += place.len();
                    }
                    data
                }
            };
            batch.framing = run.framing;
            encode(&batch);
        }
    }
    println!("{}", count * times);
}
