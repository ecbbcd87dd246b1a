//! Files become sources; what is noted of those that are not opened.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::begun_at;
use crate::batch::TailChecksum;
use crate::identity::{FileIdentity, FileStat, FileTag, Fingerprint};
use crate::progress::{Checkpoint, Marks, Progress, SourceState};
use crate::record::framing::Framer;
use crate::shown::ShownPath;
use crate::tail::clock::now_ms;
use crate::tail::compare::{Probe, fresh, identify, identity_of, matches_of};
use crate::tail::found::{CandidateFile, Found};
use crate::tail::log_file::LogFile;
use crate::tail::observation::NO_INODE;
use crate::tail::plan::{Close, From, Plan, Registration};
use crate::tail::recognise::{ContentMatch, content_of, is_same_inode};
use crate::tail::source::Source;
use crate::tail::{Tailer, last_line_start};

impl Tailer {
    pub(super) fn open_rotated(
        &mut self,
        mut content: LogFile,
        path: PathBuf,
        from: From,
        found: &Found,
    ) -> io::Result<()> {
        let (mut checkpoint, stat) = self.checkpoint_for(&mut content, from, found)?;
        self.name(&mut checkpoint, found);
        // Quiet since its last change, as far as the clocks agree.
        let age_ms = now_ms().saturating_sub(stat.modified_ns / 1_000_000);
        let quiet = Duration::from_millis(u64::try_from(age_ms).unwrap_or(0));
        let since = Instant::now().checked_sub(quiet.min(self.log.rotate_wait));
        let since = since.unwrap_or_else(Instant::now);
        self.push(content, path.into(), checkpoint, stat, Some(since));
        Ok(())
    }

    /// The checkpoint that `content` is read from, and its stat.
    pub(super) fn checkpoint_for(
        &self,
        content: &mut LogFile,
        from: From,
        found: &Found,
    ) -> io::Result<(Checkpoint, FileStat)> {
        let serial = match from {
            From::Start => return fresh(&self.path, content, 0),
            From::End => {
                let stat = content.stat()?;
                // What was written since the path was found is wanted.
                let found = self.stat_when_found.as_deref();
                let found = found.filter(|seen| seen.inode == stat.inode && content.can_change());
                let size = match found {
                    Some(found) => found.size.min(stat.size),
                    None => content.size()?,
                };
                let start = last_line_start(content, size)?;
                return fresh(&self.path, content, start);
            }
            From::PositionOf(serial) => serial,
        };
        let open = found.seen.open.iter().map(|open| &open.reached);
        let known = found.seen.known.iter().chain(open);
        let Some(known) = known.into_iter().find(|c| c.serial == serial) else {
            return fresh(&self.path, content, 0);
        };
        let mut stat = FileStat {
            size: content.size()?,
            ..content.stat()?
        };
        // Truncated since it was compared, and written anew: what lies beyond was never part of it.
        let was_compared = content.can_change() && !known.never_had_content();
        if was_compared
            && content_of(known, &mut Probe::new(content, stat.size))? == ContentMatch::Other
        {
            stat.size = stat.size.min(known.size);
            // A copy that was made in between is older than what lies there now.
            stat.modified_ns = stat.modified_ns.min(known.modified_ns);
        }
        let earlier = self.stands_earlier(known, content, &stat)?;
        let mut checkpoint = Checkpoint {
            identity: known.identity.moved_to(&stat),
            path: self.path.clone(),
            serial: known.serial,
            ..earlier.unwrap_or_else(|| known.clone())
        };
        if checkpoint.offset == 0 && !checkpoint.never_had_content() {
            let known = checkpoint.identity.fingerprint;
            checkpoint.identity.fingerprint = unread_fingerprint(known, &content.head()?);
        }
        Ok((checkpoint, stat))
    }

