//! From bytes to text: the ini must be in UTF-8, with Unix line ends. What is wrong with its bytes is
//! reported, and mended as far as it takes to find whatever else is wrong.

use std::collections::HashSet;
use std::path::Path;

use super::error::{ConfigError, Problem};

/// Text of the ini with line ends `\n` and without control characters other than tabs.
pub(super) struct Text {
    /// The text, mended where `errors` says that it had to be.
    pub(super) text: String,
    /// What was wrong with the bytes.
    pub(super) errors: Vec<ConfigError>,
    /// Lines, counted from 1, whose content is not what the file says.
    pub(super) damaged: HashSet<usize>,
}

impl Text {
    /// Decodes the content of `file`; fails only where the rest cannot be looked at at all.
    pub(super) fn decode(bytes: &[u8], file: &Path) -> Result<Text, Problem> {
        let file = file.display().to_string();
        if bytes.starts_with(b"\xFF\xFE") || bytes.starts_with(b"\xFE\xFF") {
            return Err(Problem::Utf16 { file });
        }
        let mut errors = Vec::new();
        let mut offset = 0;
        let mut rest = bytes;
        if let Some(marked) = bytes.strip_prefix(b"\xEF\xBB\xBF") {
            rest = marked;
            offset = bytes.len() - marked.len();
            let file = file.clone();
            errors.push(ConfigError::at(1, Problem::ByteOrderMark { file }));
        }

        let mut text = String::with_capacity(rest.len());
        let mut damaged = HashSet::new();
        let mut returns = Vec::new();
        for (line, bytes) in (1..).zip(rest.split(|&byte| byte == b'\n')) {
            let content = match bytes.strip_suffix(b"\r") {
                Some(content) => {
                    returns.push(line);
                    content
                }
                None => bytes,
            };
            match line_of(content, offset, &file) {
                Ok(content) => text.push_str(content),
                Err(problem) => {
                    errors.push(ConfigError::at(line, problem));
                    damaged.insert(line);
                    let content = String::from_utf8_lossy(content);
                    text.push_str(&content.replace(is_refused, ""));
                }
            }
            text.push('\n');
            offset += bytes.len() + 1;
        }
        if let Some(&first) = returns.first() {
            let others = returns.len() - 1;
            errors.push(ConfigError::at(
                first,
                Problem::CarriageReturn { others, file },
            ));
        }
        Ok(Text {
            text,
            errors,
            damaged,
        })
    }
}

/// One line as text; `offset` is where it begins in the file.
fn line_of<'a>(line: &'a [u8], offset: usize, file: &str) -> Result<&'a str, Problem> {
    if let Some(at) = memchr::memchr(0, line) {
        return Err(Problem::Nul {
            offset: offset + at,
        });
    }
    let text = std::str::from_utf8(line).map_err(|error| {
        let at = error.valid_up_to();
        Problem::NotUtf8 {
            byte: line.get(at).copied().unwrap_or_default(),
            offset: offset + at,
            file: file.to_owned(),
        }
    })?;
    match text.char_indices().find(|&(_, c)| is_refused(c)) {
        Some((at, character)) => Err(Problem::Control {
            character,
            offset: offset + at,
        }),
        None => Ok(text),
    }
}

/// Characters that have no business in an ini, and would let a message steer a terminal.
fn is_refused(character: char) -> bool {
    character.is_control() && character != '\t'
}
