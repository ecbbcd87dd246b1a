//! The shapes of single lines in stack traces and crash dumps.
//!
//! Each is the way one language or tool prints a line; none knows of the lines before it. What they mean together is
//! decided in `trace`.

use memchr::{memchr, memmem};

use crate::record::levels::{Level, level_word};

/// What an unindented line of a trace is by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `Traceback (most recent call last):`, or another headline of Python's frames.
    Traceback,
    /// `During handling of the above exception, …`: one more Python traceback follows.
    Chain,
    /// `Caused by: …`, of which a message and frames may follow.
    Cause,
    /// A line that only ever stands among frames, such as `#0 …`, `Stack trace:` or `--- End of …`.
    Frame,
    /// `goroutine 34 [running]:`.
    Goroutine,
    /// A line that stands among the frames of goroutines.
    GoFrame,
    /// What ends a crash report: `Node.js v20.20.2`, `note: run with …`.
    Note,
    /// `Next RuntimeException: …` of PHP.
    Next,
    /// `java.io.IOException: disk`, `Error: see manual`: an exception if frames follow.
    Exception,
    /// A log line of level warning or above.
    Severe,
    /// Another log line that begins with its level.
    Log,
    /// Only brackets that close, as at the end of an object.
    Closing,
    /// Anything else.
    Other,
}

impl Shape {
    /// The shape of `text`, an unindented line without its line end.
    pub fn of(text: &[u8]) -> Shape {
        let (Some(first), Some(last)) = (text.first(), text.last()) else {
            return Shape::Other;
        };
        if matches!(last, b':') && is_traceback(text) {
            return Shape::Traceback;
        }
        if is_ruby_frame(text) || is_frame_line(text) {
            return Shape::Frame;
        }
        let known = match first {
            b'}' | b']' | b')' => Some(if is_closing(text) {
                Shape::Closing
            } else {
                Shape::Other
            }),
            b'D' | b'T' => begins(text, CHAINS).then_some(Shape::Chain),
            b'C' | b'W' => cause(text),
            b'g' => is_goroutine(text).then_some(Shape::Goroutine),
            b'N' | b'n' | b'(' | b'f' => begins(text, NOTES).then_some(Shape::Note),
            _ => None,
        };
        if let Some(shape) = known {
            return shape;
        }
        match log_level(text) {
            Some(Level::Severe) => return Shape::Severe,
            Some(Level::Other) => return Shape::Log,
            None => {}
        }
        if is_exception(text) {
            return Shape::Exception;
        }
        if text
            .strip_prefix(b"Next ")
            .is_some_and(|after| after.contains(&b':') || is_exception(after))
        {
            return Shape::Next;
        }
        if is_go_frame(text) {
            Shape::GoFrame
        } else {
            Shape::Other
        }
    }
}

/// The level of a log line that begins with it: `INFO next`, `[info] next`, `fail: Shop.Api[0]`, `ERROR:root:x`.
fn log_level(text: &[u8]) -> Option<Level> {
    let bracketed = text.strip_prefix(b"[");
    let (level, after) = level_word(bracketed.map_or(text, after_spaces))?;
    let is_upper = !text.iter().take(3).any(u8::is_ascii_lowercase);
    let fits = match after.first() {
        Some(b']') => bracketed.is_some(),
        Some(b':') => is_upper || text.first().is_some_and(u8::is_ascii_lowercase),
        Some(b' ' | b'\t' | b'-' | b'|' | b',' | b'[' | b'(') => is_upper,
        None => is_upper,
        Some(_) => false,
    };
    fits.then_some(level)
}

