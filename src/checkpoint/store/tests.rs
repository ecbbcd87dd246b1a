//! The checkpoints file in every state that it can be met in.

mod crashes;
mod disk;
mod sample;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use self::sample::{as_read, checkpoint, events, moved, saved, sections, some, states};
use super::read::{ParsedFile, parse};
use super::*;
use crate::batch::TailChecksum;
use crate::identity::{FileIdentity, Fingerprint, Inode};
use crate::progress::{Marks, SourceState};

#[test]
fn what_is_written_is_loaded_again() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut store = Store::open(folder.path()).expect("opens");
    assert_eq!(store.load().expect("loads").checkpoints, vec![]);
    assert!(store.is_full() && !store.can_append());
    store.begin(&sections(), some().iter()).expect("begins");
    assert_eq!(store.load().expect("loads"), saved(&some()));
    for (event, state) in events().iter().zip(&states()[1..]) {
        assert!(!store.is_full() && store.can_append());
        store.append([event.entry()].into_iter()).expect("appends");
        assert!(!store.is_synced());
        assert_eq!(&store.load().expect("loads").checkpoints, state);
        store.sync().expect("syncs");
        assert!(store.is_synced());
        assert_eq!(&store.load().expect("loads").checkpoints, state);
    }
    store
        .begin(&sections(), some()[..1].iter())
        .expect("begins");
    assert_eq!(store.load().expect("loads"), saved(&some()[..1]));
    let mode = |name: &str| {
        let metadata = folder.path().join(name).metadata().expect("is there");
        metadata.permissions().mode() & 0o777
    };
    assert_eq!((mode("checkpoints"), mode("lock")), (0o600, 0o600));
}

#[test]
fn a_write_is_as_long_as_what_moved_and_the_file_at_most_twice_what_it_was() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let many = many();
    let mut store = Store::open(folder.path()).expect("opens");
    store.begin(&sections(), many.iter()).expect("begins");
    let size = || {
        fs::metadata(folder.path().join("checkpoints"))
            .expect("is there")
            .len()
    };
    let begun = size();
    let mut one = many[7].clone();
    let mut writes = 0;
    while !store.is_full() {
        let before = size();
        one = moved(&one, 1);
        store
            .append([Entry::Moved(&one)].into_iter())
            .expect("appends");
        assert!(size() - before < 80, "{} bytes", size() - before);
        // Most of them together: a hundred thousand writes take their time.
        let rest = std::iter::repeat_n(Entry::Moved(&one), 9999);
        store.append(rest).expect("appends");
        writes += 10_000;
    }
    assert!(
        (begun * 2..begun * 2 + 800_000).contains(&size()),
        "{} from {begun}",
        size()
    );
    assert!(writes > 100_000, "{writes}");
    store.begin(&sections(), many.iter()).expect("begins");
    assert_eq!(size(), begun);
}

/// A file with everything in it, and where its lines begin.
fn whole() -> (Vec<u8>, Vec<usize>) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut store = Store::open(folder.path()).expect("opens");
    store.begin(&sections(), some().iter()).expect("begins");
    let all = events();
    for (n, event) in all.iter().enumerate() {
        store.append([event.entry()].into_iter()).expect("appends");
        if n % 3 == 2 {
            store.sync().expect("syncs");
        }
    }
    let text = fs::read(folder.path().join("checkpoints")).expect("reads");
    let ends = text.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    let starts = [0].into_iter().chain(ends.map(|(at, _)| at + 1));
    let starts = starts.filter(|at| *at < text.len()).collect();
    (text, starts)
}

