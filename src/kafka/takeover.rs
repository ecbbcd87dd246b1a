//! How an agent begins to deliver exactly once: it takes over its transactional ids, which puts an end to whatever an
//! earlier instance of it had open, and only then reads where the files stand.
//!
//! ```text
//!  find or make the topic of positions -> who has the id? -> for each producer: FindCoordinator, InitProducerId
//!  -> read the positions
//! ```
//! Were the positions read first, an instance that still runs could commit after that, and its lines would be sent
//! again. It all runs on a thread of its own, which starts nothing before it is done, and is tried again for as long as it
//! takes.

use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

use log::Level;

use crate::backoff::Backoff;
use crate::condition::{Board, Condition};
use crate::config::{BrokerAddress, ExactlyOnce, KafkaConfig};
use crate::kafka::network::client::Client;
use crate::kafka::network::error::ConnectionError;
use crate::kafka::network::token::TokenSource;
use crate::kafka::own_records::{OwnRecords, Take};
use crate::kafka::owner::{Owner, unix_ms};
use crate::kafka::producer::transaction::Place;
use crate::kafka::producer::transactional::{TakenOver, TransactionSettings};
use crate::kafka::protocol::api::{
    CREATE_TOPICS, FIND_COORDINATOR, Features, INIT_PRODUCER_ID, METADATA,
};
use crate::kafka::protocol::error_code::{Asked, Reaction, Verdict};
use crate::kafka::protocol::record_batch::ProducerId;
use crate::kafka::protocol::request::Request;
use crate::kafka::protocol::response::{MetadataResponse, Response};
use crate::kafka::protocol::transaction::Transactions;
use crate::kafka::read::reader::{Isolation, Period, ReadError, TopicReader};
use crate::partitioner;

/// Why an agent cannot deliver exactly once.
#[derive(Debug, thiserror::Error)]
pub enum TakeoverError {
    /// Nobody can mend it but a person.
    #[error("{0}")]
    Refused(String),
    /// A stop was asked for meanwhile.
    #[error("stopped before the brokers had said where the files stand")]
    Stopped,
}

/// Something that may be over when it is tried again.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("{0}: {1}")]
    Connection(BrokerAddress, ConnectionError),
    #[error("{0}")]
    Code(Verdict),
    #[error("{0}")]
    Words(&'static str),
    #[error("partition {1} of topic '{0}', where the positions are, has no leader")]
    NoLeader(String, i32),
    #[error("{0}")]
    Read(#[from] ReadError),
    #[error("{0}")]
    Final(String),
}

/// The agent that takes over.
pub(crate) struct Takeover<'a> {
    config: &'a KafkaConfig,
    settings: &'a ExactlyOnce,
    /// What its transactional ids and keys begin with.
    agent: &'a str,
    tokens: TokenSource,
    features: Features,
    /// This process.
    me: Owner,
    /// The machine that an operator takes the id away from.
    adopts: Option<String>,
}

impl<'a> Takeover<'a> {
    pub(crate) fn new(
        config: &'a KafkaConfig,
        settings: &'a ExactlyOnce,
        agent: &'a str,
        producers: usize,
    ) -> Self {
        Takeover {
            config,
            settings,
            agent,
            tokens: TokenSource::default(),
            features: Features::default(),
            me: Owner::this_process(producers, unix_ms()),
            adopts: None,
        }
    }

    /// An operator has the id taken away from this machine.
    pub(crate) fn adopting(mut self, machine: Option<String>) -> Self {
        self.adopts = machine;
        self
    }

