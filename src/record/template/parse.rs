//! From the text of a value to a template, with what is wrong in it.

use std::fmt;

use super::{FilePart, JsonPath, Needs, Part, Piece, PieceKind, Template};
use crate::nearest::nearest;
use crate::record::braces::{self, BUILT_IN, Brace, is_built_in};
use crate::record::path_pattern::PathPattern;
use crate::record::topic_name::{TOPIC_LEN, is_legal, is_topic_character};
use crate::shown::printable;

/// What placeholders can stand for in a section.
#[derive(Clone, Copy)]
pub struct Known<'a> {
    /// The name of this host.
    pub host: &'a str,
    /// NAME of `[log:NAME]`.
    pub log: &'a str,
    /// `path`: one pattern at least. A name that only some of them have can be missing.
    pub paths: &'a [PathPattern],
    /// The named groups of `parse = regex`.
    pub groups: &'a [&'a str],
    /// Whether `container` is set.
    pub has_container: bool,
    /// Whether events are looked at as JSON.
    pub has_json: bool,
    /// Looks up an environment variable.
    pub env: &'a dyn Fn(&str) -> Option<String>,
}

/// What a template is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A topic. It cannot be missing, it begins with fixed text, and what is written out in it is legal in a topic;
    /// values that are not are made so when it is rendered.
    Topic,
    /// A key, a header or a field, which can be missing.
    Value,
}

/// Why a text is no template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateError {
    /// Where in the text, in bytes.
    pub at: usize,
    /// What is wrong there.
    pub words: String,
}

impl std::error::Error for TemplateError {}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

impl Template {
    /// The template that `text` spells. What it needs of each event is added to `needs`, which all templates of a
    /// section share.
    ///
    /// # Errors
    /// All that is wrong: a brace without its other one, behind which nothing is looked at, a placeholder that means
    /// nothing here or two things, a variable that is not set and has no default; for a topic as well what
    /// [`Purpose::Topic`] says.
    pub fn parse(
        text: &str,
        purpose: Purpose,
        known: &Known<'_>,
        needs: &mut Needs,
    ) -> Result<Self, Vec<TemplateError>> {
        let mut parser = Parser {
            purpose,
            known,
            needs,
            parts: Vec::new(),
            fixed: Vec::new(),
            written: 0,
            errors: Vec::new(),
        };
        let mut rest = text;
        while !rest.is_empty() {
            let (plain, after) = rest.split_at(rest.find(['{', '}']).unwrap_or(rest.len()));
            let at = text.len() - after.len();
            parser.literal(text.len() - rest.len(), plain);
            let len = match braces::read(after) {
                Ok(None) => 0,
                Ok(Some((Brace::Character(brace), len))) => {
                    parser.literal(at, brace.encode_utf8(&mut [0; 4]));
                    len
                }
                Ok(Some((Brace::Placeholder(inside), len))) => {
                    parser.placeholder(at, inside);
                    len
                }
                Err(words) => {
                    parser.errors.push(error(at, words));
                    break;
                }
            };
            rest = after.get(len..).unwrap_or_default();
        }
        parser.finish(text)
    }
}

/// The state of reading a text.
struct Parser<'a, 'k> {
    purpose: Purpose,
    known: &'a Known<'k>,
    needs: &'a mut Needs,
    parts: Vec<Part>,
    /// Text that no part holds yet.
    fixed: Vec<u8>,
    /// Bytes of the text that is written out.
    written: usize,
    /// What is wrong so far.
    errors: Vec<TemplateError>,
}

/// What a placeholder stands for.
enum Meaning {
    /// Known at the start.
    Fixed(Vec<u8>),
    /// Known later, but never missing.
    Sure(Part),
    /// Known later, if at all; the second is what is said of it.
    Maybe(Part, Absence),
}

/// Why something can be missing.
enum Absence {
    /// An event may not have it.
    OfEvent,
    /// Some of the paths do not have the name.
    OfPath,
}

impl Parser<'_, '_> {
    fn literal(&mut self, at: usize, text: &str) {
        self.check_characters(at, text);
        self.fixed.extend_from_slice(text.as_bytes());
        self.written += text.len();
    }

    /// A topic is made of what topics may have.
    fn check_characters(&mut self, at: usize, text: &str) {
        let mut refused = text
            .char_indices()
            .filter(|&(_, c)| !is_topic_character(c))
            .peekable();
        let Some(&(before, _)) = refused.peek().filter(|_| self.purpose == Purpose::Topic) else {
            return;
        };
        let mut named: Vec<String> = Vec::new();
        for (_, c) in refused {
            let shown = format!("'{}'", printable(c.encode_utf8(&mut [0; 4])));
            if named.len() < MOST_CHARACTERS && !named.contains(&shown) {
                named.push(shown);
            }
        }
        let words = format!(
            "{} cannot be in a topic; accepted: letters, digits, '.', '_' and '-'",
            named.join(", ")
        );
        self.errors.push(error(at + before, words));
    }

