//! Sources read from real files, as a tailer reads them.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::batch::Records;
use crate::config::FollowLinks;
use crate::identity::{FileIdentity, Fingerprint};
use crate::progress::SourceState;
use crate::tail::growth::grown_fingerprint;
use crate::tailer_handle::TailerHandle;

mod records;

/// A file and the source that reads it.
struct Reading {
    _folder: tempfile::TempDir,
    path: PathBuf,
    source: Source,
    account: Arc<Account>,
    pool: Arc<BufferPool>,
    records: Vec<String>,
    skipped: Vec<Range<u64>>,
}

impl Reading {
    fn of(name: &str, max_line_bytes: usize, make: impl FnOnce(&File)) -> Reading {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join(name);
        make(&File::create(&path).expect("creates"));
        let (content, stat) = LogFile::open(&path, FollowLinks::Safe)
            .expect("opens")
            .expect("is regular");
        let checkpoint = Checkpoint {
            path: path.clone().into(),
            identity: FileIdentity {
                inode: stat.inode,
                born_ns: 0,
                fingerprint: Fingerprint::default(),
            },
            offset: 0,
            size: 0,
            tail_checksum: TailChecksum::default(),
            marks: Marks::default(),
            tag: None,
            state: SourceState::Open,
            serial: 1,
            modified_ns: 0,
        };
        let framer = Framer::new(max_line_bytes, false);
        let mut source = Source::new(
            content,
            path.clone().into(),
            checkpoint,
            &stat,
            framer,
            Arc::default(),
        );
        source.record_stat(&stat);
        let (woken, _) = crossbeam_channel::unbounded();
        Reading {
            _folder: folder,
            path,
            source,
            account: Budget::new(64 << 20)
                .route()
                .account(TailerHandle::new(woken)),
            pool: BufferPool::new(),
            records: Vec::new(),
            skipped: Vec::new(),
        }
    }

    /// As after a restart: another source, which goes on at the position of the first.
    fn restart(&mut self) {
        let checkpoint = self.source.checkpoint_now();
        let (content, stat) = LogFile::open(&self.path, FollowLinks::Safe)
            .expect("opens")
            .expect("is regular");
        let framer = Framer::new(self.source.framer.max_line_bytes(), false);
        let path = self.source.opened_path.clone();
        self.source = Source::new(content, path, checkpoint, &stat, framer, Arc::default());
        self.source.record_stat(&stat);
        self.source.count_sent_pieces().expect("reads");
    }

    fn overwrite(&self, at: u64, text: &str) {
        let file = OpenOptions::new()
            .write(true)
            .open(&self.path)
            .expect("opens");
        file.write_all_at(text.as_bytes(), at).expect("writes");
    }

    /// Reads all there is; returns the length of the partial line.
    fn read(&mut self, growth: Growth) -> u64 {
        let stat = self.source.content.stat().expect("looks");
        assert!(!self.source.was_truncated(&stat).expect("reads"));
        self.source.record_stat(&stat);
        for _ in 0..100_000 {
            let before = self.source.position;
            match self
                .source
                .read(stat.size, growth, &self.account, &self.pool)
                .expect("reads")
            {
                ReadOutcome::Batch(chunk) => {
                    assert_eq!(chunk.start, before);
                    let records = Records::new(&chunk.data, &chunk.framing, false, 0);
                    let text =
                        |(_, record): (usize, &[u8])| String::from_utf8_lossy(record).into_owned();
                    self.records.extend(records.map(text));
                }
                ReadOutcome::Made(span, chunks) => {
                    assert_eq!((span.start, span.end), (before, self.source.position));
                    for chunk in chunks {
                        let records = Records::new(&chunk.data, &chunk.framing, false, 0);
                        let text = |(_, record): (usize, &[u8])| {
                            String::from_utf8_lossy(record).into_owned()
                        };
                        self.records.extend(records.map(text));
                    }
                }
                ReadOutcome::Skipped(span) => {
                    assert_eq!(span.start, before);
                    assert_eq!(span.tail_checksum, self.source.tail_checksum);
                    self.skipped.push(span.start..span.end);
                }
                ReadOutcome::End { partial } => return partial,
                other => panic!("{other:?}"),
            }
            assert!(self.source.position > before, "it goes on");
        }
        panic!("it does not end");
    }

