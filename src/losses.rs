//! What went away before it was read: the last times, over restarts.
//!
//! The counters of a process begin anew with it, and a supervisor restarts what was killed: without this, a loss would be
//! forgotten when somebody asks. It is kept beside the positions, as text, and written whole each time: losses are rare.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use crate::shown::ShownPath;
use crate::snapshot::Loss;
use crate::state_file;

/// The last losses.
#[derive(Debug, Default)]
pub struct Losses {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// Oldest first.
    losses: VecDeque<Loss>,
    /// The first of them are of earlier runs, so many.
    earlier: usize,
    /// Where they are kept; none yet.
    folder: Option<PathBuf>,
}

impl Losses {
    /// Keeps them in the state folder from now on, with those of earlier runs.
    pub fn keep_in(&self, state_dir: &Path) {
        let mut kept = self.lock();
        kept.folder = Some(state_dir.to_owned());
        for loss in read(state_dir).into_iter().rev() {
            kept.losses.push_front(loss);
            kept.earlier += 1;
        }
        kept.shorten();
    }

    /// Something was lost.
    pub fn note(&self, loss: Loss) {
        let mut kept = self.lock();
        // An earlier run was killed before the positions knew of it.
        let is_it = |known: &Loss| {
            Loss {
                at: loss.at,
                ..known.clone()
            } == loss
        };
        if let Some(at) = kept.losses.iter().take(kept.earlier).position(is_it) {
            kept.losses.remove(at);
            kept.earlier -= 1;
        }
        kept.losses.push_back(loss);
        kept.shorten();
        let text: String = kept.losses.iter().map(line).collect();
        if let Some(folder) = &kept.folder
            && let Err(error) = state_file::replace(folder, FILE, text.as_bytes())
        {
            let path = folder.join(FILE);
            log::warn!(
                "'{}': {error}; the next start does not know of this loss",
                ShownPath(&path)
            );
        }
    }

    /// All that are known, oldest first.
    pub fn all(&self) -> Vec<Loss> {
        self.lock().losses.iter().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn shorten(&mut self) {
        let excess = self.losses.len().saturating_sub(MOST);
        self.losses.drain(..excess);
        self.earlier = self.earlier.saturating_sub(excess);
    }
}

/// Those that are kept in the state folder, oldest first.
pub(crate) fn read(state_dir: &Path) -> Vec<Loss> {
    match fs::read_to_string(state_dir.join(FILE)) {
        Ok(text) => text.lines().filter_map(parse).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => {
            let path = state_dir.join(FILE);
            let path = ShownPath(&path);
            log::warn!("'{path}': {error}; earlier losses are not known");
            Vec::new()
        }
    }
}

fn line(loss: &Loss) -> String {
    let since = loss.at.duration_since(UNIX_EPOCH).unwrap_or_default();
    // A path that is shown has no control characters.
    format!(
        "{}\t{}\t{}\t{}\t{}\t{}\n",
        since.as_millis(),
        loss.bytes,
        loss.offset,
        loss.why,
        loss.log,
        loss.path
    )
}

fn parse(line: &str) -> Option<Loss> {
    let mut fields = line.splitn(6, '\t');
    let ms = fields.next()?.parse().ok()?;
    Some(Loss {
        at: UNIX_EPOCH.checked_add(Duration::from_millis(ms))?,
        bytes: fields.next()?.parse().ok()?,
        offset: fields.next()?.parse().ok()?,
        why: fields.next()?.to_owned(),
        log: fields.next()?.to_owned(),
        path: fields.next()?.to_owned(),
    })
}

const FILE: &str = "losses";
/// So many are kept.
const MOST: usize = 50;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic fails the test")]
mod tests {
    use super::*;

    fn loss(n: u64) -> Loss {
        Loss {
            at: UNIX_EPOCH + Duration::from_millis(1_795_000_000_000 + n),
            log: "app".to_owned(),
            path: "/log/a b\\n.log".to_owned(),
            bytes: n,
            offset: 7,
            why: "truncated".to_owned(),
        }
    }

    #[test]
    fn the_last_losses_are_known_after_a_restart_in_their_order() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (Losses::default(), Losses::default());
        first.note(loss(0));
        first.keep_in(folder.path());
        (1..60).for_each(|n| first.note(loss(n)));
        second.note(loss(60));
        second.keep_in(folder.path());
        second.note(loss(61));
        assert_eq!(second.all(), (12..62).map(loss).collect::<Vec<_>>());
        // What is met again is not another one: of an earlier run, that is.
        let fourth = Losses::default();
        fourth.keep_in(folder.path());
        let again = Loss {
            at: UNIX_EPOCH + Duration::from_secs(2_000_000_000),
            ..loss(30)
        };
        fourth.note(again.clone());
        fourth.note(again.clone());
        let rest = (13..62).filter(|n| *n != 30).map(loss);
        let expected: Vec<_> = rest.chain([again.clone(), again]).collect();
        assert_eq!(fourth.all(), expected);
        fs::write(folder.path().join(FILE), "what is no loss\n\n").unwrap();
        let third = Losses::default();
        third.keep_in(folder.path());
        assert_eq!(third.all(), []);
    }
}
