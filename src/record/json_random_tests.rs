//! Random lines through merge and nest, read back by a strict reader that keeps repeated keys.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::*;
use crate::record::json_grammar::MAX_DEPTH;
use crate::record::json_scan::Scan;

/// An object as it is written: each member in its order, its value unread.
#[derive(Debug)]
struct Members(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

impl Members {
    /// `None` if a strict reader refuses the text.
    fn read(text: &str) -> Option<Vec<(String, String)>> {
        serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text).ok()?;
        let Members(members) = serde_json::from_str(text).ok()?;
        Some(
            members
                .into_iter()
                .map(|(key, value)| (key, value.get().to_string()))
                .collect(),
        )
    }
}

/// Writes random JSON, as wild as the grammar allows.
struct Writer {
    random: fastrand::Rng,
    out: Vec<u8>,
}

impl Writer {
    fn line(&mut self) {
        self.out.clear();
        self.blanks();
        match self.random.u32(..100) {
            0..90 => self.object(4),
            90..93 => self.deep(),
            93..97 => self.value(3),
            _ => self.string(),
        }
        self.blanks();
        if self.random.u32(..4) == 0 {
            self.damage();
        }
    }

    fn damage(&mut self) {
        for _ in 0..self.random.usize(1..3) {
            let at = self.random.usize(..self.out.len().max(1));
            match (self.random.u32(..4), at < self.out.len()) {
                (0, true) => self.out[at] = self.random.u8(..),
                (1, true) => drop(self.out.remove(at)),
                (2, _) => self.out.truncate(at),
                _ => self.out.insert(
                    at,
                    *self
                        .random
                        .choice(b"{}[]\",:\\0-.e \n\xff")
                        .expect("not empty"),
                ),
            }
        }
    }

    fn deep(&mut self) {
        let levels = self.random.usize(100..150);
        let brackets: Vec<bool> = (0..levels).map(|_| self.random.bool()).collect();
        self.out.extend_from_slice(b"{\"a\":");
        for &is_object in &brackets {
            self.out
                .extend_from_slice(if is_object { b"{\"k\":" } else { b"[" });
        }
        self.out.push(b'1');
        for &is_object in brackets.iter().rev() {
            self.out.push(if is_object { b'}' } else { b']' });
        }
        self.out.push(b'}');
    }

    fn object(&mut self, depth: u32) {
        self.list(b'{', b'}', |writer| {
            writer.key();
            writer.blanks();
            writer.out.push(b':');
            writer.blanks();
            writer.value(depth);
        });
    }

    fn list(&mut self, open: u8, close: u8, mut item: impl FnMut(&mut Self)) {
        self.out.push(open);
        self.blanks();
        for number in 0..self.random.u32(..6) {
            if number > 0 {
                self.out.push(b',');
                self.blanks();
            }
            item(self);
            self.blanks();
        }
        self.out.push(close);
    }

    fn key(&mut self) {
        let known = [
            r#""host""#,
            r#""path""#,
            r#""env""#,
            r#""@timestamp""#,
            r#""json""#,
            r#""message""#,
            r#""a""#,
            r#""h\u006fst""#,
            r#""\u0040timestamp""#,
        ];
        match self.random.bool() {
            true => self
                .out
                .extend_from_slice(known[self.random.usize(..known.len())].as_bytes()),
            false => self.string(),
        }
    }

    fn value(&mut self, depth: u32) {
        match self.random.u32(..10) {
            0 if depth > 0 => self.object(depth - 1),
            1 | 2 if depth > 0 => self.list(b'[', b']', |writer| writer.value(depth - 1)),
            3 => self
                .out
                .extend_from_slice([&b"true"[..], b"false", b"null"][self.random.usize(..3)]),
            4..7 => self.number(),
            _ => self.string(),
        }
    }

    fn number(&mut self) {
        let text = match self.random.u32(..6) {
            0 => self.random.i64(..).to_string(),
            1 => format!("{}{}", self.random.u64(1..), self.random.u64(..)),
            2 => format!("{:?}", f64::from_bits(self.random.u64(..) & !(1 << 62))),
            3 => format!(
                "-{}.{:020}E+{}",
                self.random.u32(..),
                self.random.u64(..),
                self.random.u32(..99)
            ),
            4 => "-0.0e-0".to_string(),
            _ => self.random.u32(..100).to_string(),
        };
        self.out.extend_from_slice(text.as_bytes());
    }

