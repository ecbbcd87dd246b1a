//! Why bytes of a file are in no record: nobody wrote them, the section drops them, they are dead letters, or nobody
//! can tell. What is left is missing.
//!
//! What a filter drops leaves nothing in Kafka. So the section's own rules are run over the bytes on disk again, and
//! only if they drop all of them, the bytes count as dropped. Where the file is gone, nobody can tell.

use std::fs::File as DiskFile;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use super::check::Checker;
use super::report::{Kind, Reason, Span};
use crate::batch::Destination;
use crate::buffer::BufferPool;
use crate::config::StartAt;
use crate::record::framing::Framer;
use crate::record::recorder::{FileFacts, Input, Recorder};

/// A record that no broker took.
#[derive(Debug)]
pub(super) struct DeadLetter {
    /// The path as it is written there.
    path: String,
    /// Where its batch begins in the file.
    offset: u64,
    len: u64,
    crc: u32,
    is_used: bool,
}

/// What is known of a run of the whole command.
#[derive(Debug, Default)]
pub(super) struct Circumstances {
    pub(super) letters: Vec<DeadLetter>,
    /// Records of an earlier time were not read.
    pub(super) has_since: bool,
    /// Records of a later time were not read.
    pub(super) has_until: bool,
    /// A topic has let go of its first records.
    pub(super) has_expired: bool,
    /// Not all topics of the ini were read.
    pub(super) is_part: bool,
}

