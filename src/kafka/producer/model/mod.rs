//! The machine against simulated brokers: random interleavings of lines, answers with any code, hang-ups, moves
//! of leaders, metadata that lags behind, growth, topics that are made again smaller, and time. No thread and no
//! socket. After each step the oracle has its say; at the end everything must be delivered.

mod going_over;
mod world;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::batch::{Batch, Destination, Framing, SourceId};
use crate::budget::{Account, Budget};
use crate::buffer::BufferPool;
use crate::config::{Acks, BrokerAddress};
use crate::kafka::cluster::broker::Peer;
use crate::kafka::network::connection::{ConnectionEvent, Event};
use crate::kafka::network::error::ConnectionError;
use crate::kafka::protocol::api::{INIT_PRODUCER_ID, METADATA, PRODUCE, Versions};
use crate::kafka::protocol::request::Request;
use crate::kafka::protocol::response::{InitProducerIdResponse, ProduceResponse, Response};
use crate::kafka::testing::{Opened, RecordingDial, config, destination_of};
use crate::tailer_handle::testing::handle;

use super::machine::{Machine, Now};
use world::{NODES, Oracle, Sent, World};

/// What may happen in a run.
#[derive(Debug, Clone, Copy)]
struct Weather {
    grows: bool,
    is_made_again: bool,
    forgets: bool,
    poisons: bool,
}

/// A request that a broker has not answered.
#[derive(Debug)]
enum Asked {
    Metadata,
    InitProducerId,
    /// The batches, and what is answered to each where the broker has handled them.
    Produce(Vec<Sent>),
}

#[derive(Debug)]
struct Connection {
    opened: Opened,
    is_up: bool,
    asked: VecDeque<Asked>,
}

impl Connection {
    fn node(&self) -> i32 {
        match self.opened.peer {
            Peer::Node(node) => node,
            Peer::Seed(_) => 1,
        }
    }
}

