//! The brokers: addresses, connections, and when to ask for metadata. Each producer has its own
//! view and its own connections, so nothing is shared and nothing is locked.
//!
//! `broker.rs` is one broker and opens connections to it, `bootstrap.rs` says how long connections are kept,
//! `choice.rs` which of them is asked, `metadata_schedule.rs` when metadata is due.

mod bootstrap;
pub(crate) mod broker;
mod choice;
mod complaints;
pub(crate) mod metadata_schedule;

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use log::Level;

use crate::backoff::Backoff;
use crate::condition::Condition;
use crate::config::{BrokerAddress, KafkaConfig};
use crate::kafka::network::error::ConnectionError;
use crate::kafka::network::transport::Hangup;
use crate::kafka::protocol::api::{METADATA, PRODUCE, TransactionVersion, Versions};
use crate::kafka::protocol::request::Request;
use crate::kafka::protocol::response::MetadataResponse;
use crate::metrics::Metrics;

use broker::{Broker, Dial, Peer, Pending, State};
use metadata_schedule::MetadataSchedule;

/// One producer's brokers.
#[derive(Debug)]
pub(crate) struct Cluster {
    client_id: String,
    logs_in: bool,
    dial: Box<dyn Dial>,
    brokers: BTreeMap<Peer, Broker>,
    connections: u64,
    pub(crate) schedule: MetadataSchedule,
    /// How the transaction is made that Produce requests belong to; `None`: they belong to none.
    pub(crate) transaction_version: Option<TransactionVersion>,
    /// So that not always the same one of several that are as good is asked.
    turn: usize,
    /// Which of [`Cluster::candidates`] is asked for metadata next, when none is connected.
    candidate: usize,
    trying: Option<Peer>,
    round_backoff: Backoff,
    /// No broker is reachable.
    unreachable: Condition,
    /// A bootstrap broker hangs up when it is asked.
    unheard: Condition,
    metrics: Arc<Metrics>,
    random: fastrand::Rng,
}

/// Whether a Produce request can be sent to a broker.
#[derive(Debug)]
pub(crate) enum Room {
    /// Now, with this.
    Slot(Slot),
    /// At that time, if nothing else happens.
    At(Instant),
    /// Not before something else happens.
    None,
}

/// The place of one Produce request on a connection. It must be used before anything else happens to the brokers.
#[derive(Debug)]
pub(crate) struct Slot {
    peer: Peer,
    pub(crate) version: i16,
}

impl Cluster {
    pub(crate) fn new(
        config: &KafkaConfig,
        dial: Box<dyn Dial>,
        metrics: Arc<Metrics>,
        random: &mut fastrand::Rng,
        now: Instant,
    ) -> Self {
        let seeds = config.brokers.iter().enumerate();
        let brokers = seeds
            .map(|(n, address)| {
                let peer = Peer::Seed(n);
                let broker = Broker::new(peer, address.clone(), &metrics, random);
                (peer, broker)
            })
            .collect();
        Cluster {
            client_id: config.client_id.clone(),
            logs_in: config.sasl.is_some(),
            dial,
            brokers,
            connections: 0,
            schedule: MetadataSchedule::new(random, now),
            transaction_version: None,
            turn: 0,
            candidate: 0,
            trying: None,
            round_backoff: Backoff::new(random),
            unreachable: Condition::on(&metrics.board),
            unheard: Condition::on(&metrics.board),
            metrics,
            random: random.fork(),
        }
    }

    /// The peer at the other end of a connection that is still wanted.
    pub(crate) fn peer_of(&self, connection: u64) -> Option<Peer> {
        let mut brokers = self.brokers.iter();
        let (peer, _) = brokers.find(|(_, broker)| broker.number() == Some(connection))?;
        Some(*peer)
    }

    /// Whether any broker is connected.
    pub(crate) fn is_connected(&self) -> bool {
        self.brokers.values().any(Broker::is_up)
    }

