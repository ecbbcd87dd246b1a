//! When metadata is asked for, and of whom.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::backoff::Backoff;

use super::broker::Peer;

/// When metadata is due.
#[derive(Debug)]
pub(crate) struct MetadataSchedule {
    /// Something happened that new metadata may explain.
    wanted: bool,
    /// Something waits that only new metadata can help: ask now and then, less and less often. This
    /// is apart from `wanted`, so that a topic that is parked does not slow down the others.
    probe_at: Option<Instant>,
    probe_backoff: Backoff,
    not_before: Instant,
    asked: Option<Instant>,
    answered: Option<Instant>,
    /// How long an answer is good for.
    interval: Duration,
    /// In how many parts the topics are asked for.
    slices: u32,
    /// Produce requests since the last answer.
    sent: u64,
    random: fastrand::Rng,
    /// Whose answers have not helped what waits. The others are asked first, without a longer pause: a broker
    /// that lags behind says the same for as long as it lags.
    in_vain: BTreeSet<Peer>,
}

impl MetadataSchedule {
    pub(crate) fn new(random: &mut fastrand::Rng, now: Instant) -> Self {
        MetadataSchedule {
            wanted: true,
            probe_at: None,
            probe_backoff: Backoff::new(random),
            not_before: now,
            asked: None,
            answered: None,
            interval: INTERVAL,
            slices: 1,
            sent: 0,
            // A copy, so that whoever draws after this one draws the same.
            random: random.clone().fork(),
            in_vain: BTreeSet::new(),
        }
    }

    /// When to ask next.
    pub(crate) fn due(&self) -> Instant {
        let due = match (self.wanted, self.probe_at, self.answered) {
            (true, ..) | (_, None, None) => self.not_before,
            (_, Some(probe_at), _) => probe_at,
            (_, _, Some(answered)) => answered + self.interval,
        };
        let due = due.max(self.not_before);
        match self.asked {
            // If an answer takes longer than this, another broker is asked as well.
            Some(asked) => due.max(asked + ANSWER_PATIENCE),
            None => due,
        }
    }

    /// Metadata seems to be out of date.
    pub(crate) fn want(&mut self) {
        self.wanted = true;
    }

    /// Something waits for better metadata.
    pub(crate) fn want_probe(&mut self, now: Instant) {
        if self.probe_at.is_none() {
            self.probe_at = Some(now + self.probe_backoff.pause());
        }
    }

    /// Something new waits for better metadata: what has waited for long does not make it wait too.
    pub(crate) fn want_early_probe(&mut self, now: Instant) {
        self.probe_backoff.reset();
        let at = now + self.probe_backoff.pause();
        self.probe_at = Some(self.probe_at.map_or(at, |known| known.min(at)));
    }

    /// A broker is asked, for one of `slices` parts of the topics.
    pub(crate) fn ask(&mut self, slices: u32, now: Instant) {
        self.asked = Some(now);
        self.wanted = false;
        self.slices = slices.max(1);
    }

    /// A Produce request is sent.
    pub(crate) fn sends(&mut self) {
        self.sent += 1;
    }

    /// A broker has answered.
    pub(crate) fn has_answered(&self) -> bool {
        self.answered.is_some()
    }

    /// Nothing is to be asked before the last answer is too old.
    pub(crate) fn is_at_rest(&self) -> bool {
        !self.wanted && self.probe_at.is_none() && self.asked.is_none() && self.answered.is_some()
    }

    /// How long the answer that comes now is good for: a fleet that starts at once does not ask at once again.
    fn next_interval(&mut self, now: Instant) -> Duration {
        let since = self.answered.map(|last| now.duration_since(last));
        let is_quiet = since.is_some_and(|since| self.sent < since.as_secs());
        let interval = match is_quiet {
            true => QUIET_INTERVAL,
            false => INTERVAL,
        };
        let jitter = 0.9 + 0.2 * self.random.f64();
        (interval / self.slices).mul_f64(jitter).max(SLICE_PAUSE)
    }

    /// A question will not be answered.
    pub(crate) fn unanswered(&mut self) {
        self.asked = None;
        self.wanted = true;
    }

    /// No question before `at`.
    pub(crate) fn pause_until(&mut self, at: Instant) {
        self.not_before = at;
    }

