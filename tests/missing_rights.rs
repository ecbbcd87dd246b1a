//! Rights that are missing: one ERROR names the right of Kafka and the setting that does without it, and nothing
//! is lost.

use std::time::Duration;

use kafka_protocol::messages::ApiKey;

use crate::support::env::{Env, SOON, lines};

/// Twice the longest pause between attempts.
const LONG: Duration = Duration::from_secs(20);

/// An agent whose requests of `api` are answered with `code` says `expected` in one ERROR, and delivers when it
/// may.
fn names_what_is_missing(api: ApiKey, code: i16, expected: &[&str]) {
    let mut env = Env::new();
    env.broker.on(api).forever().error(code);
    env.write_lines("app.log", 0..100);
    env.start();
    env.wait_for_log(expected[0], SOON);
    let log = env.log();
    let is_it = |line: &&str| line.contains(" ERROR ") && line.contains(expected[0]);
    let said: Vec<&str> = log.lines().filter(is_it).collect();
    assert!(
        said.len() == 1 && expected.iter().all(|words| said[0].contains(words)),
        "{log}"
    );
    env.broker.heal();
    env.broker
        .wait_for_count(crate::support::env::TOPIC, 100, LONG);
    env.stop_and_expect_lines(&lines(0..100));
}

#[test]
fn the_right_to_write_to_a_topic_is_named_with_the_setting_that_does_without() {
    let name = "TOPIC_AUTHORIZATION_FAILED (29)";
    let right = "WRITE and DESCRIBE on this topic";
    let setting = "set topic to one that it may write";
    names_what_is_missing(ApiKey::Produce, 29, &[name, right, "topic 'logs'", setting]);
}

#[test]
fn the_right_to_write_idempotently_is_named_with_the_setting_that_does_without() {
    let name = "CLUSTER_AUTHORIZATION_FAILED (31)";
    let right = "IDEMPOTENT_WRITE on the cluster";
    let setting = "set idempotence = off";
    names_what_is_missing(ApiKey::InitProducerId, 31, &[name, right, setting]);
}

#[test]
fn the_right_to_a_transactional_id_is_named_with_the_setting_that_does_without() {
    let name = "TRANSACTIONAL_ID_AUTHORIZATION_FAILED (53)";
    let right = "WRITE and DESCRIBE on the transactional id";
    let setting = "set idempotence = off";
    names_what_is_missing(ApiKey::Produce, 53, &[name, right, setting]);
}

#[test]
fn with_the_setting_that_is_named_nobody_asks_for_the_right() {
    let mut env = Env::new();
    env.broker.on(ApiKey::InitProducerId).forever().error(31);
    env.set("kafka", "idempotence", "off");
    env.write_lines("app.log", 0..100);
    env.start();
    env.expect_lines(&lines(0..100));
    let log = env.log();
    assert!(!log.contains(" ERROR ") && !log.contains(" WARN "), "{log}");
    env.broker.heal();
    env.stop_and_expect_lines(&lines(0..100));
}
