//! What arrives in Kafka when nothing goes wrong: every line, once, in order, as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use kafka_protocol::messages::ApiKey;

use crate::support::broker::{Cluster, Codec, Record};
use crate::support::client::java_partition;
use crate::support::env::{Env, SOON, TOPIC, assert_same_lines, lines};

#[test]
fn lines_that_were_there_before_the_start_arrive_in_order() {
    let mut env = Env::new();
    env.write_lines("app.log", 0..20_000);
    env.start();
    env.stop_and_expect_lines(&lines(0..20_000));
}

#[test]
fn lines_that_are_written_while_it_runs_arrive_in_order() {
    let mut env = Env::new();
    env.start();
    for step in 0..50 {
        env.write_lines("app.log", step * 10..(step + 1) * 10);
    }
    env.expect_lines(&lines(0..500));
    env.write_lines("app.log", 500..600);
    env.stop_and_expect_lines(&lines(0..600));
}

#[test]
fn a_line_that_is_written_in_pieces_arrives_whole() {
    let mut env = Env::new();
    env.start();
    env.append("app.log", "line 0\nli");
    env.wait_for_records(1);
    env.append("app.log", "ne");
    env.append("app.log", " 1");
    env.append("app.log", "\nline 2\n");
    env.stop_and_expect_lines(&lines(0..3));
}

#[test]
fn every_file_is_followed_on_its_own_and_in_order() {
    for producers in ["1", "3"] {
        let mut env = Env::with_partitions(4);
        env.set("agent", "producers", producers);
        let names: Vec<String> = (0..20).map(|number| format!("app-{number}.log")).collect();
        for name in &names[..10] {
            env.write_lines(name, 0..100);
        }
        env.start();
        for name in &names[10..] {
            env.write_lines(name, 0..100);
        }
        env.wait_for_records(2000);
        env.stop();
        let records = env.broker.records(TOPIC);
        let by_path = by_header(&records, "path");
        assert_eq!(by_path.len(), 20);
        for (path, records) in by_path {
            assert!(names.iter().any(|name| env.path(name) == path), "{path}");
            assert_same_lines(&lines(0..100), &texts(&records));
        }
    }
}

#[test]
fn two_files_with_the_same_content_are_two_files() {
    let mut env = Env::new();
    env.write_lines("one.log", 0..50);
    env.write_lines("two.log", 0..50);
    env.start();
    env.wait_for_records(100);
    env.stop();
    for (_, records) in by_header(&env.broker.records(TOPIC), "path") {
        assert_same_lines(&lines(0..50), &texts(&records));
    }
}

#[test]
fn records_carry_the_host_and_the_path() {
    let mut env = Env::new();
    env.write_lines("app.log", 0..1);
    env.start();
    let record = env.wait_for_records(1).remove(0);
    let host = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    assert_eq!(record.header("host"), Some(host));
    assert_eq!(record.header("path"), Some(env.path("app.log")));
    assert_eq!(record.headers.len(), 2, "{:?}", record.headers);
    assert_eq!(record.key, None);
    env.stop();
}

#[test]
fn records_carry_no_headers_if_none_are_wanted() {
    let mut env = Env::new();
    env.set("kafka", "headers", "none");
    env.write_lines("app.log", 0..1);
    env.start();
    assert_eq!(env.wait_for_records(1)[0].headers, []);
    env.stop();
}

#[test]
fn records_are_stamped_with_the_time_they_were_read() {
    let now_ms = || {
        let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
        i64::try_from(since.as_millis()).unwrap()
    };
    let mut env = Env::new();
    let before = now_ms();
    env.write_lines("app.log", 0..100);
    env.start();
    for record in env.wait_for_records(100) {
        let after = now_ms();
        assert!(
            (before..=after).contains(&record.timestamp_ms),
            "{record:?}"
        );
    }
    env.stop();
}

#[test]
fn records_carry_the_key_of_their_section() {
    let mut env = Env::new();
    env.set("log:app", "key", "web-1");
    env.write_lines("app.log", 0..10);
    env.start();
    for record in env.wait_for_records(10) {
        assert_eq!(record.key.as_deref(), Some(&b"web-1"[..]));
    }
    env.stop();
}

