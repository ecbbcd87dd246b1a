//! From the lines of a file to its records: lines are cut into events, each of which `render` makes a record of.
//!
//! A recorder belongs to one source and stands where that does: at the beginning of an event, or between two pieces of
//! one. What it makes depends on the bytes alone, never on how many of them a read happened to fetch; only a time-out
//! may end an event that would have gone on.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::RecordConfig;
use super::container::Stream;
use super::counters::{RecordCounters, add};
use super::decode::Decoder;
use super::encoding::Encoding;
use super::join::{Joined, Joiner};
use super::multiline::Assembler;
use super::rate::{Bucket, Excess, Unit};
use super::render::{Event, Renderer};
pub use super::run::{FileFacts, Input, Made, Run};
use super::wide::ByteOrder;
use crate::batch::{EventMark, Events, Framing, Piece};

/// Makes records of the lines of one source.
#[derive(Debug)]
pub struct Recorder {
    config: Arc<RecordConfig>,
    counters: Arc<RecordCounters>,
    patience: Duration,
    /// None: the file has not told yet.
    decoder: Option<Decoder>,
    cutter: Cutter,
    /// None: events go as they lie in the file.
    renderer: Option<Renderer>,
    /// Number of the next piece of an event that goes out in several; 0 between events.
    next_piece: u32,
    bucket: Option<Bucket>,
    cuts: Vec<Cut>,
    ends: Vec<u32>,
    decoded: Decoded,
}

/// How lines become events.
#[derive(Debug)]
enum Cutter {
    /// Each is one.
    Lines,
    Assembled(Assembler),
    Joined(Box<JoinedLines>),
}

/// Lines of a container.
#[derive(Debug)]
struct JoinedLines {
    joiner: Joiner,
    /// One for each stream.
    assemblers: [Option<Assembler>; 3],
    joined: Joined,
}

/// Lines in UTF-8, and where each ended in the file.
#[derive(Debug, Default)]
struct Decoded {
    text: Vec<u8>,
    /// Ends in the text and in the data.
    lines: Vec<(u32, u32)>,
}

/// One event among the lines.
#[derive(Debug)]
struct Cut {
    /// Where its text begins and ends, in the data or what was made of it.
    text: Range<usize>,
    /// Where its bytes begin in the data.
    start: usize,
    /// The data up to here is done with it.
    span_end: usize,
    stream: Stream,
    /// Where the container's time stands in the data.
    time: Range<usize>,
}

impl Recorder {
    /// What it wants to see of a file at most, at the beginning and before the position.
    pub const CONTEXT_BYTES: usize = 64 << 10;

    /// A recorder of `config` for a source that stands where `file` says.
    pub fn new(
        config: &Arc<RecordConfig>,
        counters: &Arc<RecordCounters>,
        file: &FileFacts<'_>,
    ) -> Self {
        let decoder = Decoder::new(config.encoding, file.head).ok();
        let assembler = config.multiline.as_ref().map(|mode| match file.position {
            0 => Assembler::new(mode.clone()),
            _ => Assembler::resume(mode.clone(), file.head, file.before),
        });
        let cutter = match (config.container, assembler) {
            (Some(kind), assembler) => {
                let decoder = decoder.unwrap_or(Decoder::UTF_8);
                Cutter::Joined(Box::new(JoinedLines {
                    joiner: Joiner::new(kind, decoder, GROUP_BYTES.max(config.max_line_bytes)),
                    assemblers: [assembler.clone(), assembler.clone(), assembler],
                    joined: Joined::default(),
                }))
            }
            (None, Some(assembler)) => Cutter::Assembled(assembler),
            (None, None) => Cutter::Lines,
        };
        Recorder {
            config: config.clone(),
            counters: counters.clone(),
            patience: config.multiline_timeout,
            decoder,
            cutter,
            renderer: (!config.is_as_read()).then(|| Renderer::new(config, counters, file)),
            next_piece: 0,
            bucket: config.rate.map(|rate| Bucket::new(rate, Instant::now())),
            cuts: Vec::new(),
            ends: Vec::new(),
            decoded: Decoded::default(),
        }
    }

    /// How long what may go on waits at the end of its file.
    pub fn patience(&self) -> Duration {
        self.patience
    }

