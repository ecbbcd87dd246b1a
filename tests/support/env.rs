//! A world of its own for each test: a folder, a Kafka cluster, an ini file, and the agent.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use super::agent::{Agent, Ended};
use super::broker::{Cluster, Record};

/// How long anything that should come at once may take on a machine that stands still for seconds.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// The topic that lines go to unless a test says otherwise.
pub(crate) const TOPIC: &str = "logs";

/// A test's world. Files are named relative to [`Env::log_dir`].
///
/// When a test fails, dropping it prints the folders, the checkpoints, the agent's log and what the
/// broker has seen.
#[derive(Debug)]
pub(crate) struct Env {
    /// The cluster that the ini file names.
    pub(crate) broker: Cluster,
    folder: TempDir,
    ini: Vec<(String, Vec<(String, String)>)>,
    agent: Option<Agent>,
    /// Logs of agents that have ended.
    ended: Vec<String>,
}

impl Env {
    /// With a cluster of one node, the topic [`TOPIC`] of one partition, and an ini that follows
    /// `*.log` in the log folder, quick in everything.
    pub(crate) fn new() -> Env {
        let cluster = Cluster::single();
        cluster.create_topic(TOPIC, 1);
        Env::with(cluster)
    }

    /// As [`Env::new`], but the ini follows `app.log` alone.
    pub(crate) fn following_one_path() -> Env {
        let mut env = Env::new();
        let path = env.path("app.log");
        env.set("log:app", "path", &path);
        env
    }

    /// As [`Env::new`], with `partitions` partitions.
    pub(crate) fn with_partitions(partitions: usize) -> Env {
        let cluster = Cluster::single();
        cluster.create_topic(TOPIC, partitions);
        Env::with(cluster)
    }

    /// With this cluster.
    pub(crate) fn with(broker: Cluster) -> Env {
        let folder = tempfile::Builder::new()
            .prefix("logagent-test-")
            .tempdir()
            .expect("a temporary folder");
        let mut env = Env {
            broker,
            folder,
            ini: Vec::new(),
            agent: None,
            ended: Vec::new(),
        };
        fs::create_dir(env.log_dir()).unwrap();
        fs::create_dir(env.state_dir()).unwrap();
        let (state_dir, brokers) = (env.state_dir().display().to_string(), env.broker.brokers());
        let glob = env.path("*.log");
        env.set("agent", "state_dir", &state_dir)
            .set("agent", "checkpoint_interval", "50ms")
            .set("agent", "shutdown_timeout", "5s")
            .set("kafka", "brokers", &brokers)
            .set("kafka", "topic", TOPIC)
            .set("kafka", "linger", "5ms")
            .set("kafka", "request_timeout", "5s")
            .set("log:app", "path", &glob)
            .set("log:app", "rotate_wait", "300ms");
        env
    }

    // The ini file.

    /// Sets a key; an earlier value is replaced.
    pub(crate) fn set(&mut self, section: &str, key: &str, value: &str) -> &mut Env {
        self.unset(section, key);
        let found = self.ini.iter_mut().find(|(name, _)| name == section);
        let entry = (key.to_owned(), value.to_owned());
        match found {
            Some((_, entries)) => entries.push(entry),
            None => self.ini.push((section.to_owned(), vec![entry])),
        }
        self
    }

    /// Removes a key.
    pub(crate) fn unset(&mut self, section: &str, key: &str) -> &mut Env {
        for (name, entries) in &mut self.ini {
            if name == section {
                entries.retain(|(name, _)| name != key);
            }
        }
        self
    }

    /// Removes a section.
    pub(crate) fn unset_section(&mut self, section: &str) -> &mut Env {
        self.ini.retain(|(name, _)| name != section);
        self
    }

    /// The ini file's text.
    pub(crate) fn ini(&self) -> String {
        let mut text = String::new();
        for (section, entries) in &self.ini {
            writeln!(text, "[{section}]").expect("strings take everything");
            for (key, value) in entries {
                writeln!(text, "{key} = {value}").expect("strings take everything");
            }
        }
        text
    }

    /// Where the ini file is written.
    pub(crate) fn config(&self) -> PathBuf {
        self.folder.path().join("logagent.ini")
    }

    // Folders and files.

