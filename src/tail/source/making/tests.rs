//! The record path put together: what comes of lines does not hang on how they were read.

use super::feed::{Feed, Made, Section};
use super::move_together;
use crate::buffer::BufferPool;

struct Case {
    name: String,
    events: Vec<String>,
}

fn cases() -> Vec<Case> {
    let text = include_str!("../../../../tests/cases/multiline.json");
    let cases: Vec<serde_json::Value> = serde_json::from_str(text).expect("is JSON");
    let text = |value: &serde_json::Value| value.as_str().expect("is a string").to_owned();
    let case = |case: &serde_json::Value| Case {
        name: text(&case["name"]),
        events: case["events"]
            .as_array()
            .expect("is a list")
            .iter()
            .map(text)
            .collect(),
    };
    cases.iter().map(case).collect()
}

fn texts(records: &[Made]) -> Vec<String> {
    let text = |record: &Made| String::from_utf8_lossy(&record.value).into_owned();
    records.iter().map(text).collect()
}

/// How many rounds a test has: enough for a second or two, or as the variable says (400 are 100,000 lines with secrets,
/// 200 are 100,000 documents).
fn rounds(usual: u64) -> u64 {
    let set = std::env::var("LOGAGENT_TEST_ROUNDS").ok();
    set.and_then(|set| set.parse().ok()).unwrap_or(usual)
}

#[test]
fn each_case_gives_its_events_for_any_chunk_and_with_a_restart_after_each() {
    // With a key that changes records, and without one: events go as they lie in the file.
    for lines in ["multiline = auto", "multiline = auto\nmask = card"] {
        let section = Section::of(lines);
        for case in cases() {
            let bytes = case.events.join("\n") + "\n";
            let mut ends = Vec::new();
            for event in &case.events {
                ends.push(ends.last().copied().unwrap_or(0) + event.len() as u64 + 1);
            }
            // A variable of 4096 tries them all.
            let step = if rounds(0) >= 4096 { 1 } else { 97 };
            for chunk in (1..32).chain((32..=4096).step_by(step)) {
                for restarts in [false, true] {
                    let found =
                        Feed::all(&section, bytes.as_bytes(), 1 << 16, || chunk, || restarts);
                    assert_eq!(
                        texts(&found),
                        case.events,
                        "{}, chunks of {chunk}",
                        case.name
                    );
                    let found: Vec<u64> = found.iter().map(|record| record.span_end).collect();
                    assert_eq!(found, ends, "{}", case.name);
                }
            }
        }
    }
}

/// Keys of a section, and a name for what lines it wants.
fn random_section(random: &mut fastrand::Rng) -> (String, &'static str) {
    let mut lines = String::new();
    let mut add = |line: &str| {
        lines += line;
        lines.push('\n');
    };
    let (text, encoding) = [
        ("utf-8", ""),
        ("utf-8", ""),
        ("gbk", "encoding = gbk"),
        ("utf-16le", "encoding = utf-16"),
        ("utf-16be", "encoding = utf-16be"),
        ("cri", "container = auto"),
    ][random.usize(..6)];
    add(encoding);
    let modes = [
        "",
        "multiline = auto",
        "multiline = timestamp",
        "multiline = trace",
        "multiline = indent",
        "multiline = start:^B",
        "multiline = continue:^\\s",
        "multiline = end:;$",
    ];
    add(modes[random.usize(..modes.len())]);
    let sizes = [30, 64, 200, 3000, 900 << 10];
    add(&format!(
        "max_line_bytes = {}B",
        sizes[random.usize(..sizes.len())]
    ));
    for line in [
        "strip_cr = on",
        "strip_ansi = on",
        "drop.debug = DEBUG",
        "keep = e",
        "sample = 1/2",
        "mask = card, email, bearer, password",
        "mask.id = id=(\\d+)",
        "topic = logs.{json.level:none}",
        "key = {json.user:-}",
        "topic = logs.{app}\nheader.at = {offset}",
    ] {
        // The events of a container go to one topic.
        let is_refused = match line.contains("topic") {
            true => lines_have(&lines, "topic") || text == "cri" && line.contains("{json"),
            false => false,
        };
        if random.u8(..4) == 0 && !is_refused {
            lines += line;
            lines.push('\n');
        }
    }
    if random.u8(..3) == 0 {
        lines += [
            "format = json\nfield.env = prod\n",
            "format = json\njson = merge\nfield.at = {offset}\n",
            "format = json\njson = nest\n",
        ][random.usize(..3)];
    }
    if lines.contains("{json") {
        lines += "parse = json\n";
    }
    // There must be something to do.
    lines += "header.app = {app}\n";
    (lines, text)
}

