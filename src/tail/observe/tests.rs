//! Looks at folders in which things happen.

use super::*;
use crate::batch::Destination;
use crate::budget::Budget;
use crate::tail::discover::testing::section;
use crate::tail::forgetting::tests::shared;
use crate::tailer_handle::testing::handle;
use std::path::Path;
use std::sync::Arc;

/// The tailer of a path where a file lies.
fn tailer(path: &Arc<Path>) -> Tailer {
    tailer_that_knows(path, Vec::new())
}

fn tailer_that_knows(path: &Arc<Path>, checkpoints: Vec<Checkpoint>) -> Tailer {
    let stat = FileStat::at_path(path).unwrap();
    let log = section("app", &[], &[]);
    let destination = Destination {
        route: Arc::new(log.route(
            "host",
            crate::config::HeaderChoice {
                host: false,
                path: false,
                provenance: false,
            },
            Arc::default(),
        )),
        path: path.clone(),
    };
    let handle = handle();
    let account = Budget::new(1 << 20).route().account(handle.clone());
    Tailer::new(
        path.clone(),
        log,
        destination.into(),
        shared(checkpoints),
        account,
        handle,
        crossbeam_channel::unbounded().0,
        crossbeam_channel::unbounded().0,
        crossbeam_channel::never(),
        false,
        Some(stat),
    )
}

#[test]
fn what_is_truncated_and_written_anew_while_names_are_listed_is_looked_at_again() {
    let folder = tempfile::tempdir().unwrap();
    let path: Arc<Path> = folder.path().join("app.log").into();
    for (before, after, is_same) in [
        ("before\n", "after it\n", false),
        ("before\n", "", false),
        ("before\n", "before\nand more\n", true),
        ("", "after\n", false),
        ("", "", true),
    ] {
        std::fs::write(&path, before).unwrap();
        let mut tailer = tailer(&path);
        let mut found = Found::default();
        tailer.observe_current(&mut found).unwrap();
        std::fs::write(&path, after).unwrap();
        let is_as_seen = tailer.are_as_seen(&mut found).unwrap();
        assert_eq!(is_as_seen, is_same, "{before:?} {after:?}");
    }
}

#[test]
fn what_a_link_leads_to_that_is_not_followed_is_not_found_by_its_own_name() {
    let folder = tempfile::tempdir().unwrap();
    let path: Arc<Path> = folder.path().join("app.log").into();
    std::fs::write(folder.path().join("target"), "text\n").unwrap();
    std::os::unix::fs::symlink("target", &path).unwrap();
    let mut tailer = tailer(&path);
    let log = Arc::get_mut(&mut tailer.log).unwrap();
    log.follow_links = crate::config::FollowLinks::None;
    let found = tailer.observe(Look::Usual).unwrap();
    assert_eq!(found.seen.candidates.len(), 0);
    assert!(found.trouble.is_some());
}

#[test]
fn what_lies_beside_the_path_is_listed_after_the_path_was_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let path: Arc<Path> = folder.path().join("app.log").into();
    std::fs::write(&path, "before\n").unwrap();
    let stat = FileStat::at_path(&path).unwrap();
    let mut tailer = tailer(&path);
    // Another tailer of the same folder has just listed it, before the rotation. That listing is of no use.
    let index = &tailer.shared.folders;
    let listed = index.by_inode(folder.path(), stat.inode.inode, Instant::now());
    assert_eq!(listed.unwrap(), [path.to_path_buf()]);
    std::fs::rename(&path, folder.path().join("app.log.1")).unwrap();
    std::fs::write(&path, "after\n").unwrap();
    let found = tailer.observe(Look::Usual).unwrap();
    let mut candidates = found.seen.candidates.iter();
    assert!(candidates.any(|candidate| candidate.was_found_at_path));
}

/// What is known of a file that is followed at `path`, of which nothing was read.
fn known(path: &Arc<Path>, file: &Path, serial: u64) -> Checkpoint {
    let opened = LogFile::open(file, crate::config::FollowLinks::All).unwrap();
    let (begun, _) = fresh(path, &mut opened.unwrap().0, 0).unwrap();
    Checkpoint { serial, ..begun }
}

