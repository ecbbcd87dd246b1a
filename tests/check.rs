//! `logagent check` against this host and an in-process broker: each trouble has a line of its own.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant, SystemTime};

use kafka_protocol::messages::ApiKey;

use crate::support::agent::{Agent, Ended};
use crate::support::env::{Env, TOPIC, lines};

fn check(env: &Env, more: &[&str]) -> Ended {
    env.run(&[&["check"], more].concat())
}

/// The findings of the screen that begin with this mark, each on one line, without blanks that only make columns.
pub(crate) fn findings(screen: &str, mark: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut is_in = false;
    for line in screen.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [first, rest @ ..] if *first == mark && line.starts_with("  ") => {
                is_in = true;
                found.push(rest.join(" "));
            }
            [_, ..] if is_in && line.starts_with("          ") => {
                *found.last_mut().unwrap() += &format!(" {}", words.join(" "));
            }
            _ => is_in = false,
        }
    }
    found
}

#[test]
fn where_all_is_well_it_says_so_ends_with_0_and_sends_nothing() {
    let mut env = Env::new();
    env.write_lines("app.log", 0..1000);
    env.start();
    env.expect_lines(&lines(0..1000));
    env.write_lines("app.log", 1000..1001);
    env.expect_lines(&lines(0..1001));
    let pid = env.agent().pid();
    let running = check(&env, &[]);
    assert_eq!(running.code, Some(0), "{}", running.stdout);
    let state = findings(&running.stdout, "ok").remove(0);
    assert!(
        state.ends_with(&format!("in use by process {pid}")),
        "{state}"
    );
    env.stop();
    env.write_lines("app.log", 1001..1101);
    let produced = env.broker.requests(ApiKey::Produce);

    let ended = check(&env, &[]);
    assert_eq!(
        (ended.code, &*ended.stderr),
        (Some(0), ""),
        "{}",
        ended.stdout
    );
    let screen = ended.stdout;
    assert!(screen.ends_with("\n0 errors, 0 warnings\n"), "{screen}");
    assert!(
        screen.lines().all(|line| line.chars().count() < 80),
        "{screen}"
    );
    let state = format!(
        "state {}: writable, 1 position, no agent runs with it",
        env.state_dir().display()
    );
    assert_eq!(findings(&screen, "ok")[0], state);
    let row = |first: &str| {
        let mut rows = screen
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
        rows.find(|row| row.starts_with(first))
            .unwrap_or_else(|| panic!("{first} is not in:\n{screen}"))
    };
    assert_eq!(
        row("app "),
        format!("app 1 9.7 KiB 1000 B position {TOPIC} utf-8")
    );
    assert!(row(&env.broker.brokers()).ends_with(" ms"), "{screen}");
    assert!(
        row("TOPIC PARTITIONS ").ends_with("TIME LIMITS"),
        "{screen}"
    );
    assert!(row(&format!("{TOPIC} ")).contains(" ok"), "{screen}");
    assert_eq!(
        env.broker.requests(ApiKey::Produce),
        produced,
        "a line was sent"
    );
    assert_eq!(env.broker.count(TOPIC), 1001);

    let json = check(&env, &["--json"]);
    assert_eq!(json.code, Some(0));
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!((&json["errors"], &json["warnings"]), (&0.into(), &0.into()));
    assert_eq!(json["logs"]["rows"][0]["unread_bytes"], 1000);
    assert_eq!(json["topics"]["rows"][0]["write"], "ok");
    assert_eq!(json["brokers"]["rows"][0]["broker"], env.broker.brokers());
}

#[test]
fn a_partition_that_the_topic_has_not_is_an_error() {
    let mut env = Env::new();
    env.set("kafka", "partitioner", "fixed:7");
    env.write_lines("app.log", 0..10);
    let ended = check(&env, &[]);
    let words = "and partitioner 'fixed:7' asks for one that does not exist";
    assert_eq!(ended.code, Some(2), "{}", ended.stdout);
    let errors = findings(&ended.stdout, "FAIL");
    assert!(
        errors.len() == 1 && errors[0].ends_with(words),
        "{errors:?}"
    );
    env.set("kafka", "partitioner", "fixed:0");
    assert_eq!(check(&env, &[]).code, Some(0));
}

