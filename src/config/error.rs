//! What can be wrong with the ini, and how it is said: with the name that somebody meant, if one is near.
//!
//! Every message is lower case, quotes what it found, and says on the next line what to do, where
//! that helps. Nothing here prints the value of a key whose type is secret: see [`BadValue`].
//!
//! [`BadValue`]: super::value_types::BadValue

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fmt, io};

use thiserror::Error;

use crate::shown::{LONGEST, printable};

/// All that is wrong with one ini file, in the order of its lines; never empty.
#[derive(Debug)]
pub struct ConfigErrors {
    file: PathBuf,
    errors: Vec<ConfigError>,
    watched: Vec<PathBuf>,
}

impl ConfigErrors {
    pub(super) fn new(file: &Path, mut errors: Vec<ConfigError>) -> Self {
        // What concerns a file as a whole comes after its lines, and the ini comes before what it includes.
        errors.sort_by_cached_key(|error| {
            let line = error.line.as_ref();
            let number = line.map_or(usize::MAX, |line| line.number);
            let file = line.and_then(|line| line.file.clone());
            (file.is_some() && number > 0, file, number)
        });
        ConfigErrors {
            file: file.to_owned(),
            errors,
            watched: vec![file.to_owned()],
        }
    }

    /// The same, of an ini that consists of these files.
    pub(super) fn of(mut self, watched: Vec<PathBuf>) -> Self {
        self.watched = watched;
        self
    }

    /// The files and folders by whose change it may be mended.
    pub fn watched(&self) -> &[PathBuf] {
        &self.watched
    }

    /// The single errors, by line; what concerns the file as a whole comes last.
    pub fn errors(&self) -> &[ConfigError] {
        &self.errors
    }
}

impl std::error::Error for ConfigErrors {}

/// One error per line, as `FILE:LINE: MESSAGE`, hints indented below it.
impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.display();
        for (index, error) in self.errors.iter().enumerate() {
            if index == MOST {
                return write!(f, "\n{file}: and {} more", self.errors.len() - MOST);
            }
            let separator = if index == 0 { "" } else { "\n" };
            f.write_str(separator)?;
            match &error.line {
                Some(Line { number, file: own }) => {
                    match own {
                        Some(own) => own.display().fmt(f)?,
                        None => file.fmt(f)?,
                    }
                    match number {
                        0 => write!(f, ": {error}")?,
                        number => write!(f, ":{number}: {error}")?,
                    }
                }
                None => write!(f, "{file}: {error}")?,
            }
        }
        Ok(())
    }
}

/// A line of the ini, or of a file that it includes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Line {
    /// Counted from 1; 0 where the file as a whole is meant.
    pub(super) number: usize,
    /// `None`: the ini itself.
    pub(super) file: Option<Arc<Path>>,
}

impl Default for Line {
    fn default() -> Self {
        Line::from(0)
    }
}

impl From<usize> for Line {
    fn from(number: usize) -> Self {
        Line { number, file: None }
    }
}

/// `line 7`, or `conf.d/web.ini:7`.
impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(file) => write!(f, "{}:{}", printable(&file.to_string_lossy()), self.number),
            None => write!(f, "line {}", self.number),
        }
    }
}

/// One thing that is wrong with the ini. Displays without file and line.
#[derive(Debug)]
pub struct ConfigError {
    line: Option<Line>,
    problem: Problem,
}

impl ConfigError {
    pub(super) fn at(line: impl Into<Line>, problem: Problem) -> Self {
        ConfigError {
            line: Some(line.into()),
            problem,
        }
    }

    /// The same error in a file that is included; `None`: in the ini itself.
    pub(super) fn of_file(mut self, file: Option<&Arc<Path>>) -> Self {
        if let Some(file) = file {
            self.line.get_or_insert_default().file = Some(file.clone());
        }
        self
    }

    /// An error of the file as a whole.
    pub(super) fn in_file(problem: Problem) -> Self {
        ConfigError {
            line: None,
            problem,
        }
    }

    /// The line that it is about, counted from 1; `None` where it is about the whole file.
    pub fn line(&self) -> Option<usize> {
        self.place().map(|line| line.number)
    }

    pub(super) fn place(&self) -> Option<&Line> {
        self.line.as_ref().filter(|line| line.number > 0)
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.problem.fmt(f)
    }
}

