//! What the machine does for its transactions: seals them, asks the coordinator, and sends again what was aborted.

use std::time::{Duration, Instant};

use crate::batch::{Batch, Span};
use crate::kafka::cluster::Room;
use crate::kafka::cluster::broker::{Peer, Pending};
use crate::kafka::protocol::api::{
    ADD_PARTITIONS_TO_TXN, API_VERSIONS, END_TXN, FIND_COORDINATOR, INIT_PRODUCER_ID,
};
use crate::kafka::protocol::error_code::{Action, Asked, Reaction, Verdict};
use crate::kafka::protocol::record_batch::ProducerId;
use crate::kafka::protocol::request::Request;
use crate::kafka::protocol::response::Response;
use crate::progress::PositionRecord;

use super::batch::RecordBatch;
use super::machine::{Machine, min_deadline};
use super::partition::Partition;
use super::producer_id::ProducerIds;
use super::transaction::{End, Outcome, Question};
use super::transactional::{Stage, TakenOver, Transactional};

impl Machine {
    /// A machine whose batches go in transactions.
    pub(crate) fn with_transactions(mut self, taken: TakenOver, now: Instant) -> Self {
        let transactional = Transactional::new(taken, &self.metrics, &mut self.random, now);
        // The one of the transactional id is used, and no other.
        self.ids = ProducerIds::new(false, &self.metrics.board, &mut self.random, now);
        self.style.transactional_id = Some(transactional.settings.transactions.id.clone());
        self.encoder.makes_transactional();
        self.transactional = Some(Box::new(transactional));
        self
    }

    /// Keeps a batch back that comes too late for the transaction, and otherwise gives it back.
    pub(super) fn hold_back(&mut self, batch: Batch) -> Option<Batch> {
        let Some(transactional) = &mut self.transactional else {
            return Some(batch);
        };
        let partitioner = self.config.partitioner;
        let batch = transactional.quarantine.hold_back(batch, partitioner)?;
        if !transactional.is_sealed() {
            return Some(batch);
        }
        transactional.held.push_back(batch);
        None
    }

    /// File bytes that are done without Kafka.
    pub(crate) fn put_aside(&mut self, spans: Vec<Span>, now: Instant) {
        match &mut self.transactional {
            Some(transactional) if !spans.is_empty() => {
                transactional.aside.extend(spans);
                transactional.began.get_or_insert(now);
            }
            _ => self.effects.acked.extend(spans),
        }
    }

    /// Dead letters wait for the disk; the transaction that they belong to waits for them.
    pub(crate) fn waits_for_disk(&mut self, waits: bool) {
        if let Some(transactional) = &mut self.transactional {
            transactional.waits_for_disk = waits;
        }
    }