fn lines_have(lines: &str, key: &str) -> bool {
    lines.lines().any(|line| line.starts_with(key))
}

/// Lines of all kinds, as bytes of this encoding.
fn random_lines(text: &str, random: &mut fastrand::Rng) -> Vec<u8> {
    let lines = [
        "2026-11-26 22:30:54,116 ERROR order 7 failed",
        "java.lang.IllegalStateException: pool closed",
        "\tat Shop.load(Shop.java:4)",
        "    indented",
        "",
        "Begin here;",
        "{\"level\":\"warn\",\"user\":\"ann\",\"n\":12345678901234567890}",
        "password=hunter2 and id=4711",
        "DEBUG nothing",
        "card 4111 1111 1111 1111, mail ann@example.com",
        "\u{1b}[31mred\u{1b}[0m e",
        "订单 7 失败 e",
        "Caused by: x",
        "goroutine 1 [running]:",
    ];
    let mut all = String::new();
    for number in 0..random.usize(..40) {
        let line = lines[random.usize(..lines.len())];
        if text == "cri" {
            let stream = ["stdout", "stderr"][random.usize(..2)];
            let tag = ["F", "F", "P"][random.usize(..3)];
            all += &format!("2026-11-26T22:30:54.{number:09}Z {stream} {tag} ");
        }
        match random.u8(..12) {
            0 => all += &line.repeat(random.usize(1..30)),
            _ => all += line,
        }
        all += match random.u8(..6) {
            0 => "\r\n",
            _ => "\n",
        };
    }
    if random.bool() {
        all.pop();
    }
    match text {
        "gbk" => all.chars().flat_map(in_gbk).collect(),
        "utf-16le" => [0xfeff]
            .into_iter()
            .chain(all.encode_utf16())
            .flat_map(u16::to_le_bytes)
            .collect(),
        "utf-16be" => all.encode_utf16().flat_map(u16::to_be_bytes).collect(),
        _ => all.into_bytes(),
    }
}

/// The characters of [`random_lines`].
fn in_gbk(char: char) -> Vec<u8> {
    match char {
        '订' => vec![0xb6, 0xa9],
        '单' => vec![0xb5, 0xa5],
        '失' => vec![0xca, 0xa7],
        '败' => vec![0xb0, 0xdc],
        other => vec![other as u8],
    }
}

