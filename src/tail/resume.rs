//! Going on where the last run of the agent, or the last tailer of the path, stood.

use std::collections::HashSet;
use std::io;

use super::Tailer;
use super::content::Content;
use super::siblings::{self, Age, Live, Sibling};
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
        // What lies at the path is compared once: what happens to it from here on is found by following it.
        let (standing, of_live) = match &mut live {
            Some((content, look)) => standing_in(&known, content, look)?,
            None => (None, HashSet::new()),
        };
        let mut begun = None;
        if let (None, Some((content, look))) = (&standing, &mut live)
            && known.iter().any(|c| siblings::is_same_inode(c, look))
        {
            // It was truncated.
            let (checkpoint, now) = self.fresh(content, 0)?;
            *look = now;
            begun = Some(checkpoint);
        }
        let mut after = Age {
            born_ns: newest.identity.born_ns,
            modified_ns: newest.modified_ns,
        };
        let mut rotated: Vec<Rotated> = Vec::new();
        let mut superseded = Vec::new();
        for checkpoint in known.iter().filter(|c| !of_live.contains(&c.serial)) {
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
            // Its content began later than the file.
            let truncated = truncated.map(|sibling| Rotated {
                began_ns: sibling.look.modified_ns,
                sibling,
                checkpoint: None,
            });
            let found = self.siblings().find(checkpoint)?;
            let Some(sibling) = found.filter(|s| Some(s.look.inode) != live_inode) else {
                self.report_gone(checkpoint);
                rotated.extend(truncated);
                continue;
            };
            if checkpoint.serial == newest.serial {
                after = Age::of(&sibling.look);
            }
            if checkpoint.finished && sibling.look.size <= checkpoint.offset {
                continue;
            }
            // The truncated content and its copy may both have a checkpoint: the earlier one counts.
            let of_inode = |one: &&mut Rotated| one.sibling.look.inode == sibling.look.inode;
            match rotated.iter_mut().find(of_inode).map(|r| &mut r.checkpoint) {
                Some(Some(other)) if other.offset <= checkpoint.offset => {
                    superseded.push(checkpoint.serial);
                }
                Some(other) => {
                    superseded.extend(other.replace(checkpoint.clone()).map(|other| other.serial));
                }
                None => rotated.push(Rotated::new(sibling, Some(checkpoint.clone()))),
            }
            rotated.extend(truncated);
        }
        if !of_live.contains(&newest.serial) {
            let found: Vec<Inode> = rotated.iter().map(|r| r.sibling.look.inode).collect();
            let begins = standing.as_ref().or(begun.as_ref());
            let fingerprint = begins.map_or_else(Fingerprint::default, |c| c.identity.fingerprint);
            let live = live.as_mut().map(|(content, look)| Live {
                content,
                look: *look,
                fingerprint,
            });
            let mut unknown = self.unknown_after(after, live)?;
            unknown.retain(|sibling| !found.contains(&sibling.look.inode));
            if !unknown.is_empty() {
                rotated.extend(unknown.into_iter().map(|s| Rotated::new(s, None)));
                siblings::sort_by_age(&self.path, &mut rotated, |r| (&r.sibling, r.began_ns));
            }
        }
        for Rotated {
            sibling,
            checkpoint,
            ..
        } in rotated
        {
            self.push_rotated(sibling, checkpoint);
        }
        for serial in superseded {
            self.forget(serial);
        }
        // While the others were looked for, the live file may have been renamed. It is the one that is
        // open here, not the one that lies at the path by now.
        if let (Some((content, look)), Some(checkpoint)) = (live, standing.or(begun)) {
            self.push_live(content, look, checkpoint);
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
        let mut live = Content::open(&self.path).ok().flatten();
        let live = live.as_mut().map(|(content, look)| Live {
            content,
            look: *look,
            fingerprint: Fingerprint::default(),
        });
        self.push_all(self.unknown_after(age, live)?);
        Ok(())
    }

    /// The file that lay at the path when it was found, if it does not lie there any more.
    pub(super) fn seen_and_rotated(&mut self) -> io::Result<Option<(Sibling, Checkpoint)>> {
        let Some(seen) = self.seen.as_deref().copied() else {
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
            size: 0,
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
        let (checkpoint, look) = self.fresh(&mut sibling.content, offset)?;
        sibling.look = look;
        Ok(Some((sibling, checkpoint)))
    }

    /// The file of a checkpoint is not there any more, and no copy either.
    pub(super) fn report_gone(&self, checkpoint: &Checkpoint) {
        if checkpoint.finished {
            return;
        }
        let Checkpoint {
            offset,
            size,
            identity,
            ..
        } = checkpoint;
        if size > offset {
            let why = format!(
                "were seen and not delivered; their file ({identity}) is gone or truncated by now, no copy of it is \
                 to be found, and they (with anything that was added later)"
            );
            self.lose(size - offset, *offset, &why);
        } else {
            log::warn!(
                "'{}': the file that was delivered up to offset {offset}, all that was seen of it ({identity}), is gone \
                 or truncated by now, and no copy of it is to be found; anything that was added later is lost",
                self.path.display(),
            );
        }
        self.forget(checkpoint.serial);
    }

    fn forget(&self, serial: u64) {
        self.around.claims.forget(serial);
        let _ = self.progress.send(Progress::Forgotten { serial });
    }
}

/// A file that was rotated away while nobody looked.
struct Rotated {
    sibling: Sibling,
    /// None: it was never read.
    checkpoint: Option<Checkpoint>,
    /// When its content began to be written, in ns since 1970, or 0.
    began_ns: i64,
}

impl Rotated {
    fn new(sibling: Sibling, checkpoint: Option<Checkpoint>) -> Self {
        Rotated {
            began_ns: sibling.look.born_ns,
            sibling,
            checkpoint,
        }
    }
}

/// The checkpoint among `known` that stands in this file, and the serial numbers of all that do.
///
/// The same content may have two, if a crash came after it was opened again: then the one that has not
/// come to its end counts, at its smaller offset.
fn standing_in(
    known: &[Checkpoint],
    content: &mut Content,
    look: &Look,
) -> io::Result<(Option<Checkpoint>, HashSet<u64>)> {
    let mut standing = Vec::new();
    for checkpoint in known {
        if siblings::is_same_file(checkpoint, content, look)? {
            standing.push(checkpoint);
        }
    }
    let serials = standing.iter().map(|c| c.serial).collect();
    let first = standing.into_iter().min_by_key(|c| match c.finished {
        true => (true, u64::MAX - c.offset),
        false => (false, c.offset),
    });
    Ok((first.cloned(), serials))
}

/// As [`standing_in`], only the checkpoint.
pub(super) fn position_in(
    known: &[Checkpoint],
    content: &mut Content,
    look: &Look,
) -> io::Result<Option<Checkpoint>> {
    Ok(standing_in(known, content, look)?.0)
}
