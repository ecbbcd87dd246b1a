//! Tables of what is one JSON object and what is not, and lookups.

use super::*;
use crate::record::json_grammar::MAX_DEPTH;

fn is_object(line: &[u8]) -> bool {
    Scan::default().object(&Paths::default(), line).is_some()
}

fn value_of(path: &str, line: &str) -> Option<String> {
    let mut paths = Paths::default();
    paths.add("other");
    let id = paths.add(path);
    let mut scan = Scan::default();
    let object = scan.object(&paths, line.as_bytes()).expect("an object");
    let mut scratch = Vec::new();
    object
        .value(id, &mut scratch)
        .map(|value| String::from_utf8(value.to_vec()).expect("UTF-8"))
}

#[test]
fn valid_objects_are_taken() {
    let lines: [&str; 27] = [
        "{}",
        " \t{ \r\n } \n",
        r#"{"a":1}"#,
        r#"{"":""}"#,
        r#"{"a":0,"b":-0,"c":-0.0,"d":1e1,"e":1E+1,"f":1e-1,"g":0.5e00,"h":123456789012345678901234567890}"#,
        r#"{"a":1e999999}"#,
        r#"{"a":true,"b":false,"c":null}"#,
        r#"{"a":[],"b":{},"c":[[]],"d":[{}],"e":{"f":{}}}"#,
        r#"{"a":[1,2,3],"b":[1,[2,[3]],{"c":[4]}],"d":5}"#,
        r#"{"a" : [ 1 , 2 ] , "b" : { "c" : [ ] } }"#,
        r#"{"a":1,"a":2,"a":{"a":1,"a":2}}"#,
        r#"{"a":"\"\\\/\b\f\n\r\t\u0000\u00e9\uFFFF"}"#,
        r#"{"a":"\ud83d\ude00"}"#,
        r#"{"a":"\\u12"}"#,
        r#"{"\u0061":"b"}"#,
        r#"{"a":"//","b":"/* */"}"#,
        r#"{"12345678":"1234567","1234567":"12345678","a":"1234567890123456"}"#,
        "{\"a\":\"\u{7f}\u{80}\u{2028}\u{ffff}😀\"}",
        "{\"入口\":\"\u{feff}\"}",
        "{\n  \"level\": \"error\",\n  \"tags\": [\n    1\n  ]\n}",
        r#"{"a":"}"}"#,
        r#"{"a":"{","b":"]"}"#,
        r#"{"a":{"b":[{"c":{"d":[[[{}]]]}}]}}"#,
        r#"{"a":[{},[],{},[[],[]]]}"#,
        r#"{"a":[null,true,false,"",0]}"#,
        r#"{"a":[[1],2]}"#,
        r#"{"a":{"b":{},"c":{}},"d":[{},1]}"#,
    ];
    for line in lines {
        assert!(is_object(line.as_bytes()), "{line}");
        let strict: Result<serde_json::Value, _> = serde_json::from_str(line);
        assert!(strict.is_ok(), "{line}: {strict:?}");
    }
}

#[test]
fn what_is_not_one_valid_object_is_not() {
    let lines: [&str; 83] = [
        "",
        " ",
        "\0",
        "null",
        "1",
        "\"a\"",
        "[]",
        "[{}]",
        "plain text",
        "{",
        "}",
        "{}}",
        "{{}",
        "{}{}",
        "{} x",
        "{},",
        "{]",
        "{,}",
        "{a}",
        "\u{feff}{}",
        "x{}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{,\"a\":1}",
        "{\"a\":1,,\"b\":2}",
        "{\"a\":1 \"b\":2}",
        "{\"a\" 1}",
        "{\"a\"::1}",
        "{\"a\":1",
        "{\"a\":",
        "{\"a",
        "{\"a\":\"b",
        "{\"a\":\"b\\",
        "{\"a\":\"b\\\"}",
        "{'a':1}",
        "{a:1}",
        "{1:1}",
        "{null:1}",
        "{[]:1}",
        "{\"a\":'b'}",
        "{\"a\":undefined}",
        "{\"a\":NaN}",
        "{\"a\":Infinity}",
        "{\"a\":-Infinity}",
        "{\"a\":True}",
        "{\"a\":tru}",
        "{\"a\":truee}",
        "{\"a\":nul",
        "{\"a\":01}",
        "{\"a\":-01}",
        "{\"a\":+1}",
        "{\"a\":-}",
        "{\"a\":.5}",
        "{\"a\":1.}",
        "{\"a\":1.e1}",
        "{\"a\":1e}",
        "{\"a\":1e+}",
        "{\"a\":0x10}",
        "{\"a\":1_0}",
        "{\"a\":1 2}",
        "{\"a\":--1}",
        "{\"a\":1e1.5}",
        "{\"a\":\"\t\"}",
        "{\"a\":\"\n\"}",
        "{\"a\":\"\0\"}",
        "{\"a\":\"\u{1f}\"}",
        "{\"a\":\"\\x\"}",
        "{\"a\":\"\\u12\"}",
        "{\"a\":\"\\u12g4\"}",
        "{\"a\":\"\\U0041\"}",
        "{\"a\":\"\\'\"}",
        "{\"a\":[1,]}",
        "{\"a\":[,1]}",
        "{\"a\":[1 2]}",
        "{\"a\":[1}",
        "{\"a\":[1}]",
        "{\"a\":{\"b\":1]}",
        "{\"a\":{\"b\":1}",
        "{\"a\":[}",
        "{\"a\":1}//",
        "{\"a\":/**/1}",
        "{\u{a0}}",
    ];
    for line in lines {
        assert!(!is_object(line.as_bytes()), "{line:?}");
        let strict: Result<serde_json::Map<String, serde_json::Value>, _> =
            serde_json::from_str(line);
        assert!(strict.is_err(), "{line:?}");
    }
    for line in [
        r#"{"a":"\ud800"}"#,
        r#"{"a":"\udc00"}"#,
        r#"{"a":"\ud800\u0041"}"#,
        r#"{"a":"\ud800\ud800"}"#,
    ] {
        assert!(!is_object(line.as_bytes()), "{line}: half a surrogate pair");
    }
    assert!(
        !is_object(b"{\"a\":\xff}") && !is_object(b"{\"a\":1\x80}"),
        "bad UTF-8 outside strings"
    );
    assert!(
        is_object(b"{\"a\xff\":\"\xe5\x85\"}"),
        "bad UTF-8 within strings"
    );
}

