//! What a section makes of bytes: the record path alone, without a file, a thread or a clock.
//!
//! Bytes are cut and made records of as by `tail::source`, which reads what a file has; here the file is a slice that
//! grows as [`Growth`] says. Each way must give the same records.

use std::sync::Arc;

use crate::batch::{Destination, Framing, Piece, Records};
use crate::buffer::BufferPool;
use crate::config::LogConfig;
use crate::record::counters::RecordCounters;
use crate::record::framing::Framer;
use crate::record::recorder::{FileFacts, Input, Made, Recorder};

/// How the bytes come to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Growth {
    /// All at once.
    Whole,
    /// One after the other.
    Bytewise,
    /// Line by line, and the agent is killed after each.
    Restarts,
}

/// What became of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outcome {
    /// Where in the bytes it begins.
    pub(super) start: u64,
    pub(super) fate: Fate,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    Record(Record),
    /// The index of the rule among the names of the filter.
    Dropped(usize),
}

/// A record as Kafka would get it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) topic: Arc<str>,
    pub(super) key: Option<Vec<u8>>,
    pub(super) headers: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) timestamp_ms: i64,
    pub(super) value: Vec<u8>,
}

/// A section with what is the same for all of its cases.
#[derive(Debug)]
pub(super) struct Feed<'a> {
    pub(super) log: &'a LogConfig,
    /// The file that the bytes stand for, and where its records go.
    pub(super) destination: Arc<Destination>,
    /// When everything is read.
    pub(super) now_ns: i64,
    pub(super) counters: Arc<RecordCounters>,
}

/// One source, from a start of the agent to its end.
struct Reader<'a> {
    feed: &'a Feed<'a>,
    framer: Framer,
    recorder: Option<Recorder>,
    position: usize,
    /// Up to here nothing that came has told more.
    looked_at: usize,
}

impl Feed<'_> {
    /// What becomes of `bytes`, in their order.
    pub(super) fn outcomes(&self, bytes: &[u8], growth: Growth) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        let mut reader = Reader::open(self, bytes, 0);
        match growth {
            Growth::Whole => {}
            Growth::Bytewise => {
                for end in 1..bytes.len() {
                    reader.read(&bytes[..end], End::MayGrow, &mut outcomes);
                }
            }
            Growth::Restarts => {
                let most = bytes.len().div_ceil(MOST_RESTARTS);
                let mut last = 0;
                for end in memchr::memchr_iter(b'\n', bytes).map(|at| at + 1) {
                    reader.read(&bytes[..end], End::MayGrow, &mut outcomes);
                    if end - last >= most {
                        last = end;
                        reader = Reader::open(self, &bytes[..end], reader.position);
                    }
                }
            }
        }
        reader.read(bytes, End::Finished, &mut outcomes);
        // Of two streams the one may be drained before the other.
        outcomes.sort_by_key(|outcome| outcome.start);
        outcomes
    }

    /// The records that lie in `data`, and where in it each begins.
    fn records<'d>(
        &'d self,
        data: &'d [u8],
        framing: &'d Framing,
        destination: &'d Destination,
    ) -> impl Iterator<Item = (u64, Record)> + 'd {
        let route = &destination.route;
        let (events, piece) = match framing {
            Framing::Lines => (None, None),
            Framing::Part(piece) => (None, Some(*piece)),
            Framing::Events(events) => (Some(events), events.piece),
        };
        let now_ms = self.now_ns / 1_000_000;
        let mut place = 0;
        let records = Records::new(data, framing, route.strip_cr, 0).enumerate();
        records.map(move |(number, (end, value))| {
            let own = events.and_then(|events| events.own_of(number));
            let headers = destination.headers();
            let mut headers: Vec<_> = headers
                .map(|(name, value)| (name.to_vec(), value.to_vec()))
                .collect();
            headers.extend(own.map(|own| own_headers(own.headers)).unwrap_or_default());
            headers.extend(piece.into_iter().flat_map(of_piece));
            let key = match own {
                Some(own) => own.key,
                None => route.key.as_deref(),
            };
            let record = Record {
                topic: route.topic.clone(),
                key: key.map(<[u8]>::to_vec),
                headers,
                timestamp_ms: own.map_or(now_ms, |own| own.timestamp_ms),
                value: value.to_vec(),
            };
            (std::mem::replace(&mut place, end as u64), record)
        })
    }
}

/// Whether more will come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    MayGrow,
    Finished,
}

impl<'a> Reader<'a> {
    /// Goes on in `bytes`, of which everything before `position` is acknowledged.
    fn open(feed: &'a Feed<'a>, bytes: &[u8], position: usize) -> Self {
        let log = feed.log;
        let record = log.record.as_ref();
        let lookahead = record.map_or(0, |record| record.lookahead_bytes());
        let framer = Framer::new(log.max_line_bytes, log.strip_cr).with_lookahead(lookahead);
        let mut reader = Reader {
            feed,
            framer,
            recorder: None,
            position,
            looked_at: position,
        };
        if let Some(record) = record {
            let context = usize::try_from(Recorder::context_bytes(record)).unwrap_or(usize::MAX);
            let facts = FileFacts {
                inode: INODE,
                identity: INODE,
                position: position as u64,
                head: &bytes[..position.min(context)],
                before: &bytes[position.saturating_sub(context)..position],
                destination: &feed.destination,
            };
            let mut recorder = Recorder::new(record, &feed.counters, &facts, &BufferPool::new());
            recorder.rehearse(feed.now_ns);
            let order = recorder.byte_order(&bytes[..bytes.len().min(2)]);
            reader.framer.set_byte_order(order);
            reader.recorder = Some(recorder);
        }
        if position > 0 && !reader.framer.is_wide() {
            let line = memchr::memrchr(b'\n', &bytes[..position]).map_or(0, |at| at + 1);
            reader.framer.resume_inside((position - line) as u64);
        }
        reader
    }

