//! The rows that a real Kafka takes part in: `kafka`, `exactly-once`.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::measure::{PLAIN, Run, Settings, median};
use super::sink::{TIME_MARK, now_ns};
use super::{Bench, Outcome};

impl Bench {
    pub(super) fn kafka(&mut self) -> Outcome<()> {
        let broker = real_kafka()?;
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

    /// The same load and the same settings but for `delivery`, by turns.
    pub(super) fn exactly_once(&mut self) -> Outcome<()> {
        let broker = real_kafka()?;
        let data = self.logs(1, 1 << 30)?;
        let (mut once, mut at_least) = (Vec::new(), Vec::new());
        for round in 1..=self.runs {
            self.progress(&format!("exactly-once {round}/{}", self.runs));
            let topic = format!("bench-at-least-{round}");
            at_least.push(self.ship_once(&data, SAFE, &broker, &topic)?);
            let topic = format!("bench-once-{round}");
            once.push(self.ship_once(&data, once_as(&topic), &broker, &topic)?);
        }
        let (speed, other) = (
            median(&once, Run::mb_per_s),
            median(&at_least, Run::mb_per_s),
        );
        let ratio = speed / other;
        self.row(
            "real Kafka, exactly_once, commit_interval 1 s, memory_limit 64 MiB: MB/s",
            format!("{speed:.0}; at_least_once {other:.0}; ratio {ratio:.2}"),
            "0.8 times at_least_once",
            ratio >= 0.8,
        );
        let (cpu, other) = (
            median(&once, Run::cpu_per_gb),
            median(&at_least, Run::cpu_per_gb),
        );
        self.note(
            "the same: CPU s/GB",
            format!(
                "{cpu:.2}; at_least_once {other:.2}; ratio {:.2}",
                cpu / other
            ),
        );
        let name = "exactly_once, 1,000 lines/s, as read_committed sees them: p50, p99";
        let Some(kcat) = self.peers.kcat.clone() else {
            self.note(name, "kcat is not installed".into());
            return Ok(());
        };
        let mut all = self.committed_latencies_ms(&kcat, &broker)?;
        all.sort_by(f64::total_cmp);
        let quantile = |part: f64| all[(all.len() as f64 * part) as usize];
        let measured = format!("{:.0}, {:.0} ms", quantile(0.5), quantile(0.99));
        self.note(name, measured);
        Ok(())
    }

    /// How long after it was written each line of a live log is read by a consumer.
    fn committed_latencies_ms(&mut self, kcat: &str, broker: &str) -> Outcome<Vec<f64>> {
        self.progress("exactly-once latency");
        let log = self.work.join("live.log");
        fs::write(&log, "the first line\n")?;
        let topic = "bench-once-live";
        let config = self.configure(once_as(topic), broker, topic, &log)?;
        let agent = self.start_agent(&config, &[])?;
        // A consumer does not wait for a topic.
        thread::sleep(Duration::from_secs(5));
        let (mut consumer, latencies) = consume(kcat, broker, topic)?;
        let seconds = if self.scale == 1 { 30 } else { 5 };
        let measured = write_lines(&log, seconds).and_then(|count| take_all(&latencies, count));
        consumer.kill()?;
        consumer.wait()?;
        agent.stop()?;
        measured
    }
}

/// Writes 1,000 lines a second, each with the time, after a moment in which all has settled. Returns how many.
fn write_lines(log: &Path, seconds: u64) -> Outcome<u64> {
    thread::sleep(Duration::from_secs(2));
    let mut file = OpenOptions::new().append(true).open(log)?;
    let (began, count) = (Instant::now(), seconds * 1000);
    for line in 0..count {
        let due = began + Duration::from_millis(line);
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let mut text = TIME_MARK.to_vec();
        writeln!(text, "{} an application says something, {line}", now_ns())?;
        file.write_all(&text)?;
    }
    Ok(count)
}

fn take_all(latencies: &Receiver<f64>, count: u64) -> Outcome<Vec<f64>> {
    let each = (0..count).map(|_| Ok(latencies.recv_timeout(PATIENCE)?));
    each.collect()
}

/// A consumer of committed lines. It tells of each line with a time how many milliseconds ago that was.
fn consume(kcat: &str, broker: &str, topic: &str) -> Outcome<(Child, Receiver<f64>)> {
    let mut command = Command::new(kcat);
    command.args([
        "-C",
        "-q",
        "-u",
        "-b",
        broker,
        "-t",
        topic,
        "-o",
        "beginning",
    ]);
    command.args([
        "-X",
        "isolation.level=read_committed",
        "-X",
        "fetch.wait.max.ms=10",
    ]);
    let mut consumer = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let lines = consumer.stdout.take().ok_or("it has no output")?;
    let (sender, latencies) = channel();
    thread::spawn(move || {
        for line in BufReader::new(lines).split(b'\n') {
            let Ok(line) = line else { break };
            let Some(rest) = line.strip_prefix(TIME_MARK) else {
                continue;
            };
            let digits = rest.iter().take_while(|byte| byte.is_ascii_digit());
            let written = digits.fold(0u64, |all, digit| all * 10 + u64::from(digit - b'0'));
            let ago_ms = now_ns().saturating_sub(written) as f64 / 1e6;
            if sender.send(ago_ms).is_err() {
                break;
            }
        }
    });
    Ok((consumer, latencies))
}

/// With an id of its own: what was delivered under another one is known by that.
fn once_as(id: &str) -> Settings {
    Settings {
        agent: Box::leak(format!("id = {id}\nmemory_limit = 64MiB\n").into_boxed_str()),
        kafka: "delivery = exactly_once\ncompression = none\nheaders = none\n",
        ..PLAIN
    }
}

fn real_kafka() -> Outcome<String> {
    Ok(std::env::var("KAFKA").map_err(|_| "no real Kafka is named in KAFKA")?)
}

const SAFE: Settings = Settings {
    kafka: "acks = all\nidempotence = on\ncompression = none\nheaders = none\n",
    ..PLAIN
};
/// The next line is committed by then.
const PATIENCE: Duration = Duration::from_secs(60);
