//! One broker as a producer sees it: its address, the connection to it, and what is unanswered there.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use crate::backoff::Backoff;
use crate::condition::{Board, Condition};
use crate::config::{BrokerAddress, KafkaConfig};
use crate::kafka::network::connection::{Connection, Event, Handle};
use crate::kafka::network::token::TokenSource;
use crate::kafka::protocol::api::{Api, TransactionVersion, Versions};
use crate::kafka::protocol::request::Request;
use crate::metrics::{BrokerCounters, Metrics};

/// The other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Peer {
    /// A member of the cluster, by node id.
    Node(i32),
    /// A bootstrap broker, by its place in the configuration. Used until the members are known.
    Seed(usize),
}

/// Names one record batch of a producer, for as long as the process lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct BatchId(u64);

/// The one counter of a producer that names its batches.
#[derive(Debug, Default)]
pub(crate) struct BatchIds(u64);

impl BatchIds {
    pub(crate) fn next(&mut self) -> BatchId {
        self.0 += 1;
        BatchId(self.0)
    }
}

/// A record batch in a request, and which attempt to send it that is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BatchRef {
    pub(crate) topic: usize,
    pub(crate) partition: usize,
    pub(crate) id: BatchId,
    pub(crate) attempt: u32,
    pub(crate) bytes: u32,
}

/// A request without an answer.
#[derive(Debug)]
pub(crate) enum Pending {
    Metadata,
    InitProducerId,
    /// A question about a transaction.
    Transaction,
    /// The batches in the order in which the request carries them.
    Produce(Vec<BatchRef>, Sent),
}

/// How much a request of Produce carries, and when it was sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent {
    pub(crate) bytes: u64,
    pub(crate) at: Instant,
}

impl Pending {
    pub(crate) fn is_metadata(&self) -> bool {
        matches!(self, Pending::Metadata)
    }

    pub(crate) fn is_init_producer_id(&self) -> bool {
        matches!(self, Pending::InitProducerId)
    }

    pub(crate) fn is_transaction(&self) -> bool {
        matches!(self, Pending::Transaction)
    }

    pub(crate) fn is_produce(&self) -> bool {
        matches!(self, Pending::Produce(..))
    }
}

#[derive(Debug)]
pub(super) enum State {
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
        /// Something was answered on this connection.
        has_answered: bool,
        /// It is used for what this broker alone does, and not only for questions that any could answer.
        is_needed: bool,
        used: Instant,
    },
}

/// A broker and the connection to it.
#[derive(Debug)]
pub(crate) struct Broker {
    pub(super) address: BrokerAddress,
    pub(super) state: State,
    pub(super) pending: VecDeque<Pending>,
    pub(super) backoff: Backoff,
    pub(super) throttled_until: Option<Instant>,
    /// It cannot be reached or does not answer.
    pub(super) trouble: Condition,
    pub(super) share: Share,
}

/// What one producer counts of a broker; what goes up and down is taken back in the end.
#[derive(Debug)]
pub(super) struct Share {
    counters: Arc<BrokerCounters>,
    requests: u64,
    bytes: u64,
    is_member: bool,
    is_up: bool,
    is_opening: bool,
}

impl Share {
    fn new(metrics: &Metrics, peer: Peer, address: &BrokerAddress) -> Self {
        let counters = metrics.broker(&address.to_string());
        let is_member = matches!(peer, Peer::Node(_));
        counters.members.add(u64::from(is_member));
        Share {
            counters,
            requests: 0,
            bytes: 0,
            is_member,
            is_up: false,
            is_opening: false,
        }
    }

    fn show(&mut self, pending: &VecDeque<Pending>) {
        let (mut requests, mut bytes) = (0, 0);
        for pending in pending {
            if let Pending::Produce(_, sent) = pending {
                requests += 1;
                bytes += sent.bytes;
            }
        }
        for (gauge, now, before) in [
            (
                &self.counters.in_flight_requests,
                requests,
                &mut self.requests,
            ),
            (&self.counters.in_flight_bytes, bytes, &mut self.bytes),
        ] {
            gauge.add(now);
            gauge.take(std::mem::replace(before, now));
        }
    }

    /// A connection is ready; whether what was found there is news.
    pub(super) fn comes_up(&mut self, about: &str) -> bool {
        self.goes_down();
        self.is_up = true;
        self.counters.is_up(about)
    }

    /// What was found there last.
    pub(super) fn about(&self) -> String {
        self.counters.about()
    }

    /// It is none any more, and was not closed for want of use.
    pub(super) fn goes_down(&mut self) {
        if std::mem::take(&mut self.is_up) {
            self.counters.is_down();
        }
        if std::mem::take(&mut self.is_opening) {
            self.counters.has_opened();
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.show(&VecDeque::new());
        self.goes_down();
        self.counters.members.take(u64::from(self.is_member));
    }
}

impl Broker {
    pub(super) fn new(
        peer: Peer,
        address: BrokerAddress,
        metrics: &Metrics,
        random: &mut fastrand::Rng,
    ) -> Self {
        Broker {
            share: Share::new(metrics, peer, &address),
            address,
            state: State::Down { until: None },
            pending: VecDeque::new(),
            backoff: Backoff::new(random),
            throttled_until: None,
            trouble: Condition::on(&metrics.board),
        }
    }

    pub(super) fn number(&self) -> Option<u64> {
        match &self.state {
            State::Down { .. } => None,
            State::Opening { number, .. } | State::Up { number, .. } => Some(*number),
        }
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(self.state, State::Up { .. })
    }

    /// A connection is being made.
    pub(super) fn opens(&mut self, number: u64, handle: Handle) {
        self.state = State::Opening { number, handle };
        if !std::mem::replace(&mut self.share.is_opening, true) {
            self.share.counters.opens();
        }
    }

