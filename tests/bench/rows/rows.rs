//! The rows of the table.

use std::fmt::Write as _;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::thread;
use std::time::Duration;

use super::limit::Codec;
use super::logs::Data;
use super::measure::{DEFAULTS, PLAIN, Run, SLOW_RUNS, Settings, median};
use super::{Bench, Outcome};

type Row = fn(&mut Bench) -> Outcome<()>;

/// The rows, and what measures each.
pub(super) const ROWS: [(&str, Row); 22] = [
    ("binary", Bench::binary),
    ("backlog", Bench::backlog),
    ("lz4", Bench::lz4),
    ("zstd", Bench::zstd),
    ("headers", Bench::headers),
    ("records", Bench::records),
    ("files", Bench::files),
    ("kafka", Bench::kafka),
    ("exactly-once", Bench::exactly_once),
    ("latency", Bench::latency),
    ("latency-defaults", Bench::latency_defaults),
    ("idle", Bench::idle),
    ("idle-many", Bench::idle_many),
    ("memory", Bench::memory),
    ("busy", Bench::busy),
    ("growth", Bench::growth),
    ("trickle-20", Bench::trickle_20),
    ("trickle-200", Bench::trickle_200),
    ("trickle-1000", Bench::trickle_1000),
    ("fleet", Bench::fleet),
    ("load", Bench::load),
    ("system-calls", Bench::system_calls),
];

/// No rows of the table, but work for a profiler to look at, and what scripts/system_calls.sh asks for.
pub(super) const BY_NAME_ONLY: [&str; 2] = ["load", "system-calls"];

impl Bench {
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
            "at most 7 MB, static",
            mb <= 7.0 && is_static,
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
        let (ours, limits) = self.in_turn(
            name,
            self.runs,
            |bench| bench.ship(&data, settings),
            |bench| bench.limit(&data, codec),
        )?;
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
        let (with, without) = self.in_turn(
            "headers",
            self.runs,
            |bench| bench.ship(&data, HEADERS),
            |bench| bench.ship(&data, PLAIN),
        )?;
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
        let (of_many, of_one) = self.in_turn(
            "files",
            self.runs,
            |bench| bench.ship(&many, PLAIN),
            |bench| bench.ship(&one, PLAIN),
        )?;
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
            "live tail, 1,000 lines/s, defaults (linger 250 ms): p50, p99",
            format!("{p50:.2}, {p99:.2} ms"),
            "p99 300 ms",
            p99 <= 300.0,
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
        shapes.push(("100 MiB".into(), self.logs(1, 100 << 20)?));
        let mut runs: Vec<Vec<Run>> = vec![Vec::new(); shapes.len()];
        for round in 1..=self.runs {
            for ((name, data), runs) in shapes.iter().zip(&mut runs) {
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
            "CPU s/GB of 1 GiB in 1 to 1,000 busy files, and of 100 MiB",
            measured,
            "flat (1.15)",
            most <= 1.15,
        );
        self.large(first)
    }

    /// One file that may be larger than what the page cache holds, against what 1 GiB takes, and against the
    /// limit program, which has to read from the disk as well.
    fn large(&mut self, of_1_gib: f64) -> Outcome<()> {
        let disk = rustix::fs::statvfs(&self.work)?;
        let has_room = disk.f_bavail * disk.f_frsize > (32 << 30) / self.scale;
        let gib = if has_room { 20 } else { 4 };
        let data = self.logs(1, gib << 30)?;
        let (ours, limits) = self.in_turn(
            &format!("{gib} GiB"),
            self.runs.min(SLOW_RUNS),
            |bench| bench.ship(&data, PLAIN),
            |bench| bench.limit(&data, Codec::None),
        )?;
        let (cpu, limit) = (
            median(&ours, Run::cpu_per_gb),
            median(&limits, Run::cpu_per_gb),
        );
        let (speed, limit_speed) = (median(&ours, Run::mb_per_s), median(&limits, Run::mb_per_s));
        let peak = median(&ours, |run| run.peak_mib);
        self.row(
            &format!("{gib} GiB backlog, acks=1, none, no headers: CPU s/GB"),
            format!(
                "{cpu:.2}; 1 GiB {of_1_gib:.2}; ratio {:.2}; limit {limit:.2} ({speed:.0} and {limit_speed:.0} MB/s, \
                 {peak:.0} MiB)",
                cpu / of_1_gib
            ),
            "flat (1.15)",
            cpu <= 1.15 * of_1_gib,
        );
        Ok(())
    }

    fn load(&mut self) -> Outcome<()> {
        let data = self.logs(1, 4 << 30)?;
        self.ship_once(&data, PLAIN, &self.sink_address(), "bench")?;
        Ok(())
    }
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
