//! Reads one topic. Everything is done by the thread that calls it: while an answer is looked through, the broker
//! prepares the next one.

use std::collections::BTreeMap;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use super::batch::{BatchError, Committed, Kind, RawBatch, Record};
use crate::backoff::Backoff;
use crate::config::{BrokerAddress, KafkaConfig};
use crate::kafka::network::client::Client;
use crate::kafka::network::error::ConnectionError;
use crate::kafka::network::token::TokenSource;
use crate::kafka::network::transport::check_correlation_id;
use crate::kafka::protocol::api::{Api, FETCH};
use crate::kafka::protocol::error_code::{UNKNOWN_TOPIC_OR_PARTITION, Verdict};
use crate::kafka::protocol::fetch::{
    EARLIEST, FetchFrom, FetchLimits, Fetched, READ_COMMITTED, READ_UNCOMMITTED, fetch,
    read_fetched,
};
use crate::kafka::protocol::wire::WireError;

/// Why a topic cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// No broker could be asked.
    #[error("topic '{topic}': {last}; given up after {PATIENCE:?}")]
    Stuck { topic: String, last: String },
    /// A person must change something.
    #[error("topic '{topic}': {verdict}")]
    Refused { topic: String, verdict: Verdict },
    /// The broker is too old.
    #[error("{address}: this broker does not offer what reading needs (Kafka 0.11 does)")]
    TooOld { address: BrokerAddress },
}

/// What stands in the way of one request, for a while perhaps.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error("{0}: {1}")]
    Connection(BrokerAddress, ConnectionError),
    #[error("partition {0}: {1}")]
    Code(i32, Verdict),
    #[error("{0}")]
    All(Verdict),
    #[error("partition {0} has no leader")]
    NoLeader(i32),
    #[error("{0}")]
    Final(ReadError),
}

/// What of a topic is read.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Period {
    /// Records of this time and later, in ms since 1970.
    pub(crate) since_ms: Option<i64>,
    /// Records before this time.
    pub(crate) until_ms: Option<i64>,
    /// This partition; `None`: all of them.
    pub(crate) partition: Option<i32>,
    pub(crate) isolation: Isolation,
}

/// What of transactions is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Isolation {
    /// What was committed before the first one that is open.
    #[default]
    Committed,
    /// What is open or was aborted too, and how each one has ended.
    All,
}

impl ReadError {
    /// Whether there is no such topic.
    pub(crate) fn is_no_topic(&self) -> bool {
        matches!(self, ReadError::Refused { verdict, .. } if verdict.code == UNKNOWN_TOPIC_OR_PARTITION)
    }
}

impl Isolation {
    pub(super) fn code(self) -> u8 {
        match self {
            Isolation::Committed => READ_COMMITTED,
            Isolation::All => READ_UNCOMMITTED,
        }
    }
}

/// One partition, and how far it is read.
#[derive(Debug)]
pub(crate) struct Partition {
    pub(crate) index: i32,
    pub(super) leader: i32,
    /// The first offset that the broker still has.
    pub(crate) first: i64,
    pub(super) next: i64,
    pub(crate) end: i64,
    /// What is asked for; more if a batch is larger.
    pub(super) most_bytes: i32,
}

/// What a topic holds, piece by piece.
#[derive(Debug)]
pub(crate) enum Found<'a> {
    Record(i32, Record<'a>),
    /// Records of a transaction that was aborted.
    Aborted(u64),
    /// The transaction of a producer id has ended; `true`: it was committed.
    Ended(i64, bool),
    /// A batch that cannot be read, which begins at this offset.
    Unreadable(i32, i64, BatchError),
    /// Some offsets went away by the topic's retention while it was read.
    Expired,
}

/// A connection to a leader.
struct Link<'a> {
    client: Client<'a>,
    version: i16,
    /// Correlation id of the request without an answer, and when that is overdue.
    asked: Option<(i32, Instant)>,
    /// When the login has to be renewed.
    until: Option<Instant>,
}

