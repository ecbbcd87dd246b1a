//! Counters of the whole process, and what a snapshot says of them.
//!
//! What is counted for lines is counted for many at a time, with relaxed atomics; a lock is taken where a file is
//! opened, a topic or a broker is first seen, or something fails.

mod counters;
mod silent;
mod transactions;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use self::counters::{Bounded, lock};
pub use self::counters::{Counter, Flag, Gauge, MOST_NAMES, Tally};
pub use self::transactions::TransactionCounters;
use crate::condition::Board;
use crate::config::LogConfig;
use crate::left_out::LeftOut;
use crate::losses::Losses;
use crate::record::RecordConfig;
use crate::record::counters::RecordCounters;
use crate::snapshot::{
    BrokerStatus, ConditionStatus, Latency, LogStatus, TopicStatus, TransactionStatus,
};

/// Counters that several threads add to.
#[derive(Debug, Default)]
pub struct Metrics {
    /// What was unread in files when they were opened, in bytes.
    pub to_read_bytes: Counter,
    /// Bytes of the files that Kafka has acknowledged.
    pub acked_bytes: Counter,
    /// Whether a file has grown since the checkpoints, which tell its size, were written.
    pub has_grown: Flag,
    /// What is wrong at present.
    pub board: Board,
    /// What patterns name and is not followed.
    pub left_out: LeftOut,
    /// What went away before it was read, the last times.
    pub losses: Losses,
    /// Errors that Produce was answered with.
    produce_errors: Tally,
    sections: Mutex<Vec<Arc<SectionCounters>>>,
    topics: Bounded<TopicCounters>,
    brokers: Bounded<BrokerCounters>,
    /// By transactional id.
    transactions: Bounded<TransactionCounters>,
    exactly_once: Mutex<String>,
}

/// What there is to count of the files of a section.
#[derive(Debug, Default)]
pub struct SectionCounters {
    /// The name of the section.
    pub name: String,
    /// Bytes that were read.
    pub read_bytes: Counter,
    /// Lines that went on as they are, none of which [`RecordCounters`] has counted.
    pub lines: Counter,
    /// Such lines in pieces.
    pub split: Counter,
    /// Bytes of the files that are done with.
    pub acked_bytes: Counter,
    /// Records that Kafka acknowledged.
    pub acked_records: Counter,
    /// What went away before it was read, in the order of [`Lost::ALL`].
    lost_bytes: [Counter; Lost::ALL.len()],
    /// When something was lost last, in ms since 1970; 0 if nothing was.
    last_lost_ms: AtomicU64,
    /// How long files waited for the section's rate, in ms.
    pub rate_limited_ms: Counter,
    /// The first one is in use; the others counted for rules that were changed.
    records: Mutex<Vec<Arc<RecordCounters>>>,
}

/// Why bytes are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// Their file was truncated, or written over.
    Truncated,
    /// Their file is gone.
    Deleted,
    /// Deleted files took more disk than they may.
    Limit,
}

impl Lost {
    /// As the counters of losses name it.
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    const ALL: [(Lost, &'static str); 3] = [
        (Lost::Truncated, "truncated"),
        (Lost::Deleted, "deleted"),
        (Lost::Limit, "limit"),
    ];
}

/// What there is to count of a topic.
#[derive(Debug, Default)]
pub struct TopicCounters {
    /// Records that Kafka acknowledged.
    pub acked_records: Counter,
    /// Encoded bytes on their way.
    pub in_flight_bytes: Gauge,
    /// Record batches that were sent again.
    pub retries: Counter,
    /// Records that no broker takes, by the reason.
    pub dead_letters: Tally,
}

impl TopicCounters {
    /// A record batch of so many bytes goes on its way, for the `attempt`th time.
    pub fn sends(&self, bytes: usize, attempt: u32) {
        self.in_flight_bytes.add(bytes as u64);
        self.retries.add(u64::from(attempt > 1));
    }
}

/// What there is to count of a broker, for all connections to it.
#[derive(Debug, Default)]
pub struct BrokerCounters {
    /// Requests of Produce that were sent.
    pub requests: Counter,
    /// Those of them without an answer.
    pub in_flight_requests: Gauge,
    /// Encoded bytes in these.
    pub in_flight_bytes: Gauge,
    /// How many producers know it as a member of the cluster.
    pub members: Gauge,
    /// How long Produce took: how often it was in each of the ranges of [`Latency::BOUNDS`], and in all.
    latency: [Counter; Latency::BOUNDS.len() + 1],
    latency_us: Counter,
    seen: Mutex<Seen>,
}

/// What is known of a broker's connections.
#[derive(Debug, Default)]
struct Seen {
    /// How many there are that work, or were closed because nobody needed them.
    up: u32,
    since: Option<SystemTime>,
    about: String,
    /// How many are being made, and since when one of them is.
    opening: u32,
    opening_since: Option<Instant>,
}

impl BrokerCounters {
    /// Produce was answered after `time`.
    pub fn took(&self, time: Duration) {
        let seconds = time.as_secs_f64();
        let range = Latency::BOUNDS.iter().position(|bound| seconds <= *bound);
        self.latency[range.unwrap_or(Latency::BOUNDS.len())].add(1);
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.latency_us.add(us);
    }

