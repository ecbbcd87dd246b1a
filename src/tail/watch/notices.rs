//! What is said about paths that patterns name and that are not read: each thing once.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::Level;

use super::entries::shrink;
use super::seen::{SeenFolder, Trouble};
use crate::condition::Condition;
use crate::left_out::Kind;
use crate::metrics::Metrics;
use crate::no_file;
use crate::shown::ShownPath;
use crate::tail::discover::{Claim, Discovery};
use crate::unreadable;

/// What was said.
#[derive(Debug, Default)]
pub(super) struct Notices {
    /// About paths, each with the time at which the trouble was seen last.
    paths: HashMap<PathBuf, Noticed>,
    /// About patterns, which are told by their section and their text: another ini gives them other numbers.
    patterns: BTreeSet<(String, String, PatternNotice)>,
    /// Of two sections that want the same file.
    pairs: BTreeSet<(String, String)>,
    tallies: HashMap<u32, Tally>,
    /// Patterns whose first scan is over.
    scanned: BTreeSet<u32>,
    metrics: Arc<Metrics>,
}

#[derive(Debug)]
struct Noticed {
    kind: std::mem::Discriminant<Trouble>,
    /// When a look met it last.
    seen: Instant,
    /// It is about a folder on the way.
    is_of_folder: bool,
    /// What somebody can mend and waits to be read.
    condition: Option<Box<Condition>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum PatternNotice {
    Compressed,
    StateDir,
    TooDeep,
    FoundNothing,
}

/// What the first scan of a pattern has seen.
#[derive(Debug, Default)]
struct Tally {
    /// Files that are read.
    files: usize,
    excluded: usize,
    no_folder: Option<PathBuf>,
    /// Something was said already.
    is_told: bool,
}

/// A line of the log.
pub(super) type Line = (Level, String);

impl Notices {
    /// Has the board show paths that cannot be read, and notes what is left out.
    pub(super) fn report_to(&mut self, metrics: &Arc<Metrics>) {
        self.metrics = metrics.clone();
    }

    /// Other patterns are followed from now on. What is wrong goes on and was said, but for what nobody names any more;
    /// what is left out is seen again by the scans that follow.
    pub(super) fn begin_anew(&mut self, discovery: &Discovery, now: Instant) {
        self.tallies.clear();
        self.scanned.clear();
        self.metrics.left_out.forget_unseen(now);
        // A folder is named by no pattern: its trouble ends when no scan meets it.
        let is_of_nobody = |path: &PathBuf, noticed: &mut Noticed| {
            !noticed.is_of_folder && matches!(discovery.claim(path), Claim::Unnamed)
        };
        // Without a word: it is no trouble any more, and yet has not been mended.
        self.paths.extract_if(is_of_nobody).for_each(drop);
    }

    /// Whether it is said of a pattern for the first time.
    fn is_news(&mut self, discovery: &Discovery, pattern: u32, notice: PatternNotice) -> bool {
        let Some((text, log)) = discovery.pattern(pattern) else {
            return false;
        };
        let key = (log.name.clone(), text.to_owned(), notice);
        self.patterns.insert(key)
    }

    /// A scan of the pattern has come upon a file that is read.
    pub(super) fn file(&mut self, pattern: u32) {
        if !self.scanned.contains(&pattern) {
            self.tallies.entry(pattern).or_default().files += 1;
        }
    }

