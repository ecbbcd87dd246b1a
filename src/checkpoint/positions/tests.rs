//! What a topic is told, and what the next agent makes of it.

use super::*;
use crate::batch::TailChecksum;
use crate::identity::{FileIdentity, Fingerprint, Inode};
use crate::progress::{Marks, SourceState};

fn sample(serial: u64, offset: u64) -> Checkpoint {
    let inode = Inode {
        device: 1,
        inode: serial,
    };
    Checkpoint {
        path: Path::new("/var/log/a b.log").into(),
        identity: FileIdentity {
            inode,
            born_ns: 7,
            fingerprint: Fingerprint::of(b"first line"),
        },
        offset,
        size: offset,
        tail_checksum: TailChecksum::of(b"last line"),
        marks: Marks::default(),
        tag: None,
        state: SourceState::Open,
        serial,
        modified_ns: 9,
    }
}

fn read(of: &str, records: &[PositionRecord]) -> ReadPositions {
    let mut read = ReadPositions::new(of);
    for (key, value) in records {
        read.take(key, value.as_deref());
    }
    read
}

fn moved(read: ReadPositions, known: &[Checkpoint]) -> Vec<(u64, u64)> {
    let mut saved = Saved {
        checkpoints: known.to_vec(),
        ..Saved::default()
    };
    read.move_on(&mut saved, 1);
    let all = saved.checkpoints.iter();
    all.map(|checkpoint| (checkpoint.serial, checkpoint.offset))
        .collect()
}

#[test]
fn what_was_committed_is_where_the_files_stand_whatever_the_checkpoints_file_knows() {
    let mut positions = TopicPositions::new("host/a");
    let mut records = positions.seal(0, &[sample(7, 100), sample(8, 5)], &HashMap::new());
    records.extend(positions.seal(1, &[sample(7, 250), sample(9, 10)], &HashMap::new()));
    // Another agent, another version, and nonsense.
    records.extend(TopicPositions::new("host").seal(0, &[sample(7, 900)], &HashMap::new()));
    records.push((b"2host/a/7".to_vec(), records[0].1.clone()));
    records.push((b"\xff".to_vec(), None));
    records.push((b"1host/a/7".to_vec(), Some(b"nonsense".to_vec())));
    let read = || read("host/a", &records);
    assert_eq!(read().unreadable(), 1);
    let all = [(7, 250), (8, 5), (9, 10)];
    assert_eq!(moved(read(), &[]), all, "the file is missing");
    assert_eq!(moved(read(), &[sample(7, 100)]), all, "it is behind");
    // It is ahead: of the file 8 it knows that it was opened again as 10.
    let ahead = [sample(7, 100), sample(9, 300), sample(10, 5)];
    assert_eq!(moved(read(), &ahead), [(7, 250), (9, 300), (10, 5)]);
}

#[test]
fn the_topic_knows_a_file_that_was_opened_again_under_one_serial_number_at_any_time() {
    let mut positions = TopicPositions::new("a");
    let mut topic = positions.seal(0, &[sample(3, 100), sample(4, 1)], &HashMap::new());
    positions.committed(0);
    positions.open(&sample(5, 100), &[3], 0);
    positions.open(&sample(6, 100), &[5], 5);
    assert_eq!(positions.untold(0).collect::<Vec<_>>(), [6]);
    // Its last bytes under the old number are done with only now.
    positions.forget(&sample(3, 0));
    positions.forget(&sample(4, 0));
    assert_eq!(
        positions.seal(0, &[], &HashMap::new()),
        [],
        "what goes on where 4 ended may come yet"
    );
    let aborted = positions.seal(0, &[], &HashMap::new());
    assert_eq!(aborted.len(), 1, "4 is forgotten, 3 is not");
    topic.extend(positions.seal(0, &[], &HashMap::new()));
    positions.committed(0);
    assert_eq!(moved(read("a", &topic), &[]), [(3, 100)]);
    let aborted = positions.seal(0, &[sample(6, 150)], &HashMap::new());
    assert_eq!(aborted.len(), 3);
    topic.extend(positions.seal(0, &[sample(6, 200)], &HashMap::new()));
    positions.committed(0);
    assert_eq!(moved(read("a", &topic), &[]), [(6, 200)]);
    assert_eq!(
        positions.seal(0, &[sample(6, 300)], &HashMap::new()).len(),
        1
    );
    assert_eq!(positions.untold(0).count(), 0);
}