    /// The broker at `peer`.
    pub(crate) fn broker(&mut self, peer: Peer) -> Option<&mut Broker> {
        self.brokers.get_mut(&peer)
    }

    /// Whether a Produce request can be sent to a leader now; `alone`: and nothing else be unanswered there. If
    /// there is no connection, one is made when its time comes.
    pub(crate) fn send_slot(&mut self, node: i32, alone: bool, now: Instant) -> Room {
        let peer = Peer::Node(node);
        let Some(broker) = self.brokers.get(&peer) else {
            self.schedule.want();
            return Room::None;
        };
        match &broker.state {
            State::Down { until: Some(until) } if *until > now => return Room::At(*until),
            State::Down { .. } => {
                if !self.takes_over_a_seed(peer) {
                    self.open(peer, now);
                    return Room::None;
                }
            }
            State::Opening { .. } => return Room::None,
            State::Up { .. } => {}
        }
        let broker = self.brokers.get(&peer).expect("it was found above");
        if let Some(until) = broker.listens_from(now) {
            return Room::At(until);
        }
        let version = match self.transaction_version {
            None => broker.version(PRODUCE),
            Some(transaction) => broker.version_in(PRODUCE, transaction),
        };
        match version {
            Some(version) if broker.has_room() && (!alone || broker.pending.is_empty()) => {
                Room::Slot(Slot { peer, version })
            }
            _ => Room::None,
        }
    }

    /// Sends a Produce request to where there is room for it.
    pub(crate) fn send_produce(
        &mut self,
        slot: &Slot,
        request: Request,
        pending: Pending,
        now: Instant,
    ) {
        let broker = self.brokers.get_mut(&slot.peer);
        let broker = broker.expect("a slot is used before anything else happens");
        broker.send(request, pending, now);
        self.schedule.sends();
    }

    fn open(&mut self, peer: Peer, now: Instant) {
        let Some(broker) = self.brokers.get_mut(&peer) else {
            return;
        };
        self.connections += 1;
        let number = self.connections;
        match self.dial.open(number, peer, &broker.address) {
            Ok(handle) => broker.opens(number, handle),
            Err(error) => {
                let subject = format_args!("broker {}", broker.address);
                let trouble = broker.trouble.enter(Level::Warn, &subject, &error, now);
                if let Some(passed_over) = trouble.say(now) {
                    log::warn!("cannot start a connection thread: {error}; retrying{passed_over}");
                }
                let until = Some(now + broker.backoff.pause());
                broker.state = State::Down { until };
            }
        }
    }

    /// A connection is ready. Whether its broker works is seen when it answers.
    pub(crate) fn connected(
        &mut self,
        peer: Peer,
        versions: Versions,
        about: &str,
        hangup: Option<Hangup>,
        now: Instant,
    ) {
        let Some(broker) = self.brokers.get_mut(&peer) else {
            return;
        };
        let State::Opening { number, mut handle } =
            std::mem::replace(&mut broker.state, State::Down { until: None })
        else {
            return;
        };
        handle.set_hangup(hangup);
        broker.state = State::Up {
            number,
            handle,
            versions,
            has_answered: false,
            is_needed: false,
            used: now,
        };
        broker.throttled_until = None;
        let level = match broker.share.comes_up(about) {
            true => Level::Info,
            false => Level::Debug,
        };
        log::log!(level, "broker {} is connected: {about}", broker.address);
        if self.trying == Some(peer) {
            self.trying = None;
        }
        // A bootstrap broker that was just connected to is to be asked first: a member that is connected and mute
        // would have it closed and opened again without end.
        if matches!(peer, Peer::Node(_)) {
            self.retire_seeds();
        }
    }

