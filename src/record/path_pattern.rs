//! Paths with placeholders: `/srv/{tenant}/log/**/{app}.log`.
//!
//! A path pattern is a glob as `tail::patterns` has it in which `{name}` stands for one or more characters of one
//! component. It gives the glob that discovery follows, and what each name stands for in a path that was found. The
//! glob matches exactly those paths from which every name gets its value: there `{name}` is `?*`, since `*` alone
//! would find `.log` for `{app}.log`, a file without an app.
//!
//! Where a path can be read in several ways, from left to right: `{name}` takes as few characters as it can, `*`
//! as many, `**` as few folders. So `*-{id}.log` gives what comes after the last `-`; and what a tenant makes below
//! its own folder cannot be taken for another tenant's, as the names nearest to the root are read first.
//!
//! `{{` and `}}` stand for the characters themselves, and so does a brace within `[...]`. A text without braces is
//! its own glob, byte for byte.

mod name;

use std::fmt;
use std::ops::Range;

use crate::record::braces::{self, Brace, is_built_in};
use crate::shown::printable;
use crate::wildcards::CharacterSet;

use name::{Table, Token, Tokens};

/// A pattern of whole paths, with names in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPattern {
    text: Box<str>,
    glob: Box<str>,
    names: Box<[Box<str>]>,
    is_absolute: bool,
    components: Box<[Component]>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Component {
    /// One file or folder.
    One(Tokens),
    /// `**`: any number of folders, none of them hidden. As the last component, anything below.
    Recursive,
}

/// Why a text is no path pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPatternError {
    /// Where in the text, in bytes.
    pub at: usize,
    /// What is wrong there.
    pub words: String,
}

impl std::error::Error for PathPatternError {}

impl fmt::Display for PathPatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

impl PathPattern {
    /// The pattern that `text` spells.
    ///
    /// # Errors
    /// A brace without its other one, what is no name, a name that is there twice, that means something already or
    /// that stands beside another one or a `*`; and what is no glob: a `[` without its `]`, a `**` that is not a
    /// whole component, more than two `*` in a row.
    pub fn parse(text: &str) -> Result<Self, PathPatternError> {
        let mut parser = Parser {
            text,
            at: 0,
            glob: String::with_capacity(text.len()),
            names: Vec::new(),
            tokens: Vec::new(),
            components: Vec::new(),
        };
        while parser.step()? {}
        parser.end_component();
        Ok(PathPattern {
            text: text.into(),
            glob: parser.glob.into(),
            names: parser.names.into(),
            is_absolute: text.starts_with('/'),
            components: parser.components.into(),
        })
    }

    /// The pattern as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The glob of the same paths, without placeholders.
    pub fn glob(&self) -> &str {
        &self.glob
    }

    /// The names, in the order of the text.
    pub fn names(&self) -> &[Box<str>] {
        &self.names
    }

    /// Where in `path` the value of each name stands, in the order of [`PathPattern::names`]; `None` if the path is
    /// none of those meant. Takes no longer than the length of the path times that of the pattern.
    pub fn capture(&self, path: &[u8]) -> Option<Vec<Range<usize>>> {
        if path.starts_with(b"/") != self.is_absolute {
            return None;
        }
        let files = files(path);
        let fits = self.fits(path, &files);
        let mut ranges = Vec::with_capacity(self.names.len());
        let mut file = 0;
        for (row, component) in self.components.iter().enumerate() {
            if !fits.is_set(row, file) {
                return None;
            }
            match component {
                Component::Recursive => {
                    while !fits.is_set(row + 1, file) && file < files.len() {
                        file += 1;
                    }
                }
                Component::One(tokens) => {
                    let range = files.get(file)?;
                    let values = tokens.capture(path.get(range.clone())?)?;
                    ranges.extend(
                        values
                            .into_iter()
                            .map(|value| range.start + value.start..range.start + value.end),
                    );
                    file += 1;
                }
            }
        }
        (file == files.len()).then_some(ranges)
    }

    /// Which ways lead to the end: whether the components from a row on can be what the `files` from a column on are.
    fn fits(&self, path: &[u8], files: &[Range<usize>]) -> Table {
        let count = self.components.len();
        let mut fits = Table::new(count + 1, files.len() + 1);
        fits.set(count, files.len());
        for (row, component) in self.components.iter().enumerate().rev() {
            let is_last = row + 1 == count;
            // A `**` at the end stands for a file at least.
            if *component == Component::Recursive && !is_last && fits.is_set(row + 1, files.len()) {
                fits.set(row, files.len());
            }
            for (column, range) in files.iter().enumerate().rev() {
                let file = path.get(range.clone()).unwrap_or_default();
                let does_fit = match component {
                    Component::One(tokens) => {
                        fits.is_set(row + 1, column + 1) && tokens.matches(file)
                    }
                    Component::Recursive => {
                        let ends_here = !is_last && fits.is_set(row + 1, column);
                        let goes_on = fits.is_set(row, column + 1)
                            || is_last && fits.is_set(row + 1, column + 1);
                        ends_here || goes_on && !file.starts_with(b".")
                    }
                };
                if does_fit {
                    fits.set(row, column);
                }
            }
        }
        fits
    }
}

