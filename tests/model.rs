//! Random sequences of writes, rotations, truncations, deletions, stops, kills and outages, against an
//! exact account of what has to arrive.
//!
//! Every line carries its path, its number and a checksum. What was written must arrive, in the order of
//! writing, unless it was truncated away or deleted before anybody could read it; a line arrives twice
//! only after a kill, and not if it was in the checkpoints before that.
//!
//! `LOGAGENT_MODEL_STEPS=N` sets the number of steps, `LOGAGENT_MODEL_SEED=S` runs one seed only. A seed
//! that has failed belongs into `model.seeds`, whose seeds run first.

use std::collections::{HashMap, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::env::{Env, TOPIC, losses};

#[test]
fn random_histories_of_files_agent_and_broker_lose_and_repeat_nothing() {
    let number = |name: &str| {
        let text = std::env::var(name).ok()?;
        Some(text.parse::<u64>().expect("a number"))
    };
    let total = number("LOGAGENT_MODEL_STEPS").unwrap_or(STEPS);
    let kept = include_str!("model.seeds").lines().filter_map(|line| {
        let seed = line.split('#').next()?.trim();
        (!seed.is_empty()).then(|| seed.parse().expect("a seed in model.seeds"))
    });
    let seeds: VecDeque<u64> = match number("LOGAGENT_MODEL_SEED") {
        Some(seed) => VecDeque::from([seed]),
        None => {
            let first = number("LOGAGENT_MODEL_FIRST").unwrap_or_else(|| fastrand::u64(..1 << 32));
            let fresh = total.div_ceil(STEPS_PER_SEED);
            kept.chain(first..first + fresh).collect()
        }
    };
    let (count, started) = (seeds.len(), Instant::now());
    let waiting = Mutex::new(seeds);
    let failed = Mutex::new(Vec::new());
    let sums = Mutex::new((0, 0));
    thread::scope(|scope| {
        for _ in 0..SEEDS_AT_A_TIME {
            scope.spawn(|| {
                while let Some(seed) = { waiting.lock().unwrap().pop_front() } {
                    match catch_unwind(AssertUnwindSafe(|| run(seed))) {
                        Ok((steps, lines)) => {
                            let mut sums = sums.lock().unwrap();
                            sums.0 += steps;
                            sums.1 += lines;
                        }
                        Err(_) => failed.lock().unwrap().push(seed),
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

fn run(seed: u64) -> (u64, usize) {
    let mut model = Model::new(seed);
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

/// One record that has to arrive.
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
}

/// One followed path and its writer.
#[derive(Debug)]
struct Followed {
    id: usize,
    manner: Manner,
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
}

#[derive(Debug)]
struct Model {
    env: Env,
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

impl Model {
    fn new(seed: u64) -> Model {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut env = Env::new();
        let count = random.usize(1..=2);
        let mut paths = Vec::new();
        for id in 0..count {
            let manners = [Manner::Rename, Manner::Rename, Manner::Copy, Manner::Link];
            let manner = manners[random.usize(..4)];
            let path = Followed {
                id,
                manner,
                lines: Vec::new(),
                by_value: HashMap::new(),
                latest: None,
                partial: None,
                next_number: 0,
                rotated: Vec::new(),
                target: 0,
                target_is_open: false,
                is_new: false,
                lost_bytes: 0,
                has_raced: false,
            };
            if manner == Manner::Link {
                env.open(&path.file());
                env.symlink(&path.file(), &path.name());
            }
            paths.push(path);
        }
        if random.bool() || paths.iter().any(|path| path.manner == Manner::Link) {
            let names: Vec<String> = paths.iter().map(|path| env.path(&path.name())).collect();
            env.set("log:app", "path", &names.join(", "));
        }
        env.set("log:app", "rotate_wait", "100ms")
            .set("agent", "shutdown_timeout", "1s");
        let manners: Vec<Manner> = paths.iter().map(|path| path.manner).collect();
        Model {
            env,
            random,
            paths,
            history: vec![format!("seed {seed}: {manners:?}")],
            step_number: 0,
            is_running: false,
            is_broker_up: true,
            is_fragile: false,
            records_seen: 0,
            started: Instant::now(),
        }
    }

    fn note(&mut self, what: impl Into<String>) {
        let at = self.started.elapsed().as_millis();
        let text = format!("{at:>7} ms {:>4}: {}", self.step_number, what.into());
        self.history.push(text);
    }

    fn step(&mut self) {
        let at = self.random.usize(..self.paths.len());
        let manner = self.paths[at].manner;
        let choice = self.random.u32(..100);
        match choice {
            0..40 => {
                let count = self.random.usize(1..12);
                self.write(at, count);
            }
            40..46 => self.write_part(at),
            46..52 => self.finish_part(at),
            52..66 => match manner {
                Manner::Rename => self.rotate(at),
                Manner::Copy => self.copytruncate(at),
                Manner::Link => self.turn_link(at),
            },
            66..69 if manner != Manner::Link => self.compress(at),
            69 => self.truncate(at, false),
            70 => self.truncate(at, true),
            71 if manner != Manner::Link => self.delete(at, false),
            72 if manner != Manner::Link => self.delete(at, true),
            73..75 => self.stop(),
            75..78 => self.kill(),
            78..83 => self.start(),
            83..85 => self.broker_down(),
            85..88 => self.broker_up(),
            88..97 => {
                let wait = Duration::from_millis(self.random.u64(1..25));
                self.note(format!("wait {wait:?}"));
                thread::sleep(wait);
            }
            97..99 => self.settle(),
            99 => self.settle_durably(),
            _ => self.write(at, 1),
        }
    }

    fn finish(&mut self) {
        self.settle_durably();
        for at in 0..self.paths.len() {
            self.finish_part(at);
        }
        self.settle();
        self.stop();
        self.absorb();
        for path in &self.paths {
            let missing = path.lines.iter().filter(|line| line.arrived == 0);
            let missing: usize = missing.map(|line| line.bytes).sum();
            // Bytes that come and go between two looks cannot be counted to the byte.
            assert!(
                path.has_raced || path.lost_bytes <= missing as u64,
                "{}: {} bytes are said to be lost, {missing} are missing",
                path.name(),
                path.lost_bytes
            );
        }
        self.env.broker.assert_clean();
    }

    // What a program that logs does.

    fn write(&mut self, at: usize, count: usize) {
        self.finish_part(at);
        let mut text = String::new();
        let first = self.paths[at].next_number;
        for _ in 0..count {
            let line = self.line(at);
            text += &line;
            text.push('\n');
            self.paths[at].expect(line, 1);
        }
        let file = self.paths[at].file();
        self.env.append(&file, &text);
        self.note(format!(
            "write {first}+{count} to {file}, {} bytes",
            text.len()
        ));
    }

    fn write_part(&mut self, at: usize) {
        self.finish_part(at);
        let line = self.line(at);
        let cut = self.random.usize(FRONT..line.len());
        let file = self.paths[at].file();
        self.env.append(&file, &line[..cut]);
        self.note(format!("write {cut} of {} bytes to {file}", line.len()));
        self.paths[at].partial = Some((line, cut));
    }

    fn finish_part(&mut self, at: usize) {
        let file = self.paths[at].file();
        self.finish_part_in(at, &file);
    }

    fn finish_part_in(&mut self, at: usize, file: &str) {
        let Some((line, cut)) = self.paths[at].partial.take() else {
            return;
        };
        self.env.append(file, format!("{}\n", &line[cut..]));
        self.paths[at].expect(line, 1);
        self.note(format!("finish the line in {file}"));
    }

    fn line(&mut self, at: usize) -> String {
        let path = &mut self.paths[at];
        let number = path.next_number;
        path.next_number += 1;
        let length = match self.random.u32(..60) {
            0 => self.random.usize(..40_000),
            1..20 => 10,
            _ => self.random.usize(..200),
        };
        let front = format!("p{} {number:07} {}", path.id, "x".repeat(length));
        format!("{front} {:08x}", crc32c::crc32c(front.as_bytes()))
    }

    /// The part of a line that is written is all there will be: a record of its own.
    fn break_part(&mut self, at: usize) {
        if let Some((line, cut)) = self.paths[at].partial.take() {
            self.paths[at].expect(line[..cut].to_owned(), 0);
        }
    }

    // Rotation.

    /// Makes place at `.1`.
    fn shift(&mut self, at: usize) {
        if self.paths[at].rotated.len() >= MOST_ROTATED {
            self.settle();
            let oldest = self.paths[at].rotated_name(self.paths[at].rotated.len());
            self.env.remove(&oldest);
            self.paths[at].rotated.pop();
            self.note(format!("remove {oldest}"));
        }
        for number in (1..=self.paths[at].rotated.len()).rev() {
            let path = &self.paths[at];
            let from = path.rotated_name(number);
            let ending = if path.rotated[number - 1] { ".gz" } else { "" };
            let to = format!("{}.{}{ending}", path.name(), number + 1);
            self.env.rename(&from, &to);
        }
        self.paths[at].rotated.insert(0, false);
    }

    fn is_there(&self, at: usize) -> bool {
        fs::exists(self.env.path(&self.paths[at].file())).unwrap()
    }

    /// What was rotated away before a path was known is not looked for, and a path whose file was deleted is
    /// not known any more.
    fn make_known(&mut self, at: usize) {
        if self.paths[at].is_new {
            self.settle_with_marker();
        }
    }

    fn rotate(&mut self, at: usize) {
        if !self.is_there(at) {
            return;
        }
        self.make_known(at);
        self.shift(at);
        let name = self.paths[at].name();
        let old = format!("{name}.1");
        self.env.rename(&name, &old);
        let renamed = Instant::now();
        let late = if self.random.u32(..3) == 0 {
            self.random.usize(1..4)
        } else {
            0
        };
        self.note(format!("rename {name}, {late} lines to the old file"));
        let first = self.paths[at].lines.len();
        if late > 0 {
            self.finish_part_in(at, &old);
            for _ in 0..late {
                let line = self.line(at);
                self.env.append(&old, format!("{line}\n"));
                self.paths[at].expect(line, 1);
            }
            if renamed.elapsed() > Duration::from_millis(50) {
                self.note("too late to be sure");
                for line in &mut self.paths[at].lines[first..] {
                    line.may_be_lost = true;
                }
            }
        }
        self.break_part(at);
        if self.random.bool() {
            self.env.open(&name);
        }
    }

    fn copytruncate(&mut self, at: usize) {
        if !self.is_there(at) {
            return;
        }
        self.make_known(at);
        self.shift(at);
        let name = self.paths[at].name();
        self.note(format!("copytruncate {name}"));
        self.env.copytruncate(&name, &format!("{name}.1"));
        self.break_part(at);
    }

    /// Only one file may lie between the one that the agent has opened and the new one.
    fn turn_link(&mut self, at: usize) {
        if !self.paths[at].target_is_open {
            self.settle_durably();
            let count = self.random.usize(..5);
            self.write(at, count);
        }
        self.break_part(at);
        let path = &mut self.paths[at];
        path.target += 1;
        path.target_is_open = false;
        let (file, name) = (path.file(), path.name());
        self.env.open(&file);
        self.env.symlink(&file, "link.new");
        self.env.rename("link.new", &name);
        self.note(format!("turn {name} to {file}"));
    }

    fn compress(&mut self, at: usize) {
        let path = &self.paths[at];
        let plain = path.rotated.iter().position(|is_archive| !is_archive);
        let Some(place) = plain.filter(|_| !self.is_running) else {
            return;
        };
        let name = path.rotated_name(place + 1);
        let modified = fs::metadata(self.env.path(&name)).unwrap().modified();
        self.env.gzip(&name);
        // As gzip does.
        let archive = File::options()
            .write(true)
            .open(self.env.path(&format!("{name}.gz")));
        archive.unwrap().set_modified(modified.unwrap()).unwrap();
        self.paths[at].rotated[place] = true;
        self.note(format!("gzip {name}"));
    }

    // Destruction: of what has arrived, or under the eyes of the agent.

    /// Makes it certain that the agent has the file open, and goes on writing.
    fn race(&mut self, at: usize) -> usize {
        self.settle_with_marker();
        let first = self.paths[at].lines.len();
        let count = self.random.usize(1..20);
        self.write(at, count);
        if self.random.bool() {
            thread::sleep(Duration::from_millis(self.random.u64(..8)));
        }
        self.is_fragile = true;
        first
    }

    fn truncate(&mut self, at: usize, in_a_race: bool) {
        if !self.is_there(at) {
            return;
        }
        if in_a_race {
            let first = self.race(at);
            for line in &mut self.paths[at].lines[first..] {
                line.may_be_lost = true;
            }
        } else {
            self.settle();
        }
        let first = self.paths[at].lines.len();
        self.break_part(at);
        for line in &mut self.paths[at].lines[first..] {
            line.may_be_lost = true;
        }
        let file = self.paths[at].file();
        let size = fs::metadata(self.env.path(&file)).unwrap().len();
        let opened = OpenOptions::new().write(true).open(self.env.path(&file));
        opened.unwrap().set_len(0).unwrap();
        self.paths[at].has_raced |= in_a_race;
        self.note(format!("truncate {file} at {size}, in a race: {in_a_race}"));
        // Shorter, of about the same length, or longer than before.
        let longest = [0, size, 2 * size + 100][self.random.usize(..3)];
        while fs::metadata(self.env.path(&file)).unwrap().len() < longest.min(20_000) {
            self.write(at, 1);
        }
    }

    fn delete(&mut self, at: usize, in_a_race: bool) {
        if !self.is_there(at) {
            return;
        }
        if in_a_race {
            self.race(at);
            if self.random.bool() {
                self.write_part(at);
            }
            self.break_part(at);
        } else {
            self.settle();
            let first = self.paths[at].lines.len();
            self.break_part(at);
            for line in &mut self.paths[at].lines[first..] {
                line.may_be_lost = true;
            }
        }
        let file = self.paths[at].file();
        self.env.remove(&file);
        self.paths[at].is_new = true;
        self.paths[at].has_raced |= in_a_race;
        self.note(format!("delete {file}, in a race: {in_a_race}"));
        if self.random.bool() {
            self.write(at, 1);
        }
    }

    // Agent and broker.

    fn start(&mut self) {
        if !self.is_running {
            self.note("start");
            self.env.start();
            self.is_running = true;
        }
    }

    fn stop(&mut self) {
        if !self.is_running {
            return;
        }
        self.before_the_end();
        self.note("stop");
        let asked = Instant::now();
        self.env.signal(Signal::TERM);
        let ended = self.env.wait_exit(Duration::from_secs(20));
        self.count_lost(&ended.stderr);
        assert_eq!(ended.code, Some(0), "exit code after SIGTERM");
        self.is_running = false;
        if !self.is_broker_up || asked.elapsed() > Duration::from_millis(800) {
            // The time may have run out before an answer came.
            self.may_repeat();
        }
    }

    fn kill(&mut self) {
        if !self.is_running {
            return;
        }
        self.before_the_end();
        self.note("kill");
        self.env.signal(Signal::KILL);
        let ended = self.env.wait_exit(Duration::from_secs(20));
        self.count_lost(&ended.stderr);
        self.is_running = false;
        self.may_repeat();
    }

    fn before_the_end(&mut self) {
        if self.is_fragile {
            self.settle();
        }
    }

    fn may_repeat(&mut self) {
        for path in &mut self.paths {
            for line in path.lines.iter_mut().filter(|line| !line.is_durable) {
                line.allowed += 1;
                // What is truncated away now may have arrived, and the agent does not know.
                path.has_raced = true;
            }
        }
    }

    fn broker_down(&mut self) {
        if self.is_broker_up {
            self.note("broker down");
            self.env.broker.down(1);
            self.is_broker_up = false;
        }
    }

    fn broker_up(&mut self) {
        if !self.is_broker_up {
            self.note("broker up");
            self.env.broker.up(1);
            self.is_broker_up = true;
        }
    }

    /// Waits until everything has arrived.
    fn settle(&mut self) {
        self.broker_up();
        self.start();
        self.note("settle");
        let end = Instant::now() + DEADLINE;
        loop {
            self.absorb();
            let missing = self.missing();
            if missing.is_empty() {
                break;
            }
            assert!(
                Instant::now() < end,
                "{} lines are missing: {:?} ...",
                missing.len(),
                &missing[..missing.len().min(5)]
            );
            assert!(self.env.agent().is_running(), "the agent has ended");
            thread::sleep(Duration::from_millis(3));
        }
        self.is_fragile = false;
        self.note("settled");
    }

    /// As `settle`, with a last line in every file, which the agent must have open to send it.
    fn settle_with_marker(&mut self) {
        self.broker_up();
        self.start();
        for at in 0..self.paths.len() {
            self.write(at, 1);
        }
        self.settle();
        for path in &mut self.paths {
            path.is_new = false;
        }
    }

    /// As `settle_with_marker`, and the checkpoints say so.
    fn settle_durably(&mut self) {
        self.settle_with_marker();
        let wanted: Vec<(u64, u64)> = self
            .paths
            .iter()
            .map(|path| {
                let metadata = fs::metadata(self.env.path(&path.file())).unwrap();
                (metadata.ino(), metadata.len())
            })
            .collect();
        let end = Instant::now() + DEADLINE;
        loop {
            let text = fs::read_to_string(self.env.checkpoints()).unwrap_or_default();
            let has = |&(inode, offset): &(u64, u64)| {
                text.lines().any(|line| {
                    let mut fields = line.split(' ');
                    fields.next() == Some(&offset.to_string())
                        && fields.nth(4) == Some(&inode.to_string())
                })
            };
            if wanted.iter().all(has) {
                break;
            }
            assert!(
                Instant::now() < end,
                "inodes and offsets {wanted:?} are not in the checkpoints"
            );
            thread::sleep(Duration::from_millis(5));
        }
        for path in &mut self.paths {
            path.target_is_open = true;
        }
        for line in self.paths.iter_mut().flat_map(|path| &mut path.lines) {
            line.is_durable = true;
        }
        self.note("the checkpoints are written");
    }

    fn missing(&self) -> Vec<&str> {
        let lines = self.paths.iter().flat_map(|path| &path.lines);
        lines
            .filter(|line| line.arrived == 0 && !line.may_be_lost)
            .map(|line| &line.value[..line.value.len().min(40)])
            .collect()
    }

    /// Takes what has arrived and judges it.
    fn absorb(&mut self) {
        if self.env.broker.count(TOPIC) == self.records_seen {
            return;
        }
        let records = self.env.broker.records(TOPIC);
        for record in &records[self.records_seen..] {
            let value = record.text();
            let short = &value[..value.len().min(40)];
            let id = value
                .as_bytes()
                .get(1)
                .map(|digit| usize::from(digit.wrapping_sub(b'0')));
            let path = id.and_then(|id| self.paths.get_mut(id));
            let path = path.unwrap_or_else(|| panic!("'{short}' was never written"));
            let at = *path
                .by_value
                .get(&value)
                .unwrap_or_else(|| panic!("'{short}' ({} bytes) was never written", value.len()));
            let line = &mut path.lines[at];
            line.arrived += 1;
            assert!(
                line.arrived <= line.allowed,
                "'{short}' has arrived {} times, durable: {}",
                line.arrived,
                line.is_durable
            );
            if line.arrived == 1 {
                assert!(
                    path.latest.is_none_or(|latest| latest < at),
                    "'{short}' has arrived after '{:.40}'",
                    path.lines[path.latest.unwrap_or(0)].value
                );
                path.latest = Some(at);
            }
        }
        self.records_seen = records.len();
    }

    /// Adds up the bytes that an agent says are lost.
    fn count_lost(&mut self, log: &str) {
        for (line, bytes) in losses(log) {
            let path = self
                .paths
                .iter_mut()
                .find(|path| line.contains(&format!("/{}'", path.name())));
            path.unwrap_or_else(|| panic!("no path of ours: {line}"))
                .lost_bytes += bytes;
        }
    }
}

impl Followed {
    /// What is followed.
    fn name(&self) -> String {
        match self.manner {
            Manner::Link => format!("p{}.current", self.id),
            _ => format!("p{}.log", self.id),
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
const SEEDS_AT_A_TIME: usize = 4;
/// Steps that a failing seed prints.
const HISTORY: usize = 60;
/// Rotated files that are kept.
const MOST_ROTATED: usize = 6;
/// Bytes of a line that make it unlike all others.
const FRONT: usize = "p0 0000000 ".len();
const DEADLINE: Duration = Duration::from_secs(20);
