//! A cluster of three brokers that fail one after the other and all at once, under load.
//!
//! Topics have three replicas, `acks=all` takes two of them, and every line must be there once and in the order of
//! its file afterwards. `scripts/chaos.sh cluster` leaves brokers away for as long as it takes in production.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::broker::Record;
use crate::support::env::{Env, wait_and_look_every};
use crate::support::kafka::{Led, RealKafka};
use crate::support::meanwhile::StopOnDrop;

const NODES: i32 = 3;
const PARTITIONS: i32 = 6;
const FILES: usize = 10;
/// Lines per second to all files together.
const RATE: usize = 5000;
const TICK: Duration = Duration::from_millis(20);
/// Between two looks at what all brokers say.
const LOOK: Duration = Duration::from_millis(100);
/// Load before the first failure and after the last.
const CALM: Duration = Duration::from_secs(1);
/// So soon the brokers elect other leaders, instead of after 9 s.
const QUICK: [&str; 2] = [
    "broker.session.timeout.ms=4000",
    "broker.heartbeat.interval.ms=500",
];
/// Longer than `request_timeout`, and than that.
const PAUSE: Duration = Duration::from_secs(8);
const OUTAGE: Duration = Duration::from_secs(8);
const LONG_PAUSE: Duration = Duration::from_secs(40);
const LONG_OUTAGE: Duration = Duration::from_secs(60);
const LONG: Duration = Duration::from_secs(120);

#[test]
fn a_cluster_whose_brokers_fail_has_every_line_once_and_in_order() {
    let settings = if takes_its_time() { &[][..] } else { &QUICK };
    let kafka = RealKafka::cluster("cluster", NODES as usize, settings);
    // One after the other: they share the brokers, and each has the machine to itself.
    let figures = [
        run(&kafka, "rolling restart", restart_all_in_turn),
        run(&kafka, "SIGKILL of leaders", kill_leaders),
        run(&kafka, "SIGSTOP of a leader", pause_a_leader),
        run(&kafka, "all brokers down", all_down),
    ];
    for figures in &figures {
        let wrong = (figures.missing, figures.repeated, figures.out_of_order);
        assert_eq!(wrong, (0, 0, 0), "{figures:?}");
    }
}

/// As it is in production: the defaults of `request_timeout` and of the brokers, and pauses that go with them.
fn takes_its_time() -> bool {
    std::env::var_os("LOGAGENT_CLUSTER").is_some_and(|value| value == "long")
}

fn restart_all_in_turn(kafka: &RealKafka, topic: &str) {
    for node in 1..=NODES {
        kafka.node("stop", node);
        kafka.node("start", node);
        wait_for_all_replicas(kafka, topic);
    }
}

/// Each time the broker that leads most of what is written.
fn kill_leaders(kafka: &RealKafka, topic: &str) {
    for _ in 0..if takes_its_time() { 3 } else { 2 } {
        let leader = busiest_leader(kafka, topic);
        kafka.node("kill", leader);
        wait_for_other_leaders(kafka, topic, leader);
        kafka.node("start", leader);
        wait_for_all_replicas(kafka, topic);
    }
}

fn pause_a_leader(kafka: &RealKafka, topic: &str) {
    let leader = busiest_leader(kafka, topic);
    let start = Instant::now();
    kafka.node("pause", leader);
    wait_for_other_leaders(kafka, topic, leader);
    // The length of the pause; nothing is waited for.
    let pause = if takes_its_time() { LONG_PAUSE } else { PAUSE };
    thread::sleep(pause.saturating_sub(start.elapsed()));
    kafka.node("continue", leader);
    wait_for_all_replicas(kafka, topic);
}

fn all_down(kafka: &RealKafka, topic: &str) {
    kafka.kill();
    // The length of the outage; nothing is waited for.
    thread::sleep(if takes_its_time() {
        LONG_OUTAGE
    } else {
        OUTAGE
    });
    kafka.start();
    wait_for_all_replicas(kafka, topic);
}

fn busiest_leader(kafka: &RealKafka, topic: &str) -> i32 {
    let mut led: BTreeMap<i32, usize> = BTreeMap::new();
    for (partition, leader) in kafka.leaders(topic) {
        let is_used = kafka.end_offset(topic, partition) > 0;
        *led.entry(leader.node).or_default() += usize::from(is_used);
    }
    let busiest = led.into_iter().max_by_key(|(_, partitions)| *partitions);
    busiest.expect("there are leaders").0
}

/// Until every node says so.
fn wait_for_all_replicas(kafka: &RealKafka, topic: &str) {
    let each = || kafka.leaders_at_each(topic).collect::<Vec<_>>();
    let complete = |led: &Led| led.in_sync == NODES as usize && led.replicas == NODES as usize;
    wait_and_look_every(
        LOOK,
        LONG,
        || {
            let mut each = each().into_iter().map(Result::ok);
            let first = each.next().flatten();
            first.as_ref().is_some_and(|leaders| {
                leaders.len() == PARTITIONS as usize && leaders.values().all(complete)
            }) && each.all(|leaders| leaders == first)
        },
        || format!("all replicas in sync: {:?}", each()),
    );
}

