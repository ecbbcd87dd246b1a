use super::*;

fn parsed(base: &str, name: &str) -> Option<RotatedName> {
    RotatedName::parse(base.as_bytes(), name.as_bytes())
}

/// Names of app.log that rotation gives, each with what it comes from.
const ROTATED: &[&str] = &[
    // logrotate, Python, log4j, Docker
    "app.log.0",
    "app.log.1",
    "app.log.12",
    "app.log.100",
    "app.log.1.gz",
    "app.log.1.zst",
    "app.log.1.bz2",
    "app.log.1.xz",
    "app.log.1.Z",
    "app.log.1.lz4",
    "app.log-1",
    // logrotate's dateext and any dateformat
    "app.log-20261122",
    "app.log-20261122.gz",
    "app.log-2026112210.backup",
    "app.log-2026112210",
    "app.log-202611221015",
    "app.log-20261122101533",
    "app.log-20261122-101533",
    "app.log-2026-11-22",
    "app.log.2026.11.22",
    "app.log_2026_11_22_10_15",
    "app.log-20261122-1732700000",
    "app.log-1732700000",
    "app.log.1732700000.gz",
    "app.log.1732700000123",
    "app.log-1732700000123456789",
    "app.log-2026-48",
    "app.log-202648",
    "app.log-2026W48",
    "app.log-2026-11",
    "app.log-2026",
    "app.log-22112026",
    "app.log-22-11-2026",
    "app.log-1127",
    "app.log20261127",
    "app.log20261127.gz",
    "app.log2026112710",
    "app.log-2026-1127",
    "app.log-2026-11-2710",
    // logrotate's extension
    "app.1.log",
    "app.1.log.gz",
    "app-20261127.log",
    "app20261127.log",
    "app-20261127.log.gz",
    "app-2026112710.log",
    "app-1732700000.log",
    "app-1732700000.log.gz",
    "app-1732700000123.log",
    // log4j2 and logback
    "app.12.log",
    "app-2026-11-26.log.gz",
    "app-2026-11-26.1.log.gz",
    "app.2026-11-26.1.log",
    "app-2026-11-26-3.log.gz",
    "app-11-26-2026-1.log.gz",
    "app-2026-11.3.log.zip",
    "app-2026-11-26-10.1.log",
    "app.log.2026-11-26.1",
    // Python's TimedRotatingFileHandler, and with times and zones
    "app.log.2026-11-27_10",
    "app.log.2026-11-27_10-15-33",
    "app.log.2026-11-22T10:00:00Z",
    "app.log.2026-11-22T10:00:00+01:00",
    // flexi_logger
    "app_r00001.log",
    "app_r00001.log.gz",
    // lumberjack
    "app-2006-01-02T15-04-05.000.log",
    "app-2006-01-02T15-04-05.000.log.gz",
    // rotating-file-stream
    "20121217-1234-01-app.log",
    "20121217-1234-01-app.log.gz",
    "2026-11-27_app.log",
    // winston
    "app-2026-11-26.log.1",
    // one file from before
    "app.log.old",
    "app.log.bak",
    "app.log.prev",
    "app.log~",
    "app.log.backup",
    "app.log.orig",
    "app.log.save",
    "app.log.gz",
    "app.log.1.bak",
    "app.log.bak.1",
    "app.log.bak.gz",
    "app.log.1.gz.bak",
    "app.old.log",
];

/// Rotated names of other logs.
const ROTATED_OF: &[(&str, &str)] = &[
    ("syslog", "syslog.1"),
    ("syslog", "syslog-20261127.gz"),
    ("0.log", "0.log.20261127-101533"),
    ("0.log", "0.log.20261127-101533.gz"),
    ("app.old", "app-20261127.old"),
    ("a.log.json", "a-20261127.log.json.gz"),
    ("a.log.json", "a.log-20261127.json"),
    ("x-json.log", "x-json.log.1"),
    (".hidden", ".hidden.1"),
    ("current", "@400000006123456712345678.s"),
    ("current", "@400000006123456712345678.u"),
    ("current", "@400000006123456712345678.t"),
    ("current", "previous"),
];