impl Checker<'_> {
    /// A record begins at `start`: if its section drops events, what lies before it is looked at now, since there may
    /// be as many gaps as records.
    pub(super) fn explain_before(&mut self, file: usize, start: u64) {
        let drops = self
            .record_of(file)
            .is_some_and(|record| record.drops_events());
        let end = self.files[file].tiles.end();
        // What lies before all records is looked at in the end: there may be other reasons.
        if !drops || end >= start || end == 0 {
            return;
        }
        if let Some(reason) = self.dropped(file, end, start) {
            self.files[file].tiles.add(end, start);
            self.report.explained(reason, start - end);
        }
    }

    /// Looks at all that is missing.
    pub(super) fn explain_gaps(&mut self, circumstances: &mut Circumstances) {
        // What the agent knows was acknowledged, though nothing of it is there.
        let tags: Vec<_> = self.disk.tags().filter(|tag| !self.has(*tag)).collect();
        for tag in tags {
            if self.disk.known(tag).is_some_and(|known| known.offset > 0) {
                self.add_file(tag, None, None);
            }
        }
        for file in 0..self.files.len() {
            let state = &self.files[file];
            let acknowledged = self.disk.known(state.tag).map_or(0, |known| known.offset);
            let seen = state.tiles.end();
            let end = match circumstances.has_until {
                true => seen,
                false => seen.max(acknowledged),
            };
            let gaps = state.tiles.gaps(end);
            for (start, end) in gaps {
                self.explain(file, (start, end), circumstances);
            }
            self.note_unsent(file, end);
        }
    }

    /// Counts what was written and is not acknowledged.
    fn note_unsent(&mut self, file: usize, end: u64) {
        let content = self.files[file].content.as_mut();
        let is_current = content
            .as_ref()
            .is_some_and(|content| content.stat.links > 0);
        let size = content.map_or(0, |content| content.size());
        let rest = size.saturating_sub(end);
        // A section that is gone from the ini has left it there: nobody is about to send it.
        let unsent = match self.section(file) {
            Some(_) => rest,
            None => {
                self.report.explained(Reason::Unfollowed, rest);
                0
            }
        };
        self.report.note_file(is_current, unsent);
    }

    fn explain(&mut self, file: usize, gap: (u64, u64), known: &mut Circumstances) {
        let (start, end) = gap;
        let len = end - start;
        let begins = start == 0;
        let seen = self.files[file].tiles.end();
        let section = self.section(file);
        let starts_at_end = section.is_some_and(|log| log.start_at == StartAt::End);
        let reason = if section.is_none() && seen == 0 {
            Some(Reason::Unnamed)
        } else if begins && (known.has_since || seen == 0 && known.is_part) {
            Some(Reason::NotRead)
        } else if begins && known.has_expired {
            Some(Reason::Expired)
        } else if begins && self.report.had_no_origin(&self.files[file].path) {
            Some(Reason::WithoutOrigin)
        } else if begins && starts_at_end {
            Some(Reason::BeforeStart)
        } else {
            None
        };
        let reason = reason
            .or_else(|| self.is_nul(file, start, end).then_some(Reason::Nul))
            .or_else(|| self.dead_letters(file, gap, &mut known.letters))
            .or_else(|| self.dropped(file, start, end))
            .or_else(|| self.elsewhere(file, known));
        if let Some(reason) = reason {
            return self.report.explained(reason, len);
        }
        let span = Span {
            file: Some(file),
            start,
            end,
        };
        self.report.found(Kind::Missing, span, None);
    }

    /// Whether the bytes are a hole that nobody wrote.
    fn is_nul(&mut self, file: usize, start: u64, end: u64) -> bool {
        let mut at = start;
        while at < end {
            let len = usize::try_from(end - at).unwrap_or(STEP).min(STEP);
            match self.read(file, at, len) {
                Some(bytes) if bytes.len() == len && bytes.iter().all(|byte| *byte == 0) => {}
                _ => return false,
            }
            at += len as u64;
        }
        true
    }

    /// Whether the bytes are records that no broker took.
    fn dead_letters(
        &mut self,
        file: usize,
        (start, end): (u64, u64),
        letters: &mut [DeadLetter],
    ) -> Option<Reason> {
        let path = format!("{:?}", self.files[file].path);
        let has_file_bytes = self.files[file].has_file_bytes;
        let mut at = start;
        while at < end {
            let left = end - at;
            let fits = |letter: &&mut DeadLetter| {
                !letter.is_used && letter.offset <= at && letter.path == path
            };
            let mut letters = letters.iter_mut().filter(fits);
            if !has_file_bytes {
                // Which bytes it was made of cannot be seen.
                letters.next()?.is_used = true;
                return Some(Reason::DeadLetter);
            }
            let letter = letters.find(|letter| {
                let len = usize::try_from(letter.len).unwrap_or(usize::MAX);
                let is_long = letter.len > left || len > MOST_LETTER;
                match self.read(file, at, if is_long { 0 } else { len }) {
                    _ if is_long => false,
                    Some(bytes) => bytes.len() == len && crc32c::crc32c(bytes) == letter.crc,
                    None => letter.len + 1 == left || letter.len == left,
                }
            })?;
            letter.is_used = true;
            at += letter.len;
            let is_newline = |bytes: Option<&[u8]>| bytes.is_none_or(|bytes| bytes == b"\n");
            if at < end && is_newline(self.read(file, at, 1)) {
                at += 1;
            }
        }
        Some(Reason::DeadLetter)
    }

    /// Whether the section's rules drop the bytes, all of them.
    fn dropped(&mut self, file: usize, start: u64, end: u64) -> Option<Reason> {
        let record = self.record_of(file)?.clone();
        if !record.drops_events() && record.has_file_bytes() {
            return None;
        }
        let cannot_tell = record.drops_events().then_some(Reason::Untold);
        if self.files[file].content.is_none() {
            return cannot_tell;
        }
        // Most events do not depend on what is far away.
        let is_dropped = match self.rehearse(file, start, end, NEAR_BYTES) {
            Some(false) => self.rehearse(file, start, end, Recorder::context_bytes(&record)),
            near => near,
        };
        match is_dropped {
            Some(true) => Some(Reason::Dropped),
            _ if record.drops_by_rate() => Some(Reason::Untold),
            Some(false) => None,
            None => cannot_tell,
        }
    }

    /// Runs the section's rules over bytes: whether they drop all of them. `None`: they cannot be run. So many bytes at
    /// the beginning of the file and before the place are looked at.
    fn rehearse(&mut self, file: usize, start: u64, end: u64, context: u64) -> Option<bool> {
        let log = self.section(file)?;
        let config = log.record.as_ref()?;
        let known = self.disk.known(self.files[file].tag);
        let stat = self.files[file].content.as_ref()?.stat;
        let (inode, born_ns) = match known {
            Some(known) => (known.identity.inode.inode, known.identity.born_ns),
            None => (stat.inode.inode, stat.born_ns),
        };
        let context = match config.looks_around() || config.encoding.is_wide() {
            true => context,
            false => 0,
        };
        let head_len = usize::try_from(start.min(context)).ok()?;
        let head = self.read(file, 0, head_len)?.to_vec();
        let before_at = start.saturating_sub(context);
        let before_len = usize::try_from(start - before_at).ok()?;
        let before = self.read(file, before_at, before_len)?.to_vec();
        let destination = Arc::new(Destination {
            route: Arc::new(log.route("", self.config.kafka.headers, Arc::default())),
            path: self.files[file].path.clone(),
        });
        let facts = FileFacts {
            inode,
            identity: inode ^ born_ns.unsigned_abs().rotate_left(32),
            position: start,
            head: &head,
            before: &before,
            destination: &destination,
        };
        let mut recorder = Recorder::new(
            config,
            &Arc::new(config.counters()),
            &facts,
            &BufferPool::new(),
        );
        recorder.rehearse(0);
        let begin = self.read(file, 0, 2)?.to_vec();
        let order = recorder.byte_order(&begin);
        let mut framer = Framer::new(log.max_line_bytes, log.strip_cr);
        framer.set_byte_order(order);
        let decisive = framer.decisive_bytes();
        let (mut at, mut step) = (start, STEP.max(2 * decisive));
        while at < end {
            let len = usize::try_from(end - at).unwrap_or(step).min(step);
            let is_end = at + len as u64 == end;
            let data = self.read(file, at, len)?;
            if data.len() < len {
                return None;
            }
            let framed = match is_end {
                true => framer.frame_last(data),
                false => framer.frame(data),
            };
            let Some(framed) = framed else {
                return Some(false);
            };
            let made = recorder.make(&Input {
                data: &data[..framed.bytes],
                behind: &data[framed.bytes..],
                framing: &framed.framing,
                start: at,
                is_complete: is_end || data.len() - framed.bytes >= decisive,
            });
            let mut fates = recorder.take_fates().into_iter();
            if made.as_read.is_some() || fates.any(|(_, rule)| rule.is_none()) {
                return Some(false);
            }
            at += made.bytes as u64;
            if made.bytes == 0 {
                step *= 2;
                if is_end || step > MOST_STEP {
                    return Some(false);
                }
            }
        }
        Some(true)
    }

    /// Whether the records may be where nobody has looked.
    fn elsewhere(&self, file: usize, known: &Circumstances) -> Option<Reason> {
        let record = self.record_of(file);
        let has_topics = record.is_some_and(|record| record.templates.topic.is_some());
        (known.is_part && has_topics).then_some(Reason::Untold)
    }

    fn record_of(&self, file: usize) -> Option<&Arc<crate::record::RecordConfig>> {
        self.section(file)?.record.as_ref()
    }
}

