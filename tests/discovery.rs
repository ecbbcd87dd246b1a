//! Which files are found, by whom, and what is said about those that are not; `start_at = end` is about what was there when
//! the section was first seen.

use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::Mode;

use crate::support::env::{Env, SOON, TOPIC, assert_same_lines, lines, wait_until};
use crate::support::meanwhile::StopOnDrop;

/// An environment whose only section follows `path`, relative to the log folder.
fn following(path: &str) -> Env {
    let mut env = Env::new();
    let path = env.path(path);
    env.set("log:app", "path", &path);
    env
}

/// Starts the agent; its log until a file that is written now has arrived.
fn log_of_a_start(env: &mut Env) -> String {
    env.start();
    let probe = env.path("probe.log");
    let before = env.broker.count(TOPIC);
    assert!(fs::metadata(&probe).is_err());
    env.write_lines("probe.log", 0..1);
    env.wait_for_records(before + 1);
    env.stop();
    env.all_logs()
}

fn count(log: &str, words: &[&str]) -> usize {
    let has_all = |line: &&str| words.iter().all(|word| line.contains(word));
    log.lines().filter(has_all).count()
}

/// What is said about a path of the section `odd`, beside a section that is well.
fn said_about(path: &str, exclude: &str, make: impl FnOnce(&Env)) -> String {
    let mut env = Env::following_one_path();
    let (probe, odd) = (env.path("probe.log"), env.path(path));
    env.set("log:app", "path", &probe)
        .set("log:odd", "path", &odd);
    if !exclude.is_empty() {
        env.set("log:odd", "exclude", exclude);
    }
    make(&env);
    let log = log_of_a_start(&mut env);
    let about = log.lines().filter(|line| line.contains("/odd"));
    let about: Vec<&str> = about.collect();
    assert_eq!(about.len(), 1, "{path}: {about:#?}");
    about[0].to_owned()
}

#[test]
fn what_is_not_read_is_said_in_one_line_that_says_just_that() {
    let said = said_about("odd.gz", "", |env| env.append("odd.gz", "x"));
    assert!(
        said.contains("WARN") && said.contains("not read by itself"),
        "{said}"
    );
    let said = said_about("odd*", "", |env| {
        env.append("odd.1.gz", "x");
        env.append("odd.2.gz", "x");
    });
    assert!(
        said.contains("INFO") && said.contains("not read by itself"),
        "{said}"
    );
    let said = said_about("odd", "", |env| env.make_folder("odd"));
    assert!(said.contains("is a folder and is not read"), "{said}");
    let said = said_about("odd", "", |env| {
        let at = env.path("odd");
        rustix::fs::mkfifoat(rustix::fs::CWD, at, Mode::RWXU).unwrap();
    });
    assert!(said.contains("is not a regular file"), "{said}");
    let said = said_about("odd", "", |env| env.symlink("nowhere", "odd"));
    assert!(said.contains("is a link that leads nowhere"), "{said}");
    let said = said_about("odd/*/b.log", "", |_| {});
    assert!(said.contains("there is no folder"), "{said}");
    let said = said_about("odd*", "odd*", |env| env.append("odd1", "x"));
    assert!(said.contains("exclude leaves out all that"), "{said}");
    let said = said_about("odd*", "", |_| {});
    assert!(said.contains("no file matches"), "{said}");
}

#[test]
fn an_upper_folder_that_may_not_be_entered_is_named_once() {
    let mut env = following("shut/in/*.log");
    env.make_folder("shut/in");
    env.write_lines("shut/in/app.log", 0..10);
    let shut = env.path("shut");
    rustix::fs::chmod(&*shut, Mode::empty()).unwrap();
    let is_bound = env.start_bound_by_permissions();
    assert!(is_bound, "cannot be tested: permissions do not bind here");
    env.wait_for_log(&format!("folder '{shut}' may not be entered"), SOON);
    rustix::fs::chmod(&*shut, Mode::RWXU).unwrap();
    // Nothing tells of the rights of an upper folder but a look at them.
    env.broker
        .wait_for_count(TOPIC, 10, Duration::from_secs(45));
    env.stop();
    let log = env.all_logs();
    // One line when it begins and one when it is over.
    assert_eq!(count(&log, &["WARN", "/shut"]), 2, "{log}");
    let over = count(&log, &["WARN", "/shut' is no trouble any more"]);
    assert_eq!(over, 1, "{log}");
}

