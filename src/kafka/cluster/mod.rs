//! The brokers: addresses, connections, and when to ask for metadata. Each producer has its own
//! view and its own connections, so nothing is shared and nothing is locked.

pub(crate) mod metadata_schedule;

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use crate::config::{BrokerAddress, KafkaConfig};

use self::metadata_schedule::Refresh;
use crate::backoff::Backoff;
use crate::kafka::network::connection::{Connection, Event, Handle};
use crate::kafka::network::error::ConnectionError;
use crate::kafka::network::token::TokenSource;
use crate::kafka::network::transport::Hangup;
use crate::kafka::protocol::request::Request;
use crate::kafka::protocol::response::{METADATA, MetadataAnswer, Versions};

/// Requests that may be unanswered on a connection: as many as a broker keeps apart.
const MAX_UNANSWERED: usize = 5;
/// If an answer takes longer than this, another broker is asked as well.
pub(crate) const ANSWER_PATIENCE: Duration = Duration::from_secs(3);
/// Metadata is asked for no more often than this.
const METADATA_PAUSE: Duration = Duration::from_millis(100);

/// The other end of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Peer {
    /// A member of the cluster, by node id.
    Node(i32),
    /// A bootstrap broker, by its place in the configuration. Used until the members are known.
    Seed(usize),
}

/// Which batch of which partition a request carries.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BatchRef {
    pub(crate) topic: usize,
    pub(crate) partition: usize,
    pub(crate) number: u64,
}

/// A request without an answer.
#[derive(Debug)]
pub(crate) enum Pending {
    Metadata,
    InitProducerId,
    Produce(Vec<BatchRef>),
}

impl Pending {
    pub(crate) fn is_metadata(&self) -> bool {
        matches!(self, Pending::Metadata)
    }

    pub(crate) fn is_init_producer_id(&self) -> bool {
        matches!(self, Pending::InitProducerId)
    }

    pub(crate) fn is_produce(&self) -> bool {
        matches!(self, Pending::Produce(_))
    }
}

#[derive(Debug)]
enum State {
    Down {
        /// No new attempt before.
        until: Option<Instant>,
    },
    Opening {
        number: u64,
        handle: Handle,
    },
    Up {
        number: u64,
        handle: Handle,
        versions: Versions,
    },
}

/// A broker and the connection to it.
#[derive(Debug)]
pub(crate) struct Link {
    address: BrokerAddress,
    state: State,
    pending: VecDeque<Pending>,
    backoff: Backoff,
    throttled_until: Option<Instant>,
    /// A failure was logged, and no success since.
    complained: bool,
    /// The same for a failure that only a person can mend.
    called_for_help: bool,
}

impl Link {
    fn new(address: BrokerAddress) -> Self {
        Link {
            address,
            state: State::Down { until: None },
            pending: VecDeque::new(),
            backoff: Backoff::default(),
            throttled_until: None,
            complained: false,
            called_for_help: false,
        }
    }

    fn number(&self) -> Option<u64> {
        match &self.state {
            State::Down { .. } => None,
            State::Opening { number, .. } | State::Up { number, .. } => Some(*number),
        }
    }

    fn is_up(&self) -> bool {
        matches!(self.state, State::Up { .. })
    }

    /// Whether a request can be sent now.
    fn has_room(&self) -> bool {
        self.is_up() && self.pending.len() < MAX_UNANSWERED
    }

    /// The version of `api` to use here; `None` if the broker does not know the API.
    pub(crate) fn version(&self, api: i16) -> Option<i16> {
        match &self.state {
            State::Up { versions, .. } => versions.of(api),
            _ => None,
        }
    }

    /// Sends a request that there is room for.
    pub(crate) fn send(&mut self, request: Request, pending: Pending) {
        if let State::Up { handle, .. } = &self.state {
            handle.send(request);
            self.pending.push_back(pending);
        }
    }

    /// The oldest request of that kind gets its answer.
    pub(crate) fn answered(&mut self, kind: impl Fn(&Pending) -> bool) -> Option<Pending> {
        // With acks=0 a Produce request is done when it is written, before older questions are
        // answered, so the oldest of all may be of another kind.
        let position = self.pending.iter().position(kind)?;
        self.pending.remove(position)
    }

    /// The broker will not listen for so long, whatever it is asked (KIP-219).
    pub(crate) fn throttle(&mut self, throttle_ms: i32, now: Instant) {
        if let Ok(ms @ 1..) = u64::try_from(throttle_ms) {
            let until = now + Duration::from_millis(ms);
            self.throttled_until = self.throttled_until.max(Some(until));
        }
    }

    /// When it will listen again, if it does not now.
    fn listens_from(&self, now: Instant) -> Option<Instant> {
        self.throttled_until.filter(|until| *until > now)
    }
}

