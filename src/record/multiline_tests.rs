//! The cases of `tests/cases/multiline.json`, the modes, and the properties: an event's end depends on the bytes alone.

use std::sync::Arc;

use regex::bytes::{Regex, RegexBuilder};

use crate::record::multiline::{Assembler, LOOK_BACK_BYTES, Multiline};

/// The ends of all events where all of `data` is offered at once.
pub fn ends_at_once(mode: &Arc<Multiline>, data: &[u8]) -> Vec<usize> {
    let mut ends = Vec::new();
    Assembler::new(mode.clone()).assemble(data, true, &mut ends);
    ends.iter().map(|end| *end as usize).collect()
}

/// The same where the file grows by `sizes` bytes at a time, cut to whole lines, and the agent restarts after every complete
/// event if `restarts`.
pub fn ends_in_chunks(mode: &Arc<Multiline>, data: &[u8], restarts: bool, mut size: impl FnMut() -> usize) -> Vec<usize> {
    let mut assembler = Assembler::new(mode.clone());
    let (mut ends, mut position, mut seen) = (Vec::new(), 0, 0);
    while seen < data.len() {
        seen = (seen + size()).min(data.len());
        let whole = data[..seen].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let is_last = seen == data.len();
        let offered = if is_last { seen } else { whole };
        if offered <= position {
            continue;
        }
        let mut found = Vec::new();
        assembler.assemble(&data[position..offered], is_last, &mut found);
        ends.extend(found.iter().map(|end| position + *end as usize));
        position = ends.last().copied().unwrap_or(0);
        if restarts && !found.is_empty() {
            assembler = resumed(mode, data, position);
        }
    }
    ends
}

pub fn resumed(mode: &Arc<Multiline>, data: &[u8], position: usize) -> Assembler {
    let head = &data[..position.min(LOOK_BACK_BYTES)];
    let before = &data[position.saturating_sub(LOOK_BACK_BYTES)..position];
    Assembler::resume(mode.clone(), head, before)
}

pub fn events<'a>(data: &'a str, ends: &[usize]) -> Vec<&'a str> {
    let starts = std::iter::once(0).chain(ends.iter().copied());
    starts.zip(ends).map(|(start, end)| data[start..*end].trim_end_matches(['\n', '\r'])).collect()
}

/// Checks that `wanted`, joined, gives these events: whole, in CRLF, grown line by line, and with restarts.
pub fn check(mode: Multiline, wanted: &[&str]) {
    let mode = Arc::new(mode);
    for line_end in ["\n", "\r\n"] {
        let data: String = wanted.iter().map(|event| event.replace('\n', line_end) + line_end).collect();
        let ends = ends_at_once(&mode, data.as_bytes());
        let wanted: Vec<String> = wanted.iter().map(|event| event.replace('\n', line_end)).collect();
        let wanted: Vec<&str> = wanted.iter().map(|event| event.trim_end_matches(['\n', '\r'])).collect();
        assert_eq!(events(&data, &ends), wanted, "{mode:?} {line_end:?}");
        assert_eq!(ends.last().copied().unwrap_or(0), data.len());
        check_chunks(&mode, data.as_bytes(), &ends, [1, 7, 40, 200, 4096]);
    }
}

fn check_chunks(mode: &Arc<Multiline>, data: &[u8], ends: &[usize], sizes: impl IntoIterator<Item = usize>) {
    for size in sizes {
        assert_eq!(ends_in_chunks(mode, data, false, || size), ends, "{mode:?} in {size} bytes");
        assert_eq!(ends_in_chunks(mode, data, true, || size), ends, "{mode:?} in {size} bytes with restarts");
    }
}

pub fn pattern(text: &str) -> Regex {
    RegexBuilder::new(text).unicode(false).build().expect("a pattern of a test")
}

pub fn all_modes() -> Vec<Arc<Multiline>> {
    let mut modes = vec![Multiline::Auto, Multiline::Timestamp, Multiline::Trace, Multiline::Indent];
    modes.push(Multiline::Start(pattern(r"^\[?\d{4}|^[A-Z]+ ")));
    modes.push(Multiline::Continue(pattern(r"^\s|^Caused by|^$")));
    modes.push(Multiline::End(pattern(r";$|\)$")));
    modes.into_iter().map(Arc::new).collect()
}

