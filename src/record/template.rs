//! Texts with placeholders: topics, keys, headers and fields.
//!
//! A template is folded three times. [`Template::parse`] puts in what the start knows (`{host}`, `{log}`,
//! `{env.NAME}`), [`Template::for_file`] what a file knows (`{path}`, `{file}`, `{dir}`, `{inode}`, the names of the
//! path), and [`FileTemplate::render`] what an event knows (`{offset}`, `{stream}`, `{json.a.b}`, the groups of
//! `parse = regex`). What is constant by then costs nothing for an event.
//!
//! `{x:default}` is `default` where x is missing; the default holds no brace. What is missing without a default
//! makes the whole text missing: a record without key, without that header, without that field. A topic cannot be
//! missing, so its template must have the default. A value that is there and empty is not missing.

mod parse;

use std::io::Write;
use std::ops::Range;
use std::sync::Arc;

pub use parse::{Known, Purpose, TemplateError};

/// A text with placeholders, of one key of a section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    parts: Box<[Part]>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(Arc<[u8]>),
    File(FilePart),
    Event(Piece),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum FilePart {
    Path,
    File,
    Dir,
    Inode,
    Name {
        name: Box<str>,
        default: Option<Box<[u8]>>,
    },
}

/// When everything in a template is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// From the start on: one value for the section.
    Start,
    /// With the file: one value for each.
    File,
    /// With the event only.
    Event,
}

/// What the templates of a section ask for, all together. [`Template::parse`] adds to it, and [`EventValues`] are
/// asked by the numbers of these lists.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Needs {
    /// `{json.a.b}`: what is looked up in each event. Empty: no event needs to be scanned as JSON.
    pub json_paths: Vec<JsonPath>,
    /// Groups of `parse = regex`.
    pub groups: Vec<Box<str>>,
    /// Names of the path. A path of which none is used here surely means its braces literally.
    pub path_names: Vec<Box<str>>,
    /// `{offset}`
    pub offset: bool,
    /// `{stream}`
    pub stream: bool,
}

/// The way to a value in a JSON object: `a.b` is `b` in the object `a`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonPath(Box<str>);

/// What is known of a file.
#[derive(Debug, Clone, Copy)]
pub struct FileValues<'a> {
    /// The path that is followed, absolute; not where rotation has moved the file to.
    pub path: &'a [u8],
    /// The file's inode: a rotated file and the one after it need a fold each, if a template asks for it.
    pub inode: u64,
    /// The names of the path pattern that found it.
    pub names: &'a [Box<str>],
    /// Where in `path` their values stand, as `PathPattern::capture` tells.
    pub ranges: &'a [Range<usize>],
}

/// What is known of an event. Numbers are those of [`Needs`].
pub trait EventValues {
    /// Where in the file the event begins, in bytes.
    fn offset(&self) -> u64;
    /// `stdout` or `stderr`; `None` where the line was no container line.
    fn stream(&self) -> Option<&[u8]>;
    /// What a group of the regex matched, if it took part in the match.
    fn group(&self, number: usize) -> Option<&[u8]>;
    /// Appends the value at a path: the characters of a string, a number or a boolean as it is written. `false`,
    /// and nothing is appended, where there is none, or `null`, an object or an array.
    fn json(&self, number: usize, out: &mut Vec<u8>) -> bool;
}

/// A template in which everything is put in that a file knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileTemplate {
    /// The same for all events of the file.
    Constant(Arc<[u8]>),
    /// Missing in all events of the file.
    Missing,
    /// Rendered for each event.
    PerEvent(Box<[Piece]>),
}

/// A piece of what is rendered for each event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece(PieceKind);

#[derive(Debug, Clone, PartialEq, Eq)]
enum PieceKind {
    Text(Box<[u8]>),
    Offset,
    Stream(Option<Box<[u8]>>),
    Group(usize, Option<Box<[u8]>>),
    Json(usize, Option<Box<[u8]>>),
}

impl Template {
    /// When everything in it is known.
    pub fn stage(&self) -> Stage {
        let stages = self.parts.iter().map(|part| match part {
            Part::Text(_) => Stage::Start,
            Part::File(_) => Stage::File,
            Part::Event(_) => Stage::Event,
        });
        stages.max().unwrap_or(Stage::Start)
    }

