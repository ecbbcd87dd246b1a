//! Which tailers have a thread at the moment.
//!
//! A tailer that has something to do has a thread of its own. Where events are gathered before tailers are woken, a
//! tailer that has to wait is parked at once, and a few threads take the short runs of all in turn; where they are
//! not (`linger = 0ms`), it keeps its thread until it was quiet for 10 s (`PARK_AFTER`). Parked means: its state
//! (open file, position, watch) lies here, its thread goes, and it gets one again with its next event. Where very many tailers have something to do at once, those that have to
//! wait are parked without delay, those that have done a piece of work go to the end of the line, and at
//! most 256 run; see `line`. `threads` starts and ends the threads.
//!
//! # Nothing is missed
//! - Who wakes a parked tailer rings its bell first; see [`TailerHandle::wake`]. A bell that was rung while the
//!   tailer was on its way here is seen on its arrival.
//! - Events may be lost. What a tailer with a thread looks at every few seconds, the path, is looked
//!   at for the parked ones too: one system call each, and the tailer gets a thread if anything is
//!   not as it left it.
//! - What must be looked at after a time (a file without a watch, the end of a rotation) is not parked, or,
//!   where many wait for a thread, parked until then.
//!
//! # A file system that hangs
//! The scheduler asks no file system: paths are looked at by the `scan-<n>` threads of [`Lanes`], in the lane
//! of their device, and tailers that end without a thread are closed there.
//!
//! [`TailerHandle::wake`]: crate::tailer_handle::TailerHandle::wake

mod line;
mod orders;
mod task;
#[cfg(test)]
mod tests;
mod threads;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TryRecvError, select};

use super::descriptor_permits::DescriptorPermits;
use super::lanes::{Lane, Lanes};
use crate::condition::Board;
use line::{Device, Line, MOST_THREADS, SHORT_RUN};
pub use task::{Expected, Message, RunOutcome, TailerExit, TailerReport, Task};
use threads::Threads;

/// Whether threads are scarce; written by the scheduler, read by all tailers.
#[derive(Debug, Default)]
pub struct ThreadPressure {
    is_near_limit: AtomicBool,
    has_waiters: AtomicBool,
}

impl ThreadPressure {
    /// So many tailers have a thread that those which have to wait should be parked at once.
    pub(super) fn is_near_limit(&self) -> bool {
        self.is_near_limit.load(Ordering::Relaxed)
    }

    /// Tailers that have something to do wait for a thread.
    pub(super) fn has_waiters(&self) -> bool {
        self.has_waiters.load(Ordering::Relaxed)
    }
}

/// The body of the `scheduler` thread: it owns the tailers that have no thread.
#[derive(Debug)]
pub struct Scheduler<T, R> {
    messages: Receiver<Message<T>>,
    /// For the lanes, which say what they found at the paths.
    sender: Sender<Message<T>>,
    /// Ids of parked tailers that were woken.
    woken: Receiver<u64>,
    stop: Receiver<()>,
    report: R,
    thread_pressure: Arc<ThreadPressure>,
    descriptors: Arc<DescriptorPermits>,
    lanes: Lanes,
    threads: Threads<T, R>,
    line: Line<T>,
    parked: HashMap<u64, Parked<T>>,
    /// When parked tailers have something to do by themselves, or are looked at.
    due: BTreeSet<(Instant, u64)>,
    next_tick: Instant,
    started: Instant,
}

#[derive(Debug)]
struct Parked<T> {
    task: Box<T>,
    device: Device,
    wait: ParkState,
}

/// What a parked tailer waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ParkState {
    /// Until something happens; its path is looked at then.
    Quiet(Instant),
    /// Its path is being looked at.
    Checking,
    /// It looks again then.
    Until(Instant),
}

