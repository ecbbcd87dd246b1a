//! What an operator asks a running agent, and what it answers.
//!
//! A [`Request`] goes into the one inbox of the main thread, with the channel for its answer. A [`Snapshot`] is plain
//! data: what `status`, the metrics and the summary in the log are made of, so that they cannot disagree.
//!
//! ```text
//! logagent status, tap, reload --control.sock--+
//!                                              +--> control thread --Request--> main thread
//! Prometheus, a browser -----metrics_listen----+
//! ```
//! A request on the socket is one line, `status`, `why PATH`, `tap NAME [COUNT]`; the answer is a line `ok` or `failed`,
//! the text behind it, and the end of the connection. A new request is a variant of [`Request`] and a row in
//! `server::WORDS`.

mod awaited;
mod client;
mod elsewhere;
mod exposition;
mod http;
mod look;
mod measures;
mod metrics_table;
mod page;
mod reload;
mod screen;
mod server;
mod socket;
mod status;
mod stream;
mod table;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic fails the test")]
mod tests;
mod thread;
mod wire;
mod wire_json;

use std::path::PathBuf;

use crossbeam_channel::{Receiver, Sender, bounded};

pub use awaited::AwaitedTaps;
pub use client::{AskError, ask, reload};
pub use elsewhere::other_state_dir;
pub use look::tap;
pub use reload::{ChangeKind, ReloadChange, ReloadOutcome, ReloadReport};
pub use status::{Health, status};
pub use thread::Control;

use crate::snapshot::Snapshot;

/// What the main thread is asked.
#[derive(Debug)]
pub enum Request {
    /// How everything stands.
    Snapshot(Sender<Snapshot>),
    /// To read the ini again; the answer is what has become of it.
    Reload(Sender<Answer>),
    /// Whether a path is followed; the answer is by which section, or why not.
    Why(PathBuf, Sender<Answer>),
}

/// An answer in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Whether it was done as asked.
    pub is_ok: bool,
    /// Lines for the operator, each with its newline.
    pub text: String,
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
