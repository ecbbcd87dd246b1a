//! What brokers say when they are asked as the agent asks them, without a line being sent: for `logagent check`.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Sender, unbounded};

use super::network::client::Client;
use super::network::error::ConnectionError;
use super::network::token::TokenSource;
use super::protocol::api::{
    DESCRIBE_CONFIGS, INIT_PRODUCER_ID, METADATA, PRODUCE, TransactionVersion,
};
use super::protocol::configs::{self, BROKER, Configs, TOPIC};
use super::protocol::error_code::Verdict;
use super::protocol::request::Request;
use super::protocol::response::{MetadataResponse, Response};
use crate::config::{BrokerAddress, KafkaConfig};

/// How one broker took it.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) address: BrokerAddress,
    /// Why it cannot be worked with, in one line.
    pub(crate) outcome: Result<Answer, String>,
}

/// What one broker says.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The version of TLS, if the connection is encrypted.
    pub(crate) tls: Option<&'static str>,
    /// Until when its certificate is valid.
    pub(crate) certificate_end: Option<SystemTime>,
    /// Its release, as far as the versions of its APIs tell.
    pub(crate) release: Option<&'static str>,
    /// Whether it takes what `protocol = legacy` sends.
    pub(crate) takes_legacy: bool,
    /// How transactions are made; `None`: it is too old for those of an agent.
    pub(crate) transactions: Option<TransactionVersion>,
    /// Of one question.
    pub(crate) round_trip: Duration,
    /// Brokers, and the topics that were asked for.
    pub(crate) metadata: MetadataResponse,
    /// Settings of the topics, and of this broker; empty if it does not tell.
    pub(crate) configs: Vec<Configs>,
}

/// Asks the bootstrap brokers about `topics`, and then the other brokers that they name, all at once each time. A
/// broker that has not answered by `until` is given up.
pub(crate) fn ask_all(
    config: &Arc<KafkaConfig>,
    topics: &Arc<[String]>,
    until: Instant,
) -> Vec<Asked> {
    let now = Instant::now();
    let half = now + until.saturating_duration_since(now) / 2;
    let mut asked = ask(&config.brokers, config, topics, half);
    let known: BTreeSet<String> = asked.iter().map(|one| one.address.to_string()).collect();
    let told = asked.iter().find_map(|one| one.outcome.as_ref().ok());
    let members = told
        .map_or(&[][..], |answer| &answer.metadata.brokers)
        .iter();
    let others: Vec<BrokerAddress> = members
        .map(|(_, host, port)| BrokerAddress {
            host: host.clone(),
            port: *port,
        })
        .filter(|address| !known.contains(&address.to_string()))
        .collect();
    asked.extend(ask(&others, config, topics, until));
    asked
}

/// Asks these brokers, each from a thread of its own.
fn ask(
    addresses: &[BrokerAddress],
    config: &Arc<KafkaConfig>,
    topics: &Arc<[String]>,
    until: Instant,
) -> Vec<Asked> {
    let (sender, outcomes) = unbounded();
    for (index, address) in addresses.iter().enumerate() {
        let (config, topics) = (config.clone(), topics.clone());
        let (address, sender): (_, Sender<_>) = (address.clone(), sender.clone());
        let body = move || {
            let outcome = ask_one(&address, &config, &topics);
            let _ = sender.send((index, outcome.map_err(|error| words(&error))));
        };
        if let Err(error) = thread::Builder::new().name("check".to_owned()).spawn(body) {
            log::debug!("a thread cannot be started: {error}");
        }
    }
    drop(sender);
    let mut asked: Vec<Asked> = addresses
        .iter()
        .map(|address| Asked {
            address: address.clone(),
            outcome: Err("it takes too long to answer".to_owned()),
        })
        .collect();
    while let Ok((index, outcome)) = outcomes.recv_deadline(until) {
        asked[index].outcome = outcome;
    }
    asked
}

