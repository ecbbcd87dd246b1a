//! One topic: its partitions and their leaders, and whether it can be written at all.

use std::collections::{HashSet, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::backoff::Backoff;
use crate::batch::Batch;
use crate::condition::Condition;
use crate::config::Partitioner;
use crate::kafka::protocol::error_code::{
    Action, LEADER_NOT_AVAILABLE, UNKNOWN_TOPIC_OR_PARTITION, Verdict,
};
use crate::kafka::protocol::record_batch::ProducerId;
use crate::kafka::protocol::response::{TopicId, TopicMetadata};
use crate::metrics::{Metrics, TopicCounters};
use crate::partitioner;

use super::batch::RecordBatch;
use super::partition::Partition;
use super::placement::{Partitions, Place, Placement};
use super::planted::{self, Bug};

mod parked;

/// That metadata has not had the topic, or a leader for it, since it was asked for.
#[derive(Debug)]
struct Unknown {
    times: u32,
    since: Instant,
}

/// A topic that cannot be written for now.
#[derive(Debug)]
struct Parked {
    by: ParkedBy,
    backoff: Backoff,
    probe_at: Instant,
}

/// Who said so, and with that, what can end it.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum ParkedBy {
    /// Metadata; better metadata ends it.
    Metadata,
    /// The answer to a Produce request; an acknowledged batch ends it.
    Produce,
}

/// What metadata said of a partition last and was believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Leader {
    /// Node id.
    pub(crate) node: Option<i32>,
    epoch: i32,
}

/// A topic and its partitions.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) name: Arc<str>,
    pub(crate) counters: Arc<TopicCounters>,
    /// By index. Of 100,000 topics with 30 partitions each, few have something to do.
    leaders: Vec<Leader>,
    pub(crate) partitions: Partitions,
    placement: Placement,
    id: Option<TopicId>,
    /// How often in a row metadata was not believed.
    doubts: u32,
    /// Batches whose partition cannot be chosen yet, with their time of arrival.
    unplaced: VecDeque<(Batch, Instant)>,
    /// When the last batch came.
    used: Instant,
    /// When a broker was asked for it last.
    pub(crate) asked: Option<Instant>,
    unknown: Option<Unknown>,
    /// The last metadata was not enough to send what waited.
    pub(crate) waited: bool,
    parked: Option<Parked>,
    refusal: Condition,
    complained: Option<Instant>,
    suppressed: u32,
    /// What partitions that are gone signed their batches with. Brokers remember its last sequence numbers: if such
    /// a partition comes back, and begins anew with the same id, its first batches are taken for repetitions.
    spent_ids: Vec<ProducerId>,
    random: fastrand::Rng,
}

impl Topic {
    pub(crate) fn new(
        name: Arc<str>,
        partitioner: Partitioner,
        batch_bytes: usize,
        metrics: &Metrics,
        random: &mut fastrand::Rng,
        now: Instant,
    ) -> Self {
        Topic {
            counters: metrics.topic(&name),
            name,
            leaders: Vec::new(),
            partitions: Partitions::new(),
            placement: Placement::new(partitioner, batch_bytes),
            id: None,
            doubts: 0,
            unplaced: VecDeque::new(),
            used: now,
            asked: None,
            unknown: None,
            waited: false,
            parked: None,
            refusal: Condition::on(&metrics.board),
            complained: None,
            suppressed: 0,
            spent_ids: Vec::new(),
            random: random.fork(),
        }
    }

    /// The ids that partitions have used which are gone.
    pub(crate) fn take_spent_ids(&mut self) -> Vec<ProducerId> {
        std::mem::take(&mut self.spent_ids)
    }

