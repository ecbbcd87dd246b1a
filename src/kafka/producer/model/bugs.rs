//! The model finds bugs that are planted.

use super::first_wrong;
use crate::kafka::producer::planted::{self, Bug};

fn finds(bug: Bug) {
    planted::plant(Some(bug));
    let (steps, wrong) = first_wrong(0..2_000, 400);
    planted::plant(None);
    let (seed, wrong) = wrong.expect("the model finds it");
    println!("{bug:?}: after {steps} steps, seed {seed}: {wrong}");
}

#[test]
fn the_model_finds_batches_that_keep_their_numbers_when_partitions_are_merged() {
    finds(Bug::AbsorbKeepsIds);
}

#[test]
fn the_model_finds_that_an_older_leader_epoch_is_believed() {
    finds(Bug::EpochIgnored);
}

#[test]
fn the_model_finds_a_partition_that_does_not_drain() {
    finds(Bug::DrainingLost);
}

#[test]
fn the_model_finds_sequence_numbers_that_do_not_move_after_a_refusal() {
    finds(Bug::SequenceNotMoved);
}

#[test]
fn the_model_finds_answers_that_are_matched_by_the_number_alone() {
    finds(Bug::AnswerByIdAlone);
}
