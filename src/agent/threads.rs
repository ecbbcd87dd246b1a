//! Threads whose end, a panic included, is told to the main thread.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::thread;

use crossbeam_channel::Sender;

use super::AgentError;
use crate::output::WorkerEnd;
use crate::tail::lanes::Lanes;
use crate::thread_panic::panic_message;

/// What a thread's end tells the main thread.
#[derive(Debug)]
pub(super) struct ThreadExit {
    pub(super) name: String,
    pub(super) role: Role,
    pub(super) outcome: Outcome,
}

#[derive(Debug)]
pub(super) enum Role {
    /// What it followed.
    Tailer(Arc<Path>),
    Scheduler,
    Producer,
    Registrar,
    Watcher,
}

#[derive(Debug)]
pub(super) enum Outcome {
    /// Everything that it was asked to do is done.
    Complete,
    /// Something was left undone.
    Incomplete,
    Output(WorkerEnd),
    Panicked(String),
}

impl From<bool> for Outcome {
    fn from(done: bool) -> Self {
        match done {
            true => Outcome::Complete,
            false => Outcome::Incomplete,
        }
    }
}

impl From<WorkerEnd> for Outcome {
    fn from(end: WorkerEnd) -> Self {
        Outcome::Output(end)
    }
}

/// Starts a thread whose end, a panic included, is reported on `exits`.
pub(super) fn spawn<B: Into<Outcome>>(
    exits: Sender<ThreadExit>,
    name: String,
    role: Role,
    body: impl FnOnce() -> B + Send + 'static,
) -> Result<(), AgentError> {
    let thread_name = name.clone();
    let run = move || {
        let outcome = match catch_unwind(AssertUnwindSafe(body)) {
            Ok(done) => done.into(),
            Err(panic) => Outcome::Panicked(panic_message(&*panic)),
        };
        let _ = exits.send(ThreadExit {
            name,
            role,
            outcome,
        });
    };
    thread::Builder::new()
        .name(thread_name.clone())
        .stack_size(STACK_BYTES)
        .spawn(run)
        .map(drop)
        .map_err(|error| AgentError::Start {
            name: thread_name,
            error,
        })
}

/// The threads that ask file systems; one that panics is reported as the watcher's end.
pub(super) fn lanes(exits: Sender<ThreadExit>) -> Lanes {
    Lanes::new(move |message| {
        let _ = exits.send(ThreadExit {
            name: "scan".into(),
            role: Role::Watcher,
            outcome: Outcome::Panicked(message),
        });
    })
}

/// Enough for every thread here, and untouched pages cost nothing.
const STACK_BYTES: usize = 512 << 10;

#[cfg(test)]
mod tests {
    use crossbeam_channel::unbounded;

    use super::*;

    #[test]
    fn a_panic_in_a_thread_is_reported_with_its_words() {
        let (exits, exited) = unbounded();
        let body = || -> bool { panic!("no {} here", "bread") };
        spawn(exits, "watch".into(), Role::Watcher, body).expect("starts");
        let ThreadExit { name, outcome, .. } = exited.recv().expect("ends");
        assert_eq!(name, "watch");
        assert!(matches!(outcome, Outcome::Panicked(words) if words == "no bread here"));
    }
}