    /// Whether a request can be sent now.
    pub(super) fn has_room(&self) -> bool {
        self.is_up() && self.pending.len() < MAX_UNANSWERED
    }

    /// The version of `api` to use here; `None` if the broker does not know the API.
    pub(crate) fn version(&self, api: Api) -> Option<i16> {
        match &self.state {
            State::Up { versions, .. } => versions.of(api),
            _ => None,
        }
    }

    /// As [`Broker::version`], of a request that belongs to a transaction.
    pub(crate) fn version_in(&self, api: Api, transaction: TransactionVersion) -> Option<i16> {
        match &self.state {
            State::Up { versions, .. } => versions.in_transaction(api, transaction),
            _ => None,
        }
    }

    /// Sends a request that there is room for.
    pub(crate) fn send(&mut self, request: Request, pending: Pending, now: Instant) {
        if let State::Up {
            handle,
            is_needed,
            used,
            ..
        } = &mut self.state
        {
            handle.send(request);
            *used = now;
            *is_needed |= pending.is_produce() || pending.is_transaction();
            if pending.is_produce() {
                self.share.counters.requests.add(1);
            }
            self.pending.push_back(pending);
            self.share.show(&self.pending);
        }
    }

    /// The oldest request of that kind gets its answer.
    pub(crate) fn answered(&mut self, kind: impl Fn(&Pending) -> bool) -> Option<Pending> {
        if let State::Up { has_answered, .. } = &mut self.state {
            *has_answered = true;
        }
        // With acks=0 a Produce request is done when it is written, before older questions are
        // answered, so the oldest of all may be of another kind.
        let position = self.pending.iter().position(kind)?;
        let pending = self.pending.remove(position);
        self.share.show(&self.pending);
        pending
    }

    /// A request of Produce was answered, or written where no answer comes.
    pub(crate) fn took(&self, sent: Sent, now: Instant) {
        let time = now.saturating_duration_since(sent.at);
        self.share.counters.took(time);
    }

    /// Takes what will get no answer.
    pub(super) fn give_up_pending(&mut self) -> VecDeque<Pending> {
        let pending = std::mem::take(&mut self.pending);
        self.share.show(&self.pending);
        pending
    }

    /// Takes over what was asked on the connection of another one.
    pub(super) fn take_over(&mut self, state: State, pending: VecDeque<Pending>) {
        (self.state, self.pending) = (state, pending);
        self.share.show(&self.pending);
    }

    /// The address is another one.
    pub(super) fn moves_to(&mut self, peer: Peer, address: BrokerAddress, metrics: &Metrics) {
        self.share = Share::new(metrics, peer, &address);
        self.share.show(&self.pending);
        self.address = address;
    }

    /// The broker will not listen for so long, whatever it is asked (KIP-219).
    pub(crate) fn throttle(&mut self, throttle_ms: i32, now: Instant) {
        if let Ok(ms @ 1..) = u64::try_from(throttle_ms) {
            let until = now + Duration::from_millis(ms);
            self.throttled_until = self.throttled_until.max(Some(until));
        }
    }

    /// When it will listen again, if it does not now.
    pub(super) fn listens_from(&self, now: Instant) -> Option<Instant> {
        self.throttled_until.filter(|until| *until > now)
    }

    /// Whether it is connected, and has got what only it could be sent.
    pub(super) fn is_needed(&self) -> bool {
        matches!(self.state, State::Up { is_needed, .. } if is_needed)
    }

    /// When its connection will have been idle for `patience`, if nothing is unanswered there.
    pub(super) fn idle_at(&self, patience: Duration) -> Option<Instant> {
        match &self.state {
            State::Up { used, .. } if self.pending.is_empty() => Some(*used + patience),
            _ => None,
        }
    }

    /// It has answered: it works, and not only its port. A broker that accepts connections and then hangs up
    /// would otherwise be lost and found again with each attempt.
    pub(super) fn works(&mut self) {
        self.backoff.reset();
        if let Some(left) = self.trouble.leave() {
            log::log!(left.level, "broker {} has recovered{left}", self.address);
        }
    }
}

/// Requests that may be unanswered on a connection: as many as a broker keeps apart. This also bounds what
/// lies in the two channels of a connection.
const MAX_UNANSWERED: usize = 5;

/// Opens connections. The real one starts a thread for each; a test has one that records what is sent.
pub(crate) trait Dial: Debug + Send {
    /// Begins to connect to `address`. Events of this connection carry its `number`.
    fn open(&mut self, number: u64, peer: Peer, address: &BrokerAddress) -> io::Result<Handle>;
}

/// Starts a `broker-<k>-<id>` thread for each connection.
#[derive(Debug)]
pub(crate) struct Dialer {
    k: usize,
    config: Arc<KafkaConfig>,
    /// What the connections log in with, if it is a token from an endpoint.
    tokens: Arc<TokenSource>,
    events: Sender<Event>,
}

impl Dialer {
    /// Connections of producer `k`, which tell `events` how they fare.
    pub(crate) fn new(
        k: usize,
        config: Arc<KafkaConfig>,
        board: &Board,
        events: Sender<Event>,
    ) -> Self {
        Dialer {
            k,
            config,
            tokens: Arc::new(TokenSource::new(board)),
            events,
        }
    }
}

impl Dial for Dialer {
    fn open(&mut self, number: u64, peer: Peer, address: &BrokerAddress) -> io::Result<Handle> {
        let name = match peer {
            Peer::Node(id) => format!("broker-{}-{id}", self.k),
            Peer::Seed(n) => format!("broker-{}-s{n}", self.k),
        };
        Connection::spawn(
            name,
            number,
            address.clone(),
            self.config.clone(),
            self.tokens.clone(),
            self.events.clone(),
        )
    }
}
