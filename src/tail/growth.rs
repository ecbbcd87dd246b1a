//! What has come to the sources of a tailer since they were looked at.

use std::io;
use std::time::Instant;

use crossbeam_channel::Sender;

use super::clock::now_ms;
use super::compare::{Probe, fresh, is_absence, verdict_on};
use super::log_file::LogFile;
use super::observation::Verdict;
use super::recognise::{ContentMatch, content_of, is_same_inode};
use super::source::Source;
use super::{Shared, Tailer};
use crate::identity::{FileIdentity, FileStat, Fingerprint};
use crate::progress::{Checkpoint, Progress};

impl Tailer {
    /// Whether the path or the content of a source is not what it was. A source that has only grown is noted. Where another
    /// tailer asks, that what grows is still what was read is seen now, and not when the rest is read.
    pub(super) fn has_changed(&mut self, is_asked: bool) -> io::Result<bool> {
        let mut at_path = None;
        match FileStat::at_path(&self.path) {
            Ok(stat) => {
                let current = self.sources.back().filter(|_| self.has_current);
                let is_current = current.is_some_and(|s| is_same_inode(&s.checkpoint, &stat));
                if !is_current && !self.is_read_elsewhere(&stat) {
                    return Ok(true);
                }
                at_path = Some(stat).filter(|_| is_current);
            }
            // Where the path leads nowhere, a file that came and was rotated away between two looks left
            // nothing there: what lies beside the path is looked at as long as its older ones are.
            Err(error) if is_absence(&error) => {
                if !self.sources.is_empty() || self.read_elsewhere.is_some() {
                    return Ok(true);
                }
            }
            // It cannot be told what lies there: nothing follows from that.
            Err(error) => return Err(error),
        }
        let current = self.sources.back().filter(|_| self.has_current);
        // What changes it from now on may come after it was rotated away.
        self.in_place_at = current.map(|s| (Instant::now(), now_ms(), s.verified_ns()));
        if let Some(stat) = at_path.filter(|_| !is_asked)
            && self.sources.len() == 1
            && let Some(source) = self.sources.back_mut()
            && source.has_only_grown(&stat)
        {
            source.expect_growth();
            note_growth(source, &stat, &self.shared, &self.progress)?;
            return Ok(false);
        }
        Ok(!self.note_sizes(0)?)
    }

    /// An overlay copies a file of a lower layer up when it is first written to: what lies at the path, with this `stat`,
    /// has the same number and the same content, and another time of birth. It is read on, from where it lies now.
    pub(super) fn note_copied_up(&mut self, stat: &FileStat) -> io::Result<()> {
        let current = self.sources.back_mut().filter(|_| self.has_current);
        let is_born_anew = |source: &&mut Source| {
            let identity = &source.checkpoint.identity;
            identity.inode == stat.inode && identity.born_ns != stat.born_ns && source.position > 0
        };
        let Some(source) = current.filter(is_born_anew) else {
            return Ok(());
        };
        // What cannot be opened is told about by the look that follows.
        let opened = LogFile::open(&self.path, self.log.follow_links);
        let is_it = |opened: &FileStat| is_same_birth(opened, stat) && opened.born_ns != 0;
        let Some((mut content, opened)) = opened.ok().flatten().filter(|(_, o)| is_it(o)) else {
            return Ok(());
        };
        let mut probe = Probe::new(&mut content, opened.size);
        if content_of(&source.checkpoint_now(), &mut probe)? != ContentMatch::Continues {
            return Ok(());
        }
        source.content = content;
        let identity = FileIdentity {
            born_ns: opened.born_ns,
            ..source.checkpoint.identity
        };
        tell_identity(source, identity, &self.shared, &self.progress);
        Ok(())
    }

