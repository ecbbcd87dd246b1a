//! Symbolic links that others put where a log is expected.

use std::fs;

use rustix::fs::{AtFlags, CWD, Uid, chownat};

use crate::check::findings;
use crate::support::agent::Agent;
use crate::support::env::{Env, SOON, TOPIC, lines, wait_until};
use crate::support::meanwhile;

/// A user that is neither root nor the owner of anything here.
const STRANGER: u32 = 54_321;

/// Makes `link` lead to `target`: a stranger's from the first moment on that it has its name.
fn link_of_stranger(env: &Env, target: &str, link: &str) {
    let other_name = format!("{link}.made");
    env.symlink(target, &other_name);
    give_away(env, &other_name);
    env.rename(&other_name, link);
}

fn give_away(env: &Env, link: &str) {
    let stranger = Uid::from_raw(STRANGER);
    let done = chownat(
        CWD,
        env.path(link),
        Some(stranger),
        None,
        AtFlags::SYMLINK_NOFOLLOW,
    );
    done.expect("root may give files away");
}

/// Whether the test can give files to other users; says so if not.
fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        eprintln!("NOT RUN: only root can make links that belong to others");
    }
    is_root
}

#[test]
fn a_link_that_a_stranger_has_put_in_place_of_a_log_is_not_followed() {
    if !is_root() {
        return;
    }
    let mut env = Env::new();
    env.make_folder("secret");
    env.write_lines("secret/shadow", 1000..1010);
    env.write_lines("secret/shadow.1", 1010..1020);
    env.write_lines("app.log", 0..10);
    env.start();
    env.expect_lines(&lines(0..10));
    env.rename("app.log", "app.log.1");
    link_of_stranger(&env, "secret/shadow", "app.log");
    link_of_stranger(&env, "secret/shadow", "other.log");
    env.write_lines("app.log.1", 10..20);
    env.wait_for_log("is not followed: it belongs to user 54321", SOON);
    env.expect_lines(&lines(0..20));
    env.write_lines("third.log", 20..30);
    env.stop_and_expect_lines(&lines(0..30));
}

#[test]
fn a_link_of_root_is_followed_and_none_if_the_section_says_so() {
    for (policy, expected) in [("safe", 0..20), ("all", 0..20), ("none", 0..10)] {
        let mut env = Env::new();
        env.set("log:app", "follow_links", policy);
        env.write_lines("a.log", 0..10);
        env.start();
        env.expect_lines(&lines(0..10));
        env.write_lines("target", 10..20);
        env.symlink("target", "b.log");
        if policy == "none" {
            env.wait_for_log("is not followed: follow_links = none", SOON);
        }
        env.expect_lines(&lines(expected));
    }
}

/// The exit code of a command, and what it prints, however it is wrapped.
fn said(env: &Env, arguments: &[&str]) -> (Option<i32>, String) {
    let ended = env.run(arguments);
    let words: Vec<&str> = ended.stdout.split_whitespace().collect();
    (ended.code, words.join(" "))
}

#[test]
fn a_link_that_is_not_followed_is_left_out_and_told_as_that_and_is_no_fault() {
    let mut cases = vec![("none", "follow_links = none", "ok")];
    if is_root() {
        cases.push(("safe", "it belongs to user 54321", "WARN"));
    }
    for (policy, why, mark) in cases {
        let mut env = Env::new();
        env.set("log:app", "follow_links", policy);
        env.write_lines("app.log", 0..10);
        env.write_lines("target", 10..20);
        match policy {
            "none" => env.symlink("target", "link.log"),
            _ => link_of_stranger(&env, "target", "link.log"),
        }
        env.start();
        env.expect_lines(&lines(0..10));
        env.wait_for_log("is not followed: ", SOON);
        let reason = format!("the link '{}' is not followed: {why}", env.path("link.log"));
        let is_told = || {
            let (_, all) = said(&env, &["status"]);
            all.contains(&reason) && all.contains(" OK 1 file at its end ")
        };
        wait_until(SOON, is_told, || said(&env, &["status"]).1);
        let (code, all) = said(&env, &["status"]);
        assert_eq!(code, Some(0), "{all}");
        assert!(all.contains("NOT FOLLOWED") && all.contains("not followed: follow_links 1"));
        let (code, one) = said(&env, &["status", &env.path("link.log")]);
        assert!(code == Some(1) && one.contains(" NOT FOLLOWED "), "{one}");
        assert!(one.contains(&reason), "{one}");
        let checked = env.run(&["check"]).stdout;
        let findings = findings(&checked, mark);
        let is_named = |line: &String| line.contains(&reason);
        assert_eq!(
            findings.iter().filter(|line| is_named(line)).count(),
            1,
            "{checked}"
        );
        assert!(checked.contains("\n0 errors, "), "{checked}");
        // What is read as soon as it may be is read without a start.
        env.remove("link.log");
        env.write_lines("link.log", 20..30);
        env.wait_for_records(20);
        wait_until(
            SOON,
            || !said(&env, &["status"]).1.contains("NOT FOLLOWED"),
            || said(&env, &["status"]).1,
        );
        let log = env.stop().stderr;
        for words in [&log, &all, &one, &checked] {
            assert!(
                !words.contains("setfacl") && !words.contains("CAP_DAC"),
                "{words}"
            );
        }
    }
}

