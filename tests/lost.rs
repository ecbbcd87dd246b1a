//! What nobody can save any more is reported to the byte: the ERROR lines add up to what is missing. What SIGKILL again and
//! again repeats, with the defaults, is counted too.

use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::support::env::{Env, SOON, TOPIC, lines, losses, wait_until};
use crate::support::meanwhile::StopOnDrop;

/// Bytes that the ERROR lines of all agents so far say are lost.
fn reported(env: &Env) -> u64 {
    losses(&env.all_logs()).map(|(_, bytes)| bytes).sum()
}

/// Bytes of those of `written` that have not arrived, their newlines included. Fails if one arrived twice, or
/// one that was never written.
fn missing(env: &Env, written: &[String]) -> u64 {
    let mut missing: HashSet<&String> = written.iter().collect();
    let arrived = env.broker.values(TOPIC);
    for line in &arrived {
        assert!(
            missing.remove(line),
            "came twice or from nowhere: {line:.40}"
        );
    }
    missing.iter().map(|line| line.len() as u64 + 1).sum()
}

/// An agent that has delivered the first hundred lines of `app.log` and has seen the second hundred, which
/// Kafka does not have.
fn in_an_outage() -> (Env, Vec<String>) {
    let mut env = Env::new();
    env.set("agent", "shutdown_timeout", "200ms");
    env.write_lines("app.log", 0..100);
    env.start();
    env.expect_lines(&lines(0..100));
    env.wait_for_checkpoint_at_the_end_of("app.log");
    env.broker.down(1);
    env.write_lines("app.log", 100..200);
    env.wait_for_checkpoint_with_the_size_of("app.log");
    (env, lines(0..200))
}

/// Starts the agent again with the broker up and one more line to wait for.
fn go_on(env: &mut Env, written: &mut Vec<String>) {
    env.broker.up(1);
    env.start();
    if Path::new(&env.path("app.log")).exists() {
        // What is added before it is opened would hide how much was cut off.
        env.wait_for_log("app.log': device", SOON);
    }
    env.write_lines("app.log", 1000..1001);
    written.extend(lines(1000..1001));
    env.broker.wait_until(SOON, "the last line", |broker| {
        broker.values(TOPIC).iter().any(|line| line == "line 1000")
    });
    env.stop();
}

#[test]
fn what_is_truncated_while_it_was_down_is_reported_to_the_byte() {
    let (mut env, mut written) = in_an_outage();
    env.stop();
    env.truncate("app.log");
    go_on(&mut env, &mut written);
    assert_eq!(reported(&env), "line 100\n".len() as u64 * 100);
    assert_eq!(reported(&env), missing(&env, &written));
}

#[test]
fn what_may_have_been_added_and_truncated_while_it_was_down_is_perhaps_lost() {
    let mut env = Env::new();
    env.write_lines("app.log", 0..10);
    env.start();
    env.wait_for_records(10);
    env.stop();
    env.write_lines("app.log", 10..20);
    env.truncate("app.log");
    env.start();
    env.wait_for_log("no copy of it is to be found", SOON);
    let said = env.run(&["status"]).stdout;
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("while no agent looked"), "{said}");
    assert!(said.contains("lost 0 B, perhaps more"), "{said}");
    assert!(!said.contains("LOST 1 file"), "{said}");
    env.stop();
}

#[test]
fn what_was_deleted_and_delivered_before_a_stop_is_not_perhaps_lost() {
    let mut env = Env::new();
    env.write_lines("app.log", 0..10);
    env.start();
    env.wait_for_records(10);
    let file = OpenOptions::new().write(true).open(env.path("app.log"));
    let long_ago = SystemTime::now() - Duration::from_secs(60);
    file.unwrap().set_modified(long_ago).unwrap();
    env.remove("app.log");
    env.wait_for_log("was deleted", SOON);
    env.stop();
    env.write_lines("app.log", 10..20);
    env.start();
    env.wait_for_records(20);
    let said = env.run(&["status", "--json"]).stdout;
    assert!(said.contains("\"losses\":[]"), "{said}");
    env.stop();
    assert!(
        !env.all_logs().contains("no copy of it"),
        "{}",
        env.all_logs()
    );
}

