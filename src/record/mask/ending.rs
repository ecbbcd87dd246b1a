//! Where a secret value ends.
//!
//! The end may lie in a later piece of the line, or beyond it: then all that is in sight is hidden, and the search goes on
//! in the next piece.

use memchr::memchr_iter;

use super::piece::Piece;

/// How the end of a value is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// The quote with so many backslashes before it, those of the quote that opened it.
    Quote { quote: u8, backslashes: usize },
    /// The end of a value without quotes.
    Word,
    /// The end of a word after a scheme.
    Token,
    /// The next `]`, which belongs to it.
    Bracket,
    /// The end of the line.
    Line,
    /// The end of the event.
    Rest,
}

impl Ending {
    /// The end of what began before `from`, and how to go on if it is not in sight: then it is looked for again from the
    /// place that is given as the end, when more is there to see.
    pub(super) fn find(self, piece: &Piece<'_>, from: usize) -> (usize, Option<Self>) {
        let rest = piece.window.get(from..).unwrap_or_default();
        let (len, is_closed) = match self {
            Ending::Quote { quote, backslashes } => quoted_len(rest, quote, backslashes),
            Ending::Word => word_len(rest),
            Ending::Token => run_len(rest, is_of_token),
            Ending::Line => run_len(rest, |byte| byte != b'\n'),
            Ending::Bracket => match memchr::memchr(b']', rest) {
                Some(at) => (at + 1, true),
                None => (rest.len(), false),
            },
            Ending::Rest => (rest.len(), false),
        };
        match (is_closed, piece.is_last) {
            (true, _) => (from + len, None),
            (false, true) => (piece.window.len().max(from), None),
            (false, false) => (from + len, Some(self)),
        }
    }
}

/// Backslashes and a quote at the beginning of `text`: how their string ends, and their length.
pub(super) fn opening_quote(text: &[u8]) -> Option<(Ending, usize)> {
    let backslashes = text.iter().take_while(|byte| **byte == b'\\').count();
    match text.get(backslashes) {
        Some(&quote @ (b'"' | b'\'' | b'`')) => {
            Some((Ending::Quote { quote, backslashes }, backslashes + 1))
        }
        _ => None,
    }
}

/// The length up to the closing quote. A string within strings has its quotes behind 1, 3, 7, … backslashes; a quote with as
/// many is one of them, with twice as many more it is one behind escaped backslashes, and with fewer it ends a string around it.
fn quoted_len(text: &[u8], quote: u8, backslashes: usize) -> (usize, bool) {
    for at in memchr_iter(quote, text) {
        let before = text.get(..at).unwrap_or_default();
        let run = trailing_backslashes(before);
        match run.checked_sub(backslashes) {
            None => return (at - run, true),
            Some(more) if more.is_multiple_of(2 * (backslashes + 1)) => {
                return (at - backslashes, true);
            }
            Some(_) => {}
        }
    }
    (text.len() - trailing_backslashes(text), false)
}

fn word_len(text: &[u8]) -> (usize, bool) {
    for (at, &byte) in text.iter().enumerate() {
        let is_end = match byte {
            // The backslashes are those of the quote.
            b'"' | b'\'' | b'`' => {
                return (
                    at - trailing_backslashes(text.get(..at).unwrap_or_default()),
                    true,
                );
            }
            b'&' | b';' | b'<' => true,
            b',' => match is_comma_between(text.get(at + 1..).unwrap_or_default()) {
                Some(is_between) => is_between,
                None => return (at, false),
            },
            _ => byte <= b' ' || byte == 0x7f,
        };
        if is_end {
            return (at, true);
        }
    }
    (text.len() - trailing_backslashes(text), false)
}

/// Is the comma before `text` one between values? `None`: `text` is too short to tell.
fn is_comma_between(text: &[u8]) -> Option<bool> {
    let is_of_name = |byte: &&u8| byte.is_ascii_alphanumeric() || b"_-.".contains(byte);
    let name = text.iter().take(MAX_NAME).take_while(is_of_name).count();
    match text.get(name)? {
        b'=' | b':' => Some(name > 0),
        b' ' | b'\t' | b'\n' | b'"' | b'\'' | b'\\' => Some(name == 0),
        _ => Some(false),
    }
}

pub(super) fn run_len(text: &[u8], is_of_run: impl Fn(u8) -> bool) -> (usize, bool) {
    match text.iter().position(|byte| !is_of_run(*byte)) {
        Some(len) => (len, true),
        None => (text.len(), false),
    }
}

pub(super) fn is_of_token(byte: u8) -> bool {
    byte > b' ' && byte != 0x7f && !b"\"'`,;<>()[]{}\\&".contains(&byte)
}

pub(super) fn trailing_backslashes(text: &[u8]) -> usize {
    text.iter().rev().take_while(|byte| **byte == b'\\').count()
}

/// The longest name behind a comma that is looked at.
const MAX_NAME: usize = 64;
