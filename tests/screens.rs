//! What an operator sees of a running agent: status, tap, metrics.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};
use serde_json::Value;

use crate::support::agent::{Agent, Ended};
use crate::support::env::{Env, SOON, TOPIC, lines, wait_until};

/// `logagent status` with these arguments; every line of it fits.
fn status(env: &Env, arguments: &[&str]) -> Ended {
    let ended = env.run(&[&["status"], arguments].concat());
    for line in ended.stdout.lines() {
        assert!(line.len() <= 80 && line.is_ascii(), "{line}");
    }
    ended
}

/// The numbers, once they are as wanted.
pub(crate) fn wait_for_numbers(
    env: &Env,
    deadline: Duration,
    is_wanted: impl Fn(&Value) -> bool,
) -> Value {
    let mut numbers = Value::Null;
    wait_until(
        deadline,
        || {
            let ended = env.run(&["status", "--json"]);
            numbers = serde_json::from_str(&ended.stdout).unwrap_or_default();
            is_wanted(&numbers)
        },
        || "the status to be as wanted".to_owned(),
    );
    numbers
}

/// A port that is free, for `metrics_listen`.
fn free_address() -> String {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    free.local_addr().unwrap().to_string()
}

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes())
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    body.to_owned()
}

/// The series of a scrape.
fn scrape(address: &str) -> HashMap<String, f64> {
    let text = get(address, "/metrics");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        })
        .collect()
}

#[test]
fn status_tells_a_parked_topic_and_ends_with_0_1_or_2() {
    let mut env = Env::new();
    env.broker.auto_create(None);
    let path = env.path("new.txt");
    env.set("log:new", "path", &path)
        .set("log:new", "topic", "missing");
    let none = status(&env, &[]);
    assert_eq!((none.code, &*none.stdout), (Some(2), ""));
    let socket = env.state_dir().join("control.sock");
    let hints = [
        "no agent answers at",
        &socket.display().to_string(),
        "--config FILE",
    ];
    assert!(
        hints.iter().all(|hint| none.stderr.contains(hint)),
        "{}",
        none.stderr
    );

    env.write_lines("app.log", 0..10);
    env.start();
    env.wait_for_records(10);
    wait_for_numbers(&env, SOON, |numbers| {
        numbers["files"][0]["state"] == "at_end"
    });
    let well = status(&env, &[]);
    assert_eq!(well.code, Some(0), "{}", well.stdout);
    assert!(
        well.stdout.contains("\nOK  1 file at its end    lost 0 B"),
        "{}",
        well.stdout
    );
    assert!(
        well.stdout
            .contains("\n... 1 file at its end (-a shows all)\n")
    );
    // What it is connected as, and the process beside the buffers.
    let broker = well.stdout.lines().find(|line| line.starts_with("127."));
    assert!(
        broker.unwrap().contains("  4.0 no TLS  "),
        "{}",
        well.stdout
    );
    let numbers = wait_for_numbers(&env, SOON, |_| true);
    let process = |name: &str| numbers["process"][name].as_u64().unwrap();
    assert!(process("resident_bytes") > 1 << 20);
    assert!((4..process("descriptors_limit")).contains(&process("descriptors")));
    assert!(well.stdout.contains("\nprocess "), "{}", well.stdout);

    env.write_lines("new.txt", 0..1000);
    let numbers = wait_for_numbers(&env, SOON, |numbers| {
        let topics = numbers["topics"].as_array().into_iter().flatten();
        topics
            .clone()
            .any(|topic| topic["parked"]["since_ms"].is_u64())
    });
    let file = |numbers: &Value, log: &str| {
        let files = numbers["files"].as_array().unwrap().iter();
        files
            .clone()
            .find(|file| file["log"] == log)
            .unwrap()
            .clone()
    };
    let size = file(&numbers, "new")["size"].as_u64().unwrap();
    assert_eq!(file(&numbers, "new")["lag_bytes"].as_u64(), Some(size));
    let wrong = status(&env, &[]);
    assert_eq!(wrong.code, Some(1), "{}", wrong.stdout);
    let state = wrong
        .stdout
        .lines()
        .find(|line| line.starts_with("missing "));
    assert!(state.unwrap().contains("  PARKED "), "{}", wrong.stdout);
    // Why, in full, and what to do.
    let said: String = wrong.stdout.split_whitespace().collect();
    let why =
        "topicmissing:UNKNOWN_TOPIC_OR_PARTITION(3);thereisnosuchtopic:kafka-topics.sh--create";
    assert!(said.contains(why), "{}", wrong.stdout);
    // The other section is well.
    assert_eq!(status(&env, &["app"]).code, Some(0));
    // Why stands in the part of the status, too, with the topic, and with no other.
    let new = status(&env, &["new"]).stdout;
    assert!(
        new.contains("\nPARKED  1 of 1 file, ") && !new.contains("app.log"),
        "{new}"
    );
    assert!(new.contains("topic missing: UNKNOWN_TOPIC_OR_PARTITION"));
    assert!(
        new.contains("\nmissing  ") && !new.contains("\nlogs  "),
        "{new}"
    );
    let app = status(&env, &["app"]).stdout;
    assert!(
        app.contains("\nlogs   ") && !app.contains("missing"),
        "{app}"
    );
    let unknown = status(&env, &["fly"]);
    assert_eq!((unknown.code, &*unknown.stdout), (Some(1), ""));
    env.broker.create_topic("missing", 1);
    wait_for_numbers(&env, 2 * SOON, |numbers| {
        file(numbers, "new")["lag_bytes"] == 0
    });
    env.stop();
    assert!(!socket.exists());
    assert_eq!(status(&env, &[]).code, Some(2));
}

