//! What keeps a tailer from a file for a while.

use std::io;
use std::path::Path;
use std::time::Instant;

use crate::shown::ShownPath;

/// The trouble of one tailer. A WARN line when it begins or changes, an INFO line when a look goes without any.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    now: Option<Box<Present>>,
    /// The look under way has met some.
    is_met: bool,
}

#[derive(Debug)]
struct Present {
    text: String,
    since: Instant,
}

impl Trouble {
    /// Whether there is any.
    pub(super) fn is_present(&self) -> bool {
        self.now.is_some()
    }

    /// A look begins.
    pub(super) fn begin(&mut self) {
        self.is_met = false;
    }

    /// What the look under way does not look at again is as it was.
    pub(super) fn lasts(&mut self) {
        self.is_met |= self.is_present();
    }

    /// The look under way met an error at `path`.
    pub(super) fn note(&mut self, path: &Path, error: &io::Error) {
        // The first of a look says most; the others may follow from it.
        if std::mem::replace(&mut self.is_met, true) {
            return;
        }
        let text = format!("'{}' cannot be read: {error}", ShownPath(path));
        match &mut self.now {
            Some(now) if now.text == text => {}
            Some(now) => {
                log::warn!("{text}; retrying");
                now.text = text;
            }
            None => {
                log::warn!("{text}; its position is kept, retrying");
                let since = Instant::now();
                self.now = Some(Box::new(Present { text, since }));
            }
        }
    }

    /// The look at `path` is over.
    pub(super) fn end(&mut self, path: &Path) {
        if !self.is_met
            && let Some(past) = self.now.take()
        {
            log::info!(
                "'{}' recovered after {} s",
                ShownPath(path),
                past.since.elapsed().as_secs()
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_lasts_until_a_look_goes_without_any_and_may_come_again() {
        let mut trouble = Trouble::default();
        let path = Path::new("/log/app.log");
        for _ in 0..2 {
            for _ in 0..3 {
                trouble.begin();
                trouble.note(path, &io::Error::other("no"));
                trouble.end(path);
                assert!(trouble.is_present());
            }
            trouble.begin();
            trouble.end(path);
            assert!(!trouble.is_present());
        }
    }
}
