//! A program that is measured: started, looked at through /proc, stopped.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

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