    /// Folder of the log files.
    pub(crate) fn log_dir(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// Folder of the checkpoints.
    pub(crate) fn state_dir(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// The checkpoints file.
    pub(crate) fn checkpoints(&self) -> PathBuf {
        self.state_dir().join("checkpoints")
    }

    /// Path of a log file as text.
    pub(crate) fn path(&self, name: &str) -> String {
        self.log_dir().join(name).display().to_string()
    }

    /// Opens a log file for appending, as a program that logs does, and makes it if need be.
    pub(crate) fn open(&self, name: &str) -> File {
        let path = self.log_dir().join(name);
        let opened = OpenOptions::new().append(true).create(true).open(&path);
        opened.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Appends bytes, in one write.
    pub(crate) fn append(&self, name: &str, bytes: impl AsRef<[u8]>) {
        self.open(name).write_all(bytes.as_ref()).unwrap();
    }

    /// Appends the lines [`lines`] gives for `numbers`, in one write.
    pub(crate) fn write_lines(&self, name: &str, numbers: Range<usize>) {
        self.append(name, lines(numbers).join("\n") + "\n");
    }

    /// Renames a file, as a rotation does.
    pub(crate) fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    /// Cuts a file to nothing; it stays the same file.
    pub(crate) fn truncate(&self, name: &str) {
        let file = OpenOptions::new().write(true).open(self.path(name));
        file.unwrap().set_len(0).unwrap();
    }

    /// Copies a file and cuts the original to nothing, as logrotate's `copytruncate` does.
    pub(crate) fn copytruncate(&self, name: &str, copy: &str) {
        fs::copy(self.path(name), self.path(copy)).unwrap();
        self.truncate(name);
    }

    /// Removes a file.
    pub(crate) fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).unwrap();
    }

    /// Makes `link` lead to `target`.
    pub(crate) fn symlink(&self, target: &str, link: &str) {
        std::os::unix::fs::symlink(self.path(target), self.path(link)).unwrap();
    }

    /// Makes a folder.
    pub(crate) fn make_folder(&self, name: &str) {
        fs::create_dir_all(self.path(name)).unwrap();
    }

    /// Replaces `name` by `name.gz`, as a rotation with `compress` does.
    pub(crate) fn gzip(&self, name: &str) {
        let target = File::create(self.path(&format!("{name}.gz"))).unwrap();
        let mut encoder = flate2::write::GzEncoder::new(target, flate2::Compression::fast());
        encoder
            .write_all(&fs::read(self.path(name)).unwrap())
            .unwrap();
        encoder.finish().unwrap();
        self.remove(name);
    }

    // The agent.

    /// Writes the ini file, starts the agent, and waits until it has looked at what is there (or
    /// ended): before that a signal would meet a process that is not ready to stop in order.
    pub(crate) fn start(&mut self) {
        let agent = self.spawn(&[]);
        agent.wait_until_it_follows(SOON);
        self.adopt(agent);
    }

    /// As [`Env::start`], without the wait.
    pub(crate) fn start_and_run_on(&mut self) {
        let agent = self.spawn(&[]);
        self.adopt(agent);
    }

    /// Writes the ini file and starts an agent beside the one of [`Env::start`].
    pub(crate) fn spawn(&self, arguments: &[&str]) -> Agent {
        Agent::spawn(self.command(arguments))
    }

    /// As [`Env::start`], with the permissions of files binding even if the test runs as root.
    /// `false` (and no agent) if that cannot be had here.
    pub(crate) fn start_bound_by_permissions(&mut self) -> bool {
        let Some(command) = self.command_bound_by_permissions(&[]) else {
            return false;
        };
        self.adopt(Agent::spawn(command));
        true
    }

    /// As [`Env::run`], with the permissions of files binding; `None` if that cannot be had here.
    pub(crate) fn run_bound_by_permissions(&self, arguments: &[&str]) -> Option<Ended> {
        let command = self.command_bound_by_permissions(arguments)?;
        Some(Agent::spawn(command).wait_exit(SOON))
    }

    fn command_bound_by_permissions(&self, arguments: &[&str]) -> Option<Command> {
        match rustix::process::geteuid().is_root() {
            true => {
                let unbound = "--bounding-set=-dac_override,-dac_read_search";
                self.command_under_setpriv(&[unbound], arguments)
            }
            false => Some(self.command(arguments)),
        }
    }

    /// The command of an agent that runs under `setpriv` with these `options`, after the ini file is written; `None`
    /// if setpriv cannot do that here.
    pub(crate) fn command_under_setpriv(
        &self,
        options: &[&str],
        arguments: &[&str],
    ) -> Option<Command> {
        let mut probe = Command::new("setpriv");
        let probe = probe.args(options).arg("true").status();
        probe.ok().filter(ExitStatus::success)?;
        let agent = self.command(arguments);
        let mut command = Command::new("setpriv");
        command.args(options).arg(agent.get_program());
        command.args(agent.get_args());
        let environment = agent.get_envs();
        command.envs(environment.filter_map(|(name, value)| Some((name, value?))));
        Some(command)
    }

    /// The command of an agent, after the ini file is written, unless it is as it should be: an agent that has just been
    /// started may be reading it, and a file that is being written is empty for a moment.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let ini = self.ini();
        if fs::read(self.config()).ok().as_deref() != Some(ini.as_bytes()) {
            fs::write(self.config(), ini).unwrap();
        }
        let mut command = Agent::command();
        command.arg("--config").arg(self.config()).args(arguments);
        command
    }

