//! What Kafka does not take holds up nothing else: it is set apart from the transactions of its producer.
//!
//! A transaction is committed when all that belongs to it is acknowledged. A topic that is parked, or a partition without
//! a leader, would hold up the lines of all others for as long as that lasts.
//! ```text
//!    sealed, and something is not acknowledged:
//!       its topic is parked, or nothing moves for as long as PATIENCE, and none of it is in flight
//!         nothing of it may be in the log ------> set apart; the others are committed
//!         something of it may be there ---------> abort; the others go again without it
//!    between two transactions, so often:
//!       a trial: what is set apart goes alone --> acknowledged: it is among the others again
//!                                             \-> refused, or no answer in time: abort; it stays set apart
//! ```
//! What holds at any time:
//! - A position is one number, so what is committed of a source follows what was committed before without a gap. What is
//!   set apart of a source is all that is not acknowledged of it: it lies at one spot, nothing of it is in the
//!   transaction behind it, and what comes of the source later is held until it is among the others again.
//! - To be among the others again is safe at any time: it is one more thing to be acknowledged before the commit.

use std::time::{Duration, Instant};

use crate::batch::SourceId;

use super::machine::{Machine, min_deadline};
use super::quarantine::{Apart, Spot, Trial, Unacknowledged, Waiting};
use super::topic::Topic;
use super::transactional::Stage;

impl Machine {
    /// Nothing of the transaction is unacknowledged.
    pub(super) fn is_all_acknowledged(&self) -> bool {
        let Some(transactional) = &self.transactional else {
            return false;
        };
        if transactional.stage == Stage::Positions {
            let number = self.known_number(&transactional.settings.positions.0);
            let topic = number.and_then(|number| self.topics[number].as_ref());
            return topic.is_none_or(|topic| topic.is_empty());
        }
        if transactional.quarantine.is_empty() {
            let mut topics = self.topics.iter().flatten();
            return self.ready.is_empty() && topics.all(|topic| topic.is_empty());
        }
        let apart = &transactional.quarantine.apart;
        let mut topics = (0..).zip(&self.topics);
        topics.all(|(number, topic)| {
            topic.as_ref().is_none_or(|topic| {
                let mut partitions = topic.partitions.iter();
                (topic.unplaced().next().is_none() || apart.contains_key(&(number, None)))
                    && partitions.all(|(index, partition)| {
                        partition.is_empty() || apart.contains_key(&(number, Some(*index)))
                    })
            })
        })
    }

    /// Whether a batch of that partition may go out, as far as others have to wait for what is set apart, or for the
    /// positions.
    pub(super) fn lets(&self, topic: usize, partition: usize) -> bool {
        let Some(transactional) = &self.transactional else {
            return true;
        };
        match transactional.stage {
            Stage::Filling | Stage::Emptying => transactional.quarantine.lets(topic, partition),
            Stage::Asked | Stage::Positions | Stage::Ending => {
                self.known_number(&transactional.settings.positions.0) == Some(topic)
            }
        }
    }

    /// Ends trials, and gives back to the others what is not set apart any more. Returns when to look again.
    pub(super) fn tend_quarantine(&mut self, now: Instant) -> Option<Instant> {
        if self.transactional.as_deref()?.quarantine.is_empty() {
            return None;
        }
        self.release(now);
        self.judge_trial(now);
        self.begin_trial(now);
        let quarantine = &self.transactional.as_deref()?.quarantine;
        let trials = quarantine.apart.iter().filter_map(|(spot, apart)| {
            let topic = self.topics.get(spot.0).and_then(Option::as_ref);
            let held_until = topic.and_then(|topic| topic.held_until(now));
            held_until.max(Some(apart.try_at)).filter(|at| *at > now)
        });
        let until = quarantine.trial.as_ref().map(|trial| trial.until);
        min_deadline(trials.min(), until.filter(|at| *at > now))
    }

