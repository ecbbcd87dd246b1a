//! The times that log lines begin with.
//!
//! Logs write a time in some twenty forms, behind a bracket, a level word or a host. This module only says whether a line
//! has one near its beginning; it reads no value out of it. The common form, ISO, costs one look at 16 bytes.

use memchr::{memchr, memchr2};

use crate::record::levels::level_word;
use crate::record::shapes::{after_spaces, number};

/// Whether the line at the beginning of `rest` has a time near its beginning, or is a JSON object or a syslog line, whose
/// time stands elsewhere. `rest` may hold further lines.
#[inline]
pub fn begins_with_time(rest: &[u8]) -> bool {
    match rest.first() {
        None | Some(b' ' | b'\t' | b'\r' | b'\n') => false,
        Some(b'0'..=b'9') if is_iso(rest) => true,
        Some(_) => is_other_time(rest),
    }
}

/// Whether `rest` begins with `2026-11-26T22:30`, with `/` for `-` or a space for `T`.
#[inline]
pub fn is_iso(rest: &[u8]) -> bool {
    let Some(bytes) = rest.first_chunk::<16>() else {
        return false;
    };
    let [
        _,
        _,
        _,
        _,
        first,
        _,
        _,
        second,
        _,
        _,
        middle,
        _,
        _,
        colon,
        _,
        _,
    ] = *bytes;
    let all = u128::from_le_bytes(*bytes);
    // A digit is 0x30 to 0x39: its high half is 3, and still is with 6 added.
    all & HIGH_HALVES == THREES
        && (all & DIGITS).wrapping_add(SIXES) & HIGH_HALVES == THREES
        && colon == b':'
        && first == second
        && matches!(first, b'-' | b'/')
        && matches!(middle, b'T' | b' ')
}

fn is_other_time(rest: &[u8]) -> bool {
    let near = rest.get(..NEAR_BYTES).unwrap_or(rest);
    let line = uncoloured(near.strip_prefix(BYTE_ORDER_MARK).unwrap_or(near));
    match line {
        [b'{', b'"', ..] => true,
        [b'{', b' ', b'"', ..] => ends_with_brace(rest),
        [b'<', after @ ..] => is_priority(after) || is_date_time(after),
        [b'"' | b'*', after @ ..] => is_date_time(after),
        [b'[', after @ ..] => is_uptime(after) || is_behind_words(line),
        [b'#', ..] => is_behind_hash(line),
        [b'=', ..] => is_erlang_report(line),
        [b'0'..=b'9', ..] => is_access_log(line) || is_date_time(line) || is_redis(line),
        [b'A'..=b'Z' | b'a'..=b'z', ..] => {
            is_date_time(line)
                || is_klog_or_ruby(line)
                || is_logfmt(line)
                || is_behind_words(line)
                || is_access_log(line)
        }
        [b'-' | b':', ..] => is_access_log(line),
        _ => false,
    }
}

/// A date and a time of day, or a time of day with seconds alone.
fn is_date_time(text: &[u8]) -> bool {
    if let Some((name, after)) = text.split_at_checked(3) {
        if is_month(name) {
            return is_month_first(after);
        }
        if is_weekday(name) {
            let after = after.strip_prefix(b",").unwrap_or(after);
            let after = after.strip_prefix(b" ").unwrap_or(after);
            return after
                .split_at_checked(3)
                .is_some_and(|(name, after)| is_month(name) && is_month_first(after))
                || is_number_first(after);
        }
    }
    is_number_first(text)
}

/// ` 26 22:30`, ` 26, 2026 10:30`: what follows the name of a month.
fn is_month_first(text: &[u8]) -> bool {
    let text = after_spaces(text);
    let (day, after) = number(text);
    if !matches!(day, 1 | 2) {
        return false;
    }
    let after = after.strip_prefix(b",").unwrap_or(after);
    let with_year = after.strip_prefix(b" ").map(number);
    matches!(with_year, Some((4, after)) if is_clock(after)) || is_clock(after)
}

