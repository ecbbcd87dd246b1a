//! One record after the other: which bytes of which file it says it is, whether these are there, and whether another
//! record was there before.

use std::collections::{HashMap, VecDeque};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use super::disk::{Certainty, Content, Disk, section_of};
use super::report::{Kind, Report, Span, Unheld};
use super::tiles::{Added, Tiles};
use crate::config::{Config, LogConfig};
use crate::identity::FileTag;
use crate::kafka::read::batch::Record;

/// What is known of one file by its records.
#[derive(Debug)]
pub(super) struct File {
    pub(super) tag: FileTag,
    /// The path that was followed.
    pub(super) path: Arc<Path>,
    /// Index of the section.
    pub(super) log: Option<usize>,
    pub(super) tiles: Tiles,
    /// `None`: none of those on disk.
    pub(super) content: Option<Content>,
    /// Whether values are bytes of the file.
    pub(super) has_file_bytes: bool,
    /// Where the last record of each partition, of a topic by its index, ended.
    last: Vec<((usize, i32), u64)>,
    /// How often another content was looked for.
    searches: u32,
}

/// Holds records against files.
pub(super) struct Checker<'a> {
    pub(super) config: &'a Config,
    host: Vec<u8>,
    pub(super) disk: Disk,
    pub(super) files: Vec<File>,
    index: HashMap<FileTag, usize>,
    /// The file of the last record.
    current: usize,
    /// Files whose content is open, the one that was opened last at the end.
    open: VecDeque<usize>,
    pub(super) report: Report,
}

/// What a record says of where it is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Origin {
    tag: FileTag,
    offset: u64,
    len: u64,
}

impl Origin {
    /// Reads `TAG:OFFSET` or `TAG:OFFSET:LENGTH`.
    pub(super) fn parse(at: &[u8], value_len: usize) -> Option<Origin> {
        let mut parts = at.split(|byte| *byte == b':');
        let tag = FileTag::parse(parts.next()?)?;
        let offset = number(parts.next()?)?;
        let len = match parts.next() {
            Some(len) => number(len)?,
            None => value_len as u64 + 1,
        };
        let is_whole = parts.next().is_none() && len > 0 && offset.checked_add(len).is_some();
        is_whole.then_some(Origin { tag, offset, len })
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    let is_number = matches!(digits.len(), 1..=19) && digits.iter().all(u8::is_ascii_digit);
    let add = |sum: u64, digit: &u8| sum * 10 + u64::from(digit - b'0');
    is_number.then(|| digits.iter().fold(0, add))
}

impl<'a> Checker<'a> {
    pub(super) fn new(config: &'a Config, host: &str, disk: Disk) -> Self {
        Checker {
            config,
            host: host.as_bytes().to_vec(),
            disk,
            files: Vec::new(),
            index: HashMap::new(),
            current: 0,
            open: VecDeque::new(),
            report: Report::default(),
        }
    }

    /// Takes a record of a partition.
    pub(super) fn record(&mut self, topic: usize, partition: i32, record: &Record<'_>) {
        let (mut at, mut path) = (None, None);
        for (name, value) in record.headers() {
            match name {
                b"at" => at = Some(value),
                b"path" => path = Some(Path::new(OsStr::from_bytes(value))),
                b"host" if value != self.host => {
                    self.report.of_others += 1;
                    return;
                }
                _ => {}
            }
        }
        self.report.records += 1;
        let value = record.value.unwrap_or_default();
        let Some(at) = at else {
            self.report.without_origin(path);
            return;
        };
        let place = (topic, partition, record.offset);
        let Some(origin) = Origin::parse(at, value.len()) else {
            self.report.unplaced(Kind::Foreign, place);
            return;
        };
        let file = self.file(origin, path, value);
        let is_right = self.compare(file, origin, value);
        // Of other bytes than those of its line a record does not tell how many they are.
        let is_implied = origin.len == value.len() as u64 + 1;
        let line = match is_right {
            Ok(false) if is_implied => self.line_len(file, origin.offset),
            _ => None,
        };
        let len = line.unwrap_or(origin.len);
        let (start, end) = (origin.offset, origin.offset + len);
        self.explain_before(file, start);
        let known = &mut self.files[file];
        let added = known.tiles.add(start, end);
        let last = known
            .last
            .iter_mut()
            .find(|(of, _)| *of == (topic, partition));
        let was_behind = match last {
            Some((_, last)) => std::mem::replace(last, end) > start,
            None => {
                known.last.push(((topic, partition), end));
                false
            }
        };
        let kind = match (added, is_right) {
            (Added::New, Ok(false)) => Kind::Changed,
            (_, Ok(false)) => Kind::Foreign,
            (Added::Covered, _) if self.report.rewinds.explain(origin.tag, start, end) => return,
            (Added::Covered, _) => Kind::Twice,
            (Added::Overlaps, _) => Kind::Overlap,
            (Added::New, _) if was_behind => Kind::Disorder,
            _ => {
                self.report.good(origin.len, is_right.err());
                return;
            }
        };
        let span = Span {
            file: Some(file),
            start,
            end,
        };
        self.report.found(kind, span, Some(place));
    }

