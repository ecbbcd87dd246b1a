//! Another ini while the agent runs: what is different is applied, and nothing else moves.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::Write as _;
use std::net::TcpListener;
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use rustix::process::Signal;

use crate::support::agent::Agent;
use crate::support::broker::{Cluster, Record};
use crate::support::env::{Env, SOON, TOPIC, lines, wait_until};
use crate::support::meanwhile::StopOnDrop;
use crate::support::secured::{PASSWORD, Secured};

/// Writes the ini as an editor does: under another name, then in its place.
fn save(env: &Env) {
    save_text(env, &env.ini());
}

fn save_text(env: &Env, text: &str) {
    let other = env.config().with_extension("swp");
    fs::write(&other, text).unwrap();
    fs::rename(&other, env.config()).unwrap();
}

/// `logagent reload`.
fn reload(env: &Env) -> Output {
    let mut command = Agent::command();
    command.arg("reload").arg("--config").arg(env.config());
    command.output().unwrap()
}

/// What it prints, without the times.
fn reloaded(env: &Env) -> String {
    save(env);
    let output = reload(env);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}{:?}", output.stderr);
    text.lines()
        .skip(1)
        .map(|line| format!("{line}\n"))
        .collect()
}

/// The threads that follow files: name and number.
fn tail_threads(env: &mut Env) -> BTreeMap<String, u64> {
    let tasks = fs::read_dir(format!("/proc/{}/task", env.agent().pid())).unwrap();
    let threads = tasks.filter_map(|task| {
        let task = task.ok()?;
        let name = fs::read_to_string(task.path().join("comm")).ok()?;
        let file = name.trim().strip_prefix("tail:")?.to_owned();
        Some((file, task.file_name().to_str()?.parse().ok()?))
    });
    threads.collect()
}

#[test]
fn sections_come_change_and_go_and_an_untouched_one_keeps_its_thread() {
    let mut env = Env::following_one_path();
    env.set("kafka", "linger", "0ms")
        .set("agent", "reload", "manual");
    for topic in ["new", "other"] {
        env.broker.create_topic(topic, 1);
    }
    for (section, name) in [("log:stays", "stays.log"), ("log:goes", "goes.log")] {
        let path = env.path(name);
        env.set(section, "path", &path);
    }
    for name in ["app.log", "stays.log", "goes.log", "new.log"] {
        env.append(name, format!("{name} 1\n"));
    }
    env.start();
    env.wait_for_records(3);
    let before = tail_threads(&mut env)["stays.log"];
    let path = env.path("new.log");
    env.unset_section("log:goes")
        .set("log:new", "path", &path)
        .set("log:new", "topic", "new")
        .set("log:app", "topic", "other")
        .set("log:app", "drop.debug", "DEBUG");
    let report = "  + log:new        1 file begins\n  \
                  ~ log:app        topic, drop.debug: for lines read from now on\n  \
                  - log:goes       1 file finishes\n  \
                  = log:stays      untouched\n";
    assert_eq!(reloaded(&env), report);
    wait_until(
        SOON,
        || !tail_threads(&mut env).contains_key("goes.log"),
        || "goes.log ends".into(),
    );
    for name in ["app.log", "stays.log", "goes.log", "new.log"] {
        env.append(name, format!("{name} DEBUG\n{name} 2\n"));
    }
    env.broker.wait_for_count("new", 3, SOON);
    env.broker.wait_for_count("other", 1, SOON);
    env.wait_for_records(5);
    assert_eq!(tail_threads(&mut env)["stays.log"], before);
    env.stop();
    assert_eq!(
        env.broker.values("new"),
        ["new.log 1", "new.log DEBUG", "new.log 2"]
    );
    assert_eq!(env.broker.values("other"), ["app.log 2"]);
    let mut values = env.broker.values(TOPIC);
    values.sort();
    let expected = [
        "app.log 1",
        "goes.log 1",
        "stays.log 1",
        "stays.log 2",
        "stays.log DEBUG",
    ];
    assert_eq!(values, expected);
}

