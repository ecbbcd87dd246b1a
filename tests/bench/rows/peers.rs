//! Programs that are measured, and those beside the agent that send log files to Kafka, where they are installed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::logs::Data;
use super::measure::{PATIENCE, Run};
use super::{Bench, Outcome};

/// The peers that were found.
pub(crate) struct Peers {
    /// The kcat to run.
    pub(crate) kcat: Option<String>,
    /// The rsyslogd to run; it has imfile and omkafka.
    pub(crate) rsyslog: Option<Rsyslog>,
}

/// An rsyslogd, and where its modules lie if it would not find them.
#[derive(Clone)]
pub(crate) struct Rsyslog {
    program: String,
    modules: Option<String>,
}

/// What an rsyslog is told beyond where to read and to send.
pub(crate) struct Tuning<'a> {
    /// Parameters of its queue.
    pub(crate) queue: &'a str,
    /// Parameters of librdkafka, quoted, with commas between them.
    pub(crate) producer: &'a str,
}

impl Tuning<'static> {
    /// Its defaults, but for what all shippers of a row have in common.
    pub(crate) const LZ4: Tuning<'static> = Tuning {
        queue: "",
        producer: r#""acks=1", "compression.codec=lz4""#,
    };
    /// The same, but it does not wait 5 ms for more.
    pub(crate) const LZ4_AT_ONCE: Tuning<'static> = Tuning {
        queue: "",
        producer: r#""acks=1", "compression.codec=lz4", "linger.ms=0""#,
    };
}

impl Peers {
    /// Looks for them in PATH, or where `KCAT`, `RSYSLOGD` and `RSYSLOG_MODULES` say.
    pub(crate) fn find() -> Peers {
        let kcat = std::env::var("KCAT").unwrap_or_else(|_| "kcat".into());
        let program = std::env::var("RSYSLOGD").unwrap_or_else(|_| "rsyslogd".into());
        let modules = std::env::var("RSYSLOG_MODULES").ok();
        let rsyslog = Rsyslog { program, modules };
        Peers {
            kcat: succeeds(Command::new(&kcat).arg("-V")).then_some(kcat),
            rsyslog: rsyslog.has_modules().then_some(rsyslog),
        }
    }
}

impl Rsyslog {
    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        if let Some(modules) = &self.modules {
            command.arg("-M").arg(modules);
        }
        command
    }

    /// Whether it accepts a configuration (`-N1`) that loads what is needed.
    fn has_modules(&self) -> bool {
        let path = std::env::temp_dir().join(format!("logagent-bench-{}.conf", std::process::id()));
        let text = r#"global(workDirectory="/tmp")
module(load="imfile")
module(load="omkafka")
input(type="imfile" file="/dev/null" tag="none")
action(type="omfile" file="/dev/null")
"#;
        let accepts = fs::write(&path, text).is_ok()
            && succeeds(self.command().arg("-N1").arg("-f").arg(&path));
        let _ = fs::remove_file(&path);
        accepts
    }
}

fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|out| out.status.success())
}

impl Bench {
    /// Sends the data to the sink with kcat, acks=1.
    pub(crate) fn kcat(&self, kcat: &str, data: &Data) -> Outcome<Run> {
        let before = self.sink.records();
        let run = self.run_kcat(kcat, data, &self.sink_address(), "bench", &["acks=1"])?;
        // It leaves empty lines out; there are none.
        self.sink.wait_for(before + data.lines, PATIENCE)?;
        Ok(run)
    }

    pub(crate) fn run_kcat(
        &self,
        kcat: &str,
        data: &Data,
        broker: &str,
        topic: &str,
        options: &[&str],
    ) -> Outcome<Run> {
        let mut command = Command::new(kcat);
        command.args(["-P", "-b", broker, "-t", topic, "-l"]);
        command.arg(&data.first);
        for option in options {
            command.args(["-X", option]);
        }
        let mut program = Program::start(&mut command, &self.work.join("kcat.log"))?;
        let cpu_s = program.wait()?.as_secs_f64();
        Ok(Run {
            wall_s: program.started.elapsed().as_secs_f64(),
            cpu_s,
            peak_mib: 0.0,
            bytes: data.bytes,
        })
    }

    /// Sends the data to the sink with rsyslog, acks=1, in batches like ours.
    pub(crate) fn ship_by_rsyslog(&self, rsyslog: &Rsyslog, data: &Data) -> Outcome<Run> {
        let before = self.sink.records();
        let program = self.start_rsyslog(rsyslog, 50, &data.glob)?;
        self.sink.wait_for(before + data.lines, PATIENCE)?;
        let wall_s = program.started.elapsed().as_secs_f64();
        let peak_mib = program.peak_mib()?;
        Ok(Run {
            wall_s,
            cpu_s: program.stop()?.as_secs_f64(),
            peak_mib,
            bytes: data.bytes,
        })
    }

