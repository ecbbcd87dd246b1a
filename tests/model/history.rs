//! One random history: its steps, the agent and the broker, and the account of what arrives.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::thread;
use std::time::{Duration, Instant, UNIX_EPOCH};

use rustix::process::Signal;

use super::Trick;
use super::{DEADLINE, Followed, Manner, Model};
use crate::support::env::{Env, TOPIC, losses};

impl Model {
    pub(super) fn new(seed: u64, trick: Trick) -> Model {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut env = Env::new();
        let count = match (random.usize(1..=2), trick) {
            (_, Trick::Names) => 2,
            (count, _) => count,
        };
        if trick == Trick::Targets {
            env.make_folder("targets");
        }
        let mut paths = Vec::new();
        for id in 0..count {
            let manners = [Manner::Rename, Manner::Rename, Manner::Copy, Manner::Link];
            let manner = trick.manner(manners[random.usize(..4)]);
            let odd_name = match trick {
                Trick::Names => Followed::odd_name(id, &mut random),
                _ => None,
            };
            let path = Followed {
                id,
                manner,
                odd_name,
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
                is_unordered: false,
            };
            if matches!(manner, Manner::Link | Manner::Target) {
                env.open(&path.file());
                env.symlink(&path.file(), &path.path());
            }
            paths.push(path);
        }
        let is_link = |path: &Followed| matches!(path.manner, Manner::Link | Manner::Target);
        // An odd name would have to be escaped.
        if (random.bool() && trick != Trick::Names) || paths.iter().any(is_link) {
            let names: Vec<String> = paths.iter().map(|path| env.path(&path.path())).collect();
            env.set("log:app", "path", &names.join(", "));
        }
        env.set("log:app", "rotate_wait", "100ms")
            .set("agent", "shutdown_timeout", "1s");
        let manners: Vec<Manner> = paths.iter().map(|path| path.manner).collect();
        Model {
            env,
            trick,
            is_hiding: false,
            random,
            paths,
            history: vec![format!("seed {seed}, trick {trick:?}: {manners:?}")],
            step_number: 0,
            is_running: false,
            is_broker_up: true,
            is_fragile: false,
            records_seen: 0,
            started: Instant::now(),
        }
    }

    pub(super) fn note(&mut self, what: impl Into<String>) {
        let at = self.started.elapsed().as_millis();
        let text = format!("{at:>7} ms {:>4}: {}", self.step_number, what.into());
        self.history.push(text);
    }

    pub(super) fn step(&mut self) {
        let at = self.random.usize(..self.paths.len());
        let manner = self.paths[at].manner;
        if self.trick(at) {
            return;
        }
        let choice = self.random.u32(..100);
        match choice {
            0..40 => {
                let count = self.random.usize(1..12);
                self.write(at, count);
            }
            40..46 => self.write_part(at),
            46..52 => self.finish_part(at),
            52..66 => match manner {
                Manner::Rename | Manner::Target => self.rotate(at),
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

    pub(super) fn finish(&mut self) {
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

    // Agent and broker.

    pub(super) fn start(&mut self) {
        if !self.is_running {
            self.note("start");
            self.start_agent();
            self.is_running = true;
        }
    }

    pub(super) fn stop(&mut self) {
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

    pub(super) fn kill(&mut self) {
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

    pub(super) fn before_the_end(&mut self) {
        if self.is_fragile {
            self.settle();
        }
    }

    pub(super) fn may_repeat(&mut self) {
        for path in &mut self.paths {
            for line in path.lines.iter_mut().filter(|line| !line.is_durable) {
                line.allowed += 1;
                // What is truncated away now may have arrived, and the agent does not know.
                path.has_raced = true;
            }
        }
    }

    pub(super) fn broker_down(&mut self) {
        if self.is_broker_up {
            self.note("broker down");
            self.env.broker.down(1);
            self.is_broker_up = false;
        }
    }

    pub(super) fn broker_up(&mut self) {
        if !self.is_broker_up {
            self.note("broker up");
            self.env.broker.up(1);
            self.is_broker_up = true;
        }
    }

    /// Waits until everything has arrived.
    pub(super) fn settle(&mut self) {
        self.broker_up();
        self.show_all();
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
    pub(super) fn settle_with_marker(&mut self) {
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

    /// As `settle_with_marker`, and the checkpoints say so: of what lies at the paths, and of rotated files, which are
    /// read later than that where they could not be read for a while.
    pub(super) fn settle_durably(&mut self) {
        self.settle_with_marker();
        let wanted: Vec<[String; 3]> = self
            .paths
            .iter()
            .map(|path| {
                let metadata = fs::metadata(self.env.path(&path.file())).unwrap();
                // The inode may be that of a file that was removed, and had as many bytes.
                let born = metadata.created().unwrap();
                let born_ns = born.duration_since(UNIX_EPOCH).unwrap().as_nanos();
                let expected = [u128::from(metadata.len()), metadata.ino().into(), born_ns];
                expected.map(|number| number.to_string())
            })
            .collect();
        let end = Instant::now() + DEADLINE;
        loop {
            let positions = self.env.positions();
            let has = |expected: &[String; 3]| {
                positions
                    .iter()
                    .any(|fields| [&fields[0], &fields[5], &fields[6]] == expected.each_ref())
            };
            let is_unread = |fields: &Vec<String>| fields[10] == "open" && fields[0] != fields[1];
            if wanted.iter().all(has) && !positions.iter().any(is_unread) {
                break;
            }
            assert!(
                Instant::now() < end,
                "offsets, inodes and births {wanted:?} are not in the checkpoints"
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

    pub(super) fn missing(&self) -> Vec<&str> {
        let lines = self.paths.iter().flat_map(|path| &path.lines);
        lines
            .filter(|line| line.arrived == 0 && !line.may_be_lost)
            .map(|line| &line.value[..line.value.len().min(40)])
            .collect()
    }

    /// Takes what has arrived and judges it.
    pub(super) fn absorb(&mut self) {
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
                    path.is_unordered || path.latest.is_none_or(|latest| latest < at),
                    "'{short}' has arrived after '{:.40}'",
                    path.lines[path.latest.unwrap_or(0)].value
                );
                path.latest = path.latest.max(Some(at));
            }
        }
        self.records_seen = records.len();
    }

    /// Adds up the bytes that an agent says are lost.
    pub(super) fn count_lost(&mut self, log: &str) {
        for (line, bytes) in losses(log) {
            let names = |path: &Followed| {
                let says = |name: &str| line.contains(&format!("/{name}'"));
                says(&path.path()) || says(&path.name())
            };
            // An odd name may be escaped.
            let place = self.paths.iter().position(names).or_else(|| {
                let begins = |path: &Followed| line.contains(&format!("/p{}", path.id));
                self.paths.iter().position(begins)
            });
            let path = place.map(|place| &mut self.paths[place]);
            path.unwrap_or_else(|| panic!("no path of ours: {line}"))
                .lost_bytes += bytes;
        }
    }
}