    fn assert_read(&self, records: &[&str], skipped: &[Range<u64>]) {
        assert_eq!(self.records, records);
        assert_eq!(self.skipped, skipped);
    }
}

#[test]
fn a_last_line_goes_without_its_newline_when_it_was_waited_for_and_its_rest_is_another_piece() {
    use making::Patience;
    let mut reading = Reading::of("a.log", 100, |file| put(file, b"one\ntw"));
    let hour = Some(Duration::from_secs(3600));
    reading.source.set_line_timeout(hour, Patience::Configured);
    assert_eq!(reading.read(Growth::Possible), 2);
    let due = reading.source.pending_due().expect("it waits");
    assert_eq!(reading.read(Growth::Possible), 2);
    assert_eq!(
        reading.source.pending_due(),
        Some(due),
        "since it was found"
    );
    reading.overwrite(6, "o");
    assert_eq!(reading.read(Growth::Possible), 3);
    let later = reading.source.pending_due().expect("it waits");
    assert!(later > due, "it waits anew for what has grown");
    reading.source.set_line_timeout(hour, Patience::None);
    assert_eq!(reading.read(Growth::Possible), 0);
    assert!(reading.source.framer.is_inside_line());
    assert_eq!(reading.source.pending_due(), None);
    reading.assert_read(&["one", "two"], &[]);
    reading.restart();
    assert!(
        reading.source.framer.is_inside_line(),
        "after a restart, too"
    );
    reading.overwrite(7, "!\nthree\n");
    assert_eq!(reading.read(Growth::Possible), 0);
    reading.assert_read(&["one", "two", "!", "three"], &[]);
}

fn put(mut file: &File, bytes: &[u8]) {
    file.write_all(bytes).expect("writes");
}

fn put_at(file: &File, at: u64, text: &str) {
    file.write_all_at(text.as_bytes(), at).expect("writes");
}

const MAX: usize = 900 << 10;

/// The two ways in which a file is allocated in advance.
const ALLOCATED: [fn(&File); 2] = [
    |file| {
        put(file, b"a\nb\n");
        file.set_len(1 << 20).expect("grows");
    },
    |file| put(file, &[&b"a\nb\n"[..], &[0; (1 << 20) - 4]].concat()),
];

#[test]
fn trailing_nuls_are_not_written_yet_and_the_text_in_their_place_is_read() {
    for allocate in ALLOCATED {
        let mut reading = Reading::of("app.log", MAX, allocate);
        assert_eq!(reading.read(Growth::Possible), 0);
        reading.assert_read(&["a", "b"], &[]);
        let source = &reading.source;
        assert_eq!((source.position, source.written_size()), (4, 4));
        assert_eq!(
            source.checkpoint_now().size,
            4,
            "nothing more would be lost"
        );
        assert!(source.awaits_overwrite());
        reading.overwrite(4, "c\nd");
        assert_eq!(reading.read(Growth::Possible), 1);
        assert_eq!(reading.source.written_size(), 7);
        assert_eq!(reading.read(Growth::Possible), 1);
        reading.overwrite(7, "e\n");
        assert_eq!(reading.read(Growth::Possible), 0);
        reading.assert_read(&["a", "b", "c", "de"], &[]);
    }
}

#[test]
fn a_file_of_nuls_alone_is_read_when_it_is_written() {
    let mut reading = Reading::of("app.log", 8, |file| file.set_len(1 << 20).expect("grows"));
    assert_eq!(reading.read(Growth::Possible), 0);
    assert_eq!(reading.source.written_size(), 0);
    reading.overwrite(0, "first line\n");
    assert_eq!(reading.read(Growth::Possible), 0);
    reading.assert_read(&["first li", "ne"], &[]);
}

#[test]
fn trailing_nuls_end_a_file_that_is_finished() {
    for allocate in ALLOCATED {
        let mut reading = Reading::of("app.log", MAX, allocate);
        reading.overwrite(4, "the last");
        assert_eq!(reading.read(Growth::Possible), 8);
        assert_eq!(reading.read(Growth::Finished), 0);
        reading.assert_read(&["a", "b", "the last"], &[]);
        assert_eq!(reading.source.position, 12);
        assert_eq!(reading.source.checkpoint_now().size, 12);
    }
}

