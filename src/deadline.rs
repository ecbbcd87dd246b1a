//! The deadline of a stop, shared by all threads.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

/// Set once, when the agent is asked to stop: by then everything ends.
#[derive(Debug, Clone, Default)]
pub struct Deadline(Arc<OnceLock<Instant>>);

impl Deadline {
    /// Sets it; only the first call counts.
    pub fn set(&self, at: Instant) {
        let _ = self.0.set(at);
    }

    /// The deadline, if a stop was asked for.
    pub fn get(&self) -> Option<Instant> {
        self.0.get().copied()
    }
}
