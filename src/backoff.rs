//! Pauses between attempts.

use std::time::Duration;

/// Doubles from 100 ms to 10 s, with jitter, so that a thousand agents do not return as one.
#[derive(Debug, Default, Clone)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(100);
    const MOST: Duration = Duration::from_secs(10);

    /// The pause before the next attempt.
    pub(crate) fn pause(&mut self) -> Duration {
        let pause = (Self::FIRST * (1 << self.failures.min(7))).min(Self::MOST);
        self.failures = self.failures.saturating_add(1);
        pause.mul_f64(0.8 + 0.2 * fastrand::f64())
    }

    /// An attempt succeeded.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_ten_seconds_and_start_again_after_a_success() {
        let mut backoff = Backoff::default();
        for most_ms in [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000] {
            let pause = backoff.pause().as_millis();
            assert!((most_ms * 8 / 10..=most_ms).contains(&pause), "{pause}");
        }
        backoff.reset();
        assert!(backoff.pause().as_millis() <= 100);
    }
}