    /// What has nothing to send any more, or has passed its trial, is as all others, and what came later goes on.
    fn release(&mut self, now: Instant) {
        let Some(transactional) = self.transactional.as_deref_mut() else {
            return;
        };
        let quarantine = &mut transactional.quarantine;
        let topics = &self.topics;
        let is_there = |spot: &Spot| {
            let topic = topics.get(spot.0).and_then(Option::as_ref);
            topic.is_some_and(|topic| match spot.1 {
                None => topic.unplaced().next().is_some(),
                Some(index) => {
                    let partition = topic.partitions.get(&index);
                    partition.is_some_and(|partition| !partition.is_empty())
                }
            })
        };
        let mut released = Vec::new();
        quarantine.apart.retain(|spot, _| {
            let stays = is_there(spot);
            if !stays {
                released.push(*spot);
            }
            stays
        });
        let passed = quarantine
            .trial
            .take_if(|trial| trial.is_passed || !is_there(&trial.spot));
        released.extend(passed.map(|trial| trial.spot));
        if released.is_empty() {
            return;
        }
        for (number, index) in released {
            if let Some(topic) = topics.get(number).and_then(Option::as_ref) {
                log::info!("{} is taken again", place(&topic.name, index));
            }
        }
        let trial = quarantine.trial.iter().map(|trial| &trial.spot);
        let spots = quarantine.apart.keys().chain(trial);
        quarantine.sources = spots.flat_map(|spot| sources_at(topics, *spot)).collect();
        for batch in quarantine.take_held() {
            self.push(batch, now);
        }
    }

    /// A trial that takes too long, or whose topic is parked again, has failed. What was sent is aborted first.
    fn judge_trial(&mut self, now: Instant) {
        let Some(transactional) = self.transactional.as_deref_mut() else {
            return;
        };
        let Some(trial) = &transactional.quarantine.trial else {
            return;
        };
        let is_parked = is_parked(&self.topics, trial.spot, now);
        if !is_parked && now < trial.until {
            return;
        }
        if transactional.transaction.has_begun() {
            transactional.transaction.abort();
        } else if !transactional.transaction.is_ending() {
            transactional.quarantine.has_failed(is_parked, now);
        }
    }

    /// Between two transactions something that is set apart may be tried, if there is a broker to try it at.
    fn begin_trial(&mut self, now: Instant) {
        let Some(transactional) = self.transactional.as_deref_mut() else {
            return;
        };
        let is_between = transactional.stage == Stage::Filling
            && transactional.began.is_none()
            && !transactional.transaction.is_under_way();
        let quarantine = &mut transactional.quarantine;
        if !is_between || quarantine.trial.is_some() {
            return;
        }
        let topics = &self.topics;
        let is_due = |(spot, apart): &(&Spot, &Apart)| {
            let topic = topics.get(spot.0).and_then(Option::as_ref);
            apart.try_at <= now
                && topic.is_some_and(|topic| {
                    let leader = spot.1.and_then(|index| topic.leader(index));
                    leader.is_some() && topic.held_until(now).is_none()
                })
        };
        if let Some((spot, apart)) = quarantine.apart.iter().find(is_due) {
            let (spot, pause) = (*spot, apart.pause);
            quarantine.apart.remove(&spot);
            quarantine.trial = Some(Trial {
                spot,
                pause,
                until: now + TRIAL,
                is_passed: false,
            });
        }
    }

    /// A transaction was aborted: what was tried in it is not taken.
    pub(super) fn trial_is_aborted(&mut self, now: Instant) {
        if let Some(transactional) = self.transactional.as_deref_mut()
            && let Some(trial) = &transactional.quarantine.trial
            && !trial.is_passed
        {
            let is_parked = is_parked(&self.topics, trial.spot, now);
            transactional.quarantine.has_failed(is_parked, now);
        }
    }

    /// Sets apart what holds up a sealed transaction. Returns when to look again.
    pub(super) fn set_apart(&mut self, now: Instant) -> Option<Instant> {
        let transactional = self.transactional.as_deref()?;
        let (quarantine, sealed) = (&transactional.quarantine, transactional.sealed?);
        let waits_for_more = !transactional.held.is_empty() || !transactional.aside.is_empty();
        let holds_up = waits_for_more || self.retained().any(|partition| partition.has_retained());
        if !holds_up
            || quarantine.trial.is_some()
            || transactional.transaction.is_ending()
            || !self.cluster.is_connected()
        {
            return None;
        }
        // A slow way to the brokers is no reason: while something moves, all else has its turn.
        let late = transactional
            .moved
            .map_or(sealed, |moved| moved.max(sealed))
            + PATIENCE;
        let unacknowledged = self.unacknowledged();
        let spots = self.stuck(&unacknowledged, late <= now);
        if spots.is_empty() {
            return Some(late).filter(|at| *at > now);
        }
        for (number, index) in &spots {
            if let Some(topic) = &self.topics[*number] {
                log::info!(
                    "{} is set apart: what goes elsewhere is committed without it",
                    place(&topic.name, *index)
                );
            }
        }
        let partitioner = self.config.partitioner;
        let transactional = self.transactional.as_deref_mut()?;
        let quarantine = &mut transactional.quarantine;
        let mut is_begun = false;
        for spot in spots {
            let waiting = &unacknowledged.spots[&spot];
            is_begun |= waiting.is_begun;
            quarantine.sources.extend(&waiting.sources);
            let topic = self.topics[spot.0].as_ref();
            let is_parked = topic.is_some_and(|topic| topic.is_parked());
            let first = if is_parked { Duration::ZERO } else { PAUSE };
            let apart = Apart {
                try_at: now + first,
                pause: PAUSE,
            };
            quarantine.apart.insert(spot, apart);
        }
        let held = std::mem::take(&mut transactional.held).into_iter();
        let others = held.filter_map(|batch| quarantine.hold_back(batch, partitioner));
        transactional.held = others.collect();
        if is_begun {
            transactional.transaction.abort();
        }
        None
    }

