//! Limits of the kernel and of the disk, each brought about for real: nothing is lost, and one line says
//! what is wrong. Where a limit cannot be had here, the test fails and says so.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::agent::Agent;
use crate::support::env::{Env, SOON, TOPIC, lines, wait_until};
use crate::support::remote::Remote;

/// The agent, started by `wrapper`.
pub(crate) fn wrapped(env: &Env, wrapper: &[&str]) -> Agent {
    fs::write(env.config(), env.ini()).unwrap();
    let mut command = Command::new(wrapper[0]);
    command
        .args(&wrapper[1..])
        .arg(env!("CARGO_BIN_EXE_logagent"))
        .arg("--config")
        .arg(env.config())
        .env("RUST_LOG", "info");
    let agent = Agent::spawn(command);
    agent.wait_for_log(" follows ", LONG);
    agent
}

/// Stops the agent and fails unless [`TOPIC`] holds exactly `count` different records; gives its
/// warnings and errors about anything but the broker.
fn stop_and_expect(env: &Env, mut agent: Agent, count: usize) -> Vec<String> {
    wait_until(
        LONG,
        || env.broker.count(TOPIC) >= count,
        || {
            format!(
                "{count} records; there are {}\n{}",
                env.broker.count(TOPIC),
                agent.log()
            )
        },
    );
    agent.signal(Signal::TERM);
    let ended = agent.wait_exit(LONG);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let mut values = env.broker.values(TOPIC);
    assert_eq!(values.len(), count, "{}", ended.stderr);
    values.sort();
    values.dedup();
    assert_eq!(values.len(), count, "records came twice\n{}", ended.stderr);
    let is_complaint = |line: &&str| line.contains(" WARN ") || line.contains(" ERROR ");
    let lines = ended.stderr.lines().filter(is_complaint);
    lines.map(str::to_owned).collect()
}

/// Starts with three lines in each of many files, rotates each once, and writes two more.
fn rotate_many(env: &Env, agent: impl FnOnce(&Env) -> Agent) -> (Agent, usize) {
    for file in 0..FILES {
        env.write_lines(&format!("{file}.log"), file * 10..file * 10 + 3);
    }
    let agent = agent(env);
    // A file that is rotated away before it was ever seen is not looked for.
    wait_until(
        LONG,
        || env.broker.count(TOPIC) == FILES * 3,
        || format!("the first lines\n{}", agent.log()),
    );
    for file in 0..FILES {
        let name = format!("{file}.log");
        env.rename(&name, &format!("{name}.1"));
        env.write_lines(&name, file * 10 + 3..file * 10 + 5);
    }
    (agent, FILES * 5)
}

#[test]
fn with_fewer_descriptors_than_files_they_take_turns() {
    let env = Env::new();
    let (agent, count) = rotate_many(&env, |env| wrapped(env, &["prlimit", "--nofile=128:128"]));
    // The start is one line, and that files are opened again is of no interest.
    let summed_up = ["INFO", "follows 300 files", "; 128 descriptors, "];
    assert_eq!(agent.count_log(&summed_up), 1, "{}", agent.log());
    assert_eq!(agent.count_log(&["is read from offset"]), 0);
    let complaints = stop_and_expect(&env, agent, count);
    assert!(
        complaints.len() == 1
            && complaints[0].contains("take turns")
            && complaints[0].contains("300 files to follow")
            && complaints[0].contains("of 128 descriptors"),
        "{complaints:#?}"
    );
}

#[test]
fn with_twelve_threads_the_producer_has_its_own_first_and_all_is_delivered() {
    // A limit of a user, who runs nothing else.
    const USER: u32 = 54_323;
    let mut env = Env::new();
    env.set("agent", "producers", "2");
    let folder = env.log_dir().parent().unwrap().to_owned();
    let any = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&folder, any).unwrap();
    std::os::unix::fs::chown(env.state_dir(), Some(USER), None).unwrap();
    let user = [
        "setpriv",
        &format!("--reuid={USER}"),
        &format!("--regid={USER}"),
        "--clear-groups",
        "prlimit",
        "--nproc=12:12",
    ];
    let (agent, count) = rotate_many(&env, |env| wrapped(env, &user));
    let complaints = stop_and_expect(&env, agent, count);
    assert!(
        complaints.len() == 1
            && complaints[0].contains("12 threads at most (ulimit -u, LimitNPROC)")
            && complaints[0].contains("1 of 2 producers"),
        "{complaints:#?}"
    );
}

