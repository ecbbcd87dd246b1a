//! What `logagent rewind` has had sent again: the last times, for `logagent verify`, which finds these bytes twice.
//!
//! It is kept beside the positions, as text, a line for each: when, in ms since 1970, the tag of the file, and the
//! offsets from which and up to which it was sent again.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::identity::FileTag;
use crate::progress::Saved;
use crate::state_file;

/// Bytes of a file that were sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rewound {
    /// When the position was set.
    pub at: SystemTime,
    /// The file.
    pub tag: FileTag,
    /// The first offset.
    pub start: u64,
    /// Behind the last one.
    pub end: u64,
}

/// Keeps in the state folder what lies between the positions of `before` and of `now`.
///
/// # Errors
/// If it cannot be written.
pub fn note(state_dir: &Path, before: &Saved, now: &Saved, at: SystemTime) -> io::Result<()> {
    let mut all = read(state_dir);
    let known = all.len();
    for new in &now.checkpoints {
        let is_it = |old: &&crate::progress::Checkpoint| old.serial == new.serial;
        let old = before.checkpoints.iter().find(is_it);
        if let (Some(old), Some(tag)) = (old, new.tag)
            && new.offset < old.offset
        {
            let (start, end) = (new.offset, old.offset);
            let rewound = Rewound {
                at,
                tag,
                start,
                end,
            };
            all.push(rewound);
        }
    }
    if all.len() == known {
        return Ok(());
    }
    let text: String = all.iter().rev().take(MOST).rev().map(line).collect();
    state_file::replace(state_dir, FILE, text.as_bytes())
}

/// Those that are kept in the state folder, oldest first. What cannot be read is not known.
pub fn read(state_dir: &Path) -> Vec<Rewound> {
    let text = fs::read_to_string(state_dir.join(FILE)).unwrap_or_default();
    text.lines().filter_map(parse).collect()
}

fn line(rewound: &Rewound) -> String {
    let Rewound {
        at,
        tag,
        start,
        end,
    } = rewound;
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{} {tag} {start} {end}\n", since.as_millis())
}

fn parse(line: &str) -> Option<Rewound> {
    let mut fields = line.split(' ');
    let ms = fields.next()?.parse().ok()?;
    Some(Rewound {
        at: UNIX_EPOCH.checked_add(Duration::from_millis(ms))?,
        tag: FileTag::parse(fields.next()?.as_bytes())?,
        start: fields.next()?.parse().ok()?,
        end: fields.next()?.parse().ok()?,
    })
}

const FILE: &str = "rewinds";
/// So many are kept.
const MOST: usize = 50;
