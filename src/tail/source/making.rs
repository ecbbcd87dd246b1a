//! Making records of the lines that were cut: what is sent of them, and what waits for more.

#[cfg(test)]
pub(super) mod feed;
#[cfg(test)]
mod tests;

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Source;
use super::outcome::{Chunk, Pending, ReadOutcome, Wanted};
use crate::batch::{Destination, Framing, Span, TailChecksum};
use crate::budget::Permit;
use crate::buffer::{Buffer, BufferPool};
use crate::record::RecordConfig;
use crate::record::counters::RecordCounters;
use crate::record::framing::{DataEnd, Framed, Framer};
use crate::record::recorder::{Content, FileFacts, Input, Made, Recorder};
use crate::record::wide::ByteOrder;

/// Whether what may go on is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::tail) enum Patience {
    /// As long as the section says.
    Configured,
    /// Not at all: nobody looks again.
    None,
}

impl Source {
    /// Whether pieces of an event were sent, and others will come.
    pub(in crate::tail) fn is_inside_event(&self) -> bool {
        let recorder = self.recorder.as_ref();
        self.framer.is_inside_line() || recorder.is_some_and(|recorder| recorder.is_inside_event())
    }

    /// From the position on it is cut by `framer`, into lines as they are.
    pub(in crate::tail) fn begin_anew(&mut self, framer: Framer) {
        (self.framer, self.recorder) = (framer, None);
        (self.pending, self.unended, self.undecided_bytes) = (None, None, 0);
        self.no_newline_before = self.position;
    }

    /// What may go on is not waited for.
    pub(in crate::tail) fn do_not_wait(&mut self) {
        if let Some(recorder) = &mut self.recorder {
            recorder.do_not_wait();
        }
    }

    /// Has records made of all that is cut from now on, as `config` says.
    pub(in crate::tail) fn make_records(
        &mut self,
        config: &Arc<RecordConfig>,
        counters: &Arc<RecordCounters>,
        destination: &Arc<Destination>,
        patience: Patience,
        pool: &Arc<BufferPool>,
    ) -> io::Result<()> {
        let context = Recorder::context_bytes(config);
        let position = self.position;
        let (mut head, mut before) = (Vec::new(), Vec::new());
        // Where they cannot be read there is a recorder all the same: without one, nothing would be masked.
        let mut result = Ok(());
        let mut read = |from, to| {
            let bytes = self.bytes(from, to);
            bytes.unwrap_or_else(|error| {
                result = Err(error);
                Vec::new()
            })
        };
        if config.looks_around() {
            head = read(0, position.min(context));
            before = read(position.saturating_sub(context), position);
        }
        let begin = match config.encoding.is_wide() {
            true => read(0, 2),
            false => Vec::new(),
        };
        if config.encoding.is_wide() && head.len() < 2 {
            head.clone_from(&begin);
            head.truncate(usize::try_from(position).unwrap_or(2));
        }
        let identity = self.checkpoint.identity;
        let mut recorder = Recorder::new(
            config,
            counters,
            &FileFacts {
                inode: identity.inode.inode,
                identity: identity.inode.inode ^ identity.born_ns.unsigned_abs().rotate_left(32),
                position: self.position,
                head: &head,
                before: &before,
                destination,
            },
            pool,
        );
        if patience == Patience::None {
            recorder.do_not_wait();
        }
        let order = recorder.byte_order(&begin);
        self.framer.set_byte_order(order);
        self.recorder = Some(Box::new(recorder));
        result
    }

    /// The bytes from `from` to `to`, as many as there are.
    fn bytes(&mut self, from: u64, to: u64) -> io::Result<Vec<u8>> {
        let len = usize::try_from(to.saturating_sub(from)).unwrap_or(0);
        let mut bytes = vec![0; len];
        let count = self.content.read_at(&mut bytes, from)?;
        bytes.truncate(count);
        Ok(bytes)
    }

