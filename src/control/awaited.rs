//! How an agent that starts knows that somebody waits for it with `logagent tap --wait`: a file in the state folder that
//! each of them has locked until it looks on. A lock ends with its process, so that nobody is waited for in vain.

use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

/// Says that somebody waits, until it is dropped.
#[derive(Debug)]
pub(super) struct Announced {
    _locked: File,
}

impl Announced {
    /// `None`: there is no such folder yet, or it is another user's.
    pub(super) fn to_agent_in(state_dir: &Path) -> Option<Announced> {
        let path = state_dir.join(NAME);
        let mut options = OpenOptions::new();
        options.read(true).mode(MODE);
        let file = options.open(&path).or_else(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                return Err(error);
            }
            let file = options.write(true).create(true).open(&path)?;
            // Root may have made it, and the agent be somebody else. The folder is closed to all others.
            file.set_permissions(Permissions::from_mode(MODE))?;
            Ok(file)
        });
        let file = file.ok()?;
        flock(&file, FlockOperation::NonBlockingLockShared).ok()?;
        Some(Announced { _locked: file })
    }
}

/// Those who wait for the agent that starts.
#[derive(Debug)]
pub struct AwaitedTaps {
    file: File,
}

impl AwaitedTaps {
    /// `None`: nobody waits.
    pub fn in_folder(state_dir: &Path) -> Option<AwaitedTaps> {
        let file = File::open(state_dir.join(NAME)).ok()?;
        let awaited = AwaitedTaps { file };
        awaited.are_there().then_some(awaited)
    }

    /// Whether somebody waits who does not look on yet.
    pub fn are_there(&self) -> bool {
        match flock(&self.file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                let _ = flock(&self.file, FlockOperation::Unlock);
                false
            }
            Err(error) => error == rustix::io::Errno::WOULDBLOCK,
        }
    }
}

const NAME: &str = "tap.lock";
/// It is empty.
const MODE: u32 = 0o644;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic fails the test")]
mod tests {
    use super::*;

    #[test]
    fn who_waits_is_known_until_all_of_them_look_on() {
        let folder = tempfile::tempdir().unwrap();
        let in_folder = || AwaitedTaps::in_folder(folder.path());
        assert!(in_folder().is_none());
        let one = Announced::to_agent_in(folder.path()).unwrap();
        let other = Announced::to_agent_in(folder.path()).unwrap();
        let awaited = in_folder().unwrap();
        drop(one);
        assert!(awaited.are_there());
        drop(other);
        assert!(!awaited.are_there() && in_folder().is_none());
        let nowhere = folder.path().join("nowhere");
        assert!(Announced::to_agent_in(&nowhere).is_none());
    }
}
