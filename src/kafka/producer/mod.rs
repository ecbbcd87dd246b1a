//! The native output: a state machine on the `producer-<k>` thread. It never touches a socket.

pub(crate) mod batch_limit;
pub(crate) mod coverage;
pub(crate) mod dead_letter;
pub(crate) mod encoder;
pub(crate) mod partition;
pub(crate) mod producer_id;
pub(crate) mod topic;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::batch::{Batch, Progress, Span};
use crate::config::{Acks, KafkaConfig};
use crate::output::Output;

use self::dead_letter::DeadLetters;
use self::encoder::Encoder;
use self::partition::{Patience, Readiness, Unacked};
use self::producer_id::{ProducerIds, ProducerState};
use self::topic::Topic;
use crate::kafka::cluster::broker::{BatchRef, Peer, Pending};
use crate::kafka::cluster::{Cluster, sooner};
use crate::kafka::network::connection::{ConnectionEvent, Event};
use crate::kafka::network::error::ConnectionError;
use crate::kafka::protocol::api::PRODUCE;
use crate::kafka::protocol::error_code::{Action, REBOOTSTRAP_REQUIRED, Verdict, Written};
use crate::kafka::protocol::request::{ProduceStyle, TopicBatches};
use crate::kafka::protocol::response::{MetadataResponse, ProduceResponse, Response};

/// A Produce request is not made larger than this by taking more partitions in.
const REQUEST_BYTES: usize = 1 << 20;
/// A partition may be without a leader for so long before that is worth a line in the log.
const LEADERLESS_PATIENCE: Duration = Duration::from_secs(30);
/// Buffers are kept for so long after the last of them was used.
const TRIM_AFTER: Duration = Duration::from_secs(5);

/// The native Kafka client as an [`Output`].
///
/// Batches wait, as raw file bytes, in the queue of their partition. A record batch is built only
/// when it can be sent at once, so encoded copies exist of what is in flight and of nothing else.
#[derive(Debug)]
pub(crate) struct NativeOutput {
    config: Arc<KafkaConfig>,
    style: ProduceStyle,
    progress: Sender<Progress>,
    events: Receiver<Event>,
    cluster: Cluster,
    topics: Vec<Topic>,
    topic_numbers: HashMap<Arc<str>, usize>,
    /// Partitions with something to send or in flight.
    listed: Vec<(usize, usize)>,
    /// Where in that list the next round starts, so that all have the same chance.
    turn: usize,
    encoder: Encoder,
    ids: ProducerIds,
    dead_letters: DeadLetters,
    finishing: bool,
    /// When the idle buffers are freed.
    trim_at: Option<Instant>,
}

impl NativeOutput {
    /// The output of producer number `k`, which reports to `progress`. Records that no broker takes
    /// go to a file in `dead_letters`.
    pub(crate) fn new(
        k: usize,
        config: Arc<KafkaConfig>,
        progress: Sender<Progress>,
        dead_letters: Option<PathBuf>,
    ) -> Self {
        let (sender, events) = unbounded();
        let acks = match config.acks {
            Acks::None => 0,
            Acks::Leader => 1,
            Acks::All => -1,
        };
        // The broker gives up waiting for followers a little before we give up waiting for it.
        let timeout_ms = (config.request_timeout * 9 / 10).as_millis();
        NativeOutput {
            style: ProduceStyle {
                client_id: config.client_id.clone(),
                acks,
                timeout_ms: i32::try_from(timeout_ms).unwrap_or(i32::MAX),
            },
            progress,
            events,
            cluster: Cluster::new(k, config.clone(), sender),
            topics: Vec::new(),
            topic_numbers: HashMap::new(),
            listed: Vec::new(),
            turn: 0,
            encoder: Encoder::new(config.compression, config.batch_bytes),
            ids: ProducerIds::new(config.idempotence && config.acks == Acks::All),
            dead_letters: DeadLetters::new(k, dead_letters),
            finishing: false,
            trim_at: None,
            config,
        }
    }

