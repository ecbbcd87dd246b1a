//! Which names rotation gives, and how they are ordered. Names alone, no files.
//!
//! What is added to the name of a log is a *stamp* (a counter, a date, or a date and a counter; [`stamp`]), a
//! word such as `.bak`, and the ending of a compression. Where the stamp stands decides how much is believed:
//! after the whole name (`app.log.1`) any counter is one; before the extension (`app.1.log`) a port, a process or
//! a shard is as likely, so only a short number after a dot is a counter, while a date is one anywhere.
//!
//! Two names of one scheme are ordered by what they say; all others by their files' times ([`order`]).

use std::cmp::Ordering;

use stamp::{Layout, Place, Stamp};

mod order;
mod stamp;
#[cfg(test)]
mod tests;

/// A name that rotation gives to what lay at another name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RotatedName {
    scheme: Scheme,
    date: u64,
    numbers: Vec<u64>,
    is_compressed: bool,
}

/// What names must have in common to be ordered by what they say.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Scheme {
    form: Form,
    layout: Layout,
    /// Words such as `.bak`, one after the other.
    words: Vec<u8>,
    /// A date that cannot be ordered: those of one such date are still ordered by their counters.
    unordered_date: u64,
}

/// Where a name differs from the log's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Form {
    After,
    Within,
    Before,
    /// The name says nothing, the folder is dated.
    Folder,
}

/// Which of two counters is the younger one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counting {
    /// The lowest is the youngest: logrotate, log4j2 with `fileIndex="min"`, Python.
    Down,
    /// The highest is the youngest: log4j2 by default, logback with a date, flexi_logger.
    Up,
}

impl RotatedName {
    /// What `name` says, if rotation gives such a name to what lay at `base` in the same folder.
    pub(super) fn parse(base: &[u8], name: &[u8]) -> Option<Self> {
        if base.is_empty() || name == base {
            return None;
        }
        (base == CURRENT)
            .then(|| Self::of_current(name))
            .flatten()
            .or_else(|| Self::after(name.strip_prefix(base)?))
            .or_else(|| Self::before(base, name))
            .or_else(|| Self::within(base, name))
    }

    /// As [`RotatedName::parse`] for a `name` in folders below that of the log, which are dated; `folders` is
    /// their path from there, such as `2026/11`. There, `base` itself is a rotated name too.
    pub(super) fn parse_below(folders: &[u8], base: &[u8], name: &[u8]) -> Option<Self> {
        let folder = Stamp::parse(&[b"-", folders].concat(), Place::After)?;
        let plain = Words::strip(name);
        let mut parsed = if plain.rest == base {
            RotatedName::new(Form::Folder, Stamp::word(), plain)
        } else {
            Self::parse(base, name)?
        };
        if matches!(parsed.scheme.layout, Layout::Word | Layout::Count) {
            parsed.scheme.layout = folder.layout;
            parsed.date = folder.date;
            parsed.numbers = [folder.numbers, parsed.numbers].concat();
        }
        Some(parsed)
    }

    /// Whether the name is that of an archive, of any compression.
    #[cfg(test)]
    pub(super) fn is_compressed(&self) -> bool {
        self.is_compressed
    }

    #[cfg(test)]
    /// `Less` if this file was rotated before the `other`. `None`: the names do not say it, since they are not of
    /// one scheme. `Equal`: a file and its archive.
    #[cfg_attr(not(test), expect(dead_code, reason = "wired by the tailer's plan"))]
    pub(super) fn compare(&self, other: &Self, counting: Counting) -> Option<Ordering> {
        (self.scheme == other.scheme).then(|| self.compare_in_scheme(other, counting))
    }

    /// Whether a date or a counter tells it from other rotated files. A name without one (`.save`) is given again and
    /// again, by persons too.
    pub(super) fn is_numbered(&self) -> bool {
        self.scheme.layout != Layout::Word
    }

    /// How names like this one are counted unless the times of the files say otherwise.
    pub(super) fn usual_counting(&self) -> Counting {
        match self.scheme.layout {
            Layout::Count => Counting::Down,
            _ => Counting::Up,
        }
    }

    fn compare_in_scheme(&self, other: &Self, counting: Counting) -> Ordering {
        let numbers = self.numbers.cmp(&other.numbers);
        let numbers = match counting == Counting::Down && self.differs_in_counter(other) {
            true => numbers.reverse(),
            false => numbers,
        };
        self.date.cmp(&other.date).then(numbers)
    }

