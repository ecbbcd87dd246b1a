//! What a status tells of file systems and the main thread must not ask them, since they may hang: a `scan-<n>` thread
//! looks while a snapshot is gathered. What it does not tell in time is as it was seen last.

use std::path::Path;
use std::sync::Arc;

use crossbeam_channel::{Receiver, bounded, never};

use super::config_watch::WatchedFiles;
use super::rotated::{self, Rotated};
use super::{Agent, Followed, unfollowed};
use crate::config::{Config, LogConfig};
use crate::no_file::why_none;
use crate::shown::ShownPath;
use crate::snapshot::{FollowsNothing, Positions, Snapshot, Unfollowed};
use crate::tail::lanes::Lane;
use crate::tail::{self, Shared};

/// What was seen last, and what is awaited.
#[derive(Debug)]
pub(super) struct Sight {
    /// The ini as it was read last.
    read: WatchedFiles,
    seen: Seen,
    /// Where the look that is under way tells what it has seen.
    awaited: Option<Receiver<Seen>>,
    /// The registrar's answer, which waits for that.
    held: Option<Positions>,
}

#[derive(Debug, Default)]
pub(super) struct Seen {
    follows_nothing: Vec<FollowsNothing>,
    /// The ini differs from what was read last.
    is_changed: bool,
    /// Where files are that were rotated away.
    rotated: Vec<Rotated>,
    unfollowed: Unfollowed,
}

impl Sight {
    /// Nothing was seen yet but the ini.
    pub(super) fn new(config: &Config) -> Self {
        Sight {
            read: WatchedFiles::of(&config.origin.watched),
            seen: Seen::default(),
            awaited: None,
            held: None,
        }
    }

    /// The ini was read again.
    pub(super) fn was_read(&mut self, files: WatchedFiles) {
        self.read = files;
        self.seen.is_changed = false;
        // It may be about what was read before.
        self.awaited = None;
    }

    /// Where the look that is under way tells what it has seen.
    pub(super) fn looked(&self) -> Receiver<Seen> {
        self.awaited.clone().unwrap_or_else(never)
    }

    /// Adds what was seen to a snapshot that has its files.
    pub(super) fn complete(&self, snapshot: &mut Snapshot) {
        let files = &snapshot.files;
        let is_empty = |one: &&FollowsNothing| !files.iter().any(|file| file.log == one.log);
        let sections = self.seen.follows_nothing.iter().filter(is_empty);
        snapshot.follows_nothing = sections.cloned().collect();
        snapshot.config.is_changed = self.seen.is_changed;
        snapshot.unfollowed = self.seen.unfollowed.clone();
        rotated::complete(&self.seen.rotated, &mut snapshot.files);
    }
}

impl Agent {
    /// Has somebody look, unless somebody does.
    pub(super) fn look_around(&mut self) {
        let Some(lanes) = self
            .reloading
            .lanes()
            .filter(|_| self.sight.awaited.is_none())
        else {
            return;
        };
        let left_out = &self.shared.metrics.left_out;
        let is_read = |log: &LogConfig| {
            let is_its = |followed: &Followed| followed.log.name == log.name && !followed.is_ending;
            let mut tailers = self.tailers.iter();
            tailers.any(|(path, one)| is_its(one) && !left_out.is_left_by_tailer(path))
        };
        let logs = self.config.logs.iter().filter(|log| !is_read(log));
        let empty: Vec<Arc<LogConfig>> = logs.cloned().collect();
        let followed = self.tailers.iter().filter(|_| !empty.is_empty());
        let followed: Vec<(Arc<Path>, Arc<LogConfig>)> = followed
            .take(MOST_COMPARED)
            .map(|(path, followed)| (path.clone(), followed.log.clone()))
            .collect();
        let (shared, read) = (self.shared.clone(), self.sight.read.clone());
        let (answer, awaited) = bounded(1);
        lanes.submit(Lane::Questions, move || {
            let why = |log: &Arc<LogConfig>| FollowsNothing {
                log: log.name.clone(),
                why: why(&shared, log, &followed),
            };
            let seen = Seen {
                follows_nothing: empty.iter().map(why).collect(),
                is_changed: read.have_changed(),
                rotated: rotated::look(&shared.registry.rotated()),
                unfollowed: unfollowed::look(&shared),
            };
            // Who does not wait any more is not waited for.
            let _ = answer.try_send(seen);
        });
        self.sight.awaited = Some(awaited);
    }

    /// The registrar has answered; who asked gets that together with what is seen.
    pub(super) fn on_positions(&mut self, positions: Option<Positions>) {
        match positions {
            Some(positions) if self.sight.awaited.is_some() => {
                self.sight.held = Some(positions);
                self.standing.is_answered();
            }
            positions => self.end_snapshot(positions),
        }
    }

    /// Nothing more is waited for.
    pub(super) fn on_overdue(&mut self) {
        let held = self.sight.held.take();
        self.end_snapshot(held);
    }

    /// It was looked around; without an answer the thread that looked has panicked.
    pub(super) fn on_looked_around(&mut self, seen: Option<Seen>) {
        self.sight.awaited = None;
        if let Some(seen) = seen {
            self.sight.seen = seen;
        }
        if let Some(positions) = self.sight.held.take() {
            self.end_snapshot(Some(positions));
        }
    }
}

/// Why no file is read by `log`.
fn why(shared: &Shared, log: &LogConfig, followed: &[(Arc<Path>, Arc<LogConfig>)]) -> String {
    let others = followed
        .iter()
        .filter(|(path, other)| other.name != log.name && tail::follows(log, path));
    let others: Vec<&str> = others.map(|(_, other)| &*other.name).collect();
    match &others[..] {
        [] => {}
        [other] => return format!("its only file is followed by [log:{other}]"),
        [first, rest @ ..] => {
            let count = others.len();
            let and_others = match rest.iter().all(|other| other == first) {
                true => "",
                false => " and others",
            };
            return format!("its {count} files are followed by [log:{first}]{and_others}");
        }
    }
    let is_on_the_way = |subject: &str| {
        let is_below = |text: &String| Path::new(text).starts_with(subject);
        subject.starts_with('/') && log.paths.iter().any(is_below)
    };
    let board = shared.metrics.board.all();
    if let Some(trouble) = board.into_iter().find(|one| is_on_the_way(&one.subject)) {
        return trouble.reason;
    }
    let (left_out, _) = shared.metrics.left_out.all();
    let mut left_out = left_out.iter().filter(|one| one.log == log.name);
    match (left_out.next(), left_out.count()) {
        (Some(only), 0) => format!("'{}': {}", ShownPath(&only.path), only.reason),
        (Some(first), more) => format!("its {} files are left out: {}", more + 1, first.reason),
        (None, _) => why_none(&log.paths),
    }
}

/// So many of the files that are followed are held against the paths of a section that follows none.
const MOST_COMPARED: usize = 1000;
