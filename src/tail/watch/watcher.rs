//! The `watch` thread: it hears what happened, decides what to look at, and reports the files found.

mod following;
mod hanging;
mod names;

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};
use inotify::Inotify;
use rustix::event::{PollFd, PollFlags, Timespec};

use super::asker::Asker;
use super::entries::shrink;
use super::events::Happened;
use super::folders::{Changed, Folders};
use super::notices::{Notices, say};
use super::overflow::Overflow;
use super::scans::{Part, Progress, SCAN_INTERVAL, Scans};
use super::seen::{First, FirstLook};
use super::seen::{LookedAt, Outcome, Seen, Start, Way};
use super::watches::{WatchCommand, Watches};
use crate::condition::{Board, Condition};
use crate::tail::discover::{Claim, Discovery, FoundPath};
use crate::tail::lanes::Lanes;

/// The body of the `watch` thread: it owns the inotify instance and what is known of the patterns' folders.
/// It asks no file system: that is done by the `scan-<n>` threads of [`Lanes`], whose answers come to its
/// inbox. It ends with [`Watches::stop`].
#[derive(Debug)]
pub struct Watcher {
    inotify: Option<Inotify>,
    watches: Arc<Watches>,
    inbox: Receiver<WatchCommand>,
    discovery: Arc<Discovery>,
    asker: Asker,
    found: Sender<FoundPath>,
    folders: Folders,
    changed: Changed,
    notices: Notices,
    /// Patterns whose folders do not answer.
    hanging: HashMap<u32, Condition>,
    overflow: Overflow,
    board: Board,
    scans: Scans,
    /// The walks that are under way.
    walks: HashMap<u64, Walk>,
    last_walk: u64,
    /// Single paths that are being looked at.
    looks: HashMap<PathBuf, PathLook>,
    first: Option<First>,
    next_tidy: Instant,
    /// Events wait for so long after others, so that many are one look.
    gathering: Duration,
    /// Until then.
    gathers_until: Instant,
}

/// A look at a single path.
#[derive(Debug)]
struct PathLook {
    is_first: bool,
    /// Something happened to the path since it began.
    is_outdated: bool,
}

/// Why a walk is under way.
#[derive(Debug)]
enum Walk {
    /// As a part of a pattern's scan.
    Scan(u32, Part),
    /// From a folder that has changed.
    Changed,
}

impl Watcher {
    /// A watcher that reports the files of `discovery`, those that are there at the start and those of the
    /// paths `known` that lead nowhere as a [`FirstLook`] (within `patience`, if there is one), the others on
    /// `found`; each again when it was forgotten ([`Watches::unregister`]) and is there again.
    pub fn new(
        discovery: Arc<Discovery>,
        lanes: Lanes,
        found: Sender<FoundPath>,
        known: HashSet<Arc<Path>>,
        patience: Option<Duration>,
        gathering: Duration,
    ) -> io::Result<(Watcher, Receiver<FirstLook>)> {
        let inotify = Inotify::init();
        let (sender, inbox) = unbounded();
        let inotify_watches = inotify.as_ref().ok().map(Inotify::watches);
        let watches = Arc::new(Watches::new(inotify_watches, sender)?);
        if let Err(error) = &inotify {
            watches.warn_once(error, Path::new("all logs"));
        }
        let now = Instant::now();
        let until = patience.map(|patience| now + patience);
        let (first, first_look) = First::new(known, until);
        let watcher = Watcher {
            inotify: inotify.ok(),
            inbox,
            scans: Scans::new(discovery.patterns().count(), now),
            asker: Asker::new(discovery.clone(), watches.clone(), lanes),
            discovery,
            watches,
            found,
            folders: Folders::default(),
            changed: Changed::default(),
            notices: Notices::default(),
            hanging: HashMap::new(),
            overflow: Overflow::default(),
            board: Board::default(),
            walks: HashMap::new(),
            last_walk: 0,
            looks: HashMap::new(),
            first: Some(first),
            next_tidy: now + SCAN_INTERVAL,
            gathering,
            gathers_until: now,
        };
        Ok((watcher, first_look))
    }

