//! The dates and counters that rotation puts into names.

/// Where a stamp stands in a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// After the whole name of the log: `app.log.1`. Nothing else is named so, so much is believed.
    After,
    /// Before the extension: `app.1.log`. Ports and numbers of processes stand there too.
    Within,
    /// Before the name of the log: `20261127-1015-01-app.log`.
    Before,
}

/// How a stamp is read; stamps of one layout can be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Layout {
    /// A counter alone, of which the highest or the lowest may be the youngest.
    Count,
    /// flexi_logger's `_r00001`.
    Run,
    /// A year alone.
    Year,
    /// A year and its month or week.
    YearPart,
    /// A day, with as many digits of a time of day glued to it.
    Day { glued: u8 },
    /// Seconds since 1970.
    Epoch,
    /// A date whose text does not say how it is ordered: 11-12-2026, 11-27.
    Unordered,
    /// A TAI64N label.
    Tai,
    /// No stamp: a word such as `.bak`.
    Word,
}

/// What rotation put into a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) layout: Layout,
    /// The date as a number that grows with it.
    pub(super) date: u64,
    /// What follows on the date: a time of day, a counter, both.
    pub(super) numbers: Vec<u64>,
}

/// Digits and what separates them from those before.
#[derive(Debug, Clone, Copy)]
struct Group<'a> {
    separator: &'a [u8],
    digits: &'a [u8],
}

impl Stamp {
    pub(super) fn word() -> Self {
        Stamp {
            layout: Layout::Word,
            date: 0,
            numbers: Vec::new(),
        }
    }

    /// The stamp that is the whole of `text`.
    pub(super) fn parse(text: &[u8], place: Place) -> Option<Self> {
        if let Some(run) = text.strip_prefix(b"_r").filter(|_| place != Place::Before) {
            return (run.len() <= 9 && run.iter().all(u8::is_ascii_digit))
                .then(|| number(run))?
                .map(|count| Stamp {
                    layout: Layout::Run,
                    date: 0,
                    numbers: vec![count],
                });
        }
        let groups = groups(text)?;
        let date = Date::of(&groups, place);
        match place {
            Place::Before => date.filter(|date| matches!(date.layout, Layout::Day { .. }))?,
            Place::Within | Place::After => match date {
                Some(date) => date,
                None => return lone_number(&groups, place),
            },
        }
        .stamp(&groups)
    }

    /// The label of a file of multilog, svlogd or s6-log: `@`, 24 digits of TAI64N, and whether it is complete.
    pub(super) fn tai(name: &[u8]) -> Option<Self> {
        let label = name.strip_prefix(b"@")?;
        let label = [b".s", b".u", b".t"]
            .iter()
            .find_map(|ending| label.strip_suffix(*ending))?;
        let is_hex = |b: &u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        if label.len() != 24 || !label.iter().all(is_hex) {
            return None;
        }
        let (seconds, nanoseconds) = label.split_at(16);
        let hex = |digits| u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok();
        Some(Stamp {
            layout: Layout::Tai,
            date: hex(seconds)?,
            numbers: vec![hex(nanoseconds)?],
        })
    }
}

/// A date at the beginning of the digits of a stamp.
#[derive(Debug, Clone, Copy)]
struct Date {
    layout: Layout,
    date: u64,
    /// Digits of the date, and of what is glued to it.
    len: usize,
    time: Option<u64>,
}

