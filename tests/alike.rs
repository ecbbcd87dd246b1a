//! Logs that all begin with the same lines, rotated while no agent runs.

use std::thread;
use std::time::Duration;

use crate::support::env::{Env, TOPIC, losses};

const HEADER: &str = "#Software: Internet Information Services\n#Version: 1.0\n";

/// How the log is rotated.
#[derive(Debug, Clone, Copy)]
struct Way {
    is_copied: bool,
    is_packed: bool,
    is_dated: bool,
}

impl Way {
    fn all() -> impl Iterator<Item = Way> {
        (0..8).map(|n| Way {
            is_copied: n & 1 != 0,
            is_packed: n & 2 != 0,
            is_dated: n & 4 != 0,
        })
    }

    /// The `nth` rotation.
    fn rotate(self, env: &Env, nth: usize) {
        let of = |number: usize, ending: &str| match self.is_dated {
            true => format!("app.log-{}{ending}", 1_700_000_000 + number),
            false => format!("app.log.{number}{ending}"),
        };
        let ending = if self.is_packed { ".gz" } else { "" };
        if !self.is_dated {
            for number in (1..nth).rev() {
                env.rename(&of(number, ending), &of(number + 1, ending));
            }
        }
        let rotated = of(if self.is_dated { nth } else { 1 }, "");
        match self.is_copied {
            true => env.copytruncate("app.log", &rotated),
            false => env.rename("app.log", &rotated),
        }
        if self.is_packed {
            env.gzip(&rotated);
        }
    }
}

fn once(env: &mut Env) -> String {
    let ended = env.run(&["run", "--once"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    ended.stderr
}

fn text(of: &str) -> String {
    (0..20).map(|n| format!("{of} {n}\n")).collect()
}

#[test]
fn of_files_that_begin_alike_none_is_taken_for_a_copy_of_one_that_little_is_known_of() {
    for way in Way::all() {
        for before in ["", "one\n", "one\ntwo\n"] {
            let (came, expected, log) = rotated_while_it_is_down(way, before, "app.log");
            assert_eq!(came, expected, "{way:?} {before:?}\n{log}");
        }
    }
}

/// Where the pattern matches the names that rotation gives, too, each file has a tailer of its own.
#[test]
fn files_that_begin_alike_and_are_followed_by_themselves_are_read_once() {
    for way in Way::all().filter(|way| !way.is_copied && !way.is_packed) {
        for before in ["", "one\n", "one\ntwo\n"] {
            let (came, expected, log) = rotated_while_it_is_down(way, before, "app.log*");
            // Which of two files it is that nothing but the header is known of depends on who looks first: that may come
            // once more.
            let headers = |all: &[String]| all.iter().filter(|line| line.starts_with('#')).count();
            assert!(
                headers(&came) >= headers(&expected),
                "{way:?} {before:?}\n{log}"
            );
            let sorted = |all: Vec<String>| {
                let mut all: Vec<_> = all
                    .into_iter()
                    .filter(|line| !line.starts_with('#'))
                    .collect();
                all.sort();
                all
            };
            assert_eq!(sorted(came), sorted(expected), "{way:?} {before:?}\n{log}");
        }
    }
}

/// What came of a log that was rotated while no agent ran, what had to, and what the agents said.
fn rotated_while_it_is_down(
    way: Way,
    before: &str,
    pattern: &str,
) -> (Vec<String>, Vec<String>, String) {
    let mut env = Env::new();
    env.set("log:app", "path", &env.path(pattern));
    let mut expected = Vec::new();
    let mut write = |env: &Env, text: &str| {
        env.append("app.log", text);
        expected.extend(text.lines().map(str::to_owned));
    };
    // One that was seen to its end goes before. Where its file is not there any more, one that holds the same is that
    // one, moved.
    write(&env, HEADER);
    if way.is_copied || way.is_packed {
        write(&env, "other\n");
    }
    once(&mut env);
    way.rotate(&env, 1);
    write(&env, HEADER);
    write(&env, before);
    once(&mut env);
    write(&env, &text("a"));
    for nth in 2..5 {
        // A file system takes the time of the last tick.
        thread::sleep(Duration::from_millis(10));
        way.rotate(&env, nth);
        write(&env, HEADER);
        write(&env, &text(&nth.to_string()));
    }
    let log = once(&mut env) + &once(&mut env);
    assert_eq!(losses(&log).count(), 0, "{log}");
    (env.broker.values(TOPIC), expected, log)
}