#[test]
fn every_cut_leaves_what_was_written_before_it_or_is_noticed() {
    let (text, starts) = whole();
    let states = states();
    assert_eq!(
        &parse(&text).expect("whole").saved.checkpoints,
        states.last().expect("some")
    );
    let text_of = |at: usize| String::from_utf8_lossy(&text[starts[at]..]).into_owned();
    let end = (0..starts.len())
        .find(|at| text_of(*at).starts_with("end "))
        .expect("has an end");
    for cut in 0..text.len() {
        // The newline belongs to its line.
        let lines = starts.iter().filter(|start| **start <= cut).count() - 1;
        if lines <= end {
            assert!(parse(&text[..cut]).is_err(), "cut at {cut}");
            continue;
        }
        let entries = (end + 1..lines)
            .filter(|at| !text_of(*at).starts_with("synced"))
            .count();
        let read = parse(&text[..cut]).expect("a crash can do that");
        assert_eq!(read.saved.checkpoints, states[entries], "cut at {cut}");
        assert_eq!(read.cut_bytes, cut - starts[lines], "cut at {cut}");
    }
}

#[test]
fn every_flipped_byte_and_every_missing_line_of_what_was_durable_is_noticed() {
    let (text, starts) = whole();
    let text_of = |at: &usize| String::from_utf8_lossy(&text[*at..]).into_owned();
    let last_sync = starts
        .iter()
        .rposition(|at| text_of(at).starts_with("synced"));
    let last_sync = last_sync.expect("was synced");
    assert!(last_sync + 1 < starts.len(), "something came after");
    let states = states();
    for at in 0..text.len() {
        for flip in [0x01, 0x80, 0xff, text[at] ^ b'\n', text[at] ^ b' '] {
            let mut damaged = text.clone();
            damaged[at] ^= flip;
            match parse(&damaged) {
                _ if flip == 0 => {}
                // The newline before the last mark is a part of it.
                Ok(ParsedFile { saved, cut_bytes }) => {
                    assert!(at >= starts[last_sync] - 1, "byte {at} flipped by {flip}");
                    assert!(cut_bytes > 0 && states[3..].contains(&saved.checkpoints));
                }
                Err(damage) => {
                    let whole = damage.whole_until.unwrap_or(0);
                    assert!(whole <= at, "byte {at}: {damage:?}");
                    assert!(whole == 0 || parse(&text[..whole]).is_ok());
                }
            }
        }
    }
    for pair in starts[..=last_sync].windows(2) {
        let without = [&text[..pair[0]], &text[pair[1]..]].concat();
        assert!(parse(&without).is_err(), "without the line at {}", pair[0]);
        let twice = [&text[..pair[1]], &text[pair[0]..]].concat();
        match parse(&twice) {
            // Nothing that was durable is left out.
            Ok(read) => assert!(pair[1] == starts[last_sync] && read.cut_bytes > 0),
            Err(damage) => assert!(damage.whole_until.is_none_or(|whole| whole == pair[1])),
        }
    }
    assert!(parse(&vec![0; text.len()]).is_err(), "zeroed");
    assert!(parse(b"").is_err(), "empty");
}

#[test]
fn damage_is_an_error_that_names_the_file_and_ways_out_that_work() {
    let (text, starts) = whole();
    let beside = || {
        let other = fuzz::written(&saved(&some()));
        [
            ("checkpoints.prev", other.clone()),
            ("checkpoints.new", other),
        ]
    };
    // In what it began with, and in what was added.
    for (at, is_cut) in [(40, false), (starts[8] + 3, true)] {
        let mut damaged = text.clone();
        damaged[at] ^= 1;
        let mut files = vec![("checkpoints", damaged)];
        files.extend(beside());
        let files: Vec<_> = files
            .iter()
            .map(|(name, bytes)| (*name, &bytes[..]))
            .collect();
        with_files(&files, |store| {
            let error = store.load().expect_err("is damaged").to_string();
            assert!(error.contains("/checkpoints' is damaged: line "), "{error}");
            assert_eq!(error.contains("truncate -s "), is_cut, "{error}");
            let commands: Vec<&str> = error
                .lines()
                .filter_map(|l| l.split_once(":  "))
                .map(|l| l.1)
                .collect();
            for command in &commands {
                fs::write(store.folder.join("checkpoints"), files[0].1).expect("writes");
                fs::write(store.folder.join("checkpoints.prev"), files[1].1).expect("writes");
                let status = std::process::Command::new("sh")
                    .args(["-c", command])
                    .status();
                assert!(status.expect("runs").success(), "{command}");
                store
                    .load()
                    .unwrap_or_else(|error| panic!("after {command}: {error}"));
            }
            assert_eq!(commands.len(), 2 + usize::from(is_cut), "{error}");
        });
    }
    for bytes in [&b""[..], &text[..100], &vec![0; text.len()]] {
        with_files(&[("checkpoints", bytes)], |store| {
            let error = store.load().expect_err("is damaged").to_string();
            assert!(error.contains("/checkpoints' is damaged: "), "{error}");
            assert!(error.contains("mv '") && error.contains("rm '"), "{error}");
        });
    }
}