#[test]
fn a_restart_goes_on_before_the_trailing_nuls() {
    for allocate in ALLOCATED {
        let mut reading = Reading::of("app.log", MAX, allocate);
        reading.read(Growth::Possible);
        reading.restart();
        assert_eq!(reading.read(Growth::Possible), 0);
        reading.overwrite(4, "c\n");
        reading.restart();
        assert_eq!(reading.read(Growth::Possible), 0);
        reading.assert_read(&["a", "b", "c"], &[]);
    }
}

#[test]
fn trailing_nuls_that_are_cut_off_lose_nothing() {
    for allocate in ALLOCATED {
        let mut reading = Reading::of("app.log", MAX, allocate);
        reading.read(Growth::Possible);
        let file = OpenOptions::new().write(true).open(&reading.path);
        file.expect("opens").set_len(4).expect("cuts");
        let stat = reading.source.content.stat().expect("looks");
        assert!(reading.source.was_truncated(&stat).expect("reads"));
        assert!(reading.source.is_unchanged().expect("reads"));
        assert!(reading.source.written_size() <= stat.size, "nothing lost");
        reading.source.truncated_ahead(&stat);
        reading.overwrite(4, "c\n");
        assert_eq!(reading.read(Growth::Possible), 0);
        reading.assert_read(&["a", "b", "c"], &[]);
    }
}

#[test]
fn the_fingerprint_grows_with_the_text_and_not_with_the_nuls() {
    let mut reading = Reading::of("app.log", MAX, ALLOCATED[0]);
    reading.read(Growth::Possible);
    let grown = grown_fingerprint(&mut reading.source).expect("reads");
    assert_eq!(grown, Some(Fingerprint::of(b"a\nb\n")));
}

#[test]
fn the_hole_that_a_writer_without_append_leaves_is_skipped() {
    for at in [100, 4096, 10_000, 5 << 20] {
        let make = |file: &File| put_at(file, at, "a\nb\n");
        let mut reading = Reading::of("app.log", MAX, make);
        assert_eq!(reading.read(Growth::Possible), 0);
        reading.assert_read(&["a", "b"], std::slice::from_ref(&(0..at)));
        reading.overwrite(at + 4, "c\n");
        reading.restart();
        assert_eq!(reading.read(Growth::Possible), 0);
        reading.assert_read(&["a", "b", "c"], std::slice::from_ref(&(0..at)));
    }
}

#[test]
fn holes_in_the_middle_are_skipped_with_the_nuls_around_them_and_end_a_line() {
    let make = |file: &File| {
        put(file, b"a\nhalf");
        put_at(file, 20_001, "b\n");
        put_at(file, 2 << 20, "c\n");
        file.set_len(3 << 20).expect("grows");
    };
    for max in [2, 4, 8, MAX] {
        let mut reading = Reading::of("app.log", max, make);
        assert_eq!(reading.read(Growth::Possible), 0);
        let holes = [6..20_001, 20_003..2 << 20];
        match max {
            2 => reading.assert_read(&["a", "ha", "lf", "b", "c"], &holes),
            _ => reading.assert_read(&["a", "half", "b", "c"], &holes),
        }
        assert_eq!(reading.source.written_size(), (2 << 20) + 2);
    }
}

#[test]
fn a_restart_between_the_half_line_and_its_hole_sends_nothing_twice() {
    let make = |file: &File| {
        put(file, b"a\nhalf");
        file.set_len(20_000).expect("grows");
    };
    let mut reading = Reading::of("app.log", MAX, make);
    assert_eq!(reading.read(Growth::Finished), 0);
    reading.assert_read(&["a", "half"], &[]);
    reading.overwrite(20_000, "b\n");
    reading.restart();
    assert_eq!(reading.read(Growth::Possible), 0);
    reading.assert_read(&["a", "half", "b"], std::slice::from_ref(&(6..20_000)));
}

#[test]
fn text_that_is_appended_behind_trailing_nuls_is_read() {
    let mut reading = Reading::of("app.log", MAX, ALLOCATED[0]);
    reading.read(Growth::Possible);
    reading.overwrite(1 << 20, "c\n");
    assert_eq!(reading.read(Growth::Possible), 0);
    reading.assert_read(&["a", "b", "c"], std::slice::from_ref(&(4..1 << 20)));
}

