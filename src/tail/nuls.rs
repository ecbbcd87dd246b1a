//! NUL bytes: those that are not written yet, those that never will be, and those of a line.
//!
//! - **Trailing NULs** are not written yet: a file that was allocated in advance, or is mapped into memory
//!   (log4j2's MemoryMappedFileAppender), ends with them, and its writer puts text in their place, without an
//!   event and without another size. The position stays before them, and they count neither as a line nor as
//!   lost. When the file is finished, they end it.
//! - **Holes** are skipped, with the NULs around them up to the next text: a writer that does not append
//!   (O_APPEND) goes on at its old offset after a truncation, a loss of power leaves them too. A hole ends a
//!   line. At the beginning of a file NULs are skipped even if they are no hole: one is shorter than a block, or
//!   the file system knows none.
//! - **NULs inside of a line** stay.
//!
//! A writer that overwrites stores the bytes of a line in any order. So where trailing NULs follow, text that
//! comes after a NUL is believed when a second look, [`DOUBT`] later, finds that NUL still there.

use std::io;
use std::time::{Duration, Instant};

use super::log_file::LogFile;
use crate::batch::TailChecksum;
use crate::record::framing::Growth;

/// What is known of the NULs of one source.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Nuls {
    /// Those that follow on what is written, as far as they were met.
    unwritten: Option<Unwritten>,
    /// Those before this offset belong to lines.
    belong_before: u64,
    /// The file has fewer blocks than its size takes.
    is_sparse: bool,
    /// The file system said of data that they are a hole.
    distrusts_holes: bool,
}

/// Trailing NULs.
#[derive(Debug, Clone, Copy)]
struct Unwritten {
    /// Where they begin; never before the position.
    from: u64,
    /// When they were last looked at, there was nothing else up to here.
    until: u64,
    /// The NUL at `from` has text behind it that is not believed yet: where that ends, and since when.
    doubt: Option<(u64, Instant)>,
}

/// What lies behind the text of a line that has no end yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Behind {
    /// NULs that are not written yet, or nothing.
    End,
    /// A hole, which ends the line, and text from this offset on.
    Hole(u64),
    /// NULs that belong to the line.
    Inside,
}

impl Nuls {
    /// Of a file at which nobody has read yet.
    pub(super) fn new(is_sparse: bool) -> Self {
        Nuls {
            is_sparse,
            ..Nuls::default()
        }
    }

    /// Notes whether the file has fewer blocks than its size takes.
    pub(super) fn note(&mut self, is_sparse: bool) {
        self.is_sparse = is_sparse;
    }

    /// Whether a read has to ask [`Nuls::reach`].
    #[inline]
    pub(super) fn are_likely(&self) -> bool {
        self.unwritten.is_some() || self.is_sparse
    }

    /// Whether NULs lie behind what is read, in whose place text may appear without an event.
    pub(super) fn await_overwrite(&self) -> bool {
        self.unwritten.is_some()
    }

    /// Whether those before `offset` belong to lines.
    pub(super) fn belong_to_lines_before(&self, offset: u64) -> bool {
        offset <= self.belong_before
    }

    /// Where the text of a file of `size` bytes ends, as far as it is known.
    pub(super) fn written_size(&self, size: u64) -> u64 {
        match &self.unwritten {
            Some(unwritten) if unwritten.until >= size => unwritten.from.min(size),
            _ => size,
        }
    }

    /// The file is finished, or goes on behind NULs that are skipped: none are awaited any more.
    pub(super) fn settle(&mut self) {
        self.unwritten = None;
    }

    /// Whether a line, which has no newline before `scanned`, may have one before `until`: looks through what was
    /// added to it, without reading it again. `scanned` stops before a NUL that is perhaps not written yet: a
    /// whole read tells.
    ///
    /// Not inlined: its window would lie on the stack of every thread that reads.
    #[inline(never)]
    pub(super) fn may_line_end(
        &self,
        content: &mut LogFile,
        scanned: &mut u64,
        until: u64,
    ) -> io::Result<bool> {
        let mut window = [0u8; WINDOW_BYTES];
        while *scanned < until {
            let want = usize::try_from(until - *scanned)
                .unwrap_or(usize::MAX)
                .min(window.len());
            let count = content.read_at(&mut window[..want], *scanned)?;
            let data = &window[..count];
            let after = *scanned + count as u64;
            let ends_with_nul = data.last() == Some(&0) && !self.belong_to_lines_before(after);
            if count == 0 || ends_with_nul || memchr::memchr(b'\n', data).is_some() {
                return Ok(true);
            }
            *scanned = after;
        }
        Ok(false)
    }

