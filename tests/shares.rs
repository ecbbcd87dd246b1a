//! Many files of a topic that fails cost a healthy file nothing that it notices: what arrives, and when.
//!
//! The latencies are printed (`cargo test shares -- --nocapture`). What is asserted is far above what they
//! are, as a busy machine lets them vary; that all lines arrive is asserted as it is.

use std::io::Write as _;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::broker::Cluster;
use crate::support::env::{Env, TOPIC, assert_same_lines, wait_until};

const LONG: Duration = Duration::from_secs(60);
/// Lines of the healthy file per second.
const RATE: usize = 2_000;
/// Lines that are written at once.
const TOGETHER: usize = 10;
/// For so long lines are written, alone and beside the others, unless `LOGAGENT_SHARES_SECONDS` says otherwise.
const SECONDS: usize = 3;
/// Backlog of each file of the topic that fails, in bytes.
const BACKLOG_BYTES: usize = 1 << 20;
/// Lines of the healthy file that are written in one go.
const AT_ONCE: usize = 20_000;

fn line(number: usize) -> String {
    format!("{number:07} {}", "abcdefgh ".repeat(10))
}

/// Latencies from write to arrival at the broker, in order of size.
struct Latencies(Vec<Duration>);

impl Latencies {
    fn of_permille(&self, permille: usize) -> Duration {
        let at = (self.0.len() * permille / 1000).min(self.0.len() - 1);
        self.0[at]
    }
}

/// Appends lines to the healthy file at [`RATE`], and takes the time of each until it has arrived.
fn write_and_time(env: &Env, written: &mut usize, count: usize) -> Latencies {
    let mut file = env.open("app.log");
    let (first, end) = (*written, *written + count);
    let pace = Duration::from_secs(1) * TOGETHER as u32 / RATE as u32;
    let start = Instant::now();
    let mut written_at = Vec::with_capacity(count);
    let mut latencies = Vec::with_capacity(count);
    while latencies.len() < count {
        let due = start + pace * (written_at.len() / TOGETHER) as u32;
        let now = Instant::now();
        if *written < end && now >= due {
            let to = end.min(*written + TOGETHER);
            let text: String = (*written..to).map(|number| line(number) + "\n").collect();
            file.write_all(text.as_bytes()).unwrap();
            written_at.resize(written_at.len() + to - *written, Instant::now());
            *written = to;
        }
        // One partition and one file: what arrives is in the order of the file.
        let arrived = env.broker.count(TOPIC).saturating_sub(first);
        let now = Instant::now();
        for &at in &written_at[latencies.len()..arrived.min(written_at.len())] {
            latencies.push(now.saturating_duration_since(at));
        }
        assert!(
            now < start + LONG,
            "{} of {count} lines of the healthy file after {LONG:?}",
            latencies.len()
        );
        thread::sleep(Duration::from_millis(1));
    }
    latencies.sort();
    Latencies(latencies)
}

/// Appends lines to the healthy file in one write, and takes the time until all have arrived.
fn write_at_once(env: &Env, written: &mut usize, count: usize) -> Duration {
    let text: String = (*written..*written + count)
        .map(|number| line(number) + "\n")
        .collect();
    *written += count;
    let start = Instant::now();
    env.append("app.log", text);
    env.broker.wait_for_count(TOPIC, *written, LONG);
    start.elapsed()
}

/// A healthy file, alone at first and then beside `stuck` files with a backlog, of a topic that does not exist.
fn compare(stuck: usize, memory_limit: &str) {
    let cluster = Cluster::single();
    cluster.create_topic(TOPIC, 1);
    cluster.auto_create(None);
    let mut env = Env::with(cluster);
    let bad = env.path("bad/*.log");
    env.set("agent", "memory_limit", memory_limit)
        .set("agent", "shutdown_timeout", "1s")
        .set("kafka", "linger", "50ms")
        .set("log:bad", "path", &bad)
        .set("log:bad", "topic", "missing");
    env.make_folder("bad");
    env.append("app.log", "");
    env.start();
    let seconds = std::env::var("LOGAGENT_SHARES_SECONDS");
    let seconds = seconds.map_or(SECONDS, |seconds| seconds.parse().expect("a number"));
    let (mut written, count) = (0, seconds * RATE);
    let alone = write_and_time(&env, &mut written, count);
    let at_once_alone = write_at_once(&env, &mut written, AT_ONCE);

    let backlog: String = (0..BACKLOG_BYTES / line(0).len())
        .map(|number| line(number) + "\n")
        .collect();
    for number in 0..stuck {
        env.append(&format!("bad/{number}.log"), &backlog);
    }
    wait_until_they_are_stuck(&mut env, stuck);
    let beside = write_and_time(&env, &mut written, count);
    let at_once_beside = write_at_once(&env, &mut written, AT_ONCE);
    let [of_alone, of_beside] = [&alone, &beside].map(|latencies| latencies.of_permille(990));
    println!(
        "{stuck} stuck files, {memory_limit}: p99 {:.1} ms beside them, {:.1} ms alone: {:.2} times; median {:.1} \
         and {:.1} ms; {AT_ONCE} lines at once {:.0} and {:.0} ms",
        of_beside.as_secs_f64() * 1e3,
        of_alone.as_secs_f64() * 1e3,
        of_beside.as_secs_f64() / of_alone.as_secs_f64(),
        beside.of_permille(500).as_secs_f64() * 1e3,
        alone.of_permille(500).as_secs_f64() * 1e3,
        at_once_beside.as_secs_f64() * 1e3,
        at_once_alone.as_secs_f64() * 1e3,
    );
    assert!(
        of_beside < of_alone * 4 + Duration::from_secs(1),
        "p99 {of_beside:?} beside, {of_alone:?} alone"
    );
    assert!(
        at_once_beside < at_once_alone * 4 + Duration::from_secs(2),
        "{AT_ONCE} lines at once: {at_once_beside:?} beside, {at_once_alone:?} alone"
    );
    // The bytes of the other topic are unacknowledged still, so the agent does not end with 0.
    env.kill();
    let expected: Vec<String> = (0..written).map(line).collect();
    assert_same_lines(&expected, &env.broker.values(TOPIC));
    assert_eq!(env.broker.count("missing"), 0);
}

/// Waits until all files of the topic that fails are followed and the agent reads no more of them.
fn wait_until_they_are_stuck(env: &mut Env, stuck: usize) {
    let pid = env.agent().pid();
    let read_bytes = || {
        let io = std::fs::read_to_string(format!("/proc/{pid}/io")).unwrap();
        let line = io.lines().find(|line| line.starts_with("rchar:"));
        let bytes = line.unwrap().split_whitespace().nth(1).unwrap();
        bytes.parse::<u64>().unwrap()
    };
    env.wait_for_log("missing", LONG);
    let open_files = || {
        std::fs::read_dir(format!("/proc/{pid}/fd"))
            .unwrap()
            .count()
    };
    let mut last = (read_bytes(), Instant::now());
    wait_until(
        LONG,
        || {
            let now = read_bytes();
            if now > last.0 + 4096 {
                last = (now, Instant::now());
            }
            open_files() > stuck && last.1.elapsed() > Duration::from_millis(500)
        },
        || "the files of the other topic to be stuck".to_owned(),
    );
}

#[test]
fn a_healthy_file_beside_100_stuck_ones_with_8_mib() {
    compare(100, "8MiB");
}

#[test]
fn a_healthy_file_beside_400_stuck_ones_with_the_default() {
    compare(400, "64MiB");
}

#[test]
fn a_healthy_file_beside_25_stuck_ones_with_8_mib() {
    compare(25, "8MiB");
}
