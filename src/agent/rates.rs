//! How fast it goes: averages over the last seconds, from samples that the main thread takes.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::metrics::Metrics;
use crate::snapshot::{BrokerStatus, LastMinute, Latency, LogStatus, Snapshot, TopicStatus};

/// What was counted a while ago.
#[derive(Debug)]
pub(super) struct Rates {
    /// With two samples, the older one is between one and two [`INTERVAL`]s old.
    samples: VecDeque<Sample>,
    /// When so many records and bytes were acknowledged in all, as often as that, for a minute.
    acked: VecDeque<(Instant, u64, u64)>,
}

#[derive(Debug, Default)]
struct Sample {
    at: Option<Instant>,
    logs: Vec<LogStatus>,
    topics: Vec<TopicStatus>,
    brokers: Vec<BrokerStatus>,
}

impl Rates {
    /// Nothing was counted before `now`.
    pub(super) fn new(now: Instant) -> Self {
        let nothing = Sample {
            at: Some(now),
            ..Sample::default()
        };
        Rates {
            samples: [nothing].into(),
            acked: [(now, 0, 0)].into(),
        }
    }

    /// Takes a sample; it is time for that once in [`INTERVAL`].
    pub(super) fn sample(&mut self, metrics: &Metrics, now: Instant) {
        self.keep(Sample {
            at: Some(now),
            logs: metrics.logs(),
            topics: metrics.topics(&[]),
            brokers: metrics.brokers(&[]),
        });
    }

    fn keep(&mut self, sample: Sample) {
        if let Some(at) = sample.at {
            let (records, bytes) = acked(&sample.logs);
            self.acked.push_back((at, records, bytes));
        }
        while self.acked.len() > IN_A_MINUTE {
            self.acked.pop_front();
        }
        self.samples.push_back(sample);
        while self.samples.len() > 2 {
            self.samples.pop_front();
        }
    }

    /// Writes into a snapshot of `now` how fast everything went since the older sample.
    pub(super) fn complete(&self, snapshot: &mut Snapshot, now: Instant) {
        if let Some(&(at, records, bytes)) = self.acked.front() {
            let now_acked = acked(&snapshot.logs);
            snapshot.minute = LastMinute {
                records: now_acked.0.saturating_sub(records),
                bytes: now_acked.1.saturating_sub(bytes),
                over: now.saturating_duration_since(at),
            };
        }
        let Some(before) = self.samples.front() else {
            return;
        };
        let over = now.saturating_duration_since(before.at.unwrap_or(now));
        snapshot.rates_over = over;
        for log in &mut snapshot.logs {
            let then = before.logs.iter().find(|one| one.name == log.name);
            let (read, acked) = then.map_or((0, 0), |one| (one.read_bytes, one.acked_bytes));
            log.read_rate = per_second(read, log.read_bytes, over);
            log.acked_rate = per_second(acked, log.acked_bytes, over);
            let held = then.map_or(Duration::ZERO, |one| one.rate_limited);
            let held = log.rate_limited.saturating_sub(held);
            log.is_held = log.rate_limit.is_some() && held > Duration::ZERO && held >= over / 10;
        }
        for topic in &mut snapshot.topics {
            let then = before.topics.iter().find(|one| one.name == topic.name);
            let acked = then.map_or(0, |one| one.acked_records);
            topic.acked_rate = per_second(acked, topic.acked_records, over);
        }
        for broker in &mut snapshot.brokers {
            let then = before.brokers.iter();
            let then = then.clone().find(|one| one.address == broker.address);
            broker.recent_latency = match then {
                Some(then) => since(&then.latency, &broker.latency),
                None => broker.latency.clone(),
            };
        }
    }
}

/// Records and bytes that were acknowledged.
fn acked(logs: &[LogStatus]) -> (u64, u64) {
    let counts = logs.iter().map(|log| (log.acked_records, log.acked_bytes));
    counts.fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1))
}

fn per_second(before: u64, now: u64, over: Duration) -> u64 {
    let added = now.saturating_sub(before) as f64;
    (added / over.as_secs_f64().max(1.0)).round() as u64
}

