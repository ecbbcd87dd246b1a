//! The lines of a checkpoints file: what one says, and the checksum that it ends with.
//!
//! ```text
//! logagent checkpoints 4
//! generation BEGUN_NS CRC
//! section NAME CRC
//! OFFSET SIZE TAIL_LEN TAIL_CRC DEVICE INODE BORN_NS FP_LEN FP_HASH FP_STEPS STATE SERIALS MODIFIED_NS MARKS PATH CRC
//! end COUNT CRC
//! OFFSET SIZE TAIL_LEN TAIL_CRC SERIAL CRC
//! gone SERIAL CRC
//! synced OFFSET CRC
//! ```
//! What a generation begins with ends with `end`: the sections whose files were looked for before, and COUNT
//! sources. What comes after it happened later: a source that is new or not only moved (the long line), one that
//! moved (the short line: its position before becomes a mark), one that is forgotten. `synced` says that
//! everything before its own offset was durable before it was written.
//!
//! Numbers are decimal, `TAIL_CRC`, `FP_HASH`, `FP_STEPS` and `CRC` hexadecimal; `FP_STEPS` are two digits each, or
//! `-`; `STATE` is `open`, `finished` or `skipped`, and behind a colon the tag that its records carry, if they do; `SERIALS` are the serial number and, with commas before them,
//! those of the sources that it takes the place of; `MARKS` are `OFFSET:LEN:CRC` with commas between them, or `-`;
//! `NAME` and `PATH` have bytes outside of printable ASCII, and `%`, as `%XX`.
//!
//! `CRC` is the CRC32C of its line, of the generation's number and of the line's offset in the file. So a line is
//! valid at its place alone, and what a power cut leaves of an older file is none.
//!
//! Versions 1 to 3 were a table that ended with `end COUNT CRC`, CRC being that of everything before, and had no
//! checksums in their lines. Version 1 had no `SIZE`, and 2 no `section`, `FP_STEPS`, `skipped` and `MARKS`.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::batch::TailChecksum;
use crate::identity::{FileIdentity, FileTag, Fingerprint, Inode};
use crate::progress::{Checkpoint, Mark, Marks, SourceState};

/// What the first line begins with; the number of the version follows.
pub(crate) const TITLE: &str = "logagent checkpoints ";
/// What is written.
pub(crate) const VERSION: &str = "4";
/// The oldest version that is still read.
pub(crate) const OLDEST: &str = "1";

/// The versions that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Version {
    One,
    Two,
    Three,
    Four,
}

impl Version {
    /// The version that a first line names.
    pub(super) fn of(line: &str) -> Option<Version> {
        Some(match line.strip_prefix(TITLE)? {
            OLDEST => Version::One,
            "2" => Version::Two,
            "3" => Version::Three,
            VERSION => Version::Four,
            _ => return None,
        })
    }
}

/// One line after the first.
#[derive(Debug, PartialEq, Eq)]
#[allow(
    clippy::large_enum_variant,
    reason = "nearly all are of the large one, and none is kept"
)]
pub(super) enum Line {
    Generation(u64),
    Section(String),
    /// A source, and the serial numbers that it takes the place of.
    Source(Checkpoint, Vec<u64>),
    End(usize),
    Moved(Moved),
    Gone(u64),
    Synced(u64),
}

/// A source whose position or size alone is another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moved {
    pub(super) serial: u64,
    offset: u64,
    size: u64,
    tail_checksum: TailChecksum,
}

impl Moved {
    /// Moves the position that was written before.
    pub(super) fn apply(self, checkpoint: &mut Checkpoint) {
        if self.offset > checkpoint.offset {
            checkpoint
                .marks
                .add(checkpoint.offset, checkpoint.tail_checksum);
        }
        checkpoint.offset = self.offset;
        checkpoint.tail_checksum = self.tail_checksum;
        checkpoint.size = self.size.max(self.offset);
        forget_steps_of_long_content(checkpoint);
    }
}

/// Where the next line goes, which its checksum covers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) generation: u64,
    pub(super) offset: u64,
}