#[test]
fn each_section_has_its_own_files_and_topic() {
    let mut env = Env::new();
    env.broker.create_topic("other", 1);
    let (glob, exclude) = (env.path("other/*.log"), env.path("other/debug*"));
    env.set("log:other", "path", &glob)
        .set("log:other", "exclude", &exclude)
        .set("log:other", "topic", "other");
    env.make_folder("other");
    env.write_lines("app.log", 0..10);
    env.write_lines("other/x.log", 100..110);
    env.write_lines("other/debug.log", 200..210);
    env.start();
    env.broker.wait_for_records("other", 10, SOON);
    env.stop_and_expect_lines(&lines(0..10));
    assert_same_lines(&lines(100..110), &env.broker.values("other"));
}

#[test]
fn topics_that_are_named_one_after_the_other_all_flow() {
    let mut env = Env::new();
    env.set("agent", "producers", "1");
    for number in 0..40 {
        let (section, topic) = (format!("log:{number}"), format!("topic-{number}"));
        let path = env.path(&format!("{number}/*.log"));
        env.broker.create_topic(&topic, 1);
        env.set(&section, "path", &path)
            .set(&section, "topic", &topic);
        env.make_folder(&format!("{number}"));
        env.write_lines(&format!("{number}/app.log"), 0..10);
    }
    env.start();
    for number in 0..40 {
        env.broker
            .wait_for_records(&format!("topic-{number}"), 10, SOON);
    }
    env.stop();
}

#[test]
fn a_topic_that_does_not_exist_is_made_by_the_broker() {
    let mut env = Env::new();
    env.set("log:app", "topic", "made-on-demand");
    env.write_lines("app.log", 0..10);
    env.start();
    env.broker.wait_for_records("made-on-demand", 10, SOON);
    env.stop();
    assert_same_lines(&lines(0..10), &env.broker.values("made-on-demand"));
}

#[test]
fn the_file_partitioner_keeps_a_file_in_the_partition_of_its_host_and_path() {
    let mut env = Env::with_partitions(8);
    env.set("kafka", "batch_bytes", "1KiB");
    for number in 0..12 {
        env.write_lines(&format!("app-{number}.log"), 0..200);
    }
    env.start();
    let records = env.wait_for_records(2400);
    env.stop();
    let mut used = BTreeSet::new();
    for (path, records) in by_header(&records, "path") {
        let host = records[0].header("host").unwrap();
        let wanted = java_partition(format!("{host}:{path}").as_bytes(), 8);
        let partitions: BTreeSet<i32> = records.iter().map(|record| record.partition).collect();
        assert_eq!(partitions, BTreeSet::from([wanted]), "{path}");
        used.insert(wanted);
    }
    assert!(used.len() > 1, "twelve files are spread: {used:?}");
}

#[test]
fn the_host_partitioner_sends_all_files_to_one_partition_over_one_connection() {
    let mut env = Env::with(Cluster::of(3));
    env.broker.create_topic("spread", 9);
    env.set("log:app", "topic", "spread")
        .set("kafka", "partitioner", "host");
    for number in 0..12 {
        env.write_lines(&format!("app-{number}.log"), 0..200);
    }
    env.start();
    env.broker.wait_for_records("spread", 2400, SOON);
    env.broker
        .wait_until(SOON, "one open connection", |cluster| {
            let open = (1..=3).map(|node| cluster.open_connections(node));
            open.sum::<usize>() == 1
        });
    env.stop();
    let records = env.broker.records("spread");
    let host = records[0].header("host").unwrap();
    let wanted = java_partition(host.as_bytes(), 9);
    assert!(records.iter().all(|record| record.partition == wanted));
    for (path, records) in by_header(&records, "path") {
        assert_same_lines(&lines(0..200), &texts(&records));
        assert!(path.contains("app-"), "{path}");
    }
}

#[test]
fn the_key_partitioner_chooses_as_the_java_client_does() {
    let mut env = Env::with_partitions(7);
    env.set("kafka", "partitioner", "key");
    env.unset_section("log:app");
    for key in ["21", "foobar", "a-little-bit-longer-string"] {
        let (section, path) = (format!("log:{key}"), env.path(&format!("{key}.log")));
        env.set(&section, "path", &path).set(&section, "key", key);
        env.write_lines(&format!("{key}.log"), 0..10);
    }
    env.start();
    for record in env.wait_for_records(30) {
        let key = record.key.unwrap();
        assert_eq!(record.partition, java_partition(&key, 7), "{key:?}");
    }
    env.stop();
}

