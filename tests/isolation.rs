//! What fails slows nothing else: the throughput of a healthy topic beside one that fails, against its
//! throughput beside one that is idle, in the same run.
//!
//! The ratios are printed (`cargo test isolation -- --nocapture`). What is asserted is far below
//! what they are, as a busy machine lets them vary.

use std::fs;
use std::time::{Duration, Instant};

use kafka_protocol::messages::ApiKey;

use crate::support::broker::Cluster;
use crate::support::env::{Env, TOPIC, assert_same_lines, wait_until};

const LONG: Duration = Duration::from_secs(60);
/// Rounds of each kind, in turns, unless `LOGAGENT_ISOLATION_ROUNDS` says otherwise. The median is taken.
const ROUNDS: usize = 3;
/// Lines that are timed in a round.
const LINES: usize = 20_000;
/// Lines of the topic that fails, in a round: more than `memory_limit` takes.
const BAD_LINES: usize = 80_000;
/// Answers come so much later, and batches are small, so that the time of a round is that of the
/// requests in flight and not the processor's, which tests share with others.
const DELAY: Duration = Duration::from_millis(10);
/// `[agent] memory_limit`.
const MEMORY_MIB: usize = 8;

fn long_lines(from: usize, count: usize) -> String {
    let line = |number| format!("{number:07} {}\n", "abcdefgh ".repeat(12));
    (from..from + count).map(line).collect()
}

/// A healthy topic with two files and one that fails, on one producer.
fn env(cluster: Cluster) -> Env {
    cluster.create_topic(TOPIC, 1);
    cluster.create_topic("bad", 1);
    let mut env = Env::with(cluster);
    env.set("agent", "producers", "1")
        .set("agent", "memory_limit", &format!("{MEMORY_MIB}MiB"))
        .set("agent", "shutdown_timeout", "1s")
        .set("kafka", "request_timeout", "30s")
        .set("kafka", "batch_bytes", "16KiB")
        .set("kafka", "compression", "none")
        .set("kafka", "headers", "none");
    let path = env.path("bad/*.log");
    env.set("log:bad", "path", &path)
        .set("log:bad", "topic", "bad");
    env.make_folder("bad");
    env
}

/// Peak of the agent's memory in MiB.
fn peak_mib(env: &mut Env) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", env.agent().pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line.unwrap().split_whitespace().nth(1).unwrap();
    kib.parse::<usize>().unwrap() / 1024
}

