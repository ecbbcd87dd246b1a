//! The wall clock, and times of files.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970.
pub(super) fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Whether a change now could have the same time as the last one.
pub(super) fn mtime_is_ambiguous(modified_ns: i64) -> bool {
    now_ms() - modified_ns / 1_000_000 < CLOCK_TICK_MS
}

/// How far apart two changes are at least whose times differ: file systems take the time of the last tick.
const CLOCK_TICK_MS: i64 = 50;
