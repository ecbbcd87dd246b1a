//! What the log says of connections that fail.

use std::time::Instant;

use log::Level;

use crate::kafka::network::error::ConnectionError;
use crate::snapshot::ALL_BROKERS;

use super::Cluster;
use super::broker::{Peer, State};

impl Cluster {
    /// The connection to `peer` is over, or could not be made.
    pub(super) fn complain(&mut self, peer: Peer, error: &ConnectionError, now: Instant) {
        let is_unreachable = self.unreachable.is_entered();
        let Some(broker) = self.brokers.get_mut(&peer) else {
            return;
        };
        let address = &broker.address;
        let level = match error.needs_a_person() {
            true => Level::Error,
            false => Level::Warn,
        };
        let subject = format_args!("broker {address}");
        broker.trouble.enter(level, &subject, error, now);
        if let State::Down { until: Some(until) } = &broker.state {
            broker.trouble.tries_again(*until, now);
        }
        if error.needs_a_person() {
            if let Some(passed_over) = broker.trouble.say(now) {
                log::error!("broker {address}: {error}; retrying{passed_over}");
            }
        } else if let Peer::Node(id) = peer
            // Of a bootstrap broker it only matters whether another one answers.
            && !is_unreachable
            && let Some(passed_over) = broker.trouble.say(now)
        {
            log::warn!("broker {id} at {address}: {error}; retrying{passed_over}");
        }
    }

    /// A bootstrap broker has hung up instead of answering.
    pub(super) fn complain_unheard(&mut self, peer: Peer, error: &ConnectionError, now: Instant) {
        let Some(broker) = self.brokers.get(&peer) else {
            return;
        };
        let subject = format_args!("bootstrap broker {}", broker.address);
        let unheard = self.unheard.enter(Level::Warn, &subject, error, now);
        if let Some(passed_over) = unheard.say(now) {
            let advice = match self.logs_in {
                false => "; perhaps it wants sasl_mechanism",
                true => "",
            };
            let address = &broker.address;
            log::warn!(
                "broker {address}: {error}, instead of an answer{advice}; retrying{passed_over}"
            );
        }
    }

    /// None of all brokers can be reached, `peer` last.
    pub(super) fn complain_unreachable(
        &mut self,
        peer: Peer,
        error: &ConnectionError,
        now: Instant,
    ) {
        // What needs a person was said already.
        let Some(broker) = self.brokers.get(&peer).filter(|_| !error.needs_a_person()) else {
            return;
        };
        let address = &broker.address;
        let reason = format_args!("none reachable: {address}: {error}");
        let unreachable = &mut self.unreachable;
        unreachable.enter(Level::Warn, &ALL_BROKERS, &reason, now);
        if let Some(passed_over) = unreachable.say(now) {
            log::warn!("no broker reachable: {address}: {error}; retrying{passed_over}");
        }
    }
}
