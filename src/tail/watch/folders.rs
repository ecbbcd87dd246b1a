//! Which folders are of interest to which patterns, and which of them are to be looked at again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::seen::{SeenFolder, Start};
use crate::tail::discover::Step;

/// The folders in which names are of interest.
#[derive(Debug, Default)]
pub(super) struct Folders {
    /// Sorted, so that what lies below a folder comes right after it.
    by_path: BTreeMap<Arc<Path>, Folder>,
}

#[derive(Debug, Default)]
struct Folder {
    /// How far patterns have come here, each with the number of the scan that saw it last.
    steps: Vec<(Step, u64)>,
    /// The kernel tells of all that happens to its names.
    is_told: bool,
}

impl Folders {
    /// A walk has seen a folder; `scan` gives the number of the last scan of a pattern.
    pub(super) fn enter(&mut self, seen: SeenFolder, scan: impl Fn(u32) -> u64) {
        let folder = self.by_path.entry(seen.path).or_default();
        folder.is_told = seen.is_told;
        for step in seen.steps {
            let number = scan(step.pattern);
            match folder.steps.iter_mut().find(|(known, _)| *known == step) {
                Some((_, known)) => *known = number,
                None => folder.steps.push((step, number)),
            }
        }
    }

    /// How far patterns have come in this folder.
    pub(super) fn steps(&self, folder: &Path) -> Vec<Step> {
        let folder = self.by_path.get(folder);
        let steps = folder.into_iter().flat_map(|folder| &folder.steps);
        steps.map(|(step, _)| *step).collect()
    }

    /// Forgets a folder that has gone and what lay below it; gives those that were known, and the patterns that
    /// led to them.
    pub(super) fn forget_below(&mut self, gone: &Path) -> (Vec<Arc<Path>>, BTreeSet<u32>) {
        let below = self
            .by_path
            .range::<Path, _>((std::ops::Bound::Included(gone), std::ops::Bound::Unbounded))
            .map(|(path, _)| path.clone())
            .take_while(|path| path.starts_with(gone));
        let below: Vec<Arc<Path>> = below.collect();
        let mut patterns = BTreeSet::new();
        for folder in below.iter().filter_map(|path| self.by_path.remove(path)) {
            patterns.extend(folder.steps.iter().map(|(step, _)| step.pattern));
        }
        (below, patterns)
    }

    /// Forgets what the finished scan `number` of a pattern has not seen.
    pub(super) fn prune(&mut self, pattern: u32, number: u64) {
        self.by_path.retain(|_, folder| {
            folder
                .steps
                .retain(|(step, scan)| step.pattern != pattern || *scan >= number);
            !folder.steps.is_empty()
        });
    }

    pub(super) fn contains(&self, folder: &Path) -> bool {
        self.by_path.contains_key(folder)
    }

    /// The patterns with a folder that the kernel does not tell of.
    pub(super) fn untold(&self) -> BTreeSet<u32> {
        let untold = self.by_path.values().filter(|folder| !folder.is_told);
        let steps = untold.flat_map(|folder| &folder.steps);
        steps.map(|(step, _)| step.pattern).collect()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.by_path.len()
    }
}

/// Folders that have appeared or changed. In each folder that they lie in there is a look at the first at once,
/// and after that one a second at all that came since.
#[derive(Debug, Default)]
pub(super) struct Changed {
    /// By the folder that they lie in.
    waiting: BTreeMap<Arc<Path>, BTreeMap<Arc<Path>, Vec<Step>>>,
    not_before: HashMap<Arc<Path>, Instant>,
}

impl Changed {
    /// The folder `start`, in the folder `parent`, is to be looked at.
    pub(super) fn add(&mut self, parent: &Arc<Path>, start: Start) {
        let waiting = self.waiting.entry(parent.clone()).or_default();
        waiting.insert(start.folder, start.steps);
    }

    /// The folder, which lay in `parent`, has gone before it was looked at.
    pub(super) fn forget(&mut self, parent: &Path, folder: &Path) {
        if let Some(waiting) = self.waiting.get_mut(parent) {
            waiting.remove(folder);
            if waiting.is_empty() {
                self.waiting.remove(parent);
            }
        }
    }

