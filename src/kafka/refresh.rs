//! When metadata is asked for.

use std::time::{Duration, Instant};

use super::backoff::Backoff;

/// Metadata is asked for no less often than this.
const METADATA_INTERVAL: Duration = Duration::from_secs(300);

/// When metadata is due.
#[derive(Debug)]
pub(super) struct Refresh {
    /// Something happened that new metadata may explain.
    pub(super) wanted: bool,
    /// Something waits that only new metadata can help: ask now and then, less and less often. This
    /// is apart from `wanted`, so that a topic that is parked does not slow down the others.
    pub(super) probe_at: Option<Instant>,
    pub(super) probe_backoff: Backoff,
    pub(super) not_before: Instant,
    pub(super) asked: Option<Instant>,
    pub(super) answered: Option<Instant>,
}

impl Refresh {
    /// When to ask next.
    pub(super) fn due(&self) -> Instant {
        let due = match (self.wanted, self.probe_at, self.answered) {
            (true, ..) | (_, None, None) => self.not_before,
            (_, Some(probe_at), _) => probe_at,
            (_, _, Some(answered)) => answered + METADATA_INTERVAL,
        };
        due.max(self.not_before)
    }
}
