//! A load of files that are rotated in every way, and what is done meanwhile.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use flate2::write::GzEncoder;
use serde_json::Value;

use super::{LONG, append, exactly_once, expect_once, expect_success};
use crate::support::env::Env;
use crate::support::kafka::RealKafka;
use crate::support::meanwhile::StopOnDrop;

const TICK: Duration = Duration::from_millis(25);

/// Has `harm` done again and again while files are written and rotated. It is told the topic, which is the agent's id
/// too, and how often it was done; it leaves no agent running.
pub(super) fn run(
    kafka: &RealKafka,
    name: &str,
    count: u32,
    mut harm: impl FnMut(&mut Env, &str, u32),
) {
    let began = Instant::now();
    let (mut env, topic) = exactly_once(kafka, name);
    env.set("kafka", "provenance", "on");
    let (logs, writer) = (env.log_dir(), Writer::default());
    // What is rotated away before a log was ever seen is no part of it.
    let mut lines: Vec<String> = Vec::new();
    for file in ["a", "b"] {
        lines.push(format!("{file} 0 0"));
        append(&logs.join(format!("{file}.log")), &lines[lines.len() - 1..]);
    }
    expect_success(&env.spawn(&["run", "--once"]).wait_exit(LONG));
    let written = thread::scope(|scope| {
        let writing = scope.spawn(|| write(&logs, &writer));
        let stops = StopOnDrop(&writer.stops);
        for n in 1..=count {
            harm(&mut env, &topic, n);
            if n % 50 == 0 {
                let tick = writer.tick.load(Ordering::Relaxed);
                let ended = env.spawn(&["run", "--once"]).wait_exit(LONG);
                // Where files are rotated faster than it looks at them it says that something is left.
                assert!(matches!(ended.code, Some(0 | 1)), "{}", ended.stderr);
                if ended.code == Some(0) {
                    writer.delivered.store(tick, Ordering::Relaxed);
                }
            }
        }
        drop(stops);
        writing.join().expect("the writer ends")
    });
    expect_success(&env.spawn(&["run", "--once"]).wait_exit(LONG));
    lines.extend(written);
    expect_once(kafka, &topic, &lines);
    expect_proof(&env);
    println!(
        "{name}: {count} times, {} lines, none missing, none twice, {} s",
        lines.len(),
        began.elapsed().as_secs()
    );
}

/// `verify` finds nothing wrong either. What was rotated and deleted is nowhere else than in the topic.
fn expect_proof(env: &Env) {
    let ended = env.spawn(&["verify", "--json"]).wait_exit(LONG);
    let said: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    let is_fine = matches!(ended.code, Some(0 | 2));
    let is_empty = said["findings"].as_array().is_some_and(Vec::is_empty);
    assert!(is_fine && is_empty && said["twice"] == 0, "{said}");
}

/// What the writer is told, and tells.
#[derive(Default)]
struct Writer {
    stops: AtomicBool,
    tick: AtomicU32,
    /// What was rotated some time before this tick may be deleted.
    delivered: AtomicU32,
}

/// Writes two files until told to stop: one is rotated by rename and compressed then, the other one by copytruncate, and
/// what is old is deleted. Returns the lines.
fn write(logs: &Path, writer: &Writer) -> Vec<String> {
    let (mut written, mut deleted) = (Vec::new(), 0);
    let start = Instant::now();
    let mut random = fastrand::Rng::new();
    for tick in 1u32.. {
        if writer.stops.load(Ordering::Relaxed) {
            break;
        }
        for file in ["a", "b"] {
            let new: Vec<String> = (0..50).map(|n| format!("{file} {tick} {n}")).collect();
            append(&logs.join(format!("{file}.log")), &new);
            written.extend(new);
        }
        rotate(logs, tick).expect("is rotated");
        while deleted + 80 < writer.delivered.load(Ordering::Relaxed) {
            deleted += 20;
            let names = [format!("a.log.{deleted}.gz"), format!("b.log.{deleted}")];
            let gone = names.map(|name| fs::remove_file(logs.join(name)).is_ok());
            assert_ne!(gone[0], gone[1], "one of the two was rotated then");
        }
        writer.tick.store(tick, Ordering::Relaxed);
        if random.u32(..100) == 0 {
            // It stands still, and does all of it at once then, several rotations in a few milliseconds.
            thread::sleep(TICK * random.u32(..160));
        }
        thread::sleep((TICK * tick).saturating_sub(start.elapsed()));
    }
    written
}

/// What logrotate does, a few times in a second.
fn rotate(logs: &Path, tick: u32) -> io::Result<()> {
    let (a, b) = (logs.join("a.log"), logs.join("b.log"));
    let rotated = |file: &str, tick: u32| logs.join(format!("{file}.log.{tick}"));
    match tick % 40 {
        0 => fs::rename(a, rotated("a", tick))?,
        10 if tick > 40 => {
            let plain = rotated("a", tick - 10);
            let packed = logs.join(format!("a.log.{}.gz", tick - 10));
            let mut gz = GzEncoder::new(File::create(packed)?, Default::default());
            io::copy(&mut File::open(&plain)?, &mut gz)?;
            gz.finish()?;
            fs::remove_file(plain)?;
        }
        20 => {
            fs::copy(&b, rotated("b", tick))?;
            File::options().write(true).open(b)?.set_len(0)?;
        }
        _ => {}
    }
    Ok(())
}