#[test]
fn a_section_that_follows_no_file_after_a_reload_is_named_by_it() {
    let mut env = Env::following_one_path();
    env.set("agent", "reload", "manual");
    env.append("app.log", "one\n");
    env.start();
    env.wait_for_records(1);
    let (new, mistyped) = (env.path("new/*.log"), env.path("ap.log"));
    env.set("log:new", "path", &new)
        .set("log:app", "path", &mistyped);
    assert_eq!(
        reloaded(&env),
        "  + log:new        0 files begin; it follows no file yet\n  \
         ~ log:app        path: for lines read from now on; it follows no file any\n                   \
         more: is its path right?\n"
    );
    let path = env.path("app.log");
    env.set("log:app", "path", &path)
        .set("log:app", "drop.debug", "DEBUG");
    let said = reloaded(&env);
    assert!(
        said.contains("~ log:app        path, drop.debug: for lines read from now on\n"),
        "{said}"
    );
    env.stop();
}

#[test]
fn an_agent_whose_ini_names_another_state_folder_by_now_is_found_and_says_that_it_needs_a_restart()
{
    let mut env = Env::new();
    env.set("agent", "reload", "manual");
    env.append("app.log", "one\n");
    env.start();
    env.wait_for_records(1);
    let folder = env.path("other-state");
    env.set("agent", "state_dir", &folder);
    save(&env);
    let ask = |what: &str| {
        let mut command = Agent::command();
        command.arg(what).arg("--config").arg(env.config());
        let output = command.output().unwrap();
        let [text, words] = [output.stdout, output.stderr].map(|b| String::from_utf8(b).unwrap());
        assert!(words.contains("the agent runs with state_dir '"), "{words}");
        (output.status.code(), text)
    };
    let (code, text) = ask("reload");
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("! [agent] state_dir changed: needs a restart"),
        "{text}"
    );
    let (_, text) = ask("status");
    assert!(text.contains("1 file"), "{text}");
    env.stop();
    let output = reload(&env);
    let words = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{words}");
    assert!(words.contains("no agent answers at '"), "{words}");
}

#[test]
fn a_new_section_begins_where_its_start_at_says_and_its_later_files_at_their_beginning() {
    let mut env = Env::following_one_path();
    env.set("agent", "reload", "manual");
    env.start();
    let path = env.path("new-*.log");
    env.set("log:new", "path", &path)
        .set("log:new", "start_at", "end");
    env.append("new-1.log", "old\n");
    assert!(reloaded(&env).starts_with("  + log:new        1 file begins\n"));
    env.append("new-1.log", "one\n");
    env.append("new-2.log", "two\n");
    env.wait_for_records(2);
    env.stop();
    let mut values = env.broker.values(TOPIC);
    values.sort();
    assert_eq!(values, ["one", "two"]);
}

#[test]
fn a_file_that_ignore_older_left_out_begins_when_a_reload_allows_it() {
    let mut env = Env::following_one_path();
    env.write_lines("app.log", 0..10);
    let long_ago = SystemTime::now() - Duration::from_secs(7200);
    env.open("app.log").set_modified(long_ago).unwrap();
    env.set("log:app", "ignore_older", "1h");
    env.start();
    env.wait_for_log("is left out until it is written to", SOON);
    env.set("log:app", "ignore_older", "1d");
    reloaded(&env);
    env.stop_and_expect_lines(&lines(0..10));
}

#[test]
fn a_section_that_comes_back_goes_on_where_it_stood() {
    let mut env = Env::following_one_path();
    let keep = env.path("keep.log");
    env.set("log:keep", "path", &keep)
        .set("agent", "reload", "manual");
    env.write_lines("app.log", 0..10);
    env.start();
    env.wait_for_records(10);
    let text = env.ini();
    env.unset_section("log:app");
    reloaded(&env);
    env.write_lines("app.log", 10..20);
    save_text(&env, &text);
    assert!(reload(&env).status.success());
    env.stop_and_expect_lines(&lines(0..20));
}

#[test]
fn a_section_with_another_name_has_the_files_and_what_they_send_from_then_on() {
    let mut env = Env::following_one_path();
    env.set("agent", "reload", "manual");
    env.write_lines("app.log", 0..10);
    env.start();
    env.wait_for_records(10);
    env.wait_for_checkpoint_at_the_end_of("app.log");
    let (path, topic) = (env.path("app.log"), TOPIC);
    env.unset_section("log:app")
        .set("log:web", "path", &path)
        .set("log:web", "topic", topic);
    reloaded(&env);
    env.write_lines("app.log", 10..30);
    env.wait_for_records(30);
    env.wait_for_checkpoint_at_the_end_of("app.log");
    // Of 10 lines that came before and 20 that came after it.
    let status = env.run(&["status", "--json"]).stdout;
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    let of_section = |name: &str| {
        let mut sections = status["logs"].as_array().unwrap().iter();
        let section = sections.find(|section| section["name"] == name).unwrap();
        [&section["acked_bytes"], &section["acked_records"]].map(|count| count.as_u64().unwrap())
    };
    assert_eq!(status["files"][0]["log"], "web", "{status:#}");
    assert_eq!(of_section("app"), [70, 10], "{status:#}");
    assert_eq!(of_section("web"), [160, 20], "{status:#}");
    env.stop_and_expect_lines(&lines(0..30));
}