    /// What tailers need to be woken.
    pub fn watches(&self) -> Arc<Watches> {
        self.watches.clone()
    }

    /// Runs on the `watch` thread until [`Watches::stop`].
    pub fn run(mut self) {
        let mut buffer = vec![0; 64 << 10];
        self.look_for_missing();
        loop {
            let now = Instant::now();
            self.start_due(now);
            self.end_first_look(now);
            self.wait(self.next_at().saturating_duration_since(now));
            for command in self.inbox.try_iter().collect::<Vec<_>>() {
                match command {
                    WatchCommand::Walked(number, seen) => self.on_walked(number, *seen),
                    WatchCommand::Looked(looked) => {
                        looked.into_iter().for_each(|one| self.on_looked(one));
                    }
                    WatchCommand::Missing(found) => self.on_missing(found),
                    WatchCommand::Reconsider(path) => {
                        self.on_unfollowed_names(vec![path.to_path_buf()])
                    }
                    WatchCommand::Follow(follow) => self.begin_anew(*follow),
                    WatchCommand::Stop => return,
                }
            }
            if self.is_time_for_events() {
                self.read_events(&mut buffer);
            }
        }
    }

    /// Events that follow on others wait until `gathering` is over, unless the kernel's queue fills up.
    fn is_time_for_events(&self) -> bool {
        let Some(inotify) = &self.inotify else {
            return false;
        };
        Instant::now() >= self.gathers_until
            || rustix::io::ioctl_fionread(inotify).is_ok_and(|bytes| bytes >= MANY_EVENTS_BYTES)
    }

    /// When something is to be done that nobody rings for.
    fn next_at(&self) -> Instant {
        let until = self.first.as_ref().and_then(First::until);
        let others = [self.scans.next_at(), self.changed.next_at(), until];
        let others = others.into_iter().flatten().min();
        others.map_or(self.next_tidy, |at| at.min(self.next_tidy))
    }

    fn wait(&self, timeout: Duration) {
        let mut fds = vec![PollFd::new(&self.watches.doorbell, PollFlags::IN)];
        let gathers_for = self.gathers_until.saturating_duration_since(Instant::now());
        let timeout = match gathers_for.is_zero() {
            true => timeout,
            false => timeout.min(gathers_for).min(QUEUE_INTERVAL),
        };
        if let Some(inotify) = self.inotify.as_ref().filter(|_| gathers_for.is_zero()) {
            fds.push(PollFd::from_borrowed_fd(inotify.as_fd(), PollFlags::IN));
        }
        let timeout = Timespec {
            tv_sec: timeout.as_secs().cast_signed(),
            tv_nsec: timeout.subsec_nanos().into(),
        };
        // An interrupted wait is a short one.
        let _ = rustix::event::poll(&mut fds, Some(&timeout));
        let _ = rustix::io::read(&self.watches.doorbell, &mut [0u8; 8]);
    }

    // What is to be looked at.

    fn start_due(&mut self, now: Instant) {
        for start in self.changed.due(now) {
            let lane = self.asker.lane(&start.folder);
            self.walk(Way::to(lane), start, Walk::Changed);
        }
        for pattern in self.scans.begin_due(now) {
            let start = Start {
                folder: Path::new("/").into(),
                steps: self.discovery.start(pattern),
            };
            let lane = self.asker.lane(&start.folder);
            self.walk(Way::to(lane), start, Walk::Scan(pattern, Part::Root));
        }
        if now >= self.next_tidy {
            self.next_tidy = now + SCAN_INTERVAL;
            self.tidy(now);
        }
    }

    fn walk(&mut self, way: Way, start: Start, why: Walk) {
        self.last_walk += 1;
        self.walks.insert(self.last_walk, why);
        self.asker.walk(way, self.last_walk, start);
    }

