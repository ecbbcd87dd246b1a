//! One record batch from its encoding to its acknowledgement, and the file bytes that it covers.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::batch::{Batch, Destination, Framing, Span, TailChecksum};
use crate::budget::Permit;
use crate::kafka::cluster::broker::BatchId;
use crate::kafka::protocol::error_code::Verdict;
use crate::kafka::protocol::record_batch::{
    ProducerId, RawRecord, Unpacked, encoded_parts, sequence_after, stamp,
};
use crate::kafka::protocol::wire::WireError;
use crate::memory;
use crate::metrics::TopicCounters;

use super::encoder::Encoder;

/// Where a record batch stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BatchState {
    /// It failed, and goes again when its turn comes.
    Waiting,
    /// A broker has it and has not answered.
    InFlight {
        /// Node id of the broker.
        to: i32,
        /// Which attempt it is, so that the answer to an older one counts for nothing.
        attempt: u32,
    },
    /// It is a single record, and the broker refuses it for good.
    Refused(Verdict),
}

/// A record batch that is not acknowledged.
#[derive(Debug)]
pub(crate) struct RecordBatch {
    /// Unique in the producer, so that batches keep their names when partitions are merged.
    pub(crate) id: BatchId,
    pub(crate) state: BatchState,
    /// Shared with the connection thread that writes it. The raw lines are gone by now while their permits are
    /// kept, so what must be divided is read back from these bytes.
    pub(crate) bytes: Arc<Vec<u8>>,
    pub(crate) records: i32,
    pub(crate) base_sequence: i32,
    /// An answer was lost or unclear: the records may be in the log.
    pub(crate) maybe_written: bool,
    pub(crate) attempts: u32,
    /// How often in a row a broker hung up on it, when nothing else was on that connection.
    pub(crate) hang_ups: u32,
    pub(crate) coverage: Coverage,
    /// Those of the lines that are in it and in no other one, and of what it is larger than these.
    permits: Vec<Permit>,
}

impl RecordBatch {
    /// Encodes a new record batch from the front of `queue`, up to `limit` bytes.
    pub(crate) fn cut(
        id: BatchId,
        queue: &mut Queue,
        limit: usize,
        encoder: &mut Encoder,
    ) -> RecordBatch {
        let mut buffer = encoder.buffer();
        // Records grow by a few bytes each; what comes on top makes the buffer grow once.
        let likely = queue.bytes + queue.bytes / 4;
        buffer.clear();
        memory::reserve(&mut buffer, likely.min(limit) + 128);
        encoder.writer.start(buffer);
        let mut coverage = Coverage::default();
        let mut permits = Vec::new();
        while let Some(first) = queue.batches.front_mut() {
            let before = encoder.writer.records();
            let to = encoder.writer.append(&first.batch, first.from, limit);
            if to > first.from {
                let records = encoder.writer.records() - before;
                coverage.add(&first.batch, first.from, to, records);
                first.batch.count_lines(u64::try_from(records).unwrap_or(0));
                queue.bytes -= to - first.from;
                first.from = to;
            }
            if to < first.batch.data.len() {
                break;
            }
            if let Some(done) = queue.batches.pop_front() {
                permits.push(done.batch.permit);
            }
        }
        let (bytes, records) = encoder.finish();
        let mut batch = RecordBatch {
            id,
            state: BatchState::Waiting,
            bytes,
            records,
            base_sequence: -1,
            maybe_written: false,
            attempts: 0,
            hang_ups: 0,
            coverage,
            permits,
        };
        // Of lines that are not all in it there is a permit yet for the lines alone.
        let rest = queue.batches.front().map(|rest| &rest.batch.permit);
        batch.count_copy(rest);
        batch
    }

