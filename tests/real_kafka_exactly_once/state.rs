//! The state folder is lost, full or old. Its positions are in the topic too.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use super::harm::run;
use super::{append, exactly_once, expect_once, expect_success, kills};
use crate::support::env::{SOON, wait_until};
use crate::support::kafka::RealKafka;

#[test]
fn no_line_is_missing_or_there_twice_after_the_state_folder_was_deleted() {
    run(&RealKafka::current(), "once-lost", kills(), |env, _, n| {
        env.start();
        thread::sleep(Duration::from_millis(u64::from(n * 397 % 700 + 200)));
        let folder = env.state_dir();
        let delete = || fs::remove_dir_all(&folder).expect("the state folder");
        // Under the agent, or while none runs.
        if n.is_multiple_of(2) {
            delete();
            thread::sleep(Duration::from_millis(500));
            env.kill();
        } else {
            env.kill();
            delete();
        }
    });
}

/// The state folder is on a disk of its own that is full before the agent starts, or while it runs. When the disk is
/// gone, what was in the folder before is there, and old. It takes root's rights to mount one.
#[test]
fn no_line_is_missing_or_there_twice_when_the_disk_of_the_state_folder_is_full() {
    let here = tempfile::tempdir().expect("a temporary folder");
    if Disk::mount(here.path()).is_none() {
        println!("not tested: a disk cannot be mounted here");
        return;
    }
    run(&RealKafka::current(), "once-full", kills(), |env, _, n| {
        let disk = Disk::mount(&env.state_dir()).expect("was mounted before");
        let is_full_before = n.is_multiple_of(2);
        if is_full_before {
            disk.fill();
        }
        env.start();
        thread::sleep(Duration::from_millis(u64::from(n * 397 % 700 + 200)));
        disk.fill();
        thread::sleep(Duration::from_millis(500));
        env.kill();
        // On what a full disk has left of the positions.
        env.start();
        thread::sleep(Duration::from_millis(500));
        if !is_full_before {
            disk.make_room();
            thread::sleep(Duration::from_millis(500));
        }
        env.kill();
    });
}

/// Nothing of a log was committed when it was copied and truncated and the agent was killed. The next one commits lines of
/// another log only, and what it knows goes with them.
#[test]
fn a_copy_of_which_nothing_was_committed_is_read_from_its_beginning_after_the_state_folder_was_deleted()
 {
    let kafka = RealKafka::current();
    let (mut env, topic) = exactly_once(&kafka, "once-copy");
    let of = |file: &str| -> Vec<String> { (0..100).map(|n| format!("{file} {n}")).collect() };
    let (a, b) = (of("a"), of("b"));
    append(&env.log_dir().join("b.log"), &b);
    env.set("kafka", "commit_interval", "1m");
    env.start();
    // What was read is on its way, and nothing is committed.
    let is_there = || kafka.count(&topic) > 0;
    wait_until(SOON, is_there, || {
        "records that are not committed".to_owned()
    });
    env.copytruncate("b.log", "b.log.1");
    env.wait_for_log("b.log.1': device", SOON);
    wait_until(
        SOON,
        || env.positions().iter().any(|fields| fields[0] != "0"),
        || "the place of the copy".to_owned(),
    );
    env.kill();

    let both = env.path("?.log");
    let one = env.path("a.log");
    append(&env.log_dir().join("a.log"), &a);
    env.set("kafka", "commit_interval", "200ms")
        .set("log:app", "path", &one);
    expect_success(&env.run(&["run", "--once"]));
    fs::remove_dir_all(env.state_dir()).expect("the state folder");
    env.set("log:app", "path", &both);
    expect_success(&env.run(&["run", "--once"]));
    expect_once(&kafka, &topic, &[a, b].concat());
}

/// A small disk, until it is dropped.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: &Path) -> Option<Disk> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=64k", "logagent-test"]);
        let is_mounted = mount.arg(at).output().is_ok_and(|of| of.status.success());
        is_mounted.then(|| Disk(at.to_owned()))
    }

    fn fill(&self) {
        let mut file = File::create(self.0.join("filler")).expect("a file without bytes");
        let error = loop {
            if let Err(error) = file.write_all(&[0; 512]) {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::StorageFull);
    }

    fn make_room(&self) {
        fs::remove_file(self.0.join("filler")).expect("was filled");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}