fn is_number_first(text: &[u8]) -> bool {
    let (digits, after) = number(text);
    match (digits, after) {
        (4, [separator @ (b'-' | b'/' | b'.'), after @ ..]) => {
            is_day_after(*separator, after, &[1, 2])
        }
        (8, _) => {
            is_clock(after)
                || matches!(after, [b'T' | b'-' | b' ', after @ ..] if number(after).0 == 6)
        }
        (6, [b' ', ..]) => is_clock(after),
        (10, [b'.', after @ ..]) => {
            text.first() == Some(&b'1') && matches!(number(after), (3.., [b' ', ..]))
        }
        (1 | 2, [b':', after @ ..]) => is_seconds_after(after),
        (1 | 2, [b'-' | b'/' | b'.' | b' ', after @ ..]) => {
            let named = after.split_at_checked(3).filter(|(name, _)| is_month(name));
            match (named, after) {
                (Some((_, [b'-' | b'/' | b'.' | b' ', after @ ..])), _) => {
                    let (year, after) = number(after);
                    matches!(year, 2 | 4) && is_clock(after)
                }
                (None, _) => {
                    let separator = text.get(digits).copied().unwrap_or_default();
                    is_day_after(separator, after, &[2, 4])
                }
                _ => false,
            }
        }
        _ => false,
    }
}

/// `11-26 22:30`: what follows the first number of a date and its separator; the last number has as many digits as
/// `lengths` says.
fn is_day_after(separator: u8, text: &[u8], lengths: &[usize]) -> bool {
    let (middle, after) = number(text);
    if !matches!(middle, 1 | 2) || after.first() != Some(&separator) {
        return false;
    }
    let (last, after) = number(after.get(1..).unwrap_or_default());
    lengths.contains(&last) && is_clock(after)
}

/// `T22:30`, ` 9:30`, `:22:30`: a time of day behind a date.
fn is_clock(text: &[u8]) -> bool {
    let mut text = text;
    for _ in 0..3 {
        match text {
            [b'T' | b' ' | b',' | b':' | b'_' | b'-' | b'.', after @ ..] => text = after,
            _ => break,
        }
    }
    match number(text) {
        (1 | 2, [b':', after @ ..]) => number(after).0 == 2,
        _ => false,
    }
}

/// `30:54.116`: minutes and seconds, and no further colon as in the address of a network card.
fn is_seconds_after(text: &[u8]) -> bool {
    match number(text) {
        (2, [b':', after @ ..]) => match number(after) {
            (2, []) => true,
            (2, [next, ..]) => !next.is_ascii_alphanumeric() && *next != b':',
            _ => false,
        },
        _ => false,
    }
}

/// `INFO [main] 2026-…`, `[ERROR] [11/26/2026 …`: level words and bracketed words before the time.
fn is_behind_words(line: &[u8]) -> bool {
    let mut text = line;
    for _ in 0..WORDS_BEFORE_TIME {
        while let [
            b' ' | b'\t' | b':' | b',' | b'|' | b'-' | b']' | 0x1b,
            after @ ..,
        ] = text
        {
            let plain = uncoloured(text);
            text = if plain.len() < text.len() {
                plain
            } else {
                after
            };
        }
        let inside = text.strip_prefix(b"[").unwrap_or(text);
        if is_date_time(inside) {
            return true;
        }
        if let Some((_, after)) = level_word(after_spaces(inside)) {
            text = after;
        } else if text.first() == Some(&b'[') {
            match memchr2(b']', b'\n', text).and_then(|end| text.get(end..)) {
                Some(after @ [b']', ..]) => text = after,
                _ => return false,
            }
        } else {
            return false;
        }
    }
    false
}

