//! What the simulated brokers know, and how they treat what they are sent. The oracle: what must hold
//! whatever happens, checked from what the machine sends and says.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use crate::batch::{SourceId, Span};
use crate::kafka::protocol::record_batch::Unpacked;
use crate::kafka::protocol::request::Request;
use crate::kafka::protocol::response::{
    MetadataResponse, PartitionMetadata, PartitionResponse, TopicId, TopicMetadata,
};
use crate::kafka::protocol::wire::Reader;

pub(super) const TOPIC: &str = "t";
pub(super) const NODES: i32 = 3;
/// Batches above it are refused.
pub(super) const MAX_MESSAGE_BYTES: usize = 400;

/// A line: which source wrote it, and its number there.
pub(super) type Line = (usize, u32);

/// A record batch as it arrived.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    pub(super) partition: i32,
    pub(super) producer: i64,
    pub(super) sequence: i32,
    pub(super) bytes: usize,
    pub(super) lines: Vec<Line>,
    pub(super) is_poisoned: bool,
}

/// A partition as its leader has it; the others follow at once.
#[derive(Debug, Clone)]
pub(super) struct Log {
    pub(super) leader: i32,
    pub(super) epoch: i32,
    pub(super) lines: Vec<Line>,
    /// The last five batches of each producer: first sequence number and count.
    pub(super) sequences: HashMap<i64, VecDeque<(i32, i32)>>,
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) id: u8,
    pub(super) logs: Vec<Log>,
    /// What was in topics that were made again.
    pub(super) past: Vec<Log>,
    /// Nodes that tell old metadata.
    pub(super) lagging: BTreeMap<i32, TopicMetadata>,
    pub(super) next_producer: i64,
    /// Every line that was appended anywhere, in that order.
    pub(super) appended: Vec<Line>,
}

impl World {
    pub(super) fn new(partitions: usize) -> Self {
        let mut world = World {
            id: 1,
            logs: Vec::new(),
            past: Vec::new(),
            lagging: BTreeMap::new(),
            next_producer: 100,
            appended: Vec::new(),
        };
        world.grow(partitions);
        world
    }

    pub(super) fn grow(&mut self, to: usize) {
        while self.logs.len() < to {
            self.logs.push(Log {
                leader: 1 + self.logs.len() as i32 % NODES,
                epoch: 0,
                lines: Vec::new(),
                sequences: HashMap::new(),
            });
        }
    }

    /// The topic is deleted and made again with fewer partitions.
    pub(super) fn make_again(&mut self, partitions: usize) {
        self.past.append(&mut self.logs);
        self.id += 1;
        // A broker that still tells of the old topic would tell of one that has the other id.
        self.lagging.clear();
        self.grow(partitions);
    }

    pub(super) fn move_leader(&mut self, partition: usize) {
        let log = &mut self.logs[partition];
        log.leader = 1 + log.leader % NODES;
        log.epoch += 1;
    }

    fn told(&self) -> TopicMetadata {
        let partition = |(index, log): (usize, &Log)| PartitionMetadata {
            index: index as i32,
            leader: log.leader,
            leader_epoch: log.epoch,
        };
        TopicMetadata {
            error: 0,
            name: TOPIC.to_owned(),
            id: Some(TopicId([self.id; 16])),
            partitions: self.logs.iter().enumerate().map(partition).collect(),
            ..TopicMetadata::default()
        }
    }

    /// The node tells what is true now for a while to come.
    pub(super) fn lag(&mut self, node: i32) {
        let told = self.told();
        self.lagging.entry(node).or_insert(told);
    }

    pub(super) fn metadata(&self, node: i32) -> MetadataResponse {
        let topic = match self.lagging.get(&node) {
            Some(old) => TopicMetadata {
                name: old.name.clone(),
                partitions: old.partitions.clone(),
                ..*old
            },
            None => self.told(),
        };
        MetadataResponse {
            brokers: (1..=NODES)
                .map(|id| (id, format!("10.0.0.{id}"), 9092))
                .collect(),
            topics: vec![topic],
            cluster_id: None,
            error: 0,
            throttle_ms: 0,
        }
    }

