//! What was expected, held against what came out.

use std::time::{Duration, UNIX_EPOCH};

use super::feed::{Fate, Outcome, Record};
use super::file::{At, Claim, Expected, ExpectedRecord, quoted};
use super::matcher::{characters, clipped, mismatch};

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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic fails the test")]
mod tests {
    use super::super::errors::Errors;
    use super::super::file::parse_output;
    use super::*;

    fn outcome(value: &str) -> Outcome {
        Outcome {
            start: 0,
            fate: Fate::Record(Record {
                topic: "t".into(),
                key: None,
                headers: vec![(b"team".to_vec(), b"shop".to_vec())],
                timestamp_ms: 1_000,
                value: value.as_bytes().to_vec(),
            }),
        }
    }

    fn dropped() -> Outcome {
        Outcome {
            start: 0,
            fate: Fate::Dropped(0),
        }
    }

    /// The words of the first difference, with its line before them.
    fn difference(marks: &str, outcomes: &[Outcome]) -> Option<String> {
        let mut errors = Errors::of("x".as_ref());
        let expected = parse_output(marks.as_bytes(), &mut errors);
        assert_eq!(errors.len(), 0, "{errors}");
        let difference = compare(&expected, outcomes, &|_| "drop.health".to_owned())?;
        let line = difference.line.unwrap_or(0);
        Some(format!("{line}: {}", difference.words.join("; ")))
    }

    #[test]
    fn records_are_compared_in_order_and_number() {
        let two = [outcome("a"), outcome("b\nc")];
        assert_eq!(difference("> a\n> b\n| c\n", &two), None);
        for (marks, words) in [
            (
                "> b\n| c\n> a\n",
                "1: record 1, line 1, at character 1; expected  b; got       a",
            ),
            (
                "> a\n",
                "0: 1 record more than expected, the first is record 2; got       b",
            ),
            ("> a\n> b\n", "2: record 2 goes on with line 2; got       c"),
            (
                "> a\n> b\n| c\n| d\n",
                "4: record 2 ends before this line; expected  d",
            ),
            (
                "> a\n> b\n| c\n> d\n",
                "4: record 3 does not come out; expected  d",
            ),
            (
                "> a\n> b\n| x\n",
                "3: record 2, line 2, at character 1; expected  x; got       c",
            ),
        ] {
            assert_eq!(difference(marks, &two).as_deref(), Some(words), "{marks}");
        }
    }

    #[test]
    fn what_is_said_of_a_record_is_compared_and_nothing_else() {
        let one = [outcome("a")];
        let said =
            "> a\n= topic t\n= key\n= header team sh*\n= timestamp 1970-01-01T00:00:01.000Z\n";
        assert_eq!(difference(said, &one), None);
        for (marks, words) in [
            (
                "> a\n= topic x\n",
                "2: record 1, topic; expected  x; got       t",
            ),
            (
                "> a\n= key k\n",
                "2: record 1, key; expected  k; got       nothing",
            ),
            (
                "> a\n= header x y\n",
                "2: record 1, header x; expected  y; got       no such header",
            ),
        ] {
            assert_eq!(difference(marks, &one).as_deref(), Some(words), "{marks}");
        }
    }

    #[test]
    fn a_drop_is_looked_for_where_it_is_written() {
        let all = [dropped(), outcome("a"), dropped(), dropped(), outcome("b")];
        assert_eq!(
            difference("> a\n> b\n", &all),
            None,
            "not said, not compared"
        );
        assert_eq!(
            difference("= dropped health\n> a\n= dropped drop.health\n> b\n", &all),
            None
        );
        for (marks, words) in [
            (
                "> a\n> b\n= dropped health\n",
                "3: no event is dropped by 'health' after record 2; got       nothing",
            ),
            (
                "= dropped debug\n> a\n",
                "1: no event is dropped by 'debug' before record 1; got       dropped by drop.health",
            ),
            (
                "= dropped health\n= dropped health\n> a\n",
                "2: no event is dropped by 'health' before record 1; got       a",
            ),
        ] {
            assert_eq!(difference(marks, &all).as_deref(), Some(words), "{marks}");
        }
    }
}
