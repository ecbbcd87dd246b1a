//! Brokers that fail, hang, lie, move and go: nothing is lost, doubled or reordered while the agent
//! lives, and what is well flows on.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use kafka_protocol::messages::ApiKey;

use crate::support::broker::{Cluster, UnknownProducer};
use crate::support::env::{Env, SOON, TOPIC, assert_at_least_once, assert_same_lines, lines};

/// An agent with small batches, so that several are in flight at once.
fn small_batches() -> Env {
    let mut env = Env::new();
    env.set("kafka", "batch_bytes", "1KiB")
        .set("kafka", "request_timeout", "1s")
        .set("agent", "producers", "1");
    env
}

/// Lines before, during and after `trouble` arrive once and in order.
fn survives(mut env: Env, trouble: impl FnOnce(&Cluster)) {
    env.write_lines("app.log", 0..200);
    env.start();
    env.expect_lines(&lines(0..200));
    trouble(&env.broker);
    env.write_lines("app.log", 200..1000);
    env.expect_lines(&lines(0..1000));
    assert!(env.broker.rules_are_used_up(), "the trouble has happened");
    env.write_lines("app.log", 1000..1200);
    env.stop_and_expect_lines(&lines(0..1200));
}

#[test]
fn an_error_that_comes_after_the_append_doubles_nothing() {
    for code in [7, 20] {
        survives(small_batches(), |broker| {
            broker.on(ApiKey::Produce).times(3).error_after_append(code);
        });
    }
}

#[test]
fn an_error_on_the_very_first_batch_reorders_nothing() {
    // Kafka since 2.4 takes any first sequence, so it would not notice that a batch was overtaken.
    for unknown in [UnknownProducer::Accepted, UnknownProducer::OutOfOrder] {
        let mut env = small_batches();
        env.broker.unknown_producer(unknown);
        env.broker.on(ApiKey::Produce).error(6);
        env.write_lines("app.log", 0..1000);
        env.start();
        env.stop_and_expect_lines(&lines(0..1000));
        assert!(env.broker.rules_are_used_up());
    }
}

#[test]
fn a_broker_that_hangs_up_before_the_append_loses_nothing() {
    survives(small_batches(), |broker| {
        broker.on(ApiKey::Produce).times(2).hang_up_before_append();
    });
}

#[test]
fn a_broker_that_hangs_up_after_the_append_doubles_nothing() {
    survives(small_batches(), |broker| {
        broker.on(ApiKey::Produce).times(3).hang_up_after_append();
    });
}

#[test]
fn an_answer_that_is_cut_short_doubles_nothing() {
    survives(small_batches(), |broker| {
        broker.on(ApiKey::Produce).cut_answer()
    });
}

#[test]
fn an_answer_of_nonsense_doubles_nothing() {
    survives(small_batches(), |broker| {
        broker.on(ApiKey::Produce).garbage()
    });
}

#[test]
fn an_answer_of_two_gibibytes_is_not_waited_for() {
    let start = Instant::now();
    let mut env = small_batches();
    env.set("kafka", "request_timeout", "60s");
    survives(env, |broker| broker.on(ApiKey::Produce).oversized_answer());
    assert!(start.elapsed() < Duration::from_secs(30));
}

#[test]
fn an_answer_that_never_comes_doubles_nothing() {
    survives(small_batches(), |broker| {
        broker.on(ApiKey::Produce).no_answer()
    });
}

#[test]
fn mangled_answers_to_the_first_questions_are_survived() {
    for api in [
        ApiKey::ApiVersions,
        ApiKey::Metadata,
        ApiKey::InitProducerId,
    ] {
        let mut env = small_batches();
        env.broker.on(api).hang_up_after_append();
        env.broker.on(api).cut_answer();
        env.broker.on(api).garbage();
        env.broker.on(api).oversized_answer();
        env.write_lines("app.log", 0..100);
        env.start();
        env.stop_and_expect_lines(&lines(0..100));
        assert!(env.broker.rules_are_used_up(), "{api:?}");
    }
}

