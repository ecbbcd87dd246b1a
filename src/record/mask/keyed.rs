//! Secrets that are known by what stands before them: a key, or the word `Bearer`.
//!
//! A key is a name that ends in password, passwd, pwd, passphrase, passcode, secret, token, api key, access key, secret key or
//! private key, in any case, with or without `_` and `-` (so `DB_PASSWORD`, `X-Api-Key`, `access_token`, `clientSecret`, but
//! not `tokens`), or in authorization. It may be in quotes, also escaped ones (JSON within JSON), in brackets (`user[password]`)
//! and coloured. After it come `=`, `:`, `=>` or `:=`, or it is an element of XML. `::` is no `:`.
//!
//! The value is what is between quotes with all their escapes, in brackets `[…]`, or goes up to a blank, a quote, `&`, `;`,
//! `<` or a comma that has a blank or the next key behind it. A closing bracket is hidden with it: it may be part of it.
//! An object is not hidden, its own keys count. A number that JSON has as a value becomes `"***"`; true, false, null stay.
//!
//! After `Bearer`, `bearer`, `BEARER` a word of at least 8 bytes is hidden. Of the value of `Authorization` the scheme stays, if it is known.

use memchr::memchr3_iter;
use memchr::memmem::Finder;

use super::ending::{Ending, is_of_token, opening_quote, run_len, trailing_backslashes};
use super::hidden::{Hidden, Text};
use super::piece::{Piece, Word};

/// Which of them are looked for.
#[derive(Debug)]
pub(super) struct Keys {
    bearer: bool,
    bearer_ends: [Finder<'static>; 2],
    password: bool,
}

impl Keys {
    pub(super) fn new(bearer: bool, password: bool) -> Option<Self> {
        (bearer || password).then(|| Self {
            bearer,
            bearer_ends: BEARER_ENDS.map(Finder::new),
            password,
        })
    }

    /// Finds secrets in the window.
    pub(super) fn find(&self, piece: &Piece<'_>, found: &mut Vec<Hidden>) {
        let text = piece.window;
        for at in memchr3_iter(b'=', b':', b'>', text) {
            if let Some(key) = Key::before(text, at)
                && let Some(start) = key.value_start(text, at)
            {
                match key.word {
                    Word::Password if self.password => push_value(piece, &key, start, found),
                    Word::Bearer if self.bearer => push_authorization(piece, start, found),
                    _ => {}
                }
            }
        }
        if self.bearer {
            for finder in &self.bearer_ends {
                for at in finder.find_iter(text) {
                    push_bearer(piece, at.saturating_sub(1), found);
                }
            }
        }
    }
}

/// A key, and how it is written.
struct Key {
    word: Word,
    start: usize,
    is_quoted: bool,
}

impl Key {
    /// The key that ends before the separator at `at`.
    fn before(text: &[u8], at: usize) -> Option<Self> {
        let mut before = text.get(..at)?;
        if let [.., b' ' | b'\t'] = before {
            before = without_blanks(before);
        }
        let mut is_quoted = false;
        if let [rest @ .., b'"' | b'\''] = before {
            is_quoted = true;
            before = rest.get(..rest.len() - trailing_backslashes(rest))?;
        }
        if let [.., b'm'] = before {
            before = without_colour(before);
        }
        if let [rest @ .., b']'] | [rest @ .., b'%', b'5', b'D' | b'd'] = before {
            before = rest;
        }
        // Few bytes end a key: this settles most.
        let words = match before.last()?.to_ascii_lowercase() {
            b'd' => ENDING_IN_D,
            b'n' => ENDING_IN_N,
            b't' => ENDING_IN_T,
            b'y' => ENDING_IN_Y,
            b'e' => ENDING_IN_E,
            _ => return None,
        };
        let (key, len) = words.iter().find_map(|(key, word)| {
            let len = suffix_len(before, key.as_bytes())?;
            Some((*word, len))
        })?;
        Some(Self {
            word: key,
            start: before.len() - len,
            is_quoted,
        })
    }

    /// Where the value begins behind the separator at `at`, which may still be a quote.
    fn value_start(&self, text: &[u8], at: usize) -> Option<usize> {
        let rest = text.get(at..)?;
        let len = match rest {
            [b'>', ..] if !self.is_element(text) => return None,
            [b':', b':', ..] => return None,
            [b':', ..] if at > 0 && text.get(at - 1) == Some(&b':') => return None,
            [b'=' | b':', b'=' | b'>', b'=' | b'>', ..] => 3,
            [b'=' | b':', b'=' | b'>', ..] => 2,
            _ => 1,
        };
        let mut at = at + len;
        at += rest
            .get(len..)?
            .iter()
            .take(MAX_BLANKS)
            .take_while(|byte| is_blank(**byte))
            .count();
        Some(at + colour_len(text.get(at..)?))
    }