#[test]
fn random_sections_give_the_same_records_for_any_chunk_and_restart() {
    for seed in 0..rounds(2_000) {
        let mut random = fastrand::Rng::with_seed(seed);
        let (lines, text) = random_section(&mut random);
        let section = Section::of(&lines);
        let bytes = random_lines(text, &mut random);
        let at_once = Feed::all(&section, &bytes, 1 << 20, || bytes.len(), || false);
        assert!(
            at_once.is_sorted_by_key(|record| record.span_end),
            "seed {seed}"
        );
        // An event that goes out in pieces is another one for a run that begins between them.
        let has_long_events =
            lines.contains("multiline") && bytes.len() > section.config.max_line_bytes;
        for restarts in [false, true] {
            if restarts && (has_long_events || text == "cri") {
                continue;
            }
            let largest = random.usize(2..200);
            let (mut sizes, mut coins) = (random.fork(), random.fork());
            let most = random.usize(1..4000);
            let found = Feed::all(
                &section,
                &bytes,
                most,
                || sizes.usize(1..largest),
                || restarts && coins.bool(),
            );
            // What is dropped may belong to the span of a record or be done with by itself.
            let has_choice = ["drop", "keep", "sample"]
                .iter()
                .any(|key| lines.contains(key));
            let is_same = match has_choice {
                true => without_spans(&found) == without_spans(&at_once),
                false => found == at_once,
            };
            assert!(
                is_same,
                "seed {seed}, restarts {restarts}, reads of {most}\n{lines}\n{}\n{}",
                bytes.escape_ascii(),
                first_difference(&at_once, &found)
            );
        }
    }
}

fn without_spans(records: &[Made]) -> Vec<Made> {
    let without = |made: &Made| Made {
        span_end: 0,
        ..made.clone()
    };
    records.iter().map(without).collect()
}

fn first_difference(wanted: &[Made], found: &[Made]) -> String {
    let at = wanted.iter().zip(found).take_while(|(a, b)| a == b).count();
    let show = |made: Option<&Made>| {
        made.map(|made| {
            let value = made.value.escape_ascii().to_string();
            (
                made.piece,
                made.topic.clone(),
                made.key.clone(),
                made.span_end,
                value,
            )
        })
    };
    format!(
        "record {at}\n{:?}\n{:?}",
        show(wanted.get(at)),
        show(found.get(at))
    )
}

#[test]
fn nothing_is_left_to_do_where_everything_is_dropped() {
    for lines in [
        "drop = .",
        "keep = nothing",
        "multiline = auto\ndrop = (?s).",
        "encoding = utf-16le\ndrop = .",
    ] {
        let section = Section::of(lines);
        let text: String = (0..100).map(|number| format!("line {number}\n")).collect();
        let bytes = match lines.contains("16") {
            true => text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
            false => text.into_bytes(),
        };
        for chunk in [1, 7, 4096] {
            assert_eq!(Feed::all(&section, &bytes, 4096, || chunk, || true), []);
        }
    }
}

#[test]
fn what_is_kept_of_a_buffer_is_moved_together() {
    let text = b"one\ntwo\nthree\nfour\n";
    let mut buffer = BufferPool::new().buffer(text.len());
    let address = buffer.as_ptr();
    buffer.copy_from_slice(text);
    move_together(&mut buffer, &[0..4, 8..14]);
    assert_eq!(
        (&buffer[..], buffer.as_ptr()),
        (&b"one\nthree\n"[..], address)
    );
    move_together(&mut buffer, &[0..1, 4..10]);
    assert_eq!(&buffer[..], b"othree\n");
}

#[test]
fn a_file_that_is_a_byte_order_mark_is_done_with() {
    let section = Section::of("encoding = utf-16");
    for bytes in [&b"\xff\xfe"[..], b"\xff", b"\xff\xfe\n\0", b"\xff\xfea"] {
        Feed::all(&section, bytes, 4096, || 1, || false);
    }
}

#[test]
fn an_event_among_others_that_is_too_long_goes_in_pieces() {
    let section = Section::of("multiline = start:^B\nmax_line_bytes = 20B");
    let bytes = b"B 1\n a\nB 2\n bbbbbbbb\n cccccccc\n dddddddd\nB 3\n e\nB 4\n";
    for chunk in 1..bytes.len() {
        for most in [1, 30, 1000] {
            let found = Feed::all(&section, bytes, most, || chunk, || false);
            let found: Vec<_> = found
                .iter()
                .map(|made| (String::from_utf8_lossy(&made.value), made.piece))
                .collect();
            let wanted = [
                ("B 1\n a", 0),
                ("B 2\n bbbbbbbb", 1),
                (" cccccccc\n dddddddd", -2),
                ("B 3\n e", 0),
                ("B 4", 0),
            ];
            assert_eq!(
                found,
                wanted.map(|(text, piece)| (text.into(), piece)),
                "{chunk} {most}"
            );
        }
    }
}

