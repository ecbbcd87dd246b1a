//! When positions are written, made durable, and looked for.

use std::time::{Duration, Instant};

/// What is due when. All times are given, so that nothing here looks at the clock.
#[derive(Debug)]
pub(super) struct Schedule {
    interval: Duration,
    change: Change,
    written_at: Instant,
    synced_at: Instant,
    /// What is to be written.
    unwritten: AtRisk,
    /// What was written and is not durable yet.
    unsynced: Option<AtRisk>,
    looked_at: Instant,
    /// After a failure nothing is tried before this.
    not_before: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    Nothing,
    Usual,
    Urgent,
    AtOnce,
}

/// What a power cut would take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct AtRisk {
    /// More than positions that moved: files whose lines would be known by nobody, if they are rotated away before the
    /// next start.
    has_new: bool,
    /// So far positions would fall back: as much would be sent twice.
    moved_bytes: u64,
}

impl Schedule {
    /// Writes come at least `interval` after each other.
    pub(super) fn new(interval: Duration, now: Instant) -> Self {
        Schedule {
            interval,
            change: Change::Nothing,
            written_at: now,
            synced_at: now,
            unwritten: AtRisk::default(),
            unsynced: None,
            looked_at: now,
            not_before: None,
        }
    }

    /// Writes come at least `interval` after each other from now on.
    pub(super) fn keep_to(&mut self, interval: Duration) {
        self.interval = interval;
    }

    /// A position has moved by so many bytes, or a size.
    pub(super) fn moved(&mut self, bytes: u64) {
        self.change = self.change.max(Change::Usual);
        self.unwritten.moved_bytes += bytes;
    }

    /// There is something to write.
    pub(super) fn changed(&mut self) {
        self.change = self.change.max(Change::Usual);
        self.unwritten.has_new = true;
    }

    /// There is something to write that must not wait for a long interval.
    pub(super) fn changed_urgently(&mut self) {
        self.change = self.change.max(Change::Urgent);
        self.unwritten.has_new = true;
    }

    /// There is something to write that waits for no interval.
    pub(super) fn changed_at_once(&mut self) {
        self.change = Change::AtOnce;
        self.unwritten.has_new = true;
    }

    /// Whether there is something to write.
    pub(super) fn has_changes(&self) -> bool {
        self.change != Change::Nothing
    }

    /// A write has begun: it takes all that has changed.
    pub(super) fn written(&mut self, now: Instant) {
        (self.change, self.written_at) = (Change::Nothing, now);
        let unsynced = self.unsynced.get_or_insert_default();
        let written = std::mem::take(&mut self.unwritten);
        unsynced.has_new |= written.has_new;
        unsynced.moved_bytes += written.moved_bytes;
    }

    /// All that was written is durable.
    pub(super) fn synced(&mut self, now: Instant) {
        (self.unsynced, self.synced_at) = (None, now);
    }

    /// A write or a sync has failed: everything has to be written.
    pub(super) fn failed(&mut self, now: Instant) {
        self.changed();
        self.unsynced = None;
        self.not_before = Some(now + RETRY);
    }

    /// What has failed is done.
    pub(super) fn succeeded(&mut self) {
        self.not_before = None;
    }

    /// Sizes were looked at.
    pub(super) fn looked(&mut self, now: Instant) {
        self.looked_at = now;
    }

    pub(super) fn is_write_due(&self, now: Instant) -> bool {
        self.write_at().is_some_and(|at| at <= now)
    }

    pub(super) fn is_sync_due(&self, now: Instant) -> bool {
        self.sync_at().is_some_and(|at| at <= now)
    }

    pub(super) fn is_look_due(&self, now: Instant) -> bool {
        self.looked_at + LOOK <= now
    }

    /// When the first of them is due.
    pub(super) fn next(&self) -> Instant {
        let due = [self.write_at(), self.sync_at()];
        let looked = self.looked_at + LOOK;
        due.into_iter().flatten().fold(looked, Instant::min)
    }

    fn write_at(&self) -> Option<Instant> {
        let wait = match self.change {
            Change::Nothing => return None,
            Change::Usual => self.interval,
            Change::Urgent => self.interval.min(OPENED),
            Change::AtOnce => Duration::ZERO,
        };
        let at = self.written_at + wait;
        Some(self.not_before.map_or(at, |not_before| at.max(not_before)))
    }

    fn sync_at(&self) -> Option<Instant> {
        let unsynced = self.unsynced?;
        let is_little = !unsynced.has_new && unsynced.moved_bytes < MUCH_BYTES;
        Some(self.synced_at + if is_little { SYNC_OF_LITTLE } else { SYNC })
    }
}

/// Which of the looks at the sizes of all files, once a second, are worth it: of ten thousand quiet files they would
/// cost more than all that moves. Where nothing is acknowledged every one is, for what grows then stays unread.
#[derive(Debug, Default)]
pub(super) struct Looks {
    left_out: u32,
    to_leave_out: u32,
}

impl Looks {
    /// Whether to look this time. `has_acked`: since the last time something was acknowledged.
    pub(super) fn is_worth_it(&mut self, has_acked: bool) -> bool {
        if has_acked && self.left_out < self.to_leave_out {
            self.left_out += 1;
            return false;
        }
        self.left_out = 0;
        true
    }

