//! `delivery = exactly_once` against a real Kafka: whatever is killed, a read_committed consumer sees each line once.
//!
//! `LOGAGENT_EXACTLY_ONCE` says how often each harm is done; without it a few times.

mod agent;
mod apart;
mod brokers;
mod harm;
mod ids;
mod state;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::agent::Ended;
use crate::support::env::Env;
use crate::support::kafka::RealKafka;

/// All that was written is delivered by then, on a busy machine too.
const LONG: Duration = Duration::from_secs(300);

/// An agent that delivers exactly once to a topic of its own, which is the agent's id as well.
fn exactly_once(kafka: &RealKafka, name: &str) -> (Env, String) {
    let topic = kafka.fresh_topic(name, 2);
    let mut env = Env::new();
    let glob = env.path("?.log");
    env.set("agent", "id", &topic)
        .set("kafka", "brokers", kafka.brokers())
        .set("kafka", "topic", &topic)
        .set("kafka", "delivery", "exactly_once")
        .set("kafka", "commit_interval", "200ms")
        .set("kafka", "transaction_timeout", "5s")
        .set("log:app", "path", &glob)
        .set("log:app", "start_at", "beginning")
        .set("log:app", "rotate_wait", "1s");
    (env, topic)
}

/// Each line once, no other line, and each file's lines in their order.
fn expect_once(kafka: &RealKafka, topic: &str, written: &[String]) {
    let committed = kafka.committed(topic);
    let mut seen: BTreeMap<&str, i64> = BTreeMap::new();
    for line in written {
        *seen.entry(line).or_default() -= 1;
    }
    for line in &committed {
        *seen.entry(line).or_default() += 1;
    }
    let of = |wrong: &dyn Fn(i64) -> bool| {
        let wrong = seen.iter().filter(|(_, count)| wrong(**count));
        wrong.map(|(line, _)| *line).collect::<Vec<_>>()
    };
    let (missing, twice) = (of(&|count| count < 0), of(&|count| count > 0));
    let first = |lines: &[&str]| lines.first().map(|line| (*line).to_owned());
    assert!(
        missing.is_empty() && twice.is_empty(),
        "of {} lines {} are missing ({:?}), {} there too often ({:?})",
        written.len(),
        missing.len(),
        first(&missing),
        twice.len(),
        first(&twice)
    );
    for file in ["a ", "b "] {
        let of = |lines: &[String]| -> Vec<String> {
            let of_file = lines.iter().filter(|line| line.starts_with(file));
            of_file.cloned().collect()
        };
        let (committed, written) = (of(&committed), of(written));
        let mut pairs = committed.iter().zip(&written);
        let wrong = pairs.find(|(committed, written)| committed != written);
        assert_eq!(wrong, None, "another line than was written at this place");
    }
}

fn append(path: &Path, lines: &[String]) {
    let file = File::options().append(true).create(true).open(path);
    let mut file = file.expect("opens");
    file.write_all((lines.join("\n") + "\n").as_bytes())
        .expect("is written");
}

fn expect_success(ended: &Ended) {
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

/// How often it is unless more is asked for.
const FEW: u32 = 4;

fn kills() -> u32 {
    let asked = std::env::var("LOGAGENT_EXACTLY_ONCE").ok();
    asked.map_or(FEW, |asked| asked.parse().expect("a number"))
}

#[test]
fn the_status_tells_of_transactions() {
    let kafka = RealKafka::current();
    let (mut env, topic) = exactly_once(&kafka, "once-status");
    append(&env.log_dir().join("a.log"), &["line".to_owned()]);
    env.start();
    env.wait_for_checkpoint_at_the_end_of("a.log");
    let said = env.run(&["status"]).stdout;
    let line = said
        .lines()
        .find(|line| line.starts_with(&format!("logagent-{topic}-0 ")));
    let fields: Vec<&str> = line.unwrap_or_default().split_whitespace().collect();
    assert!(
        fields.len() == 4 && fields[1] != "0" && fields[2] == "0",
        "{said}"
    );
    assert!(
        said.contains(&format!("exactly once: id {topic}, transaction.version 2")),
        "{said}"
    );
    env.stop();
    let said = env.run(&["check"]).stdout;
    let together: String = said.split_whitespace().collect();
    let words = format!("logagent-{topic}-0");
    assert!(together.contains("exactly_once:transactionalid"), "{said}");
    assert!(together.contains(&words), "{said}");
    assert!(said.contains("logagent-positions"), "{said}");
    assert!(!said.contains("cleanup.policy"), "{said}");
}

#[test]
fn files_that_wait_for_memory_do_not_wait_for_the_commit_interval() {
    let kafka = RealKafka::current();
    let (mut env, topic) = exactly_once(&kafka, "once-short");
    env.set("agent", "memory_limit", "16MiB")
        .set("kafka", "compression", "none")
        .set("kafka", "commit_interval", "30s");
    let lines: Vec<String> = (0..40_000)
        .map(|n| format!("a {n} {}", "x".repeat(1_000)))
        .collect();
    append(&env.log_dir().join("a.log"), &lines);
    let began = Instant::now();
    expect_success(&env.spawn(&["run", "--once"]).wait_exit(LONG));
    assert!(
        began.elapsed() < Duration::from_secs(30),
        "{:?}",
        began.elapsed()
    );
    expect_once(&kafka, &topic, &lines);
}
