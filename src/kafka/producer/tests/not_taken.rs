//! What no broker takes as it is: it goes again in another form.

use std::io;
use std::time::Duration;

use super::{Play, metadata, produced};
use crate::kafka::protocol::api::METADATA;
use crate::kafka::protocol::record_batch::Unpacked;
use crate::kafka::testing::destination_of;

#[test]
fn a_batch_that_brokers_hang_up_on_again_and_again_is_halved_after_three_times_alone() {
    for asks_meanwhile in [false, true] {
        let mut play = Play::new();
        let lines = "x".repeat(99) + "\n";
        play.line(&destination_of("/0"), &lines.repeat(600));
        let mut sizes = Vec::new();
        for _ in 0..5 {
            let (connection, _, request) = play.until_produce(|_| metadata(&[(1, 0)]));
            sizes.push(request.batches[0].1.len());
            if asks_meanwhile {
                // The connection to the bootstrap broker is closed by then.
                play.now += Duration::from_secs(2);
                play.poll();
                play.machine.cluster.schedule.want();
                let asked = play.poll();
                let asked = asked.iter().map(|(on, _, request)| (*on, request.api));
                assert_eq!(asked.collect::<Vec<_>>(), [(connection, METADATA)]);
            }
            play.close(connection, io::ErrorKind::ConnectionReset);
            play.now += Duration::from_secs(20);
        }
        let whole = sizes[0];
        assert!(sizes[..4].iter().all(|size| *size == whole), "{sizes:?}");
        assert!(sizes[4] < whole * 6 / 10, "{sizes:?}");
    }
}

#[test]
fn what_is_refused_for_its_time_alone_goes_again_with_the_time_of_now_and_no_dead_letter() {
    let mut play = Play::new();
    play.line(&destination_of("/0"), "one\ntwo\n");
    let (connection, ..) = play.until_produce(|_| metadata(&[(1, 0)]));
    play.answer(connection, produced(0, 32));
    let (connection, _, request) = play.until_produce(|_| metadata(&[(1, 0)]));
    let bytes = &request.batches[0].1;
    let unpacked = Unpacked::of(bytes).expect("a batch of ours");
    let records = unpacked.records().expect("records of ours");
    let seen: Vec<_> = records
        .iter()
        .map(|record| (record.timestamp, record.value))
        .collect();
    let now = 1_800_000_000_000;
    assert_eq!(seen, [(now, &b"one"[..]), (now, b"two")]);
    let header = b"\x0eread_at\x1a1700000000000";
    assert!(
        bytes
            .windows(header.len())
            .filter(|bytes| bytes == header)
            .count()
            == 2
    );
    assert!(play.machine.take_refused(play.now).is_none());
    play.answer(connection, produced(0, 0));
    play.machine.poll(play.now);
    assert!(play.machine.is_idle());
    assert_eq!(play.machine.take_effects().acked.len(), 1);
}