    /// Encodes records of the positions topic.
    pub(crate) fn of_records(
        id: BatchId,
        records: &[(Vec<u8>, Option<Vec<u8>>)],
        unix_ms: i64,
        encoder: &mut Encoder,
    ) -> RecordBatch {
        let buffer = encoder.buffer();
        encoder.writer.start(buffer);
        for (key, value) in records {
            let parts = encoded_parts(key, value.as_deref());
            encoder
                .writer
                .append_raw(&RawRecord::encoded(unix_ms, &parts));
        }
        let (bytes, records) = encoder.finish();
        RecordBatch {
            id,
            state: BatchState::Waiting,
            bytes,
            records,
            base_sequence: -1,
            maybe_written: false,
            attempts: 0,
            hang_ups: 0,
            coverage: Coverage::default(),
            permits: Vec::new(),
        }
    }

    /// Counts its records as acknowledged, those of its topic and those of its sections.
    pub(crate) fn count_acked(&self, topic: &TopicCounters) {
        let count = |records: i32| u64::from(records.unsigned_abs());
        topic.acked_records.add(count(self.records));
        for covered in self.coverage.iter() {
            let counters = &covered.destination.route.counters;
            counters.acked_records.add(count(covered.records));
        }
    }

    /// Whether files wait for the memory that it takes.
    pub(crate) fn is_waited_for(&self) -> bool {
        self.permits.first().is_some_and(Permit::is_waited_for)
    }

    /// Counts in the memory budget what is left of it: the encoded bytes.
    pub(crate) fn count_as_encoded(&mut self) {
        if let Some(bytes) = Arc::get_mut(&mut self.bytes) {
            bytes.shrink_to_fit();
        }
        let mut left = self.bytes.capacity();
        for permit in &mut self.permits {
            permit.shrink_to(left);
            left -= permit.bytes();
        }
    }

    /// Counts in the memory budget what the encoded bytes take beyond the permits, for the same file, or that of
    /// `other`.
    fn count_copy(&mut self, other: Option<&Permit>) {
        let counted: usize = self.permits.iter().map(Permit::bytes).sum();
        let more = self.bytes.capacity().saturating_sub(counted);
        if more > 0
            && let Some(permit) = self.permits.first().or(other)
        {
            let copy = permit.with_copy(more);
            self.permits.push(copy);
        }
    }

    /// Writes producer and sequence number into it. It is shared with a connection thread at most after the end
    /// of that thread.
    pub(crate) fn stamp(&mut self, producer: Option<ProducerId>, base_sequence: i32) {
        self.base_sequence = base_sequence;
        let bytes: &mut Vec<u8> = Arc::make_mut(&mut self.bytes);
        stamp(bytes, producer, base_sequence);
    }

    /// It is sent to `to`.
    pub(crate) fn send(&mut self, to: i32) -> u32 {
        self.attempts += 1;
        self.state = BatchState::InFlight {
            to,
            attempt: self.attempts,
        };
        self.attempts
    }

    pub(crate) fn is_in_flight(&self) -> bool {
        matches!(self.state, BatchState::InFlight { .. })
    }

