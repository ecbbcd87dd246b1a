//! An expected text, held against what came: where the two begin to differ, and how that is shown.

/// Where an expected line and what came begin to differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) expected: usize,
    pub(super) got: usize,
}

/// Whether `text` is not what `expected` says, in which a `*` stands for any text. Two or more in a row stand for
/// themselves, since masks write them.
pub(super) fn mismatch(expected: &[u8], text: &[u8]) -> Option<Fault> {
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
pub(super) fn characters(text: &[u8]) -> usize {
    String::from_utf8_lossy(text).chars().count()
}

/// As much of `text` around byte `at` as a line of the screen has room for.
pub(super) fn clipped(text: &[u8], at: usize) -> String {
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
