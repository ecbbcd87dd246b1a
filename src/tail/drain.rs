//! Reading what was seen: sources to their end, old ones first, batches to the producer.

use std::io;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::select;

use super::Tailer;
use super::clock::now_ms;
use super::growth::{grow_fingerprint, grown_by, grown_fingerprint};
use super::scheduler::{RunOutcome, TailerExit};
use super::source::Source;
use super::source::{Chunk, ReadOutcome};
use super::tailer::Drained;
use super::trouble::Over;
use crate::batch::{Batch, Span};
use crate::metrics::Lost;
use crate::progress::{CloseReason, Progress};
use crate::record::framing::Growth;
use crate::shown::ShownPath;
use crate::snapshot::Loss;

impl Tailer {
    /// Lets go of deleted files that take too much disk.
    pub(super) fn release_deleted(&mut self) -> io::Result<()> {
        let mut doomed = Vec::new();
        for (at, source) in self.sources.iter().enumerate().rev() {
            if source.detached_since.is_none() {
                continue;
            }
            let stat = source.content.stat()?;
            let serial = source.checkpoint.serial;
            if stat.links == 0 && self.shared.deleted.hold(serial, stat.size, &self.handle) {
                doomed.push(at);
            }
        }
        // From the back, so that the places before stay what they are.
        for at in doomed {
            let Some(source) = self.sources.remove(at) else {
                continue;
            };
            let lost = source.written_size().saturating_sub(source.position);
            self.retire(&source, CloseReason::ContentGone);
            if lost > 0 {
                self.report_lost(
                    Lost::Limit,
                    lost,
                    source.position,
                    "are in a deleted file that exceeds [agent] deleted_bytes_limit",
                );
            }
        }
        Ok(())
    }

    /// Bytes that a truncation took.
    pub(super) fn report_truncated(&self, bytes: u64, offset: u64) {
        let why = "were truncated away before they were read";
        self.report_lost(Lost::Truncated, bytes, offset, why);
    }

    /// Bytes that nobody can read any more.
    pub(super) fn report_lost(&self, kind: Lost, bytes: u64, offset: u64, why: &str) {
        self.destination.route.counters.lose(kind, bytes);
        let path = ShownPath(&self.path).to_string();
        log::error!("'{path}': {bytes} bytes from offset {offset} on {why} and are lost");
        self.note_loss(bytes, offset, kind.name());
    }

    /// What was added from `offset` on, if anything was, was never seen.
    pub(super) fn note_perhaps_lost(&self, offset: u64) {
        self.note_loss(0, offset, "perhaps");
    }

    fn note_loss(&self, bytes: u64, offset: u64, why: &str) {
        self.shared.metrics.losses.note(Loss {
            at: SystemTime::now(),
            log: self.log.name.clone(),
            path: ShownPath(&self.path).to_string(),
            bytes,
            offset,
            why: why.to_owned(),
        });
    }

    /// The look is over: says what became of a file that could not be read.
    pub(super) fn end_trouble(&mut self) {
        let is_there =
            !self.sources.is_empty() || self.paused.is_some() || self.read_elsewhere.is_some();
        let over = match is_there {
            true => Over::Recovered,
            false => Over::Gone,
        };
        self.trouble.end(&self.path, over);
    }

    /// Everything that is there is read, as far as that is possible.
    pub(super) fn end_of_once(&self) -> TailerExit {
        for source in &self.sources {
            let partial = source.written_size().saturating_sub(source.position);
            if partial > 0 {
                log::warn!(
                    "'{}': the last {partial} bytes have no newline yet and are left for a later run",
                    ShownPath(&self.path)
                );
            }
        }
        match self.trouble.is_present() || self.blocked_since.is_some() {
            true => TailerExit::Unread,
            false => TailerExit::Stopped,
        }
    }

