//! Where a record begins and ends: carriage returns, pieces of long lines, bytes that are not written yet.

use crate::support::broker::Record;
use crate::support::env::{Env, TOPIC};

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
