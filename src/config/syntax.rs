//! From text to sections, keys and raw values, each with its line.
//!
//! The parsing itself is the `ini` crate's, because the project is asked to use that crate; the scan below
//! finds the same keys and values by itself. The crate merges duplicates, takes a line without `=` for a
//! key and knows no line numbers, so one scan of the lines goes before it: it finds the positions
//! and withholds from the crate what must be refused. Both have to find the same keys and values;
//! a difference is an error, so that no setting is ever read in another way than it is reported.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;
use std::sync::Arc;

use ini::configparser::ini::{Ini, IniDefault};

use super::error::{ConfigError, Escaped, Line, Problem};

/// `[name]` and what it holds.
#[derive(Debug, Default)]
pub(super) struct RawSection {
    /// The text between the brackets.
    pub(super) name: String,
    /// Line of the header.
    pub(super) line: Line,
    /// Its keys, in the order of the file, each once.
    pub(super) entries: Vec<RawEntry>,
    /// First words of lines that were refused: keys that somebody meant to set.
    pub(super) refused_keys: Vec<String>,
}

/// `key = value`.
#[derive(Debug)]
pub(super) struct RawEntry {
    /// Text before the first `=`.
    pub(super) key: String,
    /// Text after it, without the blanks around it.
    pub(super) value: String,
    /// Its line.
    pub(super) line: Line,
}

/// All sections of `text` in its order, each once. What is wrong goes to `errors`. `is_key` knows the words
/// that may be repeated in an error: another one may be a piece of a secret. `file` is where `text` stands, if that is
/// not the ini itself.
pub(super) fn parse(
    text: &str,
    file: Option<&Arc<Path>>,
    is_key: impl Fn(&str) -> bool,
    errors: &mut Vec<ConfigError>,
) -> Vec<RawSection> {
    let before = errors.len();
    let mut scan = Scan {
        is_key: &is_key,
        file,
        errors,
        sections: Vec::new(),
        place: Place::Outside,
        section_index: HashMap::new(),
        key_lines: HashMap::new(),
        accepted: String::with_capacity(text.len()),
    };
    for (line, content) in (1..).zip(text.lines()) {
        scan.line(line, content.trim());
    }
    let (mut sections, accepted) = (scan.sections, scan.accepted);
    read_with_crate(accepted, &mut sections, errors);
    let own = errors.drain(before..).collect::<Vec<_>>();
    errors.extend(own.into_iter().map(|error| error.of_file(file)));
    sections
}

/// Takes the values of `sections` from the `ini` crate, which reads the same lines once more.
fn read_with_crate(accepted: String, sections: &mut [RawSection], errors: &mut Vec<ConfigError>) {
    let differs = |difference| ConfigError::in_file(Problem::Disagreement { difference });
    let mut parsed = match parser().read(accepted) {
        Ok(parsed) => parsed,
        Err(difference) => return errors.push(differs(difference)),
    };
    for section in sections {
        let name = Escaped::bare(&section.name);
        let Some(mut values) = parsed.remove(&section.name) else {
            errors.push(differs(format!("is there a section [{name}]")));
            continue;
        };
        for entry in &mut section.entries {
            match values.remove(&entry.key).flatten() {
                Some(value) if value == entry.value => entry.value = value,
                _ => errors.push(ConfigError::at(
                    entry.line.clone(),
                    Problem::Ambiguous {
                        key: Escaped::quoted(&entry.key),
                        section: name.clone(),
                    },
                )),
            }
        }
        if let Some(key) = values.keys().next() {
            let key = Escaped::quoted(key);
            errors.push(differs(format!("is there a key {key} in [{name}]")));
        }
    }
    if let Some(name) = parsed.keys().next() {
        let name = Escaped::bare(name);
        errors.push(differs(format!("is there a section [{name}]")));
    }
}

/// The crate with everything switched off that would change a value: what stands after the first
/// `=` arrives whole, `#`, `;` and `:` included.
fn parser() -> Ini {
    let mut settings = IniDefault::default();
    // No header can be called that: control characters are refused before.
    settings.default_section = "\0".to_owned();
    settings.comment_symbols = COMMENT.to_vec();
    settings.enable_inline_comments = false;
    settings.inline_comment_symbols = Some(Vec::new());
    settings.delimiters = vec!['='];
    settings.case_sensitive = true;
    settings.multiline = false;
    Ini::new_from_defaults(settings)
}

/// The state of the scan.
struct Scan<'e> {
    is_key: &'e dyn Fn(&str) -> bool,
    file: Option<&'e Arc<Path>>,
    errors: &'e mut Vec<ConfigError>,
    sections: Vec<RawSection>,
    /// Where keys go at the moment.
    place: Place,
    /// Index in `sections` by name.
    section_index: HashMap<String, usize>,
    /// Line of each key, by section index and name.
    key_lines: HashMap<(usize, String), usize>,
    /// The text for the crate: only what nothing is wrong with.
    accepted: String,
}

#[derive(Clone, Copy)]
enum Place {
    /// Before the first header.
    Outside,
    /// In the section of that index.
    Section(usize),
    /// Below a header that cannot be read: keys are passed over.
    Unknown,
}