    fn topic_number(&mut self, name: &Arc<str>) -> usize {
        if let Some(number) = self.topic_numbers.get(name) {
            return *number;
        }
        let number = self.topics.len();
        let (partitioner, batch_bytes) = (self.config.partitioner, self.config.batch_bytes);
        self.topics
            .push(Topic::new(name.clone(), partitioner, batch_bytes));
        self.topic_numbers.insert(name.clone(), number);
        self.cluster.want_metadata();
        number
    }

    fn list(&mut self, topic: usize, partition: usize) {
        let entry = &mut self.topics[topic].partitions[partition];
        if !std::mem::replace(&mut entry.listed, true) {
            self.listed.push((topic, partition));
        }
    }

    /// Sends what can be sent now. Returns when something will be due by itself.
    fn send_ready(&mut self, now: Instant) -> Option<Instant> {
        loop {
            let mut soonest = None;
            let mut drafts: BTreeMap<i32, Draft> = BTreeMap::new();
            self.turn = self.turn.wrapping_add(1);
            for n in 0..self.listed.len() {
                let place = self.turn.wrapping_add(n) % self.listed.len();
                let (topic, partition) = self.listed[place];
                self.draft(topic, partition, &mut drafts, &mut soonest, now);
            }
            if drafts.is_empty() {
                return soonest;
            }
            for (node, draft) in drafts {
                self.send(node, draft, now);
            }
        }
    }

    /// Adds the next record batch of a partition to the draft of a request to its leader, if it is
    /// ready, the leader can take it and the draft has room.
    fn draft(
        &mut self,
        topic: usize,
        partition: usize,
        drafts: &mut BTreeMap<i32, Draft>,
        soonest: &mut Option<Instant>,
        now: Instant,
    ) {
        let patience = (!self.finishing).then_some(Patience {
            batch_bytes: self.config.batch_bytes,
            linger: self.config.linger,
        });
        let held_until = self.topics[topic].held_until(now);
        self.adopt_id(topic, partition, now);
        let Some(entry) = self.topics[topic].partitions.get_mut(partition) else {
            return;
        };
        match entry.readiness(now, patience) {
            Readiness::Ready => {}
            Readiness::At(at) => return sooner(soonest, at),
            Readiness::Waits => return,
        }
        if let Some(held_until) = held_until {
            return sooner(soonest, held_until);
        }
        let Some(leader) = entry.leader else {
            if entry.leaderless.is_none() {
                self.cluster.want_early_probe(now);
            }
            let (since, complained) = entry.leaderless.get_or_insert((now, false));
            if !*complained && now.duration_since(*since) > LEADERLESS_PATIENCE {
                *complained = true;
                log::warn!(
                    "topic '{}' partition {partition} has had no leader for {} s",
                    self.topics[topic].name,
                    LEADERLESS_PATIENCE.as_secs()
                );
            }
            return self.cluster.want_probe(now);
        };
        let draft_bytes = drafts.get(&leader).map_or(0, |draft| draft.bytes);
        let next_bytes = entry.next_bytes(self.config.batch_bytes);
        if draft_bytes > 0 && draft_bytes + next_bytes > REQUEST_BYTES {
            return;
        }
        if self.cluster.leader(leader, now, soonest).is_none() {
            return;
        }
        let producer = match self.ids.state() {
            ProducerState::Id(producer) => Some(producer),
            ProducerState::None => None,
            // Batches that are stamped already, and those after them, need no new id.
            ProducerState::Awaited if entry.producer().is_some() => None,
            ProducerState::Awaited => return,
        };
        let (number, bytes) = entry.next(&mut self.encoder, producer, now);
        let draft = drafts.entry(leader).or_default();
        draft.bytes += bytes.len();
        draft.batches.push((
            BatchRef {
                topic,
                partition,
                number,
            },
            bytes,
        ));
    }

