//! What hangs holds up nothing else. A mount, as NFS does while its server is away: its own files only. Standard
//! error: nothing at all, lines are delivered, signals are obeyed, and exit codes are those that are promised.

use std::fs::{self, File};
use std::io::Read;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use crate::support::agent::Agent;
use crate::support::env::{Env, SOON, TOPIC, assert_same_lines, lines, wait_until};
use crate::support::remote::Remote;

/// Files on the mount: more than may have a thread.
const FILES: usize = 300;
const FAR: &str = "far";
const LONG: Duration = Duration::from_secs(60);
/// `[agent] shutdown_timeout`.
const SHUTDOWN: Duration = Duration::from_secs(3);

#[test]
fn a_stop_does_not_wait_for_brokers_that_an_agent_has_to_ask_before_it_can_begin() {
    // It takes connections, and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let mut env = Env::new();
    env.set("kafka", "brokers", &address)
        .set("kafka", "delivery", "exactly_once")
        .set(
            "agent",
            "shutdown_timeout",
            &format!("{}s", SHUTDOWN.as_secs()),
        );
    env.write_lines("app.log", 0..1);
    env.start_and_run_on();
    let _asked = silent.accept().expect("the agent asks");
    let began = Instant::now();
    let ended = env.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(began.elapsed() < SHUTDOWN, "{:?}", began.elapsed());
}

#[test]
fn an_agent_that_waits_for_brokers_says_so_when_it_is_asked() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let mut env = Env::new();
    env.set("kafka", "brokers", &address)
        .set("kafka", "delivery", "exactly_once");
    env.write_lines("app.log", 0..1);
    env.start_and_run_on();
    let _asked = silent.accept().expect("the agent asks");
    let said = env.run(&["status"]);
    assert_eq!(said.code, Some(1), "{}", said.stderr);
    let words = "exactly once: waits for the brokers to say where the files stand";
    assert!(said.stdout.contains(words), "{}", said.stdout);
    let reload = env.run(&["reload"]);
    assert_eq!(reload.code, Some(1), "{}", reload.stderr);
    assert!(reload.stdout.contains("not yet"), "{}", reload.stdout);
    env.stop();
}

/// Files that are followed on a mount that can hang, with one line each, and an `app.log` beside it.
fn env() -> (Env, Remote) {
    let mut env = Env::new();
    env.broker.create_topic(FAR, 1);
    let at = env.state_dir().with_file_name("mount");
    fs::create_dir(&at).unwrap();
    env.make_folder("far");
    let remote = Remote::mount(&env.log_dir().join("far"), &at);
    let glob = at.join("*.log").display().to_string();
    env.set("log:far", "path", &glob)
        .set("log:far", "topic", FAR)
        .set(
            "agent",
            "shutdown_timeout",
            &format!("{}s", SHUTDOWN.as_secs()),
        );
    write_far(&env, 0);
    // The kernel asks once whether the server wants to know of a file that is closed.
    fs::read(at.join("0.log")).unwrap();
    (env, remote)
}

fn write_far(env: &Env, line: usize) {
    for file in 0..FILES {
        let number = file * 10 + line;
        env.write_lines(&format!("far/{file}.log"), number..number + 1);
    }
}

fn far_lines(upto: usize) -> Vec<String> {
    let numbers = (0..FILES).flat_map(|file| file * 10..file * 10 + upto);
    let mut lines: Vec<String> = numbers.map(|number| format!("line {number}")).collect();
    lines.sort();
    lines
}

fn expect_far(env: &Env, upto: usize) {
    env.broker.wait_for_count(FAR, FILES * upto, LONG);
    let mut values = env.broker.values(FAR);
    values.sort();
    assert_same_lines(&far_lines(upto), &values);
}

fn threads(env: &mut Env) -> usize {
    let tasks = format!("/proc/{}/task", env.agent().pid());
    fs::read_dir(tasks).into_iter().flatten().count()
}

