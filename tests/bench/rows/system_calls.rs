//! How many system calls the agent makes for a line of the everyday load.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use super::measure::{PATIENCE, Settings};
use super::program::Program;
use super::sink::Sink;
use super::trickle::{Logs, PARTITIONS, Shape};
use super::{Bench, Outcome};

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
            agent: "",
            kafka: "acks = 1\ncompression = lz4\n",
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