    /// Starts an rsyslog that follows `glob` from the beginning, with a queue and batches like ours.
    pub(crate) fn start_rsyslog(
        &self,
        rsyslog: &Rsyslog,
        linger_ms: u32,
        glob: &Path,
    ) -> Outcome<Program> {
        let tuning = Tuning {
            queue: r#"queue.type="FixedArray" queue.size="100000" queue.dequeueBatchSize="4096""#,
            producer: &format!(
                r#""acks=1", "compression.codec=none", "linger.ms={linger_ms}",
            "queue.buffering.max.messages=1000000""#
            ),
        };
        self.start_tuned_rsyslog(rsyslog, &tuning, &self.sink_address(), glob)
    }

    /// Starts an rsyslog that follows `glob` from the beginning.
    pub(crate) fn start_tuned_rsyslog(
        &self,
        rsyslog: &Rsyslog,
        tuning: &Tuning<'_>,
        broker: &str,
        glob: &Path,
    ) -> Outcome<Program> {
        let state = self.work.join("rsyslog");
        let _ = fs::remove_dir_all(&state);
        fs::create_dir_all(&state)?;
        let text = format!(
            r#"global(workDirectory="{state}" maxMessageSize="1m")
module(load="imfile" mode="inotify")
module(load="omkafka")
template(name="line" type="list") {{ property(name="msg") }}
ruleset(name="out" {queue}) {{
    action(type="omkafka" broker=["{broker}"] topic="bench" template="line"
        confParam=[{producer}])
}}
input(type="imfile" file="{files}" tag="bench" ruleset="out")
"#,
            state = state.display(),
            queue = tuning.queue,
            producer = tuning.producer,
            files = glob.display(),
        );
        let config: PathBuf = state.join("rsyslog.conf");
        fs::write(&config, text)?;
        let mut command = rsyslog.command();
        command.arg("-n").arg("-i").arg(state.join("pid"));
        command.arg("-f").arg(&config);
        Ok(Program::start(
            &mut command,
            &self.work.join("rsyslog.log"),
        )?)
    }
}

/// A running program; it is killed when dropped.
pub(crate) struct Program {
    child: Child,
    pub(crate) started: Instant,
}

impl Program {
    /// Starts it, with what it says going to the file `log`.
    pub(crate) fn start(command: &mut Command, log: &Path) -> io::Result<Program> {
        let log = fs::File::create(log)?;
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let started = Instant::now();
        let child = command.spawn()?;
        Ok(Program { child, started })
    }

    /// CPU time of all its threads so far, those that ended included.
    pub(crate) fn cpu(&self) -> io::Result<Duration> {
        cpu_of(self.child.id())
    }

    fn status_kib(&self, field: &str) -> io::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find(|line| line.starts_with(field));
        line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
            .ok_or_else(|| io::Error::other(format!("/proc/PID/status has no {field}")))
    }

    /// Resident memory now, in MiB.
    pub(crate) fn resident_mib(&self) -> io::Result<f64> {
        Ok(self.status_kib("VmRSS:")? as f64 / 1024.0)
    }

    /// The most resident memory so far, in MiB.
    pub(crate) fn peak_mib(&self) -> io::Result<f64> {
        Ok(self.status_kib("VmHWM:")? as f64 / 1024.0)
    }

    /// How many threads it has.
    pub(crate) fn threads(&self) -> io::Result<u64> {
        self.status_kib("Threads:")
    }

    /// Asks it to stop and waits; gives its CPU time to the very end.
    pub(crate) fn stop(mut self) -> io::Result<Duration> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        self.wait()
    }

    /// Waits until it ends by itself; gives its CPU time.
    pub(crate) fn wait(&mut self) -> io::Result<Duration> {
        let end = Instant::now() + Duration::from_secs(600);
        loop {
            // What has ended and is not waited for is a zombie, whose times can still be read.
            let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
            if stat.rsplit(") ").next().is_some_and(|s| s.starts_with('Z')) {
                break;
            }
            if Instant::now() > end {
                return Err(io::Error::other("the program does not end"));
            }
            thread::sleep(Duration::from_millis(2));
        }
        let cpu = self.cpu()?;
        let status = self.child.wait()?;
        match status.success() {
            true => Ok(cpu),
            false => Err(io::Error::other(format!("the program ended with {status}"))),
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// CPU time of all threads of a process so far, those that ended included.
pub(crate) fn cpu_of(pid: u32) -> io::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // `7 (name) S ...`, and the name may hold anything; then utime and stime are fields 12 and 13.
    let fields: Vec<&str> = stat
        .rsplit(") ")
        .next()
        .map(|rest| rest.split(' ').collect())
        .unwrap_or_default();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok());
    match (ticks(11), ticks(12)) {
        (Some(user), Some(system)) => Ok(Duration::from_millis(
            (user + system) * 1000 / TICKS_PER_SECOND,
        )),
        _ => Err(io::Error::other("/proc/PID/stat cannot be understood")),
    }
}

/// What times in /proc are counted in (USER_HZ): 100 on every Linux that this program runs on.
const TICKS_PER_SECOND: u64 = 100;