    fn string(&mut self) {
        self.out.push(b'"');
        if self.random.u32(..20_000) == 0 {
            self.out.resize(self.out.len() + 1_000_000, b'x');
        }
        for _ in 0..self.random.u32(..12) {
            match self.random.u32(..12) {
                0 => self.out.extend_from_slice(
                    [
                        r"\n",
                        r#"\""#,
                        r"\\",
                        r"\/",
                        r"\u0000",
                        r"\ud83d\ude00",
                        r"\u5165",
                    ][self.random.usize(..7)]
                    .as_bytes(),
                ),
                1 => self.out.extend_from_slice("入口é😀\u{2028}".as_bytes()),
                2 if self.random.u32(..8) == 0 => self.out.extend_from_slice(
                    [
                        &b"\xff"[..],
                        b"\xe5\x85",
                        b"\xf0\x9f\x98",
                        b"\xed\xa0\x80",
                        b"\xc0\xaf",
                    ][self.random.usize(..5)],
                ),
                3 if self.random.u32(..20) == 0 => self.out.extend_from_slice(
                    [&br"\ud800"[..], b"\\x", b"\n", b"\0"][self.random.usize(..4)],
                ),
                _ => self.out.push(self.random.alphanumeric() as u8),
            }
        }
        self.out.push(b'"');
    }

    fn blanks(&mut self) {
        if self.random.u32(..8) == 0 {
            self.out.push(b" \t\r\n"[self.random.usize(..4)]);
        }
    }
}

/// How many brackets are open at once, at most.
fn depth_of(text: &str) -> usize {
    let (mut depth, mut most, mut is_string, mut is_escaped) = (0usize, 0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => is_string = !is_string,
            b'{' | b'[' if !is_string => depth += 1,
            b'}' | b']' if !is_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        most = most.max(depth);
    }
    most
}

#[test]
fn a_strict_reader_reads_the_line_and_our_keys() {
    let ours = [
        ("@timestamp", "\"2026-11-26T21:30:55.000Z\""),
        ("env", "\"prod\""),
        ("host", "\"web1\""),
        ("path", "\"/var/log/a.log\""),
    ];
    let mut writer = Writer {
        random: fastrand::Rng::with_seed(22),
        out: Vec::new(),
    };
    let (mut scan, mut out) = (Scan::default(), Vec::new());
    let mut counts = [0; 2];
    let mut merge_paths = Paths::default();
    let mut templates = Vec::new();
    for content in [Content::Merge, Content::Nest] {
        let format =
            Format::new(Shape::Json, content, &["env"], &[], &mut merge_paths).expect("free names");
        templates.push(format.for_file(&FileValues {
            host: b"web1",
            path: b"/var/log/a.log",
            fields: &[Some(b"prod")],
        }));
    }
    for round in 0..if cfg!(debug_assertions) {
        20_000
    } else {
        100_000
    } {
        writer.line();
        let line = &writer.out[..];
        let lossy = String::from_utf8_lossy(line);
        let input = Members::read(&lossy).filter(|_| depth_of(&lossy) <= MAX_DEPTH as usize);
        let object = scan.object(&merge_paths, line);
        assert_eq!(object.is_some(), input.is_some(), "{lossy}");
        counts[usize::from(input.is_some())] += 1;
        for (template, is_merge) in templates.iter_mut().zip([true, false]) {
            out.clear();
            let entry = Entry {
                event: line,
                time_ns: 1_795_728_655_000_000_000,
                offset: round,
                object,
            };
            let written = template.write(&mut out, &entry, |_| None);
            let value = std::str::from_utf8(&out).expect("UTF-8");
            let members = Members::read(value).expect(value);
            let own = |line: &[(String, String)]| -> Vec<(String, String)> {
                let missing = ours
                    .iter()
                    .filter(|(key, _)| line.iter().all(|(other, _)| other != key));
                missing
                    .map(|(key, value)| (key.to_string(), value.to_string()))
                    .collect()
            };
            let expected = match &input {
                Some(input) if is_merge => [own(input), input.clone()].concat(),
                Some(_) => [
                    own(&[]),
                    vec![(
                        "json".into(),
                        lossy.trim_matches([' ', '\t', '\r', '\n']).into(),
                    )],
                ]
                .concat(),
                None => {
                    let message = members.last().expect("a message").1.clone();
                    assert_eq!(
                        serde_json::from_str::<String>(&message).expect("a string"),
                        lossy
                    );
                    [own(&[]), vec![("message".into(), message)]].concat()
                }
            };
            assert_eq!(members, expected);
            assert_eq!(written.is_parse_failure, input.is_none());
            let bad_parts = line
                .utf8_chunks()
                .filter(|chunk| !chunk.invalid().is_empty())
                .count();
            assert_eq!(written.bad_utf8_parts, bad_parts);
        }
    }
    assert!(
        counts[0] > 2000 && counts[1] > 10_000,
        "too few of one kind: {counts:?}"
    );
}