    /// What may go on is not waited for.
    pub fn do_not_wait(&mut self) {
        self.patience = Duration::ZERO;
    }

    /// The byte order of 16-bit text, once the file has told; `begin` are its first bytes, where they were not known.
    /// `None`: a newline is one byte.
    pub fn byte_order(&mut self, begin: &[u8]) -> Option<ByteOrder> {
        if self.decoder.is_none() && begin.len() >= 2 {
            let known = Decoder::new(self.config.encoding, begin);
            self.decoder = known.or_else(|_| Decoder::new(Encoding::Utf16Le, &[])).ok();
        }
        self.decoder.and_then(Decoder::byte_order)
    }

    /// How long to wait before more is read, for what was read to keep to the section's rate.
    pub fn rate_wait(&mut self, now: Instant) -> Option<Duration> {
        self.waiting_bucket()?.available(now).err()
    }

    /// How many bytes to read at most for that, or as few as may be where only events tell how many they are.
    pub fn rate_bytes(&mut self, now: Instant) -> Option<usize> {
        let counts_lines = self.counts_lines();
        let bucket = self.waiting_bucket()?;
        let bytes = match bucket.rate().unit {
            Unit::Bytes => bucket.available(now).unwrap_or(0),
            Unit::Events if counts_lines => return None,
            Unit::Events => 0,
        };
        usize::try_from(bytes).ok()
    }

    /// How many of the whole lines `data` go now, in bytes, where each line is an event.
    pub fn rate_lines(&mut self, data: &[u8], now: Instant) -> usize {
        if !self.counts_lines() {
            return data.len();
        }
        let Some(bucket) = self.waiting_bucket() else {
            return data.len();
        };
        let most = match bucket.rate().unit {
            Unit::Events => bucket.available(now).unwrap_or(0).max(1),
            Unit::Bytes => return data.len(),
        };
        let last = usize::try_from(most - 1).unwrap_or(usize::MAX);
        let end = memchr::memchr_iter(b'\n', data).nth(last);
        end.map_or(data.len(), |at| at + 1)
    }

    /// Whether each byte that is a newline ends an event.
    fn counts_lines(&self) -> bool {
        let is_wide = self.decoder.and_then(Decoder::byte_order).is_some();
        matches!(self.cutter, Cutter::Lines) && !is_wide
    }

    /// The bucket, if what is beyond it waits.
    fn waiting_bucket(&mut self) -> Option<&mut Bucket> {
        let bucket = self.bucket.as_mut();
        bucket.filter(|bucket| bucket.rate().excess == Excess::Waits)
    }

    /// Makes records of the first events of `input`.
    pub fn make(&mut self, input: &Input<'_>) -> Made {
        self.cuts.clear();
        let (bytes, piece) = match input.framing {
            Framing::Part(piece) => self.cut_part(input, *piece),
            _ => self.cut(input),
        };
        if bytes == 0 {
            return Made::default();
        }
        add(&self.counters.events, self.cuts.len() as u64);
        let events = self.cuts.len() as u64;
        if let Some(bucket) = self.waiting_bucket() {
            bucket.charge(Instant::now(), events, bytes as u64);
        }
        if self.renderer.is_none() {
            return self.as_read(bytes, piece);
        }
        Made {
            bytes,
            as_read: None,
            runs: self.render(input, bytes, piece),
        }
    }

    /// The bytes of a run that [`Recorder::make`] has just given.
    pub fn made(&self, run: &Run) -> &[u8] {
        let all = self.renderer.as_ref().map_or(&[][..], Renderer::bytes);
        all.get(run.bytes.clone()).unwrap_or_default()
    }

