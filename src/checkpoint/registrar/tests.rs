//! Messages in, checkpoints out.

use super::*;
use crate::batch::TailChecksum;
use crate::identity::{FileIdentity, Fingerprint, Inode};
use crate::progress::{Marks, ShownSource};
use crossbeam_channel::unbounded;
use std::path::Path;

fn checkpoint(inode: u64, offset: u64) -> Checkpoint {
    Checkpoint {
        path: Path::new("/log/app.log").into(),
        identity: FileIdentity {
            inode: Inode { device: 1, inode },
            born_ns: 0,
            fingerprint: Fingerprint::default(),
        },
        offset,
        size: offset,
        tail_checksum: TailChecksum::default(),
        marks: Marks::default(),
        tag: None,
        state: SourceState::Open,
        serial: inode,
        modified_ns: 0,
    }
}

fn run(folder: &Path, messages: Vec<Progress>) -> Vec<Checkpoint> {
    let store = Store::open(folder).expect("opens");
    let before = store.load().expect("loads");
    let (sender, progress) = unbounded();
    for message in messages {
        sender.send(message).expect("the receiver is here");
    }
    drop(sender);
    let (interval, deadline) = (Duration::from_secs(1), Deadline::default());
    Registrar::new(
        Some(store),
        before,
        progress,
        interval,
        deadline,
        Arc::default(),
    )
    .run();
    super::super::store::load(folder)
        .expect("loads")
        .checkpoints
}

pub(super) fn opened(source: SourceId, inode: u64, offset: u64) -> Progress {
    Progress::Opened {
        source,
        checkpoint: checkpoint(inode, offset),
        replaces: vec![inode],
        continues: 0,
        shown: Arc::default(),
    }
}

pub(super) fn span(source: SourceId, start: u64, end: u64) -> Span {
    Span {
        source,
        start,
        end,
        tail_checksum: TailChecksum::default(),
    }
}

#[test]
fn a_gap_holds_the_checkpoint_back() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let source = SourceId::next();
    let acks = vec![span(source, 0, 10), span(source, 20, 30)];
    let after = run(
        folder.path(),
        vec![opened(source, 7, 0), Progress::Acked(acks)],
    );
    assert_eq!(after, vec![checkpoint(7, 10)]);
}

#[test]
fn an_acknowledgement_from_before_a_truncation_moves_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (old, new) = (SourceId::next(), SourceId::next());
    let finished = Progress::Closed {
        source: old,
        end: 500,
        modified_ns: 0,
        why: CloseReason::ContentGone,
    };
    let messages = vec![
        opened(old, 7, 0),
        finished,
        opened(new, 7, 0),
        Progress::Acked(vec![span(old, 0, 500)]),
        Progress::Acked(vec![span(new, 0, 20)]),
    ];
    assert_eq!(run(folder.path(), messages), vec![checkpoint(7, 20)]);
}

#[test]
fn a_finished_file_is_remembered_and_a_deleted_one_is_not() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (rotated, gone) = (SourceId::next(), SourceId::next());
    let messages = vec![
        opened(rotated, 7, 0),
        opened(gone, 8, 0),
        Progress::Closed {
            source: rotated,
            end: 10,
            modified_ns: 99,
            why: CloseReason::Finished,
        },
        Progress::Closed {
            source: gone,
            end: 10,
            modified_ns: 99,
            why: CloseReason::ContentGone,
        },
        Progress::Acked(vec![span(rotated, 0, 10), span(gone, 0, 10)]),
    ];
    let expected = Checkpoint {
        state: SourceState::Finished,
        modified_ns: 99,
        ..checkpoint(7, 10)
    };
    assert_eq!(run(folder.path(), messages), vec![expected]);
}

#[test]
fn a_file_that_is_forgotten_before_all_of_it_is_acknowledged_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let source = SourceId::next();
    let messages = vec![
        opened(source, 7, 0),
        Progress::Closed {
            source,
            end: 10,
            modified_ns: 99,
            why: CloseReason::Finished,
        },
        Progress::Forgotten { serial: 7 },
        Progress::Acked(vec![span(source, 0, 10)]),
    ];
    assert_eq!(run(folder.path(), messages), vec![]);
}

