//! Files and folders that may not be read for a while.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::env::{Env, SOON, TOPIC, lines, losses, wait_until};

fn set_mode(env: &Env, name: &str, mode: u32) {
    let permissions = fs::Permissions::from_mode(mode);
    fs::set_permissions(env.path(name), permissions).unwrap();
}

/// Starts an agent that permissions bind.
fn start_bound(env: &mut Env) {
    let is_bound = env.start_bound_by_permissions();
    assert!(is_bound, "cannot be tested: permissions do not bind here");
    env.agent().wait_until_it_follows(SOON);
}

fn once_bound(env: &Env) -> (Option<i32>, String) {
    let ended = env.run_bound_by_permissions(&["--once"]);
    let ended = ended.expect("permissions can be had to bind here");
    (ended.code, ended.stderr)
}

/// A log of which lines were rotated away while the agent was stopped: `app.log.2` was half read, `app.log.1` never
/// seen. Gives the lines of each of the three files that were not read.
fn rotated_twice_while_stopped(env: &mut Env) -> [Vec<String>; 3] {
    env.write_lines("app.log", 0..10);
    start_bound(env);
    env.expect_lines(&lines(0..10));
    env.stop();
    env.write_lines("app.log", 10..20);
    env.rename("app.log", "app.log.2");
    env.write_lines("app.log.1", 20..30);
    env.write_lines("app.log", 30..40);
    [lines(10..20), lines(20..30), lines(30..40)]
}

#[test]
fn a_rotated_file_that_may_not_be_read_for_now_is_read_when_it_can_be() {
    for shut in ["app.log.2", "app.log.1"] {
        let mut env = Env::following_one_path();
        let [half_read, never_seen, current] = rotated_twice_while_stopped(&mut env);
        set_mode(&env, shut, 0o000);
        start_bound(&mut env);
        env.wait_for_log(shut, SOON);
        // Later lines go on after `rotate_wait`, and so they do after a restart.
        env.wait_for_records(30);
        env.stop();
        start_bound(&mut env);
        env.wait_for_log(shut, SOON);
        assert_eq!(env.agent().count_log(&["WARN", shut]), 1, "{}", env.log());
        set_mode(&env, shut, 0o644);
        env.wait_for_records(40);
        env.wait_for_log("recovered", SOON);
        env.write_lines("app.log", 40..45);
        env.wait_for_records(45);
        env.stop();
        let values = env.broker.values(TOPIC);
        let early = match shut {
            "app.log.2" => never_seen,
            _ => half_read.clone(),
        };
        let late = match shut {
            "app.log.2" => half_read,
            _ => lines(20..30),
        };
        let expected = [lines(0..10), early, current, late, lines(40..45)].concat();
        assert_eq!(values, expected, "{shut}");
        assert_eq!(losses(&env.all_logs()).count(), 0);
    }
}

#[test]
fn once_names_a_rotated_file_that_may_not_be_read_and_ends_with_1() {
    for shut in ["app.log.2", "app.log.1"] {
        let mut env = Env::following_one_path();
        rotated_twice_while_stopped(&mut env);
        set_mode(&env, shut, 0o000);
        let (code, log) = once_bound(&env);
        assert_eq!(code, Some(1), "{log}");
        assert!(log.contains(shut) && log.contains("denied"), "{log}");
        assert_eq!(env.broker.count(TOPIC), 30, "all others arrive: {log}");
        let (code, log) = once_bound(&env);
        assert_eq!(code, Some(1), "again: {log}");
        assert_eq!(env.broker.count(TOPIC), 30, "{log}");
        set_mode(&env, shut, 0o600);
        let (code, log) = once_bound(&env);
        assert_eq!(code, Some(0), "{log}");
        let mut values = env.broker.values(TOPIC);
        assert_eq!(values.len(), 40, "{log}");
        values.sort();
        assert_eq!(values, sorted(lines(0..40)));
    }
}