/// One producer's brokers.
#[derive(Debug)]
pub(crate) struct Cluster {
    k: usize,
    config: Arc<KafkaConfig>,
    /// What the connections log in with, if it is a token from an endpoint.
    tokens: Arc<TokenSource>,
    events: Sender<Event>,
    links: BTreeMap<Peer, Link>,
    connections: u64,
    refresh: Refresh,
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
        let links = seeds
            .map(|(n, address)| (Peer::Seed(n), Link::new(address.clone())))
            .collect();
        Cluster {
            k,
            config,
            tokens: Arc::default(),
            events,
            links,
            connections: 0,
            refresh: Refresh {
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
            .links
            .iter()
            .find(|(_, link)| link.number() == Some(connection))?;
        Some(*peer)
    }

    /// The link to `peer`.
    pub(crate) fn link(&mut self, peer: Peer) -> Option<&mut Link> {
        self.links.get_mut(&peer)
    }

    /// The link to a leader, if a Produce request can be sent there now. If there is no connection,
    /// one is made when its time comes; `soonest` learns of that time.
    pub(crate) fn leader(
        &mut self,
        node: i32,
        now: Instant,
        soonest: &mut Option<Instant>,
    ) -> Option<&mut Link> {
        let peer = Peer::Node(node);
        let Some(link) = self.links.get(&peer) else {
            self.want_metadata();
            return None;
        };
        match &link.state {
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
        let link = self.links.get_mut(&peer)?;
        if let Some(until) = link.listens_from(now) {
            sooner(soonest, until);
            return None;
        }
        link.has_room().then_some(link)
    }

    /// The least busy broker that can be asked a question now which is not pending there already.
    pub(crate) fn any(
        &mut self,
        now: Instant,
        asked: impl Fn(&Pending) -> bool,
    ) -> Option<&mut Link> {
        self.links
            .values_mut()
            .filter(|link| link.has_room() && link.listens_from(now).is_none())
            .filter(|link| !link.pending.iter().any(&asked))
            .min_by_key(|link| link.pending.len())
    }

    /// When the first of the connected brokers that do not listen for now will do so again.
    pub(crate) fn throttled_until(&self, now: Instant) -> Option<Instant> {
        let connected = self.links.values().filter(|link| link.is_up());
        connected.filter_map(|link| link.listens_from(now)).min()
    }

    fn open(&mut self, peer: Peer, now: Instant) {
        let Some(link) = self.links.get_mut(&peer) else {
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
            link.address.clone(),
            self.config.clone(),
            self.tokens.clone(),
            self.events.clone(),
        );
        match spawned {
            Ok(handle) => link.state = State::Opening { number, handle },
            Err(error) => {
                log::warn!("cannot start a connection thread: {error}");
                let until = Some(now + link.backoff.pause());
                link.state = State::Down { until };
            }
        }
    }

    /// A connection is ready.
    pub(crate) fn connected(&mut self, peer: Peer, versions: Versions, hangup: Hangup) {
        let Some(link) = self.links.get_mut(&peer) else {
            return;
        };
        let State::Opening { number, mut handle } =
            std::mem::replace(&mut link.state, State::Down { until: None })
        else {
            return;
        };
        handle.set_hangup(hangup);
        link.state = State::Up {
            number,
            handle,
            versions,
        };
        link.backoff.reset();
        link.throttled_until = None;
        if std::mem::take(&mut link.complained) | std::mem::take(&mut link.called_for_help) {
            log::info!("broker {} is back", host_port(&link.address));
        }
        if std::mem::take(&mut self.unreachable) {
            log::info!("broker reachable again: {}", host_port(&link.address));
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
        let Some(link) = self.links.get_mut(&peer) else {
            return VecDeque::new();
        };
        let was_up = link.is_up();
        let pending = std::mem::take(&mut link.pending);
        let until = if was_up && pending.is_empty() {
            // The usual end of a connection that was idle for long.
            log::debug!("broker {}: {error}", host_port(&link.address));
            None
        } else {
            if error.needs_a_person() {
                if !std::mem::replace(&mut link.called_for_help, true) {
                    log::error!("broker {}: {error}; trying on", host_port(&link.address));
                }
            } else if let Peer::Node(id) = peer
                // Of a bootstrap broker it only matters whether another one answers.
                && !std::mem::replace(&mut link.complained, true)
                && !self.unreachable
            {
                log::warn!("broker {id} at {}: {error}", host_port(&link.address));
            }
            self.refresh.wanted = true;
            Some(now + link.backoff.pause())
        };
        let unheard = was_up && matches!(peer, Peer::Seed(_)) && !pending.is_empty();
        if unheard && !std::mem::replace(&mut self.unheard, true) {
            let advice = match self.config.sasl {
                None => "; perhaps it wants sasl_mechanism",
                Some(_) => "",
            };
            log::warn!(
                "broker {}: {error}, instead of an answer{advice}; trying on",
                host_port(&link.address)
            );
        }
        link.state = State::Down { until };
        if unheard {
            self.refresh.not_before = now + self.round_backoff.pause();
        }
        if pending.iter().any(Pending::is_metadata) {
            self.refresh.asked = None;
            self.refresh.wanted = true;
        }
        if self.trying == Some(peer) {
            self.trying = None;
            let address = link.address.clone();
            self.candidate_failed(&address, error, now);
        }
        pending
    }

    fn candidate_failed(&mut self, address: &BrokerAddress, error: &ConnectionError, now: Instant) {
        self.candidate += 1;
        if self.candidate < self.links.len() {
            return;
        }
        self.candidate = 0;
        // What needs a person was said already.
        if !error.needs_a_person() && !std::mem::replace(&mut self.unreachable, true) {
            log::warn!(
                "no broker reachable: {}: {error}; trying on",
                host_port(address)
            );
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
    pub(crate) fn tend<'a>(
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
        if let Some(link) = self.any(now, Pending::is_metadata) {
            let version = link.version(METADATA).unwrap_or(0);
            let request = Request::metadata(&client_id, version, topics);
            link.send(request, Pending::Metadata);
            self.refresh.asked = Some(now);
            self.refresh.wanted = false;
            return None;
        }
        let is_busy = |link: &Link| link.is_up() && !link.pending.iter().any(Pending::is_metadata);
        if self.links.values().any(is_busy) {
            // An answer will make room, or it will listen again.
            return self.throttled_until(now);
        }
        let candidates = self.candidates();
        let peer = *candidates.get(self.candidate)?;
        if let Some(link) = self.links.get(&peer)
            && matches!(link.state, State::Down { .. })
        {
            self.open(peer, now);
        }
        if let Some(link) = self.links.get(&peer)
            && matches!(link.state, State::Opening { .. })
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
        let seeds = self.links.keys().filter(is_seed);
        let nodes = self.links.keys().filter(|peer| !is_seed(peer));
        seeds.chain(nodes).copied().collect()
    }

    /// Takes in the brokers that metadata names. `again` says that some topic needs another look
    /// soon.
    pub(crate) fn update(&mut self, metadata: &MetadataAnswer, now: Instant, again: bool) {
        for (id, host, port) in &metadata.brokers {
            let address = BrokerAddress {
                host: host.clone(),
                port: *port,
            };
            let link = self
                .links
                .entry(Peer::Node(*id))
                .or_insert_with(|| Link::new(address.clone()));
            if link.address != address {
                log::info!(
                    "broker {id} moved from {} to {}",
                    host_port(&link.address),
                    host_port(&address)
                );
                link.address = address;
                if let State::Down { until } = &mut link.state {
                    *until = None;
                }
            }
        }
        let named: HashSet<i32> = metadata.brokers.iter().map(|(id, ..)| *id).collect();
        self.links.retain(|peer, link| match peer {
            Peer::Node(id) => named.contains(id) || !matches!(link.state, State::Down { .. }),
            Peer::Seed(_) => true,
        });
        if self.candidate >= self.links.len() {
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
        let lost = self.links.iter().filter(|(peer, link)| match told {
            Peer::Node(_) => matches!(peer, Peer::Node(_)) && link.number().is_some(),
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
                self.links.retain(|peer, _| matches!(peer, Peer::Seed(_)));
                0
            }
            // The next one, in the order of `candidates`.
            Peer::Seed(n) => (n + 1) % self.links.len(),
        };
        self.refresh.asked = None;
        self.refresh.wanted = true;
        self.refresh.not_before = now + self.round_backoff.pause();
    }

    /// Closes the connections to bootstrap brokers once a member is connected.
    fn retire_seeds(&mut self) {
        let up = |(peer, link): (&Peer, &Link)| matches!(peer, Peer::Node(_)) && link.is_up();
        if !self.links.iter().any(up) {
            return;
        }
        for (peer, link) in &mut self.links {
            if matches!(peer, Peer::Seed(_)) && link.is_up() && link.pending.is_empty() {
                link.state = State::Down { until: None };
            }
        }
    }
}

fn host_port(address: &BrokerAddress) -> String {
    let BrokerAddress { host, port } = address;
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// Makes `at` the soonest if it is.
pub(crate) fn sooner(soonest: &mut Option<Instant>, at: Instant) {
    *soonest = Some(soonest.map_or(at, |known| known.min(at)));
}

#[cfg(test)]
mod tests;
