//! What was expected, held against what came out.

use std::time::{Duration, UNIX_EPOCH};

use super::feed::{Fate, Outcome, Record};
use super::file::{At, Claim, Expected, ExpectedRecord, quoted};

/// The first difference, as it is printed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Difference {
    /// The line of the expectation; `None`: it is about the whole case.
    pub(super) line: Option<usize>,
    pub(super) words: Vec<String>,
}

/// Holds `expected` against `outcomes`, whose rules have these names.
pub(super) fn compare(
    expected: &[Expected],
    outcomes: &[Outcome],
    rule_name: &dyn Fn(usize) -> String,
) -> Option<Difference> {
    let mut rest = outcomes;
    let mut number = 0;
    for one in expected {
        match one {
            Expected::Dropped(name) => match after_drop(rest, name, rule_name) {
                Some(after) => rest = after,
                None => return Some(not_dropped(rest, name, number, rule_name)),
            },
            Expected::Record(record) => {
                number += 1;
                let found = next_record(&mut rest);
                let line = record.lines.first().map(|first| first.line);
                let Some(found) = found else {
                    let text = record.lines.first().map_or(&[][..], |first| &first.value);
                    return Some(Difference {
                        line,
                        words: vec![
                            format!("record {number} does not come out"),
                            format!("expected  {}", clipped(text, 0)),
                        ],
                    });
                };
                if let Some(difference) = compare_record(record, found, number) {
                    return Some(difference);
                }
            }
        }
    }
    let more = next_record(&mut rest)?;
    let mut count = 1;
    while next_record(&mut rest).is_some() {
        count += 1;
    }
    let first = more
        .value
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    Some(Difference {
        line: None,
        words: vec![
            format!(
                "{} more than expected, the first is record {}",
                records(count),
                number + 1
            ),
            format!("got       {}", clipped(first, 0)),
        ],
    })
}

/// `1 record`, `2 records`.
pub(super) fn records(count: usize) -> String {
    match count {
        1 => "1 record".to_owned(),
        _ => format!("{count} records"),
    }
}

/// The value of a record, as much as fits on a line.
pub(super) fn in_one_line(record: &Record) -> String {
    clipped(&record.value, 0)
}

/// Takes the next record, and what is dropped before it.
fn next_record<'a>(rest: &mut &'a [Outcome]) -> Option<&'a Record> {
    while let Some((first, after)) = rest.split_first() {
        *rest = after;
        if let Fate::Record(record) = &first.fate {
            return Some(record);
        }
    }
    None
}

/// What follows on the next event that `name` drops, if that comes before the next record.
fn after_drop<'a>(
    rest: &'a [Outcome],
    name: &At<String>,
    rule_name: &dyn Fn(usize) -> String,
) -> Option<&'a [Outcome]> {
    let drops = rest.iter().map_while(|outcome| match outcome.fate {
        Fate::Dropped(rule) => Some(rule),
        Fate::Record(_) => None,
    });
    let at = drops
        .into_iter()
        .position(|rule| is_rule(&rule_name(rule), &name.value))?;
    rest.get(at + 1..)
}

/// Whether a rule is meant by this name: `drop.health` is by `health` too.
pub(super) fn is_rule(rule: &str, name: &str) -> bool {
    rule == name || rule.strip_prefix("drop.") == Some(name)
}

fn not_dropped(
    rest: &[Outcome],
    name: &At<String>,
    number: usize,
    rule_name: &dyn Fn(usize) -> String,
) -> Difference {
    let place = match number {
        0 => "before record 1".to_owned(),
        _ => format!("after record {number}"),
    };
    let got = match rest.first().map(|outcome| &outcome.fate) {
        None => "nothing".to_owned(),
        Some(Fate::Dropped(rule)) => format!("dropped by {}", rule_name(*rule)),
        Some(Fate::Record(record)) => {
            let first = record.value.split(|byte| *byte == b'\n').next();
            clipped(first.unwrap_or_default(), 0)
        }
    };
    Difference {
        line: Some(name.line),
        words: vec![
            format!(
                "no event is dropped by {} {place}",
                quoted(name.value.as_bytes())
            ),
            format!("got       {got}"),
        ],
    }
}

