//! Copies and archives of logs: what was read is not sent again, and the rest of what was half read is.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use kafka_protocol::messages::ApiKey;
use rustix::process::Signal;

use crate::support::env::{Env, SOON, TOPIC, lines, losses};
use crate::support::meanwhile::Agent;

/// Where logrotate puts a copy, and whether it packs it.
const WAYS: [(&str, bool); 3] = [
    ("app.log.1", false),
    ("app.log-20261126", false),
    ("app.log.1", true),
];

fn started_with(lines_before: usize) -> Env {
    let mut env = Env::following_one_path();
    env.write_lines("app.log", 0..lines_before);
    env.start();
    env.expect_lines(&lines(0..lines_before));
    env
}

fn pack_if(env: &Env, is_packed: bool, copy: &str) {
    if is_packed {
        env.gzip(copy);
    }
}

#[test]
fn a_copy_that_the_writer_has_overtaken_repeats_nothing_and_what_only_the_agent_read_arrives() {
    for (copy, is_packed) in WAYS {
        for agent in Agent::ALL {
            let mut env = started_with(100);
            env.write_lines("app.log", 100..110);
            fs::copy(env.path("app.log"), env.path(copy)).unwrap();
            // The writer goes on between the copy and the truncation.
            if agent == Agent::WithoutBroker {
                env.broker.on(ApiKey::Produce).forever().no_answer();
            }
            env.write_lines("app.log", 110..120);
            env.wait_for_records(120);
            agent.meanwhile(&mut env, |env| {
                env.truncate("app.log");
                pack_if(env, is_packed, copy);
                env.write_lines("app.log", 120..130);
            });
            env.broker.heal();
            env.stop_and_expect_lines(&lines(0..130));
            env.start();
            env.stop_and_expect_lines(&lines(0..130));
            assert_eq!(losses(&env.all_logs()).count(), 0);
        }
    }
}

#[test]
fn what_was_half_read_goes_on_in_its_copy_and_in_its_archive() {
    for (copy, is_packed) in WAYS {
        for agent in Agent::ALL {
            let mut env = started_with(100);
            agent.meanwhile(&mut env, |env| {
                env.write_lines("app.log", 100..150);
                env.copytruncate("app.log", copy);
                pack_if(env, is_packed, copy);
                env.write_lines("app.log", 150..160);
            });
            env.stop_and_expect_lines(&lines(0..160));
        }
    }
}

#[test]
fn an_archive_that_is_made_at_once_after_a_line_is_known() {
    for agent in Agent::ALL {
        let mut env = started_with(20);
        // Faster than `rotate_wait`, four times.
        agent.meanwhile(&mut env, |env| {
            for round in 1..=4 {
                for number in (1..round).rev() {
                    env.rename(
                        &format!("app.log.{number}.gz"),
                        &format!("app.log.{}.gz", number + 1),
                    );
                }
                env.write_lines("app.log", round * 20..round * 20 + 10);
                env.rename("app.log", "app.log.1");
                env.write_lines("app.log", round * 20 + 10..round * 20 + 20);
                env.gzip("app.log.1");
            }
        });
        env.stop_and_expect_lines(&lines(0..100));
        env.start();
        env.write_lines("app.log", 100..110);
        env.stop_and_expect_lines(&lines(0..110));
    }
}

#[test]
fn a_backup_copy_is_not_sent_again_at_a_later_rotation() {
    for backup in [
        "app.log.bak",
        "app.log.old",
        "app.log.1",
        "app.log.orig",
        "app.log~",
    ] {
        for agent in [Agent::Up, Agent::Stopped] {
            let mut env = started_with(20);
            fs::copy(env.path("app.log"), env.path(backup)).unwrap();
            env.write_lines("app.log", 20..30);
            env.expect_lines(&lines(0..30));
            agent.meanwhile(&mut env, |env| {
                env.rename("app.log", "app.log.2");
                env.write_lines("app.log", 30..40);
            });
            env.stop_and_expect_lines(&lines(0..40));
        }
    }
}

