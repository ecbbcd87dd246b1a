//! What a section makes of its lines: the keys of [`crate::record`], and which of them contradict each other.

use std::sync::Arc;
use std::time::Duration;

use super::texts::{Section, Texts};
use super::{Lookup, Reader, Setting, keys};
use crate::config::error::ConfigError;
use crate::config::types::{LogDestination, Partitioner};
use crate::record::encoding::Encoding;
use crate::record::filter::Filter;
use crate::record::json::{Content, Format};
use crate::record::json_scan::Paths;
use crate::record::mask::Masks;
use crate::record::path_pattern::PathPattern;
use crate::record::pattern::Pattern;
use crate::record::template::Known;
use crate::record::{Parse, RecordConfig, Templates, TimeField, TimeSource};

/// What the keys for records come to.
pub(super) struct Records {
    /// Where they go, as far as that is the same for all files.
    pub(super) destination: LogDestination,
    /// What they are made of; `None`: lines, as they are.
    pub(super) record: Option<Arc<RecordConfig>>,
    /// The names in `path`, if nothing asks for any of them.
    pub(super) unused_names: Vec<String>,
}

/// Where records go and what they are made of; `None` where an error says why not.
pub(super) fn records(log: &mut Reader<'_>, section: &Section<'_>) -> Option<Records> {
    let texts = Texts::read(log, section);
    let work = Work::read(log);
    let (mut texts, work) = (texts?, work?);
    work.check(log.errors);
    work.check_line_timeout(section.line_timeout, log.errors);
    let groups: Vec<&str> = match &work.parse.value {
        Parse::Regex(pattern) => pattern.group_names().collect(),
        _ => Vec::new(),
    };
    let host = rustix::system::uname();
    let env = log.env;
    let known = Known {
        host: &host.nodename().to_string_lossy(),
        log: section.name,
        paths: section.paths,
        groups: &groups,
        has_container: work.container.value.is_some(),
        has_json: work.reads_json(),
        env: &|name| env(name),
    };
    let mut templates = Templates::default();
    let is_fine = texts.parse(&known, &mut templates, log);
    let fields: Vec<&str> = texts.fields.iter().map(|(name, _)| name.as_str()).collect();
    let mut paths = Paths::default();
    let format = work.format(&fields, &groups, &mut paths, &texts, log.errors);
    let time = work.time_source(&mut paths, log.errors);
    texts.check_streams(&templates, &work.container, section, log.errors);
    if !is_fine {
        return None;
    }
    let (format, time) = (format?, time?);
    if let Parse::Regex(pattern) = &work.parse.value {
        templates.find_groups(pattern, format.is_some());
    }
    let names = templates.needs.json_paths.iter();
    templates.json_paths = names.map(|path| paths.add(path.text())).collect();
    let destination = texts.destination(&templates);
    let is_json = !templates.json_paths.is_empty()
        || matches!(
            time,
            Some(TimeSource {
                field: TimeField::Json(_),
                ..
            })
        )
        || (format.is_some() && work.json.value != Content::Text);
    let config = RecordConfig {
        settings: settings(log, section),
        container: work.container.value,
        encoding: work.encoding.value,
        multiline: work.multiline.value.map(Arc::new),
        multiline_timeout: work.multiline_timeout.value.unwrap_or(MULTILINE_TIMEOUT),
        max_line_bytes: section.max_line_bytes,
        strip_cr: section.strip_cr,
        filter: work.filter,
        rate: work.rate.value,
        masks: Arc::new(work.masks),
        strip_ansi: work.strip_ansi.value,
        parse: work.parse.value,
        time,
        is_timed_by_event: work.timestamp.value,
        format,
        wants_object: is_json,
        paths,
        path_patterns: section.paths.to_vec(),
        templates,
        splits_by_key: section
            .defaults
            .partitioner
            .as_ref()
            .is_some_and(|partitioner| partitioner.value == Partitioner::Key),
    };
    Some(Records {
        destination,
        unused_names: unused_names(section, &config.templates),
        record: config.does_anything().then(|| Arc::new(config)),
    })
}

/// The names in `path`, if nothing asks for any of them.
fn unused_names(section: &Section<'_>, templates: &Templates) -> Vec<String> {
    if !templates.needs.path_names.is_empty() {
        return Vec::new();
    }
    let names = section.paths.iter().flat_map(PathPattern::names);
    names.map(|name| name.to_string()).collect()
}

