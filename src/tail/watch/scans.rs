//! When the folders of a pattern are walked through from `/`: at the start, now and then, and when something
//! happened that only a scan can sort out.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The scans of all patterns, by their numbers.
#[derive(Debug)]
pub(super) struct Scans(Vec<Scan>);

/// The scans of one pattern.
#[derive(Debug)]
struct Scan {
    /// Of the last one; the first one is 1.
    number: u64,
    next_at: Instant,
    /// When the last one began.
    started: Instant,
    /// The walk from `/` is under way.
    is_running: bool,
    /// Something happened since it began.
    is_outdated: bool,
    /// Folders in other lanes whose walk is under way.
    elsewhere: HashSet<Arc<Path>>,
    /// Since when something is under way.
    since: Instant,
    is_said_to_hang: bool,
}

/// Where a walk of a scan began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// At `/`.
    Root,
    /// At a folder in another lane.
    Elsewhere(Arc<Path>),
}

/// What the end of a walk means for the scan.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Other walks are under way.
    UnderWay,
    /// All of the pattern's folders were seen by the scan of this number; before, they were said to hang.
    Over { number: u64, did_hang: bool },
}

impl Scans {
    /// No scan has begun; all are due.
    pub(super) fn new(patterns: usize, now: Instant) -> Self {
        let scan = |_| Scan {
            number: 0,
            next_at: now,
            started: now,
            is_running: false,
            is_outdated: false,
            elsewhere: HashSet::new(),
            since: now,
            is_said_to_hang: false,
        };
        Scans((0..patterns).map(scan).collect())
    }

    /// Begins the scans that are due; gives their patterns. One that is still under way is not begun again.
    pub(super) fn begin_due(&mut self, now: Instant) -> Vec<u32> {
        let mut begun = Vec::new();
        for (pattern, scan) in (0..).zip(&mut self.0) {
            if now < scan.next_at {
                continue;
            }
            scan.next_at = now + SCAN_INTERVAL;
            if scan.is_running {
                continue;
            }
            if scan.elsewhere.is_empty() {
                scan.since = now;
            }
            (scan.is_running, scan.is_outdated, scan.started) = (true, false, now);
            scan.number += 1;
            begun.push(pattern);
        }
        begun
    }

    /// Something happened that only a scan of these patterns can sort out: there is one as soon as the last one
    /// is a second old.
    pub(super) fn outdate(&mut self, patterns: impl IntoIterator<Item = u32>) {
        for pattern in patterns {
            if let Some(scan) = self.0.get_mut(pattern as usize) {
                scan.is_outdated = scan.is_running;
                scan.next_at = scan.next_at.min(scan.started + RESCAN_INTERVAL);
            }
        }
    }

    /// A scan goes on with a folder in another lane; false if a walk of it is under way already.
    pub(super) fn begin_elsewhere(&mut self, pattern: u32, folder: &Arc<Path>) -> bool {
        let scan = self.0.get_mut(pattern as usize);
        scan.is_some_and(|scan| scan.elsewhere.insert(folder.clone()))
    }

    /// A walk is over.
    pub(super) fn end(&mut self, pattern: u32, part: &Part) -> Progress {
        let Some(scan) = self.0.get_mut(pattern as usize) else {
            return Progress::UnderWay;
        };
        match part {
            Part::Elsewhere(folder) => drop(scan.elsewhere.remove(folder)),
            Part::Root => {
                scan.is_running = false;
                if std::mem::take(&mut scan.is_outdated) {
                    scan.next_at = scan.next_at.min(scan.started + RESCAN_INTERVAL);
                }
            }
        }
        if scan.is_under_way() {
            return Progress::UnderWay;
        }
        Progress::Over {
            number: scan.number,
            did_hang: std::mem::take(&mut scan.is_said_to_hang),
        }
    }

    /// The kernel does not tell of all folders of the pattern: they are scanned often.
    pub(super) fn poll(&mut self, pattern: u32, now: Instant) {
        if let Some(scan) = self.0.get_mut(pattern as usize) {
            scan.next_at = scan.next_at.min(now + POLL_INTERVAL);
        }
    }