#[test]
fn status_tells_what_is_behind_while_kafka_is_away() {
    let mut env = Env::new();
    env.write_lines("app.log", 0..10);
    env.start();
    env.wait_for_records(10);
    env.broker.down(1);
    env.write_lines("app.log", 10..2010);
    let numbers = wait_for_numbers(&env, SOON, |numbers| {
        numbers["files"][0]["lag_bytes"].as_u64() > Some(10_000)
            && numbers["brokers"][0]["up_since_ms"].is_null()
            && numbers["conditions"]
                .as_array()
                .is_some_and(|all| all.len() > 1)
    });
    assert_eq!(numbers["process"]["pid"], env.agent().pid());
    assert!(numbers["files"][0]["behind_since_ms"].is_u64());
    let (log, lag) = (&numbers["logs"][0], &numbers["files"][0]["lag_bytes"]);
    assert_eq!((&log["files_behind"], &log["lag_bytes"]), (&1.into(), lag));
    let screen = status(&env, &[]).stdout;
    let mut brokers = screen
        .lines()
        .skip_while(|line| !line.starts_with("BROKER"));
    assert!(brokers.nth(1).unwrap().contains("  no  "), "{screen}");
    // One thing is wrong, and that it is that does not change while it lasts.
    let wrong: Vec<&str> = screen
        .lines()
        .skip_while(|line| !line.starts_with("FOR"))
        .take_while(|line| !line.is_empty())
        .collect();
    let words = wrong.join(" ");
    let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.starts_with("FOR WHAT IS WRONG "), "{screen}");
    assert!(words.contains(" all brokers: none reachable: "), "{screen}");
    assert!(words.ends_with(" KiB wait"), "{screen}");
    assert!(!words.contains("no leader"), "{screen}");
    let mut topics = screen.lines().skip_while(|line| !line.starts_with("TOPIC"));
    assert!(
        topics.nth(1).unwrap().ends_with("  waits for a broker"),
        "{screen}"
    );
    let numbers = wait_for_numbers(&env, SOON, |numbers| {
        let mut all = numbers["conditions"].as_array().into_iter().flatten();
        all.any(|one| one["waiting_bytes"].as_u64() > Some(10_000))
    });
    let all = numbers["conditions"].as_array().unwrap();
    let all = all.iter().find(|one| one["subject"] == "all brokers");
    assert!(all.unwrap()["waiting_bytes"].as_u64() > Some(10_000));
    // A watch that nobody sees on a terminal has two lines each time.
    let mut watching = env.command(&["top"]);
    watching.env("TERM", "dumb");
    let watching = Agent::spawn(watching);
    let is_old = |line: &str| (10..20).any(|s| line.contains(&format!("oldest line {s}s")));
    wait_until(
        2 * SOON,
        || watching.stdout().lines().any(is_old),
        || "the oldest line is older than what is on its way".into(),
    );
    assert!(!watching.stdout().contains("BEHIND"));
    assert!(watching.stdout().contains("\nWRONG  1 of 1 file, "));
    drop(watching);
    assert_eq!(status(&env, &[]).code, Some(1));
    env.broker.up(1);
    env.wait_for_records(2010);
    wait_for_numbers(&env, SOON, |numbers| {
        let conditions = numbers["conditions"].as_array();
        numbers["files"][0]["lag_bytes"] == 0 && conditions.is_some_and(Vec::is_empty)
    });
    assert_eq!(status(&env, &[]).code, Some(0));
    env.stop();
}

