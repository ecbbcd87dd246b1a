//! Stops, kills and starts: nothing is missing, and after an orderly stop nothing comes twice.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::env::{
    Env, SOON, TOPIC, assert_at_least_once, assert_same_lines, lines, wait_until,
};

#[test]
fn after_an_orderly_stop_nothing_is_missing_and_nothing_comes_twice() {
    let mut env = Env::new();
    for round in 0..4 {
        env.write_lines("app.log", round * 100..round * 100 + 50);
        env.start();
        env.write_lines("app.log", round * 100 + 50..(round + 1) * 100);
        env.wait_for_records(round * 100 + 50);
        env.stop();
    }
    env.start();
    env.stop_and_expect_lines(&lines(0..400));
}

#[test]
fn a_stop_in_the_middle_of_a_line_neither_cuts_nor_repeats_it() {
    let mut env = Env::new();
    env.append("app.log", "line 0\nline");
    env.start();
    env.wait_for_records(1);
    env.stop();
    env.append("app.log", " 1\n");
    env.start();
    env.stop_and_expect_lines(&lines(0..2));
}

#[test]
fn an_interrupt_is_an_orderly_stop_too() {
    let mut env = Env::new();
    env.write_lines("app.log", 0..100);
    env.start();
    env.wait_for_records(100);
    env.signal(Signal::INT);
    assert_eq!(env.wait_exit(SOON).code, Some(0));
    env.start();
    env.write_lines("app.log", 100..200);
    env.stop_and_expect_lines(&lines(0..200));
}

#[test]
fn killed_again_and_again_nothing_is_missing() {
    let mut env = Env::new();
    env.set("kafka", "batch_bytes", "1KiB");
    let written = AtomicUsize::new(0);
    let path = env.path("app.log");
    thread::scope(|scope| {
        scope.spawn(|| {
            for step in 0..200 {
                let text = lines(step * 20..(step + 1) * 20).join("\n") + "\n";
                let mut file = fs::OpenOptions::new()
                    .append(true)
                    .create(true)
                    .open(&path)
                    .unwrap();
                std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
                written.fetch_add(20, Ordering::Relaxed);
                thread::sleep(Duration::from_millis(2));
            }
        });
        for _ in 0..5 {
            let before = env.broker.count(TOPIC);
            env.start();
            wait_until(
                SOON,
                || env.broker.count(TOPIC) > before || written.load(Ordering::Relaxed) == 4000,
                || "something to be sent".to_owned(),
            );
            env.kill();
        }
    });
    env.start();
    env.broker.wait_until(SOON, "the last line", |broker| {
        broker.values(TOPIC).iter().any(|line| line == "line 3999")
    });
    env.stop();
    assert_at_least_once(&lines(0..4000), &env.broker.values(TOPIC));
}

#[test]
fn a_kill_after_the_checkpoint_was_written_repeats_nothing() {
    let mut env = Env::new();
    env.write_lines("app.log", 0..100);
    env.start();
    env.expect_lines(&lines(0..100));
    env.wait_for_checkpoint_at_the_end_of("app.log");
    env.kill();
    env.start();
    env.write_lines("app.log", 100..200);
    env.stop_and_expect_lines(&lines(0..200));
}

#[test]
fn what_was_never_acknowledged_is_sent_again_after_a_kill() {
    let mut env = Env::new();
    env.broker.stop_reading(1);
    env.write_lines("app.log", 0..100);
    env.start();
    env.broker
        .wait_until(SOON, "a connection", |broker| broker.accepted(1) > 0);
    env.kill();
    env.broker.heal();
    env.start();
    env.broker.wait_until(SOON, "the last line", |broker| {
        broker.values(TOPIC).iter().any(|line| line == "line 99")
    });
    env.stop();
    assert_at_least_once(&lines(0..100), &env.broker.values(TOPIC));
}

#[test]
fn a_file_that_was_rotated_while_it_was_down_is_finished_first() {
    let mut env = Env::following_one_path();
    env.write_lines("app.log", 0..100);
    env.start();
    env.expect_lines(&lines(0..100));
    env.stop();
    env.write_lines("app.log", 100..150);
    env.rename("app.log", "app.log.1");
    env.write_lines("app.log", 150..200);
    env.start();
    env.stop_and_expect_lines(&lines(0..200));
}

