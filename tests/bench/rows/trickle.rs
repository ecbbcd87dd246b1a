//! The everyday load: many files with a few lines a second each, and what a shipper costs that follows them.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::measure::{DEFAULTS, PATIENCE, Settings, median};
use super::peers::Program;
use super::peers::Tuning;
use super::sink::{Sink, TIME_MARK, now_ns};
use super::{Bench, Outcome};

/// How many files there are, and the lines a second of all of them.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    files: usize,
    lines_per_s: u64,
}

impl Shape {
    /// 200 files.
    pub(super) const SOME: Shape = Shape {
        files: 200,
        lines_per_s: 2000,
    };
}

impl Bench {
    pub(super) fn trickle_20(&mut self) -> Outcome<()> {
        self.trickle(Shape {
            files: 20,
            lines_per_s: 500,
        })
    }

    pub(super) fn trickle_200(&mut self) -> Outcome<()> {
        self.trickle(Shape::SOME)
    }

    pub(super) fn trickle_1000(&mut self) -> Outcome<()> {
        self.trickle(Shape {
            files: 1000,
            lines_per_s: 1000,
        })
    }

    /// The agent with its defaults, the agent that waits for nothing, and the peers, in turn.
    fn trickle(&mut self, shape: Shape) -> Outcome<()> {
        let name = format!("trickle-{}", shape.files);
        let shippers = self.shippers();
        let mut costs = vec![Vec::new(); shippers.len()];
        let runs = self.runs.min(MOST_RUNS);
        for round in 1..=runs {
            for (shipper, costs) in shippers.iter().zip(&mut costs) {
                self.progress(&format!("{name} {round}/{runs}, {}", shipper.name));
                let cost = self.cost(shipper, shape);
                costs.push(cost.map_err(|error| format!("{}: {error}", shipper.name))?);
            }
        }
        let costs: Vec<Cost> = costs.iter().map(|runs| Cost::median(runs)).collect();
        let [defaults, at_once, to_one_partition, peers @ ..] = &costs[..] else {
            return Err("the agent was not run".into());
        };
        let name = |of: &str| {
            format!(
                "{name}: {} files, {} lines/s, {of}",
                shape.files, shape.lines_per_s
            )
        };
        // rsyslog is the first of the peers.
        let rsyslog = peers.first();
        let (reach, is_met) = defaults.reach_of_defaults(peers);
        let measured = defaults.beside(rsyslog);
        self.row(&name(shippers[0].name), measured, &reach, is_met);
        let measured = at_once.beside(rsyslog);
        match rsyslog.map(|rsyslog| rsyslog.cpu_s) {
            Some(most) => self.row(
                &name(shippers[1].name),
                measured,
                &format!("CPU of rsyslog ({most:.1})"),
                at_once.cpu_s <= most,
            ),
            None => self.note(&name(shippers[1].name), measured),
        }
        let measured = to_one_partition.beside(rsyslog);
        self.note(&name(shippers[2].name), measured);
        for (shipper, cost) in shippers.iter().skip(3).zip(peers) {
            self.note(&name(shipper.name), cost.to_string());
        }
        if peers.is_empty() {
            let what = "rsyslog with omkafka is not installed";
            self.note(&name("peers"), what.into());
        }
        Ok(())
    }

    /// What is compared: the agent with three settings, then the peers that are installed.
    fn shippers(&self) -> Vec<Shipper> {
        const BY_DEFAULT: Settings = Settings {
            kafka: "acks = 1\ncompression = lz4\n",
            ..DEFAULTS
        };
        const AT_ONCE: Settings = Settings {
            kafka: "acks = 1\ncompression = lz4\nlinger = 0ms\n",
            ..BY_DEFAULT
        };
        // What makes few and well-filled batches.
        const TO_ONE_PARTITION: Settings = Settings {
            kafka: "acks = 1\ncompression = zstd\npartitioner = host\n",
            ..BY_DEFAULT
        };
        let of_agent = |name, settings| Shipper {
            name,
            start: Box::new(move |bench, broker, glob| {
                let config = bench.configure(settings, broker, "bench", glob)?;
                bench.start_agent(&config, &[])
            }),
        };
        let mut shippers = vec![
            of_agent("logagent, defaults", BY_DEFAULT),
            of_agent("logagent, linger = 0ms", AT_ONCE),
            of_agent("logagent, partitioner = host, zstd", TO_ONE_PARTITION),
        ];
        for (name, tuning) in [
            ("rsyslog", &Tuning::LZ4),
            ("rsyslog, linger.ms=0", &Tuning::LZ4_AT_ONCE),
        ] {
            let Some(rsyslog) = self.peers.rsyslog.clone() else {
                continue;
            };
            shippers.push(Shipper {
                name,
                start: Box::new(move |bench, broker, glob| {
                    bench.start_tuned_rsyslog(&rsyslog, tuning, broker, glob)
                }),
            });
        }
        shippers
    }

