//! Every error code that Kafka has, and one that it has not, in answer to every request that the agent
//! makes: once, ten times, and for as long as the agent runs.
//!
//! What must happen is written down here a second time, apart from the agent's own table, with the
//! reason. Each code has a topic of its own with two partitions, of which the first one fails, so that all
//! the pauses between attempts pass at the same time.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use kafka_protocol::messages::ApiKey;
use rustix::process::Signal;

use crate::support::broker::{Cluster, Record};
use crate::support::client::java_partition;
use crate::support::env::{Env, SOON, TOPIC, assert_same_lines, lines};

/// Ten failures in a row are about 40 s of pauses.
const LONG: Duration = Duration::from_secs(100);

/// What must happen to the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    /// The same bytes go again until they are taken; the other partitions flow.
    Again,
    /// As `Again`, to whoever leads the partition by then.
    NewLeader,
    /// It is there: acknowledged, not sent again.
    Acknowledged,
    /// It goes again under a new producer id, numbered from 0.
    NewProducerId,
    /// Halves go, down to the records that cannot; these are dead letters.
    Divided,
    /// The topic is parked, nothing of it is lost, and it is tried again.
    Parked,
}

use Fate::{Acknowledged, Again, Divided, NewLeader, NewProducerId, Parked};

/// Codes, what must happen, and why.
type Row = (&'static [i16], Fate, &'static str);

/// The codes that a broker answers a Produce request with, by `ReplicaManager`, `UnifiedLog`,
/// `ProducerStateManager` and `KafkaApis` of Kafka 0.11 to 4.3.
const PRODUCE: &[Row] = &[
    (
        &[-1],
        Again,
        "an exception without a code of its own, before or after the append; the sequence number tells",
    ),
    (
        &[2],
        Again,
        "the checksum does not fit, so the bytes changed on the way; the agent's copy is sound",
    ),
    (
        &[3, 5, 6, 9, 13, 56, 72, 74, 75, 80, 83, 100, 103],
        NewLeader,
        "the Java client's InvalidMetadataException: somebody else leads it now, or nobody for a moment",
    ),
    (
        &[7, 20],
        Again,
        "appended, but not on enough replicas in time; the same sequence number appends nothing twice",
    ),
    (
        &[8, 14, 15, 16, 19, 41, 51, 89],
        Again,
        "the cluster is not ready for it, which passes; the Java client retries too",
    ),
    (
        &[10, 18],
        Divided,
        "the batch is larger than the topic takes; its records may not be",
    ),
    (
        &[87],
        Divided,
        "some record of it is not to the topic's liking, the others may be",
    ),
    (
        &[32],
        Again,
        "its time is too old for the topic, or in the future, which is no fault of the records: with the time of now",
    ),
    (
        &[17, 21, 29, 31, 35, 42, 43, 44, 53, 76],
        Parked,
        "nothing will be taken before a person has changed a name, a right or a setting",
    ),
    (
        &[45, 59],
        NewProducerId,
        "the broker's memory of the producer is gone (retention, an unclean election): number anew",
    ),
    (
        &[47, 49, 90],
        NewProducerId,
        "the producer id or its epoch is of no use any more",
    ),
    (
        &[46],
        Acknowledged,
        "this sequence number is in the log, so the answer before was lost",
    ),
];

/// What holds for all others, also for a code that Kafka has not got yet: no Produce request is answered
/// so, and whatever a proxy or a broker of tomorrow may mean by it, the lines are not to be lost.
const OTHERS: Fate = Again;

/// The codes of Kafka 4.3, and one that nobody knows.
fn codes() -> impl Iterator<Item = i16> {
    (-1..=133).filter(|code| *code != 0).chain([9_999])
}

fn fate(code: i16) -> Fate {
    let mut rows = PRODUCE.iter().filter(|(codes, ..)| codes.contains(&code));
    let found = rows.next().map_or(OTHERS, |(_, fate, _)| *fate);
    assert!(rows.next().is_none(), "{code} stands in the table twice");
    found
}

/// When a partition fails, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    Before,
    After,
}

