//! One broker as a producer sees it: its address, the connection to it, and what is unanswered there.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::backoff::Backoff;
use crate::config::BrokerAddress;
use crate::kafka::network::connection::Handle;
use crate::kafka::protocol::api::{Api, Versions};
use crate::kafka::protocol::request::Request;

/// The other end of a broker.
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
    /// A failure was logged, and no success since.
    pub(super) complained: bool,
    /// The same for a failure that only a person can mend.
    pub(super) called_for_help: bool,
}

impl Broker {
    pub(super) fn new(address: BrokerAddress) -> Self {
        Broker {
            address,
            state: State::Down { until: None },
            pending: VecDeque::new(),
            backoff: Backoff::default(),
            throttled_until: None,
            complained: false,
            called_for_help: false,
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
    pub(super) fn listens_from(&self, now: Instant) -> Option<Instant> {
        self.throttled_until.filter(|until| *until > now)
    }
}

/// Requests that may be unanswered on a connection: as many as a broker keeps apart. This also bounds what
/// lies in the two channels of a connection.
const MAX_UNANSWERED: usize = 5;
