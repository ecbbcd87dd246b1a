//! The one place where a record goes that Kafka will never take.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::Level;

use crate::batch::Span;
use crate::condition::Condition;
use crate::kafka::protocol::error_code::Verdict;
use crate::metrics::Metrics;
use crate::shown::ShownPath;

/// Records are brought to disk together, after so long at most: waiting for the disk for each of
/// them would hold up what this producer sends to others.
const FLUSH_AFTER: Duration = Duration::from_millis(100);
/// ... and as soon as there is so much of them.
const FLUSH_BYTES: usize = 1 << 20;
/// After a failure it is tried again so much later.
const PAUSE: Duration = Duration::from_secs(1);

/// A record that no broker takes.
#[derive(Debug)]
pub(crate) struct RefusedRecord {
    pub(crate) topic: Arc<str>,
    pub(crate) path: Arc<Path>,
    /// Where its batch begins in the file.
    pub(crate) offset: u64,
    pub(crate) why: Verdict,
    pub(crate) record: Vec<u8>,
}

/// Keeps refused records in a file, where a person finds them.
///
/// Each record is a line of text that names the topic, the source and the size, then the bytes as
/// they were in the file, then a newline.
#[derive(Debug)]
pub(crate) struct DeadLetters {
    file: Option<PathBuf>,
    open: Option<File>,
    count: u64,
    waiting: Waiting,
    flush_at: Option<Instant>,
    /// They cannot be written.
    stuck: Condition,
    metrics: Arc<Metrics>,
}

/// What is not on disk yet.
#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    spans: Vec<Span>,
    log: Vec<String>,
    /// The topic and the reason of each.
    reasons: Vec<(Arc<str>, &'static str)>,
}

impl DeadLetters {
    /// Dead letters of producer `k` in `dir`; without one they are logged only.
    pub(crate) fn new(k: usize, dir: Option<PathBuf>, metrics: Arc<Metrics>) -> Self {
        DeadLetters {
            file: dir.map(|dir| dir.join(format!("refused-{k}"))),
            open: None,
            count: 0,
            waiting: Waiting::default(),
            flush_at: None,
            stuck: Condition::on(&metrics.board),
            metrics,
        }
    }

    /// How many records were taken so far.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Whether another record can be taken. Not if there are many already and the disk does not take
    /// them.
    pub(crate) fn have_room(&self) -> bool {
        self.waiting.bytes.len() < FLUSH_BYTES
    }

    /// Nothing waits for the disk.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.spans.is_empty()
    }

    /// Takes a record. It is on disk when [`DeadLetters::flush`] gives its spans.
    pub(crate) fn take(&mut self, refused: &RefusedRecord, now: Instant) {
        let RefusedRecord {
            topic,
            path,
            offset,
            why,
            record,
        } = refused;
        self.count += 1;
        let head = format!(
            "{} bytes for topic {topic:?}, from offset {offset} of {path:?}, refused: {why}\n",
            record.len()
        );
        let waiting = &mut self.waiting;
        waiting.reasons.push((topic.clone(), why.name));
        waiting.bytes.extend_from_slice(head.as_bytes());
        waiting.bytes.extend_from_slice(record);
        waiting.bytes.push(b'\n');
        waiting.log.push(format!(
            "topic '{topic}': the record at offset {offset} of {} ({} bytes) was refused: {why}; {} ({} so far)",
            ShownPath(path),
            record.len(),
            match &self.file {
                Some(name) => format!("it is kept in {}", name.display()),
                None => "it is left out".to_owned(),
            },
            self.count
        ));
        self.flush_at.get_or_insert(now + FLUSH_AFTER);
    }

    /// The file bytes of the record that was taken last.
    pub(crate) fn covers(&mut self, spans: impl Iterator<Item = Span>) {
        self.waiting.spans.extend(spans);
    }

    /// When to flush, if there is anything to flush.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.flush_at
    }

    /// Brings to disk what waits, if that is due, and gives what it stands for.
    pub(crate) fn flush(&mut self, now: Instant) -> Vec<Span> {
        let Some(due) = self.flush_at else {
            return Vec::new();
        };
        let is_full = !self.have_room() && !self.stuck.is_entered();
        if due > now && !is_full {
            return Vec::new();
        }
        if let Err(error) = self.write() {
            // What of it is in the file stays there: twice is better than not at all.
            self.open = None;
            self.flush_at = Some(now + PAUSE);
            let stuck = &mut self.stuck;
            stuck.enter(Level::Error, &"dead letters", &error, now);
            stuck.tries_again(now + PAUSE, now);
            if let Some(passed_over) = stuck.say(now) {
                log::error!("cannot write the dead letters: {error}; retrying{passed_over}");
            }
            return Vec::new();
        }
        if let Some(left) = self.stuck.leave() {
            log::log!(left.level, "the dead letters can be written again{left}");
        }
        self.flush_at = None;
        let Waiting {
            spans,
            log,
            reasons,
            ..
        } = std::mem::take(&mut self.waiting);
        for (topic, reason) in reasons {
            self.metrics.topic(&topic).dead_letters.add(reason, 1);
        }
        for line in log {
            log::error!("{line}");
        }
        spans
    }

    fn write(&mut self) -> io::Result<()> {
        let Some(name) = &self.file else {
            return Ok(());
        };
        let file = match &mut self.open {
            Some(file) => file,
            closed => closed.insert(open(name)?),
        };
        file.write_all(&self.waiting.bytes)?;
        file.sync_data()
    }
}

