//! How the producer fills transactions: when one is sealed, what goes into it, what is kept until it is committed.
//!
//! ```text
//!    Filling ----------> Emptying ------------> Asked ------------> Positions -------> Ending ----> Filling
//!       batches are   interval,   all of it is      the registrar      acknowledged       committed, aborted
//!       taken         bytes       acknowledged      says where all
//!                                                   files stand
//! ```
//! Everything that was accepted before the seal belongs to the transaction. So for each file it holds what follows the
//! transaction before without a gap, and a position is one number. What is accepted after the seal waits.
//!
//! A batch that is acknowledged is retained, encoded as it is, until the transaction is committed. After an abort it is
//! signed anew and goes again: the files are not read again, and may be gone by then.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use crate::batch::{Batch, Span};
use crate::condition::Condition;
use crate::kafka::cluster::Room;
use crate::kafka::cluster::broker::{Peer, Pending};
use crate::kafka::protocol::api::{
    ADD_PARTITIONS_TO_TXN, API_VERSIONS, END_TXN, FIND_COORDINATOR, Features, INIT_PRODUCER_ID,
};
use crate::kafka::protocol::error_code::{Action, Verdict};
use crate::kafka::protocol::record_batch::ProducerId;
use crate::kafka::protocol::request::Request;
use crate::kafka::protocol::response::Response;
use crate::kafka::protocol::transaction::Transactions;

use crate::progress::PositionRecord;

use super::batch::RecordBatch;
use super::machine::{Machine, min_deadline};
use super::partition::Partition;
use super::producer_id::ProducerIds;
use super::transaction::{End, Outcome, Place, Question, Transaction};

/// How transactions are made.
#[derive(Debug, Clone)]
pub(crate) struct TransactionSettings {
    pub(crate) transactions: Transactions,
    /// Where the positions go.
    pub(crate) positions: Place,
    /// How long a transaction is filled.
    pub(crate) interval: Duration,
    /// Encoded bytes after which one is sealed.
    pub(crate) most_bytes: usize,
}

/// A transactional id that is this producer's alone.
#[derive(Debug, Clone)]
pub(crate) struct TakenOver {
    pub(crate) producer: ProducerId,
    pub(crate) features: Features,
    pub(crate) settings: TransactionSettings,
}

/// Where the transaction stands, as far as batches are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Filling,
    Emptying,
    Asked,
    Positions,
    Ending,
}

/// The transactions of a producer and what is in them.
#[derive(Debug)]
pub(crate) struct Transactional {
    pub(super) transaction: Transaction,
    settings: TransactionSettings,
    stage: Stage,
    /// When something was sent in it first.
    began: Option<Instant>,
    sent_bytes: usize,
    /// What came after the seal.
    held: VecDeque<(Batch, Instant)>,
    /// File bytes in it that are not in Kafka: dead letters.
    aside: Vec<Span>,
    /// Dead letters are on their way to the disk.
    pub(super) waits_for_disk: bool,
    /// The numbers of topics that have retained batches.
    touched: BTreeSet<usize>,
    /// The coordinator does not do what it is asked.
    trouble: Condition,
}

impl Transactional {
    fn new(taken: TakenOver, random: &mut fastrand::Rng, now: Instant) -> Self {
        Transactional {
            transaction: Transaction::new(taken.producer, taken.features, random, now),
            settings: taken.settings,
            stage: Stage::Filling,
            began: None,
            sent_bytes: 0,
            held: VecDeque::new(),
            aside: Vec::new(),
            waits_for_disk: false,
            touched: BTreeSet::new(),
            trouble: Condition::default(),
        }
    }

    /// Nothing was accepted that is not committed, apart from what waits in partitions.
    pub(super) fn is_idle(&self) -> bool {
        self.stage == Stage::Filling
            && self.began.is_none()
            && self.held.is_empty()
            && self.aside.is_empty()
    }

    /// What is queued is all there is to come in this transaction: nothing waits for more.
    pub(super) fn is_sealed(&self) -> bool {
        self.stage != Stage::Filling
    }

    /// A batch of so many bytes goes out.
    pub(super) fn sends(&mut self, bytes: usize, now: Instant) {
        self.began.get_or_insert(now);
        self.sent_bytes += bytes;
    }

    /// A topic has got a batch that is kept until the commit.
    pub(super) fn retains(&mut self, topic: usize) {
        self.touched.insert(topic);
    }

    /// Signs what waits in a partition, where something may go.
    pub(super) fn sign(&self, partition: &mut Partition) {
        let transaction = &self.transaction;
        if transaction.is_open() || transaction.has_begun() {
            partition.sign_with(transaction.producer(), transaction.version());
        }
    }

    fn seal_at(&self) -> Option<Instant> {
        let is_full = self.sent_bytes >= self.settings.most_bytes;
        let began = self.began.filter(|_| self.stage == Stage::Filling)?;
        Some(if is_full {
            began
        } else {
            began + self.settings.interval
        })
    }

