//! An in-process Kafka cluster on loopback, for fault handling that no real broker does on command.
//!
//! It speaks ApiVersions, Metadata, InitProducerId, Produce and SASL PLAIN, checks every batch (CRC, counts,
//! codec, producer id, epoch, sequences) as a real broker does, stores the records for the test to
//! read, and can be told to fail. Whatever it receives that no correct client sends fails the test
//! when the cluster is dropped.
//!
//! Each cluster has a loopback address of its own (127.x.y.z), so that a node that went down finds
//! its port free when it comes up again, however many tests run beside it.
//!
//! ```text
//! log.rs         partitions: records, producers, sequences
//! state.rs       everything behind the one lock; answers requests
//! faults.rs      what goes wrong on command
//! connection.rs  the threads: one accepts per node, two serve per connection
//! ```

mod connection;
mod faults;
mod log;
mod state;
#[cfg(test)]
mod tests;

pub(crate) use connection::token;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use kafka_protocol::messages::ApiKey;

pub(crate) use super::record_batch::Codec;
pub(crate) use faults::RuleBuilder;
pub(crate) use log::{Record, UnknownProducer};
pub(crate) use state::Refusal;

use faults::{Fault, Rule};
use state::{Login, Node, State};

/// The handle of a cluster. Dropping it takes the nodes down and fails the test if something was
/// received that no correct client sends.
#[derive(Debug)]
pub(crate) struct Cluster {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Notified whenever the state has changed.
    changed: Condvar,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cluster {
    /// A cluster of one node, number 1.
    pub(crate) fn single() -> Cluster {
        Cluster::of(1)
    }

    /// A cluster of `nodes` nodes, numbered from 1.
    pub(crate) fn of(nodes: i32) -> Cluster {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let [_, _, y, z] = number.to_be_bytes();
        let x = 1 + (std::process::id() % 250) as u8;
        let ip = Ipv4Addr::new(127, x, y.wrapping_add(1), z.wrapping_add(1));
        let cluster = Cluster {
            shared: Arc::new(Shared {
                state: Mutex::new(State::new()),
                changed: Condvar::new(),
            }),
        };
        for node in 1..=nodes {
            let listener = TcpListener::bind((ip, 0)).expect("a free port on loopback");
            let address = listener
                .local_addr()
                .expect("a bound socket has an address");
            cluster.shared.state().nodes.insert(
                node,
                Node {
                    address,
                    host: None,
                    up: true,
                    deaf: false,
                    mute: false,
                    left: false,
                    accepted: 0,
                    connections: Default::default(),
                    acceptor: None,
                },
            );
            cluster.listen(node, listener);
        }
        cluster
    }

    /// All nodes' addresses as `[kafka] brokers` takes them.
    pub(crate) fn brokers(&self) -> String {
        let state = self.shared.state();
        let nodes = state.nodes.values();
        let addresses: Vec<String> = nodes.map(|node| node.address.to_string()).collect();
        addresses.join(",")
    }

    /// The address of one node.
    pub(crate) fn address(&self, node: i32) -> SocketAddr {
        self.shared.state().nodes[&node].address
    }

    /// All nodes are said to be at this host, a name for their address.
    pub(crate) fn advertise_as(&self, host: &str) {
        self.change(|state| {
            for node in state.nodes.values_mut() {
                node.host = Some(host.to_owned());
            }
        });
    }

    // Topics.

    /// Makes a topic; leaders are spread over the nodes, partition 0 on node 1.
    pub(crate) fn create_topic(&self, name: &str, partitions: usize) {
        self.change(|state| state.create_topic(name, partitions));
    }

    /// Deletes a topic with its records.
    pub(crate) fn delete_topic(&self, name: &str) {
        self.change(|state| {
            state.topics.remove(name).expect("no such topic");
            state.note(format!("topic {name} deleted"));
        });
    }

    /// Adds partitions up to `count`.
    pub(crate) fn add_partitions(&self, name: &str, count: usize) {
        self.change(|state| {
            let leaders: Vec<i32> = state.nodes.keys().copied().collect();
            let topic = state.topics.get_mut(name).expect("no such topic");
            for index in topic.partitions.len()..count {
                let leader = leaders[index % leaders.len()];
                topic.partitions.push(log::Partition::new(leader));
            }
        });
    }

    /// Moves a partition; the old leader answers `NOT_LEADER_OR_FOLLOWER` from now on.
    pub(crate) fn set_leader(&self, name: &str, partition: usize, node: i32) {
        self.change(|state| {
            assert!(state.nodes.contains_key(&node), "no node {node}");
            state.note(format!("{name}-{partition} moves to node {node}"));
            let topic = state.topics.get_mut(name).expect("no such topic");
            topic.partitions[partition].leader = node;
            topic.partitions[partition].leader_epoch += 1;
        });
    }

    /// The node that leads a partition.
    pub(crate) fn leader(&self, name: &str, partition: usize) -> i32 {
        self.shared.state().topics[name].partitions[partition].leader
    }

    /// Whether topics are made when a client asks for them, and with how many partitions.
    /// At first they are, with one.
    pub(crate) fn auto_create(&self, partitions: Option<usize>) {
        self.change(|state| state.auto_create = partitions);
    }

    // What was received.

    /// The records of a topic, by partition and offset.
    pub(crate) fn records(&self, topic: &str) -> Vec<Record> {
        self.shared.state().records(topic)
    }

    /// The values of a topic as text, by partition and offset.
    pub(crate) fn values(&self, topic: &str) -> Vec<String> {
        self.records(topic).iter().map(Record::text).collect()
    }

    /// Number of records in a topic.
    pub(crate) fn count(&self, topic: &str) -> usize {
        self.shared.state().count(topic)
    }

    /// Waits until a topic has at least `n` records and gives all it has then.
    pub(crate) fn wait_for_records(
        &self,
        topic: &str,
        n: usize,
        deadline: Duration,
    ) -> Vec<Record> {
        self.wait_until(deadline, &format!("{n} records in '{topic}'"), |cluster| {
            cluster.count(topic) >= n
        });
        self.records(topic)
    }

    /// As [`Cluster::wait_for_records`], without a copy of them.
    pub(crate) fn wait_for_count(&self, topic: &str, n: usize, deadline: Duration) {
        self.wait_until(deadline, &format!("{n} records in '{topic}'"), |cluster| {
            cluster.count(topic) >= n
        });
    }

    /// Waits for something that the cluster sees.
    pub(crate) fn wait_until(
        &self,
        deadline: Duration,
        what: &str,
        condition: impl Fn(&Cluster) -> bool,
    ) {
        let end = Instant::now() + deadline;
        loop {
            if condition(self) {
                return;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let counts = format!("{:?}", self.shared.state().counts());
                panic!("waited {deadline:?} for {what}; topics have {counts}");
            }
            // A change between the check and this wait is seen after 20 ms.
            let state = self.shared.state();
            let wait = self
                .shared
                .changed
                .wait_timeout(state, left.min(Duration::from_millis(20)));
            drop(wait);
        }
    }

    /// Connections that a node has accepted so far.
    pub(crate) fn accepted(&self, node: i32) -> usize {
        self.shared.state().nodes[&node].accepted
    }

    /// Connections that a node has open.
    pub(crate) fn open_connections(&self, node: i32) -> usize {
        self.shared.state().nodes[&node].connections.len()
    }

    /// Requests of one kind that all nodes have received.
    pub(crate) fn requests(&self, api: ApiKey) -> usize {
        let state = self.shared.state();
        let counts = state.requests.iter();
        counts
            .filter(|((_, key), _)| *key == api as i16)
            .map(|(_, count)| count)
            .sum()
    }

    /// How often a Produce request was answered with this error code, per partition.
    pub(crate) fn produce_errors(&self, code: i16) -> usize {
        let state = self.shared.state();
        state.produce_errors.get(&code).copied().unwrap_or(0)
    }

    /// Batches that were answered with an error on command instead of being appended.
    pub(crate) fn refusals(&self) -> Vec<Refusal> {
        self.shared.state().refusals.clone()
    }

    /// Batches that came again and were recognised by their sequence.
    pub(crate) fn duplicates(&self) -> usize {
        self.shared.state().duplicates
    }

    /// The most requests that were unanswered on one connection.
    pub(crate) fn most_unanswered(&self) -> usize {
        self.shared.state().most_unanswered
    }

    /// Number of producer ids that were given out.
    pub(crate) fn producer_ids(&self) -> i64 {
        self.shared.state().next_producer_id - 1000
    }

    /// What was received that no correct client sends; they are forgotten.
    pub(crate) fn take_violations(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.state().violations)
    }