impl Place {
    /// Ends the line that begins at `from` of `text`: adds its checksum and the newline, and goes to the next place.
    pub(super) fn seal(&mut self, text: &mut String, from: usize) {
        let crc = self.checksum(&text.as_bytes()[from..]);
        space_and_hex(text, u64::from(crc), 8);
        text.push('\n');
        self.offset += (text.len() - from) as u64;
    }

    /// What a `line` without its newline says before its checksum, if that is right here.
    pub(super) fn opened<'a>(&self, line: &'a [u8]) -> Option<&'a str> {
        let (body, crc) = line.split_at_checked(line.len().checked_sub(CRC_BYTES)?)?;
        let expected = self.checksum(body);
        let is_right = crc.first() == Some(&b' ') && parse_hex(&crc[1..]) == Some(expected);
        std::str::from_utf8(body).ok().filter(|_| is_right)
    }

    fn checksum(&self, body: &[u8]) -> u32 {
        let place = (u128::from(self.offset) << 64) | u128::from(self.generation);
        crc32c::crc32c_append(crc32c::crc32c(body), &place.to_le_bytes())
    }
}

/// Eight digits as they are written, and no others.
fn parse_hex(digits: &[u8]) -> Option<u32> {
    let is_written = |digit: &u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
    let text = std::str::from_utf8(digits).ok()?;
    let number = u32::from_str_radix(text, 16).ok()?;
    digits.iter().all(is_written).then_some(number)
}

pub(super) fn write_generation(text: &mut String, begun_ns: u64) {
    let _ = write!(text, "{GENERATION}{begun_ns}");
}

pub(super) fn write_section(text: &mut String, name: &str) {
    text.push_str(SECTION);
    escape(text, name.as_bytes());
}

pub(super) fn write_end(text: &mut String, count: usize) {
    let _ = write!(text, "{END}{count}");
}

pub(super) fn write_gone(text: &mut String, serial: u64) {
    let _ = write!(text, "{GONE}{serial}");
}

pub(super) fn write_synced(text: &mut String, place: Place) {
    let _ = write!(text, "{SYNCED}{}", place.offset);
}

pub(super) fn write_moved(text: &mut String, checkpoint: &Checkpoint) {
    write_place(text, checkpoint);
    space_and_decimal(text, checkpoint.serial);
}

/// What both lines of a source begin with.
fn write_place(text: &mut String, checkpoint: &Checkpoint) {
    let Checkpoint {
        offset,
        size,
        tail_checksum,
        ..
    } = checkpoint;
    decimal(text, *offset);
    space_and_decimal(text, *size);
    space_and_decimal(text, tail_checksum.len);
    space_and_hex(text, u64::from(tail_checksum.crc), 8);
}

pub(super) fn write_source(text: &mut String, checkpoint: &Checkpoint, replaces: &[u64]) {
    let Checkpoint {
        path,
        identity,
        offset,
        marks,
        tag,
        state,
        serial,
        modified_ns,
        // With the offset in `write_place`.
        size: _,
        tail_checksum: _,
    } = checkpoint;
    let FileIdentity {
        inode: Inode { device, inode },
        born_ns,
        fingerprint,
    } = identity;
    write_place(text, checkpoint);
    space_and_decimal(text, *device);
    space_and_decimal(text, *inode);
    space_and_decimal(text, *born_ns);
    space_and_decimal(text, fingerprint.len);
    space_and_hex(text, fingerprint.hash, 16);
    text.push(' ');
    let known = match *offset < SHORT_BYTES {
        true => fingerprint
            .steps
            .iter()
            .take_while(|step| **step != 0)
            .count(),
        false => 0,
    };
    if known == 0 {
        text.push('-');
    }
    for step in &fingerprint.steps[..known] {
        hex(text, u64::from(*step), 2);
    }
    let state = match state {
        SourceState::Open => "open",
        SourceState::Finished => "finished",
        SourceState::Skipped => "skipped",
    };
    text.push(' ');
    text.push_str(state);
    if let Some(tag) = tag {
        let _ = write!(text, ":{tag}");
    }
    space_and_decimal(text, *serial);
    for serial in replaces {
        text.push(',');
        decimal(text, *serial);
    }
    space_and_decimal(text, *modified_ns);
    text.push(' ');
    if marks.iter().len() == 0 {
        text.push('-');
    }
    for (
        n,
        Mark {
            offset,
            tail_checksum,
        },
    ) in marks.iter().enumerate()
    {
        if n > 0 {
            text.push(',');
        }
        decimal(text, *offset);
        text.push(':');
        decimal(text, tail_checksum.len);
        text.push(':');
        hex(text, u64::from(tail_checksum.crc), 1);
    }
    text.push(' ');
    escape(text, path.as_os_str().as_bytes());
}