#[test]
fn a_copy_is_known_although_the_backup_with_the_same_lines_is_made_anew() {
    let mut env = Env::following_one_path();
    env.set("log:app", "rotate_wait", "50ms");
    env.write_lines("app.log", 0..20);
    env.start();
    env.expect_lines(&lines(0..20));
    let (log, backup) = (env.path("app.log"), env.path("app.log.bak"));
    for end in [20, 30] {
        // The copy that rotation makes is not to be seen yet when the log is.
        env.signal(Signal::STOP);
        fs::copy(&log, &backup).unwrap();
        env.truncate("app.log");
        env.write_lines("app.log", end..end + 10);
        env.signal(Signal::CONT);
        env.expect_lines(&lines(0..end + 10));
        fs::copy(&backup, env.path(&format!("app.log.{end}"))).unwrap();
        env.wait_for_log("is read to its end", SOON);
    }
    env.stop();
    // What is not known now came after the log that was known.
    env.rename("app.log", "app.log.0");
    env.write_lines("app.log", 40..50);
    env.start();
    env.stop_and_expect_lines(&lines(0..50));
}

#[test]
fn a_backup_and_an_archive_of_the_same_lines_that_nobody_saw_are_sent_once() {
    for (backup, rotated) in [
        ("app.log.orig", "app.log.1"),
        ("app.log.bak", "app.log-20261127"),
    ] {
        for is_longer in [false, true] {
            let mut env = started_with(20);
            env.stop();
            env.write_lines("app.log", 20..30);
            env.copytruncate("app.log", "app.log.2");
            env.write_lines("app.log", 30..40);
            fs::copy(env.path("app.log"), env.path(backup)).unwrap();
            let mut end = 40;
            if is_longer {
                end = 45;
                env.write_lines("app.log", 40..end);
            }
            env.copytruncate("app.log", rotated);
            env.gzip(rotated);
            env.write_lines("app.log", end..50);
            env.start();
            env.stop_and_expect_lines(&lines(0..50));
            env.start();
            env.write_lines("app.log", 50..60);
            env.stop_and_expect_lines(&lines(0..60));
        }
    }
}

#[test]
fn renamecopy_and_a_move_to_another_file_system_repeat_nothing() {
    let other = tempfile::tempdir_in("/dev/shm").expect("another file system");
    for agent in Agent::ALL {
        // `renamecopy`: renamed, copied, and the renamed one removed.
        let mut env = started_with(20);
        env.write_lines("app.log", 20..25);
        agent.meanwhile(&mut env, |env| {
            env.write_lines("app.log", 25..30);
            env.rename("app.log", "app.log.tmp");
            env.write_lines("app.log", 30..35);
            fs::copy(env.path("app.log.tmp"), env.path("app.log.1")).unwrap();
            env.remove("app.log.tmp");
        });
        env.stop_and_expect_lines(&lines(0..35));

        // `olddir` on another file system, which `rotated` names.
        let folder = other.path().join(format!("{agent:?}"));
        fs::create_dir(&folder).unwrap();
        let mut env = Env::following_one_path();
        let rotated = folder.join("*").display().to_string();
        env.set("log:app", "rotated", &rotated);
        env.write_lines("app.log", 0..20);
        env.start();
        env.expect_lines(&lines(0..20));
        agent.meanwhile(&mut env, |env| {
            env.write_lines("app.log", 20..30);
            let moved = Command::new("mv")
                .arg(env.path("app.log"))
                .arg(folder.join("app.log.1"))
                .status();
            assert!(moved.unwrap().success());
            env.write_lines("app.log", 30..35);
        });
        env.stop_and_expect_lines(&lines(0..35));
        env.start();
        env.write_lines("app.log", 35..40);
        env.stop_and_expect_lines(&lines(0..40));
    }
}

