//! Against a real Kafka: what arrives is judged by Kafka's own console consumer. TLS and SASL: every way in that it
//! offers, and what is said about a wrong one.

use std::thread;
use std::time::Duration;

use crate::support::broker::Record;
use crate::support::env::{Env, assert_at_least_once, assert_same_lines, lines};
use crate::support::kafka::RealKafka;
use crate::support::secured::{Keys, PASSWORD, PLAIN_PASSWORD, SESSION_MS, Secured};
use crate::support::token_endpoint::SECRET;

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

/// An agent that sends 1,000 lines to a topic of its own through this listener, and the topic.
fn agent(secured: &Secured, listener: &str, keys: &Keys) -> (Env, String) {
    let topic = secured.kafka.fresh_topic(&listener.to_lowercase(), 1);
    let mut env = Env::new();
    env.set("kafka", "brokers", &secured.broker(listener))
        .set("kafka", "topic", &topic);
    for (key, value) in keys {
        env.set("kafka", key, value);
    }
    env.write_lines("app.log", 0..1000);
    (env, topic)
}

/// All 1,000 lines arrive, once and in order.
fn expect_all(secured: &Secured, env: &mut Env, topic: &str) {
    secured.kafka.wait_for_records(topic, 1000, LONG);
    env.stop();
    assert_same_lines(&lines(0..1000), &arrived(secured, topic));
}

fn arrived(secured: &Secured, topic: &str) -> Vec<String> {
    let records = secured.kafka.fetch_all(topic);
    records.iter().map(Record::text).collect()
}

#[test]
fn every_way_in_delivers_every_line_and_a_wrong_one_is_named_and_loses_nothing() {
    let secured = Secured::start("4");
    let other_ca = secured.file("other-ca.pem");
    let old_bearer = secured.token(1_600_000_000, 1_600_000_001);
    let bearer = secured.token(1_700_000_000, 4_000_000_000);
    let endpoint = secured.token_endpoint();
    let with_token_of_endpoint = |secret: &str| {
        let keys = secured.tls().into_iter().chain(endpoint.keys(secret));
        keys.collect::<Keys>()
    };

    // The right ways in.
    let right = [
        ("TLS", secured.tls()),
        ("MUTUAL", secured.mutual()),
        ("SCRAM", secured.scram("SCRAM-SHA-256")),
        ("SCRAM", secured.scram("SCRAM-SHA-512")),
        ("PLAIN", secured.plain(PLAIN_PASSWORD)),
        ("TOKEN", bearer.clone()),
        ("TOKEN", with_token_of_endpoint(SECRET)),
    ];
    let mut running: Vec<(Env, String)> = right
        .iter()
        .map(|(listener, keys)| agent(&secured, listener, keys))
        .collect();
    for (env, _) in &mut running {
        env.start();
    }
    for (mut env, topic) in running {
        secured.kafka.wait_for_records(&topic, 1000, LONG);
        let log = env.log();
        assert!(!log.contains("ERROR"), "{log}");
        assert!(!log.contains(PLAIN_PASSWORD) && !log.contains(PASSWORD));
        assert!(!log.contains(SECRET), "{log}");
        expect_all(&secured, &mut env, &topic);
    }

    // Wrong ones, with what is said and what mends it.
    let wrong = [
        (
            "TLS",
            secured.tls_and(&[("tls_ca", &other_ca)]),
            "an authority that is not trusted here (tls_ca)",
            Some(secured.tls()),
        ),
        (
            "ELSEWHERE",
            secured.tls(),
            "its certificate is for another name: ",
            None,
        ),
        (
            "EXPIRED",
            secured.tls(),
            "its certificate has expired",
            None,
        ),
        (
            "MUTUAL",
            secured.tls(),
            "it wants a client certificate (tls_cert, tls_key)",
            Some(secured.mutual()),
        ),
        (
            "SCRAM",
            secured.scram_with("SCRAM-SHA-512", "wrong-secret"),
            "SCRAM-SHA-512: the broker refuses the credentials: ",
            Some(secured.scram("SCRAM-SHA-512")),
        ),
        (
            "PLAIN",
            secured.plain("wrong-secret"),
            "PLAIN: the broker refuses the credentials: ",
            Some(secured.plain(PLAIN_PASSWORD)),
        ),
        (
            "SCRAM",
            secured.scram_with("PLAIN", "wrong-secret"),
            "PLAIN: the broker does not offer it; it offers SCRAM-SHA-",
            Some(secured.scram("SCRAM-SHA-256")),
        ),
        (
            "TOKEN",
            old_bearer,
            "OAUTHBEARER: the broker refuses the ",
            Some(bearer.clone()),
        ),
        (
            "TOKEN",
            with_token_of_endpoint("wrong-secret"),
            "/oauth2/token: status 401, invalid_client: nobody we know",
            Some(with_token_of_endpoint(SECRET)),
        ),
        (
            "PLAIN",
            secured.tls(),
            "perhaps this port has no TLS",
            Some(secured.plain(PLAIN_PASSWORD)),
        ),
        (
            "PLAIN",
            Vec::new(),
            "perhaps it wants sasl_mechanism",
            Some(secured.plain(PLAIN_PASSWORD)),
        ),
    ];
    let mut running = Vec::new();
    for (listener, keys, words, mended) in &wrong {
        let (mut env, topic) = agent(&secured, listener, keys);
        env.start();
        running.push((env, topic, *words, listener, keys, mended));
    }
    // Enough for several attempts of each.
    thread::sleep(Duration::from_secs(1));
    for (mut env, topic, words, listener, keys, mended) in running {
        env.wait_for_log(words, LONG);
        let log = env.log();
        let told = log.lines().filter(|line| line.contains(words)).count();
        assert_eq!(told, 1, "'{words}' is said once in:\n{log}");
        let errors = log.lines().filter(|line| line.contains("ERROR")).count();
        assert!(errors <= 1, "one line is enough:\n{log}");
        assert!(!log.contains("wrong-secret"), "{log}");
        env.kill();
        assert_eq!(secured.kafka.count(&topic), 0);
        // What cannot be mended here is got round by another listener.
        let (listener, mended) = match mended {
            Some(mended) => (*listener, mended.clone()),
            None => ("TLS", secured.tls()),
        };
        for (key, _) in keys {
            env.unset("kafka", key);
        }
        env.set("kafka", "brokers", &secured.broker(listener));
        for (key, value) in &mended {
            env.set("kafka", key, value);
        }
        env.start();
        expect_all(&secured, &mut env, &topic);
    }

    // Sessions of limited time: renewed on the same connection, between requests.
    let keys = secured.plain(PLAIN_PASSWORD);
    let (mut env, topic) = agent(&secured, "PLAIN", &keys);
    env.set("kafka", "batch_bytes", "1KiB");
    env.start();
    let steps = 2 * SESSION_MS as usize / 100;
    for step in 0..steps {
        env.write_lines("app.log", 1000 + step * 10..1010 + step * 10);
        thread::sleep(Duration::from_millis(100));
    }
    let all = 1000 + steps * 10;
    secured.kafka.wait_for_records(&topic, all, LONG);
    let log = env.log();
    let troubles = log
        .lines()
        .filter(|line| line.contains("WARN") || line.contains("ERROR"));
    // PLAIN without TLS, and an ini with a password that others can read.
    assert_eq!(troubles.count(), 2, "{log}");
    assert!(
        log.contains("PLAIN without tls = on") && log.contains("chmod 600"),
        "{log}"
    );
    env.stop();
    assert_same_lines(&lines(0..all), &arrived(&secured, &topic));
}
