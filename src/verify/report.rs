//! What was found, counted, and shown: a screen for a person, or one JSON object.

use std::collections::HashSet;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use super::check::File;
use super::nowhere::Nowhere;
use super::rewound::Rewinds;
use crate::record::json_text::push_string;
use crate::shown::{ShownPath, wrap};

/// What is not as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Bytes that were acknowledged, or lie before others that are there, and are in no record.
    Missing,
    /// Bytes that are in two records.
    Twice,
    /// A record that is not what the file holds at its place.
    Changed,
    /// A record of something else at a place that another one has, or at none.
    Foreign,
    /// A record that lies behind a later one of its file.
    Disorder,
    /// Records whose bytes are partly those of another one.
    Overlap,
    /// A record batch that cannot be read.
    Unreadable,
}

const KINDS: [(Kind, &str); 7] = [
    (Kind::Missing, "missing"),
    (Kind::Twice, "twice"),
    (Kind::Changed, "changed"),
    (Kind::Foreign, "foreign"),
    (Kind::Disorder, "out of order"),
    (Kind::Overlap, "overlapping"),
    (Kind::Unreadable, "unreadable"),
];

/// Why bytes are in no record, and are not missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    Dropped,
    Nul,
    DeadLetter,
    Expired,
    NotRead,
    BeforeStart,
    WithoutOrigin,
    Unnamed,
    Unfollowed,
    Lost,
    Untold,
}

const REASONS: [(Reason, &str, &str); 11] = [
    (Reason::Dropped, "dropped", "dropped by the section's rules"),
    (Reason::Nul, "nul", "NULs that nobody wrote"),
    (
        Reason::DeadLetter,
        "dead_letters",
        "refused by Kafka: dead letters",
    ),
    (
        Reason::Expired,
        "expired",
        "older than what the topics keep",
    ),
    (Reason::NotRead, "not_read", "outside of what was asked for"),
    (Reason::BeforeStart, "before_start", "before start_at = end"),
    (
        Reason::WithoutOrigin,
        "without_at",
        "from before provenance was on",
    ),
    (
        Reason::Unnamed,
        "unnamed",
        "not looked for: no section names the file now",
    ),
    (
        Reason::Unfollowed,
        "unfollowed",
        "not sent: no section names the file now",
    ),
    (
        Reason::Lost,
        "lost",
        "lost before they were read: see LOST of 'logagent status'",
    ),
    (Reason::Untold, "untold", "nobody can tell: dropped perhaps"),
];

/// Why the value of a record is not held against the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unheld {
    /// It is no bytes of the file, but was made of them.
    Made,
    /// The file is not on disk, or ends before.
    Gone,
    /// It is made of too many bytes.
    Long,
}

const UNHELD: [(Unheld, &str, &str); 3] = [
    (
        Unheld::Made,
        "made",
        "of them masked, decoded or formatted: only looked for",
    ),
    (
        Unheld::Gone,
        "gone",
        "of them of files that are not on disk",
    ),
    (
        Unheld::Long,
        "long",
        "of them in records too long to be held against it",
    ),
];

/// Bytes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    /// Index of the file; `None`: of none.
    pub(super) file: Option<usize>,
    pub(super) start: u64,
    pub(super) end: u64,
}

/// Index of a topic, partition, offset.
pub(super) type Place = (usize, i32, i64);

/// One finding, or several that follow on each other.
#[derive(Debug)]
struct Finding {
    kind: Kind,
    span: Span,
    records: u64,
    place: Option<Place>,
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) topics: Vec<String>,
    /// Records of this host.
    pub(super) records: u64,
    /// Records of other hosts.
    pub(super) of_others: u64,
    /// Records of transactions that were aborted.
    pub(super) aborted: u64,
    /// Topics of the ini that do not exist.
    pub(super) nowhere: Vec<Nowhere>,
    /// How often bytes may have gone before anybody saw them.
    pub(super) perhaps_lost: u64,
    /// What was sent again because somebody wanted it.
    pub(super) rewinds: Rewinds,
    without_at: u64,
    paths_without_at: HashSet<Arc<Path>>,
    good_bytes: u64,
    /// Of these, those that were held against the disk.
    compared_bytes: u64,
    /// And those that were not, by the reason.
    unheld: [u64; UNHELD.len()],
    files_on_disk: u64,
    files_gone: u64,
    unsent_bytes: u64,
    explained: [u64; REASONS.len()],
    /// Of each kind: findings, and bytes.
    counts: [(u64, u64); KINDS.len()],
    findings: Vec<Finding>,
}

