//! Random sequences of writes, rotations, truncations, deletions, stops, kills and outages, against an
//! exact account of what has to arrive.
//!
//! Every line carries its path, its number and a checksum. What was written must arrive, in the order of
//! writing, unless it was truncated away or deleted before anybody could read it; a line arrives twice
//! only after a kill, and not if it was in the checkpoints before that.
//!
//! Each seed has a trick (tricks.rs), those that do not hold yet only with `LOGAGENT_MODEL_TRICKS=1`.
//! The seeds are those of `model.seeds` and then the same ones each time; `LOGAGENT_MODEL_FRESH=1` draws others.
//! `LOGAGENT_MODEL_STEPS=N` sets the number of steps, `LOGAGENT_MODEL_SEED=S` runs one seed only and
//! `LOGAGENT_MODEL_TRICK=NAME` all of them with that trick (tricks.rs). A seed that has failed belongs into
//! `model.seeds`, with its trick if it has one.
//!
//! ```text
//! history.rs  a history: its steps, agent and broker, and the account
//! files.rs    what is done to files
//! tricks.rs   what makes a history harder: copies under a running writer, odd names, times set back ...
//! ```

mod files;
mod history;
mod tricks;

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use self::tricks::Trick;
use crate::support::env::Env;

#[test]
fn random_histories_of_files_agent_and_broker_lose_and_repeat_nothing() {
    let number = |name: &str| {
        let text = std::env::var(name).ok()?;
        Some(text.parse::<u64>().expect("a number"))
    };
    let total = number("LOGAGENT_MODEL_STEPS").unwrap_or(STEPS);
    let trick = std::env::var("LOGAGENT_MODEL_TRICK").ok();
    let trick = trick.map(|name| Trick::parse(&name));
    let kept: Vec<(u64, Trick)> = include_str!("model.seeds")
        .lines()
        .filter_map(|line| {
            let mut words = line.split('#').next()?.split_ascii_whitespace();
            let seed = words.next()?.parse().expect("a seed in model.seeds");
            let kept = words.next().map_or(Trick::None, Trick::parse);
            Some((seed, trick.unwrap_or(kept)))
        })
        .collect();
    let has_all_tricks = std::env::var_os("LOGAGENT_MODEL_TRICKS").is_some();
    let of_seed = |seed| Some(Trick::of(seed)).filter(|trick| has_all_tricks || trick.holds());
    let of_seed = |seed| of_seed(seed).unwrap_or(Trick::None);
    let of = |seed| (seed, trick.unwrap_or_else(|| of_seed(seed)));
    let seeds: VecDeque<(u64, Trick)> = match number("LOGAGENT_MODEL_SEED") {
        Some(seed) => {
            let kept = kept.iter().copied().find(|kept| kept.0 == seed);
            VecDeque::from([kept.unwrap_or_else(|| of(seed))])
        }
        None => {
            let first = match number("LOGAGENT_MODEL_FRESH") {
                Some(_) => fastrand::u64(..1 << 32),
                None => number("LOGAGENT_MODEL_FIRST").unwrap_or(FIRST_SEED),
            };
            let fresh = total.div_ceil(STEPS_PER_SEED);
            let fresh = (first..first + fresh).map(of);
            kept.into_iter().chain(fresh).collect()
        }
    };
    let (count, started) = (seeds.len(), Instant::now());
    let waiting = Mutex::new(seeds);
    let failed = Mutex::new(Vec::new());
    let sums = Mutex::new((0, 0));
    thread::scope(|scope| {
        for _ in 0..SEEDS_AT_A_TIME {
            scope.spawn(|| {
                while let Some((seed, trick)) = { waiting.lock().unwrap().pop_front() } {
                    match catch_unwind(AssertUnwindSafe(|| run(seed, trick))) {
                        Ok((steps, lines)) => {
                            let mut sums = sums.lock().unwrap();
                            sums.0 += steps;
                            sums.1 += lines;
                        }
                        Err(_) => failed.lock().unwrap().push((seed, trick)),
                    }
                }
            });
        }
    });
    let (steps, lines) = *sums.lock().unwrap();
    println!(
        "{steps} steps, {lines} lines, {count} seeds in {:?}",
        started.elapsed()
    );
    let failed = failed.into_inner().unwrap();
    assert!(
        failed.is_empty(),
        "seeds that failed (for tests/model.seeds; again with LOGAGENT_MODEL_SEED=...): {failed:?}"
    );
}