/// A user that is not root, as which the agent runs.
const AGENTS_USER: u32 = 54_322;

fn give(env: &Env, name: &str, user: u32) {
    let user = Uid::from_raw(user);
    chownat(
        CWD,
        env.path(name),
        Some(user),
        None,
        AtFlags::SYMLINK_NOFOLLOW,
    )
    .expect("root may give files away");
}

/// Starts an agent that runs as `user`.
fn start_as(env: &mut Env, user: u32) {
    let folder = env.log_dir().parent().unwrap().to_owned();
    let any = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&folder, any).unwrap();
    std::os::unix::fs::chown(env.state_dir(), Some(user), None).unwrap();
    let options = [
        format!("--reuid={user}"),
        format!("--regid={user}"),
        "--clear-groups".to_owned(),
    ];
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let command = env
        .command_under_setpriv(&options, &[])
        .expect("root may become another user");
    env.adopt(Agent::spawn(command));
    env.agent().wait_until_it_follows(SOON);
}

#[test]
fn links_are_followed_by_their_owners_also_those_of_folders_on_the_way() {
    if !is_root() {
        return;
    }
    // Who runs the agent, who owns the link, who owns what it leads to, and whether it is followed.
    let cases = [
        (0, 0, STRANGER, true),
        (0, STRANGER, STRANGER, true),
        (0, STRANGER, 0, false),
        (0, STRANGER, AGENTS_USER, false),
        (0, AGENTS_USER, 0, false),
        (AGENTS_USER, AGENTS_USER, 0, true),
        (AGENTS_USER, 0, STRANGER, true),
        (AGENTS_USER, STRANGER, 0, false),
        (AGENTS_USER, STRANGER, AGENTS_USER, false),
        (AGENTS_USER, STRANGER, STRANGER, true),
    ];
    for (agent, link, target, is_followed) in cases {
        let case = format!("agent {agent}, link {link}, target {target}");
        let mut env = Env::new();
        let glob = env.path("*/*.log");
        env.set("log:app", "path", &glob);
        // A link at the path itself, and a folder on the way.
        env.make_folder("a");
        env.make_folder("target");
        env.write_lines("target/file", 0..10);
        env.symlink("target/file", "a/app.log");
        env.make_folder("away/elsewhere");
        env.write_lines("away/elsewhere/app.log", 10..20);
        env.symlink("away/elsewhere", "b");
        for name in [
            "target",
            "target/file",
            "away/elsewhere",
            "away/elsewhere/app.log",
        ] {
            give(&env, name, target);
        }
        for name in ["a/app.log", "b"] {
            give(&env, name, link);
        }
        env.write_lines("a/own.log", 20..30);
        start_as(&mut env, agent);
        let mut expected = lines(20..30);
        if is_followed {
            expected.extend(lines(0..20));
        } else {
            env.wait_for_log("/a/app.log", SOON);
            env.wait_for_log("/b", SOON);
        }
        env.wait_for_records(expected.len());
        env.stop();
        let mut values = env.broker.values(TOPIC);
        values.sort();
        expected.sort();
        assert_eq!(values, expected, "{case}");
        if !is_followed {
            let log = env.all_logs();
            let refusals = log.lines().filter(|line| line.contains("is not followed"));
            let refusals: Vec<&str> = refusals.collect();
            assert_eq!(
                refusals.len(),
                2,
                "{case}: one WARN for each: {refusals:#?}"
            );
        }
    }
}

