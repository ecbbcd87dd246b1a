//! The `watch` thread: it hears what happened, decides what to look at, and reports the files found.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use inotify::{Event, EventMask, Inotify};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec};

use super::folders::{Changed, Folders};
use super::notices::{Line, Notices};
use super::walk::{Ground, LookedAt, Outcome, Seen, Start, Trouble};
use super::{Table, WatchCommand, WatchTable};
use crate::shown::ShownPath;
use crate::tail::discover::{Claim, Discovery, FolderKind, Found};
use crate::tail::lanes::{Lane, Lanes};
use crate::tail::mounts::MountTable;

/// The body of the `watch` thread: it owns the inotify instance and what is known of the patterns' folders.
/// It asks no file system: that is done by the `scan-<n>` threads of [`Lanes`], whose answers come to its
/// inbox. It ends with [`WatchTable::stop`].
#[derive(Debug)]
pub struct Watcher {
    inotify: Option<Inotify>,
    table: Arc<WatchTable>,
    inbox: Receiver<WatchCommand>,
    discovery: Arc<Discovery>,
    lanes: Lanes,
    mounts: MountTable,
    found: Sender<Found>,
    folders: Folders,
    changed: Changed,
    notices: Notices,
    /// One for each pattern.
    scans: Vec<Scan>,
    /// The walks that are under way.
    walks: HashMap<u64, Walk>,
    last_walk: u64,
    /// Single paths that are being looked at.
    looks: HashMap<PathBuf, PathLook>,
    first: Option<First>,
    next_tidy: Instant,
}

/// What was there when the agent started.
#[derive(Debug)]
pub struct FirstLook {
    /// The files, and the known paths that lead nowhere now.
    pub found: Vec<Found>,
    /// How many of them were known.
    pub known: usize,
}

/// The scans of one pattern.
#[derive(Debug)]
struct Scan {
    /// Of the last one; the first one is 1.
    number: u64,
    next_at: Instant,
    /// When the last one began.
    started: Instant,
    /// The walk from `/` is under way.
    is_running: bool,
    /// Something happened since it began.
    is_outdated: bool,
    /// Folders in other lanes whose walk is under way.
    elsewhere: HashSet<Arc<Path>>,
    /// Since when something is under way.
    since: Instant,
    is_said_to_hang: bool,
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
    /// From `/`.
    Scan(u32),
    /// From a folder in another lane.
    Elsewhere(u32, Arc<Path>),
    /// From a folder that has changed.
    Changed,
}

/// What is gathered for [`FirstLook`].
#[derive(Debug)]
struct First {
    sender: Sender<FirstLook>,
    found: Vec<Found>,
    known: HashSet<Arc<Path>>,
    /// Jobs that see which of the known paths lead nowhere.
    absent_jobs: usize,
    /// What has not been seen by then comes later.
    until: Option<Instant>,
}

/// What happened to a name in a watched folder.
#[derive(Debug)]
struct NameEvent {
    folder: Arc<Path>,
    name: OsString,
    mask: EventMask,
}

impl Watcher {
    /// A watcher that reports the files of `discovery`, those that are there at the start and those of the
    /// paths `known` that lead nowhere as a [`FirstLook`] (within `patience`, if there is one), the others on
    /// `found`; each again when it was forgotten ([`WatchTable::forget_path`]) and is there again.
    pub fn new(
        discovery: Discovery,
        lanes: Lanes,
        found: Sender<Found>,
        known: HashSet<Arc<Path>>,
        patience: Option<Duration>,
    ) -> io::Result<(Watcher, Receiver<FirstLook>)> {
        let doorbell = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let inotify = Inotify::init();
        let (sender, inbox) = unbounded();
        let table = Arc::new(WatchTable {
            watches: inotify.as_ref().ok().map(Inotify::watches),
            inner: Mutex::default(),
            warned: AtomicBool::new(false),
            inbox: sender,
            doorbell,
        });
        if let Err(error) = &inotify {
            table.warn_once(error, Path::new("all logs"));
        }
        let (sender, first_look) = bounded(1);
        let now = Instant::now();
        let scan = |_| Scan {
            number: 0,
            next_at: now,
            started: now,
            is_running: false,
            is_outdated: false,
            elsewhere: HashSet::new(),
            since: now,
            is_said_to_hang: false,
        };
        let watcher = Watcher {
            inotify: inotify.ok(),
            table,
            inbox,
            scans: discovery.patterns().map(scan).collect(),
            discovery: Arc::new(discovery),
            lanes,
            mounts: MountTable::default(),
            found,
            folders: Folders::default(),
            changed: Changed::default(),
            notices: Notices::default(),
            walks: HashMap::new(),
            last_walk: 0,
            looks: HashMap::new(),
            first: Some(First {
                sender,
                found: Vec::new(),
                known,
                absent_jobs: 0,
                until: patience.map(|patience| now + patience),
            }),
            next_tidy: now + SCAN_INTERVAL,
        };
        Ok((watcher, first_look))
    }