/// A topic whose partition 0 fails with a code.
#[derive(Debug)]
struct Case {
    code: i16,
    fate: Fate,
    moment: Moment,
    /// `None`: until the cluster is healed.
    times: Option<usize>,
    topic: String,
    /// Files that go to partitions 0 and 1.
    files: [String; 2],
}

impl Case {
    fn new(env: &Env, code: i16, moment: Moment, times: Option<usize>) -> Case {
        let topic = format!("{moment:?}-{code}-{}", times.map_or(0, |times| times));
        let host = rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned();
        let file = |partition| {
            let names = (0..).map(|n| format!("{topic}/{n}.log"));
            let goes_there = |name: &String| {
                java_partition(format!("{host}:{}", env.path(name)).as_bytes(), 2) == partition
            };
            names.into_iter().find(goes_there).expect("half of them do")
        };
        Case {
            code,
            fate: fate(code),
            moment,
            times,
            files: [file(0), file(1)],
            topic,
        }
    }

    fn install(&self, cluster: &Cluster) {
        let rule = cluster.on(ApiKey::Produce).topic(&self.topic).partition(0);
        let rule = match self.times {
            Some(times) => rule.times(times),
            None => rule.forever(),
        };
        match self.moment {
            Moment::Before => rule.error(self.code),
            Moment::After => rule.error_after_append(self.code),
        }
    }

    /// What has arrived in one of its partitions.
    fn arrived(&self, env: &Env, partition: i32) -> Vec<String> {
        let records = env.broker.records(&self.topic);
        let here = records
            .iter()
            .filter(|record| record.partition == partition);
        here.map(Record::text).collect()
    }
}

/// An agent that follows the files of all cases, with many batches for few lines.
fn env_for(cases: impl FnOnce(&Env) -> Vec<Case>) -> (Env, Vec<Case>) {
    let mut env = Env::with(Cluster::single());
    env.unset_section("log:app")
        .unset("kafka", "topic")
        .set("agent", "producers", "1")
        .set("agent", "memory_limit", "256MiB")
        .set("agent", "shutdown_timeout", "2s")
        // A busy machine may stand still for as long as 5 s, and errors be answered to a connection that was given up.
        .set("kafka", "request_timeout", "60s")
        .set("kafka", "batch_bytes", "1KiB")
        .set("kafka", "compression", "none")
        .set("kafka", "headers", "none");
    let cases = cases(&env);
    for case in &cases {
        env.broker.create_topic(&case.topic, 2);
        let section = format!("log:{}", case.topic);
        let path = env.path(&format!("{}/*.log", case.topic));
        env.set(&section, "path", &path)
            .set(&section, "topic", &case.topic);
        env.make_folder(&case.topic);
    }
    (env, cases)
}

fn write(env: &Env, cases: &[impl Borrow<Case>], files: &[usize], numbers: std::ops::Range<usize>) {
    for case in cases {
        for file in files {
            env.write_lines(&case.borrow().files[*file], numbers.clone());
        }
    }
}

/// Waits for a condition of every case; tells those for which it does not come true.
fn wait_for_all(cases: &[impl Borrow<Case>], what: &str, done: impl Fn(&Case) -> bool) {
    let end = Instant::now() + LONG;
    let mut left: Vec<&Case> = cases.iter().map(Borrow::borrow).collect();
    while Instant::now() < end {
        left.retain(|case| !done(case));
        if left.is_empty() {
            return;
        }
        thread::sleep(Duration::from_millis(20));
    }
    let names: Vec<&str> = left.iter().map(|case| &*case.topic).collect();
    panic!("waited {LONG:?} for {what}: {names:?}");
}

/// A dead letter as it stands in the agent's file.
#[derive(Debug, PartialEq, Eq)]
struct DeadLetter {
    offset: usize,
    path: String,
    code: i16,
    text: String,
}