    /// The ids that its partitions use.
    pub(crate) fn producers(&self) -> impl Iterator<Item = ProducerId> + '_ {
        self.partitions.values().filter_map(Partition::producer)
    }

    /// Nothing waits and nothing is in flight.
    pub(crate) fn is_empty(&self) -> bool {
        self.unplaced.is_empty() && self.partitions.values().all(Partition::is_empty)
    }

    /// What waits until it can be said which partition it goes to.
    pub(crate) fn unplaced(&self) -> impl Iterator<Item = &Batch> {
        self.unplaced.iter().map(|(batch, _)| batch)
    }

    /// The leader of a partition, as far as known.
    pub(crate) fn leader(&self, partition: usize) -> Option<i32> {
        self.leaders.get(partition)?.node
    }

    /// Takes a batch. Returns the partition it was queued at, unless that cannot be said yet.
    pub(crate) fn push(&mut self, batch: Batch, now: Instant) -> Option<usize> {
        self.used = now;
        let is_behind = |(waiting, _): &(Batch, Instant)| {
            waiting.destination.path.as_os_str() == batch.destination.path.as_os_str()
        };
        if self.placement.count() == 0 || self.unplaced.iter().any(is_behind) {
            self.unplaced.push_back((batch, now));
            return None;
        }
        self.place(batch, now)
            .map_err(|batch| self.unplaced.push_back(batch))
            .ok()
    }

    /// Takes a batch that is encoded already, for a certain partition.
    pub(crate) fn push_encoded(&mut self, index: usize, batch: RecordBatch, now: Instant) {
        self.used = now;
        let random = &mut self.random;
        let partition = self.partitions.entry(index);
        partition
            .or_insert_with(|| Partition::new(random))
            .push_encoded(batch);
    }

    #[expect(
        clippy::result_large_err,
        reason = "the batch goes back to where it came from"
    )]
    fn place(&mut self, batch: Batch, since: Instant) -> Result<usize, (Batch, Instant)> {
        let leaders = &self.leaders;
        let has_leader = |index: i32| {
            let leader = usize::try_from(index)
                .ok()
                .and_then(|index| leaders.get(index));
            leader.is_some_and(|leader| leader.node.is_some())
        };
        match self.placement.choose(&batch, &self.partitions, has_leader) {
            Place::Later => Err((batch, since)),
            Place::At(index) => {
                let route = &batch.destination.route;
                route.tap.show(&batch, Some(index));
                let random = &mut self.random;
                let partition = self.partitions.entry(index);
                partition
                    .or_insert_with(|| Partition::new(random))
                    .push(batch, since);
                Ok(index)
            }
        }
    }

    /// Places what waited, as far as that can be said now, in the order of each log. Returns where.
    pub(crate) fn place_unplaced(&mut self) -> Vec<usize> {
        let mut behind: HashSet<Arc<Path>> = HashSet::new();
        let mut places = Vec::new();
        for (batch, since) in std::mem::take(&mut self.unplaced) {
            let log = batch.destination.path.clone();
            let placed = match behind.contains(&log) {
                true => Err((batch, since)),
                false => self.place(batch, since),
            };
            match placed {
                Ok(index) => places.push(index),
                Err(waiting) => {
                    behind.insert(log);
                    self.unplaced.push_back(waiting);
                }
            }
        }
        places
    }

    /// Whether some logs wait to move to another partition, which an acknowledged batch may allow.
    pub(crate) fn is_settling(&self) -> bool {
        self.placement.is_settling() && !self.unplaced.is_empty()
    }

    /// Other brokers are asked from now on for the leaders, and where batches go is chosen anew. What was said before
    /// still tells whether they lag behind.
    pub(crate) fn begin_anew(
        &mut self,
        partitioner: Partitioner,
        batch_bytes: usize,
        now: Instant,
    ) {
        for leader in &mut self.leaders {
            leader.node = None;
        }
        self.placement.begin_anew(partitioner, batch_bytes);
        if let Some(parked) = &mut self.parked {
            parked.probe_at = now;
        }
    }

    /// The topic is one of another cluster: nothing that is known of it counts.
    pub(crate) fn forget_cluster(&mut self) {
        self.leaders.clear();
        (self.id, self.doubts, self.unknown) = (None, 0, None);
    }

    /// Takes in what metadata says. Returns whether the topic needs to be asked for again soon.
    pub(crate) fn update(&mut self, told: &TopicMetadata, now: Instant) -> bool {
        let verdict = Verdict::of(told.error);
        match told.error {
            0 => {}
            UNKNOWN_TOPIC_OR_PARTITION | LEADER_NOT_AVAILABLE => {
                for leader in &mut self.leaders {
                    leader.node = None;
                }
                let unknown = self.unknown.get_or_insert(Unknown {
                    times: 0,
                    since: now,
                });
                unknown.times += 1;
                if unknown.times >= UNKNOWN_TIMES && now >= unknown.since + BEING_CREATED {
                    self.park(ParkedBy::Metadata, verdict, &verdict.to_string(), now);
                }
                return true;
            }
            _ if verdict.action == Action::Park => {
                self.park(ParkedBy::Metadata, verdict, &verdict.to_string(), now);
                return true;
            }
            _ => return true,
        }
        self.unknown = None;
        let is_stale = self.is_stale(told);
        self.adopt_leaders(told, is_stale);
        if !is_stale {
            self.adopt_count(told.partitions.len());
        }
        if let Some(missing) = self.placement.missing() {
            let count = i32::try_from(self.leaders.len()).unwrap_or(i32::MAX);
            let why = partitioner::missing_words(missing, count);
            self.park(
                ParkedBy::Metadata,
                Verdict::of(UNKNOWN_TOPIC_OR_PARTITION),
                &why,
                now,
            );
            return true;
        }
        if self
            .parked
            .as_ref()
            .is_some_and(|parked| parked.by == ParkedBy::Metadata)
        {
            self.unpark();
        }
        is_stale || self.waits_for_leader()
    }

    /// Whether a broker that lags behind has answered: with an older leader epoch, or with fewer partitions than
    /// there are. Then what is known is better, five times in a row. Unless the topic has another id: that is a new
    /// topic, and nothing of the old one counts.
    fn is_stale(&mut self, told: &TopicMetadata) -> bool {
        let is_new = told.id.is_some() && self.id.is_some() && told.id != self.id;
        let is_older = told.partitions.iter().any(|told| {
            let index = usize::try_from(told.index).ok();
            let known = index.and_then(|index| self.leaders.get(index));
            known.is_some_and(|known| told.leader_epoch >= 0 && told.leader_epoch < known.epoch)
        });
        let is_smaller = told.partitions.len() < self.leaders.len();
        // Partitions are never taken from a topic, however often a broker that lags behind says so; only where topics
        // have no number may it be another one. What is believed here sends what may be in the log once more, elsewhere.
        let cannot_be = is_smaller && told.id.is_some() && told.id == self.id;
        let is_doubted = (is_older || is_smaller) && self.doubts < MOST_DOUBTS;
        let is_stale = !is_new && (is_doubted || cannot_be);
        self.doubts = if is_stale { self.doubts + 1 } else { 0 };
        self.id = told.id.or(self.id);
        if planted::has(Bug::EpochIgnored) {
            return false;
        }
        is_stale
    }

    fn adopt_leaders(&mut self, told: &TopicMetadata, is_stale: bool) {
        let count = told.partitions.len();
        if self.leaders.len() < count {
            let unknown = Leader {
                node: None,
                epoch: -1,
            };
            self.leaders.resize(count, unknown);
        }
        for told in &told.partitions {
            let index = usize::try_from(told.index)
                .ok()
                .filter(|index| *index < count);
            let Some(index) = index else { continue };
            let known = self.leaders[index];
            let is_older = told.leader_epoch >= 0 && told.leader_epoch < known.epoch;
            if is_stale && is_older {
                continue;
            }
            let node = Some(told.leader).filter(|node| *node >= 0);
            let epoch = if node.is_some() {
                told.leader_epoch
            } else {
                known.epoch
            };
            self.leaders[index] = Leader { node, epoch };
            if let (Some(node), Some(partition)) = (node, self.partitions.get_mut(&index)) {
                if let Some(left) = partition.leaderless.leave() {
                    let name = &self.name;
                    log::log!(
                        left.level,
                        "topic '{name}' partition {index} has a leader again{left}"
                    );
                }
                if known.node != Some(node) || epoch > known.epoch {
                    partition.leader_changed(node);
                }
            }
        }
    }

    /// Takes over another number of partitions.
    fn adopt_count(&mut self, count: usize) {
        let known = self.placement.count();
        let Ok(new) = i32::try_from(count) else {
            return;
        };
        self.leaders.truncate(count);
        if known == new {
            return;
        }
        if known > 0 {
            log::info!(
                "topic '{}' has {new} partitions now, {known} before",
                self.name
            );
        }
        self.absorb_gone(count);
        self.placement.resize(new, &self.partitions);
    }

    /// Gives what is left of partitions that are gone to those that remain. One with something in flight keeps
    /// it until that is answered, so that no answer is taken for one to another batch.
    fn absorb_gone(&mut self, count: usize) {
        let gone: Vec<usize> = self
            .partitions
            .range(count..)
            .map(|(index, _)| *index)
            .collect();
        for index in gone {
            if count == 0 || self.partitions[&index].in_flight() > 0 {
                continue;
            }
            let gone = self.partitions.remove(&index);
            let producer = gone.as_ref().and_then(Partition::producer);
            self.spent_ids.extend(producer);
            if let Some(partition) = gone
                && (!partition.is_empty() || partition.has_retained())
            {
                let random = &mut self.random;
                let to = self.partitions.entry(index % count);
                to.or_insert_with(|| Partition::new(random))
                    .merge(partition);
                self.placement.moved(index, index % count);
            }
        }
    }

    /// To be called when something was answered: partitions that are gone may be merged now. Returns whether
    /// some may have got something to send by it.
    pub(crate) fn settle(&mut self) -> bool {
        let count = self.leaders.len();
        let has_gone = self.partitions.range(count..).next().is_some();
        if has_gone && count > 0 {
            self.absorb_gone(count);
        }
        has_gone
    }

    /// Whether metadata is to be asked for. A topic that nothing was sent to for long is left out,
    /// so that it is not made again after somebody has deleted it, and dropped.
    pub(crate) fn is_of_interest(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.used) < INTEREST
            || !self.is_empty()
            || self.partitions.values().any(Partition::has_retained)
    }

    /// Batches wait for better metadata than there is.
    pub(crate) fn waits_for_metadata(&self) -> bool {
        !self.unplaced.is_empty() && !self.placement.is_settling() || self.waits_for_leader()
    }

    fn waits_for_leader(&self) -> bool {
        self.partitions.iter().any(|(index, partition)| {
            !partition.is_empty() && (self.leader(*index).is_none() || partition.is_leader_doubted)
        })
    }

    /// Whether a complaint is due, and how many were left out since the last one.
    pub(crate) fn may_complain(&mut self, now: Instant) -> Option<u32> {
        let quiet = self
            .complained
            .is_none_or(|last| now.duration_since(last) >= COMPLAINT_INTERVAL);
        if quiet {
            self.complained = Some(now);
            Some(std::mem::take(&mut self.suppressed))
        } else {
            self.suppressed += 1;
            None
        }
    }
}

/// So many times in a row a topic is unknown, or has no leader, before it is parked.
const UNKNOWN_TIMES: u32 = 3;
/// And for so long: a broker that makes topics by itself does so at the first question, and takes its time.
const BEING_CREATED: Duration = Duration::from_secs(2);
/// Repeated complaints about a topic come no more often than this: ten lines an hour.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(360);
/// For so long after its last batch a topic is asked for.
const INTEREST: Duration = Duration::from_secs(600);
/// So often in a row metadata that is older than what is known is not believed.
const MOST_DOUBTS: u32 = 5;