#[test]
fn brokers_that_cannot_be_reached_are_told_from_each_other_within_ten_seconds() {
    let mut env = Env::new();
    env.write_lines("app.log", 0..10);
    // Nobody listens; connections are dropped, as by a firewall; it listens and says nothing.
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::net::listen(&silent, 0).unwrap();
    let silent = (silent.local_addr().unwrap(), silent);
    let _waits = TcpStream::connect(silent.0).unwrap();
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let mute = (mute.local_addr().unwrap(), mute);
    let brokers = format!(
        "{closed},{},{},nosuch.invalid:9092,{}",
        silent.0,
        mute.0,
        env.broker.brokers()
    );
    env.set("kafka", "brokers", &brokers);
    let began = Instant::now();
    let ended = check(&env, &[]);
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(ended.code, Some(2), "{}", ended.stdout);
    let found = findings(&ended.stdout, "FAIL");
    let expected = [
        format!("{closed} connection refused: nothing listens on this port"),
        format!(
            "{} no connection within 3s: silence, as of a firewall",
            silent.0
        ),
        format!("{} no answer to the first request within 3s", mute.0),
        "nosuch.invalid:9092 'nosuch.invalid' does not resolve: ".to_owned(),
    ];
    assert_eq!(found.len(), 4, "{}", ended.stdout);
    for (found, expected) in found.iter().zip(&expected) {
        assert!(found.starts_with(expected), "{found}\n{expected}");
    }
    assert!(
        ended.stdout.contains(" ms\n"),
        "the last one answers: {}",
        ended.stdout
    );
}