    /// An answer to Metadata or Produce has come from `peer`.
    pub(crate) fn works(&mut self, peer: Peer) {
        let Some(broker) = self.brokers.get_mut(&peer) else {
            return;
        };
        broker.works();
        self.unheard.leave();
        if !self.unreachable.is_entered() {
            return;
        }
        if let Some(left) = self.unreachable.leave() {
            let address = &broker.address;
            log::log!(left.level, "broker reachable again: {address}{left}");
        }
        // What kept all of them away is over, so none waits for the end of a pause that was due to it.
        for broker in self.brokers.values_mut() {
            if let State::Down { until } = &mut broker.state {
                *until = None;
            }
        }
    }

    /// A connection is over. Returns the requests that will get no answer.
    pub(crate) fn closed(
        &mut self,
        peer: Peer,
        error: &ConnectionError,
        now: Instant,
    ) -> VecDeque<Pending> {
        let Some(broker) = self.brokers.get_mut(&peer) else {
            return VecDeque::new();
        };
        let (was_up, has_answered) = match &broker.state {
            State::Up { has_answered, .. } => (true, *has_answered),
            _ => (false, false),
        };
        let pending = broker.give_up_pending();
        if has_answered && pending.is_empty() {
            // The usual end of a connection that was idle for long.
            log::debug!("broker {}: {error}", broker.address);
            broker.state = State::Down { until: None };
        } else {
            // In a round of all brokers each is tried once, however long its own pause is, and the rounds have a
            // pause of their own. Were these attempts counted here too, both would double one pause, and an outage
            // of two seconds would end in one of ten.
            let pause = match self.trying == Some(peer) {
                true => broker.backoff.same_pause(),
                false => broker.backoff.pause(),
            };
            let until = Some(now + pause);
            broker.state = State::Down { until };
            broker.share.goes_down();
            self.complain(peer, error, now);
            self.schedule.want();
        }
        if was_up && matches!(peer, Peer::Seed(_)) && !pending.is_empty() {
            self.complain_unheard(peer, error, now);
            let until = now + self.round_backoff.pause();
            self.schedule.pause_until(until);
        }
        if pending.iter().any(Pending::is_metadata) {
            self.schedule.unanswered();
        }
        if self.trying == Some(peer) {
            self.trying = None;
            self.candidate_failed(peer, error, now);
        }
        pending
    }

    fn candidate_failed(&mut self, peer: Peer, error: &ConnectionError, now: Instant) {
        self.candidate += 1;
        if self.candidate < self.brokers.len() {
            return;
        }
        self.candidate = 0;
        self.complain_unreachable(peer, error, now);
        self.schedule.want();
        let until = now + self.round_backoff.pause();
        self.schedule.pause_until(until);
    }

    /// Asks for metadata of `topics` if that is due and possible; `topics` gives them and in how many parts they
    /// are asked for. Returns when it is due next.
    pub(crate) fn ask_if_due(
        &mut self,
        topics: impl FnOnce() -> (Vec<Arc<str>>, u32),
        now: Instant,
    ) -> Option<Instant> {
        if self.trying.is_some() {
            return None;
        }
        let due = self.schedule.due();
        if due > now {
            return Some(due);
        }
        let client_id = self.client_id.clone();
        if let Some(broker) = self.any(now, Pending::is_metadata) {
            let version = broker.version(METADATA).unwrap_or(0);
            let (topics, slices) = topics();
            let request = Request::metadata(&client_id, version, topics.iter().map(|name| &**name));
            broker.send(request, Pending::Metadata, now);
            self.schedule.ask(slices, now);
            return Some(self.schedule.due());
        }
        let is_busy =
            |broker: &Broker| broker.is_up() && !broker.pending.iter().any(Pending::is_metadata);
        if self.brokers.values().any(is_busy) {
            // An answer will make room, or it will listen again.
            return self.throttled_until(now);
        }
        self.try_candidate(now)
    }

    /// Connects to the next broker that may answer, as none is connected.
    fn try_candidate(&mut self, now: Instant) -> Option<Instant> {
        let candidates = self.candidates();
        let peer = *candidates.get(self.candidate)?;
        if matches!(self.brokers[&peer].state, State::Down { .. }) {
            self.open(peer, now);
        }
        if matches!(self.brokers[&peer].state, State::Opening { .. }) {
            self.trying = Some(peer);
            return None;
        }
        // The thread could not be started.
        let until = now + self.round_backoff.pause();
        self.schedule.pause_until(until);
        Some(until)
    }

