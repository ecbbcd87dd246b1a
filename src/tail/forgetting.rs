//! Giving back what is known of paths that lead nowhere: names that came and went, pods that were removed.
//!
//! When a tailer has ended, the checkpoints of its path stay: the log may come back, from a backup, to go on where it
//! stood. So those of the last 1,000 paths are kept for a day; of more paths than that, those that
//! have been missing longest are forgotten, in the registry and in the file of the checkpoints. What lies beside its
//! path under another name is not missing.
//!
//! The main thread decides; what must be asked of file systems is asked on the `scan-<n>` threads.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::Shared;
use super::compare::is_absence;
use super::folder_index::FolderIndex;
use super::lanes::{Lane, Lanes};
use super::mounts::MountTable;
use crate::identity::FileStat;
use crate::progress::Checkpoint;

/// A path that nobody follows, and what is known of its files.
type Idle = (Arc<Path>, Vec<Checkpoint>);

/// The paths that lead nowhere, and since when.
#[derive(Debug)]
pub struct Forgetting {
    shared: Arc<Shared>,
    lanes: Lanes,
    mounts: MountTable,
    answers: Sender<LookedFor>,
    /// The lanes that have not answered yet.
    asked: HashSet<Lane>,
    missing: BTreeMap<Arc<Path>, Instant>,
}

/// What became of the files of paths that nobody follows.
#[derive(Debug)]
pub struct LookedFor {
    lane: Lane,
    missing: Vec<Arc<Path>>,
    there: Vec<Arc<Path>>,
}

impl Forgetting {
    /// Nothing was looked for yet. The answers to [`Forgetting::look`] come over the channel.
    pub fn new(shared: Arc<Shared>, lanes: Lanes) -> (Self, Receiver<LookedFor>) {
        let (answers, answered) = unbounded();
        let forgetting = Forgetting {
            shared,
            lanes,
            mounts: MountTable::default(),
            answers,
            asked: HashSet::new(),
            missing: BTreeMap::new(),
        };
        (forgetting, answered)
    }

    /// Has the files of all paths looked for that have nothing unread and that nobody follows.
    pub fn look(&mut self) {
        let mut idle = self.shared.registry.idle_paths();
        idle.retain(|(path, _)| !self.shared.watches.is_followed(path));
        let paths: BTreeSet<&Arc<Path>> = idle.iter().map(|(path, _)| path).collect();
        self.missing.retain(|path, _| paths.contains(path));
        let mounts = self.mounts.now();
        let mut lanes: BTreeMap<Lane, Vec<Idle>> = BTreeMap::new();
        for known in idle {
            lanes.entry(mounts.of(&known.0)).or_default().push(known);
        }
        for (lane, known) in lanes {
            if !self.asked.insert(lane) {
                continue;
            }
            let (shared, answers) = (self.shared.clone(), self.answers.clone());
            self.lanes.submit(lane, move || {
                let (missing, there): (Vec<_>, Vec<_>) = known
                    .into_iter()
                    .partition(|(path, known)| is_missing(&shared.folders, path, known));
                let paths = |known: Vec<(Arc<Path>, _)>| known.into_iter().map(|(path, _)| path);
                let (missing, there) = (paths(missing).collect(), paths(there).collect());
                // Without a main thread nobody needs to know.
                let _ = answers.send(LookedFor {
                    lane,
                    missing,
                    there,
                });
            });
        }
    }

    /// Takes an answer; gives the serial numbers of the checkpoints that are forgotten.
    pub fn on_looked_for(&mut self, looked_for: LookedFor, now: Instant) -> Vec<u64> {
        self.asked.remove(&looked_for.lane);
        for path in looked_for.there {
            self.missing.remove(&path);
        }
        for path in looked_for.missing {
            self.missing.entry(path).or_insert(now);
        }
        let mut forgotten = Vec::new();
        for path in to_forget(&self.missing, now) {
            self.missing.remove(&path);
            if !self.shared.watches.is_followed(&path) {
                forgotten.extend(self.shared.registry.forget_path(&path));
            }
        }
        if !forgotten.is_empty() {
            log::debug!(
                "{} positions of files that are gone are forgotten",
                forgotten.len()
            );
        }
        forgotten
    }
}