    /// What the leader answers to a batch, having appended it where that is 0.
    pub(super) fn produce(&mut self, node: i32, sent: &Sent) -> i16 {
        let Ok(index) = usize::try_from(sent.partition) else {
            return 3;
        };
        let Some(log) = self.logs.get_mut(index) else {
            return 3;
        };
        if log.leader != node {
            return 6;
        }
        if sent.bytes > MAX_MESSAGE_BYTES && sent.lines.len() > 1 {
            return 10;
        }
        if sent.is_poisoned {
            return 87;
        }
        if sent.producer >= 0 {
            let count = sent.lines.len() as i32;
            let last = log.sequences.entry(sent.producer).or_default();
            if last.contains(&(sent.sequence, count)) {
                return 0;
            }
            if last
                .back()
                .is_some_and(|(first, count)| first + count != sent.sequence)
            {
                return 45;
            }
            last.push_back((sent.sequence, count));
            if last.len() > 5 {
                last.pop_front();
            }
        }
        log.lines.extend(&sent.lines);
        self.appended.extend(&sent.lines);
        0
    }

    /// The sequence number that the leader takes next of a producer, if it knows it.
    pub(super) fn next_sequence(&self, partition: i32, producer: i64) -> Option<i32> {
        let log = self.logs.get(usize::try_from(partition).ok()?)?;
        let (first, count) = log.sequences.get(&producer)?.back()?;
        Some(first + count)
    }

    /// Whether some log has the line.
    pub(super) fn has(&self, line: Line) -> bool {
        let mut logs = self.logs.iter().chain(&self.past).rev();
        logs.any(|log| log.lines.iter().rev().any(|kept| *kept == line))
    }
}

/// What is answered to a batch of `partition`.
pub(super) fn answer(partition: i32, error: i16) -> PartitionResponse {
    PartitionResponse {
        topic: TOPIC.into(),
        index: partition,
        error,
        message: None,
    }
}

/// The batches of a Produce request of version 3.
pub(super) fn batches(request: &Request) -> Vec<Sent> {
    let bytes = request.batches.iter().map(|(_, bytes)| bytes);
    let places = places(request).into_iter().zip(bytes);
    places
        .map(|((topic, partition), bytes)| {
            assert_eq!(topic, TOPIC);
            batch(partition, bytes)
        })
        .collect()
}

/// The topics and partitions that a Produce request of version 3 has batches for.
pub(super) fn places(request: &Request) -> Vec<(String, i32)> {
    let mut head = Reader::new(&request.head[12..], false);
    let mut read = || -> Result<Vec<_>, crate::kafka::protocol::wire::WireError> {
        head.string()?; // client id
        head.string()?; // transactional id
        head.i16()?; // acks
        head.i32()?; // time-out
        let mut places = Vec::new();
        for _ in 0..head.i32()? {
            let topic = head.string()?.unwrap_or_default().to_owned();
            for _ in 0..head.i32()? {
                places.push((topic.clone(), head.i32()?));
                head.i32()?; // size
            }
        }
        Ok(places)
    };
    read().expect("a request of ours")
}

fn batch(partition: i32, bytes: &[u8]) -> Sent {
    let crc = u32::from_be_bytes(bytes[17..21].try_into().expect("4 bytes"));
    assert_eq!(crc, crc32c::crc32c(&bytes[21..]), "the checksum");
    let unpacked = Unpacked::of(bytes).expect("a batch of ours");
    let records = unpacked.records().expect("records of ours");
    let mut is_poisoned = false;
    let lines = records
        .iter()
        .map(|record| {
            let text = std::str::from_utf8(record.value).expect("text");
            is_poisoned |= text.ends_with('P');
            let mut words = text.split(' ');
            let mut number = || words.next().and_then(|word| word.parse().ok());
            (
                number().expect("a source") as usize,
                number().expect("a line"),
            )
        })
        .collect();
    Sent {
        partition,
        producer: i64::from_be_bytes(bytes[43..51].try_into().expect("8 bytes")),
        sequence: i32::from_be_bytes(bytes[53..57].try_into().expect("4 bytes")),
        bytes: bytes.len(),
        lines,
        is_poisoned,
    }
}

