//! One cell: a world of its own, the program that logs, which nothing stops and which waits for nothing, the rotations,
//! and the judgement.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::env::Env;
use crate::support::kafka::RealKafka;
use crate::support::ledger::{self, Verdict};
use crate::support::meanwhile::StopOnDrop;
use crate::support::proxy::Proxy;

use super::{Cell, Mode, Naming, Packing, Rate, Reopen, Size, Trouble, Wanted};

/// The first word of every line.
const TAG: &str = "m";
/// What a cell came to.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) written: usize,
    pub(super) verdict: Option<Verdict>,
    pub(super) is_right: bool,
}

/// Runs a cell. Panics, and so prints its world, if anything is wrong.
pub(super) fn run(
    cell: Cell,
    name: &str,
    seed: u64,
    kafka: &RealKafka,
    way: &Proxy,
    outcome: &mut Outcome,
) {
    let mut scene = Scene::new(cell, seed, kafka, way);
    let mut writer = scene.writer();
    scene.begin(&mut writer);
    if cell.rate == Rate::AtOnce {
        scene.rotate_at_once(&mut writer);
    } else {
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| writer.write_until(&stop, cell.rate));
            let _stop = StopOnDrop(&stop);
            scene.rotate_under_way();
        });
    }
    outcome.written = writer.written();
    let Scene {
        env,
        history,
        topic,
        ..
    } = &mut scene;
    let mut verdict = ledger::settle(env, kafka, topic, TAG, history);
    if cell.has_paths_of_its_own_for_rotated_files() {
        verdict.out_of_order.clear();
    }
    let most = match cell.trouble {
        Trouble::Kill => 1 + scene.kills,
        _ => 1,
    };
    outcome.is_right = verdict.is_right(most);
    outcome.verdict = Some(verdict.clone());
    assert!(
        outcome.is_right,
        "{name}: {}\n{}",
        verdict.describe(),
        scene.history.join("\n")
    );
}

struct Scene<'a> {
    cell: Cell,
    env: Env,
    kafka: &'a RealKafka,
    way: &'a Proxy,
    topic: String,
    random: fastrand::Rng,
    /// Whether the agent is ended, or Kafka away.
    is_down: bool,
    kills: usize,
    rotated_at: Option<Instant>,
    begun: Instant,
    history: Vec<String>,
}

