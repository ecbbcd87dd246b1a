//! What the machine does in single situations, against a broker that the test plays.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use crate::batch::{Batch, Destination, SourceId};
use crate::budget::Budget;
use crate::config::BrokerAddress;
use crate::kafka::network::connection::{ConnectionEvent, Event};
use crate::kafka::network::error::ConnectionError;
use crate::kafka::protocol::api::{INIT_PRODUCER_ID, METADATA, PRODUCE, Versions};
use crate::kafka::protocol::request::Request;
use crate::kafka::protocol::response::{
    InitProducerIdResponse, MetadataResponse, PartitionMetadata, PartitionResponse,
    ProduceResponse, Response, TopicMetadata,
};
use crate::kafka::testing::{
    Opened, RecordingDial, batch, config, destination, destination_at, destination_of,
};
use crate::tailer_handle::testing::handle;

use super::machine::{Machine, Now};

mod introduction;
mod not_taken;
mod pauses;

pub(super) struct Play {
    pub(super) machine: Machine,
    pub(super) dial: RecordingDial,
    pub(super) now: Instant,
    connections: Vec<Opened>,
}

/// Leaders of the partitions of topic `t`, with their epochs.
pub(super) type Leaders<'a> = &'a [(i32, i32)];

pub(super) fn metadata(leaders: Leaders<'_>) -> Response {
    metadata_of(vec!["t".to_owned()], leaders)
}

fn metadata_of(topics: Vec<String>, leaders: Leaders<'_>) -> Response {
    let partition = |(index, (leader, leader_epoch)): (usize, &(i32, i32))| PartitionMetadata {
        index: index as i32,
        leader: *leader,
        leader_epoch: *leader_epoch,
    };
    let topic = |name| TopicMetadata {
        name,
        partitions: leaders.iter().enumerate().map(partition).collect(),
        ..TopicMetadata::default()
    };
    Response::Metadata(MetadataResponse {
        brokers: (1..=2)
            .map(|id| (id, format!("10.0.0.{id}"), 9092))
            .collect(),
        topics: topics.into_iter().map(topic).collect(),
        ..MetadataResponse::default()
    })
}

fn produced(partition: i32, error: i16) -> Response {
    produced_at([("t".to_owned(), partition)].into_iter(), error)
}

fn produced_at(places: impl Iterator<Item = (String, i32)>, error: i16) -> Response {
    let partitions = places.map(|(topic, index)| PartitionResponse {
        topic: topic.into(),
        index,
        error,
        message: None,
    });
    Response::Produce(ProduceResponse {
        partitions: partitions.collect(),
        throttle_ms: 0,
    })
}

/// Everything in `request` was taken.
pub(super) fn all_produced(request: &Request) -> Response {
    produced_at(super::model::places_of(request).into_iter(), 0)
}

/// The topics that a request for metadata names.
fn topics_of(request: &Request) -> Vec<String> {
    let text = String::from_utf8_lossy(&request.head).into_owned();
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    let topics = words.filter(|word| word.starts_with("topic-") || *word == "t");
    topics.map(str::to_owned).collect()
}

/// Another id each time.
fn id() -> Response {
    static NEXT: AtomicI64 = AtomicI64::new(7);
    Response::InitProducerId(InitProducerIdResponse {
        throttle_ms: 0,
        error: 0,
        id: NEXT.fetch_add(1, Ordering::Relaxed),
        epoch: 0,
    })
}

impl Play {
    pub(super) fn new() -> Self {
        let address = BrokerAddress {
            host: "seed".into(),
            port: 9092,
        };
        let mut config = config(&address);
        config.batch_bytes = 100_000;
        let dial = RecordingDial::default();
        let now = Instant::now();
        let random = fastrand::Rng::with_seed(1);
        let machine = Machine::new(
            Arc::new(config),
            Box::new(dial.clone()),
            Arc::default(),
            random,
            now,
        );
        Play {
            machine,
            dial,
            now,
            connections: Vec::new(),
        }
    }