    fn send(&mut self, node: i32, mut draft: Draft, now: Instant) {
        draft.batches.sort_by_key(|(batch, _)| batch.topic);
        let mut topics: Vec<TopicBatches<'_>> = Vec::new();
        let mut last = None;
        let mut refs = Vec::with_capacity(draft.batches.len());
        for (batch, bytes) in draft.batches {
            if last.replace(batch.topic) != Some(batch.topic) {
                topics.push((&self.topics[batch.topic].name, Vec::new()));
            }
            if let Some((_, partitions)) = topics.last_mut() {
                partitions.push((batch.partition as i32, bytes));
            }
            refs.push(batch);
        }
        let broker = self.cluster.leader(node, now, &mut None);
        let version = broker.as_ref().and_then(|broker| broker.version(PRODUCE));
        if let (Some(broker), Some(version)) = (broker, version) {
            let request = self.style.request(version, &topics);
            log::debug!(
                "to broker {node}: {} batches, {} bytes",
                refs.len(),
                draft.bytes
            );
            broker.send(request, Pending::Produce(refs));
        }
    }

    /// Gives a partition whose numbering is of no use the new one, once there is one and nothing
    /// is in flight.
    fn adopt_id(&mut self, topic: usize, partition: usize, now: Instant) {
        let Some(entry) = self.topics[topic].partitions.get_mut(partition) else {
            return;
        };
        if !entry.wants_new_id || entry.in_flight() > 0 {
            return;
        }
        match (self.ids.state(), entry.producer()) {
            (ProducerState::None, _) => entry.renumber(None),
            (ProducerState::Id(id), Some(old)) if id == old => self.ids.discard(old, now),
            (ProducerState::Id(id), _) => entry.renumber(Some(id)),
            (ProducerState::Awaited, _) => {}
        }
    }

    fn answered(&mut self, peer: Peer, answer: Response, now: Instant) {
        let Some(broker) = self.cluster.broker(peer) else {
            return;
        };
        match answer {
            Response::Metadata(metadata) => {
                broker.throttle(metadata.throttle_ms, now);
                if broker.answered(Pending::is_metadata).is_some() {
                    self.update(peer, &metadata, now);
                }
            }
            Response::InitProducerId(answer) => {
                broker.throttle(answer.throttle_ms, now);
                if broker.answered(Pending::is_init_producer_id).is_some() {
                    self.ids.answered(answer, now);
                }
            }
            Response::Produce(answer) => {
                broker.throttle(answer.throttle_ms, now);
                if let Some(Pending::Produce(batches)) = broker.answered(Pending::is_produce) {
                    self.produced(batches, &answer, now);
                }
            }
        }
    }

    fn update(&mut self, peer: Peer, metadata: &MetadataResponse, now: Instant) {
        if metadata.error == REBOOTSTRAP_REQUIRED {
            log::warn!("a broker has left the cluster: starting again from the bootstrap brokers");
            let left = ConnectionError::Refused(metadata.error);
            for lost in self.cluster.lost_with(peer) {
                self.closed(lost, &left, now);
            }
            self.cluster.start_again(peer, now);
            return;
        }
        let mut again = metadata.brokers.is_empty();
        let mut anew = false;
        for told in &metadata.topics {
            let Some(number) = self.topic_numbers.get(told.name.as_str()).copied() else {
                continue;
            };
            let topic = &mut self.topics[number];
            let wants = topic.update(told, now);
            let waits = wants && !topic.is_empty();
            again |= waits;
            anew |= !std::mem::replace(&mut topic.waited, waits) && waits;
            for partition in 0..topic.partitions.len() {
                if !self.topics[number].partitions[partition].is_empty() {
                    self.list(number, partition);
                }
            }
        }
        again |= self.topics.iter().any(Topic::waits_for_metadata);
        self.cluster.update(metadata, now, again);
        if anew {
            self.cluster.want_early_probe(now);
        }
    }

