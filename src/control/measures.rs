//! Figures as an operator reads them, in few columns.

use std::time::Duration;

use crate::shown::Size;
use crate::snapshot::Latency;

/// `1.2 GiB`, `812 MiB`, `0 B`.
pub(super) fn size(bytes: u64) -> String {
    Size(bytes).to_string()
}

/// As [`size`], and `0` for nothing.
pub(super) fn bytes_or_none(number: u64) -> String {
    match number {
        0 => "0".to_owned(),
        number => size(number),
    }
}

/// `88110`, `12 M`: at most seven columns.
pub(super) fn count(number: u64) -> String {
    match number {
        0..10_000_000 => number.to_string(),
        10_000_000..10_000_000_000 => format!("{} M", number / 1_000_000),
        _ => format!("{:.1e}", number as f64),
    }
}

/// `7s`, `4m10s`, `3h12m`, `3d 4h`.
pub(super) fn age(age: Duration) -> String {
    let s = age.as_secs();
    match s {
        0..60 => format!("{s}s"),
        60..3600 => format!("{}m{:02}s", s / 60, s % 60),
        3600..86_400 => format!("{}h{:02}m", s / 3600, s % 3600 / 60),
        _ => format!("{}d {}h", s / 86_400, s % 86_400 / 3600),
    }
}

/// The first part of it: `7s`, `4m`, `3d`.
pub(super) fn about(time: Duration) -> String {
    let mut text = age(time);
    if let Some(end) = text.find(|one: char| one.is_ascii_alphabetic()) {
        text.truncate(end + 1);
    }
    text
}

/// `0.4 s ago`, `12 min ago`.
pub(super) fn ago(age: Duration) -> String {
    let s = age.as_secs();
    match s {
        0..10 => format!("{s}.{} s ago", age.subsec_millis() / 100),
        10..60 => format!("{s} s ago"),
        60..3600 => format!("{} min ago", s / 60),
        3600..86_400 => format!("{} h ago", s / 3600),
        _ => format!("{} d ago", s / 86_400),
    }
}

/// How long the slowest of all but so many in a thousand took, in ms: of the recent ones, or of all if there are none.
pub(super) fn per_mille_ms(recent: &Latency, all: &Latency, per_mille: u64) -> String {
    let counts = match recent.counts.iter().all(|count| *count == 0) {
        true => all.counts,
        false => recent.counts,
    };
    let all: u64 = counts.iter().sum();
    if all == 0 {
        return "-".to_owned();
    }
    let wanted = (all * per_mille) as f64 / 1000.0;
    let (mut below, mut from) = (0.0, 0.0);
    for (at, count) in counts.iter().enumerate() {
        let Some(to) = Latency::BOUNDS.get(at) else {
            break;
        };
        if below + *count as f64 >= wanted {
            let part = (wanted - below) / (*count as f64).max(1.0);
            return format!("{:.1}", (from + (to - from) * part) * 1000.0);
        }
        (below, from) = (below + *count as f64, *to);
    }
    format!(">{}", from * 1000.0)
}

/// In ASCII, without anything that a terminal obeys.
pub(super) fn plain(text: &str) -> String {
    match text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        true => text.to_owned(),
        false => text
            .chars()
            .map(|character| match character {
                ' '..='~' => character.to_string(),
                _ => character.escape_default().to_string(),
            })
            .collect(),
    }
}

/// `text`, which is ASCII, in at most `width` columns.
pub(super) fn cut(text: &str, width: usize) -> String {
    match text.len() {
        len if len <= width => text.to_owned(),
        _ => format!("{}...", &text[..width.saturating_sub(3)]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_take_few_columns() {
        assert_eq!(count(9_999_999), "9999999");
        assert_eq!(count(12_400_000), "12 M");
        for shift in 0..64 {
            let number = u64::MAX >> shift;
            assert!(count(number).len() <= 7);
        }
        let ages = [7, 250, 11_520, 273_600].map(|s| age(Duration::from_secs(s)));
        assert_eq!(ages, ["7s", "4m10s", "3h12m", "3d 4h"]);
        assert_eq!(about(Duration::from_secs(250)), "4m");
        let agos = [400, 12_000, 730_000].map(|ms| ago(Duration::from_millis(ms)));
        assert_eq!(agos, ["0.4 s ago", "12 s ago", "12 min ago"]);
    }

    #[test]
    fn what_a_terminal_obeys_is_written_out_and_what_is_too_long_is_cut() {
        assert_eq!(plain("a\x1b[2J\u{e4}\n"), "a\\u{1b}[2J\\u{e4}\\n");
        assert_eq!(cut("abcdefgh", 8), "abcdefgh");
        assert_eq!(cut("abcdefghi", 8), "abcde...");
    }

    #[test]
    fn percentiles_come_from_the_recent_requests_or_from_all_if_there_are_none() {
        let (mut recent, mut all) = (Latency::default(), Latency::default());
        assert_eq!(per_mille_ms(&recent, &all, 500), "-");
        all.counts[9] = 1000;
        assert_eq!(per_mille_ms(&recent, &all, 500), "750.0");
        recent.counts[0] = 100;
        assert_eq!(per_mille_ms(&recent, &all, 500), "0.5");
        recent.counts[13] = 100_000;
        assert_eq!(per_mille_ms(&recent, &all, 990), ">10000");
    }
}