/// Whether `text` begins with the name of an exception, alone or before its message.
pub fn is_exception(text: &[u8]) -> bool {
    let mut text = text;
    if matches!(text.first(), Some(b'U' | b'P' | b'F')) {
        for prefix in BEFORE_EXCEPTION {
            text = text.strip_prefix(*prefix).unwrap_or(text);
        }
    }
    if let Some(after) = text.strip_prefix(b"Exception in thread \"") {
        text = memmem::find(after, b"\" ")
            .and_then(|at| after.get(at + 2..))
            .unwrap_or(text);
    }
    let length = name_length(text);
    let Some((name, after)) = text.split_at_checked(length) else {
        return false;
    };
    let has_message = match after {
        [] => false,
        [b':'] | [b':', b' ' | b'\t', ..] | [b' ', b'(' | b'[' | b'{', ..] => true,
        _ => return false,
    };
    let last = name
        .rsplit(|byte| matches!(byte, b'.' | b':' | b'$' | b'\\' | b'/'))
        .next()
        .unwrap_or(name);
    if !last
        .first()
        .is_some_and(|byte| byte.is_ascii_uppercase() || *byte == b'_')
    {
        return false;
    }
    let ends = |words: &[&[u8]]| words.iter().any(|word| last.ends_with(word));
    let is_qualified = name
        .iter()
        .filter(|byte| matches!(byte, b'.' | b'\\'))
        .count()
        >= 2
        || memmem::find(name, b"::").is_some();
    ends(EXCEPTION_NAMES) || has_message && (ends(PERHAPS_EXCEPTION_NAMES) || is_qualified)
}

/// The length of the name of a class with its packages.
fn name_length(text: &[u8]) -> usize {
    let mut bytes = text.iter().enumerate().peekable();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'A'..=b'Z'
            | b'a'..=b'z'
            | b'0'..=b'9'
            | b'_'
            | b'.'
            | b'$'
            | b'\\'
            | b'/'
            | 0x80.. => {}
            b':' if matches!(bytes.peek(), Some((_, b':'))) => {
                bytes.next();
            }
            _ => return at,
        }
    }
    text.len()
}

/// Whether `body`, an indented line without its indentation, is a frame of any language.
pub fn is_frame(body: &[u8]) -> bool {
    match body {
        [b'#', digit, ..] => digit.is_ascii_digit(),
        [b'0'..=b'9', ..] => matches!(number(body), (_, [b':', b' ', ..])),
        [b'.', ..] => body.starts_with(b"... "),
        _ => begins(
            body,
            &[
                b"at ",
                b"Suppressed: ",
                b"Caused by: ",
                b"File \"",
                b"from ",
                b"---> ",
                b"--- End of ",
                b"[C]: in ",
                b"thrown in ",
            ],
        ),
    }
}

/// `+ Exception Group Traceback (most recent call last):`, the indented beginning of Python's exception groups.
pub fn is_group(body: &[u8]) -> bool {
    body.starts_with(b"+ Exception Group Traceback (")
}

/// `File "t.py", line 1` and nothing more: a syntax error, which has no `Traceback` line before it.
pub fn is_syntax_error(body: &[u8]) -> bool {
    let Some(after) = body.strip_prefix(b"File \"") else {
        return false;
    };
    let Some(at) = memmem::rfind(after, b"\", line ") else {
        return false;
    };
    matches!(after.get(at + 8..).map(number), Some((1.., [])))
}

/// Whether the line is the mark under a place in the source, as of Node.
pub fn is_caret(text: &[u8]) -> bool {
    let mark = text.trim_ascii();
    !mark.is_empty() && mark.iter().all(|byte| matches!(byte, b'^' | b'~'))
}

/// Whether `text` ends with a bracket that a later line closes.
pub fn is_opening(text: &[u8]) -> bool {
    matches!(text.trim_ascii_end().last(), Some(b'{' | b'[' | b'('))
}

/// `/srv/t.js:5`: where Node says an uncaught error was thrown.
pub fn is_node_place(text: &[u8]) -> bool {
    if !text.last().is_some_and(u8::is_ascii_digit) {
        return false;
    }
    let rooted = match text {
        [drive, b':', b'\\', ..] => drive.is_ascii_alphabetic(),
        _ => begins(
            text,
            &[
                b"/",
                b"file://",
                b"node:",
                b"[stdin]",
                b"[eval]",
                b"evalmachine.",
            ],
        ),
    };
    let digits = text
        .iter()
        .rev()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let before = text.len().saturating_sub(digits + 1);
    rooted && digits > 0 && text.get(before) == Some(&b':')
}

