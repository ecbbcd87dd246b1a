//! The watcher as a whole, on real folders.

use std::collections::HashSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, unbounded};
use inotify::WatchMask;
use tempfile::TempDir;

use super::entries::MOST_UNCLAIMED;
use super::*;
use crate::config::LogConfig;
use crate::tail::discover::testing::section;
use crate::tail::discover::{Discovery, FoundPath};
use crate::tail::lanes::Lanes;
use crate::tailer_handle::testing::handle;

const SOON: Duration = Duration::from_secs(10);

/// A running watcher, and what it found.
struct Watching {
    folder: TempDir,
    watches: Arc<Watches>,
    first: Vec<FoundPath>,
    found: Receiver<FoundPath>,
    thread: Option<JoinHandle<()>>,
}

impl Watching {
    /// Makes `files`, then watches the sections that `logs` gives for the folder.
    fn start(
        files: &[&str],
        logs: impl FnOnce(&dyn Fn(&str) -> String) -> Vec<Arc<LogConfig>>,
    ) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let at = |name: &str| format!("{}/{name}", folder.path().display());
        for file in files {
            write(Path::new(&at(file)));
        }
        let discovery = Discovery::new(&logs(&at), Path::new("/nonexistent/state"));
        let (sender, found) = unbounded();
        let lanes = Lanes::new(|words| panic!("{words}"));
        let (watcher, first) = Watcher::new(
            Arc::new(discovery),
            lanes,
            sender,
            HashSet::new(),
            None,
            Duration::ZERO,
        )
        .expect("is made");
        let watches = watcher.watches();
        let thread = Some(std::thread::spawn(move || watcher.run()));
        let first = first.recv_timeout(SOON).expect("a first look").found;
        let watching = Watching {
            folder,
            watches,
            first,
            found,
            thread,
        };
        for found in &watching.first {
            watching.watches.register(found.path.clone(), handle());
        }
        watching
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The next file that is found, which is followed from then on, and its section.
    fn next(&self) -> (String, String) {
        let found = loop {
            let found = self.found.recv_timeout(SOON).expect("a file is found");
            // One may be found twice before it is followed.
            if !self.watches.is_followed(&found.path) {
                break found;
            }
        };
        self.watches.register(found.path.clone(), handle());
        let path = found.path.strip_prefix(self.folder.path());
        let path = path.expect("it lies in the folder").display().to_string();
        (path, found.log.name.clone())
    }

    /// What was there at the start, with the sections.
    fn first(&self) -> Vec<(String, String)> {
        let name = |found: &FoundPath| {
            let path = found.path.strip_prefix(self.folder.path());
            let path = path.expect("it lies in the folder").display().to_string();
            (path, found.log.name.clone())
        };
        let mut all: Vec<_> = self.first.iter().map(name).collect();
        all.sort();
        all
    }

