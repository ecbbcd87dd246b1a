//! `logagent check` against a real Kafka: what only TLS, SASL, rights and settings of topics can show.

use crate::check::findings;
use crate::support::env::Env;
use crate::support::kafka::RealKafka;
use crate::support::secured::{Keys, PLAIN_PASSWORD, Secured};

/// The screen of a check through `listener`, for a log that goes to each of `topics`.
fn screen(secured: &Secured, listener: &str, keys: &Keys, topics: &[&str]) -> String {
    let mut env = Env::new();
    env.unset_section("log:app");
    env.set("kafka", "brokers", &secured.broker(listener));
    for (key, value) in keys {
        env.set("kafka", key, value);
    }
    for (number, topic) in topics.iter().enumerate() {
        let name = format!("{number}.log");
        env.write_lines(&name, 0..10);
        let section = format!("log:{number}");
        env.set(&section, "path", &env.path(&name));
        env.set(&section, "topic", topic);
    }
    let ended = env.run(&["check"]);
    assert_eq!(ended.stderr, "");
    assert!(
        ended.stdout.lines().all(|line| line.chars().count() < 80),
        "{}",
        ended.stdout
    );
    ended.stdout
}

#[test]
fn each_trouble_with_a_broker_or_a_topic_is_told_from_the_others() {
    let secured = Secured::start("4");
    let kafka = &secured.kafka;
    let good = kafka.fresh_topic("good", 3);
    let small = kafka.fresh_name("small");
    kafka.create_topic(
        &small,
        1,
        &[
            ("max.message.bytes", "100000"),
            ("message.timestamp.before.max.ms", "3600000"),
        ],
    );
    let theirs = kafka.fresh_topic("theirs", 1);
    kafka.allow(&theirs, "User:somebody", WRITE);
    let to_look_at = kafka.fresh_topic("to-look-at", 1);
    kafka.allow(&to_look_at, "User:agent", DESCRIBE);
    let gone = kafka.fresh_name("gone");

    for (listener, keys, expected) in [
        (
            "PLAIN",
            secured.tls(),
            "closed in the TLS handshake; perhaps this port has no TLS",
        ),
        ("TLS", Vec::new(), "this port speaks TLS: set tls = on"),
        (
            "ELSEWHERE",
            secured.tls(),
            "its certificate is for another name",
        ),
        ("EXPIRED", secured.tls(), "its certificate has expired"),
        (
            "PLAIN",
            secured.plain("wrong"),
            "PLAIN: the broker refuses the credentials",
        ),
        (
            "PLAIN",
            Vec::new(),
            "closed at the first question; perhaps this port wants SASL",
        ),
    ] {
        let screen = screen(&secured, listener, &keys, &[&good]);
        let found = findings(&screen, "FAIL");
        assert_eq!(found.len(), 1, "{listener}: {screen}");
        assert!(found[0].contains(expected), "{listener}: {screen}");
    }

    let screen_of_agent = screen(
        &secured,
        "PLAIN",
        &secured.plain(PLAIN_PASSWORD),
        &[&good, &small, &theirs, &to_look_at, &gone],
    );
    let of = |topic: &str, mark: &str| {
        let found = findings(&screen_of_agent, mark);
        let found: Vec<&str> = found
            .iter()
            .filter_map(|one| one.strip_prefix(topic))
            .map(str::trim)
            .collect();
        assert_eq!(found.len(), 1, "{topic}: {screen_of_agent}");
        found[0].to_owned()
    };
    assert!(
        of(&small, "WARN").starts_with("max.message.bytes 100000 is too little for max_line_bytes")
    );
    assert!(of(&theirs, "FAIL").starts_with("not authorized: "));
    assert!(of(&to_look_at, "FAIL").starts_with("no right to write: "));
    // This broker makes topics.
    assert!(
        of(&gone, "WARN").starts_with("no such topic"),
        "{screen_of_agent}"
    );
    assert!(screen_of_agent.contains("-1h +"), "{screen_of_agent}");

    let screen = screen(&secured, "MUTUAL", &secured.mutual(), &[&good]);
    let certificate = screen
        .lines()
        .find(|line| line.contains("1.3, "))
        .unwrap_or_default();
    assert!(certificate.contains(" days  "), "{screen}");
    let own = findings(&screen, "ok");
    let own = own.iter().filter(|one| one.starts_with("tls ")).count();
    assert_eq!(own, 2, "its own certificate and the authority: {screen}");
    // A key that others can read is warned of.
    assert!(screen.ends_with("\n0 errors, 1 warning\n"), "{screen}");
    println!("{screen_of_agent}{screen}");
}

#[test]
fn the_legacy_output_is_refused_where_a_broker_does_not_take_what_it_sends() {
    for (kafka, is_taken) in [
        (RealKafka::current(), false),
        (RealKafka::v3_9(), true),
        (RealKafka::v2_8(), true),
    ] {
        let mut env = Env::new();
        env.write_lines("app.log", 0..1);
        env.set("kafka", "brokers", kafka.brokers());
        env.set("kafka", "protocol", "legacy");
        env.set("log:app", "topic", &kafka.fresh_topic("legacy", 1));
        let ended = env.run(&["check"]);
        let refusals = findings(&ended.stdout, "FAIL");
        match is_taken {
            true => assert!(refusals.is_empty(), "{}", ended.stdout),
            false => assert!(
                refusals.len() == 1 && refusals[0].contains("does not take 'protocol = legacy'"),
                "{}",
                ended.stdout
            ),
        }
    }
}

/// Operations of an AclBinding.
const WRITE: i8 = 4;
const DESCRIBE: i8 = 8;