#[test]
fn a_copy_that_is_seen_before_it_has_content_is_no_file_of_its_own() {
    for is_made_first in [true, false] {
        // On a busy machine it may stay empty for so long that it is none.
        let values = (0..20).find_map(|_| {
            let mut env = started_with(20);
            env.signal(Signal::STOP);
            env.rename("app.log", "app.log.tmp");
            let began = Instant::now();
            let make = || fs::File::create(env.path("app.log.1")).map(drop).unwrap();
            if is_made_first {
                make();
            }
            env.write_lines("app.log", 20..25);
            if !is_made_first {
                make();
            }
            env.signal(Signal::CONT);
            thread::sleep(Duration::from_millis(10));
            fs::copy(env.path("app.log.tmp"), env.path("app.log.1")).unwrap();
            let took = began.elapsed();
            env.remove("app.log.tmp");
            env.write_lines("app.log", 25..30);
            env.wait_for_records(30);
            env.stop();
            (took < Duration::from_millis(50)).then(|| env.broker.values(TOPIC))
        });
        assert_eq!(values.expect("one that is fast enough"), lines(0..30));
    }
}

#[test]
fn a_rotated_file_that_is_overwritten_or_truncated_is_no_new_content() {
    let shred = |path: &str| {
        let done = Command::new("shred").args(["-n", "2", "-u", path]).status();
        assert!(done.unwrap().success());
    };
    let truncate = |path: &str| {
        fs::OpenOptions::new()
            .write(true)
            .open(path)
            .unwrap()
            .set_len(0)
            .unwrap();
    };
    let ways: [&dyn Fn(&str); 2] = [&shred, &truncate];
    for destroy in ways {
        // While it is still open, after it was closed, and while the agent is stopped.
        for rotate_wait in ["60s", "100ms"] {
            for agent in [Agent::Up, Agent::Stopped] {
                let mut env = Env::following_one_path();
                env.set("log:app", "rotate_wait", rotate_wait);
                env.write_lines("app.log", 0..100);
                env.start();
                env.expect_lines(&lines(0..100));
                env.rename("app.log", "app.log.1");
                env.write_lines("app.log", 100..110);
                env.expect_lines(&lines(0..110));
                agent.meanwhile(&mut env, |env| destroy(&env.path("app.log.1")));
                env.write_lines("app.log", 110..120);
                env.expect_lines(&lines(0..120));
                env.rename("app.log", "app.log.2");
                env.write_lines("app.log", 120..130);
                env.stop_and_expect_lines(&lines(0..130));
                assert_eq!(losses(&env.all_logs()).count(), 0, "all of it was read");
            }
        }
    }
}

/// `copytruncate`, `compress` and `shred`: what was read of a copy lies in its archive, however the copy ends.
#[test]
fn a_copy_that_is_overwritten_once_it_is_packed_is_known_in_its_archive() {
    for (before, program, argument) in [
        (1, "shred", "-u"),
        (10, "shred", "-u"),
        (1, "truncate", "--size=0"),
        (10, "truncate", "--size=0"),
    ] {
        let mut env = started_with(5);
        let mut last = 5;
        for round in 1..6 {
            env.write_lines("app.log", last..last + before);
            env.expect_lines(&lines(0..last + before));
            // What the agent finds in the copy alone.
            env.signal(Signal::STOP);
            let from = last + before;
            last = from + 10;
            env.write_lines("app.log", from..last);
            fs::copy(env.path("app.log"), env.path("app.log.1")).unwrap();
            env.truncate("app.log");
            env.signal(Signal::CONT);
            env.expect_lines(&lines(0..last));
            let packed = Command::new("gzip")
                .args(["--keep", &env.path("app.log.1")])
                .status();
            assert!(packed.unwrap().success());
            let ended = Command::new(program)
                .args([argument, &env.path("app.log.1")])
                .status();
            assert!(ended.unwrap().success());
            thread::sleep(Duration::from_millis(100));
            let _ = fs::remove_file(env.path("app.log.1"));
            env.rename("app.log.1.gz", &format!("app.log.{}.gz", 8 - round));
        }
        env.write_lines("app.log", last..last + 5);
        env.stop_and_expect_lines(&lines(0..last + 5));
        assert_eq!(losses(&env.all_logs()).count(), 0);
    }
}

