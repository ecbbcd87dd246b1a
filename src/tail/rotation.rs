//! What happens to a path: renamed, replaced, deleted, truncated, copied.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::content::Content;
use super::framing::Framer;
use super::resume::position_in;
use super::siblings::{self, Age, Live, Sibling, Siblings};
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
            if look.is_some_and(|look| siblings::is_same_inode(&source.checkpoint, &look)) {
                return Ok(());
            }
            // It may have been truncated before it went away, and the copy is not what followed on it. If that
            // cannot be told now, what followed must wait.
            self.has_live = false;
            if let Err(error) = self.compare(self.sources.len() - 1) {
                self.has_live = true;
                return Err(error);
            }
            self.leave_live();
        }
        match look {
            Some(look) if look.is_regular => self.open_live(),
            Some(_) => Err(io::Error::other("is not a regular file")),
            None => {
                self.complaint = None;
                // A file that came and was rotated away between two looks left nothing at the path.
                if let Some(oldest) = self.sources.front() {
                    let after = Age::of(&oldest.content.look()?);
                    self.push_all(self.unknown_after(after, None)?);
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
        if let Some(seen) = &self.seen {
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
        let from_end = is_first && self.log.start_at == StartAt::End;
        self.was_there_at_first = false;
        let (checkpoint, look) = match position_in(&known, &mut content, &look)? {
            Some(checkpoint) => (checkpoint, look),
            None if from_end => {
                let start = last_line_start(&mut content, look.size)?;
                self.fresh(&mut content, start)?
            }
            None => self.fresh(&mut content, 0)?,
        };
        if let Some(after) = last
            && !is_known
        {
            let live = Live {
                content: &mut content,
                look,
                fingerprint: checkpoint.identity.fingerprint,
            };
            self.push_all(self.unknown_after(after, Some(live))?);
        }
        self.push_live(content, look, checkpoint);
        Ok(())
    }

    /// Adds the file that lies at the path.
    pub(super) fn push_live(&mut self, content: Content, look: Look, checkpoint: Checkpoint) {
        let checkpoint = Checkpoint {
            path: self.path.clone(),
            ..checkpoint
        };
        self.has_live = self.push(content, self.path.clone(), checkpoint, look, None);
        if self.has_live {
            self.complaint = None;
            self.around.watches.follow_target(&self.path);
        }
    }

    /// Looks at source number `at`. If its content is not what it was, that goes on as a new source, after
    /// what rotation made of the old content; true if the list of sources has changed.
    ///
    /// What is certain of a source's content: it is the one that was read, since the bytes before the
    /// position are compared at every look and in every read. Before the first read it is the one that
    /// begins as it was seen to. Of a file that was empty at every look nothing is certain: when it has
    /// changed, the copies that were made since then are looked for.
    pub(super) fn compare(&mut self, at: usize) -> io::Result<bool> {
        let Some(source) = self.sources.get_mut(at) else {
            return Ok(false);
        };
        let look = source.content.look()?;
        if source.was_truncated(&look)? {
            self.restart_truncated(at)?;
            return Ok(true);
        }
        if source.is_blank() && source.may_have_changed(&look) {
            return self.begin(at);
        }
        if (look.size, look.modified_ns) != (source.size, source.modified_ns)
            && let Some(quiet_since) = &mut source.quiet_since
        {
            *quiet_since = Instant::now();
        }
        if look.size > source.size {
            self.around.metrics.has_grown.set();
        }
        source.note(&look);
        if source.position == 0
            && let Some(fingerprint) = source.grown_fingerprint()?
        {
            // It may be truncated before the first byte is read, and its copy be looked for.
            learn(source, fingerprint, &self.around, &self.progress);
        }
        Ok(false)
    }

    /// Source number `at` was empty and has changed: it has its first bytes, or had some that were copied.
    fn begin(&mut self, at: usize) -> io::Result<bool> {
        let is_live = self.has_live && at + 1 == self.sources.len();
        let Some(mut source) = self.sources.remove(at) else {
            return Ok(false);
        };
        // The time when it was empty: what was copied from it is younger.
        let after = Age {
            born_ns: source.modified_ns,
            modified_ns: source.modified_ns,
        };
        let begun = identify(&mut source.content).and_then(|(fingerprint, look)| {
            let live = Live {
                content: &mut source.content,
                look,
                fingerprint,
            };
            let copies = match is_live && self.siblings().may_be_new_since(after) {
                true => self.unknown_after(after, Some(live))?,
                false => Vec::new(),
            };
            Ok((fingerprint, look, copies))
        });
        let (fingerprint, look, copies) = match begun {
            Ok(begun) => begun,
            Err(error) => {
                self.sources.insert(at, source);
                return Err(error);
            }
        };
        if copies.is_empty() {
            if fingerprint.len > 0 {
                learn(&mut source, fingerprint, &self.around, &self.progress);
            }
            source.note(&look);
            self.sources.insert(at, source);
            return Ok(false);
        }
        let mut checkpoint = source.checkpoint.clone();
        checkpoint.identity.fingerprint = fingerprint;
        checkpoint.modified_ns = look.modified_ns;
        self.replace(at, source, (checkpoint, look), |tailer| {
            tailer.push_all(copies);
        });
        Ok(true)
    }

    /// The content of source number `at` went away; the file goes on as a new source from its
    /// beginning, after the copy that rotation made of the old content, if there is one.
    pub(super) fn restart_truncated(&mut self, at: usize) -> io::Result<()> {
        let is_live = self.has_live && at + 1 == self.sources.len();
        let Some(source) = self.sources.get_mut(at) else {
            return Ok(());
        };
        let look = source.content.look()?;
        if source.content.can_change()
            && source.position > 0
            && source.position <= look.size
            && source.is_unchanged()?
        {
            // Cut behind what was read: it goes on from there.
            let lost = source.size.saturating_sub(look.size);
            source.cut(&look);
            if lost > 0 {
                self.lose(lost, look.size, TRUNCATED_AWAY);
            }
            return Ok(());
        }
        let (size, position) = (source.size, source.position);
        let since = Age {
            born_ns: source.modified_ns,
            modified_ns: source.modified_ns,
        };
        let read = source.reached();
        let Some(mut old) = self.sources.remove(at) else {
            return Ok(());
        };
        // What it holds now first: what is found beside it afterwards is older, or a copy of that.
        let found = self.fresh(&mut old.content, 0).and_then(|(now, look)| {
            let copy = self.copy_of(&read)?;
            let others = match is_live {
                true => {
                    let after = copy.as_ref().map_or(since, |copy| Age::of(&copy.look));
                    let live = Live {
                        content: &mut old.content,
                        look,
                        fingerprint: now.identity.fingerprint,
                    };
                    self.unknown_after(after, Some(live))?
                }
                false => Vec::new(),
            };
            Ok((now, look, copy, others))
        });
        let (now, look, copy, mut others) = match found {
            Ok(found) => found,
            Err(error) => {
                self.sources.insert(at, old);
                return Err(error);
            }
        };
        log::info!(
            "'{}': {} was truncated at offset {position}",
            self.path.display(),
            old.checkpoint.identity,
        );
        // What a copy lacks is found when that is opened.
        let lost = match &copy {
            Some(_) => 0,
            None => size.saturating_sub(position),
        };
        if let Some(copy) = &copy {
            others.retain(|other| other.look.inode != copy.look.inode);
        }
        self.replace(at, old, (now, look), |tailer| {
            if let Some(copy) = copy {
                tailer.push_rotated(copy, Some(read));
            }
            tailer.push_all(others);
        });
        if lost > 0 {
            self.lose(lost, position, TRUNCATED_AWAY);
        }
        Ok(())
    }

    /// Puts the content that `old`, which was source number `at`, has `now` in its place, behind what
    /// `push_older` adds.
    fn replace(
        &mut self,
        at: usize,
        mut old: Source,
        now: (Checkpoint, Look),
        push_older: impl FnOnce(&mut Self),
    ) {
        let is_live = self.has_live && at == self.sources.len();
        let later = self.sources.split_off(at);
        // The claim of the inode is free for the new content; the registrar is told when the new source is
        // known to it: a crash in between must not find neither.
        let why = Ending::Gone;
        self.around.claims.end(old.reached(), why);
        self.around.deleted.release(old.checkpoint.serial);
        let ended = Progress::Ended {
            source: old.id,
            end: old.position,
            modified_ns: old.modified_ns,
            why,
        };
        old.watch = None;
        push_older(self);
        let (checkpoint, look) = now;
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
    }

    /// The copy that rotation made of truncated content, if there is one.
    fn copy_of(&self, read: &Checkpoint) -> io::Result<Option<Sibling>> {
        let copy = self.siblings().find(read)?;
        Ok(copy.filter(|copy| copy.look.inode != read.identity.inode))
    }

    /// Opens files that were rotated away unseen, from their beginning.
    pub(super) fn push_all(&mut self, siblings: Vec<Sibling>) {
        for sibling in siblings {
            self.push_rotated(sibling, None);
        }
    }

    /// The unknown files that were rotated away after one of age `after`, and hold what was written before
    /// what is in the `live` one, oldest first.
    pub(super) fn unknown_after(
        &self,
        after: Age,
        live: Option<Live<'_>>,
    ) -> io::Result<Vec<Sibling>> {
        let claims = &self.around.claims;
        let live_inode = live.as_ref().map(|live| live.look.inode);
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
        let found = self.siblings().rotated_after(after, is_known)?;
        match live {
            Some(live) => self.siblings().before_live(found, live),
            None => Ok(found),
        }
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
            None => match self.fresh(&mut content, 0) {
                Ok((checkpoint, _)) => checkpoint,
                Err(error) => return self.complain_of(Err(error)),
            },
        };
        // Quiet since its last change, as far as the clocks agree.
        let age = u64::try_from(now_ms().saturating_sub(look.modified_ns / 1_000_000)).unwrap_or(0);
        let quiet_since =
            Instant::now().checked_sub(Duration::from_millis(age).min(self.log.rotate_wait));
        self.push(
            content,
            path.into(),
            checkpoint,
            look,
            Some(quiet_since.unwrap_or_else(Instant::now)),
        );
    }

    /// A checkpoint at `offset` for content that was never read, and a look at that.
    pub(super) fn fresh(
        &self,
        content: &mut Content,
        offset: u64,
    ) -> io::Result<(Checkpoint, Look)> {
        let (fingerprint, look) = identify(content)?;
        let checkpoint = Checkpoint {
            path: self.path.clone(),
            identity: Identity {
                inode: look.inode,
                born_ns: look.born_ns,
                fingerprint,
            },
            offset,
            size: look.size,
            trace: content.trace_before(offset, Trace::MAX_LEN.min(offset as usize) as u8)?,
            finished: false,
            serial: 0,
            modified_ns: look.modified_ns,
        };
        Ok((checkpoint, look))
    }

    pub(super) fn push(
        &mut self,
        content: Content,
        at: Arc<Path>,
        checkpoint: Checkpoint,
        look: Look,
        quiet_since: Option<Instant>,
    ) -> bool {
        // What is read again was not finished after all, whatever was thought of it.
        let mut checkpoint = Checkpoint {
            finished: false,
            ..checkpoint
        };
        let seen = checkpoint.size;
        if !checkpoint.is_blank() {
            (checkpoint.size, checkpoint.modified_ns) = (look.size, look.modified_ns);
        }
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
        let saved = look.size.max(checkpoint.offset);
        if seen > saved {
            self.lose(seen - saved, saved, TRUNCATED_AWAY);
        }
        self.around
            .metrics
            .to_read_bytes
            .add(look.size.saturating_sub(checkpoint.offset));
        let framer = Framer::new(self.log.max_line_bytes, self.log.strip_cr);
        let mut source = Source::new(content, at, checkpoint, &look, framer);
        if let Err(error) = source.count_sent_pieces() {
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
            size: source.size_shown.clone(),
        });
        self.sources.push_back(source);
        true
    }
}

/// How the content of a file begins, and a look at that same content.
///
/// Between a look and a read the file may be truncated and written again, so the beginning is read on both
/// sides of the look. A file that was empty has no content yet.
fn identify(content: &mut Content) -> io::Result<(Fingerprint, Look)> {
    let mut before = content.head()?;
    for _ in 0..ATTEMPTS {
        let look = content.look()?;
        let after = content.head()?;
        let is_same = match before.is_empty() {
            true => look.size == 0,
            false => look.size >= before.len() as u64 && after.starts_with(&before),
        };
        if is_same {
            return Ok((Fingerprint::of(&before), look));
        }
        before = after;
    }
    Err(io::Error::other("is truncated faster than it can be read"))
}

/// How often a file is looked at that changes from one look to the next.
const ATTEMPTS: usize = 100;
