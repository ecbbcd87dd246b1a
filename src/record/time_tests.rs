//! Times against chrono, in events and in fields.

use super::*;
use crate::record::zone::Zone;
use chrono::{DateTime, SecondsFormat, Utc};

const NOW: &str = "2026-11-26T21:30:55Z";

fn ns(text: &str) -> i64 {
    DateTime::parse_from_rfc3339(text)
        .expect("a time")
        .timestamp_nanos_opt()
        .expect("in range")
}

fn reader(format: &str, zone: &str) -> TimeReader {
    let zone = Zone::parse(zone, None).expect("a zone");
    TimeReader::new(
        TimeFormat::parse(format).expect("a format"),
        ZoneClock::new(zone),
    )
}

fn in_event(format: &str, zone: &str, event: &str) -> Option<String> {
    reader(format, zone)
        .of_event(event.as_bytes(), ns(NOW))
        .map(shown)
}

fn shown(time_ns: i64) -> String {
    let mut out = Vec::new();
    push_rfc3339(&mut out, time_ns);
    String::from_utf8(out).expect("ASCII")
}

#[test]
fn times_of_known_logs_are_read() {
    let t = |text: &str| Some(text.to_string());
    let cases = [
        (
            "rfc3339",
            "2026-11-26T22:30:54.116+01:00 INFO",
            t("2026-11-26T21:30:54.116Z"),
        ),
        (
            "rfc3339",
            "2026-11-26T21:30:54.123456789Z x",
            t("2026-11-26T21:30:54.123456789Z"),
        ),
        (
            "rfc3339",
            "2026-11-26T21:30:54.1234567891Z x",
            t("2026-11-26T21:30:54.123456789Z"),
        ),
        (
            "rfc3339",
            "2026-11-26t21:30:54.123400z",
            t("2026-11-26T21:30:54.123400Z"),
        ),
        (
            "rfc3339",
            "[2026-11-27 05:30:54,5] x",
            t("2026-11-26T21:30:54.500Z"),
        ),
        (
            "rfc3339",
            "level=info ts=2026-11-26T21:30:54Z",
            t("2026-11-26T21:30:54.000Z"),
        ),
        ("rfc3339", "x2026-11-26T21:30:54Z", None),
        ("rfc3339", "2026-11-26T21:30:5", None),
        ("rfc3339", "2026-11-26T21:30:541", None),
        ("rfc3339", "2026-02-29T21:30:54Z", None),
        ("epoch", "1795728655 x", t("2026-11-26T21:30:55.000Z")),
        ("epoch", " [1795728655.25] x", t("2026-11-26T21:30:55.250Z")),
        ("epoch", "-1.5", t("1969-12-31T23:59:58.500Z")),
        ("epoch", "took 12 ms", None),
        ("epoch", "12ab", None),
        ("epoch_ms", "1795728655123", t("2026-11-26T21:30:55.123Z")),
        (
            "epoch_ms",
            "1795728655123.25",
            t("2026-11-26T21:30:55.123250Z"),
        ),
        (
            "[%Y-%m-%d %H:%M:%S,%f]",
            "[2026-11-27 05:30:54,116] x",
            t("2026-11-26T21:30:54.116Z"),
        ),
        (
            "%Y-%m-%d %H:%M:%S.%f",
            "2026-11-27 05:30:54,116 ERROR",
            t("2026-11-26T21:30:54.116Z"),
        ),
        (
            "%Y-%m-%d %H:%M:%S.%f",
            "2026-11-27 05:30:54 ERROR",
            t("2026-11-26T21:30:54.000Z"),
        ),
        (
            "%F %T %f",
            "2026-11-27 05:30:54 000001 x",
            t("2026-11-26T21:30:54.000001Z"),
        ),
        (
            "%F %T:%f",
            "2026-11-27 05:30:54:7",
            t("2026-11-26T21:30:54.700Z"),
        ),
        (
            "%d/%b/%Y:%H:%M:%S %z",
            "10.0.0.7 - - [26/Nov/2026:22:30:54 +0100] \"GET /",
            t("2026-11-26T21:30:54.000Z"),
        ),
        (
            "%d/%b/%Y:%T %z",
            "::ffff:10.0.0.7 - - [26/Nov/2026:22:30:54 -0330] \"GET /",
            t("2026-11-27T02:00:54.000Z"),
        ),
        (
            "%a %b %d %H:%M:%S.%f %Y",
            "[Fri Nov 27 05:30:54.123456 2026] [core:error]",
            t("2026-11-26T21:30:54.123456Z"),
        ),
        (
            "%b %e %H:%M:%S",
            "Nov  7 05:30:54 web1 sshd[1]: x",
            t("2026-11-06T21:30:54.000Z"),
        ),
        (
            "%b %d %H:%M:%S",
            "<34>Dec  1 00:00:00 web1 x",
            t("2025-11-30T16:00:00.000Z"),
        ),
        (
            "%B %d, %Y %I:%M:%S %p",
            "november 27, 2026 12:05:06 am",
            t("2026-11-26T16:05:06.000Z"),
        ),
        (
            "%d.%m.%y %I:%M %p",
            "27.11.26 12:05 PM",
            t("2026-11-27T04:05:00.000Z"),
        ),
        (
            "%y%m%d %H:%M:%S",
            "690101  1:02:03",
            t("1968-12-31T17:02:03.000Z"),
        ),
        ("%Y.%j %H", "2024.366 08", t("2024-12-31T00:00:00.000Z")),
        (
            "%Y%m%d%H%M%S",
            "20261127053054",
            t("2026-11-26T21:30:54.000Z"),
        ),
        (
            "%d-%b-%Y %H:%M:%S %Z",
            "[26-Nov-2026 21:30:54 UTC] PHP",
            t("2026-11-26T21:30:54.000Z"),
        ),
        (
            "%d-%b-%Y %H:%M:%S %Z",
            "[27-Nov-2026 05:30:54 CST] PHP",
            t("2026-11-26T21:30:54.000Z"),
        ),
        (
            "ts=%s.%f",
            "a ts=1795728655.5 b",
            t("2026-11-26T21:30:55.500Z"),
        ),
        ("%d %% %m", "26 % 11", t("2026-11-25T16:00:00.000Z")),
        (
            "%Y-%m-%d %H:%M:%S",
            "2016-12-31 23:59:60",
            t("2016-12-31T16:00:00.000Z"),
        ),
        ("%Y-%m-%d %H:%M:%S", "2026-11-26 24:00:00", None),
        ("%Y-%m-%d %H:%M:%S", "9999-11-26 20:00:00", None),
        ("%Y-%m-%d %H:%M:%S", "no time at all", None),
        ("%Y-%m-%d %H:%M:%S", "", None),
    ];
    for (format, event, expected) in cases {
        assert_eq!(
            in_event(format, "+08:00", event),
            expected,
            "{format} in {event}"
        );
    }
}