#[test]
fn sighup_reloads_and_a_wrong_ini_changes_nothing() {
    let mut env = Env::following_one_path();
    env.set("agent", "reload", "manual");
    env.start();
    let good = env.ini();
    save_text(&env, &good.replace("rotate_wait", "rotate_wiat"));
    env.signal(Signal::HUP);
    env.wait_for_log("refused", SOON);
    env.wait_for_log(
        ".ini:12: unknown key 'rotate_wiat' in [log:app]; did you mean 'rotate_wait'?",
        SOON,
    );
    let output = reload(&env);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        said.contains("refused, ") && said.contains("stays in use\n"),
        "{said}"
    );
    env.write_lines("app.log", 0..5);
    env.wait_for_records(5);
    env.set("agent", "state_dir", "/elsewhere")
        .set("log:app", "rotate_wait", "1s");
    save(&env);
    env.signal(Signal::HUP);
    env.wait_for_log(
        "~ log:app        rotate_wait: for lines read from now on",
        SOON,
    );
    env.wait_for_log(
        "! [agent] state_dir changed: needs a restart, the old one stays in use",
        SOON,
    );
    // What still waits for a restart is said again, and is not taken for applied.
    env.set("agent", "state_dir", &env.state_dir().display().to_string())
        .set("agent", "memory_limit", "32MiB");
    save(&env);
    let output = reload(&env);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        said.contains("changes only 1 setting that waits for a restart\n"),
        "{said}"
    );
    assert!(
        said.contains("  ! [agent] memory_limit changed: needs a restart"),
        "{said}"
    );
    // It stays known for as long as it is so.
    let waiting = "[agent] memory_limit  was changed in the ini and needs a restart";
    let known = |env: &Env| {
        let json = env.run(&["status", "--json"]).stdout;
        let is_known = json.contains("\"waits_for_restart\":[\"[agent] memory_limit\"]");
        let screen = env.run(&["status"]);
        assert_eq!(
            screen.stdout.contains(waiting),
            is_known,
            "{}",
            screen.stdout
        );
        assert_eq!(screen.code, Some(0), "{}", screen.stdout);
        is_known
    };
    assert!(known(&env));
    env.unset("agent", "memory_limit");
    save(&env);
    assert!(reload(&env).status.success());
    assert!(!known(&env));
    env.write_lines("app.log", 5..10);
    env.stop_and_expect_lines(&lines(0..10));
}

#[test]
fn without_an_agent_a_reload_says_so() {
    let env = Env::new();
    save(&env);
    let output = reload(&env);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("no agent answers"), "{said}");
    fs::remove_file(env.config()).unwrap();
    let output = reload(&env);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    let none = format!("there is no ini '{}'", env.config().display());
    assert!(said.contains(&none), "{said}");
}

#[test]
fn an_ini_that_was_saved_is_applied_by_itself_and_one_that_is_half_written_is_waited_for() {
    let mut env = Env::following_one_path();
    let conf = env.config().with_file_name("conf.d");
    fs::create_dir(&conf).unwrap();
    env.set("agent", "include", "conf.d/*.ini");
    env.start();
    env.append("more.log", "more\n");
    let section = format!("[log:more]\npath = {}\n", env.path("more.log"));
    let mut file = File::create(conf.join("more.ini")).unwrap();
    for piece in section.as_bytes().chunks(20) {
        file.write_all(piece).unwrap();
        thread::sleep(Duration::from_millis(300));
    }
    env.wait_for_log("+ log:more       1 file begins", SOON);
    assert!(!env.log().contains("refused"), "{}", env.log());
    env.wait_for_records(1);
    fs::remove_file(conf.join("more.ini")).unwrap();
    env.wait_for_log("- log:more       1 file finishes", SOON);
}