#[test]
fn the_last_line_of_a_finished_file_belongs_to_its_event_without_a_newline() {
    let section = Section::of("multiline = auto");
    let bytes = b"2026-11-26 22:30:54 failed\n  at a\n  at b";
    for chunk in 1..bytes.len() {
        let found = Feed::all(&section, bytes, 4096, || chunk, || false);
        assert_eq!(texts(&found), [String::from_utf8_lossy(bytes)]);
    }
}

#[test]
fn spans_follow_on_each_other_where_events_between_two_topics_are_dropped() {
    let section = Section::of("parse = json\ntopic = t.{json.t:none}\ndrop = DROP");
    let bytes = b"{\"t\":\"a\"}\nDROP\n{\"t\":\"b\"}\nDROP\nDROP\n{\"t\":\"a\"}\n";
    let found = Feed::all(&section, bytes, 4096, || 4096, || false);
    let topics: Vec<_> = found
        .iter()
        .map(|made| (made.topic.as_str(), made.span_end))
        .collect();
    assert_eq!(topics, [("t.a", 10), ("t.b", 25), ("t.a", 45)]);
}

#[test]
fn no_secret_leaves_however_lines_are_cut_to_pieces() {
    let secrets = [
        "4111 1111 1111 1111",
        "ann.smith@example.com",
        "hunter2-correct-horse",
        "sk_live_0123456789abcdef",
    ];
    let mut lines = 0;
    for seed in 0..rounds(40) {
        let mut random = fastrand::Rng::with_seed(seed);
        let size = random.usize(16..300);
        let multiline = ["", "multiline = indent\n"][random.usize(..2)];
        let encoding = ["", "encoding = utf-16le\n"][random.usize(..2)];
        let section = Section::of(&format!(
            "max_line_bytes = {size}B\nstrip_ansi = on\n{multiline}{encoding}mask = card, email, bearer, password\n\
             mask.key = sk_live_\\w+"
        ));
        let mut text = String::new();
        for _ in 0..250 {
            let filler = "x ".repeat(random.usize(..size));
            let secret = secrets[random.usize(..secrets.len())];
            let name = match secret {
                _ if secret.starts_with("hunter") => {
                    ["password=", "{\"token\":\""][random.usize(..2)]
                }
                _ => "is ",
            };
            let mut secret = secret.to_owned();
            if random.u8(..3) == 0 {
                secret.insert_str(random.usize(1..secret.len()), "\u{1b}[31m");
            }
            let indent = ["", " "][random.usize(..2)];
            text += &format!(
                "{indent}line {filler}{name}{secret}\" {}end\n",
                "y ".repeat(random.usize(..size))
            );
            lines += 1;
        }
        let bytes = match encoding {
            "" => text.into_bytes(),
            _ => text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        };
        let (mut sizes, mut coins) = (random.fork(), random.fork());
        let restarts = multiline.is_empty();
        let found = Feed::all(
            &section,
            &bytes,
            4096,
            || sizes.usize(1..5000),
            || restarts && coins.u8(..8) == 0,
        );
        // Pieces of one line or event side by side, as a reader would put them.
        let shown: Vec<u8> = found
            .iter()
            .flat_map(|made| made.value.iter().copied())
            .collect();
        let shown = String::from_utf8(shown).expect("is UTF-8");
        for secret in secrets {
            // Half of it is too much.
            for part in [
                &secret[..secret.len() / 2 + 2],
                &secret[secret.len() / 2 - 2..],
            ] {
                assert!(
                    !shown.contains(part),
                    "seed {seed}, pieces of {size}: {part}"
                );
            }
        }
    }
    assert_eq!(lines, 250 * rounds(40));
}

