//! Reads the keys of one section: looks each up, expands it, and reads it as its type.

use std::borrow::Cow;

use super::environment::{BadReference, Env, expand};
use super::error::{ConfigError, Escaped, Fault, Hint, Line, Problem, RefusedValue};
use super::keys::{DefaultValue, Key, Section};
use super::keys::{family_of, is_named, keys_of, meant_by};
use super::syntax::{RawEntry, RawSection};
use super::value_types::{BadValue, ValueType};
use crate::shown::printable;

/// A value with where it comes from.
#[derive(Clone)]
pub(super) struct Setting<T> {
    key: Cow<'static, str>,
    /// As it may be printed.
    text: String,
    pub(super) value: T,
    /// The line that sets it; `None` for a default.
    pub(super) line: Option<Line>,
}

impl<T> Setting<T> {
    /// `key = value`, for messages.
    fn assignment(&self) -> String {
        format!("{} = {}", self.key, self.text)
    }

    /// That it cannot stand beside `other`.
    pub(super) fn conflict<U>(&self, other: &Setting<U>, hint: &'static str) -> ConfigError {
        let problem = Problem::Conflict {
            setting: self.assignment(),
            other: other.assignment(),
            other_line: other.line.clone(),
            hint,
        };
        match self.line.clone().or_else(|| other.line.clone()) {
            Some(line) => ConfigError::at(line, problem),
            None => ConfigError::in_file(problem),
        }
    }
}

impl<T> Setting<Option<T>> {
    /// If it is set, an error: the key `missing` is not beside it.
    pub(super) fn refuse_without(&self, missing: &str, errors: &mut Vec<ConfigError>) {
        if self.value.is_some() {
            errors.push(self.lacks(missing));
        }
    }

    /// If it is set, an error: it cannot stand beside `other`.
    pub(super) fn refuse_beside<U>(
        &self,
        other: &Setting<U>,
        hint: &'static str,
        errors: &mut Vec<ConfigError>,
    ) {
        if self.value.is_some() {
            errors.push(self.conflict(other, hint));
        }
    }
}

impl<T> Setting<T> {
    /// Another value that comes from the same place.
    pub(super) fn with_value<U>(&self, value: U) -> Setting<U> {
        Setting {
            key: self.key.clone(),
            text: self.text.clone(),
            value,
            line: self.line.clone(),
        }
    }

    /// That it is not what is `accepted`.
    pub(super) fn bad_value(&self, section: Escaped, accepted: String) -> ConfigError {
        self.error(Problem::BadValue {
            found: match self.text.as_str() {
                "" => RefusedValue::Empty,
                text => RefusedValue::Text(Escaped::quoted(text)),
            },
            key: self.key.clone().into_owned(),
            section,
            accepted,
            hint: Hint(comment_hint(&self.text)),
        })
    }

    /// That it needs the key `missing` beside it.
    pub(super) fn lacks(&self, missing: &str) -> ConfigError {
        let setting = self.assignment();
        let missing = format!("'{missing}'");
        self.error(Problem::Lacks { setting, missing })
    }

    /// That it needs one of two keys beside it.
    pub(super) fn lacks_either(&self, one: &str, other: &str) -> ConfigError {
        let setting = self.assignment();
        let missing = format!("'{one}' or '{other}'");
        self.error(Problem::Lacks { setting, missing })
    }

    /// That it does not work out: `why` goes on from the setting.
    pub(super) fn invalid_because(&self, why: String) -> ConfigError {
        let setting = self.assignment();
        self.error(Problem::Invalid { setting, why })
    }

    /// That something is wrong at a place of its value.
    pub(super) fn faulty(&self, fault: Fault) -> ConfigError {
        self.error(Problem::at_place(&self.key, &self.text, fault))
    }

    fn error(&self, problem: Problem) -> ConfigError {
        match self.line.clone() {
            Some(line) => ConfigError::at(line, problem),
            None => ConfigError::in_file(problem),
        }
    }
}

/// What looking for a key gives.
pub(super) enum Lookup<T> {
    Set(Setting<T>),
    Unset,
    /// Something is wrong with it, and an error says so already.
    Reported,
}

