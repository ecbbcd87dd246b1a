//! What stands in the table of watches. No system call is made here.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::path::Path;
use std::sync::Arc;

use inotify::WatchDescriptor;

use crate::tailer_handle::TailerHandle;

/// The entries of the table of watches.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) files: HashMap<WatchDescriptor, Vec<(u64, TailerHandle)>>,
    /// By which paths a folder is watched.
    pub(super) folders: HashMap<WatchDescriptor, Vec<Arc<Path>>>,
    pub(super) watched_folders: HashMap<Arc<Path>, WatchDescriptor>,
    /// Who follows a path.
    pub(super) paths: HashMap<Arc<Path>, TailerHandle>,
    /// Where a followed path really leads, if that is another name (it goes through a link).
    pub(super) targets: HashMap<Arc<Path>, Arc<Path>>,
    /// The followed paths that lead to a target.
    pub(super) links: HashMap<Arc<Path>, Vec<Arc<Path>>>,
    pub(super) unclaimed: Unclaimed,
    /// How many watches were removed.
    pub(super) removals: u64,
}

impl Table {
    /// A file's watch is used by one less; true if nobody uses it any more.
    pub(super) fn leave_file(&mut self, descriptor: &WatchDescriptor, number: u64) -> bool {
        let Some(wakes) = self.files.get_mut(descriptor) else {
            return false;
        };
        wakes.retain(|(other, _)| *other != number);
        let is_last = wakes.is_empty();
        if is_last {
            self.files.remove(descriptor);
        }
        is_last
    }

    /// The folder is watched by this path; gives the watch that nobody needs any more, on another folder
    /// that lay there.
    pub(super) fn enter_folder(
        &mut self,
        folder: &Arc<Path>,
        descriptor: &WatchDescriptor,
    ) -> Option<WatchDescriptor> {
        let before = self
            .watched_folders
            .insert(folder.clone(), descriptor.clone());
        let replaced = before
            .filter(|before| before != descriptor && self.leave_watch_of_folder(before, folder));
        let paths = self.folders.entry(descriptor.clone()).or_default();
        if !paths.contains(folder) {
            paths.push(folder.clone());
        }
        replaced
    }

    /// The folder is watched by this path no more; gives the watch that nobody needs any more.
    pub(super) fn leave_folder(&mut self, folder: &Path) -> Option<WatchDescriptor> {
        let descriptor = self.watched_folders.remove(folder)?;
        self.leave_watch_of_folder(&descriptor, folder)
            .then_some(descriptor)
    }

    pub(super) fn leave_watch_of_folder(
        &mut self,
        descriptor: &WatchDescriptor,
        folder: &Path,
    ) -> bool {
        let Some(paths) = self.folders.get_mut(descriptor) else {
            return false;
        };
        paths.retain(|path| **path != *folder);
        let is_last = paths.is_empty();
        if is_last {
            self.folders.remove(descriptor);
        }
        is_last
    }

    /// The kernel has removed a watch; gives the folders that were watched by it.
    pub(super) fn ignored(&mut self, descriptor: &WatchDescriptor) -> Vec<Arc<Path>> {
        let folders = self.folders.remove(descriptor).unwrap_or_default();
        for folder in &folders {
            if self.watched_folders.get(folder) == Some(descriptor) {
                self.watched_folders.remove(folder);
            }
        }
        folders
    }

    pub(super) fn enter_target(&mut self, link: Arc<Path>, target: Arc<Path>) {
        self.links
            .entry(target.clone())
            .or_default()
            .push(link.clone());
        self.targets.insert(link, target);
    }

    pub(super) fn forget_target(&mut self, link: &Path) {
        if let Some(target) = self.targets.remove(link)
            && let Some(links) = self.links.get_mut(&target)
        {
            links.retain(|other| **other != *link);
            if links.is_empty() {
                self.links.remove(&target);
            }
        }
    }
}

/// Watches with events and without an entry, the latest ones.
#[derive(Debug, Default)]
pub(super) struct Unclaimed {
    /// Oldest first.
    pub(super) line: VecDeque<WatchDescriptor>,
    /// Those in the line.
    pub(super) known: HashSet<WatchDescriptor>,
}

impl Unclaimed {
    pub(super) fn keep(&mut self, descriptor: WatchDescriptor) {
        if self.known.insert(descriptor.clone()) {
            self.line.push_back(descriptor);
        }
        if self.line.len() > MOST_UNCLAIMED
            && let Some(oldest) = self.line.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    /// Whether there were events; they are claimed now.
    pub(super) fn take(&mut self, descriptor: &WatchDescriptor) -> bool {
        let was_there = self.known.remove(descriptor);
        if was_there {
            self.line.retain(|other| other != descriptor);
        }
        was_there
    }
}

/// Gives memory back that was needed for many more entries.
pub(super) fn shrink<K: Eq + Hash, V>(map: &mut HashMap<K, V>) {
    if map.capacity() > 64 && map.len() < map.capacity() / 4 {
        map.shrink_to(map.len() * 2);
    }
}

/// More watches without an entry are not remembered.
pub(super) const MOST_UNCLAIMED: usize = 1024;