    /// The file of a tag; of a new one, what there is on disk.
    fn file(&mut self, origin: Origin, path: Option<&Path>, value: &[u8]) -> usize {
        let is_same = |file: &File| file.tag == origin.tag;
        if self.files.get(self.current).is_some_and(is_same) {
            return self.current;
        }
        self.current = match self.index.get(&origin.tag) {
            Some(&file) => file,
            None => self.add_file(origin.tag, path, Some((origin, value))),
        };
        self.current
    }

    /// Adds the file of a tag, of which a record may be at hand.
    pub(super) fn add_file(
        &mut self,
        tag: FileTag,
        path: Option<&Path>,
        record: Option<(Origin, &[u8])>,
    ) -> usize {
        let known = self.disk.known(tag).map(|known| known.path.clone());
        let path = path.map(Arc::from).or(known);
        let path: Arc<Path> = path.unwrap_or_else(|| Path::new("?").into());
        let log = section_of(self.config, &path);
        let logs = &self.config.logs;
        let section = log.and_then(|log| logs.get(log)).map(|log| &**log);
        let has_file_bytes = match section {
            Some(section) => has_file_bytes(section),
            None => logs.iter().all(|section| has_file_bytes(section)),
        };
        let strip_cr = section.is_some_and(|section| section.strip_cr);
        let mut is_right = |content: &mut Content| {
            let (origin, value) = record.filter(|_| has_file_bytes)?;
            let bytes = content.read(origin.offset, usize::try_from(origin.len).ok()?);
            Some(is_made_of(value, bytes, origin.len, strip_cr))
        };
        let content = self.disk.find(tag, &path, section, &mut is_right);
        let number = self.files.len();
        if content.is_some() {
            self.note_open(number);
        }
        self.files.push(File {
            tag,
            path,
            log,
            tiles: Tiles::default(),
            content,
            has_file_bytes,
            last: Vec::new(),
            searches: 0,
        });
        self.index.insert(tag, number);
        number
    }

    /// Whether there is a file of this tag.
    pub(super) fn has(&self, tag: FileTag) -> bool {
        self.index.contains_key(&tag)
    }

    /// Whether the value is what lies in the file.
    fn compare(&mut self, file: usize, origin: Origin, value: &[u8]) -> Result<bool, Unheld> {
        let has_file_bytes = self.files[file].has_file_bytes;
        let strip_cr = self.section(file).is_some_and(|section| section.strip_cr);
        let len = usize::try_from(origin.len)
            .ok()
            .filter(|len| *len <= MOST_BYTES)
            .ok_or(Unheld::Long)?;
        let bytes = self.read(file, origin.offset, len).ok_or(Unheld::Gone)?;
        // A copy was made before the line was whole, and the log truncated after that: the rest is in the topic alone.
        let is_cut = bytes.len() < len && (!has_file_bytes || value.starts_with(bytes));
        if !has_file_bytes {
            // What was made of the bytes is not made again; that they are there is known.
            return Err(match is_cut {
                true => Unheld::Gone,
                false => Unheld::Made,
            });
        }
        let is_right = is_made_of(value, bytes, origin.len, strip_cr)
            || self.another_has(file, origin, value, strip_cr);
        match is_cut && !is_right {
            true => Err(Unheld::Gone),
            false => Ok(is_right),
        }
    }