    /// Whom to ask when nobody is connected: those of the configuration first, then the others.
    fn candidates(&self) -> Vec<Peer> {
        let is_seed = |peer: &&Peer| matches!(peer, Peer::Seed(_));
        let seeds = self.brokers.keys().filter(is_seed);
        let nodes = self.brokers.keys().filter(|peer| !is_seed(peer));
        seeds.chain(nodes).copied().collect()
    }

    /// Takes in the brokers that the metadata of `peer` names. `again` says that some topic needs another look
    /// soon.
    pub(crate) fn update(
        &mut self,
        peer: Peer,
        metadata: &MetadataResponse,
        now: Instant,
        again: bool,
    ) {
        for (id, host, port) in &metadata.brokers {
            let address = BrokerAddress {
                host: host.clone(),
                port: *port,
            };
            let (peer, metrics, random) = (Peer::Node(*id), &self.metrics, &mut self.random);
            let broker = self
                .brokers
                .entry(peer)
                .or_insert_with(|| Broker::new(peer, address.clone(), metrics, random));
            if broker.address != address {
                log::info!("broker {id} moved from {} to {address}", broker.address);
                broker.moves_to(peer, address, metrics);
                if let State::Down { until } = &mut broker.state {
                    *until = None;
                }
            }
        }
        // Who the members are is known: whether others can be reached matters no longer.
        for (peer, broker) in &mut self.brokers {
            if matches!(peer, Peer::Seed(_))
                && let Some(left) = broker.trouble.leave()
            {
                let address = &broker.address;
                log::log!(left.level, "broker {address} is not needed any more{left}");
            }
        }
        let named: HashSet<i32> = metadata.brokers.iter().map(|(id, ..)| *id).collect();
        self.brokers.retain(|peer, broker| match peer {
            Peer::Node(id) => named.contains(id) || !matches!(broker.state, State::Down { .. }),
            Peer::Seed(_) => true,
        });
        if self.candidate >= self.brokers.len() {
            self.candidate = 0;
        }
        self.round_backoff.reset();
        let up = self.brokers.iter().filter(|(_, broker)| broker.is_up());
        let others = up.map(|(peer, _)| *peer);
        self.schedule.answered(peer, again, others, now);
        self.retire_seeds();
    }

    /// Which connections are of no use once `told` has said that it belongs to the cluster no more: those to
    /// all members, since it was they who made us take it for one. A bootstrap broker speaks for itself alone.
    pub(crate) fn lost_with(&self, told: Peer) -> Vec<Peer> {
        let lost = self.brokers.iter().filter(|(peer, broker)| match told {
            Peer::Node(_) => matches!(peer, Peer::Node(_)) && broker.number().is_some(),
            Peer::Seed(_) => **peer == told,
        });
        lost.map(|(peer, _)| *peer).collect()
    }

    /// Goes on after the connections of [`Cluster::lost_with`] were closed: with the bootstrap brokers, after a
    /// pause.
    ///
    /// The members are forgotten and not only disconnected. Of a member that is known, the records that it was
    /// the leader for would make a connection again, and a broker that is connected is asked for metadata before
    /// any other: that would be the one that has left, time and again.
    pub(crate) fn start_again(&mut self, told: Peer, now: Instant) {
        self.candidate = match told {
            Peer::Node(_) => {
                self.brokers.retain(|peer, _| matches!(peer, Peer::Seed(_)));
                0
            }
            // The next one, in the order of `candidates`.
            Peer::Seed(n) => (n + 1) % self.brokers.len(),
        };
        self.schedule.unanswered();
        let until = now + self.round_backoff.pause();
        self.schedule.pause_until(until);
    }
}

#[cfg(test)]
mod tests;
