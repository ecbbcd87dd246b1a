//! Lines into events of several lines.
//!
//! An `Assembler` says where the events of one file end. What it says depends on the bytes of the file alone, never on how
//! they were cut into calls nor on where a restart fell: what it remembers beyond a call follows from complete events, and
//! from the first and the last 64 KiB before a position, so `resume` finds it again.
//!
//! Three sets of rules tell which lines belong together. *Timed*: up to the next line with a time or the beginning of a crash
//! dump. *Traced*: by the shapes of traces (`trace`). *Single*: each line by itself. `timestamp` is single until the file has
//! shown a time, then timed; `auto` is timed if the first lines of the file show a time, else traced.

use std::sync::Arc;

use memchr::memchr;
use regex::bytes::Regex;

use crate::record::shapes::{is_go_prelude, is_sanitizer_rule};
use crate::record::times::begins_with_time;
use crate::record::trace::{LONGEST_WAIT, Trace, Verdict, begins_crash, split_line};

/// As much of the file's beginning, and of what stands before a position, decides how its events are found.
pub const LOOK_BACK_BYTES: usize = 64 * 1024;

/// The setting `multiline`, where it is not `off`.
#[derive(Clone, Debug)]
pub enum Multiline {
    /// `Timestamp` if one of the file's first 16 lines has a time, else `Trace`.
    Auto,
    /// A line with a time begins an event.
    Timestamp,
    /// Indented lines and the known shapes of traces belong to the line before.
    Trace,
    /// Indented lines belong to the line before.
    Indent,
    /// A line that matches begins an event.
    Start(Regex),
    /// A line that matches belongs to the line before.
    Continue(Regex),
    /// A line that matches ends an event.
    End(Regex),
}

/// Finds the ends of the events in one file.
#[derive(Clone, Debug)]
pub struct Assembler {
    mode: Arc<Multiline>,
    /// Lines of the file before this event; counted up to `FIRST_LINES`.
    lines: u8,
    /// Bytes of the file before this event; counted up to `LOOK_BACK_BYTES`.
    bytes: usize,
    /// Whether the file's beginning has shown a line that begins events.
    has_begun: bool,
    /// Bytes since the last line that begins events.
    since_begin: usize,
    /// What an event has been so far, of which a part was sent.
    inside: Option<Rules>,
}

/// How the end of one event is found, and what its lines so far have been.
#[derive(Clone, Copy, Debug)]
enum Rules {
    Single,
    Timed(Timed),
    Traced(Trace),
    Indented,
    Start,
    Continue,
    End,
}

/// The lines of a timed event that decide about the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Timed {
    /// The event began with lines that a crash dump's own beginning follows.
    Prelude,
    /// The line before is the `# Time: ` of a slow query.
    SlowQuery,
    Other,
}

/// What the line at an event's beginning is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opening {
    /// A line that begins events, by its time or by `start:`.
    Begin,
    /// Any other.
    Other,
}

/// Where an event ends, and what the line there is if that is known.
struct End {
    at: usize,
    opening: Option<Opening>,
}

impl Assembler {
    /// For the beginning of a file.
    pub fn new(mode: Arc<Multiline>) -> Self {
        Assembler {
            mode,
            lines: 0,
            bytes: 0,
            has_begun: false,
            since_begin: usize::MAX,
            inside: None,
        }
    }

    /// For a position in a file at which an event begins. `head` is the file's beginning, up to the position or to
    /// `LOOK_BACK_BYTES`; `before` is what ends at the position, from the file's beginning or `LOOK_BACK_BYTES` long.
    pub fn resume(mode: Arc<Multiline>, head: &[u8], before: &[u8]) -> Self {
        Assembler::resume_within(usize::MAX, mode, head, before)
    }

    /// As `resume`, of a file whose lines of more than `most` bytes went in pieces.
    pub fn resume_within(most: usize, mode: Arc<Multiline>, head: &[u8], before: &[u8]) -> Self {
        let mut assembler = Assembler::new(mode);
        let mut rest = head.get(..LOOK_BACK_BYTES).unwrap_or(head);
        while !rest.is_empty() {
            let length = line_length(rest);
            let first = if length > most.saturating_add(2) {
                most
            } else {
                length
            };
            let (line, after) = rest.split_at_checked(first).unwrap_or((rest, &[]));
            assembler.pass(line, assembler.opening(line));
            let (pieces, after) = after
                .split_at_checked(length - first)
                .unwrap_or((after, &[]));
            assembler.pass(pieces, Opening::Other);
            rest = after;
        }
        // The first line of `before` may be cut; if it is the file's first, `head` has it.
        let mut at = line_length(before);
        assembler.since_begin = usize::MAX;
        while let Some(rest @ [_, ..]) = before.get(at..) {
            let length = line_length(rest);
            let first = if length > most.saturating_add(2) {
                most
            } else {
                length
            };
            if assembler.opening(rest.get(..first).unwrap_or(rest)) == Opening::Begin {
                assembler.since_begin = before.len() - at;
            }
            at += length;
        }
        assembler
    }

