//! Bytes that are given to a framer and a recorder as a source does it, without a file.

use std::path::Path;
use std::sync::Arc;

use crate::batch::{Destination, Events, Framing, Records, TailChecksum};
use crate::buffer::BufferPool;
use crate::config::Config;
use crate::record::RecordConfig;
use crate::record::framing::{Framed, Framer};
use crate::record::recorder::{FileFacts, Input, Recorder};

/// What is asked of a section, and where its records go.
pub(in crate::tail) struct Section {
    pub(in crate::tail) config: Arc<RecordConfig>,
    pub(in crate::tail) destination: Arc<Destination>,
}

impl Section {
    /// `[log:app]` with these lines.
    pub(in crate::tail) fn of(lines: &str) -> Section {
        let text = format!(
            "[agent]\nstate_dir = /tmp/s\n[kafka]\nbrokers = a:9092\ntopic = logs\n[log:app]\npath = /log/{{app}}.log\n{lines}\n"
        );
        let parsed = Config::from_bytes(text.as_bytes(), Path::new("a.ini"), &|_| None);
        let config = parsed.unwrap_or_else(|errors| panic!("{errors}\n{text}"));
        let log = &config.logs[0];
        let destination = Destination {
            route: Arc::new(log.route("node7", config.kafka.headers, Arc::default())),
            path: Path::new("/log/shop.log").into(),
        };
        Section {
            config: log.record.clone().expect("it does something"),
            destination: Arc::new(destination),
        }
    }
}

/// A record: its value, number in pieces (negative for the last), topic, and what it has of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::tail) struct Made {
    pub(in crate::tail) value: Vec<u8>,
    pub(in crate::tail) piece: i64,
    pub(in crate::tail) topic: String,
    pub(in crate::tail) key: Option<Vec<u8>>,
    /// The file is done with up to here when the record has arrived.
    pub(in crate::tail) span_end: u64,
}

/// What was given of a file, and what came of it.
pub(in crate::tail) struct Feed<'a> {
    section: &'a Section,
    bytes: &'a [u8],
    framer: Framer,
    recorder: Recorder,
    pub(in crate::tail) position: usize,
    pub(in crate::tail) records: Vec<Made>,
    undecided: usize,
}

impl<'a> Feed<'a> {
    pub(in crate::tail) fn new(section: &'a Section, bytes: &'a [u8]) -> Self {
        let mut feed = Feed {
            section,
            bytes,
            framer: framer(section),
            recorder: recorder(section, bytes, 0),
            position: 0,
            records: Vec::new(),
            undecided: 0,
        };
        feed.restart();
        feed
    }

    /// All records, where the file grows as `grow` says and reads have `most` bytes at most; a restart follows on each
    /// step that gave records if `restarts` says so.
    pub(in crate::tail) fn all(
        section: &Section,
        bytes: &[u8],
        most: usize,
        mut grow: impl FnMut() -> usize,
        mut restarts: impl FnMut() -> bool,
    ) -> Vec<Made> {
        let mut feed = Feed::new(section, bytes);
        let mut there = 0;
        while there < bytes.len() {
            there = bytes.len().min(there + grow().max(1));
            while feed.step(there, most) {
                if restarts() {
                    feed.restart();
                }
            }
        }
        assert_eq!(feed.position, bytes.len(), "all of it is done");
        feed.records
    }

    /// Another run goes on at the position.
    pub(in crate::tail) fn restart(&mut self) {
        let position = self.position;
        self.framer = framer(self.section);
        self.recorder = recorder(self.section, self.bytes, position);
        self.undecided = 0;
        let order = self
            .recorder
            .byte_order(&self.bytes[..self.bytes.len().min(2)]);
        self.framer.set_byte_order(order);
        let before = &self.bytes[..position];
        let line_start = match order {
            Some(order) => order.find_last_line_end(before).unwrap_or(0),
            None => memchr::memrchr(b'\n', before).map_or(0, |at| at + 1),
        };
        if line_start < position {
            let first = (line_start + self.framer.max_line_bytes()).min(position);
            self.framer.resume_inside((position - line_start) as u64);
            self.recorder
                .resume_line(&self.bytes[line_start..first], line_start as u64);
        }
    }

    /// As `Source::read` of a file that ends at `there`: false if more has to be written first.
    fn step(&mut self, there: usize, most: usize) -> bool {
        let mut most = most.max(self.undecided + self.framer.decisive_bytes());
        loop {
            let data = &self.bytes[self.position..there.min(self.position + most)];
            let read_to = self.position + data.len();
            let is_last = read_to == self.bytes.len();
            let framed = match is_last {
                true => self.framer.frame_last(data),
                false => self.framer.frame(data),
            };
            let made =
                framed.is_some_and(|framed| self.make(&framed, data, is_last, read_to == there));
            if made || read_to == there {
                return made;
            }
            most *= 2;
        }
    }

