//! Whether the run before came to its end. The lock of the state folder says so: see [`RunMark`](crate::checkpoint::RunMark).

use std::time::SystemTime;

use super::{Agent, AgentError};
use crate::checkpoint::Store;
use crate::config::Config;
use crate::wall_clock::clock;

impl Agent {
    /// The end is in order if all positions are written and nothing was torn out of its work.
    pub(super) fn clear_run_mark(&mut self) {
        let has_panicked = matches!(self.failure, Some(AgentError::Panicked { .. }));
        if let Some(mark) = self
            .run_mark
            .take_if(|_| !self.has_registrar && !has_panicked)
        {
            mark.clear();
        }
    }
}

/// Says that the run before was cut off, if it was, and what follows from that.
pub(super) fn say_if_cut_off(store: &Store, config: &Config) {
    if !store.was_cut_off() {
        return;
    }
    let now = SystemTime::now();
    let written = match store.last_written() {
        Some(at) => format!("positions were written last at {}", clock(at, now)),
        None => "no positions were written".to_owned(),
    };
    let again = match config.kafka.exactly_once {
        None => "what was delivered after that, if anything was, comes twice",
        Some(_) => "with exactly_once nothing comes twice",
    };
    log::warn!(
        "the run before did not end in order (it was killed, it failed, or the host lost power): {written}; {again}"
    );
}
