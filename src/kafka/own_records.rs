//! The records of one agent in the topic of positions, as transactions have ended.
//!
//! All agents of a partition have a transaction open there in turn, each for some milliseconds, and for a minute where
//! one was killed. Up to the first of these is all that `read_committed` shows, so that one start in a fleet would hardly
//! ever see the end of its own. An agent knows more: the transactions of its own ids have ended when it has taken them
//! over. So it reads everything, and each record counts from when its producer has committed.

use std::collections::HashMap;

use crate::kafka::read::reader::Found;

/// Takes keys and values.
pub(super) type Take<'a> = &'a mut dyn FnMut(&[u8], Option<&[u8]>);
/// A key and what it stands for.
type Entry = (Vec<u8>, Option<Vec<u8>>);

/// What of one agent was read so far.
#[derive(Debug)]
pub(super) struct OwnRecords {
    /// What keys of the agent begin with.
    prefix: Vec<u8>,
    /// Of transactions whose end has not come yet, by producer id.
    open: HashMap<i64, Vec<Entry>>,
    /// The first offset of what cannot be read, and why.
    damage: Option<(i64, String)>,
}

impl OwnRecords {
    pub(super) fn of(agent: &str) -> Self {
        OwnRecords {
            prefix: format!("1{agent}/").into_bytes(),
            open: HashMap::new(),
            damage: None,
        }
    }

    /// Shows what is committed with that to `take`.
    pub(super) fn read(&mut self, found: Found<'_>, take: Take<'_>) {
        match found {
            Found::Record(_, record) => {
                let key = record.key.unwrap_or_default();
                match record.transaction {
                    _ if !key.starts_with(&self.prefix) => {}
                    None => take(key, record.value),
                    Some(producer) => {
                        let entry = (key.to_vec(), record.value.map(<[u8]>::to_vec));
                        self.open.entry(producer).or_default().push(entry);
                    }
                }
            }
            Found::Ended(producer, is_committed) => {
                let entries = self.open.remove(&producer).filter(|_| is_committed);
                for (key, value) in entries.into_iter().flatten() {
                    take(&key, value.as_deref());
                }
            }
            Found::Unreadable(_, offset, error) => {
                self.damage.get_or_insert((offset, error.to_string()));
            }
            Found::Aborted(_) | Found::Expired => {}
        }
    }

    /// Whether a transaction with records of the agent has not ended.
    pub(super) fn are_open(&self) -> bool {
        !self.open.is_empty()
    }

    pub(super) fn damage(&self) -> Option<&(i64, String)> {
        self.damage.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::read::batch::Record;

    /// What is taken of these: the producer id of a record and its key, or the end of a transaction.
    fn taken(found: &[(Option<i64>, &str)], ended: &[(usize, i64, bool)]) -> (String, bool) {
        let mut own = OwnRecords::of("web1");
        let mut seen = Vec::new();
        for (at, (transaction, key)) in found.iter().enumerate() {
            let mut take = |key: &[u8], _: Option<&[u8]>| {
                seen.push(String::from_utf8(key.to_vec()).expect("text"));
            };
            for (_, producer, is_committed) in ended.iter().filter(|(before, ..)| *before == at) {
                own.read(Found::Ended(*producer, *is_committed), &mut take);
            }
            if !key.is_empty() {
                let record = Record::of_key(key.as_bytes(), *transaction);
                own.read(Found::Record(0, record), &mut take);
            }
        }
        (seen.join(" "), own.are_open())
    }

    #[test]
    fn a_record_counts_when_its_transaction_is_committed_whatever_others_have_open() {
        let records = [
            (Some(9), "1web2/1"),
            (Some(7), "1web1/1"),
            (Some(8), "1web1/2"),
            (Some(7), "1web1/3"),
            (None, "1web1/owner"),
            (None, ""),
        ];
        let ended = [(3, 8, true), (5, 7, true)];
        let expected = "1web1/2 1web1/owner 1web1/1 1web1/3".to_owned();
        assert_eq!(taken(&records, &ended), (expected, false));
        let aborted = [(3, 8, false), (5, 7, true)];
        let expected = "1web1/owner 1web1/1 1web1/3".to_owned();
        assert_eq!(taken(&records, &aborted), (expected, false));
        let (seen, is_open) = taken(&records, &[(3, 8, true)]);
        assert_eq!((&*seen, is_open), ("1web1/2 1web1/owner", true));
    }
}
