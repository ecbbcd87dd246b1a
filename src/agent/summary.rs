//! The snapshot in a line of the log.

use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::config::LogConfig;
use crate::shown::{Lasts, ShownPath, Size};
use crate::snapshot::{ConditionStatus, FileStatus, Snapshot};

/// What only grows, of all sections and topics together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Totals {
    read_bytes: u64,
    acked_bytes: u64,
    acked_records: u64,
    lost_bytes: u64,
    dead_letters: u64,
}

impl Totals {
    /// Those of a snapshot.
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        let logs = &snapshot.logs;
        let lost = logs.iter().flat_map(|log| &log.lost_bytes);
        let topics = snapshot.topics.iter();
        let dead = topics.flat_map(|topic| &topic.dead_letters);
        Totals {
            read_bytes: logs.iter().map(|log| log.read_bytes).sum(),
            acked_bytes: logs.iter().map(|log| log.acked_bytes).sum(),
            acked_records: logs.iter().map(|log| log.acked_records).sum(),
            lost_bytes: lost.map(|(_, bytes)| bytes).sum(),
            dead_letters: dead.map(|(_, records)| records).sum(),
        }
    }

    /// The line about what has moved since there were those of `before`; none if nothing has.
    pub(super) fn since(
        &self,
        before: &Totals,
        snapshot: &Snapshot,
        now: SystemTime,
    ) -> Option<String> {
        if self == before {
            return None;
        }
        let behind = snapshot.files.iter().filter(|file| file.is_behind());
        let lag: u64 = behind.clone().map(FileStatus::waits).sum();
        let mut line = format!(
            "in the last minute {} read, {} acknowledged as {} records; {} of {} files behind",
            Size(self.read_bytes - before.read_bytes),
            Size(self.acked_bytes - before.acked_bytes),
            self.acked_records - before.acked_records,
            behind.clone().count(),
            snapshot.files.len(),
        );
        if lag > 0 {
            let _ = write!(line, " by {}", Size(lag));
        }
        let oldest = behind.filter_map(|file| file.behind_since).min();
        if let Some(age) = oldest.and_then(|oldest| now.duration_since(oldest).ok())
            && age >= WORTH_SAYING
        {
            let _ = write!(line, " and at least {}", Lasts(age));
        }
        let lost = self.lost_bytes - before.lost_bytes;
        if lost > 0 {
            let _ = write!(line, "; {} lost", Size(lost));
        }
        let dead = self.dead_letters - before.dead_letters;
        if dead > 0 {
            let _ = write!(line, "; {dead} dead letters");
        }
        Some(line)
    }
}

/// The line about a condition that has lasted for so long, with what waits for its end.
pub(super) fn still_wrong(
    condition: &ConditionStatus,
    lasted: Duration,
    snapshot: &Snapshot,
    logs: &[Arc<LogConfig>],
) -> String {
    let ConditionStatus {
        subject, reason, ..
    } = condition;
    let lag = |waits: &dyn Fn(&FileStatus) -> bool| {
        let files = snapshot.files.iter().filter(|file| waits(file));
        files.map(FileStatus::waits).sum::<u64>()
    };
    let waiting = if let Some(topic) = subject.strip_prefix("topic ") {
        let goes_there = |file: &FileStatus| {
            let log = logs.iter().find(|log| log.name == file.log);
            log.is_some_and(|log| log.destination.may_be(topic))
        };
        lag(&goes_there)
    } else if subject.starts_with('/') {
        lag(&|file| ShownPath(&file.path).to_string() == *subject)
    } else {
        lag(&|_| true)
    };
    format!(
        "{subject}: {reason}; for {} now, and {} wait",
        Lasts(lasted),
        Size(waiting)
    )
}

/// What is younger is on its way.
const WORTH_SAYING: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{LogStatus, TopicStatus};

    fn file(path: &str, log: &str, position: u64, size: u64, unended: u64) -> FileStatus {
        FileStatus {
            path: path.into(),
            log: log.into(),
            position,
            size,
            unended,
            behind_since: Some(SystemTime::UNIX_EPOCH),
            ..FileStatus::default()
        }
    }

    fn snapshot() -> Snapshot {
        let log = LogStatus {
            read_bytes: 3 << 20,
            acked_bytes: 2 << 20,
            acked_records: 41_204,
            lost_bytes: vec![("truncated", 10), ("deleted", 2)],
            ..LogStatus::default()
        };
        let topic = TopicStatus {
            dead_letters: vec![("MESSAGE_TOO_LARGE".into(), 2)],
            ..TopicStatus::default()
        };
        Snapshot {
            logs: vec![log],
            topics: vec![topic],
            files: vec![
                file("/a", "a", 0, 1 << 20, 0),
                file("/b", "b", 5, 5, 0),
                file("/c", "c", 0, 7, 7),
            ],
            ..Snapshot::default()
        }
    }

    #[test]
    fn what_moved_in_a_minute_is_one_line_and_nothing_is_none() {
        let mut snapshot = snapshot();
        // The same bytes as a status shows: without the beginning of a line.
        (snapshot.files[0].size, snapshot.files[0].unended) = ((1 << 20) + 9000, 9000);
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(250);
        let totals = Totals::of(&snapshot);
        let line = totals.since(&Totals::default(), &snapshot, now);
        assert_eq!(
            line.as_deref(),
            Some(
                "in the last minute 3.0 MiB read, 2.0 MiB acknowledged as 41204 records; 1 of 3 files behind by \
                 1.0 MiB and at least 4m10s; 12 B lost; 2 dead letters"
            )
        );
        assert_eq!(totals.since(&totals, &snapshot, now), None);
    }

    #[test]
    fn what_lasts_is_said_with_what_waits_for_it() {
        let said = |subject: &str| {
            let condition = ConditionStatus {
                subject: subject.into(),
                reason: "no".into(),
                since: SystemTime::UNIX_EPOCH,
                level: log::Level::Warn,
                next_try: None,
                waiting: 0,
            };
            still_wrong(&condition, Duration::from_secs(1200), &snapshot(), &[])
        };
        // The beginning of a line waits for its end.
        assert_eq!(said("/c"), "/c: no; for 20m now, and 0 B wait");
        assert_eq!(
            said("broker k:1"),
            "broker k:1: no; for 20m now, and 1.0 MiB wait"
        );
        assert_eq!(said("topic t"), "topic t: no; for 20m now, and 0 B wait");
    }
}
