//! Arguments, exit codes, and what the ini file may say.

use std::fs::{self, File};
use std::io::PipeWriter;
use std::os::unix::net::UnixDatagram;
use std::process::Stdio;
use std::time::Duration;

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
        ended.stderr.contains("Z ERROR /does/not/exist.ini: "),
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
    let ended = logagent(&["help", "run"]);
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

/// The last line of a rotated file may still be ended for `rotate_wait`, and the lines of the next file come after it.
#[test]
fn once_ships_what_comes_after_a_rotated_file_that_ends_without_a_newline() {
    let mut env = Env::new();
    env.set("log:app", "rotate_wait", "300ms");
    env.write_lines("app.log", 0..10);
    let ended = env.run(&["--once"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    env.append("app.log", "cut off");
    env.rename("app.log", "app.log.1");
    env.write_lines("app.log", 10..20);
    env.append("app.log", "not yet ended");
    let ended = env.run(&["--once"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(env.broker.count(TOPIC), 21);
    let left = "the last 13 bytes have no newline yet";
    assert!(ended.stderr.contains(left), "{}", ended.stderr);
    assert_eq!(ended.stderr.matches("no newline yet").count(), 1);
    // All that is left of the log was rotated away.
    env.rename("app.log", "app.log.2");
    let ended = env.run(&["--once"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(env.broker.count(TOPIC), 22);
}

/// Runs the program with what it prints going to `stdout`; its exit code and standard error.
fn printing_to(stdout: impl Into<Stdio>, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Agent::command();
    command.args(arguments).stdin(Stdio::null()).stdout(stdout);
    let output = command.stderr(Stdio::piped()).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), stderr)
}

fn full() -> File {
    File::options().write(true).open("/dev/full").unwrap()
}

/// A pipe that nobody reads.
fn closed() -> PipeWriter {
    std::io::pipe().unwrap().1
}

#[test]
fn help_and_version_that_cannot_be_printed_end_with_1_and_a_word() {
    for option in ["--help", "--version"] {
        for (code, stderr) in [
            printing_to(full(), &[option]),
            printing_to(closed(), &[option]),
        ] {
            assert_eq!(code, Some(1), "{option}: {stderr}");
            assert!(
                stderr.starts_with("logagent: standard output: "),
                "{stderr}"
            );
            assert_eq!(stderr.lines().count(), 1, "{stderr}");
        }
    }
}

#[test]
fn a_dry_run_that_cannot_print_ends_with_1_and_the_reason() {
    let env = Env::new();
    env.write_lines("app.log", 0..10_000);
    fs::write(env.config(), env.ini()).unwrap();
    let config = env.config().display().to_string();
    for mode in [&["--dry-run", "--once"][..], &["--dry-run"]] {
        let arguments = [&["--config", &config], mode].concat();
        for (code, stderr) in [
            printing_to(full(), &arguments),
            printing_to(closed(), &arguments),
        ] {
            assert_eq!(code, Some(1), "{mode:?}: {stderr}");
            let last = stderr.lines().last().unwrap_or_default();
            assert!(
                last.contains("Z ERROR logagent: standard output: "),
                "{stderr}"
            );
            assert!(
                stderr.contains("(0 bytes, 0 records) would have been sent"),
                "{stderr}"
            );
        }
    }
}

#[test]
fn signals_that_mean_nothing_to_it_end_nothing() {
    let mut env = Env::new();
    env.write_lines("app.log", 0..10);
    env.start();
    env.wait_for_records(10);
    for signal in [Signal::USR1, Signal::USR2, Signal::PIPE, Signal::ALARM] {
        env.signal(signal);
    }
    env.write_lines("app.log", 10..20);
    env.stop_and_expect_lines(&lines(0..20));
    env.start();
    env.stop_and_expect_lines(&lines(0..20));
}

#[test]
fn once_with_nothing_to_ship_ends_with_1_and_the_reason() {
    let env = Env::new();
    for arguments in [&["--once"][..], &["--once", "--dry-run"]] {
        let ended = env.run(arguments);
        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        assert!(ended.stderr.contains("no file matches"), "{}", ended.stderr);
    }
}

#[test]
fn once_with_a_dead_letter_ends_with_1_and_the_reason() {
    let mut env = Env::new();
    env.set("kafka", "compression", "none");
    env.broker.max_message_bytes(2000);
    env.append("app.log", format!("line 0\n{}\nline 1\n", "x".repeat(5000)));
    let ended = env.run(&["--once"]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let last = ended.stderr.lines().last().unwrap_or_default();
    assert!(last.contains("1 record was refused by Kafka"), "{last}");
    assert_eq!(env.broker.values(TOPIC), lines(0..2), "all others arrive");
    let ended = env.run(&["--once"]);
    assert_eq!(
        ended.code,
        Some(0),
        "it is not refused again\n{}",
        ended.stderr
    );
}

/// Processor time that a process has had, in hundredths of a second.
fn processor_time(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, after_name) = stat.rsplit_once(')').unwrap();
    let fields = after_name.split(' ').skip(12).take(2);
    fields.map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}

#[test]
fn once_takes_no_processor_time_while_it_waits_for_a_broker() {
    let env = Env::new();
    env.broker.down(1);
    env.write_lines("app.log", 0..10);
    let mut agent = env.spawn(&["--once"]);
    agent.wait_for_log("is read from offset 0", SOON);
    std::thread::sleep(Duration::from_secs(1));
    let taken = processor_time(agent.pid());
    agent.signal(Signal::TERM);
    agent.wait_exit(SOON);
    assert!(taken < 40, "{taken} hundredths of a second");
}

/// The next thing that a service manager is told.
fn told(socket: &UnixDatagram) -> String {
    let mut bytes = [0; 200];
    socket.set_read_timeout(Some(SOON)).unwrap();
    let count = socket.recv(&mut bytes).unwrap();
    String::from_utf8(bytes[..count].to_vec()).unwrap()
}

#[test]
fn a_service_manager_is_told_when_the_agent_is_ready_alive_reloading_and_stopping() {
    let env = Env::new();
    env.write_lines("app.log", 0..10);
    let name = env.log_dir().join("../notify");
    let socket = UnixDatagram::bind(&name).unwrap();
    let mut command = env.command(&[]);
    command.env("NOTIFY_SOCKET", &name);
    command.env("WATCHDOG_USEC", "100000");
    let mut agent = Agent::spawn(command);
    assert_eq!(told(&socket), "STATUS=follows 1 file");
    assert_eq!(told(&socket), "READY=1");
    for _ in 0..3 {
        assert_eq!(told(&socket), "WATCHDOG=1");
    }
    let next_news = || loop {
        let news = told(&socket);
        if news != "WATCHDOG=1" {
            break news;
        }
    };
    agent.signal(Signal::HUP);
    let reloading = next_news();
    assert!(
        reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="),
        "{reloading}"
    );
    assert_eq!(next_news(), "READY=1");
    agent.signal(Signal::TERM);
    assert_eq!(next_news(), "STOPPING=1");
    assert_eq!(agent.wait_exit(SOON).code, Some(0));
}