/// The keys for what is done with an event.
struct Work {
    container: Setting<Option<crate::record::container::ContainerKind>>,
    encoding: Setting<Encoding>,
    multiline: Setting<Option<crate::record::multiline::Multiline>>,
    multiline_timeout: Setting<Option<Duration>>,
    filter: Filter,
    rate: Setting<Option<crate::record::rate::Rate>>,
    masks: Masks,
    /// The keys that say so.
    mask_settings: Vec<Setting<()>>,
    strip_ansi: Setting<bool>,
    parse: Setting<Parse>,
    time: Setting<Option<crate::record::time_format::TimeFormat>>,
    time_field: Setting<Option<String>>,
    time_zone: Setting<crate::record::zone::Zone>,
    timestamp: Setting<bool>,
    format: Setting<Option<crate::record::json::Shape>>,
    json: Setting<Content>,
}

impl Work {
    fn read(log: &mut Reader<'_>) -> Option<Work> {
        let container = log.setting(&keys::LOG_CONTAINER);
        let encoding = log.setting(&keys::LOG_ENCODING);
        let multiline = log.setting(&keys::LOG_MULTILINE);
        let multiline_timeout = log.setting_or_default(&keys::LOG_MULTILINE_TIMEOUT);
        let keep = log.setting_or_default(&keys::LOG_KEEP);
        let drop = log.setting_or_default(&keys::LOG_DROP);
        let drops = log.family(&keys::LOG_DROP_NAME);
        let sample = log.setting_or_default(&keys::LOG_SAMPLE);
        let rate = log.setting_or_default(&keys::LOG_RATE_LIMIT);
        let mask = log.setting_or_default(&keys::LOG_MASK);
        let masks = log.family(&keys::LOG_MASK_NAME);
        let strip_ansi = log.setting_or_default(&keys::LOG_STRIP_ANSI);
        let parse = log.setting(&keys::LOG_PARSE);
        let time = log.setting(&keys::LOG_TIME);
        let time_field = log.setting(&keys::LOG_TIME_FIELD);
        let time_zone = log.setting_or_default(&keys::LOG_TIME_ZONE);
        let timestamp = log.setting(&keys::LOG_TIMESTAMP);
        let format = log.setting(&keys::LOG_FORMAT);
        let json = log.setting(&keys::LOG_JSON);
        let named = |family: &str, name: String| Arc::from(format!("{family}.{name}"));
        let (drop, drops) = (drop?, drops.unwrap_or_default());
        let all = drops
            .iter()
            .map(|(_, drop)| (drop.value.matches_all(), drop.with_value(())));
        let first = drop
            .value
            .as_ref()
            .map(|value| (value.matches_all(), drop.with_value(())));
        for (_, setting) in first
            .into_iter()
            .chain(all)
            .filter(|(matches_all, _)| *matches_all)
        {
            log.errors
                .push(setting.invalid_because(MATCHES_ALL.to_owned()));
        }
        let (mask, masks) = (mask?, masks.unwrap_or_default());
        let set = mask.value.is_some().then(|| mask.with_value(()));
        let named_masks = masks.iter().map(|(_, mask)| mask.with_value(()));
        let mask_settings: Vec<Setting<()>> = set.into_iter().chain(named_masks).collect();
        let mut all_drops: Vec<(Arc<str>, Pattern)> = Vec::new();
        all_drops.extend(drop.value.map(|drop| (Arc::from("drop"), drop)));
        all_drops.extend(
            drops
                .into_iter()
                .map(|(name, drop)| (named("drop", name), drop.value)),
        );
        let masks = masks
            .into_iter()
            .map(|(name, rule)| (named("mask", name), rule.value));
        Some(Work {
            container: container?,
            encoding: encoding?,
            multiline: multiline?,
            multiline_timeout: multiline_timeout?,
            filter: Filter::new(keep?.value, all_drops, sample?.value),
            rate: rate?,
            masks: Masks::new(&mask.value.unwrap_or_default(), masks.collect()),
            mask_settings,
            strip_ansi: strip_ansi?,
            parse: parse?,
            time: time?,
            time_field: time_field?,
            time_zone: time_zone?,
            timestamp: timestamp?,
            format: format?,
            json: json?,
        })
    }

    /// Adds what contradicts each other.
    fn check(&self, errors: &mut Vec<ConfigError>) {
        if self.multiline.value.is_none() {
            self.multiline_timeout.refuse_without("multiline", errors);
        }
        if self.time.value.is_none() {
            self.time_field.refuse_without("time", errors);
        }
        if self.timestamp.value && self.time.value.is_none() && self.container.value.is_none() {
            errors.push(self.timestamp.lacks_either("time", "container"));
        }
        if self.format.value.is_none() && self.json.value != Content::Text {
            errors.push(self.json.lacks("format"));
        }
        if self.container.value.is_some() && self.encoding.value.is_wide() {
            const HINT: &str = "a container runtime writes its lines in UTF-8";
            errors.push(self.encoding.conflict(&self.container, HINT));
        }
    }