#[test]
fn of_a_file_that_goes_on_the_topic_has_one_place_and_the_first_that_is_not_passed() {
    let mut positions = TopicPositions::new("a");
    let mut topic = positions.seal(0, &[sample(3, 100)], &HashMap::new());
    positions.committed(0);
    // Read to 150, of which all behind 120 comes too late for the transaction.
    positions.open(&sample(4, 150), &[], 3);
    topic.extend(positions.seal(0, &[sample(3, 120), sample(4, 150)], &[(3, 120)].into()));
    positions.committed(0);
    assert_eq!(moved(read("a", &topic), &[]), [(3, 120)]);
    topic.extend(positions.seal(
        0,
        &[sample(3, 150), sample(4, 200)],
        &[(3, 150), (4, 200)].into(),
    ));
    positions.committed(0);
    assert_eq!(moved(read("a", &topic), &[]), [(4, 200)]);
    // The agent was killed after that, before the checkpoints file was written.
    let behind = [sample(3, 100), sample(4, 150)];
    assert_eq!(moved(read("a", &topic), &behind), [(4, 200)]);
}

#[test]
fn what_a_copy_goes_on_with_is_forgotten_with_the_first_record_of_the_copy() {
    let mut positions = TopicPositions::new("a");
    let mut topic = positions.seal(0, &[sample(3, 100)], &HashMap::new());
    positions.committed(0);
    // Truncated: what was read is known without a file, as 4, until the copy is opened, as 5.
    positions.register(&sample(4, 100));
    positions.forget(&sample(3, 100));
    positions.open(&sample(5, 100), &[4], 4);
    topic.extend(positions.seal(0, &[sample(5, 130)], &HashMap::new()));
    positions.committed(0);
    assert_eq!(moved(read("a", &topic), &[]), [(5, 130)]);
}

#[test]
fn the_topic_has_what_nobody_reads_if_it_would_be_read_without_that() {
    let mut positions = TopicPositions::new("a");
    let mut empty = sample(3, 0);
    empty.identity.fingerprint = Fingerprint::of(b"");
    positions.register(&empty);
    positions.register(&sample(4, 100));
    let mut skipped = sample(5, 0);
    skipped.state = SourceState::Skipped;
    positions.register(&skipped);
    let mut untold: Vec<_> = positions.untold(0).collect();
    untold.sort();
    assert_eq!(untold, [4, 5]);
    // Also after a kill that came before it was told, and only what the topic has not.
    let topic = positions.seal(0, &[sample(4, 100)], &HashMap::new());
    let mut saved = Saved {
        checkpoints: vec![empty, sample(4, 100), skipped],
        ..Saved::default()
    };
    let (_, positions) = read("a", &topic).move_on(&mut saved, 1);
    assert_eq!(positions.untold(0).collect::<Vec<_>>(), [5]);
    assert_eq!(saved.from_topic, [0; 0]);
    let mut lost = Saved::default();
    read("a", &topic).move_on(&mut lost, 1);
    assert_eq!(lost.from_topic, [4], "nobody else knew it");
}

