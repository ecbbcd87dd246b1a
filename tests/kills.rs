//! SIGKILL again and again, with the defaults: how many lines come twice.

use std::collections::HashSet;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::env::{Env, SOON, TOPIC, wait_until};

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
        stop.store(true, Ordering::Relaxed);
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
