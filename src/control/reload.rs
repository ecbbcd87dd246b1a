//! What became of a reload, as `logagent reload` prints it and the log says it.

use std::fmt;
use std::time::SystemTime;

use super::Answer;

/// What became of a reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReloadReport {
    /// The name of the ini.
    pub ini: String,
    /// When it was last changed.
    pub modified: Option<SystemTime>,
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
}

impl ReloadReport {
    /// For whoever asked.
    pub fn answer(&self) -> Answer {
        Answer {
            is_ok: matches!(self.outcome, ReloadOutcome::Applied(_)),
            text: format!("{self}\n"),
        }
    }
}

impl fmt::Display for ReloadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ReloadReport { ini, modified, .. } = self;
        write!(f, "{ini} of {} ", Clock(*modified))?;
        match &self.outcome {
            ReloadOutcome::Applied(changes) => {
                f.write_str("applied")?;
                changes
                    .iter()
                    .try_for_each(|change| write!(f, "\n  {change}"))
            }
            ReloadOutcome::Refused { in_use, why } => {
                write!(f, "refused, {} stays in use", Clock(*in_use))?;
                why.lines().try_for_each(|line| write!(f, "\n  {line}"))
            }
        }
    }
}

impl fmt::Display for ReloadChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ReloadChange { kind, what, words } = self;
        match kind {
            ChangeKind::Added => write!(f, "+ {what:<14} {words}"),
            ChangeKind::Changed => write!(f, "~ {what:<14} {words}"),
            ChangeKind::Removed => write!(f, "- {what:<14} {words}"),
            ChangeKind::Untouched => write!(f, "= {what:<14} {words}"),
            ChangeKind::Restart => write!(f, "! {what} {words}"),
        }
    }
}

/// The time of day in UTC, as the lines of the log have it.
struct Clock(Option<SystemTime>);

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = self
            .0
            .and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
        match since.map(|since| since.as_secs() % 86_400) {
            Some(s) => write!(f, "{:02}:{:02}:{:02}Z", s / 3600, s / 60 % 60, s % 60),
            None => f.write_str("now"),
        }
    }
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
            outcome: ReloadOutcome::Applied(vec![
                change(ChangeKind::Added, "log:audit", "3 files begin"),
                change(
                    ChangeKind::Changed,
                    "log:app",
                    "drop.debug: from the next event on",
                ),
                change(
                    ChangeKind::Restart,
                    "[agent] state_dir",
                    "changed: needs a restart",
                ),
            ]),
        };
        let screen = "logagent.ini of 15:20:11Z applied\n  \
                      + log:audit      3 files begin\n  \
                      ~ log:app        drop.debug: from the next event on\n  \
                      ! [agent] state_dir changed: needs a restart\n";
        assert_eq!(report.answer().text, screen);
        assert!(report.answer().is_ok);
        report.modified = at(15, 21, 40);
        report.outcome = ReloadOutcome::Refused {
            in_use: at(15, 20, 11),
            why: "logagent.ini:31: unknown key".to_owned(),
        };
        let screen = "logagent.ini of 15:21:40Z refused, 15:20:11Z stays in use\n  \
                      logagent.ini:31: unknown key\n";
        assert_eq!(report.answer().text, screen);
        assert!(!report.answer().is_ok);
    }
}
