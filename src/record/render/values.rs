//! What templates are filled with, for a file and for an event.

use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use regex::bytes::CaptureLocations;

use crate::batch::{Destination, OwnParts, Route, push_sized};
use crate::record::container::Stream;
use crate::record::counters::{RecordCounters, is_first};
use crate::record::json::{self, FileValues as JsonFileValues};
use crate::record::json_scan::Object;
use crate::record::template::{EventValues, FileTemplate, FileValues};
use crate::record::time::TimeReader;
use crate::record::topic_name::{self, TopicCache};
use crate::record::{RecordConfig, Templates, TimeField};
use crate::shown::ShownPath;

/// The templates of a section with everything put in that is known of a file.
#[derive(Debug)]
pub(super) struct FileParts {
    /// Of the topic, if it depends on the event.
    pub(super) topic: Option<FileTemplate>,
    key: Option<FileTemplate>,
    /// Those that depend on the event, with their names as a record has them.
    headers: Vec<(Vec<u8>, FileTemplate)>,
    fields: Vec<FileTemplate>,
    pub(super) format: Option<json::Template>,
    /// Whether events have keys or headers of their own.
    pub(super) has_own: bool,
    constant: Constant,
}

/// What is the same for all events of the file.
#[derive(Debug, Default)]
struct Constant {
    topic: Option<Arc<[u8]>>,
    key: Option<Arc<[u8]>>,
    headers: Vec<(String, Arc<[u8]>)>,
}

impl FileParts {
    pub(super) fn new(config: &RecordConfig, base: &Destination, inode: u64) -> Self {
        let path = base.path.as_os_str().as_bytes();
        let (names, ranges) = config.names_of(path);
        let file = FileValues {
            path,
            inode,
            names,
            ranges: &ranges,
        };
        let templates = &config.templates;
        let mut constant = Constant::default();
        let topic = templates.topic.as_ref().map(|topic| topic.for_file(&file));
        let topic = match topic {
            Some(FileTemplate::Constant(topic)) => {
                constant.topic = Some(topic);
                None
            }
            topic => topic,
        };
        let key = templates.key.as_ref().map(|key| key.for_file(&file));
        if let Some(FileTemplate::Constant(key)) = &key {
            constant.key = Some(key.clone());
        }
        let mut headers = Vec::new();
        for (name, template) in &templates.headers {
            match template.for_file(&file) {
                FileTemplate::Constant(value) => constant.headers.push((name.clone(), value)),
                FileTemplate::Missing => {}
                per_event => {
                    let mut encoded = Vec::new();
                    push_sized(&mut encoded, name.as_bytes());
                    headers.push((encoded, per_event));
                }
            }
        }
        let fields: Vec<FileTemplate> =
            templates.fields.iter().map(|f| f.for_file(&file)).collect();
        let constants: Vec<Option<&[u8]>> = fields
            .iter()
            .map(|field| match field {
                FileTemplate::Constant(value) => Some(&value[..]),
                _ => None,
            })
            .collect();
        let format = config.format.as_ref().map(|format| {
            format.for_file(&JsonFileValues {
                host: base.route.host.as_bytes(),
                path,
                fields: &constants,
            })
        });
        let has_own = !headers.is_empty() || matches!(key, Some(FileTemplate::PerEvent(_)));
        FileParts {
            topic,
            key,
            headers,
            fields,
            format,
            has_own,
            constant,
        }
    }

    /// Where the records of the file go, as far as that does not depend on the event.
    pub(super) fn destination(
        &self,
        config: &RecordConfig,
        base: &Arc<Destination>,
    ) -> Arc<Destination> {
        if !config.has_own_destinations() {
            return base.clone();
        }
        let route = &base.route;
        let headers = self.constant.headers.iter();
        let topic = self.constant.topic.as_ref();
        Arc::new(Destination {
            route: Arc::new(Route {
                topic: topic.map_or_else(
                    || route.topic.clone(),
                    |topic| Arc::from(&*topic_name::legal(topic)),
                ),
                key: match &self.key {
                    Some(_) => self.constant.key.as_ref().map(|key| key.to_vec().into()),
                    None => route.key.clone(),
                },
                headers: route
                    .headers
                    .iter()
                    .cloned()
                    .chain(headers.map(|(name, value)| (name.clone(), value.to_vec())))
                    .collect(),
                ..Route::clone(route)
            }),
            path: base.path.clone(),
        })
    }

    /// Whether there are fields that depend on the event.
    pub(super) fn has_fields(&self) -> bool {
        let mut fields = self.fields.iter();
        fields.any(|field| matches!(field, FileTemplate::PerEvent(_)))
    }

    /// Renders the fields that depend on the event.
    pub(super) fn render_fields(
        &self,
        values: &Values<'_>,
        fields: &mut Vec<u8>,
        ranges: &mut Vec<Option<Range<usize>>>,
    ) {
        fields.clear();
        ranges.clear();
        for field in &self.fields {
            let from = fields.len();
            // A constant is in the format already.
            let is_there =
                matches!(field, FileTemplate::PerEvent(_)) && field.render(values, fields);
            let end = fields.len();
            ranges.push(is_there.then_some(from..end));
        }
    }

