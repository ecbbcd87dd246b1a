//! Sources with a recorder: events that grow, wait, and end; 16-bit text; memory.

use super::*;
use crate::tail::source::making::Patience;
use crate::tail::source::making::feed::Section;

/// A file and the source that makes records of it.
struct Recording {
    reading: Reading,
    section: Section,
    patience: Patience,
}

impl Recording {
    fn of(lines: &str, begin: &[u8]) -> Recording {
        let section = Section::of(lines);
        let reading = Reading::of("app.log", section.config.max_line_bytes, |file| {
            put(file, begin)
        });
        let mut recording = Recording {
            reading,
            section,
            patience: Patience::Configured,
        };
        recording.make_records();
        recording
    }

    fn make_records(&mut self) {
        let (config, source) = (&self.section.config, &mut self.reading.source);
        let framer = Framer::new(config.max_line_bytes, config.strip_cr);
        source.framer = framer.with_lookahead(config.lookahead_bytes());
        let counters = Arc::new(config.counters());
        let destination = &self.section.destination;
        source
            .make_records(
                config,
                &counters,
                destination,
                self.patience,
                &self.reading.pool,
            )
            .expect("reads");
        source.count_sent_pieces().expect("reads");
    }

    fn restart(&mut self) {
        self.reading.restart();
        self.make_records();
    }

    fn append(&self, bytes: &[u8]) {
        let file = OpenOptions::new().append(true).open(&self.reading.path);
        put(&file.expect("opens"), bytes);
    }

    fn read(&mut self, growth: Growth) -> u64 {
        self.reading.read(growth)
    }

    fn take(&mut self) -> Vec<String> {
        std::mem::take(&mut self.reading.records)
    }
}

#[test]
fn the_time_of_reading_has_milliseconds() {
    let mut recording = Recording::of("format = json", b"a\n");
    recording.read(Growth::Possible);
    let record = recording.take().remove(0);
    let time = record.split('"').nth(3).expect("a time");
    assert_eq!(time.len(), "2026-11-26T22:30:54.116Z".len(), "{record}");
}

#[test]
fn an_event_waits_at_the_end_and_is_one_when_the_next_begins() {
    let mut recording = Recording::of(
        "multiline = timestamp\nmultiline_timeout = 1h",
        b"2026-11-26 22:30:54 a\n",
    );
    assert_eq!(recording.read(Growth::Possible), 22);
    assert!(recording.reading.source.pending_due().is_some());
    recording.append(b"  at b\n  at");
    assert_eq!(recording.read(Growth::Possible), 33);
    recording.restart();
    assert_eq!(recording.read(Growth::Possible), 33);
    recording.append(b" c\n2026-11-26 22:30:55 d\n");
    assert_eq!(recording.read(Growth::Possible), 22);
    assert_eq!(recording.take(), ["2026-11-26 22:30:54 a\n  at b\n  at c"]);
    assert_eq!(recording.read(Growth::Finished), 0);
    assert_eq!(recording.take(), ["2026-11-26 22:30:55 d"]);
    assert!(recording.reading.source.pending_due().is_none());
}

#[test]
fn an_event_that_has_waited_long_enough_goes_without_the_line_that_is_being_written() {
    let mut recording = Recording::of(
        "multiline = timestamp\nmultiline_timeout = 1h",
        b"2026-11-26 22:30:54 a\n  at b\n  a",
    );
    assert_eq!(recording.read(Growth::Possible), 32);
    recording.patience = Patience::None;
    recording.restart();
    assert_eq!(recording.read(Growth::Possible), 3);
    assert_eq!(recording.take(), ["2026-11-26 22:30:54 a\n  at b"]);
    recording.append(b"t c\n");
    assert_eq!(recording.read(Growth::Possible), 0);
    assert_eq!(recording.take(), ["  at c"]);
}

#[test]
fn a_finished_file_ends_its_event_with_or_without_a_newline() {
    for end in ["", "\n"] {
        let text = format!("2026-11-26 22:30:54 a\n  at b{end}");
        let mut recording =
            Recording::of("multiline = auto\nmultiline_timeout = 1h", text.as_bytes());
        assert_eq!(recording.read(Growth::Possible), text.len() as u64);
        assert_eq!(recording.read(Growth::Finished), 0);
        assert_eq!(recording.take(), ["2026-11-26 22:30:54 a\n  at b"]);
    }
}

#[test]
fn what_waits_in_a_truncated_file_is_not_taken_for_the_new_content() {
    let mut recording = Recording::of(
        "multiline = timestamp\nmultiline_timeout = 1h",
        b"2026-11-26 22:30:54 a\n2026-11-26 22:30:55 b\n",
    );
    recording.read(Growth::Possible);
    assert_eq!(recording.take(), ["2026-11-26 22:30:54 a"]);
    let file = OpenOptions::new()
        .write(true)
        .open(&recording.reading.path)
        .expect("opens");
    file.set_len(0).expect("cuts");
    put(
        &file,
        b"2026-11-26 23:30:54 other and longer than before\n2026-11-26 23:30:55 other\n",
    );
    let reading = &mut recording.reading;
    let stat = reading.source.content.stat().expect("looks");
    let read = reading
        .source
        .read(stat.size, Growth::Possible, &reading.account, &reading.pool);
    assert!(matches!(read.expect("reads"), ReadOutcome::Changed));
}