#[test]
fn errors_in_answer_to_the_first_questions_are_survived() {
    let mut env = small_batches();
    env.broker
        .on(ApiKey::Metadata)
        .topic(TOPIC)
        .times(2)
        .error(5);
    env.broker.on(ApiKey::Metadata).topic(TOPIC).error(3);
    env.broker.on(ApiKey::InitProducerId).times(2).error(15);
    env.broker.on(ApiKey::InitProducerId).error(14);
    env.write_lines("app.log", 0..100);
    env.start();
    env.stop_and_expect_lines(&lines(0..100));
    assert!(env.broker.rules_are_used_up());
}

#[test]
fn without_idempotence_nothing_is_lost() {
    for acks in ["1", "all"] {
        let mut env = small_batches();
        env.set("kafka", "acks", acks)
            .set("kafka", "idempotence", "off");
        env.write_lines("app.log", 0..500);
        env.broker.on(ApiKey::Produce).hang_up_after_append();
        env.broker.on(ApiKey::Produce).times(3).error(6);
        env.start();
        env.broker.wait_until(SOON, "the last line", |broker| {
            broker.values(TOPIC).iter().any(|line| line == "line 499")
        });
        env.stop();
        let mut values = env.broker.values(TOPIC);
        let number = |line: &String| line[5..].parse::<usize>().unwrap();
        values.sort_by_key(number);
        assert_at_least_once(&lines(0..500), &values);
    }
}

#[test]
fn a_broker_that_goes_down_and_comes_back_while_lines_are_written_loses_nothing() {
    let mut env = small_batches();
    env.start();
    for round in 0..3 {
        let first = round * 300;
        env.write_lines("app.log", first..first + 100);
        env.wait_for_records(first + 100);
        env.write_lines("app.log", first + 100..first + 200);
        env.broker.down(1);
        env.write_lines("app.log", first + 200..first + 300);
        env.broker.up(1);
    }
    env.stop_and_expect_lines(&lines(0..900));
}

#[test]
fn a_broker_that_reads_nothing_for_a_while_loses_and_doubles_nothing() {
    let mut env = small_batches();
    env.set("kafka", "request_timeout", "1s");
    env.write_lines("app.log", 0..200);
    env.start();
    env.expect_lines(&lines(0..200));
    let accepted = env.broker.accepted(1);
    env.broker.stop_reading(1);
    env.write_lines("app.log", 200..400);
    // The agent gives up on the connection and makes another.
    env.broker.wait_until(SOON, "another connection", |broker| {
        broker.accepted(1) > accepted
    });
    env.broker.heal();
    env.stop_and_expect_lines(&lines(0..400));
}

#[test]
fn a_broker_that_appends_and_does_not_answer_for_a_while_doubles_nothing() {
    let mut env = small_batches();
    env.set("kafka", "request_timeout", "1s");
    env.write_lines("app.log", 0..200);
    env.start();
    env.expect_lines(&lines(0..200));
    let accepted = env.broker.accepted(1);
    env.broker.stop_answering(1);
    env.write_lines("app.log", 200..400);
    env.broker.wait_until(SOON, "another connection", |broker| {
        broker.accepted(1) > accepted
    });
    env.broker.heal();
    env.stop_and_expect_lines(&lines(0..400));
    assert!(env.broker.count(TOPIC) == 400);
}

#[test]
fn a_connection_that_is_closed_while_idle_costs_nothing() {
    let mut env = small_batches();
    env.start();
    for round in 0..3 {
        env.write_lines("app.log", round * 100..(round + 1) * 100);
        env.wait_for_records((round + 1) * 100);
        env.broker.hang_up(1);
    }
    env.stop_and_expect_lines(&lines(0..300));
}