    /// Whether both are of one date and time, and of different counters, as far as such a name tells.
    fn differs_in_counter(&self, other: &Self) -> bool {
        let (Some((one, before)), Some((another, same_before))) =
            (self.numbers.split_last(), other.numbers.split_last())
        else {
            return false;
        };
        self.date == other.date && before == same_before && one != another
    }

    fn new(form: Form, stamp: Stamp, words: Words<'_>) -> Self {
        let is_unordered = stamp.layout == Layout::Unordered;
        RotatedName {
            scheme: Scheme {
                form,
                layout: stamp.layout,
                words: words.words,
                unordered_date: if is_unordered { stamp.date } else { 0 },
            },
            date: stamp.date,
            numbers: stamp.numbers,
            is_compressed: words.is_compressed,
        }
    }

    /// What daemontools and their like make of `current`.
    fn of_current(name: &[u8]) -> Option<Self> {
        let words = Words::strip(name);
        let stamp = match words.rest {
            // So it is called while what was named with `!` processes it.
            b"previous" => Stamp::word(),
            label => Stamp::tai(label)?,
        };
        Some(Self::new(Form::After, stamp, words))
    }

    /// `added` stands after the whole name of the log.
    fn after(added: &[u8]) -> Option<Self> {
        let mut words = Words::strip(added);
        if words.rest.is_empty() {
            return words
                .has_any()
                .then(|| Self::new(Form::After, Stamp::word(), words));
        }
        let stamp = Stamp::parse(words.rest, Place::After).or_else(|| {
            // A counter of backups: app.log.bak.1.
            let word = WORDS.iter().find(|word| words.rest.starts_with(word))?;
            words.words.extend_from_slice(word);
            Stamp::parse(&words.rest[word.len()..], Place::After)
        })?;
        Some(Self::new(Form::After, stamp, words))
    }

    fn before(base: &[u8], name: &[u8]) -> Option<Self> {
        let words = Words::strip(name);
        let prefix = words.rest.strip_suffix(base)?;
        let (separator, prefix) = prefix.split_last()?;
        let stamp = Stamp::parse(prefix, Place::Before).filter(|_| b"-_.".contains(separator))?;
        Some(Self::new(Form::Before, stamp, words))
    }

    fn within(base: &[u8], name: &[u8]) -> Option<Self> {
        for (nth, dot) in extension_starts(base).enumerate() {
            let (stem, extension) = base.split_at(dot);
            // An extension may be one of the words itself.
            let Some(added) = name.strip_prefix(stem) else {
                continue;
            };
            let found = [Words::none(added), Words::strip(added)]
                .into_iter()
                .find_map(|words| Self::within_words(extension, words))
                // Before an extension of two parts, only a date is no part of another log's name.
                .filter(|name| nth == 0 || matches!(name.scheme.layout, Layout::Day { .. }));
            if found.is_some() {
                return found;
            }
        }
        None
    }

    fn within_words(extension: &[u8], mut words: Words<'_>) -> Option<Self> {
        if let Some(middle) = words.rest.strip_suffix(extension) {
            if WORDS.contains(&middle) {
                words.words.extend_from_slice(middle);
                return Some(Self::new(Form::Within, Stamp::word(), words));
            }
            let stamp = Stamp::parse(middle, Place::Within)?;
            return Some(Self::new(Form::Within, stamp, words));
        }
        // A file of one date that was full: app-2026-11-27.log.1.
        let dot = words.rest.iter().rposition(|&b| b == b'.')?;
        let (dated, count) = words.rest.split_at(dot);
        let count = Stamp::parse(count, Place::Within).filter(|s| s.layout == Layout::Count)?;
        let mut stamp = Stamp::parse(dated.strip_suffix(extension)?, Place::Within)
            .filter(|stamp| matches!(stamp.layout, Layout::Day { .. } | Layout::Unordered))?;
        stamp.numbers.extend(count.numbers);
        Some(Self::new(Form::Within, stamp, words))
    }
}

/// What stands at the end of a name, and the `rest` before it.
struct Words<'a> {
    rest: &'a [u8],
    words: Vec<u8>,
    is_compressed: bool,
}

