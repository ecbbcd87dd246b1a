//! Whom a producer asks for metadata when nobody is connected, and which connections it keeps.

use super::bootstrap::{IDLE, SEED_IDLE, SPARE_IDLE};
use super::broker::Sent;
use super::*;
use std::time::Duration;

use crate::kafka::testing::{RecordingDial, config};

/// Nobody listens there.
fn nowhere(host: &str) -> BrokerAddress {
    BrokerAddress {
        host: host.to_owned(),
        port: 1,
    }
}

/// With so many bootstrap brokers.
fn cluster(seeds: usize) -> Cluster {
    let mut config = config(&nowhere("127.0.0.1"));
    config.brokers = (1..=seeds)
        .map(|n| nowhere(&format!("127.0.0.{n}")))
        .collect();
    // Nobody answers on the connections: the test says how they end.
    let dial = Box::new(RecordingDial::default());
    let mut random = fastrand::Rng::with_seed(1);
    Cluster::new(&config, dial, Arc::default(), &mut random, Instant::now())
}

fn members(ids: impl IntoIterator<Item = i32>) -> MetadataResponse {
    let broker = |id| (id, "127.0.0.9".to_owned(), 1);
    MetadataResponse {
        brokers: ids.into_iter().map(broker).collect(),
        ..MetadataResponse::default()
    }
}

/// Who is tried next; the attempt fails.
fn next(cluster: &mut Cluster, now: &mut Instant) -> Option<Peer> {
    cluster.schedule.want();
    *now += Duration::from_secs(20);
    cluster.ask_if_due(|| (Vec::new(), 1), *now);
    let tried = cluster.trying?;
    let error = ConnectionError::Refused(1);
    cluster.closed(tried, &error, *now);
    Some(tried)
}

#[test]
fn a_cluster_that_has_shrunk_is_still_looked_for_everywhere() {
    let mut now = Instant::now();
    let mut cluster = cluster(2);
    cluster.update(Peer::Seed(0), &members(1..=5), now, false);
    for _ in 0..6 {
        next(&mut cluster, &mut now).expect("somebody is tried");
    }
    // The last of seven, who is tried next, is the only one that is left.
    cluster.update(Peer::Seed(0), &members([5]), now, false);
    let tried: HashSet<_> = (0..3)
        .map(|_| next(&mut cluster, &mut now))
        .map(|peer| format!("{peer:?}"))
        .collect();
    assert_eq!(tried.len(), 3, "{tried:?}");
    assert!(!tried.contains("None"), "{tried:?}");
}

/// Connects to the bootstrap broker and has it name members; the addresses are those of [`members`].
fn bootstrapped(seed: &str, now: Instant) -> (Cluster, RecordingDial) {
    let mut config = config(&nowhere(seed));
    config.brokers = vec![nowhere(seed)];
    let dial = RecordingDial::default();
    let mut random = fastrand::Rng::with_seed(1);
    let mut cluster = Cluster::new(
        &config,
        Box::new(dial.clone()),
        Arc::default(),
        &mut random,
        now,
    );
    cluster.ask_if_due(|| (Vec::new(), 1), now);
    assert_eq!(cluster.trying, Some(Peer::Seed(0)));
    cluster.connected(Peer::Seed(0), Versions::default(), "", None, now);
    tell(&mut cluster, now, false);
    (cluster, dial)
}

/// The bootstrap broker is asked for the members, and names them.
fn tell(cluster: &mut Cluster, now: Instant, again: bool) {
    cluster.schedule.pause_until(now);
    cluster.schedule.want();
    cluster.ask_if_due(|| (Vec::new(), 1), now);
    let seed = cluster.broker(Peer::Seed(0)).expect("it is known");
    seed.answered(Pending::is_metadata).expect("it was asked");
    cluster.update(Peer::Seed(0), &members([1, 2]), now, again);
}

fn is_up(cluster: &mut Cluster, peer: Peer) -> bool {
    cluster.broker(peer).is_some_and(|broker| broker.is_up())
}

#[test]
fn a_bootstrap_connection_that_nobody_needs_is_closed_soon() {
    let now = Instant::now();
    let (mut cluster, _) = bootstrapped("127.0.0.1", now);
    assert_eq!(cluster.close_idle(now), Some(now + SEED_IDLE));
    assert!(is_up(&mut cluster, Peer::Seed(0)));
    assert_eq!(cluster.close_idle(now + SEED_IDLE), None);
    assert!(!is_up(&mut cluster, Peer::Seed(0)));
}

