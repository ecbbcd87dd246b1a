//! What an answer, or its absence, changes.

use std::time::{Duration, Instant};

use log::Level;

use crate::kafka::cluster::broker::{BatchRef, Peer, Pending, Sent};
use crate::kafka::network::error::ConnectionError;
use crate::kafka::protocol::error_code::{Action, REBOOTSTRAP_REQUIRED, Verdict, Written};
use crate::kafka::protocol::response::{
    MetadataResponse, PartitionResponse, ProduceResponse, Response,
};

use super::machine::{Machine, Now};
use super::partition::Failed;
use super::topic::Topic;

impl Machine {
    pub(super) fn answered(&mut self, peer: Peer, answer: Response, now: Now) {
        let throttle_ms = match &answer {
            Response::Metadata(metadata) => metadata.throttle_ms,
            Response::InitProducerId(answer) => answer.throttle_ms,
            Response::Produce(answer) => answer.throttle_ms,
            Response::FindCoordinator(answer) => answer.throttle_ms,
            Response::AddPartitionsToTxn(answer) => answer.throttle_ms,
            Response::EndTxn(answer) => answer.throttle_ms,
            Response::ApiVersions(_) | Response::CreateTopics(_) => 0,
        };
        match self.cluster.broker(peer) {
            Some(broker) => broker.throttle(throttle_ms, now.at),
            None => return,
        }
        match answer {
            Response::Metadata(metadata) => {
                if self.settle_pending(peer, Pending::is_metadata).is_some() {
                    self.cluster.works(peer);
                    self.update(peer, &metadata, now.at);
                }
            }
            Response::InitProducerId(answer) if self.transactional.is_none() => {
                if self
                    .settle_pending(peer, Pending::is_init_producer_id)
                    .is_some()
                {
                    self.ids.answered(answer, now.at);
                }
            }
            Response::Produce(answer) => {
                let pending = self.settle_pending(peer, Pending::is_produce);
                if let Some(Pending::Produce(batches, sent)) = pending {
                    self.took(peer, &batches, sent, now.at);
                    self.cluster.works(peer);
                    self.produced(&batches, &answer, now);
                }
            }
            answer => {
                if self.settle_pending(peer, Pending::is_transaction).is_some() {
                    self.cluster.works(peer);
                    self.transaction_answered(answer, now.at);
                }
            }
        }
    }

    /// With `acks=0` a request is done when it is written.
    pub(super) fn written(&mut self, peer: Peer, now: Instant) {
        let pending = self.settle_pending(peer, Pending::is_produce);
        if let Some(Pending::Produce(batches, sent)) = pending {
            self.took(peer, &batches, sent, now);
            self.cluster.works(peer);
            for batch in &batches {
                self.acknowledge(batch, now);
            }
        }
    }

    /// A request of Produce is done.
    fn took(&mut self, peer: Peer, batches: &[BatchRef], sent: Sent, now: Instant) {
        if let Some(broker) = self.cluster.broker(peer) {
            broker.took(sent, now);
        }
        self.arrive(batches);
    }

    /// These batches are on their way no more.
    pub(super) fn arrive(&self, batches: &[BatchRef]) {
        for batch in batches {
            if let Some(Some(topic)) = self.topics.get(batch.topic) {
                let in_flight = &topic.counters.in_flight_bytes;
                in_flight.take(u64::from(batch.bytes));
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
        self.note_cluster(metadata.cluster_id.as_deref(), now);
        let mut again = metadata.brokers.is_empty();
        let mut anew = false;
        for told in &metadata.topics {
            let Some(number) = self.known_number(&told.name) else {
                continue;
            };
            let Some(topic) = self.topics[number].as_mut() else {
                continue;
            };
            let waits = topic.update(told, now) && !topic.is_empty();
            again |= waits;
            anew |= !std::mem::replace(&mut topic.waited, waits) && waits;
            self.settle_topic(number, now);
        }
        again |= self.topics.iter().flatten().any(Topic::waits_for_metadata);
        self.cluster.update(peer, metadata, now, again);
        if anew {
            self.cluster.schedule.want_early_probe(now);
        }
    }

    /// Places what can be placed now, and lists whatever has something to send.
    fn settle_topic(&mut self, number: usize, now: Instant) {
        let Some(topic) = self.topics[number].as_mut() else {
            return;
        };
        topic.settle();
        for id in topic.take_spent_ids() {
            self.ids.discard(id, now);
        }
        topic.place_unplaced();
        let partitions = topic.partitions.iter();
        let busy: Vec<usize> = partitions
            .filter(|(_, partition)| !partition.is_empty() && !partition.is_active)
            .map(|(index, _)| *index)
            .collect();
        for index in busy {
            self.list(number, index);
        }
    }

    fn produced(&mut self, batches: &[BatchRef], answer: &ProduceResponse, now: Now) {
        for (place, batch) in batches.iter().enumerate() {
            let told = self.told(place, batch, answer);
            match told {
                Some(told) if told.error == 0 => self.acknowledge(batch, now.at),
                Some(told) => {
                    let verdict = Verdict::of(told.error);
                    self.metrics.produce_failed(verdict.name);
                    if verdict.action == Action::Acknowledged {
                        self.acknowledge(batch, now.at);
                    } else {
                        self.failed(batch, verdict, told.message.as_deref(), now);
                    }
                }
                // An answer that leaves a batch out says nothing about it.
                None => self.failed(batch, Verdict::of(-1), None, now),
            }
        }
    }

    /// What `answer` says of the batch at `place` of the request. Most brokers answer in the order of the request,
    /// so it is at the same place; a search for each of thousands of partitions would take its time.
    fn told<'a>(
        &self,
        place: usize,
        batch: &BatchRef,
        answer: &'a ProduceResponse,
    ) -> Option<&'a PartitionResponse> {
        let topic = self.topics.get(batch.topic)?.as_ref()?;
        let is_it = |told: &&PartitionResponse| {
            usize::try_from(told.index) == Ok(batch.partition) && *told.topic == *topic.name
        };
        let here = answer.partitions.get(place).filter(is_it);
        here.or_else(|| answer.partitions.iter().find(is_it))
    }

