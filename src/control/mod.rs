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
//! A request on the socket is one line, `status`, `tap NAME [COUNT]`; the answer is a line `ok` or `failed`, the text
//! behind it, and the end of the connection. A new request is a variant of [`Request`] and a row in `server::WORDS`.

mod client;
mod server;
mod socket;

use crossbeam_channel::Sender;

pub use client::{AskError, ask};
pub use server::Control;

use crate::snapshot::Snapshot;

/// What the main thread is asked.
#[derive(Debug)]
pub enum Request {
    /// How everything stands.
    Snapshot(Sender<Snapshot>),
}

/// An answer in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Whether it was done as asked.
    pub is_ok: bool,
    /// Lines for the operator, each with its newline.
    pub text: String,
}