/// Processor time of the agent, in ticks.
fn ticks(env: &mut Env) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", env.agent().pid())).unwrap();
    // `7 (name) S ...`; the times of user and system are fields 14 and 15.
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// Waits until the agent has read what it can of the topic that fails: a topic that flows takes
/// processor time too, and that is not what is measured.
fn wait_until_it_rests(env: &mut Env) {
    let mut last = (ticks(env), Instant::now());
    wait_until(
        LONG,
        || {
            let now = ticks(env);
            if now != last.0 {
                last = (now, Instant::now());
            }
            last.1.elapsed() > Duration::from_millis(150)
        },
        || "the agent to rest".to_owned(),
    );
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// Times the healthy topic with and without `fault`, which is over after [`Cluster::heal`].
/// `wait` waits until the lines of the other topic have met it.
fn compare(name: &str, mut env: Env, fault: impl Fn(&Cluster), wait: impl Fn(&mut Env)) {
    let rounds = std::env::var("LOGAGENT_ISOLATION_ROUNDS");
    let rounds = rounds.map_or(ROUNDS, |rounds| rounds.parse().expect("a number"));
    env.start();
    let mut written = 0;
    let mut round = |env: &Env| {
        let text = long_lines(written, LINES);
        env.broker.delay(DELAY);
        let start = Instant::now();
        env.append("app.log", text);
        written += LINES;
        env.broker.wait_for_count(TOPIC, written, LONG);
        start.elapsed()
    };
    // The first time everything is new.
    round(&env);
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    for bad_round in 0..rounds {
        alone.push(round(&env));
        fault(&env.broker);
        env.append("bad/app.log", long_lines(bad_round * BAD_LINES, BAD_LINES));
        wait(&mut env);
        beside.push(round(&env));
        env.broker.heal();
        env.broker.up_if_down(3);
        let (letters, end) = (
            env.state_dir().join("dead-letter/refused-0"),
            (bad_round + 1) * BAD_LINES,
        );
        env.broker.wait_until(LONG, "the other topic", |broker| {
            let text = fs::read_to_string(&letters).unwrap_or_default();
            broker.count("bad") + text.lines().count() / 2 >= end
        });
    }
    let peak = peak_mib(&mut env);
    env.stop();
    let best = |times: &[Duration]| times.iter().min().unwrap().as_secs_f64();
    let best = best(&alone) / best(&beside);
    let (alone, beside) = (median(alone), median(beside));
    let ratio = alone.as_secs_f64() / beside.as_secs_f64();
    println!(
        "{name}: {:.0} % of the throughput ({:.0} ms for {LINES} lines alone, {:.0} ms beside it; \
         the best rounds: {:.0} %), {peak} MiB resident at most",
        ratio * 100.0,
        alone.as_secs_f64() * 1e3,
        beside.as_secs_f64() * 1e3,
        best * 100.0,
    );
    // What else the machine does can make any round slower and none faster.
    assert!(best > 0.6, "{name}: {best:.2}");
    assert!(peak < 2 * MEMORY_MIB + 24, "{name}: {peak} MiB");
    let expected: Vec<String> = long_lines(0, written).lines().map(str::to_owned).collect();
    assert_same_lines(&expected, &env.broker.values(TOPIC));
}

/// A topic of which every batch is answered with this error code.
fn compare_with_error(name: &str, code: i16, wait: impl Fn(&mut Env)) {
    let errors = std::cell::Cell::new(0);
    compare(
        name,
        env(Cluster::single()),
        |broker| {
            errors.set(broker.produce_errors(code));
            broker
                .on(ApiKey::Produce)
                .topic("bad")
                .forever()
                .error(code);
        },
        |env| {
            env.broker.wait_until(LONG, "the first error", |broker| {
                broker.produce_errors(code) > errors.get()
            });
            wait(env);
        },
    );
}

#[test]
fn a_topic_that_is_refused_for_now() {
    compare_with_error("NOT_ENOUGH_REPLICAS for ever", 19, wait_until_it_rests);
}

#[test]
fn a_topic_that_may_not_be_written() {
    compare_with_error(
        "TOPIC_AUTHORIZATION_FAILED for ever",
        29,
        wait_until_it_rests,
    );
}

#[test]
fn a_topic_of_which_every_record_is_refused() {
    // It never rests: one record after the other becomes a dead letter meanwhile.
    compare_with_error("INVALID_RECORD for ever", 87, |_| {});
}

/// Three brokers, of which the third leads the topic that fails.
fn three_brokers() -> Env {
    let env = env(Cluster::of(3));
    env.broker.set_leader(TOPIC, 0, 2);
    env.broker.set_leader("bad", 0, 3);
    env
}

#[test]
fn one_of_three_brokers_that_reads_nothing() {
    compare(
        "a broker that reads nothing",
        three_brokers(),
        |broker| broker.stop_reading(3),
        wait_until_it_rests,
    );
}

#[test]
fn one_of_three_brokers_that_answers_nothing() {
    compare(
        "a broker that answers nothing",
        three_brokers(),
        |broker| broker.stop_answering(3),
        wait_until_it_rests,
    );
}

#[test]
fn a_partition_without_a_leader() {
    // Metadata names no leader for what a node leads that is down.
    compare(
        "a partition without a leader",
        three_brokers(),
        |broker| broker.down(3),
        wait_until_it_rests,
    );
}
