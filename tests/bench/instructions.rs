//! Does the hot path of one read a number of times, for `scripts/instructions.sh` to count its
//! instructions: instructions CASE TIMES. Prints the number of lines.

mod batches;

use batches::{BATCH_BYTES, Headers, batch};
use logagent::config::Compression;
use logagent::kafka::Encoder;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (case, times) = (arguments.next(), arguments.next());
    let (headers, compression) = match case.as_deref() {
        Some("plain") => (Headers::None, Compression::None),
        Some("headers") => (Headers::HostAndPath, Compression::None),
        Some("lz4") => (Headers::HostAndPath, Compression::Lz4),
        Some("zstd") => (Headers::HostAndPath, Compression::Zstd(3)),
        _ => panic!("instructions plain|headers|lz4|zstd TIMES"),
    };
    let times: u64 = times.and_then(|times| times.parse().ok()).unwrap_or(1);
    let batch = batch(headers);
    let mut encoder = Encoder::new(compression, 2 * BATCH_BYTES);
    let mut lines = 0;
    for _ in 0..times {
        let (bytes, records) = encoder.encode(std::hint::black_box(&batch));
        std::hint::black_box(bytes);
        lines += records;
    }
    println!("{lines}");
}
