//! Arguments, exit codes, and what the ini file may say.

use std::fs;

use rustix::process::Signal;

use crate::support::agent::{Agent, Ended};
use crate::support::env::{Env, SOON, TOPIC, lines};

/// Runs the program with these arguments alone.
fn logagent(arguments: &[&str]) -> Ended {
    let mut command = Agent::command();
    command.args(arguments);
    Agent::spawn(command).wait_exit(SOON)
}

/// What the agent says to an ini file of `text`, which it must refuse.
fn refusal(env: &Env, text: &str) -> String {
    fs::write(env.config(), text).unwrap();
    let ended = logagent(&["--config", &env.config().display().to_string()]);
    assert_eq!(ended.code, Some(2), "{text}\n{}", ended.stderr);
    assert!(!env.checkpoints().exists(), "nothing was started");
    assert_eq!(env.broker.accepted(1), 0, "nobody was asked");
    ended.stderr
}

/// Fails unless the agent refuses an ini with `line` in `section`, at that line, in these words.
fn refuses(section: &str, line: &str, words: &[&str]) {
    let env = Env::new();
    let header = format!("[{section}]\n");
    let ini = env.ini();
    let text = match ini.contains(&header) {
        true => ini.replace(&header, &format!("{header}{line}\n")),
        false => format!("{ini}{header}{line}\n"),
    };
    let number = text.lines().position(|found| found == line).unwrap() + 1;
    let stderr = refusal(&env, &text);
    let place = format!("{}:{number}: ", env.config().display());
    let message = stderr.lines().find(|message| message.contains(&place));
    let message = message.unwrap_or_else(|| panic!("{place} is not named:\n{stderr}"));
    for word in words {
        assert!(message.contains(word), "'{word}' is not in: {message}");
    }
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_name() {
    refuses(
        "kafka",
        "brokrs = x:1",
        &["unknown key 'brokrs' in [kafka]", "'brokers'"],
    );
    refuses(
        "agent",
        "memorylimit = 1MiB",
        &["'memorylimit'", "[agent]", "'memory_limit'"],
    );
    refuses(
        "log:app",
        "rotatewait = 1s",
        &["'rotatewait'", "'rotate_wait'"],
    );
}

#[test]
fn a_bad_value_is_refused_and_quoted() {
    refuses("kafka", "acks = 2", &["acks", "'2'"]);
    refuses("kafka", "compression = lz5", &["'lz5'"]);
    refuses(
        "kafka",
        "batch_bytes = 12 apples",
        &["batch_bytes", "'12 apples'"],
    );
    refuses("kafka", "partitioner = fixed:x", &["'fixed:x'"]);
    refuses("kafka", "idempotence = maybe", &["'maybe'"]);
    refuses("agent", "producers = 0", &["producers", "'0'"]);
    refuses("agent", "memory_limit = -1", &["memory_limit", "'-1'"]);
    refuses("log:app", "start_at = middle", &["'middle'"]);
    refuses("log:app", "max_line_bytes = ", &["max_line_bytes"]);
}

#[test]
fn a_duplicate_is_refused() {
    let env = Env::new();
    let text = env
        .ini()
        .replace("topic = logs\n", "topic = logs\ntopic = other\n");
    let number = text
        .lines()
        .position(|line| line == "topic = other")
        .unwrap()
        + 1;
    let stderr = refusal(&env, &text);
    let place = format!("{}:{number}: ", env.config().display());
    assert!(
        stderr.contains(&place) && stderr.contains("'topic'"),
        "{stderr}"
    );

    let stderr = refusal(&env, &(env.ini() + "[kafka]\nclient_id = x\n"));
    assert!(stderr.contains("[kafka]"), "{stderr}");
}

#[test]
fn a_line_that_is_no_ini_is_refused() {
    refuses("kafka", "topic web_log", &["no '=' after 'topic'"]);
    refuses("kafka", "what is this", &["no '=' on this line"]);
}

#[test]
fn an_unknown_section_is_refused() {
    let env = Env::new();
    let stderr = refusal(&env, &(env.ini() + "[kafak]\nbrokers = x:1\n"));
    assert!(stderr.contains("kafak"), "{stderr}");
}

#[test]
fn a_missing_key_is_refused() {
    let mut env = Env::new();
    env.unset("kafka", "brokers");
    let stderr = refusal(&env, &env.ini());
    assert!(
        stderr.contains("brokers") && stderr.contains("[kafka]"),
        "{stderr}"
    );

    let mut env = Env::new();
    env.unset("log:app", "path");
    let stderr = refusal(&env, &env.ini());
    assert!(
        stderr.contains("path") && stderr.contains("[log:app]"),
        "{stderr}"
    );

    let mut env = Env::new();
    env.unset("kafka", "topic");
    let stderr = refusal(&env, &env.ini());
    assert!(stderr.contains("topic"), "{stderr}");
}

#[test]
fn a_file_without_logs_is_refused() {
    let mut env = Env::new();
    env.unset_section("log:app");
    let stderr = refusal(&env, &env.ini());
    assert!(stderr.contains("[log:"), "{stderr}");
}

#[test]
fn contradictions_are_refused() {
    let mut env = Env::new();
    env.set("kafka", "acks", "1")
        .set("kafka", "idempotence", "on");
    let stderr = refusal(&env, &env.ini());
    assert!(
        stderr.contains("idempotence") && stderr.contains("acks"),
        "{stderr}"
    );

    let mut env = Env::new();
    env.set("kafka", "protocol", "legacy")
        .set("kafka", "compression", "lz4");
    let stderr = refusal(&env, &env.ini());
    assert!(
        stderr.contains("legacy") && stderr.contains("lz4"),
        "{stderr}"
    );
}

#[test]
fn all_errors_are_told_at_once() {
    let mut env = Env::new();
    env.set("kafka", "acks", "2")
        .set("kafka", "compression", "lz5")
        .set("agent", "producers", "none")
        .set("log:app", "colour", "red");
    let stderr = refusal(&env, &env.ini());
    for words in ["'2'", "'lz5'", "'none'", "'colour'"] {
        assert!(stderr.contains(words), "{words} is not in:\n{stderr}");
    }
}

#[test]
fn a_missing_ini_is_an_error_that_names_it() {
    let ended = logagent(&["--config", "/does/not/exist.ini"]);
    assert_eq!(ended.code, Some(2));
    assert!(
        ended.stderr.contains("/does/not/exist.ini"),
        "{}",
        ended.stderr
    );
}

#[test]
fn an_unknown_option_is_an_error_that_names_it() {
    let ended = logagent(&["--configg", "x.ini"]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("--configg"), "{}", ended.stderr);
    assert_eq!(ended.stdout, "");
    let ended = logagent(&["--config"]);
    assert_eq!(ended.code, Some(2));
}

#[test]
fn the_version_is_printed() {
    let ended = logagent(&["--version"]);
    assert_eq!(ended.code, Some(0));
    let version = concat!("logagent ", env!("CARGO_PKG_VERSION"));
    assert!(ended.stdout.starts_with(version), "{}", ended.stdout);
}

#[test]
fn help_names_every_option() {
    let ended = logagent(&["--help"]);
    assert_eq!(ended.code, Some(0));
    for option in ["--config", "--dry-run", "--once", "--version", "--help"] {
        assert!(
            ended.stdout.contains(option),
            "{option} is not in:\n{}",
            ended.stdout
        );
    }
    assert_eq!(ended.stderr, "");
}

#[test]
fn a_dry_run_prints_lines_and_needs_no_kafka() {
    let env = Env::new();
    env.broker.down(1);
    env.write_lines("app.log", 0..100);
    let mut agent = env.spawn(&["--dry-run"]);
    agent.wait_for_stdout("line 99", SOON);
    env.write_lines("app.log", 100..110);
    agent.wait_for_stdout("line 109", SOON);
    agent.signal(Signal::TERM);
    let ended = agent.wait_exit(SOON);
    assert_eq!(ended.code, Some(0));
    for line in lines(0..110) {
        assert!(ended.stdout.contains(&line), "{line} was not printed");
    }
    assert!(!env.checkpoints().exists(), "no checkpoint was moved");
}

#[test]
fn a_dry_run_moves_no_checkpoint_of_a_running_agent() {
    let mut env = Env::new();
    env.write_lines("app.log", 0..10);
    env.start();
    env.expect_lines(&lines(0..10));
    env.stop();
    env.write_lines("app.log", 10..20);
    let before = fs::read(env.checkpoints()).unwrap();
    let ended = env.run(&["--dry-run", "--once"]);
    assert_eq!(ended.code, Some(0));
    assert!(ended.stdout.contains("line 19"), "{}", ended.stdout);
    assert_eq!(fs::read(env.checkpoints()).unwrap(), before);
    env.start();
    env.stop_and_expect_lines(&lines(0..20));
}

#[test]
fn once_ships_what_is_there_and_ends() {
    let env = Env::new();
    env.write_lines("app.log", 0..1000);
    env.write_lines("other.log", 1000..1100);
    let ended = env.run(&["--once"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(env.broker.count(TOPIC), 1100);
    env.write_lines("app.log", 1100..1110);
    let ended = env.run(&["--once"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(env.broker.count(TOPIC), 1110);
    let ended = env.run(&["--once"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(env.broker.count(TOPIC), 1110);
}
