//! One open file and how far it is read.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::clock::mtime_is_ambiguous;
use super::log_file::LogFile;
use super::nuls::Nuls;
use super::watch::FileWatch;
use crate::batch::{SourceId, TailChecksum};
use crate::budget::{Account, Budget, Permit};
use crate::buffer::{Buffer, BufferPool};
use crate::identity::{FileStat, Fingerprint};
use crate::metrics::SectionCounters;
use crate::progress::{Checkpoint, Marks, ShownSource};
use crate::record::framing::{DataEnd, Framed, Framer, Growth};
use crate::record::recorder::Recorder;

pub(super) mod making;
mod outcome;
mod place;
#[cfg(test)]
mod tests;

pub(super) use outcome::{Chunk, ReadOutcome};
use outcome::{Pending, Unended, Wanted};

/// One source: an open file, the place up to which it is read, and what it is recognised by.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) id: SourceId,
    pub(super) content: LogFile,
    /// Where it was opened, for messages.
    pub(super) opened_path: Arc<Path>,
    pub(super) checkpoint: Checkpoint,
    /// What the file held before it was truncated to nothing, as long as nothing is in it.
    pub(super) before: Option<Box<Checkpoint>>,
    /// For who writes the checkpoints.
    pub(super) shown: Arc<ShownSource>,
    /// Everything before is read and on its way.
    pub(super) position: u64,
    /// The bytes before `position`.
    pub(super) tail_checksum: TailChecksum,
    /// Places before `position`, to know a shorter copy again.
    marks: Marks,
    /// Size and time of the last change when it was last looked at: of the content that is being read, not
    /// of one that came after a truncation.
    pub(super) size: u64,
    pub(super) modified_ns: i64,
    /// `size` and `modified_ns` of the last stat that is known to be of this content, if a later one may not be.
    verified: Option<(u64, i64)>,
    /// The last stat was taken so soon after a change that another change may have the same time.
    mtime_is_ambiguous: bool,
    /// Cuts what follows on `position`.
    framer: Framer,
    /// Makes records of what it cuts, where these are not its lines as they are.
    recorder: Option<Box<Recorder>>,
    /// Whole lines whose event may go on.
    pending: Option<Pending>,
    /// The beginning of a line at the end of the file.
    unended: Option<Pending>,
    /// How long that waits for its newline; `None`: as long as it takes.
    line_timeout: Option<Duration>,
    /// So many bytes from the position on did not tell where an event ends: the next read must give as many.
    undecided_bytes: usize,
    /// From `position` to here there is no newline, and no NUL that is not written yet; never less than
    /// `position`.
    no_newline_before: u64,
    nuls: Nuls,
    /// Whether it was said that NULs are skipped.
    pub(super) has_warned_of_nuls: bool,
    /// Set when the file no longer lies at the path: since when it has been quiet.
    pub(super) detached_since: Option<Instant>,
    /// None: the kernel will not tell, so it has to be asked.
    pub(super) watch: Option<FileWatch>,
}

impl Source {
    pub(super) fn new(
        content: LogFile,
        opened_path: Arc<Path>,
        checkpoint: Checkpoint,
        stat: &FileStat,
        framer: Framer,
        counters: Arc<SectionCounters>,
    ) -> Self {
        // Of a file that was empty it is known when it was, and what it holds now is not its content yet.
        let (size, modified_ns) = match checkpoint.never_had_content() {
            true => (0, checkpoint.modified_ns),
            false => (stat.size, stat.modified_ns),
        };
        Source {
            id: SourceId::next(),
            content,
            opened_path,
            shown: Arc::new(ShownSource::new(counters, size)),
            position: checkpoint.offset,
            tail_checksum: checkpoint.tail_checksum,
            marks: checkpoint.marks.clone(),
            size,
            modified_ns,
            verified: None,
            mtime_is_ambiguous: mtime_is_ambiguous(modified_ns),
            framer,
            recorder: None,
            pending: None,
            unended: None,
            line_timeout: None,
            undecided_bytes: 0,
            no_newline_before: checkpoint.offset,
            nuls: Nuls::new(stat.is_sparse),
            has_warned_of_nuls: false,
            detached_since: None,
            watch: None,
            checkpoint,
            before: None,
        }
    }