    fn start_over(&mut self) {
        self.stage = Stage::Filling;
        self.began = None;
        self.sent_bytes = 0;
        self.touched.clear();
    }
}

impl Machine {
    /// A machine whose batches go in transactions.
    pub(crate) fn with_transactions(mut self, taken: TakenOver, now: Instant) -> Self {
        let transactional = Transactional::new(taken, &mut self.random, now);
        // The one of the transactional id is used, and no other.
        self.ids = ProducerIds::new(false, &self.metrics.board, &mut self.random, now);
        self.style.transactional_id = Some(transactional.settings.transactions.id.clone());
        self.encoder.makes_transactional();
        self.transactional = Some(Box::new(transactional));
        self
    }

    /// Keeps a batch back that comes too late for the transaction, and otherwise gives it back.
    pub(super) fn hold_back(&mut self, batch: Batch, now: Instant) -> Option<Batch> {
        match &mut self.transactional {
            Some(transactional) if transactional.is_sealed() => {
                transactional.held.push_back((batch, now));
                None
            }
            _ => Some(batch),
        }
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
        records: &[PositionRecord],
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
        if records.is_empty() {
            return;
        }
        let (name, index) = transactional.settings.positions.clone();
        let id = self.batch_ids.next();
        let batch = RecordBatch::of_records(id, records, unix_ms, &mut self.encoder);
        let number = self.topic_number(&name, now);
        let index = usize::try_from(index).unwrap_or(0);
        if let Some(topic) = self.topics[number].as_mut() {
            topic.push_encoded(index, batch, now);
            self.list(number, index);
        }
    }

    /// Does what is due for the transaction. Returns when to look again.
    pub(super) fn drive_transaction(&mut self, now: Instant) -> Option<Instant> {
        let is_empty =
            self.ready.is_empty() && self.topics.iter().flatten().all(|topic| topic.is_empty());
        let finishing = self.finishing;
        let transactional = self.transactional.as_deref_mut()?;
        let mut next = transactional.seal_at();
        if next.is_some_and(|at| at <= now || finishing) {
            transactional.transaction.seal();
            transactional.stage = Stage::Emptying;
            next = None;
        }
        match transactional.stage {
            Stage::Emptying if is_empty && !transactional.waits_for_disk => {
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
        min_deadline(next, self.ask_coordinator(now))
    }

    fn retained_spans(&self) -> Vec<Span> {
        let Some(transactional) = &self.transactional else {
            return Vec::new();
        };
        let touched = transactional.touched.iter();
        let topics = touched.filter_map(|number| self.topics.get(*number)?.as_ref());
        let partitions = topics.flat_map(|topic| topic.partitions.values());
        let mut spans = transactional.aside.clone();
        spans.extend(partitions.flat_map(|partition| partition.retained_spans()));
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
        log::debug!("transaction {}: {question:?}", settings.id);
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
        log::debug!("transaction: {answer:?}");
        let outcome = match answer {
            Response::FindCoordinator(answer) => {
                transaction.found(answer.error, answer.broker.0, now)
            }
            Response::ApiVersions(features) => {
                transaction.told_when_asked(features, now);
                None
            }
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
        match transaction.trouble() {
            Some(verdict) => {
                let trouble = transactional.trouble.enter(
                    verdict.level_when_parked(),
                    &"the coordinator of transactions",
                    &verdict,
                    now,
                );
                if let Some(passed_over) = trouble.say_after(PATIENCE, now) {
                    log::log!(
                        verdict.level_when_parked(),
                        "the coordinator of transactions answers {verdict}{}; retrying{passed_over}",
                        verdict.missing_right().unwrap_or_default()
                    );
                }
            }
            None => {
                if transactional.trouble.leave().is_some() {
                    log::info!("the coordinator of transactions has recovered");
                }
            }
        }
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
        use crate::kafka::protocol::error_code::{Asked, Reaction};
        let Some(transactional) = self.transactional.as_deref_mut() else {
            return false;
        };
        let outcome = match (verdict.in_transaction(Asked::Produce), verdict.action) {
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
        if let Some(transactional) = self.transactional.as_deref_mut()
            && let Some(node) = transactional.transaction.coordinator()
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
                        topic.count_acked(&batch);
                        self.effects.acked.extend(batch.spans());
                        self.effects.done.push(batch);
                    }
                }
            }
            Some(Outcome::Aborted) => {
                let positions = transactional.settings.positions.0.clone();
                log::warn!(
                    "a transaction was aborted ({} bytes of it were sent); sending them again in another one",
                    transactional.sent_bytes
                );
                transactional.start_over();
                if !transactional.aside.is_empty() {
                    transactional.began = Some(now);
                }
                self.send_all_again(&positions);
            }
        }
        let held = self
            .transactional
            .as_deref_mut()
            .map(|transactional| std::mem::take(&mut transactional.held));
        for (batch, _) in held.unwrap_or_default() {
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

/// The coordinator may be silent or refuse for so long before that is worth a line in the log.
const PATIENCE: Duration = Duration::from_secs(2);
