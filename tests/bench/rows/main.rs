//! Measures the agent against what one thread of the same machine can do, and against other programs.
//!
//! `scripts/bench.sh` builds and runs this. Each row runs the agent and what it is compared with in turn,
//! so that both meet the same machine, and prints medians and their ratio. Nothing here is a test: a busy
//! machine makes a row slower and no build fail.

#![allow(
    clippy::unwrap_used,
    reason = "a benchmark that cannot go on has nothing better to do than to say where"
)]

mod fleet;
mod limit;
mod logs;
mod measure;
mod peers;
mod real_kafka;
mod records;
mod rows;
mod sink;
mod trickle;

use std::error::Error;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{IsTerminal, Read};
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;

use peers::Peers;
use rows::{BY_NAME_ONLY, ROWS};
use sink::Sink;

type Outcome<T> = Result<T, Box<dyn Error>>;

const USAGE: &str = "\
usage: rows --agent FILE --work FOLDER [--runs N] [--small] [ROW...]

  --agent FILE    the program to measure
  --work FOLDER   where logs are made (up to 28 GiB) and kept for the next run
  --runs N        medians of so many runs (default 5)
  --small         a sixteenth of the data or half of the time, to see that everything works
  ROW             only these; without any, all of them but the last two

The rows trickle-FILES compare what a host costs that has so many files with a few lines a second each.
With KAFKA=HOST:PORT the row 'kafka' runs against that broker, and with KAFKA_FLEET=HOST:PORT,... and
KAFKA_FLEET_PIDS, the process ids, the row 'fleet' against those, as root. KCAT, RSYSLOGD and
RSYSLOG_MODULES name kcat, rsyslogd and the folder of its modules where they are not in their places.
rows: ";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Outcome<()> {
    use lexopt::prelude::*;
    let (mut agent, mut work, mut runs, mut scale) = (None, None, 5, 1);
    let mut wanted: Vec<String> = Vec::new();
    let mut parser = lexopt::Parser::from_env();
    let names = ROWS.map(|(name, _)| name).join(" ");
    while let Some(argument) = parser.next()? {
        match argument {
            Long("agent") => agent = Some(PathBuf::from(parser.value()?)),
            Long("work") => work = Some(PathBuf::from(parser.value()?)),
            Long("runs") => runs = parser.value()?.parse::<usize>()?.clamp(1, 99),
            Long("small") => scale = 16,
            Value(row) => wanted.push(row.string()?),
            Long("help") => {
                println!("{USAGE}{names}");
                return Ok(());
            }
            other => return Err(other.unexpected().into()),
        }
    }
    if let Some(unknown) = wanted
        .iter()
        .find(|row| ROWS.iter().all(|(name, _)| name != row))
    {
        return Err(format!("unknown row '{unknown}'\nrows: {names}").into());
    }
    let (Some(agent), Some(work)) = (agent, work) else {
        return Err(format!("{USAGE}{names}").into());
    };
    fs::create_dir_all(&work)?;
    let mut bench = Bench {
        sink: Sink::start(1)?,
        peers: Peers::find(),
        agent: agent.canonicalize()?,
        work: work.canonicalize()?,
        runs,
        scale,
        table: Vec::new(),
        shows_progress: std::io::stderr().is_terminal(),
    };
    for (name, row) in ROWS {
        let is_wanted = match wanted.is_empty() {
            true => !BY_NAME_ONLY.contains(&name),
            false => wanted.iter().any(|wanted| wanted == name),
        };
        if is_wanted && let Err(error) = row(&mut bench) {
            bench.note(name, format!("not measured: {error}"));
        }
    }
    bench.progress("");
    if !bench.table.is_empty() {
        print!("{}", bench.report());
    }
    Ok(())
}

/// The rows so far, and what they are measured with.
struct Bench {
    sink: Sink,
    peers: Peers,
    agent: PathBuf,
    work: PathBuf,
    runs: usize,
    scale: u64,
    table: Vec<[String; 4]>,
    shows_progress: bool,
}

impl Bench {
    // What is shown.

    fn progress(&self, what: &str) {
        if self.shows_progress {
            eprint!("\r\x1b[K{what}");
        }
    }

    fn row(&mut self, name: &str, measured: String, reach: &str, is_met: bool) {
        let met = if is_met { "yes" } else { "no" };
        self.table
            .push([name.into(), measured, reach.into(), met.into()]);
        self.show_last();
    }

    fn note(&mut self, name: &str, what: String) {
        self.table.push([name.into(), what, "-".into(), "-".into()]);
        self.show_last();
    }

    fn show_last(&self) {
        if let Some([name, measured, reach, met]) = self.table.last() {
            self.progress("");
            eprintln!("{name}: {measured} (to reach: {reach}; reached: {met})");
        }
    }

    fn report(&self) -> String {
        let mut text = format!("{}\n\n", machine());
        text.push_str("| row | measured | to reach | reached |\n|---|---|---|---|\n");
        for [name, measured, reach, met] in &self.table {
            writeln!(text, "| {name} | {measured} | {reach} | {met} |").unwrap();
        }
        text
    }
}

/// Processor, cores, kernel.
fn machine() -> String {
    let mut info = String::new();
    let _ = File::open("/proc/cpuinfo").and_then(|mut file| file.read_to_string(&mut info));
    let of_model = info.lines().find(|line| line.starts_with("model name"));
    let model = of_model.and_then(|line| line.split(": ").nth(1));
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let kernel = rustix::system::uname();
    format!(
        "{}, {cores} cores, {} {}",
        model.unwrap_or("unknown processor"),
        kernel.sysname().to_string_lossy(),
        kernel.release().to_string_lossy()
    )
}