#[test]
fn a_question_after_the_bootstrap_connection_was_closed_opens_one() {
    let mut now = Instant::now();
    let (mut cluster, dial) = bootstrapped("127.0.0.1", now);
    cluster.close_idle(now + SEED_IDLE);
    drop(dial.take());
    now += SEED_IDLE;
    // As long as a pause lasts that only one of those who wait for metadata needs.
    for _ in 0..100 {
        cluster.wants_connection(now);
        cluster.ask_if_due(|| (Vec::new(), 1), now);
        if !dial.take().is_empty() {
            return;
        }
        now += Duration::from_millis(100);
    }
    panic!("nobody is connected, and nobody connects");
}

#[test]
fn a_bootstrap_connection_stays_while_something_waits_for_metadata_or_a_member_is_away() {
    let now = Instant::now();
    let (mut cluster, _) = bootstrapped("127.0.0.1", now);
    tell(&mut cluster, now, true);
    assert_eq!(cluster.close_idle(now + SEED_IDLE), Some(now + IDLE));
    tell(&mut cluster, now, false);
    assert!(matches!(cluster.send_slot(1, false, now), Room::None));
    cluster.closed(Peer::Node(1), &ConnectionError::Refused(1), now);
    tell(&mut cluster, now, false);
    assert_eq!(cluster.close_idle(now + SEED_IDLE), Some(now + IDLE));
    assert!(is_up(&mut cluster, Peer::Seed(0)));
}

#[test]
fn a_member_at_the_address_of_the_bootstrap_broker_takes_over_its_connection() {
    let now = Instant::now();
    let (mut cluster, dial) = bootstrapped("127.0.0.9", now);
    let opened = dial.take();
    assert_eq!(opened.len(), 1);
    // A broker of this test offers no API, so that there is no room to send.
    assert!(matches!(cluster.send_slot(2, false, now), Room::None));
    assert!(dial.take().is_empty(), "no second connection");
    assert_eq!(cluster.peer_of(opened[0].number), Some(Peer::Node(2)));
    assert!(is_up(&mut cluster, Peer::Node(2)) && !is_up(&mut cluster, Peer::Seed(0)));
    // Another member needs one of its own.
    assert!(matches!(cluster.send_slot(1, false, now), Room::None));
    assert_eq!(dial.take().len(), 1);
}

#[test]
fn members_are_forgotten_with_one_that_has_left_and_not_with_a_bootstrap_broker() {
    let mut now = Instant::now();
    let mut cluster = cluster(2);
    cluster.update(Peer::Seed(0), &members([1, 2]), now, false);
    assert!(matches!(cluster.send_slot(1, false, now), Room::None));
    assert_eq!(
        cluster.lost_with(Peer::Node(2)),
        [Peer::Node(1)],
        "it is being connected to"
    );
    assert_eq!(cluster.lost_with(Peer::Seed(0)), [Peer::Seed(0)]);
    cluster.start_again(Peer::Seed(0), now);
    assert_eq!(next(&mut cluster, &mut now), Some(Peer::Seed(1)));
    assert!(cluster.broker(Peer::Node(2)).is_some());
    cluster.start_again(Peer::Node(2), now);
    assert_eq!(next(&mut cluster, &mut now), Some(Peer::Seed(0)));
    assert_eq!(next(&mut cluster, &mut now), Some(Peer::Seed(1)));
    assert_eq!(next(&mut cluster, &mut now), Some(Peer::Seed(0)));
    assert!(cluster.broker(Peer::Node(1)).is_none());
}

#[test]
fn a_member_that_was_only_asked_is_left_once_another_one_gets_the_lines() {
    let start = Instant::now();
    let (mut cluster, _) = bootstrapped("127.0.0.9", start);
    cluster.know_again();
    let (asked, leader) = (Peer::Node(1), Peer::Node(2));
    cluster.open(leader, start);
    cluster.connected(leader, Versions::default(), "", None, start);
    let now = start + SPARE_IDLE;
    cluster.close_idle(now);
    assert!(is_up(&mut cluster, asked) && is_up(&mut cluster, leader));
    let lines = Pending::Produce(Vec::new(), Sent { bytes: 0, at: now });
    let broker = cluster.broker(leader).expect("it is known");
    broker.send(Request::metadata("", 1, std::iter::empty()), lines, now);
    cluster.close_idle(now);
    assert!(!is_up(&mut cluster, asked) && is_up(&mut cluster, leader));
}