    /// Makes records of what there is to make them of.
    fn read(&mut self, bytes: &[u8], end: End, outcomes: &mut Vec<Outcome>) {
        if self.position == 0
            && let Some(recorder) = &mut self.recorder
        {
            let order = recorder.byte_order(bytes);
            self.framer.set_byte_order(order);
        }
        while self.position < bytes.len() && (end == End::Finished || self.may_tell(bytes)) {
            let data = &bytes[self.position..];
            let framed = match end {
                End::MayGrow => self.framer.frame(data),
                End::Finished => self.framer.frame_last(data),
            };
            let Some(framed) = framed else {
                break;
            };
            let input = Input {
                data: &data[..framed.bytes],
                behind: &data[framed.bytes..],
                framing: &framed.framing,
                start: self.position as u64,
                is_complete: end == End::Finished
                    || data.len() - framed.bytes >= self.framer.decisive_bytes(),
            };
            let made = self.make(&input, outcomes);
            if made == 0 {
                break;
            }
            self.position += made;
        }
        self.looked_at = bytes.len();
    }

    /// Whether something came since the last look that may end a line, or enough for a piece of one.
    fn may_tell(&self, bytes: &[u8]) -> bool {
        // In 16-bit text the newline ends with the byte behind it, or is that.
        let from = self.looked_at.saturating_sub(1).min(bytes.len());
        self.looked_at <= self.position
            || memchr::memchr(b'\n', &bytes[from..]).is_some()
            || bytes.len() - self.position >= self.framer.decisive_bytes()
    }

    /// Returns how many bytes are done with.
    fn make(&mut self, input: &Input<'_>, outcomes: &mut Vec<Outcome>) -> usize {
        let feed = self.feed;
        let destination = &feed.destination;
        let Some(recorder) = &mut self.recorder else {
            let records = feed.records(input.data, input.framing, destination);
            outcomes.extend(records.map(|(start, record)| record.at(input.start + start)));
            return input.data.len();
        };
        let Made {
            bytes,
            as_read,
            runs,
        } = recorder.make(input);
        let fates = recorder.take_fates();
        if let Some(framing) = as_read {
            let records = feed.records(&input.data[..bytes], &framing, destination);
            outcomes.extend(records.map(|(start, record)| record.at(input.start + start)));
            return bytes;
        }
        let made = runs
            .iter()
            .map(|run| (run, run.parts(input.data).collect::<Vec<_>>().concat()));
        let made: Vec<_> = made.collect();
        let mut records = made.iter().flat_map(|(run, bytes)| {
            let destination = run.destination.as_ref().unwrap_or(destination);
            feed.records(bytes, &run.framing, destination)
        });
        outcomes.extend(
            fates
                .into_iter()
                .filter_map(|(start, dropped)| match dropped {
                    Some(rule) => Some(Outcome {
                        start,
                        fate: Fate::Dropped(rule),
                    }),
                    None => Some(records.next()?.1.at(start)),
                }),
        );
        bytes
    }
}

impl Record {
    fn at(self, start: u64) -> Outcome {
        Outcome {
            start,
            fate: Fate::Record(self),
        }
    }
}

/// What a record says of a piece, as the native output has it.
fn of_piece(piece: Piece) -> Vec<(Vec<u8>, Vec<u8>)> {
    let number = piece.index.to_string().into_bytes();
    let mut headers = vec![(b"part".to_vec(), number.clone())];
    if piece.last {
        headers.push((b"parts".to_vec(), number));
    }
    headers
}

/// The names and values in `block`, which are there as [`crate::batch::push_sized`] writes them.
fn own_headers(mut block: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut headers = Vec::new();
    while let (Some(name), Some(value)) = (take_sized(&mut block), take_sized(&mut block)) {
        headers.push((name.to_vec(), value.to_vec()));
    }
    headers
}

fn take_sized<'a>(block: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (mut len, mut shift) = (0u64, 0);
    loop {
        let (byte, rest) = block.split_first()?;
        *block = rest;
        len |= u64::from(byte & 0x7f).checked_shl(shift)?;
        shift += 7;
        if byte & 0x80 == 0 {
            break;
        }
    }
    let (taken, rest) = block.split_at_checked(usize::try_from(len >> 1).ok()?)?;
    *block = rest;
    Some(taken)
}

/// The inode of the file that there is not; `sample` and `{inode}` go by it.
const INODE: u64 = 1;
/// Where there are more lines, the agent is not killed after each of them.
const MOST_RESTARTS: usize = 4096;
