//! `start_at = end` is about what was there when the section was first seen.

use crate::support::env::{Env, SOON, TOPIC, lines, wait_until};

fn at_end() -> Env {
    let mut env = Env::new();
    env.set("log:app", "start_at", "end");
    env
}

/// Starts the agent and waits until it has noted where it begins.
fn start(env: &mut Env) {
    env.start();
    wait_until(
        SOON,
        || std::fs::read_to_string(env.checkpoints()).is_ok_and(|text| text.contains("app.log")),
        || "the position of a file that is read from its end".to_owned(),
    );
}

fn expect(env: &mut Env, mut expected: Vec<String>) {
    env.wait_for_records(expected.len());
    env.stop();
    let mut values = env.broker.values(TOPIC);
    values.sort();
    expected.sort();
    assert_eq!(values, expected);
}

#[test]
fn a_file_that_came_later_is_read_from_its_beginning_also_while_the_agent_was_stopped() {
    let mut env = at_end();
    env.write_lines("app.log", 0..10);
    start(&mut env);
    env.write_lines("app.log", 10..20);
    env.write_lines("later.log", 20..30);
    env.wait_for_records(20);
    env.stop();
    env.write_lines("app.log", 30..40);
    env.write_lines("stopped.log", 40..50);
    env.write_lines("gone-again.log", 50..60);
    env.remove("gone-again.log");
    env.start();
    expect(&mut env, lines(10..50));
}

#[test]
fn a_file_that_rotates_is_read_whole_whenever_it_does() {
    for is_up in [true, false] {
        let mut env = at_end();
        env.write_lines("app.log", 0..10);
        start(&mut env);
        if !is_up {
            env.stop();
        }
        env.write_lines("app.log", 10..20);
        env.rename("app.log", "app.log.2");
        env.write_lines("app.log", 20..30);
        env.rename("app.log", "app.log.1");
        env.write_lines("app.log", 30..40);
        if !is_up {
            env.start();
        }
        expect(&mut env, lines(10..40));
    }
}

#[test]
fn a_file_that_is_rotated_while_the_agent_starts_is_not_read_from_before() {
    // Its lines from before the start are not wanted, under whatever name they lie by then.
    for _ in 0..5 {
        let mut env = at_end();
        env.write_lines("app.log", 0..1000);
        env.write_lines("app.log.1", 2000..2010);
        env.start();
        env.rename("app.log", "app.log.2");
        env.write_lines("app.log", 1000..1010);
        expect(&mut env, lines(1000..1010));
    }
}

#[test]
fn a_section_that_was_added_later_has_its_own_first_time() {
    let mut env = at_end();
    let own = env.path("app.log");
    env.set("log:app", "path", &own);
    env.broker.create_topic("other", 1);
    env.write_lines("app.log", 0..10);
    env.write_lines("other.log", 100..110);
    start(&mut env);
    env.write_lines("app.log", 10..20);
    env.wait_for_records(10);
    env.stop();
    let other = env.path("other*.log");
    env.set("log:other", "path", &other)
        .set("log:other", "topic", "other")
        .set("log:other", "start_at", "end");
    env.start();
    env.wait_for_log("is read from offset", SOON);
    wait_until(
        SOON,
        || std::fs::read_to_string(env.checkpoints()).is_ok_and(|text| text.contains("other.log")),
        || "the position of the other file".to_owned(),
    );
    env.write_lines("other.log", 110..120);
    env.stop();
    env.write_lines("other2.log", 120..130);
    env.start();
    env.broker.wait_for_count("other", 20, SOON);
    expect(&mut env, lines(10..20));
    let mut values = env.broker.values("other");
    values.sort();
    assert_eq!(values, lines(110..130));
}

#[test]
fn a_section_that_found_nothing_at_first_was_seen_all_the_same() {
    let mut env = at_end();
    env.start();
    env.stop();
    env.write_lines("app.log", 0..10);
    env.start();
    expect(&mut env, lines(0..10));
}
