//! How text from outside is shown in our own log: on one line, without anything that a terminal obeys.
//!
//! A file name may hold any byte but `/` and NUL: newlines that would forge a line of the log, escape
//! sequences, bytes that are not UTF-8.

use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

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

/// `12 KiB`, `1.1 GiB`: two digits at least, and no more than needed.
pub(crate) fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut units = ["B", "KiB", "MiB", "GiB", "TiB"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    while value >= 1023.5
        && let Some(next) = units.next()
    {
        value /= 1024.0;
        unit = next;
    }
    let digits = usize::from(value < 9.95 && unit != "B");
    format!("{value:.digits$} {unit}")
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
    fn a_size_has_two_digits_or_more_and_the_unit_that_makes_it_short() {
        for (bytes, shown) in [
            (0, "0 B"),
            (999, "999 B"),
            (1 << 10, "1.0 KiB"),
            (12_400, "12 KiB"),
            ((1 << 20) - 1, "1.0 MiB"),
            (1_181_116_006, "1.1 GiB"),
            (u64::MAX, "16777216 TiB"),
        ] {
            assert_eq!(size(bytes), shown);
        }
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
