//! Questions of one tailer to another: whether it has looked since.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::tailer_handle::TailerHandle;

/// Has the tailer of a log look, and tells whether it has.
#[derive(Debug)]
pub(super) struct Question {
    is_answered: AtomicBool,
    asker: TailerHandle,
}

/// The questions that the tailers of logs have not answered, by the path of the log.
#[derive(Debug, Default)]
pub(super) struct Questions {
    /// Whether there are any, to be asked at every look.
    count: AtomicUsize,
    asked: Mutex<HashMap<PathBuf, Vec<Weak<Question>>>>,
}

impl Question {
    pub(super) fn new(asker: TailerHandle) -> Self {
        Question {
            is_answered: AtomicBool::new(false),
            asker,
        }
    }

    pub(super) fn is_answered(&self) -> bool {
        self.is_answered.load(Ordering::SeqCst)
    }
}

impl Questions {
    pub(super) fn ask(&self, log: &Path, question: &Arc<Question>) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        // Those whose askers have gone.
        asked.retain(|_, questions| {
            questions.retain(|question| question.strong_count() > 0);
            !questions.is_empty()
        });
        let questions = asked.entry(log.to_owned()).or_default();
        let new = Arc::downgrade(question);
        if !questions.iter().any(|old| old.ptr_eq(&new)) {
            questions.push(new);
        }
        self.count.store(asked.len(), Ordering::SeqCst);
    }

    /// The questions to the tailer of `log`, which looks after this.
    pub(super) fn take(&self, log: &Path) -> Vec<Weak<Question>> {
        if self.count.load(Ordering::SeqCst) == 0 {
            return Vec::new();
        }
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let questions = asked.remove(log).unwrap_or_default();
        self.count.store(asked.len(), Ordering::SeqCst);
        questions
    }

    /// The tailer of the log has looked, and what it saw is in the registry.
    pub(super) fn answer(questions: Vec<Weak<Question>>) {
        for question in questions.iter().filter_map(Weak::upgrade) {
            question.is_answered.store(true, Ordering::SeqCst);
            question.asker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_answered_once_by_the_tailer_of_its_log() {
        let (woken, _parked) = crossbeam_channel::unbounded();
        let question = Arc::new(Question::new(TailerHandle::new(woken)));
        let questions = Questions::default();
        let (log, other) = (Path::new("/log/app.log"), Path::new("/log/web.log"));
        questions.ask(log, &question);
        questions.ask(log, &question);
        Questions::answer(questions.take(other));
        assert!(!question.is_answered());
        let taken = questions.take(log);
        assert_eq!(taken.len(), 1);
        Questions::answer(taken);
        assert!(question.is_answered() && question.asker.is_rung());
        assert!(questions.take(log).is_empty());
    }

    #[test]
    fn questions_of_those_who_have_gone_are_forgotten() {
        let (woken, _parked) = crossbeam_channel::unbounded();
        let asked = || Arc::new(Question::new(TailerHandle::new(woken.clone())));
        let questions = Questions::default();
        questions.ask(Path::new("/a"), &asked());
        let lasting = asked();
        questions.ask(Path::new("/b"), &lasting);
        assert_eq!(questions.count.load(Ordering::SeqCst), 1);
        assert!(questions.take(Path::new("/a")).is_empty());
    }
}