/// `cart.rb:12:in 'total': undefined method (NoMethodError)`: an uncaught error of Ruby.
pub fn is_ruby_error(text: &[u8]) -> bool {
    text.ends_with(b")")
        && ruby_place(text).is_some_and(|after| memmem::find(after, b"': ").is_some())
}

/// `panic: …`, `fatal error: …`, `SIGQUIT: …` of Go.
pub fn is_go_crash(text: &[u8]) -> bool {
    begins(text, &[b"panic: ", b"fatal error: "])
        || text.starts_with(b"SIG")
            && begins(
                text,
                &[
                    b"SIGQUIT: ",
                    b"SIGABRT: ",
                    b"SIGSEGV: ",
                    b"SIGBUS: ",
                    b"SIGILL: ",
                    b"SIGFPE: ",
                    b"SIGTRAP: ",
                ],
            )
}

/// `runtime: goroutine stack exceeds …`: lines that Go prints before `fatal error: …`.
pub fn is_go_prelude(text: &[u8]) -> bool {
    begins(text, &[b"runtime: ", b"unexpected fault address "])
}

/// `thread 'main' panicked at …` of Rust.
pub fn is_rust_panic(text: &[u8]) -> bool {
    text.starts_with(b"thread '")
        && (memmem::find(text, b" panicked at").is_some()
            || text.ends_with(b" has overflowed its stack"))
}

/// The line of `=` above a report of a sanitizer.
pub fn is_sanitizer_rule(text: &[u8]) -> bool {
    text.len() >= 10 && text.iter().all(|byte| *byte == b'=')
}

/// `==2191==ERROR: AddressSanitizer: …`.
pub fn is_sanitizer_error(text: &[u8]) -> bool {
    after_process(text).is_some_and(|after| after.starts_with(b"ERROR"))
        || text.starts_with(b"WARNING: ThreadSanitizer")
}

/// What follows the `==2191==` that a sanitizer's line begins with.
pub fn after_process(text: &[u8]) -> Option<&[u8]> {
    let (digits, after) = number(text.strip_prefix(b"==")?);
    if digits == 0 {
        None
    } else {
        after.strip_prefix(b"==")
    }
}

/// How many digits `text` begins with, and what follows them.
#[inline]
pub fn number(text: &[u8]) -> (usize, &[u8]) {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    (digits, text.get(digits..).unwrap_or_default())
}

/// `text` without the spaces it begins with; never beyond a line's end.
pub fn after_spaces(text: &[u8]) -> &[u8] {
    let spaces = text.iter().take_while(|byte| **byte == b' ').count();
    text.get(spaces..).unwrap_or_default()
}

/// Whether `text` begins with one of `beginnings`.
pub fn begins(text: &[u8], beginnings: &[&[u8]]) -> bool {
    beginnings
        .iter()
        .any(|beginning| text.starts_with(beginning))
}

fn is_traceback(text: &[u8]) -> bool {
    text.ends_with(TRACEBACK)
        || text == b"Call stack:"
        || text.ends_with(b"(most recent call first):")
}

/// What follows a circular reference is no message of it.
fn cause(text: &[u8]) -> Option<Shape> {
    let cause = text
        .strip_prefix(b"Caused by: ")
        .or_else(|| text.strip_prefix(b"Wrapped by: "))?;
    Some(if cause.starts_with(b"[CIRCULAR") {
        Shape::Frame
    } else {
        Shape::Cause
    })
}

fn is_closing(text: &[u8]) -> bool {
    let rest = text
        .iter()
        .skip_while(|byte| matches!(byte, b'}' | b']' | b')' | b',' | b';' | b' '))
        .count();
    rest == 0 || is_opening(text)
}

fn is_goroutine(text: &[u8]) -> bool {
    let Some(after) = text.strip_prefix(b"goroutine ") else {
        return false;
    };
    text.ends_with(b":") && after.first().is_some_and(u8::is_ascii_digit) && after.contains(&b'[')
        || after.starts_with(b"running on other thread")
}