#[test]
fn once_waits_a_moment_for_a_rotated_file_that_may_not_be_read_yet() {
    for shut in ["app.log.2", "app.log.1"] {
        let mut env = Env::following_one_path();
        env.set("log:app", "rotate_wait", "20s");
        let [half_read, never_seen, current] = rotated_twice_while_stopped(&mut env);
        set_mode(&env, shut, 0o000);
        let (code, log) = thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(Duration::from_secs(1));
                set_mode(&env, shut, 0o644);
            });
            once_bound(&env)
        });
        assert_eq!(code, Some(0), "{log}");
        let expected = [lines(0..10), half_read, never_seen, current].concat();
        assert_eq!(env.broker.values(TOPIC), expected, "{shut}");
    }
}

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}

#[test]
fn once_ends_with_1_where_the_folder_cannot_be_listed_or_the_file_cannot_be_read() {
    let mut env = Env::following_one_path();
    rotated_twice_while_stopped(&mut env);
    set_mode(&env, "", 0o311);
    let (code, log) = once_bound(&env);
    set_mode(&env, "", 0o755);
    assert_eq!(code, Some(1), "{log}");
    let log_dir = env.log_dir().display().to_string();
    let names_it = |line: &str| line.contains("WARN") && line.contains(&log_dir);
    assert!(log.lines().any(names_it), "{log}");
    assert_eq!(losses(&log).count(), 0, "{log}");
    let (code, log) = once_bound(&env);
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(sorted(env.broker.values(TOPIC)), sorted(lines(0..40)));

    set_mode(&env, "app.log", 0o000);
    env.write_lines("app.log", 40..50);
    let (code, log) = once_bound(&env);
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("app.log' cannot be read"), "{log}");
}

#[test]
fn a_folder_that_cannot_be_listed_loses_nothing_that_is_rotated_in_it() {
    let mut env = Env::following_one_path();
    rotated_twice_while_stopped(&mut env);
    set_mode(&env, "", 0o311);
    start_bound(&mut env);
    env.wait_for_records(20);
    // Each event has it look again.
    for line in 40..50 {
        env.write_lines("app.log", line..line + 1);
        env.wait_for_records(line - 19);
    }
    set_mode(&env, "", 0o755);
    env.wait_for_records(50);
    env.wait_for_log("recovered", SOON);
    let log_dir = env.log_dir().display().to_string();
    let warnings = env.agent().count_log(&["WARN", &log_dir, "retrying"]);
    let recovered = env.agent().count_log(&["WARN", "recovered"]);
    assert_eq!((warnings, recovered), (1, 1), "{}", env.log());
    env.stop();
    assert_eq!(sorted(env.broker.values(TOPIC)), sorted(lines(0..50)));
    assert_eq!(losses(&env.all_logs()).count(), 0);
}

#[test]
fn a_folder_that_can_be_listed_again_is_no_trouble_any_more() {
    let mut env = Env::new();
    let glob = env.path("in/*.log");
    env.set("log:app", "path", &glob);
    env.make_folder("in");
    env.write_lines("in/app.log", 0..10);
    set_mode(&env, "in", 0o311);
    start_bound(&mut env);
    env.wait_for_log("log/in' cannot be listed", SOON);
    assert_eq!(env.run(&["status"]).code, Some(1));
    set_mode(&env, "in", 0o755);
    env.wait_for_log("log/in' is no trouble any more", SOON);
    env.expect_lines(&lines(0..10));
    let said = env.run(&["status"]).stdout;
    assert!(!said.contains("listed"), "{said}");
}

