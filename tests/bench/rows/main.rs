//! Measures the agent against what one thread of the same machine can do, and against other programs.
//!
//! `scripts/bench.sh` builds and runs this. Each row runs the agent and what it is compared with in turn,
//! so that both meet the same machine, and prints medians and their ratio. Nothing here is a test: a busy
//! machine makes a row slower and no build fail.

#![allow(
    clippy::unwrap_used,
    reason = "a benchmark that cannot go on has nothing better to do than to say where"
)]

mod data;
mod limit;
mod peers;
mod program;
mod sink;

use std::error::Error;
use std::fmt::{self, Write as _};
use std::fs::{self, File, OpenOptions};
use std::io::{IsTerminal, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::thread;
use std::time::{Duration, Instant};

use data::Data;
use limit::Codec;
use peers::Peers;
use program::Program;
use sink::{Sink, TIME_MARK, now_ns};

type Outcome<T> = Result<T, Box<dyn Error>>;
type Row = fn(&mut Bench) -> Outcome<()>;

const USAGE: &str = "\
usage: rows --agent FILE --work FOLDER [--runs N] [--small] [ROW...]

  --agent FILE    the program to measure
  --work FOLDER   where logs are made (up to 28 GiB) and kept for the next run
  --runs N        medians of so many runs (default 5)
  --small         a sixteenth of the data, to see that everything works
  ROW             only these; without any, all of them

With KAFKA=HOST:PORT the row 'kafka' runs against that broker. KCAT, RSYSLOGD and
RSYSLOG_MODULES name kcat, rsyslogd and the folder of its modules where they are not in their places.
rows: ";

/// The rows, and what measures each.
const ROWS: [(&str, Row); 15] = [
    ("binary", Bench::binary),
    ("backlog", Bench::backlog),
    ("lz4", Bench::lz4),
    ("zstd", Bench::zstd),
    ("headers", Bench::headers),
    ("files", Bench::files),
    ("kafka", Bench::kafka),
    ("latency", Bench::latency),
    ("latency-defaults", Bench::latency_defaults),
    ("idle", Bench::idle),
    ("idle-many", Bench::idle_many),
    ("memory", Bench::memory),
    ("busy", Bench::busy),
    ("growth", Bench::growth),
    (LOAD, Bench::load),
];

/// No row of the table, but work for a profiler to look at.
const LOAD: &str = "load";

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
        sink: Sink::start()?,
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
            true => name != LOAD,
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

/// What one run took.
#[derive(Clone, Copy)]
struct Run {
    wall_s: f64,
    cpu_s: f64,
    peak_mib: f64,
    bytes: u64,
}

impl Run {
    fn cpu_per_gb(&self) -> f64 {
        self.cpu_s / (self.bytes as f64 / 1e9)
    }

    fn mb_per_s(&self) -> f64 {
        self.bytes as f64 / 1e6 / self.wall_s
    }
}

/// What a program with nothing to do takes.
#[derive(Clone, Copy)]
struct Idle {
    resident_mib: f64,
    peak_mib: f64,
    /// In 30 s.
    cpu_s: f64,
    /// From the start of the process to the last line, and the CPU time until then.
    start_s: f64,
    start_cpu_s: f64,
    threads: f64,
}

impl fmt::Display for Idle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.1} MiB (peak {:.1}), {:.3} CPU s, {:.2} s to the last line ({:.2} CPU s), {:.0} threads",
            self.resident_mib,
            self.peak_mib,
            self.cpu_s,
            self.start_s,
            self.start_cpu_s,
            self.threads
        )
    }
}

/// Settings of one run, as lines of an ini: those of `[agent]` and those of `[kafka]`.
#[derive(Clone, Copy)]
struct Settings {
    agent: &'static str,
    kafka: &'static str,
}

const PLAIN: Settings = Settings {
    agent: "",
    kafka: "acks = 1\ncompression = none\nheaders = none\n",
};
const DEFAULTS: Settings = Settings {
    agent: "",
    kafka: "",
};

impl Bench {
    // The rows.

