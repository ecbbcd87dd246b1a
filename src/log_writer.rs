//! Standard error, written by a thread of its own, so that nobody else ever waits for it.
//!
//! Supervisord, systemd and container runtimes read a program's standard error through a pipe of 64 KiB, and when
//! they stop reading, whoever writes to it stands still: a tailer that warns, a producer, the thread that takes
//! signals. So a line is only appended to a queue here, and the thread `log` writes it. What does not fit
//! into the queue, and what standard error does not take, is dropped and counted, and the count is written as
//! soon as something can be written again.
//!
//! Panics go the same way ([`LogWriter::take_panics`]): a message that is printed by the thread itself would keep it
//! from ending, and the agent from noticing.

use std::collections::VecDeque;
use std::env;
use std::io::{self, Write};
use std::mem;
use std::panic;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use log::Level;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::fstat;

use crate::panics;

/// Where lines of the log go. Every write is one line, or several that belong together.
#[derive(Debug, Clone)]
pub struct LogWriter(Arc<Queue>);

#[derive(Debug, Default)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    /// Standard error goes to systemd's journal.
    is_journal: bool,
}

#[derive(Debug, Default)]
struct State {
    entries: VecDeque<Entry>,
    bytes: usize,
    /// Lines that came after all that is in the queue, and did not fit into it.
    dropped: u64,
    /// The thread has taken an entry that it has not written yet.
    is_writing: bool,
}

#[derive(Debug)]
enum Entry {
    Line(Box<[u8]>),
    /// In the place of so many lines.
    Dropped(u64),
}

impl LogWriter {
    /// Starts the thread `log`, which writes to standard error. It ends with the process.
    pub fn to_standard_error() -> io::Result<Self> {
        let stream = env::var("JOURNAL_STREAM").ok();
        let is_journal = fstat(io::stderr())
            .is_ok_and(|stat| stream == Some(format!("{}:{}", stat.st_dev, stat.st_ino)));
        LogWriter::start(StandardError, is_journal)
    }

    fn start(out: impl Write + Send + 'static, is_journal: bool) -> io::Result<Self> {
        let queue = Arc::new(Queue {
            is_journal,
            ..Queue::default()
        });
        let taken = queue.clone();
        thread::Builder::new()
            .name("log".into())
            .stack_size(STACK_BYTES)
            .spawn(move || taken.write_all_to(out))?;
        Ok(LogWriter(queue))
    }

    /// Appends an error of one or several lines, as it is.
    pub fn say(&self, text: &str) {
        let prefix = self.prefix(Level::Error);
        let lines = text.lines().map(|line| [prefix, line, "\n"].concat());
        self.0.push(lines.collect::<String>().into_bytes());
    }

    /// Appends an error of one or several lines, each in the form of the lines of the log.
    pub fn say_as_lines(&self, text: &str) {
        let lines = text.lines().map(|line| self.0.line(Level::Error, line));
        self.0.push(lines.collect::<Vec<_>>().concat());
    }

    /// What a line of this level begins with, for systemd's journal to know the level (sd-daemon(3)). Nothing where
    /// standard error goes elsewhere.
    pub fn prefix(&self, level: Level) -> &'static str {
        self.0.prefix(level)
    }

    /// Waits until everything is written or dropped, for `time` at most.
    pub fn flush_within(&self, time: Duration) {
        let is_busy = |state: &mut State| !state.is_idle();
        let queue = &self.0;
        drop(
            queue
                .changed
                .wait_timeout_while(queue.state(), time, is_busy),
        );
    }

    /// From now on the message of a panic is a line of the log.
    pub fn take_panics(&self) {
        let log = self.clone();
        panic::set_hook(Box::new(move |panic| {
            let queue = &log.0;
            let name = thread::current().name().unwrap_or("unnamed").to_owned();
            // `panic` says what and where, on two lines.
            let text = panic.to_string().replace('\n', " ");
            queue.push(queue.line(Level::Error, &format!("thread '{name}' {text}")));
            panics::reported(panic.payload(), || log.flush_within(LAST_WORDS));
        }));
    }
}