impl Date {
    fn of(groups: &[Group<'_>], place: Place) -> Option<Self> {
        let digits: Vec<u8> = groups.iter().flat_map(|g| g.digits).copied().collect();
        let mut ends = Vec::new();
        for group in groups {
            ends.push(ends.last().unwrap_or(&0) + group.digits.len());
        }
        let is_separated = groups.first().is_some_and(|g| !g.separator.is_empty());
        Self::year_first(&digits, &ends)
            .or_else(|| Self::year_last(&digits, &ends, place))
            .or_else(|| Self::year_part(&digits, &ends, place).filter(|_| is_separated))
    }

    fn year_first(digits: &[u8], ends: &[usize]) -> Option<Self> {
        if !is_cut_at(ends, 8, &[4, 6]) {
            return None;
        }
        let day = number(digits.get(..8)?)?;
        if !is_year(day / 10_000) || !is_month(day / 100 % 100) || !is_day(day % 100) {
            return None;
        }
        let len = *ends.iter().find(|&&end| end >= 8)?;
        let time = &digits[8..len];
        Some(Date {
            layout: Layout::Day {
                glued: u8::try_from(time.len()).ok()?,
            },
            date: day,
            len,
            time: match time.len() {
                0 => None,
                _ => Some(time_of_day(time)?),
            },
        })
    }

    /// Day and month in either order, then the year.
    fn year_last(digits: &[u8], ends: &[usize], place: Place) -> Option<Self> {
        // Without separators it looks like any number, save after the whole name.
        let is_separated = ends.starts_with(&[2, 4, 8]);
        if !is_separated && (place != Place::After || ends.first() != Some(&8)) {
            return None;
        }
        let date = number(digits.get(..8)?)?;
        let (one, other, year) = (date / 1_000_000, date / 10_000 % 100, date % 10_000);
        (is_year(year) && is_day_and_month(one, other)).then_some(Date {
            layout: Layout::Unordered,
            date,
            len: 8,
            time: None,
        })
    }

    fn year_part(digits: &[u8], ends: &[usize], place: Place) -> Option<Self> {
        if !is_cut_at(ends, 6, &[4]) || !ends.contains(&6) {
            return None;
        }
        let date = number(digits.get(..6)?)?;
        let part = date % 100;
        let is_part = match place {
            Place::Within if !ends.contains(&4) => is_month(part),
            _ => (1..=53).contains(&part),
        };
        (is_year(date / 100) && is_part).then_some(Date {
            layout: Layout::YearPart,
            date,
            len: 6,
            time: None,
        })
    }

    /// The stamp that begins with this date; `None` where what follows on it is too long for a number.
    fn stamp(self, groups: &[Group<'_>]) -> Option<Stamp> {
        let mut numbers: Vec<u64> = self.time.into_iter().collect();
        let mut at = 0;
        for group in groups {
            if at >= self.len {
                numbers.push(number(group.digits)?);
            }
            at += group.digits.len();
        }
        Some(Stamp {
            layout: self.layout,
            date: self.date,
            numbers,
        })
    }
}

/// A stamp of one number that is no date with a year.
fn lone_number(groups: &[Group<'_>], place: Place) -> Option<Stamp> {
    let [Group { separator, digits }] = *groups else {
        return lone_month_and_day(groups, place);
    };
    let value = number(digits)?;
    let stamp = |layout, date, numbers| {
        Some(Stamp {
            layout,
            date,
            numbers,
        })
    };
    match (place, separator, digits.len()) {
        (Place::After, b".", 1..=6) | (Place::After, b"-" | b"_", 1..=3) => {
            stamp(Layout::Count, 0, vec![value])
        }
        (Place::Within, b".", 1..=3) => stamp(Layout::Count, 0, vec![value]),
        (Place::After, b"-" | b"_", 4) if is_year(value) => stamp(Layout::Year, value, vec![]),
        (Place::After, b"-" | b"_", 4) if is_day_and_month(value / 100, value % 100) => {
            stamp(Layout::Unordered, value, vec![])
        }
        (_, [_], 10 | 13 | 16 | 19) => {
            // Seconds, or thousandths of them, or millionths, or billionths.
            let parts = 10u64.pow(u32::try_from(digits.len() - 10).ok()?);
            let (seconds, part) = (value / parts, value % parts);
            let numbers = if parts == 1 { vec![] } else { vec![part] };
            let is_time = EPOCHS.contains(&seconds);
            stamp(Layout::Epoch, seconds, numbers).filter(|_| is_time)
        }
        _ => None,
    }
}

fn lone_month_and_day(groups: &[Group<'_>], place: Place) -> Option<Stamp> {
    let [one, other] = *groups else {
        return None;
    };
    let is_pair = one.digits.len() == 2 && other.digits.len() == 2 && !one.separator.is_empty();
    let (one, other) = (number(one.digits)?, number(other.digits)?);
    (place == Place::After && is_pair && is_day_and_month(one, other)).then(|| Stamp {
        layout: Layout::Unordered,
        date: one * 100 + other,
        numbers: vec![],
    })
}

/// `text` as groups of digits; `None` where it holds anything else than digits and what separates them in dates.
fn groups(text: &[u8]) -> Option<Vec<Group<'_>>> {
    let mut groups = Vec::new();
    // The Z of UTC ends a time.
    let mut rest = text.strip_suffix(b"Z").unwrap_or(text);
    while !rest.is_empty() {
        let separators = rest.iter().take_while(|b| SEPARATORS.contains(b)).count();
        let (separator, after) = rest.split_at(separators);
        let len = after.iter().take_while(|b| b.is_ascii_digit()).count();
        let (digits, after) = after.split_at(len);
        let is_first = groups.is_empty();
        let is_odd_start = is_first && !matches!(separator, b"" | b"." | b"-" | b"_");
        if digits.is_empty() || separator.len() > 2 || is_odd_start {
            return None;
        }
        groups.push(Group { separator, digits });
        if groups.len() > MAX_GROUPS {
            return None;
        }
        rest = after;
    }
    (!groups.is_empty()).then_some(groups)
}

/// Whether the groups that end before `len` digits end where the parts of a date do.
fn is_cut_at(ends: &[usize], len: usize, parts: &[usize]) -> bool {
    ends.iter().all(|end| *end >= len || parts.contains(end))
}

fn number(digits: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(digits).ok()?;
    (text.len() <= MAX_DIGITS && text.bytes().all(|b| b.is_ascii_digit()))
        .then(|| text.parse().ok())
        .flatten()
}

/// `HH`, `HHMM`, `HHMMSS` or that with milliseconds, as one number.
fn time_of_day(digits: &[u8]) -> Option<u64> {
    let is_plausible = |at: usize, below: u64| {
        digits
            .get(at..at + 2)
            .is_none_or(|part| number(part).is_some_and(|part| part < below))
    };
    let is_time = matches!(digits.len(), 2 | 4 | 6 | 9)
        && is_plausible(0, 24)
        && is_plausible(2, 60)
        && is_plausible(4, 61);
    is_time.then(|| number(digits)).flatten()
}

pub(super) fn is_year(year: u64) -> bool {
    (1990..=2099).contains(&year)
}

pub(super) fn is_month(month: u64) -> bool {
    (1..=12).contains(&month)
}

pub(super) fn is_day(day: u64) -> bool {
    (1..=31).contains(&day)
}

fn is_day_and_month(one: u64, other: u64) -> bool {
    (is_day(one) && is_month(other)) || (is_month(one) && is_day(other))
}

const SEPARATORS: &[u8] = b".-_:+/TW";

/// More than the longest date with a time, an offset and a counter has.
const MAX_GROUPS: usize = 12;

/// Of a number within a name.
const MAX_DIGITS: usize = 19;

/// From 2001 to 2099.
const EPOCHS: std::ops::Range<u64> = 1_000_000_000..4_102_444_800;
