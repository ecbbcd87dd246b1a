//! Logs that an editor saves, and logs that move to another disk or come back from a backup.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;

use crate::support::env::{Env, SOON, TOPIC, lines, losses};
use crate::support::meanwhile::Agent;

/// How a program saves `text` over a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Save {
    /// `sed -i`, and vim without a backup: a new file takes the place of the old one.
    Replace,
    /// vim with `writebackup`: the old file becomes a backup, which is removed afterwards.
    BackupForAMoment,
    /// Emacs: the old file stays as a backup.
    Backup,
    /// nano, and vim where the file has more names: the same file, cut and written again.
    InPlace,
}

impl Save {
    const ALL: [Save; 4] = [
        Save::Replace,
        Save::BackupForAMoment,
        Save::Backup,
        Save::InPlace,
    ];

    fn save(self, env: &Env, text: &str) {
        let path = env.path("app.log");
        match self {
            Save::Replace => {
                fs::write(env.path("sedAbCdEf"), text).unwrap();
                env.rename("sedAbCdEf", "app.log");
            }
            Save::BackupForAMoment | Save::Backup => {
                env.rename("app.log", "app.log~");
                fs::write(&path, text).unwrap();
                if self == Save::BackupForAMoment {
                    env.remove("app.log~");
                }
            }
            Save::InPlace => fs::write(&path, text).unwrap(),
        }
    }
}

fn text_of(numbers: std::ops::Range<usize>) -> String {
    lines(numbers).join("\n") + "\n"
}

#[test]
fn a_log_that_an_editor_saves_goes_on_where_it_stood() {
    for save in Save::ALL {
        for agent in [Agent::Up, Agent::Stopped] {
            // A small log, and one of several KiB.
            for size in [20, 1000] {
                if (save, agent, size) == (Save::InPlace, Agent::Up, 20) {
                    // What is cut and begins again with a few lines counts as truncated.
                    continue;
                }
                let mut env = Env::following_one_path();
                env.write_lines("app.log", 0..size);
                env.start();
                env.expect_lines(&lines(0..size));
                // Saved as it was, and with lines added.
                // More than a page is there in parts at first, and a part of it is another file to everybody.
                let is_seen_in_parts = agent == Agent::Up && size == 1000 && save != Save::Replace;
                let save_whole = |env: &Env, text: &str| {
                    if is_seen_in_parts {
                        env.signal(Signal::STOP);
                    }
                    save.save(env, text);
                    if is_seen_in_parts {
                        env.signal(Signal::CONT);
                    }
                };
                agent.meanwhile(&mut env, |env| save_whole(env, &text_of(0..size)));
                env.write_lines("app.log", size..size + 5);
                env.expect_lines(&lines(0..size + 5));
                let text = text_of(0..size + 10);
                agent.meanwhile(&mut env, |env| save_whole(env, &text));
                env.write_lines("app.log", size + 10..size + 15);
                println!("{save:?}, {agent:?}, {size} lines");
                env.stop_and_expect_lines(&lines(0..size + 15));
                assert_eq!(losses(&env.all_logs()).count(), 0);
            }
        }
    }
}

#[test]
fn sed_itself_saves_a_log_that_goes_on_where_it_stood() {
    for agent in Agent::ALL {
        let mut env = Env::following_one_path();
        env.write_lines("app.log", 0..20);
        env.start();
        env.expect_lines(&lines(0..20));
        agent.meanwhile(&mut env, |env| {
            let sed = Command::new("sed")
                .args(["-i", "$ a line 20", &env.path("app.log")])
                .status();
            assert!(sed.unwrap().success());
        });
        env.write_lines("app.log", 21..30);
        env.stop_and_expect_lines(&lines(0..30));
    }
}

#[test]
fn a_log_that_an_editor_has_changed_is_a_new_file() {
    for save in Save::ALL {
        for agent in [Agent::Up, Agent::Stopped] {
            let mut env = Env::following_one_path();
            env.write_lines("app.log", 0..20);
            env.start();
            env.expect_lines(&lines(0..20));
            agent.meanwhile(&mut env, |env| save.save(env, &text_of(5..25)));
            let expected = [lines(0..20), lines(5..25)].concat();
            println!("{save:?}, {agent:?}");
            env.expect_lines(&expected);
            env.write_lines("app.log", 25..30);
            env.stop_and_expect_lines(&[expected, lines(25..30)].concat());
        }
    }
}