    /// What is to be said about something that is not read: nothing if it was said before.
    pub(super) fn trouble(
        &mut self,
        discovery: &Discovery,
        pattern: Option<u32>,
        path: &Path,
        trouble: &Trouble,
    ) -> Option<Line> {
        if let Some(pattern) = pattern
            && !self.scanned.contains(&pattern)
        {
            let tally = self.tallies.entry(pattern).or_default();
            match trouble {
                Trouble::Excluded => tally.excluded += 1,
                Trouble::NoFolder(folder) => tally.no_folder = Some(folder.clone()),
                _ => tally.is_told = true,
            }
        }
        note_left_out(&self.metrics, discovery, path, trouble);
        let mut is_of_folder = false;
        let about = match trouble {
            Trouble::Excluded | Trouble::NoFolder(_) => return None,
            Trouble::Compressed => return self.compressed(discovery, pattern?, path),
            Trouble::StateDir(_) => {
                let key = (String::new(), String::new(), PatternNotice::StateDir);
                if !self.patterns.insert(key) {
                    return None;
                }
                path
            }
            Trouble::TooDeep(folder) => {
                if !self.is_news(discovery, pattern?, PatternNotice::TooDeep) {
                    return None;
                }
                is_of_folder = true;
                folder
            }
            Trouble::MayNotEnter(folder) | Trouble::MayNotList(folder, _) => {
                is_of_folder = true;
                folder
            }
            _ => path,
        };
        let kind = std::mem::discriminant(trouble);
        let now = Instant::now();
        if let Some(noticed) = self.paths.get_mut(about)
            && noticed.kind == kind
        {
            noticed.seen = now;
            return None;
        }
        if self.paths.len() >= MOST_PATHS && !self.paths.contains_key(about) {
            return None;
        }
        let words = words(path, trouble);
        let mut noticed = Noticed {
            kind,
            seen: now,
            is_of_folder,
            condition: None,
        };
        if let Trouble::MayNotEnter(_) | Trouble::MayNotList(..) | Trouble::Failed(_) = trouble {
            let mut condition = Box::new(Condition::on(&self.metrics.board));
            let entered = condition.enter(Level::Warn, &ShownPath(about), &words, now);
            entered.say(now);
            noticed.condition = Some(condition);
        }
        self.paths.insert(about.to_owned(), noticed);
        Some((Level::Warn, words))
    }

    fn compressed(&mut self, discovery: &Discovery, pattern: u32, path: &Path) -> Option<Line> {
        if !self.is_news(discovery, pattern, PatternNotice::Compressed) {
            return None;
        }
        let (text, log) = discovery.pattern(pattern)?;
        let path = ShownPath(path);
        // Archives beside their log are everyday; a path that names one is a mistake.
        let (level, others) = match text.contains(['*', '?', '[']) {
            true => (Level::Info, ", and others like it,"),
            false => (Level::Warn, ""),
        };
        let words = format!(
            "[log:{}] '{path}'{others} is compressed and is not read by itself: what is unread in it is read \
             when a followed file was rotated into it",
            log.name
        );
        Some((level, words))
    }

    /// Two sections want `path`.
    pub(super) fn two_sections(&mut self, first: &str, also: &str, path: &Path) -> Option<Line> {
        let pair = (first.to_owned(), also.to_owned());
        self.pairs.insert(pair).then(|| {
            let path = ShownPath(path);
            let words = format!(
                "'{path}' is named by [log:{first}] and by [log:{also}]: the first one has it, and others like it"
            );
            (Level::Warn, words)
        })
    }

    /// The first scan of a pattern is over: what is to be said if it found nothing to read.
    pub(super) fn first_scan_is_over(
        &mut self,
        discovery: &Discovery,
        pattern: u32,
    ) -> Option<Line> {
        let tally = self.tallies.remove(&pattern).unwrap_or_default();
        if !self.scanned.insert(pattern) || tally.files > 0 || tally.is_told {
            return None;
        }
        if !self.is_news(discovery, pattern, PatternNotice::FoundNothing) {
            return None;
        }
        let (text, log) = discovery.pattern(pattern)?;
        let (shown, name) = (ShownPath(Path::new(text)), &log.name);
        let words = if let Some(folder) = tally.no_folder {
            let why = no_file::no_folder(&folder);
            format!("[log:{name}] {why}; '{shown}' is picked up when it appears")
        } else if tally.excluded > 0 {
            let excluded = tally.excluded;
            format!("[log:{name}] exclude leaves out all that '{shown}' matches: {excluded} files")
        } else {
            let why = no_file::no_match(text);
            format!("[log:{name}] {why}; it is picked up when it appears")
        };
        Some((Level::Warn, words))
    }