/// Reads a topic from where it begins, or a time, to the end that it had when it was asked.
pub(crate) struct TopicReader<'a> {
    pub(super) config: &'a KafkaConfig,
    pub(super) tokens: TokenSource,
    pub(super) topic: String,
    pub(super) period: Period,
    pub(super) addresses: BTreeMap<i32, BrokerAddress>,
    links: BTreeMap<i32, Link<'a>>,
    pub(crate) partitions: Vec<Partition>,
    backoff: Backoff,
    /// When something was last read.
    pub(super) progress: Instant,
    unpacked: Vec<u8>,
}

impl<'a> TopicReader<'a> {
    /// Finds out where the topic begins and ends.
    pub(crate) fn open(
        config: &'a KafkaConfig,
        topic: &str,
        period: Period,
    ) -> Result<Self, ReadError> {
        let mut reader = TopicReader {
            config,
            tokens: TokenSource::default(),
            topic: topic.to_owned(),
            period,
            addresses: BTreeMap::new(),
            links: BTreeMap::new(),
            partitions: Vec::new(),
            backoff: Backoff::new(&mut fastrand::Rng::new()),
            progress: Instant::now(),
            unpacked: Vec::new(),
        };
        while let Err(trouble) = reader.look().and_then(|()| reader.find_places()) {
            reader.wait(trouble)?;
        }
        Ok(reader)
    }

    /// Offsets to be read, and of these those that were.
    pub(crate) fn progress(&self) -> (u64, u64) {
        let left = |p: &Partition| u64::try_from(p.end - p.next).unwrap_or(0);
        let all = |p: &Partition| u64::try_from(p.end - p.first.min(p.end)).unwrap_or(0);
        let all: u64 = self.partitions.iter().map(all).sum();
        (
            all,
            all.saturating_sub(self.partitions.iter().map(left).sum()),
        )
    }