/// Where a container's log lies, and the link that is followed.
fn linked(folder: &str) -> Env {
    let mut env = Env::new();
    env.make_folder(folder);
    env.make_folder("containers");
    let path = env.path("containers/*.log");
    env.set("log:app", "path", &path);
    env.write_lines(&format!("{folder}/0.log"), 0..10);
    env.symlink(&format!("{folder}/0.log"), "containers/app.log");
    env
}

#[test]
fn a_link_whose_target_is_rotated_in_its_folder_is_as_if_the_target_were_followed() {
    // Docker and kubelet name by numbers or by times, and pack.
    let schemes = [
        ["0.log.2", "0.log.1"],
        ["0.log.20261126-101533.gz", "0.log.20261126-111533"],
        ["0.log-20261125", "0.log-20261126.gz"],
        ["0.log.2.gz", "0.log.1.gz"],
    ];
    for [older, newer] in schemes {
        for agent in meanwhile::Agent::ALL {
            let mut env = linked("pods/app");
            env.start();
            env.expect_lines(&lines(0..10));
            let rotate = |env: &Env, to: &str| {
                let plain = to.strip_suffix(".gz").unwrap_or(to);
                env.rename("pods/app/0.log", &format!("pods/app/{plain}"));
                if plain != to {
                    env.gzip(&format!("pods/app/{plain}"));
                }
            };
            // Twice, so twice while it is down.
            agent.meanwhile(&mut env, |env| {
                env.write_lines("pods/app/0.log", 10..20);
                rotate(env, older);
                env.write_lines("pods/app/0.log", 20..30);
                rotate(env, newer);
                env.write_lines("pods/app/0.log", 30..40);
            });
            println!("{newer}, {agent:?}");
            env.expect_lines(&lines(0..40));
            agent.meanwhile(&mut env, |env| {
                env.write_lines("pods/app/0.log", 40..50);
                env.copytruncate("pods/app/0.log", "pods/app/0.log.0");
                env.write_lines("pods/app/0.log", 50..60);
            });
            env.stop_and_expect_lines(&lines(0..60));
        }
    }
}

#[test]
fn what_lies_behind_a_link_to_a_mount_within_a_mount_is_found() {
    // /dev is a mount, and /dev/shm another one.
    let other = tempfile::tempdir_in("/dev/shm").expect("another file system");
    fs::write(other.path().join("app.log"), "line 0\n").unwrap();
    for path in [
        "folder/app.log",
        "folder/*.log",
        "f*/app.log",
        "**/*.log",
        "file",
    ] {
        let mut env = Env::new();
        let link = |target: &std::path::Path, name: &str| {
            std::os::unix::fs::symlink(target, env.path(name)).unwrap();
        };
        match path {
            "**/*.log" => link(&other.path().join("app.log"), "a.log"),
            "file" => link(&other.path().join("app.log"), "file"),
            _ => link(other.path(), "folder"),
        }
        let path = env.path(path);
        env.set("log:app", "path", &path);
        let ended = env.run(&["--once"]);
        assert_eq!(ended.code, Some(0), "{path}: {}", ended.stderr);
        assert_eq!(env.broker.values(TOPIC), lines(0..1), "{path}");
    }
}

#[test]
fn the_target_of_a_link_is_read_when_it_appears() {
    let mut env = Env::new();
    env.make_folder("real");
    env.symlink("real/new.log", "new.log");
    env.symlink("real/known.log", "known.log");
    env.write_lines("real/known.log", 0..10);
    env.start();
    env.wait_for_log("new.log' is a link that leads nowhere", SOON);
    env.expect_lines(&lines(0..10));
    env.write_lines("real/new.log", 10..20);
    env.expect_lines(&lines(0..20));
    // Both have been read, and are away at the start.
    env.stop();
    env.rename("real/new.log", "elsewhere");
    env.rename("real/known.log", "real/known.log.1");
    env.start();
    env.wait_for_log("known.log' is a link that leads nowhere", SOON);
    env.write_lines("real/known.log", 20..30);
    env.expect_lines(&lines(0..30));
    // And while it runs, until its tailer has nothing more to do.
    env.rename("real/known.log", "real/known.log.1");
    env.remove("real/known.log.1");
    env.wait_for_log("known.log': device", SOON);
    env.write_lines("real/known.log", 30..40);
    env.stop_and_expect_lines(&lines(0..40));
}
