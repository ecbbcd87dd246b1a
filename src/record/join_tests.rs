//! Joining, against a plain reading of the same lines, for any cut into calls and any restart.

use crate::record::container::{ContainerKind, Stream};
use crate::record::decode::Decoder;
use crate::record::encoding::Encoding;
use crate::record::join::{Joined, Joiner};

/// How lines become events here.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    /// Each line is one.
    Off,
    /// A line that begins with a space goes on with the event before it.
    Indent,
    /// A line that begins with `E` is alone unless one of the next two is indented, and joins up to the last such.
    Trace,
}

/// As the module that assembles does it: `ends` of the events that are sure.
fn assemble(mode: Mode, text: &[u8], is_last: bool, ends: &mut Vec<u32>) {
    let lines: Vec<&[u8]> = text.split_inclusive(|b| *b == b'\n').collect();
    let is_indented = |at: usize| lines.get(at).is_some_and(|line| line.starts_with(b" "));
    let (mut at, mut end) = (0, 0);
    while at < lines.len() {
        let mut next = at + 1;
        let mut is_sure = true;
        let waits = mode == Mode::Trace && lines[at].starts_with(b"E");
        if mode == Mode::Indent || waits {
            if waits && !is_indented(next) && is_indented(next + 1) {
                next += 1;
            }
            let begun = next;
            while is_indented(next) {
                next += 1;
            }
            is_sure = next < lines.len() && !(waits && next == begun && next + 1 >= lines.len());
        }
        if !is_sure && !is_last {
            return;
        }
        end += lines[at..next].iter().map(|line| line.len()).sum::<usize>();
        ends.push(u32::try_from(end).expect("is short"));
        at = next;
    }
}

#[derive(Debug, Clone, PartialEq)]
struct Event {
    stream: Stream,
    text: String,
    time: String,
    span_end: usize,
    is_whole: bool,
}

/// Calls a joiner with the bytes of a file.
struct Caller<'a> {
    data: &'a [u8],
    joiner: Joiner,
    mode: Mode,
    /// Where the data of the next call begins.
    position: usize,
    events: Vec<Event>,
    out: Joined,
}

impl<'a> Caller<'a> {
    fn new(data: &'a [u8], position: usize, mode: Mode, group_bytes: usize) -> Self {
        let decoder = Decoder::new(Encoding::Utf8, b"").expect("needs nothing");
        Caller {
            data,
            joiner: Joiner::new(ContainerKind::Auto, decoder, group_bytes),
            mode,
            position,
            events: Vec::new(),
            out: Joined::default(),
        }
    }

    /// One call with what lies before `end`, of which the part before `due` has waited long enough.
    fn join(&mut self, end: usize, due: usize) {
        let data = &self.data[self.position..end];
        let due = due.saturating_sub(self.position);
        let mode = self.mode;
        let assemble =
            |_, text: &[u8], is_last, ends: &mut Vec<u32>| assemble(mode, text, is_last, ends);
        self.joiner.join(data, due, assemble, &mut self.out);
        for event in &self.out.events {
            let string = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("is UTF-8");
            self.events.push(Event {
                stream: event.stream,
                text: string(&self.out.text[event.text.clone()]),
                time: string(&data[event.time.clone()]),
                span_end: self.position + event.span_end,
                is_whole: event.is_whole,
            });
        }
        self.position += self.out.decided;
    }

    fn finish(mut self) -> Vec<Event> {
        self.join(self.data.len(), self.data.len());
        assert_eq!(self.position, self.data.len());
        assert_eq!(self.joiner.pending_bytes(), 0);
        self.events
    }
}

fn at_once(data: &[u8], mode: Mode, group_bytes: usize) -> Vec<Event> {
    Caller::new(data, 0, mode, group_bytes).finish()
}

