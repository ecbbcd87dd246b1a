//! Topic, key, headers and fields of a section: texts that may have placeholders.

use std::time::Duration;

use super::{LogDefaults, Lookup, Problem, Reader, Setting, keys};
use crate::config::error::{ConfigError, Fault};
use crate::config::types::{LogDestination, Partitioner, Protocol};
use crate::config::value_types::kafka::topic_words;
use crate::record::Templates;
use crate::record::container::ContainerKind;
use crate::record::path_pattern::PathPattern;
use crate::record::template::{Known, Needs, Purpose, Stage, Template};
use crate::record::topic_name;

/// What is known of a section beside its keys for records.
pub(super) struct Section<'a> {
    pub(super) name: &'a str,
    pub(super) paths: &'a [PathPattern],
    pub(super) max_line_bytes: usize,
    pub(super) strip_cr: bool,
    pub(super) defaults: &'a LogDefaults,
    pub(super) line_timeout: Option<&'a Setting<Option<Duration>>>,
}

/// Texts in which there may be placeholders.
pub(super) struct Texts {
    pub(super) topic: Setting<String>,
    pub(super) key: Setting<Option<String>>,
    pub(super) headers: Vec<(String, Setting<String>)>,
    pub(super) fields: Vec<(String, Setting<String>)>,
}

impl Texts {
    pub(super) fn read(log: &mut Reader<'_>, section: &Section<'_>) -> Option<Texts> {
        let topic = log.lookup(&keys::LOG_TOPIC);
        let key = log.setting(&keys::LOG_KEY);
        let headers = log.family(&keys::LOG_HEADER_NAME);
        let fields = log.family(&keys::LOG_FIELD_NAME);
        let topic = match (topic, &section.defaults.topic) {
            (Lookup::Set(topic), _) => Some(topic),
            (Lookup::Unset, Lookup::Set(topic)) => Some(topic.with_value(topic.value.clone())),
            (Lookup::Unset, Lookup::Unset) => {
                let section = log.section();
                let problem = Problem::MissingTopic { section };
                log.errors
                    .push(ConfigError::at(log.raw.line.clone(), problem));
                None
            }
            (Lookup::Reported, _) | (_, Lookup::Reported) => None,
        };
        if let (Some(headers), Some(protocol)) = (&headers, &section.defaults.protocol)
            && protocol.value == Protocol::Legacy
        {
            const HINT: &str = "the message format of legacy has no headers";
            let conflicts = headers
                .iter()
                .map(|(_, header)| header.conflict(protocol, HINT));
            log.errors.extend(conflicts);
        }
        Some(Texts {
            topic: topic?,
            key: key?,
            headers: headers?,
            fields: fields?,
        })
    }

    /// Reads them as templates; returns whether all could be.
    pub(super) fn parse(
        &mut self,
        known: &Known<'_>,
        templates: &mut Templates,
        log: &mut Reader<'_>,
    ) -> bool {
        let log_section = log.section();
        let errors = &mut *log.errors;
        let before = errors.len();
        let mut needs = Needs::default();
        let topic = &self.topic;
        templates.topic = match topic.value.contains(['{', '}']) {
            true => template(
                topic,
                &topic.value,
                Purpose::Topic,
                known,
                &mut needs,
                errors,
            ),
            false => {
                if !topic_name::is_legal(topic.value.as_bytes()) {
                    errors.push(topic.bad_value(log_section, topic_words()));
                }
                None
            }
        };
        if let Some(text) = &self.key.value {
            templates.key = template(&self.key, text, Purpose::Value, known, &mut needs, errors);
        }
        for (name, header) in &self.headers {
            let header = template(
                header,
                &header.value,
                Purpose::Value,
                known,
                &mut needs,
                errors,
            );
            templates
                .headers
                .extend(header.map(|header| (name.clone(), header)));
        }
        for (_, field) in &self.fields {
            let field = template(
                field,
                &field.value,
                Purpose::Value,
                known,
                &mut needs,
                errors,
            );
            templates.fields.extend(field);
        }
        templates.needs = needs;
        errors.len() == before
    }

    /// Events of the two streams of a container lie across each other in the file, so they are done with together, and
    /// must go where none can be written without those before it: to one partition.
    pub(super) fn check_streams(
        &self,
        templates: &Templates,
        container: &Setting<Option<ContainerKind>>,
        section: &Section<'_>,
        errors: &mut Vec<ConfigError>,
    ) {
        if container.value.is_none() {
            return;
        }
        let depends = |template: &Option<Template>| {
            let stage = template.as_ref().map(Template::stage);
            stage == Some(Stage::Event)
        };
        if depends(&templates.topic) {
            const HINT: &str =
                "the events of a container go to one topic: what is known of one can be a header";
            errors.push(self.topic.conflict(container, HINT));
        }
        let partitioner = section.defaults.partitioner.as_ref();
        let by_key = partitioner.is_some_and(|by| by.value == Partitioner::Key);
        if by_key && depends(&templates.key) {
            const HINT: &str = "with partitioner = key the events of a container have one key";
            errors.push(self.key.conflict(container, HINT));
        }
    }

    /// Where records go, as far as that is the same for all files.
    pub(super) fn destination(&self, templates: &Templates) -> LogDestination {
        let constant = |template: &Template| {
            let text = template.constant()?;
            Some(String::from_utf8_lossy(text).into_owned())
        };
        let topic = templates.topic.as_ref().and_then(constant);
        let is_constant = !templates.depend_on_files();
        LogDestination {
            topic: topic.unwrap_or_else(|| self.topic.value.clone()),
            key: templates
                .key
                .as_ref()
                .filter(|_| is_constant)
                .and_then(constant),
            headers: match is_constant {
                true => {
                    let headers = templates.headers.iter();
                    headers
                        .filter_map(|(name, header)| Some((name.clone(), constant(header)?)))
                        .collect()
                }
                false => Vec::new(),
            },
        }
    }
}

fn template<T>(
    setting: &Setting<T>,
    text: &str,
    purpose: Purpose,
    known: &Known<'_>,
    needs: &mut Needs,
    errors: &mut Vec<ConfigError>,
) -> Option<Template> {
    match Template::parse(text, purpose, known, needs) {
        Ok(template) => Some(template),
        Err(found) => {
            let found = found.into_iter().map(|error| Fault {
                at: error.at,
                words: error.words,
            });
            errors.extend(found.map(|fault| setting.faulty(fault)));
            None
        }
    }
}
