//! When metadata is asked for.

use std::time::{Duration, Instant};

use crate::backoff::Backoff;

/// Metadata is asked for no less often than this.
const METADATA_INTERVAL: Duration = Duration::from_secs(300);

/// When metadata is due.
#[derive(Debug)]
pub(crate) struct MetadataSchedule {
    /// Something happened that new metadata may explain.
    pub(crate) wanted: bool,
    /// Something waits that only new metadata can help: ask now and then, less and less often. This
    /// is apart from `wanted`, so that a topic that is parked does not slow down the others.
    pub(crate) probe_at: Option<Instant>,
    pub(crate) probe_backoff: Backoff,
    pub(crate) not_before: Instant,
    pub(crate) asked: Option<Instant>,
    pub(crate) answered: Option<Instant>,
}

impl MetadataSchedule {
    /// When to ask next.
    pub(crate) fn due(&self) -> Instant {
        let due = match (self.wanted, self.probe_at, self.answered) {
            (true, ..) | (_, None, None) => self.not_before,
            (_, Some(probe_at), _) => probe_at,
            (_, _, Some(answered)) => answered + METADATA_INTERVAL,
        };
        due.max(self.not_before)
    }
}
