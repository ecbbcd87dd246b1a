//! Lines that a container runtime wrote around the lines of a program.
//!
//! ```text
//! CRI      2026-11-26T22:30:54.116489203Z stdout F text          containerd, CRI-O, Podman (k8s-file)
//!          2026-11-26T22:30:54.116489203Z stderr P begin of a long line, which goes on
//! Docker   {"log":"text\n","stream":"stdout","time":"2026-11-26T22:30:54.116489203Z"}     json-file
//! ```
//! Runtimes cut a long line into parts, about 16 KiB each: with CRI all but the last have the tag P, with Docker they
//! lack the `\n`. A CRI tag may be followed by more of them, parted by colons. Docker's object may hold
//! `attrs` too, and keys come in any order.

use std::fmt;
use std::ops::Range;

/// `container`, where it is not `none`: which lines are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerKind {
    /// Each line says itself which it is.
    Auto,
    /// Kubernetes' runtimes.
    Cri,
    /// Docker's `json-file`.
    Docker,
}

/// Which output of the program a line was written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// The runtime did not write this line.
    Unknown,
}

/// What is in a line that a runtime wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerLine<'a> {
    /// Where the program wrote it to.
    pub stream: Stream,
    /// Where in the line it stands when, as RFC 3339.
    pub time: Range<usize>,
    /// What it wrote.
    pub text: ContainerText<'a>,
    /// The program's line goes on in the next line of the same stream.
    pub is_partial: bool,
}

/// What a program wrote, as it stands in a line of the runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerText<'a> {
    /// As it was written, its newline left out.
    Plain(&'a [u8]),
    /// The inside of a JSON string whose escapes are all right, the newline included. Always UTF-8.
    Escaped(&'a [u8]),
}

impl ContainerKind {
    /// What is in `line`, which comes without its newline. `None`: no runtime wrote it.
    #[inline]
    pub fn parse(self, line: &[u8]) -> Option<ContainerLine<'_>> {
        match (self, line.first()?) {
            (ContainerKind::Auto | ContainerKind::Cri, b'0'..=b'9') => cri(line),
            (ContainerKind::Auto | ContainerKind::Docker, b'{') => docker(line),
            _ => None,
        }
    }
}

impl Stream {
    /// As runtimes write it; empty if it is not known.
    pub fn name(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
            Stream::Unknown => "",
        }
    }

    fn of_name(name: &[u8]) -> Option<Stream> {
        match name {
            b"stdout" => Some(Stream::Stdout),
            b"stderr" => Some(Stream::Stderr),
            _ => None,
        }
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl ContainerText<'_> {
    /// Adds the text to `out`, without the newline at its end.
    #[inline]
    pub fn add_to(self, out: &mut Vec<u8>) {
        match self {
            ContainerText::Plain(text) => out.extend_from_slice(text),
            ContainerText::Escaped(text) => {
                let begin = out.len();
                unescape(text, out);
                if out.len() > begin && out.last() == Some(&b'\n') {
                    out.pop();
                }
            }
        }
    }
}

/// `TIME STREAM TAGS TEXT`, a space between each.
#[inline]
fn cri(line: &[u8]) -> Option<ContainerLine<'_>> {
    let (time, rest) = word(line)?;
    let (stream, rest) = match rest {
        [b's', b't', b'd', b'o', b'u', b't', b' ', rest @ ..] => (Stream::Stdout, rest),
        [b's', b't', b'd', b'e', b'r', b'r', b' ', rest @ ..] => (Stream::Stderr, rest),
        _ => return None,
    };
    let (is_partial, text) = match rest {
        [b'F', b' ', text @ ..] => (false, text),
        [b'P', b' ', text @ ..] => (true, text),
        // The text may be missing with the space before it.
        [b'F'] => (false, &b""[..]),
        [b'P'] => (true, &b""[..]),
        [tag @ (b'F' | b'P'), b':', more @ ..] => (*tag == b'P', word(more)?.1),
        _ => return None,
    };
    is_time(time).then_some(ContainerLine {
        stream,
        time: 0..time.len(),
        text: ContainerText::Plain(text),
        is_partial,
    })
}

/// What comes before the first space, and what after it.
#[inline]
fn word(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = memchr::memchr(b' ', line.get(..LONGEST_WORD).unwrap_or(line))?;
    Some((line.get(..at)?, line.get(at + 1..)?))
}

/// Whether it begins as RFC 3339 has it; the rest is left to whoever reads the time.
#[inline]
fn is_time(time: &[u8]) -> bool {
    let Some((date, rest)) = time.split_first_chunk::<19>() else {
        return false;
    };
    let forms = date.iter().zip(b"0000-00-00T00:00:00");
    // All of them, as that is one comparison for the processor.
    let is_date = forms.fold(true, |is_date, (byte, form)| {
        is_date & ((byte == form) | ((*form == b'0') & byte.is_ascii_digit()))
    });
    is_date && (LEAST_AFTER_SECONDS..=MOST_AFTER_SECONDS).contains(&rest.len())
}