#[test]
fn a_file_that_is_opened_again_before_all_of_it_is_acknowledged_stands_at_both_places_until_then() {
    for why in [CloseReason::Paused, CloseReason::Finished] {
        let (first, again) = (SourceId::next(), SourceId::next());
        let same = |serial, offset| Checkpoint {
            serial,
            ..checkpoint(7, offset)
        };
        let messages = || {
            vec![
                opened(first, 7, 0),
                Progress::Closed {
                    source: first,
                    end: 100,
                    modified_ns: 0,
                    why,
                },
                Progress::Opened {
                    source: again,
                    checkpoint: same(8, 100),
                    replaces: vec![7],
                    continues: 0,
                    shown: Arc::default(),
                },
            ]
        };
        let folder = tempfile::tempdir().expect("a temporary folder");
        let both = run(folder.path(), messages());
        assert_eq!(both, [same(7, 0), same(8, 100)]);
        let acked = Progress::Acked(vec![span(first, 0, 100), span(again, 100, 120)]);
        let folder = tempfile::tempdir().expect("a temporary folder");
        let one = run(
            folder.path(),
            messages().into_iter().chain([acked]).collect(),
        );
        assert_eq!(one, [same(8, 120)]);
    }
}

/// The tailer of a log registers what was rotated and has a tailer of its own, which opens it and tells of that first.
#[test]
fn what_is_registered_after_somebody_has_opened_it_is_replaced_all_the_same() {
    let source = SourceId::next();
    let opened = || Progress::Opened {
        source,
        checkpoint: checkpoint(3, 0),
        replaces: vec![2],
        continues: 0,
        shown: Arc::default(),
    };
    let acked = || Progress::Acked(vec![span(source, 0, 10)]);
    let registered = || Progress::Registered(checkpoint(2, 0));
    for messages in [
        vec![opened(), registered(), acked()],
        vec![opened(), acked(), registered()],
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let left = run(folder.path(), messages);
        let places: Vec<_> = left.iter().map(|c| (c.serial, c.offset)).collect();
        assert_eq!(places, [(3, 10)]);
    }
}

/// A tailer closes a file and stands still before it tells of that; another one opens the file, or finds it deleted.
#[test]
fn what_is_closed_after_somebody_has_opened_or_deleted_it_leaves_no_position() {
    let (first, again) = (SourceId::next(), SourceId::next());
    let opened_again = || Progress::Opened {
        source: again,
        checkpoint: checkpoint(8, 100),
        replaces: vec![7],
        continues: 0,
        shown: Arc::default(),
    };
    let deleted = || Progress::Forgotten { serial: 7 };
    for why in [CloseReason::Paused, CloseReason::Finished] {
        let closed = || Progress::Closed {
            source: first,
            end: 100,
            modified_ns: 0,
            why,
        };
        let acked = || Progress::Acked(vec![span(first, 0, 100)]);
        for (messages, expected) in [
            // Until it is acknowledged.
            (vec![opened_again(), closed()], vec![(7, 0), (8, 100)]),
            (vec![opened_again(), closed(), acked()], vec![(8, 100)]),
            (vec![opened_again(), acked(), closed()], vec![(8, 100)]),
            (vec![acked(), deleted(), closed()], vec![]),
        ] {
            let folder = tempfile::tempdir().expect("a folder");
            let messages = [opened(first, 7, 0)].into_iter().chain(messages);
            let left = run(folder.path(), messages.collect());
            let places: Vec<_> = left.iter().map(|c| (c.serial, c.offset)).collect();
            assert_eq!(places, expected);
        }
    }
}

#[test]
fn checkpoints_of_files_that_are_not_read_now_stay() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let source = SourceId::next();
    run(folder.path(), vec![opened(source, 7, 5)]);
    let other = SourceId::next();
    assert_eq!(
        run(folder.path(), vec![opened(other, 8, 6)]),
        vec![checkpoint(7, 5), checkpoint(8, 6)]
    );
}

/// A registrar whose writes the test asks for, and its folder.
fn begun(store: Store) -> Registrar {
    let (_, progress) = unbounded();
    let saved = store.load().expect("loads");
    let interval = Duration::from_millis(1);
    let mut registrar = Registrar::new(
        Some(store),
        saved,
        progress,
        interval,
        Deadline::default(),
        Arc::default(),
    );
    registrar.sections = vec!["app".to_owned()];
    registrar
}

/// Everything that a registrar knows, as it is written.
fn known(registrar: &Registrar) -> Vec<Checkpoint> {
    let open = registrar.open.values().map(|tracked| &tracked.checkpoint);
    let mut all: Vec<_> = open.chain(registrar.rest.values()).cloned().collect();
    all.sort_unstable_by_key(|checkpoint| checkpoint.serial);
    all
}

/// A file in the making, as a tailer would tell of it.
struct Followed {
    source: SourceId,
    serial: u64,
    acked: u64,
    size: Arc<ShownSource>,
}