    /// Waits until the table holds this many watched folders and followed paths.
    fn wait_for_entries(&self, folders: usize, paths: usize) {
        let end = Instant::now() + SOON;
        loop {
            let table = self.watches.table();
            let entries = (
                table.watched_folders.len(),
                table.folders.len(),
                table.paths.len(),
            );
            drop(table);
            if entries == (folders, folders, paths) {
                return;
            }
            assert!(
                Instant::now() < end,
                "{entries:?}, expected {folders}, {paths}"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.watches.stop();
        let thread = self.thread.take().expect("it runs");
        if thread.join().is_err() && !std::thread::panicking() {
            panic!("the watcher has panicked");
        }
    }
}

fn write(path: &Path) {
    fs::create_dir_all(path.parent().expect("has one")).expect("is made");
    fs::write(path, "x\n").expect("is written");
}

fn named(path: &str, section: &str) -> (String, String) {
    (path.to_owned(), section.to_owned())
}

#[test]
fn files_and_folders_that_appear_are_found_at_once() {
    let watching = Watching::start(&["a.log", "x/b.log"], |at| {
        vec![section("all", &[&at("**/*.log")], &[])]
    });
    assert_eq!(
        watching.first(),
        [named("a.log", "all"), named("x/b.log", "all")]
    );
    let start = Instant::now();
    write(&watching.at("x/c.log"));
    assert_eq!(watching.next(), named("x/c.log", "all"));
    write(&watching.at("y/z/d.log"));
    assert_eq!(watching.next(), named("y/z/d.log", "all"));
    fs::create_dir(watching.at("away")).expect("is made");
    write(&watching.at("away/e.log"));
    assert_eq!(watching.next(), named("away/e.log", "all"));
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn what_one_section_excludes_another_one_has_at_once() {
    let watching = Watching::start(&[], |at| {
        vec![
            section("all", &[&at("*.log")], &[&at("audit.log")]),
            section("audit", &[&at("audit.log")], &[]),
        ]
    });
    let start = Instant::now();
    write(&watching.at("audit.log"));
    assert_eq!(watching.next(), named("audit.log", "audit"));
    write(&watching.at("web.log"));
    assert_eq!(watching.next(), named("web.log", "all"));
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn a_folder_that_goes_and_comes_back_is_watched_again() {
    // Another section watches the folder that it lies in, for other reasons.
    let watching = Watching::start(&["x/y/a.log"], |at| {
        vec![
            section("one", &[&at("x/y/*.log")], &[]),
            section("other", &[&at("x/*.txt")], &[]),
        ]
    });
    assert_eq!(watching.first(), [named("x/y/a.log", "one")]);
    for round in 0..2 {
        fs::rename(watching.at("x/y"), watching.at(&format!("away{round}"))).expect("is renamed");
        write(&watching.at(&format!("x/y/{round}.log")));
        assert_eq!(watching.next(), named(&format!("x/y/{round}.log"), "one"));
    }
    fs::remove_dir_all(watching.at("x")).expect("is removed");
    write(&watching.at("x/y/last.log"));
    assert_eq!(watching.next(), named("x/y/last.log", "one"));
}

#[test]
fn a_link_to_a_folder_that_appears_is_followed_but_not_below_two_stars() {
    let watching = Watching::start(&["far/a.log"], |at| {
        vec![
            section("one", &[&at("x/*/*.log")], &[]),
            section("deep", &[&at("y/**/*.log")], &[]),
        ]
    });
    fs::create_dir_all(watching.at("y")).expect("is made");
    fs::create_dir_all(watching.at("x")).expect("is made");
    write(&watching.at("y/b.log"));
    assert_eq!(watching.next(), named("y/b.log", "deep"));
    std::os::unix::fs::symlink("../far", watching.at("y/circle")).expect("is made");
    std::os::unix::fs::symlink("..", watching.at("y/up")).expect("is made");
    std::os::unix::fs::symlink("../far", watching.at("x/link")).expect("is made");
    assert_eq!(watching.next(), named("x/link/a.log", "one"));
}

#[test]
fn nothing_is_kept_of_files_and_folders_that_have_gone() {
    const PODS: usize = 300;
    let watching = Watching::start(&["a.log"], |at| {
        vec![section("all", &[&at("**/*.log")], &[])]
    });
    watching.wait_for_entries(1, 1);
    for pod in 0..PODS {
        write(&watching.at(&format!("pod{pod}/c/{pod}.log")));
    }
    // A file may be found twice before it is followed.
    let mut paths = HashSet::new();
    while paths.len() < PODS {
        paths.insert(watching.at(&watching.next().0));
    }
    watching.wait_for_entries(1 + 2 * PODS, 1 + PODS);
    for pod in 0..PODS {
        fs::remove_dir_all(watching.at(&format!("pod{pod}"))).expect("is removed");
    }
    paths
        .iter()
        .for_each(|path| watching.watches.unregister(path));
    watching.wait_for_entries(1, 1);
    let table = watching.watches.table();
    assert!(
        table.paths.capacity() < PODS / 2,
        "{}",
        table.paths.capacity()
    );
    assert!(table.unclaimed.line.len() <= MOST_UNCLAIMED);
    assert!(table.files.is_empty() && table.targets.is_empty() && table.links.is_empty());
}

#[test]
fn a_file_that_was_forgotten_is_found_again_when_it_is_reconsidered() {
    let watching = Watching::start(&["a.log"], |at| vec![section("all", &[&at("*.log")], &[])]);
    let path: Arc<Path> = watching.at("a.log").into();
    watching.watches.unregister(&path);
    watching.watches.reconsider(path.clone());
    assert_eq!(watching.next(), named("a.log", "all"));
}

#[test]
fn an_event_that_comes_before_its_watch_is_entered_is_not_missed() {
    let watching = Watching::start(&["a.log"], |_| {
        vec![section("none", &["/nonexistent/*"], &[])]
    });
    let path = watching.at("a.log");
    // Added by somebody who has not entered it yet.
    let mask = WatchMask::MODIFY | WatchMask::ATTRIB;
    let mut watches = watching
        .watches
        .inotify
        .clone()
        .expect("inotify is to be had");
    let early = watches.add(&path, mask).expect("is added");
    fs::write(&path, "more\n").expect("is written");
    let end = Instant::now() + SOON;
    while !watching.watches.table().unclaimed.known.contains(&early) {
        assert!(Instant::now() < end, "the event has come");
        std::thread::yield_now();
    }
    let tailer = handle();
    let file = File::open(&path).expect("is there");
    let watch = watching.watches.watch_file(&file, &path, &tailer);
    assert!(watch.is_some() && tailer.clear());
    fs::write(&path, "more\n").expect("is written");
    assert!(tailer.wait(SOON));
}

#[test]
fn watches_that_come_and_go_at_the_same_time_all_work() {
    let watching = Watching::start(&["a.log"], |_| {
        vec![section("none", &["/nonexistent/*"], &[])]
    });
    let path = watching.at("a.log");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let file = File::open(&path).expect("is there");
                for _ in 0..300 {
                    let tailer = handle();
                    let watch = watching.watches.watch_file(&file, &path, &tailer);
                    assert!(watch.is_some());
                    // Each sees what itself does.
                    let times = fs::FileTimes::new().set_modified(std::time::SystemTime::now());
                    file.set_times(times).expect("are set");
                    assert!(tailer.wait(SOON), "a watch is dead");
                }
            });
        }
    });
    assert!(watching.watches.table().files.is_empty());
}

