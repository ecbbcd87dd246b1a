//! Which batches go into a request now.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::Level;

use crate::kafka::cluster::Room;
use crate::kafka::cluster::Slot;
use crate::kafka::cluster::broker::{BatchRef, Pending, Sent};
use crate::kafka::protocol::request::ProduceBatch;

use super::machine::{Machine, min_deadline};
use super::partition::{LingerPolicy, Partition, Readiness};
use super::producer_id::ProducerIds;
use super::transactional::Transactional;

/// A Produce request in the making: there is room for it, so what is put in here is sent.
#[derive(Debug)]
struct ProduceBuilder {
    slot: Slot,
    /// It carries a batch that must be alone.
    is_full: bool,
    batches: Vec<(BatchRef, ProduceBatch)>,
    bytes: usize,
}

/// Which partitions a pass over them takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Linger {
    /// Those that are due.
    Observed,
    /// Those that are not, if a request goes to their leader and carries nothing of them yet.
    Over,
}

/// The requests of one round, by the node that they go to.
type Round = BTreeMap<i32, ProduceBuilder>;

impl Machine {
    /// Sends what can be sent now. Returns when something will be due by itself.
    pub(super) fn send_ready(&mut self, now: Instant) -> Option<Instant> {
        if self.is_held {
            return None;
        }
        let transactional = self.transactional.as_deref();
        self.cluster.transaction_version =
            transactional.map(|transactional| transactional.transaction.version());
        loop {
            let mut round = Round::new();
            self.turn = self.turn.wrapping_add(1);
            let next = self.add_all(Linger::Observed, &mut round, now);
            if round.is_empty() {
                return next;
            }
            // What lingers goes along where a request goes anyway.
            self.add_all(Linger::Over, &mut round, now);
            for (node, builder) in round {
                self.send(node, builder, now);
            }
        }
    }

    /// Adds what is ready to the requests of a round. Returns when to look again.
    fn add_all(&mut self, linger: Linger, round: &mut Round, now: Instant) -> Option<Instant> {
        let mut next = None;
        for n in 0..self.ready.len() {
            let place = self.turn.wrapping_add(n) % self.ready.len();
            let (topic, partition) = self.ready[place];
            if !self.lets(topic, partition) {
                continue;
            }
            let at = self.add_to_round((topic, partition), linger, round, now);
            next = min_deadline(next, at);
        }
        next
    }

    /// Adds the next record batch of a partition to the request to its leader, if it is ready and there is room.
    /// Returns when to look again.
    fn add_to_round(
        &mut self,
        (number, index): (usize, usize),
        linger: Linger,
        round: &mut Round,
        now: Instant,
    ) -> Option<Instant> {
        let policy = self.policy_of(number, index);
        let topic = self.topics[number].as_mut()?;
        let (held_until, leader) = (topic.held_until(now), topic.leader(index));
        let name = topic.name.clone();
        let partition = topic.partitions.get_mut(&index)?;
        sign(partition, self.transactional.as_deref(), &mut self.ids, now);
        // A request takes no second batch of a partition.
        let may_go_along = partition.last_turn != self.turn
            && leader.is_some_and(|leader| round.contains_key(&leader));
        if let Err(next) = linger.admits(&partition.readiness(now, policy), may_go_along) {
            return next;
        }
        if held_until.is_some() {
            return held_until;
        }
        let Some(leader) = leader else {
            self.has_no_leader(number, index, now);
            return None;
        };
        if !admits(self.transactional.as_deref_mut(), &name, index) {
            return None;
        }
        let (bytes, is_alone) = partition.next_size(self.config.batch_bytes);
        match round.get(&leader) {
            Some(builder) if builder.refuses(bytes, is_alone) => return None,
            Some(_) => {}
            None => match self.cluster.send_slot(leader, is_alone, now) {
                Room::Slot(slot) => {
                    round.insert(leader, ProduceBuilder::new(slot, is_alone));
                }
                Room::At(at) => return Some(at),
                Room::None => return None,
            },
        }
        partition.last_turn = self.turn;
        let (encoder, ids) = (&mut self.encoder, &mut self.batch_ids);
        let (id, attempt, bytes) = partition.next(leader, encoder, ids, now);
        topic.counters.sends(bytes.len(), attempt);
        let batch = BatchRef {
            topic: number,
            partition: index,
            id,
            attempt,
            bytes: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
        };
        let produce = ProduceBatch {
            topic: name,
            partition: i32::try_from(index).unwrap_or(i32::MAX),
            bytes,
        };
        round.get_mut(&leader)?.add(batch, produce);
        None
    }

