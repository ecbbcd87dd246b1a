//! The producer as a state machine: inputs come with the time, and every input changes the state and leaves
//! effects. See the folder's doc for the drawing.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::batch::{Batch, Span};
use crate::condition::Condition;
use crate::config::{Acks, KafkaConfig};
use crate::kafka::cluster::Cluster;
use crate::kafka::cluster::broker::Dial;
use crate::kafka::cluster::broker::{BatchIds, Peer, Pending};
use crate::kafka::network::connection::{ConnectionEvent, Event};
use crate::kafka::protocol::request::ProduceStyle;
use crate::metrics::Metrics;

use super::batch::RecordBatch;
use super::dead_letter::RefusedRecord;
use super::encoder::Encoder;
use super::partition::{LingerPolicy, Partition};
use super::producer_id::ProducerIds;
use super::topic::Topic;
use super::transaction::Stop;
use super::transactional::Transactional;

/// The time of an input.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    pub(crate) at: Instant,
    /// In ms since 1970.
    pub(crate) unix_ms: i64,
}

/// What inputs leave to be done outside.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    /// File bytes that Kafka has.
    pub(crate) acked: Vec<Span>,
    /// What a sealed transaction covers: the machine waits to be told where the files stand then.
    pub(crate) sealed: Option<Vec<Span>>,
    /// The producer cannot go on.
    pub(crate) stopped: Option<Stop>,
    /// The batches of these. Dropping them gives their memory back, which is to happen after the report.
    pub(crate) done: Vec<RecordBatch>,
}

/// The state of one producer.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(super) config: Arc<KafkaConfig>,
    pub(super) style: ProduceStyle,
    pub(super) cluster: Cluster,
    /// By number; a number is used again when its topic was dropped. What is still in flight then cannot meet
    /// the topic that has the number now, since no batch id is used again.
    pub(super) topics: Vec<Option<Topic>>,
    topic_numbers: HashMap<Arc<str>, usize>,
    /// The numbers of topics that were dropped.
    free_numbers: BTreeSet<usize>,
    /// Partitions with something to send or in flight.
    pub(super) ready: Vec<(usize, usize)>,
    /// Where in that list the next round starts, so that all have the same chance.
    pub(super) turn: usize,
    pub(super) encoder: Encoder,
    pub(super) ids: ProducerIds,
    /// With `delivery = exactly_once`.
    pub(super) transactional: Option<Box<Transactional>>,
    pub(super) batch_ids: BatchIds,
    /// The cluster that the brokers belong to, once one has said so.
    pub(super) cluster_id: Option<Box<str>>,
    /// Nothing more is sent, until all goes over to another configuration.
    pub(super) is_held: bool,
    pub(super) effects: Effects,
    /// Brokers hang up on large requests.
    pub(super) hang_ups: Condition,
    /// Which topic is asked for next, where there are too many for one question.
    asked_next: usize,
    /// When topics that nobody uses are looked for.
    drop_at: Instant,
    pub(super) finishing: bool,
    /// When the idle buffers are freed.
    trim_at: Option<Instant>,
    /// When the brokers are asked who they are, though nothing is to be sent.
    pub(super) introduce_at: Option<Instant>,
    pub(super) random: fastrand::Rng,
    pub(super) metrics: Arc<Metrics>,
}

impl Machine {
    /// A producer that reaches its brokers by `dial`.
    pub(crate) fn new(
        config: Arc<KafkaConfig>,
        dial: Box<dyn Dial>,
        metrics: Arc<Metrics>,
        mut random: fastrand::Rng,
        now: Instant,
    ) -> Self {
        let is_idempotent = config.idempotence && config.acks == Acks::All;
        Machine {
            style: style(&config),
            cluster: Cluster::new(&config, dial, metrics.clone(), &mut random, now),
            topics: Vec::new(),
            topic_numbers: HashMap::new(),
            free_numbers: BTreeSet::new(),
            ready: Vec::new(),
            turn: 0,
            encoder: Encoder::new(config.compression, config.batch_bytes),
            ids: ProducerIds::new(is_idempotent, &metrics.board, &mut random, now),
            transactional: None,
            batch_ids: BatchIds::default(),
            cluster_id: None,
            is_held: false,
            effects: Effects::default(),
            hang_ups: Condition::default(),
            asked_next: 0,
            drop_at: now + DROP_INTERVAL,
            finishing: false,
            trim_at: None,
            introduce_at: None,
            random,
            config,
            metrics,
        }
    }

