//! From the lines of a file to its records: lines are cut into events, each of which `render` makes a record of.
//!
//! A recorder belongs to one source and stands where that does: at the beginning of an event, or between two pieces of
//! one. What it makes depends on the bytes alone, never on how many of them a read happened to fetch; only a time-out
//! may end an event that would have gone on.

mod decoded;
mod pieces;

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::RecordConfig;
use super::counters::{RecordCounters, add};
use super::decode::Decoder;
use super::encoding::Encoding;
use super::join::{Joined, Joiner};
use super::multiline::{Assembler, LOOK_BACK_BYTES};
use super::rate::{Bucket, Excess, Unit};
use super::render::{Event, Lines, Renderer};
pub use super::run::{Content, FileFacts, Input, Made, Run};
use super::wide::ByteOrder;
use crate::batch::{EventMark, Events, Framing, Piece};
use crate::buffer::BufferPool;
use decoded::{Cut, Decoded, decoded, place, unwrapped};

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
    /// Text behind a piece, as far as masks look.
    behind: Vec<u8>,
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

impl JoinedLines {
    fn join(&mut self, input: &Input<'_>) {
        let due = match input.is_complete {
            true => input.data.len(),
            false => 0,
        };
        let assemblers = &mut self.assemblers;
        let assemble = |stream, text: &[u8], is_last, ends: &mut Vec<u32>| {
            assemble_stream(&mut assemblers[place(stream)], text, is_last, ends);
        };
        let joined = &mut self.joined;
        self.joiner.join(input.data, due, assemble, joined);
    }
}

impl Recorder {
    /// What it wants to see of a file at most, at the beginning and before the position.
    pub fn context_bytes(config: &RecordConfig) -> u64 {
        // A character of 16 bits may be one byte of what is decoded.
        let bytes = match config.encoding.is_wide() {
            true => 2 * LOOK_BACK_BYTES,
            false => LOOK_BACK_BYTES,
        };
        bytes as u64
    }

    /// A recorder of `config` for a source that stands where `file` says. What it makes has memory of `pool`.
    pub fn new(
        config: &Arc<RecordConfig>,
        counters: &Arc<RecordCounters>,
        file: &FileFacts<'_>,
        pool: &Arc<BufferPool>,
    ) -> Self {
        let decoder = Decoder::new(config.encoding, file.head).ok();
        let known = decoder.unwrap_or(Decoder::UTF_8);
        let before_at = file.position - file.before.len() as u64;
        let text_before = decoded(known, before_at, file.before);
        let cutter = match (config.container, &config.multiline) {
            (Some(kind), mode) => {
                let whole = memchr::memchr(b'\n', file.before).map_or(0, |at| at + 1);
                let whole = if before_at == 0 { 0 } else { whole };
                let head = unwrapped(kind, known, file.head);
                let before = unwrapped(kind, known, &file.before[whole..]);
                let assembler = |at: usize| {
                    let mode = mode.clone()?;
                    // Its first line is whole, and not looked at if nothing stands before it.
                    let before = [b"\n", &before[at][..]].concat();
                    Some(Assembler::resume(mode, &head[at], &before))
                };
                Cutter::Joined(Box::new(JoinedLines {
                    joiner: Joiner::new(kind, known, GROUP_BYTES.max(config.max_line_bytes)),
                    assemblers: [0, 1, 2].map(assembler),
                    joined: Joined::default(),
                }))
            }
            (None, Some(mode)) => {
                let head = decoded(known, 0, file.head);
                let most = config.max_line_bytes;
                let mode = mode.clone();
                Cutter::Assembled(Assembler::resume_within(most, mode, &head, &text_before))
            }
            (None, None) => Cutter::Lines,
        };
        let is_as_read = config.is_as_read();
        let renderer = || Renderer::new(config, counters, file, &text_before, pool);
        Recorder {
            config: config.clone(),
            counters: counters.clone(),
            patience: config.multiline_timeout,
            decoder,
            cutter,
            renderer: (!is_as_read).then(renderer),
            next_piece: 0,
            bucket: config.rate.map(|rate| Bucket::new(rate, Instant::now())),
            cuts: Vec::new(),
            ends: Vec::new(),
            decoded: Decoded::default(),
            behind: Vec::new(),
        }
    }

    /// The source stands inside of a line, of which pieces were sent; `first` is the first one, at this offset.
    pub fn resume_line(&mut self, first: &[u8], offset: u64) {
        let text = decoded(self.decoder.unwrap_or(Decoder::UTF_8), offset, first);
        if let Some(renderer) = &mut self.renderer {
            renderer.resume_line(&text, offset);
        }
    }

    /// Whether records say more than their events.
    pub fn adds_to_events(&self) -> bool {
        self.config.format.is_some()
    }

    /// Whether pieces of an event were made, and others will come.
    pub fn is_inside_event(&self) -> bool {
        self.next_piece > 0
    }

    /// How long what may go on waits at the end of its file.
    pub fn patience(&self) -> Duration {
        self.patience
    }

    /// What may go on is not waited for.
    pub fn do_not_wait(&mut self) {
        self.patience = Duration::ZERO;
    }

    /// Takes the clock out of it: every event is read at `now_ns`, and no rate holds. What becomes of each is kept for
    /// [`Recorder::take_fates`].
    pub fn rehearse(&mut self, now_ns: i64) {
        self.bucket = None;
        if let Some(renderer) = &mut self.renderer {
            renderer.rehearse(now_ns);
        }
    }

