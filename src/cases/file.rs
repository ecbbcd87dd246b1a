//! The text of a file of cases, taken apart.
//!
//! Comments and sections are those of the ini. Inside `[test:NAME]` a line is `key = value`, or begins with a mark:
//! `<` a line in, `>` the first line of a record, `|` a further line of it, `=` says something of the record above.
//! What follows on a mark and one blank is taken byte for byte.

use std::path::PathBuf;

use super::errors::Errors;
use crate::nearest::nearest;
use crate::shown::printable;

/// One case, as it is written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Case {
    pub(super) name: String,
    /// Line of its header, from 1.
    pub(super) line: usize,
    /// The ini, from the folder of the file; `None`: the one that belongs to it.
    pub(super) config: Option<At<PathBuf>>,
    /// The section.
    pub(super) log: At<String>,
    /// The file that the lines are of.
    pub(super) path: Option<At<PathBuf>>,
    pub(super) input: Input,
    pub(super) output: Output,
}

/// Something, and the line that it stands on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) line: usize,
}

/// What goes in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// Lines in UTF-8, which are written in the encoding of the section.
    Lines(Vec<At<Vec<u8>>>),
    /// The bytes of a file.
    File(At<PathBuf>),
}

/// What is to come out.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Output {
    Here(Vec<Expected>),
    File(At<PathBuf>),
}

/// One thing that is to come out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expected {
    Record(ExpectedRecord),
    /// An event is dropped here, by this rule.
    Dropped(At<String>),
}

/// A record that is to come out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ExpectedRecord {
    /// The lines of its value.
    pub(super) lines: Vec<At<Vec<u8>>>,
    /// What is said of it besides.
    pub(super) claims: Vec<At<Claim>>,
}

/// What `=` says of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Claim {
    Topic(Vec<u8>),
    /// Empty: it has none, or an empty one.
    Key(Vec<u8>),
    Header(String, Vec<u8>),
    Timestamp(Vec<u8>),
}

/// The cases in `text`; what is wrong goes to `errors`.
pub(super) fn parse(text: &[u8], errors: &mut Errors) -> Vec<Case> {
    let mut parser = Parser {
        errors,
        cases: Vec::new(),
        open: Open::Outside,
    };
    for (line, content) in lines(text) {
        parser.line(line, content);
    }
    parser.end_case();
    parser.cases
}

/// What is to come out, in a file of its own: marks and comments alone.
pub(super) fn parse_output(text: &[u8], errors: &mut Errors) -> Vec<Expected> {
    let mut expected = Vec::new();
    for (line, content) in lines(text) {
        let content = content.trim_ascii_start();
        if is_comment(content) {
            continue;
        }
        let added = match content.split_first() {
            Some((mark @ (b'>' | b'|' | b'='), rest)) => add(&mut expected, *mark, rest, line),
            _ => Err("is no line of a record; each begins with '>', '|' or '='".to_owned()),
        };
        if let Err(why) = added {
            errors.add(line, format!("{} {why}", quoted(content)));
        }
    }
    expected
}

/// The lines of a text with their numbers, from 1.
pub(super) fn lines(text: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let lines = text.split_inclusive(|byte| *byte == b'\n');
    (1..).zip(lines.map(|line| line.strip_suffix(b"\n").unwrap_or(line)))
}

/// Whether a line says nothing.
pub(super) fn is_comment(line: &[u8]) -> bool {
    matches!(line.trim_ascii_start().first(), None | Some(b'#' | b';'))
}

/// `text` as an error shows it.
pub(super) fn quoted(text: &[u8]) -> String {
    format!("'{}'", printable(&String::from_utf8_lossy(text)))
}

struct Parser<'e> {
    errors: &'e mut Errors,
    cases: Vec<Case>,
    open: Open,
}

/// Where the next line belongs.
enum Open {
    /// Before the first header.
    Outside,
    /// Below a header that is wrong.
    Unknown,
    Case(Box<Draft>),
}