    /// One run: the files are written for a while, and what the shipper does after its start is measured.
    fn cost(&self, shipper: &Shipper, shape: Shape) -> Outcome<Cost> {
        let seconds = if self.scale == 1 { 30 } else { 15 };
        let sink = Sink::start(PARTITIONS)?;
        let mut logs = Logs::create(&self.work.join("trickle"), shape)?;
        let program = (shipper.start)(self, &sink.address(), &logs.glob)?;
        sink.wait_for(logs.lines, PATIENCE)?;
        sink.read_times();
        logs.write_for(SETTLE)?;
        sink.take_latencies_ns();
        let (began, before, cpu) = (Instant::now(), sink.arrived(), program.cpu()?);
        logs.write_for(Duration::from_secs(seconds))?;
        let (wall, after) = (began.elapsed(), sink.arrived());
        let cpu = program.cpu()? - cpu;
        let latencies = sink.take_latencies_ns();
        let resident_mib = program.resident_mib()?;
        sink.wait_for(logs.lines, PATIENCE)?;
        program.stop()?;
        let (records, lines) = (sink.records(), logs.lines);
        if records != lines {
            return Err(format!("{records} records came of {lines} lines").into());
        }
        let lines = (after.records - before.records) as f64;
        let quantile = |part: f64| {
            let at = (latencies.len() as f64 * part) as usize;
            latencies.get(at).map(|ns| *ns as f64 / 1e6)
        };
        let none = "no line arrived while lines were written";
        Ok(Cost {
            cpu_s: cpu.as_secs_f64() / (lines / 1e6),
            requests_per_s: (after.requests - before.requests) as f64 / wall.as_secs_f64(),
            bytes_per_byte: (after.bytes - before.bytes) as f64 / (lines * logs.bytes_per_line()),
            p50_ms: quantile(0.5).ok_or(none)?,
            p99_ms: quantile(0.99).ok_or(none)?,
            resident_mib,
        })
    }
}

/// Partitions of the topic; one broker leads all of them.
pub(super) const PARTITIONS: i32 = 6;
/// How long lines are written before anything is measured.
const SETTLE: Duration = Duration::from_secs(2);
/// Each takes more than half a minute.
const MOST_RUNS: usize = 3;

type Start = dyn Fn(&Bench, &str, &Path) -> Outcome<Program>;

/// A program that follows the files of a glob and sends their lines to a broker, lz4 and acks=1.
struct Shipper {
    name: &'static str,
    start: Box<Start>,
}

/// What a shipper took.
#[derive(Clone, Copy)]
struct Cost {
    /// For a million lines.
    cpu_s: f64,
    requests_per_s: f64,
    /// Bytes sent for each byte of the lines.
    bytes_per_byte: f64,
    /// From the writing of a line to its arrival.
    p50_ms: f64,
    p99_ms: f64,
    resident_mib: f64,
}

impl Cost {
    fn median(runs: &[Cost]) -> Cost {
        Cost {
            cpu_s: median(runs, |run| run.cpu_s),
            requests_per_s: median(runs, |run| run.requests_per_s),
            bytes_per_byte: median(runs, |run| run.bytes_per_byte),
            p50_ms: median(runs, |run| run.p50_ms),
            p99_ms: median(runs, |run| run.p99_ms),
            resident_mib: median(runs, |run| run.resident_mib),
        }
    }

