//! The output as a whole, against a broker that fails.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::fake::{Fake, Fault};
use super::testing::{batch, config, destination, destination_to};
use crate::batch::{Batch, Destination, Progress, SourceId, Span};
use crate::config::{Acks, BrokerAddress, Compression, KafkaConfig, Partitioner};
use crate::kafka::producer::NativeOutput;
use crate::kafka::protocol::compression::Codec;
use crate::output::{Worker, WorkerEnd};
use crate::stop::Deadline;

/// A producer thread and the ends of its channels.
struct Run {
    batches: Sender<Batch>,
    progress: Receiver<Progress>,
    worker: JoinHandle<WorkerEnd>,
}

fn run(config: KafkaConfig, patience: Duration) -> Run {
    let (batches, incoming) = unbounded();
    let (outgoing, progress) = unbounded();
    let deadline = Deadline::default();
    deadline.set(Instant::now() + patience);
    let worker = std::thread::spawn(move || {
        let output = NativeOutput::new(0, Arc::new(config), outgoing, None);
        Worker::new(output, incoming, deadline).run()
    });
    Run {
        batches,
        progress,
        worker,
    }
}

impl Run {
    /// Waits until all is acknowledged and returns the spans, by source.
    fn finish(self) -> BTreeMap<SourceId, Vec<Span>> {
        drop(self.batches);
        assert!(
            self.worker.join().expect("no panic").is_complete,
            "not all was acknowledged"
        );
        let mut spans: BTreeMap<SourceId, Vec<Span>> = BTreeMap::new();
        for progress in self.progress {
            if let Progress::Acked(acked) = progress {
                for span in acked {
                    spans.entry(span.source).or_default().push(span);
                }
            }
        }
        for of_source in spans.values_mut() {
            of_source.sort_by_key(|span| span.start);
        }
        spans
    }
}

/// Every byte from 0 to `end` is in exactly one span.
fn assert_covers(spans: &[Span], end: usize) {
    let mut at = 0;
    for span in spans {
        assert_eq!(span.start, at, "a gap or an overlap in {spans:?}");
        at = span.end;
    }
    assert_eq!(at, end as u64);
}

/// `count` numbered lines of different sizes in batches of different sizes, of one source.
fn numbered(to: &Arc<Destination>, count: usize, random: &mut fastrand::Rng) -> Vec<Batch> {
    let source = SourceId::next();
    let mut batches = Vec::new();
    let mut start = 0;
    let mut n = 0;
    while n < count {
        let mut data = Vec::new();
        for _ in 0..random.usize(1..30).min(count - n) {
            data.extend_from_slice(format!("{n} {}\n", "x".repeat(random.usize(..90))).as_bytes());
            n += 1;
        }
        let mut batch = batch(to, &data);
        (batch.source, batch.start) = (source, start);
        start += data.len() as u64;
        batches.push(batch);
    }
    batches
}

fn size(batches: &[Batch]) -> usize {
    batches.iter().map(|batch| batch.data.len()).sum()
}

fn assert_in_order_and_once(values: &[Vec<u8>], count: usize) {
    let numbers: Vec<usize> = values
        .iter()
        .map(|value| {
            let text = std::str::from_utf8(value).expect("text");
            text.split(' ')
                .next()
                .and_then(|n| n.parse().ok())
                .expect("a number")
        })
        .collect();
    let expected: Vec<usize> = (0..count).collect();
    assert!(numbers == expected, "lost, repeated or out of order");
}

#[test]
fn whatever_fails_every_line_arrives_once_and_in_order() {
    let mut random = fastrand::Rng::with_seed(3);
    for (round, compression) in [Compression::None, Compression::Lz4]
        .into_iter()
        .enumerate()
    {
        let fake = Fake::start();
        for _ in 0..120 {
            let fault = match random.u8(..24) {
                0 => Fault::Refuse(6),
                1 => Fault::Refuse(19),
                2 => Fault::TakeAndFail(7),
                3 => Fault::TakeAndFail(20),
                4 => Fault::HangUp,
                5 => Fault::TakeAndHangUp,
                6 => Fault::Refuse(9_999),
                7 => Fault::TakeAndFail(46),
                _ => Fault::None,
            };
            fake.state().faults.push_back(fault);
        }
        let to = destination(None, &[]);
        let mut config = config(&fake.address);
        config.compression = compression;
        let run = run(config, Duration::from_secs(60));
        let batches = numbered(&to, 3_000, &mut random);
        let (source, bytes) = (batches[0].source, size(&batches));
        for batch in batches {
            run.batches.send(batch).expect("the worker runs");
        }
        assert_covers(&run.finish()[&source], bytes);
        let log = std::mem::take(&mut fake.state().log);
        assert_in_order_and_once(&log[&("t".to_owned(), 0)], 3_000);
        assert_eq!(fake.state().producer_ids, 1, "in round {round}");
    }
}

