//! Something that is wrong for a while, with a reason: said once when it begins, once when it is over.
//!
//! Whoever owns a [`Condition`] enters it at each sign of trouble and leaves it when the thing *works*, not
//! when it merely looks better: a broker that accepts connections and hangs up has not recovered. So that what
//! comes and goes does not flood the log, a condition is said at most [`SAID_PER_HOUR`] times an hour, with its
//! end; how often it was passed over stands in the next line.
//!
//! The [`Board`] shows what is entered at present, to whoever asks. Several parts may meet the same trouble (each
//! producer has its own view of a broker): conditions with one subject are one on the board, which the first of them
//! says and the last one ends.

mod board;

use std::fmt;
use std::time::{Duration, Instant, SystemTime};

use log::Level;

pub use self::board::Board;

/// Whether something is wrong, since when, and whether that was said.
#[derive(Debug, Default)]
pub struct Condition {
    board: Option<Board>,
    entered: Option<Box<Entered>>,
    hour: Option<Instant>,
    said_this_hour: u32,
    passed_over: u32,
}

#[derive(Debug)]
struct Entered {
    subject: String,
    level: Level,
    since: Instant,
    reason: String,
    said: bool,
    /// The line was due and the hour had its share.
    passed_over: bool,
    board: Option<Board>,
    /// Its end was told to the board.
    is_over: bool,
}

impl Entered {
    /// Whether its end is to be said: it was the last with its subject, and that was said.
    fn end(&mut self) -> bool {
        match &self.board {
            _ if std::mem::replace(&mut self.is_over, true) => false,
            Some(board) => board.remove(&self.subject) == Some(true),
            None => self.said,
        }
    }
}

impl Drop for Entered {
    /// What it is about is gone, and its trouble with it.
    fn drop(&mut self) {
        self.end();
    }
}

