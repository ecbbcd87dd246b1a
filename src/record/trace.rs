//! How the lines of an output without times belong together.
//!
//! An event begins with its first line; each further line joins it, waits, or ends it. A line that waits joins only if one
//! that joins comes soon after it: a blank line before a frame, the second line of an exception's message.

use memchr::memchr;

use crate::record::shapes::{
    Shape, after_process, begins, is_caret, is_frame, is_go_crash, is_go_prelude, is_group,
    is_node_place, is_opening, is_ruby_error, is_rust_panic, is_sanitizer_error, is_sanitizer_rule,
    is_syntax_error,
};
use crate::record::times::begins_with_time;

/// As many lines wait for the line that joins them.
pub const LONGEST_WAIT: u8 = 16;

/// What one event's lines so far have been, in an output without times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trace {
    place: Place,
    /// Lines that wait; at most `LONGEST_WAIT`.
    waiting: u8,
    /// Whether one of them is not blank.
    waits_for_text: bool,
    /// Whether one of them is blank.
    waits_for_blank: bool,
    /// Whether a line ended with a bracket that has not been closed at a line's beginning.
    is_open: bool,
}

/// What a further line does to an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It belongs to the event, and so do the lines that wait.
    Joins,
    /// It belongs to the event if a later line joins.
    Waits,
    /// The event ended with the last line that joined.
    Ends,
    /// The event ended with the line before this one.
    EndsWithWaiting,
}

/// Where in an event its last line stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// A blank line that belongs to nothing.
    Blank,
    /// A line of no known shape.
    Plain,
    /// A line that says an exception follows.
    Header,
    /// An exception whose frames have not come.
    Message,
    /// As before, and the message ended with "nested exception is:".
    Nested,
    /// Frames that only further frames or causes follow.
    Frames,
    /// Frames of Python: the next unindented line is the exception.
    PythonFrames,
    /// The exception of a Python traceback.
    PythonMessage,
    /// The sentence between two tracebacks.
    PythonChain,
    /// Lines of Go's runtime before its `fatal error: `.
    GoPrelude,
    /// A panic whose goroutines have not come.
    GoMessage,
    Goroutines,
    /// A panic's first line, the message of which is on the next.
    RustPanic,
    RustMessage,
    /// The place where Node says that an error was thrown.
    NodeSource,
    /// The mark below the line of source; the error comes next.
    NodeMark,
    SanitizerRule,
    SanitizerReport,
    SanitizerSummary,
}

impl Trace {
    /// The state after the first line of an event, without its line end; `has_time` says whether it begins with a time.
    pub fn begin(text: &[u8], has_time: bool) -> Trace {
        let mut trace = Trace {
            place: if has_time {
                Place::Header
            } else {
                Place::of_first(text)
            },
            waiting: 0,
            waits_for_text: false,
            waits_for_blank: false,
            is_open: is_opening(text),
        };
        trace.nest(text);
        trace
    }

    /// Whether no line can join, whatever it is.
    pub fn is_over(&self) -> bool {
        self.place == Place::Blank
    }

    /// What `text`, a line without its line end, does to the event; `has_time` says whether it begins with a time, `after` is
    /// what follows it. Nothing where more must be seen for it.
    pub fn next(
        &mut self,
        text: &[u8],
        has_time: bool,
        after: &[u8],
        is_last: bool,
    ) -> Option<Verdict> {
        if text.trim_ascii().is_empty() {
            self.waits_for_blank = true;
            return Some(self.wait());
        }
        let verdict = if has_time {
            self.end_before_log_line()
        } else if self.place == Place::NodeSource {
            self.source(text)
        } else if matches!(text.first(), Some(b' ' | b'\t')) {
            self.indented(text)
        } else {
            self.unindented(text, after, is_last)?
        };
        match verdict {
            Verdict::Joins => {
                self.waiting = 0;
                self.waits_for_text = false;
                self.waits_for_blank = false;
                self.is_open |= is_opening(text);
                self.nest(text);
            }
            Verdict::Waits => {
                self.waits_for_text = true;
                return Some(self.wait());
            }
            Verdict::Ends | Verdict::EndsWithWaiting => {}
        }
        Some(verdict)
    }

