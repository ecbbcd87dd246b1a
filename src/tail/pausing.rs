//! Closing files for a while, where descriptors are fewer than files, and opening them again.

use std::io;

use super::content::Content;
use super::{Tailer, last_line_start, siblings};
use crate::batch::Ending;
use crate::config::StartAt;
use crate::identity::Look;

impl Tailer {
    /// Whether there is something to look at, and the right to.
    pub(super) fn may_look(&mut self) -> bool {
        if let Some(paused) = &self.paused {
            let (paused, _) = &**paused;
            let unchanged = Look::at_path(&self.path).is_ok_and(|look| {
                (look.inode, look.size, look.modified_ns)
                    == (paused.inode, paused.size, paused.modified_ns)
            });
            if unchanged {
                return false;
            }
        }
        if self.turn.is_none() {
            self.turn = self.around.turns.take(&self.waker);
        }
        if self.turn.is_none() {
            // So that it is known under whatever name it has when the turn comes.
            let noted = self.note_unread();
            self.complain_of(noted);
            return false;
        }
        if self.paused.take().is_some() {
            self.must_resume = true;
        }
        if self.must_resume {
            match self.resume() {
                Ok(()) => self.must_resume = false,
                Err(error) => {
                    self.complain_of(Err(error));
                    return false;
                }
            }
        }
        true
    }

    /// Gives the turn back if others wait for one and everything here is read.
    pub(super) fn pause_if_wanted(&mut self) {
        if !self.around.turns.are_wanted() {
            return;
        }
        let is_read = self.has_live
            && self.sources.len() == 1
            && self
                .sources
                .front()
                .is_some_and(|source| source.position == source.size);
        if self.sources.is_empty() {
            // A complaint holds nothing open.
            self.turn = None;
        } else if is_read
            && let Some(mut source) = self.sources.pop_front()
            && let Ok(look) = source.content.look()
        {
            self.has_live = false;
            self.retire(&source, Ending::Paused);
            let seen = Look {
                size: source.size,
                modified_ns: source.modified_ns,
                ..look
            };
            self.paused = Some(Box::new((seen, source.watch.take())));
            self.turn = None;
        }
    }

    /// While there is no turn to read the file at the path, makes it known where it would be read from.
    pub(super) fn note_unread(&mut self) -> io::Result<()> {
        if !self.around.claims.of_path(&self.path).is_empty() {
            // From what is known, what came after it is found.
            return Ok(());
        }
        let turns = self.around.turns.clone();
        let _moment = turns.moment();
        if let Some((sibling, checkpoint)) = self.seen_and_rotated()? {
            self.push_rotated(sibling, Some(checkpoint));
            self.pause_all();
            return Ok(());
        }
        let Some((mut content, look)) = Content::open(&self.path)? else {
            return Ok(());
        };
        let (known, _) = self.around.claims.of_inode(look.inode);
        if known.iter().any(|c| siblings::is_same_inode(c, &look)) {
            return Ok(());
        }
        let is_first = self.around.claims.of_path(&self.path).is_empty() && self.was_there_at_first;
        let start = match is_first && self.log.start_at == StartAt::End {
            true => last_line_start(&mut content, look.size)?,
            false => 0,
        };
        let (checkpoint, look) = self.fresh(&mut content, start)?;
        self.push(content, self.path.clone(), checkpoint, look, None);
        self.pause_all();
        Ok(())
    }

    /// Closes everything; it is opened again where it stands.
    pub(super) fn pause_all(&mut self) {
        for source in std::mem::take(&mut self.sources) {
            self.retire(&source, Ending::Paused);
        }
        self.has_live = false;
        self.must_resume = true;
    }
}
