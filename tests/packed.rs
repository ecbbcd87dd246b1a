//! What rotators pack in ways that cannot be unpacked here: it is never taken for lines.

use std::fs;
use std::time::Duration;

use crate::support::env::{Env, SOON, TOPIC, lines, losses};
use crate::support::meanwhile::Agent;

/// With what the rotated file is packed, and what is packed again by gzip.
const ENDINGS: [&str; 7] = [".xz", ".bz2", ".zip", ".lz4", ".Z", ".7z", ".tar"];

/// Puts a packed file in the place of `name`, as packers do: it is a new one, and then the old one goes.
fn pack(env: &Env, name: &str, ending: &str) {
    let packed = format!("{name}{ending}");
    let content: Vec<u8> = (0..4000u32).map(|n| (n * n % 251) as u8).collect();
    fs::write(env.path(&packed), content).unwrap();
    env.remove(name);
    if ending == ".tar" {
        env.gzip(&packed);
    }
}

#[test]
fn what_cannot_be_unpacked_is_not_read_as_lines() {
    for ending in ENDINGS {
        for agent in [Agent::Up, Agent::Stopped] {
            for rotated in ["app.log.1", "app.log-20261129"] {
                let mut env = Env::following_one_path();
                env.write_lines("app.log", 0..100);
                env.start();
                env.expect_lines(&lines(0..100));
                agent.meanwhile(&mut env, |env| {
                    env.rename("app.log", rotated);
                    env.write_lines("app.log", 100..110);
                    pack(env, rotated, ending);
                });
                env.write_lines("app.log", 110..120);
                env.wait_for_records(120);
                // Long enough for a look at what is there now.
                std::thread::sleep(Duration::from_millis(300));
                env.stop();
                env.write_lines("app.log", 120..130);
                env.start();
                env.stop_and_expect_lines(&lines(0..130));
            }
        }
    }
}

/// multilog and svlogd with `!gzip` call what they have packed as what they have not.
#[test]
fn what_a_label_names_is_unpacked_where_it_was_packed() {
    for agent in [Agent::Up, Agent::Stopped] {
        let mut env = Env::following_one_path();
        let current = env.path("current");
        env.set("log:app", "path", &current);
        env.write_lines("current", 0..100);
        env.start();
        env.expect_lines(&lines(0..100));
        agent.meanwhile(&mut env, |env| {
            for round in 1..4 {
                env.write_lines("current", round * 100..round * 100 + 50);
                env.rename("current", "packing");
                env.write_lines("current", round * 100 + 50..round * 100 + 100);
                env.gzip("packing");
                let label = format!("@400000006929{round:04}12345678.s");
                env.rename("packing.gz", &label);
            }
        });
        env.wait_for_records(400);
        env.stop();
        env.start();
        env.stop();
        // Where rotations follow on each other at once, what is packed may be seen after what was written later.
        let (mut sent, mut expected) = (env.broker.values(TOPIC), lines(0..400));
        sent.sort();
        expected.sort();
        assert_eq!(sent, expected);
        assert_eq!(losses(&env.all_logs()).count(), 0);
    }
}

#[test]
fn where_what_is_missing_may_have_been_packed_is_said() {
    let mut env = Env::following_one_path();
    env.write_lines("app.log", 0..100);
    env.start();
    env.expect_lines(&lines(0..100));
    env.stop();
    env.write_lines("app.log", 100..200);
    env.rename("app.log", "app.log.1");
    pack(&env, "app.log.1", ".xz");
    env.write_lines("app.log", 200..210);
    env.start();
    env.wait_for_log(
        "app.log.1.xz' may hold it, and only .gz and .zst can be unpacked",
        SOON,
    );
    let expected = [lines(0..100), lines(200..210)].concat();
    env.stop_and_expect_lines(&expected);
}