#[test]
fn a_file_that_cannot_be_read_is_named_with_its_owner_and_the_mend() {
    let env = Env::new();
    env.write_lines("app.log", 0..10);
    env.write_lines("shut.log", 0..10);
    env.make_folder("deep");
    for (name, mode) in [("shut.log", 0o000), ("", 0o755)] {
        fs::set_permissions(env.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    let ended = env
        .run_bound_by_permissions(&["check", "--offline"])
        .unwrap();
    assert_eq!(ended.code, Some(2), "{}", ended.stdout);
    let found = findings(&ended.stdout, "FAIL");
    let place = format!("{}: permission denied (owner ", env.path("shut.log"));
    assert_eq!(found.len(), 1, "{}", ended.stdout);
    let words = found[0].replace(' ', "");
    assert!(words.contains(&place.replace(' ', "")), "{found:?}");
    assert!(
        words.contains("mode0000):setfacl-mu:") && words.contains(":r,orCAP_DAC_READ_SEARCH"),
        "{found:?}"
    );
    assert!(!ended.stdout.contains("BROKER"), "{}", ended.stdout);
    assert_eq!(env.broker.accepted(1), 0, "nobody was asked");
}

#[test]
fn a_state_folder_of_somebody_else_and_positions_that_are_damaged_are_named() {
    let mut env = Env::new();
    env.write_lines("app.log", 0..10);
    env.start();
    env.expect_lines(&lines(0..10));
    env.stop();
    let set_mode =
        |mode| fs::set_permissions(env.state_dir(), fs::Permissions::from_mode(mode)).unwrap();
    set_mode(0o500);
    let ended = env
        .run_bound_by_permissions(&["check", "--offline"])
        .unwrap();
    set_mode(0o700);
    let found = findings(&ended.stdout, "FAIL");
    assert_eq!((ended.code, found.len()), (Some(2), 1), "{}", ended.stdout);
    assert!(
        found[0].contains("permission denied (owner") && found[0].contains("mode 0500): chown -R"),
        "{found:?}"
    );
    assert!(found[0].starts_with("state "), "{found:?}");

    fs::write(env.checkpoints(), "nonsense\n").unwrap();
    let ended = check(&env, &["--offline"]);
    let found = findings(&ended.stdout, "FAIL");
    assert_eq!((ended.code, found.len()), (Some(2), 1), "{}", ended.stdout);
    assert!(found[0].contains("damaged"), "{found:?}");
}

#[test]
fn what_only_should_be_known_ends_with_1_and_a_refused_ini_or_case_with_2() {
    let env = Env::new();
    let ended = check(&env, &["--offline"]);
    assert_eq!(ended.code, Some(1), "{}", ended.stdout);
    assert!(
        findings(&ended.stdout, "WARN")[0].starts_with("app no file matches"),
        "{}",
        ended.stdout
    );

    env.write_lines("app.log", 0..10);
    let cases = env.config().with_extension("test.ini");
    fs::write(&cases, "[test:one]\nlog = app\n< a\n> b\n").unwrap();
    let ended = check(&env, &["--offline"]);
    assert_eq!(ended.code, Some(2), "{}", ended.stdout);
    assert_eq!(
        findings(&ended.stdout, "FAIL"),
        ["cases 1 case, 1 failed: see logagent test"]
    );
    assert_eq!(check(&env, &["--offline", "--no-test"]).code, Some(0));

    let mut env = Env::new();
    env.set("kafka", "acks", "2");
    let ended = check(&env, &[]);
    assert_eq!((ended.code, &*ended.stdout), (Some(2), ""));
    assert!(ended.stderr.contains("acks"), "{}", ended.stderr);
    let ended = check(&env, &["--json"]);
    let json: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!((ended.code, &json["errors"]), (Some(2), &1.into()));
}

#[test]
fn second_names_and_files_that_are_left_out_are_not_counted() {
    let mut env = Env::new();
    env.write_lines("app.log", 0..10);
    fs::hard_link(env.log_dir().join("app.log"), env.log_dir().join("b.log")).unwrap();
    env.symlink("app.log", "c.log");
    env.append("old.log", "old\n");
    let long_ago = SystemTime::now() - Duration::from_secs(7200);
    env.open("old.log").set_modified(long_ago).unwrap();
    env.set("log:app", "ignore_older", "1h");
    let ended = check(&env, &["--offline"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stdout);
    let well = findings(&ended.stdout, "ok");
    let left_out = "app 2 second names of files, 1 file older than ignore_older: not read";
    assert!(well.iter().any(|line| line == left_out), "{}", ended.stdout);
    assert!(ended.stdout.contains("1 log, 1 file\n"), "{}", ended.stdout);
    let json = check(&env, &["--offline", "--json"]).stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["logs"]["rows"][0]["files"], 1, "{json:#}");
    assert_eq!(json["logs"]["rows"][0]["unread_bytes"], 70, "{json:#}");
}

#[test]
fn where_the_metrics_listen_is_tried_and_may_be_the_agents_own() {
    let mut env = Env::new();
    env.write_lines("app.log", 0..1);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    env.set("agent", "metrics_listen", &address);
    let ended = check(&env, &["--offline"]);
    assert_eq!(ended.code, Some(1), "{}", ended.stdout);
    let in_use = format!("metrics {address} is in use by another program");
    assert!(
        findings(&ended.stdout, "WARN")[0].starts_with(&in_use),
        "{}",
        ended.stdout
    );
    drop(taken);
    let said = |env: &Env| {
        let ended = check(env, &["--offline"]);
        assert_eq!(ended.code, Some(0), "{}", ended.stdout);
        let well = findings(&ended.stdout, "ok");
        assert!(
            well.iter().any(|line| line.starts_with("clock 2")),
            "{well:?}"
        );
        well.into_iter()
            .find(|line| line.starts_with("metrics "))
            .unwrap()
    };
    assert_eq!(said(&env), format!("metrics {address} is free"));
    env.start();
    env.wait_for_log("metrics at http://", Duration::from_secs(10));
    assert_eq!(
        said(&env),
        format!("metrics {address}, by the agent that runs")
    );
    // Another ini, or a copy of this one, that names another folder for the positions.
    let copy = env.config().with_file_name("copy.ini");
    let ini = fs::read_to_string(env.config()).unwrap();
    let folder = env.state_dir().display().to_string();
    assert!(ini.contains(&folder), "{ini}");
    let elsewhere = env.config().with_file_name("elsewhere");
    fs::write(
        &copy,
        ini.replace(&folder, &elsewhere.display().to_string()),
    )
    .unwrap();
    let mut command = Agent::command();
    command
        .arg("--config")
        .arg(&copy)
        .args(["check", "--offline"]);
    let ended = Agent::spawn(command).wait_exit(Duration::from_secs(30));
    assert_eq!(ended.code, Some(1), "{}", ended.stdout);
    let words =
        format!("metrics {address} is in use by a logagent with another ini and state folder: ");
    let found = findings(&ended.stdout, "WARN");
    assert!(
        found.len() == 1 && found[0].starts_with(&words),
        "{found:?}"
    );
    env.stop();
}

#[test]
fn the_topics_of_files_are_named_and_those_that_become_others() {
    let mut env = Env::new();
    env.set("log:app", "topic", "shop-{file}");
    for name in ["a.log", "b.log"] {
        env.write_lines(name, 0..10);
    }
    let named = |screen: &str, topics: &str| {
        let line = format!("app topics of its files: {topics}");
        assert!(findings(screen, "ok").contains(&line), "{screen}");
    };
    let ended = check(&env, &["--offline"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stdout);
    named(&ended.stdout, "shop-a.log, shop-b.log");
    env.write_lines("fr$.log", 0..10);
    let ended = check(&env, &["--offline"]);
    assert_eq!(ended.code, Some(1), "{}", ended.stdout);
    assert_eq!(
        findings(&ended.stdout, "WARN"),
        ["app 'shop-fr$.log' cannot be a topic: records go to 'shop-fr_.log'"]
    );
    named(&ended.stdout, "shop-a.log, shop-b.log, shop-fr_.log");
}

#[test]
fn a_state_folder_that_is_not_the_running_agents_is_a_warning() {
    let mut env = Env::new();
    env.write_lines("app.log", 0..10);
    env.start();
    env.expect_lines(&lines(0..10));
    let of_agent = env.state_dir();
    let elsewhere = env.config().with_file_name("elsewhere");
    env.set("agent", "reload", "manual")
        .set("agent", "state_dir", elsewhere.to_str().unwrap());
    // Before the folder is made, and after.
    for _ in 0..2 {
        let ended = check(&env, &["--offline"]);
        assert_eq!(ended.code, Some(1), "{}", ended.stdout);
        let found = findings(&ended.stdout, "WARN");
        let words = format!("state the agent runs with {}", of_agent.display());
        let is_it = |line: &String| {
            line.replace(' ', "").starts_with(&words.replace(' ', ""))
                && line.contains("all would be sent again")
        };
        assert!(found.len() == 1 && is_it(&found[0]), "{found:?}");
        fs::create_dir_all(&elsewhere).unwrap();
    }
    env.set("agent", "state_dir", of_agent.to_str().unwrap());
    assert_eq!(check(&env, &["--offline"]).code, Some(0));
    env.stop();
}

/// Kafka says of such a topic only that there is none, and never makes it.
#[test]
fn a_topic_whose_name_collides_with_another_is_an_error_that_names_that() {
    let mut env = Env::new();
    env.broker.create_topic("op3_app", 1);
    env.set("log:app", "topic", "op3.app");
    env.write_lines("app.log", 0..10);
    let ended = check(&env, &[]);
    assert_eq!(ended.code, Some(2), "{}", ended.stdout);
    let found = findings(&ended.stdout, "FAIL");
    assert!(
        found
            .iter()
            .any(|one| one.starts_with("op3.app collides with 'op3_app'")),
        "{}",
        ended.stdout
    );
    assert!(!ended.stdout.contains("op3_app  "), "{}", ended.stdout);
}

/// Each file may have a topic of its own: those that match now are asked for, up to a hundred.
#[test]
fn the_topics_of_files_are_asked_for_too() {
    let mut env = Env::new();
    env.broker.auto_create(None);
    env.broker.create_topic("t.good", 3);
    let path = env.path("{tenant}.log");
    env.set("log:app", "path", &path)
        .set("log:app", "topic", "t.{tenant}");
    env.write_lines("good.log", 0..10);
    env.write_lines("bad.log", 0..10);
    let ended = check(&env, &[]);
    assert_eq!(ended.code, Some(2), "{}", ended.stdout);
    let found = findings(&ended.stdout, "FAIL");
    assert_eq!(found.len(), 1, "{}", ended.stdout);
    assert!(found[0].starts_with("t.bad no such topic"), "{found:?}");
    let row = |line: &str| line.split_whitespace().take(2).eq(["t.good", "3"]);
    assert!(ended.stdout.lines().any(row), "{}", ended.stdout);
    for file in 0..100 {
        env.write_lines(&format!("n{file:02}.log"), 0..1);
    }
    let ended = check(&env, &[]);
    let said = findings(&ended.stdout, "ok");
    let words = "topics 2 more topics of files were not looked at; 100 were";
    assert!(said.iter().any(|one| one == words), "{}", ended.stdout);
}

#[test]
fn two_sections_that_name_the_same_file_are_a_warning() {
    let mut env = Env::new();
    let path = env.path("app.*");
    env.set("log:other", "path", &path)
        .set("log:other", "topic", "other");
    env.write_lines("app.log", 0..10);
    env.write_lines("app.log.txt", 0..10);
    let ended = check(&env, &["--offline"]);
    let found = findings(&ended.stdout, "WARN");
    assert_eq!((ended.code, found.len()), (Some(1), 1), "{}", ended.stdout);
    let (first, rest) = found[0].split_once(' ').unwrap();
    assert_eq!(first, "app");
    assert!(
        rest.contains("is named by [log:other] as well: [log:app] has it, and others like it"),
        "{rest}"
    );
}
