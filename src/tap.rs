//! Records as they go, for somebody who looks on: a copy, never a brake.
//!
//! The route of each section has a [`TapPoint`]; whoever queues a batch for its partition shows it there. While nobody
//! looks on that is one relaxed load.

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::batch::{Batch, Framing, Piece};
use crate::shown::escape;

/// Where lookers-on are known, one for the process.
#[derive(Debug, Default)]
pub struct Tap {
    /// How many there are.
    count: AtomicUsize,
    lookers: Mutex<Vec<Looker>>,
    /// How many there were ever.
    numbers: AtomicU64,
}

#[derive(Debug)]
struct Looker {
    number: u64,
    log: String,
    records: Sender<TappedRecord>,
    /// Records that found no room since the last one that did.
    missed: u64,
}

/// A record as it is shown: everything is text.
#[derive(Debug, Clone, PartialEq)]
pub struct TappedRecord {
    /// Its topic.
    pub topic: String,
    /// Its partition; `?` where Kafka's client chooses it later.
    pub partition: String,
    /// Its key.
    pub key: Option<String>,
    /// Its headers, each as `name = value`.
    pub headers: Vec<String>,
    /// Its CreateTime.
    pub time: SystemTime,
    /// The path whose line it is.
    pub path: PathBuf,
    /// Offset of its first byte, or of what was dropped right before it.
    pub offset: u64,
    /// Its value, lines apart.
    pub value: String,
    /// Bytes at its end that are not shown.
    pub left_out: u64,
    /// Records between this one and the one before that were not shown.
    pub missed: u64,
}

impl Default for TappedRecord {
    fn default() -> Self {
        TappedRecord {
            topic: String::new(),
            partition: String::new(),
            key: None,
            headers: Vec::new(),
            time: UNIX_EPOCH,
            path: PathBuf::new(),
            offset: 0,
            value: String::new(),
            left_out: 0,
            missed: 0,
        }
    }
}

/// Where the records of a section pass by.
#[derive(Debug, Clone, Default)]
pub struct TapPoint {
    tap: Arc<Tap>,
    log: Arc<str>,
}

/// One is as good as another: where records go does not depend on who looks on.
impl PartialEq for TapPoint {
    fn eq(&self, _: &TapPoint) -> bool {
        true
    }
}

impl Eq for TapPoint {}

impl Tap {
    /// The place for the section `log`.
    pub fn point(self: &Arc<Tap>, log: &str) -> TapPoint {
        TapPoint {
            tap: self.clone(),
            log: log.into(),
        }
    }

    /// Begins to look at the records of the section `log`; `None`: there are too many who do.
    pub fn look_on(self: &Arc<Tap>, log: &str) -> Option<Looking> {
        if self.count.load(Ordering::Relaxed) >= MOST_LOOKERS {
            return None;
        }
        let (sender, records) = bounded(MOST_WAITING);
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        self.change(|lookers| {
            lookers.push(Looker {
                number,
                log: log.to_owned(),
                records: sender,
                missed: 0,
            });
        });
        Some(Looking {
            number,
            records,
            tap: self.clone(),
        })
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Looker>)) {
        let mut lookers = self.lookers.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut lookers);
        self.count.store(lookers.len(), Ordering::Relaxed);
    }

    #[cold]
    fn show(&self, log: &str, batch: &Batch, partition: Option<usize>) {
        self.change(|lookers| {
            let concerned = lookers.iter_mut().filter(|looker| looker.log == log);
            concerned.for_each(|looker| looker.take(batch, partition));
        });
    }
}

/// Somebody who looks on, until it is dropped.
#[derive(Debug)]
pub struct Looking {
    number: u64,
    records: Receiver<TappedRecord>,
    tap: Arc<Tap>,
}

impl Looking {
    /// The next record, if there is one.
    pub fn next(&self) -> Option<TappedRecord> {
        self.records.try_recv().ok()
    }
}

impl Drop for Looking {
    fn drop(&mut self) {
        self.tap
            .change(|lookers| lookers.retain(|looker| looker.number != self.number));
    }
}

impl TapPoint {
    /// Shows a batch that goes to `partition`.
    #[inline]
    pub fn show(&self, batch: &Batch, partition: Option<usize>) {
        if self.tap.count.load(Ordering::Relaxed) > 0 {
            self.tap.show(&self.log, batch, partition);
        }
    }
}

impl Looker {
    /// Takes copies of records as long as there is room.
    fn take(&mut self, batch: &Batch, partition: Option<usize>) {
        let mut from = 0;
        for (to, record) in batch.records() {
            if !self.records.is_full() {
                let mut copy = copy(batch, from, to, record, partition);
                copy.missed = std::mem::take(&mut self.missed);
                // There is no other sender that could have taken the room.
                let _ = self.records.try_send(copy);
            } else {
                self.missed += 1;
            }
            from = to;
        }
    }
}