/// The dead letters of each topic.
fn dead_letters(env: &Env) -> BTreeMap<String, Vec<DeadLetter>> {
    let file = env.state_dir().join("dead-letter/refused-0");
    let bytes = fs::read_to_string(file).unwrap_or_default();
    let mut letters: BTreeMap<String, Vec<DeadLetter>> = BTreeMap::new();
    let mut rest = &*bytes;
    while let Some((head, after)) = rest.split_once('\n') {
        let words: Vec<&str> = head.splitn(10, ' ').collect();
        // `N bytes for topic "T", from offset O of "P", refused: NAME (C)`
        let [size, _, _, _, topic, _, _, offset, _, tail] = words[..] else {
            panic!("not the head of a dead letter: {head:?}");
        };
        let size: usize = size.parse().unwrap();
        let (path, why) = tail[1..].split_once("\", refused: ").unwrap();
        let code = why.rsplit_once('(').unwrap().1.trim_end_matches(')');
        // The reader may be ahead of the writer.
        let Some(text) = after.get(..size) else { break };
        letters
            .entry(topic[1..topic.len() - 2].to_owned())
            .or_default()
            .push(DeadLetter {
                offset: offset.parse().unwrap(),
                path: path.to_owned(),
                code: code.parse().unwrap(),
                text: text.to_owned(),
            });
        rest = after.get(size + 1..).unwrap_or_default();
    }
    letters
}

/// The acknowledged offset of each path.
fn checkpoints(env: &Env) -> BTreeMap<String, u64> {
    let positions = env.positions().into_iter();
    let of = |fields: Vec<String>| (fields[Env::PATH].clone(), fields[0].parse().unwrap());
    positions.map(of).collect()
}

fn size(env: &Env, file: &str) -> u64 {
    fs::metadata(env.path(file)).unwrap().len()
}

/// The warnings and errors about each topic.
fn complaints(log: &str) -> BTreeMap<String, Vec<String>> {
    let mut complaints: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in log.lines() {
        let is_complaint = line.contains(" WARN ") || line.contains(" ERROR ");
        if let Some((_, rest)) = line.split_once("topic '")
            && let Some((topic, _)) = rest.split_once('\'')
            && is_complaint
        {
            let lines = complaints.entry(topic.to_owned()).or_default();
            lines.push(line.to_owned());
        }
    }
    complaints
}

/// What is wrong with a case of which everything must have arrived or be a dead letter.
fn faults(
    env: &Env,
    case: &Case,
    expected: &[String],
    letters: &[DeadLetter],
    complaints: &[String],
) -> Vec<String> {
    let mut faults = Vec::new();
    let mut check = |holds: bool, what: String| {
        if !holds {
            faults.push(format!("{} ({:?}): {what}", case.topic, case.fate));
        }
    };
    let refusals = env.broker.refusals();
    let mine = refusals.iter().filter(|told| told.topic == case.topic);
    let alone: Vec<&String> = mine
        .filter(|told| told.values.len() == 1)
        .map(|told| &told.values[0])
        .collect();
    let dead: Vec<&String> = letters.iter().map(|letter| &letter.text).collect();
    match case.fate {
        Divided => check(
            dead == alone,
            format!("dead letters {dead:?}, but refused alone were {alone:?}"),
        ),
        _ => check(dead.is_empty(), format!("dead letters {dead:?}")),
    }
    let left: Vec<&String> = expected
        .iter()
        .filter(|line| !dead.contains(line))
        .collect();
    // In order, also without sequence numbers: one batch is in flight at a time then.
    let arrived = case.arrived(env, 0);
    check(
        left == arrived.iter().collect::<Vec<_>>(),
        format!("arrived {arrived:?}, dead {dead:?}"),
    );
    let file = fs::read_to_string(env.path(&case.files[0])).unwrap();
    for letter in letters {
        check(
            file[letter.offset..].starts_with(&format!("{}\n", letter.text))
                && letter.path == env.path(&case.files[0])
                && letter.code == case.code,
            format!("{letter:?}"),
        );
    }
    let said = |words: &[&str]| {
        let told = |line: &&String| words.iter().all(|word| line.contains(word));
        complaints.iter().filter(told).count()
    };
    let number = format!("({})", case.code);
    let good = match case.fate {
        Again | NewLeader => said(&["partition 0", &number, "retrying"]) > 0,
        NewProducerId => said(&["partition 0", &number, "new producer id"]) > 0,
        Parked => said(&["is parked", &number]) > 0,
        Divided => said(&["was refused", &number, "it is kept in"]) == dead.len(),
        Acknowledged => complaints.is_empty(),
    };
    check(good, format!("the log says {complaints:?}"));
    faults
}