/// Opens the file for appending, and makes it and its folder, readable by us alone, if need be.
fn open(name: &Path) -> io::Result<File> {
    let folder = name.parent().unwrap_or(Path::new("."));
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(name)?;
    // A new name is on disk once its folder is.
    File::open(folder)?.sync_all()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{SourceId, TailChecksum};

    const ORIGIN: &str = "/var/log/app.log";

    /// Takes a record at `offset`; it stands for a span of that start.
    fn take(letters: &mut DeadLetters, offset: u64, now: Instant) {
        let record = b"bytes\0\xff\nas they were";
        let refused = RefusedRecord {
            topic: "t".into(),
            path: Path::new(ORIGIN).into(),
            offset,
            why: Verdict::of(10),
            record: record.to_vec(),
        };
        letters.take(&refused, now);
        let span = Span {
            source: SourceId::next(),
            start: offset,
            end: offset + 20,
            tail_checksum: TailChecksum::of(record),
        };
        letters.covers([span].into_iter());
    }

    fn starts(spans: &[Span]) -> Vec<u64> {
        spans.iter().map(|span| span.start).collect()
    }

    #[test]
    fn a_refused_record_is_kept_with_its_origin_in_a_folder_that_is_made_for_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = dir.path().join("state/dead-letter");
        let now = Instant::now();
        for start in [0, 1] {
            let mut letters = DeadLetters::new(start, Some(folder.clone()), Arc::default());
            for offset in [7, 90] {
                take(&mut letters, offset, now);
            }
            assert!(starts(&letters.flush(now)).is_empty());
            let due = letters.due().expect("something waits");
            assert_eq!(starts(&letters.flush(due)), [7, 90]);
            assert!(letters.is_empty() && letters.due().is_none());
            assert_eq!(letters.count, 2);
            let kept = std::fs::read(folder.join(format!("refused-{start}"))).expect("a file");
            let one = b"20 bytes for topic \"t\", from offset 7 of \"/var/log/app.log\", \
                refused: MESSAGE_TOO_LARGE (10)\nbytes\0\xff\nas they were\n20 bytes";
            assert!(kept.starts_with(one));
        }
    }

    #[test]
    fn what_the_disk_does_not_take_is_bounded_and_not_done_before_it_does() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = dir.path().join("dead-letter");
        // A file where the folder has to be.
        std::fs::write(&folder, "").expect("a file");
        let mut letters = DeadLetters::new(0, Some(folder.clone()), Arc::default());
        let mut now = Instant::now();
        let mut buried = 0;
        while letters.have_room() {
            take(&mut letters, buried, now);
            buried += 1;
        }
        assert!(letters.waiting.bytes.len() < FLUSH_BYTES + 1_000);
        for _ in 0..3 {
            assert!(starts(&letters.flush(now)).is_empty());
            assert!(letters.stuck.is_entered() && !letters.is_empty());
            now = letters.due().expect("it is tried again");
        }
        std::fs::remove_file(&folder).expect("it is there");
        assert_eq!(starts(&letters.flush(now)), (0..buried).collect::<Vec<_>>());
        assert!(letters.have_room());
    }
}
