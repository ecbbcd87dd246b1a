//! The legacy output, on the `kafka` crate: brokers below 4.0 only.
//!
//! The crate sends Produce version 0 and message format 0, which Kafka 4.0 removed (KIP-896, KIP-724).
//! It never reconnects, so the client is built anew after every error, and its reads and writes
//! wait up to 120 s, so this output may hold its producer thread for that long. There are no headers,
//! no idempotence and no timestamps. It is chosen by `[kafka] protocol = legacy` and never by itself.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, never};
use kafka::client::{KafkaClient, ProduceMessage, RequiredAcks};
use kafka::error::KafkaCode;
use log::Level;

use super::Output;
use crate::batch::{Batch, Progress};
use crate::condition::Condition;
use crate::config::{Acks, Compression, KafkaConfig, Partitioner};
use crate::metrics::Metrics;
use crate::partitioner;
use crate::resolve::Resolver;
use crate::rights;
use crate::shown::ShownPath;
use crate::snapshot::ALL_BROKERS;

/// Sends message sets through the `kafka` crate, one request at a time.
#[derive(Debug)]
pub struct LegacyOutput {
    config: Arc<KafkaConfig>,
    /// None: to be built (again).
    client: Option<KafkaClient>,
    progress: Sender<Progress>,
    events: Receiver<()>,
    topics: HashMap<Arc<str>, TopicQueue>,
    finishing: bool,
    /// After an error with the brokers themselves: not before this.
    retry: Retry,
    /// No broker is reachable.
    trouble: Condition,
    /// Records that were left out.
    refused: u64,
    metrics: Arc<Metrics>,
}

#[derive(Debug, Default)]
struct TopicQueue {
    /// Raw batches, and how far the first one is sent.
    batches: VecDeque<Batch>,
    sent: usize,
    bytes: usize,
    oldest: Option<Instant>,
    retry: Retry,
    /// Kafka refuses what is sent to it.
    trouble: Condition,
    /// Bound of the next message set, halved when it was too large.
    limit_bytes: usize,
    /// Message sets that were taken: where the partitions take turns, whose turn it is.
    taken: usize,
}

/// Why Kafka does not take a message set.
struct Refusal {
    code: KafkaCode,
    words: String,
}

impl From<KafkaCode> for Refusal {
    fn from(code: KafkaCode) -> Self {
        Refusal {
            code,
            words: words(code),
        }
    }
}

/// When to try again, and how often it was tried.
#[derive(Debug, Default)]
struct Retry {
    at: Option<Instant>,
    failures: u32,
}

impl Retry {
    fn fail(&mut self, now: Instant) {
        let backoff = FIRST_BACKOFF
            .saturating_mul(1 << self.failures.min(10))
            .min(LAST_BACKOFF);
        self.at = Some(now + backoff.mul_f64(0.8 + 0.2 * fastrand::f64()));
        self.failures += 1;
    }

    fn is_due(&self, now: Instant) -> bool {
        self.at.is_none_or(|at| now >= at)
    }
}

/// What one request was about: the first `records` records, up to position `to` in batch `last`.
struct Cut {
    partition: i32,
    last: usize,
    to: usize,
    records: usize,
}

impl LegacyOutput {
    /// An output that acknowledges on `progress`. It connects when there is something to send.
    pub fn new(
        config: Arc<KafkaConfig>,
        metrics: Arc<Metrics>,
        progress: Sender<Progress>,
    ) -> Self {
        LegacyOutput {
            config,
            client: None,
            progress,
            events: never(),
            topics: HashMap::new(),
            finishing: false,
            retry: Retry::default(),
            trouble: Condition::on(&metrics.board),
            refused: 0,
            metrics,
        }
    }

    fn connect(&mut self) -> kafka::Result<&mut KafkaClient> {
        if self.client.is_none() {
            let mut client = KafkaClient::new(self.bootstrap_addresses()?);
            client.set_client_id(self.config.client_id.clone());
            client.set_compression(match self.config.compression {
                Compression::Gzip(_) => kafka::client::Compression::GZIP,
                Compression::Snappy => kafka::client::Compression::SNAPPY,
                _ => kafka::client::Compression::NONE,
            });
            client.load_metadata_all()?;
            self.client = Some(client);
        }
        Ok(self.client.as_mut().expect("it was just made"))
    }