    fn push(&mut self, batch: Batch) {
        self.machine.push(batch, self.now);
    }

    pub(super) fn line(&mut self, to: &Arc<Destination>, line: &str) {
        self.push(batch(to, line.as_bytes()));
    }

    fn event(&mut self, connection: u64, what: ConnectionEvent) {
        let now = Now {
            at: self.now,
            unix_ms: 1_800_000_000_000,
        };
        self.machine.on_event(Event { connection, what }, now);
    }

    /// Polls, connects whatever is to be connected, and gives what is sent: connection, node, request.
    pub(super) fn poll(&mut self) -> Vec<(u64, i32, Request)> {
        loop {
            self.machine.poll(self.now);
            let opened = self.dial.take();
            if opened.is_empty() {
                break;
            }
            for opened in opened {
                let versions = Versions::offering(&[(0, 3, 3), (3, 0, 8), (22, 0, 1)]);
                let number = opened.number;
                self.connections.push(opened);
                self.event(
                    number,
                    ConnectionEvent::Connected {
                        versions,
                        about: String::new(),
                        hangup: None,
                    },
                );
            }
        }
        let mut sent = Vec::new();
        for connection in &self.connections {
            let node = match connection.peer {
                crate::kafka::cluster::broker::Peer::Node(node) => node,
                crate::kafka::cluster::broker::Peer::Seed(_) => 0,
            };
            while let Ok(request) = connection.requests.try_recv() {
                sent.push((connection.number, node, request));
            }
        }
        sent
    }

    /// Answers questions, by node, until a Produce request is sent; gives that.
    pub(super) fn until_produce(&mut self, tell: impl Fn(i32) -> Response) -> (u64, i32, Request) {
        for _ in 0..500 {
            let mut produce = None;
            for (connection, node, request) in self.poll() {
                if request.api == PRODUCE {
                    produce = Some((connection, node, request));
                } else if request.api == METADATA {
                    self.event(connection, ConnectionEvent::Answered(tell(node)));
                } else {
                    assert!(request.api == INIT_PRODUCER_ID);
                    self.answer(connection, id());
                }
            }
            if let Some(produce) = produce {
                return produce;
            }
            self.now += Duration::from_millis(10);
        }
        panic!("nothing was sent");
    }

    /// Answers everything until nothing waits.
    fn answer_all(&mut self, leaders: Leaders<'_>) {
        let end = self.now + Duration::from_secs(300);
        loop {
            for (connection, _, request) in self.poll() {
                let is_a_part = request.api != METADATA || topics_of(&request).len() <= 1_000;
                assert!(is_a_part, "too much is asked for at once");
                self.answer_well(connection, &request, leaders);
            }
            drop(self.machine.take_effects());
            if self.machine.is_idle() {
                return;
            }
            self.now += Duration::from_millis(100);
            assert!(self.now < end, "it stands still");
        }
    }

    /// Goes on for `time` with a line for each file every 50 ms, while brokers are up or away as a whole. Gives
    /// when each node has taken something first, counted from the beginning.
    fn go_on(
        &mut self,
        to: &[Arc<Destination>],
        time: Duration,
        is_up: bool,
    ) -> BTreeMap<i32, Duration> {
        let begin = self.now;
        let mut first = BTreeMap::new();
        while self.now - begin < time {
            for to in to {
                self.line(to, "line\n");
            }
            let sent = if is_up { self.poll() } else { self.refuse() };
            for (connection, node, request) in sent {
                if request.api == PRODUCE {
                    first.entry(node).or_insert(self.now - begin);
                }
                self.answer_well(connection, &request, &[(1, 0), (2, 0)]);
            }
            self.now += Duration::from_millis(50);
        }
        first
    }

