//! Values that are written, by example and against a strict reader.

use super::*;
use crate::record::json_scan::Scan;

const TIME_NS: i64 = 1_795_728_655_000_000_000;

fn template(
    shape: Shape,
    content: Content,
    fields: &[(&str, &str)],
    groups: &[&str],
    paths: &mut Paths,
) -> Template {
    let names: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
    let values: Vec<Option<&[u8]>> = fields
        .iter()
        .map(|(_, value)| Some(value.as_bytes()))
        .collect();
    let format = Format::new(shape, content, &names, groups, paths).expect("names that are free");
    format.for_file(&FileValues {
        host: b"web1",
        path: b"/var/log/a.log",
        fields: &values,
    })
}

fn write(
    shape: Shape,
    content: Content,
    fields: &[(&str, &str)],
    event: &[u8],
) -> (String, Written) {
    let mut paths = Paths::default();
    let mut template = template(shape, content, fields, &[], &mut paths);
    let mut scan = Scan::default();
    let object = scan.object(&paths, event);
    let mut out = Vec::new();
    let written = template.write(
        &mut out,
        &Entry {
            event,
            time_ns: TIME_NS,
            offset: 4096,
            object,
        },
        |_| None,
    );
    (String::from_utf8(out).expect("UTF-8"), written)
}

fn json(content: Content, event: &str) -> String {
    write(Shape::Json, content, &[("env", "prod")], event.as_bytes()).0
}