    /// From now on nothing that is received is held against the client.
    pub(crate) fn forgive(&self) {
        let mut state = self.shared.state();
        state.forgives = true;
        state.violations.clear();
    }

    /// Fails if anything was received that no correct client sends.
    pub(crate) fn assert_clean(&self) {
        let violations = self.take_violations();
        assert!(
            violations.is_empty(),
            "the broker has seen: {violations:#?}"
        );
    }

    /// Counts, and what has happened lately.
    pub(crate) fn report(&self) -> String {
        self.shared.state().report()
    }

    // What goes wrong.

    /// Begins a rule about requests of this kind; see [`RuleBuilder`].
    pub(crate) fn on(&self, api: ApiKey) -> RuleBuilder<'_> {
        RuleBuilder {
            cluster: self,
            rule: Rule {
                api,
                node: None,
                topic: None,
                partition: None,
                left: Some(1),
                fault: Fault::Error(0),
            },
        }
    }

    /// Whether every rule with a limit has been used up.
    pub(crate) fn rules_are_used_up(&self) -> bool {
        let state = self.shared.state();
        state
            .rules
            .iter()
            .all(|rule| matches!(rule.left, Some(0) | None))
    }

    /// Forgets all rules, delays and throttles, and wakes all nodes that hang.
    pub(crate) fn heal(&self) {
        self.change(|state| {
            state.note("told: heal".to_owned());
            state.rules.clear();
            state.delay = Duration::ZERO;
            state.throttle = Duration::ZERO;
            for node in state.nodes.values_mut() {
                node.deaf = false;
                node.mute = false;
            }
        });
    }

    /// All answers come so much later; requests are worked off meanwhile.
    pub(crate) fn delay(&self, delay: Duration) {
        self.change(|state| state.delay = delay);
    }

    /// What answers say about throttling.
    pub(crate) fn throttle(&self, throttle: Duration) {
        self.change(|state| state.throttle = throttle);
    }

    /// `message.max.bytes`: larger batches are answered with `MESSAGE_TOO_LARGE`.
    pub(crate) fn max_message_bytes(&self, bytes: usize) {
        self.change(|state| state.max_message_bytes = bytes);
    }

    /// Lists (and serves) other versions of an API, as an older broker would.
    pub(crate) fn limit_api(&self, api: ApiKey, min: i16, max: i16) {
        self.change(|state| {
            state.apis.retain(|listed| listed.0 != api);
            state.apis.push((api, min, max));
        });
    }

    /// Does not list an API at all, as an older broker would.
    pub(crate) fn remove_api(&self, api: ApiKey) {
        self.change(|state| state.apis.retain(|listed| listed.0 != api));
    }

    /// Clients have to log in with SASL PLAIN. Connections that do not are served all the same.
    pub(crate) fn require_login(&self, user: &str, password: &str) {
        self.require(Login::Plain(user.to_owned(), password.to_owned()));
    }

    /// Clients have to log in with a token of [`time_left`](connection::time_left); the session ends with it.
    pub(crate) fn require_token(&self) {
        self.require(Login::Token);
    }

    fn require(&self, login: Login) {
        self.change(|state| {
            state.login = Some(login);
            state.apis.push((ApiKey::SaslHandshake, 0, 1));
            state.apis.push((ApiKey::SaslAuthenticate, 0, 2));
        });
    }

    /// How a first batch with a sequence other than 0 is answered.
    pub(crate) fn unknown_producer(&self, answer: UnknownProducer) {
        self.change(|state| state.unknown_producer = answer);
    }

    /// Forgets the sequences of all producers.
    pub(crate) fn forget_producers(&self) {
        self.change(|state| {
            state.note("told: forget all producers".to_owned());
            let topics = state.topics.values_mut();
            for partition in topics.flat_map(|topic| &mut topic.partitions) {
                partition.forget_producers();
            }
        });
    }

    /// The node accepts connections and reads nothing from any until [`Cluster::heal`].
    pub(crate) fn stop_reading(&self, node: i32) {
        self.change(|state| state.nodes.get_mut(&node).expect("no such node").deaf = true);
    }

    /// The node works off requests, and its answers are held back until [`Cluster::heal`].
    pub(crate) fn stop_answering(&self, node: i32) {
        self.change(|state| state.nodes.get_mut(&node).expect("no such node").mute = true);
    }

    /// Closes a node's connections; it accepts new ones.
    pub(crate) fn hang_up(&self, node: i32) {
        self.change(|state| {
            state.note(format!("told: node {node} hangs up"));
            let connections = &mut state
                .nodes
                .get_mut(&node)
                .expect("no such node")
                .connections;
            for (_, connection) in connections.drain() {
                let _ = connection.shutdown(Shutdown::Both);
            }
        });
    }

    /// Closes a node's listener and connections: connecting is refused from now on.
    pub(crate) fn down(&self, node: i32) {
        let mut state = self.shared.state();
        state.note(format!("told: node {node} goes down"));
        let stopped = state.nodes.get_mut(&node).expect("no such node");
        stopped.up = false;
        let (acceptor, address) = (stopped.acceptor.take(), stopped.address);
        for (_, connection) in stopped.connections.drain() {
            let _ = connection.shutdown(Shutdown::Both);
        }
        drop(state);
        self.shared.changed.notify_all();
        if let Some(acceptor) = acceptor {
            // The thread waits for a connection; it ends at this one and closes the listener.
            let _ = TcpStream::connect(address);
            let _ = acceptor.join();
        }
    }

    /// Brings a node up again, at the same address.
    pub(crate) fn up(&self, node: i32) {
        let address = self.address(node);
        // For a moment a connection of before may still hold the address.
        let end = Instant::now() + Duration::from_secs(10);
        let listener = loop {
            match TcpListener::bind(address) {
                Ok(listener) => break listener,
                Err(error) if Instant::now() >= end => panic!("{address}: {error}"),
                Err(_) => thread::sleep(Duration::from_millis(5)),
            }
        };
        self.change(|state| {
            state.note(format!("told: node {node} comes up"));
            state.nodes.get_mut(&node).expect("no such node").up = true;
        });
        self.listen(node, listener);
    }

    /// The node says from now on that it is not the place to ask (KIP-1102), in version 13 of Metadata.
    pub(crate) fn leave(&self, node: i32) {
        self.change(|state| {
            state.note(format!("told: node {node} leaves the cluster"));
            state.nodes.get_mut(&node).expect("no such node").left = true;
        });
    }

    /// Brings up a node if it is there and down.
    pub(crate) fn up_if_down(&self, node: i32) {
        let is_down = self
            .shared
            .state()
            .nodes
            .get(&node)
            .is_some_and(|node| !node.up);
        if is_down {
            self.up(node);
        }
    }

    /// Gives a node that is down another address, as if another machine had taken its place.
    pub(crate) fn move_address(&self, node: i32) {
        let ip = self.address(node).ip();
        let free = TcpListener::bind((ip, 0)).and_then(|listener| listener.local_addr());
        let address = free.expect("a free port on loopback");
        self.change(|state| {
            let moved = state.nodes.get_mut(&node).expect("no such node");
            assert!(!moved.up, "node {node} is up");
            moved.address = address;
            state.note(format!("told: node {node} moves to {address}"));
        });
    }

    fn listen(&self, node: i32, listener: TcpListener) {
        let shared = self.shared.clone();
        let acceptor = thread::spawn(move || connection::accept(&shared, node, &listener));
        let mut state = self.shared.state();
        state.nodes.get_mut(&node).expect("no such node").acceptor = Some(acceptor);
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.shared.state());
        self.shared.changed.notify_all();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let nodes: Vec<i32> = self.shared.state().nodes.keys().copied().collect();
        for node in nodes {
            self.down(node);
        }
        if !thread::panicking() {
            self.assert_clean();
        }
    }
}