/// Everything that can be wrong. Texts that come from the file are [`Escaped`].
#[derive(Debug, Error)]
pub(super) enum Problem {
    // The file.
    #[error("no such file{other}\n    name another one with --config FILE")]
    Missing { other: String },
    #[error("a {0}, not a regular file\n    name the ini file itself with --config FILE")]
    NotRegular(&'static str),
    #[error("larger than {limit_bytes} bytes")]
    TooLarge { limit_bytes: u64 },
    #[error("cannot be {verb}: {error}")]
    Io {
        verb: &'static str,
        error: io::Error,
    },
    #[error("no settings; needs at least [kafka] and one [log:NAME]")]
    Empty,

    #[error("{0}")]
    User(String),

    // Its bytes.
    #[error(
        "text in UTF-16, not in UTF-8\n    convert it: iconv -f UTF-16 -t UTF-8 {file} > utf8.ini"
    )]
    Utf16 { file: String },
    #[error(
        "a UTF-8 byte order mark stands before the first line\n    \
         remove it: sed -i '1s/^\\xEF\\xBB\\xBF//' {file}"
    )]
    ByteOrderMark { file: String },
    #[error(
        "Windows line end (CR LF) on this line{}\n    mend the file: sed -i 's/\\r$//' {file}",
        and_others(*.others)
    )]
    CarriageReturn { others: usize, file: String },
    #[error(
        "byte 0x{byte:02x} at offset {offset} is not UTF-8\n    \
         convert the file: iconv -f LATIN1 -t UTF-8 {file} > utf8.ini"
    )]
    NotUtf8 {
        byte: u8,
        offset: usize,
        file: String,
    },
    #[error("NUL byte at offset {offset}")]
    Nul { offset: usize },
    #[error("control character U+{:04X} at offset {offset}", u32::from(*.character))]
    Control { character: char, offset: usize },

    // Its lines.
    #[error("section header {header} without ']'")]
    HeaderUnclosed { header: Escaped },
    #[error("section header without a name\n    {SECTIONS}")]
    HeaderUnnamed,
    #[error("{rest} after section header [{section}]\n    a comment needs a line of its own")]
    HeaderTrailed { section: Escaped, rest: Escaped },
    #[error(
        "no '=' after {word}\n    write key = value, or # before a comment; a value cannot go on in the next line"
    )]
    NoEquals { word: Escaped },
    // Without the line: it may be the rest of a secret.
    #[error(
        "no '=' on this line\n    write key = value, or # before a comment; a value cannot go on in the next line"
    )]
    NoSetting,
    #[error("no key before '='")]
    EmptyKey,
    #[error("key {key} before any section\n    {SECTIONS}")]
    KeyOutside { key: Escaped },
    #[error("duplicate key {key} in [{section}]; already set on line {first_line}")]
    DuplicateKey {
        key: Escaped,
        section: Escaped,
        first_line: usize,
    },
    #[error("duplicate section [{section}]; it begins on {first_line}")]
    DuplicateSection { section: Escaped, first_line: Line },
    #[error("'include' stands in the ini itself; a file that is included cannot include others")]
    IncludeInIncluded,
    #[error(
        "key {key} in [{section}] can be read in two ways\n    this is a defect of logagent: please report this line"
    )]
    Ambiguous { key: Escaped, section: Escaped },
    #[error(
        "the file can be read in two ways: {difference}\n    this is a defect of logagent: please report it"
    )]
    Disagreement { difference: String },

    // Sections and keys.
    #[error("unknown section [{section}]; did you mean [{nearest}]?")]
    UnknownSection { section: Escaped, nearest: Escaped },
    #[error("unknown section [{section}]\n    {SECTIONS}")]
    StrangeSection { section: Escaped },
    #[error("section [{section}] has no name\n    write [log:NAME], for example [log:web]")]
    LogUnnamed { section: Escaped },
    #[error("bad name {name} in [{section}]; accepted: letters, digits, '.', '_' and '-'")]
    LogName { name: Escaped, section: Escaped },
    #[error("unknown key {key} in [{section}]{}", .advice)]
    UnknownKey {
        key: Escaped,
        section: Escaped,
        advice: String,
    },
    #[error(
        "missing section [kafka]\n    it needs at least brokers, for example: brokers = localhost:9092"
    )]
    MissingKafka,
    #[error(
        "missing section [log:NAME]\n    each names files to follow, for example [log:web] with path = /var/log/nginx/access.log"
    )]
    MissingLog,
    #[error("missing key '{key}' in [{section}]\n    for example: {key} = {example}")]
    MissingKey {
        key: &'static str,
        section: Escaped,
        example: &'static str,
    },
    #[error("missing key 'topic' in [{section}], and [kafka] sets none for all")]
    MissingTopic { section: Escaped },

    // Values.
    #[error("{found} for '{key}' in [{section}]; accepted: {accepted}{hint}")]
    BadValue {
        found: RefusedValue,
        key: String,
        section: Escaped,
        accepted: String,
        hint: Hint,
    },
    #[error("environment variable {name} is not set; '{key}' in [{section}] needs it")]
    UnsetVariable {
        name: Escaped,
        key: String,
        section: Escaped,
    },
    #[error(
        "malformed '${{' in '{key}' of [{section}]\n    \
         write ${{NAME}} for an environment variable, $${{ for the two characters themselves"
    )]
    MalformedVariable { key: String, section: Escaped },
    #[error(
        "{key}: {words}\n    {setting}\n    {caret:>column$}{hint}",
        caret = '^'
    )]
    AtPlace {
        key: String,
        words: String,
        /// The key and its value, as it may be printed.
        setting: String,
        /// Where in it, counted from 1.
        column: usize,
        hint: Hint,
    },

    // Settings that contradict each other.
    #[error("'{setting}' cannot stand beside '{other}' ({})\n    {hint}", place(.other_line))]
    Conflict {
        setting: String,
        other: String,
        other_line: Option<Line>,
        hint: &'static str,
    },
    #[error("'{setting}' needs {missing} beside it")]
    Lacks { setting: String, missing: String },
    #[error("'{setting}' {why}")]
    Invalid { setting: String, why: String },
    #[error("missing key 'key' in [{section}]; 'partitioner = key' ({line}) needs one")]
    MissingRecordKey { section: Escaped, line: Line },
    #[error("path {path} is listed already{}", elsewhere(.other))]
    PathTaken {
        path: Escaped,
        /// Section and line; `None` if it is the same line.
        other: Option<(Escaped, Line)>,
    },
}