    /// Has `agent` be the running one.
    pub(crate) fn adopt(&mut self, agent: Agent) {
        assert!(self.agent.is_none(), "an agent is running already");
        self.agent = Some(agent);
    }

    /// Runs the agent with these arguments (after `--config`) until it ends by itself.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        self.spawn(arguments).wait_exit(SOON)
    }

    /// The running agent.
    pub(crate) fn agent(&mut self) -> &mut Agent {
        self.agent.as_mut().expect("an agent was started")
    }

    /// The running agent's log.
    pub(crate) fn log(&self) -> String {
        self.agent.as_ref().map(Agent::log).unwrap_or_default()
    }

    /// The logs of all agents so far, the running one last.
    pub(crate) fn all_logs(&self) -> String {
        self.ended.concat() + &self.log()
    }

    /// Stops the agent with SIGTERM, and fails unless it ends with exit code 0.
    pub(crate) fn stop(&mut self) -> Ended {
        self.agent().signal(Signal::TERM);
        let ended = self.wait_exit(SOON);
        assert_eq!(ended.code, Some(0), "exit code after SIGTERM");
        ended
    }

    /// Kills the agent with SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.agent().signal(Signal::KILL);
        self.wait_exit(SOON);
    }

    /// Sends the agent a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let agent = self.agent.as_ref().expect("an agent was started");
        agent.signal(signal);
    }

    /// Makes more events in the log folder than the kernel keeps for the agent, which must stand still.
    pub(crate) fn overflow_events(&self) {
        let queued = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
        let queued: usize = queued.trim().parse().unwrap();
        assert!(
            queued <= 100_000,
            "cannot be tested: the queue takes {queued} events"
        );
        // Equal events in a row are one, so there are two kinds in turn.
        for _ in 0..queued / 2 + 100 {
            self.open("noise.txt");
            self.remove("noise.txt");
        }
    }

    /// Waits until the agent has ended.
    pub(crate) fn wait_exit(&mut self, deadline: Duration) -> Ended {
        let ended = self.agent().wait_exit(deadline);
        self.ended.push(ended.stderr.clone());
        self.agent = None;
        ended
    }

    /// Waits until the agent's log contains `words`.
    pub(crate) fn wait_for_log(&mut self, words: &str, deadline: Duration) {
        self.agent().wait_for_log(words, deadline);
    }

    /// Waits until the checkpoints say that all of this file is acknowledged.
    pub(crate) fn wait_for_checkpoint_at_the_end_of(&self, name: &str) {
        self.wait_for_field_with_the_size_of(0, name);
    }

    /// Waits until the checkpoints say that all of this file was seen.
    pub(crate) fn wait_for_checkpoint_with_the_size_of(&self, name: &str) {
        self.wait_for_field_with_the_size_of(1, name);
    }

    fn wait_for_field_with_the_size_of(&self, at: usize, name: &str) {
        let file = fs::metadata(self.path(name)).unwrap();
        let (size, inode) = (file.len().to_string(), file.ino().to_string());
        wait_until(
            SOON,
            || {
                let positions = self.positions();
                let mut of_file = positions
                    .iter()
                    .filter(|fields| fields[Env::INODE] == inode);
                of_file.any(|fields| fields[at] == size)
            },
            || format!("{size} in field {at} of the checkpoint of {name}"),
        );
    }

    /// Waits until field `at` of a checkpoint (0: the offset, 1: the size that was seen) is `size`.
    pub(crate) fn wait_for_checkpoint_field(&self, at: usize, size: u64) {
        let size = size.to_string();
        wait_until(
            SOON,
            || self.positions().iter().any(|fields| fields[at] == size),
            || format!("{size} in field {at} of a checkpoint"),
        );
    }

    /// Which field of [`Env::positions`] is the number of the file.
    pub(crate) const INODE: usize = 5;
    /// Which field of [`Env::positions`] is the path.
    pub(crate) const PATH: usize = 14;

    /// The fields of each checkpoint as it is now: offset, size, tail checksum (2), device, inode and so on. Reads the file as
    /// the README tells users to.
    pub(crate) fn positions(&self) -> Vec<Vec<String>> {
        const SERIAL: usize = 11;
        let text = fs::read_to_string(self.checkpoints()).unwrap_or_default();
        let mut positions: BTreeMap<u64, Vec<String>> = BTreeMap::new();
        let lines = text
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'));
        for line in lines {
            let fields: Vec<String> = line.trim_end().split(' ').map(str::to_owned).collect();
            match fields.len() {
                3 if fields[0] == "gone" => drop(positions.remove(&fields[1].parse().unwrap())),
                6 => {
                    let known = positions.get_mut(&fields[4].parse().unwrap());
                    known.expect("was known before it moved")[..4].clone_from_slice(&fields[..4]);
                }
                16.. => {
                    let mut serials = fields[SERIAL].split(',').map(|n| n.parse().unwrap());
                    let serial = serials.next().expect("has one");
                    serials.for_each(|replaced| drop(positions.remove(&replaced)));
                    positions.insert(serial, fields);
                }
                _ => {}
            }
        }
        positions.into_values().collect()
    }

    // What arrived.

    /// Waits until [`TOPIC`] has at least `n` records.
    pub(crate) fn wait_for_records(&mut self, n: usize) -> Vec<Record> {
        let mut ended = None;
        wait_until(
            SOON,
            || {
                if !self.agent.as_mut().is_some_and(Agent::is_running) && ended.is_none() {
                    ended = Some(Instant::now());
                }
                // An agent that has ended sends nothing more; do not wait the whole time.
                let in_vain = ended.is_some_and(|at| at.elapsed() > Duration::from_millis(500));
                assert!(
                    !in_vain || self.broker.count(TOPIC) >= n,
                    "the agent has ended with {} of {n} records sent",
                    self.broker.count(TOPIC)
                );
                self.broker.count(TOPIC) >= n
            },
            || format!("{n} records; there are {}", self.broker.count(TOPIC)),
        );
        self.broker.records(TOPIC)
    }

    /// Waits until these lines are in [`TOPIC`], and fails unless it holds exactly them, in order.
    pub(crate) fn expect_lines(&mut self, expected: &[String]) -> Vec<Record> {
        let records = self.wait_for_records(expected.len());
        let values: Vec<String> = records.iter().map(Record::text).collect();
        assert_same_lines(expected, &values);
        records
    }

    /// Stops the agent, then fails unless [`TOPIC`] holds exactly these lines, in order: nothing
    /// came late and nothing came twice.
    pub(crate) fn stop_and_expect_lines(&mut self, expected: &[String]) {
        self.expect_lines(expected);
        self.stop();
        assert_same_lines(expected, &self.broker.values(TOPIC));
    }
}