fn compare_record(expected: &ExpectedRecord, got: &Record, number: usize) -> Option<Difference> {
    let lines: Vec<&[u8]> = got.value.split(|byte| *byte == b'\n').collect();
    for (index, line) in expected.lines.iter().enumerate() {
        let of_several = match (index, lines.len().max(expected.lines.len())) {
            (_, 1) => String::new(),
            _ => format!(", line {}", index + 1),
        };
        let Some(text) = lines.get(index) else {
            return Some(Difference {
                line: Some(line.line),
                words: vec![
                    format!("record {number} ends before this line"),
                    format!("expected  {}", clipped(&line.value, 0)),
                ],
            });
        };
        if let Some(fault) = mismatch(&line.value, text) {
            return Some(Difference {
                line: Some(line.line),
                words: vec![
                    format!(
                        "record {number}{of_several}, at character {}",
                        characters(&text[..fault.got]) + 1
                    ),
                    format!("expected  {}", clipped(&line.value, fault.expected)),
                    format!("got       {}", clipped(text, fault.got)),
                ],
            });
        }
    }
    if let Some(text) = lines.get(expected.lines.len()) {
        let last = expected.lines.last().map(|last| last.line);
        return Some(Difference {
            line: last,
            words: vec![
                format!(
                    "record {number} goes on with line {}",
                    expected.lines.len() + 1
                ),
                format!("got       {}", clipped(text, 0)),
            ],
        });
    }
    let mut claims = expected.claims.iter();
    claims.find_map(|claim| compare_claim(claim, got, number))
}

fn compare_claim(claim: &At<Claim>, got: &Record, number: usize) -> Option<Difference> {
    let (what, expected, found) = match &claim.value {
        Claim::Topic(topic) => (
            "topic".to_owned(),
            topic,
            vec![got.topic.as_bytes().to_vec()],
        ),
        Claim::Key(key) => (
            "key".to_owned(),
            key,
            vec![got.key.clone().unwrap_or_default()],
        ),
        Claim::Timestamp(time) => (
            "timestamp".to_owned(),
            time,
            vec![shown_time(got.timestamp_ms)],
        ),
        Claim::Header(name, value) => {
            let headers = got
                .headers
                .iter()
                .filter(|(other, _)| other == name.as_bytes());
            let values = headers.map(|(_, value)| value.clone()).collect();
            (format!("header {name}"), value, values)
        }
    };
    if found
        .iter()
        .any(|found| mismatch(expected, found).is_none())
    {
        return None;
    }
    let got = match found.first() {
        None => "no such header".to_owned(),
        Some(found) if found.is_empty() => "nothing".to_owned(),
        Some(found) => clipped(found, 0),
    };
    Some(Difference {
        line: Some(claim.line),
        words: vec![
            format!("record {number}, {what}"),
            format!("expected  {}", clipped(expected, 0)),
            format!("got       {got}"),
        ],
    })
}

/// A time as `= timestamp` has it: RFC 3339 with milliseconds.
pub(super) fn shown_time(ms: i64) -> Vec<u8> {
    let since = u64::try_from(ms).ok().map(Duration::from_millis);
    // Times after the year 9999 have no such form.
    let time = since.filter(|since| since.as_secs() < 253_402_300_800);
    match time {
        Some(since) => humantime::format_rfc3339_millis(UNIX_EPOCH + since)
            .to_string()
            .into_bytes(),
        None => ms.to_string().into_bytes(),
    }
}

/// Where an expected line and what came begin to differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Fault {
    expected: usize,
    got: usize,
}

/// Whether `text` is not what `expected` says, in which a `*` stands for any text. Two or more in a row stand for
/// themselves, since masks write them.
fn mismatch(expected: &[u8], text: &[u8]) -> Option<Fault> {
    let parts = literals(expected);
    let (mut at, last) = (0, parts.len() - 1);
    for (index, &(from, part)) in parts.iter().enumerate() {
        let rest = &text[at..];
        let found = match index {
            0 => rest.starts_with(part).then_some(0),
            _ if index == last => rest.ends_with(part).then(|| rest.len() - part.len()),
            _ => memchr::memmem::find(rest, part),
        };
        let whole = index != 0 || index != last || rest.len() == part.len();
        match found {
            Some(start) if whole => at += start + part.len(),
            _ => {
                let (start, len) = match index {
                    0 => (0, common(part, rest)),
                    _ => nearest_place(part, rest),
                };
                return Some(Fault {
                    expected: from + len,
                    got: at + start + len,
                });
            }
        }
    }
    None
}

