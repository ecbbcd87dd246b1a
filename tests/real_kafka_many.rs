//! A thousand files at once, each rotated once under load, with and without enough of what the kernel
//! gives for each.

use std::collections::HashMap;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::agent::Agent;
use crate::support::env::Env;
use crate::support::kafka::RealKafka;

const FILES: usize = 1000;
const BUSY: usize = 100;
/// Lines per second to each busy file.
const RATE: usize = 200;
const LOAD: Duration = Duration::from_secs(8);
const TICK: Duration = Duration::from_millis(100);
const LONG: Duration = Duration::from_secs(90);

/// Runs the load against an agent that `wrapper` starts, and returns the agent's log.
fn run(name: &str, wrapper: &[&str]) -> String {
    let kafka = RealKafka::current();
    let topic = kafka.fresh_topic(name, 3);
    let mut env = Env::new();
    let glob = env.path("*.log");
    env.set("kafka", "brokers", kafka.brokers())
        .set("kafka", "topic", &topic)
        .set("log:app", "path", &glob)
        .set("log:app", "rotate_wait", "2s");
    let mut written = vec![0usize; FILES];
    let mut write = |env: &Env, file: usize, count: usize| {
        let from = written[file];
        let text: String = (from..from + count)
            .map(|n| format!("{file} {n}\n"))
            .collect();
        env.append(&format!("{file}.log"), text);
        written[file] += count;
        count
    };
    let mut total: usize = (0..FILES).map(|file| write(&env, file, 3)).sum();
    let mut command = Command::new(wrapper.first().unwrap_or(&env!("CARGO_BIN_EXE_logagent")));
    command.args(wrapper.get(1..).unwrap_or_default());
    if !wrapper.is_empty() {
        command.arg(env!("CARGO_BIN_EXE_logagent"));
    }
    std::fs::write(env.config(), env.ini()).expect("the ini is written");
    command.arg("--config").arg(env.config());
    let mut agent = Agent::spawn(command);
    agent.wait_until_it_follows(LONG);
    let start = Instant::now();
    let mut rotated = 0;
    let mut tick = 0;
    while start.elapsed() < LOAD || rotated < FILES {
        for busy in 0..BUSY {
            let per_tick = RATE / (1000 / TICK.as_millis() as usize);
            total += write(&env, busy * FILES / BUSY, per_tick);
        }
        let until = (rotated + FILES * TICK.as_millis() as usize / 7000).min(FILES);
        for file in rotated..until {
            env.rename(&format!("{file}.log"), &format!("{file}.log.1"));
            total += write(&env, file, 1);
        }
        rotated = until;
        tick += 1;
        // Paces the writer; nothing is waited for here.
        sleep((TICK * tick).saturating_sub(start.elapsed()));
    }
    eprintln!("{}", env.ini());
    {
        let _log = LogOfFailure(&agent);
        kafka.wait_for_records(&topic, total, LONG);
    }
    let caught_up = start.elapsed();
    agent.signal(Signal::TERM);
    let ended = agent.wait_exit(LONG);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let mut next: HashMap<String, usize> = HashMap::new();
    let records = kafka.fetch_all(&topic);
    for record in &records {
        let text = record.text();
        let (file, n) = text.split_once(' ').expect("two words");
        let expected = next.entry(file.to_owned()).or_default();
        assert_eq!(n, expected.to_string(), "of file {file}");
        *expected += 1;
    }
    assert_eq!(records.len(), total);
    println!(
        "{name}: {FILES} files, {rotated} rotated, {total} lines written, {} read, each once and in order, caught up after {:.1} s",
        records.len(),
        caught_up.as_secs_f64()
    );
    ended.stderr
}

fn warnings(log: &str) -> Vec<&str> {
    log.lines()
        .filter(|line| line.contains(" WARN ") || line.contains(" ERROR "))
        .collect()
}

/// Shows what the agent said if something fails meanwhile.
struct LogOfFailure<'a>(&'a Agent);

impl Drop for LogOfFailure<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.0.log());
        }
    }
}

#[test]
fn a_thousand_files_are_followed_through_a_rotation_each() {
    let log = run("many", &[]);
    assert_eq!(warnings(&log), Vec::<&str>::new());
}

#[test]
fn with_descriptors_for_few_files_they_take_turns() {
    let log = run("many-descriptors", &["prlimit", "--nofile=192:192"]);
    let warnings = warnings(&log);
    assert!(
        warnings.len() == 1 && warnings[0].contains("take turns"),
        "{warnings:?}"
    );
}

#[test]
fn with_watches_for_few_files_the_others_are_polled() {
    // The limit is one of a user namespace, so it can be lowered for this agent alone.
    let lower = "echo 100 > /proc/sys/user/max_inotify_watches && exec \"$@\"";
    let log = run(
        "many-watches",
        &[
            "unshare",
            "--user",
            "--map-root-user",
            "sh",
            "-c",
            lower,
            "sh",
        ],
    );
    let warnings = warnings(&log);
    assert!(
        warnings.len() == 1 && warnings[0].contains("max_user_watches"),
        "{warnings:?}"
    );
}
