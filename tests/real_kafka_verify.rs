//! `logagent verify` against a real Kafka: what is planted is found, and nothing else is.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, EndTxnRequest, FindCoordinatorRequest, InitProducerIdRequest,
    ProduceRequest, ProducerId, TopicName, TransactionalId,
};
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::{
    Compression, NO_PARTITION_LEADER_EPOCH, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};
use serde_json::Value;

use crate::support::agent::Ended;
use crate::support::broker::Record;
use crate::support::client::Client;
use crate::support::env::{Env, wait_until};
use crate::support::kafka::RealKafka;
use crate::support::meanwhile::StopOnDrop;

const LONG: Duration = Duration::from_secs(30);

/// An agent that says where its records are from.
fn tagging(kafka: &RealKafka, topic: &str) -> Env {
    let mut env = Env::new();
    env.set("kafka", "brokers", kafka.brokers())
        .set("kafka", "topic", topic)
        .set("kafka", "provenance", "on");
    env
}

/// Runs `verify`: the exit code, and what it says.
pub(crate) fn verify(env: &Env, options: &[&str]) -> (Option<i32>, Value) {
    let arguments = [&["verify", "--json"], options].concat();
    let Ended {
        code,
        stdout,
        stderr,
    } = env.run(&arguments);
    let said = serde_json::from_str(&stdout);
    (
        code,
        said.unwrap_or_else(|_| panic!("{code:?} {stdout} {stderr}")),
    )
}

/// Kind, end of the path, start and end of each finding, in order.
fn findings(said: &Value) -> Vec<(String, String, u64, u64)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let all = said["findings"].as_array().unwrap().iter();
    let mut all: Vec<_> = all
        .map(|finding| {
            let path = text(&finding["path"]);
            let name = path.rsplit('/').next().unwrap_or_default().to_owned();
            let place = |name: &str| finding[name].as_u64().unwrap_or(0);
            (text(&finding["kind"]), name, place("start"), place("end"))
        })
        .collect();
    all.sort();
    all
}

/// Lines that say which they are, and shrink.
fn text(file: &str, lines: usize) -> String {
    let line = |n: usize| format!("{file} {n} {}\n", "and so on ".repeat(n % 7 * 30));
    (0..lines).map(line).collect()
}

/// Where line `n` begins.
fn start(text: &str, n: usize) -> u64 {
    let lines = text.split_inclusive('\n').take(n);
    lines.map(|line| line.len() as u64).sum()
}

const CODECS: [Compression; 5] = [
    Compression::None,
    Compression::Gzip,
    Compression::Snappy,
    Compression::Lz4,
    Compression::Zstd,
];

fn pack(records: &mut BytesMut, out: &mut BytesMut, codec: Compression) -> anyhow::Result<()> {
    let packed = match codec {
        Compression::Gzip => {
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gzip.write_all(records)?;
            gzip.finish()?
        }
        // As librdkafka does: without the framing of Java.
        Compression::Snappy => snap::raw::Encoder::new().compress_vec(records)?,
        Compression::Lz4 => {
            let mut frame = lz4_flex::frame::FrameEncoder::new(Vec::new());
            frame.write_all(records)?;
            frame.finish()?
        }
        Compression::Zstd => zstd::encode_all(&records[..], 3)?,
        _ => records.to_vec(),
    };
    out.extend_from_slice(&packed);
    Ok(())
}

/// A batch of these records, of a producer in a transaction perhaps.
fn batch(records: &[Record], codec: Compression, producer: Option<(i64, i16, i32)>) -> Bytes {
    let (producer_id, producer_epoch, first) = producer.unwrap_or((-1, -1, -1));
    let records: Vec<_> = (0..)
        .zip(records)
        .map(|(n, record)| kafka_protocol::records::Record {
            transactional: producer.is_some(),
            control: false,
            partition_leader_epoch: NO_PARTITION_LEADER_EPOCH,
            producer_id,
            producer_epoch,
            timestamp_type: TimestampType::Creation,
            offset: i64::from(n),
            sequence: first + n,
            timestamp: record.timestamp_ms,
            key: None,
            value: record.value.clone().map(Bytes::from),
            headers: record
                .headers
                .iter()
                .map(|(name, value)| {
                    let name = StrBytes::from_string(name.clone());
                    (name, value.clone().map(Bytes::from))
                })
                .collect::<IndexMap<_, _>>(),
            delete_horizon: false,
        })
        .collect();
    let options = RecordEncodeOptions {
        version: 2,
        compression: codec,
    };
    let mut bytes = BytesMut::new();
    RecordBatchEncoder::encode_with_custom_compression(&mut bytes, &records, &options, Some(pack))
        .unwrap();
    bytes.freeze()
}

