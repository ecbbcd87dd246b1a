//! Joining the lines of a container: parts to lines and lines to events, each stream for itself, while the lines of
//! the other stream lie between them.
//!
//! An event is one span of file bytes, and no position stands inside an event. With two streams the events of one lie
//! across those of the other, so they come out in **groups**. A group ends at the first line end that no event lies
//! across, whether the event is known to be whole by then or only by what follows. All events of a group but its
//! last carry the group's beginning as the end of their span: a position moves over whole groups only.
//!
//! ```text
//! out 1: order 7 failed        group of one event: nothing lies across the end of this line
//! out 2: order 8 failed   -.   one group: `err` begins inside the event of `out`,
//! err 1: GET /       -.    |   and ends behind it
//! out    at Shop.java  |  -'
//! err    Host: a      -'
//! out 3: ...
//! ```
//! What is decided depends on the bytes from the group's beginning on, and never on how they were cut into calls:
//! - A stream that was silent for a quarter of `group_bytes` has ended what it had begun. Else one line on standard
//!   error would hold up all of a backlog, in which no time-out runs, and then cut what lies at the group's end.
//! - A group is at most `group_bytes` long, or one line. What has begun within that is ended there.
//!
//! A time-out does depend on calls; the caller says what it has run out for.

use std::ops::Range;

use crate::record::container::{ContainerKind, ContainerLine, ContainerText, Stream};
use crate::record::decode::Decoder;
use crate::record::pending::{Line, Pending};

/// Joins the lines of one file. It stands at a group's beginning or has seen some of the lines behind it.
#[derive(Debug)]
pub struct Joiner {
    kind: ContainerKind,
    decoder: Decoder,
    group_bytes: usize,
    /// A stream of which so many bytes of the file hold nothing has ended its event.
    quiet_bytes: usize,
    /// Bytes of the data whose lines are taken.
    seen: usize,
    /// By [`place`].
    streams: [Pending; 3],
    ends: Vec<u32>,
    scratch: Vec<u8>,
}

