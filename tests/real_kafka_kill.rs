//! Four rotating files at 2,000 lines a second, and an agent that is ended ten times meanwhile.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::real_kafka_verify::verify;
use crate::support::env::Env;
use crate::support::kafka::RealKafka;
use crate::support::meanwhile::StopOnDrop;

const FILES: usize = 4;
const RATE: usize = 2000;
const TICK: Duration = Duration::from_millis(20);
const ROTATE_EVERY: Duration = Duration::from_millis(700);
const BETWEEN_ENDS: Duration = Duration::from_millis(900);
const LONG: Duration = Duration::from_secs(60);

/// Writes until told to stop, rotating each file by rename; returns the lines written to each.
fn write_and_rotate(logs: &str, stop: &AtomicBool) -> Vec<usize> {
    let mut written = vec![0; FILES];
    let mut generations = [0; FILES];
    let start = Instant::now();
    let mut tick = 0;
    while !stop.load(Ordering::Relaxed) {
        for file in 0..FILES {
            let path = format!("{logs}/{file}.log");
            let due =
                ROTATE_EVERY * (generations[file] + 1) + ROTATE_EVERY / FILES as u32 * file as u32;
            if start.elapsed() > due {
                generations[file] += 1;
                std::fs::rename(&path, format!("{path}.{}", generations[file]))
                    .expect("is renamed");
            }
            let count = RATE / FILES * TICK.as_millis() as usize / 1000;
            let numbers = written[file]..written[file] + count;
            let text: String = numbers.map(|n| format!("{file} {n}\n")).collect();
            let mut log = std::fs::File::options()
                .append(true)
                .create(true)
                .open(&path)
                .expect("opens");
            std::io::Write::write_all(&mut log, text.as_bytes()).expect("is written");
            written[file] += count;
        }
        tick += 1;
        thread::sleep((TICK * tick).saturating_sub(start.elapsed()));
    }
    written
}

/// Lets `end` end the agent ten times under load; returns how many records came more than once.
fn run(name: &str, end: impl Fn(&mut Env)) -> usize {
    let kafka = RealKafka::current();
    let topic = kafka.fresh_topic(name, 2);
    let mut env = Env::new();
    let glob = env.path("?.log");
    env.set("kafka", "brokers", kafka.brokers())
        .set("kafka", "topic", &topic)
        .set("kafka", "provenance", "on")
        .set("log:app", "path", &glob)
        .set("log:app", "rotate_wait", "1s");
    env.unset("agent", "checkpoint_interval");
    let logs = env.log_dir().display().to_string();
    let stop = AtomicBool::new(false);
    let written = thread::scope(|scope| {
        let writer = scope.spawn(|| write_and_rotate(&logs, &stop));
        let stops = StopOnDrop(&stop);
        for _ in 0..10 {
            env.start();
            // The time that the agent has between two ends; nothing is waited for.
            thread::sleep(BETWEEN_ENDS);
            end(&mut env);
        }
        env.start();
        thread::sleep(BETWEEN_ENDS);
        drop(stops);
        writer.join().expect("the writer ends")
    });
    let total: usize = written.iter().sum();
    let seen = || -> (HashSet<String>, Vec<String>) {
        let all: Vec<String> = kafka
            .fetch_all(&topic)
            .iter()
            .map(|record| record.text())
            .collect();
        (all.iter().cloned().collect(), all)
    };
    crate::support::env::wait_until(
        LONG,
        || kafka.count(&topic) >= total && seen().0.len() == total,
        || format!("{total} different lines; there are {}", seen().0.len()),
    );
    env.stop();
    let (_, all) = seen();
    // In order of first arrival, each file counts up from 0.
    let mut known = HashSet::new();
    let mut next = [0usize; FILES];
    for line in &all {
        if !known.insert(line.clone()) {
            continue;
        }
        let (file, n) = line.split_once(' ').expect("two words");
        let file: usize = file.parse().expect("a number");
        assert_eq!(n, next[file].to_string(), "of file {file}");
        next[file] += 1;
    }
    // `logagent verify` finds the same without knowing what was written.
    let (_, said) = verify(&env, &[]);
    assert_eq!(said["twice"], all.len() - total, "{said}");
    for kind in [
        "missing",
        "changed",
        "foreign",
        "out_of_order",
        "overlapping",
    ] {
        assert_eq!(said[kind], 0, "{said}");
    }
    println!(
        "{name}: {total} lines in {FILES} files, {} records, all there, in order, {} more than once",
        all.len(),
        all.len() - total
    );
    all.len() - total
}

#[test]
fn ten_kills_lose_nothing() {
    run("sigkill", Env::kill);
}

#[test]
fn ten_stops_lose_and_repeat_nothing() {
    let repeated = run("sigterm", |env| drop(env.stop()));
    assert_eq!(repeated, 0);
}
