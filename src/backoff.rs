//! Pauses between attempts.

use std::time::Duration;

/// Doubles from 100 ms to 10 s, with jitter, so that a thousand agents do not return as one.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    failures: u32,
    random: fastrand::Rng,
}

impl Backoff {
    /// Pauses with jitter of its own, which begins with what `random` gives next.
    pub(crate) fn new(random: &mut fastrand::Rng) -> Self {
        Backoff {
            failures: 0,
            random: random.fork(),
        }
    }

    /// The pause before the next attempt.
    pub(crate) fn pause(&mut self) -> Duration {
        let pause = self.same_pause();
        self.failures = self.failures.saturating_add(1);
        pause
    }

    /// As [`Backoff::pause`], after an attempt that somebody else has made at a pace of their own: the next pause
    /// is no longer for it.
    pub(crate) fn same_pause(&mut self) -> Duration {
        let pause = (FIRST * (1 << self.failures.min(7))).min(MOST);
        pause.mul_f64(0.8 + 0.2 * self.random.f64())
    }

    /// An attempt succeeded.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    /// How many attempts have failed since one succeeded.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }
}

const FIRST: Duration = Duration::from_millis(100);
const MOST: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_ten_seconds_and_start_again_after_a_success() {
        let mut backoff = Backoff::new(&mut fastrand::Rng::with_seed(1));
        for most_ms in [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000] {
            let pause = backoff.pause().as_millis();
            assert!((most_ms * 8 / 10..=most_ms).contains(&pause), "{pause}");
        }
        backoff.reset();
        assert!(backoff.same_pause().as_millis() <= 100);
        assert!(backoff.pause().as_millis() <= 100);
        assert!(backoff.pause().as_millis() > 100);
    }
}
