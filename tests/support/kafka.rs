//! A real Kafka: what only the real one can judge.
//!
//! `scripts/test.sh` starts a Kafka 4, a Kafka 3.9 and a Kafka 2.8 with its ZooKeeper, and names them in
//! `LOGAGENT_TEST_KAFKA`, `LOGAGENT_TEST_KAFKA_3` and `LOGAGENT_TEST_KAFKA_2`. Tests that need one are in
//! modules whose names begin with `real_kafka`. They share the brokers, so each makes a topic of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io;
use std::num::NonZeroU32;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use kafka_protocol::messages::alter_user_scram_credentials_request::ScramCredentialUpsertion;
use kafka_protocol::messages::create_acls_request::AclCreation;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::update_features_request::FeatureUpdateKey;
use kafka_protocol::messages::{
    AlterUserScramCredentialsRequest, CreateAclsRequest, CreateTopicsRequest, FetchRequest,
    FindCoordinatorRequest, ListOffsetsRequest, MetadataRequest, MetadataResponse, TopicName,
    UpdateFeaturesRequest,
};

use ring::pbkdf2;

use super::broker::Record;
use super::client::Client;
use super::env::wait_and_look_every;
use super::record_batch;

/// Between two questions: each takes connections to the brokers.
pub(crate) const PAUSE: Duration = Duration::from_millis(30);

/// A broker, shared with other tests or our own, or a cluster of our own.
#[derive(Debug)]
pub(crate) struct RealKafka {
    address: String,
    /// Name of the instance if it is our own: stopped, and its data removed, on drop.
    instance: Option<String>,
}

/// A record as Kafka's console consumer prints it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Consumed {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
}

impl RealKafka {
    /// The shared Kafka 4.
    pub(crate) fn current() -> RealKafka {
        RealKafka::shared("LOGAGENT_TEST_KAFKA")
    }

    /// The shared Kafka 3.9, for the legacy output and old protocol versions.
    pub(crate) fn v3_9() -> RealKafka {
        RealKafka::shared("LOGAGENT_TEST_KAFKA_3")
    }

    /// The shared Kafka 2.8, which keeps its state in ZooKeeper.
    pub(crate) fn v2_8() -> RealKafka {
        RealKafka::shared("LOGAGENT_TEST_KAFKA_2")
    }

    fn shared(variable: &str) -> RealKafka {
        let address = std::env::var(variable).unwrap_or_default();
        assert!(
            !address.is_empty(),
            "needs a real Kafka: run scripts/test.sh, or set {variable}"
        );
        RealKafka {
            address,
            instance: None,
        }
    }

    /// Starts a broker of our own, to be stopped and killed: `version` is `4`, `3.9` or `2.8`,
    /// `settings` are server properties.
    pub(crate) fn own(name: &str, version: &str, settings: &[&str]) -> RealKafka {
        RealKafka::launch(name, &["--version", version], settings)
    }

    /// Starts a cluster of our own: Kafka 4, nodes 1 to `brokers`. With three or more brokers, topics have
    /// three replicas and `acks=all` takes two of them.
    pub(crate) fn cluster(name: &str, brokers: usize, settings: &[&str]) -> RealKafka {
        RealKafka::launch(name, &["--brokers", &brokers.to_string()], settings)
    }

    fn launch(name: &str, options: &[&str], settings: &[&str]) -> RealKafka {
        let instance = format!("{name}-{}", unique());
        let settings = settings.iter().flat_map(|setting| ["--set", setting]);
        let mut arguments = [&["start", "--instance", &instance], options].concat();
        arguments.extend(settings);
        // A script that fails half way leaves an instance: the value must exist before.
        let mut kafka = RealKafka {
            address: String::new(),
            instance: Some(instance.clone()),
        };
        kafka.address = text(script(None, &arguments)).trim().to_owned();
        kafka
    }