/// A random JSON object as text, `depth` deep at most: big integers, duplicate keys, escapes, bytes that are no UTF-8.
fn random_object(random: &mut fastrand::Rng, depth: usize, out: &mut Vec<u8>) {
    out.push(b'{');
    for number in 0..random.usize(..5) {
        if number > 0 {
            out.push(b',');
        }
        out.extend_from_slice(
            [
                &b"\"a\":"[..],
                b"\"host\" : ",
                b"\"\xe8\xae\xa2\":",
                b"\"k\\u0041\":",
                b"\"message\":",
            ][random.usize(..5)],
        );
        match random.u8(..if depth == 0 { 7 } else { 9 }) {
            0 => out.extend_from_slice(b"123456789012345678901234567890"),
            1 => out.extend_from_slice(b"-1626175065.5934923e-300"),
            2 => out.extend_from_slice(b"\"\\ud83d\\udca9 \\\"\\n\\/\""),
            3 => out.extend_from_slice(b"\"caf\xc3\xa9 \xff\xfe bad\""),
            4 => out.extend_from_slice(b"null"),
            5 => out.extend_from_slice(b"[ true,1 ,{ }]"),
            6 => {
                out.push(b'"');
                let len = if random.u16(..) == 0 {
                    800 << 10
                } else {
                    random.usize(..60)
                };
                out.extend(std::iter::repeat_n(b'z', len));
                out.push(b'"');
            }
            _ => random_object(random, depth - 1, out),
        }
    }
    out.push(b'}');
}

#[test]
fn what_a_strict_reader_reads_of_merged_and_nested_documents_is_the_document_and_our_fields() {
    let merge = Section::of("format = json\njson = merge\nfield.env = prod");
    let nest = Section::of("format = json\njson = nest\nfield.env = prod");
    let mut documents = 0;
    for seed in 0..rounds(20) {
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut bytes, mut lines) = (Vec::new(), Vec::new());
        for _ in 0..500 {
            let from = bytes.len();
            let depth = random.usize(..6);
            random_object(&mut random, depth, &mut bytes);
            if random.u8(..20) == 0 {
                // No object any more.
                bytes.truncate(bytes.len() - 1);
            }
            lines.push(String::from_utf8_lossy(&bytes[from..]).into_owned());
            bytes.push(b'\n');
            documents += 1;
        }
        let section = [&merge, &nest][random.usize(..2)];
        let found = Feed::all(
            section,
            &bytes,
            1 << 20,
            || random.usize(1..300_000),
            || false,
        );
        assert_eq!(found.len(), lines.len());
        for (made, line) in found.iter().zip(&lines) {
            let text = std::str::from_utf8(&made.value)
                .unwrap_or_else(|error| panic!("seed {seed}: {error} {line}"));
            let read: serde_json::Value = serde_json::from_str(text)
                .unwrap_or_else(|error| panic!("seed {seed}: {error} {text}"));
            let Ok(serde_json::Value::Object(wanted)) = serde_json::from_str(line) else {
                assert_eq!(read["message"], line.as_str(), "seed {seed}");
                continue;
            };
            if std::ptr::eq(section, &raw const nest) {
                assert_eq!(
                    read["json"],
                    serde_json::Value::Object(wanted),
                    "seed {seed}"
                );
                assert_eq!(read["env"], "prod");
                continue;
            }
            // The line wins, and all of its bytes are there.
            for (key, value) in &wanted {
                assert_eq!(&read[key], value, "seed {seed}: {key} of {text}");
            }
            assert!(
                text.ends_with(line.trim_end().strip_prefix('{').unwrap_or(line)),
                "{text}\n{line}"
            );
            assert_eq!(read["env"], "prod");
        }
    }
    assert_eq!(documents, 500 * rounds(20));
}