impl<'a> Words<'a> {
    fn none(name: &'a [u8]) -> Self {
        Words {
            rest: name,
            words: Vec::new(),
            is_compressed: false,
        }
    }

    fn strip(name: &'a [u8]) -> Self {
        let mut found = Words::none(name);
        for _ in 0..MAX_WORDS {
            if let Some(rest) = strip_any(found.rest, COMPRESSIONS) {
                (found.rest, found.is_compressed) = (rest, true);
            } else if let Some(rest) = strip_any(found.rest, WORDS) {
                found.words.extend_from_slice(&found.rest[rest.len()..]);
                found.rest = rest;
            } else {
                break;
            }
        }
        found
    }

    fn has_any(&self) -> bool {
        self.is_compressed || !self.words.is_empty()
    }
}

/// Where the extension of `base` starts, and where those of more parts do, such as `.log.json`. Parts of anything
/// but letters are of the log's own name.
fn extension_starts(base: &[u8]) -> impl Iterator<Item = usize> {
    let mut dots = (1..base.len()).rev().filter(|&dot| base[dot] == b'.');
    let last = dots.next();
    let earlier = dots.scan(last.unwrap_or(0), |end, dot| {
        let is_extension = base[dot + 1..*end].iter().all(u8::is_ascii_alphabetic);
        *end = dot;
        is_extension.then_some(dot)
    });
    last.into_iter().chain(earlier)
}

fn strip_any<'a>(name: &'a [u8], endings: &[&[u8]]) -> Option<&'a [u8]> {
    endings.iter().find_map(|ending| name.strip_suffix(*ending))
}

/// Whether `name` is the label that multilog, svlogd or s6-log gives to what it has rotated, packed or not.
pub(super) fn is_label(name: &[u8]) -> bool {
    Stamp::tai(name).is_some()
}

/// The name of the log that rotation made `name` from, if the name alone tells: `app.log` for `app.1.log`. It is
/// a guess that may be wrong only where a log's own name looks like a rotated one.
pub(super) fn family_base(name: &[u8]) -> Option<Vec<u8>> {
    let plain = Words::strip(name);
    let base = if Stamp::tai(plain.rest).is_some() {
        CURRENT.to_vec()
    } else if let Some(base) = without_stamp_at_end(plain.rest, Place::After) {
        base.to_vec()
    } else if let Some(base) = without_stamp_within(plain.rest) {
        base
    } else if let Some(base) = without_stamp_before(plain.rest) {
        base.to_vec()
    } else {
        plain.rest.to_vec()
    };
    RotatedName::parse(&base, name).map(|_| base)
}

/// What names have in common that a rotation gives in a way of its own: the name with each number, and each name of a
/// month, as a mark, and without the ending of a compression. `None` where nothing tells it from others.
pub(super) fn scheme_of(name: &[u8]) -> Option<Vec<u8>> {
    let name = strip_any(name, COMPRESSIONS).unwrap_or(name);
    let mut scheme = Vec::with_capacity(name.len());
    let class = |byte: &u8| (byte.is_ascii_digit(), byte.is_ascii_alphabetic());
    for run in name.chunk_by(|a, b| class(a) == class(b)) {
        match run.first().map(class) {
            Some((true, _)) => scheme.push(0),
            Some((_, true)) if MONTHS.iter().any(|month| run.eq_ignore_ascii_case(month)) => {
                scheme.push(1);
            }
            _ => scheme.extend_from_slice(run),
        }
    }
    scheme.contains(&0).then_some(scheme)
}

fn without_stamp_at_end(name: &[u8], place: Place) -> Option<&[u8]> {
    // What is taken for a number after a name that is known may be anything after one that is guessed.
    let is_sure = |stamp: &Stamp| match stamp.layout {
        Layout::Count => true,
        Layout::Run | Layout::YearPart | Layout::Day { .. } | Layout::Epoch => true,
        Layout::Unordered => stamp.date > 9999,
        _ => false,
    };
    let is_dotted = |stamp: &Stamp, at: usize| stamp.layout != Layout::Count || name[at] == b'.';
    // The longest one: the date and not only the counter after it.
    (1..name.len())
        .find(|&at| {
            Stamp::parse(&name[at..], place).is_some_and(|s| is_sure(&s) && is_dotted(&s, at))
        })
        .map(|at| &name[..at])
}