    /// The address as `[kafka] brokers` takes it.
    pub(crate) fn brokers(&self) -> &str {
        &self.address
    }

    // Our own broker.

    /// Stops it in order; its data stays.
    pub(crate) fn stop_keep(&self) {
        script(None, &["stop", "--keep", "--instance", self.instance()]);
    }

    /// Starts it again, at the same address.
    pub(crate) fn start(&self) {
        let address = text(script(None, &["start", "--instance", self.instance()]));
        assert_eq!(address.trim(), self.address);
    }

    /// Kills it with SIGKILL; its data stays.
    pub(crate) fn kill(&self) {
        script(None, &["kill", "--instance", self.instance()]);
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        let pid = text(script(None, &["pid", "--instance", self.instance()]));
        pid.trim().parse().expect("kafka.sh pid prints a number")
    }

    /// Does something to a node of our own cluster: `stop` (in order), `kill`, `pause`, `continue` or `start`.
    /// Its data stays.
    pub(crate) fn node(&self, verb: &str, node: i32) {
        let node = node.to_string();
        script(
            None,
            &[verb, "--node", &node, "--instance", self.instance()],
        );
    }

    fn instance(&self) -> &str {
        let instance = self.instance.as_deref();
        instance.expect("a shared broker is not ours to stop")
    }

    /// Gives a user a password for SCRAM-SHA-256 and SCRAM-SHA-512.
    pub(crate) fn add_scram_user(&self, name: &str, password: &str) {
        const ROUNDS: NonZeroU32 = NonZeroU32::new(4096).expect("not zero");
        let salt = b"salt of the tests";
        let kinds = [
            (1, pbkdf2::PBKDF2_HMAC_SHA256, 32),
            (2, pbkdf2::PBKDF2_HMAC_SHA512, 64),
        ];
        // Kafka changes a user once per request.
        for (mechanism, algorithm, len) in kinds {
            let mut salted = vec![0; len];
            pbkdf2::derive(algorithm, ROUNDS, salt, password.as_bytes(), &mut salted);
            let upsertion = ScramCredentialUpsertion::default()
                .with_name(name.to_owned().into())
                .with_mechanism(mechanism)
                .with_iterations(ROUNDS.get() as i32)
                .with_salt(salt[..].into())
                .with_salted_password(salted.into());
            let request =
                AlterUserScramCredentialsRequest::default().with_upsertions(vec![upsertion]);
            let answer = self
                .connect()
                .call(0, &request)
                .expect("AlterUserScramCredentials is answered");
            assert_eq!(answer.results[0].error_code, 0, "{answer:?}");
        }
    }

    /// Allows `principal` an operation on a topic; where there is an authorizer, others are forbidden it by that.
    pub(crate) fn allow(&self, topic: &str, principal: &str, operation: i8) {
        let creation = AclCreation::default()
            .with_resource_type(2) // topic
            .with_resource_name(topic.to_owned().into())
            .with_resource_pattern_type(3) // literal
            .with_principal(principal.to_owned().into())
            .with_host("*".into())
            .with_operation(operation)
            .with_permission_type(3); // allow
        let request = CreateAclsRequest::default().with_creations(vec![creation]);
        let answer = self
            .connect()
            .call(2, &request)
            .expect("CreateAcls is answered");
        assert_eq!(answer.results[0].error_code, 0, "{answer:?}");
    }

    // Transactions.

    /// The node that coordinates the transactions of this id, as soon as there is one.
    pub(crate) fn coordinator(&self, transactional_id: &str) -> i32 {
        const TRANSACTION: i8 = 1;
        let request = FindCoordinatorRequest::default()
            .with_key(transactional_id.to_owned().into())
            .with_key_type(TRANSACTION);
        let mut node = None;
        let mut is_found = || {
            node = self.address.split(',').find_map(|address| {
                let answer = Client::connect(address).ok()?.call(3, &request).ok()?;
                (answer.error_code == 0).then_some(answer.node_id.0)
            });
            node.is_some()
        };
        wait_and_look_every(PAUSE, Duration::from_secs(30), &mut is_found, || {
            format!("a coordinator of '{transactional_id}'")
        });
        node.expect("was found")
    }

