//! Doing what was planned: closing, opening, counting what is lost, and telling the registrar.

mod opening;

use std::collections::BTreeMap;
use std::io;
use std::time::Instant;

use super::Tailer;
use super::compare::{Probe, fresh};
use super::found::{CandidateFile, Found};
use super::growth::{note_begun, note_growth};
use super::observation::{OpenSource, Verdict};
use super::plan::{Blocked, Close, From, MUCH_BYTES, Plan, Planned};
use super::recognise::{ContentMatch, content_of, is_same_inode};
use super::source::Source;
use crate::identity::FileStat;
use crate::progress::{Checkpoint, CloseReason, Progress};
use crate::shown::ShownPath;

impl Tailer {
    pub(super) fn apply(&mut self, mut found: Found, plan: Plan) -> io::Result<()> {
        self.report(&found, &plan);
        let mut open: BTreeMap<u64, Source> = std::mem::take(&mut self.sources)
            .into_iter()
            .map(|source| (source.checkpoint.serial, source))
            .collect();
        self.has_current = false;
        // Before what they are copies of is forgotten: the tailer of a copy's own name, where it has one, asks for
        // what is known at any time.
        self.register(&mut found, &plan);
        self.part_with_files(&found, &plan);
        let mut applied = Ok(());
        let count = plan.sources.len();
        for (at, planned) in plan.sources.iter().enumerate() {
            let is_current = plan.has_current && at + 1 == count;
            if let Err(error) = self.apply_one(*planned, is_current, &plan, &mut found, &mut open) {
                applied = Err(error);
            }
        }
        // What is not planned any more is closed last: its successor is known by now, so a crash in between
        // finds both, and never neither.
        for (serial, source) in open {
            let ending = match plan.closed.get(&serial) {
                Some(Close::Unfinished) | None => CloseReason::Paused,
                Some(Close::Replaced | Close::ContentGone) => CloseReason::ContentGone,
            };
            self.retire(&source, ending);
            // At the next look it is one that nobody knows.
            let mut seen = found.seen.open.iter();
            let is_overwritten = |open: &&OpenSource| {
                let is_rotated = !open.is_current && open.stat.links > 0 && open.stat.born_ns != 0;
                open.reached.serial == serial && open.verdict == Verdict::Replaced && is_rotated
            };
            if let Some(OpenSource { stat, .. }) = seen.find(is_overwritten) {
                self.overwritten = Some((stat.inode, stat.born_ns, Instant::now()));
            }
        }
        for serial in plan.superseded.iter().chain(&plan.gone) {
            self.forget(*serial);
        }
        for lost in plan.lost.iter().filter(|lost| lost.is_gone) {
            self.forget(lost.serial);
        }
        if plan.is_left_out && self.sources.is_empty() {
            self.leave_out(&found);
        }
        self.note_what_is_there(&found, &plan);
        applied
    }

    /// Says what the plan means for the bytes of the path.
    fn report(&mut self, found: &Found, plan: &Plan) {
        let seen = &found.seen;
        if !plan.lost.is_empty() || !plan.gone.is_empty() {
            self.trouble.is_answered();
        }
        for serial in &plan.detached {
            let Some(open) = seen.open.iter().find(|o| o.reached.serial == *serial) else {
                continue;
            };
            let is_deleted = open.stat.links == 0;
            log::info!(
                "'{}': {} was {}",
                ShownPath(&self.path),
                open.reached.identity,
                if is_deleted {
                    "deleted"
                } else {
                    "rotated away"
                }
            );
        }
        for open in &seen.open {
            if open.verdict == Verdict::Replaced {
                log::info!(
                    "'{}': {} was truncated at offset {}",
                    ShownPath(&self.path),
                    open.reached.identity,
                    open.reached.offset,
                );
            }
        }
        for lost in &plan.lost {
            let known = seen.known.iter().find(|c| c.serial == lost.serial);
            match known.filter(|_| lost.is_gone) {
                Some(known) => {
                    let why = format!(
                        "were seen and not delivered, their file ({}) is gone or truncated by now without a copy that \
                         could be found{}, so they (and what was added later) cannot be read any more",
                        known.identity,
                        found.where_else(),
                    );
                    self.report_lost(crate::metrics::Lost::Deleted, lost.bytes, lost.offset, &why);
                }
                None => self.report_truncated(lost.bytes, lost.offset),
            }
        }
        for known in seen.perhaps_grown(&plan.gone) {
            log::warn!(
                "'{}': the file that was delivered up to offset {}, all that was seen of it ({}), is gone or \
                 truncated by now, and no copy of it is to be found: what was added later, if anything was, is lost{}",
                ShownPath(&self.path),
                known.offset,
                known.identity,
                found.where_else(),
            );
            self.note_perhaps_lost(known.offset);
        }
    }

