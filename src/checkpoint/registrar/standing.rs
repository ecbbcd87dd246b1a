//! How all files stand, for who asks.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::Registrar;
use crate::progress::Checkpoint;
use crate::snapshot::{FileState, FileStatus, Positions, PositionsStatus};

impl Registrar {
    /// How all of them stand.
    pub(super) fn positions(&mut self, now: SystemTime) -> Positions {
        let mut newest: HashMap<Arc<Path>, u64> = HashMap::new();
        let open = self.open.values().map(|tracked| &tracked.checkpoint);
        let unread = self.rest.values().filter(|c| c.is_unfinished());
        for checkpoint in open.chain(unread) {
            let serial = newest.entry(checkpoint.path.clone()).or_default();
            *serial = checkpoint.serial.max(*serial);
        }
        let is_old = |c: &Checkpoint| newest.get(&c.path) != Some(&c.serial);
        let file = |c: &Checkpoint, size: u64| FileStatus {
            path: c.path.to_path_buf(),
            position: c.offset,
            size,
            ..FileStatus::default()
        };
        let mut files = Vec::with_capacity(newest.len());
        for tracked in self.open.values_mut() {
            let (size, unended) = (tracked.seen_size(), tracked.shown.unended());
            let checkpoint = &tracked.checkpoint;
            let mut file = file(checkpoint, size);
            file.log.clone_from(&tracked.shown.counters.name);
            file.unended = unended.min(file.lag());
            let is_behind = file.lag() > file.unended;
            if is_behind {
                tracked.behind.saw(size, now);
                file.behind_since = tracked.behind.since();
            }
            file.state = match is_old(checkpoint) || tracked.end.is_some() {
                true => FileState::Rotated,
                false if is_behind => FileState::Behind,
                false => FileState::AtEnd,
            };
            files.push(file);
        }
        for checkpoint in self.rest.values().filter(|c| c.is_unfinished()) {
            let mut file = file(checkpoint, checkpoint.size.max(checkpoint.offset));
            if file.lag() > 0 {
                let modified = u64::try_from(checkpoint.modified_ns).unwrap_or(0);
                let modified = SystemTime::UNIX_EPOCH + Duration::from_nanos(modified);
                file.behind_since = Some(modified.min(now));
            }
            file.state = match is_old(checkpoint) {
                true => FileState::Rotated,
                false if file.lag() > 0 => FileState::Behind,
                false => FileState::AtEnd,
            };
            files.push(file);
        }
        let open = self.open.values().filter(|tracked| tracked.end.is_none());
        Positions {
            open: open.count() as u64,
            files,
            status: PositionsStatus {
                count: (self.open.len() + self.rest.len()) as u64,
                is_due: self.schedule.has_changes(),
                ..self.status.clone()
            },
        }
    }
}