#[test]
fn what_is_deleted_after_a_crash_is_reported_to_the_byte() {
    let (mut env, mut written) = in_an_outage();
    env.kill();
    env.remove("app.log");
    go_on(&mut env, &mut written);
    assert_eq!(reported(&env), "line 100\n".len() as u64 * 100);
    assert_eq!(reported(&env), missing(&env, &written));
}

#[test]
fn what_is_cut_off_while_it_was_down_is_reported_to_the_byte_and_the_rest_is_sent() {
    let (mut env, mut written) = in_an_outage();
    env.stop();
    let size = lines(0..130).iter().map(|line| line.len() as u64 + 1).sum();
    let file = OpenOptions::new().write(true).open(env.path("app.log"));
    file.unwrap().set_len(size).unwrap();
    go_on(&mut env, &mut written);
    assert_eq!(reported(&env), "line 130\n".len() as u64 * 70);
    assert_eq!(reported(&env), missing(&env, &written));
}

#[test]
fn what_was_seen_and_not_read_when_it_was_truncated_is_reported() {
    // Behind a line that was read: what the rate holds back, and a line without its end.
    for (rate, more) in [
        ("1/s", "more lines\n".repeat(100)),
        ("", "partial".to_owned()),
    ] {
        let mut env = Env::new();
        env.set("log:app", "rate_limit", rate);
        env.append("app.log", "line 0\n");
        env.start();
        env.wait_for_records(1);
        env.append("app.log", &more);
        let size = fs::metadata(env.path("app.log")).unwrap().len();
        let seen = || env.run(&["status", "--json"]).stdout;
        let size = format!("\"size\":{size}");
        wait_until(SOON, || seen().contains(&size), seen);
        env.truncate("app.log");
        env.write_lines("app.log", 1..2);
        env.wait_for_log("were truncated away before they were read", SOON);
        let arrived = env.broker.values(TOPIC);
        let read = arrived.iter().filter(|line| *line == "more lines").count();
        let unread = more.len() - read * "more lines\n".len();
        assert_eq!(reported(&env), unread as u64, "{rate}");
        env.stop();
    }
}

/// Cuts `app.log`, which is "partial" and read from its beginning on, to its first three bytes.
fn cut_to_three_bytes(env: &Env) {
    let file = OpenOptions::new().write(true).open(env.path("app.log"));
    file.unwrap().set_len(3).unwrap();
}

#[test]
fn of_a_partial_line_that_is_cut_before_it_was_read_only_what_is_gone_is_lost() {
    for is_stopped in [false, true] {
        let mut env = Env::new();
        env.append("app.log", "partial");
        env.start();
        env.wait_for_checkpoint_with_the_size_of("app.log");
        if is_stopped {
            env.stop();
        }
        cut_to_three_bytes(&env);
        if is_stopped {
            env.start();
        }
        env.wait_for_log("4 bytes from offset 3 on were truncated away", SOON);
        env.append("app.log", "k\n");
        env.stop_and_expect_lines(&["park".to_owned()]);
        assert_eq!(reported(&env), 4, "stopped: {is_stopped}");
    }
}

#[test]
fn nothing_is_said_to_be_lost_of_what_was_copied_while_it_was_down() {
    let (mut env, mut written) = in_an_outage();
    env.stop();
    env.copytruncate("app.log", "app.log.1");
    go_on(&mut env, &mut written);
    assert_eq!((reported(&env), missing(&env, &written)), (0, 0));
}

#[test]
fn what_exceeds_the_limit_of_deleted_bytes_is_reported_to_the_byte() {
    let mut env = Env::new();
    env.set("agent", "memory_limit", "8MiB")
        .set("agent", "deleted_bytes_limit", "20MiB")
        .set("log:app", "rotate_wait", "50ms");
    env.broker.down(1);
    env.start();
    let mut written = Vec::new();
    // Each is longer than what may be in memory, and three are more than what may be held on disk.
    for (file, name) in ["a.log", "b.log", "c.log"].into_iter().enumerate() {
        let padding = "x".repeat(990);
        let of_file: Vec<String> = (0..10_000)
            .map(|number| format!("{file} {number} {padding}"))
            .collect();
        env.append(name, of_file.join("\n") + "\n");
        let says = |env: &Env, words: &str| {
            let log = env.log();
            let mut of_file = log.lines().filter(|line| line.contains(name));
            of_file.any(|line| line.contains(words))
        };
        wait_until(
            SOON,
            || says(&env, "is read from offset 0"),
            || format!("{name} to be read"),
        );
        env.remove(name);
        wait_until(
            SOON,
            || says(&env, "was deleted"),
            || format!("{name} to be missed"),
        );
        written.extend(of_file);
    }
    env.wait_for_log("exceeds [agent] deleted_bytes_limit", SOON);
    env.broker.up(1);
    let left = || missing(&env, &written);
    wait_until(
        Duration::from_secs(60),
        || left() == reported(&env),
        || format!("{} bytes to be missing, not {}", reported(&env), left()),
    );
    let held = reported(&env);
    assert!(held > 0, "the limit was not reached");
    assert!(held <= 10_000_000 * 2, "more went than had to");
    env.stop();
    assert_eq!(reported(&env), missing(&env, &written));
}