#[test]
fn a_fixed_partition_takes_everything() {
    let mut env = Env::with_partitions(4);
    env.set("kafka", "partitioner", "fixed:2");
    env.write_lines("one.log", 0..100);
    env.start();
    let records = env.expect_lines(&lines(0..100));
    assert!(records.iter().all(|record| record.partition == 2));
    env.stop();
}

#[test]
fn round_robin_spreads_batches_over_all_partitions() {
    let mut env = Env::with_partitions(4);
    env.set("kafka", "partitioner", "round_robin")
        .set("agent", "producers", "1");
    env.start();
    for step in 0..20 {
        env.write_lines("app.log", step * 100..(step + 1) * 100);
        env.wait_for_records((step + 1) * 100);
    }
    let records = env.wait_for_records(2000);
    env.stop();
    let mut counts = [0; 4];
    for record in &records {
        counts[record.partition as usize] += 1;
    }
    assert!(counts.iter().all(|count| *count >= 200), "{counts:?}");
    let mut got = texts(&records.iter().collect::<Vec<_>>());
    got.sort_by_key(|line| line[5..].parse::<usize>().unwrap());
    assert_same_lines(&lines(0..2000), &got);
}

#[test]
fn every_kind_of_acknowledgement_delivers() {
    for acks in ["0", "1", "all"] {
        let mut env = Env::new();
        env.set("kafka", "acks", acks);
        env.write_lines("app.log", 0..1000);
        env.start();
        env.stop_and_expect_lines(&lines(0..1000));
        let idempotent = env.broker.producer_ids() > 0;
        assert_eq!(idempotent, acks == "all", "acks = {acks}");
    }
}

#[test]
fn without_idempotence_no_producer_id_is_asked_for() {
    let mut env = Env::new();
    env.set("kafka", "idempotence", "off");
    env.write_lines("app.log", 0..100);
    env.start();
    env.stop_and_expect_lines(&lines(0..100));
    assert_eq!(env.broker.requests(ApiKey::InitProducerId), 0);
}

#[test]
fn batches_are_compressed_as_configured() {
    for (name, codec) in [("none", Codec::None), ("lz4", Codec::Lz4)] {
        let mut env = Env::new();
        env.set("kafka", "compression", name);
        env.write_lines("app.log", 0..5000);
        env.start();
        let records = env.expect_lines(&lines(0..5000));
        assert!(records.iter().any(|record| record.codec == codec), "{name}");
        if codec == Codec::None {
            assert!(records.iter().all(|record| record.codec == codec));
        }
        env.stop();
    }
}

#[test]
fn an_empty_line_is_an_empty_value_and_not_null() {
    let mut env = Env::new();
    env.append("app.log", "\n\nthird\n\n");
    env.start();
    let records = env.wait_for_records(4);
    let values: Vec<_> = records
        .iter()
        .map(|record| record.value.as_deref())
        .collect();
    assert_eq!(
        values,
        [Some(&b""[..]), Some(b""), Some(b"third"), Some(b"")]
    );
    env.stop();
}

#[test]
fn bytes_are_not_touched() {
    let written: [&[u8]; 5] = [
        b"a\0b\0",
        b"\xff\xfe invalid \xc3\x28",
        b"carriage return\r",
        "grüße ✓".as_bytes(),
        b"\xef\xbb\xbf \ttabs and blanks \t ",
    ];
    let mut env = Env::new();
    env.append("app.log", [written.join(&b'\n'), b"\n".to_vec()].concat());
    env.start();
    let records = env.wait_for_records(5);
    for (record, written) in records.iter().zip(written) {
        assert_eq!(record.value.as_deref(), Some(written));
    }
    env.stop();
}