/// Starts the agent, lets twenty lines of each file arrive, and brings the errors about from there on.
fn start_and_install(env: &mut Env, cases: &[Case]) {
    write(env, cases, &[0, 1], 0..20);
    env.start();
    wait_for_all(cases, "the lines before", |case| {
        env.broker.count(&case.topic) == 40
    });
    for case in cases {
        case.install(&env.broker);
    }
}

/// Runs all cases side by side, each of which must come to its end by itself.
fn end_well(settings: &[(&str, &str)], make: impl FnOnce(&Env) -> Vec<Case>) {
    let (mut env, cases) = env_for(make);
    for (key, value) in settings {
        env.set("kafka", key, value);
    }
    start_and_install(&mut env, &cases);
    // What is acknowledged with an error needs as many batches as there are errors.
    let (quick, slow): (Vec<_>, Vec<_>) = cases.iter().partition(|case| case.fate == Acknowledged);
    write(&env, &slow, &[0, 1], 20..120);
    for step in 2..12 {
        write(&env, &quick, &[0, 1], step * 10..(step + 1) * 10);
        wait_for_all(&quick, "the lines of a batch", |case| {
            env.broker.count(&case.topic) == (step + 1) * 20
        });
    }
    wait_for_all(&cases, "lines or dead letters", |case| {
        let missing = 240usize.saturating_sub(env.broker.count(&case.topic));
        missing == 0
            || case.fate == Divided
                && dead_letters(&env)
                    .get(&case.topic)
                    .is_some_and(|letters| letters.len() == missing)
    });
    assert!(env.broker.rules_are_used_up(), "every error was answered");
    let log = env.stop().stderr;
    let checkpoints = checkpoints(&env);
    for file in cases.iter().flat_map(|case| &case.files) {
        assert_eq!(
            checkpoints.get(&env.path(file)),
            Some(&size(&env, file)),
            "{file}"
        );
    }
    let (letters, complaints) = (dead_letters(&env), complaints(&log));
    let mut wrong = Vec::new();
    for case in &cases {
        assert_same_lines(&lines(0..120), &case.arrived(&env, 1));
        let of = |topic| letters.get(topic).map_or(&[][..], Vec::as_slice);
        let said = complaints.get(&case.topic).map_or(&[][..], Vec::as_slice);
        wrong.extend(faults(&env, case, &lines(0..120), of(&case.topic), said));
    }
    assert!(wrong.is_empty(), "{} faults: {wrong:#?}", wrong.len());
}

