//! Time zones: from the wall clock of a line to UTC.

use std::sync::Arc;

use tz::TimeZone;

/// What `time_zone` names: the zone of times that do not tell theirs.
#[derive(Clone, Debug)]
pub enum Zone {
    /// Seconds east of Greenwich, all year.
    Fixed(i64),
    /// A zone with a history and with summer time.
    Ruled(Arc<TimeZone>),
}

/// Why a text is no time zone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ZoneError {
    /// Neither `local`, `UTC` nor an offset.
    Unknown(String),
    /// `local`, but `TZ` names a zone that cannot be read.
    Unreadable {
        /// The value of `TZ`.
        tz: String,
        /// What was wrong with it.
        reason: String,
    },
}

/// Turns wall clock times of one zone into UTC and remembers the offset of the last hour, since the lines of a file
/// are near to each other: a search of the zone's transitions per hour of log instead of one per line.
#[derive(Clone, Debug)]
pub struct ZoneClock {
    zone: Zone,
    /// The hour of the wall clock, counted from 1970, within which the offset is the same and none else.
    steady_hour: i64,
    steady_offset_s: i64,
}

impl Zone {
    /// Reads `local`, `UTC`, `+08:00` or `-0330`. `tz` is the environment variable `TZ`, which `local` follows as
    /// libc does; without it `local` is what /etc/localtime says, or UTC where that is missing.
    pub fn parse(text: &str, tz: Option<&str>) -> Result<Self, ZoneError> {
        match text {
            "local" => Self::local(tz),
            "UTC" | "utc" | "Z" => Ok(Zone::Fixed(0)),
            _ => match offset_s(text.as_bytes()) {
                Some((offset_s, len)) if len == text.len() => Ok(Zone::Fixed(offset_s)),
                _ => Err(ZoneError::Unknown(text.to_string())),
            },
        }
    }

    fn local(tz: Option<&str>) -> Result<Self, ZoneError> {
        let Some(tz) = tz else {
            return Ok(TimeZone::local().map_or(Zone::Fixed(0), |zone| Zone::Ruled(Arc::new(zone))));
        };
        match TimeZone::from_posix_tz(tz) {
            Ok(zone) => Ok(Zone::Ruled(Arc::new(zone))),
            Err(_) if tz.is_empty() => Ok(Zone::Fixed(0)),
            Err(error) => Err(ZoneError::Unreadable {
                tz: tz.to_string(),
                reason: error.to_string(),
            }),
        }
    }

    /// Seconds east of Greenwich at a moment of UTC.
    pub(crate) fn offset_at(&self, utc_s: i64) -> i64 {
        match self {
            Zone::Fixed(offset_s) => *offset_s,
            Zone::Ruled(zone) => ruled_offset_at(zone, utc_s).unwrap_or(0),
        }
    }

    /// The offsets that a wall clock time may have: the earlier moment first. The same twice if there is no doubt.
    fn offsets_of_local(&self, local_s: i64) -> (i64, i64) {
        let (before, after) = (
            self.offset_at(local_s - DAY_S),
            self.offset_at(local_s + DAY_S),
        );
        let is_before = before == after || self.offset_at(local_s - before) == before;
        let is_after = before == after || self.offset_at(local_s - after) == after;
        match (is_before, is_after) {
            (true, true) => (before, after),
            (false, true) => (after, after),
            // Either plain, or left out when the clock was put forward: counted on from before.
            (_, false) => (before, before),
        }
    }
}

impl ZoneClock {
    /// A clock that remembers nothing yet.
    pub fn new(zone: Zone) -> Self {
        ZoneClock {
            zone,
            steady_hour: i64::MIN,
            steady_offset_s: 0,
        }
    }

    /// The UTC second of a wall clock second, both counted from 1970.
    ///
    /// A time that was twice, as the clock was put back, is the later moment, unless that lies in the future of
    /// `now_s`: so the first of the two hours is right while it is being written, and the second one is right always.
    /// A time that never was, as the clock was put forward, is counted on from the time before.
    #[inline]
    pub fn utc_of_local(&mut self, local_s: i64, now_s: i64) -> i64 {
        if let Zone::Fixed(offset_s) = self.zone {
            return local_s - offset_s;
        }
        let hour = local_s.div_euclid(HOUR_S);
        if hour == self.steady_hour {
            return local_s - self.steady_offset_s;
        }
        self.search(local_s, hour, now_s)
    }