    /// The file bytes that are done when it is acknowledged.
    pub(crate) fn spans(&self) -> impl Iterator<Item = Span> + '_ {
        self.coverage.spans()
    }

    /// Bytes before compression, as far as that is told by the batch.
    pub(crate) fn unpacked_bytes(&self) -> Result<usize, WireError> {
        Unpacked::of(&self.bytes).map(|unpacked| unpacked.bytes())
    }

    /// The value of its first record.
    pub(crate) fn first_value(&self) -> Option<Vec<u8>> {
        let unpacked = Unpacked::of(&self.bytes).ok()?;
        Some(unpacked.records().ok()?.first()?.value.to_vec())
    }

    /// Becomes its first half, and returns the second, which is named `id`. The share of the memory stays with
    /// the second half: it goes back when the last of the records is gone.
    pub(crate) fn split(
        &mut self,
        id: BatchId,
        producer: Option<ProducerId>,
        encoder: &mut Encoder,
    ) -> Result<RecordBatch, WireError> {
        let unpacked = Unpacked::of(&self.bytes)?;
        let records = unpacked.records()?;
        let (head, tail) = records.split_at(records.len() / 2);
        let (head_coverage, tail_coverage) = self.coverage.split(head);
        let write = |encoder: &mut Encoder, records: &[RawRecord<'_>]| {
            let buffer = encoder.buffer();
            encoder.writer.start(buffer);
            for record in records {
                encoder.writer.append_raw(record);
            }
            encoder.finish()
        };
        let (tail_bytes, tail_records) = write(encoder, tail);
        (self.bytes, self.records) = write(encoder, head);
        self.coverage = head_coverage;
        self.hang_ups = 0;
        let (sequence, tail_sequence) = match producer {
            Some(_) => (
                self.base_sequence,
                sequence_after(self.base_sequence, self.records),
            ),
            None => (-1, -1),
        };
        self.stamp(producer, sequence);
        let mut second = RecordBatch {
            id,
            state: BatchState::Waiting,
            bytes: tail_bytes,
            records: tail_records,
            base_sequence: -1,
            maybe_written: self.maybe_written,
            attempts: 0,
            hang_ups: 0,
            coverage: tail_coverage,
            permits: std::mem::take(&mut self.permits),
        };
        second.stamp(producer, tail_sequence);
        second.count_copy(None);
        Ok(second)
    }

    /// Gives its records the time `now_ms`; when they were read goes with them as a header.
    pub(crate) fn retime(
        &mut self,
        now_ms: i64,
        producer: Option<ProducerId>,
        encoder: &mut Encoder,
    ) -> Result<(), WireError> {
        let unpacked = Unpacked::of(&self.bytes)?;
        let buffer = encoder.buffer();
        encoder.writer.start(buffer);
        for record in unpacked.records()? {
            encoder.writer.append_retimed(&record, now_ms)?;
        }
        (self.bytes, _) = encoder.finish();
        self.stamp(producer, self.base_sequence);
        self.count_copy(None);
        Ok(())
    }
}

/// Batches of lines that are not encoded yet, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    pub(crate) batches: VecDeque<Queued>,
    /// Bytes of them that are not encoded.
    pub(crate) bytes: usize,
}

/// A batch of lines, and how much of it is encoded already.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) batch: Batch,
    from: usize,
    pub(crate) since: std::time::Instant,
}

impl Queued {
    /// Offset of the first byte that is not encoded.
    pub(crate) fn start(&self) -> u64 {
        self.batch.span(self.from, self.batch.data.len()).start
    }
}

impl Queue {
    pub(crate) fn push(&mut self, batch: Batch, since: std::time::Instant) {
        self.bytes += batch.data.len();
        self.batches.push_back(Queued {
            batch,
            from: 0,
            since,
        });
    }

    /// Takes over what `other` holds.
    pub(crate) fn merge(&mut self, other: Queue) {
        self.bytes += other.bytes;
        self.batches.extend(other.batches);
    }
}

/// The file bytes that a record batch covers, in the order of its records.
#[derive(Debug, Default)]
pub(crate) struct Coverage(Vec<CoveredSpan>);

/// Consecutive records of one source in a record batch.
#[derive(Debug, Clone)]
pub(crate) struct CoveredSpan {
    pub(crate) destination: Arc<Destination>,
    pub(crate) span: Span,
    pub(crate) records: i32,
    /// The file holds the records as they are, each with a newline.
    is_of_lines: bool,
}

impl Coverage {
    /// Adds the records between `from` and `to` of `batch`.
    pub(crate) fn add(&mut self, batch: &Batch, from: usize, to: usize, records: i32) {
        let span = batch.span(from, to);
        if let Some(last) = self.0.last_mut()
            && last.span.source == span.source
            && last.span.end == span.start
            && last.is_of_lines
            && batch.framing == Framing::Lines
        {
            last.span.end = span.end;
            last.span.tail_checksum = span.tail_checksum;
            last.records += records;
            return;
        }
        self.0.push(CoveredSpan {
            destination: batch.destination.clone(),
            span,
            records,
            is_of_lines: batch.framing == Framing::Lines,
        });
    }

