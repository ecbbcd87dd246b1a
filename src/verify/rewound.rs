//! Bytes that are in a topic again because somebody has set back a position.

use std::collections::BTreeMap;
use std::time::SystemTime;

use super::tiles::{Added, Tiles};
use crate::identity::FileTag;
use crate::rewinds::Rewound;
use crate::wall_clock::clock;

/// The rewinds that are known, and what they explain.
#[derive(Debug, Default)]
pub(super) struct Rewinds {
    known: Vec<Known>,
    /// How many records have come again by them.
    pub(super) records: u64,
    /// How many bytes these are made of.
    pub(super) bytes: u64,
}

#[derive(Debug)]
struct Known {
    rewound: Rewound,
    /// What of it has come again.
    tiles: Tiles,
    /// How many bytes that is.
    bytes: u64,
}

impl Rewinds {
    pub(super) fn new(known: Vec<Rewound>) -> Self {
        let known = known.into_iter().map(|rewound| Known {
            rewound,
            tiles: Tiles::default(),
            bytes: 0,
        });
        Rewinds {
            known: known.collect(),
            ..Rewinds::default()
        }
    }

    /// Whether a record that is there already is there again by one of them. Each explains each byte once.
    pub(super) fn explain(&mut self, tag: FileTag, start: u64, end: u64) -> bool {
        for known in &mut self.known {
            let Rewound {
                start: from,
                end: to,
                ..
            } = known.rewound;
            let is_in = known.rewound.tag == tag && from <= start && end <= to;
            if is_in && known.tiles.add(start, end) == Added::New {
                self.records += 1;
                self.bytes += end - start;
                known.bytes += end - start;
                return true;
            }
        }
        false
    }

    /// When each of those was that something came again by, oldest first, of which file, and how many bytes that was.
    pub(super) fn each(&self) -> BTreeMap<(SystemTime, &str), u64> {
        let mut each = BTreeMap::new();
        for known in self.known.iter().filter(|known| known.bytes > 0) {
            let Rewound { at, path, .. } = &known.rewound;
            *each.entry((*at, &**path)).or_default() += known.bytes;
        }
        each
    }

    /// The same as numbers of bytes, and words behind each.
    pub(super) fn rows(&self) -> Vec<(u64, String)> {
        let now = SystemTime::now();
        let row = |((at, path), bytes)| {
            let at = clock(at, now);
            let of = match path {
                "" => String::new(),
                path => format!(" of {path}"),
            };
            let words = format!("bytes again by 'logagent rewind' ({at}){of}");
            (bytes, words)
        };
        self.each().into_iter().map(row).collect()
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
            path: String::new(),
        };
        let of = |path: &str, one| Rewound {
            path: path.to_owned(),
            ..one
        };
        let mut rewinds =
            Rewinds::new(vec![rewound(10, 40, 60), of("/a.log", rewound(20, 40, 30))]);
        let mut explained = |tag, start, end| rewinds.explain(FileTag(tag), start, end);
        assert!(explained(7, 10, 20) && explained(7, 20, 30) && explained(7, 20, 30));
        assert!(!explained(7, 20, 30), "once more than it was asked for");
        assert!(!explained(7, 0, 10) && !explained(7, 30, 50) && !explained(8, 30, 40));
        assert_eq!((rewinds.records, rewinds.bytes), (3, 30));
        let words = |seconds| {
            let at = clock(UNIX_EPOCH + Duration::from_secs(seconds), SystemTime::now());
            format!("bytes again by 'logagent rewind' ({at})")
        };
        let first = format!("{} of /a.log", words(30));
        let rows = [(10, first), (20, words(60))];
        assert_eq!(rewinds.rows(), rows, "each with its time and its file");
    }
}
