//! What the log says of connections that fail.

use std::time::Instant;

use crate::kafka::network::error::ConnectionError;

use super::Cluster;
use super::broker::Peer;

impl Cluster {
    /// The connection to `peer` is over, or could not be made.
    pub(super) fn complain(&mut self, peer: Peer, error: &ConnectionError, now: Instant) {
        let is_unreachable = self.unreachable.is_entered();
        let Some(broker) = self.brokers.get_mut(&peer) else {
            return;
        };
        let address = &broker.address;
        if error.needs_a_person() {
            if let Some(passed_over) = broker.needs_a_person.enter(error, now).say(now) {
                log::error!("broker {address}: {error}; retrying{passed_over}");
            }
        } else if let Peer::Node(id) = peer
            // Of a bootstrap broker it only matters whether another one answers.
            && !is_unreachable
            && let Some(passed_over) = broker.trouble.enter(error, now).say(now)
        {
            log::warn!("broker {id} at {address}: {error}; retrying{passed_over}");
        }
    }

    /// A bootstrap broker has hung up instead of answering.
    pub(super) fn complain_unheard(&mut self, peer: Peer, error: &ConnectionError, now: Instant) {
        if let Some(passed_over) = self.unheard.enter(error, now).say(now)
            && let Some(broker) = self.brokers.get(&peer)
        {
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
        if !error.needs_a_person()
            && let Some(passed_over) = self.unreachable.enter(error, now).say(now)
            && let Some(broker) = self.brokers.get(&peer)
        {
            let address = &broker.address;
            log::warn!("no broker reachable: {address}: {error}; retrying{passed_over}");
        }
    }
}