/// Reads the keys of one section.
pub(super) struct Reader<'a> {
    kind: Section,
    pub(super) raw: &'a RawSection,
    pub(super) env: Env<'a>,
    pub(super) errors: &'a mut Vec<ConfigError>,
    /// Known keys that unknown ones are probably meant to be: not missing, but misspelt.
    misspelt: Vec<&'static str>,
}

impl<'a> Reader<'a> {
    /// Reports the keys that the section cannot have.
    pub(super) fn new(
        kind: Section,
        raw: &'a RawSection,
        env: Env<'a>,
        errors: &'a mut Vec<ConfigError>,
    ) -> Self {
        let mut misspelt: Vec<&'static str> = raw
            .refused_keys
            .iter()
            .filter_map(|word| meant_by(kind, word))
            .map(|(name, _)| name)
            .collect();
        for entry in &raw.entries {
            if keys_of(kind).any(|key| is_named(key, &entry.key)) {
                continue;
            }
            let advice = if let Some((name, meant)) = meant_by(kind, &entry.key) {
                misspelt.push(name);
                format!("; did you mean '{meant}'?")
            } else if let Some(home) = home_of(&entry.key) {
                format!("; it belongs in {home}")
            } else {
                let names: Vec<&str> = keys_of(kind).map(|key| key.name()).collect();
                format!("\n    keys are {}", names.join(", "))
            };
            let problem = Problem::UnknownKey {
                key: Escaped::quoted(&entry.key),
                section: Escaped::bare(&raw.name),
                advice,
            };
            errors.push(ConfigError::at(entry.line.clone(), problem));
        }
        Reader {
            kind,
            raw,
            env,
            errors,
            misspelt,
        }
    }

    /// The value of `key`, or its default; `None` when an error says why there is none.
    pub(super) fn setting<K: ValueType>(&mut self, key: &Key<K>) -> Option<Setting<K::Value>> {
        match self.lookup(key) {
            Lookup::Set(setting) => Some(setting),
            Lookup::Reported => None,
            Lookup::Unset => match key.default_value {
                DefaultValue::Text(text) => self.read(key, key.name.into(), text, None),
                DefaultValue::Unset(_) => self.read(key, key.name.into(), "", None),
                DefaultValue::Required(example)
                | DefaultValue::FromKafka(example)
                | DefaultValue::Nothing(example)
                | DefaultValue::Example(example) => {
                    let problem = Problem::MissingKey {
                        key: key.name,
                        section: self.section(),
                        example,
                    };
                    self.errors
                        .push(ConfigError::at(self.raw.line.clone(), problem));
                    None
                }
            },
        }
    }

    /// As [`Reader::setting`], with the default for a value that an error is about: for keys that nothing else that
    /// could be wrong depends on, so that it is found as well.
    pub(super) fn setting_or_default<K: ValueType>(
        &mut self,
        key: &Key<K>,
    ) -> Option<Setting<K::Value>> {
        let setting = self.setting(key);
        match (setting, key.default_value) {
            (None, DefaultValue::Text(text)) => self.read(key, key.name.into(), text, None),
            (None, DefaultValue::Unset(_)) => self.read(key, key.name.into(), "", None),
            (setting, _) => setting,
        }
    }

    /// Whether the ini names an environment variable for `key`.
    pub(super) fn is_variable(&self, key: &str) -> bool {
        let mut entries = self.raw.entries.iter();
        entries.any(|entry| entry.key == key && entry.value.starts_with("${"))
    }

    /// The value of `key`, if it is set.
    pub(super) fn lookup<K: ValueType>(&mut self, key: &Key<K>) -> Lookup<K::Value> {
        debug_assert_eq!(key.section, self.kind);
        let raw = self.raw;
        let Some(entry) = raw.entries.iter().find(|entry| entry.key == key.name) else {
            return match self.misspelt.contains(&key.name) {
                true => Lookup::Reported,
                false => Lookup::Unset,
            };
        };
        match self.read_entry(key, entry) {
            Some(setting) => Lookup::Set(setting),
            None => Lookup::Reported,
        }
    }

