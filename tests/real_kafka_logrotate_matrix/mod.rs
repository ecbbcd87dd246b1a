//! Real logrotate against a real Kafka: the product of what logrotate can be told, how busy the file is, how large
//! it is, and what happens to agent and broker between the rotations; nobody ever stops the writer.
//!
//! The oracle is what lies on the disk in the end: every line of it has arrived, in order; none twice but after
//! SIGKILL. What only the agent saw (written between logrotate's copy and its truncation, or into a file that was
//! being packed) may have arrived though it is on no disk.
//!
//! ```text
//! mod.rs  the values, the product, the sample
//! run.rs  one cell: its world, the program that logs, the rotations, the judgement
//! ```
//!
//! `LOGAGENT_MATRIX=all` runs 576 cells, `product` all 1,728, `glob` those of the 576 whose rotated files `path` matches
//! too; without it a sample of 40 runs.
//! `LOGAGENT_MATRIX_CELL=NAME` and `LOGAGENT_MATRIX_SEED=S` run one cell as a failing one has run,
//! `LOGAGENT_MATRIX_JOBS=N` so many at a time. `scripts/chaos.sh matrix` runs it alone.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::time::Instant;
use std::{fmt, thread};

use crate::support::proxy::Proxied;

use self::run::{Outcome, logrotate};

mod run;

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

/// How logrotate makes place for new lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Create,
    Nocreate,
    Copytruncate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Packing {
    None,
    Compress,
    Delaycompress,
}

/// How rotated files are called, and where they lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Naming {
    Numbers,
    Dateext,
    Extension,
    Olddir,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rate {
    PerSecond20,
    PerSecond200,
    PerSecond2000,
    /// A line is written and logrotate is run at once, again and again.
    AtOnce,
}

/// Size of the file at the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Size {
    Empty,
    Kb100,
    Mb5,
}

/// What happens between the rotations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    None,
    Term,
    Kill,
    /// Kafka is away.
    Away,
}

/// When the program that logs opens its path again. With copytruncate it never does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reopen {
    /// A moment after `postrotate`, as after a SIGHUP.
    Told,
    /// When another file (or none) is at the path, as Python's WatchedFileHandler.
    Moved,
}

/// What `path` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    File,
    /// `*.log`, which with `extension` matches the rotated names too.
    Glob,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cell {
    mode: Mode,
    packing: Packing,
    naming: Naming,
    rate: Rate,
    size: Size,
    trouble: Trouble,
    reopen: Reopen,
    wanted: Wanted,
}

const MODES: [(Mode, &str); 3] = [
    (Mode::Create, "create"),
    (Mode::Nocreate, "nocreate"),
    (Mode::Copytruncate, "copytruncate"),
];
const PACKINGS: [(Packing, &str); 3] = [
    (Packing::None, "plain"),
    (Packing::Compress, "compress"),
    (Packing::Delaycompress, "delaycompress"),
];
const NAMINGS: [(Naming, &str); 4] = [
    (Naming::Numbers, "numbers"),
    (Naming::Dateext, "dateext"),
    (Naming::Extension, "extension"),
    (Naming::Olddir, "olddir"),
];
const RATES: [(Rate, &str); 4] = [
    (Rate::PerSecond20, "20"),
    (Rate::PerSecond200, "200"),
    (Rate::PerSecond2000, "2000"),
    (Rate::AtOnce, "atonce"),
];
const SIZES: [(Size, &str); 3] = [(Size::Empty, "0"), (Size::Kb100, "100k"), (Size::Mb5, "5m")];
const TROUBLES: [(Trouble, &str); 4] = [
    (Trouble::None, "up"),
    (Trouble::Term, "term"),
    (Trouble::Kill, "kill"),
    (Trouble::Away, "away"),
];
const REOPENS: [(Reopen, &str); 2] = [(Reopen::Told, "told"), (Reopen::Moved, "moved")];
const WANTEDS: [(Wanted, &str); 2] = [(Wanted::File, "file"), (Wanted::Glob, "glob")];

impl Cell {
    /// Cell `number` of the product of everything, the size the fastest.
    fn of_product(number: usize) -> Cell {
        let mut rest = number;
        let mut digit = |base: usize| {
            let digit = rest % base;
            rest /= base;
            digit
        };
        let (size, mode, packing) = (digit(3), digit(3), digit(3));
        let (naming, rate, trouble) = (digit(4), digit(4), digit(4));
        Cell {
            mode: MODES[mode].0,
            packing: PACKINGS[packing].0,
            naming: NAMINGS[naming].0,
            rate: RATES[rate].0,
            size: SIZES[size].0,
            trouble: TROUBLES[trouble].0,
            // As different as they can be from the others.
            reopen: REOPENS[(packing + naming + rate + size) % 2].0,
            wanted: WANTEDS[(mode + rate / 2 + trouble + naming) % 2].0,
        }
    }