#[test]
fn a_serial_number_that_a_killed_agent_could_not_forget_is_forgotten_by_the_next() {
    let of_inode = |serial, inode, offset| {
        let mut checkpoint = sample(serial, offset);
        checkpoint.identity.inode.inode = inode;
        checkpoint
    };
    let mut topic = TopicPositions::new("a").seal(
        0,
        &[of_inode(3, 1, 100), of_inode(4, 2, 7)],
        &HashMap::new(),
    );
    // 3 was opened again as 5, of which the topic has nothing yet.
    let mut saved = Saved {
        checkpoints: vec![of_inode(5, 1, 100), of_inode(4, 2, 7)],
        ..Saved::default()
    };
    let (moved_on, mut positions) = read("a", &topic).move_on(&mut saved, 1);
    assert_eq!(moved_on, 0);
    assert_eq!(
        positions
            .seal(0, &[of_inode(4, 2, 8)], &HashMap::new())
            .len(),
        1,
        "3 stands for 5 as yet"
    );
    let later = positions.seal(0, &[of_inode(5, 1, 150)], &HashMap::new());
    assert_eq!(later.len(), 2);
    // It was killed as well, so there are both, and then the file is missing.
    topic.extend(later.into_iter().filter(|record| record.1.is_some()));
    assert_eq!(moved(read("a", &topic), &[]), [(4, 7), (5, 150)]);
    let (_, mut positions) = read("a", &topic).move_on(&mut Saved::default(), 1);
    assert_eq!(
        positions
            .seal(0, &[of_inode(5, 1, 160)], &HashMap::new())
            .len(),
        2
    );
}

/// An agent reads 4 to its end, is killed, and the next one opens a file and is killed before it commits anything.
#[test]
fn what_is_opened_after_a_kill_is_not_done_with_since_something_else_was_that_had_its_number() {
    let mut positions = TopicPositions::new("a");
    let mut topic = positions.seal(0, &[sample(3, 10), sample(4, 100)], &HashMap::new());
    positions.forget(&sample(4, 100));
    topic.extend(positions.seal(0, &[sample(3, 20)], &HashMap::new()));
    for known in [vec![], vec![sample(3, 10)]] {
        let mut saved = Saved {
            checkpoints: known,
            ..Saved::default()
        };
        read("a", &topic).move_on(&mut saved, 1);
        assert_eq!(saved.last_serial, 4, "no new source gets it");
        saved.checkpoints.push(sample(5, 0));
        let all = moved(read("a", &topic), &saved.checkpoints);
        assert_eq!(all, [(3, 20), (5, 0)]);
    }
}

/// What the topic does not know is read after all that it knows.
#[test]
fn the_topic_has_what_is_read_from_its_beginning_when_it_has_what_was_opened_after_that() {
    let mut positions = TopicPositions::new("a");
    positions.open(&sample(3, 0), &[], 0);
    positions.open(&sample(4, 120), &[], 0);
    let mut untold: Vec<_> = positions.untold(0).collect();
    untold.sort();
    assert_eq!(untold, [3, 4]);
}

/// A log was known when it had few bytes, was truncated, and its copy was opened; then the agent was killed before it
/// could tell of the copy, and again when it had.
#[test]
fn the_place_in_what_was_truncated_goes_with_the_first_record_of_the_copy_although_that_is_longer()
{
    let mut young = sample(3, 10);
    young.identity.fingerprint = Fingerprint::of(b"first line");
    let mut topic = TopicPositions::new("a").seal(0, &[young], &HashMap::new());
    let copied = |serial, offset| {
        let mut copy = sample(serial, offset);
        copy.identity.fingerprint = Fingerprint::of(&b"first line of many more".repeat(9));
        copy
    };
    let mut saved = Saved {
        checkpoints: vec![copied(4, 10)],
        ..Saved::default()
    };
    let (_, mut positions) = read("a", &topic).move_on(&mut saved, 1);
    positions.open(&copied(5, 10), &[4], 0);
    topic.extend(positions.seal(0, &[copied(5, 200)], &[(5, 200)].into()));
    assert_eq!(moved(read("a", &topic), &[]), [(5, 200)]);
}