fn space_and_decimal(text: &mut String, number: impl itoa::Integer) {
    text.push(' ');
    decimal(text, number);
}

fn decimal(text: &mut String, number: impl itoa::Integer) {
    text.push_str(itoa::Buffer::new().format(number));
}

fn space_and_hex(text: &mut String, number: u64, least_digits: u32) {
    text.push(' ');
    hex(text, number, least_digits);
}

fn hex(text: &mut String, number: u64, least_digits: u32) {
    let count = (16 - number.leading_zeros() / 4).max(least_digits) as usize;
    let mut digits = [b'0'; 16];
    for (nth, digit) in digits.iter_mut().rev().take(count).enumerate() {
        *digit = b"0123456789abcdef"[(number >> (4 * nth)) as usize & 15];
    }
    text.push_str(std::str::from_utf8(&digits[16 - count..]).unwrap_or_default());
}

/// What a line without checksum says in this version.
pub(super) fn parse_line(line: &str, version: Version) -> Option<Line> {
    if version >= Version::Three
        && let Some(name) = line.strip_prefix(SECTION)
    {
        return Some(Line::Section(
            String::from_utf8(unescape(name)?.into_owned()).ok()?,
        ));
    }
    if version >= Version::Four {
        if let Some(offset) = line.strip_prefix(SYNCED) {
            return Some(Line::Synced(offset.parse().ok()?));
        }
        if let Some(begun_ns) = line.strip_prefix(GENERATION) {
            return Some(Line::Generation(begun_ns.parse().ok()?));
        }
        if let Some(count) = line.strip_prefix(END) {
            return Some(Line::End(count.parse().ok()?));
        }
        if let Some(serial) = line.strip_prefix(GONE) {
            return Some(Line::Gone(serial.parse().ok()?));
        }
    }
    let spaces = line.bytes().filter(|byte| *byte == b' ').take(5).count();
    if version >= Version::Four && spaces == 4 {
        return parse_moved(line).map(Line::Moved);
    }
    parse_source(line, version)
}

fn parse_moved(line: &str) -> Option<Moved> {
    let mut fields = Fields(line);
    let mut next = || fields.next();
    Some(Moved {
        offset: next()?.parse().ok()?,
        size: next()?.parse().ok()?,
        tail_checksum: TailChecksum {
            len: next()?.parse().ok()?,
            crc: u32::from_str_radix(next()?, 16).ok()?,
        },
        serial: fields.0.parse().ok()?,
    })
}

/// The fields of a line up to the one that is not taken by [`Fields::next`]: that is the rest of it. They are short, so
/// looking at each byte is quicker than what `str::split` does.
struct Fields<'a>(&'a str);

impl<'a> Fields<'a> {
    fn next(&mut self) -> Option<&'a str> {
        let end = self.0.bytes().position(|byte| byte == b' ')?;
        let (field, rest) = self.0.split_at(end);
        self.0 = &rest[1..];
        Some(field)
    }
}

