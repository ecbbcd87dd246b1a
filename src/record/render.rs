//! One event to one record: filter, mask, fields, value, and where it goes. The order of the steps is that of the picture
//! in [`super`].

mod pieces;
mod runs;
mod values;

use std::ops::Range;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use regex::bytes::CaptureLocations;

use super::container::Stream;
use super::counters::{RecordCounters, add};
use super::filter::{self, Decision};
use super::json::Entry;
use super::json_scan::{Object, Scan};
use super::mask::Masker;
use super::output::Output as _;
use super::rate::Bucket;
use super::run::{FileFacts, Input, OpenRun, Run};
use super::time::TimeReader;
use super::topic_name::TopicCache;
use super::zone::ZoneClock;
use super::{Parse, RecordConfig, ansi};
use crate::batch::{Destination, Piece};
use crate::buffer::{BufferPool, Filling};
use values::{FileParts, Values, destination_of, time_of};

/// Makes records of the events of one source.
#[derive(Debug)]
pub(super) struct Renderer {
    config: Arc<RecordConfig>,
    counters: Arc<RecordCounters>,
    file: FileParts,
    identity: u64,
    /// Where records go; the topic may be another one.
    destination: Arc<Destination>,
    /// Whether that is not the one of the section.
    is_own_destination: bool,
    topics: TopicCache,
    destinations: Vec<Arc<Destination>>,
    masker: Option<Masker>,
    /// What the masks have counted of it already.
    masked: Vec<u64>,
    /// The end of the last piece, or of what an earlier run may have sent of a line; escape sequences are in it.
    last_piece: Vec<u8>,
    /// That is of an earlier run, and the masks have not seen it.
    is_resumed: bool,
    /// The first piece of the event was dropped, so the others are.
    is_dropping: bool,
    time: Option<TimeReader>,
    scan: Scan,
    groups: Option<CaptureLocations>,
    /// It is taken and put back for each event, so it is boxed.
    scratch: Option<Box<Scratch>>,
    now_ns: i64,
    rehearsal: Option<Rehearsal>,
    /// Texts of events are records as they are.
    keeps_texts: bool,
    /// Nothing is to be found out about an event that goes.
    is_plain: bool,
    /// They lie in the data, so nothing is made.
    is_kept: bool,
    /// What was made for the run, each event with a newline at its end.
    out: Filling,
    runs: Vec<Run>,
    run: OpenRun,
}

/// A rehearsal: what is the same for all events, and what it is about.
#[derive(Debug)]
struct Rehearsal {
    now_ns: i64,
    /// Offsets of events, each with the index of the rule that dropped it.
    fates: Vec<(u64, Option<usize>)>,
}

/// Room that is used again for each event.
#[derive(Debug, Default)]
struct Scratch {
    lines: Vec<u8>,
    window: Vec<u8>,
    masked: Vec<u8>,
    plain: Vec<u8>,
    topic: Vec<u8>,
    fields: Vec<u8>,
    field_ranges: FieldRanges,
}

/// Where the values of the fields stand; none for those that are missing.
type FieldRanges = Vec<Option<Range<usize>>>;

/// The lines that records are made of.
#[derive(Debug)]
pub(super) struct Lines<'a> {
    pub(super) config: &'a RecordConfig,
    pub(super) input: &'a Input<'a>,
    /// Of the text that the events are parts of.
    pub(super) filter: filter::Run<'a>,
}

/// One event.
#[derive(Debug)]
pub(super) struct Event<'a> {
    /// What it says, perhaps with a newline.
    pub(super) text: &'a [u8],
    /// Where that lies in the text of all.
    pub(super) place: Range<usize>,
    /// Of a piece that is not the last: what the event says behind it, as far as masks look.
    pub(super) behind: &'a [u8],
    /// Where it begins in the file.
    pub(super) offset: u64,
    /// The data up to here is done with it.
    pub(super) span_end: usize,
    pub(super) stream: Stream,
    pub(super) container_time: &'a [u8],
}

