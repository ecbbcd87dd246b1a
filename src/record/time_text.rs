//! What a text says of its time: read by the items of a format, or as one of the fixed forms.

use crate::record::zone::offset_s;

/// A part of a format.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Item {
    /// This byte.
    Literal(u8),
    /// One or more blanks or tabs.
    Blanks,
    /// `.%f` or `,%f`: a point or a comma and digits, or nothing at all, as many writers leave out a fraction of 0.
    Fraction,
    /// `%f` after anything else: 1 or more digits, of which 9 count.
    FractionDigits,
    /// `%Y`: 4 digits.
    Year,
    /// `%y`: 2 digits, 69 to 99 are 19xx.
    YearOfCentury,
    /// `%m`
    Month,
    /// `%b`, `%B`: an English name, short or full, in any case.
    MonthName,
    /// `%d`, `%e`: 1 or 2 digits, perhaps after blanks.
    Day,
    /// `%j`
    DayOfYear,
    /// `%a`, `%A`: an English name; read and not used.
    WeekdayName,
    /// `%H`
    Hour,
    /// `%I`
    HourOfHalfDay,
    /// `%p`: AM or PM, in any case.
    HalfDay,
    /// `%M`
    Minute,
    /// `%S`; 60 is the next minute's 0.
    Second,
    /// `%z`: `+0800`, `+08:00`, `+08` or `Z`.
    Offset,
    /// `%Z`: letters. UTC, GMT and Z count; what others mean depends on whom one asks, so `time_zone` holds for them.
    ZoneName,
    /// `%s`: seconds since 1970.
    EpochSeconds,
}

/// What a text says of its time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TimeParts {
    /// Seconds since 1970; if there, only `nanosecond` counts besides.
    pub epoch_s: Option<i64>,
    /// `None`: the nearest past one.
    pub year: Option<i64>,
    /// 1 to 12, unchecked as all below.
    pub month: i64,
    /// Day of the month.
    pub day: i64,
    /// Instead of month and day.
    pub day_of_year: Option<i64>,
    /// 0 to 23, or 1 to 12 with `is_afternoon`.
    pub hour: i64,
    /// `%p`
    pub is_afternoon: Option<bool>,
    /// 0 to 59.
    pub minute: i64,
    /// 0 to 60.
    pub second: i64,
    /// 0 to 999,999,999.
    pub nanosecond: i64,
    /// Seconds east of Greenwich; `None`: by `time_zone`.
    pub offset_s: Option<i64>,
}

/// A text that is being read by the items of a format.
pub(crate) struct Reader<'a> {
    text: &'a [u8],
    /// How far it has been read.
    pub(crate) at: usize,
    /// What it has said so far.
    pub(crate) parts: TimeParts,
}

impl<'a> Reader<'a> {
    /// A text of which nothing has been read.
    pub(crate) fn new(text: &'a [u8]) -> Self {
        Reader {
            text,
            at: 0,
            parts: TimeParts::default(),
        }
    }

    /// Reads one item; `None` if something else stands there.
    #[inline]
    pub(crate) fn read(&mut self, item: Item) -> Option<()> {
        match item {
            Item::Literal(byte) => self.literal(byte)?,
            Item::Year => self.parts.year = Some(self.number(4, 4)?),
            Item::Month => self.parts.month = self.number(1, 2)?,
            Item::Day => {
                self.skip_blanks();
                self.parts.day = self.number(1, 2)?;
            }
            Item::Hour | Item::HourOfHalfDay => self.parts.hour = self.number(1, 2)?,
            Item::Minute => self.parts.minute = self.number(1, 2)?,
            Item::Second => self.parts.second = self.number(1, 2)?,
            Item::Fraction => {
                if let (Some(b'.' | b','), true) =
                    (self.text.get(self.at), self.is_digit_at(self.at + 1))
                {
                    self.at += 1;
                    self.parts.nanosecond = self.fraction()?;
                }
            }
            Item::FractionDigits => self.parts.nanosecond = self.fraction()?,
            Item::Blanks => {
                let start = self.at;
                self.skip_blanks();
                (self.at > start).then_some(())?;
            }
            _ => self.read_rarer(item)?,
        }
        Some(())
    }

    fn read_rarer(&mut self, item: Item) -> Option<()> {
        match item {
            Item::YearOfCentury => {
                let year = self.number(2, 2)?;
                self.parts.year = Some(if year < 69 { 2000 + year } else { 1900 + year });
            }
            Item::MonthName => self.parts.month = self.name(&MONTHS)?,
            Item::WeekdayName => self.name(&WEEKDAYS).map(|_| ())?,
            Item::HalfDay => self.parts.is_afternoon = Some(self.name(&HALF_DAYS)? == 2),
            Item::DayOfYear => self.parts.day_of_year = Some(self.number(1, 3)?),
            Item::Offset => self.parts.offset_s = Some(self.offset()?),
            Item::ZoneName => self.zone_name()?,
            Item::EpochSeconds => self.parts.epoch_s = Some(self.number(1, 12)?),
            _ => {}
        }
        Some(())
    }

    #[inline]
    fn literal(&mut self, byte: u8) -> Option<()> {
        (self.text.get(self.at) == Some(&byte)).then_some(())?;
        self.at += 1;
        Some(())
    }