    /// Appends to `ends` the position after each complete event of `data`: whole lines, from the beginning of an event or,
    /// after `split`, from inside one. What follows the last end is to be offered again with what comes after it. With
    /// `is_last` nothing comes, and all of `data` is events.
    pub fn assemble(&mut self, data: &[u8], is_last: bool, ends: &mut Vec<u32>) {
        self.assemble_within(usize::MAX, data, is_last, ends);
    }

    /// As `assemble`, up to the first event of more than `most` bytes, its newline not counted. That it is one is told
    /// by the first lines that are longer together, whatever is known of those behind them.
    pub fn assemble_within(
        &mut self,
        most: usize,
        data: &[u8],
        is_last: bool,
        ends: &mut Vec<u32>,
    ) {
        let mut at = 0;
        let mut opening = None;
        while let Some(rest @ [_, ..]) = data.get(at..) {
            let (rules, known) = match self.inside {
                Some(rules) => (rules, Opening::Other),
                None => {
                    let known = opening.unwrap_or_else(|| self.opening(rest));
                    (self.rules(rest, known), known)
                }
            };
            let Some(end) = self.end_within(most, rules, rest, is_last) else {
                return;
            };
            if end.at > 0 {
                self.pass(rest.get(..end.at).unwrap_or(rest), known);
                at += end.at;
                ends.push(u32::try_from(at).unwrap_or(u32::MAX));
            }
            self.inside = None;
            opening = end.opening;
        }
    }

    /// Where the event ends that `split` has left open: at 0 if all of it was sent. `None`: that is not known yet, or more
    /// than `most` bytes belong to it.
    pub fn end_of_split(&mut self, most: usize, data: &[u8], is_last: bool) -> Option<usize> {
        let Some(rules) = self.inside else {
            return Some(0);
        };
        let end = self.end_within(most, rules, data, is_last)?;
        self.pass(data.get(..end.at).unwrap_or(data), Opening::Other);
        self.inside = None;
        Some(end.at)
    }

    /// Takes note of a piece of a line that is too long: it is no part of an event.
    pub fn pass_piece(&mut self, piece: &[u8], is_first: bool) {
        self.inside = None;
        let opening = if is_first {
            self.opening(piece)
        } else {
            Opening::Other
        };
        self.pass(piece, opening);
    }

    /// Takes note that `data` was sent as a part of an event that goes on: whole lines from the event's beginning, or from
    /// where an earlier part ended. `assemble` goes on behind it.
    pub fn split(&mut self, data: &[u8]) {
        let mut rest = data;
        let mut rules = self.inside;
        while !rest.is_empty() {
            let (text, after) = split_line(rest);
            let known = if rules.is_none() {
                self.opening(rest)
            } else {
                Opening::Other
            };
            rules = Some(match rules {
                None => self.rules(rest, known),
                Some(Rules::Traced(trace)) => Rules::Traced(trace.passed(text, after)),
                Some(Rules::Timed(timed)) => Rules::Timed(timed.passed(text)),
                Some(rules) => rules,
            });
            self.pass(rest.get(..rest.len() - after.len()).unwrap_or(rest), known);
            rest = after;
        }
        self.inside = rules;
    }

    /// What the line at the beginning of `rest` is, as the first of an event.
    fn opening(&self, rest: &[u8]) -> Opening {
        let begins = match &*self.mode {
            Multiline::Auto | Multiline::Timestamp | Multiline::Trace => begins_with_time(rest),
            Multiline::Start(pattern) => pattern.is_match(split_line(rest).0),
            _ => false,
        };
        if begins {
            Opening::Begin
        } else {
            Opening::Other
        }
    }

