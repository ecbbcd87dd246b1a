//! The value of a record as one JSON object: `format = json | ecs`, `json = text | nest | merge`.
//!
//! ```text
//! json  {"@timestamp":…, fields…, groups…, "host":…, "path":…, CONTENT}
//! ecs   {"@timestamp":…, "ecs.version":…, "host.name":…, "log.file.path":…, "log.offset":N,
//!        fields…, groups…, CONTENT}
//! ```
//! CONTENT is `"message":"the event"` (text), `"json":{the line}` (nest) or what stands between the braces of the
//! line (merge).
//! An event that is no JSON object becomes `"message"` in all three, and counts as a parse failure for nest and
//! merge.
//!
//! - **Nothing of the line is made into values**: its bytes are spliced in, so numbers, order, escapes and repeated
//!   keys stay as they are. Only bad UTF-8 becomes U+FFFD.
//! - **The line wins**: in a merge, a key of ours that the line has at its top level is left out. For `host.name` the
//!   line has it as `{"host.name":…}` and as `{"host":{"name":…}}`, since consumers of ECS take both for the same.
//! - **A field replaces the default of its name**: `field.host` stands instead of `"host"`. A regex group `message`
//!   stands instead of the event, where it took part in the match. A field without a value is left out, and the
//!   default is back.
//! - ECS keys are written flat, with dots, as the loggers of the ECS family do. There is no `offset` in
//!   `json`, to keep records short: `field.offset = {offset}` gives it.
//!
//! Format: one per section. Template: one per file, with all that does not change from event to event rendered.

pub use crate::record::json_keys::{FormatError, Shape};

use crate::record::json_keys::{ECS_VERSION, Key, Source, default_keys, encoded_name};
use crate::record::json_scan::{Object, PathId, Paths};
use crate::record::json_text::{push_spliced, push_string};
use crate::record::output::Output;
use crate::record::time::SecondText;

/// `json`: what becomes of the event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Content {
    /// A string, JSON or not.
    Text,
    /// An object under the key `json`.
    Nest,
    /// Its members beside our keys.
    Merge,
}

/// How the values of a section look.
#[derive(Clone, Debug)]
pub struct Format {
    content: Content,
    keys: Vec<Key>,
    message_group: Option<usize>,
}

/// How the values of the events of one file look.
#[derive(Clone, Debug)]
pub struct Template {
    content: Content,
    parts: Box<[Part]>,
    message_group: Option<usize>,
    last_second: SecondText,
    head: Head,
}

/// What the values of a file begin with. It is kept: many events in a row are of one time.
#[derive(Clone, Debug, Default)]
struct Head {
    /// How many parts it has: those that depend on nothing but the time, and on which of them the line has itself.
    parts: usize,
    /// Nothing yet if it is empty.
    text: Vec<u8>,
    time_ns: i64,
    /// A bit for each part that is left out.
    left_out: u32,
}

/// What is the same for all events of a file.
#[derive(Clone, Copy, Debug)]
pub struct FileValues<'a> {
    /// The name of this host.
    pub host: &'a [u8],
    /// The path that is followed.
    pub path: &'a [u8],
    /// For each field, in the order of [`Format::new`], its value if that is the same for the whole file. A field
    /// that is missing here is asked for with each event.
    pub fields: &'a [Option<&'a [u8]>],
}

/// One event, ready to be written.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// After decoding and masking.
    pub event: &'a [u8],
    /// Nanoseconds since 1970.
    pub time_ns: i64,
    /// Where the event begins in its file.
    pub offset: u64,
    /// What [`Scan::object`](crate::record::json_scan::Scan::object) says of `event`; for [`Content::Text`] it does not
    /// matter.
    pub object: Option<Object<'a>>,
}

/// What there is to count about a value that was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Written {
    /// The event should have been a JSON object, is none, and went to `message`.
    pub is_parse_failure: bool,
    /// Parts of bad UTF-8 that became U+FFFD.
    pub bad_utf8_parts: usize,
}