    fn apply_one(
        &mut self,
        planned: Planned,
        is_current: bool,
        plan: &Plan,
        found: &mut Found,
        open: &mut BTreeMap<u64, Source>,
    ) -> io::Result<()> {
        match planned {
            Planned::Keep(serial) => {
                let Some(mut source) = open.remove(&serial) else {
                    return Ok(());
                };
                let is_in_place = source.before.is_some();
                if is_current && let Some(saved) = self.saved(&mut source, found)? {
                    let file_before = match is_in_place {
                        true => None,
                        false => self.sources.pop_back(),
                    };
                    let restarted = self.restart(source, is_current, plan, Some(saved));
                    if let Some(file_before) = file_before {
                        self.retire(&file_before, CloseReason::ContentGone);
                    }
                    return restarted;
                }
                let caught_up = self.catch_up(&mut source, found);
                if is_current {
                    source.detached_since = None;
                    self.has_current = true;
                } else {
                    source.detached_since.get_or_insert_with(Instant::now);
                }
                self.add_source(source);
                caught_up
            }
            Planned::Restart(serial) => {
                let Some(old) = open.remove(&serial) else {
                    return Ok(());
                };
                self.restart(old, is_current, plan, found.begun.remove(&serial))
            }
            Planned::Open(at, from) => {
                let Some(CandidateFile { path, content }) = found.files.get_mut(at) else {
                    return Ok(());
                };
                let path = std::mem::take(path);
                let Some(content) = content.take() else {
                    return Ok(());
                };
                self.open_rotated(content, path, from, found)
            }
            Planned::OpenCurrent(from) => {
                let Some(mut content) = found.current.take() else {
                    return Ok(());
                };
                let (checkpoint, stat) = self.begin_current(&mut content, from, found)?;
                let path = self.path.clone();
                self.has_current = self.push(content, path, checkpoint, stat, None);
                if self.has_current {
                    let target = self.target.as_deref().unwrap_or(&self.path);
                    self.shared.watches.follow_target(&self.path, target);
                }
                Ok(())
            }
        }
    }

    /// What was seen of a source that goes on counts as seen from now on.
    fn catch_up(&mut self, source: &mut Source, found: &Found) -> io::Result<()> {
        let serial = source.checkpoint.serial;
        let seen = found.seen.open.iter().find(|o| o.reached.serial == serial);
        let Some(seen) = seen else {
            return Ok(());
        };
        match seen.verdict {
            Verdict::Intact => note_growth(source, &seen.stat, &self.shared, &self.progress)?,
            Verdict::CutAhead => source.truncated_ahead(&seen.stat),
            Verdict::Begun => {
                if let Some(begun) = found.begun.get(&serial) {
                    note_begun(source, begun, &self.shared, &self.progress);
                }
            }
            Verdict::Replaced => {}
        }
        Ok(())
    }

