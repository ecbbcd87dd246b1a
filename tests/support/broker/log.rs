//! The partitions' logs and what the broker remembers of producers.

use std::collections::{HashMap, VecDeque};

use crate::support::record_batch::{Codec, RecordBatch};

/// A stored record, as a consumer would see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(String, Option<Vec<u8>>)>,
    pub(crate) timestamp_ms: i64,
    /// Codec of the batch that it came in.
    pub(crate) codec: Codec,
    /// Number of the batch that it came in, counted over the whole cluster.
    pub(crate) batch: u64,
}

impl Record {
    /// The value as text; a null value shows as `<null>`.
    pub(crate) fn text(&self) -> String {
        match &self.value {
            Some(value) => String::from_utf8_lossy(value).into_owned(),
            None => "<null>".to_owned(),
        }
    }

    /// The header `name` as text.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let (_, value) = self.headers.iter().find(|(header, _)| header == name)?;
        Some(String::from_utf8_lossy(value.as_deref()?).into_owned())
    }
}

/// What an append came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Appended {
    /// Appended at this offset.
    New(i64),
    /// It is there already, at this offset: answered like an append.
    Duplicate(i64),
    /// Refused with this error code.
    Refused(i16),
}

pub(super) const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;
pub(super) const DUPLICATE_SEQUENCE_NUMBER: i16 = 46;
pub(super) const INVALID_PRODUCER_EPOCH: i16 = 47;
pub(super) const UNKNOWN_PRODUCER_ID: i16 = 59;

/// What a broker says to the first batch of a producer that it has no memory of on a partition,
/// when that batch does not begin with sequence 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum UnknownProducer {
    /// `OUT_OF_ORDER_SEQUENCE_NUMBER`: strict, so that a hole at the start is seen.
    #[default]
    OutOfOrder,
    /// `UNKNOWN_PRODUCER_ID`, as Kafka before 2.4 after it has deleted old segments.
    Unknown,
    /// Appended, as Kafka since 2.4 (`ProducerAppendInfo.checkSequence`): a first batch that
    /// overtakes another one is not noticed.
    Accepted,
}

#[derive(Debug, Default)]
pub(super) struct Partition {
    pub(super) leader: i32,
    pub(super) leader_epoch: i32,
    pub(super) records: Vec<Record>,
    pub(super) batches: usize,
    producers: HashMap<i64, Producer>,
}

#[derive(Debug)]
struct Producer {
    epoch: i16,
    /// First sequence, last sequence and base offset of the last batches, the oldest first.
    batches: VecDeque<(i32, i32, i64)>,
}

/// Batches that are remembered per producer and partition.
const REMEMBERED: usize = 5;

impl Partition {
    pub(super) fn new(leader: i32) -> Self {
        Partition {
            leader,
            ..Self::default()
        }
    }

    /// Forgets all producers, as after a retention run that has emptied the log.
    pub(super) fn forget_producers(&mut self) {
        self.producers.clear();
    }

    /// Appends `batch`, which is the `number`th of the cluster.
    pub(super) fn append(
        &mut self,
        partition: i32,
        batch: RecordBatch,
        number: u64,
        unknown: UnknownProducer,
    ) -> Appended {
        let base_offset = self.records.len() as i64;
        if batch.producer_id >= 0
            && let Some(answer) = self.check_producer(&batch, base_offset, unknown)
        {
            return answer;
        }
        let stored = batch.records.into_iter().zip(base_offset..);
        self.records.extend(stored.map(|(record, offset)| Record {
            partition,
            offset,
            key: record.key,
            value: record.value,
            headers: record.headers,
            timestamp_ms: record.timestamp_ms,
            codec: batch.codec,
            batch: number,
        }));
        self.batches += 1;
        Appended::New(base_offset)
    }

    /// The rules of `ProducerStateManager` and `ProducerAppendInfo`; `None` is: append it.
    fn check_producer(
        &mut self,
        batch: &RecordBatch,
        base_offset: i64,
        unknown: UnknownProducer,
    ) -> Option<Appended> {
        let (first, last) = (batch.base_sequence, batch.last_sequence());
        let Some(producer) = self.producers.get_mut(&batch.producer_id) else {
            match unknown {
                _ if first == 0 => {}
                UnknownProducer::OutOfOrder => {
                    return Some(Appended::Refused(OUT_OF_ORDER_SEQUENCE_NUMBER));
                }
                UnknownProducer::Unknown => return Some(Appended::Refused(UNKNOWN_PRODUCER_ID)),
                UnknownProducer::Accepted => {}
            }
            let producer = Producer {
                epoch: batch.producer_epoch,
                batches: VecDeque::from([(first, last, base_offset)]),
            };
            self.producers.insert(batch.producer_id, producer);
            return None;
        };
        if batch.producer_epoch < producer.epoch {
            return Some(Appended::Refused(INVALID_PRODUCER_EPOCH));
        }
        if batch.producer_epoch > producer.epoch {
            if first != 0 {
                return Some(Appended::Refused(OUT_OF_ORDER_SEQUENCE_NUMBER));
            }
            producer.epoch = batch.producer_epoch;
            producer.batches.clear();
        } else {
            let mut known = producer.batches.iter();
            if let Some(&(_, _, offset)) = known.find(|known| (known.0, known.1) == (first, last)) {
                return Some(Appended::Duplicate(offset));
            }
            let previous = producer.batches.back().map_or(-1, |batch| batch.1);
            // The distance on the circle of 2^31 sequences tells old from new.
            let ahead = (i64::from(first) - i64::from(previous) - 1) & 0x7fff_ffff;
            match ahead {
                0 => {}
                1..0x4000_0000 => return Some(Appended::Refused(OUT_OF_ORDER_SEQUENCE_NUMBER)),
                _ => return Some(Appended::Refused(DUPLICATE_SEQUENCE_NUMBER)),
            }
        }
        producer.batches.push_back((first, last, base_offset));
        if producer.batches.len() > REMEMBERED {
            producer.batches.pop_front();
        }
        None
    }
}
