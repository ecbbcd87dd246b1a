//! Which file bytes a record batch covers.

use std::sync::Arc;

use crate::batch::{Batch, Destination, Framing, Span, TailChecksum};
use crate::kafka::protocol::unpacked::RawRecord;

/// The file bytes that a record batch covers, in the order of its records.
#[derive(Debug, Default)]
pub(crate) struct Coverage(Vec<CoveredSpan>);

/// Consecutive records of one source in a record batch.
#[derive(Debug, Clone)]
pub(crate) struct CoveredSpan {
    pub(crate) destination: Arc<Destination>,
    pub(crate) span: Span,
    records: i32,
    framing: Framing,
}

impl Coverage {
    /// Adds the records between `from` and `to` of `batch`.
    pub(crate) fn add(&mut self, batch: &Batch, from: usize, to: usize, records: i32) {
        let span = batch.span(from, to);
        if let Some(last) = self.0.last_mut()
            && last.span.source == span.source
            && last.span.end == span.start
            && (last.framing, batch.framing) == (Framing::Lines, Framing::Lines)
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
            framing: batch.framing,
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
        if self.destination.route.strip_cr {
            // The records do not tell how long their lines were, so the whole span goes with the second
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
    use super::*;
    use crate::kafka::testing::{batch, destination};

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
