//! What runtimes write, and what they do not.

use crate::record::container::{ContainerKind, Stream};

fn text(kind: ContainerKind, line: &str) -> Option<(Stream, String, String, bool)> {
    let parsed = kind.parse(line.as_bytes())?;
    let mut out = Vec::new();
    parsed.text.add_to(&mut out);
    let text = String::from_utf8(out).expect("is UTF-8");
    let time = line[parsed.time].to_owned();
    Some((parsed.stream, time, text, parsed.is_partial))
}

fn auto(line: &str) -> Option<(Stream, String, String, bool)> {
    text(ContainerKind::Auto, line)
}

const TIME: &str = "2026-11-26T22:30:54.116489203Z";

#[test]
fn lines_of_kubernetes_runtimes_are_known() {
    let some = |stream, text: &str, is_partial| {
        Some((stream, TIME.to_owned(), text.to_owned(), is_partial))
    };
    for (rest, expected) in [
        ("stdout F text", some(Stream::Stdout, "text", false)),
        (
            "stderr P  two  spaces ",
            some(Stream::Stderr, " two  spaces ", true),
        ),
        ("stdout F ", some(Stream::Stdout, "", false)),
        ("stdout F", some(Stream::Stdout, "", false)),
        (
            "stdout P:more:tags text",
            some(Stream::Stdout, "text", true),
        ),
        (
            "stdout F:x {\"log\":\"a\"}",
            some(Stream::Stdout, "{\"log\":\"a\"}", false),
        ),
        ("stdout X text", None),
        ("stdout Full text", None),
        ("stdin F text", None),
        ("stdout", None),
        ("stdout  F text", None),
    ] {
        assert_eq!(auto(&format!("{TIME} {rest}")), expected, "{rest}");
        assert_eq!(text(ContainerKind::Docker, &format!("{TIME} {rest}")), None);
    }
    let podman = auto("2026-11-26T22:30:54.116489203+01:00 stdout F x");
    assert_eq!(podman.map(|found| found.2).as_deref(), Some("x"));
    for line in [
        "",
        "2026-11-26 22:30:54 stdout F x",
        "2026-11-26T22:30:54 stdout F x",
        "x stdout F x",
    ] {
        assert_eq!(auto(line), None, "{line}");
    }
}

#[test]
fn lines_of_docker_are_known() {
    let time = format!("\"time\":\"{TIME}\"");
    let some = |stream, text: &str, is_partial| {
        Some((stream, TIME.to_owned(), text.to_owned(), is_partial))
    };
    for (line, expected) in [
        (
            format!(r#"{{"log":"text\n","stream":"stdout",{time}}}"#),
            some(Stream::Stdout, "text", false),
        ),
        (
            format!(r#"{{"log":"begin","stream":"stderr",{time}}}"#),
            some(Stream::Stderr, "begin", true),
        ),
        (
            format!(r#"{{"log":"\n","stream":"stdout",{time}}}"#),
            some(Stream::Stdout, "", false),
        ),
        (
            format!(r#"{{"log":"","stream":"stdout",{time}}}"#),
            some(Stream::Stdout, "", true),
        ),
        (
            format!(r#"{{"log":"c:\\n","stream":"stdout",{time}}}"#),
            some(Stream::Stdout, "c:\\n", true),
        ),
        (
            format!(r#"{{"log":"c:\\\n","stream":"stdout",{time}}}"#),
            some(Stream::Stdout, "c:\\", false),
        ),
        (
            format!(r#"{{"log":"a\u000a","stream":"stdout",{time}}}"#),
            some(Stream::Stdout, "a", false),
        ),
        (
            format!(
                r#"{{"log":"\"q\" \u003ca\u003e\t\/ \ud83d\ude00 \ud83d. 订\r\n","stream":"stdout",{time}}}"#
            ),
            some(Stream::Stdout, "\"q\" <a>\t/ 😀 \u{fffd}. 订\r", false),
        ),
        (
            format!(
                r#"{{"log":"x\n","stream":"stdout","attrs":{{"a":"}}","b":[1,-2.5e3,null]}},{time}}}"#
            ),
            some(Stream::Stdout, "x", false),
        ),
        (
            format!(r#" {{"log":"x\n","stream":"stdout",{time}}}"#),
            None,
        ),
        (
            format!("{{ {time} , \"stream\":\"stdout\", \"log\" : \"x\\n\" }} \r"),
            some(Stream::Stdout, "x", false),
        ),
        (
            format!(r#"{{"log":"x\n","stream":"stdout",{time}}} more"#),
            None,
        ),
        (format!(r#"{{"log":"x\n","stream":"other",{time}}}"#), None),
        (format!(r#"{{"log":"x\n",{time}}}"#), None),
        (format!(r#"{{"stream":"stdout",{time}}}"#), None),
        (r#"{"log":"x\n","stream":"stdout"}"#.to_owned(), None),
        (
            r#"{"log":"x\n","stream":"stdout","time":"today"}"#.to_owned(),
            None,
        ),
        (
            format!(r#"{{"log":"bad \x","stream":"stdout",{time}}}"#),
            None,
        ),
        (
            format!(r#"{{"log":"bad \u12","stream":"stdout",{time}}}"#),
            None,
        ),
        (r#"{"log":"no end"#.to_owned(), None),
        (
            r#"{"level":"info","msg":"of the program"}"#.to_owned(),
            None,
        ),
        ("{".to_owned(), None),
        ("{}".to_owned(), None),
    ] {
        assert_eq!(auto(&line), expected, "{line}");
        assert_eq!(text(ContainerKind::Cri, &line), None);
    }
}

#[test]
fn random_bytes_are_no_reason_to_panic() {
    let mut random = fastrand::Rng::with_seed(9);
    let whole = [
        format!(
            r#"{{"log":"a\n\ud83d\ude00","stream":"stdout","attrs":{{"k":"v"}},"time":"{TIME}"}}"#
        ),
        format!("{TIME} stdout P:x text"),
    ];
    for round in 0..100_000 {
        let mut line = whole[round % 2].clone().into_bytes();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(..line.len());
            match random.u8(..3) {
                0 => line[at] = random.u8(..),
                1 => line.truncate(at.max(1)),
                _ => line.insert(at, b"\\\"{}[],:u"[random.usize(..9)]),
            }
        }
        if let Some(parsed) = ContainerKind::Auto.parse(&line) {
            let mut out = Vec::new();
            parsed.text.add_to(&mut out);
            assert!(line.get(parsed.time).is_some());
        }
    }
}
