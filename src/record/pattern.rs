//! The one room in which regexes of the ini are built.
//!
//! They work on bytes: `\w`, `\d`, `\s`, `\b` and `(?i)` are ASCII, `.` is one byte other than `\n`. Text outside of brackets
//! stands for its UTF-8 bytes, so `订单` and `é+` mean what they say; in brackets text other than ASCII has to be within
//! `(?u:[…])`, which the error shows, as there is no byte that it could be. Matching takes time in proportion to the event whatever the regex is.

use std::fmt;

use regex::bytes::{Regex, RegexBuilder};
use regex_syntax::ast::ErrorKind as Ast;
use regex_syntax::hir::ErrorKind as Hir;
use regex_syntax::hir::literal::{ExtractKind, Extractor, Literal};
use regex_syntax::{Error, ParserBuilder};

/// A regex of the ini, on bytes.
///
/// A clone has scratch memory of its own (at most [`Pattern::SCRATCH_BYTES`] for each thread that searches at the same time),
/// and the first thread that uses it comes by that memory without a lock: what works for one file has a clone of its own.
#[derive(Debug, Clone)]
pub struct Pattern {
    regex: Regex,
    /// Each match has one of these texts so many bytes behind its beginning.
    needed: Vec<Box<[u8]>>,
    needed_at: usize,
    matches_all: bool,
}

impl Pattern {
    /// The longest text that is taken.
    pub const MAX_BYTES: usize = 4 << 10;
    /// The most memory that a regex may take once it is built.
    pub const SIZE_BYTES: usize = 1 << 20;
    /// The most memory that a search may take.
    pub const SCRATCH_BYTES: usize = 256 << 10;

    /// Builds the regex that `text` is.
    pub fn new(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Err(PatternError::new(0, "the regex is empty"));
        }
        if text.len() > Self::MAX_BYTES {
            let words = format!("the regex is longer than {} bytes", Self::MAX_BYTES);
            return Err(PatternError::new(Self::MAX_BYTES, words));
        }
        let mut parser = ParserBuilder::new()
            .unicode(false)
            .utf8(false)
            .nest_limit(NESTING)
            .build();
        let parsed = parser
            .parse(text)
            .map_err(|error| PatternError::of(text, &error))?;
        let properties = parsed.properties();
        let matches_all = properties.minimum_len() == Some(0) && properties.look_set().is_empty();
        let regex = RegexBuilder::new(text)
            .unicode(false)
            .nest_limit(NESTING)
            .size_limit(Self::SIZE_BYTES)
            .dfa_size_limit(Self::SCRATCH_BYTES)
            .build()
            // It was parsed above, so its size is all that is left.
            .map_err(|_| PatternError::new(0, TOO_LARGE))?;
        let (needed, needed_at) = needed(&parsed).unwrap_or_default();
        Ok(Self {
            regex,
            needed,
            needed_at,
            matches_all,
        })
    }

    /// The regex itself.
    pub fn regex(&self) -> &Regex {
        &self.regex
    }

    /// The text it was made from.
    pub fn text(&self) -> &str {
        self.regex.as_str()
    }

    /// Is it found in `event`?
    pub fn is_match(&self, event: &[u8]) -> bool {
        self.regex.is_match(event)
    }

    /// Texts one of which is in every match, if there are such: fast to look for in many events at once.
    pub fn needed(&self) -> &[Box<[u8]>] {
        &self.needed
    }

    /// Is it found in `event`, of which no byte before `needed` begins one of the texts of [`Pattern::needed`]?
    pub fn is_match_about(&self, event: &[u8], needed: usize) -> bool {
        let start = needed.saturating_sub(self.needed_at);
        self.regex.is_match_at(event, start.min(event.len()))
    }

    /// Is it found in every event, as `(health)*` and `health|` are? Then it is a mistake, in a filter as in a mask.
    pub fn matches_all(&self) -> bool {
        self.matches_all
    }

    /// The names of its groups, in order.
    pub fn group_names(&self) -> impl Iterator<Item = &str> {
        self.regex.capture_names().flatten()
    }
}

/// Why a text is no regex.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatternError {
    /// The byte of the text that the words are about, for a caret; the length of the text if it is its end. Always at the
    /// boundary of a character.
    pub at: usize,
    /// What is wrong, and what to write instead where that is known.
    pub words: String,
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

impl std::error::Error for PatternError {}