    /// Nobody is there: connections end and new ones are refused.
    fn refuse(&mut self) -> Vec<(u64, i32, Request)> {
        for connection in std::mem::take(&mut self.connections) {
            self.close(connection.number, io::ErrorKind::ConnectionReset);
        }
        self.machine.poll(self.now);
        for opened in self.dial.take() {
            self.close(opened.number, io::ErrorKind::ConnectionRefused);
        }
        Vec::new()
    }

    fn close(&mut self, connection: u64, kind: io::ErrorKind) {
        let error = ConnectionError::Io(io::Error::from(kind));
        self.event(connection, ConnectionEvent::Closed(error));
    }

    fn answer_well(&mut self, connection: u64, request: &Request, leaders: Leaders<'_>) {
        let answer = match request.api {
            METADATA => metadata_of(topics_of(request), leaders),
            PRODUCE => all_produced(request),
            _ => id(),
        };
        self.answer(connection, answer);
    }

    pub(super) fn answer(&mut self, connection: u64, answer: Response) {
        self.event(connection, ConnectionEvent::Answered(answer));
    }
}

#[test]
fn a_broker_that_lags_behind_holds_nothing_up_where_a_connected_one_knows_better() {
    let mut play = Play::new();
    let (one, other) = (destination_of("/0"), destination_of("/1"));
    // Both brokers are connected: partition 0 is at 1, partition 1 at 2, until 0 moves to 2 as well.
    let before: [(i32, i32); 2] = [(1, 5), (2, 5)];
    for to in [&one, &other] {
        for n in 0..20 {
            let to = if n == 0 {
                to.clone()
            } else {
                destination_of(&format!("/{n}"))
            };
            play.line(&to, "line\n");
        }
        let (connection, node, _) = play.until_produce(|_| metadata(&before));
        play.answer(connection, produced(node - 1, 0));
    }
    let mut refused_at = None;
    for _ in 0..100 {
        play.line(&one, "line\n");
        play.line(&other, "line\n");
        let lagging = |node| match node {
            2 => metadata(&[(2, 6), (2, 5)]),
            _ => metadata(&before),
        };
        let (connection, node, _) = play.until_produce(lagging);
        if node == 1 {
            refused_at.get_or_insert(play.now);
            play.answer(connection, produced(0, 6));
        } else if let Some(at) = refused_at {
            let taken = play.now - at;
            assert!(taken < Duration::from_secs(1), "{taken:?}");
            return;
        } else {
            play.answer(connection, produced(1, 0));
        }
    }
    panic!("it never went to the new leader");
}

#[test]
fn partitions_that_are_added_are_used_under_steady_load_within_thirty_seconds() {
    let mut play = Play::new();
    let files = (0..12).map(|n| (SourceId::next(), destination_of(&format!("/{n}"))));
    let files: Vec<_> = files.collect();
    let begin = play.now;
    let mut used = std::collections::BTreeSet::<i32>::new();
    while play.now - begin < Duration::from_secs(30) {
        for (source, to) in &files {
            let mut line = batch(to, b"line\n");
            line.source = *source;
            play.push(line);
        }
        let count = match play.now - begin < Duration::from_secs(2) {
            true => 2,
            false => 6,
        };
        let leaders = [(1, 0); 6];
        let (connection, _, request) = play.until_produce(|_| metadata(&leaders[..count]));
        used.extend(
            super::model::places_of(&request)
                .into_iter()
                .map(|(_, index)| index),
        );
        play.answer(connection, all_produced(&request));
        play.now += Duration::from_millis(50);
    }
    assert!(used.len() >= 4, "{used:?}");
}