    /// A checkpoint of the same file that has not come as far as `known`: where a glob matches rotated names too, two
    /// paths may have one. The later one begins where all that was read by the other is on its way, and a crash may
    /// come before that is acknowledged.
    fn stands_earlier(
        &self,
        known: &Checkpoint,
        content: &mut LogFile,
        stat: &FileStat,
    ) -> io::Result<Option<Checkpoint>> {
        let mut here = self.shared.registry.of_inode(stat.inode);
        here.retain(|c| c.is_unfinished() && c.offset < known.offset && is_same_inode(c, stat));
        let matches = matches_of(&here, content, stat)?;
        here.retain(|c| matches.iter().any(|m| m.serial == c.serial));
        Ok(here.into_iter().min_by_key(|c| c.offset))
    }

    /// The checkpoint that the file at the path is read from, and its stat.
    pub(super) fn begin_current(
        &self,
        content: &mut LogFile,
        from: From,
        found: &mut Found,
    ) -> io::Result<(Checkpoint, FileStat)> {
        let (mut checkpoint, stat) = match begun_at(from, found) {
            Some(begun) => begun,
            None => self.checkpoint_for(content, from, found)?,
        };
        self.name(&mut checkpoint, found);
        Ok((checkpoint, stat))
    }

    /// Names content that is read from now on. What lay in its file when that was looked at, and may be known elsewhere
    /// by now, had another name.
    pub(super) fn name(&self, new: &mut Checkpoint, found: &Found) {
        if new.tag.is_none() {
            let open = found.seen.open.iter().map(|open| &open.reached);
            let known = || found.seen.known.iter().chain(open.clone());
            let is_here = |c: &&Checkpoint| {
                c.identity.inode == new.identity.inode && c.identity.born_ns == new.identity.born_ns
            };
            let before = known().filter(is_here).max_by_key(|c| c.serial);
            // It may have been truncated, and what it held be known in a copy only, or not any more.
            let newest = || known().max_by_key(|c| (c.tag.is_some(), c.serial));
            let before = before.or_else(newest).and_then(|c| c.tag);
            let is_taken = |tag| known().any(|c| c.tag == Some(tag));
            new.tag = self.tag_of(new, before, is_taken);
        }
    }

    /// What the records of new content are to name it by, if they name it. `before`: what those of the content that
    /// lay there before did. `is_taken`: what those of another one do.
    pub(super) fn tag_of(
        &self,
        new: &Checkpoint,
        before: Option<FileTag>,
        is_taken: impl Fn(FileTag) -> bool,
    ) -> Option<FileTag> {
        let route = &self.destination.route;
        let tag = || FileTag::new(&route.host, &new.identity, before, is_taken);
        route.has_provenance.then(tag)
    }

    /// Adds a source. `false`: another tailer has the file open.
    pub(super) fn push(
        &mut self,
        mut content: LogFile,
        at: Arc<Path>,
        checkpoint: Checkpoint,
        mut stat: FileStat,
        detached_since: Option<Instant>,
    ) -> bool {
        // What is read again was not finished after all, whatever was thought of it.
        let mut checkpoint = Checkpoint {
            state: SourceState::Open,
            ..checkpoint
        };
        let seen = checkpoint.size;
        // Truncated since it was looked at, and perhaps written anew: a copy may have been made first. It is opened as it
        // was seen, so that the next look finds that gone, and the rest in the copy.
        if is_other_by_now(&checkpoint, &mut content, &stat) {
            stat.size = seen.max(checkpoint.offset);
        }
        if !checkpoint.never_had_content() {
            (checkpoint.size, checkpoint.modified_ns) = (stat.size, stat.modified_ns);
        }
        let continues = checkpoint.serial;
        let Some((checkpoint, replaces)) = self.shared.registry.open(checkpoint) else {
            return false;
        };
        let level = match self.shared.descriptors.follows_few() {
            true => log::Level::Info,
            false => log::Level::Debug,
        };
        log::log!(
            level,
            "'{}': {} is read from offset {}",
            ShownPath(&at),
            checkpoint.identity,
            checkpoint.offset
        );
        let saved = stat.size.max(checkpoint.offset);
        if seen > saved {
            self.report_truncated(seen - saved, saved);
        }
        let unread = stat.size.saturating_sub(checkpoint.offset);
        self.shared.metrics.to_read_bytes.add(unread);
        // What it reads, and what it makes of it, is set next.
        let framer = Framer::new(self.log.max_line_bytes, self.log.strip_cr);
        let counters = self.destination.route.counters.clone();
        let mut source = Source::new(content, at, checkpoint, &stat, framer, counters);
        if let Err(error) = self.equip(&mut source) {
            self.trouble.note(&self.path.clone(), &error);
        }
        source.detached_since = detached_since;
        source.watch = self.shared.watches.watch_file(
            source.content.file(),
            &source.opened_path,
            &self.handle,
        );
        let _ = self.progress.send(Progress::Opened {
            source: source.id,
            checkpoint: source.checkpoint.clone(),
            replaces,
            continues,
            shown: source.shown.clone(),
        });
        self.add_source(source);
        true
    }

