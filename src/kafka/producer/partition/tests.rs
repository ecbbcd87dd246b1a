//! The transitions of a partition.

use super::*;

use crate::config::Compression;
use crate::kafka::producer::producer_id::ProducerState;
use crate::kafka::protocol::error_code::Verdict;
use crate::kafka::protocol::record_batch::ProducerId;
use crate::kafka::protocol::record_batch::Unpacked;
use crate::kafka::testing::{batch, destination_of};

const ID: ProducerId = ProducerId { id: 7, epoch: 0 };
const OTHER: ProducerId = ProducerId { id: 8, epoch: 0 };
const LATER: Duration = Duration::from_secs(20);

/// A partition whose time the test tells, and which sends to broker 1.
struct Play {
    partition: Partition,
    encoder: Encoder,
    ids: BatchIds,
    now: Instant,
}

impl Play {
    /// With what the producer knows about its id.
    fn new(state: ProducerState) -> Self {
        let mut partition = Partition::new(&mut fastrand::Rng::with_seed(1));
        assert_eq!(partition.adopt_id(state), None);
        Play {
            partition,
            encoder: Encoder::new(Compression::None, 100),
            ids: BatchIds::default(),
            now: Instant::now(),
        }
    }

    /// Flowing, with `count` batches of one line each in flight.
    fn flowing(count: usize) -> (Self, Vec<BatchRef>) {
        let mut play = Play::new(ProducerState::Id(ID));
        play.push(1);
        let first = play.send();
        play.acknowledge(&first);
        play.push(count);
        let batches = (0..count).map(|_| play.send()).collect();
        (play, batches)
    }

    /// So many lines, each of which fills a batch.
    fn push(&mut self, count: usize) {
        let line = "x".repeat(90) + "\n";
        for _ in 0..count {
            let batch = batch(&destination_of("/a"), line.as_bytes());
            self.partition.push(batch, self.now);
        }
    }

    fn readiness(&self) -> Readiness {
        self.partition.readiness(self.now, None)
    }

    /// Sends what goes next, which must be ready.
    fn send(&mut self) -> BatchRef {
        assert_eq!(self.readiness(), Readiness::Ready);
        let (encoder, ids) = (&mut self.encoder, &mut self.ids);
        let (id, attempt, _) = self.partition.next(1, encoder, ids, self.now);
        BatchRef {
            topic: 0,
            partition: 0,
            id,
            attempt,
            bytes: 0,
        }
    }

    fn acknowledge(&mut self, batch: &BatchRef) -> bool {
        self.partition
            .acknowledge(batch, &mut self.encoder)
            .is_some()
    }

    fn fail(&mut self, batch: &BatchRef) -> Option<Failed> {
        self.partition.fail(batch, false, self.now)
    }

    /// The broker refuses `batch` for good.
    fn refuse(&mut self, batch: &BatchRef) {
        self.fail(batch).expect("it is in flight");
        let (encoder, ids) = (&mut self.encoder, &mut self.ids);
        let why = Verdict::of(87);
        let split = self.partition.split(batch.id, why, encoder, ids, self.now);
        split.expect("a batch of ours");
    }

    /// The sequence numbers of what is not acknowledged, by who has signed it.
    fn sequences(&self) -> Vec<(i64, i32)> {
        let producer =
            |bytes: &[u8]| i64::from_be_bytes(*bytes[43..].first_chunk().expect("a head"));
        let batches = self.partition.batches.iter();
        batches
            .map(|batch| (producer(&batch.bytes), batch.base_sequence))
            .collect()
    }
}

#[test]
fn at_the_start_of_a_sequence_one_batch_is_in_flight_and_after_the_first_ack_five() {
    let mut play = Play::new(ProducerState::Id(ID));
    play.push(7);
    let first = play.send();
    assert_eq!(play.readiness(), Readiness::Waits);
    assert!(play.acknowledge(&first));
    for _ in 0..5 {
        play.send();
    }
    assert_eq!(
        (play.readiness(), play.partition.in_flight()),
        (Readiness::Waits, 5)
    );
    assert_eq!(play.sequences(), (1..6).map(|n| (7, n)).collect::<Vec<_>>());
}