impl Write for LogWriter {
    /// Takes all of it, and never waits.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl State {
    fn is_idle(&self) -> bool {
        !self.is_writing && self.entries.is_empty() && self.dropped == 0
    }

    /// The oldest entry; what was dropped comes after all others.
    fn pop(&mut self) -> Option<Entry> {
        let entry = self.entries.pop_front();
        if let Some(Entry::Line(line)) = &entry {
            self.bytes -= line.len();
        }
        let dropped = || match mem::take(&mut self.dropped) {
            0 => None,
            dropped => Some(Entry::Dropped(dropped)),
        };
        entry.or_else(dropped)
    }
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: Vec<u8>) {
        let mut state = self.state();
        // One line has room in any case.
        if !state.entries.is_empty() && state.bytes + line.len() > MAX_BYTES {
            state.dropped += 1;
            return;
        }
        if state.dropped > 0 {
            let dropped = mem::take(&mut state.dropped);
            state.entries.push_back(Entry::Dropped(dropped));
        }
        state.bytes += line.len();
        state.entries.push_back(Entry::Line(line.into()));
        drop(state);
        self.changed.notify_all();
    }

    /// Body of the thread `log`. It owns standard error, and nobody waits for it but [`LogWriter::flush_within`],
    /// for a time. What standard error does not take is counted, and the count is written before the
    /// next line that it takes.
    fn write_all_to(&self, mut out: impl Write) {
        let mut lost = 0;
        loop {
            let (text, count) = match self.next() {
                Entry::Line(line) => (line, 1),
                Entry::Dropped(dropped) => {
                    lost += dropped;
                    (Box::default(), 0)
                }
            };
            let head = match lost {
                0 => Vec::new(),
                lost => self.line(Level::Warn, &format!("{lost} log lines were dropped")),
            };
            let written = out.write_all(&head).and_then(|()| {
                lost = 0;
                out.write_all(&text)
            });
            if written.is_err() {
                lost += count;
            }
            self.state().is_writing = false;
            self.changed.notify_all();
        }
    }

    fn prefix(&self, level: Level) -> &'static str {
        match level {
            _ if !self.is_journal => "",
            Level::Error => "<3>",
            Level::Warn => "<4>",
            Level::Info => "<6>",
            Level::Debug | Level::Trace => "<7>",
        }
    }

    /// A line of the log that does not come from `log`, which may be what is in trouble.
    fn line(&self, level: Level, text: &str) -> Vec<u8> {
        let now = humantime::format_rfc3339_millis(SystemTime::now());
        let prefix = self.prefix(level);
        format!("{prefix}{now} {level:<5} {text}\n").into_bytes()
    }

    /// Waits for an entry.
    fn next(&self) -> Entry {
        let mut state = self.state();
        loop {
            if let Some(entry) = state.pop() {
                state.is_writing = true;
                return entry;
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// File descriptor 2, without the lock that `eprintln!` takes: nobody must wait for that either.
struct StandardError;

impl Write for StandardError {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let stderr = io::stderr();
        loop {
            match rustix::io::write(&stderr, bytes) {
                // Whoever started the agent may have set it so.
                Err(rustix::io::Errno::AGAIN) => {
                    let mut writable = [PollFd::new(&stderr, PollFlags::OUT)];
                    match poll(&mut writable, None) {
                        Ok(_) | Err(rustix::io::Errno::INTR) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                result => return Ok(result?),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Bound of what waits to be written.
const MAX_BYTES: usize = 256 << 10;
/// How long the words of a panic may take to be written before the process ends.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// Enough for a loop that writes.
const STACK_BYTES: usize = 128 << 10;

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    /// A standard error that takes a line only when the test lets it, and passes on what it has taken.
    struct Slow {
        permits: Receiver<io::Result<()>>,
        taken: Sender<String>,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // After the test has ended everything is taken.
            self.permits.recv().unwrap_or(Ok(()))?;
            let _ = self.taken.send(String::from_utf8_lossy(bytes).into_owned());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn slow() -> (LogWriter, Sender<io::Result<()>>, Receiver<String>) {
        slow_to(false)
    }

    fn slow_to(is_journal: bool) -> (LogWriter, Sender<io::Result<()>>, Receiver<String>) {
        let ((permit, permits), (taken, lines)) = (channel(), channel());
        let writer = LogWriter::start(Slow { permits, taken }, is_journal).expect("a thread");
        (writer, permit, lines)
    }

    fn next(lines: &Receiver<String>) -> String {
        lines.recv_timeout(SOON).expect("a line is written")
    }

    #[test]
    fn each_line_for_the_journal_begins_with_its_level() {
        let (writer, permit, lines) = slow_to(true);
        drop(permit);
        writer.say("logagent: no\ntry --help");
        assert_eq!(next(&lines), "<3>logagent: no\n<3>try --help\n");
        let levels = [Level::Error, Level::Warn, Level::Info, Level::Trace];
        let prefixes = levels.map(|level| writer.prefix(level));
        assert_eq!(prefixes, ["<3>", "<4>", "<6>", "<7>"]);
        assert_eq!(slow().0.prefix(Level::Error), "");
    }

    #[test]
    fn lines_are_written_in_order() {
        let (writer, permit, lines) = slow();
        for number in 0..3 {
            permit.send(Ok(())).expect("it listens");
            writer.say(&format!("line {number}"));
        }
        writer.flush_within(SOON);
        let written: Vec<String> = lines.try_iter().collect();
        assert_eq!(written, ["line 0\n", "line 1\n", "line 2\n"]);
    }

    #[test]
    fn while_nothing_is_taken_nobody_waits_and_what_does_not_fit_is_counted_in_its_place() {
        let (mut writer, permit, lines) = slow();
        let line = [b'x'; 1023];
        let fitting = MAX_BYTES / 1024;
        writer.say("first");
        // The thread has taken the first line and hangs with it, or has not and then one less fits.
        for _ in 0..fitting + 100 {
            writer
                .write_all(&[&line[..], b"\n"].concat())
                .expect("it takes all");
        }
        writer.flush_within(Duration::from_millis(10));
        permit.send(Ok(())).expect("it listens");
        assert_eq!(next(&lines), "first\n");
        permit.send(Ok(())).expect("it listens");
        next(&lines);
        writer.say("after");
        drop(permit);
        let mut kept = 1;
        let count = loop {
            let text = next(&lines);
            match text.starts_with('x') {
                true => kept += 1,
                false => break text,
            }
        };
        let dropped = fitting + 100 - kept;
        assert!((100..=101).contains(&dropped), "{dropped}");
        let words = format!(" WARN  {dropped} log lines were dropped\n");
        assert!(count.ends_with(&words), "{count}");
        assert_eq!(next(&lines), "after\n");
    }

    #[test]
    fn what_could_not_be_written_is_counted_before_the_next_line_that_can() {
        let (writer, permit, lines) = slow();
        for _ in 0..3 {
            permit
                .send(Err(io::ErrorKind::BrokenPipe.into()))
                .expect("it listens");
            writer.say("lost");
            writer.flush_within(SOON);
        }
        drop(permit);
        writer.say("written");
        let count = next(&lines);
        assert!(
            count.ends_with(" WARN  3 log lines were dropped\n"),
            "{count}"
        );
        assert_eq!(next(&lines), "written\n");
    }

    #[test]
    fn a_flush_ends_in_time_whatever_standard_error_does() {
        let (writer, _permit, _lines) = slow();
        writer.say("stuck");
        let began = std::time::Instant::now();
        writer.flush_within(Duration::from_millis(50));
        assert!(began.elapsed() >= Duration::from_millis(50));
        assert!(began.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn a_line_longer_than_the_queue_is_written() {
        let (writer, permit, lines) = slow();
        drop(permit);
        writer.say(&"x".repeat(2 * MAX_BYTES));
        writer.flush_within(SOON);
        assert_eq!(next(&lines).len(), 2 * MAX_BYTES + 1);
    }
}
