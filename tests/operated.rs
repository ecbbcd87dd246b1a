//! What an operator is told after a start, of the run before and of the brokers.

use kafka_protocol::messages::ApiKey;

use crate::support::env::{Env, SOON, lines, wait_until};

const CUT_OFF: &str = "the run before did not end in order";

/// What `logagent status` prints, with single spaces.
fn status(env: &Env) -> String {
    let said = env.run(&["status"]).stdout;
    said.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_start_after_a_kill_says_when_positions_were_written_last_and_one_after_a_stop_says_nothing() {
    let mut env = Env::new();
    env.write_lines("app.log", 0..10);
    env.start();
    env.wait_for_records(10);
    env.wait_for_checkpoint_at_the_end_of("app.log");
    env.stop();
    env.start();
    assert!(!env.log().contains(CUT_OFF), "{}", env.log());
    env.kill();
    // Who looks, or sets a position, takes nothing from the next agent.
    let dry = env.run(&["run", "--dry-run", "--once"]);
    assert!(!dry.stderr.contains(CUT_OFF), "{}", dry.stderr);
    let path = env.path("app.log");
    env.run(&["rewind", &path, "--to", "end", "--yes"]);
    env.start();
    let said = format!(
        "{CUT_OFF} (it was killed, it failed, or the host lost power): positions were written last at "
    );
    assert_eq!(env.agent().count_log(&[" WARN ", &said, "comes twice"]), 1);
    env.kill();
    let (first, second) = (env.run(&["run", "--once"]), env.run(&["run", "--once"]));
    assert_eq!((first.code, second.code), (Some(0), Some(0)));
    assert!(first.stderr.contains(CUT_OFF), "{}", first.stderr);
    assert!(!second.stderr.contains(CUT_OFF), "{}", second.stderr);
}

#[test]
fn what_a_removed_section_has_left_is_a_note_of_status_after_a_restart() {
    let mut env = Env::new();
    env.set("agent", "shutdown_timeout", "200ms");
    let (app, old) = (env.path("app.log"), env.path("old.log"));
    env.set("log:app", "path", &app)
        .set("log:old", "path", &old)
        .set("log:old", "topic", "old");
    env.broker.down(1);
    env.write_lines("old.log", 0..10);
    env.start();
    env.wait_for_checkpoint_with_the_size_of("old.log");
    env.stop();
    env.broker.up(1);
    env.unset_section("log:old");
    env.start();
    let bytes: usize = lines(0..10).iter().map(|line| line.len() + 1).sum();
    let said = status(&env);
    let note = format!(
        "1 file is in no section any more, and {bytes} B of it were not sent: {old} ({bytes} B);"
    );
    assert!(said.contains(&note), "{said}");
    // What can be sent no more is none.
    env.remove("old.log");
    wait_until(
        SOON,
        || !status(&env).contains("in no section"),
        || status(&env),
    );
    env.stop();
}

#[test]
fn an_agent_with_nothing_to_send_is_connected_and_has_asked_for_no_topic() {
    let mut env = Env::new();
    env.start();
    let address = env.broker.brokers();
    let is_up = |said: &str| {
        let row = said.split(&format!(" {address} ")).nth(1);
        row.is_some_and(|row| row.starts_with(|up: char| up.is_ascii_digit()))
    };
    wait_until(SOON, || is_up(&status(&env)), || status(&env));
    env.wait_for_log(&format!("broker {address} is connected: Kafka"), SOON);
    assert_eq!(env.broker.requests(ApiKey::Metadata), 1);
    assert_eq!(env.run(&["status"]).code, Some(0));
    // The first line goes on the same connection.
    let accepted = env.broker.accepted(1);
    env.write_lines("app.log", 0..10);
    env.expect_lines(&lines(0..10));
    assert_eq!(env.broker.accepted(1), accepted);
    env.stop();
}

#[test]
fn an_agent_with_nothing_to_send_says_once_that_no_broker_is_there_and_when_one_is() {
    let mut env = Env::new();
    env.broker.down(1);
    env.start();
    wait_until(
        SOON,
        || status(&env).contains("all brokers: none reachable"),
        || status(&env),
    );
    env.wait_for_log("no broker reachable", SOON);
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert_eq!(env.agent().count_log(&["no broker reachable"]), 1);
    env.broker.up(1);
    env.wait_for_log("broker reachable again", SOON);
    assert_eq!(env.run(&["status"]).code, Some(0));
    env.stop();
    // Nobody waits for a broker for nothing.
    env.write_lines("app.log", 0..10);
    assert_eq!(env.run(&["run", "--once"]).code, Some(0));
    env.broker.down(1);
    let ended = env.run(&["run", "--once"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(!ended.stderr.contains("reachable"), "{}", ended.stderr);
}
