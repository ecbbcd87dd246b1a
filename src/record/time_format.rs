//! Formats of times: what `time` says, compiled, and the fields that a text holds by it.

use std::fmt;

use crate::record::time_text::{Item, Reader, TimeParts, read_epoch, read_rfc3339};

/// A compiled `time` setting.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TimeFormat {
    /// `2026-11-26T21:30:55.000Z`: a blank instead of the `T`, a comma instead of the point and a missing zone are
    /// taken too.
    Rfc3339,
    /// Seconds since 1970, perhaps with a fraction.
    Epoch,
    /// Milliseconds since 1970, perhaps with a fraction.
    EpochMs,
    /// A format of fields with `%`.
    Items(Box<[Item]>),
}

/// What is wrong with a format, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TimeFormatError {
    /// The byte of the format that it is about.
    pub at: usize,
    reason: String,
}

impl TimeFormat {
    /// Compiles `rfc3339`, `epoch`, `epoch_ms` or a format.
    pub fn parse(text: &str) -> Result<Self, TimeFormatError> {
        match text {
            "rfc3339" => return Ok(TimeFormat::Rfc3339),
            "epoch" => return Ok(TimeFormat::Epoch),
            "epoch_ms" => return Ok(TimeFormat::EpochMs),
            _ => {}
        }
        let mut items = Vec::new();
        let mut chars = text.char_indices();
        while let Some((at, char)) = chars.next() {
            match char {
                '%' => push_field(&mut items, chars.next().map(|(_, field)| field), at)?,
                ' ' | '\t' if items.last() != Some(&Item::Blanks) => items.push(Item::Blanks),
                ' ' | '\t' => {}
                _ => items.extend(char.encode_utf8(&mut [0; 4]).bytes().map(Item::Literal)),
            }
        }
        check(&items, text)?;
        Ok(TimeFormat::Items(items.into()))
    }

    /// Reads a time at the front of `text`: what it says, and how many bytes it took.
    #[inline]
    pub fn read(&self, text: &[u8]) -> Option<(TimeParts, usize)> {
        match self {
            TimeFormat::Rfc3339 => read_rfc3339(text),
            TimeFormat::Epoch => read_epoch(text, 1),
            TimeFormat::EpochMs => read_epoch(text, 1000),
            TimeFormat::Items(items) => {
                let mut reader = Reader::new(text);
                for item in items {
                    reader.read(*item)?;
                }
                Some((reader.parts, reader.at))
            }
        }
    }

    /// Whether a time may begin with this byte; a quick look before [`read`](Self::read).
    #[inline]
    pub fn may_begin_with(&self, byte: u8) -> bool {
        let TimeFormat::Items(items) = self else {
            return byte.is_ascii_digit() || byte == b'-';
        };
        match items.first() {
            Some(Item::Literal(first)) => byte == *first,
            Some(Item::MonthName | Item::WeekdayName | Item::HalfDay | Item::ZoneName) => {
                byte.is_ascii_alphabetic()
            }
            Some(Item::Offset | Item::Blanks | Item::Fraction) => true,
            _ => byte.is_ascii_digit(),
        }
    }

    /// Whether any number is one: such times are not looked for in the middle of a line.
    pub fn is_bare_number(&self) -> bool {
        match self {
            TimeFormat::Rfc3339 => false,
            TimeFormat::Epoch | TimeFormat::EpochMs => true,
            TimeFormat::Items(items) => items.first() == Some(&Item::EpochSeconds),
        }
    }
}

impl TimeFormatError {
    fn new(at: usize, reason: impl Into<String>) -> Self {
        TimeFormatError {
            at,
            reason: reason.into(),
        }
    }
}

impl fmt::Display for TimeFormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for TimeFormatError {}

fn push_field(
    items: &mut Vec<Item>,
    field: Option<char>,
    at: usize,
) -> Result<(), TimeFormatError> {
    use Item::{Day, Hour, Literal, Minute, Month, Second, Year};
    let item = match field {
        Some('Y') => Year,
        Some('y') => Item::YearOfCentury,
        Some('m') => Month,
        Some('b' | 'B' | 'h') => Item::MonthName,
        Some('d' | 'e') => Day,
        Some('j') => Item::DayOfYear,
        Some('a' | 'A') => Item::WeekdayName,
        Some('H') => Hour,
        Some('I') => Item::HourOfHalfDay,
        Some('p') => Item::HalfDay,
        Some('M') => Minute,
        Some('S') => Second,
        Some('z') => Item::Offset,
        Some('Z') => Item::ZoneName,
        Some('s') => Item::EpochSeconds,
        Some('%') => Literal(b'%'),
        Some('f') => match items.last() {
            Some(Literal(b'.' | b',')) => {
                items.pop();
                Item::Fraction
            }
            _ => Item::FractionDigits,
        },
        Some('T') => {
            items.extend([Hour, Literal(b':'), Minute, Literal(b':'), Second]);
            return Ok(());
        }
        Some('F') => {
            items.extend([Year, Literal(b'-'), Month, Literal(b'-'), Day]);
            return Ok(());
        }
        Some(other) => return Err(TimeFormatError::new(at, format!("%{other} is not known"))),
        None => {
            return Err(TimeFormatError::new(
                at,
                "the format ends after a %\n  write %% for the character",
            ));
        }
    };
    items.push(item);
    Ok(())
}

/// Refuses what can never give a moment.
fn check(items: &[Item], text: &str) -> Result<(), TimeFormatError> {
    let has = |item| items.contains(&item);
    let field_at = |field| text.find(field).unwrap_or(0);
    if has(Item::EpochSeconds) {
        return Ok(());
    }
    if items
        .iter()
        .all(|item| matches!(item, Item::Literal(_) | Item::Blanks))
    {
        return Err(TimeFormatError::new(
            0,
            format!(
                "unknown time format '{text}'\n  write rfc3339, epoch, epoch_ms or fields such as %Y-%m-%d %H:%M:%S"
            ),
        ));
    }
    if !has(Item::DayOfYear) && !has(Item::Day) {
        return Err(TimeFormatError::new(
            0,
            "the format has no day: %d, %j or %s",
        ));
    }
    if !has(Item::DayOfYear) && !has(Item::Month) && !has(Item::MonthName) {
        return Err(TimeFormatError::new(0, "the format has no month: %m or %b"));
    }
    if has(Item::HourOfHalfDay) && !has(Item::HalfDay) {
        return Err(TimeFormatError::new(
            field_at("%I"),
            "%I needs %p; %H is the hour of the day",
        ));
    }
    if has(Item::HalfDay) && !has(Item::HourOfHalfDay) {
        return Err(TimeFormatError::new(
            field_at("%p"),
            "%p needs %I, the hour of the half day",
        ));
    }
    Ok(())
}