/// The paths to forget, of those that are `missing` since then.
fn to_forget(missing: &BTreeMap<Arc<Path>, Instant>, now: Instant) -> Vec<Arc<Path>> {
    let mut oldest_first: Vec<(&Arc<Path>, &Instant)> = missing.iter().collect();
    oldest_first.sort_by_key(|(_, since)| **since);
    let surplus = oldest_first.len().saturating_sub(KEPT_PATHS);
    let is_doomed = |(at, (_, since)): &(usize, (_, &Instant))| {
        let age = now.saturating_duration_since(**since);
        age >= KEPT_FOR || (*at < surplus && age >= KEPT_AT_LEAST)
    };
    let doomed = oldest_first.into_iter().enumerate().filter(is_doomed);
    doomed.map(|(_, (path, _))| path.clone()).collect()
}

/// Whether nothing lies at `path`, and no file of the checkpoints `known` beside it. What cannot be told is not
/// missing.
fn is_missing(folders: &FolderIndex, path: &Path, known: &[Checkpoint]) -> bool {
    if !FileStat::at_path(path).is_err_and(|error| is_absence(&error)) {
        return false;
    }
    let (Some(folder), Some(base)) = (path.parent(), path.file_name()) else {
        return true;
    };
    let now = Instant::now();
    let inodes: HashSet<u64> = known.iter().map(|c| c.identity.inode.inode).collect();
    let looked = folders
        .rotated_beside(folder, base, now)
        .and_then(|beside| {
            let mut is_there = beside.iter().any(|listed| inodes.contains(&listed.inode));
            for inode in &inodes {
                is_there |= !folders.by_inode(folder, *inode, now)?.is_empty();
            }
            Ok(is_there)
        });
    match looked {
        Ok(is_there) => !is_there,
        Err(error) if is_absence(&error) => {
            folders.forget(folder);
            true
        }
        Err(_) => false,
    }
}

/// How often paths that lead nowhere are looked at.
pub const FORGET_INTERVAL: Duration = Duration::from_secs(30);
/// What is known of so many paths that lead nowhere is kept.
const KEPT_PATHS: usize = 1000;
/// For so long.
const KEPT_FOR: Duration = Duration::from_secs(24 * 3600);
/// What is known of any path is kept for so long.
const KEPT_AT_LEAST: Duration = Duration::from_secs(60);

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic fails the test")]
pub(super) mod tests {
    use super::*;
    use crate::batch::TailChecksum;
    use crate::buffer::BufferPool;
    use crate::identity::{FileIdentity, Fingerprint};
    use crate::metrics::Metrics;
    use crate::progress::{Marks, Saved, SourceState};
    use crate::tail::changes::Changes;
    use crate::tail::deleted::DeletedFiles;
    use crate::tail::descriptor_permits::DescriptorPermits;
    use crate::tail::discover::Discovery;
    use crate::tail::registry::FileRegistry;
    use crate::tail::scheduler::ThreadPressure;
    use crate::tail::watch::Watcher;
    use std::fs;

    /// What tailers have in common, of which none runs.
    pub(in crate::tail) fn shared(checkpoints: Vec<Checkpoint>) -> Arc<Shared> {
        let saved = Saved {
            checkpoints,
            ..Saved::default()
        };
        let discovery = Arc::new(Discovery::new(&[], Path::new("/nowhere")));
        let lanes = Lanes::new(|words| panic!("{words}"));
        let (found, _) = unbounded();
        let (watcher, _) = Watcher::new(
            discovery.clone(),
            lanes,
            found,
            HashSet::new(),
            None,
            Duration::ZERO,
        )
        .unwrap();
        Arc::new(Shared {
            registry: FileRegistry::new(&saved),
            discovery: discovery.into(),
            changes: Changes::default(),
            folders: FolderIndex::new(),
            watches: watcher.watches(),
            pool: BufferPool::new(),
            descriptors: DescriptorPermits::new(1000),
            thread_pressure: Arc::<ThreadPressure>::default(),
            deleted: DeletedFiles::new(0),
            metrics: Arc::<Metrics>::default(),
            parks_at_once: false,
            once: false,
        })
    }

