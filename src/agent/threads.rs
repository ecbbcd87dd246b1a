//! Threads whose end, a panic included, is told to the main thread. How many the system gives this process, and
//! who has them where they are few: the producers and their connections first, since without them nothing is
//! delivered; what is left follows files, which take turns.

use std::path::Path;
use std::sync::Arc;
use std::{fs, thread};

use crossbeam_channel::Sender;
use rustix::process::{Resource, getrlimit, getuid};

use crate::output::WorkerEnd;
use crate::panics::catch_or_report;
use crate::tail::lanes::Lanes;

use super::{AgentError, control_group};

/// What a thread's end tells the main thread.
#[derive(Debug)]
pub(super) struct ThreadExit {
    pub(super) name: String,
    pub(super) role: Role,
    pub(super) outcome: Outcome,
}

#[derive(Debug, Clone)]
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
    let told = (exits.clone(), name.clone(), role.clone());
    let report = move |words| {
        let (exits, name, role) = told;
        let outcome = Outcome::Panicked(words);
        let _ = exits.send(ThreadExit {
            name,
            role,
            outcome,
        });
    };
    let run = move || {
        let outcome = match catch_or_report(report, body) {
            Ok(done) => done.into(),
            Err(words) => Outcome::Panicked(words),
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

/// A limit of the system on threads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ThreadLimit {
    /// How many there may be.
    most: usize,
    /// How many of them are taken.
    taken: usize,
    /// Where it can be changed.
    of: &'static str,
}

/// Who has how many threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ThreadShares {
    pub(super) producers: usize,
    /// Threads that follow files.
    pub(super) tailers: usize,
}

impl ThreadLimit {
    /// The limit that leaves the fewest, if there is any.
    pub(super) fn read() -> Option<ThreadLimit> {
        let groups = control_group::own_folders("pids");
        let of_groups = groups.iter().filter_map(|folder| of_group(folder));
        of_user()
            .into_iter()
            .chain(of_groups)
            .min_by_key(ThreadLimit::left)
    }

    fn left(&self) -> usize {
        self.most.saturating_sub(self.taken)
    }

    /// Divides what is left, where `wanted` producers are to run.
    pub(super) fn share(&self, wanted: usize) -> ThreadShares {
        let left = self.left().saturating_sub(OTHERS);
        let producers = wanted.min(left.saturating_sub(1) / EACH_PRODUCER).max(1);
        let tailers = left.saturating_sub(producers * EACH_PRODUCER).max(1);
        ThreadShares { producers, tailers }
    }

    /// Says it, where it holds anything up.
    pub(super) fn say(&self, wanted: usize, shares: ThreadShares) {
        if shares.producers < wanted || shares.tailers < FEW {
            log::warn!(
                "{} threads at most ({}), {} of them taken at the start: {} of {wanted} producers run, and {} \
                 threads follow files, which take turns",
                self.most,
                self.of,
                self.taken,
                shares.producers,
                shares.tailers
            );
        }
    }
}

/// The limit of the user; root has none. What other processes of the user take is not known.
fn of_user() -> Option<ThreadLimit> {
    let most = getrlimit(Resource::Nproc).current?;
    let threads = fs::read_dir("/proc/self/task").ok()?.count();
    (!getuid().is_root()).then(|| ThreadLimit {
        most: usize::try_from(most).unwrap_or(usize::MAX),
        taken: threads,
        of: "ulimit -u, LimitNPROC",
    })
}

/// The limit of a control group, if it has one.
fn of_group(folder: &Path) -> Option<ThreadLimit> {
    let number = |name: &str| {
        let text = fs::read_to_string(folder.join(name)).ok()?;
        text.trim().parse().ok()
    };
    Some(ThreadLimit {
        most: number("pids.max")?,
        taken: number("pids.current")?,
        of: "pids.max of the control group: TasksMax, --pids-limit",
    })
}

/// The registrar, the scheduler, the watcher, the one that answers clients, and two that ask file systems.
const OTHERS: usize = 6;
/// A producer, and its connections to the first brokers.
const EACH_PRODUCER: usize = 3;
/// With so many threads for files nobody notices that they take turns.
const FEW: usize = 32;

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

    fn limit(most: usize, taken: usize) -> ThreadLimit {
        let of = "a test";
        ThreadLimit { most, taken, of }
    }

    #[test]
    fn producers_come_first_and_one_thread_is_always_for_files() {
        let shares = |most, wanted| {
            let shares = limit(most, 3).share(wanted);
            (shares.producers, shares.tailers)
        };
        assert_eq!(shares(12, 2), (1, 1));
        assert_eq!(shares(16, 2), (2, 1));
        assert_eq!(shares(100, 2), (2, 85));
        assert_eq!(shares(2, 4), (1, 1));
        assert_eq!(shares(usize::MAX, 8).0, 8);
    }

    #[test]
    fn a_group_without_a_limit_has_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text);
        write("pids.max", "max\n").expect("is written");
        write("pids.current", "7\n").expect("is written");
        assert_eq!(of_group(folder.path()), None);
        write("pids.max", "20\n").expect("is written");
        assert_eq!(of_group(folder.path()).map(|limit| limit.left()), Some(13));
    }
}
