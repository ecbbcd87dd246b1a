//! Quiet files give their thread back, and miss nothing without it.

use std::fs;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::env::{Env, SOON, TOPIC, lines, wait_until};

/// A file is parked after 10 s, and its thread ends a second later.
const PARKED: Duration = Duration::from_secs(40);

/// How many threads follow files at this moment.
fn tailer_threads(env: &mut Env) -> usize {
    let tasks = format!("/proc/{}/task", env.agent().pid());
    let tasks = fs::read_dir(tasks).into_iter().flatten().flatten();
    tasks
        .filter(|task| {
            fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.starts_with("tail:"))
        })
        .count()
}

fn wait_until_all_are_parked(env: &mut Env) {
    let end = std::time::Instant::now() + PARKED;
    while tailer_threads(env) > 0 {
        let left = tailer_threads(env);
        assert!(
            std::time::Instant::now() < end,
            "{left} threads are left\n{}",
            env.log()
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn parked_files_are_followed_through_everything() {
    const FILES: [&str; 6] = ["grow", "rotate", "truncate", "copy", "delete", "partial"];
    let mut env = Env::with_partitions(8);
    for (n, name) in FILES.iter().enumerate() {
        env.write_lines(&format!("{name}.log"), n * 100..n * 100 + 10);
    }
    env.append("partial.log", "a line without");
    env.start();
    env.wait_for_records(60);
    assert_eq!(tailer_threads(&mut env), FILES.len());
    wait_until_all_are_parked(&mut env);

    env.write_lines("grow.log", 10..20);
    env.rename("rotate.log", "rotate.log.1");
    env.write_lines("rotate.log", 110..120);
    env.truncate("truncate.log");
    env.write_lines("truncate.log", 210..215);
    env.write_lines("copy.log", 310..315);
    env.copytruncate("copy.log", "copy.log.1");
    env.write_lines("copy.log", 315..320);
    env.write_lines("delete.log", 410..420);
    env.remove("delete.log");
    env.append("partial.log", " its end\n");
    let expected = |name: &str| match name {
        "grow" => lines(0..20),
        "rotate" => lines(100..120),
        "truncate" => [lines(200..210), lines(210..215)].concat(),
        "copy" => lines(300..320),
        "delete" => lines(400..420),
        _ => [lines(500..510), vec!["a line without its end".to_owned()]].concat(),
    };
    let count: usize = FILES.iter().map(|name| expected(name).len()).sum();
    env.wait_for_records(count);
    // The rotated files are closed, and everything is quiet again.
    env.wait_for_log("rotate.log': ", SOON);
    wait_until_all_are_parked(&mut env);
    // A file that comes back after it was deleted is another one.
    env.write_lines("delete.log", 420..425);
    env.wait_for_records(count + 5);
    env.stop();
    let values = env.broker.values(TOPIC);
    assert_eq!(values.len(), count + 5);
    for name in FILES {
        let mut wanted = expected(name);
        if name == "delete" {
            wanted.extend(lines(420..425));
        }
        // Each file has a partition's order, so its lines are in order among all.
        let came: Vec<_> = values.iter().filter(|v| wanted.contains(v)).collect();
        assert!(came.iter().copied().eq(wanted.iter()), "{name}: {came:#?}");
    }
}

#[test]
fn parked_files_whose_events_were_lost_are_looked_at() {
    let mut env = Env::new();
    env.write_lines("a.log", 0..1);
    env.write_lines("b.log", 1..2);
    env.start();
    env.wait_for_records(2);
    wait_until_all_are_parked(&mut env);
    env.signal(Signal::STOP);
    env.overflow_events();
    env.write_lines("a.log", 2..3);
    env.rename("b.log", "b.log.1");
    env.write_lines("b.log", 3..4);
    env.signal(Signal::CONT);
    env.wait_for_log("inotify events were lost", SOON);
    env.wait_for_records(4);
    env.stop();
    let mut values = env.broker.values(TOPIC);
    values.sort();
    assert_eq!(values, lines(0..4));
}

#[test]
fn many_files_share_a_bounded_number_of_threads() {
    const FILES: usize = 1500;
    let mut env = Env::with_partitions(4);
    for file in 0..FILES {
        env.write_lines(&format!("{file}.log"), file * 10..file * 10 + 3);
    }
    env.start();
    let mut most = 0;
    let long = Duration::from_secs(90);
    let end = std::time::Instant::now() + long;
    while env.broker.count(TOPIC) < FILES * 3 {
        most = most.max(tailer_threads(&mut env));
        assert!(std::time::Instant::now() < end, "{}", env.log());
    }
    assert!(most <= 256, "{most} threads");
    for file in 0..FILES {
        let name = format!("{file}.log");
        env.write_lines(&name, file * 10 + 3..file * 10 + 5);
        if file % 3 == 0 {
            env.rename(&name, &format!("{name}.1"));
            env.write_lines(&name, file * 10 + 5..file * 10 + 7);
        }
        most = most.max(tailer_threads(&mut env));
    }
    let count = FILES * 5 + FILES.div_ceil(3) * 2;
    wait_until(
        long,
        || env.broker.count(TOPIC) >= count,
        || format!("{count} records; there are {}", env.broker.count(TOPIC)),
    );
    assert!(most <= 256, "{most} threads");
    env.stop();
    let mut values = env.broker.values(TOPIC);
    assert_eq!(values.len(), count);
    values.sort();
    values.dedup();
    assert_eq!(values.len(), count, "records came twice");
}