    /// The addresses of the brokers that are configured. The crate would have the C library look their names up
    /// (see [`crate::resolve`]); of the names that brokers give each other it still does.
    fn bootstrap_addresses(&self) -> io::Result<Vec<String>> {
        let brokers = &self.config.brokers;
        let share = self.config.request_timeout / u32::try_from(brokers.len()).unwrap_or(u32::MAX);
        let resolver = Resolver::of_this_host();
        let (mut addresses, mut error) = (Vec::new(), None);
        for broker in brokers {
            let until = Instant::now() + share;
            match resolver.addresses(&broker.host, broker.port, until) {
                Ok(found) => addresses.extend(found.iter().map(SocketAddr::to_string)),
                Err(why) => error = Some(why),
            }
        }
        match error {
            Some(error) if addresses.is_empty() => Err(error.into()),
            _ => Ok(addresses),
        }
    }

    /// Sends one message set of `topic`. `Ok(None)`: done; `Ok(Some(refusal))`: Kafka refused it; `Err`: the
    /// connection is of no more use.
    fn send(&mut self, topic: &Arc<str>) -> kafka::Result<Option<Refusal>> {
        let config = self.config.clone();
        let client = self.connect()?;
        if client
            .topics()
            .partitions(topic)
            .is_none_or(|p| p.iter().count() == 0)
        {
            // Asking for it by name also creates it, where the broker does that.
            client.load_metadata(&[&**topic])?;
        }
        let count = client
            .topics()
            .partitions(topic)
            .map_or(0, |p| p.iter().count());
        if count == 0 {
            return Ok(Some(KafkaCode::UnknownTopicOrPartition.into()));
        }
        let count = i32::try_from(count).unwrap_or(i32::MAX);
        if let Partitioner::Fixed(asked) = config.partitioner
            && asked >= count
        {
            return Ok(Some(Refusal {
                code: KafkaCode::UnknownTopicOrPartition,
                words: partitioner::missing_words(asked, count),
            }));
        }
        let Some(queue) = self.topics.get(topic) else {
            return Ok(None);
        };
        let (cut, messages) = queue.cut(&config, count);
        let acks = match config.acks {
            Acks::None => RequiredAcks::None,
            Acks::Leader => RequiredAcks::One,
            Acks::All => RequiredAcks::All,
        };
        let client = self.client.as_mut().expect("connected above");
        let confirms = client.produce_messages(acks, config.request_timeout, messages)?;
        let refused = confirms
            .iter()
            .flat_map(|c| &c.partition_confirms)
            .find_map(|p| p.offset.err());
        match refused {
            None => {
                self.count(topic, &cut);
                self.acknowledge(topic, &cut);
            }
            Some(KafkaCode::MessageSizeTooLarge) if cut.records == 1 => {
                let queue = &self.topics[topic];
                let batch = &queue.batches[cut.last];
                log::error!(
                    "a record of '{}' that ends at offset {} is too large for topic '{topic}' and is left out",
                    ShownPath(&batch.destination.path),
                    batch.start + cut.to as u64
                );
                self.refused += 1;
                let counters = self.metrics.topic(topic);
                counters.dead_letters.add("MESSAGE_TOO_LARGE", 1);
                self.acknowledge(topic, &cut);
                return Ok(None);
            }
            Some(code) => return Ok(Some(code.into())),
        }
        Ok(None)
    }

    /// Counts what Kafka has taken.
    fn count(&self, topic: &Arc<str>, cut: &Cut) {
        let Some(queue) = self.topics.get(topic) else {
            return;
        };
        let counters = self.metrics.topic(topic);
        counters.acked_records.add(cut.records as u64);
        for (at, batch) in queue.batches.iter().enumerate().take(cut.last + 1) {
            let from = if at == 0 { queue.sent } else { 0 };
            let records = batch.records_from(from);
            let taken = records.take_while(|(to, _)| at < cut.last || *to <= cut.to);
            let counters = &batch.destination.route.counters;
            counters.acked_records.add(taken.count() as u64);
        }
    }

