//! Times of events: from the text of a line to nanoseconds since 1970, and from those to RFC 3339.

use crate::record::civil::{date_of_day, day_of_date, day_of_year};
use crate::record::output::Output;
use crate::record::time_format::TimeFormat;
use crate::record::time_text::TimeParts;
use crate::record::zone::ZoneClock;

/// Reads the times of the events of one file.
#[derive(Clone, Debug)]
pub struct TimeReader {
    format: TimeFormat,
    clock: ZoneClock,
    /// The value that was read last, if it tells year and zone, and its time: many events in a row are of one second.
    last: (Vec<u8>, i64),
}

impl TimeReader {
    /// Times in `format`, by `clock` where they do not tell their zone.
    pub fn new(format: TimeFormat, clock: ZoneClock) -> Self {
        TimeReader {
            format,
            clock,
            last: (Vec::new(), 0),
        }
    }

    /// The time of an event, in nanoseconds since 1970: the first text within its first [`SEARCHED_BYTES`] that
    /// reads as one. A text begins at the front or after a byte that is no letter and no digit, and a digit at its
    /// end is its last. Bare numbers (`epoch`, `epoch_ms`, `%s…`) are taken at the front only, where blanks and `[`
    /// may stand before them.
    ///
    /// `now_ns` is the time of reading; it decides for times without a year and in the hour that the clock was put
    /// back.
    #[inline]
    pub fn of_event(&mut self, event: &[u8], now_ns: i64) -> Option<i64> {
        let is_bare_number = self.format.is_bare_number();
        let mut previous = b' ';
        for (at, &byte) in event.iter().take(SEARCHED_BYTES).enumerate() {
            if self.format.may_begin_with(byte) && !previous.is_ascii_alphanumeric() {
                let text = event.get(at..)?;
                let parts = self
                    .format
                    .read(text)
                    .filter(|&(_, len)| is_whole(text, len));
                if let Some(time_ns) = parts.and_then(|(parts, _)| self.moment(&parts, now_ns)) {
                    return Some(time_ns);
                }
            }
            if is_bare_number && !matches!(byte, b' ' | b'\t' | b'[') {
                return None;
            }
            previous = byte;
        }
        None
    }

    /// The time that a field holds, blanks around it aside, and nothing else.
    pub fn of_value(&mut self, value: &[u8], now_ns: i64) -> Option<i64> {
        let value = value.trim_ascii();
        if self.last.0 == value && !value.is_empty() {
            return Some(self.last.1);
        }
        let (parts, len) = self.format.read(value)?;
        if len != value.len() {
            return None;
        }
        let time_ns = self.moment(&parts, now_ns)?;
        // Any other hangs on the time of reading.
        if parts.year.is_some() && parts.offset_s.is_some() {
            self.last.0.clear();
            self.last.0.extend_from_slice(value);
            self.last.1 = time_ns;
        }
        Some(time_ns)
    }

    #[inline]
    fn moment(&mut self, parts: &TimeParts, now_ns: i64) -> Option<i64> {
        let now_s = now_ns.div_euclid(NS_PER_S);
        let utc_s = match (parts.epoch_s, parts.year) {
            (Some(epoch_s), _) => epoch_s,
            (None, Some(year)) => self.utc_s(parts, wall_clock_s(parts, year)?, now_s),
            (None, None) => self.nearest_past(parts, now_s)?,
        };
        utc_s.checked_mul(NS_PER_S)?.checked_add(parts.nanosecond)
    }

    #[inline]
    fn utc_s(&mut self, parts: &TimeParts, local_s: i64, now_s: i64) -> i64 {
        match parts.offset_s {
            Some(offset_s) => local_s - offset_s,
            None => self.clock.utc_of_local(local_s, now_s),
        }
    }

    /// A time without a year: the latest year in which the date exists and does not lie in the future.
    fn nearest_past(&mut self, parts: &TimeParts, now_s: i64) -> Option<i64> {
        let (this_year, _, _) = date_of_day(now_s.div_euclid(S_PER_DAY));
        (this_year - YEARS_BETWEEN_LEAP_DAYS..=this_year + 1)
            .rev()
            .find_map(|year| {
                let local_s = wall_clock_s(parts, year)?;
                // Asked without the zone first: a year that is wrong would make the clock forget its hour.
                if local_s > now_s + FUTURE_S + S_PER_DAY {
                    return None;
                }
                let utc_s = self.utc_s(parts, local_s, now_s);
                (utc_s <= now_s + FUTURE_S).then_some(utc_s)
            })
    }
}