    /// Has the cluster finalize this `transaction.version`: 2, or a lower one while it is 2.
    pub(crate) fn set_transaction_version(&self, version: i16) {
        let (upgrade, safe_downgrade) = (1, 2);
        let update = FeatureUpdateKey::default()
            .with_feature("transaction.version".into())
            .with_max_version_level(version)
            .with_upgrade_type(if version == 2 {
                upgrade
            } else {
                safe_downgrade
            });
        let request = UpdateFeaturesRequest::default()
            .with_timeout_ms(30_000)
            .with_feature_updates(vec![update]);
        let answer = self
            .connect()
            .call(1, &request)
            .expect("UpdateFeatures is answered");
        assert_eq!(answer.error_code, 0, "{answer:?}");
    }

    // Topics.

    /// A topic name that no other test has, nor an earlier run.
    pub(crate) fn fresh_name(&self, name: &str) -> String {
        format!("{name}-{}", unique())
    }

    /// Makes a topic of a fresh name and gives the name.
    pub(crate) fn fresh_topic(&self, name: &str, partitions: i32) -> String {
        let name = self.fresh_name(name);
        self.create_topic(&name, partitions, &[]);
        name
    }

    /// Makes a topic with these settings, and waits until it can be written.
    pub(crate) fn create_topic(&self, name: &str, partitions: i32, settings: &[(&str, &str)]) {
        // as the broker has it
        self.create_topic_with_replicas(name, partitions, -1, settings);
    }

    /// The same with so many replicas.
    pub(crate) fn create_topic_with_replicas(
        &self,
        name: &str,
        partitions: i32,
        replicas: i16,
        settings: &[(&str, &str)],
    ) {
        let settings = settings.iter().map(|(key, value)| {
            CreatableTopicConfig::default()
                .with_name((*key).to_owned().into())
                .with_value(Some((*value).to_owned().into()))
        });
        let topic = CreatableTopic::default()
            .with_name(TopicName(name.to_owned().into()))
            .with_num_partitions(partitions)
            .with_replication_factor(replicas)
            .with_configs(settings.collect());
        let request = CreateTopicsRequest::default()
            .with_topics(vec![topic])
            .with_timeout_ms(30_000);
        let answer = self
            .connect()
            .call(4, &request)
            .expect("CreateTopics is answered");
        assert_eq!(answer.topics[0].error_code, 0, "{:?}", answer.topics[0]);
        wait_and_look_every(
            PAUSE,
            Duration::from_secs(30),
            || self.partitions(name) == partitions,
            || format!("topic '{name}' to have leaders"),
        );
        // What comes with acks=0 before a broker leads is dropped. It tells offsets when it does.
        self.count(name);
    }

    /// Number of partitions that have a leader; 0 if there is no such topic.
    fn partitions(&self, name: &str) -> i32 {
        self.leaders(name).len() as i32
    }

    /// The partitions that have a leader, by number, as the first node that answers has it.
    pub(crate) fn leaders(&self, name: &str) -> BTreeMap<i32, Led> {
        let mut answers = self.leaders_at_each(name);
        let first = answers.find_map(Result::ok);
        first.unwrap_or_else(|| panic!("{}: no answer to Metadata", self.address))
    }

    /// The same as each node has it: one that was away may not have heard the news.
    pub(crate) fn leaders_at_each(
        &self,
        name: &str,
    ) -> impl Iterator<Item = io::Result<BTreeMap<i32, Led>>> {
        let topic =
            MetadataRequestTopic::default().with_name(Some(TopicName(name.to_owned().into())));
        let request = MetadataRequest::default()
            .with_topics(Some(vec![topic]))
            .with_allow_auto_topic_creation(false);
        self.address.split(',').map(move |address| {
            let mut client = Client::connect(address)?;
            Ok(led(&client.call(4, &request)?))
        })
    }

