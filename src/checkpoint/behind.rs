//! Since when something of a file is not acknowledged.

use std::time::SystemTime;

/// Sizes of a file and when they were first seen, as far as it is not acknowledged up to them. The bytes before a size
/// are at least as old as that.
#[derive(Debug, Default)]
pub(super) struct Behind(Vec<(u64, SystemTime)>);

impl Behind {
    /// The file is acknowledged up to `offset`.
    pub(super) fn passed(&mut self, offset: u64) {
        if self.0.first().is_none_or(|(size, _)| *size > offset) {
            return;
        }
        let left = self.0.iter().position(|(size, _)| *size > offset);
        match left {
            Some(at) => drop(self.0.drain(..at)),
            // Most files are at their end most of the time.
            None => self.0 = Vec::new(),
        }
    }

    /// The file had `size` bytes at `time`.
    pub(super) fn saw(&mut self, size: u64, time: SystemTime) {
        if self.0.last().is_some_and(|(last, _)| *last >= size) {
            return;
        }
        if self.0.len() >= MOST {
            // The one goes that leaves the smallest gap: what it tells is told by the one behind, a little late.
            let gap = |at: &usize| self.0[at + 1].1.duration_since(self.0[at - 1].1).ok();
            if let Some(least) = (1..self.0.len() - 1).min_by_key(gap) {
                self.0.remove(least);
            }
        }
        self.0.push((size, time));
    }

    /// Since when at least there is a byte that is not acknowledged.
    pub(super) fn since(&self) -> Option<SystemTime> {
        self.0.first().map(|(_, time)| *time)
    }
}

/// So many sizes are kept.
const MOST: usize = 16;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(second: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(second)
    }

    #[test]
    fn a_file_that_is_always_a_little_behind_is_as_old_as_its_oldest_byte() {
        let mut behind = Behind::default();
        // 100 bytes a second, each of them acknowledged 40 s later.
        for second in 0..10_000 {
            behind.saw((second + 1) * 100, at(second));
            behind.passed((second + 1).saturating_sub(40) * 100);
            let age = at(second).duration_since(behind.since().expect("it is behind"));
            let age = age.expect("it was seen before").as_secs();
            let true_age = second.min(39);
            assert!(age <= true_age && age + 6 >= true_age, "{second}: {age}");
        }
        assert!(behind.0.len() <= MOST);
        behind.passed(1_000_000);
        assert_eq!(behind.since(), None);
    }

    #[test]
    fn in_an_outage_the_age_grows_however_often_the_file_does() {
        let mut behind = Behind::default();
        for second in 0..100_000 {
            behind.saw(second + 1, at(second));
            behind.saw(second, at(second));
            behind.passed(0);
        }
        assert_eq!(behind.since(), Some(at(0)));
    }
}