#[test]
fn what_one_section_excludes_another_has_and_of_two_the_first() {
    let mut env = Env::new();
    env.broker.create_topic("other", 1);
    let other = env.path("a*.log");
    env.set("log:app", "exclude", "audit.log")
        .set("log:other", "path", &other)
        .set("log:other", "topic", "other");
    env.start();
    let start = Instant::now();
    env.write_lines("audit.log", 0..10);
    env.broker.wait_for_count("other", 10, SOON);
    assert!(start.elapsed() < Duration::from_secs(5));
    env.write_lines("access.log", 10..20);
    env.write_lines("apache.log", 20..30);
    env.wait_for_records(20);
    env.stop();
    assert_eq!(env.broker.count("other"), 10);
    let log = env.all_logs();
    assert_eq!(
        count(&log, &["WARN", "[log:app]", "[log:other]", "/a"]),
        1,
        "{log}"
    );
}

#[test]
fn an_exclude_without_a_slash_holds_in_hidden_folders() {
    let mut env = following(".pm2/logs/*.log");
    env.set("log:app", "exclude", "noise.log");
    env.make_folder(".pm2/logs");
    env.write_lines(".pm2/logs/noise.log", 0..10);
    env.write_lines(".pm2/logs/app.log", 10..20);
    env.start();
    env.stop_and_expect_lines(&lines(10..20));
}

#[test]
fn names_of_any_bytes_are_followed() {
    let mut env = following("**/*.log");
    let name = |bytes: &[u8]| env.log_dir().join(OsStr::from_bytes(bytes));
    let folder = name(b"\xfffolder\x1b[2J");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("a.log"), "line 0\n").unwrap();
    fs::write(name(b"new\nline.log"), "line 1\n").unwrap();
    env.start();
    env.wait_for_records(2);
    let late = env.log_dir().join(OsStr::from_bytes(b"\xc3\x28.log"));
    fs::write(late, "line 2\n").unwrap();
    env.wait_for_records(3);
    env.stop();
    // Their positions are kept under these names.
    fs::write(folder.join("b.log"), "line 3\n").unwrap();
    env.start();
    env.wait_for_records(4);
    env.stop();
    let mut values = env.broker.values(TOPIC);
    values.sort();
    assert_eq!(values, lines(0..4));
}

#[test]
fn the_state_folder_is_left_out_with_one_warning() {
    let mut env = following("**/*");
    env.make_folder("state");
    let state = env.path("state");
    env.set("agent", "state_dir", &state);
    env.write_lines("app.log", 0..10);
    env.start();
    env.wait_for_records(10);
    env.write_lines("app.log", 10..20);
    env.wait_for_records(20);
    // What it writes there does not come back to it.
    env.stop_and_expect_lines(&lines(0..20));
    env.start();
    env.stop_and_expect_lines(&lines(0..20));
    let log = env.all_logs();
    assert_eq!(
        count(&log, &["WARN", "[agent] state_dir"]),
        2,
        "one each start: {log}"
    );
}

fn at_end() -> Env {
    let mut env = Env::new();
    env.set("log:app", "start_at", "end");
    env
}

/// Starts the agent and waits until it has noted where it begins.
fn start(env: &mut Env) {
    env.start();
    wait_until(
        SOON,
        || fs::read_to_string(env.checkpoints()).is_ok_and(|text| text.contains("app.log")),
        || "the position of a file that is read from its end".to_owned(),
    );
}

fn expect(env: &mut Env, mut expected: Vec<String>) {
    env.wait_for_records(expected.len());
    env.stop();
    let mut values = env.broker.values(TOPIC);
    values.sort();
    expected.sort();
    assert_eq!(values, expected);
}

#[test]
fn a_file_that_came_later_is_read_from_its_beginning_also_while_the_agent_was_stopped() {
    let mut env = at_end();
    env.write_lines("app.log", 0..10);
    start(&mut env);
    env.write_lines("app.log", 10..20);
    env.write_lines("later.log", 20..30);
    env.wait_for_records(20);
    env.stop();
    env.write_lines("app.log", 30..40);
    env.write_lines("stopped.log", 40..50);
    env.write_lines("gone-again.log", 50..60);
    env.remove("gone-again.log");
    env.start();
    expect(&mut env, lines(10..50));
}

#[test]
fn a_file_that_rotates_is_read_whole_whenever_it_does() {
    for is_up in [true, false] {
        let mut env = at_end();
        env.write_lines("app.log", 0..10);
        start(&mut env);
        if !is_up {
            env.stop();
        }
        env.write_lines("app.log", 10..20);
        env.rename("app.log", "app.log.2");
        env.write_lines("app.log", 20..30);
        env.rename("app.log", "app.log.1");
        env.write_lines("app.log", 30..40);
        if !is_up {
            env.start();
        }
        expect(&mut env, lines(10..40));
    }
}