    /// The file at `path` can be read, or has gone: should there be trouble with it again, it is said again.
    pub(super) fn forget(&mut self, path: &Path) {
        self.metrics.left_out.forget(path);
        if let Some(noticed) = self.paths.remove(path) {
            noticed.end(path);
        }
    }

    /// A walk has gone through these folders and met these troubles: what was wrong with a folder that it has entered
    /// without is over.
    pub(super) fn walked(&mut self, folders: &[SeenFolder], troubles: &[(u32, Trouble)]) {
        let is_over = |path: &PathBuf, noticed: &mut Noticed| {
            noticed.is_of_folder
                && folders.iter().any(|folder| folder.path.starts_with(path))
                && !troubles.iter().any(|(_, trouble)| trouble.about() == path)
        };
        for (path, noticed) in self.paths.extract_if(is_over) {
            noticed.end(&path);
        }
    }

    /// Forgets troubles that no scan has seen for a while.
    pub(super) fn tidy(&mut self, now: Instant) {
        let is_over =
            |_: &PathBuf, noticed: &mut Noticed| now.duration_since(noticed.seen) >= KEPT_FOR;
        for (path, noticed) in self.paths.extract_if(is_over) {
            noticed.end(&path);
        }
        shrink(&mut self.paths);
        if let Some(since) = now.checked_sub(KEPT_FOR) {
            self.metrics.left_out.forget_unseen(since);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let is_of_state = |(.., notice): &&(_, _, _)| *notice != PatternNotice::FoundNothing;
        let patterns = self.patterns.iter().filter(is_of_state).count();
        self.paths.len() + patterns + self.pairs.len() + self.tallies.len()
    }
}

impl Noticed {
    fn end(self, path: &Path) {
        if let Some(mut condition) = self.condition
            && let Some(left) = condition.leave()
        {
            log::log!(
                left.level,
                "'{}' is no trouble any more{left}",
                ShownPath(path)
            );
        }
    }
}

/// Writes a line, if there is one.
pub(super) fn say(line: Option<Line>) {
    if let Some((level, words)) = line {
        log::log!(level, "{words}");
    }
}

/// Notes what is left out and needs no mending.
fn note_left_out(metrics: &Metrics, discovery: &Discovery, path: &Path, trouble: &Trouble) {
    let namings = discovery.namings(path);
    let first = namings.first();
    let log = first.map_or("", |naming| &naming.log.name);
    let (kind, reason) = match (trouble, first.and_then(|naming| naming.excluded_by)) {
        (Trouble::Excluded, Some(text)) => (Kind::Excluded, format!("excluded by '{text}'")),
        (Trouble::Compressed, _) => {
            let reason = "compressed; read where a followed file was packed into it";
            (Kind::Compressed, reason.to_owned())
        }
        (Trouble::Folder, _) => (Kind::NotRegular, "a folder".to_owned()),
        (Trouble::NotRegular, _) => (Kind::NotRegular, "not a regular file".to_owned()),
        (Trouble::DanglingLink, _) => (Kind::DanglingLink, "a link to nothing".to_owned()),
        (Trouble::StateDir(_), _) => (Kind::StateFolder, "in [agent] state_dir".to_owned()),
        _ => return,
    };
    let left_out = &metrics.left_out;
    left_out.note(path, kind, log, reason, Instant::now());
}

fn words(path: &Path, trouble: &Trouble) -> String {
    let at = ShownPath(path);
    match trouble {
        Trouble::Folder => {
            format!("'{at}' is a folder and is not read; path = {at}/* names the files in it")
        }
        Trouble::NotRegular => format!("'{at}' is not a regular file and is not read"),
        Trouble::DanglingLink => {
            format!("'{at}' is a link that leads nowhere; it is read when its target appears")
        }
        Trouble::StateDir(_) => {
            format!(
                "'{at}' belongs to [agent] state_dir, which is left out: the agent would read what it writes"
            )
        }
        Trouble::MayNotEnter(folder) => {
            let (folder, mend) = (ShownPath(folder), unreadable::command("rx"));
            format!(
                "folder '{folder}' may not be entered (x permission): {mend}; what lies in it is looked for again"
            )
        }
        Trouble::MayNotList(folder, error) => {
            let folder = ShownPath(folder);
            let is_denied = error.contains("ermission denied");
            let mend = is_denied.then(|| format!(": {}", unreadable::command("rx")));
            let mend = mend.unwrap_or_default();
            format!("folder '{folder}' cannot be listed: {error}{mend}; it is tried again")
        }
        Trouble::TooDeep(folder) => {
            let folder = ShownPath(folder);
            format!("folder '{folder}' lies too deep; it and those below are not looked at")
        }
        Trouble::Failed(error) => {
            format!("'{at}' cannot be looked at: {error}; it is tried again")
        }
        Trouble::Excluded | Trouble::Compressed | Trouble::NoFolder(_) => String::new(),
    }
}

/// No trouble with more paths than this is remembered, or said.
const MOST_PATHS: usize = 10_000;
/// Scans come every 30 s; a trouble that two of them have not seen is over.
const KEPT_FOR: Duration = Duration::from_secs(100);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::ConditionStatus;
    use crate::tail::discover::testing::section;

