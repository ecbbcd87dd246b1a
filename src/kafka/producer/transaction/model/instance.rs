//! An instance of the producer: the transactions under test, and batches of which it does the least that there is to do.

use std::collections::VecDeque;
use std::time::Instant;

use super::super::*;
use super::world::{Answer, DATA, NOBODY, RECORDS, Record, Request, World};

#[derive(Debug, Clone)]
pub(super) struct Batch {
    pub(super) records: Vec<Record>,
    pub(super) first: i32,
    /// Which request has it.
    pub(super) in_flight: Option<u64>,
}

#[derive(Debug, Default)]
pub(super) struct Part {
    /// The next record that was not taken up.
    pub(super) next: u32,
    pub(super) batches: VecDeque<Batch>,
    pub(super) retained: Vec<Batch>,
    pub(super) signed: Option<ProducerId>,
    pub(super) is_proven: bool,
    pub(super) is_draining: bool,
    pub(super) sequence: i32,
}

/// An instance of the producer, that does with batches what the partitions of the real one do.
pub(super) struct Instance {
    pub(super) transaction: Transaction,
    pub(super) parts: Vec<Part>,
    pub(super) has_positions: bool,
    /// Unanswered: the partition or the coordinator, and the request.
    pub(super) sent: Vec<(usize, u64, Request)>,
    pub(super) requests: u64,
    pub(super) committed: [u32; DATA],
    /// Which start of all it was.
    pub(super) number: u32,
}

/// The connection to the coordinator.
pub(super) const COORDINATOR: usize = DATA + 1;

