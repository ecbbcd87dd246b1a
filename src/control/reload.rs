//! What became of a reload, as `logagent reload` prints it and the log says it.

use std::fmt;
use std::time::SystemTime;

use super::Answer;
use crate::shown::wrap;
use crate::wall_clock::clock;

/// What became of a reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReloadReport {
    /// The name of the ini.
    pub ini: String,
    /// When it was last changed.
    pub modified: Option<SystemTime>,
    /// It was applied before, when it was saved: these are the changes of then.
    pub by_itself: Option<SystemTime>,
    /// Whether it is in use now.
    pub outcome: ReloadOutcome,
}

/// Whether an ini was applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReloadOutcome {
    /// It was, with these changes.
    Applied(Vec<ReloadChange>),
    /// It was not.
    Refused {
        /// When the one was last changed that stays in use.
        in_use: Option<SystemTime>,
        /// All that is wrong with it, each error with file and line.
        why: String,
    },
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReloadChange {
    /// What kind it is.
    pub kind: ChangeKind,
    /// The section, or section and key.
    pub what: String,
    /// What becomes of it.
    pub words: String,
}

/// The kinds of changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// New.
    Added,
    /// In another way from now on.
    Changed,
    /// Gone.
    Removed,
    /// As it was.
    Untouched,
    /// It needs a restart.
    Restart,
    /// It is in use, and does not work as it is.
    Warning,
}

impl ReloadReport {
    /// For whoever asked. It is as asked if all that the ini says is in use.
    pub fn answer(&self) -> Answer {
        let is_ok = match &self.outcome {
            ReloadOutcome::Applied(changes) => waiting(changes) == 0,
            ReloadOutcome::Refused { .. } => false,
        };
        let text = format!("{self}\n");
        Answer { is_ok, text }
    }

    /// Its first line.
    pub fn head(&self) -> String {
        let ReloadReport { ini, modified, .. } = self;
        let what = match &self.outcome {
            ReloadOutcome::Applied(changes) => applied(changes),
            ReloadOutcome::Refused { in_use, .. } => {
                format!("refused, {} stays in use", of(*in_use))
            }
        };
        let by_itself = match self.by_itself {
            Some(at) => format!(" by itself at {}", of(Some(at))),
            None => String::new(),
        };
        format!("{ini} of {} {what}{by_itself}", of(*modified))
    }
}

impl fmt::Display for ReloadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.head())?;
        match &self.outcome {
            ReloadOutcome::Applied(changes) => changes.iter().try_for_each(|change| {
                let mut lines = String::new();
                wrap(&mut lines, &format!("  {}", change.head()), &change.words);
                write!(f, "\n{}", lines.trim_end())
            }),
            ReloadOutcome::Refused { why, .. } => {
                why.lines().try_for_each(|line| write!(f, "\n  {line}"))
            }
        }
    }
}

/// How many settings wait for a restart.
fn waiting(changes: &[ReloadChange]) -> usize {
    let waiting = changes.iter().filter(|one| one.kind == ChangeKind::Restart);
    waiting.count()
}

/// What became of an ini that is right.
fn applied(changes: &[ReloadChange]) -> String {
    let still = |kind| {
        matches!(
            kind,
            ChangeKind::Restart | ChangeKind::Untouched | ChangeKind::Warning
        )
    };
    let is_nothing = changes.iter().all(|change| still(change.kind));
    let settings = match waiting(changes) {
        0 => return "applied".to_owned(),
        1 => "1 setting that waits for a restart".to_owned(),
        count => format!("{count} settings that wait for a restart"),
    };
    match is_nothing {
        true => format!("changes only {settings}"),
        false => format!("applied but for {settings}"),
    }
}

impl ReloadChange {
    /// What stands before its words.
    fn head(&self) -> String {
        let what = &self.what;
        match self.kind {
            ChangeKind::Added => format!("+ {what:<14} "),
            ChangeKind::Changed => format!("~ {what:<14} "),
            ChangeKind::Removed => format!("- {what:<14} "),
            ChangeKind::Untouched => format!("= {what:<14} "),
            ChangeKind::Restart | ChangeKind::Warning => format!("! {what} "),
        }
    }
}

impl fmt::Display for ReloadChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.head(), self.words)
    }
}

/// When a file was last changed, if that is known.
fn of(time: Option<SystemTime>) -> String {
    time.map_or_else(|| "now".to_owned(), |at| clock(at, SystemTime::now()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(hours: u64, minutes: u64, seconds: u64) -> Option<SystemTime> {
        let s = 86_400 * 3 + hours * 3600 + minutes * 60 + seconds;
        Some(SystemTime::UNIX_EPOCH + Duration::from_secs(s))
    }

    #[test]
    fn the_screen_of_a_reload_is_as_it_was_agreed() {
        let change = |kind, what: &str, words: &str| ReloadChange {
            kind,
            what: what.to_owned(),
            words: words.to_owned(),
        };
        let mut report = ReloadReport {
            ini: "logagent.ini".to_owned(),
            modified: at(15, 20, 11),
            by_itself: None,
            outcome: ReloadOutcome::Applied(vec![
                change(ChangeKind::Added, "log:audit", "3 files begin"),
                change(
                    ChangeKind::Changed,
                    "log:app",
                    "drop.debug: for lines read from now on",
                ),
                change(
                    ChangeKind::Restart,
                    "[agent] state_dir",
                    "changed: needs a restart",
                ),
            ]),
        };
        // As a status has them.
        let shown = |hours, minutes, seconds| of(at(hours, minutes, seconds));
        let (saved, saved_again) = (shown(15, 20, 11), shown(15, 21, 40));
        let screen = format!(
            "logagent.ini of {saved} applied but for 1 setting that waits for a restart\n  \
             + log:audit      3 files begin\n  \
             ~ log:app        drop.debug: for lines read from now on\n  \
             ! [agent] state_dir changed: needs a restart\n"
        );
        assert!(saved.starts_with("1970-01-0"), "{saved}");
        assert_eq!(report.answer().text, screen);
        assert!(!report.answer().is_ok);
        let head = |changes: Vec<ReloadChange>| {
            let outcome = ReloadOutcome::Applied(changes);
            let report = ReloadReport {
                outcome,
                ..report.clone()
            };
            (report.answer().is_ok, report.head())
        };
        let untouched = || change(ChangeKind::Untouched, "log:web", "untouched");
        let restart = change(
            ChangeKind::Restart,
            "[agent] user",
            "changed: needs a restart",
        );
        let all = (true, format!("logagent.ini of {saved} applied"));
        assert_eq!(head(vec![untouched()]), all);
        let none =
            format!("logagent.ini of {saved} changes only 2 settings that wait for a restart");
        let none = (false, none);
        assert_eq!(head(vec![untouched(), restart.clone(), restart]), none);
        let earlier = ReloadReport {
            by_itself: at(15, 20, 13),
            outcome: ReloadOutcome::Applied(vec![untouched()]),
            ..report.clone()
        };
        let itself = shown(15, 20, 13);
        let words = format!("logagent.ini of {saved} applied by itself at {itself}");
        assert_eq!(earlier.head(), words);
        report.modified = at(15, 21, 40);
        report.outcome = ReloadOutcome::Refused {
            in_use: at(15, 20, 11),
            why: "logagent.ini:31: unknown key".to_owned(),
        };
        let screen = format!(
            "logagent.ini of {saved_again} refused, {saved} stays in use\n  \
             logagent.ini:31: unknown key\n"
        );
        assert_eq!(report.answer().text, screen);
        assert!(!report.answer().is_ok);
    }
}