/// A file was rotated away and packed, which makes it known as a copy that was read, and removed, so that its number is
/// another file's by now; then the agent was killed before Kafka had it.
#[test]
fn a_packed_file_whose_number_was_handed_out_again_is_looked_for_in_its_archive() {
    let folder = tempfile::tempdir().unwrap();
    let path: Arc<Path> = folder.path().join("app.log").into();
    let (plain, packed) = (
        folder.path().join("app.log.1"),
        folder.path().join("app.log.1.gz"),
    );
    std::fs::write(&plain, "text\n".repeat(100)).unwrap();
    let mut original = known(&path, &plain, 1);
    let packing = std::process::Command::new("gzip").arg(&plain).status();
    assert!(packing.unwrap().success());
    let mut copy = known(&path, &packed, 2);
    let stat = FileStat::at_path(&packed).unwrap();
    copy.state = SourceState::Finished;
    copy.identity.inode = stat.inode;
    copy.identity.born_ns = 0;
    copy.modified_ns = stat.modified_ns;
    std::fs::write(&path, "next\n").unwrap();
    let other = folder.path().join("other.log.1");
    std::fs::write(&other, "somebody else's\n").unwrap();
    original.identity.inode = FileStat::at_path(&other).unwrap().inode;
    original.identity.born_ns = 1;
    let mut tailer = tailer_that_knows(&path, vec![original, copy]);
    let found = tailer.observe(Look::Usual).unwrap();
    let mut candidates = found.seen.candidates.iter();
    assert!(candidates.any(|candidate| candidate.matches.iter().any(|m| m.serial == 1)));
}

/// A file of 500 bytes is read up to a place, seen to its end, copied, truncated and perhaps written again, and then
/// opened: what it held is in the copy, and nothing of it is lost.
#[test]
fn what_is_copied_and_truncated_between_the_look_and_the_opening_is_read_on_in_the_copy() {
    for (read, now) in [
        (200, String::new()),
        (200, "other\n".repeat(20)),
        (200, "other\n".repeat(50)),
        (0, String::new()),
        (0, "other\n".repeat(50)),
    ] {
        let (lost, open) = opened_after_truncation(read, &now);
        let case = format!("{read} bytes read, {} bytes there now", now.len());
        assert_eq!(lost, [], "{case}");
        assert_eq!(open, [read, 0], "{case}");
    }
}

/// The end of a file is cut off, of which nothing was read: that is nowhere else.
#[test]
fn what_is_cut_off_between_the_look_and_the_opening_is_lost() {
    for read in [0, 200] {
        let (lost, open) = opened_after_truncation(read, &"text\n".repeat(60));
        assert_eq!(lost.len(), 1, "{read} bytes read");
        assert_eq!(open, [read], "{read} bytes read");
    }
}

/// What was lost, and where the open files are read on, after a file that was read up to `read` was copied and then
/// written over with `now` between the look and the opening.
fn opened_after_truncation(read: usize, now: &str) -> (Vec<crate::snapshot::Loss>, Vec<usize>) {
    let folder = tempfile::tempdir().unwrap();
    let path: Arc<Path> = folder.path().join("app.log").into();
    let text = "text\n".repeat(100);
    std::fs::write(&path, &text).unwrap();
    let known = Checkpoint {
        offset: read as u64,
        tail_checksum: crate::batch::TailChecksum::of(&text.as_bytes()[..read]),
        ..known(&path, &path, 1)
    };
    let mut tailer = tailer_that_knows(&path, vec![known]);
    let found = tailer.observe(Look::Usual).unwrap();
    let plan = crate::tail::plan::plan(&found.seen);
    std::fs::copy(&path, folder.path().join("app.log.1")).unwrap();
    std::fs::write(&path, now).unwrap();
    tailer.apply(found, plan).unwrap();
    tailer.sync().unwrap();
    let lost = tailer.shared.metrics.losses.all();
    let open = tailer.sources.iter();
    (lost, open.map(|source| source.position as usize).collect())
}

/// A tailer of a log that holds `text`, all of which was read.
fn tailer_that_has_read(path: &Arc<Path>, text: &str) -> Tailer {
    std::fs::write(path, text).unwrap();
    let read = Checkpoint {
        offset: text.len() as u64,
        tail_checksum: crate::batch::TailChecksum::of(text.as_bytes()),
        ..known(path, path, 1)
    };
    let mut tailer = tailer_that_knows(path, vec![read]);
    tailer.sync().unwrap();
    tailer
}

/// Reads wait, for memory, say. Meanwhile the log is copied and truncated twice; its last content is longer than what was
/// read of the first.
#[test]
fn what_was_never_seen_is_in_its_copy_though_what_followed_on_it_has_been_seen_and_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let path: Arc<Path> = folder.path().join("app.log").into();
    let rotate = |to: &str| {
        std::fs::copy(&path, folder.path().join(to)).unwrap();
        std::fs::File::create(&path).unwrap();
    };
    let first = "first\n".repeat(10);
    let mut tailer = tailer_that_has_read(&path, &first);
    assert!(!tailer.has_changed(false).unwrap());
    rotate("app.log.2");
    std::fs::write(&path, "second\n".repeat(10)).unwrap();
    rotate("app.log.1");
    // So that its time is a later one.
    std::thread::sleep(Duration::from_millis(100));
    std::fs::write(&path, "third\n".repeat(100)).unwrap();
    for _ in 0..2 {
        assert!(!tailer.has_changed(false).unwrap(), "it has only grown");
    }
    let seen = &tailer.observe(Look::Usual).unwrap().seen.open[0];
    assert_eq!((seen.verdict, seen.reached.size), (Verdict::Replaced, 60));
    tailer.sync().unwrap();
    let expected = [("app.log.2", 60), ("app.log.1", 0), ("app.log", 0)];
    assert_eq!(
        open_files(&tailer),
        expected.map(|(name, at)| (name.into(), at))
    );
}

