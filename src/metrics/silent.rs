//! Brokers that are being connected to and have not answered yet.

use std::time::Instant;

use super::counters::lock;
use super::{BrokerCounters, Metrics};
use crate::snapshot::BrokerStatus;

impl BrokerCounters {
    /// A connection is being made.
    pub fn opens(&self) {
        let mut seen = lock(&self.seen);
        seen.opening += 1;
        seen.opening_since.get_or_insert_with(Instant::now);
    }

    /// A connection that was being made is ready, or is none.
    pub fn has_opened(&self) {
        let mut seen = lock(&self.seen);
        seen.opening = seen.opening.saturating_sub(1);
        if seen.opening == 0 {
            seen.opening_since = None;
        }
    }
}

impl Metrics {
    /// Adds to `brokers` which of them have not answered yet: one that is silent takes seconds to be an error.
    pub fn add_silent(&self, brokers: &mut Vec<BrokerStatus>, now: Instant) {
        let silent = self.brokers.map(|address, counters| {
            let since = lock(&counters.seen).opening_since?;
            let lasts = now.saturating_duration_since(since).as_secs();
            (lasts > 0).then(|| (address.to_owned(), lasts))
        });
        for (address, lasts) in silent.into_iter().flatten() {
            let words = Some(format!("connecting, no answer for {lasts} s"));
            match brokers.iter_mut().find(|one| one.address == address) {
                Some(one) if one.up_since.is_none() && one.last_error.is_none() => {
                    one.last_error = words;
                }
                Some(_) => {}
                None => brokers.push(BrokerStatus {
                    address,
                    last_error: words,
                    ..BrokerStatus::default()
                }),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_broker_that_does_not_answer_is_told_from_the_first_second_on_and_not_when_it_has_failed() {
        let metrics = Metrics::default();
        let told = |mut brokers, later: u64| {
            metrics.add_silent(&mut brokers, Instant::now() + Duration::from_secs(later));
            let told = brokers.into_iter();
            let told = told.map(|one: BrokerStatus| (one.address, one.last_error));
            told.collect::<Vec<_>>()
        };
        let is = |error: &str| vec![("b".to_owned(), Some(error.to_owned()))];
        metrics.broker("b").opens();
        metrics.broker("b").opens();
        metrics.broker("b").has_opened();
        assert_eq!(told(vec![], 0), []);
        assert_eq!(told(vec![], 3), is("connecting, no answer for 3 s"));
        let mut known = BrokerStatus {
            address: "b".to_owned(),
            ..BrokerStatus::default()
        };
        let silent = is("connecting, no answer for 3 s");
        assert_eq!(told(vec![known.clone()], 3), silent);
        known.last_error = Some("timed out".to_owned());
        assert_eq!(told(vec![known], 3), is("timed out"));
        metrics.broker("b").has_opened();
        assert_eq!(told(vec![], 3), []);
    }
}
