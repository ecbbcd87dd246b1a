//! One event to one record: filter, mask, fields, value, and where it goes. The order of the steps is that of the picture
//! in [`super`].

mod values;

use std::ops::Range;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use regex::bytes::CaptureLocations;

use super::container::Stream;
use super::counters::{RecordCounters, add};
use super::decode::Decoder;
use super::filter::Decision;
use super::json::Entry;
use super::json_scan::{Object, Scan};
use super::mask::{CONTEXT_BYTES, Masker, Piece as MaskedPiece};
use super::rate::Bucket;
use super::run::{FileFacts, Input, Run};
use super::time::TimeReader;
use super::topic_name::TopicCache;
use super::zone::ZoneClock;
use super::{Parse, RecordConfig, TimeField, ansi};
use crate::batch::{Destination, EventMark, Events, Framing, OwnParts, Piece, Route, TailChecksum};
use crate::shown::ShownPath;
use values::{FileParts, Values};

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
    /// The end of the last piece, or of what an earlier run may have sent of a line.
    last_piece: Vec<u8>,
    /// The first piece of the event was dropped, so the others are.
    is_dropping: bool,
    time: Option<TimeReader>,
    scan: Scan,
    groups: Option<CaptureLocations>,
    scratch: Scratch,
    now_ns: i64,
    rehearsal: Option<Rehearsal>,
    /// What was made, each event with a newline at its end.
    out: Vec<u8>,
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

/// The run that is being made.
#[derive(Debug, Default)]
struct OpenRun {
    destination: Option<Arc<Destination>>,
    /// Where it begins in the data, and in what was made.
    start: usize,
    from: usize,
    events: Events,
    /// The end of the last event's span in the data.
    span_end: usize,
}