    // Records.

    /// Reads `n` records with Kafka's console consumer, the judge (two to three seconds for the
    /// JVM), by partition and offset. Fails if there are fewer; it does not look for more.
    pub(crate) fn consume(&self, topic: &str, n: usize) -> Vec<Consumed> {
        self.console(topic, n)
    }

    /// As [`RealKafka::consume`], from all topics that match a regular expression. Which one a record
    /// is from is not told.
    pub(crate) fn consume_matching(&self, topics: &str, n: usize) -> Vec<Consumed> {
        self.console(&format!("--include={topics}"), n)
    }

    fn console(&self, topics: &str, n: usize) -> Vec<Consumed> {
        let n = n.to_string();
        let mut arguments = vec![
            "consume",
            topics,
            "--max-messages",
            &n,
            "--timeout-ms",
            "20000",
        ];
        let properties = [
            "print.partition=true",
            "print.offset=true",
            "print.headers=true",
            "print.key=true",
            "null.literal=\u{4}",
            "key.separator=\u{1}",
            "headers.separator=\u{2}",
            "line.separator=\u{3}",
        ];
        for property in properties {
            arguments.extend(["--property", property]);
        }
        // Our own broker is read with the consumer of its version.
        let output = match &self.instance {
            None => script(Some(&self.address), &arguments),
            Some(instance) => {
                arguments.extend(["--instance", instance]);
                script(None, &arguments)
            }
        };
        let lines = output
            .split(|byte| *byte == 3)
            .filter(|line| !line.is_empty());
        let mut records: Vec<Consumed> = lines.map(parse_consumed).collect();
        assert_eq!(records.len().to_string(), n, "records in '{topics}'");
        records.sort_by_key(|record| (record.partition, record.offset));
        records
    }

    /// End offset of each partition, by Kafka's own tool.
    pub(crate) fn offsets(&self, topic: &str) -> BTreeMap<i32, i64> {
        let output = text(script(Some(&self.address), &["offsets", topic]));
        let pairs = output.lines().filter_map(|line| line.split_once(':'));
        pairs
            .map(|(partition, offset)| (partition.parse().unwrap(), offset.parse().unwrap()))
            .collect()
    }

    /// Number of records in a topic, by asking the brokers ourselves: some milliseconds.
    pub(crate) fn count(&self, topic: &str) -> usize {
        let partitions = 0..self.partitions(topic);
        partitions
            .map(|partition| self.end_offset(topic, partition) as usize)
            .sum()
    }

    /// Waits until a topic has at least `n` records.
    pub(crate) fn wait_for_records(&self, topic: &str, n: usize, deadline: Duration) {
        wait_and_look_every(
            PAUSE,
            deadline,
            || self.count(topic) >= n,
            || format!("{n} records in '{topic}'; there are {}", self.count(topic)),
        );
    }

    /// All records of a topic, by partition and offset, with a fetcher of our own: fast, for large
    /// numbers. Codecs are those of [`record_batch`].
    pub(crate) fn fetch_all(&self, topic: &str) -> Vec<Record> {
        let mut records = Vec::new();
        let mut batches = 0;
        for partition in 0..self.partitions(topic) {
            let end = self.end_offset(topic, partition);
            let mut next = 0;
            while next < end {
                let data = self.at_leader(topic, partition, |client| {
                    fetch(client, topic, partition, next, READ_UNCOMMITTED)
                });
                let bytes = data.records.unwrap_or_default();
                next = read_batches(&bytes, partition, next, &mut batches, &mut records);
            }
        }
        records
    }

