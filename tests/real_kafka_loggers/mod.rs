//! Programs that rotate their logs by themselves, against a real Kafka: log4j2, logback, multilog, svlogd and Python's
//! handlers as they are, lumberjack and rotating-file-stream played by their names and steps. 8,000 lines each, with the
//! agent up, stopped or killed between, and `path` naming the live file, or a glob that matches the rotated names too.
//!
//! The oracle is what lies on the disk in the end, as in `real_kafka_logrotate_matrix`; none of them deletes anything here.
//!
//! ```text
//! programs.rs  the programs and the names of their files
//! mod.rs       those that are played: the names they give and the order of their steps
//! ```
//!
//! Each runs once, with one trouble and one kind of `path`; `LOGAGENT_LOGGERS=all` runs every combination,
//! `LOGAGENT_LOGGERS=NAME` those whose names begin or end so (`-glob`). `scripts/chaos.sh loggers` runs all.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::support::env::Env;
use crate::support::kafka::RealKafka;
use crate::support::ledger::{self, Verdict};

use self::programs::rest;
use self::programs::{LINES, LOGGERS, Logger, TAG};

mod programs;

const JOBS: usize = 6;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    None,
    Term,
    Kill,
}

const TROUBLES: [(Trouble, &str); 3] = [
    (Trouble::None, "up"),
    (Trouble::Term, "term"),
    (Trouble::Kill, "kill"),
];

/// What `path` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Live,
    Glob,
}

const WANTEDS: [(Wanted, &str); 2] = [(Wanted::Live, "live"), (Wanted::Glob, "glob")];

#[derive(Debug, Clone, Copy)]
struct Run {
    logger: Logger,
    trouble: Trouble,
    wanted: Wanted,
}

/// The runs by their names.
fn runs(which: &str) -> BTreeMap<String, Run> {
    let mut runs = BTreeMap::new();
    for (number, logger) in LOGGERS.into_iter().enumerate() {
        for (place, (trouble, trouble_name)) in TROUBLES.into_iter().enumerate() {
            for (wanted, wanted_name) in WANTEDS {
                let name = format!("{logger}-{trouble_name}-{wanted_name}");
                let is_wanted = match which {
                    // Every other one with the glob.
                    "" => number % 3 == place && (number % 2 == 0) == (wanted == Wanted::Live),
                    "all" => true,
                    part => name.starts_with(part) || name.ends_with(part),
                };
                if is_wanted {
                    let run = Run {
                        logger,
                        trouble,
                        wanted,
                    };
                    runs.insert(name, run);
                }
            }
        }
    }
    runs
}

#[test]
fn every_line_of_a_program_that_rotates_by_itself_arrives_once() {
    let which = std::env::var("LOGAGENT_LOGGERS").unwrap_or_default();
    let started = Instant::now();
    let kafka = RealKafka::current();
    let mut lacking = BTreeMap::new();
    let mut waiting = VecDeque::new();
    for (name, run) in runs(&which) {
        match run.logger.lacks() {
            Some(what) => *lacking.entry(what).or_insert(0) += 1,
            None => waiting.push_back((name, run)),
        }
    }
    for (what, count) in &lacking {
        eprintln!("{count} RUNS OF LOGGERS DID NOT RUN: there is no {what}");
        let may_lack = what.contains("Debian");
        assert!(
            may_lack || std::env::var_os("CI").is_none(),
            "CI needs {what}"
        );
    }
    let count = waiting.len();
    let (waiting, results) = (Mutex::new(waiting), Mutex::new(BTreeMap::new()));
    thread::scope(|scope| {
        for _ in 0..JOBS {
            scope.spawn(|| {
                while let Some((name, run)) = { waiting.lock().unwrap().pop_front() } {
                    let mut result = (None, false);
                    let caught = AssertUnwindSafe(|| judge_run(run, &name, &kafka, &mut result));
                    if catch_unwind(caught).is_err() {
                        eprintln!("again: LOGAGENT_LOGGERS={name} scripts/chaos.sh loggers");
                    }
                    results.lock().unwrap().insert(name, result);
                }
            });
        }
    });
    report(&results.into_inner().unwrap(), count, started);
}

type Results = BTreeMap<String, (Option<Verdict>, bool)>;

fn report(results: &Results, count: usize, started: Instant) {
    let wrong: Vec<String> = results
        .iter()
        .filter(|(_, (_, is_right))| !is_right)
        .map(|(name, (verdict, _))| match verdict {
            Some(verdict) => format!("wrong | {name} | {}", verdict.describe()),
            None => format!("wrong | {name} | it did not come to an end"),
        })
        .collect();
    println!(
        "\nloggers | {count} runs of {LINES} lines | {} wrong | {:.0} s",
        wrong.len(),
        started.elapsed().as_secs_f64()
    );
    assert!(wrong.is_empty(), "runs that failed:\n{}", wrong.join("\n"));
}

