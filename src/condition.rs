//! Something that is wrong for a while, with a reason: said once when it begins, once when it is over.
//!
//! Whoever owns a [`Condition`] enters it at each sign of trouble and leaves it when the thing *works*, not
//! when it merely looks better: a broker that accepts connections and hangs up has not recovered. So that what
//! comes and goes does not flood the log, a condition is said at most [`SAID_PER_HOUR`] times an hour, with its
//! end; how often it was passed over stands in the next line.

use std::fmt;
use std::time::{Duration, Instant};

/// Whether something is wrong, since when, and whether that was said.
#[derive(Debug, Default)]
pub struct Condition {
    entered: Option<Entered>,
    hour: Option<Instant>,
    said_this_hour: u32,
    passed_over: u32,
}

#[derive(Debug)]
struct Entered {
    since: Instant,
    reason: String,
    said: bool,
    /// The line was due and the hour had its share.
    passed_over: bool,
}

/// How often a condition was entered and not said since it was said last. Shown at the end of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PassedOver(u32);

impl fmt::Display for PassedOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            n => write!(f, " ({n} more times in the last hour)"),
        }
    }
}

impl Condition {
    /// The thing is wrong for `reason`. Entered again, it keeps its beginning and takes the newer reason.
    pub fn enter(&mut self, reason: impl fmt::Display, now: Instant) -> &mut Self {
        let reason = reason.to_string();
        match &mut self.entered {
            Some(entered) => entered.reason = reason,
            None => {
                self.entered = Some(Entered {
                    since: now,
                    reason,
                    said: false,
                    passed_over: false,
                });
            }
        }
        self
    }

    /// Whether its beginning is to be said now: it is entered, was not said, and the hour has not had its share.
    pub fn say(&mut self, now: Instant) -> Option<PassedOver> {
        let entered = self.entered.as_mut().filter(|entered| !entered.said)?;
        if self
            .hour
            .is_none_or(|hour| now.saturating_duration_since(hour) >= HOUR)
        {
            self.hour = Some(now);
            self.said_this_hour = 0;
        }
        if self.said_this_hour >= SAID_PER_HOUR {
            if !std::mem::replace(&mut entered.passed_over, true) {
                self.passed_over += 1;
            }
            return None;
        }
        self.said_this_hour += 1;
        entered.said = true;
        Some(PassedOver(std::mem::take(&mut self.passed_over)))
    }

    /// As [`Condition::say`], once it has lasted for `patience`.
    pub fn say_after(&mut self, patience: Duration, now: Instant) -> Option<PassedOver> {
        self.since()
            .is_some_and(|since| now.saturating_duration_since(since) > patience)
            .then(|| self.say(now))?
    }

    /// The thing works. Returns whether that is to be said, because its trouble was.
    pub fn leave(&mut self) -> bool {
        self.entered.take().is_some_and(|entered| entered.said)
    }

    /// Whether it is entered.
    pub fn is_entered(&self) -> bool {
        self.entered.is_some()
    }

    /// Since when it is entered.
    pub fn since(&self) -> Option<Instant> {
        self.entered.as_ref().map(|entered| entered.since)
    }

    /// What is wrong, if anything is.
    pub fn reason(&self) -> Option<&str> {
        self.entered.as_ref().map(|entered| &*entered.reason)
    }
}

/// With its end a condition takes two lines, so what flaps takes ten lines an hour at most.
pub const SAID_PER_HOUR: u32 = 5;
const HOUR: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_said_once_when_it_begins_and_once_when_it_is_over() {
        let now = Instant::now();
        let mut condition = Condition::default();
        assert!(condition.say(now).is_none() && !condition.leave());
        assert!(condition.enter("slow", now).say(now).is_some());
        let later = now + Duration::from_secs(9);
        assert!(condition.enter("gone", later).say(later).is_none());
        assert_eq!(
            (condition.reason(), condition.since()),
            (Some("gone"), Some(now))
        );
        assert!(condition.leave());
        assert!(!condition.leave() && !condition.is_entered());
    }

    #[test]
    fn what_lasts_only_for_a_moment_is_not_said_nor_is_its_end() {
        let now = Instant::now();
        let patience = Duration::from_secs(30);
        let mut condition = Condition::default();
        condition.enter("no leader", now);
        assert!(condition.say_after(patience, now + patience).is_none());
        assert!(!condition.leave());
        condition.enter("no leader", now);
        let late = now + patience + Duration::from_millis(1);
        assert!(condition.say_after(patience, late).is_some());
        assert!(condition.leave());
    }

    #[test]
    fn what_flaps_gives_ten_lines_an_hour_and_then_says_how_often_it_was_passed_over() {
        let begin = Instant::now();
        let mut condition = Condition::default();
        let mut lines = Vec::new();
        for second in (0..7200).step_by(10) {
            let now = begin + Duration::from_secs(second);
            if let Some(passed_over) = condition.enter("hangs up", now).say(now) {
                lines.push(format!("begins{passed_over}"));
            }
            // Somebody looks at it again before it is over.
            condition.say(now);
            if condition.leave() {
                lines.push("over".to_owned());
            }
        }
        assert_eq!(lines.len(), 2 * 2 * SAID_PER_HOUR as usize);
        assert_eq!(lines[10], "begins (355 more times in the last hour)");
    }
}