#[test]
fn the_first_look_comes_to_its_end_while_names_change_all_the_time() {
    const FILES: usize = 400;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |file: usize, end: &str| folder.path().join(format!("{file}.log{end}"));
    (0..FILES).for_each(|file| write(&path(file, "")));
    let glob = folder.path().join("*.log").display().to_string();
    let discovery = Discovery::new(
        &[section("app", &[&glob], &[])],
        Path::new("/nonexistent/state"),
    );
    let (watcher, first) = Watcher::new(
        Arc::new(discovery),
        Lanes::new(|words| panic!("{words}")),
        unbounded().0,
        HashSet::new(),
        None,
        Duration::ZERO,
    )
    .expect("is made");
    let watches = watcher.watches();
    let is_over = AtomicBool::new(false);
    let first = std::thread::scope(|scope| {
        for part in 0..2 {
            let (is_over, path) = (&is_over, &path);
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    for file in (part..FILES).step_by(2) {
                        let (name, rotated) = (path(file, ""), path(file, ".1"));
                        fs::rename(&name, &rotated).expect("is renamed");
                        fs::rename(&rotated, &name).expect("is renamed");
                    }
                }
            });
        }
        let thread = std::thread::spawn(move || watcher.run());
        let first = first.recv_timeout(SOON);
        is_over.store(true, Ordering::Relaxed);
        watches.stop();
        thread.join().expect("it ends");
        first
    });
    assert_eq!(first.expect("a first look").found.len(), FILES);
}
