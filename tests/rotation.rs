//! Files that are renamed, cut, deleted, made and replaced while the agent runs.

use std::fs::OpenOptions;
use std::io::Write;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use rustix::process::Signal;

use crate::support::env::{Env, SOON, TOPIC, lines, wait_until};

#[test]
fn the_old_file_is_drained_before_the_new_one_is_sent() {
    let mut env = Env::new();
    let mut writer = env.open("app.log");
    env.write_lines("app.log", 0..100);
    env.start();
    env.expect_lines(&lines(0..100));
    env.rename("app.log", "app.log.1");
    // The program that logs has not gone over to the new file yet.
    let late = lines(100..150).join("\n") + "\n";
    writer.write_all(late.as_bytes()).unwrap();
    env.write_lines("app.log", 150..200);
    env.stop_and_expect_lines(&lines(0..200));
}

#[test]
fn what_another_process_writes_to_the_old_file_for_a_while_is_sent_too() {
    let mut env = Env::new();
    env.set("log:app", "rotate_wait", "2s");
    let mut writer = env.open("app.log");
    env.write_lines("app.log", 0..100);
    env.start();
    env.expect_lines(&lines(0..100));
    env.rename("app.log", "app.log.1");
    env.write_lines("app.log", 100..110);
    env.expect_lines(&lines(0..110));
    writer.write_all(b"line 110\n").unwrap();
    env.stop_and_expect_lines(&lines(0..111));
}

#[test]
fn rotation_after_rotation_loses_and_repeats_nothing() {
    let mut env = Env::following_one_path();
    env.set("log:app", "rotate_wait", "50ms");
    env.start();
    for round in 0..8 {
        for number in (1..round).rev() {
            env.rename(
                &format!("app.log.{number}"),
                &format!("app.log.{}", number + 1),
            );
        }
        if round > 0 {
            env.rename("app.log", "app.log.1");
        }
        env.write_lines("app.log", round * 100..(round + 1) * 100);
        if round % 3 == 0 {
            env.wait_for_records((round + 1) * 100);
        }
    }
    env.stop_and_expect_lines(&lines(0..800));
}

#[test]
fn a_glob_that_matches_rotated_names_too_sends_nothing_twice() {
    let mut env = Env::new();
    let glob = env.path("app.log*");
    env.set("log:app", "path", &glob);
    env.write_lines("app.log", 0..100);
    env.start();
    env.expect_lines(&lines(0..100));
    env.rename("app.log", "app.log.1");
    env.write_lines("app.log", 100..200);
    env.expect_lines(&lines(0..200));
    env.rename("app.log.1", "app.log.2");
    env.rename("app.log", "app.log.1");
    env.write_lines("app.log", 200..300);
    env.expect_lines(&lines(0..300));
    env.stop();
    env.start();
    env.write_lines("app.log", 300..400);
    env.stop_and_expect_lines(&lines(0..400));
}

#[test]
fn a_file_rotated_while_the_broker_is_down_is_sent_first() {
    let mut env = Env::following_one_path();
    env.start();
    env.write_lines("app.log", 0..100);
    env.expect_lines(&lines(0..100));
    env.broker.down(1);
    env.write_lines("app.log", 100..200);
    env.rename("app.log", "app.log.1");
    env.write_lines("app.log", 200..300);
    env.rename("app.log.1", "app.log.2");
    env.rename("app.log", "app.log.1");
    env.write_lines("app.log", 300..400);
    env.broker.up(1);
    env.stop_and_expect_lines(&lines(0..400));
}

#[test]
fn a_truncated_file_is_read_from_its_start() {
    let mut env = Env::new();
    env.write_lines("app.log", 0..100);
    env.start();
    env.expect_lines(&lines(0..100));
    env.copytruncate("app.log", "app.log.1");
    env.write_lines("app.log", 100..110);
    env.stop_and_expect_lines(&lines(0..110));
}

