//! The brokers: addresses, connections, and when to ask for metadata. Each producer has its own
//! view and its own connections, so nothing is shared and nothing is locked.

pub(crate) mod broker;
pub(crate) mod metadata_schedule;

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use crate::config::{BrokerAddress, KafkaConfig};

use crate::backoff::Backoff;
use crate::kafka::network::connection::{Connection, Event};
use crate::kafka::network::error::ConnectionError;
use crate::kafka::network::token::TokenSource;
use crate::kafka::network::transport::Hangup;
use crate::kafka::protocol::api::{METADATA, Versions};
use crate::kafka::protocol::request::Request;
use crate::kafka::protocol::response::MetadataResponse;
use broker::{Broker, Peer, Pending, State};
use metadata_schedule::MetadataSchedule;

/// If an answer takes longer than this, another broker is asked as well.
pub(crate) const ANSWER_PATIENCE: Duration = Duration::from_secs(3);
/// Metadata is asked for no more often than this.
const METADATA_PAUSE: Duration = Duration::from_millis(100);

/// One producer's brokers.
#[derive(Debug)]
pub(crate) struct Cluster {
    k: usize,
    config: Arc<KafkaConfig>,
    /// What the connections log in with, if it is a token from an endpoint.
    tokens: Arc<TokenSource>,
    events: Sender<Event>,
    brokers: BTreeMap<Peer, Broker>,
    connections: u64,
    refresh: MetadataSchedule,
    /// Which of [`Cluster::candidates`] is asked for metadata next, when none is connected.
    candidate: usize,
    trying: Option<Peer>,
    round_backoff: Backoff,
    /// Logged that no broker is reachable.
    unreachable: bool,
    /// Logged that a bootstrap broker hangs up when it is asked, and none has answered since.
    unheard: bool,
}

impl Cluster {
    pub(crate) fn new(k: usize, config: Arc<KafkaConfig>, events: Sender<Event>) -> Self {
        let seeds = config.brokers.iter().enumerate();
        let brokers = seeds
            .map(|(n, address)| (Peer::Seed(n), Broker::new(address.clone())))
            .collect();
        Cluster {
            k,
            config,
            tokens: Arc::default(),
            events,
            brokers,
            connections: 0,
            refresh: MetadataSchedule {
                wanted: true,
                probe_at: None,
                probe_backoff: Backoff::default(),
                not_before: Instant::now(),
                asked: None,
                answered: None,
            },
            candidate: 0,
            trying: None,
            round_backoff: Backoff::default(),
            unreachable: false,
            unheard: false,
        }
    }

    /// The peer at the other end of a connection that is still wanted.
    pub(crate) fn peer_of(&self, connection: u64) -> Option<Peer> {
        let (peer, _) = self
            .brokers
            .iter()
            .find(|(_, broker)| broker.number() == Some(connection))?;
        Some(*peer)
    }

    /// The broker to `peer`.
    pub(crate) fn broker(&mut self, peer: Peer) -> Option<&mut Broker> {
        self.brokers.get_mut(&peer)
    }

    /// The broker to a leader, if a Produce request can be sent there now. If there is no connection,
    /// one is made when its time comes; `soonest` learns of that time.
    pub(crate) fn leader(
        &mut self,
        node: i32,
        now: Instant,
        soonest: &mut Option<Instant>,
    ) -> Option<&mut Broker> {
        let peer = Peer::Node(node);
        let Some(broker) = self.brokers.get(&peer) else {
            self.want_metadata();
            return None;
        };
        match &broker.state {
            State::Down { until: Some(until) } if *until > now => {
                sooner(soonest, *until);
                return None;
            }
            State::Down { .. } => {
                self.open(peer, now);
                return None;
            }
            State::Opening { .. } => return None,
            State::Up { .. } => {}
        }
        let broker = self.brokers.get_mut(&peer)?;
        if let Some(until) = broker.listens_from(now) {
            sooner(soonest, until);
            return None;
        }
        broker.has_room().then_some(broker)
    }

    /// The least busy broker that can be asked a question now which is not pending there already.
    pub(crate) fn any(
        &mut self,
        now: Instant,
        asked: impl Fn(&Pending) -> bool,
    ) -> Option<&mut Broker> {
        self.brokers
            .values_mut()
            .filter(|broker| broker.has_room() && broker.listens_from(now).is_none())
            .filter(|broker| !broker.pending.iter().any(&asked))
            .min_by_key(|broker| broker.pending.len())
    }

