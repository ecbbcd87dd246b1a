//! Which paths the patterns of the configuration name, and who wants them. Nothing here asks a file system,
//! except for the state folder at the start.
//!
//! A pattern is a row of components: names, globs, and `**` for any number of folders. A folder is told by the
//! steps that patterns have taken on the way to it, so what a new folder means to them is known from the
//! folder that it lies in.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::patterns::{Component, Exclude, Pattern};
use crate::config::LogConfig;
use crate::identity::{FileStat, Inode};

/// A path that is to be followed.
#[derive(Debug, Clone)]
pub struct FoundPath {
    /// The path.
    pub path: Arc<Path>,
    /// The section whose pattern it matches; the first one, if several do.
    pub log: Arc<LogConfig>,
    /// What lay there, if anything did. It may be rotated away before anybody opens it.
    pub stat: Option<FileStat>,
    /// It was there, or known, when the agent started.
    pub is_first: bool,
}

/// The patterns of all `[log:NAME]` sections.
#[derive(Debug)]
pub struct Discovery {
    patterns: Vec<LogPattern>,
    state_dir: StateDir,
}

#[derive(Debug)]
struct LogPattern {
    text: String,
    pattern: Pattern,
    exclude: Arc<[Exclude]>,
    log: Arc<LogConfig>,
}

/// What the agent itself writes to: never followed.
#[derive(Debug)]
struct StateDir {
    path: PathBuf,
    /// The same without links.
    resolved: PathBuf,
    inode: Option<Inode>,
}

/// How far a pattern has come: its number, and the component that the names in a folder must match next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Step {
    pub(super) pattern: u32,
    component: u32,
}

/// What lies in a folder for a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next<'a> {
    /// A file of this name.
    File(&'a OsStr),
    /// A folder of this name.
    Folder(&'a OsStr),
    /// Names that match; the folder must be listed.
    Names,
}

/// A section that names a path.
#[derive(Debug)]
pub(super) struct Naming<'a> {
    pub(super) log: &'a Arc<LogConfig>,
    /// What it leaves the path out by, as it was given.
    pub(super) excluded_by: Option<&'a str>,
}

/// Whose file a path is.
#[derive(Debug)]
pub(super) enum Claim {
    /// The first section that names it and does not exclude it, and the next one, if there is one.
    Wanted(Arc<LogConfig>, Option<Arc<LogConfig>>),
    /// Every section that names it excludes it.
    Excluded,
    /// No section names it.
    Unnamed,
}

impl Discovery {
    /// The patterns of `logs`; those that are no globs stand for themselves. What lies below `state_dir` is
    /// left out.
    pub fn new(logs: &[Arc<LogConfig>], state_dir: &Path) -> Self {
        let mut patterns = Vec::new();
        for log in logs {
            let exclude = log.exclude.iter();
            let exclude: Arc<[Exclude]> = exclude.map(|text| excluding(text)).collect();
            for text in &log.paths {
                patterns.push(LogPattern {
                    text: text.clone(),
                    // One that cannot be read was refused with the configuration; should one get here all
                    // the same, it stands for itself.
                    pattern: Pattern::new(text).unwrap_or_else(|_| Pattern::literal(text)),
                    exclude: exclude.clone(),
                    log: log.clone(),
                });
            }
        }
        let state_dir = StateDir {
            path: state_dir.to_owned(),
            resolved: state_dir
                .canonicalize()
                .unwrap_or_else(|_| state_dir.to_owned()),
            inode: FileStat::at_path(state_dir).ok().map(|stat| stat.inode),
        };
        Discovery {
            patterns,
            state_dir,
        }
    }

    /// The numbers of the patterns.
    pub(super) fn patterns(&self) -> impl Iterator<Item = u32> + use<> {
        0..u32::try_from(self.patterns.len()).unwrap_or(u32::MAX)
    }

    /// A pattern as it was given, and its section.
    pub(super) fn pattern(&self, number: u32) -> Option<(&str, &Arc<LogConfig>)> {
        let pattern = self.patterns.get(number as usize)?;
        Some((&pattern.text, &pattern.log))
    }

    /// The section that wants `path`.
    pub fn wanted(&self, path: &Path) -> Option<Arc<LogConfig>> {
        match self.claim(path) {
            Claim::Wanted(log, _) => Some(log),
            Claim::Excluded | Claim::Unnamed => None,
        }
    }

    /// Whose file `path` is, whether a file lies there or not.
    pub(super) fn claim(&self, path: &Path) -> Claim {
        let mut first: Option<&Arc<LogConfig>> = None;
        let mut is_named = false;
        for pattern in &self.patterns {
            if first.is_some_and(|log| Arc::ptr_eq(log, &pattern.log))
                || !pattern.pattern.matches_path(path)
            {
                continue;
            }
            is_named = true;
            if pattern
                .exclude
                .iter()
                .any(|exclude| exclude.matches_path(path))
            {
                continue;
            }
            match first {
                Some(first) => return Claim::Wanted(first.clone(), Some(pattern.log.clone())),
                None => first = Some(&pattern.log),
            }
        }
        match first {
            Some(log) => Claim::Wanted(log.clone(), None),
            None if is_named => Claim::Excluded,
            None => Claim::Unnamed,
        }
    }

