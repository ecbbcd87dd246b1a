//! What happens when nothing was sent for long.

use std::time::Duration;

use super::{Play, metadata, produced};
use crate::kafka::testing::destination_of;

#[test]
fn a_connection_that_is_idle_is_closed_before_anything_on_the_way_forgets_it() {
    let mut play = Play::new();
    play.line(&destination_of("/0"), "line\n");
    let (first, ..) = play.until_produce(|_| metadata(&[(1, 0)]));
    play.answer(first, produced(0, 0));
    play.poll();
    // The topic is of no interest any more, so nobody is asked for anything.
    play.now += Duration::from_secs(700);
    play.poll();
    play.line(&destination_of("/0"), "line\n");
    let (second, ..) = play.until_produce(|_| metadata(&[(1, 0)]));
    assert_ne!(first, second, "the old connection was used again");
}

/// A broker takes a batch that has id and sequence number of one of the last five for a repetition of that one, and
/// says that it has it.
#[test]
fn a_topic_that_is_used_again_after_a_long_pause_does_not_repeat_sequence_numbers() {
    let mut play = Play::new();
    let mut seen = Vec::new();
    for _ in 0..3 {
        play.line(&destination_of("/0"), "line\n");
        let (connection, _, request) = play.until_produce(|_| metadata(&[(1, 0)]));
        let (_, batch) = &request.batches[0];
        let signature = (batch[43..53].to_vec(), batch[53..57].to_vec());
        assert!(!seen.contains(&signature), "{signature:?} comes again");
        seen.push(signature);
        play.answer(connection, produced(0, 0));
        play.poll();
        play.now += Duration::from_secs(700);
        play.poll();
    }
}