    /// What tailers need to be woken.
    pub fn table(&self) -> Arc<WatchTable> {
        self.table.clone()
    }

    /// Runs on the `watch` thread until [`WatchTable::stop`].
    pub fn run(mut self) {
        let mut buffer = vec![0; 64 << 10];
        self.look_for_absent();
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
                    WatchCommand::Absent(found) => self.on_absent(found),
                    WatchCommand::Reconsider(path) => self.consider(vec![path.to_path_buf()]),
                    WatchCommand::Stop => return,
                }
            }
            self.read_events(&mut buffer);
        }
    }

    /// When something is to be done that nobody rings for.
    fn next_at(&self) -> Instant {
        let scans = self.scans.iter().map(|scan| scan.next_at);
        let until = self.first.as_ref().and_then(|first| first.until);
        let others = [Some(self.next_tidy), self.changed.next_at(), until];
        let next = scans.chain(others.into_iter().flatten()).min();
        next.unwrap_or(self.next_tidy)
    }

    fn wait(&self, timeout: Duration) {
        let mut fds = vec![PollFd::new(&self.table.doorbell, PollFlags::IN)];
        if let Some(inotify) = &self.inotify {
            fds.push(PollFd::from_borrowed_fd(inotify.as_fd(), PollFlags::IN));
        }
        let timeout = Timespec {
            tv_sec: timeout.as_secs().cast_signed(),
            tv_nsec: timeout.subsec_nanos().into(),
        };
        // An interrupted wait is a short one.
        let _ = rustix::event::poll(&mut fds, Some(&timeout));
        let _ = rustix::io::read(&self.table.doorbell, &mut [0u8; 8]);
    }

    // What is to be looked at.

    fn start_due(&mut self, now: Instant) {
        for start in self.changed.due(now) {
            let lane = self.mounts.now().of(&start.folder);
            self.walk(lane, start, Walk::Changed);
        }
        for pattern in self.discovery.patterns() {
            self.scan_if_due(pattern, now);
        }
        if now >= self.next_tidy {
            self.next_tidy = now + SCAN_INTERVAL;
            self.tidy(now);
        }
    }

    fn scan_if_due(&mut self, pattern: u32, now: Instant) {
        let Some(scan) = self.scans.get_mut(pattern as usize) else {
            return;
        };
        if now < scan.next_at {
            return;
        }
        scan.next_at = now + SCAN_INTERVAL;
        if scan.is_running {
            return;
        }
        if scan.elsewhere.is_empty() {
            scan.since = now;
        }
        (scan.is_running, scan.is_outdated, scan.started) = (true, false, now);
        scan.number += 1;
        let start = Start {
            folder: Path::new("/").into(),
            steps: self.discovery.start(pattern),
        };
        let lane = self.mounts.now().of(&start.folder);
        self.walk(lane, start, Walk::Scan(pattern));
    }

    /// Has the folders of these patterns looked at anew, at most once a second.
    fn rescan(&mut self, patterns: impl IntoIterator<Item = u32>) {
        for pattern in patterns {
            if let Some(scan) = self.scans.get_mut(pattern as usize) {
                scan.is_outdated = scan.is_running;
                scan.next_at = scan.next_at.min(scan.started + RESCAN_INTERVAL);
            }
        }
    }

    fn walk(&mut self, lane: Lane, start: Start, why: Walk) {
        self.last_walk += 1;
        let number = self.last_walk;
        self.walks.insert(number, why);
        let ground = self.ground(lane);
        self.lanes.submit(lane, move || {
            let seen = ground.walk(start);
            let table = ground.table.clone();
            table.tell(WatchCommand::Walked(number, Box::new(seen)));
        });
    }

    fn ground(&self, home: Lane) -> Ground {
        Ground {
            discovery: self.discovery.clone(),
            table: self.table.clone(),
            mounts: self.mounts.now(),
            home,
        }
    }

    /// Names have appeared or changed that nobody follows.
    fn consider(&mut self, paths: Vec<PathBuf>) {
        let mounts = self.mounts.now();
        let mut lanes: BTreeMap<Lane, Vec<PathBuf>> = BTreeMap::new();
        for path in paths {
            if !matches!(self.discovery.claim(&path), Claim::Wanted(..)) {
                continue;
            }
            match self.looks.get_mut(&path) {
                Some(look) => look.is_outdated = true,
                None => {
                    self.looks.insert(path.clone(), PathLook::new(false));
                    lanes.entry(mounts.of(&path)).or_default().push(path);
                }
            }
        }
        for (lane, paths) in lanes {
            self.look(lane, paths);
        }
    }

    fn look(&mut self, lane: Lane, paths: Vec<PathBuf>) {
        let ground = self.ground(lane);
        self.lanes.submit(lane, move || {
            let look = |path: PathBuf| LookedAt {
                outcome: ground.look(&path),
                path,
                pattern: None,
            };
            let looked = paths.into_iter().map(look).collect();
            ground.table.tell(WatchCommand::Looked(looked));
        });
    }

    /// Paths that were read before and lead nowhere now: their file may have been rotated away with
    /// something unread in it.
    fn look_for_absent(&mut self) {
        let Some(first) = &mut self.first else { return };
        let mounts = self.mounts.now();
        let mut lanes: BTreeMap<Lane, Vec<Found>> = BTreeMap::new();
        for path in &first.known {
            if let Claim::Wanted(log, _) = self.discovery.claim(path) {
                lanes.entry(mounts.of(path)).or_default().push(Found {
                    path: path.clone(),
                    log,
                    look: None,
                    is_first: true,
                });
            }
        }
        first.absent_jobs = lanes.len();
        for (lane, mut known) in lanes {
            let table = self.table.clone();
            self.lanes.submit(lane, move || {
                known.retain(|found| found.path.symlink_metadata().is_err());
                table.tell(WatchCommand::Absent(known));
            });
        }
    }

    // What came of it.

    fn on_walked(&mut self, number: u64, seen: Seen) {
        let Some(why) = self.walks.remove(&number) else {
            return;
        };
        let scans = &self.scans;
        let scan_number = |pattern: u32| {
            scans
                .get(pattern as usize)
                .map_or(0, |scan: &Scan| scan.number)
        };
        for folder in seen.folders {
            self.folders.enter(folder, scan_number);
        }
        let pattern = match &why {
            Walk::Scan(pattern) | Walk::Elsewhere(pattern, _) => Some(*pattern),
            Walk::Changed => None,
        };
        let is_first = pattern.is_some_and(|pattern| scan_number(pattern) == 1);
        for pattern in seen.followed {
            self.notices.file(pattern);
        }
        for (pattern, trouble) in seen.troubles {
            let line =
                self.notices
                    .trouble(&self.discovery, Some(pattern), about(&trouble), &trouble);
            say(line);
        }
        for looked in seen.files {
            self.on_file(looked, is_first);
        }
        for (lane, start) in seen.elsewhere {
            self.go_on_elsewhere(lane, start, pattern);
        }
        for (lane, path) in seen.files_elsewhere {
            // A lane that hangs is not asked twice for the same.
            if !self.looks.contains_key(&path) {
                self.looks.insert(path.clone(), PathLook::new(is_first));
                self.look(lane, vec![path]);
            }
        }
        if let Some(pattern) = pattern {
            self.on_scanned(pattern, &why);
        }
    }

    fn go_on_elsewhere(&mut self, lane: Lane, start: Start, pattern: Option<u32>) {
        let why = match pattern {
            None => Walk::Changed,
            Some(pattern) => {
                let Some(scan) = self.scans.get_mut(pattern as usize) else {
                    return;
                };
                if !scan.elsewhere.insert(start.folder.clone()) {
                    return;
                }
                Walk::Elsewhere(pattern, start.folder.clone())
            }
        };
        self.walk(lane, start, why);
    }

    /// A walk of a scan is over.
    fn on_scanned(&mut self, pattern: u32, walk: &Walk) {
        let Some(scan) = self.scans.get_mut(pattern as usize) else {
            return;
        };
        match walk {
            Walk::Elsewhere(_, folder) => drop(scan.elsewhere.remove(folder)),
            _ => scan.is_running = false,
        }
        if !scan.is_running && std::mem::take(&mut scan.is_outdated) {
            scan.next_at = scan.next_at.min(scan.started + RESCAN_INTERVAL);
        }
        if scan.is_running || !scan.elsewhere.is_empty() {
            return;
        }
        if std::mem::take(&mut scan.is_said_to_hang)
            && let Some((text, log)) = self.discovery.pattern(pattern)
        {
            let text = ShownPath(Path::new(text));
            log::info!("[log:{}] the folders of '{text}' answer again", log.name);
        }
        let number = scan.number;
        self.folders.prune(pattern, number);
        if self.folders.untold().contains(&pattern) || self.inotify.is_none() {
            let soon = Instant::now() + POLL_INTERVAL;
            if let Some(scan) = self.scans.get_mut(pattern as usize) {
                scan.next_at = scan.next_at.min(soon);
            }
        }
        say(self.notices.first_scan_is_over(&self.discovery, pattern));
    }

    fn on_looked(&mut self, looked: LookedAt) {
        if let Outcome::Elsewhere(lane) = looked.outcome {
            return self.look(lane, vec![looked.path]);
        }
        let path = looked.path.clone();
        let look = self.looks.remove(&path);
        let is_first = self.first.is_some() || look.as_ref().is_some_and(|look| look.is_first);
        self.on_file(looked, is_first);
        if look.is_some_and(|look| look.is_outdated) {
            self.consider(vec![path]);
        }
    }

    fn on_file(&mut self, looked: LookedAt, is_first: bool) {
        let LookedAt {
            path,
            pattern,
            outcome,
        } = looked;
        match outcome {
            Outcome::File(log, also, look) => {
                self.notices.forget(&path);
                if let Some(pattern) = pattern {
                    self.notices.file(pattern);
                }
                if let Some(also) = also {
                    say(self.notices.two_sections(&log.name, &also.name, &path));
                }
                self.report(Found {
                    path: path.into(),
                    log,
                    look: Some(look),
                    is_first,
                });
            }
            Outcome::Trouble(trouble) => {
                say(self
                    .notices
                    .trouble(&self.discovery, pattern, &path, &trouble));
            }
            Outcome::Nothing => self.notices.forget(&path),
            Outcome::Elsewhere(_) => {}
        }
    }

    fn on_absent(&mut self, found: Vec<Found>) {
        if let Some(first) = &mut self.first {
            first.absent_jobs = first.absent_jobs.saturating_sub(1);
        }
        found.into_iter().for_each(|found| self.report(found));
    }

    fn report(&mut self, found: Found) {
        match &mut self.first {
            Some(first) => first.found.push(found),
            // Without a main thread the process is about to end.
            None if !self.table.is_followed(&found.path) => drop(self.found.send(found)),
            None => {}
        }
    }

    /// What was there at the start is known, or as much of it as comes in time.
    fn end_first_look(&mut self, now: Instant) {
        let is_complete = self.walks.is_empty()
            && self.looks.is_empty()
            && self.scans.iter().all(|scan| scan.number > 0);
        if let Some(first) = self.first.take_if(|first| {
            (is_complete && first.absent_jobs == 0) || first.until.is_some_and(|until| now >= until)
        }) {
            let First { sender, known, .. } = first;
            let mut seen = HashSet::new();
            let found: Vec<Found> = first
                .found
                .into_iter()
                .filter(|found| seen.insert(found.path.clone()))
                .collect();
            let known = seen.iter().filter(|path| known.contains(*path)).count();
            let _ = sender.send(FirstLook { found, known });
            self.warn_of_hanging(Duration::ZERO, now);
        }
    }

    /// One WARN for each pattern whose folders have not answered for `patience`.
    fn warn_of_hanging(&mut self, patience: Duration, now: Instant) {
        for (number, scan) in (0..).zip(&mut self.scans) {
            let is_under_way = scan.is_running || !scan.elsewhere.is_empty();
            if is_under_way
                && !scan.is_said_to_hang
                && now.duration_since(scan.since) >= patience
                && let Some((text, log)) = self.discovery.pattern(number)
            {
                scan.is_said_to_hang = true;
                let text = ShownPath(Path::new(text));
                log::warn!(
                    "[log:{}] folders of '{text}' do not answer; all others are followed meanwhile",
                    log.name
                );
            }
        }
    }

    /// Gives back what is not needed any more, and watches again what links lead into.
    fn tidy(&mut self, now: Instant) {
        self.warn_of_hanging(HANGS, now);
        self.notices.tidy(now);
        super::shrink(&mut self.looks);
        super::shrink(&mut self.walks);
        let targets = self.table.target_folders();
        let folders = &self.folders;
        self.table
            .keep_folders(|folder| folders.contains(folder) || targets.contains(folder));
        let mounts = self.mounts.now();
        let mut lanes: BTreeMap<Lane, Vec<Arc<Path>>> = BTreeMap::new();
        for folder in targets {
            lanes.entry(mounts.of(&folder)).or_default().push(folder);
        }
        for (lane, folders) in lanes {
            let table = self.table.clone();
            self.lanes.submit(lane, move || {
                for folder in folders {
                    table.watch_folder(&folder);
                }
            });
        }
    }

    // Events.

    /// Passes all waiting events on.
    fn read_events(&mut self, buffer: &mut [u8]) {
        let Some(inotify) = &mut self.inotify else {
            return;
        };
        let mut names = Vec::new();
        let mut themselves = Vec::new();
        let mut is_overflow = false;
        while let Ok(events) = inotify.read_events(buffer) {
            let mut table = self.table.table();
            let mut any = false;
            for event in events {
                any = true;
                if event.mask.contains(EventMask::Q_OVERFLOW) {
                    is_overflow = true;
                } else {
                    table.on_event(event, &mut names, &mut themselves);
                }
            }
            if !any {
                break;
            }
        }
        if is_overflow {
            log::warn!("inotify events were lost; every file is looked at again");
            self.table.wake_all();
            self.rescan(self.discovery.patterns());
        }
        self.on_names(names);
        for (folder, mask) in themselves {
            self.on_folder_itself(&folder, mask);
        }
    }

    fn on_names(&mut self, names: Vec<NameEvent>) {
        let mut done: HashSet<PathBuf> = HashSet::new();
        let mut unknown = Vec::new();
        for NameEvent { folder, name, mask } in names {
            let path = folder.join(&name);
            let has_come = mask.intersects(EventMask::CREATE | EventMask::MOVED_TO);
            let has_gone = mask.intersects(EventMask::DELETE | EventMask::MOVED_FROM);
            let kind = match mask.contains(EventMask::ISDIR) {
                true => FolderKind::Plain,
                false => FolderKind::Link,
            };
            if kind == FolderKind::Plain && has_gone {
                self.changed.forget(&folder, &path);
                self.on_folder_gone(&folder, &name, &path);
            } else if kind == FolderKind::Plain || has_come {
                let steps = self
                    .discovery
                    .enter(&self.folders.steps(&folder), &name, kind);
                if !steps.is_empty() {
                    let start = Start {
                        folder: path.as_path().into(),
                        steps,
                    };
                    self.changed.add(&folder, start);
                }
            }
            if has_gone {
                self.notices.forget(&path);
            }
            // However many events a name has in a batch, that is one look.
            if !done.contains(&path) {
                if !self.table.wake_followers(&path) && kind == FolderKind::Link {
                    unknown.push(path.clone());
                }
                done.insert(path);
            }
        }
        if !unknown.is_empty() {
            self.consider(unknown);
        }
    }

    /// Something happened to a watched folder as a whole.
    fn on_folder_itself(&mut self, folder: &Arc<Path>, mask: EventMask) {
        let steps = self.folders.steps(folder);
        let is_there = !mask.intersects(
            EventMask::DELETE_SELF | EventMask::MOVE_SELF | EventMask::UNMOUNT | EventMask::IGNORED,
        );
        if steps.is_empty() {
            return;
        }
        if is_there {
            // Its rights, perhaps.
            let start = Start {
                folder: folder.clone(),
                steps,
            };
            return self.changed.add(folder, start);
        }
        let patterns = steps.into_iter().map(|step| step.pattern).collect();
        if let (Some(parent), Some(name)) = (folder.parent(), folder.file_name()) {
            self.rescan_unless_told_of(parent, name, patterns);
        }
    }

    /// The folder `name` has gone from a watched folder.
    fn on_folder_gone(&mut self, parent: &Path, name: &OsStr, path: &Path) {
        let (gone, patterns) = self.folders.forget_below(path);
        self.table.forget_folders(&gone);
        self.rescan_unless_told_of(parent, name, patterns);
    }

    /// These patterns led into the folder `name` of `parent`. If it is to be heard of when the folder comes back,
    /// there is nothing to do; else only a scan tells which folder must be watched instead.
    fn rescan_unless_told_of(&mut self, parent: &Path, name: &OsStr, mut patterns: BTreeSet<u32>) {
        let steps = self.folders.steps(parent);
        for step in self.discovery.enter(&steps, name, FolderKind::Plain) {
            patterns.remove(&step.pattern);
        }
        self.rescan(patterns);
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

impl Table {
    /// Wakes whoever an event is for, and notes what it says of folders.
    fn on_event(
        &mut self,
        event: Event<&OsStr>,
        names: &mut Vec<NameEvent>,
        themselves: &mut Vec<(Arc<Path>, EventMask)>,
    ) {
        let Event { wd, mask, name, .. } = event;
        let mut is_known = false;
        if let Some(wakes) = self.files.get(&wd) {
            is_known = true;
            wakes.iter().for_each(|(_, wake)| wake.wake());
        }
        if mask.contains(EventMask::IGNORED) {
            let folders = self.ignored(&wd).into_iter();
            return themselves.extend(folders.map(|folder| (folder, mask)));
        }
        for folder in self.folders.get(&wd).into_iter().flatten() {
            is_known = true;
            match name {
                Some(name) => names.push(NameEvent {
                    folder: folder.clone(),
                    name: name.to_owned(),
                    mask,
                }),
                None => themselves.push((folder.clone(), mask)),
            }
        }
        if !is_known {
            self.unclaimed.keep(wd);
        }
    }
}

/// The path that a trouble is about.
fn about(trouble: &Trouble) -> &Path {
    match trouble {
        Trouble::StateDir(path)
        | Trouble::NoFolder(path)
        | Trouble::MayNotEnter(path)
        | Trouble::MayNotList(path, _)
        | Trouble::TooDeep(path) => path,
        _ => Path::new("/"),
    }
}

fn say(line: Option<Line>) {
    if let Some((level, words)) = line {
        log::log!(level, "{words}");
    }
}

/// How often folders are scanned although their watches work.
const SCAN_INTERVAL: Duration = Duration::from_secs(30);
/// How soon after a scan there may be another one, because something happened that only a scan can sort out.
const RESCAN_INTERVAL: Duration = Duration::from_secs(1);
/// How often folders are scanned that have no watch.
const POLL_INTERVAL: Duration = Duration::from_millis(700);
/// A scan that takes longer than this is said to hang.
const HANGS: Duration = Duration::from_secs(20);