#[test]
fn a_truncated_file_that_has_outgrown_the_offset_is_read_from_its_start() {
    let mut env = Env::new();
    env.write_lines("app.log", 0..100);
    env.start();
    env.expect_lines(&lines(0..100));
    env.signal(Signal::STOP);
    env.copytruncate("app.log", "app.log.1");
    env.write_lines("app.log", 100..500);
    env.signal(Signal::CONT);
    env.stop_and_expect_lines(&lines(0..500));
}

#[test]
fn what_was_unread_at_a_copytruncate_is_taken_from_the_copy() {
    let mut env = Env::new();
    env.write_lines("app.log", 0..100);
    env.start();
    env.expect_lines(&lines(0..100));
    env.signal(Signal::STOP);
    env.write_lines("app.log", 100..200);
    env.copytruncate("app.log", "app.log.1");
    env.write_lines("app.log", 200..210);
    env.signal(Signal::CONT);
    env.stop_and_expect_lines(&lines(0..210));
}

#[test]
fn what_was_truncated_unread_and_without_a_copy_is_reported_as_lost_bytes() {
    let mut env = Env::new();
    env.write_lines("app.log", 0..100);
    env.start();
    env.expect_lines(&lines(0..100));
    env.signal(Signal::STOP);
    env.append("app.log", "x".repeat(999) + "\n");
    env.truncate("app.log");
    env.write_lines("app.log", 100..110);
    env.signal(Signal::CONT);
    env.stop_and_expect_lines(&lines(0..110));
}

/// An agent that has read a line and the beginning of one, of which six bytes are cut off.
fn cut_within_a_line() -> Env {
    let mut env = Env::new();
    env.append("app.log", "line 0\npartial");
    env.start();
    env.wait_for_records(1);
    let file = OpenOptions::new().write(true).open(env.path("app.log"));
    file.unwrap().set_len(8).unwrap();
    env.wait_for_log("6 bytes from offset 8 on were truncated away", SOON);
    env
}

#[test]
fn bytes_that_are_cut_off_behind_what_was_read_are_reported_and_reading_goes_on() {
    let mut env = cut_within_a_line();
    env.append("app.log", "q\n");
    let expected = ["line 0".to_owned(), "pq".to_owned()];
    env.stop_and_expect_lines(&expected);
}

#[test]
fn a_loss_is_told_with_its_place_after_a_restart_too() {
    let mut env = cut_within_a_line();
    let place = format!("{} from offset 8 on: truncated", env.path("app.log"));
    for is_killed in [true, false] {
        let status = env.run(&["status"]);
        let said = status.stdout.split_whitespace().collect::<Vec<_>>();
        let said = said.join(" ");
        assert_eq!(status.code, Some(1), "{said}");
        assert!(said.contains(" LOST 1 "), "{said}");
        assert!(said.contains("lost 6 B"), "{said}");
        assert!(said.contains(&place), "{said}");
        match is_killed {
            true => env.kill(),
            false => drop(env.stop()),
        }
        env.start();
        env.wait_for_log("is read from", SOON);
    }
    let json = env.run(&["status", "--json"]).stdout;
    assert!(json.contains("\"bytes\":6,\"offset\":8,"), "{json}");
    env.stop();
}

#[test]
fn what_is_truncated_before_its_first_byte_was_read_is_reported() {
    let mut env = Env::new();
    env.append("app.log", "partial");
    env.start();
    env.wait_for_log("is read from offset 0", SOON);
    env.signal(Signal::STOP);
    env.truncate("app.log");
    // Longer than it was.
    env.write_lines("app.log", 1..10);
    env.signal(Signal::CONT);
    env.wait_for_log("7 bytes from offset 0 on were truncated away", SOON);
    env.stop_and_expect_lines(&lines(1..10));
}