impl Format {
    /// A format with the names of `fields` (`field.NAME`) and of the `groups` of `parse = regex`. Fields and then
    /// groups are numbered from 0; of a name that occurs twice the first counts. Adds to `paths` what must be looked
    /// for in each line.
    pub fn new(
        shape: Shape,
        content: Content,
        fields: &[&str],
        groups: &[&str],
        paths: &mut Paths,
    ) -> Result<Self, FormatError> {
        if fields.contains(&"message") {
            return Err(FormatError::FieldHoldsLine);
        }
        let names: Vec<&str> = fields.iter().chain(groups).copied().collect();
        if content == Content::Nest && names.contains(&"json") {
            return Err(FormatError::HoldsObject);
        }
        let number_of = |name: &str| names.iter().position(|other| *other == name);
        let mut keys = Vec::new();
        let mut push = |name: &str, source, unless| {
            let path = (content == Content::Merge).then(|| paths.add(name));
            let is_message = name == "message";
            keys.push(Key {
                name: encoded_name(name),
                path,
                source,
                unless,
                is_message,
            });
        };
        let (before, after) = default_keys(shape);
        for (name, source) in before {
            push(name, *source, number_of(name));
        }
        for (number, name) in names.iter().enumerate() {
            if number_of(name) == Some(number) {
                push(name, Source::Field(number), None);
            }
        }
        for (name, source) in after {
            push(name, *source, number_of(name));
        }
        Ok(Format {
            content,
            keys,
            message_group: number_of("message"),
        })
    }

    /// Renders what is the same for all events of a file.
    pub fn for_file(&self, file: &FileValues) -> Template {
        let constant = |number: usize| file.fields.get(number).copied().flatten();
        let mut parts: Vec<Part> = Vec::new();
        for key in &self.keys {
            if key.unless.and_then(constant).is_some() {
                continue;
            }
            let mut text = key.name.clone();
            let value = match key.source {
                Source::Time => Value::Time,
                Source::Offset => Value::Offset,
                Source::Host => constant_value(&mut text, file.host),
                Source::Path => constant_value(&mut text, file.path),
                Source::EcsVersion => constant_value(&mut text, ECS_VERSION),
                Source::Field(number) => match constant(number) {
                    Some(bytes) => constant_value(&mut text, bytes),
                    None => Value::Field(number),
                },
            };
            let Key {
                path,
                unless,
                is_message,
                ..
            } = *key;
            let part = Part {
                text: text.into(),
                path,
                value,
                unless,
                is_message,
            };
            match parts
                .last_mut()
                .filter(|last| last.is_fixed() && part.is_fixed())
            {
                Some(last) => last.text = [&last.text[..], &part.text].concat().into(),
                None => parts.push(part),
            }
        }
        let head_parts = parts.iter().take_while(|part| part.is_of_head());
        Template {
            content: self.content,
            head: Head {
                parts: head_parts.take(u32::BITS as usize).count(),
                ..Head::default()
            },
            parts: parts.into(),
            message_group: self.message_group,
            last_second: SecondText::default(),
        }
    }
}