struct Run {
    machine: Machine,
    dial: RecordingDial,
    connections: Vec<Connection>,
    world: World,
    oracle: Oracle,
    weather: Weather,
    random: fastrand::Rng,
    now: Instant,
    due: Option<Instant>,
    pool: Arc<BufferPool>,
    account: Arc<Account>,
    files: Vec<(SourceId, Arc<Destination>)>,
    steps: u64,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let is_idempotent = random.u8(..4) > 0;
        let weather = Weather {
            grows: random.bool(),
            is_made_again: random.u8(..3) == 0,
            forgets: random.u8(..4) == 0,
            poisons: random.bool(),
        };
        let address = BrokerAddress {
            host: "seed".into(),
            port: 9092,
        };
        let mut config = config(&address);
        config.batch_bytes = 500;
        config.linger = Duration::from_millis(random.u64(..2) * 5);
        if !is_idempotent {
            config.idempotence = false;
            config.acks = Acks::Leader;
        }
        let dial = RecordingDial::default();
        let now = Instant::now();
        let boxed = Box::new(dial.clone());
        let machine = Machine::new(Arc::new(config), boxed, Arc::default(), random.fork(), now);
        let files = (0..6).map(|n| (SourceId::next(), destination_of(&format!("/log/{n}"))));
        let files: Vec<_> = files.collect();
        let mut oracle = Oracle::default();
        oracle.numbers = files.iter().map(|file| file.0).zip(0..).collect();
        oracle.is_idempotent = is_idempotent;
        Run {
            machine,
            dial,
            connections: Vec::new(),
            world: World::new(random.usize(1..4)),
            oracle,
            weather,
            random,
            now,
            due: None,
            pool: BufferPool::new(),
            account: Budget::new(1 << 30).route().account(handle()),
            files,
            steps: 0,
        }
    }

    /// Does `steps` random things, then lets everything be delivered. Returns what was wrong.
    fn go(&mut self, steps: u64) -> Option<String> {
        for _ in 0..steps {
            self.step();
            self.settle();
            if self.oracle.wrong.is_some() {
                return self.oracle.wrong.take();
            }
        }
        self.machine.finish();
        self.world.lagging.clear();
        for _ in 0..3_000 {
            if self.machine.is_idle() {
                self.oracle.ends(&self.world);
                return self.oracle.wrong.take();
            }
            self.heal();
            self.settle();
            if self.oracle.wrong.is_some() {
                return self.oracle.wrong.take();
            }
        }
        Some("something is never delivered".to_owned())
    }

    fn step(&mut self) {
        match self.random.u8(..100) {
            0..35 => self.push(),
            35..75 => self.any_connection_goes_on(),
            75..78 => self.hang_up(),
            78..81 => {
                let partition = self.random.usize(..self.world.logs.len());
                self.world.move_leader(partition);
            }
            81..83 => {
                let node = self.random.i32(1..=NODES);
                if self.world.lagging.remove(&node).is_none() {
                    self.world.lag(node);
                }
            }
            83 if self.weather.grows && self.world.logs.len() < 6 => {
                self.world.grow(self.world.logs.len() + 1);
            }
            84 if self.weather.is_made_again && self.world.logs.len() > 1 => {
                let fewer = self.random.usize(1..self.world.logs.len());
                self.world.make_again(fewer);
                self.oracle.is_excused = true;
            }
            85 if self.weather.forgets => {
                for log in &mut self.world.logs {
                    log.sequences.clear();
                }
                self.oracle.is_excused = true;
            }
            86 => self.now += Duration::from_millis(self.random.u64(..3_000)),
            88 if self.random.u8(..3) == 0 => self.go_over(),
            // Topics that are not used are dropped.
            87 if self.random.u8(..8) == 0 => self.now += Duration::from_secs(700),
            _ => match self.due {
                Some(due) => self.now = self.now.max(due),
                None => self.now += Duration::from_millis(self.random.u64(..20)),
            },
        }
        self.steps += 1;
    }

    /// Everybody does what is right.
    fn heal(&mut self) {
        for at in 0..self.connections.len() {
            if at < self.connections.len() {
                self.goes_on(at, true);
            }
        }
        self.now = self.due.unwrap_or(self.now).max(self.now) + Duration::from_millis(1);
        self.steps += 1;
    }

    /// Polls the machine and takes in what it wants and says.
    fn settle(&mut self) {
        self.due = self.machine.poll(self.now);
        while let Some((refused, batch)) = self.machine.take_refused(self.now) {
            let text = String::from_utf8(refused.record).expect("text");
            let mut words = text.split(' ');
            let mut number = || words.next().and_then(|word| word.parse::<u32>().ok());
            let line = (
                number().expect("a source") as usize,
                number().expect("a line"),
            );
            if !text.ends_with('P') {
                self.oracle.wrong =
                    Some(format!("{line:?} was put aside though nobody refused it"));
            }
            self.oracle.refused.push(line);
            let spans: Vec<_> = batch.spans().collect();
            self.oracle.acked(&spans, &self.world);
        }
        let effects = self.machine.take_effects();
        self.oracle.acked(&effects.acked, &self.world);
        for opened in self.dial.take() {
            self.connections.push(Connection {
                opened,
                is_up: false,
                asked: VecDeque::new(),
            });
        }
        for connection in &mut self.connections {
            let node = connection.node();
            while let Ok(request) = connection.opened.requests.try_recv() {
                let number = connection.opened.number;
                let asked = take_in(&mut self.oracle, &self.world, number, node, &request);
                connection.asked.push_back(asked);
            }
        }
    }

    fn push(&mut self) {
        let file = self.random.usize(..self.files.len());
        if self.random.u8(..8) == 0 {
            // It is rotated, and its offsets go on.
            self.files[file].0 = SourceId::next();
            self.oracle.numbers.insert(self.files[file].0, file);
        }
        let (source, destination) = self.files[file].clone();
        let ends = &mut self.oracle.sources.entry(file).or_default().ends;
        let start = ends.last().copied().unwrap_or(0);
        let mut data = Vec::new();
        for _ in 0..self.random.usize(1..5) {
            let filler = "x".repeat(self.random.usize(..60));
            let poison = match self.weather.poisons && self.random.u8(..60) == 0 {
                true => "P",
                false => ".",
            };
            data.extend_from_slice(format!("{file} {} {filler}{poison}\n", ends.len()).as_bytes());
            ends.push(start + data.len() as u64);
        }
        let mut buffer = self.pool.buffer(data.len());
        buffer.copy_from_slice(&data);
        let batch = Batch {
            destination,
            source,
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

    fn any_connection_goes_on(&mut self) {
        if !self.connections.is_empty() {
            let at = self.random.usize(..self.connections.len());
            self.goes_on(at, false);
        }
    }

    /// A connection is made, or its oldest request answered.
    fn goes_on(&mut self, at: usize, is_healed: bool) {
        let connection = &mut self.connections[at];
        let number = connection.opened.number;
        if !connection.is_up {
            if !is_healed && self.random.u8(..20) == 0 {
                return self.close(at);
            }
            connection.is_up = true;
            let apis = [PRODUCE, METADATA, INIT_PRODUCER_ID];
            let offered = apis.map(|api| (api.key, api.least, api.most.min(3).max(api.least)));
            let versions = Versions::offering(&offered);
            let what = ConnectionEvent::Connected {
                versions,
                about: String::new(),
                hangup: None,
            };
            return self.tell(number, what);
        }
        let node = connection.node();
        let Some(asked) = connection.asked.pop_front() else {
            return;
        };
        let answer = match asked {
            Asked::Metadata => {
                let mut metadata = self.world.metadata(node);
                if !is_healed && self.random.u8(..20) == 0 {
                    metadata.topics[0].error = self.random.choice([3, 5, 17, 29]).unwrap_or(3);
                } else {
                    self.oracle.tells(&metadata.topics[0]);
                }
                Response::Metadata(metadata)
            }
            Asked::InitProducerId => {
                self.world.next_producer += 1;
                let fails = !is_healed && self.random.u8(..5) == 0;
                Response::InitProducerId(InitProducerIdResponse {
                    throttle_ms: 0,
                    error: if fails { 14 } else { 0 },
                    id: self.world.next_producer,
                    epoch: 0,
                })
            }
            Asked::Produce(batches) => {
                Response::Produce(self.handle(number, node, &batches, is_healed))
            }
        };
        self.tell(number, ConnectionEvent::Answered(answer));
    }

    /// A broker handles a Produce request.
    fn handle(
        &mut self,
        number: u64,
        node: i32,
        batches: &[Sent],
        is_healed: bool,
    ) -> ProduceResponse {
        let mut partitions = Vec::new();
        for sent in batches {
            let luck = if is_healed { 99 } else { self.random.u8(..100) };
            let error = match luck {
                0 => 19,
                1 => 6,
                2 => 2,
                3 => 9_999,
                // It is appended, and then something goes wrong.
                4 | 5 => match self.world.produce(node, sent) {
                    0 if luck == 4 => 7,
                    0 => 20,
                    error => error,
                },
                6 if self.weather.forgets => {
                    // A batch whose answer was lost goes again under another id.
                    self.oracle.is_excused = true;
                    self.random.choice(CODES_OF_A_LOST_ID).unwrap_or(45)
                }
                // A batch that is there already grows by a header if its time is refused, and is perhaps divided.
                7 if !self.world.has(sent.lines[0]) => self.random.choice(CODES).unwrap_or(19),
                _ => self.world.produce(node, sent),
            };
            self.oracle.answers(number, sent, error != 0);
            partitions.push(world::answer(sent.partition, error));
        }
        // A broker may answer in another order than it was asked.
        if self.random.u8(..4) == 0 {
            self.random.shuffle(&mut partitions);
        }
        ProduceResponse {
            partitions,
            throttle_ms: 0,
        }
    }

    fn hang_up(&mut self) {
        if self.connections.is_empty() {
            return;
        }
        let at = self.random.usize(..self.connections.len());
        self.handle_some(at);
        self.close(at);
    }

    /// A broker handles some of what it was asked, and nobody hears of it.
    fn handle_some(&mut self, at: usize) {
        let handled = self.random.usize(..3);
        let node = self.connections[at].node();
        let asked = std::mem::take(&mut self.connections[at].asked);
        for (n, asked) in asked.iter().enumerate() {
            let Asked::Produce(batches) = asked else {
                continue;
            };
            for sent in batches {
                if n < handled {
                    self.world.produce(node, sent);
                }
            }
        }
        self.connections[at].asked = asked;
    }

    fn close(&mut self, at: usize) {
        let connection = self.connections.swap_remove(at);
        let number = connection.opened.number;
        for asked in &connection.asked {
            if let Asked::Produce(batches) = asked {
                for sent in batches {
                    self.oracle.answers(number, sent, true);
                }
            }
        }
        let kind = match self.random.bool() {
            true => io::ErrorKind::ConnectionReset,
            false => io::ErrorKind::TimedOut,
        };
        let error = ConnectionError::from(io::Error::from(kind));
        self.tell(number, ConnectionEvent::Closed(error));
    }

    fn tell(&mut self, connection: u64, what: ConnectionEvent) {
        let now = Now {
            at: self.now,
            unix_ms: 1_700_000_000_000,
        };
        self.machine.on_event(Event { connection, what }, now);
    }
}

/// Of a batch that was not appended.
const CODES: [i16; 24] = [
    -1, 5, 8, 9, 13, 14, 15, 16, 17, 21, 29, 31, 32, 35, 42, 43, 44, 56, 74, 75, 76, 89, 100, 9_999,
];
const CODES_OF_A_LOST_ID: [i16; 5] = [45, 47, 49, 59, 90];

/// The oracle sees what is sent.
fn take_in(oracle: &mut Oracle, world: &World, number: u64, node: i32, request: &Request) -> Asked {
    if request.api == METADATA {
        Asked::Metadata
    } else if request.api == INIT_PRODUCER_ID {
        Asked::InitProducerId
    } else {
        let batches = world::batches(request);
        oracle.takes(&batches);
        for sent in &batches {
            oracle.sends(number, node, sent, world);
        }
        Asked::Produce(batches)
    }
}

/// The first of `seeds` that goes wrong, and how.
pub(in crate::kafka::producer) fn first_wrong(
    seeds: std::ops::Range<u64>,
    steps: u64,
) -> (u64, Option<(u64, String)>) {
    let mut taken = 0;
    for seed in seeds {
        let mut run = Run::new(seed);
        let wrong = run.go(steps);
        taken += run.steps;
        if let Some(wrong) = wrong {
            return (taken, Some((seed, format!("{wrong}; {:?}", run.weather))));
        }
    }
    (taken, None)
}

#[test]
fn whatever_happens_each_line_arrives_once_and_in_order_unless_a_stated_cause_allows_otherwise() {
    let begin = Instant::now();
    let (steps, wrong) = first_wrong(0..seeds(60), 400);
    let seconds = begin.elapsed().as_secs_f64();
    println!(
        "{steps} steps in {seconds:.2} s: {:.0} a second",
        steps as f64 / seconds
    );
    assert_eq!(wrong, None);
}

/// `MODEL_SEEDS` of the environment, for a longer search.
fn seeds(usual: u64) -> u64 {
    let asked = std::env::var("MODEL_SEEDS").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// The topics and partitions that a Produce request has batches for, in its order.
pub(super) fn places_of(request: &Request) -> Vec<(String, i32)> {
    world::places(request)
}