    /// A connection is ready; `about` is what was found there. Returns whether that is another thing than before.
    pub fn is_up(&self, about: &str) -> bool {
        let mut seen = lock(&self.seen);
        if seen.up == 0 {
            seen.since = Some(SystemTime::now());
        }
        seen.up += 1;
        let is_news = seen.about != about;
        if is_news {
            about.clone_into(&mut seen.about);
        }
        is_news
    }

    /// What was found there last.
    pub fn about(&self) -> String {
        lock(&self.seen).about.clone()
    }

    /// A connection that was up is none any more.
    pub fn is_down(&self) {
        let mut seen = lock(&self.seen);
        seen.up = seen.up.saturating_sub(1);
        if seen.up == 0 {
            seen.since = None;
        }
    }

    fn latency(&self) -> Latency {
        Latency {
            counts: self.latency.each_ref().map(Counter::value),
            sum: Duration::from_micros(self.latency_us.value()),
        }
    }
}

impl Metrics {
    /// Counters for these sections.
    pub fn new(logs: &[Arc<LogConfig>]) -> Self {
        let metrics = Metrics::default();
        for log in logs {
            metrics.section(log);
        }
        metrics
    }

    /// Those of a section, which are made if there are none. What was counted for rules that are others now stays.
    pub fn section(&self, log: &LogConfig) -> Arc<SectionCounters> {
        let mut sections = lock(&self.sections);
        let known = sections.iter().find(|section| section.name == log.name);
        let section = known.cloned().unwrap_or_else(|| {
            let section = SectionCounters::named(&log.name);
            sections.push(section.clone());
            section
        });
        if let Some(record) = log.record.as_deref() {
            section.use_rules_of(record);
        }
        section
    }

    /// Those of a topic. All topics beyond the first [`MOST_NAMES`] share theirs.
    pub fn topic(&self, name: &str) -> Arc<TopicCounters> {
        self.topics.named(name)
    }

    /// Those of a broker at this address.
    pub fn broker(&self, address: &str) -> Arc<BrokerCounters> {
        self.brokers.named(address)
    }

    /// Produce was answered with an error.
    pub fn produce_failed(&self, error: &'static str) {
        self.produce_errors.add(error, 1);
    }

    /// What went away before it was read, in all sections.
    pub fn lost_bytes(&self) -> u64 {
        let sections = lock(&self.sections);
        let lost = sections.iter().flat_map(|section| &section.lost_bytes);
        lost.map(Counter::value).sum()
    }

    /// The sections, in the order in which they were first seen.
    pub fn logs(&self) -> Vec<LogStatus> {
        let sections = lock(&self.sections).clone();
        sections.iter().map(|section| section.status()).collect()
    }

    /// The topics, by their names. Whether they are parked stands in `conditions`.
    pub fn topics(&self, conditions: &[ConditionStatus]) -> Vec<TopicStatus> {
        let topic = |name: &str, counters: &TopicCounters| {
            let trouble = of_subject(conditions, "topic ", name);
            TopicStatus {
                name: name.to_owned(),
                acked_records: counters.acked_records.value(),
                in_flight_bytes: counters.in_flight_bytes.value(),
                retries: counters.retries.value(),
                dead_letters: counters.dead_letters.all(),
                parked: trouble.map(|trouble| (trouble.reason.clone(), trouble.since)),
                next_try: trouble.and_then(|trouble| trouble.next_try),
                waits_for_broker: false,
                acked_rate: 0,
            }
        };
        self.topics.map(topic)
    }

