//! How large the record batches of a partition may become.

use std::time::{Duration, Instant};

/// After so long a limit that was lowered is doubled: the topic may take more by now (its
/// `max.message.bytes` can be changed at any time), and if it does not, one refused batch in
/// this time is what it costs to know.
const RAISE_AFTER: Duration = Duration::from_secs(300);
/// No lower than this; what is still too large is divided each time.
const LEAST_BYTES: usize = 16 << 10;

/// A bound of the bytes before compression, lowered when the broker finds batches too large.
#[derive(Debug, Default)]
pub(crate) struct BatchLimit {
    lowered: Option<Lowered>,
}

#[derive(Debug)]
struct Lowered {
    bytes: usize,
    raise_at: Instant,
}

impl BatchLimit {
    /// The bound for a batch that is built now; `most` is that of the configuration.
    pub(crate) fn bytes(&mut self, most: usize, now: Instant) -> usize {
        if let Some(lowered) = &mut self.lowered
            && lowered.raise_at <= now
        {
            lowered.bytes *= 2;
            lowered.raise_at = now + RAISE_AFTER;
        }
        self.lowered.take_if(|lowered| lowered.bytes >= most);
        self.lowered.as_ref().map_or(most, |lowered| lowered.bytes)
    }

    /// A batch of so many bytes was too large.
    pub(crate) fn lower(&mut self, refused: usize, now: Instant) {
        let bytes = (refused / 2).max(LEAST_BYTES);
        // The halves of a batch may be too large themselves, and older batches larger than this one.
        let bytes = self
            .lowered
            .as_ref()
            .map_or(bytes, |lowered| bytes.min(lowered.bytes));
        self.lowered = Some(Lowered {
            bytes,
            raise_at: now + RAISE_AFTER,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: usize = 512 << 10;

    #[test]
    fn a_limit_is_halved_at_each_refusal_and_never_falls_to_nothing() {
        let now = Instant::now();
        let mut limit = BatchLimit::default();
        assert_eq!(limit.bytes(MOST, now), MOST);
        let mut size = MOST;
        for expected in [256, 128, 64, 32, 16, 16, 16] {
            limit.lower(size, now);
            size /= 2;
            assert_eq!(limit.bytes(MOST, now), expected << 10);
        }
        // A larger one, sent before, says nothing new.
        limit.lower(MOST, now);
        assert_eq!(limit.bytes(MOST, now), LEAST_BYTES);
    }

    #[test]
    fn a_limit_that_was_lowered_rises_step_by_step_up_to_that_of_the_configuration() {
        let mut now = Instant::now();
        let mut limit = BatchLimit::default();
        limit.lower(MOST / 4, now);
        for expected in [64, 64, 128, 128, 256, 256, 512] {
            assert_eq!(limit.bytes(MOST, now), expected << 10);
            now += RAISE_AFTER * 2 / 3;
        }
        assert!(limit.lowered.is_none());
    }
}