    /// Reads source number `at` up to the size that was seen.
    pub(super) fn drain(&mut self, at: usize, sent: &mut bool) -> io::Result<Drained> {
        let drained = self.drain_on(at, sent)?;
        let is_read_later = matches!(
            drained,
            Drained::End | Drained::Partial | Drained::Budget | Drained::Rate
        );
        if is_read_later
            && let Some(source) = self.sources.get_mut(at)
            && !source.is_growth_its_own()?
        {
            return Ok(Drained::Changed);
        }
        Ok(drained)
    }

    fn drain_on(&mut self, at: usize, sent: &mut bool) -> io::Result<Drained> {
        let Some(source) = self.sources.get_mut(at) else {
            return Ok(Drained::End);
        };
        let until = source.size;
        let is_quiet = source
            .detached_since
            .is_some_and(|since| since.elapsed() >= self.log.rotate_wait);
        loop {
            if self.is_to_change() {
                return Ok(Drained::ToChange);
            }
            let Some(source) = self.sources.get_mut(at) else {
                return Ok(Drained::End);
            };
            let growth = match is_quiet {
                true => Growth::Finished,
                false => Growth::Possible,
            };
            let wait = source.rate_wait(until, Instant::now());
            if self.waits_for_rate(wait) {
                return Ok(Drained::Rate);
            }
            let Some(source) = self.sources.get_mut(at) else {
                return Ok(Drained::End);
            };
            let counters = &self.destination.route.counters;
            match source.read(until, growth, &self.account, &self.shared.pool)? {
                ReadOutcome::Batch(chunk) => {
                    *sent = true;
                    counters.read_bytes.add(chunk.data.len() as u64);
                    if let Ok(Some(grown)) = grown_by(source, chunk.start, &chunk.data) {
                        grow_fingerprint(source, grown, &self.shared, &self.progress);
                    }
                    if !self.send(at, chunk) {
                        return Ok(Drained::Stop);
                    }
                }
                ReadOutcome::Made(span, chunks) => {
                    *sent = true;
                    counters.read_bytes.add(span.end - span.start);
                    if let Ok(Some(fingerprint)) = grown_fingerprint(source) {
                        grow_fingerprint(source, fingerprint, &self.shared, &self.progress);
                    }
                    if chunks.is_empty() {
                        let _ = self.progress.send(Progress::Filtered(span));
                    }
                    if !chunks.into_iter().all(|chunk| self.send(at, chunk)) {
                        return Ok(Drained::Stop);
                    }
                }
                ReadOutcome::Skipped(span) => {
                    *sent = true;
                    self.skip(at, span);
                }
                ReadOutcome::NoBudget => return Ok(Drained::Budget),
                ReadOutcome::Changed => {
                    source.suspect();
                    return Ok(Drained::Changed);
                }
                ReadOutcome::End { .. } if is_quiet => {
                    if !source.is_unchanged()? {
                        source.suspect();
                        return Ok(Drained::Changed);
                    }
                    self.finish(at);
                    return Ok(Drained::Finished);
                }
                // Lines of the next file must not come before the end of this one.
                ReadOutcome::End { partial } if partial > 0 && source.detached_since.is_some() => {
                    source.shown.show_unended(partial);
                    return Ok(Drained::Partial);
                }
                ReadOutcome::End { partial } => {
                    source.shown.show_unended(partial);
                    return Ok(Drained::End);
                }
            }
        }
    }

    /// Whether the next bytes wait for the section's rate, which gives them `wait`. How long they did is counted.
    fn waits_for_rate(&mut self, wait: Option<Duration>) -> bool {
        if wait.is_none() && self.rate_limited_since.is_none() {
            return false;
        }
        let now = Instant::now();
        let since = *self.rate_limited_since.get_or_insert(now);
        self.rate_due = wait.map(|wait| now + wait);
        if wait.is_none() {
            let ms = u64::try_from(now.duration_since(since).as_millis());
            let counters = &self.destination.route.counters;
            counters.rate_limited_ms.add(ms.unwrap_or(0));
            self.rate_limited_since = None;
        }
        wait.is_some()
    }

