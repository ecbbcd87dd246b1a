//! How the rows are measured.

use std::fmt::{self, Write as _};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use super::limit::{self, Codec};
use super::logs::{Data, Form, logs, warm};
use super::peers::Program;
use super::sink::{TIME_MARK, now_ns};
use super::{Bench, Outcome};

/// What one run took.
#[derive(Clone, Copy)]
pub(super) struct Run {
    pub(super) wall_s: f64,
    pub(super) cpu_s: f64,
    pub(super) peak_mib: f64,
    pub(super) bytes: u64,
}

impl Run {
    pub(super) fn cpu_per_gb(&self) -> f64 {
        self.cpu_s / (self.bytes as f64 / 1e9)
    }

    pub(super) fn mb_per_s(&self) -> f64 {
        self.bytes as f64 / 1e6 / self.wall_s
    }
}

/// What a program with nothing to do takes.
#[derive(Clone, Copy)]
pub(super) struct Idle {
    pub(super) resident_mib: f64,
    pub(super) peak_mib: f64,
    /// In 30 s.
    pub(super) cpu_s: f64,
    /// From the start of the process to the last line, and the CPU time until then.
    pub(super) start_s: f64,
    pub(super) start_cpu_s: f64,
    pub(super) threads: f64,
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

/// Settings of one run, as lines of an ini: those of `[agent]`, of `[kafka]` and of the section of the log.
#[derive(Clone, Copy)]
pub(super) struct Settings {
    pub(super) agent: &'static str,
    pub(super) kafka: &'static str,
    pub(super) log: &'static str,
}

pub(super) const PLAIN: Settings = Settings {
    kafka: "acks = 1\ncompression = none\nheaders = none\n",
    ..DEFAULTS
};
pub(super) const DEFAULTS: Settings = Settings {
    agent: "",
    kafka: "",
    log: "",
};

impl Bench {
    pub(super) fn logs(&self, files: usize, bytes: u64) -> Outcome<Data> {
        self.logs_as(Form::Access, files, bytes)
    }

    pub(super) fn logs_as(&self, form: Form, files: usize, bytes: u64) -> Outcome<Data> {
        self.progress(&format!("making logs, {files} files"));
        let data = logs(&self.work, form, files, bytes / self.scale)?;
        warm(&data)?;
        Ok(data)
    }

    /// Two things to compare, in turn, `runs` times each.
    pub(super) fn in_turn(
        &self,
        name: &str,
        runs: usize,
        one: impl Fn(&Bench) -> Outcome<Run>,
        other: impl Fn(&Bench) -> Outcome<Run>,
    ) -> Outcome<(Vec<Run>, Vec<Run>)> {
        let (mut of_one, mut of_other) = (Vec::new(), Vec::new());
        for round in 1..=runs {
            self.progress(&format!("{name} {round}/{runs}"));
            of_one.push(one(self)?);
            of_other.push(other(self)?);
        }
        Ok((of_one, of_other))
    }

    /// Writes an ini and gives its path; there are no checkpoints yet.
    pub(super) fn configure(
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
            "[agent]\nstate_dir = {}\n{}[kafka]\nbrokers = {broker}\ntopic = {topic}\n{}[log:bench]\npath = {}\n{}",
            state.display(),
            settings.agent,
            settings.kafka,
            glob.display(),
            settings.log,
        );
        let path = self.work.join("logagent.ini");
        fs::write(&path, ini)?;
        Ok(path)
    }

    pub(super) fn start_agent(&self, config: &Path, arguments: &[&str]) -> Outcome<Program> {
        let mut command = Command::new(&self.agent);
        command.arg("--config").arg(config).args(arguments);
        Ok(Program::start(&mut command, &self.agent_log())?)
    }

    /// An agent that sends what is under `glob` to the sink.
    pub(super) fn follow(&self, settings: Settings, glob: &Path) -> Outcome<Program> {
        let config = self.configure(settings, &self.sink_address(), "bench", glob)?;
        self.start_agent(&config, &[])
    }

    pub(super) fn sink_address(&self) -> String {
        self.sink.address()
    }

    pub(super) fn agent_log(&self) -> PathBuf {
        self.work.join("agent.log")
    }

    /// Ships everything to the sink: from the start of the process to the last record.
    pub(super) fn ship(&self, data: &Data, settings: Settings) -> Outcome<Run> {
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
    pub(super) fn ship_once(
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

    pub(super) fn limit(&self, data: &Data, codec: Codec) -> Outcome<Run> {
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
    pub(super) fn live_tail(
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

    pub(super) fn idle_files(
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
    pub(super) fn idle_runs(
        &mut self,
        files: usize,
        runs: usize,
        start: &dyn Fn(&Bench, &Path) -> Outcome<Program>,
    ) -> Outcome<Idle> {
        let data = logs(&self.work, Form::Access, files, files as u64 * 400)?;
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
}

/// How long a run may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(300);
/// Runs of what takes long.
pub(super) const SLOW_RUNS: usize = 2;
/// Until everything that happens after a start has happened.
pub(super) const SETTLE: Duration = Duration::from_secs(20);

pub(super) fn median<T>(runs: &[T], of: impl Fn(&T) -> f64) -> f64 {
    let mut values: Vec<f64> = runs.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