/// `I1126 22:30:54` of klog, `E, [2026-…` of Ruby's logger.
fn is_klog_or_ruby(line: &[u8]) -> bool {
    match line {
        [b'I' | b'W' | b'E' | b'F' | b'D', after @ ..]
            if after.first().is_some_and(u8::is_ascii_digit) =>
        {
            matches!(number(after), (4, clock @ [b' ', ..]) if is_clock(clock))
        }
        [b'A'..=b'Z', b',', b' ', b'[', after @ ..] => is_date_time(after),
        _ => false,
    }
}

/// `time="2026-…`, `ts=2026-…`, `level=info …` of logfmt.
fn is_logfmt(line: &[u8]) -> bool {
    let Some(at) = memchr(b'=', line.get(..LONGEST_KEY + 1).unwrap_or(line)) else {
        return false;
    };
    let (Some(key), Some(value)) = (line.get(..at), line.get(at + 1..)) else {
        return false;
    };
    match key {
        b"time" | b"ts" | b"t" | b"timestamp" | b"date" | b"datetime" => {
            let value = value.strip_prefix(b"\"").unwrap_or(value);
            is_date_time(value) || number(value).0 >= 10
        }
        b"level" | b"lvl" | b"severity" => {
            level_word(value.strip_prefix(b"\"").unwrap_or(value)).is_some()
        }
        _ => false,
    }
}

/// `10.0.0.1 - - [26/Nov/2026:22:30:54 +0000]`: the common log format of web servers, also with a virtual host first.
fn is_access_log(line: &[u8]) -> bool {
    let Some(at) = memchr2(b'[', b'\n', line) else {
        return false;
    };
    let Some(time) = line.get(at..).and_then(|time| time.first_chunk::<16>()) else {
        return false;
    };
    let [
        b'[',
        _,
        _,
        b'/',
        m,
        o,
        n,
        b'/',
        _,
        _,
        _,
        _,
        b':',
        _,
        _,
        b':',
    ] = *time
    else {
        return false;
    };
    is_month(&[m, o, n]) && line.get(..at).is_some_and(|before| before.ends_with(b" "))
}

/// `12:M 26 Nov 2026 22:30:54.116` of Redis.
fn is_redis(line: &[u8]) -> bool {
    matches!(number(line), (_, [b':', b'A'..=b'Z', b' ', after @ ..]) if is_date_time(after))
}

/// `# Time: ` of MySQL's slow log, `####<` of WebLogic.
fn is_behind_hash(line: &[u8]) -> bool {
    let after = line
        .strip_prefix(b"# Time: ")
        .or_else(|| line.strip_prefix(b"####<"));
    after.is_some_and(is_date_time)
}

/// `=INFO REPORT==== 26-Nov-2026::22:30:54 ===` of Erlang.
fn is_erlang_report(line: &[u8]) -> bool {
    let end = memchr(b'\n', line)
        .and_then(|end| line.get(..end))
        .unwrap_or(line);
    let at = memchr::memmem::find(end, b" REPORT==== ");
    at.and_then(|at| end.get(at + 12..))
        .is_some_and(is_date_time)
}

/// `13>`: the priority of a syslog line.
fn is_priority(after: &[u8]) -> bool {
    matches!(number(after), (1..=3, [b'>', ..]))
}

/// `12345.678901] ` of the kernel, `0.005s]` of the Java virtual machine.
fn is_uptime(after: &[u8]) -> bool {
    let after = after_spaces(after);
    match number(after) {
        (1.., [b'.', after @ ..]) => {
            matches!(number(after), (6, [b']', ..]) | (3, [b's', b']', ..]))
        }
        _ => false,
    }
}

fn ends_with_brace(rest: &[u8]) -> bool {
    let line = memchr(b'\n', rest)
        .and_then(|end| rest.get(..end))
        .unwrap_or(rest);
    line.trim_ascii_end().ends_with(b"}")
}