impl<'a> Scene<'a> {
    fn new(cell: Cell, seed: u64, kafka: &'a RealKafka, way: &'a Proxy) -> Scene<'a> {
        let mut random = fastrand::Rng::with_seed(seed);
        way.restore();
        let topic = kafka.fresh_topic("logrotate", 1);
        let mut env = Env::new();
        let path = match cell.wanted {
            Wanted::File => env.path("app.log"),
            Wanted::Glob => env.path("*.log"),
        };
        let rotate_wait = ["300ms", "1500ms"][random.usize(..2)];
        env.set("kafka", "brokers", &way.address())
            .set("kafka", "topic", &topic)
            .set("log:app", "path", &path)
            .set("log:app", "rotate_wait", rotate_wait);
        if cell.naming == Naming::Olddir {
            env.make_folder("old");
            let rotated = env.path("old/*");
            env.set("log:app", "rotated", &rotated);
        }
        let scene = Scene {
            cell,
            env,
            kafka,
            way,
            topic,
            random,
            is_down: false,
            kills: 0,
            rotated_at: None,
            begun: Instant::now(),
            history: Vec::new(),
        };
        fs::write(scene.file("logrotate.conf"), scene.conf()).unwrap();
        scene
    }

    /// A file beside the ini.
    fn file(&self, name: &str) -> PathBuf {
        self.env.config().with_file_name(name)
    }

    fn conf(&self) -> String {
        let mut words = vec!["rotate 100", "missingok"];
        words.push(match self.cell.mode {
            Mode::Create => "create 0644",
            Mode::Nocreate => "nocreate",
            Mode::Copytruncate => "copytruncate",
        });
        words.extend_from_slice(match self.cell.packing {
            Packing::None => &["nocompress"],
            Packing::Compress => &["compress"],
            Packing::Delaycompress => &["compress", "delaycompress"],
        });
        words.extend_from_slice(match self.cell.naming {
            Naming::Numbers => &[],
            Naming::Dateext => &["dateext", "dateformat -%s"],
            Naming::Extension => &["extension .log"],
            Naming::Olddir => &["olddir old"],
        });
        let told = self.file("told").display().to_string();
        format!(
            "\"{}\" {{\n{}\npostrotate\n: >'{told}'\nendscript\n}}\n",
            self.env.path("app.log"),
            words.join("\n")
        )
    }

    fn writer(&mut self) -> Writer {
        let path = PathBuf::from(self.env.path("app.log"));
        let seed = self.random.u64(..);
        let mut writer = Writer::new(&self.cell, TAG, &path, &self.file("told"), seed);
        match self.cell.size {
            Size::Empty => {}
            Size::Kb100 => writer.fill(100 << 10),
            Size::Mb5 => writer.fill(5 << 20),
        }
        writer
    }

    fn note(&mut self, what: &str) {
        let at = self.begun.elapsed().as_millis();
        self.history.push(format!("{at:>6} ms  {what}"));
    }

    fn pause(&mut self, most_ms: u64) {
        thread::sleep(Duration::from_millis(self.random.u64(..most_ms)));
    }

    /// Starts the agent and waits until a line has arrived and the file is in the state: what was rotated away
    /// before a path was ever known is not looked for.
    fn begin(&mut self, writer: &mut Writer) {
        self.env.start();
        writer.write();
        ledger::wait_until_known(&self.env, self.kafka, &self.topic, "app.log");
        self.note("the file is known");
    }

    // Rotations.

    fn rotate_under_way(&mut self) {
        let rotations = self.random.usize(3..=4);
        for down in self.troubled(rotations) {
            self.pause(250);
            self.set_down(down);
            self.pause(250);
            self.rotate();
        }
        self.pause(250);
        self.set_down(false);
        self.pause(400);
    }

    fn rotate_at_once(&mut self, writer: &mut Writer) {
        let rotations = match self.cell.naming {
            Naming::Dateext => 4,
            _ => 8,
        };
        for down in self.troubled(rotations) {
            self.set_down(down);
            // The name of a dated file needs a second of its own, and the line shall be just before.
            self.await_a_name();
            for _ in 0..self.random.usize(1..3) {
                writer.write();
            }
            self.rotate();
            if self.random.bool() {
                self.pause(120);
            }
        }
        self.set_down(false);
        writer.write();
    }

    /// For each rotation, whether the agent (or Kafka) is down: one or two times, one of which is long.
    fn troubled(&mut self, rotations: usize) -> Vec<bool> {
        let mut down = vec![false; rotations];
        if self.cell.trouble != Trouble::None {
            let first = self.random.usize(..rotations - 1);
            down[first] = true;
            down[first + 1] = self.random.bool();
            down[rotations - 1] |= self.random.bool();
        }
        down
    }

    fn set_down(&mut self, down: bool) {
        if self.is_down == down {
            return;
        }
        self.is_down = down;
        self.note(match (self.cell.trouble, down) {
            (Trouble::Away, true) => "Kafka goes away",
            (Trouble::Away, false) => "Kafka is back",
            (_, true) => "the agent ends",
            (_, false) => "the agent starts",
        });
        match (self.cell.trouble, down) {
            (Trouble::None, _) => unreachable!("nothing goes down"),
            (Trouble::Away, true) => self.way.cut(),
            (Trouble::Away, false) => self.way.restore(),
            (Trouble::Term, true) => drop(self.env.stop()),
            (Trouble::Kill, true) => {
                self.kills += 1;
                self.env.kill();
            }
            (Trouble::Term | Trouble::Kill, false) => self.env.start(),
        }
        self.note("done");
    }

    fn await_a_name(&mut self) {
        const SECOND: Duration = Duration::from_millis(1020);
        if self.cell.naming == Naming::Dateext
            && let Some(at) = self.rotated_at
        {
            thread::sleep(SECOND.saturating_sub(at.elapsed()));
        }
    }

    fn rotate(&mut self) {
        self.await_a_name();
        let output = logrotate()
            .expect("it was found before")
            .arg("-f")
            .arg("-s")
            .arg(self.file("logrotate.state"))
            .arg(self.file("logrotate.conf"))
            .current_dir(self.env.log_dir())
            .output()
            .expect("logrotate runs");
        // Its name may be of any time until now.
        self.rotated_at = Some(Instant::now());
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        self.note(&format!("rotated {said}"));
        // It calls it an error that it moves a file out of the way (to NAME.backup), which the program has made
        // between the renaming and the creating.
        assert!(
            output.status.success() || said.contains(".backup"),
            "logrotate: {said}"
        );
    }
}