/// Lines of two streams, partial ones and foreign ones among them, each of its own time.
fn random_lines(random: &mut fastrand::Rng) -> Vec<u8> {
    let mut data = String::new();
    let is_one_stream = random.u8(..4) == 0;
    for n in 0..random.usize(..24) {
        let time = format!("2026-11-26T22:30:{:02}.{n:03}Z", n % 60);
        let stream = ["stdout", "stderr"][usize::from(!is_one_stream && random.u8(..3) == 0)];
        let text = ["a", "b 7", "E x", " at", " at", "  at y", ""][random.usize(..7)];
        let is_partial = random.u8(..5) == 0;
        match random.u8(..8) {
            0 => data.push_str(&format!("foreign {n}\n")),
            1..4 => {
                let end = if is_partial { "" } else { "\\n" };
                let log = text.replace('7', "\\u0037");
                data.push_str(&format!(
                    "{{\"log\":\"{log}{end}\",\"stream\":\"{stream}\",\"time\":\"{time}\"}}\n"
                ));
            }
            _ => data.push_str(&format!(
                "{time} {stream} {} {text}\n",
                if is_partial { 'P' } else { 'F' }
            )),
        }
    }
    data.into_bytes()
}

/// Text, time, and the raw lines' begin and end.
type ProgramLine = (String, String, usize, usize);

/// What a file of which all is known holds: event by event in the order of their beginnings, without any limit.
fn plain_reading(data: &[u8], mode: Mode) -> Vec<Event> {
    let mut streams: Vec<(Stream, Vec<ProgramLine>)> =
        [Stream::Stdout, Stream::Stderr, Stream::Unknown]
            .map(|stream| (stream, Vec::new()))
            .into();
    let mut is_open = [false; 3];
    let mut end = 0;
    for line in data.split_inclusive(|b| *b == b'\n') {
        let begin = end;
        end += line.len();
        let line = &line[..line.len() - 1];
        let parsed = ContainerKind::Auto.parse(line);
        let at = parsed
            .as_ref()
            .map_or(2, |parsed| usize::from(parsed.stream == Stream::Stderr));
        let mut text = Vec::new();
        match &parsed {
            Some(parsed) => parsed.text.add_to(&mut text),
            None => text.extend(line),
        }
        let text = String::from_utf8(text).expect("is UTF-8");
        let time = parsed
            .as_ref()
            .map_or(&b""[..], |parsed| &line[parsed.time.clone()]);
        let lines = &mut streams[at].1;
        match lines.last_mut().filter(|_| is_open[at]) {
            Some(last) => {
                last.0.push_str(&text);
                last.3 = end;
            }
            None => lines.push((
                text,
                String::from_utf8(time.to_vec()).expect("is UTF-8"),
                begin,
                end,
            )),
        }
        is_open[at] = parsed.is_some_and(|parsed| parsed.is_partial);
    }
    let mut found: Vec<(usize, usize, Event)> = Vec::new();
    for (at, (stream, lines)) in streams.iter().enumerate() {
        let text: String = lines.iter().map(|line| format!("{}\n", line.0)).collect();
        let mut ends = Vec::new();
        assemble(mode, text.as_bytes(), true, &mut ends);
        let (mut first, mut from) = (0, 0);
        for end in ends.into_iter().map(|end| end as usize) {
            let count = text[from..end].matches('\n').count();
            let last = first + count - 1;
            let event = Event {
                stream: *stream,
                text: text[from..end - 1].to_owned(),
                time: lines[first].1.clone(),
                span_end: 0,
                is_whole: !(is_open[at] && last + 1 == lines.len()),
            };
            found.push((lines[first].2, lines[last].3, event));
            (first, from) = (last + 1, end);
        }
    }
    found.sort_by_key(|found| found.0);
    let is_clean = |place: usize| {
        !found
            .iter()
            .any(|(begin, end, _)| *begin < place && place < *end)
    };
    let mut group = 0;
    let mut events = Vec::new();
    for (n, (_, _, event)) in found.iter().enumerate() {
        let next = found.get(n + 1).map_or(data.len(), |next| next.0);
        if is_clean(next) {
            group = next;
        }
        events.push(Event {
            span_end: group,
            ..event.clone()
        });
    }
    events
}

