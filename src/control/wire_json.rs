//! The fields of [`super::wire`] as JSON, and back.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tinyjson::JsonValue;

use super::wire::{Field, Fields, KNOWN, STATES, state_word};
use crate::record::json_text::push_string;
use crate::shown::ShownPath;
use crate::snapshot::FileState;

/// As JSON, on one line without a newline.
pub(super) fn to_json(fields: &mut dyn Fields) -> Vec<u8> {
    let mut out = Vec::new();
    push_object(fields, &mut out);
    out
}

fn push_object(fields: &mut dyn Fields, out: &mut Vec<u8>) {
    let mut mark = b'{';
    fields.each(&mut |name, field| {
        out.push(std::mem::replace(&mut mark, b','));
        push_string(out, name.as_bytes());
        out.push(b':');
        push_field(field, out);
    });
    out.push(b'}');
}

fn push_field(field: Field<'_>, out: &mut Vec<u8>) {
    match field {
        Field::Number(number) => push_number(out, Some(*number)),
        Field::Small(number) => push_number(out, Some(u64::from(*number))),
        Field::Derived(number) => push_number(out, Some(number)),
        Field::Flag(flag) => out.extend_from_slice(if *flag { b"true" } else { b"false" }),
        Field::Text(text) => drop(push_string(out, text.as_bytes())),
        Field::MaybeText(Some(text)) => drop(push_string(out, text.as_bytes())),
        Field::MaybeText(None) | Field::Since(None) | Field::MaybePath(None) => {
            push_number(out, None)
        }
        Field::Path(path) | Field::MaybePath(Some(path)) => {
            push_string(out, ShownPath(path).to_string().as_bytes());
        }
        Field::Time(time) => push_number(out, time.map(unix_ms)),
        Field::At(time) => push_number(out, Some(unix_ms(*time))),
        Field::Millis(time) => push_number(out, u64::try_from(time.as_millis()).ok()),
        Field::Micros(time) => push_number(out, u64::try_from(time.as_micros()).ok()),
        Field::Since(Some((reason, since))) => {
            out.extend_from_slice(b"{\"reason\":");
            push_string(out, reason.as_bytes());
            out.extend_from_slice(b",\"since_ms\":");
            push_number(out, Some(unix_ms(*since)));
            out.push(b'}');
        }
        Field::Counts(counts) => push_counts(out, counts.iter().map(|(word, n)| (&**word, *n))),
        Field::ByWord(counts) => push_counts(out, counts.iter().copied()),
        Field::Numbers(numbers) => push_list(out, numbers.len(), &mut |out, at| {
            push_number(out, Some(numbers[at]));
        }),
        Field::Words(words) => push_list(out, words.len(), &mut |out, at| {
            push_string(out, words[at].as_bytes());
        }),
        Field::State(state) => drop(push_string(out, state_word(*state).as_bytes())),
        Field::Level(level) => drop(push_string(out, level.as_str().as_bytes())),
        Field::One(one) => push_object(one, out),
        Field::Many(rows) => push_list(out, rows.count(), &mut |out, at| {
            if let Some(row) = rows.row(at) {
                push_object(row, out);
            }
        }),
    }
}

fn push_list(out: &mut Vec<u8>, count: usize, item: &mut dyn FnMut(&mut Vec<u8>, usize)) {
    out.push(b'[');
    for at in 0..count {
        if at > 0 {
            out.push(b',');
        }
        item(out, at);
    }
    out.push(b']');
}

fn push_counts<'a>(out: &mut Vec<u8>, counts: impl Iterator<Item = (&'a str, u64)>) {
    out.push(b'{');
    for (at, (word, count)) in counts.enumerate() {
        if at > 0 {
            out.push(b',');
        }
        push_string(out, word.as_bytes());
        out.push(b':');
        push_number(out, Some(count));
    }
    out.push(b'}');
}

fn push_number(out: &mut Vec<u8>, number: Option<u64>) {
    match number {
        Some(number) => out.extend_from_slice(number.to_string().as_bytes()),
        None => out.extend_from_slice(b"null"),
    }
}

