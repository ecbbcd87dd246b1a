//! What the cluster knows, and how each request is answered.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::{SocketAddr, TcpStream};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::produce_response::{
    LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse, TopicProduceResponse,
};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, ApiVersionsResponse, InitProducerIdRequest, InitProducerIdResponse,
    MetadataRequest, MetadataResponse, ProduceRequest, ProduceResponse, RequestHeader,
    ResponseHeader, SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest,
    SaslHandshakeResponse, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use uuid::Uuid;

use super::connection::time_left;
use super::faults::{Fault, Rule};
use super::log::{Appended, Partition, Record, UnknownProducer};
use crate::support::record_batch;

/// A node of the cluster.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) address: SocketAddr,
    /// What clients are told instead of the address.
    pub(super) host: Option<String>,
    pub(super) up: bool,
    /// Requests are not even read.
    pub(super) deaf: bool,
    /// Answers are held back.
    pub(super) mute: bool,
    /// It belongs to the cluster no more, and says so to whoever asks for metadata.
    pub(super) left: bool,
    pub(super) accepted: usize,
    pub(super) connections: HashMap<u64, TcpStream>,
    pub(super) acceptor: Option<JoinHandle<()>>,
}

impl Node {
    fn advertised(&self) -> String {
        let address = || self.address.ip().to_string();
        self.host.clone().unwrap_or_else(address)
    }
}

/// A topic, its partitions counted from 0.
#[derive(Debug)]
pub(super) struct Topic {
    pub(super) id: Uuid,
    pub(super) partitions: Vec<Partition>,
}

/// A batch that was answered with an error on command.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) code: i16,
    /// The values of its records, as text.
    pub(crate) values: Vec<String>,
}

/// What a connection's writer does with the answer to one request.
#[derive(Debug)]
pub(super) enum Answer {
    /// Sends the frame, and then, by the fault, behaves badly.
    Frame {
        frame: Vec<u8>,
        delay: Duration,
        fault: Option<Fault>,
    },
    /// Sends nothing, because the client asked for it.
    Nothing,
    /// Closes the connection after the answers to earlier requests.
    HangUp,
}

/// Everything behind the cluster's one lock.
#[derive(Debug)]
pub(super) struct State {
    pub(super) nodes: BTreeMap<i32, Node>,
    pub(super) topics: BTreeMap<String, Topic>,
    pub(super) rules: Vec<Rule>,
    /// Versions that ApiVersions lists.
    pub(super) apis: Vec<(ApiKey, i16, i16)>,
    /// Partitions of a topic that is made when it is asked for; `None` is: not made.
    pub(super) auto_create: Option<usize>,
    pub(super) max_message_bytes: usize,
    pub(super) throttle: Duration,
    pub(super) delay: Duration,
    pub(super) unknown_producer: UnknownProducer,
    pub(super) next_producer_id: i64,
    pub(super) next_batch: u64,
    pub(super) next_connection: u64,
    pub(super) requests: BTreeMap<(i32, i16), usize>,
    /// How often each error code was answered to a Produce request, faults included.
    pub(super) produce_errors: BTreeMap<i16, usize>,
    /// Batches that were answered with an error on command, and not appended.
    pub(super) refusals: Vec<Refusal>,
    /// What clients have to log in with.
    pub(super) login: Option<Login>,
    pub(super) duplicates: usize,
    pub(super) most_unanswered: usize,
    pub(super) violations: Vec<String>,
    /// What no correct client sends is answered as Kafka does, and held against nobody.
    pub(super) forgives: bool,
    notes: VecDeque<String>,
    started: Instant,
}

/// What clients have to log in with.
#[derive(Debug)]
pub(super) enum Login {
    /// SASL PLAIN: user and password.
    Plain(String, String),
    /// SASL OAUTHBEARER: a token that is good for now.
    Token,
}

impl Login {
    /// How long a session lasts that begins with these bytes, 0 for ever; `None` if they are refused.
    fn lifetime(&self, bytes: &[u8]) -> Option<Duration> {
        let text = std::str::from_utf8(bytes).ok()?;
        match self {
            Login::Plain(user, password) => {
                (text == format!("\0{user}\0{password}")).then_some(Duration::ZERO)
            }
            Login::Token => {
                let token = text.strip_prefix("n,,\x01auth=Bearer ")?;
                time_left(token.strip_suffix("\x01\x01")?)
            }
        }
    }
}

