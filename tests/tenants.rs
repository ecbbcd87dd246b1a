//! A topic for each tenant, by path and by what lines say: many of them, such as come and go, and one that fails.

use std::fs;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::broker::Cluster;
use crate::support::env::{Env, SOON};

const LONG: Duration = Duration::from_secs(60);

/// An agent that follows `TENANT/app.log`, to `t.TENANT`.
fn env_of_tenants() -> Env {
    let mut env = Env::with(Cluster::single());
    let path = env.path("{tenant}/{app}.log");
    env.set("log:app", "path", &path)
        .set("log:app", "topic", "t.{tenant}")
        .set("log:app", "key", "{tenant}-{app}");
    env
}

/// Resident memory in KiB.
fn resident_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    line.unwrap()
        .split_whitespace()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap()
}

#[test]
fn a_tenant_whose_topic_does_not_exist_holds_up_no_other() {
    const TENANTS: usize = 20;
    let mut env = env_of_tenants();
    env.broker.auto_create(None);
    for tenant in 1..TENANTS {
        env.broker.create_topic(&format!("t.n{tenant}"), 1);
    }
    env.set("agent", "memory_limit", "8MiB")
        .set("agent", "shutdown_timeout", "1s");
    // More than all of the memory, of the one that fails.
    let line = "x".repeat(1000) + "\n";
    env.make_folder("n0");
    env.append("n0/app.log", line.repeat(12_000));
    env.start();
    env.wait_for_log("topic 't.n0' is parked", SOON);
    for tenant in 1..TENANTS {
        env.make_folder(&format!("n{tenant}"));
        env.append(&format!("n{tenant}/app.log"), line.repeat(1000));
    }
    for tenant in 1..TENANTS {
        env.broker
            .wait_for_count(&format!("t.n{tenant}"), 1000, LONG);
    }
    assert_eq!(env.broker.count("t.n0"), 0);
    env.broker.create_topic("t.n0", 1);
    env.broker.wait_for_count("t.n0", 12_000, LONG);
    env.stop();
    env.broker.assert_clean();
}

#[test]
fn a_tenant_that_cannot_be_a_topic_as_it_is_is_told_with_the_topic_that_it_has() {
    let mut env = env_of_tenants();
    env.make_folder("shop fr$");
    env.append("shop fr$/app.log", "line\n");
    env.start();
    env.broker.wait_for_count("t.shop_fr_", 1, LONG);
    let path = env.path("shop fr$/app.log");
    env.wait_for_log(
        &format!("WARN  '{path}': topic 't.shop fr$' is written 't.shop_fr_'"),
        SOON,
    );
    env.stop();
}

#[test]
fn five_thousand_topics_that_come_and_go_leave_little_until_they_are_dropped() {
    const WAVE: usize = 250;
    let mut env = env_of_tenants();
    env.set("agent", "shutdown_timeout", "8s");
    env.start();
    let mut figures = Vec::new();
    for wave in 0..20 {
        for tenant in wave * WAVE..(wave + 1) * WAVE {
            env.make_folder(&format!("n{tenant}"));
            env.append(&format!("n{tenant}/app.log"), format!("of {tenant}\n"));
        }
        for tenant in wave * WAVE..(wave + 1) * WAVE {
            env.broker.wait_for_count(&format!("t.n{tenant}"), 1, LONG);
            fs::remove_dir_all(env.path(&format!("n{tenant}"))).unwrap();
        }
        let pid = env.agent().pid();
        figures.push(resident_kib(pid));
    }
    println!("resident KiB after each {WAVE} topics: {figures:?}");
    env.signal(Signal::TERM);
    let ended = env.wait_exit(LONG);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    for tenant in [0, 1234, 4999] {
        assert_eq!(
            env.broker.values(&format!("t.n{tenant}")),
            [format!("of {tenant}")]
        );
    }
    // A topic is known for ten minutes after its last batch: see the producer's tests for what is dropped then.
    let grown = figures[19].saturating_sub(figures[3]);
    assert!(
        grown < 40 << 10,
        "{grown} KiB for 4,000 topics: {figures:?}"
    );
}

#[test]
fn a_topic_for_each_of_five_thousand_names_in_one_file_takes_little_memory_for_each() {
    let mut env = Env::with(Cluster::single());
    env.set("log:app", "topic", "t.{json.id:none}")
        .set("log:app", "parse", "json");
    let wave = |wave: usize| -> String {
        let lines = (wave * 1000..(wave + 1) * 1000).map(|n| format!("{{\"id\":\"j{n}\"}}\n"));
        lines.collect()
    };
    env.start();
    let mut figures = Vec::new();
    for number in 0..5 {
        env.append("app.log", wave(number));
        for n in number * 1000..(number + 1) * 1000 {
            env.broker.wait_for_count(&format!("t.j{n}"), 1, LONG);
        }
        let pid = env.agent().pid();
        figures.push(resident_kib(pid));
    }
    println!("resident KiB after each 1,000 topics of one file: {figures:?}");
    env.stop();
    let grown = figures[4].saturating_sub(figures[0]);
    assert!(
        grown < 24 << 10,
        "{grown} KiB for 4,000 topics: {figures:?}"
    );
    env.broker.assert_clean();
}