#[test]
fn each_outage_of_a_file_is_one_warning_and_one_line_when_it_is_over_and_its_thread_is_given_back()
{
    let mut env = Env::new();
    let path = env.path("in/app.log");
    env.set("log:app", "path", &path);
    env.make_folder("in");
    env.write_lines("in/app.log", 0..10);
    start_bound(&mut env);
    env.expect_lines(&lines(0..10));
    for outage in 1..=3 {
        set_mode(&env, "in", 0o000);
        let warned = |env: &mut Env| env.agent().count_log(&["WARN", "app.log' cannot be read"]);
        let long = Duration::from_secs(20);
        let deadline = std::time::Instant::now() + long;
        while warned(&mut env) < outage {
            assert!(std::time::Instant::now() < deadline, "{}", env.log());
            thread::sleep(Duration::from_millis(20));
        }
        set_mode(&env, "in", 0o755);
        env.write_lines("in/app.log", outage * 10..outage * 10 + 10);
        env.wait_for_records(outage * 10 + 10);
        let over = |env: &mut Env| env.agent().count_log(&["WARN", "app.log' recovered"]);
        while over(&mut env) < outage {
            assert!(std::time::Instant::now() < deadline, "{}", env.log());
            thread::sleep(Duration::from_millis(20));
        }
        assert_eq!((warned(&mut env), over(&mut env)), (outage, outage));
    }
    let tasks = format!("/proc/{}/task", env.agent().pid());
    let has_thread = || {
        let tasks = fs::read_dir(&tasks).into_iter().flatten().flatten();
        let mut names = tasks.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
        names.any(|name| name.starts_with("tail:"))
    };
    wait_until(
        Duration::from_secs(40),
        || !has_thread(),
        || "the thread of a file that is well again to be given back".to_owned(),
    );
    env.write_lines("in/app.log", 40..50);
    env.stop_and_expect_lines(&lines(0..50));
}

#[test]
fn second_names_of_a_file_hold_no_thread() {
    const FILES: usize = 30;
    let mut env = Env::new();
    let glob = env.path("*");
    env.set("log:app", "path", &glob);
    for file in 0..FILES {
        env.write_lines(&format!("{file}.log"), file..file + 1);
        env.symlink(&format!("{file}.log"), &format!("link-{file}"));
        fs::hard_link(
            env.path(&format!("{file}.log")),
            env.path(&format!("hard-{file}")),
        )
        .unwrap();
    }
    env.start();
    env.wait_for_records(FILES);
    let tasks = format!("/proc/{}/task", env.agent().pid());
    let threads = || {
        let tasks = fs::read_dir(&tasks).into_iter().flatten().flatten();
        let names = tasks.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
        names.filter(|name| name.starts_with("tail:")).count()
    };
    wait_until(
        Duration::from_secs(40),
        || threads() == 0,
        || format!("all threads to be given back; there are {}", threads()),
    );
    // Whatever name is written to, and when the name that is read goes.
    env.write_lines("hard-0", 100..101);
    env.write_lines("link-1", 101..102);
    env.wait_for_records(FILES + 2);
    for name in ["2.log", "hard-2"] {
        env.remove(name);
    }
    env.write_lines("2.log", 102..103);
    env.wait_for_records(FILES + 3);
    env.signal(Signal::TERM);
    assert_eq!(env.wait_exit(SOON).code, Some(0));
    let expected = [lines(0..FILES), lines(100..103)].concat();
    assert_eq!(sorted(env.broker.values(TOPIC)), sorted(expected));
}

/// What each thread of a process has of this line of its status, without repeats.
fn of_threads(pid: u32, line: &str) -> Vec<String> {
    let mut found = Vec::new();
    for task in fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten() {
        let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
        let rest = status.lines().find_map(|found| found.strip_prefix(line));
        found.extend(rest.map(|rest| rest.trim().to_owned()));
    }
    found.sort();
    found.dedup();
    found
}

