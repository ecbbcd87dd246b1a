//! What is made of a snapshot: screens and JSON.

use super::*;
use crate::snapshot::LastMinute;
use crate::wall_clock::{clock, zone};

fn screen(now: &Snapshot, view: &View) -> Screen {
    Screen::new(now, at(), view)
}

fn few() -> View {
    View {
        most_files: 20,
        ..View::default()
    }
}

#[test]
fn the_screen_has_the_form_that_operators_know() {
    let screen = screen(&later(sample()), &few());
    let text = screen.text(false);
    let (head, rest) = text.split_once('\n').unwrap();
    // The time is that of this host.
    let (before, after) = head.split_once(" of ").unwrap();
    assert_eq!(before, "logagent 0.2.0  pid 4711  up 3d 4h  logagent.ini");
    assert!(after.ends_with(":02:00"), "{after}");
    let (reloaded, since) = (clock(ago(725), at()), clock(ago(125), at()));
    let zone = zone(at());
    assert_eq!(
        rest,
        format!(
            "\
PARKED  2 of 19 files, 1.2 GiB, oldest line 4m10s    lost 0 B  dead letters 2

FOR  WHAT IS WRONG
2m   topic audit: TOPIC_AUTHORIZATION_FAILED (29); the principal needs the
     rights WRITE and DESCRIBE on this topic, and CREATE if it is to be made, or
     set topic to one that it may write; since {since}

LOG    FILES  BEHIND      LAG    AGE   READ/s  ACKED/s  DROPPED  LOST
app       13       1  1.2 GiB  4m10s  8.1 MiB  8.0 MiB     1203     0
web        4       1   12 KiB     0s  310 KiB      0 B    88110     0
audit      2       0        0     0s      0 B      0 B        0     0

FILE, worst first                            POSITION      SIZE       LAG    AGE
/srv/shop/log/app.log                         812 MiB   2.0 GiB   1.2 GiB  4m10s
/var/log/nginx/access.log                     1.1 GiB   1.1 GiB    12 KiB     0s
... 17 files at their end (-a shows all)

TOPIC    RECORDS/s  IN FLIGHT  RETRIES  STATE
audit            0        0 B       12  PARKED 2m05s, again in 7s
app_log      41204    3.1 MiB        0  ok
web_log       1630    102 KiB        0  ok

BROKER       UP     AS              IN FLIGHT  p50 ms  p99 ms  ERROR
kafka3:9093  no     -                       0       -       -  timed out, again
                                                               in 4s
kafka1:9093  3d 4h  4.1 TLS, SCRAM          2     3.9     9.5  -
kafka2:9093  3d 4h  no TLS                  1       -       -  -
buffers 31 of 64 MiB   positions written 0.4 s ago
process 42 MiB   threads 9   descriptors 35 of 1024, 21 of them files
ini /etc/logagent/logagent.ini of {after}, reloaded at {reloaded} {zone}
"
        )
    );
    // What no other table shows comes first.
    let mut snapshot = later(sample());
    snapshot.conditions[0].subject = "/var/log/secret.log".to_owned();
    snapshot.conditions[0].reason = "not authorized".to_owned();
    let text = screen_of(&snapshot);
    let conditions = format!(
        "\n\nFOR  WHAT IS WRONG\n2m   /var/log/secret.log: not authorized; since {since}\n\nLOG "
    );
    assert!(text.contains(&conditions), "{text}");
    // A path is not said twice.
    snapshot.conditions[0].reason = "'/var/log/secret.log' cannot be read".to_owned();
    let text = screen_of(&snapshot);
    assert!(
        text.contains("\n2m   /var/log/secret.log cannot be read; since "),
        "{text}"
    );
}

fn screen_of(snapshot: &Snapshot) -> String {
    screen(snapshot, &few()).text(false)
}