    #[inline]
    fn is_digit_at(&self, at: usize) -> bool {
        self.text.get(at).is_some_and(u8::is_ascii_digit)
    }

    #[inline]
    fn number(&mut self, min: usize, max: usize) -> Option<i64> {
        let start = self.at;
        let mut number = 0;
        while self.at - start < max {
            match self.text.get(self.at) {
                Some(digit @ b'0'..=b'9') => number = number * 10 + i64::from(digit - b'0'),
                _ => break,
            }
            self.at += 1;
        }
        (self.at - start >= min).then_some(number)
    }

    /// Digits after the point, as nanoseconds; those after the ninth are passed over.
    #[inline]
    fn fraction(&mut self) -> Option<i64> {
        let start = self.at;
        let mut number = self.number(1, 9)?;
        for _ in self.at - start..9 {
            number *= 10;
        }
        while self.is_digit_at(self.at) {
            self.at += 1;
        }
        Some(number)
    }

    #[inline]
    fn skip_blanks(&mut self) {
        while matches!(self.text.get(self.at), Some(b' ' | b'\t')) {
            self.at += 1;
        }
    }

    /// One of `names`, counted from 1, in full or its first three letters.
    fn name(&mut self, names: &[&str]) -> Option<i64> {
        let rest = self.text.get(self.at..)?;
        let letters = rest
            .iter()
            .take_while(|byte| byte.is_ascii_alphabetic())
            .count();
        let word = rest.get(..letters)?;
        let is_it = |name: &&str| {
            let name = name.as_bytes();
            word.eq_ignore_ascii_case(name)
                || name
                    .get(..3)
                    .is_some_and(|short| word.eq_ignore_ascii_case(short))
        };
        let number = names.iter().position(is_it)? + 1;
        self.at += letters;
        i64::try_from(number).ok()
    }

    fn offset(&mut self) -> Option<i64> {
        let rest = self.text.get(self.at..)?;
        let (offset_s, len) = match rest.first()? {
            b'Z' | b'z' => (0, 1),
            _ => offset_s(rest)?,
        };
        self.at += len;
        Some(offset_s)
    }

    fn zone_name(&mut self) -> Option<()> {
        let rest = self.text.get(self.at..)?;
        let letters = rest
            .iter()
            .take_while(|byte| byte.is_ascii_alphabetic())
            .count();
        match rest.get(..letters)? {
            b"" => return None,
            b"UTC" | b"GMT" | b"Z" => self.parts.offset_s = Some(0),
            _ => {}
        }
        self.at += letters;
        Some(())
    }
}

/// A date and a time at their fixed places, then a fraction and a zone, if there.
#[inline]
pub(crate) fn read_rfc3339(text: &[u8]) -> Option<(TimeParts, usize)> {
    let head = text.first_chunk::<19>()?;
    let is_shaped = head[4] == b'-' && head[7] == b'-' && head[13] == b':' && head[16] == b':';
    if !is_shaped || !matches!(head[10], b'T' | b't' | b' ') {
        return None;
    }
    let two = |tens: u8, ones: u8| match (tens, ones) {
        (b'0'..=b'9', b'0'..=b'9') => Some(i64::from(tens - b'0') * 10 + i64::from(ones - b'0')),
        _ => None,
    };
    let parts = TimeParts {
        year: Some(two(head[0], head[1])? * 100 + two(head[2], head[3])?),
        month: two(head[5], head[6])?,
        day: two(head[8], head[9])?,
        hour: two(head[11], head[12])?,
        minute: two(head[14], head[15])?,
        second: two(head[17], head[18])?,
        ..TimeParts::default()
    };
    let mut reader = Reader {
        text,
        at: head.len(),
        parts,
    };
    reader.read(Item::Fraction)?;
    if matches!(text.get(reader.at), Some(b'Z' | b'z' | b'+' | b'-')) {
        reader.parts.offset_s = reader.offset();
    }
    Some((reader.parts, reader.at))
}

/// A number of 1/`per_second` seconds since 1970, perhaps with a fraction of that.
pub(crate) fn read_epoch(text: &[u8], per_second: i64) -> Option<(TimeParts, usize)> {
    let is_negative = text.first() == Some(&b'-');
    let mut reader = Reader {
        text,
        at: usize::from(is_negative),
        parts: TimeParts::default(),
    };
    let whole = reader.number(1, 18)?;
    reader.read(Item::Fraction)?;
    if text.get(reader.at).is_some_and(u8::is_ascii_alphanumeric) {
        return None;
    }
    let sign = if is_negative { -1 } else { 1 };
    let (seconds, rest) = (whole / per_second, whole % per_second);
    let nanosecond =
        sign * (rest * (1_000_000_000 / per_second) + reader.parts.nanosecond / per_second);
    let epoch_s = Some(sign * seconds + nanosecond.div_euclid(1_000_000_000));
    let nanosecond = nanosecond.rem_euclid(1_000_000_000);
    Some((
        TimeParts {
            epoch_s,
            nanosecond,
            ..TimeParts::default()
        },
        reader.at,
    ))
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];
const HALF_DAYS: [&str; 2] = ["AM", "PM"];