impl Report {
    /// A record without the header `at`.
    pub(super) fn without_origin(&mut self, path: Option<&Path>) {
        self.without_at += 1;
        if let Some(path) = path
            && self.paths_without_at.len() < MOST_PATHS
            && !self.paths_without_at.contains(path)
        {
            self.paths_without_at.insert(path.into());
        }
    }

    /// Whether a record without `at` was met of a path.
    pub(super) fn had_no_origin(&self, path: &Path) -> bool {
        self.paths_without_at.contains(path)
    }

    /// A record that is as it should be, as far as that can be told.
    pub(super) fn good(&mut self, bytes: u64, unheld: Option<Unheld>) {
        self.good_bytes += bytes;
        self.compared_bytes += if unheld.is_none() { bytes } else { 0 };
        for ((reason, ..), count) in UNHELD.iter().zip(&mut self.unheld) {
            *count += if unheld == Some(*reason) { bytes } else { 0 };
        }
    }

    pub(super) fn explained(&mut self, reason: Reason, bytes: u64) {
        for ((known, ..), count) in REASONS.iter().zip(&mut self.explained) {
            *count += if *known == reason { bytes } else { 0 };
        }
    }

    /// A file, whether it is on disk, and what of it is not sent yet.
    pub(super) fn note_file(&mut self, is_on_disk: bool, unsent_bytes: u64) {
        self.files_on_disk += u64::from(is_on_disk);
        self.files_gone += u64::from(!is_on_disk);
        self.unsent_bytes += unsent_bytes;
    }

    /// A record, or batch, that is of no file.
    pub(super) fn unplaced(&mut self, kind: Kind, place: Place) {
        let span = Span {
            file: None,
            start: 0,
            end: 0,
        };
        self.found(kind, span, Some(place));
    }

    pub(super) fn found(&mut self, kind: Kind, span: Span, place: Option<Place>) {
        let bytes = span.end - span.start;
        for ((known, _), count) in KINDS.iter().zip(&mut self.counts) {
            if *known == kind {
                *count = (count.0 + 1, count.1 + bytes);
            }
        }
        if let Some(last) = self.findings.last_mut()
            && last.kind == kind
            && last.span.file == span.file
            && last.span.end == span.start
            && span.file.is_some()
        {
            last.span.end = span.end;
            last.records += 1;
            return;
        }
        if self.findings.len() < MOST_FINDINGS {
            self.findings.push(Finding {
                kind,
                span,
                records: 1,
                place,
            });
        }
    }

    /// The exit code.
    pub(super) fn code(&self) -> u8 {
        let is_different = self.is_different();
        let untold = REASONS.iter().zip(&self.explained);
        let mut untold = untold.filter(|((reason, ..), _)| *reason == Reason::Untold);
        match (
            is_different || self.has_lost(),
            untold.any(|(_, bytes)| *bytes > 0),
        ) {
            (true, _) => 1,
            (false, true) => 2,
            (false, false) => 0,
        }
    }

    fn is_different(&self) -> bool {
        let waits = self.nowhere.iter().any(|topic| topic.bytes > 0);
        waits || self.counts.iter().any(|(count, _)| *count > 0)
    }

    fn has_lost(&self) -> bool {
        let mut all = REASONS.iter().zip(&self.explained);
        all.any(|((reason, ..), bytes)| *reason == Reason::Lost && *bytes > 0)
    }