impl Renderer {
    pub(super) fn new(
        config: &Arc<RecordConfig>,
        counters: &Arc<RecordCounters>,
        file: &FileFacts<'_>,
        text_before: &[u8],
        pool: &Arc<BufferPool>,
    ) -> Self {
        let base = file.destination;
        let parts = FileParts::new(config, base, file.inode);
        let destination = parts.destination(config, base);
        let masks = &config.masks;
        let line = memchr::memrchr(b'\n', text_before).map_or(0, |at| at + 1);
        let time = config.time.as_ref();
        Renderer {
            is_own_destination: !Arc::ptr_eq(&destination, base),
            destination,
            identity: file.identity,
            topics: TopicCache::new(MOST_TOPICS),
            destinations: Vec::new(),
            masker: (!masks.is_empty()).then(|| Masker::new(masks.clone())),
            masked: vec![0; masks.names().len()],
            last_piece: match masks.is_empty() && !config.strip_ansi {
                true => Vec::new(),
                false => text_before[line..].to_vec(),
            },
            is_resumed: true,
            is_dropping: false,
            time: time.map(|time| {
                TimeReader::new(time.format.clone(), ZoneClock::new(time.zone.clone()))
            }),
            scan: Scan::default(),
            groups: match &config.parse {
                Parse::Regex(pattern) => Some(pattern.regex().capture_locations()),
                _ => None,
            },
            scratch: None,
            now_ns: 0,
            rehearsal: None,
            keeps_texts: config.keeps_texts(),
            is_plain: time.is_none()
                && matches!(config.parse, Parse::None)
                && !config.wants_object
                && !config.has_own_destinations()
                && !parts.has_fields(),
            is_kept: false,
            out: Filling::new(pool),
            runs: Vec::new(),
            run: OpenRun::default(),
            file: parts,
            config: config.clone(),
            counters: counters.clone(),
        }
    }

    /// See [`super::recorder::Recorder::rehearse`].
    pub(super) fn rehearse(&mut self, now_ns: i64) {
        self.rehearsal = Some(Rehearsal {
            now_ns,
            fates: Vec::new(),
        });
    }

    pub(super) fn take_fates(&mut self) -> Vec<(u64, Option<usize>)> {
        let rehearsal = self.rehearsal.as_mut();
        rehearsal.map_or_else(Vec::new, |rehearsal| std::mem::take(&mut rehearsal.fates))
    }

