//! What an operator asks a running agent, and what it answers.
//!
//! A [`Request`] goes into the one inbox of the main thread, with the channel for its answer. A [`Snapshot`] is plain
//! data: what `status`, the metrics and the summary in the log are made of, so that they cannot disagree.

use crossbeam_channel::Sender;

use crate::snapshot::Snapshot;

/// What the main thread is asked.
#[derive(Debug)]
pub enum Request {
    /// How everything stands.
    Snapshot(Sender<Snapshot>),
}