/// A case whose end was not seen yet.
#[derive(Default)]
struct Draft {
    name: String,
    line: usize,
    keys: Vec<(&'static str, At<String>)>,
    /// A key of it was refused: it may be the one that is missing.
    has_refused: bool,
    lines: Vec<At<Vec<u8>>>,
    expected: Vec<Expected>,
}

impl Parser<'_> {
    fn line(&mut self, line: usize, content: &[u8]) {
        let content = content.trim_ascii_start();
        if is_comment(content) {
            return;
        }
        if content[0] == b'[' {
            self.end_case();
            self.open = match self.header(line, content) {
                Some(name) => Open::Case(Box::new(Draft {
                    name,
                    line,
                    ..Draft::default()
                })),
                None => Open::Unknown,
            };
            return;
        }
        let draft = match &mut self.open {
            Open::Case(draft) => draft,
            Open::Unknown => return,
            Open::Outside => {
                let message = format!("{} before any section\n    {SECTIONS}", quoted(content));
                self.errors.add(line, message);
                self.open = Open::Unknown;
                return;
            }
        };
        let taken = match content[0] {
            b'<' => {
                let value = text_of(&content[1..]).to_vec();
                draft.lines.push(At { value, line });
                Ok(())
            }
            mark @ (b'>' | b'|' | b'=') => add(&mut draft.expected, mark, &content[1..], line)
                .map_err(|why| format!("{} {why}", quoted(content))),
            _ => draft.setting(content, line),
        };
        if let Err(message) = taken {
            self.errors.add(line, message);
        }
    }

    /// The name of the case whose header this is.
    fn header(&mut self, line: usize, content: &[u8]) -> Option<String> {
        let text = String::from_utf8_lossy(content);
        let text = text.trim_end();
        let name = text
            .strip_prefix('[')
            .and_then(|text| text.strip_suffix(']'));
        let name = name.and_then(|name| name.trim().strip_prefix("test:"));
        let Some(name) = name.map(str::trim).filter(|name| !name.is_empty()) else {
            let message = format!("unknown section {}\n    {SECTIONS}", quoted(content));
            self.errors.add(line, message);
            return None;
        };
        let first = self.cases.iter().find(|case| case.name == name);
        if let Some(first) = first {
            let message = format!(
                "duplicate case {}; it begins on line {}",
                quoted(name.as_bytes()),
                first.line
            );
            self.errors.add(line, message);
        }
        Some(name.to_owned())
    }

    fn end_case(&mut self) {
        if let Open::Case(draft) = std::mem::replace(&mut self.open, Open::Unknown) {
            self.cases.extend(draft.finish(self.errors));
        }
    }
}

impl Draft {
    fn setting(&mut self, content: &[u8], line: usize) -> Result<(), String> {
        let text = String::from_utf8_lossy(content);
        let Some((key, value)) = text.split_once('=') else {
            self.has_refused = true;
            return Err(format!(
                "{} is neither a key with a value nor a mark\n    {MARKS}",
                quoted(content)
            ));
        };
        let (key, value) = (key.trim(), value.trim());
        let Some(known) = KEYS.into_iter().find(|known| *known == key) else {
            self.has_refused = true;
            let advice = match nearest(key, KEYS) {
                Some(near) => format!("did you mean '{near}'?"),
                None => format!("keys are {}", KEYS.join(", ")),
            };
            return Err(format!("unknown key {}; {advice}", quoted(key.as_bytes())));
        };
        if value.is_empty() {
            self.has_refused = true;
            return Err(format!("empty value for '{known}'"));
        }
        if let Some((_, first)) = self.keys.iter().find(|(key, _)| *key == known) {
            return Err(format!(
                "duplicate key '{known}'; already set on line {}",
                first.line
            ));
        }
        let value = value.to_owned();
        self.keys.push((known, At { value, line }));
        Ok(())
    }