    /// The values that a read_committed consumer sees, by partition and offset, up to where the topic ends now. Fails
    /// if a transaction stays open.
    pub(crate) fn committed(&self, topic: &str) -> Vec<String> {
        let mut values = Vec::new();
        for partition in 0..self.partitions(topic) {
            let end = self.end_offset(topic, partition);
            let patience = Duration::from_secs(30);
            let (mut next, mut deadline) = (0, Instant::now() + patience);
            while next < end {
                let data = self.at_leader(topic, partition, |client| {
                    fetch(client, topic, partition, next, READ_COMMITTED)
                });
                let before = next;
                next = read_committed(&data, next, &mut values);
                if next > before {
                    deadline = Instant::now() + patience;
                }
                assert!(
                    next >= end || Instant::now() < deadline,
                    "partition {partition} of '{topic}' ends at {end}, and a transaction is open at {}",
                    data.last_stable_offset
                );
            }
        }
        values
    }

    /// The end offset of a partition.
    pub(crate) fn end_offset(&self, topic: &str, partition: i32) -> i64 {
        self.at_leader(topic, partition, |client| {
            end_offset(client, topic, partition)
        })
    }

    /// Asks the leader of a partition until it answers. A broker names itself the leader of a new partition a
    /// little before it is, and one that was away names those of that time.
    fn at_leader<T>(
        &self,
        topic: &str,
        partition: i32,
        ask: impl Fn(&mut Client) -> Result<T, String>,
    ) -> T {
        let mut answer = Err("not asked".to_owned());
        let attempt = || -> Result<T, String> {
            let leaders = self.leaders(topic);
            let led = leaders.get(&partition).ok_or("no leader")?;
            let mut client = Client::connect(&led.address).map_err(|error| error.to_string())?;
            ask(&mut client).map_err(|error| format!("{led:?}: {error}"))
        };
        let end = Instant::now() + Duration::from_secs(30);
        while answer.is_err() && Instant::now() < end {
            answer = attempt();
            if answer.is_err() {
                thread::sleep(Duration::from_millis(20));
            }
        }
        answer.unwrap_or_else(|error| panic!("topic '{topic}' partition {partition}: {error}"))
    }

    fn connect(&self) -> Client {
        let first = self
            .address
            .split(',')
            .next()
            .expect("split gives at least one");
        Client::connect(first).unwrap_or_else(|error| panic!("{first}: {error}"))
    }
}

impl Drop for RealKafka {
    fn drop(&mut self) {
        if let Some(instance) = &self.instance {
            // Not `script`: a second panic would hide the first.
            let _ = command(None, &["stop", "--instance", instance]).status();
        }
    }
}

/// A partition that has a leader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Led {
    /// The leader.
    pub(crate) node: i32,
    address: String,
    /// Number of replicas in sync.
    pub(crate) in_sync: usize,
    /// Number of replicas.
    pub(crate) replicas: usize,
}

fn led(answer: &MetadataResponse) -> BTreeMap<i32, Led> {
    let address = |node: i32| {
        let mut brokers = answer.brokers.iter();
        let broker = brokers.find(|broker| broker.node_id.0 == node)?;
        Some(format!("{}:{}", broker.host.as_str(), broker.port))
    };
    let partitions = answer.topics[0].partitions.iter();
    let led = partitions.filter(|partition| partition.error_code == 0);
    led.filter_map(|partition| {
        let node = partition.leader_id.0;
        let led = Led {
            node,
            address: address(node)?,
            in_sync: partition.isr_nodes.len(),
            replicas: partition.replica_nodes.len(),
        };
        Some((partition.partition_index, led))
    })
    .collect()
}