    /// All sections that name `path`, in the order of the ini.
    pub(super) fn namings(&self, path: &Path) -> Vec<Naming<'_>> {
        let mut namings: Vec<Naming<'_>> = Vec::new();
        for pattern in &self.patterns {
            let log = &pattern.log;
            let is_known = namings.iter().any(|one| Arc::ptr_eq(one.log, log));
            if is_known || !pattern.pattern.matches_path(path) {
                continue;
            }
            let mut excludes = log.exclude.iter().zip(pattern.exclude.iter());
            let excluded = excludes.find(|(_, exclude)| exclude.matches_path(path));
            namings.push(Naming {
                log,
                excluded_by: excluded.map(|(text, _)| &**text),
            });
        }
        namings
    }

    /// Whether `path` is the state folder or lies below it, as far as its name tells.
    pub(super) fn is_of_state_dir(&self, path: &Path) -> bool {
        path.starts_with(&self.state_dir.path) || path.starts_with(&self.state_dir.resolved)
    }

    /// Whether the folder that this look was at is the state folder.
    pub(super) fn is_state_dir(&self, stat: &FileStat) -> bool {
        self.state_dir.inode == Some(stat.inode)
    }

    /// The steps of a pattern at `/`.
    pub(super) fn start(&self, pattern: u32) -> Vec<Step> {
        let component = 0;
        self.settled(vec![Step { pattern, component }])
    }

    /// What the names in a folder are to these steps.
    pub(super) fn next(&self, step: Step) -> Option<Next<'_>> {
        Some(match self.component(step)? {
            Component::Literal(name) if self.is_last(step) => Next::File(OsStr::from_bytes(name)),
            Component::Literal(name) => Next::Folder(OsStr::from_bytes(name)),
            Component::Glob(_) | Component::Recursive => Next::Names,
        })
    }

    /// The steps in the folder `name` of a folder with these steps. Below `**` links to folders are not
    /// followed: they may lead in a circle.
    pub(super) fn enter(&self, steps: &[Step], name: &OsStr, kind: FolderKind) -> Vec<Step> {
        let mut entered = Vec::new();
        for step in steps {
            let Some(component) = self.component(*step) else {
                continue;
            };
            let is_recursive = *component == Component::Recursive;
            if is_recursive && kind == FolderKind::Link || !component.matches(name.as_bytes()) {
                continue;
            }
            if is_recursive {
                entered.push(*step);
            } else if !self.is_last(*step) {
                entered.push(step.next());
            }
        }
        self.settled(entered)
    }

    /// Whether a file `name` in a folder with these steps is named by a pattern; the first such pattern.
    pub(super) fn names_file(&self, steps: &[Step], name: &OsStr) -> Option<u32> {
        let names = |step: &&Step| {
            let component = self.component(**step);
            self.is_last(**step) && component.is_some_and(|c| c.matches(name.as_bytes()))
        };
        steps.iter().find(names).map(|step| step.pattern)
    }

    /// `**` stands for no folder as well: then the component after it is next.
    fn settled(&self, mut steps: Vec<Step>) -> Vec<Step> {
        let mut at = 0;
        while let Some(step) = steps.get(at).copied() {
            at += 1;
            if self.component(step) == Some(&Component::Recursive) && !self.is_last(step) {
                steps.push(step.next());
            }
        }
        steps.sort_unstable();
        steps.dedup();
        steps
    }

    fn component(&self, step: Step) -> Option<&Component> {
        self.components(step).get(step.component as usize)
    }

    fn is_last(&self, step: Step) -> bool {
        step.component as usize + 1 == self.components(step).len()
    }

    fn components(&self, step: Step) -> &[Component] {
        let pattern = self.patterns.get(step.pattern as usize);
        pattern.map_or(&[], |pattern| pattern.pattern.components())
    }
}

impl Step {
    fn next(self) -> Step {
        Step {
            component: self.component + 1,
            ..self
        }
    }
}

/// How a folder lies in another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FolderKind {
    Plain,
    /// Through a symbolic link.
    Link,
}

fn excluding(text: &str) -> Exclude {
    Exclude::new(text).unwrap_or_else(|_| Exclude::literal(text))
}

#[cfg(test)]
pub(super) mod testing {
    use super::*;
    use crate::config::StartAt;
    use std::time::Duration;

