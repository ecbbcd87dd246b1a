//! Paths that patterns of the ini name and that are not followed, and why.
//!
//! The watcher knows what an `exclude` leaves out or what is no regular file, a tailer that another one reads its
//! file: each notes it here, and takes it back. What somebody has to mend is a condition and stands on the board.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::snapshot::NotFollowed;

/// The paths that are left out at present.
#[derive(Debug, Default)]
pub struct LeftOut(Mutex<HashMap<Arc<Path>, Entry>>);

#[derive(Debug)]
struct Entry {
    kind: Kind,
    log: String,
    reason: String,
    seen: Instant,
}

/// Why a path is left out, in the order in which an operator wants to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A folder, a fifo, a socket or a device.
    NotRegular,
    /// A link to nothing.
    DanglingLink,
    /// The agent writes it.
    StateFolder,
    /// A link that `follow_links` refuses.
    RefusedLink,
    /// Another path leads to the same file, or to one with the same content, which is followed.
    SecondName,
    /// `ignore_older`.
    Older,
    /// `exclude`.
    Excluded,
    /// It was packed.
    Compressed,
}

impl Kind {
    /// In a count.
    pub fn word(self) -> &'static str {
        match self {
            Kind::NotRegular => "not regular",
            Kind::DanglingLink => "link to nothing",
            Kind::StateFolder => "in state_dir",
            Kind::RefusedLink => "follow_links",
            Kind::SecondName => "second name",
            Kind::Older => "ignore_older",
            Kind::Excluded => "excluded",
            Kind::Compressed => "compressed",
        }
    }

    /// Whether a tailer has found it, which takes it back itself, and not the watcher.
    fn is_of_tailer(self) -> bool {
        matches!(self, Kind::RefusedLink | Kind::SecondName | Kind::Older)
    }
}

impl LeftOut {
    /// `path`, which `log` names, is left out for `reason`.
    pub fn note(&self, path: &Path, kind: Kind, log: &str, reason: String, now: Instant) {
        let mut paths = self.lock();
        if let Some(entry) = paths.get_mut(path) {
            // What a tailer has found is newer than what a walk saw before there was one.
            if kind.is_of_tailer() || !entry.kind.is_of_tailer() {
                (entry.kind, entry.reason, entry.seen) = (kind, reason, now);
                log.clone_into(&mut entry.log);
            }
            return;
        }
        if !kind.is_of_tailer() && paths.len() >= MOST {
            return;
        }
        let entry = Entry {
            kind,
            log: log.to_owned(),
            reason,
            seen: now,
        };
        paths.insert(path.into(), entry);
    }

    /// `path` is followed, or gone.
    pub fn forget(&self, path: &Path) {
        let mut paths = self.lock();
        if paths.remove(path).is_some() && paths.is_empty() {
            *paths = HashMap::new();
        }
    }

    /// Forgets what the watcher has not seen since `time`.
    pub fn forget_unseen(&self, since: Instant) {
        self.lock()
            .retain(|_, entry| entry.kind.is_of_tailer() || entry.seen >= since);
    }

    /// Why `path` is left out, if it is.
    pub fn reason(&self, path: &Path) -> Option<String> {
        self.lock().get(path).map(|entry| entry.reason.clone())
    }

    /// Whether a tailer leaves its `path` alone.
    pub fn is_left_by_tailer(&self, path: &Path) -> bool {
        let paths = self.lock();
        paths
            .get(path)
            .is_some_and(|entry| entry.kind.is_of_tailer())
    }

    /// The first of them, and how many there are of each kind.
    pub fn all(&self) -> (Vec<NotFollowed>, Vec<(String, u64)>) {
        let paths = self.lock();
        let mut counts: BTreeMap<Kind, u64> = BTreeMap::new();
        let mut all: Vec<(&Arc<Path>, &Entry)> = paths.iter().collect();
        all.sort_unstable_by_key(|(path, entry)| (entry.kind, *path));
        for (_, entry) in &all {
            *counts.entry(entry.kind).or_default() += 1;
        }
        let first = all
            .iter()
            .take(MOST_SHOWN)
            .map(|(path, entry)| NotFollowed {
                path: path.to_path_buf(),
                log: entry.log.clone(),
                kind: entry.kind.word().to_owned(),
                reason: entry.reason.clone(),
            });
        let counts = counts.into_iter();
        let counts = counts.map(|(kind, count)| (kind.word().to_owned(), count));
        (first.collect(), counts.collect())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<Path>, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// So many paths without a tailer are remembered; there may be an archive of each day.
const MOST: usize = 5000;
/// So many paths are in a snapshot; all are counted.
const MOST_SHOWN: usize = 1000;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_the_watcher_saw_goes_when_it_sees_it_no_more_and_what_a_tailer_knows_stays() {
        let left_out = LeftOut::default();
        let now = Instant::now();
        let note = |path: &str, kind, now| {
            left_out.note(Path::new(path), kind, "a", format!("{kind:?}"), now);
        };
        note("/second", Kind::SecondName, now);
        note("/second", Kind::Excluded, now);
        note("/old", Kind::Excluded, now);
        note("/new", Kind::NotRegular, now + Duration::from_secs(9));
        let (first, counts) = left_out.all();
        let shown: Vec<String> = first.iter().map(|one| one.reason.clone()).collect();
        assert_eq!(shown, ["NotRegular", "SecondName", "Excluded"]);
        assert_eq!(counts[0], ("not regular".to_owned(), 1));
        left_out.forget_unseen(now + Duration::from_secs(1));
        assert_eq!(left_out.reason(Path::new("/old")), None);
        assert!(left_out.is_left_by_tailer(Path::new("/second")));
        left_out.forget(Path::new("/second"));
        assert_eq!(left_out.all().0.len(), 1);
    }

    #[test]
    fn ten_thousand_archives_take_no_room_and_keep_no_second_name_from_being_known() {
        let left_out = LeftOut::default();
        let now = Instant::now();
        for number in 0..10_000 {
            let path = format!("/{number}.gz");
            left_out.note(Path::new(&path), Kind::Excluded, "a", String::new(), now);
        }
        let second = Path::new("/second");
        left_out.note(second, Kind::SecondName, "a", String::new(), now);
        assert!(left_out.is_left_by_tailer(second));
        let (first, counts) = left_out.all();
        assert_eq!(first.len(), MOST_SHOWN);
        assert_eq!(counts[1], ("excluded".to_owned(), MOST as u64));
    }
}
