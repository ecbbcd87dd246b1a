//! What many files cost: not more for each of them than few.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::support::env::{Env, TOPIC, wait_until};

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