#[test]
fn no_line_has_more_than_80_columns_or_anything_but_ascii_whatever_the_names_are() {
    let mut snapshot = later(sample());
    let long = "\u{1b}[2J\u{4e2d}\u{e4}".repeat(30);
    snapshot.config.path = format!("/{long}").into();
    snapshot.config.refusal = Some(long.clone());
    snapshot.config.is_changed = true;
    snapshot.config.waits_for_restart = vec!["[agent] id".to_owned()];
    snapshot.unanswered.push(long.clone());
    snapshot.follows_nothing.push(FollowsNothing {
        log: "audit".to_owned(),
        why: long.clone(),
    });
    snapshot.conditions[0].reason = long.clone();
    snapshot.topics[1].name = "t".repeat(249);
    snapshot.topics[1].parked = Some((long.clone(), ago(99)));
    snapshot.brokers[2].address = format!("{}:9093", "b".repeat(250));
    snapshot.brokers[2].last_error = Some(long.clone());
    snapshot.files[1].path = format!("/srv/{long}/app.log").into();
    (snapshot.files[1].size, snapshot.files[1].behind_since) = (u64::MAX, Some(UNIX_EPOCH));
    snapshot.logs[2].name = "l".repeat(200);
    snapshot.logs[2].dropped[0].1 = u64::MAX;
    snapshot.logs[2].lost_bytes = vec![("deleted", u64::MAX)];
    (snapshot.logs[2].read_bytes, snapshot.logs[2].acked_bytes) = (u64::MAX, u64::MAX);
    for order in [Order::Worst, Order::Lag, Order::Path] {
        let view = View {
            all: true,
            order,
            ..few()
        };
        let screen = screen(&snapshot, &view);
        for line in screen.text(false).lines() {
            assert!(
                line.len() <= 80 && line.is_ascii() && !line.contains('\x1b'),
                "{line}"
            );
        }
        let page = screen.html();
        assert!(!page.contains('\x1b') && !page.contains("://"), "{page}");
        // What is bad is red, and what is not has no colour.
        let coloured = screen.text(true);
        assert!(coloured.contains("\x1b[31mPARKED\x1b[0m"));
        let plain = coloured.replace("\x1b[31m", "").replace("\x1b[0m", "");
        assert_eq!(plain, screen.text(false));
    }
}

#[test]
fn one_word_says_whether_somebody_should_look() {
    let mut snapshot = sample();
    let mut words = vec![screen(&snapshot, &few()).word];
    snapshot.files[1].position = snapshot.files[1].size;
    words.push(screen(&snapshot, &few()).word);
    snapshot.topics[1].parked = None;
    words.push(screen(&snapshot, &few()).word);
    snapshot.conditions.clear();
    words.push(screen(&snapshot, &few()).word);
    snapshot.conditions = sample().conditions;
    snapshot.conditions[0].level = log::Level::Warn;
    words.push(screen(&snapshot, &few()).word);
    snapshot.conditions.clear();
    snapshot.logs[0].lost_bytes = vec![("truncated", 1)];
    // What was lost long ago is counted, and calls nobody any more.
    snapshot.logs[0].last_lost = Some(ago(3601));
    words.push(screen(&snapshot, &few()).word);
    snapshot.logs[0].last_lost = Some(ago(3599));
    words.push(screen(&snapshot, &few()).word);
    assert!(
        screen(&snapshot, &few())
            .sum
            .contains("lost 1 B 59 min ago")
    );
    snapshot.files[0].state = FileState::Failed;
    words.push(screen(&snapshot, &few()).word);
    // What an earlier run has lost is in no counter of this one.
    let mut earlier = sample();
    earlier.files.clear();
    earlier.conditions.clear();
    earlier.topics[1].parked = None;
    let lost = |seconds| Loss {
        at: ago(seconds),
        log: "app".to_owned(),
        path: "/log/app.log".to_owned(),
        bytes: 7,
        offset: 99,
        why: "truncated".to_owned(),
    };
    earlier.process.started = Some(ago(60));
    for (seconds, word) in [(3601, "OK"), (3599, "LOST")] {
        earlier.losses.push(lost(seconds));
        assert_eq!(screen(&earlier, &few()).word, word);
    }
    let said = screen(&earlier, &few()).text(false);
    assert!(said.contains("lost 14 B 59 min ago"), "{said}");
    assert!(
        said.contains(&format!(
            "{}    7 B  /log/app.log from offset 99 on: truncated",
            clock(ago(3599), at())
        )),
        "{said}"
    );
    let expected = [
        "PARKED", "PARKED", "WRONG", "OK", "WRONG", "OK", "LOST", "FAILED",
    ];
    assert_eq!(words, expected);
    // The beginning of a line that nobody has ended is not behind.
    let mut snapshot = sample();
    snapshot.files[1].unended = snapshot.files[1].lag();
    snapshot.topics[1].parked = None;
    assert_eq!(screen(&snapshot, &few()).word, "WRONG");
    // Whoever sees all files sees why its position is before its end.
    let all = View { all: true, ..few() };
    let text = screen(&snapshot, &all).text(false);
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let words =
        "at the ends of files: the beginning of a line or of an event, whose end is awaited.";
    assert!(text.contains(words), "{text}");
}

