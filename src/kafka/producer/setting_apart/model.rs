//! A machine with transactions against brokers of which some things are wrong for a while: topics that are missing or
//! may not be written, partitions without a leader or enough replicas, brokers that are silent or hang up. At each commit
//! what consumers see of a file must be what its committed position says, once and in order; and whoever has nothing to do
//! with what is wrong is committed before long.

mod world;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::batch::{Batch, Destination, Framing, SourceId, Span};
use crate::budget::{Account, Budget};
use crate::buffer::BufferPool;
use crate::config::BrokerAddress;
use crate::kafka::cluster::broker::Peer;
use crate::kafka::network::connection::{ConnectionEvent, Event};
use crate::kafka::network::error::ConnectionError;
use crate::kafka::producer::machine::{Machine, Now};
use crate::kafka::producer::model::places_of;
use crate::kafka::producer::transactional::{TakenOver, TransactionSettings};
use crate::kafka::protocol::api::{
    END_TXN, FIND_COORDINATOR, Features, INIT_PRODUCER_ID, METADATA, PRODUCE, TransactionVersion,
    Versions,
};
use crate::kafka::protocol::record_batch::ProducerId;
use crate::kafka::protocol::request::Request;
use crate::kafka::protocol::response::{
    InitProducerIdResponse, PartitionResponse, ProduceResponse, Response,
};
use crate::kafka::protocol::transaction::{EndTxnResponse, FindCoordinatorResponse, Transactions};
use crate::kafka::testing::{Opened, RecordingDial, config, destination_at};
use crate::tailer_handle::testing::handle;

use world::{COORDINATOR, POSITIONS, TOPICS, World, Wrong, asked};

const FILES: usize = 8;
/// What has nothing to do with anything that is wrong, or has not any more, is committed within this: it is tried again, and
/// waits for transactions of which others are set apart, and for trials of others.
const BEFORE_LONG: Duration = Duration::from_secs(60);

/// Time does not go on faster: connections have to keep up with it.
const TICK: Duration = Duration::from_millis(100);

struct File {
    /// One after the other: the file is rotated, and its offsets go on.
    sources: Vec<SourceId>,
    destination: Arc<Destination>,
    /// Offset after each line, and when it came.
    ends: Vec<(u64, Instant)>,
    acked: Vec<(u64, u64)>,
}

struct Connection {
    opened: Opened,
    is_up: bool,
    asked: VecDeque<Request>,
}