/// Where packing is turned off, what was packed last keeps its name beside younger files.
#[test]
fn a_file_beside_an_older_archive_is_read_though_it_was_written_later() {
    let mut env = started_with(10);
    env.rename("app.log", "app.log.1");
    env.write_lines("app.log", 10..20);
    env.expect_lines(&lines(0..20));
    env.gzip("app.log.1");
    env.stop();
    env.write_lines("app.log", 20..30);
    env.rename("app.log", "app.log.2");
    env.write_lines("app.log.1", 30..40);
    env.write_lines("app.log", 40..50);
    env.start();
    env.stop_and_expect_lines(&lines(0..50));
    assert_eq!(losses(&env.all_logs()).count(), 0);
}

#[test]
fn unread_bytes_of_a_rotated_file_that_is_overwritten_count_once_and_truly() {
    for is_truncated in [true, false] {
        let mut env = started_with(100);
        env.stop();
        env.write_lines("app.log", 100..150);
        let unread: usize = lines(100..150).iter().map(|line| line.len() + 1).sum();
        env.rename("app.log", "app.log.1");
        env.write_lines("app.log", 150..160);
        // The size of the unread bytes was seen before they went.
        env.broker.down(1);
        env.start();
        env.wait_for_checkpoint_with_the_size_of("app.log.1");
        // That it lies there by now, so that it was rotated before it is overwritten.
        env.wait_for_checkpoint_with_the_size_of("app.log");
        env.kill();
        let path = env.path("app.log.1");
        if is_truncated {
            env.truncate("app.log.1");
        } else {
            let done = Command::new("shred")
                .args(["-n", "1", "-x", &path])
                .status();
            assert!(done.unwrap().success());
        }
        env.broker.up(1);
        env.start();
        let expected = [lines(0..100), lines(150..160)].concat();
        env.expect_lines(&expected);
        env.stop();
        env.start();
        env.write_lines("app.log", 160..161);
        env.stop_and_expect_lines(&[expected, lines(160..161)].concat());
        let log = env.all_logs();
        let lost: Vec<u64> = losses(&log).map(|(_, bytes)| bytes).collect();
        assert_eq!(lost, [unread as u64], "{log}");
    }
}

/// Sets the time of the last change.
fn set_time(path: impl AsRef<Path>, seconds_ago: u64) {
    let time = SystemTime::now() - Duration::from_secs(seconds_ago);
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.set_modified(time).unwrap();
}

#[test]
fn files_whose_times_say_nothing_are_ordered_by_name_and_read() {
    // Restored with the same old time each; the newest with the oldest time; each an hour in the future.
    let clocks: [&dyn Fn(usize) -> u64; 3] =
        [&|_| 900_000, &|n| 100_000 * (5 - n as u64), &|n| n as u64];
    for (at, clock) in clocks.into_iter().enumerate() {
        for packed in [false, true] {
            let mut env = started_with(10);
            env.stop();
            env.write_lines("app.log", 10..15);
            env.rename("app.log", "app.log.4");
            for number in 1..4usize {
                let first = 15 + (3 - number) * 5;
                env.write_lines(&format!("app.log.{number}"), first..first + 5);
            }
            env.write_lines("app.log", 30..35);
            for number in (1..=4usize).rev() {
                let mut name = format!("app.log.{number}");
                if packed && number > 1 {
                    env.gzip(&name);
                    name += ".gz";
                }
                set_time(env.path(&name), clock(number));
            }
            if at == 2 {
                let future = SystemTime::now() + Duration::from_secs(3600);
                let file = fs::OpenOptions::new()
                    .write(true)
                    .open(env.path("app.log.2"));
                if let Ok(file) = file {
                    file.set_modified(future).unwrap();
                }
            }
            env.start();
            env.stop_and_expect_lines(&lines(0..35));
        }
    }
}