const NOT_LEADER_OR_FOLLOWER: i16 = 6;
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const LEADER_NOT_AVAILABLE: i16 = 5;
const MESSAGE_TOO_LARGE: i16 = 10;
const INVALID_REQUIRED_ACKS: i16 = 21;
const UNSUPPORTED_SASL_MECHANISM: i16 = 33;
const UNSUPPORTED_VERSION: i16 = 35;
const SASL_AUTHENTICATION_FAILED: i16 = 58;
const UNKNOWN_TOPIC_ID: i16 = 100;
const REBOOTSTRAP_REQUIRED: i16 = 129;

/// Notes that are kept for a failing test.
const NOTES: usize = 400;

impl State {
    pub(super) fn new() -> Self {
        State {
            nodes: BTreeMap::new(),
            topics: BTreeMap::new(),
            rules: Vec::new(),
            apis: vec![
                // Kafka 4 serves Produce from 3 on, and lists 0 all the same.
                (ApiKey::Produce, 0, 12),
                (ApiKey::Fetch, 4, 17),
                (ApiKey::ListOffsets, 1, 10),
                (ApiKey::Metadata, 0, 12),
                (ApiKey::ApiVersions, 0, 4),
                (ApiKey::InitProducerId, 0, 4),
            ],
            auto_create: Some(1),
            max_message_bytes: 1_048_588,
            throttle: Duration::ZERO,
            delay: Duration::ZERO,
            unknown_producer: UnknownProducer::default(),
            next_producer_id: 1000,
            next_batch: 0,
            next_connection: 0,
            requests: BTreeMap::new(),
            produce_errors: BTreeMap::new(),
            refusals: Vec::new(),
            login: None,
            duplicates: 0,
            most_unanswered: 0,
            violations: Vec::new(),
            forgives: false,
            notes: VecDeque::new(),
            started: Instant::now(),
        }
    }

    /// Notes an event for the report of a failing test.
    pub(super) fn note(&mut self, event: String) {
        if self.notes.len() >= NOTES {
            self.notes.pop_front();
        }
        let at = self.started.elapsed();
        self.notes
            .push_back(format!("{:>8.3} {event}", at.as_secs_f64()));
    }

    /// Notes something that no correct client does.
    pub(super) fn violation(&mut self, what: String) {
        self.note(format!("VIOLATION {what}"));
        if !self.forgives {
            self.violations.push(what);
        }
    }

    /// Counts per topic and partition, what was asked and answered, and the last events.
    pub(super) fn report(&self) -> String {
        let mut report = String::new();
        for (name, topic) in &self.topics {
            for (index, partition) in topic.partitions.iter().enumerate() {
                report += &format!(
                    "{name}-{index}: {} records in {} batches, leader {}\n",
                    partition.records.len(),
                    partition.batches,
                    partition.leader
                );
            }
        }
        for (id, node) in &self.nodes {
            report += &format!(
                "node {id} at {}: {}, {} connections accepted, {} open\n",
                node.address,
                if node.up { "up" } else { "down" },
                node.accepted,
                node.connections.len()
            );
        }
        for ((node, api), count) in &self.requests {
            let api = ApiKey::try_from(*api).map_or(format!("{api}"), |api| format!("{api:?}"));
            report += &format!("node {node}: {count} x {api}\n");
        }
        report += &format!(
            "Produce errors {:?}, duplicates {}, violations {:?}\n",
            self.produce_errors, self.duplicates, self.violations
        );
        for note in &self.notes {
            report += note;
            report += "\n";
        }
        report
    }

    /// The records of a topic, by partition and offset; none if there is no such topic.
    pub(super) fn records(&self, topic: &str) -> Vec<Record> {
        let partitions = self
            .topics
            .get(topic)
            .into_iter()
            .flat_map(|topic| &topic.partitions);
        partitions
            .flat_map(|partition| partition.records.iter().cloned())
            .collect()
    }

