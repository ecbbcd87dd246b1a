//! What `logagent rewind` has had sent again: the last times, for `logagent verify`, which finds these bytes twice.
//!
//! It is kept beside the positions, as text, a line for each: when, in ms since 1970, the tag of the file, the offsets
//! from which and up to which it was sent again, and its path as it is shown. Earlier versions kept no path.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::identity::FileTag;
use crate::progress::Saved;
use crate::shown::ShownPath;
use crate::state_file;

/// Bytes of a file that were sent again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewound {
    /// When the position was set.
    pub at: SystemTime,
    /// The file.
    pub tag: FileTag,
    /// The first offset.
    pub start: u64,
    /// Behind the last one.
    pub end: u64,
    /// The path of the file, as it is shown; empty: not known.
    pub path: String,
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
                path: ShownPath(&new.path).to_string(),
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
        path,
    } = rewound;
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{} {tag} {start} {end} {path}\n", since.as_millis())
}

fn parse(line: &str) -> Option<Rewound> {
    let mut fields = line.splitn(5, ' ');
    let ms = fields.next()?.parse().ok()?;
    Some(Rewound {
        at: UNIX_EPOCH.checked_add(Duration::from_millis(ms))?,
        tag: FileTag::parse(fields.next()?.as_bytes())?,
        start: fields.next()?.parse().ok()?,
        end: fields.next()?.parse().ok()?,
        path: fields.next().unwrap_or_default().to_owned(),
    })
}

const FILE: &str = "rewinds";
/// So many are kept.
const MOST: usize = 50;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_the_file_by_its_path_and_one_of_an_earlier_version_does_not() {
        let rewound = Rewound {
            at: UNIX_EPOCH + Duration::from_millis(1234),
            tag: FileTag(7),
            start: 10,
            end: 40,
            path: "/var/log/my app.log".to_owned(),
        };
        let written = line(&rewound);
        assert_eq!(written, "1234 00000007 10 40 /var/log/my app.log\n");
        assert_eq!(parse(written.trim_end_matches('\n')), Some(rewound.clone()));
        let path = String::new();
        let earlier = Some(Rewound { path, ..rewound });
        assert_eq!(parse("1234 00000007 10 40"), earlier);
    }
}