    /// The rules for the event that begins `rest`, and its state after its first line.
    fn rules(&self, rest: &[u8], opening: Opening) -> Rules {
        let has_begun =
            opening == Opening::Begin || self.has_begun || self.since_begin < LOOK_BACK_BYTES;
        match &*self.mode {
            Multiline::Auto
                if self.has_begun || opening == Opening::Begin && self.is_near_head(rest) =>
            {
                Rules::Timed(Timed::begin(rest))
            }
            Multiline::Auto | Multiline::Trace => {
                Rules::Traced(Trace::begin(split_line(rest).0, opening == Opening::Begin))
            }
            Multiline::Timestamp if has_begun => Rules::Timed(Timed::begin(rest)),
            Multiline::Start(_) if has_begun => Rules::Start,
            Multiline::Timestamp | Multiline::Start(_) => Rules::Single,
            Multiline::Indent => Rules::Indented,
            Multiline::Continue(_) => Rules::Continue,
            Multiline::End(_) => Rules::End,
        }
    }

    /// As `end`, of an event of at most so many bytes.
    fn end_within(&self, most: usize, rules: Rules, rest: &[u8], is_last: bool) -> Option<End> {
        let most = most.saturating_add(1);
        let window = match rest.get(most..) {
            Some(behind) => most + line_length(behind),
            None => rest.len(),
        };
        let is_last = is_last && window == rest.len();
        let end = self.end(rules, rest.get(..window).unwrap_or(rest), is_last)?;
        (end.at <= most).then_some(end)
    }

    /// Where the event that `rest` begins, or goes on with, ends; nothing where more must be seen for it.
    fn end(&self, rules: Rules, rest: &[u8], is_last: bool) -> Option<End> {
        let from = if self.inside.is_some() {
            0
        } else {
            line_length(rest)
        };
        let at = match (rules, &*self.mode) {
            (Rules::Timed(timed), _) => return timed.end(rest, from, is_last),
            (Rules::Single, _) => from,
            (Rules::Traced(trace), _) => return end_of_trace(trace, rest, from, is_last),
            (Rules::Indented, _) => end_of_indented(rest, from, is_last)?,
            (Rules::Start, Multiline::Start(pattern)) => {
                let at = first_line(rest, from, is_last, |text| pattern.is_match(text))?;
                return Some(End {
                    at,
                    opening: Some(Opening::Begin),
                });
            }
            (Rules::Continue, Multiline::Continue(pattern)) => {
                first_line(rest, from, is_last, |text| !pattern.is_match(text))?
            }
            (Rules::End, Multiline::End(pattern)) => {
                let at = first_line(rest, 0, is_last, |text| pattern.is_match(text))?;
                at + rest.get(at..).map_or(0, line_length)
            }
            (Rules::Start | Rules::Continue | Rules::End, _) => from,
        };
        Some(End { at, opening: None })
    }

    /// Counts `bytes`, an event or a part of one, whose first line is as `opening` says.
    #[inline]
    fn pass(&mut self, bytes: &[u8], opening: Opening) {
        if opening == Opening::Begin {
            self.has_begun = self.has_begun || self.is_near_head(bytes);
            self.since_begin = bytes.len();
        } else {
            self.since_begin = self.since_begin.saturating_add(bytes.len());
        }
        if self.lines < FIRST_LINES {
            let lines = memchr::memchr_iter(b'\n', bytes)
                .take(usize::from(FIRST_LINES))
                .count();
            self.lines = FIRST_LINES.min(
                self.lines
                    .saturating_add(u8::try_from(lines).unwrap_or(FIRST_LINES)),
            );
        }
        self.bytes = LOOK_BACK_BYTES.min(self.bytes.saturating_add(bytes.len()));
    }

    /// Whether the line at the beginning of `rest` is one of those by which the file is known; `resume` sees it whole.
    fn is_near_head(&self, rest: &[u8]) -> bool {
        let is_first = self.lines < FIRST_LINES || !matches!(*self.mode, Multiline::Auto);
        let room = LOOK_BACK_BYTES - self.bytes;
        is_first && room > 0 && memchr(b'\n', rest.get(..room).unwrap_or(rest)).is_some()
    }
}

impl Timed {
    /// The state after the first line of `rest`.
    #[inline]
    fn begin(rest: &[u8]) -> Timed {
        match rest.first() {
            Some(b'#' | b'=' | b'r' | b'u') => Timed::Other.after(split_line(rest).0, true),
            _ => Timed::Other,
        }
    }

    fn after(self, text: &[u8], is_first: bool) -> Timed {
        if text.starts_with(b"# Time: ") {
            Timed::SlowQuery
        } else {
            let is_prelude = if is_first {
                is_go_prelude(text) || is_sanitizer_rule(text)
            } else {
                self == Timed::Prelude && !begins_crash(text, &[], true).unwrap_or_default()
            };
            if is_prelude {
                Timed::Prelude
            } else {
                Timed::Other
            }
        }
    }