#[test]
fn several_files_that_were_rotated_while_it_was_down_are_sent_oldest_first() {
    let mut env = Env::following_one_path();
    env.write_lines("app.log", 0..100);
    env.start();
    env.expect_lines(&lines(0..100));
    env.stop();
    env.write_lines("app.log", 100..150);
    env.rename("app.log", "app.log.3");
    for (name, numbers) in [
        ("app.log.2", 150..200),
        ("app.log.1", 200..250),
        ("app.log", 250..300),
    ] {
        // The order of rotation is that of the last changes; file systems count in ticks.
        thread::sleep(Duration::from_millis(15));
        env.write_lines(name, numbers);
    }
    env.start();
    env.stop_and_expect_lines(&lines(0..300));
}

#[test]
fn a_file_that_was_rotated_and_compressed_while_it_was_down_is_finished_first() {
    let mut env = Env::following_one_path();
    env.write_lines("app.log", 0..100);
    env.start();
    env.expect_lines(&lines(0..100));
    env.stop();
    env.write_lines("app.log", 100..150);
    env.rename("app.log", "app.log.1");
    env.gzip("app.log.1");
    env.write_lines("app.log", 150..200);
    env.start();
    env.stop_and_expect_lines(&lines(0..200));
}

#[test]
fn a_file_that_was_truncated_while_it_was_down_is_read_from_its_start() {
    let mut env = Env::new();
    env.write_lines("app.log", 0..100);
    env.start();
    env.expect_lines(&lines(0..100));
    env.stop();
    env.truncate("app.log");
    env.write_lines("app.log", 100..400);
    env.start();
    env.stop_and_expect_lines(&lines(0..400));
}

#[test]
fn every_copy_that_was_made_while_it_was_down_is_read() {
    let mut env = Env::new();
    env.write_lines("app.log", 0..100);
    env.start();
    env.wait_for_records(100);
    env.stop();
    env.write_lines("app.log", 100..110);
    env.copytruncate("app.log", "app.log.2");
    env.write_lines("app.log", 110..120);
    env.copytruncate("app.log", "app.log.1");
    env.write_lines("app.log", 120..130);
    env.start();
    env.stop_and_expect_lines(&lines(0..130));
}

#[test]
fn a_file_that_was_copied_and_then_renamed_while_it_was_down_comes_after_its_copy() {
    let mut env = Env::following_one_path();
    env.write_lines("app.log", 0..100);
    env.start();
    env.expect_lines(&lines(0..100));
    env.stop();
    env.write_lines("app.log", 100..110);
    env.copytruncate("app.log", "app.log.2");
    env.write_lines("app.log", 110..120);
    env.rename("app.log", "app.log.1");
    env.write_lines("app.log", 120..130);
    env.start();
    env.stop_and_expect_lines(&lines(0..130));
}

#[test]
fn a_file_that_was_rotated_while_it_was_down_needs_no_new_file_to_be_finished() {
    let mut env = Env::new();
    env.write_lines("app.log", 0..100);
    env.start();
    env.wait_for_records(100);
    env.stop();
    env.write_lines("app.log", 100..110);
    env.rename("app.log", "app.log.1");
    env.start();
    env.stop_and_expect_lines(&lines(0..110));
}

#[test]
fn a_file_that_was_replaced_while_it_was_down_is_another_file() {
    let mut env = Env::following_one_path();
    env.write_lines("app.log", 0..100);
    env.start();
    env.expect_lines(&lines(0..100));
    env.stop();
    // The new file is likely to get the inode of the old one.
    env.remove("app.log");
    env.write_lines("app.log", 100..400);
    env.start();
    env.stop_and_expect_lines(&lines(0..400));
}

#[test]
fn many_restarts_and_rotations_repeat_nothing() {
    let mut env = Env::following_one_path();
    env.set("log:app", "rotate_wait", "50ms");
    for round in 0..5 {
        for number in (1..round).rev() {
            env.rename(
                &format!("app.log.{number}"),
                &format!("app.log.{}", number + 1),
            );
        }
        if round > 0 {
            env.rename("app.log", "app.log.1");
        }
        env.write_lines("app.log", round * 10..round * 10 + 10);
        env.start();
        env.wait_for_records(round * 10 + 10);
        env.stop();
    }
    env.start();
    env.stop_and_expect_lines(&lines(0..50));
}

#[test]
fn a_second_instance_on_the_same_state_is_refused_and_told_who_is_there() {
    let mut env = Env::new();
    env.write_lines("app.log", 0..10);
    env.start();
    env.expect_lines(&lines(0..10));
    let pid = env.agent().pid();
    let second = env.run(&[]);
    assert_eq!(second.code, Some(1), "{}", second.stderr);
    assert!(
        second.stderr.contains(&pid.to_string()),
        "{}",
        second.stderr
    );
    env.write_lines("app.log", 10..20);
    env.stop_and_expect_lines(&lines(0..20));
}