fn since(before: &Latency, now: &Latency) -> Latency {
    let mut since = now.clone();
    for (count, before) in since.counts.iter_mut().zip(before.counts) {
        *count = count.saturating_sub(before);
    }
    since.sum = now.sum.saturating_sub(before.sum);
    since
}

/// So often a sample is taken.
pub(super) const INTERVAL: Duration = Duration::from_secs(10);
/// The oldest of so many is between 50 s and a minute old.
const IN_A_MINUTE: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at: Instant, read_bytes: u64) -> Sample {
        let log = LogStatus {
            name: "a".to_owned(),
            read_bytes,
            ..LogStatus::default()
        };
        Sample {
            at: Some(at),
            logs: vec![log],
            ..Sample::default()
        }
    }

    #[test]
    fn a_burst_of_one_second_is_an_average_of_ten_at_least_and_of_twenty_at_most() {
        let begin = Instant::now();
        let mut rates = Rates::new(begin);
        for interval in 1..=5 {
            rates.keep(sample(begin + interval * INTERVAL, 1000));
        }
        for after in [0, 3, 9] {
            let now = begin + 5 * INTERVAL + Duration::from_secs(after);
            let mut snapshot = Snapshot {
                logs: sample(now, 51_000).logs,
                ..Snapshot::default()
            };
            rates.complete(&mut snapshot, now);
            assert_eq!(snapshot.rates_over, INTERVAL + Duration::from_secs(after));
            assert_eq!(
                snapshot.logs[0].read_rate,
                (50_000.0 / (10 + after) as f64).round() as u64
            );
        }
    }

    #[test]
    fn what_was_acknowledged_in_the_last_minute_is_counted_for_a_minute() {
        let begin = Instant::now();
        let mut rates = Rates::new(begin);
        let acked = |records| {
            vec![LogStatus {
                acked_records: records,
                acked_bytes: 10 * records,
                ..LogStatus::default()
            }]
        };
        // A hundred in each interval.
        for interval in 1..=20 {
            rates.keep(Sample {
                at: Some(begin + interval * INTERVAL),
                logs: acked(100 * u64::from(interval)),
                ..Sample::default()
            });
        }
        let mut snapshot = Snapshot {
            logs: acked(2_040),
            ..Snapshot::default()
        };
        rates.complete(&mut snapshot, begin + 20 * INTERVAL + INTERVAL / 2);
        let expected = LastMinute {
            records: 540,
            bytes: 5_400,
            over: Duration::from_secs(55),
        };
        assert_eq!(snapshot.minute, expected);
    }

    #[test]
    fn a_section_is_held_by_its_rate_if_it_was_for_a_tenth_of_the_time() {
        let begin = Instant::now();
        let rates = Rates::new(begin);
        let held = |rate_limit: Option<&str>, ms| {
            let log = LogStatus {
                rate_limit: rate_limit.map(str::to_owned),
                rate_limited: Duration::from_millis(ms),
                ..LogStatus::default()
            };
            let mut snapshot = Snapshot {
                logs: vec![log],
                ..Snapshot::default()
            };
            rates.complete(&mut snapshot, begin + Duration::from_secs(10));
            snapshot.logs[0].is_held
        };
        let rate = Some("20/s");
        assert!(held(rate, 1000) && !held(rate, 999) && !held(None, 9000));
    }

    #[test]
    fn a_log_or_a_broker_that_came_since_counts_from_nothing() {
        let begin = Instant::now();
        let rates = Rates::new(begin);
        let mut snapshot = Snapshot {
            logs: sample(begin, 600).logs,
            brokers: vec![BrokerStatus::default()],
            ..Snapshot::default()
        };
        snapshot.brokers[0].latency.counts[3] = 7;
        rates.complete(&mut snapshot, begin + Duration::from_secs(6));
        assert_eq!(snapshot.logs[0].read_rate, 100);
        assert_eq!(snapshot.brokers[0].recent_latency.counts[3], 7);
    }
}