    /// The whole product: 1,728 cells.
    fn product() -> Vec<Cell> {
        let count = 3 * 3 * 3 * 4 * 4 * 4;
        (0..count).map(Cell::of_product).collect()
    }

    /// The product without the sizes, each with one size, in turn: 576 cells. Every pair of values is among
    /// them, with the sizes too.
    fn all() -> Vec<Cell> {
        let cells = Cell::product();
        let of_turn = cells
            .chunks(SIZES.len())
            .enumerate()
            .map(|(number, sizes)| {
                // The digits' sum, so that no other value goes with one size alone.
                let digits = [1, 3, 9, 36, 144].map(|place| number / place);
                let sum =
                    digits[0] % 3 + digits[1] % 3 + digits[2] % 4 + digits[3] % 4 + digits[4] % 4;
                sizes[sum % SIZES.len()]
            });
        of_turn.collect()
    }

    /// `count` of [`Cell::all`], always the same, each of which adds the most pairs of values to those before.
    fn sample(count: usize) -> Vec<Cell> {
        let all = Cell::all();
        let mut covered = BTreeSet::new();
        let mut chosen: Vec<Cell> = Vec::new();
        let mut random = fastrand::Rng::with_seed(1);
        while chosen.len() < count {
            let from = random.usize(..all.len());
            let rest = all[from..].iter().chain(&all[..from]);
            let rest = rest.filter(|cell| !chosen.contains(cell));
            let gain = |cell: &&Cell| {
                let pairs = cell.pairs();
                pairs.iter().filter(|pair| !covered.contains(*pair)).count()
            };
            let best = rest.max_by_key(gain).expect("there are more");
            covered.extend(best.pairs());
            chosen.push(*best);
        }
        chosen
    }

    /// Whether the names that rotation gives are matched by `path` too, so that each rotated file is a path of its
    /// own: then order holds within each of them only.
    fn has_paths_of_its_own_for_rotated_files(&self) -> bool {
        self.naming == Naming::Extension && self.wanted == Wanted::Glob
    }

    fn pairs(&self) -> BTreeSet<(String, String)> {
        let name = self.to_string();
        let values: Vec<String> = name
            .split('-')
            .enumerate()
            .map(|(at, value)| format!("{at} {value}"))
            .collect();
        let mut pairs = BTreeSet::new();
        for (at, one) in values.iter().enumerate() {
            for other in &values[at + 1..] {
                pairs.insert((one.clone(), other.clone()));
            }
        }
        pairs
    }

    /// The cell of a name that a failing one has printed.
    fn parse(name: &str) -> Option<Cell> {
        let mut words = name.split('-');
        let cell = Cell {
            mode: pick(&MODES, words.next()?)?,
            packing: pick(&PACKINGS, words.next()?)?,
            naming: pick(&NAMINGS, words.next()?)?,
            rate: pick(&RATES, words.next()?)?,
            size: pick(&SIZES, words.next()?)?,
            trouble: pick(&TROUBLES, words.next()?)?,
            reopen: pick(&REOPENS, words.next()?)?,
            wanted: pick(&WANTEDS, words.next()?)?,
        };
        words.next().is_none().then_some(cell)
    }

    fn is_heavy(&self) -> bool {
        self.rate == Rate::PerSecond2000
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}-{}-{}-{}-{}-{}-{}-{}",
            name(&MODES, self.mode),
            name(&PACKINGS, self.packing),
            name(&NAMINGS, self.naming),
            name(&RATES, self.rate),
            name(&SIZES, self.size),
            name(&TROUBLES, self.trouble),
            name(&REOPENS, self.reopen),
            name(&WANTEDS, self.wanted),
        )
    }
}

fn pick<T: Copy>(table: &[(T, &str)], wanted: &str) -> Option<T> {
    let mut rows = table.iter();
    rows.find(|(_, name)| *name == wanted)
        .map(|(value, _)| *value)
}

fn name<T: PartialEq>(table: &[(T, &'static str)], wanted: T) -> &'static str {
    let mut rows = table.iter();
    let row = rows.find(|(value, _)| *value == wanted);
    row.map(|(_, name)| *name).expect("all are in the table")
}

#[test]
fn the_sample_and_the_full_run_have_every_pair_of_values() {
    let pairs = |cells: &[Cell]| {
        let pairs: BTreeSet<_> = cells.iter().flat_map(Cell::pairs).collect();
        pairs.len()
    };
    let (product, all, sample) = (Cell::product(), Cell::all(), Cell::sample(40));
    assert_eq!((product.len(), all.len(), sample.len()), (1728, 576, 40));
    let of_all = pairs(&product);
    assert_eq!(pairs(&all), of_all);
    let of_sample = pairs(&sample);
    assert!(
        of_sample * 100 >= of_all * 98,
        "{of_sample} of {of_all} pairs"
    );
    for cell in product {
        assert_eq!(Cell::parse(&cell.to_string()), Some(cell));
    }
}