/// What `text`, made by [`to_json`], stands for. A field that is missing or of another form stays empty: the agent may
/// be of another version.
pub(super) fn from_json<T: Fields>(text: &str) -> Option<T> {
    let value: JsonValue = text.parse().ok()?;
    let mut read = T::empty();
    read_object(&value, &mut read);
    matches!(value, JsonValue::Object(_)).then_some(read)
}

fn read_object(value: &JsonValue, fields: &mut dyn Fields) {
    if let JsonValue::Object(members) = value {
        fields.each(&mut |name, field| {
            if let Some(value) = members.get(name) {
                read_field(value, field);
            }
        });
    }
}

fn read_field(value: &JsonValue, field: Field<'_>) {
    let number = match value {
        // Exact up to 9 PB.
        JsonValue::Number(number) => Some(*number as u64),
        _ => None,
    };
    let text = match value {
        JsonValue::String(text) => Some(text),
        _ => None,
    };
    match (field, value) {
        (Field::Number(to), _) => *to = number.unwrap_or_default(),
        (Field::Small(to), _) => {
            *to = number
                .and_then(|number| u32::try_from(number).ok())
                .unwrap_or_default();
        }
        (Field::Flag(to), JsonValue::Boolean(flag)) => *to = *flag,
        (Field::Text(to), _) => *to = text.cloned().unwrap_or_default(),
        (Field::MaybeText(to), _) => *to = text.cloned(),
        (Field::Path(to), _) => *to = text.map(PathBuf::from).unwrap_or_default(),
        (Field::MaybePath(to), _) => *to = text.map(PathBuf::from),
        (Field::Time(to), _) => *to = number.map(at_unix_ms),
        (Field::At(to), _) => *to = at_unix_ms(number.unwrap_or_default()),
        (Field::Millis(to), _) => *to = Duration::from_millis(number.unwrap_or_default()),
        (Field::Micros(to), _) => *to = Duration::from_micros(number.unwrap_or_default()),
        (Field::Since(to), JsonValue::Object(members)) => {
            if let (Some(JsonValue::String(reason)), Some(JsonValue::Number(since))) =
                (members.get("reason"), members.get("since_ms"))
            {
                *to = Some((reason.clone(), at_unix_ms(*since as u64)));
            }
        }
        (Field::Counts(to), JsonValue::Object(members)) => *to = read_counts(members),
        (Field::ByWord(to), JsonValue::Object(members)) => {
            let counts = read_counts(members).into_iter();
            let known = counts.filter_map(|(word, count)| {
                Some((*KNOWN.iter().find(|known| **known == word)?, count))
            });
            *to = known.collect();
        }
        (Field::Numbers(to), JsonValue::Array(items)) => {
            for (to, item) in to.iter_mut().zip(items) {
                read_field(item, Field::Number(to));
            }
        }
        (Field::Words(to), JsonValue::Array(items)) => {
            for item in items {
                let mut word = String::new();
                read_field(item, Field::Text(&mut word));
                to.push(word);
            }
        }
        (Field::State(to), _) => {
            let word = text.map_or("", String::as_str);
            let found = STATES.iter().find(|(_, known)| *known == word);
            *to = found.map_or_else(FileState::default, |(state, _)| *state);
        }
        (Field::Level(to), _) => {
            *to = text
                .and_then(|text| text.parse().ok())
                .unwrap_or(log::Level::Warn);
        }
        (Field::One(to), _) => read_object(value, to),
        (Field::Many(to), JsonValue::Array(items)) => {
            for item in items {
                read_object(item, to.add());
            }
        }
        _ => {}
    }
}

/// In the order of their words: JSON has none.
fn read_counts(members: &HashMap<String, JsonValue>) -> Vec<(String, u64)> {
    let numbers = members.iter().filter_map(|(word, value)| match value {
        JsonValue::Number(count) => Some((word.clone(), *count as u64)),
        _ => None,
    });
    let mut counts: Vec<_> = numbers.collect();
    counts.sort();
    counts
}

fn unix_ms(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn at_unix_ms(ms: u64) -> SystemTime {
    // What a clock cannot tell is no time.
    UNIX_EPOCH
        .checked_add(Duration::from_millis(ms))
        .unwrap_or(UNIX_EPOCH)
}