fn produce(client: &mut Client, topic: &str, records: Bytes, transaction: Option<&str>) {
    let partition = PartitionProduceData::default().with_records(Some(records));
    let topic = TopicProduceData::default()
        .with_name(TopicName(topic.to_owned().into()))
        .with_partition_data(vec![partition]);
    let id = transaction.map(|id| TransactionalId(id.to_owned().into()));
    let request = ProduceRequest::default()
        .with_transactional_id(id)
        .with_acks(-1)
        .with_timeout_ms(10_000)
        .with_topic_data(vec![topic]);
    let answer = client.call(9, &request).unwrap();
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
}

/// Two files with 60 lines each, and their records in Kafka, in order.
fn two_files(kafka: &RealKafka, codec: &str) -> (Env, Vec<Record>, [String; 2]) {
    let topic = kafka.fresh_topic(codec, 1);
    let mut env = tagging(kafka, &topic);
    env.set("kafka", "compression", codec);
    let texts = [text("a", 60), text("b", 60)];
    env.append("a.log", &texts[0]);
    env.append("b.log", &texts[1]);
    let ended = env.run(&["--once"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let (code, said) = verify(&env, &[]);
    assert_eq!((code, findings(&said)), (Some(0), vec![]), "{said}");
    assert_eq!(said["records"], 120);
    let bytes = texts[0].len() + texts[1].len();
    assert_eq!(
        (&said["good_bytes"], &said["compared_bytes"]),
        (&bytes.into(), &bytes.into())
    );
    let mut records = kafka.fetch_all(&topic);
    records.sort_by_key(|record| record.text().starts_with('b'));
    (env, records, texts)
}

#[test]
fn verify_finds_each_damage_that_was_planted_in_every_codec() {
    let kafka = RealKafka::current();
    let (env, records, [a, b]) = two_files(&kafka, "snappy");
    let span = |kind: &str, file: &str, text: &str, line: usize| {
        let (from, to) = (start(text, line), start(text, line + 1));
        (kind.to_owned(), format!("{file}.log"), from, to)
    };
    let expected = [
        span("changed", "a", &a, 10),
        span("changed", "b", &b, 7),
        span("foreign", "a", &a, 50),
        span("missing", "a", &a, 20),
        span("out of order", "a", &a, 40),
        span("twice", "a", &a, 30),
    ];
    let mut client = Client::connect(kafka.brokers()).unwrap();
    for codec in CODECS {
        let mut planted = records.clone();
        // From the end to the beginning, so that numbers stay those of the lines.
        planted[60 + 7].value.clone_from(&records[3].value);
        let mut foreign = records[50].clone();
        foreign.value.clone_from(&records[60 + 50].value);
        planted.insert(51, foreign);
        planted.swap(40, 41);
        planted.insert(31, records[30].clone());
        planted.remove(20);
        planted[10].value.as_mut().unwrap()[0] ^= 1;
        let topic = kafka.fresh_topic("damaged", 1);
        for records in planted.chunks(35) {
            produce(&mut client, &topic, batch(records, codec, None), None);
        }
        let (code, said) = verify(&env, &["--topic", &topic]);
        assert_eq!(findings(&said), expected, "{codec:?} {said}");
        assert_eq!(code, Some(1));
        let screen = env.run(&["verify", "--topic", &topic]).stdout;
        for line in screen.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }
}

#[test]
fn verify_sees_what_a_consumer_of_committed_records_sees() {
    let kafka = RealKafka::current();
    let (env, records, _) = two_files(&kafka, "gzip");
    let topic = kafka.fresh_topic("transactions", 1);
    let id = kafka.fresh_name("verify");
    let mut client = Client::connect(kafka.brokers()).unwrap();
    let transactional = || TransactionalId(id.clone().into());
    let coordinator = FindCoordinatorRequest::default()
        .with_key(id.clone().into())
        .with_key_type(1);
    wait_until(
        LONG,
        || client.call(3, &coordinator).unwrap().error_code == 0,
        || "a coordinator".to_owned(),
    );
    let init = InitProducerIdRequest::default()
        .with_transactional_id(Some(transactional()))
        .with_transaction_timeout_ms(30_000);
    let mut producer = None;
    wait_until(
        LONG,
        || {
            let answer = client.call(3, &init).unwrap();
            producer = Some((answer.producer_id.0, answer.producer_epoch));
            answer.error_code == 0
        },
        || "a producer id".to_owned(),
    );
    let (pid, epoch) = producer.unwrap();
    let mut sequence = 0;
    for (n, chunk) in records.chunks(30).enumerate() {
        for commits in [false, true] {
            let add = AddPartitionsToTxnRequest::default()
                .with_v3_and_below_transactional_id(transactional())
                .with_v3_and_below_producer_id(ProducerId(pid))
                .with_v3_and_below_producer_epoch(epoch)
                .with_v3_and_below_topics(vec![
                    AddPartitionsToTxnTopic::default()
                        .with_name(TopicName(topic.clone().into()))
                        .with_partitions(vec![0]),
                ]);
            let added = |client: &mut Client| {
                let answer = client.call(3, &add).unwrap();
                answer.results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code
            };
            wait_until(
                LONG,
                || added(&mut client) == 0,
                || "the partition".to_owned(),
            );
            let codec = CODECS[n % CODECS.len()];
            let bytes = batch(chunk, codec, Some((pid, epoch, sequence)));
            produce(&mut client, &topic, bytes, Some(&id));
            sequence += chunk.len() as i32;
            let end = EndTxnRequest::default()
                .with_transactional_id(transactional())
                .with_producer_id(ProducerId(pid))
                .with_producer_epoch(epoch)
                .with_committed(commits);
            wait_until(
                LONG,
                || client.call(3, &end).unwrap().error_code == 0,
                || "the end of the transaction".to_owned(),
            );
        }
    }
    let (code, said) = verify(&env, &["--topic", &topic]);
    assert_eq!((code, findings(&said)), (Some(0), vec![]), "{said}");
    assert_eq!(
        (&said["records"], &said["records_aborted"]),
        (&120.into(), &120.into())
    );
}

#[test]
fn verify_reads_what_librdkafka_has_written() {
    if Command::new("kcat").arg("-V").output().is_err() {
        return;
    }
    let kafka = RealKafka::current();
    let (env, records, _) = two_files(&kafka, "zstd");
    let topic = kafka.fresh_topic("librdkafka", 1);
    for (n, record) in records.iter().take(35).enumerate() {
        let codec = ["none", "gzip", "snappy", "lz4", "zstd"][n % 5];
        let mut kcat = Command::new("kcat");
        kcat.args([
            "-P",
            "-b",
            kafka.brokers(),
            "-t",
            &topic,
            "-z",
            codec,
            "-D",
            "\u{1}",
        ]);
        for (name, value) in &record.headers {
            let value = String::from_utf8(value.clone().unwrap()).unwrap();
            kcat.arg("-H").arg(format!("{name}={value}"));
        }
        let mut kcat = kcat.stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = kcat.stdin.take().unwrap();
        stdin.write_all(record.value.as_ref().unwrap()).unwrap();
        drop(stdin);
        assert!(kcat.wait().unwrap().success());
    }
    let (code, said) = verify(&env, &["--topic", &topic]);
    // All but what was not written, of which the agent says that it was.
    let found = findings(&said);
    assert_eq!(code, Some(1), "{said}");
    assert!(found.iter().all(|(kind, ..)| kind == "missing"), "{said}");
    assert_eq!(said["records"], 35);
}

#[test]
fn verify_knows_what_was_dropped_rotated_and_packed() {
    let kafka = RealKafka::current();
    let topic = kafka.fresh_topic("rules", 2);
    let mut env = tagging(&kafka, &topic);
    env.unset_section("log:app");
    let paths = ["plain", "json", "errors", "masked"].map(|name| env.path(&format!("{name}.log")));
    for (section, key, value) in [
        ("log:plain", "path", paths[0].as_str()),
        ("log:plain", "rotate_wait", "300ms"),
        ("log:plain", "strip_cr", "on"),
        ("log:json", "path", &paths[1]),
        ("log:json", "format", "json"),
        ("log:json", "drop", "DEBUG"),
        ("log:errors", "path", &paths[2]),
        ("log:errors", "keep", "ERROR"),
        ("log:errors", "multiline", "auto"),
        ("log:masked", "path", &paths[3]),
        ("log:masked", "mask", "password"),
        ("log:masked", "max_line_bytes", "100B"),
        ("log:masked", "encoding", "utf-16"),
    ] {
        env.set(section, key, value);
    }
    let mut random = fastrand::Rng::with_seed(4);
    let lines: Vec<String> = (0..600)
        .map(|n| {
            let level = random.choice(["DEBUG", "INFO", "ERROR"]).unwrap();
            let end = random
                .choice(["\n", "\r\n", "\n\tat a.b(c.java:1)\n"])
                .unwrap();
            let filler = "x".repeat(random.usize(..200));
            format!("2026-11-27 10:00:00 {level} {n} password=secret{filler}{end}")
        })
        .collect();
    let (first, second) = lines.split_at(300);
    let wide =
        |text: String| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_le_bytes).collect() };
    env.append("masked.log", [0xff, 0xfe]);
    for (n, part) in [first, second].into_iter().enumerate() {
        for name in ["plain", "json", "errors"] {
            let text = part.concat().replace("password", name);
            env.append(&format!("{name}.log"), text);
        }
        env.append("masked.log", wide(part.concat()));
        let ended = env.run(&["--once"]);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        if n == 0 {
            env.copytruncate("plain.log", "plain.log.1");
            for name in ["json", "errors"] {
                env.rename(&format!("{name}.log"), &format!("{name}.log.1"));
            }
        }
    }
    let ended = env.run(&["--once"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let good = |what: &str| {
        let (code, said) = verify(&env, &[]);
        assert_eq!((code, findings(&said)), (Some(0), vec![]), "{what}: {said}");
        said
    };
    let said = good("as it was written");
    assert!(said["dropped_bytes"].as_u64().unwrap() > 10_000, "{said}");
    assert_eq!(said["unsent_bytes"], 0, "{said}");
    let number = |said: &Value, name: &str| said[name].as_u64().unwrap();
    // Of each byte that was not held against the disk it is said why.
    let unheld = |said: &Value| {
        ["made", "gone", "long"].map(|why| number(said, &format!("uncompared_{why}_bytes")))
    };
    let [made, gone, long] = unheld(&said);
    assert!(made > 10_000 && (gone, long) == (0, 0), "{said}");
    let compared = number(&said, "compared_bytes");
    assert_eq!(compared + made, number(&said, "good_bytes"), "{said}");
    for name in ["plain.log.1", "json.log.1", "errors.log.1"] {
        env.gzip(name);
    }
    let packed = good("packed");
    assert_eq!(packed["compared_bytes"], said["compared_bytes"]);
    // What the rules drop is known from the disk alone.
    env.remove("errors.log.1.gz");
    let (code, said) = verify(&env, &[]);
    assert_eq!((code, findings(&said)), (Some(2), vec![]), "{said}");
    assert_eq!(said["files_gone"], 1);
    let [still_made, gone, _] = unheld(&said);
    assert!(gone > 0 && still_made == made, "{said}");
    let screen = env.run(&["verify"]).stdout;
    for words in ["only looked for", "of them of files that are not on disk\n"] {
        assert!(screen.contains(words), "{screen}");
    }
    assert!(screen.lines().all(|line| line.len() <= 80), "{screen}");
}

#[test]
fn verify_finds_files_that_are_rotated_while_it_runs() {
    let kafka = RealKafka::current();
    let mut env = tagging(&kafka, &kafka.fresh_topic("moving", 2));
    let paths = env.path("*.log");
    env.set("log:app", "path", &paths);
    // More than it holds open.
    let files = 0..160;
    for file in files.clone() {
        let name = format!("{file}.log");
        env.append(&name, text(&name, 60));
    }
    let ended = env.run(&["--once"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let is_over = AtomicBool::new(false);
    let folder = env.log_dir();
    thread::scope(|scope| {
        scope.spawn(|| {
            let path = |file: usize, rotated: usize| match rotated {
                0 => folder.join(format!("{file}.log")),
                _ => folder.join(format!("{file}.log.{rotated}")),
            };
            let mut rotated = 0;
            while !is_over.load(Ordering::Relaxed) {
                for file in files.clone() {
                    fs::rename(path(file, rotated), path(file, rotated + 1)).expect("is renamed");
                    thread::sleep(Duration::from_micros(200));
                }
                rotated += 1;
            }
        });
        let stop = StopOnDrop(&is_over);
        let (code, said) = verify(&env, &[]);
        drop(stop);
        assert_eq!((code, findings(&said)), (Some(0), vec![]), "{said}");
        assert_eq!(said["files_gone"], 0, "{said}");
        assert_eq!(said["compared_bytes"], said["good_bytes"], "{said}");
    });
}

#[test]
fn what_a_rewind_has_sent_again_is_told_and_no_difference_and_what_comes_once_more_is_one() {
    let kafka = RealKafka::current();
    let topic = kafka.fresh_topic("rewound", 1);
    let env = tagging(&kafka, &topic);
    let lines = text("app", 100);
    let middle = start(&lines, 20);
    env.append("app.log", &lines);
    let once = || {
        let ended = env.run(&["--once"]);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    };
    once();
    let path = env.path("app.log");
    let to = middle.to_string();
    assert_eq!(
        env.run(&["rewind", &path, "--to", &to, "--yes"]).code,
        Some(0)
    );
    let state = fs::read(env.checkpoints()).unwrap();
    once();
    let (code, said) = verify(&env, &[]);
    assert_eq!((code, findings(&said)), (Some(0), vec![]), "{said}");
    assert_eq!(said["records_rewound"], 80);
    assert_eq!(said["rewound_bytes"], lines.len() as u64 - middle);
    let each = said["rewinds"].as_array().unwrap();
    assert_eq!(each[0]["path"], path);
    assert_eq!((each.len(), &each[0]["bytes"]), (1, &said["rewound_bytes"]));
    let screen = env.run(&["verify"]).stdout;
    let line = "bytes again by 'logagent rewind' (";
    assert_eq!(screen.matches(line).count(), 1, "{screen}");
    assert!(screen.contains(&path), "{screen}");
    assert!(screen.lines().all(|line| line.len() <= 80), "{screen}");
    // As after a kill: that nobody has asked for.
    fs::write(env.checkpoints(), state).unwrap();
    once();
    let (code, said) = verify(&env, &[]);
    assert_eq!((code, &said["twice"]), (Some(1), &80.into()), "{said}");
}

#[test]
fn verify_counts_what_was_sent_again_after_a_kill() {
    let kafka = RealKafka::current();
    let topic = kafka.fresh_topic("repeated", 1);
    let env = tagging(&kafka, &topic);
    let lines = text("app", 100);
    let middle = start(&lines, 20);
    let (first, second) = lines.split_at(middle as usize);
    let once = || {
        let ended = env.run(&["--once"]);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    };
    env.append("app.log", first);
    once();
    // The state as a kill leaves it that comes before the next positions are written.
    let state = fs::read(env.checkpoints()).unwrap();
    env.append("app.log", second);
    once();
    fs::write(env.checkpoints(), state).unwrap();
    once();
    let (code, said) = verify(&env, &[]);
    assert_eq!(code, Some(1), "{said}");
    let twice = (
        "twice".to_owned(),
        "app.log".to_owned(),
        middle,
        lines.len() as u64,
    );
    assert_eq!(findings(&said), [twice]);
    assert_eq!(said["twice"], 80);
}

#[test]
fn what_a_copy_lacks_that_was_read_before_the_log_was_truncated_is_in_the_topic_alone() {
    let kafka = RealKafka::current();
    let topic = kafka.fresh_topic("copied", 1);
    let mut env = tagging(&kafka, &topic);
    let lines = text("app", 100);
    env.append("app.log", &lines);
    env.start();
    kafka.wait_for_records(&topic, 100, LONG);
    env.wait_for_checkpoint_at_the_end_of("app.log");
    for kept in [lines.len() - 3, start(&lines, 98) as usize] {
        env.append("app.log.1", "");
        fs::write(env.path("app.log.1"), &lines[..kept]).unwrap();
        env.open("app.log").set_len(0).unwrap();
        env.append("app.log", "next\n");
        env.wait_for_checkpoint_at_the_end_of("app.log");
        let (code, said) = verify(&env, &[]);
        assert_eq!((code, findings(&said)), (Some(0), vec![]), "{said}");
    }
    // Other bytes are a difference all the same.
    let other = lines[..lines.len() - 4].to_owned() + "?";
    fs::write(env.path("app.log.1"), other).unwrap();
    let (code, said) = verify(&env, &[]);
    assert_eq!((code, findings(&said).len()), (Some(1), 1), "{said}");
}

#[test]
fn verify_knows_dead_letters_and_what_nobody_wrote() {
    let kafka = RealKafka::current();
    let topic = kafka.fresh_name("letters");
    kafka.create_topic(&topic, 1, &[("max.message.bytes", "3000")]);
    let mut env = tagging(&kafka, &topic);
    let mut random = fastrand::Rng::with_seed(8);
    let mut noise = |len: usize| -> String {
        let letters = std::iter::repeat_with(|| random.alphanumeric());
        letters.take(len).collect()
    };
    env.append("app.log", format!("one\n{}\ntwo\n", noise(9_000)));
    let hole = env.open("hole.log");
    hole.set_len(300_000).unwrap();
    env.append("hole.log", "behind the hole\n");
    env.start();
    kafka.wait_for_records(&topic, 3, LONG);
    env.wait_for_checkpoint_at_the_end_of("app.log");
    env.wait_for_checkpoint_at_the_end_of("hole.log");
    env.stop();
    let (code, said) = verify(&env, &[]);
    assert_eq!((code, findings(&said)), (Some(0), vec![]), "{said}");
    assert_eq!(said["dead_letters_bytes"], 9_001, "{said}");
    assert_eq!(said["nul_bytes"], 300_000, "{said}");
    // Without the letter the line is missing, and so is what the topic alone can say of it.
    fs::remove_dir_all(env.state_dir().join("dead-letter")).unwrap();
    let (code, said) = verify(&env, &[]);
    let missing = ("missing".to_owned(), "app.log".to_owned(), 4, 9_005);
    assert_eq!((code, findings(&said)), (Some(1), vec![missing]));
}

#[test]
fn verify_looks_for_no_file_that_no_section_names_and_tells_of_what_was_lost() {
    let kafka = RealKafka::current();
    let topic = kafka.fresh_topic("removed", 1);
    let mut env = tagging(&kafka, &topic);
    let (kept, removed) = (env.path("app.log"), env.path("other.log"));
    let other = kafka.fresh_topic("removed-other", 1);
    env.set("log:app", "path", &kept)
        .set("log:other", "path", &removed)
        .set("log:other", "topic", &other);
    env.append("app.log", "line\nnever ended");
    env.append("other.log", "another line\n");
    env.start();
    env.wait_for_checkpoint_at_the_end_of("other.log");
    kafka.wait_for_records(&topic, 1, LONG);
    env.open("app.log").set_len(5).unwrap();
    env.wait_for_log("11 bytes from offset 5 on were truncated away", LONG);
    env.stop();
    let (code, said) = verify(&env, &[]);
    // Not all that was written is there, once.
    assert_eq!((code, findings(&said)), (Some(1), vec![]), "{said}");
    assert_eq!(said["good_bytes"], 18, "{said}");
    assert_eq!(said["lost_bytes"], 11, "{said}");
    let text = env.run(&["verify"]).stdout;
    assert!(
        text.contains("bytes lost before they were read")
            && text.contains("what was read is there, but bytes were lost before"),
        "{text}"
    );
    env.unset_section("log:other");
    let (code, said) = verify(&env, &["--since", "2035-01-01T00:00:00Z"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(said["lost_bytes"], 0, "{said}");
    let (code, said) = verify(&env, &[]);
    assert_eq!((code, findings(&said)), (Some(1), vec![]), "{said}");
    assert_eq!(said["unnamed_bytes"], 13, "{said}");
}

#[test]
fn what_went_to_the_topic_of_before_is_found_by_naming_both() {
    let kafka = RealKafka::current();
    let (old, new) = (kafka.fresh_topic("old", 1), kafka.fresh_topic("new", 1));
    let mut env = tagging(&kafka, &old);
    for topic in [&old, &new] {
        env.set("kafka", "topic", topic);
        env.append("app.log", "of this topic\n");
        let ended = env.run(&["--once"]);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    }
    let (code, said) = verify(&env, &[]);
    let missing = ("missing".to_owned(), "app.log".to_owned(), 0, 14);
    assert_eq!((code, findings(&said)), (Some(1), vec![missing]), "{said}");
    let both = format!("{new},{old}");
    for topics in [&["--topic", &old, "--topic", &new][..], &["--topic", &both]] {
        let (code, said) = verify(&env, topics);
        assert_eq!((code, findings(&said)), (Some(0), vec![]), "{said}");
        assert_eq!(
            (&said["records"], &said["good_bytes"]),
            (&2.into(), &28.into())
        );
    }
}

#[test]
fn a_topic_that_does_not_exist_is_told_and_the_others_are_verified() {
    let kafka = RealKafka::current();
    let topic = kafka.fresh_topic("others", 1);
    let missing = kafka.fresh_name("not-there");
    let mut env = tagging(&kafka, &topic);
    env.set("log:app", "path", &env.path("app.log"));
    env.append("app.log", "line\n");
    let ended = env.run(&["--once"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    env.set("log:quiet", "path", &env.path("quiet.log"))
        .set("log:quiet", "topic", &missing);
    let (code, said) = verify(&env, &[]);
    assert_eq!((code, findings(&said)), (Some(0), vec![]), "{said}");
    assert_eq!(said["good_bytes"], 5, "{said}");
    let told = &said["missing_topics"][0];
    assert_eq!(
        (&told["topic"], &told["bytes"]),
        (&missing.as_str().into(), &0.into())
    );
    env.append("quiet.log", "its topic is missing\n");
    let (code, said) = verify(&env, &[]);
    assert_eq!((code, &said["good_bytes"]), (Some(1), &5.into()), "{said}");
    assert_eq!(said["missing_topics"][0]["bytes"], 21, "{said}");
    let screen = env.run(&["verify"]).stdout;
    let words =
        format!("no such topic  {missing}\n               1 file with 21 bytes is for it\n");
    assert!(screen.contains(&words), "{screen}");
    assert!(screen.contains("there are differences"), "{screen}");
}

#[test]
fn verify_says_what_it_cannot_tell() {
    let kafka = RealKafka::current();
    let topic = kafka.fresh_topic("refused", 1);
    let mut env = tagging(&kafka, &topic);
    env.append("app.log", "line\n");
    let ended = env.run(&["--once"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let missing = kafka.fresh_name("nowhere");
    let ended = env.run(&["verify", "--topic", &missing]);
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("UNKNOWN_TOPIC_OR_PARTITION"),
        "{}",
        ended.stderr
    );
    // Of a time when there was nothing yet, all is outside of what was asked for.
    let (code, said) = verify(&env, &["--since", "2035-01-01T00:00:00Z"]);
    assert_eq!(
        (code, &said["not_read_bytes"]),
        (Some(0), &5.into()),
        "{said}"
    );
    // What was added and went while no agent looked.
    env.append("app.log", "more\n");
    env.truncate("app.log");
    let ended = env.run(&["--once"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let (code, said) = verify(&env, &[]);
    assert_eq!(
        (code, &said["perhaps_lost"]),
        (Some(0), &1.into()),
        "{said}"
    );
    env.set("kafka", "protocol", "legacy")
        .set("kafka", "provenance", "off");
    assert_eq!(env.run(&["verify"]).code, Some(2));
}