#[test]
fn a_connection_that_is_forgotten_on_the_way_costs_the_first_line_after_a_pause_no_five_seconds() {
    const TEST: &str = "faults::a_connection_that_is_forgotten_on_the_way_costs_the_first_line_after_a_pause_no_five_seconds";
    in_a_network_of_its_own(TEST, || {
        let mut env = Env::new();
        // As it is in production: a minute.
        env.unset("kafka", "request_timeout");
        env.write_lines("app.log", 0..100);
        env.start();
        env.expect_lines(&lines(0..100));
        forget_connections(&env.broker.brokers());
        // The pause: longer than 10 s, after which nothing is taken for granted.
        std::thread::sleep(Duration::from_secs(11));
        let connections = env.broker.accepted(1);
        let written = Instant::now();
        env.write_lines("app.log", 100..200);
        env.wait_for_records(200);
        let taken = written.elapsed();
        println!("the first line after the pause took {taken:?}");
        assert!(taken < Duration::from_secs(5), "{taken:?}");
        assert!(env.broker.accepted(1) > connections, "a new connection");
        env.stop_and_expect_lines(&lines(0..200));
    });
}

/// Runs the body of this test in a network namespace in which nothing but loopback is.
fn in_a_network_of_its_own(test: &str, body: impl FnOnce()) {
    const INSIDE: &str = "LOGAGENT_TEST_NETWORK";
    if std::env::var_os(INSIDE).is_some() {
        ip(&["link", "set", "lo", "up"]);
        return body();
    }
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .expect("unshare of util-linux");
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    let is_right = output.status.success() && said.contains(" 1 passed");
    assert!(is_right, "{}", String::from_utf8_lossy(&output.stderr));
}

fn ip(words: &[&str]) {
    let status = Command::new("ip").args(words).status();
    assert!(status.expect("ip of iproute2").success(), "ip {words:?}");
}

/// From now on what is sent on the connections to this broker vanishes, both ways and without a word, as at a NAT
/// that has forgotten them. New ones come about.
fn forget_connections(broker: &str) {
    let broker_port: u16 = broker.rsplit(':').next().unwrap().parse().unwrap();
    let port = |address: &str| u16::from_str_radix(address.rsplit(':').next()?, 16).ok();
    let table = fs::read_to_string("/proc/self/net/tcp").unwrap();
    let clients = table.lines().filter_map(|line| {
        const ESTABLISHED: &str = "01";
        let words: Vec<&str> = line.split_whitespace().collect();
        let is_one = words[3] == ESTABLISHED && port(words[2]) == Some(broker_port);
        is_one.then(|| port(words[1])).flatten()
    });
    let clients: Vec<u16> = clients.collect();
    assert!(!clients.is_empty(), "there are connections:\n{table}");
    for client in clients {
        for side in ["sport", "dport"] {
            let client = client.to_string();
            let rule = ["rule", "add", "pref", "10", "ipproto", "tcp", side, &client];
            ip(&[&rule[..], &["blackhole"]].concat());
        }
    }
    // What is local is looked up first of all otherwise.
    ip(&["rule", "add", "pref", "20", "lookup", "local"]);
    ip(&["rule", "del", "pref", "0"]);
}

#[test]
fn a_broker_that_hangs_up_on_large_requests_is_one_error_that_names_size_topic_and_settings() {
    let mut env = Env::new();
    env.set("agent", "producers", "1");
    // All of it is one batch, however slowly it is read.
    env.set("kafka", "linger", "2s");
    // More than 16 KiB, which no limit is below.
    env.write_lines("app.log", 0..5000);
    env.broker
        .on(ApiKey::Produce)
        .times(4)
        .hang_up_before_append();
    env.start();
    env.expect_lines(&lines(0..5000));
    assert!(env.broker.rules_are_used_up(), "four times, then halved");
    let log = env.log();
    let errors: Vec<&str> = log
        .lines()
        .filter(|line| line.contains(" ERROR "))
        .collect();
    let [error] = errors[..] else {
        panic!("not one ERROR:\n{log}");
    };
    let size = error
        .split_once(" a request of ")
        .and_then(|(_, rest)| rest.split_once(" bytes "));
    let bytes: usize = size.expect("a size").0.parse().unwrap();
    assert!((16 << 10..1 << 20).contains(&bytes), "{error}");
    let words = ["topic 'logs'", "socket.request.max.bytes", "batch_bytes"];
    assert!(words.iter().all(|words| error.contains(words)), "{error}");
    env.stop_and_expect_lines(&lines(0..5000));
}

