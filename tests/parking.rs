//! Quiet files give their thread back, and miss nothing without it; many files cost no more for each of them than few.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

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
    let end = Instant::now() + PARKED;
    while tailer_threads(env) > 0 {
        let left = tailer_threads(env);
        assert!(
            Instant::now() < end,
            "{left} threads are left\n{}",
            env.log()
        );
        sleep(Duration::from_millis(50));
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
    let end = Instant::now() + long;
    while env.broker.count(TOPIC) < FILES * 3 {
        most = most.max(tailer_threads(&mut env));
        assert!(Instant::now() < end, "{}", env.log());
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

const LONG: Duration = Duration::from_secs(60);

/// Processor time that the agent has had, in hundredths of a second.
fn processor_time(env: &mut Env) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", env.agent().pid())).unwrap();
    let (_, after_name) = stat.rsplit_once(')').unwrap();
    let fields = after_name.split(' ').skip(12).take(2);
    fields.map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}

fn wait_for(env: &Env, count: usize) {
    wait_until(
        LONG,
        || env.broker.count(TOPIC) >= count,
        || format!("{count} records; there are {}", env.broker.count(TOPIC)),
    );
}

/// What a start costs after so many files were rotated while the agent was down.
fn start_after_rotation(files: usize) -> u64 {
    let mut env = Env::new();
    for file in 0..files {
        env.append(&format!("{file}.log"), format!("first of {file}\n"));
    }
    env.start();
    wait_for(&env, files);
    env.stop();
    for file in 0..files {
        let name = format!("{file}.log");
        env.append(&name, format!("second of {file}\n"));
        env.rename(&name, &format!("{name}.1"));
        env.append(&name, format!("third of {file}\n"));
    }
    env.start();
    wait_for(&env, files * 3);
    let taken = processor_time(&mut env);
    env.stop();
    assert_eq!(env.broker.count(TOPIC), files * 3);
    taken
}

#[test]
fn rotated_files_of_one_folder_cost_a_start_no_more_each_the_more_there_are() {
    let few = start_after_rotation(250);
    let many = start_after_rotation(2000);
    println!("250 files: {few} hundredths of a CPU second, 2,000 files: {many}");
    // 8 times as many; each for itself would cost up to 64 times.
    assert!(many < 24 * few.max(10), "{few} and {many}");
}

#[test]
fn folders_that_come_and_go_cost_one_look_a_second() {
    const FILES: usize = 2000;
    let mut env = Env::new();
    let glob = env.path("**/*.log");
    env.set("log:app", "path", &glob);
    for file in 0..FILES {
        let folder = format!("{}", file % 20);
        env.make_folder(&folder);
        env.append(&format!("{folder}/{file}.log"), "line\n");
    }
    env.start();
    wait_for(&env, FILES);
    let before = processor_time(&mut env);
    let begun = Instant::now();
    for round in 0..80 {
        let name = env.path(&format!("new-{round}"));
        fs::create_dir(&name).unwrap();
        sleep(Duration::from_millis(50));
        fs::remove_dir(&name).unwrap();
    }
    let seconds = begun.elapsed().as_secs_f64();
    let taken = processor_time(&mut env) - before;
    println!("{taken} hundredths of a CPU second in {seconds} s");
    // Once a second is 2 of them; for each folder it would be 20 times that.
    assert!((taken as f64) < 10.0 * seconds, "{taken} in {seconds} s");
    // And what comes with such a folder is found.
    env.make_folder("last");
    env.append("last/a.log", "line\n");
    wait_for(&env, FILES + 1);
    env.stop();
}
