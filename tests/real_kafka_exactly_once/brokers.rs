//! Brokers are killed and change the version of their transactions, at any time and while the agent is killed too.

use std::fs;
use std::thread;
use std::time::Duration;

use super::harm::run;
use super::{FEW, LONG, append, exactly_once, expect_once, kills};
use crate::support::client::java_partition;
use crate::support::env::{Env, SOON, wait_and_look_every, wait_until};
use crate::support::kafka::{PAUSE, RealKafka};

/// So soon a broker that is killed leads nothing, instead of after 9 s.
const QUICK: [&str; 2] = [
    "broker.session.timeout.ms=4000",
    "broker.heartbeat.interval.ms=500",
];

/// Parts of one test, since they share a cluster: to start one takes long.
#[test]
fn no_line_is_missing_or_there_twice_whatever_brokers_do() {
    let kafka = RealKafka::cluster("once-brokers", 3, &QUICK);
    a_partition_of_positions_without_leader_holds_up_and_harms_nothing(&kafka);
    the_version_of_transactions_is_lowered_and_raised_again(&kafka);
    coordinators_and_leaders_are_killed(&kafka);
}

/// The agent goes on each time without a start, or is killed meanwhile.
///
/// To 1, below which transactions are the same: a partition that is being added to one in the moment the version is lowered
/// to 0 makes Kafka 4.3.1 write a state that it cannot write ("Attempted to write a non-default clientTransactionVersion at
/// version 0"). It answers every question about that id with CONCURRENT_TRANSACTIONS from then on.
fn the_version_of_transactions_is_lowered_and_raised_again(kafka: &RealKafka) {
    let times = if kills() > FEW { kills() } else { 2 };
    run(kafka, "once-version", times, |env, _, n| {
        env.start_and_run_on();
        wait_until_positions_move(env);
        thread::sleep(Duration::from_millis(u64::from(n * 397 % 1_100)));
        kafka.set_transaction_version(1);
        wait_until_positions_move(env);
        if n.is_multiple_of(3) {
            env.kill();
            env.start_and_run_on();
        }
        thread::sleep(Duration::from_millis(u64::from(n * 271 % 1_100)));
        kafka.set_transaction_version(2);
        wait_until_positions_move(env);
        env.kill();
    });
}

/// Twice: the first commit may have been under way.
fn wait_until_positions_move(env: &Env) {
    for _ in 0..2 {
        let before = fs::read(env.checkpoints()).unwrap_or_default();
        let have_moved = || fs::read(env.checkpoints()).is_ok_and(|now| now != before);
        wait_until(LONG, have_moved, || "a commit".to_owned());
    }
}

/// In turn those that coordinate the agent's transactions, lead its lines, and lead its positions.
fn coordinators_and_leaders_are_killed(kafka: &RealKafka) {
    run(kafka, "once-leaders", kills(), |env, topic, n| {
        let pause = |factor: u32| {
            thread::sleep(Duration::from_millis(u64::from(n * factor % 1_100)));
        };
        env.start();
        pause(397);
        let leader = |topic: &str, partition: i32| kafka.leaders(topic)[&partition].node;
        let node = match n % 3 {
            0 => leader(topic, 0),
            1 => kafka.coordinator(&format!("logagent-{topic}-0")),
            _ => leader(POSITIONS, java_partition(topic.as_bytes(), 16)),
        };
        kafka.node("kill", node);
        // Before others lead, or while it is so, or after that.
        if !n.is_multiple_of(4) {
            pause(271);
            thread::sleep(Duration::from_secs(u64::from(n % 4) * 2));
            env.kill();
            env.start_and_run_on();
        }
        kafka.node("start", node);
        let is_complete = || {
            [topic, POSITIONS].iter().all(|topic| {
                let leaders = kafka.leaders(topic);
                leaders.values().all(|led| led.in_sync == led.replicas)
            })
        };
        wait_and_look_every(PAUSE, LONG, is_complete, || {
            "all replicas in sync".to_owned()
        });
        pause(173);
        env.kill();
    });
}

/// The partition of positions has one replica, whose broker is killed while lines are written. Transactions stand still
/// until it is back, whether the agent runs meanwhile or is killed too; nothing is lost or there twice.
fn a_partition_of_positions_without_leader_holds_up_and_harms_nothing(kafka: &RealKafka) {
    let (mut env, topic) = exactly_once(kafka, "once-offline");
    let positions = format!("{topic}-positions");
    kafka.create_topic_with_replicas(&positions, 1, 1, &[("cleanup.policy", "compact")]);
    let node = kafka.leaders(&positions)[&0].node;
    env.set("kafka", "positions_topic", &positions)
        .set("kafka", "transaction_timeout", "30s");
    let log = env.log_dir().join("a.log");
    let mut lines: Vec<String> = Vec::new();
    let mut write = |count: usize| {
        let new: Vec<String> = (0..count)
            .map(|n| format!("a {} {n}", lines.len()))
            .collect();
        append(&log, &new);
        lines.extend(new);
        lines.len()
    };
    write(100);
    env.start();
    env.wait_for_checkpoint_at_the_end_of("a.log");
    for is_killed in [false, true] {
        kafka.node("kill", node);
        write(100);
        let says = |env: &Env, words: &str| {
            let said = env.run(&["status"]).stdout;
            let said: Vec<&str> = said.split_whitespace().collect();
            said.join(" ").contains(words)
        };
        let is_said = || says(&env, "no leader");
        wait_until(SOON, is_said, || "a status without a leader".to_owned());
        if is_killed {
            env.kill();
            env.start_and_run_on();
            let waits = || says(&env, "exactly once: cannot begin: partition 0 of topic");
            wait_until(SOON, waits, || {
                "the start to wait for the positions".to_owned()
            });
        }
        kafka.node("start", node);
        env.wait_for_checkpoint_at_the_end_of("a.log");
        write(100);
        env.wait_for_checkpoint_at_the_end_of("a.log");
    }
    env.stop();
    expect_once(kafka, &topic, &lines);
}

/// The default.
const POSITIONS: &str = "logagent-positions";