const MODES: [Mode; 3] = [Mode::Off, Mode::Indent, Mode::Trace];
const ROUNDS: usize = if cfg!(debug_assertions) {
    3_000
} else {
    30_000
};

#[test]
fn groups_end_wherever_no_event_lies_across() {
    let mut random = fastrand::Rng::with_seed(1);
    for round in 0..ROUNDS {
        let data = random_lines(&mut random);
        let mode = MODES[round % 3];
        assert_eq!(
            at_once(&data, mode, 1 << 20),
            plain_reading(&data, mode),
            "{mode:?}\n{}",
            String::from_utf8_lossy(&data)
        );
    }
}

#[test]
fn events_do_not_depend_on_how_the_bytes_were_cut_into_calls() {
    let mut random = fastrand::Rng::with_seed(2);
    for round in 0..ROUNDS {
        let data = random_lines(&mut random);
        let mode = MODES[round % 3];
        let group_bytes = [60, 150, 300, 600, 1 << 20][random.usize(..5)];
        let expected = at_once(&data, mode, group_bytes);
        let size = [1, 7, 40, 200, 1000][random.usize(..5)];
        let mut caller = Caller::new(&data, 0, mode, group_bytes);
        let mut end = 0;
        while end < data.len() {
            end = data.len().min(end + 1 + random.usize(..size));
            caller.join(end, 0);
            if random.u8(..4) == 0 {
                caller.joiner.shrink();
            }
        }
        assert_eq!(
            caller.finish(),
            expected,
            "{mode:?} {group_bytes} {size}\n{}",
            String::from_utf8_lossy(&data)
        );
    }
}

#[test]
fn a_restart_at_any_group_sees_the_rest_as_it_was() {
    let mut random = fastrand::Rng::with_seed(3);
    for round in 0..ROUNDS / 3 {
        let data = random_lines(&mut random);
        let mode = MODES[round % 3];
        let group_bytes = [60, 150, 300, 600, 1 << 20][random.usize(..5)];
        let expected = at_once(&data, mode, group_bytes);
        let ends: std::collections::BTreeSet<usize> =
            expected.iter().map(|event| event.span_end).collect();
        for end in ends.into_iter().filter(|end| *end > 0) {
            // The first event with this end is the last of a group; those of the next group carry it too.
            let last = expected.iter().position(|event| event.span_end == end);
            let rest = &expected[last.expect("is there") + 1..];
            let again = Caller::new(&data, end, mode, group_bytes).finish();
            assert_eq!(
                again,
                rest,
                "{mode:?} {group_bytes} {end}\n{}",
                String::from_utf8_lossy(&data)
            );
        }
    }
}

#[test]
fn no_line_is_lost_or_repeated_whatever_runs_out_of_time() {
    let mut random = fastrand::Rng::with_seed(4);
    for round in 0..ROUNDS {
        let data = random_lines(&mut random);
        let mode = MODES[round % 3];
        let mut caller = Caller::new(&data, 0, mode, [60, 300, 1 << 20][random.usize(..3)]);
        let mut end = 0;
        while end < data.len() {
            end = data.len().min(end + 1 + random.usize(..200));
            // A time-out is for whole lines: at the end of a half one nothing has run out.
            let whole = data[..end]
                .iter()
                .rposition(|b| *b == b'\n')
                .map_or(0, |at| at + 1);
            caller.join(
                end,
                if random.bool() {
                    random.usize(..=whole)
                } else {
                    0
                },
            );
            if end == whole && random.u8(..4) == 0 {
                caller.join(end, end);
                assert_eq!(caller.position, end);
            }
        }
        let events = caller.finish();
        let text = |events: &[Event], stream| -> String {
            let of_stream = events.iter().filter(|event| event.stream == stream);
            of_stream
                .map(|event| event.text.replace('\n', ""))
                .collect()
        };
        let expected = plain_reading(&data, Mode::Off);
        for stream in [Stream::Stdout, Stream::Stderr, Stream::Unknown] {
            assert_eq!(text(&events, stream), text(&expected, stream));
        }
        assert!(events.is_sorted_by_key(|event| event.span_end));
    }
}