    fn finish(mut self, errors: &mut Errors) -> Option<Case> {
        let mut key = |name: &str| {
            let at = self.keys.iter().position(|(key, _)| *key == name)?;
            Some(self.keys.swap_remove(at).1)
        };
        let (config, log, path) = (key("config"), key("log"), key("path"));
        let (in_file, out_file) = (key("in"), key("out"));
        let before = errors.len();
        if log.is_none() && !self.has_refused {
            errors.add(
                self.line,
                "missing key 'log'\n    for example: log = web".to_owned(),
            );
        }
        let input = match (in_file, self.lines) {
            (Some(file), lines) => {
                if let Some(line) = lines.first() {
                    errors.add(
                        line.line,
                        format!("'in' (line {}) says where the lines are", file.line),
                    );
                }
                Input::File(file.into_path())
            }
            (None, lines) => {
                if lines.is_empty() && !self.has_refused {
                    let message = "no line goes in\n    write '< LINE', or 'in = FILE'".to_owned();
                    errors.add(self.line, message);
                }
                Input::Lines(lines)
            }
        };
        let output = match out_file {
            Some(file) => {
                if let Some(first) = self.expected.first() {
                    let message = format!("'out' (line {}) says what comes out", file.line);
                    errors.add(first.line(), message);
                }
                Output::File(file.into_path())
            }
            None => Output::Here(self.expected),
        };
        (errors.len() == before).then_some(())?;
        Some(Case {
            name: self.name,
            line: self.line,
            config: config.map(At::into_path),
            log: log?,
            path: path.map(At::into_path),
            input,
            output,
        })
    }
}

impl At<String> {
    fn into_path(self) -> At<PathBuf> {
        At {
            value: self.value.into(),
            line: self.line,
        }
    }
}

impl Expected {
    /// The line that it begins on.
    pub(super) fn line(&self) -> usize {
        match self {
            Expected::Record(record) => record.lines.first().map_or(0, |first| first.line),
            Expected::Dropped(rule) => rule.line,
        }
    }
}

/// What stands behind a mark: one blank belongs to the mark.
fn text_of(rest: &[u8]) -> &[u8] {
    rest.strip_prefix(b" ").unwrap_or(rest)
}

/// Adds a line with one of the marks of what comes out.
fn add(expected: &mut Vec<Expected>, mark: u8, rest: &[u8], line: usize) -> Result<(), String> {
    let last = expected.last_mut();
    if mark == b'=' {
        return claim(expected, rest, line);
    }
    let text = At {
        value: text_of(rest).to_vec(),
        line,
    };
    match (mark, last) {
        (b'>', _) => expected.push(Expected::Record(ExpectedRecord {
            lines: vec![text],
            claims: Vec::new(),
        })),
        (_, Some(Expected::Record(record))) if record.claims.is_empty() => record.lines.push(text),
        _ => {
            return Err(
                "goes on a record, and there is none above: its first line has '>'".to_owned(),
            );
        }
    }
    Ok(())
}

fn claim(expected: &mut Vec<Expected>, rest: &[u8], line: usize) -> Result<(), String> {
    let rest = rest.trim_ascii();
    let (word, value) = split_word(rest);
    let word = String::from_utf8_lossy(word);
    if word == "dropped" {
        if value.is_empty() {
            return Err("names no rule: = dropped NAME".to_owned());
        }
        let value = String::from_utf8_lossy(value).into_owned();
        expected.push(Expected::Dropped(At { value, line }));
        return Ok(());
    }
    let claim = match &*word {
        "topic" => Claim::Topic(value.to_vec()),
        "key" => Claim::Key(value.to_vec()),
        "timestamp" => Claim::Timestamp(value.to_vec()),
        "header" => {
            let (name, value) = split_word(value);
            if name.is_empty() {
                return Err("names no header: = header NAME VALUE".to_owned());
            }
            Claim::Header(String::from_utf8_lossy(name).into_owned(), value.to_vec())
        }
        other => {
            let advice = match nearest(other, CLAIMS) {
                Some(near) => format!("did you mean '= {near}'?"),
                None => format!("known are: {}", CLAIMS.join(", ")),
            };
            return Err(format!("says nothing that is known; {advice}"));
        }
    };
    let record = expected.iter_mut().rev().find_map(|one| match one {
        Expected::Record(record) => Some(record),
        Expected::Dropped(_) => None,
    });
    let record = record.ok_or("is about a record, and there is none above")?;
    record.claims.push(At { value: claim, line });
    Ok(())
}

/// The first word and what follows on it.
fn split_word(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| byte.is_ascii_whitespace());
    let (word, rest) = text.split_at(end.unwrap_or(text.len()));
    (word, rest.trim_ascii_start())
}

const KEYS: [&str; 5] = ["config", "log", "path", "in", "out"];
const CLAIMS: [&str; 5] = ["topic", "key", "header", "timestamp", "dropped"];
const SECTIONS: &str = "sections are [test:NAME], NAME being what the case shows";
const MARKS: &str =
    "marks are '<' a line in, '>' a record, '|' a further line of it, '=' something of it";
