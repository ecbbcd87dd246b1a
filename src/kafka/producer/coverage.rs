//! Which file bytes a record batch stands for.

use std::sync::Arc;

use crate::batch::{Batch, Destination, Framing, Span, Trace};

use crate::kafka::protocol::record_batch::RawRecord;

/// Consecutive records of one source in a record batch.
#[derive(Debug, Clone)]
pub(crate) struct Portion {
    pub(crate) destination: Arc<Destination>,
    pub(crate) span: Span,
    pub(crate) records: i32,
    framing: Framing,
}

/// Adds the records between `from` and `to` of `batch`.
pub(crate) fn add_portion(
    portions: &mut Vec<Portion>,
    batch: &Batch,
    from: usize,
    to: usize,
    records: i32,
) {
    let span = batch.span(from, to);
    if let Some(last) = portions.last_mut()
        && last.span.source == span.source
        && last.span.end == span.start
        && (last.framing, batch.framing) == (Framing::Lines, Framing::Lines)
    {
        last.span.end = span.end;
        last.span.trace = span.trace;
        last.records += records;
        return;
    }
    portions.push(Portion {
        destination: batch.destination.clone(),
        span,
        records,
        framing: batch.framing,
    });
}

/// Divides `portions` after the records `head`.
pub(crate) fn split_portions(
    portions: &[Portion],
    head: &[RawRecord<'_>],
) -> (Vec<Portion>, Vec<Portion>) {
    let mut left = head;
    let mut before = Vec::new();
    let mut after = Vec::new();
    for portion in portions {
        let taken = left.len().min(portion.records as usize);
        let (mine, others) = left.split_at(taken);
        left = others;
        let all = taken == portion.records as usize;
        match mine.last() {
            None => after.push(portion.clone()),
            Some(_) if all => before.push(portion.clone()),
            Some(last) => {
                if portion.destination.route.strip_cr {
                    // The records do not tell how long their lines were, so the whole span goes with
                    // the second half, which is sent when the first one is acknowledged.
                    let records = taken as i32;
                    let span = Span {
                        end: portion.span.start,
                        ..portion.span
                    };
                    before.push(Portion {
                        span,
                        records,
                        ..portion.clone()
                    });
                    after.push(Portion {
                        records: portion.records - records,
                        ..portion.clone()
                    });
                    continue;
                }
                // Only lines can be divided, and each but the last of a file has its newline.
                let bytes: usize = mine.iter().map(|record| record.value.len() + 1).sum();
                let middle = portion.span.start + bytes as u64;
                let tail = last.value.len().saturating_sub(Trace::MAX_LEN);
                let trace = Trace::of(&[&last.value[tail..], b"\n"].concat());
                let records = taken as i32;
                before.push(Portion {
                    span: Span {
                        end: middle,
                        trace,
                        ..portion.span
                    },
                    records,
                    ..portion.clone()
                });
                after.push(Portion {
                    span: Span {
                        start: middle,
                        ..portion.span
                    },
                    records: portion.records - records,
                    ..portion.clone()
                });
            }
        }
    }
    (before, after)
}