#[test]
fn a_partition_whose_leader_moves_is_followed() {
    let cluster = Cluster::of(2);
    cluster.create_topic(TOPIC, 1);
    let mut env = Env::with(cluster);
    env.set("kafka", "batch_bytes", "1KiB");
    env.start();
    for round in 0..4 {
        env.write_lines("app.log", round * 200..round * 200 + 100);
        env.broker.set_leader(TOPIC, 0, 2 - round as i32 % 2);
        env.write_lines("app.log", round * 200 + 100..(round + 1) * 200);
        env.wait_for_records((round + 1) * 200);
    }
    env.stop_and_expect_lines(&lines(0..800));
}

#[test]
fn a_leader_that_dies_is_replaced() {
    let cluster = Cluster::of(2);
    cluster.create_topic(TOPIC, 1);
    let mut env = Env::with(cluster);
    env.write_lines("app.log", 0..100);
    env.start();
    env.expect_lines(&lines(0..100));
    env.broker.down(1);
    env.write_lines("app.log", 100..200);
    env.broker.set_leader(TOPIC, 0, 2);
    env.stop_and_expect_lines(&lines(0..200));
}

#[test]
fn a_broker_that_hangs_holds_up_only_its_own_partitions() {
    let cluster = Cluster::of(2);
    cluster.create_topic(TOPIC, 1);
    cluster.create_topic("stuck", 1);
    cluster.set_leader("stuck", 0, 2);
    let mut env = Env::with(cluster);
    env.set("agent", "producers", "1")
        .set("agent", "memory_limit", "8MiB")
        .set("kafka", "request_timeout", "2s");
    let path = env.path("stuck/*.log");
    env.set("log:stuck", "path", &path)
        .set("log:stuck", "topic", "stuck");
    env.make_folder("stuck");
    env.write_lines("app.log", 0..100);
    env.write_lines("stuck/app.log", 0..100);
    env.start();
    env.expect_lines(&lines(0..100));
    env.broker.wait_for_records("stuck", 100, SOON);
    env.broker.stop_reading(2);
    for step in 0..20 {
        env.append("stuck/app.log", "x".repeat(999_999) + "\n");
        let start = Instant::now();
        env.write_lines("app.log", 100 + step * 10..110 + step * 10);
        env.wait_for_records(110 + step * 10);
        let taken = start.elapsed();
        assert!(
            taken < Duration::from_millis(1500),
            "step {step}: {taken:?}"
        );
    }
    env.broker.heal();
    env.broker.wait_for_records("stuck", 120, SOON);
    env.stop_and_expect_lines(&lines(0..300));
}

#[test]
fn a_topic_that_is_unknown_is_parked_while_the_others_flow() {
    let mut env = Env::new();
    env.broker.auto_create(None);
    env.set("agent", "producers", "1")
        .set("agent", "memory_limit", "8MiB");
    let path = env.path("lost/*.log");
    env.set("log:lost", "path", &path)
        .set("log:lost", "topic", "not-there");
    env.make_folder("lost");
    for number in 0..20 {
        env.append(
            "lost/app.log",
            format!("{number} {}\n", "x".repeat(500_000)),
        );
    }
    env.start();
    for step in 0..10 {
        env.write_lines("app.log", step * 10..(step + 1) * 10);
        env.wait_for_records((step + 1) * 10);
    }
    env.wait_for_log("not-there", SOON);
    env.broker.create_topic("not-there", 1);
    env.broker
        .wait_for_records("not-there", 20, Duration::from_secs(20));
    env.stop_and_expect_lines(&lines(0..100));
    let values = env.broker.values("not-there");
    for (number, value) in values.iter().enumerate() {
        assert!(value.starts_with(&format!("{number} ")));
    }
}