/// A name that is listed and leads nowhere by the time it is looked at. Here it leads nowhere at any time.
#[test]
fn what_is_packed_while_names_are_looked_at_is_found_by_the_same_look() {
    let folder = tempfile::tempdir().unwrap();
    let path: Arc<Path> = folder.path().join("app.log").into();
    let plain = folder.path().join("app.log.1");
    std::fs::write(&plain, "text\n".repeat(100)).unwrap();
    let unread = known(&path, &plain, 1);
    let packing = std::process::Command::new("gzip").arg(&plain).status();
    assert!(packing.unwrap().success());
    std::os::unix::fs::symlink("nowhere", &plain).unwrap();
    std::fs::write(&path, "next\n").unwrap();
    let mut tailer = tailer_that_knows(&path, vec![unread]);
    let found = tailer.observe(Look::Usual).unwrap();
    assert!(found.is_moving);
    let matches = found.seen.candidates.iter().flat_map(|one| &one.matches);
    assert_eq!(matches.map(|one| one.serial).collect::<Vec<_>>(), [1]);
}

/// The log is copied and truncated twice after it was looked at, and before it is opened.
#[test]
fn what_came_while_files_were_opened_is_in_its_copy_though_what_followed_on_it_lies_there_by_then()
{
    for offset in [0, 6] {
        let folder = tempfile::tempdir().unwrap();
        let path: Arc<Path> = folder.path().join("app.log").into();
        let rotate = |to: &str| {
            std::fs::copy(&path, folder.path().join(to)).unwrap();
            std::fs::File::create(&path).unwrap();
        };
        let first = "first\n".repeat(10);
        std::fs::write(&path, &first).unwrap();
        let begun = Checkpoint {
            offset,
            size: first.len() as u64,
            tail_checksum: crate::batch::TailChecksum::of(&first.as_bytes()[..offset as usize]),
            ..known(&path, &path, 1)
        };
        let mut tailer = tailer_that_knows(&path, vec![begun]);
        let found = tailer.observe(Look::Usual).unwrap();
        let plan = crate::tail::plan::plan(&found.seen);
        rotate("app.log.2");
        std::fs::write(&path, "second\n".repeat(10)).unwrap();
        rotate("app.log.1");
        // So that its time is a later one.
        std::thread::sleep(Duration::from_millis(100));
        std::fs::write(&path, "third\n".repeat(100)).unwrap();
        tailer.apply(found, plan).unwrap();
        for _ in 0..2 {
            tailer.has_changed(false).unwrap();
        }
        tailer.sync().unwrap();
        let expected = [("app.log.2", offset), ("app.log.1", 0), ("app.log", 0)];
        assert_eq!(
            open_files(&tailer),
            expected.map(|(name, at)| (name.into(), at))
        );
    }
}

/// The files that are open, by their names, and from where they are read.
fn open_files(tailer: &Tailer) -> Vec<(std::ffi::OsString, u64)> {
    let sources = tailer.sources.iter();
    let named = sources.map(|source| {
        let name = source.opened_path.file_name().unwrap();
        (name.to_owned(), source.position)
    });
    named.collect()
}

/// An overlay copies a file up when it is first written to.
#[test]
fn a_file_with_the_same_number_and_content_and_another_birth_is_read_on() {
    let folder = tempfile::tempdir().unwrap();
    let path: Arc<Path> = folder.path().join("app.log").into();
    let first = "first\n".repeat(10);
    let mut tailer = tailer_that_has_read(&path, &first);
    let born_ns = tailer.sources[0].checkpoint.identity.born_ns;
    let serial = tailer.sources[0].checkpoint.serial;
    for (content, expected) in [(first.as_str(), (true, 60)), ("other\n", (false, 0))] {
        tailer.sources[0].checkpoint.identity.born_ns = born_ns - 1;
        std::fs::write(&path, content.repeat(2)).unwrap();
        tailer.sync().unwrap();
        let newest = tailer.sources.back().unwrap();
        let identity = &newest.checkpoint.identity;
        let is_read_on = newest.checkpoint.serial == serial;
        assert_eq!((is_read_on, newest.position), expected);
        assert_eq!(identity.born_ns, born_ns);
    }
}