    /// The brokers, by their addresses, as far as they are of interest: a bootstrap broker that is none of the
    /// members is not, once these are known.
    pub fn brokers(&self, conditions: &[ConditionStatus]) -> Vec<BrokerStatus> {
        let broker = |address: &str, counters: &BrokerCounters| {
            let trouble = of_subject(conditions, "broker ", address);
            let seen = lock(&counters.seen);
            let is_wanted = counters.members.value() > 0 || trouble.is_some();
            (is_wanted || counters.in_flight_requests.value() > 0).then(|| BrokerStatus {
                address: address.to_owned(),
                about: seen.about.clone(),
                up_since: seen.since.filter(|_| trouble.is_none()),
                in_flight_requests: counters.in_flight_requests.value(),
                in_flight_bytes: counters.in_flight_bytes.value(),
                requests: counters.requests.value(),
                latency: counters.latency(),
                recent_latency: Latency::default(),
                last_error: trouble.map(|trouble| trouble.reason.clone()),
                next_try: trouble.and_then(|trouble| trouble.next_try),
            })
        };
        self.brokers.map(broker).into_iter().flatten().collect()
    }

    /// Whether a broker at this address was ever connected to.
    pub fn has_connected_to(&self, address: &str) -> bool {
        let is_it = |name: &str, counters: &BrokerCounters| {
            name == address && !lock(&counters.seen).about.is_empty()
        };
        self.brokers.map(is_it).contains(&true)
    }

    /// How often Produce was answered with which error.
    pub fn produce_errors(&self) -> Vec<(String, u64)> {
        self.produce_errors.all()
    }

    /// How long Produce took at all brokers together.
    pub fn produce_latency(&self) -> Latency {
        let mut all = Latency::default();
        for one in self.brokers.map(|_, counters| counters.latency()) {
            for (sum, count) in all.counts.iter_mut().zip(one.counts) {
                *sum += count;
            }
            all.sum += one.sum;
        }
        all
    }
}

/// The condition of a thing that is named after what it is.
fn of_subject<'a>(
    conditions: &'a [ConditionStatus],
    kind: &str,
    name: &str,
) -> Option<&'a ConditionStatus> {
    let is_it = |c: &&ConditionStatus| c.subject.strip_prefix(kind) == Some(name);
    conditions.iter().find(is_it)
}

impl SectionCounters {
    /// Those of a section of this name.
    pub fn named(name: &str) -> Arc<Self> {
        Arc::new(SectionCounters {
            name: name.to_owned(),
            ..SectionCounters::default()
        })
    }