#[test]
fn a_mount_that_hangs_holds_up_its_own_files_only() {
    let (mut env, remote) = env();
    env.write_lines("app.log", 0..10);
    env.start();
    env.expect_lines(&lines(0..10));
    expect_far(&env, 1);

    remote.hang();
    write_far(&env, 1);
    wait_until(
        LONG,
        || threads(&mut env) > 150,
        || "the files of the mount to take threads".to_owned(),
    );
    let end = Instant::now() + Duration::from_secs(6);
    let mut next = 10;
    let mut slowest = Duration::ZERO;
    while Instant::now() < end {
        let written = Instant::now();
        env.write_lines("app.log", next..next + 10);
        next += 10;
        env.wait_for_records(next);
        slowest = slowest.max(written.elapsed());
    }
    println!("the slowest lines beside a mount that hangs took {slowest:?}");
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");

    env.write_lines("new.log", next..next + 10);
    env.wait_for_records(next + 10);
    env.rename("app.log", "app.log.1");
    env.write_lines("app.log", next + 10..next + 20);
    env.wait_for_records(next + 20);
    env.wait_for_checkpoint_at_the_end_of("app.log");
    env.wait_for_checkpoint_at_the_end_of("new.log");
    assert!(threads(&mut env) < 400, "{} threads", threads(&mut env));

    let start = Instant::now();
    let ended = env.stop();
    let took = start.elapsed();
    assert!(
        took < SHUTDOWN + Duration::from_secs(2),
        "the stop took {took:?}"
    );
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);

    remote.answer();
    env.start();
    expect_far(&env, 2);
    env.stop_and_expect_lines(&lines(0..next + 20));
}

#[test]
fn a_mount_that_hangs_at_the_start_is_followed_when_it_answers() {
    let (mut env, remote) = env();
    remote.hang();
    env.write_lines("app.log", 0..10);
    env.start();
    env.expect_lines(&lines(0..10));
    env.wait_for_log("[log:far] folders of '", SOON);
    env.write_lines("app.log", 10..20);
    env.write_lines("new.log", 20..30);
    env.wait_for_records(30);
    remote.answer();
    expect_far(&env, 1);
    env.stop();
    assert_eq!(env.broker.count(TOPIC), 30);
}

/// A stop, and half a second for the last lines; the rest is for a busy machine.
const IN_TIME: Duration = Duration::from_secs(5);

const LINES: usize = 40_000;

/// More debug lines than a pipe holds: each batch is one, and is small.
fn talkative() -> Env {
    let mut env = Env::new();
    env.set("kafka", "batch_bytes", "1KiB")
        .set("kafka", "linger", "0ms");
    env.write_lines("app.log", 0..LINES);
    env
}

/// An agent whose standard error is as `stderr` says. Dropping it kills the process.
struct Running(Child);

