//! What of an event is not shown: `mask`, `mask.NAME`.
//!
//! The walk of an event: every rule looks at the event as it is and says which bytes are to be hidden ([`card`], [`email`],
//! [`keyed`] for bearer and password, [`named`] for the regexes of the ini); then the event is copied without them
//! ([`hidden`]). No rule sees what another one wrote, so a secret that two rules know in part is hidden as a whole: a byte
//! that one rule hides is never shown, not even by the `$1` of another one. Where hidden parts overlap, the text of the one
//! that begins first stands for all, at the same place that of the first in the order card, email, bearer, password,
//! `mask.NAME` as in the ini.
//!
//! # Pieces
//! A line longer than `max_line_bytes` goes in pieces. Each is looked at together with [`CONTEXT_BYTES`] of the line on
//! both sides. What is hidden is written as `***` in the piece where it begins, and left out of those where it goes on. What
//! a rule has to see to know a secret (a whole card, a whole address, a key up to its value, a whole match of a regex) may be
//! up to [`CONTEXT_BYTES`] long; the value after a key or after `Bearer` may have any length, as its end is carried from
//! piece to piece. A match of a regex that goes on beyond the context hides the rest of the line.

mod card;
mod email;
mod ending;
mod hidden;
mod keyed;
mod named;

#[cfg(test)]
mod property_tests;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Arc;

use hidden::{Hidden, Text};
use keyed::Keys;
pub use named::MaskRule;
use named::Search;

use crate::record::pattern::PatternError;

/// How much of the line a piece is looked at with, on both sides.
pub const CONTEXT_BYTES: usize = 1 << 10;

/// A kind of secret that is known without a regex.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// Card numbers: 13 to 19 digits, Luhn's checksum holds.
    Card,
    /// Mail addresses, also with `%40`.
    Email,
    /// What comes after `Bearer`, and the value of `Authorization`.
    Bearer,
    /// The value of a key that ends in password, secret, token and so on.
    Password,
}

impl Word {
    /// All of them in their order.
    pub const ALL: [(&str, Word); 4] = [
        ("card", Word::Card),
        ("email", Word::Email),
        ("bearer", Word::Bearer),
        ("password", Word::Password),
    ];

    /// Reads the words of `mask`, with a comma between them.
    pub fn parse_list(text: &str) -> Result<Vec<Word>, PatternError> {
        let mut words = Vec::new();
        let mut next = 0;
        for part in text.split(',') {
            let name = part.trim();
            let at = next + part.len() - part.trim_start().len();
            next += part.len() + 1;
            let Some(&(_, word)) = Self::ALL.iter().find(|(known, _)| *known == name) else {
                return Err(PatternError {
                    at,
                    words: format!(
                        "'{name}' is not one of card, email, bearer, password; a regex needs a name: mask.NAME"
                    ),
                });
            };
            words.push(word);
        }
        Ok(words)
    }
}

/// The masks of a section.
#[derive(Debug, Default)]
pub struct Masks {
    has_card: bool,
    has_email: bool,
    keys: Option<Keys>,
    rules: Vec<MaskRule>,
    names: Vec<Arc<str>>,
}

impl Masks {
    /// Masks for these words, and regexes with the names of their keys, `mask.NAME`.
    pub fn new(words: &[Word], named: Vec<(Arc<str>, MaskRule)>) -> Self {
        let mut names: Vec<Arc<str>> = Word::ALL.iter().map(|(name, _)| (*name).into()).collect();
        let mut rules = Vec::with_capacity(named.len());
        for (name, rule) in named {
            names.push(name);
            rules.push(rule);
        }
        Self {
            has_card: words.contains(&Word::Card),
            has_email: words.contains(&Word::Email),
            keys: Keys::new(
                words.contains(&Word::Bearer),
                words.contains(&Word::Password),
            ),
            rules,
            names,
        }
    }

    /// The names of the rules: the words whether set or not, then the regexes.
    pub fn names(&self) -> &[Arc<str>] {
        &self.names
    }

    /// Is nothing hidden, so that no event has to be looked at?
    pub fn is_empty(&self) -> bool {
        !self.has_card && !self.has_email && self.keys.is_none() && self.rules.is_empty()
    }
}