    /// When a batch of a partition is full enough or old enough to go now.
    ///
    /// Lines that wait for nothing would each become a request of its own, as fast as files can be read. As in
    /// Nagle's algorithm, those that come before the leader has answered the last request go together.
    fn policy_of(&self, number: usize, index: usize) -> Option<LingerPolicy> {
        let mut policy = self.policy()?;
        let topic = self.topics[number].as_ref()?;
        let leader = topic.leader(index);
        if leader.is_some_and(|leader| self.cluster.awaits_produced(leader)) {
            policy.linger = policy.linger.max(ANSWER_GATHERS_FOR);
        }
        Some(policy)
    }

    fn has_no_leader(&mut self, number: usize, index: usize, now: Instant) {
        let Some(topic) = self.topics[number].as_mut() else {
            return;
        };
        let name = &topic.name;
        let Some(partition) = topic.partitions.get_mut(&index) else {
            return;
        };
        if !partition.leaderless.is_entered() {
            self.cluster.schedule.want_early_probe(now);
        }
        let leaderless = partition.leaderless.shown_on(&self.metrics.board);
        let subject = format_args!("partition {index} of topic {name}");
        leaderless.enter(Level::Warn, &subject, &"no leader", now);
        // While nobody is connected that is what is said.
        if self.cluster.is_connected()
            && let Some(passed_over) = leaderless.say_after(LEADERLESS_PATIENCE, now)
        {
            let seconds = LEADERLESS_PATIENCE.as_secs();
            log::warn!(
                "topic '{name}' partition {index} has had no leader for {seconds} s; retrying{passed_over}"
            );
        }
        self.cluster.schedule.want_probe(now);
    }

    fn send(&mut self, node: i32, mut builder: ProduceBuilder, now: Instant) {
        builder.batches.sort_by_key(|(batch, _)| batch.topic);
        let (refs, produce): (Vec<_>, Vec<_>) = builder.batches.into_iter().unzip();
        let request = self.style.request(builder.slot.version, &produce);
        let (count, bytes) = (refs.len(), builder.bytes);
        log::debug!("to broker {node}: {count} batches, {bytes} bytes");
        if let Some(transactional) = &mut self.transactional {
            transactional.sends(bytes, now);
        }
        let sent = Sent {
            bytes: bytes as u64,
            at: now,
        };
        let pending = Pending::Produce(refs, sent);
        self.cluster
            .send_produce(&builder.slot, request, pending, now);
    }
}

/// Signs what waits in a partition, if something signs it now.
fn sign(
    partition: &mut Partition,
    transactional: Option<&Transactional>,
    ids: &mut ProducerIds,
    now: Instant,
) {
    match transactional {
        Some(transactional) => transactional.sign(partition),
        None => {
            if let Some(useless) = partition.adopt_id(ids.state()) {
                ids.discard(useless, now);
            }
        }
    }
}

/// Whether a batch may go to a partition, as far as there is a transaction.
fn admits(transactional: Option<&mut Transactional>, topic: &Arc<str>, partition: usize) -> bool {
    transactional.is_none_or(|transactional| {
        let partition = i32::try_from(partition).unwrap_or(i32::MAX);
        transactional
            .transaction
            .admits(&(topic.clone(), partition))
    })
}

impl Linger {
    /// Whether a partition that is so is taken by this pass; if not, when to look again.
    fn admits(self, readiness: &Readiness, may_go_along: bool) -> Result<(), Option<Instant>> {
        match (readiness, self) {
            (Readiness::Ready, Linger::Observed) => Ok(()),
            (Readiness::Lingers(_), Linger::Over) if may_go_along => Ok(()),
            (Readiness::Lingers(at) | Readiness::At(at), _) => Err(Some(*at)),
            (Readiness::Ready | Readiness::Waits, _) => Err(None),
        }
    }
}

impl ProduceBuilder {
    fn new(slot: Slot, is_full: bool) -> Self {
        ProduceBuilder {
            slot,
            is_full,
            batches: Vec::new(),
            bytes: 0,
        }
    }

    /// Whether a batch of so many bytes must wait for the next request.
    fn refuses(&self, bytes: usize, is_alone: bool) -> bool {
        self.is_full || is_alone || self.bytes + bytes > REQUEST_BYTES
    }

