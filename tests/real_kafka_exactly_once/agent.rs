//! The agent is killed, or stands still.

use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use super::harm::run;
use super::{FEW, exactly_once, kills};
use crate::support::env::SOON;
use crate::support::kafka::RealKafka;

/// The agent is killed at any time. In long runs the state folder goes too, every third time, and some agents are killed
/// beside each other, each of which has its own files.
fn killed(kafka: &RealKafka, name: &str, checked: &str) {
    let said = exactly_once(kafka, name).0.run(&["check"]).stdout;
    assert!(said.contains(checked), "{said}");
    let rounds = kills().div_ceil(MOST_OF_ONE);
    let next = AtomicU32::new(0);
    thread::scope(|scope| {
        for _ in 0..rounds.min(AT_ONCE) {
            scope.spawn(|| {
                loop {
                    let round = next.fetch_add(1, Ordering::Relaxed);
                    if round >= rounds {
                        break;
                    }
                    let done = round * MOST_OF_ONE;
                    kill_one(kafka, name, MOST_OF_ONE.min(kills() - done));
                }
            });
        }
    });
    println!("{name}: {} kills in all", kills());
}

fn kill_one(kafka: &RealKafka, name: &str, count: u32) {
    run(kafka, name, count, |env, _, n| {
        match n.is_multiple_of(4) {
            true => env.start_and_run_on(),
            false => env.start(),
        }
        // How long the agent lives; nothing is waited for.
        thread::sleep(Duration::from_millis(u64::from(n * 397 % 1_100 + 200)));
        env.kill();
        if n.is_multiple_of(3) && kills() > FEW {
            fs::remove_dir_all(env.state_dir()).expect("the state folder");
        }
    });
}

#[test]
fn no_line_is_missing_or_there_twice_after_kills_of_the_agent() {
    killed(
        &RealKafka::current(),
        "once-killed",
        "transaction.version 2",
    );
}

#[test]
fn no_line_is_missing_or_there_twice_after_kills_with_transactions_of_kafka_3() {
    killed(&RealKafka::v3_9(), "once-killed-3", "is below 2");
}

#[test]
fn no_line_is_missing_or_there_twice_after_kills_with_transactions_of_kafka_2() {
    killed(&RealKafka::v2_8(), "once-killed-2", "is below 2");
}

/// A machine that was suspended: the coordinator has aborted its transaction meanwhile, and the agent goes on. It takes
/// 25 s, of which the coordinator's own 10 s cannot be made fewer; in long runs it sleeps for 90 s.
#[test]
#[ignore = "25 s of waiting; run it with --ignored"]
fn an_agent_that_slept_beyond_the_time_out_goes_on_by_itself() {
    let kafka = RealKafka::current();
    let sleep = Duration::from_secs(if kills() > FEW { 90 } else { 16 });
    run(&kafka, "once-slept", 1, |env, _, _| {
        env.set("kafka", "commit_interval", "2s");
        env.start();
        env.wait_for_log("is read from offset", SOON);
        // Until a transaction is open, which is so for nearly all of its 2 s.
        thread::sleep(Duration::from_millis(2_700));
        env.signal(Signal::STOP);
        thread::sleep(sleep);
        env.signal(Signal::CONT);
        env.wait_for_log("a transaction was aborted", SOON);
        env.stop();
    });
}

/// One agent is killed so often: what it has written is held in memory until it is compared.
const MOST_OF_ONE: u32 = 250;
/// So many agents are killed beside each other.
const AT_ONCE: u32 = 6;