/// `text` without the colour sequences it begins with.
fn uncoloured(text: &[u8]) -> &[u8] {
    let mut text = text;
    while let [0x1b, b'[', after @ ..] = text {
        let parameters = after
            .iter()
            .take_while(|byte| byte.is_ascii_digit() || **byte == b';')
            .count();
        match after.get(parameters..) {
            Some([b'm', after @ ..]) => text = after,
            _ => break,
        }
    }
    text
}

fn is_month(name: &[u8]) -> bool {
    <[u8; 3]>::try_from(name).is_ok_and(|name| MONTHS.contains(&letters(&name)))
}

/// Three letters as one number.
const fn letters(name: &[u8; 3]) -> u32 {
    u32::from_le_bytes([name[0], name[1], name[2], 0])
}

fn is_weekday(name: &[u8]) -> bool {
    matches!(
        name,
        b"Mon" | b"Tue" | b"Wed" | b"Thu" | b"Fri" | b"Sat" | b"Sun"
    )
}

/// The places of the digits in `2026-11-26T22:30`, first byte lowest.
const DIGITS: u128 = 0xffff_00ff_ff00_ffff_00ff_ff00_ffff_ffff;
const HIGH_HALVES: u128 = DIGITS & 0xf0f0_f0f0_f0f0_f0f0_f0f0_f0f0_f0f0_f0f0;
const THREES: u128 = DIGITS & 0x3030_3030_3030_3030_3030_3030_3030_3030;
const SIXES: u128 = DIGITS & 0x0606_0606_0606_0606_0606_0606_0606_0606;

const MONTHS: [u32; 12] = [
    letters(b"Jan"),
    letters(b"Feb"),
    letters(b"Mar"),
    letters(b"Apr"),
    letters(b"May"),
    letters(b"Jun"),
    letters(b"Jul"),
    letters(b"Aug"),
    letters(b"Sep"),
    letters(b"Oct"),
    letters(b"Nov"),
    letters(b"Dec"),
];
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
const WORDS_BEFORE_TIME: usize = 4;
const LONGEST_KEY: usize = 9;
/// As many bytes of a line are looked at for a time.
const NEAR_BYTES: usize = 192;

#[cfg(test)]
mod tests {
    use super::begins_with_time;