#[test]
fn text_is_a_string_whether_json_or_not() {
    let expected = r#"{"@timestamp":"2026-11-26T21:30:55.000Z","env":"prod","host":"web1","path":"/var/log/a.log","message":"{\"a\":1}"}"#;
    assert_eq!(json(Content::Text, r#"{"a":1}"#), expected);
}

#[test]
fn ecs_has_flat_keys_and_the_offset() {
    let (value, _) = write(
        Shape::Ecs,
        Content::Text,
        &[("service.name", "shop")],
        b"up",
    );
    assert_eq!(
        value,
        r#"{"@timestamp":"2026-11-26T21:30:55.000Z","ecs.version":"8.11.0","host.name":"web1","log.file.path":"/var/log/a.log","log.offset":4096,"service.name":"shop","message":"up"}"#
    );
}

#[test]
fn merge_splices_the_bytes_of_the_line() {
    let ours = r#"{"@timestamp":"2026-11-26T21:30:55.000Z","env":"prod","host":"web1","path":"/var/log/a.log","#;
    let line = r#"{"uri":"\/a?token=***","id":9007199254740993,"f":1626175065.5934923,"id":1.10, "é":"\u5165"}"#;
    assert_eq!(json(Content::Merge, line), format!("{ours}{}", &line[1..]));
    assert_eq!(
        json(Content::Merge, &format!(" {line} \r\n")),
        format!("{ours}{}", &line[1..])
    );
    assert_eq!(
        json(Content::Merge, "{ }"),
        format!("{}}}", ours.trim_end_matches(','))
    );
    assert_eq!(
        json(Content::Nest, "{ \"a\": 1 }"),
        format!("{ours}\"json\":{{ \"a\": 1 }}}}")
    );
}

#[test]
fn keys_that_the_line_has_are_the_lines() {
    let line = r#"{"h\u006fst":"x","@timestamp":null,"a":{"path":1},"env":"test"}"#;
    assert_eq!(
        json(Content::Merge, line),
        format!("{{\"path\":\"/var/log/a.log\",{}", &line[1..])
    );
    let line = r#"{"env":1,"host":2,"path":3,"@timestamp":4}"#;
    assert_eq!(json(Content::Merge, line), line);
    let line = r#"{"host":{"name":"x"},"log":{"offset":1,"file":{}},"ecs.version":"1"}"#;
    let (value, _) = write(Shape::Ecs, Content::Merge, &[], line.as_bytes());
    assert_eq!(
        value,
        format!(
            "{{\"@timestamp\":\"2026-11-26T21:30:55.000Z\",\"log.file.path\":\"/var/log/a.log\",{}",
            &line[1..]
        )
    );
}

#[test]
fn what_is_no_object_becomes_the_message_and_is_counted() {
    for content in [Content::Nest, Content::Merge] {
        for event in ["", "GET /", "[1]", r#"{"a":01}"#, r#"{"a":"\ud800"}"#] {
            let (value, written) = write(Shape::Json, content, &[], event.as_bytes());
            let value: serde_json::Value = serde_json::from_str(&value).expect("JSON");
            assert_eq!(value["message"], event);
            assert!(written.is_parse_failure);
        }
    }
    assert!(
        !write(Shape::Json, Content::Text, &[], b"x")
            .1
            .is_parse_failure
    );
}

#[test]
fn bad_utf8_is_replaced_and_counted_wherever_it_is() {
    let cases: [(Content, &[u8], &str); 3] = [
        (
            Content::Text,
            b"a\xffb\xe5\x85",
            "\"message\":\"a\u{fffd}b\u{fffd}\"}",
        ),
        (
            Content::Nest,
            b"{\"a\xff\":\"\xe5\x85\"}",
            "\"json\":{\"a\u{fffd}\":\"\u{fffd}\"}}",
        ),
        (
            Content::Merge,
            b"{\"a\xff\":\"\xe5\x85\"}",
            "\"a\u{fffd}\":\"\u{fffd}\"}",
        ),
    ];
    for (content, event, end) in cases {
        let (value, written) = write(Shape::Json, content, &[], event);
        assert!(value.ends_with(end), "{value}");
        assert_eq!(written.bad_utf8_parts, 2);
    }
}

#[test]
fn a_field_stands_instead_of_the_default_of_its_name_where_it_has_a_value() {
    let (value, _) = write(Shape::Json, Content::Text, &[("host", "db\"7")], b"x");
    assert_eq!(
        value,
        r#"{"@timestamp":"2026-11-26T21:30:55.000Z","host":"db\"7","path":"/var/log/a.log","message":"x"}"#
    );
    let mut paths = Paths::default();
    let mut template = template(
        Shape::Json,
        Content::Text,
        &[("env", "prod")],
        &["path", "message", "env", "user"],
        &mut paths,
    );
    let entry = Entry {
        event: b"the event",
        time_ns: TIME_NS + 1,
        offset: 0,
        object: None,
    };
    let mut write = |values: [Option<&'static [u8]>; 5]| {
        let mut out = Vec::new();
        template.write(&mut out, &entry, |number| values[number]);
        String::from_utf8(out).expect("UTF-8")
    };
    assert_eq!(
        write([
            None,
            Some(b"/x"),
            Some(b"said"),
            Some(b"second"),
            Some(b"ann")
        ]),
        r#"{"@timestamp":"2026-11-26T21:30:55.000000001Z","env":"prod","path":"/x","message":"said","user":"ann","host":"web1"}"#
    );
    assert_eq!(
        write([None; 5]),
        r#"{"@timestamp":"2026-11-26T21:30:55.000000001Z","env":"prod","host":"web1","path":"/var/log/a.log","message":"the event"}"#
    );
}

#[test]
fn names_that_would_hide_the_line_are_refused() {
    let new = |content, fields: &[&str], groups: &[&str]| {
        Format::new(Shape::Json, content, fields, groups, &mut Paths::default()).err()
    };
    assert_eq!(
        new(Content::Text, &["message"], &[]),
        Some(FormatError::FieldHoldsLine)
    );
    assert_eq!(
        new(Content::Nest, &[], &["json"]),
        Some(FormatError::HoldsObject)
    );
    assert_eq!(new(Content::Merge, &["json"], &["message"]), None);
}

#[test]
fn numbers_are_written_in_full() {
    for number in [0, 7, 10, 1_234_567, u64::MAX] {
        let mut out = Vec::new();
        push_number(&mut out, number);
        assert_eq!(out, number.to_string().as_bytes());
    }
}