    /// A look has found sizes that were not written yet, or none.
    pub(super) fn found(&mut self, any: bool) {
        self.to_leave_out = match any {
            true => 0,
            false => (2 * self.to_leave_out + 1).min(LEFT_OUT),
        };
    }
}

/// So long after the last time what was written is made durable.
const SYNC: Duration = Duration::from_secs(1);
/// The same where a power cut would have little sent twice: an everyday load would have the disk write its caches out
/// each second for ever.
const SYNC_OF_LITTLE: Duration = Duration::from_secs(5);
/// As much is not little any more.
const MUCH_BYTES: u64 = 1 << 20;
/// So often files are looked for that have grown and whose positions do not move.
const LOOK: Duration = Duration::from_secs(1);
/// So many looks in a row are left out at most.
const LEFT_OUT: u32 = 15;
/// A newly opened file is written after this, whatever the interval.
const OPENED: Duration = Duration::from_millis(20);
/// After a failure it is tried again so much later.
const RETRY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn begun(interval: Duration) -> (Schedule, Instant) {
        let start = Instant::now();
        let mut schedule = Schedule::new(interval, start);
        let now = start + 10_000 * MS;
        schedule.looked(now);
        (schedule, now)
    }

    #[test]
    fn what_moves_after_a_quiet_time_is_written_and_made_durable_at_once() {
        let (mut schedule, now) = begun(20 * MS);
        assert!(!schedule.is_write_due(now) && !schedule.is_sync_due(now));
        schedule.changed();
        assert!(schedule.is_write_due(now) && schedule.next() <= now);
        schedule.written(now);
        assert!(!schedule.is_write_due(now) && schedule.is_sync_due(now));
        schedule.synced(now);
        assert!(!schedule.is_sync_due(now));
    }

    #[test]
    fn what_moves_all_the_time_is_written_by_the_interval_and_made_durable_once_a_second() {
        let (mut schedule, start) = begun(20 * MS);
        let (mut writes, mut syncs) = (0, 0);
        for now in (0..10_000).map(|n| start + n * MS) {
            schedule.changed();
            if schedule.is_write_due(now) {
                schedule.written(now);
                writes += 1;
            }
            if schedule.is_sync_due(now) {
                schedule.synced(now);
                syncs += 1;
            }
        }
        assert_eq!((writes, syncs), (500, 10));
    }

    #[test]
    fn positions_that_move_by_little_are_made_durable_each_mebibyte_or_every_five_seconds() {
        let syncs_in_20_s = |bytes_each_ms: u64, new_at_ms: Option<u32>| {
            let (mut schedule, start) = begun(20 * MS);
            let mut at = Vec::new();
            for n in 0..20_000 {
                let now = start + n * MS;
                schedule.moved(bytes_each_ms);
                if new_at_ms == Some(n) {
                    schedule.changed_urgently();
                }
                if schedule.is_write_due(now) {
                    schedule.written(now);
                }
                if schedule.is_sync_due(now) {
                    schedule.synced(now);
                    at.push(n);
                }
            }
            at
        };
        assert_eq!(syncs_in_20_s(10, None).len(), 4);
        // 400 kB/s: a mebibyte takes 2.6 s.
        let some = syncs_in_20_s(400, None).len();
        assert!((7..=8).contains(&some), "{some}");
        assert_eq!(syncs_in_20_s(10_000, None).len(), 20);
        // A new file does not wait for it.
        let new = syncs_in_20_s(10, Some(7_000));
        assert!(new.iter().any(|n| (7_000..7_100).contains(n)), "{new:?}");
    }

    #[test]
    fn sizes_are_looked_at_each_second_where_nothing_is_acknowledged_and_rarely_where_all_is() {
        let mut looks = Looks::default();
        let mut count = |has_acked, has_found| {
            let looked = (0..160).filter(|_| {
                let looks_now = looks.is_worth_it(has_acked);
                if looks_now {
                    looks.found(has_found);
                }
                looks_now
            });
            looked.count()
        };
        assert!((10..15).contains(&count(true, false)));
        assert_eq!(count(false, false), 160);
        assert!(count(true, true) >= 145);
        assert_eq!(count(true, true), 160);
    }

    #[test]
    fn an_opened_file_does_not_wait_for_a_long_interval() {
        let (mut schedule, now) = begun(3_600_000 * MS);
        schedule.changed();
        schedule.written(now);
        schedule.changed_urgently();
        schedule.changed();
        assert!(!schedule.is_write_due(now + 19 * MS) && schedule.is_write_due(now + 20 * MS));
    }

    #[test]
    fn after_a_failure_everything_is_written_a_second_later() {
        let (mut schedule, now) = begun(MS);
        schedule.changed();
        schedule.written(now);
        schedule.failed(now);
        schedule.changed_urgently();
        assert!(!schedule.is_write_due(now + 999 * MS) && !schedule.is_sync_due(now + 999 * MS));
        assert!(schedule.is_write_due(now + 1000 * MS));
        schedule.written(now + 1000 * MS);
        schedule.succeeded();
        schedule.changed();
        assert!(schedule.is_write_due(now + 1001 * MS));
    }
}
