//! How connections to brokers are made.

use std::fmt::Debug;
use std::io;
use std::sync::Arc;

use crossbeam_channel::Sender;

use crate::config::{BrokerAddress, KafkaConfig};
use crate::kafka::network::connection::{Connection, Event, Handle};
use crate::kafka::network::token::TokenSource;

use super::broker::Peer;

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
    pub(crate) fn new(k: usize, config: Arc<KafkaConfig>, events: Sender<Event>) -> Self {
        Dialer {
            k,
            config,
            tokens: Arc::default(),
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