    #[cold]
    fn search(&mut self, local_s: i64, hour: i64, now_s: i64) -> i64 {
        let first = self.zone.offsets_of_local(hour * HOUR_S);
        let last = self.zone.offsets_of_local(hour * HOUR_S + HOUR_S - 1);
        if first == last && first.0 == first.1 {
            self.steady_hour = hour;
            self.steady_offset_s = first.0;
        }
        let (earlier, later) = self.zone.offsets_of_local(local_s);
        if local_s - later <= now_s + CLOCK_SKEW_S {
            local_s - later
        } else {
            local_s - earlier
        }
    }
}

impl std::fmt::Display for ZoneError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ZoneError::Unknown(text) => write!(
                f,
                "unknown time zone '{text}'\n  write local, UTC or an offset such as +08:00"
            ),
            ZoneError::Unreadable { tz, reason } => {
                write!(
                    f,
                    "time zone local: TZ is '{tz}', which cannot be read: {reason}\n  write UTC or an offset such as +08:00"
                )
            }
        }
    }
}

impl std::error::Error for ZoneError {}

/// `+08:00`, `+0800` or `+08` at the front: seconds east of Greenwich, and how many bytes it took.
#[inline]
pub(crate) fn offset_s(text: &[u8]) -> Option<(i64, usize)> {
    let (sign, digits) = match text.split_first()? {
        (b'+', digits) => (1, digits),
        (b'-', digits) => (-1, digits),
        _ => return None,
    };
    let hours = two_digits(digits)?;
    let (minutes, len) = match digits.get(2..) {
        Some([b':', minutes @ ..]) => (two_digits(minutes)?, 6),
        Some(minutes) => two_digits(minutes).map_or((0, 3), |minutes| (minutes, 5)),
        None => (0, 3),
    };
    (hours <= 23 && minutes <= 59).then_some((sign * (hours * HOUR_S + minutes * 60), len))
}

#[inline]
fn two_digits(text: &[u8]) -> Option<i64> {
    match text.first_chunk::<2>()? {
        [tens @ b'0'..=b'9', ones @ b'0'..=b'9'] => {
            Some(i64::from(tens - b'0') * 10 + i64::from(ones - b'0'))
        }
        _ => None,
    }
}

/// A zone without a rule for the future stays as its last transition has left it.
fn ruled_offset_at(zone: &TimeZone, utc_s: i64) -> Option<i64> {
    let kind = match zone.find_local_time_type(utc_s) {
        Ok(kind) => kind,
        Err(_) => {
            let last = zone.as_ref().transitions().last()?.local_time_type_index();
            zone.as_ref().local_time_types().get(last)?
        }
    };
    Some(i64::from(kind.ut_offset()))
}

const HOUR_S: i64 = 3600;

/// Offsets differ by less than this, and transitions are further apart.
const DAY_S: i64 = 24 * HOUR_S;