    /// The number of the pattern's last scan.
    pub(super) fn number(&self, pattern: u32) -> u64 {
        self.0.get(pattern as usize).map_or(0, |scan| scan.number)
    }

    /// Whether each pattern had its first scan, as far as its folders answer at all.
    pub(super) fn have_begun(&self) -> bool {
        self.0.iter().all(|scan| scan.number > 0)
    }

    /// The patterns whose folders have not answered for `patience`, each once while that lasts.
    pub(super) fn newly_hanging(&mut self, patience: Duration, now: Instant) -> Vec<u32> {
        let mut hanging = Vec::new();
        for (pattern, scan) in (0..).zip(&mut self.0) {
            if scan.is_under_way()
                && !scan.is_said_to_hang
                && now.duration_since(scan.since) >= patience
            {
                scan.is_said_to_hang = true;
                hanging.push(pattern);
            }
        }
        hanging
    }

    /// When the next scan is due.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.0.iter().map(|scan| scan.next_at).min()
    }

    /// All patterns.
    pub(super) fn all(&self) -> BTreeSet<u32> {
        (0..).zip(&self.0).map(|(pattern, _)| pattern).collect()
    }
}

impl Scan {
    fn is_under_way(&self) -> bool {
        self.is_running || !self.elsewhere.is_empty()
    }
}

/// How often folders are scanned although their watches work.
pub(super) const SCAN_INTERVAL: Duration = Duration::from_secs(30);
/// How soon after a scan there may be another one, because something happened that only a scan can sort out.
const RESCAN_INTERVAL: Duration = Duration::from_secs(1);
/// How often folders are scanned that have no watch.
const POLL_INTERVAL: Duration = Duration::from_millis(700);

#[cfg(test)]
mod tests {
    use super::*;

    const OVER: Progress = Progress::Over {
        number: 1,
        did_hang: false,
    };

    #[test]
    fn what_happens_during_a_scan_is_sorted_out_by_the_next_a_second_after_it_began() {
        let now = Instant::now();
        let mut scans = Scans::new(2, now);
        assert_eq!(scans.begin_due(now), [0, 1]);
        scans.outdate([0]);
        let begun = scans.begin_due(now + RESCAN_INTERVAL);
        assert!(begun.is_empty(), "it is under way");
        assert_eq!(scans.end(0, &Part::Root), OVER);
        assert_eq!(scans.end(1, &Part::Root), OVER);
        assert_eq!(scans.begin_due(now + RESCAN_INTERVAL), [0]);
        scans.end(0, &Part::Root);
        assert_eq!(scans.begin_due(now + SCAN_INTERVAL), [1]);
        scans.end(1, &Part::Root);
        let later = now + SCAN_INTERVAL + RESCAN_INTERVAL;
        for _ in 0..100 {
            scans.outdate([1]);
            let begun = scans.begin_due(later - Duration::from_millis(1));
            assert!(begun.is_empty());
        }
        assert_eq!(scans.begin_due(later), [0, 1]);
    }

    #[test]
    fn a_folder_that_hangs_elsewhere_is_walked_once_and_stops_no_scan() {
        let now = Instant::now();
        let mut scans = Scans::new(1, now);
        let far: Arc<Path> = Path::new("/far").into();
        scans.begin_due(now);
        assert!(scans.begin_elsewhere(0, &far));
        assert_eq!(scans.end(0, &Part::Root), Progress::UnderWay);
        assert!(scans.newly_hanging(SCAN_INTERVAL, now).is_empty());
        let later = now + SCAN_INTERVAL;
        assert_eq!(scans.begin_due(later), [0]);
        assert!(!scans.begin_elsewhere(0, &far), "it is under way");
        assert_eq!(scans.end(0, &Part::Root), Progress::UnderWay);
        assert_eq!(scans.newly_hanging(SCAN_INTERVAL, later), [0]);
        assert!(scans.newly_hanging(SCAN_INTERVAL, later).is_empty(), "once");
        let over = scans.end(0, &Part::Elsewhere(far));
        let (number, did_hang) = (2, true);
        assert_eq!(over, Progress::Over { number, did_hang });
    }
}