fn run(seed: u64, trick: Trick) -> (u64, usize) {
    let mut model = Model::new(seed, trick);
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        // What was rotated away before a path was ever known is not looked for.
        model.settle_durably();
        for step in 0..STEPS_PER_SEED {
            model.step_number = step;
            model.step();
        }
        model.finish();
    }));
    if let Err(panic) = outcome {
        let from = model.history.len().saturating_sub(HISTORY);
        eprintln!(
            "---- seed {seed} failed; its last steps:\n{}",
            model.history[from..].join("\n")
        );
        // As the world of a failing test does, but this panic was caught.
        let _world = model;
        std::panic::resume_unwind(panic);
    }
    let lines = model.paths.iter().map(|path| path.lines.len()).sum();
    (STEPS_PER_SEED, lines)
}

#[derive(Debug)]
struct Line {
    value: String,
    /// Bytes it takes in the file.
    bytes: usize,
    /// It went away before it was certainly read.
    may_be_lost: bool,
    /// The checkpoints are past it.
    is_durable: bool,
    /// How often it may arrive.
    allowed: usize,
    arrived: usize,
}

/// How a path is rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Rename,
    Copy,
    /// The path is a link that is turned to another file.
    Link,
    /// The path is a link to a file in another folder, which is renamed there.
    Target,
}

/// One followed path and its writer.
#[derive(Debug)]
struct Followed {
    id: usize,
    manner: Manner,
    odd_name: Option<&'static str>,
    lines: Vec<Line>,
    by_value: HashMap<String, usize>,
    /// The highest line that has arrived.
    latest: Option<usize>,
    /// A line that is written in part: all of it, and how much is written.
    partial: Option<(String, usize)>,
    next_number: usize,
    /// Rotated files, youngest first: whether it is an archive.
    rotated: Vec<bool>,
    /// For links: number of the file it leads to, and whether the checkpoints know that.
    target: usize,
    target_is_open: bool,
    /// Deleted, and the agent may not have seen what came after it.
    is_new: bool,
    lost_bytes: u64,
    /// Content was removed while the agent may not have seen all of it, or may have sent more than it knows.
    has_raced: bool,
    /// Some of it could not be read for a while.
    is_unordered: bool,
}

#[derive(Debug)]
struct Model {
    env: Env,
    trick: Trick,
    /// Some file may be readable by nobody.
    is_hiding: bool,
    random: fastrand::Rng,
    paths: Vec<Followed>,
    history: Vec<String>,
    step_number: u64,
    is_running: bool,
    is_broker_up: bool,
    /// What is unread would be lost if the agent ended now.
    is_fragile: bool,
    records_seen: usize,
    started: Instant,
}

impl Followed {
    /// What the ini names.
    fn path(&self) -> String {
        match self.manner {
            Manner::Target => format!("p{}.current", self.id),
            _ => self.name(),
        }
    }

    /// What is rotated.
    fn name(&self) -> String {
        match (self.manner, self.odd_name) {
            (_, Some(odd)) => odd.to_owned(),
            (Manner::Link, None) => format!("p{}.current", self.id),
            (Manner::Target, None) => format!("targets/p{}.log", self.id),
            (_, None) => format!("p{}.log", self.id),
        }
    }

    /// What is written to.
    fn file(&self) -> String {
        match self.manner {
            Manner::Link => format!("p{}-{:05}.txt", self.id, self.target),
            _ => self.name(),
        }
    }

    fn rotated_name(&self, number: usize) -> String {
        let ending = if self.rotated[number - 1] { ".gz" } else { "" };
        format!("{}.{number}{ending}", self.name())
    }

    fn expect(&mut self, value: String, newline: usize) {
        let bytes = value.len() + newline;
        self.by_value.insert(value.clone(), self.lines.len());
        self.lines.push(Line {
            value,
            bytes,
            may_be_lost: false,
            is_durable: false,
            allowed: 1,
            arrived: 0,
        });
    }
}

/// Steps of a run of the test, and of one seed.
const STEPS: u64 = 10_000;
const STEPS_PER_SEED: u64 = 400;
/// The first of the seeds that are the same each time.
const FIRST_SEED: u64 = 1;
const SEEDS_AT_A_TIME: usize = 4;
/// Steps that a failing seed prints.
const HISTORY: usize = 60;
/// Rotated files that are kept.
const MOST_ROTATED: usize = 6;
/// Bytes of a line that make it unlike all others.
const FRONT: usize = "p0 0000000 ".len();
const DEADLINE: Duration = Duration::from_secs(20);
