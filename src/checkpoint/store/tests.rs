//! The checkpoints file in every state that it can be met in.

use super::*;
use std::os::unix::fs::PermissionsExt;

fn checkpoint(serial: u64, path: &[u8]) -> Checkpoint {
    Checkpoint {
        path: Path::new(OsStr::from_bytes(path)).into(),
        identity: Identity {
            inode: Inode {
                device: 66305,
                inode: 12 + serial,
            },
            born_ns: 1_750_000_000_123_456_789,
            fingerprint: match serial {
                2 => Fingerprint::of(path),
                _ => Fingerprint {
                    steps: [0; 88],
                    ..Fingerprint::of(path)
                },
            },
        },
        offset: if serial == 2 { 5 } else { 1 << 40 | serial },
        size: 1 << 41,
        trace: Trace::of(path),
        state: [
            SourceState::Open,
            SourceState::Finished,
            SourceState::Skipped,
        ][serial as usize % 3],
        marks: Marks::new(
            (1..=serial % 3)
                .map(|n| Mark {
                    offset: n * 1000,
                    trace: Trace::of(&n.to_le_bytes()),
                })
                .collect(),
        )
        .expect("is in order"),
        serial,
        modified_ns: -5,
    }
}

fn some() -> Vec<Checkpoint> {
    vec![
        checkpoint(1, b"/var/log/a b.log"),
        checkpoint(2, b"/odd/%41\n\xff\xc3\xa4 \t.log"),
        checkpoint(3, b"/"),
    ]
}

fn sections() -> Vec<String> {
    vec!["app".into(), "odd ä%".into()]
}

fn saved(checkpoints: &[Checkpoint]) -> Saved {
    Saved {
        sections: Some(sections()),
        checkpoints: checkpoints.to_vec(),
    }
}

#[test]
fn what_is_saved_is_loaded_again() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = Store::open(folder.path()).expect("opens");
    assert_eq!(store.load().expect("loads").checkpoints, vec![]);
    store.save(&sections(), some().iter()).expect("saves");
    assert_eq!(store.load().expect("loads"), saved(&some()));
    store.save(&sections(), some()[..1].iter()).expect("saves");
    assert_eq!(store.load().expect("loads"), saved(&some()[..1]));
    let mode = |name: &str| {
        folder
            .path()
            .join(name)
            .metadata()
            .expect("is there")
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!((mode("checkpoints"), mode("lock")), (0o600, 0o600));
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

#[test]
fn every_cut_and_every_flipped_byte_is_noticed() {
    let whole = render(&sections(), some().iter()).into_bytes();
    assert_eq!(parse(&whole).expect("whole"), saved(&some()));
    for cut in 0..whole.len() {
        assert!(parse(&whole[..cut]).is_err(), "cut at {cut}");
    }
    for at in 0..whole.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut damaged = whole.clone();
            damaged[at] ^= flip;
            assert!(parse(&damaged).is_err(), "byte {at} flipped by {flip}");
        }
    }
    assert!(parse(&vec![0; whole.len()]).is_err(), "zeroed");
    assert!(parse(&[whole.clone(), whole].concat()).is_err(), "doubled");
}

#[test]
fn the_error_names_the_file_and_the_way_out() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = Store::open(folder.path()).expect("opens");
    std::fs::write(
        folder.path().join("checkpoints"),
        "logagent checkpoints 2\nend 1 00000000\n",
    )
    .expect("writes");
    let error = store.load().expect_err("is damaged").to_string();
    assert!(
        error.contains("checkpoints' is damaged: its checksum does not match\n"),
        "{error}"
    );
    assert!(error.contains("mv '"), "{error}");
}

/// Calls `check` in a folder with these files: name and bytes.
fn with_files(files: &[(&str, &[u8])], check: impl FnOnce(&Store)) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, bytes) in files {
        std::fs::write(folder.path().join(name), bytes).expect("writes");
    }
    check(&Store::open(folder.path()).expect("opens"));
}