#[test]
fn a_clock_that_was_set_back_while_it_runs_loses_nothing() {
    for agent in Agent::ALL {
        let mut env = started_with(10);
        // The file that is rotated now is older, by its time, than the one before.
        agent.meanwhile(&mut env, |env| {
            for round in 1..=3 {
                env.write_lines("app.log", round * 10..round * 10 + 10);
                for number in (1..round).rev() {
                    env.rename(
                        &format!("app.log.{number}"),
                        &format!("app.log.{}", number + 1),
                    );
                }
                env.rename("app.log", "app.log.1");
                set_time(env.path("app.log.1"), round as u64 * 50_000);
            }
            env.write_lines("app.log", 40..50);
        });
        env.stop_and_expect_lines(&lines(0..50));
    }
}

#[test]
fn a_writer_that_still_has_the_old_file_after_rotate_wait_is_read_or_said() {
    use std::io::Write;
    for compress in [false, true] {
        let mut env = Env::following_one_path();
        env.set("log:app", "rotate_wait", "50ms");
        let mut old = env.open("app.log");
        env.write_lines("app.log", 0..10);
        env.start();
        env.expect_lines(&lines(0..10));
        env.rename("app.log", "app.log.1");
        env.write_lines("app.log", 10..20);
        env.expect_lines(&lines(0..20));
        // It is closed by now.
        env.wait_for_log("is read to its end", SOON);
        let now = format!(", now '{}'", env.path("app.log.1"));
        assert!(env.log().contains(&now), "{}", env.log());
        old.write_all(b"late line 1\n").unwrap();
        if compress {
            drop(old);
            env.gzip("app.log.1");
        }
        env.broker.wait_until(SOON, "the late line", |broker| {
            broker
                .values(TOPIC)
                .iter()
                .any(|line| line == "late line 1")
        });
        env.stop();
        assert_eq!(env.broker.count(TOPIC), 21);
    }
}

#[test]
fn an_archive_of_something_else_that_got_the_inode_of_a_known_archive_is_not_read() {
    for is_empty in [false, true] {
        let mut env = started_with(10);
        env.stop();
        // An archive that is known, with lines or none.
        env.rename("app.log", "app.log.2");
        match is_empty {
            true => drop(env.open("app.log.1")),
            false => env.write_lines("app.log.1", 10..20),
        }
        env.gzip("app.log.1");
        env.write_lines("app.log", 20..30);
        let read: Vec<String> = match is_empty {
            true => [lines(0..10), lines(20..30)].concat(),
            false => lines(0..30),
        };
        env.start();
        env.expect_lines(&read);
        let archive = fs::metadata(env.path("app.log.1.gz")).unwrap().ino();
        env.wait_for_log(&format!("inode {archive} is read to its end"), SOON);
        // Each file is written over, as file systems do that hand out the number of a removed file at once: first the
        // log has the inode of the archive, and is known by it, then the archive of somebody else.
        let overwrite = |env: &Env, from: &str, to: &str| {
            fs::write(env.path(to), fs::read(env.path(from)).unwrap()).unwrap();
            env.remove(from);
        };
        env.stop();
        env.rename("app.log", "app.log.3");
        env.write_lines("next", 30..40);
        overwrite(&env, "next", "app.log.1.gz");
        env.rename("app.log.1.gz", "app.log");
        env.start();
        let read = [read, lines(30..40)].concat();
        env.expect_lines(&read);
        env.stop();
        fs::copy(env.path("app.log"), env.path("app.log.1")).unwrap();
        env.gzip("app.log.1");
        env.append("other.txt", "a line of another log\n");
        env.gzip("other.txt");
        overwrite(&env, "other.txt.gz", "app.log");
        env.rename("app.log", "other.txt.1.gz");
        env.write_lines("app.log", 40..50);
        env.start();
        env.stop_and_expect_lines(&[read, lines(40..50)].concat());
    }
}