/// A condition that was said is over. Shown after the words that say so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    /// The level at which it was said.
    pub level: Level,
    /// How long it lasted.
    pub lasted: Duration,
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, " after {} s", self.lasted.as_secs())
    }
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
    /// One that `board` shows while it is entered.
    pub fn on(board: &Board) -> Self {
        let mut condition = Condition::default();
        condition.shown_on(board);
        condition
    }

    /// Has `board` show it from the next time on that it is entered.
    pub fn shown_on(&mut self, board: &Board) -> &mut Self {
        if self.board.is_none() {
            self.board = Some(board.clone());
        }
        self
    }

    /// The thing `subject` is wrong for `reason`. Entered again, it keeps its beginning and takes the newer reason; if
    /// that is worse, it is to be said again.
    pub fn enter(
        &mut self,
        level: Level,
        subject: &dyn fmt::Display,
        reason: &dyn fmt::Display,
        now: Instant,
    ) -> &mut Self {
        let reason = reason.to_string();
        match &mut self.entered {
            Some(entered) if entered.reason == reason && entered.level == level => {}
            Some(entered) => {
                if let Some(board) = &entered.board {
                    board.change(&entered.subject, level, &reason);
                }
                if level < entered.level {
                    (entered.said, entered.passed_over) = (false, false);
                }
                (entered.reason, entered.level) = (reason, level);
            }
            None => {
                let subject = subject.to_string();
                if let Some(board) = &self.board {
                    board.post(&subject, level, &reason, now);
                }
                self.entered = Some(Box::new(Entered {
                    subject,
                    level,
                    since: now,
                    reason,
                    said: false,
                    passed_over: false,
                    board: self.board.clone(),
                    is_over: false,
                }));
            }
        }
        self
    }

    /// It is tried again at `at`, `now` being now.
    pub fn tries_again(&self, at: Instant, now: Instant) {
        if let Some(entered) = &self.entered
            && let Some(board) = &entered.board
        {
            let at = SystemTime::now() + at.saturating_duration_since(now);
            board.tries_again(&entered.subject, at);
        }
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
        entered.said = true;
        if let Some(board) = &entered.board
            && !board.say(&entered.subject, entered.level, now)
        {
            return None;
        }
        self.said_this_hour += 1;
        Some(PassedOver(std::mem::take(&mut self.passed_over)))
    }

    /// As [`Condition::say`], once it has lasted for `patience`.
    pub fn say_after(&mut self, patience: Duration, now: Instant) -> Option<PassedOver> {
        self.since()
            .is_some_and(|since| now.saturating_duration_since(since) > patience)
            .then(|| self.say(now))?
    }

    /// The thing works. Returns what is to be said of it, if its trouble was.
    pub fn leave(&mut self) -> Option<Left> {
        let mut entered = self.entered.take()?;
        let left = Left {
            level: entered.level,
            lasted: entered.since.elapsed(),
        };
        entered.end().then_some(left)
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
/// What lasts is said again after so long.
pub const SAID_AGAIN: Duration = Duration::from_secs(600);
const HOUR: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;

    fn enter<'a>(
        condition: &'a mut Condition,
        reason: &'static str,
        now: Instant,
    ) -> &'a mut Condition {
        condition.enter(Level::Warn, &"a broker", &reason, now)
    }

    #[test]
    fn a_condition_is_said_once_when_it_begins_and_once_when_it_is_over() {
        let now = Instant::now();
        let mut condition = Condition::default();
        assert!(condition.say(now).is_none() && condition.leave().is_none());
        assert!(enter(&mut condition, "slow", now).say(now).is_some());
        let later = now + Duration::from_secs(9);
        assert!(enter(&mut condition, "gone", later).say(later).is_none());
        assert_eq!(
            (condition.reason(), condition.since()),
            (Some("gone"), Some(now))
        );
        assert!(
            condition
                .leave()
                .is_some_and(|left| left.level == Level::Warn)
        );
        assert!(condition.leave().is_none() && !condition.is_entered());
    }

    #[test]
    fn what_lasts_only_for_a_moment_is_not_said_nor_is_its_end() {
        let now = Instant::now();
        let patience = Duration::from_secs(30);
        let mut condition = Condition::default();
        enter(&mut condition, "no leader", now);
        assert!(condition.say_after(patience, now + patience).is_none());
        assert!(condition.leave().is_none());
        enter(&mut condition, "no leader", now);
        let late = now + patience + Duration::from_millis(1);
        assert!(condition.say_after(patience, late).is_some());
        assert!(condition.leave().is_some());
    }

    #[test]
    fn what_flaps_gives_ten_lines_an_hour_and_then_says_how_often_it_was_passed_over() {
        let begin = Instant::now();
        let mut condition = Condition::on(&Board::default());
        let mut lines = Vec::new();
        for second in (0..7200).step_by(10) {
            let now = begin + Duration::from_secs(second);
            if let Some(passed_over) = enter(&mut condition, "hangs up", now).say(now) {
                lines.push(format!("begins{passed_over}"));
            }
            // Somebody looks at it again before it is over.
            condition.say(now);
            if condition.leave().is_some() {
                lines.push("over".to_owned());
            }
        }
        assert_eq!(lines.len(), 2 * 2 * SAID_PER_HOUR as usize);
        assert_eq!(lines[10], "begins (355 more times in the last hour)");
    }

    #[test]
    fn several_that_meet_the_same_trouble_are_one_on_the_board_and_in_the_log() {
        let board = Board::default();
        let now = Instant::now();
        let mut conditions = [(); 2].map(|()| Condition::on(&board));
        let said = conditions
            .each_mut()
            .map(|c| enter(c, "down", now).say(now));
        assert_eq!(said.map(|said| said.is_some()), [true, false]);
        let [one, other] = &mut conditions;
        enter(one, "hangs up", now);
        let shown = board.all();
        assert_eq!(shown.len(), 1);
        assert_eq!(
            (&*shown[0].subject, &*shown[0].reason),
            ("a broker", "hangs up")
        );
        assert!(one.leave().is_none(), "it still is for the other one");
        assert_eq!(board.all().len(), 1);
        assert!(other.leave().is_some() && board.all().is_empty());
    }

    #[test]
    fn what_lasts_is_said_every_ten_minutes_and_what_was_never_said_is_not() {
        let board = Board::default();
        let begin = Instant::now();
        let (mut said, mut unsaid) = (Condition::on(&board), Condition::on(&board));
        enter(&mut said, "down", begin).say(begin);
        unsaid.enter(Level::Warn, &"a leader", &"is elected", begin);
        let mut repeated = Vec::new();
        for minute in 0..=40 {
            let now = begin + Duration::from_secs(60 * minute);
            repeated.extend(board.due(now).iter().map(|(status, lasted)| {
                assert_eq!(status.subject, "a broker");
                lasted.as_secs() / 60
            }));
        }
        assert_eq!(repeated, [10, 20, 30, 40]);
    }

    #[test]
    fn the_trouble_of_what_is_gone_is_not_on_the_board() {
        let board = Board::default();
        let mut condition = Condition::on(&board);
        let now = Instant::now();
        enter(&mut condition, "down", now).tries_again(now + Duration::from_secs(9), now);
        assert!(board.all()[0].next_try.is_some());
        drop(condition);
        assert!(board.all().is_empty());
    }
}