    /// Notes how far sources have grown, all but the `newest`; false if the content of one is not what it was.
    ///
    /// The newest first: what was written to an older one before is seen then, and read before.
    pub(super) fn note_sizes(&mut self, newest: usize) -> io::Result<bool> {
        let Tailer {
            sources,
            shared,
            progress,
            ..
        } = self;
        let rotated = sources.len() - usize::from(self.has_current);
        let mut are_known = true;
        for (at, source) in sources.iter_mut().enumerate().rev().skip(newest) {
            match verdict_on(source)? {
                (Verdict::Intact, stat) => note_growth(source, &stat, shared, progress)?,
                (Verdict::Begun, _) if at < rotated => {
                    let begun = fresh(&self.path, &mut source.content, 0)?;
                    note_begun(source, &begun, shared, progress);
                }
                _ => are_known = false,
            }
        }
        Ok(are_known)
    }
}

/// Records a stat of content that may have grown.
pub(super) fn note_growth(
    source: &mut Source,
    stat: &FileStat,
    shared: &Shared,
    progress: &Sender<Progress>,
) -> io::Result<()> {
    if (stat.size, stat.modified_ns) != (source.size, source.modified_ns)
        && let Some(since) = &mut source.detached_since
    {
        *since = Instant::now();
    }
    if stat.size > source.size {
        shared.metrics.has_grown.set();
    }
    source.record_stat(stat);
    if source.position == 0
        && let Some(fingerprint) = grown_fingerprint(source)?
    {
        // It may be truncated before the first byte is read, and its copy be looked for.
        grow_fingerprint(source, fingerprint, shared, progress);
    }
    Ok(())
}

/// Notes the first content of a source, `begun` with it.
pub(super) fn note_begun(
    source: &mut Source,
    begun: &(Checkpoint, FileStat),
    shared: &Shared,
    progress: &Sender<Progress>,
) {
    let (checkpoint, stat) = begun;
    if checkpoint.identity.fingerprint.len > 0 {
        grow_fingerprint(source, checkpoint.identity.fingerprint, shared, progress);
    }
    if let Some(since) = &mut source.detached_since {
        *since = Instant::now();
    }
    shared.metrics.has_grown.set();
    source.record_stat(stat);
}

/// The fingerprint, if it covers more of the file than before.
pub(super) fn grown_fingerprint(source: &mut Source) -> io::Result<Option<Fingerprint>> {
    let known = &source.checkpoint.identity.fingerprint;
    if known.is_full() || u64::from(known.len) >= source.size {
        return Ok(None);
    }
    let known = *known;
    let head = source.content.head()?;
    // NULs before the position stay what they are.
    let passed = usize::try_from(source.position).unwrap_or(usize::MAX);
    let settled = &head[..passed.min(head.len())];
    let grown = Fingerprint::of_written(&head);
    let grown = if settled.len() > usize::from(grown.len) {
        Fingerprint::of(settled)
    } else {
        grown
    };
    Ok((grown.len > known.len && known.matches(&head)).then_some(grown))
}

/// The same after `data` was read from `start` on.
pub(super) fn grown_by(
    source: &mut Source,
    start: u64,
    data: &[u8],
) -> io::Result<Option<Fingerprint>> {
    let known = &source.checkpoint.identity.fingerprint;
    let goes_on = u64::from(known.len) == start && (start == 0 || known.has_steps());
    if goes_on && !known.is_full() && !data.is_empty() {
        // What was read need not be read once more.
        return Ok(Some(known.extended(data)));
    }
    grown_fingerprint(source)
}

/// The first bytes of a source are better known.
pub(super) fn grow_fingerprint(
    source: &mut Source,
    fingerprint: Fingerprint,
    shared: &Shared,
    progress: &Sender<Progress>,
) {
    let identity = FileIdentity {
        fingerprint,
        ..source.checkpoint.identity
    };
    tell_identity(source, identity, shared, progress);
}

fn is_same_birth(one: &FileStat, other: &FileStat) -> bool {
    (one.inode, one.born_ns) == (other.inode, other.born_ns)
}

/// The file of a source is better known now.
fn tell_identity(
    source: &mut Source,
    identity: FileIdentity,
    shared: &Shared,
    progress: &Sender<Progress>,
) {
    source.checkpoint.identity = identity;
    let serial = source.checkpoint.serial;
    shared.registry.update_identity(serial, identity);
    let _ = progress.send(Progress::Known {
        source: source.id,
        identity,
    });
}
