//! What the agent says of itself is what a real Kafka holds.

use crate::standing::{
    Running, expect_counts, is_at_rest, log, lose_unread, many, set_sections, topic, write_sections,
};
use crate::support::env::Env;
use crate::support::kafka::RealKafka;

#[test]
fn every_number_is_what_kafka_holds_through_a_missing_topic_a_dead_letter_and_a_loss() {
    let kafka = RealKafka::own("standing", "4", &["auto.create.topics.enable=false"]);
    let lines = many();
    let topics = ["app", "shop", "big", "audit"];
    kafka.create_topic("app", 2, &[]);
    kafka.create_topic("shop", 2, &[]);
    kafka.create_topic("big", 1, &[("max.message.bytes", "8192")]);
    let mut env = Env::new();
    env.set("kafka", "brokers", kafka.brokers());
    set_sections(&mut env, topics);
    let audit_bytes = write_sections(&env, lines);
    let agent = Running::start(&env);
    agent.wait_for(|snapshot| is_at_rest(snapshot, lines));
    let read = lose_unread(&env, &agent, audit_bytes, topics);
    let snapshot = agent.snapshot();
    expect_counts(&env, &snapshot, lines, topics);
    assert!(
        snapshot.brokers[0].about.starts_with("Kafka 4."),
        "{snapshot:#?}"
    );
    for (name, count) in [("app", lines), ("shop", lines / 2), ("big", 2)] {
        assert_eq!(kafka.count(name), count, "{name}");
    }
    kafka.create_topic("audit", 1, &[]);
    let records = read / 100;
    let snapshot = agent.wait_for(|snapshot| log(snapshot, "audit").acked_records == records);
    assert_eq!(topic(&snapshot, "audit").acked_records, records);
    assert_eq!(kafka.count("audit") as u64, records);
    agent.wait_for(|snapshot| snapshot.conditions.is_empty());
    agent.stop();
}
