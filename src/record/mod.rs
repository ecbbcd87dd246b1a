//! What a record says: from the bytes of a file to what goes to Kafka.
//!
//! ```text
//! bytes -> container -> encoding -> multiline -> keep/drop/sample -> strip_ansi -> mask -> parse/time -> format
//!          (unwrap)     (to UTF-8)  (event)      (whole event)                             (fields)     (value)
//!       -> topic/key/header
//!          (where)
//! ```
//! The order is fixed. `recorder` cuts lines into events, `render` makes a record of one event; each step is a module
//! of its own that knows neither files nor threads. A section without any of these keys has no [`RecordConfig`] and
//! none of this runs: its lines are its records.

pub mod ansi;
pub mod braces;
pub mod civil;
pub mod container;
pub mod counters;
pub mod decode;
pub mod encoding;
pub mod filter;
pub(crate) mod framing;
pub mod join;
pub mod json;
pub mod json_grammar;
mod json_keys;
pub mod json_scan;
pub mod json_text;
mod levels;
pub mod mask;
pub mod multiline;
pub mod output;
pub mod path_pattern;
pub mod pattern;
pub mod pending;
pub mod rate;
pub mod recorder;
mod render;
pub mod run;
pub mod shapes;
pub mod template;
pub mod time;
pub mod time_format;
pub mod time_text;
pub mod times;
pub mod topic_name;
pub mod trace;
pub mod wide;
pub mod zone;

use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use container::ContainerKind;
use counters::RecordCounters;
use encoding::Encoding;
use filter::Filter;
use json::Format;
use json_scan::{PathId, Paths};
use mask::Masks;
use multiline::Multiline;
use path_pattern::PathPattern;
use pattern::Pattern;
use rate::{Excess, Rate};
use template::{FileTemplate, FileValues, Needs, Stage, Template};
use time_format::TimeFormat;
use zone::Zone;

/// What a section makes of its lines, where these are not its records as they are.
#[derive(Debug)]
pub struct RecordConfig {
    /// The keys and values that it was read from: two are the same if these are.
    pub settings: Vec<(String, String)>,
    /// Whose lines are unwrapped.
    pub container: Option<ContainerKind>,
    /// What lines are written in.
    pub encoding: Encoding,
    /// How lines become events.
    pub multiline: Option<Arc<Multiline>>,
    /// How long an event that may go on waits at the end of its file.
    pub multiline_timeout: Duration,
    /// Longer events go out in pieces.
    pub max_line_bytes: usize,
    /// A carriage return before a newline is left out.
    pub strip_cr: bool,
    /// Which events go.
    pub filter: Filter,
    /// How many go in a second.
    pub rate: Option<Rate>,
    /// What is hidden of them.
    pub masks: Arc<Masks>,
    /// Escape sequences of terminals are left out.
    pub strip_ansi: bool,
    /// How fields are found.
    pub parse: Parse,
    /// Where the time of an event is found.
    pub time: Option<TimeSource>,
    /// The record's time is that of the event.
    pub is_timed_by_event: bool,
    /// What the value looks like; the event as it is if `None`.
    pub format: Option<Format>,
    /// Whether an event is read as a JSON object.
    pub wants_object: bool,
    /// What is looked up in it.
    pub paths: Paths,
    /// `path`, for what its names stand for.
    pub path_patterns: Vec<PathPattern>,
    /// Topic, key, headers and fields.
    pub templates: Templates,
    /// Records of one batch have one key: the partition depends on it.
    pub splits_by_key: bool,
}

impl PartialEq for RecordConfig {
    fn eq(&self, other: &Self) -> bool {
        self.settings == other.settings
    }
}

impl Eq for RecordConfig {}

/// `parse`.
#[derive(Debug)]
pub enum Parse {
    /// Nothing is looked for.
    None,
    /// The event is a JSON object.
    Json,
    /// Named groups of a regex.
    Regex(Pattern),
}

/// `time`, `time_zone` and where the text stands.
#[derive(Debug)]
pub struct TimeSource {
    /// How it is written.
    pub format: TimeFormat,
    /// Where that tells no zone.
    pub zone: Zone,
    /// What it is the value of.
    pub field: TimeField,
}

/// Where the text of a time stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeField {
    /// In the event itself.
    Event,
    /// At a path of the object.
    Json(PathId),
    /// In a group of the regex.
    Group(usize),
    /// In the container's line.
    Container,
}

/// Texts that may depend on the file or the event.
#[derive(Debug, Default)]
pub struct Templates {
    /// What they ask for.
    pub needs: Needs,
    /// The paths of [`Needs::json_paths`].
    pub json_paths: Vec<PathId>,
    /// The indexes of [`Needs::groups`] in the regex.
    pub groups: Vec<usize>,
    /// Of the topic.
    pub topic: Option<Template>,
    /// Of the key.
    pub key: Option<Template>,
    /// Of headers, with their names.
    pub headers: Vec<(String, Template)>,
    /// Of fields, in the order in which [`RecordConfig::format`] has them.
    pub fields: Vec<Template>,
    /// The indexes in the regex of the groups that are fields, after those.
    pub group_fields: Vec<usize>,
}