#[test]
fn a_time_is_looked_for_within_the_first_128_bytes() {
    let event = |blanks: usize| format!("{}2026-11-26 21:30:54", " ".repeat(blanks));
    assert!(in_event("%F %T", "UTC", &event(SEARCHED_BYTES - 1)).is_some());
    assert!(in_event("%F %T", "UTC", &event(SEARCHED_BYTES)).is_none());
}

#[test]
fn a_field_holds_a_time_and_nothing_else() {
    let of_value = |text: &str| {
        reader("rfc3339", "UTC")
            .of_value(text.as_bytes(), ns(NOW))
            .map(shown)
    };
    assert_eq!(
        of_value(" 2026-11-26T21:30:54Z\n").as_deref(),
        Some("2026-11-26T21:30:54.000Z")
    );
    assert_eq!(of_value("2026-11-26T21:30:54Z x"), None);
    assert_eq!(of_value(""), None);
}

#[test]
fn a_year_that_is_missing_is_the_nearest_past_one() {
    let read = |text: &str, now: &str| {
        reader("%b %d %H:%M:%S", "UTC")
            .of_value(text.as_bytes(), ns(now))
            .map(shown)
    };
    let cases = [
        (
            "Dec 31 23:59:59",
            "2027-01-01T00:00:01Z",
            "2026-12-31T23:59:59.000Z",
        ),
        (
            "Jan 1 00:00:00",
            "2026-12-31T23:59:59Z",
            "2027-01-01T00:00:00.000Z",
        ), // the writer's clock is ahead
        (
            "Nov 28 00:00:00",
            "2026-11-26T00:00:00Z",
            "2025-11-28T00:00:00.000Z",
        ),
        (
            "Feb 29 01:00:00",
            "2027-11-26T00:00:00Z",
            "2024-02-29T01:00:00.000Z",
        ),
    ];
    for (text, now, expected) in cases {
        assert_eq!(read(text, now).as_deref(), Some(expected));
    }
    assert_eq!(read("Feb 30 01:00:00", NOW), None);
}

