//! The keys of a record that is one JSON object: which there are, and which names are not free beside them.

use std::fmt;

use crate::record::json_scan::PathId;
use crate::record::json_text::push_string;

/// `format`
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// Short keys of our own.
    Json,
    /// The Elastic Common Schema.
    Ecs,
}

/// A key of ours.
#[derive(Clone, Debug)]
pub(super) struct Key {
    /// `"name":`
    pub(super) name: Vec<u8>,
    /// Where a merged line may have it.
    pub(super) path: Option<PathId>,
    pub(super) source: Source,
    /// The field that stands instead of it where it has a value.
    pub(super) unless: Option<usize>,
    pub(super) is_message: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Source {
    Time,
    Offset,
    Host,
    Path,
    EcsVersion,
    Field(usize),
}

/// A name that a field or a group cannot have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FormatError {
    /// `field.message`: the line would be lost.
    FieldHoldsLine,
    /// A field or group `json` beside `json = nest`.
    HoldsObject,
}

impl FormatError {
    /// Whether a field of this name is what is wrong.
    pub fn is_about(&self, name: &str) -> bool {
        match self {
            FormatError::FieldHoldsLine => name == "message",
            FormatError::HoldsObject => name == "json",
        }
    }
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FormatError::FieldHoldsLine => "the key 'message' holds the line",
            FormatError::HoldsObject => "the key 'json' holds the line, by json = nest",
        })
    }
}

impl std::error::Error for FormatError {}

pub(super) type DefaultKeys = &'static [(&'static str, Source)];

/// The keys before the fields and those after them.
pub(super) fn default_keys(shape: Shape) -> (DefaultKeys, DefaultKeys) {
    match shape {
        Shape::Json => (
            &[("@timestamp", Source::Time)],
            &[("host", Source::Host), ("path", Source::Path)],
        ),
        Shape::Ecs => (
            &[
                ("@timestamp", Source::Time),
                ("ecs.version", Source::EcsVersion),
                ("host.name", Source::Host),
                ("log.file.path", Source::Path),
                ("log.offset", Source::Offset),
            ],
            &[],
        ),
    }
}

pub(super) fn encoded_name(name: &str) -> Vec<u8> {
    let mut encoded = Vec::new();
    push_string(&mut encoded, name.as_bytes());
    encoded.push(b':');
    encoded
}

/// The version of the schema that the keys are of; they are the same in all since 1.0.
pub(super) const ECS_VERSION: &[u8] = b"8.11.0";