#[test]
fn without_sequence_numbers_one_batch_is_in_flight_at_any_time() {
    let mut play = Play::new(ProducerState::None);
    play.push(3);
    for _ in 0..3 {
        let batch = play.send();
        assert_eq!(play.readiness(), Readiness::Waits);
        assert!(play.acknowledge(&batch));
    }
    assert!(play.partition.is_empty());
}

#[test]
fn nothing_goes_before_there_is_a_producer_id() {
    let mut play = Play::new(ProducerState::Awaited);
    play.push(1);
    assert_eq!(play.readiness(), Readiness::Waits);
    assert_eq!(play.partition.adopt_id(ProducerState::Id(ID)), None);
    play.send();
}

#[test]
fn a_batch_that_fails_beside_others_drains_and_then_goes_again_alone_and_first() {
    let (mut play, batches) = Play::flowing(3);
    let failed = play.fail(&batches[1]).expect("it is in flight");
    assert_eq!(
        failed,
        Failed {
            is_oldest: false,
            maybe_written: false
        }
    );
    play.push(1);
    play.now += LATER;
    assert_eq!(play.readiness(), Readiness::Waits, "others are in flight");
    assert!(play.acknowledge(&batches[0]));
    assert_eq!(play.readiness(), Readiness::Waits, "one is in flight");
    assert!(play.acknowledge(&batches[2]));
    let again = play.send();
    assert_eq!((again.id, again.attempt), (batches[1].id, 2));
    assert_eq!(play.readiness(), Readiness::Waits, "one at a time");
    assert!(play.acknowledge(&again));
    play.push(2);
    play.send();
    play.send();
}

#[test]
fn a_batch_that_fails_alone_waits_for_its_pause_which_grows_until_an_ack() {
    let (mut play, batches) = Play::flowing(1);
    let mut batch = batches[0];
    let mut pauses = Vec::new();
    for _ in 0..3 {
        play.fail(&batch).expect("it is in flight");
        let Readiness::At(at) = play.readiness() else {
            panic!("there is no pause");
        };
        pauses.push(at - play.now);
        play.now = at;
        batch = play.send();
    }
    assert!(pauses.is_sorted() && pauses[0] < pauses[2], "{pauses:?}");
    assert!(play.acknowledge(&batch));
    play.push(1);
    let batch = play.send();
    play.fail(&batch).expect("it is in flight");
    assert!(matches!(play.readiness(), Readiness::At(at) if at - play.now < pauses[1]));
}

#[test]
fn an_answer_to_an_attempt_that_is_over_changes_nothing() {
    let (mut play, batches) = Play::flowing(1);
    play.fail(&batches[0]).expect("it is in flight");
    assert!(!play.acknowledge(&batches[0]) && play.fail(&batches[0]).is_none());
    play.now += LATER;
    let again = play.send();
    assert!(!play.acknowledge(&batches[0]) && play.fail(&batches[0]).is_none());
    assert!(play.acknowledge(&again));
}

#[test]
fn a_new_leader_gets_at_once_what_the_old_one_has_not_answered() {
    let (mut play, batches) = Play::flowing(2);
    play.partition.leader_changed(2);
    assert_eq!(play.partition.in_flight(), 0);
    let again = play.send();
    assert_eq!(
        (again.id, play.readiness()),
        (batches[0].id, Readiness::Waits)
    );
    assert!(
        !play.acknowledge(&batches[1]),
        "the old leader counts no more"
    );
    let failed = play.fail(&again).expect("it is in flight");
    assert!(failed.is_oldest && failed.maybe_written);
    // Without sequence numbers only the answer tells whether the records are there.
    let mut play = Play::new(ProducerState::None);
    play.push(1);
    let batch = play.send();
    play.partition.leader_changed(2);
    assert!(play.acknowledge(&batch));
}