#[test]
fn a_secret_that_is_mended_in_its_file_is_read_again_by_itself() {
    let mut env = Env::following_one_path();
    env.broker.require_login("agent", "right");
    let file = env.config().with_file_name("password");
    fs::write(&file, "wrong").unwrap();
    env.set("kafka", "sasl_mechanism", "PLAIN")
        .set("kafka", "sasl_username", "agent")
        .set("kafka", "sasl_password_file", &file.display().to_string());
    env.write_lines("app.log", 0..100);
    env.start();
    env.wait_for_log("refuses the credentials", SOON);
    fs::write(&file, "right").unwrap();
    env.wait_for_log(
        "~ [kafka]        files that it names: from now on, also for lines not sent yet",
        SOON,
    );
    env.stop_and_expect_lines(&lines(0..100));
}

#[test]
fn brokers_that_are_mended_in_an_outage_get_what_waits_once() {
    let mut env = Env::following_one_path();
    env.set("agent", "reload", "manual");
    let brokers = env.broker.brokers();
    env.write_lines("app.log", 0..100);
    env.set("kafka", "brokers", "127.0.0.1:1");
    env.start();
    env.wait_for_log("no broker reachable", SOON);
    env.set("kafka", "brokers", &brokers);
    let report = "  ~ [kafka]        brokers: from now on, also for lines not sent yet\n  = log:app        untouched\n";
    assert_eq!(reloaded(&env), report);
    env.stop_and_expect_lines(&lines(0..100));
}

#[test]
fn brokers_that_cannot_be_reached_are_named_by_the_reload_and_by_the_status_until_they_can() {
    let mut env = Env::new();
    env.set("agent", "reload", "manual");
    env.append("app.log", "1\n");
    env.start();
    env.wait_for_records(1);
    let good = env.broker.brokers();
    let closed = free_address();
    let brokers = format!("{good}, {closed}, kafka.invalid:9092");
    env.set("kafka", "brokers", &brokers);
    save(&env);
    let began = Instant::now();
    let output = reload(&env);
    let took = began.elapsed();
    let text = String::from_utf8(output.stdout).unwrap();
    let refused = format!("\n  ! {closed} cannot be reached: Connection refused");
    assert!(output.status.success(), "{text}");
    assert!(text.contains(&refused), "{text}");
    let unknown = "\n  ! kafka.invalid:9092 cannot be reached: 'kafka.invalid' does not resolve: ";
    assert!(text.contains(unknown), "{text}");
    assert!(text.lines().all(|line| line.len() <= 80), "{text}");
    assert!(took < Duration::from_secs(30), "{took:?}");
    let line = format!("{closed} cannot be reached: Connection refused");
    env.wait_for_log(&line, SOON);
    let note = |env: &Env| {
        let mut command = Agent::command();
        let command = command.arg("status").arg("--config").arg(env.config());
        let text = String::from_utf8(command.output().unwrap().stdout).unwrap();
        let mut lines = text.lines();
        let line = lines.find(|line| line.starts_with(&closed));
        (line.map(str::to_owned), text)
    };
    let (line, text) = note(&env);
    let line = line.unwrap_or_default();
    assert!(
        line.contains("in 'brokers', cannot be reached for "),
        "{text}"
    );
    // Somebody listens there by now.
    let listener = TcpListener::bind(&closed).unwrap();
    wait_until(
        SOON,
        || note(&env).0.is_none(),
        || "the address is not named any more".into(),
    );
    drop(listener);
}

#[test]
fn an_agent_with_nothing_to_send_is_not_well_while_no_broker_can_be_reached() {
    let mut env = Env::following_one_path();
    let closed = free_address();
    env.set("kafka", "brokers", &closed);
    env.start();
    let line = format!("broker {closed} cannot be reached: Connection refused");
    env.wait_for_log(&line, SOON);
    let mut command = Agent::command();
    let output = command
        .arg("status")
        .arg("--config")
        .arg(env.config())
        .output();
    let output = output.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert_eq!(
        text.lines().nth(1).unwrap().split(' ').next(),
        Some("WRONG")
    );
    let reason = format!("all brokers: none reachable: {closed}: Connection refused");
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains(&reason), "{text}");
}

/// Nobody listens there.
fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