impl Instance {
    pub(super) fn start(
        world: &World,
        number: u32,
        random: &mut fastrand::Rng,
        now: Instant,
    ) -> Self {
        let positions = world.positions();
        let mut parts: Vec<Part> = (0..=DATA).map(|_| Part::default()).collect();
        for (part, position) in parts.iter_mut().zip(positions) {
            part.next = position;
        }
        Instance {
            transaction: Transaction::new(world.producer, world.features, random, now),
            parts,
            has_positions: false,
            sent: Vec::new(),
            requests: 0,
            committed: positions,
            number,
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.committed == [RECORDS; DATA]
    }

    pub(super) fn send(&mut self, connection: usize, request: Request) -> u64 {
        self.requests += 1;
        self.sent.push((connection, self.requests, request));
        self.requests
    }

    /// Everything that it does by itself.
    pub(super) fn poll(&mut self, random: &mut fastrand::Rng, now: Instant) {
        for at in 0..DATA {
            let part = &mut self.parts[at];
            if self.transaction.is_open() && part.next < RECORDS && random.bool() {
                let to = (part.next + random.u32(1..4)).min(RECORDS);
                let records = (part.next..to).map(Record::Line).collect();
                part.batches.push_back(Batch {
                    records,
                    first: -1,
                    in_flight: None,
                });
                part.next = to;
            }
        }
        let is_empty = |part: &Part| part.batches.is_empty();
        if self.transaction.has_begun() && random.u8(..6) == 0 {
            self.transaction.seal();
        }
        if self.transaction.has_begun()
            && !self.transaction.is_open()
            && self.parts.iter().all(is_empty)
        {
            match self.has_positions {
                true => drop(self.transaction.commit()),
                false => {
                    self.has_positions = true;
                    let mut positions = [0; DATA];
                    for (position, part) in positions.iter_mut().zip(&self.parts) {
                        *position = part.next;
                    }
                    self.parts[DATA].batches.push_back(Batch {
                        records: vec![Record::Positions(positions)],
                        first: -1,
                        in_flight: None,
                    });
                }
            }
        }
        for at in 0..self.parts.len() {
            while self.send_batch(at) {}
        }
        if let Some(question) = self.transaction.ask(now) {
            let producer = self.transaction.producer();
            let version = self.transaction.version();
            let number = |place: &Place| usize::try_from(place.1).expect("a number of ours");
            let request = match question {
                Question::FindCoordinator => Request::Find,
                Question::Features => Request::Features,
                Question::AddPartitions(places) => {
                    Request::Add(producer, places.iter().map(number).collect())
                }
                Question::End(end) => Request::End(version, producer, end),
                Question::NextEpoch(expected) => Request::Init(Some(expected)),
            };
            self.send(COORDINATOR, request);
        }
    }

    pub(super) fn send_batch(&mut self, at: usize) -> bool {
        let part = &mut self.parts[at];
        let in_flight = part
            .batches
            .iter()
            .filter(|batch| batch.in_flight.is_some())
            .count();
        part.is_draining &= in_flight > 0;
        let Some(first) = part
            .batches
            .iter()
            .position(|batch| batch.in_flight.is_none())
        else {
            return false;
        };
        let most = match part.is_proven || self.transaction.version() == TransactionVersion::Two {
            true => 5,
            false => 1,
        };
        if part.is_draining
            || in_flight >= most
            || !self.transaction.admits(&("t".into(), at as i32))
        {
            return false;
        }
        let producer = self.transaction.producer();
        let part = &mut self.parts[at];
        if part.signed != Some(producer) {
            assert_eq!(in_flight, 0, "batches of another epoch are in flight");
            part.signed = Some(producer);
            part.is_proven = false;
            part.sequence = 0;
            part.batches.iter_mut().for_each(|batch| batch.first = -1);
        }
        if part.batches[first].first < 0 {
            part.batches[first].first = part.sequence;
            part.sequence += part.batches[first].records.len() as i32;
        }
        let batch = part.batches[first].clone();
        let version = self.transaction.version();
        let request = Request::Produce(version, producer, at, batch.first, batch.records);
        let id = self.send(at, request);
        self.parts[at].batches[first].in_flight = Some(id);
        true
    }

    /// A request is answered, or will not be.
    pub(super) fn hears(
        &mut self,
        id: u64,
        request: &Request,
        answer: Option<Answer>,
        world: &World,
        now: Instant,
    ) -> Option<Stop> {
        let outcome = match (request, answer) {
            (Request::Produce(_, _, at, ..), answer) => self.hears_of_batch(*at, id, answer),
            (_, None) => {
                self.transaction.unanswered(now);
                None
            }
            (Request::Find, Some(answer)) => {
                self.transaction.found(answer.error, world.coordinator, now)
            }
            (Request::Features, Some(_)) => self.transaction.told_when_asked(world.features, now),
            (Request::Add(_, places), Some(answer)) => {
                let told = places
                    .iter()
                    .map(|at| ("t".into(), *at as i32, answer.error));
                self.transaction.added(&told.collect::<Vec<_>>(), now).0
            }
            (Request::End(..), Some(answer)) => {
                self.transaction.ended(answer.error, answer.producer, now)
            }
            (Request::Init(_), Some(answer)) => {
                let producer = answer.producer.unwrap_or(NOBODY);
                self.transaction.renewed(answer.error, producer, now)
            }
        };
        match outcome? {
            Outcome::Committed => {
                for (committed, part) in self.committed.iter_mut().zip(&self.parts) {
                    *committed = part.next;
                }
                self.parts.iter_mut().for_each(|part| part.retained.clear());
                self.has_positions = false;
            }
            Outcome::Aborted => {
                for part in &mut self.parts {
                    // Some that come before those may have no answer yet.
                    part.batches.extend(part.retained.drain(..));
                    let batches = part.batches.make_contiguous();
                    batches.sort_by_key(|batch| batch.first as u32);
                    batches.iter_mut().for_each(|batch| batch.in_flight = None);
                }
                // Others may come along now.
                self.parts[DATA].batches.clear();
                self.has_positions = false;
            }
            Outcome::Stopped(stop) => return Some(stop),
        }
        None
    }

    pub(super) fn hears_of_batch(
        &mut self,
        at: usize,
        id: u64,
        answer: Option<Answer>,
    ) -> Option<Outcome> {
        let part = &mut self.parts[at];
        let place = part
            .batches
            .iter()
            .position(|batch| batch.in_flight == Some(id))?;
        part.batches[place].in_flight = None;
        match answer {
            Some(Answer { error: 0, .. }) => {
                part.is_proven = true;
                let batch = part.batches.remove(place).expect("it was found");
                part.retained.push(batch);
                self.transaction.acknowledged();
                None
            }
            Some(Answer { error, .. }) => {
                part.is_draining = true;
                if ![47, 90].contains(&error) {
                    self.transaction.may_be_open();
                }
                match error {
                    45 if place == 0 => {
                        self.transaction.abort();
                        None
                    }
                    error => self.transaction.produce_refused(Verdict::of(error)),
                }
            }
            None => {
                part.is_draining = true;
                self.transaction.may_be_open();
                None
            }
        }
    }
}