#[test]
fn a_topic_that_was_unknown_for_long_does_not_make_a_new_one_wait() {
    let mut env = Env::new();
    let (lost, new) = (env.path("lost/*.log"), env.path("new/*.log"));
    env.set("agent", "producers", "1")
        .set("log:lost", "path", &lost)
        .set("log:lost", "topic", "not-there")
        .set("log:new", "path", &new)
        .set("log:new", "topic", "new");
    env.make_folder("lost");
    env.make_folder("new");
    env.broker.auto_create(None);
    env.write_lines("lost/app.log", 0..1);
    env.start();
    // By now it is asked for every five seconds and more.
    env.broker.wait_until(SOON, "pauses to grow", |broker| {
        broker.requests(ApiKey::Metadata) >= 7
    });
    let asked = env.broker.requests(ApiKey::Metadata);
    env.write_lines("new/app.log", 0..10);
    env.broker.wait_until(SOON, "the first question", |broker| {
        broker.requests(ApiKey::Metadata) > asked
    });
    env.broker.create_topic("new", 1);
    let start = Instant::now();
    env.broker.wait_for_records("new", 10, SOON);
    let taken = start.elapsed();
    assert!(taken < Duration::from_secs(4), "{taken:?}");
    env.stop();
}

#[test]
fn a_topic_that_is_deleted_and_made_again_is_written_again() {
    for unknown in [
        UnknownProducer::OutOfOrder,
        UnknownProducer::Unknown,
        UnknownProducer::Accepted,
    ] {
        let mut env = small_batches();
        env.broker.unknown_producer(unknown);
        env.write_lines("app.log", 0..100);
        env.start();
        env.expect_lines(&lines(0..100));
        env.broker.delete_topic(TOPIC);
        env.broker.create_topic(TOPIC, 1);
        env.write_lines("app.log", 100..200);
        env.stop_and_expect_lines(&lines(100..200));
    }
}

#[test]
fn a_producer_that_the_broker_has_forgotten_starts_anew() {
    for unknown in [
        UnknownProducer::OutOfOrder,
        UnknownProducer::Unknown,
        UnknownProducer::Accepted,
    ] {
        survives(small_batches(), |broker| {
            broker.unknown_producer(unknown);
            broker.forget_producers();
        });
    }
}

#[test]
fn a_batch_that_is_too_large_is_split() {
    let mut env = Env::new();
    env.set("kafka", "compression", "none");
    env.broker.max_message_bytes(3000);
    env.write_lines("app.log", 0..2000);
    env.start();
    env.stop_and_expect_lines(&lines(0..2000));
    assert!(env.broker.produce_errors(10) > 0);
}

#[test]
fn a_record_that_no_broker_takes_is_set_aside_and_the_others_flow() {
    let mut env = Env::new();
    env.set("kafka", "compression", "none");
    env.broker.max_message_bytes(3000);
    env.write_lines("app.log", 0..10);
    env.append("app.log", "x".repeat(5000) + "\n");
    env.write_lines("app.log", 10..20);
    env.start();
    env.stop_and_expect_lines(&lines(0..20));
}

#[test]
fn slow_answers_do_not_slow_what_is_sent_meanwhile() {
    let mut env = small_batches();
    env.set("kafka", "headers", "none")
        .set("kafka", "request_timeout", "10s");
    env.write_lines("app.log", 0..100);
    env.start();
    env.expect_lines(&lines(0..100));
    env.broker.delay(Duration::from_millis(200));
    // About fifty batches: ten seconds one after the other, two with five in flight.
    env.write_lines("app.log", 100..2500);
    let start = Instant::now();
    env.expect_lines(&lines(0..2500));
    let taken = start.elapsed();
    assert!(taken < Duration::from_secs(5), "{taken:?}");
    env.broker.heal();
    env.stop_and_expect_lines(&lines(0..2500));
    assert!(env.broker.most_unanswered() <= 5);
}

#[test]
fn throttled_answers_are_answers() {
    let mut env = small_batches();
    env.broker.throttle(Duration::from_millis(20));
    env.write_lines("app.log", 0..500);
    env.start();
    env.stop_and_expect_lines(&lines(0..500));
}