#[test]
fn a_file_that_is_rotated_while_the_agent_starts_is_not_read_from_before() {
    // Its lines from before the start are not wanted, under whatever name they lie by then.
    for _ in 0..5 {
        let mut env = at_end();
        env.write_lines("app.log", 0..1000);
        env.write_lines("app.log.1", 2000..2010);
        env.start();
        env.rename("app.log", "app.log.2");
        env.write_lines("app.log", 1000..1010);
        expect(&mut env, lines(1000..1010));
    }
}

#[test]
fn a_section_that_was_added_later_has_its_own_first_time() {
    let mut env = at_end();
    let own = env.path("app.log");
    env.set("log:app", "path", &own);
    env.broker.create_topic("other", 1);
    env.write_lines("app.log", 0..10);
    env.write_lines("other.log", 100..110);
    start(&mut env);
    env.write_lines("app.log", 10..20);
    env.wait_for_records(10);
    env.stop();
    let other = env.path("other*.log");
    env.set("log:other", "path", &other)
        .set("log:other", "topic", "other")
        .set("log:other", "start_at", "end");
    env.start();
    env.wait_for_log("is read from offset", SOON);
    wait_until(
        SOON,
        || fs::read_to_string(env.checkpoints()).is_ok_and(|text| text.contains("other.log")),
        || "the position of the other file".to_owned(),
    );
    env.write_lines("other.log", 110..120);
    env.stop();
    env.write_lines("other2.log", 120..130);
    env.start();
    env.broker.wait_for_count("other", 20, SOON);
    expect(&mut env, lines(10..20));
    let mut values = env.broker.values("other");
    values.sort();
    assert_eq!(values, lines(110..130));
}

#[test]
fn a_section_that_found_nothing_at_first_was_seen_all_the_same() {
    let mut env = at_end();
    env.start();
    env.stop();
    env.write_lines("app.log", 0..10);
    env.start();
    expect(&mut env, lines(0..10));
}

#[test]
fn once_reads_each_known_log_once_while_its_file_goes_to_and_fro_between_two_names() {
    const LOGS: usize = 5;
    let mut env = Env::new();
    let glob = env.path("?.log");
    env.set("log:app", "path", &glob);
    let name = |log: usize| format!("{log}.log");
    let is_over = AtomicBool::new(false);
    for round in 0..20 {
        for log in 0..LOGS {
            let number = round * LOGS + log;
            env.write_lines(&name(log), number..number + 1);
        }
        is_over.store(false, Ordering::Relaxed);
        let folder = env.log_dir();
        thread::scope(|scope| {
            let moving = (0..LOGS).map(|log| {
                let path = folder.join(name(log));
                let rotated = folder.join(name(log) + ".1");
                let is_over = &is_over;
                scope.spawn(move || {
                    while !is_over.load(Ordering::Relaxed) && round > 0 {
                        fs::rename(&path, &rotated).expect("is renamed");
                        thread::sleep(Duration::from_micros(300));
                        fs::rename(&rotated, &path).expect("is renamed");
                        thread::sleep(Duration::from_micros(300));
                    }
                })
            });
            let moving: Vec<_> = moving.collect();
            let stop = StopOnDrop(&is_over);
            let ended = env.spawn(&["run", "--once"]).wait_exit(SOON);
            drop(stop);
            moving
                .into_iter()
                .for_each(|one| one.join().expect("it ends"));
            assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        });
        let mut values = env.broker.values(TOPIC);
        // Those of different logs come in no order.
        values.sort();
        let mut expected = lines(0..(round + 1) * LOGS);
        expected.sort();
        assert_same_lines(&expected, &values);
    }
}

#[test]
fn each_line_is_read_once_while_the_file_goes_to_and_fro_between_two_names() {
    let mut env = Env::new();
    let glob = env.path("?.log");
    env.set("log:app", "path", &glob);
    let (path, rotated) = (env.log_dir().join("a.log"), env.log_dir().join("a.log.1"));
    let is_over = AtomicBool::new(false);
    env.write_lines("a.log", 0..1);
    let mut file = fs::OpenOptions::new()
        .append(true)
        .open(&path)
        .expect("is there");
    thread::scope(|scope| {
        let moving = scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                fs::rename(&path, &rotated).expect("is renamed");
                thread::sleep(Duration::from_micros(300));
                fs::rename(&rotated, &path).expect("is renamed");
                thread::sleep(Duration::from_micros(300));
            }
        });
        let stop = StopOnDrop(&is_over);
        for run in 0..12 {
            env.start();
            for number in run * 100 + 1..=(run + 1) * 100 {
                writeln!(file, "line {number}").expect("is written");
                thread::sleep(Duration::from_millis(1));
            }
            env.stop();
        }
        env.start();
        env.wait_for_records(1201);
        env.stop();
        drop(stop);
        moving.join().expect("it ends");
        assert_same_lines(&lines(0..1201), &env.broker.values(TOPIC));
    });
}