#[test]
fn a_broker_that_forgets_the_producer_gets_a_new_one() {
    let fake = Fake::start();
    let run = run(config(&fake.address), Duration::from_secs(30));
    let mut random = fastrand::Rng::with_seed(4);
    // Forgotten, and then the next batch has the wrong number for what the broker remembers.
    fake.state().faults.extend([
        Fault::None,
        Fault::None,
        Fault::Refuse(59),
        Fault::None,
        Fault::None,
        Fault::Refuse(45),
    ]);
    let to = destination(None, &[]);
    let batches = numbered(&to, 2_000, &mut random);
    let (source, bytes) = (batches[0].source, size(&batches));
    let half = batches.len() / 2;
    let mut sent = 0;
    for (at, batch) in batches.into_iter().enumerate() {
        if at == half {
            // A broker that forgets while a refused batch waits to be sent again takes a later one as
            // the first: nobody can keep the order then. So nothing is on its way here.
            let end = Instant::now() + Duration::from_secs(30);
            let arrived = |fake: &Fake| {
                fake.state()
                    .log
                    .get(&("t".to_owned(), 0))
                    .map_or(0, Vec::len)
            };
            while arrived(&fake) < sent && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(1));
            }
            fake.state().faults.extend([Fault::None, Fault::Forget]);
        }
        sent += batch.records().count();
        run.batches.send(batch).expect("the worker runs");
    }
    assert_covers(&run.finish()[&source], bytes);
    let state = fake.state();
    assert_in_order_and_once(&state.log[&("t".to_owned(), 0)], 2_000);
    assert!(state.producer_ids > 1);
}

#[test]
fn batches_that_are_too_large_are_divided_down_to_the_record_that_cannot_go() {
    for compression in Codec::ALL {
        let fake = Fake::start();
        fake.state().max_batch_bytes = 400;
        let mut config = config(&fake.address);
        config.batch_bytes = 4_000;
        config.compression = compression;
        let run = run(config, Duration::from_secs(30));
        let to = destination(None, &[]);
        let mut data = Vec::new();
        let mut random = fastrand::Rng::with_seed(5);
        let mut noise = |len: usize| -> String {
            std::iter::repeat_with(|| random.alphanumeric())
                .take(len)
                .collect()
        };
        for n in 0..100 {
            data.extend_from_slice(format!("{n} {}\n", noise(20)).as_bytes());
            if n % 40 == 10 {
                data.extend_from_slice(noise(900).as_bytes());
                data.push(b'\n');
            }
        }
        let one = batch(&to, &data);
        let source = one.source;
        run.batches.send(one).expect("the worker runs");
        let spans = run.finish();
        assert_covers(&spans[&source], data.len());
        for span in &spans[&source] {
            let end = span.end as usize;
            let tail = &data[end - usize::from(span.trace.len)..end];
            assert_eq!(crc32c::crc32c(tail), span.trace.crc);
        }
        assert_in_order_and_once(&fake.state().log[&("t".to_owned(), 0)], 100);
    }
}

#[test]
fn without_idempotence_and_without_answers_all_arrives_too() {
    for acks in [Acks::Leader, Acks::None] {
        let fake = Fake::start();
        fake.state().partitions = 3;
        let mut config = config(&fake.address);
        config.acks = acks;
        config.idempotence = false;
        config.partitioner = Partitioner::RoundRobin;
        let run = run(config, Duration::from_secs(30));
        let mut random = fastrand::Rng::with_seed(6);
        let batches = numbered(&destination(None, &[]), 1_000, &mut random);
        let (source, bytes) = (batches[0].source, size(&batches));
        for batch in batches {
            run.batches.send(batch).expect("the worker runs");
        }
        assert_covers(&run.finish()[&source], bytes);
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            let state = fake.state();
            let arrived: usize = state.log.values().map(Vec::len).sum();
            if arrived == 1_000 {
                assert_eq!((state.log.len(), state.producer_ids), (3, 0));
                break;
            }
            assert!(
                Instant::now() < until,
                "{arrived} of 1000 lines with {acks:?}"
            );
            drop(state);
            std::thread::yield_now();
        }
    }
}