    fn checkpoint(path: &Path, stat: &FileStat, serial: u64) -> Checkpoint {
        Checkpoint {
            path: path.into(),
            identity: FileIdentity {
                inode: stat.inode,
                born_ns: stat.born_ns,
                fingerprint: Fingerprint::of(b"line\n"),
            },
            offset: 5,
            size: 5,
            tail_checksum: TailChecksum::of(b"line\n"),
            marks: Marks::default(),
            tag: None,
            state: SourceState::Finished,
            serial,
            modified_ns: stat.modified_ns,
        }
    }

    /// Looks for everything once, at `now`.
    fn look(forgetting: &mut Forgetting, answers: &Receiver<LookedFor>, now: Instant) -> Vec<u64> {
        forgetting.look();
        let mut forgotten = Vec::new();
        for _ in 0..forgetting.asked.len() {
            let answer = answers.recv_timeout(Duration::from_secs(60)).unwrap();
            forgotten.extend(forgetting.on_looked_for(answer, now));
        }
        forgotten
    }

    #[test]
    fn of_12_000_names_that_came_and_went_the_last_ones_stay_for_a_day() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let file = |name: &str| {
            fs::create_dir_all(at(name).parent().unwrap()).unwrap();
            fs::write(at(name), "line\n").unwrap();
            FileStat::at_path(&at(name)).unwrap()
        };
        // One that is there, one that was renamed, one below a dated folder, pods that were removed with their
        // folders, and many that were moved away.
        let mut checkpoints = vec![
            checkpoint(&at("there.log"), &file("there.log"), 1),
            checkpoint(&at("renamed.log"), &file("renamed.log.1"), 2),
            checkpoint(&at("dated.log"), &file("2026-11-26/dated.log"), 3),
        ];
        let gone = file("gone");
        fs::rename(at("gone"), folder.path().with_extension("gone")).unwrap();
        fs::remove_file(folder.path().with_extension("gone")).unwrap();
        for serial in 4..=12_000u64 {
            let path = match serial % 3 {
                0 => at(&format!("pods/{serial}/0.log")),
                _ => at(&format!("{serial}.log")),
            };
            checkpoints.push(checkpoint(&path, &gone, serial));
        }
        let shared = shared(checkpoints);
        let lanes = Lanes::new(|words| panic!("{words}"));
        let (mut forgetting, answers) = Forgetting::new(shared.clone(), lanes);
        let now = Instant::now();
        let known = || shared.registry.idle_paths().len();
        assert_eq!(look(&mut forgetting, &answers, now), [0u64; 0]);
        assert_eq!(known(), 12_000);
        let later = now + KEPT_AT_LEAST;
        let forgotten = look(&mut forgetting, &answers, later);
        assert_eq!(forgotten.len(), 12_000 - 3 - KEPT_PATHS);
        assert_eq!(known(), 3 + KEPT_PATHS);
        assert_eq!(forgetting.missing.len(), KEPT_PATHS);
        let forgotten = look(&mut forgetting, &answers, now + KEPT_FOR);
        assert_eq!(forgotten.len(), KEPT_PATHS);
        assert_eq!(known(), 3);
        assert!(forgetting.missing.is_empty());
    }

    #[test]
    fn a_path_that_is_followed_again_or_has_something_unread_is_not_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("x"), "line\n").unwrap();
        let gone = FileStat::at_path(&path("x")).unwrap();
        fs::remove_file(path("x")).unwrap();
        let mut unread = checkpoint(&path("unread.log"), &gone, 2);
        unread.state = SourceState::Open;
        let shared = shared(vec![checkpoint(&path("back.log"), &gone, 1), unread]);
        let lanes = Lanes::new(|words| panic!("{words}"));
        let (mut forgetting, answers) = Forgetting::new(shared.clone(), lanes);
        let now = Instant::now();
        look(&mut forgetting, &answers, now);
        fs::write(path("back.log"), "line\n").unwrap();
        assert_eq!(look(&mut forgetting, &answers, now + KEPT_FOR), [0u64; 0]);
        assert!(forgetting.missing.is_empty());
    }
}