    fn acknowledge(&mut self, topic: &Arc<str>, cut: &Cut) {
        self.retry = Retry::default();
        let Some(queue) = self.topics.get_mut(topic) else {
            return;
        };
        queue.taken = queue.taken.wrapping_add(1);
        let mut spans = Vec::new();
        for at in 0..=cut.last {
            let Some(batch) = queue.batches.front() else {
                break;
            };
            let to = if at == cut.last {
                cut.to
            } else {
                batch.data.len()
            };
            spans.push(batch.span(queue.sent, to));
            queue.bytes -= to - queue.sent;
            if to == batch.data.len() {
                queue.batches.pop_front();
                queue.sent = 0;
            } else {
                queue.sent = to;
            }
        }
        queue.oldest = (!queue.batches.is_empty()).then(Instant::now);
        if let Some(left) = queue.trouble.leave() {
            log::log!(left.level, "topic '{topic}' has recovered{left}");
        }
        if let Some(left) = self.trouble.leave() {
            log::log!(left.level, "broker reachable again{left}");
        }
        queue.retry = Retry::default();
        queue.limit_bytes = self.config.batch_bytes;
        let _ = self.progress.send(Progress::Acked(spans));
    }

    /// A request for `topic` failed; `code`: it was Kafka that refused it.
    fn fail(
        &mut self,
        topic: &Arc<str>,
        error: &dyn std::fmt::Display,
        code: Option<KafkaCode>,
        now: Instant,
    ) {
        self.client = None;
        let Some(queue) = self.topics.get_mut(topic) else {
            return;
        };
        match code {
            Some(KafkaCode::MessageSizeTooLarge) => {
                queue.limit_bytes = (queue.limit_bytes / 2).max(1)
            }
            Some(code) => {
                queue.retry.fail(now);
                // A new topic needs a few tries.
                if queue.retry.failures < PARK_AFTER {
                    return;
                }
                let advice = rights::missing(code as i16);
                let level = match advice {
                    Some(_) => Level::Error,
                    None => Level::Warn,
                };
                let trouble = queue.trouble.shown_on(&self.metrics.board);
                trouble.enter(level, &format_args!("topic {topic}"), error, now);
                if let Some(passed_over) = trouble.say(now) {
                    let advice = advice.unwrap_or_default();
                    log::log!(
                        level,
                        "topic '{topic}' is parked: {error}{advice}; retrying every 10 s{passed_over}"
                    );
                }
            }
            None => {
                self.retry.fail(now);
                let reason = format_args!("none reachable: {error}");
                let trouble = &mut self.trouble;
                trouble.enter(Level::Warn, &ALL_BROKERS, &reason, now);
                if let Some(passed_over) = trouble.say(now) {
                    log::warn!("no broker reachable: {error}; retrying{passed_over}");
                }
            }
        }
    }
}

impl TopicQueue {
    /// The records of the next message set: one partition, and no more than the limit.
    fn cut(&self, config: &KafkaConfig, partitions: i32) -> (Cut, Vec<ProduceMessage<'_, '_>>) {
        let mut cut = Cut {
            partition: 0,
            last: 0,
            to: self.sent,
            records: 0,
        };
        let mut messages = Vec::new();
        let mut size = 0;
        'batches: for (at, batch) in self.batches.iter().enumerate() {
            let destination = &batch.destination;
            let partition = self.partition(config, batch, partitions);
            if at == 0 {
                cut.partition = partition;
            } else if partition != cut.partition {
                break;
            }
            let mut from = if at == 0 { self.sent } else { 0 };
            for (to, record) in batch.records_from(from) {
                let key = batch.key_at(from);
                from = to;
                size += record.len() + key.map_or(0, <[u8]>::len) + MESSAGE_OVERHEAD;
                if cut.records > 0 && size > self.limit_bytes {
                    break 'batches;
                }
                // An empty line is an empty value; none at all would be a tombstone.
                messages.push(ProduceMessage::new(
                    &destination.route.topic,
                    partition,
                    key,
                    Some(record),
                ));
                (cut.last, cut.to, cut.records) = (at, to, cut.records + 1);
            }
        }
        (cut, messages)
    }
}