    /// Where the line begins that the position is in, of 16-bit text.
    pub(super) fn wide_line_start(&mut self, order: ByteOrder) -> io::Result<u64> {
        let mut start = self.position;
        while start > 0 {
            let from = start.saturating_sub(WIDE_STEP) & !1;
            let block = self.bytes(from, start)?;
            if let Some(end) = order.find_last_line_end(&block) {
                return Ok(from + end as u64);
            }
            start = from;
        }
        Ok(0)
    }

    /// Goes on in the line that begins at `line_start`, if the position is not there.
    pub(super) fn resume_line(&mut self, line_start: u64) -> io::Result<()> {
        self.framer.resume_inside(self.position - line_start);
        if line_start == self.position || self.recorder.is_none() {
            return Ok(());
        }
        let piece_end = line_start + self.framer.max_line_bytes() as u64;
        let first = self.bytes(line_start, piece_end.min(self.position))?;
        if let Some(recorder) = &mut self.recorder {
            recorder.resume_line(&first, line_start);
        }
        Ok(())
    }

    /// The file begins with `data`, if nothing of it was read yet: it may tell how it is written.
    #[inline]
    pub(super) fn note_byte_order(&mut self, data: &[u8]) {
        if self.position == 0
            && let Some(recorder) = &mut self.recorder
        {
            let order = recorder.byte_order(data);
            self.framer.set_byte_order(order);
        }
    }

    /// When what waits for more of its event or line goes out without it.
    pub(in crate::tail) fn pending_due(&self) -> Option<Instant> {
        let recorder = self.recorder.as_ref();
        let event = self.pending.as_ref().zip(recorder);
        let event = event.map(|(pending, recorder)| pending.since + recorder.patience());
        let line = self.unended.as_ref().zip(self.line_timeout);
        let line = line.map(|(unended, timeout)| unended.since + timeout);
        event.into_iter().chain(line).min()
    }

    /// Sends a line without a newline after so long at the end of the file.
    pub(in crate::tail) fn set_line_timeout(
        &mut self,
        timeout: Option<Duration>,
        patience: Patience,
    ) {
        self.line_timeout = timeout.map(|timeout| match patience {
            Patience::Configured => timeout,
            Patience::None => Duration::ZERO,
        });
    }

    /// The file ends at `until`, within a line. Whether that has been so for as long as is waited.
    pub(super) fn await_line_end(&mut self, until: u64, now: Instant) -> bool {
        let Some(timeout) = self.line_timeout else {
            return false;
        };
        let since = match &self.unended {
            Some(unended) if unended.until == until => unended.since,
            _ => now,
        };
        self.unended = Some(Pending { until, since });
        now >= since + timeout
    }

    /// How long the next of the bytes before `end` must wait, for the rate that the section allows. Nothing waits where
    /// there is nothing to send.
    pub(in crate::tail) fn rate_wait(&mut self, end: u64, now: Instant) -> Option<Duration> {
        let recorder = self.recorder.as_mut()?;
        match self.no_newline_before >= end {
            true => None,
            false => recorder.rate_wait(now),
        }
    }