    /// Where the files of the sealed transaction stand once it is committed.
    pub(crate) fn send_positions(
        &mut self,
        records: Vec<PositionRecord>,
        unix_ms: i64,
        now: Instant,
    ) {
        let Some(transactional) = &mut self.transactional else {
            return;
        };
        if transactional.stage != Stage::Asked {
            return;
        }
        transactional.stage = Stage::Positions;
        let heartbeat = transactional.heartbeat.as_mut();
        let owner = heartbeat.and_then(|heartbeat| heartbeat.record(unix_ms, now));
        let records: Vec<PositionRecord> = records.into_iter().chain(owner).collect();
        if records.is_empty() {
            return;
        }
        let (name, index) = transactional.settings.positions.clone();
        let number = self.topic_number(&name, now);
        let index = usize::try_from(index).unwrap_or(0);
        let mut rest = &records[..];
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = rest.iter().take_while(|(key, value)| {
                bytes += key.len() + value.as_ref().map_or(0, Vec::len);
                bytes <= POSITIONS_BYTES
            });
            let (some, others) = rest.split_at(fits.count().max(1));
            rest = others;
            let id = self.batch_ids.next();
            let batch = RecordBatch::of_records(id, some, unix_ms, &mut self.encoder);
            if let Some(topic) = self.topics[number].as_mut() {
                topic.push_encoded(index, batch, now);
            }
        }
        self.list(number, index);
    }

    /// Does what is due for the transaction. Returns when to look again.
    pub(super) fn drive_transaction(&mut self, now: Instant) -> Option<Instant> {
        let mut is_empty = self.is_all_acknowledged();
        // What lingers goes out with the seal.
        let is_calm = is_empty || !self.has_in_flight();
        let is_short = is_calm && self.retained().any(Partition::is_retained_waited_for);
        let finishing = self.finishing;
        let transactional = self.transactional.as_deref_mut()?;
        let beat = transactional.beat(finishing, now);
        let mut next = transactional.seal_at();
        if is_calm && let Some((began, at)) = transactional.began.zip(next) {
            // Nothing more comes before the memory of what is kept is free again.
            let early = if is_short { began } else { now };
            next = Some(at.min(early + LEAST_TIME));
        }
        if next.is_some_and(|at| at <= now || finishing) {
            transactional.transaction.seal();
            transactional.stage = Stage::Emptying;
            transactional.sealed = Some(now);
            next = None;
        }
        if transactional.stage == Stage::Emptying && !is_empty {
            next = min_deadline(next, self.set_apart(now));
            is_empty = self.is_all_acknowledged();
        }
        let transactional = self.transactional.as_deref_mut()?;
        let is_ending = transactional.transaction.is_ending();
        match transactional.stage {
            Stage::Emptying if is_empty && !is_ending && !transactional.waits_for_disk => {
                transactional.stage = Stage::Asked;
                let spans = self.retained_spans();
                self.effects.sealed = Some(spans);
            }
            Stage::Positions if is_empty => {
                let outcome = transactional.transaction.commit();
                if outcome.is_some() || !transactional.transaction.has_begun() {
                    transactional.stage = Stage::Ending;
                }
                self.conclude(outcome, now);
            }
            _ => {}
        }
        let due = self.ask_coordinator(now);
        if let Some(transactional) = &self.transactional {
            transactional
                .counters
                .is_open(transactional.transaction.is_under_way());
        }
        min_deadline(min_deadline(next, due), beat)
    }

    /// The partitions that keep something until the commit.
    pub(super) fn retained(&self) -> impl Iterator<Item = &Partition> {
        let touched = self
            .transactional
            .iter()
            .flat_map(|transactional| &transactional.touched);
        let topics = touched.filter_map(|number| self.topics.get(*number)?.as_ref());
        topics.flat_map(|topic| topic.partitions.values())
    }

    fn retained_spans(&self) -> Vec<Span> {
        let aside = self
            .transactional
            .iter()
            .flat_map(|transactional| &transactional.aside);
        let mut spans: Vec<Span> = aside.cloned().collect();
        spans.extend(self.retained().flat_map(Partition::retained_spans));
        spans
    }

    /// Asks what is to be asked, if there is room for it. Returns when to look again.
    fn ask_coordinator(&mut self, now: Instant) -> Option<Instant> {
        let transactional = self.transactional.as_deref_mut()?;
        let due = transactional.transaction.due()?;
        if due > now {
            return Some(due);
        }
        let peer = match transactional.transaction.coordinator() {
            Some(node) => match self.cluster.send_slot(node, false, now) {
                Room::Slot(_) => Peer::Node(node),
                Room::At(at) => return Some(at),
                Room::None => return None,
            },
            None => match self.cluster.any_peer(now, Pending::is_transaction) {
                Some(peer) => peer,
                None => return self.cluster.wants_connection(now),
            },
        };
        let broker = self.cluster.broker(peer)?;
        let transaction = &mut transactional.transaction;
        let question = transaction.ask(now)?;
        let (producer, version) = (transaction.producer(), transaction.version());
        let (settings, client_id) = (&transactional.settings.transactions, &self.config.client_id);
        let speaks = |api| broker.version_in(api, version).unwrap_or(0);
        log::debug!("transaction {}: {}", settings.id, question.name());
        let request = match &question {
            Question::FindCoordinator => {
                Request::find_coordinator(client_id, speaks(FIND_COORDINATOR).max(1), &settings.id)
            }
            Question::Features => Request::api_versions(client_id, speaks(API_VERSIONS)),
            Question::AddPartitions(places) => {
                let version = speaks(ADD_PARTITIONS_TO_TXN);
                Request::add_partitions(client_id, version, settings, producer, places)
            }
            Question::End(end) => {
                let commits = *end == End::Commit;
                Request::end_transaction(client_id, speaks(END_TXN), settings, producer, commits)
            }
            Question::NextEpoch(producer) => {
                let version = speaks(INIT_PRODUCER_ID).max(3);
                Request::init_transactions(client_id, version, settings, Some(*producer))
            }
        };
        broker.send(request, Pending::Transaction, now);
        None
    }

    /// The answer to a question of the transaction.
    pub(super) fn transaction_answered(&mut self, answer: Response, now: Instant) {
        let Some(transactional) = self.transactional.as_deref_mut() else {
            return;
        };
        let transaction = &mut transactional.transaction;
        let mut refused = Vec::new();
        let outcome = match answer {
            Response::FindCoordinator(answer) => {
                transaction.found(answer.error, answer.broker.0, now)
            }
            Response::ApiVersions(features) => transaction.told_when_asked(features, now),
            Response::AddPartitionsToTxn(answer) => {
                let outcome;
                (outcome, refused) = transaction.added(&answer.partitions, now);
                outcome
            }
            Response::EndTxn(answer) => transaction.ended(answer.error, answer.next, now),
            Response::InitProducerId(answer) => {
                let next = ProducerId {
                    id: answer.id,
                    epoch: answer.epoch,
                };
                transaction.renewed(answer.error, next, now)
            }
            Response::Metadata(_) | Response::Produce(_) | Response::CreateTopics(_) => None,
        };
        transactional.say_trouble(now);
        for ((name, _), verdict) in refused {
            let number = self.known_number(&name);
            if let Some(topic) = number.and_then(|number| self.topics[number].as_mut())
                && verdict.action == Action::Park
            {
                topic.refuse(verdict, &verdict.to_string(), now);
            }
        }
        self.conclude(outcome, now);
    }

    /// A batch was answered with an error, of which the transaction has something to say. `false`: it has not.
    pub(super) fn transaction_refused(
        &mut self,
        verdict: Verdict,
        is_oldest: bool,
        now: Instant,
    ) -> bool {
        let Some(transactional) = self.transactional.as_deref_mut() else {
            return false;
        };
        let reaction = verdict.in_transaction(Asked::Produce);
        if !matches!(reaction, Reaction::Doubt | Reaction::Fenced) {
            transactional.transaction.may_be_open();
        }
        let outcome = match (reaction, verdict.action) {
            (Reaction::Same, Action::OutOfOrder) if !is_oldest => return false,
            (Reaction::Same, Action::OutOfOrder | Action::NewProducerId) => {
                transactional.transaction.abort();
                None
            }
            (Reaction::Same, _) => return false,
            _ => transactional.transaction.produce_refused(verdict),
        };
        log::debug!("transaction: a batch was answered {verdict}");
        self.conclude(outcome, now);
        true
    }

    /// The connection to a broker is lost.
    pub(super) fn transaction_lost(&mut self, peer: Peer) {
        let Some(transactional) = self.transactional.as_deref_mut() else {
            return;
        };
        // There may have been batches on it.
        transactional.transaction.may_be_open();
        if let Some(node) = transactional.transaction.coordinator()
            && peer == Peer::Node(node)
        {
            transactional.transaction.lost_coordinator();
        }
    }

    fn conclude(&mut self, outcome: Option<Outcome>, now: Instant) {
        let Some(transactional) = self.transactional.as_deref_mut() else {
            return;
        };
        match outcome {
            None => return,
            Some(Outcome::Stopped(stop)) => {
                self.effects.stopped = Some(stop);
                return;
            }
            Some(Outcome::Committed) => {
                let is_one = u64::from(transactional.sent_bytes > 0);
                transactional.counters.committed.add(is_one);
                transactional.has_lines = !transactional.quarantine.is_empty();
                if let Some(heartbeat) = &mut transactional.heartbeat {
                    heartbeat.committed(now);
                }
                self.effects.acked.append(&mut transactional.aside);
                let touched = std::mem::take(&mut transactional.touched);
                transactional.start_over();
                for number in touched {
                    let Some(topic) = self.topics.get_mut(number).and_then(Option::as_mut) else {
                        continue;
                    };
                    let mut acked = Vec::new();
                    for partition in topic.partitions.values_mut() {
                        acked.append(&mut partition.take_retained(&mut self.encoder));
                    }
                    for batch in acked {
                        batch.count_acked(&topic.counters);
                        self.effects.acked.extend(batch.spans());
                        self.effects.done.push(batch);
                    }
                }
            }
            Some(Outcome::Aborted) => {
                transactional.counters.aborted.add(1);
                let positions = transactional.settings.positions.0.clone();
                log::warn!(
                    "a transaction was aborted ({} bytes of it were sent); sending them again in another one",
                    transactional.sent_bytes
                );
                transactional.start_over();
                if !transactional.aside.is_empty() {
                    transactional.began = Some(now);
                }
                self.trial_is_aborted(now);
                self.send_all_again(&positions);
            }
        }
        let held = self
            .transactional
            .as_deref_mut()
            .map(|transactional| std::mem::take(&mut transactional.held));
        for batch in held.unwrap_or_default() {
            self.push(batch, now);
        }
    }

    /// What was in an aborted transaction waits again. The positions are made anew.
    fn send_all_again(&mut self, positions: &str) {
        let mut again = Vec::new();
        for (number, topic) in self.topics.iter_mut().enumerate() {
            let Some(topic) = topic else { continue };
            let is_positions = *topic.name == *positions;
            for (index, partition) in topic.partitions.iter_mut() {
                match is_positions {
                    true => partition.forget_all(),
                    false => partition.send_again(),
                }
                if !partition.is_empty() {
                    again.push((number, *index));
                }
            }
        }
        for (number, index) in again {
            self.list(number, index);
        }
    }
}

/// Of the positions of many files not more than this goes into one batch: brokers take 1 MB.
const POSITIONS_BYTES: usize = 512 << 10;
/// A transaction is not sealed sooner for want of memory; and so often it is looked whether there is any.
const LEAST_TIME: Duration = Duration::from_millis(20);