    fn wait(&mut self) -> Verdict {
        if self.waiting == LONGEST_WAIT {
            return Verdict::Ends;
        }
        self.waiting += 1;
        Verdict::Waits
    }

    /// A line of source between the place and the mark.
    fn source(&mut self, text: &[u8]) -> Verdict {
        if is_caret(text) {
            self.place = Place::NodeMark;
            Verdict::Joins
        } else if self.waiting >= LINES_BEFORE_MARK {
            Verdict::Ends
        } else {
            Verdict::Waits
        }
    }

    fn indented(&mut self, text: &[u8]) -> Verdict {
        let body = text.trim_ascii_start();
        let follows = match self.place {
            Place::Header => self.waiting == 0,
            Place::PythonChain | Place::PythonFrames => true,
            _ => false,
        };
        if is_group(body) {
            self.place = if follows { Place::Frames } else { self.place };
            return if follows {
                Verdict::Joins
            } else {
                Verdict::Ends
            };
        }
        if is_syntax_error(body)
            && (follows || matches!(self.place, Place::Plain | Place::PythonMessage))
        {
            self.place = if follows {
                Place::PythonFrames
            } else {
                self.place
            };
            return if follows {
                Verdict::Joins
            } else {
                Verdict::Ends
            };
        }
        let is_frame = is_frame(body);
        if self.waits_for_text {
            let joins = is_frame
                && matches!(
                    self.place,
                    Place::Message | Place::Nested | Place::RustMessage
                )
                || self.place == Place::SanitizerReport;
            if !joins {
                return Verdict::Waits;
            }
        }
        let waits_for_frame = matches!(
            self.place,
            Place::Plain | Place::Header | Place::Message | Place::Nested
        );
        if is_frame && waits_for_frame
            || self.place == Place::Header
            || self.place == Place::NodeMark
        {
            self.place = Place::Frames;
        }
        Verdict::Joins
    }

    fn unindented(&mut self, text: &[u8], after: &[u8], is_last: bool) -> Option<Verdict> {
        if self.place == Place::GoPrelude && is_go_prelude(text) {
            return Some(Verdict::Waits);
        }
        if begins_crash(text, after, is_last)? {
            return Some(self.crash(text));
        }
        let shape = Shape::of(text);
        if matches!(shape, Shape::Severe | Shape::Log) {
            return Some(self.end_before_log_line());
        }
        Some(match (self.place, shape) {
            (Place::Blank, _) => Verdict::Ends,
            (Place::NodeMark, _) => self.join(Place::Message),
            (Place::RustPanic, _) => self.join(Place::RustMessage),
            (_, Shape::Closing) if self.is_open && !self.waits_for_text => {
                self.is_open = false;
                Verdict::Joins
            }
            (Place::PythonFrames, Shape::Traceback) => Verdict::Ends,
            (Place::PythonFrames, _) => self.join(Place::PythonMessage),
            (Place::PythonMessage, Shape::Traceback) if text == b"Call stack:" => {
                self.join(Place::PythonFrames)
            }
            (Place::Header | Place::PythonChain, Shape::Traceback) => {
                self.join(Place::PythonFrames)
            }
            (_, Shape::Traceback) => Verdict::Ends,
            (Place::SanitizerRule | Place::SanitizerReport | Place::SanitizerSummary, _) => {
                self.sanitizer(text)
            }
            (Place::Plain | Place::Header, _) if self.waiting > 0 && !self.waits_for_text => {
                Verdict::Ends
            }
            (Place::PythonMessage | Place::Frames, Shape::Chain) => self.join(Place::PythonChain),
            (_, Shape::Cause) => self.join(Place::Message),
            (Place::Goroutines, Shape::Frame) => Verdict::Ends,
            (_, Shape::Frame) => self.join(Place::Frames),
            (Place::Frames, Shape::Next) => self.join(Place::Message),
            (Place::Message | Place::Frames | Place::RustMessage, Shape::Note) => {
                self.join(Place::Frames)
            }
            (place, shape) => self.by_place(place, shape),
        })
    }