    /// The reach of an agent with its defaults, and whether this is within it.
    fn reach_of_defaults(&self, peers: &[Cost]) -> (String, bool) {
        let mut reach =
            "10 requests/s for each broker, 0.10 bytes per byte, p99 300 ms".to_string();
        let mut is_met =
            self.requests_per_s <= 10.0 && self.bytes_per_byte <= 0.1 && self.p99_ms <= 300.0;
        // Without a peer there is nothing to halve.
        if let Some(least) = peers.iter().map(|peer| peer.cpu_s).reduce(f64::min) {
            reach = format!("half of the CPU of the cheapest peer ({least:.1}), {reach}");
            is_met &= self.cpu_s <= 0.5 * least;
        }
        (reach, is_met)
    }

    /// With the ratios to rsyslog in the same run.
    fn beside(&self, rsyslog: Option<&Cost>) -> String {
        let Some(rsyslog) = rsyslog else {
            return self.to_string();
        };
        format!(
            "{self}; to rsyslog: CPU {:.2}, requests {:.2}, bytes {:.2}",
            self.cpu_s / rsyslog.cpu_s,
            self.requests_per_s / rsyslog.requests_per_s,
            self.bytes_per_byte / rsyslog.bytes_per_byte,
        )
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.1} CPU s per million lines, {:.0} requests/s, {:.2} bytes per byte, p50 {:.1} ms, p99 {:.1} ms, {:.1} MiB",
            self.cpu_s,
            self.requests_per_s,
            self.bytes_per_byte,
            self.p50_ms,
            self.p99_ms,
            self.resident_mib
        )
    }
}

/// The files, and what has been written to them.
pub(super) struct Logs {
    pub(super) glob: PathBuf,
    files: Vec<File>,
    lines_per_s: u64,
    /// In all files; each is begun with one.
    pub(super) lines: u64,
    line: Vec<u8>,
}

impl Logs {
    /// Makes them anew, each with one line, so that a start is over when these have arrived.
    pub(super) fn create(folder: &Path, shape: Shape) -> Outcome<Logs> {
        let _ = fs::remove_dir_all(folder);
        fs::create_dir_all(folder)?;
        allow_open_files(shape.files as u64 + 200)?;
        let mut files = Vec::new();
        for file in 0..shape.files {
            let path = folder.join(format!("service-{file:04}.log"));
            files.push(OpenOptions::new().create(true).append(true).open(path)?);
        }
        let mut logs = Logs {
            glob: folder.join("*.log"),
            files,
            lines_per_s: shape.lines_per_s,
            lines: 0,
            line: Vec::new(),
        };
        logs.append_up_to(shape.files as u64)?;
        Ok(logs)
    }

    /// Writes to the files in turn, for so long.
    pub(super) fn write_for(&mut self, duration: Duration) -> io::Result<()> {
        let (began, first) = (Instant::now(), self.lines);
        let ticks = duration.as_millis() as u64 / TICK_MS;
        for tick in 1..=ticks {
            let due = began + Duration::from_millis(tick * TICK_MS);
            thread::sleep(due.saturating_duration_since(Instant::now()));
            self.append_up_to(first + self.lines_per_s * tick * TICK_MS / 1000)?;
        }
        Ok(())
    }

    /// Lines are alike, as those of an application that says the same again and again: full batches come to 0.06
    /// to 0.08 bytes per byte, and what is above that is the price of small ones.
    fn append_up_to(&mut self, lines: u64) -> io::Result<()> {
        for number in self.lines..lines {
            self.line.clear();
            write!(
                self.line,
                "INFO orders.api GET /v1/orders/items ended with status 200 in 14 ms for 10.20.30.40, "
            )?;
            self.line.extend_from_slice(TIME_MARK);
            match number % TIMED_EVERY {
                0 => writeln!(self.line, "{}", now_ns())?,
                _ => self.line.extend_from_slice(NO_TIME),
            }
            let file = number as usize % self.files.len();
            self.files[file].write_all(&self.line)?;
        }
        self.lines = self.lines.max(lines);
        Ok(())
    }

    /// All lines are as long as the last one.
    fn bytes_per_line(&self) -> f64 {
        self.line.len() as f64
    }
}

