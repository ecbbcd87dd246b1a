//! From a file to bytes, and from bytes to text. The ini and the files that it names are regular files of bounded
//! size. The ini must be in UTF-8, with Unix line ends. What is wrong with its bytes is
//! reported, and mended as far as it takes to find whatever else is wrong.

use std::collections::HashSet;
use std::fs::{self, File, FileType};
use std::io::{self, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::error::{ConfigError, Problem};

/// Text of the ini with line ends `\n` and without control characters other than tabs.
pub(super) struct Text {
    /// The text, mended where `errors` says that it had to be.
    pub(super) text: String,
    /// What was wrong with the bytes.
    pub(super) errors: Vec<ConfigError>,
    /// Lines, counted from 1, whose content is not what the file says.
    pub(super) damaged: HashSet<usize>,
}

impl Text {
    /// Decodes the content of `file`; fails only where the rest cannot be looked at at all.
    pub(super) fn decode(bytes: &[u8], file: &Path) -> Result<Text, Problem> {
        let file = file.display().to_string();
        if bytes.starts_with(b"\xFF\xFE") || bytes.starts_with(b"\xFE\xFF") {
            return Err(Problem::Utf16 { file });
        }
        let mut errors = Vec::new();
        let mut offset = 0;
        let mut rest = bytes;
        if let Some(marked) = bytes.strip_prefix(b"\xEF\xBB\xBF") {
            rest = marked;
            offset = bytes.len() - marked.len();
            let file = file.clone();
            errors.push(ConfigError::at(1, Problem::ByteOrderMark { file }));
        }

        let mut text = String::with_capacity(rest.len());
        let mut damaged = HashSet::new();
        let mut returns = Vec::new();
        for (line, bytes) in (1..).zip(rest.split(|&byte| byte == b'\n')) {
            let content = match bytes.strip_suffix(b"\r") {
                Some(content) => {
                    returns.push(line);
                    content
                }
                None => bytes,
            };
            match line_of(content, offset, &file) {
                Ok(content) => text.push_str(content),
                Err(problem) => {
                    errors.push(ConfigError::at(line, problem));
                    damaged.insert(line);
                    let content = String::from_utf8_lossy(content);
                    text.push_str(&content.replace(is_refused, ""));
                }
            }
            text.push('\n');
            offset += bytes.len() + 1;
        }
        if let Some(&first) = returns.first() {
            let others = returns.len() - 1;
            errors.push(ConfigError::at(
                first,
                Problem::CarriageReturn { others, file },
            ));
        }
        Ok(Text {
            text,
            errors,
            damaged,
        })
    }
}

/// One line as text; `offset` is where it begins in the file.
fn line_of<'a>(line: &'a [u8], offset: usize, file: &str) -> Result<&'a str, Problem> {
    if let Some(at) = memchr::memchr(0, line) {
        return Err(Problem::Nul {
            offset: offset + at,
        });
    }
    let text = std::str::from_utf8(line).map_err(|error| {
        let at = error.valid_up_to();
        Problem::NotUtf8 {
            byte: line.get(at).copied().unwrap_or_default(),
            offset: offset + at,
            file: file.to_owned(),
        }
    })?;
    match text.char_indices().find(|&(_, c)| is_refused(c)) {
        Some((at, character)) => Err(Problem::Control {
            character,
            offset: offset + at,
        }),
        None => Ok(text),
    }
}

/// Characters that have no business in an ini, and would let a message steer a terminal.
fn is_refused(character: char) -> bool {
    character.is_control() && character != '\t'
}

/// The bytes of the file at `path`. Never waits: a fifo or a device is refused unread.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, Problem> {
    let found = fs::metadata(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Problem::Missing {
            other: and_other_default(path),
        },
        _ => Problem::Io {
            verb: "opened",
            error,
        },
    })?;
    regular(found.file_type())?;
    // It may be another file by now, so: open it without waiting for a writer, and look again.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let opened = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| Problem::Io {
        verb: "opened",
        error: error.into(),
    })?;
    let file = File::from(opened);
    let unreadable = |error| Problem::Io {
        verb: "read",
        error,
    };
    regular(file.metadata().map_err(unreadable)?.file_type())?;
    let mut bytes = Vec::new();
    file.take(LIMIT_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > LIMIT_BYTES {
        return Err(Problem::TooLarge {
            limit_bytes: LIMIT_BYTES,
        });
    }
    Ok(bytes)
}

fn regular(found: FileType) -> Result<(), Problem> {
    if found.is_file() {
        Ok(())
    } else if found.is_dir() {
        Err(Problem::NotRegular("folder"))
    } else if found.is_fifo() {
        Err(Problem::NotRegular("fifo"))
    } else if found.is_socket() {
        Err(Problem::NotRegular("socket"))
    } else {
        Err(Problem::NotRegular("device"))
    }
}

/// The same, with an error in words that go on from the name of the file.
pub(crate) fn read_small_file(path: &Path) -> Result<Vec<u8>, String> {
    read(path).map_err(|problem| match problem {
        Problem::Missing { .. } => "no such file".to_owned(),
        Problem::NotRegular(what) => format!("a {what}, not a regular file"),
        problem => problem.to_string(),
    })
}

/// Where the ini is if nobody says: the first of these that exists, and the first one if none does.
pub const DEFAULT_CONFIGS: [&str; 2] = ["conf/logagent.ini", "/etc/logagent/logagent.ini"];

/// The ini if nobody says which.
pub fn default_config() -> PathBuf {
    let there = DEFAULT_CONFIGS.iter().find(|file| Path::new(file).exists());
    PathBuf::from(there.unwrap_or(&DEFAULT_CONFIGS[0]))
}

/// The other place where `ini`, which is not there, was looked for if none was named; to be said behind it.
pub(crate) fn and_other_default(ini: &Path) -> String {
    let [first, other] = DEFAULT_CONFIGS;
    match ini == Path::new(first) && !Path::new(other).exists() {
        true => format!(" and no '{other}'"),
        false => String::new(),
    }
}

/// No ini is larger; a log that is named by mistake is not read into memory.
const LIMIT_BYTES: u64 = 1 << 20;