    /// A section.
    pub(in crate::tail) fn section(name: &str, paths: &[&str], exclude: &[&str]) -> Arc<LogConfig> {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Arc::new(LogConfig {
            name: name.into(),
            paths: owned(paths),
            exclude: owned(exclude),
            follow_links: crate::config::FollowLinks::Safe,
            destination: crate::config::LogDestination::default(),
            ignore_older: None,
            line_timeout: None,
            record: None,
            start_at: StartAt::Beginning,
            max_line_bytes: 1,
            rotate_wait: Duration::ZERO,
            rotated: vec![],
            unused_names: vec![],
            strip_cr: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::testing::section;
    use super::*;

    fn discovery(logs: &[Arc<LogConfig>]) -> Discovery {
        Discovery::new(logs, Path::new("/nonexistent/state"))
    }

    fn claimed(discovery: &Discovery, path: &str) -> String {
        match discovery.claim(Path::new(path)) {
            Claim::Wanted(first, None) => first.name.clone(),
            Claim::Wanted(first, Some(also)) => format!("{} and {}", first.name, also.name),
            Claim::Excluded => "excluded".into(),
            Claim::Unnamed => "unnamed".into(),
        }
    }

    #[test]
    fn what_one_section_excludes_the_next_one_has() {
        let discovery = discovery(&[
            section("all", &["/x/*.log", "/x/?.log"], &["/x/audit.log"]),
            section("audit", &["/x/a*.log"], &["app.log"]),
        ]);
        assert_eq!(claimed(&discovery, "/x/web.log"), "all");
        assert_eq!(claimed(&discovery, "/x/w.log"), "all", "twice in one");
        assert_eq!(claimed(&discovery, "/x/audit.log"), "audit");
        assert_eq!(claimed(&discovery, "/x/access.log"), "all and audit");
        assert_eq!(claimed(&discovery, "/x/app.log"), "all");
        assert_eq!(claimed(&discovery, "/x/app.txt"), "unnamed");
        let excluding = self::discovery(&[section("one", &["/x/*"], &["*.log"])]);
        assert_eq!(claimed(&excluding, "/x/a.log"), "excluded");
        let hidden = self::discovery(&[section("one", &["/x/.pm2/logs/*"], &["a.log"])]);
        assert_eq!(claimed(&hidden, "/x/.pm2/logs/a.log"), "excluded");
        assert_eq!(claimed(&hidden, "/x/.pm2/logs/b.log"), "one");
    }

    #[test]
    fn names_that_are_not_utf_8_are_matched() {
        let discovery = discovery(&[section("one", &["/x/*/*.log"], &[])]);
        let name = OsStr::from_bytes(b"\xff\n\x1b");
        let path = Path::new("/x").join(name).join("a.log");
        assert!(matches!(discovery.claim(&path), Claim::Wanted(_, None)));
        let steps = discovery.enter(&discovery.start(0), "x".as_ref(), FolderKind::Plain);
        let steps = discovery.enter(&steps, name, FolderKind::Plain);
        assert_eq!(
            discovery.names_file(&steps, OsStr::from_bytes(b"\xfe.log")),
            Some(0)
        );
    }

    #[test]
    fn steps_tell_what_a_folder_means_to_each_pattern() {
        let discovery = discovery(&[
            section("deep", &["/var/**/x/*.log"], &[]),
            section("flat", &["/var/*/app.log"], &[]),
        ]);
        let all: Vec<Step> = discovery
            .patterns()
            .flat_map(|n| discovery.start(n))
            .collect();
        let into = |steps: &[Step], name: &str, kind| discovery.enter(steps, name.as_ref(), kind);
        let files = |steps: &[Step], name: &str| discovery.names_file(steps, name.as_ref());
        let var = into(&all, "var", FolderKind::Plain);
        assert!(into(&all, "etc", FolderKind::Plain).is_empty());
        let x = into(&var, "x", FolderKind::Plain);
        assert_eq!(files(&x, "a.log"), Some(0), "** may stand for nothing");
        assert_eq!(files(&x, "app.log"), Some(0));
        assert_eq!(files(&x, "a.txt"), None);
        let y = into(&var, "y", FolderKind::Plain);
        assert_eq!(files(&y, "a.log"), None);
        assert_eq!(files(&y, "app.log"), Some(1));
        let deep = into(&into(&y, "z", FolderKind::Plain), "x", FolderKind::Plain);
        assert_eq!(files(&deep, "a.log"), Some(0));
        let hidden = into(&var, ".y", FolderKind::Plain);
        assert!(
            hidden.is_empty(),
            "neither ** nor * goes into hidden folders"
        );
        let link = into(&var, "y", FolderKind::Link);
        assert_eq!(files(&link, "app.log"), Some(1), "* follows a link");
        assert!(
            into(&link, "x", FolderKind::Plain).is_empty(),
            "** does not"
        );
    }

    #[test]
    fn the_state_folder_is_known_by_its_names_and_by_its_inode() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("real")).expect("is made");
        std::os::unix::fs::symlink("real", at("link")).expect("is made");
        let discovery = Discovery::new(&[], &at("link"));
        for name in ["link/x", "real/x", "real"] {
            assert!(discovery.is_of_state_dir(&at(name)), "{name}");
        }
        assert!(!discovery.is_of_state_dir(&at("reals")));
        let stat = FileStat::at_path(&at("real")).expect("is there");
        assert!(discovery.is_state_dir(&stat));
    }
}