    /// Takes over a batch.
    pub(crate) fn push(&mut self, batch: Batch, now: Instant) {
        if batch.data.is_empty() {
            return;
        }
        let Some(batch) = self.hold_back(batch) else {
            return;
        };
        if let Some(transactional) = &mut self.transactional {
            transactional.has_lines = true;
        }
        let number = self.topic_number(&batch.destination.route.topic, now);
        let topic = self.topics[number].as_mut().expect("it has a number");
        let source = batch.source;
        let partition = topic.push(batch, now);
        if let Some(transactional) = &mut self.transactional {
            transactional.quarantine.came(source, number, partition);
        }
        if let Some(partition) = partition {
            self.list(number, partition);
        }
    }

    /// A connection has something to tell. Of one that was given up it is of no interest.
    pub(crate) fn on_event(&mut self, event: Event, now: Now) {
        let Some(peer) = self.cluster.peer_of(event.connection) else {
            return;
        };
        match event.what {
            ConnectionEvent::Connected {
                versions,
                about,
                hangup,
            } => {
                if let Some(transactional) = &mut self.transactional {
                    transactional.transaction.told(versions.features);
                }
                self.cluster
                    .connected(peer, versions, &about, hangup, now.at);
            }
            ConnectionEvent::Answered(answer) => self.answered(peer, answer, now),
            ConnectionEvent::Written => self.written(peer, now.at),
            ConnectionEvent::Closed(error) => self.closed(peer, &error, now.at),
        }
    }

