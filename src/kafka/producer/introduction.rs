//! The first look at the brokers, where there is nothing to send.
//!
//! Without it a wrong address, or a login that is refused, would stay unseen until the first line comes. Brokers are asked
//! who they are, and for no topic: one that is asked for may be made by that. What is sent soon after the start asks for
//! itself, and once they have answered nothing more is asked.

use std::time::{Duration, Instant};

use super::machine::Machine;

impl Machine {
    /// From `now` on the brokers are asked who they are, unless something is sent soon.
    pub(crate) fn introduces_itself(&mut self, now: Instant) {
        self.introduce_at = Some(now + PATIENCE);
    }

    /// Asks if that is due. Returns when it is.
    pub(super) fn introduce(&mut self, now: Instant) -> Option<Instant> {
        let at = self.introduce_at?;
        let has_answered = self.cluster.schedule.has_answered();
        if has_answered || self.has_topics() || self.finishing {
            self.introduce_at = None;
            if has_answered {
                self.cluster.know_again();
            }
            if at <= now {
                // No line waits for the end of a pause that is not due to it.
                self.cluster.schedule.pause_until(now);
            }
            return None;
        }
        match at > now {
            true => Some(at),
            false => self.ask_for_metadata(now),
        }
    }
}

/// What is there at the start is read within this time.
const PATIENCE: Duration = Duration::from_millis(250);