#[test]
fn wrong_formats_are_refused_with_their_place() {
    let cases = [
        ("%Y-%Q", 3, "%Q is not known"),
        ("é%é", 2, "%é is not known"),
        (
            "%Y-%m-%d %",
            9,
            "the format ends after a %\n  write %% for the character",
        ),
        ("%H:%M:%S", 0, "the format has no day: %d, %j or %s"),
        ("%Y %d", 0, "the format has no month: %m or %b"),
        ("%d %m %I", 6, "%I needs %p; %H is the hour of the day"),
        ("%d %m %H %p", 9, "%p needs %I, the hour of the half day"),
        (
            "rfc3399",
            0,
            "unknown time format 'rfc3399'\n  write rfc3339, epoch, epoch_ms or fields such as %Y-%m-%d %H:%M:%S",
        ),
    ];
    for (format, at, expected) in cases {
        let error = TimeFormat::parse(format).expect_err(format);
        assert_eq!((error.at, error.to_string().as_str()), (at, expected));
    }
}

#[test]
fn random_times_are_read_and_written_as_chrono_does() {
    let mut random = fastrand::Rng::with_seed(11);
    let formats = [
        "%Y-%m-%d %H:%M:%S.%f",
        "%d/%b/%Y:%T.%f",
        "%a %B %e %I:%M:%S.%f %p %Y",
        "%j %Y %H:%M:%S,%f",
        "%s.%f",
    ];
    let mut readers: Vec<TimeReader> = formats.iter().map(|format| reader(format, "UTC")).collect();
    let mut rfc3339 = reader("rfc3339", "UTC");
    for round in 0..100_000 {
        let (format, reader) = (
            formats[round % formats.len()],
            &mut readers[round % formats.len()],
        );
        let time_ns = random.i64(0..9_000_000_000_000_000_000);
        let time = DateTime::<Utc>::from_timestamp_nanos(time_ns);
        let text = time.format(format).to_string();
        assert_eq!(reader.of_event(text.as_bytes(), 0), Some(time_ns), "{text}");
        let unit = [1, 1000, 1_000_000][round % 3];
        let time_ns =
            random.i64(-9_000_000_000_000_000_000..9_000_000_000_000_000_000) / unit * unit;
        let places = match time_ns {
            _ if time_ns % 1_000_000 == 0 => SecondsFormat::Millis,
            _ if time_ns % 1000 == 0 => SecondsFormat::Micros,
            _ => SecondsFormat::Nanos,
        };
        let time = DateTime::<Utc>::from_timestamp_nanos(time_ns);
        let text = shown(time_ns);
        assert_eq!(text, time.to_rfc3339_opts(places, true));
        assert_eq!(rfc3339.of_value(text.as_bytes(), 0), Some(time_ns));
    }
}