/// Runs with a limit of its own user namespace lowered.
fn with_inotify_limit(limit: &str) -> Vec<String> {
    let lower = format!("echo {limit} && exec \"$@\"");
    let env = Env::new();
    let wrapper = [
        "unshare",
        "--user",
        "--map-root-user",
        "sh",
        "-c",
        &lower,
        "sh",
    ];
    let (agent, count) = rotate_many(&env, |env| wrapped(env, &wrapper));
    stop_and_expect(&env, agent, count)
}

#[test]
fn with_too_few_inotify_watches_files_are_polled() {
    let complaints = with_inotify_limit("20 > /proc/sys/user/max_inotify_watches");
    assert!(
        complaints.len() == 1 && complaints[0].contains("fs.inotify.max_user_watches"),
        "{complaints:#?}"
    );
}

#[test]
fn without_an_inotify_instance_files_are_polled() {
    let complaints = with_inotify_limit("0 > /proc/sys/user/max_inotify_instances");
    assert!(
        complaints.len() == 1 && complaints[0].contains("fs.inotify.max_user_instances"),
        "{complaints:#?}"
    );
}

#[test]
fn after_an_overflow_of_the_event_queue_everything_is_looked_at() {
    let mut env = Env::new();
    env.write_lines("a.log", 0..1);
    env.write_lines("b.log", 1..2);
    env.start();
    env.wait_for_records(2);
    env.signal(Signal::STOP);
    env.overflow_events();
    // What comes now has no event.
    env.write_lines("a.log", 2..3);
    env.rename("b.log", "b.log.1");
    env.write_lines("b.log", 3..4);
    env.write_lines("new.log", 4..5);
    env.signal(Signal::CONT);
    env.wait_for_log("inotify events were lost", SOON);
    env.wait_for_records(5);
    assert_eq!(env.agent().count_log(&["WARN", "events were lost"]), 1);
    env.stop();
    let mut values = env.broker.values(TOPIC);
    values.sort();
    assert_eq!(values, lines(0..5));
}

/// The agent with a state folder on a file system of its own that is full until a file `sign` is there.
fn with_a_full_state_folder(env: &Env, sign: &Path) -> Agent {
    let script = format!(
        "mount -t tmpfs -o size=64k none '{state}' && cd '{state}' && echo 1 > lock && \
         cat /dev/zero > fill 2> /dev/null; \
         (for n in $(seq 1200); do [ ! -e '{sign}' ] || exec rm fill; sleep 0.05; done) & \
         cd / && exec \"$@\"",
        state = env.state_dir().display(),
        sign = sign.display()
    );
    let wrapper = [
        "unshare",
        "--user",
        "--map-root-user",
        "--mount",
        "sh",
        "-c",
        &script,
        "sh",
    ];
    let agent = wrapped(env, &wrapper);
    agent.wait_for_log("checkpoints cannot be written", LONG);
    agent
}

#[test]
fn with_a_full_state_folder_delivery_goes_on_and_checkpoints_resume_when_there_is_room() {
    let env = Env::new();
    env.write_lines("app.log", 0..100);
    let sign = env.state_dir().with_file_name("room");
    let agent = with_a_full_state_folder(&env, &sign);
    env.write_lines("app.log", 100..200);
    wait_until(
        LONG,
        || env.broker.count(TOPIC) == 200,
        || format!("200 records; there are {}", env.broker.count(TOPIC)),
    );
    fs::write(&sign, "").unwrap();
    agent.wait_for_log("checkpoints are written again", LONG);
    env.write_lines("app.log", 200..300);
    let complaints = stop_and_expect(&env, agent, 300);
    assert!(
        complaints.len() == 2
            && complaints.iter().all(|line| line.contains("ERROR"))
            && complaints[0].contains("No space left on device")
            && complaints[1].contains("checkpoints are written again"),
        "{complaints:#?}"
    );
    assert_eq!(env.broker.values(TOPIC), lines(0..300));
}

