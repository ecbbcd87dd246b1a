//! Limits of a control group, set for real: what nobody has set in the ini fits into them. Making a group takes
//! root's rights and a file system of groups that can be written; where they are missing the tests fail and say so,
//! and `scripts/test.sh` leaves them out and says that.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::limits::wrapped;
use crate::support::agent::Agent;
use crate::support::env::{Env, TOPIC, wait_until};

/// A control group for one agent.
struct Group {
    folder: PathBuf,
    is_v1: bool,
}

impl Group {
    /// A new group, with a limit of `controller`: in version 1 below the group of this process; in version 2, where a
    /// group that has processes has no others below it, below the root.
    fn new(controller: &str) -> Group {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("logagent-test-{}-{number}", std::process::id());
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap();
        let own = groups.lines().find_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            controllers
                .split(',')
                .any(|one| one == controller)
                .then_some(path)
        });
        let root = Path::new("/sys/fs/cgroup");
        let parent = match own {
            Some(path) => root.join(controller).join(path.trim_start_matches('/')),
            None => root.to_owned(),
        };
        let (folder, is_v1) = (parent.join(name), own.is_some());
        let limit = folder.join(match (controller, is_v1) {
            ("memory", true) => "memory.limit_in_bytes",
            ("memory", false) => "memory.max",
            _ => "pids.max",
        });
        let made = fs::create_dir(&folder);
        let group = Group { folder, is_v1 };
        assert!(
            made.is_ok() && limit.exists(),
            "CANNOT BE TESTED HERE: no control group with {} can be made ({made:?}); it takes root's rights and \
             /sys/fs/cgroup that can be written",
            limit.display()
        );
        group
    }

    fn write(&self, file: &str, text: &str) {
        let file = self.folder.join(file);
        fs::write(&file, text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }

    fn limit_memory(&self, bytes: u64) {
        self.write(
            match self.is_v1 {
                true => "memory.limit_in_bytes",
                false => "memory.max",
            },
            &bytes.to_string(),
        );
    }

    /// How many processes of the group the kernel has killed for want of memory, and the most that was taken.
    fn kills_and_peak(&self) -> (u64, String) {
        let (events, peak) = match self.is_v1 {
            true => ("memory.oom_control", "memory.max_usage_in_bytes"),
            false => ("memory.events", "memory.peak"),
        };
        let events = fs::read_to_string(self.folder.join(events)).unwrap();
        let kills = events
            .lines()
            .find_map(|line| line.strip_prefix("oom_kill "));
        let kills = kills.expect("kills are counted").parse().unwrap();
        let peak = fs::read_to_string(self.folder.join(peak)).unwrap_or_default();
        (kills, peak.trim().to_owned())
    }

    /// The agent, in this group from its first instruction on.
    fn start(&self, env: &Env) -> Agent {
        let script = format!(
            "echo $$ > '{}/cgroup.procs' && exec \"$@\"",
            self.folder.display()
        );
        wrapped(env, &["sh", "-c", &script, "sh"])
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The kernel takes a moment to see that the last process is gone.
        let end = Instant::now() + Duration::from_secs(5);
        while fs::remove_dir(&self.folder).is_err() && Instant::now() < end {
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Bytes that a process has read.
fn bytes_read(agent: &Agent) -> u64 {
    let io = fs::read_to_string(format!("/proc/{}/io", agent.pid())).unwrap_or_default();
    let read = io.lines().find_map(|line| line.strip_prefix("rchar: "));
    read.and_then(|read| read.parse().ok()).unwrap_or(0)
}

/// Stops the agent and fails unless each record of `count` came once.
fn stop_and_expect(env: &Env, mut agent: Agent, count: usize) -> String {
    wait_until(
        LONG,
        || env.broker.count(TOPIC) >= count || !agent.is_running(),
        || format!("{count} records; there are {}", env.broker.count(TOPIC)),
    );
    agent.signal(Signal::TERM);
    let ended = agent.wait_exit(LONG);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let mut values = env.broker.values(TOPIC);
    values.sort();
    values.dedup();
    let came = (values.len(), env.broker.count(TOPIC));
    assert_eq!(came, (count, count), "{}", ended.stderr);
    ended.stderr
}

#[test]
fn the_default_of_memory_limit_lives_in_a_group_of_24_mib_with_100_files_of_1_mb() {
    const FILES: usize = 100;
    const LINES: usize = 1000;
    let group = Group::new("memory");
    group.limit_memory(24 << 20);
    let env = Env::new();
    for file in 0..FILES {
        let line = |n: usize| format!("file {file} line {n} {:x<976}\n", "");
        let text: String = (0..LINES).map(line).collect();
        env.append(&format!("{file}.log"), text);
    }
    // As much as may be is read before anything is delivered.
    env.broker.down(1);
    let agent = group.start(&env);
    wait_until(
        LONG,
        || bytes_read(&agent) > 6 << 20,
        || format!("6 MiB are read; {}\n{}", bytes_read(&agent), agent.log()),
    );
    agent.wait_for_log("no broker reachable", LONG);
    env.broker.up(1);
    let log = stop_and_expect(&env, agent, FILES * LINES);
    let (kills, peak) = group.kills_and_peak();
    println!("most that was taken: {peak} bytes");
    assert_eq!(kills, 0, "{log}");
    let why = "memory_limit 12 MiB (half of 24 MiB, /";
    assert!(
        log.lines()
            .any(|line| line.contains("INFO") && line.contains(why)),
        "{log}"
    );
}

#[test]
fn with_pids_max_of_twelve_the_producer_has_its_threads_first_and_all_is_delivered() {
    const FILES: usize = 100;
    let group = Group::new("pids");
    group.write("pids.max", "12");
    let mut env = Env::new();
    env.set("agent", "producers", "2");
    for file in 0..FILES {
        env.write_lines(&format!("{file}.log"), file * 10..file * 10 + 10);
    }
    let agent = group.start(&env);
    let log = stop_and_expect(&env, agent, FILES * 10);
    let complaints: Vec<&str> = log.lines().filter(|line| line.contains(" WARN ")).collect();
    assert!(
        complaints.len() == 1
            && complaints[0].contains("12 threads at most (pids.max of the control group")
            && complaints[0].contains("1 of 2 producers"),
        "{complaints:#?}"
    );
}

#[test]
fn memory_that_the_system_refuses_is_named_with_the_setting_and_the_agent_ends_in_order() {
    let mut env = Env::new();
    // A read of the usual size takes the block that read buffers are cut from, 34 MiB, for which there is no room.
    env.write_lines("app.log", 0..50_000);
    fs::write(env.config(), env.ini()).unwrap();
    let mut command = Command::new("prlimit");
    command
        .arg(format!("--as={}", 44 << 20))
        .arg(env!("CARGO_BIN_EXE_logagent"))
        .arg("--config")
        .arg(env.config())
        .env("RUST_LOG", "info");
    env.adopt(Agent::spawn(command));
    let ended = env.wait_exit(LONG);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let said = "the system has no memory for";
    let is_it = |line: &str| {
        line.contains("ERROR") && line.contains(said) && line.contains("[agent] memory_limit")
    };
    assert!(ended.stderr.lines().any(is_it), "{}", ended.stderr);
}

const LONG: Duration = Duration::from_secs(90);
