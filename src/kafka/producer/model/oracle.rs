//! What must hold whatever happens, checked from what the machine sends and says.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::batch::{SourceId, Span};
use crate::kafka::protocol::response::TopicMetadata;

use super::world::{Line, Sent, World};

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
        let is_stale = (new.iter().copied().enumerate().any(|told| is_older(&told))
            || new.len() < known.len())
            && self.id == id
            && self.stale_in_a_row < 5;
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
