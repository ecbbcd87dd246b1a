//! Topic names made of values that come from outside: what Kafka accepts, and one `Arc` for each name.
//!
//! Two values may become one topic (`a/b` and `a_b`); and a broker that has `a_b` refuses to create `a.b`, for its
//! metrics write both alike.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

/// The topic of a rendered template. Each character that no topic may have becomes `_`, a byte that is not UTF-8
/// counts as a character, and what is longer than [`TOPIC_LEN`] is cut. `.` and `..`, which brokers refuse, become
/// `_` and `__`, and nothing at all becomes `_`. Borrowed: the name was legal as it was.
pub fn legal(rendered: &[u8]) -> Cow<'_, str> {
    if is_legal(rendered)
        && let Ok(name) = std::str::from_utf8(rendered)
    {
        return Cow::Borrowed(name);
    }
    let mut name = String::with_capacity(TOPIC_LEN);
    for chunk in telling(rendered).utf8_chunks() {
        let valid = chunk.valid().chars();
        let invalid = chunk.invalid().iter().map(|_| INSTEAD);
        let room = TOPIC_LEN - name.len();
        name.extend(valid.map(legal_character).chain(invalid).take(room));
    }
    Cow::Owned(match name.as_str() {
        "" | "." => "_".to_owned(),
        ".." => "__".to_owned(),
        _ => name,
    })
}

/// Whether `name` can be a topic, by the rules of `org.apache.kafka.common.internals.Topic`.
pub fn is_legal(name: &[u8]) -> bool {
    (1..=TOPIC_LEN).contains(&name.len())
        && !matches!(name, b"." | b"..")
        && name
            .iter()
            .all(|&byte| is_topic_character(char::from(byte)))
}

/// Whether a topic may have this character.
pub fn is_topic_character(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '.' | '_' | '-')
}

/// Topics by what templates render, for those whose template looks into the event: a topic that was met before
/// costs no allocation. An entry that is not asked for between two calls of [`TopicCache::age`] goes away, and so do
/// the longest unused ones where there are more than fit.
///
/// Equal topics share one `Arc` as long as their entries stay; one whose entry went away in between is another `Arc`
/// of the same text.
#[derive(Debug)]
pub struct TopicCache {
    /// What was asked for since the last aging.
    young: HashMap<Box<[u8]>, Arc<str>>,
    /// What was asked for before it, and not since.
    old: HashMap<Box<[u8]>, Arc<str>>,
    /// Bound of each of the two.
    most: usize,
    /// The last answer and its question: events of one tenant come in runs.
    last: Option<Arc<str>>,
    last_rendered: Vec<u8>,
}

/// The answer of a [`TopicCache`].
#[derive(Debug, Clone, Copy)]
pub struct Interned<'a> {
    /// The topic.
    pub topic: &'a Arc<str>,
    /// It is new here and is not what was rendered: worth a WARN with file and value. Said again if the entry went
    /// away in between.
    pub was_changed: bool,
}

impl TopicCache {
    /// An empty cache of at most `most` entries, though never less than two.
    pub fn new(most: usize) -> Self {
        TopicCache {
            young: HashMap::new(),
            old: HashMap::new(),
            most: (most / 2).max(1),
            last: None,
            last_rendered: Vec::new(),
        }
    }

    /// The topic of what a template rendered, as [`legal`] makes it.
    pub fn topic(&mut self, rendered: &[u8]) -> Interned<'_> {
        let rendered = telling(rendered);
        let last = self.last.take();
        let (topic, was_changed) = match last.filter(|_| self.last_rendered == rendered) {
            Some(last) => (last, false),
            None => {
                self.last_rendered.clear();
                self.last_rendered.extend_from_slice(rendered);
                self.intern(rendered)
            }
        };
        Interned {
            topic: self.last.insert(topic),
            was_changed,
        }
    }

    /// Lets go of what was not asked for since the last call.
    pub fn age(&mut self) {
        std::mem::swap(&mut self.young, &mut self.old);
        self.young.clear();
        self.last = None;
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn intern(&mut self, rendered: &[u8]) -> (Arc<str>, bool) {
        if let Some(topic) = self.young.get(rendered) {
            return (topic.clone(), false);
        }
        let (rendered, topic, was_changed) = match self.old.remove_entry(rendered) {
            Some((rendered, topic)) => (rendered, topic, false),
            None => match legal(rendered) {
                Cow::Borrowed(name) => (rendered.into(), Arc::from(name), false),
                // The name has an entry of its own, which all that become this name share. A legal name is not
                // changed again, so this goes one deep.
                Cow::Owned(name) => (rendered.into(), self.intern(name.as_bytes()).0, true),
            },
        };
        if self.young.len() >= self.most {
            self.age();
        }
        self.young.insert(rendered, topic.clone());
        (topic, was_changed)
    }
}

fn legal_character(character: char) -> char {
    match is_topic_character(character) {
        true => character,
        false => INSTEAD,
    }
}

/// The part of `rendered` that decides its topic: enough bytes for one character more than fit, so that what is
/// too long stays too long.
fn telling(rendered: &[u8]) -> &[u8] {
    rendered.get(..(TOPIC_LEN + 1) * 4).unwrap_or(rendered)
}

/// Most characters of a topic: brokers make a file name of topic and partition.
pub const TOPIC_LEN: usize = 249;
/// What stands for a character that no topic may have.
const INSTEAD: char = '_';

#[cfg(test)]
#[path = "topic_name/tests.rs"]
mod tests;
