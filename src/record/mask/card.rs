//! Card numbers.
//!
//! 13 to 19 digits in one, or 4-4-4 and one or two groups of 1 to 4, or 4-6-4, 4-6-5, with one blank, dash or plus between
//! the groups. The first digits are those of a card and the checksum holds, so of other numbers one in twenty or so looks
//! like a card, and times (1…), dates (20…) and decimals (`0.4111…`) do not. A number within a long hexadecimal word is part
//! of an id.

use super::hidden::Hidden;
use super::piece::Word;

/// Finds them in `text`.
pub(super) fn find(text: &[u8], found: &mut Vec<Hidden>) {
    // A card has at least so many bytes, all of its kind: looking at each 13th byte is enough.
    let mut at = MIN_DIGITS - 1;
    while let Some(&byte) = text.get(at) {
        if !is_of_card(byte) {
            at += MIN_DIGITS;
            continue;
        }
        let is_other = |byte: &u8| !is_of_card(*byte);
        let start = text.iter().take(at).rposition(is_other);
        let start = start.map_or(0, |place| place + 1);
        let rest = text.get(at..).unwrap_or_default();
        let end = at + rest.iter().position(is_other).unwrap_or(rest.len());
        if end - start >= MIN_DIGITS {
            find_in_run(text, start, end, found);
        }
        at = end + MIN_DIGITS;
    }
}

/// Finds cards in a run of digits and separators. Each group may begin one, also within another one: both are hidden.
fn find_in_run(text: &[u8], start: usize, end: usize, found: &mut Vec<Hidden>) {
    let mut at = start;
    while at < end {
        let len = digits(text, at, end);
        if (MIN_DIGITS..=MAX_DIGITS).contains(&len) {
            check(text, at, at + len, found);
        } else if len == 4 {
            find_grouped(text, at, end, found);
        }
        at += len.max(1);
    }
}

/// Finds a card whose first group of four digits begins at `start`. The longer ones come first, and all that hold are hidden.
fn find_grouped(text: &[u8], start: usize, end: usize, found: &mut Vec<Hidden>) {
    let mut ends = [0; 5];
    let mut lens = [0; 5];
    let mut at = start;
    for group in 0..5 {
        let len = digits(text, at, end);
        if len == 0 {
            break;
        }
        (lens[group], ends[group]) = (len, at + len);
        at += len + 1;
    }
    let last = match lens {
        [4, 4, 4, 4, 1..=3] => 4,
        [4, 4, 4, 1..=4, _] => 3,
        [4, 6, 4 | 5, _, _] => 2,
        _ => return,
    };
    check(text, start, ends[last], found);
    if last == 4 {
        check(text, start, ends[3], found);
    }
}

fn check(text: &[u8], start: usize, end: usize, found: &mut Vec<Hidden>) {
    let number = text.get(start..end).unwrap_or_default();
    if is_card(number) && !is_part_of_more(text, start, end) {
        found.push(Hidden::of(Word::Card, start, end));
    }
}

fn is_card(number: &[u8]) -> bool {
    let issuer = matches!(
        number,
        [b'3' | b'4' | b'5' | b'6' | b'8' | b'9', ..] | [b'2', b'2'..=b'7', ..]
    );
    issuer && luhn(number)
}

/// Luhn's checksum (ISO/IEC 7812-1, annex B) over the digits.
fn luhn(number: &[u8]) -> bool {
    let digits = number.iter().rev().filter(|byte| byte.is_ascii_digit());
    let sum: u32 = digits
        .enumerate()
        .map(|(place, digit)| {
            let digit = u32::from(digit - b'0') << (place % 2);
            digit / 10 + digit % 10
        })
        .sum();
    sum.is_multiple_of(10)
}

/// Is it the fraction of a decimal, or within a hexadecimal word that is too long for a card with a letter beside it?
fn is_part_of_more(text: &[u8], start: usize, end: usize) -> bool {
    let (before, after) = text.split_at_checked(start).unwrap_or_default();
    if let [.., digit, b'.'] = before
        && digit.is_ascii_digit()
    {
        return true;
    }
    let number = end - start;
    let is_hex = |byte: &&u8| byte.is_ascii_hexdigit();
    let left = before
        .iter()
        .rev()
        .take(ID_BYTES)
        .take_while(is_hex)
        .count();
    let right = after
        .iter()
        .skip(number)
        .take(ID_BYTES)
        .take_while(is_hex)
        .count();
    left + right > 0 && left + number + right >= ID_BYTES
}

/// How many digits there are from `at`.
fn digits(text: &[u8], at: usize, end: usize) -> usize {
    let rest = text.get(at..end).unwrap_or_default();
    rest.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

fn is_of_card(byte: u8) -> bool {
    byte.is_ascii_digit() || matches!(byte, b' ' | b'-' | b'+')
}

const MIN_DIGITS: usize = 13;
const MAX_DIGITS: usize = 19;
/// A hexadecimal word of this length is an id: a card with a letter or two beside it is shorter.
const ID_BYTES: usize = 24;