/// Something that a tailer or an output may tell now.
fn random_message(
    random: &mut fastrand::Rng,
    followed: &mut Vec<Followed>,
    closed: &mut Vec<u64>,
    serial: &mut u64,
) -> Progress {
    *serial += 1;
    let (serial, last) = (*serial, followed.len());
    let opened = |offset, replaces, size: &Arc<ShownSource>, source| Progress::Opened {
        source,
        checkpoint: Checkpoint {
            serial,
            ..checkpoint(serial, offset)
        },
        replaces,
        continues: 0,
        shown: size.clone(),
    };
    match random.u32(0..20) {
        0..3 if !followed.is_empty() => {
            let at = random.usize(0..last);
            let Followed {
                source,
                acked,
                serial,
                ..
            } = followed.swap_remove(at);
            let why = [
                CloseReason::Finished,
                CloseReason::ContentGone,
                CloseReason::Paused,
            ][random.usize(0..3)];
            if why != CloseReason::ContentGone {
                closed.push(serial);
            }
            Progress::Closed {
                source,
                end: acked,
                modified_ns: 5,
                why,
            }
        }
        3 if !closed.is_empty() => Progress::Forgotten {
            serial: closed.swap_remove(random.usize(0..closed.len())),
        },
        4 => {
            closed.push(serial);
            Progress::Registered(Checkpoint {
                state: SourceState::Skipped,
                ..checkpoint(serial, 3)
            })
        }
        5 if !followed.is_empty() => Progress::Known {
            source: followed[random.usize(0..last)].source,
            identity: checkpoint(serial, 0).identity,
        },
        6..10 => {
            let (source, size) = (SourceId::next(), Arc::<ShownSource>::default());
            let count = random.usize(0..=closed.len().min(2));
            let mut replaces: Vec<u64> = closed.drain(..count).collect();
            if last > 0 && random.u32(0..8) == 0 {
                // Its tailer has closed it, too, and tells of that later.
                replaces.push(followed[random.usize(0..last)].serial);
            }
            let acked = random.u64(0..50);
            followed.push(Followed {
                source,
                serial,
                acked,
                size: size.clone(),
            });
            opened(acked, replaces, &size, source)
        }
        _ if followed.is_empty() => Progress::LookedForAll,
        _ => {
            let one = &mut followed[random.usize(0..last)];
            let start = one.acked;
            one.acked += random.u64(1..30);
            one.size.show_size(one.acked + random.u64(0..10));
            let tail_checksum = TailChecksum::of(&one.acked.to_le_bytes());
            Progress::Acked(vec![Span {
                tail_checksum,
                ..span(one.source, start, one.acked)
            }])
        }
    }
}

#[test]
fn whatever_is_told_and_whenever_it_is_written_a_restart_knows_all_that_was_written() {
    for seed in 0..100 {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut registrar = begun(Store::open(folder.path()).expect("opens"));
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut followed, mut closed, mut serial) = (Vec::new(), Vec::new(), 0);
        for _ in 0..150 {
            registrar.take(random_message(
                &mut random,
                &mut followed,
                &mut closed,
                &mut serial,
            ));
            match random.u32(0..40) {
                0..8 => registrar.write(Instant::now()),
                8 => registrar.sync(Instant::now()),
                9 => registrar.look_at_sizes(),
                10 => {
                    let mut store = registrar.store.take().expect("has one");
                    registrar.begin(&mut store).expect("begins");
                    registrar.changes.clear();
                    registrar.store = Some(store);
                }
                _ => continue,
            }
            if registrar.changes.open.is_empty() && registrar.changes.rest.is_empty() {
                registrar.write(Instant::now());
                let loaded = super::super::store::load(folder.path()).expect("loads");
                assert_eq!(loaded.checkpoints, known(&registrar), "seed {seed}");
            }
        }
        registrar.write_all();
        let loaded = super::super::store::load(folder.path()).expect("loads");
        assert_eq!(loaded.checkpoints, known(&registrar), "seed {seed}");
        assert_eq!(loaded.sections, Some(vec!["app".to_owned()]));
    }
}

#[test]
fn of_ten_thousand_files_a_write_takes_the_one_that_moved_and_a_look_the_one_that_grew() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut registrar = begun(Store::open(folder.path()).expect("opens"));
    let sources: Vec<(SourceId, Arc<ShownSource>)> = (1..=10_000)
        .map(|serial| {
            let (source, size) = (SourceId::next(), Arc::<ShownSource>::default());
            registrar.take(Progress::Opened {
                source,
                checkpoint: checkpoint(serial, 0),
                replaces: vec![],
                continues: 0,
                shown: size.clone(),
            });
            (source, size)
        })
        .collect();
    let size = || {
        let metadata = folder.path().join("checkpoints").metadata();
        metadata.expect("is there").len()
    };
    registrar.write_all();
    let begun = size();
    registrar.take(Progress::Acked(vec![span(sources[7].0, 0, 10)]));
    registrar.write_all();
    assert!((1..100).contains(&(size() - begun)), "{}", size() - begun);
    let moved = size();
    sources[8].1.show_size(500);
    registrar.metrics.has_grown.set();
    registrar.write_what_is_due(Instant::now() + Duration::from_secs(1));
    assert!((1..100).contains(&(size() - moved)), "{}", size() - moved);
    let loaded = super::super::store::load(folder.path()).expect("loads");
    assert_eq!(loaded.checkpoints[7].offset, 10);
    assert_eq!(loaded.checkpoints[8].size, 500);
}