#[test]
fn a_broker_as_old_as_0_11_is_served() {
    let fake = Fake::start();
    fake.state().apis = vec![(0, 0, 3), (3, 0, 4), (18, 0, 1)];
    let run = run(config(&fake.address), Duration::from_secs(30));
    let mut random = fastrand::Rng::with_seed(7);
    for batch in numbered(&destination(None, &[]), 500, &mut random) {
        run.batches.send(batch).expect("the worker runs");
    }
    run.finish();
    let state = fake.state();
    assert_in_order_and_once(&state.log[&("t".to_owned(), 0)], 500);
    assert_eq!(state.producer_ids, 0);
}

#[test]
fn a_topic_that_cannot_be_written_stops_no_other_and_flows_when_it_can() {
    let fake = Fake::start();
    let forbidden = destination_to("forbidden");
    let missing = destination_to("missing");
    fake.state().topic_errors = [("forbidden".to_owned(), 29), ("missing".to_owned(), 3)].into();
    let run = run(config(&fake.address), Duration::from_secs(30));
    let fine = destination(None, &[]);
    let mut sources = Vec::new();
    for to in [&forbidden, &missing, &fine] {
        let one = batch(to, b"0 line\n");
        sources.push(one.source);
        run.batches.send(one).expect("the worker runs");
    }
    let first = run.progress.recv_timeout(Duration::from_secs(10));
    let Ok(Progress::Acked(spans)) = first else {
        panic!("nothing was acknowledged");
    };
    assert_eq!(spans[0].source, sources[2]);
    fake.state().topic_errors.clear();
    let spans = run.finish();
    assert_eq!(spans.len(), 2);
    assert_eq!(fake.state().log.len(), 3);
}

#[test]
fn a_broker_that_hangs_does_not_hold_up_the_end() {
    let fake = Fake::start();
    fake.state().faults.push_back(Fault::Hang);
    let run = run(config(&fake.address), Duration::from_millis(500));
    let started = Instant::now();
    let one = batch(&destination(None, &[]), b"line\n");
    run.batches.send(one).expect("the worker runs");
    drop(run.batches);
    assert!(!run.worker.join().expect("no panic").is_complete);
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn an_answer_that_is_overdue_ends_the_connection_and_the_batch_goes_again() {
    let fake = Fake::start();
    fake.state().faults.push_back(Fault::Hang);
    let mut config = config(&fake.address);
    config.request_timeout = Duration::from_millis(300);
    let run = run(config, Duration::from_secs(30));
    let mut random = fastrand::Rng::with_seed(8);
    for batch in numbered(&destination(None, &[]), 100, &mut random) {
        run.batches.send(batch).expect("the worker runs");
    }
    run.finish();
    assert_in_order_and_once(&fake.state().log[&("t".to_owned(), 0)], 100);
}

#[test]
fn something_that_is_not_kafka_is_found_out() {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    std::thread::spawn(move || {
        for (n, mut stream) in listener.incoming().flatten().enumerate() {
            let _ = stream.read(&mut [0u8; 64]);
            let answers: [&[u8]; 4] = [
                b"HTTP/1.1 400 Bad Request\r\n\r\n",
                &[0, 0, 0, 12, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0],
                &[0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff],
                &[0xff, 0xff, 0xff, 0xfe],
            ];
            let _ = stream.write_all(answers[n % 4]);
        }
    });
    let address = BrokerAddress {
        host: "127.0.0.1".into(),
        port,
    };
    let run = run(config(&address), Duration::from_secs(3));
    let one = batch(&destination(None, &[]), b"line\n");
    run.batches.send(one).expect("the worker runs");
    drop(run.batches);
    assert!(!run.worker.join().expect("no panic").is_complete);
}