    /// Takes over the ids of all producers. What was committed under them is shown to `take`,
    /// all of it in its order, and perhaps again from its beginning.
    /// Meanwhile `board` shows what is waited for.
    pub(crate) fn run(
        &mut self,
        board: &Board,
        take: Take<'_>,
    ) -> Result<Vec<TakenOver>, TakeoverError> {
        let mut backoff = Backoff::new(&mut fastrand::Rng::new());
        let since = Instant::now();
        let mut said = false;
        let mut waiting = Condition::on(board);
        let mut waits_for = |what: &dyn fmt::Display| {
            waiting.enter(Level::Warn, &SUBJECT, what, Instant::now());
        };
        waits_for(&"waits for the brokers to say where the files stand");
        loop {
            let trouble = match self.attempt(take) {
                Ok(taken) => return Ok(taken),
                Err(Trouble::Final(words)) => return Err(TakeoverError::Refused(words)),
                Err(trouble) => trouble,
            };
            waits_for(&format_args!("cannot begin: {trouble}"));
            if since.elapsed() > PATIENCE && !std::mem::replace(&mut said, true) {
                log::warn!("exactly once cannot begin: {trouble}; retrying");
            }
            log::debug!("exactly once cannot begin: {trouble}");
            thread::sleep(backoff.pause());
        }
    }

    fn attempt(&mut self, take: Take<'_>) -> Result<Vec<TakenOver>, Trouble> {
        let address = self.any_broker()?;
        let metadata = self.positions_topic(&address)?;
        let index = self.partition_in(&metadata)?;
        let before = self.owner(index)?;
        if let Some(owner) = &before {
            self.may_take_over_from(owner)?;
        }
        let positions: Place = (self.settings.positions_topic.as_str().into(), index);
        let timeout_ms = self.settings.transaction_timeout.as_millis();
        let mut taken = Vec::new();
        let before = before.map_or(0, |owner| owner.producers.min(MOST_PRODUCERS));
        for k in 0..self.me.producers.max(before) {
            let transactions = Transactions {
                id: transactional_id(self.agent, k),
                timeout_ms: i32::try_from(timeout_ms).unwrap_or(i32::MAX),
            };
            let producer = self.take_over(&address, &transactions)?;
            // What producers of before have open is ended, and no more.
            if k >= self.me.producers {
                continue;
            }
            taken.push(TakenOver {
                producer,
                features: Features::default(),
                owner: (k == 0).then(|| (Owner::key(self.agent), self.me.clone())),
                settings: TransactionSettings {
                    transactions,
                    positions: positions.clone(),
                    interval: self.settings.commit_interval,
                    most_bytes: usize::MAX,
                },
            });
        }
        for taken in &mut taken {
            taken.features = self.features;
        }
        if self.read_positions(index, take)?.are_open() {
            return Err(Trouble::Words(
                "a transaction of this agent is open that is none of its producers'",
            ));
        }
        Ok(taken)
    }

    /// The partition of the topic of positions that has those of this agent.
    fn partition_in(&self, metadata: &MetadataResponse) -> Result<i32, Trouble> {
        let topic = metadata.topics.first();
        let partitions = topic.map_or(&[][..], |topic| &topic.partitions);
        let count = i32::try_from(partitions.len()).unwrap_or(i32::MAX);
        let index = partitioner::of_key(self.agent.as_bytes(), count);
        let mut partitions = partitions.iter();
        match partitions.any(|partition| partition.index == index && partition.leader >= 0) {
            true => Ok(index),
            // What reads it would wait for a minute, and say nothing to the operator.
            false => Err(Trouble::NoLeader(
                self.settings.positions_topic.clone(),
                index,
            )),
        }
    }

    /// Who has the id of this agent, as far as a record says so; `None`: no broker tells.
    pub(crate) fn find_owner(&mut self) -> Option<Option<Owner>> {
        let found = self.any_broker().and_then(|address| {
            let metadata = self.positions_topic(&address)?;
            self.owner(self.partition_in(&metadata)?)
        });
        found
            .inspect_err(|trouble| log::debug!("who has the id is not known: {trouble}"))
            .ok()
    }

    fn owner(&self, index: i32) -> Result<Option<Owner>, Trouble> {
        let own_key = Owner::key(self.agent);
        let mut owner = None;
        self.read_positions(index, &mut |key, value| {
            if key == own_key {
                owner = value.and_then(Owner::parse);
            }
        })?;
        Ok(owner)
    }

    fn may_take_over_from(&self, owner: &Owner) -> Result<(), Trouble> {
        let is_given = self.adopts.as_ref() == Some(&owner.machine);
        if is_given || !owner.excludes(&self.me, unix_ms()) {
            return Ok(());
        }
        let (agent, owner) = (self.agent, owner.at(unix_ms()));
        Err(Trouble::Final(format!(
            "agent id '{agent}' is in use by {owner}\n\
             give one of the two its own [agent] id, or run 'logagent adopt' here if the other one is gone"
        )))
    }