    /// `peer` has answered. `again`: not enough to send what waits; `others`: who else could be asked now.
    pub(crate) fn answered(
        &mut self,
        peer: Peer,
        again: bool,
        mut others: impl Iterator<Item = Peer>,
        now: Instant,
    ) {
        self.asked = None;
        self.interval = self.next_interval(now);
        self.sent = 0;
        self.answered = Some(now);
        self.not_before = now + PAUSE;
        self.probe_at = None;
        if !again {
            self.in_vain.clear();
            self.probe_backoff.reset();
            return;
        }
        self.in_vain.insert(peer);
        if others.any(|other| !self.in_vain.contains(&other)) {
            self.probe_at = Some(now + PAUSE);
        } else {
            self.in_vain.clear();
            self.in_vain.insert(peer);
            self.want_probe(now);
        }
    }

    /// Whether the answer of `peer` did not help.
    pub(crate) fn was_in_vain(&self, peer: Peer) -> bool {
        self.in_vain.contains(&peer)
    }
}

/// A producer that sends asks for metadata no less often than this, so that partitions that are added are used soon.
const INTERVAL: Duration = Duration::from_secs(25);
/// The same where less than one request a second is sent: with thousands of agents the questions add up.
const QUIET_INTERVAL: Duration = Duration::from_secs(300);
/// With so many topics that they are asked for in parts, no part follows another sooner.
const SLICE_PAUSE: Duration = Duration::from_secs(1);
/// Metadata is asked for no more often than this.
const PAUSE: Duration = Duration::from_millis(100);
/// If an answer takes longer than this, another broker is asked as well.
pub(crate) const ANSWER_PATIENCE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    const OTHERS: [Peer; 3] = [Peer::Node(1), Peer::Node(2), Peer::Node(3)];

    #[test]
    fn whoever_was_not_asked_yet_is_asked_before_there_is_a_longer_pause() {
        let now = Instant::now();
        let mut schedule = MetadataSchedule::new(&mut fastrand::Rng::with_seed(1), now);
        schedule.ask(1, now);
        for peer in [Peer::Node(1), Peer::Node(2)] {
            schedule.answered(peer, true, OTHERS.into_iter(), now);
            assert_eq!(schedule.due(), now + PAUSE);
            assert!(schedule.was_in_vain(peer));
        }
        let mut pause = Duration::ZERO;
        for _ in 0..3 {
            for peer in OTHERS.into_iter().rev() {
                schedule.answered(peer, true, OTHERS.into_iter(), now);
            }
            assert!(schedule.due() - now > pause || schedule.due() == now + PAUSE);
            pause = schedule.due() - now;
        }
        schedule.answered(Peer::Node(3), false, OTHERS.into_iter(), now);
        assert!(!schedule.was_in_vain(Peer::Node(1)));
        assert!(is_about(schedule.due() - now, INTERVAL));
    }

    /// Within the jitter.
    fn is_about(time: Duration, expected: Duration) -> bool {
        (expected.mul_f64(0.899)..expected.mul_f64(1.101)).contains(&time)
    }

    #[test]
    fn a_producer_that_sends_little_asks_every_five_minutes_and_no_two_at_the_same_time() {
        let start = Instant::now();
        let mut pauses = Vec::new();
        for seed in 0..20 {
            let mut now = start;
            let mut schedule = MetadataSchedule::new(&mut fastrand::Rng::with_seed(seed), now);
            let mut ask = |sent: u64, expected: Duration| {
                now = now.max(schedule.due());
                (0..sent).for_each(|_| schedule.sends());
                schedule.ask(1, now);
                schedule.answered(Peer::Node(1), false, OTHERS.into_iter(), now);
                let pause = schedule.due() - now;
                assert!(is_about(pause, expected), "{sent} sent: {pause:?}");
                pause
            };
            // What it will be like is not known yet.
            ask(1, INTERVAL);
            pauses.push(ask(10, QUIET_INTERVAL));
            ask(0, QUIET_INTERVAL);
            ask(331, INTERVAL);
            ask(28, INTERVAL);
            ask(3, QUIET_INTERVAL);
        }
        pauses.sort_unstable();
        pauses.dedup();
        assert_eq!(pauses.len(), 20);
    }

    #[test]
    fn with_many_topics_each_part_is_asked_for_in_its_turn_and_not_more_often_than_each_second() {
        let now = Instant::now();
        let mut schedule = MetadataSchedule::new(&mut fastrand::Rng::with_seed(1), now);
        for (slices, after) in [(1, 25_000), (5, 5_000), (100, 1_000)] {
            schedule.ask(slices, now);
            schedule.answered(Peer::Node(1), false, OTHERS.into_iter(), now);
            assert!(is_about(schedule.due() - now, Duration::from_millis(after)));
        }
    }
}