    /// What is to be set apart of what is not.
    fn stuck(&self, unacknowledged: &Unacknowledged, is_late: bool) -> Vec<Spot> {
        let transactional = self.transactional.as_deref();
        let is_apart = |spot: &Spot| {
            transactional
                .is_some_and(|transactional| transactional.quarantine.apart.contains_key(spot))
        };
        let is_stuck = |(spot, waiting): &(&Spot, &Waiting)| {
            let topic = self.topics[spot.0].as_ref();
            let is_parked = topic.is_some_and(|topic| topic.is_parked() && !waiting.is_begun);
            // An answer comes, or the connection is given up.
            !waiting.is_in_flight
                && !is_apart(spot)
                && (is_parked || is_late)
                && unacknowledged.is_separate(**spot)
        };
        let stuck = unacknowledged.spots.iter().filter(is_stuck);
        stuck.map(|(spot, _)| *spot).collect()
    }

    /// What is not acknowledged, but for the positions, and where what is acknowledged lies as well.
    fn unacknowledged(&self) -> Unacknowledged {
        let mut found = Unacknowledged::default();
        let transactional = self.transactional.as_deref();
        let positions = transactional.map(|transactional| &transactional.settings.positions.0);
        for (number, topic) in (0..).zip(&self.topics) {
            let Some(topic) = topic
                .as_ref()
                .filter(|topic| Some(&topic.name) != positions)
            else {
                continue;
            };
            for batch in topic.unplaced() {
                found.waits(batch.source, batch.start, (number, None));
            }
            for (index, partition) in &topic.partitions {
                let spot = (number, Some(*index));
                for (source, start) in partition.starts() {
                    found.waits(source, start, spot);
                }
                for span in partition.retained_spans() {
                    found.lies(span.source, spot);
                }
                if let Some(waiting) = found.spots.get_mut(&spot) {
                    waiting.is_in_flight = partition.in_flight() > 0;
                    let sources = partition.retained_spans().map(|span| span.source);
                    waiting.sources.extend(sources);
                    let mut retained = partition.retained_spans();
                    let starts = &waiting.starts;
                    waiting.is_begun = partition.may_be_written()
                        || retained.any(|span| {
                            let start = starts.get(&span.source);
                            start.is_some_and(|start| span.end > *start)
                        });
                }
            }
        }
        found
    }
}

/// Whose bytes lie at a spot, some of them several times, and what an abort would have wait there.
fn sources_at(topics: &[Option<Topic>], (number, index): Spot) -> Vec<SourceId> {
    let Some(topic) = topics.get(number).and_then(Option::as_ref) else {
        return Vec::new();
    };
    let Some(index) = index else {
        return topic.unplaced().map(|batch| batch.source).collect();
    };
    let partitions = topic.partitions.get(&index).into_iter();
    let sources = partitions.flat_map(|partition| {
        let waiting = partition.sources().map(|(source, _)| source);
        waiting.chain(partition.retained_spans().map(|span| span.source))
    });
    sources.collect()
}

/// Whether the topic is left alone for now.
fn is_parked(topics: &[Option<Topic>], spot: Spot, now: Instant) -> bool {
    let topic = topics.get(spot.0).and_then(Option::as_ref);
    topic.is_some_and(|topic| topic.held_until(now).is_some())
}

/// As the log names it.
fn place(topic: &str, partition: Option<usize>) -> String {
    match partition {
        None => format!("topic '{topic}'"),
        Some(index) => format!("topic '{topic}' partition {index}"),
    }
}

/// A partition may be without a leader for so long, as it is when a broker dies, before its lines are set apart.
const PATIENCE: Duration = Duration::from_secs(15);
/// What is not parked is set apart for so long before it is tried again.
const PAUSE: Duration = Duration::from_secs(10);
/// The others wait for a trial so long.
const TRIAL: Duration = Duration::from_secs(2);

#[cfg(test)]
mod model;
