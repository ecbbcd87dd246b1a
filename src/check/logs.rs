//! The files of each `[log:NAME]`: how many, how much of them is unread, and which cannot be read.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::report::{Cell, Finding, Level, Table};
use crate::config::{Config, FollowLinks, LogConfig, StartAt};
use crate::identity::{FileStat, Inode};
use crate::no_file::why_none;
use crate::progress::{Checkpoint, Saved};
use crate::shown::ShownPath;
use crate::tail::follows;
use crate::tail::survey::Survey;
use crate::unreadable;

/// What is counted of a section.
#[derive(Debug, Default)]
struct Sum {
    files: u64,
    size: u64,
    unread: u64,
    has_position: bool,
    /// Files that another path leads to as well, which is counted.
    second_names: u64,
    /// Files that nobody has begun and that `ignore_older` leaves out.
    older: u64,
}

/// A row for each section.
pub(super) fn table(
    config: &Config,
    survey: &Survey,
    saved: &Saved,
    now: SystemTime,
) -> (Table, u64) {
    let unfinished = saved.checkpoints.iter().filter(|one| one.is_unfinished());
    let mut positions: HashMap<Inode, &Checkpoint> = HashMap::new();
    positions.extend(unfinished.map(|one| (one.identity.inode, one)));
    let mut rows = Vec::new();
    let mut findings = Vec::new();
    let mut first_names: HashSet<Inode> = HashSet::new();
    let mut files = 0;
    for log in &config.logs {
        let is_new = saved
            .sections
            .iter()
            .flatten()
            .all(|section| *section != log.name);
        let mut sum = Sum::default();
        let mut unreadable = Vec::new();
        for (path, (owner, found)) in &survey.files {
            if !Arc::ptr_eq(owner, log) {
                continue;
            }
            match found {
                Ok(stat) if !first_names.insert(stat.inode) => sum.second_names += 1,
                Ok(stat) => sum.add(log, stat, positions.get(&stat.inode).copied(), is_new, now),
                Err(error) => {
                    sum.files += 1;
                    unreadable.push((path, error));
                }
            }
        }
        findings.extend(refused(log, &unreadable));
        let links = survey.refused.iter();
        let links: Vec<(&Path, &str)> = links
            .filter(|(_, (owner, _))| Arc::ptr_eq(owner, log))
            .map(|(path, (_, words))| (&**path, &**words))
            .collect();
        findings.extend(refused_links(log, &links));
        let closed = survey
            .closed
            .iter()
            .filter(|(_, owner)| Arc::ptr_eq(owner, log));
        findings.extend(closed.map(|(folder, _)| closed_folder(log, folder)));
        findings.extend(left_out(log, &sum));
        files += sum.files;
        if sum.files + sum.second_names + sum.older == 0 && links.is_empty() {
            findings.push(Finding {
                level: Level::Warning,
                subject: log.name.clone(),
                words: why_none(&log.paths),
            });
        }
        rows.push(row(log, &sum));
    }
    findings.extend(named_twice(config, survey));
    let table = Table {
        name: "logs",
        columns: &[
            ("log", "LOG"),
            ("files", " FILES"),
            ("size_bytes", " SIZE"),
            ("unread_bytes", " UNREAD"),
            ("start", "START"),
            ("topic", "TOPIC"),
            ("encoding", "ENCODING"),
        ],
        rows,
        findings,
    };
    (table, files)
}

/// Pairs of sections that want the same files, each with one of them.
fn named_twice(config: &Config, survey: &Survey) -> Vec<Finding> {
    let mut pairs = HashSet::new();
    let mut findings = Vec::new();
    for (path, (owner, _)) in survey.files.iter().take(MOST_COMPARED) {
        let also = config.logs.iter().filter(|log| !Arc::ptr_eq(owner, log));
        for also in also.filter(|log| follows(log, path)) {
            if pairs.insert((&owner.name, &also.name)) {
                let words = format!(
                    "'{}' is named by [log:{}] as well: [log:{}] has it, and others like it",
                    ShownPath(path),
                    also.name,
                    owner.name
                );
                findings.push(Finding {
                    level: Level::Warning,
                    subject: owner.name.clone(),
                    words,
                });
            }
        }
    }
    findings
}

/// So many files are held against the other sections.
const MOST_COMPARED: usize = 1000;

