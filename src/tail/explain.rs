//! Whether one path is followed, and why not if it is not: for an operator who asks about it.

use std::io;
use std::path::Path;

use super::Shared;
use super::discover::Naming;
use super::links::{self, UnsafeLink};
use super::log_file::is_compressed_name;
use crate::config::LogConfig;
use crate::identity::FileStat;
use crate::shown::ShownPath;
use crate::unreadable;

/// What there is to say of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// A tailer reads the file at it.
    pub is_followed: bool,
    /// By which section, or why not.
    pub words: String,
}

/// Whether `path` is followed, as far as the ini and the agent tell; `None` where the file system has to be asked.
pub fn explain_known(shared: &Shared, path: &Path) -> Option<Explained> {
    let not = |words: String| {
        Some(Explained {
            is_followed: false,
            words,
        })
    };
    if let Some(reason) = shared.metrics.left_out.reason(path) {
        return not(reason);
    }
    let discovery = shared.discovery();
    let namings = discovery.namings(path);
    let mut wanting = namings.iter().filter(|one| one.excluded_by.is_none());
    let first = wanting.next();
    if !shared.watches.is_followed(path) {
        return match first {
            None if !namings.is_empty() => not(excluded(&namings)),
            _ => None,
        };
    }
    let subject = ShownPath(path).to_string();
    let board = shared.metrics.board.all();
    if let Some(trouble) = board.into_iter().find(|one| one.subject == subject) {
        return not(trouble.reason);
    }
    // A section that is gone has its files read to what is there.
    let mut words = match first {
        Some(first) => format!("followed by [log:{}]", first.log.name),
        None => "followed to what is there now; no section names it any more".to_owned(),
    };
    for other in wanting {
        let name = &other.log.name;
        words.push_str(&format!(
            "; [log:{name}] names it too and comes later in the ini"
        ));
    }
    Some(Explained {
        is_followed: true,
        words,
    })
}

/// The same from a look at the file system, which may hang.
pub fn explain(shared: &Shared, path: &Path) -> Explained {
    if let Some(known) = explain_known(shared, path) {
        return known;
    }
    let discovery = shared.discovery();
    let words = match discovery.namings(path).first() {
        _ if discovery.is_of_state_dir(path) => "in [agent] state_dir".to_owned(),
        Some(first) => unfollowed(first.log, path),
        None => unnamed(shared, path),
    };
    Explained {
        is_followed: false,
        words,
    }
}

/// What keeps a path from being followed that a section names.
fn unfollowed(log: &LogConfig, path: &Path) -> String {
    let (name, shown) = (&log.name, ShownPath(path));
    let stat = match FileStat::at_path(path) {
        Ok(stat) => stat,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return match path.is_symlink() {
                true => "a link to nothing".to_owned(),
                false => format!("there is no such file; [log:{name}] follows it when it appears"),
            };
        }
        Err(error) => {
            let mend = unreadable::mend(path, &error);
            return format!("it cannot be looked at: {error}{mend}");
        }
    };
    if !stat.is_regular {
        return match path.is_dir() {
            true => format!("a folder; path = {shown}/* names the files in it"),
            false => "not a regular file".to_owned(),
        };
    }
    if is_compressed_name(path) {
        return "compressed; read where a followed file was packed into it".to_owned();
    }
    match links::open(path, log.follow_links) {
        Err(error) if UnsafeLink::of(&error).is_some() => error.to_string(),
        Err(error) => {
            let mend = unreadable::mend(path, &error);
            format!("it cannot be read: {error}{mend}")
        }
        Ok(_) => format!("[log:{name}] names it and has not seen it yet: wait for the next scan"),
    }
}

/// What is said of a path that no section names: it may be another name of one that is followed.
fn unnamed(shared: &Shared, path: &Path) -> String {
    let nobody = NOBODY;
    let stat = match FileStat::at_path(path) {
        Ok(stat) => stat,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return format!("{nobody}, and there is no such file");
        }
        Err(error) => return format!("{nobody}, and it cannot be looked at: {error}"),
    };
    let known = shared.registry.of_inode(stat.inode);
    let is_there = |path: &Path| shared.watches.is_followed(path);
    match known.iter().find(|one| is_there(&one.path)) {
        Some(one) => format!(
            "{nobody}; the same file is followed as '{}'",
            ShownPath(&one.path)
        ),
        None => nobody.to_owned(),
    }
}

/// What is said first of a path that no section names.
pub const NOBODY: &str = "no section of the ini names it";

fn excluded(namings: &[Naming<'_>]) -> String {
    let each = namings.iter().filter_map(|naming| {
        let text = naming.excluded_by?;
        Some(format!("'{text}' of [log:{}]", naming.log.name))
    });
    let each: Vec<String> = each.collect();
    format!("excluded by {}", each.join(" and by "))
}
