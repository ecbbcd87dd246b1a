//! Symbolic links that others put where a log is expected.

use rustix::fs::{AtFlags, CWD, Uid, chownat};

use crate::support::env::{Env, SOON, lines};

/// A user that is neither root nor the owner of anything here.
const STRANGER: u32 = 54_321;

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
    env.symlink("secret/shadow", "app.log");
    give_away(&env, "app.log");
    env.symlink("secret/shadow", "other.log");
    give_away(&env, "other.log");
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
