//! How the producer fills transactions: when one is sealed, what goes into it, what is kept until it is committed.
//!
//! ```text
//!    Filling ----------> Emptying ------------> Asked ------------> Positions -------> Ending ----> Filling
//!       batches are   interval,   all of it is      the registrar      acknowledged       committed, aborted
//!       taken         bytes       acknowledged      says where all
//!                                                   files stand
//! ```
//! Everything that was accepted before the seal belongs to the transaction. So for each file it holds what follows the
//! transaction before without a gap, and a position is one number. What is accepted after the seal waits. What Kafka does
//! not take is set apart before long: see `setting_apart.rs`.
//!
//! A batch that is acknowledged is retained, encoded as it is, until the transaction is committed. After an abort it is
//! signed anew and goes again: the files are not read again, and may be gone by then.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::batch::{Batch, Span};
use crate::condition::Condition;
use crate::kafka::owner::Owner;
use crate::kafka::protocol::api::Features;
use crate::kafka::protocol::record_batch::ProducerId;
use crate::kafka::protocol::transaction::Transactions;
use crate::metrics::{Metrics, TransactionCounters};

use super::heartbeat::Heartbeat;
use super::partition::Partition;
use super::quarantine::Quarantine;
use super::transaction::{Place, Transaction};

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
    /// The key and what it says: of the first producer of an agent.
    pub(crate) owner: Option<(Vec<u8>, Owner)>,
}

/// Where the transaction stands, as far as batches are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
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
    pub(super) settings: TransactionSettings,
    pub(super) stage: Stage,
    /// When something was sent in it first.
    pub(super) began: Option<Instant>,
    /// When no more was taken.
    pub(super) sealed: Option<Instant>,
    /// When something of it was acknowledged last.
    pub(super) moved: Option<Instant>,
    pub(super) sent_bytes: usize,
    /// What came after the seal.
    pub(super) held: VecDeque<Batch>,
    /// File bytes in it that are not in Kafka: dead letters.
    pub(super) aside: Vec<Span>,
    /// What Kafka does not take, and what belongs behind it.
    pub(super) quarantine: Quarantine,
    /// Dead letters are on their way to the disk.
    pub(super) waits_for_disk: bool,
    /// The numbers of topics that have retained batches.
    pub(super) touched: BTreeSet<usize>,
    /// Batches were taken that are not committed.
    pub(super) has_lines: bool,
    /// Of one producer of an agent.
    pub(super) heartbeat: Option<Heartbeat>,
    pub(super) counters: Arc<TransactionCounters>,
    /// The coordinator does not do what it is asked.
    trouble: Condition,
}

impl Transactional {
    pub(super) fn new(
        taken: TakenOver,
        metrics: &Metrics,
        random: &mut fastrand::Rng,
        now: Instant,
    ) -> Self {
        let counters = metrics.transactions(&taken.settings.transactions.id);
        Transactional {
            counters,
            has_lines: false,
            heartbeat: taken
                .owner
                .map(|(key, owner)| Heartbeat::new(key, owner, now)),
            transaction: Transaction::new(taken.producer, taken.features, random, now),
            settings: taken.settings,
            stage: Stage::Filling,
            began: None,
            sealed: None,
            moved: None,
            sent_bytes: 0,
            held: VecDeque::new(),
            aside: Vec::new(),
            quarantine: Quarantine::default(),
            waits_for_disk: false,
            touched: BTreeSet::new(),
            trouble: Condition::on(&metrics.board),
        }
    }

    /// Nothing was accepted that is not committed, apart from what waits in partitions.
    pub(super) fn is_idle(&self) -> bool {
        self.stage == Stage::Filling
            && self.began.is_none()
            && self.held.is_empty()
            && self.aside.is_empty()
    }

    /// The last record of a stop was waited for long enough, and there is nothing else.
    pub(super) fn is_abandoned(&self) -> bool {
        let heartbeat = self.heartbeat.as_ref();
        let is_done = heartbeat.is_some_and(Heartbeat::is_done);
        is_done && !self.has_lines && self.held.is_empty() && self.aside.is_empty()
    }

    /// Begins a transaction where one is needed for the record of the owner alone. Returns when to look again.
    pub(super) fn beat(&mut self, is_stopping: bool, now: Instant) -> Option<Instant> {
        let is_idle = self.is_idle();
        let heartbeat = self.heartbeat.as_mut()?;
        if heartbeat.wants(is_stopping, now) && is_idle {
            self.began = Some(now);
        }
        heartbeat.next().filter(|at| *at > now)
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

    /// A partition has got a batch that is kept until the commit.
    pub(super) fn retains(&mut self, topic: usize, partition: usize, now: Instant) {
        self.moved = Some(now);
        self.quarantine.took(topic, partition);
        self.touched.insert(topic);
        self.transaction.acknowledged();
    }

    /// Signs what waits in a partition, where something may go.
    pub(super) fn sign(&self, partition: &mut Partition) {
        let transaction = &self.transaction;
        if transaction.is_open() || transaction.has_begun() {
            partition.sign_with(transaction.producer(), transaction.version());
        }
    }

    pub(super) fn seal_at(&self) -> Option<Instant> {
        let is_full = self.sent_bytes >= self.settings.most_bytes;
        let began = self.began.filter(|_| self.stage == Stage::Filling)?;
        Some(if is_full {
            began
        } else {
            began + self.settings.interval
        })
    }

    pub(super) fn start_over(&mut self) {
        self.stage = Stage::Filling;
        self.began = None;
        (self.sealed, self.moved) = (None, None);
        self.sent_bytes = 0;
        self.touched.clear();
    }

    /// What the log says while the coordinator does not do what it is asked.
    pub(super) fn say_trouble(&mut self, now: Instant) {
        let Some(verdict) = self.transaction.trouble() else {
            if self.trouble.leave().is_some() {
                log::info!("the coordinator of transactions has recovered");
            }
            return;
        };
        let level = verdict.level_when_parked();
        let subject = &"the coordinator of transactions";
        let trouble = self.trouble.enter(level, subject, &verdict, now);
        if let Some(passed_over) = trouble.say_after(PATIENCE, now) {
            log::log!(
                level,
                "the coordinator of transactions answers {verdict}{}; retrying{passed_over}",
                verdict.missing_right().unwrap_or_default()
            );
        }
    }
}

/// The coordinator may be silent or refuse for so long before that is worth a line in the log.
const PATIENCE: Duration = Duration::from_secs(2);