    /// Number of records in a topic.
    pub(super) fn count(&self, topic: &str) -> usize {
        let partitions = self
            .topics
            .get(topic)
            .into_iter()
            .flat_map(|topic| &topic.partitions);
        partitions.map(|partition| partition.records.len()).sum()
    }

    /// Number of records in each topic.
    pub(super) fn counts(&self) -> BTreeMap<&str, usize> {
        let names = self.topics.keys();
        names
            .map(|name| (name.as_str(), self.count(name)))
            .collect()
    }

    pub(super) fn create_topic(&mut self, name: &str, partitions: usize) {
        let nodes: Vec<i32> = self.nodes.keys().copied().collect();
        let partitions = (0..partitions)
            .map(|index| Partition::new(nodes[index % nodes.len()]))
            .collect();
        let id =
            Uuid::from_u128(0x1000 + self.next_batch as u128 * 0x1000 + self.topics.len() as u128);
        self.note(format!("topic {name} made"));
        self.topics
            .insert(name.to_owned(), Topic { id, partitions });
    }

    /// Answers the request in `frame` (length prefix removed) that came to node `node`.
    pub(super) fn answer(&mut self, node: i32, frame: Bytes) -> Answer {
        match self.try_answer(node, frame) {
            Ok(answer) => answer,
            Err(why) => {
                self.violation(why);
                Answer::HangUp
            }
        }
    }

    fn try_answer(&mut self, node: i32, mut frame: Bytes) -> Result<Answer, String> {
        if frame.len() < 8 {
            return Err(format!("request of {} bytes", frame.len()));
        }
        let mut start = frame.slice(..8);
        let (key, version, correlation_id) = (start.get_i16(), start.get_i16(), start.get_i32());
        let api = ApiKey::try_from(key).map_err(|()| format!("request with API key {key}"))?;
        *self.requests.entry((node, key)).or_default() += 1;

        let listed = self.apis.iter().find(|listed| listed.0 == api);
        let &(_, min, max) = listed.ok_or_else(|| format!("{api:?} was never listed"))?;
        if !(min..=max).contains(&version) {
            if api == ApiKey::ApiVersions {
                return self.answer_unsupported_api_versions(correlation_id, max);
            }
            return Err(format!(
                "{api:?} version {version}, but {min} to {max} were listed"
            ));
        }
        let header = RequestHeader::decode(&mut frame, api.request_header_version(version))
            .map_err(|error| format!("header of {api:?} version {version}: {error:#}"))?;
        let request = Request {
            node,
            api,
            version,
            header,
            body: frame,
        };
        match api {
            ApiKey::ApiVersions => self.answer_api_versions(request),
            ApiKey::Metadata => self.answer_metadata(request),
            ApiKey::InitProducerId => self.answer_init_producer_id(request),
            ApiKey::Produce => self.answer_produce(request),
            ApiKey::SaslHandshake => self.answer_sasl_handshake(request),
            ApiKey::SaslAuthenticate => self.answer_sasl_authenticate(request),
            _ => Err(format!("{api:?} is listed, but not served")),
        }
    }

    /// KIP-511: a version that is too high is answered in version 0, with the error and, since
    /// Kafka 2.4, the versions of ApiVersions alone.
    fn answer_unsupported_api_versions(&mut self, id: i32, max: i16) -> Result<Answer, String> {
        let mut body = ApiVersionsResponse::default().with_error_code(UNSUPPORTED_VERSION);
        if max >= 3 {
            body.api_keys = vec![
                ApiVersion::default()
                    .with_api_key(ApiKey::ApiVersions as i16)
                    .with_max_version(max),
            ];
        }
        Ok(Answer::Frame {
            frame: encode(ApiKey::ApiVersions, 0, id, &body),
            delay: self.delay,
            fault: None,
        })
    }