#[test]
fn another_format_version_is_an_error_that_names_it() {
    for version in ["5", "10", "0"] {
        let text = format!("logagent checkpoints {version}\nwho knows");
        with_files(&[("checkpoints", text.as_bytes())], |store| {
            let error = store.load().expect_err("is not known").to_string();
            let words =
                format!("has format version '{version}', and this program reads versions 1 to 4\n");
            assert!(error.contains(&words), "{error}");
            assert!(error.contains("rm '"), "{error}");
        });
    }
}

#[test]
fn the_first_line_is_one_that_older_programs_name_the_version_of() {
    let (text, _) = whole();
    assert!(text.starts_with(b"logagent checkpoints 4\n"));
}

#[test]
fn a_new_state_folder_is_private() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let inner = folder.path().join("a/b");
    Store::open(&inner).expect("opens");
    assert_eq!(
        inner.metadata().expect("is there").permissions().mode() & 0o777,
        0o700
    );
}

/// Calls `check` in a folder with these files: name and bytes.
fn with_files(files: &[(&str, &[u8])], check: impl FnOnce(Store)) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, bytes) in files {
        fs::write(folder.path().join(name), bytes).expect("writes");
    }
    check(Store::open(folder.path()).expect("opens"));
}

#[test]
fn the_versions_before_are_read_and_become_the_new_one() {
    let expected = Checkpoint {
        path: Path::new("/a b\n.log").into(),
        identity: FileIdentity {
            inode: Inode {
                device: 66305,
                inode: 13,
            },
            born_ns: -2,
            fingerprint: Fingerprint {
                len: 9,
                hash: 0xdead_beef,
                steps: [0; 88],
            },
        },
        offset: 7,
        size: 7,
        tail_checksum: TailChecksum {
            len: 5,
            crc: 0x000a_0b0c,
        },
        marks: Marks::default(),
        tag: None,
        state: SourceState::Open,
        serial: 4,
        modified_ns: -5,
    };
    let versions = [
        (1, "", "", "", ""),
        (2, "", "8 ", "", ""),
        (3, "section app\nsection odd %C3%A4%25\n", "8 ", "- ", "- "),
    ];
    for (version, sections_text, size, steps, marks) in versions {
        let body = format!(
            "logagent checkpoints {version}\n{sections_text}7 {size}5 000a0b0c 66305 13 -2 9 00000000deadbeef {steps}open 4 -5 \
             {marks}/a b%0A.log\n"
        );
        let text = format!("{body}end 1 {:08x}\n", crc32c::crc32c(body.as_bytes()));
        let expected = Checkpoint {
            size: if version == 1 { 7 } else { 8 },
            ..expected.clone()
        };
        with_files(&[("checkpoints", text.as_bytes())], |mut store| {
            let loaded = store.load().expect("loads");
            assert_eq!(loaded.checkpoints, vec![expected]);
            let kept = (version == 3).then(sections);
            assert_eq!(loaded.sections, kept);
            store
                .begin(&sections(), loaded.checkpoints.iter())
                .expect("begins");
            let now = fs::read(store.folder.join("checkpoints")).expect("reads");
            assert!(now.starts_with(b"logagent checkpoints 4\n"));
            assert_eq!(store.load().expect("loads"), saved(&loaded.checkpoints));
        });
    }
}