fn parse_source(line: &str, version: Version) -> Option<Line> {
    let mut fields = Fields(line);
    let mut next = || fields.next();
    let offset = next()?.parse().ok()?;
    let size: u64 = match version {
        Version::One => offset,
        _ => next()?.parse().ok()?,
    };
    let tail_checksum = TailChecksum {
        len: next()?.parse().ok()?,
        crc: u32::from_str_radix(next()?, 16).ok()?,
    };
    let inode = Inode {
        device: next()?.parse().ok()?,
        inode: next()?.parse().ok()?,
    };
    let born_ns = next()?.parse().ok()?;
    let mut fingerprint = Fingerprint {
        len: next()?.parse().ok()?,
        hash: u64::from_str_radix(next()?, 16).ok()?,
        steps: [0; Fingerprint::STEPS.len()],
    };
    if version >= Version::Three {
        parse_steps(next()?, &mut fingerprint.steps)?;
    }
    let (state, tag) = match next()? {
        state if version < Version::Four => (state, None),
        state => match state.split_once(':') {
            Some((state, tag)) => (state, Some(FileTag::parse(tag.as_bytes())?)),
            None => (state, None),
        },
    };
    let state = match state {
        "open" => SourceState::Open,
        "finished" => SourceState::Finished,
        "skipped" if version >= Version::Three => SourceState::Skipped,
        _ => return None,
    };
    let (serial, replaces) = parse_serials(next()?, version)?;
    let modified_ns = next()?.parse().ok()?;
    let marks = match version {
        Version::Three | Version::Four => parse_marks(next()?)?,
        _ => Marks::default(),
    };
    let path = Path::new(OsStr::from_bytes(&unescape(fields.0)?)).into();
    let mut checkpoint = Checkpoint {
        offset,
        size: size.max(offset),
        tail_checksum,
        identity: FileIdentity {
            inode,
            born_ns,
            fingerprint,
        },
        tag,
        state,
        serial,
        modified_ns,
        marks,
        path,
    };
    forget_steps_of_long_content(&mut checkpoint);
    Some(Line::Source(checkpoint, replaces))
}

/// Of long content no copy is so short that they are wanted, and they are not written.
fn forget_steps_of_long_content(checkpoint: &mut Checkpoint) {
    if checkpoint.offset >= SHORT_BYTES {
        checkpoint.identity.fingerprint.steps.fill(0);
    }
}

fn parse_serials(text: &str, version: Version) -> Option<(u64, Vec<u64>)> {
    if version < Version::Four {
        return Some((text.parse().ok()?, Vec::new()));
    }
    let mut serials = text.split(',').map(str::parse);
    let serial = serials.next()?.ok()?;
    Some((serial, serials.collect::<Result<_, _>>().ok()?))
}

fn parse_steps(text: &str, steps: &mut [u8]) -> Option<()> {
    if text == "-" {
        return Some(());
    }
    let pairs = text.as_bytes().chunks(2);
    if pairs.len() > steps.len() {
        return None;
    }
    for (step, pair) in steps.iter_mut().zip(pairs) {
        *step = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        if *step == 0 || pair.len() != 2 {
            return None;
        }
    }
    Some(())
}

fn parse_marks(text: &str) -> Option<Marks> {
    if text == "-" {
        return Some(Marks::default());
    }
    let mark = |text: &str| {
        let mut fields = text.splitn(3, ':');
        Some(Mark {
            offset: fields.next()?.parse().ok()?,
            tail_checksum: TailChecksum {
                len: fields.next()?.parse().ok()?,
                crc: u32::from_str_radix(fields.next()?, 16).ok()?,
            },
        })
    };
    Marks::new(text.split(',').map(mark).collect::<Option<_>>()?)
}

fn escape(text: &mut String, bytes: &[u8]) {
    for &byte in bytes {
        if (0x20..0x7f).contains(&byte) && byte != b'%' {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
}

fn unescape(text: &str) -> Option<Cow<'_, [u8]>> {
    if memchr::memchr(b'%', text.as_bytes()).is_none() {
        return Some(Cow::Borrowed(text.as_bytes()));
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes().iter();
    while let Some(&byte) = rest.next() {
        if byte == b'%' {
            let digits = [*rest.next()?, *rest.next()?];
            bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    Some(Cow::Owned(bytes))
}

/// A space and eight digits.
const CRC_BYTES: usize = 9;
/// Content of which more is acknowledged is not short.
const SHORT_BYTES: u64 = 1 << 20;
const GENERATION: &str = "generation ";
const SECTION: &str = "section ";
const END: &str = "end ";
const GONE: &str = "gone ";
const SYNCED: &str = "synced ";