/// One event.
#[derive(Debug)]
pub(super) struct Event<'a> {
    /// What it says, perhaps with a newline.
    pub(super) text: &'a [u8],
    /// Of a piece: what lies behind it in the file, and how that is decoded.
    pub(super) behind: Option<(&'a [u8], Decoder)>,
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
    ) -> Self {
        let base = file.destination;
        let parts = FileParts::new(config, base, file.inode);
        let destination = parts.destination(config, base);
        let masks = &config.masks;
        let line = memchr::memrchr(b'\n', file.before).map_or(0, |at| at + 1);
        let time = config.time.as_ref();
        Renderer {
            is_own_destination: !Arc::ptr_eq(&destination, base),
            destination,
            file: parts,
            identity: file.identity,
            topics: TopicCache::new(MOST_TOPICS),
            destinations: Vec::new(),
            masker: (!masks.is_empty()).then(|| Masker::new(masks.clone())),
            masked: vec![0; masks.names().len()],
            last_piece: match masks.is_empty() {
                true => Vec::new(),
                false => file.before[line..].to_vec(),
            },
            is_dropping: false,
            time: time.map(|time| {
                TimeReader::new(time.format.clone(), ZoneClock::new(time.zone.clone()))
            }),
            scan: Scan::default(),
            groups: match &config.parse {
                Parse::Regex(pattern) => Some(pattern.regex().capture_locations()),
                _ => None,
            },
            scratch: Scratch::default(),
            now_ns: 0,
            rehearsal: None,
            out: Vec::new(),
            runs: Vec::new(),
            run: OpenRun::default(),
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

    /// What was made since [`Renderer::begin`].
    pub(super) fn bytes(&self) -> &[u8] {
        &self.out
    }

    /// Begins with other lines, which may be one piece of an event.
    pub(super) fn begin(&mut self, piece: Option<Piece>) {
        self.out.clear();
        self.runs.clear();
        self.run = OpenRun::default();
        self.run.events.piece = piece;
        if let Some(rehearsal) = &self.rehearsal {
            self.now_ns = rehearsal.now_ns;
            return;
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        self.now_ns = since.map_or(0, |since| {
            i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
        });
    }

    /// Adds an event of `input`. `bucket`: what is beyond its rate is dropped.
    pub(super) fn event(
        &mut self,
        input: &Input<'_>,
        event: &Event<'_>,
        bucket: Option<(&mut Bucket, Instant)>,
    ) {
        let text = event.text.strip_suffix(b"\n").unwrap_or(event.text);
        let mut scratch = std::mem::take(&mut self.scratch);
        let Scratch {
            lines,
            window,
            masked,
            plain,
            topic,
            fields,
            field_ranges,
        } = &mut scratch;
        let text = match self.config.strip_cr {
            true => without_cr(text, lines),
            false => text,
        };
        let piece = self.run.events.piece;
        let is_first = piece.is_none_or(|piece| piece.index == 1);
        if is_first {
            self.is_dropping = self.is_dropped(text, event, bucket);
        }
        if self.is_dropping {
            // Masks see it too: what it hides may go on in the next piece, which is dropped as well.
            self.run.span_end = self.run.span_end.max(event.span_end);
            self.scratch = scratch;
            return;
        }
        if let Some(rehearsal) = &mut self.rehearsal {
            rehearsal.fates.push((event.offset, None));
        }
        let text = match self.mask(text, piece, event, (window, masked)) {
            true => &masked[..],
            false => text,
        };
        plain.clear();
        let text = match self.config.strip_ansi && ansi::strip(text, plain) {
            true => &plain[..],
            false => text,
        };
        self.record(input, event, text, (topic, fields, field_ranges));
        self.scratch = scratch;
    }

    /// Ends the last run, and gives all.
    pub(super) fn finish(&mut self, bytes: usize, data: &[u8]) -> Vec<Run> {
        self.count_masked();
        // What was dropped behind the last event is done with it.
        if self.run.events.marks.is_empty()
            && let Some(last) = self.runs.last_mut()
        {
            extend(last, bytes, data);
        }
        self.end_run();
        if let Some(last) = self.runs.last_mut() {
            extend(last, bytes, data);
        }
        std::mem::take(&mut self.runs)
    }

    fn is_dropped(
        &mut self,
        text: &[u8],
        event: &Event<'_>,
        bucket: Option<(&mut Bucket, Instant)>,
    ) -> bool {
        let filter = &self.config.filter;
        if !filter.is_empty()
            && let Decision::Dropped(rule) = filter.decide(text, self.identity, event.offset)
        {
            if let Some(counter) = self.counters.dropped.get(rule.index()) {
                add(counter, 1);
            }
            if let Some(rehearsal) = &mut self.rehearsal {
                rehearsal.fates.push((event.offset, Some(rule.index())));
            }
            return true;
        }
        let Some((bucket, now)) = bucket else {
            return false;
        };
        let is_beyond = bucket.take(now, 1, text.len() as u64 + 1).is_err();
        add(&self.counters.rate_dropped, u64::from(is_beyond));
        is_beyond
    }

    /// Hides what must not be shown: whether anything of `text` is, which then is in the second buffer.
    fn mask(
        &mut self,
        text: &[u8],
        piece: Option<Piece>,
        event: &Event<'_>,
        (window, masked): (&mut Vec<u8>, &mut Vec<u8>),
    ) -> bool {
        let Some(masker) = &mut self.masker else {
            return false;
        };
        masked.clear();
        let Some(piece) = piece else {
            self.last_piece.clear();
            return masker.apply(text, masked);
        };
        window.clear();
        let is_first = piece.index == 1;
        if !is_first {
            window.extend_from_slice(&self.last_piece);
        }
        let before = window.len();
        window.extend_from_slice(text);
        let bytes = before..window.len();
        if let (false, Some((behind, decoder))) = (piece.last, event.behind) {
            decoder.decode(&behind[..behind.len().min(CONTEXT_BYTES)], window);
        }
        if !is_first && before > CONTEXT_BYTES {
            // An earlier run has sent what lies before.
            masker.catch_up(window, before);
        }
        let is_masked = masker.apply_piece(
            &MaskedPiece {
                window: &window[before.saturating_sub(CONTEXT_BYTES)..],
                bytes: bytes.start - before.saturating_sub(CONTEXT_BYTES)
                    ..bytes.end - before.saturating_sub(CONTEXT_BYTES),
                is_first,
                is_last: piece.last,
            },
            masked,
        );
        self.last_piece.clear();
        let kept = bytes.end.saturating_sub(CONTEXT_BYTES)..bytes.end;
        self.last_piece.extend_from_slice(&window[kept]);
        is_masked
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

    /// Adds the record of an event of which `text` may be shown.
    fn record(
        &mut self,
        input: &Input<'_>,
        event: &Event<'_>,
        text: &[u8],
        (topic, fields, field_ranges): (&mut Vec<u8>, &mut Vec<u8>, &mut FieldRanges),
    ) {
        let config = self.config.clone();
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
            &config,
            &mut self.time,
            &self.counters,
            &values,
            event,
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
        let from = self.out.len();
        match &self.file.format {
            None => self.out.extend_from_slice(text),
            Some(format) => {
                self.file.render_fields(&values, fields, field_ranges);
                let entry = Entry {
                    event: text,
                    time_ns: time_ns.unwrap_or(self.now_ns),
                    offset: event.offset,
                    object,
                };
                let written = format.write(&mut self.out, &entry, |number| {
                    match field_ranges.get(number) {
                        Some(range) => fields.get(range.clone()?),
                        None => values.group_field(number - field_ranges.len()),
                    }
                });
                add(&self.counters.bad_json, u64::from(written.is_parse_failure));
                add(&self.counters.bad_characters, written.bad_utf8_parts as u64);
            }
        }
        self.out.push(b'\n');
        self.add_to_run(
            &values,
            destination,
            from,
            config.is_timed_by_event.then_some(time_ns).flatten(),
        );
        let run = &mut self.run;
        run.span_end = event.span_end;
        run.events.marks.push(EventMark {
            end: (self.out.len() - run.from) as u32,
            span_end: (event.span_end - run.start) as u32,
        });
        run.events
            .checksums
            .push(TailChecksum::of(&input.data[run.start..event.span_end]));
        self.groups = groups.map(|(groups, _)| groups);
        self.scan = scan;
    }

    /// Ends the run if the event, whose value begins at `from` of what was made, does not belong to it, and adds what
    /// the event has of its own.
    fn add_to_run(
        &mut self,
        values: &Values<'_>,
        destination: Option<Arc<Destination>>,
        from: usize,
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
        if is_other || is_other_key {
            let tail = self.run.events.own_bytes.split_off(key_from);
            let start = self.run.span_end;
            let piece = self.run.events.piece;
            self.end_run_at(from);
            self.run = OpenRun {
                destination: None,
                start,
                from,
                events: Events {
                    piece,
                    own_bytes: tail,
                    ..Events::default()
                },
                span_end: start,
            };
            if let Some(own) = &mut own {
                own.key_end -= key_from as u32;
                own.headers_end -= key_from as u32;
            }
        }
        self.run.destination = destination;
        self.run.events.own.extend(own);
    }

    fn end_run(&mut self) {
        let end = self.out.len();
        self.end_run_at(end);
    }

    fn end_run_at(&mut self, end: usize) {
        let run = std::mem::take(&mut self.run);
        if run.events.marks.is_empty() {
            return;
        }
        self.runs.push(Run {
            destination: run.destination,
            start: run.start,
            bytes: run.from..end,
            framing: Framing::Events(Box::new(run.events)),
        });
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

impl OpenRun {
    /// Whether the last event of the run has the same key as the one that has `own`, whose bytes begin at `from`.
    fn has_last_key(&self, own: OwnParts, from: usize) -> bool {
        let Some(at) = self.events.own.len().checked_sub(1) else {
            return true;
        };
        let key = own
            .has_key
            .then(|| &self.events.own_bytes[from..own.key_end as usize]);
        self.events.own_of(at).is_some_and(|last| last.key == key)
    }
}

/// Has the last event of `run` stand for all of the data up to `bytes`.
fn extend(run: &mut Run, bytes: usize, data: &[u8]) {
    let Framing::Events(events) = &mut run.framing else {
        return;
    };
    if let (Some(mark), Some(checksum)) = (events.marks.last_mut(), events.checksums.last_mut()) {
        mark.span_end = (bytes - run.start) as u32;
        *checksum = TailChecksum::of(&data[run.start..bytes]);
    }
}

/// The time of an event, in ns since 1970, where one is looked for and found.
fn time_of(
    config: &RecordConfig,
    reader: &mut Option<TimeReader>,
    counters: &RecordCounters,
    values: &Values<'_>,
    event: &Event<'_>,
    now_ns: i64,
) -> Option<i64> {
    let (reader, source) = (reader.as_mut()?, config.time.as_ref()?);
    let found = match source.field {
        TimeField::Event => reader.of_event(values.text, now_ns),
        TimeField::Container => reader.of_value(event.container_time, now_ns),
        TimeField::Group(group) => values
            .group_at(group)
            .and_then(|text| reader.of_value(text, now_ns)),
        TimeField::Json(path) => {
            let mut scratch = Vec::new();
            let object: Option<Object<'_>> = values.object;
            object
                .and_then(|object| object.value(path, &mut scratch))
                .and_then(|text| reader.of_value(text, now_ns))
        }
    };
    add(&counters.untimed, u64::from(found.is_none()));
    found
}

/// The destination for a topic, which is `base` but for that.
fn destination_of(
    (topics, destinations): (&mut TopicCache, &mut Vec<Arc<Destination>>),
    base: &Arc<Destination>,
    rendered: &[u8],
) -> Arc<Destination> {
    let interned = topics.topic(rendered);
    if interned.was_changed {
        log::warn!(
            "'{}': topic '{}' is written '{}'",
            ShownPath(&base.path),
            String::from_utf8_lossy(rendered).escape_debug(),
            interned.topic
        );
    }
    let topic = interned.topic;
    let known = destinations
        .iter()
        .position(|known| known.route.topic == *topic);
    if let Some(at) = known {
        // The last one that was asked for comes first.
        destinations[..=at].rotate_right(1);
        return destinations[0].clone();
    }
    let destination = Arc::new(Destination {
        route: Arc::new(Route {
            topic: topic.clone(),
            ..Route::clone(&base.route)
        }),
        path: base.path.clone(),
    });
    destinations.truncate(MOST_DESTINATIONS - 1);
    destinations.insert(0, destination.clone());
    destination
}

/// `text` without the carriage returns before its newlines and its end.
fn without_cr<'a>(text: &'a [u8], lines: &'a mut Vec<u8>) -> &'a [u8] {
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    if !text.windows(2).any(|two| two == b"\r\n") {
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
/// ... of which so many have a destination ready.
const MOST_DESTINATIONS: usize = 64;