    /// Adds key and headers of an event to `bytes`.
    pub(super) fn own_parts(
        &self,
        values: &Values<'_>,
        bytes: &mut Vec<u8>,
        timestamp_ms: i64,
    ) -> OwnParts {
        let has_key = match &self.key {
            Some(key) => key.render(values, bytes),
            None => false,
        };
        let key_end = bytes.len() as u32;
        let mut header_count = 0;
        let mut value = Vec::new();
        for (name, template) in &self.headers {
            value.clear();
            if template.render(values, &mut value) {
                bytes.extend_from_slice(name);
                push_sized(bytes, &value);
                header_count += 1;
            }
        }
        OwnParts {
            timestamp_ms,
            key_end,
            has_key,
            header_count,
            headers_end: bytes.len() as u32,
        }
    }
}

/// What is known of an event.
#[derive(Debug)]
pub(super) struct Values<'a> {
    pub(super) text: &'a [u8],
    pub(super) offset: u64,
    pub(super) stream: Stream,
    pub(super) object: Option<Object<'a>>,
    /// What the regex matched.
    pub(super) groups: Option<&'a CaptureLocations>,
    pub(super) templates: &'a Templates,
}

impl<'a> Values<'a> {
    /// The group of this index in the regex.
    pub(super) fn group_at(&self, index: usize) -> Option<&'a [u8]> {
        let (start, end) = self.groups?.get(index)?;
        self.text.get(start..end)
    }

    /// The group that is this field.
    pub(super) fn group_field(&self, number: usize) -> Option<&'a [u8]> {
        self.group_at(*self.templates.group_fields.get(number)?)
    }
}

impl EventValues for Values<'_> {
    fn offset(&self) -> u64 {
        self.offset
    }

    fn stream(&self) -> Option<&[u8]> {
        match self.stream {
            Stream::Unknown => None,
            stream => Some(stream.name().as_bytes()),
        }
    }

    fn group(&self, number: usize) -> Option<&[u8]> {
        self.group_at(*self.templates.groups.get(number)?)
    }

    fn json(&self, number: usize, out: &mut Vec<u8>) -> bool {
        let path = self.templates.json_paths.get(number);
        let (Some(object), Some(path)) = (self.object, path) else {
            return false;
        };
        let mut scratch = Vec::new();
        match object.scalar(*path, &mut scratch) {
            Some(value) => {
                out.extend_from_slice(value);
                true
            }
            None => false,
        }
    }
}

/// The time of an event, in ns since 1970, where one is looked for and found.
pub(super) fn time_of(
    config: &RecordConfig,
    reader: &mut Option<TimeReader>,
    counters: &RecordCounters,
    values: &Values<'_>,
    (path, container_time): (&Path, &[u8]),
    now_ns: i64,
) -> Option<i64> {
    let (reader, source) = (reader.as_mut()?, config.time.as_ref()?);
    let found = match source.field {
        TimeField::Event => reader.of_event(values.text, now_ns),
        TimeField::Container => reader.of_value(container_time, now_ns),
        TimeField::Group(group) => values
            .group_at(group)
            .and_then(|text| reader.of_value(text, now_ns)),
        TimeField::Json(path) => {
            let mut scratch = Vec::new();
            let object: Option<Object<'_>> = values.object;
            object
                .and_then(|object| object.value(path, &mut scratch))
                .and_then(|text| reader.of_value(text, now_ns))
        }
    };
    if found.is_none() && is_first(&counters.untimed) {
        log::warn!(
            "'{}': the record at offset {} has no time that 'time' can read: the time of reading is taken, here and \
             wherever that is so (said once for each section)",
            ShownPath(path),
            values.offset
        );
    }
    found
}

/// The destination for a topic, which is `base` but for that.
pub(super) fn destination_of(
    (topics, destinations): (&mut TopicCache, &mut Vec<Arc<Destination>>),
    base: &Arc<Destination>,
    rendered: &[u8],
) -> Arc<Destination> {
    let interned = topics.topic(rendered);
    if interned.was_changed {
        log::warn!(
            "'{}': topic '{}' is written '{}'",
            ShownPath(&base.path),
            String::from_utf8_lossy(rendered).escape_debug(),
            interned.topic
        );
    }
    let topic = interned.topic;
    let known = destinations
        .iter()
        .position(|known| known.route.topic == *topic);
    if let Some(at) = known {
        // The last one that was asked for comes first.
        destinations[..=at].rotate_right(1);
        return destinations[0].clone();
    }
    let destination = Arc::new(Destination {
        route: Arc::new(Route {
            topic: topic.clone(),
            ..Route::clone(&base.route)
        }),
        path: base.path.clone(),
    });
    destinations.truncate(MOST_DESTINATIONS - 1);
    destinations.insert(0, destination.clone());
    destination
}

/// Topics of one file that have a destination ready.
const MOST_DESTINATIONS: usize = 64;
