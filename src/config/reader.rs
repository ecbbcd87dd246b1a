//! Reads the keys of one section: looks each up, expands it, and reads it as its type.

use super::environment::{BadReference, Env, expand};
use super::error::nearest;
use super::error::{ConfigError, Escaped, Hint, Problem, RefusedValue, printable};
use super::keys::keys_of;
use super::keys::{DefaultValue, Key, Section};
use super::syntax::{RawEntry, RawSection};
use super::value_types::ValueType;

/// A value with where it comes from.
pub(super) struct Setting<T> {
    key: &'static str,
    /// As it may be printed.
    text: String,
    pub(super) value: T,
    /// The line that sets it; `None` for a default.
    pub(super) line: Option<usize>,
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
            other_line: other.line,
            hint,
        };
        match self.line.or(other.line) {
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

    fn error(&self, problem: Problem) -> ConfigError {
        match self.line {
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
    env: Env<'a>,
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
        let known = || keys_of(kind).map(|key| key.name());
        let mut misspelt: Vec<&'static str> = raw
            .refused_keys
            .iter()
            .filter_map(|word| nearest(word, known()))
            .collect();
        for entry in &raw.entries {
            if known().any(|name| name == entry.key) {
                continue;
            }
            let advice = if let Some(meant) = nearest(&entry.key, known()) {
                misspelt.push(meant);
                format!("; did you mean '{meant}'?")
            } else if let Some(home) = home_of(&entry.key) {
                format!("; it belongs in {home}")
            } else {
                let names: Vec<&str> = known().collect();
                format!("\n    keys are {}", names.join(", "))
            };
            let problem = Problem::UnknownKey {
                key: Escaped::quoted(&entry.key),
                section: Escaped::bare(&raw.name),
                advice,
            };
            errors.push(ConfigError::at(entry.line, problem));
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
                DefaultValue::Text(text) => self.read(key, text, None),
                DefaultValue::Required(example)
                | DefaultValue::FromKafka(example)
                | DefaultValue::Nothing(example) => {
                    let problem = Problem::MissingKey {
                        key: key.name,
                        section: self.section(),
                        example,
                    };
                    self.errors.push(ConfigError::at(self.raw.line, problem));
                    None
                }
            },
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
        let Some(text) = self.expanded(key.name, entry) else {
            return Lookup::Reported;
        };
        match self.read(key, &text, Some(entry.line)) {
            Some(setting) => Lookup::Set(setting),
            None => Lookup::Reported,
        }
    }

    fn expanded(&mut self, key: &'static str, entry: &RawEntry) -> Option<String> {
        let wrong = match expand(&entry.value, self.env) {
            Ok(text) => return Some(text),
            Err(wrong) => wrong,
        };
        for bad in wrong {
            let section = self.section();
            let problem = match bad {
                BadReference::Unset(name) => Problem::UnsetVariable {
                    name: Escaped::quoted(&name),
                    key,
                    section,
                },
                BadReference::Malformed => Problem::MalformedVariable { key, section },
            };
            self.errors.push(ConfigError::at(entry.line, problem));
        }
        None
    }

    fn read<K: ValueType>(
        &mut self,
        key: &Key<K>,
        text: &str,
        line: Option<usize>,
    ) -> Option<Setting<K::Value>> {
        match key.value_type.read(text) {
            Ok(value) => Some(Setting {
                key: key.name,
                text: match K::SECRET {
                    true => "(not shown)".to_owned(),
                    false => printable(text),
                },
                value,
                line,
            }),
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
                    key: key.name,
                    section: self.section(),
                    accepted: key.value_type.accepted(),
                    hint: Hint(hint),
                };
                let line = line.unwrap_or(self.raw.line);
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
        .find(|&(section, _)| keys_of(section).any(|known| known.name() == key))
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