    fn add(&mut self, batch: BatchRef, produce: ProduceBatch) {
        self.bytes += produce.bytes.len();
        self.batches.push((batch, produce));
    }
}

/// While a request is not answered, batches that are not full wait for each other so long, if `linger` is shorter. To
/// keep what the user set to the millisecond.
const ANSWER_GATHERS_FOR: Duration = Duration::from_millis(1);
/// A Produce request is not made larger than this by taking more partitions in.
const REQUEST_BYTES: usize = 1 << 20;
/// A partition may be without a leader for so long before that is worth a line in the log.
const LEADERLESS_PATIENCE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::producer::model::places_of;
    use crate::kafka::producer::tests::{Play, all_produced, metadata};
    use crate::kafka::testing::destination_of;

    #[test]
    fn without_linger_lines_wait_for_the_answer_to_those_before_and_not_longer_than_a_millisecond()
    {
        let mut play = Play::new();
        let leaders = [(1, 0), (1, 0), (2, 0)];
        let files: Vec<_> = (0..20).map(|n| destination_of(&format!("/{n}"))).collect();
        assert!(play.machine.config.linger.is_zero());
        // Each partition has begun its sequence when this is over.
        let mut leader_of = |to| {
            play.line(to, "line\n");
            let (connection, node, request) = play.until_produce(|_| metadata(&leaders));
            play.answer(connection, all_produced(&request));
            node
        };
        let of_one: Vec<_> = files.iter().filter(|to| leader_of(to) == 1).collect();
        let of_other = files
            .iter()
            .find(|to| !of_one.contains(to))
            .expect("one goes there");

        // The first line goes at once, and so does one to another broker.
        play.line(of_one[0], "line\n");
        let first = play.poll();
        assert_eq!(first.len(), 1);
        play.line(of_other, "line\n");
        let sent = play.poll();
        assert_eq!((sent.len(), sent[0].1), (1, 2));
        play.answer(sent[0].0, all_produced(&sent[0].2));
        // The next ones wait for the answer, and go together.
        of_one.iter().for_each(|to| play.line(to, "line\n"));
        assert!(play.poll().is_empty());
        play.answer(first[0].0, all_produced(&first[0].2));
        let second = play.poll();
        assert_eq!((second.len(), places_of(&second[0].2).len()), (1, 2));
        // An answer that does not come is not waited for.
        of_one.iter().for_each(|to| play.line(to, "line\n"));
        assert!(play.poll().is_empty());
        let due = play.machine.poll(play.now).expect("it will be due");
        assert_eq!(due - play.now, ANSWER_GATHERS_FOR);
        play.now = due;
        assert_eq!(play.poll().len(), 1);
        // Neither does a full batch wait.
        let long = format!("{}\n", "x".repeat(play.machine.config.batch_bytes));
        play.line(of_one[0], &long);
        assert_eq!(play.poll().len(), 1);
    }

    #[test]
    fn what_lingers_goes_along_where_a_request_goes_anyway_and_no_partition_is_in_it_twice() {
        let mut play = Play::new();
        let leaders = [(1, 0), (1, 0), (1, 0)];
        let files: Vec<_> = (0..20).map(|n| destination_of(&format!("/{n}"))).collect();
        // Each partition has begun its sequence.
        for _ in 0..2 {
            files.iter().for_each(|to| play.line(to, "line\n"));
            let (connection, _, request) = play.until_produce(|_| metadata(&leaders));
            play.answer(connection, all_produced(&request));
        }
        let config = Arc::get_mut(&mut play.machine.config).expect("is the machine's alone");
        config.linger = Duration::from_secs(1);
        let of_batch = config.batch_linger();
        play.line(&files[0], "line\n");
        play.now += of_batch / 2;
        assert!(play.poll().is_empty());
        files.iter().for_each(|to| play.line(to, "line\n"));
        play.now += of_batch / 2;
        // One partition is due, the others would be later.
        let sent = play.poll();
        let [(_, _, request)] = &sent[..] else {
            panic!("{} requests", sent.len());
        };
        let mut places = places_of(request);
        places.sort();
        places.dedup();
        assert_eq!(places.len(), leaders.len());
        assert_eq!(places_of(request).len(), leaders.len());
        assert!(play.poll().is_empty());
    }
}