    /// Reads one answer and hands out what is in it. `false`: there is nothing more.
    pub(crate) fn read(&mut self, found: &mut dyn FnMut(Found<'_>)) -> Result<bool, ReadError> {
        if self.partitions.iter().all(Partition::is_done) {
            return Ok(false);
        }
        match self.exchange(found) {
            Ok(()) => {
                self.backoff.reset();
                Ok(true)
            }
            Err(trouble) => {
                self.wait(trouble)?;
                if let Err(trouble) = self.look() {
                    self.wait(trouble)?;
                }
                Ok(true)
            }
        }
    }

    /// Waits a little after `trouble`, unless nothing was read for long.
    fn wait(&mut self, trouble: Trouble) -> Result<(), ReadError> {
        if let Trouble::Final(error) = trouble {
            return Err(error);
        }
        if self.backoff.failures() % SAY_EVERY == SAY_EVERY - 1 {
            log::warn!("topic '{}': {trouble}; retrying", self.topic);
        }
        self.links.clear();
        if self.progress.elapsed() > PATIENCE {
            return Err(ReadError::Stuck {
                topic: self.topic.clone(),
                last: trouble.to_string(),
            });
        }
        thread::sleep(self.backoff.pause().min(MOST_PAUSE));
        Ok(())
    }

    /// Has every leader at work, and reads the answer of one.
    fn exchange(&mut self, found: &mut dyn FnMut(Found<'_>)) -> Result<(), Trouble> {
        let wanted = self.partitions.iter().filter(|p| !p.is_done());
        let mut leaders: Vec<i32> = wanted.map(|p| p.leader).collect();
        leaders.sort_unstable();
        leaders.dedup();
        for &leader in &leaders {
            self.ask(leader)?;
        }
        let asked = |link: &Link<'_>| link.asked.map_or(Instant::now(), |(_, due)| due);
        let first = self.links.iter().min_by_key(|(_, link)| asked(link));
        let Some((&leader, _)) = first else {
            return Ok(());
        };
        let address = self.addresses.get(&leader).cloned();
        let address = address.ok_or(Trouble::NoLeader(0))?;
        let failed = |error| Trouble::Connection(address.clone(), error);
        let (frame, version) = match self.links.get_mut(&leader) {
            Some(link) => (link.answer().map_err(failed)?, link.version),
            None => return Ok(()),
        };
        let malformed = |error| failed(ConnectionError::Malformed(error));
        let body = frame.get(4..).unwrap_or_default();
        let told = read_fetched(body, version).map_err(malformed)?;
        let told = told.map_err(|code| Trouble::All(Verdict::of(code)))?;
        // What stands in the way of one partition, or of the next request, is no reason to drop what has come.
        let mut result = Ok(());
        let mut from = Vec::with_capacity(told.len());
        for fetched in &told {
            from.push(self.advance(fetched).unwrap_or_else(|trouble| {
                result = Err(match trouble {
                    Advance::Trouble(trouble) => trouble,
                    Advance::Malformed(error) => malformed(error),
                });
                From::Nowhere
            }));
        }
        if result.is_ok() {
            result = self.ask(leader);
        }
        for (fetched, from) in told.iter().zip(from) {
            match from {
                From::Offset(from) => self.hand_out(fetched, from, found).map_err(malformed)?,
                From::Gone => self.step_over(fetched.partition, found)?,
                From::Nowhere => {}
            }
        }
        result
    }

    /// Sends a request for what `leader` leads, unless one has no answer yet.
    fn ask(&mut self, leader: i32) -> Result<(), Trouble> {
        let address = self.addresses.get(&leader).ok_or(Trouble::NoLeader(0))?;
        let is_old = |link: &Link<'_>| {
            link.asked.is_none() && link.until.is_some_and(|until| Instant::now() >= until)
        };
        if self.links.get(&leader).is_none_or(is_old) {
            let (client, until) = self.connect(address)?;
            let version = offered(&client, FETCH, address)?;
            let asked = None;
            self.links.insert(
                leader,
                Link {
                    client,
                    version,
                    asked,
                    until,
                },
            );
        }
        let Some(link) = self.links.get_mut(&leader) else {
            return Ok(());
        };
        if link.asked.is_some() {
            return Ok(());
        }
        let topic = &self.topic;
        let wanted = self.partitions.iter();
        let wanted = wanted.filter(|p| p.leader == leader && !p.is_done());
        let mut most = PARTITION_BYTES;
        let mut from: Vec<_> = wanted
            .map(|p| {
                most = most.max(p.most_bytes);
                FetchFrom {
                    topic,
                    partition: p.index,
                    offset: p.next,
                }
            })
            .collect();
        if from.is_empty() {
            self.links.remove(&leader);
            return Ok(());
        }
        // The first one gets a batch of any size.
        let turn = usize::try_from(self.progress.elapsed().as_millis()).unwrap_or(0) % from.len();
        from.rotate_left(turn);
        let limits = FetchLimits {
            wait_ms: WAIT_MS,
            most_bytes: MOST_BYTES.max(most),
            partition_bytes: most,
            isolation: self.period.isolation.code(),
        };
        let mut request = fetch(&self.config.client_id, link.version, &from, limits);
        let sent = link.client.transport.send(&mut request);
        let id = sent.map_err(|error| Trouble::Connection(address.clone(), error))?;
        let due = Instant::now() + self.config.request_timeout;
        link.asked = Some((id, due));
        Ok(())
    }

    /// Moves a partition behind what was fetched of it; gives where that was to begin.
    fn advance(&mut self, fetched: &Fetched<'_>) -> Result<From, Advance> {
        let index = fetched.partition;
        if fetched.error == OFFSET_OUT_OF_RANGE {
            return Ok(From::Gone);
        }
        self.check(fetched.error, |verdict| Trouble::Code(index, verdict))
            .map_err(Advance::Trouble)?;
        let Some(partition) = self.partitions.iter_mut().find(|p| p.index == index) else {
            return Ok(From::Nowhere);
        };
        let from = partition.next;
        let mut rest = fetched.records;
        while let Some(raw) = RawBatch::take(&mut rest).map_err(Advance::Malformed)? {
            partition.next = partition.next.max(raw.next_offset());
        }
        partition.most_bytes = match (partition.next > from, fetched.records.is_empty()) {
            (true, _) => PARTITION_BYTES,
            (false, true) => partition.most_bytes,
            (false, false) => partition.most_bytes.saturating_mul(2).min(LARGEST_BATCH),
        };
        if partition.next > from {
            self.progress = Instant::now();
        } else if self.progress.elapsed() > PATIENCE {
            let topic = self.topic.clone();
            let last = format!("partition {index}: nothing comes from offset {from} on");
            let stuck = ReadError::Stuck { topic, last };
            return Err(Advance::Trouble(Trouble::Final(stuck)));
        }
        Ok(From::Offset(from))
    }

    /// Hands out what is in the batches, from offset `from` on.
    fn hand_out(
        &mut self,
        fetched: &Fetched<'_>,
        from: i64,
        found: &mut dyn FnMut(Found<'_>),
    ) -> Result<(), WireError> {
        let index = fetched.partition;
        let partition = self.partitions.iter().find(|p| p.index == index);
        let end = partition.map_or(0, |partition| partition.end);
        let mut committed = Committed::new(fetched.aborted.clone());
        let mut rest = fetched.records;
        while let Some(raw) = RawBatch::take(&mut rest)? {
            if raw.base_offset >= end {
                break;
            }
            let mut read = || -> Result<(), BatchError> {
                let head = raw.head()?;
                match committed.kind(&raw, &head)? {
                    Kind::Marker(commits) => {
                        found(Found::Ended(head.producer_id, commits));
                        return Ok(());
                    }
                    Kind::Aborted => {
                        found(Found::Aborted(head.records()));
                        return Ok(());
                    }
                    Kind::Data => {}
                }
                let mut records = raw.unpack(&head, &mut self.unpacked)?;
                while let Some(record) = records.take()? {
                    if (from..end).contains(&record.offset) {
                        found(Found::Record(index, record));
                    }
                }
                Ok(())
            };
            if let Err(error) = read() {
                found(Found::Unreadable(index, raw.base_offset, error));
            }
        }
        // One large batch does not keep its memory.
        if self.unpacked.capacity() > USUAL_UNPACKED {
            self.unpacked = Vec::new();
        }
        Ok(())
    }

    /// The topic's retention was quicker: goes on where the partition begins by now.
    fn step_over(&mut self, index: i32, found: &mut dyn FnMut(Found<'_>)) -> Result<(), Trouble> {
        let first = self.offsets_at(EARLIEST)?;
        let partition = self.partitions.iter_mut().find(|p| p.index == index);
        if let (Some(partition), Some(&first)) = (partition, first.get(&index)) {
            found(Found::Expired);
            // Behind the end there is nothing: the topic was made anew.
            partition.next = match first > partition.next {
                true => first,
                false => partition.end,
            };
        }
        Ok(())
    }
}

/// Where what was fetched was to begin.
enum From {
    Offset(i64),
    /// It is not there any more.
    Gone,
    Nowhere,
}

enum Advance {
    Trouble(Trouble),
    Malformed(WireError),
}

impl Partition {
    fn is_done(&self) -> bool {
        self.next >= self.end
    }
}

impl Link<'_> {
    /// Waits for the answer that is due.
    fn answer(&mut self) -> Result<Vec<u8>, ConnectionError> {
        let Some((id, due)) = self.asked.take() else {
            return Err(io::Error::from(io::ErrorKind::NotConnected).into());
        };
        loop {
            if let Some(frame) = self.client.transport.frame()? {
                check_correlation_id(&frame, id)?;
                return Ok(frame);
            }
            self.client.transport.read_until(due)?;
        }
    }
}

pub(super) fn offered(
    client: &Client<'_>,
    api: Api,
    address: &BrokerAddress,
) -> Result<i16, Trouble> {
    let address = address.clone();
    let too_old = || Trouble::Final(ReadError::TooOld { address });
    client.versions.of(api).ok_or_else(too_old)
}

/// What a partition gives at a time.
pub(super) const PARTITION_BYTES: i32 = 1 << 20;
/// What all partitions of a leader give at a time.
const MOST_BYTES: i32 = 2 << 20;
/// A frame may have 8 MiB.
const LARGEST_BATCH: i32 = 7 << 20;
/// How long a broker may wait for something to give.
const WAIT_MS: i32 = 500;
/// So much room for what is unpacked is kept.
const USUAL_UNPACKED: usize = 4 << 20;
/// Nothing is read for so long: it is given up.
const PATIENCE: Duration = Duration::from_secs(60);
/// What does not work is said from the fourth time on.
const SAY_EVERY: u32 = 4;
const MOST_PAUSE: Duration = Duration::from_secs(1);
const OFFSET_OUT_OF_RANGE: i16 = 1;
