//! A [`Snapshot`] as JSON, and back: what the socket carries and `status --json` prints.
//!
//! Each struct lists its fields once, and both ways go along that list. The names stay as they are: a field may come,
//! none is renamed. Times are in ms since 1970, `null` where there is none.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::snapshot::{
    BootstrapStatus, BrokerStatus, ConditionStatus, ConfigStatus, FileState, FileStatus,
    FollowsNothing, Latency, LogStatus, Loss, NotFollowed, PositionsStatus, ProcessStatus,
    Snapshot, TopicStatus, TransactionStatus,
};
use crate::tap::TappedRecord;

/// What has a form in JSON.
pub(super) trait Fields {
    /// One without anything in it.
    fn empty() -> Self
    where
        Self: Sized;

    /// Shows each field with its name.
    fn each(&mut self, visit: &mut dyn FnMut(&'static str, Field<'_>));
}

/// A field, to be read from or written to.
pub(super) enum Field<'a> {
    Number(&'a mut u64),
    Small(&'a mut u32),
    /// Follows from others; is not read back.
    Derived(u64),
    Flag(&'a mut bool),
    Text(&'a mut String),
    MaybeText(&'a mut Option<String>),
    /// As it is shown.
    Path(&'a mut PathBuf),
    MaybePath(&'a mut Option<PathBuf>),
    Time(&'a mut Option<SystemTime>),
    At(&'a mut SystemTime),
    Millis(&'a mut Duration),
    Micros(&'a mut Duration),
    /// Why, and since when.
    Since(&'a mut Option<(String, SystemTime)>),
    /// An object of numbers.
    Counts(&'a mut Vec<(String, u64)>),
    /// As `Counts`, by words that are known.
    ByWord(&'a mut Vec<(&'static str, u64)>),
    Numbers(&'a mut [u64]),
    Words(&'a mut Vec<String>),
    State(&'a mut FileState),
    Level(&'a mut log::Level),
    One(&'a mut dyn Fields),
    Many(&'a mut dyn Rows),
}

/// A list of what has fields.
pub(super) trait Rows {
    fn count(&self) -> usize;
    fn row(&mut self, at: usize) -> Option<&mut dyn Fields>;
    fn add(&mut self) -> &mut dyn Fields;
}

impl<T: Fields> Rows for Vec<T> {
    fn count(&self) -> usize {
        self.len()
    }

    fn row(&mut self, at: usize) -> Option<&mut dyn Fields> {
        self.get_mut(at).map(|row| row as &mut dyn Fields)
    }

    fn add(&mut self) -> &mut dyn Fields {
        self.push(T::empty());
        let last = self.len() - 1;
        &mut self[last]
    }
}

/// Writes [`Fields`] for structs that have a default.
macro_rules! fields {
    ($($kind:ty { $($name:literal: $field:ident $(. $inner:ident)* as $form:ident,)* })*) => {
        $(impl Fields for $kind {
            fn empty() -> Self {
                <$kind>::default()
            }

            fn each(&mut self, visit: &mut dyn FnMut(&'static str, Field<'_>)) {
                $(visit($name, Field::$form(&mut self.$field $(. $inner)*));)*
            }
        })*
    };
}

fields! {
    Snapshot {
        "process": process as One,
        "config": config as One,
        "logs": logs as Many,
        "files": files as Many,
        "topics": topics as Many,
        "brokers": brokers as Many,
        "bootstrap": bootstrap as Many,
        "exactly_once": exactly_once as Text,
        "transactions": transactions as Many,
        "conditions": conditions as Many,
        "produce_errors": produce_errors as Counts,
        "produce_latency": produce_latency as One,
        "positions": positions as One,
        "unanswered": unanswered as Words,
        "not_followed": not_followed as Many,
        "not_followed_counts": not_followed_counts as Counts,
        "follows_nothing": follows_nothing as Many,
        "unfollowed_files": unfollowed.files as Number,
        "unfollowed_bytes": unfollowed.bytes as Number,
        "unfollowed": unfollowed.first as Words,
        "losses": losses as Many,
        "rates_over_ms": rates_over as Millis,
        "minute_records": minute.records as Number,
        "minute_bytes": minute.bytes as Number,
        "minute_over_ms": minute.over as Millis,
    }
    NotFollowed {
        "path": path as Path,
        "log": log as Text,
        "kind": kind as Text,
        "reason": reason as Text,
    }
    FollowsNothing {
        "log": log as Text,
        "why": why as Text,
    }
    Loss {
        "at_ms": at as At,
        "log": log as Text,
        "path": path as Text,
        "bytes": bytes as Number,
        "offset": offset as Number,
        "why": why as Text,
    }
    ProcessStatus {
        "version": version as Text,
        "commit": commit as Text,
        "pid": pid as Small,
        "started_ms": started as Time,
        "memory_used_bytes": memory_used as Number,
        "memory_limit_bytes": memory_limit as Number,
        "threads": threads as Number,
        "files_open": files_open as Number,
        "resident_bytes": resident as Number,
        "descriptors": descriptors as Number,
        "descriptors_limit": most_descriptors as Number,
    }
    ConfigStatus {
        "path": path as Path,
        "modified_ms": modified as Time,
        "reloads_applied": applied as Number,
        "reloads_refused": refused as Number,
        "last_applied_ms": last_applied as Time,
        "refusal": refusal as MaybeText,
        "changed_since_read": is_changed as Flag,
        "waits_for_restart": waits_for_restart as Words,
        "certificates": certificates as Many,
    }
    LogStatus {
        "name": name as Text,
        "read_bytes": read_bytes as Number,
        "read_lines": read_lines as Number,
        "events": events as Number,
        "dropped_events": dropped as Counts,
        "masked": masked as Counts,
        "split_events": split as Number,
        "parse_failures": parse_failures as ByWord,
        "acked_bytes": acked_bytes as Number,
        "acked_records": acked_records as Number,
        "lost_bytes": lost_bytes as ByWord,
        "last_lost_ms": last_lost as Time,
        "rate_limited_ms": rate_limited as Millis,
        "rate_limit": rate_limit as MaybeText,
        "held_by_rate_limit": is_held as Flag,
        "files_behind": files_behind as Number,
        "lag_bytes": lag_bytes as Number,
        "topics": topics as Words,
        "troubled_topics": troubled_topics as Words,
        "former_topics": former_topics as Words,
        "removed": is_removed as Flag,
        "read_bytes_per_second": read_rate as Number,
        "acked_bytes_per_second": acked_rate as Number,
    }
    TopicStatus {
        "name": name as Text,
        "acked_records": acked_records as Number,
        "in_flight_bytes": in_flight_bytes as Number,
        "retries": retries as Number,
        "dead_letter_records": dead_letters as Counts,
        "parked": parked as Since,
        "next_try_ms": next_try as Time,
        "waits_for_broker": waits_for_broker as Flag,
        "acked_records_per_second": acked_rate as Number,
    }
    BrokerStatus {
        "address": address as Text,
        "about": about as Text,
        "up_since_ms": up_since as Time,
        "in_flight_requests": in_flight_requests as Number,
        "in_flight_bytes": in_flight_bytes as Number,
        "requests": requests as Number,
        "latency": latency as One,
        "recent_latency": recent_latency as One,
        "last_error": last_error as MaybeText,
        "next_try_ms": next_try as Time,
    }
    BootstrapStatus {
        "address": address as Text,
        "asked": is_asked as Flag,
        "error": error as MaybeText,
        "error_since_ms": error_since as Time,
    }
    TransactionStatus {
        "id": id as Text,
        "committed": committed as Number,
        "aborted": aborted as Number,
        "open_since_ms": open_since as Time,
    }
    Latency {
        "counts": counts as Numbers,
        "sum_us": sum as Micros,
    }
    PositionsStatus {
        "count": count as Number,
        "written_ms": written as Time,
        "is_due": is_due as Flag,
        "write_failures": failures as Number,
    }
    TappedRecord {
        "topic": topic as Text,
        "partition": partition as Text,
        "key": key as MaybeText,
        "headers": headers as Words,
        "time_ms": time as At,
        "path": path as Path,
        "offset": offset as Number,
        "value": value as Text,
        "left_out_bytes": left_out as Number,
        "missed": missed as Number,
    }
}

impl Fields for FileStatus {
    fn empty() -> Self {
        FileStatus::default()
    }

    fn each(&mut self, visit: &mut dyn FnMut(&'static str, Field<'_>)) {
        visit("path", Field::Path(&mut self.path));
        visit("path_now", Field::MaybePath(&mut self.path_now));
        visit("deleted", Field::Flag(&mut self.is_deleted));
        visit("log", Field::Text(&mut self.log));
        visit("state", Field::State(&mut self.state));
        visit("position", Field::Number(&mut self.position));
        visit("size", Field::Number(&mut self.size));
        visit("lag_bytes", Field::Derived(self.waits()));
        visit("unended_bytes", Field::Number(&mut self.unended));
        visit("behind_since_ms", Field::Time(&mut self.behind_since));
    }
}

impl Fields for ConditionStatus {
    fn empty() -> Self {
        ConditionStatus {
            subject: String::new(),
            reason: String::new(),
            since: UNIX_EPOCH,
            next_try: None,
            waiting: 0,
            level: log::Level::Warn,
        }
    }

    fn each(&mut self, visit: &mut dyn FnMut(&'static str, Field<'_>)) {
        visit("subject", Field::Text(&mut self.subject));
        visit("reason", Field::Text(&mut self.reason));
        visit("since_ms", Field::At(&mut self.since));
        visit("next_try_ms", Field::Time(&mut self.next_try));
        visit("level", Field::Level(&mut self.level));
        visit("waiting_bytes", Field::Number(&mut self.waiting));
    }
}

/// A certificate, and when it ends.
impl Fields for (PathBuf, SystemTime) {
    fn empty() -> Self {
        (PathBuf::new(), UNIX_EPOCH)
    }

    fn each(&mut self, visit: &mut dyn FnMut(&'static str, Field<'_>)) {
        visit("file", Field::Path(&mut self.0));
        visit("expires_ms", Field::At(&mut self.1));
    }
}

/// The words of [`FileState`].
pub(super) const STATES: [(FileState, &str); 5] = [
    (FileState::AtEnd, "at_end"),
    (FileState::Behind, "behind"),
    (FileState::Waiting, "waiting"),
    (FileState::Rotated, "rotated"),
    (FileState::Failed, "failed"),
];
/// What things are counted by.
pub(super) const KNOWN: [&str; 8] = [
    "truncated",
    "deleted",
    "limit",
    "container",
    "encoding",
    "json",
    "regex",
    "time",
];

pub(super) fn state_word(state: FileState) -> &'static str {
    let mut words = STATES.iter();
    words
        .find(|(known, _)| *known == state)
        .map_or("", |(_, word)| word)
}