    /// Most files have one source for all of their life: room for four would be 2 KB for nothing in each.
    pub(in crate::tail) fn add_source(&mut self, source: Source) {
        if self.sources.is_empty() {
            self.sources.reserve_exact(1);
        }
        self.sources.push_back(source);
    }
}

/// The fingerprint of a file of which nothing was read and that begins with `head` by now. A copy may end before the
/// bytes that the fingerprint of its original covers, and is held to its own. Content that is another one was written
/// after the look, over what was known: that is what is looked for when the first read does not find it.
fn unread_fingerprint(known: Fingerprint, head: &[u8]) -> Fingerprint {
    match known.verified_bytes(head) {
        Some(1..) => Fingerprint::of_written(head),
        _ => known,
    }
}

/// Whether a file is shorter than it was seen to be since it holds other content by now, and not because its end, of
/// which nothing was read, was cut off. What cannot be read is left to the next look.
fn is_other_by_now(checkpoint: &Checkpoint, content: &mut LogFile, stat: &FileStat) -> bool {
    if !content.can_change() || stat.size >= checkpoint.size.max(checkpoint.offset) {
        return false;
    }
    let now = content_of(checkpoint, &mut Probe::new(content, stat.size));
    now.is_ok_and(|now| now != ContentMatch::Continues)
}

impl Tailer {
    pub(super) fn register(&mut self, found: &mut Found, plan: &Plan) {
        for (at, registration) in &plan.registered {
            let registered = self.registration_of(*at, *registration, found);
            if let Ok(Some(checkpoint)) = registered {
                if *registration == Registration::Skipped {
                    log::debug!(
                        "'{}': '{}' is no part of it and is skipped",
                        ShownPath(&self.path),
                        ShownPath(&found.files[*at].path),
                    );
                }
                match registration {
                    Registration::OfItself => self.remember_unknown(checkpoint),
                    _ => self.remember(checkpoint),
                }
            }
        }
    }