struct Run {
    machine: Machine,
    dial: RecordingDial,
    connections: Vec<Connection>,
    /// Nodes that answer nothing, and since when.
    silent: BTreeMap<i32, Instant>,
    world: World,
    files: Vec<File>,
    pool: Arc<BufferPool>,
    account: Arc<Account>,
    random: fastrand::Rng,
    /// Files go over to another topic.
    moves: bool,
    /// Brokers are silent and hang up.
    hangs_up: bool,
    /// After how many steps something was on trial.
    trials: u32,
    now: Instant,
    due: Option<Instant>,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let address = BrokerAddress {
            host: "seed".into(),
            port: 9092,
        };
        let mut config = config(&address);
        config.batch_bytes = 500;
        config.linger = Duration::from_millis(5);
        let (dial, now) = (RecordingDial::default(), Instant::now());
        let boxed = Box::new(dial.clone());
        let taken = TakenOver {
            producer: ProducerId { id: 7, epoch: 0 },
            features: Features {
                epoch: 1,
                transaction_version: TransactionVersion::Two,
            },
            settings: TransactionSettings {
                transactions: Transactions {
                    id: "id".to_owned(),
                    timeout_ms: 60_000,
                },
                positions: (POSITIONS.into(), 0),
                interval: Duration::from_secs(1),
                most_bytes: 4_000,
            },
            owner: None,
        };
        let machine = Machine::new(Arc::new(config), boxed, Arc::default(), random.fork(), now)
            .with_transactions(taken, now);
        let file = |n: usize| File {
            sources: vec![SourceId::next()],
            destination: destination_at(TOPICS[n % 3].0, &format!("/log/{n}")),
            ends: Vec::new(),
            acked: Vec::new(),
        };
        Run {
            machine,
            dial,
            connections: Vec::new(),
            silent: BTreeMap::new(),
            world: World::new(),
            files: (0..FILES).map(file).collect(),
            pool: BufferPool::new(),
            account: Budget::new(1 << 30).route().account(handle()),
            moves: random.u8(..3) == 0,
            hangs_up: random.bool(),
            trials: 0,
            random,
            now,
            due: None,
        }
    }

    fn go(&mut self, steps: u32) -> Result<(), String> {
        for _ in 0..steps {
            self.step();
            self.settle()?;
            self.check_progress()?;
        }
        self.machine.finish();
        for log in self.world.logs.values_mut() {
            log.wrong = None;
        }
        self.silent.clear();
        for _ in 0..20_000 {
            if self.machine.is_idle() {
                return self.check_end();
            }
            for at in 0..self.connections.len() {
                if at < self.connections.len() {
                    self.goes_on(at);
                }
            }
            let due = self.due.unwrap_or(self.now);
            self.now = due.clamp(self.now, self.now + TICK) + Duration::from_millis(1);
            self.settle()?;
        }
        Err(format!("it never ends: {:?}", self.machine))
    }

    fn step(&mut self) {
        match self.random.u8(..100) {
            0..25 => self.push(),
            25..70 if !self.connections.is_empty() => {
                let at = self.random.usize(..self.connections.len());
                self.goes_on(at);
            }
            70 if self.random.u8(..4) == 0 => self.goes_wrong(),
            71 if self.hangs_up => {
                let node = self.random.i32(1..=3);
                if self.silent.remove(&node).is_none() && self.random.bool() {
                    self.silent.insert(node, self.now);
                }
            }
            72 if self.hangs_up && self.random.u8(..4) == 0 && !self.connections.is_empty() => {
                let at = self.random.usize(..self.connections.len());
                self.close(at);
            }
            73 if self.moves => {
                let file = self.random.usize(..FILES);
                let (topic, _) = TOPICS[self.random.usize(..3)];
                self.files[file].destination = destination_at(topic, &format!("/log/{file}"));
            }
            // Of files that go to another topic nobody sees an order.
            74 if !self.moves => {
                let file = self.random.usize(..FILES);
                self.files[file].sources.push(SourceId::next());
            }
            75 => self.now += Duration::from_millis(self.random.u64(..3_000)),
            _ => match self.due {
                Some(due) => self.now = due.clamp(self.now, self.now + TICK),
                None => self.now += Duration::from_millis(self.random.u64(..20)),
            },
        }
        // A time-out.
        let late = |since: &Instant| self.now - *since > Duration::from_secs(10);
        let silent: Vec<i32> = self
            .silent
            .iter()
            .filter(|(_, since)| late(since))
            .map(|(node, _)| *node)
            .collect();
        for node in silent {
            self.silent.insert(node, self.now);
            let is_it = |connection: &Connection| connection.opened.peer == Peer::Node(node);
            if let Some(at) = self.connections.iter().position(is_it) {
                self.close(at);
            }
        }
    }

    /// A partition is not as before.
    fn goes_wrong(&mut self) {
        let places: Vec<_> = self.world.logs.keys().cloned().collect();
        let place = places[self.random.usize(..places.len())].clone();
        let wrong = match self.random.u8(..8) {
            _ if place.0 == POSITIONS => None,
            0 => Some(Wrong::Missing),
            1 => Some(Wrong::Leaderless),
            2 => Some(Wrong::Refuses(29)),
            3 => Some(Wrong::Refuses(19)),
            4 => Some(Wrong::Refuses(6)),
            _ => None,
        };
        let is_whole = matches!(wrong, None | Some(Wrong::Missing));
        for (at, log) in &mut self.world.logs {
            if *at == place || is_whole && at.0 == place.0 {
                log.wrong = wrong;
                log.changed = Some(self.now);
            }
        }
    }

    fn push(&mut self) {
        let number = self.random.usize(..FILES);
        let file = &mut self.files[number];
        let start = file.ends.last().map_or(0, |end| end.0);
        let mut data = Vec::new();
        for _ in 0..self.random.usize(1..4) {
            let line = file.ends.len();
            let filler = "x".repeat(self.random.usize(..60));
            data.extend_from_slice(format!("{number} {line} {filler}\n").as_bytes());
            file.ends.push((start + data.len() as u64, self.now));
        }
        let mut buffer = self.pool.buffer(data.len());
        buffer.copy_from_slice(&data);
        let batch = Batch {
            destination: file.destination.clone(),
            source: file.sources[file.sources.len() - 1],
            tag: None,
            start,
            data: buffer,
            framing: Framing::Lines,
            read_at_ms: 1_700_000_000_000,
            permit: self
                .account
                .acquire(data.len(), 1)
                .expect("the budget is free"),
        };
        self.machine.push(batch, self.now);
    }

    fn tell(&mut self, connection: u64, what: ConnectionEvent) {
        let now = Now {
            at: self.now,
            unix_ms: 1_800_000_000_000,
        };
        self.machine.on_event(Event { connection, what }, now);
    }

    fn close(&mut self, at: usize) {
        let connection = self.connections.remove(at);
        // It may have been done all the same.
        let mut done = self.random.usize(..=connection.asked.len());
        for request in &connection.asked {
            if done > 0 && connection.is_up {
                done -= 1;
                self.answer(request);
            }
        }
        let error = ConnectionError::Io(io::Error::from(io::ErrorKind::TimedOut));
        self.tell(connection.opened.number, ConnectionEvent::Closed(error));
    }

    /// A connection is made, or its oldest request answered.
    fn goes_on(&mut self, at: usize) {
        let connection = &mut self.connections[at];
        let node = match connection.opened.peer {
            Peer::Node(node) => node,
            Peer::Seed(_) => COORDINATOR,
        };
        if self.silent.contains_key(&node) {
            return;
        }
        let number = connection.opened.number;
        if !std::mem::replace(&mut connection.is_up, true) {
            let versions =
                Versions::offering(&[(0, 3, 3), (3, 0, 8), (10, 0, 1), (22, 0, 3), (26, 0, 1)]);
            let what = ConnectionEvent::Connected {
                versions,
                about: String::new(),
                hangup: None,
            };
            return self.tell(number, what);
        }
        let most = if self.random.bool() { 1 } else { usize::MAX };
        let asked = &mut connection.asked;
        let requests: Vec<_> = asked.drain(..asked.len().min(most)).collect();
        for request in requests {
            let answer = self.answer(&request);
            self.tell(number, ConnectionEvent::Answered(answer));
        }
    }

    fn answer(&mut self, request: &Request) -> Response {
        let world = &mut self.world;
        match request.api {
            METADATA => Response::Metadata(world.metadata()),
            PRODUCE => {
                let places = places_of(request).into_iter().zip(&request.batches);
                let partitions = places.map(|((topic, index), (_, bytes))| PartitionResponse {
                    error: world.produce(&topic, index, bytes),
                    topic: topic.into(),
                    index,
                    message: None,
                });
                Response::Produce(ProduceResponse {
                    partitions: partitions.collect(),
                    throttle_ms: 0,
                })
            }
            FIND_COORDINATOR => Response::FindCoordinator(FindCoordinatorResponse {
                throttle_ms: 0,
                error: 0,
                broker: (COORDINATOR, "10.0.0.1".to_owned(), 9092),
            }),
            END_TXN => {
                let (epoch, commits) = asked(request);
                let error = world.end(epoch, commits);
                Response::EndTxn(EndTxnResponse {
                    throttle_ms: 0,
                    error,
                    next: (error == 0).then_some(ProducerId {
                        id: 7,
                        epoch: world.epoch,
                    }),
                })
            }
            _ => {
                assert!(request.api == INIT_PRODUCER_ID);
                // Whatever is open is aborted.
                let (epoch, _) = asked(request);
                assert!(epoch >= 0, "nobody else has the id");
                let epoch = world.epoch;
                world.end(epoch, false);
                Response::InitProducerId(InitProducerIdResponse {
                    throttle_ms: 0,
                    error: 0,
                    id: 7,
                    epoch: world.epoch,
                })
            }
        }
    }

    /// Polls the machine and takes in what it wants and says.
    fn settle(&mut self) -> Result<(), String> {
        self.due = self.machine.poll(self.now);
        let transactional = self.machine.transactional.as_deref();
        let is_trying = transactional.is_some_and(|one| one.quarantine.trial.is_some());
        self.trials += u32::from(is_trying);
        let effects = self.machine.take_effects();
        if let Some(stop) = effects.stopped {
            return Err(format!("it stops: {stop}"));
        }
        self.takes(&effects.acked);
        if let Some(spans) = effects.sealed {
            let records = self.positions_after(&spans);
            self.machine
                .send_positions(records, 1_800_000_000_000, self.now);
            self.due = Some(self.now);
        }
        for opened in self.dial.take() {
            self.connections.push(Connection {
                opened,
                is_up: false,
                asked: VecDeque::new(),
            });
        }
        for connection in &mut self.connections {
            while let Ok(request) = connection.opened.requests.try_recv() {
                connection.asked.push_back(request);
            }
        }
        self.world.wrong.take().map_or(Ok(()), Err)
    }

    fn takes(&mut self, spans: &[Span]) {
        for span in spans {
            let mut files = self.files.iter_mut();
            let file = files.find(|file| file.sources.contains(&span.source));
            file.expect("one of ours")
                .acked
                .push((span.start, span.end));
        }
    }

    /// What the registrar says: how many lines there are without a gap.
    fn positions_after(&mut self, spans: &[Span]) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
        let mut records = Vec::new();
        for (number, file) in self.files.iter().enumerate() {
            let is_of_file = |span: &&Span| file.sources.contains(&span.source);
            let new = spans.iter().filter(is_of_file);
            let mut done: Vec<_> = new.map(|span| (span.start, span.end)).collect();
            if done.is_empty() {
                continue;
            }
            done.extend(&file.acked);
            done.sort_unstable();
            let mut at = 0;
            for (start, end) in done {
                if start == at {
                    at = end;
                }
            }
            let lines = file.ends.partition_point(|end| end.0 <= at);
            let value = format!("{number} {lines}").into_bytes();
            records.push((number.to_string().into_bytes(), Some(value)));
        }
        records
    }

    /// A file whose topic is well, as is all else that it needs, waits for nothing else.
    fn check_progress(&self) -> Result<(), String> {
        if self.moves || self.hangs_up {
            return Ok(());
        }
        let is_recent = |since: Instant| self.now - since < BEFORE_LONG;
        for (number, file) in self.files.iter().enumerate() {
            let topic = &*file.destination.route.topic;
            let mut logs = self.world.logs.iter().filter(|(place, _)| place.0 == topic);
            let is_well =
                logs.all(|(_, log)| log.wrong.is_none() && !log.changed.is_some_and(is_recent));
            let done = self.world.positions.get(&number).copied().unwrap_or(0) as usize;
            let waits = file.ends.get(done).is_some_and(|end| !is_recent(end.1));
            if is_well && waits {
                let machine = &self.machine;
                return Err(format!("line {done} of {number} waits: {machine:?}"));
            }
        }
        Ok(())
    }

    fn check_end(&self) -> Result<(), String> {
        for (number, file) in self.files.iter().enumerate() {
            let done = self.world.positions.get(&number).copied().unwrap_or(0) as usize;
            if done != file.ends.len() {
                return Err(format!(
                    "{done} lines of {number} are committed of {}",
                    file.ends.len()
                ));
            }
        }
        Ok(())
    }
}

/// `MODEL_SEEDS` says how many runs.
#[test]
fn what_is_not_taken_holds_up_nothing_else_and_all_is_committed_once_and_in_order() {
    let count = std::env::var("MODEL_SEEDS")
        .ok()
        .and_then(|value| value.parse().ok());
    let (mut wrong, mut trials) = (Vec::new(), 0u32);
    for seed in 0..count.unwrap_or(12) {
        let mut run = Run::new(seed);
        if let Err(what) = run.go(8_000) {
            wrong.push(format!("seed {seed}: {}", &what[..what.len().min(3_000)]));
        }
        trials += run.trials;
    }
    assert!(wrong.is_empty(), "{} wrong: {}", wrong.len(), wrong[0]);
    assert!(trials > 0, "nothing was ever set apart and tried");
}
