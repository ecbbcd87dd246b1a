//! Names that rotation gives, names that only look so, and names that would forge a line of our own log.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::thread;
use std::time::{Duration, SystemTime};

use crate::support::env::{Env, SOON, TOPIC, lines, losses};
use crate::support::meanwhile::Agent;

/// Names that rotation gives to `app.log`, the older one first.
const SCHEMES: &[(&str, [&str; 2])] = &[
    ("logrotate", ["app.log.2", "app.log.1"]),
    ("extension", ["app.2.log", "app.1.log"]),
    ("extension and compress", ["app.2.log.gz", "app.1.log"]),
    ("dateext", ["app.log-20261125", "app.log-20261126"]),
    (
        "dateext and extension",
        ["app-20261125.log", "app-20261126.log.gz"],
    ),
    (
        "a dateformat of hours",
        ["app.log-2026112509.gz", "app.log-2026112510"],
    ),
    (
        "a dateformat of seconds",
        ["app.log-1795800000", "app.log-1795900000.gz"],
    ),
    (
        "a dateformat of seconds and extension",
        ["app-1795800000.log", "app-1795900000.log.gz"],
    ),
    (
        "milliseconds",
        ["app.log.1795800000123", "app.log.1795900000122"],
    ),
    (
        "a dateformat of weeks",
        ["app.log-2026-47", "app.log-2026-48"],
    ),
    (
        "a file that came between",
        ["app.log.1.backup", "app.log.1"],
    ),
    ("log4j2 and logback, %i", ["app.1.log", "app.2.log"]),
    (
        "%d and %i",
        ["app-2026-11-26.1.log.gz", "app-2026-11-26.2.log"],
    ),
    ("flexi_logger", ["app_r00001.log", "app_r00002.log"]),
    (
        "lumberjack",
        [
            "app-2026-11-26T10-00-00.000.log.gz",
            "app-2026-11-26T11-00-00.000.log",
        ],
    ),
    (
        "rotating-file-stream",
        ["20261126-1000-01-app.log.gz", "20261126-1000-02-app.log"],
    ),
    (
        "dated folders",
        ["2026-11-25/app.log.gz", "2026-11-26/app.log"],
    ),
    (
        "folders of year, month and day",
        ["2026/11/25/app.log", "2026/11/26/app.log.gz"],
    ),
];

/// Puts what lies at `app.log` under a rotated name.
fn rotate(env: &Env, name: &str) {
    if let Some((folder, _)) = name.rsplit_once('/') {
        env.make_folder(folder);
    }
    let plain = name.strip_suffix(".gz").unwrap_or(name);
    env.rename("app.log", plain);
    if plain != name {
        env.gzip(plain);
    }
}

#[test]
fn what_rotation_leaves_is_read_under_any_name_that_it_gives() {
    for (scheme, [older, newer]) in SCHEMES {
        for agent in [Agent::Up, Agent::Stopped] {
            let mut env = Env::following_one_path();
            env.write_lines("app.log", 0..10);
            env.start();
            env.expect_lines(&lines(0..10));
            println!("{scheme}, {agent:?}");
            agent.meanwhile(&mut env, |env| {
                env.write_lines("app.log", 10..20);
                rotate(env, older);
                env.write_lines("app.log", 20..30);
                rotate(env, newer);
                env.write_lines("app.log", 30..40);
            });
            env.stop_and_expect_lines(&lines(0..40));
            assert_eq!(losses(&env.all_logs()).count(), 0);
        }
    }
}

/// The pattern matches the copy as well, and its name alone says that it is one.
#[test]
fn a_copy_that_the_pattern_matches_is_not_sent_again() {
    for copy in [
        "app-20261126.log",
        "app-1795800000.log",
        "app-1795800000123.log",
        "app.1.log",
    ] {
        for agent in [Agent::Up, Agent::Stopped] {
            let mut env = Env::new();
            env.write_lines("app.log", 0..20);
            env.start();
            env.expect_lines(&lines(0..20));
            agent.meanwhile(&mut env, |env| {
                fs::copy(env.path("app.log"), env.path(copy)).unwrap();
                env.truncate("app.log");
                env.write_lines("app.log", 20..30);
            });
            env.wait_for_records(30);
            env.stop();
            env.start();
            env.stop_and_expect_lines(&lines(0..30));
        }
    }
}