impl Running {
    fn start(env: &Env, stderr: Stdio) -> Running {
        fs::write(env.config(), env.ini()).unwrap();
        let mut command = Agent::command();
        command
            .env("RUST_LOG", "debug")
            .arg("--config")
            .arg(env.config());
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr);
        Running(command.spawn().expect("the program starts"))
    }

    fn signal(&self, signal: Signal) {
        let result = rustix::process::kill_process(Pid::from_child(&self.0), signal);
        result.expect("our own child can be signalled");
    }

    fn exit_code(&mut self) -> Option<i32> {
        let end = Instant::now() + IN_TIME;
        loop {
            if let Some(status) = self.0.try_wait().expect("our own child") {
                return status.code();
            }
            assert!(Instant::now() < end, "it has not ended within {IN_TIME:?}");
            thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Everything arrives, and a signal ends it with exit code 0.
fn delivers_and_stops(env: &Env, agent: &mut Running) {
    env.broker.wait_for_count(TOPIC, LINES, 6 * SOON);
    agent.signal(Signal::TERM);
    assert_eq!(agent.exit_code(), Some(0));
    assert_eq!(env.broker.values(TOPIC), lines(0..LINES));
}

#[test]
fn a_pipe_that_nobody_reads_stops_neither_the_lines_nor_the_end() {
    let env = talkative();
    let mut agent = Running::start(&env, Stdio::piped());
    delivers_and_stops(&env, &mut agent);
    // What the pipe holds was written whole, and the rest was not waited for.
    let mut log = String::new();
    let mut pipe = agent.0.stderr.take().expect("it is piped");
    pipe.read_to_string(&mut log).unwrap();
    assert!(
        log.len() > 32 << 10,
        "the pipe was full: {} bytes",
        log.len()
    );
    assert!(log.contains(" follows "), "{log}");
}

#[test]
fn a_pipe_that_is_read_again_says_how_many_lines_were_dropped() {
    let env = talkative();
    // The queue before the pipe is full, too.
    env.write_lines("app.log", LINES..2 * LINES);
    let mut agent = Running::start(&env, Stdio::piped());
    env.broker.wait_for_count(TOPIC, 2 * LINES, 12 * SOON);
    let mut pipe = agent.0.stderr.take().expect("it is piped");
    let reader = thread::spawn(move || {
        let mut log = String::new();
        pipe.read_to_string(&mut log).map(|_| log)
    });
    agent.signal(Signal::TERM);
    assert_eq!(agent.exit_code(), Some(0));
    let log = reader.join().unwrap().unwrap();
    assert!(
        log.contains(" log lines were dropped\n"),
        "{} bytes",
        log.len()
    );
    let last = log.lines().last().unwrap_or_default();
    assert!(
        last.contains(" bytes) were delivered by this run"),
        "{last}"
    );
}

#[test]
fn a_pipe_whose_reader_has_gone_stops_nothing() {
    let env = talkative();
    let mut agent = Running::start(&env, Stdio::piped());
    drop(agent.0.stderr.take());
    delivers_and_stops(&env, &mut agent);
}

#[test]
fn a_full_disk_under_the_log_stops_nothing() {
    let env = talkative();
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut agent = Running::start(&env, full.into());
    delivers_and_stops(&env, &mut agent);
}

#[test]
fn a_standard_error_that_is_closed_stops_nothing() {
    let env = talkative();
    fs::write(env.config(), env.ini()).unwrap();
    let program = Agent::command().get_program().to_owned();
    let mut command = Command::new("sh");
    command
        .args(["-c", "exec \"$0\" --config \"$1\" 2>&-"])
        .arg(program)
        .arg(env.config());
    let mut agent = Running(command.stdin(Stdio::null()).spawn().expect("sh starts"));
    delivers_and_stops(&env, &mut agent);
}

#[test]
fn a_second_signal_ends_it_at_once_though_nobody_reads_its_log() {
    let mut env = talkative();
    env.set("agent", "shutdown_timeout", "1m");
    let mut agent = Running::start(&env, Stdio::piped());
    env.broker.wait_for_count(TOPIC, LINES / 2, 6 * SOON);
    env.broker.down(1);
    agent.signal(Signal::TERM);
    // Repeats within a moment are the same request.
    thread::sleep(Duration::from_millis(500));
    assert!(
        agent.0.try_wait().unwrap().is_none(),
        "it waits for the broker"
    );
    agent.signal(Signal::TERM);
    assert_eq!(agent.exit_code(), Some(1));
}

#[test]
fn exit_codes_are_the_promised_ones_where_nothing_can_be_printed() {
    for (arguments, code) in [
        (&["--version"][..], 1),
        (&["--help"], 1),
        (&["--nonsense"], 2),
        (&["--config", "/nonexistent/logagent.ini"], 2),
    ] {
        let full = || File::options().write(true).open("/dev/full").unwrap();
        let mut command = Agent::command();
        let status = command
            .args(arguments)
            .stdout(full())
            .stderr(full())
            .status();
        assert_eq!(status.unwrap().code(), Some(code), "{arguments:?}");
    }
}