#[test]
fn a_store_that_fails_is_told_of_once_and_everything_is_written_when_it_can_be() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut registrar = begun(Store::open(folder.path()).expect("opens"));
    let source = SourceId::next();
    registrar.take(opened(source, 7, 0));
    // Nothing can be made there.
    let obstacle = folder.path().join("checkpoints.new");
    std::fs::create_dir(&obstacle).expect("is made");
    std::fs::write(obstacle.join("in"), "").expect("is made");
    let now = Instant::now() + Duration::from_secs(1);
    registrar.write_what_is_due(now);
    assert!(registrar.trouble.is_entered() && !folder.path().join("checkpoints").exists());
    registrar.take(Progress::Acked(vec![span(source, 0, 10)]));
    std::fs::remove_dir_all(&obstacle).expect("is removed");
    registrar.write_what_is_due(now + Duration::from_millis(500));
    assert!(
        registrar.trouble.is_entered(),
        "it is not tried all the time"
    );
    registrar.write_what_is_due(now + Duration::from_secs(5));
    assert!(!registrar.trouble.is_entered());
    let loaded = super::super::store::load(folder.path()).expect("loads");
    assert_eq!(loaded.checkpoints, known(&registrar));
    assert_eq!(loaded.checkpoints[0].offset, 10);
}

#[test]
fn what_tells_content_from_other_content_waits_for_no_interval() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut registrar = begun(Store::open(folder.path()).expect("opens"));
    let start = Instant::now();
    let now = start + Duration::from_millis(20);
    registrar.schedule = Schedule::new(Duration::from_secs(3600), start);
    let loaded = || {
        let saved = super::super::store::load(folder.path()).expect("loads");
        saved.checkpoints
    };
    let source = SourceId::next();
    registrar.take(opened(source, 7, 0));
    registrar.write_what_is_due(now);
    assert!(loaded()[0].never_had_content());
    let identity = FileIdentity {
        fingerprint: Fingerprint::of(b"first"),
        ..checkpoint(7, 0).identity
    };
    registrar.take(Progress::Known { source, identity });
    registrar.write_what_is_due(now);
    assert_eq!(loaded()[0].identity, identity);
    registrar.take(Progress::Acked(vec![span(source, 0, 10)]));
    registrar.write_what_is_due(now + Duration::from_secs(3000));
    assert_eq!(loaded()[0].offset, 0, "a position waits");
}

#[test]
fn the_topic_is_told_of_a_copy_ahead_and_of_the_file_before_it_that_is_not_committed() {
    let known = |serial, offset, state| {
        let mut known = checkpoint(serial, offset);
        known.identity.fingerprint = Fingerprint::of(b"first line");
        known.state = state;
        known
    };
    let source = SourceId::next();
    let (sender, progress) = unbounded();
    let (reply, records) = crossbeam_channel::bounded(1);
    for message in [
        Progress::Opened {
            source,
            checkpoint: known(1, 0, SourceState::Open),
            replaces: Vec::new(),
            continues: 0,
            shown: Arc::default(),
        },
        // It was truncated: what was read is known elsewhere.
        Progress::Registered(known(2, 100, SourceState::Finished)),
        Progress::Registered(known(3, 200, SourceState::Skipped)),
        Progress::Sealed {
            producer: 0,
            spans: Vec::new(),
            reply,
        },
    ] {
        sender.send(message).expect("the receiver is here");
    }
    drop(sender);
    Registrar::new(
        None,
        Saved::default(),
        progress,
        Duration::from_secs(1),
        Deadline::default(),
        Arc::default(),
    )
    .with_positions(Some(TopicPositions::new("a")))
    .run();
    let records = records.recv().expect("an answer");
    let mut keys: Vec<_> = records.into_iter().map(|(key, _)| key).collect();
    keys.sort();
    assert_eq!(keys, [b"1a/1".to_vec(), b"1a/2".to_vec(), b"1a/3".to_vec()]);
}