    fn answer_api_versions(&mut self, request: Request) -> Result<Answer, String> {
        let body: ApiVersionsRequest = request.decode()?;
        let named =
            !body.client_software_name.is_empty() && !body.client_software_version.is_empty();
        if request.version >= 3 && !named {
            return Err("ApiVersions without name and version of the client".to_owned());
        }
        let fault = self.fault(&request, &[]);
        let error = self.error_code(&request, None);
        let api_keys = self.apis.iter().map(|&(api, min, max)| {
            ApiVersion::default()
                .with_api_key(api as i16)
                .with_min_version(min)
                .with_max_version(max)
        });
        let body = ApiVersionsResponse::default()
            .with_error_code(error.unwrap_or(0))
            .with_api_keys(api_keys.collect());
        Ok(self.reply(&request, fault, &body))
    }

    fn answer_metadata(&mut self, request: Request) -> Result<Answer, String> {
        let body: MetadataRequest = request.decode()?;
        let asked = match &body.topics {
            Some(topics) if request.version == 0 && topics.is_empty() => None,
            other => other.as_ref(),
        };
        let mut topics = Vec::new();
        match asked {
            None => {
                for name in self.topics.keys().cloned().collect::<Vec<_>>() {
                    topics.push(self.describe_topic(&request, &name, false));
                }
            }
            Some(asked) => {
                for topic in asked {
                    match &topic.name {
                        Some(name) => {
                            let create = body.allow_auto_topic_creation;
                            topics.push(self.describe_topic(&request, name, create));
                        }
                        None => topics.push(
                            MetadataResponseTopic::default()
                                .with_topic_id(topic.topic_id)
                                .with_error_code(UNKNOWN_TOPIC_ID),
                        ),
                    }
                }
            }
        }
        let names: Vec<(String, i32)> = topics
            .iter()
            .filter_map(|topic| Some((topic.name.as_ref()?.to_string(), 0)))
            .collect();
        let fault = self.fault(&request, &names);
        if self.nodes[&request.node].left && request.version >= 13 {
            let response = MetadataResponse::default().with_error_code(REBOOTSTRAP_REQUIRED);
            return Ok(self.reply(&request, fault, &response));
        }
        let up = self.nodes.iter().filter(|(_, node)| node.up);
        let brokers = up.map(|(&id, node)| {
            MetadataResponseBroker::default()
                .with_node_id(id.into())
                .with_host(node.advertised().into())
                .with_port(node.address.port().into())
        });
        let mut response = MetadataResponse::default()
            .with_brokers(brokers.collect())
            .with_topics(topics);
        if request.version >= 1 {
            response.controller_id = self.nodes.keys().next().copied().unwrap_or(-1).into();
        }
        if request.version >= 2 {
            // It stays the same wherever nodes move to.
            let first = self.nodes.values().next().map(|node| node.address.ip());
            response.cluster_id = first.map(|first| format!("in-process {first}").into());
        }
        if request.version >= 3 {
            response.throttle_time_ms = self.throttle.as_millis() as i32;
        }
        Ok(self.reply(&request, fault, &response))
    }

    fn describe_topic(
        &mut self,
        request: &Request,
        name: &str,
        create: bool,
    ) -> MetadataResponseTopic {
        let description =
            MetadataResponseTopic::default().with_name(Some(TopicName(name.to_owned().into())));
        if let Some(code) = self.error_code(request, Some((name, 0))) {
            return description.with_error_code(code);
        }
        if !self.topics.contains_key(name) {
            // The answer that makes the topic does not have it yet, as with a real broker.
            if let (true, Some(partitions)) = (create, self.auto_create) {
                self.create_topic(name, partitions);
            }
            return description.with_error_code(UNKNOWN_TOPIC_OR_PARTITION);
        }
        let topic = &self.topics[name];
        let partitions = topic.partitions.iter().zip(0..).map(|(partition, index)| {
            let replicas = vec![partition.leader.into()];
            let alive = self.nodes[&partition.leader].up;
            let description = MetadataResponsePartition::default()
                .with_partition_index(index)
                .with_leader_id(if alive { partition.leader } else { -1 }.into())
                .with_error_code(if alive { 0 } else { LEADER_NOT_AVAILABLE })
                .with_replica_nodes(replicas.clone())
                .with_isr_nodes(replicas);
            match request.version {
                7.. => description.with_leader_epoch(partition.leader_epoch),
                _ => description,
            }
        });
        let partitions = partitions.collect();
        let description = description.with_partitions(partitions);
        match request.version {
            10.. => description.with_topic_id(topic.id),
            _ => description,
        }
    }