    /// The state after `text`, which was sent as a part.
    fn passed(self, text: &[u8]) -> Timed {
        self.after(text, false)
    }

    /// The next line with a time or of a crash's beginning, from the line at `from` on.
    fn end(self, rest: &[u8], from: usize, is_last: bool) -> Option<End> {
        let mut timed = self;
        let mut at = from;
        while let Some(line @ [first, ..]) = rest.get(at..) {
            if !matches!(first, b' ' | b'\t' | b'\r' | b'\n') {
                if begins_with_time(line) {
                    return Some(End {
                        at,
                        opening: Some(Opening::Begin),
                    });
                }
                let (text, after) = split_line(line);
                if timed.is_begun_by(text, after, is_last)? {
                    return Some(End {
                        at,
                        opening: Some(Opening::Other),
                    });
                }
                timed = timed.after(text, false);
            }
            at += line_length(line);
        }
        is_last.then_some(End { at, opening: None })
    }

    /// Whether `text`, a line without a time, begins an event.
    fn is_begun_by(self, text: &[u8], after: &[u8], is_last: bool) -> Option<bool> {
        if text.first() == Some(&b'#') {
            return Some(self != Timed::SlowQuery && text.starts_with(b"# User@Host: "));
        }
        // The prelude's own crash goes on with it.
        Some(self != Timed::Prelude && begins_crash(text, after, is_last)?)
    }
}

impl Trace {
    /// The state after `text`, which was sent as a part.
    fn passed(mut self, text: &[u8], after: &[u8]) -> Trace {
        let has_time = begins_with_time(text);
        match self.next(text, has_time, after, true) {
            Some(Verdict::Joins | Verdict::Waits) => self,
            Some(Verdict::Ends | Verdict::EndsWithWaiting) | None => Trace::begin(text, has_time),
        }
    }
}

fn end_of_trace(trace: Trace, rest: &[u8], from: usize, is_last: bool) -> Option<End> {
    let mut trace = trace;
    let (mut at, mut end) = (from, from);
    if trace.is_over() {
        return Some(End {
            at: end,
            opening: None,
        });
    }
    while let Some(line @ [_, ..]) = rest.get(at..) {
        let (text, after) = split_line(line);
        let has_time = begins_with_time(line);
        match trace.next(text, has_time, after, is_last)? {
            Verdict::Ends if at == end => {
                let opening = if has_time {
                    Opening::Begin
                } else {
                    Opening::Other
                };
                return Some(End {
                    at,
                    opening: Some(opening),
                });
            }
            Verdict::Ends => break,
            Verdict::EndsWithWaiting => {
                end = at;
                break;
            }
            Verdict::Waits => at = rest.len() - after.len(),
            Verdict::Joins => {
                at = rest.len() - after.len();
                end = at;
            }
        }
    }
    let is_decided = is_last || at < rest.len();
    is_decided.then_some(End {
        at: end,
        opening: None,
    })
}

/// Blank lines belong to an event only if an indented one follows.
fn end_of_indented(rest: &[u8], from: usize, is_last: bool) -> Option<usize> {
    let mut at = from;
    let mut end = from;
    let mut waiting = 0;
    while let Some(line @ [first, ..]) = rest.get(at..) {
        let (text, after) = split_line(line);
        at = rest.len() - after.len();
        let is_blank = text.trim_ascii().is_empty();
        if is_blank && waiting < LONGEST_WAIT {
            waiting += 1;
        } else if !is_blank && matches!(first, b' ' | b'\t') {
            waiting = 0;
            end = at;
        } else {
            return Some(end);
        }
    }
    is_last.then_some(end)
}

/// The first line from `from` on that is as wanted.
fn first_line(
    rest: &[u8],
    from: usize,
    is_last: bool,
    is_wanted: impl Fn(&[u8]) -> bool,
) -> Option<usize> {
    let mut at = from;
    while let Some(line @ [_, ..]) = rest.get(at..) {
        let (text, after) = split_line(line);
        if is_wanted(text) {
            return Some(at);
        }
        at = rest.len() - after.len();
    }
    is_last.then_some(at)
}

/// The length of the line at the beginning of `rest`, its line end included.
#[inline]
fn line_length(rest: &[u8]) -> usize {
    memchr(b'\n', rest).map_or(rest.len(), |at| at + 1)
}

/// `auto` looks for a time in as many lines of the file.
const FIRST_LINES: u8 = 16;