#[test]
fn an_agent_that_was_never_asked_to_send_says_so_and_one_file_is_one() {
    let mut snapshot = sample();
    (snapshot.topics, snapshot.brokers) = (vec![], vec![]);
    snapshot.conditions.clear();
    let text = screen_of(&snapshot);
    assert!(text.contains("\n\nTOPIC: none was sent to yet\n"), "{text}");
    assert!(text.contains("\n\nBROKER: not connected yet\n"), "{text}");
    // A member of the cluster that was not needed is not down.
    snapshot.brokers.push(BrokerStatus {
        address: "kafka1:9092".to_owned(),
        ..BrokerStatus::default()
    });
    let text = screen_of(&snapshot);
    assert!(text.contains("\nkafka1:9092  -   - "), "{text}");
    snapshot.files.truncate(3);
    let text = screen_of(&snapshot);
    assert!(
        text.contains("\n... 1 file at its end (-a shows all)\n"),
        "{text}"
    );
    snapshot.files.remove(0);
    let text = screen_of(&snapshot);
    assert!(text.contains("\nBEHIND  1 of 2 files, "), "{text}");
    // The last line goes on below where it is too long.
    (snapshot.process.memory_used, snapshot.positions.failures) = (1023 << 10, 1_000_000);
    let text = screen_of(&snapshot);
    let foot = "\nbuffers 1023 KiB of 64 MiB   positions written 0.4 s ago, failed 1000000 times\n\
                process 42 MiB   threads 9   descriptors 35 of 1024, 21 of them files\n";
    assert!(text.contains(foot), "{text}");
    snapshot.minute = LastMinute {
        records: 12_345,
        bytes: 5 << 20,
        over: Duration::from_secs(55),
    };
    let text = screen_of(&snapshot);
    let line = "\nacknowledged in the last minute: 12345 records, 5.0 MiB\nbuffers ";
    assert!(text.contains(line), "{text}");
    snapshot.minute.over = Duration::from_secs(7);
    assert!(screen_of(&snapshot).contains("acknowledged in the last 7 s: "));
}