    /// What a line of no fixed meaning does at `place`.
    fn by_place(&mut self, place: Place, shape: Shape) -> Verdict {
        match (place, shape) {
            (
                Place::Plain
                | Place::Header
                | Place::Goroutines
                | Place::GoMessage
                | Place::GoPrelude,
                Shape::Goroutine,
            ) => self.join(Place::Goroutines),
            (Place::Frames, Shape::Goroutine) if self.waiting == 0 => self.join(Place::Goroutines),
            (Place::Goroutines, Shape::GoFrame) => Verdict::Joins,
            (Place::GoMessage, Shape::GoFrame) => self.join(Place::Goroutines),
            (
                Place::GoMessage | Place::GoPrelude | Place::RustMessage | Place::PythonMessage,
                Shape::Other | Shape::GoFrame,
            ) => Verdict::Waits,
            (Place::GoMessage | Place::RustMessage, _) => Verdict::Waits,
            (Place::PythonMessage, Shape::Closing) => Verdict::Waits,
            (Place::Message, Shape::Exception) => Verdict::Ends,
            (Place::Nested, Shape::Exception) => {
                self.place = Place::Message;
                Verdict::Waits
            }
            (Place::Message | Place::Nested, _) => Verdict::Waits,
            (Place::Header, Shape::Exception) => {
                self.place = Place::Message;
                Verdict::Waits
            }
            _ => Verdict::Ends,
        }
    }

    /// A line that begins a crash dump: it goes on only with the dump's own first lines.
    fn crash(&mut self, text: &[u8]) -> Verdict {
        match self.place {
            Place::GoPrelude if text.starts_with(b"fatal error: ") => self.join(Place::GoMessage),
            Place::SanitizerRule if is_sanitizer_error(text) => self.join(Place::SanitizerReport),
            Place::Header if self.waiting == 0 && is_ruby_error(text) => {
                self.place = Place::Message;
                Verdict::Waits
            }
            _ => self.end_before_log_line(),
        }
    }

    fn sanitizer(&mut self, text: &[u8]) -> Verdict {
        match self.place {
            Place::SanitizerReport if text.starts_with(b"SUMMARY: ") => {
                self.join(Place::SanitizerSummary)
            }
            Place::SanitizerReport if after_process(text).is_some() => Verdict::Joins,
            Place::SanitizerReport => Verdict::Waits,
            Place::SanitizerSummary if is_sanitizer_rule(text) => self.join(Place::Plain),
            Place::SanitizerSummary if begins(text, &[b"Shadow byte", b"=>0x"]) => Verdict::Joins,
            Place::SanitizerSummary => match after_process(text) {
                Some(_) => self.join(Place::Plain),
                None => Verdict::Ends,
            },
            _ => Verdict::Ends,
        }
    }

    /// A message that has no end of its own, as in Python and Rust, goes up to the log line after it.
    fn end_before_log_line(&self) -> Verdict {
        match self.place {
            Place::PythonMessage | Place::RustMessage
                if self.waits_for_text && !self.waits_for_blank =>
            {
                Verdict::EndsWithWaiting
            }
            _ => Verdict::Ends,
        }
    }

    fn join(&mut self, place: Place) -> Verdict {
        self.place = place;
        Verdict::Joins
    }

    fn nest(&mut self, text: &[u8]) {
        if self.place == Place::Message && text.trim_ascii_end().ends_with(b"nested exception is:")
        {
            self.place = Place::Nested;
        }
    }
}

