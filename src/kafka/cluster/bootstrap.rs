//! How long connections are kept, those to bootstrap brokers above all: with thousands of agents each of them counts.

use std::time::{Duration, Instant};

use super::Cluster;
use super::broker::{Broker, Dial, Peer, Pending, State};
use crate::config::KafkaConfig;

impl Cluster {
    /// Closes all connections and begins with the brokers of `config`. Returns the requests that will get no answer.
    pub(crate) fn begin_anew(
        &mut self,
        config: &KafkaConfig,
        dial: Box<dyn Dial>,
        now: Instant,
    ) -> Vec<Pending> {
        let brokers = std::mem::take(&mut self.brokers);
        // No number is used again: events of the old connections are of no interest.
        let connections = self.connections;
        let mut random = self.random.fork();
        let metrics = self.metrics.clone();
        // What is wrong is over when a broker answers, whichever it is.
        let unreachable = std::mem::take(&mut self.unreachable);
        *self = Cluster {
            connections,
            unreachable,
            ..Cluster::new(config, dial, metrics, &mut random, now)
        };
        brokers
            .into_values()
            .flat_map(|broker| broker.pending)
            .collect()
    }

    /// Closes connections that were idle for so long that something on the way may have forgotten them. Returns
    /// when the next one is due.
    pub(crate) fn close_idle(&mut self, now: Instant) -> Option<Instant> {
        let mut next: Option<Instant> = None;
        let has_told = self.bootstrap_is_over();
        let is_another_needed = self.brokers.values().any(Broker::is_needed);
        for (peer, broker) in &mut self.brokers {
            let patience = match peer {
                Peer::Seed(_) if has_told => SEED_IDLE,
                Peer::Node(_) if has_told && is_another_needed && !broker.is_needed() => SPARE_IDLE,
                _ => IDLE,
            };
            match broker.idle_at(patience) {
                Some(at) if at <= now => {
                    log::debug!("broker {}: idle, closed", broker.address);
                    broker.state = State::Down { until: None };
                    if matches!(peer, Peer::Seed(_)) {
                        broker.share.goes_down();
                    }
                }
                Some(at) => next = Some(next.map_or(at, |next| next.min(at))),
                None => {}
            }
        }
        next
    }

    /// A member that has the address of a bootstrap broker which is connected takes over its connection, with what
    /// is unanswered there.
    pub(super) fn takes_over_a_seed(&mut self, member: Peer) -> bool {
        let Some(address) = self.brokers.get(&member).map(|broker| &broker.address) else {
            return false;
        };
        let is_it = |(peer, broker): &(&Peer, &Broker)| {
            matches!(peer, Peer::Seed(_)) && broker.is_up() && broker.address == *address
        };
        let Some(seed) = self.brokers.iter().find(is_it).map(|(peer, _)| *peer) else {
            return false;
        };
        let Some(seed) = self.brokers.get_mut(&seed) else {
            return false;
        };
        let state = std::mem::replace(&mut seed.state, State::Down { until: None });
        let pending = seed.give_up_pending();
        let throttled_until = seed.throttled_until.take();
        let about = seed.share.about();
        seed.share.goes_down();
        if let Some(member) = self.brokers.get_mut(&member) {
            member.take_over(state, pending);
            member.share.comes_up(&about);
            member.throttled_until = throttled_until;
        }
        self.retire_seeds();
        true
    }

    /// Members that are known now, and were connected to as bootstrap brokers, are connected as members.
    pub(crate) fn know_again(&mut self) {
        let is_member = |peer: &&Peer| matches!(peer, Peer::Node(_));
        let members: Vec<Peer> = self.brokers.keys().filter(is_member).copied().collect();
        for member in members {
            self.takes_over_a_seed(member);
        }
    }

    /// There is a question that no broker can be asked now: where none is connected, one will be. Returns when to try
    /// again.
    pub(crate) fn wants_connection(&mut self, now: Instant) -> Option<Instant> {
        if self.brokers.values().any(Broker::is_up) {
            return self.throttled_until(now);
        }
        self.schedule.want_probe(now);
        Some(self.schedule.due()).filter(|due| *due > now)
    }

    /// Closes the connections to bootstrap brokers once a member is connected.
    pub(super) fn retire_seeds(&mut self) {
        let up = |(peer, broker): (&Peer, &Broker)| matches!(peer, Peer::Node(_)) && broker.is_up();
        if !self.brokers.iter().any(up) {
            return;
        }
        for (peer, broker) in &mut self.brokers {
            if matches!(peer, Peer::Seed(_)) && broker.is_up() && broker.pending.is_empty() {
                broker.state = State::Down { until: None };
                broker.share.goes_down();
            }
        }
    }

    /// Whether the bootstrap brokers have said what they are asked for: members are known, all of those that are
    /// wanted can be reached, and nothing waits for better metadata.
    fn bootstrap_is_over(&self) -> bool {
        let mut members = self
            .brokers
            .iter()
            .filter(|(peer, _)| matches!(peer, Peer::Node(_)))
            .peekable();
        let is_away = |broker: &Broker| matches!(broker.state, State::Down { until: Some(_) });
        self.schedule.is_at_rest()
            && members.peek().is_some()
            && !members.any(|(_, broker)| is_away(broker))
    }
}

/// A connection that was not used for so long is closed. Azure's load balancer forgets one after 240 s without a
/// word, and a broker closes it after 10 minutes.
pub(super) const IDLE: Duration = Duration::from_secs(200);
/// The same for one to a bootstrap broker that is not needed any more. Whatever is asked next is asked at once.
pub(super) const SEED_IDLE: Duration = Duration::from_secs(1);
/// The same for one to a member that was only asked what others can answer, where another member gets the lines: the one
/// that was asked first is rarely the leader of the one partition of a host. Shorter than metadata are asked for.
pub(super) const SPARE_IDLE: Duration = Duration::from_secs(10);