    /// Where reading goes on in the file of a source that was empty a moment ago, if an editor has saved it: it begins
    /// with all that was delivered of what it held before, or of the file before, which is gone.
    fn saved(
        &self,
        source: &mut Source,
        found: &Found,
    ) -> io::Result<Option<(Checkpoint, FileStat)>> {
        let begun = found.begun.get(&source.checkpoint.serial);
        let Some((_, stat)) = begun.filter(|(_, stat)| stat.size > 0) else {
            return Ok(None);
        };
        let before = match source.before.take() {
            Some(before) => Some(*before),
            None => self
                .sources
                .back()
                .filter(|s| is_left(s, found))
                .map(Source::checkpoint_now),
        };
        let Some(before) = before.filter(|b| b.offset > 0 && b.size <= stat.size) else {
            return Ok(None);
        };
        let mut probe = Probe::new(&mut source.content, stat.size);
        if content_of(&before, &mut probe)? != ContentMatch::Continues {
            return Ok(None);
        }
        let checkpoint = Checkpoint {
            identity: before.identity.moved_to(stat),
            serial: 0,
            ..before
        };
        Ok(Some((checkpoint, *stat)))
    }

    /// The open file of a source holds other content now: that is a new source.
    fn restart(
        &mut self,
        mut old: Source,
        is_current: bool,
        plan: &Plan,
        begun: Option<(Checkpoint, FileStat)>,
    ) -> io::Result<()> {
        let serial = old.checkpoint.serial;
        // What it held when it was looked at: if that is gone by now as well, the next look tells.
        let now = match begun {
            Some(begun) => Ok(begun),
            None => fresh(&self.path, &mut old.content, 0),
        };
        let (mut now, stat) = match now {
            Ok(now) => now,
            Err(error) => {
                // Everything stays as it was, to be looked at again.
                self.has_current |= is_current;
                self.add_source(old);
                return Err(error);
            }
        };
        now.tag = self.tag_of(&now, old.checkpoint.tag, |_| false);
        self.remember_truncated(&old, plan);
        self.shared
            .registry
            .close(old.checkpoint_now(), CloseReason::ContentGone);
        self.shared.deleted.release(serial);
        let ended = Progress::Closed {
            source: old.id,
            end: old.position,
            modified_ns: old.modified_ns,
            why: CloseReason::ContentGone,
        };
        old.show_rest_gone();
        old.watch = None;
        let detached_since = match is_current {
            true => None,
            false => Some(old.detached_since.unwrap_or_else(Instant::now)),
        };
        let before = old.checkpoint_now();
        let pushed = self.push(old.content, old.opened_path, now, stat, detached_since);
        if let Some(new) = self
            .sources
            .back_mut()
            .filter(|new| pushed && new.never_had_content())
            && before.offset >= MUCH_BYTES
        {
            new.before = Some(Box::new(before));
        }
        let _ = self.progress.send(ended);
        self.has_current |= is_current && pushed;
        Ok(())
    }

    /// What the next look needs to know of this one.
    fn note_what_is_there(&mut self, found: &Found, plan: &Plan) {
        let seen = &found.seen;
        if !seen.is_incomplete && !plan.is_left_out {
            // Otherwise what lay at the path may not have been found yet.
            self.stat_when_found = None;
            self.honours_start_at = false;
        }
        self.must_sync = false;
        self.read_elsewhere = found.elsewhere;
        self.awaits_copy = false;
        if plan.is_rotated && !seen.open.is_empty() {
            self.rotated_at.get_or_insert_with(Instant::now);
            if !seen.was_just_rotated {
                self.rotated_at = Some(Instant::now());
            }
        }
        let blocked = plan.blocked.first().map(|blocked| match blocked {
            Blocked::Candidate(at) => found.files[*at].path.clone(),
            Blocked::Checkpoint(_) => self.path.to_path_buf(),
        });
        self.had_trouble_at_sync = found.trouble.is_some() || blocked.is_some();
        self.was_sync_incomplete = seen.is_incomplete || found.is_moving;
        match (&found.trouble, blocked) {
            (Some((path, error)), _) => match found.refused_link(&self.path) {
                Some(refusal) => self.trouble.note_refusal(path, refusal),
                None => self.trouble.note(path, error),
            },
            (None, Some(path)) => {
                let error = io::Error::other("cannot be read yet");
                self.trouble.note(&path, &error);
            }
            (None, None) => {}
        }
        if plan.blocked.is_empty() {
            self.blocked_since = None;
        } else {
            self.blocked_since.get_or_insert_with(Instant::now);
        }
        if seen.is_incomplete || found.is_moving {
            return;
        }
        self.shared.registry.complete(&self.path);
        let is_there = |checkpoint: &Checkpoint| {
            let is_at = |stat: &FileStat| is_same_inode(checkpoint, stat);
            let candidates = &mut seen.candidates.iter();
            candidates
                .any(|c| is_at(&c.stat) || c.matches.iter().any(|m| m.serial == checkpoint.serial))
        };
        let registry = &self.shared.registry;
        for serial in registry.prune(&self.path, Instant::now(), is_there) {
            let _ = self.progress.send(Progress::Forgotten { serial });
        }
    }
}

