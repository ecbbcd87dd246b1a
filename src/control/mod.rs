//! What an operator asks a running agent, and what it answers.
//!
//! A [`Request`] goes into the one inbox of the main thread, with the channel for its answer. A [`Snapshot`] is plain
//! data: what `status`, the metrics and the summary in the log are made of, so that they cannot disagree.

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::snapshot::Snapshot;

/// What the main thread is asked.
#[derive(Debug)]
pub enum Request {
    /// How everything stands.
    Snapshot(Sender<Snapshot>),
}

/// The one inbox of the main thread. Whoever wants something of it has a [`Inbox::sender`].
#[derive(Debug)]
pub struct Inbox {
    sender: Sender<Request>,
    requests: Receiver<Request>,
}

impl Inbox {
    /// An empty one.
    #[expect(clippy::new_without_default, reason = "it has two ends")]
    pub fn new() -> Self {
        let (sender, requests) = bounded(MOST_WAITING);
        Inbox { sender, requests }
    }

    /// Where requests are put.
    pub fn sender(&self) -> Sender<Request> {
        self.sender.clone()
    }

    /// Where they arrive. It is never disconnected.
    pub fn requests(&self) -> &Receiver<Request> {
        &self.requests
    }
}

/// So many requests wait at most; who has one more waits with it.
const MOST_WAITING: usize = 64;