/// logrotate, where it is installed.
pub(super) fn logrotate() -> Option<Command> {
    let places = [
        "/usr/sbin/logrotate",
        "/sbin/logrotate",
        "/usr/bin/logrotate",
    ];
    let place = places
        .iter()
        .find(|place| fs::exists(place).unwrap_or(false))?;
    Some(Command::new(place))
}

/// Writes numbered lines, one write each, and opens its path again as its [`Reopen`] says.
#[derive(Debug)]
struct Writer {
    tag: String,
    path: PathBuf,
    /// `postrotate` makes this file, in place of a SIGHUP.
    told: PathBuf,
    /// When it shall obey.
    obeys_at: Option<Instant>,
    reopen: Option<Reopen>,
    file: File,
    number: usize,
    random: fastrand::Rng,
}

impl Writer {
    fn new(cell: &Cell, tag: &str, path: &Path, told: &Path, seed: u64) -> Writer {
        Writer {
            tag: tag.to_owned(),
            path: path.to_owned(),
            told: told.to_owned(),
            obeys_at: None,
            reopen: (cell.mode != Mode::Copytruncate).then_some(cell.reopen),
            file: open(path),
            number: 0,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// Writes lines of about 400 bytes until the file has this size.
    fn fill(&mut self, size: usize) {
        let mut bytes = Vec::new();
        while bytes.len() < size {
            let filling = self.random.usize(300..500);
            bytes.extend(self.line(filling));
        }
        self.file.write_all(&bytes).expect("the disk has room");
    }

    /// Writes one line.
    fn write(&mut self) {
        let opens_again = match self.reopen {
            Some(Reopen::Told) => self.has_to_obey(),
            Some(Reopen::Moved) => self.is_moved(),
            None => false,
        };
        if opens_again {
            self.file = open(&self.path);
        }
        let filling = self.random.usize(..200);
        let line = self.line(filling);
        self.file.write_all(&line).expect("the disk has room");
    }

    /// Writes until told to stop; a pause is between half and one and a half of what the rate says.
    fn write_until(&mut self, stop: &AtomicBool, rate: Rate) {
        let pause_us = match rate {
            Rate::PerSecond20 => 50_000,
            Rate::PerSecond200 => 5_000,
            Rate::PerSecond2000 => 500,
            Rate::AtOnce => unreachable!("whoever runs logrotate writes these lines"),
        };
        while !stop.load(Ordering::Relaxed) {
            self.write();
            let pause = self.random.u64(pause_us / 2..pause_us * 3 / 2);
            thread::sleep(Duration::from_micros(pause));
        }
    }

    fn written(&self) -> usize {
        self.number
    }

    fn line(&mut self, filling: usize) -> Vec<u8> {
        let line = ledger::line(&self.tag, self.number, filling) + "\n";
        self.number += 1;
        line.into_bytes()
    }

    fn has_to_obey(&mut self) -> bool {
        if self.obeys_at.is_none() && self.told.exists() {
            let moment = Duration::from_millis(self.random.u64(..40));
            self.obeys_at = Some(Instant::now() + moment);
        }
        let is_time = self.obeys_at.is_some_and(|at| at <= Instant::now());
        if is_time {
            self.obeys_at = None;
            // Before the path is opened: who is told again meanwhile obeys again.
            let _ = fs::remove_file(&self.told);
        }
        is_time
    }

    fn is_moved(&self) -> bool {
        let own = self.file.metadata().expect("it is open");
        fs::metadata(&self.path).map_or(true, |there| {
            (there.dev(), there.ino()) != (own.dev(), own.ino())
        })
    }
}

fn open(path: &Path) -> File {
    let opened = OpenOptions::new().append(true).create(true).open(path);
    opened.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