impl Place {
    fn of_first(text: &[u8]) -> Place {
        let body = text.trim_ascii_start();
        if body.is_empty() {
            return Place::Blank;
        }
        if matches!(text.first(), Some(b' ' | b'\t')) {
            return if is_syntax_error(body) {
                Place::PythonFrames
            } else if is_group(body) || is_frame(body) {
                Place::Frames
            } else {
                Place::Plain
            };
        }
        Place::of_crash(text).unwrap_or_else(|| match Shape::of(text) {
            Shape::Traceback => Place::PythonFrames,
            Shape::Chain => Place::PythonChain,
            Shape::Cause | Shape::Next | Shape::Exception => Place::Message,
            Shape::Frame => Place::Frames,
            Shape::Goroutine => Place::Goroutines,
            Shape::Severe => Place::Header,
            _ if text.ends_with(b":") || begins(text, BEFORE_TRACEBACK) => Place::Header,
            _ => Place::Plain,
        })
    }

    fn of_crash(text: &[u8]) -> Option<Place> {
        let place = match text.first()? {
            b'p' | b'f' | b'S' if is_go_crash(text) => Place::GoMessage,
            b'r' | b'u' if is_go_prelude(text) => Place::GoPrelude,
            b't' if is_rust_panic(text) && text.ends_with(b":") => Place::RustPanic,
            b't' if is_rust_panic(text) => Place::RustMessage,
            b'=' if is_sanitizer_rule(text) => Place::SanitizerRule,
            b'=' | b'W' if is_sanitizer_error(text) => Place::SanitizerReport,
            _ if is_node_place(text) => Place::NodeSource,
            _ if is_ruby_error(text) => Place::Message,
            _ => return None,
        };
        Some(place)
    }
}

/// Whether `text`, an unindented line without its line end, begins a crash dump. Some only do by the lines of `after`,
/// what follows the line; nothing where those have not been seen.
pub fn begins_crash(text: &[u8], after: &[u8], is_last: bool) -> Option<bool> {
    match text.first() {
        Some(b'p' | b'f' | b't' | b'E' | b'U' | b'F' | b'S')
            if is_go_crash(text) || is_rust_panic(text) || begins(text, CRASHES) =>
        {
            Some(true)
        }
        Some(b'r' | b'u') if is_go_prelude(text) => soon(after, LONGEST_WAIT, is_last, |line| {
            line.starts_with(b"fatal error: ")
        }),
        Some(b'=') if is_sanitizer_rule(text) => soon(after, 1, is_last, is_sanitizer_error),
        Some(b'=' | b'W') if is_sanitizer_error(text) => Some(true),
        _ if is_ruby_error(text) => Some(true),
        _ if is_node_place(text) => soon(after, LINES_BEFORE_MARK + 1, is_last, is_caret),
        _ => Some(false),
    }
}

/// The line at the beginning of `data`, without its line end, and what follows it.
pub fn split_line(data: &[u8]) -> (&[u8], &[u8]) {
    let end = memchr(b'\n', data).map_or(data.len(), |at| at + 1);
    let (line, after) = data.split_at_checked(end).unwrap_or((data, &[]));
    let text = line.strip_suffix(b"\n").unwrap_or(line);
    (text.strip_suffix(b"\r").unwrap_or(text), after)
}

/// Whether one of the next `count` lines is as wanted, and none before it has a time. Nothing where too few are there.
fn soon(after: &[u8], count: u8, is_last: bool, is_wanted: impl Fn(&[u8]) -> bool) -> Option<bool> {
    let mut after = after;
    for _ in 0..count {
        if after.is_empty() {
            return if is_last { Some(false) } else { None };
        }
        let (text, next) = split_line(after);
        if is_wanted(text) {
            return Some(true);
        }
        if begins_with_time(text) {
            return Some(false);
        }
        after = next;
    }
    Some(false)
}

/// As many lines of source may stand between the place and the mark that Node prints.
const LINES_BEFORE_MARK: u8 = 3;
/// What only a runtime prints, at the end of a process or a thread.
const CRASHES: &[&[u8]] = &[
    b"Exception in thread ",
    b"Unhandled exception. ",
    b"Unhandled Exception: ",
    b"Fatal Python error: ",
    b"terminate called ",
];
/// Lines that Python prints before a traceback, besides those that end with a colon.
const BEFORE_TRACEBACK: &[&[u8]] = &[
    b"--- Logging error ---",
    b"Exception ignored in",
    b"Task exception was never retrieved",
    b"Fatal Python error: ",
];