impl PatternError {
    fn new(at: usize, words: impl Into<String>) -> Self {
        Self {
            at,
            words: words.into(),
        }
    }

    fn of(text: &str, error: &Error) -> Self {
        let (at, words) = match error {
            Error::Parse(error) => {
                let (start, end) = (error.span().start.offset, error.span().end.offset);
                let part = text.get(start..end).unwrap_or_default();
                let place = match error.kind() {
                    // The bracket that has no end is what a person looks for.
                    Ast::FlagUnexpectedEof => text.rfind("(?").unwrap_or(start),
                    _ => start,
                };
                (place, syntax_words(text, start, part, error.kind()))
            }
            Error::Translate(error) => {
                let (start, end) = (error.span().start.offset, error.span().end.offset);
                let part = text.get(start..end).unwrap_or_default();
                (start, meaning_words(part, error.kind()))
            }
            _ => (0, "the regex is not understood".to_owned()),
        };
        Self { at, words }
    }
}

/// The texts that the matches of `parsed` begin with, if they are few and not too common, and how many bytes at the
/// beginning are left out of them.
fn needed(parsed: &regex_syntax::hir::Hir) -> Option<(Vec<Box<[u8]>>, usize)> {
    let mut texts = Extractor::new().kind(ExtractKind::Prefix).extract(parsed);
    // As much of each text as leaves them few: classes multiply them.
    for bytes in (MIN_NEEDED_BYTES..MAX_NEEDED_BYTES).rev() {
        if texts.len().is_some_and(|count| count > MAX_NEEDED) {
            texts.keep_first_bytes(bytes);
            texts.dedup();
        }
    }
    let literals = texts.literals()?;
    let is_rare = |literal: &Literal| literal.len() >= MIN_NEEDED_BYTES;
    if literals.is_empty() || literals.len() > MAX_NEEDED || !literals.iter().all(is_rare) {
        return None;
    }
    // What they have in common may be in every event, as 'GET /': what tells them apart is rarer.
    let texts: Vec<&[u8]> = literals.iter().map(Literal::as_bytes).collect();
    let common = common_prefix_len(&texts);
    let skipped = match texts
        .iter()
        .all(|text| text.len() >= common + MIN_TOLD_APART_BYTES)
    {
        true => common,
        false => 0,
    };
    let texts = texts.iter().filter_map(|text| text.get(skipped..));
    Some((texts.map(Box::from).collect(), skipped))
}

/// How many bytes all of several texts begin with.
fn common_prefix_len(texts: &[&[u8]]) -> usize {
    let [first, others @ ..] = texts else {
        return 0;
    };
    let is_common = |at: &usize| others.iter().all(|other| other.get(*at) == first.get(*at));
    match others.is_empty() {
        true => 0,
        false => (0..first.len()).take_while(is_common).count(),
    }
}