const FILES: usize = 4;
/// Lines a second, of all files together.
const RATE: usize = 2000;
const TICK: Duration = Duration::from_millis(10);
/// A file is rotated by rename when it was written to so often.
const ROTATED_AFTER: usize = 70;
/// How many kills there are; `LOGAGENT_KILLS` has more.
const KILLS: u32 = 10;
/// What came so shortly before a kill may not have been answered yet, however busy this machine is.
const ON_THE_WAY: Duration = Duration::from_millis(30);
/// How long an agent and what comes after it may take.
const LONGEST: Duration = Duration::from_secs(20);

#[test]
fn of_2000_lines_a_second_ten_kills_repeat_two_of_a_hundred_at_most() {
    let mut env = Env::with_partitions(2);
    // What counts is what nobody has set.
    env.unset("agent", "checkpoint_interval")
        .unset("kafka", "linger");
    let kills = std::env::var("LOGAGENT_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    let (mut random, mut on_the_way) = (fastrand::Rng::new(), 0);
    let stop = AtomicBool::new(false);
    let logs = env.log_dir();
    let end = Instant::now() + LONGEST * (kills + 1);
    let written = thread::scope(|scope| {
        let writer = scope.spawn(|| write_until(end, &stop, &logs));
        let stops = StopOnDrop(&stop);
        for _ in 0..kills {
            let before = env.broker.count(TOPIC);
            env.start();
            env.broker.wait_for_count(TOPIC, before + 1, SOON);
            // The time that the agent has to live; nothing is waited for.
            thread::sleep(Duration::from_millis(random.u64(800..1200)));
            let before = env.broker.count(TOPIC);
            thread::sleep(ON_THE_WAY);
            env.kill();
            on_the_way += env.broker.count(TOPIC) - before;
        }
        env.start();
        drop(stops);
        writer.join().expect("the writer ends")
    });
    let different = || {
        let all = env.broker.values(TOPIC);
        all.iter().collect::<HashSet<_>>().len()
    };
    wait_until(
        LONGEST,
        || different() == written,
        || format!("{written} lines; there are {}", different()),
    );
    env.stop();
    let repeated = env.broker.count(TOPIC) - written;
    println!(
        "{kills} kills, {written} lines, {repeated} of them twice; {on_the_way} came just before a kill"
    );
    assert!(
        repeated.saturating_sub(on_the_way) * 50 <= written,
        "{repeated} of {written} lines came again, and {on_the_way} came just before a kill"
    );
}

/// Writes [`RATE`] lines a second to the files and rotates them; returns how many lines there are in the end.
fn write_until(end: Instant, stop: &AtomicBool, logs: &Path) -> usize {
    let (start, mut written) = (Instant::now(), 0);
    for tick in 0.. {
        let now = Instant::now();
        if stop.load(Ordering::Relaxed) || now > end {
            break;
        }
        let due = (now - start).as_millis() as usize * RATE / 1000;
        for n in 0..FILES {
            let path = logs.join(format!("{n}.log"));
            if tick % ROTATED_AFTER == n * ROTATED_AFTER / FILES && tick > 0 {
                fs::rename(&path, logs.join(format!("{n}.log.{tick}"))).unwrap();
            }
            let numbers = (written..due).filter(|number| number % FILES == n);
            let text: String = numbers.map(|number| format!("line {number}\n")).collect();
            let log = fs::File::options().append(true).create(true).open(&path);
            log.unwrap().write_all(text.as_bytes()).unwrap();
        }
        written = written.max(due);
        thread::sleep(TICK);
    }
    written
}
