//! What a cell of the matrix is made of, the product of all of it, and the sample.

use std::collections::BTreeSet;
use std::fmt;

/// How logrotate makes place for new lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Create,
    Nocreate,
    Copytruncate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    None,
    Compress,
    Delaycompress,
}

/// How rotated files are called, and where they lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Naming {
    Numbers,
    Dateext,
    Extension,
    Olddir,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rate {
    PerSecond20,
    PerSecond200,
    PerSecond2000,
    /// A line is written and logrotate is run at once, again and again.
    AtOnce,
}

/// Size of the file at the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Size {
    Empty,
    Kb100,
    Mb5,
}

/// What happens between the rotations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    None,
    Term,
    Kill,
    /// Kafka is away.
    Away,
}

/// When the program that logs opens its path again. With copytruncate it never does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reopen {
    /// A moment after `postrotate`, as after a SIGHUP.
    Told,
    /// When another file (or none) is at the path, as Python's WatchedFileHandler.
    Moved,
}

/// What `path` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    File,
    /// `*.log`, which with `extension` matches the rotated names too.
    Glob,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) mode: Mode,
    pub(super) packing: Packing,
    pub(super) naming: Naming,
    pub(super) rate: Rate,
    pub(super) size: Size,
    pub(super) trouble: Trouble,
    pub(super) reopen: Reopen,
    pub(super) wanted: Wanted,
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
    pub(super) fn product() -> Vec<Cell> {
        let count = 3 * 3 * 3 * 4 * 4 * 4;
        (0..count).map(Cell::of_product).collect()
    }

    /// The product without the sizes, each with one size, in turn: 576 cells. Every pair of values is among
    /// them, with the sizes too.
    pub(super) fn all() -> Vec<Cell> {
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
    pub(super) fn sample(count: usize) -> Vec<Cell> {
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
    pub(super) fn has_paths_of_its_own_for_rotated_files(&self) -> bool {
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
    pub(super) fn parse(name: &str) -> Option<Cell> {
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

    pub(super) fn is_heavy(&self) -> bool {
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