    /// Counts NULs of source number `at` as done, and says so once for each source.
    fn skip(&mut self, at: usize, span: Span) {
        let _ = self.progress.send(Progress::Skipped(span));
        let Some(source) = self.sources.get_mut(at) else {
            return;
        };
        if std::mem::replace(&mut source.has_warned_of_nuls, true) {
            return;
        }
        let why = if span.start == 0 {
            "its writer does not append (O_APPEND), so after a truncation it went on at its old offset"
        } else {
            "the file has a hole there, which nobody wrote: its writer does not append (O_APPEND), or the host lost \
             power"
        };
        log::warn!(
            "'{}': {} bytes of NUL from offset {} on are skipped: {why}",
            ShownPath(&self.path),
            span.end - span.start,
            span.start
        );
    }

    /// Hands bytes of source number `at` to the producer; false if the stop came first.
    fn send(&mut self, at: usize, chunk: Chunk) -> bool {
        let Chunk {
            destination,
            start,
            data,
            framing,
            permit,
        } = chunk;
        let Source { id, checkpoint, .. } = &self.sources[at];
        let (source, tag) = (*id, checkpoint.tag);
        let destination = destination.unwrap_or_else(|| self.destination.clone());
        let tag = tag.filter(|_| destination.route.has_provenance);
        let batch = Batch {
            destination,
            source,
            tag,
            start,
            data,
            framing,
            read_at_ms: now_ms(),
            permit,
        };
        let _rest = self.handle.rest();
        select! {
            send(self.batches, batch) -> sent => sent.is_ok(),
            recv(self.stop) -> _ => false,
        }
    }

    /// Source number `at` was rotated away, is read to its end and quiet.
    fn finish(&mut self, at: usize) {
        let Some(mut source) = self.sources.remove(at) else {
            return;
        };
        source.finish();
        if self.has_nothing() {
            // Before the registrar knows: who is told of its positions after that asks for no file here.
            self.handle.show_nothing(true);
        }
        // Even if it is deleted: an archive of it may be there, or come.
        self.retire(&source, CloseReason::Finished);
        if let Some(watch) = source.watch.take() {
            if self.late.len() >= MOST_LATE {
                self.late.pop_front();
            }
            self.late.push_back((Instant::now(), watch));
        }
        // A copy that rotation has made lies under another name by now.
        let now = source.content.path_now().filter(|now| *now != *self.path);
        let now = now.map_or_else(String::new, |now| format!(", now '{}'", ShownPath(&now)));
        log::info!(
            "'{}': {} is read to its end at {}{now}",
            ShownPath(&self.path),
            source.checkpoint.identity,
            source.position
        );
    }

    /// The agent stops. What was deleted, is read to its end and was not written to for a while is done with: no later
    /// run can open it, and should not say that something may have been added to it.
    pub(super) fn stopped(&mut self) -> RunOutcome {
        for at in (0..self.sources.len()).rev() {
            let is_done = self.sources[at].content.stat().is_ok_and(|stat| {
                let quiet_ms = now_ms() - stat.modified_ns / 1_000_000;
                stat.links == 0 && self.sources[at].position == stat.size && quiet_ms >= QUIET_MS
            });
            if is_done {
                self.finish(at);
            }
        }
        RunOutcome::Exit(TailerExit::Stopped)
    }

    /// A source is not held open any more.
    pub(super) fn retire(&self, source: &Source, why: CloseReason) {
        self.shared.deleted.release(source.checkpoint.serial);
        if why == CloseReason::ContentGone {
            source.show_rest_gone();
        }
        self.shared.registry.close(source.checkpoint_now(), why);
        let _ = self.progress.send(Progress::Closed {
            source: source.id,
            end: source.position,
            modified_ns: source.modified_ns,
            why,
        });
    }
}

/// Whoever still writes to a file that was deleted does it more often than this, as a rule.
const QUIET_MS: i64 = 1_000;
/// So many files that were read to their end are watched for somebody who still writes to them.
const MOST_LATE: usize = 4;
