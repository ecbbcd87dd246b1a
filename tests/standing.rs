//! What the agent says of itself is what a consumer counts: of lines, records, dead letters and lost bytes, and of
//! what is wrong. The agent runs within the test here, which asks it as the control thread does.

use std::cell::Cell;
use std::fs;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, bounded};
use kafka_protocol::messages::ApiKey;
use logagent::agent::{Agent, AgentError, Mode};
use logagent::config::Config;
use logagent::control::{Inbox, Request};
use logagent::snapshot::{
    ConditionStatus, FileState, FileStatus, LogStatus, Snapshot, TopicStatus,
};

use crate::support::broker::Cluster;
use crate::support::env::{Env, SOON, wait_until};
use crate::support::remote::Remote;

const LONG: Duration = Duration::from_secs(60);

/// An agent that runs within the test.
pub(crate) struct Running {
    requests: Sender<Request>,
    stop: Sender<()>,
    thread: JoinHandle<Result<(), AgentError>>,
}

impl Running {
    /// Starts it with the ini of `env`.
    pub(crate) fn start(env: &Env) -> Running {
        fs::write(env.config(), env.ini()).unwrap();
        let config = Config::load(&env.config()).unwrap_or_else(|errors| panic!("{errors}"));
        let (stop, signals) = bounded(1);
        let inbox = Inbox::new();
        let requests = inbox.sender();
        let run = move || Agent::run(config, Mode::default(), &signals, inbox);
        Running {
            requests,
            stop,
            thread: std::thread::spawn(run),
        }
    }

    /// How it stands, as all its parts tell: on a disk that is busy for others the registrar may be late.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let deadline = Instant::now() + LONG;
        loop {
            let (answer, answered) = bounded(1);
            self.requests.send(Request::Snapshot(answer)).unwrap();
            let snapshot = answered.recv_timeout(LONG).expect("it answers");
            if snapshot.unanswered.is_empty() {
                return snapshot;
            }
            assert!(Instant::now() < deadline, "{:?}", snapshot.unanswered);
        }
    }

    /// Waits until it stands so.
    pub(crate) fn wait_for(&self, is_so: impl Fn(&Snapshot) -> bool) -> Snapshot {
        let deadline = Instant::now() + LONG;
        loop {
            let snapshot = self.snapshot();
            if is_so(&snapshot) {
                return snapshot;
            }
            assert!(Instant::now() < deadline, "{snapshot:#?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Stops it, and waits for its end.
    pub(crate) fn stop(self) {
        self.stop.send(()).unwrap();
        self.thread.join().unwrap().unwrap();
    }
}

pub(crate) fn log<'a>(snapshot: &'a Snapshot, name: &str) -> &'a LogStatus {
    snapshot.logs.iter().find(|log| log.name == name).unwrap()
}

pub(crate) fn topic<'a>(snapshot: &'a Snapshot, name: &str) -> &'a TopicStatus {
    let mut topics = snapshot.topics.iter();
    topics.find(|topic| topic.name == name).unwrap()
}

fn file<'a>(snapshot: &'a Snapshot, path: &str) -> &'a FileStatus {
    let mut files = snapshot.files.iter();
    let is_it = |file: &&FileStatus| file.path.ends_with(path);
    files.find(is_it).unwrap_or_else(|| panic!("{snapshot:#?}"))
}

pub(crate) fn counted(counts: &[(String, u64)]) -> Vec<(&str, u64)> {
    let counts = counts.iter().filter(|(_, count)| *count > 0);
    counts.map(|(name, count)| (&**name, *count)).collect()
}

/// How many lines are written: more by hand.
pub(crate) fn many() -> usize {
    let set = std::env::var("LOGAGENT_TEST_STANDING_LINES");
    set.map_or(20_000, |lines| lines.parse().unwrap())
}

/// Sections `app`, `shop` with filters, and `big` and `audit`, each with the topic of its name.
pub(crate) fn set_sections(env: &mut Env, topics: [&str; 4]) {
    env.set("agent", "memory_limit", "8MiB")
        .set("kafka", "compression", "none");
    for (section, topic) in ["app", "shop", "big", "audit"].into_iter().zip(topics) {
        let path = env.path(&format!("{section}.log"));
        env.set(&format!("log:{section}"), "path", &path).set(
            &format!("log:{section}"),
            "topic",
            topic,
        );
    }
    env.set("log:shop", "drop.debug", "DEBUG")
        .set("log:shop", "mask", "password")
        .set("log:shop", "multiline", "indent");
}