#[test]
fn a_refused_record_leaves_when_nothing_is_in_flight_and_later_numbers_move_up() {
    let (mut play, batches) = Play::flowing(3);
    play.refuse(&batches[0]);
    play.now += LATER;
    assert!(
        play.partition.next_refused(play.now).is_none(),
        "others are in flight"
    );
    for batch in &batches[1..] {
        play.fail(batch).expect("it is in flight");
    }
    play.now += LATER;
    assert_eq!(play.readiness(), Readiness::Waits, "it leaves first");
    let (_, _, value) = play.partition.next_refused(play.now).expect("its turn");
    assert_eq!(value.len(), 90);
    play.partition
        .remove_refused(play.now)
        .expect("it is there");
    assert_eq!(play.sequences(), [(7, 1), (7, 2)]);
    play.now += LATER;
    let next = play.send();
    assert_eq!(next.id, batches[1].id);
}

#[test]
fn a_batch_of_several_records_is_halved_and_the_halves_keep_order_and_numbers() {
    let mut play = Play::new(ProducerState::Id(ID));
    play.encoder = Encoder::new(Compression::None, 1_000);
    let lines = "one\ntwo\nthree\nfour\n";
    let batch = batch(&destination_of("/a"), lines.as_bytes());
    play.partition.push(batch, play.now);
    let whole = play.send();
    play.refuse(&whole);
    assert_eq!(play.sequences(), [(7, 0), (7, 2)]);
    let mut values = Vec::new();
    for batch in &play.partition.batches {
        let unpacked = Unpacked::of(&batch.bytes).expect("a batch of ours");
        let records = unpacked.records().expect("records of ours");
        values.push(
            records
                .iter()
                .map(|record| record.value.to_vec())
                .collect::<Vec<_>>(),
        );
    }
    assert_eq!(
        values,
        [
            [b"one".to_vec(), b"two".to_vec()],
            [b"three".to_vec(), b"four".to_vec()]
        ]
    );
    let first = play.send();
    assert_eq!(first.id, whole.id);
}

#[test]
fn another_producer_id_is_taken_when_all_is_answered_and_numbers_start_again() {
    let (mut play, batches) = Play::flowing(2);
    play.fail(&batches[0]).expect("it is in flight");
    play.partition.lose_id();
    let new = ProducerState::Id(OTHER);
    assert_eq!(play.partition.adopt_id(new), None);
    assert_eq!(play.sequences(), [(7, 1), (7, 2)], "one is in flight");
    play.fail(&batches[1]).expect("it is in flight");
    // The producer has the useless one still: it is to get another.
    assert_eq!(play.partition.adopt_id(ProducerState::Id(ID)), Some(ID));
    play.now += LATER;
    assert_eq!(play.readiness(), Readiness::Waits);
    assert_eq!(play.partition.adopt_id(new), None);
    assert_eq!(play.sequences(), [(8, 0), (8, 1)]);
    play.send();
    assert_eq!(
        play.readiness(),
        Readiness::Waits,
        "a sequence starts with one"
    );
}

#[test]
fn what_is_left_of_a_partition_that_is_gone_goes_after_what_is_here_with_the_next_numbers() {
    let (mut play, batches) = Play::flowing(2);
    let mut gone = Partition::new(&mut fastrand::Rng::with_seed(2));
    gone.adopt_id(ProducerState::Id(OTHER));
    std::mem::swap(&mut play.partition, &mut gone);
    play.push(2);
    let of_gone = play.send();
    play.fail(&of_gone).expect("it is in flight");
    std::mem::swap(&mut play.partition, &mut gone);
    play.partition.merge(gone);
    assert_eq!(play.sequences(), [(7, 1), (7, 2), (7, 3)]);
    assert!(play.acknowledge(&batches[0]) && !play.acknowledge(&of_gone));
    assert!(play.partition.queued_bytes() > 0);
}

#[test]
fn lines_wait_for_more_until_the_batch_is_full_or_linger_is_over() {
    let mut play = Play::new(ProducerState::Id(ID));
    let policy = Some(LingerPolicy {
        batch_bytes: 150,
        linger: Duration::from_secs(1),
    });
    play.push(1);
    let due = play.now + Duration::from_secs(1);
    assert_eq!(
        play.partition.readiness(play.now, policy),
        Readiness::Lingers(due)
    );
    assert_eq!(play.partition.readiness(due, policy), Readiness::Ready);
    play.push(1);
    assert_eq!(play.partition.readiness(play.now, policy), Readiness::Ready);
}