#[test]
fn a_second_opening_names_the_holder() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let _first = Store::open(folder.path()).expect("opens");
    let error = Store::open(folder.path())
        .expect_err("is locked")
        .to_string();
    assert!(
        error.contains(&format!("in use by process {}", std::process::id())),
        "{error}"
    );
}

#[test]
fn whether_an_agent_came_to_its_end_is_known_to_the_next_whatever_was_rewound_between_them() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let open = || Store::open(folder.path()).expect("opens");
    let was_cut_off = || open().was_cut_off();
    assert!(!was_cut_off(), "no agent ran");
    let run = || {
        let mark = open().run_mark();
        mark.set();
        mark
    };
    run().clear();
    assert!(!was_cut_off());
    drop(run());
    // A rewind opens it, too.
    assert!(was_cut_off() && was_cut_off());
    let store = open();
    let mark = store.run_mark();
    mark.set();
    let error = Store::open(folder.path()).expect_err("is locked");
    let held = format!("in use by process {}\n", std::process::id());
    assert!(error.to_string().contains(&held), "{error}");
    drop(store);
    mark.clear();
    assert!(!was_cut_off());
    // Earlier versions said who they are, and no more.
    fs::write(folder.path().join("lock"), "4711\n").expect("is written");
    assert!(!was_cut_off());
}

fn many() -> Vec<Checkpoint> {
    let path = |n| format!("/var/log/app-{n}.log");
    (0..100_000)
        .map(|n| as_read(checkpoint(n, path(n).as_bytes())))
        .collect()
}

/// What this thread has used: others may be using the rest.
fn processor_time() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").expect("is there");
    let ns = text.split(' ').next().and_then(|ns| ns.parse().ok());
    Duration::from_nanos(ns.expect("a number"))
}

#[test]
fn a_hundred_thousand_sources_come_back_soon() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut store = Store::open(folder.path()).expect("opens");
    let mut many = many();
    store.begin(&sections(), many.iter()).expect("begins");
    // As many moves as it takes before it is begun anew.
    while !store.is_full() {
        for checkpoint in &mut many {
            *checkpoint = moved(checkpoint, 1);
        }
        store
            .append(many.iter().map(Entry::Moved))
            .expect("appends");
        store.sync().expect("syncs");
    }
    let size = fs::metadata(folder.path().join("checkpoints"))
        .expect("is there")
        .len();
    let (mut loaded, mut took) = (Vec::new(), Duration::MAX);
    // The best of some: the machine may be doing something else.
    for _ in 0..if cfg!(debug_assertions) { 1 } else { 5 } {
        let before = processor_time();
        loaded = store.load().expect("loads").checkpoints;
        took = took.min(processor_time() - before);
    }
    println!("100,000 sources are loaded from {size} bytes in {took:?}");
    let many: Vec<_> = many.into_iter().map(as_read).collect();
    assert!(loaded == many, "others");
    // The time counts where it counts.
    assert!(
        cfg!(debug_assertions) || took < Duration::from_millis(300),
        "{took:?}"
    );
}

#[test]
fn a_folder_of_another_user_is_not_to_be_replaced_by_an_empty_one() {
    use std::os::unix::fs::chown;

    let folder = tempfile::tempdir().expect("a temporary folder");
    let other = folder.path().join("state");
    fs::create_dir(&other).expect("is made");
    let denied = io::Error::from(io::ErrorKind::PermissionDenied);
    let said = writable(&other, &denied);
    assert!(said.starts_with("set [agent] state_dir"), "{said}");
    // Root may give a folder away; for others root's own is one.
    let other = match chown(&other, Some(65534), None) {
        Ok(()) => other,
        Err(_) => Path::new("/").to_owned(),
    };
    let said = writable(&other, &denied);
    assert!(said.contains("chown -R "), "{said}");
    let full = io::Error::from(io::ErrorKind::StorageFull);
    assert!(!writable(&other, &full).contains("chown"));
}
