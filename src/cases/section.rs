//! A section as cases need it: which files it takes, which rules it has, and how its lines are written.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::file::{At, is_comment, lines};
use crate::batch::Destination;
use crate::config::{Config, LogConfig};
use crate::record::counters::RecordCounters;
use crate::record::encoding::Encoding;
use crate::record::mask::Word;
use crate::record::path_pattern::{PathPattern, escape_braces};

/// A rule that drops or hides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    /// As it is shown: the key, or `mask = WORD`.
    pub(super) name: String,
    /// The key that sets it.
    pub(super) key: String,
    place: Place,
}

/// Where a rule is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Dropped(usize),
    Masked(usize),
}

impl Rule {
    /// The rules of a section, in the order of its keys.
    pub(super) fn all(log: &LogConfig) -> Vec<Rule> {
        let Some(record) = &log.record else {
            return Vec::new();
        };
        let place =
            |names: &[Arc<str>], name: &str| names.iter().position(|known| **known == *name);
        let mut rules = Vec::new();
        for (key, value) in &record.settings {
            let dropped = place(record.filter.names(), key).filter(|_| !value.is_empty());
            let masked = place(record.masks.names(), key);
            let found = dropped.map(Place::Dropped).or(masked.map(Place::Masked));
            rules.extend(found.map(|place| Rule {
                name: key.clone(),
                key: key.clone(),
                place,
            }));
            if key == "mask" {
                let words = Word::parse_list(value).unwrap_or_default();
                let words = words.iter().filter_map(|word| {
                    let (name, _) = Word::ALL.iter().find(|(_, known)| known == word)?;
                    Some(Rule {
                        name: format!("mask = {name}"),
                        key: key.clone(),
                        place: Place::Masked(place(record.masks.names(), name)?),
                    })
                });
                rules.extend(words);
            }
        }
        rules
    }

    /// How often it did something.
    pub(super) fn count(&self, counters: &RecordCounters) -> u64 {
        let (counters, index) = match self.place {
            Place::Dropped(index) => (&counters.dropped, index),
            Place::Masked(index) => (&counters.masked, index),
        };
        counters
            .get(index)
            .map_or(0, |counter| counter.load(Ordering::Relaxed))
    }
}

/// The line of `key` in section `log` of an ini.
pub(super) fn line_of(ini: &[u8], log: &str, key: &str) -> Option<usize> {
    let header = format!("log:{log}");
    let mut is_inside = false;
    for (number, line) in lines(ini) {
        let line = line.trim_ascii();
        if is_comment(line) {
            continue;
        }
        if let Some(rest) = line.strip_prefix(b"[") {
            let name = rest.split(|byte| *byte == b']').next().unwrap_or_default();
            is_inside = name.trim_ascii() == header.as_bytes();
        } else if is_inside {
            let found = line.split(|byte| *byte == b'=').next().unwrap_or_default();
            if found.trim_ascii() == key.as_bytes() {
                return Some(number);
            }
        }
    }
    None
}

/// The place that the records of `path` go to.
pub(super) fn destination(config: &Config, log: &LogConfig, path: &Path) -> Arc<Destination> {
    let host = rustix::system::uname();
    let host = host.nodename().to_string_lossy();
    Arc::new(Destination {
        route: Arc::new(log.route(&host, config.kafka.headers, Arc::default())),
        path: path.into(),
    })
}

/// Whether the section follows a file of this name.
pub(super) fn takes(log: &LogConfig, path: &Path) -> bool {
    let is_one = |glob: &String, path: &[u8]| {
        let pattern = PathPattern::parse(&escape_braces(glob));
        pattern.is_ok_and(|pattern| pattern.capture(path).is_some())
    };
    let bytes = path.as_os_str().as_bytes();
    let name = path.file_name().map_or(&[][..], OsStrExt::as_bytes);
    let is_excluded = log.exclude.iter().any(|glob| match glob.contains('/') {
        true => is_one(glob, bytes),
        false => is_one(glob, name),
    });
    !is_excluded && log.paths.iter().any(|glob| is_one(glob, bytes))
}

/// Whether records depend on what the names of the path stand for.
pub(super) fn uses_path_names(log: &LogConfig) -> Option<&str> {
    let needs = &log.record.as_ref()?.templates.needs;
    needs.path_names.first().map(|name| &**name)
}