#[test]
fn what_is_not_followed_is_counted_and_the_first_are_named_with_the_reason() {
    let mut snapshot = sample();
    let one = |n: usize, kind: &str, reason: &str| NotFollowed {
        path: format!("/srv/shop/log/app-{n}.log").into(),
        log: "app".to_owned(),
        kind: kind.to_owned(),
        reason: reason.to_owned(),
    };
    let second = "second name of '/srv/shop/log/app.log'";
    snapshot.not_followed = (0..7).map(|n| one(n, "second name", second)).collect();
    let excluded = "excluded by '*.gz'";
    snapshot.not_followed.push(one(8, "excluded", excluded));
    let counts = [("excluded", 1), ("second name", 7)];
    snapshot.not_followed_counts = counts.map(|(why, n)| (why.to_owned(), n)).into();
    let text = screen_of(&snapshot);
    let block = "\n\nLOG  NOT FOLLOWED\n\
                 app  /srv/shop/log/app-0.log: second name of '/srv/shop/log/app.log'\n";
    assert!(text.contains(block), "{text}");
    assert_eq!(text.matches("second name of").count(), 5, "{text}");
    let note = "\nnot followed: excluded 1, second name 7 (-a shows all)\nbuffers ";
    assert!(text.contains(note) && !text.contains(excluded), "{text}");
    let view = View { all: true, ..few() };
    let text = screen(&snapshot, &view).text(false);
    assert!(
        text.contains("/srv/shop/log/app-8.log: excluded by '*.gz'"),
        "{text}"
    );
    assert!(
        text.contains("\nnot followed: excluded 1, second name 7\n"),
        "{text}"
    );
    // By its name in any folder.
    let view = View {
        only: Some("app-8.log".to_owned()),
        ..few()
    };
    let screen = screen(&snapshot, &view);
    assert_eq!((screen.word, &screen.missing), ("NOT FOLLOWED", &None));
}

#[test]
fn a_section_or_a_file_can_be_looked_at_alone() {
    let only = |only: &str| View {
        only: Some(only.to_owned()),
        ..few()
    };
    let text = screen(&sample(), &only("web")).text(false);
    assert!(text.contains("OK  1 of 4 files, 12 KiB"), "{text}");
    assert!(text.contains("/srv/4.log") && !text.contains("/srv/0.log") && !text.contains("TOPIC"));
    // Its own topics, and no others.
    let mut own = sample();
    own.logs[1].topics = vec!["web_log".to_owned()];
    let text = screen(&own, &only("web")).text(false);
    assert!(
        text.contains("\nweb_log  ") && !text.contains("\naudit  "),
        "{text}"
    );
    // What it is behind for may be its topic, from the first moment on: that comes first, as in the whole status.
    for of in ["app", "/srv/shop/log/app.log"] {
        for age in [250, 3] {
            let mut parked = sample();
            parked.files[1].state = FileState::Waiting;
            parked.files[1].behind_since = Some(ago(age));
            let text = screen(&parked, &only(of)).text(false);
            assert!(text.contains("\nPARKED  1 of "), "{text}");
            assert!(text.contains("topic audit: "), "{text}");
            assert!(
                text.contains("\naudit          0        0 B       12  PARKED "),
                "{text}"
            );
        }
    }
    // And none that its records do not go to.
    let mut other = sample();
    other.logs[2].troubled_topics.clear();
    let text = screen(&other, &only("/srv/shop/log/app.log")).text(false);
    assert!(text.contains("\nBEHIND  1 of 1 file, 1.2 GiB"), "{text}");
    assert!(!text.contains("topic audit: "), "{text}");
    let text = screen(&sample(), &only("access.log")).text(false);
    assert!(text.contains("OK  1 of 1 file, 12 KiB"), "{text}");
    assert!(!text.contains("topic audit: "), "{text}");
    assert!(screen(&sample(), &only("cess.log")).missing.is_some());
    assert!(screen(&sample(), &only("fly")).missing.is_some());
}

