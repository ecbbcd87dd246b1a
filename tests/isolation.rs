//! What fails slows nothing else: the throughput of a healthy topic beside one that fails, against its
//! throughput beside one that is idle, in the same run.
//!
//! The ratios are printed (`cargo test isolation -- --nocapture`). What is asserted is far below
//! what they are, as a busy machine lets them vary.

use std::fs;
use std::time::{Duration, Instant};

use kafka_protocol::messages::ApiKey;

use crate::support::broker::Cluster;
use crate::support::env::{Env, TOPIC, assert_same_lines};

const LONG: Duration = Duration::from_secs(60);
/// Rounds of each kind, in turns. The median is taken.
const ROUNDS: usize = 5;
/// Lines that are timed in a round.
const LINES: usize = 20_000;
/// Lines of the topic that fails, in a round.
const BAD_LINES: usize = 10_000;
/// `[agent] memory_limit`.
const MEMORY_MIB: usize = 16;

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

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// Times the healthy topic with and without `fault`, which is over after [`Cluster::heal`].
/// `has_begun` says when lines of the other topic have met it.
fn compare(
    name: &str,
    mut env: Env,
    fault: impl Fn(&Cluster),
    has_begun: impl Fn(&Cluster) -> bool,
) {
    env.start();
    let mut written = 0;
    let mut round = |env: &Env| {
        let text = long_lines(written, LINES);
        let start = Instant::now();
        env.append("app.log", text);
        written += LINES;
        env.broker.wait_for_count(TOPIC, written, LONG);
        start.elapsed()
    };
    // The first time everything is new.
    round(&env);
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    for bad_round in 0..ROUNDS {
        alone.push(round(&env));
        fault(&env.broker);
        env.append("bad/app.log", long_lines(bad_round * BAD_LINES, BAD_LINES));
        env.broker.wait_until(LONG, "the fault", &has_begun);
        beside.push(round(&env));
        env.broker.heal();
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
    let (alone, beside) = (median(alone), median(beside));
    let ratio = alone.as_secs_f64() / beside.as_secs_f64();
    println!(
        "{name}: {:.0} % of the throughput ({:.0} ms for {LINES} lines alone, {:.0} ms beside it), \
         {peak} MiB resident at most",
        ratio * 100.0,
        alone.as_secs_f64() * 1e3,
        beside.as_secs_f64() * 1e3,
    );
    assert!(ratio > 0.4, "{name}: {ratio:.2}");
    assert!(peak < 3 * MEMORY_MIB + 32, "{name}: {peak} MiB");
    let expected: Vec<String> = long_lines(0, written).lines().map(str::to_owned).collect();
    assert_same_lines(&expected, &env.broker.values(TOPIC));
}

/// A topic of which every batch is answered with this error code.
fn compare_with_error(name: &str, code: i16) {
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
        |broker| broker.produce_errors(code) > errors.get(),
    );
}

#[test]
fn a_topic_that_is_refused_for_now() {
    compare_with_error("NOT_ENOUGH_REPLICAS for ever", 19);
}

#[test]
fn a_topic_that_may_not_be_written() {
    compare_with_error("TOPIC_AUTHORIZATION_FAILED for ever", 29);
}

#[test]
fn a_topic_of_which_every_record_is_refused() {
    compare_with_error("INVALID_RECORD for ever", 87);
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
        |_| true,
    );
}

#[test]
fn one_of_three_brokers_that_answers_nothing() {
    compare(
        "a broker that answers nothing",
        three_brokers(),
        |broker| broker.stop_answering(3),
        |_| true,
    );
}