fn end_offset(client: &mut Client, topic: &str, partition: i32) -> Result<i64, String> {
    const LATEST: i64 = -1;
    let partition = ListOffsetsPartition::default()
        .with_partition_index(partition)
        .with_timestamp(LATEST);
    let topic = ListOffsetsTopic::default()
        .with_name(TopicName(topic.to_owned().into()))
        .with_partitions(vec![partition]);
    let request = ListOffsetsRequest::default()
        .with_replica_id((-1).into())
        .with_topics(vec![topic]);
    let answer = client.call(1, &request);
    let answer = answer.map_err(|error| error.to_string())?;
    let partition = &answer.topics[0].partitions[0];
    match partition.error_code {
        0 => Ok(partition.offset),
        code => Err(format!("ListOffsets: error {code}")),
    }
}

fn fetch(
    client: &mut Client,
    topic: &str,
    partition: i32,
    offset: i64,
    isolation: i8,
) -> Result<PartitionData, String> {
    const MAX_BYTES: i32 = 16 << 20;
    let partition = FetchPartition::default()
        .with_partition(partition)
        .with_fetch_offset(offset)
        .with_partition_max_bytes(MAX_BYTES);
    let topic = FetchTopic::default()
        .with_topic(TopicName(topic.to_owned().into()))
        .with_partitions(vec![partition]);
    let request = FetchRequest::default()
        .with_replica_id((-1).into())
        .with_max_wait_ms(1000)
        .with_min_bytes(1)
        .with_max_bytes(MAX_BYTES)
        .with_isolation_level(isolation)
        .with_topics(vec![topic]);
    let answer = client.call(4, &request);
    let answer = answer.map_err(|error| error.to_string())?;
    let partition = &answer.responses[0].partitions[0];
    match partition.error_code {
        0 => Ok(partition.clone()),
        code => Err(format!("Fetch: error {code}")),
    }
}

/// The first whole batch of what was fetched, without its base offset, and that offset.
fn split_batch(bytes: &mut &[u8]) -> Option<(i64, Vec<u8>)> {
    let (base, rest) = bytes.split_first_chunk::<8>()?;
    let (length, _) = rest.split_first_chunk::<4>()?;
    let (batch, rest) = bytes.split_at_checked(12 + u32::from_be_bytes(*length) as usize)?;
    *bytes = rest;
    // Producers write base offset 0, and the checksum does not cover it.
    let mut batch = batch.to_vec();
    batch[..8].fill(0);
    Some((i64::from_be_bytes(*base), batch))
}

/// The values of what was fetched that belong to no aborted transaction, and the offset to go on from. As Kafka's own
/// consumer does it (CompletedFetch.java).
fn read_committed(data: &PartitionData, from: i64, values: &mut Vec<String>) -> i64 {
    let mut coming = data.aborted_transactions.clone().unwrap_or_default();
    coming.sort_by_key(|aborted| std::cmp::Reverse(aborted.first_offset));
    let (mut aborted, mut next) = (BTreeSet::new(), from);
    let bytes = data.records.clone().unwrap_or_default();
    let mut bytes = &bytes[..];
    while let Some((base, batch)) = split_batch(&mut bytes) {
        let attributes = i16::from_be_bytes([batch[21], batch[22]]);
        let last = i32::from_be_bytes(batch[23..27].try_into().unwrap());
        let producer = i64::from_be_bytes(batch[43..51].try_into().unwrap());
        next = base + i64::from(last) + 1;
        while coming.last().is_some_and(|one| one.first_offset < next) {
            aborted.extend(coming.pop().map(|one| one.producer_id.0));
        }
        let is_transactional = attributes & record_batch::TRANSACTIONAL != 0;
        if attributes & CONTROL != 0 {
            // Of one record: the key ends with its type, and the value, of six bytes, and no headers follow.
            let is_abort = batch[batch.len() - 10..batch.len() - 8] == [0, 0];
            if is_abort {
                aborted.remove(&producer);
            }
        } else if !is_transactional || !aborted.contains(&producer) {
            let read = match is_transactional {
                true => record_batch::read_transactional(&batch),
                false => record_batch::read(&batch),
            };
            let read = read.unwrap_or_else(|refused| panic!("{refused:?}"));
            let records = read.records.into_iter().zip(base..);
            let new = records.filter(|(_, offset)| *offset >= from);
            values.extend(new.map(|(record, _)| {
                String::from_utf8(record.value.unwrap_or_default()).expect("UTF-8")
            }));
        }
    }
    next
}