/// How a tool copies files so that they are new inodes of the same content and times.
fn copy(tool: &str, from: &Path, to: &Path) {
    if tool == "cp -a" {
        let done = Command::new("cp").args(["-a"]).args([from, to]).status();
        assert!(done.unwrap().success());
        return;
    }
    // rsync: a hidden file beside the target, which then takes its name; without `-t` the times are new.
    fs::create_dir(to).unwrap();
    let mut names: Vec<_> = fs::read_dir(from).unwrap().flatten().collect();
    names.sort_by_key(fs::DirEntry::file_name);
    for entry in names {
        let hidden = to.join(format!(".{}.Xy12Zz", entry.file_name().display()));
        fs::copy(entry.path(), &hidden).unwrap();
        fs::rename(&hidden, to.join(entry.file_name())).unwrap();
    }
}

/// A log with two rotated files, one of them packed, of which all is read.
fn rotated(env: &mut Env) {
    env.make_folder("disk");
    env.write_lines("disk/app.log", 0..100);
    env.start();
    env.expect_lines(&lines(0..100));
    env.rename("disk/app.log", "disk/app.log.1");
    env.write_lines("disk/app.log", 100..110);
    env.expect_lines(&lines(0..110));
    env.gzip("disk/app.log.1");
    env.rename("disk/app.log.1.gz", "disk/app.log.2.gz");
    env.rename("disk/app.log", "disk/app.log.1");
    env.write_lines("disk/app.log", 110..120);
    env.expect_lines(&lines(0..120));
}

#[test]
fn a_log_that_moves_to_another_disk_goes_on_where_it_stood() {
    for tool in ["cp -a", "rsync"] {
        for agent in Agent::ALL {
            let disk = tempfile::tempdir_in("/dev/shm").expect("another file system");
            let disk = disk.path().join("disk");
            let mut env = Env::new();
            let path = env.path("current/app.log");
            env.set("log:app", "path", &path);
            env.symlink("disk", "current");
            rotated(&mut env);
            println!("{tool}, {agent:?}");
            agent.meanwhile(&mut env, |env| {
                // The writer stands still while the files are copied, and has written something since it was read.
                env.write_lines("disk/app.log", 120..125);
                copy(tool, &env.log_dir().join("disk"), &disk);
                std::os::unix::fs::symlink(&disk, env.path("next")).unwrap();
                env.rename("next", "current");
                env.write_lines("current/app.log", 125..130);
            });
            env.expect_lines(&lines(0..130));
            fs::remove_dir_all(env.path("disk")).unwrap();
            env.rename("current/app.log", "current/app.log.0");
            env.write_lines("current/app.log", 130..140);
            env.stop_and_expect_lines(&lines(0..140));
            assert_eq!(losses(&env.all_logs()).count(), 0);
        }
    }
}

#[test]
fn logs_that_come_back_from_a_backup_go_on_where_they_stood() {
    for tool in ["cp -a", "rsync"] {
        let mut env = Env::new();
        let path = env.path("disk/app.log");
        env.set("log:app", "path", &path);
        rotated(&mut env);
        env.stop();
        env.write_lines("disk/app.log", 120..125);
        let (disk, backup) = (env.log_dir().join("disk"), env.log_dir().join("backup"));
        copy(tool, &disk, &backup);
        fs::remove_dir_all(&disk).unwrap();
        copy(tool, &backup, &disk);
        env.start();
        env.expect_lines(&lines(0..125));
        env.write_lines("disk/app.log", 125..130);
        env.stop_and_expect_lines(&lines(0..130));
        // A backup from before the last lines: they are gone, and what is written next is read.
        env.start();
        fs::remove_dir_all(&backup).unwrap();
        copy(tool, &disk, &backup);
        env.write_lines("disk/app.log", 130..140);
        env.expect_lines(&lines(0..140));
        env.stop();
        fs::remove_dir_all(&disk).unwrap();
        copy(tool, &backup, &disk);
        env.write_lines("disk/app.log", 140..150);
        env.start();
        env.broker.wait_until(SOON, "the last line", |broker| {
            broker.values(TOPIC).iter().any(|line| line == "line 149")
        });
        env.stop();
        let values = env.broker.values(TOPIC);
        let last: Vec<String> = values[values.len() - 10..].to_vec();
        assert_eq!(last, lines(140..150));
    }
}

#[test]
fn a_save_while_lines_are_on_their_way_loses_and_repeats_nothing() {
    let mut env = Env::following_one_path();
    env.write_lines("app.log", 0..20);
    env.start();
    env.expect_lines(&lines(0..20));
    env.broker.down(1);
    env.write_lines("app.log", 20..30);
    env.wait_for_checkpoint_with_the_size_of("app.log");
    Save::Replace.save(&env, &text_of(0..40));
    let mut writer = env.open("app.log");
    writer.write_all(text_of(40..50).as_bytes()).unwrap();
    env.broker.up(1);
    env.stop_and_expect_lines(&lines(0..50));
}
