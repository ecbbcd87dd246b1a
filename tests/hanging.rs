//! A mount that hangs, as NFS does while its server is away, holds up its own files only.

use std::fs;
use std::time::{Duration, Instant};

use crate::support::env::{Env, SOON, TOPIC, assert_same_lines, lines, wait_until};
use crate::support::remote::Remote;

/// Files on the mount: more than may have a thread.
const FILES: usize = 300;
const FAR: &str = "far";
const LONG: Duration = Duration::from_secs(60);
/// `[agent] shutdown_timeout`.
const SHUTDOWN: Duration = Duration::from_secs(3);

/// Files that are followed on a mount that can hang, with one line each, and an `app.log` beside it.
fn env() -> (Env, Remote) {
    let mut env = Env::new();
    env.broker.create_topic(FAR, 1);
    let at = env.state_dir().with_file_name("mount");
    fs::create_dir(&at).unwrap();
    env.make_folder("far");
    let remote = Remote::mount(&env.log_dir().join("far"), &at);
    let glob = at.join("*.log").display().to_string();
    env.set("log:far", "path", &glob)
        .set("log:far", "topic", FAR)
        .set(
            "agent",
            "shutdown_timeout",
            &format!("{}s", SHUTDOWN.as_secs()),
        );
    write_far(&env, 0);
    // The kernel asks once whether the server wants to know of a file that is closed.
    fs::read(at.join("0.log")).unwrap();
    (env, remote)
}

fn write_far(env: &Env, line: usize) {
    for file in 0..FILES {
        let number = file * 10 + line;
        env.write_lines(&format!("far/{file}.log"), number..number + 1);
    }
}

fn far_lines(upto: usize) -> Vec<String> {
    let numbers = (0..FILES).flat_map(|file| file * 10..file * 10 + upto);
    let mut lines: Vec<String> = numbers.map(|number| format!("line {number}")).collect();
    lines.sort();
    lines
}

fn expect_far(env: &Env, upto: usize) {
    env.broker.wait_for_count(FAR, FILES * upto, LONG);
    let mut values = env.broker.values(FAR);
    values.sort();
    assert_same_lines(&far_lines(upto), &values);
}

fn threads(env: &mut Env) -> usize {
    let tasks = format!("/proc/{}/task", env.agent().pid());
    fs::read_dir(tasks).into_iter().flatten().count()
}

#[test]
fn a_mount_that_hangs_holds_up_its_own_files_only() {
    let (mut env, remote) = env();
    env.write_lines("app.log", 0..10);
    env.start();
    env.expect_lines(&lines(0..10));
    expect_far(&env, 1);

    remote.hang();
    write_far(&env, 1);
    wait_until(
        LONG,
        || threads(&mut env) > 150,
        || "the files of the mount to take threads".to_owned(),
    );
    let end = Instant::now() + Duration::from_secs(6);
    let mut next = 10;
    let mut slowest = Duration::ZERO;
    while Instant::now() < end {
        let written = Instant::now();
        env.write_lines("app.log", next..next + 10);
        next += 10;
        env.wait_for_records(next);
        slowest = slowest.max(written.elapsed());
    }
    println!("the slowest lines beside a mount that hangs took {slowest:?}");
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");

    env.write_lines("new.log", next..next + 10);
    env.wait_for_records(next + 10);
    env.rename("app.log", "app.log.1");
    env.write_lines("app.log", next + 10..next + 20);
    env.wait_for_records(next + 20);
    env.wait_for_checkpoint_at_the_end_of("app.log");
    env.wait_for_checkpoint_at_the_end_of("new.log");
    assert!(threads(&mut env) < 400, "{} threads", threads(&mut env));

    let start = Instant::now();
    let ended = env.stop();
    let took = start.elapsed();
    assert!(
        took < SHUTDOWN + Duration::from_secs(2),
        "the stop took {took:?}"
    );
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);

    remote.answer();
    env.start();
    expect_far(&env, 2);
    env.stop_and_expect_lines(&lines(0..next + 20));
}

#[test]
fn a_mount_that_hangs_at_the_start_is_followed_when_it_answers() {
    let (mut env, remote) = env();
    remote.hang();
    env.write_lines("app.log", 0..10);
    env.start();
    env.expect_lines(&lines(0..10));
    env.wait_for_log("[log:far] folders of '", SOON);
    env.write_lines("app.log", 10..20);
    env.write_lines("new.log", 20..30);
    env.wait_for_records(30);
    remote.answer();
    expect_far(&env, 1);
    env.stop();
    assert_eq!(env.broker.count(TOPIC), 30);
}