#[test]
fn a_long_line_is_sent_in_numbered_parts_that_make_up_the_line() {
    let mut env = Env::new();
    env.set("log:app", "max_line_bytes", "1KiB");
    let long: String = (0..3000).map(|number| format!("{number} ")).collect();
    let exact = "x".repeat(1024);
    let one_more = "y".repeat(1025);
    env.append(
        "app.log",
        format!("short\n{long}\n{exact}\n{one_more}\nlast\n"),
    );
    env.start();
    let parts_of_long = long.len().div_ceil(1024);
    let records = env.wait_for_records(1 + parts_of_long + 1 + 2 + 1);
    env.stop();
    assert_eq!(
        put_together(&env.broker.records(TOPIC)),
        ["short", &long, &exact, &one_more, "last"]
    );
    assert!(records.iter().all(|record| record.text().len() <= 1024));
    assert_eq!(records[0].header("part"), None);
    assert_eq!(records[1].header("part").as_deref(), Some("1"));
}

#[test]
fn a_line_far_larger_than_a_batch_arrives_in_parts() {
    let mut env = Env::new();
    env.set("log:app", "max_line_bytes", "100KiB")
        .set("kafka", "batch_bytes", "64KiB");
    let long: String = (0..400_000).map(|number| format!("{number} ")).collect();
    env.append("app.log", format!("first\n{long}\nlast\n"));
    env.start();
    env.broker.wait_until(SOON, "the last line", |broker| {
        broker
            .values(TOPIC)
            .last()
            .is_some_and(|line| line == "last")
    });
    env.stop();
    assert!(put_together(&env.broker.records(TOPIC)) == ["first", &long, "last"]);
}

#[test]
fn with_linger_0_a_line_is_sent_at_once() {
    let mut env = Env::new();
    env.set("kafka", "linger", "0ms");
    env.write_lines("app.log", 0..1);
    env.start();
    env.wait_for_records(1);
    let start = Instant::now();
    for number in 1..6 {
        env.write_lines("app.log", number..number + 1);
        env.wait_for_records(number + 1);
    }
    let taken = start.elapsed();
    assert!(
        taken < Duration::from_millis(1500),
        "five lines took {taken:?}"
    );
    env.stop();
}

#[test]
fn linger_gathers_lines_into_one_batch() {
    let mut env = Env::new();
    env.set("kafka", "linger", "700ms");
    env.start();
    env.write_lines("app.log", 0..1);
    env.wait_for_records(1);
    for number in 1..11 {
        env.write_lines("app.log", number..number + 1);
    }
    let records = env.expect_lines(&lines(0..11));
    let batches: BTreeSet<u64> = records[1..].iter().map(|record| record.batch).collect();
    assert!(batches.len() <= 2, "ten lines in {} batches", batches.len());
    env.stop();
}

#[test]
fn one_producer_id_and_a_handful_of_connections_do() {
    let mut env = Env::new();
    env.set("agent", "producers", "1");
    env.start();
    for step in 0..20 {
        env.write_lines("app.log", step * 10..(step + 1) * 10);
        env.wait_for_records((step + 1) * 10);
    }
    env.stop_and_expect_lines(&lines(0..200));
    assert_eq!(env.broker.producer_ids(), 1);
    let accepted = env.broker.accepted(1);
    assert!(
        accepted <= 4,
        "{accepted} connections for one producer and one broker"
    );
}

fn texts(records: &[&Record]) -> Vec<String> {
    records.iter().map(|record| record.text()).collect()
}

fn by_header<'a>(records: &'a [Record], header: &str) -> BTreeMap<String, Vec<&'a Record>> {
    let mut groups: BTreeMap<String, Vec<&Record>> = BTreeMap::new();
    for record in records {
        groups
            .entry(record.header(header).unwrap())
            .or_default()
            .push(record);
    }
    groups
}

/// The lines that the records are, parts put together again; part numbers must be 1, 2, 3, ...
fn put_together(records: &[Record]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut previous = 0;
    for record in records {
        match record.header("part") {
            None => {
                lines.push(record.text());
                previous = 0;
            }
            Some(part) if part == "1" => {
                lines.push(record.text());
                previous = 1;
            }
            Some(part) => {
                previous += 1;
                assert_eq!(part, previous.to_string(), "parts come in order");
                *lines.last_mut().unwrap() += &record.text();
            }
        }
    }
    lines
}
