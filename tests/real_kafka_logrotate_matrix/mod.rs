//! Real logrotate against a real Kafka: the product of what logrotate can be told, how busy the file is, how large
//! it is, and what happens to agent and broker between the rotations; nobody ever stops the writer.
//!
//! The oracle is what lies on the disk in the end: every line of it has arrived, in order; none twice but after
//! SIGKILL. What only the agent saw (written between logrotate's copy and its truncation, or into a file that was
//! being packed) may have arrived though it is on no disk.
//!
//! ```text
//! cell.rs    the values, the product, the sample
//! writer.rs  the program that logs
//! run.rs     one cell: its world, the rotations, the judgement
//! ```
//!
//! `LOGAGENT_MATRIX=all` runs 576 cells, `product` all 1,728, `glob` those of the 576 whose rotated files `path` matches
//! too; without it a sample of 40 runs.
//! `LOGAGENT_MATRIX_CELL=NAME` and `LOGAGENT_MATRIX_SEED=S` run one cell as a failing one has run,
//! `LOGAGENT_MATRIX_JOBS=N` so many at a time. `scripts/chaos.sh matrix` runs it alone.

mod cell;
mod run;
mod writer;

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use self::cell::Cell;
use self::run::{Outcome, logrotate};
use crate::support::proxied::Proxied;

/// Cells that run at the same time: they mostly wait.
const JOBS: usize = 10;
/// Of these, how many may be busy ones.
const HEAVY_JOBS: usize = 3;
const SAMPLE: usize = 40;
/// The seed where none is given and the same shall happen each time.
const SEED: u64 = 9;

#[test]
fn every_line_arrives_once_whatever_logrotate_does() {
    if logrotate().is_none() {
        eprintln!(
            "THE MATRIX DID NOT RUN: there is no logrotate here (Debian: apt-get install logrotate)"
        );
        assert!(std::env::var_os("CI").is_none(), "CI needs logrotate");
        return;
    }
    let number = |name: &str| {
        let text = std::env::var(name).ok()?;
        Some(text.parse::<u64>().expect("a number"))
    };
    let which = std::env::var("LOGAGENT_MATRIX").unwrap_or_default();
    let one = std::env::var("LOGAGENT_MATRIX_CELL").ok();
    let (cells, seed) = match (&one, which.as_str()) {
        (Some(name), _) => (vec![Cell::parse(name).expect("the name of a cell")], SEED),
        (None, "") => (Cell::sample(SAMPLE), SEED),
        (None, "all") => (Cell::all(), fastrand::u64(..1 << 32)),
        (None, "product") => (Cell::product(), fastrand::u64(..1 << 32)),
        (None, "glob") => {
            let mut cells = Cell::all();
            cells.retain(Cell::has_paths_of_its_own_for_rotated_files);
            (cells, fastrand::u64(..1 << 32))
        }
        (None, other) => panic!("LOGAGENT_MATRIX is all, product or glob, not '{other}'"),
    };
    let seed = number("LOGAGENT_MATRIX_SEED").unwrap_or(seed);
    let jobs = number("LOGAGENT_MATRIX_JOBS").map_or(JOBS, |jobs| jobs.max(1) as usize);
    let started = Instant::now();
    let outcomes = run_all(cells, seed, jobs);
    report(&outcomes, seed, started);
}

/// The outcomes by the cells' names.
type Outcomes = BTreeMap<String, Outcome>;

fn run_all(mut cells: Vec<Cell>, seed: u64, jobs: usize) -> Outcomes {
    let jobs = jobs.min(cells.len());
    let proxied = Proxied::start("logrotate", jobs);
    // Not one kind after the other.
    fastrand::Rng::with_seed(seed).shuffle(&mut cells);
    let (heavy, light): (VecDeque<Cell>, VecDeque<Cell>) =
        cells.into_iter().partition(Cell::is_heavy);
    let (heavy, light) = (Mutex::new(heavy), Mutex::new(light));
    let outcomes = Mutex::new(Outcomes::new());
    thread::scope(|scope| {
        for job in 0..jobs {
            let (heavy, light, outcomes, proxied) = (&heavy, &light, &outcomes, &proxied);
            scope.spawn(move || {
                let next = || {
                    let busy = (job < HEAVY_JOBS).then(|| heavy.lock().unwrap().pop_front());
                    busy.flatten().or_else(|| light.lock().unwrap().pop_front())
                };
                while let Some(cell) = next() {
                    let outcome = run_one(cell, seed, job, proxied);
                    outcomes.lock().unwrap().insert(cell.to_string(), outcome);
                }
            });
        }
    });
    outcomes.into_inner().unwrap()
}

fn run_one(cell: Cell, seed: u64, job: usize, proxied: &Proxied) -> Outcome {
    let name = cell.to_string();
    // Its own, whichever others run.
    let own = seed ^ u64::from(crc32c::crc32c(name.as_bytes()));
    let mut outcome = Outcome::default();
    let way = proxied.way(job);
    let run = AssertUnwindSafe(|| run::run(cell, &name, own, &proxied.kafka, way, &mut outcome));
    if catch_unwind(run).is_err() {
        eprintln!(
            "again: LOGAGENT_MATRIX_CELL={name} LOGAGENT_MATRIX_SEED={seed} scripts/chaos.sh matrix"
        );
    }
    outcome
}

/// Prints the sums and what is wrong, and fails if anything is.
fn report(outcomes: &Outcomes, seed: u64, started: Instant) {
    let mut wrong = Vec::new();
    let (mut lines, mut missing, mut twice, mut repeated, mut unordered) = (0, 0, 0, 0, 0);
    for (name, outcome) in outcomes {
        let verdict = outcome.verdict.clone().unwrap_or_default();
        lines += verdict.on_disk + verdict.only_read;
        missing += verdict.missing.len();
        unordered += verdict.out_of_order.len();
        match name.contains("-kill-") {
            true => repeated += verdict.twice.len(),
            false => twice += verdict.twice.len(),
        }
        if !outcome.is_right {
            wrong.push(match &outcome.verdict {
                Some(_) => format!(
                    "wrong | {name} | missing {} | twice {} | out of order {} | foreign {}",
                    verdict.missing.len(),
                    verdict.twice.len(),
                    verdict.out_of_order.len(),
                    verdict.foreign.len()
                ),
                None => format!("wrong | {name} | it did not come to an end"),
            });
        }
    }
    println!(
        "\nmatrix | {} cells | {} wrong | {lines} lines | {missing} missing | {twice} twice outside of SIGKILL | \
         {repeated} repeated after it | {unordered} out of order | {:.0} s | seed {seed}",
        outcomes.len(),
        wrong.len(),
        started.elapsed().as_secs_f64()
    );
    assert!(wrong.is_empty(), "cells that failed:\n{}", wrong.join("\n"));
}