/// How far apart writes to the files are.
const TICK_MS: u64 = 10;
/// One line of so many has the time of its writing. The number has no divisor in common with those of files, so each
/// file has such lines.
const TIMED_EVERY: u64 = 7;
/// In the others, as long as a time.
const NO_TIME: &[u8] = b"-------------------\n";

/// Raises how many files this process may have open, and with it what a shipper is started with: all the same.
fn allow_open_files(count: u64) -> Outcome<()> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < count) {
        let raised = Rlimit {
            current: Some(count),
            maximum: limit.maximum,
        };
        setrlimit(Resource::Nofile, raised)
            .map_err(|error| format!("{count} files cannot be open at once: {error}"))?;
    }
    Ok(())
}

/// System calls by name, of all threads.
type Calls = BTreeMap<String, u64>;

impl Bench {
    /// The difference of two runs: what is done once, at the start and at the end, falls out.
    pub(super) fn system_calls(&mut self) -> Outcome<()> {
        let (few, few_lines) = self.traced(FEW)?;
        let (many, many_lines) = self.traced(FEW + Duration::from_secs(10))?;
        let lines = (many_lines - few_lines) as f64;
        let mut per_line: Vec<(f64, &str)> = Vec::new();
        for (name, calls) in &many {
            let once = few.get(name).copied().unwrap_or(0);
            per_line.push(((*calls as f64 - once as f64) / lines, name));
        }
        per_line.sort_by(|one, other| other.0.total_cmp(&one.0));
        let all: f64 = per_line.iter().map(|(calls, _)| calls).sum();
        let mut measured = format!("{all:.2}");
        for (calls, name) in per_line.iter().take(8) {
            measured += &format!("; {name} {calls:.2}");
        }
        self.note(
            "system calls for each line, 200 files, 2,000 lines/s",
            measured,
        );
        Ok(())
    }

    /// What an agent calls that starts, follows the files for so long, and stops; and the lines.
    fn traced(&self, duration: Duration) -> Outcome<(Calls, u64)> {
        const LZ4: Settings = Settings {
            kafka: "acks = 1\ncompression = lz4\n",
            ..DEFAULTS
        };
        self.progress(&format!("system calls, {duration:?}"));
        let sink = Sink::start(PARTITIONS)?;
        let mut logs = Logs::create(&self.work.join("trickle"), Shape::SOME)?;
        let config = self.configure(LZ4, &sink.address(), "bench", &logs.glob)?;
        let report = self.work.join("strace.txt");
        let _ = fs::remove_file(&report);
        let mut command = Command::new("strace");
        // -D: the agent is the child, and strace its grandchild, so signals reach the agent.
        command.args(["-D", "-f", "-c", "-o"]).arg(&report);
        command.arg(&self.agent).arg("--config").arg(&config);
        let program = Program::start(&mut command, &self.agent_log())
            .map_err(|error| format!("strace cannot be started: {error}"))?;
        sink.wait_for(logs.lines, PATIENCE)?;
        logs.write_for(duration)?;
        sink.wait_for(logs.lines, PATIENCE)?;
        program.stop()?;
        Ok((await_calls(&report)?, logs.lines))
    }
}

/// Of the shorter run.
const FEW: Duration = Duration::from_secs(2);

/// strace writes its table when the last thread has ended.
fn await_calls(report: &Path) -> Outcome<Calls> {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let text = fs::read_to_string(report).unwrap_or_default();
        if text.trim_end().ends_with(" total") {
            return Ok(calls(&text));
        }
        if Instant::now() > end {
            return Err(format!("strace has written no table to {}", report.display()).into());
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// Rows are `share seconds usecs/call calls [errors] name`.
fn calls(table: &str) -> Calls {
    let mut calls = Calls::new();
    for row in table.lines() {
        let fields: Vec<&str> = row.split_whitespace().collect();
        let name = fields.last().copied().unwrap_or_default();
        let count = fields.get(3).and_then(|field| field.parse().ok());
        if let Some(count) = count.filter(|_| name != "total") {
            calls.insert(name.into(), count);
        }
    }
    calls
}
