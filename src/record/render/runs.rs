//! Consecutive records that go to one destination.

use std::sync::Arc;

use super::values::Values;
use super::{Event, Lines, Renderer};
use crate::batch::{Destination, EventMark, Events, Framing, TailChecksum};
use crate::buffer::BufferPool;
use crate::record::run::{Content, OpenRun, Run};

impl Renderer {
    /// Ends the run if the event, of which nothing was written yet, does not belong to it, and adds what it has of its
    /// own.
    pub(super) fn add_to_run(
        &mut self,
        values: &Values<'_>,
        destination: Option<Arc<Destination>>,
        time_ns: Option<i64>,
    ) {
        let has_own = self.file.has_own || self.config.is_timed_by_event;
        let key_from = self.run.events.own_bytes.len();
        let mut own = has_own.then(|| {
            let own_bytes = &mut self.run.events.own_bytes;
            let fallback = self.now_ns / 1_000_000;
            let timestamp_ms = time_ns.map_or(fallback, |ns| ns.div_euclid(1_000_000));
            self.file.own_parts(values, own_bytes, timestamp_ms)
        });
        let is_other = self.run.destination != destination && !self.run.events.marks.is_empty();
        let is_other_key = self.config.splits_by_key
            && own.is_some_and(|own| !self.run.has_last_key(own, key_from));
        if is_other || is_other_key || self.is_full(values.text) {
            self.begin_other_run(key_from);
            if let Some(own) = &mut own {
                own.key_end -= key_from as u32;
                own.headers_end -= key_from as u32;
            }
        }
        self.run.destination = destination;
        self.run.events.own.extend(own);
    }

    /// Whether what was made for the run is as much as a buffer of the usual size, which is at hand, has room for, with
    /// what is likely to become of `text`.
    #[inline]
    pub(super) fn is_full(&self, text: &[u8]) -> bool {
        let next = text.len() + text.len() / 4 + REST_BYTES;
        let is_much = !self.is_kept && self.out.len() + next > BufferPool::BUFFER_BYTES;
        is_much && !self.run.events.marks.is_empty()
    }

    /// Begins another run with the event's own parts, which begin at `key_from`.
    #[cold]
    pub(super) fn begin_other_run(&mut self, key_from: usize) {
        let tail = self.run.events.own_bytes.split_off(key_from);
        // What was dropped behind its last event is done with the next one.
        let start = self.run.start + self.run.last_end();
        let piece = self.run.events.piece;
        self.end_run();
        self.run = OpenRun {
            destination: None,
            start,
            events: Events {
                piece,
                own_bytes: tail,
                ..Events::default()
            },
            kept: Vec::new(),
        };
    }

    /// The record of `event`, the last of the run, was made or is kept.
    pub(super) fn mark_end(&mut self, all: &Lines<'_>, event: &Event<'_>) {
        let end = match self.is_kept {
            true => self.run.keep(event.place.clone()),
            false => self.out.len(),
        };
        let run = &mut self.run;
        run.events.marks.push(EventMark {
            end: end as u32,
            span_end: (event.span_end - run.start) as u32,
        });
        if self.destination.route.has_provenance {
            let start = event.offset - (all.input.start + run.start as u64);
            let end = (event.span_end - run.start) as u32;
            run.events.places.push((start as u32, end));
        }
        if !self.is_kept {
            let before = &all.input.data[run.start..event.span_end];
            run.events.checksums.push(TailChecksum::of(before));
        }
    }

    pub(super) fn end_run(&mut self) {
        let run = std::mem::take(&mut self.run);
        if run.events.marks.is_empty() {
            return;
        }
        self.runs.push(Run {
            destination: run.destination,
            start: run.start,
            content: match self.is_kept {
                true => Content::Kept(run.kept),
                false => Content::Made(self.out.take()),
            },
            framing: Framing::Events(Box::new(run.events)),
        });
    }
}

/// What a record has beside its text, as a rule.
const REST_BYTES: usize = 1 << 10;