impl RecordConfig {
    /// Whether it makes anything else of lines than records that are these lines.
    pub fn does_anything(&self) -> bool {
        self.multiline.is_some() || self.rate.is_some() || self.changes_events()
    }

    /// Whether events are records as they lie in the file.
    fn is_as_read(&self) -> bool {
        !self.strip_cr && !self.changes_events()
    }

    fn changes_events(&self) -> bool {
        self.container.is_some()
            || self.encoding != Encoding::Utf8
            || !self.filter.is_empty()
            || self.rate.is_some_and(|rate| rate.excess == Excess::Dropped)
            || !self.masks.is_empty()
            || self.strip_ansi
            || self.format.is_some()
            || self.is_timed_by_event
            || self.has_own_destinations()
    }

    /// Whether the text of an event is its record.
    fn keeps_texts(&self) -> bool {
        let changes = self.strip_cr || self.strip_ansi || !self.masks.is_empty();
        !changes && self.format.is_none()
    }

    /// Whether the value of a record is bytes of the file, carriage returns left out perhaps.
    pub(crate) fn has_file_bytes(&self) -> bool {
        let is_decoded = self.container.is_some() || self.encoding != Encoding::Utf8;
        let is_changed = self.strip_ansi || !self.masks.is_empty() || self.format.is_some();
        !is_decoded && !is_changed
    }

    /// Whether some events are no records.
    pub(crate) fn drops_events(&self) -> bool {
        !self.filter.is_empty() || self.drops_by_rate()
    }

    /// Whether what is beyond the rate is no record.
    pub(crate) fn drops_by_rate(&self) -> bool {
        self.rate.is_some_and(|rate| rate.excess == Excess::Dropped)
    }

    /// Whether it matters what lies before a position, or at the beginning of the file.
    pub fn looks_around(&self) -> bool {
        self.multiline.is_some() || !self.masks.is_empty() || self.strip_ansi
    }

    /// How many bytes behind a piece of a line must be seen before it goes.
    pub fn lookahead_bytes(&self) -> usize {
        match self.masks.is_empty() {
            true => 0,
            false => mask::CONTEXT_BYTES,
        }
    }

    /// Counters for its rules.
    pub fn counters(&self) -> RecordCounters {
        RecordCounters::new(self.filter.names(), self.masks.names())
    }

    /// Whether records have a key.
    pub fn has_key(&self) -> bool {
        self.templates.key.is_some()
    }
}

impl RecordConfig {
    /// The names of the pattern that `path` is one of, and where in it their values stand.
    fn names_of(&self, path: &[u8]) -> (&[Box<str>], Vec<Range<usize>>) {
        let found = self.path_patterns.iter().find_map(|pattern| {
            let ranges = pattern.capture(path)?;
            Some((pattern.names(), ranges))
        });
        found.unwrap_or_default()
    }

    /// The topic of the records of a file as its template has it, which may not be one that Kafka takes. `None`: the
    /// section has no template for it, or it is known with the event only.
    pub fn file_topic(&self, path: &Path) -> Option<Arc<[u8]>> {
        let template = self.templates.topic.as_ref()?;
        let path = path.as_os_str().as_bytes();
        let (names, ranges) = self.names_of(path);
        let file = FileValues {
            path,
            // No topic is made of it.
            inode: 0,
            names,
            ranges: &ranges,
        };
        match template.for_file(&file) {
            FileTemplate::Constant(topic) => Some(topic),
            FileTemplate::Missing | FileTemplate::PerEvent(_) => None,
        }
    }

    /// Whether where records go, or a key or header, is known with the file or the event only.
    pub fn has_own_destinations(&self) -> bool {
        self.templates.depend_on_files()
    }
}

impl Templates {
    /// Whether topic, key or a header is known with the file or the event only.
    pub fn depend_on_files(&self) -> bool {
        let headers = self.headers.iter().map(|(_, template)| template);
        let mut all = self.topic.iter().chain(&self.key).chain(headers);
        all.any(|template| template.stage() > Stage::Start)
    }

    /// Finds where the groups that are asked for stand in the regex of `parse`. All of them are fields where records
    /// have some.
    pub fn find_groups(&mut self, pattern: &Pattern, are_fields: bool) {
        let index = |name: &str| {
            let mut names = pattern.regex().capture_names();
            names.position(|group| group == Some(name))
        };
        self.groups = self
            .needs
            .groups
            .iter()
            .filter_map(|name| index(name))
            .collect();
        if are_fields {
            self.group_fields = pattern.group_names().filter_map(index).collect();
        }
    }
}
