//! Clusters that are large, that grow, shrink and move.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kafka_protocol::messages::ApiKey;

use crate::support::broker::{Cluster, Record};
use crate::support::env::{Env, SOON, TOPIC, assert_same_lines, lines, wait_until};

/// Connections that each node has accepted, and has open; the others are left out.
fn connections(cluster: &Cluster, nodes: i32) -> (BTreeMap<i32, usize>, BTreeMap<i32, usize>) {
    let count = |of: &dyn Fn(i32) -> usize| {
        let counts = (1..=nodes).map(|node| (node, of(node)));
        counts.filter(|(_, count)| *count > 0).collect()
    };
    (
        count(&|node| cluster.accepted(node)),
        count(&|node| cluster.open_connections(node)),
    )
}

#[test]
fn of_thirty_brokers_only_leaders_that_are_sent_to_have_a_connection() {
    const NODES: i32 = 30;
    for producers in [1, 2] {
        let cluster = Cluster::of(NODES);
        cluster.create_topic(TOPIC, 60);
        let bootstrap: Vec<String> = (1..=3)
            .map(|node| cluster.address(node).to_string())
            .collect();
        // All sixty partitions have one of these four leaders.
        let leaders = [7, 12, 21, 30];
        for partition in 0..60 {
            cluster.set_leader(TOPIC, partition, leaders[partition % 4]);
        }
        let mut env = Env::with(cluster);
        env.set("agent", "producers", &producers.to_string()).set(
            "kafka",
            "brokers",
            &bootstrap.join(","),
        );
        for file in 0..40 {
            env.write_lines(&format!("{file}.log"), 0..10);
        }
        env.start();
        env.wait_for_records(400);
        for file in 0..40 {
            env.write_lines(&format!("{file}.log"), 10..20);
        }
        env.wait_for_records(800);
        let used: Vec<i32> = (0..60)
            .filter(|partition| {
                let records = env.broker.records(TOPIC);
                records.iter().any(|record| record.partition == *partition)
            })
            .map(|partition| env.broker.leader(TOPIC, partition as usize))
            .collect();
        env.broker
            .wait_until(SOON, "the bootstrap connections to end", |cluster| {
                (1..=3).all(|node| cluster.open_connections(node) == 0)
            });
        let (accepted, open) = connections(&env.broker, NODES);
        println!(
            "{producers} producers, {NODES} brokers: {} connections were opened, {} are open, to {:?}",
            accepted.values().sum::<usize>(),
            open.values().sum::<usize>(),
            open.keys()
        );
        for (node, count) in &open {
            assert!(used.contains(node), "{node} leads nothing that is sent to");
            assert!(*count <= producers, "node {node}: {count} connections");
        }
        let to_bootstrap: usize = (1..=3).filter_map(|node| accepted.get(&node)).sum();
        assert!(
            to_bootstrap <= producers,
            "{to_bootstrap} to bootstrap brokers"
        );
        for node in accepted.keys() {
            assert!(*node <= 3 || leaders.contains(node), "node {node}");
        }
        env.stop();
    }
}

/// Three nodes, of which the agent's ini names the first two. The third leads the only partition.
fn two_of_three() -> Env {
    let cluster = Cluster::of(3);
    cluster.create_topic(TOPIC, 1);
    cluster.set_leader(TOPIC, 0, 3);
    let bootstrap = format!("{},{}", cluster.address(1), cluster.address(2));
    let mut env = Env::with(cluster);
    env.set("kafka", "brokers", &bootstrap)
        .set("kafka", "request_timeout", "1s");
    env.write_lines("app.log", 0..100);
    env.start();
    env.expect_lines(&lines(0..100));
    env
}

#[test]
fn bootstrap_brokers_that_are_gone_for_good_are_not_missed() {
    let mut env = two_of_three();
    for node in [1, 2] {
        env.broker.down(node);
        env.broker.move_address(node);
    }
    // Only the third can say where the others are now.
    env.broker.hang_up(3);
    env.write_lines("app.log", 100..200);
    env.expect_lines(&lines(0..200));
    for node in [1, 2] {
        env.broker.up(node);
    }
    env.broker.set_leader(TOPIC, 0, 1);
    env.write_lines("app.log", 200..300);
    env.stop_and_expect_lines(&lines(0..300));
}

#[test]
fn a_broker_that_has_left_the_cluster_sends_the_agent_back_to_the_bootstrap_list() {
    let mut env = two_of_three();
    env.broker.limit_api(ApiKey::Metadata, 0, 13);
    // From here on the agent speaks version 13 with the third, the only one that it is connected to.
    env.broker.hang_up(3);
    env.write_lines("app.log", 100..200);
    env.expect_lines(&lines(0..200));
    env.broker.leave(3);
    env.broker.set_leader(TOPIC, 0, 2);
    env.write_lines("app.log", 200..300);
    env.expect_lines(&lines(0..300));
    // Now the first of the list has left too, and is asked first when the second is gone for a moment.
    env.broker.leave(1);
    env.broker.down(2);
    env.write_lines("app.log", 300..400);
    let asked = env.broker.requests(ApiKey::Metadata);
    env.broker.wait_until(SOON, "a question", |broker| {
        broker.requests(ApiKey::Metadata) > asked
    });
    env.broker.up(2);
    env.broker
        .wait_for_count(TOPIC, 400, Duration::from_secs(30));
    env.stop_and_expect_lines(&lines(0..400));
}