fn copy(
    batch: &Batch,
    from: usize,
    to: usize,
    record: &[u8],
    partition: Option<usize>,
) -> TappedRecord {
    let shown = &record[..record.len().min(LONGEST)];
    let time_ms = u64::try_from(batch.timestamp_ms_at(from)).unwrap_or_default();
    TappedRecord {
        topic: batch.destination.route.topic.to_string(),
        partition: partition.map_or_else(|| "?".to_owned(), |partition| partition.to_string()),
        key: batch
            .key_at(from)
            .map(|key| Shown(&key[..key.len().min(LONGEST)]).to_string()),
        headers: headers(batch, (from, to), record.len()),
        time: UNIX_EPOCH + Duration::from_millis(time_ms),
        path: batch.destination.path.to_path_buf(),
        offset: batch.span(from, to).start,
        value: Shown(shown).to_string(),
        left_out: (record.len() - shown.len()) as u64,
        missed: 0,
    }
}

/// The headers of the record that lies between these positions, in the order that Kafka has them.
fn headers(batch: &Batch, (from, to): (usize, usize), value_len: usize) -> Vec<String> {
    let show = |(name, value): (&[u8], &[u8])| {
        let value = &value[..value.len().min(LONGEST_HEADER)];
        format!("{} = {}", Shown(name), Shown(value))
    };
    let mut shown: Vec<String> = batch.destination.headers().map(show).collect();
    let (events, piece) = match &batch.framing {
        Framing::Lines => (None, None),
        Framing::Part(piece) => (None, Some(*piece)),
        Framing::Events(events) => (Some(&**events), events.piece),
    };
    let number = events.map_or(0, |events| events.index_at(from));
    if let Some(own) = events.and_then(|events| events.own_of(number)) {
        shown.extend(own.headers().map(show));
    }
    if let Some(Piece { index, last }) = piece {
        shown.push(format!("part = {index}"));
        shown.extend(last.then(|| format!("parts = {index}")));
    }
    if let Some(tag) = batch.tag {
        let (start, end) = match events {
            Some(events) => events.place(number),
            None => (from as u32, to as u32),
        };
        let offset = batch.start + u64::from(start);
        shown.push(match end.saturating_sub(start) as usize {
            len if len == value_len + 1 => format!("at = {tag}:{offset}"),
            len => format!("at = {tag}:{offset}:{len}"),
        });
    }
    shown
}

/// Bytes with everything that a terminal obeys written out, but for newlines and tabs.
struct Shown<'a>(&'a [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for character in chunk.valid().chars() {
                match character {
                    '\n' | '\t' => f.write_str(character.encode_utf8(&mut [0; 4]))?,
                    _ => escape(character, f)?,
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// Who may look on at the same time.
const MOST_LOOKERS: usize = 8;
/// Records that wait for a looker-on.
const MOST_WAITING: usize = 256;
/// Bytes of a header that are copied.
const LONGEST_HEADER: usize = 1 << 10;
/// Bytes of a record that are copied.
const LONGEST: usize = 16 << 10;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic fails the test")]
mod tests {
    use super::*;
    use crate::kafka::testing::{batch, destination};

    #[test]
    fn a_looker_on_gets_copies_as_long_as_there_is_room_and_is_told_what_it_missed() {
        let tap = Arc::new(Tap::default());
        let point = tap.point("app");
        let destination = destination(Some(b"k"), &[]);
        let lines = batch(&destination, b"one\ntwo \x1b[2J\xff\n");
        point.show(&lines, Some(7));
        let looking = tap.look_on("app").unwrap();
        let other = tap.look_on("web").unwrap();
        assert_eq!(looking.next(), None);
        point.show(&lines, Some(7));
        let one = looking.next().unwrap();
        assert_eq!(
            (&*one.topic, &*one.partition, one.key.as_deref()),
            ("t", "7", Some("k"))
        );
        assert_eq!((&*one.value, one.offset, one.missed), ("one", 0, 0));
        let two = looking.next().unwrap();
        assert_eq!((&*two.value, two.offset), ("two \\u{1b}[2J\\xff", 4));
        for _ in 0..MOST_WAITING {
            point.show(&lines, None);
        }
        let mut shown = 0;
        while looking.next().is_some() {
            shown += 1;
        }
        assert_eq!(shown, MOST_WAITING);
        point.show(&lines, None);
        assert_eq!(looking.next().unwrap().missed, MOST_WAITING as u64);
        assert_eq!(other.next(), None);
        drop((looking, other));
        assert_eq!(tap.count.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_long_record_is_shown_in_part() {
        let tap = Arc::new(Tap::default());
        let looking = tap.look_on("app").unwrap();
        let line = [b"x".repeat(LONGEST + 5), b"\n".to_vec()].concat();
        tap.point("app")
            .show(&batch(&destination(None, &[]), &line), None);
        let record = looking.next().unwrap();
        assert_eq!((record.value.len(), record.left_out), (LONGEST, 5));
        assert_eq!((record.key, &*record.partition), (None, "?"));
    }
}