#[test]
fn what_a_rotated_glob_matches_counts_as_rotated_whatever_its_name() {
    for agent in Agent::ALL {
        let mut env = Env::following_one_path();
        let rotated = env.path("archive/*");
        env.set("log:app", "rotated", &rotated);
        env.make_folder("archive");
        env.write_lines("app.log", 0..10);
        env.start();
        env.expect_lines(&lines(0..10));
        agent.meanwhile(&mut env, |env| {
            env.write_lines("app.log", 10..20);
            rotate(env, "archive/a name of no scheme");
            env.write_lines("app.log", 20..30);
            rotate(env, "archive/another.gz");
            env.write_lines("app.log", 30..40);
        });
        env.stop_and_expect_lines(&lines(0..40));
    }
}

#[test]
fn a_neighbour_that_only_looks_rotated_is_never_taken_for_ours() {
    for agent in [Agent::Up, Agent::Stopped] {
        let mut env = Env::following_one_path();
        env.broker.create_topic("other", 1);
        let other = env.path("app.log.7");
        env.set("log:app", "exclude", "app.log.8, app-*.log")
            .set("log:other", "path", &other)
            .set("log:other", "topic", "other");
        // What was there before; and a port, a process, a shard, what is excluded and what another section has.
        env.write_lines("app.log", 0..10);
        env.write_lines("app.log.9", 900..910);
        env.start();
        env.expect_lines(&lines(0..10));
        let foreign = [
            "app-100001.log",
            "app-8080.log",
            "app-4711.log",
            "app.8080.log",
            "app2.log",
            "app_2.log",
            "app-20261126.log",
            "app.log.8",
            "app.log.filter",
            "app.log.tmp",
        ];
        agent.meanwhile(&mut env, |env| {
            for name in foreign {
                env.write_lines(name, 1000..1010);
            }
            env.write_lines("app.log.7", 700..710);
            env.write_lines("app.log", 10..20);
            env.rename("app.log", "app.log.1");
            env.write_lines("app.log", 20..30);
            for name in foreign {
                env.write_lines(name, 1010..1020);
            }
        });
        env.broker.wait_for_count("other", 10, SOON);
        env.expect_lines(&lines(0..30));
        env.rename("app.log.1", "app.log.2");
        env.rename("app.log", "app.log.1");
        env.write_lines("app.log", 30..40);
        env.stop_and_expect_lines(&lines(0..40));
        assert_eq!(env.broker.count("other"), 10);
    }
}

#[test]
fn a_neighbour_that_is_still_being_written_is_never_taken_for_ours() {
    // Its name is one that rotation gives, and it appears beside a log that was not rotated.
    for name in [
        "app.log.old",
        "app.1.log",
        "app-20261126.log",
        "app.log-2026",
    ] {
        let mut env = Env::following_one_path();
        env.write_lines("app.log", 0..10);
        env.start();
        env.expect_lines(&lines(0..10));
        let mut neighbour = File::create(env.path(name)).unwrap();
        neighbour.write_all(b"somebody else's\n").unwrap();
        // The log goes on, for longer than a tick of the file system's clock.
        for line in 10..15 {
            env.write_lines("app.log", line..line + 1);
            env.wait_for_records(line + 1);
            thread::sleep(Duration::from_millis(20));
        }
        env.rename("app.log", "app.log.4");
        env.write_lines("app.log", 15..20);
        env.expect_lines(&lines(0..20));
        for round in 2..=3 {
            env.write_lines("app.log", round * 10..round * 10 + 5);
            env.rename("app.log", &format!("app.log.{}", 4 - round));
            env.write_lines("app.log", round * 10 + 5..round * 10 + 10);
            neighbour.write_all(b"somebody else's\n").unwrap();
            env.expect_lines(&lines(0..round * 10 + 10));
        }
        env.stop();
        neighbour.write_all(b"somebody else's\n").unwrap();
        env.start();
        env.write_lines("app.log", 40..41);
        env.stop_and_expect_lines(&lines(0..41));
    }
}