/// A batch that was sent and not answered.
#[derive(Debug, Clone)]
pub(super) struct Flight {
    connection: u64,
    node: i32,
    producer: i64,
    sequence: i32,
}

#[derive(Debug, Default)]
pub(super) struct Oracle {
    /// The ends of the lines of each source, by offset, and how far it is acknowledged.
    pub(super) sources: BTreeMap<usize, Source>,
    pub(super) numbers: HashMap<SourceId, usize>,
    pub(super) refused: Vec<Line>,
    flights: HashMap<i32, Vec<Flight>>,
    failing: HashMap<i32, bool>,
    /// Leader and epoch that were told last and had to be believed.
    told: Vec<(i32, i32)>,
    id: Option<u8>,
    stale_in_a_row: u32,
    /// Brokers have lost track of a producer: sequence numbers protect from nothing then.
    pub(super) is_excused: bool,
    pub(super) is_idempotent: bool,
    pub(super) wrong: Option<String>,
}

#[derive(Debug, Default)]
pub(super) struct Source {
    /// Offset after each line.
    pub(super) ends: Vec<u64>,
    pub(super) acked: Vec<(u64, u64)>,
}

impl Oracle {
    fn fail(&mut self, what: String) {
        self.wrong.get_or_insert(what);
    }

    /// A request has one batch at most for a partition: brokers take no other.
    pub(super) fn takes(&mut self, request: &[Sent]) {
        let mut partitions: Vec<i32> = request.iter().map(|sent| sent.partition).collect();
        partitions.sort_unstable();
        if let Some(twice) = partitions.windows(2).find(|pair| pair[0] == pair[1]) {
            self.fail(format!("a request has partition {} twice", twice[0]));
        }
    }

    pub(super) fn sends(&mut self, connection: u64, node: i32, sent: &Sent, world: &World) {
        let partition = sent.partition;
        let flights = self.flights.entry(partition).or_default();
        let what = format!("partition {partition} sequence {} to {node}", sent.sequence);
        let same = |flight: &&Flight| {
            flight.node == node
                && (flight.producer, flight.sequence) == (sent.producer, sent.sequence)
        };
        let wrong = if flights
            .iter()
            .any(|flight| sent.producer >= 0 && same(&flight))
        {
            Some("is in flight there already")
        } else if flights.len() >= 5 {
            Some("is the sixth in flight")
        } else if !self.is_idempotent && !flights.is_empty() {
            Some("is in flight beside another one, without sequence numbers")
        } else if !flights.is_empty() && self.failing.get(&partition) == Some(&true) {
            Some("did not wait for those that are in flight beside one that failed")
        } else if self
            .told
            .get(partition as usize)
            .is_some_and(|told| told.0 != node)
        {
            Some("goes to a leader that was replaced")
        } else if flights.is_empty()
            && !self.is_excused
            && let Some(next) = world.next_sequence(partition, sent.producer)
            && sent.sequence > next
        {
            Some("leaves a gap before it")
        } else {
            None
        };
        flights.push(Flight {
            connection,
            node,
            producer: sent.producer,
            sequence: sent.sequence,
        });
        if let Some(wrong) = wrong {
            self.fail(format!("{what} {wrong}"));
        }
    }