    /// Whether another file on disk has the record, which may have begun with the same line: it is read from then on.
    fn another_has(&mut self, file: usize, origin: Origin, value: &[u8], strip_cr: bool) -> bool {
        let is_known = self.certainty(file) == Some(Certainty::Known);
        if is_known || self.files[file].searches >= MOST_SEARCHES {
            return false;
        }
        self.files[file].searches += 1;
        let (tag, path) = (self.files[file].tag, self.files[file].path.clone());
        let len = usize::try_from(origin.len).unwrap_or(MOST_BYTES);
        let mut has_it = |content: &mut Content| {
            let bytes = content.read(origin.offset, len);
            Some(is_made_of(value, bytes, origin.len, strip_cr))
        };
        let section = self.section(file);
        let other = self.disk.find(tag, &path, section, &mut has_it);
        let is_found = other.is_some();
        if is_found {
            self.files[file].content = other;
            self.note_open(file);
        }
        is_found
    }

    /// How long the line is that begins there on disk.
    fn line_len(&mut self, file: usize, start: u64) -> Option<u64> {
        let bytes = self.read(file, start, MOST_LINE)?;
        memchr::memchr(b'\n', bytes).map(|at| at as u64 + 1)
    }

    fn certainty(&self, file: usize) -> Option<Certainty> {
        let content = self.files.get(file)?.content.as_ref();
        content.map(|content| content.certainty)
    }

    /// The section of a file.
    pub(super) fn section(&self, file: usize) -> Option<&'a LogConfig> {
        let log = self.files.get(file)?.log?;
        self.config.logs.get(log).map(|log| &**log)
    }

    /// Bytes of a file, as many as there are; `None`: it is not on disk.
    pub(super) fn read(&mut self, file: usize, start: u64, len: usize) -> Option<&[u8]> {
        let content = self.files.get(file)?.content.as_ref()?;
        if !content.is_open() {
            self.note_open(file);
        }
        let content = self.files.get_mut(file)?.content.as_mut()?;
        Some(content.read(start, len))
    }

    fn note_open(&mut self, file: usize) {
        self.open.push_back(file);
        if self.open.len() > MOST_OPEN
            && let Some(oldest) = self.open.pop_front().filter(|oldest| *oldest != file)
            && let Some(content) = self.files.get_mut(oldest).and_then(|f| f.content.as_mut())
        {
            content.close();
        }
    }
}

fn has_file_bytes(log: &LogConfig) -> bool {
    log.record
        .as_ref()
        .is_none_or(|record| record.has_file_bytes())
}

/// Whether `value` is what `bytes` make: without the end of the line, and without carriage returns if they are left out.
fn is_made_of(value: &[u8], bytes: &[u8], len: u64, strip_cr: bool) -> bool {
    if bytes.len() as u64 != len {
        return false;
    }
    match bytes.strip_prefix(value) {
        Some(b"" | b"\n") => return true,
        Some(b"\r" | b"\r\n") if strip_cr => return true,
        _ => {}
    }
    if !strip_cr {
        return false;
    }
    let mut made = Vec::with_capacity(bytes.len());
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        match line.strip_suffix(b"\r\n") {
            Some(line) => made.extend([line, b"\n"].concat()),
            None => made.extend_from_slice(line),
        }
    }
    let made = made.strip_suffix(b"\n").unwrap_or(&made);
    value == made || Some(value) == made.strip_suffix(b"\r")
}

/// No record is made of more: pieces and events are bounded by `max_line_bytes`, but for joined ones.
const MOST_BYTES: usize = 8 << 20;
/// No line is longer.
const MOST_LINE: usize = 1 << 20;
/// So many files are open at a time.
const MOST_OPEN: usize = 128;
/// So often another file is looked for that has the bytes of a record.
const MOST_SEARCHES: u32 = 8;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic fails the test")]
mod tests {
    use super::super::explain::Circumstances;
    use super::*;