/// Names beside app.log that are nothing of it.
const OTHER: &[&str] = &[
    "app.log",
    "app.log.filter",
    "app.log.swp",
    "app.log.tmp",
    "app.log.1.tmp",
    "app.log.lock",
    ".app.log.swp",
    "app2.log",
    "app-2.log",
    "app_2.log",
    "app-8080.log",
    "app.8080.log",
    "app-100001.log",
    "app-1700000000x.log",
    "app-4700000000.log",
    "app-170000000000.log",
    "app-2026.log",
    "app-20261327.log",
    "app-20261132.log",
    "app-18991127.log",
    "app-11122026.log",
    "app.log2",
    "app.log22",
    "app.log-12345",
    "app.log.1234567",
    "app.log-99999999",
    "app.log.1.2.3",
    "app.log.",
    "app.log-",
    "app.logrotate",
    "apq.log.1",
    "other.log.1",
    "my-app.log",
    "1-app.log",
    "8080-app.log",
    "20261127app.log",
    "app-worker-1.log",
    "app-worker.1.log",
    "app..log",
    "app-r1.log",
    "app_rx.log",
    "@400000006123456712345678.s",
    "previous",
    "app-2026-11-26-x.log",
    "app",
    "",
];

#[test]
fn names_that_rotation_gives_are_known() {
    for name in ROTATED {
        assert!(parsed("app.log", name).is_some(), "{name}");
    }
    for (base, name) in ROTATED_OF {
        assert!(parsed(base, name).is_some(), "{base} {name}");
    }
}

#[test]
fn a_port_a_process_or_a_shard_is_no_rotated_name() {
    for name in OTHER {
        assert_eq!(parsed("app.log", name), None, "{name}");
    }
    for (base, name) in [
        ("current", "@40000000612345671234567.s"),
        ("current", "@40000000612345671234567G.s"),
        ("current", "@400000006123456712345678"),
        ("current", "state"),
        ("current", "lock"),
        ("a.log.json", "a.1.log.json"),
        ("a.7.log", "a-20261127.7.log"),
        (".log", "x.1.log"),
        ("", "1"),
    ] {
        assert_eq!(parsed(base, name), None, "{base} {name}");
    }
}

#[test]
fn each_rotated_name_is_where_it_is_looked_for() {
    let is_found = |base: &str, name: &str| {
        let is_of = |start: &[u8]| name.as_bytes().starts_with(start);
        let base = base.as_bytes();
        prefixes(base).iter().any(|prefix| is_of(prefix))
            || starts_after_date(name.as_bytes()).any(|at| name.as_bytes()[at..].starts_with(base))
    };
    for name in ROTATED {
        assert!(is_found("app.log", name), "{name}");
    }
    for (base, name) in ROTATED_OF {
        assert!(is_found(base, name), "{base} {name}");
    }
    assert!(!is_found("app.log", "other-20261127.log"));
    assert!(!is_found("a.log.json", "ab.log.json"));
}

#[test]
fn names_that_are_not_utf8_are_names() {
    let parsed = RotatedName::parse(b"\xFF\n.log", b"\xFF\n.log.1.gz");
    assert!(parsed.is_some_and(|name| name.is_compressed()));
    assert!(RotatedName::parse(b"\xFF.log", b"\xFF-20261127.log").is_some());
    assert_eq!(RotatedName::parse(b"\xFF.log", b"\xFE.log.1"), None);
    assert_eq!(RotatedName::parse(b"a.log", b"a.log.\xFF"), None);
}

#[test]
fn archives_are_known_by_their_endings() {
    for (name, expected) in [
        ("app.log.1", false),
        ("app.log.1.gz", true),
        ("app.log.gz", true),
        ("app.log.1.lz4", true),
        ("app.1.log", false),
        ("app.log.bak", false),
    ] {
        let parsed = parsed("app.log", name).map(|name| name.is_compressed());
        assert_eq!(parsed, Some(expected), "{name}");
    }
}