#[test]
fn events_larger_than_a_read_are_whole_and_larger_ones_go_in_pieces() {
    let line = format!("  {}\n", "x".repeat(997));
    for (lines, pieces) in [(500, 1), (2000, 3)] {
        let text = format!("2026-11-26 22:30:54 a\n{}", line.repeat(lines));
        let mut recording = Recording::of("multiline = timestamp\nmask = card", text.as_bytes());
        recording.append(b"2026-11-26 22:30:55 b\n");
        recording.read(Growth::Finished);
        let records = recording.take();
        assert_eq!(records.len(), pieces + 1);
        assert_eq!(records[..pieces].join("\n") + "\n", text);
        assert!(records.iter().all(|record| record.len() <= 900 << 10));
        assert_eq!(
            recording.reading.account.held_bytes(),
            0,
            "all is given back"
        );
    }
}

#[test]
fn a_container_group_larger_than_a_usual_read_comes_to_an_end() {
    let mut text = String::new();
    for number in 0..4000 {
        let stream = ["stdout", "stderr"][number % 2];
        text += &format!(
            "2026-11-26T22:30:54.{number:09}Z {stream} F   at line {number} {}\n",
            "y".repeat(100)
        );
    }
    let mut recording = Recording::of(
        "container = cri\nmultiline = indent\nmax_line_bytes = 1KiB",
        text.as_bytes(),
    );
    recording.read(Growth::Possible);
    recording.read(Growth::Finished);
    let records = recording.take();
    assert_eq!(
        records
            .iter()
            .map(|record| record.lines().count())
            .sum::<usize>(),
        4000
    );
    assert_eq!(recording.reading.source.position, text.len() as u64);
}

#[test]
fn wide_text_is_read_at_any_resume_and_an_odd_byte_ends_it() {
    for (encoding, is_big) in [
        ("utf-16", false),
        ("utf-16", true),
        ("utf-16le", false),
        ("utf-16be", true),
    ] {
        let bytes = |text: &str| -> Vec<u8> {
            let of = if is_big {
                u16::to_be_bytes
            } else {
                u16::to_le_bytes
            };
            text.encode_utf16().flat_map(of).collect()
        };
        let mark = if encoding == "utf-16" { "\u{feff}" } else { "" };
        let section =
            format!("encoding = {encoding}\nmultiline = timestamp\nmultiline_timeout = 1h");
        let mut recording = Recording::of(&section, &bytes(mark)[..mark.len().min(1)]);
        recording.read(Growth::Possible);
        recording.append(&bytes(mark)[mark.len().min(1)..]);
        let text = "2026-11-26 22:30:54 ਊ订\n  Ċ 💩\n2026-11-26 22:30:55 b\n  at b\n2026-11-26 22:30:56 c\n";
        for byte in bytes(text) {
            recording.append(&[byte]);
            recording.read(Growth::Possible);
            recording.restart();
        }
        recording.append(b"\n");
        recording.read(Growth::Finished);
        let records = recording.take();
        assert_eq!(
            records[..2],
            [
                "2026-11-26 22:30:54 ਊ订\n  Ċ 💩",
                "2026-11-26 22:30:55 b\n  at b"
            ]
        );
        assert_eq!(
            records[2..],
            ["2026-11-26 22:30:56 c\n\u{fffd}"],
            "{encoding}"
        );
    }
}

#[test]
fn a_long_line_of_wide_text_goes_in_numbered_pieces_and_hides_its_secret_over_a_restart() {
    let text = format!("password={}\nnext\n", "s3cr3t".repeat(100));
    let bytes: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut recording = Recording::of(
        "encoding = utf-16le\nmask = password\nmax_line_bytes = 100B",
        &bytes,
    );
    let (reading, mut steps) = (&mut recording.reading, 0);
    let stat = reading.source.content.stat().expect("looks");
    reading.source.record_stat(&stat);
    while recording.reading.source.position < stat.size {
        let reading = &mut recording.reading;
        let read =
            reading
                .source
                .read(stat.size, Growth::Finished, &reading.account, &reading.pool);
        let ReadOutcome::Made(_, chunks) = read.expect("reads") else {
            panic!("nothing is made");
        };
        for chunk in chunks {
            reading
                .records
                .push(String::from_utf8_lossy(&chunk.data).into_owned());
        }
        steps += 1;
        recording.restart();
    }
    assert!(steps > 10);
    let records = recording.take();
    assert!(!records.concat().contains("s3c"), "{records:?}");
    assert_eq!(records.last().map(String::as_str), Some("next\n"));
}
