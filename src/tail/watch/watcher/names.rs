//! What happened to names in watched folders.

use std::collections::{BTreeSet, HashSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Watcher;
use crate::tail::discover::{Claim, FolderKind};
use crate::tail::watch::events::{Change, FolderEvent, NameEvent};
use crate::tail::watch::notices::say;
use crate::tail::watch::seen::{Start, Trouble};

impl Watcher {
    pub(super) fn on_names(&mut self, names: Vec<NameEvent>) {
        let mut done: HashSet<PathBuf> = HashSet::new();
        let mut unknown = Vec::new();
        for event in names {
            let NameEvent { folder, name, .. } = &event;
            let path = folder.join(name);
            match (event.is_folder, event.change) {
                (true, Change::Went) => {
                    self.changed.forget(folder, &path);
                    self.on_folder_gone(folder, name, &path);
                }
                (true, _) => self.on_folder_come(folder, name, &path, FolderKind::Plain),
                (false, Change::Came) => {
                    self.on_folder_come(folder, name, &path, FolderKind::Link);
                }
                (false, _) => {}
            }
            match event.change {
                Change::Went => self.notices.forget(&path),
                Change::Came if !event.is_folder => {
                    if let Claim::Excluded = self.discovery.claim(&path) {
                        let excluded = Trouble::Excluded;
                        say(self
                            .notices
                            .trouble(&self.discovery, None, &path, &excluded));
                    }
                }
                Change::Came | Change::Other => {}
            }
            // However many events a name has in a batch, that is one look.
            if !done.contains(&path) {
                let unfollowed = self.watches.wake_followers(&path);
                if !event.is_folder {
                    unknown.extend(unfollowed);
                }
                done.insert(path);
            }
        }
        if !unknown.is_empty() {
            self.on_unfollowed_names(unknown);
        }
    }

    /// Something happened to a watched folder as a whole.
    pub(super) fn on_folder(&mut self, folder: &Arc<Path>, event: FolderEvent) {
        let steps = self.folders.steps(folder);
        if steps.is_empty() {
            return;
        }
        match event {
            FolderEvent::Other => {
                let start = Start {
                    folder: folder.clone(),
                    steps,
                };
                self.changed.add(folder, start);
            }
            FolderEvent::Went => {
                let patterns = steps.into_iter().map(|step| step.pattern).collect();
                if let (Some(parent), Some(name)) = (folder.parent(), folder.file_name()) {
                    self.rescan_unless_told_of(parent, name, patterns);
                }
            }
        }
    }

    /// In a watched folder there is something new, which may be a folder.
    fn on_folder_come(&mut self, parent: &Arc<Path>, name: &OsStr, path: &Path, kind: FolderKind) {
        let steps = self
            .discovery
            .enter(&self.folders.steps(parent), name, kind);
        if !steps.is_empty() {
            let folder = path.into();
            self.changed.add(parent, Start { folder, steps });
        }
    }

    /// The folder `name` has gone from a watched folder.
    fn on_folder_gone(&mut self, parent: &Path, name: &OsStr, path: &Path) {
        let (gone, patterns) = self.folders.forget_below(path);
        self.watches.forget_folders(&gone);
        self.rescan_unless_told_of(parent, name, patterns);
    }

    /// These patterns led into the folder `name` of `parent`. If it is to be heard of when the folder comes back,
    /// there is nothing to do; else only a scan tells which folder must be watched instead.
    fn rescan_unless_told_of(&mut self, parent: &Path, name: &OsStr, mut patterns: BTreeSet<u32>) {
        let steps = self.folders.steps(parent);
        for step in self.discovery.enter(&steps, name, FolderKind::Plain) {
            patterns.remove(&step.pattern);
        }
        self.scans.outdate(patterns);
    }
}