/// What the grammar does not allow.
fn syntax_words(text: &str, start: usize, part: &str, kind: &Ast) -> String {
    let words = match kind {
        Ast::GroupUnclosed => "the regex does not end: '(' has no ')'",
        Ast::GroupUnopened => "')' has no '('; a bracket of the text is '\\)'",
        Ast::ClassUnclosed => "the regex does not end: '[' has no ']'",
        Ast::RepetitionMissing => {
            let operator = text.get(start..).and_then(|rest| rest.chars().next());
            let operator = operator.unwrap_or('*');
            return format!(
                "nothing to repeat before '{operator}'; '{operator}' of the text is '\\{operator}'"
            );
        }
        Ast::RepetitionCountInvalid => "the first number of '{…}' is larger than the second",
        Ast::RepetitionCountDecimalEmpty | Ast::DecimalEmpty => {
            "a number is missing after '{'; a bracket of the text is '\\{'"
        }
        Ast::RepetitionCountUnclosed => "'{' has no '}'; a bracket of the text is '\\{'",
        Ast::DecimalInvalid => "the number is too large",
        Ast::ClassEscapeInvalid => return format!("'{part}' has no meaning within '[…]'"),
        Ast::ClassRangeInvalid => {
            return format!("the range '{part}' ends before it begins");
        }
        Ast::ClassRangeLiteral => return format!("a range cannot begin or end with '{part}'"),
        Ast::EscapeUnexpectedEof => "the regex ends with '\\'; a backslash of the text is '\\\\'",
        Ast::EscapeUnrecognized => return format!("'{part}' has no meaning"),
        Ast::EscapeHexEmpty | Ast::EscapeHexInvalid | Ast::EscapeHexInvalidDigit => {
            "no character has this number; a byte is '\\xFF', a character '\\u{8BA2}'"
        }
        Ast::GroupNameDuplicate { .. } => return format!("group '{part}' twice"),
        Ast::GroupNameEmpty => "the group has no name",
        Ast::GroupNameInvalid => return format!("'{part}' cannot be in the name of a group"),
        Ast::GroupNameUnexpectedEof => "the name of the group has no '>'",
        Ast::FlagUnrecognized => return format!("unknown flag '{part}'"),
        Ast::FlagDuplicate { .. } => return format!("flag '{part}' twice"),
        Ast::FlagDanglingNegation | Ast::FlagRepeatedNegation { .. } => {
            "'-' stands before the flags that are taken away, as in '(?i-s)'"
        }
        Ast::FlagUnexpectedEof => "the regex does not end: '(?' has no ')'",
        Ast::UnsupportedBackreference => "a group cannot be referred to within the regex",
        Ast::UnsupportedLookAround => {
            "no looking ahead or behind; a filter can be turned round with keep or drop"
        }
        Ast::NestLimitExceeded(_) => "too many brackets within brackets",
        Ast::UnicodeClassInvalid => "no such class of characters",
        Ast::SpecialWordBoundaryUnclosed
        | Ast::SpecialWordBoundaryUnrecognized
        | Ast::SpecialWordOrRepetitionUnexpectedEof => {
            "after '\\b{' comes start}, end}, start-half} or end-half}"
        }
        _ => "the regex is not understood",
    };
    words.to_owned()
}

/// What the grammar allows and bytes do not.
fn meaning_words(part: &str, kind: &Hir) -> String {
    match kind {
        Hir::UnicodeNotAllowed if part.starts_with("\\p") || part.starts_with("\\P") => {
            format!("'{part}' is not known: classes are ASCII, '[A-Za-z]' or '\\w'")
        }
        Hir::UnicodeNotAllowed if part.is_ascii() => {
            format!("'{part}' is no byte; outside of '[…]' or within '(?u:…)' it is a character")
        }
        Hir::UnicodeNotAllowed => {
            format!("'{part}' is more than one byte: write '(?u:[{part}])' for '[{part}]'")
        }
        Hir::UnicodePerlClassNotFound => {
            format!("'{part}' is ASCII, and cannot be within (?u)")
        }
        Hir::UnicodeCaseUnavailable => {
            "(?i) goes with ASCII only: write both cases, as in '(?:É|é)'".to_owned()
        }
        Hir::UnicodePropertyNotFound | Hir::UnicodePropertyValueNotFound => {
            format!("'{part}' is not known: classes are ASCII, '[A-Za-z]' or '\\w'")
        }
        _ => format!("'{part}' is not understood"),
    }
}