    /// What became of the events of a rehearsal since this was asked last, in their order: where each begins in the
    /// file, and if it was dropped the rule's place among the names of the filter. Nothing if events are records as
    /// they lie in the file.
    pub fn take_fates(&mut self) -> Vec<(u64, Option<usize>)> {
        let renderer = self.renderer.as_mut();
        renderer.map_or_else(Vec::new, Renderer::take_fates)
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
        self.ends.clear();
        let (bytes, piece) = match input.framing {
            Framing::Part(piece) => self.cut_part(input, *piece),
            _ => self.cut(input),
        };
        if bytes == 0 {
            return Made::default();
        }
        if !matches!(self.cutter, Cutter::Joined(_)) {
            add(
                &self.counters.bad_characters,
                self.decoded.bad_before(bytes) as u64,
            );
        }
        let events = match self.renderer {
            None if self.cuts.is_empty() => self.ends.len() as u64,
            _ => self.cuts.len() as u64,
        };
        let is_first = piece.is_none_or(|piece| piece.index == 1);
        if is_first {
            add(&self.counters.events, events);
            add(&self.counters.split, u64::from(piece.is_some()));
        }
        add(
            &self.counters.lines,
            self.lines(input, bytes, events, piece),
        );
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

    /// How many lines the first `bytes` are, which are so many events.
    fn lines(&self, input: &Input<'_>, bytes: usize, events: u64, piece: Option<Piece>) -> u64 {
        match (&self.cutter, piece, input.framing) {
            (_, Some(piece), Framing::Part(_)) => u64::from(piece.last),
            (Cutter::Lines, None, _) => events,
            // Where a character has two bytes, other ones may look like a newline: the count is about right.
            _ => {
                let lines = input.data.get(..bytes).unwrap_or_default();
                let unended = lines.last().is_some_and(|last| *last != b'\n');
                count_newlines(lines) + u64::from(unended)
            }
        }
    }

    /// Cuts events out of whole lines. Returns how many bytes they are, and which piece they are if they are one.
    fn cut(&mut self, input: &Input<'_>) -> (usize, Option<Piece>) {
        let decoder = self.decoder.unwrap_or(Decoder::UTF_8);
        let is_decoded = !decoder.is_as_it_is() && !matches!(self.cutter, Cutter::Joined(_));
        if is_decoded {
            self.decoded.fill(decoder, input);
        }
        let text = match is_decoded {
            true => &self.decoded.text[..],
            false => input.data,
        };
        if text.is_empty() && input.is_complete {
            // A byte order mark, and nothing behind it.
            return (input.data.len(), None);
        }
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
                let most = self.config.max_line_bytes;
                if self.next_piece > 0 {
                    match assembler.end_of_split(most, text, input.is_complete) {
                        Some(0) => self.next_piece = 0,
                        end => return self.cut_piece(input, end, is_decoded),
                    }
                }
                assembler.assemble_within(most, text, input.is_complete, &mut self.ends);
                if self.ends.is_empty() {
                    return self.cut_piece(input, None, is_decoded);
                }
                if self.renderer.is_none() {
                    return (self.ends.last().map_or(0, |&end| end as usize), None);
                }
                let mut start = 0;
                for &end in &self.ends {
                    self.cuts.push(Cut::of_text(start..end as usize));
                    start = end as usize;
                }
            }
            Cutter::Joined(lines) => {
                lines.join(input);
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

    fn as_read(&self, bytes: usize, piece: Option<Piece>) -> Made {
        let mark = |end| EventMark { end, span_end: end };
        let marks = match self.cuts.is_empty() {
            true => self.ends.iter().map(|&end| mark(end)).collect(),
            false => self
                .cuts
                .iter()
                .map(|cut| mark(cut.span_end as u32))
                .collect(),
        };
        let events = Events {
            marks,
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
        renderer.begin(piece, bytes, std::ptr::eq(text, input.data));
        let config = self.config.clone();
        let mut all = Lines {
            config: &config,
            input,
            filter: config.filter.run(text),
        };
        for cut in &self.cuts {
            let event = Event {
                text: text.get(cut.text.clone()).unwrap_or_default(),
                place: cut.text.clone(),
                behind: &self.behind,
                offset: input.start + cut.start as u64,
                span_end: cut.span_end,
                stream: cut.stream,
                container_time: input.data.get(cut.time.clone()).unwrap_or_default(),
            };
            let bucket = bucket.as_mut().map(|(bucket, now)| (&mut **bucket, *now));
            renderer.event(&mut all, &event, bucket);
        }
        renderer.finish(bytes, input.data)
    }
}

/// How many newlines are among `bytes`. In blocks so short that a byte counts those of each: the compiler looks at many
/// bytes at once then.
fn count_newlines(bytes: &[u8]) -> u64 {
    let count = |block: &[u8]| {
        let newlines = block.iter().map(|byte| u8::from(*byte == b'\n'));
        u64::from(newlines.sum::<u8>())
    };
    let (blocks, rest) = bytes.as_chunks::<128>();
    blocks.iter().map(|block| count(block)).sum::<u64>() + count(rest)
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

/// Lines of two streams that lie across each other are kept together up to so many bytes.
const GROUP_BYTES: usize = 256 << 10;
