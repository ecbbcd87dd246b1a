//! Files that were moved, while no agent ran, to another folder that is followed as well: nothing of them is sent again,
//! and nothing is said to be lost.

use std::os::unix::fs::symlink;

use crate::support::env::{Env, TOPIC, lines, losses};

type Way = fn(&Env);

/// How a file comes to another folder, after lines 0 to 10 were delivered.
const WAYS: [(&str, Way); 6] = [
    ("to another folder", |env| {
        env.rename("in/app.log", "out/app.log");
        env.write_lines("out/app.log", 10..20);
    }),
    ("to another name there", |env| {
        env.write_lines("in/app.log", 10..20);
        env.rename("in/app.log", "out/other.log");
    }),
    ("a new one is there", |env| {
        env.rename("in/app.log", "out/app.log");
        env.write_lines("in/app.log", 10..20);
    }),
    ("with its folder", |env| {
        env.rename("in", "new");
        env.write_lines("new/app.log", 10..20);
    }),
    ("with its folder, and a new one", |env| {
        env.rename("in", "new");
        env.make_folder("in");
        env.write_lines("in/app.log", 10..20);
    }),
    ("a hard link is left", |env| {
        std::fs::hard_link(env.path("in/app.log"), env.path("out/app.log")).unwrap();
        env.remove("in/app.log");
        env.write_lines("out/app.log", 10..20);
    }),
];

fn following_all_folders() -> Env {
    let mut env = Env::new();
    let all = env.path("**/*.log");
    env.set("log:app", "path", &all);
    for folder in ["in", "out"] {
        env.make_folder(folder);
    }
    env
}

#[test]
fn what_was_moved_to_another_folder_while_stopped_is_read_on_there() {
    for (way, happens) in WAYS {
        let mut env = following_all_folders();
        env.write_lines("in/app.log", 0..10);
        env.start();
        env.expect_lines(&lines(0..10));
        env.stop();
        happens(&env);
        println!("{way}");
        for _ in 0..2 {
            env.start();
            env.wait_for_records(20);
            env.stop_and_expect_lines(&lines(0..20));
        }
        assert_eq!(losses(&env.all_logs()).count(), 0, "{way}");
        assert!(!env.all_logs().contains("no copy of it"), "{way}");
    }
}

#[test]
fn once_delivers_in_one_run_what_was_moved_to_another_folder() {
    let env = following_all_folders();
    env.write_lines("in/app.log", 0..10);
    assert_eq!(env.run(&["--once"]).code, Some(0));
    env.rename("in/app.log", "out/app.log");
    env.write_lines("out/app.log", 10..20);
    let ended = env.run(&["--once"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(env.broker.count(TOPIC), 20);
}

#[test]
fn a_link_to_the_current_release_may_lead_elsewhere_after_a_stop() {
    let mut env = Env::new();
    let paths = ["current/*.log", "release-*/*.log"].map(|path| env.path(path));
    env.set("log:app", "path", &paths.join(", "));
    env.make_folder("release-1");
    env.make_folder("release-2");
    symlink("release-1", env.path("current")).unwrap();
    env.write_lines("release-1/app.log", 10..20);
    env.start();
    env.expect_lines(&lines(10..20));
    env.stop();
    env.write_lines("release-1/app.log", 20..30);
    env.remove("current");
    symlink("release-2", env.path("current")).unwrap();
    env.write_lines("release-2/app.log", 30..40);
    for _ in 0..2 {
        env.start();
        env.wait_for_records(30);
        env.stop();
        // Of two files, in whatever order.
        let mut sent = env.broker.values(TOPIC);
        sent.sort();
        assert_eq!(sent, lines(10..40));
    }
    assert_eq!(losses(&env.all_logs()).count(), 0);
}