#[test]
fn a_file_that_is_truncated_and_renamed_between_two_looks_is_read_from_its_start() {
    let mut env = Env::following_one_path();
    env.write_lines("app.log", 0..100);
    env.start();
    env.expect_lines(&lines(0..100));
    env.signal(Signal::STOP);
    env.truncate("app.log");
    env.write_lines("app.log", 100..110);
    env.rename("app.log", "app.log.1");
    env.write_lines("app.log", 110..120);
    env.signal(Signal::CONT);
    env.stop_and_expect_lines(&lines(0..120));
}

#[test]
fn files_that_follow_on_a_truncated_one_between_two_looks_come_after_it() {
    let mut env = Env::following_one_path();
    env.write_lines("app.log", 0..100);
    env.start();
    env.expect_lines(&lines(0..100));
    env.signal(Signal::STOP);
    env.truncate("app.log");
    env.write_lines("app.log", 100..110);
    env.rename("app.log", "app.log.2");
    env.write_lines("app.log", 110..120);
    env.rename("app.log", "app.log.1");
    env.write_lines("app.log", 120..130);
    env.signal(Signal::CONT);
    env.stop_and_expect_lines(&lines(0..130));
}

#[test]
fn what_went_through_an_empty_file_between_two_looks_is_read_from_the_copies() {
    let mut env = Env::new();
    drop(env.open("app.log"));
    env.start();
    env.wait_for_log("is read from offset 0", SOON);
    env.signal(Signal::STOP);
    env.write_lines("app.log", 0..10);
    env.copytruncate("app.log", "app.log.3");
    env.write_lines("app.log", 10..20);
    env.copytruncate("app.log", "app.log.2");
    env.signal(Signal::CONT);
    env.expect_lines(&lines(0..20));
    env.signal(Signal::STOP);
    env.write_lines("app.log", 20..30);
    env.copytruncate("app.log", "app.log.1");
    env.write_lines("app.log", 30..40);
    env.signal(Signal::CONT);
    env.stop_and_expect_lines(&lines(0..40));
}

#[test]
fn a_file_that_comes_and_goes_between_two_looks_is_read_whatever_its_time_is() {
    let tomorrow = SystemTime::now() + Duration::from_secs(86_400);
    // With another one after it, beside which its time tells whether it is still written to, and without.
    for (time, end) in [(None, 110), (Some(tomorrow), 120)] {
        let mut env = Env::following_one_path();
        env.write_lines("app.log", 0..100);
        env.start();
        env.expect_lines(&lines(0..100));
        env.signal(Signal::STOP);
        env.rename("app.log", "app.log.2");
        env.write_lines("app.log", 100..110);
        env.rename("app.log", "app.log.1");
        if let Some(time) = time {
            env.open("app.log.1").set_modified(time).unwrap();
            env.write_lines("app.log", 110..end);
        }
        env.signal(Signal::CONT);
        env.stop_and_expect_lines(&lines(0..end));
    }
}

#[test]
fn every_copy_that_is_made_between_two_looks_is_read() {
    let mut env = Env::new();
    env.write_lines("app.log", 0..100);
    env.start();
    env.expect_lines(&lines(0..100));
    env.signal(Signal::STOP);
    env.write_lines("app.log", 100..110);
    env.copytruncate("app.log", "app.log.2");
    env.write_lines("app.log", 110..120);
    env.copytruncate("app.log", "app.log.1");
    env.write_lines("app.log", 120..130);
    env.signal(Signal::CONT);
    env.stop_and_expect_lines(&lines(0..130));
}

#[test]
fn a_partial_last_line_waits_for_its_newline() {
    let mut env = Env::new();
    env.append("app.log", "line 0\nline 1");
    env.start();
    env.wait_for_records(1);
    // Another file's line has come and gone: the partial one had its chance.
    env.append("other.log", "marker\n");
    env.wait_for_records(2);
    assert_eq!(env.broker.values(TOPIC), ["line 0", "marker"]);
    env.append("app.log", "\n");
    env.wait_for_records(3);
    env.stop();
    assert_eq!(env.broker.values(TOPIC), ["line 0", "marker", "line 1"]);
}