/// Reads whole batches (the last one may be cut) and gives the offset to go on from.
fn read_batches(
    mut bytes: &[u8],
    partition: i32,
    from: i64,
    batches: &mut u64,
    records: &mut Vec<Record>,
) -> i64 {
    let mut next = from;
    while let Some((base, batch)) = split_batch(&mut bytes) {
        let batch = record_batch::read(&batch).unwrap_or_else(|refused| panic!("{refused:?}"));
        next = base;
        for record in batch.records {
            if next >= from {
                records.push(Record {
                    partition,
                    offset: next,
                    key: record.key,
                    value: record.value,
                    headers: record.headers,
                    timestamp_ms: record.timestamp_ms,
                    codec: batch.codec,
                    batch: *batches,
                });
            }
            next += 1;
        }
        *batches += 1;
    }
    assert!(
        next > from,
        "a fetch at offset {from} brought no whole batch"
    );
    next
}

/// `Partition:0 Offset:12 name:value,name:value key value`, with control characters between.
fn parse_consumed(line: &[u8]) -> Consumed {
    let columns: Vec<&[u8]> = line.splitn(5, |byte| *byte == 1).collect();
    let &[partition, offset, headers, key, value] = &columns[..] else {
        panic!("not a record: {:?}", String::from_utf8_lossy(line));
    };
    let number = |column: &[u8], name: &str| -> i64 {
        let column = String::from_utf8_lossy(column).into_owned();
        let number = column
            .strip_prefix(name)
            .and_then(|digits| digits.parse().ok());
        number.unwrap_or_else(|| panic!("not '{name}': '{column}'"))
    };
    let nullable = |column: &[u8]| (column != b"\x04").then(|| column.to_vec());
    let headers = match headers {
        b"NO_HEADERS" => Vec::new(),
        headers => headers
            .split(|byte| *byte == 2)
            .map(|header| {
                let colon = header
                    .iter()
                    .position(|byte| *byte == b':')
                    .expect("name:value");
                let name = String::from_utf8_lossy(&header[..colon]).into_owned();
                (name, header[colon + 1..].to_vec())
            })
            .collect(),
    };
    Consumed {
        partition: number(partition, "Partition:") as i32,
        offset: number(offset, "Offset:"),
        key: nullable(key),
        value: nullable(value),
        headers,
    }
}

/// Isolation levels.
const READ_UNCOMMITTED: i8 = 0;
const READ_COMMITTED: i8 = 1;
/// The bit of the attributes of a batch that is no data.
const CONTROL: i16 = 1 << 5;

/// Different in each call, process and run.
fn unique() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    let mut name = String::new();
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    write!(name, "{}-{}-{number}", since.as_secs(), std::process::id())
        .expect("strings take everything");
    name
}

fn command(brokers: Option<&str>, arguments: &[&str]) -> Command {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/kafka.sh");
    let mut command = Command::new(script);
    command.args(arguments).stdin(Stdio::null());
    match brokers {
        Some(brokers) => command.env("KAFKA_BROKERS", brokers),
        None => command.env_remove("KAFKA_BROKERS"),
    };
    command
}

/// Standard output of `scripts/kafka.sh ARGUMENTS`, which must succeed.
fn script(brokers: Option<&str>, arguments: &[&str]) -> Vec<u8> {
    let output = command(brokers, arguments).output();
    let output = output.unwrap_or_else(|error| panic!("scripts/kafka.sh: {error}"));
    assert!(
        output.status.success(),
        "scripts/kafka.sh {arguments:?}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("kafka.sh prints text")
}
