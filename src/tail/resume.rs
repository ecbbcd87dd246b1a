//! Going on where the last run of the agent, or the last tailer of the path, stood.

use std::io;

use super::Tailer;
use super::content::Content;
use super::siblings::{self, Age, Sibling};
use crate::batch::{Checkpoint, Progress, Trace};
use crate::config::StartAt;
use crate::identity::{Fingerprint, Identity, Inode, Look};

impl Tailer {
    /// Goes on where the last run of the agent, or the last tailer of this path, stood: first the
    /// files that were rotated away since, oldest first.
    pub(super) fn resume(&mut self) -> io::Result<()> {
        let known = self.around.claims.of_path(&self.path);
        let Some(newest) = known.last() else {
            return self.resume_seen();
        };
        // What followed on the newest one is found from there.
        self.seen = None;
        // A file that appeared since was written since, so nothing of it may be left out.
        self.was_there_at_first = false;
        let mut live = Content::open(&self.path).ok().flatten();
        let mut after = Age {
            born_ns: newest.identity.born_ns,
            modified_ns: newest.modified_ns,
        };
        let mut rotated: Vec<(Sibling, Option<Checkpoint>)> = Vec::new();
        for checkpoint in &known {
            if let Some((content, look)) = &mut live
                && siblings::is_same_file(checkpoint, content, look)?
            {
                continue;
            }
            if checkpoint.finished && checkpoint.serial != newest.serial {
                continue;
            }
            // Under another name by now, with other content.
            let truncated = match checkpoint.finished {
                true => None,
                false => self.siblings().find_truncated(checkpoint)?,
            };
            let live_inode = live.as_ref().map(|(_, look)| look.inode);
            let truncated = truncated.filter(|s| Some(s.look.inode) != live_inode);
            let Some(sibling) = self.siblings().find(checkpoint)? else {
                self.report_gone(checkpoint);
                rotated.extend(truncated.map(|sibling| (sibling, None)));
                continue;
            };
            if checkpoint.serial == newest.serial {
                after = Age::of(&sibling.look);
            }
            if checkpoint.finished && sibling.look.size <= checkpoint.offset {
                continue;
            }
            // The truncated content and its copy may both have a checkpoint: the earlier one counts.
            match rotated
                .iter_mut()
                .find(|(other, _)| other.look.inode == sibling.look.inode)
            {
                Some((_, Some(other))) if other.offset <= checkpoint.offset => {}
                Some((_, other)) => *other = Some(checkpoint.clone()),
                None => rotated.push((sibling, Some(checkpoint.clone()))),
            }
            rotated.extend(truncated.map(|sibling| (sibling, None)));
        }
        // With other content it was truncated, and what was copied before the last time is to be found. An
        // empty one may have been filled, copied and truncated.
        let was_empty = newest.offset == 0 && newest.identity.fingerprint.len == 0;
        let is_newest_live = match &mut live {
            Some((content, look)) => !was_empty && siblings::is_same_file(newest, content, look)?,
            None => false,
        };
        if !is_newest_live {
            let found: Vec<Inode> = rotated.iter().map(|(s, _)| s.look.inode).collect();
            let mut unknown = self.unknown_between(after, live.as_ref().map(|(_, look)| look))?;
            unknown.retain(|sibling| !found.contains(&sibling.look.inode));
            if !unknown.is_empty() {
                rotated.extend(unknown.into_iter().map(|sibling| (sibling, None)));
                siblings::sort_by_age(&self.path, &mut rotated, |(sibling, _)| sibling);
            }
        }
        for (sibling, checkpoint) in rotated {
            self.push_rotated(sibling, checkpoint);
        }
        // While the others were looked for, the live file may have been renamed. It is the one that is
        // open here, not the one that lies at the path by now.
        if let Some((mut content, look)) = live {
            if let Some(checkpoint) = position_in(&known, &mut content, &look) {
                self.push_live(content, look, checkpoint);
            } else if known.iter().any(|c| siblings::is_same_inode(c, &look)) {
                // It was truncated, perhaps again since it was opened here.
                let (checkpoint, look) = self.fresh_live(&mut content, look)?;
                self.push_live(content, look, checkpoint);
            }
        }
        Ok(())
    }

    /// Nothing is known of the path: opens the file that was seen there, if it was rotated away since.
    pub(super) fn resume_seen(&mut self) -> io::Result<()> {
        let Some((sibling, checkpoint)) = self.seen_and_rotated()? else {
            return Ok(());
        };
        let age = Age::of(&sibling.look);
        self.push_rotated(sibling, Some(checkpoint));
        let live = Look::at_path(&self.path).ok();
        self.push_successors(age, live.as_ref())?;
        Ok(())
    }

    /// The file that lay at the path when it was found, if it does not lie there any more.
    pub(super) fn seen_and_rotated(&mut self) -> io::Result<Option<(Sibling, Checkpoint)>> {
        let Some(seen) = self.seen else {
            return Ok(None);
        };
        let wanted = Checkpoint {
            path: self.path.clone(),
            identity: Identity {
                inode: seen.inode,
                born_ns: seen.born_ns,
                fingerprint: Fingerprint::default(),
            },
            offset: 0,
            trace: Trace::default(),
            finished: false,
            serial: 0,
            modified_ns: seen.modified_ns,
        };
        let is_there =
            Look::at_path(&self.path).is_ok_and(|look| siblings::is_same_inode(&wanted, &look));
        if is_there {
            return Ok(None);
        }
        let found = self.siblings().find(&wanted)?;
        self.seen = None;
        let Some(mut sibling) = found else {
            return Ok(None);
        };
        let from_end = self.was_there_at_first && self.log.start_at == StartAt::End;
        self.was_there_at_first = false;
        let look = sibling.look;
        let offset = if from_end {
            seen.size.min(look.size)
        } else {
            0
        };
        let checkpoint = self.fresh(&mut sibling.content, &look, offset)?;
        Ok(Some((sibling, checkpoint)))
    }

    /// The file of a checkpoint is not there any more, and no copy either.
    pub(super) fn report_gone(&self, checkpoint: &Checkpoint) {
        if checkpoint.finished {
            return;
        }
        log::error!(
            "'{}': the file that was read up to offset {} ({}) is gone or truncated, and no copy of it is to be \
             found; what was unread in it is lost",
            self.path.display(),
            checkpoint.offset,
            checkpoint.identity
        );
        self.around.claims.forget(checkpoint.serial);
        let _ = self.progress.send(Progress::Forgotten {
            serial: checkpoint.serial,
        });
    }
}

/// The checkpoint among `known` that stands in this file. The same content may have two, if a crash
/// came after it was opened again: then the one that has not come to its end counts, at its smaller
/// offset.
pub(super) fn position_in(
    known: &[Checkpoint],
    content: &mut Content,
    look: &Look,
) -> Option<Checkpoint> {
    let standing = known
        .iter()
        .filter(|c| siblings::is_same_file(c, content, look).unwrap_or(false));
    let first = standing.min_by_key(|c| match c.finished {
        true => (true, u64::MAX - c.offset),
        false => (false, c.offset),
    });
    first.cloned()
}