    /// `{inside}`, whose brace stands at `at`.
    fn placeholder(&mut self, at: usize, inside: &str) {
        let (name, default) = match inside.split_once(':') {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        let is_first_error = self.errors.is_empty();
        let meaning = self.meaning(name, default);
        if let Err(words) = &meaning {
            self.errors.push(error(at, words.as_str()));
        }
        if let Some(default) = default {
            self.check_characters(at + 1 + name.len() + 1, default);
        }
        let part = match meaning {
            Err(_) => return,
            Ok(Meaning::Fixed(value)) => {
                self.fixed.extend_from_slice(&value);
                return;
            }
            Ok(Meaning::Sure(part)) => part,
            Ok(Meaning::Maybe(part, absence)) => {
                if self.purpose == Purpose::Topic && default.is_none() {
                    self.errors.push(error(at, absence.words(name)));
                }
                part
            }
        };
        // What was refused before it may have been meant as fixed text.
        let is_bare = self.parts.is_empty() && !self.has_prefix();
        if self.purpose == Purpose::Topic && is_bare && is_first_error {
            let shown = printable(inside);
            let words = format!(
                "a topic needs fixed text before its first {{}}, for example logs.{{{shown}}}"
            );
            self.errors.push(error(at, words));
        }
        self.settle();
        self.parts.push(part);
    }

    /// Whether the text so far keeps topics apart from those of others. `_` alone does not: with what comes after
    /// it, it can be the prefix of Kafka's own topics.
    fn has_prefix(&self) -> bool {
        self.fixed.iter().any(u8::is_ascii_alphanumeric)
    }

    fn settle(&mut self) {
        if !self.fixed.is_empty() {
            let fixed = std::mem::take(&mut self.fixed);
            self.parts.push(Part::Text(fixed.into()));
        }
    }

    fn finish(mut self, text: &str) -> Result<Template, Vec<TemplateError>> {
        if !self.errors.is_empty() {
            return Err(self.errors);
        }
        if self.purpose == Purpose::Topic {
            let is_written_out = self.parts.is_empty() && self.written == self.fixed.len();
            if is_written_out && !is_legal(&self.fixed) {
                let words = format!(
                    "accepted: 1 to {TOPIC_LEN} letters, digits, '.', '_' or '-', and not '.' or '..'"
                );
                return Err(vec![error(0, words)]);
            }
            if !is_written_out && self.written >= TOPIC_LEN {
                let words = format!(
                    "{} characters of fixed text leave no room: a topic has {TOPIC_LEN}",
                    self.written
                );
                return Err(vec![error(text.find('{').unwrap_or(0), words)]);
            }
        }
        self.settle();
        if self.parts.is_empty() {
            self.parts.push(Part::Text([].into()));
        }
        Ok(Template {
            parts: self.parts.into(),
        })
    }

    fn meaning(&mut self, name: &str, default: Option<&str>) -> Result<Meaning, String> {
        let bytes = || default.map(|text| text.as_bytes().into());
        let maybe = |piece| Meaning::Maybe(Part::Event(Piece(piece)), Absence::OfEvent);
        let is_named = self.known.paths.iter().any(|path| has_name(path, name));
        let is_group = self.known.groups.contains(&name);
        if is_group && (is_named || is_built_in(name)) {
            let other = if is_named { "path" } else { "file" };
            let shown = printable(name);
            return Err(format!(
                "{{{shown}}} is of the {other} and a group of parse as well; rename the group"
            ));
        }
        if is_group {
            let group = number(&mut self.needs.groups, name.into());
            return Ok(maybe(PieceKind::Group(group, bytes())));
        }
        if is_named {
            number(&mut self.needs.path_names, name.into());
            let is_everywhere = self.known.paths.iter().all(|path| has_name(path, name));
            let part = Part::File(FilePart::Name {
                name: name.into(),
                default: bytes(),
            });
            return Ok(match is_everywhere {
                true => Meaning::Sure(part),
                false => Meaning::Maybe(part, Absence::OfPath),
            });
        }
        if let Some(variable) = name.strip_prefix("env.") {
            return self.variable(variable, default).map(Meaning::Fixed);
        }
        if let Some(path) = name.strip_prefix("json.") {
            let path = self.json_path(path)?;
            let path = number(&mut self.needs.json_paths, path);
            return Ok(maybe(PieceKind::Json(path, bytes())));
        }
        self.refuse_in_topic(name)?;
        Ok(match name {
            "host" => Meaning::Fixed(self.known.host.into()),
            "log" => Meaning::Fixed(self.known.log.into()),
            "path" => Meaning::Sure(Part::File(FilePart::Path)),
            "file" => Meaning::Sure(Part::File(FilePart::File)),
            "dir" => Meaning::Sure(Part::File(FilePart::Dir)),
            "inode" => Meaning::Sure(Part::File(FilePart::Inode)),
            "offset" => {
                self.needs.offset = true;
                Meaning::Sure(Part::Event(Piece(PieceKind::Offset)))
            }
            "stream" if self.known.has_container => {
                self.needs.stream = true;
                maybe(PieceKind::Stream(bytes()))
            }
            "stream" => return Err("{stream} needs container = auto, cri or docker".to_owned()),
            _ => return Err(self.unknown(name)),
        })
    }

    /// What a topic cannot be made of, though it is never missing.
    fn refuse_in_topic(&self, name: &str) -> Result<(), String> {
        let each = match name {
            "offset" => "event",
            "inode" => "file that rotation makes",
            _ => return Ok(()),
        };
        match self.purpose {
            Purpose::Topic => Err(format!(
                "{{{name}}} makes a topic of its own for each {each}"
            )),
            Purpose::Value => Ok(()),
        }
    }

    fn variable(&self, name: &str, default: Option<&str>) -> Result<Vec<u8>, String> {
        let shown = printable(name);
        if !is_variable(name) {
            return Err(format!(
                "{{env.{shown}}} names no environment variable; write {{env.NAME}}"
            ));
        }
        let value = (self.known.env)(name).or_else(|| default.map(str::to_owned));
        value.map(String::into_bytes).ok_or_else(|| {
            format!(
                "environment variable '{shown}' is not set; write {{env.{shown}:other}} for another value then"
            )
        })
    }

    fn json_path(&self, path: &str) -> Result<JsonPath, String> {
        let shown = printable(path);
        if path.split('.').any(str::is_empty) {
            return Err(format!(
                "{{json.{shown}}} names no value; write {{json.NAME}} or {{json.NAME.NAME}}"
            ));
        }
        match self.known.has_json {
            true => Ok(JsonPath(path.into())),
            false => Err(format!("{{json.{shown}}} needs parse = json")),
        }
    }

    /// What is said of a name that means nothing.
    fn unknown(&self, name: &str) -> String {
        let mut words = format!("unknown {{{}}}", printable(name));
        match name {
            "" => return "{} has no name; write {{}} for the characters themselves".to_owned(),
            "json" | "env" => {
                words.push_str(&format!("; write {{{name}.NAME}}"));
                return words;
            }
            _ => {}
        }
        let mut named: Vec<&str> = Vec::new();
        for name in self.known.paths.iter().flat_map(PathPattern::names) {
            if !named.contains(&&**name) {
                named.push(name);
            }
        }
        let groups = self.known.groups.iter().copied();
        let all = named.iter().copied().chain(groups.clone()).chain(BUILT_IN);
        let meant = nearest(name, all);
        if !named.is_empty() {
            words.push_str(&format!("; path gives {}", listed(&named)));
        }
        if !self.known.groups.is_empty() {
            words.push_str(&format!("; parse gives {}", listed(self.known.groups)));
        }
        if named.is_empty() && self.known.groups.is_empty() {
            words.push_str(&format!(
                "; known: {}, json.NAME, env.NAME",
                listed(&BUILT_IN)
            ));
        }
        if let Some(meant) = meant {
            words.push_str(&format!("; did you mean {{{meant}}}?"));
        }
        words
    }
}

impl Absence {
    fn words(&self, name: &str) -> String {
        let shown = printable(name);
        let why = match self {
            Absence::OfEvent => "can be missing",
            Absence::OfPath => "is not in every path",
        };
        format!("{{{shown}}} {why}: write {{{shown}:other}}")
    }
}

/// The number of `item` in `list`, which has it afterwards.
fn number<T: PartialEq>(list: &mut Vec<T>, item: T) -> usize {
    let known = list.iter().position(|known| *known == item);
    known.unwrap_or_else(|| {
        list.push(item);
        list.len() - 1
    })
}

fn has_name(path: &PathPattern, name: &str) -> bool {
    path.names().iter().any(|known| **known == *name)
}

/// A name as shells have it.
fn is_variable(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn listed(names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| printable(name)).collect();
    names.join(", ")
}

fn error(at: usize, words: impl Into<String>) -> TemplateError {
    TemplateError {
        at,
        words: words.into(),
    }
}

/// So many characters that a topic cannot have are named at most.
const MOST_CHARACTERS: usize = 5;