/// How much the clock of a writer on another host may be ahead of ours.
const CLOCK_SKEW_S: i64 = 60;

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{MappedLocalTime, NaiveDate, NaiveDateTime};

    const BERLIN: &str = "CET-1CEST,M3.5.0,M10.5.0/3";
    const LORD_HOWE: &str = "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0";

    fn clock(tz: &str) -> ZoneClock {
        ZoneClock::new(Zone::parse("local", Some(tz)).expect("a zone"))
    }

    fn at(month: u32, day: u32, hour: u32, minute: u32) -> i64 {
        let date = NaiveDate::from_ymd_opt(2026, month, day).expect("a date");
        date.and_hms_opt(hour, minute, 0)
            .expect("a time")
            .and_utc()
            .timestamp()
    }

    #[test]
    fn offsets_are_read_in_their_three_forms() {
        for (text, expected) in [
            ("+08:00", 28_800),
            ("-0330", -12_600),
            ("+01", 3600),
            ("UTC", 0),
            ("-00:00", 0),
        ] {
            assert!(
                matches!(Zone::parse(text, None), Ok(Zone::Fixed(offset)) if offset == expected),
                "{text}"
            );
        }
        for text in [
            "CST",
            "+8",
            "+24:00",
            "+08:60",
            "+08:00x",
            "+08:0",
            "",
            "Europe/Berlin",
            "Local",
        ] {
            assert_eq!(
                Zone::parse(text, None).err(),
                Some(ZoneError::Unknown(text.to_string()))
            );
        }
    }

    #[test]
    fn a_tz_that_cannot_be_read_is_refused_and_an_empty_one_is_utc() {
        assert!(matches!(
            Zone::parse("local", Some("Mars/Base")),
            Err(ZoneError::Unreadable { .. })
        ));
        let zone = Zone::parse("local", Some("")).expect("UTC");
        assert_eq!(zone.offset_at(0), 0);
    }

    #[test]
    fn an_hour_that_is_repeated_is_the_later_one_unless_that_is_in_the_future() {
        let local = at(10, 25, 2, 30);
        let (first, second) = (at(10, 25, 0, 30), at(10, 25, 1, 30));
        let mut clock = clock(BERLIN);
        assert_eq!(clock.utc_of_local(local, first + 5), first);
        assert_eq!(clock.utc_of_local(local, second + 5), second);
        assert_eq!(clock.utc_of_local(local, second + 5_000_000), second);
        assert_eq!(
            clock.utc_of_local(at(10, 25, 1, 59), second),
            at(10, 24, 23, 59)
        );
        assert_eq!(
            clock.utc_of_local(at(10, 25, 3, 0), second),
            at(10, 25, 2, 0)
        );
    }

    #[test]
    fn an_hour_that_was_left_out_is_counted_on() {
        let mut clock = clock(BERLIN);
        let now = at(12, 1, 0, 0);
        assert_eq!(clock.utc_of_local(at(3, 29, 1, 59), now), at(3, 29, 0, 59));
        assert_eq!(clock.utc_of_local(at(3, 29, 2, 30), now), at(3, 29, 1, 30));
        assert_eq!(clock.utc_of_local(at(3, 29, 3, 30), now), at(3, 29, 1, 30));
    }

    #[test]
    fn half_an_hour_of_summer_time_is_found_within_the_hour() {
        let mut clock = clock(LORD_HOWE);
        let now = at(12, 1, 0, 0);
        assert_eq!(clock.utc_of_local(at(4, 5, 1, 29), now), at(4, 4, 14, 29));
        assert_eq!(
            clock.utc_of_local(at(4, 5, 1, 31), at(4, 4, 14, 31)),
            at(4, 4, 14, 31)
        );
        assert_eq!(clock.utc_of_local(at(4, 5, 1, 31), now), at(4, 4, 15, 1));
        assert_eq!(clock.utc_of_local(at(4, 5, 2, 0), now), at(4, 4, 15, 30));
    }

    /// chrono reads the same zone of this host by its own code. The host's zone may be UTC; the test with a rule is
    /// the next one.
    #[test]
    fn local_is_the_zone_that_chrono_finds() {
        let mut clock = ZoneClock::new(
            Zone::parse("local", std::env::var("TZ").ok().as_deref()).expect("a zone"),
        );
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..20_000 {
            let local_s = random.i64(at(1, 1, 0, 0) - 50 * 365 * DAY_S..at(1, 1, 0, 0));
            let naive: NaiveDateTime = chrono::DateTime::from_timestamp(local_s, 0)
                .expect("in range")
                .naive_utc();
            let expected = match naive.and_local_timezone(chrono::Local) {
                MappedLocalTime::Single(time) => time.timestamp(),
                // Not always in the order that their names promise.
                MappedLocalTime::Ambiguous(one, other) => one.timestamp().max(other.timestamp()),
                MappedLocalTime::None => continue,
            };
            assert_eq!(
                clock.utc_of_local(local_s, i64::MAX / 2),
                expected,
                "{naive}"
            );
        }
    }
}