#[test]
fn a_partial_last_line_is_sent_when_its_file_is_rotated_away() {
    let mut env = Env::new();
    env.append("app.log", "line 0\nline 1");
    env.start();
    env.wait_for_records(1);
    env.rename("app.log", "app.log.1");
    env.write_lines("app.log", 2..5);
    env.stop_and_expect_lines(&lines(0..5));
}

#[test]
fn a_partial_last_line_is_sent_when_its_file_is_deleted() {
    let mut env = Env::new();
    env.append("app.log", "line 0\nline 1");
    env.start();
    env.wait_for_records(1);
    env.remove("app.log");
    env.stop_and_expect_lines(&lines(0..2));
}

#[test]
fn a_file_that_is_deleted_is_still_read_to_its_end() {
    let mut env = Env::new();
    env.write_lines("app.log", 0..10);
    env.start();
    env.expect_lines(&lines(0..10));
    env.signal(Signal::STOP);
    env.write_lines("app.log", 10..20);
    env.remove("app.log");
    env.signal(Signal::CONT);
    env.expect_lines(&lines(0..20));
    env.write_lines("app.log", 20..30);
    env.stop_and_expect_lines(&lines(0..30));
}

#[test]
fn a_file_that_appears_later_is_found() {
    let mut env = Env::following_one_path();
    env.set("log:app", "start_at", "end");
    env.start();
    // It was not there at the start, so its first lines are new as well.
    env.write_lines("app.log", 0..10);
    env.stop_and_expect_lines(&lines(0..10));
}

#[test]
fn a_folder_that_appears_later_is_found() {
    let mut env = Env::new();
    let glob = env.path("**/*.log");
    env.set("log:app", "path", &glob);
    env.write_lines("app.log", 0..10);
    env.start();
    env.wait_for_records(10);
    env.make_folder("deep/deeper");
    env.write_lines("deep/deeper/app.log", 10..20);
    env.stop_and_expect_lines(&lines(0..20));
}

#[test]
fn files_that_are_made_while_it_starts_are_found() {
    let mut env = Env::new();
    env.start_and_run_on();
    for number in 0..300 {
        env.write_lines(&format!("app-{number}.log"), number..number + 1);
    }
    env.wait_for_records(300);
    env.stop();
    assert_eq!(env.broker.count(TOPIC), 300);
}

#[test]
fn a_file_that_is_made_together_with_its_folder_is_found() {
    let mut env = Env::new();
    let glob = env.path("**/*.log");
    env.set("log:app", "path", &glob);
    env.start();
    for number in 0..100 {
        env.make_folder(&format!("{number}"));
        env.write_lines(&format!("{number}/app.log"), number..number + 1);
    }
    env.wait_for_records(100);
    env.stop();
    assert_eq!(env.broker.count(TOPIC), 100);
}

#[test]
fn a_new_file_under_a_glob_is_found_within_a_second() {
    let mut env = Env::new();
    env.write_lines("first.log", 0..1);
    env.start();
    env.wait_for_records(1);
    for number in 1..4 {
        let start = Instant::now();
        env.write_lines(&format!("new-{number}.log"), number..number + 1);
        env.wait_for_records(number + 1);
        let taken = start.elapsed();
        // One second is the promise; the rest is for a busy machine.
        assert!(taken < Duration::from_secs(2), "found after {taken:?}");
    }
    env.stop_and_expect_lines(&lines(0..4));
}