    fn produced(&mut self, batches: Vec<BatchRef>, answer: &ProduceResponse, now: Instant) {
        let mut spans = Vec::new();
        let mut done = Vec::new();
        for batch in batches {
            let name = &self.topics[batch.topic].name;
            let told = answer
                .partitions
                .iter()
                .find(|told| told.topic == *name && told.index == batch.partition as i32);
            match told {
                Some(told) if told.error == 0 => self.acknowledge(batch, &mut spans, &mut done),
                Some(told) => {
                    let verdict = Verdict::of(told.error);
                    if verdict.action == Action::Acknowledged {
                        self.acknowledge(batch, &mut spans, &mut done);
                    } else {
                        self.failed(batch, verdict, told.message.as_deref(), now);
                    }
                }
                // An answer that leaves a batch out says nothing about it.
                None => self.failed(batch, Verdict::of(-1), None, now),
            }
        }
        self.report(spans);
        // Now the memory of these batches may be used for others.
        drop(done);
    }

    fn acknowledge(&mut self, batch: BatchRef, spans: &mut Vec<Span>, done: &mut Vec<Unacked>) {
        let topic = &mut self.topics[batch.topic];
        if let Some(partition) = topic.partitions.get_mut(batch.partition)
            && let Some(acked) = partition.acknowledge(batch.number, &mut self.encoder)
        {
            spans.extend(acked.spans());
            done.push(acked);
            topic.flows();
        }
    }

    fn report(&self, spans: Vec<Span>) {
        if !spans.is_empty() {
            // Without a registrar the process is about to end.
            let _ = self.progress.send(Progress::Acked(spans));
        }
    }

    /// A batch was answered with an error, or got no answer.
    fn failed(&mut self, batch: BatchRef, verdict: Verdict, message: Option<&str>, now: Instant) {
        let topic = &mut self.topics[batch.topic];
        let Some(partition) = topic.partitions.get_mut(batch.partition) else {
            return;
        };
        let oldest = partition.is_oldest(batch.number);
        let maybe_written = verdict.written != Written::NotAppended;
        let maybe_written = partition.fail(batch.number, maybe_written, now);
        let mut complaint = Some("trying again");
        match verdict.action {
            Action::Acknowledged | Action::Retry => {}
            Action::Refresh => self.cluster.want_metadata(),
            Action::OutOfOrder if !oldest => complaint = None,
            Action::OutOfOrder | Action::NewProducerId => {
                partition.wants_new_id = true;
                complaint = Some(if maybe_written {
                    "sending again under a new producer id; as an answer was lost before, records may be duplicated"
                } else {
                    "sending again under a new producer id"
                });
            }
            Action::Split | Action::Shrink => {
                complaint = None;
                if let Err(error) = partition.split(batch.number, verdict, &mut self.encoder, now) {
                    log::error!("cannot divide a record batch: {error}");
                }
            }
            Action::Park => {
                complaint = None;
                let reason = match message {
                    Some(message) => format!("{verdict}: {message}"),
                    None => verdict.to_string(),
                };
                topic.refuse(&reason, now);
                self.cluster.want_metadata();
            }
        }
        if let Some(complaint) = complaint
            && let Some(suppressed) = topic.may_complain(now)
        {
            log::warn!(
                "topic '{}' partition {}: {verdict}{}{}; {complaint}{}",
                topic.name,
                batch.partition,
                if message.is_some() { ": " } else { "" },
                message.unwrap_or_default(),
                match suppressed {
                    0 => String::new(),
                    n => format!(" ({n} more like this were not shown)"),
                }
            );
        }
    }

    fn closed(&mut self, peer: Peer, error: &ConnectionError, now: Instant) {
        assert!(
            !matches!(error, ConnectionError::Panicked),
            "a connection thread panicked"
        );
        for pending in self.cluster.closed(peer, error, now) {
            match pending {
                Pending::Metadata => {}
                Pending::InitProducerId => self.ids.unanswered(now),
                Pending::Produce(batches) => {
                    for batch in batches {
                        let topic = &mut self.topics[batch.topic];
                        if let Some(partition) = topic.partitions.get_mut(batch.partition) {
                            partition.fail(batch.number, true, now);
                        }
                    }
                }
            }
        }
    }

