//! Micro-benchmarks of the hot path: `cargo bench`.

mod batches;

use batches::{BATCH_BYTES, Headers, batch};
use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use logagent::batch::{Span, TailChecksum};
use logagent::checkpoint::tracker::AckTracker;
use logagent::config::Compression;
use logagent::kafka::Encoder;

fn main() {
    divan::main();
}

/// Finding the lines of one read.
#[divan::bench]
fn line_scan(bencher: Bencher<'_, '_>) {
    let batch = batch(Headers::None);
    bencher
        .counter(BytesCount::new(batch.data.len()))
        .bench_local(|| {
            black_box(&batch)
                .records()
                .map(|(_, line)| line.len())
                .sum::<usize>()
        });
}

/// Lines into signed record batches, without a codec.
#[divan::bench(args = [Headers::None, Headers::HostAndPath])]
fn batch_writing(bencher: Bencher<'_, '_>, headers: Headers) {
    encode(bencher, headers, Compression::None);
}

/// The same with each codec.
#[divan::bench(args = [
    Compression::Lz4,
    Compression::Snappy,
    Compression::Gzip(1),
    Compression::Gzip(6),
    Compression::Zstd(1),
    Compression::Zstd(3),
])]
fn codec(bencher: Bencher<'_, '_>, compression: Compression) {
    encode(bencher, Headers::None, compression);
}

fn encode(bencher: Bencher<'_, '_>, headers: Headers, compression: Compression) {
    let batch = batch(headers);
    let mut encoder = Encoder::new(compression, 2 * BATCH_BYTES);
    bencher
        .counter(BytesCount::new(batch.data.len()))
        .bench_local(|| encoder.encode(black_box(&batch)));
}

/// A thousand acknowledgements, in order and in the worst order.
#[divan::bench(args = ["in order", "backwards"])]
fn ack_tracking(bencher: Bencher<'_, '_>, order: &str) {
    let source = batch(Headers::None).source;
    let mut spans: Vec<Span> = (0..1000)
        .map(|n| Span {
            source,
            start: n * 1000,
            end: (n + 1) * 1000,
            tail_checksum: TailChecksum::default(),
        })
        .collect();
    if order == "backwards" {
        spans.reverse();
    }
    bencher.counter(spans.len()).bench_local(|| {
        let mut tracker = AckTracker::new(0, TailChecksum::default());
        for span in black_box(&spans) {
            tracker.ack(span);
        }
        assert_eq!(tracker.offset(), 1_000_000);
    });
}