    /// What is to be looked at now.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Start> {
        self.not_before.retain(|_, at| *at > now);
        let mut due = Vec::new();
        let not_before = &mut self.not_before;
        self.waiting.retain(|parent, waiting| {
            if not_before.contains_key(parent) {
                return true;
            }
            not_before.insert(parent.clone(), now + LOOK_INTERVAL);
            let starts = std::mem::take(waiting).into_iter();
            due.extend(starts.map(|(folder, steps)| Start { folder, steps }));
            false
        });
        due
    }

    /// When something is to be looked at.
    pub(super) fn next_at(&self) -> Option<Instant> {
        let now = Instant::now();
        let at = |parent| self.not_before.get(parent).copied().unwrap_or(now);
        self.waiting.keys().map(at).min()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.waiting.len() + self.not_before.len()
    }
}

/// How often there is a look at what has changed in one folder.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tail::discover::Discovery;
    use crate::tail::discover::testing::section;

    fn steps() -> Vec<Step> {
        let discovery = Discovery::new(
            &[section("a", &["/x/**/*.log"], &[])],
            Path::new("/nonexistent"),
        );
        discovery.start(0)
    }

    fn seen(path: &str, is_told: bool) -> SeenFolder {
        SeenFolder {
            path: Path::new(path).into(),
            steps: steps(),
            is_told,
        }
    }

    fn start(path: &str) -> Start {
        Start {
            folder: Path::new(path).into(),
            steps: steps(),
        }
    }

    #[test]
    fn a_folder_that_goes_takes_what_lies_below_it_and_nothing_else() {
        let mut folders = Folders::default();
        for path in ["/x", "/x/a", "/x/a/b", "/x/a.b", "/x/ab", "/x/a/b/c"] {
            folders.enter(seen(path, true), |_| 1);
        }
        let (gone, patterns) = folders.forget_below(Path::new("/x/a"));
        assert_eq!(patterns, BTreeSet::from([0]));
        let gone: Vec<_> = gone.iter().map(|path| path.display().to_string()).collect();
        assert_eq!(gone, ["/x/a", "/x/a/b", "/x/a/b/c"]);
        assert_eq!(folders.len(), 3);
        assert!(folders.contains(Path::new("/x/a.b")));
    }

    #[test]
    fn what_a_scan_does_not_see_any_more_is_forgotten() {
        let mut folders = Folders::default();
        folders.enter(seen("/x", true), |_| 1);
        folders.enter(seen("/x/a", false), |_| 1);
        assert_eq!(folders.untold(), BTreeSet::from([0]));
        folders.enter(seen("/x", true), |_| 2);
        folders.prune(0, 2);
        assert_eq!(folders.len(), 1);
        assert!(folders.untold().is_empty());
        folders.prune(1, 9);
        assert_eq!(
            folders.len(),
            1,
            "another pattern's scan says nothing of it"
        );
    }

    #[test]
    fn the_first_in_a_second_is_looked_at_at_once_and_the_others_together() {
        let mut changed = Changed::default();
        let (x, y): (Arc<Path>, Arc<Path>) = (Path::new("/x").into(), Path::new("/y").into());
        let now = Instant::now();
        let due = |changed: &mut Changed, at| -> Vec<String> {
            let due = changed.due(at).into_iter();
            due.map(|start| start.folder.display().to_string())
                .collect()
        };
        changed.add(&x, start("/x/1"));
        assert_eq!(due(&mut changed, now), ["/x/1"]);
        for n in 2..100 {
            changed.add(&x, start(&format!("/x/{n}")));
            changed.forget(&x, Path::new(&format!("/x/{n}")));
        }
        changed.add(&x, start("/x/a"));
        changed.add(&x, start("/x/b"));
        changed.add(&y, start("/y/1"));
        assert_eq!(
            due(&mut changed, now),
            ["/y/1"],
            "another folder is another matter"
        );
        assert!(changed.next_at().is_some_and(|at| at > now));
        assert_eq!(due(&mut changed, now + LOOK_INTERVAL), ["/x/a", "/x/b"]);
        assert_eq!(due(&mut changed, now + LOOK_INTERVAL * 3), [""; 0]);
        assert_eq!(changed.len(), 0, "nothing is kept of what is over");
    }
}