#[test]
fn an_old_broker_is_spoken_to_in_its_versions() {
    // Kafka 0.11: the first with record batches and idempotence. It answers a version of
    // ApiVersions that it does not know with an error in version 0.
    let mut env = small_batches();
    env.broker.limit_api(ApiKey::ApiVersions, 0, 1);
    env.broker.limit_api(ApiKey::Produce, 0, 3);
    env.broker.limit_api(ApiKey::Fetch, 0, 5);
    env.broker.limit_api(ApiKey::Metadata, 0, 4);
    env.broker.limit_api(ApiKey::InitProducerId, 0, 0);
    env.write_lines("app.log", 0..500);
    env.start();
    env.stop_and_expect_lines(&lines(0..500));
}

#[test]
fn a_broker_without_zstd_is_named_once_and_gets_the_lines_when_it_has_it() {
    let mut env = small_batches();
    env.set("kafka", "compression", "zstd");
    env.broker.limit_api(ApiKey::Produce, 0, 6);
    env.write_lines("app.log", 0..500);
    env.start();
    env.wait_for_log("it takes no 'compression = zstd'", SOON);
    let accepted = env.broker.accepted(1);
    env.broker.wait_until(SOON, "more attempts", |broker| {
        broker.accepted(1) > accepted + 1
    });
    assert_eq!(env.agent().count_log(&["ERROR", "zstd"]), 1);
    assert_eq!(env.broker.count(TOPIC), 0);
    env.broker.limit_api(ApiKey::Produce, 0, 11);
    env.stop_and_expect_lines(&lines(0..500));
}

#[test]
fn a_topic_that_may_not_be_written_is_parked_while_the_others_flow() {
    let mut env = Env::new();
    env.broker.create_topic("forbidden", 1);
    env.broker
        .on(ApiKey::Produce)
        .topic("forbidden")
        .forever()
        .error(29);
    let path = env.path("secret/*.log");
    env.set("log:secret", "path", &path)
        .set("log:secret", "topic", "forbidden");
    env.make_folder("secret");
    env.write_lines("secret/app.log", 0..100);
    env.write_lines("app.log", 0..100);
    env.start();
    env.expect_lines(&lines(0..100));
    env.wait_for_log("forbidden", SOON);
    env.broker.heal();
    env.broker
        .wait_for_records("forbidden", 100, Duration::from_secs(20));
    env.stop_and_expect_lines(&lines(0..100));
    assert_same_lines(&lines(0..100), &env.broker.values("forbidden"));
}

#[test]
fn dead_letters_that_cannot_be_written_are_kept_and_hold_up_no_other_topic() {
    let mut env = Env::new();
    env.broker.create_topic("bad", 1);
    let path = env.path("bad/*.log");
    env.set("agent", "producers", "1")
        .set("log:bad", "path", &path)
        .set("log:bad", "topic", "bad");
    env.make_folder("bad");
    // A file where the folder has to be.
    let folder = env.state_dir().join("dead-letter");
    fs::write(&folder, "").unwrap();
    env.broker
        .on(ApiKey::Produce)
        .topic("bad")
        .forever()
        .error(87);
    // Each is made durable.
    env.write_lines("bad/app.log", 0..20);
    env.start();
    env.wait_for_log("cannot write the dead letters", SOON);
    env.write_lines("app.log", 0..100);
    env.expect_lines(&lines(0..100));
    let acknowledged = |env: &Env| -> u64 {
        let positions = env.positions();
        let mut of = positions.iter();
        let bad = of.find(|fields| fields[Env::PATH].ends_with("bad/app.log"));
        bad.map_or(0, |fields| fields[0].parse().unwrap())
    };
    assert_eq!(acknowledged(&env), 0);
    assert_eq!(env.broker.count("bad"), 0);
    fs::remove_file(&folder).unwrap();
    env.wait_for_log("the dead letters can be written again", SOON);
    env.wait_for_checkpoint_at_the_end_of("bad/app.log");
    env.stop();
    let end = fs::metadata(env.path("bad/app.log")).unwrap().len();
    assert_eq!(acknowledged(&env), end);
    let kept = fs::read_to_string(folder.join("refused-0")).unwrap();
    let kept: Vec<String> = kept.lines().skip(1).step_by(2).map(str::to_owned).collect();
    assert_same_lines(&lines(0..20), &kept);
}