    fn connect(&mut self, address: &BrokerAddress) -> Result<Client<'a>, Trouble> {
        let failed = |error| Trouble::Connection(address.clone(), error);
        let mut client = Client::connect(address, self.config).map_err(failed)?;
        client.authenticate(&self.tokens).map_err(failed)?;
        let features = client.versions.features;
        if features.epoch >= self.features.epoch {
            self.features = features;
        }
        if client
            .versions
            .of(INIT_PRODUCER_ID)
            .is_none_or(|version| version < 3)
        {
            return Err(Trouble::Final(format!(
                "'delivery = exactly_once' needs Kafka 2.5 or later, and {address} is older"
            )));
        }
        Ok(client)
    }

    fn call(
        &self,
        client: &mut Client<'_>,
        address: &BrokerAddress,
        request: Request,
    ) -> Result<Response, Trouble> {
        let answer = client.call(request, self.config.request_timeout);
        answer.map_err(|error| Trouble::Connection(address.clone(), error))
    }

    fn any_broker(&mut self) -> Result<BrokerAddress, Trouble> {
        let mut result = Err(Trouble::Words("no broker"));
        for address in &self.config.brokers {
            match self.connect(address) {
                Ok(_) => return Ok(address.clone()),
                Err(trouble @ Trouble::Final(_)) => return Err(trouble),
                Err(trouble) => result = Err(trouble),
            }
        }
        result
    }

    /// The topic of positions, which is made if it is missing.
    fn positions_topic(&mut self, address: &BrokerAddress) -> Result<MetadataResponse, Trouble> {
        let name = &self.settings.positions_topic;
        let mut client = self.connect(address)?;
        let version = client.versions.of(METADATA).unwrap_or(4);
        // Brokers must not make it by themselves: it would not be compacted.
        let request = Request::metadata_of(&self.config.client_id, version, name);
        let Response::Metadata(metadata) = self.call(&mut client, address, request)? else {
            return Err(Trouble::Words("no metadata"));
        };
        match metadata.topics.first().map(|topic| topic.error) {
            Some(0) => Ok(metadata),
            Some(UNKNOWN_TOPIC) => {
                self.make_topic(&metadata)?;
                Err(Trouble::Words("the topic of positions was just made"))
            }
            Some(code) => Err(self.code(code, Asked::Produce)),
            None => Err(Trouble::Words("no metadata of the topic of positions")),
        }
    }

    fn make_topic(&mut self, metadata: &MetadataResponse) -> Result<(), Trouble> {
        let name = self.settings.positions_topic.clone();
        let replicas = i16::try_from(metadata.brokers.len().clamp(1, 3)).unwrap_or(1);
        // Before KRaft only the controller makes topics.
        let mut result = Err(Trouble::Words("no broker makes the topic of positions"));
        for (_, host, port) in &metadata.brokers {
            let address = BrokerAddress {
                host: host.clone(),
                port: *port,
            };
            let mut client = self.connect(&address)?;
            let Some(version) = client.versions.of(CREATE_TOPICS) else {
                continue;
            };
            let client_id = &self.config.client_id;
            let request = Request::create_topic(
                client_id,
                version,
                &name,
                (PARTITIONS, replicas),
                TOPIC_CONFIGS,
            );
            let Response::CreateTopics(code) = self.call(&mut client, &address, request)? else {
                continue;
            };
            match code {
                0 | TOPIC_EXISTS => {
                    log::info!("topic '{name}' was made, for the positions");
                    return Ok(());
                }
                code => result = Err(Trouble::Code(Verdict::of(code))),
            }
        }
        result
    }

    /// Becomes the one producer of a transactional id.
    fn take_over(
        &mut self,
        any: &BrokerAddress,
        transactions: &Transactions,
    ) -> Result<ProducerId, Trouble> {
        let client_id = &self.config.client_id;
        let mut client = self.connect(any)?;
        let version = client.versions.of(FIND_COORDINATOR).unwrap_or(1);
        let request = Request::find_coordinator(client_id, version, &transactions.id);
        let Response::FindCoordinator(found) = self.call(&mut client, any, request)? else {
            return Err(Trouble::Words("no coordinator"));
        };
        if found.error != 0 {
            return Err(self.code(found.error, Asked::FindCoordinator));
        }
        let (_, host, port) = found.broker;
        let address = BrokerAddress { host, port };
        let mut client = self.connect(&address)?;
        let version = client.versions.of(INIT_PRODUCER_ID).unwrap_or(3);
        for _ in 0..MOST_CONCURRENT {
            let request = Request::init_transactions(client_id, version, transactions, None);
            let Response::InitProducerId(answer) = self.call(&mut client, &address, request)?
            else {
                return Err(Trouble::Words("no producer id"));
            };
            match answer.error {
                0 => {
                    return Ok(ProducerId {
                        id: answer.id,
                        epoch: answer.epoch,
                    });
                }
                // A transaction of an earlier instance is ended first.
                CONCURRENT_TRANSACTIONS => thread::sleep(STEP),
                code => return Err(self.code(code, Asked::InitProducerId)),
            }
        }
        Err(Trouble::Code(Verdict::of(CONCURRENT_TRANSACTIONS)))
    }

    fn code(&self, code: i16, asked: Asked) -> Trouble {
        let verdict = Verdict::of(code);
        let timeout = self.settings.transaction_timeout;
        match (code, verdict.in_transaction(asked)) {
            (INVALID_TIMEOUT, _) => Trouble::Final(format!(
                "'transaction_timeout = {timeout:?}' is longer than transaction.max.timeout.ms of the brokers allows"
            )),
            (_, Reaction::Wait) => {
                log::error!(
                    "exactly once cannot begin: {verdict}{}",
                    verdict.missing_right().unwrap_or_default()
                );
                Trouble::Code(verdict)
            }
            _ => Trouble::Code(verdict),
        }
    }

    /// Shows what of this agent is committed in the partition, whatever others have open there.
    fn read_positions(&self, index: i32, take: Take<'_>) -> Result<OwnRecords, Trouble> {
        let topic = &self.settings.positions_topic;
        let period = Period {
            partition: Some(index),
            isolation: Isolation::All,
            ..Period::default()
        };
        let mut reader = TopicReader::open(self.config, topic, period)?;
        let mut own = OwnRecords::of(self.agent);
        while reader.read(&mut |found| own.read(found, take))? {}
        match own.damage() {
            None => Ok(own),
            Some((offset, error)) => Err(Trouble::Final(format!(
                "topic '{topic}' partition {index}: what stands at offset {offset} cannot be read: {error}"
            ))),
        }
    }
}

