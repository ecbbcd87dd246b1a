//! What a producer does that has nothing to send.

use std::io;
use std::time::Duration;

use super::{Play, metadata, topics_of};
use crate::kafka::network::connection::ConnectionEvent;
use crate::kafka::protocol::api::METADATA;
use crate::kafka::testing::destination_of;

const SOON: Duration = Duration::from_millis(250);

#[test]
fn brokers_are_asked_once_who_they_are_if_nothing_is_to_be_sent_and_the_first_line_does_not_wait_for_that()
 {
    let mut play = Play::new();
    play.now += SOON;
    assert!(play.poll().is_empty(), "it was not told to");
    play.machine.introduces_itself(play.now);
    assert!(play.poll().is_empty(), "something may come");
    assert_eq!(play.machine.poll(play.now), Some(play.now + SOON));
    play.now += SOON;
    let sent = play.poll();
    let [(connection, _, request)] = &sent[..] else {
        panic!("{sent:?}");
    };
    assert_eq!(request.api, METADATA);
    assert_eq!(topics_of(request), [""; 0]);
    let answer = ConnectionEvent::Answered(metadata(&[]));
    play.event(*connection, answer);
    for _ in 0..20 {
        assert!(play.poll().is_empty());
    }
    play.line(&destination_of("/0"), "line\n");
    let asked = play.poll();
    assert!(
        asked.iter().any(|(_, _, request)| request.api == METADATA),
        "the line waits: {asked:?}"
    );
}

#[test]
fn nothing_more_is_asked_for_hours() {
    let mut play = Play::new();
    play.machine.introduces_itself(play.now);
    play.now += SOON;
    let (connection, ..) = play.poll().remove(0);
    play.event(connection, ConnectionEvent::Answered(metadata(&[])));
    for _ in 0..10_000 {
        assert!(play.poll().is_empty());
        play.now += Duration::from_secs(1);
    }
}

#[test]
fn what_is_sent_at_the_start_asks_for_itself_alone() {
    let mut play = Play::new();
    play.machine.introduces_itself(play.now);
    play.line(&destination_of("/0"), "line\n");
    let (connection, _, request) = play.poll().remove(0);
    assert_eq!(topics_of(&request), ["t"]);
    play.now += SOON;
    play.event(connection, ConnectionEvent::Answered(metadata(&[(1, 0)])));
    let sent = play.poll();
    assert!(sent.iter().all(|(_, _, request)| request.api != METADATA));
}

#[test]
fn brokers_that_are_away_are_tried_at_once_when_a_line_comes() {
    let mut play = Play::new();
    play.machine.introduces_itself(play.now);
    play.now += SOON;
    let mut tried = 0;
    for _ in 0..1000 {
        play.machine.poll(play.now);
        for opened in play.dial.take() {
            play.close(opened.number, io::ErrorKind::ConnectionRefused);
            tried += 1;
        }
        play.now += Duration::from_millis(100);
    }
    assert!((5..100).contains(&tried), "{tried} times in 100 s");
    // Within a pause.
    while play.machine.poll(play.now).is_none_or(|at| at <= play.now) {
        let opened = play.dial.take().remove(0);
        play.close(opened.number, io::ErrorKind::ConnectionRefused);
    }
    assert!(play.dial.take().is_empty());
    play.line(&destination_of("/0"), "line\n");
    play.machine.poll(play.now);
    assert_eq!(play.dial.take().len(), 1);
}