#[test]
fn with_start_at_end_only_new_lines_are_sent() {
    let mut env = Env::new();
    env.set("log:app", "start_at", "end");
    env.write_lines("app.log", 0..100);
    env.start();
    env.wait_for_log(&env.path("app.log"), SOON);
    wait_until(
        SOON,
        || env.checkpoints().exists(),
        || "the checkpoint of a file that starts at its end".to_owned(),
    );
    env.write_lines("app.log", 100..110);
    env.write_lines("new.log", 110..120);
    env.wait_for_records(20);
    env.stop();
    let mut values = env.broker.values(TOPIC);
    values.sort();
    assert_eq!(values, lines(100..120));
}

#[test]
fn a_link_that_is_turned_to_another_file_is_a_rotation() {
    let mut env = Env::new();
    let path = env.path("current");
    env.set("log:app", "path", &path);
    env.write_lines("monday.log", 0..100);
    env.symlink("monday.log", "current");
    env.start();
    env.expect_lines(&lines(0..100));
    env.write_lines("monday.log", 100..120);
    env.expect_lines(&lines(0..120));
    env.write_lines("tuesday.log", 120..200);
    env.symlink("tuesday.log", "next");
    env.rename("next", "current");
    env.stop_and_expect_lines(&lines(0..200));
}

#[test]
fn what_is_no_regular_file_is_one_warning_and_the_others_flow() {
    let mut env = Env::new();
    env.make_folder("folder.log");
    let made = Command::new("mkfifo")
        .arg(env.path("pipe.log"))
        .status()
        .unwrap();
    assert!(made.success());
    env.write_lines("app.log", 0..10);
    env.start();
    env.wait_for_log("folder.log", SOON);
    env.wait_for_log("pipe.log", SOON);
    env.expect_lines(&lines(0..10));
    env.write_lines("new.log", 10..20);
    env.expect_lines(&lines(0..20));
    for name in ["folder.log", "pipe.log"] {
        assert_eq!(env.agent().count_log(&["WARN", name]), 1, "{name}");
    }
    env.stop();
}

#[test]
fn an_unreadable_file_is_one_warning_and_the_others_flow() {
    let mut env = Env::new();
    env.write_lines("secret.log", 100..110);
    set_mode(&env, "secret.log", 0o000);
    env.write_lines("app.log", 0..10);
    if !env.start_bound_by_permissions() {
        eprintln!("not tested: permissions do not bind root here, and setpriv does not help");
        return;
    }
    env.wait_for_log("secret.log", SOON);
    env.expect_lines(&lines(0..10));
    assert_eq!(env.agent().count_log(&["WARN", "secret.log"]), 1);
    env.stop();
}

fn set_mode(env: &Env, name: &str, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    let permissions = std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(env.path(name), permissions).unwrap();
}

#[test]
fn lines_that_come_late_to_a_file_that_was_empty_when_it_was_rotated_come_before_those_of_the_next()
{
    let mut env = Env::new();
    // Longer than a busy disk lets the writer wait between the rotation and its late lines.
    env.set("log:app", "rotate_wait", "60s");
    env.write_lines("app.log", 0..1);
    env.start();
    env.expect_lines(&lines(0..1));
    let mut count = 1;
    let mut append = |file: &mut std::fs::File, more: usize| {
        let text = lines(count..count + more).join("\n") + "\n";
        file.write_all(text.as_bytes()).unwrap();
        count += more;
        count
    };
    let mut writer = env.open("app.log");
    for round in 0..100 {
        env.rename("app.log", &format!("app.log.{}", 1000 - 2 * round));
        let mut next = env.open("app.log");
        if round % 10 == 5 {
            // A disk that is slow to make a file holds the writer up for longer than a look takes.
            thread::sleep(Duration::from_millis(30));
        }
        append(&mut writer, 3);
        let written = append(&mut next, 1);
        // The one after it is empty when it is rotated.
        env.rename("app.log", &format!("app.log.{}", 999 - 2 * round));
        writer = env.open("app.log");
        if round % 4 == 0 {
            env.expect_lines(&lines(0..written));
        }
    }
    let written = append(&mut writer, 1);
    env.stop_and_expect_lines(&lines(0..written));
}