    fn acknowledge(&mut self, batch: &BatchRef, now: Instant) {
        let Some(topic) = self.topics.get_mut(batch.topic).and_then(Option::as_mut) else {
            return;
        };
        let Some(partition) = topic.partitions.get_mut(&batch.partition) else {
            return;
        };
        let acked = match &mut self.transactional {
            Some(transactional) => {
                if !partition.retain(batch) {
                    return;
                }
                transactional.retains(batch.topic, batch.partition, now);
                None
            }
            None => match partition.acknowledge(batch, &mut self.encoder) {
                None => return,
                acked => acked,
            },
        };
        topic.on_acked();
        if let Some(acked) = &acked {
            acked.count_acked(&topic.counters);
        }
        if topic.is_settling() || topic.settle() {
            self.settle_topic(batch.topic, now);
        }
        if let Some(acked) = acked {
            self.effects.acked.extend(acked.spans());
            self.effects.done.push(acked);
        }
    }

    /// A batch was answered with an error.
    fn failed(&mut self, batch: &BatchRef, verdict: Verdict, message: Option<&str>, now: Now) {
        let maybe_written = verdict.written != Written::NotAppended;
        let Some(partition) = self.partition(batch.topic, batch.partition) else {
            return;
        };
        let Some(failed) = partition.fail(batch, maybe_written, now.at) else {
            return;
        };
        partition.was_answered(batch.id);
        let complaint = self.act(batch, verdict, failed, message, now);
        if let Some(complaint) = complaint {
            self.complain(batch, verdict, message, complaint, now.at);
        }
        self.settle_topic(batch.topic, now.at);
    }

