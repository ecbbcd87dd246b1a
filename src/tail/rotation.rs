//! What happens to a path: renamed, replaced, deleted, truncated, copied.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::content::Content;
use super::resume::position_in;
use super::siblings::{self, Age, Sibling, Siblings};
use super::source::Source;
use super::{TRUNCATED_AWAY, Tailer, last_line_start, learn, now_ms};
use crate::batch::{Checkpoint, Ending, Progress, Trace};
use crate::config::StartAt;
use crate::identity::{Fingerprint, Identity, Look};

impl Tailer {
    /// Compares what lies at the path with the source that was last seen there.
    pub(super) fn notice(&mut self) -> io::Result<()> {
        let look = match Look::at_path(&self.path) {
            Ok(look) => Some(look),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                None
            }
            // It cannot be told what lies there (rights, an I/O error): nothing follows from that.
            Err(error) => return Err(error),
        };
        if let (true, Some(source)) = (self.has_live, self.sources.back()) {
            match look {
                Some(look) if siblings::is_same_inode(&source.checkpoint, &look) => {
                    return self.notice_truncation(look);
                }
                _ => {
                    // It may have been truncated before it went away.
                    let look = source.content.look()?;
                    self.notice_truncation(look)?;
                    self.leave_live();
                }
            }
        }
        match look {
            Some(look) if look.is_regular => self.open_live(),
            Some(_) => Err(io::Error::other("is not a regular file")),
            None => {
                self.complaint = None;
                // A file that came and was rotated away between two looks left nothing at the path.
                if let Some(oldest) = self.sources.front() {
                    let after = Age::of(&oldest.content.look()?);
                    self.push_successors(after, None)?;
                }
                Ok(())
            }
        }
    }

    /// The newest source was renamed or deleted, or another file lies at its path.
    pub(super) fn leave_live(&mut self) {
        self.has_live = false;
        if let Some(source) = self.sources.back_mut() {
            source.quiet_since = Some(Instant::now());
            let is_deleted = source.content.look().is_ok_and(|look| look.links == 0);
            log::info!(
                "'{}': {} was {}",
                self.path.display(),
                source.checkpoint.identity,
                if is_deleted {
                    "deleted"
                } else {
                    "rotated away"
                }
            );
        }
    }

    /// Opens what lies at the path now, and before it what was rotated away unseen.
    pub(super) fn open_live(&mut self) -> io::Result<()> {
        let Some((mut content, look)) = Content::open(&self.path)? else {
            return Ok(());
        };
        let (mut known, is_open) = self.around.claims.of_inode(look.inode);
        if is_open {
            // One of ours that was renamed back, or another path leads there as well.
            match self
                .sources
                .iter()
                .position(|s| s.checkpoint.identity.inode == look.inode)
            {
                Some(at) => {
                    let mut source = self
                        .sources
                        .remove(at)
                        .expect("the position was just found");
                    source.quiet_since = None;
                    self.sources.push_back(source);
                    self.has_live = true;
                }
                None => self.note_other_name(),
            }
            return Ok(());
        }
        if let Some(seen) = self.seen {
            if (seen.inode, seen.born_ns) != (look.inode, look.born_ns) {
                self.resume_seen()?;
            }
            self.seen = None;
        }
        if known.is_empty() {
            // The device may have another number since a remount.
            known = self.around.claims.of_path(&self.path);
            known.retain(|c| siblings::is_same_inode(c, &look));
        }
        let is_known = known.iter().any(|c| siblings::is_same_inode(c, &look));
        let is_left = |c: &Checkpoint| !c.finished && !siblings::is_same_inode(c, &look);
        if !is_known && self.around.claims.of_path(&self.path).iter().any(is_left) {
            // It lay here when the checkpoints were looked through, and was rotated away before it was opened.
            self.resume()?;
            if self.has_live {
                return Ok(());
            }
        }
        // From the oldest file that is still open: what a listing has missed is found by the next one.
        let last = match self.sources.front() {
            Some(source) => Some(Age::of(&source.content.look()?)),
            None => self.around.claims.of_path(&self.path).last().map(|c| Age {
                born_ns: c.identity.born_ns,
                modified_ns: c.modified_ns,
            }),
        };
        let is_first = last.is_none() && !is_known && self.was_there_at_first;
        if let Some(after) = last
            && !is_known
        {
            self.push_successors(after, Some(&look))?;
        }
        let checkpoint = position_in(&known, &mut content, &look);
        let from_end = checkpoint.is_none() && is_first && self.log.start_at == StartAt::End;
        self.was_there_at_first = false;
        let (checkpoint, look) = match checkpoint {
            Some(checkpoint) => (checkpoint, look),
            None if from_end => {
                let start = last_line_start(&mut content, look.size)?;
                (self.fresh(&mut content, &look, start)?, look)
            }
            None => self.fresh_live(&mut content, look)?,
        };
        self.push_live(content, look, checkpoint);
        Ok(())
    }

    /// Adds the file that lies at the path.
    pub(super) fn push_live(&mut self, content: Content, look: Look, checkpoint: Checkpoint) {
        let checkpoint = Checkpoint {
            path: self.path.clone(),
            finished: false,
            ..checkpoint
        };
        self.has_live = self.push(content, self.path.clone(), checkpoint, look, None);
        if self.has_live {
            self.complaint = None;
            self.around.watches.follow_target(&self.path);
        }
    }

    /// The live file may be shorter than what was read of it, or have other content before the
    /// position: then it was truncated.
    pub(super) fn notice_truncation(&mut self, mut look: Look) -> io::Result<()> {
        let at = self.sources.len().saturating_sub(1);
        let Some(source) = self.sources.back_mut() else {
            return Ok(());
        };
        let changed = source.has_changed(&look);
        if source.was_truncated(&look)? {
            return self.restart_truncated(self.sources.len() - 1);
        }
        let sound = source.sound;
        let was_empty = source.position == 0 && source.checkpoint.identity.fingerprint.len == 0;
        if changed && was_empty {
            // It may have been filled, copied and truncated since; only the copy can tell. What happens
            // after the first bytes are known shows in them.
            learn(source, &self.around, &self.progress);
            look = source.content.look()?;
            let after = Age {
                born_ns: sound.1,
                modified_ns: sound.1,
            };
            if !self.unknown_between(after, Some(&look))?.is_empty() {
                return self.restart_truncated(at);
            }
        }
        if let Some(source) = self.sources.get_mut(at) {
            // The bytes were looked at after the size.
            source.sound = (look.size, look.modified_ns);
        }
        Ok(())
    }

    /// The content of source number `at` went away; the file goes on as a new source from its
    /// beginning, after the copy that rotation made of the old content, if there is one.
    pub(super) fn restart_truncated(&mut self, at: usize) -> io::Result<()> {
        let is_live = self.has_live && at + 1 == self.sources.len();
        let Some(mut old) = self.sources.remove(at) else {
            return Ok(());
        };
        let look = old.content.look()?;
        if old.content.can_change()
            && old.position > 0
            && old.position <= look.size
            && old.is_unchanged()?
        {
            // Cut behind what was read: it goes on from there.
            let lost = old.size.saturating_sub(look.size);
            old.cut(&look);
            self.sources.insert(at, old);
            if lost > 0 {
                self.lose(lost, look.size, TRUNCATED_AWAY);
            }
            return Ok(());
        }
        old.watch = None;
        log::info!(
            "'{}': {} was truncated at offset {}",
            self.path.display(),
            old.checkpoint.identity,
            old.position
        );
        let later = self.sources.split_off(at);
        let read = Checkpoint {
            offset: old.position,
            trace: old.trace,
            ..old.checkpoint.clone()
        };
        let (size, modified_ns) = old.sound;
        let copy = self.push_copy(&read);
        // Frees the claim of the inode for its new content. The registrar is told when the new source is
        // known to it: a crash in between must not find neither.
        self.around.claims.end(
            old.checkpoint.serial,
            old.position,
            old.trace,
            old.modified_ns,
            Ending::Gone,
        );
        self.around.deleted.release(old.checkpoint.serial);
        let ended = Progress::Ended {
            source: old.id,
            end: old.position,
            modified_ns: old.modified_ns,
            why: Ending::Gone,
        };
        let mut saved = copy.map_or(old.position, |copy| copy.size);
        if is_live {
            // It may have been copied and truncated more than once since the last look.
            let after = copy.as_ref().map_or(
                Age {
                    born_ns: modified_ns,
                    modified_ns,
                },
                Age::of,
            );
            let others = self.push_successors(after, Some(&look))?;
            if old.position == 0 && copy.is_none() {
                saved = others;
            }
        }
        let lost = size.saturating_sub(saved.max(old.position));
        if lost > 0 {
            self.lose(lost, size - lost, TRUNCATED_AWAY);
        }
        let (checkpoint, look) = match is_live {
            true => self.fresh_live(&mut old.content, look)?,
            false => (self.fresh(&mut old.content, &look, 0)?, look),
        };
        let pushed = self.push(
            old.content,
            old.opened_at,
            checkpoint,
            look,
            old.quiet_since,
        );
        let _ = self.progress.send(ended);
        if is_live {
            self.has_live = pushed;
        }
        self.sources.extend(later);
        Ok(())
    }

    /// Reads the rest of truncated content from the copy that rotation made, if there is one.
    pub(super) fn push_copy(&mut self, read: &Checkpoint) -> Option<Look> {
        let copy = self.siblings().find(read).ok().flatten()?;
        if copy.look.inode == read.identity.inode {
            return None;
        }
        let look = copy.look;
        self.push_rotated(
            copy,
            Some(Checkpoint {
                finished: false,
                ..read.clone()
            }),
        );
        Some(look)
    }

    /// Opens the unknown files that were rotated away after the known one of age `after` and before
    /// the `live` one was made; returns how many bytes they hold.
    pub(super) fn push_successors(&mut self, after: Age, live: Option<&Look>) -> io::Result<u64> {
        let mut bytes = 0;
        for sibling in self.unknown_between(after, live)? {
            bytes += sibling.look.size;
            self.push_rotated(sibling, None);
        }
        Ok(bytes)
    }

    pub(super) fn unknown_between(
        &self,
        after: Age,
        live: Option<&Look>,
    ) -> io::Result<Vec<Sibling>> {
        let claims = &self.around.claims;
        let live_inode = live.map(|look| look.inode);
        let of_path = claims.of_path(&self.path);
        let is_known = |content: &mut Content, look: &Look| {
            let (known, is_open) = claims.of_inode(look.inode);
            let is_inode_known = known.iter().any(|c| {
                siblings::is_same_inode(c, look)
                    && (content.can_change() || siblings::holds(c, content, look).unwrap_or(false))
            });
            // An archive has an inode of its own and is known by what it holds.
            let is_content_known = !content.can_change()
                && of_path
                    .iter()
                    .filter(|c| c.finished && c.offset > 0)
                    .any(|c| siblings::holds(c, content, look).unwrap_or(false));
            is_open || is_inode_known || is_content_known || live_inode == Some(look.inode)
        };
        let before = live.map(Age::of);
        self.siblings().rotated_between(after, before, is_known)
    }

    pub(super) fn siblings(&self) -> Siblings<'_> {
        Siblings {
            path: &self.path,
            rotated: &self.log.rotated,
        }
    }

    /// Adds a rotated file, from `checkpoint` or from its beginning.
    pub(super) fn push_rotated(&mut self, sibling: Sibling, checkpoint: Option<Checkpoint>) {
        let Sibling {
            path,
            mut content,
            look,
        } = sibling;
        let checkpoint = match checkpoint {
            Some(checkpoint) => {
                let identity = Identity {
                    inode: look.inode,
                    born_ns: look.born_ns,
                    ..checkpoint.identity
                };
                Checkpoint {
                    identity,
                    path: self.path.clone(),
                    ..checkpoint
                }
            }
            None => match self.fresh(&mut content, &look, 0) {
                Ok(checkpoint) => checkpoint,
                Err(error) => return self.complain_of(Err(error)),
            },
        };
        // Quiet since its last change, as far as the clocks agree.
        let age = u64::try_from(now_ms().saturating_sub(look.modified_ns / 1_000_000)).unwrap_or(0);
        let quiet_since =
            Instant::now().checked_sub(Duration::from_millis(age).min(self.log.rotate_wait));
        self.push(
            content,
            path,
            checkpoint,
            look,
            Some(quiet_since.unwrap_or_else(Instant::now)),
        );
    }

    /// A checkpoint for a file that was never read.
    pub(super) fn fresh(
        &self,
        content: &mut Content,
        look: &Look,
        offset: u64,
    ) -> io::Result<Checkpoint> {
        let fingerprint = Fingerprint::of(&content.head()?);
        Ok(Checkpoint {
            path: self.path.clone(),
            identity: Identity {
                inode: look.inode,
                born_ns: look.born_ns,
                fingerprint,
            },
            offset,
            trace: content.trace_before(offset, Trace::MAX_LEN.min(offset as usize) as u8)?,
            finished: false,
            serial: 0,
            modified_ns: look.modified_ns,
        })
    }

    /// As [`Tailer::fresh`], for the file at the path, with a look that is not older than the first bytes:
    /// since `look` it may have been filled, copied and truncated, and then the copy goes first.
    pub(super) fn fresh_live(
        &mut self,
        content: &mut Content,
        look: Look,
    ) -> io::Result<(Checkpoint, Look)> {
        let checkpoint = self.fresh(content, &look, 0)?;
        let now = content.look()?;
        let modified_ns = look.modified_ns;
        if (now.size, now.modified_ns) != (look.size, modified_ns) {
            let born_ns = modified_ns;
            let after = Age {
                born_ns,
                modified_ns,
            };
            self.push_successors(after, Some(&now))?;
        }
        Ok((checkpoint, now))
    }

    pub(super) fn push(
        &mut self,
        content: Content,
        at: PathBuf,
        checkpoint: Checkpoint,
        look: Look,
        quiet_since: Option<Instant>,
    ) -> bool {
        let checkpoint = Checkpoint {
            modified_ns: look.modified_ns,
            ..checkpoint
        };
        let Some((checkpoint, replaces)) = self.around.claims.open(checkpoint) else {
            self.note_other_name();
            return false;
        };
        log::info!(
            "'{}': {} is read from offset {}",
            at.display(),
            checkpoint.identity,
            checkpoint.offset
        );
        self.around
            .metrics
            .to_read_bytes
            .add(look.size.saturating_sub(checkpoint.offset));
        let mut source = Source::new(content, at, checkpoint, &look);
        if let Err(error) = source.find_part(self.log.max_line_bytes) {
            self.complain_of(Err(error));
        }
        source.quiet_since = quiet_since;
        source.watch =
            self.around
                .watches
                .watch_file(source.content.file(), &source.opened_at, &self.waker);
        let _ = self.progress.send(Progress::Opened {
            source: source.id,
            checkpoint: source.checkpoint.clone(),
            replaces,
            acked: source.acked.clone(),
        });
        self.sources.push_back(source);
        true
    }
}