    /// The machine is about to hear how a batch fared.
    pub(super) fn answers(&mut self, connection: u64, sent: &Sent, is_failure: bool) {
        let flights = self.flights.entry(sent.partition).or_default();
        let is_it = |flight: &Flight| {
            flight.connection == connection
                && (flight.producer, flight.sequence) == (sent.producer, sent.sequence)
        };
        if let Some(at) = flights.iter().position(is_it) {
            flights.remove(at);
            let failing = self.failing.entry(sent.partition).or_default();
            *failing = (*failing || is_failure) && !flights.is_empty();
        }
    }

    /// The machine is about to hear this metadata.
    pub(super) fn tells(&mut self, told: &TopicMetadata) {
        let id = told.id.map(|id| id.0[0]);
        let known = self.told.clone();
        let is_older =
            |told: &(usize, (i32, i32))| known.get(told.0).is_some_and(|known| told.1.1 < known.1);
        let partitions = told.partitions.iter();
        let new: Vec<(i32, i32)> = partitions
            .map(|told| (told.leader, told.leader_epoch))
            .collect();
        let is_smaller = new.len() < known.len();
        let is_doubted = new.iter().copied().enumerate().any(|told| is_older(&told)) || is_smaller;
        let is_stale =
            self.id == id && (is_doubted && self.stale_in_a_row < 5 || is_smaller && id.is_some());
        self.stale_in_a_row = if is_stale { self.stale_in_a_row + 1 } else { 0 };
        self.id = id;
        for (index, told) in new.iter().enumerate() {
            if is_stale && is_older(&(index, *told)) {
                continue;
            }
            let known = self.told.get(index).copied();
            if self.told.len() <= index {
                self.told.resize(index + 1, *told);
            }
            self.told[index] = *told;
            let is_news = known.is_none_or(|known| known.0 != told.0 || told.1 > known.1);
            if is_news && self.is_idempotent {
                // What is in flight elsewhere is given up.
                let flights = self.flights.entry(index as i32).or_default();
                flights.retain(|flight| flight.node == told.0);
                if flights.is_empty() {
                    self.failing.insert(index as i32, false);
                }
            }
        }
        if !is_stale {
            self.told.truncate(new.len());
        }
    }

    /// The machine says that these bytes are done.
    pub(super) fn acked(&mut self, spans: &[Span], world: &World) {
        for span in spans {
            let number = self.numbers[&span.source];
            let source = self.sources.entry(number).or_default();
            source.acked.push((span.start, span.end));
            let first = source.ends.partition_point(|end| *end <= span.start);
            let last = source.ends.partition_point(|end| *end <= span.end);
            let lost = (first..last)
                .map(|line| (number, line as u32))
                .find(|line| !self.refused.contains(line) && !world.has(*line));
            if let Some(line) = lost {
                self.fail(format!("{line:?} is acknowledged and in no log"));
            }
        }
    }

    /// Everything was delivered.
    pub(super) fn ends(&mut self, world: &World) {
        let mut wrong = Vec::new();
        for (number, source) in &mut self.sources {
            source.acked.sort_unstable();
            let mut at = 0;
            for (start, end) in &source.acked {
                if *start != at {
                    wrong.push(format!("source {number}: {start} follows {at}"));
                }
                at = *end;
            }
            if at != source.ends.last().copied().unwrap_or(0) {
                wrong.push(format!("source {number} is acknowledged up to {at} only"));
            }
        }
        if !self.is_excused {
            let mut seen = HashSet::new();
            let mut last: HashMap<usize, u32> = HashMap::new();
            for line in &world.appended {
                let is_first = seen.insert(*line);
                if !is_first && self.is_idempotent {
                    wrong.push(format!("{line:?} is there twice"));
                }
                if is_first
                    && last
                        .insert(line.0, line.1)
                        .is_some_and(|last| last > line.1)
                {
                    wrong.push(format!("{line:?} is out of order"));
                }
            }
        }
        if let Some(wrong) = wrong.into_iter().next() {
            self.fail(wrong);
        }
    }
}