#[test]
fn a_section_that_its_rate_holds_says_so_and_that_is_no_fault() {
    let mut env = Env::new();
    env.set("log:app", "rate_limit", "20/s");
    env.write_lines("app.log", 0..10_000);
    env.start();
    let held = wait_for_numbers(&env, SOON, |numbers| {
        numbers["logs"][0]["held_by_rate_limit"] == true
    });
    assert_eq!(held["logs"][0]["rate_limit"], "20/s");
    assert_eq!(held["conditions"].as_array().map(Vec::len), Some(0));
    for arguments in [&[][..], &["app"]] {
        let said = status(&env, arguments).stdout;
        let note = "[log:app]  is held by rate_limit = 20/s: ";
        assert!(said.contains(note) && said.contains("iB wait, "), "{said}");
        assert!(!said.contains("WHAT IS WRONG"), "{said}");
    }
}

#[test]
fn a_file_that_was_rotated_away_has_the_name_that_it_has_now() {
    let mut env = Env::new();
    env.set("log:app", "rate_limit", "20/s");
    env.write_lines("app.log", 0..10_000);
    env.start();
    env.wait_for_records(1);
    env.rename("app.log", "app.log.1");
    env.write_lines("app.log", 10_000..10_010);
    let (path, now) = (env.path("app.log"), env.path("app.log.1"));
    let is_there = |numbers: &Value, what: &dyn Fn(&Value) -> bool| {
        let mut files = numbers["files"].as_array().into_iter().flatten();
        files.any(|file| file["path"] == *path && file["state"] == "rotated" && what(file))
    };
    wait_for_numbers(&env, SOON, |numbers| {
        is_there(numbers, &|file| file["path_now"] == *now)
    });
    for arguments in [&[][..], &[&*path], &[&*now]] {
        let said = status(&env, arguments).stdout;
        assert!(said.contains("log/app.log.1 "), "{said}");
    }
    env.remove("app.log.1");
    wait_for_numbers(&env, SOON, |numbers| {
        is_there(numbers, &|file| file["deleted"] == true)
    });
    let said = status(&env, &[&path]).stdout;
    assert!(said.contains("log/app.log (deleted) "), "{said}");
}

#[test]
fn a_killed_agents_socket_is_replaced_also_where_its_path_is_long() {
    let mut env = Env::new();
    let folder = env.state_dir().join("s".repeat(120));
    env.set("agent", "state_dir", &folder.display().to_string());
    env.start();
    env.kill();
    assert!(folder.join("control.sock").exists());
    assert_eq!(status(&env, &[]).code, Some(2));
    env.start();
    assert_eq!(status(&env, &[]).code, Some(0));
    // A broken ini, or one whose secrets are not there, does not keep anybody from asking.
    env.set("kafka", "sasl_password", "${NOT_SET}")
        .set("log:x", "nonsense", "1");
    assert_eq!(status(&env, &[]).code, Some(0));
    env.stop();
    assert!(!folder.join("control.sock").exists());
}