    /// Cuts events out of whole lines. Returns how many bytes they are, and which piece they are if they are one.
    fn cut(&mut self, input: &Input<'_>) -> (usize, Option<Piece>) {
        let decoder = self.decoder.unwrap_or(Decoder::UTF_8);
        let is_decoded = !decoder.is_as_it_is() && !matches!(self.cutter, Cutter::Joined(_));
        if is_decoded {
            let bad = self.decoded.fill(decoder, input);
            add(&self.counters.bad_characters, bad as u64);
        }
        let text = match is_decoded {
            true => &self.decoded.text[..],
            false => input.data,
        };
        match &mut self.cutter {
            Cutter::Lines => {
                let mut start = 0;
                let ends = memchr::memchr_iter(b'\n', text).map(|at| at + 1);
                let rest = (text.last() != Some(&b'\n')).then_some(text.len());
                for end in ends.chain(rest.filter(|&end| end > 0)) {
                    self.cuts.push(Cut::of_text(start..end));
                    start = end;
                }
            }
            Cutter::Assembled(assembler) => {
                self.ends.clear();
                assembler.assemble(text, input.is_complete, &mut self.ends);
                if self.ends.is_empty() || self.next_piece > 0 {
                    return self.cut_long(input, is_decoded);
                }
                let mut start = 0;
                for &end in &self.ends {
                    self.cuts.push(Cut::of_text(start..end as usize));
                    start = end as usize;
                }
            }
            Cutter::Joined(lines) => {
                let due = match input.is_complete {
                    true => input.data.len(),
                    false => 0,
                };
                let assemblers = &mut lines.assemblers;
                let assemble = |stream, text: &[u8], is_last, ends: &mut Vec<u32>| {
                    assemble_stream(&mut assemblers[place(stream)], text, is_last, ends);
                };
                lines
                    .joiner
                    .join(input.data, due, assemble, &mut lines.joined);
                add(
                    &self.counters.foreign_lines,
                    lines.joined.foreign_lines as u64,
                );
                add(&self.counters.bad_characters, lines.joined.bad_parts as u64);
                let mut start = 0;
                for event in &lines.joined.events {
                    self.cuts.push(Cut {
                        text: event.text.clone(),
                        start,
                        span_end: event.span_end,
                        stream: event.stream,
                        time: event.time.clone(),
                    });
                    start = event.span_end;
                }
                return (lines.joined.decided, None);
            }
        }
        if is_decoded {
            self.decoded.place(&mut self.cuts);
        }
        (self.cuts.last().map_or(0, |cut| cut.span_end), None)
    }

    /// The event that the data begins with is longer than allowed, or goes on in pieces.
    fn cut_long(&mut self, input: &Input<'_>, is_decoded: bool) -> (usize, Option<Piece>) {
        let text = match is_decoded {
            true => &self.decoded.text[..],
            false => input.data,
        };
        let Cutter::Assembled(assembler) = &mut self.cutter else {
            return (0, None);
        };
        let most = self.config.max_line_bytes;
        let end = self.ends.first().map(|&end| end as usize);
        let (end, last) = match end.filter(|&end| end <= most + 1) {
            Some(end) => (end, true),
            None if text.len() > most => {
                let within = memchr::memrchr(b'\n', &text[..most.min(text.len())]);
                let first = || memchr::memchr(b'\n', text);
                let end = within.or_else(first).map_or(text.len(), |at| at + 1);
                assembler.split(&text[..end]);
                (end, false)
            }
            None => return (0, None),
        };
        let piece = Piece {
            index: self.next_piece.max(1),
            last,
        };
        self.next_piece = if last {
            0
        } else {
            piece.index.saturating_add(1)
        };
        self.cuts.push(Cut::of_text(0..end));
        if is_decoded {
            self.decoded.place(&mut self.cuts);
        }
        (self.cuts[0].span_end, Some(piece))
    }

    /// A piece of a line that is too long is an event, or a piece of one, for itself.
    fn cut_part(&mut self, input: &Input<'_>, piece: Piece) -> (usize, Option<Piece>) {
        let decoder = self.decoder.unwrap_or(Decoder::UTF_8);
        let mut cut = Cut::of_text(0..input.data.len());
        if !decoder.is_as_it_is() {
            let bad = self.decoded.fill_one(decoder, input);
            add(&self.counters.bad_characters, bad as u64);
            cut.text = 0..self.decoded.text.len();
        }
        self.cuts.push(cut);
        if let (true, Cutter::Assembled(_)) = (piece.last, &self.cutter) {
            self.next_piece = 0;
        }
        (input.data.len(), Some(piece))
    }

    fn as_read(&self, bytes: usize, piece: Option<Piece>) -> Made {
        let marks = self.cuts.iter().map(|cut| EventMark {
            end: cut.span_end as u32,
            span_end: cut.span_end as u32,
        });
        let events = Events {
            marks: marks.collect(),
            piece,
            ..Events::default()
        };
        Made {
            bytes,
            as_read: Some(Framing::Events(Box::new(events))),
            runs: Vec::new(),
        }
    }