    /// Makes records of the lines that `framed` cuts off `data`. `None` if more has to be read to tell where an event
    /// ends.
    pub(super) fn make(
        &mut self,
        framed: &Framed,
        (data, text, permit): (Buffer, usize, Permit),
        end: DataEnd,
        wanted: &mut Wanted,
        pool: &Arc<BufferPool>,
    ) -> Option<ReadOutcome> {
        let recorder = self.recorder.as_mut()?;
        let now = Instant::now();
        let (bytes, end) = match framed.framing {
            Framing::Lines => match recorder.rate_lines(&data[..framed.bytes], now) {
                bytes if bytes < framed.bytes => (bytes, DataEnd::MoreBehind),
                bytes => (bytes, end),
            },
            _ => (framed.bytes, end),
        };
        let until = self.position + bytes as u64;
        let waited = match &self.pending {
            Some(pending) if pending.until == until => pending.since,
            _ => now,
        };
        let is_complete = match end {
            DataEnd::Finished => true,
            DataEnd::MayGrow => now >= waited + recorder.patience(),
            // What lies behind is a line beyond the bound, and an event ends before it.
            DataEnd::MoreBehind => data.len() - bytes >= self.framer.decisive_bytes(),
        };
        let made = recorder.make(&Input {
            data: &data[..bytes],
            behind: &data[bytes..text.max(bytes)],
            framing: &framed.framing,
            start: self.position,
            is_complete,
        });
        if made.bytes > 0 {
            return Some(self.take_made(made, data, permit, pool));
        }
        self.undecided_bytes = data.len();
        if end == DataEnd::MayGrow {
            self.pending = Some(Pending {
                until,
                since: waited,
            });
            self.no_newline_before = self.position + text as u64;
            let partial = text as u64;
            return Some(ReadOutcome::End { partial });
        }
        // It is longer than what was read.
        let unread = usize::try_from(wanted.until - self.position).unwrap_or(usize::MAX);
        wanted.most = (2 * data.len()).max(self.framer.decisive_bytes());
        wanted.least = unread.min(wanted.most);
        None
    }

    /// Counts as read what records were made of.
    fn take_made(
        &mut self,
        made: Made,
        mut data: Buffer,
        mut permit: Permit,
        pool: &Arc<BufferPool>,
    ) -> ReadOutcome {
        let start = self.position;
        (self.pending, self.unended) = (None, None);
        self.undecided_bytes = 0;
        self.marks.add(start, self.tail_checksum);
        self.position += made.bytes as u64;
        self.no_newline_before = self.position;
        self.tail_checksum = TailChecksum::of(&data[..made.bytes]);
        let span = Span {
            source: self.id,
            start,
            end: self.position,
            tail_checksum: self.tail_checksum,
        };
        if let Some(framing) = made.as_read {
            data.truncate(made.bytes);
            permit.shrink_to(made.bytes);
            let chunk = Chunk {
                destination: None,
                start,
                data,
                framing,
                permit,
            };
            return ReadOutcome::Made(span, vec![chunk]);
        }
        // A buffer of which little is left would take more memory than is counted.
        let is_most_kept = match &made.runs[..] {
            [run] => {
                matches!(&run.content, Content::Kept(kept) if 2 * bytes_of(kept) >= data.len())
            }
            _ => false,
        };
        let chunks = made.runs.into_iter().map(|run| {
            let made = match run.content {
                Content::Made(made) => made,
                Content::Kept(kept) if is_most_kept => {
                    move_together(&mut data, &kept);
                    std::mem::replace(&mut data, pool.buffer(0))
                }
                Content::Kept(kept) => copied(&data, &kept, pool),
            };
            Chunk {
                destination: run.destination,
                start: start + run.start as u64,
                // Buffers of what was made take the place of what was read.
                permit: permit.split_off(made.len()),
                data: made,
                framing: run.framing,
            }
        });
        let chunks = chunks.collect();
        ReadOutcome::Made(span, chunks)
    }
}

/// Bytes that are looked through at a time for the beginning of a line.
const WIDE_STEP: u64 = 64 << 10;

/// What is kept of `data`, in memory of its size.
fn copied(data: &[u8], kept: &[Range<usize>], pool: &Arc<BufferPool>) -> Buffer {
    let mut copy = pool.buffer(bytes_of(kept));
    let mut rest = &mut copy[..];
    for place in kept {
        let (here, behind) = rest.split_at_mut(place.len());
        here.copy_from_slice(&data[place.clone()]);
        rest = behind;
    }
    copy
}

fn bytes_of(kept: &[Range<usize>]) -> usize {
    kept.iter().map(ExactSizeIterator::len).sum()
}

/// Leaves of `data` what is kept.
fn move_together(data: &mut Buffer, kept: &[Range<usize>]) {
    let mut end = 0;
    for place in kept {
        if place.start > end {
            data.copy_within(place.clone(), end);
        }
        end += place.len();
    }
    data.truncate(end);
}
