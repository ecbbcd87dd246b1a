//! Times as a person reads them: those of this host's zone, wherever they stand. Only what begins a line of the log, and
//! what programs read, is in UTC, which it says.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::record::civil::date_of_day;
use crate::record::zone::Zone;

/// `14:02:11` if it is of the same day as `now`, else `2026-11-24 14:02:11`.
pub(crate) fn clock(time: SystemTime, now: SystemTime) -> String {
    clock_in(&here(), time, now)
}

/// `15:20:11.402`.
pub(crate) fn clock_with_ms(time: SystemTime) -> String {
    time_of_day(local_ms(&here(), time))
}

/// The zone of these times as it is at `now`: `UTC`, `UTC+02:00`.
pub(crate) fn zone(now: SystemTime) -> String {
    zone_of(&here(), now)
}

fn clock_in(zone: &Zone, time: SystemTime, now: SystemTime) -> String {
    let local = local_ms(zone, time);
    let day = local.div_euclid(DAY_MS);
    let clock = time_of_day(local)[..8].to_owned();
    if day == local_ms(zone, now).div_euclid(DAY_MS) {
        return clock;
    }
    let (year, month, day) = date_of_day(day);
    format!("{year:04}-{month:02}-{day:02} {clock}")
}

fn zone_of(zone: &Zone, now: SystemTime) -> String {
    let minutes = zone.offset_at(unix_ms(now) / 1000) / 60;
    let sign = if minutes < 0 { '-' } else { '+' };
    match minutes.abs() {
        0 => "UTC".to_owned(),
        minutes => format!("UTC{sign}{:02}:{:02}", minutes / 60, minutes % 60),
    }
}

fn here() -> Zone {
    let tz = std::env::var("TZ").ok();
    Zone::parse("local", tz.as_deref()).unwrap_or(Zone::Fixed(0))
}

fn time_of_day(local_ms: i64) -> String {
    let ms = local_ms.rem_euclid(DAY_MS);
    let (s, ms) = (ms / 1000, ms % 1000);
    format!("{:02}:{:02}:{:02}.{ms:03}", s / 3600, s % 3600 / 60, s % 60)
}

/// Milliseconds since 1970 of the wall clock.
fn local_ms(zone: &Zone, time: SystemTime) -> i64 {
    let ms = unix_ms(time);
    ms + zone.offset_at(ms / 1000) * 1000
}

fn unix_ms(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX / 2)
}

const DAY_MS: i64 = 86_400_000;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_time_has_its_date_where_that_is_not_todays_and_the_zone_is_told_apart() {
        let at = |s: u64| UNIX_EPOCH + Duration::from_secs(s);
        let (utc, india) = (Zone::Fixed(0), Zone::Fixed(19_800));
        let late = at(86_400 - 11);
        assert_eq!(clock_in(&utc, late, at(0)), "23:59:49");
        assert_eq!(clock_in(&utc, late, at(86_400)), "1970-01-01 23:59:49");
        assert_eq!(clock_in(&india, late, at(86_400)), "05:29:49");
        let zones = [utc, india, Zone::Fixed(-12_600)].map(|zone| zone_of(&zone, late));
        assert_eq!(zones, ["UTC", "UTC+05:30", "UTC-03:30"]);
    }
}
