//! What lies at the position of a source and behind it: bytes that are compared as they are read, lines without an end,
//! NULs.

use std::io;
use std::time::Instant;

use super::Source;
use super::outcome::{ReadOutcome, Unended, Wanted};
use crate::batch::{Span, TailChecksum};
use crate::record::framing::Growth;
use crate::tail::nuls::{self, Behind};

impl Source {
    /// Looks at what lies behind a line without an end: of the `count` bytes from the position on, the first
    /// `text` are no NULs that might not be written yet.
    pub(super) fn look_behind(
        &mut self,
        wanted: &mut Wanted,
        text: usize,
        count: usize,
        growth: Growth,
    ) -> io::Result<Unended> {
        let Wanted { until, end, .. } = *wanted;
        let (text_end, read_to) = (self.position + text as u64, self.position + count as u64);
        self.no_newline_before = text_end;
        if text == count && read_to < until {
            // Either the budget gave less than was wanted, or the line is longer than usual.
            let unread = usize::try_from(until - self.position).unwrap_or(usize::MAX);
            wanted.most = self.framer.decisive_bytes();
            wanted.least = unread.min(wanted.most);
            return Ok(Unended::WantsMore);
        }
        let partial = text as u64;
        if text == count && until == end {
            if growth == Growth::Possible && text > 0 && self.await_line_end(until, Instant::now())
            {
                return Ok(Unended::TimedOut);
            }
            return Ok(Unended::Read(ReadOutcome::End { partial }));
        }
        let behind = self
            .nuls
            .behind(&mut self.content, text_end, (read_to, end), growth)?;
        match behind {
            Behind::End if growth == Growth::Possible || text == 0 => {
                self.unended = None;
                self.show_size();
                Ok(Unended::Read(ReadOutcome::End { partial }))
            }
            Behind::Hole(next) if text == 0 => self.skip_to(next).map(Unended::Read),
            Behind::End | Behind::Hole(_) => Ok(Unended::LineEnds),
            Behind::Inside => {
                wanted.until = self.nuls.next_hole(&self.content, self.position).min(end);
                wanted.most = wanted.most.max(self.framer.decisive_bytes());
                Ok(Unended::WantsMore)
            }
        }
    }

    /// Moves the position over the NULs before `text`.
    #[cold]
    pub(super) fn skip_to(&mut self, text: u64) -> io::Result<ReadOutcome> {
        if !self.is_unchanged()? {
            return Ok(ReadOutcome::Changed);
        }
        let tail_checksum = nuls::checksum_behind(&mut self.content, self.position, text)?;
        let Some(tail_checksum) = tail_checksum else {
            return Ok(ReadOutcome::Changed);
        };
        let span = Span {
            source: self.id,
            start: self.position,
            end: text,
            tail_checksum,
        };
        self.framer.end_line();
        self.nuls.settle();
        self.marks.add(self.position, self.tail_checksum);
        (self.position, self.no_newline_before) = (text, text);
        self.tail_checksum = tail_checksum;
        Ok(ReadOutcome::Skipped(span))
    }

    /// Fills `data` from the position on; returns how many bytes there were. The bytes before the
    /// position are read with them and compared, in the same system call, so that a truncation
    /// between a stat and a read cannot slip through: `None` if they are not what was read. At the
    /// beginning of the file, the bytes themselves are compared with what is known of them.
    pub(super) fn fill(&mut self, data: &mut [u8]) -> io::Result<Option<usize>> {
        let mut before = [0u8; TailChecksum::MAX_LEN];
        let before = &mut before[..usize::from(self.tail_checksum.len).min(TailChecksum::MAX_LEN)];
        let start = self.position - before.len() as u64;
        let count = self.content.read_two(before, data, start)?;
        let Some(count) = count.checked_sub(before.len()) else {
            return Ok(None);
        };
        let is_unchanged = match self.position {
            0 => self.begins_as_known(&data[..count])?,
            _ => TailChecksum::of(before) == self.tail_checksum,
        };
        if is_unchanged {
            self.verified = None;
        }
        Ok(is_unchanged.then_some(count))
    }
}