fn without_stamp_within(name: &[u8]) -> Option<Vec<u8>> {
    let dot = name.iter().rposition(|&b| b == b'.')?;
    let (stem, extension) = name.split_at(dot);
    if !extension[1..].iter().any(u8::is_ascii_alphabetic) {
        return None;
    }
    let stem = without_stamp_at_end(stem, Place::Within)?;
    Some([stem, extension].concat())
}

fn without_stamp_before(name: &[u8]) -> Option<&[u8]> {
    (1..name.len().saturating_sub(1))
        .rev()
        .find(|&at| {
            b"-_.".contains(&name[at]) && Stamp::parse(&name[..at], Place::Before).is_some()
        })
        .map(|at| &name[at + 1..])
}

/// A folder whose name is a date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DatedFolder {
    /// `2026`; the folders below may be named by month.
    Year,
    /// `2026-11`, `202611`, or `11` in one of a year; the folders below may be named by day.
    Month,
    /// `2026-11-27`, `20261127`, or `27` in one of a month.
    Day,
}

impl DatedFolder {
    /// What `name` says in a folder that is dated as `parent`, or not at all.
    pub(super) fn parse(name: &[u8], parent: Option<DatedFolder>) -> Option<Self> {
        let is_number = !name.is_empty() && name.iter().all(u8::is_ascii_digit);
        let value = || std::str::from_utf8(name).ok()?.parse::<u64>().ok();
        match (name.len(), parent) {
            (2, Some(DatedFolder::Year)) if is_number && stamp::is_month(value()?) => {
                Some(DatedFolder::Month)
            }
            (2, Some(DatedFolder::Month)) if is_number && stamp::is_day(value()?) => {
                Some(DatedFolder::Day)
            }
            (4, _) if is_number && stamp::is_year(value()?) => Some(DatedFolder::Year),
            _ => {
                let stamp = Stamp::parse(&[b"-", name].concat(), Place::Within)?;
                match stamp.layout {
                    Layout::Day { glued: 0 } if stamp.numbers.is_empty() => Some(DatedFolder::Day),
                    Layout::YearPart if stamp.numbers.is_empty() => Some(DatedFolder::Month),
                    _ => None,
                }
            }
        }
    }
}

/// What daemontools and their like write to.
const CURRENT: &[u8] = b"current";

/// Names of months, as dates of rotation have them.
const MONTHS: &[&[u8]] = &[
    b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec",
];

/// Words of those who keep one file from before.
const WORDS: &[&[u8]] = &[
    b".old", b".bak", b".prev", b"~", b".backup", b".orig", b".save",
];

/// Endings of compressed files and of archives, more than can be read here.
pub(super) const COMPRESSIONS: &[&[u8]] = &[
    b".gz", b".zst", b".bz2", b".xz", b".Z", b".lz4", b".zip", b".lz", b".lzma", b".lzo", b".br",
    b".7z", b".rar", b".tar", b".tgz", b".tbz2", b".txz",
];

/// Of words and endings of compressions in one name.
const MAX_WORDS: usize = 3;

/// Each rotated name of `base` begins with one of these, or with a date before it (see [`starts_after_date`]), and
/// so does `base` itself.
pub(in crate::tail) fn prefixes(base: &[u8]) -> Vec<Vec<u8>> {
    let mut dots = extension_starts(base);
    let stem = dots.next().map_or(base, |dot| &base[..dot]);
    let mut prefixes = vec![stem.to_vec()];
    // Before an extension of two parts stands a full date or nothing.
    for dot in dots {
        for separator in ["", ".", "-", "_"] {
            for century in ["19", "20"] {
                let added = [separator.as_bytes(), century.as_bytes()].concat();
                prefixes.push([&base[..dot], &added].concat());
            }
        }
    }
    if base == CURRENT {
        prefixes.extend([b"@".to_vec(), b"previous".to_vec()]);
    }
    prefixes
}

/// Where in `name` that of the log may start, if a date stands before it.
pub(in crate::tail) fn starts_after_date(name: &[u8]) -> impl Iterator<Item = usize> {
    let is_dated = name.first().is_some_and(u8::is_ascii_digit);
    let ends = 1..if is_dated { name.len() } else { 1 };
    ends.filter(|&at| {
        b"-_.".contains(&name[at]) && Stamp::parse(&name[..at], Place::Before).is_some()
    })
    .map(|at| at + 1)
}
