//! The parts of an event that are hidden, and the copy without them.

use super::ending::Ending;
use super::piece::{Piece, Word};
use super::rule::{MaskRule, STARS};

/// Bytes of the window that are not shown.
#[derive(Debug, Clone)]
pub(super) struct Hidden {
    pub(super) start: usize,
    pub(super) end: usize,
    /// The place of its rule in the names.
    pub(super) rule: usize,
    pub(super) text: Text,
    /// Set if the end was not in sight: how it is found.
    pub(super) ending: Option<Ending>,
    /// Is it one for the counter of its rule? A match of a regex may have several parts.
    pub(super) is_counted: bool,
}

/// What stands for hidden bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Text {
    /// `***`
    Stars,
    /// `"***"`, for a number in JSON.
    Quoted,
    /// This text of the rule.
    OfRule(usize),
    /// Nothing: it was written in the piece before.
    Written,
}

impl Hidden {
    pub(super) fn of(word: Word, start: usize, end: usize) -> Self {
        Self {
            start,
            end,
            rule: word as usize,
            text: Text::Stars,
            ending: None,
            is_counted: true,
        }
    }

    /// Whether it is for this piece to hide, or for this piece to carry on. What a word finds behind the piece will be found
    /// again, with the next one; a regex goes on where it stopped, and does not find it again.
    pub(super) fn concerns(&self, piece: &Piece<'_>) -> bool {
        let is_of_regex = self.rule >= Word::ALL.len();
        let is_reached = self.end > piece.bytes.start || self.start >= piece.bytes.start;
        is_reached && (self.start < piece.bytes.end || is_of_regex)
    }

    /// It, as the next piece sees it.
    pub(super) fn carried(&self, piece: &Piece<'_>) -> Self {
        let is_written = self.start < piece.bytes.end;
        Self {
            start: self.start.saturating_sub(piece.bytes.end),
            end: self.end.saturating_sub(piece.bytes.end),
            text: if is_written { Text::Written } else { self.text },
            is_counted: self.is_counted && !is_written,
            ..*self
        }
    }

    /// It, in the window of the piece that it was carried to.
    pub(super) fn resumed(&self, piece: &Piece<'_>) -> Self {
        let start = self.start + piece.bytes.start;
        let end = self.end + piece.bytes.start;
        let (end, ending) = match self.ending {
            Some(ending) => ending.find(piece, end),
            None => (end, None),
        };
        Self {
            start,
            end,
            ending,
            ..*self
        }
    }
}

/// Appends the piece to `out` without what is `found`, which is in order. `false`: nothing of it is in the piece.
pub(super) fn copy(
    piece: &Piece<'_>,
    found: &[Hidden],
    rules: &[MaskRule],
    out: &mut Vec<u8>,
) -> bool {
    let range = &piece.bytes;
    let before = out.len();
    // Up to here everything is shown or hidden; up to there it is hidden.
    let mut at = range.start;
    let mut is_any = false;
    for hidden in found {
        // What has no end in sight goes beyond the piece.
        let end = match hidden.ending {
            Some(_) => range.end,
            None => hidden.end.min(range.end),
        };
        if hidden.start >= range.end && !(hidden.start == range.end && piece.is_last) {
            continue;
        }
        is_any = true;
        if hidden.start >= at {
            out.extend_from_slice(piece.window.get(at..hidden.start).unwrap_or_default());
            at = hidden.start;
            let rule = hidden
                .rule
                .checked_sub(Word::ALL.len())
                .and_then(|rule| rules.get(rule));
            match (hidden.text, rule) {
                (Text::Written, _) => {}
                (Text::OfRule(part), Some(rule)) => out.extend_from_slice(rule.text(part)),
                (Text::Quoted, _) => out.extend_from_slice(b"\"***\""),
                _ => out.extend_from_slice(STARS),
            }
        }
        at = at.max(end);
    }
    if !is_any {
        out.truncate(before);
        return false;
    }
    out.extend_from_slice(piece.window.get(at..range.end).unwrap_or_default());
    true
}