/// The second of the wall clock, counted from 1970; `None` for a date or a time that cannot be.
#[inline]
fn wall_clock_s(parts: &TimeParts, year: i64) -> Option<i64> {
    let day = match parts.day_of_year {
        Some(number) => day_of_year(year, number)?,
        None => day_of_date(year, parts.month, parts.day)?,
    };
    let hour = match parts.is_afternoon {
        None => parts.hour,
        Some(_) if !(1..=12).contains(&parts.hour) => return None,
        Some(is_afternoon) => parts.hour % 12 + if is_afternoon { 12 } else { 0 },
    };
    let is_time = hour <= 23 && parts.minute <= 59 && parts.second <= 60;
    is_time.then_some(day * S_PER_DAY + hour * 3600 + parts.minute * 60 + parts.second)
}

/// Whether a time of `len` bytes ends where its text ends: no digit is cut off from others.
#[inline]
fn is_whole(text: &[u8], len: usize) -> bool {
    let ends_in_digit = len
        .checked_sub(1)
        .and_then(|last| text.get(last))
        .is_some_and(u8::is_ascii_digit);
    !ends_in_digit || !text.get(len).is_some_and(u8::is_ascii_digit)
}

/// Appends a time as RFC 3339 in UTC with milliseconds; with 6 or 9 places if it is finer than that.
pub fn push_rfc3339(out: &mut Vec<u8>, time_ns: i64) {
    SecondText::default().push_rfc3339(out, time_ns);
}

/// The text of the second that was written last: many events in a row are of one.
#[derive(Clone, Copy, Debug, Default)]
pub struct SecondText {
    seconds: i64,
    /// Nothing yet if it is empty: NULs.
    text: [u8; 20],
}

impl SecondText {
    /// As [`push_rfc3339`].
    #[inline]
    pub fn push_rfc3339(&mut self, out: &mut impl Output, time_ns: i64) {
        let seconds = time_ns.div_euclid(NS_PER_S);
        let nanosecond = time_ns.rem_euclid(NS_PER_S) as u32; // below 10^9
        if seconds != self.seconds || self.text[0] == 0 {
            (self.seconds, self.text) = (seconds, second_text(seconds));
        }
        let millisecond = nanosecond / 1_000_000;
        let [f1, f2] = two_digits(millisecond / 10);
        let f3 = b'0' + (millisecond % 10) as u8;
        out.extend_from_slice(&self.text);
        let finer = nanosecond % 1_000_000;
        if finer == 0 {
            out.extend_from_slice(&[f1, f2, f3, b'Z']);
            return;
        }
        out.extend_from_slice(&[f1, f2, f3]);
        push_three_digits(out, finer / 1000);
        if !finer.is_multiple_of(1000) {
            push_three_digits(out, finer % 1000);
        }
        out.push(b'Z');
    }
}

/// `2026-11-26T22:30:54.`
///
/// No part of its caller: the compiler would compute it beforehand, for each event.
#[cold]
#[inline(never)]
fn second_text(seconds: i64) -> [u8; 20] {
    let (year, month, day) = date_of_day(seconds.div_euclid(S_PER_DAY));
    let second_of_day = seconds.rem_euclid(S_PER_DAY) as u32; // below 86,400
    let year = year as u32; // an i64 of nanoseconds is in 1677 to 2262
    let minute_of_day = second_of_day / 60;
    let ([y1, y2], [y3, y4]) = (two_digits(year / 100), two_digits(year % 100));
    let ([m1, m2], [d1, d2]) = (two_digits(month as u32), two_digits(day as u32));
    let ([h1, h2], [n1, n2]) = (
        two_digits(minute_of_day / 60),
        two_digits(minute_of_day % 60),
    );
    let [s1, s2] = two_digits(second_of_day % 60);
    [
        y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, b'T', h1, h2, b':', n1, n2, b':', s1, s2, b'.',
    ]
}

/// A number below 100.
#[inline]
fn two_digits(number: u32) -> [u8; 2] {
    [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8]
}

/// A number below 1000.
fn push_three_digits(out: &mut impl Output, number: u32) {
    out.push(b'0' + (number / 100) as u8);
    out.extend_from_slice(&two_digits(number % 100));
}

/// How far into an event its time may begin.
pub const SEARCHED_BYTES: usize = 128;

const NS_PER_S: i64 = 1_000_000_000;
const S_PER_DAY: i64 = 86_400;

/// How far ahead of our clock a time without a year may be, before it is one of last year: the writer's clock or
/// zone may differ from ours.
const FUTURE_S: i64 = S_PER_DAY;

/// 1896 to 1904 and 2096 to 2104.
const YEARS_BETWEEN_LEAP_DAYS: i64 = 8;

#[cfg(test)]
#[path = "time_tests.rs"]
mod tests;