    /// What goes before its line has ended is what it seems to be only where that is of the line alone.
    fn check_line_timeout(
        &self,
        line_timeout: Option<&Setting<Option<Duration>>>,
        errors: &mut Vec<ConfigError>,
    ) {
        let Some(line_timeout) = line_timeout.filter(|line_timeout| line_timeout.value.is_some())
        else {
            return;
        };
        for mask in self.mask_settings.iter().take(1) {
            const HINT: &str = "half of a secret would leave before its other half is written";
            errors.push(line_timeout.conflict(mask, HINT));
        }
        if self.container.value.is_some() {
            const HINT: &str = "a container runtime ends its lines itself";
            errors.push(line_timeout.conflict(&self.container, HINT));
        }
    }

    /// Whether events are read as JSON, so that placeholders can look into them.
    fn reads_json(&self) -> bool {
        matches!(self.parse.value, Parse::Json) || self.json.value != Content::Text
    }

    /// `Some(None)`: raw.
    fn format(
        &self,
        fields: &[&str],
        groups: &[&str],
        paths: &mut Paths,
        texts: &Texts,
        errors: &mut Vec<ConfigError>,
    ) -> Option<Option<Format>> {
        let Some(shape) = self.format.value else {
            for (_, field) in &texts.fields {
                errors.push(field.lacks_either("format = json", "format = ecs"));
            }
            return Some(None);
        };
        match Format::new(shape, self.json.value, fields, groups, paths) {
            Ok(format) => Some(Some(format)),
            Err(error) => {
                let blamed = texts.fields.iter().find(|(name, _)| error.is_about(name));
                errors.push(match blamed {
                    Some((_, field)) => field.invalid_because(format!("cannot be: {error}")),
                    None => self.parse.invalid_because(format!("cannot be: {error}")),
                });
                None
            }
        }
    }

    /// `Some(None)`: no time is looked for.
    fn time_source(
        &self,
        paths: &mut Paths,
        errors: &mut Vec<ConfigError>,
    ) -> Option<Option<TimeSource>> {
        let name = self.time_field.value.as_deref().unwrap_or("time");
        let group = |pattern: &Pattern| {
            let mut names = pattern.regex().capture_names();
            names.position(|group| group == Some(name))
        };
        let field = match &self.parse.value {
            Parse::Json if name.split('.').any(str::is_empty) => {
                let why = "names no value; write NAME or NAME.NAME".to_owned();
                errors.push(self.time_field.invalid_because(why));
                return None;
            }
            Parse::Json => TimeField::Json(paths.add(name)),
            Parse::Regex(pattern) => match group(pattern) {
                Some(group) => TimeField::Group(group),
                None if self.time_field.value.is_some() => {
                    let why = "is no group of parse = regex".to_owned();
                    errors.push(self.time_field.invalid_because(why));
                    return None;
                }
                None => TimeField::Event,
            },
            Parse::None => {
                self.time_field.refuse_without("parse", errors);
                TimeField::Event
            }
        };
        let zone = self.time_zone.value.clone();
        Some(match (&self.time.value, self.container.value) {
            (Some(format), _) => Some(TimeSource {
                format: format.clone(),
                zone,
                field,
            }),
            (None, Some(_)) => Some(TimeSource {
                format: crate::record::time_format::TimeFormat::Rfc3339,
                zone,
                field: TimeField::Container,
            }),
            (None, None) => None,
        })
    }
}

/// The keys of the section as they are written, by which two sections are the same.
fn settings(log: &Reader<'_>, section: &Section<'_>) -> Vec<(String, String)> {
    let entries = log.raw.entries.iter();
    let mut settings: Vec<(String, String)> = entries
        .map(|entry| (entry.key.clone(), entry.value.clone()))
        .collect();
    let topic = match &section.defaults.topic {
        Lookup::Set(topic) => topic.value.clone(),
        _ => String::new(),
    };
    settings.push(("[kafka] topic".to_owned(), topic));
    settings
}

/// What is said of a `drop` that leaves nothing.
const MATCHES_ALL: &str = "drops every record: the regex matches no text as well; is a '|' too many, or a '+' meant \
                           where there is a '*'?";
/// `multiline_timeout` where it is not set.
const MULTILINE_TIMEOUT: Duration = Duration::from_secs(2);