/// Writes the files of the sections; those of `audit` alone do not fit into the agent's memory. Returns how many bytes
/// that has.
pub(crate) fn write_sections(env: &Env, lines: usize) -> u64 {
    let (mut app, mut shop) = (String::new(), String::new());
    for number in 0..lines {
        app += &format!("{number} {}\n", "x".repeat(80));
        shop += match number % 4 {
            0 => "DEBUG nothing\n",
            1 => "ERROR password=secret\n",
            2 => " the same event goes on\n",
            _ => "INFO fine\n",
        };
    }
    env.append("app.log", app);
    env.append("shop.log", shop);
    env.append(
        "big.log",
        "good\n".to_owned() + &"x".repeat(9000) + "\ngood\n",
    );
    let audit = ("y".repeat(99) + "\n").repeat(240_000);
    env.append("audit.log", &audit);
    audit.len() as u64
}

/// Whether all that could be read of them is on its way or delivered.
pub(crate) fn is_at_rest(snapshot: &Snapshot, lines: usize) -> bool {
    let done = |name: &str, records: u64| log(snapshot, name).acked_records == records;
    let lines = lines as u64;
    done("app", lines)
        && done("shop", lines / 2)
        && done("big", 2)
        && log(snapshot, "big").acked_bytes == log(snapshot, "big").read_bytes
}

/// What is counted of `app`, `shop` and `big`, when all of it is delivered.
pub(crate) fn expect_counts(env: &Env, snapshot: &Snapshot, lines: usize, topics: [&str; 4]) {
    let lines = lines as u64;
    let app = log(snapshot, "app");
    assert_eq!((app.read_lines, app.events, app.split), (lines, lines, 0));
    assert_eq!(topic(snapshot, topics[0]).acked_records, lines);
    let shop = log(snapshot, "shop");
    assert_eq!((shop.read_lines, shop.events), (lines, lines / 4 * 3));
    assert_eq!(counted(&shop.dropped), [("drop.debug", lines / 4)]);
    assert_eq!(counted(&shop.masked), [("password", lines / 4)]);
    assert_eq!(topic(snapshot, topics[1]).acked_records, lines / 2);
    let big = topic(snapshot, topics[2]);
    assert_eq!(big.acked_records, 2);
    assert_eq!(counted(&big.dead_letters), [("MESSAGE_TOO_LARGE", 1)]);
    for name in ["app", "shop", "big"] {
        let size = fs::metadata(env.path(&format!("{name}.log")))
            .unwrap()
            .len();
        let log = log(snapshot, name);
        assert_eq!((log.read_bytes, log.acked_bytes), (size, size), "{name}");
        let file = file(snapshot, &format!("{name}.log"));
        assert_eq!((file.position, file.size), (size, size), "{name}");
        assert_eq!(file.state, FileState::AtEnd, "{name}");
        assert_eq!((&*file.log, file.behind_since), (name, None));
    }
    let requests: u64 = snapshot.brokers.iter().map(|broker| broker.requests).sum();
    let answered: u64 = snapshot.produce_latency.counts.iter().sum();
    assert!(requests >= 3 && answered <= requests, "{snapshot:#?}");
    assert!(
        snapshot
            .brokers
            .iter()
            .all(|broker| broker.up_since.is_some())
    );
    assert!(snapshot.positions.failures == 0 && snapshot.positions.count >= 4);
}

