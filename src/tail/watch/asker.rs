//! Hands to the `scan-<n>` threads what is to be asked of file systems. The answers come to the watcher's inbox.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::seen::{LookedAt, Start, Way};
use super::walk::Ground;
use super::watches::{WatchCommand, Watches};
use crate::tail::discover::{Discovery, FoundPath};
use crate::tail::lanes::{Lane, Lanes};
use crate::tail::mounts::MountTable;

/// Asks file systems by way of their lanes.
#[derive(Debug)]
pub(super) struct Asker {
    discovery: Arc<Discovery>,
    watches: Arc<Watches>,
    lanes: Lanes,
    mounts: MountTable,
}

impl Asker {
    pub(super) fn new(discovery: Arc<Discovery>, watches: Arc<Watches>, lanes: Lanes) -> Self {
        Asker {
            discovery,
            watches,
            lanes,
            mounts: MountTable::default(),
        }
    }

    /// Looks for what `discovery` wants from now on.
    pub(super) fn follow(&mut self, discovery: Arc<Discovery>) {
        self.discovery = discovery;
    }

    /// The lane of a path, links not followed: the job sees where they lead.
    pub(super) fn lane(&self, path: &Path) -> Lane {
        self.mounts.now().of(path)
    }

    /// Has folders walked through, as walk `number`.
    pub(super) fn walk(&self, way: Way, number: u64, start: Start) {
        let lane = way.lane;
        let ground = self.ground(way);
        self.lanes.submit(lane, move || {
            let seen = Box::new(ground.walk(start));
            ground.watches.tell(WatchCommand::Walked(number, seen));
        });
    }

    /// Has paths looked at, each in its lane.
    pub(super) fn look_at_all(&self, paths: Vec<PathBuf>) {
        for (lane, paths) in self.by_lane(paths, |path| path) {
            self.look(Way::to(lane), paths);
        }
    }

    /// Has paths of one way looked at.
    pub(super) fn look(&self, way: Way, paths: Vec<PathBuf>) {
        let lane = way.lane;
        let ground = self.ground(way);
        self.lanes.submit(lane, move || {
            let look = |path: PathBuf| LookedAt {
                outcome: ground.look(&path),
                path,
                pattern: None,
            };
            let looked = paths.into_iter().map(look).collect();
            ground.watches.tell(WatchCommand::Looked(looked));
        });
    }

    /// Asks which of the `known` paths lead nowhere, or to a file; gives the number of answers that will come. Whether a
    /// listing has shown a file does not count: it may have been rotated away just then, and the next one made since.
    pub(super) fn missing_known_paths(&self, known: Vec<FoundPath>) -> usize {
        let lanes = self.by_lane(known, |found| &found.path);
        let jobs = lanes.len();
        for (lane, mut known) in lanes {
            let watches = self.watches.clone();
            self.lanes.submit(lane, move || {
                known.retain(|found| leads_to_file_or_nowhere(&found.path));
                watches.tell(WatchCommand::Missing(known));
            });
        }
        jobs
    }

    /// Has folders watched (again).
    pub(super) fn watch(&self, folders: impl IntoIterator<Item = Arc<Path>>) {
        for (lane, folders) in self.by_lane(folders, |folder| folder) {
            let watches = self.watches.clone();
            self.lanes.submit(lane, move || {
                for folder in folders {
                    watches.watch_folder(&folder);
                }
            });
        }
    }

    fn ground(&self, Way { lane, passed }: Way) -> Ground {
        Ground {
            discovery: self.discovery.clone(),
            watches: self.watches.clone(),
            mounts: self.mounts.now(),
            home: lane,
            passed,
        }
    }

    fn by_lane<T>(
        &self,
        all: impl IntoIterator<Item = T>,
        path: impl Fn(&T) -> &Path,
    ) -> BTreeMap<Lane, Vec<T>> {
        let mut lanes: BTreeMap<Lane, Vec<T>> = BTreeMap::new();
        for one in all {
            let lane = self.lane(path(&one));
            lanes.entry(lane).or_default().push(one);
        }
        lanes
    }
}

/// Whether a path that was followed before is to be followed again, whatever a listing says. Of links that lead somewhere
/// the walk decides.
fn leads_to_file_or_nowhere(path: &Path) -> bool {
    match path.symlink_metadata() {
        // A link that leads nowhere, too: what it led to may have been rotated away.
        Ok(found) if found.is_symlink() => path.metadata().is_err(),
        Ok(found) => found.is_file(),
        Err(_) => true,
    }
}