/// `{"log":"TEXT","stream":"STREAM","time":"TIME"}`, and what else there may be.
fn docker(line: &[u8]) -> Option<ContainerLine<'_>> {
    let mut object = Scan(line);
    let (mut log, mut stream, mut time) = (None, None, None);
    object.byte(b'{')?;
    loop {
        let key = object.string()?;
        object.byte(b':')?;
        match key {
            b"log" => log = Some(object.string()?),
            b"stream" => stream = Stream::of_name(object.string()?),
            b"time" => {
                let text = object.string()?;
                let end = line.len() - object.0.len() - 1;
                time = is_time(text).then_some(end - text.len()..end);
            }
            _ => object.skip_value()?,
        }
        if object.byte(b',').is_none() {
            break;
        }
    }
    object.byte(b'}')?;
    object.skip_spaces();
    let text = log?;
    object.0.is_empty().then_some(ContainerLine {
        stream: stream?,
        time: time?,
        text: ContainerText::Escaped(text),
        is_partial: !ends_with_newline(text),
    })
}

/// Whether the last escape of the inside of a string is a newline and nothing follows on it.
fn ends_with_newline(text: &[u8]) -> bool {
    let before = [&b"n"[..], b"u000a", b"u000A"];
    let before = before.iter().find_map(|escape| text.strip_suffix(*escape));
    let backslashes = |text: &[u8]| text.iter().rev().take_while(|byte| **byte == b'\\').count();
    before.is_some_and(|before| backslashes(before) % 2 == 1)
}

/// The rest of a JSON text.
struct Scan<'a>(&'a [u8]);

impl<'a> Scan<'a> {
    fn skip_spaces(&mut self) {
        while let [b' ' | b'\t' | b'\r', rest @ ..] = self.0 {
            self.0 = rest;
        }
    }

    /// Goes over `wanted`, if that comes next.
    fn byte(&mut self, wanted: u8) -> Option<()> {
        self.skip_spaces();
        let (first, rest) = self.0.split_first()?;
        (*first == wanted).then(|| self.0 = rest)
    }

    /// The inside of the string that comes next, if its escapes are right.
    fn string(&mut self) -> Option<&'a [u8]> {
        self.byte(b'"')?;
        let inside = self.0;
        let mut at = 0;
        loop {
            at += memchr::memchr2(b'"', b'\\', inside.get(at..)?)?;
            match inside.get(at..)? {
                [b'"', rest @ ..] => {
                    self.0 = rest;
                    return inside.get(..at);
                }
                [b'\\', b'u', rest @ ..] => {
                    hex4(rest)?;
                    at += 6;
                }
                [b'\\', escape, ..] => {
                    short_escape(*escape)?;
                    at += 2;
                }
                _ => return None,
            }
        }
    }

    /// Goes over a value of any kind. Of objects and lists only the brackets are counted.
    fn skip_value(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            self.skip_spaces();
            match self.0.first()? {
                b'"' => {
                    self.string()?;
                }
                b'{' | b'[' => {
                    depth += 1;
                    self.0 = self.0.get(1..)?;
                }
                b'}' | b']' => {
                    depth = depth.checked_sub(1)?;
                    self.0 = self.0.get(1..)?;
                }
                b',' | b':' if depth > 0 => self.0 = self.0.get(1..)?,
                byte if byte.is_ascii_alphanumeric() || b"+-".contains(byte) => {
                    let is_inside =
                        |byte: &&u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
                    let len = self.0.iter().take_while(is_inside).count();
                    self.0 = self.0.get(len..)?;
                }
                _ => return None,
            }
            if depth == 0 {
                return Some(());
            }
        }
    }
}

/// Adds what the inside of a JSON string means. Its escapes are right; half a pair alone becomes U+FFFD.
fn unescape(text: &[u8], out: &mut Vec<u8>) {
    let mut rest = text;
    while let Some((plain, escape)) = memchr::memchr(b'\\', rest).map(|at| rest.split_at(at)) {
        out.extend_from_slice(plain);
        rest = match escape {
            [b'\\', b'u', digits @ ..] => {
                let first = hex4(digits).unwrap_or(0xfffd);
                let after = digits.get(4..).unwrap_or_default();
                let second = after.strip_prefix(b"\\u").and_then(hex4);
                let units = [first, second.unwrap_or_default()];
                let (character, len) = match char::decode_utf16(units).next() {
                    Some(Ok(one)) if one > '\u{ffff}' => (one, 6),
                    Some(Ok(one)) => (one, 0),
                    _ => (char::REPLACEMENT_CHARACTER, 0),
                };
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                after.get(len..).unwrap_or_default()
            }
            [b'\\', escape, after @ ..] => {
                out.extend(short_escape(*escape));
                after
            }
            _ => b"",
        };
    }
    out.extend_from_slice(rest);
}

/// What the escape of one letter stands for.
fn short_escape(escape: u8) -> Option<u8> {
    Some(match escape {
        b'n' => b'\n',
        b't' => b'\t',
        b'r' => b'\r',
        b'b' => 0x08,
        b'f' => 0x0c,
        b'"' | b'\\' | b'/' => escape,
        _ => return None,
    })
}

/// The number of the first 4 bytes, hexadecimal digits.
fn hex4(digits: &[u8]) -> Option<u16> {
    digits
        .first_chunk::<4>()?
        .iter()
        .try_fold(0, |number: u16, digit| {
            let digit = char::from(*digit).to_digit(16)?;
            Some(number << 4 | u16::try_from(digit).ok()?)
        })
}

/// No time, and no tags, are longer.
const LONGEST_WORD: usize = 256;
/// `Z`, and a fraction of 9 digits with an offset.
const LEAST_AFTER_SECONDS: usize = 1;
const MOST_AFTER_SECONDS: usize = 16;