fn wait_for_other_leaders(kafka: &RealKafka, topic: &str, gone: i32) {
    wait_and_look_every(
        LOOK,
        LONG,
        || {
            let leaders = kafka.leaders(topic);
            let others = leaders.values().all(|led| led.node != gone);
            leaders.len() == PARTITIONS as usize && others
        },
        || format!("leaders other than {gone}: {:?}", kafka.leaders(topic)),
    );
}

#[derive(Debug)]
struct Figures {
    written: usize,
    read: usize,
    missing: usize,
    repeated: usize,
    out_of_order: usize,
}

/// Writes at [`RATE`] while `fail` does its work, and compares what arrived with what was written.
fn run(kafka: &RealKafka, name: &str, fail: fn(&RealKafka, &str)) -> Figures {
    let start = Instant::now();
    let topic = kafka.fresh_topic("cluster", PARTITIONS);
    wait_for_all_replicas(kafka, &topic);
    let mut env = Env::new();
    env.set("kafka", "brokers", kafka.brokers())
        .set("kafka", "topic", &topic)
        .set("kafka", "acks", "all");
    if takes_its_time() {
        env.unset("kafka", "request_timeout");
    }
    let logs = env.log_dir().display().to_string();
    let stop = AtomicBool::new(false);
    let written = thread::scope(|scope| {
        let writer = scope.spawn(|| write(&logs, &stop));
        let stops = StopOnDrop(&stop);
        env.start();
        kafka.wait_for_records(&topic, 1, LONG);
        // Load before and after, which nothing is waited for in.
        thread::sleep(CALM);
        fail(kafka, &topic);
        thread::sleep(CALM);
        drop(stops);
        writer.join().expect("the writer ends")
    });

    let total = written.iter().sum();
    let deadline = Instant::now() + LONG;
    // If lines are missing the figures are to say how many.
    while kafka.count(&topic) < total && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(100));
    }
    env.stop();
    let figures = compare(&written, &kafka.fetch_all(&topic));
    let log = env.all_logs();
    let warnings = log.lines().filter(|line| line.contains(" WARN "));
    eprintln!(
        "{name}: {} lines written to {FILES} files, {} read, {} missing, {} repeated, {} out of order; \
         {} warnings; {:.0} s",
        figures.written,
        figures.read,
        figures.missing,
        figures.repeated,
        figures.out_of_order,
        warnings.count(),
        start.elapsed().as_secs_f64()
    );
    if figures.missing + figures.repeated + figures.out_of_order > 0 {
        eprintln!("{log}");
    }
    figures
}

/// Writes until told to stop; returns the number of lines of each file.
fn write(logs: &str, stop: &AtomicBool) -> Vec<usize> {
    let open = |file| {
        let path = format!("{logs}/{file}.log");
        let log = File::options().append(true).create(true).open(path);
        log.expect("opens")
    };
    let mut files: Vec<File> = (0..FILES).map(open).collect();
    let mut written = vec![0; FILES];
    let start = Instant::now();
    let mut tick = 0;
    while !stop.load(Ordering::Relaxed) {
        for (file, log) in files.iter_mut().enumerate() {
            let count = RATE / FILES * TICK.as_millis() as usize / 1000;
            let numbers = written[file]..written[file] + count;
            let text: String = numbers
                .map(|n| format!("{file} {n} GET /index.html HTTP/1.1 200 {}\n", n * 7919))
                .collect();
            log.write_all(text.as_bytes()).expect("is written");
            written[file] += count;
        }
        tick += 1;
        thread::sleep((TICK * tick).saturating_sub(start.elapsed()));
    }
    written
}

fn compare(written: &[usize], records: &[Record]) -> Figures {
    let mut copies: Vec<Vec<u32>> = written.iter().map(|count| vec![0; *count]).collect();
    let mut next = vec![0; written.len()];
    let mut figures = Figures {
        written: written.iter().sum(),
        read: records.len(),
        missing: 0,
        repeated: 0,
        out_of_order: 0,
    };
    for record in records {
        let text = record.text();
        let mut words = text.split(' ').map(|word| word.parse::<usize>());
        let (Some(Ok(file)), Some(Ok(n))) = (words.next(), words.next()) else {
            panic!("not a line that was written: '{text}'");
        };
        copies[file][n] += 1;
        if copies[file][n] > 1 {
            figures.repeated += 1;
        } else if n < next[file] {
            figures.out_of_order += 1;
        } else {
            next[file] = n + 1;
        }
    }
    let all = copies.iter().flatten();
    figures.missing = all.filter(|copies| **copies == 0).count();
    figures
}
