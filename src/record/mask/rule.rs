//! The rules of the ini: `mask.NAME = RE`, `mask.NAME = RE => TEXT`.
//!
//! TEXT keeps groups of the match: `$1`, `$name`, `${name}`, and `$$` is a dollar. What is kept stays where it is, and TEXT is
//! written around it, so groups are named in their order; a group that is within one kept before is left out.

use crate::record::pattern::{Pattern, PatternError};

/// What a regex matches is hidden, but for groups that are kept.
#[derive(Debug, Clone)]
pub struct MaskRule {
    pub(super) pattern: Pattern,
    /// The groups that are kept, in order.
    pub(super) kept: Vec<usize>,
    /// What stands before each of them, and after the last.
    texts: Vec<Vec<u8>>,
}

impl MaskRule {
    /// Reads `RE` or `RE => TEXT`; without a TEXT it is `***`.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let (regex, template) = match text.rfind(" => ") {
            Some(at) => (
                text.get(..at),
                text.get(at + 4..).map(|rest| (at + 4, rest)),
            ),
            // The ini takes blanks at the end away.
            None => match text.strip_suffix(" =>") {
                Some(regex) => (Some(regex), Some((text.len(), ""))),
                None => (Some(text), None),
            },
        };
        let pattern = Pattern::new(regex.unwrap_or_default().trim_end())?;
        if pattern.matches_all() {
            return Err(PatternError {
                at: 0,
                words: "the regex also matches nothing at all: is a '+' meant to be there for '*'?"
                    .to_owned(),
            });
        }
        let mut rule = Self {
            pattern,
            kept: Vec::new(),
            texts: vec![Vec::new()],
        };
        match template {
            None => rule.push_text(STARS),
            Some((at, template)) => {
                rule.parse_template(template)
                    .map_err(|error| PatternError {
                        at: at + error.at,
                        ..error
                    })?
            }
        }
        Ok(rule)
    }

    /// The text before the group that is kept at this place, or after the last.
    pub(super) fn text(&self, part: usize) -> &[u8] {
        self.texts.get(part).map(Vec::as_slice).unwrap_or_default()
    }

    fn push_text(&mut self, text: &[u8]) {
        if let Some(last) = self.texts.last_mut() {
            last.extend_from_slice(text);
        }
    }

    fn parse_template(&mut self, template: &str) -> Result<(), PatternError> {
        let mut at = 0;
        while let Some(rest) = template.get(at..).filter(|rest| !rest.is_empty()) {
            let dollar = rest.find('$').unwrap_or(rest.len());
            self.push_text(rest.get(..dollar).unwrap_or_default().as_bytes());
            at += dollar;
            let Some(rest) = rest.get(dollar + 1..) else {
                break;
            };
            if rest.starts_with('$') {
                self.push_text(b"$");
                at += 2;
                continue;
            }
            let error = |words: String| Err(PatternError { at, words });
            let Some((name, len)) = reference(rest) else {
                return error(
                    "'$' is followed by the number or the name of a group, or by '$'".to_owned(),
                );
            };
            let number = match self.group(name) {
                None => return error(format!("no group '{name}' in the regex")),
                Some(0) => return error("'$0' would show all that is hidden".to_owned()),
                Some(number) => number,
            };
            if self.kept.last().is_some_and(|last| *last >= number) {
                return error(format!(
                    "'${name}' is not in the order of the groups: what is kept stays where it is"
                ));
            }
            self.kept.push(number);
            self.texts.push(Vec::new());
            at += 1 + len;
        }
        Ok(())
    }

    fn group(&self, name: &str) -> Option<usize> {
        let regex = self.pattern.regex();
        match name.parse::<usize>() {
            Ok(number) => Some(number).filter(|number| *number < regex.captures_len()),
            Err(_) => regex.capture_names().position(|group| group == Some(name)),
        }
    }
}

/// The group that `text`, which comes after a `$`, refers to, and how long that is.
fn reference(text: &str) -> Option<(&str, usize)> {
    if let Some(rest) = text.strip_prefix('{') {
        let (name, _) = rest.split_once('}')?;
        return Some((name, name.len() + 2));
    }
    let is_number = text.starts_with(|first: char| first.is_ascii_digit());
    let is_of_name = |byte: u8| match is_number {
        true => byte.is_ascii_digit(),
        false => byte.is_ascii_alphanumeric() || byte == b'_',
    };
    let len = text.bytes().take_while(|byte| is_of_name(*byte)).count();
    text.get(..len)
        .filter(|name| !name.is_empty())
        .map(|name| (name, len))
}

/// What stands for what is hidden.
pub(super) const STARS: &[u8] = b"***";
