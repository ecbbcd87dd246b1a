//! The board of conditions: what is entered at present, by subject, and what of it was said.
//!
//! It is locked when a condition is entered, changes or ends, never while all is well.
//!
//! Trouble with one cause may have a thousand subjects: a broker that takes a minute to make topics, a folder whose
//! rights are wrong. The board lets [`SAID_PER_MINUTE`] with one reason be said in a minute, and counts the others.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use log::Level;

use super::SAID_AGAIN;
use crate::snapshot::ConditionStatus;

/// What is wrong at present.
#[derive(Debug, Clone, Default)]
pub struct Board(Arc<Mutex<Posts>>);

#[derive(Debug, Default)]
struct Posts {
    by_subject: BTreeMap<String, Posted>,
    /// When the minute began in which so many of each reason were said.
    minute: Option<Instant>,
    said_this_minute: BTreeMap<String, u32>,
    /// Those that the minute had no room for.
    kept_back: u32,
}

impl Posts {
    /// Whether the minute has room for another one with this reason; it has less by it.
    fn take_room(&mut self, reason: &str, now: Instant) -> bool {
        let is_over = |began| now.saturating_duration_since(began) >= MINUTE;
        if self.minute.is_none_or(is_over) {
            self.minute = Some(now);
            self.said_this_minute.clear();
        }
        let said = self.said_this_minute.entry(reason.to_owned()).or_default();
        let has_room = *said < SAID_PER_MINUTE;
        match has_room {
            true => *said += 1,
            false => self.kept_back += 1,
        }
        has_room
    }
}

/// What the board shows of one subject.
#[derive(Debug)]
struct Posted {
    reason: String,
    level: Level,
    began: SystemTime,
    since: Instant,
    again: Option<SystemTime>,
    /// How many conditions there are with this subject.
    holders: u32,
    /// When it was said last, and how loud at most.
    said: Option<(Instant, Level)>,
}

impl Posted {
    fn status(&self, subject: &str) -> ConditionStatus {
        ConditionStatus {
            subject: subject.to_owned(),
            reason: self.reason.clone(),
            since: self.began,
            level: self.level,
            next_try: self.again,
            waiting: 0,
        }
    }
}

impl Board {
    /// All of it, the longest first.
    pub fn all(&self) -> Vec<ConditionStatus> {
        let posted = self.lock();
        let mut all: Vec<_> = posted.by_subject.iter().collect();
        all.sort_by_key(|(_, posted)| posted.since);
        all.iter()
            .map(|(subject, posted)| posted.status(subject))
            .collect()
    }

    /// Those that were said [`SAID_AGAIN`] ago or longer: they are to be said again, and count as said. With how long
    /// they have lasted.
    pub fn due(&self, now: Instant) -> Vec<(ConditionStatus, Duration)> {
        let mut due = Vec::new();
        let mut posts = self.lock();
        for (subject, posted) in &mut posts.by_subject {
            if let Some((said, _)) = &mut posted.said
                && now.saturating_duration_since(*said) >= SAID_AGAIN
            {
                *said = now;
                let lasted = now.saturating_duration_since(posted.since);
                due.push((posted.status(subject), lasted));
            }
        }
        due.retain(|(status, _)| posts.take_room(&status.reason, now));
        due
    }

    /// How many were not said since this was asked last, if any, once the minute that had no room for them is over.
    pub fn kept_back(&self, now: Instant) -> Option<u32> {
        let mut posts = self.lock();
        let began = posts.minute.filter(|_| posts.kept_back > 0)?;
        let is_over = now.saturating_duration_since(began) >= MINUTE;
        is_over.then(|| std::mem::take(&mut posts.kept_back))
    }

    fn lock(&self) -> MutexGuard<'_, Posts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows what was entered now.
    pub(super) fn post(&self, subject: &str, level: Level, reason: &str, now: Instant) {
        let mut posts = self.lock();
        let posted = &mut posts.by_subject;
        let of_subject = posted.entry(subject.to_owned()).or_insert_with(|| Posted {
            reason: reason.to_owned(),
            level,
            began: SystemTime::now(),
            since: now,
            again: None,
            holders: 0,
            said: None,
        });
        of_subject.holders += 1;
    }

    /// The reason of `subject` is another one now.
    pub(super) fn change(&self, subject: &str, level: Level, reason: &str) {
        if let Some(posted) = self.lock().by_subject.get_mut(subject) {
            (posted.reason, posted.level) = (reason.to_owned(), level);
        }
    }

    /// `subject` is tried again at that time.
    pub(super) fn tries_again(&self, subject: &str, at: SystemTime) {
        if let Some(posted) = self.lock().by_subject.get_mut(subject) {
            posted.again = Some(at);
        }
    }

    /// Whether nobody has said it yet, or not as loud, and the minute has room for it; it counts as said then.
    pub(super) fn say(&self, subject: &str, level: Level, now: Instant) -> bool {
        let mut posts = self.lock();
        let posted = posts.by_subject.get(subject);
        let (said, reason) = posted.map_or((None, String::new()), |posted| {
            (posted.said, posted.reason.clone())
        });
        if said.is_some_and(|(_, said)| said <= level) || !posts.take_room(&reason, now) {
            return false;
        }
        if let Some(posted) = posts.by_subject.get_mut(subject) {
            posted.said = Some((now, level));
        }
        true
    }

    /// One condition is over. If it was the last with this subject: whether any of them was said.
    pub(super) fn remove(&self, subject: &str) -> Option<bool> {
        let mut posts = self.lock();
        let posted = &mut posts.by_subject;
        let of_subject = posted.get_mut(subject)?;
        of_subject.holders -= 1;
        if of_subject.holders > 0 {
            return None;
        }
        let last = posted.remove(subject)?;
        Some(last.said.is_some())
    }
}

/// How many with one reason may be said in a minute.
const SAID_PER_MINUTE: u32 = 50;
const MINUTE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::condition::Condition;

    #[test]
    fn of_a_thousand_with_one_reason_within_a_minute_fifty_are_said_and_the_others_counted() {
        let board = Board::default();
        let begin = Instant::now();
        let mut conditions: Vec<_> = (0..1000).map(|_| Condition::on(&board)).collect();
        let mut said = 0;
        for (n, condition) in conditions.iter_mut().enumerate() {
            let now = begin + Duration::from_millis(n as u64);
            let condition = condition.enter(Level::Warn, &format_args!("topic {n}"), &"no", now);
            said += u32::from(condition.say(now).is_some());
        }
        assert_eq!((said, board.all().len()), (SAID_PER_MINUTE, 1000));
        // What has another reason is said.
        let mut unlike = Condition::on(&board);
        unlike.enter(Level::Warn, &"a file", &"permission denied", begin);
        assert!(unlike.say(begin).is_some());
        assert_eq!(
            board.kept_back(begin),
            None,
            "there may be more in this minute"
        );
        let later = begin + MINUTE;
        assert_eq!(board.kept_back(later), Some(1000 - SAID_PER_MINUTE));
        assert_eq!(board.kept_back(later), None);
        let mut ends = conditions.iter_mut().map(Condition::leave);
        assert!(ends.by_ref().take(50).all(|end| end.is_some()) && ends.all(|end| end.is_none()));
        let mut other = Condition::on(&board);
        assert!(
            other
                .enter(Level::Warn, &"a", &"b", later)
                .say(later)
                .is_some()
        );
    }
}