    fn render(&mut self, input: &Input<'_>, bytes: usize, piece: Option<Piece>) -> Vec<Run> {
        let Some(renderer) = &mut self.renderer else {
            return Vec::new();
        };
        let decoder = self.decoder.unwrap_or(Decoder::UTF_8);
        let text = match (&self.cutter, decoder.is_as_it_is()) {
            (Cutter::Joined(lines), _) if !matches!(input.framing, Framing::Part(_)) => {
                &lines.joined.text[..]
            }
            (_, false) => &self.decoded.text,
            (_, true) => input.data,
        };
        let bucket = self
            .bucket
            .as_mut()
            .filter(|bucket| bucket.rate().excess == Excess::Dropped);
        let mut bucket = bucket.map(|bucket| (bucket, Instant::now()));
        renderer.begin(piece);
        for cut in &self.cuts {
            let event = Event {
                text: text.get(cut.text.clone()).unwrap_or_default(),
                behind: piece.map(|_| (input.behind, decoder)),
                offset: input.start + cut.start as u64,
                span_end: cut.span_end,
                stream: cut.stream,
                container_time: input.data.get(cut.time.clone()).unwrap_or_default(),
            };
            let bucket = bucket.as_mut().map(|(bucket, now)| (&mut **bucket, *now));
            renderer.event(input, &event, bucket);
        }
        renderer.finish(bytes, input.data)
    }
}

impl Cut {
    /// Of text that lies in the file as it is.
    fn of_text(text: Range<usize>) -> Self {
        Cut {
            start: text.start,
            span_end: text.end,
            text,
            stream: Stream::Unknown,
            time: 0..0,
        }
    }
}

impl Decoded {
    /// Decodes the lines of `input`; returns how many parts were no characters.
    fn fill(&mut self, decoder: Decoder, input: &Input<'_>) -> usize {
        self.text.clear();
        self.lines.clear();
        let mut start = match decoder.byte_order() {
            Some(order) if input.start == 0 => order.mark_len(input.data),
            _ => 0,
        };
        let mut bad = 0;
        while start < input.data.len() {
            let end = match decoder.byte_order() {
                Some(order) => order.find_line_end(input.data, start),
                None => memchr::memchr(b'\n', &input.data[start..]).map(|at| start + at + 1),
            };
            let end = end.unwrap_or(input.data.len());
            bad += decoder.decode(&input.data[start..end], &mut self.text);
            self.lines.push((self.text.len() as u32, end as u32));
            start = end;
        }
        bad
    }

    /// Decodes a piece of a line.
    fn fill_one(&mut self, decoder: Decoder, input: &Input<'_>) -> usize {
        self.text.clear();
        self.lines.clear();
        let start = match decoder.byte_order() {
            Some(order) if input.start == 0 => order.mark_len(input.data),
            _ => 0,
        };
        decoder.decode(input.data.get(start..).unwrap_or_default(), &mut self.text)
    }

    /// Gives `cuts`, which follow on each other in the text, their places in the data.
    fn place(&self, cuts: &mut [Cut]) {
        let (mut at, mut start) = (0, 0);
        for cut in cuts {
            while let Some(&(end, raw_end)) = self.lines.get(at)
                && end as usize <= cut.text.end
            {
                at += 1;
                cut.span_end = raw_end as usize;
            }
            cut.start = start;
            start = cut.span_end;
        }
    }
}

fn assemble_stream(
    assembler: &mut Option<Assembler>,
    text: &[u8],
    is_last: bool,
    ends: &mut Vec<u32>,
) {
    match assembler {
        Some(assembler) => assembler.assemble(text, is_last, ends),
        None => {
            ends.extend(memchr::memchr_iter(b'\n', text).map(|at| at as u32 + 1));
            if is_last && text.last().is_some_and(|last| *last != b'\n') {
                ends.push(text.len() as u32);
            }
        }
    }
}

fn place(stream: Stream) -> usize {
    match stream {
        Stream::Stdout => 0,
        Stream::Stderr => 1,
        Stream::Unknown => 2,
    }
}

/// Lines of two streams that lie across each other are kept together up to so many bytes.
const GROUP_BYTES: usize = 256 << 10;