#[test]
fn a_tap_shows_records_masked_and_one_that_is_not_read_holds_up_nothing() {
    let mut env = Env::new();
    env.set("log:app", "mask.token", "(token=)\\S+ => $1***")
        .set("log:app", "multiline", "indent")
        .set("log:app", "multiline_timeout", "50ms")
        .set("log:app", "key", "{host}");
    env.append("app.log", "first\n");
    env.start();
    env.wait_for_records(1);
    let unknown = env.run(&["tap", "fly"]);
    assert_eq!(unknown.code, Some(1));
    assert!(
        unknown
            .stderr
            .contains("there is no [log:fly]; there are: app"),
        "{}",
        unknown.stderr
    );

    // Somebody who asks and does not read.
    let mut hung = UnixStream::connect(env.state_dir().join("control.sock")).unwrap();
    hung.write_all(b"tap app\n").unwrap();
    let mut hung = BufReader::new(hung);
    let mut line = String::new();
    hung.read_line(&mut line).unwrap();
    assert_eq!(line, "ok\n");

    let mut tap = Agent::spawn(env.command(&["tap", "app", "-n", "2"]));
    // It looks on as soon as it shows anything: one record after the other until then.
    let begin = Instant::now();
    let mut count = 1;
    while tap.is_running() {
        assert!(begin.elapsed() < SOON);
        env.append("app.log", "order token=secret \x1b[2J\n  at a\n  at b\n");
        count += 1;
        env.wait_for_records(count);
    }
    let shown = tap.wait_exit(SOON);
    assert_eq!(shown.code, Some(0), "{}", shown.stderr);
    let lines: Vec<&str> = shown.stdout.lines().collect();
    assert_eq!(lines.len(), 8, "{}", shown.stdout);
    assert!(
        lines[0].starts_with(&format!("{TOPIC}[0] key=")),
        "{}",
        lines[0]
    );
    assert!(
        lines[0].contains(&format!("  {}:", env.path("app.log"))),
        "{}",
        lines[0]
    );
    assert_eq!(
        lines[1..4],
        ["  order token=*** \\u{1b}[2J", "    at a", "    at b"]
    );

    // After a reload, too.
    env.set("log:app", "header.team", "shop");
    assert_eq!(env.run(&["reload"]).code, Some(0));
    let mut tap = Agent::spawn(env.command(&["tap", "app", "-n", "1", "--headers"]));
    while tap.is_running() {
        assert!(begin.elapsed() < 2 * SOON);
        env.append("app.log", "more\n");
        count += 1;
        env.wait_for_records(count);
    }
    let shown = tap.wait_exit(SOON).stdout;
    assert!(shown.ends_with("\n  more\n"), "{shown}");
    // Those that the last record of that kind has in Kafka.
    let sent = env.broker.records(TOPIC).pop().unwrap();
    assert!(
        sent.headers.iter().any(|(name, _)| name == "team"),
        "{sent:?}"
    );
    for (name, value) in sent.headers.iter().filter(|(name, _)| name != "at") {
        let value = String::from_utf8(value.clone().unwrap()).unwrap();
        assert!(
            shown.contains(&format!("\n  | {name} = {value}\n")),
            "{shown}"
        );
    }

    // The one that hangs: what found no room is counted.
    let more: String = (0..30_000)
        .map(|n| format!("line {n} {}\n", "x".repeat(80)))
        .collect();
    let begin = Instant::now();
    env.append("app.log", more);
    count += 30_000;
    env.broker.wait_for_count(TOPIC, count, 3 * SOON);
    let took = begin.elapsed();
    let (mut seen, mut missed) = (0, 0);
    while seen + missed < 30_000 {
        line.clear();
        hung.read_line(&mut line).unwrap();
        if line.is_empty() {
            break;
        }
        let record: Value = serde_json::from_str(&line).unwrap();
        assert!(!line.contains("secret"), "{line}");
        seen += 1;
        missed += record["missed"].as_u64().unwrap();
        // It reads again, so there is room for one more.
        if seen % 500 == 0 {
            env.append("app.log", "more\n");
        }
    }
    assert!(missed > 1000, "{seen} seen, {missed} missed, in {took:?}");
    env.stop();
}