/// The dead letters of all producers in `folder`; none if there is no such folder.
pub(super) fn dead_letters(folder: &Path) -> Vec<DeadLetter> {
    let mut letters = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if let Ok(file) = DiskFile::open(entry.path()) {
            // What follows on a letter that was cut off by a crash is not lost with it: a line begins each.
            let _ = read_letters(&mut BufReader::new(file), &mut letters);
        }
    }
    letters
}

fn read_letters(file: &mut impl BufRead, letters: &mut Vec<DeadLetter>) -> io::Result<()> {
    let mut line = Vec::new();
    while letters.len() < MOST_LETTERS {
        line.clear();
        if file.by_ref().take(MOST_HEAD).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        let Some((path, offset, len)) = letter_head(&String::from_utf8_lossy(&line)) else {
            continue;
        };
        let (mut left, mut crc) = (len, 0);
        let mut buffer = [0; 4096];
        while left > 0 {
            let most = usize::try_from(left)
                .unwrap_or(buffer.len())
                .min(buffer.len());
            let count = file.read(&mut buffer[..most])?;
            if count == 0 {
                return Ok(());
            }
            crc = crc32c::crc32c_append(crc, &buffer[..count]);
            left -= count as u64;
        }
        letters.push(DeadLetter {
            path,
            offset,
            len,
            crc,
            is_used: false,
        });
    }
    Ok(())
}

/// Path, offset and length of `LEN bytes for topic "T", from offset N of "PATH", refused: ...`.
fn letter_head(line: &str) -> Option<(String, u64, u64)> {
    let (len, rest) = line.split_once(" bytes for topic ")?;
    let (_, rest) = rest.split_once(", from offset ")?;
    let (offset, rest) = rest.split_once(" of ")?;
    let (path, _) = rest.rsplit_once(", refused: ")?;
    Some((path.to_owned(), offset.parse().ok()?, len.parse().ok()?))
}

/// Bytes that are looked at at a time.
const STEP: usize = 256 << 10;
const NEAR_BYTES: u64 = 2 << 10;
/// No event is longer.
const MOST_STEP: usize = 32 << 20;
/// A dead letter is no longer than a record.
const MOST_LETTER: usize = 4 << 20;
const MOST_LETTERS: usize = 1_000_000;
const MOST_HEAD: u64 = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dead_letters_are_read_as_they_are_written_also_behind_a_torn_one() {
        let text = b"5 bytes for topic \"t\", from offset 7 of \"/a, refused: \\\"b\", refused: X (10)\na\nb\nc\n\
            torn\n2 bytes for topic \"t\", from offset 90 of \"/c\", refused: Y (18)\nxy\n";
        let mut letters = Vec::new();
        read_letters(&mut &text[..], &mut letters).expect("memory does not fail");
        let found: Vec<_> = letters
            .iter()
            .map(|l| (&*l.path, l.offset, l.len, l.crc))
            .collect();
        assert_eq!(
            found,
            [
                ("\"/a, refused: \\\"b\"", 7, 5, crc32c::crc32c(b"a\nb\nc")),
                ("\"/c\"", 90, 2, crc32c::crc32c(b"xy")),
            ]
        );
    }
}