    #[test]
    fn where_a_record_is_from_is_read_and_anything_else_refused() {
        let parse = |at: &str| Origin::parse(at.as_bytes(), 5).map(|o| (o.tag.0, o.offset, o.len));
        assert_eq!(parse("00c0ffee:0"), Some((0x00c0_ffee, 0, 6)));
        assert_eq!(parse("ffffffff:12:3"), Some((u32::MAX, 12, 3)));
        for wrong in [
            "",
            "00c0ffee",
            "00c0ffee:",
            "00C0FFEE:1",
            "c0ffee:1",
            "00c0ffee:-1",
            "00c0ffee:1:0",
            "00c0ffee:1:2:3",
            "00c0ffee:99999999999999999999",
            "+0c0ffee:1",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_value_is_its_bytes_without_the_end_of_the_line() {
        let is = |value: &str, bytes: &str, strip_cr| {
            is_made_of(
                value.as_bytes(),
                bytes.as_bytes(),
                bytes.len() as u64,
                strip_cr,
            )
        };
        assert!(is("a", "a\n", false) && is("a", "a", false) && is("", "\n", false));
        assert!(!is("a", "a\r\n", false) && is("a", "a\r\n", true) && is("a", "a\r", true));
        assert!(is("a\nb", "a\r\nb\r\n", true) && is("a\nb", "a\nb\n", false));
        assert!(!is("a", "b\n", true) && !is("a", "a\nb", true) && !is("a", "ab\n", true));
        assert!(!is_made_of(b"a", b"a", 2, false), "the file ends before");
    }

    /// Headers as they are in a batch.
    fn encoded(headers: &[(&str, &str)]) -> Vec<u8> {
        let number = |len: usize| {
            let low = u8::try_from(len * 2 % 128).unwrap();
            match u8::try_from(len / 64).unwrap() {
                0 => vec![low],
                high => vec![low | 128, high],
            }
        };
        let text = |text: &str| [&number(text.len()), text.as_bytes()].concat();
        let each = headers.iter();
        let each = each.map(|(name, value)| [text(name), text(value)].concat());
        [number(headers.len()), each.collect::<Vec<_>>().concat()].concat()
    }

    fn config(text: &str) -> Config {
        let text = format!("[kafka]\nbrokers = a:1\ntopic = new\n[log:app]\n{text}\n");
        Config::parse(&text, Path::new("a.ini"), &|_| None).unwrap()
    }

    #[test]
    fn the_order_holds_in_a_partition_of_a_topic_and_not_between_topics() {
        let config = config("path = /no/such/*.log");
        let mut checker = Checker::new(&config, "node7", Disk::new(Vec::new()));
        let mut take = |topic, at: &str| {
            let headers = encoded(&[("at", at)]);
            checker.record(topic, 0, &Record::of_value(b"line", &headers));
            checker.report.code()
        };
        // What follows was sent to the topic of before, which is read behind the other one.
        assert_eq!(take(0, "00c0ffee:20"), 0);
        assert_eq!(take(1, "00c0ffee:5"), 0);
        assert_eq!(take(1, "00c0ffee:0"), 1, "out of order in its topic");
    }

    #[test]
    fn what_a_section_left_behind_that_is_gone_is_not_told_as_if_it_were_to_come() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.log");
        std::fs::write(&path, "line1\nline 2\n").unwrap();
        let said = |named: &str| {
            let config = config(&format!("path = {}", folder.path().join(named).display()));
            let mut checker = Checker::new(&config, "node7", Disk::new(Vec::new()));
            let headers = encoded(&[("at", "00c0ffee:0"), ("path", path.to_str().unwrap())]);
            checker.record(0, 0, &Record::of_value(b"line1", &headers));
            checker.explain_gaps(&mut Circumstances::default());
            let mut screen = Vec::new();
            checker.report.print(&checker.files, &mut screen).unwrap();
            String::from_utf8(screen).unwrap()
        };
        let (here, gone) = (said("*.log"), said("other.log"));
        assert!(here.contains(" 7  bytes not sent yet\n"), "{here}");
        let words = " 7  bytes not sent: no section names the file now\n";
        assert!(gone.contains(words) && !gone.contains(" yet"), "{gone}");
    }
}