    /// Up to where a batch may be read of the bytes from `position` to `end`: to the next hole at most. `None` if
    /// nothing has come in the place of the NULs that are not written yet.
    #[cold]
    pub(super) fn reach(
        &mut self,
        content: &mut LogFile,
        position: u64,
        end: u64,
        growth: Growth,
    ) -> io::Result<Option<u64>> {
        if let Some(unwritten) = &mut self.unwritten {
            if position > unwritten.from {
                (unwritten.from, unwritten.doubt) = (position, None);
            }
            let Unwritten { from, until, .. } = *unwritten;
            let mut first = [1];
            content.read_at(&mut first, from)?;
            let is_known = first == [0] && end <= until && !self.is_believed(from);
            if is_known && growth == Growth::Possible {
                return Ok(None);
            }
            if from >= until {
                self.unwritten = None;
            }
        }
        Ok(Some(self.next_hole(content, position).min(end)))
    }

    /// The next hole, behind NULs that belong to a line; without one, the end of all files.
    pub(super) fn next_hole(&self, content: &LogFile, position: u64) -> u64 {
        if !self.is_sparse || self.distrusts_holes {
            return u64::MAX;
        }
        content.next_hole(position.max(self.belong_before))
    }

    /// Whether what lies behind the NUL at `at` was doubted, for long enough.
    fn is_believed(&self, at: u64) -> bool {
        let of_it = self.unwritten.filter(|unwritten| unwritten.from == at);
        of_it
            .and_then(|unwritten| unwritten.doubt)
            .is_some_and(|(_, since)| since.elapsed() >= DOUBT)
    }

    /// How many bytes of `data`, which lie at `position`, are text: all but trailing NULs. Where those are not
    /// written yet, the text ends at the first NUL until that is believed.
    #[cold]
    pub(super) fn text_len(
        &mut self,
        content: &mut LogFile,
        (position, end): (u64, u64),
        data: &[u8],
        growth: Growth,
    ) -> io::Result<usize> {
        let data_end = position + data.len() as u64;
        if self.belong_to_lines_before(data_end) {
            return Ok(data.len());
        }
        let text = without_trailing(data);
        let Some(first) = memchr::memchr(0, &data[..text]) else {
            return Ok(text);
        };
        let (at, text_end) = (position + first as u64, position + text as u64);
        if growth == Growth::Finished || at < self.belong_before {
            return Ok(text);
        }
        match self.unwritten {
            Some(Unwritten {
                from,
                doubt: Some((believed, _)),
                ..
            }) if from == at => {
                if self.is_believed(at) {
                    self.belong_before = believed;
                    return Ok(text);
                }
            }
            known => {
                let until = match known {
                    Some(known) => known.until,
                    None if next_text(content, data_end, end)?.is_some() => return Ok(text),
                    None => end,
                };
                self.unwritten = Some(Unwritten {
                    from: at,
                    until,
                    doubt: Some((text_end, Instant::now())),
                });
            }
        }
        Ok(first)
    }

    /// What lies behind the text of a line that ends at `text_end` without a newline. From there to
    /// `read_to` there are NULs, and `end` is where the file ends.
    #[cold]
    pub(super) fn behind(
        &mut self,
        content: &mut LogFile,
        text_end: u64,
        (read_to, end): (u64, u64),
        growth: Growth,
    ) -> io::Result<Behind> {
        // What was NUL at the last look and follows on NULs is still: text is written from the front.
        let known = self.unwritten.filter(|_| growth == Growth::Possible);
        if known.is_some_and(|known| known.doubt.is_some() && known.from == text_end) {
            return Ok(Behind::End);
        }
        let from = known.map_or(read_to, |known| read_to.max(known.until));
        let Some(text) = next_text(content, from, end)? else {
            self.unwritten = Some(Unwritten {
                from: text_end,
                until: end,
                doubt: None,
            });
            return Ok(Behind::End);
        };
        self.unwritten = None;
        if text == text_end {
            // The file system calls a hole what has data.
            self.distrusts_holes = true;
            return Ok(Behind::Inside);
        }
        if text_end == 0 || content.next_hole(text_end) < text {
            return Ok(Behind::Hole(text));
        }
        self.belong_before = text;
        Ok(Behind::Inside)
    }

