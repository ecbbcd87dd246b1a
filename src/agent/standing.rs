//! How everything stands, for whoever asks the main thread.
//!
//! What is counted is read where it is counted. What only the registrar knows it is asked for, and the main thread goes
//! on meanwhile: an answer that does not come in time is missing in the snapshot, which says so.

use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, never};

use super::Agent;
use crate::control::Request;
use crate::progress::Progress;
use crate::snapshot::{Positions, Snapshot};

/// Snapshots that are asked for.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// Who gets the one that is being gathered.
    asking: Vec<Sender<Snapshot>>,
    /// Who came after that was begun: theirs is another one.
    later: Vec<Sender<Snapshot>>,
    /// Where the registrar answers, and until when that is waited for.
    awaited: Option<(Receiver<Positions>, Instant)>,
}

impl Standing {
    /// Where the registrar answers.
    pub(super) fn answers(&self) -> Receiver<Positions> {
        let awaited = self.awaited.as_ref();
        awaited.map_or_else(never, |(answers, _)| answers.clone())
    }

    /// When its answer is waited for no longer.
    pub(super) fn overdue(&self) -> Receiver<Instant> {
        let awaited = self.awaited.as_ref();
        awaited.map_or_else(never, |(_, at)| crossbeam_channel::at(*at))
    }
}

impl Agent {
    /// Serves what somebody asks.
    pub(super) fn on_request(&mut self, request: Request) {
        match request {
            Request::Snapshot(answer) => self.standing.later.push(answer),
            Request::Reload(answer) => self.on_reload(answer),
        }
        self.begin_snapshot();
    }

    /// Asks the registrar, if somebody waits for a snapshot and none is being gathered.
    fn begin_snapshot(&mut self) {
        let standing = &mut self.standing;
        if standing.awaited.is_some() || standing.later.is_empty() {
            return;
        }
        standing.asking = std::mem::take(&mut standing.later);
        let (answer, answers) = bounded(1);
        let asked = match &self.progress {
            Some(registrar) => registrar.try_send(Progress::Asked(answer)),
            None => Err(TrySendError::Disconnected(Progress::Asked(answer))),
        };
        // Where it cannot even be asked the answer is overdue at once.
        let patience = asked.map_or(Duration::ZERO, |()| PATIENCE);
        standing.awaited = Some((answers, Instant::now() + patience));
    }

    /// Hands out the snapshot; without positions if the registrar has not answered.
    pub(super) fn end_snapshot(&mut self, positions: Option<Positions>) {
        self.standing.awaited = None;
        let snapshot = self.snapshot(positions);
        for asker in std::mem::take(&mut self.standing.asking) {
            // Who does not wait any more is not waited for.
            let _ = asker.try_send(snapshot.clone());
        }
        self.begin_snapshot();
    }

    fn snapshot(&self, positions: Option<Positions>) -> Snapshot {
        let mut snapshot = Snapshot {
            config: self.reloading.status.clone(),
            ..Snapshot::default()
        };
        match positions {
            Some(positions) => {
                snapshot.files = positions.files;
                snapshot.positions = positions.status;
            }
            None => snapshot.unanswered.push("registrar".to_owned()),
        }
        snapshot
    }
}

/// So long an answer is waited for.
const PATIENCE: Duration = Duration::from_millis(500);
