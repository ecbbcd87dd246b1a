//! Doing what was planned: closing, opening, counting what is lost, and telling the registrar.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::content::Content;
use super::framing::Framer;
use super::observe::{CandidateFile, Found, Probe, matches_of};
use super::plan::{
    Blocked, Close, From, MUCH_BYTES, NO_INODE, Plan, Planned, Registration, Verdict, plan,
};
use super::recognise::{ContentMatch, content_of, is_same_inode};
use super::source::Source;
use super::tailer::{note_begun, note_growth};
use super::{TRUNCATED_AWAY, Tailer, last_line_start, now_ms};
use crate::batch::Trace;
use crate::identity::{Fingerprint, Identity, Look};
use crate::progress::{Checkpoint, Ending, Marks, Progress, SourceState};
use crate::shown::ShownPath;

impl Tailer {
    /// Looks at everything and has the sources follow.
    ///
    /// While names move on (.1 becomes .2) a listing can miss a file, or a name lead to another file than the one
    /// that was listed; then everything is looked at again. And nothing is given up on one look alone.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.last_sync = Instant::now();
        let turns = self.shared.turns.clone();
        // Files are opened to be compared, more of them than the turn is for.
        let _moment = (self.turn.is_some() && turns.are_scarce()).then(|| turns.moment());
        let mut not_before = self.last_sync;
        let mut before = Vec::new();
        for attempt in 1..=ATTEMPTS {
            let mut found = self.observe(not_before)?;
            if found.awaits_copy {
                // Nothing follows from a look at half of it: what lies beside the path may belong to a rotation of it.
                self.read_elsewhere = found.elsewhere;
                self.awaits_copy = true;
                return Ok(());
            }
            let differing = std::mem::take(&mut found.differing);
            found.is_moving |= differing != before;
            before = differing;
            if found.is_moving && attempt == ATTEMPTS {
                found.seen.is_incomplete = true;
            }
            let plan = plan(&found.seen);
            let is_given_up = plan.closed.values().any(|close| *close == Close::Gone);
            let gives_up = is_given_up || !plan.gone.is_empty() || !plan.lost.is_empty();
            if attempt < ATTEMPTS && (found.is_moving || (gives_up && attempt == 1)) {
                not_before = Instant::now();
                continue;
            }
            self.take_second_files(plan.sources.len())?;
            self.apply(found, plan)?;
            // The older ones were looked at before the newest, and may have grown before that was made. What else
            // became of them is noticed at the next look.
            self.note_sizes(1)?;
            return Ok(());
        }
        Ok(())
    }

    fn apply(&mut self, mut found: Found, plan: Plan) -> io::Result<()> {
        self.report(&found, &plan);
        let mut open: BTreeMap<u64, Source> = std::mem::take(&mut self.sources)
            .into_iter()
            .map(|source| (source.checkpoint.serial, source))
            .collect();
        self.has_current = false;
        // Before what they are copies of is forgotten: the tailer of a copy's own name, where it has one, asks for
        // what is known at any time.
        self.register(&mut found, &plan);
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
                Some(Close::Unfinished) | None => Ending::Paused,
                Some(Close::Replaced | Close::Gone) => Ending::Gone,
            };
            self.retire(&source, ending);
        }
        for serial in plan.superseded.iter().chain(&plan.gone) {
            self.forget(*serial);
        }
        for lost in plan.lost.iter().filter(|lost| lost.is_gone) {
            self.forget(lost.serial);
        }
        self.note_what_is_there(&found, &plan);
        applied
    }

    /// Says what the plan means for the bytes of the path.
    fn report(&mut self, found: &Found, plan: &Plan) {
        let seen = &found.seen;
        for serial in &plan.detached {
            let Some(open) = seen.open.iter().find(|o| o.reached.serial == *serial) else {
                continue;
            };
            let is_deleted = open.look.links == 0;
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
                        "were seen and not delivered; their file ({}) is gone or truncated by now, no copy of it is \
                         to be found, and they (with anything that was added later)",
                        known.identity
                    );
                    self.lose(lost.bytes, lost.offset, &why);
                }
                None => self.lose(lost.bytes, lost.offset, TRUNCATED_AWAY),
            }
        }
        for serial in &plan.gone {
            if let Some(known) = seen.known.iter().find(|c| c.serial == *serial) {
                log::warn!(
                    "'{}': the file that was delivered up to offset {}, all that was seen of it ({}), is gone or \
                     truncated by now, and no copy of it is to be found; anything that was added later is lost",
                    ShownPath(&self.path),
                    known.offset,
                    known.identity,
                );
            }
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
                        self.retire(&file_before, Ending::Gone);
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
                self.sources.push_back(source);
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
                let begun = found.begun_current.take().filter(|_| from == From::Start);
                let (checkpoint, look) = match begun {
                    Some(begun) => begun,
                    None => self.checkpoint_for(&mut content, from, found)?,
                };
                let path = self.path.clone();
                self.has_current = self.push(content, path, checkpoint, look, None);
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
            Verdict::Intact => note_growth(source, &seen.look, &self.shared, &self.progress)?,
            Verdict::CutAhead => source.truncated_ahead(&seen.look),
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
    fn saved(&self, source: &mut Source, found: &Found) -> io::Result<Option<(Checkpoint, Look)>> {
        let begun = found.begun.get(&source.checkpoint.serial);
        let Some((_, look)) = begun.filter(|(_, look)| look.size > 0) else {
            return Ok(None);
        };
        let before = match source.before.take() {
            Some(before) => Some(*before),
            None => self
                .sources
                .back()
                .filter(|s| is_left(s, found))
                .map(Source::reached),
        };
        let Some(before) = before.filter(|b| b.offset > 0 && b.size <= look.size) else {
            return Ok(None);
        };
        let mut probe = Probe::new(&mut source.content, look.size);
        if content_of(&before, &mut probe)? != ContentMatch::Continues {
            return Ok(None);
        }
        let checkpoint = Checkpoint {
            identity: before.identity.moved_to(look),
            serial: 0,
            ..before
        };
        Ok(Some((checkpoint, *look)))
    }

    /// The open file of a source holds other content now: that is a new source.
    fn restart(
        &mut self,
        mut old: Source,
        is_current: bool,
        plan: &Plan,
        begun: Option<(Checkpoint, Look)>,
    ) -> io::Result<()> {
        let serial = old.checkpoint.serial;
        // What it held when it was looked at: if that is gone by now as well, the next look tells.
        let now = match begun {
            Some(begun) => Ok(begun),
            None => fresh(&self.path, &mut old.content, 0),
        };
        let (now, look) = match now {
            Ok(now) => now,
            Err(error) => {
                // Everything stays as it was, to be looked at again.
                self.has_current |= is_current;
                self.sources.push_back(old);
                return Err(error);
            }
        };
        self.remember_truncated(&old, plan);
        self.shared.registry.close(old.reached(), Ending::Gone);
        self.shared.deleted.release(serial);
        let ended = Progress::Ended {
            source: old.id,
            end: old.position,
            modified_ns: old.modified_ns,
            why: Ending::Gone,
        };
        old.watch = None;
        let detached_since = match is_current {
            true => None,
            false => Some(old.detached_since.unwrap_or_else(Instant::now)),
        };
        let before = old.reached();
        let pushed = self.push(old.content, old.opened_path, now, look, detached_since);
        if let Some(new) = self
            .sources
            .back_mut()
            .filter(|new| pushed && new.is_blank())
            && before.offset >= MUCH_BYTES
        {
            new.before = Some(Box::new(before));
        }
        let _ = self.progress.send(ended);
        self.has_current |= is_current && pushed;
        Ok(())
    }

    /// The inode of a truncated source holds other content now. What it held is found by that: to be read on, or to
    /// know copies and archives of it that are not to be seen yet.
    fn remember_truncated(&self, old: &Source, plan: &Plan) {
        let mut left = old.reached();
        let copy = Registration::CopyOf(left.serial);
        let state = match plan.closed.get(&left.serial) {
            Some(Close::Unfinished) => SourceState::Open,
            Some(Close::Gone) if !plan.registered.iter().any(|(_, what)| *what == copy) => {
                SourceState::Finished
            }
            _ => return,
        };
        left.identity.inode = NO_INODE;
        left.identity.born_ns = 0;
        left.state = state;
        self.remember(left);
    }

    fn open_rotated(
        &mut self,
        mut content: Content,
        path: PathBuf,
        from: From,
        found: &Found,
    ) -> io::Result<()> {
        let (checkpoint, look) = self.checkpoint_for(&mut content, from, found)?;
        // Quiet since its last change, as far as the clocks agree.
        let age_ms = now_ms().saturating_sub(look.modified_ns / 1_000_000);
        let quiet = Duration::from_millis(u64::try_from(age_ms).unwrap_or(0));
        let since = Instant::now().checked_sub(quiet.min(self.log.rotate_wait));
        let since = since.unwrap_or_else(Instant::now);
        self.push(content, path.into(), checkpoint, look, Some(since));
        Ok(())
    }

    /// The checkpoint that `content` is read from, and a look at it.
    fn checkpoint_for(
        &self,
        content: &mut Content,
        from: From,
        found: &Found,
    ) -> io::Result<(Checkpoint, Look)> {
        let serial = match from {
            From::Start => return fresh(&self.path, content, 0),
            From::End => {
                let look = content.look()?;
                // What was written since the path was found is wanted.
                let found = self.stat_when_found.as_deref();
                let found = found.filter(|seen| seen.inode == look.inode && content.can_change());
                let size = match found {
                    Some(found) => found.size.min(look.size),
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
        let look = Look {
            size: content.size()?,
            ..content.look()?
        };
        let earlier = self.stands_earlier(known, content, &look)?;
        let mut checkpoint = Checkpoint {
            identity: known.identity.moved_to(&look),
            path: self.path.clone(),
            serial: known.serial,
            ..earlier.unwrap_or_else(|| known.clone())
        };
        if checkpoint.offset == 0 && !checkpoint.is_blank() {
            // A copy may end before the bytes that the fingerprint of its original covers, and is held to its own.
            checkpoint.identity.fingerprint = identify(content)?.0;
        }
        Ok((checkpoint, look))
    }

    /// A checkpoint of the same file that has not come as far as `known`: where a glob matches rotated names too, two
    /// paths may have one. The later one begins where all that was read by the other is on its way, and a crash may
    /// come before that is acknowledged.
    fn stands_earlier(
        &self,
        known: &Checkpoint,
        content: &mut Content,
        look: &Look,
    ) -> io::Result<Option<Checkpoint>> {
        let (mut here, _) = self.shared.registry.of_inode(look.inode);
        here.retain(|c| c.is_unfinished() && c.offset < known.offset && is_same_inode(c, look));
        let matches = matches_of(&here, content, look)?;
        here.retain(|c| matches.iter().any(|m| m.serial == c.serial));
        Ok(here.into_iter().min_by_key(|c| c.offset))
    }

    /// Adds a source. `false`: another tailer has the file open.
    fn push(
        &mut self,
        content: Content,
        at: Arc<Path>,
        checkpoint: Checkpoint,
        look: Look,
        detached_since: Option<Instant>,
    ) -> bool {
        // What is read again was not finished after all, whatever was thought of it.
        let mut checkpoint = Checkpoint {
            state: SourceState::Open,
            ..checkpoint
        };
        let seen = checkpoint.size;
        if !checkpoint.is_blank() {
            (checkpoint.size, checkpoint.modified_ns) = (look.size, look.modified_ns);
        }
        let Some((checkpoint, replaces)) = self.shared.registry.open(checkpoint) else {
            return false;
        };
        let level = match self.shared.turns.follows_few() {
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
        let saved = look.size.max(checkpoint.offset);
        if seen > saved {
            self.lose(seen - saved, saved, TRUNCATED_AWAY);
        }
        let unread = look.size.saturating_sub(checkpoint.offset);
        self.shared.metrics.to_read_bytes.add(unread);
        let framer = Framer::new(self.log.max_line_bytes, self.log.strip_cr);
        let mut source = Source::new(content, at, checkpoint, &look, framer);
        if let Err(error) = source.count_sent_pieces() {
            self.trouble.note(&self.path.clone(), &error);
        }
        source.detached_since = detached_since;
        source.watch =
            self.shared
                .watches
                .watch_file(source.content.file(), &source.opened_path, &self.waker);
        let _ = self.progress.send(Progress::Opened {
            source: source.id,
            checkpoint: source.checkpoint.clone(),
            replaces,
            size: source.shared_size.clone(),
        });
        self.sources.push_back(source);
        true
    }

    fn register(&mut self, found: &mut Found, plan: &Plan) {
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
        let look = found.seen.candidates[at].look;
        let CandidateFile { path, content } = &mut found.files[at];
        let content = content.as_mut();
        let (state, content) = match (registration, content) {
            (Registration::Unread, _) => {
                let is_archive = found.seen.candidates[at].is_archive;
                return Ok(Some(Checkpoint {
                    // How much an archive holds is not known.
                    size: if is_archive { 0 } else { look.size },
                    ..self.unread(&look)
                }));
            }
            (_, None) => return Ok(None),
            (Registration::Skipped, Some(content)) => (SourceState::Skipped, content),
            (Registration::CopyOf(_), Some(content)) => (SourceState::Finished, content),
            (Registration::OfItself, Some(content)) => {
                let path: Arc<Path> = path.as_path().into();
                return Ok(Some(Checkpoint {
                    // Its tailer has not seen it: it says nothing about when another one was rotated away.
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
            identity: Identity {
                fingerprint,
                ..identity_of(&look)
            },
            offset: end,
            size: end,
            trace: content.trace_before(end, Trace::MAX_LEN.min(end as usize) as u8)?,
            state,
            ..self.unread(&look)
        }))
    }

    /// A checkpoint for a file that cannot be read yet.
    fn unread(&self, look: &Look) -> Checkpoint {
        Checkpoint {
            path: self.path.clone(),
            identity: identity_of(look),
            offset: 0,
            size: 0,
            trace: Trace::default(),
            marks: Marks::default(),
            state: SourceState::Open,
            serial: 0,
            modified_ns: look.modified_ns,
        }
    }

    fn remember(&self, checkpoint: Checkpoint) {
        let registered = self.shared.registry.register(checkpoint);
        let _ = self.progress.send(Progress::Registered(registered));
    }

    /// Remembers a file unless its own tailer has come first.
    fn remember_unknown(&self, checkpoint: Checkpoint) {
        if let Some(registered) = self.shared.registry.register_unknown(checkpoint) {
            let _ = self.progress.send(Progress::Registered(registered));
        }
    }

    fn forget(&self, serial: u64) {
        self.shared.registry.remove(serial);
        let _ = self.progress.send(Progress::Forgotten { serial });
    }

    /// What the next look needs to know of this one.
    fn note_what_is_there(&mut self, found: &Found, plan: &Plan) {
        let seen = &found.seen;
        if !seen.is_incomplete {
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
            (Some((path, error)), _) => self.trouble.note(path, error),
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
            let is_at = |look: &Look| is_same_inode(checkpoint, look);
            let candidates = &mut seen.candidates.iter();
            candidates
                .any(|c| is_at(&c.look) || c.matches.iter().any(|m| m.serial == checkpoint.serial))
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

fn identity_of(look: &Look) -> Identity {
    Identity {
        inode: look.inode,
        born_ns: look.born_ns,
        fingerprint: Fingerprint::default(),
    }
}

/// A checkpoint at `offset` for content that was never read, and a look at that.
pub(super) fn fresh(
    path: &Arc<Path>,
    content: &mut Content,
    offset: u64,
) -> io::Result<(Checkpoint, Look)> {
    let size = content.size()?;
    let (fingerprint, look) = identify(content)?;
    let look = match content.can_change() {
        true => look,
        false => Look { size, ..look },
    };
    let checkpoint = Checkpoint {
        path: path.clone(),
        identity: Identity {
            inode: look.inode,
            born_ns: look.born_ns,
            fingerprint,
        },
        offset,
        size: look.size,
        trace: content.trace_before(offset, Trace::MAX_LEN.min(offset as usize) as u8)?,
        marks: Marks::default(),
        state: SourceState::Open,
        serial: 0,
        modified_ns: look.modified_ns,
    };
    Ok((checkpoint, look))
}

/// How the content of a file begins, and a look at that same content.
///
/// Between a look and a read the file may be truncated and written again, so the beginning is read on both
/// sides of the look. A file that was empty has no content yet.
fn identify(content: &mut Content) -> io::Result<(Fingerprint, Look)> {
    let mut before = content.head()?;
    if !content.can_change() {
        return Ok((Fingerprint::of_written(&before), content.look()?));
    }
    for _ in 0..MOST_TRUNCATIONS {
        let look = content.look()?;
        let after = content.head()?;
        let is_same = match before.is_empty() {
            true => look.size == 0,
            false => look.size >= before.len() as u64 && after.starts_with(&before),
        };
        if is_same {
            return Ok((Fingerprint::of_written(&before), look));
        }
        before = after;
    }
    Err(io::Error::other("is truncated faster than it can be read"))
}

/// How often everything is looked at while names move on.
const ATTEMPTS: usize = 20;
/// How often a file is looked at that changes from one look to the next.
const MOST_TRUNCATIONS: usize = 100;
