//! Files that were moved, while no agent ran, from one path that is followed to another one in another folder.
//!
//! What rotation leaves lies in the folder of its log, where the tailer of the log looks for it; while the agent runs,
//! it has the file open. Of a file that has come to another folder by the next start, alone or with its folder, each of
//! both tailers would leave it to the other, or would not know it. So what is known of it goes with it before any
//! tailer begins.

use std::collections::HashMap;
use std::path::Path;

use super::discover::FoundPath;
use super::family::puts_rotated_at;
use super::recognise::is_same_inode;
use super::registry::FileRegistry;
use crate::identity::FileStat;
use crate::shown::ShownPath;

/// Has what is known of each file that was moved be known under the path where it was `found`.
pub fn follow_moved(registry: &FileRegistry, found: &[FoundPath]) {
    let at_paths = found.iter().map(|found| (&*found.path, found.stat));
    let at_paths: HashMap<&Path, Option<FileStat>> = at_paths.collect();
    for FoundPath {
        path, log, stat, ..
    } in found
    {
        let Some(stat) = stat else { continue };
        if puts_rotated_at(log, path) {
            // The tailer of the log looks for it there.
            continue;
        }
        for known in registry.of_inode(stat.inode) {
            // Without a time of birth, the inode may have been handed out again.
            let is_it = known.is_unfinished() && stat.born_ns != 0 && is_same_inode(&known, stat);
            // A second name of a file that is still there is none that it was moved to.
            let is_gone = at_paths
                .get(&*known.path)
                .is_some_and(|there| there.is_none_or(|there| !is_same_inode(&known, &there)));
            if is_it && is_gone && known.path.parent() != path.parent() {
                log::info!(
                    "'{}': {} lay at '{}' before and is read on from offset {}",
                    ShownPath(path),
                    known.identity,
                    ShownPath(&known.path),
                    known.offset
                );
                registry.move_to(known.serial, path);
            }
        }
    }
}