/// Runs tests that mostly wait side by side.
fn side_by_side(tests: &[fn()]) {
    let threads: Vec<_> = tests.iter().map(|test| thread::spawn(*test)).collect();
    let ended: Vec<_> = threads.into_iter().map(thread::JoinHandle::join).collect();
    if let Some(panic) = ended.into_iter().find_map(Result::err) {
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn every_code_once_and_ten_times_loses_and_repeats_nothing() {
    side_by_side(&[
        produce_once_and_ten_times,
        produce_once_without_idempotence,
        metadata_once_and_ten_times,
        logging_in_and_signing_ten_times,
    ]);
}

fn produce_once_and_ten_times() {
    end_well(&[], |env| {
        let mut cases = Vec::new();
        for code in codes() {
            for times in [1, 10] {
                let mut add = |moment| cases.push(Case::new(env, code, moment, Some(times)));
                match fate(code) {
                    // After the append the sequence number must sort it out, whatever the code.
                    Again | NewLeader => {
                        add(Moment::Before);
                        add(Moment::After);
                    }
                    // A lie otherwise.
                    Acknowledged => add(Moment::After),
                    Divided | Parked | NewProducerId => add(Moment::Before),
                }
            }
        }
        cases
    });
}

fn produce_once_without_idempotence() {
    end_well(&[("idempotence", "off"), ("acks", "1")], |env| {
        let refused = codes().filter(|code| fate(*code) != Acknowledged);
        refused
            .map(|code| Case::new(env, code, Moment::Before, Some(1)))
            .collect()
    });
}

#[test]
fn every_code_for_ever_holds_up_its_own_partition_and_marks_nothing_as_acknowledged() {
    let (mut env, cases) = env_for(|env| {
        let moment = |code| match fate(code) {
            Acknowledged => Moment::After,
            _ => Moment::Before,
        };
        codes()
            .map(|code| Case::new(env, code, moment(code), None))
            .collect()
    });
    start_and_install(&mut env, &cases);
    write(&env, &cases, &[0], 20..120);
    wait_for_all(&cases, "the first error", |case| match case.fate {
        Acknowledged => case.arrived(&env, 0).len() == 120,
        _ => env
            .broker
            .refusals()
            .iter()
            .any(|told| told.topic == case.topic),
    });
    // Meanwhile the other partition flows, and what cannot go at all makes room.
    for step in 1..6 {
        write(&env, &cases, &[1], step * 20..(step + 1) * 20);
        wait_for_all(&cases, "the other partition", |case| {
            case.arrived(&env, 1).len() == (step + 1) * 20
        });
    }
    wait_for_all(&cases, "the dead letters", |case| {
        case.fate != Divided
            || dead_letters(&env)
                .get(&case.topic)
                .is_some_and(|letters| letters.len() == 100)
    });

    env.signal(Signal::TERM);
    let told = Instant::now();
    let ended = env.wait_exit(SOON);
    // shutdown_timeout is 2 s.
    assert!(
        told.elapsed() < Duration::from_secs(6),
        "{:?}",
        told.elapsed()
    );
    assert_eq!(ended.code, Some(0), "it stops in order");
    let (letters, complaints, checkpoints) = (
        dead_letters(&env),
        complaints(&ended.stderr),
        checkpoints(&env),
    );
    let mut wrong = Vec::new();
    for case in &cases {
        let of = |topic| letters.get(topic).map_or(&[][..], Vec::as_slice);
        let said = complaints.get(&case.topic).map_or(&[][..], Vec::as_slice);
        let (all, before) = (lines(0..120), lines(0..20));
        let (end, kept) = match case.fate {
            Divided | Acknowledged => (size(&env, &case.files[0]), &all),
            Again | NewLeader | NewProducerId | Parked => {
                (before.join("\n").len() as u64 + 1, &before)
            }
        };
        wrong.extend(faults(&env, case, kept, of(&case.topic), said));
        let at = checkpoints.get(&env.path(&case.files[0]));
        if at != Some(&end) {
            wrong.push(format!("{}: checkpoint {at:?}, not {end}", case.topic));
        }
    }
    assert!(wrong.is_empty(), "{} faults: {wrong:#?}", wrong.len());
    // Each failure of these asks for another id; there are pauses between them.
    let asked = env.broker.producer_ids();
    assert!(asked < 100, "{asked} producer ids were asked for");

    // What was kept goes when it can.
    env.broker.heal();
    env.start();
    wait_for_all(&cases, "the lines that were kept", |case| {
        case.fate == Divided || case.arrived(&env, 0).len() >= 120
    });
    env.stop();
    for case in cases.iter().filter(|case| case.fate != Divided) {
        assert_same_lines(&lines(0..120), &case.arrived(&env, 0));
        assert_same_lines(&lines(0..120), &case.arrived(&env, 1));
    }
}

#[test]
fn a_code_that_tells_of_another_leader_makes_the_agent_look_for_it() {
    let cluster = Cluster::of(2);
    let mut env = Env::with(cluster);
    env.broker.create_topic(TOPIC, 1);
    env.set("agent", "producers", "1");
    env.write_lines("app.log", 0..10);
    env.start();
    env.expect_lines(&lines(0..10));
    let mut count = 10;
    let mut leader = 1;
    for code in codes().filter(|code| fate(*code) == NewLeader) {
        // An answer to what was asked before may come late, and tell of the new leader without any error.
        for _ in 0..5 {
            // The old leader answers with nothing else, and whoever does not ask does not find the new one.
            let rule = env.broker.on(ApiKey::Produce).node(leader).forever();
            rule.error(code);
            leader = 3 - leader;
            env.broker.set_leader(TOPIC, 0, leader);
            env.write_lines("app.log", count..count + 10);
            count += 10;
            env.wait_for_records(count);
            env.broker.heal();
            if env.broker.produce_errors(code) > 0 {
                break;
            }
        }
        assert!(env.broker.produce_errors(code) > 0, "{code}");
    }
    env.stop_and_expect_lines(&lines(0..count));
}

/// Topics that Metadata answers with an error, from the first question on.
fn metadata_once_and_ten_times() {
    let (mut env, cases) = env_for(|env| {
        let case = |code| [1, 10].map(|times| Case::new(env, code, Moment::Before, Some(times)));
        codes().flat_map(case).collect()
    });
    for case in &cases {
        let rule = env.broker.on(ApiKey::Metadata).topic(&case.topic);
        rule.times(case.times.unwrap()).error(case.code);
    }
    write(&env, &cases, &[0, 1], 0..20);
    env.start();
    wait_for_all(&cases, "the lines", |case| {
        env.broker.count(&case.topic) >= 40
    });
    assert!(env.broker.rules_are_used_up(), "every error was answered");
    env.stop();
    for case in &cases {
        for partition in [0, 1] {
            assert_same_lines(&lines(0..20), &case.arrived(&env, partition));
        }
    }
}

#[test]
fn every_code_of_metadata_for_ever_loses_nothing_and_holds_up_no_other_topic() {
    let (mut env, cases) = env_for(|env| {
        codes()
            .map(|code| Case::new(env, code, Moment::Before, None))
            .collect()
    });
    env.broker.create_topic("healthy", 1);
    let path = env.path("healthy/*.log");
    env.set("log:healthy", "path", &path)
        .set("log:healthy", "topic", "healthy");
    env.make_folder("healthy");
    let spoil = |env: &Env| {
        for case in &cases {
            let rule = env.broker.on(ApiKey::Metadata).topic(&case.topic);
            rule.forever().error(case.code);
        }
    };
    spoil(&env);
    write(&env, &cases, &[0, 1], 0..20);
    env.start();
    for step in 0..5 {
        env.write_lines("healthy/app.log", step * 10..(step + 1) * 10);
        env.broker
            .wait_for_records("healthy", (step + 1) * 10, SOON);
    }
    for case in &cases {
        assert_eq!(env.broker.count(&case.topic), 0, "{}", case.topic);
    }
    env.stop();
    let checkpoints = checkpoints(&env);
    for file in cases.iter().flat_map(|case| &case.files) {
        let offset = checkpoints.get(&env.path(file)).copied().unwrap_or(0);
        assert_eq!(offset, 0, "{file}");
    }
    env.broker.heal();
    env.start();
    wait_for_all(&cases, "the lines that were kept", |case| {
        env.broker.count(&case.topic) >= 40
    });

    // Now it begins when the topics are known.
    spoil(&env);
    let asked = env.broker.requests(ApiKey::Metadata);
    env.broker.on(ApiKey::Produce).topic("healthy").error(6);
    env.write_lines("healthy/app.log", 50..51);
    env.broker.wait_until(SOON, "another question", |broker| {
        broker.requests(ApiKey::Metadata) > asked
    });
    write(&env, &cases, &[0, 1], 20..40);
    for step in 5..10 {
        env.write_lines("healthy/app.log", step * 10 + 1..(step + 1) * 10 + 1);
        env.broker
            .wait_for_records("healthy", (step + 1) * 10 + 1, SOON);
    }
    env.broker.heal();
    wait_for_all(&cases, "the lines after", |case| {
        env.broker.count(&case.topic) >= 80
    });
    env.stop();
    for case in &cases {
        for partition in [0, 1] {
            assert_same_lines(&lines(0..40), &case.arrived(&env, partition));
        }
    }
    assert_same_lines(&lines(0..101), &env.broker.values("healthy"));
}

/// An agent that logs in.
fn with_login() -> Env {
    let mut env = Env::new();
    env.broker.require_login("agent", "secret");
    env.set("agent", "producers", "1")
        .set("kafka", "sasl_mechanism", "PLAIN")
        .set("kafka", "sasl_username", "agent")
        .set("kafka", "sasl_password", "secret");
    env
}

#[test]
fn every_code_of_the_questions_before_the_first_record_is_survived() {
    side_by_side(&[
        || {
            let mut env = with_login();
            env.write_lines("app.log", 0..10);
            env.start();
            env.expect_lines(&lines(0..10));
            let mut count = 10;
            for code in codes() {
                // 35 has an answer of its own; see the tests of old brokers.
                if code != 35 {
                    env.broker.on(ApiKey::ApiVersions).error(code);
                }
                env.broker.on(ApiKey::SaslHandshake).error(code);
                env.broker.on(ApiKey::SaslAuthenticate).error(code);
                env.broker.hang_up(1);
                env.write_lines("app.log", count..count + 10);
                count += 10;
                env.wait_for_records(count);
                assert!(env.broker.rules_are_used_up(), "{code}");
            }
            env.stop_and_expect_lines(&lines(0..count));
        },
        || {
            let mut env = Env::new();
            env.set("agent", "producers", "1");
            env.write_lines("app.log", 0..10);
            env.start();
            env.expect_lines(&lines(0..10));
            let mut count = 10;
            for code in codes() {
                // The agent asks for another producer id, and is refused once.
                env.broker.on(ApiKey::Produce).error(47);
                env.broker.on(ApiKey::InitProducerId).error(code);
                env.write_lines("app.log", count..count + 10);
                count += 10;
                env.wait_for_records(count);
                assert!(env.broker.rules_are_used_up(), "{code}");
            }
            env.stop_and_expect_lines(&lines(0..count));
        },
    ]);
}

/// What a broker may well answer here, ten times. An agent for each, as the pauses are those of a
/// connection and of a producer.
fn logging_in_and_signing_ten_times() {
    let mut cases = Vec::new();
    for (api, codes) in [
        (ApiKey::SaslHandshake, &[-1, 33, 34, 35][..]),
        (ApiKey::SaslAuthenticate, &[-1, 34, 58, 9_999]),
        (ApiKey::InitProducerId, &[-1, 7, 14, 15, 31, 42, 51, 9_999]),
    ] {
        for code in codes {
            let mut env = with_login();
            env.broker.on(api).times(10).error(*code);
            env.write_lines("app.log", 0..10);
            env.start();
            cases.push((api, *code, env));
        }
    }
    for (api, code, mut env) in cases {
        env.broker
            .wait_until(LONG, &format!("{api:?} {code}"), |broker| {
                broker.count(TOPIC) >= 10
            });
        assert!(env.broker.rules_are_used_up(), "{api:?} {code}");
        env.stop_and_expect_lines(&lines(0..10));
    }
}

#[test]
fn a_login_that_is_refused_for_ever_sends_nothing_and_stops_in_time() {
    for (api, code) in [
        (ApiKey::SaslHandshake, 33),
        (ApiKey::SaslAuthenticate, 58),
        (ApiKey::InitProducerId, 31),
    ] {
        let mut env = with_login();
        env.set("agent", "shutdown_timeout", "500ms");
        env.broker.on(api).forever().error(code);
        env.write_lines("app.log", 0..10);
        env.start();
        env.broker
            .wait_until(SOON, "three attempts", |broker| broker.requests(api) >= 3);
        env.stop();
        assert_eq!(env.broker.count(TOPIC), 0);
        assert_eq!(
            checkpoints(&env)
                .get(&env.path("app.log"))
                .copied()
                .unwrap_or(0),
            0
        );
        env.broker.heal();
        env.start();
        env.stop_and_expect_lines(&lines(0..10));
    }
}