/// Waits until `audit`, whose topic is parked, fills the memory, and expects what is said of it. Then its file is
/// truncated. Returns how much of it was read, and so is not lost.
pub(crate) fn lose_unread(env: &Env, agent: &Running, audit_bytes: u64, topics: [&str; 4]) -> u64 {
    let last = Cell::new((0, Instant::now()));
    let snapshot = agent.wait_for(|snapshot| {
        let read = log(snapshot, "audit").read_bytes;
        if read != last.get().0 {
            last.set((read, Instant::now()));
        }
        let is_known = topic(snapshot, topics[3]).parked.is_some();
        is_known && read > 0 && last.get().1.elapsed() > Duration::from_millis(500)
    });
    let read = last.get().0;
    assert!(read < audit_bytes, "all of it fits into the memory");
    let audit = file(&snapshot, "audit.log");
    assert_eq!(audit.state, FileState::Waiting);
    assert_eq!((audit.lag(), audit.position), (audit_bytes, 0));
    assert!(audit.behind_since.is_some());
    let subject = format!("topic {}", topics[3]);
    assert!(snapshot.conditions.iter().any(|c| c.subject == subject));
    assert_eq!(log(&snapshot, "audit").acked_records, 0);
    env.truncate("audit.log");
    let snapshot = agent.wait_for(|snapshot| lost(snapshot, "audit") > 0);
    assert_eq!(lost(&snapshot, "audit"), audit_bytes - read);
    // What is lost does not wait.
    agent.wait_for(|snapshot| log(snapshot, "audit").lag_bytes == read);
    read
}

fn lost(snapshot: &Snapshot, name: &str) -> u64 {
    let lost = &log(snapshot, name).lost_bytes;
    assert!(
        lost.iter()
            .all(|(why, bytes)| *why == "truncated" || *bytes == 0)
    );
    lost.iter().map(|(_, bytes)| bytes).sum()
}

#[test]
fn every_number_is_what_a_consumer_counts_through_a_parked_topic_a_dead_letter_a_loss_and_a_bad_file()
 {
    let lines = many();
    let topics = ["app", "shop", "big", "audit"];
    let broker = Cluster::single();
    topics
        .iter()
        .for_each(|topic| broker.create_topic(topic, 2));
    broker
        .on(ApiKey::Produce)
        .topic("audit")
        .forever()
        .error(29);
    broker.max_message_bytes(8 << 10);
    let mut env = Env::with(broker);
    env.unset_section("log:app");
    set_sections(&mut env, topics);
    let at = env.state_dir().with_file_name("mount");
    fs::create_dir(&at).unwrap();
    env.make_folder("disk");
    env.append("disk/bad.log", "not to be read\n");
    let disk = Remote::mount(&env.log_dir().join("disk"), &at);
    disk.set_failing(true);
    let bad = at.join("bad.log").display().to_string();
    env.set("log:bad", "path", &bad)
        .set("log:bad", "topic", "app");
    let audit_bytes = write_sections(&env, lines);

    let agent = Running::start(&env);
    agent.wait_for(|snapshot| is_at_rest(snapshot, lines));
    let read = lose_unread(&env, &agent, audit_bytes, topics);
    let snapshot = agent.wait_for(|snapshot| file(snapshot, "bad.log").state == FileState::Failed);
    let is_bad = |condition: &&ConditionStatus| condition.subject == bad;
    let condition = snapshot.conditions.iter().find(is_bad).unwrap();
    assert!(
        condition.reason.contains("Input/output error"),
        "{condition:?}"
    );
    expect_counts(&env, &snapshot, lines, topics);
    for (name, count) in [
        ("app", lines),
        ("shop", lines / 2),
        ("big", 2),
        ("audit", 0),
    ] {
        assert_eq!(env.broker.count(name), count, "{name}");
    }
    let errors = counted(&snapshot.produce_errors);
    for name in ["MESSAGE_TOO_LARGE", "TOPIC_AUTHORIZATION_FAILED"] {
        assert!(errors.iter().any(|(error, _)| *error == name), "{errors:?}");
    }
    assert!(topic(&snapshot, "audit").retries > 0);

    disk.set_failing(false);
    env.broker.heal();
    env.append("audit.log", "after\n");
    let records = read / 100 + 1;
    let snapshot = agent.wait_for(|snapshot| log(snapshot, "audit").acked_records == records);
    assert_eq!(env.broker.count("audit") as u64, records);
    assert_eq!(topic(&snapshot, "audit").acked_records, records);
    let snapshot = agent.wait_for(|snapshot| {
        let in_flight = |topic: &TopicStatus| topic.in_flight_bytes;
        let is_read = log(snapshot, "bad").acked_records == 1;
        let is_well = snapshot.conditions.is_empty();
        is_read && is_well && snapshot.topics.iter().map(in_flight).sum::<u64>() == 0
    });
    assert_eq!(topic(&snapshot, "audit").parked, None);
    assert_eq!(snapshot.brokers[0].in_flight_requests, 0);
    agent.stop();
    env.broker.assert_clean();
}

