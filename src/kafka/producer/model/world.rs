//! What the simulated brokers know, and how they treat what they are sent.

use std::collections::{BTreeMap, HashMap, VecDeque};

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