#[test]
fn nuls_inside_of_a_line_stay() {
    let nuls = "\0".repeat(600_000);
    let long = format!("x{nuls}y");
    let text = format!("a\0\0b\n\0c\n{long}\n\n");
    let mut reading = Reading::of("app.log", MAX, |file| put(file, text.as_bytes()));
    assert_eq!(reading.read(Growth::Possible), 0);
    reading.assert_read(&["a\0\0b", "\0c", &long, ""], &[]);
}

#[test]
fn a_line_whose_bytes_appear_in_another_order_is_read_whole() {
    let mut reading = Reading::of("app.log", MAX, ALLOCATED[1]);
    reading.read(Growth::Possible);
    reading.overwrite(7, "tail\nx");
    assert_eq!(reading.read(Growth::Possible), 0);
    reading.overwrite(4, "abc");
    assert_eq!(reading.read(Growth::Possible), 1);
    reading.assert_read(&["a", "b", "abctail"], &[]);
}

#[test]
fn a_nul_that_stays_belongs_to_its_line() {
    let mut reading = Reading::of("app.log", MAX, ALLOCATED[1]);
    reading.read(Growth::Possible);
    reading.overwrite(4, "x\0y\nz\0z\n");
    let deadline = Instant::now() + Duration::from_secs(10);
    while reading.records.len() < 4 && Instant::now() < deadline {
        reading.read(Growth::Possible);
        std::thread::yield_now();
    }
    reading.assert_read(&["a", "b", "x\0y", "z\0z"], &[]);
    reading.overwrite(12, "end");
    assert_eq!(reading.read(Growth::Possible), 3);
}

#[test]
fn trailing_nuls_end_an_archive() {
    let mut reading = Reading::of("app.log.1.gz", MAX, |file| {
        let text = [&b"\0\0a\nb\0c\nlast"[..], &[0; 300_000]].concat();
        let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
        encoder.write_all(&text).expect("writes");
        encoder.finish().expect("ends");
    });
    assert_eq!(reading.read(Growth::Finished), 0);
    reading.assert_read(&["a", "b\0c", "last"], std::slice::from_ref(&(0..2)));
}

#[test]
fn a_sparse_file_gives_its_text_whatever_lies_where() {
    for seed in 0..300 {
        let mut random = fastrand::Rng::with_seed(seed);
        let max = [7, 4000, MAX][random.usize(..3)];
        let (mut expected, mut holes) = (Vec::new(), Vec::new());
        let mut size = 0;
        let mut reading = Reading::of("app.log", max, |file| {
            for _ in 0..random.usize(1..6) {
                let hole = random.u64(8192..600_000);
                if random.bool() {
                    holes.push(size..size + hole);
                    size += hole;
                }
                let mut text = String::new();
                for _ in 0..random.usize(1..200) {
                    let line = "x".repeat(random.usize(..max.min(100)));
                    text += &format!("{line}{}\n", random.u8(..10));
                }
                let ends = random.usize(1..=text.len());
                put_at(file, size, &text[..ends]);
                size += ends as u64;
                if holes
                    .last()
                    .is_none_or(|last| last.end + ends as u64 != size)
                {
                    // It goes on where the last text ended.
                    let joined: String = expected.pop().unwrap_or_default();
                    expected.push(joined + &text[..ends]);
                } else {
                    expected.push(text[..ends].to_owned());
                }
            }
            file.set_len(size + random.u64(..100_000)).expect("grows");
        });
        assert_eq!(reading.read(Growth::Finished), 0, "seed {seed}");
        let lines = expected.iter().flat_map(|text| text.lines());
        let pieces = lines.flat_map(|line| match line.len() {
            0 => vec![String::new()],
            _ => line
                .as_bytes()
                .chunks(max)
                .map(|piece| String::from_utf8_lossy(piece).into_owned())
                .collect(),
        });
        assert!(reading.records == pieces.collect::<Vec<_>>(), "seed {seed}");
        assert_eq!(reading.skipped, holes, "seed {seed}");
    }
}