/// Shorter texts are in too many events.
const MIN_NEEDED_BYTES: usize = 3;
const MAX_NEEDED_BYTES: usize = 16;
/// So many bytes behind what texts have in common are worth more than that.
const MIN_TOLD_APART_BYTES: usize = 4;
const MAX_NEEDED: usize = 16;
/// Brackets within brackets.
const NESTING: u32 = 64;
const TOO_LARGE: &str =
    "the regex is too large: the numbers in '{…}', multiplied where they are nested, are too many";

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> (usize, String) {
        let error = Pattern::new(text).expect_err(text);
        assert!(text.is_char_boundary(error.at));
        assert!(!error.words.contains("not understood"), "{text}: {error}");
        (error.at, error.words)
    }

    #[test]
    fn an_error_names_the_place_and_says_what_to_write() {
        for (text, at, words) in [
            ("", 0, "is empty"),
            ("GET /(health|ready HTTP", 5, "'(' has no ')'"),
            ("a)", 1, "')' has no '('"),
            ("[a-z", 0, "'[' has no ']'"),
            ("*x", 0, "nothing to repeat before '*'"),
            ("a|+", 2, "nothing to repeat before '+'"),
            ("(?", 0, "has no ')'"),
            ("(?i", 0, "has no ')'"),
            ("a\\", 1, "ends with '\\'"),
            ("订\\", 3, "ends with '\\'"),
            ("a\\q", 1, "'\\q' has no meaning"),
            ("[\\b]", 1, "'\\b' has no meaning within"),
            ("[z-a]", 1, "the range 'z-a' ends before it begins"),
            ("[a-\\d]", 3, "a range cannot begin or end with '\\d'"),
            ("a{2", 1, "'{' has no '}'"),
            ("a{,2}", 2, "a number is missing"),
            ("a{3,2}", 1, "larger than the second"),
            ("a{99999999999}", 2, "too large"),
            ("(?<time>a)(?<time>b)", 13, "group 'time' twice"),
            ("(?<>a)", 3, "no name"),
            ("(?<a-b>a)", 4, "'-' cannot be in the name"),
            ("(?<ab", 5, "has no '>'"),
            ("(?y)", 2, "unknown flag 'y'"),
            ("(?ii)", 3, "flag 'i' twice"),
            ("(?i-)", 3, "'-' stands before"),
            ("(a)\\1", 3, "cannot be referred to"),
            ("(?=a)", 0, "no looking ahead"),
            ("\\x{110000}", 3, "no character has this number"),
            ("\\p{Greek}", 0, "'\\p{Greek}' is not known"),
            ("(?u)\\w", 4, "'\\w' is ASCII"),
            ("\\b{stop}", 3, "after '\\b{'"),
            ("(?u)\\p{Foo}", 4, "'\\p{Foo}' is not known"),
        ] {
            let (place, said) = error(text);
            assert!(said.contains(words), "{text}: {said}");
            assert_eq!(place, at, "{text}: {said}");
        }
    }

    #[test]
    fn text_that_is_not_ascii_is_its_bytes() {
        for (text, event, is_found) in [
            ("订单", "新订单 7", true),
            ("订单", "新订", false),
            ("^é+$", "ééé", true),
            ("é+$", "\u{e8}", false),
            ("(?:订|单)7", "单7", true),
            ("x.y", "xéy", false), // '.' is a byte
            ("x.{2}y", "xéy", true),
            ("(?u:x.y)", "xéy", true),
            ("(?u:[éè])", "è", true),
            ("(?u:^[^é]$)", "单", true),
            ("(?i)error", "ERROR", true),
            ("\\w+$", "abc_9", true),
            ("^\\w$", "é", false),
        ] {
            let pattern = Pattern::new(text).expect(text);
            assert_eq!(pattern.is_match(event.as_bytes()), is_found, "{text}");
        }
        assert!(Pattern::new("\\xff").expect("a byte").is_match(b"a\xff"));
        let (at, words) = error("a[é]");
        assert_eq!(at, 2);
        assert!(words.contains("write '(?u:[é])'"), "{words}");
        assert_eq!(error("[订-单]").0, 1);
        assert_eq!(error("[\\u00e9]").0, 1);
        assert!(Pattern::new("[\\xe9]").is_ok() && Pattern::new("\\u00e9").is_ok());
        // (?i) knows the case of ASCII only, and says so where it is asked for more.
        let pattern = Pattern::new("(?i)訂Éa").expect("a regex");
        assert!(pattern.is_match("訂ÉA".as_bytes()) && !pattern.is_match("訂éa".as_bytes()));
        let (at, words) = error("(?iu)é");
        assert!(at == 5 && words.contains("both cases"), "{words}");
    }

    #[test]
    fn what_would_take_much_memory_is_refused() {
        for text in ["(a{1000}){1000}", "((a{99}){99}){99}", "[a-z]{99999}"] {
            let (at, words) = error(text);
            assert_eq!(at, 0);
            assert!(words.contains("too large"), "{text}: {words}");
        }
        assert!(
            error(&format!("{}{}", "(".repeat(100), ")".repeat(100)))
                .1
                .contains("too many brackets")
        );
        assert_eq!(error(&"é".repeat(3000)).0, Pattern::MAX_BYTES);
    }

    #[test]
    fn a_regex_that_is_found_everywhere_is_known() {
        for (text, everywhere) in [
            ("(health)*", true),
            ("health|", true),
            (".*", true),
            ("^$", false),
            ("^", false),
            ("a", false),
            ("(?:)", true),
        ] {
            assert_eq!(
                Pattern::new(text).expect(text).matches_all(),
                everywhere,
                "{text}"
            );
        }
    }

    #[test]
    fn groups_are_named() {
        let pattern = Pattern::new(r"(?<time>\S+) (\S+) (?P<level>\w+)").expect("a regex");
        assert_eq!(pattern.group_names().collect::<Vec<_>>(), ["time", "level"]);
    }
}
