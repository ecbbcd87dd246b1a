//! Where a record begins and ends: carriage returns, pieces of long lines, bytes that are not written yet.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::process::Command;

use crate::support::broker::Record;
use crate::support::env::{Env, SOON, TOPIC, lines, losses};

/// The text and the number of each record; no number: a whole line.
fn numbered(records: &[Record]) -> Vec<(String, Option<String>)> {
    let numbered = |record: &Record| (record.text(), record.header("part"));
    records.iter().map(numbered).collect()
}

fn line(text: &str) -> (String, Option<String>) {
    (text.to_owned(), None)
}

fn part(text: &str, number: &str) -> (String, Option<String>) {
    (text.to_owned(), Some(number.to_owned()))
}

#[test]
fn the_carriage_return_is_off_the_last_piece_only() {
    let mut env = Env::new();
    env.set("log:app", "max_line_bytes", "8B")
        .set("log:app", "strip_cr", "on");
    env.append(
        "app.log",
        "abcdefghijkl\r\nABCDEFGH\r\nabcdefg\rhij\r\n\r\nABCDEFGHIJKLMNOP\r\nend\n",
    );
    env.start();
    env.wait_for_records(9);
    env.stop();
    assert_eq!(
        numbered(&env.broker.records(TOPIC)),
        [
            part("abcdefgh", "1"),
            part("ijkl", "2"),
            line("ABCDEFGH"),
            part("abcdefg\r", "1"),
            part("hij", "2"),
            line(""),
            part("ABCDEFGH", "1"),
            part("IJKLMNOP", "2"),
            line("end"),
        ]
    );
}

#[test]
fn a_carriage_return_and_a_newline_that_are_written_apart_are_one_end_of_line() {
    let mut env = Env::new();
    env.set("log:app", "max_line_bytes", "8B")
        .set("log:app", "strip_cr", "on");
    env.append("app.log", "first\r\n");
    env.start();
    env.wait_for_records(1);
    env.append("app.log", "ABCDEFGH\r");
    env.wait_for_checkpoint_with_the_size_of("app.log");
    env.append("app.log", "\nABCDEFGHIJ");
    env.wait_for_records(3);
    env.append("app.log", "\r");
    env.wait_for_checkpoint_with_the_size_of("app.log");
    env.append("app.log", "\nend\r\n");
    env.wait_for_records(5);
    env.stop();
    assert_eq!(
        numbered(&env.broker.records(TOPIC)),
        [
            line("first"),
            line("ABCDEFGH"),
            part("ABCDEFGH", "1"),
            part("IJ", "2"),
            line("end"),
        ]
    );
}

#[test]
fn a_carriage_return_stays_unless_it_is_to_be_stripped() {
    let mut env = Env::new();
    env.set("log:app", "max_line_bytes", "8B");
    env.append("app.log", "abcdefgh\r\nab\r\n");
    env.start();
    env.wait_for_records(3);
    env.stop();
    assert_eq!(
        numbered(&env.broker.records(TOPIC)),
        [part("abcdefgh", "1"), part("\r", "2"), line("ab\r")]
    );
}