#[test]
fn a_crash_at_any_point_of_a_write_leaves_the_old_or_the_new_checkpoints() {
    let (oldest, old, new) = (&some()[..1], &some()[..2], &some()[..]);
    let [oldest_text, old_text, new_text] =
        [oldest, old, new].map(|some| render(&sections(), some.iter()).into_bytes());
    // What `checkpoints.new` may hold before it is synced: any part of it, with any length.
    let mut unsynced: Vec<Vec<u8>> = (0..=new_text.len())
        .map(|len| new_text[..len].to_vec())
        .collect();
    for len in [1, 17, 512, 4096, new_text.len()] {
        unsynced.push(vec![0; len]);
        unsynced.push(vec![0xa5; len]);
        let mut half = new_text.clone();
        half.resize(half.len().max(len), 0);
        half[len.min(new_text.len()) / 2..].fill(0);
        unsynced.push(half);
    }
    let mut states = 0;
    let mut expect = |files: &[(&str, &[u8])], expected: &[Checkpoint]| {
        states += 1;
        with_files(files, |store| {
            let names: Vec<_> = files.iter().map(|(name, _)| name).collect();
            assert_eq!(
                store.load().expect("loads").checkpoints,
                expected,
                "{names:?}"
            );
            // What was left over is in nobody's way. (A write is slow: not for every state.)
            if states % 16 == 1 {
                store.save(&sections(), new.iter()).expect("saves");
                assert_eq!(store.load().expect("loads"), saved(new), "{names:?}");
            }
        });
    };
    // The first write ever: before the rename, and after it.
    for new_file in &unsynced {
        expect(&[("checkpoints.new", new_file)], &[]);
    }
    expect(&[("checkpoints", &new_text)], new);
    for prev in [None, Some(&oldest_text)] {
        let prev = || prev.map(|text| ("checkpoints.prev", &text[..]));
        for new_file in &unsynced {
            let mut files: Vec<(&str, &[u8])> = prev().into_iter().collect();
            files.push(("checkpoints", &old_text));
            files.push(("checkpoints.new", new_file));
            expect(&files, old);
        }
    }
    // Synced, `prev` unlinked, linked anew, and the rename not yet, or done.
    let synced = ("checkpoints.new", &new_text[..]);
    expect(&[("checkpoints", &old_text), synced], old);
    let linked = ("checkpoints.prev", &old_text[..]);
    expect(&[("checkpoints", &old_text), linked, synced], old);
    expect(&[("checkpoints", &new_text), linked], new);
    expect(&[("checkpoints", &new_text)], new);
    // The folder was not synced: the rename is there and the link is not, or the other way round.
    let before = ("checkpoints.prev", &oldest_text[..]);
    expect(&[("checkpoints", &new_text), before], new);
    expect(&[("checkpoints", &new_text), before, synced], new);
    println!("{states} states");
}

#[test]
fn a_damaged_main_file_is_an_error_that_names_it_whatever_lies_beside_it() {
    let (old, new) = (
        render(&sections(), some()[..1].iter()),
        render(&sections(), some().iter()),
    );
    let mut flipped = new.clone().into_bytes();
    flipped[40] ^= 1;
    let cut = &new.as_bytes()[..new.len() - 3];
    let zeroed = vec![0; new.len()];
    for bytes in [&flipped[..], cut, &zeroed, b""] {
        let files = [
            ("checkpoints", bytes),
            ("checkpoints.prev", old.as_bytes()),
            ("checkpoints.new", new.as_bytes()),
        ];
        with_files(&files, |store| {
            let error = store.load().expect_err("is damaged").to_string();
            assert!(error.contains("/checkpoints' is damaged: "), "{error}");
            assert!(error.contains("mv '") && error.contains("rm '"), "{error}");
        });
    }
}

#[test]
fn another_format_version_is_an_error_that_names_it() {
    let later = render(&sections(), some().iter()).replace("checkpoints 3\n", "checkpoints 4\n");
    with_files(&[("checkpoints", later.as_bytes())], |store| {
        let error = store.load().expect_err("is not known").to_string();
        let words = "has format version '4', and this program reads versions 1 to 3\n";
        assert!(error.contains(words), "{error}");
        assert!(error.contains("rm '"), "{error}");
    });
}

#[test]
fn the_versions_before_are_read() {
    let expected = Checkpoint {
        path: Path::new("/a b\n.log").into(),
        identity: Identity {
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
        trace: Trace {
            len: 5,
            crc: 0x000a_0b0c,
        },
        marks: Marks::default(),
        state: SourceState::Open,
        serial: 4,
        modified_ns: -5,
    };
    for (version, size) in [(1, ""), (2, "8 ")] {
        let body = format!(
            "logagent checkpoints {version}\n7 {size}5 000a0b0c 66305 13 -2 9 00000000deadbeef open 4 -5 /a b%0A.log\n"
        );
        let text = format!("{body}end 1 {:08x}\n", crc32c::crc32c(body.as_bytes()));
        let expected = Checkpoint {
            size: if version == 1 { 7 } else { 8 },
            ..expected.clone()
        };
        with_files(&[("checkpoints", text.as_bytes())], |store| {
            let loaded = store.load().expect("loads");
            assert_eq!(loaded.checkpoints, vec![expected]);
            assert_eq!(loaded.sections, None, "they were not kept");
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
fn a_hundred_thousand_sources_come_back() {
    let many: Vec<_> = (0..100_000)
        .map(|n| checkpoint(n, format!("/var/log/app-{n}.log").as_bytes()))
        .collect();
    let text = render(&sections(), many.iter());
    with_files(&[("checkpoints", text.as_bytes())], |store| {
        let started = std::time::Instant::now();
        let loaded = store.load().expect("loads").checkpoints;
        println!("100,000 sources are loaded in {:?}", started.elapsed());
        assert_eq!(loaded, many);
    });
}