#[test]
fn what_is_wrong_is_one_line_at_its_beginning_and_one_of_the_same_level_at_its_end_however_many_producers_meet_it()
 {
    let mut env = Env::new();
    env.set("agent", "producers", "3");
    for number in 0..12 {
        env.write_lines(&format!("{number}.log"), 0..10);
    }
    env.broker.on(ApiKey::Produce).forever().error(29);
    env.start();
    env.wait_for_log("topic 'logs' is parked", LONG);
    // All three have tried.
    let deadline = Instant::now() + LONG;
    while env.broker.produce_errors(29) < 9 {
        assert!(Instant::now() < deadline, "{}", env.broker.report());
        std::thread::sleep(Duration::from_millis(20));
    }
    env.broker.heal();
    env.wait_for_records(120);
    env.wait_for_log("topic 'logs' has recovered after", LONG);
    let log = env.stop().stderr;
    let count = |words: &str| log.lines().filter(|line| line.contains(words)).count();
    assert_eq!(
        count(" ERROR topic 'logs' is parked: TOPIC_AUTHORIZATION_FAILED (29)"),
        1,
        "{log}"
    );
    assert_eq!(count(" ERROR topic 'logs' has recovered after"), 1, "{log}");
    assert_eq!(count(" INFO  broker "), 1, "{log}");
    assert_eq!(
        count(" is connected: Kafka 4.0, no TLS, no login"),
        1,
        "{log}"
    );
    assert_eq!(
        count(" bytes) were delivered by this run as 120 records"),
        1,
        "{log}"
    );
    assert!(env.broker.take_violations().is_empty());
}

#[test]
fn a_deleted_file_that_is_finished_is_no_file_any_more_and_one_in_its_place_is() {
    let mut env = Env::new();
    env.set("log:app", "rotate_wait", "1s");
    env.write_lines("app.log", 0..10);
    env.write_lines("other.log", 0..10);
    let agent = Running::start(&env);
    let of_app = |snapshot: &Snapshot| {
        let mut files = snapshot.files.iter();
        files.find(|file| file.path.ends_with("app.log")).cloned()
    };
    agent.wait_for(|snapshot| {
        of_app(snapshot).is_some_and(|app| app.position > 0 && app.lag() == 0)
    });
    env.remove("app.log");
    // It is there until it was quiet for `rotate_wait`, and then it is not: neither as it was when it was found.
    let snapshot = agent.wait_for(|snapshot| of_app(snapshot).is_none_or(|app| app.position == 0));
    assert_eq!(of_app(&snapshot), None);
    assert_eq!(log(&snapshot, "app").files_behind, 0);
    assert!(agent.snapshot().files.len() == 1);
    env.write_lines("app.log", 10..30);
    agent.wait_for(|snapshot| {
        of_app(snapshot).is_some_and(|app| app.position > 0 && app.lag() == 0)
    });
    env.wait_for_records(40);
    agent.stop();
    env.broker.assert_clean();
}

#[test]
fn an_event_that_waits_for_more_of_it_is_no_lag_and_that_is_told() {
    let mut env = Env::new();
    env.set("log:app", "multiline", "indent")
        .set("log:app", "multiline_timeout", "60s");
    env.append("app.log", "first\nsecond\n");
    env.start();
    env.wait_for_records(1);
    let said = |arguments: &[&str]| {
        let said = env.run(arguments).stdout;
        said.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let words = "LAG leaves out 7 B at the ends of files: the beginning of a line or of an event, whose end is awaited.";
    let is_told = || said(&["status", "app"]).contains(words);
    wait_until(SOON, is_told, || said(&["status", "app"]));
    let all = said(&["status"]);
    assert!(all.contains(" OK 1 file at its end "), "{all}");
    env.kill();
}