#[test]
fn an_empty_file_that_is_filled_and_packed_while_rotated_files_are_looked_for_is_read_once() {
    let mut env = Env::following_one_path();
    // A glob that takes a while, before the one that finds what was rotated away.
    env.make_folder("slow");
    env.make_folder("old");
    for link in ["slow/a", "slow/b"] {
        env.symlink("slow", link);
    }
    let slow = env.path(&format!("slow/{}none", "*/".repeat(11)));
    let rotated = env.path("old/app.log.*");
    env.set("log:app", "rotated", &format!("{slow}, {rotated}"));
    env.write_lines("app.log", 0..1);
    env.start();
    env.expect_lines(&lines(0..1));
    let last = 4;
    for round in 1..=last {
        env.rename("app.log", "old/app.log.2");
        let empty = env.open("app.log").metadata().unwrap().ino();
        env.wait_for_log(&format!("inode {empty} is read from offset 0"), SOON);
        env.rename("app.log", "old/app.log.1");
        // Within the look that this brings about: after the open files, before the names.
        thread::sleep(Duration::from_millis(10 * round as u64));
        env.write_lines("old/app.log.1", 2 * round - 1..2 * round);
        env.gzip("old/app.log.1");
        env.wait_for_records(2 * round);
        env.write_lines("app.log", 2 * round..2 * round + 1);
        env.wait_for_records(2 * round + 1);
        env.remove("old/app.log.1.gz");
    }
    env.stop_and_expect_lines(&lines(0..2 * last + 1));
}

/// A file is read to its end and rotated, and the archive takes its place, before Kafka has acknowledged any of it. The
/// agent counts the archive as a copy of what it has read; a kill takes that away from it, and so does a second one.
#[test]
fn what_was_packed_before_kafka_had_it_is_read_from_the_archive_after_kills() {
    for delivered in [1, 50] {
        let mut env = started_with(delivered);
        env.stop();
        env.set("log:app", "rotate_wait", "50ms");
        env.start();
        env.wait_for_log("is read from offset", SOON);
        env.broker.down(1);
        let mut written = delivered;
        let mut write = |env: &Env, count: usize| {
            env.write_lines("app.log", written..written + count);
            written += count;
        };
        for name in ["app.log.2", "app.log.1"] {
            write(&env, 10);
            let size = fs::metadata(env.path("app.log")).unwrap().len();
            env.rename("app.log", name);
            write(&env, 10);
            env.wait_for_log(&format!("is read to its end at {size}"), SOON);
            env.gzip(name);
            write(&env, 10);
            // Long enough for a look at what rotation has left.
            thread::sleep(Duration::from_millis(300));
        }
        env.kill();
        env.start_and_run_on();
        env.wait_for_log("app.log.1.gz': ", SOON);
        env.kill();
        env.broker.up(1);
        env.start();
        env.stop_and_expect_lines(&lines(0..written));
        assert_eq!(losses(&env.all_logs()).count(), 0, "{delivered}");
    }
}

/// An agent that has delivered ten lines of `app.log`, beside which there is an `olddir`.
fn with_olddir(path: &str, rotated: Option<&str>) -> Env {
    let mut env = Env::new();
    let path = env.path(path);
    env.set("log:app", "path", &path);
    if let Some(rotated) = rotated {
        let rotated = env.path(rotated);
        env.set("log:app", "rotated", &rotated);
    }
    env.make_folder("old/2026");
    env.write_lines("app.log", 0..10);
    env.start();
    env.expect_lines(&lines(0..10));
    env
}

/// What `path` and `rotated` match, and where the copy of `app.log` is put.
const PLACES: [(&str, Option<&str>, &str); 9] = [
    ("app.log", None, "app.log.29-Nov-2026"),
    ("app.log", None, "app.log.old1"),
    ("app.log*", None, "app.log-004"),
    ("app.log*", None, "app.log.1"),
    ("*.log", None, "app-copied.log"),
    ("*", None, "app.log copy"),
    ("**/*.log", None, "old/app.1.log"),
    ("**/*.log", Some("old/*"), "old/app.1.log"),
    ("**/*.log*", None, "old/2026/app.log.1"),
];