    /// Is it the name of an opening element of XML?
    fn is_element(&self, text: &[u8]) -> bool {
        let before = text.get(..self.start).unwrap_or_default();
        let is_of_name = |byte: &&u8| byte.is_ascii_alphanumeric() || b"_-.:".contains(byte);
        let name = before
            .iter()
            .rev()
            .take(MAX_NAME)
            .take_while(is_of_name)
            .count();
        before
            .get(..before.len() - name)
            .is_some_and(|rest| rest.ends_with(b"<"))
    }
}

fn push(
    piece: &Piece<'_>,
    word: Word,
    text: Text,
    start: usize,
    ending: Ending,
    found: &mut Vec<Hidden>,
) {
    let (end, ending) = ending.find(piece, start);
    if end > start || ending.is_some() {
        found.push(Hidden {
            text,
            ending,
            ..Hidden::of(word, start, end)
        });
    }
}

/// Hides the value of a key.
fn push_value(piece: &Piece<'_>, key: &Key, start: usize, found: &mut Vec<Hidden>) {
    let rest = piece.window.get(start..).unwrap_or_default();
    if let Some((ending, len)) = opening_quote(rest) {
        return push(piece, key.word, Text::Stars, start + len, ending, found);
    }
    let text = if key.is_quoted {
        Text::Quoted
    } else {
        Text::Stars
    };
    match rest {
        [b'{', ..] => {}
        [b'[', ..] => push(piece, key.word, text, start, Ending::Bracket, found),
        [b'-' | b'0'..=b'9', ..] if key.is_quoted => {
            let is_of_number = |byte: u8| byte.is_ascii_alphanumeric() || b"+-._".contains(&byte);
            let (len, is_closed) = run_len(rest, is_of_number);
            let ending = if is_closed {
                None
            } else {
                Some(Ending::Word).filter(|_| !piece.is_last)
            };
            found.push(Hidden {
                text,
                ending,
                ..Hidden::of(key.word, start, start + len)
            });
        }
        _ if key.is_quoted && CONSTANTS.iter().any(|constant| is_constant(rest, constant)) => {}
        _ => {
            let len = wrapped_len(rest);
            match rest.get(len..).and_then(opening_quote) {
                // As in b'…' or Some("…").
                Some((ending, quote)) if len > 0 => {
                    push(
                        piece,
                        key.word,
                        Text::Stars,
                        start + len + quote,
                        ending,
                        found,
                    );
                }
                _ => push(piece, key.word, Text::Stars, start, Ending::Word, found),
            }
        }
    }
}

/// Hides the value of `Authorization`, but for the scheme.
fn push_authorization(piece: &Piece<'_>, start: usize, found: &mut Vec<Hidden>) {
    let rest = piece.window.get(start..).unwrap_or_default();
    let (quote, len) = match opening_quote(rest) {
        Some((ending, len)) => (Some(ending), len),
        None => (None, 0),
    };
    let start = start + len;
    let rest = rest.get(len..).unwrap_or_default();
    let is_of_scheme = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let scheme = rest.iter().take(MAX_NAME).take_while(is_of_scheme).count();
    let (scheme, behind) = rest.split_at_checked(scheme).unwrap_or_default();
    let blanks = behind
        .iter()
        .take(MAX_BLANKS)
        .take_while(|byte| is_blank(**byte))
        .count();
    let is_one_of = |known: &[&str]| {
        known
            .iter()
            .any(|known| scheme.eq_ignore_ascii_case(known.as_bytes()))
    };
    let value = start + scheme.len() + blanks;
    let (start, ending) = match blanks > 0 {
        true if is_one_of(&SCHEMES_OF_A_WORD) => (value, Ending::Token),
        true if is_one_of(&SCHEMES_OF_A_LIST) => (value, Ending::Line),
        // A scheme that is not known, or a secret without one: both words.
        true if quote.is_none() => {
            push(
                piece,
                Word::Bearer,
                Text::Stars,
                start,
                Ending::Token,
                found,
            );
            (value, Ending::Token)
        }
        _ => (start, Ending::Token),
    };
    push(
        piece,
        Word::Bearer,
        Text::Stars,
        start,
        quote.unwrap_or(ending),
        found,
    );
}

/// Hides the word after `Bearer`, if that is what is at `at`.
fn push_bearer(piece: &Piece<'_>, at: usize, found: &mut Vec<Hidden>) {
    let (before, rest) = piece.window.split_at_checked(at).unwrap_or_default();
    let Some((word, rest)) = rest.split_at_checked(BEARER.len()) else {
        return;
    };
    let is_within_word = before.last().is_some_and(u8::is_ascii_alphanumeric)
        && !before.ends_with(b"%20")
        && !matches!(before, [.., b'\\', b'n' | b't' | b'r']);
    if !word.eq_ignore_ascii_case(BEARER) || is_within_word {
        return;
    }
    let mut len = 0;
    while len < MAX_BLANKS {
        len += match rest.get(len..) {
            Some([b' ' | b'\t' | b'+' | b':' | b'=', ..]) => 1,
            Some([b'%', b'2', b'0', ..]) => 3,
            _ => break,
        };
    }
    let value = rest.get(len..).unwrap_or_default();
    let (run, is_closed) = run_len(value, is_of_token);
    if len > 0 && (run >= MIN_TOKEN || (!is_closed && !piece.is_last)) {
        push(
            piece,
            Word::Bearer,
            Text::Stars,
            at + BEARER.len() + len,
            Ending::Token,
            found,
        );
    }
}

/// The length of what may be around a quoted value: a letter as in `b"…"`, or a name and a bracket as in `Some("…")`.
fn wrapped_len(text: &[u8]) -> usize {
    let name = text
        .iter()
        .take(MAX_NAME)
        .take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_')
        .count();
    match text.get(name) {
        Some(b'(') => name + 1,
        _ if name <= 2 => name,
        _ => 0,
    }
}

fn is_constant(text: &[u8], constant: &str) -> bool {
    text.strip_prefix(constant.as_bytes())
        .is_some_and(|rest| !rest.first().is_some_and(u8::is_ascii_alphanumeric))
}

/// The length of `key` at the end of `text`, where `_` and `-` may be between its letters.
fn suffix_len(text: &[u8], key: &[u8]) -> Option<usize> {
    let mut before = text;
    let mut key = key;
    while let [rest @ .., letter] = key {
        let [left @ .., byte] = before else {
            return None;
        };
        match byte {
            b'_' | b'-' if before.len() < text.len() => {}
            _ if byte.eq_ignore_ascii_case(letter) => key = rest,
            _ => return None,
        }
        before = left;
    }
    Some(text.len() - before.len())
}

fn without_blanks(text: &[u8]) -> &[u8] {
    let blanks = text
        .iter()
        .rev()
        .take(MAX_BLANKS)
        .take_while(|byte| is_blank(**byte))
        .count();
    text.get(..text.len() - blanks).unwrap_or_default()
}

/// `text` without the colour (`ESC [ … m`) at its end.
fn without_colour(text: &[u8]) -> &[u8] {
    let start = text.len().saturating_sub(MAX_COLOUR);
    let tail = text.get(start..).unwrap_or_default();
    match memchr::memrchr(0x1b, tail) {
        Some(at) if colour_len(tail.get(at..).unwrap_or_default()) == tail.len() - at => {
            text.get(..start + at).unwrap_or_default()
        }
        _ => text,
    }
}

/// The length of the colour at the beginning of `text`.
fn colour_len(text: &[u8]) -> usize {
    let Some(rest) = text.strip_prefix(b"\x1b[") else {
        return 0;
    };
    let is_of_colour = |byte: &&u8| byte.is_ascii_digit() || **byte == b';';
    let len = rest
        .iter()
        .take(MAX_COLOUR)
        .take_while(is_of_colour)
        .count();
    if rest.get(len) == Some(&b'm') {
        len + 3
    } else {
        0
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

const BEARER: &[u8] = b"bearer";
/// Without the letter that is a capital one in `Bearer`.
const BEARER_ENDS: [&[u8]; 2] = [b"earer", b"EARER"];
const ENDING_IN_D: &[(&str, Word)] = &[
    ("password", Word::Password),
    ("passwd", Word::Password),
    ("pwd", Word::Password),
];
const ENDING_IN_E: &[(&str, Word)] =
    &[("passphrase", Word::Password), ("passcode", Word::Password)];
const ENDING_IN_N: &[(&str, Word)] = &[("token", Word::Password), ("authorization", Word::Bearer)];
const ENDING_IN_T: &[(&str, Word)] = &[("secret", Word::Password)];
const ENDING_IN_Y: &[(&str, Word)] = &[
    ("apikey", Word::Password),
    ("accesskey", Word::Password),
    ("secretkey", Word::Password),
    ("privatekey", Word::Password),
];
const CONSTANTS: [&str; 6] = ["null", "true", "false", "None", "True", "False"];
const SCHEMES_OF_A_WORD: [&str; 8] = [
    "basic",
    "bearer",
    "token",
    "negotiate",
    "ntlm",
    "apikey",
    "jwt",
    "key",
];
const SCHEMES_OF_A_LIST: [&str; 5] = ["digest", "aws4-hmac-sha256", "hawk", "oauth", "signature"];
/// What a person or a token endpoint calls a bearer token is longer.
const MIN_TOKEN: usize = 8;
const MAX_BLANKS: usize = 16;
const MAX_NAME: usize = 64;
const MAX_COLOUR: usize = 16;