    fn discovery() -> Discovery {
        let logs = [section("a", &["/x/*", "/x/a.gz", "/y/z/b.log"], &[])];
        Discovery::new(&logs, Path::new("/nonexistent"))
    }

    fn said(notices: &mut Notices, pattern: u32, path: &str, trouble: Trouble) -> Option<Line> {
        notices.trouble(&discovery(), Some(pattern), Path::new(path), &trouble)
    }

    #[test]
    fn each_trouble_with_a_path_is_said_once_until_it_is_over() {
        let mut notices = Notices::default();
        let (_, words) = said(&mut notices, 0, "/x/f\n", Trouble::NotRegular).expect("is said");
        assert_eq!(words, "'/x/f\\n' is not a regular file and is not read");
        assert!(said(&mut notices, 0, "/x/f\n", Trouble::NotRegular).is_none());
        assert!(said(&mut notices, 0, "/x/f\n", Trouble::Folder).is_some());
        notices.forget(Path::new("/x/f\n"));
        assert!(said(&mut notices, 0, "/x/f\n", Trouble::Folder).is_some());
        let closed = || Trouble::MayNotEnter("/x".into());
        assert!(said(&mut notices, 0, "/x/a.log", closed()).is_some());
        assert!(said(&mut notices, 0, "/x/b.log", closed()).is_none());
        notices.tidy(Instant::now() + KEPT_FOR);
        notices.first_scan_is_over(&discovery(), 0);
        assert_eq!(notices.len(), 0);
    }

    #[test]
    fn a_folder_that_a_walk_has_entered_is_no_trouble_any_more() {
        let mut notices = Notices::default();
        let closed = |folder: &str| Trouble::MayNotList(folder.into(), "no".into());
        for folder in ["/x", "/y/z"] {
            assert!(said(&mut notices, 0, folder, closed(folder)).is_some());
        }
        let board = notices.metrics.board.clone();
        let subjects = || {
            let all = board.all();
            all.iter()
                .map(|one| one.subject.clone())
                .collect::<Vec<_>>()
        };
        let walked = |folder: &str| SeenFolder {
            path: Path::new(folder).into(),
            steps: Vec::new(),
            is_told: true,
        };
        // One that was watched and could not be listed, another one, and the one above.
        notices.walked(&[walked("/x")], &[(0, closed("/x"))]);
        notices.walked(&[walked("/xy"), walked("/y")], &[]);
        assert_eq!(subjects(), ["/x", "/y/z"]);
        notices.walked(&[walked("/x/below")], &[]);
        assert_eq!(subjects(), ["/y/z"]);
    }