    /// What the records `head` cover, and what those after them do.
    pub(crate) fn split(&self, head: &[RawRecord<'_>]) -> (Coverage, Coverage) {
        let mut left = head;
        let (mut before, mut after) = (Vec::new(), Vec::new());
        for covered in &self.0 {
            let taken = left.len().min(covered.records as usize);
            let (mine, others) = left.split_at(taken);
            left = others;
            match mine.last() {
                None => after.push(covered.clone()),
                Some(_) if taken == covered.records as usize => before.push(covered.clone()),
                Some(last) => {
                    let (head, tail) = covered.split(mine, last);
                    before.push(head);
                    after.push(tail);
                }
            }
        }
        (Coverage(before), Coverage(after))
    }

    /// The file bytes that are done when the batch is acknowledged.
    pub(crate) fn spans(&self) -> impl Iterator<Item = Span> + '_ {
        self.0.iter().map(|covered| covered.span)
    }

    /// Its spans with where they go.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &CoveredSpan> {
        self.0.iter()
    }
}

impl CoveredSpan {
    /// Divides it after the records `mine`, of which `last` is the last.
    fn split(&self, mine: &[RawRecord<'_>], last: &RawRecord<'_>) -> (CoveredSpan, CoveredSpan) {
        let records = mine.len() as i32;
        let part = |span, records| CoveredSpan {
            span,
            records,
            ..self.clone()
        };
        if self.destination.route.strip_cr || !self.is_of_lines {
            // The records do not tell how many bytes of the file they stand for, so the whole span goes with the second
            // half, which is sent when the first one is acknowledged.
            let nothing = Span {
                end: self.span.start,
                ..self.span
            };
            return (
                part(nothing, records),
                part(self.span, self.records - records),
            );
        }
        // Only lines can be divided, and each but the last of a file has its newline.
        let bytes: usize = mine.iter().map(|record| record.value.len() + 1).sum();
        let middle = self.span.start + bytes as u64;
        let tail = last.value.len().saturating_sub(TailChecksum::MAX_LEN);
        let before = Span {
            end: middle,
            tail_checksum: TailChecksum::of(&[&last.value[tail..], b"\n"].concat()),
            ..self.span
        };
        let after = Span {
            start: middle,
            ..self.span
        };
        (part(before, records), part(after, self.records - records))
    }
}

#[cfg(test)]
mod tests {
    use crate::kafka::testing::{batch, destination};

    use super::*;

    fn records(batch: &Batch) -> Vec<RawRecord<'_>> {
        batch
            .records()
            .map(|(_, value)| RawRecord::of_value(value))
            .collect()
    }

    fn places(coverage: &Coverage) -> Vec<(u64, u64)> {
        coverage
            .spans()
            .map(|span| (span.start, span.end))
            .collect()
    }

    #[test]
    fn each_half_covers_its_own_records_wherever_a_batch_is_divided() {
        let to = destination(None, &[]);
        let data = b"one\n\nthree\n";
        let whole = batch(&to, data);
        let mut coverage = Coverage::default();
        coverage.add(&whole, 0, 4, 1);
        coverage.add(&whole, 4, data.len(), 2);
        assert_eq!(
            places(&coverage),
            [(0, 11)],
            "lines that follow each other are one span"
        );
        let records = records(&whole);
        for (head, middle) in [(1, 4), (2, 5)] {
            let (before, after) = coverage.split(&records[..head]);
            assert_eq!(places(&before), [(0, middle)]);
            assert_eq!(places(&after), [(middle, 11)]);
            let tail_checksum = before.spans().next().expect("a span").tail_checksum;
            let covered = &data[middle as usize - usize::from(tail_checksum.len)..middle as usize];
            assert_eq!(tail_checksum.crc, crc32c::crc32c(covered));
        }
    }
}