#[test]
fn what_waits_for_a_cluster_that_is_given_up_goes_to_the_other_one() {
    let mut env = Env::following_one_path();
    env.set("agent", "reload", "manual")
        .set("kafka", "acks", "all");
    let other = Cluster::single();
    other.create_topic(TOPIC, 3);
    env.start();
    env.write_lines("app.log", 0..100);
    env.wait_for_records(100);
    // What the agent does not know to be there goes to the other one as well.
    env.wait_for_checkpoint_at_the_end_of("app.log");
    env.broker.down(1);
    env.write_lines("app.log", 100..200);
    env.set("kafka", "brokers", &other.brokers())
        .set("kafka", "compression", "gzip")
        .set("kafka", "client_id", "mended");
    reloaded(&env);
    other.wait_for_count(TOPIC, 100, SOON);
    env.stop();
    assert_eq!(other.values(TOPIC), lines(100..200));
    other.assert_clean();
}

/// `logagent rewind` without a terminal.
fn rewind(env: &Env, arguments: &[&str]) -> Output {
    let mut command = Agent::command();
    command
        .arg("rewind")
        .args(arguments)
        .arg("--config")
        .arg(env.config());
    command.stdin(Stdio::null()).output().unwrap()
}

#[test]
fn a_file_is_sent_again_from_where_its_position_is_set_to() {
    let mut env = Env::following_one_path();
    env.write_lines("app.log", 0..20);
    env.start();
    let path = env.path("app.log");
    env.wait_for_records(20);
    let output = rewind(&env, &[&path, "--to", "0", "--yes"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("is in use by process"), "{said}");
    env.stop();
    let output = rewind(&env, &[&path, "--to", "0"]);
    assert_eq!(
        output.status.code(),
        Some(2),
        "nobody was asked: {output:?}"
    );
    let other = env.path("other.log");
    env.append("other.log", "");
    assert_eq!(
        rewind(&env, &[&other, "--to", "0", "-y"]).status.code(),
        Some(2)
    );
    // Two bytes into the second line: from the third.
    let length = lines(0..1)[0].len() as u64 + 1;
    let output = rewind(&env, &[&path, "-y", "--to", &(length + 2).to_string()]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}{:?}", output.stderr);
    assert!(
        said.contains(&format!("the next one begins at {}", 2 * length)),
        "{said}"
    );
    env.start();
    let sent: Vec<String> = lines(0..20).into_iter().chain(lines(2..20)).collect();
    env.stop_and_expect_lines(&sent);
    assert!(
        rewind(&env, &[&path, "--to", "0", "--yes"])
            .status
            .success()
    );
    assert!(
        rewind(&env, &[&path, "--to", "end", "--yes"])
            .status
            .success()
    );
    env.start();
    env.write_lines("app.log", 20..30);
    let sent: Vec<String> = sent.into_iter().chain(lines(20..30)).collect();
    env.stop_and_expect_lines(&sent);
}

/// Lines of a file, a bounded number a second, until it is told to stop; each has its number.
fn writer(
    mut file: File,
    name: &str,
    rate: u32,
    stop: &Arc<AtomicBool>,
) -> thread::JoinHandle<u64> {
    let (name, stop) = (name.to_owned(), stop.clone());
    thread::spawn(move || {
        let (begin, mut written) = (Instant::now(), 0u64);
        while !stop.load(Ordering::Relaxed) {
            let due = (begin.elapsed().as_secs_f64() * f64::from(rate)) as u64;
            let text: String = (written..due).map(|n| format!("{name} {n}\n")).collect();
            file.write_all(text.as_bytes()).unwrap();
            written = written.max(due);
            thread::sleep(Duration::from_millis(10));
        }
        written
    })
}

/// Keys of `[kafka]` that lead to the brokers.
type Way = Vec<(&'static str, String)>;

fn go(env: &mut Env, way: &Way) {
    for key in [
        "tls",
        "tls_ca",
        "sasl_mechanism",
        "sasl_username",
        "sasl_password",
    ] {
        env.unset("kafka", key);
    }
    for (key, value) in way {
        env.set("kafka", key, value);
    }
}

/// One of the changes, and whether it is right.
fn change(env: &mut Env, round: u64, ways: &[Way]) -> bool {
    let come = env.path("come.log");
    let app = env.path("app.log");
    match round % 10 {
        0 => drop(env.set("log:come", "path", &come)),
        1 => drop(env.set("log:app", "topic", "a")),
        2 => drop(env.set("kafka", "client_id", &format!("client-{round}"))),
        3 => drop(env.set("log:app", "header.round", &round.to_string())),
        4 => drop(env.unset_section("log:come")),
        5 => go(env, &ways[(round / 10) as usize % ways.len()]),
        6 => drop(
            env.set("log:app", "topic", "b")
                .set("log:app", "multiline", "off"),
        ),
        7 => {
            let linger = ["0ms", "3ms", "5ms"][(round / 10) as usize % 3];
            let codec = ["lz4", "gzip", "none", "snappy"][(round / 10) as usize % 4];
            env.set("kafka", "linger", linger)
                .set("kafka", "compression", codec);
        }
        8 => {
            // Half of it, then broken in another way, then mended.
            let text = env.ini();
            fs::write(env.config(), &text[..text.len() / 2]).unwrap();
            save_text(env, &text.replace("path", "pfad"));
            return false;
        }
        _ => drop(
            env.set("log:app", "path", &app)
                .set("log:app", "max_line_bytes", "64KiB"),
        ),
    }
    true
}

/// `rounds` reloads while lines are written at 5,000 a second. Gives the lines that were written, by file, and how long
/// it took.
fn reload_under_load(env: &mut Env, rounds: u64, ways: &[Way]) -> HashMap<String, u64> {
    env.set("kafka", "linger", "0ms")
        .set("agent", "reload", "manual");
    let stays = env.path("stays.log");
    env.set("log:stays", "path", &stays);
    let stop = Arc::new(AtomicBool::new(false));
    let files = [("stays", 2_000), ("app", 2_000), ("come", 1_000)];
    let files = files.map(|(name, rate)| (name, rate, env.open(&format!("{name}.log"))));
    env.start();
    let writers = files.map(|(name, rate, file)| (name, writer(file, name, rate, &stop)));
    let stops = StopOnDrop(&stop);
    wait_until(
        SOON,
        || tail_threads(env).contains_key("stays.log"),
        || "stays.log is followed".into(),
    );
    let before = tail_threads(env)["stays.log"];
    let (mut applied, mut refused) = (0, 0);
    let begin = Instant::now();
    for round in 0..rounds {
        let is_right = change(env, round, ways);
        if is_right {
            save(env);
        }
        thread::sleep(PACE);
        let output = reload(env);
        assert_eq!(
            output.status.code(),
            Some(i32::from(!is_right)),
            "round {round}: {output:?}"
        );
        if is_right {
            applied += 1
        } else {
            refused += 1
        }
        assert_eq!(
            tail_threads(env).get("stays.log"),
            Some(&before),
            "round {round}"
        );
    }
    let reloading = begin.elapsed();
    // All of them are followed in the end.
    let come = env.path("come.log");
    env.set("log:come", "path", &come);
    go(env, &ways[ways.len() - 1]);
    reloaded(env);
    drop(stops);
    let written = writers.map(|(name, writer)| (name.to_owned(), writer.join().unwrap()));
    let all: u64 = written.iter().map(|(_, count)| count).sum();
    println!(
        "{applied} applied and {refused} refused in {:.1} s under {:.0} lines/s; thread {before} stays",
        reloading.as_secs_f64(),
        all as f64 / begin.elapsed().as_secs_f64()
    );
    written.into()
}

/// Each line is in the topics once, and those of each file in order within each topic.
fn assert_once_and_in_order(topics: &[Vec<String>], written: &HashMap<String, u64>) {
    let mut seen: HashMap<String, Vec<u8>> = HashMap::new();
    for (name, count) in written {
        seen.insert(name.clone(), vec![0; *count as usize]);
    }
    for values in topics {
        let mut last: HashMap<&str, u64> = HashMap::new();
        for value in values {
            let (name, number) = value.split_once(' ').unwrap();
            let number: u64 = number.parse().unwrap();
            seen.get_mut(name).unwrap()[number as usize] += 1;
            let before = last.insert(name, number);
            assert!(
                before.is_none_or(|before| before < number),
                "{value} after {before:?}"
            );
        }
    }
    for (name, seen) in &seen {
        let missing = seen.iter().filter(|count| **count == 0).count();
        let twice = seen.iter().filter(|count| **count > 1).count();
        println!(
            "{name}: {} lines, {missing} missing, {twice} twice",
            seen.len()
        );
        assert_eq!((missing, twice), (0, 0), "{name}");
    }
}

/// The time between two reloads, in which lines are written.
const PACE: Duration = Duration::from_millis(100);

/// So many reloads, or as many as `RELOADS` says.
fn rounds(usual: u64) -> u64 {
    let asked = std::env::var("RELOADS").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(usual)
}

#[test]
fn reloads_under_load_lose_no_line_and_send_none_twice() {
    let mut env = Env::following_one_path();
    for topic in ["a", "b"] {
        env.broker.create_topic(topic, 1);
    }
    let address = env.broker.brokers();
    // With the first one there is an outage until the next.
    let ways = [
        "127.0.0.1:1".to_owned(),
        format!("127.0.0.1:1,{address}"),
        address,
    ];
    let ways = ways.map(|brokers| vec![("brokers", brokers)]);
    let written = reload_under_load(&mut env, rounds(50), &ways);
    let all: u64 = written.values().sum();
    let count = |env: &Env| [TOPIC, "a", "b"].map(|topic| env.broker.count(topic) as u64);
    wait_until(
        SOON * 3,
        || count(&env).iter().sum::<u64>() >= all,
        || format!("{all} records; there are {:?}", count(&env)),
    );
    env.stop();
    let topics = [TOPIC, "a", "b"].map(|topic| env.broker.values(topic));
    assert_once_and_in_order(&topics, &written);
}

/// An agent that was `set` up and has read lines for the topic `wrong`, which there is not. There is `right`.
pub(crate) fn parked(set: impl FnOnce(&mut Env)) -> Env {
    let mut env = Env::new();
    env.broker.auto_create(None);
    env.broker.create_topic("right", 1);
    env.set("log:app", "topic", "wrong");
    set(&mut env);
    env.write_lines("app.log", 0..10);
    env.start();
    let is_parked = || env.run(&["status"]).stdout.contains("PARKED");
    wait_until(SOON, is_parked, || "the topic to be parked".to_owned());
    env
}

/// A topic's name is mended: what was read for the wrong one goes on waiting, which the reload says, and a restart sends
/// it to the new one, in its order.
#[test]
fn a_reload_says_that_what_was_read_for_a_parked_topic_waits_for_a_restart() {
    let mut env = parked(|_| ());
    env.set("log:app", "topic", "right");
    let said = reloaded(&env);
    let words = "~ log:app        topic: for lines read from now on; what was read before waits for 'wrong', which is parked: \
        a restart sends it to the new one, and once more what was sent behind it in its files";
    let said: String = said.split_whitespace().collect::<Vec<_>>().join(" ");
    let words: String = words.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains(&words), "{said}");
    // A position moves over no gap: what is sent behind one is sent again with it.
    env.write_lines("app.log", 10..12);
    env.broker.wait_for_count("right", 2, SOON);
    env.kill();
    env.start();
    env.broker.wait_for_count("right", 14, SOON);
    assert_eq!(
        env.broker.values("right"),
        [lines(10..12), lines(0..12)].concat()
    );
    env.stop();
}

#[test]
fn reloads_with_users_and_listeners_changing_lose_no_line_at_a_real_kafka_and_send_none_twice() {
    if std::env::var("RELOADS").is_err() {
        // It takes half a minute: by hand.
        return;
    }
    let secured = Secured::start("4");
    secured.kafka.add_scram_user("other", "secret of the other");
    let mut other = secured.scram_with("SCRAM-SHA-256", "secret of the other");
    for (key, value) in &mut other {
        if *key == "sasl_username" {
            *value = "other".to_owned();
        }
    }
    let at = |listener: &str, keys: Way| {
        let brokers = [("brokers", secured.broker(listener))];
        keys.into_iter().chain(brokers).collect::<Way>()
    };
    let ways = [
        at("SCRAM", secured.scram_with("SCRAM-SHA-512", PASSWORD)),
        at("SCRAM", other),
        vec![("brokers", secured.kafka.brokers().to_owned())],
        at("TLS", secured.tls()),
    ];
    let mut env = Env::following_one_path();
    let topics = [TOPIC, "a", "b"];
    for topic in topics {
        secured.kafka.create_topic(topic, 3, &[]);
    }
    go(&mut env, &ways[2]);
    let written = reload_under_load(&mut env, rounds(100), &ways);
    let all: u64 = written.values().sum();
    let count = || topics.map(|topic| secured.kafka.count(topic) as u64);
    wait_until(
        SOON * 6,
        || count().iter().sum::<u64>() >= all,
        || format!("{all} records; there are {:?}", count()),
    );
    env.stop();
    let values = topics.map(|topic| {
        let records = secured.kafka.fetch_all(topic);
        records.iter().map(Record::text).collect()
    });
    assert_once_and_in_order(&values, &written);
}
