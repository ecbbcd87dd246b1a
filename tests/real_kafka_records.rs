//! What a record says, judged by a real Kafka: events and masked text, with a kill in between.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::support::env::{Env, SOON};
use crate::support::kafka::RealKafka;

const LONG: Duration = Duration::from_secs(30);

#[test]
fn events_arrive_whole_and_masked_over_a_kill() {
    let kafka = RealKafka::current();
    let topic = kafka.fresh_topic("records", 1);
    let mut env = Env::new();
    env.set("kafka", "brokers", kafka.brokers())
        .set("kafka", "topic", &topic)
        .set("log:app", "multiline", "auto")
        .set("log:app", "mask", "card, password")
        .set("log:app", "format", "json")
        .set("log:app", "field.env", "prod");
    let (mut text, mut expected) = (String::new(), BTreeSet::new());
    for number in 0..500 {
        let shown = |secret: &str, card: &str| {
            format!(
                "2026-11-26 22:30:54 ERROR order {number} failed password={secret}\njava.lang.X: {card}\n\tat a.b(C.java:4)"
            )
        };
        text += &shown("hunter2", "4111111111111111");
        text.push('\n');
        expected.insert(shown("***", "***"));
    }
    let (first, second) = text.split_at(text.len() / 2);
    env.append("app.log", first);
    env.start();
    env.agent().wait_until_it_follows(SOON);
    env.kill();
    env.append("app.log", second);
    let ended = env.run(&["--once"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    kafka.wait_for_records(&topic, 500, LONG);
    let records = kafka.fetch_all(&topic);
    let mut found = BTreeSet::new();
    for record in &records {
        let object: serde_json::Value = serde_json::from_str(&record.text()).unwrap();
        assert_eq!(object["env"], "prod");
        found.insert(object["message"].as_str().unwrap().to_owned());
    }
    assert_eq!(found, expected);
}