    fn answer_init_producer_id(&mut self, request: Request) -> Result<Answer, String> {
        let body: InitProducerIdRequest = request.decode()?;
        if body.transactional_id.is_some() {
            return Err("InitProducerId with a transactional id".to_owned());
        }
        let fault = self.fault(&request, &[]);
        let mut response = InitProducerIdResponse::default()
            .with_throttle_time_ms(self.throttle.as_millis() as i32);
        if let Some(code) = self.error_code(&request, None) {
            response.error_code = code;
            response.producer_id = (-1).into();
            response.producer_epoch = -1;
        } else {
            response.producer_id = self.next_producer_id.into();
            response.producer_epoch = 0;
            self.next_producer_id += 1;
        }
        Ok(self.reply(&request, fault, &response))
    }

    fn answer_sasl_handshake(&mut self, request: Request) -> Result<Answer, String> {
        let body: SaslHandshakeRequest = request.decode()?;
        let fault = self.fault(&request, &[]);
        let told = self.error_code(&request, None);
        let mechanism = match &self.login {
            Some(Login::Token) => "OAUTHBEARER",
            _ => "PLAIN",
        };
        let known = body.mechanism.as_str() == mechanism;
        let code = told.unwrap_or(if known { 0 } else { UNSUPPORTED_SASL_MECHANISM });
        let response = SaslHandshakeResponse::default()
            .with_error_code(code)
            .with_mechanisms(vec![StrBytes::from_static_str(mechanism)]);
        Ok(self.reply(&request, fault, &response))
    }

    fn answer_sasl_authenticate(&mut self, request: Request) -> Result<Answer, String> {
        let body: SaslAuthenticateRequest = request.decode()?;
        let fault = self.fault(&request, &[]);
        let told = self.error_code(&request, None);
        let login = self.login.as_ref().ok_or("a login that nobody wants")?;
        let lifetime = login.lifetime(&body.auth_bytes);
        let code = told.unwrap_or(match lifetime {
            Some(_) => 0,
            None => SASL_AUTHENTICATION_FAILED,
        });
        let mut response = SaslAuthenticateResponse::default().with_error_code(code);
        if request.version >= 1 {
            response.session_lifetime_ms = lifetime.unwrap_or_default().as_millis() as i64;
        }
        Ok(self.reply(&request, fault, &response))
    }

    fn answer_produce(&mut self, request: Request) -> Result<Answer, String> {
        if request.version < 3 {
            return Err(format!(
                "Produce version {}: Kafka 4 has removed it",
                request.version
            ));
        }
        let body: ProduceRequest = request.decode()?;
        if body.transactional_id.is_some() {
            return Err("Produce with a transactional id".to_owned());
        }
        let targets: Vec<(String, i32)> = body
            .topic_data
            .iter()
            .flat_map(|topic| {
                let partitions = topic.partition_data.iter();
                partitions.map(|partition| (topic.name.to_string(), partition.index))
            })
            .collect();
        if targets.is_empty() || targets.iter().collect::<BTreeSet<_>>().len() < targets.len() {
            return Err(format!("Produce for the partitions {targets:?}"));
        }
        let fault = self.fault(&request, &targets);
        if matches!(fault, Some(Fault::HangUpBeforeAppend)) {
            return Ok(Answer::HangUp);
        }

        let mut response = ProduceResponse::default();
        response.throttle_time_ms = self.throttle.as_millis() as i32;
        let mut failed = false;
        for topic in body.topic_data {
            let mut answers = Vec::new();
            for data in topic.partition_data {
                let records = data.records.unwrap_or_default();
                let result = self.produce(&request, body.acks, &topic.name, data.index, &records);
                let mut answer = PartitionProduceResponse::default().with_index(data.index);
                answer.log_append_time_ms = -1;
                match result {
                    Ok(offset) => answer.base_offset = offset,
                    Err(code) => {
                        failed = true;
                        *self.produce_errors.entry(code).or_default() += 1;
                        answer.error_code = code;
                        answer.base_offset = -1;
                        if request.version >= 5 {
                            answer.log_start_offset = -1;
                        }
                        if code == NOT_LEADER_OR_FOLLOWER && request.version >= 10 {
                            self.point_to_leader(&topic.name, &mut answer, &mut response);
                        }
                    }
                }
                answers.push(answer);
            }
            response.responses.push(
                TopicProduceResponse::default()
                    .with_name(topic.name)
                    .with_partition_responses(answers),
            );
        }
        match (body.acks, &fault) {
            (0, Some(Fault::HangUpAfterAppend)) => Ok(Answer::HangUp),
            // Without an answer to put the error in, a broker closes the connection.
            (0, _) if failed => Ok(Answer::HangUp),
            (0, _) => Ok(Answer::Nothing),
            _ => Ok(self.reply(&request, fault, &response)),
        }
    }