    #[test]
    fn an_archive_is_said_once_for_a_pattern_and_louder_if_it_is_named() {
        let mut notices = Notices::default();
        let said = |notices: &mut Notices, pattern, path| {
            said(notices, pattern, path, Trouble::Compressed).map(|(level, _)| level)
        };
        assert_eq!(said(&mut notices, 0, "/x/1.gz"), Some(Level::Info));
        assert_eq!(said(&mut notices, 0, "/x/2.gz"), None);
        assert_eq!(said(&mut notices, 1, "/x/a.gz"), Some(Level::Warn));
    }

    #[test]
    fn a_pattern_that_finds_nothing_is_said_to_for_one_reason() {
        let over = |pattern, troubles: &[Trouble], files| {
            let mut notices = Notices::default();
            for trouble in troubles {
                said(&mut notices, pattern, "/x/a", trouble.clone());
            }
            (0..files).for_each(|_| notices.file(pattern));
            let line = notices.first_scan_is_over(&discovery(), pattern);
            assert!(notices.first_scan_is_over(&discovery(), pattern).is_none());
            line.map(|(_, words)| words).unwrap_or_default()
        };
        let excluded = || Trouble::Excluded;
        let no_folder = Trouble::NoFolder("/y/z".into());
        assert!(over(0, &[], 0).contains(&no_file::no_match("/x/*")));
        assert!(over(0, &[excluded()], 0).contains("leaves out all that '/x/*' matches: 1 files"));
        assert!(over(2, &[no_folder], 0).contains(&no_file::no_folder(Path::new("/y/z"))));
        assert_eq!(over(0, &[excluded(), Trouble::Folder], 0), "");
        assert_eq!(over(0, &[excluded()], 1), "");
    }

    #[test]
    fn two_sections_that_want_the_same_files_are_named_once() {
        let mut notices = Notices::default();
        let (_, words) = notices
            .two_sections("a", "b", Path::new("/x/c.log"))
            .expect("is said");
        assert!(words.starts_with("'/x/c.log' is named by [log:a] and by [log:b]"));
        assert!(
            notices
                .two_sections("a", "b", Path::new("/x/d.log"))
                .is_none()
        );
    }

    #[test]
    fn what_is_wrong_goes_on_over_a_reload_but_not_what_nobody_names_any_more() {
        let mut notices = Notices::default();
        let failed = || Trouble::Failed("no".into());
        let closed = || Trouble::MayNotEnter("/x".into());
        for (pattern, path, trouble) in [
            (0, "/x/a.log", failed()),
            (2, "/y/z/b.log", failed()),
            (0, "/x/c.log", closed()),
            (0, "/x/d.log", Trouble::NotRegular),
        ] {
            assert!(said(&mut notices, pattern, path, trouble).is_some());
        }
        let board = notices.metrics.board.clone();
        let before = board.all();
        let next = Discovery::new(&[section("b", &["/x/*"], &[])], Path::new("/nonexistent"));
        notices.begin_anew(&next, Instant::now());
        let after = board.all();
        let is_kept = |one: &&ConditionStatus| one.subject != "/y/z/b.log";
        assert_eq!(
            after,
            before.iter().filter(is_kept).cloned().collect::<Vec<_>>()
        );
        assert_eq!((before.len(), after.len()), (3, 2));
        for (path, trouble) in [
            ("/x/a.log", failed()),
            ("/x/c.log", closed()),
            ("/x/d.log", Trouble::NotRegular),
        ] {
            let line = notices.trouble(&next, Some(0), Path::new(path), &trouble);
            assert!(line.is_none(), "{line:?}");
        }
    }
}