#[test]
fn a_lock_that_a_killed_agent_left_does_not_matter() {
    let mut env = Env::new();
    env.start();
    env.write_lines("app.log", 0..10);
    env.expect_lines(&lines(0..10));
    // Else lines that are sent again would be counted for those that are still to come.
    env.wait_for_checkpoint_at_the_end_of("app.log");
    env.kill();
    env.start();
    env.write_lines("app.log", 10..20);
    env.wait_for_records(20);
    env.stop();
    assert_at_least_once(&lines(0..20), &env.broker.values(TOPIC));
}

#[test]
fn a_write_that_a_crash_has_cut_off_is_one_warning_and_no_damage() {
    let mut env = Env::new();
    env.write_lines("app.log", 0..100);
    env.start();
    env.expect_lines(&lines(0..100));
    env.stop();
    let mut file = fs::OpenOptions::new()
        .append(true)
        .open(env.checkpoints())
        .unwrap();
    std::io::Write::write_all(&mut file, b"1690 1690 64 4ef9\0\0\0\0").unwrap();
    env.start();
    env.write_lines("app.log", 100..200);
    env.expect_lines(&lines(0..200));
    let log = env.stop().stderr;
    let warnings = log
        .lines()
        .filter(|line| line.contains("was cut off by a crash"));
    assert_eq!(warnings.count(), 1, "{log}");
    assert!(
        !fs::read(env.checkpoints()).unwrap().contains(&0),
        "it is begun anew"
    );
}

#[test]
fn that_somebody_deletes_the_positions_of_a_running_agent_is_an_error_and_they_are_written_anew() {
    let mut env = Env::new();
    env.write_lines("app.log", 0..10);
    env.start();
    env.expect_lines(&lines(0..10));
    wait_until(
        SOON,
        || fs::remove_file(env.checkpoints()).is_ok(),
        || "positions that can be deleted".to_owned(),
    );
    env.write_lines("app.log", 10..20);
    env.wait_for_log(
        "ERROR checkpoints cannot be written: somebody has deleted",
        SOON,
    );
    env.wait_for_log("checkpoints are written again", SOON);
    env.kill();
    env.start();
    env.stop_and_expect_lines(&lines(0..20));
}

#[test]
fn a_state_folder_that_cannot_be_one_ends_the_agent_with_3() {
    for place in ["file", "file/below", "/proc/state"] {
        let mut env = Env::new();
        env.append("file", "");
        let folder = env.path(place);
        env.set("agent", "state_dir", &folder);
        env.write_lines("app.log", 0..10);
        let refused = env.run(&[]);
        assert_eq!(refused.code, Some(3), "{place}: {}", refused.stderr);
        assert!(
            refused.stderr.contains("set [agent] state_dir"),
            "{}",
            refused.stderr
        );
    }
}

#[test]
fn damaged_checkpoints_are_an_error_that_names_the_file() {
    for damage in ["emptied", "cut", "changed", "nonsense"] {
        let mut env = Env::new();
        env.write_lines("app.log", 0..100);
        env.start();
        env.expect_lines(&lines(0..100));
        env.stop();
        let mut bytes = fs::read(env.checkpoints()).unwrap();
        // In what the file was begun with: a crash may cut off what came after it.
        let begun = String::from_utf8_lossy(&bytes).find("\nend ").unwrap();
        match damage {
            "emptied" => bytes.clear(),
            "cut" => bytes.truncate(begun / 2),
            "changed" => bytes[begun / 2] ^= 0x01,
            _ => bytes = b"\0nonsense".repeat(50),
        }
        fs::write(env.checkpoints(), &bytes).unwrap();
        let refused = env.run(&[]);
        assert_eq!(refused.code, Some(3), "{damage}: {}", refused.stderr);
        let name = env.checkpoints().display().to_string();
        assert!(
            refused.stderr.contains(&name),
            "{damage}: {}",
            refused.stderr
        );
        assert_eq!(
            env.broker.count(TOPIC),
            100,
            "{damage}: nothing was sent again"
        );
        assert_eq!(
            fs::read(env.checkpoints()).unwrap(),
            bytes,
            "{damage}: the file is untouched"
        );
    }
}

#[test]
fn it_starts_without_a_broker_and_delivers_when_one_comes() {
    let mut env = Env::new();
    env.broker.down(1);
    env.write_lines("app.log", 0..100);
    env.start();
    let broker = env.broker.brokers();
    env.wait_for_log(&broker, SOON);
    assert!(env.agent().is_running());
    env.write_lines("app.log", 100..200);
    env.broker.up(1);
    env.stop_and_expect_lines(&lines(0..200));
}