    fn make(&mut self, framed: &Framed, data: &[u8], is_last: bool, is_at_end: bool) -> bool {
        let is_complete = match is_at_end {
            true => is_last,
            false => data.len() - framed.bytes >= self.framer.decisive_bytes(),
        };
        let input = Input {
            data: &data[..framed.bytes],
            behind: &data[framed.bytes..],
            framing: &framed.framing,
            start: self.position as u64,
            is_complete,
        };
        let made = self.recorder.make(&input);
        assert!(made.bytes <= framed.bytes);
        assert!(
            made.bytes > 0 || !is_complete,
            "what is complete gives something: {:?} {framed:?} {}",
            self.section.config.settings,
            data.escape_ascii()
        );
        if made.bytes == 0 {
            self.undecided = data.len();
            return false;
        }
        self.undecided = 0;
        let mut end = 0;
        for run in &made.runs {
            assert_eq!(run.start, end, "runs follow on each other");
            let bytes = run.parts(data).collect::<Vec<_>>().concat();
            end += self.take(
                &bytes,
                &run.framing,
                run.destination.as_ref(),
                &data[run.start..],
            );
        }
        if let Some(framing) = &made.as_read {
            end = self.take(&data[..made.bytes], framing, None, data);
        }
        assert!(
            end == made.bytes || end == 0 && made.runs.is_empty(),
            "{end} of {made:?}"
        );
        self.position += made.bytes;
        true
    }

    /// Takes the records of a batch; returns how many bytes of `data` they are about.
    fn take(
        &mut self,
        bytes: &[u8],
        framing: &Framing,
        destination: Option<&Arc<Destination>>,
        data: &[u8],
    ) -> usize {
        let Framing::Events(events) = framing else {
            panic!("{framing:?}");
        };
        assert_events(events, bytes, data);
        let destination = destination.unwrap_or(&self.section.destination);
        let start = (data.as_ptr() as usize - self.bytes.as_ptr() as usize) as u64;
        let records = Records::new(bytes, framing, false, 0);
        for (at, (_, value)) in records.enumerate() {
            let own = events.own_of(at);
            self.records.push(Made {
                value: without_time(value),
                piece: events.piece.map_or(0, |piece| match piece.last {
                    true => -i64::from(piece.index),
                    false => i64::from(piece.index),
                }),
                topic: destination.route.topic.to_string(),
                key: match own {
                    Some(own) => own.key.map(<[u8]>::to_vec),
                    None => destination.route.key.as_ref().map(|key| key.to_vec()),
                },
                span_end: start + u64::from(events.marks[at].span_end),
            });
        }
        events.marks.last().map_or(0, |mark| mark.span_end as usize)
    }
}

/// `value` without the time when it was read.
fn without_time(value: &[u8]) -> Vec<u8> {
    let name = b"\"@timestamp\":\"";
    let Some(at) = memchr::memmem::find(value, name) else {
        return value.to_vec();
    };
    let rest = &value[at + name.len()..];
    let end = memchr::memchr(b'"', rest).unwrap_or(rest.len());
    [&value[..at + name.len()], &rest[end..]].concat()
}

fn assert_events(events: &Events, bytes: &[u8], data: &[u8]) {
    let marks = &events.marks;
    assert!(!marks.is_empty());
    assert_eq!(
        marks.last().map(|mark| mark.end as usize),
        Some(bytes.len())
    );
    assert!(
        marks.is_sorted_by(|a, b| a.end < b.end && a.span_end <= b.span_end),
        "{marks:?}"
    );
    assert!(
        events.piece.is_none() || marks.len() == 1,
        "a piece is alone"
    );
    assert!(events.own.is_empty() || events.own.len() == marks.len());
    for mark in marks {
        let checksum = events.tail_checksum_at(mark.end as usize, bytes);
        let done = &data[..mark.span_end as usize];
        let covered = &done[done.len() - usize::from(checksum.len)..];
        assert_eq!(covered.is_empty(), done.is_empty());
        assert_eq!(checksum, TailChecksum::of(covered));
    }
}

fn framer(section: &Section) -> Framer {
    let config = &section.config;
    Framer::new(config.max_line_bytes, config.strip_cr).with_lookahead(config.lookahead_bytes())
}

fn recorder(section: &Section, bytes: &[u8], position: usize) -> Recorder {
    let config = &section.config;
    let context = usize::try_from(Recorder::context_bytes(config)).expect("is small");
    let facts = FileFacts {
        inode: 7,
        identity: 11,
        position: position as u64,
        head: &bytes[..position.min(context)],
        before: &bytes[position.saturating_sub(context)..position],
        destination: &section.destination,
    };
    Recorder::new(
        config,
        &Arc::new(config.counters()),
        &facts,
        &BufferPool::new(),
    )
}