#[test]
fn what_is_encoded_and_in_flight_counts_as_memory_and_is_kept_down() {
    const FILES: usize = 40;
    let mut play = Play::new();
    let budget = Budget::new(1 << 20);
    let route = budget.route();
    let lines = "\n".repeat(2_000);
    for n in 0..FILES {
        // Each line of one byte becomes a record of 220.
        let to = destination(None, &[("header", &[b'x'; 200])]);
        let path = Path::new(&format!("/{n}")).into();
        let to = Arc::new(Destination {
            path,
            ..Arc::try_unwrap(to).expect("it was just made")
        });
        let mut batch = batch(&to, lines.as_bytes());
        let account = route.account(handle());
        batch.permit = account
            .acquire(lines.len(), lines.len())
            .expect("there is room");
        play.push(batch);
    }
    let leaders = [(1, 0); 20];
    let (begin, mut most, mut encoded_most) = (play.now, 0, 0);
    while !play.machine.is_idle() {
        let sent = play.poll();
        let batches = sent.iter().flat_map(|(_, _, request)| &request.batches);
        let encoded: usize = batches.map(|(_, bytes)| bytes.len()).sum();
        assert!(budget.used_bytes() > encoded);
        encoded_most = encoded_most.max(encoded);
        most = most.max(budget.used_bytes());
        for (connection, _, request) in sent {
            play.answer_well(connection, &request, &leaders);
        }
        play.now += Duration::from_millis(10);
        assert!(
            play.now - begin < Duration::from_secs(60),
            "it stands still"
        );
        drop(play.machine.take_effects());
    }
    // Eight batches of 100 kB would be 8 MB for 20 partitions.
    let bound = (1 << 20) * 9 / 8 + 20 * (16 << 10) + 200_000;
    assert!(
        (1 << 20..bound).contains(&most),
        "{most}, {encoded_most} encoded"
    );
    assert_eq!(budget.used_bytes(), 0);
}

#[test]
fn many_topics_are_asked_for_in_parts_and_of_those_that_come_and_go_nothing_stays() {
    const AT_ONCE: usize = 2_500;
    let mut play = Play::new();
    for round in 0..100_000 / AT_ONCE {
        for n in round * AT_ONCE..(round + 1) * AT_ONCE {
            play.line(&destination_at(&format!("topic-{n}"), "/0"), "line\n");
        }
        // One stays, in a place that is always another one.
        play.line(&destination_of("/0"), "line\n");
        play.answer_all(&[(1, 0); 30]);
        let (known, room) = play.machine.topics_and_room();
        assert!(known <= AT_ONCE + 1, "{known} topics are known");
        assert!(room < 3 * AT_ONCE, "there is room for {room}");
        play.now += Duration::from_secs(599);
        play.line(&destination_of("/0"), "line\n");
        play.answer_all(&[(1, 0); 30]);
        play.now += Duration::from_secs(61);
        play.answer_all(&[(1, 0); 30]);
        assert_eq!(play.machine.topics_and_room().0, 1);
    }
    play.now += Duration::from_secs(661);
    play.answer_all(&[(1, 0); 30]);
    assert_eq!(play.machine.topics_and_room(), (0, 0));
}

#[test]
fn after_an_outage_of_two_seconds_nothing_waits_for_ten() {
    let mut play = Play::new();
    let to: Vec<_> = (0..4).map(|n| destination_of(&format!("/{n}"))).collect();
    let calm = Duration::from_secs(12);
    assert_eq!(play.go_on(&to, calm, true).len(), 2);
    for outage_s in [30, 2, 1, 2, 60, 2, 2] {
        play.go_on(&to, Duration::from_secs(outage_s), false);
        let first = play.go_on(&to, calm, true);
        let held_up: Vec<_> = [1, 2].map(|node| first[&node]).into();
        // Pauses double, so the last one is about as long as the outage, and ten seconds at most. Once one is
        // back nobody waits for the other.
        let most = Duration::from_millis(1_100 * outage_s.min(9));
        assert!(
            held_up.iter().all(|time| *time < most),
            "{outage_s} s: {held_up:?}"
        );
        assert!(
            held_up[0].abs_diff(held_up[1]) < Duration::from_millis(500),
            "{outage_s} s: {held_up:?}"
        );
    }
}
