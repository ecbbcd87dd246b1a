//! Which bytes of a file were seen: ranges that grow together, so that memory goes by gap and not by record.

/// What a range is to those that were there before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Added {
    /// Nothing of it was there.
    New,
    /// All of it was there.
    Covered,
    /// Some of it was there.
    Overlaps,
}

/// Ranges of bytes, in order, none of which touches another.
#[derive(Debug, Default)]
pub(super) struct Tiles {
    runs: Vec<(u64, u64)>,
    /// The run that was added to last: the next range is most likely behind it.
    last: usize,
}

impl Tiles {
    /// Adds `start..end`.
    pub(super) fn add(&mut self, start: u64, end: u64) -> Added {
        let next = self.runs.get(self.last + 1).map_or(u64::MAX, |run| run.0);
        if let Some(run) = self.runs.get_mut(self.last)
            && run.1 == start
            && end < next
        {
            run.1 = end;
            return Added::New;
        }
        self.add_anywhere(start, end)
    }

    fn add_anywhere(&mut self, start: u64, end: u64) -> Added {
        // Runs from `from` to `to` touch it.
        let from = self.runs.partition_point(|run| run.1 < start);
        let to = self.runs.partition_point(|run| run.0 <= end);
        let touched = self.runs.get(from..to).unwrap_or_default();
        let had: u64 = touched
            .iter()
            .map(|run| run.1.min(end).saturating_sub(run.0.max(start)))
            .sum();
        let added = match had {
            0 if end > start => Added::New,
            had if had == end - start => Added::Covered,
            _ => Added::Overlaps,
        };
        let first = touched.first().map_or(start, |run| run.0.min(start));
        let last = touched.last().map_or(end, |run| run.1.max(end));
        self.runs.splice(from..to, [(first, last)]);
        self.last = from;
        added
    }

    /// Up to where something was seen.
    pub(super) fn end(&self) -> u64 {
        self.runs.last().map_or(0, |run| run.1)
    }

    /// What is missing between 0 and `end`, in order.
    pub(super) fn gaps(&self, end: u64) -> Vec<(u64, u64)> {
        let mut gaps = Vec::new();
        let mut at = 0;
        for &(start, until) in &self.runs {
            if start > at {
                gaps.push((at, start.min(end)));
            }
            at = until;
        }
        if end > at {
            gaps.push((at, end));
        }
        gaps.retain(|gap| gap.0 < gap.1);
        gaps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_grow_together_and_what_was_there_is_known() {
        let mut tiles = Tiles::default();
        for (start, end, added) in [
            (10, 20, Added::New),
            (20, 30, Added::New),
            (40, 50, Added::New),
            (12, 18, Added::Covered),
            (25, 35, Added::Overlaps),
            (35, 40, Added::New),
            (10, 50, Added::Covered),
            (0, 10, Added::New),
        ] {
            assert_eq!(tiles.add(start, end), added, "{start}..{end}");
        }
        assert_eq!((tiles.runs.len(), tiles.end()), (1, 50));
        assert_eq!(tiles.gaps(60), [(50, 60)]);
    }

    #[test]
    fn the_ranges_are_those_of_a_set_of_bytes_whatever_comes() {
        let mut random = fastrand::Rng::with_seed(2);
        for _ in 0..300 {
            let (mut tiles, mut seen) = (Tiles::default(), [false; 100]);
            for _ in 0..random.usize(1..60) {
                let start = random.usize(..99);
                let end = random.usize(start + 1..(start + 12).min(100) + 1).min(100);
                let had = seen[start..end].iter().filter(|seen| **seen).count();
                let expected = match had {
                    0 => Added::New,
                    had if had == end - start => Added::Covered,
                    _ => Added::Overlaps,
                };
                assert_eq!(tiles.add(start as u64, end as u64), expected);
                seen[start..end].fill(true);
            }
            let mut missing = [false; 100];
            for (start, end) in tiles.gaps(100) {
                missing[start as usize..end as usize].fill(true);
            }
            assert!((0..100).all(|at| missing[at] != seen[at]));
        }
    }
}