    /// If the position is inside of a line, earlier pieces of it were sent: finds out how many.
    pub(super) fn count_sent_pieces(&mut self) -> io::Result<()> {
        if self.position == 0 {
            return Ok(());
        }
        if let Some(order) = self.framer.byte_order() {
            let line_start = self.wide_line_start(order)?;
            return self.resume_line(line_start);
        }
        // A hole ends a line, and one is beside the position: nothing of a line was sent.
        let mut beside = [1; 2];
        self.content.read_at(&mut beside, self.position - 1)?;
        if beside.contains(&0) {
            return Ok(());
        }
        let line_start = self.content.line_start_before(self.position)?;
        self.resume_line(line_start)
    }

    /// Whether the bytes before the position are still those that were read; if nothing was read yet,
    /// whether the file begins as it did.
    pub(super) fn is_unchanged(&mut self) -> io::Result<bool> {
        if !self.content.can_change() {
            return Ok(true);
        }
        if self.position == 0 {
            return self.begins_as_known(&[]);
        }
        Ok(self
            .content
            .checksum_before(self.position, self.tail_checksum.len)?
            == self.tail_checksum)
    }

    /// Whether the file, of which `data` are the first bytes (as many as were read), begins as it did.
    fn begins_as_known(&mut self, data: &[u8]) -> io::Result<bool> {
        let fingerprint = self.checkpoint.identity.fingerprint;
        if data.len() >= usize::from(fingerprint.len) && !data.is_empty() {
            return Ok(fingerprint.matches(data));
        }
        Ok(fingerprint.matches(&self.content.head()?))
    }

    /// How many bytes of what was seen are still there, where nothing of it was read and the file begins with `now`:
    /// a line without its newline may be cut before its first byte was read.
    pub(super) fn kept_bytes(&self, now: &Fingerprint) -> u64 {
        let seen = &self.checkpoint.identity.fingerprint;
        let is_cut = self.position == 0 && now.len < seen.len;
        match is_cut && seen.has_steps() && seen.agrees_with(now) {
            true => u64::from(now.len),
            false => 0,
        }
    }

    /// Whether nothing is known of the content: it was empty at every look.
    pub(super) fn never_had_content(&self) -> bool {
        self.position == 0 && self.checkpoint.identity.fingerprint.len == 0
    }

    /// Whether the content that was seen has gone since: the file is shorter than it was, or what was read
    /// of it is not there any more. If not, `stat` is one of the same content.
    pub(super) fn was_truncated(&mut self, stat: &FileStat) -> io::Result<bool> {
        Ok(self.content.can_change()
            && self.may_have_changed(stat)
            && (stat.size < self.size.max(self.position) || !self.is_unchanged()?))
    }

    /// Whether `stat`, of the path where the file lies, is one of the same file with something more to read. That
    /// what was read is still there is seen when that is read: see [`Source::read`].
    pub(super) fn has_only_grown(&self, stat: &FileStat) -> bool {
        let inode = self.checkpoint.identity.inode;
        self.content.can_change()
            && inode == stat.inode
            && self.position > 0
            && self.no_newline_before == self.position
            && stat.size > self.position
            && stat.size >= self.size
            && !stat.is_sparse
            && !self.nuls.are_likely()
    }

    /// Whether something may have been written or truncated since the last look.
    pub(super) fn may_have_changed(&self, stat: &FileStat) -> bool {
        self.mtime_is_ambiguous
            || self.verified.is_some()
            || (stat.size, stat.modified_ns) != (self.size, self.modified_ns)
    }

    /// The time of the last change that is known to be one of the content that is being read.
    pub(super) fn verified_ns(&self) -> i64 {
        self.verified
            .map_or(self.modified_ns, |(_, modified_ns)| modified_ns)
    }

    /// A read found other content: the next stat is not to be that of content with the same size and time.
    pub(super) fn suspect(&mut self) {
        self.mtime_is_ambiguous = true;
        if let Some((size, modified_ns)) = self.verified.take() {
            (self.size, self.modified_ns) = (size, modified_ns);
        }
    }

    /// The next stat to be recorded is of content that a read has yet to find to be the one that is being read.
    pub(super) fn expect_growth(&mut self) {
        self.verified.get_or_insert((self.size, self.modified_ns));
    }