impl<T, R> Scheduler<T, R>
where
    T: Task,
    R: Fn(TailerReport) + Clone + Send + 'static,
{
    /// A scheduler that takes tailers from `messages` (whose other end is `sender`), hears of parked ones
    /// that are woken from `woken`, and tells of those that ended by `report`, until `stop` is disconnected.
    pub fn new(
        (sender, messages): (Sender<Message<T>>, Receiver<Message<T>>),
        (woken, stop): (Receiver<u64>, Receiver<()>),
        thread_pressure: Arc<ThreadPressure>,
        descriptors: Arc<DescriptorPermits>,
        lanes: Lanes,
        report: R,
    ) -> Self {
        let threads = Threads::new(sender.clone(), report.clone());
        let now = Instant::now();
        Scheduler {
            messages,
            sender,
            woken,
            stop,
            report,
            thread_pressure,
            descriptors,
            lanes,
            threads,
            line: Line::default(),
            parked: HashMap::new(),
            due: BTreeSet::new(),
            next_tick: now,
            started: now,
        }
    }

    /// No more than `most` threads follow files, however many the system would give.
    #[must_use]
    pub fn with_most_threads(mut self, most: usize) -> Self {
        self.threads.allow(most);
        self
    }

    /// Has `board` show it where the system gives no more threads.
    #[must_use]
    pub fn report_to(mut self, board: &Board) -> Self {
        self.threads.report_to(board);
        self
    }

    /// Tailers are woken together, every `gathering`: see [`super::watch::Watcher`].
    #[must_use]
    pub fn with_pace(mut self, gathering: Duration) -> Self {
        if !gathering.is_zero() {
            self.threads.share();
        }
        self
    }

    /// Runs on the `scheduler` thread. Ends when it was told to stop and every tailer has ended.
    pub fn run(mut self) {
        loop {
            self.hand_out();
            if self.threads.are_shared() && self.line.has_short_runs(Instant::now()) {
                // They come back in less time than it takes to be woken for each of them.
                thread::sleep(STEP);
                for message in self.messages.try_iter().collect::<Vec<_>>() {
                    self.on_message(message);
                }
                if self.stop.try_recv() == Err(TryRecvError::Disconnected) {
                    break;
                }
            } else {
                let wait = self.wait(Instant::now());
                select! {
                    recv(self.messages) -> message => if let Ok(message) = message {
                        self.on_message(message);
                    },
                    recv(self.woken) -> id => if let Ok(id) = id {
                        self.unpark(id);
                    },
                    recv(self.stop) -> _ => break,
                    default(wait) => {}
                }
            }
            for id in self.woken.try_iter().collect::<Vec<_>>() {
                self.unpark(id);
            }
            let now = Instant::now();
            self.see_to_due(now);
            self.threads.see_to_stall(now, self.line.most_threads());
            if now >= self.next_tick {
                self.next_tick = now + TICK;
                self.line.count_stuck();
                self.unpark_permit_holders();
                self.threads.stop_idle(now, self.line.busy());
            }
        }
        self.stop_all();
    }

    /// Those that have no thread end here, the others with it.
    fn stop_all(mut self) {
        let parked = self.parked.drain().map(|(_, p)| (p.device, p.task));
        let mut idle: Vec<_> = parked.collect();
        idle.extend(self.line.drain());
        self.end_all(idle);
        while self.line.busy() > 0 || !self.messages.is_empty() {
            match self.messages.recv() {
                Ok(Message::Start(task, device)) => self.end_all(vec![(device, task)]),
                Ok(Message::Returned(task, _)) => {
                    let device = self.line.end(task.handle().id());
                    self.end_all(vec![(device, task)]);
                }
                Ok(Message::TailerEnded(id)) => drop(self.line.end(id)),
                Ok(Message::Checked(_)) => {}
                Err(_) => return,
            }
        }
    }

    fn on_message(&mut self, message: Message<T>) {
        match message {
            Message::Start(task, device) => self.line.join(device, task),
            Message::TailerEnded(id) => {
                self.threads.note_run_over();
                self.line.end(id);
            }
            Message::Returned(task, outcome) => {
                self.threads.note_run_over();
                let device = self.line.end(task.handle().id());
                match outcome {
                    RunOutcome::Park => {
                        let at = self.next_check(task.handle().id());
                        self.park(task, device, ParkState::Quiet(at));
                    }
                    RunOutcome::ParkUntil(at) => self.park(task, device, ParkState::Until(at)),
                    RunOutcome::Yield | RunOutcome::Exit(_) => self.line.join(device, task),
                }
            }
            Message::Checked(all) => all
                .into_iter()
                .for_each(|(n, same)| self.on_checked(n, same)),
        }
    }

    fn park(&mut self, task: Box<T>, device: Device, wait: ParkState) {
        task.handle().park();
        if task.handle().is_rung() {
            // On its way here, or before: whoever did so may have seen no mark.
            task.handle().unpark();
            self.line.join(device, task);
            return;
        }
        let id = task.handle().id();
        if let ParkState::Quiet(at) | ParkState::Until(at) = wait {
            self.due.insert((at, id));
        }
        let parked = Parked { task, device, wait };
        self.parked.insert(id, parked);
    }

    /// Tailer `id` has something to do, if it is parked.
    fn unpark(&mut self, id: u64) {
        let Some(parked) = self.parked.remove(&id) else {
            return;
        };
        if let ParkState::Quiet(at) | ParkState::Until(at) = parked.wait {
            self.due.remove(&(at, id));
        }
        parked.task.handle().unpark();
        self.line.join(parked.device, parked.task);
    }

    /// When the path of a tailer that is parked now is looked at: in whole seconds, so that many are looked at
    /// together, and not all in the same one.
    fn next_check(&self, id: u64) -> Instant {
        let all = CHECK_INTERVAL.max(CHECK_TIME * u32::try_from(self.parked.len()).unwrap_or(1));
        let share = u32::try_from(id % 4).unwrap_or(0) + 5;
        let after = self.started.elapsed() + all * share / 8;
        self.started + Duration::from_secs(after.as_secs() + 1)
    }

    /// Unparks tailers whose time has come, and has the paths of the quiet ones looked at.
    fn see_to_due(&mut self, now: Instant) {
        let mut checks: BTreeMap<Device, Vec<(u64, Arc<Path>, Expected)>> = BTreeMap::new();
        while let Some((at, id)) = self.due.first().copied()
            && at <= now
        {
            self.due.pop_first();
            let Some(parked) = self.parked.get_mut(&id) else {
                continue;
            };
            match (parked.wait, parked.task.expected()) {
                (ParkState::Quiet(_), Some(expected)) => {
                    parked.wait = ParkState::Checking;
                    let path = parked.task.path().clone();
                    let checks = checks.entry(parked.device).or_default();
                    checks.push((id, path, expected));
                }
                _ => self.unpark(id),
            }
        }
        for (device, checks) in checks {
            let sender = self.sender.clone();
            self.lanes.submit(lane(device), move || {
                let check =
                    |(id, path, expected): (u64, Arc<Path>, Expected)| (id, expected.is_at(&path));
                let _ = sender.send(Message::Checked(checks.into_iter().map(check).collect()));
            });
        }
    }

    fn on_checked(&mut self, id: u64, is_as_it_was: bool) {
        let at = self.next_check(id);
        match self.parked.get_mut(&id) {
            Some(parked) if parked.wait == ParkState::Checking && is_as_it_was => {
                parked.wait = ParkState::Quiet(at);
                self.due.insert((at, id));
            }
            Some(parked) if parked.wait == ParkState::Checking => self.unpark(id),
            // It has had something to do since.
            _ => {}
        }
    }

    /// A tailer that waits for a descriptor permit cannot wait for holders that are parked and never look again.
    fn unpark_permit_holders(&mut self) {
        let wanted = self.descriptors.waiters();
        if wanted > 0 {
            let holders = self
                .parked
                .iter()
                .filter(|(_, p)| p.task.holds_descriptor_permit());
            let ids: Vec<u64> = holders.map(|(id, _)| *id).take(wanted).collect();
            ids.into_iter().for_each(|id| self.unpark(id));
        }
    }

    /// Gives threads to those that wait for one, as far as there are any.
    fn hand_out(&mut self) {
        let mut tasks = Vec::new();
        loop {
            if self.line.busy() >= self.threads.most(self.line.most_threads())
                || (self.threads.are_shared() && self.line.has_many_short_runs(Instant::now()))
            {
                break;
            }
            let Some((device, task)) = self.line.next() else {
                break;
            };
            if !self
                .threads
                .suffice_for_one_more(self.line.busy(), self.line.most_threads())
            {
                if self.threads.count() == 0 {
                    // Without a single thread nothing will ever happen.
                    let path = task.path().clone();
                    let how = Err("no thread can be started".to_owned());
                    (self.report)(TailerReport { path, how });
                    continue;
                }
                if !self.threads.are_shared() {
                    self.line.join(device, task);
                    break;
                }
            }
            self.line.begin(device, task.handle());
            tasks.push(task);
        }
        self.threads.run(tasks);
        self.threads.note_busy(self.line.busy());
        let has_waiters = self.line.is_room_wanted();
        let is_near_limit = has_waiters || self.line.moving() >= NEAR_LIMIT;
        self.thread_pressure
            .has_waiters
            .store(has_waiters, Ordering::Relaxed);
        self.thread_pressure
            .is_near_limit
            .store(is_near_limit, Ordering::Relaxed);
    }

    /// How long nothing happens by itself.
    fn wait(&self, now: Instant) -> Duration {
        let is_ticking = self.threads.count() > self.line.busy()
            || self.line.is_anybody_waiting()
            || self.descriptors.ran_out();
        let tick = is_ticking.then_some(self.next_tick);
        let is_waited_for = self.threads.are_awaited() || self.line.is_anybody_waiting();
        let short_runs = (self.threads.are_shared() && is_waited_for).then_some(now + SHORT_RUN);
        let due = self.due.first().map(|(at, _)| *at);
        let next = tick.into_iter().chain(due).chain(short_runs).min();
        next.map_or(Duration::from_secs(3600), |at| {
            at.saturating_duration_since(now)
        })
    }

    /// These tailers have no thread and end. Their files are closed in the lane of their device.
    fn end_all(&self, tasks: Vec<(Device, Box<T>)>) {
        let mut lanes: BTreeMap<Device, Vec<Box<T>>> = BTreeMap::new();
        for (device, task) in tasks {
            let path = task.path().clone();
            let how = Ok(TailerExit::Stopped);
            (self.report)(TailerReport { path, how });
            lanes.entry(device).or_default().push(task);
        }
        for (device, tasks) in lanes {
            self.lanes.submit(lane(device), move || drop(tasks));
        }
    }
}

fn lane(device: Device) -> Lane {
    device.map_or(Lane::Unknown, Lane::Device)
}

/// A tailer is parked when it was quiet for so long.
pub(super) const PARK_AFTER: Duration = Duration::from_secs(10);
/// With so many tailers on threads, those that have to wait are parked at once.
const NEAR_LIMIT: usize = MOST_THREADS / 2;
/// While short runs go on, the scheduler looks what came of them so often.
const STEP: Duration = Duration::from_millis(1);
/// How often there is a look at threads and permits while they are scarce.
const TICK: Duration = Duration::from_millis(200);
/// How often the path of a parked tailer is looked at, at most.
const CHECK_INTERVAL: Duration = Duration::from_secs(6);
/// Of all parked tailers together, one in such a time: with very many it takes longer until each had its turn.
const CHECK_TIME: Duration = Duration::from_millis(2);