impl Sum {
    fn add(
        &mut self,
        log: &LogConfig,
        stat: &FileStat,
        position: Option<&Checkpoint>,
        is_new: bool,
        now: SystemTime,
    ) {
        if position.is_none() && is_too_old(log, stat, now) {
            self.older += 1;
            return;
        }
        self.files += 1;
        self.size += stat.size;
        self.unread += match position {
            Some(position) => {
                self.has_position = true;
                stat.size.saturating_sub(position.offset)
            }
            // Of a section that is known, a file without a position came later.
            None if is_new && log.start_at == StartAt::End => 0,
            None => stat.size,
        };
    }
}

fn row(log: &LogConfig, sum: &Sum) -> Vec<Cell> {
    let start = match log.start_at {
        _ if sum.has_position => "position",
        StartAt::Beginning => "beginning",
        StartAt::End => "end",
    };
    let encoding = log
        .record
        .as_ref()
        .map_or("utf-8", |record| record.encoding.name());
    let text = |text: &str| Cell::Text(text.to_owned());
    vec![
        text(&log.name),
        Cell::Number(sum.files),
        Cell::Bytes(sum.size),
        Cell::Bytes(sum.unread),
        text(start),
        text(&log.destination.topic),
        text(encoding),
    ]
}

fn is_too_old(log: &LogConfig, stat: &FileStat, now: SystemTime) -> bool {
    let modified = Duration::from_nanos(u64::try_from(stat.modified_ns).unwrap_or(0));
    let age = now.duration_since(SystemTime::UNIX_EPOCH + modified);
    log.ignore_older
        .is_some_and(|most| age.is_ok_and(|age| age > most))
}

/// What is said of files that are not read because they need not be.
fn left_out(log: &LogConfig, sum: &Sum) -> Option<Finding> {
    let second = match sum.second_names {
        0 => None,
        1 => Some("1 second name of a file".to_owned()),
        count => Some(format!("{count} second names of files")),
    };
    let older = match sum.older {
        0 => None,
        1 => Some("1 file older than ignore_older".to_owned()),
        count => Some(format!("{count} files older than ignore_older")),
    };
    let parts: Vec<String> = second.into_iter().chain(older).collect();
    (!parts.is_empty()).then(|| Finding {
        level: Level::Good,
        subject: log.name.clone(),
        words: format!("{}: not read", parts.join(", ")),
    })
}

/// What is said of files that cannot be read: the first ones each, and how many more there are.
fn refused(log: &LogConfig, unreadable: &[(&PathBuf, &io::Error)]) -> Vec<Finding> {
    let finding = |words: String| Finding {
        level: Level::Failure,
        subject: log.name.clone(),
        words,
    };
    let shown = unreadable.iter().take(MOST_NAMED);
    let mut findings: Vec<Finding> = shown
        .map(|(path, error)| finding(format!("{}: {}", ShownPath(path), why(path, error))))
        .collect();
    if let Some(more) = unreadable
        .len()
        .checked_sub(MOST_NAMED)
        .filter(|more| *more > 0)
    {
        findings.push(finding(format!(
            "and {more} files more that cannot be read"
        )));
    }
    findings
}

/// What is said of links that `follow_links` refuses. With `none` that is as it was asked for.
fn refused_links(log: &LogConfig, links: &[(&Path, &str)]) -> Vec<Finding> {
    let finding = |words: String| Finding {
        level: match log.follow_links {
            FollowLinks::None => Level::Good,
            FollowLinks::Safe | FollowLinks::All => Level::Warning,
        },
        subject: log.name.clone(),
        words,
    };
    let more = links.len().saturating_sub(MOST_NAMED);
    let shown = links.iter().take(MOST_NAMED);
    let shown = shown.map(|(path, why)| finding(format!("{}: {why}", ShownPath(path))));
    let more = (more > 0).then(|| finding(format!("and {more} links more that are not followed")));
    shown.chain(more).collect()
}

fn why(path: &Path, error: &io::Error) -> String {
    if error.kind() != io::ErrorKind::PermissionDenied {
        return error.to_string();
    }
    format!("permission denied{}", unreadable::mend(path, error))
}

fn closed_folder(log: &LogConfig, folder: &Path) -> Finding {
    let (shown, mend) = (ShownPath(folder), unreadable::mend_folder(folder));
    Finding {
        level: Level::Failure,
        subject: log.name.clone(),
        words: format!("folder {shown}: permission denied{mend}"),
    }
}

/// Files of a section that are named.
const MOST_NAMED: usize = 5;