/// A path that the section follows: its first one, with names for themselves and letters for wildcards.
pub(super) fn made_up_path(log: &LogConfig) -> Option<PathBuf> {
    let patterns = log.record.as_ref().map(|record| &record.path_patterns[..]);
    let texts = patterns
        .unwrap_or_default()
        .iter()
        .map(|pattern| pattern.text().to_owned());
    let globs = log.paths.iter().map(|glob| escape_braces(glob));
    let mut paths = texts.chain(globs).map(|text| PathBuf::from(made_up(&text)));
    paths.find(|path| takes(log, path))
}

fn made_up(pattern: &str) -> String {
    let mut path = String::new();
    for component in pattern
        .split('/')
        .filter(|component| !matches!(*component, "" | "**"))
    {
        path.push('/');
        let mut rest = component;
        while let Some(character) = rest.chars().next() {
            rest = &rest[character.len_utf8()..];
            match character {
                '*' | '?' => path.push('x'),
                '{' | '}' if rest.starts_with(character) => {
                    rest = &rest[1..];
                    path.push(character);
                }
                '{' => {
                    let (name, after) = rest.split_once('}').unwrap_or((rest, ""));
                    path.push_str(name);
                    rest = after;
                }
                '[' => {
                    let first = rest.chars().next();
                    path.extend(first);
                    let from = first.map_or(0, char::len_utf8);
                    rest = rest[from..].split_once(']').map_or("", |(_, after)| after);
                }
                other => path.push(other),
            }
        }
    }
    path
}

/// The bytes of a file with these lines, which are in UTF-8, in the encoding of the section; `Err` is the line that
/// cannot be written in it.
pub(super) fn encoded(lines: &[At<Vec<u8>>], log: &LogConfig) -> Result<Vec<u8>, usize> {
    let encoding = log
        .record
        .as_ref()
        .map_or(Encoding::Utf8, |record| record.encoding);
    let mut bytes = Vec::new();
    if encoding == Encoding::Utf16 {
        bytes.extend_from_slice(&[0xff, 0xfe]);
    }
    for line in lines {
        let mut text = line.value.clone();
        text.push(b'\n');
        if encoding == Encoding::Utf8 {
            bytes.append(&mut text);
            continue;
        }
        let text = String::from_utf8(text).map_err(|_| line.line)?;
        push_encoded(&text, encoding, &mut bytes).ok_or(line.line)?;
    }
    Ok(bytes)
}

fn push_encoded(text: &str, encoding: Encoding, bytes: &mut Vec<u8>) -> Option<()> {
    let table = match encoding {
        Encoding::Utf8 => encoding_rs::UTF_8,
        Encoding::Utf16 | Encoding::Utf16Le => {
            bytes.extend(text.encode_utf16().flat_map(u16::to_le_bytes));
            return Some(());
        }
        Encoding::Utf16Be => {
            bytes.extend(text.encode_utf16().flat_map(u16::to_be_bytes));
            return Some(());
        }
        Encoding::Latin1 => {
            let latin: Result<Vec<u8>, _> = text.chars().map(u8::try_from).collect();
            bytes.extend(latin.ok()?);
            return Some(());
        }
        Encoding::Gbk => encoding_rs::GBK,
        Encoding::Gb18030 => encoding_rs::GB18030,
        Encoding::Big5 => encoding_rs::BIG5,
        Encoding::ShiftJis => encoding_rs::SHIFT_JIS,
        Encoding::EucJp => encoding_rs::EUC_JP,
        Encoding::EucKr => encoding_rs::EUC_KR,
        Encoding::Windows1251 => encoding_rs::WINDOWS_1251,
        Encoding::Windows1252 => encoding_rs::WINDOWS_1252,
        Encoding::Koi8R => encoding_rs::KOI8_R,
    };
    let mut encoder = table.new_encoder();
    let most = encoder.max_buffer_length_from_utf8_without_replacement(text.len())?;
    let from = bytes.len();
    bytes.resize(from + most, 0);
    let (result, _, written) =
        encoder.encode_from_utf8_without_replacement(text, &mut bytes[from..], true);
    bytes.truncate(from + written);
    (result == encoding_rs::EncoderResult::InputEmpty).then_some(())
}