    fn binary(&mut self) -> Outcome<()> {
        let bytes = fs::read(&self.agent)?;
        let is_static = !names_an_interpreter(&bytes).ok_or("not a 64-bit ELF file")?;
        let mb = bytes.len() as f64 / 1e6;
        let measured = format!(
            "{mb:.2} MB, {}",
            if is_static { "static" } else { "dynamic" }
        );
        self.row(
            "release binary, stripped",
            measured,
            "at most 5 MB, static",
            mb <= 5.0 && is_static,
        );
        Ok(())
    }

    fn backlog(&mut self) -> Outcome<()> {
        let data = self.logs(1, 1 << 30)?;
        let (kcat, rsyslog) = (self.peers.kcat.clone(), self.peers.rsyslog.clone());
        let (mut ours, mut limits, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
        let mut of_rsyslog = Vec::new();
        for round in 1..=self.runs {
            self.progress(&format!("backlog {round}/{}", self.runs));
            ours.push(self.ship(&data, PLAIN)?);
            limits.push(self.limit(&data, Codec::None)?);
            if let Some(kcat) = &kcat {
                theirs.push(self.kcat(kcat, &data)?);
            }
            // Each takes its time.
            if let Some(rsyslog) = rsyslog.as_ref().filter(|_| round <= SLOW_RUNS) {
                of_rsyslog.push(self.ship_by_rsyslog(rsyslog, &data)?);
            }
        }
        let (cpu, limit) = (
            median(&ours, Run::cpu_per_gb),
            median(&limits, Run::cpu_per_gb),
        );
        self.row(
            "1 GiB backlog, acks=1, none, no headers: CPU s/GB",
            format!("{cpu:.2}; limit {limit:.2}; ratio {:.2}", cpu / limit),
            "1.3 times limit",
            cpu <= 1.3 * limit,
        );
        let (speed, limit) = (median(&ours, Run::mb_per_s), median(&limits, Run::mb_per_s));
        self.row(
            "the same: MB/s",
            format!("{speed:.0}; limit {limit:.0}; ratio {:.2}", speed / limit),
            "0.8 times limit",
            speed >= 0.8 * limit,
        );
        if theirs.is_empty() {
            self.note("the same against kcat", "kcat is not installed".into());
        } else {
            let (cpu_kcat, kcat) = (
                median(&theirs, Run::cpu_per_gb),
                median(&theirs, Run::mb_per_s),
            );
            self.row(
                "the same against kcat: MB/s",
                format!(
                    "{speed:.0}; kcat {kcat:.0} ({cpu_kcat:.2} CPU s/GB); ratio {:.2}",
                    speed / kcat
                ),
                "3 times kcat",
                speed >= 3.0 * kcat,
            );
        }
        let name = "the same against rsyslog: MB/s";
        if of_rsyslog.is_empty() {
            self.note(name, "rsyslog with omkafka is not installed".into());
        } else {
            let (its_cpu, its_speed) = (
                median(&of_rsyslog, Run::cpu_per_gb),
                median(&of_rsyslog, Run::mb_per_s),
            );
            let peak = median(&of_rsyslog, |run| run.peak_mib);
            self.note(
                name,
                format!(
                    "{speed:.0}; rsyslog {its_speed:.0} ({its_cpu:.2} CPU s/GB, {peak:.1} MiB); ratio {:.1}",
                    speed / its_speed
                ),
            );
        }
        Ok(())
    }

    fn lz4(&mut self) -> Outcome<()> {
        const LZ4: Settings = Settings {
            kafka: "acks = 1\ncompression = lz4\nheaders = none\n",
            ..PLAIN
        };
        self.codec("lz4", LZ4, Codec::Lz4)
    }

    fn zstd(&mut self) -> Outcome<()> {
        const ZSTD: Settings = Settings {
            kafka: "acks = 1\ncompression = zstd\ncompression_level = 3\nheaders = none\n",
            ..PLAIN
        };
        self.codec("zstd, level 3", ZSTD, Codec::Zstd(3))
    }

    fn codec(&mut self, name: &str, settings: Settings, codec: Codec) -> Outcome<()> {
        let data = self.logs(1, 1 << 30)?;
        let (mut ours, mut limits) = (Vec::new(), Vec::new());
        for round in 1..=self.runs {
            self.progress(&format!("{name} {round}/{}", self.runs));
            ours.push(self.ship(&data, settings)?);
            limits.push(self.limit(&data, codec)?);
        }
        let (cpu, limit) = (
            median(&ours, Run::cpu_per_gb),
            median(&limits, Run::cpu_per_gb),
        );
        let (speed, limit_speed) = (median(&ours, Run::mb_per_s), median(&limits, Run::mb_per_s));
        self.row(
            &format!("1 GiB backlog, {name}: CPU s/GB"),
            format!(
                "{cpu:.2}; limit {limit:.2}; ratio {:.2} ({speed:.0} and {limit_speed:.0} MB/s)",
                cpu / limit
            ),
            "1.2 times limit",
            cpu <= 1.2 * limit,
        );
        Ok(())
    }

    fn headers(&mut self) -> Outcome<()> {
        const HEADERS: Settings = Settings {
            kafka: "acks = 1\ncompression = none\n",
            ..PLAIN
        };
        let data = self.logs(1, 1 << 30)?;
        let (mut with, mut without) = (Vec::new(), Vec::new());
        for round in 1..=self.runs {
            self.progress(&format!("headers {round}/{}", self.runs));
            with.push(self.ship(&data, HEADERS)?);
            without.push(self.ship(&data, PLAIN)?);
        }
        let (cpu, off) = (
            median(&with, Run::cpu_per_gb),
            median(&without, Run::cpu_per_gb),
        );
        self.row(
            "headers host and path: CPU s/GB",
            format!("{cpu:.2}; without {off:.2}; ratio {:.2}", cpu / off),
            "1.35 times without",
            cpu <= 1.35 * off,
        );
        Ok(())
    }

    fn files(&mut self) -> Outcome<()> {
        let (one, many) = (self.logs(1, 1 << 30)?, self.logs(100, 1000 << 20)?);
        let (mut of_one, mut of_many) = (Vec::new(), Vec::new());
        for round in 1..=self.runs {
            self.progress(&format!("files {round}/{}", self.runs));
            of_many.push(self.ship(&many, PLAIN)?);
            of_one.push(self.ship(&one, PLAIN)?);
        }
        let (cpu, single) = (
            median(&of_many, Run::cpu_per_gb),
            median(&of_one, Run::cpu_per_gb),
        );
        self.row(
            "100 files of 10 MiB at once: CPU s/GB",
            format!("{cpu:.2}; one file {single:.2}; ratio {:.2}", cpu / single),
            "1.15 times one file",
            cpu <= 1.15 * single,
        );
        Ok(())
    }

    fn kafka(&mut self) -> Outcome<()> {
        const SAFE: Settings = Settings {
            kafka: "acks = all\nidempotence = on\ncompression = none\nheaders = none\n",
            ..PLAIN
        };
        let broker = std::env::var("KAFKA").map_err(|_| "no real Kafka is named in KAFKA")?;
        let data = self.logs(1, 1 << 30)?;
        let kcat = self.peers.kcat.clone();
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for round in 1..=self.runs {
            self.progress(&format!("kafka {round}/{}", self.runs));
            ours.push(self.ship_once(&data, SAFE, &broker, &format!("bench-agent-{round}"))?);
            if let Some(kcat) = &kcat {
                let topic = format!("bench-kcat-{round}");
                let options = ["enable.idempotence=true", "acks=all"];
                theirs.push(self.run_kcat(kcat, &data, &broker, &topic, &options)?);
            }
        }
        let (speed, cpu) = (median(&ours, Run::mb_per_s), median(&ours, Run::cpu_per_gb));
        let name = "real Kafka, acks=all, idempotent";
        if theirs.is_empty() {
            let measured = format!("{speed:.0} MB/s, {cpu:.2} CPU s/GB; kcat is not installed");
            self.note(name, measured);
            return Ok(());
        }
        let (kcat, kcat_cpu) = (
            median(&theirs, Run::mb_per_s),
            median(&theirs, Run::cpu_per_gb),
        );
        self.row(
            &format!("{name}: MB/s"),
            format!("{speed:.0}; kcat {kcat:.0}; ratio {:.2}", speed / kcat),
            "as fast as kcat",
            speed >= kcat,
        );
        self.row(
            &format!("{name}: CPU s/GB"),
            format!("{cpu:.2}; kcat {kcat_cpu:.2}; ratio {:.2}", cpu / kcat_cpu),
            "half of kcat",
            cpu <= 0.5 * kcat_cpu,
        );
        Ok(())
    }

    fn latency(&mut self) -> Outcome<()> {
        const AT_ONCE: Settings = Settings {
            kafka: "linger = 0ms\n",
            ..DEFAULTS
        };
        let (p50, p99) = self.live_tail("latency", &|bench, log| bench.follow(AT_ONCE, log))?;
        let name = "live tail, 1,000 lines/s, linger 0: p50, p99";
        self.row(
            name,
            format!("{p50:.2}, {p99:.2} ms"),
            "0.2, 2 ms",
            p50 <= 0.2 && p99 <= 2.0,
        );
        if let Some(rsyslog) = self.peers.rsyslog.clone() {
            let start = |bench: &Bench, log: &Path| bench.start_rsyslog(&rsyslog, 0, log);
            let (p50, p99) = self.live_tail("latency of rsyslog", &start)?;
            self.note(
                &format!("rsyslog: {name}"),
                format!("{p50:.2}, {p99:.2} ms"),
            );
        }
        Ok(())
    }

    fn latency_defaults(&mut self) -> Outcome<()> {
        let (p50, p99) = self.live_tail("latency-defaults", &|bench, log| {
            bench.follow(DEFAULTS, log)
        })?;
        self.row(
            "live tail, 1,000 lines/s, defaults (linger 50 ms): p50, p99",
            format!("{p50:.2}, {p99:.2} ms"),
            "p99 55 ms",
            p99 <= 55.0,
        );
        Ok(())
    }

    fn idle(&mut self) -> Outcome<()> {
        self.idle_files(1000, 16.0, None, 0.028)?;
        let Some(rsyslog) = self.peers.rsyslog.clone() else {
            return Ok(());
        };
        let start = |bench: &Bench, glob: &Path| bench.start_rsyslog(&rsyslog, 50, glob);
        let idle = self.idle_runs(1000, SLOW_RUNS, &start)?;
        let name = "rsyslog: 1000 idle files: RSS, CPU in 30 s, start";
        self.note(name, idle.to_string());
        Ok(())
    }

    fn idle_many(&mut self) -> Outcome<()> {
        self.idle_files(10_000, 40.0, Some(1.0), 0.1)
    }

    fn memory(&mut self) -> Outcome<()> {
        let data = self.logs(1, 1 << 30)?;
        let mut peaks = Vec::new();
        for round in 1..=self.runs {
            self.progress(&format!("memory {round}/{}", self.runs));
            peaks.push(self.ship(&data, DEFAULTS)?);
        }
        let peak = median(&peaks, |run| run.peak_mib);
        let (speed, cpu) = (
            median(&peaks, Run::mb_per_s),
            median(&peaks, Run::cpu_per_gb),
        );
        self.row(
            "1 GiB backlog, defaults: peak RSS",
            format!("{peak:.1} MiB ({speed:.0} MB/s, {cpu:.2} CPU s/GB)"),
            "24 MiB",
            peak <= 24.0,
        );
        // A port that nobody listens on: bound, then let go.
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let many = self.logs(10_000, 640 << 20)?;
        self.progress("memory, broker down");
        let config = self.configure(DEFAULTS, &format!("127.0.0.1:{port}"), "t", &many.glob)?;
        let agent = self.start_agent(&config, &[])?;
        thread::sleep(Duration::from_secs(20));
        let (peak, threads) = (agent.peak_mib()?, agent.threads()?);
        drop(agent);
        self.row(
            "10,000 busy files, broker down, memory_limit 64 MiB: peak RSS",
            format!("{peak:.1} MiB, {threads} threads"),
            "80 MiB",
            peak <= 80.0,
        );
        Ok(())
    }

    fn busy(&mut self) -> Outcome<()> {
        let data = self.logs(1000, 1 << 30)?;
        let mut runs = Vec::new();
        for round in 1..=self.runs {
            self.progress(&format!("busy {round}/{}", self.runs));
            runs.push(self.ship(&data, PLAIN)?);
        }
        let peak = median(&runs, |run| run.peak_mib);
        let cpu = median(&runs, Run::cpu_per_gb);
        self.row(
            "1,000 busy files, memory_limit 64 MiB: peak RSS",
            format!("{peak:.1} MiB ({cpu:.2} CPU s/GB)"),
            "80 MiB",
            peak <= 80.0,
        );
        Ok(())
    }

    fn growth(&mut self) -> Outcome<()> {
        let mut shapes: Vec<(String, Data)> = Vec::new();
        for files in [1, 10, 100, 1000] {
            shapes.push((format!("{files} files"), self.logs(files, 1 << 30)?));
        }
        // The large one, where the disk has room for it and something is left.
        let disk = rustix::fs::statvfs(&self.work)?;
        let has_room = disk.f_bavail * disk.f_frsize > (32 << 30) / self.scale;
        let large_gib = if has_room { 20 } else { 4 };
        shapes.push(("100 MiB".into(), self.logs(1, 100 << 20)?));
        shapes.push((format!("{large_gib} GiB"), self.logs(1, large_gib << 30)?));
        let mut runs: Vec<Vec<Run>> = vec![Vec::new(); shapes.len()];
        for round in 1..=self.runs {
            for ((name, data), runs) in shapes.iter().zip(&mut runs) {
                if data.bytes > 8 << 30 && round > SLOW_RUNS {
                    continue;
                }
                self.progress(&format!("growth {round}/{}, {name}", self.runs));
                runs.push(self.ship(data, PLAIN)?);
            }
        }
        let cpus: Vec<f64> = runs
            .iter()
            .map(|runs| median(runs, Run::cpu_per_gb))
            .collect();
        let mut measured = String::new();
        for (((name, _), runs), cpu) in shapes.iter().zip(&runs).zip(&cpus) {
            let peak = median(runs, |run| run.peak_mib);
            write!(measured, "{name} {cpu:.2} ({peak:.0} MiB); ")?;
        }
        let first = cpus[0];
        let most = cpus.iter().fold(0.0f64, |most, cpu| most.max(cpu / first));
        write!(measured, "most {most:.2} times one file of 1 GiB")?;
        self.row(
            &format!("CPU s/GB from 1 to 1,000 busy files and from 100 MiB to {large_gib} GiB"),
            measured,
            "flat (1.15)",
            most <= 1.15,
        );
        Ok(())
    }

    fn load(&mut self) -> Outcome<()> {
        let data = self.logs(1, 4 << 30)?;
        self.ship_once(&data, PLAIN, &self.sink_address(), "bench")?;
        Ok(())
    }

    // How they are measured.

    fn logs(&self, files: usize, bytes: u64) -> Outcome<Data> {
        self.progress(&format!("making logs, {files} files"));
        let data = data::access_logs(&self.work, files, bytes / self.scale)?;
        data::warm(&data)?;
        Ok(data)
    }

    /// Writes an ini and gives its path; there are no checkpoints yet.
    fn configure(
        &self,
        settings: Settings,
        broker: &str,
        topic: &str,
        glob: &Path,
    ) -> Outcome<PathBuf> {
        let state = self.work.join("state");
        let _ = fs::remove_dir_all(&state);
        fs::create_dir_all(&state)?;
        let ini = format!(
            "[agent]\nstate_dir = {}\n{}[kafka]\nbrokers = {broker}\ntopic = {topic}\n{}[log:bench]\npath = {}\n",
            state.display(),
            settings.agent,
            settings.kafka,
            glob.display()
        );
        let path = self.work.join("logagent.ini");
        fs::write(&path, ini)?;
        Ok(path)
    }

    fn start_agent(&self, config: &Path, arguments: &[&str]) -> Outcome<Program> {
        let mut command = Command::new(&self.agent);
        command.arg("--config").arg(config).args(arguments);
        Ok(Program::start(&mut command, &self.agent_log())?)
    }

    /// An agent that sends what is under `glob` to the sink.
    fn follow(&self, settings: Settings, glob: &Path) -> Outcome<Program> {
        let config = self.configure(settings, &self.sink_address(), "bench", glob)?;
        self.start_agent(&config, &[])
    }

    fn sink_address(&self) -> String {
        format!("127.0.0.1:{}", self.sink.port)
    }

    fn agent_log(&self) -> PathBuf {
        self.work.join("agent.log")
    }

    /// Ships everything to the sink: from the start of the process to the last record.
    fn ship(&self, data: &Data, settings: Settings) -> Outcome<Run> {
        let before = self.sink.records();
        let agent = self.follow(settings, &data.glob)?;
        self.sink.wait_for(before + data.lines, PATIENCE)?;
        let wall_s = agent.started.elapsed().as_secs_f64();
        let peak_mib = agent.peak_mib()?;
        let cpu_s = agent.stop()?.as_secs_f64();
        let records = self.sink.records() - before;
        if records != data.lines {
            return Err(format!("{records} records came of {} lines", data.lines).into());
        }
        Ok(Run {
            wall_s,
            cpu_s,
            peak_mib,
            bytes: data.bytes,
        })
    }

    /// Ships everything to a real Kafka.
    fn ship_once(
        &self,
        data: &Data,
        settings: Settings,
        broker: &str,
        topic: &str,
    ) -> Outcome<Run> {
        let config = self.configure(settings, broker, topic, &data.glob)?;
        let mut agent = self.start_agent(&config, &["--once"])?;
        let cpu_s = agent.wait()?.as_secs_f64();
        Ok(Run {
            wall_s: agent.started.elapsed().as_secs_f64(),
            cpu_s,
            peak_mib: 0.0,
            bytes: data.bytes,
        })
    }

    fn limit(&self, data: &Data, codec: Codec) -> Outcome<Run> {
        let before = self.sink.records();
        let (file, port) = (data.first.clone(), self.sink.port);
        let cost = thread::spawn(move || limit::ship(&file, port, codec))
            .join()
            .map_err(|_| "the limit program panicked")??;
        self.sink.wait_for(before + cost.records, PATIENCE)?;
        if cost.records != data.lines {
            return Err("the limit program has lost lines".into());
        }
        Ok(Run {
            wall_s: cost.wall.as_secs_f64(),
            cpu_s: cost.cpu.as_secs_f64(),
            peak_mib: 0.0,
            bytes: data.bytes,
        })
    }

    /// Writes 1,000 lines a second, one by one, each with the time, for some seconds; gives the medians
    /// over the runs of p50 and p99 of the time until the broker has it, in ms.
    fn live_tail(
        &mut self,
        name: &str,
        start: &dyn Fn(&Bench, &Path) -> Outcome<Program>,
    ) -> Outcome<(f64, f64)> {
        let log = self.work.join("live.log");
        let seconds = if self.scale == 1 { 10 } else { 2 };
        let mut quantiles = Vec::new();
        self.sink.read_times();
        for round in 1..=self.runs {
            self.progress(&format!("{name} {round}/{}", self.runs));
            fs::write(&log, "the first line\n")?;
            let before = self.sink.records();
            let program = start(self, &log)?;
            self.sink.wait_for(before + 1, PATIENCE)?;
            thread::sleep(Duration::from_millis(500));
            self.sink.take_latencies_ns();
            let mut file = OpenOptions::new().append(true).open(&log)?;
            let lines = seconds * 1000;
            let began = Instant::now();
            for line in 0..lines {
                let due = began + Duration::from_millis(line);
                thread::sleep(due.saturating_duration_since(Instant::now()));
                let mut text = TIME_MARK.to_vec();
                writeln!(text, "{} an application says something, {line}", now_ns())?;
                file.write_all(&text)?;
            }
            self.sink.wait_for(before + 1 + lines, PATIENCE)?;
            program.stop()?;
            let latencies = self.sink.take_latencies_ns();
            let quantile = |part: f64| latencies[(latencies.len() as f64 * part) as usize] as f64;
            quantiles.push((quantile(0.5) / 1e6, quantile(0.99) / 1e6));
        }
        Ok((
            median(&quantiles, |(p50, _)| *p50),
            median(&quantiles, |(_, p99)| *p99),
        ))
    }

    fn idle_files(
        &mut self,
        files: usize,
        most_mib: f64,
        most_start_s: Option<f64>,
        most_cpu_s: f64,
    ) -> Outcome<()> {
        let start = |bench: &Bench, glob: &Path| bench.follow(DEFAULTS, glob);
        let idle = self.idle_runs(files, self.runs.min(3), &start)?;
        let mut reach = format!("{most_mib:.0} MiB, {most_cpu_s} CPU s");
        if let Some(most_start_s) = most_start_s {
            write!(reach, ", {most_start_s:.0} s to start")?;
        }
        self.row(
            &format!("{files} idle files: RSS, CPU in 30 s, start"),
            idle.to_string(),
            &reach,
            idle.resident_mib <= most_mib
                && idle.cpu_s <= most_cpu_s
                && most_start_s.is_none_or(|most| idle.start_s <= most),
        );
        Ok(())
    }

    /// Starts a program with so many files of a few lines, waits until all are read and it has settled, and
    /// measures half a minute in which nothing happens; the medians.
    fn idle_runs(
        &mut self,
        files: usize,
        runs: usize,
        start: &dyn Fn(&Bench, &Path) -> Outcome<Program>,
    ) -> Outcome<Idle> {
        let data = data::access_logs(&self.work, files, files as u64 * 400)?;
        let mut idle = Vec::new();
        // Each run takes most of a minute.
        let runs = if self.scale == 1 { runs } else { 1 };
        for round in 1..=runs {
            self.progress(&format!("{files} idle files {round}/{runs}"));
            let before = self.sink.records();
            let program = start(self, &data.glob)?;
            self.sink.wait_for(before + data.lines, PATIENCE)?;
            let start_s = program.started.elapsed().as_secs_f64();
            let start_cpu_s = program.cpu()?.as_secs_f64();
            thread::sleep(SETTLE);
            let cpu = program.cpu()?.as_secs_f64();
            thread::sleep(Duration::from_secs(30));
            idle.push(Idle {
                resident_mib: program.resident_mib()?,
                peak_mib: program.peak_mib()?,
                cpu_s: program.cpu()?.as_secs_f64() - cpu,
                start_s,
                start_cpu_s,
                threads: program.threads()? as f64,
            });
            program.stop()?;
        }
        Ok(Idle {
            resident_mib: median(&idle, |idle| idle.resident_mib),
            peak_mib: median(&idle, |idle| idle.peak_mib),
            cpu_s: median(&idle, |idle| idle.cpu_s),
            start_s: median(&idle, |idle| idle.start_s),
            start_cpu_s: median(&idle, |idle| idle.start_cpu_s),
            threads: median(&idle, |idle| idle.threads),
        })
    }

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

/// How long a run may take.
const PATIENCE: Duration = Duration::from_secs(300);
/// Runs of what takes long.
const SLOW_RUNS: usize = 2;
/// Until everything that happens after a start has happened.
const SETTLE: Duration = Duration::from_secs(20);

fn median<T>(runs: &[T], of: impl Fn(&T) -> f64) -> f64 {
    let mut values: Vec<f64> = runs.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Whether a 64-bit little-endian ELF file has a PT_INTERP, that is, wants a dynamic loader (elf(5)).
fn names_an_interpreter(file: &[u8]) -> Option<bool> {
    if !file.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let u16_at = |at: usize| Some(u16::from_le_bytes(file.get(at..at + 2)?.try_into().ok()?));
    let offset = u64::from_le_bytes(file.get(32..40)?.try_into().ok()?) as usize;
    let (size, count) = (usize::from(u16_at(54)?), usize::from(u16_at(56)?));
    let mut heads = (0..count).map(|n| file.get(offset + n * size..offset + n * size + 4));
    Some(heads.any(|head| head == Some(&[3, 0, 0, 0])))
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