/// Whether the file of an open source is not beside the path any more, so that what lies at the path may be what it
/// was; or so much was delivered of it that the same bytes are no accident.
fn is_left(source: &Source, found: &Found) -> bool {
    let serial = source.checkpoint.serial;
    let mut open = found.seen.open.iter();
    let is_beside = open
        .find(|o| o.reached.serial == serial)
        .is_none_or(|o| o.is_beside);
    !is_beside || source.position >= MUCH_BYTES
}

/// The content of the file at the path as it was looked at, if reading begins with it: it may have been truncated
/// since, and what it held is then known by this.
fn begun_at(from: From, found: &mut Found) -> Option<(Checkpoint, FileStat)> {
    let (mut checkpoint, stat) = found.begun_current.take()?;
    match from {
        From::Start => {}
        From::End => return None,
        From::PositionOf(serial) => {
            let known = found.seen.known.iter().find(|c| c.serial == serial);
            known.filter(|c| c.never_had_content())?;
            checkpoint.serial = serial;
        }
    }
    Some((checkpoint, stat))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic fails the test")]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::batch::TailChecksum;
    use crate::identity::{FileIdentity, Fingerprint, Inode};
    use crate::progress::{Marks, SourceState};

    fn checkpoint(serial: u64, text: &[u8], offset: u64) -> Checkpoint {
        Checkpoint {
            identity: FileIdentity {
                inode: Inode {
                    device: 1,
                    inode: 7,
                },
                born_ns: 1,
                fingerprint: Fingerprint::of(text),
            },
            path: Path::new("/log/app.log").into(),
            offset,
            state: SourceState::Open,
            size: offset,
            modified_ns: 1,
            serial,
            tail_checksum: TailChecksum::default(),
            marks: Marks::default(),
            tag: None,
        }
    }

    #[test]
    fn what_a_file_held_when_it_was_looked_at_is_kept_where_it_is_read_from_its_beginning() {
        let looked = checkpoint(0, b"first line\n", 0);
        let stat = FileStat {
            inode: looked.identity.inode,
            born_ns: 1,
            modified_ns: 1,
            size: 11,
            links: 1,
            is_regular: true,
            is_sparse: false,
        };
        let begun = |from, known: &Checkpoint| {
            let mut found = Found {
                begun_current: Some((looked.clone(), stat)),
                ..Found::default()
            };
            found.seen.known.push(known.clone());
            begun_at(from, &mut found).map(|(checkpoint, _)| checkpoint)
        };
        let (blank, read) = (checkpoint(5, b"", 0), checkpoint(5, b"first", 5));
        assert!(blank.never_had_content() && !read.never_had_content());
        let from_start = begun(From::Start, &blank).unwrap();
        assert_eq!(from_start.identity, looked.identity);
        let of_blank = begun(From::PositionOf(5), &blank).unwrap();
        assert_eq!(of_blank.identity, looked.identity);
        assert_eq!(of_blank.serial, 5);
        assert!(begun(From::PositionOf(5), &read).is_none());
        assert!(begun(From::End, &blank).is_none());
    }
}