impl TopicQueue {
    /// Where `batch` goes, of so many partitions.
    fn partition(&self, config: &KafkaConfig, batch: &Batch, partitions: i32) -> i32 {
        let destination = &batch.destination;
        let key = batch.key_at(0);
        match (config.partitioner, key) {
            (Partitioner::File, _) => partitioner::of_key(&destination.file_key(), partitions),
            (Partitioner::Host, _) => {
                partitioner::of_key(destination.route.host.as_bytes(), partitions)
            }
            (Partitioner::Fixed(partition), _) => partition,
            (Partitioner::Key, Some(key)) => partitioner::of_key(key, partitions),
            // Without a key the partitions take turns, and begin with the second, as with the native output.
            (Partitioner::Key, None) | (Partitioner::RoundRobin, _) => {
                ((self.taken + 1) % partitions.unsigned_abs() as usize) as i32
            }
        }
    }
}

/// The name of an error code, and its number, as the native output has them.
fn words(code: KafkaCode) -> String {
    let name = match code {
        KafkaCode::Unknown => "UNKNOWN_SERVER_ERROR".to_owned(),
        KafkaCode::NotLeaderForPartition => "NOT_LEADER_OR_FOLLOWER".to_owned(),
        KafkaCode::MessageSizeTooLarge => "MESSAGE_TOO_LARGE".to_owned(),
        KafkaCode::InvalidTopic => "INVALID_TOPIC_EXCEPTION".to_owned(),
        other => {
            let mut name = String::new();
            for (at, letter) in format!("{other:?}").char_indices() {
                if at > 0 && letter.is_ascii_uppercase() {
                    name.push('_');
                }
                name.push(letter.to_ascii_uppercase());
            }
            name
        }
    };
    format!("{name} ({})", code as i32)
}

impl Output for LegacyOutput {
    type Event = ();

    fn accept(&mut self, batch: Batch) {
        batch.destination.route.tap.show(&batch, None);
        let limit_bytes = self.config.batch_bytes;
        batch.count_lines(batch.records().count() as u64);
        let queue = self
            .topics
            .entry(batch.destination.route.topic.clone())
            .or_default();
        if queue.batches.is_empty() {
            queue.oldest = Some(Instant::now());
            queue.limit_bytes = limit_bytes;
        }
        queue.bytes += batch.data.len();
        queue.batches.push_back(batch);
    }

    fn events(&self) -> &Receiver<()> {
        &self.events
    }

    fn handle(&mut self, (): ()) {}

    fn poll(&mut self, now: Instant) -> Option<Instant> {
        let mut next: Option<Instant> = None;
        let mut wait_until = |at: Instant| next = Some(next.map_or(at, |n| n.min(at)));
        let topics: Vec<Arc<str>> = self.topics.keys().cloned().collect();
        for topic in topics {
            let queue = &self.topics[&topic];
            let Some(oldest) = queue.oldest else { continue };
            let ready_at = oldest + self.config.batch_linger();
            let is_full = queue.bytes >= self.config.batch_bytes || self.finishing;
            if !is_full && now < ready_at {
                wait_until(ready_at);
                continue;
            }
            if let Some(at) = [self.retry.at, queue.retry.at].into_iter().flatten().max()
                && !(self.retry.is_due(now) && queue.retry.is_due(now))
            {
                wait_until(at);
                continue;
            }
            match self.send(&topic) {
                Ok(None) => {}
                Ok(Some(Refusal { code, words })) => self.fail(&topic, &words, Some(code), now),
                Err(kafka::Error::Kafka(code)) => self.fail(&topic, &words(code), Some(code), now),
                Err(error) => self.fail(&topic, &error, None, now),
            }
            // Whatever is left of this topic, the others come first.
            if self.topics[&topic].oldest.is_some() {
                wait_until(now);
            }
        }
        next
    }

    fn reconfigure(&mut self, config: Arc<KafkaConfig>) {
        // Between two requests nothing is in flight.
        (self.config, self.client) = (config, None);
        self.retry = Retry::default();
        for queue in self.topics.values_mut() {
            queue.retry = Retry::default();
            queue.limit_bytes = self.config.batch_bytes;
        }
    }

    fn finish(&mut self) {
        self.finishing = true;
    }

    fn is_idle(&self) -> bool {
        self.topics.values().all(|queue| queue.batches.is_empty())
    }

    fn refused(&self) -> u64 {
        self.refused
    }
}

const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LAST_BACKOFF: Duration = Duration::from_secs(10);
/// After so many refusals a topic is said to be parked.
const PARK_AFTER: u32 = 4;
/// Offset, size, CRC, magic, attributes and the lengths of key and value.
const MESSAGE_OVERHEAD: usize = 34;

#[cfg(test)]
mod tests;