#[test]
fn names_of_one_scheme_are_ordered() {
    for (base, older, younger) in [
        ("app.log", "app.log.2", "app.log.1"),
        ("app.log", "app.log.10.gz", "app.log.9"),
        ("app.log", "app.2.log", "app.1.log.gz"),
        ("app.log", "app.log-20261126.gz", "app.log-20261127"),
        ("app.log", "app.log-2026-11-26", "app.log-20261127"),
        (
            "app.log",
            "app-2026-11-26.9.log.gz",
            "app-2026-11-26.10.log",
        ),
        ("app.log", "app-2026-11-26.9.log.gz", "app-2026-11-27.1.log"),
        ("app.log", "app-11-26-2026-9.log", "app-11-26-2026-10.log"),
        ("app.log", "app-2026-11-26.log", "app-2026-11-26.log.1"),
        ("app.log", "app_r00009.log", "app_r00010.log"),
        (
            "app.log",
            "app-2006-01-02T15-04-05.000.log.gz",
            "app-2006-01-02T15-04-05.001.log",
        ),
        (
            "app.log",
            "20121217-1234-01-app.log.gz",
            "20121217-1234-02-app.log",
        ),
        ("app.log", "app.log.1732700000", "app.log.1732700001"),
        ("app.log", "app.log-2026-47", "app.log-2026-48"),
        (
            "current",
            "@400000006123456712345678.s",
            "@400000006123456712345679.u",
        ),
    ] {
        let (one, other) = (parsed(base, older), parsed(base, younger));
        let order = one.zip(other).and_then(|(one, other)| {
            let back = other.compare(&one, one.usual_counting())?.reverse();
            let order = one.compare(&other, one.usual_counting())?;
            assert_eq!(order, back);
            Some(order)
        });
        assert_eq!(order, Some(Ordering::Less), "{older} {younger}");
    }
}

#[test]
fn names_of_two_schemes_say_nothing_of_their_order() {
    for (one, other) in [
        ("app.log.1", "app.1.log"),
        ("app.log.1", "app.log-20261127"),
        ("app.log.1", "app.log.old"),
        ("app.log.1", "app.log.1.bak"),
        ("app.log-20261127", "app.log-2026112710.backup"),
        ("app-11-12-2026.log", "app-12-11-2026.log"),
    ] {
        let (one, other) = (parsed("app.log", one), parsed("app.log", other));
        let (one, other) = one.zip(other).expect("both are rotated names");
        assert_eq!(
            one.compare(&other, Counting::Down),
            None,
            "{one:?} {other:?}"
        );
    }
    let (one, archive) = (
        parsed("app.log", "app.log.1"),
        parsed("app.log", "app.log.1.gz"),
    );
    let (one, archive) = one.zip(archive).expect("both are rotated names");
    assert_eq!(one.compare(&archive, Counting::Down), Some(Ordering::Equal));
}

#[test]
fn a_dated_folder_dates_what_lies_in_it() {
    let below = |folders: &str, name: &str| {
        RotatedName::parse_below(folders.as_bytes(), b"app.log", name.as_bytes())
    };
    for (older, younger) in [
        (("2026/11/26", "app.log"), ("2026/11/27", "app.log.gz")),
        (("2026-11", "app.log.gz"), ("2026-12", "app.log")),
        (("2026-11-26", "app.9.log"), ("2026-11-27", "app.1.log")),
        (("2026-11-26", "app.1.log"), ("2026-11-26", "app.2.log")),
        (
            ("2026/10", "app-2026-10-31.1.log.gz"),
            ("2026/11", "app-2026-11-01.1.log.gz"),
        ),
    ] {
        let (one, other) = (below(older.0, older.1), below(younger.0, younger.1));
        let (one, other) = one.zip(other).expect("both are rotated names");
        let order = one.compare(&other, one.usual_counting());
        assert_eq!(order, Some(Ordering::Less), "{older:?} {younger:?}");
    }
    assert!(below("2026", "app.log").is_some());
    assert_eq!(below("2026", "other.log"), None);
    assert_eq!(below("x", "app.log"), None);
}