#[test]
fn a_cluster_that_was_gone_as_a_whole_and_comes_back_elsewhere_is_found() {
    // Once by the one broker of the ini that is where it was, once by the one that is not in the ini.
    for stays in [1, 3] {
        let mut env = two_of_three();
        for node in 1..=3 {
            env.broker.down(node);
        }
        env.write_lines("app.log", 100..200);
        env.wait_for_log("no broker reachable", SOON);
        for node in 1..=3 {
            if node != stays {
                env.broker.move_address(node);
            }
            env.broker.up(node);
        }
        env.broker
            .wait_for_count(TOPIC, 200, Duration::from_secs(40));
        env.stop_and_expect_lines(&lines(0..200));
    }
}

#[test]
fn partitions_that_are_added_are_used_and_no_file_loses_its_order() {
    let cluster = Cluster::of(2);
    cluster.create_topic(TOPIC, 2);
    let mut env = Env::with(cluster);
    env.set("kafka", "batch_bytes", "1KiB")
        .set("agent", "producers", "1");
    let files: Vec<String> = (0..8).map(|file| format!("{file}.log")).collect();
    let mut written = 0;
    let mut write = |env: &Env| {
        for file in &files {
            env.write_lines(file, written..written + 20);
        }
        written += 20;
        written * files.len()
    };
    write(&env);
    env.start();
    for step in 0..60 {
        let count = write(&env);
        if step == 20 {
            env.broker.add_partitions(TOPIC, 6);
        }
        if step % 10 == 0 {
            // A leader that says no, now and then, makes the agent ask for metadata.
            env.broker.on(ApiKey::Produce).topic(TOPIC).error(6);
        }
        if step % 15 == 0 {
            env.wait_for_records(count);
        }
    }
    let count = write(&env);
    env.wait_for_records(count);
    let count = write(&env);
    let records = env.wait_for_records(count);
    env.stop();
    let mut of_file: BTreeMap<String, Vec<&Record>> = BTreeMap::new();
    for record in &records {
        of_file
            .entry(record.header("path").unwrap())
            .or_default()
            .push(record);
    }
    for records in of_file.values_mut() {
        // Batches are numbered over all partitions as they arrive.
        records.sort_by_key(|record| (record.batch, record.offset));
        let arrived: Vec<String> = records.iter().map(|record| record.text()).collect();
        assert_same_lines(&lines(0..written), &arrived);
    }
    let used = records.iter().filter(|record| record.partition >= 2);
    assert!(used.count() > 0, "new partitions are used");
}

#[test]
fn throttling_holds_back_questions_and_is_kept_to_after_their_answers() {
    const PAUSE: Duration = Duration::from_millis(800);
    let mut env = Env::new();
    env.broker.create_topic("other", 1);
    let path = env.path("other.txt");
    env.set("agent", "producers", "1")
        .set("log:other", "path", &path)
        .set("log:other", "topic", "other");
    env.write_lines("app.log", 0..10);
    env.start();
    env.wait_for_records(10);
    env.broker.throttle(PAUSE);
    // A topic that is new to the agent: Produce waits for as long as the answer to Metadata says.
    let start = Instant::now();
    env.write_lines("other.txt", 0..10);
    env.broker.wait_for_records("other", 10, SOON);
    let taken = start.elapsed();
    assert!(taken >= PAUSE, "{taken:?}");
    // Another producer id is asked for when the answer to Produce allows it, and used when that one does.
    let start = Instant::now();
    env.broker.on(ApiKey::Produce).topic(TOPIC).error(47);
    env.write_lines("app.log", 10..20);
    env.wait_for_records(20);
    let taken = start.elapsed();
    assert!(taken >= 2 * PAUSE, "{taken:?}");
    env.broker.throttle(Duration::ZERO);
    env.stop_and_expect_lines(&lines(0..20));
}

#[test]
fn what_a_broker_says_about_throttling_is_kept_to() {
    const PAUSE: Duration = Duration::from_millis(400);
    let mut env = Env::new();
    env.set("agent", "producers", "1")
        .set("kafka", "linger", "0ms");
    env.write_lines("app.log", 0..1);
    env.start();
    env.wait_for_records(1);
    env.broker.throttle(PAUSE);
    let start = Instant::now();
    for number in 1..6 {
        env.write_lines("app.log", number..number + 1);
        env.wait_for_records(number + 1);
        // What is sent before the answer has come cannot know of it.
        env.wait_for_checkpoint_at_the_end_of("app.log");
    }
    // Each but the first waits from the answer before; the answers themselves take no time.
    let taken = start.elapsed();
    assert!(taken >= 4 * PAUSE - PAUSE / 10, "{taken:?}");
    env.stop_and_expect_lines(&lines(0..6));
}

/// It takes connections and says nothing, as a broker behind a firewall does: until that is an error, status says it.
#[test]
fn a_silent_broker_is_told_before_the_time_is_out() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let mut env = Env::new();
    env.set("kafka", "brokers", &address)
        .set("agent", "shutdown_timeout", "200ms");
    env.write_lines("app.log", 0..1);
    env.start();
    let status = || env.run(&["status"]).stdout;
    let is_told = || status().contains("connecting, no answer for ");
    wait_until(SOON, is_told, status);
    env.kill();
}