/// Name and events of each case.
pub fn cases() -> Vec<(String, Vec<String>)> {
    let json: tinyjson::JsonValue = include_str!("../../tests/cases/multiline.json").parse().expect("the cases are JSON");
    let cases: &Vec<tinyjson::JsonValue> = json.get().expect("an array");
    let text = |value: &tinyjson::JsonValue| value.get::<String>().expect("a text").clone();
    let events = |case: &tinyjson::JsonValue| {
        case["events"].get::<Vec<tinyjson::JsonValue>>().expect("an array").iter().map(text).collect()
    };
    cases.iter().map(|case| (text(&case["name"]), events(case))).collect()
}

fn wanted(events: &[String]) -> Vec<&str> {
    events.iter().map(|event| event.trim_end_matches('\n')).collect()
}

#[test]
fn every_case_is_exact_with_auto() {
    let mode = Arc::new(Multiline::Auto);
    let mut wrong = Vec::new();
    for (name, events_wanted) in cases() {
        let data = events_wanted.join("\n") + "\n";
        let ends = ends_at_once(&mode, data.as_bytes());
        if events(&data, &ends) != wanted(&events_wanted) {
            wrong.push(format!("{name}: {:#?}", events(&data, &ends)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn cases_do_not_depend_on_chunks_or_restarts() {
    let step = if cfg!(debug_assertions) { 97 } else { 1 };
    for (_, events) in cases() {
        let data = events.join("\n") + "\n";
        for mode in all_modes() {
            let ends = ends_at_once(&mode, data.as_bytes());
            check_chunks(&mode, data.as_bytes(), &ends, (1..=4096.min(data.len())).step_by(step));
        }
    }
}

#[test]
fn mixed_shapes_do_not_depend_on_chunks_or_restarts() {
    let lines: Vec<String> =
        cases().iter().flat_map(|(_, events)| events.join("\n").lines().map(String::from).collect::<Vec<_>>()).collect();
    let events: Vec<String> = cases().into_iter().flat_map(|(_, events)| events).collect();
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..if cfg!(debug_assertions) { 200 } else { 5_000 } {
        let mut data = String::new();
        for _ in 0..random.usize(1..40) {
            let source = if random.bool() { &lines } else { &events };
            data += &source[random.usize(..source.len())];
            data += if random.u8(..8) == 0 { "\r\n" } else { "\n" };
            if random.u8(..6) == 0 {
                data += "\n";
            }
        }
        if random.u8(..4) == 0 {
            data.pop();
        }
        for mode in all_modes() {
            let ends = ends_at_once(&mode, data.as_bytes());
            assert_eq!(ends.last().copied().unwrap_or(0), data.len());
            assert!(ends.windows(2).all(|pair| pair[0] < pair[1]));
            let most = [3, 100, 3_000][random.usize(..3)];
            let mut sizes = random.fork();
            let found = ends_in_chunks(&mode, data.as_bytes(), false, || sizes.usize(1..=most));
            assert_eq!(found, ends, "{mode:?} {data}");
            let found = ends_in_chunks(&mode, data.as_bytes(), true, || sizes.usize(1..=most));
            assert_eq!(found, ends, "{mode:?} with restarts {data}");
        }
    }
}

#[test]
fn a_restart_far_from_the_beginning_finds_the_same_events() {
    let mut random = fastrand::Rng::with_seed(11);
    for round in 0..if cfg!(debug_assertions) { 2 } else { 20 } {
        // Few lines with a time, so that they fall out of sight of a restart.
        let mut data = String::new();
        while data.len() < 300_000 {
            match random.u16(..1_000) {
                0..2 if round % 2 == 0 || data.len() > 70_000 => data += "2026-11-26 22:30:54 x\n",
                2..30 => data += "panic: x\n",
                30..200 => data += "\tindented\n",
                _ => data += &"plain ".repeat(random.usize(1..30)),
            }
            data += "\n";
        }
        for mode in all_modes() {
            let ends = ends_at_once(&mode, data.as_bytes());
            for (at, end) in ends.iter().enumerate().step_by(ends.len().div_ceil(60)) {
                let mut found = Vec::new();
                resumed(&mode, data.as_bytes(), *end).assemble(&data.as_bytes()[*end..], true, &mut found);
                let found: Vec<usize> = found.iter().map(|position| end + *position as usize).collect();
                assert_eq!(found, ends[at + 1..], "{mode:?} from {end}");
            }
        }
    }
}

#[test]
fn an_event_sent_in_parts_ends_where_it_ends_whole() {
    for (name, events) in cases() {
        let data = events.join("\n") + "\n";
        let data = data.as_bytes();
        for mode in [Multiline::Auto, Multiline::Timestamp, Multiline::Indent].map(Arc::new) {
            let ends = ends_at_once(&mode, data);
            let mut start = 0;
            for end in &ends {
                let event = &data[start..*end];
                // Up to a line that joins at once: no blank line, no message that waits.
                let cut = event.windows(2).rposition(|pair| pair[0] == b'\n' && matches!(pair[1], b'\t')).map(|at| at + 1);
                if let Some(cut) = cut.filter(|cut| *cut > 0) {
                    let mut assembler = resumed(&mode, data, start);
                    assembler.split(&event[..cut]);
                    let mut found = Vec::new();
                    assembler.assemble(&data[start + cut..], true, &mut found);
                    assert_eq!(found.first().map(|first| start + cut + *first as usize), Some(*end), "{name} {mode:?}");
                }
                start = *end;
            }
        }
    }
}

#[test]
fn a_part_that_was_the_whole_event_is_followed_by_a_new_one() {
    let mode = Arc::new(Multiline::Timestamp);
    let mut assembler = Assembler::new(mode);
    assembler.split(b"2026-11-26 22:30:54 a\nrow\n");
    let mut ends = Vec::new();
    assembler.assemble(b"2026-11-26 22:30:55 b\n2026-11-26 22:30:56 c\n", false, &mut ends);
    assert_eq!(ends, [22]);
}

#[test]
fn timestamp_keeps_lines_single_until_a_time_is_shown() {
    check(
        Multiline::Timestamp,
        &["banner", "  indented", "2026-11-26 22:30:54 a\nrow\n\n  x", "panic: x\n\ngoroutine 1 [running]:", "22:30:55.000 b"],
    );
}

#[test]
fn auto_is_timed_only_if_the_first_lines_show_a_time() {
    let early = "2026-11-26 22:30:54 a\nrow\nrow";
    let banner: Vec<String> = (0..15).map(|line| format!("line {line}")).collect();
    let mut lines: Vec<&str> = banner.iter().map(String::as_str).collect();
    lines.extend([early, early]);
    check(Multiline::Auto, &lines);
    let late = ["line", "2026-11-26 22:30:54 a", "row", "row"];
    let mut lines: Vec<&str> = banner.iter().map(String::as_str).collect();
    lines.extend(late);
    check(Multiline::Auto, &lines);
}

#[test]
fn trace_joins_a_header_with_its_exception() {
    check(
        Multiline::Trace,
        &[
            "2026-11-26 22:30:54 ERROR a\njava.lang.IllegalStateException: no\nrow 2\n\tat A.a(A.java:1)",
            "ERROR:root:order 7 failed\nTraceback (most recent call last):\n  File \"t.py\", line 1, in f\nKeyError: 'k'",
            "INFO next",
            "ERROR b",
            "Error: see manual",
            "done",
        ],
    );
}

#[test]
fn indent_joins_indented_lines() {
    check(Multiline::Indent, &["a\n  b\n\tc", "d", "", "e\n\n\n f", "", "", "g"]);
}

#[test]
fn start_begins_events() {
    check(Multiline::Start(pattern(r"^\[\d{4}")), &["x", "y", "[2026 a\nb\n\n c", "[2026 d$"]);
    check(Multiline::Start(pattern("a$")), &["1a\nb", "2a"]);
}

#[test]
fn continue_joins_to_the_line_before() {
    check(Multiline::Continue(pattern(r"^\+|^$")), &["+ a\n+ b\n\n+ c", "d\n+ e", "f"]);
}

#[test]
fn end_ends_events() {
    check(Multiline::End(pattern(";$")), &["select *\nfrom a;", "commit;", "rest\nof it"]);
}

#[test]
fn the_wait_for_a_frame_has_an_end() {
    let message = |lines: usize| format!("java.lang.Error: x\n{}\tat A.a(A.java:1)", "row\n".repeat(lines));
    check(Multiline::Auto, &[&message(16), "next"]);
    let mut lines = vec!["java.lang.Error: x"];
    lines.extend(["row"; 16]);
    lines.extend(["row\n\tat A.a(A.java:1)", "next"]);
    check(Multiline::Auto, &lines);
}