    /// Does what the table says about the failure of a batch. Returns what the log says about it.
    fn act(
        &mut self,
        batch: &BatchRef,
        verdict: Verdict,
        failed: Failed,
        message: Option<&str>,
        now: Now,
    ) -> Option<&'static str> {
        if self.transactional.is_some()
            && let Some(complaint) = self.act_in_transaction(batch, verdict, failed, now.at)
        {
            return complaint;
        }
        let topic = self.topics[batch.topic].as_mut()?;
        let partition = topic.partitions.get_mut(&batch.partition)?;
        let encoder = &mut self.encoder;
        match verdict.action {
            Action::Acknowledged | Action::Retry => Some(RETRYING),
            Action::Refresh => {
                partition.is_leader_doubted = true;
                self.cluster.schedule.want();
                Some(RETRYING)
            }
            Action::OutOfOrder if !failed.is_oldest => None,
            Action::OutOfOrder | Action::NewProducerId => {
                partition.lose_id();
                Some(match failed.maybe_written {
                    true => NEW_ID_MAYBE_TWICE,
                    false => NEW_ID,
                })
            }
            Action::Split | Action::Shrink => {
                let split =
                    partition.split(batch.id, verdict, encoder, &mut self.batch_ids, now.at);
                if let Err(error) = split {
                    log::error!("cannot divide a record batch: {error}");
                }
                None
            }
            Action::Retime => {
                if let Err(error) = partition.retime(batch.id, now.unix_ms, encoder) {
                    log::error!("cannot give a record batch another time: {error}");
                }
                Some(RETIMED)
            }
            Action::Park => {
                let reason = match message {
                    Some(message) => format!("{verdict}: {message}"),
                    None => verdict.to_string(),
                };
                topic.refuse(verdict, &reason, now.at);
                self.cluster.schedule.want();
                None
            }
        }
    }

    /// Does what the failure of a batch means for its transaction, if that is all there is to do.
    fn act_in_transaction(
        &mut self,
        batch: &BatchRef,
        verdict: Verdict,
        failed: Failed,
        now: Instant,
    ) -> Option<Option<&'static str>> {
        if verdict.code == CONCURRENT_TRANSACTIONS {
            let partition = self.partition(batch.topic, batch.partition)?;
            partition.retry_at(now + CONCURRENT_PAUSE);
            return Some(None);
        }
        if let Some(transactional) = &mut self.transactional {
            let quarantine = &mut transactional.quarantine;
            quarantine.refused(batch.topic, batch.partition, now);
        }
        let is_refused = self.transaction_refused(verdict, failed.is_oldest, now);
        is_refused.then_some(Some(ABORTED))
    }

    fn complain(
        &mut self,
        batch: &BatchRef,
        verdict: Verdict,
        message: Option<&str>,
        complaint: &str,
        now: Instant,
    ) {
        let Some(topic) = self.topics[batch.topic].as_mut() else {
            return;
        };
        let Some(suppressed) = topic.may_complain(now) else {
            return;
        };
        let (name, partition) = (&topic.name, batch.partition);
        let colon = if message.is_some() { ": " } else { "" };
        let message = message.unwrap_or_default();
        let more = match suppressed {
            0 => String::new(),
            n => format!(" ({n} more like this were not shown)"),
        };
        log::warn!(
            "topic '{name}' partition {partition}: {verdict}{colon}{message}; {complaint}{more}"
        );
    }

    pub(super) fn closed(&mut self, peer: Peer, error: &ConnectionError, now: Instant) {
        assert!(
            !matches!(error, ConnectionError::Panicked),
            "a connection thread panicked"
        );
        let pending = self.cluster.closed(peer, error, now);
        self.transaction_lost(peer);
        // A question that was asked after a batch is not what the broker hung up on: it had not come to it.
        let was_alone = match pending.front() {
            Some(Pending::Produce(batches, _)) => {
                batches.len() == 1 && !pending.iter().skip(1).any(Pending::is_produce)
            }
            _ => false,
        };
        for pending in pending {
            match pending {
                Pending::Metadata => {}
                Pending::InitProducerId => self.ids.unanswered(now),
                Pending::Transaction => {
                    if let Some(transactional) = &mut self.transactional {
                        transactional.transaction.unanswered(now);
                    }
                }
                Pending::Produce(batches, _) => {
                    self.arrive(&batches);
                    for batch in &batches {
                        self.unanswered(batch, error, was_alone, now);
                    }
                }
            }
        }
    }

    /// A batch will get no answer: whether its records are in the log is not known.
    fn unanswered(
        &mut self,
        batch: &BatchRef,
        error: &ConnectionError,
        was_alone: bool,
        now: Instant,
    ) {
        let Some(partition) = self.partition(batch.topic, batch.partition) else {
            return;
        };
        if partition.fail(batch, true, now).is_none() {
            return;
        }
        if error.is_hang_up()
            && let Some(bytes) = partition.hung_up(batch.id, was_alone)
        {
            self.halve(batch, bytes, now);
        }
        self.settle_topic(batch.topic, now);
    }

    /// A broker hangs up on a batch again and again, and on nothing else: it, or something before it, does not
    /// like the size.
    fn halve(&mut self, batch: &BatchRef, bytes: usize, now: Instant) {
        let (encoder, ids) = (&mut self.encoder, &mut self.batch_ids);
        let Some(topic) = self.topics[batch.topic].as_mut() else {
            return;
        };
        let Some(partition) = topic.partitions.get_mut(&batch.partition) else {
            return;
        };
        let too_large = Verdict::of(MESSAGE_TOO_LARGE);
        if let Err(error) = partition.split(batch.id, too_large, encoder, ids, now) {
            log::error!("cannot divide a record batch: {error}");
        }
        let name = &topic.name;
        let hang_ups = &mut self.hang_ups;
        hang_ups.enter(Level::Error, &"requests", &"brokers hang up", now);
        if let Some(passed_over) = hang_ups.say(now) {
            log::error!(
                "topic '{name}': brokers hang up on a request of {bytes} bytes again and again, so its batches are \
                 made smaller; raise socket.request.max.bytes of the brokers, or the limit of a proxy before them, \
                 or lower batch_bytes here{passed_over}"
            );
        }
        self.hang_ups.leave();
    }
}

const RETRYING: &str = "retrying";
const NEW_ID: &str = "retrying under a new producer id";
const NEW_ID_MAYBE_TWICE: &str =
    "retrying under a new producer id; as an answer was lost before, records may be duplicated";
const RETIMED: &str =
    "retrying with the time of now; when the records were read goes with them as header read_at";
const ABORTED: &str = "the transaction it was in has to be made anew";
const MESSAGE_TOO_LARGE: i16 = 10;
/// The transaction before is not wholly ended, which takes some milliseconds.
const CONCURRENT_TRANSACTIONS: i16 = 51;
const CONCURRENT_PAUSE: Duration = Duration::from_millis(20);
