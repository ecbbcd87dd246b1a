//! What an operator is told who changes the ini of a running agent: also later, and of what only follows from it.

use std::fs;

use crate::reload::parked;
use crate::support::env::{Env, SOON, wait_until};

/// The words of a command, whatever lines they stand in.
fn words(env: &Env, arguments: &[&str]) -> String {
    let said = env.run(arguments).stdout;
    said.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_reload_after_the_automatic_one_tells_what_that_has_changed() {
    let mut env = Env::new();
    env.write_lines("app.log", 0..10);
    env.start();
    env.wait_for_records(10);
    env.set("kafka", "linger", "7ms");
    fs::write(env.config(), env.ini()).unwrap();
    env.wait_for_log("linger: from now on, also for lines not sent yet", SOON);
    let said = words(&env, &["reload"]);
    assert!(said.contains("applied by itself at "), "{said}");
    assert!(said.contains("~ [kafka] linger: "), "{said}");
    // Who has seen it is not told again.
    let said = words(&env, &["reload"]);
    assert!(
        !said.contains("by itself") && !said.contains("linger"),
        "{said}"
    );
    env.stop();
}

#[test]
fn an_ini_that_the_agent_does_not_run_with_is_not_taken_for_its_own() {
    let mut env = Env::new();
    env.start();
    let is_there = || env.run(&["status"]).code == Some(0);
    wait_until(SOON, is_there, || "an agent that answers".to_owned());
    let other = env.path("other.ini");
    let ini = fs::read_to_string(env.config()).unwrap();
    fs::write(&other, ini.replace("[kafka]", "[kafka]\nbrokrs = x:1\n")).unwrap();
    let mut command = crate::support::agent::Agent::command();
    let output = command
        .args(["reload", "--config", &other])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let runs = format!(
        "the agent runs with '{}', not with '{other}'",
        env.config().display()
    );
    assert!(said.contains(&runs), "{said}");
    let mut command = crate::support::agent::Agent::command();
    let output = command
        .args(["status", "--config", &other])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.contains(&runs), "{said}");
    // A link to it is the same ini.
    let link = env.path("link.ini");
    std::os::unix::fs::symlink(env.config(), &link).unwrap();
    let mut command = crate::support::agent::Agent::command();
    let output = command
        .args(["reload", "--config", &link])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    env.stop();
}

#[test]
fn what_waits_for_a_topic_that_no_section_names_any_more_says_so() {
    let mut env = parked(|env| {
        env.set("agent", "reload", "manual");
    });
    env.set("log:app", "topic", "right");
    assert_eq!(env.run(&["reload"]).code, Some(0));
    let path = env.path("app.log");
    let changed = "topic wrong: UNKNOWN_TOPIC_OR_PARTITION (3); what [log:app] read before its 'topic' was changed \
        waits for it: a restart sends it to the new one, and once more what was sent behind it";
    for arguments in [&["status", "app"][..], &["status", &path], &["status"]] {
        let is_told = || words(&env, arguments).contains(changed);
        wait_until(SOON, is_told, || words(&env, arguments));
    }
    // Another section takes its place.
    let ini = fs::read_to_string(env.config()).unwrap();
    let other = ini
        .replace("[log:app]", "[log:new]")
        .replace("app.log", "new.log");
    let other = other.replace("*.log", "new.log");
    fs::write(env.config(), other).unwrap();
    let mut command = crate::support::agent::Agent::command();
    command.args(["reload", "--config"]).arg(env.config());
    let said = String::from_utf8(command.output().unwrap().stdout).unwrap();
    assert!(said.contains("- log:app "), "{said}");
    let removed = "[log:app] is gone from the ini and cannot finish";
    let is_told = || words(&env, &["status"]).contains(removed);
    wait_until(SOON, is_told, || words(&env, &["status"]));
    // A stop waits for it in vain, and says for what.
    env.agent().signal(rustix::process::Signal::TERM);
    env.wait_for_log("; topic 'wrong' of [log:app] is parked: ", SOON);
    // And in which file.
    let file = format!("; 70 B wait in '{}' (70 B); topic ", env.path("app.log"));
    env.wait_for_log(&file, SOON);
    env.kill();
}

#[test]
fn a_path_that_only_a_refused_ini_names_says_so() {
    let mut env = Env::new();
    env.set("agent", "reload", "manual");
    env.append("new.txt", "line\n");
    env.start();
    let is_there = || env.run(&["status"]).code == Some(0);
    wait_until(SOON, is_there, || "an agent that answers".to_owned());
    let path = env.path("new.txt");
    env.set("log:new", "path", &path)
        .set("log:new", "nonsense", "1");
    assert_eq!(env.run(&["reload"]).code, Some(1));
    let said = words(&env, &["status", &path]);
    let expected = "no section of the ini in force names it, and the one on disk was refused";
    assert!(said.contains(expected), "{said}");
    env.stop();
}