    /// Begins with other lines of `bytes` bytes, which may be one piece of an event. `is_data`: their text is the data
    /// itself.
    pub(super) fn begin(&mut self, piece: Option<Piece>, bytes: usize, is_data: bool) {
        self.is_kept = self.keeps_texts && is_data;
        self.out.expect(bytes);
        self.runs.clear();
        self.run = OpenRun::default();
        self.run.events.piece = piece;
        if let Some(rehearsal) = &self.rehearsal {
            self.now_ns = rehearsal.now_ns;
            return;
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        // Records have their times in milliseconds.
        self.now_ns = since.map_or(0, |since| {
            let ms = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
            ms.saturating_mul(1_000_000)
        });
    }

    /// Adds an event of `all`. `bucket`: what is beyond its rate is dropped.
    pub(super) fn event(
        &mut self,
        all: &mut Lines<'_>,
        event: &Event<'_>,
        bucket: Option<(&mut Bucket, Instant)>,
    ) {
        let text = event.text.strip_suffix(b"\n").unwrap_or(event.text);
        let may_be_dropped = !all.config.filter.is_empty() || bucket.is_some();
        if self.is_kept && self.is_plain && self.run.events.piece.is_none() {
            if !may_be_dropped || !self.is_dropped(all, text, event, bucket) {
                self.note_fate(event, None);
                self.mark_end(all, event);
            }
            return;
        }
        let mut scratch = self.scratch.take().unwrap_or_default();
        let Scratch {
            lines,
            window,
            masked,
            plain,
            topic,
            fields,
            field_ranges,
        } = &mut *scratch;
        let piece = self.run.events.piece;
        let is_line_end = piece.is_none_or(|piece| piece.last) || text.len() < event.text.len();
        let text = match all.config.strip_cr {
            true => without_cr(text, is_line_end, lines),
            false => text,
        };
        let is_first = piece.is_none_or(|piece| piece.index == 1);
        if is_first {
            self.is_dropping = may_be_dropped && self.is_dropped(all, text, event, bucket);
        }
        if self.is_dropping {
            // Its bytes are done with the next event, or the last one.
            self.scratch = Some(scratch);
            return;
        }
        self.note_fate(event, None);
        // A colour inside of a secret would hide it from the masks.
        plain.clear();
        let text = match piece {
            None => {
                let text = match self.config.strip_ansi && ansi::strip(text, plain) {
                    true => &plain[..],
                    false => text,
                };
                self.last_piece.clear();
                masked.clear();
                let masker = self.masker.as_mut();
                match masker.is_some_and(|masker| masker.apply(text, masked)) {
                    true => &masked[..],
                    false => text,
                }
            }
            Some(piece) => self.show_piece(text, piece, event, (window, plain, masked)),
        };
        match self.is_plain {
            true => self.plain_record(all, event, text),
            false => self.record(all, event, text, (topic, fields, field_ranges)),
        }
        self.scratch = Some(scratch);
    }

    /// Ends the last run, and gives all.
    pub(super) fn finish(&mut self, bytes: usize, data: &[u8]) -> Vec<Run> {
        self.count_masked();
        // What was dropped behind the last event is done with it.
        if self.run.events.marks.is_empty()
            && let Some(last) = self.runs.last_mut()
        {
            last.extend(bytes, data);
        }
        self.end_run();
        if let Some(last) = self.runs.last_mut() {
            last.extend(bytes, data);
        }
        self.out.rest();
        std::mem::take(&mut self.runs)
    }

    fn is_dropped(
        &mut self,
        all: &mut Lines<'_>,
        text: &[u8],
        event: &Event<'_>,
        bucket: Option<(&mut Bucket, Instant)>,
    ) -> bool {
        let filter = &all.config.filter;
        if !filter.is_empty()
            && let Decision::Dropped(rule) = match text.as_ptr() == event.text.as_ptr() {
                true => {
                    let place = event.place.start..event.place.start + text.len();
                    all.filter.decide(place, self.identity, event.offset)
                }
                false => filter.decide(text, self.identity, event.offset),
            }
        {
            if let Some(counter) = self.counters.dropped.get(rule.index()) {
                add(counter, 1);
            }
            self.note_fate(event, Some(rule.index()));
            return true;
        }
        let Some((bucket, now)) = bucket else {
            return false;
        };
        let is_beyond = bucket.take(now, 1, text.len() as u64 + 1).is_err();
        add(&self.counters.rate_dropped, u64::from(is_beyond));
        is_beyond
    }

    #[inline]
    fn note_fate(&mut self, event: &Event<'_>, rule: Option<usize>) {
        if let Some(rehearsal) = &mut self.rehearsal {
            rehearsal.fates.push((event.offset, rule));
        }
    }

    fn count_masked(&mut self) {
        let Some(masker) = &self.masker else {
            return;
        };
        for ((counter, before), now) in self
            .counters
            .masked
            .iter()
            .zip(&mut self.masked)
            .zip(masker.counts())
        {
            add(counter, now - *before);
            *before = *now;
        }
    }

    /// As [`Renderer::record`], of an event of which nothing is asked but its text.
    fn plain_record(&mut self, all: &Lines<'_>, event: &Event<'_>, text: &[u8]) {
        if self.is_full(text) {
            self.begin_other_run(0);
        }
        if !self.is_kept {
            let time_ns = self.now_ns;
            self.push_value(event, text, (time_ns, None), |_| None);
        }
        self.mark_end(all, event);
    }

    /// Appends the value of a record and a newline.
    #[inline]
    fn push_value<'f>(
        &mut self,
        event: &Event<'_>,
        text: &[u8],
        (time_ns, object): (i64, Option<Object<'_>>),
        field: impl Fn(usize) -> Option<&'f [u8]>,
    ) {
        match &mut self.file.format {
            None => self.out.extend_from_slice(text),
            Some(format) => {
                let entry = Entry {
                    event: text,
                    time_ns,
                    offset: event.offset,
                    object,
                };
                let written = format.write(&mut self.out, &entry, field);
                add(&self.counters.bad_json, u64::from(written.is_parse_failure));
                add(&self.counters.bad_characters, written.bad_utf8_parts as u64);
            }
        }
        self.out.push(b'\n');
    }

    /// Adds the record of an event of which `text` may be shown.
    fn record(
        &mut self,
        all: &Lines<'_>,
        event: &Event<'_>,
        text: &[u8],
        (topic, fields, field_ranges): (&mut Vec<u8>, &mut Vec<u8>, &mut FieldRanges),
    ) {
        let config = all.config;
        let mut scan = std::mem::take(&mut self.scan);
        let groups = self.find_groups(text);
        let object = match config.wants_object {
            true => scan.object(&config.paths, text),
            false => None,
        };
        let values = Values {
            text,
            offset: event.offset,
            stream: event.stream,
            object,
            groups: groups
                .as_ref()
                .filter(|(_, is_match)| *is_match)
                .map(|(groups, _)| groups),
            templates: &config.templates,
        };
        let time_ns = time_of(
            config,
            &mut self.time,
            &self.counters,
            &values,
            (&self.destination.path, event.container_time),
            self.now_ns,
        );
        let destination = self.file.topic.as_ref().map(|template| {
            topic.clear();
            template.render(&values, topic);
            destination_of(
                (&mut self.topics, &mut self.destinations),
                &self.destination,
                topic,
            )
        });
        let destination = destination.or(self.is_own_destination.then(|| self.destination.clone()));
        let own_time = config.is_timed_by_event.then_some(time_ns).flatten();
        self.add_to_run(&values, destination, own_time);
        if self.file.format.is_some() {
            self.file.render_fields(&values, fields, field_ranges);
        }
        if !self.is_kept {
            let time_ns = time_ns.unwrap_or(self.now_ns);
            self.push_value(
                event,
                text,
                (time_ns, object),
                |number| match field_ranges.get(number) {
                    Some(range) => fields.get(range.clone()?),
                    None => values.group_field(number - field_ranges.len()),
                },
            );
        }
        self.mark_end(all, event);
        self.groups = groups.map(|(groups, _)| groups);
        self.scan = scan;
    }

    /// The groups of the regex of `parse`, if there is one, and whether it matches.
    fn find_groups(&mut self, text: &[u8]) -> Option<(CaptureLocations, bool)> {
        let Parse::Regex(pattern) = &self.config.parse else {
            return None;
        };
        let mut groups = self.groups.take()?;
        let is_match = pattern.regex().captures_read(&mut groups, text).is_some();
        add(&self.counters.unmatched, u64::from(!is_match));
        Some((groups, is_match))
    }
}

/// `text` without the carriage returns before its newlines, and at its end if a line ends there.
fn without_cr<'a>(text: &'a [u8], is_line_end: bool, lines: &'a mut Vec<u8>) -> &'a [u8] {
    let text = match is_line_end {
        true => text.strip_suffix(b"\r").unwrap_or(text),
        false => text,
    };
    if memchr::memmem::find(text, b"\r\n").is_none() {
        return text;
    }
    lines.clear();
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        match line.strip_suffix(b"\r\n") {
            Some(line) => {
                lines.extend_from_slice(line);
                lines.push(b'\n');
            }
            None => lines.extend_from_slice(line),
        }
    }
    lines
}

/// Topics that are remembered for one file.
const MOST_TOPICS: usize = 1024;