/// What became of the lines.
#[derive(Debug, Default)]
pub struct Joined {
    /// The events' text.
    pub text: Vec<u8>,
    /// The events of the groups that have ended.
    pub events: Vec<JoinedEvent>,
    /// The end of the last of these groups in the data: the next call's data begins here.
    pub decided: usize,
    /// Lines that no runtime wrote, of those that this call was the first to see.
    pub foreign_lines: usize,
    /// Parts that were no characters in the encoding, in the same lines.
    pub bad_parts: usize,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinedEvent {
    /// Where it stands in [`Joined::text`], its last newline left out.
    pub text: Range<usize>,
    /// Where the program wrote it to.
    pub stream: Stream,
    /// Where the time of its first line stands in the data; empty if it has none.
    pub time: Range<usize>,
    /// The place in the data up to which all is said with this event and those before it.
    pub span_end: usize,
    /// False: its last line was ended before its last part had come. If that comes it is another event.
    pub is_whole: bool,
}

/// Which events are given next, for each stream by [`place`].
#[derive(Debug, Clone, Copy)]
struct Next {
    /// How many were.
    given: [usize; 3],
    /// Where the next one begins in the data; nowhere is the greatest number.
    begins: [usize; 3],
}

/// How far [`Joiner::take_lines`] came.
#[derive(Debug, PartialEq, Eq)]
enum Taken {
    All,
    /// The next line would make the group too long.
    UpToLimit,
}

impl Joiner {
    /// A joiner for a file at the beginning of a group, which is the file's beginning or where an earlier one had
    /// come to. A group has at most `group_bytes`, or one line: at least as many as the longest event that is to
    /// stay whole.
    pub fn new(kind: ContainerKind, decoder: Decoder, group_bytes: usize) -> Joiner {
        Joiner {
            kind,
            decoder,
            group_bytes,
            quiet_bytes: group_bytes / 4,
            seen: 0,
            streams: Default::default(),
            ends: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// Takes what is new of `data`, whole raw lines from the beginning of a group on, and replaces `out` by the groups
    /// that have ended. The next call's data must begin at [`Joined::decided`].
    ///
    /// Lines before `due` have waited long enough: of a stream that has none after it, all is ended. If `due` is the
    /// end of the data, all is, and the last line needs no newline.
    ///
    /// `assemble` is given a stream, whole lines of it from the beginning of an event on, and whether no more will
    /// follow on them; it adds the ends of the events among them, that of the last only if it is sure or nothing
    /// follows. What it is given again and has not ended begins with the same lines.
    pub fn join(
        &mut self,
        data: &[u8],
        due: usize,
        mut assemble: impl FnMut(Stream, &[u8], bool, &mut Vec<u32>),
        out: &mut Joined,
    ) {
        out.text.clear();
        out.events.clear();
        (out.decided, out.foreign_lines, out.bad_parts) = (0, 0, 0);
        if data.len() < self.seen {
            // Of what was given before, nothing is new.
            return;
        }
        loop {
            let taken = self.take_lines(data, due, out, &mut assemble);
            for stream in STREAMS {
                let pending = &self.streams[place(stream)];
                let limit = pending.last_end.saturating_add(self.quiet_bytes);
                let is_due = taken == Taken::All && pending.last_end <= due;
                self.end_events(stream, self.seen > limit || is_due, out, &mut assemble);
            }
            let before = out.decided;
            self.end_groups(out);
            if taken == Taken::All {
                break;
            }
            if out.decided == before {
                for stream in STREAMS {
                    self.end_events(stream, true, out, &mut assemble);
                }
                self.end_group_here(out);
            }
        }
        self.move_to(out.decided);
    }

    /// Bytes of text that are held back, for whoever counts memory.
    pub fn pending_bytes(&self) -> usize {
        self.streams.iter().map(|pending| pending.text.len()).sum()
    }

    /// Gives back what memory is not needed for what is held back: for a file that nothing is written to for now.
    pub fn shrink(&mut self) {
        for pending in &mut self.streams {
            pending.shrink();
        }
        self.ends = Vec::new();
        self.scratch = Vec::new();
    }

    /// Takes the lines that have not been seen, as many as the group may have.
    fn take_lines(
        &mut self,
        data: &[u8],
        due: usize,
        out: &mut Joined,
        assemble: &mut impl FnMut(Stream, &[u8], bool, &mut Vec<u32>),
    ) -> Taken {
        let limit = out.decided.saturating_add(self.group_bytes);
        let begin = self.seen;
        let unseen = data.get(begin..).unwrap_or_default();
        let last = (due >= data.len() && !unseen.is_empty() && !unseen.ends_with(b"\n"))
            .then_some(unseen.len());
        let newlines = memchr::memchr_iter(b'\n', unseen).map(|at| at + 1);
        for end in newlines.chain(last) {
            let raw = self.seen..begin + end;
            if raw.end > limit && raw.start > out.decided {
                return Taken::UpToLimit;
            }
            self.take_line(data, raw, out, assemble);
        }
        Taken::All
    }

    fn take_line(
        &mut self,
        data: &[u8],
        raw: Range<usize>,
        out: &mut Joined,
        assemble: &mut impl FnMut(Stream, &[u8], bool, &mut Vec<u32>),
    ) {
        let line = data.get(raw.clone()).unwrap_or_default();
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let parsed = self.kind.parse(line);
        out.foreign_lines += usize::from(parsed.is_none());
        let parsed = parsed.unwrap_or(ContainerLine {
            stream: Stream::Unknown,
            time: 0..0,
            text: ContainerText::Plain(line),
            is_partial: false,
        });
        let stream = parsed.stream;
        if raw.start
            > self.streams[place(stream)]
                .last_end
                .saturating_add(self.quiet_bytes)
        {
            self.end_events(stream, true, out, assemble);
        }
        let pending = &mut self.streams[place(stream)];
        parsed.text.add_to(&mut pending.text);
        pending.last_end = raw.end;
        self.seen = raw.end;
        let open = pending.open.get_or_insert_with(|| Line {
            text_end: 0,
            raw: raw.clone(),
            time: match parsed.time {
                time if time.is_empty() => time,
                time => raw.start + time.start..raw.start + time.end,
            },
            is_whole: true,
            is_raw_text: matches!(parsed.text, ContainerText::Plain(_)),
        });
        open.raw.end = raw.end;
        if !parsed.is_partial {
            self.end_line(stream, true, out);
        }
    }

    /// The line of which parts have come is ended.
    fn end_line(&mut self, stream: Stream, is_whole: bool, out: &mut Joined) {
        let pending = &mut self.streams[place(stream)];
        let Some(mut line) = pending.open.take() else {
            return;
        };
        if line.is_raw_text && !self.decoder.is_as_it_is() {
            // A character may have been cut by the parts, so they are decoded together.
            let begin = pending.lines.last().map_or(0, |line| line.text_end);
            self.scratch.clear();
            self.scratch.extend(pending.text.drain(begin..));
            out.bad_parts += self.decoder.decode(&self.scratch, &mut pending.text);
        }
        pending.text.push(b'\n');
        line.text_end = pending.text.len();
        line.is_whole = is_whole;
        pending.lines.push(line);
    }

    /// Asks the assembler for the events of a stream; with `is_last`, of all that it has.
    fn end_events(
        &mut self,
        stream: Stream,
        is_last: bool,
        out: &mut Joined,
        assemble: &mut impl FnMut(Stream, &[u8], bool, &mut Vec<u32>),
    ) {
        if is_last {
            self.end_line(stream, false, out);
        }
        let pending = &mut self.streams[place(stream)];
        let whole = pending.lines.last().map_or(0, |line| line.text_end);
        let is_new = whole > pending.asked || (is_last && whole > pending.ended);
        let (true, Some(text)) = (is_new, pending.text.get(pending.ended..whole)) else {
            return;
        };
        self.ends.clear();
        assemble(stream, text, is_last, &mut self.ends);
        let base = pending.ended;
        for &end in &self.ends {
            pending.end_event(
                base.saturating_add(usize::try_from(end).unwrap_or(usize::MAX))
                    .min(whole),
            );
        }
        if is_last {
            pending.end_event(whole);
        }
        pending.asked = whole;
    }

    /// Gives the groups that have ended.
    fn end_groups(&mut self, out: &mut Joined) {
        // What begins here or behind it is not decided yet.
        let known = self.streams.iter().filter_map(Pending::undecided).min();
        let known = known.unwrap_or(self.seen);
        let mut next = self.first();
        while out.decided < known {
            let before = (out.events.len(), out.text.len(), next);
            let mut end = out.decided + 1;
            while let Some(event_end) = self.give_event(&mut next, end, out) {
                end = end.max(event_end);
            }
            if end > known {
                out.events.truncate(before.0);
                out.text.truncate(before.1);
                next = before.2;
                break;
            }
            out.end_group(end);
        }
        self.drop_events(next.given);
    }

    /// Gives all events there are as one group, which ends where the last line that was taken does.
    fn end_group_here(&mut self, out: &mut Joined) {
        let mut next = self.first();
        while self.give_event(&mut next, usize::MAX, out).is_some() {}
        out.end_group(self.seen);
        self.drop_events(next.given);
    }

    /// Before any event was given.
    fn first(&self) -> Next {
        let begin = |pending: &Pending| {
            pending
                .events
                .first()
                .map_or(usize::MAX, |event| event.raw.start)
        };
        Next {
            given: [0; 3],
            begins: self.streams.each_ref().map(begin),
        }
    }

    /// Gives the next event if it begins before `end`. Returns where its last raw line ends.
    #[inline]
    fn give_event(&self, next: &mut Next, end: usize, out: &mut Joined) -> Option<usize> {
        let [first, second, third] = next.begins;
        let stream = match first.min(second).min(third) {
            begin if begin >= end => return None,
            begin if begin == first => Stream::Stdout,
            begin if begin == second => Stream::Stderr,
            _ => Stream::Unknown,
        };
        let pending = &self.streams[place(stream)];
        let given = &mut next.given[place(stream)];
        let event = pending.events.get(*given)?;
        *given += 1;
        let after = pending.events.get(*given);
        next.begins[place(stream)] = after.map_or(usize::MAX, |event| event.raw.start);
        let text = pending.text.get(event.text.clone()).unwrap_or_default();
        let text_start = out.text.len();
        out.text
            .extend_from_slice(text.strip_suffix(b"\n").unwrap_or(text));
        out.events.push(JoinedEvent {
            text: text_start..out.text.len(),
            stream,
            time: event.time.clone(),
            span_end: out.decided,
            is_whole: event.is_whole,
        });
        Some(event.raw.end)
    }

    fn drop_events(&mut self, given: [usize; 3]) {
        for (pending, given) in self.streams.iter_mut().zip(given) {
            pending.drop_events(given);
        }
    }

    /// Places in the data are reckoned from `decided` on.
    fn move_to(&mut self, decided: usize) {
        if decided == 0 {
            return;
        }
        self.seen -= decided;
        for pending in &mut self.streams {
            pending.move_back(decided);
        }
    }
}

impl Joined {
    /// The events that came last are a group, which ends here.
    fn end_group(&mut self, end: usize) {
        self.decided = end;
        if let Some(last) = self.events.last_mut() {
            last.span_end = end;
        }
    }
}

/// Where a stream stands in [`Joiner::streams`].
fn place(stream: Stream) -> usize {
    match stream {
        Stream::Stdout => 0,
        Stream::Stderr => 1,
        Stream::Unknown => 2,
    }
}

/// The streams by their places.
const STREAMS: [Stream; 3] = [Stream::Stdout, Stream::Stderr, Stream::Unknown];