    /// Prints it for a person.
    pub(super) fn print(&self, files: &[File], out: &mut dyn Write) -> io::Result<()> {
        let mut row = |count: u64, words: &str| match count {
            0 => Ok(()),
            count => {
                let mut lines = String::new();
                wrap(&mut lines, &format!("{:>22}  ", grouped(count)), words);
                out.write_all(lines.as_bytes())
            }
        };
        row(self.records, "records")?;
        row(files.len() as u64, "files")?;
        row(self.files_gone, "of them not on disk any more")?;
        row(self.good_bytes, "bytes in the topic once")?;
        row(self.compared_bytes, "of them held against the disk")?;
        for ((_, _, words), bytes) in UNHELD.iter().zip(&self.unheld) {
            row(*bytes, words)?;
        }
        for ((_, _, words), bytes) in REASONS.iter().zip(&self.explained) {
            row(*bytes, &format!("bytes {words}"))?;
        }
        row(
            self.perhaps_lost,
            "times bytes may have been lost before they were seen: see LOST of 'logagent status'",
        )?;
        row(self.unsent_bytes, "bytes not sent yet")?;
        for (bytes, words) in self.rewinds.rows() {
            row(bytes, &words)?;
        }
        row(
            self.without_at,
            "records without the header 'at': nothing is known of them",
        )?;
        row(self.of_others, "records of other hosts")?;
        row(
            self.aborted,
            "records of aborted transactions, which no consumer sees",
        )?;
        for topic in &self.nowhere {
            write!(out, "{}", topic.shown(WIDTH))?;
        }
        for finding in self.findings.iter().take(MOST_SHOWN) {
            writeln!(out, "{}", self.shown(finding, files))?;
        }
        let left = self.findings.len().saturating_sub(MOST_SHOWN);
        if left > 0 {
            writeln!(
                out,
                "... and {left} more; --json has {MOST_FINDINGS} of them"
            )?;
        }
        for ((_, name), (count, bytes)) in KINDS.iter().zip(&self.counts) {
            if *count > 0 {
                writeln!(
                    out,
                    "{name}: {} ({} bytes)",
                    grouped(*count),
                    grouped(*bytes)
                )?;
            }
        }
        match self.code() {
            0 if self.rewinds.records > 0 => {
                writeln!(out, "all bytes are there, once but for what was rewound")
            }
            0 => writeln!(out, "all bytes are there, once"),
            1 if !self.is_different() => writeln!(
                out,
                "what was read is there, but bytes were lost before: see above"
            ),
            1 => writeln!(out, "there are differences"),
            _ => writeln!(out, "no difference was found, but not all can be told"),
        }
    }

    /// Two lines of at most 80 columns: what, and where.
    fn shown(&self, finding: &Finding, files: &[File]) -> String {
        let name = name_of(finding.kind);
        let Span { file, start, end } = finding.span;
        let mut text = format!("{name:<13}");
        if let Some(file) = file.and_then(|file| files.get(file)) {
            let path = ShownPath(&file.path).to_string();
            let range = format!("{start}..{end}");
            let room = WIDTH.saturating_sub(13 + 1 + range.len());
            let count = path.chars().count();
            if count > room {
                let cut: String = path.chars().skip(count - room.saturating_sub(3)).collect();
                text.push_str(&format!("...{cut} {range}"));
            } else {
                text.push_str(&format!("{path} {range}"));
            }
        }
        if let Some((topic, partition, offset)) = finding.place {
            let topic = self.topics.get(topic).map_or("", String::as_str);
            let room = WIDTH.saturating_sub(13 + 24 + 20);
            let topic: String = topic.chars().take(room).collect();
            let break_ = if file.is_some() {
                "\n             "
            } else {
                ""
            };
            let many = match finding.records {
                1 => String::new(),
                count => format!(" and {} more", count - 1),
            };
            text.push_str(&format!(
                "{break_}{topic}-{partition} offset {offset}{many}"
            ));
        }
        text
    }