#[test]
fn folders_are_dated_by_year_month_or_day() {
    use DatedFolder::{Day, Month, Year};
    for (name, parent, expected) in [
        ("2026", None, Some(Year)),
        ("2026-11", None, Some(Month)),
        ("202611", None, Some(Month)),
        ("20261126", None, Some(Day)),
        ("2026-11-26", None, Some(Day)),
        ("2026_11_26", None, Some(Day)),
        ("11", Some(Year), Some(Month)),
        ("26", Some(Month), Some(Day)),
        ("2026-11", Some(Year), Some(Month)),
        ("11", None, None),
        ("13", Some(Year), None),
        ("32", Some(Month), None),
        ("26", Some(Day), None),
        ("8080", None, None),
        ("2026-11-26-3", None, None),
        ("archive", None, None),
        ("", None, None),
    ] {
        let found = DatedFolder::parse(name.as_bytes(), parent);
        assert_eq!(found, expected, "{name} in {parent:?}");
    }
}

#[test]
fn the_name_of_the_log_is_told_from_a_rotated_one() {
    for (name, expected) in [
        ("app.1.log", "app.log"),
        ("app.log.3.gz", "app.log"),
        ("app.log-20261127", "app.log"),
        ("app.log20261127", "app.log"),
        ("app-2026-11-26.1.log.gz", "app.log"),
        ("app-11-26-2026-1.log.gz", "app.log"),
        ("app-8080-20261127.log", "app-8080.log"),
        ("app-8080.1.log", "app-8080.log"),
        ("app_r00001.log", "app.log"),
        ("app-2006-01-02T15-04-05.000.log.gz", "app.log"),
        ("20121217-1234-01-app.log.gz", "app.log"),
        ("app.log.bak", "app.log"),
        ("app.log~", "app.log"),
        ("app.log.gz", "app.log"),
        ("syslog.1", "syslog"),
        ("@400000006123456712345678.s", "current"),
        ("app-2026-11-26.log.1", "app-2026-11-26.log"),
    ] {
        let base = family_base(name.as_bytes());
        assert_eq!(base.as_deref(), Some(expected.as_bytes()), "{name}");
    }
    for name in [
        "app.log",
        "app-8080.log",
        "app-2",
        "app.log2",
        "current",
        "",
        ".",
        "1",
    ] {
        assert_eq!(family_base(name.as_bytes()), None, "{name}");
    }
}

#[test]
fn random_names_are_read_without_a_panic_and_the_guessed_log_fits() {
    let mut random = fastrand::Rng::with_seed(27);
    let pieces: [&[u8]; 16] = [
        b"app",
        b".log",
        b".",
        b"-",
        b"_",
        b"2026",
        b"11",
        b"27",
        b"1",
        b"@4",
        b".gz",
        b"~",
        b"\xFF",
        b"T",
        b"_r",
        b"99999999999999999999",
    ];
    let mut guessed = 0;
    for _ in 0..100_000 {
        let name: Vec<u8> = (0..random.usize(..8))
            .flat_map(|_| pieces[random.usize(..pieces.len())].to_vec())
            .collect();
        let _ = DatedFolder::parse(&name, Some(DatedFolder::Year));
        let _ = RotatedName::parse_below(b"2026/11", b"app.log", &name);
        if let Some(base) = family_base(&name) {
            assert!(RotatedName::parse(&base, &name).is_some());
            assert_ne!(base, name);
            guessed += 1;
        }
    }
    assert!(guessed > 1_000, "only {guessed}");
}

#[test]
fn names_of_one_scheme_differ_in_numbers_and_months_alone() {
    for (one, other, is_same) in [
        ("app.log.old1", "app.log.old27", true),
        ("app.log.old1", "app.log.old2.gz", true),
        ("app.log.29-Nov-2026", "app.log.1-dec-2026", true),
        ("app_saved_7.log", "app_saved_8.log", true),
        ("app.log.old1", "app.log.new1", false),
        ("app.log.old1", "app.log.old-1", false),
        ("app.log.old1", "app.log.old1.2", false),
        ("app-1.log", "web-1.log", false),
    ] {
        let schemes = [one, other].map(|name| scheme_of(name.as_bytes()).expect("it has a number"));
        assert_eq!(schemes[0] == schemes[1], is_same, "{one}, {other}");
    }
    assert_eq!(
        scheme_of(b"app.log.saved"),
        None,
        "nothing tells it from others"
    );
    assert_eq!(scheme_of(b""), None);
}