    /// Appends to one partition and gives the base offset, or the error code.
    fn produce(
        &mut self,
        request: &Request,
        acks: i16,
        name: &str,
        index: i32,
        records: &[u8],
    ) -> Result<i64, i16> {
        let target = format!("node {}: Produce to {name}-{index}", request.node);
        let told = self.error_rule(request, Some((name, index)));
        if let Some(Fault::Error(code)) = told {
            self.note(format!(
                "{target}: {} bytes, told to answer {code}",
                records.len()
            ));
            match record_batch::read(records) {
                Ok(batch) => {
                    let text = |value: Option<Vec<u8>>| {
                        String::from_utf8_lossy(&value.unwrap_or_default()).into_owned()
                    };
                    let values = batch.records.into_iter().map(|record| text(record.value));
                    self.refusals.push(Refusal {
                        topic: name.to_owned(),
                        partition: index,
                        code,
                        values: values.collect(),
                    });
                }
                Err(refused) => self.violation(format!("{target}: {}", refused.why)),
            }
            return Err(code);
        }
        if ![0, 1, -1].contains(&acks) {
            self.violation(format!("{target}: acks {acks}"));
            return Err(INVALID_REQUIRED_ACKS);
        }
        let too_large = records.len() > self.max_message_bytes;
        let partition = self
            .topics
            .get_mut(name)
            .and_then(|topic| topic.partitions.get_mut(usize::try_from(index).ok()?));
        let Some(partition) = partition else {
            self.note(format!("{target}: unknown"));
            return Err(UNKNOWN_TOPIC_OR_PARTITION);
        };
        if partition.leader != request.node {
            let leader = partition.leader;
            self.note(format!("{target}: the leader is {leader}"));
            return Err(NOT_LEADER_OR_FOLLOWER);
        }
        if too_large {
            self.note(format!("{target}: {} bytes are too large", records.len()));
            return Err(MESSAGE_TOO_LARGE);
        }
        let batch = match record_batch::read(records) {
            Ok(batch) => batch,
            Err(refused) => {
                self.violation(format!("{target}: {}", refused.why));
                return Err(refused.code);
            }
        };
        let described = format!(
            "{} records, producer {} epoch {} sequence {}",
            batch.records.len(),
            batch.producer_id,
            batch.producer_epoch,
            batch.base_sequence
        );
        let oddity = batch.oddity.clone();
        let foreign = batch.producer_id >= self.next_producer_id;
        let idempotent = batch.producer_id >= 0;
        let appended = partition.append(index, batch, self.next_batch, self.unknown_producer);
        self.next_batch += 1;
        self.note(format!("{target}: {described}: {appended:?}"));
        if let Some(oddity) = oddity {
            self.violation(format!("{target}: {described}: {oddity}"));
        }
        if foreign {
            self.violation(format!(
                "{target}: {described}: nobody was given this producer id"
            ));
        }
        if idempotent && acks != -1 {
            self.violation(format!(
                "{target}: {described}: idempotent with acks {acks}"
            ));
        }
        match (appended, told) {
            (Appended::Refused(code), _) => Err(code),
            (_, Some(Fault::ErrorAfterAppend(code))) => {
                self.note(format!("{target}: told to answer {code} after the append"));
                Err(code)
            }
            (Appended::New(offset), _) => Ok(offset),
            (Appended::Duplicate(offset), _) => {
                self.duplicates += 1;
                Ok(offset)
            }
        }
    }