#[test]
fn a_snapshot_comes_back_from_json_as_it_was_but_for_what_no_text_can_hold() {
    let mut snapshot = later(sample());
    snapshot.logs[0].lost_bytes = vec![("limit", 7)];
    snapshot.config.is_changed = true;
    snapshot.config.refusal = Some("line 3: \"x\"\n".to_owned());
    snapshot.unanswered.push("registrar".to_owned());
    snapshot.follows_nothing.push(FollowsNothing {
        log: "audit".to_owned(),
        why: "no file matches '/a' yet".to_owned(),
    });
    snapshot.logs[0].last_lost = Some(ago(9));
    snapshot.brokers[0].recent_latency.counts[2] = 9;
    snapshot.not_followed = vec![NotFollowed {
        path: "/srv/a".into(),
        reason: "excluded by '*'".to_owned(),
        ..NotFollowed::default()
    }];
    snapshot.not_followed_counts = vec![("excluded".to_owned(), 1)];
    (snapshot.positions.is_due, snapshot.positions.failures) = (true, 3);
    let json = String::from_utf8(wire_json::to_json(&mut snapshot)).unwrap();
    assert_eq!(
        wire_json::from_json::<Snapshot>(&json),
        Some(snapshot.clone())
    );
    // A strict reader takes it too, and finds what it looks for.
    let read: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(read["files"][1]["lag_bytes"], 1229_u64 << 20);
    assert_eq!(read["logs"][2]["read_bytes_per_second"], 8_500_000);
    assert_eq!(read["topics"][1]["parked"]["reason"], "not authorized");
    assert_eq!(read["logs"][2]["dropped_events"]["drop.debug"], 1203);
    assert_eq!(read["brokers"][2]["up_since_ms"], serde_json::Value::Null);
    assert_eq!(wire_json::from_json::<Snapshot>("[1]"), None);
    let other =
        wire_json::from_json::<Snapshot>("{\"new\":1,\"logs\":[{\"name\":7}],\"files\":{}}")
            .unwrap();
    assert_eq!((other.logs.len(), other.files.len()), (1, 0));
}

/// The series of a text in Prometheus' format, each with its labels; what is wrong with the form fails.
pub(super) fn series(text: &str) -> Vec<(String, f64)> {
    let is_name = |name: &str| {
        let mut characters = name.chars();
        characters
            .next()
            .is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
            && characters.all(|one| one.is_ascii_alphanumeric() || one == '_')
    };
    assert!(text.ends_with('\n'));
    let (mut seen, mut named) = (BTreeSet::new(), BTreeSet::new());
    let (mut metric, mut kind, mut found) = (String::new(), String::new(), Vec::new());
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, words) = help.split_once(' ').unwrap();
            assert!(
                is_name(name) && words.ends_with('.') && !words.contains('\\'),
                "{line}"
            );
            assert!(named.insert(name.to_owned()), "twice: {line}");
            metric = name.to_owned();
            continue;
        }
        if let Some(of) = line.strip_prefix("# TYPE ") {
            let (name, of) = of.split_once(' ').unwrap();
            assert_eq!(name, metric);
            assert!(["counter", "gauge", "histogram"].contains(&of), "{line}");
            assert_eq!(of == "counter", name.ends_with("_total"), "{line}");
            kind = of.to_owned();
            continue;
        }
        let (name, rest) = line.split_at(line.find(['{', ' ']).unwrap());
        let base = match &*kind {
            "histogram" => name
                .trim_end_matches("_bucket")
                .trim_end_matches("_sum")
                .trim_end_matches("_count"),
            _ => name,
        };
        assert_eq!(base, metric, "{line}");
        let mut rest = rest;
        if let Some(labels) = rest.strip_prefix('{') {
            let mut labels = labels;
            loop {
                let (label, value) = labels.split_once("=\"").unwrap();
                assert!(is_name(label), "{line}");
                let mut is_escaped = false;
                let end = value.find(|one: char| {
                    let is_end = one == '"' && !is_escaped;
                    assert!(!is_escaped || ['\\', '"', 'n'].contains(&one), "{line}");
                    is_escaped = one == '\\' && !is_escaped;
                    is_end
                });
                labels = &value[end.unwrap() + 1..];
                match labels.strip_prefix(',') {
                    Some(more) => labels = more,
                    None => break,
                }
            }
            rest = labels.strip_prefix('}').unwrap();
        }
        let value: f64 = rest.strip_prefix(' ').unwrap().parse().unwrap();
        let labelled = line[..line.len() - rest.len()].to_owned();
        assert!(seen.insert(labelled.clone()), "twice: {line}");
        found.push((labelled, value));
    }
    found
}

pub(super) fn value(series: &[(String, f64)], name: &str) -> f64 {
    let found = series.iter().find(|(known, _)| known == name);
    found
        .unwrap_or_else(|| panic!("{name} is missing in {series:#?}"))
        .1
}