    /// Where no read comes to find that growth which was noted is one of the content that is being read: finds out by
    /// what was read last. False if that is not there any more. Nothing is reported of growth that is not believed by then,
    /// should it be truncated away.
    pub(super) fn is_growth_its_own(&mut self) -> io::Result<bool> {
        if self.verified.is_none() {
            return Ok(true);
        }
        let is_its_own = self.is_unchanged()?;
        match is_its_own {
            true => self.verified = None,
            false => self.suspect(),
        }
        Ok(is_its_own)
    }

    /// Records a stat of the content that is being read.
    pub(super) fn record_stat(&mut self, stat: &FileStat) {
        (self.size, self.modified_ns) = (stat.size, stat.modified_ns);
        self.mtime_is_ambiguous = mtime_is_ambiguous(stat.modified_ns);
        self.nuls.note(stat.is_sparse);
        self.show_size();
    }

    /// Whether NULs lie behind what is read, in whose place text may appear without an event.
    pub(super) fn awaits_overwrite(&self) -> bool {
        self.nuls.await_overwrite()
    }

    /// Where the text ends, as far as it is known: what the file has lost if it goes away now lies before.
    pub(super) fn written_size(&self) -> u64 {
        self.nuls.written_size(self.size)
    }

    /// The file is finished, and so are the NULs that it ends with.
    pub(super) fn finish(&mut self) {
        self.nuls.settle();
        self.show_size();
    }

    /// What was not read of it is gone, or is another one's to read: until all that was read is acknowledged it is behind
    /// with that alone.
    pub(super) fn show_rest_gone(&self) {
        self.shown.show_size(self.position);
        self.shown.show_unended(0);
    }

    fn show_size(&self) {
        self.shown.show_size(self.written_size());
    }

    /// The checkpoint that it has when everything that was read is acknowledged.
    pub(super) fn checkpoint_now(&self) -> Checkpoint {
        Checkpoint {
            offset: self.position,
            size: self.written_size().max(self.position),
            tail_checksum: self.tail_checksum,
            marks: self.marks.clone(),
            modified_ns: self.modified_ns,
            ..self.checkpoint.clone()
        }
    }

    /// The file was cut, behind the position.
    pub(super) fn truncated_ahead(&mut self, stat: &FileStat) {
        self.record_stat(stat);
        // What follows on the cut was not seen yet.
        self.no_newline_before = self.position;
        self.nuls = Nuls::new(stat.is_sparse);
    }

    /// Reads the next batch from the bytes before `end`.
    pub(super) fn read(
        &mut self,
        end: u64,
        growth: Growth,
        account: &Arc<Account>,
        pool: &Arc<BufferPool>,
    ) -> io::Result<ReadOutcome> {
        if end <= self.position {
            self.unended = None;
            return Ok(ReadOutcome::End { partial: 0 });
        }
        let mut until = end;
        if self.nuls.are_likely() && !self.framer.is_wide() {
            let content = &mut self.content;
            match self.nuls.reach(content, self.position, end, growth)? {
                Some(reach) => until = reach,
                None => {
                    self.unended = None;
                    let partial = self.written_size().saturating_sub(self.position);
                    return Ok(ReadOutcome::End { partial });
                }
            }
        }
        let is_partial = self.no_newline_before > self.position;
        let decisive = self.framer.decisive_bytes();
        if is_partial
            && growth == Growth::Possible
            && self.pending_due().is_none_or(|due| due > Instant::now())
            && until == end
            && !self
                .nuls
                .may_line_end(&mut self.content, &mut self.no_newline_before, until)?
            && until - self.position < decisive as u64
        {
            let partial = until - self.position;
            match self.pending {
                None => drop(self.await_line_end(until, Instant::now())),
                Some(_) => self.unended = None,
            }
            return Ok(ReadOutcome::End { partial });
        }
        // A line that is known to be long is fetched in one go, everything else in usual steps.
        let is_long = is_partial || self.framer.is_inside_line();
        // With a small bound on lines a read must not fetch hundreds of pieces to keep one.
        let usual = match &self.recorder {
            // A read and what is made of it stay near the processor, and the latter has room in one buffer.
            Some(recorder) if recorder.adds_to_events() => BufferPool::BUFFER_BYTES / 2,
            _ => BufferPool::BUFFER_BYTES,
        };
        let usual = usual
            .min(self.framer.max_line_bytes().saturating_mul(8))
            .max(Budget::LEAST_BYTES);
        let usual = match self
            .recorder
            .as_mut()
            .and_then(|r| r.rate_bytes(Instant::now()))
        {
            Some(bytes) => usual.min(bytes.max(Budget::LEAST_BYTES)),
            None => usual,
        };
        let mut wanted = Wanted {
            until,
            end,
            most: if is_long { usual.max(decisive) } else { usual },
            least: Budget::LEAST_BYTES,
        };
        if self.undecided_bytes > 0 {
            let unread = usize::try_from(until - self.position).unwrap_or(usize::MAX);
            wanted.most = wanted.most.max(self.undecided_bytes + decisive);
            wanted.least = self.undecided_bytes.min(unread).max(wanted.least);
        }
        loop {
            if let Some(read) = self.attempt(&mut wanted, growth, account, pool)? {
                return Ok(read);
            }
        }
    }