    fn registration_of(
        &self,
        at: usize,
        registration: Registration,
        found: &mut Found,
    ) -> io::Result<Option<Checkpoint>> {
        let stat = found.seen.candidates[at].stat;
        let CandidateFile { path, content } = &mut found.files[at];
        let content = content.as_mut();
        let (state, content) = match (registration, content) {
            (Registration::Unread, _) => {
                let is_archive = found.seen.candidates[at].is_archive;
                return Ok(Some(Checkpoint {
                    // How much an archive holds is not known.
                    size: if is_archive { 0 } else { stat.size },
                    ..self.unread(&stat)
                }));
            }
            (_, None) => return Ok(None),
            (Registration::Skipped, Some(content)) => (SourceState::Skipped, content),
            (Registration::CopyOf(_), Some(content)) => (SourceState::Finished, content),
            (Registration::OfItself, Some(content)) => {
                let path: Arc<Path> = path.as_path().into();
                return Ok(Some(Checkpoint {
                    // Its tailer has not seen it: it says nothing about when another one was rotated away
                    // (`Checkpoint::is_remembered_unseen`).
                    modified_ns: 0,
                    ..fresh(&path, content, 0)?.0
                }));
            }
        };
        // What is skipped is known by its first bytes; to find the end of an archive it would have to be unpacked.
        let end = match state {
            SourceState::Skipped => 0,
            _ => content.size()?,
        };
        let (fingerprint, _) = identify(content)?;
        Ok(Some(Checkpoint {
            identity: FileIdentity {
                fingerprint,
                ..identity_of(&stat)
            },
            offset: end,
            size: end,
            tail_checksum: content
                .checksum_before(end, TailChecksum::MAX_LEN.min(end as usize) as u8)?,
            state,
            ..self.unread(&stat)
        }))
    }

    /// A checkpoint for a file that cannot be read yet.
    fn unread(&self, stat: &FileStat) -> Checkpoint {
        Checkpoint {
            path: self.path.clone(),
            identity: identity_of(stat),
            offset: 0,
            size: 0,
            tail_checksum: TailChecksum::default(),
            marks: Marks::default(),
            tag: None,
            state: SourceState::Open,
            serial: 0,
            modified_ns: stat.modified_ns,
        }
    }

    /// The inode of a truncated source holds other content now. What it held is found by that: to be read on, or to
    /// know copies and archives of it that are not to be seen yet.
    pub(super) fn remember_truncated(&self, old: &Source, plan: &Plan) {
        let mut left = old.checkpoint_now();
        let copy = Registration::CopyOf(left.serial);
        let state = match plan.closed.get(&left.serial) {
            Some(Close::Unfinished) => SourceState::Open,
            Some(Close::ContentGone) if !plan.registered.iter().any(|(_, what)| *what == copy) => {
                SourceState::Finished
            }
            _ => return,
        };
        left.identity.inode = NO_INODE;
        left.identity.born_ns = 0;
        left.state = state;
        self.remember(left);
    }

    /// A file that is opened takes the place of all that is known of its inode. What was delivered of the content that
    /// it held before is known without a file from now on, until a copy of it can be looked at.
    pub(super) fn part_with_files(&self, found: &Found, plan: &Plan) {
        for serial in &plan.overwritten {
            if let Some(known) = found.seen.known.iter().find(|c| c.serial == *serial) {
                let mut left = known.clone();
                left.identity.inode = NO_INODE;
                left.identity.born_ns = 0;
                self.remember(left);
                self.forget(*serial);
            }
        }
    }

    pub(super) fn remember(&self, checkpoint: Checkpoint) {
        let registered = self.shared.registry.register(checkpoint);
        let _ = self.progress.send(Progress::Registered(registered));
    }

    /// Remembers a file unless its own tailer has come first.
    fn remember_unknown(&self, checkpoint: Checkpoint) {
        if let Some(registered) = self.shared.registry.register_unknown(checkpoint) {
            let _ = self.progress.send(Progress::Registered(registered));
        }
    }

    pub(super) fn forget(&self, serial: u64) {
        self.shared.registry.remove(serial);
        let _ = self.progress.send(Progress::Forgotten { serial });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_overwritten_since_it_was_looked_at_is_not_taken_for_what_was_known() {
        let known = Fingerprint::of(b"what was seen\nand not read\n");
        let longer = b"what was seen\nand not read\nand more\n";
        assert_eq!(unread_fingerprint(known, longer), Fingerprint::of(longer));
        let copy = b"what was seen\n";
        assert_eq!(unread_fingerprint(known, copy), Fingerprint::of(copy));
        for other in [
            b"something else\nand more of it, and more\n".as_slice(),
            b"x",
            b"",
        ] {
            assert_eq!(unread_fingerprint(known, other), known);
        }
    }
}
