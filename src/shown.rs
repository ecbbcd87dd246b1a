//! How text from outside is shown in our own log: on one line, without anything that a terminal obeys.
//!
//! A file name may hold any byte but `/` and NUL: newlines that would forge a line of the log, escape
//! sequences, bytes that are not UTF-8.

use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

/// Shows a path: printable characters as they are, others as `\n` or `\u{1b}`, bytes that are not UTF-8 as
/// `\xff`.
#[derive(Debug, Clone, Copy)]
pub struct ShownPath<'a>(pub &'a Path);

impl fmt::Display for ShownPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.as_os_str().as_bytes().utf8_chunks() {
            for character in chunk.valid().chars() {
                escape(character, f)?;
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// Shows a number of bytes as people read it: `0 B`, `812 MiB`, `1.2 GiB`.
#[derive(Debug, Clone, Copy)]
pub struct Size(pub u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
        let (mut value, mut unit) = (self.0 as f64, 0);
        while value >= 1023.5 && unit + 1 < units.len() {
            value /= 1024.0;
            unit += 1;
        }
        let decimals = usize::from(unit > 0 && value < 9.95);
        write!(f, "{value:.decimals$} {}", units[unit])
    }
}

/// Shows how long something lasts, in its two largest units: `9s`, `4m10s`, `3d4h`.
#[derive(Debug, Clone, Copy)]
pub struct Lasts(pub Duration);

impl fmt::Display for Lasts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let units = [(86_400, "d"), (3600, "h"), (60, "m"), (1, "s")];
        let first = units.iter().position(|(unit, _)| seconds >= *unit);
        let mut left = seconds;
        for (unit, name) in units.iter().skip(first.unwrap_or(3)).take(2) {
            let count = left / unit;
            left %= unit;
            if count > 0 || seconds == 0 {
                write!(f, "{count}{name}")?;
            }
        }
        Ok(())
    }
}

/// Writes `character` as a terminal shows it.
pub(crate) fn escape(character: char, out: &mut impl fmt::Write) -> fmt::Result {
    match character {
        '\'' | '"' | '\\' => out.write_char(character),
        _ => character
            .escape_debug()
            .try_for_each(|shown| out.write_char(shown)),
    }
}

/// `text` in at most [`LONGEST`] characters that a terminal shows as they are.
pub(crate) fn printable(text: &str) -> String {
    let mut shown = String::new();
    for (index, character) in text.chars().enumerate() {
        if index == LONGEST {
            shown.push_str("...");
            break;
        }
        let _ = escape(character, &mut shown);
    }
    shown
}

/// Appends `head` and behind it `text`, in lines of at most [`WIDTH`] characters that begin below the first word.
pub(crate) fn wrap(out: &mut String, head: &str, text: &str) {
    let indent = head.trim_start_matches('\n').chars().count();
    out.push_str(head);
    let mut at = indent;
    for (number, word) in text.split(' ').enumerate() {
        let length = word.chars().count();
        if number > 0 && at + 1 + length > WIDTH {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent));
            at = indent;
        } else if number > 0 {
            out.push(' ');
            at += 1;
        }
        out.push_str(word);
        at += length;
    }
    out.push('\n');
}

/// Columns of a screen, but for the last one, in which some terminals begin the next line.
pub(crate) const WIDTH: usize = 79;

/// Characters of a text from the file that are shown at most.
pub(crate) const LONGEST: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    use std::ffi::OsStr;

    #[test]
    fn sizes_and_times_are_short_and_rounded() {
        let sizes = [
            0,
            999,
            1023,
            1024,
            1536,
            102_348,
            104_858_000,
            1 << 30,
            1_288_490_188,
        ];
        let shown = sizes.map(|bytes| Size(bytes).to_string());
        assert_eq!(
            shown,
            [
                "0 B", "999 B", "1023 B", "1.0 KiB", "1.5 KiB", "100 KiB", "100 MiB", "1.0 GiB",
                "1.2 GiB"
            ]
        );
        let times = [0, 9, 60, 250, 3600, 273_700];
        let shown = times.map(|seconds| Lasts(Duration::from_secs(seconds)).to_string());
        assert_eq!(shown, ["0s", "9s", "1m", "4m10s", "1h", "3d4h"]);
    }

    #[test]
    fn a_long_text_goes_on_below_its_first_word() {
        let mut out = String::new();
        wrap(&mut out, "\n  name  ", &"word ".repeat(16));
        let fourteen = "word ".repeat(14);
        let expected = format!("\n  name  {}\n        word word \n", fourteen.trim_end());
        assert_eq!(out, expected);
        assert!(out.lines().all(|line| line.len() <= WIDTH));
    }

    #[test]
    fn a_path_is_one_line_whatever_bytes_it_holds() {
        let shown = |bytes: &[u8]| ShownPath(Path::new(OsStr::from_bytes(bytes))).to_string();
        assert_eq!(
            shown("/var/log/ä 'b'\\.log".as_bytes()),
            "/var/log/ä 'b'\\.log"
        );
        assert_eq!(shown(b"/a\nERROR\x1b[2J"), "/a\\nERROR\\u{1b}[2J");
        assert_eq!(shown(b"/\xff\xc3.log"), "/\\xff\\xc3.log");
        assert_eq!(shown("/\u{202e}gol".as_bytes()), "/\\u{202e}gol");
    }
}
