//! Where the regexes of the ini match: `mask.NAME`.

use regex::bytes::{CaptureLocations, Regex};

use super::ending::Ending;
use super::hidden::{Hidden, Text};
use super::piece::Piece;
use super::rule::MaskRule;

/// The search of one rule through the events of one file.
#[derive(Debug)]
pub(super) struct Search {
    regex: Regex,
    locations: CaptureLocations,
    /// Where the search goes on, from the beginning of the next piece.
    resume: usize,
}

impl Search {
    pub(super) fn new(rule: &MaskRule) -> Self {
        let regex = rule.pattern.regex().clone();
        Self {
            locations: regex.capture_locations(),
            regex,
            resume: 0,
        }
    }

    /// Finds the matches that begin in the piece. The search goes on where the last piece left it, so that the matches are
    /// those of the line and do not hang on the cuts.
    pub(super) fn find(
        &mut self,
        number: usize,
        rule: &MaskRule,
        piece: &Piece<'_>,
        found: &mut Vec<Hidden>,
    ) {
        if piece.is_first {
            self.resume = 0;
        }
        let mut at = piece.bytes.start + self.resume;
        while at < piece.bytes.end
            && let Some(matched) = self.regex.find_at(piece.window, at)
            && matched.start() < piece.bytes.end
        {
            at = matched.end();
            if matched.is_empty() {
                at += 1;
                continue;
            }
            let is_open = at == piece.window.len() && !piece.is_last;
            let ending = is_open.then_some(Ending::Rest);
            if is_open || rule.kept.is_empty() {
                let part = if is_open {
                    Text::Stars
                } else {
                    Text::OfRule(0)
                };
                found.push(hidden(number, matched.start(), at, part, ending, true));
            } else {
                self.regex
                    .captures_read_at(&mut self.locations, piece.window, matched.start());
                self.push_parts(number, rule, matched.start(), at, found);
            }
        }
        self.resume = at.saturating_sub(piece.bytes.end);
    }

    /// The parts of the match `start..end` around the groups that are kept.
    fn push_parts(
        &self,
        number: usize,
        rule: &MaskRule,
        start: usize,
        end: usize,
        found: &mut Vec<Hidden>,
    ) {
        let mut at = start;
        for (part, group) in rule.kept.iter().enumerate() {
            // A group that takes no part is kept as nothing, and one within another one was kept with it.
            let (from, to) = self.locations.get(*group).unwrap_or((at, at));
            let (from, to) = if from < at { (at, at) } else { (from, to) };
            found.push(hidden(
                number,
                at,
                from,
                Text::OfRule(part),
                None,
                part == 0,
            ));
            at = to;
        }
        let last = Text::OfRule(rule.kept.len());
        found.push(hidden(
            number,
            at,
            end.max(at),
            last,
            None,
            rule.kept.is_empty(),
        ));
    }
}

fn hidden(
    rule: usize,
    start: usize,
    end: usize,
    text: Text,
    ending: Option<Ending>,
    is_counted: bool,
) -> Hidden {
    Hidden {
        start,
        end,
        rule,
        text,
        ending,
        is_counted,
    }
}
