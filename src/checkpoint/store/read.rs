//! What a checkpoints file of any version says, and whether all of it does.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::format::{Line, Moved, Place, TITLE, VERSION, Version, parse_line};
use crate::progress::{Checkpoint, Saved};

/// What a file holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ParsedFile {
    pub(crate) saved: Saved,
    /// Bytes at the end that a crash has kept from being written whole: they are left out.
    pub(crate) cut_bytes: usize,
}

/// What was written, was durable, and is not there any more.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Damage {
    pub(crate) reason: String,
    /// The file is whole up to this offset in bytes, and can be gone on from.
    pub(crate) whole_until: Option<usize>,
}

impl From<String> for Damage {
    fn from(reason: String) -> Self {
        Damage {
            reason,
            whole_until: None,
        }
    }
}

/// The format version that the first line names, if it is a first line of ours and a version that is not read.
pub(super) fn other_version(text: &[u8]) -> Option<&str> {
    let line = text.split(|&byte| byte == b'\n').next()?;
    let line = std::str::from_utf8(line).ok()?;
    let version = line.strip_prefix(TITLE)?;
    let is_number = !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit());
    (is_number && Version::of(line).is_none()).then_some(version)
}

/// Reads a whole file.
pub(crate) fn parse(text: &[u8]) -> Result<ParsedFile, Damage> {
    if text.is_empty() {
        return Err("it is empty".to_owned().into());
    }
    let first = text.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let version = std::str::from_utf8(first).ok().and_then(Version::of);
    match version {
        None => Err(format!(
            "it begins with '{}', not '{TITLE}{VERSION}'",
            first[..first.len().min(SHOWN_BYTES)].escape_ascii()
        )
        .into()),
        Some(Version::Four) => Generation::read(text),
        Some(version) => Ok(ParsedFile {
            saved: parse_table(text, version)?,
            cut_bytes: 0,
        }),
    }
}

/// Versions 1 to 3: a table with one checksum.
fn parse_table(text: &[u8], version: Version) -> Result<Saved, String> {
    let text =
        std::str::from_utf8(text).map_err(|e| format!("byte {} is not text", e.valid_up_to()))?;
    let whole = text.strip_suffix('\n').ok_or("its end is missing")?;
    let (_, last) = whole.rsplit_once('\n').ok_or("its end is missing")?;
    let body = &text[..text.len() - last.len() - 1];
    let (count, crc) = match last.split(' ').collect::<Vec<_>>()[..] {
        ["end", count, crc] => (count, crc),
        _ => return Err("its end is missing".into()),
    };
    if format!("{:08x}", crc32c::crc32c(body.as_bytes())) != crc {
        return Err("its checksum does not match".into());
    }
    let (mut sections, mut checkpoints) = (Vec::new(), Vec::new());
    for (at, line) in body.lines().enumerate().skip(1) {
        match parse_line(line, version) {
            Some(Line::Section(name)) => sections.push(name),
            Some(Line::Source(checkpoint, _)) => checkpoints.push(checkpoint),
            _ => return Err(format!("line {} is not a checkpoint", at + 1)),
        }
    }
    if checkpoints.len().to_string() != count {
        return Err(format!(
            "it holds {} sources, not {count}",
            checkpoints.len()
        ));
    }
    Ok(Saved {
        sections: (version == Version::Three).then_some(sections),
        checkpoints,
        ..Saved::default()
    })
}

/// Version 4, as far as it is read.
#[derive(Debug, Default)]
struct Generation {
    sections: Vec<String>,
    checkpoints: Vec<Checkpoint>,
    /// Where in `checkpoints` a serial number is.
    places: HashMap<u64, usize>,
    has_end: bool,
}

impl Generation {
    fn read(text: &[u8]) -> Result<ParsedFile, Damage> {
        let mut generation = Generation::default();
        generation.places.reserve(text.len() / USUAL_BYTES);
        let mut lines = Lines::new(text)?;
        loop {
            let (number, at) = (lines.number, lines.offset);
            match lines.next() {
                NextLine::Line(line) => {
                    let line = parse_line(line, Version::Four);
                    if !line.is_some_and(|line| generation.take(line)) {
                        return Err(format!("line {number} is not what belongs there").into());
                    }
                }
                NextLine::End if generation.has_end => break,
                NextLine::Torn if generation.has_end => {
                    if lines.was_durable() {
                        return Err(Damage {
                            reason: format!("line {number} is not what was written"),
                            whole_until: Some(at),
                        });
                    }
                    break;
                }
                NextLine::End => return Err("its end is missing".to_owned().into()),
                NextLine::Torn => {
                    return Err(format!("line {number} is not what was written").into());
                }
            }
        }
        generation
            .checkpoints
            .sort_unstable_by_key(|checkpoint| checkpoint.serial);
        Ok(ParsedFile {
            cut_bytes: text.len() - lines.whole_until,
            saved: Saved {
                sections: Some(generation.sections),
                checkpoints: generation.checkpoints,
                ..Saved::default()
            },
        })
    }