    /// Does everything that is due at `now`, and says when it wants to be called again at the latest.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<Instant> {
        self.prune_ready_list();
        if self.drop_at <= now {
            self.drop_unused_topics(now);
        }
        let idle = self.cluster.close_idle(now);
        let mut next = min_deadline(idle, self.tend_quarantine(now));
        next = min_deadline(next, self.send_ready(now));
        if self.transactional.is_some() {
            next = min_deadline(next, self.drive_transaction(now));
        }
        next = min_deadline(next, self.introduce(now));
        if self.has_topics() {
            next = min_deadline(next, self.ask_for_metadata(now));
            let client_id = &self.config.client_id;
            let ids = self.ids.ask_if_due(&mut self.cluster, client_id, now);
            next = min_deadline(next, ids);
        }
        if !self.ready.is_empty() {
            self.trim_at = Some(now + TRIM_AFTER);
        } else if self.trim_at.is_some_and(|at| at <= now) {
            self.trim_at = None;
            self.encoder.trim();
        }
        next = min_deadline(next, self.trim_at.filter(|_| self.ready.is_empty()));
        next.filter(|at| *at > now)
    }

    /// What the inputs since the last call have left to be done.
    pub(crate) fn take_effects(&mut self) -> Effects {
        std::mem::take(&mut self.effects)
    }

    /// A record that no broker takes and whose turn has come; it counts as out of the machine's hands.
    pub(crate) fn take_refused(&mut self, now: Instant) -> Option<(RefusedRecord, RecordBatch)> {
        for (number, index) in &self.ready {
            let Some(topic) = self.topics[*number].as_mut() else {
                continue;
            };
            let name = topic.name.clone();
            let Some(partition) = topic.partitions.get_mut(index) else {
                continue;
            };
            let Some((covered, why, record)) = partition.next_refused(now) else {
                continue;
            };
            let (path, offset) = (covered.destination.path.clone(), covered.span.start);
            let batch = partition.remove_refused(now)?;
            let record = RefusedRecord {
                topic: name,
                path,
                offset,
                why,
                record,
            };
            return Some((record, batch));
        }
        None
    }

    /// Nothing is in flight or about to be: what is queued waits for more, and is not much.
    pub(crate) fn only_gathers(&self) -> bool {
        let little = self.config.batch_bytes / 4;
        let gathers = |(topic, index): &(usize, usize)| {
            let topic = self.topics.get(*topic).and_then(Option::as_ref);
            let partition = topic.and_then(|topic| topic.partitions.get(index));
            partition.is_some_and(|partition| {
                partition.is_all_queued() && partition.queued_bytes() < little
            })
        };
        !self.ready.is_empty() && self.ready.iter().all(gathers)
    }

    /// No batch will come any more: what waits for more to come is sent now.
    pub(crate) fn finish(&mut self) {
        self.finishing = true;
    }

    /// Nothing that was pushed is unacknowledged, or not committed.
    pub(crate) fn is_idle(&self) -> bool {
        let is_empty = || self.topics.iter().flatten().all(Topic::is_empty);
        let Some(transactional) = &self.transactional else {
            return is_empty();
        };
        let heartbeat = transactional.heartbeat.as_ref();
        let is_awaited = self.finishing && heartbeat.is_some_and(|beat| !beat.is_done());
        let is_empty = || is_empty() && transactional.quarantine.is_empty();
        transactional.is_abandoned() || !is_awaited && is_empty() && transactional.is_idle()
    }

    /// When a batch is full enough or old enough to go.
    pub(super) fn policy(&self) -> Option<LingerPolicy> {
        let mut transactional = self.transactional.iter();
        let is_sealed = transactional.any(|transactional| transactional.is_sealed());
        (!self.finishing && !is_sealed).then_some(LingerPolicy {
            batch_bytes: self.config.batch_bytes,
            linger: self.config.batch_linger(),
        })
    }

    pub(super) fn topic_number(&mut self, name: &Arc<str>, now: Instant) -> usize {
        if let Some(number) = self.topic_numbers.get(name) {
            return *number;
        }
        let number = self.free_numbers.pop_first().unwrap_or_else(|| {
            self.topics.push(None);
            self.topics.len() - 1
        });
        let (partitioner, batch_bytes) = (self.config.partitioner, self.config.batch_bytes);
        let (metrics, random) = (&self.metrics, &mut self.random);
        let topic = Topic::new(name.clone(), partitioner, batch_bytes, metrics, random, now);
        self.topics[number] = Some(topic);
        self.topic_numbers.insert(name.clone(), number);
        self.cluster.schedule.want();
        number
    }

    /// The number of a topic that is known.
    pub(super) fn known_number(&self, name: &str) -> Option<usize> {
        self.topic_numbers.get(name).copied()
    }

    pub(super) fn has_topics(&self) -> bool {
        !self.topic_numbers.is_empty()
    }

    /// Drops the topics that nothing was sent to for long: those that come and go must not add up.
    fn drop_unused_topics(&mut self, now: Instant) {
        self.drop_at = now + DROP_INTERVAL;
        for (number, slot) in self.topics.iter_mut().enumerate() {
            if let Some(topic) = slot
                && !topic.is_of_interest(now)
            {
                // If it is used again, its sequences begin anew: with another id.
                for id in topic.producers() {
                    self.ids.discard(id, now);
                }
                self.topic_numbers.remove(&topic.name);
                self.free_numbers.insert(number);
                *slot = None;
            }
        }
        while let Some(None) = self.topics.last() {
            self.topics.pop();
            self.free_numbers.remove(&self.topics.len());
        }
        let used = 2 * self.topics.len();
        self.topics.shrink_to(used);
        self.topic_numbers.shrink_to(used);
        self.ready.shrink_to(used);
    }

    /// How many topics are known, and how many there is room for.
    #[cfg(test)]
    pub(super) fn topics_and_room(&self) -> (usize, usize) {
        let room = [
            self.topics.capacity(),
            self.topic_numbers.capacity(),
            self.ready.capacity(),
            self.free_numbers.len(),
        ];
        (
            self.topic_numbers.len(),
            room.into_iter().max().unwrap_or(0),
        )
    }

    pub(super) fn list(&mut self, topic: usize, index: usize) {
        if let Some(partition) = self.partition(topic, index)
            && !std::mem::replace(&mut partition.is_active, true)
        {
            self.ready.push((topic, index));
        }
    }

    pub(super) fn partition(&mut self, topic: usize, index: usize) -> Option<&mut Partition> {
        let topic = self.topics.get_mut(topic)?.as_mut()?;
        topic.partitions.get_mut(&index)
    }

    /// Takes partitions from the list that have nothing to do.
    fn prune_ready_list(&mut self) {
        let mut n = 0;
        while let Some((topic, index)) = self.ready.get(n).copied() {
            match self.partition(topic, index) {
                Some(partition) if !partition.is_empty() => n += 1,
                partition => {
                    if let Some(partition) = partition {
                        partition.is_active = false;
                    }
                    self.ready.swap_remove(n);
                }
            }
        }
    }

    pub(super) fn ask_for_metadata(&mut self, now: Instant) -> Option<Instant> {
        let (topics, asked_next) = (&mut self.topics, &mut self.asked_next);
        let choose = || topics_to_ask(topics, asked_next, now);
        self.cluster.ask_if_due(choose, now)
    }

    /// The oldest request of that kind at `peer` is done.
    pub(super) fn settle_pending(
        &mut self,
        peer: Peer,
        kind: impl Fn(&Pending) -> bool,
    ) -> Option<Pending> {
        self.cluster.broker(peer)?.answered(kind)
    }
}