/// That of a producer of an agent.
pub(crate) fn transactional_id(agent: &str, producer: usize) -> String {
    format!("{PREFIX}{agent}-{producer}")
}

/// What is wrong while it has not begun.
const SUBJECT: &str = "exactly once";
/// What transactional ids begin with.
const PREFIX: &str = "logagent-";
/// An agent that had more producers than this one does not keep it from starting.
const MOST_PRODUCERS: usize = 256;
/// Of the topic of positions: each agent uses one.
const PARTITIONS: i32 = 16;
/// An active segment is never compacted, so it is kept small.
const TOPIC_CONFIGS: &[(&str, &str)] = &[
    ("cleanup.policy", "compact"),
    ("segment.bytes", "16777216"),
    ("segment.ms", "3600000"),
    ("min.cleanable.dirty.ratio", "0.1"),
];
const UNKNOWN_TOPIC: i16 = 3;
const TOPIC_EXISTS: i16 = 36;
const INVALID_TIMEOUT: i16 = 50;
const CONCURRENT_TRANSACTIONS: i16 = 51;
const STEP: Duration = Duration::from_millis(20);
/// Within two seconds a transaction is ended, or its coordinator is in trouble.
const MOST_CONCURRENT: u32 = 100;
/// Brokers that start together with the agent are no reason for a line in the log.
const PATIENCE: Duration = Duration::from_secs(3);
