//! Other patterns than before.

use std::time::Instant;

use super::Watcher;
use super::hanging::renumbered;
use crate::tail::watch::folders::{Changed, Folders};
use crate::tail::watch::scans::{SCAN_INTERVAL, Scans};
use crate::tail::watch::watches::Follow;

impl Watcher {
    /// Goes over to other patterns. What is under way for the old ones counts no more: all folders of the new ones are
    /// walked through. The watches stay until that is over.
    pub(super) fn begin_anew(&mut self, follow: Follow) {
        if let Some(first) = self.first.take() {
            first.report();
        }
        let now = Instant::now();
        self.asker.follow(follow.discovery.clone());
        self.scans = Scans::new(follow.discovery.patterns().count(), now);
        self.folders = Folders::default();
        self.changed = Changed::default();
        self.notices.begin_anew(&follow.discovery, now);
        let hanging = std::mem::take(&mut self.hanging);
        self.hanging = renumbered(hanging, &self.discovery, &follow.discovery);
        self.walks.clear();
        self.looks.clear();
        self.next_tidy = now + SCAN_INTERVAL;
        (self.discovery, self.gathering) = (follow.discovery, follow.gathering);
        self.first = Some(follow.first);
    }
}