#[test]
fn metrics_status_and_kafka_agree_after_a_load_that_was_scraped_while_clients_hung() {
    let mut env = Env::with_partitions(4);
    let address = free_address();
    env.set("agent", "metrics_listen", &address)
        .set("log:app", "drop.debug", "DEBUG");
    env.start();
    env.wait_for_log("metrics at http://", SOON);
    let _hung: Vec<TcpStream> = (0..10)
        .map(|_| TcpStream::connect(&address).unwrap())
        .collect();
    let mut bytes = 0;
    for chunk in 0..20 {
        let numbers = chunk * 1000..(chunk + 1) * 1000;
        let text = lines(numbers).join("\n") + "\nDEBUG nothing\n";
        bytes += text.len();
        env.append(&format!("{}.log", chunk % 3), text);
        let series = scrape(&address);
        assert!(series["logagent_read_lines_total{log=\"app\"}"] <= bytes as f64);
    }
    env.wait_for_records(20_000);
    let numbers = wait_for_numbers(&env, SOON, |numbers| {
        numbers["logs"][0]["acked_bytes"].as_u64() == Some(bytes as u64)
    });
    let series = scrape(&address);
    for (name, field, expected) in [
        (
            "logagent_read_bytes_total{log=\"app\"}",
            "read_bytes",
            bytes,
        ),
        (
            "logagent_read_lines_total{log=\"app\"}",
            "read_lines",
            20_020,
        ),
        ("logagent_events_total{log=\"app\"}", "events", 20_020),
        (
            "logagent_acked_bytes_total{log=\"app\"}",
            "acked_bytes",
            bytes,
        ),
    ] {
        assert_eq!(series[name], expected as f64, "{name}");
        assert_eq!(
            numbers["logs"][0][field].as_u64(),
            Some(expected as u64),
            "{field}"
        );
    }
    assert_eq!(
        series["logagent_dropped_events_total{log=\"app\",rule=\"drop.debug\"}"],
        20.0
    );
    assert_eq!(
        series[&format!("logagent_acked_records_total{{topic=\"{TOPIC}\"}}")],
        20_000.0
    );
    assert_eq!(series["logagent_lag_bytes{log=\"app\"}"], 0.0);
    assert_eq!(series["logagent_files{log=\"app\",state=\"at_end\"}"], 3.0);
    assert!(series["logagent_produce_latency_seconds_count"] > 0.0);
    assert_eq!(get(&address, "/healthz"), "ok\n");
    assert!(get(&address, "/").contains("<td data-n=\"LOG\">app"));
    // Two agents do not share an address: the second does its work without.
    let mut other = Env::new();
    other.set("agent", "metrics_listen", &address);
    other.write_lines("app.log", 0..10);
    other.start();
    other.wait_for_records(10);
    other.wait_for_log("WARN  metrics_listen = ", SOON);
    other.stop();
    env.stop();
}