/// A part of a line that is longer than `max_line_bytes`.
#[derive(Debug, Clone)]
pub struct Piece<'a> {
    /// The piece and [`CONTEXT_BYTES`] of the line on both of its sides, or as much as the line has there.
    pub window: &'a [u8],
    /// Where the piece is in the window.
    pub bytes: Range<usize>,
    /// Is it the first of its line?
    pub is_first: bool,
    /// Is it the last of its line?
    pub is_last: bool,
}

/// Masks the events of one file, in their order.
#[derive(Debug)]
pub struct Masker {
    masks: Arc<Masks>,
    searches: Vec<Search>,
    /// What is hidden in this event; kept for its memory.
    found: Vec<Hidden>,
    /// What the pieces so far hide of the next one, in places of that.
    pending: Vec<Hidden>,
    counts: Vec<u64>,
}

impl Masker {
    /// A masker for the next event of a file.
    pub fn new(masks: Arc<Masks>) -> Self {
        Self {
            searches: masks.rules.iter().map(Search::new).collect(),
            found: Vec::new(),
            pending: Vec::new(),
            counts: vec![0; masks.names.len()],
            masks,
        }
    }

    /// How often each rule of [`Masks::names`] has hidden something, since the start.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// Appends what may be shown of `event` to `out`. `false`: all of it, and nothing was appended.
    #[must_use = "an event of which nothing is hidden is not appended"]
    pub fn apply(&mut self, event: &[u8], out: &mut Vec<u8>) -> bool {
        self.apply_piece(
            &Piece {
                window: event,
                bytes: 0..event.len(),
                is_first: true,
                is_last: true,
            },
            out,
        )
    }

    /// Appends what may be shown of a piece to `out`. `false`: all of it, and nothing was appended.
    ///
    /// The pieces of a line are given one after the other, each where the last one ended.
    #[must_use = "a piece of which nothing is hidden is not appended"]
    pub fn apply_piece(&mut self, piece: &Piece<'_>, out: &mut Vec<u8>) -> bool {
        self.find(piece);
        if self.found.is_empty() {
            return false;
        }
        self.carry(piece);
        for hidden in &self.found {
            if hidden.is_counted && piece.bytes.contains(&hidden.start) {
                self.counts[hidden.rule] += 1;
            }
        }
        hidden::copy(piece, &self.found, &self.masks.rules, out)
    }

    /// Gets ready for the piece that comes after `window` without having shown those before, as after a restart in the
    /// middle of a line. The larger the window, the longer the value may be that is under way.
    pub fn catch_up(&mut self, window: &[u8], shown: usize) {
        let piece = Piece {
            window,
            bytes: 0..shown.min(window.len()),
            is_first: true,
            is_last: false,
        };
        self.find(&piece);
        self.carry(&piece);
    }

    /// Finds what is hidden, in the order of its beginnings.
    fn find(&mut self, piece: &Piece<'_>) {
        self.found.clear();
        if piece.is_first {
            self.pending.clear();
        }
        for hidden in self.pending.drain(..) {
            self.found.push(hidden.resumed(piece));
        }
        if self.masks.has_card {
            card::find(piece.window, &mut self.found);
        }
        if self.masks.has_email {
            email::find(piece.window, &mut self.found);
        }
        if let Some(keys) = &self.masks.keys {
            keys.find(piece, &mut self.found);
        }
        for (place, search) in self.searches.iter_mut().enumerate() {
            search.find(
                Word::ALL.len() + place,
                &self.masks.rules[place],
                piece,
                &mut self.found,
            );
        }
        if piece.bytes.len() != piece.window.len() {
            self.found.retain(|hidden| hidden.concerns(piece));
        }
        if self.found.len() > 1 {
            // What a piece before has begun comes first: its text was written.
            let order = |hidden: &Hidden| (hidden.start, hidden.text != Text::Written, hidden.rule);
            self.found.sort_by_key(order);
        }
    }

    /// Keeps what goes on in the next piece.
    fn carry(&mut self, piece: &Piece<'_>) {
        if piece.is_last {
            return;
        }
        let border = piece.bytes.end;
        let goes_on =
            |hidden: &&Hidden| hidden.end.max(hidden.start + 1) > border || hidden.ending.is_some();
        let carried = self.found.iter().filter(goes_on);
        self.pending
            .extend(carried.map(|hidden| hidden.carried(piece)));
    }
}