    /// Up to where the NULs are skipped that `data`, which is the beginning of a line at `position`, begins with.
    #[cold]
    pub(super) fn text_behind(&self, content: &LogFile, position: u64, data: &[u8]) -> Option<u64> {
        let text = position + leading(data)? as u64;
        let is_first = position == 0 && (self.unwritten.is_none() || self.is_believed(0));
        (is_first || self.next_hole(content, position) < text).then_some(text)
    }
}

/// The checksum of the bytes before `text`, which follows on NULs from `position` on; `None` if they are none.
pub(super) fn checksum_behind(
    content: &mut LogFile,
    position: u64,
    text: u64,
) -> io::Result<Option<TailChecksum>> {
    let mut before = [0u8; TailChecksum::MAX_LEN];
    let len = before
        .len()
        .min(usize::try_from(text).unwrap_or(usize::MAX));
    let before = &mut before[..len];
    let count = content.read_at(before, text - len as u64)?;
    let skipped = usize::try_from(text - position).unwrap_or(usize::MAX);
    let is_nul = leading(&before[len - skipped.min(len)..]).is_none();
    Ok((count == len && is_nul).then(|| TailChecksum::of(before)))
}

/// Where the trailing NULs of the first `size` bytes begin.
pub(super) fn text_end(content: &mut LogFile, size: u64) -> io::Result<u64> {
    let mut window = vec![0; WINDOW_BYTES];
    let mut end = size;
    while end > 0 {
        let len = usize::try_from(end).unwrap_or(usize::MAX).min(window.len());
        let start = end - len as u64;
        let count = content.read_at(&mut window[..len], start)?;
        let text = without_trailing(&window[..count]);
        if text > 0 {
            return Ok(start + text as u64);
        }
        end = start;
    }
    Ok(0)
}

/// The first byte between `from` and `end` that is no NUL.
fn next_text(content: &mut LogFile, from: u64, end: u64) -> io::Result<Option<u64>> {
    let mut window = vec![0; WINDOW_BYTES];
    let mut at = from;
    while at < end {
        let len = usize::try_from(end - at)
            .unwrap_or(usize::MAX)
            .min(window.len());
        let count = content.read_at(&mut window[..len], at)?;
        if count == 0 {
            break;
        }
        if let Some(nuls) = leading(&window[..count]) {
            return Ok(Some(at + nuls as u64));
        }
        // Holes need not be read.
        match content.next_data(at + count as u64) {
            Some(data) => at = data,
            None => break,
        }
    }
    Ok(None)
}

/// How many NULs `data` begins with; `None` if there is nothing else.
fn leading(data: &[u8]) -> Option<usize> {
    // By blocks, which is many times as fast.
    let blocks = data.chunks(BLOCK.len());
    let at = BLOCK.len() * blocks.take_while(|block| BLOCK.starts_with(block)).count();
    let rest = data.get(at..)?;
    Some(at + rest.iter().position(|&byte| byte != 0)?)
}

/// How long `data` is without the NULs that it ends with.
fn without_trailing(data: &[u8]) -> usize {
    let blocks = data.rchunks(BLOCK.len());
    let nuls = BLOCK.len() * blocks.take_while(|block| BLOCK.starts_with(block)).count();
    let rest = &data[..data.len().saturating_sub(nuls)];
    rest.iter()
        .rposition(|&byte| byte != 0)
        .map_or(0, |at| at + 1)
}

/// How long text behind a NUL is doubted where NULs are overwritten.
const DOUBT: Duration = Duration::from_millis(500);
const WINDOW_BYTES: usize = 16 << 10;
const BLOCK: [u8; 64] = [0; 64];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nuls_at_both_ends_are_counted() {
        for len in [0, 1, 63, 64, 65, 200] {
            let nuls = vec![0; len];
            assert_eq!(leading(&nuls), None);
            assert_eq!(without_trailing(&nuls), 0);
            for at in 0..len {
                let mut data = nuls.clone();
                data[at] = b'x';
                assert_eq!(leading(&data), Some(at), "{len}");
                assert_eq!(without_trailing(&data), at + 1, "{len}");
            }
        }
    }
}