    #[test]
    fn a_time_near_the_beginning_is_seen() {
        for line in [
            "2026-11-26 22:30:54,116 ERROR [http-1] c.e.Orders - order 7 failed",
            "2026-11-26T22:30:54.116+08:00  INFO 12 --- [main]",
            "2026/11/26 22:30:54 [error] 12#12: *7 lua entry",
            "2026.11.26 22:30:54 x",
            "[2026-11-26 22:30:54,116] INFO kafka",
            "[2026-11-26 22:30:54 +0000] [12] [INFO] Booting",
            "[ERROR] [11/26/2026 22:30:54.116] [sys-3] [akka://sys] x",
            "[INFO ] 2026-11-26 22:30:54 x",
            "[main] 2026-11-26 22:30:54 x",
            "INFO  [main] 2026-11-26 22:30:54,116 File.java:12 - msg",
            "ERROR 2026-11-26 22:30:54,116 views Internal Server Error",
            "WARN: 2026-11-26 22:30:54 x",
            "E, [2026-11-26T22:30:54.116 #12] ERROR -- : x",
            "26-Nov-2026 22:30:54.116 SEVERE [main] org.apache",
            "[26-Nov-2026 22:30:54 UTC] PHP Fatal error:  x",
            "26/Nov/2026:22:30:54 +0000 x",
            "10.0.0.1 - - [26/Nov/2026:22:30:54 +0000] \"GET / HTTP/1.1\" 200 12",
            "example.org:80 ::1 - bob [26/Nov/2026:22:30:54 +0000] \"GET / HTTP/1.1\" 200 12",
            "11/26/2026 10:30:54 PM x",
            "1/6/2026 2:30:54 PM x",
            "26/11/26 22:30:54 INFO SparkContext",
            "26.11.2026 22:30:54 x",
            "20261126 22:30:54.116 x",
            "20261126T223054Z x",
            "Nov 26 22:30:54 web1 sshd[12]: x",
            "Nov  6 22:30:54 web1 sshd[12]: x",
            "Nov 26, 2026 10:30:54 PM com.example.Foo bar",
            "Wed Nov 26 22:30:54 2026 x",
            "[Wed Nov 26 22:30:54.116 2026] [core:error] x",
            "Wed, 26 Nov 2026 22:30:54 GMT x",
            "I1126 22:30:54.116000      12 main.go:9] x",
            "22:30:54.116 [main] INFO x",
            "22:30:54 x",
            "22:30:54",
            "{\"level\":\"info\"}",
            "{ \"level\": \"info\" }",
            "<13>Nov 26 22:30:54 web1 x",
            "<165>1 2026-11-26T22:30:54Z web1 x",
            "<Nov 26, 2026 10:30:54 PM UTC> <Error>",
            "####<Nov 26, 2026 10:30:54 PM UTC> <Error>",
            "# Time: 2026-11-26T22:30:54.116000Z",
            "# Time: 261126 22:30:54",
            "12:M 26 Nov 2026 22:30:54.116 * Ready",
            "time=\"2026-11-26T22:30:54Z\" level=info msg=x",
            "ts=2026-11-26T22:30:54.116Z caller=x",
            "level=info ts=2026-11-26T22:30:54Z msg=x",
            "=INFO REPORT==== 26-Nov-2026::22:30:54 ===",
            "[12345.678901] usb 1-1: new device",
            "[0.005s][info][gc] Using G1",
            "1795732254.116    200 10.0.0.1 TCP_MISS/200",
            "\u{feff}2026-11-26 22:30:54 x",
            "\u{1b}[2m2026-11-26T22:30:54.116Z\u{1b}[0m \u{1b}[32m INFO\u{1b}[0m x",
            "\u{1b}[32mINFO\u{1b}[0m 2026-11-26 22:30:54 x",
        ] {
            assert!(begins_with_time(line.as_bytes()), "{line}");
            assert!(begins_with_time(format!("{line}\r\n").as_bytes()), "{line}");
        }
    }

    #[test]
    fn other_lines_have_no_time() {
        for line in [
            "",
            "\t   and note = '2026-11-26 22:30 looks like a date'",
            "  2026-11-26 22:30:54 x",
            "2026-11-26 looks like a date",
            "2026-11-26",
            "2026-11-2x 22:30:54",
            "20:1a:2b:33:44:55 is at 10.0.0.1",
            "00:11:22:33:44:55 is at 10.0.0.1",
            "Started GET \"/\" for 127.0.0.1 at 2026-11-26 22:30:55 +0000",
            "row 2: <null>",
            "Monday is a day",
            "Nov 26 was a day",
            "Error: see manual",
            "INFO next",
            "[INFO] next",
            "[signal SIGSEGV: segmentation violation code=0x1 addr=0x0 pc=0x4a9e96]",
            "GET /a 200",
            "{",
            "{ \"level\": \"info\",",
            "<null>",
            "# User@Host: shop[shop] @ web1 [10.0.0.5]  Id:    12",
            "#0 /srv/shop/Api.php(40): Cart->total(NULL)",
            "0x602000000013 is located 3 bytes inside of 8-byte region",
            "12 items",
            "timeout=30",
            "==2191==ERROR: AddressSanitizer",
            "\u{1b}[32m",
            "E, [",
            "I1126",
        ] {
            assert!(!begins_with_time(line.as_bytes()), "{line}");
            assert!(
                !begins_with_time(format!("{line}\r\n2026-11-26 22:30:54 x\n").as_bytes()),
                "{line}"
            );
        }
    }
}
