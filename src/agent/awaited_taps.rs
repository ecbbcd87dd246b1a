//! A start that somebody waits for with `logagent tap --wait`: nothing is read until he looks on, so that he sees the
//! first line. Where nobody waits, nothing is held back.

use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, never, tick};

use super::{Agent, FoundPath};
use crate::control::AwaitedTaps;
use crate::progress::Progress;

/// The files of the first look, while somebody is waited for.
#[derive(Debug)]
pub(super) struct HeldBack {
    taps: AwaitedTaps,
    found: Vec<FoundPath>,
    until: Instant,
    tick: Receiver<Instant>,
}

impl Agent {
    /// Follows what is there at the start, at once or when those look on who wait for it.
    pub(super) fn follow_first(&mut self, found: Vec<FoundPath>) {
        let taps = match &self.control {
            Some(_) => AwaitedTaps::in_folder(&self.config.agent.state_dir),
            // Nobody can look on.
            None => None,
        };
        let Some(taps) = taps else {
            return self.follow_all(found);
        };
        log::info!(
            "'logagent tap --wait' waits for the first lines: they are read when it looks on"
        );
        self.held_back = Some(HeldBack {
            taps,
            found,
            until: Instant::now() + MOST,
            tick: tick(AGAIN),
        });
    }

    /// Follows a file that was found later.
    pub(super) fn follow_later(&mut self, found: FoundPath) {
        match &mut self.held_back {
            Some(held) => held.found.push(found),
            None => self.follow(found),
        }
    }

    /// When to look whether those who wait look on.
    pub(super) fn held_back(&self) -> Receiver<Instant> {
        let held = self.held_back.as_ref();
        held.map_or_else(never, |held| held.tick.clone())
    }

    /// Follows what is held back if nobody is waited for any more.
    pub(super) fn look_for_taps(&mut self) {
        let waits = |held: &HeldBack| held.taps.are_there() && Instant::now() < held.until;
        if !self.held_back.as_ref().is_some_and(waits) {
            self.let_go();
        }
    }

    /// Follows what is held back.
    pub(super) fn let_go(&mut self) {
        if let Some(held) = self.held_back.take() {
            self.follow_all(held.found);
        }
    }

    fn follow_all(&mut self, found: Vec<FoundPath>) {
        for found in found {
            self.follow(found);
        }
        self.tell(Progress::LookedForAll);
    }
}

/// How long somebody is waited for: he looks for the agent every 50 ms.
const MOST: Duration = Duration::from_secs(3);
const AGAIN: Duration = Duration::from_millis(5);
