//! Bytes that are in a topic again because somebody has set back a position.

use std::time::SystemTime;

use super::tiles::{Added, Tiles};
use crate::identity::FileTag;
use crate::rewinds::Rewound;

/// The rewinds that are known, and what they explain.
#[derive(Debug, Default)]
pub(super) struct Rewinds {
    /// Each with what of it has come again.
    known: Vec<(Rewound, Tiles)>,
    /// How many records have come again by them.
    pub(super) records: u64,
    /// How many bytes these are made of.
    pub(super) bytes: u64,
    /// When the last of those was that something came again by.
    pub(super) last: Option<SystemTime>,
}

impl Rewinds {
    pub(super) fn new(known: Vec<Rewound>) -> Self {
        let known = known.into_iter().map(|one| (one, Tiles::default()));
        Rewinds {
            known: known.collect(),
            ..Rewinds::default()
        }
    }

    /// Whether a record that is there already is there again by one of them. Each explains each byte once.
    pub(super) fn explain(&mut self, tag: FileTag, start: u64, end: u64) -> bool {
        for (rewound, tiles) in &mut self.known {
            let is_in = rewound.tag == tag && rewound.start <= start && end <= rewound.end;
            if is_in && tiles.add(start, end) == Added::New {
                self.records += 1;
                self.bytes += end - start;
                self.last = self.last.max(Some(rewound.at));
                return true;
            }
        }
        false
    }

    /// What there is to say of them, behind the number of bytes.
    pub(super) fn words(&self) -> String {
        let last = self.last.unwrap_or(SystemTime::UNIX_EPOCH);
        let last = humantime::format_rfc3339_seconds(last);
        format!("bytes again by 'logagent rewind' ({last})")
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn a_rewind_explains_each_of_its_bytes_once() {
        let rewound = |start, end, at| Rewound {
            at: UNIX_EPOCH + Duration::from_secs(at),
            tag: FileTag(7),
            start,
            end,
        };
        let mut rewinds = Rewinds::new(vec![rewound(10, 40, 60), rewound(20, 40, 30)]);
        let mut explained = |tag, start, end| rewinds.explain(FileTag(tag), start, end);
        assert!(explained(7, 10, 20) && explained(7, 20, 30) && explained(7, 20, 30));
        assert!(!explained(7, 20, 30), "once more than it was asked for");
        assert!(!explained(7, 0, 10) && !explained(7, 30, 50) && !explained(8, 30, 40));
        assert_eq!((rewinds.records, rewinds.bytes), (3, 30));
        let words = "bytes again by 'logagent rewind' (1970-01-01T00:01:00Z)";
        assert_eq!(rewinds.words(), words);
    }
}