    /// The text, if it is the same for all files and events.
    pub fn constant(&self) -> Option<&[u8]> {
        match &*self.parts {
            [] => Some(b""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The template with everything put in that a file knows.
    pub fn for_file(&self, file: &FileValues<'_>) -> FileTemplate {
        if let [Part::Text(text)] = &*self.parts {
            return FileTemplate::Constant(text.clone());
        }
        let mut pieces = Vec::new();
        let mut text = Vec::new();
        for part in &self.parts {
            match part {
                Part::Text(bytes) => text.extend_from_slice(bytes),
                Part::File(part) => {
                    if !part.render(file, &mut text) {
                        return FileTemplate::Missing;
                    }
                }
                Part::Event(piece) => {
                    if !text.is_empty() {
                        let text = std::mem::take(&mut text);
                        pieces.push(Piece(PieceKind::Text(text.into())));
                    }
                    pieces.push(piece.clone());
                }
            }
        }
        if pieces.is_empty() {
            return FileTemplate::Constant(text.into());
        }
        if !text.is_empty() {
            pieces.push(Piece(PieceKind::Text(text.into())));
        }
        FileTemplate::PerEvent(pieces.into())
    }
}

impl FilePart {
    /// Appends what it is for `file`; returns whether it is anything.
    fn render(&self, file: &FileValues<'_>, out: &mut Vec<u8>) -> bool {
        let path = file.path;
        let slash = path.iter().rposition(|&b| b == b'/');
        let value = match self {
            FilePart::Path => Some(path),
            FilePart::File => slash.map_or(Some(path), |at| path.get(at + 1..)),
            FilePart::Dir => slash.and_then(|at| path.get(..at.max(1))),
            FilePart::Inode => {
                number(file.inode, out);
                return true;
            }
            FilePart::Name { name, default } => file.value(name).or(default.as_deref()),
        };
        append(value, out)
    }
}

impl<'a> FileValues<'a> {
    fn value(&self, name: &str) -> Option<&'a [u8]> {
        let number = self.names.iter().position(|known| **known == *name)?;
        self.path.get(self.ranges.get(number)?.clone())
    }
}

impl JsonPath {
    /// The names on the way, outermost first; at least one, none of them empty.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.split('.')
    }

    /// The path as it is written, with dots.
    pub fn text(&self) -> &str {
        &self.0
    }
}

impl FileTemplate {
    /// Appends the text to `out`. `false`, and `out` is as it was, where it is missing.
    #[inline]
    pub fn render(&self, values: &impl EventValues, out: &mut Vec<u8>) -> bool {
        let pieces = match self {
            FileTemplate::Constant(text) => {
                out.extend_from_slice(text);
                return true;
            }
            FileTemplate::Missing => return false,
            FileTemplate::PerEvent(pieces) => pieces,
        };
        let before = out.len();
        for piece in pieces {
            if !piece.0.render(values, out) {
                out.truncate(before);
                return false;
            }
        }
        true
    }
}

impl PieceKind {
    #[inline]
    fn render(&self, values: &impl EventValues, out: &mut Vec<u8>) -> bool {
        let value = match self {
            PieceKind::Text(text) => Some(&**text),
            PieceKind::Offset => {
                number(values.offset(), out);
                return true;
            }
            PieceKind::Stream(default) => values.stream().or(default.as_deref()),
            PieceKind::Group(group, default) => values.group(*group).or(default.as_deref()),
            PieceKind::Json(path, default) => {
                if values.json(*path, out) {
                    return true;
                }
                default.as_deref()
            }
        };
        append(value, out)
    }
}

#[inline]
fn append(value: Option<&[u8]>, out: &mut Vec<u8>) -> bool {
    if let Some(bytes) = value {
        out.extend_from_slice(bytes);
    }
    value.is_some()
}

fn number(number: u64, out: &mut Vec<u8>) {
    // Nothing that is written to a `Vec` fails.
    let _ = write!(out, "{number}");
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic fails the test")]
mod tests;
