//! How many threads the system gives this process, and who has them where they are few: the producers and their
//! connections first, since without them nothing is delivered; what is left follows files, which take turns.

use std::fs;
use std::path::Path;

use rustix::process::{Resource, getrlimit, getuid};

use super::control_group;

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

/// The registrar, the scheduler, the watcher, and two that ask file systems.
const OTHERS: usize = 5;
/// A producer, and its connections to the first brokers.
const EACH_PRODUCER: usize = 3;
/// With so many threads for files nobody notices that they take turns.
const FEW: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(shares(15, 2), (2, 1));
        assert_eq!(shares(100, 2), (2, 86));
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