#[test]
fn that_the_state_folder_is_full_at_the_end_is_said_there() {
    let env = Env::new();
    env.write_lines("app.log", 0..100);
    let agent = with_a_full_state_folder(&env, &env.state_dir().with_file_name("room"));
    let complaints = stop_and_expect(&env, agent, 100);
    assert!(
        complaints.len() == 2
            && complaints[1].contains("at the end either: No space left on device"),
        "{complaints:#?}"
    );
}

#[test]
fn a_file_whose_rights_come_and_go_is_one_warning_and_loses_nothing() {
    use std::os::unix::fs::PermissionsExt;
    let mut env = Env::new();
    let set_mode = |env: &Env, mode| {
        fs::set_permissions(env.path("app.log"), fs::Permissions::from_mode(mode)).unwrap();
    };
    env.write_lines("app.log", 0..10);
    set_mode(&env, 0o000);
    assert!(
        env.start_bound_by_permissions(),
        "cannot be tested: permissions do not bind here, and setpriv does not help"
    );
    env.wait_for_log("cannot be read", SOON);
    set_mode(&env, 0o644);
    env.expect_lines(&lines(0..10));
    // Open files stay readable; a new one at the path is not.
    set_mode(&env, 0o000);
    env.write_lines("app.log", 10..20);
    env.expect_lines(&lines(0..20));
    env.rename("app.log", "app.log.1");
    env.write_lines("app.log", 20..30);
    set_mode(&env, 0o000);
    sleep(Duration::from_millis(100));
    set_mode(&env, 0o644);
    env.expect_lines(&lines(0..30));
    let warnings = env.agent().count_log(&["WARN", "cannot be read"]);
    assert!((1..=2).contains(&warnings), "{warnings} warnings");
    env.stop_and_expect_lines(&lines(0..30));
}

/// Logs are written to the usual folder, and the agent sees them at a mount point, as a host sees what
/// another one writes.
fn seen_remotely() -> (Env, Remote) {
    let mut env = Env::new();
    let at = env.state_dir().with_file_name("mount");
    fs::create_dir(&at).unwrap();
    let remote = Remote::mount(&env.log_dir(), &at);
    let glob = at.join("*.log").display().to_string();
    env.set("log:app", "path", &glob);
    (env, remote)
}

#[test]
fn on_a_file_system_without_events_files_are_polled() {
    let (mut env, _remote) = seen_remotely();
    env.write_lines("app.log", 0..10);
    env.start();
    env.expect_lines(&lines(0..10));
    env.write_lines("app.log", 10..20);
    env.expect_lines(&lines(0..20));
    env.rename("app.log", "app.log.1");
    env.write_lines("app.log", 20..30);
    env.expect_lines(&lines(0..30));
    env.write_lines("app.log", 30..35);
    env.copytruncate("app.log", "app.log.0");
    env.write_lines("app.log", 35..40);
    env.expect_lines(&lines(0..40));
    env.write_lines("new.log", 40..50);
    env.stop_and_expect_lines(&lines(0..50));
}

#[test]
fn a_disk_that_fails_for_a_while_is_one_warning_and_loses_nothing() {
    let (mut env, remote) = seen_remotely();
    env.write_lines("app.log", 0..10);
    env.start();
    env.expect_lines(&lines(0..10));
    remote.set_failing(true);
    env.write_lines("app.log", 10..20);
    env.wait_for_log("Input/output error", SOON);
    env.rename("app.log", "app.log.1");
    env.write_lines("app.log", 20..30);
    sleep(Duration::from_secs(2));
    remote.set_failing(false);
    env.expect_lines(&lines(0..30));
    let warnings = env.agent().count_log(&["WARN", "Input/output error"]);
    assert!((1..=2).contains(&warnings), "{warnings} warnings");
    env.stop_and_expect_lines(&lines(0..30));
}

#[test]
fn files_whose_handles_became_stale_are_opened_again_where_they_stand() {
    let (mut env, remote) = seen_remotely();
    env.write_lines("app.log", 0..10);
    env.start();
    env.expect_lines(&lines(0..10));
    remote.make_handles_stale();
    env.write_lines("app.log", 10..20);
    env.rename("app.log", "app.log.1");
    env.write_lines("app.log", 20..30);
    env.expect_lines(&lines(0..30));
    remote.make_handles_stale();
    env.write_lines("app.log", 30..40);
    env.stop_and_expect_lines(&lines(0..40));
}

const FILES: usize = 300;
const LONG: Duration = Duration::from_secs(90);