#[test]
fn a_dry_run_prints_the_records_as_they_would_be_sent() {
    let mut env = Env::new();
    env.set("log:app", "max_line_bytes", "8B")
        .set("log:app", "strip_cr", "on");
    env.append("app.log", "abcdefghijkl\r\nABCDEFGH\r\n");
    let ended = env.run(&["--dry-run", "--once"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let printed = format!("{TOPIC}\t-\tabcdefgh\n{TOPIC}\t-\tijkl\n{TOPIC}\t-\tABCDEFGH\n");
    assert_eq!(ended.stdout, printed);
}

/// Runs `script` with Python, which can map a file into memory; false if there is none here.
fn python(script: &str, path: &str) -> bool {
    let run = Command::new("python3").args(["-c", script, path]).status();
    match &run {
        Ok(status) => assert!(status.success(), "{status}"),
        Err(error) => eprintln!("NOT TRIED, python3 cannot be started: {error}"),
    }
    run.is_ok()
}

/// Puts text at an offset of `app.log` through a mapping: no size changes, and no event tells of it.
fn map_and_write(env: &Env, at: usize, text: &str) -> bool {
    let script = format!(
        "import mmap, sys\n\
         file = open(sys.argv[1], 'r+b')\n\
         room = mmap.mmap(file.fileno(), 0)\n\
         text = {text:?}.encode()\n\
         room[{at}:{at} + len(text)] = text\n"
    );
    python(&script, &env.path("app.log"))
}

/// Makes `app.log` with this text and `room` bytes of NUL behind it.
fn allocate(env: &Env, text: &str, room: u64) {
    env.append("app.log", text);
    env.open("app.log").set_len(room).unwrap();
}

#[test]
fn text_that_a_mapped_file_gets_in_the_place_of_its_nuls_is_read() {
    let mut env = Env::new();
    allocate(&env, "line 0\nline 1\n", 1 << 20);
    env.start();
    env.wait_for_records(2);
    if !map_and_write(&env, 14, "line 2\nli") {
        return;
    }
    env.wait_for_records(3);
    // Quiet for longer than it takes to part with a thread.
    map_and_write(&env, 23, "ne 3\n");
    env.wait_for_records(4);
    env.wait_for_checkpoint_field(0, 28);
    env.kill();
    map_and_write(&env, 28, "line 4\n");
    env.start();
    env.wait_for_records(5);
    // As the appender does when it is stopped.
    env.open("app.log").set_len(35).unwrap();
    env.append("app.log", "line 5\n");
    env.wait_for_records(6);
    env.rename("app.log", "app.log.1");
    env.append("app.log", "line 6\n");
    env.stop_and_expect_lines(&lines(0..7));
    assert_eq!(losses(&env.all_logs()).count(), 0);
    assert!(!env.all_logs().contains("NUL"), "nothing was skipped");
}

#[test]
fn the_nuls_of_a_finished_file_are_no_line_and_no_loss() {
    let mut env = Env::new();
    allocate(&env, "line 0\nline 1", 1 << 20);
    env.start();
    env.wait_for_records(1);
    env.rename("app.log", "app.log.1");
    env.write_lines("app.log", 2..3);
    env.wait_for_records(3);
    env.stop();
    env.remove("app.log.1");
    env.write_lines("app.log", 3..4);
    env.start();
    env.stop_and_expect_lines(&lines(0..4));
    assert_eq!(losses(&env.all_logs()).count(), 0);
}

#[test]
fn a_file_that_is_deleted_before_its_nuls_were_overwritten_has_lost_nothing() {
    let mut env = Env::new();
    allocate(&env, "line 0\n", 1 << 20);
    env.start();
    env.wait_for_records(1);
    env.wait_for_checkpoint_field(0, 7);
    env.wait_for_checkpoint_field(1, 7);
    env.kill();
    env.remove("app.log");
    env.write_lines("app.log", 1..2);
    env.start();
    env.stop_and_expect_lines(&lines(0..2));
    assert_eq!(losses(&env.all_logs()).count(), 0);
}

#[test]
fn start_at_end_stands_before_nuls_that_are_not_written_yet() {
    let mut env = Env::new();
    env.set("log:app", "start_at", "end");
    allocate(&env, "old\n", 1 << 20);
    env.start();
    env.wait_for_log("is read from offset 4", SOON);
    let file = File::options().write(true).open(env.path("app.log"));
    file.unwrap().write_all_at(b"line 0\n", 4).unwrap();
    env.wait_for_records(1);
    env.stop_and_expect_lines(&lines(0..1));
}

#[test]
fn the_hole_of_a_writer_that_does_not_append_is_skipped_and_said() {
    let mut env = Env::new();
    let mut writer = File::create(env.path("app.log")).unwrap();
    let mut write = |numbers: std::ops::Range<usize>| {
        for line in lines(numbers) {
            writeln!(writer, "{line}").unwrap();
        }
    };
    write(0..1000);
    env.start();
    env.wait_for_records(1000);
    env.copytruncate("app.log", "app.log.1");
    write(1000..1010);
    env.wait_for_records(1010);
    env.copytruncate("app.log", "app.log.2");
    write(1010..1020);
    env.wait_for_records(1020);
    env.stop();
    // And while the agent is down.
    env.copytruncate("app.log", "app.log.3");
    write(1020..1030);
    env.start();
    env.wait_for_records(1030);
    write(1030..1040);
    env.stop_and_expect_lines(&lines(0..1040));
    assert_eq!(losses(&env.all_logs()).count(), 0);
    let log = env.all_logs();
    let said = |line: &&str| line.contains("WARN") && line.contains("bytes of NUL from offset 0");
    assert_eq!(
        log.lines().filter(said).count(),
        3,
        "one for each truncation"
    );
    assert!(log.contains("O_APPEND"));
}