    /// Puts aside the records that no broker takes, and takes partitions from the list that have
    /// nothing to do.
    fn tidy(&mut self, now: Instant) {
        let mut n = 0;
        while let Some((topic, partition)) = self.listed.get(n).copied() {
            while self.bury(topic, partition, now) {}
            let topic = &mut self.topics[topic];
            match topic.partitions.get_mut(partition) {
                Some(entry) if !entry.is_empty() => n += 1,
                entry => {
                    if let Some(entry) = entry {
                        entry.listed = false;
                    }
                    self.listed.swap_remove(n);
                    topic.settle_count();
                }
            }
        }
    }

    fn bury(&mut self, topic: usize, partition: usize, now: Instant) -> bool {
        let topic = &mut self.topics[topic];
        let Some(entry) = topic.partitions.get_mut(partition) else {
            return false;
        };
        if !entry.is_due(now) || !self.dead_letters.have_room() {
            return false;
        }
        let Some((to, offset, why, record)) = entry.next_refused() else {
            return false;
        };
        self.dead_letters
            .bury(&topic.name, &to.path, offset, why, &record, now);
        if let Some(refused) = entry.remove_refused(now) {
            self.dead_letters.stand_for(refused.spans());
        }
        true
    }
}

#[derive(Debug, Default)]
struct Draft {
    batches: Vec<(BatchRef, Arc<Vec<u8>>)>,
    bytes: usize,
}

impl Output for NativeOutput {
    type Event = Event;

    fn accept(&mut self, batch: Batch) {
        if batch.data.is_empty() {
            return;
        }
        let topic = self.topic_number(&batch.destination.route.topic);
        let placed = self.topics[topic].push(batch, Instant::now());
        if let Some(partition) = placed {
            self.list(topic, partition);
        }
    }

    fn events(&self) -> &Receiver<Event> {
        &self.events
    }

    fn handle(&mut self, event: Event) {
        let now = Instant::now();
        let Some(peer) = self.cluster.peer_of(event.connection) else {
            // The connection was given up meanwhile.
            return;
        };
        match event.what {
            ConnectionEvent::Connected { versions, hangup } => {
                self.cluster.connected(peer, versions, hangup);
            }
            ConnectionEvent::Answered(answer) => self.answered(peer, answer, now),
            ConnectionEvent::Written => {
                let broker = self.cluster.broker(peer);
                let written = broker.and_then(|broker| broker.answered(Pending::is_produce));
                if let Some(Pending::Produce(batches)) = written {
                    let mut spans = Vec::new();
                    let mut done = Vec::new();
                    for batch in batches {
                        self.acknowledge(batch, &mut spans, &mut done);
                    }
                    self.report(spans);
                }
            }
            ConnectionEvent::Closed(error) => self.closed(peer, &error, now),
        }
    }

    fn poll(&mut self, now: Instant) -> Option<Instant> {
        let buried = self.dead_letters.flush(now);
        self.report(buried);
        self.tidy(now);
        let mut next = self.send_ready(now);
        if let Some(at) = self.dead_letters.due() {
            sooner(&mut next, at);
        }
        if !self.topics.is_empty() {
            let topics = self.topics.iter();
            let names = topics
                .filter(|topic| topic.is_of_interest(now))
                .map(|topic| &*topic.name);
            let metadata = self.cluster.ask_if_due(names, now);
            let client_id = &self.config.client_id;
            let id = self.ids.ask_if_due(&mut self.cluster, client_id, now);
            for at in [metadata, id].into_iter().flatten() {
                sooner(&mut next, at);
            }
        }
        if self.listed.is_empty() {
            match self.trim_at {
                Some(at) if at <= now => self.encoder.trim(),
                Some(at) => sooner(&mut next, at),
                None => {}
            }
        } else {
            self.trim_at = Some(now + TRIM_AFTER);
        }
        next.filter(|at| *at > now)
    }

    fn finish(&mut self) {
        self.finishing = true;
    }

    fn is_idle(&self) -> bool {
        self.topics.iter().all(Topic::is_empty) && self.dead_letters.is_empty()
    }

    fn refused(&self) -> u64 {
        self.dead_letters.count()
    }
}
