//! Making records of the lines that were cut: what is sent of them, and what waits for more.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Source;
use super::outcome::{Chunk, Pending, ReadOutcome, Wanted};
use crate::batch::{Destination, Framing, Span, TailChecksum};
use crate::budget::Permit;
use crate::buffer::{Buffer, BufferPool};
use crate::record::RecordConfig;
use crate::record::counters::RecordCounters;
use crate::record::framing::{DataEnd, Framed};
use crate::record::recorder::{FileFacts, Input, Made, Recorder};

/// Whether what may go on is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::tail) enum Patience {
    /// As long as the section says.
    Configured,
    /// Not at all: nobody looks again.
    None,
}

impl Source {
    /// Has records made of all that is cut from now on, as `config` says.
    pub(in crate::tail) fn make_records(
        &mut self,
        config: &Arc<RecordConfig>,
        counters: &Arc<RecordCounters>,
        destination: &Arc<Destination>,
        patience: Patience,
    ) -> io::Result<()> {
        let context = Recorder::CONTEXT_BYTES as u64;
        let (mut head, mut before) = (Vec::new(), Vec::new());
        if config.looks_around() {
            head = self.bytes(0, self.position.min(context))?;
            before = self.bytes(self.position.saturating_sub(context), self.position)?;
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
        );
        if patience == Patience::None {
            recorder.do_not_wait();
        }
        let begin = match config.encoding.is_wide() {
            true => self.bytes(0, 2)?,
            false => Vec::new(),
        };
        let order = recorder.byte_order(&begin);
        self.framer.set_byte_order(order);
        self.recorder = Some(Box::new(recorder));
        Ok(())
    }

    /// The bytes from `from` to `to`, as many as there are.
    fn bytes(&mut self, from: u64, to: u64) -> io::Result<Vec<u8>> {
        let len = usize::try_from(to.saturating_sub(from)).unwrap_or(0);
        let mut bytes = vec![0; len];
        let count = self.content.read_at(&mut bytes, from)?;
        bytes.truncate(count);
        Ok(bytes)
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
        (data, permit): (Buffer, Permit),
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
            behind: &data[bytes..],
            framing: &framed.framing,
            start: self.position,
            is_complete,
        });
        if made.bytes > 0 {
            return Some(self.take_made(made, data, permit, pool));
        }
        if end == DataEnd::MayGrow {
            self.pending = Some(Pending {
                until,
                since: waited,
            });
            self.no_newline_before = self.position + data.len() as u64;
            let partial = data.len() as u64;
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
        // The records take the place of what was read.
        drop(data);
        let Some(recorder) = &self.recorder else {
            return ReadOutcome::Made(span, Vec::new());
        };
        let chunks = made.runs.into_iter().map(|run| {
            let bytes = recorder.made(&run);
            let mut data = pool.buffer(bytes.len());
            data.copy_from_slice(bytes);
            Chunk {
                destination: run.destination,
                start: start + run.start as u64,
                permit: permit.split_off(bytes.len()),
                data,
                framing: run.framing,
            }
        });
        let chunks = chunks.collect();
        ReadOutcome::Made(span, chunks)
    }
}