impl Drop for Env {
    fn drop(&mut self) {
        if thread::panicking() {
            // One call: reports of tests that fail at the same time do not mix.
            eprintln!("{}", self.report());
        }
        self.agent = None;
    }
}

impl Env {
    fn report(&self) -> String {
        let mut report = format!("---- {}\n{}", self.config().display(), self.ini());
        list(self.folder.path(), &mut report);
        match fs::read(self.checkpoints()) {
            Ok(bytes) => {
                let text = String::from_utf8_lossy(&bytes);
                report += &format!("---- checkpoints\n{text}\n");
            }
            Err(error) => report += &format!("---- checkpoints: {error}\n"),
        }
        report += &format!("---- broker\n{}", self.broker.report());
        let running = self.agent.as_ref().map(Agent::log);
        for log in self.ended.iter().chain(&running) {
            let lines: Vec<&str> = log.lines().collect();
            let last = lines.len().saturating_sub(LOG_LINES);
            report += &format!("---- agent ({last} lines before)\n");
            report += &lines[last..].join("\n");
            report += "\n";
        }
        report
    }
}

/// Lines of an agent's log that a failing test prints.
const LOG_LINES: usize = 200;

fn list(folder: &Path, report: &mut String) {
    *report += &format!("---- {}\n", folder.display());
    let mut entries: Vec<_> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in &entries {
        let Ok(metadata) = fs::symlink_metadata(entry.path()) else {
            continue;
        };
        let name = entry.file_name();
        let (inode, size) = (metadata.ino(), metadata.len());
        let mode = metadata.mode();
        *report += &format!("{inode:>10} {mode:o} {size:>10} {}\n", name.display());
    }
    for entry in entries {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            list(&entry.path(), report);
        }
    }
}