#[test]
fn one_dead_bootstrap_broker_does_not_matter() {
    let cluster = crate::support::broker::Cluster::of(3);
    cluster.create_topic(TOPIC, 1);
    cluster.set_leader(TOPIC, 0, 3);
    cluster.down(1);
    let mut env = Env::with(cluster);
    env.write_lines("app.log", 0..100);
    env.start();
    env.stop_and_expect_lines(&lines(0..100));
}

#[test]
fn without_a_broker_a_stop_ends_within_the_deadline() {
    for hangs in [false, true] {
        let mut env = Env::new();
        if hangs {
            env.broker.stop_reading(1);
        } else {
            env.broker.down(1);
        }
        env.set("agent", "shutdown_timeout", "500ms");
        env.write_lines("app.log", 0..100);
        env.start();
        env.wait_for_log("app.log", SOON);
        let start = Instant::now();
        env.signal(Signal::TERM);
        env.wait_exit(Duration::from_millis(3000));
        let taken = start.elapsed();
        assert!(
            taken < Duration::from_millis(2500),
            "hangs {hangs}: {taken:?}"
        );

        if hangs {
            env.broker.heal();
        } else {
            env.broker.up(1);
        }
        env.start();
        env.broker.wait_until(SOON, "the last line", |broker| {
            broker.values(TOPIC).iter().any(|line| line == "line 99")
        });
        env.stop();
        assert_at_least_once(&lines(0..100), &env.broker.values(TOPIC));
    }
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut env = Env::new();
    env.broker.stop_answering(1);
    env.set("agent", "shutdown_timeout", "60s");
    env.write_lines("app.log", 0..100);
    env.start();
    env.broker
        .wait_until(SOON, "a connection", |broker| broker.accepted(1) > 0);
    env.signal(Signal::TERM);
    // Signals of one kind that come together are one signal: wait for the first to be seen.
    env.wait_for_log("stop", SOON);
    assert!(env.agent().is_running());
    // The same signal within a moment is the same request, so repeat it until it counts.
    wait_until(
        SOON,
        || {
            if env.agent().is_running() {
                env.signal(Signal::TERM);
            }
            !env.agent().is_running()
        },
        || "the agent has not ended".into(),
    );
}

#[test]
fn a_file_that_is_renamed_while_the_agent_starts_is_read_to_its_end() {
    let mut env = Env::new();
    // The rotated files are not finished, and finding them takes its time.
    env.set("log:app", "rotate_wait", "1m");
    for number in 0..500 {
        env.append(&format!("other-{number}.txt"), b"");
    }
    env.write_lines("app.log", 0..20);
    env.start();
    env.wait_for_records(20);
    env.stop();
    let mut written = 20;
    for round in 0..25 {
        env.start();
        // At another moment each time: while the tailer looks for the older files too.
        thread::sleep(Duration::from_millis(round / 2));
        env.write_lines("app.log", written..written + 10);
        for count in (1..=round).rev() {
            env.rename(
                &format!("app.log.{count}"),
                &format!("app.log.{}", count + 1),
            );
        }
        env.rename("app.log", "app.log.1");
        env.write_lines("app.log", written + 10..written + 20);
        written += 20;
        env.wait_for_records(written);
        env.stop();
    }
    assert_same_lines(&lines(0..written), &env.broker.values(TOPIC));
}

#[test]
fn the_readme_shows_how_the_positions_are_read() {
    let readme = fs::read_to_string("README.md").unwrap();
    let (_, program) = readme
        .split_once("    awk -F '[ ]' '")
        .expect("it is there");
    let (program, _) = program.split_once("' /var/lib").expect("it ends");
    let mut env = Env::new();
    env.write_lines("app.log", 0..10);
    env.write_lines("a  b %.log", 0..20);
    env.start();
    env.wait_for_records(30);
    env.write_lines("app.log", 10..200);
    env.wait_for_checkpoint_at_the_end_of("app.log");
    env.wait_for_checkpoint_at_the_end_of("a  b %.log");
    env.kill();
    let awk = std::process::Command::new("awk")
        .args(["-F", "[ ]", program])
        .arg(env.checkpoints())
        .output()
        .expect("awk runs");
    let mut shown: Vec<String> = String::from_utf8_lossy(&awk.stdout)
        .lines()
        .map(str::to_owned)
        .collect();
    shown.sort_unstable();
    let mut expected = ["app.log", "a  b %.log"].map(|name| {
        let (path, size) = (env.path(name), fs::metadata(env.path(name)).unwrap().len());
        format!("{size} {size} {}", path.replace('%', "%25"))
    });
    expected.sort_unstable();
    assert_eq!(shown, expected);
}