impl Template {
    /// Appends the value of one event to `out`: one JSON object, whatever the event is. `field` gives the value of
    /// the field or group of a number, if it has one.
    pub fn write<'f>(
        &mut self,
        out: &mut impl Output,
        entry: &Entry,
        field: impl Fn(usize) -> Option<&'f [u8]>,
    ) -> Written {
        let object = if self.content == Content::Text {
            None
        } else {
            entry.object
        };
        let mut written = Written {
            is_parse_failure: self.content != Content::Text && object.is_none(),
            bad_utf8_parts: 0,
        };
        let merged = if self.content == Content::Merge {
            object
        } else {
            None
        };
        self.push_head(out, entry, merged);
        for part in self.parts.iter().skip(self.head.parts) {
            let is_in_line = part.is_in(merged);
            let is_replaced = part.unless.is_some_and(|number| field(number).is_some());
            if !is_in_line && !is_replaced && (!part.is_message || !written.is_parse_failure) {
                written.bad_utf8_parts += part.write(out, entry, &mut self.last_second, &field);
            }
        }
        written.bad_utf8_parts += match object {
            Some(object) if self.content == Content::Merge => push_members(out, &object),
            Some(object) => {
                out.extend_from_slice(b"\"json\":");
                push_spliced(out, object.text())
            }
            None => self.push_message(out, entry.event, written.is_parse_failure, &field),
        };
        out.push(b'}');
        written
    }

    /// Appends the brace and the first parts.
    #[inline]
    fn push_head(&mut self, out: &mut impl Output, entry: &Entry, merged: Option<Object>) {
        let left_out = match merged {
            None => 0,
            merged => {
                let parts = self.parts.iter().take(self.head.parts).enumerate();
                parts.fold(0, |bits, (at, part)| {
                    bits | u32::from(part.is_in(merged)) << at
                })
            }
        };
        let head = &self.head;
        if head.text.is_empty() || (head.time_ns, head.left_out) != (entry.time_ns, left_out) {
            self.render_head(entry, left_out);
        }
        out.extend_from_slice(&self.head.text);
    }

    fn render_head(&mut self, entry: &Entry, left_out: u32) {
        let Head { parts, text, .. } = &mut self.head;
        text.clear();
        text.push(b'{');
        for (at, part) in self.parts.iter().take(*parts).enumerate() {
            if left_out & 1 << at == 0 {
                part.write(text, entry, &mut self.last_second, &|_| None);
            }
        }
        (self.head.time_ns, self.head.left_out) = (entry.time_ns, left_out);
    }

    fn push_message<'f>(
        &self,
        out: &mut impl Output,
        event: &[u8],
        is_parse_failure: bool,
        field: &impl Fn(usize) -> Option<&'f [u8]>,
    ) -> usize {
        if !is_parse_failure && self.message_group.and_then(field).is_some() {
            out.drop_last(b',');
            return 0;
        }
        out.extend_from_slice(b"\"message\":");
        push_string(out, event)
    }
}

/// A key as far as it is rendered for a file.
#[derive(Clone, Debug)]
struct Part {
    /// `"name":`, and `"value",` too if that is constant.
    text: Box<[u8]>,
    path: Option<PathId>,
    value: Value,
    unless: Option<usize>,
    is_message: bool,
}

#[derive(Clone, Copy, Debug)]
enum Value {
    /// In the text already.
    Constant,
    Time,
    Offset,
    Field(usize),
}

impl Part {
    /// Whether it is written whatever the event is.
    fn is_fixed(&self) -> bool {
        let is_constant = matches!(self.value, Value::Constant);
        is_constant && self.path.is_none() && self.unless.is_none() && !self.is_message
    }

    /// Whether it depends on nothing but the time, and on whether the line has it.
    fn is_of_head(&self) -> bool {
        let is_steady = matches!(self.value, Value::Constant | Value::Time);
        is_steady && self.unless.is_none() && !self.is_message
    }

    /// Whether the line that is merged has it itself.
    #[inline]
    fn is_in(&self, merged: Option<Object>) -> bool {
        matches!((merged, self.path), (Some(line), Some(path)) if line.has(path))
    }

    /// Appends key, value and comma; says how many bad parts became U+FFFD.
    fn write<'f>(
        &self,
        out: &mut impl Output,
        entry: &Entry,
        last_second: &mut SecondText,
        field: &impl Fn(usize) -> Option<&'f [u8]>,
    ) -> usize {
        let mut bad_parts = 0;
        match self.value {
            Value::Constant => {
                out.extend_from_slice(&self.text);
                return 0;
            }
            Value::Time => {
                out.extend_from_slice(&self.text);
                out.push(b'"');
                last_second.push_rfc3339(out, entry.time_ns);
                out.push(b'"');
            }
            Value::Offset => {
                out.extend_from_slice(&self.text);
                push_number(out, entry.offset);
            }
            Value::Field(number) => {
                let Some(bytes) = field(number) else {
                    return 0;
                };
                out.extend_from_slice(&self.text);
                bad_parts = push_string(out, bytes);
            }
        }
        out.push(b',');
        bad_parts
    }
}

fn constant_value(text: &mut Vec<u8>, bytes: &[u8]) -> Value {
    push_string(text, bytes);
    text.push(b',');
    Value::Constant
}

/// Appends the members of a line after those of ours.
fn push_members(out: &mut impl Output, object: &Object) -> usize {
    if object.is_empty() {
        out.drop_last(b',');
        return 0;
    }
    push_spliced(out, object.content())
}

fn push_number(out: &mut impl Output, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "json_random_tests.rs"]
mod random_tests;