/// Runs on a `check` thread, which ends with its last answer or time-out.
fn ask_one(
    address: &BrokerAddress,
    config: &KafkaConfig,
    topics: &[String],
) -> Result<Answer, ConnectionError> {
    let config = KafkaConfig {
        request_timeout: config.request_timeout.min(STEP),
        ..config.clone()
    };
    let mut client = Client::connect(address, &config)?;
    client.authenticate(&TokenSource::default())?;
    let version = client.versions.of(METADATA).filter(|version| *version >= 4);
    let version = version.ok_or(ConnectionError::Unsuitable("it is older than Kafka 0.11"))?;
    let names = topics.iter().map(String::as_str);
    let request = Request::metadata_with_rights(&config.client_id, version, names);
    let asked = Instant::now();
    let answer = client.call(request, STEP).map_err(|error| match error {
        error if error.is_hang_up() && config.sasl.is_none() => {
            let words =
                "closed at the first question; perhaps this port wants SASL (sasl_mechanism)";
            io::Error::other(words).into()
        }
        error => error,
    })?;
    let round_trip = asked.elapsed();
    let Response::Metadata(metadata) = answer else {
        return Err(ConnectionError::CorrelationId);
    };
    if config.idempotence && client.versions.newest(PRODUCE.key) < OWN_RIGHT_IS_ENOUGH {
        ask_for_producer_id(&mut client, &config)?;
    }
    Ok(Answer {
        tls: client.transport.tls_version(),
        certificate_end: client.transport.certificate_end(),
        release: client.versions.release(),
        takes_legacy: client.versions.has_message_format_0(),
        transactions: client
            .versions
            .of(INIT_PRODUCER_ID)
            .filter(|version| *version >= 3)
            .map(|_| client.versions.features.transaction_version),
        round_trip,
        configs: ask_for_configs(&mut client, address, &config, &metadata)?,
        metadata,
    })
}

/// Before 2.8 that takes a right on the cluster.
fn ask_for_producer_id(
    client: &mut Client<'_>,
    config: &KafkaConfig,
) -> Result<(), ConnectionError> {
    let Some(version) = client.versions.of(INIT_PRODUCER_ID) else {
        return Ok(());
    };
    let request = Request::init_producer_id(&config.client_id, version);
    match client.call(request, STEP)? {
        Response::InitProducerId(answer) => match Verdict::of(answer.error) {
            Verdict { code: 0, .. } => Ok(()),
            verdict => {
                let right = verdict.missing_right().unwrap_or_default();
                let words = format!("it gives no producer id: {verdict}{right}");
                Err(io::Error::other(words).into())
            }
        },
        _ => Ok(()),
    }
}

/// The settings of the topics that are there, and of the broker itself.
fn ask_for_configs(
    client: &mut Client<'_>,
    address: &BrokerAddress,
    config: &KafkaConfig,
    metadata: &MetadataResponse,
) -> Result<Vec<Configs>, ConnectionError> {
    let Some(version) = client.versions.of(DESCRIBE_CONFIGS) else {
        return Ok(Vec::new());
    };
    let is_it =
        |(_, host, port): &&(i32, String, u16)| (host, port) == (&address.host, &address.port);
    let own_id = metadata
        .brokers
        .iter()
        .find(is_it)
        .map(|broker| broker.0.to_string());
    let there = metadata.topics.iter().filter(|topic| topic.error == 0);
    let resources = there.map(|topic| (TOPIC, &*topic.name, TOPIC_KEYS));
    let own = own_id.iter().map(|id| (BROKER, &**id, BROKER_KEYS));
    let request = configs::request(&config.client_id, version, resources.chain(own));
    let answer = client.transport.ask(request, Instant::now() + STEP)?;
    configs::read(&answer, version).map_err(ConnectionError::Malformed)
}

/// What the error means to somebody who looks for its cause.
fn words(error: &ConnectionError) -> String {
    match error {
        ConnectionError::Overdue {
            what: "connection",
            after,
            ..
        } => format!("no connection within {after:?}: silence, as of a firewall"),
        ConnectionError::Overdue { what, after, .. } => format!("no {what} within {after:?}"),
        ConnectionError::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            "connection refused: nothing listens on this port".to_owned()
        }
        error => error.to_string(),
    }
}

/// From this version of Produce on WRITE on a topic is the right to be idempotent, too.
const OWN_RIGHT_IS_ENOUGH: i16 = 9;
/// No step takes longer: connecting, a handshake, an answer.
const STEP: Duration = Duration::from_secs(3);
const TOPIC_KEYS: &[&str] = &[
    "max.message.bytes",
    "min.insync.replicas",
    "message.timestamp.type",
    "message.timestamp.before.max.ms",
    "message.timestamp.after.max.ms",
    "message.timestamp.difference.max.ms",
    "cleanup.policy",
    "segment.bytes",
];
const BROKER_KEYS: &[&str] = &["auto.create.topics.enable"];