    /// KIP-951: where the partition went.
    fn point_to_leader(
        &self,
        name: &str,
        answer: &mut PartitionProduceResponse,
        response: &mut ProduceResponse,
    ) {
        let partition = self
            .topics
            .get(name)
            .and_then(|topic| topic.partitions.get(usize::try_from(answer.index).ok()?));
        let Some(partition) = partition else { return };
        let node = &self.nodes[&partition.leader];
        answer.current_leader = LeaderIdAndEpoch::default()
            .with_leader_id(partition.leader.into())
            .with_leader_epoch(partition.leader_epoch);
        response.node_endpoints.push(
            NodeEndpoint::default()
                .with_node_id(partition.leader.into())
                .with_host(node.advertised().into())
                .with_port(node.address.port().into()),
        );
    }

    /// The fault that concerns the whole request, if any.
    fn fault(&mut self, request: &Request, targets: &[(String, i32)]) -> Option<Fault> {
        let (api, node) = (request.api, request.node);
        let rule = self.rules.iter_mut().find(|rule| {
            !rule.fault.is_error_code()
                && (rule.fits(api, node, None)
                    || targets
                        .iter()
                        .any(|(topic, partition)| rule.fits(api, node, Some((topic, *partition)))))
        })?;
        rule.left = rule.left.map(|left| left - 1);
        let fault = rule.fault.clone();
        self.note(format!("node {node}: {api:?}: told {fault:?}"));
        Some(fault)
    }

    /// The error fault for a partition, a topic, or (with `None`) the request.
    fn error_rule(&mut self, request: &Request, target: Option<(&str, i32)>) -> Option<Fault> {
        let rule = self.rules.iter_mut().find(|rule| {
            rule.fault.is_error_code() && rule.fits(request.api, request.node, target)
        })?;
        rule.left = rule.left.map(|left| left - 1);
        Some(rule.fault.clone())
    }

    fn error_code(&mut self, request: &Request, target: Option<(&str, i32)>) -> Option<i16> {
        match self.error_rule(request, target)? {
            Fault::Error(code) | Fault::ErrorAfterAppend(code) => Some(code),
            _ => None,
        }
    }

    fn reply<T: Encodable>(&mut self, request: &Request, fault: Option<Fault>, body: &T) -> Answer {
        if matches!(
            fault,
            Some(Fault::HangUpAfterAppend | Fault::HangUpBeforeAppend)
        ) {
            return Answer::HangUp;
        }
        let delay = match fault {
            Some(Fault::Delay(delay)) => delay,
            _ => self.delay,
        };
        let id = request.header.correlation_id;
        Answer::Frame {
            frame: encode(request.api, request.version, id, body),
            delay,
            fault,
        }
    }
}

/// A request whose header was read.
struct Request {
    node: i32,
    api: ApiKey,
    version: i16,
    header: RequestHeader,
    body: Bytes,
}

impl Request {
    /// The body, which must fill the frame.
    fn decode<T: Decodable>(&self) -> Result<T, String> {
        let (api, version) = (self.api, self.version);
        let mut body = self.body.clone();
        let decoded = T::decode(&mut body, version)
            .map_err(|error| format!("{api:?} version {version}: {error:#}"))?;
        if body.has_remaining() {
            let left = body.remaining();
            return Err(format!("{api:?} version {version}: {left} trailing bytes"));
        }
        if self
            .header
            .client_id
            .as_ref()
            .is_none_or(|id| id.is_empty())
        {
            return Err(format!("{api:?} version {version}: no client id"));
        }
        Ok(decoded)
    }
}

/// A frame with its length, header and body.
fn encode<T: Encodable>(api: ApiKey, version: i16, correlation_id: i32, body: &T) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    ResponseHeader::default()
        .with_correlation_id(correlation_id)
        .encode(&mut bytes, api.response_header_version(version))
        .expect("the header fits every version");
    body.encode(&mut bytes, version)
        .unwrap_or_else(|error| panic!("answer to {api:?} version {version}: {error:#}"));
    let mut frame = (bytes.len() as i32).to_be_bytes().to_vec();
    frame.extend_from_slice(&bytes);
    frame
}