/// The texts between the `*` of `expected`, and where they begin; at least one.
fn literals(expected: &[u8]) -> Vec<(usize, &[u8])> {
    let mut parts = Vec::new();
    let (mut from, mut at) = (0, 0);
    while let Some(star) = memchr::memchr(b'*', &expected[at..]).map(|star| at + star) {
        let stars = expected[star..]
            .iter()
            .take_while(|byte| **byte == b'*')
            .count();
        at = star + stars;
        if stars == 1 {
            parts.push((from, &expected[from..star]));
            from = at;
        }
    }
    parts.push((from, &expected[from..]));
    parts
}

/// Where in `text` the most of `part` stands, and how much of it.
fn nearest_place(part: &[u8], text: &[u8]) -> (usize, usize) {
    let places = (0..text.len()).map(|at| (at, common(part, &text[at..])));
    let best = places.rev().max_by_key(|(_, len)| *len);
    best.unwrap_or((text.len(), 0))
}

fn common(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// The number of characters, of which a broken one is one.
fn characters(text: &[u8]) -> usize {
    String::from_utf8_lossy(text).chars().count()
}

/// As much of `text` around byte `at` as a line of the screen has room for.
fn clipped(text: &[u8], at: usize) -> String {
    let (before, behind) = text.split_at(at.min(text.len()));
    let before = String::from_utf8_lossy(before);
    let skipped = before.chars().count().saturating_sub(BEFORE);
    let mut shown = String::new();
    if skipped > 0 {
        shown.push_str("...");
    }
    let behind = String::from_utf8_lossy(behind);
    for character in before.chars().skip(skipped).chain(behind.chars()) {
        let mut one = String::new();
        let _ = crate::shown::escape(character, &mut one);
        if shown.chars().count() + one.chars().count() > ROOM {
            shown.push_str("...");
            break;
        }
        shown.push_str(&one);
    }
    shown
}

/// Characters shown before the one that differs.
const BEFORE: usize = 17;
/// Characters of a value on a line of the screen, without the dots behind it.
const ROOM: usize = 61;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic fails the test")]
mod tests {
    use super::*;

    /// Where the two begin to differ.
    fn differ(expected: &str, text: &str) -> Option<(usize, usize)> {
        let fault = mismatch(expected.as_bytes(), text.as_bytes())?;
        Some((fault.expected, fault.got))
    }

    #[test]
    fn a_star_stands_for_any_text_and_several_for_themselves() {
        for (expected, text) in [
            ("", ""),
            ("abc", "abc"),
            ("*", ""),
            ("*", "abc"),
            ("a*c", "ac"),
            ("a*c", "abcbc"),
            ("a*b*c", "a-b-b-c"),
            ("token=***", "token=***"),
            ("*token=***&*", "x?token=***&y"),
        ] {
            assert_eq!(differ(expected, text), None, "{expected} {text}");
        }
    }

    #[test]
    fn the_place_is_where_the_texts_begin_to_differ() {
        for (expected, text, place) in [
            ("abc", "abd", (2, 2)),
            ("abc", "ab", (2, 2)),
            ("ab", "abc", (2, 2)),
            ("", "a", (0, 0)),
            ("token=***", "token=abc", (6, 6)),
            (
                "{*\"uri\":\"/a?t=***\"}",
                "{\"x\":1,\"uri\":\"/a?t=abc\"}",
                (14, 19),
            ),
            ("a*bb*c", "a-b-c", (3, 3)),
            ("a*bc", "abcd", (4, 3)),
        ] {
            assert_eq!(differ(expected, text), Some(place), "{expected} {text}");
        }
    }

    #[test]
    fn a_long_text_is_shown_around_the_place() {
        let text = format!("{}X{}", "a".repeat(100), "b".repeat(100));
        let shown = clipped(text.as_bytes(), 100);
        assert_eq!(
            shown,
            format!("...{}X{}...", "a".repeat(17), "b".repeat(40))
        );
        assert_eq!(clipped(b"a\tb\x1b\xff", 0), "a\\tb\\u{1b}\u{fffd}");
        let wide = clipped("\u{1b}".repeat(50).as_bytes(), 0);
        assert!(wide.chars().count() <= 64, "{wide}");
    }
}
