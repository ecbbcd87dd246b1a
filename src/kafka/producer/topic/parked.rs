//! Whether a topic can be written at all.

use std::time::Instant;

use crate::backoff::Backoff;
use crate::kafka::protocol::error_code::Verdict;

use super::{Parked, ParkedBy, Topic};

impl Topic {
    /// It cannot be written for now.
    pub(crate) fn is_parked(&self) -> bool {
        self.parked.is_some()
    }

    /// The topic refuses what is sent: leave it alone for a while.
    pub(crate) fn refuse(&mut self, verdict: Verdict, reason: &str, now: Instant) {
        self.park(ParkedBy::Produce, verdict, reason, now);
    }

    pub(super) fn park(&mut self, by: ParkedBy, verdict: Verdict, reason: &str, now: Instant) {
        match &mut self.parked {
            Some(parked) => {
                parked.by = by;
                if parked.probe_at <= now {
                    parked.probe_at = now + parked.backoff.pause();
                }
            }
            None => {
                let mut backoff = Backoff::new(&mut self.random);
                let probe_at = now + backoff.pause();
                self.parked = Some(Parked {
                    by,
                    backoff,
                    probe_at,
                });
            }
        }
        let (name, level) = (&self.name, verdict.level_when_parked());
        let subject = format_args!("topic {name}");
        self.refusal.enter(level, &subject, &reason, now);
        if let Some(parked) = &self.parked {
            self.refusal.tries_again(parked.probe_at, now);
        }
        if let Some(passed_over) = self.refusal.say(now) {
            let advice = verdict.missing_right().unwrap_or_default();
            log::log!(
                level,
                "topic '{name}' is parked: {reason}{advice}; retrying every 10 s{passed_over}"
            );
        }
    }

    /// A batch of it was acknowledged.
    pub(crate) fn on_acked(&mut self) {
        if self.parked.is_some() {
            self.unpark();
        }
    }

    pub(super) fn unpark(&mut self) {
        self.parked = None;
        if let Some(left) = self.refusal.leave() {
            log::log!(left.level, "topic '{}' has recovered{left}", self.name);
        }
    }

    /// Until when nothing may be sent.
    pub(crate) fn held_until(&self, now: Instant) -> Option<Instant> {
        let parked = self.parked.as_ref();
        parked.map(|parked| parked.probe_at).filter(|at| *at > now)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::Partitioner;
    use crate::kafka::protocol::error_code::{LEADER_NOT_AVAILABLE, UNKNOWN_TOPIC_OR_PARTITION};
    use crate::kafka::protocol::response::{PartitionMetadata, TopicMetadata};
    use crate::metrics::Metrics;

    #[test]
    fn a_topic_that_a_broker_makes_when_it_is_asked_for_is_not_parked_and_one_that_nobody_makes_is()
    {
        let (metrics, begin) = (Metrics::default(), Instant::now());
        let mut random = fastrand::Rng::with_seed(1);
        let mut new = || {
            Topic::new(
                "t".into(),
                Partitioner::File,
                1000,
                &metrics,
                &mut random,
                begin,
            )
        };
        let refusal = |error| TopicMetadata {
            error,
            ..TopicMetadata::default()
        };
        let told = TopicMetadata {
            partitions: vec![PartitionMetadata {
                index: 0,
                leader: 1,
                leader_epoch: 0,
            }],
            ..TopicMetadata::default()
        };
        for error in [UNKNOWN_TOPIC_OR_PARTITION, LEADER_NOT_AVAILABLE] {
            let (mut made, mut missing) = (new(), new());
            for asked in 0..15 {
                let now = begin + asked * Duration::from_millis(100);
                assert!(made.update(&refusal(error), now), "it is asked for again");
                missing.update(&refusal(error), now);
                assert!(!made.is_parked(), "after {asked} answers");
            }
            made.update(&told, begin + Duration::from_millis(1500));
            missing.update(&refusal(error), begin + Duration::from_secs(3));
            assert!(missing.is_parked() && !made.is_parked());
            // What is made again later takes as long.
            made.update(&refusal(error), begin + Duration::from_secs(60));
            made.update(&refusal(error), begin + Duration::from_secs(61));
            made.update(&refusal(error), begin + Duration::from_secs(61));
            assert!(!made.is_parked());
        }
    }
}