    /// When the first of the connected brokers that do not listen for now will do so again.
    pub(crate) fn throttled_until(&self, now: Instant) -> Option<Instant> {
        let connected = self.brokers.values().filter(|broker| broker.is_up());
        connected
            .filter_map(|broker| broker.listens_from(now))
            .min()
    }

    fn open(&mut self, peer: Peer, now: Instant) {
        let Some(broker) = self.brokers.get_mut(&peer) else {
            return;
        };
        let name = match peer {
            Peer::Node(id) => format!("broker-{}-{id}", self.k),
            Peer::Seed(n) => format!("broker-{}-s{n}", self.k),
        };
        self.connections += 1;
        let number = self.connections;
        let spawned = Connection::spawn(
            name,
            number,
            broker.address.clone(),
            self.config.clone(),
            self.tokens.clone(),
            self.events.clone(),
        );
        match spawned {
            Ok(handle) => broker.state = State::Opening { number, handle },
            Err(error) => {
                log::warn!("cannot start a connection thread: {error}");
                let until = Some(now + broker.backoff.pause());
                broker.state = State::Down { until };
            }
        }
    }

    /// A connection is ready.
    pub(crate) fn connected(&mut self, peer: Peer, versions: Versions, hangup: Hangup) {
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
        };
        broker.backoff.reset();
        broker.throttled_until = None;
        if std::mem::take(&mut broker.complained) | std::mem::take(&mut broker.called_for_help) {
            log::info!("broker {} is back", broker.address);
        }
        if std::mem::take(&mut self.unreachable) {
            log::info!("broker reachable again: {}", broker.address);
        }
        if self.trying == Some(peer) {
            self.trying = None;
        }
        self.retire_seeds();
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
        let was_up = broker.is_up();
        let pending = std::mem::take(&mut broker.pending);
        let until = if was_up && pending.is_empty() {
            // The usual end of a connection that was idle for long.
            log::debug!("broker {}: {error}", broker.address);
            None
        } else {
            if error.needs_a_person() {
                if !std::mem::replace(&mut broker.called_for_help, true) {
                    log::error!("broker {}: {error}; trying on", broker.address);
                }
            } else if let Peer::Node(id) = peer
                // Of a bootstrap broker it only matters whether another one answers.
                && !std::mem::replace(&mut broker.complained, true)
                && !self.unreachable
            {
                log::warn!("broker {id} at {}: {error}", broker.address);
            }
            self.refresh.wanted = true;
            Some(now + broker.backoff.pause())
        };
        let unheard = was_up && matches!(peer, Peer::Seed(_)) && !pending.is_empty();
        if unheard && !std::mem::replace(&mut self.unheard, true) {
            let advice = match self.config.sasl {
                None => "; perhaps it wants sasl_mechanism",
                Some(_) => "",
            };
            log::warn!(
                "broker {}: {error}, instead of an answer{advice}; trying on",
                broker.address
            );
        }
        broker.state = State::Down { until };
        if unheard {
            self.refresh.not_before = now + self.round_backoff.pause();
        }
        if pending.iter().any(Pending::is_metadata) {
            self.refresh.asked = None;
            self.refresh.wanted = true;
        }
        if self.trying == Some(peer) {
            self.trying = None;
            let address = broker.address.clone();
            self.candidate_failed(&address, error, now);
        }
        pending
    }

    fn candidate_failed(&mut self, address: &BrokerAddress, error: &ConnectionError, now: Instant) {
        self.candidate += 1;
        if self.candidate < self.brokers.len() {
            return;
        }
        self.candidate = 0;
        // What needs a person was said already.
        if !error.needs_a_person() && !std::mem::replace(&mut self.unreachable, true) {
            log::warn!("no broker reachable: {}: {error}; trying on", address);
        }
        self.refresh.wanted = true;
        self.refresh.not_before = now + self.round_backoff.pause();
    }

    /// Metadata seems to be out of date.
    pub(crate) fn want_metadata(&mut self) {
        self.refresh.wanted = true;
    }

    /// Something waits for better metadata.
    pub(crate) fn want_probe(&mut self, now: Instant) {
        if self.refresh.probe_at.is_none() {
            self.refresh.probe_at = Some(now + self.refresh.probe_backoff.pause());
        }
    }

    /// Something new waits for better metadata: what has waited for long does not make it wait too.
    pub(crate) fn want_early_probe(&mut self, now: Instant) {
        self.refresh.probe_backoff.reset();
        self.refresh.probe_at = None;
        self.want_probe(now);
    }

    /// Asks for metadata of `topics` if that is due and possible. Returns when it is due next.
    pub(crate) fn ask_if_due<'a>(
        &mut self,
        topics: impl Iterator<Item = &'a str>,
        now: Instant,
    ) -> Option<Instant> {
        if self.trying.is_some() {
            return None;
        }
        let mut due = self.refresh.due();
        if let Some(asked) = self.refresh.asked {
            due = due.max(asked + ANSWER_PATIENCE);
        }
        if due > now {
            return Some(due);
        }
        let client_id = self.config.client_id.clone();
        if let Some(broker) = self.any(now, Pending::is_metadata) {
            let version = broker.version(METADATA).unwrap_or(0);
            let request = Request::metadata(&client_id, version, topics);
            broker.send(request, Pending::Metadata);
            self.refresh.asked = Some(now);
            self.refresh.wanted = false;
            return None;
        }
        let is_busy =
            |broker: &Broker| broker.is_up() && !broker.pending.iter().any(Pending::is_metadata);
        if self.brokers.values().any(is_busy) {
            // An answer will make room, or it will listen again.
            return self.throttled_until(now);
        }
        let candidates = self.candidates();
        let peer = *candidates.get(self.candidate)?;
        if let Some(broker) = self.brokers.get(&peer)
            && matches!(broker.state, State::Down { .. })
        {
            self.open(peer, now);
        }
        if let Some(broker) = self.brokers.get(&peer)
            && matches!(broker.state, State::Opening { .. })
        {
            self.trying = Some(peer);
            return None;
        }
        // The thread could not be started.
        self.refresh.not_before = now + self.round_backoff.pause();
        Some(self.refresh.not_before)
    }

    /// Whom to ask when nobody is connected: those of the configuration first, then the others.
    fn candidates(&self) -> Vec<Peer> {
        let is_seed = |peer: &&Peer| matches!(peer, Peer::Seed(_));
        let seeds = self.brokers.keys().filter(is_seed);
        let nodes = self.brokers.keys().filter(|peer| !is_seed(peer));
        seeds.chain(nodes).copied().collect()
    }

    /// Takes in the brokers that metadata names. `again` says that some topic needs another look
    /// soon.
    pub(crate) fn update(&mut self, metadata: &MetadataResponse, now: Instant, again: bool) {
        for (id, host, port) in &metadata.brokers {
            let address = BrokerAddress {
                host: host.clone(),
                port: *port,
            };
            let broker = self
                .brokers
                .entry(Peer::Node(*id))
                .or_insert_with(|| Broker::new(address.clone()));
            if broker.address != address {
                log::info!("broker {id} moved from {} to {}", broker.address, address);
                broker.address = address;
                if let State::Down { until } = &mut broker.state {
                    *until = None;
                }
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
        self.refresh.asked = None;
        self.round_backoff.reset();
        self.unheard = false;
        self.refresh.answered = Some(now);
        self.refresh.not_before = now + METADATA_PAUSE;
        self.refresh.probe_at = None;
        if again {
            self.want_probe(now);
        } else {
            self.refresh.probe_backoff.reset();
        }
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
        self.refresh.asked = None;
        self.refresh.wanted = true;
        self.refresh.not_before = now + self.round_backoff.pause();
    }

    /// Closes the connections to bootstrap brokers once a member is connected.
    fn retire_seeds(&mut self) {
        let up = |(peer, broker): (&Peer, &Broker)| matches!(peer, Peer::Node(_)) && broker.is_up();
        if !self.brokers.iter().any(up) {
            return;
        }
        for (peer, broker) in &mut self.brokers {
            if matches!(peer, Peer::Seed(_)) && broker.is_up() && broker.pending.is_empty() {
                broker.state = State::Down { until: None };
            }
        }
    }
}

/// Makes `at` the soonest if it is.
pub(crate) fn sooner(soonest: &mut Option<Instant>, at: Instant) {
    *soonest = Some(soonest.map_or(at, |known| known.min(at)));
}

#[cfg(test)]
mod tests;