#[test]
fn no_name_forges_a_line_of_our_own_log() {
    const NAME: &[u8] = b"a\n2026-11-27 ERROR forged\x1b[2J\r\xff\xc2\x9b.log";
    let mut env = Env::new();
    env.set("kafka", "compression", "none");
    env.broker.max_message_bytes(2000);
    let glob = env.path("**/*");
    env.set("log:app", "path", &glob)
        .set("log:app", "rotate_wait", "50ms");
    let other = env.path("**/a*");
    env.set("log:other", "path", &other);
    let log_dir = env.log_dir();
    let name = |bytes: &[u8]| log_dir.join(OsStr::from_bytes(bytes));
    let log = name(NAME);
    fs::write(&log, "line 0\n").unwrap();
    let more = |suffix: &[u8]| name(&[NAME, suffix].concat());
    fs::create_dir(more(b".folder")).unwrap();
    fs::create_dir_all(more(b".d").join(OsStr::from_bytes(NAME))).unwrap();
    std::os::unix::fs::symlink("nowhere\x1b", more(b".link")).unwrap();
    fs::write(more(b".gz"), "no archive").unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, more(b".fifo"), rustix::fs::Mode::RWXU).unwrap();
    let append = |path: &std::path::Path, text: &str| {
        File::options()
            .append(true)
            .open(path)
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
    };
    // At the level of most words: found, read, a dead letter, truncated, rotated, deleted.
    let mut command = env.command(&[]);
    command.env("RUST_LOG", "debug");
    let agent = crate::support::agent::Agent::spawn(command);
    env.adopt(agent);
    env.wait_for_records(1);
    append(&log, &format!("{}\n", "x".repeat(5000)));
    env.wait_for_log("was refused", SOON);
    append(&log, &"line 1\n".repeat(100));
    env.wait_for_records(101);
    env.broker.down(1);
    append(&log, "line 2\n");
    File::options()
        .write(true)
        .open(&log)
        .unwrap()
        .set_len(0)
        .unwrap();
    env.wait_for_log("was truncated at offset", SOON);
    append(&log, "line 3\n");
    env.broker.up(1);
    env.broker.wait_until(SOON, "the last line", |broker| {
        broker.values(TOPIC).iter().any(|line| line == "line 3")
    });
    fs::rename(&log, more(b".1")).unwrap();
    env.wait_for_log("rotated away", SOON);
    fs::write(&log, "line 4\n").unwrap();
    env.wait_for_log("is read to its end", SOON);
    fs::remove_file(&log).unwrap();
    env.wait_for_log("deleted", SOON);
    env.stop();
    let log = env.all_logs();
    for line in log.lines() {
        assert!(
            !line.contains('\r') && !line.contains('\x1b') && !line.contains('\u{fffd}'),
            "{line:?}"
        );
        assert!(!line.starts_with("2026-11-27 ERROR forged"), "{line:?}");
        assert!(line.chars().all(|c| !c.is_control()), "{line:?}");
    }
    assert!(
        log.contains("\\n2026-11-27 ERROR forged\\u{1b}[2J\\r\\xff"),
        "{log}"
    );
}

/// Names that nobody knows, of what was rotated twice while the agent was stopped: where the one that it had read so
/// far lies tells what the other one is.
#[test]
fn what_lies_under_a_name_like_that_of_the_file_that_was_read_last_is_read_after_it() {
    for [before, older, newer] in [
        ["app.log.old3", "app.log.old2", "app.log.old1"],
        ["app.log.old3.gz", "app.log.old2.gz", "app.log.old1.gz"],
        // The number of the packed one is given again.
        ["app.log.old3.gz", "app.log.old2.gz", "app.log.old1"],
        [
            "app.log.27-Nov-2026",
            "app.log.30-Nov-2026",
            "app.log.1-Dec-2026",
        ],
        ["app_saved_7.log", "app_saved_8.log", "app_saved_9.log"],
    ] {
        let mut env = Env::following_one_path();
        println!("{older}, {newer}");
        // From before the agent was there, and of somebody else.
        env.write_lines("app.log", 1000..1010);
        rotate(&env, before);
        env.write_lines("app.log.notes1", 2000..2010);
        thread::sleep(TICK);
        env.write_lines("app.log", 0..10);
        env.start();
        env.expect_lines(&lines(0..10));
        env.stop();
        env.write_lines("app.log", 10..20);
        rotate(&env, older);
        thread::sleep(TICK);
        env.write_lines("app.log", 20..30);
        rotate(&env, newer);
        thread::sleep(TICK);
        env.write_lines("app.log", 30..40);
        env.write_lines("app.log.notes2", 3000..3010);
        // Of the same scheme, and still written to by somebody else.
        let neighbour = older.replace(char::is_numeric, "5");
        let neighbour = neighbour.trim_end_matches(".gz");
        env.write_lines(neighbour, 4000..4010);
        let later = SystemTime::now() + Duration::from_secs(15);
        let file = File::options().append(true).open(env.path(neighbour));
        file.unwrap().set_modified(later).unwrap();
        env.start();
        env.expect_lines(&lines(0..40));
        // The next start repeats nothing.
        env.stop();
        env.start();
        env.write_lines("app.log", 40..50);
        env.stop_and_expect_lines(&lines(0..50));
        assert_eq!(losses(&env.all_logs()).count(), 0);
    }
}

/// File systems count in ticks.
const TICK: Duration = Duration::from_millis(15);