/// The state of reading a text.
struct Parser<'a> {
    text: &'a str,
    at: usize,
    glob: String,
    names: Vec<Box<str>>,
    /// Those of the component that is being read.
    tokens: Vec<Token>,
    components: Vec<Component>,
}

impl Parser<'_> {
    /// Reads one thing more; returns whether there was one.
    fn step(&mut self) -> Result<bool, PathPatternError> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let Some(character) = rest.chars().next() else {
            return Ok(false);
        };
        let mut len = character.len_utf8();
        match character {
            '/' => self.end_component(),
            '?' => self.tokens.push(Token::AnyOne),
            '*' => return self.stars(rest).map(|()| true),
            '[' => {
                let (set, set_len) = CharacterSet::parse(rest).ok_or_else(|| {
                    self.error("a [ without its ]; write [[] for the character itself")
                })?;
                self.tokens.push(Token::OneOf(set));
                len = set_len;
            }
            '{' | '}' => match braces::read(rest).map_err(|words| self.error(words))? {
                Some((Brace::Placeholder(name), len)) => return self.name(name, len),
                Some((Brace::Character(brace), len)) => {
                    self.literal(brace);
                    self.glob.push(brace);
                    self.at += len;
                    return Ok(true);
                }
                None => {}
            },
            _ => self.literal(character),
        }
        self.glob.push_str(rest.get(..len).unwrap_or_default());
        self.at += len;
        Ok(true)
    }

    fn literal(&mut self, character: char) {
        let mut bytes = [0; 4];
        let bytes = character.encode_utf8(&mut bytes).bytes();
        self.tokens.extend(bytes.map(Token::Byte));
    }

    fn stars(&mut self, rest: &str) -> Result<(), PathPatternError> {
        let after = rest.trim_start_matches('*');
        let count = rest.len() - after.len();
        if count > 2 {
            return Err(self.error("more than two * in a row"));
        }
        if let Some(Token::Name(number)) = self.tokens.last() {
            return Err(self.error(beside(self.shown(*number), "*")));
        }
        if count == 2 {
            let is_whole = self.tokens.is_empty() && (after.is_empty() || after.starts_with('/'));
            if !is_whole {
                return Err(self.error("** must be a whole component, as in /a/**/b"));
            }
            self.components.push(Component::Recursive);
        } else {
            self.tokens.push(Token::AnyNumber);
        }
        self.glob.extend(std::iter::repeat_n('*', count));
        self.at += count;
        Ok(())
    }

    /// `{name}`, which is `len` bytes long.
    fn name(&mut self, name: &str, len: usize) -> Result<bool, PathPatternError> {
        let shown = printable(name);
        let is_name = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        if name.is_empty() || !name.bytes().all(is_name) {
            return Err(self.error(format!(
                "{{{shown}}} is no name of letters, digits and '_'; write {{{{ and }}}} for the characters themselves"
            )));
        }
        if is_built_in(name) {
            return Err(self.error(format!(
                "{{{shown}}} means something already; take another name"
            )));
        }
        if self.names.iter().any(|known| **known == *name) {
            return Err(self.error(format!("{{{shown}}} twice")));
        }
        match self.tokens.last() {
            Some(Token::Name(number)) => {
                let other = self.shown(*number);
                return Err(self.error(beside(format!("{{{shown}}}"), &other)));
            }
            Some(Token::AnyNumber) => {
                return Err(self.error(beside(format!("{{{shown}}}"), "*")));
            }
            _ => {}
        }
        self.tokens.push(Token::Name(self.names.len()));
        self.names.push(name.into());
        self.glob.push_str("?*");
        self.at += len;
        Ok(true)
    }

    /// Empty components and `.` count for nothing, as in a path.
    fn end_component(&mut self) {
        let tokens = std::mem::take(&mut self.tokens);
        if !matches!(*tokens, [] | [Token::Byte(b'.')]) {
            self.components
                .push(Component::One(Tokens::new(tokens.into())));
        }
    }

    fn shown(&self, number: usize) -> String {
        let name = self.names.get(number).map_or("", |name| name);
        format!("{{{}}}", printable(name))
    }

    fn error(&self, words: impl Into<String>) -> PathPatternError {
        PathPatternError {
            at: self.at,
            words: words.into(),
        }
    }
}

/// `text` with its braces written twice, for a folder that a relative path begins in.
pub fn escape_braces(text: &str) -> String {
    text.replace('{', "{{").replace('}', "}}")
}

fn beside(name: String, other: &str) -> String {
    format!("{name} directly beside {other}: nothing tells where it ends")
}

/// Where the components of a path stand, without those that count for nothing.
fn files(path: &[u8]) -> Vec<Range<usize>> {
    let mut files = Vec::new();
    let mut start = 0;
    for file in path.split(|&b| b == b'/') {
        if !file.is_empty() && file != b"." {
            files.push(start..start + file.len());
        }
        start += file.len() + 1;
    }
    files
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic fails the test")]
mod tests;