/// logrotate's `copytruncate`, with and without `olddir`, of a file whose copy takes its time.
#[test]
fn a_copy_is_known_wherever_it_lies_and_whenever_its_log_is_truncated() {
    #[derive(Debug)]
    enum Between {
        Nothing,
        AMoment,
        ARestart,
    }
    let ways = [
        (Between::Nothing, 10..20),
        (Between::AMoment, 10..20),
        (Between::AMoment, 10..10),
        (Between::ARestart, 10..20),
        (Between::ARestart, 10..10),
    ];
    for (path, rotated, copy) in PLACES {
        for (between, unread) in &ways {
            let mut env = with_olddir(path, rotated);
            if !unread.is_empty() {
                env.write_lines("app.log", unread.clone());
            }
            fs::copy(env.path("app.log"), env.path(copy)).unwrap();
            match between {
                Between::Nothing => {}
                // Nothing tells that the copy was looked at and is not sent.
                Between::AMoment => thread::sleep(Duration::from_millis(500)),
                Between::ARestart => {
                    env.stop();
                    env.start();
                }
            }
            env.truncate("app.log");
            let all = unread.end + 10;
            env.write_lines("app.log", unread.end..all);
            env.wait_for_records(all);
            env.stop();
            env.start();
            env.stop();
            let mut sent = env.broker.values(TOPIC);
            sent.sort();
            let mut expected = lines(0..all);
            expected.sort();
            assert_eq!(
                sent,
                expected,
                "{copy} {between:?} {unread:?}: {}",
                env.all_logs()
            );
            let log = env.all_logs();
            assert_eq!(
                losses(&log).count(),
                0,
                "{copy} {between:?} {unread:?}: {log}"
            );
        }
    }
}

/// Programs write logs with the same banner, and call one of them after the other.
#[test]
fn logs_that_begin_alike_and_are_called_alike_are_all_sent() {
    const BANNER: &str = "mysqld, Version: 8.4.3. started with:\nTime Id Command Argument\n";
    const OTHERS: [&str; 3] = ["mysql-slow.log", "mysql.1.log", "shard/mysql.1.log"];
    for (first, other) in [("one\n", ""), ("", "two\n"), ("one\n", "two\n"), ("", "")] {
        for is_there_before in [true, false] {
            let mut env = Env::new();
            let path = env.path("**/*.log");
            env.set("log:app", "path", &path);
            env.make_folder("shard");
            // A copy of a part of a log, or all of it, is told from that by nothing where rotation gives its name.
            let others = match other {
                "" => &OTHERS[..1],
                _ => &OTHERS[..],
            };
            let write_others = |env: &Env| {
                for name in others {
                    env.append(name, format!("{BANNER}{other}"));
                }
            };
            env.append("mysql.log", BANNER);
            env.append("mysql.log", first);
            if is_there_before {
                write_others(&env);
                env.start();
            } else {
                env.start();
                env.wait_for_records(2 + first.lines().count());
                write_others(&env);
            }
            let of_others = others.len() * (2 + other.lines().count());
            let all = 2 + first.lines().count() + of_others;
            env.wait_for_records(all);
            env.stop();
            assert_eq!(env.broker.values(TOPIC).len(), all);
            assert_eq!(losses(&env.all_logs()).count(), 0);
        }
    }
}

/// logrotate's `copytruncate` with `olddir`, `addextension` and `compress`: what the pattern matches is soon gone.
#[test]
fn copies_in_an_olddir_that_are_packed_at_once_are_not_sent_again() {
    for rotated in [None, Some("old/*")] {
        let mut env = with_olddir("**/*.log", rotated);
        for round in 0..5 {
            let first = 10 + 20 * round;
            env.write_lines("app.log", first..first + 10);
            env.wait_for_records(first + 10);
            for number in (1..=round).rev() {
                let name = |number| format!("old/app.{number}.log.gz");
                env.rename(&name(number), &name(number + 1));
            }
            env.copytruncate("app.log", "old/app.1.log");
            // Programs that pack take a moment to begin; what happens by then differs.
            thread::sleep(Duration::from_millis(5) * round as u32);
            env.gzip("old/app.1.log");
            env.write_lines("app.log", first + 10..first + 20);
            env.wait_for_records(first + 20);
        }
        env.stop();
        env.start();
        env.stop_and_expect_lines(&lines(0..110));
        assert_eq!(losses(&env.all_logs()).count(), 0);
    }
}