/// Waits for a condition; fails at the deadline, saying what was waited for.
pub(crate) fn wait_until(
    deadline: Duration,
    condition: impl FnMut() -> bool,
    describe: impl FnOnce() -> String,
) {
    wait_and_look_every(Duration::from_millis(5), deadline, condition, describe);
}

/// As [`wait_until`], where looking is dear: `pause` is between two looks.
pub(crate) fn wait_and_look_every(
    pause: Duration,
    deadline: Duration,
    mut condition: impl FnMut() -> bool,
    describe: impl FnOnce() -> String,
) {
    let end = Instant::now() + deadline;
    while !condition() {
        if Instant::now() >= end {
            panic!("waited {deadline:?} for {}", describe());
        }
        thread::sleep(pause);
    }
}

/// The ERROR lines of a log that say that something is lost, and how many bytes of it.
pub(crate) fn losses(log: &str) -> impl Iterator<Item = (&str, u64)> {
    log.lines()
        .filter(|line| line.contains("ERROR") && line.contains("lost"))
        .map(|line| {
            let figure = line.split_once(" bytes from offset ");
            let figure = figure.and_then(|(before, _)| before.rsplit(' ').next()?.parse().ok());
            (line, figure.unwrap_or_else(|| panic!("no figure: {line}")))
        })
}

/// `line 0`, `line 1` and so on.
pub(crate) fn lines(numbers: Range<usize>) -> Vec<String> {
    numbers.map(|number| format!("line {number}")).collect()
}

/// Fails unless `got` is `expected`, and says in a few words how it differs.
pub(crate) fn assert_same_lines(expected: &[String], got: &[String]) {
    if expected == got {
        return;
    }
    let (missing, unexpected) = difference(expected, got);
    let at = expected
        .iter()
        .zip(got)
        .position(|(one, other)| one != other);
    let at = at.unwrap_or_else(|| expected.len().min(got.len()));
    panic!(
        "{} lines expected, {} there; missing {missing}; not expected (or once too often) \
         {unexpected}; first difference at {at}: expected {:?}, got {:?}",
        expected.len(),
        got.len(),
        expected.get(at),
        got.get(at),
    );
}

/// Fails unless every expected line is there, the first copies in order. Gives the number of
/// lines that came again.
pub(crate) fn assert_at_least_once(expected: &[String], got: &[String]) -> usize {
    let mut seen = BTreeSet::new();
    let first: Vec<String> = got
        .iter()
        .filter(|line| seen.insert(*line))
        .cloned()
        .collect();
    assert_same_lines(expected, &first);
    got.len() - first.len()
}

fn difference(expected: &[String], got: &[String]) -> (String, String) {
    let mut counts: BTreeMap<&str, i64> = BTreeMap::new();
    for line in expected {
        *counts.entry(line).or_default() += 1;
    }
    for line in got {
        *counts.entry(line).or_default() -= 1;
    }
    let name = |wanted: &dyn Fn(i64) -> bool| {
        let lines = counts.iter().filter(|(_, count)| wanted(**count));
        let names: Vec<String> = lines.map(|(line, _)| shorten(line)).collect();
        match names.len() {
            0 => "none".to_owned(),
            count => format!("{count} {:?}", &names[..count.min(5)]),
        }
    };
    (name(&|count| count > 0), name(&|count| count < 0))
}

fn shorten(line: &str) -> String {
    let mut short: String = line.chars().take(60).collect();
    if short.len() < line.len() {
        write!(short, "... ({} bytes)", line.len()).expect("strings take everything");
    }
    short
}

/// A command beside an agent that starts made it read an empty ini, now and then.
#[test]
fn an_ini_that_is_as_it_should_be_is_not_written_again() {
    let mut env = Env::new();
    let written = |env: &Env| {
        env.command(&["status"]);
        let metadata = fs::metadata(env.config()).unwrap();
        (metadata.ctime(), metadata.ctime_nsec())
    };
    let first = written(&env);
    // Longer than the grain of the file system's clock.
    thread::sleep(Duration::from_millis(20));
    assert_eq!(written(&env), first);
    env.set("kafka", "topic", "other");
    assert_ne!(written(&env), first);
}
