//! What is there when the agent starts.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::tail::discover::FoundPath;

/// What was there when the agent started.
#[derive(Debug)]
pub struct FirstLook {
    /// The files, and the known paths that lead nowhere now; each path once.
    pub found: Vec<FoundPath>,
    /// How many of them were known.
    pub known: usize,
}

/// What is gathered for [`FirstLook`].
#[derive(Debug)]
pub(super) struct First {
    sender: Sender<FirstLook>,
    found: Vec<FoundPath>,
    known: HashSet<Arc<Path>>,
    /// Jobs that see which of the known paths lead nowhere.
    jobs: usize,
    /// What has not been seen by then comes later.
    until: Option<Instant>,
}

impl First {
    /// Nothing is seen yet. These paths are `known`; it is over at `until`, whatever is still missing.
    pub(super) fn new(
        known: HashSet<Arc<Path>>,
        until: Option<Instant>,
    ) -> (First, Receiver<FirstLook>) {
        let (sender, first_look) = bounded(1);
        let first = First {
            sender,
            found: Vec::new(),
            known,
            jobs: 0,
            until,
        };
        (first, first_look)
    }

    pub(super) fn known(&self) -> &HashSet<Arc<Path>> {
        &self.known
    }

    pub(super) fn until(&self) -> Option<Instant> {
        self.until
    }

    /// So many jobs see which of the known paths lead nowhere.
    pub(super) fn begin_jobs(&mut self, jobs: usize) {
        self.jobs = jobs;
    }

    pub(super) fn end_job(&mut self) {
        self.jobs = self.jobs.saturating_sub(1);
    }

    pub(super) fn add(&mut self, found: FoundPath) {
        self.found.push(found);
    }

    /// Whether nothing is waited for any more, given whether all folders were seen.
    pub(super) fn is_over(&self, is_complete: bool, now: Instant) -> bool {
        (is_complete && self.jobs == 0) || self.until.is_some_and(|until| now >= until)
    }

    /// Tells what was seen.
    pub(super) fn report(self) {
        let mut seen = HashSet::new();
        let mut found = self.found;
        found.retain(|found| seen.insert(found.path.clone()));
        let known = seen
            .iter()
            .filter(|path| self.known.contains(*path))
            .count();
        // Without a main thread the process is about to end.
        let _ = self.sender.send(FirstLook { found, known });
    }
}