fn judge_run(run: Run, name: &str, kafka: &RealKafka, result: &mut (Option<Verdict>, bool)) {
    let topic = kafka.fresh_topic("loggers", 1);
    let mut env = Env::new();
    let logger = run.logger;
    let path = env.path(match run.wanted {
        Wanted::Live => logger.live,
        Wanted::Glob => logger.glob,
    });
    env.set("kafka", "brokers", kafka.brokers())
        .set("kafka", "topic", &topic)
        .set("log:app", "path", &path);
    if let Some(rotated) = logger.rotated {
        let rotated = env.path(rotated);
        env.set("log:app", "rotated", &rotated);
    }
    if logger.live.starts_with("main/") {
        env.make_folder("main");
    }
    env.start();
    let beside = env.config().with_file_name("");
    let mut running = logger.start(&env.log_dir(), &beside);
    ledger::wait_until_known(&env, kafka, &topic, logger.live);
    let mut kills = 0;
    while running.is_running() {
        // A little more than the time between two rotations, so that none to three fall into each.
        thread::sleep(Duration::from_millis(500));
        match run.trouble {
            Trouble::None => continue,
            Trouble::Term => drop(env.stop()),
            Trouble::Kill => {
                kills += 1;
                env.kill();
            }
        }
        thread::sleep(Duration::from_millis(800));
        env.start();
    }
    running.finish();
    let mut history = Vec::new();
    let mut verdict = ledger::settle(&mut env, kafka, &topic, TAG, &mut history);
    if run.wanted == Wanted::Glob {
        // Rotated files are paths of their own then, and order holds within each of them only.
        verdict.out_of_order.clear();
    }
    let is_right = verdict.on_disk == LINES && verdict.is_right(1 + kills);
    *result = (Some(verdict.clone()), is_right);
    assert!(
        is_right,
        "{name}: {}\n{}",
        verdict.describe(),
        history.join("\n")
    );
}

const SIZE: u64 = 64 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Steps {
    /// Go's lumberjack: close, rename to `app-TIME.log`, make a new file.
    Lumberjack,
    /// With `Compress`: meanwhile another goroutine packs each plain backup and unlinks it.
    LumberjackGzip,
    /// The same on a slow machine: the archive grows for a while beside its original.
    LumberjackSlowGzip,
    /// Node's rotating-file-stream: close, rename to `DATE-TIME-NUMBER-app.log`, make a new file.
    FileStream,
    /// With `compress`: close, make the archive's name, pack into it, unlink, make a new file.
    FileStreamGzip,
}

/// Writes the lines, rotating as told, and waits for what is being packed.
fn play(steps: Steps, live: &Path, tag: &str, lines: usize) {
    let mut file = open(live);
    let mut size = 0;
    let mut rotations = 0;
    let mut packing: Vec<thread::JoinHandle<()>> = Vec::new();
    for number in 0..lines {
        let line = ledger::line(tag, number, number * 37 % 150) + "\n";
        if size + line.len() as u64 > SIZE {
            drop(file);
            rotations += 1;
            packing.extend(rotate(steps, live, rotations));
            file = open(live);
            size = 0;
        }
        file.write_all(line.as_bytes()).expect("the disk has room");
        size += line.len() as u64;
        rest(number);
    }
    for packing in packing {
        packing.join().expect("it is packed");
    }
}

fn rotate(steps: Steps, live: &Path, rotations: usize) -> Option<thread::JoinHandle<()>> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    let (day, seconds) = date(now.as_secs());
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let (year, month, day) = day;
    let millis = now.subsec_millis();
    match steps {
        Steps::Lumberjack | Steps::LumberjackGzip | Steps::LumberjackSlowGzip => {
            let backup = live.with_file_name(format!(
                "app-{year}-{month:02}-{day:02}T{hour:02}-{minute:02}-{second:02}.{millis:03}.log"
            ));
            fs::rename(live, &backup).expect("it is there");
            let pause = match steps {
                Steps::Lumberjack => return None,
                Steps::LumberjackGzip => Duration::ZERO,
                _ => Duration::from_millis(300),
            };
            Some(thread::spawn(move || {
                pack(&backup, &ending(&backup), pause);
                fs::remove_file(&backup).expect("it is there");
            }))
        }
        Steps::FileStream | Steps::FileStreamGzip => {
            let name =
                format!("{year}{month:02}{day:02}-{hour:02}{minute:02}-{rotations:02}-app.log");
            let rotated = live.with_file_name(name);
            if steps == Steps::FileStream {
                fs::rename(live, rotated).expect("it is there");
            } else {
                pack(live, &ending(&rotated), Duration::from_millis(20));
                fs::remove_file(live).expect("it is there");
            }
            None
        }
    }
}

/// Packs in pieces, with pauses that add up to `pause`.
fn pack(plain: &Path, packed: &Path, pause: Duration) {
    const PIECES: usize = 4;
    let target = File::create(packed).expect("a name of its own");
    let mut encoder = flate2::write::GzEncoder::new(target, flate2::Compression::fast());
    let bytes = fs::read(plain).expect("it is there");
    for piece in bytes.chunks(bytes.len() / PIECES + 1) {
        encoder.write_all(piece).expect("the disk has room");
        encoder.flush().expect("the disk has room");
        thread::sleep(pause / PIECES as u32);
    }
    encoder.finish().expect("the disk has room");
}

fn ending(plain: &Path) -> PathBuf {
    PathBuf::from(format!("{}.gz", plain.display()))
}

fn open(path: &Path) -> File {
    let opened = OpenOptions::new().append(true).create(true).open(path);
    opened.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Year, month and day, and the seconds of that day, in UTC.
fn date(seconds: u64) -> ((u64, u64, u64), u64) {
    let is_leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let (mut days, mut year) = (seconds / 86_400, 1970);
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let mut month = 1;
    for length in [
        31,
        28 + u64::from(is_leap(year)),
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
        31,
    ] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    ((year, month, days + 1), seconds % 86_400)
}

#[test]
fn dates_of_backups_are_those_of_the_calendar() {
    assert_eq!(date(951_782_400), ((2000, 2, 29), 0));
    assert_eq!(date(1_795_737_661), ((2026, 11, 27), 61));
}