    /// Reads once. `None` if that did not tell what to do and more is wanted now.
    fn attempt(
        &mut self,
        wanted: &mut Wanted,
        growth: Growth,
        account: &Arc<Account>,
        pool: &Arc<BufferPool>,
    ) -> io::Result<Option<ReadOutcome>> {
        let Wanted { until, end, .. } = *wanted;
        let unread = usize::try_from(until - self.position).unwrap_or(usize::MAX);
        if unread == 0 {
            // A hole.
            return Ok(match self.look_behind(wanted, 0, 0, growth)? {
                Unended::Read(read) => Some(read),
                Unended::LineEnds | Unended::TimedOut | Unended::WantsMore => None,
            });
        }
        let Some(permit) = account.acquire(unread.min(wanted.most), wanted.least) else {
            return Ok(Some(ReadOutcome::NoBudget));
        };
        let mut data = pool.buffer(permit.bytes());
        let count = self.fill(&mut data)?;
        if count != Some(data.len()) {
            return Ok(Some(ReadOutcome::Changed));
        }
        let count = data.len();
        self.note_byte_order(&data);
        if data.first() == Some(&0)
            && !self.framer.is_inside_line()
            && !self.framer.is_wide()
            && let Some(text) = self.nuls.text_behind(&self.content, self.position, &data)
        {
            return self.skip_to(text).map(Some);
        }
        let text = match data.last() {
            Some(0) if !self.framer.is_wide() => {
                let place = (self.position, end);
                self.nuls
                    .text_len(&mut self.content, place, &data, growth)?
            }
            _ => count,
        };
        let is_last = growth == Growth::Finished && self.position + text as u64 == end;
        let framed = if is_last {
            self.framer.frame_last(&data)
        } else {
            self.framer.frame(&data[..text])
        };
        let framed = match framed {
            Some(framed) => Some(framed),
            None => match self.look_behind(wanted, text, count, growth)? {
                Unended::Read(read) => return Ok(Some(read)),
                Unended::LineEnds => self.framer.frame_last(&data[..text]),
                Unended::TimedOut => match self.framer.frame_unended(&data[..text]) {
                    Some(framed) => Some(framed),
                    None => {
                        self.unended = None;
                        let partial = text as u64;
                        return Ok(Some(ReadOutcome::End { partial }));
                    }
                },
                Unended::WantsMore => None,
            },
        };
        let Some(framed) = framed else {
            return Ok(None);
        };
        if self.recorder.is_some() {
            let read_to = self.position + count as u64;
            let end = match read_to == until {
                true if is_last || until < end => DataEnd::Finished,
                true => DataEnd::MayGrow,
                false => DataEnd::MoreBehind,
            };
            return Ok(self.make(&framed, (data, text, permit), end, wanted, pool));
        }
        Ok(Some(self.take_lines(framed, data, permit)))
    }

    /// Counts as read what lies in a batch as it does in the file.
    #[inline]
    fn take_lines(&mut self, framed: Framed, mut data: Buffer, mut permit: Permit) -> ReadOutcome {
        let Framed { bytes, framing } = framed;
        data.truncate(bytes);
        permit.shrink_to(bytes);
        let start = self.position;
        self.marks.add(start, self.tail_checksum);
        self.position += bytes as u64;
        self.no_newline_before = self.position;
        self.unended = None;
        self.tail_checksum = TailChecksum::of(&data);
        ReadOutcome::Batch(Chunk {
            destination: None,
            start,
            data,
            framing,
            permit,
        })
    }
}