    /// The members of a family that are set, with their names, in the order of the file; `None` when an error says
    /// that one of them is wrong.
    pub(super) fn family<K: ValueType>(
        &mut self,
        key: &Key<K>,
    ) -> Option<Vec<(String, Setting<K::Value>)>> {
        debug_assert_eq!(key.section, self.kind);
        let family = family_of(key.name)?;
        let (raw, mut all) = (self.raw, Some(Vec::new()));
        for entry in &raw.entries {
            let Some(member) = entry.key.strip_prefix(family) else {
                continue;
            };
            if !is_named(key, &entry.key) {
                continue;
            }
            match (self.read_entry(key, entry), &mut all) {
                (Some(setting), Some(all)) => all.push((member.to_owned(), setting)),
                _ => all = None,
            }
        }
        all.filter(|_| !self.misspelt.contains(&key.name))
    }

    fn read_entry<K: ValueType>(
        &mut self,
        key: &Key<K>,
        entry: &RawEntry,
    ) -> Option<Setting<K::Value>> {
        let text = self.expanded(&entry.key, entry)?;
        self.read(
            key,
            entry.key.clone().into(),
            &text,
            Some(entry.line.clone()),
        )
    }

    fn expanded(&mut self, key: &str, entry: &RawEntry) -> Option<String> {
        let wrong = match expand(&entry.value, self.env) {
            Ok(text) => return Some(text),
            Err(wrong) => wrong,
        };
        for bad in wrong {
            let section = self.section();
            let problem = match bad {
                BadReference::Unset(name) => Problem::UnsetVariable {
                    name: Escaped::quoted(&name),
                    key: key.to_owned(),
                    section,
                },
                BadReference::Malformed => Problem::MalformedVariable {
                    key: key.to_owned(),
                    section,
                },
            };
            self.errors
                .push(ConfigError::at(entry.line.clone(), problem));
        }
        None
    }

    fn read<K: ValueType>(
        &mut self,
        key: &Key<K>,
        name: Cow<'static, str>,
        text: &str,
        line: Option<Line>,
    ) -> Option<Setting<K::Value>> {
        match key.value_type.read(text) {
            Ok(value) => Some(Setting {
                key: name,
                text: match K::SECRET {
                    true => "(not shown)".to_owned(),
                    false => printable(text),
                },
                value,
                line,
            }),
            Err(BadValue {
                fault: Some(fault), ..
            }) => {
                let problem = Problem::at_place(&name, text, fault);
                let line = line.unwrap_or_else(|| self.raw.line.clone());
                self.errors.push(ConfigError::at(line, problem));
                None
            }
            Err(bad) => {
                let part = bad.part.as_deref().unwrap_or(text);
                let (found, hint) = match (K::SECRET, part) {
                    (true, _) => (RefusedValue::Secret, None),
                    (false, "") => (RefusedValue::Empty, bad.hint),
                    (false, part) => (
                        RefusedValue::Text(Escaped::quoted(part)),
                        bad.hint.or_else(|| comment_hint(text)),
                    ),
                };
                let problem = Problem::BadValue {
                    found,
                    key: name.into_owned(),
                    section: self.section(),
                    accepted: key.value_type.accepted(),
                    hint: Hint(hint),
                };
                let line = line.unwrap_or_else(|| self.raw.line.clone());
                self.errors.push(ConfigError::at(line, problem));
                None
            }
        }
    }

    pub(super) fn section(&self) -> Escaped {
        Escaped::bare(&self.raw.name)
    }
}

/// The section that a key which stands elsewhere belongs in.
fn home_of(key: &str) -> Option<&'static str> {
    let sections = [
        (Section::Agent, "[agent]"),
        (Section::Kafka, "[kafka]"),
        (Section::Log, "[log:NAME]"),
    ];
    sections
        .into_iter()
        .find(|&(section, _)| keys_of(section).any(|known| is_named(known, key)))
        .map(|(_, header)| header)
}

/// What probably went wrong when a value holds a comment or quotes.
fn comment_hint(text: &str) -> Option<String> {
    let hint = if text.contains([' ', '\t']) && text.contains(['#', ';']) {
        "a comment needs a line of its own"
    } else if text.starts_with(['"', '\'']) {
        "values take no quotes"
    } else {
        return None;
    };
    Some(hint.to_owned())
}