#[test]
fn with_once_and_dry_run_nobody_is_listened_to() {
    let mut env = Env::new();
    let address = free_address();
    env.set("agent", "metrics_listen", &address);
    env.write_lines("app.log", 0..10);
    let mut agent = env.spawn(&["--dry-run"]);
    agent.wait_for_stdout("line", SOON);
    assert!(TcpStream::connect(&address).is_err());
    assert!(!env.state_dir().join("control.sock").exists());
    agent.signal(Signal::TERM);
    assert_eq!(agent.wait_exit(SOON).code, Some(0));
    // Somebody else's output is no terminal: nothing waits for it.
    let mut command = env.command(&["status"]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    assert_eq!(command.status().unwrap().code(), Some(2));
}

#[test]
fn what_is_not_followed_is_not_behind_and_says_why_it_is_not() {
    let mut env = Env::new();
    env.write_lines("app.log", 0..10);
    let at = |name: &str| env.log_dir().join(name);
    fs::hard_link(at("app.log"), at("hard.log")).unwrap();
    env.symlink("app.log", "soft.log");
    env.append("old.log", "old\n");
    let long_ago = SystemTime::now() - Duration::from_secs(7200);
    env.open("old.log").set_modified(long_ago).unwrap();
    env.append("a.old.log", "excluded\n");
    env.append("other.txt", "not named\n");
    fs::hard_link(at("app.log"), at("app.txt")).unwrap();
    let _socket = UnixListener::bind(at("socket.log")).unwrap();
    let dangling = at("dangling.log");
    env.symlink("nothing", "dangling.log");
    env.append("partial.log", "no end");
    let (old, socket, other, excluded) = (
        at("old.log"),
        at("socket.log"),
        at("other.txt"),
        at("a.old.log"),
    );
    let (gone, twin) = (at("gone.log"), at("app.txt"));
    let also = env.path("app.*");
    env.set("log:app", "ignore_older", "1h")
        .set("log:app", "exclude", "*.old.log")
        .set("log:later", "path", &also)
        .set("log:later", "exclude", "*.txt");
    env.start();
    env.wait_for_records(10);
    let numbers = wait_for_numbers(&env, SOON, |numbers| {
        let counts = &numbers["not_followed_counts"];
        let files = numbers["files"].as_array().into_iter().flatten();
        let is_read = |file: &Value| file["lag_bytes"] == 0 && file["size"] != 0;
        files.clone().all(is_read)
            && counts["second name"] == 2
            && counts["ignore_older"] == 1
            && counts["excluded"] == 2
            && counts["not regular"] == 1
            && counts["link to nothing"] == 1
    });
    let files = numbers["files"].as_array().unwrap();
    assert_eq!(files.len(), 2, "{numbers:#}");
    // The beginning of a line is no lag, on the screen or here.
    let partial = files.iter().find(|file| file["unended_bytes"] == 6);
    assert_eq!(partial.unwrap()["lag_bytes"], 0);
    let screen = status(&env, &[]);
    assert_eq!(screen.code, Some(0), "{}", screen.stdout);
    for words in [
        "\nOK  2 files at their end",
        "  NOT FOLLOWED\n",
        "second name 2",
    ] {
        assert!(screen.stdout.contains(words), "{}", screen.stdout);
    }

    // Each path has one answer.
    let first = files.iter().find(|file| file["size"] != 6).unwrap();
    let first = first["path"].as_str().unwrap();
    let name = |name: &str| env.log_dir().join(name).display().to_string();
    let seconds = ["app.log", "hard.log", "soft.log"].map(name);
    for second in seconds.iter().filter(|path| *path != first) {
        let ended = status(&env, &[second]);
        assert_eq!(ended.code, Some(1));
        let words = ended
            .stdout
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        assert!(
            words.contains(&format!("{second}: second name of '{first}'")),
            "{words}"
        );
    }
    let ended = status(&env, &[first]);
    assert_eq!(ended.code, Some(0), "{}", ended.stdout);
    assert!(
        ended.stdout.contains("\nfollowed by [log:app]"),
        "{}",
        ended.stdout
    );
    for (path, reason) in [
        (&old, "older than ignore_older"),
        (&excluded, "excluded by '*.old.log'"),
        (&socket, "not a regular file"),
        (&dangling, "a link to nothing"),
        (&other, "no section of the ini names it"),
        (&twin, "excluded by '*.txt'"),
        (
            &gone,
            "there is no such file; [log:app] follows it when it appears",
        ),
    ] {
        let path = path.display().to_string();
        let ended = status(&env, &[&path]);
        assert_eq!(ended.code, Some(1), "{}", ended.stdout);
        assert!(
            ended.stdout.contains("\nNOT FOLLOWED\n"),
            "{}",
            ended.stdout
        );
        let words = ended
            .stdout
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        assert!(words.contains(&format!("{path}: {reason}")), "{words}");
        let ended = env.run(&["status", "--json", &path]);
        let json: Value = serde_json::from_str(&ended.stdout).unwrap();
        assert_eq!(ended.code, Some(1));
        assert_eq!(json["not_followed"][0]["reason"], reason, "{json:#}");
    }

    // It is followed when it is written to, and when its first name has gone.
    env.append("old.log", "new\n");
    wait_for_numbers(&env, SOON, |numbers| {
        numbers["not_followed_counts"]["ignore_older"].is_null()
    });
    env.wait_for_records(12);
    env.append("b.old.log", "excluded\n");
    wait_for_numbers(&env, SOON, |numbers| {
        numbers["not_followed_counts"]["excluded"] == 3
    });
    // A name in the folder of the shell is a path.
    let mut here = env.command(&["status", "other.txt"]);
    let here = here.current_dir(env.log_dir()).output().unwrap();
    let said = String::from_utf8(here.stdout).unwrap();
    let words = "other.txt: no section of the ini names it";
    assert!(
        said.contains(words) && here.status.code() == Some(1),
        "{said}"
    );
    fs::remove_file(&excluded).unwrap();
    wait_for_numbers(&env, SOON, |numbers| {
        numbers["not_followed_counts"]["excluded"] == 2
    });
    env.stop();
}

#[test]
fn a_signal_that_ends_a_watched_status_leaves_the_terminal_as_it_was() {
    let mut env = Env::new();
    env.start();
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap();
    let flags = OFlags::RDWR | OFlags::NOCTTY;
    let side = rustix::fs::open(&*name, flags, Mode::empty()).unwrap();
    // What is drawn is read by nobody in particular.
    let drawn = File::from(terminal);
    let reader = std::thread::spawn(move || io::copy(&mut &drawn, &mut io::sink()));
    let echoes = || {
        let modes = tcgetattr(&side).unwrap().local_modes;
        modes.contains(LocalModes::ECHO | LocalModes::ICANON)
    };
    assert!(echoes());
    for signal in [Signal::TERM, Signal::HUP, Signal::INT] {
        let mut top = env.command(&["top"]);
        let end = || Stdio::from(side.try_clone().unwrap());
        top.env("TERM", "xterm").stdin(end()).stdout(end());
        let mut top = top.spawn().unwrap();
        wait_until(SOON, || !echoes(), || "the keys to be taken".to_owned());
        rustix::process::kill_process(Pid::from_child(&top), signal).unwrap();
        let ended = top.wait().unwrap();
        assert_eq!(ended.signal(), Some(signal.as_raw()));
        assert!(echoes(), "{signal:?}");
    }
    drop(side);
    let _ = reader.join();
    env.stop();
}

#[test]
fn a_section_that_follows_no_file_says_why_and_is_no_fault() {
    let mut env = Env::new();
    env.write_lines("app.log", 0..10);
    let [typo, later] = [env.path("ngnix/access.log"), env.path("later-*.log")];
    let taken = env.path("app.log");
    env.set("log:typo", "path", &typo)
        .set("log:later", "path", &later)
        .set("log:again", "path", &taken);
    env.start();
    env.wait_for_records(10);
    let numbers = wait_for_numbers(&env, SOON, |numbers| {
        numbers["files"][0]["lag_bytes"] == 0
            && numbers["follows_nothing"].as_array().map(Vec::len) == Some(3)
    });
    let screen = status(&env, &[]);
    assert_eq!(screen.code, Some(0), "{}", screen.stdout);
    // However it is wrapped.
    let said: String = screen.stdout.split_whitespace().collect();
    let folder = env.log_dir().join("ngnix");
    for (log, why) in [
        (
            "typo",
            format!("there is no folder '{}' yet", folder.display()),
        ),
        ("later", format!("no file matches '{later}' yet")),
        ("again", "its only file is followed by [log:app]".to_owned()),
    ] {
        let nothing = numbers["follows_nothing"].as_array().unwrap();
        let of_log = nothing.iter().find(|one| one["log"] == log).unwrap();
        assert_eq!(of_log["why"], *why, "{numbers:#}");
        let line = format!("[log:{log}]followsnofile:{}", why.replace(' ', ""));
        assert!(said.contains(&line), "{said}");
        let part = status(&env, &[log]).stdout;
        assert_eq!(part.matches("follows no file").count(), 1, "{part}");
    }
    assert!(!status(&env, &["app"]).stdout.contains("follows no file"));
    // And not longer than it is so.
    fs::create_dir(&folder).unwrap();
    let ended = env.run(&["status", "typo", "--json"]);
    assert!(ended.stdout.contains("no file matches"), "{}", ended.stdout);
    fs::write(folder.join("access.log"), "one\n").unwrap();
    wait_for_numbers(&env, SOON, |numbers| {
        numbers["follows_nothing"].as_array().map(Vec::len) == Some(2)
    });
    env.stop();
}

#[test]
fn an_ini_that_was_changed_on_disk_and_is_not_in_force_is_told_until_it_is() {
    let mut env = Env::new();
    env.set("agent", "reload", "manual");
    env.start();
    let is_changed = |env: &Env| {
        let ended = env.run(&["status", "--json"]);
        let numbers: Value = serde_json::from_str(&ended.stdout).unwrap();
        let screen = status(env, &[]).stdout;
        let said = screen.split_whitespace().collect::<Vec<_>>().join(" ");
        let is_told = said.contains("logagent.ini changed on disk since it was read");
        assert_eq!(numbers["config"]["changed_since_read"], is_told, "{screen}");
        (is_told, said)
    };
    assert!(!is_changed(&env).0);
    env.set("log:app", "header.team", "shop");
    let before = status(&env, &[]);
    assert!(is_changed(&env).0 && before.code == Some(0));
    assert_eq!(env.run(&["reload"]).code, Some(0));
    assert!(!is_changed(&env).0);
    // One that was refused was read, and yet is not in force.
    env.set("log:app", "nonsense", "1");
    assert_eq!(env.run(&["reload"]).code, Some(1));
    let (is_told, said) = is_changed(&env);
    assert!(
        !is_told && said.contains("the last reload was refused, the ini of "),
        "{said}"
    );
    assert!(said.contains(" stays in use:"), "{said}");
    env.unset("log:app", "nonsense");
    assert!(is_changed(&env).0);
    assert_eq!(env.run(&["reload"]).code, Some(0));
    let (is_told, said) = is_changed(&env);
    assert!(!is_told && !said.contains("refused"), "{said}");
    env.stop();
}

#[test]
fn a_tap_that_waits_before_the_start_sees_the_first_line() {
    let mut env = Env::new();
    env.write_lines("app.log", 0..5_000);
    env.start();
    env.wait_for_records(5_000);
    let path = env.path("app.log");
    for of in ["app", &path] {
        env.stop();
        let rewound = env.run(&["rewind", &path, "--to", "0", "--yes"]);
        assert_eq!(rewound.code, Some(0), "{}", rewound.stderr);
        let mut tap = Agent::spawn(env.command(&["tap", of, "-n", "3", "--wait"]));
        tap.wait_for_log("no agent runs: waits for it to start", SOON);
        env.start();
        let shown = tap.wait_exit(SOON);
        assert_eq!(shown.code, Some(0), "{}", shown.stderr);
        let heads = shown
            .stdout
            .lines()
            .filter(|line| line.contains("app.log:"));
        let offsets: Vec<&str> = heads.map(|head| head.rsplit(':').next().unwrap()).collect();
        assert_eq!(offsets, ["0", "7", "14"], "{}", shown.stdout);
    }
    env.stop();
}

#[test]
fn a_tap_waits_for_the_agent_and_says_that_it_waits_for_lines() {
    let mut env = Env::new();
    let none = env.run(&["tap", "app"]);
    assert_eq!(none.code, Some(2), "{}", none.stderr);
    let mut tap = Agent::spawn(env.command(&["tap", "app", "-n", "1", "--wait"]));
    tap.wait_for_log("no agent runs: waits for it to start", SOON);
    env.start();
    tap.wait_for_log("[log:app] is quiet: waits for lines", SOON);
    // It waits for the next agent, too.
    env.stop();
    env.start();
    let begin = Instant::now();
    let mut count = 0;
    while tap.is_running() {
        assert!(begin.elapsed() < SOON);
        env.append("app.log", "more\n");
        count += 1;
        env.wait_for_records(count);
    }
    let shown = tap.wait_exit(SOON);
    assert_eq!(shown.code, Some(0), "{}", shown.stderr);
    assert!(shown.stdout.ends_with("\n  more\n"), "{}", shown.stdout);
    assert_eq!(shown.stdout.lines().count(), 2, "{}", shown.stdout);
    // Of one file alone.
    let path = env.path("app.log");
    let mut tap = Agent::spawn(env.command(&["tap", &path, "-n", "1"]));
    while !tap.log().contains("app.log' is quiet: waits for lines") {
        assert!(begin.elapsed() < 2 * SOON);
        env.append("other.log", "not of this file\n");
        count += 1;
        env.wait_for_records(count);
    }
    while tap.is_running() {
        assert!(begin.elapsed() < 2 * SOON);
        env.append("other.log", "not of this file\n");
        env.append("app.log", "of this\n");
        count += 2;
        env.wait_for_records(count);
    }
    let shown = tap.wait_exit(SOON).stdout;
    assert!(
        shown.ends_with("\n  of this\n") && shown.lines().count() == 2,
        "{shown}"
    );
    let nowhere = env.run(&["tap", "/nowhere/a.log"]);
    assert_eq!(nowhere.code, Some(1), "{}", nowhere.stderr);
    env.stop();
}