impl Problem {
    /// Something is wrong at a place of a value, which is shown with a mark below that place. Of a long value, as much
    /// is shown as fits beside it.
    pub(super) fn at_place(key: &str, text: &str, fault: Fault) -> Self {
        let at = (0..=fault.at.min(text.len()))
            .rev()
            .find(|at| text.is_char_boundary(*at))
            .unwrap_or(0);
        let (mut before, behind) = text.split_at(at);
        let mut lead = "";
        if let Some((cut, _)) = before.char_indices().rev().nth(LONGEST / 2) {
            (before, lead) = (&before[cut..], "...");
        }
        let head = format!("{key} = {lead}{}", printable(before));
        let (words, hint) = match fault.words.split_once('\n') {
            Some((words, hint)) => (words, Some(hint.trim_start().to_owned())),
            None => (fault.words.as_str(), None),
        };
        Problem::AtPlace {
            key: key.to_owned(),
            words: words.to_owned(),
            hint: Hint(hint),
            column: head.chars().count() + 1,
            setting: format!("{head}{}", printable(behind)),
        }
    }
}

/// What is wrong at a place of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// Position in bytes.
    pub(super) at: usize,
    /// What is wrong, and in a second line what to write instead, where there is one.
    pub(super) words: String,
}

/// The value that a message is about.
#[derive(Debug)]
pub(super) enum RefusedValue {
    /// It, or the part of it that is wrong.
    Text(Escaped),
    /// There is none.
    Empty,
    /// It must not be printed.
    Secret,
}

impl fmt::Display for RefusedValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RefusedValue::Text(text) => write!(f, "bad value {text}"),
            RefusedValue::Empty => f.write_str("empty value"),
            RefusedValue::Secret => f.write_str("bad value (not shown)"),
        }
    }
}

/// A line below the message, if there is one.
#[derive(Debug)]
pub(super) struct Hint(pub(super) Option<String>);

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(hint) => write!(f, "\n    {hint}"),
            None => Ok(()),
        }
    }
}

/// Text from outside: shortened and escaped, so that a message stays one line and no terminal
/// obeys it.
#[derive(Debug, Clone)]
pub(super) struct Escaped(Box<str>);

impl Escaped {
    /// `'text'`.
    pub(super) fn quoted(text: &str) -> Self {
        Escaped(format!("'{}'", printable(text)).into())
    }

    /// `text`, for the name of a section.
    pub(super) fn bare(text: &str) -> Self {
        Escaped(printable(text).into())
    }
}

impl fmt::Display for Escaped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn and_others(others: usize) -> String {
    match others {
        0 => String::new(),
        1 => " and on 1 more".to_owned(),
        _ => format!(" and on {others} more"),
    }
}

fn place(line: &Option<Line>) -> String {
    match line {
        Some(line) => line.to_string(),
        None => "the default".to_owned(),
    }
}

fn elsewhere(other: &Option<(Escaped, Line)>) -> String {
    match other {
        Some((section, line)) => format!(" in [{section}] on {line}"),
        None => " on this line".to_owned(),
    }
}

const SECTIONS: &str = "sections are [agent], [kafka] and [log:NAME]";
/// How many errors are printed; a file that is no ini at all would fill the terminal.
const MOST: usize = 100;
