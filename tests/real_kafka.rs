//! Against a real Kafka: what arrives is judged by Kafka's own console consumer.

use std::time::Duration;

use crate::support::broker::Record;
use crate::support::env::{Env, assert_at_least_once, assert_same_lines, lines};
use crate::support::kafka::RealKafka;

const LONG: Duration = Duration::from_secs(30);

/// An agent that sends to this topic of this broker.
fn sending_to(kafka: &RealKafka, topic: &str) -> Env {
    let mut env = Env::new();
    env.set("kafka", "brokers", kafka.brokers())
        .set("kafka", "topic", topic);
    env
}

fn texts(records: &[Record]) -> Vec<String> {
    records.iter().map(Record::text).collect()
}

#[test]
fn the_console_consumer_reads_what_was_written() {
    let kafka = RealKafka::current();
    let topic = kafka.fresh_topic("console", 1);
    let mut env = sending_to(&kafka, &topic);
    env.set("log:app", "key", "web-1");
    env.append("app.log", b"first\n\n\xff\0\ttab\nlast\n");
    env.start();
    kafka.wait_for_records(&topic, 4, LONG);
    env.stop();
    let records = kafka.consume(&topic, 4);
    let values: Vec<_> = records
        .iter()
        .map(|record| record.value.as_deref())
        .collect();
    assert_eq!(
        values,
        [
            Some(&b"first"[..]),
            Some(b""),
            Some(b"\xff\0\ttab"),
            Some(b"last")
        ]
    );
    for record in &records {
        assert_eq!(record.key.as_deref(), Some(&b"web-1"[..]));
        assert_eq!(record.headers.len(), 2);
        assert_eq!(record.headers[0].0, "host");
        assert_eq!(
            record.headers[1],
            ("path".to_owned(), env.path("app.log").into_bytes())
        );
    }
    assert_eq!(kafka.offsets(&topic), [(0, 4)].into());
}

#[test]
fn a_broker_that_is_killed_and_comes_back_has_every_line_once_and_in_order() {
    let kafka = RealKafka::own("killed", "4", &[]);
    let topic = kafka.fresh_topic("killed", 1);
    let mut env = sending_to(&kafka, &topic);
    env.set("kafka", "batch_bytes", "4KiB");
    env.write_lines("app.log", 0..5000);
    env.start();
    kafka.wait_for_records(&topic, 1, LONG);
    kafka.kill();
    env.write_lines("app.log", 5000..10_000);
    kafka.start();
    kafka.wait_for_records(&topic, 10_000, LONG);
    env.write_lines("app.log", 10_000..10_100);
    kafka.wait_for_records(&topic, 10_100, LONG);
    env.stop();
    assert_same_lines(&lines(0..10_100), &texts(&kafka.fetch_all(&topic)));
}

#[test]
fn an_agent_that_is_killed_again_and_again_loses_nothing() {
    let kafka = RealKafka::current();
    let topic = kafka.fresh_topic("kill-agent", 1);
    let mut env = sending_to(&kafka, &topic);
    for round in 0..5 {
        env.write_lines("app.log", round * 2000..(round + 1) * 2000);
        let before = kafka.count(&topic);
        env.start();
        kafka.wait_for_records(&topic, before + 1, LONG);
        env.kill();
    }
    env.start();
    env.write_lines("app.log", 10_000..10_001);
    let arrived = || {
        texts(&kafka.fetch_all(&topic))
            .iter()
            .any(|line| line == "line 10000")
    };
    crate::support::env::wait_until(LONG, arrived, || "the last line".to_owned());
    env.stop();
    assert_at_least_once(&lines(0..10_001), &texts(&kafka.fetch_all(&topic)));
}
