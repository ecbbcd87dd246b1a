//! Who has an agent's id, and what others have open beside its positions.

use std::fs;

use rustix::process::Signal;

use super::{append, exactly_once, expect_once, expect_success};
use crate::support::agent::Agent;
use crate::support::env::{Env, SOON, wait_until};
use crate::support::kafka::RealKafka;

#[test]
fn of_two_agents_with_one_id_the_older_ends_with_3_and_says_so() {
    let kafka = RealKafka::current();
    let (mut env, topic) = exactly_once(&kafka, "once-two");
    let lines =
        |from: usize| -> Vec<String> { (from..from + 300).map(|n| format!("line {n}")).collect() };
    let log = env.log_dir().join("a.log");
    append(&log, &lines(0));
    env.start();
    env.wait_for_checkpoint_at_the_end_of("a.log");
    let mut other = other_agent(&kafka, &env, &topic);
    other.start();
    let by = format!("(process {} on machine", other.agent().pid());
    append(&log, &lines(300));
    let ended = env.wait_exit(SOON);
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    let words = format!("another agent has taken over the transactional ids of '{topic}'");
    assert!(ended.stderr.contains(&words), "{}", ended.stderr);
    assert!(ended.stderr.contains(&by), "{}", ended.stderr);
    other.stop();
    expect_success(&other.run(&["run", "--once"]));
    expect_once(&kafka, &topic, &[lines(0), lines(300)].concat());
}

/// An agent with another state folder that shares id, topic and files with `env`.
fn other_agent(kafka: &RealKafka, env: &Env, topic: &str) -> Env {
    let (mut other, _) = exactly_once(kafka, "once-other");
    let glob = env.path("?.log");
    other
        .set("agent", "id", topic)
        .set("kafka", "topic", topic)
        .set("log:app", "path", &glob);
    other
}

/// An agent, or a command, on a machine of this name.
fn on(machine: &str, env: &Env, arguments: &[&str]) -> Agent {
    let mut command = env.command(arguments);
    command.env("LOGAGENT_MACHINE_ID", machine);
    Agent::spawn(command)
}

#[test]
fn an_agent_whose_id_is_in_use_on_another_machine_does_not_start_until_it_is_adopted() {
    let kafka = RealKafka::current();
    let (mut env, topic) = exactly_once(&kafka, "once-clone");
    let lines: Vec<String> = (0..200).map(|n| format!("line {n}")).collect();
    let log = env.log_dir().join("a.log");
    append(&log, &lines[..100]);
    let agent = on("first", &env, &[]);
    agent.wait_until_it_follows(SOON);
    env.adopt(agent);
    env.wait_for_checkpoint_at_the_end_of("a.log");
    let first = format!("in use by process {} on machine", env.agent().pid());

    let clone = other_agent(&kafka, &env, &topic);
    let ended = on("second", &clone, &[]).wait_exit(SOON);
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    assert!(ended.stderr.contains(&first), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("run 'logagent adopt' here"),
        "{}",
        ended.stderr
    );
    let unasked = on("second", &clone, &["adopt"]).wait_exit(SOON);
    assert_eq!(unasked.code, Some(2), "{}", unasked.stderr);
    assert!(unasked.stdout.contains(&first), "{}", unasked.stdout);

    let adopted = on("second", &clone, &["adopt", "--yes"]).wait_exit(SOON);
    assert_eq!(adopted.code, Some(0), "{}", adopted.stderr);
    let mut clone_agent = on("second", &clone, &[]);
    clone_agent.wait_until_it_follows(SOON);
    append(&log, &lines[100..]);
    let ended = env.wait_exit(SOON);
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    // One that comes back, as a supervisor would have it, takes nothing away.
    let ended = on("first", &env, &[]).wait_exit(SOON);
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);

    // Who has stopped has left the id to others.
    clone_agent.signal(Signal::TERM);
    expect_success(&clone_agent.wait_exit(SOON));
    expect_success(&on("first", &env, &["run", "--once"]).wait_exit(SOON));
    let again = on("first", &env, &["adopt"]).wait_exit(SOON);
    assert!(
        again.stdout.contains("no other machine has agent id"),
        "{}",
        again.stdout
    );
    expect_once(&kafka, &topic, &lines);
}

#[test]
fn a_transaction_that_another_producer_has_open_beside_the_positions_keeps_no_agent_from_starting()
{
    let kafka = RealKafka::current();
    let shared = kafka.fresh_topic("once-shared", 1);
    let (mut other, _) = exactly_once(&kafka, "once-open");
    other
        .set("kafka", "topic", &shared)
        .set("kafka", "commit_interval", "1m")
        .set("kafka", "transaction_timeout", "5m");
    append(&other.log_dir().join("a.log"), &["open".to_owned()]);
    other.start();
    let is_there = || kafka.end_offset(&shared, 0) > 0;
    wait_until(SOON, is_there, || {
        "a record of the open transaction".to_owned()
    });
    other.signal(Signal::STOP);

    let (mut env, topic) = exactly_once(&kafka, "once-beside");
    env.set("kafka", "positions_topic", &shared);
    let lines = ["a 1".to_owned(), "a 2".to_owned()];
    for upto in 1..=2 {
        append(&env.log_dir().join("a.log"), &lines[upto - 1..upto]);
        expect_success(&env.run(&["run", "--once"]));
        // What cannot be seen by others is behind the transaction that is open, and is found all the same.
        fs::remove_dir_all(env.state_dir()).expect("the state folder");
    }
    expect_once(&kafka, &topic, &lines);
    other.kill();
}