    /// Prints it as one JSON object on one line.
    pub(super) fn print_json(&self, files: &[File], out: &mut dyn Write) -> io::Result<()> {
        let mut json = Vec::new();
        let mut number = |name: &str, count: u64| {
            json.push(if json.is_empty() { b'{' } else { b',' });
            json.extend(format!("\"{name}\":{count}").into_bytes());
        };
        number("exit_code", self.code().into());
        number("records", self.records);
        number("files", files.len() as u64);
        number("files_gone", self.files_gone);
        number("good_bytes", self.good_bytes);
        number("compared_bytes", self.compared_bytes);
        for ((_, name, _), bytes) in UNHELD.iter().zip(&self.unheld) {
            number(&format!("uncompared_{name}_bytes"), *bytes);
        }
        for ((_, name, _), bytes) in REASONS.iter().zip(&self.explained) {
            number(&format!("{name}_bytes"), *bytes);
        }
        number("perhaps_lost", self.perhaps_lost);
        number("unsent_bytes", self.unsent_bytes);
        number("records_without_at", self.without_at);
        number("records_of_other_hosts", self.of_others);
        number("records_rewound", self.rewinds.records);
        number("rewound_bytes", self.rewinds.bytes);
        number("records_aborted", self.aborted);
        for ((_, name), (count, bytes)) in KINDS.iter().zip(&self.counts) {
            let name = name.replace(' ', "_");
            number(&name, *count);
            number(&format!("{name}_bytes"), *bytes);
        }
        json.extend(b",\"rewinds\":[");
        for (n, ((at, path), bytes)) in self.rewinds.each().into_iter().enumerate() {
            let comma = if n > 0 { "," } else { "" };
            let at = humantime::format_rfc3339_seconds(at);
            json.extend(format!("{comma}{{\"at\":\"{at}\",\"path\":").into_bytes());
            push_string(&mut json, path.as_bytes());
            json.extend(format!(",\"bytes\":{bytes}}}").into_bytes());
        }
        json.extend(b"],\"missing_topics\":[");
        for (at, topic) in self.nowhere.iter().enumerate() {
            json.extend(if at > 0 { &b","[..] } else { b"" });
            topic.push_json(&mut json);
        }
        json.extend(b"],\"findings\":[");
        for (at, finding) in self.findings.iter().enumerate() {
            if at > 0 {
                json.push(b',');
            }
            self.push_finding(finding, files, &mut json);
        }
        json.extend(b"]}\n");
        out.write_all(&json)
    }

    fn push_finding(&self, finding: &Finding, files: &[File], json: &mut Vec<u8>) {
        let Span { file, start, end } = finding.span;
        let head = format!(
            "{{\"kind\":\"{}\",\"records\":{}",
            name_of(finding.kind),
            finding.records
        );
        json.extend(head.into_bytes());
        if let Some(file) = file.and_then(|file| files.get(file)) {
            json.extend(b",\"path\":");
            push_string(json, ShownPath(&file.path).to_string().as_bytes());
            let at = format!(",\"file\":\"{}\",\"start\":{start},\"end\":{end}", file.tag);
            json.extend(at.into_bytes());
        }
        if let Some((topic, partition, offset)) = finding.place {
            json.extend(b",\"topic\":");
            let topic = self.topics.get(topic).map_or("", String::as_str);
            push_string(json, topic.as_bytes());
            json.extend(format!(",\"partition\":{partition},\"offset\":{offset}").into_bytes());
        }
        json.push(b'}');
    }
}

fn name_of(kind: Kind) -> &'static str {
    let named = KINDS.iter().find(|(known, _)| *known == kind);
    named.map_or("", |(_, name)| name)
}

/// `1234567` as `1,234,567`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

const WIDTH: usize = 80;
/// Findings that a screen names.
const MOST_SHOWN: usize = 20;
/// Findings that are kept.
const MOST_FINDINGS: usize = 1_000;
const MOST_PATHS: usize = 10_000;