#[test]
fn no_prefix_of_an_object_is_one() {
    let line = br#"{"a":[1,-2.5e3,{"b":"\u00e9\n"}],"c":{"d":[[],{}]},"e":null,"f":true}"#;
    for len in 0..line.len() {
        assert!(!is_object(&line[..len]), "{len}");
    }
    assert!(is_object(line));
}

#[test]
fn depth_is_bounded_and_a_million_brackets_are_no_trouble() {
    let nested = |open: &str, close: &str, count: usize| {
        format!("{{\"a\":{}1{}}}", open.repeat(count), close.repeat(count))
    };
    let most = MAX_DEPTH as usize - 1;
    for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("[{\"b\":", "}]")] {
        let count = most / close.len();
        assert!(is_object(nested(open, close, count).as_bytes()));
        assert!(!is_object(nested(open, close, count + 1).as_bytes()));
        assert!(!is_object(nested(open, close, 1_000_000).as_bytes()));
    }
    let deepest = format!("{{\"json\":{}}}", nested("[", "]", most));
    assert!(
        serde_json::from_str::<serde_json::Value>(&deepest).is_ok(),
        "a nested line stays within serde_json's bound"
    );
}

#[test]
fn values_are_found_by_path() {
    let line = r#"{"id":9007199254740993,"s":"a\n\u00e9","t":true,"n":null,"f":-1.50E2,"o":{"x":{"y":"deep"},"z":[1, {"q":2}]},"e":""}"#;
    let cases = [
        ("id", Some("9007199254740993")),
        ("s", Some("a\né")),
        ("t", Some("true")),
        ("n", None),
        ("f", Some("-1.50E2")),
        ("o.x.y", Some("deep")),
        ("o.x", Some(r#"{"y":"deep"}"#)),
        ("o.z", Some(r#"[1, {"q":2}]"#)),
        ("e", Some("")),
        ("o.z.q", None),
        ("o.x.y.z", None),
        ("o.", None),
        ("i", None),
        ("idx", None),
        ("y", None),
        ("q", None),
    ];
    for (path, expected) in cases {
        assert_eq!(value_of(path, line).as_deref(), expected, "{path}");
    }
}

#[test]
fn a_dot_is_a_level_or_itself_and_keys_are_unescaped() {
    assert_eq!(
        value_of("log.level", r#"{"log.level":"warn"}"#).as_deref(),
        Some("warn")
    );
    assert_eq!(
        value_of("a.b.c", r#"{"a.b":{"c":1}}"#).as_deref(),
        Some("1")
    );
    assert_eq!(
        value_of("a.b.c", r#"{"a":{"b.c":2}}"#).as_deref(),
        Some("2")
    );
    assert_eq!(
        value_of("tenant", r#"{"\u0074en\u0061nt":"x"}"#).as_deref(),
        Some("x")
    );
    assert_eq!(
        value_of("a.tenant", r#"{"a":{"\u0074enant":"x"}}"#).as_deref(),
        Some("x")
    );
}

#[test]
fn the_last_of_a_repeated_key_counts() {
    assert_eq!(value_of("a", r#"{"a":1,"a":2}"#).as_deref(), Some("2"));
    assert_eq!(value_of("a", r#"{"a":1,"a":null}"#), None);
    assert_eq!(
        value_of("a.b", r#"{"a":{"b":1,"b":2},"a.b":3,"a":{"c":4}}"#).as_deref(),
        Some("3")
    );
}

#[test]
fn a_scan_forgets_the_line_before() {
    let mut paths = Paths::default();
    let id = paths.add("a");
    assert_eq!(paths.add("a"), id);
    let mut scan = Scan::default();
    assert!(
        scan.object(&paths, br#"{"a":null}"#)
            .expect("an object")
            .has(id)
    );
    assert!(!scan.object(&paths, b"{}").expect("an object").has(id));
}