impl Scan<'_> {
    /// Takes the next line, trimmed as the crate trims it.
    fn line(&mut self, line: usize, content: &str) {
        if content.is_empty() || content.starts_with(COMMENT) {
            return;
        }
        match content.strip_prefix('[') {
            Some(header) => self.header(line, header),
            None => self.setting(line, content),
        }
    }

    /// `header` follows the opening bracket.
    fn header(&mut self, line: usize, header: &str) {
        self.place = Place::Unknown;
        let Some((name, rest)) = header.split_once(']') else {
            let header = Escaped::quoted(&format!("[{header}"));
            return self.refuse(line, Problem::HeaderUnclosed { header });
        };
        let (name, rest) = (name.trim(), rest.trim());
        if name.is_empty() {
            return self.refuse(line, Problem::HeaderUnnamed);
        }
        if !rest.is_empty() {
            let section = Escaped::bare(name);
            let rest = Escaped::quoted(rest);
            self.refuse(line, Problem::HeaderTrailed { section, rest });
        }
        let index = match self.section_index.entry(name.to_owned()) {
            Entry::Occupied(known) => {
                let first_line = self.sections[*known.get()].line.clone();
                let section = Escaped::bare(name);
                let index = *known.get();
                self.refuse(
                    line,
                    Problem::DuplicateSection {
                        section,
                        first_line,
                    },
                );
                index
            }
            Entry::Vacant(new) => {
                self.sections.push(RawSection {
                    name: name.to_owned(),
                    line: Line {
                        number: line,
                        file: self.file.cloned(),
                    },
                    ..RawSection::default()
                });
                *new.insert(self.sections.len() - 1)
            }
        };
        self.place = Place::Section(index);
        self.accept(&format!("[{name}]"));
    }

    /// A line that is neither blank nor comment nor header.
    fn setting(&mut self, line: usize, content: &str) {
        let Some((key, value)) = content.split_once('=') else {
            // `key value` and `key: value` are the usual slips; the value may be a secret.
            let word = match content.split([' ', '\t', ':']).next() {
                Some("") | None => content,
                Some(word) => word,
            };
            if let Place::Section(index) = self.place {
                self.sections[index].refused_keys.push(word.to_owned());
            }
            let problem = match (self.is_key)(word) {
                true => Problem::NoEquals {
                    word: Escaped::quoted(word),
                },
                false => Problem::NoSetting,
            };
            return self.refuse(line, problem);
        };
        let (key, value) = (key.trim(), value.trim());
        if key.is_empty() {
            return self.refuse(line, Problem::EmptyKey);
        }
        let index = match self.place {
            Place::Section(index) => index,
            Place::Outside => {
                let key = Escaped::quoted(key);
                return self.refuse(line, Problem::KeyOutside { key });
            }
            Place::Unknown => return,
        };
        match self.key_lines.entry((index, key.to_owned())) {
            Entry::Occupied(first) => {
                let problem = Problem::DuplicateKey {
                    key: Escaped::quoted(key),
                    section: Escaped::bare(&self.sections[index].name),
                    first_line: *first.get(),
                };
                self.refuse(line, problem);
            }
            Entry::Vacant(new) => {
                new.insert(line);
                self.sections[index].entries.push(RawEntry {
                    key: key.to_owned(),
                    value: value.to_owned(),
                    line: Line {
                        number: line,
                        file: self.file.cloned(),
                    },
                });
                self.accept(content);
            }
        }
    }

    fn accept(&mut self, content: &str) {
        self.accepted.push_str(content);
        self.accepted.push('\n');
    }

    fn refuse(&mut self, line: usize, problem: Problem) {
        self.errors.push(ConfigError::at(line, problem));
    }
}

/// What a comment begins with; only at the start of a line.
const COMMENT: [char; 2] = ['#', ';'];

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic fails the test")]
mod tests {
    use super::*;

    fn scanned(key: &str, value: &str) -> Vec<RawSection> {
        vec![RawSection {
            name: "kafka".to_owned(),
            line: Line::from(1),
            entries: vec![RawEntry {
                key: key.to_owned(),
                value: value.to_owned(),
                line: Line::from(2),
            }],
            refused_keys: vec![],
        }]
    }

    /// What is said when the scan found `sections` and the crate is given `text`.
    fn differences(text: &str, mut sections: Vec<RawSection>) -> Vec<String> {
        let mut errors = Vec::new();
        read_with_crate(text.to_owned(), &mut sections, &mut errors);
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_file_that_scan_and_crate_read_alike_is_taken() {
        let none: [String; 0] = [];
        assert_eq!(differences("[kafka]\nk = a#b\n", scanned("k", "a#b")), none);
    }

    #[test]
    fn a_difference_between_scan_and_crate_is_an_error() {
        let key = "key 'k' in [kafka] can be read in two ways\n    \
                   this is a defect of logagent: please report this line";
        let file = |difference: &str| {
            format!(
                "the file can be read in two ways: {difference}\n    \
                 this is a defect of logagent: please report it"
            )
        };
        for (text, said) in [
            ("[kafka]\nk = a\n", vec![key.to_owned()]),
            ("[kafka]\nk\n", vec![key.to_owned()]),
            (
                "[kafka]\nk = b\nl = c\n",
                vec![file("is there a key 'l' in [kafka]")],
            ),
            ("", vec![file("is there a section [kafka]")]),
            (
                "[kafka]\nk = b\n[x]\n",
                vec![file("is there a section [x]")],
            ),
            (
                "[kafka]\n= b\n",
                vec![file("line 2:0: Key cannot be empty")],
            ),
        ] {
            assert_eq!(differences(text, scanned("k", "b")), said, "{text}");
        }
    }
}