#[test]
fn root_becomes_the_user_of_the_ini_who_may_read_every_file_and_nothing_else() {
    let mut env = Env::new();
    env.set("agent", "user", "nobody");
    env.write_lines("app.log", 0..10);
    set_mode(&env, "app.log", 0o600);
    if !rustix::process::geteuid().is_root() {
        let ended = env.run(&[]);
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        assert!(
            ended.stderr.contains("only root can become another user"),
            "{}",
            ended.stderr
        );
        return;
    }
    fs::remove_dir(env.state_dir()).ok();
    env.start();
    env.expect_lines(&lines(0..10));
    let pid = env.agent().pid();
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    let nobody = passwd
        .lines()
        .find(|line| line.starts_with("nobody:"))
        .unwrap();
    let uid = nobody.split(':').nth(2).unwrap();
    assert_eq!(of_threads(pid, "Uid:"), [[uid; 4].join("\t")]);
    // CAP_DAC_READ_SEARCH.
    assert_eq!(of_threads(pid, "CapEff:"), ["0000000000000004"]);
    assert_eq!(of_threads(pid, "CapPrm:"), ["0000000000000004"]);
    assert_eq!(of_threads(pid, "Groups:").len(), 1);
    assert_eq!(
        fs::metadata(env.state_dir()).unwrap().uid().to_string(),
        uid
    );
    env.stop();

    // Root sets a position, and the agent can go on from it.
    let ended = env.run(&["rewind", &env.path("app.log"), "--to", "0", "--yes"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(
        fs::metadata(env.checkpoints()).unwrap().uid().to_string(),
        uid
    );
    env.start();
    env.wait_for_records(20);
    env.stop();

    let ended = env.run(&["check", "--offline"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stdout);
    env.set("agent", "user", "no-such-user");
    let ended = env.run(&[]);
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(
        ended
            .stderr
            .contains("logagent.ini:5: [agent] user = no-such-user: no such user"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_file_that_could_not_be_read_and_is_gone_is_lost_and_does_not_recover() {
    let mut env = Env::following_one_path();
    env.write_lines("app.log", 0..10);
    start_bound(&mut env);
    env.expect_lines(&lines(0..10));
    env.stop();
    env.write_lines("app.log", 10..20);
    set_mode(&env, "app.log", 0o000);
    start_bound(&mut env);
    env.wait_for_log("app.log' cannot be read", SOON);
    let path = env.path("app.log");
    let ended = env.run(&["status", &path]);
    assert_eq!(ended.code, Some(1), "{}", ended.stdout);
    let words: Vec<&str> = ended.stdout.split_whitespace().collect();
    let reason = format!("'{path}' cannot be read: Permission denied");
    assert!(words.join(" ").contains(&reason), "{}", ended.stdout);
    // What mends it, as 'check' has it.
    let check = env.run_bound_by_permissions(&["check", "--offline"]);
    let check = check.unwrap().stdout;
    let words = |text: &str| text.split_whitespace().collect::<String>();
    let mend = words(&check);
    let mend = &mend[mend.find("(owner").unwrap()..];
    let mend = &mend[..mend.find("CAP_DAC_READ_SEARCH").unwrap()];
    assert!(mend.contains("mode0000):setfacl-mu:"), "{check}");
    for arguments in [&["status"][..], &["status", &path]] {
        let said = env.run(arguments).stdout;
        assert!(words(&said).contains(mend), "{said}");
        assert!(said.lines().all(|line| line.len() <= 80), "{said}");
    }
    env.remove("app.log");
    env.wait_for_log("is gone", SOON);
    env.stop();
    assert!(!env.log().contains("recovered"), "{}", env.log());
}

#[test]
fn what_is_wrong_goes_on_over_a_reload_and_is_not_said_again() {
    let mut env = Env::new();
    env.write_lines("app.log", 0..10);
    env.make_folder("closed");
    set_mode(&env, "closed", 0o000);
    let closed = env.path("closed/*.log");
    let fifo = env.path("fifo.log");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &*fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    env.set("log:closed", "path", &closed);
    start_bound(&mut env);
    let trouble = |env: &Env| {
        let ended = env.run(&["status", "--json"]);
        let json: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
        let mut conditions = json["conditions"].as_array().unwrap().iter();
        let is_it = |one: &&serde_json::Value| one["subject"] == env.path("closed");
        let since_ms = conditions.find(is_it).map(|one| one["since_ms"].clone());
        (since_ms, env.log().matches("folder '").count())
    };
    wait_until(
        SOON,
        || trouble(&env).0.is_some(),
        || "the folder to be seen".to_owned(),
    );
    let before = trouble(&env);
    for (section, key, value) in [
        ("log:other", "path", env.path("*.txt")),
        (
            "log:closed",
            "path",
            format!("{closed}, {}", env.path("closed/*.out")),
        ),
    ] {
        env.set(section, key, &value);
        let ended = env.run(&["reload"]);
        assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
        assert_eq!(trouble(&env), before);
    }
    env.write_lines("app.log", 10..20);
    env.wait_for_records(20);
    assert_eq!(trouble(&env), before);
    for said in ["fifo.log' is not a regular file", "folder '"] {
        assert_eq!(env.agent().count_log(&["WARN", said]), 1, "{}", env.log());
    }
    set_mode(&env, "closed", 0o755);
    env.stop();
}