fn cri(stream: &str, tag: char, text: &str) -> String {
    format!("2026-11-26T22:30:54.116Z {stream} {tag} {text}\n")
}

#[test]
fn a_single_stream_ends_a_group_at_each_event() {
    let lines = ["a", " at", "b", "c"].map(|text| cri("stdout", 'F', text));
    let data = lines.concat().into_bytes();
    let mut caller = Caller::new(&data, 0, Mode::Indent, 1 << 20);
    caller.join(data.len(), 0);
    let spans: Vec<(&str, usize)> = caller
        .events
        .iter()
        .map(|e| (&*e.text, e.span_end))
        .collect();
    let ends = [lines[..2].concat().len(), lines[..3].concat().len()];
    assert_eq!(spans, [("a\n at", ends[0]), ("b", ends[1])]);
}

#[test]
fn a_quiet_stream_does_not_hold_up_a_backlog_or_cut_the_other() {
    let mut data = cri("stderr", 'F', "once");
    for _ in 0..200 {
        data += &cri("stdout", 'F', "a");
        data += &cri("stdout", 'F', " at");
    }
    let mut caller = Caller::new(data.as_bytes(), 0, Mode::Indent, 4096);
    caller.join(data.len(), 0);
    assert!(caller.position + 200 > data.len(), "{}", caller.position);
    let events = caller.finish();
    assert_eq!(events.len(), 201);
    assert!(events[1..].iter().all(|event| event.text == "a\n at"));
}

#[test]
fn what_waited_is_ended_while_the_other_stream_goes_on() {
    let first = cri("stderr", 'P', "half");
    let data = first.clone() + &cri("stdout", 'F', "a") + &cri("stdout", 'F', " at");
    let mut caller = Caller::new(data.as_bytes(), 0, Mode::Indent, 1 << 20);
    caller.join(data.len(), 0);
    assert_eq!(caller.events, []);
    caller.join(data.len(), first.len());
    assert_eq!(caller.events.len(), 1);
    let event = &caller.events[0];
    assert_eq!(
        (&*event.text, event.is_whole, event.span_end),
        ("half", false, first.len())
    );
}

#[test]
fn a_character_that_the_runtime_has_cut_is_whole_again() {
    let mut data = cri("stdout", 'P', "订").replace('订', "").into_bytes();
    data.splice(data.len() - 1..data.len() - 1, *b"x\xb6");
    data.extend(cri("stderr", 'F', "e").bytes());
    let mut rest = cri("stdout", 'F', "").into_bytes();
    rest.splice(rest.len() - 1..rest.len() - 1, *b"\xa9\xff");
    data.extend(rest);
    data.extend(br#"{"log":"\u8ba2 \u8ba2\n","stream":"stdout","time":"2026-11-26T22:30:54Z"}"#);
    let decoder = Decoder::new(Encoding::Gbk, b"").expect("needs nothing");
    let mut joiner = Joiner::new(ContainerKind::Auto, decoder, 1 << 20);
    let mut out = Joined::default();
    let each =
        |_, text: &[u8], is_last, ends: &mut Vec<u32>| assemble(Mode::Off, text, is_last, ends);
    joiner.join(&data, data.len(), each, &mut out);
    let texts: Vec<&str> = out
        .events
        .iter()
        .map(|e| str::from_utf8(&out.text[e.text.clone()]).expect("UTF-8"))
        .collect();
    assert_eq!(texts, ["x订\u{fffd}", "e", "订 订"]);
    assert_eq!((out.bad_parts, out.foreign_lines), (1, 0));
}

#[test]
fn newlines_in_the_text_of_one_raw_line_end_events_in_one_group() {
    let data = br#"{"log":"a\n at\nb\n","stream":"stdout","time":"2026-11-26T22:30:54Z"}
"#;
    let events = at_once(data, Mode::Indent, 1 << 20);
    let spans: Vec<(&str, usize)> = events.iter().map(|e| (&*e.text, e.span_end)).collect();
    assert_eq!(spans, [("a\n at", 0), ("b", data.len())]);
}
