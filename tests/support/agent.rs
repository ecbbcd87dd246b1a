//! The agent as a real process.

use std::ffi::OsStr;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

/// A running (or ended) agent. Dropping it kills the process, by its id.
#[derive(Debug)]
pub(crate) struct Agent {
    child: Child,
    ended: Option<ExitStatus>,
    stdout: Arc<Output>,
    stderr: Arc<Output>,
}

/// What a process that has ended left.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Exit code; `None` if a signal ended it.
    pub(crate) code: Option<i32>,
    /// Standard output.
    pub(crate) stdout: String,
    /// Standard error: the log, or the error message.
    pub(crate) stderr: String,
}

impl Agent {
    /// The command that runs the program under test, without arguments. It logs at level INFO, or as
    /// RUST_LOG says, which must not be less.
    pub(crate) fn command() -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_logagent"));
        command.env(
            "RUST_LOG",
            std::env::var_os("RUST_LOG").unwrap_or("info".into()),
        );
        command.env("RUST_BACKTRACE", "0");
        command
    }

    /// Starts `logagent --config FILE ARGUMENTS`.
    pub(crate) fn start(config: &Path, arguments: &[impl AsRef<OsStr>]) -> Agent {
        let mut command = Agent::command();
        command.arg("--config").arg(config).args(arguments);
        Agent::spawn(command)
    }

    /// Starts `command` and captures what it prints.
    pub(crate) fn spawn(mut command: Command) -> Agent {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let stdout = Output::capture(child.stdout.take().expect("stdout is piped"));
        let stderr = Output::capture(child.stderr.take().expect("stderr is piped"));
        Agent {
            child,
            ended: None,
            stdout,
            stderr,
        }
    }

    /// Process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed to standard error so far.
    pub(crate) fn log(&self) -> String {
        self.stderr.text()
    }

    /// What it has printed to standard output so far.
    pub(crate) fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// Waits until the log contains `words`.
    pub(crate) fn wait_for_log(&self, words: &str, deadline: Duration) {
        self.stderr.wait_for(words, deadline);
    }

    /// Waits until it says (at level INFO) that it follows files, or has ended.
    pub(crate) fn wait_until_it_follows(&self, deadline: Duration) {
        let output = &self.stderr;
        let waiting = |state: &mut Captured| {
            memchr::memmem::find(&state.bytes, b" follows ").is_none() && !state.closed
        };
        let waited = output
            .changed
            .wait_timeout_while(output.state(), deadline, waiting);
        let (state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        drop(state);
        assert!(
            !timeout.timed_out(),
            "the agent does not say that it follows files"
        );
    }

    /// Waits until standard output contains `words`.
    pub(crate) fn wait_for_stdout(&self, words: &str, deadline: Duration) {
        self.stdout.wait_for(words, deadline);
    }

    /// Number of lines of the log that contain all of `words`.
    pub(crate) fn count_log(&self, words: &[&str]) -> usize {
        let log = self.log();
        let lines = log.lines();
        lines
            .filter(|line| words.iter().all(|word| line.contains(word)))
            .count()
    }

    /// Whether it has not ended.
    pub(crate) fn is_running(&mut self) -> bool {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("our own child");
        }
        self.ended.is_none()
    }

    /// Sends a signal. After SIGSTOP it waits until every thread stands still.
    pub(crate) fn signal(&self, signal: Signal) {
        // The child is not waited for before `ended` is set, so the id is still its own.
        assert!(
            self.ended.is_none(),
            "the agent has ended: {:?}",
            self.ended
        );
        rustix::process::kill_process(Pid::from_child(&self.child), signal)
            .expect("our own child can be signalled");
        if signal == Signal::STOP {
            super::env::wait_until(
                Duration::from_secs(30),
                || self.stands_still(),
                || "every thread to stop".to_owned(),
            );
        }
    }

    fn stands_still(&self) -> bool {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid()));
        let mut tasks = tasks.into_iter().flatten().flatten();
        tasks.all(|task| {
            let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            // `7 (name) T ...`, and the name may hold anything.
            stat.rsplit(") ")
                .next()
                .is_some_and(|rest| rest.starts_with('T'))
        })
    }

    /// Waits until it has ended.
    pub(crate) fn wait_exit(&mut self, deadline: Duration) -> Ended {
        let end = Instant::now() + deadline;
        while self.is_running() {
            if Instant::now() >= end {
                let log = self.log();
                panic!("the agent has not ended within {deadline:?}:\n{log}");
            }
            thread::sleep(Duration::from_millis(2));
        }
        self.stdout.wait_closed();
        self.stderr.wait_closed();
        Ended {
            code: self.ended.and_then(|status| status.code()),
            stdout: self.stdout(),
            stderr: self.log(),
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if self.is_running() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// A stream that is read to its end by a thread.
#[derive(Debug, Default)]
struct Output {
    state: Mutex<Captured>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Captured {
    bytes: Vec<u8>,
    closed: bool,
}

impl Output {
    fn capture(mut stream: impl Read + Send + 'static) -> Arc<Output> {
        let output = Arc::new(Output::default());
        let kept = output.clone();
        thread::spawn(move || {
            let mut buffer = [0; 16 << 10];
            loop {
                let count = stream.read(&mut buffer).unwrap_or(0);
                let mut state = kept.state();
                state.bytes.extend_from_slice(&buffer[..count]);
                state.closed = count == 0;
                kept.changed.notify_all();
                if count == 0 {
                    return;
                }
            }
        });
        output
    }

    fn state(&self) -> MutexGuard<'_, Captured> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.state().bytes).into_owned()
    }

    fn wait_for(&self, words: &str, deadline: Duration) {
        let finder = memchr::memmem::Finder::new(words);
        let waiting = |state: &mut Captured| finder.find(&state.bytes).is_none() && !state.closed;
        let waited = self
            .changed
            .wait_timeout_while(self.state(), deadline, waiting);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let found = finder.find(&state.bytes).is_some();
        let closed = state.closed;
        drop(state);
        assert!(
            found,
            "waited {deadline:?} for the words '{words}' (stream {})",
            if closed { "closed" } else { "open" }
        );
    }

    fn wait_closed(&self) {
        // Bounded: a grandchild could hold the stream open.
        let wait = Duration::from_secs(20);
        drop(
            self.changed
                .wait_timeout_while(self.state(), wait, |state| !state.closed),
        );
    }
}
