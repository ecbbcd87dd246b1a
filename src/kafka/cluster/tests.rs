//! Whom a producer asks for metadata when nobody is connected.

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
    Cluster::new(&config, dial, &mut random, Instant::now())
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