/// What Produce requests say besides the records.
pub(super) fn style(config: &KafkaConfig) -> ProduceStyle {
    let acks = match config.acks {
        Acks::None => 0,
        Acks::Leader => 1,
        Acks::All => -1,
    };
    // The broker gives up waiting for followers a little before we give up waiting for it.
    let timeout_ms = (config.request_timeout * 9 / 10).as_millis();
    ProduceStyle {
        client_id: config.client_id.clone(),
        acks,
        timeout_ms: i32::try_from(timeout_ms).unwrap_or(i32::MAX),
        transactional_id: None,
    }
}

/// The topics of a question for metadata, and in how many parts all are asked for: first those that wait for it,
/// then the others in their turn.
fn topics_to_ask(
    topics: &mut [Option<Topic>],
    next: &mut usize,
    now: Instant,
) -> (Vec<Arc<str>>, u32) {
    let is_wanted = |topic: &Topic| topic.is_of_interest(now);
    let count = topics
        .iter()
        .flatten()
        .filter(|topic| is_wanted(topic))
        .count();
    let mut names = Vec::with_capacity(count.min(TOPICS_ASKED));
    if count > TOPICS_ASKED {
        let urgent = |topic: &&mut Topic| topic.asked.is_none() || topic.waits_for_metadata();
        let urgent = topics.iter_mut().flatten().filter(urgent);
        for topic in urgent.take(TOPICS_ASKED / 2) {
            topic.asked = Some(now);
            names.push(topic.name.clone());
        }
    }
    for _ in 0..topics.len() {
        if names.len() == TOPICS_ASKED {
            break;
        }
        *next = (*next + 1) % topics.len();
        if let Some(topic) = topics[*next].as_mut().filter(|topic| is_wanted(topic))
            && (count <= TOPICS_ASKED || topic.asked != Some(now))
        {
            topic.asked = Some(now);
            names.push(topic.name.clone());
        }
    }
    let slices = u32::try_from(count.div_ceil(TOPICS_ASKED)).unwrap_or(u32::MAX);
    (names, slices)
}

/// The sooner of two times.
pub(super) fn min_deadline(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    one.into_iter().chain(other).min()
}

/// No more topics are in one question for metadata: with 30 partitions each the answer has about 2 MB.
const TOPICS_ASKED: usize = 1000;
/// Topics that nobody uses are looked for so often.
const DROP_INTERVAL: Duration = Duration::from_secs(60);
/// Buffers are kept for so long after the last of them was used.
const TRIM_AFTER: Duration = Duration::from_secs(5);