    /// `false`: this line cannot come here.
    fn take(&mut self, line: Line) -> bool {
        match (line, self.has_end) {
            (Line::Section(name), false) => self.sections.push(name),
            (Line::End(count), false) if count == self.checkpoints.len() => self.has_end = true,
            (Line::Source(checkpoint, replaces), has_end) => {
                for serial in replaces {
                    self.forget(serial);
                }
                return self.set(checkpoint) || has_end;
            }
            (Line::Moved(moved), true) => return self.apply(moved),
            (Line::Gone(serial), true) => self.forget(serial),
            (Line::Synced(_), true) => {}
            _ => return false,
        }
        true
    }

    /// `true`: it was not known before.
    fn set(&mut self, checkpoint: Checkpoint) -> bool {
        match self.places.entry(checkpoint.serial) {
            Entry::Occupied(known) => {
                self.checkpoints[*known.get()] = checkpoint;
                false
            }
            Entry::Vacant(place) => {
                place.insert(self.checkpoints.len());
                self.checkpoints.push(checkpoint);
                true
            }
        }
    }

    fn apply(&mut self, moved: Moved) -> bool {
        let at = self.places.get(&moved.serial);
        let checkpoint = at.and_then(|&at| self.checkpoints.get_mut(at));
        checkpoint
            .map(|checkpoint| moved.apply(checkpoint))
            .is_some()
    }

    fn forget(&mut self, serial: u64) {
        let Some(at) = self.places.remove(&serial) else {
            return;
        };
        self.checkpoints.swap_remove(at);
        if let Some(moved) = self.checkpoints.get(at) {
            self.places.insert(moved.serial, at);
        }
    }
}

/// The lines after the first, each with its checksum.
struct Lines<'a> {
    text: &'a [u8],
    generation: u64,
    /// Of the next line.
    offset: usize,
    number: usize,
    /// Behind the last line that was right.
    whole_until: usize,
}

enum NextLine<'a> {
    /// What a line says before its checksum.
    Line(&'a str),
    /// Bytes that are no line, from [`Lines::whole_until`] on.
    Torn,
    End,
}

impl<'a> Lines<'a> {
    /// Begins behind the line that names the generation.
    fn new(text: &'a [u8]) -> Result<Self, Damage> {
        let mut lines = Lines {
            text,
            generation: 0,
            offset: TITLE.len() + VERSION.len() + 1,
            number: 2,
            whole_until: 0,
        };
        let body = lines.raw().and_then(|line| {
            let body = line.split(|byte| *byte == b' ').nth(1)?;
            lines.generation = std::str::from_utf8(body).ok()?.parse().ok()?;
            match parse_line(lines.place().opened(line)?, Version::Four)? {
                Line::Generation(begun_ns) if begun_ns == lines.generation => Some(line),
                _ => None,
            }
        });
        let line = body.ok_or_else(|| "line 2 is not what was written".to_owned())?;
        lines.pass(line);
        Ok(lines)
    }

    fn next(&mut self) -> NextLine<'a> {
        if self.offset >= self.text.len() {
            return NextLine::End;
        }
        let body = self
            .raw()
            .and_then(|line| Some((line, self.place().opened(line)?)));
        match body {
            Some((line, body)) => {
                self.pass(line);
                NextLine::Line(body)
            }
            None => NextLine::Torn,
        }
    }

    /// Whether a later line says that the torn one was durable. It need not be where it was: lines may be missing, or
    /// there may be some that were never written.
    fn was_durable(&self) -> bool {
        let rest = self.text.get(self.whole_until..).unwrap_or_default();
        rest.split(|byte| *byte == b'\n').any(|line| {
            let said = std::str::from_utf8(line).ok().and_then(|line| {
                let (body, _) = line.rsplit_once(' ')?;
                match parse_line(body, Version::Four)? {
                    Line::Synced(offset) => Some(offset),
                    _ => None,
                }
            });
            said.is_some_and(|offset| {
                let generation = self.generation;
                let place = Place { generation, offset };
                offset > self.whole_until as u64 && place.opened(line).is_some()
            })
        })
    }

    /// The line at `offset`, if it has its newline.
    fn raw(&self) -> Option<&'a [u8]> {
        let rest = self.text.get(self.offset..)?;
        Some(&rest[..memchr::memchr(b'\n', rest)?])
    }

    fn place(&self) -> Place {
        Place {
            generation: self.generation,
            offset: self.offset as u64,
        }
    }

    fn pass(&mut self, line: &[u8]) {
        self.offset += line.len() + 1;
        self.number += 1;
        self.whole_until = self.offset;
    }
}

/// How much of a file there is for each source, or more.
const USUAL_BYTES: usize = 400;
/// How much of a strange first line is shown.
const SHOWN_BYTES: usize = 60;