fn is_frame_line(text: &[u8]) -> bool {
    match text {
        [b'#', digit, ..] => {
            digit.is_ascii_digit()
                && matches!(number(text.get(1..).unwrap_or_default()), (_, [b' ', ..]))
        }
        [b'c', ..] => {
            let thread = text.strip_prefix(b"coroutine ");
            thread.is_some_and(|after| matches!(number(after), (1.., [b':'])))
        }
        [b'-', ..] => begins(text, &[b"--- End of ", b"---> "]),
        [b'[', ..] => text == b"[stacktrace]",
        [b'P', ..] => {
            text.starts_with(b"PHP Stack trace:")
                || text.strip_prefix(b"PHP ").is_some_and(is_numbered)
        }
        [b'S' | b's' | b'B', ..] => begins(
            text,
            &[
                b"Stack trace:",
                b"stack traceback:",
                b"stack backtrace:",
                b"Backtrace:",
            ],
        ),
        _ => false,
    }
}

/// `  1. {main}()`: a frame of PHP's own stack traces.
fn is_numbered(text: &[u8]) -> bool {
    matches!(number(after_spaces(text)), (1.., [b'.', b' ', ..]))
}

/// ``/srv/cart.rb:12:in `total'``, which stands at the line's beginning below a logged error.
fn is_ruby_frame(text: &[u8]) -> bool {
    text.ends_with(b"'") && ruby_place(text).is_some()
}

/// What follows ``cart.rb:12:in ` `` in `text`.
fn ruby_place(text: &[u8]) -> Option<&[u8]> {
    let at = memmem::find(text, b":in ")?;
    let after = text.get(at + 4..)?;
    let before = text.get(..at)?;
    let has_line = before.last().is_some_and(u8::is_ascii_digit) && memchr(b':', before).is_some();
    (has_line && matches!(after.first(), Some(b'`' | b'\''))).then_some(after)
}

fn is_go_frame(text: &[u8]) -> bool {
    let is_fixed = match text.first() {
        Some(b'c' | b'[' | b'r' | b'e') => begins(text, GO_FRAMES),
        Some(b'.') => text.starts_with(b"...") && text.ends_with(b"frames elided..."),
        _ => false,
    };
    if is_fixed {
        return true;
    }
    // A register: `rax    0x0`.
    let register = text
        .iter()
        .take_while(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        .count();
    if register <= LONGEST_REGISTER
        && text
            .get(register..)
            .is_some_and(|after| after_spaces(after).starts_with(b"0x"))
    {
        return true;
    }
    // A function: `net/http.(*conn).serve.func1()`, `panic({0x4b5a40?, 0x4dcb00?})`.
    if !text.ends_with(b")") {
        return false;
    }
    let Some(name) = memchr(b'(', text).and_then(|at| text.get(..at)) else {
        return false;
    };
    !name.contains(&b' ') && (name.contains(&b'.') || name == b"panic")
}

/// What a Python traceback begins with.
const TRACEBACK: &[u8] = b"Traceback (most recent call last):";
const CHAINS: &[&[u8]] = &[
    b"During handling of the above exception",
    b"The above exception was the direct cause",
];
const NOTES: &[&[u8]] = &[
    b"Node.js v",
    b"note: ",
    b"(Use `node ",
    b"fatal runtime error: ",
];
const BEFORE_EXCEPTION: &[&[u8]] = &[
    b"Uncaught ",
    b"Unhandled exception. ",
    b"Unhandled Exception: ",
    b"Uncaught exception: ",
    b"PHP ",
    b"Fatal error:  ",
    b"Fatal error: ",
    b"Uncaught ",
];
const EXCEPTION_NAMES: &[&[u8]] = &[b"Error", b"Exception", b"Throwable", b"Failure"];
const PERHAPS_EXCEPTION_NAMES: &[&[u8]] = &[
    b"Warning",
    b"Interrupt",
    b"Fault",
    b"Exit",
    b"Iteration",
    b"Panic",
    b"Abort",
    b"Timeout",
    b"Group",
    b"Invalid",
];
const GO_FRAMES: &[&[u8]] = &[
    b"created by ",
    b"[signal ",
    b"runtime stack:",
    b"[originating from ",
    b"exit status ",
    b"runtime: ",
];
const LONGEST_REGISTER: usize = 6;
