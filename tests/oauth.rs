//! Tokens for OAUTHBEARER that come from an endpoint, and rights that are missing: one ERROR names the right of Kafka
//! and the setting that does without it, and nothing is lost.

use std::fs;
use std::time::Duration;

use kafka_protocol::messages::ApiKey;
use rcgen::{CertificateParams, KeyPair};

use crate::support::env::{Env, SOON, TOPIC, lines, wait_until};
use crate::support::token_endpoint::{Behaviour, SECRET, TokenEndpoint};

/// Several life times of a token that lives for seconds, on a busy machine.
const LONG: Duration = Duration::from_secs(30);

/// An agent that has to come with a token of the endpoint.
fn with_token_of(endpoint: &TokenEndpoint, secret: &str) -> Env {
    let mut env = Env::new();
    env.broker.require_token();
    env.set("agent", "producers", "1");
    for (key, value) in endpoint.keys(secret) {
        env.set("kafka", key, &value);
    }
    env.write_lines("app.log", 0..100);
    env
}

#[test]
fn a_token_is_asked_for_shared_by_connections_and_renewed_before_it_ends() {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap().pem();
    let endpoint = TokenEndpoint::start(Some((&certificate, &key.serialize_pem())));
    let mut env = with_token_of(&endpoint, SECRET);
    let ca = env.path("ca.pem");
    fs::write(&ca, certificate).unwrap();
    env.set("kafka", "sasl_token_ca", &ca)
        .set("kafka", "sasl_scope", "kafka logs/write");
    env.start();
    env.expect_lines(&lines(0..100));
    // The next connection comes with the same token.
    env.broker.hang_up(1);
    env.write_lines("app.log", 100..200);
    env.expect_lines(&lines(0..200));
    assert_eq!(endpoint.issued(), 1);
    let request = &endpoint.requests()[0];
    assert!(
        request.starts_with("POST /oauth2/token HTTP/1.1\r\nHost: localhost:"),
        "{request}"
    );
    assert!(
        request.ends_with("\r\n\r\ngrant_type=client_credentials&scope=kafka+logs%2Fwrite"),
        "{request}"
    );
    // One that the broker refuses is not used again.
    endpoint.lifetime(3);
    env.broker.on(ApiKey::SaslAuthenticate).error(58);
    let mut written = 200;
    wait_until(
        LONG,
        || {
            // A login of before the rule may be on its way.
            env.broker.hang_up(1);
            env.write_lines("app.log", written..written + 10);
            written += 10;
            env.wait_for_records(written);
            endpoint.issued() >= 2
        },
        || "a second token".to_owned(),
    );
    // These live for seconds, and so do the sessions, which go on with the next.
    let connections = env.broker.accepted(1);
    wait_until(
        LONG,
        || {
            env.write_lines("app.log", written..written + 10);
            written += 10;
            env.wait_for_records(written);
            endpoint.issued() >= 5
        },
        || "three more tokens".to_owned(),
    );
    assert_eq!(env.broker.accepted(1), connections);
    let log = env.log();
    assert!(!log.contains(SECRET), "{log}");
    assert!(!log.contains("token endpoint"), "{log}");
    env.stop_and_expect_lines(&lines(0..written));
}

#[test]
fn a_secret_that_is_wrong_is_named_and_loses_nothing() {
    let endpoint = TokenEndpoint::start(None);
    let mut env = with_token_of(&endpoint, "wrong-secret");
    env.start();
    let words = format!(
        "OAUTHBEARER: token endpoint {}: status 401, invalid_client: nobody we know",
        endpoint.url()
    );
    env.wait_for_log(&words, SOON);
    endpoint.wait_for_requests(4, SOON);
    let log = env.log();
    assert_eq!(log.matches(&words).count(), 1, "said once:\n{log}");
    assert!(!log.contains("wrong-secret"), "{log}");
    assert!(log.contains("learns the client secret"), "{log}");
    assert_eq!(env.broker.requests(ApiKey::Produce), 0);
    endpoint.expect_secret("wrong-secret");
    env.broker.wait_for_count(TOPIC, 100, LONG);
    env.stop_and_expect_lines(&lines(0..100));
}

#[test]
fn an_endpoint_that_does_not_serve_is_asked_again_and_loses_nothing() {
    let endpoint = TokenEndpoint::start(None);
    endpoint.behave(Behaviour::HangUp);
    let mut env = with_token_of(&endpoint, SECRET);
    env.set("kafka", "request_timeout", "1s");
    env.start();
    env.wait_for_log("closed the connection before its answer was complete", SOON);
    for behaviour in [Behaviour::Silence, Behaviour::Fail] {
        let asked = endpoint.requests().len();
        endpoint.behave(behaviour);
        endpoint.wait_for_requests(asked + 2, LONG);
    }
    endpoint.lifetime(10);
    endpoint.behave(Behaviour::Serve);
    env.broker.wait_for_count(TOPIC, 100, LONG);
    // From 80 % of its time on the token is to be renewed, and is good all the same.
    endpoint.behave(Behaviour::Fail);
    let mut written = 100;
    wait_until(
        LONG,
        || {
            env.broker.hang_up(1);
            env.write_lines("app.log", written..written + 1);
            written += 1;
            env.wait_for_records(written);
            let words = "status 503; going on with the token of before";
            env.log().contains(words)
        },
        || "the old token to be used".to_owned(),
    );
    // Once it has ended nothing goes.
    let before = env.log().len();
    wait_until(
        LONG,
        || {
            env.write_lines("app.log", written..written + 1);
            written += 1;
            env.log()[before..].contains("OAUTHBEARER: token endpoint ")
        },
        || "the token to end".to_owned(),
    );
    endpoint.behave(Behaviour::Serve);
    env.broker.wait_for_count(TOPIC, written, LONG);
    env.stop_and_expect_lines(&lines(0..written));
}

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
    env.broker.wait_for_count(TOPIC, 100, LONG);
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