    /// Names have appeared or changed that nobody follows.
    fn on_unfollowed_names(&mut self, paths: Vec<PathBuf>) {
        let mut new = Vec::new();
        for path in paths {
            if !matches!(self.discovery.claim(&path), Claim::Wanted(..)) {
                continue;
            }
            match self.looks.get_mut(&path) {
                Some(look) => look.is_outdated = true,
                None => {
                    let first = self.first.as_mut();
                    let is_first = first.is_some_and(|first| first.awaits_once(&path));
                    self.looks.insert(path.clone(), PathLook::new(is_first));
                    new.push(path);
                }
            }
        }
        self.asker.look_at_all(new);
    }

    /// Paths that were read before and lead nowhere now: their file may have been rotated away with
    /// something unread in it.
    fn look_for_missing(&mut self) {
        let Some(first) = &mut self.first else { return };
        let mut known = Vec::new();
        for path in first.known() {
            if let Claim::Wanted(log, _) = self.discovery.claim(path) {
                known.push(FoundPath {
                    path: path.clone(),
                    log,
                    stat: None,
                    is_first: true,
                });
            }
        }
        first.begin_jobs(self.asker.missing_known_paths(known));
    }

    // What came of it.

    fn on_walked(&mut self, number: u64, seen: Seen) {
        let Some(why) = self.walks.remove(&number) else {
            return;
        };
        self.notices.walked(&seen.folders, &seen.troubles);
        for folder in seen.folders {
            self.folders
                .enter(folder, |pattern| self.scans.number(pattern));
        }
        let pattern = match &why {
            Walk::Scan(pattern, _) => Some(*pattern),
            Walk::Changed => None,
        };
        let is_first = self.is_of_first_scan(&why);
        for pattern in seen.followed {
            self.notices.file(pattern);
        }
        for (pattern, trouble) in seen.troubles {
            let line =
                self.notices
                    .trouble(&self.discovery, Some(pattern), trouble.about(), &trouble);
            say(line);
        }
        for looked in seen.files {
            self.on_file(looked, is_first);
        }
        let mut goes_on = false;
        for (way, start) in seen.elsewhere {
            match &why {
                // The folder lies further on.
                Walk::Scan(pattern, Part::Elsewhere(folder)) if *folder == start.folder => {
                    let part = Part::Elsewhere(folder.clone());
                    self.walk(way, start, Walk::Scan(*pattern, part));
                    goes_on = true;
                }
                _ => self.go_on_elsewhere(way, start, pattern),
            }
        }
        for (way, path) in seen.files_elsewhere {
            // A lane that hangs is not asked twice for the same.
            if !self.looks.contains_key(&path) {
                self.looks.insert(path.clone(), PathLook::new(is_first));
                self.asker.look(way, vec![path]);
            }
        }
        if let Walk::Scan(pattern, part) = why
            && !goes_on
        {
            self.on_scanned(pattern, &part);
        }
    }

    fn go_on_elsewhere(&mut self, way: Way, start: Start, pattern: Option<u32>) {
        let why = match pattern {
            None => Walk::Changed,
            Some(pattern) if self.scans.begin_elsewhere(pattern, &start.folder) => {
                Walk::Scan(pattern, Part::Elsewhere(start.folder.clone()))
            }
            Some(_) => return,
        };
        self.walk(way, start, why);
    }

    /// A walk of a scan is over.
    fn on_scanned(&mut self, pattern: u32, part: &Part) {
        let Progress::Over { number, did_hang } = self.scans.end(pattern, part) else {
            return;
        };
        // It may have hung before a reload gave it other scans.
        if did_hang || self.hanging.contains_key(&pattern) {
            self.answers_again(pattern);
        }
        self.folders.prune(pattern, number);
        if self.folders.untold().contains(&pattern) || self.inotify.is_none() {
            self.scans.poll(pattern, Instant::now());
        }
        say(self.notices.first_scan_is_over(&self.discovery, pattern));
    }

    fn on_looked(&mut self, looked: LookedAt) {
        if let Outcome::Elsewhere(way) = looked.outcome {
            return self.asker.look(way, vec![looked.path]);
        }
        let path = looked.path.clone();
        let look = self.looks.remove(&path);
        let is_first = self.first.is_some() || look.as_ref().is_some_and(|look| look.is_first);
        self.on_file(looked, is_first);
        if look.is_some_and(|look| look.is_outdated) {
            self.on_unfollowed_names(vec![path]);
        }
    }

