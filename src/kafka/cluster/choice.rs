//! Which broker is asked, and which one has not answered yet.

use std::time::Instant;

use super::Cluster;
use super::broker::{Broker, Peer, Pending};

impl Cluster {
    /// A broker that can be asked a question now which is not pending there already: one whose answer may help,
    /// then the least busy, then one that is connected anyway, then each in its turn.
    pub(crate) fn any(
        &mut self,
        now: Instant,
        asked: impl Fn(&Pending) -> bool,
    ) -> Option<&mut Broker> {
        let peer = self.any_peer(now, asked)?;
        self.brokers.get_mut(&peer)
    }

    /// As [`Cluster::any`]: which it is.
    pub(crate) fn any_peer(
        &mut self,
        now: Instant,
        asked: impl Fn(&Pending) -> bool,
    ) -> Option<Peer> {
        self.turn = self.turn.wrapping_add(1);
        let count = self.brokers.len();
        let (schedule, turn) = (&self.schedule, self.turn);
        let free = self.brokers.iter().enumerate().filter(|(_, (_, broker))| {
            let is_free = broker.has_room() && broker.listens_from(now).is_none();
            is_free && !broker.pending.iter().any(&asked)
        });
        let best = free.min_by_key(|(n, (peer, broker))| {
            let (in_vain, busy) = (schedule.was_in_vain(**peer), broker.pending.len());
            (in_vain, busy, !broker.is_needed(), (n + turn) % count)
        });
        best.map(|(_, (peer, _))| *peer)
    }

    /// When the first of the connected brokers that do not listen for now will do so again.
    pub(crate) fn throttled_until(&self, now: Instant) -> Option<Instant> {
        let connected = self.brokers.values().filter(|broker| broker.is_up());
        connected
            .filter_map(|broker| broker.listens_from(now))
            .min()
    }

    /// Whether the node has not answered a Produce request yet.
    pub(crate) fn awaits_produced(&self, node: i32) -> bool {
        let broker = self.brokers.get(&Peer::Node(node));
        broker.is_some_and(|broker| broker.pending.iter().any(Pending::is_produce))
    }
}
