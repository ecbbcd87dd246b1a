//! Brokers as far as transactions are concerned, what may be wrong with them, and what must hold of what they have.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::kafka::protocol::api::{END_TXN, INIT_PRODUCER_ID};
use crate::kafka::protocol::record_batch::Unpacked;
use crate::kafka::protocol::request::Request;
use crate::kafka::protocol::response::{MetadataResponse, PartitionMetadata, TopicMetadata};
use crate::kafka::protocol::wire::{Reader, WireError};

/// Their names and leaders.
pub(super) const TOPICS: [(&str, &[i32]); 4] = [
    ("a", &[2, 3]),
    ("b", &[2]),
    ("c", &[3]),
    (POSITIONS, &[COORDINATOR]),
];
pub(super) const POSITIONS: &str = "positions";
/// It has the positions too.
pub(super) const COORDINATOR: i32 = 1;
/// What is wrong with a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrong {
    Missing,
    Leaderless,
    Refuses(i16),
}

/// What a consumer would read: file and line.
pub(super) type Line = (usize, u32);

/// A partition of a topic.
#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) wrong: Option<Wrong>,
    /// When that began or ended last.
    pub(super) changed: Option<Instant>,
    pub(super) open: Vec<Line>,
    pub(super) committed: Vec<Line>,
    /// The epoch that wrote last, and which sequence number comes next.
    pub(super) next: (i16, i32),
    pub(super) last: Option<(i16, i32)>,
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) logs: BTreeMap<(String, i32), Log>,
    pub(super) epoch: i16,
    /// Of the transaction that is open, and the committed ones, by file: how many lines.
    pub(super) open_positions: BTreeMap<usize, u32>,
    pub(super) positions: BTreeMap<usize, u32>,
    /// How the last transaction ended.
    pub(super) ended: Option<bool>,
    pub(super) wrong: Option<String>,
}

impl World {
    pub(super) fn new() -> Self {
        let mut logs = BTreeMap::new();
        for (topic, leaders) in TOPICS {
            for index in 0..leaders.len() {
                logs.insert((topic.to_owned(), index as i32), Log::default());
            }
        }
        World {
            logs,
            epoch: 0,
            open_positions: BTreeMap::new(),
            positions: BTreeMap::new(),
            ended: None,
            wrong: None,
        }
    }

    pub(super) fn metadata(&self) -> MetadataResponse {
        let told = |(topic, leaders): &(&str, &[i32])| {
            let log = |index| &self.logs[&((*topic).to_owned(), index)];
            let leader = |(index, leader): (i32, &i32)| PartitionMetadata {
                index,
                leader: match log(index).wrong {
                    Some(Wrong::Leaderless) => -1,
                    _ => *leader,
                },
                leader_epoch: 0,
            };
            let is_missing = log(0).wrong == Some(Wrong::Missing);
            TopicMetadata {
                name: (*topic).to_owned(),
                error: if is_missing { 3 } else { 0 },
                partitions: match is_missing {
                    true => Vec::new(),
                    false => (0..).zip(*leaders).map(leader).collect(),
                },
                ..TopicMetadata::default()
            }
        };
        MetadataResponse {
            brokers: (1..=3)
                .map(|id| (id, format!("10.0.0.{id}"), 9092))
                .collect(),
            topics: TOPICS.iter().map(told).collect(),
            ..MetadataResponse::default()
        }
    }

    /// Appends a batch, if that can be done; the answer.
    pub(super) fn produce(&mut self, topic: &str, index: i32, bytes: &[u8]) -> i16 {
        let epoch = i16::from_be_bytes(bytes[51..53].try_into().expect("2 bytes"));
        let first = i32::from_be_bytes(bytes[53..57].try_into().expect("4 bytes"));
        let records = Unpacked::of(bytes).expect("a batch of ours");
        let records = records.records().expect("records of ours");
        let Some(log) = self.logs.get_mut(&(topic.to_owned(), index)) else {
            return 3;
        };
        match log.wrong {
            Some(Wrong::Missing) => return 3,
            Some(Wrong::Leaderless) => return 6,
            Some(Wrong::Refuses(code)) => return code,
            None => {}
        }
        if epoch != self.epoch {
            return 47;
        }
        if log.last == Some((epoch, first)) {
            return 0;
        }
        let next = if log.next.0 == epoch { log.next.1 } else { 0 };
        if first != next {
            return 45;
        }
        self.ended = None;
        log.next = (epoch, next + records.len() as i32);
        log.last = Some((epoch, first));
        for record in &records {
            let text = std::str::from_utf8(record.value).expect("text");
            let mut numbers = text.split(' ').filter_map(|word| word.parse::<u32>().ok());
            let file = numbers.next().expect("a file") as usize;
            let number = numbers.next().expect("a number");
            match topic == POSITIONS {
                true => drop(self.open_positions.insert(file, number)),
                false => log.open.push((file, number)),
            }
        }
        0
    }

    /// Ends the transaction; the error.
    pub(super) fn end(&mut self, epoch: i16, commits: bool) -> i16 {
        if epoch + 1 == self.epoch && self.ended == Some(commits) {
            return 0;
        }
        if epoch != self.epoch {
            return 47;
        }
        self.epoch += 1;
        self.ended = Some(commits);
        let positions = std::mem::take(&mut self.open_positions);
        for log in self.logs.values_mut() {
            let open = std::mem::take(&mut log.open);
            if commits {
                log.committed.extend(open);
            }
        }
        if commits {
            self.positions.extend(positions);
            self.check();
        }
        0
    }

    /// What is committed of each file is what its position says.
    fn check(&mut self) {
        let mut seen: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
        for (place, log) in &self.logs {
            let mut last: BTreeMap<usize, u32> = BTreeMap::new();
            for (file, line) in &log.committed {
                if last.insert(*file, *line).is_some_and(|last| last >= *line) {
                    let wrong = format!("{place:?}: line {line} of {file} comes late or again");
                    self.wrong.get_or_insert(wrong);
                }
                seen.entry(*file).or_default().push(*line);
            }
        }
        for (file, mut lines) in seen {
            lines.sort_unstable();
            let position = self.positions.get(&file).copied().unwrap_or(0);
            if lines != (0..position).collect::<Vec<_>>() {
                let wrong =
                    format!("of {file} {lines:?} are committed, the position is {position}");
                self.wrong.get_or_insert(wrong);
            }
        }
    }
}

/// Epoch, and whether it commits: of a request to end a transaction, or for another epoch.
pub(super) fn asked(request: &Request) -> (i16, bool) {
    let mut r = Reader::new(&request.head[12..], false);
    let mut read = || -> Result<_, WireError> {
        r.string()?; // client id
        r.string()?; // transactional id
        if request.api == INIT_PRODUCER_ID {
            r.i32()?; // time-out
        }
        r.i64()?;
        let epoch = r.i16()?;
        let commits = request.api == END_TXN && r.i8()? == 1;
        Ok((epoch, commits))
    };
    read().expect("a request of ours")
}