    fn on_file(&mut self, looked: LookedAt, is_first: bool) {
        let LookedAt {
            path,
            pattern,
            outcome,
        } = looked;
        match outcome {
            Outcome::File(log, also, stat) => {
                self.notices.forget(&path);
                if let Some(pattern) = pattern {
                    self.notices.file(pattern);
                }
                if let Some(also) = also {
                    say(self.notices.two_sections(&log.name, &also.name, &path));
                }
                self.report(FoundPath {
                    path: path.into(),
                    log,
                    stat: Some(stat),
                    is_first,
                });
            }
            Outcome::Trouble(trouble) => {
                say(self
                    .notices
                    .trouble(&self.discovery, pattern, &path, &trouble));
            }
            Outcome::Nothing => {
                self.watches.forget_unfollowed_target(&path);
                self.notices.forget(&path);
            }
            Outcome::Elsewhere(_) => {}
        }
    }

    fn on_missing(&mut self, found: Vec<FoundPath>) {
        if let Some(first) = &mut self.first {
            first.end_job();
        }
        found.into_iter().for_each(|found| self.report(found));
    }

    fn report(&mut self, found: FoundPath) {
        match &mut self.first {
            Some(first) => first.add(found),
            // Without a main thread the process is about to end.
            None if !self.watches.is_followed(&found.path) => drop(self.found.send(found)),
            None => {}
        }
    }

    /// What was there at the start is known, or as much of it as comes in time.
    fn end_first_look(&mut self, now: Instant) {
        if self.first.is_none() {
            return;
        }
        let is_complete = self.scans.have_begun()
            && !self.walks.values().any(|why| self.is_of_first_scan(why))
            && !self.looks.values().any(|look| look.is_first);
        if let Some(first) = self.first.take_if(|first| first.is_over(is_complete, now)) {
            first.report();
            self.warn_of_hanging(Duration::ZERO, now);
        }
    }

    /// Whether the first look waits for a walk. A scan that is made again, and a walk that a change has brought about, would be waited for without an end where
    /// names change all the time.
    fn is_of_first_scan(&self, why: &Walk) -> bool {
        match why {
            Walk::Scan(pattern, _) => self.scans.number(*pattern) == 1,
            Walk::Changed => false,
        }
    }

    /// Gives back what is not needed any more, and watches again what links lead into.
    fn tidy(&mut self, now: Instant) {
        self.warn_of_hanging(HANGS, now);
        self.overflow.see_to_end(now);
        self.notices.tidy(now);
        self.watches.see_to_refusal(now);
        shrink(&mut self.looks);
        shrink(&mut self.walks);
        let targets = self.watches.target_folders();
        let folders = &self.folders;
        self.watches
            .keep_folders(|folder| folders.contains(folder) || targets.contains(folder));
        self.asker.watch(targets);
    }

    // Events.

    /// Passes all waiting events on.
    fn read_events(&mut self, buffer: &mut [u8]) {
        let Some(inotify) = &mut self.inotify else {
            return;
        };
        let happened = Happened::read(inotify, buffer, &self.watches);
        if happened.count > 0 {
            self.gathers_until = Instant::now() + self.gathering;
        }
        if happened.is_incomplete {
            self.overflow.happens(&self.board, Instant::now());
            self.watches.wake_all();
            self.scans.outdate(self.scans.all());
        }
        self.on_names(happened.names);
        for (folder, event) in happened.folders {
            self.on_folder(&folder, event);
        }
    }
}

impl PathLook {
    fn new(is_first: bool) -> Self {
        PathLook {
            is_first,
            is_outdated: false,
        }
    }
}

/// While events are gathered, the kernel's queue is looked at so often.
const QUEUE_INTERVAL: Duration = Duration::from_millis(50);
/// A quarter of what the queue holds, at 16 bytes for an event without a name.
const MANY_EVENTS_BYTES: u64 = 64 << 10;
/// A scan that takes longer than this is said to hang.
const HANGS: Duration = Duration::from_secs(20);