    /// Bytes are lost.
    pub fn lose(&self, why: Lost, bytes: u64) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now_ms = u64::try_from(now.unwrap_or_default().as_millis()).unwrap_or(0);
        self.last_lost_ms.store(now_ms, Ordering::Relaxed);
        self.lost_bytes[why as usize].add(bytes);
    }

    /// What the records of its files are counted with.
    pub fn records(&self) -> Arc<RecordCounters> {
        lock(&self.records).first().cloned().unwrap_or_default()
    }

    fn use_rules_of(&self, record: &RecordConfig) {
        let mut all = lock(&self.records);
        let (drops, masks) = (record.filter.names(), record.masks.names());
        let known = all.iter().position(|one| one.are_of(drops, masks));
        let counters = match known {
            Some(at) => all.remove(at),
            None => Arc::new(record.counters()),
        };
        all.insert(0, counters);
    }

    fn status(&self) -> LogStatus {
        let records = lock(&self.records).clone();
        let count = |of: fn(&RecordCounters) -> &AtomicU64| {
            let each = records.iter().map(|one| of(one).load(Ordering::Relaxed));
            each.sum::<u64>()
        };
        let lines = self.lines.value();
        let (mut dropped, mut masked) = (BTreeMap::new(), BTreeMap::new());
        for counters in &records {
            counters.add_dropped(&mut dropped);
            counters.add_masked(&mut masked);
        }
        LogStatus {
            name: self.name.clone(),
            read_bytes: self.read_bytes.value(),
            read_lines: lines + count(|c| &c.lines),
            events: lines + count(|c| &c.events),
            dropped: dropped.into_iter().collect(),
            masked: masked.into_iter().collect(),
            split: self.split.value() + count(|c| &c.split),
            parse_failures: vec![
                ("container", count(|c| &c.foreign_lines)),
                ("encoding", count(|c| &c.bad_characters)),
                ("json", count(|c| &c.bad_json)),
                ("regex", count(|c| &c.unmatched)),
                ("time", count(|c| &c.untimed)),
            ],
            acked_bytes: self.acked_bytes.value(),
            acked_records: self.acked_records.value(),
            lost_bytes: Lost::ALL
                .iter()
                .map(|(why, name)| (*name, self.lost_bytes[*why as usize].value()))
                .collect(),
            last_lost: match self.last_lost_ms.load(Ordering::Relaxed) {
                0 => None,
                ms => UNIX_EPOCH.checked_add(Duration::from_millis(ms)),
            },
            rate_limited: Duration::from_millis(self.rate_limited_ms.value()),
            ..LogStatus::default()
        }
    }
}

/// Two are the same if they are one: what a route counts with is no part of what it says.
impl PartialEq for SectionCounters {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for SectionCounters {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_beyond_the_first_two_hundred_are_one() {
        let metrics = Metrics::default();
        for number in 0..1000 {
            metrics.topic(&format!("t{number:04}")).acked_records.add(1);
        }
        let topics = metrics.topics(&[]);
        assert_eq!(topics.len(), MOST_NAMES + 1);
        let other = topics.iter().find(|topic| topic.name == "other");
        assert_eq!(other.map(|topic| topic.acked_records), Some(800));
    }

    #[test]
    fn a_topic_is_parked_and_a_broker_down_if_the_board_says_so() {
        let metrics = Metrics::default();
        let now = Instant::now();
        let mut parked = crate::condition::Condition::on(&metrics.board);
        parked.enter(log::Level::Warn, &"topic a", &"not authorized", now);
        for name in ["a", "b"] {
            metrics.topic(name);
            metrics.broker(name).members.add(1);
        }
        let mut down = crate::condition::Condition::on(&metrics.board);
        down.enter(log::Level::Warn, &"broker b", &"timed out", now);
        down.tries_again(now, now);
        metrics.broker("b").is_up("Kafka");
        let conditions = metrics.board.all();
        let topics = metrics.topics(&conditions);
        assert!(
            topics[0]
                .parked
                .as_ref()
                .is_some_and(|(why, _)| why == "not authorized")
        );
        assert_eq!(topics[1].parked, None);
        let brokers = metrics.brokers(&conditions);
        assert_eq!(brokers[0].last_error, None);
        assert_eq!(brokers[1].last_error.as_deref(), Some("timed out"));
        assert!(brokers[1].up_since.is_none() && brokers[1].next_try.is_some());
    }

    #[test]
    fn a_duration_is_counted_in_the_first_range_that_holds_it() {
        let counters = BrokerCounters::default();
        for ms in [1, 2, 3, 400, 11_000] {
            counters.took(Duration::from_millis(ms));
        }
        let latency = counters.latency();
        let found: Vec<usize> = (0..latency.counts.len())
            .filter(|at| latency.counts[*at] > 0)
            .collect();
        assert_eq!(found, [0, 1, 2, 8, 13]);
        assert_eq!(latency.sum, Duration::from_millis(11_406));
    }

    #[test]
    fn a_broker_is_up_while_one_of_its_connections_is() {
        let broker = BrokerCounters::default();
        assert!(broker.is_up("Kafka 4.1"));
        assert!(!broker.is_up("Kafka 4.1"), "that is known");
        let since = |broker: &BrokerCounters| lock(&broker.seen).since;
        broker.is_down();
        assert!(since(&broker).is_some());
        broker.is_down();
        assert!(since(&broker).is_none());
        assert!(broker.is_up("Kafka 4.2"));
    }
}
